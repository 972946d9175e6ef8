//! IGMP (RFC 2236), as far as tcpdump knows it.

use super::bytes::array;
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
        }
        0x16 => {
            line.text("igmp nreport ").addr4(&group);
        }
        0x17 => {
            line.text("igmp leave ").addr4(&group);
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
