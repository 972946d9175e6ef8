//! The addresses of a configured name server.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};

use common::config::Endpoint;
use common::error::reason;

use crate::failure::Failure;

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name or address alone, for which its certificate has to be.
    pub host: String,
    /// As it is configured; the port only if it is not the usual one.
    pub name: String,
    /// For errors: with the address, if it is configured by name.
    pub place: String,
    /// Where to connect.
    pub address: SocketAddr,
}

/// The addresses that a run has looked up: each name once, though it was in vain, because that may
/// take as long as resolv.conf(5) has it.
#[derive(Debug)]
pub struct Resolver {
    usual_port: u16,
    known: HashMap<String, Result<Vec<SocketAddr>, Failure>>,
}

impl Resolver {
    /// Nothing is looked up yet; with the port that servers usually have.
    pub fn new(usual_port: u16) -> Resolver {
        Resolver { usual_port, known: HashMap::new() }
    }

    /// Takes these for a name's addresses.
    #[cfg(test)]
    pub fn know(&mut self, host: &str, found: Vec<SocketAddr>) {
        self.known.insert(host.to_owned(), Ok(found));
    }

    /// The name of a server as it is configured; the port only if it is not the usual one.
    pub fn name(&self, endpoint: &Endpoint) -> String {
        match endpoint.port {
            Some(port) if port != self.usual_port => endpoint.to_string(),
            _ => endpoint.host.clone(),
        }
    }

    /// All addresses of a server, in the system's order.
    ///
    /// # Errors
    /// The name has no address.
    pub fn resolve(&mut self, endpoint: &Endpoint) -> Result<Vec<Server>, Failure> {
        self.resolve_with(endpoint, look_up)
    }

    fn resolve_with(
        &mut self,
        endpoint: &Endpoint,
        look_up: impl FnOnce(&str) -> Result<Vec<SocketAddr>, Failure>,
    ) -> Result<Vec<Server>, Failure> {
        let host = endpoint.host.as_str();
        let found = self.known.entry(host.to_owned()).or_insert_with(|| look_up(host)).clone()?;
        let port = endpoint.port.unwrap_or(self.usual_port);
        Ok(servers(&self.name(endpoint), host, port, found))
    }
}

/// Asks the system, getaddrinfo(3).
fn look_up(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| {
            let words = reason(&error);
            let words = words.strip_prefix("failed to lookup address information: ").unwrap_or(&words);
            Failure::Unresolved(words.to_owned())
        })?
        .collect();
    if found.is_empty() { Err(Failure::Unresolved("no address found".to_owned())) } else { Ok(found) }
}

/// A server at each of its addresses, without duplicates.
fn servers(name: &str, host: &str, port: u16, found: Vec<SocketAddr>) -> Vec<Server> {
    let by_name = host.parse::<std::net::IpAddr>().is_err();
    let mut servers: Vec<Server> = Vec::new();
    for mut address in found {
        address.set_port(port);
        let place = if by_name { format!("{name} ({})", address.ip()) } else { name.to_owned() };
        if !servers.iter().any(|server| server.address == address) {
            servers.push(Server { host: host.to_owned(), name: name.to_owned(), place, address });
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port: Some(port) }
    }

    #[test]
    fn says_what_is_configured_and_where_it_went() {
        let of = |host, port| Resolver::new(53).resolve(&endpoint(host, port)).unwrap().remove(0);
        let server = of("192.0.2.1", 53);
        assert_eq!((server.name.as_str(), server.place.as_str()), ("192.0.2.1", "192.0.2.1"));
        assert_eq!(of("192.0.2.1", 5353).name, "192.0.2.1:5353");
        let server = of("2001:db8::1", 5353);
        assert_eq!((server.name.as_str(), server.address.port()), ("[2001:db8::1]:5353", 5353));
        let server = of("localhost", 53);
        assert_eq!(server.place, format!("localhost ({})", server.address.ip()));
        let of = |port| Resolver::new(853).resolve(&endpoint("192.0.2.1", port)).unwrap().remove(0).name;
        assert_eq!([of(853), of(53)], ["192.0.2.1", "192.0.2.1:53"]);
    }

    #[test]
    fn a_name_without_address_says_so() {
        // The resolver refuses this one itself: the test asks no network.
        let failure = Resolver::new(53).resolve(&endpoint("not..a.name", 53)).unwrap_err();
        assert!(matches!(failure, Failure::Unresolved(_)), "{failure}");
        let sentence = failure.to_string();
        assert!(sentence.starts_with("cannot look up the server's name: "), "{sentence}");
        assert!(!sentence.contains("failed to lookup"), "{sentence}");
        assert!(failure.is_the_servers());
    }

    #[test]
    fn each_name_is_looked_up_once_found_or_not() {
        let mut resolver = Resolver::new(53);
        let mut asked = Vec::new();
        let mut resolve = |host: &str, port| {
            let servers = resolver.resolve_with(&endpoint(host, port), |host| {
                asked.push(host.to_owned());
                match host {
                    "good.example" => Ok(vec!["192.0.2.1:0".parse().unwrap(); 2]),
                    _ => Err(Failure::Unresolved("unknown".to_owned())),
                }
            });
            servers.map(|servers| servers.iter().map(|server| server.address.to_string()).collect::<Vec<_>>())
        };
        for _ in 0..2 {
            assert_eq!(resolve("good.example", 53).unwrap(), ["192.0.2.1:53"]);
            assert_eq!(resolve("good.example", 5353).unwrap(), ["192.0.2.1:5353"]);
            assert_eq!(resolve("bad.example", 53), Err(Failure::Unresolved("unknown".to_owned())));
        }
        assert_eq!(asked, ["good.example", "bad.example"]);
    }
}
