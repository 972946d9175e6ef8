//! ICMPv6 (RFC 4443), neighbour discovery (RFC 4861), multicast listener discovery (RFC 2710, 3810),
//! mobile IPv6 (RFC 6275), RPL (RFC 6550).

use super::octets::{Cut, Octets};
use super::{Printed, invalid, node, renumber};
use crate::print::line::Line;
use crate::print::net::protocol;

/// Where the packet that an error quotes starts, and where its addresses are from there.
const QUOTED: usize = 8;
const QUOTED_SRC: usize = QUOTED + 8;
const QUOTED_DST: usize = QUOTED + 24;

/// Prints the message at the start of `bytes`, which IP says is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Printed {
    let octets = Octets::new(bytes, "icmp6");
    if length == 0 {
        line.text("ICMP6, length 0");
        invalid(line);
        return Ok(());
    }
    let kind = octets.u8(0)?;
    line.text("ICMP6, ");
    match name(kind) {
        Some(name) => line.text(name),
        None => line.text("unknown icmp6 type (").dec(kind).text(")"),
    };
    let code = octets.u8(1)?;
    match kind {
        // No length stands behind a code that is not known.
        1 if !unreachable(line, octets, code)? => return Ok(()),
        2 => {
            let mtu = octets.u32(4)?;
            line.text(", mtu ").dec(mtu);
        }
        3 => match code {
            0 => address(line, " for ", octets, QUOTED_DST)?,
            1 => {
                line.text(" (reassembly)");
            }
            _ => {
                line.text(", unknown code (").dec(code).text(")");
            }
        },
        4 => parameter_problem(line, octets, code)?,
        128 | 129 => {
            let (id, number) = (octets.u16(4)?, octets.u16(6)?);
            line.text(", id ").dec(id).text(", seq ").dec(number);
        }
        130 => listener_query(line, octets, length)?,
        131 | 132 => listener(line, octets)?,
        135 => address(line, ", who has ", octets, 8)?,
        136 => address(line, ", tgt is ", octets, 8)?,
        137 => {
            address(line, ", ", octets, 24)?;
            address(line, " to ", octets, 8)?;
        }
        138 => renumber::print(line, octets)?,
        139 => node::query(line, octets)?,
        140 => node::reply(line, octets, length)?,
        143 => listener_report(line, octets, length)?,
        144 | 146 => {
            let id = octets.u16(4)?;
            line.text(", id 0x").hex_padded(id.into(), 4);
        }
        155 => rpl(line, code),
        _ => {}
    }
    line.text(", length ").dec(length);
    Ok(())
}

/// Words and the address at `at`; nothing of either if that was not captured.
fn address(line: &mut Line<'_>, words: &'static str, octets: Octets<'_>, at: usize) -> Printed {
    let addr = octets.array(at)?;
    line.text(words).addr6(addr);
    Ok(())
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        1 => "destination unreachable",
        2 => "packet too big",
        3 => "time exceeded in-transit",
        4 => "parameter problem",
        128 => "echo request",
        129 => "echo reply",
        130 => "multicast listener query",
        131 => "multicast listener report",
        132 => "multicast listener done",
        133 => "router solicitation",
        134 => "router advertisement",
        135 => "neighbor solicitation",
        136 => "neighbor advertisement",
        137 => "redirect",
        138 => "router renumbering",
        139 => "who-are-you request",
        140 => "who-are-you reply",
        141 => "inverse neighbor solicitation",
        142 => "inverse neighbor advertisement",
        143 => "multicast listener report v2",
        144 => "ha discovery request",
        145 => "ha discovery reply",
        146 => "mobile router solicitation",
        147 => "mobile router advertisement",
        155 => "RPL",
        200 => "mtrace response",
        201 => "mtrace message",
        _ => return None,
    })
}

/// Destination unreachable; `false` for a code behind which tcpdump prints no more than a dump.
fn unreachable(line: &mut Line<'_>, octets: Octets<'_>, code: u8) -> Result<bool, Cut> {
    match code {
        0 => line.text(", unreachable route"),
        1 => line.text(",  unreachable prohibited"),
        2 => line.text(", beyond scope"),
        3 => line.text(", unreachable address"),
        4 => line.text(", unreachable port"),
        _ => line.text(", unknown unreach code (").dec(code).text(")"),
    };
    match code {
        0 | 1 | 3 => address(line, " ", octets, QUOTED_DST)?,
        2 => {
            let src = octets.array(QUOTED_SRC)?;
            address(line, " ", octets, QUOTED_DST)?;
            line.text(", source address ").addr6(src);
        }
        4 => port_unreachable(line, octets)?,
        _ => {}
    }
    Ok(code < 5)
}

fn port_unreachable(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let (protocol, port) = quoted_port(octets).ok_or(octets.cut())?;
    address(line, ", ", octets, QUOTED_DST)?;
    match protocol {
        protocol::TCP => line.text(" tcp port "),
        _ => line.text(" udp port "),
    };
    line.dec(port);
    Ok(())
}

/// The protocol behind the extension headers of the quoted packet, if it is TCP or UDP, and the port
/// that it was sent to.
fn quoted_port(octets: Octets<'_>) -> Option<(u8, u16)> {
    let mut next = octets.u8(QUOTED + 6).ok()?;
    let mut at = QUOTED + 40;
    loop {
        let (following, units) = (octets.u8(at), octets.u8(at + 1));
        let len = match next {
            protocol::TCP | protocol::UDP => return Some((next, octets.u16(at + 2).ok()?)),
            0 | 43 | 60 => 8 * (usize::from(units.ok()?) + 1),
            44 if octets.u16(at + 2).ok()? & 0xfff8 == 0 => 8,
            protocol::AH => 4 * (usize::from(units.ok()?) + 2),
            _ => return None,
        };
        next = following.ok()?;
        at += len;
    }
}

fn parameter_problem(line: &mut Line<'_>, octets: Octets<'_>, code: u8) -> Printed {
    let _: &[u8; 16] = octets.array(QUOTED_DST)?;
    let octet = octets.u32(4)?;
    match code {
        0 => line.text(", erroneous - octet ").dec(octet),
        1 => line.text(", next header - octet ").dec(octet),
        2 => line.text(", option - octet ").dec(octet),
        3 => line.text(", incomplete header chain - octet ").dec(octet),
        _ => line.text(", code-#").dec(code),
    };
    Ok(())
}

/// Multicast listener query, whose version is told by its length.
fn listener_query(line: &mut Line<'_>, octets: Octets<'_>, length: u32) -> Printed {
    const V1_LEN: u32 = 24;
    const V2_LEN: u32 = 28;
    const SOURCE_LEN: u32 = 16;

    if length == V1_LEN {
        return listener(line, octets);
    }
    if length < V2_LEN {
        line.text(" unknown-version (len ").dec(length).text(") ");
        return Ok(());
    }
    line.text(" v2");
    let _ = octets.u16(4)?;
    address(line, " [gaddr ", octets, 8)?;
    let sources = octets.u16(26)?;
    if length < V2_LEN + u32::from(sources) * SOURCE_LEN {
        line.text(" [invalid number of sources]");
    } else if sources > 0 {
        line.text(", ").dec(sources).text(" source(s)");
    }
    line.text("]");
    Ok(())
}

/// The rest of a version 1 listener message, if it was captured.
fn listener(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    if octets.has(24) {
        // tcpdump puts no space before it.
        line.text("max resp delay: ").dec(octets.u16(4)?);
        line.text(" addr: ").addr6(octets.array(8)?);
    }
    Ok(())
}

/// Version 2 multicast listener report.
fn listener_report(line: &mut Line<'_>, octets: Octets<'_>, length: u32) -> Printed {
    if length < 8 {
        line.text(" [invalid len ").dec(length).text("]");
        return Ok(());
    }
    let groups = octets.u16(6)?;
    line.text(", ").dec(groups).text(" group record(s)");
    Ok(())
}

/// Routing over low-power networks, which puts nothing between its words.
fn rpl(line: &mut Line<'_>, code: u8) {
    if code & 0x80 != 0 {
        line.text(", (SEC) [worktodo]");
        return;
    }
    line.text(", (CLR)");
    match code {
        0 => line.text("DODAG Information Solicitation"),
        1 => line.text("DODAG Information Object"),
        2 => line.text("Destination Advertisement Object"),
        3 => line.text("Destination Advertisement Object Ack"),
        _ => line.text("RPL message, unknown code ").dec(code),
    };
}
