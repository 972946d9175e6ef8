//! TCP options (RFC 9293 and the RFCs named in IANA's registry).

use super::bytes::{array, u16_at, u32_at};
use super::line::Line;

/// Option kinds.
const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;

/// Why the options could not be followed to their end.
enum Stop {
    /// An option's length does not fit.
    Bad,
    /// The capture ends here.
    Cut,
}

/// Prints ` <options>`, `len` octets of which `captured` holds the first.
pub(crate) fn print(line: &mut Line<'_>, captured: &[u8], len: usize, ack: bool) {
    line.text(" ");
    let mut options = Options { rest: captured, left: len, ack };
    let mut separator = "<";
    while options.left > 0 {
        line.text(separator);
        match options.print_next(line) {
            Ok(END) => break,
            Ok(_) => separator = ",",
            Err(Stop::Bad) => {
                line.text("[bad opt]");
                break;
            }
            Err(Stop::Cut) => {
                line.text("[|tcp]");
                break;
            }
        }
    }
    line.text(">");
}

/// The options still to be printed.
struct Options<'a> {
    /// What was captured of them, and of what follows them.
    rest: &'a [u8],
    /// Octets that the header's length leaves for them.
    left: usize,
    /// Whether the segment acknowledges, which selective acknowledgements need.
    ack: bool,
}

impl Options<'_> {
    /// Prints one option and steps over what was printed of it; its kind is returned.
    ///
    /// Like tcpdump, this steps over the length that the kind should have, and prints the length that
    /// the option claims where that differs.
    fn print_next(&mut self, line: &mut Line<'_>) -> Result<u8, Stop> {
        let kind = self.octet()?;
        if kind == END || kind == NOP {
            self.left -= 1;
            line.text(if kind == END { "eol" } else { "nop" });
            return Ok(kind);
        }
        let len = self.octet()?;
        let claimed = usize::from(len);
        if claimed < 2 || claimed > self.left {
            return Err(Stop::Bad);
        }
        self.left -= 2;
        let printed = self.print_data(line, kind, claimed - 2)?;
        self.rest = self.rest.get(printed..).unwrap_or_default();
        self.left = self.left.saturating_sub(printed);
        if printed + 2 != claimed {
            print_len(line, claimed);
        }
        Ok(kind)
    }

    /// Prints the name and data of an option that claims `claimed` octets of data; returns how many
    /// octets of data it really has.
    fn print_data(&self, line: &mut Line<'_>, kind: u8, claimed: usize) -> Result<usize, Stop> {
        let (name, len) = match kind {
            2 => ("mss", 2),
            3 => ("wscale", 1),
            4 => ("sackOK", 0),
            SACK => return self.print_sack(line, claimed),
            6 => ("echo", 4),
            7 => ("echoreply", 4),
            8 => ("timestamp", 8),
            11 => ("cc", 4),
            12 => ("ccnew", 4),
            13 => ("ccecho", 4),
            19 => {
                line.text("tcpmd5:");
                return self.print_hex(line, claimed);
            }
            _ => {
                line.text("opt-").dec(kind).text(":");
                return self.print_hex(line, claimed);
            }
        };
        line.text(name);
        match len {
            0 if claimed != 0 => print_len(line, claimed + 2),
            0 => {}
            1 => {
                let &[number] = array(self.data(1)?, 0).ok_or(Stop::Cut)?;
                line.text(" ").dec(number);
            }
            2 => {
                let number = u16_at(self.data(2)?, 0).ok_or(Stop::Cut)?;
                line.text(" ").dec(number);
            }
            _ => {
                for at in (0..len).step_by(4) {
                    let number = u32_at(self.data(at + 4)?, at).ok_or(Stop::Cut)?;
                    line.text(" ").dec(number);
                }
            }
        }
        Ok(len)
    }

    fn print_sack(&self, line: &mut Line<'_>, claimed: usize) -> Result<usize, Stop> {
        if !claimed.is_multiple_of(8) || !self.ack {
            line.text("malformed sack [len ").dec(claimed as u64).text("] ");
            return Ok(claimed);
        }
        line.text("sack ").dec(claimed as u64 / 8).text(" ");
        for at in (0..claimed).step_by(8) {
            let block = self.data(at + 8)?;
            let start = u32_at(block, at).ok_or(Stop::Cut)?;
            let end = u32_at(block, at + 4).ok_or(Stop::Cut)?;
            line.text("{").dec(start).text(":").dec(end).text("} ");
        }
        Ok(claimed)
    }

    fn print_hex(&self, line: &mut Line<'_>, claimed: usize) -> Result<usize, Stop> {
        for &octet in self.rest.iter().take(claimed) {
            line.hex_padded(octet.into(), 2);
        }
        self.data(claimed)?;
        Ok(claimed)
    }

    /// The next `len` octets, if the header has room for them and they were captured.
    fn data(&self, len: usize) -> Result<&[u8], Stop> {
        if len > self.left {
            return Err(Stop::Bad);
        }
        self.rest.get(..len).ok_or(Stop::Cut)
    }

    /// Takes one captured octet.
    fn octet(&mut self) -> Result<u8, Stop> {
        let (&octet, rest) = self.rest.split_first().ok_or(Stop::Cut)?;
        self.rest = rest;
        Ok(octet)
    }
}

fn print_len(line: &mut Line<'_>, len: usize) {
    line.text("[len ").dec(len as u64).text("]");
}
