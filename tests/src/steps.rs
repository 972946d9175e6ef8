//! Runs an unmodified program, and stops it before each system call: to let something else happen at that moment, to fail the
//! call, or to kill the program there.
#![forbid(unsafe_code)]

use crate::pf::Refused;
use crate::pf::device::{every_call, writes};
use crate::pf::memory::ProcessMemory;
use crate::pf::supervise::{self, Answer};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// More time than any program needs.
pub const AMPLE: Duration = Duration::from_secs(120);

/// A system call that is about to be made, by the program or a child that it forked.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How many calls the program itself has made, with this one: it stands still while a child's call is looked at.
    pub own: usize,
    /// How many calls it and its children have made, with this one.
    pub all: usize,
    /// The process that makes it.
    pub process: u32,
    /// It is a child.
    pub of_child: bool,
    /// It changes a file or directory, or sends something.
    pub writes: bool,
}

/// What becomes of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    Go,
    /// Whoever wants to make it is killed before.
    Kill,
    /// Whoever wants to make it dies before, as of a fault of its own.
    Crash,
    /// It is not made, and fails with this errno.
    Fail(i32),
}

/// Runs a program to its end and returns what it printed. `before` is asked before each call; nobody who runs under it makes
/// another call until it has answered. When the time limit is over the program and its children are killed.
///
/// # Errors
/// What the kernel refused, or the program ran longer than the limit.
pub fn run(
    command: &mut Command,
    limit: Duration,
    mut before: impl FnMut(Step) -> Fate + Send + 'static,
) -> Result<Output, Refused> {
    let (mut program, mut own, mut all) = (None, 0, 0);
    let answer = move |request: &supervise::Request, _: &mut ProcessMemory| {
        // The first to make one is the program: it forks no child before.
        let of_child = *program.get_or_insert(request.thread) != request.thread;
        all += 1;
        own += usize::from(!of_child);
        let fate = before(Step { own, all, process: request.thread, of_child, writes: writes(request) });
        Ok(match fate {
            Fate::Go => Answer::Continue,
            Fate::Kill => Answer::Kill(libc::SIGKILL),
            Fate::Crash => Answer::Kill(libc::SIGABRT),
            Fate::Fail(errno) => Answer::Fail(errno),
        })
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    supervise::spawn(command, &every_call(), answer, Some(limit))?.output()
}
