//! The text of tcpdump.org's `tcpdump -S -ner` for one logged packet, which FreeBSD has in its base
//! system.
//!
//! It is the text of version 4.99.3 as Debian builds it. Where that version looks into a payload, or
//! prints a protocol that is not named here, this is printed instead:
//!
//! | packet | printed |
//! |---|---|
//! | UDP to or from any port | `UDP, length` and the length |
//! | TCP to or from any port | the TCP header and `length` |
//! | Multipath TCP (option 30) | `mptcp 0x` and the option's data |
//! | SCTP, DCCP | addresses, `ip-proto-N` and its length |
//! | OSPF, VRRP or CARP, PIM, EGP, IGRP, EIGRP, RSVP, PGM, mobile IP, Ethernet | `ip-proto-N` and its length |
//! | IGMP carrying DVMRP or PIM | the IGMP type alone |
//! | GRE carrying anything but IP | `gre-proto-` and the protocol |
//! | an unknown address family, ICMPv6 type or code | the same without the dump in hexadecimal below it |
//!
//! The names of two reasons are swapped by that version of tcpdump; see [`REASONS`].

mod gre;
mod icmp;
mod icmp6;
mod igmp;
mod ip;
mod ip6;
mod ipsec;
mod mobility;
mod node;
mod octets;
mod options;
mod renumber;
mod tcp;
mod tcpopt;
mod udp;

use super::line::Line;
use crate::pflog::{Family, Header};
use octets::Cut;

/// What a printer comes back with: the mark that ends the line, if the packet was cut off.
type Printed = Result<(), Cut>;

/// Reasons by number. Number 3 (short) has no name in tcpdump, whose table gives it to number 4
/// (normalize); the numbers beyond are those of single systems.
const REASONS: [&str; 15] = [
    "0(match)",
    "1(bad-offset)",
    "2(fragment)",
    "",
    "3(short)",
    "5(memory)",
    "6(bad-timestamp)",
    "7(congestion)",
    "8(ip-option)",
    "9(proto-cksum)",
    "10(state-mismatch)",
    "11(state-insert)",
    "12(state-limit)",
    "13(src-limit)",
    "14(synproxy)",
];

/// Actions by number; number 3 (noscrub) has no name.
const ACTIONS: [&str; 11] =
    ["pass", "block", "scrub", "", "nat", "nonat", "binat", "nobinat", "rdr", "nordr", "synproxy-drop"];

/// Directions by number.
const DIRECTIONS: [&str; 3] = ["in/out", "in", "out"];

/// Prints the record of `header` and `packet`, which was `len` octets long.
pub(super) fn packet(line: &mut Line<'_>, header: &Header<'_>, packet: &[u8], len: u32) {
    rule(line, header);
    let printed = match header.family {
        Family::V4 => ip::print(line, packet, len, 0),
        Family::V6 => ip6::print(line, packet, len, 0),
        Family::Other(_) => Ok(()),
    };
    if let Err(cut) = printed {
        mark(line, cut.0);
    }
}

/// ` [|tcp]`
pub(super) fn mark(line: &mut Line<'_>, protocol: &'static str) {
    line.text(" [|").text(protocol).text("]");
}

/// `rule 3.anchor.1/0(match): block in on em0: `
fn rule(line: &mut Line<'_>, header: &Header<'_>) {
    line.text("rule ").dec(header.rule.unwrap_or(u32::MAX));
    if let Some(subrule) = header.subrule {
        line.text(".").careted(header.ruleset()).text(".").dec(subrule);
    }
    line.text("/");
    named(line, &REASONS, header.reason);
    line.text(": ");
    named(line, &ACTIONS, header.action);
    line.text(" ");
    named(line, &DIRECTIONS, header.direction);
    line.text(" on ").careted(header.ifname()).text(": ");
}

/// The name that `number` has in `names`, or the number.
fn named(line: &mut Line<'_>, names: &[&'static str], number: u8) {
    match names.get(usize::from(number)) {
        Some(name) if !name.is_empty() => line.text(name),
        _ => line.text("unkn(").dec(number).text(")"),
    };
}

/// ` (invalid)`
fn invalid(line: &mut Line<'_>) {
    line.text(" (invalid)");
}
