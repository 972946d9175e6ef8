//! The spool file of a table, which tsload reads: a header, one prefix a line in canonical order,
//! and the count.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use common::replace::{self, Replacement};
use common::set::PrefixSet;
use common::{Error, Table};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// The mode of a spool file.
const MODE: u32 = 0o644;

/// Puts the content in place if it is not there already, and says whether it was not.
///
/// # Errors
/// The file cannot be replaced: the old one is as it was.
pub fn write(path: &Path, table: Table, digest: u64, set: &PrefixSet) -> Result<bool, Error> {
    if is_there(path, table, digest, set).unwrap_or(false) {
        // What a killed run left. If it cannot be removed, the next replacement says so.
        let _ = std::fs::remove_file(replace::temporary_name(path));
        return Ok(false);
    }
    let mut file = Replacement::create(path, MODE)?;
    content(&mut file, table, digest, set).map_err(|error| Error::io(path, &error))?;
    file.commit()?;
    Ok(true)
}

fn content(out: &mut dyn Write, table: Table, digest: u64, set: &PrefixSet) -> io::Result<()> {
    writeln!(out, "# tspf 1 {}", table.word())?;
    writeln!(out, "# settings {digest:016x}")?;
    for net in set.iter() {
        writeln!(out, "{net}")?;
    }
    writeln!(out, "# end {}", set.len())
}

/// Whether the file holds exactly this content and is as tsload wants it: a plain file of the
/// fetcher's with its mode, under one name. Anything else, root's too, is worth a replacement.
fn is_there(path: &Path, table: Table, digest: u64, set: &PrefixSet) -> io::Result<bool> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    let good = metadata.is_file()
        && metadata.nlink() == 1
        && metadata.mode() & 0o7777 == MODE
        && metadata.uid() == geteuid().as_raw();
    if !good {
        return Ok(false);
    }
    replace::holds(file, |out| content(out, table, digest, set))
}

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

    fn set(text: &str) -> PrefixSet {
        text.split_whitespace().map(|word| common::prefix::parse(word.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn is_exactly_as_tsload_reads_it() {
        let path = scratch("exact").join("block.pftable");
        let prefixes = set("2001:db8::1 192.0.2.0/24");
        assert!(write(&path, Table::Block, 0x0123_4567_89ab_cdef, &prefixes).unwrap());
        let expected =
            "# tspf 1 block\n# settings 0123456789abcdef\n192.0.2.0/24\n2001:db8::1/128\n# end 2\n";
        assert_eq!(String::from_utf8(read(&path).unwrap()).unwrap(), expected);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
        assert!(write(&path, Table::Allow, 0, &set("")).unwrap());
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
        assert!(write(&path, Table::Block, 1, &many).unwrap());
        let inode = path.metadata().unwrap().ino();
        assert!(!write(&path, Table::Block, 1, &many).unwrap());
        assert_eq!(path.metadata().unwrap().ino(), inode);
        let whole = read(&path).unwrap();
        for other in [&whole[..whole.len() - 1], &[&whole[..], b"\n"].concat(), b""] {
            std::fs::write(&path, other).unwrap();
            assert!(write(&path, Table::Block, 1, &many).unwrap());
            assert_eq!(read(&path).unwrap(), whole);
        }
        assert!(write(&path, Table::Block, 2, &many).unwrap(), "other settings");
        assert!(write(&path, Table::Block, 2, &set("192.0.2.1")).unwrap(), "other prefixes");
        remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_goes_though_nothing_changed() {
        let directory = scratch("left");
        let path = directory.join("block.pftable");
        assert!(write(&path, Table::Block, 1, &set("192.0.2.1")).unwrap());
        std::fs::write(replace::temporary_name(&path), "half").unwrap();
        assert!(!write(&path, Table::Block, 1, &set("192.0.2.1")).unwrap());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_that_tsload_would_refuse_is_replaced_though_its_content_is_the_same() {
        let directory = scratch("repair");
        let (path, other) = (directory.join("block.pftable"), directory.join("other"));
        let prefixes = set("192.0.2.1");
        let again = || write(&path, Table::Block, 1, &prefixes).unwrap();
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
}
