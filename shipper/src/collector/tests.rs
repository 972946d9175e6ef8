//! The collector with children that answer what they are told to.

use super::*;
use crate::process;
use crate::report::Report;
use std::fs::File;
use std::io::{Read, Write};

/// What a child does with its socket, and its exit status.
type Work = fn(File) -> i32;

/// A spool, and the configuration that names it.
fn scratch(name: &str) -> (PathBuf, Config) {
    let spool = std::env::temp_dir().join(format!("tsship-collector-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&spool);
    for directory in ["outbox", "rejected"] {
        std::fs::create_dir_all(spool.join(directory)).unwrap();
    }
    let config = Config::parse(format!("SPOOL_DIR={}\n", spool.display()).as_bytes()).unwrap();
    (spool, config)
}

fn collector(config: &Config) -> Collector<'_> {
    let outbox = Outbox::new(config.outbox_dir(), config.rejected_dir()).unwrap();
    let ledger = Ledger::load(&config.ledger_file()).unwrap();
    Collector::new(config, outbox, ledger, Some(&[]), Vec::new()).unwrap()
}

fn decoding(collector: &Collector, number: u32, work: Work) -> Decoding {
    let (draft, ..) = collector.outbox.draft(number as usize).unwrap();
    let (log, file) = (format!("pflog.{number}").into(), Identity::default());
    Decoding { log, file, decoder: process::child(work), draft, number }
}

fn sends_a_report(mut socket: File) -> i32 {
    let report = Report {
        ending: Ending::Clean,
        digest: [7; 32],
        records: 1,
        undecodable: 0,
        overlong: 0,
        first: 5,
        last: 5,
    };
    let begun = socket.read_exact(&mut [0]).and_then(|()| socket.write_all(&report.encode()));
    i32::from(begun.is_err())
}

fn waits(mut socket: File) -> i32 {
    let _ = socket.read_exact(&mut [0]);
    let _ = socket.read_exact(&mut [0]);
    0
}

#[test]
fn what_a_hook_has_no_time_for_waits() {
    let _alone = process::alone();
    let (spool, config) = scratch("hook");
    let mut collector = collector(&config);
    let over = Some(Instant::now());
    for number in 0..2 {
        let decoding = decoding(&collector, number, waits);
        collector.spool(decoding, over);
    }
    let tally = collector.close();
    assert_eq!((tally, tally.status()), (Tally::default(), Status::Nothing));
    assert_eq!(std::fs::read_dir(spool.join("outbox")).unwrap().count(), 0);
    std::fs::remove_dir_all(spool).unwrap();
}

#[test]
fn a_decoder_that_ends_badly_fails_the_run_and_no_other_log() {
    let _alone = process::alone();
    let (spool, config) = scratch("badly");
    let mut collector = collector(&config);
    let decodings = [
        decoding(&collector, 0, |_| 1),
        decoding(&collector, 1, |_| 0),
        decoding(&collector, 2, sends_a_report),
    ];
    decodings.into_iter().for_each(|decoding| collector.spool(decoding, None));
    let tally = collector.close();
    assert_eq!((tally.spooled, tally.waiting, tally.status()), (1, 1, Status::Failed));
    std::fs::remove_dir_all(spool).unwrap();
}

#[test]
fn verdicts_decide_how_far_a_round_goes() {
    let _alone = process::alone();
    let (spool, config) = scratch("verdicts");
    // Each answers all questions with one octet.
    let uploaders: [(Work, usize, usize); 5] = [
        (|socket| answers(socket, b's'), 0, 0),
        (|socket| answers(socket, b'r'), 4, 1),
        (|socket| answers(socket, b'a'), 5, 0),
        (|socket| answers(socket, b'l'), 5, 0),
        (|socket| answers(socket, b'?'), 5, 0),
    ];
    for (work, waiting, rejected) in uploaders {
        for directory in ["outbox", "rejected"] {
            let path = spool.join(directory);
            std::fs::remove_dir_all(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }
        let mut collector = collector(&config);
        for first in 0..5 {
            let name = Name { first, digest: [9; 32] };
            std::fs::write(spool.join("outbox").join(name.to_string()), "line\n").unwrap();
            collector.ready.insert(name, 0);
        }
        collector.upload(process::child(work));
        let tally = collector.close();
        assert_eq!(tally.failed, waiting > 0, "{tally}");
        let count = |directory| std::fs::read_dir(spool.join(directory)).unwrap().count();
        assert_eq!((count("outbox"), count("rejected")), (waiting, rejected));
    }
    std::fs::remove_dir_all(spool).unwrap();
}

fn answers(mut socket: File, octet: u8) -> i32 {
    while socket.read_exact(&mut [0; 36]).is_ok() {
        if socket.write_all(&[octet]).is_err() {
            return 1;
        }
    }
    0
}
