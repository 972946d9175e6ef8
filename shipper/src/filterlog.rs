//! Lines of filterlog(8), which pfSense and OPNsense run in place of pflogd(8).
//!
//! A line is a syslog message, in the old form (RFC 3164) or the new one (RFC 5424), whose text is
//! a list of values between commas: the rule, the interface, what pf did and the packet's headers
//! (pfSense, "Raw Filter Log Format"). It is passed on as it is, so here it is only looked at.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest line that is taken, without its newline.
pub const LINE_MAX: usize = 2048;

/// The program's name in a message.
const PROGRAM: &[u8] = b"filterlog";

/// What newsyslog(8) of FreeBSD writes at the end of a log that it rotates, and at the head of the new one.
const TURNED_OVER: (&[u8], &[u8]) = (b"newsyslog", b"logfile turned over");

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// How many of a file's first octets tell whether it is a log of such lines.
pub const START: usize = 4;

/// Whether a file whose first octets are `start` is a log of syslog messages: `<134>` or `Nov `.
pub fn starts_like_syslog(start: &[u8]) -> bool {
    match start {
        [b'<', b'0'..=b'9', ..] => true,
        [month @ .., b' '] => MONTHS.iter().any(|name| name.as_slice() == month),
        _ => false,
    }
}

/// When a message was written, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Seconds since 1970.
    Known(u32),
    /// Only the seconds since its year began, in local time.
    InYear(u32),
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A packet, logged at that time.
    Packet(Time),
    /// That the log was rotated.
    TurnedOver,
}

impl Time {
    /// Seconds since 1970. A time without a year is taken for the last such time before `now`, give
    /// or take a day, for the zone is not known either.
    pub fn before(self, now: u32) -> u32 {
        const DAY: u32 = 86_400;
        match self {
            Time::Known(seconds) => seconds,
            Time::InYear(seconds) => {
                let limit = now.saturating_add(DAY);
                let years = (1970..2106).map(|year| days_before(year).saturating_mul(DAY));
                years
                    .map(|year| year.saturating_add(seconds))
                    .take_while(|&at| at <= limit)
                    .last()
                    .unwrap_or(0)
            }
        }
    }
}

/// What a line says, or `None` if it is not one of filterlog's: not printable, without the prefix of a
/// syslog message, or without the values that all of filterlog's have.
///
/// What the prefix and the values before the packet's are, is checked; of the packet's the addresses, for
/// a packet that was cut off has fewer.
pub fn parse(line: &[u8]) -> Option<Message> {
    if line.len() > LINE_MAX || !line.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        return None;
    }
    let (time, program, text) = match priority(line) {
        Some(rest) if rest.starts_with(b"1 ") => new_form(rest)?,
        Some(rest) => old_form(rest)?,
        None => old_form(line)?,
    };
    match program {
        PROGRAM if has_values(text) => Some(Message::Packet(time)),
        program if program == TURNED_OVER.0 && text.starts_with(TURNED_OVER.1) => Some(Message::TurnedOver),
        _ => None,
    }
}

/// What is behind `<134>`.
fn priority(line: &[u8]) -> Option<&[u8]> {
    let (number, rest) = split(line.strip_prefix(b"<")?, b'>')?;
    (number.len() <= 3 && decimal(number)? <= 191).then_some(rest)
}

/// When it was written, by which program, and what.
type Parts<'a> = (Time, &'a [u8], &'a [u8]);

/// `Nov 21 23:48:44 fw filterlog[123]: 5,,,...`
fn old_form(line: &[u8]) -> Option<Parts<'_>> {
    let (month, rest) = split(line, b' ')?;
    let month = MONTHS.iter().position(|name| name.as_slice() == month)?;
    let (day, rest) = split(rest.strip_prefix(b" ").unwrap_or(rest), b' ')?;
    let (clock, rest) = split(rest, b' ')?;
    let (_host, rest) = split(rest, b' ')?;
    let (tag, text) = split(rest, b' ')?;
    let tag = tag.strip_suffix(b":")?;
    let program = match split(tag, b'[') {
        Some((program, process)) => {
            decimal(process.strip_suffix(b"]")?)?;
            program
        }
        None => tag,
    };
    let days = in_year(1972, month, decimal(day)?)?;
    Some((Time::InYear(days * 86_400 + seconds(clock)?), program, text))
}

/// `1 2026-11-21T23:48:44.123456+01:00 fw filterlog 123 - [meta sequenceId="1"] 5,,,...`
fn new_form(line: &[u8]) -> Option<Parts<'_>> {
    let (stamp, rest) = split(line.strip_prefix(b"1 ")?, b' ')?;
    let (_host, rest) = split(rest, b' ')?;
    let (program, rest) = split(rest, b' ')?;
    let (_process, rest) = split(rest, b' ')?;
    let (_message, rest) = split(rest, b' ')?;
    let text = match rest.strip_prefix(b"- ") {
        Some(text) => text,
        // A quoted bracket would be escaped; filterlog's messages have none.
        None => split(rest.strip_prefix(b"[")?, b']')?.1.strip_prefix(b" ")?,
    };
    Some((Time::Known(date_and_time(stamp)?), program, text))
}

/// RFC 3339, in seconds since 1970.
fn date_and_time(stamp: &[u8]) -> Option<u32> {
    let (date, time) = split(stamp, b'T')?;
    let (year, rest) = split(date, b'-')?;
    let (month, day) = split(rest, b'-')?;
    let (year, month) = (decimal(year)?, decimal(month)?.checked_sub(1)?);
    let (clock, rest) = time.split_at_checked(8)?;
    let zone = rest.iter().position(|octet| matches!(octet, b'Z' | b'+' | b'-'))?;
    let (fraction, zone) = rest.split_at_checked(zone)?;
    if !fraction.is_empty() {
        decimal(fraction.strip_prefix(b".")?)?;
    }
    let day = i64::from(in_year(year, usize::try_from(month).ok()?, decimal(day)?)?);
    let days = i64::from((1970..2106).contains(&year).then(|| days_before(year))?) + day;
    let offset = match zone {
        b"Z" => 0,
        [sign, h @ .., b':', m0, m1] => {
            let minutes = i64::from(decimal(h)?) * 60 + i64::from(decimal(&[*m0, *m1])?);
            if *sign == b'-' { -60 * minutes } else { 60 * minutes }
        }
        _ => return None,
    };
    u32::try_from(days * 86_400 + i64::from(seconds(clock)?) - offset).ok()
}

/// `23:48:44` in seconds.
fn seconds(clock: &[u8]) -> Option<u32> {
    let &[h0, h1, b':', m0, m1, b':', s0, s1] = clock else { return None };
    let (hour, minute, second) = (decimal(&[h0, h1])?, decimal(&[m0, m1])?, decimal(&[s0, s1])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Days in a year before a month's day; months count from 0, days from 1.
fn in_year(year: u32, month: usize, day: u32) -> Option<u32> {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap = u32::from(month > 1 && is_leap);
    let before = day.checked_sub(1).filter(|&before| before < 31)?;
    Some(BEFORE.get(month)? + leap + before)
}

/// Days from 1970 to the beginning of a year, at least 1970.
fn days_before(year: u32) -> u32 {
    let leaps = |year: u32| year / 4 - year / 100 + year / 400;
    let past = year.saturating_sub(1970);
    past * 365 + leaps(year.saturating_sub(1).max(1969)) - leaps(1969)
}

/// Whether `values` begin like those of filterlog: rule, sub rule, anchor, identifier of the rule (a number on
/// pfSense, a label of hexadecimal digits on OPNsense), interface, reason, action, direction, version of IP; and have addresses where these belong.
fn has_values(values: &[u8]) -> bool {
    let values: Vec<&[u8]> = values.split(|&octet| octet == b',').collect();
    let [rule, subrule, _anchor, identifier, ifname, reason, action, direction, version, packet @ ..] =
        values.as_slice()
    else {
        return false;
    };
    let numbers = [rule, subrule];
    let at = |at: usize| packet.get(at).and_then(|value| std::str::from_utf8(value).ok());
    let (src, dst) = if *version == b"4" { (at(9), at(10)) } else { (at(6), at(7)) };
    let is_addr = |value: Option<&str>| match value {
        None => true,
        Some(addr) if *version == b"4" => addr.parse::<Ipv4Addr>().is_ok(),
        Some(addr) => addr.parse::<Ipv6Addr>().is_ok(),
    };
    numbers.into_iter().all(|value| value.is_empty() || decimal(value).is_some())
        && identifier.iter().all(u8::is_ascii_alphanumeric)
        && ![ifname, reason, action].into_iter().any(|value| value.is_empty())
        && matches!(*direction, b"in" | b"out" | b"in/out")
        && matches!(*version, b"4" | b"6")
        && is_addr(src)
        && is_addr(dst)
}

fn split(octets: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = octets.iter().position(|&octet| octet == at)?;
    let (before, rest) = octets.split_at_checked(place)?;
    Some((before, rest.get(1..)?))
}

/// A number of digits alone.
fn decimal(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V4: &str = "6,,,1000000104,em1,match,block,out,4,0x0,,64,0,0,DF,6,tcp,52,64.87.3.133,192.168.56.1,80,57232,0,\
        RA,1848334924,822794810,513,,nop;nop;TS";
    const V6: &str = "5,,,1000000105,igb0.10,match,pass,in,6,0x00,0x00000,255,ICMPv6,58,32,fe80::1,ff02::1,";

    const OPNSENSE: &str = "11,,,02f4bab031b57d1e30553ce08e0ec131,igb1,match,block,in,4,0x0,,64,0,0,none,17,udp,78,192.0.2.1,192.0.2.255,\
        137,137,58";

    fn time(line: &str) -> Option<Time> {
        match parse(line.as_bytes()) {
            Some(Message::Packet(time)) => Some(time),
            Some(Message::TurnedOver) => panic!("{line}"),
            None => None,
        }
    }

    #[test]
    fn that_a_log_was_rotated_is_no_packet() {
        for line in [
            "Nov 21 22:00:00 fw newsyslog[123]: logfile turned over due to size>500K",
            "<134>Nov 21 22:00:00 fw newsyslog: logfile turned over",
            "<134>1 2026-11-21T22:00:00+00:00 fw newsyslog 123 - - logfile turned over due to -F request",
        ] {
            assert_eq!(parse(line.as_bytes()), Some(Message::TurnedOver), "{line}");
            assert_eq!(parse(line.replace("newsyslog", "filterlog").as_bytes()), None);
            assert_eq!(parse(line.replace("logfile", "log").as_bytes()), None);
        }
    }

    #[test]
    fn both_forms_of_syslog() {
        let in_year = Some(Time::InYear((305 + 29) * 86_400 + 3_661));
        for values in [V4, V6, OPNSENSE] {
            assert_eq!(time(&format!("Nov 30 01:01:01 fw filterlog[77]: {values}")), in_year);
            assert_eq!(time(&format!("<134>Nov 30 01:01:01 fw filterlog: {values}")), in_year);
            for (stamp, seconds) in [
                ("2026-11-21T23:48:44+00:00", 1_795_304_924),
                ("2026-11-21T23:48:44.123456+01:30", 1_795_299_524),
                ("2024-02-29T00:00:00.1Z", 1_709_164_800),
                ("2024-12-31T23:59:60-00:01", 1_735_689_660),
                ("1970-01-01T00:00:00Z", 0),
            ] {
                for data in ["-", "[meta sequenceId=\"4\"]"] {
                    let line = format!("<134>1 {stamp} fw filterlog 12345 - {data} {values}");
                    assert_eq!(time(&line), Some(Time::Known(seconds)), "{line}");
                }
            }
        }
        assert_eq!(time(&format!("Jan  1 00:00:00 fw filterlog[1]: {V4}")), Some(Time::InYear(0)));
    }

    #[test]
    fn packets_that_were_cut_off() {
        let common = "5,,,1000000105,em0,match,block,in,4";
        for values in [common.to_owned(), format!("{common},0x0,,64,0,0,DF,17,udp,20"), V4.to_owned()] {
            assert!(time(&format!("Nov 30 01:01:01 fw filterlog: {values}")).is_some(), "{values}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        let good = format!("Nov 30 01:01:01 fw filterlog[77]: {V4}");
        assert!(time(&good).is_some());
        for (from, to) in [
            ("filterlog", "sshd"),
            ("Nov 30", "Nov 32"),
            ("Nov 30", "Nov  0"),
            ("Nov 30", "Nuv 30"),
            ("01:01:01", "24:01:01"),
            ("[77]", "[x]"),
            ("em1", ""),
            ("out,4", "sideways,4"),
            ("out,4", "out,5"),
            ("64.87.3.133", "64.87.3"),
            ("192.168.56.1", "::1"),
            ("6,,,", "6,x,,"),
            ("block", "blo\x1bck"),
            ("block", "bl\u{f6}ck"),
            (V4, "6,,,1000000104,em1,match,block,out"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(time(&bad), None, "{bad}");
        }
        for bad in [
            "",
            "Nov",
            "<134>",
            "<1340>1 x",
            "<192>Nov 30 01:01:01 fw filterlog: ",
            "<134>1 2026-13-01T00:00:00Z a filterlog 1 - - ",
        ] {
            assert_eq!(time(&format!("{bad}{V4}")), None);
            assert_eq!(time(bad), None);
        }
        assert_eq!(time(&(good.clone() + &"x".repeat(LINE_MAX))), None);
    }

    #[test]
    fn a_year_is_found_for_times_without_one() {
        let noon = 12 * 3600;
        // 2026-11-21 23:48:44
        let now = 1_795_304_924;
        assert_eq!(Time::InYear(noon).before(now), 1_767_268_800, "this year's first day");
        assert_eq!(Time::InYear(364 * 86_400).before(now), 1_767_139_200, "the last day of the year before");
        assert_eq!(Time::InYear(noon).before(0), noon);
        assert_eq!(Time::Known(7).before(now), 7);
    }

    #[test]
    fn logs_are_told_by_their_first_octets() {
        for start in ["<134>1 2026", "<6>Nov", "Nov 21", "Mar  1"] {
            assert!(starts_like_syslog(&start.as_bytes()[..START]), "{start}");
        }
        for start in [b"mail".as_slice(), b"M<\xb2\xa1", b"\xd4\xc3\xb2\xa1", b"<<<<", b"Nov", b""] {
            assert!(!starts_like_syslog(start));
        }
    }

    proptest! {
        #[test]
        fn any_octets(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn changed_lines(at: prop::sample::Index, to in 0x20u8..0x7f, cut: prop::sample::Index) {
            for good in [
                format!("<134>1 2026-11-21T23:48:44+00:00 fw filterlog 12345 - - {V4}"),
                format!("Nov 30 01:01:01 fw filterlog[77]: {V6}"),
            ] {
                let mut line = good.into_bytes();
                let at = at.index(line.len());
                line[at] = to;
                let _ = parse(&line);
                let _ = parse(&line[..cut.index(line.len())]);
            }
        }
    }
}
