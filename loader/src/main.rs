//! tsload(8): brings the pf tables and their files in step with the policy that tsfetch left.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::args::{self, Args};
use common::message::{finish, misuse, print, say, set_verbose, warn};
use common::replace::{all_names, settle, temporary_name};
use common::{Config, Error, Status, Table, config, lock, message, owner, privilege, sandbox};
use loader::abi::Native;
use loader::load::{Plan, Run};
use loader::pf::Device;
use loader::room::Limits;
use loader::{protected, said, spool, statistics};

const USAGE: &str = "usage: tsload [-fnRsv] [-c file]";

fn main() -> ExitCode {
    message::init("tsload");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let args = match args::parse("c:fnRsv", std::env::args_os().skip(1)) {
        Ok(args) if args.help => {
            print(USAGE);
            return Status::Changed.into();
        }
        Ok(args) if args.operands.is_empty() => args,
        Ok(_) => return misuse("no operands are taken", USAGE),
        Err(cause) => return misuse(cause, USAGE),
    };
    set_verbose(args.has('v'));
    match run(&args) {
        Ok((status, _)) if args.has('n') || args.has('s') => status.into(),
        Ok((status, summary)) => finish(status, summary),
        Err(errors) => {
            errors.iter().for_each(warn);
            finish(Status::Failed, errors.first().map(ToString::to_string).unwrap_or_default())
        }
    }
}

/// The run, step by step. Returns how it ended, with a line for syslog.
fn run(args: &Args) -> Result<(Status, &'static str), Vec<Error>> {
    let dry_run = args.has('n');
    let path = args.value('c').map_or_else(|| Path::new(config::DEFAULT_PATH).to_owned(), PathBuf::from);
    let config = Config::load(&path)?;
    if args.has('s') {
        return statistics(&config, args.has('v')).map_err(one);
    }

    // Only root, or the caller, may be able to change what root will act on.
    let fetcher =
        privilege::account("FETCH_USER", &config.fetch_user, config.is_set("FETCH_USER")).map_err(one)?;
    owner::check_directory(&config.spool_dir).map_err(one)?;
    for table in Table::BOTH {
        let file = &config.table(table).file;
        owner::check_directory(directory(file)).map_err(one)?;
        owner::check_replaceable(file).map_err(one)?;
    }
    let lock = if dry_run { None } else { lock::take(&config.lock_file("tsload")).map_err(one)? };
    if !dry_run && lock.is_none() {
        let busy = "another tsload is running";
        say(busy);
        return Ok((Status::Nothing, busy));
    }

    // What no promise allows: asking for limits, addresses and routes.
    let (pf, limits) = open_pf(&config, !dry_run).map_err(one)?;
    let (protected, unseen) = protected::reasons(&config).map_err(one)?;

    // The spool is not among the paths, and so is opened before: rpath. With the fetcher's rights,
    // id: opening a device does something, and the fetcher may have linked one there that it could
    // not open itself. unveil: the paths.
    sandbox::pledge("stdio rpath wpath cpath pf id unveil").map_err(one)?;
    let open = |table| (table, spool::open(&config.policy_file(table), fetcher.uid));
    let spools = privilege::with_rights_of(&fetcher, || Table::BOTH.map(open)).map_err(one)?;

    // rpath, wpath, cpath: the table files are compared and replaced by rename(2);
    // pf: DIOCRGETTSTATS, DIOCRADDTABLES and DIOCRSETADDRS on the descriptor from above.
    unveil_files(&config).map_err(one)?;
    sandbox::pledge("stdio rpath wpath cpath pf").map_err(one)?;
    if let Some(note) = sandbox::note() {
        say(note);
    }

    // Both tables are checked and planned before either is touched.
    let run = Run { config: &config, pf, limits, protected, force: args.has('f') };
    let mut errors = Vec::new();
    let mut plans: Vec<Plan> = Vec::new();
    for (table, spool) in spools {
        let settled = if dry_run { Ok(()) } else { settle(&config.table(table).file) };
        let planned = settled.map_err(one).and_then(|()| match args.has('R') {
            true => run.plan_back(table),
            false => spool.map_err(one).and_then(|spool| run.plan(table, spool)).map(Some),
        });
        match planned {
            Ok(plan) => plans.extend(plan),
            Err(causes) => errors.extend(causes),
        }
    }
    if plans.is_empty() && errors.is_empty() {
        errors.push(Error::new("-R", "no table has changed yet, there is no previous policy"));
    }

    let warning = run.make_room(&mut plans, &mut errors);
    let changed = match dry_run {
        true => run.rehearse(&plans, &mut errors),
        false => run.carry_out(&plans, &mut errors),
    };
    if args.has('R') && !dry_run {
        for table in &changed {
            let file = config.table(*table).file.display();
            print(format_args!("{file}: back to what it held before its last change"));
        }
        if !changed.is_empty() {
            print("the next run without -R takes what is in the spool again");
        }
    }
    if !dry_run {
        let mut notes: Vec<String> = plans.into_iter().flat_map(|plan| plan.notes).collect();
        notes.extend(unseen.into_iter().chain(warning));
        let noted = run.unused().and_then(|unused| {
            notes.extend(unused);
            said::once(&config.said_file(), &notes, errors.is_empty())
        });
        errors.extend(noted.err());
    }
    match (errors.is_empty(), !changed.is_empty()) {
        (false, _) => Err(errors),
        (true, true) => Ok((Status::Changed, "policy loaded")),
        (true, false) => Ok((Status::Nothing, "nothing to do")),
    }
}

/// Prints what the tables did.
fn statistics(config: &Config, for_monitoring: bool) -> Result<(Status, &'static str), Error> {
    let device = Device::<Native>::open(&config.anchor, false)?;
    // pf: DIOCRGETTSTATS.
    sandbox::pledge("stdio pf")?;
    for table in Table::BOTH.into_iter().rev() {
        let name = &config.table(table).name;
        let Some(found) = device.table(name)? else {
            return Err(Error::new(
                format!("table {name}"),
                "not there; tsload makes it with its first policy",
            ));
        };
        match for_monitoring {
            true => statistics::for_monitoring(table.word(), &found).lines().for_each(print),
            false => statistics::for_people(&found).lines().for_each(print),
        }
    }
    Ok((Status::Changed, "statistics printed"))
}

fn one(error: Error) -> Vec<Error> {
    vec![error]
}

/// Opens pf and asks for its limits. If only files are wanted, pf is asked if it can be: a file
/// that is too large for it must not be there at the next boot.
fn open_pf(config: &Config, change: bool) -> Result<(Option<Device<Native>>, Option<Limits>), Error> {
    if !config.reload_pf {
        let device = Device::<Native>::open(&config.anchor, false).ok();
        return Ok((None, device.and_then(|device| Limits::of(&device).ok())));
    }
    let device = Device::open(&config.anchor, change)?;
    let limits = Limits::of(&device)?;
    Ok((Some(device), Some(limits)))
}

/// The directories for reading, because a rename is only safe when they are written out, and the
/// files under all their names.
fn unveil_files(config: &Config) -> Result<(), Error> {
    let said = config.said_file();
    let mut paths: Vec<(PathBuf, &str)> =
        vec![(config.spool_dir.clone(), "r"), (temporary_name(&said), "rwc"), (said, "rwc")];
    for table in Table::BOTH {
        let file = &config.table(table).file;
        paths.push((directory(file).to_owned(), "r"));
        paths.push((config.unloaded_file(table), "rwc"));
        paths.extend(all_names(file).map(|name| (name, "rwc")));
    }
    let paths: Vec<(&Path, &str)> =
        paths.iter().map(|(path, permissions)| (path.as_path(), *permissions)).collect();
    sandbox::unveil(&paths)
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}
