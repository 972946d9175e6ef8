//! APL rdata (RFC 3123): prefixes, some of them negated.
//!
//! An item is the address family (two octets), the prefix length (one), the negation bit and the
//! number of address octets (one), and those octets, of which trailing zeros may be left off.

use std::net::IpAddr;

use common::prefix;

use crate::chunk::Chunk;

const NEGATED: u8 = 0x80;

/// Appends the items of one record. Address bits beyond the prefix length are cleared; empty
/// rdata is an empty list.
///
/// # Errors
/// Names the first item that is not as the RFC says, and why; `chunk` may then hold items.
pub fn read(rdata: &[u8], chunk: &mut Chunk) -> Result<(), String> {
    let mut rest = rdata;
    let mut number = 0usize;
    while !rest.is_empty() {
        number = number.saturating_add(1);
        rest = item(rest, chunk).map_err(|cause| format!("APL item {number}: {cause}"))?;
    }
    Ok(())
}

/// Reads one item and returns what follows it.
fn item<'a>(octets: &'a [u8], chunk: &mut Chunk) -> Result<&'a [u8], String> {
    let [family_high, family_low, length, size, rest @ ..] = octets else {
        return Err("ends in the middle".to_owned());
    };
    let size_octets = usize::from(size & !NEGATED);
    let Some((given, after)) = rest.split_at_checked(size_octets) else {
        return Err(format!("{size_octets} address octets, {} left in the record", rest.len()));
    };
    let address = match u16::from_be_bytes([*family_high, *family_low]) {
        1 => padded::<4>(given).map(IpAddr::from),
        2 => padded::<16>(given).map(IpAddr::from),
        family => return Err(format!("address family {family}, neither 1 (IPv4) nor 2 (IPv6)")),
    };
    let address = address.ok_or_else(|| format!("{size_octets} address octets are too many"))?;
    let net = prefix::from_parts(address, *length).map_err(|why| format!("{address}/{length}: {why}"))?;
    if size & NEGATED == 0 {
        chunk.positive.push(net);
    } else {
        chunk.negated.push(net);
    }
    Ok(after)
}

/// An address with the zeros that were left off; `None` if there are too many octets.
fn padded<const SIZE: usize>(given: &[u8]) -> Option<[u8; SIZE]> {
    let mut address = [0; SIZE];
    address.get_mut(..given.len())?.copy_from_slice(given);
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::IpNet;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text(rdata: &[u8]) -> Result<String, String> {
        let mut chunk = Chunk::default();
        read(rdata, &mut chunk)?;
        let words = chunk.positive.iter().map(IpNet::to_string);
        let holes = chunk.negated.iter().map(|net| format!("!{net}"));
        Ok(words.chain(holes).collect::<Vec<_>>().join(" "))
    }

    /// The examples of RFC 3123, section 7, and their wire form.
    const VECTORS: [(&[u8], &str); 4] = [
        (b"\x00\x01\x15\x03\xc0\xa8\x20", "192.168.32.0/21"),
        (b"\x00\x01\x1c\x83\xc0\xa8\x26", "!192.168.38.0/28"),
        (b"\x00\x01\x04\x01\xe0", "224.0.0.0/4"),
        (b"\x00\x02\x08\x01\xff", "ff00::/8"),
    ];

    #[test]
    fn reads_the_examples_of_the_rfc() {
        for (rdata, expected) in VECTORS {
            assert_eq!(text(rdata).unwrap(), expected);
        }
        let all: Vec<u8> = VECTORS.iter().flat_map(|(rdata, _)| rdata.iter().copied()).collect();
        assert_eq!(text(&all).unwrap(), "192.168.32.0/21 224.0.0.0/4 ff00::/8 !192.168.38.0/28");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn takes_zeros_left_off_or_not_and_clears_host_bits() {
        assert_eq!(text(b"\x00\x01\x08\x04\x0a\x00\x00\x00").unwrap(), "10.0.0.0/8");
        assert_eq!(text(b"\x00\x01\x00\x00").unwrap(), "0.0.0.0/0");
        assert_eq!(text(b"\x00\x02\x80\x80").unwrap(), "!::/128");
        assert_eq!(text(b"\x00\x01\x18\x04\xc0\x00\x02\x07").unwrap(), "192.0.2.0/24");
    }

    #[test]
    fn refuses_what_the_rfc_does_not_allow() {
        for (rdata, cause) in [
            (&b"\x00\x03\x08\x01\x0a"[..], "APL item 1: address family 3, neither 1 (IPv4) nor 2 (IPv6)"),
            (b"\x00\x01\x21\x01\x0a", "APL item 1: 10.0.0.0/33: not a prefix length"),
            (b"\x00\x02\x81\x00", "APL item 1: ::/129: not a prefix length"),
            (b"\x00\x01\x08\x05\x0a\x00\x00\x00\x00", "APL item 1: 5 address octets are too many"),
            (b"\x00\x01\x08\x02\x0a", "APL item 1: 2 address octets, 1 left in the record"),
            (b"\x00\x01\x04\x01\xe0\x00", "APL item 2: ends in the middle"),
            (
                b"\x00\x02\x80\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01",
                "APL item 1: ::ffff:192.0.2.1/128: an IPv4 address mapped into IPv6",
            ),
        ] {
            assert_eq!(text(rdata).unwrap_err(), cause);
        }
    }

    #[test]
    fn truncated_at_every_length_it_fails_unless_an_item_ends_there() {
        let all: Vec<u8> = VECTORS.iter().flat_map(|(rdata, _)| rdata.iter().copied()).collect();
        let ends = [0, 7, 14, 19, 24];
        for length in 0..=all.len() {
            assert_eq!(text(&all[..length]).is_ok(), ends.contains(&length), "{length}");
        }
    }

    /// An encoder written after the RFC on its own: negation, zeros left off.
    fn encode(net: IpNet, negated: bool) -> Vec<u8> {
        let (family, mut address) = match net {
            IpNet::V4(net) => (1u16, net.addr().octets().to_vec()),
            IpNet::V6(net) => (2u16, net.addr().octets().to_vec()),
        };
        while address.last() == Some(&0) {
            address.pop();
        }
        let mut rdata = family.to_be_bytes().to_vec();
        rdata.push(net.prefix_len());
        rdata.push(address.len() as u8 | if negated { 0x80 } else { 0 });
        rdata.extend(address);
        rdata
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(items in vec((any::<u128>(), 0u8..=128, any::<bool>(), any::<bool>()), 0..40)) {
            let (mut rdata, mut expected) = (Vec::new(), Chunk::default());
            for (bits, length, v4, negated) in items {
                let (address, length) = if v4 {
                    (IpAddr::from((bits as u32).to_be_bytes()), length.min(32))
                } else {
                    (IpAddr::from((bits | 1 << 127).to_be_bytes()), length)
                };
                let net = prefix::from_parts(address, length).unwrap();
                rdata.extend(encode(net, negated));
                if negated { expected.negated.push(net) } else { expected.positive.push(net) }
            }
            let mut chunk = Chunk::default();
            read(&rdata, &mut chunk).unwrap();
            prop_assert_eq!(chunk, expected);
        }

        #[test]
        fn any_octets_are_read_or_refused(rdata in vec(any::<u8>(), 0..200)) {
            let mut chunk = Chunk::default();
            if read(&rdata, &mut chunk).is_ok() {
                prop_assert!(chunk.entries() * 4 <= rdata.len());
            }
        }
    }
}
