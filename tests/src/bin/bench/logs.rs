//! tsship's text of packet logs, beside Debian's tcpdump; from gzip also beside zcat alone.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use tests::machine::Machine;
use tests::pflog;

use crate::measure::{Report, is_installed, median, medians, program_with, script, times_as_fast};

const START: u32 = 1_795_000_000;

/// The memory that a log of any size may take, in KiB.
const PEAK: u64 = 16 * 1024;

pub fn bench(report: &mut Report) {
    let machine = Machine::new();
    machine.directory("bench", 0o755);
    for records in [30_000, 300_000, 1_000_000] {
        let log = log(records);
        machine.write("bench/log", &log);
        machine.write("bench/log.gz", pflog::gzip(&log));
        plain(report, &machine, records);
        compressed(report, &machine, records);
    }
}

/// A log of packets from as many hosts.
fn log(records: usize) -> Vec<u8> {
    let host =
        |n: u32| IpAddr::from(Ipv4Addr::from((n.wrapping_mul(2_654_435_761) % (223 << 24)) | (1 << 24)));
    let hosts: Vec<IpAddr> = (0..records as u32).map(host).collect();
    pflog::blocked(&hosts, records, START)
}

fn plain(report: &mut Report, machine: &Machine, records: usize) {
    let mut ours = || decode(machine, "log");
    // tcpdump searches a list that grows with the log: with a million records it takes minutes.
    if records > 300_000 || !is_installed("tcpdump") {
        report.row("tsship, a log into text", records, median(ours), None, None);
        return;
    }
    let mut theirs = || script(machine, "TZ=UTC exec tcpdump -ner log 2>/dev/null");
    let [ours, theirs] = medians([&mut ours, &mut theirs]);
    let ratio = theirs.time / ours.time;
    report.row("tsship, a log into text", records, ours, None, None);
    report.row("  tcpdump -ner", records, theirs, Some(ratio), Some(times_as_fast(10.0, ratio)));
}

fn compressed(report: &mut Report, machine: &Machine, records: usize) {
    let mut ours = || decode(machine, "log.gz");
    let mut zcat = || script(machine, "exec zcat log.gz");
    let [ours, zcat] = medians([&mut ours, &mut zcat]);
    let ratio = zcat.time / ours.time;
    report.row("tsship, a compressed log into text", records, ours, None, None);
    report.row("  zcat alone", records, zcat, Some(ratio), Some(times_as_fast(1.0, ratio)));
    if records <= 30_000 && is_installed("tcpdump") {
        let theirs = median(|| script(machine, "zcat log.gz | TZ=UTC tcpdump -ner - 2>/dev/null"));
        report.row("  zcat | tcpdump -ner -", records, theirs, Some(theirs.time / ours.time), None);
    }
}

fn decode(machine: &Machine, name: &str) -> crate::measure::Run {
    let path = machine.path("bench").join(name);
    program_with(machine, "tsship", 0, |command| command.arg("-n").arg(path).output().expect("run"))
}

/// A log of 10 GB through a pipe: its size must not matter for memory.
pub fn large(report: &mut Report) {
    let machine = Machine::new();
    let log = log(300_000);
    let (header, records) = log.split_at(24);
    let rounds = 10_000_000_000 / records.len() + 1;
    let run = program_with(&machine, "tsship", 0, |command| {
        let command = command.args(["-n", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("run");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(header).expect("write");
        for _ in 0..rounds {
            input.write_all(records).expect("write");
        }
        drop(input);
        child.wait_with_output().expect("run")
    });
    let goal = ("16 MiB".to_owned(), run.peak < PEAK);
    report.row("tsship, a log of 10 GB from a pipe", rounds * 300_000, run, None, Some(goal));
}
