//! Messages and a small name server for tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};

use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};

use crate::credentials::Credentials;
use crate::server::Server;

/// No key, no TLS.
pub static NONE: Credentials = Credentials { key: None, tls: None };

pub const APL: u16 = 42;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const CNAME: u16 = 5;

pub fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').map(str::as_bytes)).unwrap()
}

pub fn question(text: &str, kind: u16) -> Query {
    Query::query(name(text), RecordType::from(kind))
}

/// A name on the wire, without compression.
pub fn wire(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.') {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// APL rdata of IPv4 hosts 10.x.y.z.
pub fn hosts(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let item = |number: u32| {
        let [_, x, y, z] = number.to_be_bytes();
        [0, 1, 32, 4, 10, x, y, z]
    };
    numbers.flat_map(item).collect()
}

/// The answer to `query` with an RCODE and records of its name, each of type and rdata.
pub fn reply(query: &[u8], code: u8, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] |= 0x84;
    message[3] = code;
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, rdata) in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((rdata.len() as u16).to_be_bytes());
        message.extend(rdata);
    }
    message
}

/// What is asked for: the name in lower case, without the last dot, and the type.
pub fn asked(query: &[u8]) -> (String, u16) {
    let (mut at, mut text) = (12, String::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        text.push_str(std::str::from_utf8(&query[at + 1..at + 1 + length]).unwrap());
        text.push('.');
        at += 1 + length;
    }
    (text.trim_end_matches('.').to_lowercase(), u16::from_be_bytes([query[at + 1], query[at + 2]]))
}

/// Reads one framed message; `None` at the end of the connection.
pub fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// Sends one framed message; a client that has gone is no fault of the server.
pub fn send(stream: &mut TcpStream, message: &[u8]) {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    let _ = stream.write_all(&framed);
}

/// What a server at this address is to the client.
pub fn at(address: SocketAddr) -> Server {
    Server { host: address.ip().to_string(), name: String::new(), place: String::new(), address }
}

/// A server on loopback that handles as many connections as there are handlers, one after the
/// other. Join the handle to see that all came and none failed.
pub fn serve(handlers: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = spawn(move || {
        for handler in handlers {
            handler(listener.accept().unwrap().0);
        }
    });
    (address, thread)
}

/// A handler that answers each query as `answer` says, until the client goes.
pub fn answering(
    answer: impl Fn(&str, u16) -> (u8, Vec<(u16, Vec<u8>)>) + Send + 'static,
) -> Box<dyn FnOnce(TcpStream) + Send> {
    Box::new(move |mut stream| {
        while let Some(query) = receive(&mut stream) {
            let (text, kind) = asked(&query);
            let (code, records) = answer(&text, kind);
            send(&mut stream, &reply(&query, code, &records));
        }
    })
}
