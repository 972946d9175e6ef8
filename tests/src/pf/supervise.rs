//! Runs an unmodified program and answers chosen system calls of it and its children: seccomp user notification.
//!
//! Between fork and exec the program gets a filter (seccomp_unotify(2)) whose listener it sends to us. A thread here receives each
//! call, asks a closure what to answer, and ends when the last process under the filter has died or when it is told to stop.
//! Calls are named by number in a list, so that another closure can be given other calls.
#![allow(unsafe_code)]

use super::memory::ProcessMemory;
use std::fmt;
use std::io::{self, Read};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// How long what a program printed is waited for after its end.
const AFTER_DEATH: Duration = Duration::from_secs(10);

/// Why a program could not be run, or not to its end. Printed as one sentence.
#[derive(Debug)]
pub enum Refused {
    /// The kernel refused a call that the supervisor needs.
    Call(&'static str, io::Error),
    /// The program could not be started.
    Start(String, io::Error),
    /// The program was killed because it ran longer than this.
    TimeLimit(Duration),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refused::Call(call, error) => {
                write!(f, "the model of pf cannot run here: the kernel refused {call}: {error}")
            }
            Refused::Start(program, error) => write!(f, "{program}: cannot be started: {error}"),
            Refused::TimeLimit(limit) => write!(f, "killed after {} seconds", limit.as_secs()),
        }
    }
}

impl std::error::Error for Refused {}

/// Which system calls need an answer.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Numbers of system calls.
    pub calls: Vec<libc::c_long>,
    /// ioctl(2) with a request of this group octet, and no other.
    pub ioctl_group: u8,
}

/// One system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Thread that made the call.
    pub thread: u32,
    /// Number of the call.
    pub number: libc::c_long,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The answer.
#[derive(Debug)]
pub enum Answer {
    /// Let the kernel do the call.
    Continue,
    /// Return 0.
    Success,
    /// Fail with this error number.
    Fail(i32),
    /// Return a new descriptor for this file, close-on-exec or not.
    Descriptor(OwnedFd, bool),
    /// Leave the caller waiting.
    Never,
    /// Kill the process with this signal before it does the call.
    Kill(i32),
}

/// A program under supervision.
#[derive(Debug)]
pub struct Supervised {
    /// The program: its pipes are the caller's.
    pub child: Child,
    stop: UnixStream,
    thread: Option<JoinHandle<Result<(), Refused>>>,
}

impl Supervised {
    /// Waits for the program's end and returns what it printed to its pipes. Errors: what was refused meanwhile.
    pub(crate) fn output(mut self) -> Result<Output, Refused> {
        let stdout = read_all(self.child.stdout.take());
        let stderr = read_all(self.child.stderr.take());
        let status = self.child.wait().map_err(|error| Refused::Call("wait4", error))?;
        // A pipe that a surviving child still holds is not waited for longer than this.
        let stdout = stdout.recv_timeout(AFTER_DEATH).unwrap_or_default();
        let stderr = stderr.recv_timeout(AFTER_DEATH).unwrap_or_default();
        self.finish()?;
        Ok(Output { status, stdout, stderr })
    }

    /// Ends the supervision; what is left of the program gets ENOSYS for its watched calls. Errors: what was refused meanwhile.
    pub fn finish(mut self) -> Result<(), Refused> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Refused> {
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(end)) => end,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.join();
        }
    }
}

/// Starts a program whose watched calls `answer` answers; what it says was refused ends the supervision.
///
/// With a time limit the program gets its own process group, which is killed when the limit is over.
pub fn spawn(
    command: &mut Command,
    watched: &Watched,
    mut answer: impl FnMut(&Request, &mut ProcessMemory) -> Result<Answer, Refused> + Send + 'static,
    limit: Option<Duration>,
) -> Result<Supervised, Refused> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| Refused::Call("socketpair", error))?;
    let (stop, stopped) = UnixStream::pair().map_err(|error| Refused::Call("socketpair", error))?;
    if limit.is_some() {
        command.process_group(0);
    }
    // The closure stays in the Command: a second run must not send to a descriptor of the first.
    let socket = Arc::new(AtomicI32::new(theirs.as_raw_fd()));
    let filter = filter(watched);
    let for_child = Arc::clone(&socket);
    // SAFETY: `install` only makes system calls and allocates nothing, as is required between fork and exec.
    unsafe { command.pre_exec(move || install(for_child.load(Ordering::Relaxed), &filter)) };
    let deadline = limit.map(|limit| (Instant::now() + limit, limit));
    let group = Arc::new(AtomicI32::new(0));
    let group_of_child = Arc::clone(&group);
    let thread = std::thread::spawn(move || {
        let Some(listener) = receive_listener(ours)? else { return Ok(()) };
        serve(&listener, &stopped, &mut answer, deadline, &group_of_child)
    });
    let started = command.spawn();
    socket.store(-1, Ordering::Relaxed);
    drop(theirs);
    match started {
        Ok(child) => {
            if limit.is_some() {
                group.store(child.id().try_into().unwrap_or(0), Ordering::Release);
            }
            Ok(Supervised { child, stop, thread: Some(thread) })
        }
        Err(error) => {
            drop(stop);
            match thread.join() {
                Ok(Err(refused)) => Err(refused),
                _ => Err(Refused::Start(command.get_program().to_string_lossy().into_owned(), error)),
            }
        }
    }
}

/// The filter: watched calls and ioctls of the group are notified, all else is allowed.
fn filter(watched: &Watched) -> Vec<libc::sock_filter> {
    let load = |at: usize| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at as u32);
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let notify = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
    let request = offset_of!(libc::seccomp_data, args) + size_of::<u64>();
    let group = u32::from(watched.ioctl_group) << 8;
    let mut program = vec![load(offset_of!(libc::seccomp_data, arch)), unless_equal(AUDIT_ARCH, 1), allow];
    program.push(load(offset_of!(libc::seccomp_data, nr)));
    for call in &watched.calls {
        program.extend([if_equal(*call as u32), notify]);
    }
    program.extend([
        if_equal(libc::SYS_ioctl as u32),
        statement(libc::BPF_JMP | libc::BPF_JA, 1),
        allow,
        load(request),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xff00),
        if_equal(group),
        notify,
        allow,
    ]);
    program
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// The next instruction if equal, else the one after it.
fn if_equal(k: u32) -> libc::sock_filter {
    libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) }
}

/// The next instruction unless equal, else `skip` are skipped.
fn unless_equal(k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { jt: skip, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) }
}

/// What the child sends: which step failed (0 none), and its error number.
const STEPS: [&str; 3] = [
    "sendmsg",
    "prctl(PR_SET_NO_NEW_PRIVS)",
    "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER)",
];

/// In the child: installs the filter and sends its listener, or says which call failed.
fn install(socket: RawFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    if socket < 0 {
        return Ok(());
    }
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: prctl takes plain numbers here.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == -1 {
        return report(socket, 1);
    }
    let seccomp = |flags: libc::c_ulong| {
        // SAFETY: `program` points at `filter`, which outlives the call.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) }
    };
    // Without WAIT_KILLABLE_RECV (Linux 5.19) a signal makes the program repeat a call that was already carried out.
    let mut listener =
        seccomp(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if listener == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        listener = seccomp(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    }
    let Ok(listener) = RawFd::try_from(listener) else { return report(socket, 2) };
    if listener == -1 {
        return report(socket, 2);
    }
    send(socket, 0, 0, listener)?;
    // SAFETY: the descriptor is ours and closed once; the parent has its own.
    unsafe { libc::close(listener) };
    Ok(())
}

fn report(socket: RawFd, step: u8) -> io::Result<()> {
    let error = io::Error::last_os_error();
    send(socket, step, error.raw_os_error().unwrap_or(0), -1)?;
    Err(error)
}

/// Room for one descriptor in a control message.
#[repr(C, align(8))]
struct Control([u8; 64]);

fn send(socket: RawFd, step: u8, errno: i32, descriptor: RawFd) -> io::Result<()> {
    let [a, b, c, d] = errno.to_ne_bytes();
    let mut text = [step, a, b, c, d];
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    let mut control = Control([0; 64]);
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if descriptor >= 0 {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the macros compute sizes and places inside `control`, which is aligned and larger than one descriptor needs.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        }
    }
    // SAFETY: `message` points at `part`, `text` and `control`, which live until the call returns.
    if unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The listener that the child sends; `None` if it ended before it could.
fn receive_listener(socket: UnixStream) -> Result<Option<OwnedFd>, Refused> {
    let mut text = [0; 5];
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    let mut control = Control([0; 64]);
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points at `part`, `text` and `control`, which live until the call returns.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    match length {
        -1 => return Err(Refused::Call("recvmsg", io::Error::last_os_error())),
        0 => return Ok(None),
        _ => {}
    }
    let [step, errno @ ..] = text;
    if step != 0 {
        let call = STEPS.get(usize::from(step)).copied().unwrap_or("a call");
        return Err(Refused::Call(call, io::Error::from_raw_os_error(i32::from_ne_bytes(errno))));
    }
    // SAFETY: the kernel filled `control` in; a header it points at lies within it.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let Some(header) = header.filter(|header| header.cmsg_type == libc::SCM_RIGHTS) else {
        return Err(Refused::Call("recvmsg(SCM_RIGHTS)", io::Error::from_raw_os_error(libc::EBADMSG)));
    };
    // SAFETY: a SCM_RIGHTS message holds a descriptor that the kernel has just installed for us and nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()) }))
}

/// Answers calls until nobody is left to make one, or `stopped` is closed.
fn serve(
    listener: &OwnedFd,
    stopped: &UnixStream,
    answer: &mut dyn FnMut(&Request, &mut ProcessMemory) -> Result<Answer, Refused>,
    mut deadline: Option<(Instant, Duration)>,
    group: &AtomicI32,
) -> Result<(), Refused> {
    let mut overdue = None;
    loop {
        let left = deadline.map(|(end, _)| end.saturating_duration_since(Instant::now()));
        let wait = left.map_or(-1, |left| i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX));
        let mut files = [poll_for(listener.as_fd()), poll_for(stopped.as_fd())];
        // SAFETY: `files` is an array of two.
        if unsafe { libc::poll(files.as_mut_ptr(), 2, wait) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Refused::Call("poll", error));
            }
            continue;
        }
        let [ready, ended] = files;
        if let Some((_, limit)) = deadline.take_if(|(end, _)| Instant::now() >= *end) {
            overdue = Some(limit);
            let group = group.load(Ordering::Acquire);
            if group > 0 && ready.revents & libc::POLLHUP == 0 {
                // SAFETY: kill takes plain numbers; the group is the program's own and, by the listener, not empty.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
        }
        if ready.revents & libc::POLLIN != 0 {
            match (receive(listener)?, overdue) {
                (Some((id, request)), Some(_)) if valid(listener, id) => {
                    // SAFETY: kill takes plain numbers; the thread waits for our answer, so its number is not another's.
                    unsafe { libc::kill(request.thread as i32, libc::SIGKILL) };
                }
                (Some((id, request)), None) => {
                    let mut memory = ProcessMemory::new(listener, id, request.thread);
                    let answer = answer(&request, &mut memory)?;
                    if let Some(refused) = memory.refusal() {
                        return Err(refused);
                    }
                    if let Answer::Kill(signal) = answer
                        && valid(listener, id)
                    {
                        // SAFETY: kill takes plain numbers; the thread waits for our answer, so its number is not another's.
                        unsafe { libc::kill(request.thread as i32, signal) };
                    }
                    respond(listener, id, answer)?;
                }
                _ => {}
            }
        } else if ready.revents != 0 || ended.revents != 0 {
            return overdue.map_or(Ok(()), |limit| Err(Refused::TimeLimit(limit)));
        }
    }
}

fn poll_for(file: BorrowedFd) -> libc::pollfd {
    libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// A notification as large as this kernel's may be: ours at its start, room behind it.
#[repr(C)]
struct Roomy<T> {
    ours: T,
    room: [u64; 32],
}

/// Zeroed, as the kernel demands.
fn roomy<T>() -> Roomy<T> {
    // SAFETY: used for the kernel's structures of integers only, for which all zero is valid.
    unsafe { std::mem::zeroed() }
}

/// The next call; `None` if its caller died meanwhile.
fn receive(listener: &OwnedFd) -> Result<Option<(u64, Request)>, Refused> {
    let mut notification = roomy::<libc::seccomp_notif>();
    // SAFETY: the kernel writes a seccomp_notif, for which `notification` has room.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification) }
        == -1
    {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(Refused::Call("ioctl(SECCOMP_IOCTL_NOTIF_RECV)", error)),
        };
    }
    let libc::seccomp_notif { id, pid, data, .. } = notification.ours;
    Ok(Some((id, Request { thread: pid, number: data.nr.into(), arguments: data.args })))
}

/// Whether the caller still waits, and its process number is therefore still its own.
pub(super) fn valid(listener: &OwnedFd, id: u64) -> bool {
    // SAFETY: the kernel reads one u64.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

fn respond(listener: &OwnedFd, id: u64, answer: Answer) -> Result<(), Refused> {
    let mut response = roomy::<libc::seccomp_notif_resp>();
    response.ours.id = id;
    match answer {
        Answer::Never => return Ok(()),
        // The signal comes before the program sees this.
        Answer::Kill(_) => response.ours.error = -libc::EINTR,
        Answer::Success => {}
        Answer::Continue => response.ours.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Answer::Fail(errno) => response.ours.error = -errno,
        Answer::Descriptor(file, close_on_exec) => {
            let install = libc::seccomp_notif_addfd {
                id,
                flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
                srcfd: file.as_raw_fd() as u32,
                newfd: 0,
                newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
            };
            // SAFETY: the kernel reads one seccomp_notif_addfd.
            let done = unsafe {
                libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const install)
            };
            let error = io::Error::last_os_error();
            match (done, error.raw_os_error()) {
                // The program's table of descriptors is full: open(2) says so.
                (-1, Some(libc::EMFILE)) => response.ours.error = -libc::EMFILE,
                (-1, Some(libc::ENOENT)) => return Ok(()),
                (-1, _) => return Err(Refused::Call("ioctl(SECCOMP_IOCTL_NOTIF_ADDFD)", error)),
                _ => return Ok(()),
            }
        }
    }
    // SAFETY: the kernel reads a seccomp_notif_resp of its own size, for which `response` has room.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) } == -1 {
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) {
            return Err(Refused::Call("ioctl(SECCOMP_IOCTL_NOTIF_SEND)", error));
        }
    }
    Ok(())
}

/// Everything a pipe gives until its end.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut all));
        let _ = sender.send(all);
    });
    receiver
}
