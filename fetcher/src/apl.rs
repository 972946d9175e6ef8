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

    /// An item as numbers. The encoder below is written after the RFC on its own: it shares nothing with
    /// the decoder, and sets no address type and no prefix type to work.
    #[derive(Debug, Clone)]
    struct Item {
        v6: bool,
        /// The address, left-aligned: the first octet is the highest one.
        bits: u128,
        length: u8,
        negated: bool,
        /// How many of the zero octets at the end are sent, at most.
        zeros: usize,
    }

    impl Item {
        fn octets(&self) -> Vec<u8> {
            let all = if self.v6 { 16 } else { 4 };
            (0..all).map(|place| (self.bits >> (120 - 8 * place) & 0xff) as u8).collect()
        }

        fn encode(&self, out: &mut Vec<u8>) {
            let mut address = self.octets();
            let all = address.len();
            let used = all - address.iter().rev().take_while(|octet| **octet == 0).count();
            address.truncate(used + self.zeros.min(all - used));
            out.extend([0, if self.v6 { 2 } else { 1 }, self.length]);
            out.push(address.len() as u8 + if self.negated { 128 } else { 0 });
            out.extend(address);
        }

        /// What the decoder is to make of it, bit by bit.
        fn net(&self) -> IpNet {
            let mut octets = self.octets();
            for bit in usize::from(self.length)..8 * octets.len() {
                octets[bit / 8] &= !(0x80 >> (bit % 8));
            }
            let address = match <[u8; 4]>::try_from(&octets[..]) {
                Ok(octets) => IpAddr::from(octets),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
            };
            IpNet::new(address, self.length).unwrap()
        }
    }

    prop_compose! {
        fn item()(
            v6: bool, bits: u128, shift in 0u32..128, low: bool, length in 0u8..=128, negated: bool, zeros in 0usize..=16,
        ) -> Item {
            // Addresses with zeros at the end, and some with bits beyond the length.
            let bits = bits >> shift << shift;
            let length = if v6 { length } else { length % 33 };
            let is_mapped = v6 && bits >> 32 == 0xffff;
            Item { v6, bits: if low && !is_mapped { bits } else { bits | 1 << 127 }, length, negated, zeros }
        }
    }

    fn encode(items: &[Item]) -> Vec<u8> {
        let mut rdata = Vec::new();
        items.iter().for_each(|item| item.encode(&mut rdata));
        rdata
    }

    /// How many items are read before the one that is refused, and why that is.
    fn refusal(rdata: &[u8]) -> Option<(usize, String)> {
        let mut chunk = Chunk::default();
        let words = read(rdata, &mut chunk).err()?;
        let (number, cause) = words.strip_prefix("APL item ")?.split_once(": ")?;
        assert_eq!(number, (chunk.entries() + 1).to_string());
        Some((chunk.entries(), cause.to_owned()))
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(items in vec(item(), 0..40)) {
            let of = |negated| items.iter().filter(|item| item.negated == negated).map(Item::net).collect();
            let mut chunk = Chunk::default();
            read(&encode(&items), &mut chunk).unwrap();
            prop_assert_eq!(chunk, Chunk { positive: of(false), negated: of(true), ..Chunk::default() });
        }

        #[test]
        fn each_damage_is_refused_at_its_item(
            before in vec(item(), 0..5), damaged in item(), after in vec(item(), 0..5), number: u16, cut: usize,
        ) {
            let (start, whole) = (encode(&before), encode(std::slice::from_ref(&damaged)));
            let with = |item: &[u8]| refusal(&[&start[..], item, &encode(&after)].concat());
            let changed = |change: &dyn Fn(&mut Vec<u8>)| {
                let mut item = whole.clone();
                change(&mut item);
                item
            };
            let refused = |found: Option<(usize, String)>, cause: &str| {
                found.is_some_and(|(place, words)| place == before.len() && words.contains(cause))
            };
            prop_assert_eq!(with(&whole), None);

            let family = if matches!(number, 1 | 2) { 3 } else { number };
            let item = changed(&|item| item[..2].copy_from_slice(&family.to_be_bytes()));
            let cause = format!("address family {family}, ");
            prop_assert!(refused(with(&item), &cause));

            let most = if damaged.v6 { 128 } else { 32 };
            let length = most + 1 + number as u8 % (255 - most);
            let item = changed(&|item| item[2] = length);
            prop_assert!(refused(with(&item), "not a prefix length"));

            // More octets than the family has, all of them there.
            let all = damaged.octets().len();
            let size = all + 1 + usize::from(number) % (127 - all);
            let item = changed(&|item| {
                item[3] = item[3] & 0x80 | size as u8;
                item.resize(4 + size, 0);
            });
            prop_assert!(refused(with(&item), "address octets are too many"));

            // Cut off anywhere in it, as the last item.
            let item = &whole[..1 + cut % (whole.len() - 1)];
            let cause = if item.len() < 4 { "ends in the middle" } else { "left in the record" };
            prop_assert!(refused(refusal(&[&start[..], item].concat()), cause));

            let mapped = Item { v6: true, bits: 0xffff << 32 | u128::from(number), ..damaged.clone() };
            prop_assert!(refused(with(&encode(&[mapped])), "an IPv4 address mapped into IPv6"));
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
