//! Time stamps, in the forms tcpdump prints them.

#![allow(unsafe_code)]

use common::config::LogTime;

use crate::print::line::Line;

/// Where the time of day is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The time zone of this system, or of the environment variable `TZ`.
    Local,
    /// Coordinated universal time.
    Utc,
}

/// Writes time stamps. The text up to the seconds is kept, for records come many to a second.
///
/// Where tcpdump adds today's distance from UTC to every time of day, a stamp here has the distance
/// that held when it was taken, so a log from before the clocks changed keeps its times.
pub struct Clock {
    form: LogTime,
    zone: Zone,
    second: u32,
    /// The text, in the first octets; the longest is `Sep 21 14:13:20.`.
    text: [u8; 16],
    length: usize,
}

/// A moment of a calendar day.
struct Moment {
    month: usize,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Clock {
    /// A clock that writes `form` in `zone`: `14:13:20.010242` as plain tcpdump does,
    /// `Sep 21 14:13:20.010242` as `tcpdump -ttt`, or `1790000000.010242` as `tcpdump -tt`.
    ///
    /// The C library reads its time zone here, once, if it has not done so: make the clock before the
    /// process gives up its files.
    pub fn new(form: LogTime, zone: Zone) -> Self {
        let mut clock = Self { form, zone, second: 0, text: [0; 16], length: 0 };
        clock.turn_to(0);
        clock
    }

    /// Appends the stamp of `sec` seconds since the epoch and `usec` microseconds, and a space.
    ///
    /// A damaged record may hold more than 999,999 microseconds; they are written as they are.
    pub fn stamp(&mut self, out: &mut Vec<u8>, sec: u32, usec: u32) {
        if sec != self.second {
            self.turn_to(sec);
        }
        Line::new(out).first(self.text, self.length).dec_padded(usec, 6).text(" ");
    }

    fn turn_to(&mut self, sec: u32) {
        let mut text = Vec::with_capacity(16);
        self.write(&mut Line::new(&mut text), sec);
        self.second = sec;
        self.length = text.len();
        self.text.iter_mut().zip(text).for_each(|(to, from)| *to = from);
    }

    fn write(&self, line: &mut Line<'_>, sec: u32) {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        if self.form == LogTime::Epoch {
            line.dec(sec).text(".");
            return;
        }
        let local = if self.zone == Zone::Local { local(sec) } else { None };
        let at = local.unwrap_or_else(|| utc(sec));
        if self.form == LogTime::Date {
            let month = MONTHS.get(at.month).unwrap_or(&"???");
            line.text(month).text(" ").dec_padded(at.day, 2).text(" ");
        }
        line.dec_padded(at.hour, 2).text(":").dec_padded(at.minute, 2);
        line.text(":").dec_padded(at.second, 2).text(".");
    }
}

/// The moment in UTC, by the proleptic Gregorian calendar.
fn utc(sec: u32) -> Moment {
    const LENGTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = sec / 86400;
    let mut year = 1970;
    let leap = |year: u32| {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        u32::from(leap)
    };
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    let mut month = 0;
    for (i, length) in LENGTHS.into_iter().enumerate() {
        let length = length + if i == 1 { leap(year) } else { 0 };
        if day < length {
            month = i;
            break;
        }
        day -= length;
    }
    let rest = sec % 86400;
    Moment { month, day: day + 1, hour: rest / 3600, minute: rest % 3600 / 60, second: rest % 60 }
}

/// The moment in the C library's time zone, if it knows it.
fn local(sec: u32) -> Option<Moment> {
    let time = libc::time_t::from(sec);
    let mut broken_down = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live, aligned objects of this frame, and localtime_r(3) keeps neither.
    let filled = unsafe { libc::localtime_r(&time, broken_down.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: a struct tm of all zeros is valid (integers and a nullable pointer), and the call wrote it.
    let tm = unsafe { broken_down.assume_init() };
    Some(Moment {
        month: tm.tm_mon.try_into().ok()?,
        day: tm.tm_mday.try_into().ok()?,
        hour: tm.tm_hour.try_into().ok()?,
        minute: tm.tm_min.try_into().ok()?,
        second: tm.tm_sec.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(form: LogTime, sec: u32, usec: u32) -> String {
        let mut out = Vec::new();
        Clock::new(form, Zone::Utc).stamp(&mut out, sec, usec);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_three_forms() {
        assert_eq!(stamp(LogTime::Time, 1_790_000_000, 10_242), "14:13:20.010242 ");
        assert_eq!(stamp(LogTime::Date, 1_790_000_000, 10_242), "Sep 21 14:13:20.010242 ");
        assert_eq!(stamp(LogTime::Epoch, 1_790_000_000, 10_242), "1790000000.010242 ");
    }

    #[test]
    fn edges() {
        assert_eq!(stamp(LogTime::Date, 0, 0), "Jan 01 00:00:00.000000 ");
        assert_eq!(stamp(LogTime::Date, 951_782_400, 1), "Feb 29 00:00:00.000001 ");
        assert_eq!(stamp(LogTime::Date, 4_107_542_400, 0), "Mar 01 00:00:00.000000 ");
        assert_eq!(stamp(LogTime::Date, u32::MAX, u32::MAX), "Feb 07 06:28:15.4294967295 ");
    }

    #[test]
    fn the_kept_text_follows_the_seconds() {
        let mut clock = Clock::new(LogTime::Time, Zone::Utc);
        let mut out = Vec::new();
        for sec in [59, 59, 60, 59] {
            clock.stamp(&mut out, sec, 0);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "00:00:59.000000 00:00:59.000000 00:01:00.000000 00:00:59.000000 "
        );
    }

    #[test]
    fn local_time_keeps_the_seconds() {
        // Every zone in use is a whole number of minutes from UTC since 1972.
        for sec in [1_790_000_000, 1_790_000_001, 1_774_000_059] {
            let at = local(sec).unwrap();
            assert_eq!(at.second, sec % 60);
            assert!(at.hour < 24 && at.minute < 60 && at.month < 12 && (1..=31).contains(&at.day));
        }
    }
}
