//! One question to a name server: is it there, and which serial does a zone have.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// The time that a server has for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether anything answers, whatever it says.
pub(super) fn answers(server: (IpAddr, u16)) -> bool {
    ask(server, &Name::root()).is_ok()
}

/// The serial of a zone that the server answers for.
pub(super) fn serial(server: (IpAddr, u16), zone: &str) -> Option<u32> {
    let answer = ask(server, &Name::from_str(zone).ok()?).ok()?;
    if answer.metadata.response_code != ResponseCode::NoError {
        return None;
    }
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

fn ask(server: (IpAddr, u16), zone: &Name) -> io::Result<Message> {
    let mut query = Message::new(1, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(zone.clone(), RecordType::SOA));
    let query = query.to_vec().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(server), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Message::from_vec(&answer).map_err(io::Error::other)
}
