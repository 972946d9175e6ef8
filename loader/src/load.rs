//! From a spool file to a table and its file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use common::message::{print, say};
use common::replace::{self, Replacement};
use common::set::PrefixSet;
use common::{Config, Error, Table};
use nix::errno::Errno;

use crate::abi::{Abi, PFR_TFLAG_ACTIVE};
use crate::contents::Contents;
use crate::pf::{Changes, Device, Refusal};
use crate::{guard, spool};

/// The device with what had to be asked of it before the sandbox.
pub struct Pf<A: Abi> {
    /// The open device.
    pub device: Device<A>,
    /// The limit `table-entries`.
    pub entry_limit: u32,
}

/// Reads a table's spool file and makes what the table shall hold of it; with `force`, past the
/// guards that let it pass.
///
/// # Errors
/// Every reason for which the table keeps what it has.
pub fn prepare(config: &Config, table: Table, spool: File, force: bool) -> Result<Contents, Vec<Error>> {
    let path = config.policy_file(table);
    let set = spool::read(spool, &path, table).map_err(|error| vec![error])?;
    let previous = count_lines(&config.table(table).file).map_err(|error| vec![error])?;
    let violations: Vec<Error> = guard::violations(&set, table, config, previous)
        .into_iter()
        .filter(|violation| !(force && violation.passable))
        .map(|violation| Error::new(path.display(), violation.cause))
        .collect();
    if !violations.is_empty() {
        return Err(violations);
    }
    if table == Table::Allow {
        return Ok(Contents { prefixes: set, exceptions: PrefixSet::default() });
    }
    let (contents, dropped) = guard::protect(&set, &config.never_block.iter().copied().collect());
    if dropped > 0 || !contents.exceptions.is_empty() {
        let exceptions = contents.exceptions.len();
        say(format_args!("NEVER_BLOCK: {dropped} listed prefixes left out, {exceptions} exceptions added"));
    }
    Ok(contents)
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

/// The number of entries in a table file; 0 if there is none.
fn count_lines(path: &Path) -> Result<usize, Error> {
    let Some(mut file) = open(path)? else { return Ok(0) };
    let (mut lines, mut part) = (0usize, [0u8; 16 << 10]);
    loop {
        match file.read(&mut part).map_err(|error| Error::io(path, &error))? {
            0 => return Ok(lines),
            length => {
                let ends = part.iter().take(length).filter(|octet| **octet == b'\n').count();
                lines = lines.saturating_add(ends);
            }
        }
    }
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
}

impl Plan {
    /// Whether there is anything to do.
    pub fn changes(&self) -> bool {
        self.make || self.swap || self.write
    }
}

/// Compares the contents with the table's file and with the number of addresses that the kernel
/// has: if both agree there is nothing to do, unless `force` asks for a swap all the same.
///
/// # Errors
/// The file or the table cannot be looked at.
pub fn plan<A: Abi>(
    config: &Config,
    table: Table,
    contents: Contents,
    pf: Option<&Pf<A>>,
    force: bool,
) -> Result<Plan, Error> {
    let settings = config.table(table);
    let write = !is_written(&settings.file, &contents)?;
    let Some(pf) = pf else {
        return Ok(Plan { table, contents, make: false, swap: false, write });
    };
    let count = table_count(pf, &settings.name)?;
    let swap = force || write || count != Some(contents.len() as u64);
    Ok(Plan { table, contents, make: count.is_none(), swap, write })
}

/// Does what is planned, the table first: a run that is killed in between leaves a file that
/// differs, so that the next run does both again.
///
/// # Errors
/// The table and its file are each wholly old or wholly new.
pub fn carry_out<A: Abi>(config: &Config, plan: &Plan, pf: Option<&Pf<A>>) -> Result<(), Error> {
    let settings = config.table(plan.table);
    if let Some(pf) = pf {
        let name = &settings.name;
        if plan.make {
            pf.device.add_table(name).map_err(|refusal| about(name, refusal.advice()))?;
            say(format_args!("{name}: made; no rule refers to it until pf.conf has one"));
        }
        if plan.swap {
            swap(pf, name, &plan.contents)?;
        }
    }
    if plan.write {
        let file = &settings.file;
        let mut new = Replacement::create(file, 0o600)?;
        plan.contents.write(&mut new).map_err(|error| Error::io(file, &error))?;
        new.commit_keeping_previous()?;
    }
    Ok(())
}

/// Prints what `carry_out` would do, counted by the kernel itself. Returns whether anything would
/// change.
///
/// # Errors
/// The kernel's refusal, as it would be in earnest.
pub fn rehearse<A: Abi>(config: &Config, plan: &Plan, pf: Option<&Pf<A>>) -> Result<bool, Error> {
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

fn swap<A: Abi>(pf: &Pf<A>, name: &str, contents: &Contents) -> Result<(), Error> {
    let changes = set_addresses(pf, name, contents, false)?;
    say(summary(name, contents, changes));
    match table_count(pf, name)? {
        Some(count) if count == contents.len() as u64 => Ok(()),
        Some(count) => {
            let cause = format!(
                "holds {count} addresses after a swap to {}; did something else change it?",
                contents.len()
            );
            Err(about(name, cause))
        }
        None => Err(about(name, Refusal(Errno::ESRCH).advice())),
    }
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
        Errno::ENOMEM => {
            let others: u64 = pf.device.tables().unwrap_or_default().iter().map(|table| table.count).sum();
            let enough = others
                .saturating_add(count as u64)
                .saturating_mul(2)
                .div_ceil(100_000)
                .saturating_mul(100_000);
            format!(
                "no room for {count} addresses beside the {others} there are: the limit for all tables is {}; \
                 put \"set limit table-entries {enough}\" above the tables in /etc/pf.conf and run pfctl -f /etc/pf.conf",
                pf.entry_limit
            )
        }
        Errno::EINVAL => format!(
            "the kernel refused the list of {count}; on FreeBSD set the sysctl net.pf.request_maxcount above {count}"
        ),
        _ => refusal.advice(),
    }
}

/// The number of addresses that the table holds; `None` if it was not made yet.
fn table_count<A: Abi>(pf: &Pf<A>, name: &str) -> Result<Option<u64>, Error> {
    let tables = pf.device.tables()?;
    let found =
        tables.iter().find(|table| table.name == name.as_bytes() && table.flags & PFR_TFLAG_ACTIVE != 0);
    Ok(found.map(|table| table.count))
}

fn summary(name: &str, contents: &Contents, changes: Changes) -> String {
    let Changes { added, deleted, changed } = changes;
    format!("{name}: {} addresses, {added} added, {deleted} deleted, {changed} changed", contents.len())
}

fn about(name: &str, cause: String) -> Error {
    Error::new(format!("table {name}"), cause)
}
