//! What is worth saying once, not every hour: cron(8) mails whatever is printed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use common::replace::Replacement;
use common::{Error, message};

/// Most lines that are printed at once.
const MOST: usize = 20;
/// The most that is remembered, in octets.
const MAX_SIZE: usize = 1 << 20;

/// Prints the notes if they are not those that were said last, in any order, and remembers them in
/// the file. If they are not `all` there would have been, because something failed, only those that
/// are new are printed, and those that were said before are remembered too.
///
/// # Errors
/// The file cannot be read or replaced.
pub fn once(path: &Path, notes: &[String], all: bool) -> Result<(), Error> {
    let last = last(path)?;
    let said: BTreeSet<&[u8]> = lines(&last).collect();
    let news: Vec<&String> = notes.iter().filter(|note| all || !said.contains(note.as_bytes())).collect();
    let before = if all { &[][..] } else { &last };
    let text = bounded(lines(before).chain(news.iter().map(|note| note.as_bytes())));
    if lines(&text).collect::<BTreeSet<_>>() == said {
        return Ok(());
    }
    news.iter().take(MOST).for_each(message::warn);
    if let Some(more) = news.len().checked_sub(MOST).filter(|more| *more > 0) {
        message::warn(format_args!("and {more} more, in {}", path.display()));
    }
    let mut file = Replacement::create(path, 0o600)?;
    file.write_all(&text).map_err(|error| Error::io(path, &error))?;
    file.commit()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty())
}

/// The lines as a text, without those that are too many to be remembered.
fn bounded<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        if text.len().saturating_add(line.len()) >= MAX_SIZE {
            break;
        }
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

fn last(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_SIZE as u64).read_to_end(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_remembered_is_what_was_said_whatever_its_size() {
        let path = std::env::temp_dir().join(format!("tspf-said-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let inode = || std::fs::metadata(&path).unwrap().ino();
        let many: Vec<String> =
            (0..40_000).map(|n| format!("198.51.{n}: a note of forty octets or so")).collect();
        for notes in [&many[..3], &many[..], &[]] {
            once(&path, notes, true).unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= MAX_SIZE as u64);
            let before = inode();
            once(&path, notes, true).unwrap();
            assert_eq!(inode(), before, "{} notes were said again", notes.len());
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_a_failure_keeps_from_being_said_is_not_forgotten() {
        let path = std::env::temp_dir().join(format!("tspf-said-part-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let say = |notes: &[&str], all| {
            let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
            once(&path, &notes, all).unwrap();
            std::fs::read_to_string(&path).unwrap_or_default()
        };
        assert_eq!(say(&["block", "room"], true), "block\nroom\n");
        assert_eq!(say(&["room"], false), "block\nroom\n");
        assert_eq!(say(&["room", "rules"], false), "block\nroom\nrules\n");
        assert_eq!(say(&["rules", "block", "room"], true), "block\nroom\nrules\n", "the same notes");
        assert_eq!(say(&["rules"], true), "rules\n");
        std::fs::remove_file(&path).unwrap();
    }
}
