//! Running, measuring and reporting.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use tests::machine::{Machine, words};

/// How often everything is run.
const RUNS: usize = 5;

/// What was measured of one run, or of all of them.
#[derive(Clone, Copy)]
pub struct Run {
    /// Milliseconds.
    pub time: f64,
    /// The largest resident set of a process, in KiB; 0 if it was not measured.
    pub peak: u64,
}

/// A goal in words, and whether it was met.
pub type Goal = (String, bool);

/// The goal of being so many times as fast as a rival.
pub fn times_as_fast(goal: f64, ratio: f64) -> Goal {
    (format!("{goal} x"), ratio >= goal)
}

/// Runs all of these in turn, so that a busy moment of the machine hits them alike; their median times and largest peaks.
pub fn medians<const COUNT: usize>(contestants: [&mut dyn FnMut() -> Run; COUNT]) -> [Run; COUNT] {
    let mut runs = [const { Vec::new() }; COUNT];
    let mut contestants = contestants;
    for _ in 0..RUNS {
        for (contestant, runs) in contestants.iter_mut().zip(&mut runs) {
            runs.push(contestant());
        }
    }
    runs.map(|mut runs| {
        runs.sort_by(|a, b| a.time.total_cmp(&b.time));
        Run { time: runs[RUNS / 2].time, peak: runs.iter().map(|run| run.peak).max().unwrap_or(0) }
    })
}

/// The same of one.
pub fn median(mut contestant: impl FnMut() -> Run) -> Run {
    let [run] = medians([&mut contestant]);
    run
}

/// Runs a program of the suite that must end with this status.
pub fn program(machine: &Machine, name: &str, status: i32) -> Run {
    program_with(machine, name, status, |command| command.output().expect("run"))
}

/// The same, where the caller runs it.
pub fn program_with(
    machine: &Machine,
    name: &str,
    status: i32,
    run: impl FnOnce(&mut Command) -> Output,
) -> Run {
    let real = machine.program(name);
    let output = run(measuring(machine).arg(real.get_program()).args(real.get_args()).env("TZ", "UTC"));
    outcome(&output, status)
}

/// Runs a shell script in the machine's `bench` directory, which must end well, sorting as the C locale does, which is fast.
pub fn script(machine: &Machine, text: &str) -> Run {
    let mut command = measuring(machine);
    command.current_dir(machine.path("bench")).env("LC_ALL", "C").args(["/bin/sh", "-c", text]);
    outcome(&command.output().expect("run"), 0)
}

/// This program, ready to run and measure another as the machine's user.
fn measuring(machine: &Machine) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("current_exe"));
    command.arg("--measure").env("MEASURE_UID", machine.uid().to_string());
    command
}

fn outcome(output: &Output, status: i32) -> Run {
    let said = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<&str> = said.split_whitespace().collect();
    let [code, time, peak] = fields[..] else { panic!("{}", words(output)) };
    assert_eq!(code, status.to_string(), "{}", words(output));
    Run { time: time.parse().expect("a time"), peak: peak.parse().expect("a size") }
}

/// Runs a program and prints its exit status, its time in milliseconds and its peak in KiB.
pub fn child(command: Vec<OsString>) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else { return ExitCode::FAILURE };
    let mut child = Command::new(program);
    child.args(arguments).stdout(Stdio::null());
    if let Some(uid) = std::env::var("MEASURE_UID")
        .ok()
        .and_then(|uid| uid.parse().ok())
        .filter(|_| nix::unistd::geteuid().is_root())
    {
        child.uid(uid).gid(uid);
    }
    let start = Instant::now();
    let status = child.status().expect("run");
    let time = start.elapsed().as_secs_f64() * 1000.0;
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage").max_rss();
    println!("{} {time:.3} {peak}", status.code().unwrap_or(-1));
    ExitCode::SUCCESS
}

/// Whether a command is installed.
pub fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(command).is_file())
}

/// The table, printed as it grows.
pub struct Report {
    goals: Vec<bool>,
}

impl Report {
    /// Prints the head of the table.
    pub fn begin() -> Report {
        println!("{:<52} {:>9} {:>12} {:>10} {:>8}  goal", "what", "entries", "time", "peak", "ratio");
        Report { goals: Vec::new() }
    }

    /// Prints a row. The ratio is that of a rival's time to the program's.
    pub fn row(&mut self, what: &str, entries: usize, run: Run, ratio: Option<f64>, goal: Option<Goal>) {
        let Run { time, peak } = run;
        let time = format!("{time:.1} ms");
        let peak = if peak == 0 { "-".to_owned() } else { format!("{:.1} MiB", peak as f64 / 1024.0) };
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.1} x"));
        self.line(&format!("{what:<52} {entries:>9} {time:>12} {peak:>10} {ratio:>8}"), goal);
    }

    /// Prints a row of something else than a time.
    pub fn note(&mut self, what: &str, entries: usize, found: &str, goal: Option<Goal>) {
        self.line(&format!("{what:<52} {entries:>9} {found:>32}"), goal);
    }

    fn line(&mut self, line: &str, goal: Option<Goal>) {
        let words = goal.map_or(String::new(), |(words, met)| {
            self.goals.push(met);
            format!("  {words}: {}", if met { "met" } else { "NOT MET" })
        });
        println!("{}", format!("{line}{words}").trim_end());
    }

    /// Prints how many goals were met. Fails if one was not.
    pub fn end(self) -> ExitCode {
        let met = self.goals.iter().filter(|met| **met).count();
        println!("{met} of {} goals met", self.goals.len());
        if met == self.goals.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
