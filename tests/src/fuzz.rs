//! Fuzz targets: each takes any octets, as an outsider could send them, and panics if something is wrong.
//!
//! `tests/fuzz/run TARGET` lets libFuzzer look for more; what it found is in `fixtures/corpus/TARGET` and is replayed by
//! `tests/corpus.rs`.
#![forbid(unsafe_code)]

use std::io::BufReader;
use std::net::IpAddr;

use common::{Config, Table};
use fetcher::answer::APL;
use fetcher::chunk::Chunk;
use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};
use shipper::text::Summary;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets: every parser of data from outside a program.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("spool", spool),
    ("table_file", table_file),
    ("answer", answer),
    ("serial", serial),
    ("apl", apl),
    ("txt", txt),
    ("rpz", rpz),
    ("axfr", axfr),
    ("keyfile", keyfile),
    ("tsig", tsig),
    ("pflog", pflog),
    ("packet", packet),
    ("filterlog", filterlog),
];

/// threatstop.conf(5): a configuration that is taken comes back from what it shows.
fn config(octets: &[u8]) {
    if let Ok(config) = Config::parse(octets) {
        let shown: String = config.effective().map(|(key, value)| format!("{key}=\"{value}\"\n")).collect();
        let again = Config::parse(shown.as_bytes()).unwrap_or_else(|errors| panic!("{shown}: {errors:?}"));
        assert!(again.effective().eq(config.effective()), "{shown}");
    }
}

/// What tsfetch leaves for tsload: a file that is taken is exactly what would be written for its prefixes.
fn spool(octets: &[u8]) {
    let small = loader::spool::parse(BufReader::with_capacity(7, octets), Table::Block);
    let large = loader::spool::parse(octets, Table::Block);
    assert_eq!(small, large, "the size of the buffer matters");
    if let Ok(set) = large {
        let prefixes: String = set.iter().map(|net| format!("{net}\n")).collect();
        let end = format!("{prefixes}# end {}\n", set.len());
        assert!(octets.ends_with(end.as_bytes()));
        assert_eq!(set.iter().collect::<common::set::PrefixSet>(), set, "not canonical");
    }
}

/// The table file, which tsload reads back.
fn table_file(octets: &[u8]) {
    if let Ok(contents) = loader::contents::read(octets) {
        let mut written = Vec::new();
        contents.write(&mut written).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loader::contents::read(&written[..]), Ok(contents));
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A DNS message as the answer to each kind of question.
fn answer(octets: &[u8]) {
    for kind in [RecordType::PTR, APL, RecordType::TXT, RecordType::A, RecordType::AAAA] {
        match fetcher::answer::read(octets, &Query::query(name("l.x."), kind)) {
            Ok(chunk) => assert!(chunk.entries() <= octets.len()),
            Err(failure) => assert!(!failure.to_string().contains(char::is_control), "{failure:?}"),
        }
    }
}

/// A DNS message as the answer to the question for a zone's serial: only a zone that has the name is taken.
fn serial(octets: &[u8]) {
    let list = name("l.x.");
    match fetcher::soa::read(octets, &Query::query(list.clone(), RecordType::SOA)) {
        Ok(serial) => assert!(serial.is_none_or(|serial| serial.has(&list))),
        Err(failure) => assert!(!failure.to_string().contains(char::is_control), "{failure:?}"),
    }
}

/// The rdata of an APL record: an item has at least four octets, and a prefix no bits beyond its length.
fn apl(octets: &[u8]) {
    let mut chunk = Chunk::default();
    match fetcher::apl::read(octets, &mut chunk) {
        Ok(()) => assert!(chunk.entries() * 4 <= octets.len()),
        Err(cause) => assert!(!cause.contains(char::is_control), "{cause:?}"),
    }
    assert!(chunk.positive.iter().chain(&chunk.negated).all(|net| net.trunc() == *net));
}

/// The rdata of a TXT record: what it holds is in its text, and nothing is negated.
fn txt(octets: &[u8]) {
    let mut chunk = Chunk::default();
    match fetcher::txt::read(octets, &mut chunk) {
        Ok(()) => assert!(chunk.entries() * 3 <= octets.len()),
        Err(cause) => assert!(!cause.contains(char::is_control), "{cause:?}"),
    }
    assert!(chunk.negated.is_empty() && chunk.positive.iter().all(|net| net.trunc() == *net));
}

/// The labels before `rpz-ip`: a prefix of IPv4 has one form only.
fn rpz(octets: &[u8]) {
    match fetcher::rpz::prefix(octets) {
        Ok(net) => {
            assert_eq!(net.trunc(), net);
            if let IpAddr::V4(address) = net.addr() {
                let [a, b, c, d] = address.octets();
                let text = format!("{}.{d}.{c}.{b}.{a}", net.prefix_len());
                assert_eq!(fetcher::wire::text(octets), text);
            }
        }
        Err(cause) => assert!(!cause.contains(char::is_control), "{cause:?}"),
    }
    let _ = fetcher::rpz::is_exception(octets);
}

/// A transfer: messages after their length in two octets.
fn axfr(mut octets: &[u8]) {
    let mut transfer = fetcher::axfr::Transfer::new(0x1234, &name("l.x."), 1000);
    while let Some((length, rest)) = octets.split_first_chunk() {
        let (message, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        match transfer.next(message) {
            Ok(false) => octets = rest,
            Ok(true) => {
                let _ = transfer.finish();
                return;
            }
            Err(_) => return,
        }
    }
    assert!(transfer.finish().is_err(), "a transfer without its end");
}

/// A TSIG key in BIND's form: the secret is in no message.
fn keyfile(octets: &[u8]) {
    if let Err(fault) = fetcher::keyfile::parse(octets) {
        assert!(!fault.to_string().contains(char::is_control), "{fault}");
    }
}

/// Messages that ought to be signed: none that was not made with the key is taken.
fn tsig(octets: &[u8]) {
    let key = fetcher::keyfile::parse(
        b"key \"k.\" { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };",
    );
    let key = key.unwrap_or_else(|fault| panic!("{fault}"));
    let mut query =
        fetcher::answer::ask(0x1234, &Query::query(name("l.x."), APL)).unwrap_or_else(|e| panic!("{e}"));
    let verifier =
        fetcher::tsig::sign(&mut query, &key, 1_700_000_000).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(verifier.only(octets, 1_700_000_000).is_err(), "taken without a signature");
}

/// The text of a packet log.
fn decode(log: &[u8]) -> (Vec<u8>, Result<Summary, shipper::text::Error>) {
    let mut text = Vec::new();
    let clock = shipper::clock::Clock::new(common::config::LogTime::Time, shipper::clock::Zone::Utc);
    let summary = shipper::text::decode(log, false, clock, |piece, _| {
        text.extend(piece);
        Ok(())
    });
    (text, summary)
}

/// A packet log, plain or compressed: one printable line for each record.
fn pflog(octets: &[u8]) {
    let (text, summary) = decode(octets);
    if let Ok(Summary { found, .. }) = summary {
        let lines = text.iter().filter(|octet| **octet == b'\n').count();
        assert_eq!((text.len() as u64, lines as u64), (found.text, found.records));
    }
    assert!(text.iter().all(|octet| matches!(octet, b'\n' | b' '..=b'~')));
}

/// A line of filterlog(8): one that is taken is printable, and comes out of its log as it was.
fn filterlog(octets: &[u8]) {
    if let Some(shipper::filterlog::Message::Packet(_)) = shipper::filterlog::parse(octets) {
        assert!(octets.iter().all(|octet| matches!(octet, b' '..=b'~')));
        let log = [octets, b"\n"].concat();
        let (text, summary) = decode(&log);
        let Summary { found, .. } = summary.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((text, found.records, found.undecodable), (log, 1, 0));
    }
    pflog(&[b"<6>1 ", octets].concat());
}

/// A packet behind a pflog header: one printable line.
fn packet(octets: &[u8]) {
    let mut line = Vec::new();
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    for claimed in [length, length.saturating_add(100), u32::MAX] {
        line.clear();
        let _ = shipper::print::Printer::default().packet(&mut line, octets, claimed);
        assert!(line.iter().all(|octet| matches!(octet, b' '..=b'~')), "{}", line.escape_ascii());
    }
}
