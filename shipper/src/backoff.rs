//! How long the log server is left alone after it failed, from run to run.
//!
//! A file in the spool, `<step> <since>\n`: with every run in which nothing could be posted the
//! step goes up, and the wait doubles. It only ever delays: a file that is missing, damaged, too far in the
//! past or in the future delays nothing.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::replace::{Replacement, sync_directory};
use common::{Error, owner};

/// The highest step.
pub const HIGHEST: u8 = 5;

/// The wait of the first step, in seconds: the time from one run to the next.
const FIRST: u64 = 15 * 60;

/// How much earlier than it should a run may come, in seconds: cron(8) is not that exact.
const SLACK: u64 = 60;

/// Octets of the file, at most.
const MAX_SIZE: u64 = 32;

/// A server that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// 1 to `HIGHEST`.
    step: u8,
    /// When it failed last, in seconds since 1970.
    since: u64,
}

/// The lowest step whose wait is no shorter than this many seconds; the highest if none is.
pub fn step_for(seconds: u64) -> u8 {
    (1..HIGHEST).find(|step| wait(*step) >= seconds).unwrap_or(HIGHEST)
}

/// The wait of a step, in seconds: 15 minutes, 30, 1 hour, 2, 4.
fn wait(step: u8) -> u64 {
    FIRST << step.clamp(1, HIGHEST).saturating_sub(1)
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Backoff {
    /// Reads the file; `None` if there is nothing to be learned from it.
    pub fn load(path: &Path) -> Option<Backoff> {
        let mut octets = Vec::new();
        owner::open(path).ok()?.take(MAX_SIZE).read_to_end(&mut octets).ok()?;
        parse(&octets)
    }

    /// What follows when a run that began at `since` could post nothing. `least` is the step that
    /// the server asked for, 0 for none.
    pub fn next(before: Option<Backoff>, least: u8, since: u64) -> Backoff {
        let step = before.map_or(0, |before| before.step).saturating_add(1);
        Backoff { step: step.max(least).min(HIGHEST), since }
    }

    /// How many seconds the server is still to be left alone.
    pub fn left(&self, now: u64) -> u64 {
        match now.checked_sub(self.since) {
            Some(gone) => wait(self.step).saturating_sub(SLACK).saturating_sub(gone),
            // The clock was set back, and does not say for how long.
            None => 0,
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written; the old one stays.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let mut new = Replacement::create(path, 0o600)?;
        writeln!(new, "{} {}", self.step, self.since).map_err(|error| Error::io(path, &error))?;
        new.commit()
    }
}

/// Forgets that the server failed.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn clear(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path, &error)),
    }
}

fn parse(octets: &[u8]) -> Option<Backoff> {
    let (step, since) = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let backoff = Backoff { step: step.parse().ok()?, since: since.parse().ok()? };
    (1..=HIGHEST).contains(&backoff.step).then_some(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_four_hours() {
        let mut waits = Vec::new();
        let mut backoff = None;
        for _ in 0..7 {
            let next = Backoff::next(backoff, 0, 1000);
            waits.push((next.left(1000) + SLACK) / 60);
            backoff = Some(next);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 240, 240]);
        assert_eq!(Backoff::next(None, 3, 0).step, 3, "what the server asked for");
        assert_eq!(Backoff::next(Some(Backoff { step: 4, since: 0 }), 3, 0).step, 5);
        assert_eq!(Backoff::next(None, u8::MAX, 0).step, HIGHEST);
    }

    #[test]
    fn the_server_gets_at_least_what_it_asks_for() {
        for (seconds, minutes) in [(0, 15), (900, 15), (901, 30), (3600, 60), (7201, 240), (u64::MAX, 240)] {
            assert_eq!(wait(step_for(seconds)), minutes * 60, "{seconds}");
        }
    }

    #[test]
    fn a_clock_that_jumps_delays_nothing() {
        let backoff = Backoff { step: 1, since: 10_000 };
        assert_eq!(backoff.left(10_000), 840);
        assert_eq!(backoff.left(10_839), 1);
        for now in [0, 9_999, 10_840, u64::MAX] {
            assert_eq!(backoff.left(now), 0, "{now}");
        }
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        assert_eq!(parse(b"5 1795000000\n"), Some(Backoff { step: 5, since: 1_795_000_000 }));
        let good = b"5 1795000000\n";
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None);
        }
        for bad in
            ["0 1\n", "6 1\n", "-1 1\n", "1 1 1\n", "1 1\n\n", "1 99999999999999999999\n", "\u{ff} 1\n"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn comes_back_from_the_disk_and_goes() {
        let path = std::env::temp_dir().join(format!("tsship-backoff-{}", std::process::id()));
        let backoff = Backoff { step: 2, since: 7 };
        backoff.save(&path).unwrap();
        assert_eq!(Backoff::load(&path), Some(backoff));
        clear(&path).unwrap();
        assert_eq!(Backoff::load(&path), None);
        clear(&path).unwrap();
    }

    proptest! {
        #[test]
        fn never_more_than_four_hours(step in 1..=HIGHEST, since: u64, now: u64) {
            let left = Backoff { step, since }.left(now);
            prop_assert!(left < 4 * 3600);
        }
    }
}
