//! Digests as text: 64 lower-case hexadecimal digits.

use std::fmt::Write;

use crate::text::Digest;

/// The digits of a digest.
pub fn show(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// The digest of which `text` is the digits, in the form that `show` writes and no other.
pub fn parse(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let digits = text.as_bytes();
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (octet, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *octet = (value(*high)? << 4) | value(*low)?;
    }
    Some(digest)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a' - 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_only() {
        let text = "00ff0123456789abcdef".to_owned() + &"a0".repeat(22);
        assert_eq!(show(&parse(&text).unwrap()), text);
        for bad in [text.to_uppercase(), text[1..].to_owned(), text.clone() + "0", text.replace('f', "g")] {
            assert_eq!(parse(&bad), None);
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse(&"é".repeat(32)), None);
    }

    proptest! {
        #[test]
        fn every_digest_comes_back(digest: Digest) {
            prop_assert_eq!(parse(&show(&digest)), Some(digest));
        }
    }
}
