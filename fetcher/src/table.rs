//! A table's way from the servers to its spool file.

use common::config::{Config, Table};
use common::{Status, message};

use crate::client::Client;
use crate::policy::{self, Policy};
use crate::{settings, spool};

/// Gets a table's policy; `None` if that failed, which was said on standard error.
pub fn fetch(client: &mut Client<'_>, config: &Config, table: Table) -> Option<Policy> {
    let built = policy::build(table, client.table(table)?, config.max_policy_size, config.aggregate);
    built.map_err(|cause| message::warn(format_args!("{} table: {cause}", table.word()))).ok()
}

/// Writes a table's spool file if it differs; says what became of it, in words for syslog. If
/// the policy could not be had, the old file stays.
pub fn leave(config: &Config, table: Table, policy: Option<Policy>) -> (Status, String) {
    let word = table.word();
    let Some(Policy { set, left_out }) = policy else {
        return (Status::Failed, format!("{word} failed, its old policy stays"));
    };
    let written = spool::write(&config.policy_file(table), table, settings::digest(config, table), &set);
    let (status, what) = match written {
        Ok(true) => (Status::Changed, "changed"),
        Ok(false) => (Status::Nothing, "unchanged"),
        Err(error) => {
            message::warn(error);
            return (Status::Failed, format!("{word} not written"));
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

    #[test]
    fn a_failed_table_leaves_its_old_file() {
        let directory = std::env::temp_dir().join(format!("tspf-table-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("policy")).unwrap();
        let text = format!("BLOCK_LIST=b.example\nSPOOL_DIR={}", directory.display());
        let config = Config::parse(text.as_bytes()).unwrap();
        let set: PrefixSet = [common::prefix::parse(b"192.0.2.0/24").unwrap()].into_iter().collect();
        let policy = || Some(Policy { set: set.clone(), left_out: 0 });
        let file = config.policy_file(Table::Block);
        assert_eq!(leave(&config, Table::Block, None).0, Status::Failed);
        assert!(!file.exists());
        assert_eq!(leave(&config, Table::Block, policy()).1, "block changed, 1 prefixes");
        let old = std::fs::read(&file).unwrap();
        assert_eq!(leave(&config, Table::Block, policy()).0, Status::Nothing);
        assert_eq!(leave(&config, Table::Block, None).0, Status::Failed);
        assert_eq!(std::fs::read(&file).unwrap(), old);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(leave(&config, Table::Block, policy()), (Status::Failed, "block not written".to_owned()));
    }
}
