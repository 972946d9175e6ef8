//! Sets of prefixes in canonical form: host bits cleared, no prefix inside another, IPv4 before
//! IPv6, ascending. Two sets in this form that hold the same prefixes print the same text.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set would have more prefixes than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// The most prefixes that a table may hold: more than the service has, and little enough for memory.
pub const MAX_PREFIXES: usize = 10_000_000;

/// A set of prefixes in canonical form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrefixSet {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl PrefixSet {
    /// The number of prefixes.
    pub fn len(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len())
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The IPv4 prefixes, ascending.
    pub fn v4(&self) -> &[Ipv4Net] {
        &self.v4
    }

    /// The IPv6 prefixes, ascending.
    pub fn v6(&self) -> &[Ipv6Net] {
        &self.v6
    }

    /// All prefixes in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.v4.iter().copied().map(IpNet::V4).chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// Merges siblings (`192.0.2.0/25` and `192.0.2.128/25`) as far as possible: the smallest set
    /// of prefixes that covers the same addresses.
    #[must_use]
    pub fn aggregate(self) -> PrefixSet {
        PrefixSet { v4: aggregate(self.v4), v6: aggregate(self.v6) }
    }

    /// The addresses of this set that are not in `holes`, exactly. A prefix that a hole lies in
    /// is split around it: one hole can leave 128 prefixes.
    ///
    /// # Errors
    /// More than `most` prefixes would be left. It stops as soon as it knows.
    pub fn subtract(&self, holes: &PrefixSet, most: usize) -> Result<PrefixSet, TooMany> {
        let v4 = subtract(&self.v4, &holes.v4, most)?;
        let v6 = subtract(&self.v6, &holes.v6, most.saturating_sub(v4.len()))?;
        Ok(PrefixSet { v4, v6 })
    }

    /// Takes out, and returns, the prefixes that are, or lie in, one of `cover`'s. All others stay
    /// where they are: a large set is not copied.
    pub fn take(&mut self, cover: &PrefixSet) -> PrefixSet {
        PrefixSet { v4: take(&mut self.v4, &cover.v4), v6: take(&mut self.v6, &cover.v6) }
    }

    /// Appends a prefix that comes after all others and lies in none of them, so that a list
    /// which must already be canonical is read in one pass without sorting.
    ///
    /// # Errors
    /// Says which of the rules it breaks.
    pub fn push_canonical(&mut self, net: IpNet) -> Result<(), &'static str> {
        match net {
            IpNet::V4(_) if !self.v6.is_empty() => Err("IPv4 after IPv6"),
            IpNet::V4(net) => push_canonical(&mut self.v4, net),
            IpNet::V6(net) => push_canonical(&mut self.v6, net),
        }
    }
}

impl FromIterator<IpNet> for PrefixSet {
    /// The canonical form of any prefixes: duplicates and prefixes inside others are removed.
    fn from_iter<T: IntoIterator<Item = IpNet>>(nets: T) -> PrefixSet {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push(net.trunc()),
                IpNet::V6(net) => v6.push(net.trunc()),
            }
        }
        PrefixSet { v4: canonical(v4), v6: canonical(v6) }
    }
}

/// What the two families have in common. `Ord` is by address, then by length, so that a prefix
/// comes before all that lie inside it.
trait Net: Copy + Ord {
    /// Whether `other` is this prefix or lies inside it.
    fn covers(self, other: Self) -> bool;
    /// The prefix that is one bit shorter.
    fn parent(self) -> Option<Self>;
    /// The two halves, lower first; `None` for a host.
    fn halves(self) -> Option<(Self, Self)>;
}

macro_rules! net {
    ($net:ty) => {
        impl Net for $net {
            fn covers(self, other: Self) -> bool {
                self.contains(&other)
            }

            fn parent(self) -> Option<Self> {
                self.supernet()
            }

            fn halves(self) -> Option<(Self, Self)> {
                let mut halves = self.subnets(self.prefix_len().checked_add(1)?).ok()?;
                Some((halves.next()?, halves.next()?))
            }
        }
    };
}

net!(Ipv4Net);
net!(Ipv6Net);

fn canonical<N: Net>(mut nets: Vec<N>) -> Vec<N> {
    nets.sort_unstable();
    let mut last: Option<N> = None;
    nets.retain(|&net| {
        let keep = !last.is_some_and(|last| last.covers(net));
        if keep {
            last = Some(net);
        }
        keep
    });
    nets.shrink_to_fit();
    nets
}

fn push_canonical<N: Net>(nets: &mut Vec<N>, net: N) -> Result<(), &'static str> {
    match nets.last() {
        Some(&last) if last == net => return Err("twice in the list"),
        Some(&last) if last.covers(net) => return Err("inside the prefix before it"),
        Some(&last) if last > net => return Err("not in ascending order"),
        _ => nets.push(net),
    }
    Ok(())
}

fn aggregate<N: Net>(nets: Vec<N>) -> Vec<N> {
    let mut merged: Vec<N> = Vec::with_capacity(nets.len());
    for net in nets {
        let mut net = net;
        // The sibling of a prefix is the one that has the same parent; in ascending order it can
        // only be the last one kept.
        while let Some(last) = merged.last().copied()
            && last.parent().is_some()
            && last.parent() == net.parent()
        {
            let Some(parent) = net.parent() else { break };
            merged.pop();
            net = parent;
        }
        merged.push(net);
    }
    merged.shrink_to_fit();
    merged
}

fn take<N: Net>(nets: &mut Vec<N>, cover: &[N]) -> Vec<N> {
    let mut cover = cover.iter().peekable();
    let mut last: Option<&N> = None;
    let inside = |net: &mut N| {
        // Both ascend, and prefixes of a canonical set do not overlap: only the last one that does
        // not come after this prefix can cover it.
        while let Some(next) = cover.next_if(|next| **next <= *net) {
            last = Some(next);
        }
        last.is_some_and(|last| last.covers(*net))
    };
    nets.extract_if(.., inside).collect()
}

fn subtract<N: Net>(nets: &[N], holes: &[N], most: usize) -> Result<Vec<N>, TooMany> {
    let mut left = Vec::with_capacity(nets.len().min(most));
    for &net in nets {
        let at = holes.partition_point(|hole| *hole < net);
        let (before, after) = holes.split_at_checked(at).unwrap_or((holes, &[]));
        // Canonical holes do not overlap, so only the last one before can cover this prefix.
        if before.last().is_some_and(|hole| hole.covers(net)) {
            continue;
        }
        let inside = after.partition_point(|hole| net.covers(*hole));
        carve(net, after.get(..inside).unwrap_or_default(), most, &mut left)?;
    }
    Ok(left)
}

/// Appends what is left of a prefix without the holes, all of which lie in it. The depth is at
/// most the number of bits of an address.
fn carve<N: Net>(net: N, holes: &[N], most: usize, left: &mut Vec<N>) -> Result<(), TooMany> {
    let Some(&first) = holes.first() else {
        if left.len() >= most {
            return Err(TooMany);
        }
        left.push(net);
        return Ok(());
    };
    if first == net {
        return Ok(());
    }
    let Some((low, high)) = net.halves() else { return Ok(()) };
    let at = holes.partition_point(|hole| low.covers(*hole));
    let (in_low, in_high) = holes.split_at_checked(at).unwrap_or((holes, &[]));
    carve(low, in_low, most, left)?;
    carve(high, in_high, most, left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(text: &str) -> PrefixSet {
        text.split_whitespace().map(|word| crate::prefix::parse(word.as_bytes()).unwrap()).collect()
    }

    fn text(set: &PrefixSet) -> String {
        set.iter().map(|net| net.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn canonical_form() {
        let given =
            set("2001:db8::1 10.1.2.3 10.0.0.0/8 192.0.2.0/25 192.0.2.0/25 192.0.2.128/25 2001:db8::/32");
        assert_eq!(text(&given), "10.0.0.0/8 192.0.2.0/25 192.0.2.128/25 2001:db8::/32");
        assert_eq!(given.len(), 4);
        assert_eq!(text(&set("0.0.0.0/0 1.2.3.4 ::/0 ::1")), "0.0.0.0/0 ::/0");
        assert!(set("").is_empty());
    }

    #[test]
    fn aggregation_merges_siblings_only() {
        assert_eq!(text(&set("10.0.0.0/32 10.0.0.1 10.0.0.2/31 10.0.0.4/30").aggregate()), "10.0.0.0/29");
        assert_eq!(text(&set("10.0.0.1 10.0.0.2").aggregate()), "10.0.0.1/32 10.0.0.2/32");
        assert_eq!(text(&set("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1").aggregate()), "0.0.0.0/0 ::/0");
    }

    #[test]
    fn subtraction_is_exact() {
        let left = |nets: &str, holes: &str| set(nets).subtract(&set(holes), MAX_PREFIXES).unwrap();
        assert_eq!(text(&left("10.0.0.0/30", "10.0.0.1")), "10.0.0.0/32 10.0.0.2/31");
        assert_eq!(text(&left("10.0.0.0/30 10.1.0.0/16", "10.0.0.0/15")), "");
        assert_eq!(text(&left("10.0.0.0/30", "10.0.0.0/30")), "");
        assert_eq!(text(&left("::/0", "8000::/1 ::/2")), "4000::/2");
        assert_eq!(text(&left("10.0.0.0/30", "10.0.0.4 9.255.255.255")), "10.0.0.0/30");
        assert_eq!(left("::/0", "::1").len(), 128);
        assert_eq!(left("0.0.0.0/0", "255.255.255.255").len(), 32);
    }

    #[test]
    fn what_is_not_taken_stays_where_it_is() {
        let mut nets = set("10.0.0.1 10.0.0.2 192.0.2.0/24 2001:db8::1 2001:db8:1::1");
        let at = (nets.v4().as_ptr(), nets.v6().as_ptr());
        let taken = nets.take(&set("10.0.0.0/8 192.0.2.1 2001:db8:1::/48"));
        assert_eq!(text(&taken), "10.0.0.1/32 10.0.0.2/32 2001:db8:1::1/128");
        assert_eq!(text(&nets), "192.0.2.0/24 2001:db8::1/128");
        assert_eq!((nets.v4().as_ptr(), nets.v6().as_ptr()), at);
    }

    #[test]
    fn subtraction_stops_at_its_limit() {
        let (nets, holes) = (set("0.0.0.0/0 ::/0"), set("10.0.0.1 ::1"));
        assert_eq!(nets.subtract(&holes, 160).unwrap().len(), 160);
        assert_eq!(nets.subtract(&holes, 159), Err(TooMany));
        assert_eq!(nets.subtract(&holes, 31), Err(TooMany));
        assert_eq!(nets.subtract(&nets, 0), Ok(PrefixSet::default()));
    }

    #[test]
    fn a_canonical_list_is_taken_and_another_refused() {
        let mut list = PrefixSet::default();
        let mut push = |word: &str| list.push_canonical(crate::prefix::parse(word.as_bytes()).unwrap());
        assert_eq!(push("10.0.0.0/8"), Ok(()));
        assert_eq!(push("10.0.0.0/8"), Err("twice in the list"));
        assert_eq!(push("10.1.0.0/16"), Err("inside the prefix before it"));
        assert_eq!(push("9.0.0.0/8"), Err("not in ascending order"));
        assert_eq!(push("10.0.0.0/7"), Err("not in ascending order"));
        assert_eq!(push("11.0.0.0/8"), Ok(()));
        assert_eq!(push("::1"), Ok(()));
        assert_eq!(push("12.0.0.0/8"), Err("IPv4 after IPv6"));
        assert_eq!(list, set("10.0.0.0/8 11.0.0.0/8 ::1"));
    }

    /// The addresses of 198.18.240.0/20 and of 2001:db8::f000/116, so that an oracle can be a bit an
    /// address; prefixes end within an octet and cross from one to the next.
    const ADDRESSES: usize = 1 << 12;
    const V4: u32 = 0xc612_f000;
    const V6: u128 = 0x2001_0db8 << 96 | 0xf000;

    fn small_net() -> impl Strategy<Value = IpNet> {
        // Mostly near each other, so that prefixes meet.
        let low = prop_oneof![0u16..64, 2000u16..2100, 0u16..1 << 12];
        (low, prop_oneof![0u8..=12, 6u8..=12], any::<bool>()).prop_map(|(low, bits, v4)| {
            if v4 {
                IpNet::V4(Ipv4Net::new((V4 | u32::from(low)).into(), 20 + bits).unwrap().trunc())
            } else {
                IpNet::V6(Ipv6Net::new((V6 | u128::from(low)).into(), 116 + bits).unwrap().trunc())
            }
        })
    }

    /// Some of them, each whole or in pieces, which can be merged again over several lengths.
    fn small_nets(most: usize) -> impl Strategy<Value = Vec<IpNet>> {
        let pieces = |(net, cuts): (IpNet, u8)| {
            let length = (net.prefix_len() + cuts).min(net.max_prefix_len());
            net.subnets(length).unwrap()
        };
        vec((small_net(), 0u8..4), 0..most).prop_map(move |nets| nets.into_iter().flat_map(pieces).collect())
    }

    /// A bit for each address, IPv4 first.
    fn bits(nets: impl Iterator<Item = IpNet>) -> Vec<bool> {
        let mut bits = vec![false; 2 * ADDRESSES];
        for net in nets {
            let (first, length) = match net {
                IpNet::V4(net) => ((u32::from(net.addr()) - V4) as usize, net.prefix_len() - 20),
                IpNet::V6(net) => {
                    (ADDRESSES + (u128::from(net.addr()) - V6) as usize, net.prefix_len() - 116)
                }
            };
            bits[first..first + (ADDRESSES >> length)].fill(true);
        }
        bits
    }

    /// The fewest prefixes for the set bits of a family, as first address and length within it.
    fn fewest(bits: &[bool], first: usize, length: u8, found: &mut Vec<(usize, u8)>) {
        if bits.iter().all(|bit| *bit) {
            found.push((first, length));
        } else if bits.contains(&true) {
            let (low, high) = bits.split_at(bits.len() / 2);
            fewest(low, first, length + 1, found);
            fewest(high, first + low.len(), length + 1, found);
        }
    }

    proptest! {
        #[test]
        fn sets_agree_with_a_bit_for_each_address(nets in small_nets(60), holes in small_nets(20)) {
            let (set, hole_set): (PrefixSet, PrefixSet) = (nets.iter().copied().collect(), holes.iter().copied().collect());
            let is_outermost = |net: &&IpNet| !nets.iter().any(|other| other != *net && other.contains(*net));
            let outermost: BTreeSet<IpNet> = nets.iter().filter(is_outermost).copied().collect();
            let outermost: Vec<IpNet> = outermost.into_iter().collect();
            let (expected, hole_bits) = (bits(nets.into_iter()), bits(holes.into_iter()));
            prop_assert_eq!(&bits(set.iter()), &expected);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), outermost);

            let mut again = PrefixSet::default();
            for net in set.iter() {
                prop_assert_eq!(again.push_canonical(net), Ok(()));
            }
            prop_assert_eq!(&again, &set);

            let merged = set.clone().aggregate();
            prop_assert_eq!(&bits(merged.iter()), &expected);
            prop_assert_eq!(&merged.clone().aggregate(), &merged);
            let (v4, v6) = expected.split_at(ADDRESSES);
            let (mut fewest4, mut fewest6) = (Vec::new(), Vec::new());
            fewest(v4, 0, 0, &mut fewest4);
            fewest(v6, 0, 0, &mut fewest6);
            let merged4 = merged.v4().iter().map(|net| ((u32::from(net.addr()) - V4) as usize, net.prefix_len() - 20));
            let merged6 = merged.v6().iter().map(|net| ((u128::from(net.addr()) - V6) as usize, net.prefix_len() - 116));
            prop_assert_eq!(merged4.collect::<Vec<_>>(), fewest4);
            prop_assert_eq!(merged6.collect::<Vec<_>>(), fewest6);

            let mut outside = set.clone();
            let inside = outside.take(&hole_set);
            for net in inside.iter() {
                prop_assert!(hole_set.iter().any(|hole| hole.contains(&net)));
            }
            for net in outside.iter() {
                prop_assert!(!hole_set.iter().any(|hole| hole.contains(&net)));
            }
            prop_assert_eq!(inside.iter().chain(outside.iter()).collect::<PrefixSet>(), set.clone());

            let left = set.subtract(&hole_set, MAX_PREFIXES).unwrap();
            let wanted: Vec<bool> = expected.iter().zip(&hole_bits).map(|(in_set, in_hole)| *in_set && !in_hole).collect();
            prop_assert_eq!(bits(left.iter()), wanted);
            prop_assert_eq!(left.iter().collect::<PrefixSet>(), left);
        }
    }
}
