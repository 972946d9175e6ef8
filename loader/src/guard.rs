//! What no policy may do, whatever the fetcher says: block a protected network, block or allow
//! too much, or vanish.

use std::net::Ipv6Addr;

use common::set::PrefixSet;
use common::{Config, Table};

use ipnet::IpNet;

use crate::contents::Contents;
use crate::protected::{self, Reason};

/// A rule that a policy breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The numbers, and the setting.
    pub cause: String,
    /// Whether `-f` lets it pass.
    pub passable: bool,
}

/// Below this number of entries a table may shrink as it likes.
const SHRINK_FLOOR: usize = 1000;
/// IPv4 unicast: 0.0.0.0 to 223.255.255.255.
const UNICAST4: u128 = 224 << 24;
/// IPv6 global unicast (RFC 4291): 2000::/3.
const UNICAST6: u128 = 1 << 125;

/// A policy after the guards.
#[derive(Debug)]
pub struct Checked {
    /// What the table shall hold.
    pub contents: Contents,
    /// The rules that this breaks.
    pub violations: Vec<Violation>,
    /// What was protected against what, in words.
    pub notes: Vec<String>,
}

/// What a table had before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held<'a> {
    /// What its file holds.
    pub file: Option<&'a Contents>,
    /// The number of entries in pf, exceptions included.
    pub entries: u64,
}

impl Held<'_> {
    /// The number of prefixes it had, whichever of file and pf knows of more. pf does not tell
    /// exceptions from prefixes: it is taken to have as many as the file has, or the next content.
    fn prefixes(self, next: &Contents) -> usize {
        let (prefixes, exceptions) =
            self.file.map_or((0, 0), |file| (file.prefixes.len(), file.exceptions.len()));
        let entries = usize::try_from(self.entries).unwrap_or(usize::MAX);
        prefixes.max(entries.saturating_sub(exceptions.max(next.exceptions.len())))
    }
}

/// Makes what a table shall hold of a policy, and finds the rules that this breaks.
///
/// What is too wide is looked for in the policy as it came; whether it vanished, in what is left
/// of it: a policy of protected prefixes alone is an empty one.
pub fn check(set: PrefixSet, table: Table, config: &Config, protected: &[Reason], held: Held<'_>) -> Checked {
    match table {
        Table::Allow => {
            let violations = allow_violations(&set, config);
            let contents = Contents { prefixes: set, exceptions: PrefixSet::default() };
            Checked { contents, violations, notes: Vec::new() }
        }
        Table::Block => {
            let mut violations = too_wide(&set, config);
            let (contents, dropped) = protect(set, protected::set(protected));
            violations.extend(vanished(contents.prefixes.len(), config, held.prefixes(&contents)));
            let notes = notes(&contents, &dropped, protected);
            Checked { contents, violations, notes }
        }
    }
}

/// What may be loaded again of what a table held before: what is protected now stays protected,
/// and what is too wide now, or leaves nothing to block, is refused. It may shrink: that is what
/// going back is for.
pub fn check_again(old: Contents, table: Table, config: &Config, protected: &[Reason]) -> Checked {
    if table == Table::Allow {
        let violations = allow_violations(&old.prefixes, config);
        return Checked { contents: old, violations, notes: Vec::new() };
    }
    let mut violations = too_wide(&old.prefixes, config);
    let all: PrefixSet = protected::set(protected).iter().chain(old.exceptions.iter()).collect();
    let (contents, dropped) = protect(old.prefixes, all);
    violations.extend(vanished(contents.prefixes.len(), config, 0));
    let notes = notes(&contents, &dropped, protected);
    Checked { contents, violations, notes }
}

/// A line for each protected prefix that the policy would have blocked, all or in part. Without
/// numbers: it shall change only when what is protected does, not with every policy.
fn notes(contents: &Contents, dropped: &PrefixSet, protected: &[Reason]) -> Vec<String> {
    let dropped: Vec<IpNet> = dropped.iter().collect();
    let mut lines = Vec::new();
    for (net, reason) in protected {
        // In ascending order what lies in a prefix follows it.
        let first = dropped.partition_point(|listed| listed < net);
        if dropped.get(first).is_some_and(|listed| net.contains(listed)) {
            lines.push(format!("{net} is not blocked ({reason}): listed prefixes in it are left out"));
        }
        if contents.exceptions.iter().any(|exception| exception == *net) {
            lines.push(format!("{net} is not blocked ({reason}): it is exempted from a listed prefix"));
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

fn allow_violations(set: &PrefixSet, config: &Config) -> Vec<Violation> {
    let mut found = too_short(set, ("MIN_ALLOW4", config.min_allow4), ("MIN_ALLOW6", config.min_allow6));
    let most = u128::from(config.max_allow);
    for (amount, what) in [(addresses4(set), "IPv4 addresses"), (sites6(set), "IPv6 networks of 48 bits")] {
        if amount > most {
            let cause = format!("{amount} {what}, more than MAX_ALLOW={most}; -f allows them");
            found.push(Violation { cause, passable: true });
        }
    }
    found
}

fn too_wide(set: &PrefixSet, config: &Config) -> Vec<Violation> {
    let mut found = too_short(set, ("MIN_PREFIX4", config.min_prefix4), ("MIN_PREFIX6", config.min_prefix6));
    let most = u128::from(config.max_cover);
    for (family, covered, all) in [("IPv4", addresses4(set), UNICAST4), ("IPv6", addresses6(set), UNICAST6)] {
        // In hundredths of all: both families have a number of addresses that 100 does not divide.
        if covered > (all / 100).saturating_mul(most).saturating_add(all % 100 * most / 100) {
            let percent = (covered / (all / 100)).min(100);
            let cause =
                format!("covers {percent} % of {family} unicast, more than MAX_COVER={most}; -f blocks it");
            found.push(Violation { cause, passable: true });
        }
    }
    found
}

fn vanished(left: usize, config: &Config, previous: usize) -> Option<Violation> {
    let percent = usize::from(config.max_shrink);
    let least = previous.saturating_mul(100usize.saturating_sub(percent));
    let cause = if left == 0 && !config.block.lists.is_empty() {
        "nothing to block, though BLOCK_LIST is set; -f empties the table".to_owned()
    } else if previous > SHRINK_FLOOR && left.saturating_mul(100) < least {
        format!("{left} prefixes after {previous}: shrinks by more than MAX_SHRINK={percent} %; -f takes it")
    } else {
        return None;
    };
    Some(Violation { cause, passable: true })
}

fn too_short(set: &PrefixSet, (key4, min4): (&str, u8), (key6, min6): (&str, u8)) -> Vec<Violation> {
    let v4 = set
        .v4()
        .iter()
        .find(|net| net.prefix_len() < min4)
        .map(|net| format!("{net}: shorter than {key4}={min4}"));
    let v6 = set
        .v6()
        .iter()
        .find(|net| net.prefix_len() < min6)
        .map(|net| format!("{net}: shorter than {key6}={min6}"));
    v4.into_iter().chain(v6).map(|cause| Violation { cause, passable: false }).collect()
}

/// The number of IPv4 addresses; the prefixes of a canonical set do not overlap.
fn addresses4(set: &PrefixSet) -> u128 {
    set.v4().iter().map(|net| 1u128 << (32 - u32::from(net.prefix_len()))).sum()
}

/// The number of /48s, which is what a site has (RFC 6177); a longer prefix counts as one.
fn sites6(set: &PrefixSet) -> u128 {
    set.v6().iter().map(|net| 1u128 << 48u32.saturating_sub(u32::from(net.prefix_len()))).sum()
}

/// The number of IPv6 addresses in 2000::/3.
fn addresses6(set: &PrefixSet) -> u128 {
    let global = |first: u128| first >> 125 == 1;
    set.v6()
        .iter()
        .filter_map(|net| match net.prefix_len() {
            length @ 3..=128 if global(net.network().to_bits()) => Some(1u128 << (128 - u32::from(length))),
            // 2000::/3 is the second eighth of the address space.
            0..3 if net.contains(&Ipv6Addr::from_bits(1 << 125)) => Some(UNICAST6),
            _ => None,
        })
        .sum()
}

/// Takes the protected prefixes out of a block list, exactly, given pf's longest match: prefixes
/// equal to or inside a protected one are dropped, and one that contains a protected prefix gets
/// an exception. Returns what was dropped, too.
fn protect(mut block: PrefixSet, mut protected: PrefixSet) -> (Contents, PrefixSet) {
    let dropped = block.take(&protected);
    let exceptions = protected.take(&block);
    (Contents { prefixes: block, exceptions }, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::{IpNet, Ipv4Net};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn set(text: &str) -> PrefixSet {
        text.split_whitespace().map(|word| common::prefix::parse(word.as_bytes()).unwrap()).collect()
    }

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    fn found(list: &str, table: Table, settings: &str, previous: usize) -> Vec<(String, bool)> {
        let config = config(settings);
        let protected: Vec<Reason> = config.never_block.iter().map(|net| (*net, "NEVER_BLOCK")).collect();
        let held = Held { file: None, entries: previous as u64 };
        let violations = check(set(list), table, &config, &protected, held).violations;
        violations.into_iter().map(|violation| (violation.cause, violation.passable)).collect()
    }

    #[test]
    fn a_block_list_may_not_be_too_wide() {
        assert_eq!(found("10.0.0.0/8 2001::/16", Table::Block, "", 0), []);
        let violations = found("0.0.0.0/0 ::/0", Table::Block, "", 0);
        assert_eq!(violations[0], ("0.0.0.0/0: shorter than MIN_PREFIX4=8".into(), false));
        assert_eq!(violations[1], ("::/0: shorter than MIN_PREFIX6=16".into(), false));
        assert_eq!(violations[2].0, "covers 100 % of IPv4 unicast, more than MAX_COVER=25; -f blocks it");
        assert_eq!(violations[3].0, "covers 100 % of IPv6 unicast, more than MAX_COVER=25; -f blocks it");
        let eighths = "MIN_PREFIX4=2\nMIN_PREFIX6=5";
        assert_eq!(found("2000::/5", Table::Block, eighths, 0), []);
        assert_eq!(found("2000::/5 2800::/5", Table::Block, eighths, 0).len(), 1);
        assert_eq!(found("64.0.0.0/2", Table::Block, eighths, 0).len(), 1);
        assert_eq!(found("4000::/5 8000::/5", Table::Block, eighths, 0), [], "not global unicast");
    }

    #[test]
    fn a_block_list_may_not_vanish() {
        let some = "BLOCK_LIST=block.example";
        assert_eq!(
            found("", Table::Block, "", 5000),
            [("0 prefixes after 5000: shrinks by more than MAX_SHRINK=50 %; -f takes it".into(), true)]
        );
        assert_eq!(
            found("", Table::Block, some, 0),
            [("nothing to block, though BLOCK_LIST is set; -f empties the table".into(), true)]
        );
        assert_eq!(found("192.0.2.1", Table::Block, some, 1000), []);
        assert_eq!(found("192.0.2.1", Table::Block, some, 1001).len(), 1);
        assert_eq!(found("192.0.2.1 192.0.2.3", Table::Block, "MAX_SHRINK=100", 100_000), []);
    }

    #[test]
    fn exceptions_are_no_prefixes_that_vanished() {
        let config = config("NEVER_BLOCK=");
        let net = |host: u32, length| IpNet::V4(Ipv4Net::new((0x5b00_0000 + host).into(), length).unwrap());
        let policy: PrefixSet = (0..600u32).map(|n| net(n << 10, 22)).collect();
        let protected: Vec<Reason> =
            (0..700u32).map(|n| (net(((n % 600) << 10) + n / 600, 32), "NEVER_BLOCK")).collect();
        let first = check(policy.clone(), Table::Block, &config, &protected, Held::default());
        assert_eq!((first.contents.prefixes.len(), first.contents.exceptions.len()), (600, 700));
        let entries = first.contents.len() as u64;
        for file in [None, Some(&first.contents)] {
            let again = check(policy.clone(), Table::Block, &config, &protected, Held { file, entries });
            assert_eq!(again.violations, [], "unchanged");
        }
        // What was exempted no longer is: the file knows how many entries were exceptions.
        let held = Held { file: Some(&first.contents), entries };
        assert_eq!(check(policy.clone(), Table::Block, &config, &[], held).violations, []);
        // Whichever knows of more: a file that somebody emptied does not open the way.
        let held = Held { file: Some(&Contents::default()), entries: 1300 };
        assert_eq!(check(policy, Table::Block, &config, &[], held).violations.len(), 1);
    }

    #[test]
    fn a_list_of_protected_prefixes_is_an_empty_one() {
        let decoys: String = (0..5000).map(|n| format!("10.0.{}.{} ", n / 250, n % 250)).collect();
        let violations = found(&decoys, Table::Block, "BLOCK_LIST=block.example", 5000);
        assert_eq!(
            violations,
            [("nothing to block, though BLOCK_LIST is set; -f empties the table".into(), true)]
        );
        let mixed = format!("{decoys} 91.0.0.1");
        assert!(found(&mixed, Table::Block, "", 5000)[0].0.starts_with("1 prefixes after 5000: shrinks"));
    }

    #[test]
    fn the_cover_is_compared_exactly() {
        // 56 of 224 /8s are 25 %.
        let eighths = |count: u32| (1..=count).map(|n| format!("{n}.0.0.0/8 ")).collect::<String>();
        assert_eq!(found(&eighths(56), Table::Block, "NEVER_BLOCK=", 0), []);
        assert_eq!(found(&(eighths(56) + "100.0.0.0/32"), Table::Block, "NEVER_BLOCK=", 0).len(), 1);
        assert_eq!(found("9.9.9.9", Table::Block, "MAX_COVER=0", 0).len(), 1);
        assert_eq!(
            found("0.0.0.0/0 ::/0", Table::Block, "MAX_COVER=100\nMIN_PREFIX4=0\nMIN_PREFIX6=0", 0).len(),
            1
        );
    }

    #[test]
    fn an_allow_list_may_not_open_the_firewall() {
        assert_eq!(found("", Table::Allow, "", 5000), []);
        assert_eq!(found("192.0.0.0/16 2001:db8::/32", Table::Allow, "", 0), []);
        assert_eq!(
            found("192.0.0.0/15", Table::Allow, "", 0)[0],
            ("192.0.0.0/15: shorter than MIN_ALLOW4=16".into(), false)
        );
        assert!(!found("2001::/31", Table::Allow, "", 0)[0].1);
        let wide: String = (0..17).map(|n| format!("2a{n:02x}::/32 ")).collect();
        let cause = "1114112 IPv6 networks of 48 bits, more than MAX_ALLOW=1048576; -f allows them";
        assert_eq!(found(&wide, Table::Allow, "", 0), [(cause.into(), true)]);
        assert_eq!(found("2a00::/32 2001:db8::1 2001:db8::2", Table::Allow, "MAX_ALLOW=65538", 0), []);
        assert_eq!(found("2a00::/32 2001:db8::1 2001:db8::2", Table::Allow, "MAX_ALLOW=65537", 0).len(), 1);
        let cause = "131072 IPv4 addresses, more than MAX_ALLOW=65536; -f allows them";
        assert_eq!(
            found("192.0.0.0/16 192.2.0.0/16", Table::Allow, "MAX_ALLOW=65536", 0),
            [(cause.into(), true)]
        );
    }

    #[test]
    fn protected_networks_are_taken_out() {
        let (contents, dropped) = protect(
            set("10.1.2.3 10.0.0.0/8 9.0.0.0/8 192.0.2.0/24"),
            set("10.0.0.0/8 192.0.2.128/25 172.16.0.0/12"),
        );
        assert_eq!(contents.prefixes, set("9.0.0.0/8 192.0.2.0/24"));
        assert_eq!(contents.exceptions, set("192.0.2.128/25"));
        let reasons: Vec<Reason> = ["10.0.0.0/8", "192.0.2.128/25", "172.16.0.0/12"]
            .map(|net| (net.parse().unwrap(), "a reason"))
            .to_vec();
        assert_eq!(
            notes(&contents, &dropped, &reasons),
            [
                "10.0.0.0/8 is not blocked (a reason): listed prefixes in it are left out",
                "192.0.2.128/25 is not blocked (a reason): it is exempted from a listed prefix",
            ]
        );
    }

    /// What pf does: the longest entry that covers the address decides.
    fn matches(contents: &Contents, address: IpAddr) -> bool {
        let covering = contents.iter().filter(|(net, _)| net.contains(&address));
        covering.max_by_key(|(net, _)| net.prefix_len()).is_some_and(|(_, exception)| !exception)
    }

    proptest! {
        #[test]
        fn no_protected_address_matches_and_every_other_still_does(
            block in vec((any::<u8>(), 20u8..=32), 0..40), protected in vec((any::<u8>(), 20u8..=32), 0..10), v6: bool,
        ) {
            // The same in both families: the last twelve bits are what differs.
            let address = |low: u8| match v6 {
                true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(low)]),
                false => IpAddr::from([192, 0, 2, low]),
            };
            let nets = |items: Vec<(u8, u8)>| items.into_iter()
                .map(|(low, length)| IpNet::new(address(low), length + if v6 { 96 } else { 0 }).unwrap().trunc())
                .collect::<PrefixSet>();
            let (block, protected) = (nets(block), nets(protected));
            let (contents, _) = protect(block.clone(), protected.clone());
            for address in (0..=255).map(address) {
                let listed = block.iter().any(|net| net.contains(&address));
                let safe = protected.iter().any(|net| net.contains(&address));
                prop_assert_eq!(matches(&contents, address), listed && !safe, "{}", address);
            }
        }
    }
}
