//! One DNS message (RFC 1035, section 4): is it the answer to this question, and what does it hold.
//!
//! Names, header and question are read by hickory-proto. Its reader of whole messages is not
//! used: it refuses a record without rdata, which is how APL writes an empty list, and it keeps
//! 272 octets for a record of which 5 are wanted.

use std::net::IpAddr;

use common::prefix;
use hickory_proto::ProtoError;
use hickory_proto::op::{Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use crate::chunk::{Chunk, shorten};
use crate::failure::Failure;
use crate::{apl, name, txt};

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
/// referral.
///
/// # Errors
/// The server's refusal, an answer to something else, or what is wrong with the message.
pub fn read(message: &[u8], question: &Query) -> Result<Chunk, Failure> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder)?;
    if header.message_type != MessageType::Response || header.op_code != OpCode::Query {
        return Err(Failure::NotAnAnswer);
    }
    match header.counts.queries {
        // Some servers leave the question out of a refusal.
        0 => response_code(header.response_code).and(Err(Failure::WrongQuestion))?,
        1 => {
            let asked = Query::read(&mut decoder)?;
            if asked != *question {
                return Err(Failure::WrongQuestion);
            }
        }
        _ => return Err(Failure::WrongQuestion),
    }
    response_code(header.response_code)?;
    if header.truncation {
        return Err(Failure::Truncated);
    }
    let mut chunk = Chunk::default();
    for _ in 0..header.counts.answers {
        check_owner(&mut decoder, message, question)?;
        let record = Record::read(&mut decoder)?;
        if record.kind == RecordType::CNAME {
            return Err(Failure::Alias);
        }
        if record.kind != question.query_type() {
            return Err(Failure::OtherType(record.kind.into()));
        }
        if record.class != DNSClass::IN {
            return Err(Failure::Malformed("a record of another class than IN".to_owned()));
        }
        take(&record, message, &mut chunk)?;
    }
    let mut authority = Vec::new();
    for _ in 0..header.counts.authorities {
        name::skip(&mut decoder)?;
        authority.push(Record::read(&mut decoder)?.kind);
    }
    for _ in 0..header.counts.additionals {
        name::skip(&mut decoder)?;
        Record::read(&mut decoder)?;
    }
    if !decoder.is_empty() {
        return Err(Failure::Malformed("octets after the last record".to_owned()));
    }
    // No data comes with a SOA record, or with nothing (RFC 2308, section 2.2).
    if chunk.records == 0
        && !header.authoritative
        && authority.contains(&RecordType::NS)
        && !authority.contains(&RecordType::SOA)
    {
        return Err(Failure::Referral);
    }
    Ok(chunk)
}

/// Moves past the owner of a record, which must be the name that was asked for. Nearly always it
/// is a pointer to it.
fn check_owner(decoder: &mut BinDecoder<'_>, message: &[u8], question: &Query) -> Result<(), Failure> {
    if message.get(decoder.index()..).is_some_and(|rest| rest.starts_with(&QUESTIONS_NAME)) {
        return Ok(name::skip(decoder)?);
    }
    let owner = name::read(decoder, message)?;
    if owner == *question.name() { Ok(()) } else { Err(Failure::OtherName(text(&owner))) }
}

/// A record after its owner, not read further than its rdata.
struct Record<'m> {
    kind: RecordType,
    class: DNSClass,
    rdata: &'m [u8],
    /// Where the rdata ends, from the start of the message.
    end: usize,
}

impl<'m> Record<'m> {
    fn read(decoder: &mut BinDecoder<'m>) -> Result<Record<'m>, DecodeError> {
        let kind = RecordType::read(decoder)?;
        let class = DNSClass::from(decoder.read_u16()?.unverified());
        let _ttl = decoder.read_u32()?;
        let length = usize::from(decoder.read_u16()?.unverified());
        let rdata = decoder.read_slice(length)?.unverified();
        Ok(Record { kind, class, rdata, end: decoder.index() })
    }
}

/// Adds what a record holds. A name in rdata may point to any place before it (compression).
fn take(record: &Record<'_>, message: &[u8], chunk: &mut Chunk) -> Result<(), Failure> {
    chunk.records = chunk.records.saturating_add(1);
    match record.kind {
        APL => apl::read(record.rdata, chunk).map_err(Failure::BadItem),
        RecordType::TXT => txt::read(record.rdata, chunk).map_err(Failure::BadItem),
        RecordType::A => host(<[u8; 4]>::try_from(record.rdata).map(IpAddr::from).ok(), 32, chunk),
        RecordType::AAAA => host(<[u8; 16]>::try_from(record.rdata).map(IpAddr::from).ok(), 128, chunk),
        RecordType::PTR => {
            let mut decoder = BinDecoder::new(message.get(..record.end).unwrap_or_default());
            let start = record.end.saturating_sub(record.rdata.len());
            decoder.read_slice(start)?;
            let name = name::read(&mut decoder, message)?;
            if !decoder.is_empty() {
                return Err(Failure::Malformed("octets after the name of a PTR record".to_owned()));
            }
            chunk.names.push(name);
            Ok(())
        }
        kind => Err(Failure::OtherType(kind.into())),
    }
}

/// Adds an address as a host; `None` stands for rdata of another length.
fn host(address: Option<IpAddr>, length: u8, chunk: &mut Chunk) -> Result<(), Failure> {
    let address =
        address.ok_or_else(|| Failure::Malformed("an address record of the wrong length".to_owned()))?;
    let net =
        prefix::from_parts(address, length).map_err(|why| Failure::BadItem(format!("{address}: {why}")))?;
    chunk.positive.push(net);
    Ok(())
}

fn response_code(code: ResponseCode) -> Result<(), Failure> {
    match code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::ServFail => Err(Failure::ServerFailure),
        ResponseCode::NXDomain => Err(Failure::NoSuchName),
        ResponseCode::Refused => Err(Failure::Refused),
        other => Err(Failure::ResponseCode(other.into())),
    }
}

#[cfg(test)]
mod tests;
