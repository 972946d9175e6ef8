//! tsload on large policies, beside programs that read and merge the same prefixes: iprange (Debian), which knows IPv4
//! only, and aggregate6 (PyPI).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::Config;
use common::Table::{Allow, Block};
use common::set::PrefixSet;
use loader::abi::{Abi, OpenBsd};
use tests::machine::Machine;
use tests::pf::{Model, Os};
use tests::policy_server::generate;

use crate::measure::{Report, Run, is_installed, median, medians, program_with};

/// A rival's command and its arguments.
type Rival = (&'static str, &'static [&'static str]);

const IPRANGE: Rival = ("iprange", &["--optimize"]);
const AGGREGATE6: Rival = ("aggregate6", &["-6"]);

const RULES: &str = "set limit table-entries 10000000\ntable <ThreatSTOP-Block> persist\n\
    table <ThreatSTOP-Allow> persist\nblock from <ThreatSTOP-Block>\npass";

pub fn bench(report: &mut Report) {
    for entries in [26_424, 400_000] {
        on_modelled_pf(report, entries);
    }
    for entries in [400_000, 4_000_000] {
        check_and_encode(report, &hosts4(entries), IPRANGE);
    }
    check_and_encode(report, &hosts6(100_000), AGGREGATE6);
}

/// The whole program, on a model of pf whose time counts.
fn on_modelled_pf(report: &mut Report, entries: usize) {
    let set: PrefixSet = generate::block(1, entries).into_iter().collect();
    let machine = Machine::new();
    machine.configure("BLOCK_LIST=block.bench.example\n");
    machine.spool(Block, set.iter());
    machine.spool(Allow, PrefixSet::default().iter());
    let model = Model::new(Os::OpenBsd);
    model.load_rules(RULES).expect("rules");
    let tsload = |status| {
        program_with(&machine, "tsload", status, |command| {
            model.run(command).unwrap_or_else(|refused| panic!("{refused}"))
        })
    };
    let file = machine.path("db/ThreatSTOP-Block.pftable");
    let first = median(|| {
        let _ = std::fs::remove_file(&file);
        model.reset();
        model.load_rules(RULES).expect("rules");
        tsload(0)
    });
    report.row("tsload, first load (pf modelled)", entries, first, None, None);
    report.row("tsload, unchanged", entries, median(|| tsload(2)), None, None);
    assert_eq!(machine.table_file(Block).lines().count(), entries, "the whole policy arrived");
}

/// Distinct IPv4 hosts.
fn hosts4(count: u32) -> Vec<IpAddr> {
    let spread = |n: u32| ((n.wrapping_mul(2_654_435_761) >> 8 << 4) | (n & 15)) % (223 << 24) + (1 << 24);
    let hosts: BTreeSet<u32> = (0..count).map(spread).collect();
    hosts.into_iter().map(|host| IpAddr::from(host.to_be_bytes())).collect()
}

/// Distinct IPv6 hosts.
fn hosts6(count: u32) -> Vec<IpAddr> {
    let spread = |n: u32| (0x2a00 << 112) | u128::from(n.wrapping_mul(2_654_435_761)) << 64 | u128::from(n);
    let hosts: BTreeSet<u128> = (0..count).map(spread).collect();
    hosts.into_iter().map(|host| IpAddr::from(host.to_be_bytes())).collect()
}

/// What tsload does with a policy before it asks the kernel: read, check, guard, encode.
fn check_and_encode(report: &mut Report, hosts: &[IpAddr], rival: Rival) {
    let length = if hosts[0].is_ipv4() { 32 } else { 128 };
    let lines: String = hosts.iter().map(|host| format!("{host}/{length}\n")).collect();
    let spool = format!("# tspf 1 block\n# settings 0123456789abcdef\n{lines}# end {}\n", hosts.len());
    let machine = Machine::new();
    machine.write("hosts", lines);
    let config = Config::parse(b"BLOCK_LIST=block.bench.example\nMAX_COVER=100").expect("configuration");
    let protected: Vec<(ipnet::IpNet, &str)> =
        config.never_block.iter().map(|net| (*net, "NEVER_BLOCK")).collect();
    let mut ours = || {
        let start = Instant::now();
        let set = loader::spool::parse(spool.as_bytes(), Block).expect("canonical");
        let checked = loader::guard::check(set, Block, &config, &protected, loader::guard::Held::default());
        assert!(checked.violations.is_empty(), "{:?}", checked.violations);
        let mut encoded = Vec::with_capacity(checked.contents.len());
        encoded.extend(checked.contents.iter().map(|(net, negated)| OpenBsd::addr(net, negated)));
        let time = start.elapsed().as_secs_f64() * 1000.0;
        std::hint::black_box(encoded);
        Run { time, peak: 0 }
    };
    let (what, name) = ("tsload's read, check and encode", format!("  {} {}", rival.0, rival.1.join(" ")));
    if !is_installed(rival.0) {
        report.row(what, hosts.len(), median(ours), None, None);
        return report.note(&name, hosts.len(), "not installed", None);
    }
    let [ours, theirs] = medians([&mut ours, &mut || merge(rival, &machine.path("hosts"))]);
    report.row(what, hosts.len(), ours, None, None);
    report.row(&name, hosts.len(), theirs, Some(theirs.time / ours.time), None);
}

/// A rival that reads and merges the prefixes of a file.
fn merge((program, arguments): Rival, prefixes: &Path) -> Run {
    let start = Instant::now();
    let status = Command::new(program).args(arguments).arg(prefixes).stdout(Stdio::null()).status();
    let time = start.elapsed().as_secs_f64() * 1000.0;
    assert!(status.expect("run").success(), "{program}");
    Run { time, peak: 0 }
}
