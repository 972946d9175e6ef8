//! From a spool file to a table and its file.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::time::Instant;

use common::message::{print, say};
use common::replace::{self, Replacement, previous_name, temporary_name};
use common::{Config, Error, Table};
use nix::errno::Errno;

use crate::abi::Abi;
use crate::contents::Contents;
use crate::guard::{self, Checked};
use crate::pf::{Changes, Device, Refusal};
use crate::protected::Reason;
use crate::room::{self, Limits, Use};
use crate::{contents, spool};

/// The device with what had to be asked of it before the sandbox.
pub struct Pf<A: Abi> {
    /// The open device.
    pub device: Device<A>,
    /// What it has room for.
    pub limits: Limits,
}

/// Reads a table's spool file and makes what the table shall hold of it; with `force`, past the
/// guards that let it pass.
///
/// # Errors
/// Every reason for which the table keeps what it has.
pub fn prepare<A: Abi>(
    config: &Config,
    table: Table,
    spool: File,
    protected: &[Reason],
    pf: Option<&Pf<A>>,
    force: bool,
) -> Result<(Contents, Vec<String>), Vec<Error>> {
    let one = |error| vec![error];
    let path = config.policy_file(table);
    let set = spool::read(spool, &path, table).map_err(one)?;
    let settings = config.table(table);
    // A file that is damaged will be replaced; until then the kernel knows what there was.
    let in_file = read(&settings.file).ok().flatten().map_or(0, |contents| contents.prefixes.len());
    let in_kernel = pf.map_or(Ok(None), |pf| table_count(pf, &settings.name)).map_err(one)?.unwrap_or(0);
    let previous = in_file.max(usize::try_from(in_kernel).unwrap_or(usize::MAX));
    let Checked { contents, violations, notes } = guard::check(set, table, config, protected, previous);
    let violations: Vec<Error> = violations
        .into_iter()
        .filter(|violation| !(force && violation.passable))
        .map(|violation| Error::new(path.display(), violation.cause))
        .collect();
    if violations.is_empty() { Ok((contents, notes)) } else { Err(violations) }
}

/// Opens a table file; `None` if there is none yet.
fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, &error)),
    }
}

/// Whether a table file holds exactly these contents.
fn is_written(path: &Path, contents: &Contents) -> Result<bool, Error> {
    let Some(file) = open(path)? else { return Ok(false) };
    replace::holds(file, |out| contents.write(out)).map_err(|error| Error::io(path, &error))
}

/// What a table held before its last change, from its `.1`; `None` if it has not changed yet.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn previous(config: &Config, table: Table) -> Result<Option<Contents>, Error> {
    read(&previous_name(&config.table(table).file))
}

/// Reads a table file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Contents>, Error> {
    let Some(file) = open(path)? else { return Ok(None) };
    let contents = contents::read(BufReader::with_capacity(64 << 10, file));
    contents.map(Some).map_err(|cause| Error::new(path.display(), cause))
}

/// What has to be done to bring a table and its file to its contents.
pub struct Plan {
    /// The table.
    pub table: Table,
    /// What it shall hold.
    pub contents: Contents,
    /// The table has to be made first.
    make: bool,
    /// The table's addresses have to be replaced.
    swap: bool,
    /// The file has to be replaced.
    write: bool,
    /// What is worth saying about it, once.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether there is anything to do.
    fn changes(&self) -> bool {
        self.make || self.swap || self.write
    }
}

/// Compares the contents with the table's file and with the number of addresses that the kernel
/// has: if both agree there is nothing to do, unless `force` asks for a swap all the same, or an
/// earlier run was interrupted and left its new file unfinished.
///
/// # Errors
/// The file or the table cannot be looked at, or pf cannot hold so many addresses.
pub fn plan<A: Abi>(
    config: &Config,
    table: Table,
    contents: Contents,
    notes: Vec<String>,
    pf: Option<&Pf<A>>,
    force: bool,
) -> Result<Plan, Error> {
    let settings = config.table(table);
    let write = !is_written(&settings.file, &contents)?;
    let mut plan = Plan { table, contents, make: false, swap: false, write, notes };
    let Some(pf) = pf else { return Ok(plan) };
    let interrupted = temporary_name(&settings.file).symlink_metadata().is_ok();
    let count = table_count(pf, &settings.name)?;
    let wanted = plan.contents.len() as u64;
    plan.make = count.is_none();
    plan.swap = force || write || interrupted || count != Some(wanted);
    let usage = Use {
        total: pf.device.total()?,
        table: count.unwrap_or(0),
        added: additions(&plan.contents, &settings.file, count)?,
        wanted,
    };
    if let Some(refusal) = room::refusal(pf.limits, usage).filter(|_| plan.swap) {
        return Err(about(&settings.name, refusal));
    }
    plan.notes.extend(room::warning(pf.limits, usage));
    Ok(plan)
}

/// What a swap adds to a table that has `count` addresses: if its file agrees with that, what is
/// not in the file, else at most everything.
fn additions(contents: &Contents, file: &Path, count: Option<u64>) -> Result<u64, Error> {
    let old = read(file)?.filter(|old| count == Some(old.len() as u64));
    Ok(old.map_or(contents.len() as u64, |old| room::additions(contents, &old)))
}

/// Carries out all plans, the allow table's first, and goes on where one fails. Returns whether
/// anything changed.
pub fn carry_out_all<A: Abi>(
    config: &Config,
    plans: &[Plan],
    pf: Option<&Pf<A>>,
    errors: &mut Vec<Error>,
) -> bool {
    let needed = || plans.iter().filter(|plan| plan.changes());
    for plan in needed().rev() {
        let kind = if plan.table == Table::Block { "blocked" } else { "allowed" };
        say(format_args!("Adding {} {kind} addresses", plan.contents.len()));
    }
    let mut changed = false;
    for plan in needed() {
        match carry_out(config, plan, pf) {
            Ok(()) => changed = true,
            Err(error) => errors.push(error),
        }
    }
    if changed && errors.is_empty() && pf.is_some() {
        say("Reloading pf...done");
    }
    changed
}

/// Prints what all plans would do. Returns whether anything would change.
pub fn rehearse_all<A: Abi>(
    config: &Config,
    plans: &[Plan],
    pf: Option<&Pf<A>>,
    errors: &mut Vec<Error>,
) -> bool {
    let mut changed = false;
    for plan in plans {
        match rehearse(config, plan, pf) {
            Ok(would_change) => changed |= would_change,
            Err(error) => errors.push(error),
        }
    }
    changed
}

/// Does what is planned. The new file is on disk beside the old one before pf is touched, and
/// takes its place only when the kernel has taken the table: a file that the kernel would refuse
/// must not be there at boot. Until then it is the sign of a swap that was begun: a run that is
/// killed leaves it, and the next run swaps whatever the counts say.
///
/// # Errors
/// The table and its file are each wholly old or wholly new.
fn carry_out<A: Abi>(config: &Config, plan: &Plan, pf: Option<&Pf<A>>) -> Result<(), Error> {
    let settings = config.table(plan.table);
    let mut new = Replacement::create(&settings.file, 0o600)?;
    plan.contents.write(&mut new).map_err(|error| Error::io(&settings.file, &error))?;
    new.sync()?;
    if let Some(pf) = pf {
        let name = &settings.name;
        if plan.make {
            pf.device.add_table(name).map_err(|refusal| about(name, refusal.advice()))?;
            say(format_args!("{name}: made"));
        }
        if plan.swap {
            new.keep();
            match set_addresses(pf, name, &plan.contents, false) {
                Ok(changes) => say(summary(name, &plan.contents, changes)),
                Err(error) => {
                    // All or nothing: the table is as it was.
                    new.discard();
                    return Err(error);
                }
            }
            check_count(pf, name, &plan.contents)?;
        }
    }
    if plan.write {
        return new.commit_keeping_previous();
    }
    new.discard();
    Ok(())
}

/// Whether the kernel holds as many addresses as it was given.
fn check_count<A: Abi>(pf: &Pf<A>, name: &str, contents: &Contents) -> Result<(), Error> {
    match table_count(pf, name)? {
        Some(count) if count == contents.len() as u64 => Ok(()),
        Some(count) => {
            let wanted = contents.len();
            let cause =
                format!("holds {count} addresses after a swap to {wanted}; did something else change it?");
            Err(about(name, cause))
        }
        None => Err(about(name, Refusal(Errno::ESRCH).advice())),
    }
}

/// Prints what `carry_out` would do, counted by the kernel itself. Returns whether anything would
/// change.
///
/// # Errors
/// The kernel's refusal, as it would be in earnest.
fn rehearse<A: Abi>(config: &Config, plan: &Plan, pf: Option<&Pf<A>>) -> Result<bool, Error> {
    let Plan { contents, write, make, .. } = plan;
    let settings = config.table(plan.table);
    let Some(pf) = pf else {
        let what = if *write { "would be replaced" } else { "unchanged" };
        print(format_args!("{}: {} addresses, {what}", settings.file.display(), contents.len()));
        return Ok(*write);
    };
    let changes = match make {
        true => Changes { added: contents.len() as u64, deleted: 0, changed: 0 },
        false => set_addresses(pf, &settings.name, contents, true)?,
    };
    print(summary(&settings.name, contents, changes));
    Ok(*write || *make || changes != Changes { added: 0, deleted: 0, changed: 0 })
}

fn set_addresses<A: Abi>(
    pf: &Pf<A>,
    name: &str,
    contents: &Contents,
    dry_run: bool,
) -> Result<Changes, Error> {
    let mut addresses = Vec::with_capacity(contents.len());
    addresses.extend(contents.iter().map(|(net, exception)| A::addr(net, exception)));
    let start = Instant::now();
    let result = pf.device.set_addresses(name, &mut addresses, dry_run);
    if !dry_run {
        say(format_args!("{name}: {} ms in pf", start.elapsed().as_millis()));
    }
    result.map_err(|refusal| about(name, refused(refusal, addresses.len(), pf)))
}

/// The kernel's refusal of a swap, with the setting that helps.
fn refused<A: Abi>(refusal: Refusal, count: usize, pf: &Pf<A>) -> String {
    match refusal.0 {
        // The room was enough a moment ago.
        Errno::ENOMEM => {
            let total = pf.device.total().unwrap_or(0);
            let count = count as u64;
            let usage = Use { total, table: 0, added: count.max(pf.limits.entries), wanted: count };
            room::refusal(pf.limits, usage).unwrap_or_else(|| refusal.advice())
        }
        // OpenBSD has no limit on the length of a list, and nothing else in it can be wrong.
        Errno::EINVAL if cfg!(target_os = "freebsd") => {
            format!("the kernel takes no list of {count}; set the sysctl net.pf.request_maxcount to more")
        }
        _ => refusal.advice(),
    }
}

/// A note for each table that no rule refers to: it is loaded, and does nothing.
///
/// # Errors
/// The kernel's refusal.
pub fn unused<A: Abi>(config: &Config, pf: &Pf<A>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for table in Table::BOTH {
        let name = &config.table(table).name;
        if pf.device.table(name)?.is_none_or(|table| table.rules > 0) {
            continue;
        }
        let rules = match table {
            Table::Allow => format!("\"pass in quick from <{name}>\" and \"pass out quick to <{name}>\""),
            Table::Block => {
                format!(
                    "\"block drop in log quick from <{name}>\" and \"block drop out log quick to <{name}>\""
                )
            }
        };
        notes.push(format!("table {name}: no rule refers to it; put {rules} into /etc/pf.conf"));
    }
    Ok(notes)
}

/// The number of addresses that the table holds; `None` if it was not made yet.
fn table_count<A: Abi>(pf: &Pf<A>, name: &str) -> Result<Option<u64>, Error> {
    Ok(pf.device.table(name)?.map(|table| table.count))
}

fn summary(name: &str, contents: &Contents, changes: Changes) -> String {
    let Changes { added, deleted, changed } = changes;
    format!("{name}: {} addresses, {added} added, {deleted} deleted, {changed} changed", contents.len())
}

fn about(name: &str, cause: String) -> Error {
    Error::new(format!("table {name}"), cause)
}
