//! The model of pf against the answers of a real kernel, and against programs that fork, die, or know nothing of pf.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tests::pf::abi::tflag;
use tests::pf::{Action, Direction, Model, Os, ProgramCopy, Refused, Supervised};

const PFCALL: &str = env!("CARGO_BIN_EXE_pfcall");
const VECTORS: &str = include_str!("../fixtures/pf-vectors.txt");

/// `pfcall` running on a model, spoken to line by line.
struct Driver {
    running: Supervised,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driver {
    fn start(model: &Model, os: &str) -> Driver {
        let mut command = Command::new(PFCALL);
        Driver::start_command(model, command.arg(os))
    }

    fn start_command(model: &Model, command: &mut Command) -> Driver {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = model.spawn(command).unwrap_or_else(|refused| panic!("{refused}"));
        let input = running.child.stdin.take().unwrap();
        let output = BufReader::new(running.child.stdout.take().unwrap());
        let mut driver = Driver { running, input, output };
        assert_eq!(driver.say("open rw"), "ok");
        driver
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end_matches('\n').to_string()
    }

    fn expect(&mut self, line: &str, answer: &str) {
        assert_eq!(self.say(line), answer, "{line}");
    }

    fn finish(mut self) {
        drop(self.input);
        assert!(self.running.child.wait().unwrap().success());
        self.running.finish().unwrap();
    }
}

/// The calls and answers of the vectors: an answer may go on in lines that are not calls.
fn vectors() -> Vec<(String, String)> {
    let mut vectors: Vec<(String, String)> = Vec::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match (line.split_once(" => "), vectors.last_mut()) {
            (Some((call, answer)), _) => vectors.push((call.into(), answer.into())),
            (None, Some((_, answer))) => *answer += &format!("\n{line}"),
            (None, None) => panic!("a vector begins with no call: {line}"),
        }
    }
    vectors
}

#[test]
fn every_answer_is_the_real_kernels() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    let (mut cases, mut compared) = (0, 0);
    let mut case = String::new();
    let mut wrong = Vec::new();
    for (call, expected) in vectors() {
        let answer = match call.split_once(' ') {
            Some(("case", name)) => {
                case = name.to_string();
                cases += 1;
                model.reset();
                assert_eq!(driver.say("open rw"), "ok");
                "reset".to_string()
            }
            Some(("rules", text)) => match model.load_rules(&text.replace(';', "\n")) {
                Ok(()) => "exit 0".into(),
                Err(printed) => format!("{printed}\nexit 1"),
            },
            _ => driver.say(&call),
        };
        compared += 1;
        if answer != expected {
            wrong.push(format!("{case}: {call}\n  kernel {expected}\n  model  {answer}"));
        }
    }
    driver.finish();
    println!("pf vectors: {compared} answers of {cases} cases compared, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((cases, compared), (11, 180));
}

#[test]
fn freebsd_has_its_own_layout_limits_and_counts() {
    let model = Model::new(Os::FreeBsd);
    let mut driver = Driver::start(&model, "freebsd");
    driver.expect("addtables table=t1 tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.expect(
        "setaddrs table=t1 addrs=192.0.2.1,!198.51.100.0/24,2001:db8::/32",
        "rc=0 errno=0 nadd=3 ndel=0 nchange=0 size=3 size2=0",
    );
    driver.expect(
        "getaddrs table=t1",
        "rc=0 errno=0 nadd=0 ndel=0 nchange=0 size=3 size2=0 [192.0.2.1/32 !198.51.100.0/24 2001:db8::/32]",
    );
    let refused = |errno, size| format!("rc=-1 errno={errno} nadd=0 ndel=0 nchange=0 size={size} size2=0");
    driver.expect("setaddrs table=t1 addrs=192.0.2.1 esize=52", &refused("ENODEV", 1));
    driver.expect("setaddrs table=t1 addrs=2001:db8::1@af=24", &refused("EINVAL", 1));
    driver.expect("gettstats", "rc=0 errno=0 size=1 t1:flags=0x5,cnt=3,rules=0,anchors=0");
    driver.expect("getlimit", "rc=0 errno=0 limit=200000");
    driver.expect("getlimit index=6", "rc=-1 errno=EINVAL limit=0");
    driver.expect("setlimit limit=2", "rc=0 errno=0 limit=200000");
    driver.expect("setaddrs table=t1 addrs=192.0.2.1", "rc=0 errno=0 nadd=0 ndel=2 nchange=0 size=1 size2=0");
    driver.expect("addaddrs table=t1 gen=2", &refused("ENOMEM", 2));
    driver.expect("setaddrs table=t1 gen=2", &refused("ENOMEM", 2));

    model.set_limit(1_000_000).unwrap();
    model.set_request_maxcount(100);
    driver.expect("setaddrs table=t1 gen=101", &refused("EINVAL", 101));
    driver.expect(
        "setaddrs table=t1 gen=100 size2=101 flags=0x4",
        "rc=-1 errno=EINVAL nadd=0 ndel=0 nchange=0 size=100 size2=101",
    );
    driver.expect("setaddrs table=t1 gen=100", "rc=0 errno=0 nadd=100 ndel=1 nchange=0 size=100 size2=0");
    // A rule's table that is not active: FreeBSD counts its activation.
    model.load_rules("block in from <t2>").unwrap();
    driver.expect("addtables table=t2 tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.finish();
}

#[test]
fn openbsds_other_limits() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("getlimit index=3", "rc=0 errno=0 limit=1000");
    driver.expect("getlimit index=7", "rc=-1 errno=EINVAL limit=0");
    let mut names = (0..).map(|n| format!("addtables table=n{n} tflags=0x1"));
    let made = names.by_ref().take_while(|call| driver.say(call).contains("nadd=1")).count();
    // The kernel allocates a table and its root before it looks: the last place stays free.
    assert_eq!(made, 999);
    assert!(driver.say(&names.next().unwrap()).contains("errno=ENOMEM"));
    driver.finish();
}

#[test]
fn a_securelevel_denies_tables_but_not_addresses() {
    let model = Model::new(Os::OpenBsd);
    model.load_rules("table <t> persist").unwrap();
    model.set_securelevel(2);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("addtables table=u tflags=0x1", "rc=-1 errno=EPERM nadd=0 ndel=0 nchange=0");
    driver.expect("addtables table=u tflags=0x1 flags=0x2", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.expect("setlimit limit=9", "rc=-1 errno=EPERM limit=9");
    driver.expect("setaddrs table=t gen=1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0 size=1 size2=0");
    driver.finish();
}

#[test]
fn a_call_fails_when_told_to_and_is_on_record() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("addtables table=t tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    model.fail_call(2, libc::EIO);
    driver.expect("setaddrs table=t gen=3", "rc=0 errno=0 nadd=3 ndel=0 nchange=0 size=3 size2=0");
    driver.expect("setaddrs table=t gen=9", "rc=-1 errno=EIO nadd=0 ndel=0 nchange=0 size=9 size2=0");
    driver.expect("setaddrs table=t gen=4 flags=0x2", "rc=0 errno=0 nadd=1 ndel=0 nchange=0 size=4 size2=0");
    driver.finish();
    assert_eq!(model.table("", "t").unwrap().list(), ["11.0.0.0/32", "11.0.0.1/32", "11.0.0.2/32"]);
    let calls = model.calls();
    let seen: Vec<_> =
        calls.iter().map(|call| (call.name, call.table.as_str(), call.size, call.errno, call.nadd)).collect();
    assert_eq!(
        seen,
        [
            ("DIOCRADDTABLES", "t", 1, 0, 1),
            ("DIOCRSETADDRS", "t", 3, 0, 3),
            ("DIOCRSETADDRS", "t", 9, libc::EIO, 0),
            ("DIOCRSETADDRS", "t", 4, 0, 1),
        ]
    );
}

#[test]
fn no_device_or_none_for_us() {
    for (errno, name) in [(libc::ENOENT, "errno=ENOENT"), (libc::EACCES, "errno=EACCES")] {
        let model = Model::new(Os::OpenBsd);
        model.deny_open(errno);
        let mut command = Command::new(PFCALL);
        let input = write_input("open ro\ngetlimit\n");
        let output = model.run(command.arg("openbsd").stdin(input)).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name}\nno device\n"));
        assert!(model.calls().is_empty());
    }
}

/// A pipe that holds that text.
fn write_input(text: &str) -> Stdio {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    reader.into()
}

#[test]
fn children_and_threads_use_the_descriptor_and_a_later_filter_does_not_hurt() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("fork addtables table=t tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.expect("thread setaddrs table=t gen=2", "rc=0 errno=0 nadd=2 ndel=0 nchange=0 size=2 size2=0");
    driver.expect("filter", "ok");
    driver.expect("fork gettstats", "rc=0 errno=0 size=1 t:flags=0x5,cnt=2,rules=0,anchors=0");
    driver.expect("open ro", "ok");
    driver.expect("setaddrs table=t gen=9", "rc=-1 errno=EACCES nadd=0 ndel=0 nchange=0 size=9 size2=0");
    driver.finish();
    assert_eq!(model.table("", "t").unwrap().entries.len(), 2);
}

#[test]
fn a_program_that_knows_nothing_of_pf_runs_as_ever() {
    let model = Model::new(Os::OpenBsd);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read line; echo \"$line\"; cat /etc/hostname >/dev/null; echo oops >&2; exit 3"]);
    let output = model.run(command.stdin(write_input("hello\n"))).unwrap();
    assert_eq!(output.stdout, b"hello\n");
    assert_eq!(output.stderr, b"oops\n");
    assert_eq!(output.status.code(), Some(3));
    assert!(model.calls().is_empty());
}

#[test]
fn a_command_can_be_run_twice_and_a_missing_program_is_named() {
    let model = Model::new(Os::OpenBsd);
    let mut command = Command::new("/bin/echo");
    for _ in 0..2 {
        assert_eq!(model.run(command.arg("x")).unwrap().status.code(), Some(0));
    }
    let refused = model.run(&mut Command::new("/nonexistent/program")).unwrap_err();
    assert!(
        refused.to_string().starts_with("/nonexistent/program: cannot be started: No such file"),
        "{refused}"
    );
}

#[test]
fn a_killed_program_ends_the_supervision() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("addtables table=t tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    writeln!(driver.input, "hang").unwrap();
    driver.running.child.kill().unwrap();
    assert!(!driver.running.child.wait().unwrap().success());
    driver.running.finish().unwrap();
    assert!(model.table("", "t").is_some());
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let model = Model::new(Os::OpenBsd);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & sleep 1000"]);
    let refused = model.run_within(&mut command, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(refused, Refused::TimeLimit(_)), "{refused}");
}

#[test]
fn openbsds_addaddrs_sleeps_at_the_limit_and_all_of_pf_with_it() {
    let model = Model::new(Os::OpenBsd);
    model.load_rules("set limit table-entries 2\ntable <t> persist { 10.0.0.1 }").unwrap();
    let mut command = Command::new(PFCALL);
    command.arg("openbsd").stdin(write_input("open rw\naddaddrs table=t gen=2\n"));
    let refused = model.run_within(&mut command, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(refused, Refused::TimeLimit(_)), "{refused}");
    assert_eq!(model.table("", "t").unwrap().entries.len(), 1);
}

#[test]
fn an_ordinary_user_may_run_the_program() {
    let root = nix::unistd::geteuid().is_root();
    let (uid, gid) =
        if root { (65534, 65534) } else { (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()) };
    let copy = ProgramCopy::new(Path::new(PFCALL), uid, gid).unwrap();
    let model = Model::new(Os::OpenBsd);
    let mut command = Command::new(copy.path());
    command.arg("openbsd").current_dir(copy.directory());
    if root {
        command.uid(uid).gid(gid);
    }
    let mut driver = Driver::start_command(&model, &mut command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", driver.running.child.id())).unwrap();
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
    driver.expect("addtables table=t tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.expect("setaddrs table=t gen=5", "rc=0 errno=0 nadd=5 ndel=0 nchange=0 size=5 size2=0");
    driver.finish();
}

#[test]
fn counters_of_surviving_entries_live_on() {
    let model = Model::new(Os::OpenBsd);
    model.load_rules("table <t> persist counters\nblock in from <t>").unwrap();
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect(
        "setaddrs table=t addrs=10.0.0.0/8,!10.1.0.0/16",
        "rc=0 errno=0 nadd=2 ndel=0 nchange=0 size=2 size2=0",
    );
    let packet =
        |addr: &str| model.packet(("", "t"), addr.parse().unwrap(), Direction::In, Action::Block, 60);
    assert!(packet("10.2.0.1") && packet("10.2.0.2"));
    assert!(!packet("10.1.0.1") && !packet("192.0.2.1"));
    assert!(model.matches("", "t", "10.255.0.1".parse().unwrap()));
    driver.expect(
        "setaddrs table=t addrs=10.0.0.0/8,10.1.0.0/16,10.2.0.0/16",
        "rc=0 errno=0 nadd=1 ndel=0 nchange=1 size=3 size2=0",
    );
    assert!(packet("10.2.0.1"));
    driver.expect(
        "getastats table=t",
        "rc=0 errno=0 nadd=0 ndel=0 nchange=0 size=3 size2=0 [10.0.0.0/8=0:[[2, 0, 0], [0, 0, 0]]:[[120, 0, 0], [0, 0, 0]] \
         10.1.0.0/16=9:[[0, 0, 0], [0, 0, 0]]:[[0, 0, 0], [0, 0, 0]] \
         10.2.0.0/16=0:[[1, 0, 0], [0, 0, 0]]:[[60, 0, 0], [0, 0, 0]]]",
    );
    driver.finish();
    let stats = model.table("", "t").unwrap().stats;
    assert_eq!((stats.matches, stats.no_matches, stats.packets[0][0], stats.bytes[0][0]), (3, 2, 3, 180));
    assert_eq!(stats.table.flags, tflag::PERSIST | tflag::ACTIVE | tflag::REFERENCED | tflag::COUNTERS);
}

#[test]
fn four_hundred_thousand_entries() {
    let model = Model::new(Os::OpenBsd);
    let mut driver = Driver::start(&model, "openbsd");
    driver.expect("addtables table=t tflags=0x1", "rc=0 errno=0 nadd=1 ndel=0 nchange=0");
    driver.expect(
        "setaddrs table=t gen=400000",
        "rc=-1 errno=ENOMEM nadd=0 ndel=0 nchange=0 size=400000 size2=0",
    );
    model.set_limit(800_000).unwrap();
    let started = Instant::now();
    driver.expect(
        "setaddrs table=t gen=400000",
        "rc=0 errno=0 nadd=400000 ndel=0 nchange=0 size=400000 size2=0",
    );
    driver.expect(
        "setaddrs table=t gen=400000 off=100",
        "rc=0 errno=0 nadd=100 ndel=100 nchange=0 size=400000 size2=0",
    );
    println!("400,000 entries set twice in {:.2} s", started.elapsed().as_secs_f64());
    driver.finish();
    assert_eq!(model.table("", "t").unwrap().entries.len(), 400_000);
}
