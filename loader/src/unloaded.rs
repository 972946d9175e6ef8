//! The mark that a table may not hold what its file holds.
//!
//! It is there from before a table or its file changes until both are done: a run that is killed
//! in between leaves it, and so does one that writes files only. The run that finds it swaps the
//! table whatever file and count say.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::Error;
use common::replace::{remove, sync_directory};

/// Sets the mark, on disk.
///
/// # Errors
/// It cannot be made.
pub fn mark(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map_err(|error| Error::io(path, &error))?;
    sync_directory(path)
}

/// Whether it is set. If that cannot be known, it is: a swap too many does no harm.
pub fn is_marked(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
}

/// Takes the mark away.
///
/// # Errors
/// It cannot be removed: the next run swaps the table once more.
pub fn clear(path: &Path) -> Result<(), Error> {
    remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_set_until_it_is_cleared() {
        let path = std::env::temp_dir().join(format!("tspf-unloaded-{}", std::process::id()));
        assert!(!is_marked(&path));
        mark(&path).unwrap();
        mark(&path).unwrap();
        assert!(is_marked(&path));
        clear(&path).unwrap();
        clear(&path).unwrap();
        assert!(!is_marked(&path));
        assert!(mark(Path::new("/nonexistent/unloaded")).is_err());
        assert!(is_marked(Path::new("/etc/passwd/unloaded")), "nobody can know");
    }
}
