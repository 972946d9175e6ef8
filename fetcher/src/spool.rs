//! The spool file of a table, which tsload reads: a header, one prefix a line in canonical order,
//! and the count.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use common::prefix;
use common::replace::{self, Replacement};
use common::set::PrefixSet;
use common::{Error, Table};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::compare;
use crate::soa::Serial;

/// The mode of a spool file.
const MODE: u32 = 0o644;

/// The most `soa` lines that tsload reads.
const MAX_SOA: usize = 1000;

/// What a file begins with.
#[derive(Debug)]
pub struct Header<'a> {
    /// The table.
    pub table: Table,
    /// The digest of the settings.
    pub digest: u64,
    /// The serials of the lists' zones, one for each list, or none.
    pub serials: &'a [Serial],
}

/// Puts the content in place if it is not there already, and says whether the policy is another.
/// If only serials are, the file is replaced, too.
///
/// # Errors
/// The file cannot be replaced: the old one is as it was.
pub fn write(path: &Path, header: &Header<'_>, set: &PrefixSet) -> Result<bool, Error> {
    if is_there(path, header, set).unwrap_or(false) {
        leave(path);
        return Ok(false);
    }
    let old = last(path, header.table, header.digest);
    let old = old.is_some_and(|old| {
        is_there(path, &Header { serials: &old.serials, ..*header }, set).unwrap_or(false)
    });
    let mut file = Replacement::create(path, MODE)?;
    content(&mut file, header, set).map_err(|error| Error::io(path, &error))?;
    file.commit()?;
    Ok(!old)
}

/// Leaves the file as it is, and removes what a killed run left. If that cannot be removed, the
/// next replacement says so.
pub fn leave(path: &Path) {
    let _ = std::fs::remove_file(replace::temporary_name(path));
}

fn content(out: &mut dyn Write, header: &Header<'_>, set: &PrefixSet) -> io::Result<()> {
    write!(out, "{}", beginning(header.table, header.digest))?;
    for serial in Some(header.serials).filter(|serials| serials.len() <= MAX_SOA).unwrap_or_default() {
        writeln!(out, "{SOA}{} {}", serial.zone, serial.number)?;
    }
    let mut line = Vec::new();
    for net in set.iter() {
        line.clear();
        prefix::append(net, &mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    writeln!(out, "# end {}", set.len())
}

/// Whether the file holds exactly this content and is as tsload wants it: a plain file of the
/// fetcher's with its mode, under one name. Anything else, root's too, is worth a replacement.
fn is_there(path: &Path, header: &Header<'_>, set: &PrefixSet) -> io::Result<bool> {
    let Some(file) = open(path)? else { return Ok(false) };
    compare::holds(file, |out| content(out, header, set))
}

/// The file, if it is as tsload wants it.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    let good = metadata.is_file()
        && metadata.nlink() == 1
        && metadata.mode() & 0o7777 == MODE
        && metadata.uid() == geteuid().as_raw();
    Ok(good.then_some(file))
}

const SOA: &str = "# soa ";

/// The first two lines.
fn beginning(table: Table, digest: u64) -> String {
    format!("# tspf 1 {}\n# settings {digest:016x}\n", table.word())
}

/// What the last run left.
#[derive(Debug, PartialEq, Eq)]
pub struct Last {
    /// The serials of the lists' zones, one for each list, or none.
    pub serials: Vec<Serial>,
    /// The number of prefixes.
    pub prefixes: usize,
}

/// What the last run left, if it is as tsload wants it, whole, and made with these settings. The
/// prefixes themselves are only counted: nobody but the fetcher can write the file.
pub fn last(path: &Path, table: Table, digest: u64) -> Option<Last> {
    let mut file = BufReader::with_capacity(1 << 16, open(path).ok()??);
    let mut begins = vec![0; beginning(table, digest).len()];
    file.read_exact(&mut begins).ok()?;
    if begins != beginning(table, digest).as_bytes() {
        return None;
    }
    let (mut serials, mut line) = (Vec::new(), String::new());
    loop {
        line.clear();
        file.by_ref().take(MAX_LINE).read_line(&mut line).ok()?;
        let Some(words) = line.strip_prefix(SOA) else { break };
        let (zone, number) = words.strip_suffix('\n')?.split_once(' ')?;
        serials.push(Serial { zone: zone.to_owned(), number: number.parse().ok()? });
    }
    if line.starts_with('#') {
        let is_end = line == "# end 0\n" && file.fill_buf().ok()?.is_empty();
        return is_end.then_some(Last { serials, prefixes: 0 });
    }
    // Each prefix ends a line; this one the first, and the last line none.
    let (mut prefixes, mut end) = (0usize, line.into_bytes());
    loop {
        let octets = file.fill_buf().ok()?;
        if octets.is_empty() {
            break;
        }
        prefixes = prefixes.saturating_add(octets.iter().filter(|octet| **octet == b'\n').count());
        end.extend_from_slice(octets.get(octets.len().saturating_sub(END)..).unwrap_or_default());
        end.drain(..end.len().saturating_sub(END));
        let size = octets.len();
        file.consume(size);
    }
    let end = String::from_utf8(end).ok()?;
    end.ends_with(&format!("\n# end {prefixes}\n")).then_some(Last { serials, prefixes })
}

/// The longest line: a name of 255 octets, each of which may be escaped.
const MAX_LINE: u64 = 1100;
/// More octets than the last line has.
const END: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir_all, hard_link, read, remove_dir_all, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tspf-spool-{name}-{}", std::process::id()));
        let _ = remove_dir_all(&directory);
        create_dir_all(&directory).unwrap();
        directory
    }

    fn header(table: Table, digest: u64) -> Header<'static> {
        Header { table, digest, serials: &[] }
    }

    fn set(text: &str) -> PrefixSet {
        text.split_whitespace().map(|word| common::prefix::parse(word.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn is_exactly_as_tsload_reads_it() {
        let path = scratch("exact").join("block.pftable");
        let prefixes = set("2001:db8::1 192.0.2.0/24");
        assert!(write(&path, &header(Table::Block, 0x0123_4567_89ab_cdef), &prefixes).unwrap());
        let expected =
            "# tspf 1 block\n# settings 0123456789abcdef\n192.0.2.0/24\n2001:db8::1/128\n# end 2\n";
        assert_eq!(String::from_utf8(read(&path).unwrap()).unwrap(), expected);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
        assert!(write(&path, &header(Table::Allow, 0), &set("")).unwrap());
        assert_eq!(read(&path).unwrap(), b"# tspf 1 allow\n# settings 0000000000000000\n# end 0\n");
        remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_what_differs_is_replaced() {
        let path = scratch("same").join("block.pftable");
        // Larger than the buffer of the comparison.
        let many: PrefixSet = (0..20_000u32)
            .map(|low| common::prefix::from_parts(std::net::Ipv4Addr::from(low << 1).into(), 32).unwrap())
            .collect();
        assert!(write(&path, &header(Table::Block, 1), &many).unwrap());
        let inode = path.metadata().unwrap().ino();
        assert!(!write(&path, &header(Table::Block, 1), &many).unwrap());
        assert_eq!(path.metadata().unwrap().ino(), inode);
        let whole = read(&path).unwrap();
        for other in [&whole[..whole.len() - 1], &[&whole[..], b"\n"].concat(), b""] {
            std::fs::write(&path, other).unwrap();
            assert!(write(&path, &header(Table::Block, 1), &many).unwrap());
            assert_eq!(read(&path).unwrap(), whole);
        }
        assert!(write(&path, &header(Table::Block, 2), &many).unwrap(), "other settings");
        assert!(write(&path, &header(Table::Block, 2), &set("192.0.2.1")).unwrap(), "other prefixes");
        remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_goes_though_nothing_changed() {
        let directory = scratch("left");
        let path = directory.join("block.pftable");
        assert!(write(&path, &header(Table::Block, 1), &set("192.0.2.1")).unwrap());
        std::fs::write(replace::temporary_name(&path), "half").unwrap();
        assert!(!write(&path, &header(Table::Block, 1), &set("192.0.2.1")).unwrap());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_that_tsload_would_refuse_is_replaced_though_its_content_is_the_same() {
        let directory = scratch("repair");
        let (path, other) = (directory.join("block.pftable"), directory.join("other"));
        let prefixes = set("192.0.2.1");
        let again = || write(&path, &header(Table::Block, 1), &prefixes).unwrap();
        assert!(again() && !again());
        set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert!(again() && !again());
        hard_link(&path, &other).unwrap();
        assert!(again() && !again());
        std::fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(again() && !again());
        assert!(path.symlink_metadata().unwrap().is_file());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        assert!(again() && !again());
        assert!(path.symlink_metadata().unwrap().is_file());
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_last_run_is_known_by_its_file_if_that_is_whole() {
        let path = scratch("last").join("block.pftable");
        let serial = |zone: &str, number| Serial { zone: zone.to_owned(), number };
        let serials = [serial("a.example.", 0), serial("b.example.", u32::MAX)];
        let many: Vec<String> = (0..9000).map(|n| format!("10.{}.{}.0/32", n / 256, n % 256)).collect();
        for (text, prefixes) in
            [("", 0), ("192.0.2.1", 1), ("192.0.2.1 2001:db8::/32", 2), (&many.join(" "), 9000)]
        {
            for serials in [&serials[..], &[]] {
                let header = Header { serials, ..header(Table::Block, 7) };
                write(&path, &header, &set(text)).unwrap();
                let serials = serials.to_vec();
                assert_eq!(last(&path, Table::Block, 7), Some(Last { serials, prefixes }), "{prefixes}");
            }
        }
        assert_eq!(last(&path, Table::Block, 8), None, "other settings");
        assert_eq!(last(&path, Table::Allow, 7), None);
        write(&path, &Header { serials: &serials, ..header(Table::Block, 7) }, &set("192.0.2.1 ::1"))
            .unwrap();
        let whole = read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(last(&path, Table::Block, 7), None, "{length}");
        }
        for other in [[&whole[..], b"\n"].concat(), [&whole[..], b"# end 2\n"].concat(), vec![0xff; 100]] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(last(&path, Table::Block, 7), None);
        }
        std::fs::write(&path, &whole).unwrap();
        set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(last(&path, Table::Block, 7), None, "others may write it");
        remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn another_serial_alone_is_written_but_no_change() {
        let path = scratch("serial").join("block.pftable");
        for (number, changed) in [(1, true), (2, false)] {
            let serials = [Serial { zone: "a.".to_owned(), number }];
            let header = Header { serials: &serials, ..header(Table::Block, 1) };
            assert_eq!(write(&path, &header, &set("192.0.2.1")).unwrap(), changed);
            assert_eq!(last(&path, Table::Block, 1).unwrap().serials, serials);
        }
        remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
