//! Every row that was seen on OpenBSD 7.8: the same promises and the same call give the same verdict here, or the difference of the
//! systems is stated.

use std::collections::BTreeSet;

use tests::machine::skip;

use super::Try;
use super::Verdict::{self, Fails, Killed, Works};

/// The rows of the table of what was seen, by what they say, and the calls here that stand for each.
const ROWS: [(&str, &str); 31] = [
    (
        "files are made, written, linked, removed, renamed",
        "create create_new hard_link remove_file create_dir rename",
    ),
    ("rename needs rpath", "rename"),
    ("fchmod and futimens need fattr", "set_permissions set_modified"),
    ("fchown needs fattr", "fchown"),
    ("flock needs flock", "try_lock"),
    (
        "directories and status need rpath",
        "metadata symlink_metadata read_dir canonicalize current_dir sync_directory open_nofollow",
    ),
    ("a directory's descriptor gives no right", "openat"),
    (
        "what stdio is for",
        "mmap_file thread parallelism clocks localtime hash_map umask alarm signal set_name uname \
         gethostname getresid is_terminal socketpair gzip panic memory",
    ),
    ("TIOCGWINSZ needs tty", "window_size"),
    ("a TCP connection and its options need inet", "connect"),
    ("setsockopt needs inet", "read_timeout"),
    ("a numeric address is no name", "resolve_numeric"),
    ("a name needs dns", "resolve_name"),
    ("a program needs proc and exec", "command"),
    ("a program of another user needs id", "command"),
    ("current_exe needs ps", "current_exe"),
    ("getifaddrs needs inet or route", "getifaddrs"),
    ("the routing table needs route", "routing_table"),
    ("getpwnam needs getpw", "getpwnam"),
    ("syslog(3)", "syslog syslog_without_openlog"),
    ("syslog by a socket that was connected before", "syslog_connected"),
    ("kill needs proc", "kill_another"),
    ("setrlimit needs proc", "setrlimit"),
    ("setuid(0) needs id", "become_root"),
    ("DIOCRADDTABLES and DIOCRSETADDRS without root", "DIOCRADDTABLES DIOCRSETADDRS DIOCRGETTSTATS"),
    (
        "other requests of pf",
        "DIOCRADDADDRS DIOCRDELADDRS DIOCRGETADDRS DIOCRGETTABLES DIOCRTSTADDRS DIOCRGETASTATS DIOCRDELTABLES \
         DIOCKILLSTATES DIOCGETLIMIT",
    ),
    ("privdrop with chroot, before stdio", "privdrop_chroot"),
    ("ring's provider, a ureq agent", "rustls agent"),
    ("/dev/null", "open=/dev/null"),
    ("resolv.conf by the program itself", "open=/etc/resolv.conf"),
    ("unveil needs unveil", "unveil"),
];

/// What OpenBSD says.
const SEEN: &[(&str, &str, Verdict)] = &[
    ("stdio rpath wpath cpath", "create", Works),
    ("stdio rpath wpath cpath", "create_new", Works),
    ("stdio rpath wpath cpath", "hard_link", Works),
    ("stdio rpath wpath cpath", "remove_file", Works),
    ("stdio rpath wpath cpath", "create_dir", Works),
    ("stdio rpath wpath cpath", "rename", Works),
    ("stdio wpath cpath", "rename", Killed),
    ("stdio rpath wpath cpath", "set_permissions", Killed),
    ("stdio rpath wpath cpath", "set_modified", Killed),
    ("stdio rpath wpath cpath", "try_lock", Killed),
    ("stdio rpath wpath cpath flock", "try_lock", Works),
    ("stdio rpath", "metadata", Works),
    ("stdio rpath", "symlink_metadata", Works),
    ("stdio rpath", "read_dir", Works),
    ("stdio rpath", "canonicalize", Works),
    ("stdio rpath", "current_dir", Works),
    ("stdio rpath", "sync_directory", Works),
    ("stdio rpath", "open_nofollow", Works),
    ("stdio", "openat", Killed),
    ("stdio", "mmap_file", Works),
    ("stdio", "thread", Works),
    ("stdio", "clocks", Works),
    ("stdio", "localtime", Works),
    ("stdio", "hash_map", Works),
    ("stdio", "umask", Works),
    ("stdio", "alarm", Works),
    ("stdio", "signal", Works),
    ("stdio", "uname", Works),
    ("stdio", "gethostname", Works),
    ("stdio", "getresid", Works),
    ("stdio", "is_terminal", Works),
    ("stdio", "socketpair", Works),
    ("stdio", "gzip", Works),
    ("stdio", "panic", Works),
    ("stdio", "memory", Works),
    ("stdio", "window_size", Killed),
    ("stdio inet", "connect", Works),
    ("stdio", "read_timeout", Killed),
    ("stdio inet", "resolve_numeric", Works),
    ("stdio inet", "resolve_name", Killed),
    ("stdio inet dns", "resolve_name", Works),
    ("stdio", "getifaddrs", Killed),
    ("stdio", "routing_table", Killed),
    ("stdio", "getpwnam", Killed),
    ("stdio getpw", "getpwnam", Works),
    ("stdio", "syslog", Works),
    ("stdio", "syslog_without_openlog", Works),
    ("stdio", "syslog_connected", Works),
    ("stdio", "kill_another", Killed),
    ("stdio proc", "kill_another", Works),
    ("stdio", "setrlimit", Killed),
    ("stdio", "become_root", Killed),
    ("stdio id", "become_root", Fails(libc::EPERM)),
    ("stdio pf", "DIOCRADDADDRS", Killed),
    ("stdio pf", "DIOCRDELADDRS", Killed),
    ("stdio pf", "DIOCRGETADDRS", Killed),
    ("stdio pf", "DIOCRGETTABLES", Killed),
    ("stdio pf", "DIOCRTSTADDRS", Killed),
    ("stdio pf", "DIOCRGETASTATS", Killed),
    ("stdio pf", "DIOCRDELTABLES", Killed),
    ("stdio pf", "DIOCKILLSTATES", Killed),
    ("stdio pf", "DIOCGETLIMIT", Killed),
    ("stdio", "rustls", Works),
    ("stdio", "agent", Works),
    ("stdio", "open=/etc/resolv.conf", Killed),
    ("stdio rpath", "unveil", Killed),
];

/// Where Linux differs, and why.
const DIFFERENT: &[(&str, &str, Verdict, &str)] = &[
    // /dev/null is no pf: the call reaches the driver, which does not know it. tsload's tests swap on a model.
    ("stdio pf", "DIOCRADDTABLES", Fails(libc::ENOTTY), "there is no pf here, but the call is let through"),
    ("stdio pf", "DIOCRSETADDRS", Fails(libc::ENOTTY), "as above"),
    ("stdio pf", "DIOCRGETTSTATS", Fails(libc::ENOTTY), "as above"),
    ("stdio", "DIOCRSETADDRS", Killed, "as above: without pf it is not"),
    ("stdio", "set_name", Works, "Linux has no setproctitle(3); the name of a thread is the nearest"),
    ("stdio", "parallelism", Killed, "std reads /proc and /sys for it; OpenBSD has a sysctl"),
    ("stdio", "open=/dev/null", Killed, "a filter sees no names; OpenBSD 8.0 kills too"),
    (
        "stdio inet",
        "getifaddrs",
        Fails(libc::ENOSYS),
        "netlink(7) is refused: nobody needs it, and it could do more",
    ),
    ("stdio", "current_exe", Killed, "a link in /proc, so it needs rpath; OpenBSD has a sysctl, and ps"),
    ("stdio rpath", "current_exe", Works, "as above"),
    ("stdio rpath wpath cpath", "fchown", Killed, "fattr and chown are promised by nobody here"),
    (
        "stdio proc",
        "command",
        Fails(libc::EPERM),
        "the new process is killed: exec is promised by nobody here: a filter outlives execve(2)",
    ),
    ("stdio rpath proc id", "command", Fails(libc::EPERM), "as above"),
];

/// Rows whose promises no process of the suite makes: the word itself is refused.
const UNKNOWN: [&str; 8] = ["fattr", "chown", "exec", "ps", "route", "unix", "tmppath", "tty"];

#[test]
fn the_same_call_has_the_same_verdict_as_on_openbsd() {
    let mut wrong = Vec::new();
    let different = DIFFERENT.iter().map(|(promises, call, expected, _)| (promises, call, expected));
    for (promises, call, expected) in SEEN.iter().map(|(a, b, c)| (a, b, c)).chain(different) {
        let (verdict, said) = Try::new(promises, call).run();
        if verdict != *expected {
            wrong.push(format!("{promises}: {call}: {verdict:?} for {expected:?} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_is_tried() {
    let of_rows: BTreeSet<&str> = ROWS.iter().flat_map(|(_, calls)| calls.split_whitespace()).collect();
    let tried = SEEN.iter().map(|(_, call, _)| *call).chain(DIFFERENT.iter().map(|(_, call, ..)| *call));
    let tried: BTreeSet<&str> = tried.chain(["privdrop_chroot"]).collect();
    assert_eq!(of_rows, tried);
}

#[test]
fn root_is_gone_before_the_first_promise() {
    if !nix::unistd::geteuid().is_root() {
        return skip("root, for dropping it");
    }
    assert_eq!(Try { as_root: true, ..Try::new("stdio", "privdrop_chroot") }.verdict(), Works);
}

#[test]
fn names_are_looked_up_after_unveil_locked_all_else() {
    let look_up = Try { paths: "@=rwc", ..Try::new("stdio rpath wpath cpath inet dns", "resolve_name") };
    assert_eq!(look_up.verdict(), Works);
    assert_eq!(Try { call: "open=/etc/passwd", ..look_up }.verdict(), Fails(libc::EACCES));
    assert_eq!(Try { call: "create_at=@/new", ..look_up }.verdict(), Works);
    assert_eq!(Try { call: "create_at=/var/tmp/new", ..look_up }.verdict(), Fails(libc::EACCES));
}

#[test]
fn promises_that_nobody_makes_are_no_words() {
    for promise in UNKNOWN {
        let error = common::sandbox::pledge(&format!("stdio {promise}")).unwrap_err().to_string();
        assert_eq!(error, format!("pledge: {promise}: unknown promise"));
    }
}

#[test]
fn promises_only_shrink() {
    assert_eq!(Try::new("stdio inet", "promise_more").verdict(), Fails(libc::EPERM));
    assert_eq!(Try::new("stdio rpath inet / stdio rpath", "tcp_socket").verdict(), Killed);
    assert_eq!(Try::new("stdio rpath inet / stdio inet", "metadata").verdict(), Killed);
}

#[test]
fn opens_are_told_apart() {
    for (promises, call, expected) in [
        ("stdio wpath", "open=@/file", Killed),
        ("stdio rpath", "open_for_writing=@/file", Killed),
        ("stdio rpath wpath", "open_for_writing=@/file", Works),
        ("stdio rpath wpath", "create_at=@/new", Killed),
        ("stdio wpath cpath", "create_at=@/new", Works),
        ("stdio rpath", "truncate", Killed),
        ("stdio rpath wpath", "remove_file", Killed),
        ("stdio wpath cpath", "hard_link", Killed),
        ("stdio", "fstat", Works),
    ] {
        assert_eq!(Try::new(promises, call).verdict(), expected, "{promises}: {call}");
    }
}

/// What OpenBSD has not, or allows: ways around a promise or a port, and what nobody needs.
#[test]
fn there_is_no_way_around() {
    let mut wrong = Vec::new();
    for (promises, call, expected) in [
        // MPTCP is not what Landlock's rules for ports call TCP.
        ("stdio inet dns", "mptcp_socket", Killed),
        ("stdio inet dns", "ping_socket", Killed),
        // A pair of datagram sockets can be connected to other processes' sockets.
        ("stdio inet", "datagram_pair", Killed),
        // It may bring a descriptor, for which OpenBSD has the promise recvfd.
        ("stdio", "recvmsg", Killed),
        ("stdio", "listener", Killed),
        ("stdio inet", "attach_filter", Killed),
        ("stdio", "limit_another", Killed),
        ("stdio id", "limit_another", Killed),
        ("stdio wpath", "metadata", Killed),
        ("stdio wpath", "current_dir", Killed),
        ("stdio proc", "abort_in_child", Works),
        // Its number is that of a call which is always allowed.
        #[cfg(target_arch = "x86_64")]
        ("stdio", "read_of_i386", Killed),
    ] {
        let (verdict, said) = Try::new(promises, call).run();
        if verdict != expected {
            wrong.push(format!("{promises}: {call}: {verdict:?} for {expected:?} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_violation_is_named() {
    let (verdict, said) = Try::new("stdio", "tcp_socket").run();
    assert_eq!(verdict, Killed);
    assert_eq!(
        said,
        format!("sandboxed: pledge: socket, system call {}, needs inet or dns\n", libc::SYS_socket)
    );
    let (verdict, said) = Try::new("stdio getpw", "mmap_executable").run();
    assert_eq!(verdict, Killed);
    assert_eq!(
        said,
        format!("sandboxed: pledge: mmap, system call {}, has forbidden arguments\n", libc::SYS_mmap)
    );
}

#[test]
fn ports_are_those_that_were_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (call, port) = (format!("connect_to={address}"), address.port().to_string());
    assert_eq!(Try { ports: &port, ..Try::new("stdio inet", &call) }.verdict(), Works);
    assert_eq!(Try { ports: "53", ..Try::new("stdio inet", &call) }.verdict(), Fails(libc::EACCES));
    assert_eq!(Try { ports: "53", ..Try::new("stdio inet dns", &call) }.verdict(), Fails(libc::EACCES));
    // No connect(2), and so past the rules.
    let call = format!("fast_open={address}");
    assert_eq!(Try { ports: "53", ..Try::new("stdio inet dns", &call) }.verdict(), Killed);
}
