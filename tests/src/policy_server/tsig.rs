//! Signed answers (TSIG, RFC 8945), written after the RFC and not with the client's code: hmac-sha256 only.

use super::wire::{HEADER, Question, canonical};
use ring::hmac;
use std::time::{SystemTime, UNIX_EPOCH};

const ALGORITHM: &[u8] = b"\x0bhmac-sha256\0";
const TSIG: [u8; 2] = [0, 250];
const ANY: [u8; 2] = [0, 255];
const MAC: usize = 32;
const NOTAUTH: u8 = 9;
/// TSIG error: the MAC is wrong.
pub const BADSIG: u16 = 16;
/// TSIG error: no such key.
pub const BADKEY: u16 = 17;
/// TSIG error: the time is wrong.
pub const BADTIME: u16 = 18;

/// A key and its name.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    secret: hmac::Key,
}

/// What becomes of one message of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// It is signed.
    Right,
    /// It is signed, and one bit of the signature is another.
    Wrong,
    /// It is not signed; the next signature covers it.
    None,
}

impl Key {
    /// A key for hmac-sha256.
    pub fn new(name: &str, secret: &[u8]) -> Self {
        Key { name: canonical(name), secret: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The TSIG error of a query that is not signed with this key, or not with its secret.
    pub fn check(&self, query: &[u8], question: &Question) -> Result<(), u16> {
        // The harness's client sends no other additional record.
        let record = query.get(question.end()..).ok_or(BADKEY)?;
        let rest = record.strip_prefix(self.wire_name().as_slice()).ok_or(BADKEY)?;
        let head = [&TSIG[..], &ANY, &[0; 4], &rdata_length(0), ALGORITHM].concat();
        let rest = rest.strip_prefix(head.as_slice()).ok_or(BADKEY)?;
        let timers = rest.get(..8).ok_or(BADKEY)?;
        let mut digest = hmac::Context::with_key(&self.secret);
        let mut header = query[..HEADER].to_vec();
        header[11] -= 1;
        digest.update(&header);
        digest.update(&query[HEADER..question.end()]);
        self.add_variables(&mut digest, timers, 0, &[]);
        if request_mac(query) == digest.sign().as_ref() { Ok(()) } else { Err(BADSIG) }
    }

    /// The messages of the answer to a signed query, each with the signature that it shall have.
    pub fn sign(
        &self,
        query: &[u8],
        messages: &[Vec<u8>],
        signature: impl Fn(usize) -> Signature,
    ) -> Vec<Vec<u8>> {
        let (mut digest, mut begun) = (self.digest_after(request_mac(query)), false);
        let mut signed = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            digest.update(message);
            let signature = signature(number);
            if signature == Signature::None {
                signed.push(message.clone());
                continue;
            }
            let timers = timers(now());
            if begun {
                digest.update(&timers);
            } else {
                self.add_variables(&mut digest, &timers, 0, &[]);
            }
            let mut mac = digest.sign().as_ref().to_vec();
            digest = self.digest_after(&mac);
            begun = true;
            if signature == Signature::Wrong {
                mac[7] ^= 0x10;
            }
            signed.push(self.with_record(message, &timers, &mac, 0, &[]));
        }
        signed
    }

    /// The answer NOTAUTH with a TSIG error. BADTIME is signed and tells the server's time: ours and `off` seconds.
    pub fn refuse(&self, query: &[u8], question: &Question, error: u16, off: i64) -> Vec<u8> {
        let message = super::hostile::rcode(question, NOTAUTH);
        if error != BADTIME {
            return self.with_record(&message, &timers(now()), &[], error, &[]);
        }
        let theirs = timers(now().saturating_add_signed(off));
        // The time signed is the query's.
        let at = question.end() + self.wire_name().len() + 10 + ALGORITHM.len();
        let timers = &query[at..at + 8];
        let mut digest = self.digest_after(request_mac(query));
        digest.update(&message);
        self.add_variables(&mut digest, timers, error, &theirs[..6]);
        self.with_record(&message, timers, digest.sign().as_ref(), error, &theirs[..6])
    }

    fn wire_name(&self) -> Vec<u8> {
        let labels =
            self.name.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()));
        labels.chain([0]).collect()
    }

    fn digest_after(&self, mac: &[u8]) -> hmac::Context {
        let mut digest = hmac::Context::with_key(&self.secret);
        digest.update(&(mac.len() as u16).to_be_bytes());
        digest.update(mac);
        digest
    }

    /// RFC 8945, section 4.3.3.
    fn add_variables(&self, digest: &mut hmac::Context, timers: &[u8], error: u16, other: &[u8]) {
        let length = (other.len() as u16).to_be_bytes();
        for part in
            [&self.wire_name()[..], &ANY, &[0; 4], ALGORITHM, timers, &error.to_be_bytes(), &length, other]
        {
            digest.update(part);
        }
    }

    fn with_record(&self, message: &[u8], timers: &[u8], mac: &[u8], error: u16, other: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        let id = [message[0], message[1]];
        let size = (mac.len() as u16).to_be_bytes();
        let other_size = (other.len() as u16).to_be_bytes();
        let rdata = [ALGORITHM, timers, &size, mac, &id, &error.to_be_bytes(), &other_size, other].concat();
        message[11] += 1;
        let length = (rdata.len() as u16).to_be_bytes();
        for part in [&self.wire_name()[..], &TSIG, &ANY, &[0; 4], &length, &rdata] {
            message.extend_from_slice(part);
        }
        message
    }
}

/// The length of the rdata of a query's TSIG record, with so many octets of other data.
fn rdata_length(other: usize) -> [u8; 2] {
    ((ALGORITHM.len() + 8 + 2 + MAC + 6 + other) as u16).to_be_bytes()
}

/// The MAC of a query, which ends with it, its id, no error and no other data.
fn request_mac(query: &[u8]) -> &[u8] {
    let end = query.len().saturating_sub(6);
    query.get(end.saturating_sub(MAC)..end).unwrap_or_default()
}

/// The time signed and a fudge of 300 seconds.
fn timers(seconds: u64) -> [u8; 8] {
    let [_, _, a, b, c, d, e, f] = seconds.to_be_bytes();
    [a, b, c, d, e, f, 1, 44]
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
