//! The real programs: which rules they make of their paths and ports, who they are while they work, and that no promise is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Table::{Allow, Block};
use tests::log_server::LogServer;
use tests::machine::{Machine, NOBODY, skip, words};
use tests::pf::ioctl::Memory;
use tests::pf::memory::ProcessMemory;
use tests::pf::supervise::{Answer, Refused, Request, Watched, spawn};
use tests::pf::{Model, Os};
use tests::pflog;
use tests::policy_server::{Policy, PolicyServer, generate};

use super::attempts::{PROCESSES, paths, steps};

/// Rights on paths, and ports.
type Rules = (BTreeMap<PathBuf, BTreeSet<char>>, BTreeSet<u16>);

/// The resolver's files, and where their links lead, are no statement of a process.
const RESOLVER: [&str; 2] = ["/etc/", "/run/"];

/// `struct landlock_path_beneath_attr` and `struct landlock_net_port_attr` as a program passes them.
fn read_rule(request: &Request, memory: &mut ProcessMemory, rules: &mut Rules) {
    let [_, kind, at, ..] = request.arguments;
    let (mut allowed, mut object) = ([0; 8], [0; 4]);
    if memory.read(at, &mut allowed).and_then(|()| memory.read(at + 8, &mut object)).is_err() {
        return;
    }
    let (allowed, object) = (u64::from_ne_bytes(allowed), u32::from_ne_bytes(object));
    if kind == 2 {
        rules.1.insert(object.try_into().expect("a port"));
        return;
    }
    let path = fs::read_link(format!("/proc/{}/fd/{object}", request.thread)).expect("a descriptor");
    if RESOLVER.iter().any(|place| path.starts_with(place)) {
        assert_eq!(allowed, 1 << 2, "{}", path.display());
        return;
    }
    let letters = [(2, 'r'), (1, 'w'), (8, 'c')].into_iter().filter(|(bit, _)| allowed >> bit & 1 == 1);
    rules.0.entry(path).or_default().extend(letters.map(|(_, letter)| letter));
}

/// Runs a program, some of whose calls are answered here.
fn answered<A>(command: &mut Command, call: libc::c_long, answer: A) -> Output
where
    A: FnMut(&Request, &mut ProcessMemory<'_>) -> Result<Answer, Refused> + Send + 'static,
{
    let watched = Watched { calls: vec![call], ioctl_group: 0xff };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = spawn(command, &watched, answer, Some(Duration::from_secs(120))).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    // Neither fills a pipe.
    program.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    program.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let status = program.child.wait().unwrap();
    program.finish().unwrap();
    Output { status, stdout, stderr }
}

/// Runs a program, and gives back the rules that each of its processes makes, in the order of the processes.
fn rules(command: &mut Command) -> (Output, Vec<Rules>) {
    let made: Arc<Mutex<BTreeMap<u32, Rules>>> = Arc::default();
    let seen = Arc::clone(&made);
    let output = answered(command, libc::SYS_landlock_add_rule, move |request, memory| {
        read_rule(request, memory, seen.lock().unwrap().entry(request.thread).or_default());
        Ok(Answer::Continue)
    });
    let made = made.lock().unwrap().values().cloned().collect();
    (output, made)
}

/// What tspf(7) says about a process, as Landlock can say it: to create is a right on the directory.
fn stated(machine: &Machine, process: &str) -> BTreeMap<PathBuf, BTreeSet<char>> {
    let mut stated: BTreeMap<PathBuf, BTreeSet<char>> = BTreeMap::new();
    let db = machine.path("db");
    let places = [
        ("SPOOL_DIR", db.join("threatstop")),
        ("OUT_DIR", db.clone()),
        ("BLOCK_FILE", db.join("ThreatSTOP-Block.pftable")),
        ("ALLOW_FILE", db.join("ThreatSTOP-Allow.pftable")),
    ];
    for (name, permissions) in paths(process) {
        let (word, place) =
            places.iter().find(|(word, _)| name.starts_with(word)).unwrap_or_else(|| panic!("{name}"));
        let path = PathBuf::from(format!("{}{}", place.display(), &name[word.len()..]));
        let path = if path.is_dir() || !permissions.contains('c') {
            path
        } else {
            path.parent().unwrap().to_owned()
        };
        stated.entry(path).or_default().extend(permissions.chars());
    }
    stated
}

/// A policy of two lists, served.
fn policy_server() -> PolicyServer {
    let nets = |text: &str| generate::listed(&[text.parse().unwrap()]);
    let mut policy = Policy::new();
    policy.put_zone("org.example", 1);
    policy.put_apl("block.org.example", &nets("203.0.113.0/24"));
    policy.put_apl("allow.org.example", &nets("198.51.100.7/32"));
    PolicyServer::start(policy).unwrap()
}

fn fetch_from(machine: &Machine, server: &str) {
    machine.configure(&format!(
        "DNS_SERVERS={server}\nBLOCK_LIST=block.org.example\nALLOW_LIST=allow.org.example\n{}",
        if machine.path("etc/as-root").exists() { "FETCH_USER=nobody\n" } else { "" }
    ));
}

/// A machine that has a policy to load.
fn loadable() -> Machine {
    let machine = Machine::new();
    machine.configure("BLOCK_LIST=block.example\nALLOW_LIST=allow.example\n");
    machine.spool(Block, ["64.87.3.133/32"]);
    machine.spool(Allow, ["198.51.100.7/32"]);
    machine
}

fn load(machine: &Machine, args: &[&str]) -> Output {
    let model = Model::new(Os::OpenBsd);
    model.load_rules("table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\npass").unwrap();
    model.run(machine.program("tsload").args(args)).unwrap()
}

/// A machine that has a log to ship to `url`.
fn shippable(url: &str, ca_file: &Path) -> Machine {
    let machine = Machine::new();
    ship_to(&machine, url, ca_file, "");
    let hosts = ["64.87.3.133".parse().unwrap()];
    machine.write("log/pflog", &pflog::blocked(&hosts, 1, 1_795_000_000)[..24]);
    machine.write("log/pflog.0", pflog::blocked(&hosts, 10, 1_795_000_000));
    machine
}

fn ship_to(machine: &Machine, url: &str, ca_file: &Path, settings: &str) {
    machine.configure(&format!("device_id=tdid_1\nurl={url}\nCA_FILE={}\n{settings}", ca_file.display()));
}

/// A log server, and the directory of its certificate.
fn log_server() -> (Machine, LogServer) {
    let machine = Machine::new();
    let server = LogServer::start(&machine.path("etc")).unwrap();
    (machine, server)
}

#[test]
fn the_paths_and_ports_are_those_of_the_manual() {
    let server = policy_server();
    let machine = Machine::new();
    fetch_from(&machine, &format!("127.0.0.1:{}", server.port()));
    let (output, made) = rules(&mut machine.program("tsfetch"));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(made, [(stated(&machine, "tsfetch"), [53, server.port()].into())]);

    let machine = loadable();
    machine.configure("RELOAD_PF=no\nBLOCK_LIST=block.example\nALLOW_LIST=allow.example\n");
    let (output, made) = rules(&mut machine.program("tsload"));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(made, [(stated(&machine, "tsload"), [].into())]);

    let (_certificates, server) = log_server();
    let machine = shippable(&server.url("/upload"), server.ca_file());
    let (output, mut made) = rules(&mut machine.program("tsship"));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    made.sort();
    let uploader = (BTreeMap::new(), [53, server.port()].into());
    assert_eq!(made, [uploader, (stated(&machine, "tsship , No collector"), [].into())]);
}

#[test]
fn what_a_kernel_lacks_is_said_and_the_rest_is_enforced() {
    let server = policy_server();
    let (_certificates, log_server) = log_server();
    for (call, note) in [
        (libc::SYS_landlock_create_ruleset, "paths and ports are not: this kernel has no Landlock"),
        (libc::SYS_seccomp, "only paths are enforced, this kernel has no seccomp filters"),
    ] {
        let fetches = Machine::new();
        fetch_from(&fetches, &format!("127.0.0.1:{}", server.port()));
        let loads = loadable();
        loads.configure("RELOAD_PF=no\nBLOCK_LIST=block.example\nALLOW_LIST=allow.example\n");
        let ships = shippable(&log_server.url("/upload"), log_server.ca_file());
        for (machine, program, args, before) in [
            (&fetches, "tsfetch", "-v", "sandbox: "),
            (&fetches, "tsfetch", "-nv", "# sandbox: "),
            (&loads, "tsload", "-nv", "sandbox: "),
            (&loads, "tsload", "-v", "sandbox: "),
            (&ships, "tsship", "-nv", "tsship: sandbox: "),
            (&ships, "tsship", "-tv", "sandbox: "),
            (&ships, "tsship", "-v", "sandbox: "),
        ] {
            let answer = |_: &Request, _: &mut ProcessMemory<'_>| Ok(Answer::Fail(libc::ENOSYS));
            let output = answered(machine.program(program).arg(args), call, answer);
            // The service of this test knows no address, which fails the test of it.
            assert!(output.status.success() || args == "-tv", "{}", words(&output));
            let is_text = (program, args) == ("tsship", "-nv");
            let (with, without) = match is_text {
                true => (&output.stderr, &output.stdout),
                false => (&output.stdout, &output.stderr),
            };
            let said = String::from_utf8_lossy(with).into_owned();
            let said = said.lines().filter(|line| line.starts_with(before) && line.ends_with(note)).count();
            assert_eq!(said, 1, "{program} {args}: {}", words(&output));
            assert!(!String::from_utf8_lossy(without).contains("sandbox: "), "{}", words(&output));
        }
    }
    let machine = Machine::new();
    fetch_from(&machine, &format!("127.0.0.1:{}", server.port()));
    let output = machine.program("tsfetch").arg("-nv").output().unwrap();
    assert!(!words(&output).contains("sandbox:"), "{}", words(&output));
}

/// A machine of root's.
fn of_root(machine: &Machine) {
    for (path, _, _) in machine.snapshot("") {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    for path in [
        "",
        "etc",
        "log",
        "db",
        "db/threatstop",
        "db/threatstop/lock",
        "db/threatstop/outbox",
        "db/threatstop/rejected",
    ] {
        std::os::unix::fs::chown(machine.path(path), Some(0), Some(0)).unwrap();
    }
}

fn as_root(machine: &Machine, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(machine.path("bin").join(program));
    command.arg("-c").arg(machine.path("etc/threatstop.conf")).args(args);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
    command
}

/// Waits until a process, or a child of it, has as many filters as its last step needs, two for each pledge.
fn status_after(process: &mut Child, child: Option<u32>, pledges: usize) -> String {
    let id = child.unwrap_or(process.id());
    let wanted = format!("Seccomp_filters:\t{pledges}\n");
    loop {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        if status.contains(&wanted) {
            return status;
        }
        assert!(process.try_wait().unwrap().is_none(), "ended before its last step: {status}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn children(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Every id is `id`, no group is left beside it, and nothing that execve(2) or setuid(2) could bring back.
/// Who stays root has the capabilities of the caller.
#[track_caller]
fn assert_dropped(status: &str, id: u32) {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let field = |status: &str, name: &str| {
        let found = status.lines().find_map(|text| text.strip_prefix(&format!("{name}:")));
        found.map(|found| found.trim().to_owned())
    };
    let capabilities = |name| if id == 0 { field(&own, name) } else { Some("0000000000000000".to_owned()) };
    for (line, wanted) in [
        ("Uid", Some(format!("{id}\t{id}\t{id}\t{id}"))),
        ("Gid", Some(format!("{id}\t{id}\t{id}\t{id}"))),
        ("Groups", (id != 0).then(|| id.to_string())),
        ("CapInh", Some("0000000000000000".to_owned())),
        ("CapPrm", capabilities("CapPrm")),
        ("CapEff", capabilities("CapEff")),
        ("CapAmb", Some("0000000000000000".to_owned())),
        ("NoNewPrivs", Some("1".to_owned())),
        ("Seccomp", Some("2".to_owned())),
    ] {
        let found = field(status, line);
        assert!(wanted.is_none() || found == wanted, "{line}: {found:?} for {wanted:?}");
    }
}

/// A pipe that takes nothing before something is read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
    writer.write_all(&vec![b' '; usize::try_from(size).unwrap()]).unwrap();
    (reader, writer)
}

/// Accepts one connection and keeps it, without a word.
fn hold(listener: &TcpListener) -> TcpStream {
    listener.accept().unwrap().0
}

#[test]
fn as_root_every_process_is_who_the_manual_says() {
    if !nix::unistd::geteuid().is_root() {
        return skip("root, for dropping it");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();

    let machine = Machine::new();
    machine.write("etc/as-root", "");
    fetch_from(&machine, &place.to_string());
    of_root(&machine);
    std::os::unix::fs::chown(machine.path("db/threatstop/policy"), Some(NOBODY), Some(NOBODY)).unwrap();
    for (args, pledges) in [(&[][..], 2), (&["-t"], 2)] {
        let mut tsfetch =
            as_root(&machine, "tsfetch", args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let held = hold(&listener);
        assert_dropped(&status_after(&mut tsfetch, None, pledges), NOBODY);
        tsfetch.kill().unwrap();
        tsfetch.wait().unwrap();
        drop(held);
    }

    // It prints what it would do after its last step, into a pipe that is full.
    let machine = loadable();
    machine
        .configure("RELOAD_PF=no\nBLOCK_LIST=block.example\nALLOW_LIST=allow.example\nFETCH_USER=nobody\n");
    of_root(&machine);
    for name in ["", "/block.pftable", "/allow.pftable"] {
        let path = machine.path(&format!("db/threatstop/policy{name}"));
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let (mut full, writer) = full_pipe();
    let mut tsload = as_root(&machine, "tsload", &["-n"]).stdout(writer).spawn().unwrap();
    assert_dropped(&status_after(&mut tsload, None, 2), 0);
    let mut printed = String::new();
    full.read_to_string(&mut printed).unwrap();
    assert!(printed.contains("1 addresses, would be replaced"), "{}", printed.trim_matches(' '));
    tsload.wait().unwrap();

    let (_certificates, server) = log_server();
    let machine = shippable(&format!("https://{place}/"), server.ca_file());
    ship_to(&machine, &format!("https://{place}/"), &machine.path("etc/ca.pem"), "SHIP_USER=nobody\n");
    fs::copy(server.ca_file(), machine.path("etc/ca.pem")).unwrap();
    of_root(&machine);
    let mut tsship = as_root(&machine, "tsship", &[]).spawn().unwrap();
    let held = hold(&listener);
    assert_dropped(&status_after(&mut tsship, None, 3), 0);
    let [uploader] = children(tsship.id())[..] else { panic!("one child") };
    assert_dropped(&status_after(&mut tsship, Some(uploader), 2), NOBODY);
    tsship.kill().unwrap();
    tsship.wait().unwrap();
    drop(held);

    // A decoder that waits for the rest of its log.
    let mut tsship = as_root(&machine, "tsship", &["-n", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let decoder = loop {
        if let [decoder] = children(tsship.id())[..] {
            break decoder;
        }
        assert!(tsship.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_dropped(&status_after(&mut tsship, Some(decoder), 2), NOBODY);
    assert_dropped(&status_after(&mut tsship, None, 2), 0);
    drop(tsship.stdin.take());
    tsship.wait().unwrap();
}

/// Where a file holds a text: by grep(1), because a test's own loop over a program takes seconds.
fn places(file: &Path, text: &str) -> Vec<usize> {
    let output =
        Command::new("grep").args(["-obaF", "--", text]).arg(file).env("LC_ALL", "C").output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_once(':')?.0.parse().ok()).collect()
}

/// Takes a promise out of a process's statements, from one step on, in the machine's copy of the program.
fn without(machine: &Machine, process: &str, first: usize, promise: &str) {
    let program = process.split(' ').next().unwrap();
    let path = machine.path("bin").join(program);
    let mut octets = fs::read(&path).unwrap();
    for step in steps(process).iter().skip(first).filter(|step| step.split(' ').any(|word| word == promise)) {
        let at = format!(" {step} ").find(&format!(" {promise} ")).unwrap();
        let mut found = 0;
        for start in places(&path, step) {
            // A longer statement begins like a shorter one.
            if octets[start + step.len()] != b' ' {
                octets[start + at..start + at + promise.len()].fill(b' ');
                found += 1;
            }
        }
        assert!(found > 0, "{program} does not hold {step:?}");
    }
    fs::remove_file(&path).unwrap();
    // Written by another process: a child that another test's thread forks meanwhile would hold a
    // descriptor of ours, and the program could not be run (ETXTBSY).
    let mut install = Command::new("install");
    let mut install =
        install.args(["-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
    install.stdin.take().unwrap().write_all(&octets).unwrap();
    assert!(install.wait().unwrap().success());
    machine.own(&path);
}

/// Promises that no run here can need, and why.
const IDLE: [(&str, &str, &str); 8] = [
    (
        "tsfetch",
        "getpw",
        "glibc reads /etc/passwd with rpath, and needs it only for other sources of accounts",
    ),
    ("tsship , No collector", "getpw", "as above"),
    ("tsfetch", "id", "only root has something to drop: tested as root"),
    ("tsload", "id", "as above"),
    ("tsship , No collector", "id", "as above"),
    ("tsship , No collector", "inet", "the uploader's, who cannot promise it again if it is not here"),
    ("tsship , No collector", "dns", "as above"),
    ("tsship , No decoder", "stdio", "without it not even a word can be said"),
];

/// A run on a machine that was changed.
type Run = fn(&dyn Fn(&Machine)) -> Output;

/// Who lacks what from which step on, in which run.
const LACKING: [(&str, usize, &str, Run); 26] = [
    ("tsfetch", 0, "flock", fetch),
    ("tsfetch", 0, "unveil", fetch),
    ("tsfetch", 0, "rpath", fetch),
    ("tsfetch", 1, "inet", fetch_test),
    ("tsfetch", 1, "dns", fetch_test_by_name),
    ("tsfetch", 2, "inet", fetch),
    ("tsfetch", 2, "dns", fetch_by_name),
    ("tsfetch", 2, "rpath", fetch),
    ("tsfetch", 3, "rpath", fetch),
    ("tsfetch", 3, "wpath", fetch),
    ("tsfetch", 3, "cpath", fetch),
    ("tsload", 0, "rpath", load_policy),
    ("tsload", 0, "unveil", load_policy),
    ("tsload", 1, "rpath", load_policy),
    ("tsload", 1, "wpath", load_policy),
    ("tsload", 1, "cpath", load_policy),
    ("tsload", 1, "pf", load_policy),
    ("tsload", 2, "pf", load_statistics),
    ("tsship , No collector", 0, "flock", ship),
    ("tsship , No collector", 1, "unveil", ship),
    ("tsship , No collector", 2, "rpath", ship),
    ("tsship , No collector", 2, "wpath", ship),
    ("tsship , No collector", 2, "cpath", ship),
    ("tsship , No collector", 2, "proc", ship_with_an_outbox_that_cannot_be_read),
    ("tsship , No uploader", 0, "inet", ship),
    ("tsship , No uploader", 0, "dns", ship_by_name),
];

fn fetch_with(change: &dyn Fn(&Machine), server: &str, args: &[&str]) -> Output {
    let policy = policy_server();
    let machine = Machine::new();
    fetch_from(&machine, &server.replace('@', &format!("127.0.0.1:{}", policy.port())));
    change(&machine);
    machine.program("tsfetch").args(args).output().unwrap()
}

fn fetch(change: &dyn Fn(&Machine)) -> Output {
    fetch_with(change, "@", &[])
}

fn fetch_test(change: &dyn Fn(&Machine)) -> Output {
    fetch_with(change, "@", &["-t"])
}

fn fetch_by_name(change: &dyn Fn(&Machine)) -> Output {
    fetch_with(change, "nowhere.invalid", &[])
}

fn fetch_test_by_name(change: &dyn Fn(&Machine)) -> Output {
    fetch_with(change, "nowhere.invalid", &["-t"])
}

fn load_policy(change: &dyn Fn(&Machine)) -> Output {
    let machine = loadable();
    change(&machine);
    load(&machine, &[])
}

fn load_statistics(change: &dyn Fn(&Machine)) -> Output {
    let machine = loadable();
    change(&machine);
    load(&machine, &["-s"])
}

fn ship(change: &dyn Fn(&Machine)) -> Output {
    let (_certificates, server) = log_server();
    let machine = shippable(&server.url("/upload"), server.ca_file());
    change(&machine);
    machine.program("tsship").output().unwrap()
}

fn ship_by_name(change: &dyn Fn(&Machine)) -> Output {
    let (_certificates, server) = log_server();
    let machine = shippable("https://nowhere.invalid/", server.ca_file());
    change(&machine);
    machine.program("tsship").output().unwrap()
}

/// The run fails while children wait for their work, and has to kill them.
fn ship_with_an_outbox_that_cannot_be_read(change: &dyn Fn(&Machine)) -> Output {
    let machine = shippable("https://nowhere.invalid/", Path::new("/nonexistent"));
    change(&machine);
    answered(machine.program("tsship").arg("-q"), libc::SYS_getdents64, |request, _| {
        let [directory, ..] = request.arguments;
        let path = fs::read_link(format!("/proc/{}/fd/{directory}", request.thread)).expect("a descriptor");
        Ok(if path.ends_with("outbox") { Answer::Fail(libc::EIO) } else { Answer::Continue })
    })
}

#[test]
fn no_promise_is_idle() {
    let mut wrong = Vec::new();
    for (process, first, promise, run) in LACKING {
        let output = run(&|machine| without(machine, process, first, promise));
        let said = String::from_utf8_lossy(&output.stderr);
        let named = said.lines().any(|line| {
            let needs = line.split_once(": pledge: ").and_then(|(_, rest)| rest.split_once(", needs "));
            needs.is_some_and(|(_, promises)| promises.split(' ').any(|word| word == promise))
        });
        // A child's end is said by its parent.
        let killed = output.status.signal() == Some(libc::SIGSYS) || said.contains("died of SIGSYS");
        if !named || !killed {
            wrong.push(format!("{process}: without {promise} from step {first} on: {}", words(&output)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_promise_is_tried() {
    for (process, _) in PROCESSES {
        for promise in steps(process).iter().flat_map(|step| step.split(' ')) {
            let lacking = LACKING.iter().any(|(other, _, word, _)| *other == process && *word == promise);
            let idle = IDLE.iter().any(|(other, word, _)| *other == process && *word == promise);
            assert!(lacking || idle || promise == "stdio", "{process}: {promise}");
        }
    }
}
