//! A table's way from the servers to its spool file.

use common::config::{Config, Table};
use common::{Status, message};

use crate::client::{Answer, Client};
use crate::policy::{self, Policy};
use crate::settings;
use crate::soa::Serial;
use crate::spool::{self, Header};

/// What became of a table on the way from the servers.
#[derive(Debug)]
pub struct Fetched {
    /// What there is to write.
    pub outcome: Outcome,
    /// What went wrong first, if anything did: with a policy, the next server had helped.
    pub cause: Option<String>,
}

/// What there is to write for a table.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The policy could not be had.
    Failed,
    /// The server has what the last run left, so many prefixes.
    Unchanged(usize),
    /// The policy, and the serials of its zones.
    Policy(Policy, Vec<Serial>),
}

/// Gets a table's policy. What went wrong on the way goes to standard error if the table failed;
/// a server that is down for a week, with a second one that works, is no reason for mail from
/// cron(8) each hour, and said only under `-v` and in the line for syslog.
pub fn fetch(client: &mut Client<'_>, config: &Config, table: Table) -> Fetched {
    let last = spool::last(&config.policy_file(table), table, settings::digest(config, table));
    let (serials, prefixes) = last.map_or((Vec::new(), 0), |last| (last.serials, last.prefixes));
    let (answer, mut causes) = client.table(table, &serials);
    let bound = client.limits.entries;
    let outcome = match answer {
        None => Outcome::Failed,
        Some(Answer::Unchanged) => Outcome::Unchanged(prefixes),
        Some(Answer::Lists(chunks, serials)) => {
            match policy::build(table, chunks, config.max_policy_size, config.aggregate, bound) {
                Ok(policy) => Outcome::Policy(policy, serials),
                Err(cause) => {
                    causes.insert(0, format!("{} table: {cause}", table.word()));
                    Outcome::Failed
                }
            }
        }
    };
    causes.iter().for_each(if outcome == Outcome::Failed { message::warn } else { message::say });
    Fetched { outcome, cause: causes.into_iter().next() }
}

/// Writes a table's spool file if it differs; says what became of it, in words for syslog. If
/// the policy could not be had, the old file stays.
pub fn leave(config: &Config, table: Table, fetched: Fetched) -> (Status, String) {
    let (status, mut summary) = leave_policy(config, table, fetched.outcome);
    if let Some(cause) = fetched.cause {
        summary.push_str(&format!(" ({cause})"));
    }
    (status, summary)
}

fn leave_policy(config: &Config, table: Table, outcome: Outcome) -> (Status, String) {
    let word = table.word();
    let path = config.policy_file(table);
    let (Policy { set, left_out }, serials) = match outcome {
        Outcome::Policy(policy, serials) => (policy, serials),
        Outcome::Failed => return (Status::Failed, format!("{word} failed, its old policy stays")),
        Outcome::Unchanged(prefixes) => {
            spool::leave(&path);
            return (Status::Nothing, format!("{word} unchanged, {prefixes} prefixes"));
        }
    };
    let header = Header { table, digest: settings::digest(config, table), serials: &serials };
    let (status, what) = match spool::write(&path, &header, &set) {
        Ok(true) => (Status::Changed, "changed"),
        Ok(false) => (Status::Nothing, "unchanged"),
        Err(error) => {
            message::warn(&error);
            return (Status::Failed, format!("{word} not written, {error}"));
        }
    };
    let mut summary = format!("{word} {what}, {} prefixes", set.len());
    if left_out > 0 {
        summary.push_str(&format!(", {left_out} entries over MAX_POLICY_SIZE left out"));
        // Once per change: cron mails it.
        if status == Status::Changed { message::warn(&summary) } else { message::say(&summary) }
    }
    (status, summary)
}

/// The end of the run from the ends of its tables.
pub fn end<const COUNT: usize>(tables: [(Status, String); COUNT]) -> (Status, String) {
    let any = |wanted| tables.iter().any(|(status, _)| *status == wanted);
    let status = if any(Status::Failed) {
        Status::Failed
    } else if any(Status::Changed) {
        Status::Changed
    } else {
        Status::Nothing
    };
    (status, tables.map(|(_, summary)| summary).join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::testing::{APL, NONE, answering, serve};
    use common::set::PrefixSet;

    #[test]
    fn one_failed_table_fails_the_run_and_one_changed_table_changes_it() {
        use Status::{Changed, Failed, Nothing};
        for (first, second, all) in [
            (Nothing, Nothing, Nothing),
            (Nothing, Changed, Changed),
            (Changed, Failed, Failed),
            (Failed, Nothing, Failed),
        ] {
            let end = end([(first, "a".to_owned()), (second, "b".to_owned())]);
            assert_eq!(end, (all, "a; b".to_owned()));
        }
    }

    /// Fetches the block table from two servers: the first refuses, the second has
    /// `10.0.0.0/8 !10.0.0.0/32`, which make 24 prefixes.
    fn fetch_with(limits: Limits) -> (Fetched, String) {
        let (first, first_thread) = serve(vec![answering(|_, _| (5, vec![]))]);
        let rdata = vec![0, 1, 8, 1, 10, 0, 1, 32, 0x81, 10];
        let (second, second_thread) = serve(vec![answering(move |_, _| (0, vec![(APL, rdata.clone())]))]);
        let text = format!("DNS_SERVERS=\"{first} {second}\"\nLIST_FORMAT=apl\nBLOCK_LIST=b.example");
        let config = Config::parse(text.as_bytes()).unwrap();
        let mut client = Client::new(&config, &NONE, limits);
        let fetched = fetch(&mut client, &config, Table::Block);
        drop(client);
        first_thread.join().unwrap();
        second_thread.join().unwrap();
        (fetched, first.to_string())
    }

    #[test]
    fn the_first_cause_is_kept_though_the_next_server_helped() {
        let (fetched, first) = fetch_with(Limits::default());
        let Outcome::Policy(policy, _) = &fetched.outcome else { panic!("{fetched:?}") };
        assert_eq!(policy.set.len(), 24);
        let cause = fetched.cause.unwrap();
        assert!(cause.starts_with(&format!("b.example at {first}: refused (REFUSED)")), "{cause}");
    }

    #[test]
    fn what_negated_items_make_of_a_table_is_bounded_without_any_setting() {
        assert_eq!(Limits::default().entries, common::set::MAX_PREFIXES);
        let (fetched, _) = fetch_with(Limits { entries: 23, ..Limits::default() });
        assert_eq!(fetched.outcome, Outcome::Failed);
        let cause = "block table: more than 23 prefixes after the negated ones are cut out";
        assert_eq!(fetched.cause.unwrap(), cause);
    }

    #[test]
    fn a_failed_table_leaves_its_old_file() {
        let directory = std::env::temp_dir().join(format!("tspf-table-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("policy")).unwrap();
        let text = format!("BLOCK_LIST=b.example\nSPOOL_DIR={}", directory.display());
        let config = Config::parse(text.as_bytes()).unwrap();
        let set: PrefixSet = [common::prefix::parse(b"192.0.2.0/24").unwrap()].into_iter().collect();
        let fetched = |cause: Option<&str>| Fetched {
            outcome: Outcome::Policy(Policy { set: set.clone(), left_out: 0 }, Vec::new()),
            cause: cause.map(str::to_owned),
        };
        let failed =
            || Fetched { outcome: Outcome::Failed, cause: Some("b.example at ns: cause".to_owned()) };
        let file = config.policy_file(Table::Block);
        assert_eq!(
            leave(&config, Table::Block, failed()),
            (Status::Failed, "block failed, its old policy stays (b.example at ns: cause)".to_owned())
        );
        assert!(!file.exists());
        assert_eq!(leave(&config, Table::Block, fetched(None)).1, "block changed, 1 prefixes");
        let old = std::fs::read(&file).unwrap();
        assert_eq!(
            leave(&config, Table::Block, fetched(Some("b.example at ns: cause"))),
            (Status::Nothing, "block unchanged, 1 prefixes (b.example at ns: cause)".to_owned())
        );
        assert_eq!(leave(&config, Table::Block, failed()).0, Status::Failed);
        assert_eq!(std::fs::read(&file).unwrap(), old);
        std::fs::remove_dir_all(&directory).unwrap();
        let (status, summary) = leave(&config, Table::Block, fetched(None));
        assert_eq!(status, Status::Failed);
        assert!(summary.starts_with("block not written, ") && summary.contains("No such file"), "{summary}");
    }
}
