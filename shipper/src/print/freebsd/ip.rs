//! IPv4 (RFC 791), and what either version of IP carries.

use super::octets::Octets;
use super::{Printed, gre, icmp, icmp6, igmp, invalid, ip6, ipsec, mark, tcp, udp};
use crate::print::line::Line;
use crate::print::net::{Addr, Net, protocol};
use crate::print::{MAX_NESTING, too_deep};

/// Octets of a header without options.
const HEADER: u32 = 20;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Network disk, which tcpdump remembers.
const ND: u8 = 77;
const NO_NEXT_HEADER: u8 = 59;
const DCCP: u8 = 33;
const SCTP: u8 = 132;

/// Prints the packet at the start of `bytes`, which its surroundings say is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) -> Printed {
    if depth > MAX_NESTING {
        too_deep(line);
        return Ok(());
    }
    let octets = Octets::new(bytes, "ip");
    match octets.u8(0)? >> 4 {
        4 => {}
        6 => {
            line.text("IP6, wrong link-layer encapsulation");
            invalid(line);
            return Ok(());
        }
        version => {
            line.text("IP").dec(version);
            invalid(line);
            return Ok(());
        }
    }
    let header: &[u8; 20] = octets.array(0)?;
    if length < HEADER {
        line.text("truncated-ip ").dec(length);
        return Ok(());
    }
    let header_len = u32::from(header[0] & 0xf) * 4;
    if header_len < HEADER {
        line.text("bad-hlen ").dec(header_len);
        return Ok(());
    }
    let len = u32::from(u16::from_be_bytes([header[2], header[3]]));
    if length < len {
        line.text("truncated-ip - ").dec(len - length).text(" bytes missing! ");
    }
    let Some(payload_len) = len.checked_sub(header_len) else {
        line.text("bad-len ").dec(len);
        return Ok(());
    };
    let bytes = bytes.get(..len as usize).unwrap_or(bytes);

    let addresses = (octets.array(12)?, octets.array(16)?);
    let net = Net { src: Addr::V4(addresses.0), dst: Addr::V4(addresses.1), protocol: header[9] };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & OFFSET_MASK != 0 {
        net.ends(line);
        line.text(": ip-proto-").dec(net.protocol);
        return Ok(());
    }
    if !prints_addresses(net.protocol) {
        net.ends(line);
        line.text(": ");
    }
    let Some(payload) = bytes.get(header_len as usize..) else {
        line.text(" [remaining caplen(").dec(bytes.len() as u64);
        line.text(") < header length(").dec(header_len).text(")]");
        return Err(octets.cut());
    };
    let carried = Carried { net, protocol: net.protocol, fragmented: fragment & MORE_FRAGMENTS != 0 };
    carried.print(line, payload, payload_len, depth)
}

/// Whether the printer of `protocol` prints the addresses itself, with its ports.
pub(super) fn prints_addresses(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | DCCP | SCTP)
}

/// What an IP header says about the header behind it, and behind its extension headers.
#[derive(Clone, Copy)]
pub(super) struct Carried<'a> {
    /// The IP header.
    pub(super) net: Net<'a>,
    /// The protocol that comes next.
    pub(super) protocol: u8,
    /// Whether more fragments follow.
    pub(super) fragmented: bool,
}

impl Carried<'_> {
    /// Prints what is carried, which IP says is `length` octets long.
    pub(super) fn print(mut self, line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) -> Printed {
        let (mut bytes, mut length) = (bytes, length);
        while self.protocol == protocol::AH {
            let octets = Octets::new(bytes, "ah");
            self.protocol = octets.u8(0)?;
            let header_len = ipsec::ah(line, octets)?;
            length = length.wrapping_sub(header_len);
            bytes = octets.rest(header_len as usize);
        }
        let is_v4 = matches!(self.net.src, Addr::V4(_));
        match self.protocol {
            protocol::ESP => ipsec::esp(line, bytes, length)?,
            protocol::IPCOMP => ipsec::ipcomp(line, bytes)?,
            protocol::TCP => tcp::print(line, bytes, length, self.net)?,
            protocol::UDP => udp::print(line, bytes, length, self),
            protocol::ICMP if is_v4 => icmp::print(line, bytes, length)?,
            protocol::ICMP => requires(line, "[ICMP requires IPv4]"),
            protocol::ICMP6 if is_v4 => requires(line, "[ICMPv6 requires IPv6]"),
            protocol::ICMP6 => icmp6::print(line, bytes, length)?,
            protocol::IGMP if is_v4 => igmp::print(line, bytes, length)?,
            protocol::IGMP => requires(line, "[IGMP requires IPv4]"),
            protocol::IPV4 => print(line, bytes, length, depth + 1)?,
            protocol::IPV6 => ip6::print(line, bytes, length, depth + 1)?,
            protocol::GRE => gre::print(line, bytes, length, depth)?,
            ND => {
                line.text(" nd ").dec(length);
            }
            NO_NEXT_HEADER => {
                line.text("no next header");
            }
            other => {
                if prints_addresses(other) && other == self.net.protocol {
                    self.net.ends(line);
                    line.text(": ");
                }
                line.text(" ip-proto-").dec(other).text(" ").dec(length);
            }
        }
        Ok(())
    }
}

/// What belongs to the other version of IP.
fn requires(line: &mut Line<'_>, words: &'static str) {
    line.text(words);
    invalid(line);
}

/// The mark of a header that is cut off where tcpdump goes on.
pub(super) fn cut_off(line: &mut Line<'_>, octets: Octets<'_>) {
    mark(line, octets.cut().0);
}
