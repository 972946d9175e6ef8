//! Time and peak memory of the real programs on large policies, beside what else does the same work: `tests/bench`.
//!
//! One table, a file for each program that is measured. Times are medians of five runs, peaks the largest. Where a rival
//! is measured, it stands below, indented, with its time as a multiple of the program's. Each goal stands at the end of
//! its row, with whether it was met; if one was not, the exit status is 1. `--large` sends a log of 10 GB through tsship
//! instead, which takes minutes.
#![forbid(unsafe_code)]

mod logs;
mod measure;
mod policy;
mod tables;

use std::process::ExitCode;

use measure::Report;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        None => {}
        // This program measures a child in a process of its own, whose getrusage(2) tells of that child alone.
        Some(flag) if flag == "--measure" => return measure::child(arguments.collect()),
        Some(flag) if flag == "--large" => {
            let mut report = Report::begin();
            logs::large(&mut report);
            return report.end();
        }
        Some(_) => {
            eprintln!("usage: tests/bench [--large]");
            return ExitCode::FAILURE;
        }
    }
    let mut report = Report::begin();
    policy::bench(&mut report);
    tables::bench(&mut report);
    logs::bench(&mut report);
    report.end()
}
