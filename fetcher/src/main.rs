//! tsfetch(8): gets the policy from name servers and leaves it in the spool.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use common::args::{self, Args};
use common::config::{self, Config, Table};
use common::{Error, Status, clock, lock, message, owner, privilege, sandbox};
use fetcher::client::Client;
use fetcher::credentials::Credentials;
use fetcher::limits::Limits;
use fetcher::table::Outcome;
use fetcher::{check, jitter, settings, table};
use nix::sys::stat::{Mode, umask};

const USAGE: &str = "usage: tsfetch [-ntv] [-c file] [-j seconds]";

fn main() -> ExitCode {
    message::init("tsfetch");
    let args = match args::parse("ntvc:j:", std::env::args_os().skip(1)) {
        Ok(args) if args.help => {
            message::print(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(args) if args.operands.is_empty() => args,
        Ok(_) => return message::misuse("no operands are taken", USAGE),
        Err(cause) => return message::misuse(cause, USAGE),
    };
    match run(&args) {
        Ok((status, summary)) => message::finish(status, summary),
        Err(problems) => {
            problems.iter().for_each(message::warn);
            let first = problems.first().map(Error::to_string).unwrap_or_default();
            message::finish(Status::Failed, first)
        }
    }
}

/// The run, step by step. Returns how it ended, with a line for syslog.
fn run(args: &Args) -> Result<(Status, String), Vec<Error>> {
    let failed = |error| vec![error];
    message::set_verbose(args.has('v'));
    // Whoever calls: the modes of files are those that the program gives.
    umask(Mode::from_bits_truncate(0o022));
    // rpath: the configuration and the key. wpath cpath flock: the lock. getpw id: FETCH_USER.
    // unveil: the paths, once they are known. inet dns: what is to come.
    sandbox::pledge("stdio rpath wpath cpath inet dns flock getpw id unveil").map_err(failed)?;

    let path = args.value('c').map_or(Path::new(config::DEFAULT_PATH), Path::new);
    let wait = args.value('j').map_or(Ok(Duration::ZERO), |value| jitter::wait(value)).map_err(failed)?;
    // Before all else: a run that waits keeps no other from its work, and goes by the
    // configuration of the time when it starts.
    if !wait.is_zero() && !args.has('n') {
        message::say(format_args!("Waiting {} seconds", wait.as_secs()));
        std::thread::sleep(wait);
    }

    // As root: the configuration and the key, which hold secrets.
    let config = Config::load(path)?;
    let problems = settings::problems(&config);
    if !problems.is_empty() {
        return Err(problems.iter().map(|problem| Error::new(path.display(), problem)).collect());
    }
    let credentials = Credentials::load(&config).map_err(failed)?;
    if args.has('n') {
        for (key, value) in config.effective() {
            message::say(format_args!("{key}=\"{value}\""));
        }
        if let Some(note) = sandbox::note() {
            message::say(format_args!("# {note}"));
        }
        return Ok((Status::Changed, "the configuration is good".to_owned()));
    }
    // getpwnam(3) would need the promise getpw.
    let account = privilege::account("FETCH_USER", &config.fetch_user, config.is_set("FETCH_USER"));
    let account = account.map_err(failed)?;
    let limits = Limits::default();
    limits.set_alarm();
    // The servers' ports, and that of the resolver for answers that UDP is too small for.
    let ports: Vec<u16> = config.dns_servers.iter().filter_map(|server| server.port).chain([53]).collect();
    if args.has('t') {
        privilege::drop_to(&account).map_err(failed)?;
        say_note();
        sandbox::connect_to(&ports).map_err(failed)?;
        // No file at all. inet: sockets and their time limits. dns: the name of a server.
        sandbox::pledge("stdio inet dns").map_err(failed)?;
        return Ok(match check::run(&config, &credentials, limits) {
            Ok(()) => (Status::Changed, "the test was successful".to_owned()),
            Err(cause) => (Status::Failed, format!("the test failed ({cause})")),
        });
    }

    // As root: the spool and the lock in it. flock(2) would need the promise flock. The lock is
    // held until this function returns.
    let lock_file = config.lock_file(message::program());
    owner::check_directory(&config.spool_dir).map_err(failed)?;
    // This one is the account's, not root's.
    owner::directory(&config.policy_dir()).map_err(failed)?;
    let Some(_lock) = lock::take(&lock_file).map_err(failed)? else {
        let busy = "another tsfetch is at work";
        message::say(busy);
        return Ok((Status::Nothing, busy.to_owned()));
    };
    let version = env!("CARGO_PKG_VERSION");
    message::say(format_args!("Starting ThreatSTOP v{version} update on {}", clock::date()));

    // From here on as nobody in particular, with the spool's policy and the network.
    privilege::drop_to(&account).map_err(failed)?;
    say_note();
    sandbox::connect_to(&ports).map_err(failed)?;
    sandbox::unveil(&[(&config.policy_dir(), "rwc")]).map_err(failed)?;
    // rpath: the spool files of the last run. wpath cpath: the new ones, later. inet: sockets and
    // their time limits. dns: the name of a server.
    sandbox::pledge("stdio rpath wpath cpath inet dns").map_err(failed)?;
    let mut client = Client::new(&config, &credentials, limits);
    let policies = Table::BOTH.map(|table| (table, table::fetch(&mut client, &config, table)));
    drop(client);
    if policies.iter().all(|(_, fetched)| fetched.outcome != Outcome::Failed) {
        message::say("Completed getting all the lists");
    }

    // No network any more. rpath: the old files, and rename(2). wpath cpath: the new ones.
    sandbox::pledge("stdio rpath wpath cpath").map_err(failed)?;
    Ok(table::end(policies.map(|(table, fetched)| table::leave(&config, table, fetched))))
}

/// Says once what the system does not enforce.
fn say_note() {
    if let Some(note) = sandbox::note() {
        message::say(note);
    }
}
