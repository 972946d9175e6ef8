//! A system on which nothing is enforced: Linux on a processor whose calls are not in the tables.

use std::path::Path;

use super::Promises;
use crate::Error;

/// What is not enforced.
pub fn note() -> Option<&'static str> {
    Some("sandbox: not enforced on this system")
}

/// Enforces nothing.
pub fn unveil(_: &[(&Path, &str)]) -> Result<(), Error> {
    Ok(())
}

/// Enforces nothing.
pub fn connect_to(_: &[u16]) -> Result<(), Error> {
    Ok(())
}

/// Enforces nothing.
pub fn pledge(_: &str, _: Promises) -> Result<(), Error> {
    Ok(())
}
