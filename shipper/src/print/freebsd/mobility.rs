//! The mobility header of IPv6 (RFC 6275).

use super::Printed;
use super::ip::cut_off;
use super::octets::Octets;
use crate::print::line::Line;

/// The messages: their names, and the length of header and message in octets.
const MESSAGES: [(&str, u32); 8] =
    [("BRR", 8), ("HoTI", 16), ("CoTI", 16), ("HoT", 24), ("CoT", 24), ("BU", 12), ("BA", 12), ("BE", 24)];

/// Prints the header at the start of `bytes`, with which the packet ends.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8]) -> Printed {
    let octets = Octets::new(bytes, "mobility");
    if !octets.has(2) {
        return Err(octets.cut());
    }
    let (units, kind) = (octets.u8(1)?, octets.u8(2)?);
    let len = 8 * (u32::from(units) + 1);
    let Some(&(name, minimum)) = MESSAGES.get(usize::from(kind)) else {
        line.text("mobility: type-#").dec(kind).text(" len=").dec(units);
        return Ok(());
    };
    if len < minimum {
        line.text("(header length ").dec(len).text(" is too small for type ").dec(kind).text(")");
        return Err(octets.cut());
    }
    line.text("mobility: ").text(name);
    match kind {
        3 | 4 => {
            let nonce = octets.u16(6)?;
            line.text(" nonce id=0x").hex(nonce.into());
        }
        5 => {
            let number = octets.u16(6)?;
            line.text(" seq#=").dec(number);
            if !octets.has(10) {
                cut_off(line, octets);
                return Ok(());
            }
            let flags = octets.u8(8)?;
            if flags >> 4 != 0 {
                line.text(" ");
                for (bit, letter) in [(0x80, "A"), (0x40, "H"), (0x20, "L"), (0x10, "K")] {
                    line.text(if flags & bit != 0 { letter } else { "" });
                }
            }
            lifetime(line, octets)?;
        }
        6 => {
            let status = octets.u8(6)?;
            line.text(" status=").dec(status);
            line.text(if octets.u8(7)? & 0x80 != 0 { " K" } else { "" });
            let number = octets.u16(8)?;
            line.text(" seq#=").dec(number);
            lifetime(line, octets)?;
        }
        7 => {
            let status = octets.u8(6)?;
            line.text(" status=").dec(status);
            let home = octets.array(8)?;
            line.text(" homeaddr ").addr6(home);
        }
        _ => {}
    }
    Ok(())
}

/// The lifetime of a binding, which counts units of four seconds.
fn lifetime(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let units = octets.u16(10)?;
    line.text(" lifetime=").dec(u32::from(units) << 2);
    Ok(())
}
