//! What one answer holds, reduced to what is kept of it.

use hickory_proto::rr::Name;
use ipnet::IpNet;

use crate::soa::Serial;

/// The items of one answer, in the server's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// How many records there were. No record is no data; a record without items is an empty list.
    pub records: usize,
    /// Prefixes of the list.
    pub positive: Vec<IpNet>,
    /// Prefixes that are cut out of it (APL's `!`).
    pub negated: Vec<IpNet>,
    /// Names of the list's parts (PTR).
    pub names: Vec<Name>,
    /// The answer to a SOA question: the serial of the name's zone, if the server has one.
    pub zone: Option<Option<Serial>>,
}

impl Chunk {
    /// The number of prefixes, negated or not.
    pub fn entries(&self) -> usize {
        self.positive.len().saturating_add(self.negated.len())
    }
}

/// Outside octets for a message to a person: printable ASCII only, shortened.
pub fn quote(octets: &[u8]) -> String {
    shorten(octets.escape_ascii().to_string())
}

/// Outside text for a message to a person: at most 48 characters of it.
pub fn shorten(text: String) -> String {
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_printable_and_short() {
        assert_eq!(quote(b"a\x1b[2J\xff"), "a\\x1b[2J\\xff");
        assert_eq!(quote(&[b'x'; 48]), "x".repeat(48));
        assert_eq!(quote(&[b'x'; 49]), format!("{}...", "x".repeat(48)));
        assert_eq!(quote(&[0xff; 255]).len(), 51);
    }
}
