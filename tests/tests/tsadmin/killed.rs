//! tsadmin ended by SIGKILL at each command that changes something, and run again.

use super::root::{Root, Shell, difference, possible};
use super::{assert_status, without_minutes};
use tests::machine::words;

/// Whatever step `add` died at, the next one completes the set-up, and `remove` takes all of it away.
#[test]
fn add_killed_at_every_command() {
    if !possible() {
        return;
    }
    let whole = Root::new("OpenBSD", Shell::Dash);
    assert_status(&whole.add(&[]), 0);
    for left in 0.. {
        let root = Root::new("OpenBSD", Shell::Dash);
        let (before, crontab) = (root.snapshot(), root.crontab());
        root.die_after(left);
        let output = root.add(&[]);
        if output.status.success() {
            assert!(left > 50, "{left} commands");
            return;
        }
        assert_eq!(output.status.code(), None, "{}", words(&output));
        root.live();
        if left % 2 == 0 {
            // What was made so far can be taken back,
            let output = root.tsadmin(&["remove", "--silent"], "");
            assert!(matches!(output.status.code(), Some(0 | 2)), "{left}: {}", words(&output));
            assert_eq!(difference(&before, &root.snapshot()), "", "{left}: {}", words(&output));
            assert_eq!(root.crontab(), crontab);
        } else {
            // or completed.
            let output = root.add(&[]);
            assert!(matches!(output.status.code(), Some(0 | 2)), "{left}: {}", words(&output));
            assert_eq!(without_minutes(&root.crontab()), without_minutes(&whole.crontab()));
            assert_eq!(root.read("stub/pf/rules"), whole.read("stub/pf/rules"), "{left}");
            for file in
                ["etc/pf.conf", "etc/newsyslog.conf", "etc/passwd", "usr/local/etc/threatstop.pf.conf"]
            {
                assert_eq!(root.read(file), whole.read(file), "{left}: {file}");
            }
        }
    }
}

#[test]
fn remove_killed_at_every_command() {
    if !possible() {
        return;
    }
    let added = Root::new("OpenBSD", Shell::Dash);
    let (before, crontab) = (added.snapshot(), added.crontab());
    assert_status(&added.add(&[]), 0);
    for left in 0.. {
        let root = added.copy();
        root.die_after(left);
        let output = root.tsadmin(&["remove", "--silent"], "");
        if output.status.success() {
            assert!(left > 30, "{left} commands");
            return;
        }
        assert_eq!(output.status.code(), None, "{}", words(&output));
        root.live();
        let output = root.tsadmin(&["remove", "--silent"], "");
        assert!(matches!(output.status.code(), Some(0 | 2)), "{left}: {}", words(&output));
        assert_eq!(difference(&before, &root.snapshot()), "", "{left}: {}", words(&output));
        assert_eq!(root.crontab(), crontab);
    }
}

/// OpenBSD's useradd makes the group first, and refuses to make one that is there.
#[test]
fn a_user_that_was_half_made_is_completed() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Mksh);
    let before = root.snapshot();
    root.write("stub/useradd.dies", "");
    assert_eq!(root.add(&[]).status.code(), None);
    assert!(root.read("etc/group").contains("_tsfetch:") && !root.read("etc/passwd").contains("_tsfetch:"));
    assert_status(&root.add(&[]), 0);
    assert!(root.read("stub/log").contains("useradd -g _tsfetch -d /var/empty "));
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(difference(&before, &root.snapshot()), "");
}
