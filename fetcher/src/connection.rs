//! A connection to a name server: DNS over TCP (RFC 1035, section 4.2.2), each message after its
//! length in two octets, queries sent ahead of answers and answers taken in any order (RFC 7766).

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::error::reason;
use hickory_proto::op::Query;
use hickory_proto::rr::Name;

use crate::answer;
use crate::chunk::Chunk;
use crate::failure::Failure;
use crate::limits::{Attempt, Limits};

/// An open connection. After a failure it is of no use: answers may still be on their way.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Socket>,
    limits: Limits,
    run_ends: Instant,
    attempt: Attempt,
    /// Entries that came in this attempt.
    entries: usize,
    last_id: u16,
}

impl Connection {
    /// Connects, which begins an attempt.
    ///
    /// # Errors
    /// There is no connection within the limit, or the run's time is over.
    pub fn open(address: SocketAddr, limits: &Limits, run_ends: Instant) -> Result<Connection, Failure> {
        let attempt = Attempt::begin(limits, run_ends);
        let left = attempt.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(attempt.overdue);
        }
        let tcp =
            TcpStream::connect_timeout(&address, limits.connect.min(left)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::TimedOut if Instant::now() >= attempt.ends => attempt.overdue.clone(),
                    io::ErrorKind::TimedOut => Failure::ConnectTime(limits.connect),
                    _ => Failure::NotConnected(reason(&error)),
                }
            })?;
        tcp.set_nodelay(true).map_err(|error| Failure::NotConnected(reason(&error)))?;
        let socket = Socket { tcp, deadline: attempt.ends };
        Ok(Connection {
            stream: BufReader::with_capacity(1 << 16, socket),
            limits: limits.clone(),
            run_ends,
            attempt,
            entries: 0,
            last_id: 0,
        })
    }

    /// Begins another attempt over the same connection: that for the next table.
    pub fn begin(&mut self) {
        self.attempt = Attempt::begin(&self.limits, self.run_ends);
        self.entries = 0;
    }

    /// Asks all questions, which are about `list` and its parts, and returns what the answers
    /// hold, in the order of the questions.
    ///
    /// # Errors
    /// The first failure ends it all; one about a part names the part.
    pub fn ask(&mut self, list: &Name, questions: &[Query]) -> Result<Vec<Chunk>, Failure> {
        let mut chunks: Vec<Chunk> = Vec::new();
        chunks.resize_with(questions.len(), Chunk::default);
        let mut waiting: HashMap<u16, (&Query, &mut Chunk)> = HashMap::new();
        let mut unsent = questions.iter().zip(chunks.iter_mut()).fuse();
        loop {
            // Many queries in one segment: they go out when half of the last ones are answered.
            let mut batch = Vec::new();
            if waiting.len() <= self.limits.in_flight / 2 {
                while waiting.len() < self.limits.in_flight.max(1)
                    && let Some((question, chunk)) = unsent.next()
                {
                    let id = self.unused_id(&waiting);
                    frame(&mut batch, id, question)?;
                    waiting.insert(id, (question, chunk));
                }
            }
            if !batch.is_empty() {
                self.send(&batch)?;
            }
            if waiting.is_empty() {
                break;
            }
            let message = self.receive()?;
            let id = answer::id(&message).ok_or_else(|| Failure::Malformed("no header".to_owned()))?;
            let (question, chunk) = waiting.remove(&id).ok_or(Failure::WrongId(id))?;
            *chunk = answer::read(&message, question).map_err(|failure| match question.name() {
                name if name == list => failure,
                part => Failure::Part(answer::text(part), Box::new(failure)),
            })?;
            self.entries = self.entries.saturating_add(chunk.entries());
            if self.entries > self.limits.entries {
                return Err(Failure::TooManyEntries(self.limits.entries));
            }
        }
        Ok(chunks)
    }

    /// The next id that no query waits with; there are far more ids than queries.
    fn unused_id<T>(&mut self, waiting: &HashMap<u16, T>) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !waiting.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Sends framed messages.
    fn send(&mut self, framed: &[u8]) -> Result<(), Failure> {
        self.start_clock();
        let sent = self.stream.get_mut().write_all(framed);
        sent.map_err(|error| self.failure(&error))
    }

    /// Receives one message. A server that sends an octet now and then gains no time by it: the
    /// limit is for the whole message.
    fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        self.start_clock();
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).map_err(|error| self.failure(&error))?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut message).map_err(|error| self.failure(&error))?;
        Ok(message)
    }

    fn start_clock(&mut self) {
        let silence_ends = Instant::now().checked_add(self.limits.silence).unwrap_or(self.attempt.ends);
        self.stream.get_mut().deadline = silence_ends.min(self.attempt.ends);
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::TimedOut if Instant::now() >= self.attempt.ends => self.attempt.overdue.clone(),
            io::ErrorKind::TimedOut => Failure::Silence(self.limits.silence),
            io::ErrorKind::UnexpectedEof => Failure::Closed,
            _ => Failure::Broken(reason(error)),
        }
    }
}

/// Appends a query with its length before it.
fn frame(batch: &mut Vec<u8>, id: u16, question: &Query) -> Result<(), Failure> {
    let too_long = || Failure::Malformed("the name is too long for a query".to_owned());
    let query = answer::ask(id, question).map_err(|_| too_long())?;
    let length = u16::try_from(query.len()).map_err(|_| too_long())?;
    batch.extend_from_slice(&length.to_be_bytes());
    batch.extend_from_slice(&query);
    Ok(())
}

/// A socket on which everything ends at a deadline. On OpenBSD setting the time needs the
/// promise `inet`, for as long as the socket is used.
#[derive(Debug)]
struct Socket {
    tcp: TcpStream,
    deadline: Instant,
}

impl Socket {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// What the system says at a socket's time limit.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(self.left()?)?;
        self.tcp.read(buffer).map_err(timed_out)
    }
}

impl Write for Socket {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(self.left()?)?;
        self.tcp.write(octets).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
