//! IPv6 and its extension headers (RFC 8200).

use super::bytes::{array, be16, u8_at, u16_at, u32_at};
use super::line::Line;
use super::net::{Addr, Net, protocol};
use super::{MAX_NESTING, carp, gre, icmp6, igmp, ip, ipsec, tcp, too_deep, udp};

/// Octets of an IPv6 header.
const HEADER: u32 = 40;

/// Next header numbers of the extension headers, and of nothing.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;

/// Prints the packet at the start of `bytes`, which its surroundings say is `length` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) {
    if depth > MAX_NESTING {
        return too_deep(line);
    }
    let (Some(header), Some(src), Some(dst)) = (array::<40>(bytes, 0), array(bytes, 8), array(bytes, 24))
    else {
        line.text("[|ip6]");
        return;
    };
    let [v0, v1, v2, v3, len_hi, len_lo, next, hop_limit, ..] = *header;
    if length < HEADER {
        line.text("truncated-ip6 ").dec(length);
        return;
    }
    if v0 >> 4 != 6 {
        line.text("bad-ip6-version ").dec(v0 >> 4);
        return;
    }
    let len = u32::from(be16(&[len_hi, len_lo]));
    if length < len + HEADER {
        line.text("truncated-ip6 - ").dec(len + HEADER - length).text(" bytes missing!");
    }

    let net = Net { src: Addr::V6(src), dst: Addr::V6(dst), protocol: next };
    headers(line, bytes, len, net, depth);

    let flow = u32::from_be_bytes([v0, v1, v2, v3]);
    if flow & 0x0ff0_0000 != 0 {
        line.text(" [class 0x").hex(flow >> 20 & 0xff).text("]");
    }
    if flow & 0x000f_ffff != 0 {
        line.text(" [flowlabel 0x").hex(flow & 0x000f_ffff).text("]");
    }
    if hop_limit <= 1 {
        line.text(" [hlim ").dec(hop_limit).text("]");
    }
}

/// The headers behind the first, up to one that is not an extension header or was not captured.
fn headers(line: &mut Line<'_>, bytes: &[u8], len: u32, net: Net<'_>, depth: u32) {
    let mut next = net.protocol;
    let (mut at, mut last) = (HEADER as usize, HEADER as usize);
    let hop_limit = u8_at(bytes, 7).unwrap_or(0);
    if !matches!(next, protocol::TCP | protocol::UDP | protocol::AH | protocol::IPV4 | protocol::IPV6) {
        net.ends(line);
        line.text(": ");
    }
    while let Some(rest) = bytes.get(at..) {
        // Extension headers may claim more than the packet holds; tcpdump's length wraps then.
        let left = (len + HEADER).wrapping_sub(u32::try_from(at).unwrap_or(u32::MAX));
        let header_len = match next {
            HOP_BY_HOP => options(line, rest, "HBH ", "[|HBH]"),
            DESTINATION => options(line, rest, "DSTOPT ", "[|DSTOPT]"),
            FRAGMENT => fragment(line, rest, left),
            ROUTING => routing(line, rest),
            protocol::TCP => return tcp::print(line, rest, left, net),
            protocol::UDP => return udp::print(line, rest, left, net),
            protocol::ESP => return ipsec::esp(line, rest, left),
            protocol::AH => return ipsec::ah(line, rest, left, net),
            protocol::ICMP6 => return icmp6::print(line, rest, left),
            // From here on tcpdump gives the length of everything behind the first header.
            protocol::IPV4 | protocol::IPV6 => {
                if next == protocol::IPV4 {
                    ip::print(line, rest, len, depth + 1);
                } else {
                    print(line, rest, len, depth + 1);
                }
                line.text(" (encap)");
                return;
            }
            protocol::GRE => return gre::print(line, rest, len, depth),
            protocol::PIM => {
                line.text("PIM");
                return igmp::pim(line, rest);
            }
            protocol::CARP => {
                // tcpdump looks for it again, as far behind it as the last header was long.
                carp::print(line, rest, len, hop_limit);
                at = at.saturating_add(last);
                continue;
            }
            NO_NEXT_HEADER => {
                line.text("no next header");
                return;
            }
            _ => {
                // Not the number that was met, but the one in the first header: so does tcpdump.
                line.text("ip-proto-").dec(net.protocol).text(" ").dec(len);
                return;
            }
        };
        let (Some(header_len), Some(&following)) = (header_len, rest.first()) else {
            return;
        };
        (next, last) = (following, header_len);
        at = at.saturating_add(header_len);
    }
}

/// Hop-by-hop or destination options: their length, or `None` at the end of the capture.
fn options(line: &mut Line<'_>, bytes: &[u8], name: &'static str, cut: &'static str) -> Option<usize> {
    let len = u8_at(bytes, 1).map(|units| 8 * (usize::from(units) + 1));
    let whole = len.filter(|&len| len <= bytes.len());
    line.text(if whole.is_some() { name } else { cut });
    whole
}

/// A fragment header: its length if the packet's contents start here, else `None`.
fn fragment(line: &mut Line<'_>, bytes: &[u8], left: u32) -> Option<usize> {
    const LEN: u32 = 8;
    let (Some(field), Some(id)) = (u16_at(bytes, 2), u32_at(bytes, 4)) else {
        line.text("[|frag]");
        return None;
    };
    let (offset, more) = (field & 0xfff8, field & 1 != 0);
    line.text("frag (0x").hex_padded(id, 8).text(":");
    line.signed(i64::from(left.cast_signed()) - i64::from(LEN));
    line.text("@").dec(offset).text(if more { "+)" } else { ")" });
    if offset != 0 {
        return None;
    }
    line.text(" ");
    Some(LEN as usize)
}

/// A routing header: its length, or `None` where it cannot be followed.
fn routing(line: &mut Line<'_>, bytes: &[u8]) -> Option<usize> {
    let len = source_route(line, bytes);
    line.text(if len.is_some() { ")" } else { ", [|srcrt]" });
    len
}

fn source_route(line: &mut Line<'_>, bytes: &[u8]) -> Option<usize> {
    let [_, units, kind, left] = *array::<4>(bytes, 0)?;
    line.text("srcrt (len=").dec(units).text(", type=").dec(kind).text(", segleft=").dec(left);
    let len = 8 * (usize::from(units) + 1);
    if kind != 0 {
        return (len <= bytes.len()).then_some(len);
    }
    let reserved = u32_at(bytes, 4)?;
    if reserved != 0 {
        line.text(", rsv=0x").hex(reserved);
    }
    // Two units of eight octets for each address.
    if units % 2 == 1 {
        return None;
    }
    for i in 0..units / 2 {
        let addr = array(bytes, 8 + 16 * usize::from(i))?;
        line.text(", [").dec(i).text("]").addr6(addr);
    }
    Some(len)
}
