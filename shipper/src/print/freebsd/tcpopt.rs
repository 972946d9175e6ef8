//! TCP options (RFC 9293 and the RFCs named in IANA's registry).

use super::invalid;
use super::ip::cut_off;
use super::octets::{Cut, Octets};
use crate::print::line::Line;

/// Option kinds.
const END: u8 = 0;
const NOP: u8 = 1;

/// Why the options could not be followed to their end.
enum Stop {
    /// An option's length does not fit.
    Bad,
    /// The capture ends within what an option must have.
    Short,
    /// The capture ends elsewhere.
    Cut(Cut),
}

impl From<Cut> for Stop {
    fn from(cut: Cut) -> Self {
        Stop::Cut(cut)
    }
}

/// Prints `, options [...]`, which are `len` octets long and of which `captured` holds the first; `whole`
/// says that all of the segment was captured. `false` if they are bad, after which tcpdump prints nothing more of the packet.
pub(super) fn print(line: &mut Line<'_>, captured: &[u8], len: usize, whole: bool) -> Result<bool, Cut> {
    line.text(", options [");
    let mut options = Options { octets: Octets::new(captured, "tcp"), left: len, whole };
    let mut separator = "";
    while options.left > 0 {
        line.text(separator);
        match options.print_next(line) {
            Ok(END) => break,
            Ok(_) => separator = ",",
            Err(stop) => {
                let closing = match stop {
                    Stop::Bad => {
                        line.text("[bad opt]");
                        "]"
                    }
                    Stop::Short => {
                        cut_off(line, options.octets);
                        ">"
                    }
                    Stop::Cut(cut) => return Err(cut),
                };
                line.text(if separator.is_empty() { "" } else { closing });
                return Ok(false);
            }
        }
    }
    line.text("]");
    Ok(true)
}

/// The options still to be printed.
struct Options<'a> {
    /// What was captured of them, and of what follows them.
    octets: Octets<'a>,
    /// Octets that the header's length leaves for them.
    left: usize,
    /// Whether all of the segment was captured, which its signature is of.
    whole: bool,
}

impl Options<'_> {
    /// Prints one option and steps over what was printed of it; its kind is returned.
    ///
    /// Like tcpdump, this steps over the length that the kind should have, and prints the length that
    /// the option claims where that differs.
    fn print_next(&mut self, line: &mut Line<'_>) -> Result<u8, Stop> {
        let kind = self.octets.u8(0)?;
        if kind == END || kind == NOP {
            line.text(if kind == END { "eol" } else { "nop" });
            self.step(1);
            return Ok(kind);
        }
        let claimed = usize::from(self.octets.u8(1)?);
        if claimed < 2 || claimed > self.left {
            return Err(Stop::Bad);
        }
        self.step(2);
        let printed = self.print_data(line, kind, claimed - 2)?;
        self.step(printed);
        if printed + 2 != claimed {
            line.text("[len ").dec(claimed as u64).text("]");
        }
        Ok(kind)
    }

    fn step(&mut self, len: usize) {
        self.octets = Octets::new(self.octets.rest(len), "tcp");
        self.left = self.left.saturating_sub(len);
    }

    /// Prints the name and data of an option that claims `claimed` octets of data; returns how many
    /// octets of data it really has.
    fn print_data(&self, line: &mut Line<'_>, kind: u8, claimed: usize) -> Result<usize, Stop> {
        let (name, len) = match kind {
            2 => ("mss", 2),
            3 => ("wscale", 1),
            4 => ("sackOK", 0),
            5 => return self.sack(line, claimed),
            6 => ("echo", 4),
            7 => ("echoreply", 4),
            8 => ("TS", 8),
            11 => ("cc", 4),
            12 => ("ccnew", 4),
            13 => ("", 4),
            19 => ("md5", 16),
            20 => ("scps", 2),
            28 => ("uto", 2),
            29 => return self.authentication(line, claimed),
            30 => ("mptcp", claimed),
            34 => {
                line.text("tfo");
                self.need(claimed)?;
                line.text(" ");
                self.cookie(line, 0, claimed)?;
                return Ok(claimed);
            }
            254 => return self.experiment(line, claimed),
            _ => {
                line.text("unknown-").dec(kind);
                line.text(if claimed > 0 { " 0x" } else { "" });
                self.digits(line, 0, claimed)?;
                return Ok(claimed);
            }
        };
        line.text(name);
        self.need(len)?;
        let octets = self.octets;
        match kind {
            2 => {
                line.text(" ").dec(octets.u16(0)?);
            }
            3 => {
                line.text(" ").dec(octets.u8(0)?);
            }
            8 => {
                line.text(" val ").dec(octets.u32(0)?).text(" ecr ").dec(octets.u32(4)?);
            }
            6 | 7 | 11..=13 => {
                line.text(" ").dec(octets.u32(0)?);
            }
            19 => {
                line.text(if self.whole {
                    " shared secret not supplied with -M"
                } else {
                    " snaplen too short"
                });
                line.text(", can't check - ");
                self.digits(line, 0, len)?;
            }
            20 => {
                let (capabilities, id) = (octets.u8(0)?, octets.u8(1)?);
                line.text(" cap ").hex_padded(capabilities.into(), 2).text(" id ").dec(id);
            }
            28 => {
                let timeout = octets.u16(0)?;
                let seconds = u32::from(timeout >> 1) * if timeout & 1 != 0 { 60 } else { 1 };
                line.text(" 0x").hex(timeout.into()).text(" ").dec(seconds);
            }
            30 => {
                line.text(" 0x");
                self.digits(line, 0, len)?;
            }
            _ => {}
        }
        Ok(len)
    }

    /// Whether the header has room for `len` octets of data, and they were captured.
    fn need(&self, len: usize) -> Result<(), Stop> {
        if len > self.left {
            return Err(Stop::Bad);
        }
        if self.octets.has(len) { Ok(()) } else { Err(Stop::Short) }
    }

    /// The octets from `from` to `to` in hexadecimal.
    fn digits(&self, line: &mut Line<'_>, from: usize, to: usize) -> Result<(), Stop> {
        for at in from..to {
            self.need(at + 1)?;
            line.hex_padded(self.octets.u8(at)?.into(), 2);
        }
        Ok(())
    }

    /// Selective acknowledgement (RFC 2018).
    fn sack(&self, line: &mut Line<'_>, claimed: usize) -> Result<usize, Stop> {
        line.text("sack");
        if !claimed.is_multiple_of(8) {
            line.text(" invalid sack");
            return Ok(claimed);
        }
        line.text(" ").dec(claimed as u64 / 8).text(" ");
        for at in (0..claimed).step_by(8) {
            self.need(at + 4)?;
            let start = self.octets.u32(at)?;
            self.need(at + 8)?;
            let end = self.octets.u32(at + 4)?;
            line.text("{").dec(start).text(":").dec(end).text("}");
        }
        Ok(claimed)
    }

    /// Authentication (RFC 5925).
    fn authentication(&self, line: &mut Line<'_>, claimed: usize) -> Result<usize, Stop> {
        line.text("tcp-ao");
        if claimed < 2 {
            invalid(line);
            return Ok(claimed);
        }
        self.need(1)?;
        line.text(" keyid ").dec(self.octets.u8(0)?);
        self.need(2)?;
        line.text(" rnextkeyid ").dec(self.octets.u8(1)?);
        if claimed > 2 {
            line.text(" mac 0x");
            self.digits(line, 2, claimed)?;
        }
        Ok(claimed)
    }

    /// Shared use of experimental options (RFC 6994).
    fn experiment(&self, line: &mut Line<'_>, claimed: usize) -> Result<usize, Stop> {
        const FAST_OPEN: u16 = 0xf989;
        line.text("exp");
        self.need(claimed)?;
        if claimed < 2 {
            return Err(Stop::Bad);
        }
        let magic = self.octets.u16(0)?;
        line.text("-");
        if magic == FAST_OPEN {
            line.text("tfo");
            self.cookie(line, 2, claimed)?;
        } else {
            line.hex_padded(magic.into(), 4);
        }
        Ok(claimed)
    }

    /// A cookie of Fast Open (RFC 7413).
    fn cookie(&self, line: &mut Line<'_>, from: usize, to: usize) -> Result<(), Stop> {
        match to.saturating_sub(from) {
            0 => {
                line.text(" cookiereq");
            }
            len @ 4..=16 if len.is_multiple_of(2) => {
                line.text(" cookie ");
                self.digits(line, from, to)?;
            }
            _ => invalid(line),
        }
        Ok(())
    }
}
