//! What the serials of zones save, and what they must not.

use super::*;
use tests::segments::{Relay, Segments};

const SOA: u16 = 6;
const PTR: u16 = 12;

fn zone(serial: u32) -> Policy {
    let mut policy = small();
    policy.put_zone("org.example", serial);
    policy
}

#[test]
fn one_query_a_list_ends_the_work() {
    let server = PolicyServer::start(zone(7)).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let (before, asked) = (machine.snapshot(POLICY), server.queries().len());
    assert_status(&tsfetch(&machine, &[]), 2);
    let queries = server.queries()[asked..].to_vec();
    assert_eq!(queries, [(ALLOW_LIST.to_owned(), SOA), (BLOCK_LIST.to_owned(), SOA)]);
    assert_eq!(machine.snapshot(POLICY), before);

    // A new serial of the same policy is kept, and no change.
    server.set_policy(zone(8));
    assert_status(&tsfetch(&machine, &[]), 2);
    let asked = server.queries().len();
    assert_status(&tsfetch(&machine, &[]), 2);
    assert_eq!(server.queries().len(), asked + 2);

    // Another setting, or a file that is not whole, and the serial does not count.
    configure(&machine, &[&server], "AGGREGATE=yes");
    assert_status(&tsfetch(&machine, &[]), 0);
    let file = machine.path(&format!("{POLICY}/block.pftable"));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(std::fs::read(&file).unwrap(), whole);
}

#[test]
fn two_segments_each_way_are_all_that_is_sent() {
    let server = PolicyServer::start(zone(7)).unwrap();
    let relay = Relay::start(server.port()).unwrap();
    let machine = Machine::new();
    machine.configure(&format!(
        "DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={BLOCK_LIST}\nALLOW_LIST={ALLOW_LIST}\n",
        relay.port()
    ));
    assert_status(&tsfetch(&machine, &[]), 0);
    assert!(relay.take().client > 2);
    assert_status(&tsfetch(&machine, &[]), 2);
    assert_eq!(relay.take(), Segments { client: 2, server: 2 });
}

#[test]
fn a_serial_that_goes_back_is_said_and_taken() {
    let server = PolicyServer::start(zone(7)).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    let mut policy = zone(6);
    policy.put_apl(&format!("p0.{BLOCK_LIST}"), &items("192.0.2.1/32"));
    server.set_policy(policy);
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("zone org.example. at 127.0.0.1:") && said.contains("went back from 7 to 6"),
        "{said}"
    );
    assert_eq!(spooled(&machine, Block).len(), 5);
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 2);
    assert!(output.stderr.is_empty(), "{}", words(&output));
}

#[test]
fn a_zone_that_changes_while_it_is_read_is_read_once_more() {
    for (moves, status) in [(1, 0), (2, 1)] {
        let server = Arc::new(PolicyServer::start(zone(7)).unwrap());
        let machine = machine(&[&server], "");
        let (serial, left) = (Arc::new(AtomicU32::new(7)), Arc::new(AtomicU32::new(moves)));
        server.set_behaviour(move |query| {
            let is_list = query.question.name == BLOCK_LIST && query.question.rtype == PTR;
            let one_less = |left: u32| left.checked_sub(1);
            if is_list && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                serial.fetch_add(1, Ordering::SeqCst);
            }
            match query.question.rtype {
                SOA => {
                    let soa = [Data::Soa(serial.load(Ordering::SeqCst))];
                    Reply::Message(hostile::other_owner(&query.question, "org.example", &soa))
                }
                _ => Reply::Answer,
            }
        });
        let output = tsfetch(&machine, &[]);
        assert_status(&output, status);
        let said = words(&output);
        assert_eq!(said.contains("the zone changed while it was read"), status == 1, "{said}");
        let file = machine.path(&format!("{POLICY}/block.pftable"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(text.contains("# soa org.example. 8\n"), status == 0, "{text}");
    }
}

#[test]
fn a_part_that_is_a_zone_of_its_own_is_always_fetched() {
    let mut policy = zone(7);
    policy.put_zone(&format!("p1.{BLOCK_LIST}"), 1);
    let server = PolicyServer::start(policy.clone()).unwrap();
    let machine = machine(&[&server], "");
    assert_status(&tsfetch(&machine, &[]), 0);
    policy.put_apl(&format!("p1.{BLOCK_LIST}"), &items("192.0.2.1/32"));
    server.set_policy(policy);
    assert_status(&tsfetch(&machine, &[]), 0);
    assert!(spooled(&machine, Block).contains(&"192.0.2.1/32".to_owned()));
}

/// Two block lists, each in a zone of its own, with one prefix that tells the serial.
fn two_zones(serials: [u32; 2]) -> Policy {
    let mut policy = Policy::new();
    for (zone, serial) in ["one.example", "two.example"].into_iter().zip(serials) {
        policy.put_zone(zone, serial);
        let [a, b, c, d] = serial.to_be_bytes();
        let host = format!("{}.{b}.{c}.{d}", a | 64);
        policy.put_apl(&format!("list.{zone}"), &items(&format!("{host}/32")));
    }
    policy
}

#[test]
fn the_serials_of_several_lists_are_compared_one_by_one() {
    let server = PolicyServer::start(two_zones([u32::MAX, 5])).unwrap();
    let machine = Machine::new();
    let lists = |lists: &str| {
        let servers = format!("DNS_SERVERS=127.0.0.1:{}", server.port());
        machine.configure(&format!("{servers}\nBLOCK_LIST=\"{lists}\"\nLIST_FORMAT=apl\n"));
    };
    let run = |status: i32, queries: usize, went_back: &[&str]| {
        let before = server.queries().len();
        let output = tsfetch(&machine, &[]);
        assert_status(&output, status);
        assert_eq!(server.queries().len() - before, queries, "{}", words(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), went_back.len(), "{said}");
        went_back.iter().for_each(|words| assert!(said.contains(words), "{said}"));
    };
    // Serials, lists, serials.
    let (whole, unchanged) = (6, 2);
    lists("list.one.example list.two.example");
    run(0, whole, &[]);
    run(2, unchanged, &[]);
    // Past the largest number it goes on with the smallest; one that moves is enough.
    server.set_policy(two_zones([0, 5]));
    run(0, whole, &[]);
    server.set_policy(two_zones([0, 6]));
    run(0, whole, &[]);
    run(2, unchanged, &[]);
    // One goes on, one goes back.
    server.set_policy(two_zones([1, 4]));
    run(0, whole, &["zone two.example. at 127.0.0.1:"]);
    run(2, unchanged, &[]);
    server.set_policy(two_zones([0x8000_0001, 3]));
    run(0, whole, &["zone one.example. at ", "zone two.example. at "]);
    // Other lists, or in another order, are another setting.
    lists("list.two.example list.one.example");
    run(0, whole, &[]);
    lists("list.two.example");
    run(0, 3, &[]);
    run(2, 1, &[]);
    // A list without a serial: all are fetched each time.
    let mut policy = two_zones([7, 7]);
    policy.put_apl("list.three.example", &items("192.0.2.1/32"));
    server.set_policy(policy);
    lists("list.one.example list.three.example");
    run(0, 5, &[]);
    run(2, 5, &[]);
}
