//! The ledger: which logs were spooled, one line each, so that no log is shipped twice.
//!
//! A line is `<sha256> <records> <first> <last>`: the digest of the log's uncompressed octets, its
//! records, and the seconds since 1970 of its first and its last. Lines are appended, each written
//! out before its log may leave the outbox; a run that is killed leaves at worst a torn last line.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::replace::Replacement;
use common::{Error, owner};

use crate::hex;
use crate::text::Digest;

/// How much of a ledger is read, in octets from its end, where the youngest lines are: some ten
/// thousand logs, of which a disk has tens.
const MAX_SIZE: u64 = 1024 * 1024;

/// A log that was spooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of its octets, uncompressed.
    pub digest: Digest,
    /// Its records; 0 also where only its digest is known.
    pub records: u64,
    /// When its first record was taken, in seconds since 1970.
    pub first: u64,
    /// When its last record was taken.
    pub last: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", hex::show(&self.digest), self.records, self.first, self.last)
    }
}

/// What a ledger's octets say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    entries: Vec<Entry>,
    /// Lines that are none of ours.
    strange: usize,
    /// The last line has no end: a run was killed while it wrote it.
    torn: bool,
}

fn parse(octets: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            None => parsed.torn = true,
            Some(line) => match parse_line(line) {
                Some(entry) => parsed.entries.push(entry),
                None => parsed.strange = parsed.strange.saturating_add(1),
            },
        }
    }
    parsed
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split(' ');
    let digest = hex::parse(words.next()?)?;
    let mut number = || words.next()?.parse().ok();
    let entry = Entry { digest, records: number()?, first: number()?, last: number()? };
    // Only what is written here is taken: no sign, no leading zero, no further word.
    (entry.to_string() == text).then_some(entry)
}

/// The ledger of a run that holds the lock.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    entries: Vec<Entry>,
    /// What is wrong with the file.
    fault: Option<String>,
    /// Whether a line can be appended to the file as it is.
    sound: bool,
}

impl Ledger {
    /// Reads the ledger; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, or others may change it.
    pub fn load(path: &Path) -> Result<Ledger, Error> {
        let mut octets = Vec::new();
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let (there, is_whole) = match file {
            Ok(file) => (true, read(file, &mut octets, path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (false, true),
            Err(error) => return Err(Error::io(path, &error)),
        };
        let Parsed { entries, strange, torn } = parse(&octets);
        let fault = match (is_whole, strange) {
            (true, 0) => None,
            (true, _) => Some(format!("{strange} strange lines left out; logs may be sent again")),
            (false, _) => Some(format!("only its last {MAX_SIZE} octets are kept; logs may be sent again")),
        };
        let sound = there && !torn && fault.is_none();
        Ok(Ledger { path: path.to_owned(), entries, fault, sound })
    }

    /// What is wrong with the file, until it is rewritten. The logs of what was left out are sent
    /// again if they are still there.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether the log with this digest was spooled.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|entry| entry.digest == *digest)
    }

    /// Enters a log, and makes sure that the line is on disk.
    ///
    /// # Errors
    /// The file cannot be written. The log then counts as not spooled: it must not be sent.
    pub fn append(&mut self, entry: Entry) -> Result<(), Error> {
        if !self.sound {
            self.rewrite()?;
        }
        // Until the line is whole and on disk, the file may end in a part of it.
        self.sound = false;
        OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(format!("{entry}\n").as_bytes())?;
                file.sync_all()
            })
            .map_err(|error| Error::io(&self.path, &error))?;
        self.sound = true;
        self.entries.push(entry);
        Ok(())
    }

    /// Forgets logs that `keep` does not name, those with the oldest last record first, until no more
    /// than `room` are left.
    ///
    /// # Errors
    /// The file cannot be replaced; the old one stays.
    pub fn prune(&mut self, room: usize, keep: impl Fn(&Digest) -> bool) -> Result<(), Error> {
        let others = self.entries.iter().filter(|entry| !keep(&entry.digest));
        let mut gone: Vec<(u64, Digest)> = others.map(|entry| (entry.last, entry.digest)).collect();
        gone.sort_unstable();
        gone.truncate(self.entries.len().saturating_sub(room));
        if gone.is_empty() {
            return Ok(());
        }
        let gone: BTreeSet<Digest> = gone.into_iter().map(|(_, digest)| digest).collect();
        self.entries.retain(|entry| !gone.contains(&entry.digest));
        self.rewrite()
    }

    /// Writes the file anew, with the lines that were understood.
    ///
    /// # Errors
    /// The file cannot be replaced; the old one stays.
    pub fn rewrite(&mut self) -> Result<(), Error> {
        let mut new = Replacement::create(&self.path, 0o600)?;
        for entry in &self.entries {
            writeln!(new, "{entry}").map_err(|error| Error::io(&self.path, &error))?;
        }
        new.commit()?;
        self.sound = true;
        self.fault = None;
        Ok(())
    }
}

/// Reads a ledger, or the lines at the end of one that is too large; whether it was the whole.
fn read(mut file: File, octets: &mut Vec<u8>, path: &Path) -> Result<bool, Error> {
    let metadata = file.metadata().map_err(|error| Error::io(path, &error))?;
    if !metadata.is_file() {
        return Err(Error::new(path.display(), "not a regular file"));
    }
    owner::check(path, &metadata)?;
    let left_out = metadata.len().saturating_sub(MAX_SIZE);
    file.seek(SeekFrom::Start(left_out))
        .and_then(|_| file.take(MAX_SIZE).read_to_end(octets))
        .map_err(|error| Error::io(path, &error))?;
    if left_out > 0 {
        let first_line = octets.iter().take_while(|octet| **octet != b'\n').count().saturating_add(1);
        octets.drain(..first_line.min(octets.len()));
    }
    Ok(left_out == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(octet: u8) -> Entry {
        Entry { digest: [octet; 32], records: 1234, first: 1_790_000_000, last: 1_790_000_060 }
    }

    fn lines(octets: &[u8]) -> Vec<u8> {
        octets.iter().flat_map(|octet| format!("{}\n", entry(*octet)).into_bytes()).collect()
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tsship-ledger-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        directory.join("ledger")
    }

    #[test]
    fn cut_at_every_octet_only_the_last_line_is_lost() {
        let whole = lines(&[1, 2, 3]);
        let line = whole.len() / 3;
        for length in 0..=whole.len() {
            let parsed = parse(&whole[..length]);
            assert_eq!(parsed.entries.len(), length / line);
            assert_eq!(parsed.torn, length % line != 0);
            assert_eq!(parsed.strange, 0);
        }
        // A power cut may leave a tail of NULs.
        let parsed = parse(&[&whole[..line], &[0; 512]].concat());
        assert_eq!((parsed.entries.len(), parsed.torn), (1, true));
    }

    #[test]
    fn strange_lines_are_counted() {
        let good = entry(1).to_string();
        for bad in
            ["", "x", &good[1..], &format!("{good} 1"), &format!(" {good}"), &good.replace("1234", "+1234")]
        {
            let parsed = parse(format!("{good}\n{bad}\n{good}\n").as_bytes());
            assert_eq!((parsed.entries.len(), parsed.strange, parsed.torn), (2, 1, false), "{bad}");
        }
        assert_eq!(parse(&good.replace("1234", "01234").into_bytes()).entries, []);
        assert_eq!(parse(b"\xff\n").strange, 1);
    }

    #[test]
    fn appends_prunes_and_repairs() {
        let path = scratch("appends");
        let mut ledger = Ledger::load(&path).unwrap();
        ledger.append(entry(1)).unwrap();
        ledger.append(entry(2)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[1, 2]));

        let torn = [lines(&[1, 2]), b"0303".to_vec()].concat();
        std::fs::write(&path, &torn).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), torn, "reading changes nothing");
        ledger.append(entry(4)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[1, 2, 4]));
        assert!(ledger.contains(&[4; 32]) && !ledger.contains(&[3; 32]));

        ledger.prune(0, |digest| *digest != [1; 32]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[2, 4]));
        std::fs::write(&path, [b"strange\n".to_vec(), lines(&[5])].concat()).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        assert_eq!(ledger.fault(), Some("1 strange lines left out; logs may be sent again"));
        ledger.append(entry(6)).unwrap();
        assert_eq!(ledger.fault(), None);
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[5, 6]));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn forgets_the_oldest_where_there_is_no_room() {
        let path = scratch("room");
        let mut ledger = Ledger::load(&path).unwrap();
        for (octet, last) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
            ledger.append(Entry { last, ..entry(octet) }).unwrap();
        }
        ledger.prune(4, |_| false).unwrap();
        assert_eq!(ledger.entries.len(), 4);
        ledger.prune(2, |digest| *digest == [2; 32]).unwrap();
        let left: Vec<u8> = ledger.entries.iter().map(|entry| entry.digest[0]).collect();
        assert_eq!(left, [2, 4]);
        assert_eq!(Ledger::load(&path).unwrap().entries, ledger.entries);
        ledger.prune(0, |_| true).unwrap();
        assert_eq!(ledger.entries.len(), 2, "what is to be kept needs no room");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn of_one_that_is_too_large_the_end_counts() {
        let path = scratch("large");
        let head = vec![b'x'; MAX_SIZE as usize];
        std::fs::write(&path, [head, b"\n".to_vec(), lines(&[1, 2])].concat()).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        assert!(ledger.fault().unwrap().starts_with("only its last 1048576 octets"));
        assert!(ledger.contains(&[1; 32]) && ledger.contains(&[2; 32]));
        ledger.rewrite().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[1, 2]));
        assert_eq!(Ledger::load(&path).unwrap().fault(), None);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn refuses_a_link() {
        let path = scratch("refuses");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Ledger::load(&path).is_err());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    proptest! {
        #[test]
        fn any_octets_are_read(octets: Vec<u8>) {
            let parsed = parse(&octets);
            let lines = octets.iter().filter(|octet| **octet == b'\n').count();
            prop_assert_eq!(parsed.entries.len() + parsed.strange, lines);
        }
    }
}
