//! Logs of every kind into text, and what is said about them.

use super::*;
use crate::clock::Zone;
use common::config::LogTime;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// A little-endian pcap file of records that hold `captured`.
fn file(records: &[&[u8]]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 160, 117].map(u32::to_le_bytes).concat();
    for (i, captured) in (0u32..).zip(records) {
        let len = captured.len() as u32;
        file.extend([1_790_000_000 + i, i, len, len].map(u32::to_le_bytes).concat());
        file.extend(*captured);
    }
    file
}

/// A record of an IPv4 packet to a protocol without a printer.
fn packet() -> Vec<u8> {
    let mut record = vec![0; 120];
    record[..8].copy_from_slice(&[100, 2, 1, 0, b'e', b'm', b'0', 0]);
    record[100..104].copy_from_slice(&[0x45, 0, 0, 20]);
    record[108..].copy_from_slice(&[64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    record
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn decoded(input: &[u8]) -> Result<(String, Summary), Error> {
    let mut text = Vec::new();
    let summary = decode(input, true, clock(), |piece, found| {
        assert!(piece.is_empty() || piece.ends_with(b"\n"));
        text.extend(piece);
        assert_eq!((text.len() as u64, text.lines().count() as u64), (found.text, found.records));
        Ok(())
    })?;
    assert_eq!(summary.octets, Some(digest(input)));
    Ok((String::from_utf8(text).unwrap(), summary))
}

fn clock() -> Clock {
    Clock::new(LogTime::Time, Zone::Utc)
}

fn sha(octets: &[u8]) -> Digest {
    ring::digest::digest(&SHA256, octets).as_ref().try_into().unwrap()
}

#[test]
fn every_record_has_a_line() {
    let plain = file(&[&packet(), b"", &[100; 99], &[60; 64], &[7; 64]]);
    let (text, summary) = decoded(&plain).unwrap();
    assert_eq!(
        text,
        "14:13:20.000000 rule 0/(match) block in on em0: 192.0.2.1 > 192.0.2.2: ip-proto-253 0\n\
         14:13:21.000001 [|pflog]\n\
         14:13:22.000002 [|pflog]\n\
         14:13:23.000003 [pflog: unknown header length 60]\n\
         14:13:24.000004 [pflog: invalid header length!]\n"
    );
    assert_eq!((summary.found.records, summary.found.undecodable), (5, 4));
    assert_eq!(summary.found.first, Some((1_790_000_000, 0)));
    assert_eq!(summary.found.last, Some((1_790_000_000, 0)), "what cannot be read has no time either");
    assert_eq!(summary.octets, Some(sha(&plain)));
    assert!(matches!(summary.end, End::Clean));
}

#[test]
fn a_log_without_records_is_fine() {
    let (text, summary) = decoded(&file(&[])).unwrap();
    assert_eq!(text, "");
    assert_eq!((summary.found.records, summary.found.first), (0, None));
    assert!(matches!(summary.end, End::Clean));
}

#[test]
fn no_octets_and_other_files() {
    assert!(matches!(decoded(b""), Err(Error::Input(NotPflog::Empty))));
    assert!(matches!(decoded(&gzip(b"")), Err(Error::Input(NotPflog::Empty))));
    assert!(matches!(decoded(b"\x1f"), Err(Error::Input(NotPflog::NotPcap { .. }))));
    assert!(matches!(decoded(&gzip(b"mail")), Err(Error::Input(NotPflog::NotPcap { .. }))));
    assert!(matches!(decoded(b"\x1f\x8bno gzip"), Err(Error::Input(NotPflog::Unreadable(_)))));
}

#[test]
fn gzip_of_several_members_is_one_file() {
    let plain = file(&[&packet(), &packet(), &packet()]);
    let (text, expected) = decoded(&plain).unwrap();
    for at in [1, 23, 24, 30, 200] {
        let members = [gzip(&plain[..at]), gzip(b""), gzip(&plain[at..])].concat();
        let (ours, summary) = decoded(&members).unwrap();
        assert_eq!(ours, text);
        assert_eq!(summary.octets, expected.octets);
        assert!(matches!(summary.end, End::Clean));
    }
}

#[test]
fn damaged_gzip_gives_what_is_before_the_damage() {
    let plain = file(&vec![&packet()[..]; 1000]);
    let (text, _) = decoded(&plain).unwrap();
    let mut tailed = gzip(&plain);
    tailed.extend(b"garbage");
    let (ours, summary) = decoded(&tailed).unwrap();
    assert_eq!(ours, text);
    assert!(matches!(summary.end, End::Unreadable { offset, .. } if offset == plain.len() as u64));

    let plain = file(&vec![&packet()[..]; 20]);
    let (text, _) = decoded(&plain).unwrap();
    let whole = gzip(&plain);
    for len in 30..whole.len() {
        let Ok((ours, summary)) = decoded(&whole[..len]) else { continue };
        assert!(text.starts_with(&ours));
        assert_eq!(summary.found.records, ours.lines().count() as u64);
        assert!(matches!(summary.end, End::Unreadable { .. }), "{len}");
    }
}

#[test]
fn a_corrupt_record_is_said_and_all_octets_are_digested() {
    let mut plain = file(&[&packet(), &packet()]);
    let second = 24 + 16 + 120;
    plain[second + 11] = 0xff;
    plain.extend(vec![9; 3_000_000]);
    let (text, summary) = decoded(&plain).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(summary.octets, Some(sha(&plain)));
    assert!(
        matches!(summary.end, End::Corrupt { record: 2, offset: 160, captured: 4_278_190_200 }),
        "{:?}",
        summary.end
    );
}

#[test]
fn overlong_records_are_counted() {
    let long = [packet(), vec![0; 41]].concat();
    let (text, summary) = decoded(&file(&[&packet(), &long, &packet()[..], &long])).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert_eq!((summary.found.records, summary.found.overlong), (4, 2));
}

#[test]
fn what_is_behind_a_damaged_length_is_not_lost_without_a_word() {
    let mut plain = file(&vec![&packet()[..]; 1000]);
    let tenth: usize = 24 + 9 * 136;
    plain[tenth + 8..tenth + 12].copy_from_slice(&200_000u32.to_le_bytes());
    let (_, summary) = decoded(&plain).unwrap();
    assert_eq!(summary.found.records, 9);
    assert!(matches!(summary.end, End::Corrupt { record: 10, .. }), "{:?}", summary.end);
}

#[test]
fn stops_when_the_text_cannot_be_written() {
    for records in [1, 5000] {
        let plain = file(&vec![&packet()[..]; records]);
        for room in [0, 1, 100_000] {
            let mut is_full = false;
            let result = decode(&plain[..], true, clock(), |piece, found| {
                assert!(!is_full, "written to again after an error");
                assert!(piece.len() < 2 * OUTPUT);
                is_full = found.text > room;
                if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            });
            assert_eq!(result.is_err(), is_full);
            if let Err(error) = result {
                assert_eq!(error.to_string(), "cannot write the text: no storage space");
            }
        }
    }
}

/// However the process that decodes dies, most of the text was written before.
#[test]
fn little_of_the_text_is_held_back() {
    let plain = file(&vec![&packet()[..]; 20_000]);
    let line =
        "14:13:20.000000 rule 0/(match) block in on em0: 192.0.2.1 > 192.0.2.2: ip-proto-253 0\n".len();
    let (mut before, mut pieces) = (0, 0);
    decode(&plain[..], false, clock(), |piece, found| {
        assert_eq!(before + piece.len(), found.text as usize);
        assert!(
            piece.len() <= line.max(before / 16 + line).min(OUTPUT + line),
            "{} after {before}",
            piece.len()
        );
        (before, pieces) = (before + piece.len(), pieces + 1);
        Ok(())
    })
    .unwrap();
    assert!((100..200).contains(&pieces), "{pieces}");
}

const FILTERLOG: &str = "Jan  1 00:00:07 fw filterlog[77]: 5,,,1000000105,em0,match,block,in,4,0x0,,64,0,0,DF,17,udp,40,\
     203.0.113.9,192.0.2.1,53,40000,20\n";

#[test]
fn lines_of_filterlog_are_passed_on() {
    let second = FILTERLOG.replace("Jan  1", "<134>Jan 2");
    let log = [FILTERLOG, "Jan  1 00:00:08 fw newsyslog[9]: logfile turned over\n", &second].concat();
    for file in [log.clone().into_bytes(), gzip(log.as_bytes())] {
        let (text, summary) = decoded(&file).unwrap();
        assert_eq!(text, format!("{FILTERLOG}{second}"), "newsyslog's own line is no packet");
        assert_eq!((summary.found.records, summary.found.undecodable, summary.found.overlong), (2, 0, 0));
        let ((first, _), (last, _)) = (summary.found.first.unwrap(), summary.found.last.unwrap());
        assert_eq!((first % 86_400, last - first), (7, 86_400));
        assert_eq!(summary.octets, Some(sha(log.as_bytes())));
        assert!(matches!(summary.end, End::Clean));
    }
}

#[test]
fn a_filterlog_line_that_is_cut_off_is_not_passed_on() {
    let log = [FILTERLOG, FILTERLOG].concat();
    for len in FILTERLOG.len() + 1..log.len() {
        let (text, summary) = decoded(&log.as_bytes()[..len]).unwrap();
        assert_eq!(text, FILTERLOG);
        assert!(matches!(summary.end, End::CutOff { octets } if octets == len - FILTERLOG.len()));
    }
}

#[test]
fn long_and_hostile_lines_cost_themselves() {
    let long = format!("Jan  1 00:00:07 fw filterlog: {}\n", "5,".repeat(5_000_000));
    let escape = FILTERLOG.replace("match", "\x1b[2J");
    let log = [FILTERLOG, &long, &escape, "\n", FILTERLOG, &long[..3_000]].concat();
    let (text, summary) = decoded(log.as_bytes()).unwrap();
    let bad = |number| format!("[filterlog: line {number} cannot be read]\n");
    assert_eq!(text, [FILTERLOG, &bad(2), &bad(3), &bad(4), FILTERLOG, &bad(6)].concat());
    assert_eq!((summary.found.records, summary.found.undecodable), (6, 4));
}

#[test]
fn a_damaged_filterlog_gives_what_is_before_the_damage() {
    let log = FILTERLOG.repeat(500);
    let whole = gzip(log.as_bytes());
    for len in (30..whole.len()).step_by(7) {
        let Ok((text, summary)) = decoded(&whole[..len]) else { continue };
        assert!(log.starts_with(&text) && (text.is_empty() || text.ends_with('\n')));
        assert!(matches!(summary.end, End::Unreadable { .. }), "{len}");
    }
}
