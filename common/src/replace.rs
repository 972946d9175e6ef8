//! Replacing a file as a whole: whoever reads it finds the old content or the new, never a part,
//! whatever happens in between.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// A new content for a file, not yet in its place. Dropped without `commit` it leaves no trace.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    renamed: bool,
}

/// The name of the temporary file beside `path`. There is one for each file, so that what a
/// killed run left is overwritten by the next; the program's lock keeps two runs apart.
pub fn temporary_name(path: &Path) -> PathBuf {
    with_suffix(path, ".tmp")
}

/// The name of the copy of the previous content.
pub fn previous_name(path: &Path) -> PathBuf {
    with_suffix(path, ".1")
}

/// All names that a file whose previous content is kept may take: its own, `.1`, and the temporary
/// names of both.
pub fn all_names(path: &Path) -> [PathBuf; 4] {
    let previous = previous_name(path);
    [path.to_owned(), temporary_name(path), temporary_name(&previous), previous]
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Replacement {
    /// Starts a new content for `path`, with its final mode: fchmod(2) would need another promise.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub fn create(path: &Path, mode: u32) -> Result<Replacement, Error> {
        let temporary = temporary_name(path);
        remove(&temporary)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .map_err(|error| Error::io(&temporary, &error))?;
        Ok(Replacement {
            path: path.to_owned(),
            temporary,
            file: BufWriter::with_capacity(1 << 16, file),
            renamed: false,
        })
    }

    /// Makes sure that the new content is on disk. After this only a rename(2) is left to do.
    ///
    /// # Errors
    /// The content cannot be written out.
    pub fn sync(&mut self) -> Result<(), Error> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| Error::io(&self.temporary, &error))
    }

    /// Puts the new content in its place and makes sure that it is on disk.
    ///
    /// # Errors
    /// The content cannot be written out: the old file is as it was. Only if the last step fails,
    /// writing out the directory, the new content may already be in place.
    pub fn commit(mut self) -> Result<(), Error> {
        self.sync()?;
        self.rename()
    }

    /// As `commit`; the old content becomes the file's `.1`. At every moment the file is there, and
    /// what was `.1` goes only when the old content takes its name.
    ///
    /// # Errors
    /// As `commit`. If only the last step fails, `settle` is left to do.
    pub fn commit_keeping_previous(mut self) -> Result<(), Error> {
        self.sync()?;
        settle_previous(&self.path)?;
        let link = temporary_name(&previous_name(&self.path));
        match std::fs::hard_link(&self.path, &link) {
            Ok(()) => sync_directory(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&link, &error)),
        }
        self.rename()?;
        settle_previous(&self.path)
    }

    fn rename(&mut self) -> Result<(), Error> {
        std::fs::rename(&self.temporary, &self.path).map_err(|error| Error::io(&self.path, &error))?;
        self.renamed = true;
        sync_directory(&self.path)
    }
}

/// Ends what a killed run began: its new content goes if it did not come in its place, and the
/// second name of the old content goes or becomes `.1`.
///
/// # Errors
/// A name cannot be looked at, renamed or removed.
pub fn settle(path: &Path) -> Result<(), Error> {
    remove(&temporary_name(path))?;
    settle_previous(path)
}

/// The second name of the old content becomes `.1` if the new content came in its place, and goes
/// if it did not: then both are one file.
fn settle_previous(path: &Path) -> Result<(), Error> {
    let previous = previous_name(path);
    let link = temporary_name(&previous);
    let identity = |name: &Path| match name.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(Some((metadata.dev(), metadata.ino()))),
        Ok(_) => Err(Error::new(name.display(), "not a regular file; remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(name, &error)),
    };
    match identity(&link)? {
        None => Ok(()),
        old if old == identity(path)? => remove(&link),
        Some(_) => std::fs::rename(&link, &previous).map_err(|error| Error::io(&previous, &error)),
    }
}

impl Write for Replacement {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Removes a file if it is there.
///
/// # Errors
/// It cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, &error)),
        _ => Ok(()),
    }
}

/// Writes out the directory that holds `path`, so that a rename(2) in it survives a power cut.
///
/// # Errors
/// The directory cannot be opened or written out.
pub fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|file| file.sync_all()).map_err(|error| Error::io(directory, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, read, read_dir, remove_dir_all, write};

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tspf-replace-{name}-{}", std::process::id()));
        let _ = remove_dir_all(&directory);
        create_dir_all(&directory).unwrap();
        directory
    }

    fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
        let mut new = Replacement::create(path, 0o600)?;
        new.write_all(content).unwrap();
        new.commit_keeping_previous()
    }

    #[test]
    fn keeps_the_previous_content_and_no_temporary_files() {
        let directory = scratch("keeps");
        let path = directory.join("table");
        replace(&path, b"one").unwrap();
        assert_eq!(read_dir(&directory).unwrap().count(), 1);
        replace(&path, b"two").unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path).unwrap(), b"three");
        assert_eq!(read(previous_name(&path)).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_dir(&directory).unwrap().count(), 2);
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn without_a_commit_nothing_happened() {
        let directory = scratch("nothing");
        let path = directory.join("table");
        write(&path, "old").unwrap();
        let mut new = Replacement::create(&path, 0o600).unwrap();
        new.write_all(b"new").unwrap();
        drop(new);
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(read_dir(&directory).unwrap().count(), 1);
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn repairs_what_a_killed_run_left() {
        let directory = scratch("killed");
        let path = directory.join("table");
        let [temporary, previous] = [temporary_name(&path), previous_name(&path)];
        let link = temporary_name(&previous);
        let contents = || [&path, &previous].map(|name| String::from_utf8(read(name).unwrap()).unwrap());
        // Killed before the new content came in place of the old.
        write(&path, "old").unwrap();
        write(&previous, "older").unwrap();
        write(&temporary, "half").unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        settle(&path).unwrap();
        assert_eq!(contents(), ["old", "older"], "it did not happen");
        assert_eq!(read_dir(&directory).unwrap().count(), 2);
        // Killed after that.
        write(&temporary, "half").unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        std::fs::rename(&temporary, &path).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(contents(), ["new", "half"]);
        std::fs::hard_link(&path, &link).unwrap();
        write(&temporary, "newer").unwrap();
        std::fs::rename(&temporary, &path).unwrap();
        settle(&path).unwrap();
        assert_eq!(contents(), ["newer", "new"], "it happened");
        settle(&path).unwrap();
        assert_eq!(contents(), ["newer", "new"], "nothing is left to do");
        assert_eq!(read_dir(&directory).unwrap().count(), 2);
        remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_temporary_file_is_not_followed() {
        let directory = scratch("link");
        let (path, victim) = (directory.join("table"), directory.join("victim"));
        write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, temporary_name(&path)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(read(&victim).unwrap(), b"precious");
        assert!(Replacement::create(Path::new("/nonexistent/table"), 0o600).is_err());
        remove_dir_all(&directory).unwrap();
    }
}
