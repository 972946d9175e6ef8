//! One kind of error for all programs: the object it is about and its cause.

use std::fmt;
use std::io;
use std::path::Path;

use nix::errno::Errno;

/// Something went wrong with an object; printed as `object: cause`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    object: String,
    cause: String,
}

impl Error {
    /// An error about `object` (a file, a table, a server, a list), with its cause in words.
    pub fn new(object: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error { object: object.to_string(), cause: cause.to_string() }
    }

    /// An error of the system about the file `path`.
    pub fn io(path: &Path, error: &io::Error) -> Error {
        Error::new(path.display(), reason(error))
    }

    /// The cause alone, for a caller that names the object otherwise.
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.cause)
    }
}

impl std::error::Error for Error {}

/// The system's words for an error, as strerror(3) gives them, without Rust's error number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_object_colon_cause() {
        let error = Error::io(Path::new("/nonexistent"), &io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.to_string(), "/nonexistent: No such file or directory");
        assert_eq!(reason(&io::Error::other("odd")), "odd");
    }
}
