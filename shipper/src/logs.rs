//! The rotated logs: which there are, and which of them are final.
//!
//! newsyslog(8) renames `pflog.N` to `pflog.N+1`, oldest first, then the live `pflog` to `pflog.0`,
//! and seconds later gzip(1) replaces `pflog.0` by `pflog.0.gz`. Names only ever move up, so logs
//! are opened from `.0` upwards: one that is renamed meanwhile is met twice rather than not at all.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::{Error, owner};

/// The highest number that is looked for.
const MAX_NUMBER: u16 = 999;

/// Most logs of one run; each costs a process and four descriptors.
const MAX_LOGS: usize = 64;

/// The octets of a pcap file header, which pflogd(8) writes when it has opened a new log. Then it
/// has closed the old one.
const PCAP_HEADER: u64 = 24;

/// A log that is open for reading.
#[derive(Debug)]
pub struct Log {
    /// The name under which it was opened.
    pub path: PathBuf,
    /// The log.
    pub file: File,
    /// Whether pflogd(8) writes no more into it.
    pub is_final: bool,
}

/// The rotated logs that were found.
#[derive(Debug, Default)]
pub struct Rotated {
    /// Open logs, oldest first.
    pub logs: Vec<Log>,
    /// What could not be opened.
    pub problems: Vec<Error>,
    /// Logs in a compression that is not read.
    pub foreign: Vec<PathBuf>,
    /// How many older ones were left, because they are too many for one run.
    pub left: usize,
}

impl Rotated {
    /// Whether every log that can be read was opened and is final.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.left == 0 && self.logs.iter().all(|log| log.is_final)
    }
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

/// Opens the rotated logs of the live log `pflog`.
///
/// # Errors
/// Its directory cannot be read. What is wrong with a single log is one of the `problems`.
pub fn rotated(pflog: &Path) -> Result<Rotated, Error> {
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

    let foreign = foreign.into_iter().map(|name| directory.join(name)).collect();
    let mut found = Rotated { foreign, ..Rotated::default() };
    let mut seen = HashSet::new();
    for number in 0..=highest {
        match open_number(pflog, number) {
            Ok(None) => {}
            Ok(Some(_)) if found.logs.len() >= MAX_LOGS => found.left = found.left.saturating_add(1),
            Ok(Some((path, file))) => match file.metadata() {
                Err(error) => found.problems.push(Error::io(&path, &error)),
                Ok(metadata) if !seen.insert((metadata.dev(), metadata.ino())) => {}
                // Asked only now that the log is open: before, a rotation could come in between.
                Ok(_) => found.logs.push(Log { path, file, is_final: number > 0 || is_reopened(pflog) }),
            },
            Err(error) => found.problems.push(error),
        }
    }
    found.logs.reverse();
    Ok(found)
}

/// Opens the log of a number. While both forms are there, gzip(1) is still at work on the other.
fn open_number(pflog: &Path, number: u16) -> Result<Option<(PathBuf, File)>, Error> {
    for suffix in ["", ".gz"] {
        let mut name = pflog.as_os_str().to_owned().into_vec();
        name.extend(format!(".{number}{suffix}").into_bytes());
        let path = PathBuf::from(OsString::from_vec(name));
        match open(&path, libc::O_NOFOLLOW) {
            Ok(file) => {
                let metadata = file.metadata().map_err(|error| Error::io(&path, &error))?;
                owner::check(&path, &metadata)?;
                return Ok(Some((path, file)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&path, &error)),
        }
    }
    Ok(None)
}

/// Whether pflogd(8) has opened the new log, and so closed the one that is now `.0`.
fn is_reopened(pflog: &Path) -> bool {
    std::fs::symlink_metadata(pflog).is_ok_and(|metadata| metadata.len() >= PCAP_HEADER)
}

/// Opens a log that was named by hand, which may be anybody's.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn named(path: &Path) -> Result<Log, Error> {
    let file = open(path, 0).map_err(|error| Error::io(path, &error))?;
    Ok(Log { path: path.to_owned(), file, is_final: true })
}

/// Opens a regular file, without waiting for a writer should it be a fifo.
fn open(path: &Path, flags: i32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

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
        let header = "x".repeat(24);
        let directory = scratch(
            "oldest",
            &[
                ("pflog", &header),
                ("pflog.0", "c"),
                ("pflog.0.gz", "half"),
                ("pflog.2.gz", "b"),
                ("pflog.10", "a"),
            ],
        );
        let found = rotated(&directory.join("pflog")).unwrap();
        assert!(found.is_complete());
        assert_eq!(contents(found), [("a".into(), true), ("b".into(), true), ("c".into(), true)]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_newest_is_final_once_the_live_log_has_its_header() {
        let directory = scratch("final", &[("pflog.0", "b"), ("pflog.1", "a")]);
        let pflog = directory.join("pflog");
        for (octets, is_final) in [(None, false), (Some(0), false), (Some(23), false), (Some(24), true)] {
            if let Some(octets) = octets {
                std::fs::write(&pflog, "x".repeat(octets)).unwrap();
            }
            let found = rotated(&pflog).unwrap();
            assert_eq!(found.is_complete(), is_final);
            assert_eq!(contents(found), [("a".into(), true), ("b".into(), is_final)]);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_log_is_a_problem() {
        let directory = scratch("problem", &[("pflog.1", "a"), ("pflog.2.xz", "")]);
        std::os::unix::fs::symlink("pflog.1", directory.join("pflog.3")).unwrap();
        std::fs::create_dir(directory.join("pflog.4")).unwrap();
        nix::unistd::mkfifo(&directory.join("pflog.5"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = rotated(&directory.join("pflog")).unwrap();
        assert_eq!(found.problems.len(), 3);
        assert_eq!(found.foreign, [directory.join("pflog.2.xz")]);
        assert_eq!(found.logs.len(), 1);
        assert!(!found.is_complete());
        // What no version of this program reads is not waited for.
        for name in ["pflog.3", "pflog.5"] {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
        std::fs::remove_dir(directory.join("pflog.4")).unwrap();
        assert!(rotated(&directory.join("pflog")).unwrap().is_complete());
        // One log under two names, as during a rotation, is one log.
        std::fs::hard_link(directory.join("pflog.1"), directory.join("pflog.6")).unwrap();
        assert_eq!(rotated(&directory.join("pflog")).unwrap().logs.len(), 1);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn too_many_leaves_the_oldest() {
        let names: Vec<String> = (1..=70).map(|number| format!("pflog.{number}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let directory = scratch("many", &files);
        let found = rotated(&directory.join("pflog")).unwrap();
        assert_eq!(found.left, 6);
        assert!(!found.is_complete());
        let contents = contents(found);
        assert_eq!((contents[0].0.as_str(), contents[63].0.as_str()), ("pflog.64", "pflog.1"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
