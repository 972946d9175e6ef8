//! The common address redundancy protocol, carp(4) (`netinet/ip_carp.h`).

use super::bytes::{array, u8_at};
use super::line::Line;

/// Prints the message at the start of `bytes`, which IP says is `len` octets long; `ttl` is IP's.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], len: u32, ttl: u8) {
    let Some(first) = u8_at(bytes, 0) else {
        line.text("[|carp]");
        return;
    };
    let (version, kind) = (first >> 4, first & 0xf);
    line.text("CARPv").dec(version).text(if kind == 1 { "-advertise " } else { "-unknown " });
    line.signed(len.cast_signed().into()).text(": ");
    if ttl != 255 {
        line.text("[ttl=").dec(ttl).text("!] ");
    }
    if (version, kind) != (2, 1) {
        return;
    }
    let Some(&[_, vhid, skew, _, demote, base]) = array(bytes, 0) else {
        line.text("[|carp]");
        return;
    };
    line.text("vhid=").dec(vhid).text(" advbase=").dec(base);
    line.text(" advskew=").dec(skew).text(" demote=").dec(demote);
}
