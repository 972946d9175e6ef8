//! FreeBSD: Capsicum's capability mode, cap_enter(2), for the processes that fit in.
//!
//! A process that only computes on open descriptors (`stdio`: tsship's decoders), or on `/dev/pf` as
//! well (tsload -s), enters it: then there is no path, no socket and no other process for it. The
//! others cannot. Whoever holds `rpath`, `wpath` or `cpath` works by path names, `inet` and `dns`
//! need connect(2) and the resolver, `proc` needs kill(2): capability mode refuses all of these.

#![allow(unsafe_code)]

use std::path::Path;

use nix::errno::Errno;

use super::{Promises, set_of};
use crate::Error;

/// What is not enforced.
pub fn note() -> Option<&'static str> {
    Some("sandbox: this system confines the decoders of tsship and tsload -s only")
}

/// Capability mode has no list of paths.
pub fn unveil(_: &[(&Path, &str)]) -> Result<(), Error> {
    Ok(())
}

/// Capability mode refuses connect(2) as a whole.
pub fn connect_to(_: &[u16]) -> Result<(), Error> {
    Ok(())
}

/// Enters capability mode if nothing that is promised is impossible there.
pub fn pledge(_: &str, promises: Promises) -> Result<(), Error> {
    if promises & !set_of("stdio pf")? != 0 {
        return Ok(());
    }
    // SAFETY: cap_enter(2) takes nothing and touches no memory.
    match unsafe { libc::cap_enter() } {
        0 => Ok(()),
        _ => Err(Error::new("cap_enter", Errno::last().desc())),
    }
}
