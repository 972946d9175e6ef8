//! One system call, or what a library makes of it, in the sandbox.
//!
//! usage: sandboxed PROMISES PATHS PORTS CALL DIRECTORY
//!
//! PATHS is a list of `path=permissions` for unveil, separated by commas, or `-` for no unveil; PORTS likewise. DIRECTORY holds
//! a file `file`. What a call needs is done before the sandbox closes. Prints `ok` or the error number; a violation kills.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::ptr::{null, null_mut};
use std::time::{Duration, SystemTime};

use common::sandbox;

type Call = Box<dyn FnOnce() -> io::Result<()>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [promises, paths, ports, call, directory] = arguments.as_slice() else {
        eprintln!("usage: sandboxed PROMISES PATHS PORTS CALL DIRECTORY");
        exit(1);
    };
    common::message::init("sandboxed");
    let call = prepared(call, Path::new(directory)).unwrap_or_else(|| panic!("{call}: no such call"));
    if ports != "-" {
        let ports: Vec<u16> = ports.split(',').map(|port| port.parse().expect("a port")).collect();
        sandbox::connect_to(&ports).expect("connect_to");
    }
    if paths != "-" {
        let paths: Vec<(&Path, &str)> = paths
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(path, permissions)| (Path::new(path), permissions))
            .collect();
        sandbox::unveil(&paths).expect("unveil");
    }
    for step in promises.split(" / ") {
        sandbox::pledge(step).expect("pledge");
    }
    match call() {
        Ok(()) => println!("ok"),
        Err(error) => {
            println!("{}", error.raw_os_error().map_or(error.to_string(), |errno| errno.to_string()))
        }
    }
}

fn result(returned: impl Into<i64>) -> io::Result<()> {
    if returned.into() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A socket's type, from a family and a type.
fn socket(family: i32, kind: i32) -> Option<Call> {
    socket_of(family, kind, 0)
}

fn socket_of(family: i32, kind: i32, protocol: i32) -> Option<Call> {
    // SAFETY: socket takes plain numbers.
    Some(Box::new(move || result(unsafe { libc::socket(family, kind, protocol) })))
}

/// An ioctl with room for whatever the kernel might write.
fn ioctl(file: File, request: u64) -> Option<Call> {
    let mut room = [0_u8; 4096];
    Some(Box::new(move || {
        // SAFETY: no request that is tried reads or writes more than the room.
        result(unsafe { libc::ioctl(file.as_raw_fd(), request as _, room.as_mut_ptr()) })
    }))
}

/// A request of pf(4): direction in and out, of this size.
fn pf(number: u64, size: u64) -> Option<Call> {
    ioctl(File::open("/dev/null").expect("open"), 0xc000_0000 | size << 16 | 0x4400 | number)
}

/// A connection to a listener of ours.
fn connected() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let stream = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    (listener, stream)
}

fn ours<T>(outcome: nix::Result<T>) -> io::Result<()> {
    outcome.map(drop).map_err(io::Error::from)
}

fn prepared(call: &str, directory: &Path) -> Option<Call> {
    let path = |name: &str| directory.join(name);
    let (file, new, directory) = (path("file"), path("new"), directory.to_owned());
    let (name, argument) = call.split_once('=').unwrap_or((call, ""));
    let argument = argument.to_owned();
    Some(match name {
        // Paths.
        "create" => Box::new(move || {
            let mut made = File::create(new)?;
            made.write_all(b"octets").and_then(|()| made.sync_all())
        }),
        "create_new" => Box::new(move || {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
            made.set_len(10)
        }),
        "hard_link" => Box::new(move || fs::hard_link(file, new)),
        "remove_file" => Box::new(move || fs::remove_file(file)),
        "create_dir" => Box::new(move || fs::create_dir(new)),
        "rename" => Box::new(move || fs::rename(file, new)),
        "set_permissions" => {
            let opened = File::open(file).ok()?;
            Box::new(move || opened.set_permissions(fs::Permissions::from_mode(0o600)))
        }
        "set_modified" => {
            let opened = OpenOptions::new().write(true).open(file).ok()?;
            Box::new(move || opened.set_modified(SystemTime::now()))
        }
        "fchown" => {
            let opened = File::open(file).ok()?;
            Box::new(move || fchown(&opened, None, None))
        }
        "try_lock" => {
            let opened = File::open(file).ok()?;
            Box::new(move || match opened.try_lock() {
                Err(TryLockError::Error(error)) => Err(error),
                _ => Ok(()),
            })
        }
        "metadata" => Box::new(move || file.metadata().map(drop)),
        "symlink_metadata" => Box::new(move || file.symlink_metadata().map(drop)),
        "read_dir" => Box::new(move || fs::read_dir(directory)?.try_for_each(|entry| entry.map(drop))),
        "canonicalize" => Box::new(move || file.canonicalize().map(drop)),
        "current_dir" => Box::new(move || std::env::current_dir().map(drop)),
        "sync_directory" => Box::new(move || File::open(directory)?.sync_all()),
        "open_nofollow" => Box::new(move || {
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(file).map(drop)
        }),
        "openat" => {
            let base = File::open(directory).ok()?;
            Box::new(move || {
                // SAFETY: the name is NUL-terminated, and the descriptor open.
                result(unsafe { libc::openat(base.as_raw_fd(), c"file".as_ptr(), libc::O_RDONLY) })
            })
        }
        "open" => Box::new(move || File::open(argument).map(drop)),
        "open_for_writing" => Box::new(move || OpenOptions::new().write(true).open(argument).map(drop)),
        "create_at" => Box::new(move || File::create(argument).map(drop)),
        "truncate" => {
            Box::new(move || OpenOptions::new().read(true).custom_flags(libc::O_TRUNC).open(file).map(drop))
        }
        // What is open, and the process itself.
        "fstat" => {
            let opened = File::open(file).ok()?;
            Box::new(move || opened.metadata().map(drop))
        }
        "mmap_file" => {
            let opened = File::open(file).ok()?;
            Box::new(move || {
                // SAFETY: a new mapping, at no address of ours, that nobody reads.
                let at = unsafe {
                    libc::mmap(null_mut(), 1, libc::PROT_READ, libc::MAP_SHARED, opened.as_raw_fd(), 0)
                };
                result(at as i64)
            })
        }
        "mmap_executable" => Box::new(|| {
            let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping, at no address of ours.
            result(unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) } as i64)
        }),
        "mprotect_executable" => Box::new(|| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping, at no address of ours, that nobody uses.
            unsafe {
                let at = libc::mmap(null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
                result(libc::mprotect(at, 4096, libc::PROT_READ | libc::PROT_EXEC))
            }
        }),
        "thread" => Box::new(|| {
            let named = std::thread::Builder::new().name("second".to_owned()).spawn(|| 7)?;
            named.join().map(drop).map_err(|_| io::ErrorKind::Other.into())
        }),
        "parallelism" => Box::new(|| std::thread::available_parallelism().map(drop)),
        "clocks" => Box::new(|| {
            let (_, _) = (SystemTime::now(), std::time::Instant::now());
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }),
        "localtime" => {
            Box::new(
                || if common::clock::date().is_empty() { Err(io::ErrorKind::Other.into()) } else { Ok(()) },
            )
        }
        "hash_map" => Box::new(|| {
            drop(std::collections::HashMap::from([(1, 2)]));
            Ok(())
        }),
        "umask" => Box::new(|| {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
            Ok(())
        }),
        "alarm" => Box::new(|| {
            nix::unistd::alarm::set(600);
            Ok(())
        }),
        // SAFETY: to ignore a signal needs no handler.
        "signal" => Box::new(|| result(unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } as i64)),
        // To ignore SIGSYS is to outlive a violation.
        "ignore_violations" => Box::new(|| {
            // SAFETY: as above.
            result(unsafe { libc::signal(libc::SIGSYS, libc::SIG_IGN) } as i64)
        }),
        // The nearest to setproctitle(3).
        "set_name" => Box::new(|| {
            // SAFETY: the name is NUL-terminated.
            result(unsafe { libc::prctl(libc::PR_SET_NAME, c"sandboxed: at work".as_ptr()) })
        }),
        "uname" => Box::new(|| ours(nix::sys::utsname::uname())),
        "gethostname" => Box::new(|| {
            let mut name = [0_u8; 256];
            // SAFETY: the name has room for as many octets.
            result(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) })
        }),
        "getresid" => Box::new(|| ours(nix::unistd::getresuid()).and(ours(nix::unistd::getresgid()))),
        "is_terminal" => {
            let (ours, _theirs) = UnixStream::pair().ok()?;
            Box::new(move || {
                let _ = (std::io::stdout().is_terminal(), std::io::stdin().is_terminal(), ours);
                Ok(())
            })
        }
        "window_size" => ioctl(File::open("/dev/null").ok()?, libc::TIOCGWINSZ)?,
        "fake_input" => ioctl(File::open("/dev/null").ok()?, libc::TIOCSTI)?,
        "socketpair" => {
            let (mut ours, mut theirs) = UnixStream::pair().ok()?;
            Box::new(move || {
                let (mut a, mut b) = UnixStream::pair()?;
                theirs.write_all(b"x").and_then(|()| ours.read_exact(&mut [0]))?;
                a.write_all(b"x").and_then(|()| b.read_exact(&mut [0]))
            })
        }
        "gzip" => Box::new(|| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(&[7; 100_000])?;
            let packed = packed.finish()?;
            let mut octets = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut octets).map(drop)
        }),
        "panic" => Box::new(|| {
            std::panic::set_hook(Box::new(|_| ()));
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            Ok(())
        }),
        "abort" => Box::new(|| std::process::abort()),
        "memory" => Box::new(|| {
            let mut octets = vec![1_u8; 64 << 20];
            octets.extend_from_slice(&[2; 4096]);
            drop(std::hint::black_box(octets));
            Ok(())
        }),
        "syslog" => Box::new(|| {
            common::message::finish(common::Status::Nothing, "a test of the sandbox");
            Ok(())
        }),
        "syslog_without_openlog" => Box::new(|| {
            // SAFETY: both are NUL-terminated strings.
            unsafe {
                libc::closelog();
                libc::syslog(libc::LOG_DEBUG | libc::LOG_DAEMON, c"a test of the sandbox".as_ptr());
            }
            Ok(())
        }),
        "syslog_connected" => {
            let (log, daemon) = std::os::unix::net::UnixDatagram::pair().ok()?;
            Box::new(move || {
                let _ = &daemon;
                log.send(b"<31>a test of the sandbox").map(drop)
            })
        }
        "getrlimit" => {
            Box::new(|| ours(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)))
        }
        "limit_another" => Box::new(|| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            let parent = nix::unistd::getppid().as_raw();
            // SAFETY: nothing is read, and one limit written.
            result(unsafe { libc::prlimit(parent, libc::RLIMIT_CORE, null(), &raw mut limit) })
        }),
        "listener" => Box::new(|| {
            let allow = libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
            let program = libc::sock_fprog { len: 1, filter: (&raw const allow).cast_mut() };
            let (call, mode) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
            let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
            // SAFETY: the kernel reads a program of one instruction; both live until it returns.
            result(unsafe { libc::syscall(call, mode, flags, &raw const program) })
        }),
        "setrlimit" => {
            Box::new(|| ours(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)))
        }
        // SAFETY: nice takes a number.
        "nice" => Box::new(|| result(unsafe { libc::nice(1) })),
        // SAFETY: kill takes plain numbers; signal 0 does nothing.
        "kill_self" => Box::new(|| result(unsafe { libc::kill(libc::getpid(), 0) })),
        "kill_another" => {
            // It ends with its standard input, if nobody kills it before.
            let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().ok()?;
            Box::new(move || {
                let killed = other.kill();
                drop(other.stdin.take());
                killed.and_then(|()| other.wait().map(drop))
            })
        }
        // SAFETY: the child ends at once.
        "fork" => Box::new(|| match unsafe { libc::fork() } {
            // SAFETY: ends the child, and nothing else.
            0 => unsafe { libc::_exit(0) },
            child => result(child),
        }),
        // A child that dies of abort(3): of that, and not of a violation.
        "abort_in_child" => Box::new(|| {
            // SAFETY: the child ends at once.
            match unsafe { nix::unistd::fork() }? {
                nix::unistd::ForkResult::Child => std::process::abort(),
                nix::unistd::ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None)? {
                    nix::sys::wait::WaitStatus::Signaled(_, nix::sys::signal::SIGABRT, _) => Ok(()),
                    _ => Err(io::Error::from_raw_os_error(libc::ECHILD)),
                },
            }
        }),
        "command" => Box::new(|| {
            let done = Command::new("true").status()?.success();
            if done { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
        }),
        "execve" => Box::new(|| {
            // SAFETY: the name and both lists are NUL-terminated.
            result(unsafe { libc::execve(c"/bin/true".as_ptr(), [null()].as_ptr(), [null()].as_ptr()) })
        }),
        "current_exe" => Box::new(|| std::env::current_exe().map(drop)),
        "getpwnam" => Box::new(|| ours(nix::unistd::User::from_name("nobody"))),
        "getgrgid" => Box::new(|| ours(nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(0)))),
        // SAFETY: setuid takes a number.
        "become_root" => Box::new(|| result(unsafe { libc::setuid(0) })),
        "setgroups" => Box::new(|| ours(nix::unistd::setgroups(&[]))),
        // SAFETY: ptrace takes numbers here; nobody is traced by PTRACE_TRACEME before an exec.
        "ptrace" => Box::new(|| result(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })),
        #[cfg(target_arch = "x86_64")]
        "read_of_i386" => Box::new(|| {
            let mut answer: i64 = 3;
            // SAFETY: read(2) of i386, whose number is that of close(2) here, of no descriptor: nothing is read.
            unsafe {
                std::arch::asm!(
                    "push rbx", "mov ebx, -1", "int 0x80", "pop rbx",
                    inout("rax") answer, in("rcx") 0, in("rdx") 0, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            Err(io::Error::from_raw_os_error(-answer as i32))
        }),
        // SAFETY: unshare takes a number.
        "unshare" => Box::new(|| result(unsafe { libc::unshare(libc::CLONE_NEWUSER) })),
        "mount" => Box::new(|| {
            // SAFETY: NUL-terminated strings and no data.
            result(unsafe { libc::mount(c"none".as_ptr(), c"/mnt".as_ptr(), c"tmpfs".as_ptr(), 0, null()) })
        }),
        "new_user_namespace" => Box::new(|| {
            // SAFETY: like fork(2), with a flag; a child would end at once.
            match unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) } {
                // SAFETY: ends the child, and nothing else.
                0 => unsafe { libc::_exit(0) },
                child => result(child),
            }
        }),
        "promise_more" => Box::new(|| {
            sandbox::pledge("stdio rpath wpath cpath inet dns")
                .map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
        }),
        "unveil" => Box::new(|| {
            sandbox::unveil(&[(Path::new("/"), "r")]).map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
        }),
        // The network.
        "connect" => {
            let listener = TcpListener::bind("127.0.0.1:0").ok()?;
            let address = listener.local_addr().ok()?;
            Box::new(move || {
                let stream = TcpStream::connect_timeout(&address, Duration::from_secs(60))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                let _ = (stream.peer_addr()?, stream.take_error()?, &listener);
                Ok(())
            })
        }
        "connect_to" => {
            let address: SocketAddr = argument.parse().ok()?;
            Box::new(move || TcpStream::connect(address).map(drop))
        }
        "read_timeout" => {
            let (listener, stream) = connected();
            Box::new(move || {
                let _ = &listener;
                stream.set_read_timeout(Some(Duration::from_secs(60)))
            })
        }
        "nodelay" => {
            let (listener, stream) = connected();
            Box::new(move || {
                let _ = &listener;
                stream.set_nodelay(true)
            })
        }
        "fast_open" => {
            let SocketAddr::V4(address) = argument.parse().ok()? else { return None };
            let address = nix::sys::socket::SockaddrIn::from(address);
            Box::new(move || {
                use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
                let stream = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
                let fast = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
                ours(sendto(stream.as_raw_fd(), b"x", &address, fast))
            })
        }
        "attach_filter" => {
            let (listener, stream) = connected();
            Box::new(move || {
                let pass = libc::sock_filter { code: 6, jt: 0, jf: 0, k: u32::MAX };
                let program = libc::sock_fprog { len: 1, filter: (&raw const pass).cast_mut() };
                let size = size_of_val(&program) as libc::socklen_t;
                let at = (&raw const program).cast();
                let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
                let _ = &listener;
                // SAFETY: the kernel reads a program of one instruction; both live until it returns.
                result(unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, at, size) })
            })
        }
        "datagram_pair" => Box::new(|| std::os::unix::net::UnixDatagram::pair().map(drop)),
        "recvmsg" => {
            let (mut ours, theirs) = UnixStream::pair().ok()?;
            ours.write_all(b"x").ok()?;
            Box::new(move || {
                // SAFETY: all zero is a valid msghdr: one without room for anything.
                let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                // SAFETY: the kernel writes into the message alone.
                result(unsafe { libc::recvmsg(theirs.as_raw_fd(), &raw mut message, 0) } as i64)
            })
        }
        "mptcp_socket" => socket_of(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?,
        "ping_socket" => socket_of(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?,
        "routing_table" => socket(libc::AF_NETLINK, libc::SOCK_RAW)?,
        "listen" => Box::new(|| TcpListener::bind("127.0.0.1:0").map(drop)),
        "resolve_numeric" => Box::new(|| ("192.0.2.1", 53).to_socket_addrs().map(drop)),
        "resolve_name" => Box::new(|| ("localhost", 53).to_socket_addrs().map(drop)),
        "getifaddrs" => Box::new(|| ours(nix::ifaddrs::getifaddrs())),
        "tcp_socket" => socket(libc::AF_INET, libc::SOCK_STREAM)?,
        "udp_socket" => socket(libc::AF_INET6, libc::SOCK_DGRAM)?,
        "raw_socket" => socket(libc::AF_INET, libc::SOCK_RAW)?,
        "packet_socket" => socket(libc::AF_PACKET, libc::SOCK_RAW)?,
        "unix_socket" => socket(libc::AF_UNIX, libc::SOCK_STREAM)?,
        "rustls" => Box::new(|| {
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider);
            config.with_safe_default_protocol_versions().map(drop).map_err(io::Error::other)
        }),
        "agent" => {
            let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).ok()?;
            let target = shipper::uploader::Target {
                url: "https://localhost/".to_owned(),
                id: ("device".to_owned(), "id".to_owned()),
                file_field: "file".to_owned(),
                gzip: false,
                proxy: String::new(),
                certificates: key.cert.pem().into_bytes(),
            };
            Box::new(move || {
                let poster = shipper::post::Poster::new(&target, &shipper::post::LIMITS);
                poster.map(drop).map_err(io::Error::other)
            })
        }
        // As root: what comes before the first pledge.
        "privdrop_chroot" => {
            privdrop::PrivDrop::default().chroot(directory).user("nobody").apply().ok()?;
            Box::new(|| {
                let (user, group) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
                let ids = [user.real, user.effective, user.saved].map(|id| id.as_raw());
                let groups = [group.real, group.effective, group.saved].map(|id| id.as_raw());
                let mut others = [0; 16];
                // SAFETY: there is room for 16 groups. nix asks /proc how many there may be.
                let count = unsafe { libc::getgroups(16, others.as_mut_ptr()) };
                let one = count == 1 && others[0] == groups[0];
                let is_nobody =
                    ids == [ids[0]; 3] && groups == [groups[0]; 3] && ids[0] != 0 && groups[0] != 0;
                if is_nobody && one { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
            })
        }
        // pf(4), by number and size of the argument.
        "DIOCRADDTABLES" => pf(61, 1104)?,
        "DIOCRSETADDRS" => pf(69, 1104)?,
        "DIOCRGETTSTATS" => pf(64, 1104)?,
        "DIOCRDELTABLES" => pf(62, 1104)?,
        "DIOCRGETTABLES" => pf(63, 1104)?,
        "DIOCRADDADDRS" => pf(67, 1104)?,
        "DIOCRDELADDRS" => pf(68, 1104)?,
        "DIOCRGETADDRS" => pf(70, 1104)?,
        "DIOCRGETASTATS" => pf(71, 1104)?,
        "DIOCRTSTADDRS" => pf(73, 1104)?,
        "DIOCKILLSTATES" => pf(41, 224)?,
        "DIOCGETLIMIT" => pf(39, 8)?,
        _ => return None,
    })
}
