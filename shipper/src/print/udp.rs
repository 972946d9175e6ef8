//! UDP (RFC 768).

use super::bytes::{array, be16};
use super::line::Line;
use super::net::Net;

/// Octets of a UDP header.
const HEADER: u32 = 8;

/// Prints the datagram at the start of `bytes`, which IP says is `length` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, net: Net<'_>) {
    let Some(&[s0, s1, d0, d1, l0, l1, _, _]) = array(bytes, 0) else {
        net.ends(line);
        line.text(": [|udp]");
        return;
    };
    let Some(payload) = length.checked_sub(HEADER) else {
        net.ends(line);
        line.text(": truncated-udp ").dec(length);
        return;
    };
    net.ends_with_ports(line, be16(&[s0, s1]), be16(&[d0, d1]));
    line.text(": ");
    let claimed = u32::from(be16(&[l0, l1]));
    if length < claimed {
        line.text(" truncated-udp - ").dec(claimed - length).text(" bytes missing!");
    }
    line.text("udp ").dec(payload);
}
