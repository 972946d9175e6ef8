//! The manual's table of processes is what the programs state, and what each of them can still do after each step is what the table
//! says.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::Try;
use super::Verdict::{self, Fails, Killed, Works};

/// Processes as tspf(7) names them, and the files in which each one states its promises, step by step.
pub const PROCESSES: [(&str, &[&str]); 5] = [
    ("tsfetch", &["fetcher/src/main.rs"]),
    ("tsload", &["loader/src/main.rs"]),
    ("tsship , No collector", &["shipper/src/main.rs", "shipper/src/dump.rs", "shipper/src/check.rs"]),
    ("tsship , No decoder", &["shipper/src/decoder.rs"]),
    ("tsship , No uploader", &["shipper/src/uploader.rs"]),
];

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The display of a process in tspf(7), line by line.
fn display(process: &str) -> Vec<String> {
    let page = source("man/tspf.7");
    let item = format!("\n.It Nm {process}");
    let (_, rest) = page.split_once(&item).unwrap_or_else(|| panic!("tspf.7: no {process}"));
    let (_, rest) = rest.split_once(".Bd -literal").unwrap();
    rest.split_once("\n.Ed").unwrap().0.lines().skip(1).map(str::to_owned).collect()
}

/// A process's promises as tspf(7) has them, one for each step.
pub fn steps(process: &str) -> Vec<String> {
    let steps = display(process).into_iter().filter_map(|line| match line.split_once(": stdio") {
        Some((_, rest)) => Some(format!("stdio{}", rest.split(',').next().unwrap_or_default())),
        None => line.starts_with("stdio").then_some(line),
    });
    steps.collect()
}

/// A process's paths as tspf(7) has them, each with its permissions.
pub fn paths(process: &str) -> Vec<(String, String)> {
    let lines = display(process);
    let paths = lines
        .iter()
        .skip_while(|line| !line.starts_with("paths:"))
        .take_while(|line| !line.starts_with("ports:"));
    let paths = paths.map(|line| line.trim_start_matches("paths:").trim()).collect::<Vec<_>>().join(" ");
    let pairs = paths.split(", ").filter_map(|pair| pair.trim().rsplit_once(' '));
    pairs.map(|(path, permissions)| (path.to_owned(), permissions.to_owned())).collect()
}

/// The promises that a source file states, in its order.
fn stated(source: &str) -> Vec<String> {
    let literals = source.split('"').skip(1).step_by(2);
    literals
        .filter(|literal| *literal == "stdio" || literal.starts_with("stdio "))
        .map(str::to_owned)
        .collect()
}

fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(path.to_str().unwrap())),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn the_manual_has_the_promises_of_every_process() {
    let mut all = 0;
    for (process, files) in PROCESSES {
        let in_source: Vec<String> = files.iter().flat_map(|file| stated(&source(file))).collect();
        assert_eq!(steps(process), in_source, "{process}");
        all += in_source.len();
    }
    let files = ["fetcher", "loader", "shipper"]
        .map(|package| sources(&format!("{}/../{package}/src", env!("CARGO_MANIFEST_DIR"))));
    let anywhere = files.iter().flatten().map(|path| stated(&std::fs::read_to_string(path).unwrap()).len());
    assert_eq!(anywhere.sum::<usize>(), all, "promises that are in no process's list");
}

#[test]
fn the_readme_has_the_last_promises() {
    let readme = source("README.md");
    for (process, _) in PROCESSES {
        let name = process.replace(" , No", ",");
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| {name}")))
            .unwrap_or_else(|| panic!("{name}"));
        let last = steps(process).into_iter().filter(|step| !step.contains("unveil"));
        let step = last.max_by_key(String::len).unwrap();
        assert!(row.contains(&format!("`{step}`")), "{row}: {step}");
    }
}

/// What a step lets a call do. `port` is open on this machine, and none of those that were named.
fn expected(step: &str, call: &str) -> Option<Verdict> {
    let has = |promise: &str| step.split(' ').any(|word| word == promise);
    let allowed = |allowed: bool| if allowed { Works } else { Killed };
    // Before the paths are named every path is there, and no port is closed.
    let named = !has("unveil");
    Some(match call.split('=').next()? {
        "unix_socket" => Fails(libc::ENOSYS),
        "tcp_socket" => allowed(has("inet") || has("dns")),
        "udp_socket" => allowed(has("dns")),
        "connect_to" if has("inet") || has("dns") => Fails(libc::EACCES),
        "become_root" | "setgroups" if has("id") => Fails(libc::EPERM),
        "kill_another" | "fork" => allowed(has("proc")),
        "setrlimit" | "nice" => allowed(has("proc") || has("id")),
        "try_lock" => allowed(has("flock")),
        "mprotect_executable" => allowed(has("getpw")),
        "unveil" => allowed(has("unveil")),
        "open" if has("rpath") && !named => Works,
        "open" if has("rpath") || has("dns") => Fails(libc::EACCES),
        "open_for_writing" if has("wpath") && !named => Works,
        "open_for_writing" if has("wpath") => Fails(libc::EACCES),
        "create_at" if has("cpath") && !named => return None,
        "create_at" if has("cpath") => Fails(libc::EACCES),
        "remove_file" | "rename" | "create" => allowed(has("cpath")),
        "DIOCRSETADDRS" if has("pf") => Fails(libc::ENOTTY),
        _ => Killed,
    })
}

const ATTEMPTS: &[&str] = &[
    // Another file, a device, a file elsewhere.
    "open=/etc/passwd",
    "open_for_writing=/dev/null",
    "create_at=/var/tmp/tspf-never",
    "create",
    "rename",
    "remove_file",
    "set_permissions",
    "fchown",
    "try_lock",
    // Another program, code of one's own, other processes.
    "execve",
    "mmap_executable",
    "mprotect_executable",
    "fork",
    "kill_another",
    "ptrace",
    "fake_input",
    "ignore_violations",
    // More rights.
    "become_root",
    "setgroups",
    "setrlimit",
    "nice",
    "unshare",
    "new_user_namespace",
    "mount",
    "unveil",
    // The network.
    "tcp_socket",
    "udp_socket",
    "raw_socket",
    "packet_socket",
    "unix_socket",
    "listen",
    // pf.
    "DIOCRSETADDRS",
    "DIOCRADDADDRS",
    "DIOCGETLIMIT",
];

#[test]
fn after_each_step_only_what_was_promised_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("connect_to={}", listener.local_addr().unwrap());
    let users: &[bool] = if nix::unistd::geteuid().is_root() { &[false, true] } else { &[false] };
    let mut wrong = Vec::new();
    let mut steps: Vec<String> = PROCESSES.iter().flat_map(|(process, _)| self::steps(process)).collect();
    steps.sort();
    steps.dedup();
    for step in &steps {
        for (call, as_root) in ATTEMPTS
            .iter()
            .copied()
            .chain([elsewhere.as_str()])
            .flat_map(|call| users.iter().map(move |root| (call, *root)))
        {
            // To become root is no attempt for root; what it did with id is over before the paths are named.
            if as_root && step.contains(" id") {
                continue;
            }
            let Some(expected) = expected(step, call) else { continue };
            let names_paths = step.contains("path") && !step.contains("unveil");
            let paths = if names_paths { "@=rwc" } else { "-" };
            let ports = if call.starts_with("connect_to") { "53" } else { "-" };
            let (verdict, said) = Try { promises: step, paths, ports, call, as_root }.run();
            if verdict != expected {
                wrong.push(format!("{step}: {call}: {verdict:?} for {expected:?} {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
