//! OpenBSD: pledge(2) and unveil(2) themselves.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::Promises;
use crate::Error;

/// Everything is enforced.
pub fn note() -> Option<&'static str> {
    None
}

/// unveil(2) for each path, then the lock.
pub fn unveil(paths: &[(&Path, &str)]) -> Result<(), Error> {
    let lock = (Path::new(""), "");
    for (path, permissions) in paths.iter().chain([&lock]) {
        unveil::unveil(path.as_os_str().as_bytes(), permissions).map_err(|error| {
            let cause = match error {
                unveil::Error::Os(errno) => Errno::from_raw(errno).desc().to_owned(),
                other => other.to_string(),
            };
            Error::new("unveil", format!("{}: {cause}", path.display()))
        })?;
    }
    Ok(())
}

/// pledge(2) has no word for ports.
pub fn connect_to(_: &[u16]) -> Result<(), Error> {
    Ok(())
}

/// pledge(2).
pub fn pledge(promises: &str, _: Promises) -> Result<(), Error> {
    pledge::pledge(promises, None).map_err(|error| {
        let cause = match error {
            pledge::Error::Other(errno) => Errno::from_raw(errno).desc().to_owned(),
            other => other.to_string(),
        };
        Error::new("pledge", format!("{promises}: {cause}"))
    })
}
