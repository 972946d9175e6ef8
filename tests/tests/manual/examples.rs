//! Every example of the pages and of README: what it names is there, and what it shows is run by a test or is of the system.

use std::collections::BTreeSet;
use std::process::Command;

use common::Config;
use tests::machine::{Machine, words};

use super::file;

const PAGES: [&str; 6] = ["tsadmin.8", "tsfetch.8", "tsload.8", "tspf.7", "tsship.8", "threatstop.conf.5"];

/// The system's own commands, which take a real OpenBSD to run.
const SYSTEM: &[&str] = &[
    "cargo", "cat", "cd", "cp", "crontab", "grep", "install", "less", "mv", "ntpctl", "pfctl", "ping",
    "rcctl", "rm", "tcpdump", "useradd", "vi",
];

/// The system's own files and directories.
const SYSTEM_FILES: &[&str] = &[
    "/dev/null",
    "/sbin/nologin",
    "/usr/local/etc",
    "/usr/local/man/man5",
    "/usr/local/man/man7",
    "/usr/local/man/man8",
    "/usr/local/sbin",
    "/var/backups/pflog.*.gz",
    "/var/empty",
    "/var/log/pflog",
];

/// Who takes the display from the page, or says the same.
enum Tried {
    /// A test in this file, which has the first line too.
    By(&'static str),
    /// Nobody: it takes the real system.
    Real,
}
use Tried::{By, Real};

/// What is displayed and is no command, by its first line.
const SHOWN: &[(&str, Tried)] = &[
    ("# a comment", By("tests/tests/manual/examples.rs")),
    ("key \"fleet.example\" {", By("fetcher/src/keyfile/tests.rs")),
    ("0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16", By("tests/tests/manual/examples.rs")),
    ("device_id=\"tdid_abcd1234\"", By("tests/tests/manual/examples.rs")),
    ("DNS_SERVERS=\"192.0.2.53 [2001:db8::53]:5353\"", By("tests/tests/manual/examples.rs")),
    ("include \"/usr/local/etc/threatstop.pf.conf\"", By("tests/tests/tsadmin/edits.rs")),
    ("include \"/usr/local/etc/threatstop.pf.conf\" # tspf(7)", By("tests/tests/tsadmin/edits.rs")),
    ("name servers                           log server", By("tests/tests/manual/examples.rs")),
    ("stdio", By("tests/tests/sandbox/attempts.rs")),
    ("# tspf 1 block", By("fetcher/src/spool.rs")),
    ("# old", By("tests/tests/manual/examples.rs")),
    ("# new", By("tests/tests/manual/examples.rs")),
    ("add em0", Real),
    ("set skip on em1", Real),
    ("# which list", By("tests/tests/real_servers/manual.rs")),
    ("# blocklist", By("tests/tests/real_servers/manual.rs")),
    ("# allowlist", By("tests/tests/real_servers/manual.rs")),
    ("; policy.example", By("tests/tests/real_servers/manual.rs")),
    ("# policy.cnf", By("tests/tests/real_servers/manual.rs")),
    ("# certificate", By("tests/tests/real_servers/manual.rs")),
    ("# named.conf", By("tests/tests/real_servers/manual.rs")),
    ("# nsd.conf", By("tests/tests/real_servers/manual.rs")),
    ("# knot.conf", By("tests/tests/real_servers/manual.rs")),
    ("# threatstop.conf", By("tests/tests/real_servers/manual.rs")),
    ("24.0.2.0.192.rpz-ip\t\tCNAME\t.", By("fetcher/src/rpz.rs")),
];

/// The displays of a page: the lines of each `.Bd -literal`, and each run of `.Dl`.
fn displays(page: &str) -> Vec<Vec<String>> {
    let (mut found, mut inside) = (vec![Vec::new()], false);
    for line in page.lines() {
        let shown = if line.starts_with(".Bd -literal") {
            found.push(Vec::new());
            inside = true;
            continue;
        } else if line == ".Ed" {
            inside = false;
            None
        } else {
            line.strip_prefix(".Dl ").or(inside.then_some(line))
        };
        match shown {
            Some(line) => found.last_mut().unwrap().push(line.replace("\\e", "\\")),
            None => found.push(Vec::new()),
        }
    }
    found.retain(|display| !display.is_empty());
    found
}

/// The display of a page that begins with this line.
fn display(page: &str, first: &str) -> String {
    let all = displays(&file(page));
    let found = all.iter().find(|display| display[0].trim_start() == first).expect(first);
    found.join("\n") + "\n"
}

/// The commands of a session: what follows a prompt, and lines that go on.
fn session(display: &[String]) -> Option<Vec<String>> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in display {
        let command = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ "));
        if goes_on {
            let last = commands.last_mut()?;
            *last = format!("{} {}", last.trim_end_matches('\\'), line.trim());
        } else if let Some(command) = command {
            commands.push(command.to_owned());
        } else if commands.is_empty() {
            return None;
        }
        goes_on = line.ends_with('\\') || line.ends_with("&&");
    }
    Some(commands)
}

/// The flags that a program's usage has, and those of them that take a value.
fn flags(program: &str) -> (String, String) {
    let usage = Machine::new().program(program).arg("--help").output().unwrap();
    let usage = String::from_utf8(usage.stdout).unwrap();
    let valued: String = usage
        .split("[-")
        .filter(|part| part.as_bytes().get(1) == Some(&b' '))
        .map(|part| &part[..1])
        .collect();
    let plain = usage.split_once("[-").unwrap().1.split_once(']').unwrap().0;
    (format!("{plain}{valued}"), valued)
}

struct Known {
    flags: Vec<(&'static str, (String, String))>,
    /// What the pages name as files.
    files: BTreeSet<String>,
    tsadmin: String,
    used: BTreeSet<String>,
}

impl Known {
    fn new() -> Known {
        let pages: String = PAGES.map(|page| file(&format!("man/{page}"))).concat();
        let files =
            pages.lines().filter_map(|line| line.strip_prefix(".It Pa ").or(line.strip_prefix(".Pa ")));
        let files = files.flat_map(str::split_whitespace).map(str::to_owned).collect();
        let tsadmin =
            ["tsadmin", "tsadmin.add", "tsadmin.remove"].map(|name| file(&format!("etc/{name}"))).concat();
        let flags = ["tsfetch", "tsload", "tsship"].map(|name| (name, flags(name))).into();
        Known { flags, files, tsadmin, used: BTreeSet::new() }
    }

    fn check(&mut self, command: &str) {
        let command = command.replace("$D", "/var/db/threatstop");
        let parts = command.split(['|', ';', '(', ')', '\n']).flat_map(|part| part.split("&&"));
        for part in parts.filter(|part| !part.trim().is_empty()) {
            let words: Vec<&str> = part.split_whitespace().collect();
            self.check_part(&words);
        }
        for word in command.split([' ', '\t', '>', ';', '"', '(', ')']).filter(|word| !word.is_empty()) {
            self.check_file(word);
        }
    }

    fn check_part(&mut self, words: &[&str]) {
        let Some((first, rest)) = words.split_first() else { return };
        let name = first.rsplit('/').next().unwrap();
        if let Some((_, (taken, valued))) = self.flags.iter().find(|(program, _)| *program == name) {
            for word in rest.iter().filter_map(|word| word.strip_prefix('-')) {
                for letter in word.chars() {
                    assert!(taken.contains(letter), "{words:?}: no -{letter}");
                    if valued.contains(letter) {
                        break;
                    }
                }
            }
        } else if name == "tsadmin" {
            let label = |word: &str| {
                self.tsadmin.lines().any(|line| {
                    let labels = line.trim().split_once(')').map(|(labels, _)| labels);
                    labels.is_some_and(|labels| labels.split(" | ").any(|label| label == word))
                })
            };
            for word in rest {
                let word = word.split('=').next().unwrap();
                assert!(label(word), "{words:?}: no {word}");
            }
        } else if let Some(script) = first.strip_prefix("./") {
            assert!(!file(script).is_empty());
        } else if name == "policy-zone" {
            assert!(!file("etc/policy-zone").is_empty());
        } else if !first.contains('=') {
            assert!(
                SYSTEM.contains(&name),
                "{words:?}: neither ours nor in the list of the system's commands"
            );
            self.used.insert(name.to_owned());
        }
    }

    fn check_file(&mut self, word: &str) {
        if SYSTEM_FILES.contains(&word) {
            self.used.insert(word.to_owned());
        } else if word.starts_with("etc/") || word.starts_with("./tests/") {
            assert!(!file(word).is_empty());
        } else if word.starts_with('/') && !word.starts_with("/usr/local/sbin/ts") {
            assert!(self.files.contains(word), "{word}: not under FILES");
        }
    }
}

/// Whether a test has the beginning of a display, beside the list in this file.
fn takes(test: &str, start: &str) -> bool {
    let start = start.split('\t').next().unwrap().replace('"', "\\\"");
    let own = usize::from(file!().ends_with(test.trim_start_matches("tests/")));
    file(test).matches(&start).count() > own
}

#[test]
fn every_example_names_what_there_is() {
    let mut known = Known::new();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let schedule = squeezed(&file("etc/crontab")) + &squeezed(&file("etc/newsyslog.conf"));
    for page in PAGES {
        for display in displays(&file(&format!("man/{page}"))) {
            let first = display[0].trim_start();
            // A message is looked at below.
            if first.starts_with("ts") && first.contains(": ") {
                continue;
            }
            if first.starts_with("~ ") || first.starts_with("*/15 ") || first.starts_with("/var/log/pflog ") {
                assert!(schedule.contains(&squeezed(first)), "{page}: {first}: not in etc");
                continue;
            }
            let entry = SHOWN.iter().find(|(start, _)| match *start {
                // Promises begin all alike, as do the files of one server.
                "stdio" => first.split(' ').next() == Some("stdio"),
                "# named.conf" | "# nsd.conf" | "# knot.conf" | "# threatstop.conf" => {
                    first.starts_with(start)
                }
                start => first == start,
            });
            if let Some((start, tried)) = entry {
                shown.insert(start);
                if let By(test) = tried {
                    assert!(takes(test, start), "{test} says nothing of: {start}");
                }
            } else {
                let commands =
                    session(&display).unwrap_or_else(|| panic!("{page}: {first}: no session, nor listed"));
                commands.iter().for_each(|command| known.check(command));
            }
        }
    }
    // Every second piece is a picture, or what a program printed.
    for line in file("README.md").split("```").step_by(2).flat_map(str::lines) {
        if let Some(command) = line.strip_prefix("    ") {
            known.check(command.split("  #").next().unwrap());
        }
    }
    let listed: BTreeSet<&str> = SHOWN.iter().map(|(start, _)| *start).collect();
    assert_eq!(shown, listed);
    let system: BTreeSet<String> = SYSTEM.iter().chain(SYSTEM_FILES).map(|name| (*name).to_owned()).collect();
    assert_eq!(known.used, system, "a list has more than is used");
}

/// Every source of the programs, where messages are.
fn sources() -> String {
    fn collect(directory: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                collect(&entry.path(), all);
            } else {
                *all += &std::fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    let mut all = String::new();
    for part in ["common", "fetcher", "loader", "shipper"] {
        let path = format!("{}/../{part}/src", env!("CARGO_MANIFEST_DIR"));
        collect(std::path::Path::new(&path), &mut all);
    }
    all
}

#[test]
fn every_message_under_troubleshooting_is_one_of_ours() {
    let (page, sources) = (file("man/tspf.7"), sources());
    let section = page.split_once("\n.Sh TROUBLESHOOTING\n").unwrap().1.split_once("\n.Sh ").unwrap().0;
    let messages = section.lines().filter_map(|line| line.strip_prefix(".Dl ").or(line.strip_prefix(".Dq ")));
    let mut seen = 0;
    // Those that start with "cannot" are pfctl(8)'s.
    for message in messages.filter(|message| !message.starts_with("cannot ")) {
        let message = message
            .trim_end_matches(" ,")
            .trim_end_matches(" .")
            .replace("...", "0")
            .replace(": ", "0")
            .replace(" N ", "0")
            .replace("by root", "0");
        for piece in message.split(|c: char| c.is_ascii_digit()).filter(|piece| piece.len() > 12) {
            assert!(sources.contains(piece), "{message}: {piece:?}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_configurations_are_accepted_and_show_the_default() {
    let page = "man/threatstop.conf.5";
    for first in ["device_id=\"tdid_abcd1234\"", "DNS_SERVERS=\"192.0.2.53 [2001:db8::53]:5353\""] {
        let text = display(page, first);
        assert!(Config::parse(text.as_bytes()).is_ok(), "{text}");
    }
    let form =
        display(page, "# a comment").replace("KEY=value", "DNS_PORT=53").replace("KEY=", "BLOCK_LIST=");
    assert_eq!(Config::parse(form.as_bytes()).unwrap().block.lists.len(), 3, "{form}");
    let never = display(page, "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16");
    let given =
        Config::parse(format!("NEVER_BLOCK=\"{}\"\n", never.trim().replace('\n', " ")).as_bytes()).unwrap();
    assert_eq!(given.never_block, Config::parse(b"").unwrap().never_block);
}

#[test]
fn the_way_of_data_is_the_same_in_the_manual_and_in_readme() {
    let users = ["(_tsfetch)", "(_tsship)", "(root)"];
    let plain = |text: &str| users.iter().fold(text.to_owned(), |text, user| text.replace(user, ""));
    let squeezed = |text: &str| plain(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let page = display("man/tspf.7", "name servers                           log server");
    assert!(squeezed(&file("README.md")).contains(&squeezed(&page)), "{page}");
}

#[test]
fn an_old_configuration_becomes_the_new_one() {
    let machine = Machine::new();
    let (old, new) = (display("man/tspf.7", "# old"), display("man/tspf.7", "# new"));
    machine.write("old", &old);
    machine.write("defaults", "BLOCK_LIST=a.list\n");
    let settings =
        machine.program("tsfetch").args(["-nv", "-c"]).arg(machine.path("defaults")).output().unwrap();
    machine.write("defaults.all", String::from_utf8(settings.stdout).unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/tsadmin.add");
    let mut shell = Command::new("/bin/sh");
    let output =
        shell.args(["-uc", "work=$1; . \"$2\"; convert \"$1/old\"", "sh"]).arg(machine.path("")).arg(script);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().replace("# old", "# new"), new);
    assert!(Config::parse(new.as_bytes()).is_ok());
}
