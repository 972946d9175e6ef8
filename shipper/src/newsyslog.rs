//! `tsship -r`: has newsyslog(8) rotate the log, and waits until the rotated one is final.
//!
//! Everything here comes before the lock, since newsyslog may run `tsship -q`, and before any
//! pledge(2): it forks and executes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::Error;
use common::error::reason;

use crate::logs::is_reopened;

/// newsyslog(8) where the system has it: whoever could put another one there is root.
const NEWSYSLOG: &str =
    if cfg!(target_os = "freebsd") { "/usr/sbin/newsyslog" } else { "/usr/bin/newsyslog" };

/// What newsyslog's own commands find programs by, as under cron(8).
const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";

/// How long newsyslog may take. It sleeps for 5 seconds, waits for its commands, of which `tsship -q`
/// takes at most two minutes, and for gzip(1).
const ROTATION: Duration = Duration::from_secs(300);

/// How long pflogd(8) may take to open the new log after that.
const REOPENING: Duration = Duration::from_secs(10);

/// How long a look is put off.
const NAP: Duration = Duration::from_millis(50);

/// Rotates the log, whatever its size and age. What comes back are the failures, after which
/// there may still be something to ship.
pub fn rotate(pflog: &Path) -> Vec<Error> {
    let rotated = run(Path::new(NEWSYSLOG), pflog, ROTATION);
    let reopened = rotated.and_then(|()| wait_for(pflog, REOPENING));
    reopened.err().into_iter().collect()
}

fn run(newsyslog: &Path, pflog: &Path, limit: Duration) -> Result<(), Error> {
    let failed = |cause: String| Error::new(newsyslog.display(), cause);
    let mut child = Command::new(newsyslog)
        .arg("-F")
        .arg(pflog)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| failed(reason(&error)))?;
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(|error| failed(reason(&error)))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(format!("{status}; {} was not rotated", pflog.display()))),
            // Killed between two of its renames it would leave no log to write to.
            None if began.elapsed() > limit => {
                return Err(failed(format!("still at work after {} seconds", limit.as_secs())));
            }
            None => sleep(NAP),
        }
    }
}

fn wait_for(pflog: &Path, limit: Duration) -> Result<(), Error> {
    let began = Instant::now();
    while !is_reopened(pflog) {
        if began.elapsed() > limit {
            let cause = "pflogd has not opened the new log; the rotated one waits for the next run";
            return Err(Error::new(pflog.display(), cause));
        }
        sleep(NAP);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const LONG: Duration = Duration::from_secs(600);

    /// A directory with a program of this text.
    fn program(name: &str, text: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tsship-rotate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("newsyslog");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A script that was just written may still be open for writing in a child that another test forked.
    fn run(newsyslog: &Path, pflog: &Path, limit: Duration) -> Result<(), Error> {
        let _alone = crate::process::alone();
        super::run(newsyslog, pflog, limit)
    }

    #[test]
    fn it_is_told_what_to_do_and_nothing_else() {
        let text = "#!/bin/sh\n{ echo \"$@\"; env | sort; pwd; cat; } >\"${2%/*}/said\"\n";
        let newsyslog = program("told", text);
        let pflog = newsyslog.with_file_name("pflog");
        run(&newsyslog, &pflog, LONG).unwrap();
        let said = std::fs::read_to_string(newsyslog.with_file_name("said")).unwrap();
        // What a shell adds to its environment is not ours.
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| !["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
            .collect();
        assert_eq!(ours, [format!("-F {}", pflog.display()).as_str(), &format!("PATH={PATH}"), "/"]);
        std::fs::remove_dir_all(newsyslog.parent().unwrap()).unwrap();
    }

    #[test]
    fn its_failures_are_named() {
        let newsyslog = program("fails", "#!/bin/sh\nexit 1\n");
        let pflog = Path::new("/var/log/pflog");
        let said = |program: &Path, limit| run(program, pflog, limit).unwrap_err().to_string();
        let name = newsyslog.display();
        assert_eq!(said(&newsyslog, LONG), format!("{name}: exit status: 1; /var/log/pflog was not rotated"));
        let missing = newsyslog.with_file_name("missing");
        assert_eq!(said(&missing, LONG), format!("{}: No such file or directory", missing.display()));
        std::fs::remove_dir_all(newsyslog.parent().unwrap()).unwrap();
    }

    #[test]
    fn one_that_takes_too_long_is_left_alone() {
        let newsyslog = program("slow", "#!/bin/sh\nread line <\"${2%/*}/pipe\"\necho >\"${2%/*}/done\"\n");
        let pipe = newsyslog.with_file_name("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let late = run(&newsyslog, &newsyslog.with_file_name("pflog"), Duration::ZERO).unwrap_err();
        assert!(late.to_string().ends_with("newsyslog: still at work after 0 seconds"), "{late}");
        // It was not killed: told to go on, it ends its work.
        std::fs::write(&pipe, "go\n").unwrap();
        while !newsyslog.with_file_name("done").exists() {
            sleep(NAP);
        }
        std::fs::remove_dir_all(newsyslog.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_new_log_is_waited_for() {
        let newsyslog = program("opened", "");
        let pflog = newsyslog.with_file_name("pflog");
        let late = wait_for(&pflog, Duration::ZERO).unwrap_err().to_string();
        assert!(
            late.ends_with(
                "pflog: pflogd has not opened the new log; the rotated one waits for the next run"
            )
        );
        std::fs::write(&pflog, [[0xd4, 0xc3, 0xb2, 0xa1].as_slice(), &[0; 20]].concat()).unwrap();
        wait_for(&pflog, Duration::ZERO).unwrap();
        std::fs::remove_dir_all(newsyslog.parent().unwrap()).unwrap();
    }
}
