//! Lists over several names, what the test run says of them, and connections that end in the middle.

use super::*;

const BASIC: &str = "basic.org.example";
const SOA: u16 = 6;

/// A list that numbered names continue: two hosts, one of IPv6, two more. After a gap there is one that is not the
/// list's, and beside it a list of another name.
fn numbered(serial: u32) -> Policy {
    let mut policy = Policy::new();
    policy.put_zone("org.example", serial);
    for (name, addresses) in [
        ("basic", "192.0.2.1 192.0.2.2"),
        ("basic1", "2001:db8::1"),
        ("basic2", "192.0.2.3 192.0.2.4"),
        ("basic4", "192.0.2.5"),
        ("basics", "192.0.2.6"),
    ] {
        let addresses: Vec<IpAddr> = addresses.split(' ').map(|address| address.parse().unwrap()).collect();
        policy.put_addresses(&format!("{name}.org.example"), &addresses);
    }
    policy
}

const NUMBERED: [&str; 5] =
    ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32", "2001:db8::1/128"];

/// A machine with one block list.
fn machine_with(server: &PolicyServer, list: &str, settings: &str) -> Machine {
    let machine = Machine::new();
    machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={list}\n{settings}\n", server.port()));
    machine
}

#[test]
fn numbered_names_are_drawn_in_where_addresses_are_asked_for() {
    let server = PolicyServer::start(numbered(1)).unwrap();
    let machine = machine_with(&server, BASIC, "LIST_FORMAT=a");
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), NUMBERED);
    assert!(!server.queries().iter().any(|(name, _)| name.starts_with("basic4")));
    let (before, asked) = (machine.snapshot(POLICY), server.queries().len());
    assert_status(&tsfetch(&machine, &[]), 2);
    assert_eq!(server.queries()[asked..], [(BASIC.to_owned(), SOA)]);
    assert_eq!(machine.snapshot(POLICY), before);
    let mut policy = numbered(2);
    policy.put_txt("basic3.org.example", &[&["no address"]]);
    policy.remove("basic1.org.example");
    server.set_policy(policy);
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), NUMBERED[..2]);

    // Under auto, a name with a digit at its end is a neighbour's.
    server.set_policy(numbered(3));
    let machine = machine_with(&server, BASIC, "");
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), NUMBERED[..2]);
}

#[test]
fn a_numbered_name_that_fails_is_no_end() {
    let server = PolicyServer::start(numbered(1)).unwrap();
    let machine = machine_with(&server, BASIC, "LIST_FORMAT=a");
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(numbered(2));
    for (code, cause) in [(2, "the server failed (SERVFAIL)"), (5, "refused (REFUSED)")] {
        server.set_behaviour(move |query| match query.question.name.as_str() {
            "basic2.org.example" => Reply::Message(hostile::rcode(&query.question, code)),
            _ => Reply::Answer,
        });
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        let wanted = format!("part basic2.org.example: {cause}");
        assert!(words(&output).contains(&wanted), "{}", words(&output));
        assert_eq!(machine.snapshot(POLICY), before);
    }
}

#[test]
fn the_serial_is_for_the_numbered_names_too() {
    // The zone moves while the last one is read.
    let server = Arc::new(PolicyServer::start(numbered(1)).unwrap());
    let machine = machine_with(&server, BASIC, "LIST_FORMAT=a");
    let (setting, moved) = (Arc::downgrade(&server), OnceLock::new());
    server.set_behaviour(move |query| {
        if query.question.name == "basic2.org.example" && moved.set(()).is_ok() {
            let mut policy = numbered(2);
            policy.put_addresses(BASIC, &["192.0.2.9".parse().unwrap()]);
            setting.upgrade().unwrap().set_policy(policy);
        }
        Reply::Answer
    });
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block).len(), 6);

    // One that is a zone of its own is told by no serial.
    let mut policy = numbered(1);
    policy.put_zone("basic1.org.example", 1);
    server.set_policy(policy.clone());
    assert_status(&tsfetch(&machine, &[]), 0);
    policy.put_addresses("basic1.org.example", &["2001:db8::2".parse().unwrap()]);
    server.set_policy(policy);
    assert_status(&tsfetch(&machine, &[]), 0);
    assert!(spooled(&machine, Block).contains(&"2001:db8::2/128".to_owned()));

    // Neither is the one that ends the list, if it is such a zone: it may have addresses one day.
    let mut policy = numbered(1);
    policy.put_zone("basic3.org.example", 1);
    server.set_policy(policy.clone());
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), NUMBERED);
    policy.put_addresses("basic3.org.example", &["192.0.2.7".parse().unwrap()]);
    server.set_policy(policy);
    assert_status(&tsfetch(&machine, &[]), 0);
    assert!(spooled(&machine, Block).contains(&"192.0.2.7/32".to_owned()));
}

#[test]
fn a_part_outside_the_lists_zone_fails_the_list() {
    let with = |part: &str, serial: Option<u32>| {
        let mut policy = Policy::new();
        serial.into_iter().for_each(|serial| policy.put_zone("org.example", serial));
        policy.put_ptr(BLOCK_LIST, &[(part.to_owned(), items("203.0.113.0/24"))]);
        policy
    };
    let server = PolicyServer::start(with("p0.org.example", Some(1))).unwrap();
    let machine = machine_with(&server, BLOCK_LIST, "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(with("p0.other.example", Some(2)));
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let cause = "part p0.other.example is not in the list's zone, org.example";
    let wanted = format!("tsfetch: {BLOCK_LIST} at 127.0.0.1:{}: {cause}\n", server.port());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), wanted);
    assert_eq!(machine.snapshot(POLICY), before);
    assert!(!server.queries().iter().any(|(name, _)| name == "p0.other.example"), "not even asked for");
    let output = tsfetch(&machine, &["-t"]);
    assert_status(&output, 1);
    assert!(words(&output).contains(cause), "{}", words(&output));
    // Where no zone is known there is nothing to say.
    server.set_policy(with("p0.other.example", None));
    assert_status(&tsfetch(&machine, &[]), 2);
}

#[test]
fn the_test_run_says_what_each_list_is() {
    let mut policy = small();
    policy.put_zone("org.example", 2_026_112_101);
    let first = PolicyServer::start(policy).unwrap();
    let mut policy = Policy::new();
    policy.put_txt(BLOCK_LIST, &[&["192.0.2.1"]]);
    policy.put_apl(ALLOW_LIST, &[]);
    let second = PolicyServer::start(policy).unwrap();
    let machine = machine(&[&first, &second], "");
    // Half a second late, so that there is a time to print.
    first.set_behaviour(|query| match query.question.rtype {
        12 if query.question.name == BLOCK_LIST => {
            let pause = Duration::from_millis(500);
            Reply::Slow { message: query.answer(), piece: usize::MAX, pause }
        }
        _ => Reply::Answer,
    });
    let output = tsfetch(&machine, &["-t"]);
    assert_status(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    let mut times = Vec::new();
    let lines: Vec<&str> = said
        .lines()
        .map(|line| match line.strip_suffix(" s").and_then(|line| line.rsplit_once(", ")) {
            Some((found, seconds)) => {
                times.push(seconds.parse::<f32>().unwrap());
                found
            }
            None => line,
        })
        .collect();
    let ready = |server: &PolicyServer| format!("DNS Server 127.0.0.1:{} is ready.", server.port());
    let serial = "serial 2026112101 of org.example.";
    assert_eq!(
        lines,
        [
            ready(&first),
            format!("allow list {ALLOW_LIST}: APL, {serial}, 1 entries"),
            format!("block list {BLOCK_LIST}: PTR and APL, {serial}, 5 entries"),
            ready(&second),
            format!("allow list {ALLOW_LIST}: APL, 0 entries"),
            format!("block list {BLOCK_LIST}: TXT, 1 entries"),
            "The test was successful. You are now ready to run the script.".to_owned(),
        ]
    );
    assert!(times.len() == 4 && times[1] >= 0.5, "{times:?}");
    assert!(output.stderr.is_empty() && machine.snapshot("db").is_empty());
}

/// The connections that a run of a table makes to a server that closes those for which `ends` says so, at a question
/// for a part.
fn run_with_ends(ends: fn(usize) -> bool, args: &[&str]) -> (Output, usize) {
    let server = PolicyServer::start(small()).unwrap();
    let machine = machine_with(&server, BLOCK_LIST, "");
    let part = format!("p1.{BLOCK_LIST}");
    let seen = AtomicU32::new(0);
    server.set_behaviour(move |query| match query.question.name == part {
        // Each connection asks for it once before it is done.
        true if ends(seen.fetch_add(1, Ordering::SeqCst) as usize) => Reply::Close,
        _ => Reply::Answer,
    });
    let output = tsfetch(&machine, args);
    assert_eq!(output.status.success(), machine.path(&format!("{POLICY}/block.pftable")).exists());
    (output, server.connections())
}

#[test]
fn a_connection_that_ends_in_the_middle_is_made_again_once() {
    let (output, connections) = run_with_ends(|number| number == 0, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty() && connections == 2, "{connections} {}", words(&output));
    let (output, connections) = run_with_ends(|number| number == 0, &["-v"]);
    assert_status(&output, 0);
    let wanted = "the server closed the connection before its last answer; trying once more\n";
    assert!(words(&output).contains(wanted) && connections == 2, "{connections} {}", words(&output));
    let (output, connections) = run_with_ends(|_| true, &[]);
    assert_status(&output, 1);
    assert_eq!(connections, 2, "{}", words(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{}", words(&output));
}

#[test]
fn a_server_is_tried_at_each_address_of_its_name() {
    use std::net::ToSocketAddrs;
    let addresses: BTreeSet<IpAddr> =
        ("localhost", 1).to_socket_addrs().unwrap().map(|address| address.ip()).collect();
    let machine = Machine::new();
    machine.configure(&format!("DNS_SERVERS=localhost:1\nBLOCK_LIST={BLOCK_LIST}\n"));
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), addresses.len(), "{said}");
    for address in addresses {
        let wanted = format!("tsfetch: {BLOCK_LIST} at localhost:1 ({address}): cannot connect: ");
        assert!(said.contains(&wanted), "{said}");
    }
}
