//! Reading a file line by line, without copying and with bounded memory.

use std::fmt;
use std::io::BufRead;

use common::error::reason;

/// Why a file was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It cannot be read; the system's words.
    Io(String),
    /// A line, counted from 1, is not what it must be.
    Line(usize, String),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Io(cause) => f.write_str(cause),
            Stopped::Line(number, cause) => write!(f, "line {number}: {cause}"),
        }
    }
}

/// Calls `take` with each line, without its end, and returns their number.
///
/// # Errors
/// What `take` says of a line; a line of more than `most` octets; a last line without an end.
pub fn each(
    mut input: impl BufRead,
    most: usize,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<usize, Stopped> {
    let mut number = 0usize;
    // The start of a line whose end is not in the buffer.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let buffer = input.fill_buf().map_err(|error| Stopped::Io(reason(&error)))?;
        let mut used = 0usize;
        while let Some(rest) = buffer.get(used..)
            && let Some(length) = rest.iter().take(most.saturating_add(1)).position(|octet| *octet == b'\n')
            && let Some(text) = rest.get(..length)
        {
            number = number.saturating_add(1);
            let refused = |cause| Stopped::Line(number, cause);
            if begun.is_empty() {
                take(number, text).map_err(refused)?;
            } else {
                begun.extend_from_slice(text);
                if begun.len() > most {
                    return Err(refused("too long".to_owned()));
                }
                take(number, &begun).map_err(refused)?;
                begun.clear();
            }
            used = used.saturating_add(length).saturating_add(1);
        }
        let rest = buffer.get(used..).unwrap_or_default();
        let next = number.saturating_add(1);
        if begun.len().saturating_add(rest.len()) > most {
            return Err(Stopped::Line(next, "too long".to_owned()));
        }
        begun.extend_from_slice(rest);
        let length = buffer.len();
        input.consume(length);
        if length == 0 {
            return if begun.is_empty() {
                Ok(number)
            } else {
                Err(Stopped::Line(next, "no end of line: cut off".to_owned()))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn lines(text: &[u8], buffer: usize, most: usize) -> Result<Vec<Vec<u8>>, Stopped> {
        let mut found = Vec::new();
        let input = BufReader::with_capacity(buffer, text);
        let count = each(input, most, |number, line| {
            found.push(line.to_vec());
            if number == found.len() { Ok(()) } else { Err("miscounted".to_owned()) }
        })?;
        assert_eq!(count, found.len());
        Ok(found)
    }

    #[test]
    fn the_end_of_the_file_is_the_end_of_a_line() {
        assert_eq!(lines(b"", 8, 10), Ok(vec![]));
        assert_eq!(lines(b"a\n\nb\n", 8, 10), Ok(vec![b"a".to_vec(), vec![], b"b".to_vec()]));
        assert_eq!(lines(b"a\nb", 8, 10), Err(Stopped::Line(2, "no end of line: cut off".to_owned())));
        assert_eq!(lines(b"1234567890\n", 8, 10).unwrap().len(), 1);
        assert_eq!(lines(b"\n12345678901\n", 8, 10), Err(Stopped::Line(2, "too long".to_owned())));
        assert_eq!(lines(&[b'1'; 1000], 64, 10), Err(Stopped::Line(1, "too long".to_owned())));
    }

    proptest! {
        #[test]
        fn agrees_with_split(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), any::<u8>()], 0..200), buffer in 1usize..40) {
            let most = 12;
            let mut wanted: Vec<&[u8]> = text.split(|octet| *octet == b'\n').collect();
            let whole = wanted.pop().is_some_and(<[u8]>::is_empty) && wanted.iter().all(|line| line.len() <= most);
            match lines(&text, buffer, most) {
                Ok(found) => prop_assert!(whole && found == wanted),
                Err(_) => prop_assert!(!whole),
            }
        }
    }
}
