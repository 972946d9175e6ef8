//! Where a text is cut that is too large for one upload.
//!
//! The cuts follow from the text alone, so that every run finds the same parts, and how many of them
//! the service has is all there is to remember.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Most octets of a text in one upload: what a line of 128 kbit/s takes within the time for one.
///
/// A text that waits was cut with this number; another one needs other names in the outbox.
pub const MAX: u64 = 8 << 20;

/// Longer than any line, in octets.
const LINE: usize = 64 << 10;

/// The distance of cuts: each is at the end of the last line before a multiple of it.
const STEP: u64 = MAX - LINE as u64;

/// How many parts a text of `size` octets has.
pub fn count(size: u64) -> u32 {
    u32::try_from(size.div_ceil(STEP)).unwrap_or(u32::MAX).max(1)
}

/// The octets of part number `part`, counted from 0, of a text of `size` octets. They are at most
/// `MAX`, end with a line, and are none only in an empty text.
///
/// # Errors
/// The text cannot be read.
pub fn range(text: &File, size: u64, part: u32) -> io::Result<Range<u64>> {
    Ok(cut(text, size, part)?..cut(text, size, part.saturating_add(1))?)
}

fn cut(text: &File, size: u64, number: u32) -> io::Result<u64> {
    let most = u64::from(number).saturating_mul(STEP);
    if most == 0 || most >= size {
        return Ok(most.min(size));
    }
    let mut window = vec![0; LINE];
    let from = most.saturating_sub(LINE as u64);
    text.read_exact_at(&mut window, from)?;
    let end = window.iter().rposition(|octet| *octet == b'\n');
    Ok(end.map_or(most, |end| from.saturating_add(end as u64).saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("tsship-part-{}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// The parts of a text, which are whole lines, one after the other, to its end.
    #[track_caller]
    fn parts(content: &[u8]) -> Vec<u64> {
        let (text, size) = (file(content), content.len() as u64);
        let mut at = 0;
        let lengths: Vec<u64> = (0..count(size))
            .map(|part| {
                let range = range(&text, size, part).unwrap();
                assert_eq!(range.start, at);
                at = range.end;
                assert!(range.end - range.start <= MAX);
                range.end - range.start
            })
            .collect();
        assert_eq!(at, size);
        lengths
    }

    #[test]
    fn what_fits_is_one_part() {
        assert_eq!(parts(b""), [0]);
        assert_eq!(parts(b"line\n"), [5]);
        assert_eq!(parts(&vec![b'x'; STEP as usize]), [STEP]);
        assert_eq!(count(u64::MAX), u32::MAX);
    }

    #[test]
    fn cuts_are_at_the_ends_of_lines() {
        let step = STEP as usize;
        let ended = |ends: &[usize], size: usize| {
            let mut content = vec![b'x'; size];
            ends.iter().for_each(|end| content[end - 1] = b'\n');
            content
        };
        for (ends, size, expected) in [
            (&[100, step][..], step + 1, vec![STEP, 1]),
            (&[step - 1, step + 1], step + 1, vec![STEP - 1, 2]),
            (&[step - LINE + 1], step + 5, vec![STEP - LINE as u64 + 1, LINE as u64 + 4]),
            // No line is that long; the octets are sent all the same.
            (&[step - LINE], step + 5, vec![STEP, 5]),
            (&[step - 9, 2 * step - 7], 2 * step + 1, vec![STEP - 9, STEP + 2, 8]),
        ] {
            assert_eq!(parts(&ended(ends, size)), expected);
        }
    }
}
