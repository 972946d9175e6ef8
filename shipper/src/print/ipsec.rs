//! The headers of IPsec: ESP (RFC 4303), AH (RFC 4302), IPComp (RFC 3173).

use super::bytes::{array, u32_at};
use super::line::Line;
use super::net::Net;

/// Encapsulating security payload, `len` octets long.
pub(crate) fn esp(line: &mut Line<'_>, bytes: &[u8], len: u32) {
    match (u32_at(bytes, 0), u32_at(bytes, 4)) {
        (Some(spi), Some(seq)) if len >= 8 => {
            line.text("esp");
            association(line, spi, seq, len);
        }
        _ => {
            line.text("[|esp]");
        }
    }
}

/// Authentication header, `len` octets long with what it protects.
pub(crate) fn ah(line: &mut Line<'_>, bytes: &[u8], len: u32, net: Net<'_>) {
    line.text("ah ");
    net.ends(line);
    match (u32_at(bytes, 4), u32_at(bytes, 8)) {
        (Some(spi), Some(seq)) if len >= 12 => association(line, spi, seq, len),
        _ => {
            line.text("[|ah]");
        }
    }
}

fn association(line: &mut Line<'_>, spi: u32, seq: u32, len: u32) {
    line.text(" spi 0x").hex_padded(spi, 8).text(" seq ").dec(seq);
    line.text(" len ").signed(len.cast_signed().into());
}

/// Payload compression header, `len` octets long with what it compresses.
pub(crate) fn ipcomp(line: &mut Line<'_>, bytes: &[u8], len: u32, net: Net<'_>) {
    line.text("ipcomp ");
    net.ends(line);
    match array(bytes, 0) {
        Some(&[next, flags, cpi_hi, cpi_lo]) if len >= 4 => {
            line.text(" cpi 0x").hex_upper(u16::from_be_bytes([cpi_hi, cpi_lo]));
            line.text(" flags ").hex(flags.into()).text(" next ").hex(next.into());
        }
        _ => {
            line.text("[|ipcomp]");
        }
    }
}
