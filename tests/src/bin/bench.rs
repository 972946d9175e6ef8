//! Time and peak memory of the real programs on large policies: `tests/bench`. Medians of five runs, in one table.
//!
//! Where iprange (Debian) and aggregate6 (PyPI) are installed, their time for reading and merging the same prefixes is
//! printed as a ratio: `4.0 x iprange` is four times as fast.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use common::Config;
use common::Table::Block;
use common::set::PrefixSet;
use loader::abi::{Abi, OpenBsd};
use nix::sys::resource::{UsageWho, getrusage};
use tests::machine::{Machine, words};
use tests::pf::{Model, Os};
use tests::policy_server::{Policy, PolicyServer, generate};

const RUNS: usize = 5;

/// A rival's name, and its time in milliseconds.
type Rival = (&'static str, f64);

/// Debian's iprange, which knows IPv4 only.
const IPRANGE: (&str, &[&str]) = ("iprange", &["--optimize"]);
/// PyPI's aggregate6.
const AGGREGATE6: (&str, &[&str]) = ("aggregate6", &["-6"]);

const LIST: &str = "block.bench.example";
const RULES: &str = "set limit table-entries 10000000\ntable <ThreatSTOP-Block> persist\n\
    table <ThreatSTOP-Allow> persist\nblock from <ThreatSTOP-Block>\npass";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        None => bench(),
        // This program measures a child in a process of its own, whose getrusage(2) tells of that child alone.
        Some(flag) if flag == "--measure" => return measure(arguments.collect()),
        Some(_) => {
            eprintln!("usage: tests/bench");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn bench() {
    println!("{:<34} {:>9} {:>12} {:>18} {:>10}", "what", "entries", "time", "rival", "peak");
    for entries in [26_424, 400_000] {
        let block = generate::block(1, entries);
        let machine = Machine::new();
        let mut policy = Policy::new();
        policy.put_parts(LIST, &generate::listed(&block), 5000);
        let server = PolicyServer::start(policy).expect("policy server");
        machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={LIST}\n", server.port()));
        let model = Model::new(Os::OpenBsd);
        model.load_rules(RULES).expect("rules");
        let set: PrefixSet = block.iter().copied().collect();
        let spool = machine.path("db/threatstop/policy/block.pftable");
        row("tsfetch, all of it", entries, None, || {
            let _ = std::fs::remove_file(&spool);
            run(&model, &machine, "tsfetch", 0)
        });
        row("tsfetch, unchanged", entries, None, || run(&model, &machine, "tsfetch", 2));
        let v4: String = set.v4().iter().map(|net| format!("{net}\n")).collect();
        machine.write("prefixes", v4);
        let rival = time_of(IPRANGE, &machine.path("prefixes"));
        let file = machine.path("db/ThreatSTOP-Block.pftable");
        row("tsload, first load (pf modelled)", entries, rival, || {
            let _ = std::fs::remove_file(&file);
            model.reset();
            model.load_rules(RULES).expect("rules");
            run(&model, &machine, "tsload", 0)
        });
        row("tsload, unchanged", entries, rival, || run(&model, &machine, "tsload", 2));
        assert_eq!(machine.table_file(Block).lines().count(), entries, "the whole policy arrived");
    }
    for entries in [400_000, 4_000_000] {
        check_and_encode(&hosts4(entries), IPRANGE);
    }
    check_and_encode(&hosts6(100_000), AGGREGATE6);
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
fn check_and_encode(hosts: &[IpAddr], rival: (&'static str, &[&str])) {
    let length = if hosts[0].is_ipv4() { 32 } else { 128 };
    let lines: String = hosts.iter().map(|host| format!("{host}/{length}\n")).collect();
    let spool = format!("# tspf 1 block\n# settings 0123456789abcdef\n{lines}# end {}\n", hosts.len());
    let machine = Machine::new();
    machine.write("hosts", lines);
    let config =
        Config::parse(format!("BLOCK_LIST={LIST}\nMAX_COVER=100").as_bytes()).expect("configuration");
    let protected: Vec<(ipnet::IpNet, &str)> =
        config.never_block.iter().map(|net| (*net, "NEVER_BLOCK")).collect();
    let rival = time_of(rival, &machine.path("hosts"));
    row("tsload's read, check and encode", hosts.len(), rival, || {
        let start = Instant::now();
        let set = loader::spool::parse(spool.as_bytes(), Block).expect("canonical");
        let checked = loader::guard::check(set, Block, &config, &protected, 0);
        assert!(checked.violations.is_empty(), "{:?}", checked.violations);
        let mut encoded = Vec::with_capacity(checked.contents.len());
        encoded.extend(checked.contents.iter().map(|(net, negated)| OpenBsd::addr(net, negated)));
        let time = start.elapsed().as_secs_f64() * 1000.0;
        std::hint::black_box(encoded);
        (time, 0)
    });
}

/// Prints the median of the runs, each of which returns milliseconds and KiB.
fn row(what: &str, entries: usize, rival: Option<Rival>, mut run: impl FnMut() -> (f64, u64)) {
    let mut runs: Vec<(f64, u64)> = (0..RUNS).map(|_| run()).collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (time, peak) = (runs[RUNS / 2].0, runs.iter().map(|run| run.1).max().unwrap_or(0));
    let rival = rival.map_or(String::new(), |(name, rival)| format!("{:.1} x {name}", rival / time));
    let peak = if peak == 0 { "-".to_owned() } else { format!("{:.1} MiB", peak as f64 / 1024.0) };
    println!("{what:<34} {entries:>9} {time:>9.1} ms {rival:>18} {peak:>10}");
}

fn run(model: &Model, machine: &Machine, program: &str, status: i32) -> (f64, u64) {
    let real = machine.program(program);
    let mut command = Command::new(std::env::current_exe().expect("current_exe"));
    command.arg("--measure").arg(real.get_program()).args(real.get_args()).env("TZ", "UTC");
    command.env("MEASURE_UID", machine.uid().to_string());
    let output = model.run(&mut command).unwrap_or_else(|refused| panic!("{refused}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<&str> = said.split_whitespace().collect();
    let [code, time, peak] = fields[..] else { panic!("{}", words(&output)) };
    assert_eq!(code, status.to_string(), "{program}: {}", words(&output));
    (time.parse().expect("a time"), peak.parse().expect("a size"))
}

/// Runs a program and prints its exit status, its time in milliseconds and its peak in KiB.
fn measure(command: Vec<std::ffi::OsString>) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let Some((program, arguments)) = command.split_first() else { return ExitCode::FAILURE };
    let mut child = Command::new(program);
    child.args(arguments).stdout(Stdio::null());
    if let Some(uid) = std::env::var("MEASURE_UID")
        .ok()
        .and_then(|uid| uid.parse().ok())
        .filter(|_| nix::unistd::geteuid().is_root())
    {
        child.uid(uid).gid(uid);
    }
    let start = Instant::now();
    let status = child.status().expect("run");
    let time = start.elapsed().as_secs_f64() * 1000.0;
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage").max_rss();
    println!("{} {time:.3} {peak}", status.code().unwrap_or(-1));
    ExitCode::SUCCESS
}

/// Median time in milliseconds that a rival takes to read and merge the same prefixes; None if it is not installed.
fn time_of((name, arguments): (&'static str, &[&str]), prefixes: &Path) -> Option<Rival> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let status = Command::new(name).args(arguments).arg(prefixes).stdout(Stdio::null()).status().ok()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        assert!(status.success(), "{name}");
    }
    times.sort_by(f64::total_cmp);
    times.get(RUNS / 2).map(|time| (name, *time))
}
