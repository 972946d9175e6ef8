//! The ledger: which logs were spooled, one line each, so that no log is shipped twice.
//!
//! A line is `<sha256> <sha256> <records> <first> <last> <inode> <size> <mtime>`: the digests of the log's
//! uncompressed octets and of its first record, its records, the seconds since 1970 of its first and its
//! last, and the file in which it was read last, by which the next run knows it without reading it. Of several lines
//! for one digest the last counts. Lines are appended, each written out before its log may leave the
//! outbox; a run that is killed leaves at worst a torn last line.
//!
//! A log whose file is gone, or that was named by hand, is forgotten when a thousand others have
//! been entered after it, so that neither a clock nor a run that did not see all logs decides.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::replace::Replacement;
use common::{Error, owner};

use crate::hex;
use crate::logs::Identity;
use crate::text::Digest;

/// How much of a ledger is read, in octets from its end, where the youngest lines are: some seven
/// thousand lines, of which there are hundreds.
const MAX_SIZE: u64 = 1024 * 1024;

/// How many logs are remembered that are not to be seen any more: no fewer than there are numbers
/// for rotated logs.
const MAX_OTHERS: usize = 1024;

/// How many lines that no longer count are left in the file.
const MAX_OUTDATED: usize = 1024;

/// A log that was spooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of its octets, uncompressed.
    pub digest: Digest,
    /// SHA-256 of its first record; zero where it is not known.
    pub head: Digest,
    /// Its records; 0 also where only its digest is known.
    pub records: u64,
    /// When its first record was taken, in seconds since 1970.
    pub first: u64,
    /// When its last record was taken; 0 without records.
    pub last: u64,
    /// The rotated log in which it was read.
    pub file: Identity,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { digest, head, records, first, last, file: Identity { inode, size, mtime } } = self;
        let (digest, head) = (hex::show(digest), hex::show(head));
        write!(f, "{digest} {head} {records} {first} {last} {inode} {size} {mtime}")
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
    let (digest, head) = (hex::parse(words.next()?)?, hex::parse(words.next()?)?);
    let mut number = || words.next()?.parse().ok();
    let (records, first, last) = (number()?, number()?, number()?);
    let file = Identity { inode: number()?, size: number()?, mtime: words.next()?.parse().ok()? };
    let entry = Entry { digest, head, records, first, last, file };
    // Only what is written here is taken: no sign, no leading zero, no further word.
    (entry.to_string() == text).then_some(entry)
}

/// The ledger of a run that holds the lock.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// One for each digest, those that were entered last at the end.
    entries: Vec<Entry>,
    /// How many lines of the file no longer count.
    outdated: usize,
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
        let lines = entries.len();
        let mut known = BTreeSet::new();
        let mut entries: Vec<Entry> =
            entries.into_iter().rev().filter(|entry| known.insert(entry.digest)).collect();
        entries.reverse();
        let outdated = lines.saturating_sub(entries.len());
        Ok(Ledger { path: path.to_owned(), entries, outdated, fault, sound })
    }

    fn enter(&mut self, entry: Entry) {
        let before = self.entries.len();
        self.entries.retain(|other| other.digest != entry.digest);
        self.outdated = self.outdated.saturating_add(before.saturating_sub(self.entries.len()));
        self.entries.push(entry);
    }

    /// What is wrong with the file, until it is rewritten. The logs of what was left out are sent
    /// again if they are still there.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// What is known of the log with this digest, if it was spooled.
    pub fn get(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.digest == *digest)
    }

    /// The log that was read in this file, if nobody has written to the file since.
    pub fn find(&self, file: &Identity) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.file == *file && file.inode != 0)
    }

    /// What is known of a log that begins with the same record, and is another version of this one: shorter,
    /// because its end was lost since, or longer, because it could not be read then. The longest, if
    /// there are several.
    pub fn with_head(&self, head: &Digest) -> Option<&Entry> {
        let same = self.entries.iter().filter(|entry| entry.head == *head && *head != Digest::default());
        same.max_by_key(|entry| entry.records)
    }

    /// When the last record was taken that was spooled from a rotated log, of those not younger than `time`.
    /// `None` if there is none.
    pub fn last_before(&self, time: u64) -> Option<u64> {
        self.rotated().map(|entry| entry.last).filter(|last| *last <= time).max()
    }

    /// Whether no rotated log with records was ever spooled, as far as is known.
    pub fn is_new(&self) -> bool {
        self.rotated().next().is_none()
    }

    fn rotated(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.file.inode != 0 && entry.last > 0)
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
        self.enter(entry);
        Ok(())
    }

    /// Forgets logs that `keep` does not name, those that were entered first, until no more than a
    /// thousand are left; and writes the file anew where much of it no longer counts.
    ///
    /// # Errors
    /// The file cannot be replaced; the old one stays.
    pub fn prune(&mut self, keep: impl Fn(&Digest) -> bool) -> Result<(), Error> {
        let others = self.entries.iter().filter(|entry| !keep(&entry.digest)).map(|entry| entry.digest);
        let gone = others.clone().count().saturating_sub(MAX_OTHERS);
        if gone == 0 && self.outdated <= MAX_OUTDATED {
            return Ok(());
        }
        let gone: BTreeSet<Digest> = others.take(gone).collect();
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
        self.outdated = 0;
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
        let file = Identity { inode: octet.into(), size: 600, mtime: 1_790_000_060_000_000_123 };
        let (digest, head) = ([octet; 32], [!octet; 32]);
        Entry { digest, head, records: 1234, first: 1_790_000_000, last: 1_790_000_060, file }
    }

    fn knows(ledger: &Ledger, octet: u8) -> bool {
        ledger.get(&[octet; 32]).is_some()
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
        assert!(knows(&ledger, 4) && !knows(&ledger, 3));
        std::fs::write(&path, [b"strange\n".to_vec(), lines(&[5])].concat()).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        assert_eq!(ledger.fault(), Some("1 strange lines left out; logs may be sent again"));
        ledger.append(entry(6)).unwrap();
        assert_eq!(ledger.fault(), None);
        assert_eq!(std::fs::read(&path).unwrap(), lines(&[5, 6]));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn forgets_what_was_entered_first_beyond_a_thousand() {
        let path = scratch("room");
        let digest = |number: usize| -> Digest {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        // The first is the youngest by its records: the clock does not decide.
        let entries: Vec<Entry> = (0..MAX_OTHERS + 3)
            .map(|number| Entry { digest: digest(number), last: 9999 - number as u64, ..entry(1) })
            .collect();
        let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        std::fs::write(&path, &text).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        ledger.prune(|kept| [digest(0), digest(2), digest(4)].contains(kept)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "there is room for all");
        ledger.prune(|kept| *kept == digest(1)).unwrap();
        let left: Vec<Digest> = ledger.entries.iter().map(|entry| entry.digest).collect();
        assert_eq!(left[..2], [digest(1), digest(3)]);
        assert_eq!(left.len(), MAX_OTHERS + 1);
        assert_eq!(Ledger::load(&path).unwrap().entries, ledger.entries);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_is_known_until_somebody_writes_to_it() {
        let path = scratch("file");
        let mut ledger = Ledger::load(&path).unwrap();
        let Entry { file: plain, .. } = entry(1);
        ledger.append(entry(1)).unwrap();
        assert_eq!(ledger.find(&plain), Some(&entry(1)));
        assert_eq!(ledger.find(&Identity { size: 601, ..plain }), None);
        assert_eq!(ledger.find(&Identity { mtime: 0, ..plain }), None);
        // gzip(1) makes another file of it: the last line counts, here and when it is read again.
        let compressed = Entry { file: Identity { inode: 77, ..plain }, ..entry(1) };
        ledger.append(compressed).unwrap();
        for ledger in [&ledger, &Ledger::load(&path).unwrap()] {
            assert_eq!((ledger.find(&plain), ledger.find(&compressed.file)), (None, Some(&compressed)));
            assert_eq!((ledger.entries.len(), ledger.outdated), (1, 1));
        }
        // What was no file is not found as one.
        ledger.append(Entry { file: Identity::default(), ..entry(2) }).unwrap();
        assert_eq!(ledger.find(&Identity::default()), None);
        // Lines that do not count are not kept for ever.
        for _ in 0..MAX_OUTDATED {
            ledger.enter(compressed);
        }
        ledger.prune(|_| true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(ledger.outdated, 0);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn versions_of_a_log_are_known_by_its_first_record() {
        let path = scratch("head");
        let mut ledger = Ledger::load(&path).unwrap();
        for (octet, records) in [(1, 5), (2, 9), (3, 7)] {
            ledger.append(Entry { head: [8; 32], records, ..entry(octet) }).unwrap();
        }
        ledger.append(Entry { head: Digest::default(), ..entry(4) }).unwrap();
        for ledger in [&ledger, &Ledger::load(&path).unwrap()] {
            assert_eq!(ledger.with_head(&[8; 32]).map(|entry| entry.digest), Some([2; 32]));
            assert_eq!(ledger.with_head(&[7; 32]), None);
            assert_eq!(ledger.with_head(&Digest::default()), None);
        }
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_last_record_before_a_time() {
        let path = scratch("last");
        let mut ledger = Ledger::load(&path).unwrap();
        ledger.append(Entry { records: 0, first: 0, last: 0, ..entry(1) }).unwrap();
        assert!(ledger.is_new() && ledger.last_before(u64::MAX).is_none());
        for (octet, last) in [(2, 300), (3, 100), (4, 900)] {
            ledger.append(Entry { last, ..entry(octet) }).unwrap();
        }
        // One that was named by hand belongs to no series.
        ledger.append(Entry { last: 400, file: Identity::default(), ..entry(5) }).unwrap();
        assert!(!ledger.is_new());
        let before = [99, 100, 500, 900].map(|time| ledger.last_before(time));
        assert_eq!(before, [None, Some(100), Some(300), Some(900)]);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn of_one_that_is_too_large_the_end_counts() {
        let path = scratch("large");
        let head = vec![b'x'; MAX_SIZE as usize];
        std::fs::write(&path, [head, b"\n".to_vec(), lines(&[1, 2])].concat()).unwrap();
        let mut ledger = Ledger::load(&path).unwrap();
        assert!(ledger.fault().unwrap().starts_with("only its last 1048576 octets"));
        assert!(knows(&ledger, 1) && knows(&ledger, 2));
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
