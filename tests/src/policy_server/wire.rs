//! DNS messages on the wire (RFC 1035, section 4), both ways, written by hand and not with the client's code.

use super::apl::AplItem;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// RCODE: no error.
pub const NOERROR: u8 = 0;
/// RCODE: the query was not understood.
pub const FORMERR: u8 = 1;
/// RCODE: the server failed.
pub const SERVFAIL: u8 = 2;
/// RCODE: no such name.
pub const NXDOMAIN: u8 = 3;
/// RCODE: not for this client.
pub const REFUSED: u8 = 5;

/// Type A.
pub const A: u16 = 1;
/// Type SOA.
pub const SOA: u16 = 6;
/// Type PTR.
pub const PTR: u16 = 12;
/// Type TXT.
pub const TXT: u16 = 16;
/// Type AAAA.
pub const AAAA: u16 = 28;
/// Type APL.
pub const APL: u16 = 42;
/// Type AXFR, of a question only.
pub const AXFR: u16 = 252;

/// Class IN.
const IN: u16 = 1;
/// The time to live of every record, in seconds.
const TTL: u32 = 300;
/// Octets of a header.
pub(super) const HEADER: usize = 12;
/// The largest message over TCP.
pub(super) const MAX_MESSAGE: usize = 65535;
/// Octets of a record beside its owner and rdata: type, class, TTL, length.
pub(super) const RECORD: usize = 10;
/// The most octets of a label.
const MAX_LABEL: usize = 63;
/// The most octets of a name.
const MAX_NAME: usize = 255;
/// The most octets of a character-string.
const MAX_STRING: usize = 255;
/// The highest offset that a compression pointer can hold.
const MAX_POINTER: usize = 0x3fff;

const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;

/// How answers are written, where the formats leave a choice.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Names are compressed (RFC 1035, section 4.1.4).
    pub compress: bool,
    /// Trailing zero octets of APL addresses are left off.
    pub trim: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { compress: true, trim: true }
    }
}

/// The data of one record.
#[derive(Clone, Debug)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name.
    Ptr(String),
    /// Prefixes and holes.
    Apl(Vec<AplItem>),
    /// Character-strings of at most 255 octets each.
    Txt(Vec<String>),
    /// The start of a zone with this serial number.
    Soa(u32),
    /// Any type with any rdata, right or wrong.
    Other(u16, Vec<u8>),
}

impl Data {
    /// The type's number.
    pub fn rtype(&self) -> u16 {
        match self {
            Data::A(_) => A,
            Data::Aaaa(_) => AAAA,
            Data::Ptr(_) => PTR,
            Data::Apl(_) => APL,
            Data::Txt(_) => TXT,
            Data::Soa(_) => SOA,
            Data::Other(rtype, _) => *rtype,
        }
    }
}

/// The form in which names are kept and compared: lower case, no final dot, the root as an empty string.
pub fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The labels of a name in text.
fn labels(name: &str) -> impl Iterator<Item = &str> {
    name.split('.').filter(|label| !label.is_empty())
}

/// Octets of a name on the wire, not compressed.
pub(super) fn name_size(name: &str) -> usize {
    labels(name).map(|label| label.len() + 1).sum::<usize>() + 1
}

/// A section of a message, as the place of its counter in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer = 6,
    /// Who is in charge.
    Authority = 8,
}

/// An answer being written.
pub struct Message {
    octets: Vec<u8>,
    style: Style,
    /// Where names and their endings are, for compression.
    seen: HashMap<String, u16>,
}

impl Message {
    /// Starts the authoritative answer to a query: its id, its RD bit, its question.
    pub fn answer(query: &Question, rcode: u8, style: Style) -> Self {
        let flags = QR | AA | (query.flags & RD) | u16::from(rcode & 0x0f);
        let mut message = Message { octets: Vec::new(), style, seen: HashMap::new() };
        for field in [query.id, flags, 1, 0, 0, 0] {
            message.octets.extend(field.to_be_bytes());
        }
        // The question is echoed octet for octet, upper and lower case too; later names may point into it.
        message.name(&query.name);
        message.octets.truncate(HEADER);
        message.octets.extend(&query.question);
        message
    }

    /// Appends a record and counts it. False, and nothing is appended, if the message would be over 65,535 octets.
    /// Sections must be filled in order.
    pub fn push(&mut self, section: Section, owner: &str, data: &Data) -> bool {
        let start = self.octets.len();
        self.name(owner);
        self.octets.extend(data.rtype().to_be_bytes());
        self.octets.extend(IN.to_be_bytes());
        self.octets.extend(TTL.to_be_bytes());
        let length = self.octets.len();
        self.octets.extend([0, 0]);
        self.rdata(owner, data);
        if self.octets.len() > MAX_MESSAGE {
            self.octets.truncate(start);
            self.seen.retain(|_, at| usize::from(*at) < start);
            return false;
        }
        // Not over 65,535, as the message is not.
        let size = (self.octets.len() - length - 2) as u16;
        self.put_u16(length, size);
        let count = self.u16_at(section as usize).wrapping_add(1);
        self.put_u16(section as usize, count);
        true
    }

    /// Sets the TC bit.
    pub fn truncated(&mut self) {
        self.octets[2] |= TC.to_be_bytes()[0];
    }

    /// The message's octets, without the length that goes before it on TCP.
    pub fn finish(self) -> Vec<u8> {
        self.octets
    }

    fn rdata(&mut self, owner: &str, data: &Data) {
        match data {
            Data::A(addr) => self.octets.extend(addr.octets()),
            Data::Aaaa(addr) => self.octets.extend(addr.octets()),
            Data::Ptr(name) => self.name(name),
            Data::Apl(items) => {
                for item in items {
                    item.encode(self.style.trim, &mut self.octets);
                }
            }
            Data::Txt(strings) => {
                for string in strings {
                    let octets = string.as_bytes().get(..MAX_STRING).unwrap_or(string.as_bytes());
                    self.octets.push(octets.len() as u8);
                    self.octets.extend(octets);
                }
            }
            Data::Soa(serial) => {
                self.name(&format!("ns.{owner}"));
                self.name(&format!("hostmaster.{owner}"));
                // Serial, then refresh, retry, expire and minimum in seconds.
                for number in [*serial, 3600, 600, 86400, 60] {
                    self.octets.extend(number.to_be_bytes());
                }
            }
            Data::Other(_, rdata) => self.octets.extend(rdata),
        }
    }

    fn name(&mut self, name: &str) {
        let mut rest = canonical(name);
        while !rest.is_empty() {
            if let (true, Some(at)) = (self.style.compress, self.seen.get(&rest)) {
                self.octets.extend((0xc000 | at).to_be_bytes());
                return;
            }
            let at = self.octets.len();
            let (label, parent) = rest.split_once('.').unwrap_or((&rest, ""));
            let octets = label.as_bytes().get(..MAX_LABEL).unwrap_or(label.as_bytes());
            self.octets.push(octets.len() as u8);
            self.octets.extend(octets);
            let parent = parent.to_owned();
            if at <= MAX_POINTER {
                self.seen.entry(rest).or_insert(at as u16);
            }
            rest = parent;
        }
        self.octets.push(0);
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.octets[at], self.octets[at + 1]])
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self.octets[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// What a query asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The message's id.
    pub id: u16,
    /// The name, lower case, without final dot.
    pub name: String,
    /// The type's number.
    pub rtype: u16,
    flags: u16,
    /// The question section as it was sent.
    question: Vec<u8>,
}

impl Question {
    /// Reads a query: QR clear, opcode QUERY, one question of class IN, no answer or authority. What follows the
    /// question (EDNS, TSIG) is not looked at. None if it is anything else, or the name is not of printable ASCII.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        let flags = field(2)?;
        // QR, opcode, AA, TC and RCODE are all zero in a query.
        if flags & 0xfe0f != 0 || field(4)? != 1 || field(6)? != 0 || field(8)? != 0 {
            return None;
        }
        let (name, end) = parse_name(message, HEADER)?;
        if field(end + 2)? != IN {
            return None;
        }
        let question = message.get(HEADER..end + 4)?.to_vec();
        Some(Question { id: field(0)?, name, rtype: field(end)?, flags, question })
    }

    /// The offset after the question in any message that carries it.
    pub fn end(&self) -> usize {
        HEADER + self.question.len()
    }
}

/// A name that is not compressed, at an offset, and the offset after it.
fn parse_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        let label = message.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length > MAX_LABEL || at - start > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some((name, at));
        }
        if !name.is_empty() {
            name.push('.');
        }
        if !label.iter().all(|&octet| octet.is_ascii_graphic() && octet != b'.') {
            return None;
        }
        name.extend(label.iter().map(|octet| char::from(octet.to_ascii_lowercase())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &[u8], rtype: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(name);
        message.extend(rtype.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn a_query_is_read_and_its_question_echoed() {
        let question = Question::parse(&query(b"\x04LiSt\x01x\x00", APL)).unwrap();
        assert_eq!((question.id, question.name.as_str(), question.rtype), (0x1234, "list.x", APL));
        let answer = Message::answer(&question, REFUSED, Style::default()).finish();
        assert_eq!(answer, b"\x12\x34\x85\x05\0\x01\0\0\0\0\0\0\x04LiSt\x01x\0\0\x2a\0\x01");
    }

    #[test]
    fn what_is_no_query_is_refused_at_every_length() {
        let good = query(b"\x04list\x01x\x00", APL);
        for length in 0..good.len() {
            assert_eq!(Question::parse(&good[..length]), None, "{length} octets");
        }
        for (at, octet) in
            [(2, 0x80), (2, 0x28), (2, 0x02), (3, 0x05), (5, 0), (5, 2), (7, 1), (9, 1), (12, 0xc0), (12, 64)]
        {
            let mut bad = good.clone();
            bad[at] = octet;
            assert_eq!(Question::parse(&bad), None, "octet {at}");
        }
        assert_eq!(Question::parse(&query(b"\x02\xff.\x00", APL)), None);
        let label = [&b"\x3f"[..], &[b'a'; 63]].concat();
        let longest = [label.repeat(3), b"\x3d".to_vec(), vec![b'a'; 61], vec![0]].concat();
        assert!(Question::parse(&query(&longest, APL)).is_some());
        assert_eq!(
            Question::parse(&query(
                &[label.repeat(3), b"\x3e".to_vec(), vec![b'a'; 62], vec![0]].concat(),
                APL
            )),
            None
        );
    }

    #[test]
    fn names_are_compressed_only_if_told() {
        let question = Question::parse(&query(b"\x04list\x01x\x00", PTR)).unwrap();
        let data = Data::Ptr("p0.list.x".into());
        let mut message = Message::answer(&question, NOERROR, Style::default());
        assert!(message.push(Section::Answer, "list.x", &data));
        assert!(message.push(Section::Answer, "LIST.x.", &data));
        let short = message.finish();
        assert_eq!(short[6..8], [0, 2]);
        assert_eq!(short[24..], *b"\xc0\x0c\0\x0c\0\x01\0\0\x01\x2c\0\x05\x02p0\xc0\x0c\xc0\x0c\0\x0c\0\x01\0\0\x01\x2c\0\x02\xc0\x24");
        let mut message = Message::answer(&question, NOERROR, Style { compress: false, trim: true });
        assert!(message.push(Section::Answer, "list.x", &data));
        let long = message.finish();
        assert_eq!(long[24..], *b"\x04list\x01x\0\0\x0c\0\x01\0\0\x01\x2c\0\x0b\x02p0\x04list\x01x\0");
    }

    #[test]
    fn a_full_message_takes_no_more() {
        let question = Question::parse(&query(b"\x01x\x00", 65280)).unwrap();
        let mut message = Message::answer(&question, NOERROR, Style::default());
        let fits = MAX_MESSAGE - HEADER - 7 - 2 - RECORD;
        assert!(!message.push(Section::Answer, "x", &Data::Other(65280, vec![0; fits + 1])));
        assert!(message.push(Section::Answer, "x", &Data::Other(65280, vec![0; fits])));
        assert!(!message.push(Section::Answer, "x", &Data::Other(65280, Vec::new())));
        let message = message.finish();
        assert_eq!((message.len(), &message[6..8]), (MAX_MESSAGE, &[0, 1][..]));
    }
}
