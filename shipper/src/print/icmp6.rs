//! ICMPv6 (RFC 4443), neighbour discovery (RFC 4861), multicast listener discovery (RFC 2710, 3810),
//! node information (RFC 4620).

use super::bytes::{array, u8_at, u16_at, u32_at};
use super::line::Line;
use super::net::protocol;

/// Where the packet that an error quotes starts, and where its destination is from there.
const QUOTED: usize = 8;
const QUOTED_DST: usize = QUOTED + 24;

/// Prints the message at the start of `bytes`, which IP says is `length` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32) {
    if message(line, bytes, length).is_none() {
        line.text("[|icmp6]");
    }
}

/// The message, or `None` where what tcpdump wants to see was not captured.
fn message(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Option<()> {
    let [kind, code] = *array(bytes, 0)?;
    match kind {
        1 => unreachable(line, bytes, code)?,
        2 => {
            let mtu = u32_at(bytes, 4)?;
            line.text("icmp6: too big ").dec(mtu);
        }
        3 => {
            let dst = array(bytes, QUOTED_DST)?;
            match code {
                0 => line.text("icmp6: time exceeded in-transit for ").addr6(dst),
                1 => line.text("icmp6: ip6 reassembly time exceeded"),
                _ => line.text("icmp6: time exceeded code-#").dec(code),
            };
        }
        4 => parameter_problem(line, bytes, code)?,
        128 => {
            line.text("icmp6: echo request");
        }
        129 => {
            line.text("icmp6: echo reply");
        }
        130 => listener_query(line, bytes, length)?,
        131 => listener(line.text("icmp6: multicast listener report "), bytes),
        132 => listener(line.text("icmp6: multicast listener done "), bytes),
        133 => {
            line.text("icmp6: router solicitation ");
        }
        134 => {
            line.text("icmp6: router advertisement");
        }
        135 => {
            let target = array(bytes, 8)?;
            line.text("icmp6: neighbor sol: who has ").addr6(target);
        }
        136 => {
            let target = array(bytes, 8)?;
            line.text("icmp6: neighbor adv: tgt is ").addr6(target);
        }
        137 => {
            let (target, dst) = (array(bytes, 8)?, array(bytes, 24)?);
            line.text("icmp6: redirect ").addr6(dst).text(" to ").addr6(target);
        }
        138 => {
            line.text("icmp6: router renum ");
            match code {
                0 => line.text("command"),
                1 => line.text("result"),
                _ => line.text("code-#").dec(code),
            };
        }
        139 => {
            let who_are_you = bytes.len() == QUOTED + 4;
            line.text(if who_are_you { "icmp6: who-are-you request" } else { "icmp6: FQDN request" });
        }
        140 => node_name(line, bytes, code),
        143 => listener_report(line, bytes, length)?,
        _ => {
            line.text("icmp6: type-#").dec(kind);
        }
    }
    Some(())
}

/// Destination unreachable.
fn unreachable(line: &mut Line<'_>, bytes: &[u8], code: u8) -> Option<()> {
    let (src, dst) = (array(bytes, QUOTED + 8)?, array(bytes, QUOTED_DST)?);
    // The port is looked for behind the first header, whatever kind of header comes next.
    let port = || Some((u8_at(bytes, QUOTED + 6)?, u16_at(bytes, QUOTED + 40 + 2)?));
    let port = if code == 4 { Some(port()?) } else { None };
    line.text("icmp6: ").addr6(dst);
    match (code, port) {
        (0, _) => line.text(" unreachable route"),
        (1, _) => line.text(" unreachable prohibited"),
        (2, _) => line.text(" beyond scope of source address ").addr6(src),
        (3, _) => line.text(" unreachable address"),
        (_, Some((protocol::TCP, port))) => line.text(" tcp port ").dec(port).text(" unreachable"),
        (_, Some((protocol::UDP, port))) => line.text(" udp port ").dec(port).text(" unreachable"),
        (_, Some((other, port))) => {
            line.text(" protocol ").dec(other).text(" port ").dec(port).text(" unreachable")
        }
        (_, None) => line.text(" unreachable code-#").dec(code),
    };
    Some(())
}

fn parameter_problem(line: &mut Line<'_>, bytes: &[u8], code: u8) -> Option<()> {
    array::<16>(bytes, QUOTED_DST)?;
    let octet = u32_at(bytes, 4)?;
    match code {
        0 => line.text("icmp6: parameter problem erroneous - octet ").dec(octet),
        1 => line.text("icmp6: parameter problem next header - octet ").dec(octet),
        2 => line.text("icmp6: parameter problem option - octet ").dec(octet),
        _ => line.text("icmp6: parameter problem code-#").dec(code),
    };
    Some(())
}

/// Multicast listener query, whose version is told by its length.
fn listener_query(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Option<()> {
    const V1_LEN: u32 = 24;
    const V2_LEN: u32 = 28;
    const SOURCE_LEN: u32 = 16;

    line.text("icmp6: multicast listener query ");
    if length == V1_LEN {
        listener(line, bytes);
        return Some(());
    }
    if length < V2_LEN {
        line.text("unknown-version (len ").dec(length).text(") ");
        return Some(());
    }
    line.text("v2 ");
    let group = array(bytes, 8)?;
    line.text(" [gaddr ").addr6(group);
    let sources = u16_at(bytes, 26)?;
    if length < V2_LEN + u32::from(sources) * SOURCE_LEN {
        line.text(" [invalid number of sources]");
    } else if sources > 0 {
        line.text(", ").dec(sources).text(" source(s)");
    }
    line.text("]");
    Some(())
}

/// The rest of a version 1 listener message, if it was captured.
fn listener(line: &mut Line<'_>, bytes: &[u8]) {
    if let (Some(delay), Some(group)) = (u16_at(bytes, 4), array(bytes, 8)) {
        line.text("max resp delay: ").dec(delay).text(" addr: ").addr6(group);
    }
}

/// Version 2 multicast listener report.
fn listener_report(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Option<()> {
    line.text("multicast listener report v2");
    if length < 8 {
        line.text(" [invalid len ").dec(length).text("]");
        return Some(());
    }
    let groups = u16_at(bytes, 6)?;
    line.text(", ").dec(groups).text(" group record(s)");
    Some(())
}

/// Node information reply, or its older form without a length before the name; guessed as tcpdump does.
fn node_name(line: &mut Line<'_>, bytes: &[u8], code: u8) {
    let data = bytes.get(QUOTED..).unwrap_or_default();
    let older = data.get(4..).unwrap_or_default();
    let name = data.get(13..).unwrap_or_default();
    let name_len = data.get(12).copied().unwrap_or(0);
    let is_older = code != 1
        && (usize::from(name_len) + 13).abs_diff(data.len()) > 2
        && older.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if is_older {
        line.text("icmp6: who-are-you reply(\"").escaped(older);
    } else {
        line.text("icmp6: FQDN reply(\"").escaped(name);
    }
    line.text("\")");
}
