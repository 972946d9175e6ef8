//! The collector: the process that keeps root and the files, and decodes nothing.
//!
//! What its children say is hostile until checked. A decoder gets a log and a draft, an uploader the
//! texts; from the one comes a report, from the other an octet. A text goes its way in an order that
//! a kill at any moment cannot break: draft, fsync, rename into the outbox, line in the ledger, post,
//! removal. What is in the ledger is never spooled again; what is not is never posted.
//!
//! A decoder that dies costs this run its log: what it has written is discarded, because without its
//! report there is no name under which a later run would know it. The next run tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Config, Error, Status, message};

use crate::decoder;
use crate::ledger::{Entry, Ledger};
use crate::outbox::{Draft, Name, Outbox, surplus};
use crate::process::{Child, Ended};
use crate::report::{Ending, Report};
use crate::text::Digest;
use crate::uploader::{self, Verdict};

/// How long a run goes on to post one text after the other.
const UPLOADS: Duration = Duration::from_secs(1800);

/// A log on its way to a text.
#[derive(Debug)]
pub struct Decoding {
    /// The log's name, for messages.
    pub log: PathBuf,
    /// The process that decodes it.
    pub decoder: Child,
    /// The text it writes.
    pub draft: Draft,
    /// The text's number at the uploader.
    pub number: u32,
}

/// The collector's work on one run.
#[derive(Debug)]
pub struct Collector<'a> {
    config: &'a Config,
    outbox: Outbox,
    ledger: Ledger,
    /// Texts that may be posted, with their numbers at the uploader.
    ready: BTreeMap<Name, u32>,
    /// Digests of the rotated logs that were read.
    seen: BTreeSet<Digest>,
    /// Whether every rotated log there is was read.
    complete: bool,
    tally: Tally,
}

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Logs spooled.
    pub spooled: u64,
    /// Records in them.
    pub records: u64,
    /// Texts posted.
    pub sent: u64,
    /// Texts that the service refused.
    pub rejected: u64,
    /// Texts that were dropped to keep the outbox within its size.
    pub dropped: u64,
    /// Texts that wait for the next run.
    pub waiting: u64,
    /// Something failed, and was said.
    pub failed: bool,
}

impl Tally {
    /// How the run ended.
    pub fn status(&self) -> Status {
        match self {
            Tally { failed: true, .. } => Status::Failed,
            Tally { spooled: 0, sent: 0, .. } => Status::Nothing,
            _ => Status::Changed,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { spooled, records, sent, rejected, dropped, waiting, .. } = self;
        write!(f, "spooled {spooled} logs with {records} records, uploaded {sent}, {waiting} waiting")?;
        if *rejected > 0 {
            write!(f, ", {rejected} rejected")?;
        }
        if *dropped > 0 {
            write!(f, ", {dropped} dropped")?;
        }
        Ok(())
    }
}

impl<'a> Collector<'a> {
    /// Takes up the spool. `waiting` are the texts of earlier runs that the uploader has, with their
    /// numbers; `complete` says whether all rotated logs are on their way to this collector.
    ///
    /// # Errors
    /// The outbox or the ledger cannot be read.
    pub fn new(
        config: &'a Config,
        outbox: Outbox,
        waiting: Vec<(Name, u32)>,
        complete: bool,
    ) -> Result<Collector<'a>, Error> {
        let ledger = Ledger::load(&config.ledger_file())?;
        let mut collector = Collector {
            config,
            outbox,
            ledger,
            ready: waiting.into_iter().collect(),
            seen: BTreeSet::new(),
            complete,
            tally: Tally::default(),
        };
        collector.repair()?;
        Ok(collector)
    }

    /// Enters what a killed run put into the outbox but not yet into the ledger.
    fn repair(&mut self) -> Result<(), Error> {
        if self.ledger.strange() > 0 {
            let cause = format!("{} strange lines, left out; logs may be sent again", self.ledger.strange());
            self.fail(Error::new(self.config.ledger_file().display(), cause));
        }
        for (name, _) in self.outbox.list()? {
            if !self.ledger.contains(&name.digest) {
                let entry = Entry { digest: name.digest, records: 0, first: name.first, last: name.first };
                if let Err(error) = self.ledger.append(entry) {
                    self.ready.remove(&name);
                    self.fail(error);
                }
            }
        }
        Ok(())
    }

    /// Names logs in a compression that is not read, and says how many old ones were left. These
    /// have been shipped before they were so many, unless there is no ledger yet.
    pub fn mention(&self, foreign: &[PathBuf], left: usize) {
        for path in foreign {
            message::warn(Error::new(
                path.display(),
                "not gzip, so not shipped; flag Z in newsyslog.conf(5) is",
            ));
        }
        if left > 0 && self.ledger.is_empty() {
            message::warn(Error::new(
                self.config.pflog.display(),
                format!("the {left} oldest rotated logs are too many for one run and not shipped"),
            ));
        }
    }

    /// Says what went wrong; the run goes on, and fails in the end.
    pub fn fail(&mut self, error: impl std::fmt::Display) {
        message::warn(error);
        self.tally.failed = true;
    }

    /// Waits for a decoder, and puts its text into the outbox if it is news.
    pub fn spool(&mut self, mut decoding: Decoding) {
        let report = match decoder::report_of(&mut decoding.decoder, &decoding.log, Some(decoder::LIMIT)) {
            Ok(report) => report,
            Err(said) => {
                self.complete = false;
                self.failed(said);
                return self.discard(&decoding.draft);
            }
        };
        if report.ending == Ending::Empty {
            message::say(format!("{}: empty", decoding.log.display()));
            return self.discard(&decoding.draft);
        }
        self.seen.insert(report.digest);
        if self.ledger.contains(&report.digest) {
            return self.discard(&decoding.draft);
        }
        if let Err(error) = self.admit(&decoding, &report) {
            self.fail(error);
            return;
        }
        self.describe(&decoding, &report);
    }

    /// Puts a text into the outbox and its log into the ledger. A log without records goes into
    /// the ledger only.
    fn admit(&mut self, decoding: &Decoding, report: &Report) -> Result<(), Error> {
        let name = Name { first: report.first.into(), digest: report.digest };
        if report.records > 0 {
            self.outbox.publish(&decoding.draft, &name)?;
        } else {
            self.outbox.discard(&decoding.draft)?;
        }
        self.ledger.append(Entry {
            digest: report.digest,
            records: report.records,
            first: report.first.into(),
            last: report.last.into(),
        })?;
        if report.records > 0 {
            self.ready.insert(name, decoding.number);
            self.tally.spooled = self.tally.spooled.saturating_add(1);
            self.tally.records = self.tally.records.saturating_add(report.records);
        }
        Ok(())
    }

    /// Says, once for each log, what was in it.
    fn describe(&mut self, Decoding { log, .. }: &Decoding, report: &Report) {
        let log = log.display();
        if report.ending.is_loss() {
            self.fail(Error::new(
                log,
                format!("{}; {} records before it are kept", report.ending, report.records),
            ));
            return;
        }
        message::say(format!("{log}: {} records, {}", report.records, report.ending));
        if report.undecodable > 0 {
            message::say(format!("{log}: {} records are no pflog records", report.undecodable));
        }
    }

    fn discard(&mut self, draft: &Draft) {
        if let Err(error) = self.outbox.discard(draft) {
            self.fail(error);
        }
    }

    /// Has the texts posted, oldest first, until one has to wait or the time for it is over.
    pub fn upload(&mut self, mut uploader: Child) {
        let began = Instant::now();
        for (name, number) in std::mem::take(&mut self.ready) {
            if began.elapsed() > UPLOADS {
                message::say("the other texts have to wait for the next run");
                break;
            }
            let done = match uploader::verdict_of(&mut uploader, number, &name.digest) {
                Ok(Verdict::Sent) => self.sent(&name),
                Ok(Verdict::Rejected) => self.reject(&name),
                Ok(Verdict::Later) => {
                    self.tally.failed = true;
                    break;
                }
                Err(said) => return self.failed(said),
            };
            if let Err(error) = done {
                self.fail(error);
                break;
            }
        }
        match uploader.end() {
            Ended::Exit(0) => {}
            Ended::Exit(1) => self.failed(None),
            ended => self.fail(Error::new("uploader", ended)),
        }
    }

    /// A child failed, and may have said why itself.
    fn failed(&mut self, said: Option<Error>) {
        self.tally.failed = true;
        said.iter().for_each(message::warn);
    }

    fn sent(&mut self, name: &Name) -> Result<(), Error> {
        self.outbox.remove(name)?;
        self.tally.sent = self.tally.sent.saturating_add(1);
        message::say(format!("Log file uploaded successfully for {}", self.config.device_id));
        Ok(())
    }

    fn reject(&mut self, name: &Name) -> Result<(), Error> {
        self.outbox.reject(name)?;
        self.tally.rejected = self.tally.rejected.saturating_add(1);
        let path = self.outbox.rejected().join(name.to_string());
        self.fail(Error::new(path.display(), "the service refused it; it is kept here and not sent again"));
        Ok(())
    }

    /// Drops the oldest texts if the outbox is too large, forgets logs that are gone, and counts.
    pub fn close(mut self) -> Tally {
        if let Err(error) = self.tidy() {
            self.fail(error);
        }
        self.tally
    }

    fn tidy(&mut self) -> Result<(), Error> {
        let waiting = self.outbox.list()?;
        for (name, _) in surplus(&waiting, self.config.outbox_max) {
            self.outbox.remove(name)?;
            self.tally.dropped = self.tally.dropped.saturating_add(1);
        }
        self.tally.waiting = (waiting.len() as u64).saturating_sub(self.tally.dropped);
        if self.tally.dropped > 0 {
            let cause = format!("larger than OUTBOX_MAX, {} oldest logs removed unsent", self.tally.dropped);
            self.fail(Error::new(self.outbox.waiting().display(), cause));
        }
        // Only with every log in sight is one that was not seen known to be gone.
        if self.complete && !self.seen.is_empty() {
            let kept: BTreeSet<Digest> = waiting.iter().map(|(name, _)| name.digest).collect();
            self.ledger.prune(|digest| self.seen.contains(digest) || kept.contains(digest))?;
        }
        Ok(())
    }
}
