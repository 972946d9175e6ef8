//! The manual and the examples say what the programs take: every key, every flag, every default.

#[path = "manual/examples.rs"]
mod examples;

use std::path::{Path, PathBuf};

use common::Config;
use tests::machine::{Machine, words};

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first words after a macro at the start of a page's lines.
fn items(page: &str, item: &str) -> Vec<String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix(item));
    lines.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_manual_and_in_the_example_with_its_default() {
    let (page, example) = (file("man/threatstop.conf.5"), file("etc/threatstop.conf"));
    let mut documented = items(&page, ".It Ic ");
    documented.sort();
    let mut keys: Vec<&str> = common::config::names().collect();
    keys.sort_unstable();
    assert_eq!(documented, keys);

    let all: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if keys.iter().any(|key| setting.starts_with(&format!("{key}="))) => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    for key in &keys {
        assert!(
            all.lines().any(|line| line.starts_with(&format!("{key}="))),
            "etc/threatstop.conf: no {key}"
        );
    }
    // What is commented out shows the default: to uncomment it changes nothing.
    let (given, uncommented) =
        (Config::parse(example.as_bytes()).unwrap(), Config::parse(all.as_bytes()).unwrap());
    assert!(given.effective().eq(uncommented.effective()));
}

#[test]
fn every_flag_is_in_its_page_and_its_usage() {
    for (program, arguments) in [("tsfetch", ""), ("tsload", ""), ("tsship", " log ...")] {
        let machine = Machine::new();
        let usage = machine.program(program).arg("--help").output().unwrap();
        assert!(usage.status.success(), "{}", words(&usage));
        let usage = String::from_utf8(usage.stdout).unwrap();
        let letters = usage.split_once("[-").unwrap().1.split_once(']').unwrap().0;
        let mut flags: Vec<String> = letters.chars().map(String::from).collect();
        flags.extend(usage.split("[-").skip(2).filter_map(|rest| rest.split(' ').next()).map(str::to_owned));
        flags.sort();
        let mut documented = items(&file(&format!("man/{program}.8")), ".It Fl ");
        documented.sort();
        assert_eq!(documented, flags, "{program}");
        assert!(usage.contains(arguments.trim_start()), "{usage}");
    }
}

#[test]
fn the_example_is_accepted() {
    let machine = Machine::new();
    machine.write("etc/threatstop.conf", file("etc/threatstop.conf"));
    let output = machine.program("tsfetch").arg("-nv").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", words(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    for (key, value) in Config::parse(file("etc/threatstop.conf").as_bytes()).unwrap().effective() {
        assert!(printed.contains(&format!("{key}=\"{value}\"\n")), "{key}: {printed}");
    }
    // What is printed is a configuration again.
    assert!(Config::parse(printed.as_bytes()).is_ok());
}

#[test]
fn the_packet_filter_example_names_the_default_tables_and_files() {
    let (rules, defaults) = (file("etc/threatstop.pf.conf"), Config::parse(b"").unwrap());
    for table in [&defaults.block, &defaults.allow] {
        let wanted = format!("table <{}> persist file \"{}\"", table.name, table.file.display());
        assert!(rules.lines().any(|line| line == wanted), "{wanted}");
    }
}

#[test]
fn every_parameter_of_tsadmin_is_in_its_page_and_every_key_that_it_uses_is_one() {
    let script: String = ["tsadmin", "tsadmin.add", "tsadmin.remove", "tsadmin.show"]
        .map(|name| file(&format!("etc/{name}")))
        .concat();
    let labels = script.lines().filter_map(|line| line.trim_start().strip_prefix("--")?.split_once(')'));
    let mut taken: Vec<&str> = labels.map(|(label, _)| label).collect();
    taken.retain(|label| !label.contains(['*', '|']) && *label != "help");
    taken.sort_unstable();
    taken.dedup();
    let mut documented = items(&file("man/tsadmin.8"), ".It Fl -");
    documented.sort();
    assert_eq!(documented, taken);

    let names: Vec<&str> = common::config::names().collect();
    for verb in ["settle ", "set_key ", "setting "] {
        for (at, _) in script.match_indices(verb) {
            let word: String = script[at + verb.len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let is_key = word.chars().any(|c| c.is_ascii_uppercase());
            assert!(!is_key || names.contains(&word.as_str()), "{word}");
        }
    }
    assert!(script.contains("settle device_id ") && script.contains("settle url "));
}
