//! A program where another user can start it: the checkout may lie in a directory that only root can enter.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A copy of a program in a private directory; removed when dropped.
#[derive(Debug)]
pub struct ProgramCopy {
    directory: PathBuf,
    program: PathBuf,
}

impl ProgramCopy {
    /// Copies `program` for the user `uid` (and group `gid`), who alone can enter the directory and start it.
    pub fn new(program: &Path, uid: u32, gid: u32) -> io::Result<ProgramCopy> {
        let name = program.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("tspf-program-XXXXXX"))?;
        let copy = ProgramCopy { program: directory.join(name), directory };
        fs::copy(program, &copy.program)?;
        fs::set_permissions(&copy.program, Permissions::from_mode(0o500))?;
        chown(&copy.program, Some(uid), Some(gid))?;
        chown(&copy.directory, Some(uid), Some(gid))?;
        Ok(copy)
    }

    /// Where the copy is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The directory, owned by the user: a place for its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for ProgramCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
