//! Which server is asked: the first that answers, for a whole table.
//!
//! A table's lists come from one server. If that one is out of reach or out of order, or does not
//! know us, the next one is asked for all of them; a fault of a list itself fails the table. A
//! server that closes or resets a connection is asked once more: it may have read its zones anew,
//! or found the connection idle.

use std::time::Instant;

use common::config::{Config, Endpoint, Table};
use common::message;
use hickory_proto::rr::Name;

use crate::chunk::Chunk;
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::limits::{Attempt, Limits};
use crate::list::{self, List};
use crate::server::{Resolver, Server};
use crate::soa::Serial;

/// A run's way to the servers.
pub struct Client<'a> {
    config: &'a Config,
    credentials: &'a Credentials,
    /// What the run may take.
    pub limits: Limits,
    run_ends: Instant,
    resolver: Resolver,
    /// The connection that the last table left in good order.
    open: Option<(Server, Connection<'a>)>,
}

impl<'a> Client<'a> {
    /// Starts the clock of the run.
    pub fn new(config: &'a Config, credentials: &'a Credentials, limits: Limits) -> Client<'a> {
        let now = Instant::now();
        let run_ends = now.checked_add(limits.run).unwrap_or(now);
        let resolver = Resolver::new(config.usual_dns_port());
        Client { config, credentials, limits, run_ends, resolver, open: None }
    }

    /// Gets all lists of a table, in their order; `None` if that failed. In both cases also what
    /// went wrong on the way, in words, for each server that was tried. A table without lists is
    /// empty. `last` are the serials under which the lists were read last.
    pub fn table(&mut self, table: Table, last: &[Serial]) -> (Option<Answer>, Vec<String>) {
        let mut causes = Vec::new();
        (self.first_good(table, last, &mut causes), causes)
    }

    fn first_good(&mut self, table: Table, last: &[Serial], causes: &mut Vec<String>) -> Option<Answer> {
        let mut lists = self.config.table(table).lists.iter().map(String::as_str);
        let Some(first) = lists.next() else { return Some(Answer::default()) };
        let (mut tried, mut may_retry) = (None, true);
        if let Some((server, connection)) = self.open.take() {
            let attempt = self.attempt();
            match self.table_from(&server, Some(connection), table, last, &attempt, &mut may_retry) {
                Ok(answer) => return Some(answer),
                Err((list, failure)) => {
                    causes.push(cause(list, &server.place, &failure));
                    if !failure.is_the_servers() {
                        return None;
                    }
                    tried = Some(server.address);
                }
            }
        }
        for endpoint in &self.config.dns_servers {
            let servers = self.servers(endpoint).unwrap_or_else(|failure| {
                causes.push(cause(first, &self.name(endpoint), &failure));
                Vec::new()
            });
            // All addresses of a server are one attempt: a name that has many leaves time, too.
            let attempt = self.attempt();
            for server in servers {
                if tried == Some(server.address) {
                    continue;
                }
                match self.table_from(&server, None, table, last, &attempt, &mut may_retry) {
                    Ok(answer) => return Some(answer),
                    Err((list, failure)) => {
                        causes.push(cause(list, &server.place, &failure));
                        if !failure.is_the_servers() {
                            return None;
                        }
                        if matches!(failure, Failure::AttemptTime(_)) {
                            break;
                        }
                    }
                }
            }
        }
        None
    }

    /// The name of a server as it is configured; the port only if it is not the usual one.
    pub fn name(&self, endpoint: &Endpoint) -> String {
        self.resolver.name(endpoint)
    }

    /// A server at each of its addresses.
    ///
    /// # Errors
    /// Its name has none.
    pub fn servers(&mut self, endpoint: &Endpoint) -> Result<Vec<Server>, Failure> {
        self.resolver.resolve(endpoint)
    }

    /// An attempt to get a table from a server, which begins now.
    pub fn attempt(&self) -> Attempt {
        Attempt::begin(&self.limits, self.run_ends)
    }

    /// Connects to one address.
    ///
    /// # Errors
    /// There is no connection.
    pub fn connect(&self, server: &Server, attempt: Attempt) -> Result<Connection<'a>, Failure> {
        Connection::open(server, self.credentials, &self.limits, attempt)
    }

    /// Asks for the serial of the zone that a list is in, if the server has it.
    ///
    /// # Errors
    /// As for a list; a server that has no serial is no failure.
    pub fn serial(&self, connection: &mut Connection<'_>, list: &str) -> Result<Option<Serial>, Failure> {
        let serials = connection.serials(&[name(list)?])?;
        Ok(serials.into_iter().next().flatten())
    }

    /// Gets one list over a connection; `zone` is the serial of its zone, if that is known.
    ///
    /// # Errors
    /// The list could not be had as a whole.
    pub fn list(
        &self,
        connection: &mut Connection<'_>,
        list: &str,
        zone: Option<&Serial>,
    ) -> Result<List, Failure> {
        list::fetch(connection, &name(list)?, zone, self.config.list_format, &self.limits)
    }

    /// Gets all lists of a table from one server, over the open connection if there is one. If
    /// the server closes it, then, `may_retry` being set, once more over a new one, in the same
    /// attempt.
    fn table_from(
        &mut self,
        server: &Server,
        mut open: Option<Connection<'a>>,
        table: Table,
        last: &[Serial],
        attempt: &Attempt,
        may_retry: &mut bool,
    ) -> Result<Answer, (&'a str, Failure)> {
        open.iter_mut().for_each(|connection| connection.begin(attempt.clone()));
        let lists = &self.config.table(table).lists;
        let first = lists.first().map(String::as_str).unwrap_or_default();
        loop {
            let connection = match open.take() {
                Some(connection) => connection,
                None => {
                    let connected = self.connect(server, attempt.clone());
                    let connection = connected.map_err(|failure| (first, failure))?;
                    message::say(format_args!("Using DNS Server {}", server.name));
                    connection
                }
            };
            match self.lists(server, connection, table, last) {
                Err((list, failure)) if *may_retry && failure.is_end_of_connection() => {
                    *may_retry = false;
                    let cause = cause(list, &server.place, &failure);
                    message::say(format_args!("{cause}; trying once more"));
                }
                result => return result,
            }
        }
    }

    /// Gets all lists of a table over one connection, and keeps it for the next table. If a zone
    /// changes meanwhile, they are got once more.
    fn lists(
        &mut self,
        server: &Server,
        mut connection: Connection<'a>,
        table: Table,
        last: &[Serial],
    ) -> Result<Answer, (&'a str, Failure)> {
        let mut moved = None;
        for _ in 0..2 {
            match self.once(&mut connection, table, last) {
                Err((list, Failure::ZoneMoves)) => moved = Some(list),
                result => {
                    let answer = result?;
                    self.open = Some((server.clone(), connection));
                    if let Answer::Lists(_, serials) = &answer {
                        warn_of_old(server, last, serials);
                    }
                    return Ok(answer);
                }
            }
            connection.again();
        }
        Err((moved.unwrap_or_default(), Failure::ZoneMoves))
    }

    /// Gets all lists between two looks at the serials of their zones.
    fn once(
        &self,
        connection: &mut Connection<'_>,
        table: Table,
        last: &[Serial],
    ) -> Result<Answer, (&'a str, Failure)> {
        let lists = &self.config.table(table).lists;
        let mut names = Vec::new();
        for list in lists {
            names.push(name(list).map_err(|failure| (list.as_str(), failure))?);
        }
        let first = lists.first().map(String::as_str).unwrap_or_default();
        let before = connection.serials(&names).map_err(|failure| (first, failure))?;
        if !last.is_empty() && before.iter().map(Option::as_ref).eq(last.iter().map(Some)) {
            return Ok(Answer::Unchanged);
        }
        let (mut chunks, mut serials) = (Vec::new(), Vec::new());
        // The lists that were not transferred, and what serial their zone had.
        let (mut asked, mut expected) = (Vec::new(), Vec::new());
        for ((list, name), before) in lists.iter().zip(names).zip(before) {
            message::say(format_args!("Processing {} list {list}", table.word()));
            let got = self.list(connection, list, before.as_ref());
            let got = got.map_err(|failure| (list.as_str(), failure))?;
            if let (None, Some(before)) = (&got.serial, &before) {
                asked.push(name);
                expected.push((list.as_str(), serials.len(), before.clone()));
            }
            let zone = got.serial.or(before);
            serials.push(of_all_parts(zone, &got.chunks).map_err(|failure| (list.as_str(), failure))?);
            chunks.extend(got.chunks);
        }
        let after = connection.serials(&asked).map_err(|failure| (first, failure))?;
        for ((list, place, before), after) in expected.into_iter().zip(after) {
            match after {
                Some(after) if after.zone == before.zone => {
                    if after != before {
                        return Err((list, Failure::ZoneMoves));
                    }
                }
                _ => serials.get_mut(place).into_iter().for_each(|serial| *serial = None),
            }
        }
        let serials: Option<Vec<Serial>> = serials.into_iter().collect();
        Ok(Answer::Lists(chunks, serials.unwrap_or_default()))
    }
}

/// What a server has for a table.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// What it had last.
    Unchanged,
    /// What its lists hold; the serials of their zones, one for each list, if all have one that
    /// tells when the list changes.
    Lists(Vec<Chunk>, Vec<Serial>),
}

impl Default for Answer {
    /// No lists.
    fn default() -> Answer {
        Answer::Lists(Vec::new(), Vec::new())
    }
}

/// The serial of a list's zone, if all parts of the list are in it and none is a zone of its own:
/// that of another zone does not tell when the list changes.
///
/// # Errors
/// The zone had another serial when a part was asked for.
fn of_all_parts(list: Option<Serial>, chunks: &[Chunk]) -> Result<Option<Serial>, Failure> {
    let Some(list) = list else { return Ok(None) };
    let mut are_all = true;
    for part in chunks.iter().filter_map(|chunk| chunk.zone.as_ref()) {
        match part {
            Some(part) if *part == list => {}
            Some(part) if part.zone == list.zone => return Err(Failure::ZoneMoves),
            _ => are_all = false,
        }
    }
    Ok(Some(list).filter(|_| are_all))
}

/// A list's name. The configuration takes domain names only.
fn name(list: &str) -> Result<Name, Failure> {
    Name::from_labels(list.split('.').map(str::as_bytes))
        .map_err(|_| Failure::Malformed("not a domain name".to_owned()))
}

/// Says which zones are older than they were. They are taken all the same: zones are made anew.
fn warn_of_old(server: &Server, last: &[Serial], serials: &[Serial]) {
    for (old, new) in last.iter().zip(serials).filter(|(old, new)| new.is_behind(old)) {
        message::warn(format_args!(
            "zone {} at {}: its serial went back from {} to {}",
            new.zone, server.place, old.number, new.number
        ));
    }
}

/// `LIST at SERVER: cause`.
pub fn cause(list: &str, place: &str, failure: &Failure) -> String {
    format!("{list} at {place}: {failure}")
}

#[cfg(test)]
mod tests;
