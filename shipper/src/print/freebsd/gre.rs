//! Generic routing encapsulation (RFC 2784, 2890, 1701; version 1: RFC 2637).

use super::octets::{Cut, Octets};
use super::{Printed, ip, ip6};
use crate::print::line::Line;

/// Flags and the version.
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGEMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

/// Protocols that are followed.
const IP: u16 = 0x0800;
const IP6: u16 = 0x86dd;

/// Entries of the source route: kinds of addresses.
const ROUTE_IP: u16 = 0x0800;
const ROUTE_ASN: u16 = 0xfffe;

/// What is left of a packet: octets that were captured and octets that IP says there are.
struct Rest<'a> {
    octets: Octets<'a>,
    len: u32,
}

impl<'a> Rest<'a> {
    /// Takes `N` octets.
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Cut> {
        let taken = self.octets.array(0)?;
        self.len = self.len.checked_sub(N as u32).ok_or(self.octets.cut())?;
        self.octets = Octets::new(self.octets.rest(N), "gre");
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Cut> {
        self.take().map(|octets| u16::from_be_bytes(*octets))
    }

    fn u32(&mut self) -> Result<u32, Cut> {
        self.take().map(|octets| u32::from_be_bytes(*octets))
    }
}

/// Prints the header at the start of `bytes`, which IP says is `length` octets long with what follows.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) -> Printed {
    let mut rest = Rest { octets: Octets::new(bytes, "gre"), len: length };
    let flags = rest.u16()?;
    line.text("GREv").dec(flags & VERSION);
    match flags & VERSION {
        0 => plain(line, rest, flags, length, depth),
        1 => point_to_point(line, rest, flags, length),
        _ => {
            line.text(" ERROR: unknown-version");
            Ok(())
        }
    }
}

fn plain(line: &mut Line<'_>, mut rest: Rest<'_>, flags: u16, length: u32, depth: u32) -> Printed {
    let protocol = rest.u16()?;
    if flags & (CHECKSUM | ROUTING) != 0 {
        let _ = rest.u16()?;
        let offset = rest.u16()?;
        line.text(", off 0x").hex(offset.into());
    }
    if flags & KEY != 0 {
        let key = rest.u32()?;
        line.text(", key=0x").hex(key);
    }
    if flags & SEQUENCE != 0 {
        let number = rest.u32()?;
        line.text(", seq ").dec(number);
    }
    if flags & ROUTING != 0 {
        while source_route(line, &mut rest)? {}
    }
    announce(line, protocol, length);
    line.text(": ");
    match protocol {
        IP => ip::print(line, rest.octets.rest(0), rest.len, depth + 1),
        IP6 => ip6::print(line, rest.octets.rest(0), rest.len, depth + 1),
        _ => {
            line.text("gre-proto-0x").hex(protocol.into());
            Ok(())
        }
    }
}

/// Version 1, which carries PPP.
fn point_to_point(line: &mut Line<'_>, mut rest: Rest<'_>, flags: u16, length: u32) -> Printed {
    let protocol = rest.u16()?;
    if flags & KEY != 0 {
        let key = rest.u32()?;
        line.text(", call ").dec(key & 0xffff);
    }
    if flags & SEQUENCE != 0 {
        let number = rest.u32()?;
        line.text(", seq ").dec(number);
    }
    if flags & ACKNOWLEDGEMENT != 0 {
        let number = rest.u32()?;
        line.text(", ack ").dec(number);
    }
    line.text(if flags & SEQUENCE == 0 { ", no-payload" } else { "" });
    announce(line, protocol, length);
    if flags & SEQUENCE != 0 {
        line.text(": gre-proto-0x").hex(protocol.into());
    }
    Ok(())
}

/// `, proto IPv4 (0x0800), length 40`, with tcpdump's words for EtherTypes.
fn announce(line: &mut Line<'_>, protocol: u16, length: u32) {
    let name = match protocol {
        0x00fe => "GRE-OSI",
        0x0200 => "PUP",
        0x0500 => "Sprite",
        0x0600 => "NS",
        0x0707 => "GeoNet (old)",
        IP => "IPv4",
        0x0806 => "ARP",
        0x1000 => "Trail",
        0x1111 => "CALM FAST",
        0x6001 => "MOP DL",
        0x6002 => "MOP RC",
        0x6003 => "DN",
        0x6004 => "LAT",
        0x6007 => "SCA",
        0x6558 => "TEB",
        0x8035 => "Reverse ARP",
        0x8038 => "Lanbridge",
        0x803c => "DEC DNS",
        0x803e => "DEC DTS",
        0x805b => "VEXP",
        0x805c => "VPROD",
        0x809b => "Appletalk",
        0x80f3 => "Appletalk ARP",
        0x8100 => "802.1Q",
        0x8137 => "IPX",
        IP6 => "IPv6",
        0x8808 => "MPCP",
        0x8809 => "Slow Protocols",
        0x880b => "PPP",
        0x8847 => "MPLS unicast",
        0x8848 => "MPLS multicast",
        0x8863 => "PPPoE D",
        0x8864 => "PPPoE S",
        0x886f => "MS NLB heartbeat",
        0x8870 => "Jumbo",
        0x888e => "EAPOL",
        0x8899 => "Realtek protocols",
        0x88a2 => "AoE",
        0x88a8 => "802.1Q-QinQ",
        0x88ca => "TIPC",
        0x88cc => "LLDP",
        0x88e5 => "802.1AE MACsec",
        0x88f7 => "PTP",
        0x8902 => "CFM",
        0x893a => "IEEE1905.1",
        0x8947 => "GeoNet",
        0x894f => "NSH",
        0x9000 => "Loopback",
        0x9100 => "802.1Q-9100",
        0x9200 => "802.1Q-9200",
        0xabcd => "CFM (old)",
        0xd28b => "Arista Vendor Specific Protocol",
        0xfefe => "OSI",
        _ => "unknown",
    };
    line.text(", proto ").text(name).text(" (0x").hex_padded(protocol.into(), 4);
    line.text("), length ").dec(length);
}

/// One entry of the source route; `false` for the last.
fn source_route(line: &mut Line<'_>, rest: &mut Rest<'_>) -> Result<bool, Cut> {
    let [k0, k1, offset, len] = *rest.take()?;
    let kind = u16::from_be_bytes([k0, k1]);
    if kind == 0 && len == 0 {
        return Ok(false);
    }
    let (name, unit) = match kind {
        ROUTE_IP => (", (rtaf=ip", 4),
        ROUTE_ASN => (", (rtaf=asn", 2),
        _ => {
            line.text(", (rtaf=0x").hex(kind.into()).text(")");
            skip(rest, len)?;
            return Ok(true);
        }
    };
    line.text(name);
    if offset % unit != 0 {
        line.text(", badoffset=").dec(offset);
    } else if len % unit != 0 {
        line.text(", badlength=").dec(len);
    } else if offset >= len {
        line.text(", badoff/len=").dec(offset).text("/").dec(len);
    } else {
        for at in (0..len).step_by(unit.into()) {
            let hop = if unit == 4 { rest.take().map(Hop::Addr) } else { rest.u16().map(Hop::System) };
            let Ok(hop) = hop else {
                line.text(")");
                return Err(rest.octets.cut());
            };
            line.text(if at == offset { " *" } else { " " });
            match hop {
                Hop::Addr(addr) => line.addr4(addr),
                Hop::System(number) => line.hex(number.into()),
            };
        }
        line.text(")");
        return Ok(true);
    }
    line.text(")");
    skip(rest, len)?;
    Ok(true)
}

/// A place that a source route goes by.
enum Hop<'a> {
    Addr(&'a [u8; 4]),
    System(u16),
}

/// Steps over `len` octets, which need not have been captured.
fn skip(rest: &mut Rest<'_>, len: u8) -> Printed {
    rest.len = rest.len.checked_sub(len.into()).ok_or(rest.octets.cut())?;
    rest.octets = Octets::new(rest.octets.rest(len.into()), "gre");
    Ok(())
}
