//! tsship, the real program, against the harness's log server.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tests::log_server::{Certificate, LogServer, Reply};
use tests::machine::{Machine, skip, words};
use tests::pflog;

#[path = "tsship/again.rs"]
mod again;
#[path = "tsship/upload.rs"]
mod upload;

const DEVICE: &str = "tdid_abcd1234";
const START: u32 = 1_795_000_000;

fn hosts() -> Vec<IpAddr> {
    ["64.87.3.133", "2001:db8:bad::1", "203.0.113.9"].map(|host| host.parse().unwrap()).to_vec()
}

/// A log of so many packets; different seeds, different logs.
fn log(count: usize, seed: u32) -> Vec<u8> {
    pflog::blocked(&hosts(), count, START + seed * 3600)
}

/// A machine whose live log has its header, and a server that takes its logs.
fn ready() -> (Machine, LogServer) {
    let machine = Machine::new();
    let server = LogServer::start(&machine.path("etc")).unwrap();
    configure(&machine, &server, "");
    machine.write("log/pflog", &log(0, 0)[..24]);
    (machine, server)
}

fn configure(machine: &Machine, server: &LogServer, settings: &str) {
    machine.configure(&format!(
        "device_id={DEVICE}\nurl={}\nCA_FILE={}\n{settings}\n",
        server.url("/cgi-bin/upload"),
        server.ca_file().display()
    ));
}

fn tsship(machine: &Machine, args: &[&str]) -> Output {
    machine.program("tsship").args(args).stdin(Stdio::null()).output().unwrap()
}

/// Makes the next run try at once, whatever the server did before.
fn hurry(machine: &Machine) {
    let _ = fs::remove_file(machine.path("db/threatstop/backoff"));
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", words(output));
}

/// The text that `tsship -n` prints for a log.
fn text(machine: &Machine, name: &str) -> Vec<u8> {
    let output = machine.program("tsship").arg("-n").arg(machine.path(name)).output().unwrap();
    assert_status(&output, 0);
    output.stdout
}

fn names(machine: &Machine, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(machine.path(&format!("db/threatstop/{directory}"))).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_log_is_shipped_once_plain_or_compressed() {
    let (machine, server) = ready();
    machine.write("log/pflog.1.gz", pflog::gzip(&log(50, 1)));
    machine.write("log/pflog.0", log(30, 2));
    let output = tsship(&machine, &["-v"]);
    assert_status(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches(&format!("Log file uploaded successfully for {DEVICE}\n")).count(), 2, "{said}");
    let uploads = server.accepted();
    assert_eq!(uploads.len(), 2, "{:?}", server.faults());
    // Oldest first, the text that -n prints, under the names that are configured.
    assert_eq!(uploads[0].content, text(&machine, "log/pflog.1.gz"));
    assert_eq!(uploads[1].content, text(&machine, "log/pflog.0"));
    assert_eq!(uploads[0].content.split(|octet| *octet == b'\n').count(), 51);
    for upload in &uploads {
        assert_eq!((upload.device_id.as_str(), upload.id_field.as_str()), (DEVICE, "device_id"));
        assert_eq!(upload.file_field, "file");
        assert!(upload.idempotency_key().is_some_and(|key| key.len() == 64));
    }
    assert_ne!(uploads[0].idempotency_key(), uploads[1].idempotency_key());
    assert!(names(&machine, "outbox").is_empty());

    // newsyslog goes on: what was shipped is known by its content, not by its name.
    fs::rename(machine.path("log/pflog.1.gz"), machine.path("log/pflog.2.gz")).unwrap();
    fs::remove_file(machine.path("log/pflog.0")).unwrap();
    machine.write("log/pflog.1.gz", pflog::gzip(&log(30, 2)));
    machine.write("log/pflog.0.gz", pflog::gzip(&log(10, 3)));
    let output = tsship(&machine, &[]);
    assert_status(&output, 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", words(&output));
    assert_eq!(server.accepted().len(), 3);
    assert_eq!(server.accepted()[2].content, text(&machine, "log/pflog.0.gz"));
    assert_status(&tsship(&machine, &[]), 2);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_log_that_pflogd_may_still_write_to_waits() {
    let (machine, server) = ready();
    machine.write("log/pflog", "");
    machine.write("log/pflog.0", log(30, 1));
    assert_status(&tsship(&machine, &[]), 2);
    assert!(server.requests().is_empty());
    machine.write("log/pflog", &log(0, 0)[..24]);
    assert_status(&tsship(&machine, &[]), 0);
    assert_eq!(server.accepted().len(), 1);
}

#[test]
fn a_server_that_is_down_loses_nothing() {
    let (machine, server) = ready();
    machine.write("log/pflog.0.gz", pflog::gzip(&log(30, 1)));
    let wanted = text(&machine, "log/pflog.0.gz");
    for (reply, cause) in [
        (Reply::Status(500), "500 Internal Server Error"),
        (Reply::Status(429), "429 Too Many Requests"),
        (
            Reply::Redirect("https://elsewhere.example/".to_owned()),
            "redirects are refused, this one to https://elsewhere.example/",
        ),
        (Reply::CloseAfter(100), ""),
        (Reply::LoseAnswer, "closed without an answer"),
    ] {
        server.set_behaviour(move |_| reply.clone());
        hurry(&machine);
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("tsship: https://localhost:") && said.contains(cause), "{cause}: {said}");
        assert_eq!(names(&machine, "outbox").len(), 1);
        assert!(names(&machine, "rejected").is_empty());
    }
    server.set_behaviour(|_| Reply::Accept);
    hurry(&machine);
    assert_status(&tsship(&machine, &[]), 0);
    // The one whose answer was lost was taken twice, and says so by its key.
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 2);
    assert!(accepted.iter().all(|upload| upload.content == wanted));
    assert_eq!(accepted[0].idempotency_key(), accepted[1].idempotency_key());
    assert!(names(&machine, "outbox").is_empty());
}

#[test]
fn a_server_that_is_gone_or_somebody_else_loses_nothing() {
    let (machine, server) = ready();
    machine.write("log/pflog.0.gz", pflog::gzip(&log(30, 1)));
    let ca = fs::read(server.ca_file()).unwrap();
    drop(server);
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("Connection refused"), "{}", words(&output));
    for (certificate, cause) in [
        (Certificate::WrongName, "certificate is for logs.example.net, 192.0.2.1, not for localhost"),
        (Certificate::Expired, "the server's certificate expired on "),
        (Certificate::NotYetValid, "2100; is the clock right?"),
        (Certificate::UnknownAuthority, "signed by nobody in CA_FILE"),
    ] {
        let server = LogServer::start_with(&machine.path("etc"), certificate).unwrap();
        configure(&machine, &server, "");
        hurry(&machine);
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert!(words(&output).contains(cause), "{cause}: {}", words(&output));
        assert!(server.requests().is_empty(), "nothing is said to a stranger");
    }
    fs::write(machine.path("etc/ca.pem"), ca).unwrap();
    assert_eq!(names(&machine, "outbox").len(), 1);
}

#[test]
fn what_the_service_refuses_is_kept_and_not_sent_again() {
    let (machine, server) = ready();
    machine.write("log/pflog.0.gz", pflog::gzip(&log(30, 1)));
    server.set_behaviour(|_| Reply::Status(403));
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(
        words(&output).contains("403 Forbidden") && words(&output).contains("rejected/"),
        "{}",
        words(&output)
    );
    assert!(names(&machine, "outbox").is_empty());
    assert_eq!(names(&machine, "rejected").len(), 1);
    server.set_behaviour(|_| Reply::Accept);
    assert_status(&tsship(&machine, &[]), 2);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_hook_only_spools() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", log(30, 1));
    assert_status(&tsship(&machine, &["-q"]), 0);
    assert_eq!(names(&machine, "outbox").len(), 1);
    assert_eq!(server.connections(), 0);
    assert_status(&tsship(&machine, &["-q"]), 2);
    assert_status(&tsship(&machine, &[]), 0);
    assert_eq!(server.accepted().len(), 1);
}

#[test]
fn what_cannot_be_read_is_named_and_what_can_is_shipped() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", log(30, 1));
    machine.write("log/pflog.1", "this is no packet log\n");
    machine.write("log/pflog.2.gz", pflog::gzip(b"nor is this"));
    let whole = pflog::gzip(&log(2000, 2));
    machine.write("log/pflog.3.gz", &whole[..whole.len() / 2]);
    machine.write("log/pflog.4.xz", "xz");
    machine.write("log/pflog.5", &log(20, 3)[..1000]);
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr);
    for name in ["pflog.1: ", "pflog.2.gz: ", "pflog.3.gz: ", "pflog.4.xz: "] {
        assert!(said.contains(&machine.path("log").join(name).display().to_string()), "{name} {said}");
    }
    assert!(!said.contains("pflog.5"), "a cut-off last record is normal: {said}");
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 3, "{said}");
    let lines = |content: &[u8]| content.iter().filter(|octet| **octet == b'\n').count();
    assert!(
        (1..2000)
            .contains(&lines(&accepted.iter().max_by_key(|upload| upload.content.len()).unwrap().content))
    );
    for name in ["pflog.1", "pflog.2.gz", "pflog.3.gz", "pflog.4.xz"] {
        assert!(machine.path("log").join(name).exists(), "{name} is kept");
    }
}

#[test]
fn links_and_fifos_are_not_logs() {
    let (machine, server) = ready();
    machine.write("log/secret", log(30, 1));
    std::os::unix::fs::symlink(machine.path("log/secret"), machine.path("log/pflog.0")).unwrap();
    nix::unistd::mkfifo(&machine.path("log/pflog.1"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(
        words(&output).contains("pflog.0: ") && words(&output).contains("pflog.1: "),
        "{}",
        words(&output)
    );
    assert!(server.requests().is_empty());
}

#[test]
fn an_empty_log_is_nothing_to_ship() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", &log(0, 0)[..24]);
    machine.write("log/pflog.1", "");
    assert_status(&tsship(&machine, &[]), 2);
    assert!(server.requests().is_empty() && names(&machine, "outbox").is_empty());
}

#[test]
fn killed_at_any_moment_everything_is_shipped_and_nothing_twice() {
    let (machine, server) = ready();
    for number in 0..4 {
        machine.write(&format!("log/pflog.{number}.gz"), pflog::gzip(&log(2000, number)));
    }
    let mut delay = Duration::ZERO;
    loop {
        let mut child =
            machine.program("tsship").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        let _ = child.kill();
        if child.wait().unwrap().code().is_some_and(|code| code != 1) {
            break;
        }
        delay += Duration::from_millis(2);
    }
    // A child of a killed run may have the lock for a moment, until it has dropped what is not its own.
    let lock = fs::File::open(machine.path("db/threatstop/lock/tsship")).unwrap();
    drop(nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap());
    let output = tsship(&machine, &[]);
    assert!(matches!(output.status.code(), Some(0 | 2)), "{}", words(&output));
    assert_status(&tsship(&machine, &[]), 2);
    let mut wanted: Vec<Vec<u8>> =
        (0..4).map(|number| text(&machine, &format!("log/pflog.{number}.gz"))).collect();
    let accepted = server.accepted();
    let mut keys: Vec<&str> = accepted.iter().filter_map(|upload| upload.idempotency_key()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4, "a text that was posted twice has one key");
    let mut content: Vec<Vec<u8>> = accepted.into_iter().map(|upload| upload.content).collect();
    content.sort();
    content.dedup();
    wanted.sort();
    assert!(content == wanted);
    assert!(names(&machine, "outbox").is_empty());
}

#[test]
fn prints_what_tcpdump_prints_on_openbsd() {
    let machine = Machine::new();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pflog");
    for (capture, lines) in [("real.pcap", "real.txt"), ("seed104-plain.pcap.gz", "seed104-plain.txt")] {
        machine.write(capture, fs::read(fixtures.join(capture)).unwrap());
        let wanted = fs::read(fixtures.join(lines)).unwrap();
        assert!(text(&machine, capture) == wanted, "{capture}");
        let mut child = machine.program("tsship");
        child.args(["-n", "-"]).stdin(fs::File::open(machine.path(capture)).unwrap());
        assert!(child.output().unwrap().stdout == wanted, "{capture} from standard input");
    }
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let (machine, server) = ready();
    machine.configure("");
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(
        words(&output).contains("tsship: device_id: ") && words(&output).contains("tsship: url: "),
        "{}",
        words(&output)
    );
    let output = tsship(&machine, &["-x"]);
    assert_status(&output, 1);
    assert!(words(&output).contains("usage: tsship [-nqrtv] [-c file] [log ...]"), "{}", words(&output));
    machine.configure(&format!("device_id={DEVICE}\nurl={}\nCA_FILE=/nonexistent/ca.pem\n", server.url("/")));
    machine.write("log/pflog.0", log(30, 1));
    machine.write("log/pflog", &log(0, 0)[..24]);
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("/nonexistent/ca.pem: No such file or directory"), "{}", words(&output));
    assert_eq!(names(&machine, "outbox").len(), 1, "spooled all the same");
}

/// Three logs that are spooled and wait, and the keys of their texts, oldest first.
fn three_waiting(machine: &Machine) -> Vec<String> {
    for number in 0..3 {
        machine.write(&format!("log/pflog.{number}"), log(30, 3 - number));
    }
    assert_status(&tsship(machine, &["-q"]), 0);
    let waiting = names(machine, "outbox");
    assert_eq!(waiting.len(), 3);
    waiting.iter().map(|name| name.split_once('-').unwrap().1.to_owned()).collect()
}

#[test]
fn a_text_that_the_server_cannot_take_holds_up_no_other() {
    let (machine, server) = ready();
    let keys = three_waiting(&machine);
    for poison in [Reply::Status(500), Reply::CloseAfter(0), Reply::LoseAnswer] {
        let (machine, server) = ready();
        assert_eq!(three_waiting(&machine), keys);
        let key = keys[0].clone();
        server.set_behaviour(move |request| {
            if request.header("idempotency-key") == Some(&key) { poison.clone() } else { Reply::Accept }
        });
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert_eq!(server.requests().len(), 3, "{}", words(&output));
        let waiting = names(&machine, "outbox");
        assert!(waiting.len() == 1 && waiting[0].ends_with(&format!("{}.0.1", keys[0])), "{waiting:?}");
        let said = format!("outbox/{}: not posted; it waits for the next run\n", waiting[0]);
        assert!(words(&output).contains(&said), "{}", words(&output));
    }
    // A fourth is not asked for where three in a row were not taken.
    machine.write("log/pflog.3", log(30, 4));
    server.set_behaviour(|_| Reply::Status(500));
    assert_status(&tsship(&machine, &[]), 1);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(names(&machine, "outbox").len(), 4);
}

#[test]
fn a_server_that_asks_to_wait_or_has_moved_is_asked_once() {
    for reply in
        [Reply::Status(503), Reply::Status(429), Reply::Redirect("https://elsewhere.example/".to_owned())]
    {
        let (machine, server) = ready();
        three_waiting(&machine);
        server.set_behaviour(move |_| reply.clone());
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert_eq!((server.requests().len(), names(&machine, "outbox").len()), (1, 3));
        assert!(words(&output).contains("what is behind it wait for the next run"), "{}", words(&output));
    }
}

#[test]
fn a_wrong_url_costs_one_text_a_run() {
    let (machine, server) = ready();
    three_waiting(&machine);
    server.set_behaviour(|_| Reply::Status(404));
    assert_status(&tsship(&machine, &[]), 1);
    assert_eq!(server.requests().len(), 1);
    assert_eq!((names(&machine, "outbox").len(), names(&machine, "rejected").len()), (2, 1));
}

#[test]
fn a_long_text_is_announced_and_no_boundary_is_used_twice() {
    let (machine, server) = ready();
    machine.write("log/pflog.1", log(20_000, 1));
    machine.write("log/pflog.0", log(30, 2));
    assert_status(&tsship(&machine, &[]), 0);
    let accepted = server.accepted();
    assert!(accepted[0].content.len() > 1 << 20);
    assert_eq!(accepted[0].request.header("expect"), Some("100-continue"));
    assert_eq!(accepted[1].request.header("expect"), None);
    let boundary =
        |upload: &tests::log_server::Upload| upload.request.header("content-type").unwrap().to_owned();
    assert_ne!(boundary(&accepted[0]), boundary(&accepted[1]));
    for upload in &accepted {
        let key = upload.idempotency_key().unwrap();
        assert!(!boundary(upload).contains(&key[..32]), "whoever made the log knows its digest");
    }
}

#[test]
fn uploads_go_on_where_a_log_cannot_be_spooled() {
    let (machine, server) = ready();
    three_waiting(&machine);
    machine.directory("db/threatstop/outbox/0.tmp", 0o700);
    machine.write("log/pflog.3", log(30, 9));
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("pflog.3: not shipped: "), "{}", words(&output));
    assert_eq!(server.accepted().len(), 3);
}

/// The processes that read what others wrote hold nothing that was not meant for them.
#[test]
fn children_have_only_what_they_need() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", log(30, 1));
    machine.write("etc/secret", "of the caller");
    let secret = machine.path("etc/secret");
    let program = machine.path("bin/tsship");
    machine
        .write("bin/cron", format!("#!/bin/sh\nexec {} \"$@\" 9<{}\n", program.display(), secret.display()));
    fs::set_permissions(machine.path("bin/cron"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    server.set_behaviour(|_| Reply::Late(Duration::from_secs(2)));
    let mut child = machine.program("cron").spawn().unwrap();
    while server.requests().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it asked");
        std::thread::yield_now();
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let uploader = children.split_whitespace().next().expect("an uploader");
    let opened: Vec<(String, PathBuf)> = fs::read_dir(format!("/proc/{uploader}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_link(entry.path()).unwrap()))
        .collect();
    assert!(child.wait().unwrap().success());
    for (number, path) in &opened {
        assert_ne!(path, &secret);
        assert!(!["0", "1"].contains(&number.as_str()) || path == &PathBuf::from("/dev/null"), "{opened:?}");
    }
    assert!(
        opened.iter().any(|(_, path)| path.starts_with(machine.path("db/threatstop/outbox"))),
        "{opened:?}"
    );
}

#[test]
fn a_name_says_nothing_to_the_terminal() {
    let machine = Machine::new();
    for name in ["\u{1b}[2Jgone", "a\nline", "c1\u{9b}2J"] {
        let output = machine.program("tsship").arg("-n").arg(machine.path(name)).output().unwrap();
        assert_status(&output, 1);
        machine.write(name, "this is no packet log\n");
        let other = machine.program("tsship").arg("-n").arg(machine.path(name)).output().unwrap();
        assert_status(&other, 1);
        for said in [output.stderr, other.stderr] {
            let said = String::from_utf8(said).unwrap();
            assert!(said.ends_with('\n') && said.lines().count() == 1, "{said:?}");
            assert!(!said.trim_end_matches('\n').contains(char::is_control), "{said:?}");
        }
    }
}

/// As root, as cron runs it: the spool is root's, and what decodes and uploads is somebody else.
#[test]
fn as_root_the_children_are_somebody_else() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !nix::unistd::geteuid().is_root() {
        return skip("root, for dropping it");
    }
    let (machine, server) = ready();
    configure(&machine, &server, "SHIP_USER=nobody");
    machine.write("log/pflog.0.gz", pflog::gzip(&log(30, 1)));
    for path in ["etc/threatstop.conf", "etc/ca.pem", "db", "log", "log/pflog", "log/pflog.0.gz"] {
        chown(machine.path(path), Some(0), Some(0)).unwrap();
    }
    for path in ["", "/lock", "/outbox", "/rejected"] {
        chown(machine.path(&format!("db/threatstop{path}")), Some(0), Some(0)).unwrap();
    }
    let root = |args: &[&str]| {
        let mut command = Command::new(machine.path("bin/tsship"));
        command.arg("-c").arg(machine.path("etc/threatstop.conf")).args(args).output().unwrap()
    };
    // While the uploader waits for its answer, look at who is who.
    server.set_behaviour(|_| Reply::Late(Duration::from_secs(2)));
    let mut command = Command::new(machine.path("bin/tsship"));
    let mut child = command.arg("-c").arg(machine.path("etc/threatstop.conf")).spawn().unwrap();
    while server.requests().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it asked");
        std::thread::yield_now();
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let uploader = children.split_whitespace().next().expect("an uploader");
    let status = fs::read_to_string(format!("/proc/{uploader}/status")).unwrap();
    for line in
        ["Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000"]
    {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(server.accepted().len(), 1);
    let ledger = machine.path("db/threatstop/ledger").metadata().unwrap();
    assert_eq!((ledger.uid(), ledger.mode() & 0o7777), (0, 0o600));

    // A spool that somebody else could write is not used.
    chown(machine.path("db/threatstop/outbox"), Some(tests::machine::NOBODY), None).unwrap();
    let output = root(&[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("owned by uid 65534"), "{}", words(&output));
}
