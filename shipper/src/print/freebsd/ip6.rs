//! IPv6 and its extension headers (RFC 8200), jumbograms (RFC 2675).

use super::ip::{Carried, cut_off, prints_addresses};
use super::octets::{Cut, Octets};
use super::{Printed, invalid, mobility, options};
use crate::print::line::Line;
use crate::print::net::{Addr, Net};
use crate::print::{MAX_NESTING, too_deep};

/// Octets of an IPv6 header.
const HEADER: u32 = 40;

/// Next header numbers of the extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const MOBILITY_OLD: u8 = 62;
const MOBILITY: u8 = 135;

/// In place of the header before the first.
const NO_HEADER: u8 = 255;

/// Prints the packet at the start of `bytes`, which its surroundings say is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, depth: u32) -> Printed {
    if depth > MAX_NESTING {
        too_deep(line);
        return Ok(());
    }
    let octets = Octets::new(bytes, "ip6");
    let header: &[u8; 40] = octets.array(0)?;
    if length < HEADER {
        line.text("truncated-ip6 ").dec(length);
        return Ok(());
    }
    if header[0] >> 4 != 6 {
        line.text("version error: ").dec(header[0] >> 4).text(" != 6");
        return Ok(());
    }
    let claimed = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let len = match claimed {
        // The true length may stand in a hop-by-hop option.
        0 => length.wrapping_add(HEADER),
        claimed => claimed + HEADER,
    };
    if claimed != 0 && length < len {
        missing(line, len - length);
    }
    let net = Net { src: Addr::V6(octets.array(8)?), dst: Addr::V6(octets.array(24)?), protocol: header[6] };
    let packet = Packet { net, whole: bytes, length, claimed };
    packet.headers(line, len, depth)
}

fn missing(line: &mut Line<'_>, octets: u32) {
    line.text("truncated-ip6 - ").dec(octets).text(" bytes missing!");
}

/// An IPv6 packet whose own header was read.
struct Packet<'a> {
    net: Net<'a>,
    /// What was captured, from the packet's first octet on.
    whole: &'a [u8],
    /// The length its surroundings claim.
    length: u32,
    /// The payload length it claims.
    claimed: u32,
}

impl Packet<'_> {
    /// The headers behind the first; `len` is the packet's length.
    fn headers(&self, line: &mut Line<'_>, mut len: u32, depth: u32) -> Printed {
        let snapped = self.whole.get(..len as usize).unwrap_or(self.whole);
        let (mut next, mut before) = (self.net.protocol, NO_HEADER);
        let (mut at, mut advance) = (0, HEADER as usize);
        let (mut fragmented, mut hop_by_hop, mut extended) = (false, false, false);
        let mut jumbo = None;
        while at < snapped.len() {
            len = len.checked_sub(u32::try_from(advance).unwrap_or(u32::MAX)).ok_or(Cut("ip6"))?;
            at = at.saturating_add(advance);
            if at == HEADER as usize && !prints_addresses(next) {
                self.net.ends(line);
                line.text(": ");
            }
            let rest = snapped.get(at..).unwrap_or_default();
            let followed = match next {
                HOP_BY_HOP => {
                    if hop_by_hop {
                        line.text("[The Hop-by-Hop Options header was already found]");
                        invalid(line);
                        return Ok(());
                    }
                    if before != NO_HEADER {
                        line.text("[The Hop-by-Hop Options header don't follow the IPv6 header]");
                        invalid(line);
                        return Ok(());
                    }
                    let followed = options::hop_by_hop(line, rest, self.claimed == 0, &mut jumbo)?;
                    if self.claimed == 0 && jumbo.is_none() {
                        line.text("[No valid Jumbo Payload Hop-by-Hop option found]");
                        invalid(line);
                        return Ok(());
                    }
                    hop_by_hop = true;
                    followed
                }
                DESTINATION => options::destination(line, rest)?,
                FRAGMENT => {
                    fragmented = true;
                    let followed = self.fragment(line, rest, at)?;
                    followed.filter(|&len| len < rest.len())
                }
                ROUTING => routing(line, rest)?,
                MOBILITY | MOBILITY_OLD => return mobility::print(line, rest),
                _ => {
                    let carried = Carried { net: self.net, protocol: next, fragmented };
                    return self.payload(line, carried, (at, len), jumbo, extended, depth);
                }
            };
            let (Some(followed), Some(&following)) = (followed, rest.first()) else {
                return Ok(());
            };
            extended = true;
            (next, before, advance) = (following, following, followed);
        }
        Ok(())
    }

    /// What is carried starts at `at` and has `len` octets, unless a `jumbo` payload option or a
    /// payload length of zero says otherwise.
    fn payload(
        &self,
        line: &mut Line<'_>,
        carried: Carried<'_>,
        (at, len): (usize, u32),
        jumbo: Option<u32>,
        extended: bool,
        depth: u32,
    ) -> Printed {
        let headers = u32::try_from(at).unwrap_or(u32::MAX);
        let (end, len) = match jumbo {
            Some(jumbo) => {
                let end = jumbo.wrapping_add(HEADER);
                let len = end.checked_sub(headers).ok_or(Cut("ip6"))?;
                if self.length < end {
                    missing(line, end - self.length);
                }
                (end, len)
            }
            None if self.claimed == 0 && extended => return Err(Cut("ip6")),
            None if self.claimed == 0 => (HEADER, 0),
            None => (self.claimed + HEADER, len),
        };
        let snapped = self.whole.get(..end as usize).unwrap_or(self.whole);
        carried.print(line, snapped.get(at..).unwrap_or_default(), len, depth)
    }

    /// The fragment header at `at`: its length if the packet's contents start behind it.
    fn fragment(&self, line: &mut Line<'_>, bytes: &[u8], at: usize) -> Result<Option<usize>, Cut> {
        const LEN: usize = 8;
        let offset = Octets::new(bytes, "frag6").u16(2)? & 0xfff8;
        let size = u64::from(self.claimed + HEADER).wrapping_sub(at as u64).wrapping_sub(LEN as u64);
        line.text("frag (").dec(offset).text("|").dec(size).text(")");
        if offset != 0 {
            return Ok(None);
        }
        line.text(" ");
        Ok(Some(LEN))
    }
}

/// A routing header: its length, unless it is invalid.
fn routing(line: &mut Line<'_>, bytes: &[u8]) -> Result<Option<usize>, Cut> {
    if bytes.is_empty() {
        cut_off(line, Octets::new(bytes, "ip6"));
        return Ok(None);
    }
    let octets = Octets::new(bytes, "rt6");
    line.text("RT6");
    let units = octets.u8(1)?;
    line.text(" (len=").dec(units);
    let kind = octets.u8(2)?;
    line.text(", type=").dec(kind);
    if kind == 0 {
        line.text(" [Deprecated]");
    }
    let left = octets.u8(3)?;
    line.text(", segleft=").dec(left);
    match kind {
        0 | 2 => {
            let reserved = octets.u32(4)?;
            if reserved != 0 {
                line.text(", rsv=0x").hex(reserved);
            }
        }
        4 => {
            let last = octets.u8(4)?;
            line.text(", last-entry=").dec(last);
            let flags = octets.u8(5)?;
            if flags != 0 {
                line.text(", flags=0x").hex(flags.into());
            }
            let tag = octets.u16(6)?;
            line.text(", tag=").hex(tag.into());
        }
        _ => {
            line.text(" (unknown type)");
            invalid(line);
            return Ok(None);
        }
    }
    if units % 2 == 1 {
        line.text(" (invalid length ").dec(units).text(")");
        invalid(line);
        return Ok(None);
    }
    for number in 0..units / 2 {
        let addr = octets.array(8 + 16 * usize::from(number))?;
        line.text(", [").dec(number).text("]").addr6(addr);
    }
    line.text(") ");
    Ok(Some(8 * (usize::from(units) + 1)))
}
