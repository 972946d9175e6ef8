//! What a program says: errors to standard error, words to standard output under `-v`, one line
//! to syslog at the end.
//!
//! Writing never fails a run: a closed standard output is no reason to leave a firewall without
//! its policy, so results of writes are ignored here, and only here.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

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
    // Where syslog(3) stamps its lines itself, it would read the time zone's file at the end of the
    // run, when no path is left.
    clock::date();
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
    let _line = without_progress();
    // In one write(2), for other processes of this program may have something to say too.
    let line = format!("{}: {}\n", program(), printable(what));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Prints a line to standard output under `-v`; cron mails whatever is printed without it.
pub fn say(what: impl fmt::Display) {
    if VERBOSE.load(Ordering::Relaxed) {
        print(what);
    }
}

/// Prints a line to standard output: the answer that was asked for.
pub fn print(what: impl fmt::Display) {
    let _line = without_progress();
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
    drop(without_progress());
    let priority = if status == Status::Failed { libc::LOG_ERR } else { libc::LOG_INFO };
    let line = CString::new(printable(summary)).unwrap_or_default();
    // SAFETY: both are NUL-terminated strings that outlive the call; the format takes one string.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
    status.into()
}

/// How long a line of progress stays at least: a terminal over a slow line shall not hold up the work.
const PROGRESS_STAYS: Duration = Duration::from_millis(100);

/// The columns of a line of progress. Another width is not asked for: that takes the promise tty.
const COLUMNS: usize = 79;

/// The line of progress.
struct Progress {
    /// When it was written last.
    written: Option<Instant>,
    /// Whether it is on the terminal now.
    is_shown: bool,
}

static PROGRESS: Mutex<Progress> = Mutex::new(Progress { written: None, is_shown: false });

/// Shows on a terminal how far the work is, in one line that the next one overwrites and that goes
/// before anything else is printed. May be called at any rate: most calls then do nothing. Where
/// standard error is no terminal, as under cron(8), nothing is shown.
pub fn progress(what: impl fmt::Display) {
    static IS_TERMINAL: OnceLock<bool> = OnceLock::new();
    if !IS_TERMINAL.get_or_init(|| std::io::stderr().is_terminal()) {
        return;
    }
    let mut line = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
    if line.written.is_some_and(|written| written.elapsed() < PROGRESS_STAYS) {
        return;
    }
    let _ = write!(std::io::stderr(), "{}", over_progress(&first_columns(&printable(what))));
    *line = Progress { written: Some(Instant::now()), is_shown: true };
}

/// Removes the line of progress, in a process whose parent prints next.
pub fn end_progress() {
    drop(without_progress());
}

/// Removes the line of progress, and keeps others from showing one while the result is held.
fn without_progress() -> MutexGuard<'static, Progress> {
    let mut line = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::take(&mut line.is_shown) {
        let _ = write!(std::io::stderr(), "{}", over_progress(""));
    }
    line
}

/// What puts a text in the place of the line of progress on every kind of terminal.
fn over_progress(text: &str) -> String {
    format!("\r{:COLUMNS$}\r{text}", "")
}

/// As much of a text as has room in a line: a letter that is not ASCII may take two columns.
fn first_columns(text: &str) -> String {
    let width = |letter: char| if letter.is_ascii() { 1 } else { 2 };
    let mut left = COLUMNS;
    let fits = |letter: &char| {
        let rest = left.checked_sub(width(*letter));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    text.chars().take_while(fits).collect()
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

    #[test]
    fn a_line_of_progress_has_room_in_a_line() {
        assert_eq!(first_columns(&"x".repeat(79)), "x".repeat(79));
        assert_eq!(first_columns(&"x".repeat(80)), "x".repeat(79));
        assert_eq!(first_columns(&"界".repeat(80)), "界".repeat(39));
        assert_eq!(first_columns(&format!("{}界x", "x".repeat(78))), "x".repeat(78));
        assert_eq!(first_columns(""), "");
    }

    /// Not a test of its own: what the next one runs, with other standard output and error.
    #[test]
    fn says_three_things() {
        if std::env::var_os("TSPF_SAYS").is_none() {
            return;
        }
        progress("one\x1b[2J");
        progress("too soon after the first");
        warn("two");
        std::thread::sleep(PROGRESS_STAYS);
        progress("three");
        finish(Status::Failed, "for syslog");
    }

    #[test]
    fn progress_is_for_terminals() {
        use std::process::{Command, Stdio};
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["message::tests::says_three_things", "--exact", "--nocapture"]).env("TSPF_SAYS", "");
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "tspf: two\n");

        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
        // The other side is closed, or Linux gives no end.
        drop(command);
        assert!(child.wait().unwrap().success());
        let mut said = Vec::new();
        // What fits in the terminal's buffer is still there. At its end Linux has an error.
        let _ = std::io::Read::read_to_end(&mut std::fs::File::from(terminal.master), &mut said);
        let none = over_progress("");
        // The terminal itself puts the carriage return before a newline.
        let wanted = format!("{none}one\\u{{1b}}[2J{none}tspf: two\r\n{none}three{none}");
        assert_eq!(String::from_utf8(said).unwrap(), wanted);
    }
}
