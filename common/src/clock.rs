//! The date in words, in local time.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time now as date(1) prints it: `Fri Aug 12 07:42:05 PDT 2016`.
pub fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date_at(seconds)
}

/// A time in seconds since 1970, in the same form; empty if it is out of range.
pub fn date_at(seconds: u64) -> String {
    let Ok(time) = libc::time_t::try_from(seconds) else { return String::new() };
    let mut broken_down = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: `time` is valid to read and `broken_down` large enough to write one tm into.
    if unsafe { libc::localtime_r(&time, broken_down.as_mut_ptr()) }.is_null() {
        return String::new();
    }
    let mut text = [0u8; 64];
    // SAFETY: localtime_r has filled in the tm; strftime writes at most `text.len()` octets.
    let written = unsafe {
        libc::strftime(
            text.as_mut_ptr().cast(),
            text.len(),
            c"%a %b %e %H:%M:%S %Z %Y".as_ptr(),
            broken_down.as_ptr(),
        )
    };
    String::from_utf8_lossy(text.get(..written).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_date() {
        let fields = date_at(1_471_012_925);
        let fields: Vec<&str> = fields.split_whitespace().collect();
        assert_eq!(fields.len(), 6);
        assert_eq!((fields[1], fields[5]), ("Aug", "2016"));
        assert_eq!(date_at(u64::MAX), "");
    }
}
