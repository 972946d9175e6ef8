//! Child processes: forked without exec, looked after until they are gone.
//!
//! With `clock` the only module of this program that calls the system unsafely.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::exit;
use std::time::{Duration, Instant};

use common::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, send, shutdown, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, ttyname};

/// How long a child that has done its work may take to exit.
const GRACE: Duration = Duration::from_secs(30);

/// How long a look at a child that has not exited yet is put off.
const NAP: Duration = Duration::from_millis(2);

/// Descriptors that a run may need: OpenBSD's cron starts with room for 128.
const DESCRIPTORS: rlim_t = 512;

/// Octets of memory for a child, many times what it needs.
const MEMORY: rlim_t = 128 << 20;

/// Which process this is after `split`.
#[derive(Debug)]
pub enum Side {
    /// The old process, which now has a child.
    Parent(Child),
    /// The child, with its end of the socket to its parent. It ends when the parent does: then it
    /// reads an end of file.
    Child(File),
}

/// A child of this process. Dropped, it is killed; in every case it is waited for. In another child,
/// which has a copy of this, a drop only closes the socket.
#[derive(Debug)]
pub struct Child {
    parent: Pid,
    pid: Pid,
    socket: Option<File>,
    ended: Option<Ended>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exit(i32),
    /// A signal ended it: its own fault, or somebody's kill(1).
    Signal(Signal),
    /// It was killed here, because it did not answer or exit in time.
    Late,
    /// It sent what is no answer.
    Strange,
    /// The system does not know.
    Unknown,
}

/// Exit status of a child whose output is as large as it may be.
pub const FULL: i32 = 3;

impl Ended {
    /// Whether the process ended by what it did: a crash, a call that was not promised, too much of the
    /// processor's time or of output. Signals that an administrator, shutdown(8) or a system without memory
    /// sends are others; and one that is late may have waited for a disk, or for its turn.
    pub fn is_own_fault(self) -> bool {
        use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU};
        match self {
            Ended::Exit(FULL) => true,
            Ended::Signal(signal) => {
                [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU].contains(&signal)
            }
            Ended::Exit(_) | Ended::Late | Ended::Strange | Ended::Unknown => false,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exit(FULL) => f.write_str("has filled a quarter of OUTBOX_MAX"),
            Ended::Exit(status) => write!(f, "exited with status {status}"),
            Ended::Signal(signal) => write!(f, "died of {signal}"),
            Ended::Late => f.write_str("took too long and was killed"),
            Ended::Strange => f.write_str("sent no valid answer"),
            Ended::Unknown => f.write_str("is gone"),
        }
    }
}

/// Closes whatever the caller left open beyond the standard streams, so that no child has it. To be
/// called before anything else is.
pub fn close_inherited() {
    // It fails if there is nothing to close.
    // SAFETY: this process has opened nothing yet, so nobody's descriptor is closed behind his back.
    #[cfg(not(target_os = "linux"))]
    unsafe {
        libc::closefrom(3)
    };
    // SAFETY: as above. Before Linux 5.9 there is no such call, and they stay open.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0)
    };
}

/// Makes sure that children can be waited for, whatever the caller left, and that there is room
/// for the descriptors of a run. To be called before `split` and any pledge(2).
///
/// # Errors
/// The system refuses.
pub fn prepare() -> Result<(), Error> {
    // SAFETY: the default action replaces whatever was inherited; no handler of ours is involved.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }
        .map_err(|errno| Error::new("signal", errno.desc()))?;
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| Error::new("getrlimit", errno.desc()))?;
    if soft < DESCRIPTORS {
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard)
            .map_err(|errno| Error::new("setrlimit", errno.desc()))?;
    }
    Ok(())
}

/// The terminal that a standard stream is, opened again for writing alone; `None` if it is none, or is
/// not ours to open. Needs the promises rpath and wpath.
///
/// The descriptor that a shell gives us reads as well: a child that was taken over would see what is
/// typed.
pub fn terminal(stream: &impl AsFd) -> Option<File> {
    let path = ttyname(stream).ok()?;
    OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY).open(path).ok()
}

/// Forks. Both sides have one end of a socket, and everything else twice: the child closes what is
/// not its own. Its standard input and output are `/dev/null`: what we print is not its to say.
///
/// To be called while there is one thread only, since the child has no other.
///
/// # Errors
/// There is no room for another process or socket.
pub fn split() -> Result<Side, Error> {
    let failed = |errno: Errno| Error::new("fork", errno.desc());
    let null = Path::new("/dev/null");
    let nothing =
        OpenOptions::new().read(true).write(true).open(null).map_err(|error| Error::io(null, &error))?;
    let terminal = terminal(&io::stderr());
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
    // SAFETY: this process has one thread, so no lock that the child could need is held by another.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Child => {
            drop(ours);
            let messages = terminal.as_ref().map_or(Ok(()), dup2_stderr);
            if messages.and_then(|()| dup2_stdin(&nothing)).and_then(|()| dup2_stdout(&nothing)).is_err() {
                exit(1);
            }
            Ok(Side::Child(File::from(theirs)))
        }
        ForkResult::Parent { child: pid } => {
            drop(theirs);
            Ok(Side::Parent(Child { parent: getpid(), pid, socket: Some(File::from(ours)), ended: None }))
        }
    }
}

/// What a process that parses hostile data may use: 128 MiB of memory, no core dump, at most
/// `largest_file` octets in one file, and, where nobody waits for it, the processor when nobody else
/// wants it, for at most the time `processor`. To be called before pledge(2), under
/// which setrlimit(2) needs `proc`.
///
/// # Errors
/// The system refuses.
pub fn restrain(largest_file: Option<u64>, processor: Option<Duration>) -> Result<(), Error> {
    let limit = |resource, most: rlim_t| {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, most.min(hard), most.min(hard))
    };
    let set = || -> nix::Result<()> {
        limit(Resource::RLIMIT_CORE, 0)?;
        limit(Resource::RLIMIT_DATA, MEMORY)?;
        if let Some(octets) = largest_file {
            limit(Resource::RLIMIT_FSIZE, rlim_t::try_from(octets).unwrap_or(rlim_t::MAX))?;
        }
        if let Some(time) = processor {
            limit(Resource::RLIMIT_CPU, rlim_t::try_from(time.as_secs()).unwrap_or(rlim_t::MAX))?;
        }
        // SAFETY: to ignore the signal needs no handler; write(2) then fails with EFBIG instead.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
        Ok(())
    };
    set().map_err(|errno| Error::new("setrlimit", errno.desc()))?;
    if processor.is_some() {
        // SAFETY: nice(3) takes a number. That it cannot be nicer still is no failure.
        unsafe { libc::nice(10) };
    }
    Ok(())
}

/// Forbids this process to fork: FreeBSD's Capsicum would let it, and a child of its own would outlive it
/// with all that it has open. To be called before pledge(2), like `restrain`.
///
/// # Errors
/// The system refuses.
pub fn have_no_children() -> Result<(), Error> {
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).map_err(|errno| Error::new("setrlimit", errno.desc()))
}

impl Child {
    /// Sends the child a message, without waiting: one that answers what it has not read is killed
    /// when the socket is full.
    ///
    /// # Errors
    /// The child is gone.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Ended> {
        let Some(socket) = &self.socket else { return Err(self.end()) };
        match send(socket.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT) {
            Ok(count) if count == message.len() => Ok(()),
            Ok(_) | Err(Errno::EAGAIN) => Err(self.kill()),
            Err(_) => Err(self.end()),
        }
    }

    /// Fills `answer` with what the child sends, until the deadline if there is one. What comes
    /// instead of an answer is the child's end.
    ///
    /// # Errors
    /// The child ended, or was killed at the deadline.
    pub fn receive(&mut self, answer: &mut [u8], deadline: Option<Instant>) -> Result<(), Ended> {
        let mut rest = answer;
        while !rest.is_empty() {
            let Some(socket) = &mut self.socket else { return Err(self.end()) };
            match read_until(socket, rest, deadline) {
                Ok(Some(0)) | Err(_) => return Err(self.end_by(deadline)),
                Ok(Some(count)) => rest = rest.get_mut(count..).unwrap_or_default(),
                Ok(None) => return Err(self.kill()),
            }
        }
        Ok(())
    }

    /// Lets the child read an end of file, gives it a moment to exit, and waits for it.
    pub fn end(&mut self) -> Ended {
        self.end_within(GRACE)
    }

    /// The same, but the moment ends with the deadline if there is one.
    pub fn end_by(&mut self, deadline: Option<Instant>) -> Ended {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.end_within(left.map_or(GRACE, |left| left.min(GRACE)))
    }

    fn end_within(&mut self, grace: Duration) -> Ended {
        let deadline = Instant::now().checked_add(grace);
        if let Some(mut socket) = self.socket.take() {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
            // Its own end is closed when it exits; what it still says is of no interest.
            while matches!(read_until(&mut socket, &mut [0; 64], deadline), Ok(Some(1..))) {}
        }
        // By now it has exited, or is about to.
        let mut nap = NAP / 32;
        loop {
            if let Some(ended) = self.ended {
                return ended;
            }
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                    std::thread::sleep(nap);
                    nap = nap.saturating_mul(2).min(NAP);
                }
                Ok(WaitStatus::StillAlive) => return self.kill(),
                Err(Errno::EINTR) => {}
                status => self.ended = Some(ended(status)),
            }
        }
    }

    /// Kills the child if it has not ended, and waits for it.
    pub fn kill(&mut self) -> Ended {
        self.socket = None;
        if let Some(ended) = self.ended {
            return ended;
        }
        // The number is still the child's: it is not given to another before waitpid(2).
        let _ = kill(self.pid, Signal::SIGKILL);
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
        self.ended = Some(Ended::Late);
        Ended::Late
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if getpid() == self.parent {
            self.kill();
        }
    }
}

fn ended(status: nix::Result<WaitStatus>) -> Ended {
    match status {
        Ok(WaitStatus::Exited(_, status)) => Ended::Exit(status),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signal(signal),
        _ => Ended::Unknown,
    }
}

/// Reads what there is; `None` if nothing came before the deadline.
fn read_until(socket: &mut File, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<Option<usize>> {
    loop {
        let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(Duration::ZERO) => return Ok(None),
            // Rounded up, so that the last millisecond is slept through and not spun.
            Some(left) => {
                PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map(Some),
        }
    }
}

/// Keeps tests that fork apart: a child would keep another test's sockets open.
#[cfg(test)]
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static FORKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    FORKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A child that does `work` and exits. It may only call the system: the harness has threads.
#[cfg(test)]
pub(crate) fn child(work: impl FnOnce(File) -> i32) -> Child {
    match split().unwrap() {
        Side::Parent(child) => child,
        Side::Child(socket) => {
            let status = work(socket);
            // SAFETY: ends the process at once, as is right beside threads that were not copied.
            unsafe { libc::_exit(status) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(600);

    fn after(limit: Duration) -> Option<Instant> {
        Instant::now().checked_add(limit)
    }

    #[test]
    fn answers_and_exits() {
        let _alone = alone();
        let mut echo = child(|mut socket| {
            let mut octets = [0; 4];
            while socket.read_exact(&mut octets).is_ok() {
                for octet in octets {
                    let _ = socket.write_all(&[octet]);
                }
            }
            7
        });
        let mut answer = [0; 4];
        for question in [*b"head", *b"tail"] {
            echo.send(&question).unwrap();
            echo.receive(&mut answer, after(LONG)).unwrap();
            assert_eq!(answer, question);
        }
        assert_eq!(echo.end(), Ended::Exit(7));
        assert_eq!(echo.end(), Ended::Exit(7), "waited for once");
    }

    #[test]
    fn what_others_sent_is_no_fault_of_a_process() {
        use Signal::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGSYS, SIGTERM};
        let own = [SIGABRT, SIGSEGV, SIGSYS].map(Ended::Signal);
        assert!(own.into_iter().chain([Ended::Exit(FULL)]).all(Ended::is_own_fault));
        let others = [SIGHUP, SIGINT, SIGKILL, SIGTERM].map(Ended::Signal);
        let exits = [Ended::Exit(1), Ended::Late, Ended::Strange, Ended::Unknown];
        assert!(!others.into_iter().chain(exits).any(Ended::is_own_fault));
    }

    #[test]
    fn its_end_comes_instead_of_an_answer() {
        let _alone = alone();
        let mut short = child(|mut socket| {
            let _ = socket.write_all(b"ab");
            4
        });
        assert_eq!(short.receive(&mut [0; 3], after(LONG)), Err(Ended::Exit(4)));
        assert_eq!(short.send(b"x"), Err(Ended::Exit(4)));
        let mut dead = child(|_| {
            let _ = kill(getpid(), Signal::SIGKILL);
            0
        });
        assert_eq!(dead.receive(&mut [0], None), Err(Ended::Signal(Signal::SIGKILL)));
    }

    #[test]
    fn nobody_there_and_still_at_work_has_a_limit() {
        let _alone = alone();
        let mut spins = child(|_| {
            if restrain(None, Some(Duration::from_secs(1))).is_err() {
                return 1;
            }
            loop {
                std::hint::spin_loop();
            }
        });
        let ended = spins.receive(&mut [0], after(LONG));
        assert!(
            matches!(ended, Err(Ended::Signal(Signal::SIGXCPU | Signal::SIGKILL))),
            "the processor's time is over: {ended:?}"
        );
    }

    #[test]
    fn one_that_does_not_read_stops_nobody() {
        let _alone = alone();
        let mut deaf = child(|_socket| {
            loop {
                // SAFETY: waits for a signal, and takes and keeps nothing.
                unsafe { libc::pause() };
            }
        });
        // More than any socket's buffers hold.
        let ended = (0..4096).find_map(|_| deaf.send(&[0; 4096]).err());
        assert_eq!(ended, Some(Ended::Late));
    }

    #[test]
    fn what_a_child_prints_goes_nowhere() {
        let _alone = alone();
        let mut prints = child(|_| {
            let mut octet = [0];
            let (read, written) = (
                nix::unistd::read(std::io::stdin(), &mut octet),
                nix::unistd::write(std::io::stdout(), b"x"),
            );
            i32::from((read, written) != (Ok(0), Ok(1)))
        });
        assert_eq!(prints.end(), Ended::Exit(0));
    }

    #[test]
    fn silence_has_a_limit() {
        let _alone = alone();
        let silent = |_: File| loop {
            // SAFETY: waits for a signal, and takes and keeps nothing.
            unsafe { libc::pause() };
        };
        let mut late = child(silent);
        assert_eq!(late.receive(&mut [0], after(Duration::from_millis(1))), Err(Ended::Late));
        let mut stays = child(silent);
        assert_eq!(stays.end_within(NAP), Ended::Late, "not even if it keeps its socket open");
        let dropped = child(silent);
        let pid = dropped.pid;
        drop(dropped);
        assert_eq!(waitpid(pid, None), Err(Errno::ECHILD), "no zombie");
    }
}
