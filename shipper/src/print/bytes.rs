//! Checked reads from what was captured of a packet. Out of reach is `None`, never a panic.

/// The `N` octets at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// The octet at `at`.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The 16-bit number in network order at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(be16)
}

/// The 32-bit number in network order at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|octets| u32::from_be_bytes(*octets))
}

/// A 16-bit number in network order.
pub(crate) fn be16(octets: &[u8; 2]) -> u16 {
    u16::from_be_bytes(*octets)
}
