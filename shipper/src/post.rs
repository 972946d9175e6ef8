//! Requests to the log service over HTTPS: a part of a text is posted, or a page asked for.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::ring::rand::{self, SystemRandom};
use common::error::reason;
use common::{Error, message};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::crypto::ring;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::multipart::Form;
use crate::text::Digest;
use crate::uploader::{Target, Verdict};
use crate::{failure, hex, part};

/// From which length on, in octets, a server is asked for its consent before the text is sent, so
/// that its refusal is not lost in a connection that it closes. Shorter ones do not wait for that.
const EXPECT: u64 = 1 << 20;

/// Most octets of a page that are read.
const MAX_PAGE: u64 = 4096;

/// How long each phase of a request may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Looking up the server's name.
    pub resolve: Duration,
    /// Connecting, by way of the proxy if there is one, and TLS.
    pub connect: Duration,
    /// Sending the head, and each piece of the body.
    pub send: Duration,
    /// Waiting for the answer.
    pub answer: Duration,
    /// All of it.
    pub all: Duration,
}

/// The limits that the program works with.
pub const LIMITS: Limits = Limits {
    resolve: Duration::from_secs(30),
    connect: Duration::from_secs(30),
    send: Duration::from_secs(60),
    answer: Duration::from_secs(120),
    all: Duration::from_secs(600),
};

/// Talks to the server of one address.
#[derive(Debug)]
pub struct Poster<'a> {
    agent: Agent,
    target: &'a Target,
    /// The address without a password that may be in it.
    object: String,
    /// How long a part may take.
    limit: Duration,
    /// Whether the server knows `Expect`, as far as it has said.
    knows_expect: Cell<bool>,
}

impl<'a> Poster<'a> {
    /// Prepares for requests to the target: certificates, proxy, limits. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no certificate in the file, or the proxy's address is none.
    pub fn new(target: &'a Target, limits: &Limits) -> Result<Poster<'a>, Error> {
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
            .timeout_resolve(Some(limits.resolve))
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.send))
            .timeout_per_write(Some(limits.send))
            .timeout_recv_response(Some(limits.answer))
            .timeout_recv_body(Some(limits.answer))
            .timeout_global(Some(limits.all))
            .build()
            .into();
        Ok(Poster {
            agent,
            target,
            object: without_password(&target.url),
            limit: limits.all,
            knows_expect: Cell::new(true),
        })
    }

    /// Posts a part of a text, counted from 0. The digest of its log names it, so that the service can
    /// tell a repetition.
    ///
    /// # Errors
    /// It was not taken; the verdict says for now or for good, the error why.
    pub fn post(&self, text: &File, digest: &Digest, part: u32) -> Result<Verdict, (Verdict, Error)> {
        let unread = |error: io::Error| {
            let cause = format!("its text cannot be read: {}", reason(&error));
            (Verdict::Later, Error::new(hex::show(digest), cause))
        };
        let since = Instant::now();
        let mut attempt = self.send(text, digest, part, self.limit).map_err(unread)?;
        if attempt.may_be_for_the_question() {
            self.knows_expect.set(false);
            let left = self.limit.saturating_sub(since.elapsed());
            attempt = self.send(text, digest, part, left).map_err(unread)?;
            // Not if the server was out of order both times.
            self.knows_expect.set(attempt.answer.is_err());
        }
        let Attempt { answer, is_sent, .. } = attempt;
        let response =
            answer.map_err(|error| (failure::without_answer(&error), self.error(&self.object, &error)))?;
        let (status, headers) = (response.status(), response.headers());
        match failure::verdict(status, headers) {
            Verdict::Sent if is_sent => Ok(Verdict::Sent),
            Verdict::Sent => {
                let cause = failure::status_words(status, headers) + ", but before the text was sent";
                Err((Verdict::Later, Error::new(&self.object, cause)))
            }
            verdict => Err((verdict, Error::new(&self.object, failure::status_words(status, headers)))),
        }
    }

    /// Posts a part once.
    ///
    /// # Errors
    /// The text cannot be read.
    fn send(&self, text: &File, digest: &Digest, part: u32, limit: Duration) -> io::Result<Attempt> {
        let size = text.metadata()?.len();
        let range = part::range(text, size, part)?;
        let mut octets = { text }.take(range.end.saturating_sub(range.start));
        octets.get_mut().seek(SeekFrom::Start(range.start))?;
        let (length, mut octets): (u64, Box<dyn Read + '_>) = if self.target.gzip {
            let packed = compress(octets)?;
            (packed.len() as u64, Box::new(Cursor::new(packed)))
        } else {
            (octets.limit(), Box::new(octets))
        };
        let key = key(digest, part, part::count(size));
        let (extension, media_type) =
            if self.target.gzip { ("txt.gz", "application/gzip") } else { ("txt", "text/plain") };
        let random =
            rand::generate(&SystemRandom::new()).map_err(|_| io::Error::other("no random octets"))?;
        let Target { id: (id_field, id), file_field, .. } = self.target;
        let file = format!("{key}.{extension}");
        let form = Form::new((id_field, id), (file_field, &file), media_type, &random.expose());
        let mut octets = Watched { octets: &mut octets, done: 0, length, failed: None, file: &file };
        let mut body = form.head.as_slice().chain(&mut octets).chain(form.tail.as_slice());
        let mut request = self
            .agent
            .post(&self.target.url)
            .header(header::CONTENT_TYPE, form.content_type())
            .header(header::CONTENT_LENGTH, form.body_length(length))
            .header("Idempotency-Key", key)
            // Without this, ureq would wait for more behind an answer that came before the text.
            .header(header::CONNECTION, "close")
            .config()
            .timeout_global(Some(limit))
            .build();
        let is_asked = length >= EXPECT && self.knows_expect.get();
        if is_asked {
            request = request.header(header::EXPECT, "100-continue");
        }
        let answer = request.send(SendBody::from_reader(&mut body));
        match octets.failed {
            Some(error) => Err(error),
            None => Ok(Attempt {
                answer,
                is_unsent: is_asked && octets.done == 0,
                is_sent: octets.done == length,
            }),
        }
    }

    /// Asks the server for a page, which is read up to 4096 octets.
    ///
    /// # Errors
    /// There is no answer, or one with a status other than 200 to 299.
    pub fn page(&self, path: &str) -> Result<Vec<u8>, Error> {
        let url = format!("{}{path}", origin(&self.target.url));
        let object = without_password(&url);
        let mut response = self.agent.get(&url).call().map_err(|error| self.error(&object, &error))?;
        let (status, headers) = (response.status(), response.headers());
        if !status.is_success() {
            return Err(Error::new(object, failure::status_words(status, headers)));
        }
        let mut page = Vec::new();
        let read = response.body_mut().as_reader().take(MAX_PAGE).read_to_end(&mut page);
        read.map_err(|error| self.error(&object, &error.into()))?;
        Ok(page)
    }

    fn error(&self, object: &str, error: &ureq::Error) -> Error {
        let through = if self.target.proxy.is_empty() { "" } else { " (through PROXY)" };
        Error::new(object, failure::words(error) + through)
    }
}

/// A request that was made.
struct Attempt {
    answer: Result<Response<Body>, ureq::Error>,
    /// Whether the server was asked for its consent, and nothing of the text was sent.
    is_unsent: bool,
    /// Whether all of the part was sent: a server that is asked may answer instead.
    is_sent: bool,
}

impl Attempt {
    /// Whether it may go better without asking the server for its consent: it says that it does not know
    /// that (RFC 9110, 10.1.1), or gives it in a form that ureq does not, with header fields.
    fn may_be_for_the_question(&self) -> bool {
        self.is_unsent
            && match &self.answer {
                Ok(response) => response.status() == StatusCode::EXPECTATION_FAILED,
                Err(error) => failure::without_answer(error) == Verdict::Later,
            }
    }
}

/// A file that is being sent, and how far it is, for somebody who watches.
struct Watched<'a> {
    octets: &'a mut dyn Read,
    done: u64,
    length: u64,
    /// Why it could not be read; what is sent is then no matter of the server's.
    failed: Option<io::Error>,
    file: &'a str,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.octets.read(buffer) {
            Ok(count) => count,
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
        };
        self.done = self.done.saturating_add(count as u64);
        let (done, all) = (self.done.div_ceil(1024), self.length.div_ceil(1024));
        // The part is at the end of the name, and a terminal has 80 columns.
        let name = self.file.get(56..).unwrap_or_default();
        message::progress(format_args!("uploading {name}: {done} of {all} KiB"));
        Ok(count)
    }
}

/// The name of a part, by which a server can tell that it has it. Parts are counted from 1 here; a
/// text of one part has the digest as it is.
fn key(digest: &Digest, part: u32, count: u32) -> String {
    match count {
        1 => hex::show(digest),
        count => format!("{}-{}-of-{count}", hex::show(digest), part.saturating_add(1)),
    }
}

/// A part as a gzip file. It is made before the first octet is sent, because its length is said first,
/// and fits into memory, because parts are small.
fn compress(mut octets: impl Read) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::copy(&mut octets, &mut encoder)?;
    encoder.finish()
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at.saturating_add(3));
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#']));
    url.get(..end.map_or(url.len(), |end| host.saturating_add(end))).unwrap_or(url)
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
    fn an_origin_is_what_comes_before_the_path() {
        for (url, expected) in [
            ("https://logs.example.net/upload", "https://logs.example.net"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://logs.example.net?x=/", "https://logs.example.net"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn each_part_has_a_key_of_its_own() {
        let digest = hex::show(&[9; 32]);
        assert_eq!(key(&[9; 32], 0, 1), digest);
        assert_eq!(key(&[9; 32], 0, 3), format!("{digest}-1-of-3"));
        assert_eq!(key(&[9; 32], 2, 3), format!("{digest}-3-of-3"));
    }

    #[test]
    fn the_same_part_is_compressed_to_the_same_octets() {
        let text = "block in on em0\n".repeat(10_000);
        let packed = compress(text.as_bytes()).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(packed, compress(text.as_bytes()).unwrap(), "no time, no name in it");
        let mut back = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn a_target_without_certificates_is_refused() {
        let target = Target {
            url: "https://logs.example.net/".into(),
            id: ("device_id".into(), "tdid_1".into()),
            file_field: "file".into(),
            gzip: false,
            proxy: String::new(),
            certificates: b"no certificate here\n".to_vec(),
        };
        let refused = Poster::new(&target, &LIMITS).unwrap_err();
        assert_eq!(refused.to_string(), "CA_FILE: holds no certificate");
    }
}
