//! A random wait, so that a thousand firewalls with one crontab do not ask in the same second.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use common::Error;

/// The longest wait that may be asked for, in seconds: a day.
const MOST: u64 = 86_400;

/// A random time up to the number of seconds that `-j` gives.
///
/// # Errors
/// It is no number, or more than a day.
pub fn wait(seconds: &OsStr) -> Result<Duration, Error> {
    let number = seconds.to_str().and_then(|text| text.parse::<u64>().ok());
    let Some(number) = number.filter(|number| *number <= MOST) else {
        let given = seconds.as_encoded_bytes().escape_ascii();
        return Err(Error::new("-j", format!("{given}: not a number of seconds from 0 to {MOST}")));
    };
    // std seeds each hasher with the system's randomness.
    let random = RandomState::new().build_hasher().finish();
    Ok(Duration::from_millis(random.checked_rem(number.saturating_mul(1000)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_below_what_is_given_and_differs() {
        let waits: Vec<Duration> = (0..20).map(|_| wait("3600".as_ref()).unwrap()).collect();
        assert!(waits.iter().all(|wait| *wait < Duration::from_secs(3600)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        assert_eq!(wait("0".as_ref()).unwrap(), Duration::ZERO);
        for bad in ["", "-1", "x", "86401", "1.5", "18446744073709551616"] {
            assert!(wait(bad.as_ref()).is_err(), "{bad}");
        }
    }
}
