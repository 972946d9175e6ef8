//! The header that pf(4) puts before each logged packet (pflog(4), `net/if_pflog.h`).

use crate::print::bytes::{array, u8_at, u32_at};

/// Size of OpenBSD's `struct pfloghdr`, and the value of its first octet.
const OPENBSD_LENGTH: u8 = 100;

/// The smallest first octet OpenBSD's tcpdump takes for a pflog header.
const MIN_LENGTH: u8 = 45;

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
/// The byte strings come from the capture: they end before their NUL and may hold anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// What follows the header.
    pub family: Family,
    /// Number of the rule in the main ruleset; `None` is the implicit default rule.
    pub rule: Option<u32>,
    /// Name of the anchor whose rule matched, empty in the main ruleset.
    pub ruleset: &'a [u8],
    /// Number of the rule in the anchor; `None` if there is none.
    pub subrule: Option<u32>,
    /// What pf did (`PF_PASS`, `PF_DROP`, ...).
    pub action: u8,
    /// Why (`PFRES_MATCH`, ...).
    pub reason: u8,
    /// Whether the packet was on its way out; pf's other directions all count as in.
    pub outbound: bool,
    /// The interface.
    pub ifname: &'a [u8],
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
    /// Fewer octets were captured than the header is long.
    Short,
    /// The length octet is smaller than any pflog header.
    BadLength(u8),
    /// The length octet is that of a header this program does not know.
    UnknownLength(u8),
}

impl Header<'_> {
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
    let length = u8_at(bytes, 0).ok_or(Error::Short)?;
    if length < MIN_LENGTH {
        return Err(Error::BadLength(length));
    }
    if length != OPENBSD_LENGTH {
        return Err(Error::UnknownLength(length));
    }
    let (header, packet) = bytes.split_at_checked(length.into()).ok_or(Error::Short)?;
    openbsd(header).map(|header| (header, packet)).ok_or(Error::Short)
}

/// OpenBSD's layout, unchanged from 7.4 to 7.8. The rule numbers are in network order; the uids, pids
/// and the translated addresses from offset 44 and 64 on are not printed, so not read.
fn openbsd(header: &[u8]) -> Option<Header<'_>> {
    let number = |at| u32_at(header, at).map(|number| (number != u32::MAX).then_some(number));
    Some(Header {
        family: match u8_at(header, 1)? {
            2 => Family::V4,
            24 => Family::V6,
            other => Family::Other(other),
        },
        action: u8_at(header, 2)?,
        reason: u8_at(header, 3)?,
        ifname: before_nul(array::<16>(header, 4)?),
        ruleset: before_nul(array::<16>(header, 20)?),
        rule: number(36)?,
        subrule: number(40)?,
        outbound: u8_at(header, 60)? == 2,
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
                family: Family::V6,
                rule: Some(7),
                ruleset: b"sixteen-octets-x",
                subrule: None,
                action: 1,
                reason: 16,
                outbound: true,
                ifname: b"vio0",
            }
        );
        assert_eq!(parsed.action_name(), "block");
        assert_eq!(parsed.reason_name(), Some("no-route"));
        assert_eq!(packet, b"packet");
    }

    #[test]
    fn short_at_every_length() {
        let header = header();
        for len in 0..100 {
            assert_eq!(parse(&header[..len]), Err(Error::Short), "{len}");
        }
        assert!(parse(&header).is_ok());
    }

    #[test]
    fn other_lengths_are_named() {
        let mut record = [0; 256];
        for length in 0..=255 {
            record[0] = length;
            match length {
                0..=44 => assert_eq!(parse(&record), Err(Error::BadLength(length))),
                100 => assert!(parse(&record).is_ok()),
                _ => assert_eq!(parse(&record), Err(Error::UnknownLength(length))),
            }
        }
    }
}
