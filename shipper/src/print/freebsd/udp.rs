//! UDP (RFC 768).

use super::ip::{Carried, cut_off};
use super::octets::Octets;
use crate::print::line::Line;
use crate::print::net::protocol;

/// Octets of a UDP header.
const HEADER: u32 = 8;

/// Prints the datagram at the start of `bytes`, which IP says is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, carried: Carried<'_>) {
    let octets = Octets::new(bytes, "udp");
    let (Ok(sport), Ok(dport)) = (octets.u16(0), octets.u16(2)) else {
        if carried.net.protocol == protocol::UDP {
            carried.net.ends(line);
            line.text(": ");
        }
        return cut_off(line, octets);
    };
    carried.net.ends_if_next(line, protocol::UDP, sport, dport);
    let Some(rest) = length.checked_sub(HEADER) else {
        line.text("truncated-udp ").dec(length);
        return;
    };
    let Ok(claimed) = octets.u16(4) else {
        return cut_off(line, octets);
    };
    // The length of a jumbogram does not fit into the header.
    let claimed = if claimed == 0 && length > 65_535 { length } else { claimed.into() };
    let Some(claimed) = claimed.checked_sub(HEADER) else {
        line.text("truncated-udplength ").dec(claimed);
        return;
    };
    if !octets.has(HEADER as usize) {
        return cut_off(line, octets);
    }
    if claimed > rest && !carried.fragmented {
        line.text("UDP, bad length ").dec(claimed).text(" > ").dec(rest);
    } else {
        line.text("UDP, length ").dec(claimed);
    }
}
