//! The text of OpenBSD's `tcpdump -S -ner` for one logged packet; of a packet that FreeBSD logged, that of
//! tcpdump.org's (`freebsd/`).
//!
//! Every printer takes what was captured from its header on, which may be less than there was, and
//! the length the layer below claims. What is missing is marked as tcpdump marks it: `[|tcp]`.
//!
//! Payloads are not dissected, because a dissector is a parser for whatever an attacker likes to send.
//! Where OpenBSD's tcpdump looks into a payload, this is printed instead:
//!
//! | packet | printed |
//! |---|---|
//! | UDP to or from any port (DNS, NTP, SNMP, VXLAN, ...), WireGuard | `udp` and its length |
//! | TCP port 179, 2049, 6633, 6653 (BGP, NFS, OpenFlow) | the TCP header alone |
//! | IGMP carrying DVMRP | the IGMP type alone |
//! | GRE carrying Ethernet, MPLS, NSH, NHRP, CDP or ERSPAN | `unknown-proto-` and the protocol |
//! | GRE carrying EoIP | `unknown-gre1-proto-6400` |
//! | GRE carrying PPP | `ppp` and its length |
//! | EtherIP, OSPF, IGRP, pfsync | `ip-proto-N` and its length |
//!
//! Where tcpdump prints what lies in memory behind the capture (a cut ESP, AH, IPComp or mobile IP
//! header, a cut mtrace, one octet of PIM over IPv6, a cut node information reply, ICMP parameter problem
//! code 2), the header counts as cut off here. Where it reads the end of one misaligned IP header from
//! another's, as it does for GRE with odd source routes twice inside one another, that is not followed.

pub(crate) mod bytes;
mod carp;
mod freebsd;
mod gre;
mod icmp;
mod icmp6;
mod igmp;
mod ip;
mod ip6;
mod ipsec;
pub(crate) mod line;
mod mobile;
mod net;
mod tcp;
mod tcpopt;
mod udp;

use crate::pflog::{Error, Family, Header, PRINTED, System, parse};
use line::Line;

/// How many IP headers inside one another are followed: more than fit into an Ethernet frame.
///
/// tcpdump has no limit. A packet of nothing but IP headers would use up the stack here.
const MAX_NESTING: u32 = 75;

/// The direction that OpenBSD's tcpdump calls `out`; all others are `in`.
const PF_OUT: u8 = 2;

/// Prints records. The text of a rule is kept, for its records come many in a row.
#[derive(Debug, Default)]
pub struct Printer {
    /// The octets of the header that the text was made of.
    header: Vec<u8>,
    /// The text, filled up to what is copied at once.
    rule: Vec<u8>,
    length: usize,
}

/// Most texts of rules are shorter than this. To copy a number of octets that is known takes less time.
const USUAL: usize = 64;

impl Printer {
    /// Appends the text of one record, without its time stamp and without a newline.
    ///
    /// `captured` is the record's pflog header and what was captured of the packet, `len` the length
    /// of both before anything was cut off. Whatever the octets are, what is appended is printable ASCII.
    ///
    /// A record without a pflog header this program knows still gets its text, in square brackets, and its
    /// error is returned so that it can be counted.
    pub fn packet(&mut self, out: &mut Vec<u8>, captured: &[u8], len: u32) -> Result<(), Error> {
        let line = &mut Line::new(out);
        let (header, packet) = match parse(captured) {
            Ok(parts) => parts,
            Err(error) => {
                unknown(line, error);
                return Err(error);
            }
        };
        // A length smaller than the header's is nonsense; tcpdump's arithmetic wraps, and so do its words.
        let header_len = captured.len().saturating_sub(packet.len());
        let len = len.wrapping_sub(u32::try_from(header_len).unwrap_or(u32::MAX));
        if header.system == System::FreeBsd {
            freebsd::packet(line, &header, packet, len);
            return Ok(());
        }
        let octets = captured.get(..PRINTED).unwrap_or(captured);
        if self.header != octets {
            self.header = octets.to_vec();
            self.rule.clear();
            rule(&mut Line::new(&mut self.rule), &header);
            self.length = self.rule.len();
            self.rule.resize(self.length.max(USUAL), 0);
        }
        match self.rule.first_chunk::<USUAL>() {
            Some(text) if self.length <= USUAL => line.first(*text, self.length),
            _ => line.printed(&self.rule),
        };
        match header.family {
            Family::V4 => ip::print(line, packet, len, 0),
            Family::V6 => ip6::print(line, packet, len, 0),
            Family::Other(number) => {
                line.text("unknown-af ").dec(number);
            }
        }
        Ok(())
    }
}

fn unknown(line: &mut Line<'_>, error: Error) {
    match error {
        // With the space before it that all marks have there.
        Error::Short(Some(System::FreeBsd)) => line.text(" [|pflog]"),
        Error::Short(_) => line.text("[|pflog]"),
        Error::BadLength(_) => line.text("[pflog: invalid header length!]"),
        Error::UnknownLength(length) => line.text("[pflog: unknown header length ").dec(length).text("]"),
    };
}

/// `rule 3.anchor.1/(match) block in on em0: `
fn rule(line: &mut Line<'_>, header: &Header<'_>) {
    line.text("rule ");
    match header.rule {
        None => line.text("def"),
        Some(rule) if header.ruleset().is_empty() => line.dec(rule),
        Some(rule) => {
            line.dec(rule).text(".").escaped(header.ruleset());
            match header.subrule {
                None => line.text(".def"),
                Some(subrule) => line.text(".").dec(subrule),
            }
        }
    };
    match header.reason_name() {
        Some(name) => line.text("/(").text(name),
        None => line.text("/(unkn ").dec(header.reason),
    };
    line.text(") ").text(header.action_name());
    line.text(if header.direction == PF_OUT { " out on " } else { " in on " });
    line.escaped(header.ifname()).text(": ");
}

/// What is printed in place of headers nested too deep.
fn too_deep(line: &mut Line<'_>) {
    line.text("[nested too deep]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::Reader;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::fs::File;
    use std::sync::LazyLock;

    /// Records of every kind the generator of the fixtures knows, not cut off.
    static RECORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let path = format!("{}/../tests/fixtures/pflog/seed106-snap1600.pcap.gz", env!("CARGO_MANIFEST_DIR"));
        let mut reader = Reader::new(GzDecoder::new(File::open(path).unwrap())).unwrap();
        let mut records = Vec::new();
        while let Ok(record) = reader.read() {
            records.push(record.captured.to_vec());
        }
        records
    });

    /// The text of a record, which must be printable ASCII.
    fn text(captured: &[u8], len: u32) -> String {
        let mut out = b"earlier line\n".to_vec();
        let _ = Printer::default().packet(&mut out, captured, len);
        let line = out.strip_prefix(b"earlier line\n").unwrap();
        assert!(!line.is_empty());
        assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", line.escape_ascii());
        String::from_utf8(line.to_vec()).unwrap()
    }

    /// A record of `packet` with an OpenBSD header.
    fn record(af: u8, packet: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 100];
        record[0] = 100;
        record[1] = af;
        record.extend(packet);
        record
    }

    #[test]
    fn every_truncation_of_every_kind() {
        for record in RECORDS.iter() {
            let len = record.len() as u32;
            let whole = text(record, len);
            let (rule, _) = whole.split_once(": ").unwrap();
            for cut in 0..record.len().min(300) {
                let ours = text(&record[..cut], len);
                assert_eq!(ours == "[|pflog]", cut < 100, "{cut}: {ours}");
                assert!(cut < 100 || ours.starts_with(rule), "{cut}: {ours}");
            }
        }
    }

    #[test]
    fn names_from_the_capture_cannot_forge_text() {
        let mut record = record(2, b"");
        record[4..20].copy_from_slice(b"em0\n00:00:0 \x1b[2J");
        record[20..36].copy_from_slice(b"\r\xff anchor\0ignore");
        assert_eq!(
            text(&record, 100),
            "rule 0.\\015\\377 anchor.0/(match) pass in on em0\\01200:00:0 \\033[2J: [|ip]"
        );
    }

    #[test]
    fn the_kept_text_follows_the_rule() {
        let first = record(2, b"");
        let mut printer = Printer::default();
        let mut text = |captured: &[u8]| {
            let mut out = Vec::new();
            printer.packet(&mut out, captured, 100).unwrap();
            String::from_utf8(out).unwrap()
        };
        // Action, reason, interface, anchor, rule, direction.
        for (at, octet, expected) in [
            (2, 1, "rule 0/(match) block in on : [|ip]"),
            (3, 1, "rule 0/(bad-offset) pass in on : [|ip]"),
            (4, b'a', "rule 0/(match) pass in on a: [|ip]"),
            (20, b'b', "rule 0.b.0/(match) pass in on : [|ip]"),
            (39, 4, "rule 4/(match) pass in on : [|ip]"),
            (60, 2, "rule 0/(match) pass out on : [|ip]"),
        ] {
            let mut other = first.clone();
            other[at] = octet;
            for _ in 0..2 {
                assert_eq!(text(&first), "rule 0/(match) pass in on : [|ip]");
                assert_eq!(text(&other), expected);
                assert_eq!(text(&other), expected);
            }
        }
    }

    #[test]
    fn numbers_without_a_name() {
        let mut record = record(30, b"");
        record[2] = 13;
        record[3] = 17;
        record[36..44].fill(0xff);
        assert_eq!(text(&record, 100), "rule def/(unkn 17)  in on : unknown-af 30");
    }

    #[test]
    fn nesting_has_an_end() {
        let v4 = |protocol| {
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&60_000u16.to_be_bytes());
            header[9] = protocol;
            header.to_vec()
        };
        let mut v6 = vec![0; 40];
        v6[0] = 0x60;
        v6[4..6].copy_from_slice(&60_000u16.to_be_bytes());
        v6[6] = 4;
        for unit in [v4(4), [v4(41), v6.clone()].concat()] {
            let text = text(&record(2, &unit.repeat(2_000)), u32::MAX);
            assert!(text.contains("[nested too deep]"));
            assert_eq!(text.matches(" (encap)").count(), MAX_NESTING as usize + 1);
        }
    }

    #[test]
    fn a_length_below_the_header_is_harmless() {
        let record = &RECORDS[0];
        for len in [0, 1, 99, 100, 101, u32::MAX] {
            text(record, len);
        }
    }

    proptest! {
        #[test]
        fn random_octets(
            header in proptest::array::uniform32(any::<u8>()),
            v6: bool,
            packet in proptest::collection::vec(any::<u8>(), 0..200),
            len: u32,
        ) {
            let mut captured = record(if v6 { 24 } else { 2 }, &packet);
            captured[2..34].copy_from_slice(&header);
            text(&captured, len);
            text(&packet, len);
            // Most random packets end at the version.
            if let Some(first) = captured.get_mut(100) {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            text(&captured, len);
        }

        #[test]
        fn mutated_packets(
            which: prop::sample::Index,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut: prop::sample::Index,
            len: Option<u32>,
        ) {
            let mut captured = which.get(&RECORDS).clone();
            for (at, octet) in changes {
                // The length octet stays, or all that is tested is its check.
                let at = 1 + at.index(captured.len().min(200) - 1);
                captured[at] = octet;
            }
            let whole = captured.len() as u32;
            captured.truncate(cut.index(captured.len()) + 1);
            text(&captured, len.unwrap_or(whole));
        }
    }
}
