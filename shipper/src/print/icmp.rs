//! ICMP (RFC 792, and the codes of RFC 1122, 1191, 1256, 1812).

use super::bytes::{array, u8_at, u16_at, u32_at};
use super::line::Line;
use super::net::{Net, protocol};

/// Where the packet that an error quotes starts, and where its destination is from there.
const QUOTED: usize = 8;
const QUOTED_DST: usize = QUOTED + 16;

/// tcpdump builds a message in a buffer with room for this many characters.
const MESSAGE_MAX: usize = 511;

/// Prints the message at the start of `bytes`.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], net: Net<'_>) {
    net.ends(line);
    line.text(": ");
    let start = line.mark();
    line.text("icmp: ");
    if message(line, bytes).is_none() {
        line.cut_to(start).text("[|icmp]");
    }
}

/// The message, or `None` if what tcpdump wants to see was not captured.
fn message(line: &mut Line<'_>, bytes: &[u8]) -> Option<()> {
    let [kind, code] = *array(bytes, 0)?;
    match kind {
        0 => line.text("echo reply"),
        3 => unreachable(line, bytes, code)?,
        4 => line.text("source quench"),
        5 => redirect(line, bytes, code)?,
        8 => line.text("echo request"),
        9 => advertisement(line, bytes)?,
        10 => line.text("router solicitation"),
        11 => {
            array::<4>(bytes, QUOTED_DST)?;
            match code {
                0 => line.text("time exceeded in-transit"),
                1 => line.text("ip reassembly time exceeded"),
                _ => line.text("time exceeded-#").dec(code),
            }
        }
        12 => match code {
            1 => line.text("requested option absent"),
            2 => line.text("bad length ").dec(u8_at(bytes, 4)?),
            _ => line.text("parameter problem - octet ").dec(u8_at(bytes, 4)?),
        },
        13 => line.text("time stamp request"),
        14 => line.text("time stamp reply"),
        15 => line.text("information request"),
        16 => line.text("information reply"),
        17 => line.text("address mask request"),
        18 => line.text("address mask is 0x").hex_padded(u32_at(bytes, 8)?, 8),
        _ => line.text("type-#").dec(kind),
    };
    Some(())
}

/// What stands before and after the address that cannot be reached, where that is all that a code
/// says.
pub(super) fn around_unreachable(code: u8) -> Option<(&'static str, &'static str)> {
    Some(match code {
        0 => ("net ", ""),
        1 => ("host ", ""),
        5 => ("", " - source route failed"),
        6 => ("net ", " - unknown"),
        7 => ("host ", " - unknown"),
        8 => ("", " - source host isolated"),
        9 => ("net ", " - admin prohibited"),
        10 => ("host ", " - admin prohibited"),
        11 => ("net ", " - tos prohibited"),
        12 => ("host ", " - tos prohibited"),
        13 => ("host ", " - admin prohibited filter"),
        14 => ("host ", " - host precedence violation"),
        15 => ("host ", " - precedence cutoff"),
        _ => return None,
    })
}

/// Destination unreachable.
fn unreachable<'l, 'o>(line: &'l mut Line<'o>, bytes: &[u8], code: u8) -> Option<&'l mut Line<'o>> {
    let dst = array(bytes, QUOTED_DST)?;
    if let Some((before, after)) = around_unreachable(code) {
        return Some(line.text(before).addr4(dst).text(" unreachable").text(after));
    }
    match code {
        2 => {
            let protocol = u8_at(bytes, QUOTED + 9)?;
            Some(line.addr4(dst).text(" protocol ").dec(protocol).text(" unreachable"))
        }
        3 => port_unreachable(line, bytes, dst),
        4 => {
            let mtu = u16_at(bytes, 6)?;
            line.addr4(dst).text(" unreachable - need to frag");
            Some(if mtu == 0 { line } else { line.text(" (mtu ").dec(mtu).text(")") })
        }
        _ => Some(line.text("#").dec(code).text(" ").addr4(dst).text(" unreachable")),
    }
}

fn port_unreachable<'l, 'o>(line: &'l mut Line<'o>, bytes: &[u8], dst: &[u8; 4]) -> Option<&'l mut Line<'o>> {
    let header_len = 4 * usize::from(u8_at(bytes, QUOTED)? & 0xf);
    let protocol = u8_at(bytes, QUOTED + 9)?;
    let port = u16_at(bytes, QUOTED + header_len + 2)?;
    line.addr4(dst);
    match protocol {
        protocol::TCP => line.text(" tcp port "),
        protocol::UDP => line.text(" udp port "),
        other => line.text(" protocol ").dec(other).text(" port "),
    };
    Some(line.dec(port).text(" unreachable"))
}

fn redirect<'l, 'o>(line: &'l mut Line<'o>, bytes: &[u8], code: u8) -> Option<&'l mut Line<'o>> {
    let (gateway, dst) = (array(bytes, 4)?, array(bytes, QUOTED_DST)?);
    match code {
        0 | 1 => line.text("redirect "),
        2 | 3 => line.text("redirect-tos "),
        _ => line.text("redirect-#").dec(code).text(" "),
    };
    line.addr4(dst).text(if code == 1 { " to host " } else { " to net " });
    Some(line.addr4(gateway))
}

/// Router advertisement.
fn advertisement<'l, 'o>(line: &'l mut Line<'o>, bytes: &[u8]) -> Option<&'l mut Line<'o>> {
    let start = line.mark();
    let [count, size, l0, l1] = *array(bytes, 4)?;
    let lifetime = u32::from(u16::from_be_bytes([l0, l1]));
    let (hours, minutes, seconds) = (lifetime / 3600, lifetime % 3600 / 60, lifetime % 60);
    line.text("router advertisement lifetime ");
    if hours > 0 {
        line.dec(hours).text(":").dec_padded(minutes, 2).text(":").dec_padded(seconds, 2);
    } else if minutes > 0 {
        line.dec(minutes).text(":").dec_padded(seconds, 2);
    } else {
        line.dec(seconds);
    }
    line.text(" ").dec(count).text(":");
    if size == 2 {
        // tcpdump prints the first of the routers as often as there are routers.
        for _ in 0..count {
            let (router, preference) = (array(bytes, 8)?, u32_at(bytes, 12)?);
            line.text(" {").addr4(router).text(" ").dec(preference).text("}");
        }
    } else {
        line.text(" [size ").dec(size).text("]");
    }
    let end = line.mark().min(start + MESSAGE_MAX);
    Some(line.cut_to(end))
}
