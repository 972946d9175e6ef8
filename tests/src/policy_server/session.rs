//! One connection of the policy server: queries in, replies out (RFC 7766).

use super::hostile::framed;
use super::listener::{Client, lock};
use super::tsig::Signature;
use super::wire::{AXFR, FORMERR, Question};
use super::{Policy, Shared};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// How long an incomplete batch waits for the next query.
const BATCH_WAIT: Duration = Duration::from_millis(100);

/// A query, as the behaviour of the server sees it.
pub struct Query {
    /// What it asks.
    pub question: Question,
    /// The whole message.
    pub message: Vec<u8>,
    /// How many queries the server had seen before, on all connections.
    pub number: usize,
    policy: Arc<Policy>,
}

impl Query {
    /// The answer that the policy has for it, as a message.
    pub fn answer(&self) -> Vec<u8> {
        self.policy.answer(&self.question)
    }

    /// The same, or the zone transfer that it asks for, as it would be sent without a key.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        match self.question.rtype {
            AXFR => self.policy.transfer(&self.question),
            _ => vec![self.answer()],
        }
    }

    /// What is sent if nothing else is wanted: with a key signed, or the error of a query that is not rightly signed.
    fn honest(&self) -> Vec<Vec<u8>> {
        match &self.policy.key {
            None => self.messages(),
            Some(key) => match key.check(&self.message, &self.question) {
                Ok(()) => key.sign(&self.message, &self.messages(), |_| Signature::Right),
                Err(error) => vec![key.refuse(&self.message, &self.question, error, 0)],
            },
        }
    }
}

/// What is done about a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Send the policy's answer.
    Answer,
    /// Send this message, with its length in front.
    Message(Vec<u8>),
    /// Send these messages, each with its length in front.
    Messages(Vec<Vec<u8>>),
    /// Send these messages, then the last one again and again until the client goes.
    Endless(Vec<Vec<u8>>),
    /// Send these octets as they are, then close the connection.
    Broken(Vec<u8>),
    /// Send this message with its length in front, so many octets at a time, with a pause before each piece.
    Slow {
        /// The message.
        message: Vec<u8>,
        /// Octets of a piece; with `usize::MAX` the whole message comes late.
        piece: usize,
        /// The time before each.
        pause: Duration,
    },
    /// Send nothing and stay connected.
    Silence,
    /// Close the connection.
    Close,
}

/// What came next from the client.
enum Next {
    Message(Vec<u8>),
    /// Nothing within `BATCH_WAIT`.
    Quiet,
    End,
}

/// Serves a connection until either side ends it.
pub(super) fn serve(mut client: Client, shared: &Shared) {
    let mut held = Vec::new();
    loop {
        let next = next(&mut client, !held.is_empty()).unwrap_or(Next::End);
        let (quiet, ending) = (matches!(next, Next::Quiet), matches!(next, Next::End));
        if let Next::Message(message) = next {
            held.push(judge(message, shared));
        }
        let batch = *lock(&shared.batch);
        if held.len() >= batch || quiet || ending {
            for reply in held.drain(..).rev() {
                if !perform(&mut client, reply).unwrap_or(false) {
                    return;
                }
            }
        }
        if ending {
            return;
        }
    }
}

/// The next message; if replies are held back, only as long as `BATCH_WAIT` allows.
fn next(client: &mut Client, held: bool) -> io::Result<Next> {
    let mut length = [0; 2];
    let (first, second) = length.split_at_mut(1);
    if held {
        client.stream.set_read_timeout(Some(BATCH_WAIT))?;
    }
    let read = client.stream.read_exact(first);
    if held {
        client.stream.set_read_timeout(None)?;
    }
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Quiet),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Next::End),
        read => read?,
    }
    client.stream.read_exact(second)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    client.stream.read_exact(&mut message)?;
    Ok(Next::Message(message))
}

/// What to do about a message: never `Reply::Answer`, which is turned into the answer here.
fn judge(message: Vec<u8>, shared: &Shared) -> Reply {
    let Some(question) = Question::parse(&message) else {
        lock(&shared.log).malformed += 1;
        return match message.get(..2) {
            Some(id) => Reply::Message([id, &[0x80, FORMERR, 0, 0, 0, 0, 0, 0, 0, 0]].concat()),
            None => Reply::Close,
        };
    };
    let number = {
        let mut log = lock(&shared.log);
        log.queries.push((question.name.clone(), question.rtype));
        log.queries.len() - 1
    };
    let query = Query { question, message, number, policy: Arc::clone(&lock(&shared.policy)) };
    let behaviour = Arc::clone(&lock(&shared.behaviour));
    match behaviour(&query) {
        Reply::Answer => Reply::Messages(query.honest()),
        other => other,
    }
}

/// Does it; false if the connection is over.
fn perform(client: &mut Client, reply: Reply) -> io::Result<bool> {
    match reply {
        Reply::Message(message) => client.stream.write_all(&framed(&message))?,
        Reply::Messages(messages) => {
            for message in messages {
                client.stream.write_all(&framed(&message))?;
            }
        }
        Reply::Endless(messages) => {
            for message in &messages {
                client.stream.write_all(&framed(message))?;
            }
            let last = framed(messages.last().map_or(&[], Vec::as_slice));
            loop {
                client.stream.write_all(&last)?;
            }
        }
        Reply::Broken(octets) => {
            client.stream.write_all(&octets)?;
            client.end();
            return Ok(false);
        }
        Reply::Slow { message, piece, pause } => {
            for octets in framed(&message).chunks(piece.max(1)) {
                if !client.pause(pause) {
                    return Ok(false);
                }
                client.stream.write_all(octets)?;
            }
        }
        Reply::Answer | Reply::Silence => {}
        Reply::Close => {
            client.end();
            return Ok(false);
        }
    }
    Ok(true)
}
