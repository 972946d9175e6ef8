//! What a table shall hold: prefixes, and exceptions within them.

use std::io::{self, BufRead, Write};

use common::prefix;
use common::set::{MAX_PREFIXES, PrefixSet};
use ipnet::IpNet;

use crate::lines;

/// The longest line of a table file, in octets; no prefix is as long.
const MAX_LINE: usize = 64;

/// The final content of a table and its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// What matches.
    pub prefixes: PrefixSet,
    /// What does not, though a prefix above covers it: `!` entries. pf takes the longest match.
    pub exceptions: PrefixSet,
}

impl Contents {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.prefixes.len().saturating_add(self.exceptions.len())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.exceptions.is_empty()
    }

    /// All entries, each with whether it is an exception.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, bool)> + '_ {
        let prefixes = self.prefixes.iter().map(|net| (net, false));
        prefixes.chain(self.exceptions.iter().map(|net| (net, true)))
    }

    /// Writes the table file: numeric prefixes and `!` prefixes, one a line, hosts without their
    /// length, nothing else. pfctl(8) reads it at boot and whenever the ruleset is loaded.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (net, exception) in self.iter() {
            let mark = if exception { "!" } else { "" };
            if net.prefix_len() == net.max_prefix_len() {
                writeln!(out, "{mark}{}", net.addr())?;
            } else {
                writeln!(out, "{mark}{net}")?;
            }
        }
        Ok(())
    }
}

/// Reads a table file that `write` wrote, and nothing else.
///
/// # Errors
/// The first line that is not of that form, or the system's words.
pub fn read(input: impl BufRead) -> Result<Contents, String> {
    let mut contents = Contents::default();
    let lines = lines::each(input, MAX_LINE, |_, text| {
        if contents.len() >= MAX_PREFIXES {
            return Err("too many prefixes".to_owned());
        }
        let (set, text) = match text.strip_prefix(b"!") {
            Some(text) => (&mut contents.exceptions, text),
            None if contents.exceptions.is_empty() => (&mut contents.prefixes, text),
            None => return Err("a prefix after an exception".to_owned()),
        };
        let net = prefix::parse_exact(text).map_err(|why| why.to_string())?;
        Ok(set.push_canonical(net)?)
    });
    lines.map(|_| contents).map_err(|stopped| stopped.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let text = "10.0.0.0/8\n192.0.2.1\n2001:db8::1\n2001:db8:1::/48\n!10.0.2.0/24\n!10.1.1.1\n";
        let contents = read(text.as_bytes()).unwrap();
        assert_eq!((contents.prefixes.len(), contents.exceptions.len()), (4, 2));
        let mut again = Vec::new();
        contents.write(&mut again).unwrap();
        assert_eq!(again, text.as_bytes());
        assert_eq!(read(&b""[..]), Ok(Contents::default()));
        for (text, cause) in [
            ("10.0.0.0/8", "line 1: no end of line: cut off"),
            ("10.0.0.0/8\nself\n", "line 2: not a numeric prefix"),
            ("10.0.0.1/8\n", "line 1: address bits set beyond the prefix length"),
            ("!10.0.0.0/8\n11.0.0.0/8\n", "line 2: a prefix after an exception"),
            ("11.0.0.0/8\n10.0.0.0/8\n", "line 2: not in ascending order"),
            ("# comment\n", "line 1: not a numeric prefix"),
        ] {
            assert_eq!(read(text.as_bytes()), Err(cause.to_owned()), "{text}");
        }
        assert!(read(&[b'1'; 1000][..]).is_err());
    }

    #[test]
    fn is_written_as_pfctl_reads_it() {
        let set = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        let contents = Contents {
            prefixes: set(&["192.0.2.1/32", "10.0.0.0/8", "2001:db8::1/128", "2001:db8:1::/48"]),
            exceptions: set(&["10.0.2.0/24", "10.1.1.1/32"]),
        };
        let mut text = Vec::new();
        contents.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "10.0.0.0/8\n192.0.2.1\n2001:db8::1\n2001:db8:1::/48\n!10.0.2.0/24\n!10.1.1.1\n"
        );
        assert_eq!(contents.len(), 6);
        assert!(Contents::default().is_empty());
    }
}
