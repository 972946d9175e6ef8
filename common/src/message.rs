//! What a program says: errors to standard error, words to standard output under `-v`, one line
//! to syslog at the end.
//!
//! Writing never fails a run: a closed standard output is no reason to leave a firewall without
//! its policy, so results of writes are ignored here, and only here.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a run ended, and its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Something changed: 0.
    Changed,
    /// Something failed: 1.
    Failed,
    /// There was nothing to do: 2.
    Nothing,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Changed => 0,
            Status::Failed => 1,
            Status::Nothing => 2,
        })
    }
}

static PROGRAM: OnceLock<CString> = OnceLock::new();
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Sets the program's name for all messages and opens the connection to syslog.
///
/// To be called first: under pledge(2), syslog(3) needs only `stdio`.
pub fn init(program: &str) {
    let name = CString::new(program).unwrap_or_default();
    let name = PROGRAM.get_or_init(|| name);
    // SAFETY: openlog keeps the pointer; it points into a static that is never changed or freed.
    unsafe { libc::openlog(name.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY, libc::LOG_DAEMON) };
}

/// Makes `say` print.
pub fn set_verbose(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// The program's name as given to `init`.
pub fn program() -> &'static str {
    PROGRAM.get().and_then(|name| name.to_str().ok()).unwrap_or("tspf")
}

/// Prints `program: what` to standard error.
pub fn warn(what: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}: {}", program(), printable(what));
}

/// Prints a line to standard output under `-v`; cron mails whatever is printed without it.
pub fn say(what: impl fmt::Display) {
    if VERBOSE.load(Ordering::Relaxed) {
        print(what);
    }
}

/// Prints a line to standard output: the answer that was asked for.
pub fn print(what: impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", printable(what)).and_then(|()| out.flush());
}

/// Ends a run that was called the wrong way: the cause and the usage go to standard error.
pub fn misuse(cause: impl fmt::Display, usage: &str) -> ExitCode {
    warn(cause);
    let _ = writeln!(std::io::stderr(), "{usage}");
    Status::Failed.into()
}

/// Ends a run: one line to syslog, and the exit code.
pub fn finish(status: Status, summary: impl fmt::Display) -> ExitCode {
    let priority = if status == Status::Failed { libc::LOG_ERR } else { libc::LOG_INFO };
    let line = CString::new(printable(summary)).unwrap_or_default();
    // SAFETY: both are NUL-terminated strings that outlive the call; the format takes one string.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
    status.into()
}

/// The text with control characters escaped: names of files and words of servers may hold some,
/// and a terminal would obey them.
fn printable(what: impl fmt::Display) -> String {
    let text = what.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut line, letter| {
        match letter {
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(printable("a\x1b[31mb\nc\u{9b}d"), "a\\u{1b}[31mb\\nc\\u{9b}d");
        assert_eq!(printable("plain: text, né"), "plain: text, né");
    }
}
