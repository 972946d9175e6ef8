//! The headers of IPsec: AH (RFC 4302), ESP (RFC 4303), IPComp (RFC 3173).

use super::Printed;
use super::octets::{Cut, Octets};
use crate::print::line::Line;

/// Authentication header: its length.
pub(super) fn ah(line: &mut Line<'_>, octets: Octets<'_>) -> Result<u32, Cut> {
    line.text("AH");
    let words = octets.u8(1)?;
    let header_len = (u32::from(words) + 2) * 4;
    line.text("(");
    let reserved = octets.u16(2)?;
    if reserved != 0 {
        line.text("reserved=0x").hex(reserved.into()).text("[MustBeZero],");
    }
    let spi = octets.u32(4)?;
    line.text("spi=0x").hex_padded(spi, 8).text(",");
    let number = octets.u32(8)?;
    line.text("seq=0x").hex(number).text(",icv=0x");
    for at in 12..header_len as usize {
        line.hex_padded(octets.u8(at)?.into(), 2);
    }
    line.text("): ");
    Ok(header_len)
}

/// Encapsulating security payload, `length` octets long.
pub(super) fn esp(line: &mut Line<'_>, bytes: &[u8], length: u32) -> Printed {
    let octets = Octets::new(bytes, "esp");
    // One octet behind the header has to be there, too.
    let (spi, number, _) = (octets.u32(0)?, octets.u32(4)?, octets.u8(8)?);
    line.text("ESP(spi=0x").hex_padded(spi, 8).text(",seq=0x").hex(number);
    line.text("), length ").dec(length);
    Ok(())
}

/// Payload compression header.
pub(super) fn ipcomp(line: &mut Line<'_>, bytes: &[u8]) -> Printed {
    let cpi = Octets::new(bytes, "ipcomp").u16(2)?;
    line.text("IPComp(cpi=0x").hex_padded(cpi.into(), 4).text(")");
    Ok(())
}
