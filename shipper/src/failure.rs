//! What an answer means, or that there was none: for the text, and in words.

use std::io::{self, ErrorKind};

use common::clock;
use common::error::reason;
use rustls::CertificateError;
use ureq::Timeout;
use ureq::http::{HeaderMap, StatusCode, header};

use crate::backoff;
use crate::uploader::Verdict;

/// Most octets of a server's words that are repeated in a message.
const MAX_SHOWN: usize = 200;

/// What a status means: any 2xx is success; a 4xx that no later attempt can change is final. Where
/// the service has moved to, or asks to wait, is no matter of one text.
pub fn verdict(status: StatusCode, headers: &HeaderMap) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Sent,
        300..=399 => Verdict::Away(0),
        429 | 503 => Verdict::Away(retry_after(headers)),
        408 | 417 | 425 => Verdict::Later,
        400..=499 => Verdict::Rejected,
        _ => Verdict::Later,
    }
}

/// The step of `backoff` that the server asks for; 0 if it does not, or not in seconds.
fn retry_after(headers: &HeaderMap) -> u8 {
    let value = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    match value.map(str::trim) {
        Some(seconds) if !seconds.is_empty() && seconds.bytes().all(|octet| octet.is_ascii_digit()) => {
            backoff::step_for(seconds.parse().unwrap_or(u64::MAX))
        }
        _ => 0,
    }
}

/// An answer that is not the one that was hoped for, in words.
pub fn status_words(status: StatusCode, headers: &HeaderMap) -> String {
    let named = match status.canonical_reason() {
        Some(name) => format!("{} {name}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    match (headers.get(header::LOCATION), headers.get(header::RETRY_AFTER)) {
        (Some(target), _) if status.is_redirection() => {
            format!("{named}: redirects are refused, this one to {}", shown(target.as_bytes()))
        }
        (_, Some(time)) => format!("{named}, retry after {}", shown(time.as_bytes())),
        _ => named,
    }
}

/// A server's octets, fit for a terminal.
pub fn shown(octets: &[u8]) -> String {
    octets.get(..MAX_SHOWN).unwrap_or(octets).escape_ascii().to_string()
}

/// What a text can expect that got no answer. A connection may break, or an answer not come, because
/// of this one text; what fails before it is on its way fails for all.
pub fn without_answer(error: &ureq::Error) -> Verdict {
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Verdict::Away(0),
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            Verdict::Later
        }
        ureq::Error::Io(error) if tls(error).is_none() => match error.kind() {
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof => Verdict::Later,
            _ => Verdict::Away(0),
        },
        _ => Verdict::Away(0),
    }
}

/// The error of TLS that is inside one of the system.
fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// What went wrong before there was an answer. No word of it repeats the proxy's password.
pub fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match tls(error) {
            Some(error) => tls_words(error),
            None if error.kind() == ErrorKind::UnexpectedEof => "closed without an answer".to_owned(),
            None => reason(error),
        },
        ureq::Error::Rustls(error) => tls_words(error),
        ureq::Error::Timeout(phase) => format!("no answer in time ({})", phase_words(*phase)),
        ureq::Error::HostNotFound => "the name has no address".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "not a URL".to_owned(),
        ureq::Error::ConnectProxyFailed(said) => proxy_words(said),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            "its answer is not HTTP".to_owned()
        }
        other => other.to_string(),
    }
}

fn phase_words(phase: Timeout) -> &'static str {
    match phase {
        Timeout::Resolve => "looking up its name",
        Timeout::Connect => "connecting, TLS included",
        Timeout::SendRequest | Timeout::SendBody | Timeout::PerWrite => "sending",
        Timeout::RecvResponse | Timeout::RecvBody | Timeout::PerRead => "waiting for it",
        _ => "all in all",
    }
}

/// What a proxy did that gave no way through: ureq knows the status, but has it in words only.
fn proxy_words(said: &str) -> String {
    let status = said.strip_prefix("proxy server responded ").and_then(|rest| rest.split('/').next());
    match status {
        Some("407") => "407 Proxy Authentication Required: set user and password in PROXY".to_owned(),
        Some(status) => format!("the proxy answered {status}"),
        None => "the proxy gave no answer".to_owned(),
    }
}

fn tls_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(flaw) => format!("the server's certificate {}", flaw_words(flaw)),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        rustls::Error::PeerIncompatible(why) => {
            format!("the server has no version or cipher of TLS in common with tsship ({why:?})")
        }
        rustls::Error::AlertReceived(alert) => format!("the server broke TLS off (alert {alert:?})"),
        other => format!("TLS failed: {other}"),
    }
}

/// What is wrong with a certificate, after "the server's certificate".
fn flaw_words(flaw: &CertificateError) -> String {
    match flaw {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}; is the clock right?", clock::date_at(not_after.as_secs()))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let date = clock::date_at(not_before.as_secs());
            format!("is not valid before {date}; is the clock right?")
        }
        CertificateError::UnknownIssuer => "is signed by nobody in CA_FILE".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("is for {}, not for {}", shown(names(presented).as_bytes()), expected.to_str())
        }
        other => format!("is not to be trusted: {other}"),
    }
}

/// The names in a certificate, which come as `DnsName("a.example")` or `IpAddress(192.0.2.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.map_or(name.as_str(), |inner| inner.trim_matches('"')).to_owned()
    };
    match presented {
        [] => "no name at all".to_owned(),
        presented => presented.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use ureq::http::HeaderValue;

    #[test]
    fn what_each_status_means() {
        let verdicts = |range: std::ops::RangeInclusive<u16>| {
            let status = |code| StatusCode::from_u16(code).unwrap();
            range.map(|code| verdict(status(code), &HeaderMap::new())).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(200..=299), [Verdict::Sent; 100]);
        assert_eq!(verdicts(300..=399), [Verdict::Away(0); 100]);
        assert_eq!(verdicts(500..=502), [Verdict::Later; 3]);
        assert_eq!(verdicts(503..=503), [Verdict::Away(0)]);
        assert_eq!(verdicts(504..=599), [Verdict::Later; 96]);
        for code in 400..=499 {
            let expected = match code {
                429 => Verdict::Away(0),
                408 | 417 | 425 => Verdict::Later,
                _ => Verdict::Rejected,
            };
            assert_eq!(verdicts(code..=code), [expected]);
        }
    }

    #[test]
    fn a_server_may_ask_for_time_but_not_for_ever() {
        let asked = |value: &'static [u8], status: u16| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_bytes(value).unwrap());
            verdict(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(asked(b"120", 503), Verdict::Away(1));
        assert_eq!(asked(b"3600", 429), Verdict::Away(3));
        assert_eq!(asked(b"99999999999999999999999", 503), Verdict::Away(backoff::HIGHEST));
        for strange in [&b""[..], b"-1", b"+5", b"1.5", b"Fri, 31 Dec 1999 23:59:59 GMT", b"\xff"] {
            assert_eq!(asked(strange, 503), Verdict::Away(0));
        }
        assert_eq!(asked(b"3600", 500), Verdict::Later);
    }

    #[test]
    fn only_what_may_be_the_texts_fault_is_its_own_matter() {
        let io = |kind: ErrorKind| without_answer(&ureq::Error::Io(kind.into()));
        for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof] {
            assert_eq!(io(kind), Verdict::Later);
        }
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable]
        {
            assert_eq!(io(kind), Verdict::Away(0));
        }
        let tls = io::Error::new(ErrorKind::UnexpectedEof, rustls::Error::DecryptError);
        assert_eq!(without_answer(&ureq::Error::Io(tls)), Verdict::Away(0));
        assert_eq!(without_answer(&ureq::Error::HostNotFound), Verdict::Away(0));
        for (phase, verdict) in [
            (Timeout::Resolve, Verdict::Away(0)),
            (Timeout::Connect, Verdict::Away(0)),
            (Timeout::PerWrite, Verdict::Later),
            (Timeout::RecvResponse, Verdict::Later),
            (Timeout::Global, Verdict::Later),
        ] {
            assert_eq!(without_answer(&ureq::Error::Timeout(phase)), verdict);
        }
    }

    #[test]
    fn certificates_in_words() {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_000_000));
        let said = |flaw: CertificateError| tls_words(&rustls::Error::InvalidCertificate(flaw));
        let late = said(CertificateError::ExpiredContext { time, not_after: time });
        assert!(late.starts_with("the server's certificate expired on ") && late.contains("2026;"), "{late}");
        let early = said(CertificateError::NotValidYetContext { time, not_before: time });
        assert!(early.contains("is not valid before ") && early.ends_with("is the clock right?"), "{early}");
        let others = |presented: &[&str]| {
            said(CertificateError::NotValidForNameContext {
                expected: "localhost".try_into().unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        assert_eq!(
            others(&["DnsName(\"a.example\")", "IpAddress(192.0.2.1)", "\u{1b}[2J"]),
            "the server's certificate is for a.example, 192.0.2.1, \\x1b[2J, not for localhost"
        );
        assert_eq!(others(&[]), "the server's certificate is for no name at all, not for localhost");
        assert!(said(CertificateError::BadEncoding).contains("is not to be trusted: "));
    }

    #[test]
    fn servers_do_not_write_to_the_terminal() {
        assert_eq!(shown(b"https://x/\x1b[2J\xff\r\n"), "https://x/\\x1b[2J\\xff\\r\\n");
        assert_eq!(shown(&[b'a'; 1000]).len(), MAX_SHOWN);
    }

    #[test]
    fn proxies_in_words() {
        assert!(proxy_words("proxy server responded 407/407").contains("407 Proxy Authentication Required"));
        assert_eq!(proxy_words("proxy server responded 403/403"), "the proxy answered 403");
        assert_eq!(proxy_words("proxy server did not respond"), "the proxy gave no answer");
    }
}
