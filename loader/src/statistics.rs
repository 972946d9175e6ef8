//! What a table did, for people and for monitoring (`-s`).

use std::fmt::Write;

use common::clock;

use crate::abi::TableStats;

/// A table's statistics, aligned for people to read.
pub fn for_people(table: &TableStats) -> String {
    let name = String::from_utf8_lossy(&table.name);
    let since = clock::date_at(table.since);
    let mut text = format!("{name}: {} addresses, counted since {since}\n", table.count);
    let mut line = |what: &str, packets: u64, bytes: u64| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<12}{packets:>16} packets {bytes:>20} bytes");
    };
    let ([in_packets, out_packets], [in_bytes, out_bytes]) = (table.blocked.packets, table.blocked.bytes);
    line("blocked in", in_packets, in_bytes);
    line("blocked out", out_packets, out_bytes);
    let ([in_packets, out_packets], [in_bytes, out_bytes]) = (table.passed.packets, table.passed.bytes);
    line("passed in", in_packets, in_bytes);
    line("passed out", out_packets, out_bytes);
    let evaluations = table.matches.saturating_add(table.nomatches);
    let _ = write!(
        text,
        "  {:<12}{evaluations:>16}, of which {} matched ({} %)",
        "evaluations",
        table.matches,
        rate(table)
    );
    text
}

/// The same as `KEY=value` lines; each key begins with `word`.
pub fn for_monitoring(word: &str, table: &TableStats) -> String {
    let ([blocked_in, blocked_out], [blocked_in_bytes, blocked_out_bytes]) =
        (table.blocked.packets, table.blocked.bytes);
    let ([passed_in, passed_out], [passed_in_bytes, passed_out_bytes]) =
        (table.passed.packets, table.passed.bytes);
    let values = [
        ("addresses", table.count),
        ("blocked_in_packets", blocked_in),
        ("blocked_in_bytes", blocked_in_bytes),
        ("blocked_out_packets", blocked_out),
        ("blocked_out_bytes", blocked_out_bytes),
        ("passed_in_packets", passed_in),
        ("passed_in_bytes", passed_in_bytes),
        ("passed_out_packets", passed_out),
        ("passed_out_bytes", passed_out_bytes),
        ("evaluations", table.matches.saturating_add(table.nomatches)),
        ("matches", table.matches),
        ("since", table.since),
    ];
    let lines = values.map(|(key, value)| format!("{word}_{key}={value}\n")).concat();
    format!("{lines}{word}_match_percent={}", rate(table))
}

/// Matches of all evaluations in percent, with two decimals.
fn rate(table: &TableStats) -> String {
    let (matches, all) = (u128::from(table.matches), u128::from(table.matches) + u128::from(table.nomatches));
    let hundredths = (matches * 10_000).checked_div(all).unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Traffic;

    fn table() -> TableStats {
        TableStats {
            name: b"ThreatSTOP-Block".to_vec(),
            flags: 0,
            count: 26_424,
            rules: 2,
            blocked: Traffic { packets: [1200, 34], bytes: [76_800, 2040] },
            passed: Traffic::default(),
            matches: 1234,
            nomatches: 98_766,
            since: 1_795_000_000,
        }
    }

    #[test]
    fn people_get_columns() {
        let text = for_people(&table());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ThreatSTOP-Block: 26424 addresses, counted since "), "{text}");
        assert_eq!(lines[1], "  blocked in              1200 packets                76800 bytes");
        assert_eq!(lines[4], "  passed out                 0 packets                    0 bytes");
        assert_eq!(lines[5], "  evaluations           100000, of which 1234 matched (1.23 %)");
    }

    #[test]
    fn monitors_get_keys() {
        let text = for_monitoring("block", &table());
        assert!(text.starts_with("block_addresses=26424\nblock_blocked_in_packets=1200\n"), "{text}");
        assert!(
            text.ends_with("block_matches=1234\nblock_since=1795000000\nblock_match_percent=1.23"),
            "{text}"
        );
    }

    #[test]
    fn a_table_that_nobody_asked_has_no_rate() {
        let idle = TableStats { matches: 0, nomatches: 0, ..table() };
        assert_eq!(rate(&idle), "0.00");
        let full = TableStats { matches: u64::MAX, nomatches: u64::MAX, ..table() };
        assert_eq!(rate(&full), "50.00");
        assert!(for_people(&full).contains("evaluations"));
    }
}
