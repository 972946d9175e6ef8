//! `etc/install` and the port that uses it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::machine::{Machine, words};

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Installs into a directory, as the caller. Programs are stand-ins, as only names and modes count.
fn install(machine: &Machine, variables: &[(&str, PathBuf)]) {
    let mut command = Command::new(tree().join("etc/install"));
    command.env("TARGET", machine.path("bin"));
    let output = command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{}",
        words(&output)
    );
}

fn installed(machine: &Machine, name: &str) -> BTreeSet<String> {
    let root = machine.path(name);
    let names = machine.snapshot(name).into_iter().map(|(path, ..)| path);
    names.map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect()
}

#[test]
fn the_packing_list_is_what_install_installs() {
    let machine = Machine::new();
    let fake = machine.path("fake/usr/local");
    install(&machine, &[("PREFIX", fake.clone()), ("MANDIR", fake.join("man"))]);
    let list = fs::read_to_string(tree().join("etc/port/pkg/PLIST")).unwrap();
    let files = list.lines().filter_map(|line| match line.split_once(' ') {
        Some(("@man" | "@bin", name)) => Some(name),
        _ => (!line.starts_with('@') && !line.ends_with('/')).then_some(line),
    });
    let listed: BTreeSet<String> = files.map(str::to_owned).collect();
    assert_eq!(listed, installed(&machine, "fake/usr/local"));
    for file in &listed {
        let mode = fs::metadata(fake.join(file)).unwrap().permissions().mode() & 0o7777;
        let program = file.starts_with("sbin/") || file.ends_with("policy-zone");
        assert_eq!(mode, if program { 0o555 } else { 0o444 }, "{file}");
    }
    // Directories that the package does not share with others.
    for directory in list.lines().filter(|line| !line.starts_with('@') && line.ends_with('/')) {
        assert!(fake.join(directory).is_dir(), "{directory}");
    }
}

/// As bsd.port.mk does it: with a PREFIX in the fake root, and DESTDIR in the environment.
#[test]
fn the_port_installs_into_the_fake_root_and_nowhere_else() {
    let machine = Machine::new();
    let makefile = fs::read_to_string(tree().join("etc/port/Makefile")).unwrap();
    let (_, rest) = makefile.split_once("do-install:\n").unwrap();
    let (command, _) = rest.split_once("\n\n").unwrap();
    let fake = machine.path("fake");
    let target = machine.path("target");
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(machine.path("bin"), target.join("release")).unwrap();
    let mut command = command.to_owned();
    for (name, value) in
        [("${WRKSRC}", tree()), ("${PREFIX}", fake.join("usr/local")), ("${MODCARGO_TARGET_DIR}", target)]
    {
        command = command.replace(name, value.to_str().unwrap());
    }
    let output = Command::new("sh").args(["-c", &command]).env("DESTDIR", &fake).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let all = installed(&machine, "fake");
    assert!(all.contains("usr/local/sbin/tsfetch") && all.contains("usr/local/man/man7/tspf.7"), "{all:?}");
    assert!(all.iter().all(|name| name.starts_with("usr/local/")), "{all:?}");
}

/// As `make modcargo-gen-crates' does, from the lock file; sorted.
#[test]
fn the_port_fetches_the_crates_of_the_lock_file() {
    let lock = fs::read_to_string(tree().join("Cargo.lock")).unwrap();
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let wanted: String = lock
        .split("[[package]]\n")
        .filter(|package| value(package, "source").is_some())
        .map(|package| {
            let (name, version) = (value(package, "name").unwrap(), value(package, "version").unwrap());
            format!("MODCARGO_CRATES +=\t{name}\t{version}\n")
        })
        .collect();
    assert_eq!(fs::read_to_string(tree().join("etc/port/crates.inc")).unwrap(), wanted);
}

#[test]
fn install_honours_destdir_and_prefix() {
    let machine = Machine::new();
    install(&machine, &[("DESTDIR", machine.path("a"))]);
    install(&machine, &[("DESTDIR", machine.path("b")), ("PREFIX", "/opt/tspf".into())]);
    let (default, other) = (installed(&machine, "a/usr/local"), installed(&machine, "b/opt/tspf"));
    assert!(default.contains("sbin/tsfetch"), "{default:?}");
    assert_eq!(default, other);
    assert_eq!(installed(&machine, "a").len(), default.len(), "nothing beside it");
    let version = format!("version='{}'\n", env!("CARGO_PKG_VERSION"));
    assert!(fs::read_to_string(machine.path("a/usr/local/sbin/tsadmin")).unwrap().contains(&version));
}

#[test]
fn install_does_not_go_where_cdpath_leads() {
    let machine = Machine::new();
    let mut command = Command::new("sh");
    command.arg("etc/install").current_dir(tree()).env("CDPATH", "/").env("TARGET", machine.path("bin"));
    let output = command.env("DESTDIR", machine.path("a")).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", words(&output));
}

#[test]
fn the_port_is_of_this_version_and_of_these_programs() {
    let makefile = fs::read_to_string(tree().join("etc/port/Makefile")).unwrap();
    assert!(makefile.contains(&format!("DISTNAME =\ttspf-{}\n", env!("CARGO_PKG_VERSION"))), "{makefile}");
    for program in tests::machine::PROGRAMS {
        assert!(makefile.contains(&format!("-p {program}")), "{makefile}");
    }
    // What the ports tree's cargo module would change is what the workspace relies on.
    let workspace = fs::read_to_string(tree().join("Cargo.toml")).unwrap();
    for (key, variable) in
        [("panic = \"abort\"", "PANIC=abort"), ("overflow-checks = true", "OVERFLOW_CHECKS=true")]
    {
        assert!(
            workspace.contains(key) && makefile.contains(&format!("CARGO_PROFILE_RELEASE_{variable}")),
            "{key}"
        );
    }
}
