//! Loads a table through tsload's own pf code, in the layout named on the command line: so FreeBSD's is tried on Linux.
//!
//! usage: pfload openbsd|freebsd TABLE <prefixes, one a line
#![forbid(unsafe_code)]

use std::io::BufRead;

use ipnet::IpNet;
use loader::abi::{Abi, FreeBsd, OpenBsd};
use loader::pf::{Device, Refusal};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [system, table] if system == "openbsd" => load::<OpenBsd>(table),
        [system, table] if system == "freebsd" => load::<FreeBsd>(table),
        _ => panic!("usage: pfload openbsd|freebsd TABLE"),
    }
}

fn load<A: Abi>(table: &str) {
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
}
