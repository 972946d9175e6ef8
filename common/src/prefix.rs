//! One prefix as text: `192.0.2.0/24`, `2001:db8::/32`.
//!
//! The parsing is std's, which knows no octal, no short forms and no scopes; ipnet's own parser
//! takes `010.0.0.0/8` and `/08`, which pfctl reads as something else.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::str::from_utf8;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text is not a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAPrefix {
    /// Not an address with an optional length.
    Syntax,
    /// The length is not a plain number from 0 to 32, or 128.
    Length,
    /// Address bits beyond the length are set.
    HostBits,
    /// An IPv4 address written as IPv6 (`::ffff:0:0/96`): it never appears on the wire.
    Mapped,
    /// A prefix, but not written as this suite writes it.
    NotCanonical,
}

impl fmt::Display for NotAPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAPrefix::Syntax => "not a numeric prefix",
            NotAPrefix::Length => "not a prefix length",
            NotAPrefix::HostBits => "address bits set beyond the prefix length",
            NotAPrefix::Mapped => "an IPv4 address mapped into IPv6",
            NotAPrefix::NotCanonical => "not in canonical form",
        })
    }
}

/// Reads a prefix or a bare address (a host), numeric only. Bits beyond the length are cleared.
///
/// # Errors
/// Anything else: names, ranges, scopes, octal, leading zeros, mapped addresses.
pub fn parse(text: &[u8]) -> Result<IpNet, NotAPrefix> {
    read(text).map(|net| net.trunc())
}

/// Reads a prefix or a bare address as `parse` does, and refuses bits beyond the length.
///
/// # Errors
/// As `parse`, and `HostBits`.
pub fn parse_exact(text: &[u8]) -> Result<IpNet, NotAPrefix> {
    let net = read(text)?;
    if net.trunc() != net {
        return Err(NotAPrefix::HostBits);
    }
    Ok(net)
}

/// Reads a prefix in exactly the form that `Display` writes: with its length, lower case, shortest.
///
/// # Errors
/// As `parse_exact`, and `NotCanonical`.
pub fn parse_canonical(text: &[u8]) -> Result<IpNet, NotAPrefix> {
    let net = parse_exact(text)?;
    if net.addr().is_ipv4() {
        // There is only one way to write IPv4, but for the length, which may be left out.
        return if text.contains(&b'/') { Ok(net) } else { Err(NotAPrefix::NotCanonical) };
    }
    let mut written = Compare { rest: text };
    match fmt::write(&mut written, format_args!("{net}")) {
        Ok(()) if written.rest.is_empty() => Ok(net),
        _ => Err(NotAPrefix::NotCanonical),
    }
}

/// The prefix of an address and a length, with host bits cleared.
///
/// # Errors
/// The length is too large for the family, or the address is mapped.
pub fn from_parts(address: IpAddr, length: u8) -> Result<IpNet, NotAPrefix> {
    build(address, length).map(|net| net.trunc())
}

/// Appends a prefix as `Display` writes it. IPv4, which is what almost all of a policy is, does not
/// go by way of std: that takes most of the time in which a policy is written.
pub fn append(net: IpNet, text: &mut Vec<u8>) {
    match net {
        IpNet::V4(net) => {
            let [first, rest @ ..] = net.addr().octets();
            append_number(first, text);
            for octet in rest {
                text.push(b'.');
                append_number(octet, text);
            }
            text.push(b'/');
            append_number(net.prefix_len(), text);
        }
        IpNet::V6(net) => {
            // A vector takes everything.
            let _ = write!(text, "{net}");
        }
    }
}

fn append_number(number: u8, text: &mut Vec<u8>) {
    if number >= 100 {
        text.push(b'0' + number / 100);
    }
    if number >= 10 {
        text.push(b'0' + number / 10 % 10);
    }
    text.push(b'0' + number % 10);
}

fn read(text: &[u8]) -> Result<IpNet, NotAPrefix> {
    if let Some(net) = plain_v4(text) {
        return Ok(IpNet::V4(net));
    }
    let text = from_utf8(text).map_err(|_| NotAPrefix::Syntax)?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| NotAPrefix::Syntax)?;
    let length = match length {
        None if address.is_ipv4() => 32,
        None => 128,
        // u8::from_str takes `+8` and `08`.
        Some(digits) if digits.starts_with('+') || (digits.len() > 1 && digits.starts_with('0')) => {
            return Err(NotAPrefix::Length);
        }
        Some(digits) => digits.parse().map_err(|_| NotAPrefix::Length)?,
    };
    build(address, length)
}

/// Reads an IPv4 prefix or address, which is what almost all of a policy is, three times as fast as
/// by way of std. `None` if it is none, or needs to be told why.
fn plain_v4(text: &[u8]) -> Option<Ipv4Net> {
    let mut rest = text;
    let mut octets = [0u8; 4];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        *octet = plain_number(&mut rest)?;
    }
    let length = match rest {
        [] => 32,
        _ => {
            rest = rest.strip_prefix(b"/")?;
            plain_number(&mut rest).filter(|_| rest.is_empty())?
        }
    };
    Ipv4Net::new(octets.into(), length).ok()
}

/// Takes a decimal number below 256 without leading zeros from the front.
fn plain_number(rest: &mut &[u8]) -> Option<u8> {
    let (first, mut tail) = rest.split_first().filter(|(digit, _)| digit.is_ascii_digit())?;
    let mut number = first.wrapping_sub(b'0');
    while let Some((digit, after)) = tail.split_first().filter(|(digit, _)| digit.is_ascii_digit()) {
        if number == 0 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit.wrapping_sub(b'0'))?;
        tail = after;
    }
    *rest = tail;
    Some(number)
}

fn build(address: IpAddr, length: u8) -> Result<IpNet, NotAPrefix> {
    match address {
        IpAddr::V4(v4) => Ok(IpNet::V4(Ipv4Net::new(v4, length).map_err(|_| NotAPrefix::Length)?)),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(NotAPrefix::Mapped),
        IpAddr::V6(v6) => Ok(IpNet::V6(Ipv6Net::new(v6, length).map_err(|_| NotAPrefix::Length)?)),
    }
}

/// Compares what is written with a text, without a buffer.
struct Compare<'a> {
    rest: &'a [u8],
}

impl fmt::Write for Compare<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.rest = self.rest.strip_prefix(piece.as_bytes()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_prefixes_and_hosts() {
        for (text, canonical) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        use NotAPrefix::{HostBits, Length, Mapped, NotCanonical, Syntax};
        for (text, why) in [
            ("", Syntax),
            ("self", Syntax),
            ("example.com", Syntax),
            ("em0", Syntax),
            ("!192.0.2.1", Syntax),
            ("192.0.2.0-192.0.2.9", Syntax),
            ("192.0.2", Syntax),
            ("010.0.0.0/8", Syntax),
            ("192.0.2.1 ", Syntax),
            ("192.0.2.1\r", Syntax),
            ("192.0.2.1\0", Syntax),
            ("fe80::1%em0", Syntax),
            ("192.0.2.0/", Length),
            ("192.0.2.0/33", Length),
            ("192.0.2.0/+8", Length),
            ("192.0.2.0/08", Length),
            ("192.0.2.0/ 8", Length),
            ("192.0.2.0/24/8", Length),
            ("2001:db8::/129", Length),
            ("192.0.2.0/300", Length),
            ("::ffff:192.0.2.1", Mapped),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(parse(b"\xff\xfe"), Err(Syntax));
        assert_eq!(parse_exact(b"192.0.2.1/24"), Err(HostBits));
        assert_eq!(parse_exact(b"2001:db8::1/64"), Err(HostBits));
        for text in ["192.0.2.1", "2001:DB8::/32", "2001:0db8::/32", "2001:db8:0:0:0:0:0:0/32"] {
            assert_eq!(parse_canonical(text.as_bytes()), Err(NotCanonical), "{text}");
        }
        assert!(from_parts("192.0.2.1".parse().unwrap(), 33).is_err());
    }

    proptest! {
        #[test]
        fn canonical_text_comes_back(bits: u128, length in 0u8..=128, v4: bool) {
            let address = if v4 { IpAddr::from((bits as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
            let Ok(net) = from_parts(address, if v4 { length.min(32) } else { length }) else { return Ok(()) };
            prop_assert_eq!(parse_canonical(net.to_string().as_bytes()), Ok(net));
            let mut text = b"!".to_vec();
            append(net, &mut text);
            prop_assert_eq!(text, format!("!{net}").into_bytes());
        }

        #[test]
        fn the_short_way_agrees_with_the_long_one(text in "[0-9]{0,4}(\\.[0-9]{0,4}){0,4}(/[0-9]{0,3})?") {
            let (address, length) = text.split_once('/').map_or((&text[..], None), |(a, l)| (a, Some(l)));
            let std = address.parse::<std::net::Ipv4Addr>().ok().and_then(|address| {
                let length = match length {
                    None => 32,
                    Some(digits) => digits.parse().ok().filter(|length: &u8| length.to_string() == digits)?,
                };
                Ipv4Net::new(address, length).ok()
            });
            prop_assert_eq!(plain_v4(text.as_bytes()), std);
        }

        #[test]
        fn any_octets_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Ok(net) = parse_canonical(&text) {
                let written = net.to_string();
                prop_assert_eq!(written.as_bytes(), &text[..]);
            }
        }
    }
}
