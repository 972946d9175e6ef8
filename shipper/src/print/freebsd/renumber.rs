//! Router renumbering (RFC 2894).

use super::Printed;
use super::ip::cut_off;
use super::octets::Octets;
use crate::print::line::Line;

/// Octets of the header, of the part that selects prefixes, and of each that replaces them.
const HEADER: usize = 16;
const MATCH: usize = 24;
const USE: usize = 32;

/// Prints the message, behind its name.
pub(super) fn print(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let Ok(header) = octets.array::<HEADER>(0) else {
        cut_off(line, octets);
        return Ok(());
    };
    match header[1] {
        0 => line.text(", command"),
        1 => line.text(", result"),
        255 => line.text(", sequence number reset"),
        code => line.text(", code-#").dec(code),
    };
    line.text(", seq=").dec(octets.u32(4)?);
    if header[1] != 0 {
        return Ok(());
    }
    let Ok(&[code, length, _, matched, ..]) = octets.array::<MATCH>(HEADER) else {
        cut_off(line, octets);
        return Ok(());
    };
    line.text(" match(");
    match code {
        1 => line.text("add"),
        2 => line.text("change"),
        3 => line.text("setglobal"),
        code => line.text("#").dec(code),
    };
    line.text(",").addr6(octets.array(HEADER + 8)?).text("/").dec(matched).text(")");
    let words = i16::from(length) - 3;
    if words % 4 != 0 {
        cut_off(line, octets);
        return Ok(());
    }
    for number in 0..usize::try_from(words / 4).unwrap_or(0) {
        let at = HEADER + MATCH + USE * number;
        if !octets.has(at + USE) {
            cut_off(line, octets);
            return Ok(());
        }
        let (used, kept, flags) = (octets.u8(at)?, octets.u8(at + 1)?, octets.u8(at + 15)?);
        line.text(" use(");
        if flags != 0 {
            line.text(if flags & 0x80 != 0 { "V" } else { "" });
            line.text(if flags & 0x40 != 0 { "P" } else { "" }).text(",");
        }
        line.addr6(octets.array(at + 16)?).text("/").dec(used).text("/").dec(kept).text(")");
    }
    Ok(())
}
