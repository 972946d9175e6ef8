//! Reads from a packet that may have been cut off, as tcpdump does since 4.99: the first octet that
//! is not there ends the line with a mark that names the protocol being read.

use crate::print::bytes::array;

/// The packet was cut off within a header of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut(pub(super) &'static str);

/// What was captured of a header and of what follows it.
#[derive(Clone, Copy)]
pub(super) struct Octets<'a> {
    captured: &'a [u8],
    protocol: &'static str,
}

impl<'a> Octets<'a> {
    /// `captured` read as `protocol`.
    pub(super) fn new(captured: &'a [u8], protocol: &'static str) -> Self {
        Self { captured, protocol }
    }

    /// The mark for what is missing.
    pub(super) fn cut(self) -> Cut {
        Cut(self.protocol)
    }

    /// How many octets there are.
    pub(super) fn len(self) -> usize {
        self.captured.len()
    }

    /// Whether the first `len` octets are there.
    pub(super) fn has(self, len: usize) -> bool {
        len <= self.captured.len()
    }

    /// What there is from `at` on; nothing if that lies behind the end.
    pub(super) fn rest(self, at: usize) -> &'a [u8] {
        self.captured.get(at..).unwrap_or_default()
    }

    /// The `N` octets at `at`.
    pub(super) fn array<const N: usize>(self, at: usize) -> Result<&'a [u8; N], Cut> {
        array(self.captured, at).ok_or(self.cut())
    }

    /// The octet at `at`.
    pub(super) fn u8(self, at: usize) -> Result<u8, Cut> {
        self.array(at).map(|&[octet]| octet)
    }

    /// The 16-bit number in network order at `at`.
    pub(super) fn u16(self, at: usize) -> Result<u16, Cut> {
        self.array(at).map(|octets| u16::from_be_bytes(*octets))
    }

    /// The 32-bit number in network order at `at`.
    pub(super) fn u32(self, at: usize) -> Result<u32, Cut> {
        self.array(at).map(|octets| u32::from_be_bytes(*octets))
    }
}
