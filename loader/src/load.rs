//! From a spool file to a table and its file.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use common::message::{print, say, warn};
use common::replace::{Replacement, previous_name};
use common::{Config, Error, Table};
use nix::errno::Errno;

use crate::abi::Abi;
use crate::contents::{self, Contents};
use crate::guard::{self, Checked, Held};
use crate::pf::{Changes, Device, Refusal};
use crate::protected::Reason;
use crate::room::{self, Limits, Use};
use crate::{spool, unloaded};

/// The mode of a table file: the policy is nobody else's to read.
const MODE: u32 = 0o600;

/// What a run works with, all of it had before the sandbox.
pub struct Run<'a, A: Abi> {
    /// The configuration.
    pub config: &'a Config,
    /// pf, unless only files are wanted (`RELOAD_PF=no`).
    pub pf: Option<Device<A>>,
    /// What pf has room for, if it can be asked.
    pub limits: Option<Limits>,
    /// What is never blocked.
    pub protected: Vec<Reason>,
    /// Past the guards that let it pass, and swap even if nothing seems to have changed.
    pub force: bool,
}

/// What has to be done to bring a table and its file to its contents.
pub struct Plan {
    /// Which table.
    pub table: Table,
    contents: Contents,
    /// The table has to be made first.
    make: bool,
    /// The table's addresses have to be replaced.
    swap: bool,
    /// The file has to be replaced.
    write: bool,
    /// What the file holds is worth keeping: it is another content, and not damaged.
    keep: bool,
    /// The addresses in pf, but for the total.
    usage: Use,
    /// What the table holds is not known: everything is taken to be added.
    unknown: bool,
    /// What is worth saying about it, once.
    pub notes: Vec<String>,
}

impl<A: Abi> Run<'_, A> {
    /// Reads a table's spool file, makes what the table shall hold of it, and plans how.
    ///
    /// # Errors
    /// Every reason for which the table keeps what it has.
    pub fn plan(&self, table: Table, spool: File) -> Result<Plan, Vec<Error>> {
        let path = self.config.policy_file(table);
        let set = spool::read(spool, &path, table).map_err(one)?;
        let old = self.old(table);
        let count = self.count(table).map_err(one)?;
        let held = Held { file: old.as_ref(), entries: count.unwrap_or(0) };
        let checked = guard::check(set, table, self.config, &self.protected, held);
        self.pass(checked, &path, table, old, count)
    }

    /// Plans what passed the guards.
    fn pass(
        &self,
        checked: Checked,
        path: &Path,
        table: Table,
        old: Option<Contents>,
        count: Option<u64>,
    ) -> Result<Plan, Vec<Error>> {
        let Checked { contents, violations, notes } = checked;
        let violations: Vec<Error> = violations
            .into_iter()
            .filter(|violation| !(self.force && violation.passable))
            .map(|violation| Error::new(path.display(), violation.cause))
            .collect();
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(self.compare(table, contents, notes, old, count))
    }

    /// Plans how to load again what a table held before its last change, from its `.1`; `None` if
    /// it has not changed yet.
    ///
    /// # Errors
    /// The file cannot be read or is damaged, or breaks a guard.
    pub fn plan_back(&self, table: Table) -> Result<Option<Plan>, Vec<Error>> {
        let path = previous_name(&self.config.table(table).file);
        let Some(previous) = read(&path).map_err(one)? else { return Ok(None) };
        let checked = guard::check_again(previous, table, self.config, &self.protected);
        let count = self.count(table).map_err(one)?;
        self.pass(checked, &path, table, self.old(table), count).map(Some)
    }

    /// Compares the contents with the table's file and with the number of addresses that the
    /// kernel has: if both agree there is nothing to do, unless an earlier run left its mark.
    fn compare(
        &self,
        table: Table,
        contents: Contents,
        notes: Vec<String>,
        old: Option<Contents>,
        count: Option<u64>,
    ) -> Plan {
        let changed = old.as_ref() != Some(&contents);
        let write = changed || !is_private(&self.config.table(table).file);
        let keep = changed && old.is_some();
        let wanted = contents.len() as u64;
        let usage = Use { total: 0, table: 0, added: wanted, wanted };
        let mut plan =
            Plan { table, contents, make: false, swap: false, write, keep, usage, unknown: false, notes };
        if self.pf.is_none() {
            return plan;
        }
        plan.make = count.is_none();
        let marked = unloaded::is_marked(&self.config.unloaded_file(table));
        plan.swap = self.force || changed || marked || count != Some(wanted);
        // If the table holds what the file holds, what is added is what is not in the file; else it
        // may be everything.
        let known = old.filter(|old| !marked && count == Some(old.len() as u64));
        plan.usage.table = count.unwrap_or(0);
        plan.unknown = known.is_none() && plan.usage.table > 0;
        plan.usage.added = known.map_or(wanted, |old| room::additions(&plan.contents, &old));
        plan
    }

    /// Leaves out the plans that pf has no room for, each with its error, as the tables will be
    /// worked on one after the other. Returns a note if loading the ruleset again would fail.
    pub fn make_room(&self, plans: &mut Vec<Plan>, errors: &mut Vec<Error>) -> Option<String> {
        let limits = self.limits?;
        let mut total = match self.pf.as_ref().map_or(Ok(0), Device::total) {
            Ok(total) => total,
            Err(error) => {
                errors.push(error);
                plans.clear();
                return None;
            }
        };
        plans.retain(|plan| {
            let mut usage = Use { total, ..plan.usage };
            // Without pf the file is for the next boot: then nothing else is there.
            if !plan.swap && self.pf.is_some() {
                return true;
            }
            // The kernel can count what is new to it. That stalls it once more, so only now.
            if plan.unknown
                && room::refusal(limits, usage).is_some()
                && let Ok(changes) = self.set_addresses(plan, true)
            {
                usage.added = changes.added;
            }
            if let Some(refusal) = room::refusal(limits, usage) {
                errors.push(about(&self.config.table(plan.table).name, refusal));
                return false;
            }
            total = usage.after();
            true
        });
        room::warning(limits, total)
    }

    /// Carries out all plans, the allow table's first, and goes on where one fails. Returns the
    /// tables that changed.
    pub fn carry_out(&self, plans: &[Plan], errors: &mut Vec<Error>) -> Vec<Table> {
        let needed = || plans.iter().filter(|plan| plan.make || plan.swap || plan.write);
        for plan in needed().rev() {
            let kind = if plan.table == Table::Block { "blocked" } else { "allowed" };
            say(format_args!("Adding {} {kind} addresses", plan.contents.len()));
        }
        let mut changed = Vec::new();
        for plan in needed() {
            match self.replace(plan) {
                Ok(()) => changed.push(plan.table),
                Err(error) => errors.push(error),
            }
        }
        if !changed.is_empty() && errors.is_empty() && self.pf.is_some() {
            say("Reloading pf...done");
        }
        changed
    }

    /// Prints what all plans would do, counted by the kernel itself. Returns the tables that would
    /// change.
    pub fn rehearse(&self, plans: &[Plan], errors: &mut Vec<Error>) -> Vec<Table> {
        let mut changed = Vec::new();
        for plan in plans {
            match self.count_changes(plan) {
                Ok(true) => changed.push(plan.table),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        changed
    }

    /// Does what is planned for a table. The new file is on disk beside the old one before pf is
    /// touched, and takes its place only when the kernel has taken the table: a file that the
    /// kernel would refuse must not be there at boot.
    fn replace(&self, plan: &Plan) -> Result<(), Error> {
        let settings = self.config.table(plan.table);
        let new = plan.write.then(|| self.new_file(plan)).transpose()?;
        let mark = self.config.unloaded_file(plan.table);
        unloaded::mark(&mark)?;
        if let Some(pf) = &self.pf {
            let name = &settings.name;
            if plan.make {
                pf.add_table(name).map_err(|refusal| about(name, refusal.advice()))?;
                warn(format_args!("table {name}: was not there, made"));
            }
            if plan.swap {
                say(summary(name, &plan.contents, self.set_addresses(plan, false)?));
                self.check_count(plan)?;
            }
        }
        match new {
            Some(new) if plan.keep => new.commit_keeping_previous()?,
            Some(new) => new.commit()?,
            None => {}
        }
        // Without pf the mark stays: the table does not hold what its file holds.
        if self.pf.is_some() { unloaded::clear(&mark) } else { Ok(()) }
    }

    /// The table's next file, on disk but not in its place.
    fn new_file(&self, plan: &Plan) -> Result<Replacement, Error> {
        let path = &self.config.table(plan.table).file;
        let mut new = Replacement::create(path, MODE)?;
        plan.contents.write(&mut new).map_err(|error| Error::io(path, &error))?;
        new.sync()?;
        Ok(new)
    }

    fn count_changes(&self, plan: &Plan) -> Result<bool, Error> {
        let Plan { contents, write, make, .. } = plan;
        let settings = self.config.table(plan.table);
        if self.pf.is_none() {
            let what = if *write { "would be replaced" } else { "unchanged" };
            print(format_args!("{}: {} addresses, {what}", settings.file.display(), contents.len()));
            return Ok(*write);
        }
        let changes = match make {
            true => Changes { added: contents.len() as u64, deleted: 0, changed: 0 },
            false => self.set_addresses(plan, true)?,
        };
        print(summary(&settings.name, contents, changes));
        Ok(*write || *make || changes != Changes { added: 0, deleted: 0, changed: 0 })
    }

    fn set_addresses(&self, plan: &Plan, dry_run: bool) -> Result<Changes, Error> {
        let name = &self.config.table(plan.table).name;
        let Some(pf) = &self.pf else { return Err(about(name, Refusal(Errno::ENODEV).advice())) };
        let mut addresses = Vec::with_capacity(plan.contents.len());
        addresses.extend(plan.contents.iter().map(|(net, exception)| A::addr(net, exception)));
        let start = Instant::now();
        let result = pf.set_addresses(name, &mut addresses, dry_run);
        if !dry_run {
            say(format_args!("{name}: {} ms in pf", start.elapsed().as_millis()));
        }
        result.map_err(|refusal| about(name, self.refused(refusal, plan)))
    }

    /// The kernel's refusal of a swap, with the setting that helps.
    fn refused(&self, refusal: Refusal, plan: &Plan) -> String {
        let count = plan.contents.len();
        match (refusal.0, self.limits) {
            // There was room a moment ago.
            (Errno::ENOMEM, Some(limits)) => {
                let total = self.pf.as_ref().and_then(|pf| pf.total().ok()).unwrap_or(0);
                room::full(limits, Use { total, ..plan.usage })
            }
            // Lowered a moment ago: nothing else in the list can be wrong.
            (Errno::EINVAL, Some(Limits { list: Some(_), .. })) => {
                format!("the kernel takes no list of {count}; set the sysctl net.pf.request_maxcount to more")
            }
            _ => refusal.advice(),
        }
    }

    /// Whether the kernel holds as many addresses as it was given.
    fn check_count(&self, plan: &Plan) -> Result<(), Error> {
        let name = &self.config.table(plan.table).name;
        match self.count(plan.table)? {
            Some(count) if count == plan.contents.len() as u64 => Ok(()),
            Some(count) => {
                let wanted = plan.contents.len();
                Err(about(
                    name,
                    format!("holds {count} addresses after a swap to {wanted}; the next run tries again"),
                ))
            }
            None => Err(about(name, Refusal(Errno::ESRCH).advice())),
        }
    }

    /// Notes for each table that no rule refers to: it is loaded, and does nothing.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn unused(&self) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        let Some(pf) = &self.pf else { return Ok(notes) };
        let place = match self.config.anchor.as_str() {
            "" => "/etc/pf.conf".to_owned(),
            anchor => format!("the rules of anchor {anchor}"),
        };
        for table in Table::BOTH {
            let settings = self.config.table(table);
            let (name, file) = (&settings.name, settings.file.display());
            if pf.table(name)?.is_none_or(|table| table.rules > 0) {
                continue;
            }
            let (way_in, way_out) = match table {
                Table::Allow => ("pass in", "pass out"),
                Table::Block => ("block drop in log", "block drop out log"),
            };
            notes.push(format!("table {name}: no rule refers to it; put these lines into {place}:"));
            notes.push(format!("    table <{name}> persist file \"{file}\""));
            notes.push(format!("    {way_in} quick from <{name}>"));
            notes.push(format!("    {way_out} quick to <{name}>"));
        }
        Ok(notes)
    }

    /// What a table's file holds; `None` if there is none, or it is damaged and has to be replaced.
    fn old(&self, table: Table) -> Option<Contents> {
        read(&self.config.table(table).file).ok().flatten()
    }

    /// The number of addresses that pf has in a table; `None` if it was not made yet.
    fn count(&self, table: Table) -> Result<Option<u64>, Error> {
        let Some(pf) = &self.pf else { return Ok(None) };
        Ok(pf.table(&self.config.table(table).name)?.map(|table| table.count))
    }
}

/// Reads a table file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Contents>, Error> {
    match File::open(path) {
        Ok(file) => {
            let contents = contents::read(BufReader::with_capacity(64 << 10, file));
            contents.map(Some).map_err(|cause| Error::new(path.display(), cause))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, &error)),
    }
}

/// Whether a table file has its mode.
fn is_private(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.mode() & 0o7777 == MODE)
}

fn summary(name: &str, contents: &Contents, changes: Changes) -> String {
    let Changes { added, deleted, changed } = changes;
    format!("{name}: {} addresses, {added} added, {deleted} deleted, {changed} changed", contents.len())
}

fn about(name: &str, cause: String) -> Error {
    Error::new(format!("table {name}"), cause)
}

fn one(error: Error) -> Vec<Error> {
    vec![error]
}
