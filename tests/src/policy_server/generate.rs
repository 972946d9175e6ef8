//! Policies for the demo, tests and benchmarks: the same for the same seed, on every machine.

use super::apl::AplItem;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that is in every block list of the service (`bad.threatstop.com`).
pub const INDICATOR: IpAddr = IpAddr::V4(Ipv4Addr::new(64, 87, 3, 133));

/// IPv4 ranges that nothing generated may touch: those of special use (RFC 6890), which tsload protects or refuses, those
/// of the service, and those of public resolvers, which are protected on a machine that uses them.
const AVOID_V4: [([u8; 4], u8); 25] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
    ([192, 124, 129, 0], 24),
    ([204, 68, 97, 208], 28),
    ([204, 68, 99, 208], 28),
    ([1, 0, 0, 0], 24),
    ([1, 1, 1, 0], 24),
    ([8, 8, 4, 0], 24),
    ([8, 8, 8, 0], 24),
    ([9, 9, 9, 0], 24),
    ([149, 112, 112, 0], 24),
    ([208, 67, 220, 0], 24),
    ([208, 67, 222, 0], 24),
];

/// Of 2000::/3, those that are not for hosts anywhere: protocol assignments, documentation, 6to4.
const AVOID_V6: [([u16; 3], u8); 4] =
    [([0x2001, 0, 0], 23), ([0x2001, 0xdb8, 0], 32), ([0x2002, 0, 0], 16), ([0x3fff, 0, 0], 20)];

/// `count` prefixes of a block list, in no order, each canonical and none within another: about 80 % IPv4 hosts, 10 %
/// IPv4 networks from /16 to /31, 7 % IPv6 hosts and 3 % IPv6 networks from /32 to /64, all of them in ranges for
/// ordinary hosts. The first is the indicator. IPv4 has room for some 10 million.
pub fn block(seed: u64, count: usize) -> Vec<IpNet> {
    let mut generator = Generator::new(seed);
    let mut prefixes = Vec::new();
    let indicator = IpNet::from(INDICATOR);
    if count > 0 && generator.take(indicator) {
        prefixes.push(indicator);
    }
    while prefixes.len() < count {
        prefixes.push(generator.fresh());
    }
    prefixes
}

/// `count` prefixes of an allow list, of the same kinds and under the same rules, without the indicator.
pub fn allow(seed: u64, count: usize) -> Vec<IpNet> {
    let mut generator = Generator::new(seed);
    generator.take(IpNet::from(INDICATOR));
    (0..count).map(|_| generator.fresh()).collect()
}

/// A changed block list: `remove` prefixes less (never the indicator) and `add` more, which neither repeat, cover nor
/// lie in any prefix of the old list, removed ones too.
pub fn changed(seed: u64, old: &[IpNet], remove: usize, add: usize) -> Vec<IpNet> {
    let mut generator = Generator::new(seed);
    for &prefix in old {
        generator.take(prefix);
    }
    let indicator = IpNet::from(INDICATOR);
    let (mut prefixes, mut others): (Vec<_>, Vec<_>) =
        old.iter().copied().partition(|&prefix| prefix == indicator);
    for _ in 0..remove.min(others.len()) {
        let victim = generator.below(others.len() as u64) as usize;
        others.swap_remove(victim);
    }
    prefixes.append(&mut others);
    for _ in 0..add {
        prefixes.push(generator.fresh());
    }
    prefixes
}

/// The prefixes as APL items.
pub fn listed(prefixes: &[IpNet]) -> Vec<AplItem> {
    prefixes.iter().copied().map(AplItem::listed).collect()
}

/// A random generator, and what it must not touch any more.
struct Generator {
    state: u64,
    /// First and last address of each range that is taken, as numbers.
    taken_v4: BTreeMap<u32, u32>,
    taken_v6: BTreeMap<u128, u128>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut generator = Generator { state: seed, taken_v4: BTreeMap::new(), taken_v6: BTreeMap::new() };
        for (address, len) in AVOID_V4 {
            generator.take(net(IpAddr::from(address), len));
        }
        for ([a, b, c], len) in AVOID_V6 {
            generator.take(net(IpAddr::from(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), len));
        }
        generator
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small against 2^64 and not 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A prefix that touches nothing taken; it is taken then.
    fn fresh(&mut self) -> IpNet {
        loop {
            let prefix = match self.below(100) {
                0..80 => self.v4(32),
                80..90 => {
                    // Large networks are rare, as they are in real lists.
                    let len = match self.below(20) {
                        0 => 16 + self.below(4),
                        1..4 => 20 + self.below(4),
                        4..14 => 24,
                        _ => 25 + self.below(7),
                    };
                    self.v4(len as u8)
                }
                90..97 => self.v6(128),
                _ => {
                    let len = 32 + 4 * self.below(9);
                    self.v6(len as u8)
                }
            };
            if self.take(prefix) {
                return prefix;
            }
        }
    }

    fn v4(&mut self, len: u8) -> IpNet {
        let number = self.next() as u32;
        net(IpAddr::from(number.to_be_bytes()), len)
    }

    fn v6(&mut self, len: u8) -> IpNet {
        let number = (u128::from(self.next()) << 64) | u128::from(self.next());
        // The first three bits are those of 2000::/3.
        net(IpAddr::from(((number >> 3) | (1 << 125)).to_be_bytes()), len)
    }

    /// Takes a prefix; false if something of it is taken.
    fn take(&mut self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(prefix) => {
                take(&mut self.taken_v4, u32::from(prefix.network()), u32::from(prefix.broadcast()))
            }
            IpNet::V6(prefix) => {
                take(&mut self.taken_v6, u128::from(prefix.network()), u128::from(prefix.broadcast()))
            }
        }
    }
}

fn take<N: Ord + Copy>(taken: &mut BTreeMap<N, N>, first: N, last: N) -> bool {
    // Ranges in the map are disjoint: only the last that starts at or before `last` can touch.
    let free = taken.range(..=last).next_back().is_none_or(|(_, &end)| end < first);
    if free {
        taken.insert(first, last);
    }
    free
}

/// A prefix with its host bits cleared; a length beyond the family's is the family's.
fn net(address: IpAddr, len: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::from(Ipv4Net::new_assert(address, len.min(32))).trunc(),
        IpAddr::V6(address) => IpNet::from(Ipv6Net::new_assert(address, len.min(128))).trunc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(prefixes: &[IpNet]) -> BTreeSet<IpNet> {
        prefixes.iter().copied().collect()
    }

    /// By sorting, unlike the generator.
    fn assert_disjoint(prefixes: &[IpNet]) {
        let mut sorted = prefixes.to_vec();
        sorted.sort();
        for pair in sorted.windows(2) {
            assert!(!pair[0].contains(&pair[1]) && !pair[1].contains(&pair[0]), "{pair:?}");
        }
    }

    #[test]
    fn the_demo_policy_is_what_it_says() {
        let prefixes = block(1, 26_424);
        assert_eq!(set(&prefixes).len(), 26_424);
        assert_eq!(prefixes[0], IpNet::from(INDICATOR));
        assert_disjoint(&prefixes);
        let avoided: Vec<IpNet> = [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "0.0.0.0/8",
            "192.124.129.0/24",
            "204.68.97.208/28",
            "204.68.99.208/28",
            "2001:db8::/32",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let ipv6: IpNet = "2000::/3".parse().unwrap();
        for prefix in &prefixes {
            assert_eq!(prefix.trunc(), *prefix);
            assert!(
                avoided.iter().all(|range| !range.contains(prefix) && !prefix.contains(range)),
                "{prefix}"
            );
            assert!(prefix.addr().is_ipv4() || ipv6.contains(prefix), "{prefix}");
            assert!(prefix.prefix_len() >= if prefix.addr().is_ipv4() { 16 } else { 32 }, "{prefix}");
        }
        let kinds = |v4: bool, host: bool| {
            prefixes
                .iter()
                .filter(|net| {
                    net.addr().is_ipv4() == v4 && (net.prefix_len() == net.max_prefix_len()) == host
                })
                .count()
        };
        assert!(
            kinds(true, true) > 20_000
                && kinds(true, false) > 2_000
                && kinds(false, true) > 1_500
                && kinds(false, false) > 500
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_list() {
        assert_eq!(block(7, 500), block(7, 500));
        assert_ne!(block(7, 500), block(8, 500));
        assert_eq!(block(7, 500)[..], block(7, 600)[..500]);
        assert_eq!(block(7, 0), []);
        assert_eq!(allow(3, 3).len(), 3);
    }

    #[test]
    fn a_change_is_exactly_as_large_as_told() {
        let old = block(1, 5_000);
        let new = changed(2, &old, 120, 75);
        assert_eq!(new, changed(2, &old, 120, 75));
        let (before, after) = (set(&old), set(&new));
        assert_eq!(before.difference(&after).count(), 120);
        assert_eq!(after.difference(&before).count(), 75);
        assert_eq!(new.len(), 4_955);
        assert!(after.contains(&IpNet::from(INDICATOR)));
        let both: Vec<IpNet> = before.union(&after).copied().collect();
        assert_disjoint(&both);
        assert_eq!(changed(2, &old, 9_999, 0), [IpNet::from(INDICATOR)]);
    }
}
