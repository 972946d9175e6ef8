//! TCP (RFC 9293), with absolute sequence numbers.

use super::octets::Octets;
use super::{Printed, tcpopt};
use crate::print::line::Line;
use crate::print::net::{Net, protocol};

/// Octets of a TCP header without options.
const HEADER: u32 = 20;

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// Letters of the flags, from the lowest bit on.
const LETTERS: [&str; 8] = ["F", "S", "R", "P", ".", "U", "E", "W"];

/// Prints the segment at the start of `bytes`, which IP says is `length` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], length: u32, net: Net<'_>) -> Printed {
    let octets = Octets::new(bytes, "tcp");
    let (Ok(sport), Ok(dport)) = (octets.u16(0), octets.u16(2)) else {
        net.ends(line);
        line.text(":");
        return Err(octets.cut());
    };
    net.ends_if_next(line, protocol::TCP, sport, dport);
    let header: &[u8; 20] = octets.array(0)?;
    let header_len = 4 * u32::from(header[12] >> 4);
    if header_len < HEADER {
        line.text(" tcp ").dec(length.wrapping_sub(header_len));
        line.text(" [bad hdr length ").dec(header_len).text(" - too short, < 20]");
        return Ok(());
    }
    let flags = header[13];
    line.text("Flags [").text(if flags == 0 { "none" } else { "" });
    for (bit, letter) in LETTERS.into_iter().enumerate() {
        if flags & (1 << bit) != 0 {
            line.text(letter);
        }
    }
    line.text("]");
    let Some(payload) = length.checked_sub(header_len) else {
        line.text(" [bad hdr length ").dec(header_len).text(" - too long, > ").dec(length).text("]");
        return Ok(());
    };
    if payload > 0 || flags & (SYN | FIN | RST) != 0 {
        let seq = octets.u32(4)?;
        line.text(", seq ").dec(seq);
        if payload > 0 {
            line.text(":").dec(seq.wrapping_add(payload));
        }
    }
    if flags & ACK != 0 {
        line.text(", ack ").dec(octets.u32(8)?);
    }
    line.text(", win ").dec(octets.u16(14)?);
    if flags & URG != 0 {
        line.text(", urg ").dec(octets.u16(18)?);
    }
    if header_len > HEADER {
        let options = octets.rest(HEADER as usize);
        let whole = octets.has(length as usize);
        if !tcpopt::print(line, options, (header_len - HEADER) as usize, whole)? {
            return Ok(());
        }
    }
    line.text(", length ").dec(payload);
    if payload > 0 && !octets.has(header_len as usize) {
        line.text(" [remaining caplen(").dec(octets.len() as u64);
        line.text(") < header length(").dec(header_len).text(")]");
        return Err(octets.cut());
    }
    Ok(())
}
