//! Turns a packet log into text: one line for each record, whatever the record holds.

use crate::clock::Clock;
use crate::filterlog::{self, Message};
use crate::members::Members;
use crate::pcap::{End, NotPflog, Reader};
use crate::print::{Printer, line::Line};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::{SystemTime, UNIX_EPOCH};

/// What gzip files start with (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The text is written when this much has gathered, at the latest.
const OUTPUT: usize = 64 * 1024;

/// A SHA-256 digest.
pub type Digest = [u8; SHA256_OUTPUT_LEN];

/// A time stamp: seconds since the epoch, and microseconds.
pub type Stamp = (u32, u32);

/// What was found in a file, up to the end of the text that was made of it so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Octets of the text, which are whole lines.
    pub text: u64,
    /// Records, each of which is a line of the text.
    pub records: u64,
    /// Those among them that could not be read: without a pflog header, or a line that is not filterlog's.
    /// Their line says so in square brackets.
    pub undecodable: u64,
    /// Those that claim more than the file's snap length.
    pub overlong: u64,
    /// The digest of the first record.
    pub head: Option<Digest>,
    /// Time stamp of the first record that could be read and has one.
    pub first: Option<Stamp>,
    /// Time stamp of the last such record.
    pub last: Option<Stamp>,
}

/// What a whole file held.
#[derive(Debug)]
pub struct Summary {
    /// What was found in it.
    pub found: Found,
    /// The same as [`digest`], if it was asked for.
    pub octets: Option<Digest>,
    /// How the file ended.
    pub end: End,
}

/// Why a file could not be turned into text.
#[derive(Debug)]
pub enum Error {
    /// It is neither a pflog file nor a log of filterlog(8); nothing was written.
    Input(NotPflog),
    /// The text could not be written.
    Output(io::Error),
}

/// Reads a pflog file or the lines of filterlog(8), plain or compressed by gzip, and writes its text.
///
/// Memory is bounded whatever the file holds. A file that is cut off, corrupt or damaged gives the text of
/// the records before that place, and [`Summary::end`] says where it is.
///
/// `write` gets the text piece by piece, each of whole lines, with what was found up to its end. A piece is
/// at most a sixteenth of the text before it, or a line, so that a process that dies takes little along.
/// At the first error of `write` everything stops.
pub fn decode<R, W>(input: R, is_digested: bool, clock: Clock, write: W) -> Result<Summary, Error>
where
    R: Read,
    W: FnMut(&[u8], &Found) -> io::Result<()>,
{
    let input = uncompressed(input).map_err(|cause| Error::Input(NotPflog::Unreadable(cause)))?;
    let mut input = Hashed { input, context: is_digested.then(|| Context::new(&SHA256)) };
    let mut start = Vec::new();
    let read = (&mut input).take(filterlog::START as u64).read_to_end(&mut start);
    read.map_err(|cause| Error::Input(NotPflog::Unreadable(cause)))?;
    let mut lines = Lines { write, text: Vec::with_capacity(2 * OUTPUT), found: Found::default() };
    let mut whole = start.as_slice().chain(&mut input);
    let end = if filterlog::starts_like_syslog(&start) {
        lines.pass_on(BufReader::with_capacity(OUTPUT, whole))?
    } else {
        lines.print(&mut whole, clock)?
    };
    lines.flush()?;
    let end = match end {
        // What follows a corrupt record still tells this file from another.
        End::Corrupt { record, offset, captured } => match io::copy(&mut input, &mut io::sink()) {
            Ok(_) => End::Corrupt { record, offset, captured },
            Err(cause) => End::Unreadable { offset, cause },
        },
        end => end,
    };
    Ok(Summary { found: lines.found, octets: input.context.map(finish), end })
}

/// The digest of all octets of a file, uncompressed; of a damaged one, of those that can be read.
pub fn digest(input: impl Read) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; OUTPUT];
    if let Ok(mut input) = uncompressed(input) {
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => context.update(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    finish(context)
}

/// The digest of these octets, one after the other.
fn digest_of(pieces: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    pieces.iter().for_each(|piece| context.update(piece));
    finish(context)
}

fn finish(context: Context) -> Digest {
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// What a file holds, whether it is compressed or not.
fn uncompressed<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::new();
    (&mut input).take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
    let is_gzip = start == GZIP_MAGIC;
    let input = io::Cursor::new(start).chain(input);
    if is_gzip {
        return Ok(Box::new(Members::new(BufReader::with_capacity(OUTPUT, input))));
    }
    Ok(Box::new(input))
}

/// The text on its way to the output, and what is to be said about it.
struct Lines<W> {
    write: W,
    text: Vec<u8>,
    found: Found,
}

impl<W: FnMut(&[u8], &Found) -> io::Result<()>> Lines<W> {
    /// The records of a pcap file.
    fn print(&mut self, input: impl Read, mut clock: Clock) -> Result<End, Error> {
        let mut reader = Reader::new(input).map_err(Error::Input)?;
        let mut printer = Printer::default();
        loop {
            let record = match reader.read() {
                Ok(record) => record,
                Err(end) => return Ok(end),
            };
            if self.found.head.is_none() {
                let numbers = [record.sec, record.usec, record.len].map(u32::to_be_bytes);
                self.found.head = Some(digest_of(&[numbers.as_flattened(), record.captured]));
            }
            self.found.overlong += u64::from(record.is_overlong);
            clock.stamp(&mut self.text, record.sec, record.usec);
            let printed = printer.packet(&mut self.text, record.captured, record.len);
            self.end_line(printed.is_ok().then_some((record.sec, record.usec)))?;
        }
    }

    /// The lines of filterlog(8), as they are. In place of a line of anything else there is one that says
    /// so: what it holds may be meant for somebody's terminal.
    fn pass_on(&mut self, mut input: impl BufRead) -> Result<End, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let mut offset = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input).take(filterlog::LINE_MAX as u64 + 1).read_until(b'\n', &mut line);
            offset += line.len() as u64;
            if let Err(cause) = read {
                return Ok(End::Unreadable { offset, cause });
            }
            let message = match line.split_last() {
                None => return Ok(End::Clean),
                Some((b'\n', content)) => filterlog::parse(content),
                Some(_) if line.len() <= filterlog::LINE_MAX => {
                    return Ok(End::CutOff { octets: line.len() });
                }
                // Longer than any line of filterlog(8).
                Some(_) => match input.skip_until(b'\n') {
                    Ok(skipped) => {
                        offset += skipped as u64;
                        None
                    }
                    Err(cause) => return Ok(End::Unreadable { offset, cause }),
                },
            };
            let time = match message {
                Some(Message::TurnedOver) => continue,
                Some(Message::Packet(time)) => Some(time),
                None => None,
            };
            if self.found.head.is_none() {
                self.found.head = Some(digest_of(&[&line]));
            }
            match time {
                Some(_) => self.text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(&line)),
                None => {
                    let number = self.found.records + 1;
                    Line::new(&mut self.text).text("[filterlog: line ").dec(number).text(" cannot be read]");
                }
            }
            self.end_line(time.map(|time| (time.before(now), 0)))?;
        }
    }

    /// Ends the line of a record, which has a stamp if it could be read. Inlined, so that the stamp stays in
    /// registers: to pass it through memory took a sixth of the time of a log.
    #[inline(always)]
    fn end_line(&mut self, stamp: Option<Stamp>) -> Result<(), Error> {
        self.text.push(b'\n');
        let found = &mut self.found;
        found.records += 1;
        found.undecodable += u64::from(stamp.is_none());
        if let Some(stamp) = stamp {
            found.first.get_or_insert(stamp);
            found.last = Some(stamp);
        }
        if self.text.len() >= OUTPUT || self.text.len() as u64 >= found.text / 16 {
            self.flush()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn flush(&mut self) -> Result<(), Error> {
        if self.text.is_empty() {
            return Ok(());
        }
        self.found.text += self.text.len() as u64;
        (self.write)(&self.text, &self.found).map_err(Error::Output)?;
        self.text.clear();
        Ok(())
    }
}

/// Digests whatever is read through it, if that is wanted.
struct Hashed<R> {
    input: R,
    context: Option<Context>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(context) = &mut self.context {
            context.update(buffer.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(cause) => write!(f, "{cause}"),
            Error::Output(cause) => write!(f, "cannot write the text: {cause}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
