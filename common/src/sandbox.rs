//! What a process may still do: promises and paths, named as pledge(2) and unveil(2) name them.
//!
//! OpenBSD enforces them. Other systems do not yet: there the statement is checked for spelling,
//! nothing is enforced, and `note` says so.

use std::path::Path;

use crate::Error;

/// The promises that the suite's processes use (pledge(2)).
const PROMISES: [&str; 8] = ["stdio", "rpath", "wpath", "cpath", "inet", "dns", "pf", "proc"];

/// Makes only these paths visible, each with its permissions (`r`, `w`, `c`), and locks the list.
///
/// # Errors
/// A path does not exist or a permission is unknown. The caller must exit.
pub fn unveil(paths: &[(&Path, &str)]) -> Result<(), Error> {
    for (path, permissions) in paths {
        // The crate takes an empty path as "lock now", which would hide everything that follows.
        if path.as_os_str().is_empty() {
            return Err(Error::new("unveil", "empty path"));
        }
        if !permissions.chars().all(|letter| "rwc".contains(letter)) {
            return Err(Error::new("unveil", format!("{permissions}: unknown permission")));
        }
        system::unveil(Some((path, permissions)))?;
    }
    system::unveil(None)
}

/// Keeps only these promises, for good.
///
/// # Errors
/// A promise is unknown, or was given up before. The caller must exit.
pub fn pledge(promises: &str) -> Result<(), Error> {
    for promise in promises.split_whitespace() {
        if !PROMISES.contains(&promise) {
            return Err(Error::new("pledge", format!("{promise}: unknown promise")));
        }
    }
    system::pledge(promises)
}

/// What this system does not enforce, for `-v`; `None` where all is enforced.
pub fn note() -> Option<&'static str> {
    system::NOTE
}

#[cfg(target_os = "openbsd")]
mod system {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::errno::Errno;

    use crate::Error;

    pub const NOTE: Option<&str> = None;

    pub fn unveil(path: Option<(&Path, &str)>) -> Result<(), Error> {
        let (path, permissions) = path.unwrap_or((Path::new(""), ""));
        unveil::unveil(path.as_os_str().as_bytes(), permissions).map_err(|error| {
            let cause = match error {
                unveil::Error::Os(errno) => Errno::from_raw(errno).desc().to_owned(),
                other => other.to_string(),
            };
            Error::new("unveil", format!("{}: {cause}", path.display()))
        })
    }

    pub fn pledge(promises: &str) -> Result<(), Error> {
        pledge::pledge(promises, None).map_err(|error| {
            let cause = match error {
                pledge::Error::Other(errno) => Errno::from_raw(errno).desc().to_owned(),
                other => other.to_string(),
            };
            Error::new("pledge", format!("{promises}: {cause}"))
        })
    }
}

#[cfg(not(target_os = "openbsd"))]
mod system {
    use std::path::Path;

    use crate::Error;

    pub const NOTE: Option<&str> = Some("sandbox: not enforced on this system");

    pub fn unveil(_: Option<(&Path, &str)>) -> Result<(), Error> {
        Ok(())
    }

    pub fn pledge(_: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_slip_of_the_pen() {
        assert!(pledge("stdio rpaht").is_err());
        assert!(unveil(&[(Path::new(""), "r")]).is_err());
        assert!(unveil(&[(Path::new("/tmp"), "rq")]).is_err());
    }
}
