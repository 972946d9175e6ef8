//! What a run may take: time, parts, entries.

use std::time::Duration;

/// The limits of a run; a structure so that tests can shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time for a connection to be made.
    pub connect: Duration,
    /// Time for the next message to be there as a whole, or a batch of queries to be taken.
    pub silence: Duration,
    /// Time for everything, all servers and tables together.
    pub run: Duration,
    /// Queries that wait for an answer at the same time. At most 272 octets each, they fit every
    /// socket buffer, so that neither side waits for the other to read.
    pub in_flight: usize,
    /// Parts of a list.
    pub parts: usize,
    /// Items of a list.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            run: Duration::from_secs(15 * 60),
            in_flight: 32,
            parts: 4096,
            entries: 10_000_000,
        }
    }
}
