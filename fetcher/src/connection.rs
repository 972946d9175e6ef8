//! A connection to a name server: DNS over TCP (RFC 1035, section 4.2.2), each message after its
//! length in two octets, queries sent ahead of answers and answers taken in any order (RFC 7766).
//! With TLS (RFC 7858) it is the same inside.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufReader, Read};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::error::reason;
use common::message::progress;
use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};

use crate::answer;
use crate::axfr::{Transfer, Zone};
use crate::chunk::Chunk;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::keyfile::Key;
use crate::limits::{Attempt, Limits};
use crate::server::Server;
use crate::soa::{self, Serial};
use crate::socket::{Socket, Tcp};
use crate::tls;
use crate::tsig::{self, Verifier};

/// An open connection. After a failure it is of no use: answers may still be on their way.
#[derive(Debug)]
pub struct Connection<'a> {
    stream: BufReader<Socket>,
    key: Option<&'a Key>,
    limits: Limits,
    attempt: Attempt,
    /// Entries that came in this attempt.
    entries: usize,
    last_id: u16,
}

impl<'a> Connection<'a> {
    /// Connects, over TLS if the credentials say whom to trust, in the time of an attempt.
    ///
    /// # Errors
    /// There is no connection within the limit, TLS included, or not to the server that is meant;
    /// or the attempt's time is over.
    pub fn open(
        server: &Server,
        credentials: &'a Credentials,
        limits: &Limits,
        attempt: Attempt,
    ) -> Result<Connection<'a>, Failure> {
        let now = Instant::now();
        let ends = now.checked_add(limits.connect).map_or(attempt.ends, |ends| ends.min(attempt.ends));
        let overdue =
            |failure| if Instant::now() >= attempt.ends { attempt.overdue.clone() } else { failure };
        let tcp = Tcp::connect(server.address, ends).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => overdue(Failure::ConnectTime(limits.connect)),
            _ => Failure::NotConnected(reason(&error)),
        })?;
        let socket = match &credentials.tls {
            None => Socket::Plain(tcp),
            Some(tls) => tls.handshake(&server.host, tcp).map(Box::new).map(Socket::Tls).map_err(
                |error| match error.kind() {
                    io::ErrorKind::TimedOut => overdue(Failure::HandshakeTime(limits.connect)),
                    _ => Failure::Tls(tls::handshake_failure(&error)),
                },
            )?,
        };
        // Nobody who only sees that there is a connection knows its ids, and what was recorded of
        // another one hardly fits a query of this one.
        let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        Ok(Connection {
            stream: BufReader::with_capacity(1 << 16, socket),
            key: credentials.key.as_ref(),
            limits: limits.clone(),
            attempt,
            entries: 0,
            last_id: u16::from_be_bytes([high, low]),
        })
    }

    /// Begins another attempt over the same connection: that for the next table.
    pub fn begin(&mut self, attempt: Attempt) {
        self.attempt = attempt;
        self.entries = 0;
    }

    /// Asks all questions, which are about `list` and its parts, and returns what the answers
    /// hold, in the order of the questions.
    ///
    /// # Errors
    /// The first failure ends it all; one about a part names the part.
    pub fn ask(&mut self, list: &Name, questions: &[Query]) -> Result<Vec<Chunk>, Failure> {
        let (before, shown, mut answered) = (self.entries, answer::text(list), 0usize);
        // Beside its items, the zone of each part is asked for.
        let parts = questions.iter().filter(|question| question.query_type() != RecordType::SOA).count();
        self.items(list, questions, answer::read, |question, chunk, entries| {
            if chunk.zone.is_none() {
                answered = answered.saturating_add(1);
            }
            if question.name() != list {
                let entries = entries.saturating_sub(before);
                progress(format_args!("{shown}: {answered} of {parts} parts, {entries} entries"));
            }
        })
    }

    /// As `ask`, but a name that does not exist has no data.
    ///
    /// # Errors
    /// As for `ask`.
    pub fn look(&mut self, list: &Name, questions: &[Query]) -> Result<Vec<Chunk>, Failure> {
        let read = |answer: &[u8], question: &Query| match answer::read(answer, question) {
            Err(Failure::NoSuchName) => Ok(Chunk::default()),
            read => read,
        };
        self.items(list, questions, read, |_, _, _| ())
    }

    /// Asks for items, which count as entries of this attempt; `seen` is told of each answer and how
    /// many entries there are by then.
    fn items(
        &mut self,
        list: &Name,
        questions: &[Query],
        mut read: impl FnMut(&[u8], &Query) -> Result<Chunk, Failure>,
        mut seen: impl FnMut(&Query, &Chunk, usize),
    ) -> Result<Vec<Chunk>, Failure> {
        let (mut entries, most) = (self.entries, self.limits.entries);
        let chunks = self.exchange(Some(list), questions, |answer, question| {
            let chunk = read(answer, question)?;
            entries = entries.saturating_add(chunk.entries());
            seen(question, &chunk, entries);
            if entries > most { Err(Failure::TooManyEntries(most)) } else { Ok(chunk) }
        });
        self.entries = entries;
        chunks
    }

    /// Asks for the serials of the zones in which names are, in their order.
    ///
    /// # Errors
    /// As for `ask`; a server that has no serial is no failure.
    pub fn serials(&mut self, names: &[Name]) -> Result<Vec<Option<Serial>>, Failure> {
        let questions: Vec<Query> =
            names.iter().map(|name| Query::query(name.clone(), RecordType::SOA)).collect();
        self.exchange(None, &questions, soa::read)
    }

    /// Forgets the entries that came in this attempt, because they are asked for once more.
    pub fn again(&mut self) {
        self.entries = 0;
    }

    /// Asks all questions and returns what `read` makes of the answers, in the order of the
    /// questions. A failure about another name than `list`, if there is one, names the part. An
    /// answer is read only after its signature, if there must be one, was found
    /// right.
    fn exchange<T: Default>(
        &mut self,
        list: Option<&Name>,
        questions: &[Query],
        mut read: impl FnMut(&[u8], &Query) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut found: Vec<T> = Vec::new();
        found.resize_with(questions.len(), T::default);
        let mut waiting: HashMap<u16, (&Query, &mut T, Option<Verifier<'_>>)> = HashMap::new();
        let mut unsent = questions.iter().zip(found.iter_mut()).fuse();
        loop {
            // Many queries in one segment: they go out when half of the last ones are answered.
            let mut batch = Vec::new();
            if waiting.len() <= self.limits.in_flight / 2 {
                while waiting.len() < self.limits.in_flight.max(1)
                    && let Some((question, place)) = unsent.next()
                {
                    let id = self.unused_id(&waiting);
                    let (query, verifier) = frame(id, question, self.key)?;
                    batch.push(query);
                    waiting.insert(id, (question, place, verifier));
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
            let (question, place, verifier) = waiting.remove(&id).ok_or(Failure::WrongId(id))?;
            let verified = verifier.map_or(Ok(()), |verifier| verifier.only(&message, now()));
            let result = verified.map_err(Failure::from).and_then(|()| read(&message, question));
            *place = result.map_err(|failure| match failure {
                // That is about the table.
                Failure::TooManyEntries(_) => failure,
                _ if list.is_none_or(|list| question.name() == list) => failure,
                _ => Failure::Part(answer::text(question.name()), Box::new(failure)),
            })?;
        }
        Ok(found)
    }

    /// Transfers a zone (AXFR). Nothing of it is returned before all of it is there and, with a
    /// key, signed.
    ///
    /// # Errors
    /// The zone could not be had as a whole.
    pub fn transfer(&mut self, zone: &Name) -> Result<Zone, Failure> {
        let id = self.unused_id(&HashMap::<u16, ()>::new());
        let question = Query::query(zone.clone(), RecordType::AXFR);
        let (query, mut verifier) = frame(id, &question, self.key)?;
        self.send(&[query])?;
        let most = self.limits.entries;
        let mut transfer = Transfer::new(id, zone, most.saturating_sub(self.entries));
        let (mut messages, shown) = (0usize, answer::text(zone));
        loop {
            let message = match self.receive() {
                // Between two messages the transfer has the better words for it.
                Err(Failure::Closed) => {
                    transfer.finish()?;
                    return Err(Failure::Closed);
                }
                received => received?,
            };
            if let Some(verifier) = &mut verifier {
                verifier.next(&message, now())?;
            }
            let is_over = transfer.next(&message).map_err(|failure| match failure {
                Failure::TooManyEntries(_) => Failure::TooManyEntries(most),
                failure => failure,
            })?;
            if is_over {
                break;
            }
            messages = messages.saturating_add(1);
            let entries = transfer.entries();
            progress(format_args!("{shown}: {messages} messages, {entries} entries"));
        }
        if let Some(verifier) = &verifier {
            verifier.finish()?;
        }
        let zone = transfer.finish()?;
        let entries = zone.chunks.iter().map(Chunk::entries);
        self.entries = entries.fold(self.entries, usize::saturating_add);
        Ok(zone)
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
    fn send(&mut self, framed: &[Vec<u8>]) -> Result<(), Failure> {
        self.start_clock();
        let sent = self.stream.get_mut().send(framed);
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
        self.stream.get_mut().set_deadline(silence_ends.min(self.attempt.ends));
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::TimedOut if Instant::now() >= self.attempt.ends => self.attempt.overdue.clone(),
            io::ErrorKind::TimedOut => Failure::Silence(self.limits.silence),
            io::ErrorKind::UnexpectedEof => Failure::Closed,
            _ => tls::failure(error).map_or_else(|| Failure::Broken(reason(error)), Failure::Tls),
        }
    }
}

/// A query with its length before it, signed if there is a key; and what checks the answer's
/// signature.
fn frame<'k>(
    id: u16,
    question: &Query,
    key: Option<&'k Key>,
) -> Result<(Vec<u8>, Option<Verifier<'k>>), Failure> {
    let too_long = || Failure::Malformed("the name is too long for a query".to_owned());
    let mut query = answer::ask(id, question).map_err(|_| too_long())?;
    let verifier = key.map(|key| tsig::sign(&mut query, key, now())).transpose()?;
    let length = u16::try_from(query.len()).map_err(|_| too_long())?;
    Ok(([&length.to_be_bytes()[..], &query].concat(), verifier))
}

/// The time as signatures have it, in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
