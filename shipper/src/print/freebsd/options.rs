//! Hop-by-hop and destination options of IPv6 (RFC 8200, 2675, 2711, 6275).

use super::ip::cut_off;
use super::octets::{Cut, Octets};
use crate::print::line::Line;

/// Option types.
const PAD_1: u8 = 0;
const ROUTER_ALERT: u8 = 5;
const JUMBO: u8 = 0xc2;
const HOME_ADDRESS: u8 = 0xc9;

/// The smallest payload that may be announced by a jumbo payload option.
const JUMBO_MIN: u32 = 65_536;

/// A hop-by-hop options header: its length, unless its options are bad. `jumbo` becomes the payload
/// length of the first valid jumbo payload option, if one `may_be` there.
pub(super) fn hop_by_hop(
    line: &mut Line<'_>,
    bytes: &[u8],
    may_be: bool,
    jumbo: &mut Option<u32>,
) -> Result<Option<usize>, Cut> {
    let octets = Octets::new(bytes, "hbhopt");
    let Some(len) = announced(line, octets, "HBH ")? else { return Ok(None) };
    let mut seen = None;
    if check(line, bytes.get(2..len).unwrap_or_default(), &mut seen).is_none() {
        cut_off(line, octets);
        return Ok(None);
    }
    *jumbo = seen.filter(|&payload| may_be && payload >= JUMBO_MIN);
    Ok(Some(len))
}

/// A destination options header: its length. Its options are not looked at.
pub(super) fn destination(line: &mut Line<'_>, bytes: &[u8]) -> Result<Option<usize>, Cut> {
    announced(line, Octets::new(bytes, "dstopt"), "DSTOPT ")
}

/// The length of the header, if all of it is there.
fn announced(line: &mut Line<'_>, octets: Octets<'_>, name: &'static str) -> Result<Option<usize>, Cut> {
    let len = 8 * (usize::from(octets.u8(1)?) + 1);
    if !octets.has(len) {
        cut_off(line, octets);
        return Ok(None);
    }
    line.text(name);
    Ok(Some(len))
}

/// Steps over all options; `None` at the first that does not fit. What is wrong with it is printed as
/// far as tcpdump says it. `jumbo` becomes the number in the first jumbo payload option.
fn check(line: &mut Line<'_>, mut options: &[u8], jumbo: &mut Option<u32>) -> Option<()> {
    while let Some(&kind) = options.first() {
        let len = if kind == PAD_1 { 1 } else { usize::from(*options.get(1)?) + 2 };
        let option = options.get(..len)?;
        match kind {
            ROUTER_ALERT => sized(line, "rtalert", option, options.len(), 4)?,
            JUMBO => {
                sized(line, "jumbo", option, options.len(), 6)?;
                let number = option.last_chunk().map(|number| u32::from_be_bytes(*number));
                *jumbo = jumbo.or(number);
            }
            HOME_ADDRESS => at_least(line, option, options.len(), 18)?,
            _ => {}
        }
        options = options.get(len..)?;
    }
    Some(())
}

/// Whether an option of `wanted` octets fits into what is `left`, and has that length.
fn sized(line: &mut Line<'_>, name: &'static str, option: &[u8], left: usize, wanted: usize) -> Option<()> {
    if left < wanted {
        line.text("(").text(name).text(": trunc)");
        return None;
    }
    if option.len() != wanted {
        line.text("(").text(name).text(": invalid len ").dec(option.len() as u64 - 2).text(")");
        return None;
    }
    Some(())
}

fn at_least(line: &mut Line<'_>, option: &[u8], left: usize, wanted: usize) -> Option<()> {
    if left < wanted {
        line.text("(homeaddr: trunc)");
        return None;
    }
    if option.len() < wanted {
        line.text("(homeaddr: invalid len ").dec(option.len() as u64 - 2).text(")");
        return None;
    }
    Some(())
}
