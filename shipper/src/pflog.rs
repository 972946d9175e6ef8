//! The header that pf(4) puts before each logged packet (pflog(4), `net/if_pflog.h`).

use crate::print::bytes::{array, u8_at, u32_at};

/// The smallest first octet that a tcpdump takes for a pflog header.
const MIN_LENGTH: u8 = 45;

/// Layouts of `struct pfloghdr`, told apart by the first octet of the header, which counts what it
/// holds without the padding to a multiple of four.
///
/// | first octet | system |
/// |---|---|
/// | 49 | pf built without users: old pfSense and OPNsense |
/// | 61 | FreeBSD to 12, NetBSD, DragonFly, macOS, old OpenBSD |
/// | 68, 69, 72 | FreeBSD since 13, pfSense since 2.5: an identifier of the rule at the end |
/// | 100 | OpenBSD since 4.9 |
///
/// What comes after the direction differs, and is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    system: System,
    /// Where the direction is.
    direction: usize,
}

impl Layout {
    fn of(length: u8) -> Option<Layout> {
        match length {
            100 => Some(Layout { system: System::OpenBsd, direction: 60 }),
            61..=72 => Some(Layout { system: System::FreeBsd, direction: 60 }),
            49 => Some(Layout { system: System::FreeBsd, direction: 48 }),
            _ => None,
        }
    }
}

/// Whose header it is; each system has a form of text of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// OpenBSD.
    OpenBsd,
    /// FreeBSD, and the others that use tcpdump.org's tcpdump.
    FreeBsd,
}

/// OpenBSD's header is printed from so many of its first octets. The packet's addresses, which differ
/// from record to record, are behind them.
pub const PRINTED: usize = 61;

/// Names of the reasons a packet was logged for, by number (`PFRES_NAMES`, `net/pfvar.h`).
const REASONS: [&str; 17] = [
    "match",
    "bad-offset",
    "fragment",
    "short",
    "normalize",
    "memory",
    "bad-timestamp",
    "congestion",
    "ip-option",
    "proto-cksum",
    "state-mismatch",
    "state-insert",
    "state-limit",
    "src-limit",
    "synproxy",
    "translate",
    "no-route",
];

/// Who matched a packet, and where it was met.
///
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whose header it is.
    pub system: System,
    /// What follows the header.
    pub family: Family,
    /// Number of the rule in the main ruleset; `None` is the implicit default rule.
    pub rule: Option<u32>,
    ruleset: &'a [u8; 16],
    /// Number of the rule in the anchor; `None` if there is none.
    pub subrule: Option<u32>,
    /// What pf did (`PF_PASS`, `PF_DROP`, ...).
    pub action: u8,
    /// Why (`PFRES_MATCH`, ...).
    pub reason: u8,
    /// Which way the packet went (`PF_INOUT`, `PF_IN`, `PF_OUT`).
    pub direction: u8,
    ifname: &'a [u8; 16],
}

/// The kind of packet behind the header, from the address family number of the system that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// An address family this program does not know.
    Other(u8),
}

/// Why a record is not a pflog header and a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer octets were captured than the header is long; whose it is, if that can be told.
    Short(Option<System>),
    /// The length octet is smaller than any pflog header.
    BadLength(u8),
    /// The length octet is that of a header this program does not know.
    UnknownLength(u8),
}

impl Header<'_> {
    /// Name of the anchor whose rule matched, empty in the main ruleset. It comes from the capture and may
    /// hold anything but NUL.
    pub fn ruleset(&self) -> &[u8] {
        before_nul(self.ruleset)
    }

    /// The interface; it, too, may hold anything.
    pub fn ifname(&self) -> &[u8] {
        before_nul(self.ifname)
    }

    /// pf's word for the reason, or `None` for a number OpenBSD does not use.
    pub fn reason_name(&self) -> Option<&'static str> {
        REASONS.get(usize::from(self.reason)).copied()
    }

    /// The word tcpdump prints for the action, empty for those it has no word for.
    pub fn action_name(&self) -> &'static str {
        match self.action {
            0 => "pass",
            1 => "block",
            2 => "scrub",
            4 | 5 => "nat",
            6 | 7 => "binat",
            8 | 9 => "rdr",
            12 => "match",
            _ => "",
        }
    }
}

/// Splits a captured record into its pflog header and what was captured of the packet.
pub fn parse(bytes: &[u8]) -> Result<(Header<'_>, &[u8]), Error> {
    let length = u8_at(bytes, 0).ok_or(Error::Short(None))?;
    if length < MIN_LENGTH {
        return Err(Error::BadLength(length));
    }
    let layout = Layout::of(length).ok_or(Error::UnknownLength(length))?;
    let short = Error::Short(Some(layout.system));
    let padded = usize::from(length).next_multiple_of(4);
    let (header, packet) = bytes.split_at_checked(padded).ok_or(short)?;
    read(header, layout).map(|header| (header, packet)).ok_or(short)
}

/// What all layouts have in common, and the direction. The rule numbers are in network order; uids,
/// pids and what follows the direction are not printed, so not read.
fn read(header: &[u8], layout: Layout) -> Option<Header<'_>> {
    let number = |at| u32_at(header, at).map(|number| (number != u32::MAX).then_some(number));
    Some(Header {
        system: layout.system,
        family: match (layout.system, u8_at(header, 1)?) {
            (_, 2) => Family::V4,
            // The number that IPv6 has on OpenBSD, FreeBSD and macOS; the file may come from any.
            (System::OpenBsd, 24) | (System::FreeBsd, 24 | 28 | 30) => Family::V6,
            (_, other) => Family::Other(other),
        },
        action: u8_at(header, 2)?,
        reason: u8_at(header, 3)?,
        ifname: array(header, 4)?,
        ruleset: array(header, 20)?,
        rule: number(36)?,
        subrule: number(40)?,
        direction: u8_at(header, layout.direction)?,
    })
}

fn before_nul(name: &[u8; 16]) -> &[u8] {
    name.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; 100] {
        let mut header = [0; 100];
        header[..4].copy_from_slice(&[100, 24, 1, 16]);
        header[4..8].copy_from_slice(b"vio0");
        header[20..36].copy_from_slice(b"sixteen-octets-x");
        header[36..40].copy_from_slice(&7u32.to_be_bytes());
        header[40..44].copy_from_slice(&u32::MAX.to_be_bytes());
        header[60] = 2;
        header
    }

    #[test]
    fn every_field() {
        let mut record = header().to_vec();
        record.extend(b"packet");
        let (parsed, packet) = parse(&record).unwrap();
        assert_eq!(
            parsed,
            Header {
                system: System::OpenBsd,
                family: Family::V6,
                rule: Some(7),
                ruleset: b"sixteen-octets-x",
                subrule: None,
                action: 1,
                reason: 16,
                direction: 2,
                ifname: b"vio0\0\0\0\0\0\0\0\0\0\0\0\0",
            }
        );
        assert_eq!((parsed.ruleset(), parsed.ifname()), (&b"sixteen-octets-x"[..], &b"vio0"[..]));
        assert_eq!(parsed.action_name(), "block");
        assert_eq!(parsed.reason_name(), Some("no-route"));
        assert_eq!(packet, b"packet");
    }

    #[test]
    fn short_at_every_length() {
        let header = header();
        for len in 0..100 {
            let system = (len > 0).then_some(System::OpenBsd);
            assert_eq!(parse(&header[..len]), Err(Error::Short(system)), "{len}");
        }
        assert!(parse(&header).is_ok());
    }

    #[test]
    fn other_lengths_are_named() {
        let mut record = [0; 256];
        for length in 0..=255 {
            record[0] = length;
            match (length, parse(&record)) {
                (0..=44, parsed) => assert_eq!(parsed, Err(Error::BadLength(length))),
                (100, parsed) => assert_eq!(parsed.unwrap().0.system, System::OpenBsd),
                (49 | 61..=72, parsed) => {
                    let (header, packet) = parsed.unwrap();
                    assert_eq!(header.system, System::FreeBsd);
                    assert_eq!(packet.len(), 256 - usize::from(length).next_multiple_of(4));
                }
                (_, parsed) => assert_eq!(parsed, Err(Error::UnknownLength(length))),
            }
        }
    }

    #[test]
    fn freebsd_headers() {
        for (length, padded, direction) in [(49, 52, 48), (61, 64, 60), (68, 68, 60), (69, 72, 60)] {
            for (family, expected) in [
                (2, Family::V4),
                (24, Family::V6),
                (28, Family::V6),
                (30, Family::V6),
                (10, Family::Other(10)),
            ] {
                let mut record = vec![0; padded];
                record[0] = length;
                record[1] = family;
                record[direction] = 1;
                assert_eq!(parse(&record[..padded - 1]), Err(Error::Short(Some(System::FreeBsd))));
                record.push(0x45);
                let (header, packet) = parse(&record).unwrap();
                assert_eq!((header.family, header.direction, packet), (expected, 1, &[0x45][..]));
            }
        }
    }
}
