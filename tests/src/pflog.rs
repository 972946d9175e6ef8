//! A packet log as OpenBSD's pflogd writes it, made of blocked packets from given hosts.
//!
//! Format: pcap 2.4 in little-endian order, link type 117 (DLT_PFLOG), records that begin with OpenBSD's
//! `struct pfloghdr` (sys/net/if_pflog.h) and go on with the IP packet.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What pflogd keeps of a packet unless told otherwise, with its header.
const SNAPLEN: u32 = 160;
/// Octets of OpenBSD's pflog header.
const HEADER: u8 = 100;
/// The service's side of every packet.
const OUR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
const OUR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);

/// A log of `count` packets that came in from `hosts` in turn and were blocked, one every 37 ms from `start` (seconds
/// since 1970): TCP SYN, UDP and ICMP echo requests.
#[must_use]
pub fn blocked(hosts: &[IpAddr], count: usize, start: u32) -> Vec<u8> {
    let mut log = file_header();
    for (number, host) in hosts.iter().cycle().take(count).enumerate() {
        log.extend(record(*host, number, start));
    }
    log
}

/// What pflogd writes into a new log.
#[must_use]
pub fn file_header() -> Vec<u8> {
    [0xa1b2_c3d4, 0x0004_0002, 0, 0, SNAPLEN, 117].map(u32::to_le_bytes).concat()
}

/// The record of the packet of this number.
#[must_use]
pub fn record(host: IpAddr, number: usize, start: u32) -> Vec<u8> {
    let microseconds = number as u64 * 37_000;
    let packet = packet(host, number);
    let length = u32::from(HEADER) + packet.len() as u32;
    let kept = length.min(SNAPLEN);
    let (seconds, rest) = ((microseconds / 1_000_000) as u32, (microseconds % 1_000_000) as u32);
    let mut record = [start + seconds, rest, kept, length].map(u32::to_le_bytes).concat();
    record.extend(pflog_header(host));
    record.extend(&packet[..(kept - u32::from(HEADER)) as usize]);
    record
}

/// What newsyslog's gzip makes of a log.
#[must_use]
pub fn gzip(log: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(log).and_then(|()| encoder.finish()).expect("gzip in memory")
}

/// `rule 3/(match) block in on em0`.
fn pflog_header(host: IpAddr) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[0] = HEADER;
    header[1] = if host.is_ipv4() { 2 } else { 24 };
    header[2] = 1; // block
    header[4..7].copy_from_slice(b"em0");
    header[36..40].copy_from_slice(&3u32.to_be_bytes());
    header[40..44].fill(0xff); // no sub rule
    header[60] = 1; // in
    header
}

fn packet(host: IpAddr, number: usize) -> Vec<u8> {
    let kind = number % 3;
    let port = (1024 + number * 7 % 60_000) as u16;
    let (protocol, mut payload) = match (kind, host.is_ipv4()) {
        (0, _) => (6, tcp_syn(port, number as u32)),
        (1, _) => (17, udp(port)),
        (_, true) => (1, vec![8, 0, 0, 0, 0, 1, 0, number as u8]),
        (_, false) => (58, vec![128, 0, 0, 0, 0, 1, 0, number as u8]),
    };
    let pseudo = match host {
        IpAddr::V4(host) => [host.octets(), OUR_V4.octets()].concat(),
        IpAddr::V6(host) => [host.octets(), OUR_V6.octets()].concat(),
    };
    let mut summed = payload.clone();
    if protocol != 1 {
        summed.extend(pseudo);
        summed.extend([0, protocol]);
        summed.extend((payload.len() as u16).to_be_bytes());
    }
    let at = [16, 6, 2][kind];
    payload[at..at + 2].copy_from_slice(&checksum(&summed).to_be_bytes());
    let mut packet = match host {
        IpAddr::V4(host) => ipv4(host, protocol, payload.len()),
        IpAddr::V6(host) => ipv6(host, protocol, payload.len()),
    };
    packet.extend(payload);
    packet
}

fn ipv4(host: Ipv4Addr, protocol: u8, length: usize) -> Vec<u8> {
    let [high, low] = (20 + length as u16).to_be_bytes();
    let mut header = vec![0x45, 0, high, low, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    header.extend(host.octets());
    header.extend(OUR_V4.octets());
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    header
}

fn ipv6(host: Ipv6Addr, protocol: u8, length: usize) -> Vec<u8> {
    let [high, low] = (length as u16).to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, high, low, protocol, 64];
    header.extend(host.octets());
    header.extend(OUR_V6.octets());
    header
}

fn tcp_syn(port: u16, sequence: u32) -> Vec<u8> {
    let mut segment = [port.to_be_bytes(), 22u16.to_be_bytes()].concat();
    segment.extend(sequence.wrapping_mul(2_654_435_761).to_be_bytes());
    // No acknowledgement, 6 words of header, SYN, window 16384, option mss 1460.
    segment.extend([0, 0, 0, 0, 0x60, 0x02, 0x40, 0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
    segment
}

fn udp(port: u16) -> Vec<u8> {
    let mut datagram = [port.to_be_bytes(), 33434u16.to_be_bytes(), 20u16.to_be_bytes()].concat();
    datagram.extend([0; 14]);
    datagram
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words =
        octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
