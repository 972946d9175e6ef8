//! tsadmin, the real script, under three shells, on systems made of base tools and stubs.

#[path = "tsadmin/answers.rs"]
mod answers;
#[path = "tsadmin/edits.rs"]
mod edits;
#[path = "tsadmin/killed.rs"]
mod killed;
#[path = "tsadmin/port.rs"]
mod port;
#[path = "tsadmin/root.rs"]
mod root;
#[path = "tsadmin/session.rs"]
mod session;
#[path = "tsadmin/trouble.rs"]
mod trouble;

use root::{Root, SHELLS, Shell, difference, possible};
use std::process::Output;
use tests::machine::{built_programs, words};
use tests::pf::{Model, Os};

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", words(output));
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What the tools on Linux know and those of OpenBSD do not cannot be seen in a run.
#[test]
fn basic_regular_expressions_are_basic() {
    for part in ["tsadmin", "tsadmin.add", "tsadmin.remove", "tsadmin.show", "install"] {
        let script =
            std::fs::read_to_string(format!("{}/../etc/{part}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for word in
            ["\\|", "\\+", "\\?", "\\s", "\\w", "\\b", "sed -i", "sed -E", "[[ ", "&>", "<<<", "echo -"]
        {
            assert!(!script.contains(word), "{part}: {word}");
        }
    }
}

/// With the real tsload, against the model of pf, which is there for all that the script starts.
#[test]
fn add_and_update_load_the_real_tables() {
    if !possible() {
        return;
    }
    let (root, model) = (Root::new("OpenBSD", Shell::Dash), Model::new(Os::OpenBsd));
    let tsload = root.path("src/target/release/tsload");
    std::fs::remove_file(&tsload).unwrap();
    std::fs::copy(built_programs().join("tsload"), &tsload).unwrap();
    let parameters = root.parameters();
    let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
    args.push("--silent");
    let output = model.run(&mut root.script_command("/src/etc/tsadmin", &args)).unwrap();
    assert_status(&output, 0);
    let blocked = model.table("", "ThreatSTOP-Block").unwrap().list();
    assert_eq!(blocked, ["64.87.3.133/32", "91.0.0.0/16", "203.0.113.0/24"], "{}", words(&output));
    assert_eq!(root.read("var/db/ThreatSTOP-Allow.pftable"), "198.51.100.7\n");
    let output = model.run(&mut root.script_command(root.script(), &["update"])).unwrap();
    assert_status(&output, 2);
}

/// A crontab with our lines without their minutes, which are drawn by lot.
fn without_minutes(lines: &str) -> String {
    let without = |line: &str| match line.split_once('\t') {
        Some((_, rest)) if rest.contains("/usr/local/sbin/ts") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    lines.lines().map(without).collect()
}

/// The whole way, and back to where it began.
#[test]
fn from_a_bare_system_to_a_protected_one_and_back() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        for os in ["OpenBSD", "FreeBSD"] {
            there_and_back(&Root::new(os, shell));
        }
    }
}

fn there_and_back(root: &Root) {
    let (before, crontab) = (root.snapshot(), root.crontab());

    let output = root.add(&[]);
    assert_status(&output, 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", words(&output));
    let added = (root.snapshot(), root.crontab());
    assert_ne!(added.0, before);

    // The examples say the same.
    let example = |name: &str| root.read(&format!("src/etc/{name}"));
    let settings = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let rules = root.read("usr/local/etc/threatstop.pf.conf");
    assert_eq!(settings(&rules), settings(&example("threatstop.pf.conf")));
    if root.read("stub/os") == "OpenBSD\n" {
        assert_eq!(without_minutes(&added.1[crontab.len()..]), without_minutes(&example("crontab")));
        let (now, line) = (root.read("etc/newsyslog.conf"), settings(&example("newsyslog.conf")));
        assert!(now.lines().any(|found| found == line[0]), "{now}");
    }

    // Again: nothing to do, nothing changed.
    let output = root.add(&[]);
    assert_status(&output, 2);
    assert_eq!(difference(&added.0, &root.snapshot()), "");
    assert_eq!(root.crontab(), added.1);

    let output = root.tsadmin(&["show"], "");
    assert_status(&output, 0);
    let output = root.tsadmin(&["check"], "");
    assert_status(&output, 0);
    assert!(!stdout(&output).contains("FAIL"), "{}", words(&output));

    let output = root.tsadmin(&["update"], "");
    assert_status(&output, 2);
    let said = stdout(&output);
    for line in
        ["Starting ThreatSTOP v", "Finished ThreatSTOP update at ", "Run Length: 0 hour(s) 0 minute(s) "]
    {
        assert!(said.contains(line), "{said}");
    }
    assert_status(&root.tsadmin(&["logs"], ""), 0);

    let output = root.tsadmin(&["remove"], "yes\n");
    assert_status(&output, 0);
    assert_eq!(difference(&before, &root.snapshot()), "", "{}", words(&output));
    assert_eq!(root.crontab(), crontab);
    assert!(!root.path("stub/crontab").exists() || !crontab.is_empty());
}
