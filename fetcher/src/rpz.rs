//! Prefixes in the owner names of a response policy zone (draft-vixie-dnsop-dns-rpz).
//!
//! `24.0.2.0.192.rpz-ip.ZONE` is 192.0.2.0/24, `48.zz.1.db8.2001.rpz-ip.ZONE` is 2001:db8:1::/48:
//! the prefix length comes first, then the octets (decimal) or groups (hexadecimal) in reverse;
//! `zz` stands for a run of zero groups, as `::` does.
//!
//! Of the actions only the exception is told apart: a CNAME to `rpz-passthru.` takes its prefix
//! out of the list, as APL's `!` does. All others (NXDOMAIN, NODATA, drop, TCP only, an answer
//! of the zone's own) say that the address is not wanted. A resolver prefers the longest
//! prefix; here an exception also holds against a longer one inside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::prefix;
use ipnet::IpNet;

use crate::wire;

/// Whether a CNAME's target (canonical wire form) makes the trigger an exception.
///
/// # Errors
/// The target is one of the names reserved for actions (`rpz-` and more), but none that is known.
pub fn is_exception(target: &[u8]) -> Result<bool, String> {
    match target {
        b"\x0crpz-passthru\0" => Ok(true),
        b"\x08rpz-drop\0" | b"\x0crpz-tcp-only\0" => Ok(false),
        _ if wire::labels(target).last().is_some_and(|label| label.starts_with(b"rpz-")) => {
            Err(format!("the RPZ action {} is not known", wire::text(target)))
        }
        _ => Ok(false),
    }
}

/// The prefix that the labels before `rpz-ip` stand for, in canonical wire form without a last
/// zero.
///
/// # Errors
/// Says what the labels are not. 0 is not taken as a prefix length, nor are zeros in front of a
/// number, nor address bits beyond the length.
pub fn prefix(owner: &[u8]) -> Result<IpNet, String> {
    let mut all = [&b""[..]; MOST_LABELS];
    let mut count = 0usize;
    for label in wire::labels(owner) {
        *all.get_mut(count).ok_or("too many labels for a prefix")? = label;
        count = count.saturating_add(1);
    }
    let Some((length, groups)) = all.get_mut(..count).and_then(|labels| labels.split_first_mut()) else {
        return Err("no prefix before rpz-ip".to_owned());
    };
    groups.reverse();
    let address = match &*groups {
        [a, b, c, d] if !groups.contains(&ZEROS) => IpAddr::V4(v4([*a, *b, *c, *d])?),
        _ => IpAddr::V6(v6(groups)?),
    };
    let length = number(length, 10, 128).filter(|length| *length > 0).ok_or("no prefix length in front")?;
    let length = u8::try_from(length).map_err(|_| "no prefix length in front")?;
    let net = prefix::from_parts(address, length).map_err(|why| format!("{address}/{length}: {why}"))?;
    if net.addr() != address {
        return Err(format!("{address}/{length}: {}", prefix::NotAPrefix::HostBits));
    }
    Ok(net)
}

/// A length and eight groups.
const MOST_LABELS: usize = 9;

/// The label for a run of zero groups.
const ZEROS: &[u8] = b"zz";

fn v4(octets: [&[u8]; 4]) -> Result<Ipv4Addr, &'static str> {
    let mut address = [0; 4];
    for (place, label) in address.iter_mut().zip(octets) {
        let octet = number(label, 10, 255).and_then(|octet| u8::try_from(octet).ok());
        *place = octet.ok_or("not an IPv4 address in reverse")?;
    }
    Ok(Ipv4Addr::from(address))
}

fn v6(labels: &[&[u8]]) -> Result<Ipv6Addr, &'static str> {
    let mut address = [0; 8];
    let (head, tail) = match labels.iter().position(|label| *label == ZEROS) {
        None if labels.len() == 8 => (labels, &[][..]),
        // It stands for one group or more.
        Some(at) if labels.len() <= 8 => {
            let (head, tail) = labels.split_at_checked(at).unwrap_or_default();
            (head, tail.get(1..).unwrap_or_default())
        }
        _ => return Err("neither 4 octets nor 8 groups of an address"),
    };
    let from_end = 8usize.saturating_sub(tail.len());
    let places = (0..head.len()).chain(from_end..8);
    for (place, label) in places.zip(head.iter().chain(tail)) {
        let group = number(label, 16, 0xffff).ok_or("not an IPv6 address in reverse")?;
        if let Some(place) = address.get_mut(place) {
            *place = group;
        }
    }
    Ok(Ipv6Addr::from(address))
}

/// A number in lower case without zeros in front, 0 to `most`.
fn number(label: &[u8], radix: u32, most: u16) -> Option<u16> {
    if label.len() > 4 || (label.len() > 1 && label.first() == Some(&b'0')) || label.is_empty() {
        return None;
    }
    let mut number = 0u32;
    for octet in label {
        let digit = char::from(*octet).to_digit(radix)?;
        number = number.checked_mul(radix)?.checked_add(digit)?;
    }
    u16::try_from(number).ok().filter(|number| *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn wire_of(labels: &str) -> Vec<u8> {
        let mut octets = Vec::new();
        for label in labels.split('.').filter(|label| !label.is_empty()) {
            octets.push(label.len() as u8);
            octets.extend(label.bytes());
        }
        octets
    }

    fn read(labels: &str) -> Result<String, String> {
        prefix(&wire_of(labels)).map(|net| net.to_string())
    }

    #[test]
    fn reads_prefixes_of_both_families() {
        for (labels, expected) in [
            ("24.0.2.0.192", "192.0.2.0/24"),
            ("32.1.2.0.192", "192.0.2.1/32"),
            ("8.0.0.0.10", "10.0.0.0/8"),
            ("48.zz.2.2001", "2001:2::/48"),
            ("48.0.zz.1.db8.2001", "2001:db8:1::/48"),
            ("128.57.zz.8765.4321.2001", "2001:4321:8765::57/128"),
            ("128.1.zz", "::1/128"),
            ("3.zz.2000", "2000::/3"),
            ("128.8.7.6.5.4.3.2.2001", "2001:2:3:4:5:6:7:8/128"),
            ("128.8.zz.6.5.4.3.2.2001", "2001:2:3:4:5:6:0:8/128"),
            // Four labels, but not IPv4.
            ("128.1.zz.db8.2001", "2001:db8::1/128"),
            ("127.zz", "::/127"),
        ] {
            assert_eq!(read(labels).as_deref(), Ok(expected), "{labels}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let count = "neither 4 octets nor 8 groups of an address";
        for (labels, cause) in [
            ("", "no prefix before rpz-ip"),
            ("24", count),
            ("24.2.0.192", count),
            ("24.0.0.2.0.192", count),
            ("128.8.7.6.5.4.3.2.zz.1", "too many labels for a prefix"),
            ("128.9.8.7.6.5.4.3.2.1", "too many labels for a prefix"),
            ("128.7.6.5.4.3.2.1", count),
            ("128.1.zz.2.zz.2001", "not an IPv6 address in reverse"),
            ("zz.0.2.0.192", "no prefix length in front"),
            ("0.0.0.0.0", "no prefix length in front"),
            ("024.0.2.0.192", "no prefix length in front"),
            ("+24.0.2.0.192", "no prefix length in front"),
            ("*.0.2.0.192", "no prefix length in front"),
            ("129.1.zz", "no prefix length in front"),
            ("33.1.2.0.192", "192.0.2.1/33: not a prefix length"),
            ("24.1.2.0.192", "192.0.2.1/24: address bits set beyond the prefix length"),
            ("48.1.zz.2001", "2001::1/48: address bits set beyond the prefix length"),
            ("32.1.2.0.256", "not an IPv4 address in reverse"),
            ("32.01.2.0.192", "not an IPv4 address in reverse"),
            ("32.a.2.0.192", "not an IPv4 address in reverse"),
            ("48.zz.10000", "not an IPv6 address in reverse"),
            ("48.zz.02001", "not an IPv6 address in reverse"),
            ("48.zz.g", "not an IPv6 address in reverse"),
            ("128.1.2.ffff.zz", "::ffff:0.2.0.1/128: an IPv4 address mapped into IPv6"),
        ] {
            assert_eq!(read(labels).unwrap_err(), cause, "{labels}");
        }
    }

    #[test]
    fn one_action_is_an_exception() {
        for (target, expected) in [
            ("", Ok(false)),
            ("*", Ok(false)),
            ("rpz-passthru", Ok(true)),
            ("rpz-drop", Ok(false)),
            ("rpz-tcp-only", Ok(false)),
            ("walled.garden.example", Ok(false)),
            ("rpz-passthru.example", Ok(false)),
            ("rpz-drop-it", Err("the RPZ action rpz-drop-it is not known".to_owned())),
            ("a.rpz-passthru", Err("the RPZ action a.rpz-passthru is not known".to_owned())),
        ] {
            assert_eq!(is_exception(&[wire_of(target), vec![0]].concat()), expected, "{target}");
        }
    }

    /// An encoder of its own: std writes the address, the longest run of zeros as `::`.
    fn encode(net: IpNet) -> String {
        let reversed = match net.addr() {
            IpAddr::V4(v4) => v4.octets().iter().rev().map(u8::to_string).collect::<Vec<_>>().join("."),
            IpAddr::V6(v6) => {
                let mut groups: Vec<String> =
                    v6.segments().iter().map(|group| format!("{group:x}")).collect();
                let zeros = |from: usize| groups[from..].iter().take_while(|group| *group == "0").count();
                let (best, from) = (0..8).rev().map(|from| (zeros(from), from)).max().unwrap();
                if best > 1 {
                    groups.splice(from..from + best, ["zz".to_owned()]);
                }
                groups.reverse();
                groups.join(".")
            }
        };
        format!("{}.{reversed}", net.prefix_len())
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(bits: u128, mask: u128, length in 1u8..=128, is_v4: bool) {
            let net = if is_v4 {
                prefix::from_parts(IpAddr::from((bits as u32).to_be_bytes()), length.min(32))
            } else {
                // Clearing groups makes runs of zeros; the first bit keeps mapped addresses out.
                let groups = (0..8).filter(|group| mask >> group & 1 == 1).fold(0u128, |all, group| all | 0xffff << (16 * group));
                prefix::from_parts(IpAddr::from((bits & groups | 1 << 127).to_be_bytes()), length)
            };
            let net = net.unwrap();
            prop_assert_eq!(prefix(&wire_of(&encode(net))), Ok(net));
        }

        #[test]
        fn any_labels_are_read_or_refused(labels in vec("[0-9a-fz]{0,5}", 0..11), octets in vec(any::<u8>(), 0..60)) {
            let _ = prefix(&octets);
            let _ = is_exception(&octets);
            if let Ok(net) = prefix(&wire_of(&labels.join("."))) {
                prop_assert_eq!(net, net.trunc());
                prop_assert!(net.prefix_len() > 0);
            }
        }
    }
}
