//! The addresses of a configured name server.

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

/// Looks up all addresses of a server, in the system's order. The system's resolver has limits of
/// its own (resolv.conf(5)) for how long it takes.
///
/// # Errors
/// The name has no address.
pub fn resolve(endpoint: &Endpoint) -> Result<Vec<Server>, Failure> {
    let port = endpoint.port.unwrap_or(53);
    let found = (endpoint.host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| Failure::Unresolved(reason(&error)))?;
    let name = name(endpoint);
    let by_name = endpoint.host.parse::<std::net::IpAddr>().is_err();
    let mut servers: Vec<Server> = Vec::new();
    for address in found {
        let place = if by_name { format!("{name} ({})", address.ip()) } else { name.clone() };
        if !servers.iter().any(|server| server.address == address) {
            servers.push(Server { name: name.clone(), place, address });
        }
    }
    if servers.is_empty() { Err(Failure::Unresolved("none found".to_owned())) } else { Ok(servers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port: Some(port) }
    }

    #[test]
    fn says_what_is_configured_and_where_it_went() {
        let of = |host, port| resolve(&endpoint(host, port)).unwrap().remove(0);
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
        let failure = resolve(&endpoint("not..a.name", 53)).unwrap_err();
        assert!(matches!(failure, Failure::Unresolved(_)), "{failure}");
        assert!(failure.is_the_servers());
    }
}
