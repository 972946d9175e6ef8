//! The memory and the descriptors of a supervised program: process_vm_readv(2), else `/proc/PID/mem`.
#![allow(unsafe_code)]

use super::ioctl::{Fault, Memory};
use super::supervise::{Refused, valid};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};

/// The memory of the thread that waits for an answer.
#[derive(Debug)]
pub struct ProcessMemory<'a> {
    listener: &'a OwnedFd,
    id: u64,
    thread: u32,
    refused: Option<Refused>,
}

impl<'a> ProcessMemory<'a> {
    /// The memory of that thread, whose call is that notification.
    pub(super) fn new(listener: &'a OwnedFd, id: u64, thread: u32) -> ProcessMemory<'a> {
        ProcessMemory { listener, id, thread, refused: None }
    }

    /// What the system refused, if anything.
    pub(super) fn refusal(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// Device and inode of the file behind a descriptor of the thread; `None` if it has no such descriptor.
    pub fn file_identity(&self, descriptor: i32) -> Result<Option<(u64, u64)>, Refused> {
        let path = format!("/proc/{}/fd/{descriptor}", self.thread);
        let mut data = std::fs::metadata(&path);
        if denied(&data) && adopt_credentials(self.thread) {
            data = std::fs::metadata(&path);
        }
        match data {
            Ok(data) if self.is_valid() => Ok(Some((data.dev(), data.ino()))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_valid() => {
                Err(Refused::Call("stat(/proc/PID/fd)", error))
            }
            _ => Ok(None),
        }
    }

    /// Whether the caller still waits: what was learned of it by its number before this is true.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        valid(self.listener, self.id)
    }

    /// Copies one piece and says how much of it; `None` is EFAULT.
    fn transfer(&mut self, address: u64, local: &mut [u8], write: bool) -> Result<Option<usize>, Fault> {
        let mut copied = process_vm(self.thread, address, local, write);
        if denied(&copied) && adopt_credentials(self.thread) {
            copied = process_vm(self.thread, address, local, write);
        }
        let error = match copied {
            Ok(copied) => return Ok(Some(copied).filter(|copied| *copied > 0)),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EFAULT) => return Ok(None),
            Some(libc::ESRCH) => return Err(Fault::Gone),
            _ => {}
        }
        let path = format!("/proc/{}/mem", self.thread);
        let Ok(file) = OpenOptions::new().read(true).write(write).open(path) else {
            if self.is_valid() {
                let call = if write { "process_vm_writev" } else { "process_vm_readv" };
                self.refused = Some(Refused::Call(call, error));
            }
            return Err(Fault::Gone);
        };
        let done = if write { file.write_at(local, address) } else { file.read_at(local, address) };
        Ok(done.ok().filter(|copied| *copied > 0))
    }

    fn copy(&mut self, address: u64, local: &mut [u8], write: bool) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = local.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done +=
                self.transfer(address.wrapping_add(done as u64), rest, write)?.ok_or(Fault::BadAddress)?;
        }
        Ok(())
    }

    /// Whether exactly this C string lies there.
    pub fn holds_string(&mut self, address: u64, text: &[u8]) -> bool {
        let mut octets = vec![0; text.len() + 1];
        self.read(address, &mut octets).is_ok() && octets.split_last() == Some((&0, text))
    }
}

impl Memory for ProcessMemory<'_> {
    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), Fault> {
        let done = self.copy(address, to, false);
        if self.is_valid() { done } else { Err(Fault::Gone) }
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Fault> {
        if !self.is_valid() {
            return Err(Fault::Gone);
        }
        self.copy(address, &mut from.to_vec(), true)
    }
}

fn denied<T>(done: &io::Result<T>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Copies between `local` and another process's memory.
fn process_vm(thread: u32, address: u64, local: &mut [u8], write: bool) -> io::Result<usize> {
    let here = libc::iovec { iov_base: local.as_mut_ptr().cast(), iov_len: local.len() };
    let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: local.len() };
    let copy = if write { libc::process_vm_writev } else { libc::process_vm_readv };
    // SAFETY: `here` is `local`, which lives until the call returns; `there` is an address in another process.
    let copied = unsafe { copy(thread as libc::pid_t, &raw const here, 1, &raw const there, 1, 0) };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

/// Gives the calling thread, and no other of this process, the user and group of a program's thread; true if it has them now.
///
/// root without CAP_SYS_PTRACE, as in most containers, may look only at processes of its own user. The saved user stays root,
/// so that the next program can be of another user. Only the thread that answers calls does this.
fn adopt_credentials(thread: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else { return false };
    let id = |key: &str| -> Option<libc::c_long> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (Some(uid), Some(gid)) = (id("Uid:"), id("Gid:")) else { return false };
    let set = |call: libc::c_long, real: libc::c_long, effective: libc::c_long| {
        // SAFETY: plain numbers. The bare system calls, because libc's functions would change all threads.
        unsafe { libc::syscall(call, real, effective, -1 as libc::c_long) == 0 }
    };
    set(libc::SYS_setresuid, -1, 0)
        && set(libc::SYS_setresgid, gid, gid)
        && set(libc::SYS_setresuid, uid, uid)
}
