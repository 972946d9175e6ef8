//! Signed queries and answers (TSIG, RFC 8945).
//!
//! An answer may be many messages, as a zone transfer is. The first and the last must be signed,
//! and up to 99 unsigned ones may stand between two signed ones: the next signature covers them.
//! hickory-proto's verifier wants a signature on every message, so this one is our own.

use std::fmt;

use ring::hmac;

use crate::answer;
use crate::keyfile::Key;
use crate::wire::{self, Header, Malformed, Reader};

/// The type's number.
const TSIG: u16 = 250;
/// The class of a TSIG record, ANY.
const ANY: u16 = 255;
/// The seconds by which the server's clock may differ from ours, as RFC 8945 recommends.
const FUDGE: u16 = 300;
/// The most unsigned messages between two signed ones (RFC 8945, section 5.3.1).
const MOST_UNSIGNED: usize = 99;

/// Why a message could not be signed, or an answer is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not a DNS message, or a TSIG record that is none; what is wrong with it.
    Malformed(Malformed),
    /// A TSIG record that is not the last record of its message.
    Misplaced,
    /// The answer, or its first message, is not signed; its RCODE.
    Unsigned(u16),
    /// More unsigned messages than may stand between two signed ones.
    TooManyUnsigned,
    /// The last message is not signed.
    UnsignedEnd,
    /// Signed with another key, or by another algorithm; its name.
    OtherKey(String),
    /// A MAC that is shorter or longer than the algorithm's; its octets.
    MacLength(usize),
    /// The MAC is wrong.
    WrongMac,
    /// Signed at another time: the server's clock less ours, in seconds.
    OtherTime(i64),
    /// The server knows no such key (BADKEY).
    BadKey,
    /// The server finds our MAC wrong (BADSIG).
    BadSignature,
    /// The server finds our time wrong (BADTIME): its clock less ours, in seconds.
    BadTime(i64),
    /// The server wants a MAC of another length (BADTRUNC).
    BadTruncation,
    /// Any other error of the TSIG record: its number.
    Other(u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed(what) => write!(f, "malformed message: {what}"),
            Fault::Misplaced => f.write_str("a TSIG record that is not the last one of its message"),
            Fault::Unsigned(code) => {
                f.write_str("the answer is not signed (TSIG), the query was")?;
                answer::response_code(*code).or_else(|refusal| write!(f, "; it says: {refusal}"))
            }
            Fault::TooManyUnsigned => {
                write!(f, "more than {MOST_UNSIGNED} messages without a signature (TSIG)")
            }
            Fault::UnsignedEnd => f.write_str("the last message is not signed (TSIG)"),
            Fault::OtherKey(name) => write!(f, "the answer is signed with another key or algorithm: {name}"),
            Fault::MacLength(octets) => write!(f, "a signature (TSIG) of {octets} octets"),
            Fault::WrongMac => {
                f.write_str("the answer's signature (TSIG) is wrong; is the secret the server's?")
            }
            Fault::OtherTime(seconds) => {
                write!(f, "the answer's signature (TSIG) is not of now: {}", Clock(*seconds))
            }
            Fault::BadKey => f.write_str(
                "the server does not know the TSIG key (BADKEY); are name and algorithm the server's?",
            ),
            Fault::BadSignature => f.write_str(
                "the server finds the query's signature wrong (BADSIG); is the secret the server's?",
            ),
            Fault::BadTime(seconds) => {
                write!(f, "the server finds the query's time wrong (BADTIME): {}", Clock(*seconds))
            }
            Fault::BadTruncation => f.write_str("the server wants a longer signature (BADTRUNC)"),
            Fault::Other(code) => write!(f, "the server refuses the signature with TSIG error {code}"),
        }
    }
}

/// How this system's clock compares with the server's.
struct Clock(i64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.0 > 0 { "behind" } else { "ahead of" };
        write!(f, "clock is off by {} seconds, {side} the server's", self.0.unsigned_abs())
    }
}

/// Checks the messages of one answer, in their order.
#[derive(Debug, Clone)]
pub struct Verifier<'k> {
    key: &'k Key,
    /// What the next signature covers, as far as it is known.
    digest: hmac::Context,
    /// Whether the first message is there.
    has_begun: bool,
    /// Messages since the last signed one.
    unsigned: usize,
}

/// Signs a query, which must not be signed yet, and returns what checks its answer. `now` is in
/// seconds since 1970.
///
/// # Errors
/// It is not a message, or with the signature it would be longer than a message may be.
pub fn sign<'k>(query: &mut Vec<u8>, key: &'k Key, now: u64) -> Result<Verifier<'k>, Fault> {
    let header = Reader::new(query).header().map_err(Fault::Malformed)?;
    let [_, _, additional] = header.records;
    let additional = additional.checked_add(1).ok_or(Fault::Malformed("too many records"))?;
    let name = wire::canonical(&key.name);
    let timers = timers(now, FUDGE);

    let mut digest = hmac::Context::with_key(&key.secret);
    digest.update(query);
    let variables = Variables { name: &name, algorithm: key.algorithm.wire(), timers, error: 0, other: &[] };
    variables.add_to(&mut digest);
    let mac = digest.sign();
    let mac = mac.as_ref();
    let size = u16::try_from(mac.len()).unwrap_or(u16::MAX).to_be_bytes();

    let rdata = [key.algorithm.wire(), &timers, &size, mac, &header.id.to_be_bytes(), &[0; 4]].concat();
    let length = u16::try_from(rdata.len()).unwrap_or(u16::MAX).to_be_bytes();
    query.extend_from_slice(&name);
    for part in [&TSIG.to_be_bytes()[..], &ANY.to_be_bytes(), &[0; 4], &length, &rdata] {
        query.extend_from_slice(part);
    }
    if let Some(place) = query.get_mut(ADDITIONAL) {
        place.copy_from_slice(&additional.to_be_bytes());
    }
    if query.len() > usize::from(u16::MAX) {
        return Err(Fault::Malformed("too long to be signed"));
    }
    Ok(Verifier { key, digest: after(key, mac), has_begun: false, unsigned: 0 })
}

/// Where a header counts the additional records.
const ADDITIONAL: std::ops::Range<usize> = 10..Header::SIZE;

impl Verifier<'_> {
    /// Checks an answer of one message.
    ///
    /// # Errors
    /// It is not to be believed.
    pub fn only(mut self, message: &[u8], now: u64) -> Result<(), Fault> {
        self.next(message, now)?;
        self.finish()
    }

    /// Checks the next message of an answer. What an unsigned one says is not to be believed
    /// before a signed one has come after it, and nothing of the answer before `finish`.
    ///
    /// # Errors
    /// The answer is not to be believed.
    pub fn next(&mut self, message: &[u8], now: u64) -> Result<(), Fault> {
        let (header, signature) = Signature::find(message)?;
        let Some(signature) = signature else {
            if !self.has_begun {
                return Err(Fault::Unsigned(header.response_code()));
            }
            self.unsigned = self.unsigned.saturating_add(1);
            self.digest.update(message);
            return if self.unsigned > MOST_UNSIGNED { Err(Fault::TooManyUnsigned) } else { Ok(()) };
        };
        // BADSIG and BADKEY are never signed, and NSD signs no error at all. The answer has failed
        // in any case; what the server says is the best word on why.
        let is_word_only = match signature.error {
            0 => false,
            BADSIG | BADKEY => true,
            _ => signature.mac.is_empty(),
        };
        if !is_word_only {
            self.check_mac(&header, &signature)?;
        }
        if signature.error != 0 {
            return Err(refusal(&signature, now));
        }
        let [a, b, c, d, e, f, fudge @ ..] = signature.timers;
        let off = offset([a, b, c, d, e, f], now);
        if off.unsigned_abs() > u64::from(u16::from_be_bytes(fudge)) {
            return Err(Fault::OtherTime(off));
        }
        (self.has_begun, self.unsigned) = (true, 0);
        Ok(())
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// The last message is not signed, or there was none.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.has_begun && self.unsigned == 0 { Ok(()) } else { Err(Fault::UnsignedEnd) }
    }

    fn check_mac(&mut self, header: &Header, signature: &Signature<'_>) -> Result<(), Fault> {
        let key_name = wire::canonical(&self.key.name);
        if signature.name.octets() != key_name {
            return Err(Fault::OtherKey(wire::text(signature.name.octets())));
        }
        if signature.algorithm.octets() != self.key.algorithm.wire() {
            return Err(Fault::OtherKey(wire::text(signature.algorithm.octets())));
        }
        // RFC 8945 lets a MAC be cut off; no server does so unless it is told to.
        if signature.mac.len() != self.key.secret.algorithm().digest_algorithm().output_len() {
            return Err(Fault::MacLength(signature.mac.len()));
        }
        // What was signed had another id, perhaps, and no TSIG record.
        let [_, _, additional] = header.records;
        self.digest.update(&signature.original_id);
        self.digest.update(signature.message.get(2..ADDITIONAL.start).unwrap_or_default());
        self.digest.update(&additional.saturating_sub(1).to_be_bytes());
        self.digest.update(signature.message.get(Header::SIZE..).unwrap_or_default());
        if self.has_begun {
            self.digest.update(&signature.timers);
        } else {
            let variables = Variables {
                name: &key_name,
                algorithm: self.key.algorithm.wire(),
                timers: signature.timers,
                error: signature.error,
                other: signature.other,
            };
            variables.add_to(&mut self.digest);
        }
        let digest = std::mem::replace(&mut self.digest, after(self.key, signature.mac));
        // ring compares in constant time only a MAC that it makes itself, so both are digested
        // once more: the results are the same if and only if the MACs are.
        let again = hmac::sign(&self.key.secret, digest.sign().as_ref());
        hmac::verify(&self.key.secret, signature.mac, again.as_ref()).map_err(|_| Fault::WrongMac)
    }
}

const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

/// What the server says with a TSIG error.
fn refusal(signature: &Signature<'_>, now: u64) -> Fault {
    match (signature.error, signature.other.try_into()) {
        (BADSIG, _) => Fault::BadSignature,
        (BADKEY, _) => Fault::BadKey,
        (BADTIME, Ok(seconds)) => Fault::BadTime(offset(seconds, now)),
        (BADTIME, Err(_)) => Fault::Malformed("BADTIME without the server's time"),
        (BADTRUNC, _) => Fault::BadTruncation,
        (other, _) => Fault::Other(other),
    }
}

/// A time of 48 bits less another one.
fn offset([a, b, c, d, e, f]: [u8; 6], now: u64) -> i64 {
    let theirs = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    theirs.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}

/// The digest that follows a MAC: it begins with that MAC and its length.
fn after(key: &Key, mac: &[u8]) -> hmac::Context {
    let mut digest = hmac::Context::with_key(&key.secret);
    digest.update(&u16::try_from(mac.len()).unwrap_or(u16::MAX).to_be_bytes());
    digest.update(mac);
    digest
}

/// Time signed and fudge, in wire form; a time has 48 bits.
fn timers(now: u64, fudge: u16) -> [u8; 8] {
    let [_, _, a, b, c, d, e, f] = now.to_be_bytes();
    let [high, low] = fudge.to_be_bytes();
    [a, b, c, d, e, f, high, low]
}

/// The TSIG variables (RFC 8945, section 4.3.3), which are digested after the message.
struct Variables<'a> {
    name: &'a [u8],
    algorithm: &'a [u8],
    timers: [u8; 8],
    error: u16,
    other: &'a [u8],
}

impl Variables<'_> {
    fn add_to(&self, digest: &mut hmac::Context) {
        digest.update(self.name);
        digest.update(&ANY.to_be_bytes());
        digest.update(&[0; 4]);
        digest.update(self.algorithm);
        digest.update(&self.timers);
        digest.update(&self.error.to_be_bytes());
        digest.update(&u16::try_from(self.other.len()).unwrap_or(u16::MAX).to_be_bytes());
        digest.update(self.other);
    }
}

/// The TSIG record of a message.
struct Signature<'m> {
    /// The message up to the record.
    message: &'m [u8],
    /// The key's name, the record's owner.
    name: wire::Name,
    algorithm: wire::Name,
    timers: [u8; 8],
    mac: &'m [u8],
    original_id: [u8; 2],
    error: u16,
    other: &'m [u8],
}

impl<'m> Signature<'m> {
    /// Goes over a whole message and finds its TSIG record, if there is one.
    fn find(message: &'m [u8]) -> Result<(Header, Option<Signature<'m>>), Fault> {
        let mut reader = Reader::new(message);
        let header = reader.header().map_err(Fault::Malformed)?;
        for _ in 0..header.questions {
            reader.skip_name().and_then(|()| reader.octets(4)).map_err(Fault::Malformed)?;
        }
        let [answers, authorities, additional] = header.records.map(usize::from);
        let records = answers.saturating_add(authorities).saturating_add(additional);
        let mut signature = None;
        for number in 1..=records {
            let before = reader.clone();
            reader.skip_name().map_err(Fault::Malformed)?;
            let record = reader.record().map_err(Fault::Malformed)?;
            if record.kind != TSIG {
                continue;
            }
            if number != records || additional == 0 {
                return Err(Fault::Misplaced);
            }
            signature = Some(Signature::read(message, before, &record).map_err(Fault::Malformed)?);
        }
        if !reader.is_at_end() {
            return Err(Fault::Malformed("octets after the last record"));
        }
        Ok((header, signature))
    }

    /// Reads the record that begins where `owner` stands.
    fn read(
        message: &'m [u8],
        mut owner: Reader<'m>,
        record: &wire::Record<'m>,
    ) -> Result<Signature<'m>, Malformed> {
        if record.class != ANY || record.ttl != 0 {
            return Err("a TSIG record of another class than ANY, or with a TTL");
        }
        let mut rdata = Reader::rdata(message, record);
        let message = message.get(..owner.at()).unwrap_or_default();
        let (mut name, mut algorithm) = (wire::Name::default(), wire::Name::default());
        owner.name(&mut name)?;
        rdata.name(&mut algorithm)?;
        let signature = Signature {
            message,
            name,
            algorithm,
            timers: rdata.array()?,
            mac: {
                let size = rdata.u16()?;
                rdata.octets(usize::from(size))?
            },
            original_id: rdata.array()?,
            error: rdata.u16()?,
            other: {
                let size = rdata.u16()?;
                rdata.octets(usize::from(size))?
            },
        };
        if !rdata.is_at_end() {
            return Err("octets after the last field of a TSIG record");
        }
        Ok(signature)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
