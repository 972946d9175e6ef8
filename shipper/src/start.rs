//! Opening and forking: everything that has to be done before the sandbox closes.
//!
//! Each child inherits copies of all descriptors, and drops those that are not its own before its
//! first step. No descriptor is passed later.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::exit;

use common::Error;
use common::error::reason;

use crate::collector::Decoding;
use crate::decoder::{self, Settings};
use crate::logs::{self, Identity, Log, Rotated};
use crate::outbox::{Outbox, Text};
use crate::process::{self, Child, Side, split};
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
    pub waiting: Vec<(Text, u32)>,
    /// Texts of earlier runs that could not be opened, logs for which there was no room, and the
    /// uploader if there was none for it.
    pub problems: Vec<Error>,
}

/// Starts a decoder for each log and, if there is a target, an uploader for their texts and for
/// those that wait. What cannot be started is one of the `problems`, and costs nothing else: to post
/// may be what makes room again.
///
/// # Errors
/// The outbox cannot be read.
pub fn shipping(
    lock: File,
    outbox: &Outbox,
    logs: Vec<Log>,
    settings: &Settings,
    target: Option<&Target>,
) -> Result<Shipping, Error> {
    let (mut texts, mut waiting, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    if target.is_some() {
        let mut queue: Vec<Text> = outbox.list()?.into_iter().map(|(text, _)| text).collect();
        queue.sort_unstable_by_key(Text::turn);
        for text in queue.into_iter().take(MAX_TEXTS) {
            match outbox.open(&text) {
                Ok(file) => waiting.push((text, enter(&mut texts, file))),
                Err(error) => problems.push(error),
            }
        }
    }
    let (mut jobs, mut drafts) = (Vec::new(), Vec::new());
    for (number, log) in logs.into_iter().enumerate() {
        match outbox.draft(number) {
            Ok((draft, writer, reader)) => {
                drafts.push((draft, enter(&mut texts, reader), log.identity));
                jobs.push((log, writer));
            }
            Err(error) => problems.push(Error::new(log.path.display(), format!("not shipped: {error}"))),
        }
    }
    let (decoders, (lock, drafts, texts)) = decoders(jobs, settings, (lock, drafts, texts));
    let mut decodings = Vec::new();
    for ((log, decoder), (draft, number, file)) in decoders.into_iter().zip(drafts) {
        match decoder {
            Ok(decoder) => decodings.push(Decoding { log, file, decoder, draft, number }),
            Err(error) => {
                problems.push(Error::new(log.display(), format!("not shipped: {error}")));
                problems.extend(outbox.discard(&draft).err());
            }
        }
    }
    let (uploader, (lock, decodings)) = match target {
        Some(target) if !texts.is_empty() => uploader(texts, target, settings, (lock, decodings)),
        _ => (Ok(None), (lock, decodings)),
    };
    let uploader = uploader.unwrap_or_else(|error| {
        problems.push(Error::new("uploader", error));
        None
    });
    Ok(Shipping { lock, decodings, uploader, waiting, problems })
}

/// Starts a decoder for each log, all of which write to standard output.
///
/// # Errors
/// There is no room for another process or descriptor. Then no child is left.
pub fn printing(logs: Vec<Log>, settings: &Settings) -> Result<Vec<(PathBuf, Child)>, Error> {
    let jobs: Result<Vec<(Log, File)>, Error> = logs.into_iter().map(|log| Ok((log, output()?))).collect();
    let (decoders, ()) = decoders(jobs?, settings, ());
    decoders.into_iter().map(|(log, decoder)| Ok((log, decoder?))).collect()
}

/// The logs that were named by hand. One that is still written to is a problem, as is one that
/// cannot be opened.
///
/// # Errors
/// They are too many for one run.
pub fn named(names: &[OsString], pflog: &Path) -> Result<Rotated, Error> {
    if let Some(name) = names.get(logs::MAX_LOGS) {
        let cause = format!("one log too many; a run takes {}", logs::MAX_LOGS);
        return Err(Error::new(Path::new(name).display(), cause));
    }
    let mut found = Rotated::default();
    for name in names {
        match operand(Path::new(name)) {
            Ok(log) if logs::is_live(&log, pflog) => {
                let cause = "not shipped: pflogd still writes to it; -r has it rotated";
                found.problems.push(Error::new(log.path.display(), cause));
            }
            Ok(log) => found.logs.push(log),
            Err(error) => found.problems.push(error),
        }
    }
    Ok(found)
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
    let file = standard(&std::io::stdin(), path)?;
    Ok(Log { path: path.into(), file, identity: Identity::default(), is_final: true })
}

/// Standard output, for a child to write to.
///
/// # Errors
/// It is closed.
pub fn output() -> Result<File, Error> {
    let stream = std::io::stdout();
    process::terminal(&stream).map_or_else(|| standard(&stream, "standard output"), Ok)
}

/// A copy of a standard stream's descriptor.
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

/// A log's path, and the process that decodes it if there was room for one.
type Started = (PathBuf, Result<Child, Error>);

/// Forks a decoder for each log. `held` is all else that is open: it comes back, but no child keeps it.
fn decoders<H>(jobs: Vec<(Log, File)>, settings: &Settings, held: H) -> (Vec<Started>, H) {
    let mut decoders = Vec::new();
    let mut jobs = jobs.into_iter();
    while let Some((log, text)) = jobs.next() {
        match split() {
            Ok(Side::Parent(child)) => decoders.push((log.path, Ok(child))),
            Err(error) => decoders.push((log.path, Err(error))),
            Ok(Side::Child(mut socket)) => {
                drop((jobs, decoders, held));
                exit(decoder::work(&mut socket, log, text, settings));
            }
        }
    }
    (decoders, held)
}

/// Forks the uploader. `held` is all else that is open: it comes back, but the child does not keep it.
fn uploader<H>(
    texts: Vec<File>,
    target: &Target,
    settings: &Settings,
    held: H,
) -> (Result<Option<Child>, Error>, H) {
    match split() {
        Ok(Side::Parent(child)) => (Ok(Some(child)), held),
        Err(error) => (Err(error), held),
        Ok(Side::Child(mut socket)) => {
            drop(held);
            exit(uploader::work(&mut socket, &texts, target, &settings.account));
        }
    }
}
