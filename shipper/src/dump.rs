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
/// A named log cannot be opened, or there is no room for another process. What is wrong inside a
/// log is said, and fails the run in the end.
pub fn run(pflog: &Path, operands: &[OsString], settings: &Settings) -> Result<(Status, String), Error> {
    let mut failed = false;
    let logs = if operands.is_empty() {
        let found = logs::rotated(pflog, |_| false)?;
        failed = !found.problems.is_empty() || found.left > 0;
        found.problems.iter().for_each(message::warn);
        if found.left > 0 {
            let cause = format!("the {} youngest rotated logs are too many; name them", found.left);
            message::warn(Error::new(pflog.display(), cause));
        }
        found.logs
    } else {
        operands.iter().map(|name| start::operand(Path::new(name))).collect::<Result<_, _>>()?
    };
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
