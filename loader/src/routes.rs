//! Gateways and networks from the kernel's routing tables, by sysctl(3) on the BSDs.

#![cfg_attr(any(target_os = "openbsd", target_os = "freebsd"), allow(unsafe_code))]
// Each system uses what it needs; all of it is tested everywhere.
#![cfg_attr(not(test), allow(dead_code))]

use std::ffi::c_int;
use std::net::{IpAddr, Ipv6Addr};

use common::Error;

/// Offsets in `struct rt_msghdr` (net/route.h) that differ between systems.
#[derive(Clone, Copy)]
struct Layout {
    /// `rtm_version`.
    version: u8,
    /// Where the sockaddrs begin.
    header: Header,
    /// `rtm_addrs`, an int.
    addrs: usize,
    /// `AF_INET6`.
    inet6: u8,
}

/// How long a header is.
#[derive(Clone, Copy)]
enum Header {
    /// As `rtm_hdrlen` says, an unsigned short at this offset.
    At(usize),
    /// That many octets.
    Fixed(usize),
}

/// OpenBSD 7.8: `rtm_hdrlen` at 4, `rtm_addrs` at 12.
const OPENBSD: Layout = Layout { version: 5, header: Header::At(4), addrs: 12, inet6: 24 };
/// FreeBSD 15, 64 bits: `rtm_addrs` at 12, 152 octets.
const FREEBSD: Layout = Layout { version: 5, header: Header::Fixed(152), addrs: 12, inet6: 28 };

/// `RTA_GATEWAY`, `RTA_NETMASK` and `RTA_IFA`: which sockaddr of a message.
const RTA_GATEWAY: u32 = 0x2;
const RTA_NETMASK: u32 = 0x4;
const RTA_IFA: u32 = 0x20;
/// `RTF_GATEWAY` and `RTF_STATIC` (net/route.h): which routes are asked for.
const RTF_GATEWAY: c_int = 0x2;
const RTF_STATIC: c_int = 0x800;
/// `RTM_NEWADDR`: a message about an address of an interface.
const RTM_NEWADDR: u8 = 0xc;
/// Sockaddrs are padded to a multiple of a long.
const ALIGN: usize = 8;

/// The gateways of this machine, and a note if not all of them could be seen.
type Gateways = (Vec<IpAddr>, Option<String>);

/// The gateways that `dump` gives for routes with a flag; it gives `None` if they are too many.
///
/// A router with a full table of the Internet has too many. Then those that route(8), dhcpleased(8)
/// and slaacd(8) made are left, the default route among them: the flag tells them from what a
/// routing daemon learned.
fn gateways_by(
    layout: Layout,
    mut dump: impl FnMut(c_int) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Gateways, Error> {
    let mut read = |flag| match dump(flag)?.map(|dump| gateways_of(&dump, layout)) {
        Some(None) => Err(Error::new("routing table", "damaged")),
        found => Ok(found.flatten()),
    };
    if let Some(all) = read(RTF_GATEWAY)? {
        return Ok((all, None));
    }
    let (found, which) = match read(RTF_STATIC)? {
        Some(found) => (found, "only gateways of static routes are"),
        None => (Vec::new(), "no gateway is"),
    };
    let note = format!(
        "the routing table is too large to be read: {which} protected beside the connected subnets; \
         put others into NEVER_BLOCK"
    );
    Ok((found, Some(note)))
}

/// The gateways in a dump of the routing table; `None` if it is damaged.
fn gateways_of(dump: &[u8], layout: Layout) -> Option<Vec<IpAddr>> {
    let gateway = |message: &&[u8]| address(sockaddr(message, layout, RTA_GATEWAY)?, layout.inet6);
    let mut found: Vec<IpAddr> = messages(dump)?.iter().filter_map(gateway).collect();
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// The addresses in a dump of the interfaces, each with its mask; `None` if it is damaged.
///
/// getifaddrs(3) has them too, but the kernel of OpenBSD gives a mask no family, and cuts its
/// length down to the last octet that is not zero.
fn networks_of(dump: &[u8], layout: Layout) -> Option<Vec<(IpAddr, IpAddr)>> {
    let network = |message: &&[u8]| {
        if *message.get(3)? != RTM_NEWADDR {
            return None;
        }
        let address = address(sockaddr(message, layout, RTA_IFA)?, layout.inet6)?;
        let mask = sockaddr(message, layout, RTA_NETMASK)?;
        let mask = mask.get(..usize::from(*mask.first()?)).unwrap_or(mask);
        let octet = |at: usize| mask.get(at).copied().unwrap_or(0);
        Some((
            address,
            match address {
                IpAddr::V4(_) => IpAddr::from([4, 5, 6, 7].map(octet)),
                IpAddr::V6(_) => {
                    IpAddr::from([8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23].map(octet))
                }
            },
        ))
    };
    Some(messages(dump)?.iter().filter_map(network).collect())
}

/// The messages of a dump; `None` if one is longer than what is left, or has no length.
fn messages(mut dump: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !dump.is_empty() {
        let length = usize::from(u16::from_ne_bytes(*dump.first_chunk()?));
        let (message, rest) = dump.split_at_checked(length).filter(|_| length > 0)?;
        found.push(message);
        dump = rest;
    }
    Some(found)
}

/// One of the sockaddrs of a message, and what follows it.
fn sockaddr(message: &[u8], layout: Layout, wanted: u32) -> Option<&[u8]> {
    if *message.get(2)? != layout.version {
        return None;
    }
    let header = match layout.header {
        Header::At(at) => usize::from(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?)),
        Header::Fixed(length) => length,
    };
    let addrs = u32::from_ne_bytes(*message.get(layout.addrs..)?.first_chunk()?);
    if addrs & wanted == 0 {
        return None;
    }
    let mut rest = message.get(header..)?;
    // Those before it, each in its place if its bit is set.
    for _ in 0..(addrs & wanted.wrapping_sub(1)).count_ones() {
        let length = usize::from(*rest.first()?).max(1).checked_next_multiple_of(ALIGN)?;
        rest = rest.get(length..)?;
    }
    Some(rest)
}

/// The address of a `sockaddr_in` or `sockaddr_in6`.
fn address(sockaddr: &[u8], inet6: u8) -> Option<IpAddr> {
    let family = *sockaddr.get(1)?;
    if family == 2 {
        return Some(IpAddr::from(*sockaddr.get(4..)?.first_chunk::<4>()?));
    }
    if family != inet6 {
        return None;
    }
    let octets = *sockaddr.get(8..)?.first_chunk::<16>()?;
    Some(IpAddr::V6(without_scope(Ipv6Addr::from(octets))))
}

/// A link-local address as packets have it: the kernel keeps the interface in its second group, and
/// OpenBSD's getifaddrs(3) leaves it there.
pub fn without_scope(address: Ipv6Addr) -> Ipv6Addr {
    match address.segments() {
        [0xfe80, _, c, d, e, f, g, h] => Ipv6Addr::new(0xfe80, 0, c, d, e, f, g, h),
        _ => address,
    }
}

/// The gateways of this machine's routing table, and a note if not all of them could be seen. Linux
/// is no target: there it has none.
///
/// # Errors
/// The table cannot be read.
pub fn gateways() -> Result<Gateways, Error> {
    system::gateways()
}

/// The addresses of this machine with their masks, where getifaddrs(3) does not have them.
///
/// # Errors
/// They cannot be read.
pub fn networks() -> Result<Vec<(IpAddr, IpAddr)>, Error> {
    system::networks()
}

#[cfg(not(any(target_os = "openbsd", target_os = "freebsd")))]
mod system {
    use std::net::IpAddr;

    use common::Error;

    pub fn gateways() -> Result<super::Gateways, Error> {
        Ok((Vec::new(), None))
    }

    pub fn networks() -> Result<Vec<(IpAddr, IpAddr)>, Error> {
        Ok(Vec::new())
    }
}

#[cfg(any(target_os = "openbsd", target_os = "freebsd"))]
mod system {
    use std::ffi::c_int;
    use std::net::IpAddr;

    use common::Error;
    use nix::errno::Errno;

    #[cfg(target_os = "freebsd")]
    use super::FREEBSD as LAYOUT;
    #[cfg(target_os = "openbsd")]
    use super::OPENBSD as LAYOUT;

    /// The largest dump that is read, in octets.
    const MOST: usize = 32 << 20;

    pub fn gateways() -> Result<super::Gateways, Error> {
        super::gateways_by(LAYOUT, |flag| dump(libc::NET_RT_FLAGS, flag))
    }

    pub fn networks() -> Result<Vec<(IpAddr, IpAddr)>, Error> {
        if cfg!(target_os = "freebsd") {
            return Ok(Vec::new());
        }
        let found = dump(libc::NET_RT_IFLIST, 0)?.and_then(|dump| super::networks_of(&dump, LAYOUT));
        found.ok_or_else(|| Error::new("interfaces", "the kernel's list is damaged"))
    }

    /// A dump by sysctl(3); `None` if it is too large.
    fn dump(kind: c_int, argument: c_int) -> Result<Option<Vec<u8>>, Error> {
        let failed = || Error::new("routing table", Errno::last().desc());
        let name: [c_int; 6] = [libc::CTL_NET, libc::PF_ROUTE, 0, 0, kind, argument];
        // Routes may be added between the two calls.
        for _ in 0..5 {
            let mut length = 0;
            // SAFETY: the name has six elements; without a buffer only the length is written.
            let asked = unsafe {
                libc::sysctl(name.as_ptr(), 6, std::ptr::null_mut(), &mut length, std::ptr::null_mut(), 0)
            };
            if asked == -1 {
                return Err(failed());
            }
            if length > MOST {
                return Ok(None);
            }
            let mut dump = vec![0u8; length.saturating_add(length / 8)];
            let mut length = dump.len();
            // SAFETY: the name has six elements and the buffer `length` octets; no more is written.
            let read = unsafe {
                libc::sysctl(name.as_ptr(), 6, dump.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0)
            };
            if read == 0 {
                dump.truncate(length);
                return Ok(Some(dump));
            }
            if Errno::last() != Errno::ENOMEM {
                return Err(failed());
            }
        }
        Err(Error::new("routing table", "changes too fast to be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message with a header, and these sockaddrs as RTA_DST and so on.
    fn message(layout: Layout, addrs: u32, sockaddrs: &[Vec<u8>]) -> Vec<u8> {
        let header = match layout.header {
            Header::At(_) => 96,
            Header::Fixed(length) => length,
        };
        let mut message = vec![0; header];
        for sockaddr in sockaddrs {
            message.extend(sockaddr);
            message.resize(message.len().next_multiple_of(ALIGN), 0);
        }
        let length = (message.len() as u16).to_ne_bytes();
        message[..2].copy_from_slice(&length);
        message[2] = layout.version;
        if let Header::At(at) = layout.header {
            message[at..at + 2].copy_from_slice(&(header as u16).to_ne_bytes());
        }
        message[layout.addrs..layout.addrs + 4].copy_from_slice(&addrs.to_ne_bytes());
        message
    }

    fn v4(octets: [u8; 4]) -> Vec<u8> {
        [&[16, 2, 0, 0][..], &octets, &[0; 8]].concat()
    }

    fn v6(layout: Layout, address: &str) -> Vec<u8> {
        let octets = address.parse::<Ipv6Addr>().unwrap().octets();
        [&[28, layout.inet6, 0, 0, 0, 0, 0, 0][..], &octets, &[0; 4]].concat()
    }

    #[test]
    fn gateways_are_found_in_both_layouts() {
        for layout in [OPENBSD, FREEBSD] {
            let link = vec![20, 18, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let dump = [
                message(layout, 7, &[v4([0, 0, 0, 0]), v4([192, 0, 2, 1]), vec![0; 8]]),
                message(layout, 2, &[v4([192, 0, 2, 9])]),
                message(layout, 3, &[v6(layout, "::"), v6(layout, "fe80:1::1")]),
                message(layout, 3, &[v6(layout, "2001:db8::"), v6(layout, "2001:db8::1")]),
                message(layout, 3, &[v4([192, 0, 2, 0]), link]),
                message(layout, 1, &[v4([192, 0, 2, 0])]),
                message(layout, 3, &[v4([10, 0, 0, 0]), v4([192, 0, 2, 1])]),
            ]
            .concat();
            let found: Vec<String> =
                gateways_of(&dump, layout).unwrap().iter().map(IpAddr::to_string).collect();
            assert_eq!(found, ["192.0.2.1", "192.0.2.9", "2001:db8::1", "fe80::1"]);
            for length in 1..dump.len() {
                let _ = gateways_of(&dump[..length], layout);
            }
            assert_eq!(gateways_of(&dump[..dump.len() - 1], layout), None, "damaged");
        }
    }

    /// As OpenBSD's kernel gives them: a mask without family, cut to its last octet that is not zero.
    #[test]
    fn masks_are_read_as_openbsd_cuts_them() {
        let network = |address: Vec<u8>, mask: Vec<u8>| {
            let name = vec![16, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut message = message(OPENBSD, RTA_NETMASK | 0x10 | RTA_IFA, &[mask, name, address]);
            message[3] = RTM_NEWADDR;
            networks_of(&message, OPENBSD).unwrap()
        };
        for (mask, wanted) in [
            (vec![7, 0, 0, 0, 255, 255, 255, 0], "255.255.255.0"),
            (vec![8, 0, 0, 0, 255, 255, 255, 248], "255.255.255.248"),
            (vec![5, 0, 0, 0, 255, 9, 9, 9], "255.0.0.0"),
            (vec![0, 0, 0, 0, 0, 0, 0, 0], "0.0.0.0"),
        ] {
            let wanted: Vec<(IpAddr, IpAddr)> = vec![("192.0.2.7".parse().unwrap(), wanted.parse().unwrap())];
            assert_eq!(network(v4([192, 0, 2, 7]), mask), wanted);
        }
        let mask = [&[16, 0, 0, 0, 0, 0, 0, 0][..], &[255; 8]].concat();
        let wanted: Vec<(IpAddr, IpAddr)> =
            vec![("2001:db8::7".parse().unwrap(), "ffff:ffff:ffff:ffff::".parse().unwrap())];
        assert_eq!(network(v6(OPENBSD, "2001:db8::7"), mask), wanted);
        assert_eq!(
            networks_of(&message(OPENBSD, 3, &[v4([0; 4]), v4([1; 4])]), OPENBSD),
            Some(vec![]),
            "a route"
        );
    }

    #[test]
    fn of_a_table_that_is_too_large_the_static_routes_are_read() {
        let gateway = |host| message(OPENBSD, 3, &[v4([0; 4]), v4([192, 0, 2, host])]);
        let names = |(found, note): Gateways| (found.iter().map(IpAddr::to_string).collect::<Vec<_>>(), note);
        let all = gateways_by(OPENBSD, |flag| Ok((flag == RTF_GATEWAY).then(|| gateway(1))));
        assert_eq!(names(all.unwrap()), (vec!["192.0.2.1".to_owned()], None));
        let (found, note) =
            names(gateways_by(OPENBSD, |flag| Ok((flag == RTF_STATIC).then(|| gateway(2)))).unwrap());
        assert_eq!(found, ["192.0.2.2"]);
        assert!(note.unwrap().contains("only gateways of static routes are protected"));
        let (found, note) = gateways_by(OPENBSD, |_| Ok(None)).unwrap();
        assert!(found.is_empty() && note.unwrap().contains("no gateway is protected"));
        for broken in [RTF_GATEWAY, RTF_STATIC] {
            let dump = |flag| Ok((flag == broken).then(|| vec![1]));
            assert_eq!(gateways_by(OPENBSD, dump).unwrap_err().to_string(), "routing table: damaged");
        }
        assert!(gateways_by(OPENBSD, |_| Err(Error::new("routing table", "x"))).is_err());
    }

    #[test]
    fn another_version_is_passed_over() {
        let mut message = message(OPENBSD, 3, &[v4([0; 4]), v4([192, 0, 2, 1])]);
        message[2] = 4;
        assert_eq!(gateways_of(&message, OPENBSD), Some(vec![]));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_passed_over(dump in proptest::collection::vec(any::<u8>(), 0..600)) {
            for layout in [OPENBSD, FREEBSD] {
                let _ = (gateways_of(&dump, layout), networks_of(&dump, layout));
            }
        }
    }
}
