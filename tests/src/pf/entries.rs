//! The entries of one table: exact look-up for changes, longest-prefix look-up for packets, counters that survive a replacement.
#![forbid(unsafe_code)]

use super::abi::{AF_INET, Addr, Os, fback};
use super::stats::{AddrStats, ByOp};
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

/// An IPv4 or IPv6 prefix with all bits beyond its length zero.
///
/// Order: IPv4 before IPv6, then by address, and of one address the longest first, as the kernel's tree is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    v6: bool,
    bits: [u8; 16],
    len: u8,
}

impl Prefix {
    /// The prefix of that length that holds `addr`: host bits are cleared. `None` if the length is beyond the family's.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Prefix> {
        let prefix = Prefix { len, ..Prefix::host(addr) };
        (len <= prefix.max_len()).then(|| prefix.cut(len))
    }

    /// The prefix of one address.
    #[must_use]
    pub fn host(addr: IpAddr) -> Prefix {
        match addr {
            IpAddr::V4(v4) => {
                let mut bits = [0; 16];
                bits.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
                Prefix { v6: false, bits, len: 32 }
            }
            IpAddr::V6(v6) => Prefix { v6: true, bits: v6.octets(), len: 128 },
        }
    }

    /// First address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        if self.v6 {
            return IpAddr::from(self.bits);
        }
        let [a, b, c, d, ..] = self.bits;
        IpAddr::from([a, b, c, d])
    }

    /// Length, 0 to 32 or 128.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.len
    }

    /// Length of a host of this family.
    #[must_use]
    pub fn max_len(&self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    fn cut(self, len: u8) -> Prefix {
        let bits = u128::from_be_bytes(self.bits) & !host_mask(len);
        Prefix { bits: bits.to_be_bytes(), len, ..self }
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Prefix) -> Ordering {
        (self.v6, self.bits, other.len).cmp(&(other.v6, other.bits, self.len))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Prefix) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.addr(), self.len)
    }
}

/// The bits beyond a prefix length, in an address whose first octet is the highest.
fn host_mask(len: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
}

/// What makes an entry more than an address: interface and weight of a route (OpenBSD's `pfr_kentry_route`, `_cost`).
type Route = Option<Box<([u8; 16], u16)>>;

/// One element that a program handed in, checked as `pfr_validate_addr` checks it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The address.
    pub prefix: Prefix,
    /// With a `!`.
    pub negated: bool,
    /// `PFRKE_*`.
    pub kind: u8,
    /// Place in the program's buffer.
    pub index: u32,
    route: Route,
}

impl Wanted {
    /// A plain entry.
    #[must_use]
    pub fn plain(prefix: Prefix, negated: bool, index: u32) -> Wanted {
        Wanted { prefix, negated, kind: 0, index, route: None }
    }

    /// Checks one element; `None` is EINVAL.
    #[must_use]
    pub fn check(os: Os, raw: &Addr, index: u32) -> Option<Wanted> {
        let v6 = raw.af == os.af_inet6();
        let prefix = Prefix { v6, bits: raw.addr, len: raw.net };
        let bits_beyond = u128::from_be_bytes(raw.addr) & host_mask(raw.net);
        if !(v6 || raw.af == AF_INET)
            || raw.net > prefix.max_len()
            || bits_beyond != 0
            || raw.not > 1
            || raw.fback != fback::NONE
            || raw.kind >= 3
        {
            return None;
        }
        let route = (raw.kind != 0).then(|| Box::new((raw.ifname, raw.weight.max(1))));
        Some(Wanted { prefix, negated: raw.not == 1, kind: raw.kind, index, route })
    }
}

/// Packet and byte counters of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets by direction and operation.
    pub packets: ByOp,
    /// Bytes by direction and operation.
    pub bytes: ByOp,
}

/// One entry of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The address.
    pub prefix: Prefix,
    /// With a `!`.
    pub negated: bool,
    /// `PFRKE_*`.
    pub kind: u8,
    /// Counting since, in seconds of the epoch.
    pub tzero: i64,
    /// Absent until the first packet.
    pub counters: Option<Box<Counters>>,
    route: Route,
}

impl Entry {
    fn new(wanted: Wanted, now: i64) -> Entry {
        let Wanted { prefix, negated, kind, route, .. } = wanted;
        Entry { prefix, negated, kind, tzero: now, counters: None, route }
    }

    /// Starts counting again.
    pub fn clear_counters(&mut self, now: i64) {
        self.counters = None;
        self.tzero = now;
    }

    /// The entry as the kernel copies it out.
    #[must_use]
    pub fn to_addr(&self, os: Os) -> Addr {
        let (ifname, weight) = self.route.as_deref().copied().unwrap_or_default();
        Addr {
            addr: self.prefix.bits,
            af: if self.prefix.v6 { os.af_inet6() } else { AF_INET },
            net: self.prefix.len,
            not: self.negated.into(),
            fback: fback::NONE,
            ifname,
            states: 0,
            weight: if self.kind == 2 { weight } else { 0 },
            kind: self.kind,
        }
    }

    /// The entry and its counters as the kernel copies them out.
    #[must_use]
    pub fn to_stats(&self, os: Os, table_counts: bool) -> AddrStats {
        let mut addr = self.to_addr(os);
        let counted = match os {
            Os::OpenBsd => self.counters.is_some(),
            Os::FreeBsd => table_counts,
        };
        if !counted {
            addr.fback = fback::NOCOUNT;
        }
        let Counters { packets, bytes } = self.counters.as_deref().copied().unwrap_or_default();
        AddrStats { addr, packets, bytes, tzero: self.tzero }
    }
}

/// What a change would do, before it is done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `PFR_FB_*` of each input element, by its place in the program's buffer.
    pub fates: Vec<u8>,
    /// Entries to be added.
    pub added: usize,
    /// Of those the plain ones, by their place in the buffer, ascending: the table-entries limit counts them.
    pub added_plain: Vec<u32>,
    /// Entries to be removed.
    pub deleted: usize,
    /// Entries whose `!` flips.
    pub changed: usize,
}

/// A table's entries in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    list: Vec<Entry>,
}

impl Entries {
    /// All entries, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[Entry] {
        &self.list
    }

    /// All entries, to be counted on or cleared.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.list.iter_mut()
    }

    /// Number of plain entries: what the table-entries limit counts.
    #[must_use]
    pub fn plain(&self) -> usize {
        self.list.iter().filter(|entry| entry.kind == 0).count()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.list = Vec::new();
    }

    /// The entry of exactly that prefix.
    pub fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut Entry> {
        let at = self.list.binary_search_by_key(prefix, |entry| entry.prefix).ok()?;
        self.list.get_mut(at)
    }

    /// The longest entry that holds the address, negated or not.
    #[must_use]
    pub fn longest_match(&self, addr: IpAddr) -> Option<&Entry> {
        let host = Prefix::host(addr);
        (0..=host.max_len()).rev().find_map(|len| {
            let key = host.cut(len);
            let at = self.list.binary_search_by_key(&key, |entry| entry.prefix).ok()?;
            self.list.get(at)
        })
    }

    /// Sorts the input and shows each element with the entry of the same prefix and whether it is the first of its prefix.
    fn pair(&self, wanted: &mut [Wanted], mut each: impl FnMut(&Wanted, Option<&Entry>, bool)) {
        wanted.sort_by_key(|element| element.prefix);
        let mut entries = self.list.iter().peekable();
        let mut previous = None;
        for element in wanted.iter() {
            while entries.next_if(|entry| entry.prefix < element.prefix).is_some() {}
            let entry = entries.peek().copied().filter(|entry| entry.prefix == element.prefix);
            each(element, entry, previous.replace(element.prefix) != Some(element.prefix));
        }
    }

    /// What replacing everything by `wanted` would do; sorts `wanted`.
    #[must_use]
    pub fn plan_set(&self, wanted: &mut [Wanted]) -> Plan {
        let mut plan = Plan { fates: vec![fback::NONE; wanted.len()], ..Plan::default() };
        let mut kept = 0;
        self.pair(wanted, |element, entry, first| {
            plan.note(
                element,
                match entry {
                    _ if !first => fback::DUPLICATE,
                    None => fback::ADDED,
                    Some(entry) => {
                        kept += 1;
                        if entry.negated == element.negated { fback::NONE } else { fback::CHANGED }
                    }
                },
            );
        });
        plan.added_plain.sort_unstable();
        plan.deleted = self.list.len() - kept;
        plan
    }

    /// What adding `wanted` would do; sorts `wanted`.
    #[must_use]
    pub fn plan_add(&self, wanted: &mut [Wanted]) -> Plan {
        let mut plan = Plan { fates: vec![fback::NONE; wanted.len()], ..Plan::default() };
        self.pair(wanted, |element, entry, first| {
            plan.note(
                element,
                match entry {
                    Some(entry) if entry.negated != element.negated => fback::CONFLICT,
                    Some(_) => fback::NONE,
                    None if first => fback::ADDED,
                    None => fback::DUPLICATE,
                },
            );
        });
        plan
    }

    /// What removing `wanted` would do; sorts `wanted`.
    #[must_use]
    pub fn plan_delete(&self, wanted: &mut [Wanted]) -> Plan {
        let mut plan = Plan { fates: vec![fback::NONE; wanted.len()], ..Plan::default() };
        let mut gone = None;
        self.pair(wanted, |element, entry, _| {
            plan.note(
                element,
                match entry {
                    None => fback::NONE,
                    Some(entry) if entry.negated != element.negated => fback::CONFLICT,
                    Some(_) if gone.replace(element.prefix) == Some(element.prefix) => fback::DUPLICATE,
                    Some(_) => fback::DELETED,
                },
            );
        });
        plan
    }

    /// The entries that a replacement removes; `wanted` as a plan left it, sorted.
    pub fn missing_from<'a>(&'a self, wanted: &'a [Wanted]) -> impl Iterator<Item = &'a Entry> {
        let mut wanted = wanted.iter().peekable();
        self.list.iter().filter(move |entry| {
            while wanted.next_if(|element| element.prefix < entry.prefix).is_some() {}
            wanted.peek().is_none_or(|element| element.prefix != entry.prefix)
        })
    }

    /// Carries a plan out: additions and changes always, removals as the plan's fates or, for a replacement, by absence.
    pub fn apply(&mut self, wanted: Vec<Wanted>, plan: &Plan, replace: bool, now: i64) {
        let mut merged = Vec::with_capacity(self.list.len() + plan.added);
        let mut old = std::mem::take(&mut self.list).into_iter().peekable();
        for element in wanted {
            while let Some(entry) = old.next_if(|entry| entry.prefix < element.prefix) {
                if !replace {
                    merged.push(entry);
                }
            }
            let fate = usize::try_from(element.index).ok().and_then(|index| plan.fates.get(index));
            let fate = fate.copied().unwrap_or(fback::NONE);
            // A later element of the same prefix may still remove this entry.
            if fate == fback::CONFLICT {
                continue;
            }
            let entry = old.next_if(|entry| entry.prefix == element.prefix);
            match (fate, entry) {
                (fback::ADDED, _) => merged.push(Entry::new(element, now)),
                (fback::DELETED, _) | (_, None) => {}
                (fback::CHANGED, Some(mut entry)) => {
                    entry.negated = element.negated;
                    entry.clear_counters(now);
                    merged.push(entry);
                }
                (_, Some(entry)) => merged.push(entry),
            }
        }
        if !replace {
            merged.extend(old);
        }
        self.list = merged;
    }
}

impl Plan {
    fn note(&mut self, element: &Wanted, fate: u8) {
        if let Some(slot) = usize::try_from(element.index).ok().and_then(|index| self.fates.get_mut(index)) {
            *slot = fate;
        }
        match fate {
            fback::ADDED => {
                self.added += 1;
                if element.kind == 0 {
                    self.added_plain.push(element.index);
                }
            }
            fback::DELETED => self.deleted += 1,
            fback::CHANGED => self.changed += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn prefix(text: &str) -> Prefix {
        let (addr, len) = text.split_once('/').unwrap();
        Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    /// A few close prefixes of both families, so that sets overlap.
    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let v4 = (0..64u32, 24..=32u8)
            .prop_map(|(low, len)| Prefix::new(IpAddr::from((10 << 24 | low).to_be_bytes()), len));
        let v6 = (0..64u128, 120..=128u8)
            .prop_map(|(low, len)| Prefix::new(IpAddr::from((1 << 125 | low).to_be_bytes()), len));
        prop_oneof![v4, v6].prop_map(Option::unwrap)
    }

    fn any_list() -> impl Strategy<Value = Vec<(Prefix, bool)>> {
        proptest::collection::vec((any_prefix(), any::<bool>()), 0..40)
    }

    fn wanted(list: &[(Prefix, bool)]) -> Vec<Wanted> {
        list.iter().zip(0..).map(|((prefix, not), index)| Wanted::plain(*prefix, *not, index)).collect()
    }

    fn loaded(list: &[(Prefix, bool)]) -> Entries {
        let mut entries = Entries::default();
        let mut elements = wanted(list);
        let plan = entries.plan_set(&mut elements);
        entries.apply(elements, &plan, true, 1);
        entries
    }

    fn content(entries: &Entries) -> Vec<(Prefix, bool)> {
        entries.as_slice().iter().map(|entry| (entry.prefix, entry.negated)).collect()
    }

    /// The first of each prefix counts.
    fn naive(list: &[(Prefix, bool)]) -> BTreeMap<Prefix, bool> {
        let mut map = BTreeMap::new();
        for (prefix, not) in list {
            map.entry(*prefix).or_insert(*not);
        }
        map
    }

    #[test]
    fn order_is_that_of_the_kernels_walk() {
        let sorted =
            ["10.0.0.0/32", "10.0.0.0/8", "10.0.0.1/32", "::/128", "::/0", "2001:db8::/32"].map(prefix);
        assert!(sorted.is_sorted());
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert!(Prefix::new("10.0.0.0".parse().unwrap(), 33).is_none());
    }

    proptest! {
        #[test]
        fn a_replacement_is_the_new_set_and_counts_the_difference(old in any_list(), new in any_list()) {
            let mut entries = loaded(&old);
            let (old, set) = (naive(&old), naive(&new));
            for (at, entry) in entries.list.iter_mut().enumerate() {
                entry.tzero = i64::try_from(at).unwrap() + 100;
            }
            let tzero: BTreeMap<Prefix, i64> = entries.list.iter().map(|entry| (entry.prefix, entry.tzero)).collect();
            let mut elements = wanted(&new);
            let plan = entries.plan_set(&mut elements);
            let missing: Vec<Prefix> = entries.missing_from(&elements).map(|entry| entry.prefix).collect();
            prop_assert_eq!(missing, old.keys().filter(|key| !set.contains_key(key)).copied().collect::<Vec<_>>());
            prop_assert_eq!(plan.added, set.keys().filter(|key| !old.contains_key(key)).count());
            prop_assert_eq!(plan.deleted, old.keys().filter(|key| !set.contains_key(key)).count());
            prop_assert_eq!(plan.changed, set.iter().filter(|(key, not)| old.get(key).is_some_and(|was| was != *not)).count());
            entries.apply(elements, &plan, true, 7);
            prop_assert_eq!(content(&entries), set.into_iter().collect::<Vec<_>>());
            for entry in entries.as_slice() {
                let survived = old.get(&entry.prefix) == Some(&entry.negated);
                prop_assert_eq!(entry.tzero, if survived { tzero[&entry.prefix] } else { 7 });
            }
        }

        #[test]
        fn additions_keep_what_is_there(old in any_list(), new in any_list()) {
            let mut entries = loaded(&old);
            let mut expected = naive(&old);
            let mut elements = wanted(&new);
            let plan = entries.plan_add(&mut elements);
            entries.apply(elements, &plan, false, 7);
            for (prefix, not) in naive(&new) {
                expected.entry(prefix).or_insert(not);
            }
            prop_assert_eq!(plan.added, expected.len() - naive(&old).len());
            prop_assert_eq!(content(&entries), expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn deletions_need_the_same_sign(old in any_list(), new in any_list()) {
            let mut entries = loaded(&old);
            let mut expected = naive(&old);
            let mut elements = wanted(&new);
            let plan = entries.plan_delete(&mut elements);
            entries.apply(elements, &plan, false, 7);
            expected.retain(|prefix, not| !new.contains(&(*prefix, *not)));
            prop_assert_eq!(plan.deleted, naive(&old).len() - expected.len());
            prop_assert_eq!(content(&entries), expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn the_longest_prefix_decides(list in any_list(), probe in any_prefix()) {
            let addr = probe.addr();
            let holding = naive(&list).into_iter().filter(|(prefix, _)| {
                prefix.addr().is_ipv4() == addr.is_ipv4() && Prefix::new(addr, prefix.length()) == Some(*prefix)
            });
            let expected = holding.max_by_key(|(prefix, _)| prefix.length());
            let entries = loaded(&list);
            let found = entries.longest_match(addr).map(|entry| (entry.prefix, entry.negated));
            prop_assert_eq!(found, expected);
        }
    }
}
