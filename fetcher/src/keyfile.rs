//! The file with the TSIG key: one `key` statement as in BIND's named.conf and as tsig-keygen(8)
//! writes it.
//!
//! ```text
//! key "fleet.example" {
//!         algorithm hmac-sha256;
//!         secret "base64";
//! };
//! ```
//!
//! Words may stand in quotes or not, and comments are `//`, `#` and `/* */`. No message quotes
//! the file: a misplaced word may be the secret.

use std::fmt;

use hickory_proto::rr::Name;
use ring::hmac;

/// The fewest octets of a secret, 128 bits, and the most, a block of SHA-512.
const SECRET: std::ops::RangeInclusive<usize> = 16..=128;

/// The hash of a key's HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// hmac-sha256
    Sha256,
    /// hmac-sha512
    Sha512,
}

impl Algorithm {
    /// The algorithm's name in canonical wire form (RFC 8945, section 6).
    pub fn wire(self) -> &'static [u8] {
        match self {
            Algorithm::Sha256 => b"\x0bhmac-sha256\0",
            Algorithm::Sha512 => b"\x0bhmac-sha512\0",
        }
    }
}

/// A key for TSIG.
#[derive(Debug, Clone)]
pub struct Key {
    /// The name by which both sides know it.
    pub name: Name,
    /// The hash.
    pub algorithm: Algorithm,
    /// The secret, ready for use; its `Debug` shows the hash only.
    pub secret: hmac::Key,
}

impl Key {
    /// A key of this name, hash and secret.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Key {
        let hash = match algorithm {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Key { name, algorithm, secret: hmac::Key::new(hash, secret) }
    }
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.cause)
    }
}

/// Reads the key.
///
/// # Errors
/// The first line that is not as it should be. Only hmac-sha256 and hmac-sha512 are taken, and
/// secrets of 16 to 128 octets.
pub fn parse(file: &[u8]) -> Result<Key, Fault> {
    let mut words = Words { rest: file, line: 1 };
    statement(&mut words).map_err(|cause| Fault { line: words.line, cause })
}

fn statement(words: &mut Words<'_>) -> Result<Key, String> {
    match words.next()? {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case(b"key") => {}
        Some(_) => return Err("not a key statement; it begins with key \"name\" {".to_owned()),
        None => return Err("no key in the file".to_owned()),
    }
    let Some(Token::Word(name)) = words.next()? else { return Err("no name after key".to_owned()) };
    let name = domain_name(name).ok_or("the key's name is not a domain name")?;
    words.expect(&Token::Open, "no { after the key's name")?;
    let (mut algorithm, mut secret) = (None, None);
    loop {
        match words.next()? {
            Some(Token::Close) => break,
            Some(Token::Word(b"algorithm")) => {
                let Some(Token::Word(word)) = words.next()? else {
                    return Err("no word after algorithm".to_owned());
                };
                if algorithm.replace(algorithm_named(word)?).is_some() {
                    return Err("a second algorithm".to_owned());
                }
            }
            Some(Token::Word(b"secret")) => {
                let Some(Token::Word(word)) = words.next()? else {
                    return Err("no word after secret".to_owned());
                };
                let octets = base64(word).ok_or("the secret is not base64")?;
                if !SECRET.contains(&octets.len()) {
                    return Err(format!(
                        "the secret has {} octets; {} to {} are taken",
                        octets.len(),
                        SECRET.start(),
                        SECRET.end()
                    ));
                }
                if secret.replace(octets).is_some() {
                    return Err("a second secret".to_owned());
                }
            }
            Some(_) => return Err("neither algorithm, secret nor }".to_owned()),
            None => return Err("the key statement has no }".to_owned()),
        }
        words.expect(&Token::End, "no ; after the word")?;
    }
    let algorithm = algorithm.ok_or("the key has no algorithm")?;
    let secret = secret.ok_or("the key has no secret")?;
    words.expect(&Token::End, "no ; after }")?;
    if words.next()?.is_some() {
        return Err("more than one key statement".to_owned());
    }
    Ok(Key::new(name, algorithm, &secret))
}

/// A name of printable ASCII; BIND takes it relative to the root.
fn domain_name(word: &[u8]) -> Option<Name> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    let labels = || word.split(|octet| *octet == b'.');
    if !labels().all(|label| !label.is_empty() && label.iter().all(is_plain)) {
        return None;
    }
    Name::from_labels(labels()).ok()
}

fn algorithm_named(word: &[u8]) -> Result<Algorithm, String> {
    const TAKEN: &str = "use hmac-sha256 or hmac-sha512";
    let word = word.to_ascii_lowercase();
    match word.strip_suffix(b".").unwrap_or(&word) {
        b"hmac-sha256" => Ok(Algorithm::Sha256),
        b"hmac-sha512" => Ok(Algorithm::Sha512),
        b"hmac-md5" | b"hmac-md5.sig-alg.reg.int" => Err(format!("hmac-md5 is too weak; {TAKEN}")),
        b"hmac-sha1" => Err(format!("hmac-sha1 is too weak; {TAKEN}")),
        _ => Err(format!("the algorithm is not known; {TAKEN}")),
    }
}

/// Decodes base64 (RFC 4648, section 4): padded, no white space, unused bits zero.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0u16, 0u32);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        // At most 6 bits are left from before.
        bits = bits << 6 | u16::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(octets)
}

#[derive(PartialEq, Eq)]
enum Token<'a> {
    /// A word, without its quotes.
    Word(&'a [u8]),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    End,
}

/// Cuts a file into words and marks, and counts lines.
struct Words<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Words<'a> {
    /// The next one; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Token<'a>>, String> {
        loop {
            let (first, after) = match self.rest {
                [] => return Ok(None),
                [b'/', b'*', ..] => {
                    let end = self.rest.windows(2).skip(2).position(|pair| pair == b"*/");
                    self.take(end.ok_or("a comment without end")?.saturating_add(4));
                    continue;
                }
                [b'#', ..] | [b'/', b'/', ..] => {
                    self.take_until(|octet| octet == b'\n');
                    continue;
                }
                [first, after @ ..] => (*first, after),
            };
            match first {
                b'{' | b'}' | b';' => {
                    self.rest = after;
                    return Ok(Some(match first {
                        b'{' => Token::Open,
                        b'}' => Token::Close,
                        _ => Token::End,
                    }));
                }
                b'"' => {
                    self.rest = after;
                    let word = self.take_until(|octet| octet == b'"' || octet == b'\n');
                    if self.rest.first() != Some(&b'"') {
                        return Err("no closing quote".to_owned());
                    }
                    self.take(1);
                    return Ok(Some(Token::Word(word)));
                }
                _ if first.is_ascii_whitespace() => {
                    self.take(1);
                }
                _ if first.is_ascii_graphic() => {
                    let ends = |octet: u8| !octet.is_ascii_graphic() || b"{};\"#".contains(&octet);
                    return Ok(Some(Token::Word(self.take_until(ends))));
                }
                _ => return Err("neither a word nor a comment".to_owned()),
            }
        }
    }

    fn expect(&mut self, token: &Token<'_>, cause: &str) -> Result<(), String> {
        if self.next()?.as_ref() == Some(token) { Ok(()) } else { Err(cause.to_owned()) }
    }

    fn take_until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        self.take(self.rest.iter().position(|octet| ends(*octet)).unwrap_or(self.rest.len()))
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.line = self.line.saturating_add(taken.iter().filter(|octet| **octet == b'\n').count());
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests;
