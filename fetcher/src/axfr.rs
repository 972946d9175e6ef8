//! A zone transfer (AXFR, RFC 5936) whose zone is a list: all of its policy, in one answer of
//! any number of messages.
//!
//! Items of the list are what APL, TXT, A and AAAA records hold, at any name of the zone, and
//! the prefixes of response policy (`rpz`). Not policy, and passed over: every other type, the
//! addresses of name servers, the zone's and those of zones below it (glue), and whatever other triggers of a response
//! policy zone hold (`rpz-client-ip`, `rpz-nsip`, `rpz-nsdname`).

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use common::prefix;
use hickory_proto::rr::Name;

use crate::chunk::Chunk;
use crate::failure::Failure;
use crate::soa::serial;
use crate::wire::{self, Malformed, Reader, Record};
use crate::{answer, apl, rpz, txt};

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const APL: u16 = 42;
const AXFR: u16 = 252;
const IN: u16 = 1;

/// About how many items a chunk holds. Whoever uses them up frees them chunk by chunk.
const CHUNK: usize = 1 << 16;

/// A transferred zone.
#[derive(Debug)]
pub struct Zone {
    /// The SOA's serial.
    pub serial: u32,
    /// The items in the server's order. Without any record in them the zone holds no policy.
    pub chunks: Vec<Chunk>,
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    id: u16,
    zone: Vec<u8>,
    /// The most items that are taken.
    most: usize,
    /// The first SOA's serial, once it is there.
    serial: Option<u32>,
    is_over: bool,
    full: Vec<Chunk>,
    chunk: Chunk,
    /// How many items the full chunks hold.
    entries: usize,
    /// How many of them are positive.
    positive: usize,
    glue: Glue,
}

impl Transfer {
    /// The answer to the AXFR query with this id for the zone, of which `most` items are taken.
    pub fn new(id: u16, zone: &Name, most: usize) -> Transfer {
        Transfer {
            id,
            zone: wire::canonical(zone),
            most,
            serial: None,
            is_over: false,
            full: Vec::new(),
            chunk: Chunk::default(),
            entries: 0,
            positive: 0,
            glue: Glue::default(),
        }
    }

    /// Takes the next message and says whether it was the last.
    ///
    /// # Errors
    /// The server's refusal, or what is wrong with the message or the transfer; it is then over.
    pub fn next(&mut self, message: &[u8]) -> Result<bool, Failure> {
        if self.is_over {
            return Err(Failure::AfterEnd);
        }
        let mut reader = Reader::new(message);
        let header = reader.header()?;
        if header.id != self.id {
            return Err(Failure::WrongId(header.id));
        }
        if !header.is_answer() {
            return Err(Failure::NotAnAnswer);
        }
        let mut name = wire::Name::default();
        for _ in 0..header.questions {
            reader.name(&mut name)?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            if name.octets() != self.zone || kind != AXFR || class != IN {
                return Err(Failure::WrongQuestion);
            }
        }
        answer::response_code(header.response_code())?;
        // Only the messages after the first may leave the question out, and a refusal.
        if header.questions > 1 || (header.questions == 0 && self.serial.is_none()) {
            return Err(Failure::WrongQuestion);
        }
        if header.is_truncated() {
            return Err(Failure::Truncated);
        }
        let [answers, authorities, additional] = header.records;
        if answers == 0 {
            return Err(if self.serial.is_some() { Failure::NoRecord } else { Failure::NoSoaFirst });
        }
        for _ in 0..answers {
            reader.name(&mut name)?;
            self.record(message, &name, &reader.record()?)?;
        }
        for _ in (0..authorities).chain(0..additional) {
            reader.skip_name()?;
            reader.record()?;
        }
        if !reader.is_at_end() {
            return Err("octets after the last record".into());
        }
        Ok(self.is_over)
    }

    /// How many items came so far, negated ones too.
    pub fn entries(&self) -> usize {
        self.entries.saturating_add(self.chunk.entries())
    }

    /// Ends the transfer; called when the server has no more to say as well.
    ///
    /// # Errors
    /// The last message is not there yet.
    pub fn finish(mut self) -> Result<Zone, Failure> {
        let Some(serial) = self.serial.filter(|_| self.is_over) else {
            return Err(Failure::EndsEarly);
        };
        self.full.push(self.chunk);
        self.glue.remove_from(&mut self.full);
        Ok(Zone { serial, chunks: self.full })
    }

    fn record(&mut self, message: &[u8], owner: &wire::Name, record: &Record<'_>) -> Result<(), Failure> {
        if self.is_over {
            return Err(Failure::AfterEnd);
        }
        let Some(before) = owner.before(&self.zone) else {
            // If it is the first, the answer is about something else.
            let outside = Failure::OutsideZone(wire::text(owner.octets()));
            return Err(if self.serial.is_some() { outside } else { Failure::NoSoaFirst });
        };
        if record.class != IN {
            return Err("a record of another class than IN".into());
        }
        match (self.serial, record.kind) {
            (None, SOA) if before.is_empty() => self.serial = Some(serial(message, record)?),
            (None, _) => return Err(Failure::NoSoaFirst),
            (Some(first), SOA) if before.is_empty() => {
                let second = serial(message, record)?;
                if first != second {
                    return Err(Failure::SerialDiffers(first, second));
                }
                self.is_over = true;
            }
            (Some(_), NS) => {
                let server = only_name(message, record)?;
                if server.before(&self.zone).is_some() {
                    self.glue.add_server(&server);
                }
            }
            (Some(_), APL | TXT | A | AAAA | CNAME) => {
                self.policy(message, owner, before, record)?;
            }
            _ => {}
        }
        let entries = self.entries();
        if entries.saturating_add(self.glue.servers.len()) > self.most {
            return Err(Failure::TooManyEntries(self.most));
        }
        if self.chunk.entries() >= CHUNK {
            self.positive = self.positive.saturating_add(self.chunk.positive.len());
            self.full.push(std::mem::take(&mut self.chunk));
            self.entries = entries;
        }
        Ok(())
    }

    /// Adds what a record says, if it is policy.
    fn policy(
        &mut self,
        message: &[u8],
        owner: &wire::Name,
        before: &[u8],
        record: &Record<'_>,
    ) -> Result<(), Failure> {
        let bad = |cause| Failure::BadItem(format!("{}: {cause}", wire::text(owner.octets())));
        match (trigger(before), record.kind) {
            // Records other than CNAME are answers in place of the address: they say no less
            // that it is not wanted.
            (Some((labels, b"rpz-ip")), CNAME | A | AAAA | TXT) => {
                let net = rpz::prefix(labels).map_err(bad)?;
                let is_exception = record.kind == CNAME
                    && rpz::is_exception(only_name(message, record)?.octets()).map_err(bad)?;
                if is_exception { &mut self.chunk.negated } else { &mut self.chunk.positive }.push(net);
            }
            (Some(_), _) | (None, CNAME) => return Ok(()),
            (None, A) => self.host(owner, array::<4>(record)?.into(), 32).map_err(bad)?,
            (None, AAAA) => self.host(owner, array::<16>(record)?.into(), 128).map_err(bad)?,
            (None, TXT) => txt::read(record.rdata, &mut self.chunk).map_err(bad)?,
            (None, _) => apl::read(record.rdata, &mut self.chunk).map_err(bad)?,
        }
        self.chunk.records = self.chunk.records.saturating_add(1);
        Ok(())
    }

    fn host(&mut self, owner: &wire::Name, address: IpAddr, length: u8) -> Result<(), String> {
        let net = prefix::from_parts(address, length).map_err(|why| format!("{address}: {why}"))?;
        self.glue.add_address(owner, self.positive.saturating_add(self.chunk.positive.len()));
        self.chunk.positive.push(net);
        Ok(())
    }
}

/// Divides what stands before the zone at a label for response policy right below it, such as
/// `rpz-ip`: the labels of the trigger, and that label.
fn trigger(before: &[u8]) -> Option<(&[u8], &[u8])> {
    let label = wire::labels(before).last().filter(|label| label.starts_with(b"rpz-"))?;
    let size = before.len().checked_sub(label.len())?.checked_sub(1)?;
    Some((before.get(..size)?, label))
}

fn array<const SIZE: usize>(record: &Record<'_>) -> Result<[u8; SIZE], Malformed> {
    record.rdata.try_into().map_err(|_| "an address record of the wrong length")
}

/// The name that is all of a record's rdata.
fn only_name(message: &[u8], record: &Record<'_>) -> Result<wire::Name, Malformed> {
    let mut rdata = Reader::rdata(message, record);
    let mut name = wire::Name::default();
    rdata.name(&mut name)?;
    if rdata.is_at_end() { Ok(name) } else { Err("octets after the name of a record") }
}

/// The addresses of name servers, the zone's own and those of zones below it. They must be in the
/// zone, and are no more policy than the NS records: in a block list they would cut off the way to
/// these zones. In which order
/// NS and address records come is the server's choice, so names are kept, as keyed hashes.
#[derive(Debug, Default)]
struct Glue {
    hash: RandomState,
    servers: HashSet<u64>,
    /// The place of every address among the positive items, ascending, and its owner.
    addresses: Vec<(usize, u64)>,
}

impl Glue {
    fn add_server(&mut self, name: &wire::Name) {
        self.servers.insert(self.hash.hash_one(name.octets()));
    }

    fn add_address(&mut self, owner: &wire::Name, place: usize) {
        self.addresses.push((place, self.hash.hash_one(owner.octets())));
    }

    fn remove_from(self, chunks: &mut [Chunk]) {
        let glue = self.addresses.into_iter().filter(|(_, owner)| self.servers.contains(owner));
        let mut glue = glue.map(|(place, _)| place).peekable();
        let mut place = 0usize;
        for chunk in chunks {
            let before = chunk.positive.len();
            chunk.positive.retain(|_| {
                let is_glue = glue.next_if_eq(&place).is_some();
                place = place.saturating_add(1);
                !is_glue
            });
            // An address record has one item.
            let removed = before.saturating_sub(chunk.positive.len());
            chunk.records = chunk.records.saturating_sub(removed);
        }
    }
}

#[cfg(test)]
mod tests;
