//! The addresses of a configured name server.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};

use common::config::Endpoint;
use common::error::reason;

use crate::failure::Failure;

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As it is configured; the port only if it is not the usual one.
    pub name: String,
    /// For errors: with the address, if it is configured by name.
    pub place: String,
    /// Where to connect.
    pub address: SocketAddr,
}

/// The name of a server as it is configured; the port only if it is not 53.
pub fn name(endpoint: &Endpoint) -> String {
    match endpoint.port {
        Some(53) | None => endpoint.host.clone(),
        Some(_) => endpoint.to_string(),
    }
}

/// The addresses that a run has looked up: each name once, though it was in vain, because that may
/// take as long as resolv.conf(5) has it.
#[derive(Debug, Default)]
pub struct Resolver {
    known: HashMap<String, Result<Vec<SocketAddr>, Failure>>,
}

impl Resolver {
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
        let found = self.known.entry(host.to_owned()).or_insert_with(|| look_up(host));
        found.clone().map(|addresses| servers(endpoint, addresses))
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
fn servers(endpoint: &Endpoint, found: Vec<SocketAddr>) -> Vec<Server> {
    let name = name(endpoint);
    let by_name = endpoint.host.parse::<std::net::IpAddr>().is_err();
    let mut servers: Vec<Server> = Vec::new();
    for mut address in found {
        address.set_port(endpoint.port.unwrap_or(53));
        let place = if by_name { format!("{name} ({})", address.ip()) } else { name.clone() };
        if !servers.iter().any(|server| server.address == address) {
            servers.push(Server { name: name.clone(), place, address });
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
        let of = |host, port| Resolver::default().resolve(&endpoint(host, port)).unwrap().remove(0);
        let server = of("192.0.2.1", 53);
        assert_eq!((server.name.as_str(), server.place.as_str()), ("192.0.2.1", "192.0.2.1"));
        assert_eq!(of("192.0.2.1", 5353).name, "192.0.2.1:5353");
        let server = of("2001:db8::1", 5353);
        assert_eq!((server.name.as_str(), server.address.port()), ("[2001:db8::1]:5353", 5353));
        let server = of("localhost", 53);
        assert_eq!(server.place, format!("localhost ({})", server.address.ip()));
    }

    #[test]
    fn a_name_without_address_says_so() {
        // The resolver refuses this one itself: the test asks no network.
        let failure = Resolver::default().resolve(&endpoint("not..a.name", 53)).unwrap_err();
        assert!(matches!(failure, Failure::Unresolved(_)), "{failure}");
        let sentence = failure.to_string();
        assert!(sentence.starts_with("cannot look up the server's name: "), "{sentence}");
        assert!(!sentence.contains("failed to lookup"), "{sentence}");
        assert!(failure.is_the_servers());
    }

    #[test]
    fn each_name_is_looked_up_once_found_or_not() {
        let mut resolver = Resolver::default();
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
