//! The decoder: one process for each log, which reads gzip and pcap and writes text.
//!
//! It holds three descriptors (the log, the text, the socket to the collector), runs as `SHIP_USER`
//! and may only compute. It starts when it is told to, so that logs are worked on one after the
//! other, reports once, and exits.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use common::config::LogTime;
use common::error::reason;
use common::privilege::{self, Account};
use common::{Error, message, sandbox};

use crate::clock::{Clock, Zone};
use crate::logs::Log;
use crate::pcap::{End, NotPflog};
use crate::process::{self, Child, Ended};
use crate::report::{self, Ending, Report};
use crate::text::{self, Summary};

/// How long one log may take.
pub const LIMIT: Duration = Duration::from_secs(600);

/// What the collector sends to have the work begin.
const BEGIN: [u8; 1] = [b'b'];

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

/// The decoder's process, from its first step to its exit status: 0 if it has reported, else 1 and
/// it has said why.
pub fn work(socket: File, log: Log, text: File, settings: &Settings) -> i32 {
    match serve(socket, &log, text, settings) {
        Ok(()) => 0,
        Err(said) => {
            said.iter().for_each(message::warn);
            1
        }
    }
}

fn serve(mut socket: File, log: &Log, mut text: File, settings: &Settings) -> Result<(), Option<Error>> {
    let clock = confine(settings).map_err(Some)?;
    let mut begin = [0];
    // An end of file: the collector is gone, and nobody needs the text.
    if socket.read_exact(&mut begin).is_err() || begin != BEGIN {
        return Err(None);
    }
    let report = decode(log, &mut text, clock)?;
    socket.write_all(&report.encode()).map_err(|_| None)
}

/// Gives up everything that is not needed to decode. The clock that comes back was made before.
fn confine(settings: &Settings) -> Result<Clock, Error> {
    privilege::drop_to(&settings.account)?;
    // What goes to standard output may come from a pipe for hours, and somebody waits for it.
    let processor = settings.largest_text.and(Some(LIMIT));
    process::restrain(settings.largest_text, processor)?;
    let clock = Clock::new(settings.log_time, Zone::Local);
    // stdio: read(2) of the log, write(2) of text and report, memory. No path, no socket, no signal.
    sandbox::pledge("stdio")?;
    Ok(clock)
}

fn decode(log: &Log, text: &mut File, clock: Clock) -> Result<Report, Option<Error>> {
    let about = |cause: &dyn std::fmt::Display| Some(Error::new(log.path.display(), cause));
    match text::decode(&log.file, text, clock) {
        Ok(summary) => Ok(report(&summary)),
        Err(text::Error::Input(NotPflog::Empty)) if is_hollow(log) => {
            Err(about(&"has no octets, not even gzip's own: its records are lost"))
        }
        // newsyslog(8) rotated a log that pflogd(8) had not begun: there is nothing to lose.
        Err(text::Error::Input(NotPflog::Empty | NotPflog::CutOff { .. })) => Ok(Report::empty()),
        // Somebody who reads standard output has seen enough.
        Err(text::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Err(None),
        Err(text::Error::Output(error)) if error.kind() == ErrorKind::FileTooLarge => {
            Err(about(&"its text is larger than a quarter of OUTBOX_MAX; raise it"))
        }
        Err(text::Error::Output(error)) => Err(about(&format!("cannot write its text: {}", reason(&error)))),
        Err(error) => Err(about(&error)),
    }
}

/// Whether a log that was compressed has lost its content, as it does when the power fails soon after:
/// gzip(1) makes a frame around nothing, too.
fn is_hollow(log: &Log) -> bool {
    log.path.extension().is_some_and(|extension| extension == "gz")
        && log.file.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

fn report(summary: &Summary) -> Report {
    let ending = match summary.end {
        End::Clean => Ending::Clean,
        End::CutOff { .. } => Ending::CutOff,
        End::Corrupt { record, offset, .. } => Ending::Corrupt { record, offset },
        End::Unreadable { offset, .. } => Ending::Damaged { offset },
    };
    Report {
        ending,
        digest: summary.octets,
        records: summary.records,
        undecodable: summary.undecodable,
        overlong: summary.overlong,
        first: summary.first.map_or(0, |(seconds, _)| seconds),
        last: summary.last.map_or(0, |(seconds, _)| seconds),
    }
}

/// The collector's side: has a decoder begin, and waits for its report and its end. After that
/// nobody writes to the text any more.
///
/// # Errors
/// There is no report to be trusted, and the decoder is gone.
pub fn report_of(child: &mut Child, limit: Option<Duration>) -> Result<Report, Ended> {
    let mut octets = [0; report::LENGTH];
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let answer = child.send(&BEGIN).and_then(|()| child.receive(&mut octets, deadline));
    match answer.map(|()| child.end_by(deadline)) {
        Ok(Ended::Exit(0)) => Report::decode(&octets).ok_or(Ended::Strange),
        Ok(ended) | Err(ended) => Err(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{alone, child};

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn said(mut decoder: Child, limit: Option<Duration>) -> String {
        report_of(&mut decoder, limit).map_or_else(|ended| ended.to_string(), |report| format!("{report:?}"))
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
