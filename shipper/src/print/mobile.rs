//! Minimal encapsulation for mobile hosts (RFC 2004), of which tcpdump prints next to nothing.

use super::bytes::be16;
use super::line::Line;

/// The flag that the header also holds the packet's first source.
const HAS_SOURCE: u8 = 0x80;

/// Prints the header at the start of `bytes`, which IP says is `len` octets long with what follows.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], len: u32) {
    let has_source = bytes.get(1).is_some_and(|flags| flags & HAS_SOURCE != 0);
    let header = bytes.get(..if has_source { 12 } else { 8 });
    let (Some(header), 8..) = (header, len) else {
        line.text("[|mobile]");
        return;
    };
    line.text(if has_source { "[S] " } else { "[] " });
    let (words, _) = header.as_chunks();
    let sum: u32 = words.iter().map(|word| u32::from(be16(word))).sum();
    if (sum & 0xffff) + (sum >> 16) != 0xffff {
        let claimed = words.get(1).map_or(0, be16);
        line.text(" (bad checksum ").dec(claimed).text(")");
    }
}
