//! The captures in tests/fixtures/pflog against what OpenBSD's own tcpdump, or for FreeBSD's headers
//! tcpdump.org's, printed for them.

use crate::clock::{Clock, Zone};
use crate::pcap::End;
use crate::text::{Found, Summary, decode};
use common::config::LogTime;
use std::fs::{self, File};

/// Decodes a capture in UTC.
fn text_of(capture: &str) -> (String, Summary) {
    let file = File::open(path(capture)).unwrap();
    let mut text = Vec::new();
    let clock = Clock::new(LogTime::Time, Zone::Utc);
    let write = |piece: &[u8], _: &Found| {
        text.extend(piece);
        Ok(())
    };
    let summary = decode(file, false, clock, write).unwrap();
    (String::from_utf8(text).unwrap(), summary)
}

fn path(name: &str) -> String {
    format!("{}/../tests/fixtures/pflog/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Every line of `capture` equals that of `expected`; the first that differ are shown.
fn assert_equal(capture: &str, expected: &str) {
    let (ours, summary) = text_of(capture);
    let theirs = fs::read_to_string(path(expected)).unwrap();
    let differing: Vec<_> = ours.lines().zip(theirs.lines()).filter(|(a, b)| a != b).collect();
    for (ours, theirs) in differing.iter().take(5) {
        eprintln!("ours:   {ours}\ntheirs: {theirs}");
    }
    assert_eq!(differing.len(), 0, "{capture}: lines that differ");
    assert_eq!(ours, theirs, "{capture}: number of lines");
    assert_eq!(summary.found.records, theirs.lines().count() as u64);
    let unknown =
        theirs.lines().filter(|line| line.contains("[|pflog]") || line.contains("[pflog: ")).count();
    assert_eq!(summary.found.undecodable, unknown as u64);
    assert!(matches!(summary.end, End::Clean));
}

#[test]
fn real_traffic() {
    assert_equal("real.pcap", "real.txt");
}

#[test]
fn seed101() {
    assert_equal("seed101.pcap.gz", "seed101.txt");
}

#[test]
fn seed102() {
    assert_equal("seed102.pcap.gz", "seed102.txt");
}

#[test]
fn seed104_plain() {
    assert_equal("seed104-plain.pcap.gz", "seed104-plain.txt");
}

#[test]
fn seed105_snaplen_116() {
    assert_equal("seed105-snap116.pcap.gz", "seed105-snap116.txt");
}

#[test]
fn seed106_snaplen_1600() {
    assert_equal("seed106-snap1600.pcap.gz", "seed106-snap1600.txt");
}

#[test]
fn odd_packets() {
    assert_equal("odd.pcap.gz", "odd.txt");
}

#[test]
fn edges_of_every_field() {
    assert_equal("edges.pcap.gz", "edges.txt");
}

#[test]
fn random_packets() {
    assert_equal("random160.pcap.gz", "random160.txt");
    assert_equal("random1600.pcap.gz", "random1600.txt");
}

#[test]
fn freebsd() {
    assert_equal("freebsd.pcap.gz", "freebsd.txt");
}
