//! The test run, `-t`: is each server ready, does each list resolve. Writes nothing.

use common::config::{Config, Endpoint, Table};
use common::message;

use crate::client::{Client, resolve, warn};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::server::Server;

/// Tests every configured server with every list and prints what it finds; what is wrong goes to
/// standard error. Says whether all is well.
pub fn run(config: &Config, limits: Limits) -> bool {
    let client = Client::new(config, limits);
    let lists: Vec<(Table, &str)> = Table::BOTH
        .into_iter()
        .flat_map(|table| config.table(table).lists.iter().map(move |list| (table, list.as_str())))
        .collect();
    let mut all_is_well = true;
    for endpoint in &config.dns_servers {
        all_is_well &= server_is_well(&client, endpoint, &lists);
    }
    if all_is_well {
        message::print("The test was successful. You are now ready to run the script.");
    }
    all_is_well
}

/// Tests a server at the first of its addresses that is in order, as a run would use it.
fn server_is_well(client: &Client<'_>, endpoint: &Endpoint, lists: &[(Table, &str)]) -> bool {
    let Some(&(_, first)) = lists.first() else { return false };
    for server in resolve(endpoint, first) {
        match lists_of(client, &server, lists) {
            Ok((found, all_found)) => {
                message::print(format_args!("DNS Server {} is ready.", server.name));
                found.iter().for_each(message::print);
                return all_found;
            }
            Err((list, failure)) => warn(list, &server.place, &failure),
        }
    }
    false
}

/// What each list holds, in words, and whether all could be had.
///
/// # Errors
/// The failure that is the server's, and the list that was asked for.
fn lists_of<'l>(
    client: &Client<'_>,
    server: &Server,
    lists: &[(Table, &'l str)],
) -> Result<(Vec<String>, bool), (&'l str, Failure)> {
    let (mut found, mut all_found) = (Vec::new(), true);
    let mut open = None;
    for &(table, list) in lists {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => client.connect(server.address).map_err(|failure| (list, failure))?,
        };
        match client.list(&mut connection, list) {
            Ok(got) => {
                found.push(format!(
                    "{} list {list}: {}, {} entries",
                    table.word(),
                    got.format,
                    got.entries()
                ));
                open = Some(connection);
            }
            Err(failure) if failure.is_the_servers() => return Err((list, failure)),
            Err(failure) => {
                warn(list, &server.place, &failure);
                all_found = false;
            }
        }
    }
    Ok((found, all_found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APL, answering, hosts, serve};

    const LISTS: &str = "ALLOW_LIST=a.example\nBLOCK_LIST=\"b.example c.example\"";

    /// Tests servers of which each takes so many connections and answers `b.example` with a code.
    fn test(servers: &[(usize, u8)]) -> bool {
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
        let text = format!("DNS_SERVERS=\"{}\"\nLIST_FORMAT=apl\n{LISTS}", addresses.join(" "));
        let well = run(&Config::parse(text.as_bytes()).unwrap(), Limits::default());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        well
    }

    #[test]
    fn every_server_and_every_list_must_be_well() {
        assert!(test(&[(1, 0), (1, 0)]));
        // A fault of a list: the others are tested too, over a new connection.
        assert!(!test(&[(2, 3)]));
        // A fault of a server: the next one is tested too.
        assert!(!test(&[(1, 5), (1, 0)]));
        assert!(!test(&[(1, 0), (0, 0)]), "nobody listens");
    }
}
