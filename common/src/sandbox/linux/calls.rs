//! Which system calls of Linux a promise stands for, with the checks of their arguments that
//! pledge(2) makes (sys/kern/kern_pledge.c of OpenBSD 7.8), or tighter ones where the suite needs less.

use libc as l;

use Check::{Is, Not, Own};

/// A system call, and with which arguments.
#[derive(Debug)]
pub struct Call {
    /// `SYS_` and the call's name.
    pub name: &'static str,
    /// The call's number.
    pub number: i64,
    /// One of these lists of checks must hold as a whole. None: any arguments will do.
    pub checks: &'static [&'static [Check]],
}

/// What is checked of one argument, which is named by its place. All but pointers are 32 bits.
#[derive(Debug)]
pub enum Check {
    /// Its bits under a mask are these.
    Is(u8, u64, u64),
    /// It is not this.
    Not(u8, u64),
    /// It is this process.
    Own(u8),
}

/// Calls that need every one of some promises.
pub type Group = (&'static [&'static str], &'static [Call]);

macro_rules! call {
    ($number:ident) => {
        call!($number, &[])
    };
    ($number:ident, $checks:expr) => {
        Call { name: stringify!($number), number: l::$number, checks: $checks }
    };
}

/// A whole argument of 32 bits, and a pointer that is NULL.
const WHOLE: u64 = 0xffff_ffff;
const fn is(place: u8, value: i64) -> Check {
    Is(place, WHOLE, value as u64 & WHOLE)
}
const fn null(place: u8) -> Check {
    Is(place, u64::MAX, 0)
}
const fn has(place: u8, bits: i32) -> Check {
    Is(place, bits as u32 as u64, bits as u32 as u64)
}
const fn lacks(place: u8, bits: i32) -> Check {
    Is(place, bits as u32 as u64, 0)
}

/// Flags of clone(2) that a thread has, and those that no process of ours may have.
const THREAD: i32 = l::CLONE_VM | l::CLONE_FS | l::CLONE_FILES | l::CLONE_SIGHAND | l::CLONE_THREAD;
const NAMESPACES: i32 = l::CLONE_NEWNS
    | l::CLONE_NEWCGROUP
    | l::CLONE_NEWUTS
    | l::CLONE_NEWIPC
    | l::CLONE_NEWUSER
    | l::CLONE_NEWPID
    | l::CLONE_NEWNET;

/// What open(2) is for: access, creation, and truncation, which O_RDONLY does not forbid on Linux.
/// O_TMPFILE creates too, and is nobody's.
const CREATES: i32 = l::O_CREAT | (l::O_TMPFILE & !l::O_DIRECTORY);
const fn opens(place: u8, access: i32, creates: i32) -> Check {
    let truncates = if access == l::O_RDONLY { l::O_TRUNC } else { 0 };
    Is(place, (l::O_ACCMODE | CREATES | truncates) as u32 as u64, (access | creates) as u32 as u64)
}
macro_rules! open {
    ($access:expr, $creates:expr) => {
        &[
            #[cfg(target_arch = "x86_64")]
            call!(SYS_open, &[&[opens(1, $access, $creates)]]),
            call!(SYS_openat, &[&[opens(2, $access, $creates)]]),
        ]
    };
}

/// SIGSYS stays ours: whoever caught it would outlive a violation.
const SIGSYS: u64 = l::SIGSYS as u64;
/// TCGETS of isatty(3), which tells a terminal from all else.
const IOCTLS: &[&[Check]] = &[
    &[is(1, l::FIONREAD as i64)],
    &[is(1, l::FIONBIO as i64)],
    &[is(1, l::FIOCLEX as i64)],
    &[is(1, l::FIONCLEX as i64)],
    &[is(1, l::TCGETS as i64)],
];
/// The number of an ioctl of group 'D' without its direction and size, which differ between systems:
/// DIOCRADDTABLES, DIOCRGETTSTATS and DIOCRSETADDRS, of the twelve that pledge `pf` allows.
const fn pf(number: u64) -> Check {
    Is(1, 0xffff, (b'D' as u64) << 8 | number)
}
/// The protocol is the type's usual one: Landlock's rules for ports know TCP, but not MPTCP or SCTP.
const fn domain(family: i32, kind: i32) -> [Check; 3] {
    [is(0, family as i64), Is(1, 0xf, kind as u64), is(2, 0)]
}

const STDIO: &[Call] = &[
    // Its end, and signals.
    call!(SYS_exit),
    call!(SYS_exit_group),
    call!(SYS_restart_syscall),
    call!(SYS_rt_sigaction, &[&[Not(0, SIGSYS)]]),
    call!(SYS_rt_sigprocmask),
    call!(SYS_rt_sigreturn),
    call!(SYS_sigaltstack),
    call!(SYS_kill, &[&[Own(0)]]),
    call!(SYS_tgkill, &[&[Own(0)]]),
    call!(SYS_wait4),
    call!(SYS_waitid),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_pause),
    // Itself.
    call!(SYS_getpid),
    call!(SYS_getppid),
    call!(SYS_gettid),
    call!(SYS_getuid),
    call!(SYS_geteuid),
    call!(SYS_getresuid),
    call!(SYS_getgid),
    call!(SYS_getegid),
    call!(SYS_getresgid),
    call!(SYS_getgroups),
    call!(SYS_getrusage),
    call!(SYS_prlimit64, &[&[is(0, 0), null(2)]]),
    call!(SYS_sched_getaffinity),
    call!(SYS_uname),
    call!(SYS_umask),
    call!(SYS_prctl, &[&[is(0, l::PR_SET_NAME as i64)], &[is(0, l::PR_SET_NO_NEW_PRIVS as i64)]]),
    call!(
        SYS_seccomp,
        &[&[is(0, l::SECCOMP_SET_MODE_FILTER as i64), is(1, l::SECCOMP_FILTER_FLAG_TSYNC as i64)]]
    ),
    // Time.
    call!(SYS_clock_gettime),
    call!(SYS_clock_getres),
    call!(SYS_clock_nanosleep),
    call!(SYS_nanosleep),
    call!(SYS_gettimeofday),
    call!(SYS_setitimer),
    call!(SYS_getitimer),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_time),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_alarm),
    // Memory, never executable.
    call!(SYS_brk),
    call!(SYS_mmap, &[&[lacks(2, l::PROT_EXEC)]]),
    call!(SYS_mprotect, &[&[lacks(2, l::PROT_EXEC)]]),
    call!(SYS_munmap),
    call!(SYS_mremap),
    call!(SYS_madvise),
    call!(SYS_getrandom),
    // Threads.
    call!(SYS_clone, &[&[has(0, THREAD), lacks(0, NAMESPACES)]]),
    call!(SYS_futex),
    call!(SYS_set_robust_list),
    call!(SYS_rseq),
    call!(SYS_sched_yield),
    // What is open.
    call!(SYS_read),
    call!(SYS_readv),
    call!(SYS_pread64),
    call!(SYS_write),
    call!(SYS_writev),
    call!(SYS_pwrite64),
    call!(SYS_lseek),
    call!(SYS_ftruncate),
    call!(SYS_fsync),
    call!(SYS_fdatasync),
    call!(SYS_fstat),
    call!(SYS_newfstatat, &[&[has(3, l::AT_EMPTY_PATH)]]),
    call!(SYS_statx, &[&[has(2, l::AT_EMPTY_PATH)]]),
    call!(SYS_ioctl, IOCTLS),
    call!(
        SYS_fcntl,
        &[
            &[is(1, l::F_DUPFD_CLOEXEC as i64)],
            &[is(1, l::F_GETFD as i64)],
            &[is(1, l::F_SETFD as i64)],
            &[is(1, l::F_GETFL as i64)],
            &[is(1, l::F_SETFL as i64)],
        ]
    ),
    call!(SYS_close),
    call!(SYS_dup),
    call!(SYS_dup3),
    call!(SYS_pipe2),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_dup2),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_poll),
    call!(SYS_ppoll),
    // Sockets that are open. An address would be that of another peer; sendmsg(2) hides it, and
    // recvmsg(2) may bring a descriptor. Only a stream cannot be connected to somebody else.
    call!(SYS_socketpair, &[&[is(0, l::AF_UNIX as i64), Is(1, 0xf, l::SOCK_STREAM as u64)]]),
    call!(SYS_recvfrom),
    call!(SYS_sendto, &[&[null(4)]]),
    call!(SYS_shutdown),
    call!(SYS_getsockname),
    call!(SYS_getpeername),
    call!(SYS_getsockopt, ALWAYS),
    call!(SYS_setsockopt, ALWAYS),
];

/// Socket options that pledge_sockopt() always allows.
const ALWAYS: &[&[Check]] = &[
    &[is(1, l::SOL_SOCKET as i64), is(2, l::SO_ERROR as i64)],
    &[is(1, l::SOL_SOCKET as i64), is(2, l::SO_RCVBUF as i64)],
    &[is(1, l::IPPROTO_TCP as i64), is(2, l::TCP_NODELAY as i64)],
];

/// TCP over IPv4 and IPv6; UDP is left to the resolver, so that a look-up without `dns` is found.
const TCP: &[&[Check]] = &[&domain(l::AF_INET, l::SOCK_STREAM), &domain(l::AF_INET6, l::SOCK_STREAM)];
const UDP: &[&[Check]] = &[&domain(l::AF_INET, l::SOCK_DGRAM), &domain(l::AF_INET6, l::SOCK_DGRAM)];

const INET: &[Call] = &[
    call!(SYS_socket, TCP),
    call!(SYS_connect),
    call!(SYS_getsockopt, TIMEOUTS),
    call!(SYS_setsockopt, TIMEOUTS),
];

/// Of the options that pledge allows under `inet`, those that std sets: others load programs into
/// the kernel (SO_ATTACH_FILTER).
const TIMEOUTS: &[&[Check]] = &[
    &[is(1, l::SOL_SOCKET as i64), is(2, l::SO_RCVTIMEO as i64)],
    &[is(1, l::SOL_SOCKET as i64), is(2, l::SO_SNDTIMEO as i64)],
];

/// What getaddrinfo(3) of glibc does: it asks for its files' times by name, reads them, asks name
/// servers over UDP, and TCP if an answer is cut, and has connect(2) choose among addresses.
const DNS: &[Call] = &[
    call!(SYS_socket, TCP),
    call!(SYS_socket, UDP),
    call!(SYS_connect),
    call!(SYS_sendto, NOT_FAST),
    call!(SYS_sendmmsg, NOT_FAST),
    call!(
        SYS_setsockopt,
        &[
            &[is(1, l::IPPROTO_IP as i64), is(2, l::IP_RECVERR as i64)],
            &[is(1, l::IPPROTO_IPV6 as i64), is(2, l::IPV6_RECVERR as i64)],
        ]
    ),
];

/// TCP Fast Open connects without connect(2), and so past Landlock's rules for ports.
const NOT_FAST: &[&[Check]] = &[&[lacks(3, l::MSG_FASTOPEN)]];

/// Calls that tell a path's status.
const STAT: &[Call] = &[
    call!(SYS_newfstatat),
    call!(SYS_statx),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_stat),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_lstat),
];

/// Others that look at a path.
const LOOK: &[Call] = &[
    call!(SYS_faccessat),
    call!(SYS_readlinkat),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_access),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_readlink),
    call!(SYS_getcwd),
];

const CPATH: &[Call] = &[
    call!(SYS_mkdirat),
    call!(SYS_unlinkat),
    call!(SYS_symlinkat),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_mkdir),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rmdir),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_unlink),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_symlink),
];

/// The old name is looked up for reading.
const RENAME: &[Call] = &[
    call!(SYS_renameat),
    call!(SYS_renameat2),
    call!(SYS_linkat),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rename),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_link),
];

const PROC: &[Call] = &[
    call!(SYS_kill),
    // abort(3) of a child, who is not the process that this filter was made in.
    call!(SYS_tgkill),
    call!(SYS_clone, &[&[lacks(0, NAMESPACES)]]),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_fork),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_vfork),
    call!(SYS_setpgid),
    call!(SYS_setsid),
];

/// Under `proc` and `id`.
const LIMITS: &[Call] =
    &[call!(SYS_prlimit64, &[&[is(0, 0)]]), call!(SYS_getpriority), call!(SYS_setpriority)];

const ID: &[Call] = &[
    call!(SYS_setuid),
    call!(SYS_setgid),
    call!(SYS_setreuid),
    call!(SYS_setregid),
    call!(SYS_setresuid),
    call!(SYS_setresgid),
    call!(SYS_setgroups),
];

/// glibc loads a library for each source of accounts in nsswitch.conf(5): memory that is executable,
/// if not writable. OpenBSD has them in its libc.
const GETPW: &[Call] = &[
    call!(SYS_mmap, &[&[lacks(2, l::PROT_WRITE)]]),
    call!(SYS_mprotect, &[&[lacks(2, l::PROT_WRITE)]]),
    // systemd's library asks what capabilities there are.
    call!(SYS_prctl, &[&[is(0, l::PR_CAPBSET_READ as i64)]]),
];

/// getifaddrs(3), and getaddrinfo(3) to see whether this machine has IPv6.
const NETLINK: &[&[Check]] = &[&[is(0, l::AF_NETLINK as i64)]];

const UNVEIL: &[Call] =
    &[call!(SYS_landlock_create_ruleset), call!(SYS_landlock_add_rule), call!(SYS_landlock_restrict_self)];

/// All that is allowed.
pub const ALLOWED: &[Group] = &[
    (&["stdio"], STDIO),
    (&["rpath"], open!(l::O_RDONLY, 0)),
    (&["rpath"], STAT),
    (&["rpath"], LOOK),
    (&["rpath"], &[call!(SYS_getdents64), call!(SYS_chdir)]),
    (&["wpath"], open!(l::O_WRONLY, 0)),
    (&["rpath", "wpath"], open!(l::O_RDWR, 0)),
    (&["rpath", "cpath"], open!(l::O_RDONLY, l::O_CREAT)),
    (&["wpath", "cpath"], open!(l::O_WRONLY, l::O_CREAT)),
    (&["rpath", "wpath", "cpath"], open!(l::O_RDWR, l::O_CREAT)),
    (&["cpath"], CPATH),
    (&["rpath", "cpath"], RENAME),
    (&["inet"], INET),
    (&["dns"], DNS),
    (&["dns"], open!(l::O_RDONLY, 0)),
    (&["dns"], STAT),
    (&["pf"], &[call!(SYS_ioctl, &[&[pf(61)], &[pf(64)], &[pf(69)]])]),
    (&["proc"], PROC),
    (&["proc"], LIMITS),
    (&["flock"], &[call!(SYS_flock)]),
    (&["getpw"], GETPW),
    (&["getpw"], open!(l::O_RDONLY, 0)),
    (&["getpw"], STAT),
    (&["id"], ID),
    (&["id"], LIMITS),
    (&["unveil"], UNVEIL),
];

/// What libraries try without being asked to, and do well without. It would be wrong to let them,
/// and harsh to kill for it: the call fails with ENOSYS.
/// - clone3(2) hides its flags in memory; then clone(2) is called.
/// - syslog(3) connects again if the system's log was not there or has restarted. OpenBSD needs no
///   socket for it. Here that line is lost.
/// - getaddrinfo(3) and getpwnam(3) ask nscd(8), and nscd's like, by local sockets.
pub const REFUSED: &[Group] = &[
    (&["stdio"], &[call!(SYS_clone3), call!(SYS_socket, &[&[is(0, l::AF_UNIX as i64)]])]),
    (&["inet"], &[call!(SYS_socket, NETLINK)]),
    (&["dns"], &[call!(SYS_socket, NETLINK)]),
];

/// Calls that no promise allows, or none of ours, to be named in a message.
pub const NAMED: &[Call] = &[
    call!(SYS_execve),
    call!(SYS_execveat),
    call!(SYS_ptrace),
    call!(SYS_fchmod),
    call!(SYS_fchmodat),
    call!(SYS_fchown),
    call!(SYS_fchownat),
    call!(SYS_utimensat),
    call!(SYS_mount),
    call!(SYS_unshare),
    call!(SYS_recvmsg),
    call!(SYS_sendmsg),
    call!(SYS_bind),
    call!(SYS_listen),
    call!(SYS_accept4),
];
