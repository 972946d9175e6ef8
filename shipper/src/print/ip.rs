//! IPv4 (RFC 791).

use super::bytes::{array, be16};
use super::line::Line;
use super::net::{Addr, Net, protocol};
use super::{MAX_NESTING, carp, gre, icmp, igmp, ip6, ipsec, mobile, tcp, too_deep, udp};

/// Octets of an IPv4 header without options.
const HEADER: u32 = 20;

/// Flag and mask of the field that holds the fragment offset.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Network disk, which tcpdump remembers.
const ND: u8 = 77;

/// Prints the packet at the start of `bytes`, which its surroundings say is `length` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) {
    if depth > MAX_NESTING {
        return too_deep(line);
    }
    let (Some(header), Some(src), Some(dst)) = (array::<20>(bytes, 0), array(bytes, 12), array(bytes, 16))
    else {
        line.text("[|ip]");
        return;
    };
    let [version, _, len_hi, len_lo, _, _, off_hi, off_lo, _, protocol, ..] = *header;
    if version >> 4 != 4 {
        line.text("bad-ip-version ").dec(version >> 4);
        return;
    }
    let mut len = u32::from(be16(&[len_hi, len_lo]));
    if length < len {
        line.text("truncated-ip - ").dec(len - length).text(" bytes missing!");
        len = length;
    }
    let header_len = u32::from(version & 0xf) * 4;
    let Some(len) = len.checked_sub(header_len).filter(|_| header_len >= HEADER) else {
        line.text("bad-hlen ").dec(header_len);
        return;
    };

    let net = Net { src: Addr::V4(src), dst: Addr::V4(dst), protocol };
    let fragment = be16(&[off_hi, off_lo]);
    if fragment & OFFSET_MASK == 0 {
        let Some(payload) = bytes.get(header_len as usize..) else {
            line.text("[|ip]");
            return;
        };
        match protocol {
            protocol::IPV4 => print(line, payload, len, depth + 1),
            protocol::IPV6 => ip6::print(line, payload, len, depth + 1),
            protocol::MOBILE => mobile::print(line, payload, len),
            protocol::CARP => carp::print(line, payload, len, header[8]),
            protocol::GRE => {
                net.ends(line);
                line.text(": ");
                gre::print(line, payload, len, depth);
            }
            _ => upper(line, payload, len, net),
        }
        // Behind these, tcpdump prints nothing more of this header.
        let encapsulation = match protocol {
            protocol::IPV4 | protocol::IPV6 => " (encap)",
            protocol::MOBILE => " (mobile encap)",
            _ => "",
        };
        if !encapsulation.is_empty() {
            line.text(encapsulation);
            return;
        }
    }
    trailer(line, header, net, len);
}

/// What is carried, other than another IP packet.
fn upper(line: &mut Line<'_>, payload: &[u8], len: u32, net: Net<'_>) {
    match net.protocol {
        protocol::TCP => tcp::print(line, payload, len, net),
        protocol::UDP => udp::print(line, payload, len, net),
        protocol::ICMP => icmp::print(line, payload, net),
        protocol::IGMP => igmp::print(line, payload, len, net),
        protocol::ESP => {
            net.ends(line);
            line.text(": ");
            ipsec::esp(line, payload, len);
        }
        protocol::AH => ipsec::ah(line, payload, len, net),
        protocol::IPCOMP => ipsec::ipcomp(line, payload, len, net),
        ND => {
            net.ends(line);
            line.text(": nd ").dec(len);
        }
        other => {
            net.ends(line);
            line.text(": ip-proto-").dec(other).text(" ").dec(len);
        }
    }
}

/// What follows the text of the packet's contents: fragment, DF, TOS, a low TTL.
fn trailer(line: &mut Line<'_>, header: &[u8; 20], net: Net<'_>, len: u32) {
    let [_, tos, _, _, id_hi, id_lo, off_hi, off_lo, ttl, ..] = *header;
    let fragment = be16(&[off_hi, off_lo]);
    let offset = fragment & OFFSET_MASK;
    if fragment & (OFFSET_MASK | MORE_FRAGMENTS) != 0 {
        if offset != 0 {
            net.ends(line);
            line.text(":");
        }
        line.text(" (frag ").dec(be16(&[id_hi, id_lo])).text(":").dec(len);
        line.text("@").dec(u32::from(offset) * 8);
        line.text(if fragment & MORE_FRAGMENTS != 0 { "+)" } else { ")" });
    }
    if fragment & DONT_FRAGMENT != 0 {
        line.text(" (DF)");
    }
    if tos != 0 {
        // The two bits of explicit congestion notification (RFC 3168): capable, experienced.
        let ecn = match tos & 3 {
            0 => "]",
            1 => " (C)]",
            2 => " (E)]",
            _ => " (EC)]",
        };
        line.text(" [tos 0x").hex(tos.into()).text(ecn);
    }
    if ttl <= 1 {
        line.text(" [ttl ").dec(ttl).text("]");
    }
}
