//! Names in a message, where pointers stand for what was said before (RFC 1035, section 4.1.4).
//!
//! hickory-proto refuses loops, but follows as many pointers as fit a message: 8,000 hops for a
//! name of two octets. Here a name that need not be known is not followed, and one that must be
//! only as far as an honest one goes.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use crate::failure::Failure;

/// The most labels and pointers that a name is read through. It has at most 127 labels, and
/// there is no use for more than one pointer before each, and one before its end.
const MOST_STEPS: usize = 255;

/// Moves past a name: its labels up to its end or the first pointer.
///
/// # Errors
/// It ends with the message, or a label is of no known kind.
pub fn skip(decoder: &mut BinDecoder<'_>) -> Result<(), DecodeError> {
    loop {
        match decoder.pop()?.unverified() {
            0 => return Ok(()),
            length @ 1..=0x3f => decoder.read_slice(usize::from(length))?,
            0xc0.. => {
                decoder.pop()?;
                return Ok(());
            }
            other => return Err(DecodeError::UnrecognizedLabelCode(other)),
        };
    }
}

/// Reads a name. `message` is what the decoder was made of.
///
/// # Errors
/// It is malformed, or has too many pointers.
pub fn read(decoder: &mut BinDecoder<'_>, message: &[u8]) -> Result<Name, Failure> {
    if !is_short(message, decoder.index()) {
        return Err(Failure::Malformed("a name of too many labels and pointers".to_owned()));
    }
    Ok(Name::read(decoder)?)
}

/// Whether the name, or the message, ends within `MOST_STEPS`.
fn is_short(message: &[u8], start: usize) -> bool {
    let mut at = start;
    for _ in 0..MOST_STEPS {
        let (first, second) = (message.get(at).copied(), message.get(at.saturating_add(1)).copied());
        at = match (first, second) {
            (Some(high @ 0xc0..), Some(low)) => usize::from(u16::from_be_bytes([high & 0x3f, low])),
            (Some(length @ 1..), Some(_)) => at.saturating_add(1).saturating_add(usize::from(length)),
            _ => return true,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves past or reads the name at the offset, and says where it ends.
    fn at(message: &[u8], start: usize) -> (Option<usize>, Result<(String, usize), Failure>) {
        let decoder = || {
            let mut decoder = BinDecoder::new(message);
            decoder.read_slice(start).unwrap();
            decoder
        };
        let (mut skipping, mut reading) = (decoder(), decoder());
        let skipped = skip(&mut skipping).ok().map(|()| skipping.index());
        (skipped, read(&mut reading, message).map(|name| (name.to_ascii(), reading.index())))
    }

    #[test]
    fn ends_where_it_ends() {
        let message = b"\x01a\0\x01b\xc0\x00\xc0\x03\0";
        for (start, name, end) in [(0, "a.", 3), (3, "b.a.", 7), (7, "b.a.", 9), (9, ".", 10)] {
            assert_eq!(at(message, start), (Some(end), Ok((name.to_owned(), end))));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for message in [&b""[..], b"\x01", b"\x01a", b"\xc0", b"\x02a\0", b"\x80\0", b"\x40\0"] {
            let (skipped, result) = at(message, 0);
            assert!(skipped.is_none() && matches!(result, Err(Failure::Malformed(_))), "{message:?}");
        }
        for looping in [&b"\xc0\0"[..], b"\x01a\xc0\0", b"\xc0\x02\xc0\0", b"\xff\xff"] {
            assert!(matches!(at(looping, 0).1, Err(Failure::Malformed(_))), "{looping:?}");
        }
    }

    #[test]
    fn a_chain_of_pointers_is_followed_only_as_far_as_an_honest_one() {
        // The root, then pointers each of which points to the one before it.
        let mut message = vec![0, 0];
        for place in 0..1000u16 {
            message.extend((0xc000 | (place * 2)).to_be_bytes());
        }
        let last_allowed = 2 * (MOST_STEPS - 1);
        assert!(at(&message, last_allowed).1.is_ok());
        let failure = at(&message, last_allowed + 2).1.unwrap_err();
        assert_eq!(failure.to_string(), "malformed message: a name of too many labels and pointers");
        assert_eq!(at(&message, 2000).0, Some(2002), "skipped it is not followed");

        // As long as a name can be: each label says where the rest is.
        let mut message = vec![0];
        let mut before = 0u16;
        for _ in 0..126 {
            let here = message.len() as u16;
            message.extend([1, b'a']);
            message.extend((0xc000 | before).to_be_bytes());
            before = here;
        }
        assert_eq!(at(&message, usize::from(before)).1.unwrap().0, "a.".repeat(126));
    }
}
