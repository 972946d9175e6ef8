//! What a process says when it dies of a violation, as the kernel of OpenBSD does in its stead.

use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::mem::{size_of, zeroed};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::{PROMISES, Promises, set_of};
use super::calls::{ALLOWED, NAMED};
use crate::message;

/// What was promised last, for the handler.
static PROMISED: AtomicU32 = AtomicU32::new(Promises::MAX);

/// `siginfo_t` as the kernel fills it in for SIGSYS (asm-generic/siginfo.h, 64 bits).
#[repr(C)]
struct Info {
    signal: c_int,
    errno: c_int,
    code: c_int,
    address: *mut c_void,
    call: c_int,
    arch: u32,
}

const _: () = assert!(size_of::<Info>() <= size_of::<libc::siginfo_t>());

/// Has SIGSYS say which call was not promised before the process dies of it.
pub fn report(promised: Promises) {
    if PROMISED.swap(promised, Ordering::Relaxed) != Promises::MAX {
        return;
    }
    // SAFETY: all zero is a valid sigaction, and `handler` has the type that SA_SIGINFO wants. It
    // calls only what is safe in a handler. That it cannot be installed is no failure: the process
    // then dies without a word.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as extern "C" fn(c_int, *mut Info, *mut c_void) as usize;
        // Once only: the second SIGSYS ends the process.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSYS, &raw const action, null_mut());
    }
}

extern "C" fn handler(signal: c_int, info: *mut Info, _: *mut c_void) {
    // SAFETY: the kernel passes a siginfo_t, which is larger than `Info`.
    let number = unsafe { info.as_ref() }.map_or(-1, |info| i64::from(info.call));
    let mut line = Line { octets: [0; 200], length: 0 };
    let _ = describe(&mut line, number, PROMISED.load(Ordering::Relaxed));
    // SAFETY: write(2) reads the `length` octets, and neither keeps anything; the default action of
    // SIGSYS is in force again, so that kill(2) does not return.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.octets.as_ptr().cast(), line.length);
        libc::kill(libc::getpid(), signal);
    }
}

/// `program: pledge: socket, system call 41, needs inet or dns`: of the promises that the call occurs
/// under, those that this process does not have.
fn describe(line: &mut impl Write, number: i64, promised: Promises) -> fmt::Result {
    let groups = || ALLOWED.iter().filter(move |(_, calls)| calls.iter().any(|call| call.number == number));
    let named = groups().flat_map(|(_, calls)| *calls).chain(NAMED).find(|call| call.number == number);
    let name = named.map_or("an unknown call", |call| call.name.trim_start_matches("SYS_"));
    write!(line, "{}: pledge: {name}, system call {number}, ", message::program())?;
    let missing = |promise: &&&str| {
        set_of(promise).is_ok_and(|set| promised & set == 0)
            && groups().any(|(promises, _)| promises.contains(*promise))
    };
    let mut before = "needs ";
    for promise in PROMISES.iter().filter(missing) {
        write!(line, "{before}{promise}")?;
        before = " or ";
    }
    line.write_str(match (before, groups().next()) {
        (" or ", _) => "\n",
        (_, Some(_)) => "has forbidden arguments\n",
        (_, None) => "is never allowed\n",
    })
}

/// A line of limited length: a handler must not allocate.
struct Line {
    octets: [u8; 200],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.saturating_add(text.len());
        let room = self.octets.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(number: i64, promised: &str) -> String {
        let mut line = String::new();
        describe(&mut line, number, set_of(promised).unwrap()).unwrap();
        line.trim_start_matches("tspf: pledge: ").trim_end().to_owned()
    }

    #[test]
    fn names_the_call_and_what_it_needs() {
        for (number, promised, expected) in [
            (libc::SYS_flock, "stdio", "flock, system call #, needs flock"),
            (libc::SYS_renameat, "stdio cpath", "renameat, system call #, needs rpath"),
            (libc::SYS_connect, "stdio", "connect, system call #, needs inet or dns"),
            (libc::SYS_mmap, "stdio getpw", "mmap, system call #, has forbidden arguments"),
            (libc::SYS_ptrace, "stdio", "ptrace, system call #, is never allowed"),
            (9999, "stdio", "an unknown call, system call #, is never allowed"),
        ] {
            assert_eq!(described(number, promised), expected.replace('#', &number.to_string()));
        }
    }

    #[test]
    fn a_long_line_is_cut_off_not_overrun() {
        let mut line = Line { octets: [0; 200], length: 0 };
        assert!(line.write_str(&"a".repeat(150)).is_ok());
        assert!(line.write_str(&"b".repeat(51)).is_err());
        assert_eq!(line.length, 150);
    }
}
