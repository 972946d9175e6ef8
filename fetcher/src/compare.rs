//! Whether a file is what would be written, without holding either in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

/// Whether the file holds exactly what `write` writes, compared as it is written: neither content
/// is in memory.
///
/// # Errors
/// The file cannot be read.
pub fn holds(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    let mut comparison = Comparison { file: BufReader::with_capacity(1 << 16, file), failure: None };
    let mut writer = BufWriter::with_capacity(1 << 16, &mut comparison);
    let written = write(&mut writer).and_then(|()| writer.flush());
    // What is left in the buffer after a difference need not be compared.
    drop(writer.into_parts());
    match (written, comparison.failure) {
        (_, Some(error)) => Err(error),
        (Err(_), None) => Ok(false),
        (Ok(()), None) => Ok(comparison.file.fill_buf()?.is_empty()),
    }
}

/// Takes what is written as long as the file goes on the same way.
struct Comparison {
    file: BufReader<File>,
    failure: Option<io::Error>,
}

impl Write for Comparison {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let have = match self.file.fill_buf() {
            Ok(have) => have,
            Err(error) => {
                self.failure = Some(error);
                return Err(io::ErrorKind::Other.into());
            }
        };
        let length = have.len().min(octets.len());
        if length == 0 || have.get(..length) != octets.get(..length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.file.consume(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, remove_dir_all, write};

    #[test]
    fn compares_a_file_with_what_would_be_written() {
        let directory = std::env::temp_dir().join(format!("tspf-compare-{}", std::process::id()));
        create_dir_all(&directory).unwrap();
        let path = directory.join("table");
        let same = |content: &[u8]| {
            let file = File::open(&path).unwrap();
            holds(file, |out| content.chunks(7).try_for_each(|part| out.write_all(part)))
        };
        for size in [0usize, 1, 100, 100_000] {
            let content: Vec<u8> = (0..size).map(|n| n as u8).collect();
            write(&path, &content).unwrap();
            assert!(same(&content).unwrap());
            assert!(!same(&[&content[..], b"x"].concat()).unwrap());
            if let Some((last, rest)) = content.split_last() {
                assert!(!same(rest).unwrap());
                assert!(!same(&[rest, &[!last]].concat()).unwrap());
            }
        }
        assert!(holds(File::open(&directory).unwrap(), |out| out.write_all(b"x")).is_err());
        remove_dir_all(&directory).unwrap();
    }
}
