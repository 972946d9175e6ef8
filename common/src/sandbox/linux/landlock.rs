//! Landlock (landlock(7)): unveiled paths and TCP ports as rules, by three system calls.
//!
//! It can refuse, not hide: stat(2) works on any path. It cannot name a file that does not exist,
//! and to create, rename or remove is a right on the directory: for `c` on a file, the file's
//! directory is given.

use std::ffi::c_long;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::null;

use crate::Error;
use crate::error::reason;

/// `LANDLOCK_ACCESS_FS_*` (linux/landlock.h).
mod access {
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const READ_FILE: u64 = 1 << 2;
    pub const READ_DIR: u64 = 1 << 3;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_REG: u64 = 1 << 8;
    pub const REFER: u64 = 1 << 13;
    pub const TRUNCATE: u64 = 1 << 14;
    /// Those that a rule for a file may have.
    pub const OF_FILES: u64 = WRITE_FILE | READ_FILE | TRUNCATE;
}

/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `LANDLOCK_ACCESS_NET_CONNECT_TCP`.
const BIND_TCP: u64 = 1 << 0;
const CONNECT_TCP: u64 = 1 << 1;

/// `LANDLOCK_RULE_PATH_BENEATH` and `LANDLOCK_RULE_NET_PORT`.
const PATH_BENEATH: c_long = 1;
const NET_PORT: c_long = 2;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: c_long = 1;
const NO_FLAGS: c_long = 0;

/// From which version of the interface on ports can be ruled.
const PORTS: i32 = 4;

/// `struct landlock_ruleset_attr` as of version 4; older kernels take it if what they do not know
/// is zero.
#[repr(C)]
struct Ruleset {
    handled_fs: u64,
    handled_net: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

/// The version of the interface, 0 if the kernel has none or does not let us.
pub fn version() -> i32 {
    // SAFETY: with VERSION the call takes no structure and returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, null::<u8>(), 0_usize, VERSION) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Whether ports can be ruled.
pub fn knows_ports(version: i32) -> bool {
    version >= PORTS
}

/// Everything that this version can refuse on files: 13 rights in the first, and one more each in
/// the second (REFER), third (TRUNCATE) and fifth (IOCTL_DEV).
fn all(version: i32) -> u64 {
    let rights = match version {
        ..=1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << rights) - 1
}

/// From now on only these paths, with these permissions, for this process and its children.
pub fn paths(version: i32, paths: &[(&Path, &str)]) -> io::Result<Result<(), Error>> {
    let all = all(version);
    let ruleset = create(&Ruleset { handled_fs: all, handled_net: 0 })?;
    for (path, permissions) in paths {
        if let Err(error) = allow_path(&ruleset, path, permissions, all) {
            return Ok(Err(Error::new("unveil", format!("{}: {}", path.display(), reason(&error)))));
        }
    }
    restrict(&ruleset).map(Ok)
}

/// From now on TCP connections to these ports only, and no TCP server.
pub fn ports(ports: &[u16]) -> io::Result<()> {
    let ruleset = create(&Ruleset { handled_fs: 0, handled_net: BIND_TCP | CONNECT_TCP })?;
    for port in ports {
        let rule = NetPort { allowed: CONNECT_TCP, port: u64::from(*port) };
        add(&ruleset, NET_PORT, (&raw const rule).cast())?;
    }
    restrict(&ruleset)
}

/// A path that is not there is no error, as with unveil(2): nothing is allowed on it then, unless
/// it may be created.
fn allow_path(ruleset: &OwnedFd, path: &Path, permissions: &str, all: u64) -> io::Result<()> {
    let mut allowed = 0;
    for (letter, rights) in [
        ('r', access::READ_FILE | access::READ_DIR),
        ('w', access::WRITE_FILE | access::TRUNCATE),
        ('c', access::MAKE_REG | access::REMOVE_FILE | access::REFER),
    ] {
        if permissions.contains(letter) {
            allowed |= rights;
        }
    }
    let (at, allowed) = match (path.is_dir(), permissions.contains('c')) {
        (true, _) => (path, allowed),
        (false, true) => (path.parent().unwrap_or(Path::new("/")), allowed & !access::READ_DIR),
        (false, false) => (path, allowed & access::OF_FILES),
    };
    let at = match File::options().read(true).custom_flags(libc::O_PATH).open(at) {
        Ok(at) => at,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let rule = PathBeneath { allowed: allowed & all, parent: at.as_raw_fd() };
    add(ruleset, PATH_BENEATH, (&raw const rule).cast())
}

fn create(ruleset: &Ruleset) -> io::Result<OwnedFd> {
    // The part that ports are in is left out for kernels that do not know it.
    let size = if ruleset.handled_net == 0 { size_of::<u64>() } else { size_of::<Ruleset>() };
    // SAFETY: the kernel reads `size` octets of `ruleset`, which has as many or more.
    let made =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *ruleset, size, NO_FLAGS) };
    match i32::try_from(made) {
        // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
        Ok(made) if made >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(made) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `rule` points at the structure that `kind` stands for.
fn add(ruleset: &OwnedFd, kind: c_long, rule: *const u8) -> io::Result<()> {
    // SAFETY: both callers pass a structure of the kind, which lives until the call returns.
    let added =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), kind, rule, NO_FLAGS) };
    if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn restrict(ruleset: &OwnedFd) -> io::Result<()> {
    super::no_new_privileges()?;
    // SAFETY: the call takes plain numbers.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), NO_FLAGS) };
    if restricted == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
