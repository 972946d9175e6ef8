//! The collector: the process that keeps root and the files, and decodes nothing.
//!
//! What its children say is hostile until checked. A decoder gets a log and a draft, an uploader the
//! texts; from the one comes a report, from the other an octet. A text goes its way in an order that
//! a kill at any moment cannot break: draft, fsync, rename into the outbox, line in the ledger, post,
//! removal. What is in the ledger is never spooled again; what is not is never posted.
//!
//! A decoder that dies of its log costs the tail of that log: the text up to the last report is spooled
//! like that of a whole log, under the digest of the whole, and what is lost is said, once. One that
//! dies before there is a line of text, or of something else, costs this run the log. The next run
//! tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use common::clock::date_at;
use common::{Config, Error, Status, message};

use crate::decoder::{self, Failed};
use crate::ledger::{Entry, Ledger};
use crate::logs::Identity;
use crate::outbox::{Draft, Name, Outbox, Text, surplus};
use crate::process::{Child, Ended};
use crate::report::Ending;
use crate::text::{self, Digest};

/// A log on its way to a text.
#[derive(Debug)]
pub struct Decoding {
    /// The log's name, for messages.
    pub log: PathBuf,
    /// What the next run knows it by.
    pub file: Identity,
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
    ready: BTreeMap<Text, u32>,
    /// Digests of the logs that are there.
    seen: BTreeSet<Digest>,
    /// Those among them that were spooled.
    spooled: BTreeSet<Digest>,
    /// The digest of the log that was read before.
    previous: Option<Digest>,
    /// Whether no log can have been deleted unseen.
    is_continuous: bool,
    tally: Tally,
    /// When the logs of the first and the last text began that were dropped.
    dropped: Option<(u64, u64)>,
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
    /// Takes up the spool. `known` are the logs that an earlier run read, by the ledger; `None` where
    /// logs were named by hand, which says nothing about others. `waiting` are the texts of
    /// earlier runs that the uploader has, with their numbers.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub fn new(
        config: &'a Config,
        outbox: Outbox,
        ledger: Ledger,
        known: Option<&[Identity]>,
        waiting: Vec<(Text, u32)>,
    ) -> Result<Collector<'a>, Error> {
        let entries: Vec<&Entry> =
            known.unwrap_or_default().iter().filter_map(|file| ledger.find(file)).collect();
        let seen = entries.iter().map(|entry| entry.digest).collect();
        let is_continuous = known.is_none() || ledger.is_new() || !entries.is_empty();
        let mut collector = Collector {
            config,
            outbox,
            ledger,
            ready: waiting.into_iter().collect(),
            seen,
            spooled: BTreeSet::new(),
            previous: None,
            is_continuous,
            tally: Tally::default(),
            dropped: None,
        };
        collector.repair()?;
        Ok(collector)
    }

    /// Enters what a killed run put into the outbox but not yet into the ledger.
    fn repair(&mut self) -> Result<(), Error> {
        if let Some(fault) = self.ledger.fault() {
            self.fail(Error::new(self.config.ledger_file().display(), fault));
            self.ledger.rewrite().unwrap_or_else(|error| self.fail(error));
        }
        for (text, _) in self.outbox.list()? {
            let Name { first, digest } = text.name;
            if self.ledger.get(&digest).is_none() {
                let (head, file) = (Digest::default(), Identity::default());
                let entry = Entry { digest, head, records: 0, first, last: first, file };
                if let Err(error) = self.ledger.append(entry) {
                    self.ready.remove(&text);
                    self.fail(error);
                }
            }
        }
        Ok(())
    }

    /// Names logs in a compression that is not read, each once: then it is in the ledger.
    pub fn mention(&mut self, foreign: &[(PathBuf, Identity)]) {
        for (path, file) in foreign {
            if let Some(known) = self.ledger.find(file) {
                self.seen.insert(known.digest);
                continue;
            }
            self.fail(Error::new(path.display(), "not gzip, so not shipped; flag Z in newsyslog.conf(5) is"));
            let digest = text::digest(format!("{file:?}").as_bytes());
            let (head, records, first, last) = (Digest::default(), 0, 0, 0);
            self.seen.insert(digest);
            let entry = Entry { digest, head, records, first, last, file: *file };
            self.ledger.append(entry).unwrap_or_else(|error| self.fail(error));
        }
    }

    /// Says that logs before one that begins at `first` may have been deleted unseen: not one that is
    /// there was spooled before. To be called before that one is: a run that is killed in between
    /// says it again.
    fn mention_gap(&mut self, first: u64) {
        let before = self.ledger.last_before(first);
        let from = before.map(|last| format!("after {} and ", date_at(last))).unwrap_or_default();
        let cause = format!(
            "what was logged {from}before {} may be lost: logs were deleted before they were read, unless there were none",
            date_at(first)
        );
        self.fail(Error::new(self.config.pflog.display(), cause));
    }

    /// Says what went wrong; the run goes on, and fails in the end.
    pub fn fail(&mut self, error: impl std::fmt::Display) {
        message::warn(error);
        self.tally.failed = true;
    }

    /// Waits for a decoder, at most until `until`, and puts its text into the outbox if it is news.
    pub fn spool(&mut self, mut decoding: Decoding, until: Option<Instant>) {
        let log = decoding.log.display();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.map_or(decoder::LIMIT, |left| left.min(decoder::LIMIT));
        let is_known = |digest: &Digest| self.ledger.get(digest).is_some();
        let (report, died) = match decoder::report_of(&mut decoding.decoder, Some(limit), is_known) {
            Ok(report) => (report, None),
            Err(Failed { ended: Ended::Late, .. }) if limit < decoder::LIMIT => {
                message::say(format!("{log}: waits for the next run, for this one has taken long enough"));
                return self.discard(&decoding.draft);
            }
            Err(Failed { ended, head: Some(head) }) => (*head, Some(ended)),
            Err(Failed { ended, head: None }) => {
                self.fail(Error::new(&log, format!("not shipped: its decoder {ended}")));
                return self.discard(&decoding.draft);
            }
        };
        if report.digest == Digest::default() && report.ending != Ending::Empty {
            // No log has this digest, by which logs are known from now on.
            self.fail(Error::new(&log, format!("not shipped: its decoder {}", Ended::Strange)));
            return self.discard(&decoding.draft);
        }
        if report.ending == Ending::Empty {
            message::say(format!("{log}: empty"));
            return self.discard(&decoding.draft);
        }
        let entry = Entry {
            digest: report.digest,
            head: report.head,
            records: report.records,
            first: report.first.into(),
            last: report.last.into(),
            file: decoding.file,
        };
        let known = self.ledger.get(&report.digest).copied();
        let is_first = self.seen.insert(report.digest);
        let previous = self.previous.replace(report.digest);
        if let Some(known) = known {
            // Logs without records are all the same but for their time, which gzip(1) keeps.
            self.is_continuous |= known.last > 0 || known.file.mtime == entry.file.mtime;
            // A log that is moved up while we look for logs is met again as the next older one.
            if self.spooled.contains(&report.digest) && previous != Some(report.digest) {
                self.fail(Error::new(&log, "not shipped: has the digest of another log of this run"));
            }
            // Of several copies the first that is met counts; of logs without records the youngest, which is
            // there the longest.
            let is_younger = known.last == 0 && entry.file.mtime > known.file.mtime;
            if (is_first || is_younger) && entry.file.inode != 0 && entry.file != known.file {
                let known = Entry { file: entry.file, ..known };
                self.ledger.append(known).unwrap_or_else(|error| self.fail(error));
            }
            return self.discard(&decoding.draft);
        }
        let before = self.ledger.with_head(&entry.head).copied();
        if let Some(before) = before
            && before.records >= entry.records
            && before.first == entry.first
            && before.last >= entry.last
        {
            let (was, is) = (before.records, entry.records);
            self.fail(Error::new(
                &log,
                format!("has lost its end, which was shipped: {is} of {was} records are left"),
            ));
            self.is_continuous = true;
            self.seen.insert(before.digest);
            if entry.file.inode != 0 {
                let before = Entry { file: entry.file, ..before };
                self.ledger.append(before).unwrap_or_else(|error| self.fail(error));
            }
            return self.discard(&decoding.draft);
        }
        for fault in report.faults() {
            self.fail(Error::new(&log, fault));
        }
        if report.is_foreign() {
            // Not in the ledger, so that a later version may ship it.
            self.fail(Error::new(&log, "not shipped: not one of its records can be read"));
            return self.discard(&decoding.draft);
        }
        if let (Some(ended), Ending::NotYet { text }) = (died, report.ending) {
            if let Err(error) = self.outbox.cut(&decoding.draft, text) {
                self.fail(Error::new(&log, format!("not shipped: its decoder {ended}; {error}")));
                return self.discard(&decoding.draft);
            }
            // Before it is spooled: a run that is killed in between says it again.
            let (records, last) = (report.records, date_at(entry.last));
            let cause = format!("its decoder {ended}: what follows record {records}, of {last}, is lost");
            self.fail(Error::new(&log, cause));
        }
        // A record is a line, which has an octet at least.
        if !decoding.draft.size().is_ok_and(|octets| octets >= report.records) {
            self.fail(Error::new(&log, format!("not shipped: its decoder {}", Ended::Strange)));
            return self.discard(&decoding.draft);
        }
        if let Some(before) = before {
            let count = before.records;
            self.fail(Error::new(
                &log,
                format!("its first {count} records were shipped before, and are again"),
            ));
        }
        if report.records > 0 && !self.is_continuous {
            self.mention_gap(entry.first);
            self.is_continuous = true;
        }
        match self.admit(&decoding, entry) {
            Ok(()) => message::say(format!("{log}: {} records, {}", report.records, report.ending)),
            Err(error) => self.fail(Error::new(&log, error)),
        }
    }

    /// Puts a text into the outbox and its log into the ledger. A log without records goes into
    /// the ledger only.
    fn admit(&mut self, decoding: &Decoding, entry: Entry) -> Result<(), Error> {
        let name = Name { first: entry.first, digest: entry.digest };
        if entry.records > 0 {
            self.outbox.publish(&decoding.draft, &name)?;
        } else {
            self.outbox.discard(&decoding.draft)?;
        }
        self.ledger.append(entry)?;
        if entry.records > 0 {
            self.spooled.insert(entry.digest);
            self.ready.insert(name.into(), decoding.number);
            self.tally.spooled = self.tally.spooled.saturating_add(1);
            self.tally.records = self.tally.records.saturating_add(entry.records);
            self.make_room()?;
        }
        Ok(())
    }

    fn discard(&mut self, draft: &Draft) {
        if let Err(error) = self.outbox.discard(draft) {
            self.fail(error);
        }
    }

    /// Forgets logs that are gone, and counts what waits.
    pub fn close(mut self) -> Tally {
        self.make_room().and_then(|()| self.forget()).unwrap_or_else(|error| self.fail(error));
        if let Some((first, last)) = self.dropped {
            let (first, last) = (date_at(first), date_at(last));
            let cause = format!(
                "{} texts were removed unsent, of logs that began from {first} to {last}",
                self.tally.dropped
            );
            self.fail(Error::new(self.outbox.waiting().display(), cause));
        }
        self.tally
    }

    /// Drops the oldest texts if the outbox is too large. Said before the first goes, for a run may be killed;
    /// how many they were is said at the end.
    fn make_room(&mut self) -> Result<(), Error> {
        let waiting = self.outbox.list()?;
        let surplus = surplus(&waiting, self.config.outbox_max);
        if !surplus.is_empty() && self.dropped.is_none() {
            let cause = "larger than OUTBOX_MAX; its oldest texts are removed unsent";
            self.fail(Error::new(self.outbox.waiting().display(), cause));
        }
        for (text, _) in surplus {
            self.outbox.remove(text)?;
            self.ready.remove(text);
            self.tally.dropped = self.tally.dropped.saturating_add(1);
            let first = self.dropped.map_or(text.name.first, |(first, _)| first.min(text.name.first));
            let last = self.dropped.map_or(text.name.first, |(_, last)| last.max(text.name.first));
            self.dropped = Some((first, last));
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<(), Error> {
        let waiting: BTreeSet<Digest> =
            self.outbox.list()?.iter().map(|(text, _)| text.name.digest).collect();
        self.tally.waiting = waiting.len() as u64;
        self.ledger.prune(|digest| self.seen.contains(digest) || waiting.contains(digest))
    }
}

mod posting;
#[cfg(test)]
mod tests;
