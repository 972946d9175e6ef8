//! Which server is asked: the first that answers, for a whole table.
//!
//! A table's lists come from one server. If that one is out of reach or out of order, or does not
//! know us, the next one is asked for all of them; a fault of a list itself fails the table.

use std::net::SocketAddr;
use std::time::Instant;

use common::config::{Config, Endpoint, Table};
use common::message;
use hickory_proto::rr::Name;

use crate::chunk::Chunk;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::list::{self, List};
use crate::server::{self, Resolver, Server};

/// A run's way to the servers.
pub struct Client<'a> {
    config: &'a Config,
    /// What the run may take.
    pub limits: Limits,
    run_ends: Instant,
    resolver: Resolver,
    /// The connection that the last table left in good order.
    open: Option<(Server, Connection)>,
}

impl<'a> Client<'a> {
    /// Starts the clock of the run.
    pub fn new(config: &'a Config, limits: Limits) -> Client<'a> {
        let now = Instant::now();
        let run_ends = now.checked_add(limits.run).unwrap_or(now);
        Client { config, limits, run_ends, resolver: Resolver::default(), open: None }
    }

    /// Gets all lists of a table, in their order; `None` if that failed. In both cases also what
    /// went wrong on the way, in words, for each server that was tried. A table without lists is
    /// empty.
    pub fn table(&mut self, table: Table) -> (Option<Vec<Chunk>>, Vec<String>) {
        let mut causes = Vec::new();
        (self.first_good(table, &mut causes), causes)
    }

    fn first_good(&mut self, table: Table, causes: &mut Vec<String>) -> Option<Vec<Chunk>> {
        let mut lists = self.config.table(table).lists.iter().map(String::as_str);
        let Some(first) = lists.next() else { return Some(Vec::new()) };
        let mut tried = None;
        if let Some((server, mut connection)) = self.open.take() {
            connection.begin();
            match self.lists(&server, connection, table) {
                Ok(chunks) => return Some(chunks),
                // The server may have closed it for being idle: that is no failure yet.
                Err((_, failure)) if failure.is_end_of_connection() => {}
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
                causes.push(cause(first, &server::name(endpoint), &failure));
                Vec::new()
            });
            for server in servers {
                if tried == Some(server.address) {
                    continue;
                }
                let result = self.connect(server.address).map_err(|failure| (first, failure));
                let result = result.and_then(|connection| {
                    message::say(format_args!("Using DNS Server {}", server.name));
                    self.lists(&server, connection, table)
                });
                match result {
                    Ok(chunks) => return Some(chunks),
                    Err((list, failure)) => {
                        causes.push(cause(list, &server.place, &failure));
                        if !failure.is_the_servers() {
                            return None;
                        }
                    }
                }
            }
        }
        None
    }

    /// A server at each of its addresses.
    ///
    /// # Errors
    /// Its name has none.
    pub fn servers(&mut self, endpoint: &Endpoint) -> Result<Vec<Server>, Failure> {
        self.resolver.resolve(endpoint)
    }

    /// Connects to one address, which begins an attempt.
    ///
    /// # Errors
    /// There is no connection.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection, Failure> {
        Connection::open(address, &self.limits, self.run_ends)
    }

    /// Gets one list over a connection.
    ///
    /// # Errors
    /// The list could not be had as a whole.
    pub fn list(&self, connection: &mut Connection, list: &str) -> Result<List, Failure> {
        // The configuration takes domain names only.
        let name = Name::from_labels(list.split('.').map(str::as_bytes))
            .map_err(|_| Failure::Malformed("not a domain name".to_owned()))?;
        list::fetch(connection, &name, self.config.list_format, &self.limits)
    }

    /// Gets all lists of a table over one connection, and keeps it for the next table.
    fn lists(
        &mut self,
        server: &Server,
        mut connection: Connection,
        table: Table,
    ) -> Result<Vec<Chunk>, (&'a str, Failure)> {
        let mut chunks = Vec::new();
        for list in &self.config.table(table).lists {
            message::say(format_args!("Processing {} list {list}", table.word()));
            let got = self.list(&mut connection, list).map_err(|failure| (list.as_str(), failure))?;
            chunks.extend(got.chunks);
        }
        self.open = Some((server.clone(), connection));
        Ok(chunks)
    }
}

/// `LIST at SERVER: cause`.
pub fn cause(list: &str, place: &str, failure: &Failure) -> String {
    format!("{list} at {place}: {failure}")
}

#[cfg(test)]
mod tests;
