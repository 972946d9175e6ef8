//! IGMP (RFC 2236), multicast traceroute and PIM, as far as tcpdump knows them.

use super::bytes::{array, u8_at};
use super::line::Line;
use super::net::Net;

/// Prints the message at the start of `bytes`, which IP says is `len` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], len: u32, net: Net<'_>) {
    net.ends(line);
    line.text(": ");
    let Some(&[kind, _, _, _, a, b, c, d]) = array(bytes, 0) else {
        line.text("[|igmp]");
        return;
    };
    let group = [a, b, c, d];
    match kind {
        0x11 => {
            line.text("igmp query");
            if group != [0; 4] {
                line.text(" [gaddr ").addr4(&group).text("]");
            }
        }
        0x12 => {
            line.text("igmp report ").addr4(&group);
        }
        0x13 => {
            line.text("igmp dvmrp");
        }
        0x14 => {
            line.text("igmp pim");
            pim(line, bytes);
        }
        0x16 => {
            line.text("igmp nreport ").addr4(&group);
        }
        0x17 => {
            line.text("igmp leave ").addr4(&group);
        }
        0x1e | 0x1f => {
            line.text(if kind == 0x1e { "mresp " } else { "mtrace " });
            if trace(line, bytes).is_none() {
                line.text("[|igmp]");
                return;
            }
        }
        _ => {
            line.text("igmp-").dec(kind & 0xf);
        }
    }
    if matches!(kind, 0x11 | 0x12) && len != 8 || kind == 0x13 && len < 8 {
        line.text(" [len ").dec(len).text("]");
    }
    if kind >> 4 != 1 {
        line.text(" [v").dec(kind >> 4).text("]");
    }
    if usize::try_from(len).is_ok_and(|len| bytes.len() < len) {
        line.text("[|igmp]");
    }
}

/// A question for the way that multicast takes, or the answer; `None` where it is cut off.
fn trace(line: &mut Line<'_>, bytes: &[u8]) -> Option<()> {
    let (src, dst, reply) = (array(bytes, 8)?, array(bytes, 12)?, array::<4>(bytes, 16)?);
    // tcpdump takes the three octets of the number for the low ones of a little-endian word.
    let [a, b, c] = *array(bytes, 20)?;
    let ttl = if reply[0] >> 4 == 0xe { Some(u8_at(bytes, 23)?) } else { None };
    line.dec(u32::from_le_bytes([a, b, c, 0])).text(": ").addr4(src);
    line.text(" to ").addr4(dst).text(" reply-to ").addr4(reply);
    if let Some(ttl) = ttl {
        line.text(" with-ttl ").dec(ttl);
    }
    Some(())
}

/// The type of a PIM message, which tcpdump takes for one of version 1.
pub(crate) fn pim(line: &mut Line<'_>, bytes: &[u8]) {
    let Some(&kind) = bytes.get(1) else { return };
    match kind {
        0 => line.text(" Query"),
        1 => line.text(" Register"),
        2 => line.text(" Register-Stop"),
        3 => line.text(" Join/Prune"),
        4 => line.text(" RP-reachable"),
        5 => line.text(" Assert"),
        6 => line.text(" Graft"),
        7 => line.text(" Graft-ACK"),
        8 => line.text(" Mode"),
        _ => line.text(" [type ").dec(kind).text("]"),
    };
}
