//! The collector's second half: it has the texts posted, one part after the other, and decides
//! from the uploader's octets what becomes of them.
//!
//! An uploader that lies loses or repeats what it was given, and nothing else: a text is removed or
//! moved here, by the name that it has here, and what is said twice was said for two questions.

use std::time::{Duration, Instant};

use common::{Error, message};

use super::Collector;
use crate::backoff::{self, Backoff};
use crate::outbox::Text;
use crate::part;
use crate::process::{Child, Ended};
use crate::uploader::{self, Verdict};

/// How long a run goes on to post one text after the other.
const UPLOADS: Duration = Duration::from_secs(1800);

/// After how many texts in a row that were not taken the server is thought to be out of order.
const IN_A_ROW: u32 = 3;

/// Whether a run goes on with the next text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// What a run has seen of the server.
#[derive(Debug)]
struct Round {
    began: Instant,
    /// How many texts in a row were not taken.
    in_a_row: u32,
    /// Parts that the server took.
    taken: u64,
    /// The step of `backoff` that the server asked for, if it failed; 0 if it did not ask.
    failed: Option<u8>,
    /// The uploader has ended, and it was said.
    is_over: bool,
}

impl Collector<'_> {
    /// Has the texts posted, until there is no use in it or the time for it is over.
    pub fn upload(&mut self, mut uploader: Child) {
        let since = backoff::now();
        let mut round = Round { began: Instant::now(), in_a_row: 0, taken: 0, failed: None, is_over: false };
        let mut texts: Vec<(Text, u32)> = std::mem::take(&mut self.ready).into_iter().collect();
        texts.sort_unstable_by_key(|(text, _)| text.turn());
        for (text, number) in texts {
            match self.post(&mut uploader, text, number, &mut round) {
                Ok(Next::Go) => {}
                Ok(Next::Stop) => break,
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
        match uploader.end() {
            Ended::Exit(0) => {}
            _ if round.is_over => {}
            ended => self.fail(Error::new("uploader", ended)),
        }
        self.remember(&round, since).unwrap_or_else(|error| self.fail(error));
    }

    /// Has the parts of a text posted that the server does not have.
    fn post(
        &mut self,
        uploader: &mut Child,
        mut text: Text,
        number: u32,
        round: &mut Round,
    ) -> Result<Next, Error> {
        let parts = part::count(self.outbox.size(&text)?);
        // A name that says more than there can be costs the last part once more.
        let first = text.sent.min(parts.saturating_sub(1));
        for part in first..parts {
            if round.began.elapsed() > UPLOADS {
                message::say("the other texts have to wait for the next run");
                return Ok(Next::Stop);
            }
            match uploader::verdict_of(uploader, number, &text.name.digest, part) {
                Ok(Verdict::Sent) => {
                    round.in_a_row = 0;
                    round.taken = round.taken.saturating_add(1);
                    let now = Text { sent: part.saturating_add(1), ..text };
                    if now.sent < parts {
                        self.outbox.note(&text, &now)?;
                        text = now;
                    }
                }
                Ok(Verdict::Rejected) => {
                    // If it is not the text but url that is wrong, one text is enough to see it.
                    return self.reject(&text).map(|()| Next::Stop);
                }
                Ok(Verdict::Later) => {
                    round.failed.get_or_insert(0);
                    round.in_a_row = round.in_a_row.saturating_add(1);
                    self.put_back(&text, "not posted; it waits for the next run")?;
                    return Ok(if round.in_a_row < IN_A_ROW { Next::Go } else { Next::Stop });
                }
                Ok(Verdict::Away(step)) => {
                    round.failed = Some(step);
                    let path = self.outbox.waiting().join(text.to_string());
                    let cause = "not posted; it and what is behind it wait for the next run";
                    self.fail(Error::new(path.display(), cause));
                    return Ok(Next::Stop);
                }
                Err(Ended::Late) => {
                    // Each request has a limit, but for what a proxy says first: so it would be with every text.
                    (round.failed, round.is_over) = (Some(0), true);
                    let path = self.outbox.waiting().join(text.to_string());
                    self.fail(Error::new(
                        path.display(),
                        format!("not posted: the uploader {}", Ended::Late),
                    ));
                    return Ok(Next::Stop);
                }
                Err(ended) => {
                    round.failed.get_or_insert(0);
                    round.is_over = true;
                    self.put_back(&text, &format!("not posted: the uploader {ended}"))?;
                    return Ok(Next::Stop);
                }
            }
        }
        self.outbox.remove(&text)?;
        self.tally.sent = self.tally.sent.saturating_add(1);
        message::say(format!("Log file uploaded successfully for {}", self.config.device_id));
        Ok(Next::Go)
    }

    /// A text that may itself be why it was not taken: next time others have their turn first.
    fn put_back(&mut self, text: &Text, cause: &str) -> Result<(), Error> {
        let now = Text { failed: text.failed.saturating_add(1), ..*text };
        self.fail(Error::new(self.outbox.waiting().join(now.to_string()).display(), cause));
        self.outbox.note(text, &now)
    }

    fn reject(&mut self, text: &Text) -> Result<(), Error> {
        let path = self.outbox.reject(text)?;
        self.tally.rejected = self.tally.rejected.saturating_add(1);
        self.fail(Error::new(path.display(), "the service refused it; it is kept here and not sent again"));
        let removed = self.outbox.trim_rejected(self.config.outbox_max)?;
        if removed > 0 {
            let cause = format!("larger than OUTBOX_MAX; its {removed} oldest texts are removed");
            self.fail(Error::new(self.outbox.rejected().display(), cause));
        }
        Ok(())
    }

    /// Leaves for the next run whether the server failed.
    fn remember(&self, round: &Round, since: u64) -> Result<(), Error> {
        let path = self.config.backoff_file();
        let before = if round.taken > 0 { None } else { Backoff::load(&path) };
        match round.failed {
            // Even if it took something, it asks to be left alone now.
            Some(step @ 1..) => Backoff::next(before, step, since).save(&path),
            Some(0) if round.taken == 0 => Backoff::next(before, 0, since).save(&path),
            _ if round.taken > 0 => backoff::clear(&path),
            _ => Ok(()),
        }
    }
}
