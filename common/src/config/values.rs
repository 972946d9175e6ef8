//! The kinds of values that keys take. Each function reads one, or says what it should be.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;

use crate::prefix;

/// How the lists are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Found out for each list.
    Auto,
    /// PTR records name the list's parts, APL records at each part hold prefixes.
    Ptr,
    /// APL records at the list's name.
    Apl,
    /// TXT records at the list's name.
    Txt,
    /// A and AAAA records at the list's name.
    Address,
    /// A zone transfer.
    Axfr,
}

/// The words of `LIST_FORMAT`.
pub const LIST_FORMATS: [(&str, ListFormat); 6] = [
    ("auto", ListFormat::Auto),
    ("ptr", ListFormat::Ptr),
    ("apl", ListFormat::Apl),
    ("txt", ListFormat::Txt),
    ("a", ListFormat::Address),
    ("axfr", ListFormat::Axfr),
];

/// What time an uploaded line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTime {
    /// The time of day.
    Time,
    /// The date and the time of day.
    Date,
    /// Seconds since 1970.
    Epoch,
}

/// The words of `LOG_TIME`.
pub const LOG_TIMES: [(&str, LogTime); 3] =
    [("time", LogTime::Time), ("date", LogTime::Date), ("epoch", LogTime::Epoch)];

/// A server by name or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or an address without brackets.
    pub host: String,
    /// The port; `None` until `DNS_PORT` fills it in.
    pub port: Option<u16>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// A word of a closed list.
pub fn choice<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{value}: not one of {}", known.join(", "))
    })
}

/// The word that stands for a meaning.
pub fn word<T: PartialEq>(meaning: &T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, other)| other == meaning).map_or("", |(word, _)| word)
}

/// `yes` or `no`.
pub fn yes_no(value: &str) -> Result<bool, String> {
    choice(value, &[("yes", true), ("no", false)])
}

/// A decimal number in a range.
pub fn number<T: FromStr + PartialOrd + fmt::Display>(
    value: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let digits = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && range.contains(&number) => Ok(number),
        _ => Err(format!("{value}: not a number from {} to {}", range.start(), range.end())),
    }
}

/// A number of octets, with K, M or G for 1024 and its powers.
pub fn size(value: &str) -> Result<u64, String> {
    let (digits, factor) = match value.as_bytes().last() {
        Some(b'K') => (value.trim_end_matches('K'), 1 << 10),
        Some(b'M') => (value.trim_end_matches('M'), 1 << 20),
        Some(b'G') => (value.trim_end_matches('G'), 1 << 30),
        _ => (value, 1u64),
    };
    number(digits, 1..=u64::MAX)
        .ok()
        .filter(|_| value.len() <= digits.len().saturating_add(1))
        .and_then(|count| count.checked_mul(factor))
        .ok_or_else(|| format!("{value}: not a size such as 64M"))
}

/// A size in the form that `size` reads, with the largest unit that is exact.
pub fn show_size(octets: u64) -> String {
    for (unit, shift) in [("G", 30), ("M", 20), ("K", 10)] {
        if octets != 0 && octets.trailing_zeros() >= shift {
            return format!("{}{unit}", octets >> shift);
        }
    }
    octets.to_string()
}

/// An absolute path without `.` and `..`.
pub fn path(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path.file_name().is_some() && !value.contains("/./") {
        Ok(path.components().collect())
    } else {
        Err(format!("{value}: not an absolute path without . and .."))
    }
}

/// An absolute path, or the name of a file in `OUT_DIR`.
pub fn file_name(value: &str) -> Result<PathBuf, String> {
    if value.starts_with('/') {
        return path(value);
    }
    if value.is_empty() || value.contains('/') || value == "." || value == ".." {
        return Err(format!("{value}: neither a file name nor an absolute path"));
    }
    Ok(value.into())
}

/// The name of a pf table: what pf.conf(5) takes, at most 31 octets.
pub fn table_name(value: &str) -> Result<String, String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    if value.is_empty() || value.len() > 31 || !value.bytes().all(good) {
        return Err(format!("{value}: not a table name (1 to 31 letters, digits, _ - .)"));
    }
    Ok(value.to_owned())
}

/// The path of a pf anchor, or nothing. Each part is at most 63 octets; `_pf` is the kernel's own.
pub fn anchor(value: &str) -> Result<String, String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    let part = |part: &str| !part.is_empty() && part.len() < 64 && part.bytes().all(good);
    if value.is_empty()
        || (value.len() < 1024 && value.split('/').all(part) && value != "_pf" && !value.starts_with("_pf/"))
    {
        return Ok(value.to_owned());
    }
    Err(format!("{value}: not an anchor such as threatstop or a/b"))
}

/// Names of lists: fully qualified domain names, with or without the dot at the end.
pub fn list_names(value: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for word in value.split_whitespace() {
        let name = word.strip_suffix('.').unwrap_or(word);
        if !is_domain_name(name) {
            return Err(format!("{word}: not a domain name"));
        }
        if names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(format!("{word}: twice in the list"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Letters, digits, `-` and `_` in labels of at most 63, 253 octets in all.
fn is_domain_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Servers: `host`, `host:port`, `address`, `[v6]`, `[v6]:port`; at least one.
pub fn servers(value: &str) -> Result<Vec<Endpoint>, String> {
    let servers: Vec<Endpoint> = value.split_whitespace().map(endpoint).collect::<Result<_, _>>()?;
    if servers.is_empty() { Err("at least one server is needed".to_owned()) } else { Ok(servers) }
}

fn endpoint(word: &str) -> Result<Endpoint, String> {
    let bad = || format!("{word}: not a server (host, host:port, [v6]:port)");
    let (host, port) = if word.parse::<Ipv6Addr>().is_ok() {
        (word, None)
    } else if let Some(rest) = word.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        host.parse::<Ipv6Addr>().map_err(|_| bad())?;
        (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) })
    } else {
        let (host, port) = word.split_once(':').map_or((word, None), |(host, port)| (host, Some(port)));
        let name = host.strip_suffix('.').unwrap_or(host);
        let numeric = host.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
        if !(if numeric { host.parse::<IpAddr>().is_ok() } else { is_domain_name(name) }) {
            return Err(bad());
        }
        (host, port)
    };
    let port = port.map(|port| number(port, 1..=u16::MAX).map_err(|_| bad())).transpose()?;
    Ok(Endpoint { host: host.to_owned(), port })
}

/// Numeric prefixes, separated by spaces.
pub fn prefixes(value: &str) -> Result<Vec<IpNet>, String> {
    value
        .split_whitespace()
        .map(|word| prefix::parse_exact(word.as_bytes()).map_err(|why| format!("{word}: {why}")))
        .collect()
}

/// A device id, or nothing: at most 64 letters, digits, `-`, `_` and `.`.
pub fn device_id(value: &str) -> Result<String, String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    if value.len() > 64 || !value.bytes().all(good) {
        return Err(format!("{value}: not a device id such as tdid_abcd1234"));
    }
    Ok(value.to_owned())
}

/// The name of a form field: letters, digits, `-`, `_`, `.`, `[` and `]`.
pub fn field_name(value: &str) -> Result<String, String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.[]".contains(&octet);
    if value.is_empty() || value.len() > 64 || !value.bytes().all(good) {
        return Err(format!("{value}: not a form field name"));
    }
    Ok(value.to_owned())
}

/// A name of a user.
pub fn user(value: &str) -> Result<String, String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    if value.is_empty() || value.len() > 31 || !value.bytes().all(good) {
        return Err(format!("{value}: not a user name"));
    }
    Ok(value.to_owned())
}

/// A URL with the scheme and a host, or nothing. The secret in it, if any, is not repeated.
pub fn url(value: &str, scheme: &str) -> Result<String, String> {
    let host = |rest: &str| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']);
    let printable = value.bytes().all(|octet| octet.is_ascii_graphic());
    if value.is_empty() || (printable && value.strip_prefix(scheme).is_some_and(host)) {
        return Ok(value.to_owned());
    }
    Err(format!("not a URL that starts with {scheme} and a host"))
}
