//! tsfetch against what dig(1) and the text tools make of the same zone, served by one and the same NSD.
//!
//! The list has IPv4 only and `AGGREGATE` is set, because that is what iprange knows and does. All must end with the same
//! set of prefixes.

use std::path::Path;
use std::process::Command;

use common::prefix;
use common::set::PrefixSet;
use ipnet::IpNet;
use tests::machine::{Machine, words};
use tests::name_server::{Kind, NameServer, Options, Transfer, Zone};
use tests::policy_server::generate;
use tests::segments::Relay;

use crate::measure::{Report, Run, is_installed, median, medians, program, script, times_as_fast};

const ZONE: &str = "policy.example";
const SPOOL: &str = "db/threatstop/policy/block.pftable";

/// A question to the server by dig(1), as its answer alone.
const DIG: &str = "dig +tcp +short @127.0.0.1 -p";
/// From APL records to one IPv4 prefix a line.
const PARSE: &str = "tr ' ' '\\n' | sed -n 's/^1://p'";

pub fn bench(report: &mut Report) {
    for entries in [26_424, 400_000] {
        let prefixes = prefixes(entries);
        let machine = Machine::new();
        machine.directory("bench", 0o755);
        let zones = [Zone { name: ZONE.to_owned(), text: zone(&machine, &prefixes) }];
        let options = Options { transfer: Transfer::Anybody, ..Options::default() };
        let Some(server) = NameServer::start(Kind::Nsd, &zones, &options) else {
            report.note("tsfetch", entries, "nsd is not installed", None);
            continue;
        };
        let set = prefixes.into_iter().collect::<PrefixSet>().aggregate();
        by_parts(report, &machine, server.port(), &set, entries);
        unchanged(report, &machine, server.port(), entries);
        by_transfer(report, &machine, server.port(), &set, entries);
    }
}

/// So many IPv4 prefixes.
fn prefixes(count: usize) -> Vec<IpNet> {
    let mixed = generate::block(1, count * 6 / 5).into_iter();
    let prefixes: Vec<IpNet> = mixed.filter(|net| net.addr().is_ipv4()).take(count).collect();
    assert_eq!(prefixes.len(), count);
    prefixes
}

/// The zone that etc/policy-zone makes of prefixes.
fn zone(machine: &Machine, prefixes: &[IpNet]) -> String {
    let text: String = prefixes.iter().map(|net| format!("{net}\n")).collect();
    machine.write("bench/prefixes", text);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/policy-zone");
    let mut command = Command::new("/bin/sh");
    command.arg(source).args(["-s", "1"]);
    let output =
        command.arg(format!("block={}", machine.path("bench/prefixes").display())).output().expect("sh");
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).expect("a zone file")
}

fn configure(machine: &Machine, port: u16, list: &str) {
    machine.configure(&format!("DNS_SERVERS=127.0.0.1:{port}\n{list}\nAGGREGATE=yes\n"));
}

/// The whole policy, from nothing.
fn fetch(machine: &Machine) -> Run {
    let _ = std::fs::remove_file(machine.path(SPOOL));
    program(machine, "tsfetch", 0)
}

fn by_parts(report: &mut Report, machine: &Machine, port: u16, set: &PrefixSet, entries: usize) {
    configure(machine, port, &format!("BLOCK_LIST=block.{ZONE}"));
    let dig = format!("{DIG} {port}");
    let each = format!(
        "for part in $({dig} block.{ZONE} PTR); do {dig} $part APL; done | {PARSE} | sort -u | iprange --optimize >each"
    );
    // The kindest to dig: one process and one connection for all parts. iprange sorts anyway.
    let batch = format!(
        "{dig} block.{ZONE} PTR | sed 's/$/ APL/' >parts; {dig} +keepopen -f parts | {PARSE} | iprange --optimize >batch"
    );
    let what = "tsfetch, PTR and APL";
    let names =
        ["  dig PTR, dig APL each | tr | sed | sort | iprange", "  dig PTR, dig -f | tr | sed | iprange"];
    if !has_rivals() {
        let ours = median(|| fetch(machine));
        report.row(what, entries, ours, None, Some(small(ours)));
        return report.note(names[0], entries, "dig or iprange is not installed", None);
    }
    let [ours, each, batch] =
        medians([&mut || fetch(machine), &mut || script(machine, &each), &mut || script(machine, &batch)]);
    for file in [SPOOL, "bench/each", "bench/batch"] {
        assert!(read(machine, file) == *set, "{file}: another set");
    }
    report.row(what, entries, ours, None, Some(small(ours)));
    let ratio = each.time / ours.time;
    report.row(names[0], entries, each, Some(ratio), Some(times_as_fast(10.0, ratio)));
    report.row(names[1], entries, batch, Some(batch.time / ours.time), None);
}

fn by_transfer(report: &mut Report, machine: &Machine, port: u16, set: &PrefixSet, entries: usize) {
    configure(machine, port, &format!("BLOCK_LIST={ZONE}\nLIST_FORMAT=axfr"));
    let axfr = format!(
        "dig +noall +answer @127.0.0.1 -p {port} {ZONE} AXFR |\
         awk '$4 == \"APL\" {{ for (i = 5; i <= NF; i++) print substr($i, 3) }}' | iprange --optimize >axfr"
    );
    let (what, name) = ("tsfetch, AXFR", "  dig AXFR | awk | iprange");
    if !has_rivals() {
        let ours = median(|| fetch(machine));
        report.row(what, entries, ours, None, Some(small(ours)));
        return report.note(name, entries, "dig or iprange is not installed", None);
    }
    let [ours, axfr] = medians([&mut || fetch(machine), &mut || script(machine, &axfr)]);
    for file in [SPOOL, "bench/axfr"] {
        assert!(read(machine, file) == *set, "{file}: another set");
    }
    report.row(what, entries, ours, None, Some(small(ours)));
    let ratio = axfr.time / ours.time;
    report.row(name, entries, axfr, Some(ratio), Some(times_as_fast(4.0, ratio)));
}

/// A policy that is there already: its time, against that of fetching it, and what it sends over the network.
fn unchanged(report: &mut Report, machine: &Machine, port: u16, entries: usize) {
    let [all, ours] = medians([&mut || fetch(machine), &mut || program(machine, "tsfetch", 2)]);
    let goal = ("under 20 ms".to_owned(), ours.time < 20.0);
    report.row("tsfetch, unchanged", entries, ours, None, Some(goal));
    report.row("  tsfetch, all of it", entries, all, Some(all.time / ours.time), None);

    let relay = Relay::start(port).expect("relay");
    configure(machine, relay.port(), &format!("BLOCK_LIST=block.{ZONE}\nALLOW_LIST=1.block.{ZONE}"));
    fetch(machine);
    relay.take();
    program(machine, "tsfetch", 2);
    let sent = relay.take();
    let goal = ("at most 3 each way".to_owned(), sent.client.max(sent.server) <= 3);
    let found = format!("{} sent, {} received", sent.client, sent.server);
    report.note("  its TCP segments with data, two lists", entries, &found, Some(goal));
}

fn has_rivals() -> bool {
    is_installed("dig") && is_installed("iprange")
}

fn small(run: Run) -> (String, bool) {
    ("under 64 MiB".to_owned(), run.peak < 64 * 1024)
}

/// The prefixes of a spool file, or of what iprange printed.
fn read(machine: &Machine, file: &str) -> PrefixSet {
    let text = std::fs::read_to_string(machine.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| prefix::parse(line.as_bytes()).unwrap_or_else(|why| panic!("{line}: {why}"))).collect()
}
