//! One connection of the log server: requests in, answers out.

use super::Shared;
use super::http::{Body, Framing, Request, bad};
use super::multipart;
use crate::policy_server::listener::{Client, lock};
use flate2::read::MultiGzDecoder;
use rustls::{ServerConnection, Stream};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// The most octets of a body; it is held in memory.
const MAX_BODY: usize = 1 << 30;
/// Octets read at a time where the behaviour does not say.
const PIECE: usize = 64 * 1024;
/// Where the service tells a client its address.
const VALID_IP: &str = "/cgi-bin/validip.pl";

/// What is done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Take the upload and answer 200.
    Accept,
    /// Read the body and answer with this status.
    Status(u16),
    /// Read the body and answer with this status and this `Retry-After`.
    Wait(u16, String),
    /// Read the body and answer 200 with this text.
    Say(String),
    /// Read the body and answer 302 with this `Location`.
    Redirect(String),
    /// Read the body, wait, answer 200.
    Late(Duration),
    /// Read so many octets of the body, at most all, then close the connection without an answer.
    CloseAfter(usize),
    /// Take the upload, then close the connection without an answer.
    LoseAnswer,
    /// Answer with this status at once, without asking for the body or reading it, and close if the client asked
    /// for that.
    Early(u16),
    /// Give the consent that a client asks for with these header fields, each with its end of line, and take the
    /// upload.
    Consent(String),
    /// Take the upload slowly, so many octets at a time with a pause before each piece, and answer 200.
    Slow {
        /// Octets of a piece.
        piece: usize,
        /// The time before each.
        pause: Duration,
    },
}

/// A form of one field and one file that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The request that brought it.
    pub request: Request,
    /// The field's name.
    pub id_field: String,
    /// The field's value.
    pub device_id: String,
    /// The name of the file's field.
    pub file_field: String,
    /// The file's name.
    pub file_name: String,
    /// The file's type, if one was given.
    pub content_type: Option<String>,
    /// The file.
    pub content: Vec<u8>,
    /// The status that was sent; None if the connection was closed instead.
    pub status: Option<u16>,
}

impl Upload {
    /// The request's `Idempotency-Key`.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.request.header("idempotency-key")
    }

    /// The file as it was before it was compressed, if it was.
    ///
    /// # Errors
    /// It is called compressed and is not.
    pub fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self.content_type.as_deref() {
            Some("application/gzip") => {
                MultiGzDecoder::new(self.content.as_slice()).read_to_end(&mut text)?;
            }
            _ => text.clone_from(&self.content),
        }
        Ok(text)
    }
}

type Reader<'a> = BufReader<Stream<'a, ServerConnection, &'a TcpStream>>;

/// Serves a connection until either side ends it.
pub(super) fn serve(client: &Client, shared: &Shared) {
    let fault = |error: &io::Error| lock(&shared.log).faults.push(error.to_string());
    let mut tls = match ServerConnection::new(Arc::clone(&shared.tls)) {
        Ok(tls) => tls,
        Err(error) => return fault(&io::Error::other(error)),
    };
    let mut socket = &client.stream;
    let mut reader = BufReader::with_capacity(PIECE, Stream::new(&mut tls, &mut socket));
    loop {
        match exchange(&mut reader, client, shared) {
            Ok(true) => {}
            // No farewell: an answer that is lost is lost without a word.
            Ok(false) => return,
            Err(error) => {
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) {
                    fault(&error);
                }
                if error.kind() == ErrorKind::InvalidData {
                    // The client may be gone already.
                    let _ = answer(&mut reader, 400, "", &format!("{error}\n"));
                    client.end();
                }
                return;
            }
        }
    }
}

/// One request and its answer; false if the connection is over.
fn exchange(reader: &mut Reader, client: &Client, shared: &Shared) -> io::Result<bool> {
    let Some(mut request) = Request::read(reader)? else {
        return Ok(false);
    };
    {
        let mut log = lock(&shared.log);
        request.number = log.requests.len();
        log.requests.push(request.clone());
    }
    let behaviour = Arc::clone(&lock(&shared.behaviour));
    let reply = behaviour(&request);
    if let Reply::Early(status) = reply {
        answer(reader, status, "", "")?;
        if request.header("connection") != Some("close") {
            return Ok(true);
        }
        // With a farewell, or the client may take the answer for one that was cut off.
        reader.get_mut().conn.send_close_notify();
        reader.get_mut().flush()?;
        return Ok(false);
    }
    if request.header("expect") == Some("100-continue") {
        let fields = if let Reply::Consent(fields) = &reply { fields.as_str() } else { "" };
        reader.get_mut().write_all(format!("HTTP/1.1 100 Continue\r\n{fields}\r\n").as_bytes())?;
        reader.get_mut().flush()?;
    }
    let Some(body) = receive(reader, &request, &reply, client)? else {
        return Ok(false);
    };
    let (mut status, mut text) = match &reply {
        Reply::Status(status) | Reply::Wait(status, _) => (*status, String::new()),
        Reply::Say(text) => (200, text.clone()),
        Reply::Redirect(_) => (302, String::new()),
        _ => (200, "ok\n".to_owned()),
    };
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => {
            let mut upload = upload(request, &body)?;
            upload.status = (reply != Reply::LoseAnswer).then_some(status);
            lock(&shared.log).uploads.push(upload);
        }
        ("GET", VALID_IP) if status == 200 && !matches!(reply, Reply::Say(_)) => {
            let address = client.stream.peer_addr()?.ip();
            text = format!("Your IP address: {address}\nAddress is in the list of authorized hosts\n");
        }
        ("GET", VALID_IP) => {}
        _ => status = 404,
    }
    if reply == Reply::LoseAnswer {
        return Ok(false);
    }
    if let Reply::Late(time) = reply
        && !client.pause(time)
    {
        return Ok(false);
    }
    let headers = match reply {
        Reply::Redirect(location) => format!("Location: {location}\r\n"),
        Reply::Wait(_, time) => format!("Retry-After: {time}\r\n"),
        _ => String::new(),
    };
    answer(reader, status, &headers, &text)?;
    Ok(true)
}

/// The body, or None if the reply is to close before.
fn receive(
    reader: &mut Reader,
    request: &Request,
    reply: &Reply,
    client: &Client,
) -> io::Result<Option<Vec<u8>>> {
    let framing = request.framing()?;
    if request.method == "POST" && framing == Framing::None {
        return Err(bad("body: neither content-length nor chunked"));
    }
    let (piece, most) = match reply {
        Reply::Slow { piece, .. } => (*piece, MAX_BODY),
        Reply::CloseAfter(most) => (PIECE, *most),
        _ => (PIECE, MAX_BODY),
    };
    let mut body = Body::new(reader, framing);
    let mut octets = Vec::new();
    while octets.len() < most {
        if let Reply::Slow { pause, .. } = reply
            && !client.pause(*pause)
        {
            return Ok(None);
        }
        let room = piece.min(most - octets.len()) as u64;
        if body.by_ref().take(room).read_to_end(&mut octets)? == 0 {
            return Ok((!matches!(reply, Reply::CloseAfter(_))).then_some(octets));
        }
    }
    match reply {
        Reply::CloseAfter(_) => Ok(None),
        _ => Err(bad("body: too long")),
    }
}

/// The one field and the one file of a form.
fn upload(request: Request, body: &[u8]) -> io::Result<Upload> {
    let content_type = request.header("content-type").ok_or_else(|| bad("content-type: none or several"))?;
    let mut parts = multipart::parse(body, multipart::boundary(content_type)?)?;
    let (Some(file), Some(field), true) = (parts.pop(), parts.pop(), parts.is_empty()) else {
        return Err(bad("form: not two parts"));
    };
    let (None, Some(file_name)) = (&field.file_name, file.file_name) else {
        return Err(bad("form: not a field and a file"));
    };
    Ok(Upload {
        request,
        id_field: field.name,
        device_id: String::from_utf8(field.content).map_err(|_| bad("form: the field is not UTF-8"))?,
        file_field: file.name,
        file_name,
        content_type: file.content_type,
        content: file.content,
        status: None,
    })
}

fn answer(reader: &mut Reader, status: u16, headers: &str, text: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{headers}\r\n",
        reason(status),
        text.len()
    );
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn reason(status: u16) -> &'static str {
    match status {
        200..300 => "OK",
        300..400 => "Redirected",
        400..500 => "Refused",
        _ => "Failed",
    }
}
