//! Where a server is: a directory and ports of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::machine::NOBODY;

/// How many ports are tried at most.
const PORT_TRIES: usize = 50;

/// Where a server is. Dropping it removes the directory.
#[derive(Debug)]
pub struct Place {
    /// Its directory, with the zone files, named as the zones, `server.crt`, `server.key` and whatever it writes.
    pub directory: PathBuf,
    /// The port for UDP and TCP.
    pub port: u16,
    /// The port for TLS.
    pub tls_port: u16,
}

impl Place {
    /// A new directory, and ports that nobody listens on.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every place is another one")]
    pub fn new() -> Place {
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("tspf-ns-XXXXXX")).expect("mkdtemp");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("chmod");
        own(&directory);
        Place { directory, port: free_port(), tls_port: free_port() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A port that nobody listens on, handed out once in this process. It lies below those that the system gives to
/// clients.
fn free_port() -> u16 {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    let (low, count) = (10_000, 20_000);
    let first = u16::try_from(std::process::id().wrapping_mul(257) % u32::from(count)).unwrap_or_default();
    let free = |port: u16| {
        let address = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let mut ports = std::iter::repeat_with(|| {
        let next = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        low + (first + next % count) % count
    });
    ports.by_ref().take(PORT_TRIES).find(|&port| free(port)).expect("a free port")
}

/// Gives a file to the server's user.
pub(super) fn own(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
}
