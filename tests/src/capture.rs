//! Random packet logs: pflog records of every system, valid ones and damaged ones, from a seed.
#![forbid(unsafe_code)]

use crate::packets::{self, Random, V4};

/// A system that writes packet logs, by the header that it puts before each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// OpenBSD: 100 octets.
    OpenBsd,
    /// FreeBSD to 12 (61 octets), since 13 (68 or 69), and others like it.
    FreeBsd,
}

/// How a capture is written: its first four octets say in which byte order, and whether nanoseconds follow
/// the seconds.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Most significant octet first.
    pub big_endian: bool,
    /// Nanoseconds instead of microseconds.
    pub nanoseconds: bool,
}

impl Form {
    /// As pflogd writes it on most machines.
    pub const USUAL: Form = Form { big_endian: false, nanoseconds: false };

    fn word(self, word: u32) -> [u8; 4] {
        if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn header(self, snaplen: u32) -> Vec<u8> {
        let magic = if self.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let version = if self.big_endian { 0x0002_0004 } else { 0x0004_0002 };
        [magic, version, 0, 0, snaplen, 117].map(|word| self.word(word)).concat()
    }
}

/// A capture of `count` random packets that `system` logged, one a second. Some records are cut shorter than
/// the snap length; one in ten claims another length than it has.
pub fn random(random: &mut Random, system: System, form: Form, snaplen: u32, count: u32) -> Vec<u8> {
    let mut capture = form.header(snaplen);
    for number in 0..count {
        let (family, packet) = packets::packet(random);
        let mut record = header(random, system, family);
        record.extend(packet);
        let whole = record.len();
        let length = match random.below(20) {
            0 => whole + random.below(100),
            1 => whole.saturating_sub(random.below(60)),
            _ => whole,
        };
        record.truncate(snaplen as usize);
        if random.one_in(4) {
            record.truncate(1 + random.below(whole));
        }
        let fraction = number * if form.nanoseconds { 1_000 } else { 1 };
        for word in [1_790_000_000 + number, fraction, record.len() as u32, length as u32] {
            capture.extend(form.word(word));
        }
        capture.extend(record);
    }
    capture
}

/// A header with every action, reason and direction there is, and some that are not.
fn header(random: &mut Random, system: System, family: u8) -> Vec<u8> {
    let length = match system {
        System::OpenBsd => 100,
        System::FreeBsd => random.pick(&[61, 68, 69, 69, 69]),
    };
    let mut header = vec![0; usize::from(length).next_multiple_of(4)];
    header[0] = length;
    header[1] = match (system, family) {
        (_, V4) | (System::OpenBsd, _) => family,
        (System::FreeBsd, _) => random.pick(&[24, 28, 28, 30]),
    };
    if random.one_in(100) {
        header[1] = random.octet();
    }
    header[2] = random.below(16) as u8;
    header[3] = random.below(20) as u8;
    name(random, &mut header[4..20], &[b"em0", b"vlan1000", b"sixteen-octets-x"]);
    header[36..40].copy_from_slice(&(random.below(100) as u32).to_be_bytes());
    header[40..44].fill(0xff);
    if random.one_in(4) {
        name(random, &mut header[20..36], &[b"authpf", b"relayd/web", b"sixteen-octets-x"]);
        if random.one_in(2) {
            header[40..44].copy_from_slice(&(random.below(100) as u32).to_be_bytes());
        }
    }
    if random.one_in(20) {
        header[36..40].fill(0xff);
    }
    header[60] = random.below(4) as u8;
    header
}

/// Writes one of `names`, or seldom any octets, into a field of a header.
fn name(random: &mut Random, field: &mut [u8], names: &[&[u8]]) {
    if random.one_in(50) {
        let octets = random.octets(field.len());
        field.copy_from_slice(&octets);
    } else {
        let name = random.pick(names);
        field[..name.len()].copy_from_slice(name);
    }
}
