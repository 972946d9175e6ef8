//! The gateways of the routing table, by sysctl(3) on the BSDs.

#![cfg_attr(any(target_os = "openbsd", target_os = "freebsd"), allow(unsafe_code))]

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
#[cfg_attr(not(target_os = "openbsd"), allow(dead_code))]
const OPENBSD: Layout = Layout { version: 5, header: Header::At(4), addrs: 12, inet6: 24 };
/// FreeBSD 15, 64 bits: `rtm_addrs` at 12, 152 octets.
#[cfg_attr(not(target_os = "freebsd"), allow(dead_code))]
const FREEBSD: Layout = Layout { version: 5, header: Header::Fixed(152), addrs: 12, inet6: 28 };

/// `RTA_GATEWAY`, and the bits before it.
const RTA_GATEWAY: u32 = 0x2;
/// Sockaddrs are padded to a multiple of a long.
const ALIGN: usize = 8;

/// The gateways in a dump of messages; of a damaged one those up to the damage.
#[cfg_attr(not(any(target_os = "openbsd", target_os = "freebsd")), allow(dead_code))]
fn gateways_of(mut dump: &[u8], layout: Layout) -> Vec<IpAddr> {
    let mut found = Vec::new();
    while let Some(length) = dump.first_chunk().map(|length| usize::from(u16::from_ne_bytes(*length)))
        && length > 0
        && let Some((message, rest)) = dump.split_at_checked(length)
    {
        found.extend(gateway(message, layout));
        dump = rest;
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn gateway(message: &[u8], layout: Layout) -> Option<IpAddr> {
    if *message.get(2)? != layout.version {
        return None;
    }
    let header = match layout.header {
        Header::At(at) => usize::from(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?)),
        Header::Fixed(length) => length,
    };
    let addrs = u32::from_ne_bytes(*message.get(layout.addrs..)?.first_chunk()?);
    let mut sockaddrs = message.get(header..)?;
    for bit in [1, RTA_GATEWAY] {
        if addrs & bit == 0 {
            continue;
        }
        if bit == RTA_GATEWAY {
            return address(sockaddrs, layout.inet6);
        }
        let length = usize::from(*sockaddrs.first()?).max(1).checked_next_multiple_of(ALIGN)?;
        sockaddrs = sockaddrs.get(length..)?;
    }
    None
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
    let mut octets = *sockaddr.get(8..)?.first_chunk::<16>()?;
    // The kernel keeps the interface of a link-local address in its second group.
    if let [0xfe, 0x80, scope @ .., _, _, _, _, _, _, _, _, _, _, _, _] = &mut octets {
        *scope = [0, 0];
    }
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// The gateways of this machine's routing table.
///
/// # Errors
/// The table cannot be read.
#[cfg(any(target_os = "openbsd", target_os = "freebsd"))]
pub fn gateways() -> Result<Vec<IpAddr>, Error> {
    #[cfg(target_os = "openbsd")]
    const LAYOUT: Layout = OPENBSD;
    #[cfg(target_os = "freebsd")]
    const LAYOUT: Layout = FREEBSD;
    Ok(gateways_of(&dump()?, LAYOUT))
}

/// Linux is no target: there is no pf to protect from.
///
/// # Errors
/// None.
#[cfg(not(any(target_os = "openbsd", target_os = "freebsd")))]
pub fn gateways() -> Result<Vec<IpAddr>, Error> {
    Ok(Vec::new())
}

/// All routes with a gateway. A router with a full table of the Internet has too many to read,
/// but its gateways are on connected subnets, which are protected anyway.
#[cfg(any(target_os = "openbsd", target_os = "freebsd"))]
fn dump() -> Result<Vec<u8>, Error> {
    use std::ffi::c_int;

    const MOST: usize = 32 << 20;
    let failed = || Error::new("routing table", nix::errno::Errno::last().desc());
    let name: [c_int; 6] = [libc::CTL_NET, libc::PF_ROUTE, 0, 0, libc::NET_RT_FLAGS, libc::RTF_GATEWAY];
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
            return Ok(Vec::new());
        }
        let mut dump = vec![0u8; length.saturating_add(length / 8)];
        let mut length = dump.len();
        // SAFETY: the name has six elements and the buffer `length` octets; no more is written.
        let read = unsafe {
            libc::sysctl(name.as_ptr(), 6, dump.as_mut_ptr().cast(), &mut length, std::ptr::null_mut(), 0)
        };
        if read == 0 {
            dump.truncate(length);
            return Ok(dump);
        }
        if nix::errno::Errno::last() != nix::errno::Errno::ENOMEM {
            return Err(failed());
        }
    }
    Err(Error::new("routing table", "changes too fast to be read"))
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
            let found: Vec<String> = gateways_of(&dump, layout).iter().map(IpAddr::to_string).collect();
            assert_eq!(found, ["192.0.2.1", "192.0.2.9", "2001:db8::1", "fe80::1"]);
            for length in 0..dump.len() {
                let found = gateways_of(&dump[..length], layout);
                assert!(found.len() <= 4, "{length}");
            }
        }
    }

    #[test]
    fn another_version_is_passed_over() {
        let mut message = message(OPENBSD, 3, &[v4([0; 4]), v4([192, 0, 2, 1])]);
        message[2] = 4;
        assert_eq!(gateways_of(&message, OPENBSD), [""; 0].map(|_: &str| IpAddr::from([0; 4])));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_passed_over(dump in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = gateways_of(&dump, OPENBSD);
            let _ = gateways_of(&dump, FREEBSD);
        }
    }
}
