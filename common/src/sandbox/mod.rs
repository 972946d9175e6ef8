//! What a process may still do: promises and paths, named as pledge(2) and unveil(2) name them.
//!
//! One statement, enforced on every system by what it has: OpenBSD by the two calls, Linux by a
//! seccomp filter and Landlock made from the same words, FreeBSD by Capsicum where a process needs
//! nothing that it forbids. A violation kills. What a system cannot enforce, `note` says.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;

#[cfg_attr(target_os = "freebsd", path = "freebsd.rs")]
#[cfg_attr(target_os = "openbsd", path = "openbsd.rs")]
#[cfg_attr(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    path = "linux/mod.rs"
)]
mod system;

/// The promises that the suite's processes use (pledge(2)).
const PROMISES: [&str; 12] =
    ["stdio", "rpath", "wpath", "cpath", "inet", "dns", "pf", "proc", "flock", "getpw", "id", "unveil"];

/// A set of promises: bit n is that of `PROMISES[n]`.
type Promises = u32;

/// What this process has not given up yet.
static HELD: AtomicU32 = AtomicU32::new(Promises::MAX);

/// Makes only these paths visible, each with its permissions (`r`, `w`, `c`), and locks the list.
///
/// # Errors
/// A path does not exist or a permission is unknown. The caller must exit.
pub fn unveil(paths: &[(&Path, &str)]) -> Result<(), Error> {
    for (path, permissions) in paths {
        // The system takes an empty path as "lock now", which would hide everything that follows.
        if path.as_os_str().is_empty() {
            return Err(Error::new("unveil", "empty path"));
        }
        if !permissions.chars().all(|letter| "rwc".contains(letter)) {
            return Err(Error::new("unveil", format!("{permissions}: unknown permission")));
        }
    }
    system::unveil(paths)
}

/// Lets TCP connections be made to these ports only, on Linux. pledge(2) knows nothing like it:
/// OpenBSD and FreeBSD leave that to pf(4). To be called before a pledge without `unveil`.
///
/// # Errors
/// The system refuses. The caller must exit.
pub fn connect_to(ports: &[u16]) -> Result<(), Error> {
    system::connect_to(ports)
}

/// Keeps only these promises, for good.
///
/// # Errors
/// A promise is unknown, or was given up before. The caller must exit.
pub fn pledge(promises: &str) -> Result<(), Error> {
    let wanted = set_of(promises)?;
    let held = HELD.load(Ordering::Relaxed);
    if wanted & !held != 0 {
        return Err(Error::new("pledge", format!("{}: given up before", words(wanted & !held))));
    }
    system::pledge(promises, wanted)?;
    HELD.store(wanted, Ordering::Relaxed);
    Ok(())
}

/// What this system does not enforce, for `-v`; `None` where all is enforced.
pub fn note() -> Option<&'static str> {
    system::note()
}

fn set_of(promises: &str) -> Result<Promises, Error> {
    promises.split_whitespace().try_fold(0, |set, promise| {
        let bit = PROMISES.iter().position(|known| *known == promise);
        let bit = bit.ok_or_else(|| Error::new("pledge", format!("{promise}: unknown promise")))?;
        Ok(set | 1 << bit)
    })
}

fn words(set: Promises) -> String {
    let named = PROMISES.iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0);
    named.map(|(_, promise)| *promise).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn promises_are_words() {
        for promise in PROMISES {
            assert_eq!(words(set_of(promise).unwrap()), promise);
        }
        assert_eq!(words(set_of("dns  stdio").unwrap()), "stdio dns");
    }
}
