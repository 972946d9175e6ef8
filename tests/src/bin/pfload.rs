//! tsload's own code in the layout named on the command line, so that FreeBSD's is tried on Linux: loads one table with what
//! is on standard input, or does what tsload does with the spool.
//!
//! usage: pfload openbsd|freebsd TABLE <prefixes, one a line
//!        pfload -c FILE openbsd|freebsd [REQUEST_MAXCOUNT]
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use common::{Config, Table};
use ipnet::IpNet;
use loader::abi::{Abi, FreeBsd, OpenBsd};
use loader::load::Run;
use loader::pf::{Device, Refusal};
use loader::room::Limits;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["openbsd", table] => load::<OpenBsd>(table),
        ["freebsd", table] => load::<FreeBsd>(table),
        ["-c", file, "openbsd"] => policy::<OpenBsd>(file, None),
        ["-c", file, "freebsd", most] => policy::<FreeBsd>(file, Some(most.parse().expect("a number"))),
        _ => panic!("usage: pfload openbsd|freebsd TABLE | -c FILE openbsd|freebsd [REQUEST_MAXCOUNT]"),
    }
}

fn load<A: Abi>(table: &str) -> ExitCode {
    let device = Device::<A>::open("", true).expect("open");
    println!("limit {}", device.entry_limit().expect("limit"));
    if let Err(refusal) = device.add_table(table) {
        println!("add_table: {}", refusal.advice());
    }
    let entry = |line: String| match line.strip_prefix('!') {
        Some(prefix) => A::addr(prefix.parse::<IpNet>().expect("prefix"), true),
        None => A::addr(line.parse::<IpNet>().expect("prefix"), false),
    };
    let mut addresses: Vec<A::Addr> =
        std::io::stdin().lock().lines().map(|line| entry(line.expect("stdin"))).collect();
    for dry_run in [true, false] {
        match device.set_addresses(table, &mut addresses, dry_run) {
            Ok(changes) => println!("{changes:?}"),
            Err(refusal @ Refusal(errno)) => println!("{errno:?}: {}", refusal.advice()),
        }
    }
    for found in device.tables().expect("tables") {
        println!("{} {}", String::from_utf8_lossy(&found.name), found.count);
    }
    ExitCode::SUCCESS
}

/// A run of tsload. `most` stands for the sysctl that only FreeBSD has.
fn policy<A: Abi>(file: &str, most: Option<u64>) -> ExitCode {
    let config = Config::load(Path::new(file)).expect("configuration");
    let pf = Device::<A>::open(&config.anchor, true).expect("open");
    let limits = Limits { list: most, ..Limits::of(&pf).expect("limits") };
    let run =
        Run { config: &config, pf: Some(pf), limits: Some(limits), protected: Vec::new(), force: false };
    let (mut plans, mut errors) = (Vec::new(), Vec::new());
    for table in Table::BOTH {
        let spool = File::open(config.policy_file(table)).expect("spool");
        match run.plan(table, spool) {
            Ok(plan) => plans.push(plan),
            Err(causes) => errors.extend(causes),
        }
    }
    let warning = run.make_room(&mut plans, &mut errors);
    let changed = run.carry_out(&plans, &mut errors);
    warning.iter().for_each(|warning| println!("{warning}"));
    errors.iter().for_each(|error| println!("{error}"));
    println!("{changed:?}");
    ExitCode::from(u8::from(!errors.is_empty()))
}
