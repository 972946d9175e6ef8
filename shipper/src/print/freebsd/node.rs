//! Node information (RFC 4620).

use super::Printed;
use super::ip::cut_off;
use super::octets::Octets;
use crate::print::line::Line;

/// Octets before the data.
const HEADER: usize = 16;

/// Letters of the flags for addresses, with their bits.
const LETTERS: [(u16, &str); 7] =
    [(0x40, "a"), (0x20, "G"), (0x10, "S"), (0x08, "L"), (0x04, "C"), (0x02, "A"), (0x01, "T")];

/// A query, behind its name.
pub(super) fn query(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    if octets.len() == 8 + 4 {
        line.text(" who-are-you request");
        return Ok(());
    }
    line.text(" node information query");
    let Ok(header) = octets.array::<HEADER>(0) else {
        cut_off(line, octets);
        return Ok(());
    };
    line.text(" (");
    let (question, flags) = (octets.u16(4)?, octets.u16(6)?);
    match question {
        0 => line.text("noop"),
        1 => supported(line, flags),
        2 => line.text("DNS name"),
        // The flag for what does not fit is for replies.
        3 => addresses(line.text("node addresses"), flags, LETTERS.get(..6).unwrap_or_default()),
        _ => line.text("unknown"),
    };
    if question > 1 {
        if octets.len() == HEADER {
            line.text(", 03 draft");
        } else {
            subject(line, octets, header[1])?;
        }
    }
    line.text(")");
    Ok(())
}

/// What a query is about, by its code.
fn subject(line: &mut Line<'_>, octets: Octets<'_>, code: u8) -> Printed {
    match code {
        0 if octets.len() == HEADER + 16 => {
            line.text(", subject=").addr6(octets.array(HEADER)?);
        }
        2 if octets.len() == HEADER + 4 => {
            line.text(", subject=").addr4(octets.array(HEADER)?);
        }
        0 | 2 => {}
        1 => {
            line.text(", subject=DNS name");
            name(line, Octets::new(octets.rest(HEADER), "icmp6"))?;
        }
        _ => {
            line.text(", unknown subject");
        }
    }
    Ok(())
}

/// A reply of `length` octets, behind its name.
pub(super) fn reply(line: &mut Line<'_>, octets: Octets<'_>, length: u32) -> Printed {
    if length as usize > octets.len() {
        cut_off(line, octets);
        return Ok(());
    }
    let Ok(header) = octets.array::<HEADER>(0) else {
        cut_off(line, octets);
        return Ok(());
    };
    line.text(" node information reply (");
    if header[1] != 0 {
        line.text(match header[1] {
            1 => "refused)",
            2 => "unknown)",
            _ => ")",
        });
        return Ok(());
    }
    let flags = octets.u16(6)?;
    match octets.u16(4)? {
        0 => {
            line.text("noop");
        }
        1 => {
            supported(line, flags);
        }
        2 => {
            line.text("DNS name");
            name(line, Octets::new(octets.rest(HEADER + 4), "icmp6"))?;
            if flags & 1 != 0 {
                let ttl = octets.u32(HEADER)?;
                line.text(" [TTL=").dec(ttl).text("]");
            }
        }
        3 => {
            line.text("node addresses");
            for at in (HEADER..).step_by(20).take_while(|at| octets.has(at + 20)) {
                line.text(" ").addr6(octets.array(at + 4)?);
                line.text("(").dec(octets.u32(at)?).text(")");
            }
            addresses(line, flags, &LETTERS);
        }
        _ => {
            line.text("unknown");
        }
    }
    line.text(")");
    Ok(())
}

fn supported<'l, 'o>(line: &'l mut Line<'o>, flags: u16) -> &'l mut Line<'o> {
    line.text("supported qtypes");
    match flags {
        0 => line,
        flags if flags & 1 != 0 => line.text(" [C]"),
        _ => line.text(" []"),
    }
}

fn addresses<'l, 'o>(
    line: &'l mut Line<'o>,
    flags: u16,
    letters: &[(u16, &'static str)],
) -> &'l mut Line<'o> {
    if flags == 0 {
        return line;
    }
    line.text(" [");
    for (bit, letter) in letters {
        line.text(if flags & bit != 0 { letter } else { "" });
    }
    line.text("]")
}

/// A name: in an older form after one length, else as labels (RFC 1035) without compression.
fn name(line: &mut Line<'_>, octets: Octets<'_>) -> Printed {
    let length = octets.u8(0)?;
    let mut rest = octets.rest(1);
    line.text(", \"");
    if usize::from(length) == rest.len() {
        line.careted(rest).text("\"");
        return Ok(());
    }
    let mut length = usize::from(length);
    loop {
        if length == 0 {
            line.text(match rest {
                [] => ".",
                [0] => "",
                _ => "???",
            });
            break;
        }
        let Some((label, behind)) = rest.split_at_checked(length) else {
            line.text("???");
            break;
        };
        line.careted(label);
        let Some((&next, behind)) = behind.split_first() else { break };
        line.text(if next != 0 && !behind.is_empty() { "." } else { "" });
        (length, rest) = (usize::from(next), behind);
    }
    line.text("\"");
    Ok(())
}
