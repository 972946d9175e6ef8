//! The uploader: one process for each run, which posts texts over HTTPS.
//!
//! It runs as `SHIP_USER`, holds the texts' descriptors and the socket to the collector, and may use
//! the network but no path. It is asked for one part of a text at a time and answers with one octet.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::config::Config;
use common::privilege::{self, Account};
use common::{Error, clock, message, sandbox};

use crate::post::{LIMITS, Poster};
use crate::process::{self, Child, Ended};
use crate::text::Digest;
use crate::{backoff, ports};

/// How much longer than a request may take its parent waits before it kills a process that has lost
/// count of time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A question: the text's number among the inherited descriptors, its log's digest, and which part
/// of it is to be posted.
const QUESTION: usize = 4 + 32 + 4;

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The service has it.
    Sent,
    /// The service does not want it, now or ever.
    Rejected,
    /// It has to be tried again in another run; others may fare better.
    Later,
    /// The server was not reached or asks to wait: so it is with every text. The step of `backoff`
    /// that it asks for, at most the highest; 0 for none.
    Away(u8),
}

impl Verdict {
    /// The verdict as one octet.
    pub fn encode(self) -> u8 {
        match self {
            Verdict::Sent => b's',
            Verdict::Rejected => b'r',
            Verdict::Later => b'l',
            Verdict::Away(step) => step.min(backoff::HIGHEST).saturating_add(b'0'),
        }
    }

    /// Reads a verdict.
    pub fn decode(octet: u8) -> Option<Verdict> {
        match octet {
            b's' => Some(Verdict::Sent),
            b'r' => Some(Verdict::Rejected),
            b'l' => Some(Verdict::Later),
            octet => octet.checked_sub(b'0').filter(|step| *step <= backoff::HIGHEST).map(Verdict::Away),
        }
    }
}

/// Where and how texts are posted.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address that takes them, `https://…`.
    pub url: String,
    /// The name of the form field with the device id, and the device id.
    pub id: (String, String),
    /// The name of the form field with the file.
    pub file_field: String,
    /// Whether the file is compressed.
    pub gzip: bool,
    /// An HTTP proxy with its password; empty for none.
    pub proxy: String,
    /// The certificates that are trusted, PEM.
    pub certificates: Vec<u8>,
}

impl Target {
    /// Checks that the configuration says where texts go.
    ///
    /// # Errors
    /// Every key that is missing or asks for what cannot be done.
    pub fn check(config: &Config) -> Result<(), Vec<Error>> {
        let mut problems = Vec::new();
        for (key, value) in [("device_id", &config.device_id), ("url", &config.url)] {
            if value.is_empty() {
                problems.push(Error::new(key, "not set, and nothing can be uploaded without it"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The target that the configuration names. Reads `CA_FILE`, but does not look inside.
    ///
    /// # Errors
    /// `CA_FILE` cannot be read, is larger than 4 MiB, or others may change it.
    pub fn new(config: &Config) -> Result<Target, Error> {
        Ok(Target {
            url: config.url.clone(),
            id: (config.upload_id_field.clone(), config.device_id.clone()),
            file_field: config.upload_file_field.clone(),
            gzip: config.upload_gzip,
            proxy: config.proxy.clone(),
            certificates: config.certificates()?,
        })
    }
}

/// The uploader's process, from its first step to its exit status: 0 when the collector has no more
/// questions, else 1 and it has said why.
pub fn work(socket: &mut File, texts: &[File], target: &Target, account: &Account) -> i32 {
    let poster = match confine(target, account).and_then(|()| Poster::new(target, &LIMITS)) {
        Ok(poster) => poster,
        Err(error) => {
            message::warn(error);
            return 1;
        }
    };
    let mut question = [0; QUESTION];
    while socket.read_exact(&mut question).is_ok() {
        let Some((text, digest, part)) = parse(&question, texts) else { return 1 };
        let verdict = poster.post(text, &digest, part).unwrap_or_else(|(verdict, error)| {
            message::warn(error);
            verdict
        });
        message::end_progress();
        if socket.write_all(&[verdict.encode()]).is_err() {
            return 1;
        }
    }
    0
}

/// Gives up everything that is not needed to talk to a server.
///
/// # Errors
/// The system refuses.
pub fn confine(target: &Target, account: &Account) -> Result<(), Error> {
    privilege::drop_to(account)?;
    process::restrain(None, None)?;
    sandbox::connect_to(&ports::of(&target.url, &target.proxy))?;
    // The C library reads its time zone now: what is said of a certificate holds a date.
    clock::date();
    // stdio: the texts, the socket to the collector, memory, a thread for the resolver. inet: socket,
    // connect, setsockopt. dns: getaddrinfo(3), which alone may read resolv.conf and hosts.
    sandbox::pledge("stdio inet dns")
}

fn ask(number: u32, digest: &Digest, part: u32) -> [u8; QUESTION] {
    let mut question = [0; QUESTION];
    let (number, part) = (number.to_be_bytes(), part.to_be_bytes());
    for (to, from) in question.iter_mut().zip(number.iter().chain(digest).chain(&part)) {
        *to = *from;
    }
    question
}

fn parse<'a>(question: &[u8; QUESTION], texts: &'a [File]) -> Option<(&'a File, Digest, u32)> {
    let (number, rest) = question.split_first_chunk()?;
    let (digest, part) = rest.split_first_chunk()?;
    let text = texts.get(usize::try_from(u32::from_be_bytes(*number)).ok()?)?;
    Some((text, *digest, u32::from_be_bytes(*part.first_chunk()?)))
}

/// The collector's side: has a part of the text with this number posted.
///
/// # Errors
/// There is no verdict, and the uploader is gone or not to be asked again.
pub fn verdict_of(child: &mut Child, number: u32, digest: &Digest, part: u32) -> Result<Verdict, Ended> {
    let deadline = Instant::now().checked_add(LIMITS.all.saturating_add(PATIENCE));
    let mut answer = [0];
    child.send(&ask(number, digest, part)).and_then(|()| child.receive(&mut answer, deadline))?;
    let [octet] = answer;
    Verdict::decode(octet).ok_or(Ended::Strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_an_octet_and_comes_back() {
        let known: Vec<Verdict> = (0..=255).filter_map(Verdict::decode).collect();
        let mut all = vec![Verdict::Sent, Verdict::Rejected, Verdict::Later];
        all.extend((0..=backoff::HIGHEST).map(Verdict::Away));
        assert_eq!(known.len(), all.len());
        for verdict in all {
            assert_eq!(Verdict::decode(verdict.encode()), Some(verdict));
        }
        assert_eq!(Verdict::decode(Verdict::Away(255).encode()), Some(Verdict::Away(backoff::HIGHEST)));
    }

    #[test]
    fn a_verdict_is_one_known_octet() {
        let _alone = process::alone();
        let said = |mut uploader: Child| verdict_of(&mut uploader, 7, &[9; 32], 3);
        let honest = process::child(|mut socket| {
            let mut question = [0; QUESTION];
            let asked = socket.read_exact(&mut question).is_ok() && question == ask(7, &[9; 32], 3);
            i32::from(!asked || socket.write_all(b"r").is_err())
        });
        assert_eq!(said(honest), Ok(Verdict::Rejected));
        let strange = process::child(|mut socket| {
            let _ = socket.read_exact(&mut [0; QUESTION]);
            i32::from(socket.write_all(b"S").is_err())
        });
        assert_eq!(said(strange), Err(Ended::Strange));
        assert_eq!(said(process::child(|_| 1)), Err(Ended::Exit(1)));
        assert_eq!(said(process::child(|_| 0)), Err(Ended::Exit(0)));
    }

    #[test]
    fn questions_name_a_text_or_nothing() {
        let texts = [File::open("/dev/null").unwrap(), File::open("/dev/zero").unwrap()];
        let digest = [9; 32];
        let (text, named, part) = parse(&ask(1, &digest, 300), &texts).unwrap();
        assert!(std::ptr::eq(text, &texts[1]));
        assert_eq!((named, part), (digest, 300));
        for number in [2, 256, u32::MAX] {
            assert!(parse(&ask(number, &digest, 0), &texts).is_none());
        }
    }
}
