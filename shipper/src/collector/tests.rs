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
    let (draft, mut writer, _) = collector.outbox.draft(number as usize).unwrap();
    writer.write_all(b"line\n").unwrap();
    let (log, file) = (format!("pflog.{number}").into(), Identity::default());
    Decoding { log, file, decoder: process::child(work), draft, number }
}

fn sends_a_report(mut socket: File) -> i32 {
    let report = Report {
        ending: Ending::Clean,
        digest: [7; 32],
        head: [6; 32],
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
fn a_decoder_that_dies_costs_the_lines_that_it_had_not_written() {
    let _alone = process::alone();
    let text = b"one\ntwo\nthree\n";
    for octets in 0..=text.len() {
        let (spool, config) = scratch("dies");
        let mut collector = collector(&config);
        let whole = text.get(..octets).unwrap().split_inclusive(|octet| *octet == b'\n');
        let lines: Vec<&[u8]> = whole.filter(|line| line.ends_with(b"\n")).collect();
        let head = Report {
            ending: Ending::NotYet { text: lines.concat().len() as u64 },
            records: lines.len() as u64,
            head: if lines.is_empty() { Digest::default() } else { [6; 32] },
            first: if lines.is_empty() { 0 } else { 5 },
            last: if lines.is_empty() { 0 } else { 6 },
            ..Report::first([7; 32])
        };
        let dies = |mut socket: File| {
            for report in [&Report::first([7; 32]), &head] {
                let begun = socket.read_exact(&mut [0]).and_then(|()| socket.write_all(&report.encode()));
                if begun.is_err() {
                    return 1;
                }
            }
            i32::from(nix::sys::signal::raise(nix::sys::signal::Signal::SIGABRT).is_ok())
        };
        // The second is another log with the same digest: what is known costs no line twice.
        for number in 0..2 {
            let (draft, mut writer, _) = collector.outbox.draft(number).unwrap();
            writer.write_all(&text[..octets]).unwrap();
            let (log, file) = ("pflog.1".into(), Identity::default());
            let decoder = process::child(dies);
            collector.spool(Decoding { log, file, decoder, draft, number: 0 }, None);
        }
        let spooled = collector.outbox.list().unwrap();
        let entry = collector.ledger.get(&[7; 32]).map(|entry| (entry.records, entry.first, entry.last));
        if lines.is_empty() {
            assert_eq!((spooled.as_slice(), entry), (&[][..], None), "{octets}");
        } else {
            let [(name, _)] = spooled[..] else { panic!("{octets}: {spooled:?}") };
            assert_eq!(name, Text::from(Name { first: 5, digest: [7; 32] }));
            let path = spool.join("outbox").join(name.to_string());
            assert_eq!(std::fs::read(path).unwrap(), lines.concat(), "{octets}");
            assert_eq!(entry, Some((lines.len() as u64, 5, 6)));
        }
        assert!(collector.close().failed);
        assert_eq!(std::fs::read_dir(spool.join("outbox")).unwrap().count(), lines.len().min(1), "no draft");
        std::fs::remove_dir_all(spool).unwrap();
    }
}

#[test]
fn a_decoder_that_says_more_than_it_wrote_is_not_believed() {
    let _alone = process::alone();
    let (spool, config) = scratch("more");
    let mut collector = collector(&config);
    let lies = decoding(&collector, 0, |mut socket| {
        let ending = Ending::NotYet { text: 1 << 40 };
        let lie = Report { ending, head: [6; 32], records: 1, first: 5, last: 5, ..Report::first([7; 32]) };
        for report in [Report::first([7; 32]), lie] {
            let _ = socket.read_exact(&mut [0]).and_then(|()| socket.write_all(&report.encode()));
        }
        i32::from(nix::sys::signal::raise(nix::sys::signal::Signal::SIGABRT).is_ok())
    });
    collector.spool(lies, None);
    assert_eq!((collector.ledger.get(&[7; 32]), collector.tally.failed), (None, true));
    assert_eq!(std::fs::read_dir(spool.join("outbox")).unwrap().count(), 0);
    std::fs::remove_dir_all(spool).unwrap();
}

#[test]
fn a_decoder_that_names_no_log_is_not_believed() {
    let _alone = process::alone();
    let (spool, config) = scratch("nameless");
    let mut collector = collector(&config);
    let lies = decoding(&collector, 0, |mut socket| {
        let lie =
            Report { ending: Ending::Clean, head: [6; 32], records: 1, first: 5, last: 5, ..Report::empty() };
        i32::from(socket.read_exact(&mut [0]).and_then(|()| socket.write_all(&lie.encode())).is_err())
    });
    collector.spool(lies, None);
    assert_eq!((collector.ledger.get(&Digest::default()), collector.tally.failed), (None, true));
    assert_eq!(std::fs::read_dir(spool.join("outbox")).unwrap().count(), 0);
    std::fs::remove_dir_all(spool).unwrap();
}

#[test]
fn a_decoder_that_counts_more_records_than_octets_is_not_believed() {
    let _alone = process::alone();
    let (spool, config) = scratch("counts");
    let mut collector = collector(&config);
    let lies = decoding(&collector, 0, |mut socket| {
        let (digest, head) = ([7; 32], [6; 32]);
        let lie =
            Report { ending: Ending::Clean, digest, head, records: 6, first: 5, last: 5, ..Report::empty() };
        i32::from(socket.read_exact(&mut [0]).and_then(|()| socket.write_all(&lie.encode())).is_err())
    });
    collector.spool(lies, None);
    assert_eq!((collector.ledger.get(&[7; 32]), collector.tally.failed), (None, true), "a line has 5 octets");
    std::fs::remove_dir_all(spool).unwrap();
}

/// Puts texts of one line into the outbox, for an uploader to have posted.
fn fill(collector: &mut Collector, firsts: std::ops::Range<u64>) {
    for first in firsts {
        let text = Text::from(Name { first, digest: [9; 32] });
        std::fs::write(collector.outbox.waiting().join(text.to_string()), "line\n").unwrap();
        collector.ready.insert(text, 0);
    }
}

#[test]
fn verdicts_decide_how_far_a_round_goes_and_when_the_next_is() {
    let _alone = process::alone();
    // Each answers all questions with one octet. What waits then, how many of it failed by
    // themselves, how many were refused, and the step of the backoff.
    let uploaders: [(Work, usize, u32, usize, Option<&str>); 6] = [
        (|socket| answers(socket, b's'), 0, 0, 0, None),
        (|socket| answers(socket, b'r'), 4, 0, 1, None),
        (|socket| answers(socket, b'0'), 5, 0, 0, Some("1")),
        (|socket| answers(socket, b'4'), 5, 0, 0, Some("4")),
        (|socket| answers(socket, b'l'), 5, 3, 0, Some("1")),
        (|socket| answers(socket, b'?'), 5, 1, 0, Some("1")),
    ];
    for (work, waiting, failed, rejected, step) in uploaders {
        let (spool, config) = scratch("verdicts");
        let mut collector = collector(&config);
        fill(&mut collector, 0..5);
        collector.upload(process::child(work));
        let left = collector.outbox.list().unwrap();
        assert_eq!((left.len(), left.iter().map(|(text, _)| text.failed).sum()), (waiting, failed));
        let tally = collector.close();
        assert_eq!(tally.failed, waiting > 0, "{tally}");
        assert_eq!(std::fs::read_dir(spool.join("rejected")).unwrap().count(), rejected);
        let backoff = std::fs::read_to_string(spool.join("backoff")).ok();
        assert_eq!(backoff.as_deref().and_then(|line| line.split(' ').next()), step);
        std::fs::remove_dir_all(spool).unwrap();
    }
}

#[test]
fn an_uploader_that_lies_loses_what_it_was_given_and_nothing_else() {
    let _alone = process::alone();
    let (spool, config) = scratch("lies");
    let mut collector = collector(&config);
    fill(&mut collector, 0..3);
    let other = Text::from(Name { first: 9, digest: [9; 32] });
    std::fs::write(spool.join("outbox").join(other.to_string()), "line\n").unwrap();
    // More verdicts than questions: those that nobody asked for are the next texts'.
    collector.upload(process::child(|mut socket| {
        let lied = socket.read_exact(&mut [0; 40]).and_then(|()| socket.write_all(b"ssssssssss"));
        while socket.read_exact(&mut [0; 40]).is_ok() {}
        i32::from(lied.is_err())
    }));
    assert_eq!(collector.outbox.list().unwrap(), [(other, 5)], "what it was not given stays");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 2, "outbox and rejected");
    std::fs::remove_dir_all(spool).unwrap();
}

#[test]
fn a_text_that_kills_the_uploader_goes_last_in_the_next_run() {
    let _alone = process::alone();
    let (spool, config) = scratch("kills");
    let dies_of_the_oldest: Work = |mut socket| {
        let mut question = [0; 40];
        while socket.read_exact(&mut question).is_ok() {
            if question[3] == 0 || socket.write_all(b"s").is_err() {
                return 7;
            }
        }
        0
    };
    for left in [3, 1] {
        let mut collector = collector(&config);
        if left == 3 {
            fill(&mut collector, 0..3);
        }
        let texts = collector.outbox.list().unwrap();
        let number = |text: &Text| u32::try_from(text.name.first).unwrap();
        collector.ready = texts.iter().map(|(text, _)| (*text, number(text))).collect();
        collector.upload(process::child(dies_of_the_oldest));
        assert!(collector.tally.failed);
        assert_eq!(collector.outbox.list().unwrap().len(), left);
    }
    std::fs::remove_dir_all(spool).unwrap();
}

fn answers(mut socket: File, octet: u8) -> i32 {
    while socket.read_exact(&mut [0; 40]).is_ok() {
        if socket.write_all(&[octet]).is_err() {
            return 1;
        }
    }
    0
}
