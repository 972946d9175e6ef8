//! One DNS message (RFC 1035, section 4): is it the answer to this question, and what does it hold.
//!
//! hickory-proto's reader of whole messages is not used: it refuses a record without rdata, which
//! is how APL writes an empty list, and it keeps 272 octets for a record of which 5 are wanted.

use std::net::IpAddr;

use common::prefix;
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::chunk::{Chunk, shorten};
use crate::failure::Failure;
use crate::wire::{self, Header, Reader, Record};
use crate::{apl, soa, txt};

/// The type of address prefix lists (RFC 3123), which hickory-proto does not know.
pub const APL: RecordType = RecordType::Unknown(42);

/// The message that asks a question. Recursion is desired, as dig(1) has it, so that a forwarder
/// between here and the service does its work.
///
/// # Errors
/// The name is too long for a message.
pub fn ask(id: u16, question: &Query) -> Result<Vec<u8>, ProtoError> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    message.to_vec()
}

/// Where a message has its question's name, right after the header, as a pointer.
const QUESTIONS_NAME: [u8; 2] = [0xc0, 12];

/// The id of a message, if it is long enough to have one.
pub fn id(message: &[u8]) -> Option<u16> {
    message.first_chunk().copied().map(u16::from_be_bytes)
}

/// A name for a message to a person: printable ASCII only, without the last dot, shortened.
pub fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    if !name.is_root() && text.ends_with('.') {
        text.pop();
    }
    shorten(text)
}

/// Reads the answer to a question and reduces it to its items. An answer without records is no
/// data. Every record of the answer must be of the name and type that was asked for: an alias
/// (CNAME) is refused. The other sections are checked for their form, and without any data for a
/// referral. The answer to a SOA question is the serial of the name's zone.
///
/// # Errors
/// The server's refusal, an answer to something else, or what is wrong with the message.
pub fn read(message: &[u8], question: &Query) -> Result<Chunk, Failure> {
    if question.query_type() == RecordType::SOA {
        return Ok(Chunk { zone: Some(soa::read(message, question)?), ..Chunk::default() });
    }
    let name = wire::canonical(question.name());
    let (header, mut reader) = begin(message, question, &name)?;
    let [answers, authorities, additional] = header.records;
    let mut chunk = Chunk::default();
    for _ in 0..answers {
        check_owner(&mut reader, message, &name)?;
        let record = reader.record()?;
        let kind = RecordType::from(record.kind);
        if kind == RecordType::CNAME {
            return Err(Failure::Alias);
        }
        if kind != question.query_type() {
            return Err(Failure::OtherType(record.kind));
        }
        if record.class != DNSClass::IN.into() {
            return Err("a record of another class than IN".into());
        }
        take(kind, &record, message, &mut chunk)?;
    }
    let mut authority = Vec::new();
    for _ in 0..authorities {
        reader.skip_name()?;
        authority.push(RecordType::from(reader.record()?.kind));
    }
    for _ in 0..additional {
        reader.skip_name()?;
        reader.record()?;
    }
    if !reader.is_at_end() {
        return Err("octets after the last record".into());
    }
    // No data comes with a SOA record, or with nothing (RFC 2308, section 2.2).
    if chunk.records == 0
        && !header.is_authoritative()
        && authority.contains(&RecordType::NS)
        && !authority.contains(&RecordType::SOA)
    {
        return Err(Failure::Referral);
    }
    Ok(chunk)
}

/// Reads header and question, whose name is given in canonical wire form, too.
///
/// # Errors
/// The server's refusal, an answer to something else, or what is wrong with the message.
pub fn begin<'m>(message: &'m [u8], question: &Query, name: &[u8]) -> Result<(Header, Reader<'m>), Failure> {
    let mut reader = Reader::new(message);
    let header = reader.header()?;
    if !header.is_answer() {
        return Err(Failure::NotAnAnswer);
    }
    match header.questions {
        // Some servers leave the question out of a refusal.
        0 => response_code(header.response_code()).and(Err(Failure::WrongQuestion))?,
        1 => {
            let mut asked = wire::Name::default();
            reader.name(&mut asked)?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            if asked.octets() != name
                || kind != question.query_type().into()
                || class != question.query_class().into()
            {
                return Err(Failure::WrongQuestion);
            }
        }
        _ => return Err(Failure::WrongQuestion),
    }
    response_code(header.response_code())?;
    if header.is_truncated() { Err(Failure::Truncated) } else { Ok((header, reader)) }
}

/// Moves past the owner of a record, which must be the name that was asked for (canonical wire
/// form). Nearly always it is a pointer to it.
fn check_owner(reader: &mut Reader<'_>, message: &[u8], name: &[u8]) -> Result<(), Failure> {
    if message.get(reader.at()..).is_some_and(|rest| rest.starts_with(&QUESTIONS_NAME)) {
        return Ok(reader.skip_name()?);
    }
    let mut owner = wire::Name::default();
    reader.name(&mut owner)?;
    if owner.octets() == name { Ok(()) } else { Err(Failure::OtherName(wire::text(owner.octets()))) }
}

/// Adds what a record holds. A name in rdata may point to any place before it (compression).
fn take(kind: RecordType, record: &Record<'_>, message: &[u8], chunk: &mut Chunk) -> Result<(), Failure> {
    chunk.records = chunk.records.saturating_add(1);
    match kind {
        APL => apl::read(record.rdata, chunk).map_err(Failure::BadItem),
        RecordType::TXT => txt::read(record.rdata, chunk).map_err(Failure::BadItem),
        RecordType::A => host(<[u8; 4]>::try_from(record.rdata).map(IpAddr::from).ok(), 32, chunk),
        RecordType::AAAA => host(<[u8; 16]>::try_from(record.rdata).map(IpAddr::from).ok(), 128, chunk),
        RecordType::PTR => {
            let mut rdata = Reader::rdata(message, record);
            let mut name = wire::Name::default();
            rdata.name(&mut name)?;
            if !rdata.is_at_end() {
                return Err("octets after the name of a PTR record".into());
            }
            let name = Name::from_labels(wire::labels(name.octets()));
            chunk.names.push(name.map_err(|_| "a name that is none")?);
            Ok(())
        }
        _ => Err(Failure::OtherType(record.kind)),
    }
}

/// Adds an address as a host; `None` stands for rdata of another length.
fn host(address: Option<IpAddr>, length: u8, chunk: &mut Chunk) -> Result<(), Failure> {
    let address = address.ok_or_else(|| Failure::from("an address record of the wrong length"))?;
    let net =
        prefix::from_parts(address, length).map_err(|why| Failure::BadItem(format!("{address}: {why}")))?;
    chunk.positive.push(net);
    Ok(())
}

/// The failure that an RCODE is.
///
/// # Errors
/// It is not 0.
pub fn response_code(code: u16) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        2 => Err(Failure::ServerFailure),
        3 => Err(Failure::NoSuchName),
        5 => Err(Failure::Refused),
        other => Err(Failure::ResponseCode(other)),
    }
}

#[cfg(test)]
mod tests;
