//! One run at a time: flock(2) on `SPOOL_DIR/lock/NAME`.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Error, owner};

/// Takes the lock without waiting; it is held until the file, and every copy that a child
/// inherited, is closed. To be called before pledge(2), which allows flock(2) only under `flock`.
///
/// `None` means that another run holds it.
///
/// # Errors
/// The file cannot be opened or locked, or somebody else could hold the lock for ever: the
/// directory is not root's, or the caller's, alone.
pub fn take(path: &Path) -> Result<Option<File>, Error> {
    owner::check_directory(path.parent().unwrap_or(Path::new("/")))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| Error::io(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_held_once_and_given_back() {
        let directory = std::env::temp_dir().join(format!("tspf-lock-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("tsload");
        let held = take(&path).unwrap();
        assert!(held.is_some());
        assert!(take(&path).unwrap().is_none());
        drop(held);
        assert!(take(&path).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &path).unwrap();
        assert!(take(&path).is_err(), "a link is not followed");
        std::fs::remove_file(&path).unwrap();
        std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(take(&path).unwrap_err().to_string().contains("group or others may write it"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
