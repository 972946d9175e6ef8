//! One list, in the format that is configured or found out.
//!
//! `auto` takes the first of these that the name has any record of: PTR (the names of the list's
//! parts; APL at each part), APL, TXT, A and AAAA. Only an answer without data leads on to the
//! next; everything else is either the list or its failure. A list that is there but empty is
//! one APL record without items, or one TXT record with an empty string.
//!
//! `axfr` is never found out: the list is a zone of its own then, and transferred.
//!
//! `a`, if it is asked for by name, has the oldest way to extend a list, too: `basic.org.example`
//! goes on at `basic1.org.example`, `basic2.org.example` and so on. `auto` leaves them alone: the
//! list of a neighbour may well have a digit at its end.
//!
//! Parts are in the list's zone, where that is known: it is what is versioned, signed and
//! transferred, so a name outside it would change unseen, or be somebody else's.

use std::collections::HashSet;
use std::iter;

use common::config::ListFormat;
use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};

use crate::answer::{self, APL};
use crate::chunk::Chunk;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::soa::Serial;
use crate::wire;

/// A list as it was served.
#[derive(Debug)]
pub struct List {
    /// The format in words.
    pub format: &'static str,
    /// Its items in the server's order, a chunk for each answer; the zones of its parts among them.
    pub chunks: Vec<Chunk>,
    /// The serial of the zone that was transferred, where it was.
    pub serial: Option<Serial>,
}

impl List {
    /// The number of prefixes, negated ones too.
    pub fn entries(&self) -> usize {
        self.chunks.iter().map(Chunk::entries).sum()
    }
}

/// Gets the list, whose zone has this serial, if it is known.
///
/// # Errors
/// Says why the list is not there as a whole.
pub fn fetch(
    connection: &mut Connection<'_>,
    name: &Name,
    zone: Option<&Serial>,
    format: ListFormat,
    limits: &Limits,
) -> Result<List, Failure> {
    let formats: &[ListFormat] = match format {
        ListFormat::Auto => &[ListFormat::Ptr, ListFormat::Apl, ListFormat::Txt, ListFormat::Address],
        _ => &[format],
    };
    for form in formats {
        let mut serial = None;
        let (words, chunks) = match form {
            ListFormat::Ptr => {
                let parts = parts(connection, name, zone, limits)?;
                ("PTR and APL", of_parts(connection, name, &parts)?)
            }
            ListFormat::Apl => ("APL", connection.ask(name, &[question(name, APL)])?),
            ListFormat::Txt => ("TXT", connection.ask(name, &[question(name, RecordType::TXT)])?),
            ListFormat::Address => {
                let mut chunks = connection.ask(name, &addresses(name))?;
                if format == ListFormat::Address && has_records(&chunks) {
                    chunks.extend(numbered(connection, name, zone, limits)?);
                }
                ("A and AAAA", chunks)
            }
            ListFormat::Axfr => {
                let zone = connection.transfer(name)?;
                serial = Some(Serial::new(&wire::canonical(name), zone.serial));
                ("zone transfer", zone.chunks)
            }
            // Taken apart above.
            ListFormat::Auto => continue,
        };
        if has_records(&chunks) {
            return Ok(List { format: words, chunks, serial });
        }
    }
    Err(Failure::NoData(match format {
        ListFormat::Ptr => "PTR",
        ListFormat::Apl => "APL",
        ListFormat::Txt => "TXT",
        ListFormat::Address => "A or AAAA",
        ListFormat::Auto => "PTR, APL, TXT, A or AAAA",
        ListFormat::Axfr => "APL, TXT, A, AAAA or rpz-ip",
    }))
}

fn question(name: &Name, kind: RecordType) -> Query {
    Query::query(name.clone(), kind)
}

fn addresses(name: &Name) -> [Query; 2] {
    [RecordType::A, RecordType::AAAA].map(|kind| question(name, kind))
}

fn has_records(chunks: &[Chunk]) -> bool {
    chunks.iter().any(|chunk| chunk.records > 0)
}

/// Gets the names of the list's parts; nothing if it has none.
fn parts(
    connection: &mut Connection<'_>,
    name: &Name,
    zone: Option<&Serial>,
    limits: &Limits,
) -> Result<Vec<Name>, Failure> {
    let answers = connection.ask(name, &[question(name, RecordType::PTR)])?;
    let names: Vec<Name> = answers.into_iter().flat_map(|chunk| chunk.names).collect();
    check_parts(name, &names, zone, limits)?;
    Ok(names)
}

/// Gets what the numbered names hold that continue a list, up to the first that has no address,
/// and the serial of each one's zone, also of the last one's. One that is outside the list's zone does not continue it: a
/// list that is a zone of its own has none.
fn numbered(
    connection: &mut Connection<'_>,
    list: &Name,
    zone: Option<&Serial>,
    limits: &Limits,
) -> Result<Vec<Chunk>, Failure> {
    let mut chunks = Vec::new();
    for number in 1usize.. {
        let next = with_number(list, number).filter(|next| zone.is_none_or(|zone| zone.has(next)));
        let Some(next) = next else { break };
        let [a, aaaa] = addresses(&next);
        let found = connection.look(list, &[a, aaaa, question(&next, RecordType::SOA)])?;
        if !has_records(&found) {
            // If it is there, and a zone of its own, it may have addresses one day: the serial of
            // the list's zone does not tell. A name that is not there has no zone here.
            chunks.extend(found.into_iter().filter(|chunk| matches!(chunk.zone, Some(Some(_)))));
            break;
        }
        if number > limits.parts {
            return Err(Failure::TooManyParts(limits.parts));
        }
        chunks.extend(found);
    }
    Ok(chunks)
}

/// The name with a number after its first label; `None` if that makes the label too long.
fn with_number(list: &Name, number: usize) -> Option<Name> {
    let mut labels = list.iter();
    let first = [labels.next()?, number.to_string().as_bytes()].concat();
    Name::from_labels(iter::once(first.as_slice()).chain(labels)).ok()
}

/// Gets the parts, and the serial of each one's zone. A part holds APL records, at least one.
///
/// The questions alternate: a server that holds a short answer back until the one before it is
/// acknowledged (Nagle's algorithm, RFC 896) would have us wait for it, but not between long ones.
fn of_parts(connection: &mut Connection<'_>, name: &Name, parts: &[Name]) -> Result<Vec<Chunk>, Failure> {
    let kinds = [APL, RecordType::SOA];
    let questions: Vec<Query> =
        parts.iter().flat_map(|part| kinds.map(|kind| question(part, kind))).collect();
    let chunks = connection.ask(name, &questions)?;
    for (part, answers) in parts.iter().zip(chunks.chunks(kinds.len())) {
        if answers.iter().all(|chunk| chunk.records == 0) {
            return Err(Failure::Part(answer::text(part), Box::new(Failure::NoData("APL"))));
        }
    }
    Ok(chunks)
}

/// Refuses too many parts, a part that is the list itself or outside its zone, and a part that is
/// named twice.
fn check_parts(list: &Name, parts: &[Name], zone: Option<&Serial>, limits: &Limits) -> Result<(), Failure> {
    if parts.len() > limits.parts {
        return Err(Failure::TooManyParts(limits.parts));
    }
    let mut seen = HashSet::new();
    for part in parts {
        if part == list {
            return Err(Failure::PartOfItself);
        }
        if let Some(zone) = zone.filter(|zone| !zone.has(part)) {
            let zone = zone.zone.trim_end_matches('.');
            return Err(Failure::PartOutside(answer::text(part), zone.to_owned()));
        }
        if !seen.insert(part) {
            return Err(Failure::PartTwice(answer::text(part)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
