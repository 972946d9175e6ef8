//! Generic routing encapsulation (RFC 2784, 2890, 1701; version 1: RFC 2637, and MikroTik's EoIP).

use super::bytes::{array, u8_at};
use super::line::Line;
use super::{ip, ip6};

/// Flags and the version.
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const STRICT_ROUTE: u16 = 0x0800;
const ACKNOWLEDGEMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

/// Protocols that are carried.
const KEEP_ALIVE: u16 = 0;
const IP: u16 = 0x0800;
const IP6: u16 = 0x86dd;
const WCCP: u16 = 0x883e;
const PPP: u16 = 0x880b;

/// Entries of the source route: kinds of addresses.
const ROUTE_IP: u16 = 0x0800;
const ROUTE_ASN: u16 = 0xfffe;

/// What is left of a packet: what was captured, and how many octets its surroundings say there are.
struct Rest<'a> {
    captured: &'a [u8],
    len: u32,
}

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.captured.split_first_chunk()?;
        self.captured = rest;
        // tcpdump's length wraps where the packet claims more headers than it has octets.
        self.len = self.len.wrapping_sub(N as u32);
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(|octets| u16::from_be_bytes(*octets))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(|octets| u32::from_be_bytes(*octets))
    }
}

/// Prints the header at the start of `bytes`, which IP says is `len` octets long with what follows.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], len: u32, depth: u32) {
    let mut rest = Rest { captured: bytes, len };
    let Some(flags) = rest.u16() else {
        line.text("[|gre]");
        return;
    };
    match flags & VERSION {
        0 => {
            line.text("gre");
            if plain(line, rest, flags, depth).is_none() {
                line.text("[|gre]");
            }
        }
        1 => match rest.u16() {
            None => {
                line.text("[|gre1]");
            }
            Some(PPP) => {
                line.text("pptp");
                if point_to_point(line, rest, flags).is_none() {
                    line.text("[|pptp]");
                }
            }
            Some(protocol) => {
                line.text("unknown-gre1-proto-").hex_padded(protocol.into(), 4);
            }
        },
        version => {
            line.text("gre-unknown-version=").dec(version);
        }
    }
}

/// Version 0; `None` where it is cut off.
fn plain(line: &mut Line<'_>, mut rest: Rest<'_>, flags: u16, depth: u32) -> Option<()> {
    let protocol = rest.u16()?;
    if flags & (CHECKSUM | ROUTING) != 0 {
        rest.u16()?;
        let offset = rest.u16()?;
        if flags & ROUTING != 0 {
            line.text(" off 0x").hex(offset.into());
        }
    }
    if flags & KEY != 0 {
        let key = rest.u32()?;
        // The key may hold a network identifier and a flow (RFC 7637).
        line.text(" key=").dec(key).text("|").dec(key >> 8).text("+").hex_padded(key & 0xff, 2);
    }
    if flags & SEQUENCE != 0 {
        let number = rest.u32()?;
        line.text(" seq ").dec(number);
    }
    if flags & ROUTING != 0 {
        while source_route(line, &mut rest)? {}
    }
    line.text(" ");
    if protocol == WCCP {
        line.text("wccp ");
        match u8_at(rest.captured, 0) {
            None => return Some(()),
            Some(first) if first >> 4 == 4 => {}
            Some(_) => {
                let Some(&[flags, service, alternate, primary]) = rest.captured.first_chunk() else {
                    line.text("[|wccp]");
                    return Some(());
                };
                // The length is that of before: so does tcpdump.
                rest.captured = rest.captured.get(4..).unwrap_or_default();
                line.text(if flags & 0x80 != 0 { "D:1" } else { "D:0" });
                line.text(if flags & 0x40 != 0 { " A:1" } else { " A:0" });
                line.text(" SId:").dec(service).text(" Alt:").dec(alternate).text(" Pri:").dec(primary);
                line.text(": ");
            }
        }
    }
    match protocol {
        KEEP_ALIVE => {
            line.text("keep-alive");
        }
        IP | WCCP => ip::print(line, rest.captured, rest.len, depth + 1),
        IP6 => ip6::print(line, rest.captured, rest.len, depth + 1),
        _ => {
            line.text("unknown-proto-").hex_padded(protocol.into(), 4);
        }
    }
    Some(())
}

/// Version 1 with PPP; `None` where it is cut off.
fn point_to_point(line: &mut Line<'_>, mut rest: Rest<'_>, flags: u16) -> Option<()> {
    let unfit = [
        (CHECKSUM, CHECKSUM, " cpset!"),
        (ROUTING, ROUTING, " rpset!"),
        (KEY, 0, " kpunset!"),
        (STRICT_ROUTE, STRICT_ROUTE, " spset!"),
    ];
    if let Some((.., words)) = unfit.into_iter().find(|&(flag, bad, _)| flags & flag == bad) {
        line.text(words);
        return Some(());
    }
    let payload = u32::from(rest.u16()?);
    let call = rest.u16()?;
    line.text(" callid ").dec(call);
    if flags & SEQUENCE != 0 {
        let number = rest.u32()?;
        line.text(" seq ").dec(number);
    }
    if flags & ACKNOWLEDGEMENT != 0 {
        let number = rest.u32()?;
        line.text(" ack ").dec(number);
    }
    if flags & SEQUENCE != 0 {
        if rest.len < payload {
            line.text(" truncated-pptp - ").dec(payload - rest.len).text(" bytes missing!");
        }
        line.text(": ppp ").dec(payload.min(rest.len));
    }
    Some(())
}

/// One entry of the source route: `false` for the last, `None` where it is cut off.
fn source_route(line: &mut Line<'_>, rest: &mut Rest<'_>) -> Option<bool> {
    let [k0, k1, offset, len] = *rest.take()?;
    let kind = u16::from_be_bytes([k0, k1]);
    if kind == 0 && len == 0 {
        return Some(false);
    }
    match kind {
        ROUTE_IP => hops(line.text(" (rtaf=ip"), rest.captured, offset, len, 4),
        ROUTE_ASN => hops(line.text(" (rtaf=asn"), rest.captured, offset, len, 2),
        _ => line.text(" (rtaf=0x").hex(kind.into()),
    };
    line.text(")");
    rest.captured = rest.captured.get(len.into()..)?;
    rest.len = rest.len.wrapping_sub(len.into());
    Some(true)
}

/// The places that a source route goes by, of `unit` octets each, as far as they were captured.
fn hops<'l, 'o>(line: &'l mut Line<'o>, bytes: &[u8], offset: u8, len: u8, unit: u8) -> &'l mut Line<'o> {
    if !offset.is_multiple_of(unit) {
        return line.text(" badoffset=").dec(offset);
    }
    if !len.is_multiple_of(unit) {
        return line.text(" badlength=").dec(len);
    }
    if offset >= len {
        return line.text(" badoff/len=").dec(offset).text("/").dec(len);
    }
    for at in (0..len).step_by(unit.into()) {
        let hop = bytes.get(usize::from(at)..).unwrap_or_default();
        if hop.len() < unit.into() {
            break;
        }
        line.text(if at == offset { " *" } else { " " });
        match (unit, array(hop, 0), array(hop, 0)) {
            (4, Some(addr), _) => line.addr4(addr),
            (_, _, Some(number)) => line.hex(u16::from_be_bytes(*number).into()),
            _ => break,
        };
    }
    line
}
