//! What a table shall hold: prefixes, and exceptions within them.

use std::io::{self, Write};

use common::set::PrefixSet;
use ipnet::IpNet;

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

#[cfg(test)]
mod tests {
    use super::*;

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
