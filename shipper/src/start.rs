//! Opening and forking: everything that has to be done before the sandbox closes.
//!
//! Each child inherits copies of all descriptors, and drops those that are not its own before its
//! first step. No descriptor is passed later.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::exit;

use common::Error;
use common::error::reason;

use crate::collector::Decoding;
use crate::decoder::{self, Settings};
use crate::logs::{self, Log};
use crate::outbox::{Name, Outbox};
use crate::process::{Child, Side, split};
use crate::uploader::{self, Target};

/// Most texts of earlier runs that are posted in one run; each costs a descriptor.
const MAX_TEXTS: usize = 128;

/// The children of a run that ships.
#[derive(Debug)]
pub struct Shipping {
    /// The run's lock, of which the children have no copy.
    pub lock: File,
    /// The decoders, oldest log first.
    pub decodings: Vec<Decoding>,
    /// The process that posts, unless this run only spools or has nothing to post.
    pub uploader: Option<Child>,
    /// The texts of earlier runs that the uploader has, with their numbers there.
    pub waiting: Vec<(Name, u32)>,
    /// Texts of earlier runs that could not be opened.
    pub problems: Vec<Error>,
}

/// Starts a decoder for each log and, if there is a target, an uploader for their texts and for
/// those that wait.
///
/// # Errors
/// A draft cannot be made, or there is no room for another process or descriptor. Then no child is
/// left.
pub fn shipping(
    lock: File,
    outbox: &Outbox,
    logs: Vec<Log>,
    settings: &Settings,
    target: Option<&Target>,
) -> Result<Shipping, Error> {
    let (mut texts, mut waiting, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    if target.is_some() {
        for (name, _) in outbox.list()?.into_iter().take(MAX_TEXTS) {
            match outbox.open(&name) {
                Ok(file) => waiting.push((name, enter(&mut texts, file))),
                Err(error) => problems.push(error),
            }
        }
    }
    let (mut jobs, mut drafts) = (Vec::new(), Vec::new());
    for log in logs {
        let draft = outbox.draft(jobs.len())?;
        let number = enter(&mut texts, draft.reader()?);
        jobs.push((log, draft.writer()?));
        drafts.push((draft, number));
    }
    let (decoders, (lock, drafts, texts)) = decoders(jobs, settings, (lock, drafts, texts))?;
    let decodings = decoders
        .into_iter()
        .zip(drafts)
        .map(|((log, decoder), (draft, number))| Decoding { log, decoder, draft, number })
        .collect();
    let (uploader, (lock, decodings)) = match target {
        Some(target) if !texts.is_empty() => {
            let (child, held) = uploader(texts, target, settings, (lock, decodings))?;
            (Some(child), held)
        }
        _ => (None, (lock, decodings)),
    };
    Ok(Shipping { lock, decodings, uploader, waiting, problems })
}

/// Starts a decoder for each log, all of which write to standard output.
///
/// # Errors
/// There is no room for another process or descriptor. Then no child is left.
pub fn printing(logs: Vec<Log>, settings: &Settings) -> Result<Vec<(PathBuf, Child)>, Error> {
    let jobs: Result<Vec<(Log, File)>, Error> =
        logs.into_iter().map(|log| Ok((log, standard(&std::io::stdout(), "standard output")?))).collect();
    Ok(decoders(jobs?, settings, ())?.0)
}

/// A log that was named by hand; `-` is standard input.
///
/// # Errors
/// It cannot be opened.
pub fn operand(name: &Path) -> Result<Log, Error> {
    if name != Path::new("-") {
        return logs::named(name);
    }
    let path = "standard input";
    Ok(Log { path: path.into(), file: standard(&std::io::stdin(), path)?, is_final: true })
}

fn standard(stream: &impl AsFd, name: &str) -> Result<File, Error> {
    let copy = stream.as_fd().try_clone_to_owned();
    copy.map(File::from).map_err(|error| Error::new(name, reason(&error)))
}

/// Appends a text and says its number. There are a few hundred at most.
fn enter(texts: &mut Vec<File>, text: File) -> u32 {
    let number = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    texts.push(text);
    number
}

/// Forks a decoder for each log. `held` is all else that is open: it comes back, but no child keeps it.
fn decoders<H>(
    jobs: Vec<(Log, File)>,
    settings: &Settings,
    held: H,
) -> Result<(Vec<(PathBuf, Child)>, H), Error> {
    let mut decoders = Vec::new();
    let mut jobs = jobs.into_iter();
    while let Some((log, text)) = jobs.next() {
        match split()? {
            Side::Parent(child) => decoders.push((log.path, child)),
            Side::Child(socket) => {
                drop((jobs, decoders, held));
                exit(decoder::work(socket, log, text, settings));
            }
        }
    }
    Ok((decoders, held))
}

/// Forks the uploader. `held` is all else that is open: it comes back, but the child does not keep it.
fn uploader<H>(texts: Vec<File>, target: &Target, settings: &Settings, held: H) -> Result<(Child, H), Error> {
    match split()? {
        Side::Parent(child) => Ok((child, held)),
        Side::Child(socket) => {
            drop(held);
            exit(uploader::work(socket, &texts, target, &settings.account));
        }
    }
}
