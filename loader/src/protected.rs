//! What is never blocked: `NEVER_BLOCK`, and what this machine needs to be reached and to reach.
//!
//! All of it is asked for before the sandbox, and is a property of this machine: a new address by
//! DHCP changes it, and with it the table.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use common::set::PrefixSet;
use common::{Config, Error, prefix};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::routes;

/// Where the addresses of the resolvers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The largest resolv.conf(5) that is read, in octets.
const MAX_RESOLV_CONF: u64 = 64 << 10;
/// Connected subnets with shorter prefixes than these are not protected as a whole, only the
/// machine's address: a point-to-point link may have the mask 0.0.0.0.
const MIN_SUBNET: (u8, u8) = (8, 16);

/// A protected prefix, and what makes it one.
pub type Reason = (IpNet, &'static str);

/// Everything that is protected, each with its reason, and a note on what could not be seen.
///
/// # Errors
/// The machine's addresses or routes cannot be had: what cannot be protected must not be blocked.
pub fn reasons(config: &Config) -> Result<(Vec<Reason>, Option<String>), Error> {
    let mut found: Vec<Reason> = config.never_block.iter().map(|net| (*net, "NEVER_BLOCK")).collect();
    found.extend(interfaces()?);
    let (gateways, unseen) = routes::gateways()?;
    found.extend(gateways.into_iter().filter_map(|gateway| host(gateway, "a gateway")));
    found.extend(resolvers(&resolv_conf()?).into_iter().filter_map(|resolver| host(resolver, "a resolver")));
    Ok((found, unseen))
}

/// The prefixes alone.
pub fn set(reasons: &[Reason]) -> PrefixSet {
    reasons.iter().map(|(net, _)| *net).collect()
}

/// The machine's addresses, the subnets they are in, and the other ends of point-to-point links.
fn interfaces() -> Result<Vec<Reason>, Error> {
    let addresses = getifaddrs().map_err(|errno| Error::new("interfaces", errno.desc()))?;
    let mut found = Vec::new();
    for interface in addresses {
        let [address, mask, other] =
            [interface.address, interface.netmask, interface.destination].map(|address| address.and_then(ip));
        found.extend(address.and_then(|address| host(address, "an address of this machine")));
        found.extend(address.zip(mask).and_then(|(address, mask)| subnet(address, mask)));
        found.extend(other.and_then(|other| host(other, "the other end of a link")));
    }
    for (address, mask) in routes::networks()? {
        found.extend(host(address, "an address of this machine"));
        found.extend(subnet(address, mask));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(routes::without_scope(v6.ip()))))
}

/// A connected subnet, unless it is too large to be one.
fn subnet(address: IpAddr, mask: IpAddr) -> Option<Reason> {
    let length = ipnet::ip_mask_to_prefix(mask).ok().filter(|_| address.is_ipv4() == mask.is_ipv4())?;
    let least = if address.is_ipv4() { MIN_SUBNET.0 } else { MIN_SUBNET.1 };
    let net = prefix::from_parts(address, length).ok()?;
    (length >= least).then_some((net, "a connected subnet"))
}

fn host(address: IpAddr, reason: &'static str) -> Option<Reason> {
    let net = prefix::from_parts(address, if address.is_ipv4() { 32 } else { 128 }).ok()?;
    Some((net, reason))
}

fn resolv_conf() -> Result<Vec<u8>, Error> {
    let path = Path::new(RESOLV_CONF);
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_RESOLV_CONF).read_to_end(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io(path, &error)),
    }
}

/// The resolvers of a resolv.conf(5): `nameserver address`, on OpenBSD also `[address]:port`.
/// Scopes are cut off; a line that is something else names no resolver.
fn resolvers(text: &[u8]) -> Vec<IpAddr> {
    let address = |line: &[u8]| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let word = words.next().filter(|keyword| *keyword == "nameserver").and(words.next())?;
        let word = word.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(word);
        word.split('%').next()?.parse().ok()
    };
    text.split(|octet| *octet == b'\n').filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_that_resolv_conf_names() {
        let text = b"# nameserver 192.0.2.1\nsearch example.org\nnameserver 192.0.2.53 # comment\n\
            \tnameserver\t2001:db8::53\nnameserver fe80::1%em0\nnameserver [2001:db8::54]:5353\nnameserver\n\
            nameserver resolver.example\nnameservers 192.0.2.2\n\xff\nnameserver 127.0.0.1";
        let found: Vec<String> = resolvers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "2001:db8::53", "fe80::1", "2001:db8::54", "127.0.0.1"]);
    }

    #[test]
    fn a_link_local_address_has_no_scope_in_a_packet() {
        for (given, wanted) in [
            ("fe80:5::1", "fe80::1"),
            ("fe80::1", "fe80::1"),
            ("2001:5::1", "2001:5::1"),
            ("fe81:5::1", "fe81:5::1"),
        ] {
            let given = SockaddrStorage::from(std::net::SocketAddrV6::new(given.parse().unwrap(), 0, 0, 0));
            assert_eq!(ip(given), Some(wanted.parse().unwrap()));
        }
    }

    #[test]
    fn a_subnet_is_protected_unless_it_is_the_whole_world() {
        let net = |address: &str, mask: &str| {
            subnet(address.parse().unwrap(), mask.parse().unwrap()).map(|(net, _)| net.to_string())
        };
        assert_eq!(net("192.0.2.7", "255.255.255.0").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(net("2001:db8::7", "ffff:ffff:ffff:ffff::").as_deref(), Some("2001:db8::/64"));
        assert_eq!(net("192.0.2.7", "0.0.0.0"), None);
        assert_eq!(net("192.0.2.7", "254.0.0.0"), None);
        assert_eq!(net("192.0.2.7", "255.0.255.0"), None, "no mask of a prefix");
        assert_eq!(net("192.0.2.7", "ffff::"), None);
    }

    #[test]
    fn this_machine_is_protected_from_its_policy() {
        let config = Config::parse(b"NEVER_BLOCK=\"198.51.100.0/24\"").unwrap();
        let (reasons, _) = reasons(&config).unwrap();
        assert_eq!(reasons[0], ("198.51.100.0/24".parse().unwrap(), "NEVER_BLOCK"));
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(reasons.iter().any(|(net, _)| net.addr() == loopback), "{reasons:?}");
        assert!(set(&reasons).iter().any(|net| net.contains(&loopback)));
    }
}
