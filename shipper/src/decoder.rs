//! The decoder: one process for each log, which reads gzip and pcap and writes text.
//!
//! It holds three descriptors (the log, the text, the socket to the collector), runs as `SHIP_USER`
//! and may only compute. It starts when it is told to, so that logs are worked on one after the
//! other. A log that is to be shipped is read twice. First for its digest, by which the collector
//! knows most logs already: then that was all. Else it is told to go on, and the digest is the
//! text's name, whatever the log does to this process while text is made of it. With each piece of
//! the text goes a report of how far that is, and a last one at the end.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use common::config::LogTime;
use common::error::reason;
use common::privilege::{self, Account};
use common::{Error, message, sandbox};

use crate::clock::{Clock, Zone};
use crate::logs::Log;
use crate::pcap::{End, NotPflog};
use crate::process::{self, Child, Ended, FULL};
use crate::report::{self, Ending, Report};
use crate::text::{self, Digest, Found};

/// How long one log may take.
pub const LIMIT: Duration = Duration::from_secs(600);

/// How long the processor may work on it: a decoder that needs more is lost in the log, where one that is
/// only late waits for a disk or its turn.
const PROCESSOR: Duration = Duration::from_secs(300);

/// What the collector sends to have the work begin, and go on after the first report.
const GO: [u8; 1] = [b'g'];

/// How a decoder works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who it runs as.
    pub account: Account,
    /// The time stamps of the text.
    pub log_time: LogTime,
    /// The largest text in octets; `None` for one that goes to standard output.
    pub largest_text: Option<u64>,
}

/// The decoder's process, from its first step to its exit status: 0 if it has reported, `FULL`, or 1
/// after it has said why. The socket stays open until it exits, so that its end is heard at once.
pub fn work(socket: &mut File, log: Log, text: File, settings: &Settings) -> i32 {
    match serve(socket, &log, text, settings) {
        Ok(status) => status,
        Err(said) => {
            said.iter().for_each(message::warn);
            1
        }
    }
}

fn serve(socket: &mut File, log: &Log, mut text: File, settings: &Settings) -> Result<i32, Option<Error>> {
    let clock = confine(settings).map_err(Some)?;
    wait(socket)?;
    let is_shipped = settings.largest_text.is_some();
    let mut digest = None;
    if is_shipped {
        digest = digest_of(&log.file).map_err(|error| Error::new(log.path.display(), reason(&error)))?;
        tell(socket, &Report::first(digest.unwrap_or_default())).map_err(|_| None)?;
        wait(socket)?;
    }
    let name = digest.unwrap_or_default();
    let written = |piece: &[u8], found: &Found| {
        text.write_all(piece)?;
        match is_shipped {
            true => tell(socket, &report(Ending::NotYet { text: found.text }, name, found)),
            false => Ok(()),
        }
    };
    let report = match text::decode(&log.file, is_shipped && digest.is_none(), clock, written) {
        Ok(summary) => report(ending(&summary.end), summary.octets.unwrap_or(name), &summary.found),
        Err(text::Error::Output(error)) if is_shipped && error.kind() == ErrorKind::FileTooLarge => {
            return Ok(FULL);
        }
        Err(error) => refused(log, error)?,
    };
    tell(socket, &report).map(|()| 0).map_err(|_| None)
}

/// The digest of a log that can be read twice; then it is where it was. A pipe can be read but once.
fn digest_of(mut log: &File) -> io::Result<Option<Digest>> {
    if !log.metadata()?.is_file() {
        return Ok(None);
    }
    let from = log.stream_position()?;
    let digest = text::digest(log);
    log.seek(SeekFrom::Start(from))?;
    Ok(Some(digest))
}

/// Waits until the collector wants more.
fn wait(socket: &mut File) -> Result<(), Option<Error>> {
    let mut octet = [0];
    // An end of file: the collector is gone or knows the log, and nobody needs the text.
    match socket.read_exact(&mut octet) {
        Ok(()) if octet == GO => Ok(()),
        _ => Err(None),
    }
}

fn tell(socket: &mut File, report: &Report) -> io::Result<()> {
    socket.write_all(&report.encode())
}

/// Gives up everything that is not needed to decode. The clock that comes back was made before.
fn confine(settings: &Settings) -> Result<Clock, Error> {
    privilege::drop_to(&settings.account)?;
    // What goes to standard output may come from a pipe for hours, and somebody waits for it.
    let processor = settings.largest_text.and(Some(PROCESSOR));
    process::restrain(settings.largest_text, processor)?;
    process::have_no_children()?;
    let clock = Clock::new(settings.log_time, Zone::Local);
    // stdio: read(2) of the log, write(2) of text and report, memory. No path, no socket, no signal.
    sandbox::pledge("stdio")?;
    Ok(clock)
}

/// The report of a log that has no text, or why there is none.
fn refused(log: &Log, error: text::Error) -> Result<Report, Option<Error>> {
    let about = |cause: &dyn std::fmt::Display| Some(Error::new(log.path.display(), cause));
    match error {
        text::Error::Input(NotPflog::Empty) if is_hollow(log) => {
            Err(about(&"has no octets, not even gzip's own: its records are lost"))
        }
        // newsyslog(8) rotated a log that pflogd(8) had not begun: there is nothing to lose.
        text::Error::Input(NotPflog::Empty | NotPflog::CutOff { .. }) => Ok(Report::empty()),
        // Somebody who reads standard output has seen enough.
        text::Error::Output(error) if error.kind() == ErrorKind::BrokenPipe => Err(None),
        text::Error::Output(error) => Err(about(&format!("cannot write its text: {}", reason(&error)))),
        error => Err(about(&error)),
    }
}

/// Whether a log that was compressed has lost its content, as it does when the power fails soon after:
/// gzip(1) makes a frame around nothing, too.
fn is_hollow(log: &Log) -> bool {
    log.path.extension().is_some_and(|extension| extension == "gz")
        && log.file.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

fn ending(end: &End) -> Ending {
    match *end {
        End::Clean => Ending::Clean,
        End::CutOff { .. } => Ending::CutOff,
        End::Corrupt { record, offset, .. } => Ending::Corrupt { record, offset },
        End::Unreadable { offset, .. } => Ending::Damaged { offset },
    }
}

fn report(ending: Ending, digest: Digest, found: &Found) -> Report {
    Report {
        ending,
        digest,
        head: found.head.unwrap_or_default(),
        records: found.records,
        undecodable: found.undecodable,
        overlong: found.overlong,
        first: found.first.map_or(0, |(seconds, _)| seconds),
        last: found.last.map_or(0, |(seconds, _)| seconds),
    }
}

/// What is left of the work of a decoder that has ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// How it ended.
    pub ended: Ended,
    /// Its last report, if it died of the log and had written text by then that has a name.
    pub head: Option<Box<Report>>,
}

impl From<Ended> for Failed {
    fn from(ended: Ended) -> Failed {
        Failed { ended, head: None }
    }
}

/// The collector's side: has a decoder begin, and waits for its report and its end. After that
/// nobody writes to the text any more. If the log's digest is known before there is text, that first
/// report is all, and the decoder ends without writing any.
///
/// # Errors
/// There is no report of the whole log that can be trusted, and the decoder is gone.
pub fn report_of(
    child: &mut Child,
    limit: Option<Duration>,
    is_known: impl Fn(&Digest) -> bool,
) -> Result<Report, Failed> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    child.send(&GO)?;
    let mut head: Option<Report> = None;
    let ended = loop {
        let report = match receive(child, deadline) {
            Ok(report) => report,
            Err(ended) => break ended,
        };
        if !matches!(report.ending, Ending::NotYet { .. }) {
            match child.end_by(deadline) {
                Ended::Exit(0) => return Ok(report),
                ended => break ended,
            }
        }
        match &head {
            // A pipe has none yet.
            None if report.digest != Digest::default() && is_known(&report.digest) => {
                child.end_by(deadline);
                return Ok(report);
            }
            None => child.send(&GO)?,
            Some(before) if before.digest == report.digest => {}
            Some(_) => {
                child.kill();
                break Ended::Strange;
            }
        }
        head = Some(report);
    };
    let has_text = |report: &Report| report.records > 0 && report.digest != Digest::default();
    Err(Failed { ended, head: head.filter(|head| ended.is_own_fault() && has_text(head)).map(Box::new) })
}

fn receive(child: &mut Child, deadline: Option<Instant>) -> Result<Report, Ended> {
    let mut octets = [0; report::LENGTH];
    child.receive(&mut octets, deadline)?;
    Report::decode(&octets).ok_or_else(|| {
        child.kill();
        Ended::Strange
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{alone, child};
    use std::slice;

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn said(mut decoder: Child, limit: Option<Duration>) -> String {
        let result = report_of(&mut decoder, limit, |_| false);
        result.map_or_else(|failed| failed.ended.to_string(), |report| format!("{report:?}"))
    }

    fn begun(socket: &mut File) {
        let _ = socket.read_exact(&mut [0]);
    }

    #[test]
    fn a_report_is_taken_whole_and_from_a_decoder_that_ended_well() {
        let _alone = alone();
        let good = child(|mut socket| {
            begun(&mut socket);
            i32::from(socket.write_all(&Report::empty().encode()).is_err())
        });
        assert_eq!(said(good, MINUTE), format!("{:?}", Report::empty()));
        let died = child(|mut socket| {
            begun(&mut socket);
            let _ = socket.write_all(&Report::empty().encode());
            9
        });
        assert_eq!(said(died, MINUTE), "exited with status 9");
    }

    /// The report that two lines of text were written.
    fn two_lines(digest: Digest) -> Report {
        let ending = Ending::NotYet { text: 10 };
        Report { ending, digest, head: [6; 32], records: 2, undecodable: 0, overlong: 0, first: 5, last: 6 }
    }

    #[test]
    fn a_log_that_is_known_has_no_text() {
        let _alone = alone();
        for wanted in [true, false] {
            let mut decoder = child(|mut socket| {
                begun(&mut socket);
                let told = tell(&mut socket, &Report::first([7; 32]));
                if told.is_err() || wait(&mut socket).is_err() {
                    return 1;
                }
                i32::from(tell(&mut socket, &Report::empty()).is_err())
            });
            let expected = if wanted { Report::first([7; 32]) } else { Report::empty() };
            let known: Digest = if wanted { [7; 32] } else { [8; 32] };
            assert_eq!(report_of(&mut decoder, MINUTE, |digest| *digest == known), Ok(expected));
            assert_eq!(decoder.end(), Ended::Exit(i32::from(wanted)));
        }
    }

    #[test]
    fn of_one_that_dies_of_its_log_the_last_report_counts() {
        use nix::sys::signal::{Signal, raise};
        let _alone = alone();
        let dies = |reports: &[Report], signal: Option<Signal>| {
            let mut decoder = child(|mut socket| {
                begun(&mut socket);
                for (number, report) in reports.iter().enumerate() {
                    if tell(&mut socket, report).is_err() || number == 0 && wait(&mut socket).is_err() {
                        return 1;
                    }
                }
                signal.map_or(1, |signal| i32::from(raise(signal).is_ok()))
            });
            report_of(&mut decoder, MINUTE, |_| false).unwrap_err()
        };
        let (first, both) = (Report::first([7; 32]), two_lines([7; 32]));
        let abort = Some(Signal::SIGABRT);
        let head = |reports: &[Report], signal| dies(reports, signal).head;
        assert_eq!(head(&[first.clone(), both.clone()], abort).as_deref(), Some(&both));
        assert_eq!(head(&[], abort), None);
        assert_eq!(head(slice::from_ref(&first), abort), None, "there is no text");
        // Not of the log: it may go well the next time.
        for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
            assert_eq!(head(&[first.clone(), both.clone()], signal), None, "{signal:?}");
        }
        // A pipe has no digest before its end.
        let nameless = [Report::first(Digest::default()), two_lines(Digest::default())];
        assert_eq!(head(&nameless, abort), None);
        let other = dies(&[first, both, two_lines([8; 32])], abort);
        assert_eq!(other, Failed::from(Ended::Strange));
    }

    #[test]
    fn reports_without_end_have_a_limit() {
        let _alone = alone();
        let mut decoder = child(|mut socket| {
            begun(&mut socket);
            while tell(&mut socket, &two_lines([7; 32])).is_ok() {}
            1
        });
        let failed = report_of(&mut decoder, Some(Duration::from_millis(50)), |_| false).unwrap_err();
        assert_eq!(failed, Failed::from(Ended::Late), "the machine may have slept: it is tried again");
    }

    #[test]
    fn lies_and_silence_cost_the_log_only() {
        let _alone = alone();
        let lies = child(|mut socket| {
            begun(&mut socket);
            i32::from(socket.write_all(&[0xff; 4 * report::LENGTH]).is_err())
        });
        assert_eq!(said(lies, MINUTE), "sent no valid answer");
        let half = child(|mut socket| {
            begun(&mut socket);
            i32::from(socket.write_all(&[0; report::LENGTH - 1]).is_err())
        });
        assert_eq!(said(half, MINUTE), "exited with status 0");
        assert_eq!(said(child(|_| 1), MINUTE), "exited with status 1");
        let silent = child(|_socket| {
            loop {
                std::thread::sleep(LIMIT);
            }
        });
        assert_eq!(said(silent, Some(Duration::from_millis(1))), "took too long and was killed");
        // One that stays after its report has no more time than one that sends none.
        let stays = child(|mut socket| {
            begun(&mut socket);
            let _ = socket.write_all(&Report::empty().encode());
            loop {
                std::thread::sleep(LIMIT);
            }
        });
        let began = Instant::now();
        assert_eq!(said(stays, Some(Duration::from_millis(200))), "took too long and was killed");
        assert!(began.elapsed() < Duration::from_secs(20), "newsyslog waits for a hook");
    }
}
