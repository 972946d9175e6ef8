//! One text over HTTPS: a request, and what its answer means.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use ::ring::rand::{self, SystemRandom};
use common::Error;
use common::error::reason;
use rustls::CertificateError;
use rustls::crypto::ring;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::multipart::Form;
use crate::uploader::{LIMIT, Target, Verdict};

/// From which length on, in octets, a server is asked for its consent before the text is sent, so
/// that its refusal is not lost in a connection that it closes. Shorter ones do not wait for that.
const EXPECT: u64 = 1 << 20;

/// Most octets of an address that a server redirects to which are repeated in a message.
const MAX_SHOWN: usize = 200;

/// Posts texts to one address.
#[derive(Debug)]
pub struct Poster<'a> {
    agent: Agent,
    target: &'a Target,
    /// The address without a password that may be in it.
    object: String,
}

impl<'a> Poster<'a> {
    /// Prepares for posting to the target: certificates, proxy, limits. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no certificate in the file, or the proxy's address is none.
    pub fn new(target: &'a Target) -> Result<Poster<'a>, Error> {
        let certificates: Vec<Certificate<'static>> = parse_pem(&target.certificates)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(Error::new("CA_FILE", "holds no certificate"));
        }
        let proxy = match target.proxy.as_str() {
            "" => None,
            url => Some(Proxy::new(url).map_err(|_| Error::new("PROXY", "not a URL"))?),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .build();
        let agent = Agent::config_builder()
            .https_only(true)
            .tls_config(tls)
            // Always said, because the default is taken from the environment.
            .proxy(proxy)
            .user_agent(concat!("tsship/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            // A connection that the server closes just as it is used again would look like a failure.
            .max_idle_connections(0)
            .timeout_resolve(Some(Duration::from_secs(30)))
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_send_request(Some(Duration::from_secs(30)))
            .timeout_per_write(Some(Duration::from_secs(60)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_global(Some(LIMIT))
            .build()
            .into();
        Ok(Poster { agent, target, object: without_password(&target.url) })
    }

    /// Posts a text. The digest of its log names it, so that the service can tell a repetition.
    ///
    /// # Errors
    /// It was not taken; the verdict says for now or for good, the error why.
    pub fn post(&self, text: &File, digest: &str) -> Result<Verdict, (Verdict, Error)> {
        let response = self.send(text, digest).map_err(|error| {
            let through = if self.target.proxy.is_empty() { "" } else { " (through PROXY)" };
            (failure(&error), Error::new(&self.object, cause(&error) + through))
        })?;
        let status = response.status();
        match verdict(status) {
            Verdict::Sent => Ok(Verdict::Sent),
            verdict => Err((verdict, Error::new(&self.object, words(status, &response)))),
        }
    }

    fn send(&self, mut text: &File, digest: &str) -> Result<Response<Body>, ureq::Error> {
        let length = text.metadata()?.len();
        text.seek(SeekFrom::Start(0))?;
        let Target { id: (id_field, id), file_field, .. } = self.target;
        let random =
            rand::generate(&SystemRandom::new()).map_err(|_| io::Error::other("no random octets"))?;
        let form = Form::new(id_field, id, file_field, digest, &random.expose());
        let mut body = form.head.as_slice().chain(text.take(length)).chain(form.tail.as_slice());
        let mut request = self
            .agent
            .post(&self.target.url)
            .header(header::CONTENT_TYPE, form.content_type())
            .header(header::CONTENT_LENGTH, form.body_length(length))
            .header("Idempotency-Key", digest);
        if length >= EXPECT {
            request = request.header(header::EXPECT, "100-continue");
        }
        request.send(SendBody::from_reader(&mut body))
    }
}

/// What a status means: any 2xx is success; a 4xx that no later attempt can change is final. Where
/// the service has moved to, or asks to wait, is no matter of one text.
fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Sent,
        300..=399 | 429 | 503 => Verdict::Away,
        408 | 417 | 425 => Verdict::Later,
        400..=499 => Verdict::Rejected,
        _ => Verdict::Later,
    }
}

fn words(status: StatusCode, response: &Response<Body>) -> String {
    let named = match status.canonical_reason() {
        Some(name) => format!("{} {name}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    match response.headers().get(header::LOCATION) {
        Some(target) if status.is_redirection() => {
            format!("{named}: redirects are refused, set url to {}", shown(target.as_bytes()))
        }
        _ => named,
    }
}

/// A server's octets, fit for a terminal.
fn shown(octets: &[u8]) -> String {
    octets.get(..MAX_SHOWN).unwrap_or(octets).escape_ascii().to_string()
}

/// What a text can expect that got no answer. A connection may break, or an answer not come, because
/// of this one text; what fails before it is on its way fails for all.
fn failure(error: &ureq::Error) -> Verdict {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => Verdict::Away,
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            Verdict::Later
        }
        ureq::Error::Io(error) if tls(error).is_none() => match error.kind() {
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof => Verdict::Later,
            _ => Verdict::Away,
        },
        _ => Verdict::Away,
    }
}

/// The error of TLS that is inside one of the system.
fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// What went wrong before there was an answer. No word of it repeats the proxy's password.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match tls(error) {
            Some(error) => tls_cause(error),
            None if error.kind() == ErrorKind::UnexpectedEof => "closed without an answer".to_owned(),
            None => reason(error),
        },
        ureq::Error::Rustls(error) => tls_cause(error),
        ureq::Error::Timeout(phase) => format!("no answer in time ({phase})"),
        ureq::Error::HostNotFound => "the name has no address".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "not a URL".to_owned(),
        other => other.to_string(),
    }
}

fn tls_cause(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by nobody in CA_FILE".to_owned()
        }
        other => other.to_string(),
    }
}

/// A URL without what stands before the `@` of its host.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_status_means() {
        let verdicts = |range: std::ops::RangeInclusive<u16>| {
            range.map(|code| verdict(StatusCode::from_u16(code).unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(200..=299), [Verdict::Sent; 100]);
        assert_eq!(verdicts(300..=399), [Verdict::Away; 100]);
        assert_eq!(verdicts(500..=502), [Verdict::Later; 3]);
        assert_eq!(verdicts(503..=503), [Verdict::Away]);
        assert_eq!(verdicts(504..=599), [Verdict::Later; 96]);
        for code in 400..=499 {
            let expected = match code {
                429 => Verdict::Away,
                408 | 417 | 425 => Verdict::Later,
                _ => Verdict::Rejected,
            };
            assert_eq!(verdicts(code..=code), [expected]);
        }
    }

    #[test]
    fn only_what_may_be_the_texts_fault_is_its_own_matter() {
        let io = |kind: ErrorKind| failure(&ureq::Error::Io(kind.into()));
        for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof] {
            assert_eq!(io(kind), Verdict::Later);
        }
        for kind in [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable]
        {
            assert_eq!(io(kind), Verdict::Away);
        }
        let tls = io::Error::new(ErrorKind::UnexpectedEof, rustls::Error::DecryptError);
        assert_eq!(failure(&ureq::Error::Io(tls)), Verdict::Away);
        assert_eq!(failure(&ureq::Error::HostNotFound), Verdict::Away);
        assert_eq!(failure(&ureq::Error::Timeout(ureq::Timeout::Connect)), Verdict::Away);
        assert_eq!(failure(&ureq::Error::Timeout(ureq::Timeout::RecvResponse)), Verdict::Later);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, expected) in [
            ("https://logs.example.net/cgi-bin/x?a=@b", "https://logs.example.net/cgi-bin/x?a=@b"),
            ("https://user:pass@logs.example.net/x", "https://logs.example.net/x"),
            ("https://user:p@ss@[::1]:8443", "https://[::1]:8443"),
            ("nothing", ""),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn servers_do_not_write_to_the_terminal() {
        assert_eq!(shown(b"https://x/\x1b[2J\xff\r\n"), "https://x/\\x1b[2J\\xff\\r\\n");
        assert_eq!(shown(&[b'a'; 1000]).len(), MAX_SHOWN);
    }

    #[test]
    fn a_target_without_certificates_is_refused() {
        let target = Target {
            url: "https://logs.example.net/".into(),
            id: ("device_id".into(), "tdid_1".into()),
            file_field: "file".into(),
            proxy: String::new(),
            certificates: b"no certificate here\n".to_vec(),
        };
        assert_eq!(Poster::new(&target).unwrap_err().to_string(), "CA_FILE: holds no certificate");
    }
}
