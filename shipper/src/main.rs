//! tsship: ships the log of pf(4).
//!
//! Rotated pflog files become text in the outbox, and texts are posted over HTTPS. This process, the
//! collector, opens, renames and removes files; children without root do what is dangerous: decode
//! gzip and pcap, speak TLS and HTTP.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::args::{self, Args};
use common::config::DEFAULT_PATH;
use common::privilege;
use common::replace::temporary_name;
use common::{Config, Error, Status, lock, message, owner, sandbox};
use nix::sys::stat::{Mode, umask};
use shipper::backoff::{self, Backoff};
use shipper::collector::Collector;
use shipper::decoder::Settings;
use shipper::ledger::Ledger;
use shipper::outbox::Outbox;
use shipper::uploader::Target;
use shipper::{check, dump, logs, newsyslog, process, start};

const USAGE: &str = "usage: tsship [-nqrtv] [-c file] [log ...]";

/// A run's exit status, and its line for syslog.
type Outcome = (Status, String);

/// How long a run with `-q` goes on to decode: newsyslog(8) waits for it.
const HOOK: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    process::close_inherited();
    message::init("tsship");
    let args = match args::parse("c:nqrtv", std::env::args_os().skip(1)) {
        Ok(args) if args.help => {
            message::print(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(args) if args.has('r') && (args.has('n') || !args.operands.is_empty()) => {
            return message::misuse("-r takes neither -n nor a log", USAGE);
        }
        Ok(args)
            if args.has('t') && ("nqr".chars().any(|flag| args.has(flag)) || !args.operands.is_empty()) =>
        {
            return message::misuse("-t takes neither -n, -q, -r nor a log", USAGE);
        }
        Ok(args) => args,
        Err(cause) => return message::misuse(cause, USAGE),
    };
    message::set_verbose(args.has('v'));
    let (status, line) = run(&args).unwrap_or_else(|errors| {
        errors.iter().for_each(message::warn);
        (Status::Failed, errors.first().map(Error::to_string).unwrap_or_default())
    });
    message::finish(status, line)
}

/// What a run promises at first. rpath: configuration, logs, the terminal's name. wpath, cpath,
/// flock: the lock, the outbox, the terminal. getpw, id: SHIP_USER and the children's limits. proc:
/// the children. inet, dns: what the uploader is left with. unveil: the collector's paths.
const EARLY: &str = "stdio rpath wpath cpath inet dns proc flock getpw id unveil";

/// What all runs begin with: settings, and the account that children run as.
fn run(args: &Args) -> Result<Outcome, Vec<Error>> {
    umask(Mode::from_bits_truncate(0o077));
    // newsyslog(8) runs before the first pledge: on Linux it could not leave our promises behind.
    if !args.has('r') {
        sandbox::pledge(EARLY).map_err(|error| vec![error])?;
    }
    let path = args.value('c').map_or(Path::new(DEFAULT_PATH), Path::new);
    let config = Config::load(path)?;
    if !args.has('n') && !args.has('q') {
        Target::check(&config)?;
    }
    let account = privilege::account("SHIP_USER", &config.ship_user, config.is_set("SHIP_USER"));
    let result = account.and_then(|account| {
        process::prepare()?;
        match sandbox::note() {
            // Standard output is the text's.
            Some(note) if args.has('n') && args.has('v') => message::warn(note),
            Some(note) if !args.has('n') => message::say(note),
            _ => {}
        }
        let log_time = config.log_time;
        if args.has('n') {
            let settings = Settings { account, log_time, largest_text: None };
            return dump::run(&config.pflog, &args.operands, &settings);
        }
        if args.has('t') {
            return check::run(&Target::new(&config)?, &account);
        }
        let settings = Settings { account, log_time, largest_text: Some(config.outbox_max / 4) };
        // Before the lock is taken, for newsyslog runs `tsship -q`.
        let mut unrotated = Vec::new();
        if args.has('r') {
            unrotated = newsyslog::rotate(&config.pflog);
            sandbox::pledge(EARLY)?;
        }
        ship(&config, &settings, args, unrotated)
    });
    result.map_err(|error| vec![error])
}

/// Whether nothing is posted in this run, because the log server failed not long ago. Somebody who
/// watches wants to see it tried.
fn is_left_alone(config: &Config) -> bool {
    let backoff = Backoff::load(&config.backoff_file());
    let left = backoff.map_or(0, |backoff| backoff.left(backoff::now()));
    if left == 0 || std::io::stderr().is_terminal() {
        return false;
    }
    let minutes = left.div_ceil(60);
    message::say(format!("the log server failed: nothing is posted for another {minutes} minutes"));
    true
}

/// A run that ships, or with `-q` one that leaves the texts for the next. `problems` are those
/// that it has already.
fn ship(
    config: &Config,
    settings: &Settings,
    args: &Args,
    mut problems: Vec<Error>,
) -> Result<Outcome, Error> {
    // Only this run, in directories that nobody else can change.
    owner::check_directory(&config.spool_dir)?;
    let outbox = Outbox::new(config.outbox_dir(), config.rejected_dir())?;
    let Some(lock) = lock::take(&config.lock_file("tsship"))? else {
        problems.iter().for_each(message::warn);
        message::say("another run is at work");
        let status = if problems.is_empty() { Status::Nothing } else { Status::Failed };
        return Ok((status, "another run is at work".to_owned()));
    };
    let only_spool = args.has('q');
    let until = if only_spool { Instant::now().checked_add(HOOK) } else { None };

    // What the children get is opened, then they are forked; each drops root and pledges by itself.
    problems.extend(outbox.sweep().err());
    let target = if only_spool || is_left_alone(config) {
        None
    } else {
        Target::new(config).map_err(|error| problems.push(error)).ok()
    };
    let ledger = Ledger::load(&config.ledger_file())?;
    let mut found = if args.operands.is_empty() {
        logs::rotated(&config.pflog, |file| ledger.find(file).is_some())?
    } else {
        start::named(&args.operands, &config.pflog)?
    };
    problems.append(&mut found.problems);
    found.logs.retain(|log| {
        if !log.is_final {
            message::say(format!("{}: pflogd may still write to it", log.path.display()));
        }
        log.is_final
    });
    let mut started = start::shipping(lock, &outbox, found.logs, settings, target.as_ref())?;
    problems.append(&mut started.problems);

    // rpath: read_dir, and open for fsync, ledger and backoff. wpath, cpath: these, rename, unlink.
    // proc: kill, for a child that takes too long.
    let (ledger_file, backoff) = (config.ledger_file(), config.backoff_file());
    sandbox::pledge("stdio rpath wpath cpath proc unveil")?;
    sandbox::unveil(&[
        (&config.spool_dir, "r"),
        (outbox.waiting(), "rwc"),
        (outbox.rejected(), "rwc"),
        (&ledger_file, "rwc"),
        (&temporary_name(&ledger_file), "rwc"),
        (&backoff, "rwc"),
        (&temporary_name(&backoff), "rwc"),
    ])?;
    sandbox::pledge("stdio rpath wpath cpath proc")?;

    let known = args.operands.is_empty().then_some(found.known.as_slice());
    let mut collector = Collector::new(config, outbox, ledger, known, started.waiting)?;
    problems.iter().for_each(|problem| collector.fail(problem));
    collector.mention(&found.foreign);
    started.decodings.into_iter().for_each(|decoding| collector.spool(decoding, until));
    if found.left > 0 {
        message::say(format!("{} younger logs wait for the next run", found.left));
    }
    if let Some(uploader) = started.uploader {
        collector.upload(uploader);
    }
    let tally = collector.close();
    drop(started.lock);
    Ok((tally.status(), tally.to_string()))
}
