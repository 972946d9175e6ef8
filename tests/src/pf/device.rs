//! The device `/dev/pf` as a supervised program sees it: which system calls are answered, and with what.
#![forbid(unsafe_code)]

use super::Shared;
use super::ioctl::{Memory, Outcome};
use super::memory::ProcessMemory;
use super::supervise::{Answer, Refused, Request, Watched};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// open(2) in all its forms, and the ioctls of group 'D'; to be sabotaged, every call.
pub fn watched(sabotage: Option<Sabotage>) -> Watched {
    if sabotage.is_some() {
        return every_call();
    }
    let opens = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
    ];
    Watched { calls: opens.to_vec(), ioctl_group: b'D' }
}

/// Every call that a program makes after its exec(2), but no ioctl(2).
pub(crate) fn every_call() -> Watched {
    // sendmsg(2) hands us the listener: nobody could answer it.
    let all = |call: &libc::c_long| ![libc::SYS_ioctl, libc::SYS_sendmsg, libc::SYS_execve].contains(call);
    Watched { calls: (0..=LAST_CALL).filter(all).collect(), ioctl_group: b'D' }
}

/// The last system call that programs may make: landlock_restrict_self(2), the same number on all newer architectures.
const LAST_CALL: libc::c_long = 446;

/// What happens to a program in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// It is killed before its nth system call.
    Kill(usize),
    /// Its nth call that writes to a file system fails with this errno.
    Fail(usize, i32),
}

/// Whether a call changes a file or a directory.
pub(crate) fn writes(request: &Request) -> bool {
    let [_, _, flags, ..] = request.arguments;
    match request.number {
        libc::SYS_openat => flags as i32 & libc::O_CREAT != 0,
        // Output is no file system.
        libc::SYS_write => request.arguments[0] > 2,
        libc::SYS_fsync
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_linkat
        | libc::SYS_unlinkat => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename | libc::SYS_link | libc::SYS_unlink => true,
        _ => false,
    }
}

/// What the program holds instead of the device: one file for all descriptors open for reading, one for those open for writing.
/// dup(2), fork(2) and exec(2) keep a file, so each descriptor is known by its file's identity.
pub struct Device {
    shared: Shared,
    read_only: StandIn,
    writable: StandIn,
}

struct StandIn {
    file: File,
    identity: (u64, u64),
}

impl StandIn {
    fn new() -> Result<StandIn, Refused> {
        let refused = |error| Refused::Call("memfd_create", error);
        let file = memfd_create(c"dev-pf", MFdFlags::MFD_CLOEXEC).map_err(|errno| refused(errno.into()))?;
        let file = File::from(file);
        let identity = file.metadata().map(|data| (data.dev(), data.ino())).map_err(refused)?;
        Ok(StandIn { file, identity })
    }
}

impl Device {
    /// A device in front of that kernel.
    pub(super) fn new(shared: Shared) -> Result<Device, Refused> {
        Ok(Device { shared, read_only: StandIn::new()?, writable: StandIn::new()? })
    }

    /// Counts the calls until the one that is sabotaged.
    fn sabotage(&self, request: &Request) -> Option<Answer> {
        let mut state = self.shared.lock();
        let (nth, answer) = match state.sabotage? {
            Sabotage::Kill(nth) => (nth, Answer::Kill(libc::SIGKILL)),
            Sabotage::Fail(nth, errno) if writes(request) => (nth, Answer::Fail(errno)),
            Sabotage::Fail(..) => return None,
        };
        state.steps += 1;
        (state.steps == nth).then_some(answer)
    }

    fn open(&self, request: &Request, memory: &mut ProcessMemory) -> Result<Answer, Refused> {
        let [first, second, third, ..] = request.arguments;
        let (path, flags) = match request.number {
            libc::SYS_openat => (second, third),
            libc::SYS_openat2 => {
                let mut flags = [0; 8];
                if memory.read(third, &mut flags).is_err() {
                    return Ok(Answer::Continue);
                }
                (second, u64::from_ne_bytes(flags))
            }
            _ => (first, second),
        };
        if !memory.holds_string(path, b"/dev/pf") {
            return Ok(Answer::Continue);
        }
        if let Some(errno) = self.shared.lock().deny_open {
            return Ok(Answer::Fail(errno));
        }
        let flags = flags as i32;
        let writing = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if let Some(errno) = self.shared.lock().deny_writing.filter(|_| writing) {
            return Ok(Answer::Fail(errno));
        }
        let stand_in = if writing { &self.writable } else { &self.read_only };
        let file =
            stand_in.file.try_clone().map_err(|error| Refused::Call("fcntl(F_DUPFD_CLOEXEC)", error))?;
        Ok(Answer::Descriptor(file.into(), flags & libc::O_CLOEXEC != 0))
    }

    fn ioctl(&self, request: &Request, memory: &mut ProcessMemory) -> Result<Answer, Refused> {
        let [descriptor, code, argument, ..] = request.arguments;
        // The kernel takes an int and an unsigned int.
        let (descriptor, code) = (descriptor as i32, code as u32);
        let Some(identity) = memory.file_identity(descriptor)? else { return Ok(Answer::Continue) };
        if ![self.read_only.identity, self.writable.identity].contains(&identity) {
            return Ok(Answer::Continue);
        }
        let writable = identity == self.writable.identity;
        Ok(match self.shared.lock().ioctl(code, argument, writable, memory) {
            Outcome::Return(0) => Answer::Success,
            Outcome::Return(errno) => Answer::Fail(errno),
            Outcome::Sleep => Answer::Never,
            Outcome::Gone => Answer::Continue,
        })
    }

    /// Answers one watched call. Errors: what the kernel refused.
    pub fn answer(&self, request: &Request, memory: &mut ProcessMemory) -> Result<Answer, Refused> {
        if let Some(answer) = self.sabotage(request) {
            return Ok(answer);
        }
        match request.number {
            libc::SYS_ioctl => self.ioctl(request, memory),
            number if watched(None).calls.contains(&number) => self.open(request, memory),
            _ => Ok(Answer::Continue),
        }
    }
}
