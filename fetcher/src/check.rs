//! The test run, `-t`: is each server ready, does each list resolve. Writes nothing.

use std::time::Instant;

use common::config::{Config, Endpoint, Table};
use common::message;

use crate::client::{Client, cause};
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::server::Server;

/// Tests every configured server with every list and prints what it finds; what is wrong goes to
/// standard error.
///
/// # Errors
/// Not all is well; what went wrong first.
pub fn run(config: &Config, credentials: &Credentials, limits: Limits) -> Result<(), String> {
    let mut check = Check { config, client: Client::new(config, credentials, limits), first: None };
    let mut all_is_well = true;
    for endpoint in &config.dns_servers {
        all_is_well &= check.endpoint_is_well(endpoint);
    }
    if !all_is_well {
        return Err(check.first.unwrap_or_default());
    }
    message::print("The test was successful. You are now ready to run the script.");
    Ok(())
}

struct Check<'a> {
    config: &'a Config,
    client: Client<'a>,
    /// What went wrong first.
    first: Option<String>,
}

impl<'a> Check<'a> {
    /// Says what went wrong.
    fn warn(&mut self, list: &str, place: &str, failure: &Failure) {
        let cause = cause(list, place, failure);
        message::warn(&cause);
        self.first.get_or_insert(cause);
    }

    /// Tests a server at the first of its addresses that is in order, as a run would use it.
    fn endpoint_is_well(&mut self, endpoint: &Endpoint) -> bool {
        let lists = Table::BOTH.into_iter().flat_map(|table| &self.config.table(table).lists);
        let first = lists.map(String::as_str).next().unwrap_or_default();
        let servers = match self.client.servers(endpoint) {
            Ok(servers) => servers,
            Err(failure) => {
                self.warn(first, &self.client.name(endpoint), &failure);
                return false;
            }
        };
        for server in servers {
            let lists = match self.client.connect(&server, self.client.attempt()) {
                Ok(connection) => self.lists(&server, connection),
                Err(failure) => Err((first, failure)),
            };
            match lists {
                Ok((found, all_found)) => {
                    message::print(format_args!("DNS Server {} is ready.", server.name));
                    found.iter().for_each(message::print);
                    return all_found;
                }
                Err((list, failure)) => self.warn(list, &server.place, &failure),
            }
        }
        false
    }

    /// What each list holds, in words, and whether all could be had.
    ///
    /// # Errors
    /// The failure that is the server's, and the list that was asked for.
    fn lists(
        &mut self,
        server: &Server,
        connection: Connection<'a>,
    ) -> Result<(Vec<String>, bool), (&'a str, Failure)> {
        let (mut found, mut all_found, mut open) = (Vec::new(), true, Some(connection));
        for table in Table::BOTH {
            let attempt = self.client.attempt();
            open.iter_mut().for_each(|connection| connection.begin(attempt.clone()));
            for list in self.config.table(table).lists.iter().map(String::as_str) {
                let mut connection = match open.take() {
                    Some(connection) => connection,
                    None => {
                        let connected = self.client.connect(server, attempt.clone());
                        connected.map_err(|failure| (list, failure))?
                    }
                };
                match self.list(&mut connection, list) {
                    Ok(words) => {
                        found.push(format!("{} list {list}: {words}", table.word()));
                        open = Some(connection);
                    }
                    Err(failure) if failure.is_the_servers() => return Err((list, failure)),
                    Err(failure) => {
                        self.warn(list, &server.place, &failure);
                        all_found = false;
                    }
                }
            }
        }
        Ok((found, all_found))
    }

    /// What a list is, in words: its form, its zone's serial if there is one, its size, and the
    /// time that it took.
    fn list(&self, connection: &mut Connection<'_>, list: &str) -> Result<String, Failure> {
        let start = Instant::now();
        let before = self.client.serial(connection, list)?;
        let got = self.client.list(connection, list, before.as_ref())?;
        let serial = got.serial.as_ref().or(before.as_ref());
        let serial =
            serial.map(|serial| format!(", serial {} of {}", serial.number, serial.zone)).unwrap_or_default();
        let seconds = start.elapsed().as_secs_f32();
        Ok(format!("{}{serial}, {} entries, {seconds:.1} s", got.format, got.entries()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APL, NONE, answering, hosts, serve};

    const LISTS: &str = "ALLOW_LIST=a.example\nBLOCK_LIST=\"b.example c.example\"";

    /// Tests servers of which each takes so many connections and answers `b.example` with a code;
    /// then one on whose port nobody listens, if so wanted.
    fn test(servers: &[(usize, u8)], nobody: bool) -> Result<(), String> {
        let (mut addresses, mut threads) = (Vec::new(), Vec::new());
        for &(connections, code) in servers {
            let handler = move |_| {
                answering(move |list, _| match list {
                    "b.example" if code != 0 => (code, vec![]),
                    _ => (0, vec![(APL, hosts(0..2))]),
                })
            };
            let (address, thread) = serve((0..connections).map(handler).collect());
            addresses.push(address.to_string());
            threads.push(thread);
        }
        if nobody {
            addresses.push("127.0.0.1:1".to_owned());
        }
        // The block table's two lists have as many; with the allow table's it would be too much.
        let limits = Limits { entries: 4, ..Limits::default() };
        let text = format!("DNS_SERVERS=\"{}\"\nLIST_FORMAT=apl\n{LISTS}", addresses.join(" "));
        let well = run(&Config::parse(text.as_bytes()).unwrap(), &NONE, limits);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        well
    }

    #[test]
    fn every_server_and_every_list_must_be_well() {
        assert_eq!(test(&[(1, 0), (1, 0)], false), Ok(()));
        // A fault of a list: the others are tested too, over a new connection.
        let failure = test(&[(2, 3)], false).unwrap_err();
        assert!(failure.starts_with("b.example at 127.0.0.1:") && failure.contains("NXDOMAIN"), "{failure}");
        // A fault of a server: the next one is tested too.
        let failure = test(&[(1, 5), (1, 0)], true).unwrap_err();
        assert!(failure.contains("REFUSED"), "the first one: {failure}");
        let failure = test(&[(1, 0)], true).unwrap_err();
        assert_eq!(failure, "a.example at 127.0.0.1:1: cannot connect: Connection refused");
    }
}
