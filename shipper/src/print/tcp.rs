//! TCP (RFC 9293), with absolute sequence numbers.

use super::bytes::{array, be16, u16_at, u32_at};
use super::line::Line;
use super::net::{Net, protocol};
use super::tcpopt;

/// Octets of a TCP header without options.
const HEADER: usize = 20;

/// The flags.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PUSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// Letters of the flags that have one, in tcpdump's order.
const LETTERS: [(u8, &str); 6] = [(SYN, "S"), (FIN, "F"), (RST, "R"), (PUSH, "P"), (CWR, "W"), (ECE, "E")];

/// Prints the segment at the start of `bytes`, which IP says is `length` octets long.
pub(crate) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, net: Net<'_>) {
    if length < HEADER as u32 {
        line.text("truncated-tcp ").dec(length);
        return;
    }
    let (Some(sport), Some(dport)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else {
        net.ends(line);
        line.text(": [|tcp]");
        return;
    };
    if net.protocol == protocol::TCP {
        net.ends_with_ports(line, sport, dport);
    } else {
        // Behind IPv6 extension headers the addresses have been printed.
        line.dec(sport).text(" > ").dec(dport);
    }
    line.text(": ");
    let Some(header) = array::<HEADER>(bytes, 0) else {
        if let (Some(seq), None) = (u32_at(bytes, 4), u32_at(bytes, 8)) {
            line.dec(seq).text(" ");
        }
        line.text("[|tcp]");
        return;
    };
    segment(line, header, length);

    let header_len = 4 * usize::from(header[12] >> 4);
    if header_len > HEADER && header_len <= length as usize {
        let captured = bytes.get(HEADER..).unwrap_or_default();
        tcpopt::print(line, captured, header_len - HEADER, header[13] & ACK != 0);
    }
}

/// Flags, sequence numbers and window.
fn segment(line: &mut Line<'_>, header: &[u8; HEADER], length: u32) {
    let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, off, flags, w0, w1, _, _, u0, u1] = *header;
    let mut lettered = false;
    for (flag, letter) in LETTERS {
        if flags & flag != 0 {
            line.text(letter);
            lettered = true;
        }
    }
    if !lettered {
        line.text(".");
    }
    let Some(payload) = length.checked_sub(4 * u32::from(off >> 4)) else {
        line.text(" [bad hdr length]");
        return;
    };
    let seq = u32::from_be_bytes([s0, s1, s2, s3]);
    if payload > 0 || flags & (SYN | FIN | RST) != 0 {
        line.text(" ").dec(seq).text(":").dec(seq.wrapping_add(payload));
        line.text("(").dec(payload).text(")");
    }
    if flags & ACK != 0 {
        line.text(" ack ").dec(u32::from_be_bytes([a0, a1, a2, a3]));
    }
    line.text(" win ").dec(be16(&[w0, w1]));
    if flags & URG != 0 {
        line.text(" urg ").dec(be16(&[u0, u1]));
    }
}
