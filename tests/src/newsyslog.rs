//! newsyslog and pflogd as a machine of single steps: every call that they make on the log directory is one, so that a test can
//! let anything happen in between.
//!
//! In the order of OpenBSD's usr.bin/newsyslog/newsyslog.c (`rotate`, `dotrim`, `main`, `compress_log`) and sbin/pflogd/pflogd.c
//! (`reset_dump`): the oldest goes, N becomes N+1, a new file is made, the log becomes `.0`, the new file the log; then the
//! command sends pflogd a SIGHUP, at which it flushes into the old file, opens the new one and writes its header; last,
//! after a pause, gzip replaces `.0`.
#![forbid(unsafe_code)]

use crate::machine::Machine;
use crate::pflog;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::PathBuf;

/// A line of newsyslog.conf.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// How many old logs are kept.
    pub count: u16,
    /// Flag Z: gzip them.
    pub compress: bool,
    /// Flag B: write nothing of its own into the log.
    pub binary: bool,
}

/// What is left to be done of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Remove(u16),
    MoveUp(u16),
    TurnedOver,
    MakeNew,
    MoveLive,
    MoveNew,
    HangUp,
    Reopen,
    WriteHeader,
    Pause,
    BeginGzip,
    WriteGzip,
    EndGzip,
}

/// A log directory, `log/pflog` on a machine, with its writer and its rotator.
#[derive(Debug)]
pub struct Newsyslog {
    pflog: PathBuf,
    line: Line,
    steps: VecDeque<Step>,
    /// The new log, which has no header yet.
    opened: Option<File>,
    /// The log that pflogd writes to; None while it is between two, or where it found text in the new one.
    open: Option<File>,
    /// What it has not written yet.
    buffer: Vec<u8>,
    /// Whose the files are, if not the caller's.
    owner: Option<u32>,
}

const TURNED_OVER: &str = "2026-11-21T22:00:00.000Z fw newsyslog[123]: logfile turned over\n";

impl Newsyslog {
    /// The writer has just been started: there is a log with its header.
    #[must_use]
    pub fn new(machine: &Machine, line: Line) -> Newsyslog {
        let owner = nix::unistd::geteuid().is_root().then(|| machine.uid());
        let mut all = Newsyslog {
            pflog: machine.path("log/pflog"),
            line,
            steps: VecDeque::new(),
            opened: None,
            open: None,
            buffer: Vec::new(),
            owner,
        };
        drop(all.create(""));
        all.take(Step::Reopen);
        all.take(Step::WriteHeader);
        all
    }

    /// pf logs a packet: a record of [`pflog::record`]. pflogd keeps it until it writes.
    pub fn log(&mut self, record: &[u8]) {
        self.buffer.extend(record);
    }

    /// pflogd writes what it has kept, as it does each minute.
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.open {
            file.write_all(&self.buffer).expect("write to the log");
            self.buffer.clear();
        }
    }

    /// Whether no rotation is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// newsyslog begins a rotation, if it is not at one.
    pub fn rotate(&mut self) {
        if !self.is_idle() {
            return;
        }
        let Line { count, compress, binary } = self.line;
        self.steps.push_back(Step::Remove(count - 1));
        self.steps.extend((0..count - 1).rev().map(Step::MoveUp));
        if !binary {
            self.steps.push_back(Step::TurnedOver);
        }
        self.steps.extend([Step::MakeNew, Step::MoveLive, Step::MoveNew]);
        self.steps.extend([Step::HangUp, Step::Reopen, Step::WriteHeader, Step::Pause]);
        if compress {
            self.steps.extend([Step::BeginGzip, Step::WriteGzip, Step::EndGzip]);
        }
    }

    /// Takes the next step of a rotation. False if there is none.
    pub fn step(&mut self) -> bool {
        let step = self.steps.pop_front();
        step.map(|step| self.take(step)).is_some()
    }

    /// Takes all steps until pflogd has opened the new log: that is when newsyslog runs the hook.
    pub fn step_to_hook(&mut self) {
        while self.steps.contains(&Step::WriteHeader) {
            self.step();
        }
    }

    /// Whether the next rotation deletes a log.
    #[must_use]
    pub fn oldest(&self) -> Option<PathBuf> {
        ["", ".gz"]
            .map(|suffix| self.name(self.line.count - 1, suffix))
            .into_iter()
            .find(|path| path.exists())
    }

    fn name(&self, number: u16, suffix: &str) -> PathBuf {
        self.beside(&format!(".{number}{suffix}"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.pflog.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn create(&self, suffix: &str) -> File {
        let path = self.beside(suffix);
        let file = OpenOptions::new().append(true).create_new(true).open(&path).expect("a new file");
        if let Some(uid) = self.owner {
            chown(&path, Some(uid), Some(uid)).expect("chown");
        }
        file
    }

    fn take(&mut self, step: Step) {
        let turned_over = |path: PathBuf| {
            let mut file = OpenOptions::new().append(true).open(path).expect("the log");
            file.write_all(TURNED_OVER.as_bytes()).expect("write to the log");
        };
        match step {
            Step::Remove(number) => {
                for suffix in ["", ".gz"] {
                    let _ = fs::remove_file(self.name(number, suffix));
                }
            }
            Step::MoveUp(number) => {
                // Of two forms newsyslog takes the one that its flag speaks for, and leaves the other.
                let mut suffixes = ["", ".gz"];
                if self.line.compress {
                    suffixes.reverse();
                }
                if let Some(suffix) = suffixes.into_iter().find(|suffix| self.name(number, suffix).exists()) {
                    fs::rename(self.name(number, suffix), self.name(number + 1, suffix)).expect("rename");
                }
            }
            Step::TurnedOver => turned_over(self.pflog.clone()),
            Step::MakeNew => {
                drop(self.create(".XXXXXXXXXX"));
                if !self.line.binary {
                    turned_over(self.beside(".XXXXXXXXXX"));
                }
            }
            Step::MoveLive => fs::rename(&self.pflog, self.name(0, "")).expect("rename"),
            Step::MoveNew => fs::rename(self.beside(".XXXXXXXXXX"), &self.pflog).expect("rename"),
            Step::HangUp => {
                self.flush();
                self.open = None;
            }
            Step::Reopen => {
                let file = OpenOptions::new().append(true).open(&self.pflog).expect("the new log");
                // "Invalid/incompatible log file, move it away": it then writes no more.
                let is_empty = file.metadata().expect("fstat").len() == 0;
                self.opened = is_empty.then_some(file);
            }
            Step::WriteHeader => {
                self.open = self.opened.take();
                if let Some(file) = &mut self.open {
                    file.write_all(&pflog::file_header()).expect("write to the log");
                }
            }
            Step::Pause => {}
            Step::BeginGzip => drop(self.create(".0.gz")),
            Step::WriteGzip => {
                let log = fs::read(self.name(0, "")).expect("the log that gzip reads");
                fs::write(self.name(0, ".gz"), pflog::gzip(&log)).expect("write to the new form");
            }
            Step::EndGzip => fs::remove_file(self.name(0, "")).expect("unlink"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> std::net::IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    /// The logs that are there, oldest first, and their records.
    fn found(machine: &Machine) -> Vec<(String, usize)> {
        let mut files: Vec<_> =
            machine.snapshot("log").into_iter().map(|(path, _, octets)| (path, octets)).collect();
        files.sort();
        files
            .into_iter()
            .rev()
            .map(|(path, octets)| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let octets = if name.ends_with(".gz") {
                    let mut plain = Vec::new();
                    std::io::Read::read_to_end(
                        &mut flate2::read::GzDecoder::new(octets.as_slice()),
                        &mut plain,
                    )
                    .unwrap();
                    plain
                } else {
                    octets
                };
                let record = pflog::record(host(), 0, 0).len();
                assert_eq!((octets.len() - 24) % record, 0, "{name}");
                (name, (octets.len() - 24) / record)
            })
            .collect()
    }

    #[test]
    fn a_record_is_in_one_log_and_the_oldest_go() {
        let machine = Machine::new();
        let mut newsyslog = Newsyslog::new(&machine, Line { count: 3, compress: true, binary: true });
        for rotation in 1..=5 {
            for _ in 0..rotation {
                newsyslog.log(&pflog::record(host(), 0, 0));
            }
            assert_eq!(newsyslog.oldest().is_some(), rotation > 3);
            newsyslog.rotate();
            while newsyslog.step() {}
        }
        let expected = [("pflog.2.gz", 3), ("pflog.1.gz", 4), ("pflog.0.gz", 5), ("pflog", 0)];
        assert_eq!(found(&machine), expected.map(|(name, records)| (name.to_owned(), records)));
    }

    #[test]
    fn without_flag_b_pflogd_gives_up() {
        let machine = Machine::new();
        let mut newsyslog = Newsyslog::new(&machine, Line { count: 3, compress: false, binary: false });
        newsyslog.rotate();
        newsyslog.step_to_hook();
        assert_eq!(fs::read_to_string(machine.path("log/pflog")).unwrap(), TURNED_OVER);
        newsyslog.log(b"lost");
        newsyslog.flush();
        assert_eq!(fs::read_to_string(machine.path("log/pflog")).unwrap(), TURNED_OVER);
    }
}
