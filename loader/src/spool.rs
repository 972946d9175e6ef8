//! Reading what the fetcher left in `SPOOL_DIR/policy`.
//!
//! The fetcher is not trusted: this is the boundary that a hostile policy has to cross to reach
//! root. A file is taken only if it is exactly of this form (design: one grammar, no variants):
//!
//! ```text
//! # tspf 1 block
//! # settings 0123456789abcdef
//! # soa org.threatstop.local. 2026112101
//! 192.0.2.0/24
//! 2001:db8::1/128
//! # end 2
//! ```
//!
//! Anything else fails with its line. pfctl(8) would look a name up that it found there, as root.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use common::set::{MAX_PREFIXES, PrefixSet};
use common::{Error, Table, prefix};
use nix::unistd::Uid;

use crate::lines;

/// The largest file that is read, in octets: `MAX_PREFIXES` of the longest, and a header.
const MAX_OCTETS: u64 = 512 << 20;
/// The longest line, in octets without its end: a name of 255 octets, each of which may be escaped.
const MAX_LINE: usize = 1100;
/// The most `soa` lines: one for each list.
const MAX_SOA: usize = 1000;

/// Opens a spool file without following a link or waiting on a fifo, and checks that it is a
/// regular file of the right owner under one name only.
///
/// # Errors
/// The cause, and what to do if there is no file yet.
pub fn open(path: &Path, owner: Uid) -> Result<File, Error> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Error::new(path.display(), "no policy there yet; run tsfetch"),
            // FreeBSD says EMLINK for a link that O_NOFOLLOW met.
            Some(libc::ELOOP | libc::EMLINK) => Error::new(path.display(), "a symbolic link"),
            _ => Error::io(path, &error),
        }
    })?;
    let metadata = file.metadata().map_err(|error| Error::io(path, &error))?;
    let refuse = |cause: String| Err(Error::new(path.display(), cause));
    if !metadata.is_file() {
        return refuse("not a regular file".to_owned());
    }
    if metadata.uid() != owner.as_raw() {
        return refuse(format!("owned by uid {}, not by the fetcher's, {owner}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(format!("mode {:04o}: group or others may write it", metadata.mode() & 0o7777));
    }
    if metadata.nlink() != 1 {
        return refuse(format!("has {} names", metadata.nlink()));
    }
    if metadata.len() > MAX_OCTETS {
        return refuse(format!("larger than {MAX_OCTETS} octets"));
    }
    Ok(file)
}

/// Reads a spool file once, from start to end.
///
/// # Errors
/// The first line that is not what it must be.
pub fn read(file: File, path: &Path, table: Table) -> Result<PrefixSet, Error> {
    parse(BufReader::with_capacity(64 << 10, file.take(MAX_OCTETS)), table)
        .map_err(|error| Error::new(path.display(), error))
}

/// What a line may be.
enum Expect {
    Header,
    Settings,
    SoaOrPrefix,
    Prefix,
    Nothing,
}

/// Reads a spool file's content; memory is bounded by the number of prefixes.
///
/// # Errors
/// The first line that is not what it must be.
pub fn parse(input: impl BufRead, table: Table) -> Result<PrefixSet, String> {
    let mut set = PrefixSet::default();
    let mut expect = Expect::Header;
    let mut soa_lines = 0usize;
    let lines = lines::each(input, MAX_LINE, |_, text| {
        expect = match expect {
            Expect::Header if text == format!("# tspf 1 {}", table.word()).as_bytes() => Expect::Settings,
            Expect::Header => return Err(format!("not \"# tspf 1 {}\"", table.word())),
            Expect::Settings if is_settings(text) => Expect::SoaOrPrefix,
            Expect::Settings => return Err("not \"# settings\" and 16 hexadecimal digits".to_owned()),
            Expect::SoaOrPrefix if text.starts_with(b"# soa ") => {
                soa_lines = soa_lines.saturating_add(1);
                if !is_soa(text) || soa_lines > MAX_SOA {
                    return Err("not \"# soa\", a name and a serial".to_owned());
                }
                Expect::SoaOrPrefix
            }
            Expect::SoaOrPrefix | Expect::Prefix if text.starts_with(b"#") => {
                if text != format!("# end {}", set.len()).as_bytes() {
                    return Err(format!("not \"# end {}\", after as many prefixes", set.len()));
                }
                Expect::Nothing
            }
            Expect::SoaOrPrefix | Expect::Prefix => {
                if set.len() >= MAX_PREFIXES {
                    return Err(format!("more than {MAX_PREFIXES} prefixes"));
                }
                let net = prefix::parse_canonical(text).map_err(|why| why.to_string())?;
                set.push_canonical(net)?;
                Expect::Prefix
            }
            Expect::Nothing => return Err("text after \"# end\"".to_owned()),
        };
        Ok(())
    });
    match (lines, expect) {
        (Ok(_), Expect::Nothing) => Ok(set),
        (Ok(lines), _) => Err(format!("ends after line {lines} without \"# end\": cut off")),
        (Err(stopped), _) => Err(stopped.to_string()),
    }
}

fn is_settings(text: &[u8]) -> bool {
    let hexadecimal = |octet: &u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix(b"# settings ")
        .is_some_and(|digest| digest.len() == 16 && digest.iter().all(hexadecimal))
}

fn is_soa(text: &[u8]) -> bool {
    let mut words = text.strip_prefix(b"# soa ").unwrap_or_default().split(|octet| *octet == b' ');
    let (name, serial) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let serial = std::str::from_utf8(serial).unwrap_or_default();
    words.next().is_none()
        && !name.is_empty()
        && name.iter().all(u8::is_ascii_graphic)
        && serial.parse::<u32>().is_ok_and(|number| number.to_string() == serial)
}

#[cfg(test)]
mod tests;
