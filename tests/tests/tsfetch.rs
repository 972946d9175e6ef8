//! tsfetch, the real program, against the harness's policy server, honest and not.

#[path = "tsfetch/hostile.rs"]
mod hostile_server;
#[path = "tsfetch/lists.rs"]
mod lists;
#[path = "tsfetch/progress.rs"]
mod progress;
#[path = "tsfetch/tls.rs"]
mod tls;
#[path = "tsfetch/transfer.rs"]
mod transfer;
#[path = "tsfetch/unchanged.rs"]
mod unchanged;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::Table::{Allow, Block};
use ipnet::IpNet;
use tests::machine::{Machine, skip, words};
use tests::policy_server::{AplItem, Data, Policy, PolicyServer, Query, Reply, generate, hostile};

const BLOCK_LIST: &str = "block.org.example";
const ALLOW_LIST: &str = "allow.org.example";
const POLICY: &str = "db/threatstop/policy";

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn items(text: &str) -> Vec<AplItem> {
    generate::listed(&nets(text))
}

/// A machine that fetches `BLOCK_LIST` and `ALLOW_LIST` from the servers, with further settings.
fn machine(servers: &[&PolicyServer], settings: &str) -> Machine {
    let machine = Machine::new();
    configure(&machine, servers, settings);
    machine
}

fn configure(machine: &Machine, servers: &[&PolicyServer], settings: &str) {
    let servers: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let servers = servers.join(" ");
    machine.configure(&format!(
        "DNS_SERVERS=\"{servers}\"\nBLOCK_LIST={BLOCK_LIST}\nALLOW_LIST={ALLOW_LIST}\n{settings}\n"
    ));
}

fn tsfetch(machine: &Machine, args: &[&str]) -> Output {
    machine.program("tsfetch").args(args).output().unwrap()
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", words(output));
}

fn spooled(machine: &Machine, table: common::Table) -> Vec<String> {
    let path = machine.path(&format!("{POLICY}/{}.pftable", table.word()));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A policy of a list in two parts and one of a single name.
fn small() -> Policy {
    let mut policy = only_allow();
    policy.put_ptr(
        BLOCK_LIST,
        &[
            (format!("p0.{BLOCK_LIST}"), items("203.0.113.0/24 64.87.3.133/32")),
            (format!("p1.{BLOCK_LIST}"), items("2001:db8::/32 91.0.0.0/16 91.0.7.0/24")),
        ],
    );
    policy
}

/// A policy without a block list, of a later serial than all before it.
fn only_allow() -> Policy {
    static SERIAL: AtomicU32 = AtomicU32::new(1);
    let mut policy = Policy::new();
    policy.put_zone("org.example", SERIAL.fetch_add(1, Ordering::Relaxed));
    policy.put_apl(ALLOW_LIST, &items("198.51.100.7/32"));
    policy
}

#[test]
fn every_format_gives_the_same_policy() {
    let wanted = ["64.87.3.133/32", "91.0.0.0/32", "203.0.113.9/32", "2001:db8::1/128"];
    let hosts = nets(&wanted.join(" "));
    let addresses: Vec<IpAddr> = hosts.iter().map(IpNet::addr).collect();
    let mut policies = vec![];
    for format in ["ptr", "apl", "txt", "a"] {
        let mut policy = Policy::new();
        policy.put_zone("org.example", 1);
        match format {
            "ptr" => drop(policy.put_parts(BLOCK_LIST, &generate::listed(&hosts), 3)),
            "apl" => policy.put_apl(BLOCK_LIST, &generate::listed(&hosts)),
            "txt" => policy
                .put_txt(BLOCK_LIST, &[&["64.87.3.133,91.0.0.0/32"], &["2001:DB8:0::1 ", "203.0.113.9"]]),
            _ => policy.put_addresses(BLOCK_LIST, &addresses),
        }
        policies.push((format, policy));
    }
    for (format, policy) in policies {
        for setting in ["auto", format] {
            let server = PolicyServer::start(policy.clone()).unwrap();
            let machine = machine(&[&server], "");
            let settings = format!(
                "DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={BLOCK_LIST}\nLIST_FORMAT={setting}\n",
                server.port()
            );
            machine.configure(&settings);
            let output = tsfetch(&machine, &[]);
            assert_status(&output, 0);
            assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", words(&output));
            assert_eq!(spooled(&machine, Block), wanted, "{format} as {setting}");
            assert_eq!(spooled(&machine, Allow), [""; 0]);
            assert_eq!(server.connections(), 1, "one connection for all queries");
            let before = machine.snapshot(POLICY);
            assert_status(&tsfetch(&machine, &[]), 2);
            assert_eq!(machine.snapshot(POLICY), before, "unchanged: not touched");
        }
    }
}

#[test]
fn says_what_the_old_script_said() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    let output = tsfetch(&machine, &["-v"]);
    assert_status(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Starting ThreatSTOP v"), "{said}");
    let rest = format!(
        "Using DNS Server 127.0.0.1:{}\nProcessing allow list {ALLOW_LIST}\nProcessing block list {BLOCK_LIST}\n\
         Completed getting all the lists\n",
        server.port()
    );
    assert!(said.ends_with(&rest), "{said}");
}

#[test]
fn the_spool_file_is_exactly_this() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let text = std::fs::read_to_string(machine.path(&format!("{POLICY}/block.pftable"))).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "# tspf 1 block");
    assert!(lines[1].starts_with("# settings ") && lines[1].len() == 27, "{text}");
    assert!(lines[2].starts_with("# soa org.example. ") && lines[2].len() > 19, "{text}");
    assert_eq!(lines[3..], ["64.87.3.133/32", "91.0.0.0/16", "203.0.113.0/24", "2001:db8::/32", "# end 4"]);
    assert!(text.ends_with('\n'));
    assert_eq!(loader::spool::parse(text.as_bytes(), Block).unwrap().len(), 4, "as tsload reads it");
    use std::os::unix::fs::MetadataExt;
    let metadata = machine.path(&format!("{POLICY}/block.pftable")).metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o644, machine.uid()));
}

#[test]
fn negations_are_holes_and_siblings_merge_when_asked() {
    let mut policy = small();
    let mut list = items("203.0.113.0/24 198.18.0.0/25 198.18.0.128/25");
    list.push(AplItem::hole("203.0.113.64/26".parse().unwrap()));
    policy.remove(BLOCK_LIST);
    policy.put_apl(BLOCK_LIST, &list);
    let server = PolicyServer::start(policy).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let wanted = ["198.18.0.0/25", "198.18.0.128/25", "203.0.113.0/26", "203.0.113.128/25"];
    assert_eq!(spooled(&machine, Block), wanted);
    configure(&machine, &[&server], "AGGREGATE=yes");
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), ["198.18.0.0/24", "203.0.113.0/26", "203.0.113.128/25"]);
}

#[test]
fn a_policy_over_its_size_is_cut_in_server_order_and_says_so() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "MAX_POLICY_SIZE=2");
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 0);
    assert_eq!(spooled(&machine, Block), ["64.87.3.133/32", "203.0.113.0/24"], "the first two served");
    assert!(words(&output).contains("3 entries over MAX_POLICY_SIZE left out"), "{}", words(&output));
    assert_eq!(spooled(&machine, Allow), ["198.51.100.7/32"]);
}

#[test]
fn answers_may_come_in_any_order() {
    let block = generate::block(7, 3000);
    let mut policy = only_allow();
    assert_eq!(policy.put_parts(BLOCK_LIST, &generate::listed(&block), 100), 30);
    let server = PolicyServer::start(policy).unwrap();
    server.set_batch(8);
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let wanted: BTreeSet<String> = block.iter().map(ToString::to_string).collect();
    assert!(spooled(&machine, Block).into_iter().collect::<BTreeSet<_>>() == wanted);
}

#[test]
fn the_next_server_is_tried_when_one_is_out_of_order_and_nobody_is_mailed() {
    let (bad, good) = (PolicyServer::start(small()).unwrap(), PolicyServer::start(small()).unwrap());
    let refused = |query: &Query| Reply::Message(hostile::rcode(&query.question, 5));
    let failed = |query: &Query| Reply::Message(hostile::rcode(&query.question, 2));
    let not_implemented = |query: &Query| Reply::Message(hostile::rcode(&query.question, 4));
    type Behaviour = Box<dyn Fn(&Query) -> Reply + Send + Sync>;
    let behaviours: [Behaviour; 8] = [
        Box::new(refused),
        Box::new(failed),
        Box::new(not_implemented),
        Box::new(|query| Reply::Message(hostile::truncated(query.answer()))),
        Box::new(|query| Reply::Message(hostile::wrong_id(query.answer()))),
        Box::new(|_| Reply::Broken(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n".to_vec())),
        Box::new(|_| Reply::Close),
        Box::new(|query| Reply::Broken(hostile::cut(&query.answer(), 9))),
    ];
    for behaviour in behaviours {
        bad.set_behaviour(behaviour);
        let machine = machine(&[&bad, &good], "");
        let output = tsfetch(&machine, &["-v"]);
        assert_status(&output, 0);
        assert_eq!(spooled(&machine, Block).len(), 4);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("Using DNS Server 127.0.0.1:{}\n", good.port())), "{said}");
        assert!(said.contains(&format!("\n{ALLOW_LIST} at 127.0.0.1:{}: ", bad.port())), "{said}");
        assert!(output.stderr.is_empty(), "{}", words(&output));
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 2);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", words(&output));
    }
    let machine = machine(&[&good], "");
    let nobody = |servers: &str| {
        machine.configure(&format!("DNS_SERVERS=\"{servers}\"\nBLOCK_LIST={BLOCK_LIST}\n"));
        tsfetch(&machine, &[])
    };
    let output = nobody(&format!("127.0.0.1:1 127.0.0.1:{}", good.port()));
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    let output = nobody("127.0.0.1:1 [::1]:1");
    assert_status(&output, 1);
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "every server that was tried: {said}");
    assert_eq!(lines[0], format!("tsfetch: {BLOCK_LIST} at 127.0.0.1:1: cannot connect: Connection refused"));
}

/// A run that must fail the block table: it names list, server and cause, leaves the old block file as it is, and still
/// brings the allow table up to date.
#[track_caller]
fn assert_fails(behaviour: impl Fn(&Query) -> Reply + Send + Sync + 'static, cause: &str) {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let old = spooled(&machine, Block);

    let mut policy = small();
    policy.put_apl(ALLOW_LIST, &items("198.51.100.8/32"));
    policy.put_apl(BLOCK_LIST, &items("192.0.2.1/32"));
    server.set_policy(policy);
    server.set_behaviour(move |query| match query.question.name.ends_with("block.org.example") {
        true => behaviour(query),
        false => Reply::Answer,
    });
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(cause), "wanted {cause:?}: {}", words(&output));
    assert!(said.contains(BLOCK_LIST) && said.contains(&format!("127.0.0.1:{}", server.port())), "{said}");
    assert!(said.lines().all(|line| line.starts_with("tsfetch: ")), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(spooled(&machine, Block), old);
    assert_eq!(spooled(&machine, Allow), ["198.51.100.7/32", "198.51.100.8/32"]);
}

#[test]
fn every_answer_that_is_no_answer_has_its_sentence() {
    let message = |make: fn(&Query) -> Vec<u8>| move |query: &Query| Reply::Message(make(query));
    assert_fails(
        message(|query| hostile::rcode(&query.question, 5)),
        "may not be registered with the service, or not yet: a new device takes up to an hour",
    );
    assert_fails(message(|query| hostile::rcode(&query.question, 2)), "the server failed (SERVFAIL)");
    assert_fails(
        message(|query| hostile::rcode(&query.question, 3)),
        "no such name (NXDOMAIN); check the list's name",
    );
    assert_fails(message(|query| hostile::rcode(&query.question, 4)), "does not take such queries (NOTIMP)");
    assert_fails(
        message(|query| hostile::rcode(&query.question, 1)),
        "does not understand the query (FORMERR)",
    );
    assert_fails(message(|query| hostile::rcode(&query.question, 9)), "no authority for the name (NOTAUTH)");
    assert_fails(message(|query| hostile::rcode(&query.question, 6)), "response code 6");
    assert_fails(message(|query| hostile::truncated(query.answer())), "truncated (TC)");
    assert_fails(message(|query| hostile::wrong_id(query.answer())), "which was not asked");
    assert_fails(message(|query| hostile::wrong_name(query.answer())), "an answer to another question");
    assert_fails(
        message(|query| hostile::wrong_type(query.answer(), &query.question)),
        "an answer to another question",
    );
    assert_fails(message(|query| hostile::not_an_answer(query.answer())), "no answer to a query");
    assert_fails(|_| Reply::Close, "closed the connection before its last answer");
}

#[test]
fn every_malformed_message_has_its_sentence() {
    let message = |make: fn(&Query) -> Vec<u8>| move |query: &Query| Reply::Message(make(query));
    for make in [
        |query: &Query| hostile::pointer_to_itself(&query.question),
        |query: &Query| hostile::pointer_circle(&query.question),
        |query: &Query| hostile::pointer_past_end(&query.question),
        |query: &Query| hostile::hollow(&query.question, 65535),
    ] {
        assert_fails(message(make), "malformed message: ");
    }
    assert_fails(|query| Reply::Broken(hostile::short_frame(&query.answer(), 200)), "closed the connection");
    assert_fails(|_| Reply::Broken(vec![0]), "closed the connection");
    assert_fails(|_| Reply::Message(Vec::new()), "malformed message: ");
}

#[test]
fn every_length_of_a_cut_answer_is_refused() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "LIST_FORMAT=apl");
    machine.configure(&format!(
        "DNS_SERVERS=127.0.0.1:{}\nALLOW_LIST={ALLOW_LIST}\nLIST_FORMAT=apl\n",
        server.port()
    ));
    let whole = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = whole.clone();
    server.set_behaviour(move |query| {
        if query.question.rtype == 42 {
            *seen.lock().unwrap() = query.answer();
        }
        Reply::Answer
    });
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(small());
    let whole = whole.lock().unwrap().clone();
    assert!(whole.len() > 40);
    for length in 0..whole.len() {
        // The frame says that this is all: the message itself is short.
        server.set_behaviour(move |query| match query.question.rtype {
            42 => Reply::Message(query.answer()[..length].to_vec()),
            _ => Reply::Answer,
        });
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("malformed message"),
            "{length}: {}",
            words(&output)
        );
        assert_eq!(machine.snapshot(POLICY), before);
    }
}

#[test]
fn bad_items_fail_the_list() {
    let apl = |rdata: &'static [u8]| {
        move |query: &Query| match query.question.rtype {
            42 => Reply::Message(hostile::apl(&query.question, rdata)),
            _ => Reply::Answer,
        }
    };
    for rdata in [
        &b"\x00\x03\x08\x01\x0a"[..],                                  // family 3
        b"\x00\x01\x21\x04\xc0\x00\x02\x01",                           // /33
        b"\x00\x01\x20\x05\xc0\x00\x02\x01\x00",                       // five octets of IPv4
        b"\x00\x01\x20\x04\xc0\x00",                                   // past the end
        b"\x00\x02\x81\x01\x20",                                       // /129
        b"\x00\x01",                                                   // half an item
        b"\x00\x02\x80\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01", // mapped
    ] {
        assert_fails(apl(rdata), "APL");
    }
    let other = |query: &Query| {
        Reply::Message(hostile::other_owner(&query.question, "other.example", &[Data::Apl(vec![])]))
    };
    assert_fails(other, "a record of another name in the answer: other.example");
    for text in ["192.0.2.0/33", "www.example.com", "192.0.2.1-192.0.2.9", "self", "192.0.2.1;192.0.2.2"] {
        let mut policy = Policy::new();
        policy.put_zone("org.example", 1);
        policy.put_txt(BLOCK_LIST, &[&["192.0.2.7"], &[text]]);
        let server = PolicyServer::start(policy).unwrap();
        let machine = machine(&[&server], "");
        machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={BLOCK_LIST}\n", server.port()));
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(text.split(';').next().unwrap()),
            "{}",
            words(&output)
        );
        assert!(!machine.path(&format!("{POLICY}/block.pftable")).exists());
    }
}

#[test]
fn a_list_without_one_of_its_parts_fails() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = spooled(&machine, Block);
    let mut policy = small();
    policy.remove(&format!("p1.{BLOCK_LIST}"));
    server.set_policy(policy);
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("part p1.{BLOCK_LIST}: no such name (NXDOMAIN)")), "{said}");
    assert_eq!(spooled(&machine, Block), before);
}

#[test]
fn killed_at_any_moment_the_files_are_old_or_new() {
    let (old, new) = (generate::block(1, 20_000), generate::block(2, 20_000));
    let policy = |block: &[IpNet]| {
        let mut policy = only_allow();
        policy.put_parts(BLOCK_LIST, &generate::listed(block), 5000);
        policy
    };
    let server = PolicyServer::start(policy(&old)).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let spool = machine.path(&format!("{POLICY}/block.pftable"));
    let before = std::fs::read(&spool).unwrap();
    server.set_policy(policy(&new));
    let (mut killed, mut delay) = (0, Duration::ZERO);
    // Later and later, until a run ends by itself.
    let after = loop {
        let mut child = machine.program("tsfetch").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        let _ = child.kill();
        let status = child.wait().unwrap();
        let content = std::fs::read(&spool).unwrap();
        if status.success() {
            break content;
        }
        killed += 1;
        if content != before {
            // Killed after the rename.
            assert_eq!(tsfetch(&machine, &[]).status.code(), Some(2), "{killed}");
            break content;
        }
        delay += Duration::from_micros(700);
    };
    assert!(killed > 0);
    assert!(after.starts_with(b"# tspf 1 block\n") && after.ends_with(b"# end 20000\n") && after != before);
    assert_status(&tsfetch(&machine, &[]), 2);
    let names = std::fs::read_dir(machine.path(POLICY)).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[test]
fn the_test_run_writes_nothing() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    let output = tsfetch(&machine, &["-t"]);
    assert_status(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("DNS Server 127.0.0.1:{} is ready.\n", server.port())), "{said}");
    assert!(said.ends_with("The test was successful. You are now ready to run the script.\n"), "{said}");
    assert!(machine.snapshot("db").is_empty());
    server.set_behaviour(|query| Reply::Message(hostile::rcode(&query.question, 5)));
    let output = tsfetch(&machine, &["-t"]);
    assert_status(&output, 1);
    assert!(words(&output).contains("may not be registered"), "{}", words(&output));
}

#[test]
fn one_run_at_a_time() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    let lock = std::fs::File::create(machine.path("db/threatstop/lock/tsfetch")).unwrap();
    machine.own(&machine.path("db/threatstop/lock/tsfetch"));
    lock.lock().unwrap();
    assert_status(&tsfetch(&machine, &[]), 2);
    assert_eq!(server.connections(), 0);
    assert!(machine.snapshot(POLICY).is_empty());
}

#[test]
fn who_waits_keeps_nobody_from_his_work() {
    use std::io::{BufRead, BufReader};
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "");
    // The configuration is not read before the wait is over: it could be another by then.
    let mut waiting = Command::new(machine.path("bin/tsfetch"))
        .args(["-v", "-j", "86400", "-c"])
        .arg(machine.path("etc/nonexistent.conf"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Waiting ") && line.ends_with(" seconds\n"), "{line}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    // Nor is the lock taken.
    let mut waiting =
        machine.program("tsfetch").args(["-v", "-j", "86400"]).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(waiting.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_status(&tsfetch(&machine, &[]), 0);
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    // A check of the configuration has nobody to wait for.
    assert_status(&tsfetch(&machine, &["-n", "-j", "86400"]), 0);
}

#[test]
fn a_spool_that_is_not_there_has_its_remedy() {
    let server = PolicyServer::start(small()).unwrap();
    for name in ["policy", "lock", ""] {
        let machine = machine(&[&server], "");
        let directory = machine.path("db/threatstop").join(name);
        std::fs::remove_dir_all(&directory).unwrap();
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        let directory = directory.to_str().unwrap().trim_end_matches('/');
        let wanted = format!("tsfetch: {directory}: no such directory; tspf(7) says how to make it\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), wanted);
    }
    assert_eq!(server.connections(), 0);
}

/// As root, as cron runs it: root's spool, and the fetcher as a user of its own, who owns what he wrote and nothing else.
#[test]
fn as_root_the_fetcher_is_somebody_else() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !nix::unistd::geteuid().is_root() {
        return skip("root, for dropping it");
    }
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine(&[&server], "FETCH_USER=nobody");
    for path in ["etc/threatstop.conf", "db", "db/threatstop", "db/threatstop/lock"] {
        chown(machine.path(path), Some(0), Some(0)).unwrap();
    }
    let root = |args: &[&str]| {
        let mut command = Command::new(machine.path("bin/tsfetch"));
        command.arg("-c").arg(machine.path("etc/threatstop.conf")).args(args).output().unwrap()
    };
    let output = root(&[]);
    assert_status(&output, 0);
    let metadata = |name: &str| machine.path(name).metadata().unwrap();
    assert_eq!(metadata(&format!("{POLICY}/block.pftable")).uid(), tests::machine::NOBODY);
    assert_eq!(metadata("db/threatstop/lock/tsfetch").uid(), 0, "the lock is taken as root");
    assert_eq!(root(&[]).status.code(), Some(2));

    // tsload takes the fetcher's file only: root's with the same content is worth a replacement.
    chown(machine.path(&format!("{POLICY}/block.pftable")), Some(0), None).unwrap();
    assert_status(&root(&[]), 0);
    assert_eq!(metadata(&format!("{POLICY}/block.pftable")).uid(), tests::machine::NOBODY);

    // The test run talks to the network, too.
    let (pid, ids) = (Arc::new(OnceLock::<u32>::new()), Arc::new(OnceLock::<String>::new()));
    let (of, found) = (pid.clone(), ids.clone());
    server.set_behaviour(move |_| {
        found.get_or_init(|| std::fs::read_to_string(format!("/proc/{}/status", of.wait())).unwrap());
        Reply::Answer
    });
    let mut test = Command::new(machine.path("bin/tsfetch"));
    test.arg("-t").arg("-c").arg(machine.path("etc/threatstop.conf")).stdout(Stdio::null());
    let mut test = test.spawn().unwrap();
    pid.set(test.id()).unwrap();
    assert!(test.wait().unwrap().success());
    let ids = ids.get().unwrap();
    let all_nobody = format!("Uid:{}\n", format!("\t{}", tests::machine::NOBODY).repeat(4));
    assert!(ids.contains(&all_nobody) && ids.contains("CapEff:\t0000000000000000\n"), "{ids}");

    // A configuration that somebody else could have written is not read.
    chown(machine.path("etc/threatstop.conf"), Some(tests::machine::NOBODY), None).unwrap();
    let output = root(&[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("owned by uid 65534, not by root"), "{}", words(&output));
    chown(machine.path("etc/threatstop.conf"), Some(0), None).unwrap();
    chown(machine.path("db/threatstop"), Some(tests::machine::NOBODY), None).unwrap();
    assert_status(&root(&[]), 1);
}
