//! Gzip files (RFC 1952), which are one member or several, one after the other.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The content of all members of a gzip file.
///
/// Zeros behind a member are passed over, as gzip(1) does: copies by blocks have some at their end. Anything
/// else there is an error, behind the content.
pub struct Members<R> {
    /// None behind the last member.
    decoder: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    /// Begins with the first member.
    pub fn new(input: R) -> Members<R> {
        Members { decoder: Some(GzDecoder::new(input)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.decoder = match self.decoder.take().map(GzDecoder::into_inner) {
                Some(input) => next(input)?.map(GzDecoder::new),
                None => None,
            };
        }
        Ok(0)
    }
}

/// The rest of a file from its next member on, if there is one.
fn next<R: BufRead>(mut input: R) -> io::Result<Option<R>> {
    loop {
        let octets = input.fill_buf()?;
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let (has_more, is_end) = (zeros < octets.len(), octets.is_empty());
        input.consume(zeros);
        match (has_more, is_end) {
            (true, _) => return Ok(Some(input)),
            (false, true) => return Ok(None),
            (false, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{BufReader, Write};

    fn member(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// The content, and whether it ended well, whatever the buffer's size.
    fn content(file: &[u8]) -> (Vec<u8>, bool) {
        let mut found = Vec::new();
        for capacity in [1, 7, 1 << 16] {
            let mut content = Vec::new();
            let is_good =
                Members::new(BufReader::with_capacity(capacity, file)).read_to_end(&mut content).is_ok();
            found.push((content, is_good));
        }
        assert!(found.windows(2).all(|two| two[0] == two[1]));
        found.remove(0)
    }

    #[test]
    fn several_members_and_zeros_behind_them() {
        let (one, two) = (member(b"one"), member(b"two"));
        assert_eq!(content(&one), (b"one".to_vec(), true));
        assert_eq!(content(&[&*one, &two].concat()), (b"onetwo".to_vec(), true));
        assert_eq!(content(&[&*one, &[0; 600], &two, &[0; 3]].concat()), (b"onetwo".to_vec(), true));
        assert_eq!(content(&[&*member(b""), &member(b""), &two].concat()), (b"two".to_vec(), true));
    }

    #[test]
    fn what_is_no_member_is_an_error_behind_the_content() {
        let one = member(b"one");
        for rest in [&b"x"[..], &[0, 0, 1], &one[..one.len() - 1], &one[..1]] {
            let (found, is_good) = content(&[&*one, rest].concat());
            assert!(found.starts_with(b"one") && !is_good, "{rest:?}");
        }
        assert!(!content(b"").1);
    }
}
