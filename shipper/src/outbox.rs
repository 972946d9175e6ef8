//! The outbox: texts that wait to be posted, and where texts go that the service refused.
//!
//! A text's name is `<first time>-<sha256>`: the seconds since 1970 of its first record, in ten
//! digits or more so that the order of names is the order of time, and the digest of the log that
//! it was made from. Once it was posted in part or in vain, `.<parts>.<times>` follow: how many of its
//! parts the service has, and how often it was posted in vain. So a text and how far it has come are
//! one file, and change in one rename(2). A text that is still being written has a name that ends in
//! `.tmp`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::replace::sync_directory;
use common::{Error, owner};

use crate::hex;
use crate::text::Digest;

/// The name of a text, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// When the first record was taken, in seconds since 1970.
    pub first: u64,
    /// SHA-256 of the log's uncompressed octets.
    pub digest: Digest,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{}", self.first, hex::show(&self.digest))
    }
}

impl Name {
    /// Reads a name, in the form in which it is written here and no other.
    pub fn parse(text: &str) -> Option<Name> {
        let (first, digest) = text.split_once('-')?;
        let name = Name { first: first.parse().ok()?, digest: hex::parse(digest)? };
        (name.to_string() == text).then_some(name)
    }
}

/// A text in one of the directories, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    /// Which text it is.
    pub name: Name,
    /// How many of its parts the service has.
    pub sent: u32,
    /// How often it was posted in vain.
    pub failed: u32,
}

impl From<Name> for Text {
    fn from(name: Name) -> Text {
        Text { name, sent: 0, failed: 0 }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text { name, sent: 0, failed: 0 } => write!(f, "{name}"),
            Text { name, sent, failed } => write!(f, "{name}.{sent}.{failed}"),
        }
    }
}

impl Text {
    /// Reads a file's name, in the form in which it is written here and no other.
    pub fn parse(file: &str) -> Option<Text> {
        let mut words = file.split('.');
        let name = Name::parse(words.next()?)?;
        let mut number = || words.next().map_or(Some(0), |word| word.parse().ok());
        let text = Text { name, sent: number()?, failed: number()? };
        (text.to_string() == file).then_some(text)
    }

    /// What texts are posted in the order of: the oldest first, but behind all that failed less
    /// often, so that one that can never be posted holds up no other.
    pub fn turn(&self) -> (u32, Name) {
        (self.failed, self.name)
    }
}

/// The two directories.
#[derive(Debug)]
pub struct Outbox {
    waiting: PathBuf,
    rejected: PathBuf,
}

/// A text that is being written.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// How many octets of it are written.
    ///
    /// # Errors
    /// The system does not say.
    pub fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

impl Outbox {
    /// The outbox at these directories.
    ///
    /// # Errors
    /// One of them is not there, or others may change it.
    pub fn new(waiting: PathBuf, rejected: PathBuf) -> Result<Outbox, Error> {
        owner::check_directory(&waiting)?;
        owner::check_directory(&rejected)?;
        Ok(Outbox { waiting, rejected })
    }

    /// The directory of texts that wait.
    pub fn waiting(&self) -> &Path {
        &self.waiting
    }

    /// The directory of texts that were refused.
    pub fn rejected(&self) -> &Path {
        &self.rejected
    }

    /// Removes the drafts that a killed run left.
    ///
    /// # Errors
    /// The directory cannot be read, or a draft not be removed.
    pub fn sweep(&self) -> Result<(), Error> {
        for name in names(&self.waiting)? {
            if name.ends_with(".tmp") {
                unlink(&self.waiting.join(name))?;
            }
        }
        Ok(())
    }

    /// The texts that wait, oldest first, with their sizes in octets.
    ///
    /// # Errors
    /// The directory or a text's size cannot be read.
    pub fn list(&self) -> Result<Vec<(Text, u64)>, Error> {
        list(&self.waiting)
    }

    /// The size of a text that waits, in octets.
    ///
    /// # Errors
    /// It is not there.
    pub fn size(&self, text: &Text) -> Result<u64, Error> {
        size(&self.path(text))
    }

    /// Opens a text that waits.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or others may change it.
    pub fn open(&self, text: &Text) -> Result<File, Error> {
        open(&self.path(text))
    }

    /// Starts a text: the draft, a descriptor for the process that writes it, and one that only reads,
    /// with a position of its own, for the process that posts it. `number` tells the drafts of one
    /// run apart.
    ///
    /// # Errors
    /// The file cannot be made, or there is no room for the descriptors. Then there is no file.
    pub fn draft(&self, number: usize) -> Result<(Draft, File, File), Error> {
        let path = self.waiting.join(format!("{number}.tmp"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io(&path, &error))?;
        let others = file.try_clone().map_err(|error| Error::io(&path, &error)).and_then(|writer| {
            let reader = open(&path)?;
            Ok((writer, reader))
        });
        match others {
            Ok((writer, reader)) => Ok((Draft { path, file }, writer, reader)),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Cuts off what a draft has beyond its first `octets`, of which it is said to have at least as many.
    ///
    /// # Errors
    /// It has fewer, or cannot be cut.
    pub fn cut(&self, draft: &Draft, octets: u64) -> Result<(), Error> {
        let cut = draft.file.metadata().and_then(|metadata| {
            if metadata.len() < octets {
                return Err(io::Error::other("shorter than its decoder said"));
            }
            draft.file.set_len(octets)
        });
        cut.map_err(|error| Error::io(&draft.path, &error))
    }

    /// Puts a text, complete, into the outbox, and makes sure that it is on disk.
    ///
    /// # Errors
    /// It cannot be written out or renamed. Only if the last step fails, writing out the
    /// directory, it may already be in the outbox.
    pub fn publish(&self, draft: &Draft, name: &Name) -> Result<(), Error> {
        draft.file.sync_all().map_err(|error| Error::io(&draft.path, &error))?;
        rename(&draft.path, &self.path(&Text::from(*name)))
    }

    /// Removes a draft.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn discard(&self, draft: &Draft) -> Result<(), Error> {
        std::fs::remove_file(&draft.path).map_err(|error| Error::io(&draft.path, &error))
    }

    /// Removes a text that was posted, or that there is no room for.
    ///
    /// # Errors
    /// The file cannot be removed, or the directory not be written out.
    pub fn remove(&self, text: &Text) -> Result<(), Error> {
        let path = self.path(text);
        unlink(&path)?;
        sync_directory(&path)
    }

    /// Notes how far a text has come: what was `before` is `now`, which has the same name.
    ///
    /// # Errors
    /// The file cannot be renamed, or the directory not be written out.
    pub fn note(&self, before: &Text, now: &Text) -> Result<(), Error> {
        rename(&self.path(before), &self.path(now))
    }

    /// Moves a text to those that were refused; its path there.
    ///
    /// # Errors
    /// The file cannot be renamed, or a directory not be written out.
    pub fn reject(&self, text: &Text) -> Result<PathBuf, Error> {
        let (from, to) = (self.path(text), self.rejected.join(text.to_string()));
        rename(&from, &to)?;
        sync_directory(&from)?;
        Ok(to)
    }

    /// Removes the oldest texts that were refused, until the rest is at most `room` octets; how many
    /// were removed.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not be removed.
    pub fn trim_rejected(&self, room: u64) -> Result<usize, Error> {
        let texts = list(&self.rejected)?;
        let surplus = surplus(&texts, room);
        for (text, _) in surplus {
            unlink(&self.rejected.join(text.to_string()))?;
        }
        Ok(surplus.len())
    }

    fn path(&self, text: &Text) -> PathBuf {
        self.waiting.join(text.to_string())
    }
}

/// Which of the texts, oldest first, have to go so that the rest is at most `room` octets.
pub fn surplus(texts: &[(Text, u64)], room: u64) -> &[(Text, u64)] {
    let mut left = room;
    let mut count = texts.len();
    for (_, size) in texts.iter().rev() {
        let Some(rest) = left.checked_sub(*size) else { break };
        left = rest;
        count = count.saturating_sub(1);
    }
    texts.get(..count).unwrap_or_default()
}

fn list(directory: &Path) -> Result<Vec<(Text, u64)>, Error> {
    let mut texts = Vec::new();
    for text in names(directory)?.iter().filter_map(|name| Text::parse(name)) {
        texts.push((text, size(&directory.join(text.to_string()))?));
    }
    texts.sort_unstable();
    Ok(texts)
}

fn size(path: &Path) -> Result<u64, Error> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| Error::io(path, &error))?;
    Ok(metadata.len())
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    std::fs::read_dir(directory)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
        })
        .map(|names| names.into_iter().filter_map(|name| name.into_string().ok()).collect())
        .map_err(|error| Error::io(directory, &error))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|error| Error::io(to, &error))?;
    sync_directory(to)
}

fn unlink(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|error| Error::io(path, &error))
}

fn open(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| Error::io(path, &error))?;
    let metadata = file.metadata().map_err(|error| Error::io(path, &error))?;
    if !metadata.is_file() {
        return Err(Error::new(path.display(), "not a regular file"));
    }
    owner::check(path, &metadata)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    fn scratch(name: &str) -> (PathBuf, Outbox) {
        let directory = std::env::temp_dir().join(format!("tsship-outbox-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let (waiting, rejected) = (directory.join("outbox"), directory.join("rejected"));
        std::fs::create_dir_all(&waiting).unwrap();
        std::fs::create_dir_all(&rejected).unwrap();
        (directory, Outbox::new(waiting, rejected).unwrap())
    }

    fn name(first: u64) -> Name {
        Name { first, digest: [1; 32] }
    }

    fn text(first: u64) -> Text {
        name(first).into()
    }

    #[test]
    fn names_sort_by_time_and_have_one_form() {
        let text = format!("1790000000-{}", "01".repeat(32));
        assert_eq!(Name::parse(&text), Some(name(1_790_000_000)));
        assert!(name(5).to_string() < name(4_294_967_295).to_string());
        for bad in
            [&text[1..], &format!("0{text}"), &format!("+{}", &text[1..]), &text.to_uppercase()[..74], ""]
        {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
        assert_eq!(Name::parse(&format!("{text}.tmp")), None);
    }

    #[test]
    fn what_failed_less_often_goes_first_and_else_the_oldest() {
        let texts = |failed: [u32; 3]| {
            let mut texts: Vec<Text> =
                (0..).zip(failed).map(|(first, failed)| Text { failed, ..text(first) }).collect();
            texts.sort_unstable_by_key(Text::turn);
            texts.iter().map(|text| text.name.first).collect::<Vec<_>>()
        };
        assert_eq!(texts([0, 0, 0]), [0, 1, 2]);
        assert_eq!(texts([1, 0, 0]), [1, 2, 0]);
        assert_eq!(texts([2, 1, 0]), [2, 1, 0]);
        for bad in [".0.0", ".1", ".1.", ".01.0", ".1.0.0", ".+1.0", ".0.4294967296", "."] {
            assert_eq!(Text::parse(&format!("{}{bad}", name(1))), None, "{bad}");
        }
    }

    #[test]
    fn a_text_from_draft_to_rejected() {
        let (directory, outbox) = scratch("draft");
        let (draft, mut writer, mut reader) = outbox.draft(0).unwrap();
        writer.write_all(b"line\n").unwrap();
        assert!(outbox.draft(0).is_err(), "never opens what is there");
        assert_eq!(outbox.list().unwrap(), []);
        writer.write_all(b"torn li").unwrap();
        assert!(outbox.cut(&draft, 13).is_err(), "a draft is never made longer");
        outbox.cut(&draft, 5).unwrap();
        outbox.publish(&draft, &name(7)).unwrap();
        assert_eq!(outbox.list().unwrap(), [(text(7), 5)]);
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content, "line\n");
        assert_eq!(outbox.open(&text(7)).unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        let part = Text { sent: 2, failed: 1, ..text(7) };
        outbox.note(&text(7), &part).unwrap();
        assert_eq!(outbox.list().unwrap(), [(part, 5)]);
        assert_eq!(std::fs::read(outbox.reject(&part).unwrap()).unwrap(), b"line\n");
        assert_eq!(outbox.list().unwrap(), []);
        assert!(outbox.remove(&part).is_err());
        assert_eq!((outbox.trim_rejected(5).unwrap(), outbox.trim_rejected(4).unwrap()), (0, 1));
        assert_eq!(outbox.trim_rejected(0).unwrap(), 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn sweeps_drafts_only() {
        let (directory, outbox) = scratch("sweeps");
        for name in ["0.tmp", "9.tmp", "readme", &name(1).to_string()] {
            std::fs::write(outbox.waiting().join(name), "").unwrap();
        }
        outbox.sweep().unwrap();
        assert_eq!(names(outbox.waiting()).unwrap().len(), 2);
        assert_eq!(outbox.list().unwrap(), [(text(1), 0)]);
        let (draft, ..) = outbox.draft(0).unwrap();
        outbox.discard(&draft).unwrap();
        assert_eq!(names(outbox.waiting()).unwrap().len(), 2);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_oldest_go_first() {
        let texts = [(text(1), 10), (text(2), 20), (text(3), 30)];
        for (room, count) in [(60, 0), (59, 1), (50, 1), (49, 2), (30, 2), (29, 3), (0, 3)] {
            assert_eq!(surplus(&texts, room), &texts[..count], "{room}");
        }
        assert_eq!(surplus(&[(text(1), u64::MAX), (text(2), u64::MAX)], 5).len(), 2);
    }

    proptest! {
        #[test]
        fn every_name_comes_back(first: u64, digest: Digest, sent: u32, failed in 0u32..3) {
            let name = Name { first, digest };
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
            let text = Text { name, sent, failed };
            prop_assert_eq!(Text::parse(&text.to_string()), Some(text));
        }
    }
}
