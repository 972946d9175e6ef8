//! `tsship -n`: logs as text on standard output. Nothing is spooled, uploaded or locked.

use std::ffi::OsString;
use std::path::Path;

use common::{Error, Status, message, sandbox};

use crate::decoder::{self, Failed, Settings};
use crate::process::Ended;
use crate::report::Ending;
use crate::{logs, start};

/// Decodes the named logs, or all rotated ones of `pflog`, oldest first. As with cat(1) there is
/// no time limit: standard input may be a pipe from a program that runs for hours.
///
/// # Errors
/// The directory of logs cannot be read, or there is no room for another process. What is wrong with
/// a single log is said, and fails the run in the end.
pub fn run(pflog: &Path, operands: &[OsString], settings: &Settings) -> Result<(Status, String), Error> {
    let (logs, problems) = if operands.is_empty() {
        let mut found = logs::rotated(pflog, |_| false)?;
        if found.left > 0 {
            let cause = format!("the {} youngest rotated logs are too many; name them", found.left);
            found.problems.push(Error::new(pflog.display(), cause));
        }
        (found.logs, found.problems)
    } else {
        let (mut logs, mut problems) = (Vec::new(), Vec::new());
        for name in operands {
            match start::operand(Path::new(name)) {
                Ok(log) => logs.push(log),
                Err(error) => problems.push(error),
            }
        }
        (logs, problems)
    };
    let mut failed = !problems.is_empty();
    problems.iter().for_each(message::warn);
    let decoders = start::printing(logs, settings)?;
    // stdio: the sockets to the decoders. proc: kill, should one of them not exit.
    sandbox::pledge("stdio proc")?;

    let mut records: u64 = 0;
    for (log, mut decoder) in decoders {
        match decoder::report_of(&mut decoder, None, |_| false) {
            Ok(report) => {
                records = records.saturating_add(report.records);
                if matches!(report.ending, Ending::CutOff | Ending::Empty) {
                    message::warn(Error::new(log.display(), report.ending));
                }
                let faults = report.faults();
                failed |= !faults.is_empty();
                faults.iter().for_each(|fault| message::warn(Error::new(log.display(), fault)));
            }
            Err(Failed { ended, .. }) => {
                failed = true;
                // It has said why, unless whoever reads its output has seen enough.
                if ended != Ended::Exit(1) {
                    message::warn(Error::new(log.display(), format!("its decoder {ended}")));
                }
            }
        }
    }
    let status = match (failed, records) {
        (true, _) => Status::Failed,
        (false, 0) => Status::Nothing,
        (false, _) => Status::Changed,
    };
    Ok((status, format!("printed {records} records")))
}
