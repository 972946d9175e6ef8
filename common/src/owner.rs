//! Who owns a file and who may write it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::{Uid, geteuid};

use crate::Error;

/// Checks that only root or the caller can change the object: it is theirs, and neither group
/// nor others may write it.
///
/// # Errors
/// Says whose it is, or its mode, and what to do.
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let (owner, caller) = (Uid::from_raw(metadata.uid()), geteuid());
    if !owner.is_root() && owner != caller {
        let wanted = if caller.is_root() { "root".to_owned() } else { format!("root or uid {caller}") };
        return Err(Error::new(
            path.display(),
            format!("owned by uid {owner}, not by {wanted}; use chown(8)"),
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(Error::new(
            path.display(),
            format!("mode {mode:04o}: group or others may write it; chmod go-w it"),
        ));
    }
    Ok(())
}

/// Checks a directory as `check` does.
///
/// # Errors
/// There is no such directory, it is something else, or others may change it.
pub fn check_directory(path: &Path) -> Result<(), Error> {
    check(path, &directory(path)?)
}

/// Looks at a directory, whoever may change it.
///
/// # Errors
/// There is no such directory, or it is something else.
pub fn directory(path: &Path) -> Result<Metadata, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(metadata),
        Ok(_) => Err(Error::new(path.display(), "not a directory")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::new(path.display(), "no such directory; tspf(7) says how to make it"))
        }
        Err(error) => Err(Error::io(path, &error)),
    }
}

/// Checks a file that will be replaced: if it is there, it is a regular file, no link to one, and
/// `check` finds nothing wrong.
///
/// # Errors
/// It is something else, or others may change it.
pub fn check_replaceable(path: &Path) -> Result<(), Error> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => check(path, &metadata),
        Ok(_) => Err(Error::new(path.display(), "not a regular file; name the file itself, not a link")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path, &error)),
    }
}

/// Opens a regular file for reading, without waiting on a fifo, and checks it as `check` does.
///
/// # Errors
/// It cannot be opened, is no regular file, or others may change it.
pub fn open(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| Error::io(path, &error))?;
    let metadata = file.metadata().map_err(|error| Error::io(path, &error))?;
    if !metadata.is_file() {
        return Err(Error::new(path.display(), "not a regular file"));
    }
    check(path, &metadata)?;
    Ok(file)
}

/// Reads all of a file of at most so many octets, which it opens as `open` does.
///
/// # Errors
/// As for `open` and `content`.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    content(path, open(path)?, most)
}

/// Reads all of an open file of at most so many octets; `path` is for errors.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn content(path: &Path, file: File, most: u64) -> Result<Vec<u8>, Error> {
    let mut octets = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut octets);
    let size = read.map_err(|error| Error::io(path, &error))?;
    if size as u64 > most {
        return Err(Error::new(path.display(), format!("larger than {most} octets")));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn refuses_what_others_can_change() {
        let path = std::env::temp_dir().join(format!("tspf-owner-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        for (mode, good) in [(0o600, true), (0o644, true), (0o660, false), (0o602, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(open(&path).is_ok(), good, "mode {mode:o}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().ends_with("larger than 4 octets"));
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&path).unwrap_err().to_string().ends_with("not a regular file"));
        std::fs::remove_file(&path).unwrap();
        assert!(check_replaceable(&path).is_ok(), "not there yet");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(check_replaceable(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(check_directory(Path::new("/dev/null")).is_err());
        assert!(check_directory(Path::new("/")).is_ok());
        let failure = check_directory(&path).unwrap_err().to_string();
        assert!(failure.ends_with(": no such directory; tspf(7) says how to make it"), "{failure}");
    }
}
