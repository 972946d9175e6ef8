//! What is worth saying once, not every hour: cron(8) mails whatever is printed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use common::replace::Replacement;
use common::{Error, message};

/// Most lines that are printed at once.
const MOST: usize = 20;
/// The most that is read of what was said, in octets; more is not what was said last.
const MAX_SIZE: u64 = 1 << 20;

/// Prints the notes if they are not those that were said last, and remembers them in the file.
///
/// # Errors
/// The file cannot be read or replaced.
pub fn once(path: &Path, notes: &[String]) -> Result<(), Error> {
    let text: String = notes.iter().map(|note| format!("{note}\n")).collect();
    if last(path)? == text.as_bytes() {
        return Ok(());
    }
    notes.iter().take(MOST).for_each(message::warn);
    if let Some(more) = notes.len().checked_sub(MOST).filter(|more| *more > 0) {
        message::warn(format_args!("and {more} more, in {}", path.display()));
    }
    let mut file = Replacement::create(path, 0o600)?;
    file.write_all(text.as_bytes()).map_err(|error| Error::io(path, &error))?;
    file.commit()
}

fn last(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_SIZE).read_to_end(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io(path, &error)),
    }
}
