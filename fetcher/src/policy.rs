//! From the items of a table's lists to its set of prefixes.

use common::Table;
use common::set::{PrefixSet, TooMany};

use crate::chunk::Chunk;

/// What a table shall hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// The prefixes.
    pub set: PrefixSet,
    /// How many items were left out because of `MAX_POLICY_SIZE`.
    pub left_out: usize,
}

/// Takes positive items in the server's order, as many as `max_policy_size` lets through (0 is
/// no limit; the allow table gets a fifth of it, at least 1); cuts out all negated ones, exactly;
/// merges siblings if `aggregate`. Whatever the settings, no more than `bound` prefixes come into
/// being: a hole of 16 octets on the wire can make 128 of them.
///
/// # Errors
/// Cutting out left more prefixes than one of the limits.
pub fn build(
    table: Table,
    chunks: Vec<Chunk>,
    max_policy_size: u32,
    aggregate: bool,
    bound: usize,
) -> Result<Policy, String> {
    let most = most(table, max_policy_size);
    let given: usize = chunks.iter().map(|chunk| chunk.positive.len()).sum();
    let holes: PrefixSet = chunks.iter().flat_map(|chunk| chunk.negated.iter().copied()).collect();
    // A chunk is freed as soon as it is used up: the set is then all that is held.
    let mut set: PrefixSet = chunks.into_iter().flat_map(|chunk| chunk.positive).take(most).collect();
    if !holes.is_empty() {
        set = set
            .subtract(&holes, bound)
            .map_err(|TooMany| format!("more than {bound} prefixes after the negated ones are cut out"))?;
    }
    if aggregate {
        set = set.aggregate();
    }
    if set.len() > most {
        return Err(format!(
            "{} prefixes after the negated ones are cut out, {most} is the most (MAX_POLICY_SIZE)",
            set.len()
        ));
    }
    Ok(Policy { set, left_out: given.saturating_sub(most) })
}

/// The most items of a table.
fn most(table: Table, max_policy_size: u32) -> usize {
    let share = match (table, max_policy_size) {
        (_, 0) => return usize::MAX,
        (Table::Allow, size) => (size / 5).max(1),
        (Table::Block, size) => size,
    };
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::set::MAX_PREFIXES;
    use ipnet::IpNet;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|word| common::prefix::parse(word.as_bytes()).unwrap()).collect()
    }

    fn chunk(positive: &str, negated: &str) -> Chunk {
        Chunk { records: 1, positive: nets(positive), negated: nets(negated), ..Chunk::default() }
    }

    fn text(policy: &Policy) -> String {
        policy.set.iter().map(|net| net.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn all_lists_make_one_set_and_negations_hold_for_all() {
        let chunks = vec![chunk("2001:db8::/32 10.0.0.0/30", ""), chunk("10.0.0.1 10.0.1.0/31", "10.0.0.1")];
        let policy = build(Table::Block, chunks, 0, false, MAX_PREFIXES).unwrap();
        assert_eq!(text(&policy), "10.0.0.0/32 10.0.0.2/31 10.0.1.0/31 2001:db8::/32");
        assert_eq!(policy.left_out, 0);
        assert!(build(Table::Block, Vec::new(), 5, true, MAX_PREFIXES).unwrap().set.is_empty());
    }

    #[test]
    fn the_limit_counts_positive_items_in_the_servers_order() {
        let chunks = || vec![chunk("10.0.0.9 ::1 10.0.0.9", ""), chunk("10.0.0.1 10.0.0.2", "10.0.0.9")];
        let policy = build(Table::Block, chunks(), 4, false, MAX_PREFIXES).unwrap();
        assert_eq!((text(&policy).as_str(), policy.left_out), ("10.0.0.1/32 ::1/128", 1));
        let policy = build(Table::Block, chunks(), 5, false, MAX_PREFIXES).unwrap();
        assert_eq!(policy.left_out, 0);
        for (size, most) in [(1, 1), (4, 1), (5, 1), (9, 1), (10, 2), (25, 5)] {
            let policy = build(Table::Allow, chunks(), size, false, MAX_PREFIXES).unwrap();
            assert_eq!(policy.left_out, 5usize.saturating_sub(most), "{size}");
        }
    }

    #[test]
    fn a_table_that_holes_make_too_large_fails() {
        let chunks = || vec![chunk("10.0.0.0/8", "10.0.0.0/32")];
        assert!(
            build(Table::Block, chunks(), 23, false, MAX_PREFIXES).unwrap_err().starts_with("24 prefixes ")
        );
        assert_eq!(build(Table::Block, chunks(), 24, false, MAX_PREFIXES).unwrap().set.len(), 24);
        // Without MAX_POLICY_SIZE there is still a bound.
        let failure = build(Table::Block, chunks(), 0, false, 23).unwrap_err();
        assert_eq!(failure, "more than 23 prefixes after the negated ones are cut out");
        assert_eq!(build(Table::Block, chunks(), 0, false, 24).unwrap().set.len(), 24);
    }

    #[test]
    fn siblings_are_merged_only_if_asked_for() {
        let chunks = || vec![chunk("10.0.0.0 10.0.0.1", "")];
        assert_eq!(
            text(&build(Table::Block, chunks(), 0, false, MAX_PREFIXES).unwrap()),
            "10.0.0.0/32 10.0.0.1/32"
        );
        assert_eq!(text(&build(Table::Block, chunks(), 0, true, MAX_PREFIXES).unwrap()), "10.0.0.0/31");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter_and_holes_hold_nothing(
            items in vec((0u8..16, 28u8..=32, any::<bool>()), 0..40), cut in 0usize..40, size in 0u32..20,
        ) {
            let net = |low, length| IpNet::new([10, 0, 0, low].into(), length).unwrap().trunc();
            let chunk = |items: &[(u8, u8, bool)]| Chunk {
                records: 1,
                positive: items.iter().filter(|item| !item.2).map(|item| net(item.0, item.1)).collect(),
                negated: items.iter().filter(|item| item.2).map(|item| net(item.0, item.1)).collect(),
                ..Chunk::default()
            };
            let (first, second) = items.split_at(cut.min(items.len()));
            let whole = build(Table::Block, vec![chunk(&items)], size, true, MAX_PREFIXES);
            prop_assert_eq!(&whole, &build(Table::Block, vec![chunk(first), chunk(second)], size, true, MAX_PREFIXES));
            let Ok(policy) = whole else { return Ok(()) };
            for low in 0..16 {
                let address = std::net::IpAddr::from([10, 0, 0, low]);
                let mut taken = items.iter().filter(|item| !item.2).take(most(Table::Block, size));
                let wanted = taken.any(|item| net(item.0, item.1).contains(&address))
                    && !items.iter().any(|item| item.2 && net(item.0, item.1).contains(&address));
                prop_assert_eq!(policy.set.iter().any(|net| net.contains(&address)), wanted);
            }
        }
    }
}
