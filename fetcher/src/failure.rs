//! Every way in which getting a list can fail, and its sentence.

use std::fmt;
use std::time::Duration;

use crate::tls;
use crate::tsig;
use crate::wire::Malformed;

/// Why a list could not be had from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No address was found for the server's name; the resolver's words.
    Unresolved(String),
    /// No connection; the system's words.
    NotConnected(String),
    /// No connection within the limit.
    ConnectTime(Duration),
    /// A connection, but no TLS over it within the limit.
    HandshakeTime(Duration),
    /// The server's certificate is not to be trusted, or its TLS failed; in words.
    Tls(String),
    /// No whole message within the limit.
    Silence(Duration),
    /// The server took longer for a table than the limit.
    AttemptTime(Duration),
    /// The run took longer than its limit.
    RunTime(Duration),
    /// The server closed the connection before all answers were there.
    Closed,
    /// The connection broke; the system's words.
    Broken(String),
    /// RCODE 5.
    Refused,
    /// RCODE 2.
    ServerFailure,
    /// RCODE 3.
    NoSuchName,
    /// Any other RCODE but 0: its number.
    ResponseCode(u16),
    /// A referral: the server names others that it takes to have the zone.
    Referral,
    /// The name exists, but has no record of these types.
    NoData(&'static str),
    /// The TC bit is set, which cannot be over TCP.
    Truncated,
    /// The id of no query that waits for an answer.
    WrongId(u16),
    /// The id of a query, but not its question.
    WrongQuestion,
    /// A query, or an operation that was not asked for.
    NotAnAnswer,
    /// Not a DNS message; what is wrong with it.
    Malformed(String),
    /// A record of another name than was asked for.
    OtherName(String),
    /// The name is an alias (CNAME).
    Alias,
    /// A record of another type: its number.
    OtherType(u16),
    /// An item that is no prefix: item and cause.
    BadItem(String),
    /// A part is named twice.
    PartTwice(String),
    /// A list is named as its own part.
    PartOfItself,
    /// A part whose name is not inside the list's zone: the part and the zone.
    PartOutside(String, String),
    /// More parts than the limit.
    TooManyParts(usize),
    /// More entries than the limit.
    TooManyEntries(usize),
    /// The first record of a zone transfer is not the zone's SOA.
    NoSoaFirst,
    /// A record's owner is not inside the transferred zone: its name.
    OutsideZone(String),
    /// A message of a zone transfer without a record.
    NoRecord,
    /// The zone transfer ended before the second SOA.
    EndsEarly,
    /// A record, or a message, after the second SOA of a zone transfer.
    AfterEnd,
    /// The serials of the first and the second SOA of a zone transfer.
    SerialDiffers(u32, u32),
    /// The list's zone changed twice while its lists were read.
    ZoneMoves,
    /// The query could not be signed, or the answer is not to be believed (TSIG).
    Signature(tsig::Fault),
    /// What happened to a part of the list.
    Part(String, Box<Failure>),
}

impl Failure {
    /// Whether another server may do better: this one is out of reach or out of order, or does
    /// not know us. The others are about the list, which is the same everywhere; and when the
    /// run's time is over, there is none for another server.
    pub fn is_the_servers(&self) -> bool {
        match self {
            Failure::NoSuchName
            | Failure::NoData(_)
            | Failure::Alias
            | Failure::BadItem(_)
            | Failure::PartTwice(_)
            | Failure::PartOfItself
            | Failure::PartOutside(..)
            | Failure::TooManyParts(_)
            | Failure::TooManyEntries(_)
            | Failure::ZoneMoves
            | Failure::RunTime(_) => false,
            Failure::Part(_, failure) => failure.is_the_servers(),
            _ => true,
        }
    }

    /// Whether the server closed or reset the connection. It may mean no more than that: an idle
    /// one is closed, and a server that reads its zones anew may reset those that it has.
    pub fn is_end_of_connection(&self) -> bool {
        match self {
            Failure::Closed | Failure::Broken(_) | Failure::EndsEarly => true,
            Failure::Part(_, failure) => failure.is_end_of_connection(),
            _ => false,
        }
    }
}

impl From<Malformed> for Failure {
    fn from(what: Malformed) -> Failure {
        Failure::Malformed(what.to_owned())
    }
}

impl From<tsig::Fault> for Failure {
    fn from(fault: tsig::Fault) -> Failure {
        Failure::Signature(fault)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unresolved(reason) => write!(f, "cannot look up the server's name: {reason}"),
            Failure::NotConnected(reason) => write!(f, "cannot connect: {reason}"),
            Failure::ConnectTime(limit) => {
                write!(f, "no connection within {}; is TCP to this port let out?", Seconds(*limit))
            }
            Failure::HandshakeTime(limit) => {
                write!(f, "no TLS handshake within {}; {}", Seconds(*limit), tls::CHECK)
            }
            Failure::Tls(words) => f.write_str(words),
            Failure::Silence(limit) => write!(f, "no complete answer within {}", Seconds(*limit)),
            Failure::AttemptTime(limit) => {
                write!(f, "given up, the server took longer than {} for one table", Seconds(*limit))
            }
            Failure::RunTime(limit) => write!(f, "given up, the run took longer than {}", Seconds(*limit)),
            Failure::Closed => f.write_str("the server closed the connection before its last answer"),
            Failure::Broken(reason) => write!(f, "the connection broke: {reason}"),
            Failure::Refused => f.write_str(
                "refused (REFUSED); this public address may not be registered with the service, \
                 or not yet: a new device takes up to an hour",
            ),
            Failure::ServerFailure => f.write_str("the server failed (SERVFAIL)"),
            Failure::NoSuchName => f.write_str("no such name (NXDOMAIN); check the list's name"),
            Failure::ResponseCode(1) => f.write_str("the server does not understand the query (FORMERR)"),
            Failure::ResponseCode(4) => f.write_str("the server does not take such queries (NOTIMP)"),
            Failure::ResponseCode(9) => f.write_str("the server has no authority for the name (NOTAUTH)"),
            Failure::ResponseCode(code) => write!(f, "the server answers with response code {code}"),
            Failure::Referral => {
                f.write_str("the server does not have the zone and names others that may (a referral)")
            }
            Failure::NoData(types) => write!(f, "the name exists but has no {types} record"),
            Failure::Truncated => f.write_str("the answer is truncated (TC), which cannot be over TCP"),
            Failure::WrongId(id) => write!(f, "an answer with id {id}, which was not asked"),
            Failure::WrongQuestion => f.write_str("an answer to another question"),
            Failure::NotAnAnswer => f.write_str("a message that is no answer to a query"),
            Failure::Malformed(what) => write!(f, "malformed message: {what}"),
            Failure::OtherName(name) => write!(f, "a record of another name in the answer: {name}"),
            Failure::Alias => {
                f.write_str("the name is an alias (CNAME); lists and parts must not be aliases")
            }
            Failure::OtherType(kind) => {
                write!(f, "a record of type {kind} in the answer, not what was asked")
            }
            Failure::BadItem(item) => f.write_str(item),
            Failure::PartTwice(name) => write!(f, "part {name} is named twice"),
            Failure::PartOfItself => f.write_str("the list is named as a part of itself"),
            Failure::PartOutside(part, zone) => {
                write!(f, "part {part} is not in the list's zone, {zone}")
            }
            Failure::TooManyParts(most) => write!(f, "more than {most} parts"),
            Failure::TooManyEntries(most) => write!(f, "more than {most} entries in the lists of the table"),
            Failure::NoSoaFirst => f.write_str("the zone transfer does not begin with the zone's SOA record"),
            Failure::OutsideZone(name) => {
                write!(f, "the zone transfer has a record outside the zone: {name}")
            }
            Failure::NoRecord => f.write_str("the zone transfer has a message without a record"),
            Failure::EndsEarly => f.write_str("the zone transfer ends without the second SOA record"),
            Failure::AfterEnd => f.write_str("the zone transfer goes on after the second SOA record"),
            Failure::SerialDiffers(first, second) => {
                write!(f, "the zone transfer begins with serial {first} and ends with {second}")
            }
            Failure::ZoneMoves => {
                f.write_str("the zone changed while it was read, and again the second time")
            }
            Failure::Signature(fault) => fault.fmt(f),
            Failure::Part(name, failure) => write!(f, "part {name}: {failure}"),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seconds", self.0.as_secs_f32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_failures_lead_to_the_next_server() {
        let part = |failure| Failure::Part("p.example".to_owned(), Box::new(failure));
        let (time, words) = (Duration::from_secs(9), || "words".to_owned());
        for failure in [
            Failure::Unresolved(words()),
            Failure::NotConnected(words()),
            Failure::ConnectTime(time),
            Failure::HandshakeTime(time),
            Failure::Tls(words()),
            Failure::Silence(time),
            Failure::AttemptTime(time),
            Failure::Closed,
            Failure::Broken(words()),
            Failure::Refused,
            Failure::ServerFailure,
            Failure::ResponseCode(4),
            Failure::Referral,
            Failure::Truncated,
            Failure::WrongId(7),
            Failure::WrongQuestion,
            Failure::NotAnAnswer,
            Failure::Malformed(words()),
            Failure::OtherName(words()),
            Failure::OtherType(1),
            Failure::EndsEarly,
            Failure::Signature(tsig::Fault::BadKey),
            part(Failure::Refused),
        ] {
            assert!(failure.is_the_servers(), "{failure}");
        }
        for failure in [
            Failure::NoSuchName,
            Failure::NoData("APL"),
            Failure::Alias,
            Failure::BadItem(words()),
            Failure::PartTwice(words()),
            Failure::PartOfItself,
            Failure::PartOutside(words(), words()),
            Failure::TooManyParts(1),
            Failure::TooManyEntries(1),
            Failure::ZoneMoves,
            Failure::RunTime(time),
            part(Failure::NoData("APL")),
        ] {
            assert!(!failure.is_the_servers(), "{failure}");
        }
    }

    #[test]
    fn refused_says_what_it_most_likely_means() {
        let sentence = Failure::Part("p1.example".to_owned(), Box::new(Failure::Refused)).to_string();
        assert_eq!(
            sentence,
            "part p1.example: refused (REFUSED); this public address may not be registered with the \
             service, or not yet: a new device takes up to an hour"
        );
        let silence = Failure::Silence(Duration::from_secs(30)).to_string();
        assert_eq!(silence, "no complete answer within 30 seconds");
    }
}
