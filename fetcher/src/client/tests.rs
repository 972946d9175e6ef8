use super::*;
use crate::testing::{APL, NONE, PTR, SOA, answering, asked, hosts, receive, reply, send, serve, wire};
use std::net::SocketAddr;
use std::time::Duration;

fn config(addresses: &[SocketAddr], lists: &str) -> Config {
    let servers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let text = format!("DNS_SERVERS=\"{}\"\nLIST_FORMAT=apl\n{lists}", servers.join(" "));
    Config::parse(text.as_bytes()).unwrap()
}

/// How many entries a table has, or `None` if it failed; and what went wrong on the way.
fn outcome((answer, causes): (Option<Answer>, Vec<String>)) -> (Option<usize>, Vec<String>) {
    let entries = answer.map(|answer| match answer {
        Answer::Lists(chunks, _) => chunks.iter().map(Chunk::entries).sum(),
        Answer::Unchanged => panic!("unchanged"),
    });
    (entries, causes)
}

fn entries(outcome: (Option<Answer>, Vec<String>)) -> Option<usize> {
    self::outcome(outcome).0
}

/// The type of a question for a zone transfer.
const AXFR: u16 = 252;

type Handler = Box<dyn FnOnce(std::net::TcpStream) + Send>;

/// An address on which nobody listens.
fn nobody() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// A server that answers every list with so many entries, but `failing` with that code.
fn server(count: u32, code: u8, failing: &'static str) -> Handler {
    answering(move |list, _| if list == failing { (code, vec![]) } else { (0, vec![(APL, hosts(0..count))]) })
}

#[test]
fn one_connection_serves_both_tables() {
    let (address, thread) = serve(vec![server(3, 0, "")]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=\"b.example c.example\"");
    let mut client = Client::new(&config, &NONE, Limits::default());
    assert_eq!(entries(client.table(Table::Allow, &[])), Some(3));
    assert_eq!(entries(client.table(Table::Block, &[])), Some(6));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_table_without_lists_asks_nobody() {
    let config = config(&[nobody()], "BLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits::default());
    assert_eq!(client.table(Table::Allow, &[]), (Some(Answer::default()), Vec::new()));
}

#[test]
fn a_server_that_refuses_fails_or_goes_is_followed_by_the_next_for_the_whole_table() {
    for code in [2, 5] {
        // The first list is had from the first server, then refused there: both come from the second.
        let (first, first_thread) = serve(vec![server(100, code, "c.example")]);
        let (second, second_thread) = serve(vec![server(1, 0, "")]);
        let config = config(&[first, second], "BLOCK_LIST=\"b.example c.example\"");
        let mut client = Client::new(&config, &NONE, Limits::default());
        assert_eq!(entries(client.table(Table::Block, &[])), Some(2));
        drop(client);
        first_thread.join().unwrap();
        second_thread.join().unwrap();
    }
    // One that closes the connection is asked once more.
    let gone = || -> Handler { Box::new(|mut stream| assert!(receive(&mut stream).is_some())) };
    let (first, first_thread) = serve(vec![gone(), gone()]);
    let (second, second_thread) = serve(vec![Box::new(|mut stream| while receive(&mut stream).is_some() {})]);
    let (last, last_thread) = serve(vec![server(1, 0, "")]);
    let config = config(&[first, second, nobody(), last], "BLOCK_LIST=b.example");
    let limits = Limits { silence: Duration::from_secs(2), ..Limits::default() };
    let mut client = Client::new(&config, &NONE, limits);
    let (entries, causes) = outcome(client.table(Table::Block, &[]));
    assert_eq!((entries, causes.len()), (Some(1), 3), "{causes:?}");
    assert_eq!(causes[2], "b.example at 127.0.0.1:1: cannot connect: Connection refused");
    drop(client);
    for thread in [first_thread, second_thread, last_thread] {
        thread.join().unwrap();
    }
}

#[test]
fn a_fault_of_the_list_is_not_asked_again_elsewhere() {
    // On a new connection, and on the one that the other table left.
    for lists in ["BLOCK_LIST=b.example", "ALLOW_LIST=a.example\nBLOCK_LIST=b.example"] {
        let (first, first_thread) = serve(vec![server(1, 3, "b.example")]);
        let config = config(&[first, nobody()], lists);
        let mut client = Client::new(&config, &NONE, Limits::default());
        assert!(entries(client.table(Table::Allow, &[])).is_some());
        let (entries, causes) = outcome(client.table(Table::Block, &[]));
        assert_eq!((entries, causes.len()), (None, 1), "{causes:?}");
        assert!(causes[0].contains("NXDOMAIN"), "{causes:?}");
        drop(client);
        first_thread.join().unwrap();
    }
}

#[test]
fn a_server_that_failed_on_the_other_tables_connection_is_not_tried_again() {
    let (first, first_thread) = serve(vec![server(1, 5, "b.example")]);
    let config = config(&[first, nobody()], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits::default());
    assert_eq!(entries(client.table(Table::Allow, &[])), Some(1));
    let (entries, causes) = outcome(client.table(Table::Block, &[]));
    assert_eq!((entries, causes.len()), (None, 2), "{causes:?}");
    assert!(causes[0].contains("REFUSED") && causes[1].contains("127.0.0.1:1:"), "{causes:?}");
    drop(client);
    first_thread.join().unwrap();
}

#[test]
fn a_slow_server_leaves_time_for_the_next() {
    // It answers the PTR question and each part, always within the limit for one answer.
    let slow = |mut stream: std::net::TcpStream| {
        while let Some(query) = receive(&mut stream) {
            std::thread::sleep(Duration::from_millis(100));
            let parts = (0..100).map(|part| (PTR, wire(&format!("p{part}.example")))).collect();
            let records = if asked(&query).1 == PTR { parts } else { vec![(APL, hosts(0..1))] };
            send(&mut stream, &reply(&query, 0, &records));
        }
    };
    let (first, first_thread) = serve(vec![Box::new(slow)]);
    let apl = |_: &str, kind| (0, if kind == APL { vec![(APL, hosts(0..2))] } else { vec![] });
    let (second, second_thread) = serve(vec![answering(apl)]);
    let text = format!("DNS_SERVERS=\"{first} {second}\"\nBLOCK_LIST=b.example");
    let config = Config::parse(text.as_bytes()).unwrap();
    let limits = Limits { attempt: Duration::from_secs(2), in_flight: 2, ..Limits::default() };
    let mut client = Client::new(&config, &NONE, limits);
    let (entries, causes) = outcome(client.table(Table::Block, &[]));
    assert_eq!((entries, causes.len()), (Some(2), 1), "{causes:?}");
    assert!(causes[0].ends_with("the server took longer than 2 seconds for one table"), "{causes:?}");
    drop(client);
    first_thread.join().unwrap();
    second_thread.join().unwrap();
}

#[test]
fn many_addresses_of_a_slow_server_leave_time_for_the_next() {
    let silent = |mut stream: std::net::TcpStream| while receive(&mut stream).is_some() {};
    let (first, first_thread) = serve(vec![Box::new(silent)]);
    let other = std::net::TcpListener::bind(("127.0.0.2", first.port())).unwrap();
    other.set_nonblocking(true).unwrap();
    let (second, second_thread) = serve(vec![server(2, 0, "")]);
    let text = format!(
        "DNS_SERVERS=\"ns.example:{} {second}\"\nLIST_FORMAT=apl\nBLOCK_LIST=b.example",
        first.port()
    );
    let config = Config::parse(text.as_bytes()).unwrap();
    let limits = Limits { attempt: Duration::from_secs(2), ..Limits::default() };
    let mut client = Client::new(&config, &NONE, limits);
    client.resolver.know("ns.example", vec![first, other.local_addr().unwrap()]);
    let (entries, causes) = outcome(client.table(Table::Block, &[]));
    assert_eq!((entries, causes.len()), (Some(2), 1), "{causes:?}");
    assert!(
        causes[0].ends_with("(127.0.0.1): given up, the server took longer than 2 seconds for one table")
    );
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(client);
    first_thread.join().unwrap();
    second_thread.join().unwrap();
}

#[test]
fn the_limits_are_for_a_table_not_for_a_list_or_a_connection() {
    let lists = "ALLOW_LIST=\"a.example b.example\"\nBLOCK_LIST=\"c.example d.example\"";
    for (most, wanted) in [(6, Some(6)), (5, None)] {
        // What is too much ends the connection.
        let connections = if wanted.is_some() { 1 } else { 2 };
        let (address, thread) = serve((0..connections).map(|_| server(3, 0, "")).collect());
        let config = config(&[address], lists);
        let mut client = Client::new(&config, &NONE, Limits { entries: most, ..Limits::default() });
        for table in Table::BOTH {
            let (entries, causes) = outcome(client.table(table, &[]));
            assert_eq!(entries, wanted);
            assert!(causes.iter().all(|cause| cause.contains("more than 5 entries")), "{causes:?}");
        }
        drop(client);
        thread.join().unwrap();
    }
}

/// SOA rdata with this serial.
fn soa(serial: u32) -> Vec<u8> {
    [&wire("ns")[..], &wire("who"), &serial.to_be_bytes(), &[0; 16]].concat()
}

#[test]
fn the_limit_is_for_all_transfers_of_a_table() {
    for (most, wanted) in [(6, Some(6)), (5, None)] {
        let zone = |_: &str, kind| match kind {
            AXFR => (0, vec![(SOA, soa(1)), (APL, hosts(0..3)), (SOA, soa(1))]),
            _ => (0, vec![(SOA, soa(1))]),
        };
        let (address, thread) = serve(vec![answering(zone)]);
        let text = format!("DNS_SERVERS={address}\nLIST_FORMAT=axfr\nBLOCK_LIST=\"a.example b.example\"");
        let config = Config::parse(text.as_bytes()).unwrap();
        let mut client = Client::new(&config, &NONE, Limits { entries: most, ..Limits::default() });
        let (entries, causes) = outcome(client.table(Table::Block, &[]));
        assert_eq!(entries, wanted, "{causes:?}");
        assert!(causes.iter().all(|cause| cause.contains("more than 5 entries")), "{causes:?}");
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn what_is_read_once_more_counts_once() {
    // Before the first time, after it, and then no other.
    let mut serials = [1, 2].into_iter();
    let serials = std::sync::Mutex::new(move || serials.next().unwrap_or(2));
    let (address, thread) = serve(vec![answering(move |_, kind| match kind {
        SOA => (0, vec![(SOA, soa(serials.lock().unwrap()()))]),
        _ => (0, vec![(APL, hosts(0..3))]),
    })]);
    let config = config(&[address], "BLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits { entries: 3, ..Limits::default() });
    let (answer, causes) = client.table(Table::Block, &[]);
    let Some(Answer::Lists(chunks, serials)) = answer else { panic!("{answer:?} {causes:?}") };
    assert_eq!(chunks.iter().map(Chunk::entries).sum::<usize>(), 3);
    assert_eq!(serials, [Serial { zone: "b.example.".to_owned(), number: 2 }]);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_serial_that_is_gone_afterwards_is_not_kept() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let (address, thread) = serve(vec![answering(move |_, kind| match kind {
        SOA if first.swap(false, std::sync::atomic::Ordering::SeqCst) => (0, vec![(SOA, soa(1))]),
        SOA => (2, vec![]),
        _ => (0, vec![(APL, hosts(0..3))]),
    })]);
    let config = config(&[address], "BLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits::default());
    let (answer, causes) = client.table(Table::Block, &[]);
    let Some(Answer::Lists(_, serials)) = answer else { panic!("{answer:?} {causes:?}") };
    assert_eq!(serials, []);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_table_is_unchanged_if_every_list_has_the_serial_that_it_had() {
    let serial = |zone: &str| Serial { zone: zone.to_owned(), number: 1 };
    let [b, c] = [serial("b.example."), serial("c.example.")];
    for (last, unchanged) in [
        (vec![b.clone(), c.clone()], true),
        (vec![c.clone(), b.clone()], false),
        (vec![b.clone()], false),
        (vec![b.clone(), c.clone(), b], false),
        (vec![], false),
    ] {
        let (address, thread) = serve(vec![answering(|_, kind| match kind {
            SOA => (0, vec![(SOA, soa(1))]),
            _ => (0, vec![(APL, hosts(0..1))]),
        })]);
        let config = config(&[address], "BLOCK_LIST=\"b.example c.example\"");
        let mut client = Client::new(&config, &NONE, Limits::default());
        let answer = client.table(Table::Block, &last).0.unwrap();
        assert_eq!(answer == Answer::Unchanged, unchanged, "{last:?}");
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn the_other_table_goes_on_with_a_new_connection() {
    let (address, thread) = serve(vec![server(2, 5, "a.example"), server(2, 5, "a.example")]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits::default());
    assert_eq!(entries(client.table(Table::Allow, &[])), None);
    assert_eq!(entries(client.table(Table::Block, &[])), Some(2));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_connection_that_was_closed_while_idle_is_made_again() {
    let once = |mut stream: std::net::TcpStream| {
        // The serial, then the list.
        for _ in 0..2 {
            let query = receive(&mut stream).unwrap();
            send(&mut stream, &reply(&query, 0, &[(APL, hosts(0..2))]));
        }
    };
    let (address, thread) = serve(vec![Box::new(once), Box::new(once)]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
    let mut client = Client::new(&config, &NONE, Limits::default());
    assert_eq!(entries(client.table(Table::Allow, &[])), Some(2));
    assert_eq!(entries(client.table(Table::Block, &[])), Some(2));
    thread.join().unwrap();
}

#[test]
fn a_lists_serial_counts_if_all_its_parts_are_in_its_zone() {
    let serial = |zone: &str, number| Serial { zone: zone.to_owned(), number };
    let parts = |zones: &[Option<Serial>]| -> Vec<Chunk> {
        let zones = zones.iter().cloned().map(Some).chain([None]);
        zones.map(|zone| Chunk { zone, ..Chunk::default() }).collect()
    };
    let list = serial("a.", 7);
    let of = |zones: &[Option<Serial>]| of_all_parts(Some(list.clone()), &parts(zones));
    assert_eq!(of(&[]), Ok(Some(list.clone())));
    assert_eq!(of(&[Some(list.clone()), Some(list.clone())]), Ok(Some(list.clone())));
    assert_eq!(of(&[Some(list.clone()), Some(serial("b.a.", 7))]), Ok(None));
    assert_eq!(of(&[None, Some(list.clone())]), Ok(None));
    for number in [6, 8] {
        assert_eq!(of(&[None, Some(serial("a.", number))]), Err(Failure::ZoneMoves));
    }
    assert_eq!(of_all_parts(None, &parts(&[Some(list.clone())])), Ok(None));
}

/// Answers the SOA question, takes the next one and closes, or resets.
fn gone(reset: bool) -> Handler {
    Box::new(move |mut stream| {
        let query = receive(&mut stream).unwrap();
        send(&mut stream, &reply(&query, 0, &[]));
        if reset {
            // What was not read is reset.
            let mut octet = [0];
            stream.peek(&mut octet).unwrap();
        } else {
            receive(&mut stream).unwrap();
        }
    })
}

#[test]
fn a_connection_that_ends_in_the_middle_is_made_again_once_a_table() {
    for reset in [false, true] {
        // Each table loses one connection.
        let (first, thread) =
            serve(vec![gone(reset), server(1, 5, "b.example"), gone(reset), server(2, 0, "")]);
        let config = config(&[first], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
        let mut client = Client::new(&config, &NONE, Limits::default());
        assert_eq!(outcome(client.table(Table::Allow, &[])), (Some(1), vec![]));
        client.open = None;
        assert_eq!(outcome(client.table(Table::Block, &[])), (Some(2), vec![]));
        drop(client);
        thread.join().unwrap();
        // A server that goes each time costs two connections, the next server none of its own.
        let (first, first_thread) = serve(vec![gone(reset), gone(reset)]);
        let (second, second_thread) = serve(vec![gone(reset)]);
        let (last, last_thread) = serve(vec![server(3, 0, "")]);
        let config = self::config(&[first, second, last], "BLOCK_LIST=b.example");
        let mut client = Client::new(&config, &NONE, Limits::default());
        let (entries, causes) = outcome(client.table(Table::Block, &[]));
        assert_eq!((entries, causes.len()), (Some(3), 2), "{causes:?}");
        drop(client);
        for thread in [first_thread, second_thread, last_thread] {
            thread.join().unwrap();
        }
    }
}

#[test]
fn the_second_connection_has_what_is_left_of_the_firsts_time() {
    let silent = |mut stream: std::net::TcpStream| while receive(&mut stream).is_some() {};
    let late = |mut stream: std::net::TcpStream| {
        receive(&mut stream).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    };
    let (address, _) = serve(vec![Box::new(late), Box::new(silent)]);
    let config = config(&[address], "BLOCK_LIST=b.example");
    let limits = Limits { attempt: Duration::from_secs(2), ..Limits::default() };
    let mut client = Client::new(&config, &NONE, limits);
    let start = Instant::now();
    let (entries, causes) = outcome(client.table(Table::Block, &[]));
    assert_eq!((entries, causes.len()), (None, 1), "{causes:?}");
    assert!(causes[0].ends_with("longer than 2 seconds for one table"), "{causes:?}");
    assert!(start.elapsed() < Duration::from_millis(2900), "a whole attempt for each");
}
