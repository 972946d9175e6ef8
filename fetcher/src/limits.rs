//! What a run may take: time, parts, entries.

use std::time::{Duration, Instant};

use common::set::MAX_PREFIXES;
use nix::unistd::alarm;

use crate::failure::Failure;

/// The limits of a run; a structure so that tests can shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time for a connection to be made.
    pub connect: Duration,
    /// Time for the next message to be there as a whole, or a batch of queries to be taken.
    pub silence: Duration,
    /// Time for one server, at whatever address, to give one table, so that a slow one leaves some
    /// to the next.
    pub attempt: Duration,
    /// Time for everything, all servers and tables together.
    pub run: Duration,
    /// Queries that wait for an answer at the same time. At most 650 octets each, signed, they fit
    /// every socket buffer, so that neither side waits for the other to read.
    pub in_flight: usize,
    /// Parts of a list.
    pub parts: usize,
    /// Items of a table's lists, and prefixes of its policy.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            attempt: Duration::from_secs(3 * 60),
            run: Duration::from_secs(15 * 60),
            in_flight: 32,
            parts: 4096,
            entries: MAX_PREFIXES,
        }
    }
}

impl Limits {
    /// Has the process ended by SIGALRM a minute after the run should have been over. Nothing
    /// else interrupts getaddrinfo(3): it waits as long as resolv.conf(5), or a server that is
    /// hostile, has it wait. What such an end leaves is what a kill leaves.
    pub fn set_alarm(&self) {
        let seconds = self.run.as_secs().saturating_add(60);
        alarm::set(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
}

/// One attempt to get a table from a server.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it is over.
    pub ends: Instant,
    /// What it fails of then.
    pub overdue: Failure,
}

impl Attempt {
    /// An attempt that begins now, in a run that is over at `run_ends`.
    pub fn begin(limits: &Limits, run_ends: Instant) -> Attempt {
        match Instant::now().checked_add(limits.attempt) {
            Some(ends) if ends < run_ends => Attempt { ends, overdue: Failure::AttemptTime(limits.attempt) },
            _ => Attempt { ends: run_ends, overdue: Failure::RunTime(limits.run) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_leaves_the_run_its_time() {
        Limits::default().set_alarm();
        assert!(alarm::cancel().is_some_and(|seconds| (900..=960).contains(&seconds)));
    }

    #[test]
    fn an_attempt_ends_with_the_run_at_the_latest() {
        let limits = Limits::default();
        let soon = Instant::now() + Duration::from_secs(60);
        let attempt = Attempt::begin(&limits, soon);
        assert_eq!((attempt.ends, attempt.overdue), (soon, Failure::RunTime(limits.run)));
        let attempt = Attempt::begin(&limits, soon + limits.attempt);
        assert!(attempt.ends < soon + limits.attempt);
        assert_eq!(attempt.overdue, Failure::AttemptTime(limits.attempt));
    }
}
