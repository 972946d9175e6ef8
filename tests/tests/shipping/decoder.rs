//! Decoders that die.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::log_server::LogServer;
use tests::machine::{Machine, words};
use tests::steps::{self, AMPLE, Fate, Step};

use super::{assert_repaired, by_key, tsship, two_logs};

/// The only file of the log directory that a process has open, as a decoder that has begun.
pub fn decodes(logs: &Path, process: u32) -> Option<PathBuf> {
    let opened = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let opened = opened.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut logs = opened.filter(|path| path.starts_with(logs));
    logs.next().filter(|_| logs.next().is_none())
}

/// How many records were shipped of each log whose tail was lost, by what was said.
pub fn lost_after(said: &str) -> Vec<usize> {
    let number = |line: &str| line.split_once("what follows record ")?.1.split_once(',')?.0.parse().ok();
    said.lines().filter_map(number).collect()
}

/// A decoder that dies of its log costs what it had not written, once, and no other log.
#[test]
fn a_decoder_dies_before_any_system_call() {
    let place = Machine::new();
    let server = LogServer::start(&place.path("etc")).unwrap();
    let whole = {
        let machine = two_logs(&server);
        assert_eq!(tsship(&machine).status.code(), Some(0));
        let texts = server.accepted().into_iter().map(|upload| String::from_utf8(upload.content).unwrap());
        texts.max_by_key(String::len).unwrap()
    };
    let (mut nth, mut heads, mut retried) = (1, BTreeSet::new(), 0);
    loop {
        let when = format!("before call {nth}");
        let machine = two_logs(&server);
        let before = server.accepted().len();
        let log = machine.path("log/pflog.1.gz");
        let (logs, mut calls) = (machine.path("log"), 0);
        let crash = move |step: Step| {
            let is_ours = step.of_child && decodes(&logs, step.process).is_some_and(|path| path == log);
            calls += usize::from(is_ours);
            if is_ours && calls == nth { Fate::Crash } else { Fate::Go }
        };
        let output = steps::run(&mut machine.program("tsship"), AMPLE, crash).unwrap();
        if output.status.code() == Some(0) {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("pflog.1.gz: ") && said.contains("its decoder died of SIGABRT"),
            "{when}: {said}"
        );
        if said.contains(": not shipped: ") {
            retried += 1;
            assert_repaired(&machine, || server.accepted().split_off(before), &when);
        } else {
            let records = lost_after(&said)[0];
            heads.insert(records);
            // It is not read again, whatever it is called.
            let log = fs::read(machine.path("log/pflog.1.gz")).unwrap();
            fs::remove_file(machine.path("log/pflog.1.gz")).unwrap();
            machine.write("log/pflog.2.gz", log);
            let output = tsship(&machine);
            assert_eq!(
                (output.status.code(), output.stderr.is_empty()),
                (Some(2), true),
                "{}",
                words(&output)
            );
            let texts = by_key(&server.accepted().split_off(before));
            let [first, second] = texts.values().collect::<Vec<_>>()[..] else { panic!("{when}") };
            let (head, other) = if first.0.lines().next() == whole.lines().next() {
                (first, second)
            } else {
                (second, first)
            };
            assert_eq!((head.1, other.1, other.0.lines().count()), (1, 1, 30), "{when}");
            assert!(whole.starts_with(&head.0) && head.0.lines().count() == records, "{when}: {records}");
        }
        nth += 1 + nth / 12;
    }
    assert!(retried > 5 && heads.len() > 5, "{retried}, {heads:?}");
}
