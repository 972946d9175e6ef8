//! ICMP (RFC 792, and the codes of RFC 1122, 1191, 1256, 1812).

use super::Printed;
use super::octets::{Cut, Octets};
use crate::print::icmp::around_unreachable;
use crate::print::line::Line;
use crate::print::net::protocol;

/// Where the packet that an error quotes starts, and where its destination is from there.
const QUOTED: usize = 8;
const QUOTED_DST: usize = QUOTED + 16;

/// tcpdump builds a message in a buffer with room for this many characters.
const MESSAGE_MAX: usize = 163;

/// Prints the message at the start of `bytes`, which IP says is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Printed {
    let octets = Octets::new(bytes, "icmp");
    let start = line.mark();
    line.text("ICMP ");
    let message_start = line.mark();
    if let Err(cut) = message(line, octets) {
        line.cut_to(start);
        return Err(cut);
    }
    let end = line.mark().min(message_start + MESSAGE_MAX);
    line.cut_to(end).text(", length ").dec(length);
    Ok(())
}

fn message(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let [kind, code] = *octets.array(0)?;
    match kind {
        0 | 8 => {
            line.text(if kind == 8 { "echo request" } else { "echo reply" });
            line.text(", id ").dec(octets.u16(4)?).text(", seq ").dec(octets.u16(6)?);
        }
        3 => unreachable(line, octets, code)?,
        4 => {
            line.text("source quench");
        }
        5 => redirect(line, octets, code)?,
        9 => advertisement(line, octets)?,
        10 => {
            line.text("router solicitation");
        }
        11 => {
            let _: &[u8; 4] = octets.array(QUOTED_DST)?;
            match code {
                0 => line.text("time exceeded in-transit"),
                1 => line.text("ip reassembly time exceeded"),
                _ => line.text("time exceeded-#").dec(code),
            };
        }
        12 => {
            match code {
                0 => line.text("parameter problem - octet ").dec(octets.u8(4)?),
                _ => line.text("parameter problem - code ").dec(code),
            };
        }
        13 => {
            line.text("time stamp query id ").dec(octets.u16(4)?).text(" seq ").dec(octets.u16(6)?);
        }
        14 => time_stamps(line, octets)?,
        15 => {
            line.text("information request");
        }
        16 => {
            line.text("information reply");
        }
        17 => {
            line.text("address mask request");
        }
        18 => {
            line.text("address mask is 0x").hex_padded(octets.u32(8)?, 8);
        }
        _ => {
            line.text("type-#").dec(kind);
        }
    }
    Ok(())
}

/// Destination unreachable.
fn unreachable(line: &mut Line<'_>, octets: Octets<'_>, code: u8) -> Printed {
    let dst = octets.array(QUOTED_DST)?;
    if let Some((before, after)) = around_unreachable(code) {
        line.text(before).addr4(dst).text(" unreachable").text(after);
        return Ok(());
    }
    match code {
        2 => {
            let protocol = octets.u8(QUOTED + 9)?;
            line.addr4(dst).text(" protocol ").dec(protocol).text(" unreachable");
        }
        3 => port_unreachable(line, octets, dst)?,
        4 => {
            let mtu = octets.u16(6)?;
            line.addr4(dst).text(" unreachable - need to frag");
            if mtu != 0 {
                line.text(" (mtu ").dec(mtu).text(")");
            }
        }
        _ => {
            line.addr4(dst).text(" unreachable - #").dec(code);
        }
    }
    Ok(())
}

fn port_unreachable(line: &mut Line<'_>, octets: Octets<'_>, dst: &[u8; 4]) -> Printed {
    let header_len = 4 * usize::from(octets.u8(QUOTED)? & 0xf);
    let port = octets.u16(QUOTED + header_len + 2)?;
    line.addr4(dst);
    match octets.u8(QUOTED + 9)? {
        protocol::TCP => line.text(" tcp port "),
        protocol::UDP => line.text(" udp port "),
        other => line.text(" protocol ").dec(other).text(" port "),
    };
    line.dec(port).text(" unreachable");
    Ok(())
}

fn redirect(line: &mut Line<'_>, octets: Octets<'_>, code: u8) -> Printed {
    let (gateway, dst) = (octets.array(4)?, octets.array(QUOTED_DST)?);
    match code {
        0 | 1 => line.text("redirect "),
        2 | 3 => line.text("redirect-tos "),
        _ => line.text("redirect-#").dec(code).text(" "),
    };
    line.addr4(dst).text(match code {
        0 | 2 => " to net ",
        1 | 3 => " to host ",
        _ => " to ",
    });
    line.addr4(gateway);
    Ok(())
}

/// Router advertisement.
fn advertisement(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let [count, size, l0, l1] = *octets.array(4)?;
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
    if size != 2 {
        line.text(" [size ").dec(size).text("]");
        return Ok(());
    }
    for number in 0..usize::from(count) {
        let at = 8 + 8 * number;
        let (router, preference) = (octets.array(at)?, octets.u32(at + 4)?);
        line.text(" {").addr4(router).text(" ").dec(preference).text("}");
    }
    Ok(())
}

/// Time stamp reply, in milliseconds since midnight.
fn time_stamps(line: &mut Line<'_>, octets: Octets<'_>) -> Result<(), Cut> {
    let times = [octets.u32(8)?, octets.u32(12)?, octets.u32(16)?];
    line.text("time stamp reply id ").dec(octets.u16(4)?).text(" seq ").dec(octets.u16(6)?);
    for (name, time) in [": org ", ", recv ", ", xmit "].into_iter().zip(times) {
        let seconds = time / 1000;
        line.text(name).dec_padded(seconds / 3600, 2).text(":").dec_padded(seconds / 60 % 60, 2);
        line.text(":").dec_padded(seconds % 60, 2).text(".").dec_padded(time % 1000, 3);
    }
    Ok(())
}
