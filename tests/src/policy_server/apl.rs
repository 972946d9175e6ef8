//! The items of an APL record (RFC 3123, type 42), written by hand so that the client's decoder meets another mind.

use ipnet::IpNet;
use std::net::IpAddr;

/// The address family number of IPv4.
const FAMILY_V4: u16 = 1;
/// The address family number of IPv6.
const FAMILY_V6: u16 = 2;
/// The bit that makes an item a hole.
const NEGATED: u8 = 0x80;

/// One item: a prefix, or a hole in the others. Nothing is checked: `addr` may have host bits and `len` may be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AplItem {
    /// Whether it is a hole (`!` in text).
    pub negated: bool,
    /// The address.
    pub addr: IpAddr,
    /// The prefix length in bits.
    pub len: u8,
}

impl AplItem {
    /// A listed prefix.
    pub fn listed(net: IpNet) -> Self {
        AplItem { negated: false, addr: net.addr(), len: net.prefix_len() }
    }

    /// A hole in listed prefixes.
    pub fn hole(net: IpNet) -> Self {
        AplItem { negated: true, ..Self::listed(net) }
    }

    /// Appends the item as RFC 3123, section 4, has it: the family in 2 octets, the prefix length, the negation bit
    /// and the number of address octets, the address octets. Trailing zero octets are left off if `trim` is set.
    pub fn encode(&self, trim: bool, out: &mut Vec<u8>) {
        let (family, octets) = match self.addr {
            IpAddr::V4(addr) => (FAMILY_V4, addr.octets().to_vec()),
            IpAddr::V6(addr) => (FAMILY_V6, addr.octets().to_vec()),
        };
        let sent = match octets.iter().rposition(|&octet| octet != 0) {
            _ if !trim => octets.len(),
            Some(last) => last + 1,
            None => 0,
        };
        out.extend(family.to_be_bytes());
        out.push(self.len);
        // At most 16 octets: the count cannot reach the negation bit.
        out.push(sent as u8 | if self.negated { NEGATED } else { 0 });
        out.extend(octets.iter().take(sent));
    }

    /// The size of the item with all its address octets.
    pub(super) fn full_size(&self) -> usize {
        match self.addr {
            IpAddr::V4(_) => 4 + 4,
            IpAddr::V6(_) => 4 + 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(item: AplItem, trim: bool) -> Vec<u8> {
        let mut out = Vec::new();
        item.encode(trim, &mut out);
        out
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn vectors_of_rfc_3123() {
        let cases: [(AplItem, &[u8]); 4] = [
            (AplItem::listed(net("192.168.32.0/21")), &[0, 1, 0x15, 0x03, 0xc0, 0xa8, 0x20]),
            (AplItem::hole(net("192.168.38.0/28")), &[0, 1, 0x1c, 0x83, 0xc0, 0xa8, 0x26]),
            (AplItem::listed(net("224.0.0.0/4")), &[0, 1, 0x04, 0x01, 0xe0]),
            (AplItem::listed(net("FF00::/8")), &[0, 2, 0x08, 0x01, 0xff]),
        ];
        for (item, wire) in cases {
            assert_eq!(encoded(item, true), wire);
        }
    }

    #[test]
    fn only_trailing_zero_octets_are_left_off() {
        assert_eq!(encoded(AplItem::listed(net("10.0.0.1/32")), true), [0, 1, 32, 4, 10, 0, 0, 1]);
        assert_eq!(encoded(AplItem::listed(net("0.0.0.0/0")), true), [0, 1, 0, 0]);
        assert_eq!(encoded(AplItem::listed(net("10.0.0.0/8")), false), [0, 1, 8, 4, 10, 0, 0, 0]);
        let full = encoded(AplItem::hole(net("2001:db8::/32")), false);
        assert_eq!(full.len(), 20);
        assert_eq!(full[..8], [0, 2, 32, 0x90, 0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn nothing_is_corrected() {
        let item = AplItem { negated: false, addr: IpAddr::from([10, 0, 0, 1]), len: 33 };
        assert_eq!(encoded(item, true), [0, 1, 33, 4, 10, 0, 0, 1]);
    }
}
