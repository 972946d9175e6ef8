//! Requests of HTTP/1.1 (RFC 9112), read strictly: a client that bends the rules is told so.

use std::io::{self, BufRead, ErrorKind, Read};

/// The most octets of a request line with its headers.
const MAX_HEAD: u64 = 64 * 1024;
/// The most octets of a chunk's first line.
const MAX_CHUNK_LINE: u64 = 18;

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many requests the server had seen before, on all connections.
    pub number: usize,
    /// The method, such as POST.
    pub method: String,
    /// The target, such as /upload.
    pub path: String,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Request {
    /// The value of a header, given in lower case; None also if it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Reads up to the empty line; None at the end of the connection. The number is for the caller to give.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut limited = reader.take(MAX_HEAD);
        while !head.ends_with(b"\r\n\r\n") {
            match limited.read_until(b'\n', &mut head) {
                // TLS clients may go without a farewell, and between requests all of them may go.
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
                Ok(0) | Err(_) if head.is_empty() => return Ok(None),
                Ok(0) | Err(_) => return Err(bad("head: cut short or too long")),
                Ok(_) => {}
            }
        }
        let head = String::from_utf8(head).map_err(|_| bad("head: not UTF-8"))?;
        let (line, headers) = head.split_once("\r\n").ok_or_else(|| bad("request line: no end"))?;
        let mut words = line.split(' ');
        let (Some(method), Some(path), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad("request line: not METHOD TARGET HTTP/1.1"));
        };
        let headers = parse_headers(headers.strip_suffix("\r\n\r\n").unwrap_or_default())?;
        let request = Request { number: 0, method: method.to_owned(), path: path.to_owned(), headers };
        if request.header("host").is_none() {
            return Err(bad("host: none or several"));
        }
        Ok(Some(request))
    }

    /// How its body ends.
    pub(super) fn framing(&self) -> io::Result<Framing> {
        let count = |name| self.headers.iter().filter(|(key, _)| key == name).count();
        match (count("content-length"), count("transfer-encoding")) {
            (0, 0) => Ok(Framing::None),
            (1, 0) => match self.header("content-length").and_then(decimal) {
                Some(length) => Ok(Framing::Length(length)),
                None => Err(bad("content-length: not a number")),
            },
            (0, 1) if self.header("transfer-encoding") == Some("chunked") => Ok(Framing::Chunked),
            (0, 1) => Err(bad("transfer-encoding: not chunked")),
            _ => Err(bad("content-length, transfer-encoding: more than one")),
        }
    }
}

/// The value of a header, given in lower case; None also if it is there twice.
pub(super) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

/// Header lines, each but the last ended by CRLF.
pub(super) fn parse_headers(text: &str) -> io::Result<Vec<(String, String)>> {
    text.split("\r\n")
        .filter(|_| !text.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header: no colon"))?;
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty()
                || !name.chars().all(token)
                || value.chars().any(|c| c.is_control() && c != '\t')
            {
                return Err(bad("header: a character that may not be there"));
            }
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        })
        .collect()
}

/// A body, as a reader that ends where the body does and fails if the connection ends before.
pub(super) struct Body<'a, R> {
    reader: &'a mut R,
    framing: Framing,
    /// Octets left of the body or chunk.
    left: u64,
    /// Whether a chunk was read, whose end of line then comes first.
    inside: bool,
}

impl<'a, R: BufRead> Body<'a, R> {
    pub(super) fn new(reader: &'a mut R, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Body { reader, framing, left, inside: false }
    }

    /// Goes to the next chunk; false after the last.
    fn next_chunk(&mut self) -> io::Result<bool> {
        if self.inside {
            self.empty_line()?;
        }
        let line = self.line()?;
        // Without leading zeros, signs or extensions: what plain clients send.
        let canonical =
            line.bytes().all(|c| c.is_ascii_hexdigit()) && (line == "0" || !line.starts_with('0'));
        let size = u64::from_str_radix(&line, 16).ok().filter(|_| canonical);
        self.left = size.ok_or_else(|| bad("chunk: bad size"))?;
        self.inside = true;
        if self.left == 0 {
            self.empty_line()?;
            self.framing = Framing::None;
        }
        Ok(self.left > 0)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.by_ref().take(MAX_CHUNK_LINE).read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| bad("chunk: no end of line"))
    }

    fn empty_line(&mut self) -> io::Result<()> {
        if self.line()?.is_empty() { Ok(()) } else { Err(bad("chunk: not ended where its size says")) }
    }
}

impl<R: BufRead> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && (self.framing != Framing::Chunked || !self.next_chunk()?) {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..most) else { return Ok(0) };
        let read = self.reader.read(room)?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("body: {} octets missing", self.left),
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// An error of the client's.
pub(super) fn bad(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> io::Result<Option<Request>> {
        Request::read(&mut text.as_bytes())
    }

    fn body(mut octets: &[u8], framing: Framing) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Body::new(&mut octets, framing).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_request_is_read() {
        let read =
            request("POST /up HTTP/1.1\r\nHost: localhost\r\nX-Y:  a b \r\n\r\nbody").unwrap().unwrap();
        assert_eq!((read.method.as_str(), read.path.as_str()), ("POST", "/up"));
        assert_eq!((read.header("x-y"), read.header("z")), (Some("a b"), None));
        assert_eq!(read.framing().unwrap(), Framing::None);
        assert!(request("").unwrap().is_none());
    }

    #[test]
    fn bent_requests_are_refused() {
        for text in [
            "POST /up HTTP/1.1\r\nHost: x\r\n",
            "POST /up HTTP/1.0\r\nHost: x\r\n\r\n",
            "POST  /up HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /up HTTP/1.1\r\n\r\n",
            "POST /up HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "POST /up HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
            "POST /up HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "POST /up HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n",
        ] {
            assert!(request(text).is_err(), "{text:?}");
        }
        assert!(request(&format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000))).is_err());
    }

    #[test]
    fn a_body_has_one_framing() {
        let framing = |headers: &str| {
            request(&format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).unwrap().unwrap().framing().ok()
        };
        assert_eq!(framing("Content-Length: 12\r\n"), Some(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Some(Framing::Chunked));
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), None);
        assert_eq!(framing("Content-Length: 12\r\nContent-Length: 12\r\n"), None);
        assert_eq!(framing("Content-Length: 12\r\nTransfer-Encoding: chunked\r\n"), None);
        assert_eq!(framing("Content-Length: +12\r\n"), None);
        assert_eq!(framing("Content-Length: \r\n"), None);
    }

    #[test]
    fn bodies_end_where_they_say() {
        assert_eq!(body(b"12345678", Framing::Length(5)).unwrap(), b"12345");
        assert_eq!(body(b"rest", Framing::None).unwrap(), b"");
        let chunked = b"3\r\nabc\r\n0a\r\n".to_vec();
        assert!(body(&chunked, Framing::Chunked).is_err());
        let chunked = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(body(chunked, Framing::Chunked).unwrap(), b"abc0123456789");
        for length in 0..chunked.len() {
            assert!(body(&chunked[..length], Framing::Chunked).is_err(), "{length}");
        }
        for length in 0..5 {
            assert!(body(&b"12345"[..length], Framing::Length(5)).is_err(), "{length}");
        }
        for bad in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "3;x\r\nabc\r\n0\r\n\r\n",
            "\r\n\r\n",
            "ffffffffffffffffff\r\n",
            "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        ] {
            assert!(body(bad.as_bytes(), Framing::Chunked).is_err(), "{bad:?}");
        }
    }
}
