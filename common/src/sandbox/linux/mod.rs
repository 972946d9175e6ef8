//! Linux: a seccomp filter for the promises, Landlock for the paths.
//!
//! What is promised is a list of system calls; any other, or one with arguments that are not in the
//! list, kills the process with SIGSYS, and says which it was. Filters stay for good, add up, and
//! are inherited by children: promises only shrink. Unlike those of OpenBSD they also outlive
//! execve(2), so a program is run before the first pledge or not at all.

#![allow(unsafe_code)]

mod calls;
mod landlock;
mod violation;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use libc::{BPF_ABS, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};

use super::{HELD, Promises, set_of};
use crate::Error;
use crate::error::reason;
use calls::{ALLOWED, Check, Group, REFUSED};

/// What getaddrinfo(3) of glibc reads. A file that is not among these is not there for it: libraries
/// that nsswitch.conf(5) names besides `files` and `dns` are not loaded.
const RESOLVER: [&str; 7] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
];

/// What this kernel has.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    seccomp: bool,
    /// The version of Landlock's interface; 0 if there is none.
    landlock: i32,
}

/// Asked once, before the first filter forbids to ask.
fn kernel() -> Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    *KERNEL.get_or_init(|| {
        let trap = libc::SECCOMP_RET_TRAP;
        // SAFETY: the kernel reads one number, `trap`.
        let seccomp =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const trap) };
        Kernel { seccomp: seccomp == 0, landlock: landlock::version() }
    })
}

/// What is not enforced.
pub fn note() -> Option<&'static str> {
    match kernel() {
        Kernel { seccomp: false, landlock: 0 } => {
            Some("sandbox: not enforced, this kernel has neither seccomp nor Landlock")
        }
        Kernel { seccomp: false, .. } => {
            Some("sandbox: only paths are enforced, this kernel has no seccomp filters")
        }
        Kernel { landlock: 0, .. } => {
            Some("sandbox: only promises are enforced, paths and ports are not: this kernel has no Landlock")
        }
        Kernel { landlock, .. } if !landlock::knows_ports(landlock) => {
            Some("sandbox: ports are not enforced, this kernel's Landlock is too old")
        }
        _ => None,
    }
}

/// Landlock for the paths, and for the resolver's files as long as `dns` is promised.
pub fn unveil(paths: &[(&Path, &str)]) -> Result<(), Error> {
    let Kernel { landlock: version @ 1.., .. } = kernel() else { return Ok(()) };
    let mut paths = paths.to_vec();
    if held() & set_of("dns")? != 0 {
        paths.extend(RESOLVER.iter().map(|path| (Path::new(path), "r")));
    }
    landlock::paths(version, &paths).unwrap_or_else(|error| Err(Error::new("landlock", reason(&error))))
}

/// Landlock for ports.
pub fn connect_to(ports: &[u16]) -> Result<(), Error> {
    if !landlock::knows_ports(kernel().landlock) {
        return Ok(());
    }
    landlock::ports(ports).map_err(|error| Error::new("landlock", reason(&error)))
}

/// The filters. Who promises `dns` but no path may open the resolver's files and nothing else.
pub fn pledge(promises: &str, wanted: Promises) -> Result<(), Error> {
    let (dns, paths) = (set_of("dns")?, set_of("rpath wpath cpath getpw")?);
    if wanted & dns != 0 && wanted & paths == 0 && held() & set_of("unveil")? != 0 {
        unveil(&[])?;
    }
    if !kernel().seccomp {
        return Ok(());
    }
    violation::report(wanted);
    let refused = filter(REFUSED, wanted, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32));
    let allowed = filter(ALLOWED, wanted, SeccompAction::Trap, SeccompAction::Allow);
    let program = refused.and_then(|refused| Ok(one_after_the_other(refused, allowed?)));
    let installed =
        program.map_err(seccompiler::Error::from).and_then(|program| apply_filter_all_threads(&program));
    installed.map_err(|error| Error::new("pledge", format!("{promises}: {error}")))
}

fn held() -> Promises {
    HELD.load(Ordering::Relaxed)
}

/// `otherwise` for all calls but those of the groups whose promises are all wanted.
fn filter(
    groups: &[Group],
    wanted: Promises,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = BTreeSet::new();
    let promised = |promise: &&str| set_of(promise).is_ok_and(|promise| wanted & promise != 0);
    let groups = groups.iter().filter(|(promises, _)| promises.iter().all(promised));
    for call in groups.flat_map(|(_, calls)| *calls) {
        if call.checks.is_empty() {
            always.insert(call.number);
        }
        for checks in call.checks {
            let rule = SeccompRule::new(checks.iter().map(condition).collect::<Result<_, _>>()?)?;
            let of_call = rules.entry(call.number).or_default();
            // Several promises allow it.
            if !of_call.contains(&rule) {
                of_call.push(rule);
            }
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let program = SeccompFilter::new(rules, otherwise, then.clone(), arch)?.try_into()?;
    with_any_arguments(program, &always, then.into()).ok_or(BackendError::EmptyRule)
}

/// Makes a program say `then` to these calls before it looks at any other, whatever their arguments.
/// They are most, and a comparison for each is a fifth of what seccompiler makes of a call without
/// rules: the kernel translates a filter in time by its length. `None` for a program without rules.
fn with_any_arguments(mut program: BpfProgram, calls: &BTreeSet<i64>, then: u32) -> Option<BpfProgram> {
    let instruction = |code: u32, jt: usize, k: u32| {
        // Too far for a jump: then it is none, and the call is not in the list.
        sock_filter { code: code as u16, jt: u8::try_from(jt).unwrap_or(0), jf: 0, k }
    };
    let compare = calls.iter().enumerate().map(|(place, number)| {
        let number = u32::try_from(*number).unwrap_or(u32::MAX);
        instruction(BPF_JMP | BPF_JEQ | BPF_K, calls.len() - place, number)
    });
    let end = [instruction(BPF_JMP | BPF_JA, 0, 1), instruction(BPF_RET | BPF_K, 0, then)];
    // Behind the check of the architecture, and the instruction that loads the call's number.
    let load = |at: &sock_filter| u32::from(at.code) == BPF_LD | BPF_W | BPF_ABS && at.k == 0;
    let behind = program.iter().position(load)? + 1;
    drop(program.splice(behind..behind, compare.chain(end)));
    Some(program)
}

/// What the first program allows, the second decides.
fn one_after_the_other(mut first: BpfProgram, second: BpfProgram) -> BpfProgram {
    let length = first.len();
    for (place, at) in first.iter_mut().enumerate() {
        if u32::from(at.code) == BPF_RET | BPF_K && at.k == libc::SECCOMP_RET_ALLOW {
            (at.code, at.k) = ((BPF_JMP | BPF_JA) as u16, (length - place - 1) as u32);
        }
    }
    first.extend(second);
    first
}

fn condition(check: &Check) -> Result<SeccompCondition, BackendError> {
    let (place, operator, value) = match *check {
        Check::Is(place, mask, value) if mask == u64::from(u32::MAX) => (place, SeccompCmpOp::Eq, value),
        Check::Is(place, mask, value) => (place, SeccompCmpOp::MaskedEq(mask), value),
        Check::Not(place, value) => (place, SeccompCmpOp::Ne, value),
        Check::Own(place) => (place, SeccompCmpOp::Eq, std::process::id().into()),
    };
    // The kernel ignores the upper half of an int, a caller may leave anything there.
    let length = match check {
        Check::Is(_, mask, _) if *mask > u64::from(u32::MAX) => SeccompCmpArgLen::Qword,
        _ => SeccompCmpArgLen::Dword,
    };
    SeccompCondition::new(place, length, operator, value)
}

/// Without this a process that is not root may install neither filter nor rules. It also keeps a
/// program that is set-user-ID from gaining anything.
fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl(2) takes plain numbers here.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
