//! How texts get to the server: in parts, compressed, by way of a proxy, and when they are tried again.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use tests::log_server::{Gate, Proxy, Request};

const MIB: usize = 1 << 20;

/// Puts a text of lines into the outbox, as if its log had begun at that time; its name.
fn put(machine: &Machine, first: u64, size: usize) -> (String, Vec<u8>) {
    let mut content = Vec::new();
    let mut number = 0;
    while content.len() < size {
        content.extend_from_slice(format!("{first} {number} {}\n", "x".repeat(number % 200)).as_bytes());
        number += 1;
    }
    let name = format!("{first:010}-{first:064x}");
    machine.write(&format!("db/threatstop/outbox/{name}"), &content);
    (name, content)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn backoff(machine: &Machine) -> Option<String> {
    fs::read_to_string(machine.path("db/threatstop/backoff")).ok()
}

#[test]
fn a_compressed_upload_is_the_same_text() {
    let (machine, server) = ready();
    configure(&machine, &server, "UPLOAD_GZIP=yes");
    machine.write("log/pflog.0", log(3000, 1));
    assert_status(&tsship(&machine, &[]), 0);
    let upload = &server.accepted()[0];
    let wanted = text(&machine, "log/pflog.0");
    assert!(upload.text().unwrap() == wanted && upload.content.len() < wanted.len() / 2);
    assert_eq!(upload.content_type.as_deref(), Some("application/gzip"));
    assert_eq!(upload.file_name, format!("{}.txt.gz", upload.idempotency_key().unwrap()));
    assert_eq!(server.faults(), [""; 0]);
}

#[test]
fn a_large_text_goes_in_parts_and_only_the_part_whose_answer_was_lost_goes_again() {
    for (gzip, extension, count) in [("no", "txt", 3), ("yes", "txt.gz", 2)] {
        let (machine, server) = ready();
        configure(&machine, &server, &format!("UPLOAD_GZIP={gzip}"));
        let (name, content) = put(&machine, 1_795_000_000, (count * 8 - 4) * MIB);
        let digest = name.split_once('-').unwrap().1;
        let key = |part: usize| format!("{digest}-{part}-of-{count}");
        let second = key(2);
        server.set_behaviour(move |request| {
            let is_second = request.header("idempotency-key") == Some(&second);
            if is_second { Reply::LoseAnswer } else { Reply::Accept }
        });
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert_eq!(names(&machine, "outbox"), [format!("{name}.1.1")], "{}", words(&output));
        assert_eq!(backoff(&machine), None, "a part was taken");
        server.set_behaviour(|_| Reply::Accept);
        let output = tsship(&machine, &["-v"]);
        assert_status(&output, 0);
        assert_eq!(words(&output).matches("uploaded successfully").count(), 1, "{}", words(&output));
        assert!(names(&machine, "outbox").is_empty());

        let mut accepted = server.accepted();
        let keys: Vec<&str> = accepted.iter().filter_map(|upload| upload.idempotency_key()).collect();
        let wanted: Vec<String> = [1, 2].into_iter().chain(2..=count).map(key).collect();
        assert_eq!(keys, wanted);
        assert_eq!(accepted[0].file_name, format!("{}.{extension}", key(1)));
        let again = accepted.remove(2);
        assert!(again.content == accepted[1].content, "one key, one content");
        let mut whole = Vec::new();
        for upload in accepted {
            let part = upload.text().unwrap();
            assert!(part.ends_with(b"\n") && part.len() <= 8 * MIB);
            whole.extend_from_slice(&part);
        }
        assert!(whole == content, "nothing lost, nothing twice");
    }
}

#[test]
fn killed_between_two_parts_it_goes_on_with_the_next() {
    let (machine, server) = ready();
    let (_, content) = put(&machine, 1_795_000_000, 10 * MIB);
    server.set_behaviour(|request| match request.number {
        0 => Reply::Accept,
        _ => Reply::Late(Duration::MAX),
    });
    let mut child = machine.program("tsship").stderr(Stdio::null()).spawn().unwrap();
    while server.requests().len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "ended before the second part");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    server.set_behaviour(|_| Reply::Accept);
    assert_status(&tsship(&machine, &[]), 0);
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "the first part is not sent again");
    assert_eq!(requests[1].header("idempotency-key"), requests[2].header("idempotency-key"));
    let uploads = server.accepted();
    let parts = [&uploads[0].content, &uploads.last().unwrap().content];
    assert!(parts.into_iter().flatten().eq(&content));
}

#[test]
fn a_server_that_failed_is_left_alone_for_a_while() {
    let (machine, server) = ready();
    put(&machine, 1_795_000_000, 100);
    server.set_behaviour(|_| Reply::Status(500));
    assert_status(&tsship(&machine, &[]), 1);
    // The next run posts nothing, says so if asked, and spools all the same.
    let output = tsship(&machine, &["-v"]);
    assert_status(&output, 2);
    assert!(words(&output).contains("nothing is posted for another 14 minutes"), "{}", words(&output));
    machine.write("log/pflog.0", log(30, 1));
    let output = tsship(&machine, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty() && output.stdout.is_empty(), "{}", words(&output));
    assert_eq!((server.requests().len(), names(&machine, "outbox").len()), (1, 2));

    let retry = |content: String, expected: &str| {
        machine.write("db/threatstop/backoff", content);
        let asked = server.requests().len();
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert!(server.requests().len() > asked);
        assert_eq!(backoff(&machine).unwrap().split_once(' ').unwrap().0, expected);
        words(&output)
    };
    // Its time is over: cron may come a moment early. The next wait is longer.
    retry(format!("1 {}\n", now() - 845), "2");
    retry(format!("5 {}\n", now() - 4 * 3600), "5");
    // A clock that was set back, and a file that is damaged, keep nobody waiting.
    retry(format!("1 {}\n", now() + 100_000), "2");
    retry("5 ".to_owned(), "1");
    retry("99 99\n".to_owned(), "1");
    server.set_behaviour(|_| Reply::Wait(503, "3600".to_owned()));
    let said = retry(String::new(), "3");
    assert!(said.contains("503 Service Unavailable, retry after 3600"), "{said}");

    // One success, and all is forgotten.
    machine.write("db/threatstop/backoff", format!("4 {}\n", now() - 7200));
    server.set_behaviour(|_| Reply::Accept);
    assert_status(&tsship(&machine, &[]), 0);
    assert_eq!((backoff(&machine), names(&machine, "outbox").len()), (None, 0));
}

#[test]
fn who_asks_for_time_after_some_texts_gets_it() {
    let (machine, server) = ready();
    three_waiting(&machine);
    server.set_behaviour(|request| match request.number {
        0 => Reply::Accept,
        _ => Reply::Wait(429, "99999999999999999999".to_owned()),
    });
    assert_status(&tsship(&machine, &[]), 1);
    assert_eq!((server.requests().len(), names(&machine, "outbox").len()), (2, 2));
    assert!(backoff(&machine).unwrap().starts_with("5 "), "four hours, not for ever");
}

#[test]
fn texts_that_can_never_be_posted_let_the_others_go_first() {
    for poison in [Reply::CloseAfter(0), Reply::LoseAnswer, Reply::Status(500)] {
        let (machine, server) = ready();
        let poisonous: Vec<String> = (0..3).map(|first| put(&machine, first, 100).0).collect();
        let (good, content) = put(&machine, 1_795_000_000, 100);
        server.set_behaviour(move |request: &Request| {
            let key = request.header("idempotency-key").unwrap();
            let is_poison = poisonous.iter().any(|name| name.ends_with(key));
            if is_poison { poison.clone() } else { Reply::Accept }
        });
        assert_status(&tsship(&machine, &[]), 1);
        assert_eq!((server.requests().len(), names(&machine, "outbox").len()), (3, 4));
        hurry(&machine);
        assert_status(&tsship(&machine, &[]), 1);
        let requests = server.requests();
        assert_eq!(requests.len(), 7);
        assert!(good.ends_with(requests[3].header("idempotency-key").unwrap()), "its turn was the first");
        assert!(server.accepted().iter().any(|upload| upload.content == content));
        assert_eq!(backoff(&machine), None, "the server is there");
        let left = names(&machine, "outbox");
        assert!(left.len() == 3 && left.iter().all(|name| name.ends_with(".0.2")), "{left:?}");
    }
}

#[test]
fn what_was_refused_takes_no_more_room_than_what_waits() {
    let (machine, server) = ready();
    configure(&machine, &server, "OUTBOX_MAX=10000");
    for first in 0..3 {
        let (name, _) = put(&machine, first, 4000);
        let path = |directory: &str| machine.path("db/threatstop").join(directory).join(&name);
        fs::rename(path("outbox"), path("rejected")).unwrap();
    }
    machine.write("db/threatstop/rejected/notes", "of the administrator");
    let (name, _) = put(&machine, 1_795_000_000, 4000);
    server.set_behaviour(|_| Reply::Status(403));
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    let said = "rejected: larger than OUTBOX_MAX; its 2 oldest texts are removed\n";
    assert!(words(&output).contains(said), "{}", words(&output));
    let kept = names(&machine, "rejected");
    assert!(kept.len() == 3 && kept.contains(&name) && kept.contains(&"notes".to_owned()), "{kept:?}");
}

#[test]
fn by_way_of_a_proxy() {
    let (machine, server) = ready();
    // user:s3@cret
    let proxy = Proxy::start(Gate::Password("Basic dXNlcjpzM0BjcmV0".to_owned())).unwrap();
    let through = |credentials: &str| {
        put(&machine, 1_795_000_000, 100);
        hurry(&machine);
        configure(&machine, &server, &format!("PROXY=http://{credentials}{}", proxy.address()));
        tsship(&machine, &[])
    };
    assert_status(&through("user:s3%40cret@"), 0);
    assert_eq!(server.accepted().len(), 1);
    let wanted = format!("localhost:{}", server.port());
    assert_eq!(proxy.requests()[0].path, wanted, "the name is the proxy's to look up");
    for credentials in ["", "user:wrong-s3cret@"] {
        let output = through(credentials);
        assert_status(&output, 1);
        let said = words(&output);
        assert!(said.contains("407 Proxy Authentication Required: set user and password in PROXY"), "{said}");
        assert!(said.contains("(through PROXY)") && !said.contains("s3cret"), "{said}");
    }
    let output = through("user:s3cret%ff@");
    assert_status(&output, 1);
    let said = words(&output);
    assert!(said.contains("PROXY: not a URL") && !said.contains("s3cret"), "{said}");
    assert_eq!(server.connections(), 1);

    for (gate, cause) in [(Some(Gate::Closed(403)), "the proxy answered 403"), (None, "Connection refused")] {
        // Where there is no gate, nobody listens any more.
        let proxy = Proxy::start(gate.clone().unwrap_or(Gate::Open)).unwrap();
        configure(&machine, &server, &format!("PROXY=http://{}", proxy.address()));
        hurry(&machine);
        let _proxy = gate.map(|_| proxy);
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert!(words(&output).contains(&format!("{cause} (through PROXY)")), "{}", words(&output));
    }
    assert_eq!(names(&machine, "outbox").len(), 1);
}

#[test]
fn asks_whether_our_address_is_known() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", log(30, 1));
    machine.write("db/threatstop/lock/tsship", "");
    let lock = fs::File::open(machine.path("db/threatstop/lock/tsship")).unwrap();
    let _held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    assert_status(&tsship(&machine, &[]), 2);
    let before = machine.snapshot("db");
    let output = tsship(&machine, &["-t"]);
    assert_status(&output, 0);
    let answer = "Your IP address: 127.0.0.1\nAddress is in the list of authorized hosts\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), answer);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/cgi-bin/validip.pl"));

    let answers = |reply: Reply, printed: &str, cause: &str| {
        server.set_behaviour(move |_| reply.clone());
        let output = tsship(&machine, &["-t"]);
        assert_status(&output, 1);
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed);
        assert!(words(&output).contains(cause), "{cause}: {}", words(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{}", words(&output));
    };
    let no = "Your IP address: 192.0.2.1\nAddress is not in the list of authorized hosts\n";
    let cause = "does not say that our address is authorized; register the address with the service";
    answers(Reply::Say(no.to_owned()), no, cause);
    answers(Reply::Say("\u{1b}[2J\r\n".to_owned()), "\\x1b[2J\n", cause);
    answers(Reply::Say(String::new()), "", cause);
    answers(Reply::Say("x".repeat(100_000)), &format!("{}\n", "x".repeat(200)), cause);
    answers(Reply::Status(404), "", "/cgi-bin/validip.pl: 404 Not Found");
    answers(Reply::Redirect("https://elsewhere.example/".to_owned()), "", "302 Found: redirects are refused");
    answers(Reply::LoseAnswer, "", "closed without an answer");

    server.set_behaviour(|_| Reply::Accept);
    let proxy = Proxy::start(Gate::Open).unwrap();
    configure(&machine, &server, &format!("PROXY=http://{}", proxy.address()));
    assert_status(&tsship(&machine, &["-t"]), 0);
    assert_eq!(proxy.requests().len(), 1);
    drop(server);
    assert_status(&tsship(&machine, &["-t"]), 1);
    assert_eq!(machine.snapshot("db"), before, "nothing is written");
}

#[test]
fn a_text_that_was_thanked_for_before_it_was_sent_is_kept() {
    let (machine, server) = ready();
    let (name, content) = put(&machine, 1_795_000_000, 2 * MIB);
    server.set_behaviour(|_| Reply::Early(200));
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    let said = words(&output);
    assert!(said.contains("/cgi-bin/upload: 200 OK, but before the text was sent"), "{said}");
    assert_eq!(names(&machine, "outbox"), [format!("{name}.0.1")]);
    server.set_behaviour(|_| Reply::Early(403));
    hurry(&machine);
    assert_status(&tsship(&machine, &[]), 1);
    assert_eq!(names(&machine, "rejected"), [format!("{name}.0.1")], "a refusal needs no text");
    assert!(server.accepted().is_empty());

    put(&machine, 1_795_000_000, 2 * MIB);
    server.set_behaviour(|_| Reply::Accept);
    hurry(&machine);
    assert_status(&tsship(&machine, &[]), 0);
    assert!(server.accepted()[0].content == content);
}

#[test]
fn a_server_that_knows_no_expect_is_not_asked_for_its_consent_again() {
    let (machine, server) = ready();
    let (_, content) = put(&machine, 1_795_000_000, 10 * MIB);
    server.set_behaviour(|request| match request.header("expect") {
        Some(_) => Reply::Early(417),
        None => Reply::Accept,
    });
    assert_status(&tsship(&machine, &[]), 0);
    let asked: Vec<bool> =
        server.requests().iter().map(|request| request.header("expect").is_some()).collect();
    assert_eq!(asked, [true, false, false]);
    assert!(server.accepted().into_iter().flat_map(|upload| upload.content).eq(content));

    // Who was not asked for it has no reason to say so, and is not tried a second time.
    let (name, _) = put(&machine, 1_795_000_000, 100);
    server.set_behaviour(|_| Reply::Status(417));
    assert_status(&tsship(&machine, &[]), 1);
    assert_eq!((server.requests().len(), names(&machine, "outbox")), (4, vec![format!("{name}.0.1")]));
}

/// A run whose standard error is a terminal, and what is on it afterwards.
fn on_a_terminal(machine: &Machine) -> (i32, String) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = machine.program("tsship");
    let mut child = command.stdin(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
    // The other side is closed, or Linux gives no end.
    drop(command);
    let status = child.wait().unwrap().code().unwrap();
    let mut said = Vec::new();
    // At its end Linux has an error.
    let _ = std::io::Read::read_to_end(&mut fs::File::from(terminal.master), &mut said);
    (status, String::from_utf8(said).unwrap())
}

#[test]
fn who_watches_sees_how_far_it_is_and_need_not_wait() {
    let (machine, server) = ready();
    put(&machine, 1_795_000_000, 10_000);
    machine.write("db/threatstop/backoff", format!("5 {}\n", now()));
    assert_status(&tsship(&machine, &[]), 2);
    let (status, said) = on_a_terminal(&machine);
    assert_eq!((status, server.accepted().len()), (0, 1), "{said}");
    assert!(said.contains("\ruploading 6afd86c0.txt: 10 of 10 KiB\r") && said.ends_with(" \r"), "{said:?}");
    assert_eq!(backoff(&machine), None);
    assert_eq!(on_a_terminal(&machine), (2, String::new()));
}

#[test]
fn who_talks_to_the_network_cannot_read_what_is_typed() {
    let (machine, server) = ready();
    put(&machine, 1_795_000_000, 100);
    server.set_behaviour(|_| Reply::Late(Duration::MAX));
    for args in [&[][..], &["-t"]] {
        let asked = server.requests().len();
        let terminal = nix::pty::openpty(None, None).unwrap();
        // As login(1) does.
        let user = fs::metadata(machine.path("db/threatstop")).unwrap().uid();
        std::os::unix::fs::fchown(&terminal.slave, Some(user), None).unwrap();
        let slave = || terminal.slave.try_clone().unwrap();
        let mut command = machine.program("tsship");
        let mut collector =
            command.args(args).stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        while server.requests().len() == asked {
            assert!(collector.try_wait().unwrap().is_none(), "ended before it asked");
            std::thread::yield_now();
        }
        let pid = collector.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let uploader = children.split_whitespace().last().unwrap().to_owned();
        let mut terminals = 0;
        for entry in fs::read_dir(format!("/proc/{uploader}/fd")).unwrap() {
            let path = entry.unwrap().path();
            if fs::read_link(&path).unwrap().starts_with("/dev/pts") {
                let number = path.file_name().unwrap().to_str().unwrap();
                let info = fs::read_to_string(format!("/proc/{uploader}/fdinfo/{number}")).unwrap();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
                let mode = i32::from_str_radix(flags, 8).unwrap() & nix::libc::O_ACCMODE;
                assert_eq!(mode, nix::libc::O_WRONLY, "descriptor {number} of {args:?}");
                terminals += 1;
            }
        }
        assert!(terminals > 0, "it says what goes wrong");
        collector.kill().unwrap();
        collector.wait().unwrap();
    }
}

#[test]
fn each_phase_has_its_limit() {
    use shipper::post::{LIMITS, Limits, Poster};
    use shipper::uploader::{Target, Verdict};

    let (machine, server) = ready();
    let (name, _) = put(&machine, 0, 7 * MIB);
    let file = fs::File::open(machine.path("db/threatstop/outbox").join(name)).unwrap();
    let short = Duration::from_millis(300);
    let target = |url: String, proxy: String| Target {
        url,
        id: ("device_id".to_owned(), DEVICE.to_owned()),
        file_field: "file".to_owned(),
        gzip: false,
        proxy,
        certificates: fs::read(server.ca_file()).unwrap(),
    };
    let ends = |target: &Target, limits: Limits, verdict: Verdict, cause: &str| {
        let (found, error) = Poster::new(target, &limits).unwrap().post(&file, &[0; 32], 0).unwrap_err();
        assert_eq!(found, verdict, "{error}");
        assert!(error.to_string().contains(&format!("no answer in time ({cause})")), "{error}");
    };
    let connecting = "connecting, TLS included";
    // Nobody does the handshake: the system alone answers for the socket.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    let to_mute = target(format!("https://{address}/"), String::new());
    ends(&to_mute, Limits { connect: short, ..LIMITS }, Verdict::Away(0), connecting);
    // Its queue is full: nobody is connected any more.
    nix::sys::socket::listen(&mute, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, short) {
        queue.push(stream);
    }
    ends(&to_mute, Limits { connect: short, ..LIMITS }, Verdict::Away(0), connecting);
    let proxy = Proxy::start(Gate::Silent).unwrap();
    let through = target(server.url("/"), format!("http://{}", proxy.address()));
    ends(&through, Limits { connect: short, ..LIMITS }, Verdict::Away(0), connecting);
    assert_eq!((proxy.requests().len(), server.connections()), (1, 0));

    let direct = target(server.url("/"), String::new());
    // ureq takes no header fields behind a 100, and waits for more.
    server.set_behaviour(|_| Reply::Consent("Server: x\r\n".to_owned()));
    let posted = Poster::new(&direct, &Limits { answer: short, ..LIMITS }).unwrap().post(&file, &[0; 32], 0);
    assert_eq!(posted.map_err(|(_, error)| error.to_string()), Ok(Verdict::Sent));
    // What cannot be read is no fault of the server's.
    let directory = fs::File::open(machine.path("db")).unwrap();
    let (found, error) = Poster::new(&direct, &LIMITS).unwrap().post(&directory, &[0; 32], 0).unwrap_err();
    let cause = format!("{}: its text cannot be read: is a directory", "0".repeat(64));
    assert_eq!((found, error.to_string().to_lowercase()), (Verdict::Later, cause));
    server.set_behaviour(|_| Reply::Slow { piece: 1, pause: Duration::MAX });
    ends(&direct, Limits { send: short, ..LIMITS }, Verdict::Later, "sending");
    server.set_behaviour(|_| Reply::Late(Duration::MAX));
    ends(&direct, Limits { answer: short, ..LIMITS }, Verdict::Later, "waiting for it");
    // A little now and then keeps every other limit away.
    server.set_behaviour(|_| Reply::Slow { piece: 65536, pause: Duration::from_millis(50) });
    ends(&direct, Limits { all: Duration::from_secs(2), ..LIMITS }, Verdict::Later, "all in all");
}

#[test]
fn a_server_that_speaks_no_tls_is_named() {
    let (machine, _server) = ready();
    put(&machine, 0, 100);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, ca) = (socket.local_addr().unwrap(), machine.path("etc/ca.pem"));
    machine.configure(&format!("device_id={DEVICE}\nurl=https://{address}/\nCA_FILE={}\n", ca.display()));
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = socket.accept().unwrap();
            std::io::Read::read(&mut stream, &mut [0; 1000]).unwrap();
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        tsship(&machine, &[])
    });
    assert_status(&output, 1);
    assert!(words(&output).contains("the server does not speak TLS"), "{}", words(&output));
}
