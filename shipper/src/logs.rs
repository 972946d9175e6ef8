//! The rotated logs: which there are, and which of them are final.
//!
//! newsyslog(8) renames `pflog.N` to `pflog.N+1`, oldest first, then the live `pflog` to `pflog.0`,
//! and seconds later gzip(1) replaces `pflog.0` by `pflog.0.gz`. Names only ever move up, so logs
//! are opened from `.0` upwards: one that is renamed meanwhile is met twice rather than not at all.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::{Error, owner};

/// The highest number that is looked for.
const MAX_NUMBER: u16 = 999;

/// Most logs of one run; each costs a process and four descriptors.
pub const MAX_LOGS: usize = 64;

/// The octets of a pcap file header, which pflogd(8) writes when it has opened a new log. Then it
/// has closed the old one.
const PCAP_HEADER: usize = 24;

/// The first octets of a pcap file of microseconds, as pflogd(8) writes it on either kind of machine.
const PCAP_MAGIC: [[u8; 4]; 2] = [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1]];

/// How much of the live log is looked at.
const LIVE: u64 = 4096;

/// A log that is open for reading.
#[derive(Debug)]
pub struct Log {
    /// The name under which it was opened.
    pub path: PathBuf,
    /// The log.
    pub file: File,
    /// What the next run knows it by.
    pub identity: Identity,
    /// Whether pflogd(8) writes no more into it.
    pub is_final: bool,
}

/// What tells the file of a rotated log from others for as long as nobody writes to it, under
/// whatever name. All zero for a log that was named by hand, which is no part of the series.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its inode.
    pub inode: u64,
    /// Octets.
    pub size: u64,
    /// When it was written to last, in nanoseconds since 1970.
    pub mtime: i128,
}

impl Identity {
    /// The identity of an open file.
    pub fn of(metadata: &Metadata) -> Identity {
        let mtime = i128::from(metadata.mtime()).saturating_mul(1_000_000_000);
        let mtime = mtime.saturating_add(i128::from(metadata.mtime_nsec()));
        Identity { inode: metadata.ino(), size: metadata.len(), mtime }
    }
}

/// The rotated logs that were found.
#[derive(Debug, Default)]
pub struct Rotated {
    /// Open logs, oldest first.
    pub logs: Vec<Log>,
    /// Logs that need not be read, because an earlier run did.
    pub known: Vec<Identity>,
    /// What could not be opened.
    pub problems: Vec<Error>,
    /// Logs in a compression that is not read.
    pub foreign: Vec<(PathBuf, Identity)>,
    /// How many younger ones were left, because they are too many for one run.
    pub left: usize,
}

/// What the names in a directory say about the logs of one base name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    highest: Option<u16>,
    foreign: BTreeSet<OsString>,
}

fn listing(base: &OsStr, names: impl Iterator<Item = OsString>) -> Listing {
    let mut listing = Listing::default();
    for name in names {
        let Some(rest) =
            name.as_bytes().strip_prefix(base.as_bytes()).and_then(|rest| rest.strip_prefix(b"."))
        else {
            continue;
        };
        let mut words = rest.splitn(2, |octet| *octet == b'.');
        let Some(number) = words.next().and_then(number) else { continue };
        match words.next() {
            None | Some(b"gz") => {
                listing.highest = listing.highest.max(Some(number));
            }
            Some(b"bz2" | b"xz" | b"zst" | b"Z") => {
                listing.foreign.insert(name);
            }
            Some(_) => {}
        }
    }
    listing
}

/// A number as newsyslog(8) writes it: no leading zero.
fn number(digits: &[u8]) -> Option<u16> {
    let number: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= MAX_NUMBER && number.to_string().as_bytes() == digits).then_some(number)
}

/// Opens the rotated logs of the live log `pflog`, but of those that are not known only the oldest
/// that one run can read: newsyslog(8) deletes them first.
///
/// # Errors
/// Its directory cannot be read. What is wrong with a single log is one of the `problems`.
pub fn rotated(pflog: &Path, is_known: impl Fn(&Identity) -> bool) -> Result<Rotated, Error> {
    let (Some(directory), Some(base)) = (pflog.parent(), pflog.file_name()) else {
        return Err(Error::new(pflog.display(), "not the path of a file"));
    };
    let names = std::fs::read_dir(directory)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
        })
        .map_err(|error| Error::io(directory, &error))?;
    let Listing { highest, foreign } = listing(base, names.into_iter());
    // A rotation meanwhile moves the highest up by one, and may hide others from readdir(3), so every
    // number is tried.
    let highest = highest.map_or(0, |highest| highest.saturating_add(1));

    let mut found = Rotated::default();
    for path in foreign.into_iter().map(|name| directory.join(name)) {
        // One that is gone was renamed, and is met the next time.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        found.foreign.push((path, Identity::of(&metadata)));
    }
    let (mut seen, mut unread) = (HashSet::new(), VecDeque::new());
    for number in 0..=highest {
        match open_number(pflog, number) {
            Ok(None) => {}
            Ok(Some(log)) if !seen.insert(log.identity.inode) => {}
            Ok(Some(log)) if is_known(&log.identity) => found.known.push(log.identity),
            Ok(Some(log)) => {
                // Asked only now that the log is open: before, a rotation could come in between.
                let is_final = number > 0 || is_reopened(pflog);
                unread.push_front(Log { is_final, ..log });
                if unread.len() > MAX_LOGS {
                    found.left = found.left.saturating_add(1);
                    unread.pop_back();
                }
            }
            Err(error) => found.problems.push(error),
        }
    }
    found.logs = unread.into();
    Ok(found)
}

/// Opens the log of a number. While both forms are there, gzip(1) is still at work on the other.
fn open_number(pflog: &Path, number: u16) -> Result<Option<Log>, Error> {
    for suffix in ["", ".gz"] {
        let mut name = pflog.as_os_str().to_owned().into_vec();
        name.extend(format!(".{number}{suffix}").into_bytes());
        let path = PathBuf::from(OsString::from_vec(name));
        match open(&path, libc::O_NOFOLLOW) {
            Ok((file, metadata)) => {
                owner::check(&path, &metadata)?;
                return Ok(Some(Log { path, file, identity: Identity::of(&metadata), is_final: true }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&path, &error)),
        }
    }
    Ok(None)
}

/// Whether the new log was opened by whoever writes it, who then has closed the one that is now `.0`.
///
/// A log that is text begins with newsyslog(8)'s own line, or with none; one of pflogd(8) does too
/// where `newsyslog.conf` lacks the flag `B`. So a second line is waited for.
pub fn is_reopened(pflog: &Path) -> bool {
    let mut head = Vec::new();
    let read = open(pflog, libc::O_NOFOLLOW).and_then(|(file, _)| file.take(LIVE).read_to_end(&mut head));
    if read.is_err() {
        return false;
    }
    match head.first_chunk() {
        Some(magic) if PCAP_MAGIC.contains(magic) => head.len() >= PCAP_HEADER,
        _ => head.iter().filter(|octet| **octet == b'\n').count() > 1,
    }
}

/// Opens a log that was named by hand, which may be anybody's.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn named(path: &Path) -> Result<Log, Error> {
    let (file, _) = open(path, 0).map_err(|error| Error::io(path, &error))?;
    Ok(Log { path: path.to_owned(), file, identity: Identity::default(), is_final: true })
}

/// Whether somebody still writes to a log that was named by hand: it is the live log, or its
/// successor was not opened yet.
pub fn is_live(log: &Log, pflog: &Path) -> bool {
    let is = |path: &Path| {
        let named = log.file.metadata();
        let live = std::fs::metadata(path);
        named.is_ok_and(|named| live.is_ok_and(|live| (named.dev(), named.ino()) == (live.dev(), live.ino())))
    };
    let mut newest = pflog.as_os_str().to_owned();
    newest.push(".0");
    // The live log first: if newsyslog(8) renames it in between, it is met as the newest.
    is(pflog) || (is(Path::new(&newest)) && !is_reopened(pflog))
}

/// Opens a regular file, without waiting for a writer should it be a fifo.
fn open(path: &Path, flags: i32) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A header as pflogd(8) writes it.
    const PCAP: &[u8] = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xa0\0\0\0\x75\0\0\0";

    fn scratch(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tsship-logs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, content) in files {
            std::fs::write(directory.join(name), content).unwrap();
        }
        directory
    }

    fn contents(found: Rotated) -> Vec<(String, bool)> {
        let read = |mut log: Log| {
            let mut text = String::new();
            log.file.read_to_string(&mut text).unwrap();
            (text, log.is_final)
        };
        found.logs.into_iter().map(read).collect()
    }

    #[test]
    fn names() {
        let names = [
            "pflog",
            "pflog.0",
            "pflog.1.gz",
            "pflog.10",
            "pflog.999",
            "pflog.1000",
            "pflog.01",
            "pflog.",
            "pflog.+1",
            "pflog.3.bz2",
            "pflog.4.zst",
            "pflog.5.gz.tmp",
            "pflog.6x",
            "xpflog.7",
            "pflog1.8",
            "pflog.gz",
            "pflog.-1",
            "pflog.99999999999999999999",
        ];
        let found = listing(OsStr::new("pflog"), names.iter().map(OsString::from));
        assert_eq!(found.highest, Some(999));
        assert_eq!(found.foreign, ["pflog.3.bz2", "pflog.4.zst"].map(OsString::from).into());
        let logs =
            |name: &&str| listing(OsStr::new("pflog"), [OsString::from(name)].into_iter()).highest.is_some();
        let logs: Vec<&str> = names.into_iter().filter(logs).collect();
        assert_eq!(logs, ["pflog.0", "pflog.1.gz", "pflog.10", "pflog.999"]);
    }

    #[test]
    fn oldest_first_and_the_plain_one_of_two() {
        let directory = scratch(
            "oldest",
            &[("pflog.0", "c"), ("pflog.0.gz", "half"), ("pflog.2.gz", "b"), ("pflog.10", "a")],
        );
        std::fs::write(directory.join("pflog"), PCAP).unwrap();
        let found = rotated(&directory.join("pflog"), |_| false).unwrap();
        assert_eq!(contents(found), [("a".into(), true), ("b".into(), true), ("c".into(), true)]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_newest_is_final_once_the_live_log_has_its_header() {
        let directory = scratch("final", &[("pflog.0", "b"), ("pflog.1", "a")]);
        let pflog = directory.join("pflog");
        let turned_over: &[u8] = b"2026-11-21T22:00:00.000Z fw newsyslog[123]: logfile turned over\n";
        let twice = turned_over.repeat(2);
        let lives: [(Option<&[u8]>, bool); 6] = [
            (None, false),
            (Some(b""), false),
            (Some(&PCAP[..23]), false),
            (Some(PCAP), true),
            // Without flag B, and with a text log.
            (Some(turned_over), false),
            (Some(&twice), true),
        ];
        for (live, is_final) in lives {
            if let Some(live) = live {
                std::fs::write(&pflog, live).unwrap();
            }
            let found = rotated(&pflog, |_| false).unwrap();
            assert_eq!(contents(found), [("a".into(), true), ("b".into(), is_final)], "{live:?}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_log_is_a_problem() {
        let directory = scratch("problem", &[("pflog.1", "a"), ("pflog.2.xz", "")]);
        std::os::unix::fs::symlink("pflog.1", directory.join("pflog.3")).unwrap();
        std::fs::create_dir(directory.join("pflog.4")).unwrap();
        nix::unistd::mkfifo(&directory.join("pflog.5"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = rotated(&directory.join("pflog"), |_| false).unwrap();
        assert_eq!(found.problems.len(), 3);
        let foreign: Vec<&Path> = found.foreign.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(foreign, [directory.join("pflog.2.xz")]);
        assert_eq!(found.logs.len(), 1);
        // One log under two names, as during a rotation, is one log.
        std::fs::hard_link(directory.join("pflog.1"), directory.join("pflog.6")).unwrap();
        assert_eq!(rotated(&directory.join("pflog"), |_| false).unwrap().logs.len(), 1);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn of_too_many_the_oldest_and_those_that_are_known_are_left() {
        let names: Vec<String> = (1..=70).map(|number| format!("pflog.{number}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let directory = scratch("many", &files);
        let pflog = directory.join("pflog");
        let first = rotated(&pflog, |_| false).unwrap();
        assert_eq!((first.left, first.known.len()), (6, 0));
        let known: Vec<Identity> = first.logs.iter().map(|log| log.identity).collect();
        let contents = contents(first);
        assert_eq!((contents[0].0.as_str(), contents[63].0.as_str()), ("pflog.70", "pflog.7"));
        let second = rotated(&pflog, |file| known.contains(file)).unwrap();
        assert_eq!((second.left, second.known.len(), second.logs.len()), (0, 64, 6));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_log_that_was_named_is_live_until_its_successor_is_opened() {
        let directory = scratch("live", &[("pflog.0", "b"), ("pflog.1", "a")]);
        let pflog = directory.join("pflog");
        std::fs::write(&pflog, PCAP).unwrap();
        let is_live = |name: &str| is_live(&named(&directory.join(name)).unwrap(), &pflog);
        assert_eq!(["pflog", "pflog.0", "pflog.1"].map(is_live), [true, false, false]);
        std::os::unix::fs::symlink("pflog", directory.join("other")).unwrap();
        assert!(is_live("other"), "under another name too");
        std::fs::write(&pflog, "").unwrap();
        assert_eq!(["pflog", "pflog.0", "pflog.1"].map(is_live), [true, true, false]);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
