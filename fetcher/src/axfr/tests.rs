use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::{name, wire as full};

const ID: u16 = 0x1234;
const ZONE: &str = "List.example";
/// APL rdata: 192.0.2.0/24.
const NET: &[u8] = b"\0\x01\x18\x03\xc0\0\x02";

/// A record with its owner in full.
fn record(owner: &str, kind: u16, rdata: &[u8]) -> Vec<u8> {
    let owner = if owner == "@" { ZONE.to_owned() } else { format!("{owner}.{ZONE}") };
    raw(&full(&owner), kind, 1, rdata)
}

fn raw(owner: &[u8], kind: u16, class: u16, rdata: &[u8]) -> Vec<u8> {
    let numbers = [&kind.to_be_bytes()[..], &class.to_be_bytes(), &[0, 0, 0, 60]].concat();
    [owner, &numbers, &(rdata.len() as u16).to_be_bytes(), rdata].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3600, 600, 86400, 60].map(u32::to_be_bytes).concat();
    record("@", SOA, &[full("ns.example"), full("h.example"), numbers].concat())
}

/// A message; one with the question if `asks`.
fn message(asks: bool, records: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = ID.to_be_bytes().to_vec();
    octets.extend([0x84, 0, 0, u8::from(asks)]);
    octets.extend((records.len() as u16).to_be_bytes());
    octets.extend([0; 4]);
    if asks {
        octets.extend(full("list.EXAMPLE"));
        octets.extend([0, 252, 0, 1]);
    }
    octets.extend(records.concat());
    octets
}

fn transfer() -> Transfer {
    Transfer::new(ID, &name(ZONE), 100)
}

/// All messages, of which only the last may be the last.
fn run(messages: &[Vec<u8>]) -> Result<Zone, Failure> {
    let mut transfer = transfer();
    for (number, message) in messages.iter().enumerate() {
        let is_over = transfer.next(message)?;
        assert!(!is_over || number + 1 == messages.len());
    }
    transfer.finish()
}

/// What a zone of these records holds, and how many of them count.
fn zone(records: &[Vec<u8>]) -> Result<String, Failure> {
    let all = [&[soa(7)], records, &[soa(7)]].concat();
    let zone = run(&[message(true, &all)])?;
    assert_eq!(zone.serial, 7);
    let words = |pick: fn(&Chunk) -> &Vec<IpNet>, mark: &str| {
        zone.chunks.iter().flat_map(pick).map(|net| format!("{mark}{net} ")).collect::<String>()
    };
    let records: usize = zone.chunks.iter().map(|chunk| chunk.records).sum();
    Ok(format!("{}{}in {records}", words(|chunk| &chunk.positive, ""), words(|chunk| &chunk.negated, "!")))
}

fn alias(target: &str) -> Vec<u8> {
    if target.is_empty() { vec![0] } else { full(target) }
}

#[test]
fn collects_policy_at_every_name() {
    let records = [
        record("@", APL, b"\0\x01\x18\x03\xc0\0\x02\0\x01\x20\x84\xc0\0\x02\x01"),
        record("deep.er", A, &[198, 51, 100, 7]),
        record("a", AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        record("t", TXT, b"\x09192.0.3.1\x0c192.0.4.0/24"),
        record("24.0.5.0.192.RPZ-IP", CNAME, &alias("")),
        record("48.zz.db8.2001.rpz-ip", CNAME, &alias("*")),
        record("32.1.6.0.192.rpz-ip", CNAME, &alias("rpz-drop")),
        record("32.1.7.0.192.rpz-ip", CNAME, &alias("RPZ-Passthru")),
        record("32.1.8.0.192.rpz-ip", A, &[127, 0, 0, 1]),
        record("empty", APL, b""),
    ];
    assert_eq!(
        zone(&records).unwrap(),
        "192.0.2.0/24 198.51.100.7/32 2001:db8::1/128 192.0.3.1/32 192.0.4.0/24 192.0.5.0/24 \
         2001:db8::/48 192.0.6.1/32 192.0.8.1/32 !192.0.2.1/32 !192.0.7.1/32 in 10"
    );
}

#[test]
fn passes_over_what_is_not_policy() {
    let records = [
        record("@", NS, &full("ns.elsewhere")),
        record("@", 12, &full("part.example")),
        record("@", 46, &[0; 30]),
        record("x", 47, b""),
        record("below", SOA, b"no soa"),
        record("bad.example", CNAME, &alias("")),
        record("rpz-ip.bad.example", CNAME, &alias("")),
        record("32.1.2.0.192.rpz-client-ip", CNAME, &alias("")),
        record("32.1.2.0.192.rpz-nsip", A, &[10, 0, 0, 1]),
        record("ns.example.rpz-nsdname", TXT, b"\x01x"),
        record("32.1.2.0.192.rpz-ip", 46, &[0; 30]),
        record("32.1.2.0.192.rpz-ip", APL, NET),
    ];
    assert_eq!(zone(&records).unwrap(), "in 0");
}

#[test]
fn the_zones_own_name_servers_are_not_policy() {
    let servers = [record("@", NS, &full("NS1.list.example")), record("@", NS, &full("ns2.list.example"))];
    let others = [
        record("ns1", A, &[192, 0, 2, 53]),
        record("x", A, &[192, 0, 2, 1]),
        record("ns2", AAAA, &[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        record("ns1", A, &[192, 0, 2, 54]),
        record("y.ns1", A, &[192, 0, 2, 2]),
        record("32.53.2.0.192.rpz-ip", CNAME, &alias("")),
    ];
    let expected = "192.0.2.1/32 192.0.2.2/32 192.0.2.53/32 in 3";
    assert_eq!(zone(&[&servers[..], &others].concat()).unwrap(), expected);
    assert_eq!(zone(&[&others[..], &servers].concat()).unwrap(), expected);
    assert_eq!(zone(&[&servers[..], &others[..1]].concat()).unwrap(), "in 0");
}

#[test]
fn the_way_to_a_zone_below_is_not_policy() {
    let records = [
        record("below", NS, &full("ns.below.list.example")),
        record("ns.below", A, &[192, 0, 2, 53]),
        record("x.below", A, &[192, 0, 2, 1]),
    ];
    assert_eq!(zone(&records).unwrap(), "192.0.2.1/32 in 1");
}

#[test]
fn a_zone_may_come_in_any_number_of_messages() {
    let records = [soa(9), record("@", APL, NET), record("a", A, &[10, 0, 0, 1]), soa(9)];
    let all = run(&[message(true, &records)]).unwrap();
    let single: Vec<Vec<u8>> = (0..4).map(|at| message(at == 0, &records[at..=at])).collect();
    let asking: Vec<Vec<u8>> = (0..4).map(|at| message(true, &records[at..=at])).collect();
    for messages in [single, asking] {
        let zone = run(&messages).unwrap();
        assert_eq!((zone.serial, &zone.chunks), (9, &all.chunks));
    }
    let empty = run(&[message(true, &[soa(0), soa(0)])]).unwrap();
    assert_eq!(empty.chunks, [Chunk::default()]);
}

#[test]
fn full_chunks_are_put_aside() {
    let items: Vec<u8> =
        (0..8000u32).flat_map(|host| [&[0, 1, 32, 4, 10][..], &host.to_be_bytes()[1..]].concat()).collect();
    let glue = [record("@", NS, &full("ns.list.example")), record("ns", A, &[192, 0, 2, 53])];
    let mut transfer = Transfer::new(ID, &name(ZONE), 100_003);
    transfer.next(&message(true, &[soa(1)])).unwrap();
    for _ in 0..12 {
        transfer.next(&message(false, &[record("@", APL, &items)])).unwrap();
    }
    transfer
        .next(&message(false, &[&glue[..], &[record("x", A, &[192, 0, 2, 1]), soa(1)]].concat()))
        .unwrap();
    let zone = transfer.finish().unwrap();
    let sizes: Vec<(usize, usize)> =
        zone.chunks.iter().map(|chunk| (chunk.positive.len(), chunk.records)).collect();
    assert_eq!(sizes, [(72_000, 9), (24_001, 4)]);
    assert_eq!(zone.chunks[1].positive.last().unwrap().to_string(), "192.0.2.1/32");
}

#[test]
fn each_fault_is_told_apart() {
    let apl = record("@", APL, NET);
    let first = || message(true, &[soa(1), apl.clone()]);
    let outside = raw(&full("list.example.org"), A, 1, &[10, 0, 0, 1]);
    for (messages, fault) in [
        (vec![], Failure::EndsEarly),
        (vec![first()], Failure::EndsEarly),
        (vec![message(true, &[])], Failure::NoSoaFirst),
        (vec![message(true, &[apl.clone(), soa(1)])], Failure::NoSoaFirst),
        (vec![message(true, &[outside.clone(), soa(1)])], Failure::NoSoaFirst),
        (vec![message(true, &[record("sub", SOA, &soa(1)[24..])])], Failure::NoSoaFirst),
        (vec![first(), message(false, &[])], Failure::NoRecord),
        (vec![first(), message(false, &[outside])], Failure::OutsideZone("list.example.org".to_owned())),
        (vec![first(), message(false, &[soa(1), apl.clone()])], Failure::AfterEnd),
        (vec![first(), message(false, &[soa(1), soa(1)])], Failure::AfterEnd),
        (vec![first(), message(false, &[soa(2)])], Failure::SerialDiffers(1, 2)),
    ] {
        assert_eq!(run(&messages).unwrap_err(), fault);
        assert!(fault.to_string().starts_with("the zone transfer "));
    }
    let mut transfer = transfer();
    assert_eq!(transfer.next(&message(true, &[soa(1), soa(1)])), Ok(true));
    assert_eq!(transfer.next(&message(false, &[apl])), Err(Failure::AfterEnd));
}

#[test]
fn what_any_answer_can_be_wrong_with() {
    let good = message(true, &[soa(1), soa(1)]);
    let with = |at: usize, octet: u8| {
        let mut message = good.clone();
        message[at] = octet;
        run(&[message]).unwrap_err()
    };
    assert_eq!(with(0, 0), Failure::WrongId(0x34));
    assert_eq!(with(2, 0x04), Failure::NotAnAnswer);
    assert_eq!(with(2, 0x8c), Failure::NotAnAnswer);
    assert_eq!(with(2, 0x86), Failure::Truncated);
    assert_eq!(with(3, 2), Failure::ServerFailure);
    assert_eq!(with(3, 3), Failure::NoSuchName);
    assert_eq!(with(3, 5), Failure::Refused);
    assert_eq!(with(3, 9), Failure::ResponseCode(9));
    assert_eq!(with(13, b'x'), Failure::WrongQuestion);
    assert_eq!(with(27, 1), Failure::WrongQuestion);
    assert_eq!(with(29, 3), Failure::WrongQuestion);
    // A refusal may leave the question out, the first message of a transfer may not.
    assert_eq!(run(&[message(false, &[soa(1), soa(1)])]).unwrap_err(), Failure::WrongQuestion);
    let mut refused = message(false, &[]);
    refused[3] = 5;
    assert_eq!(run(&[refused]).unwrap_err(), Failure::Refused);
    // A code in a later message counts as well.
    let mut late = message(false, &[soa(1)]);
    late[3] = 2;
    assert_eq!(run(&[message(true, &[soa(1)]), late]).unwrap_err(), Failure::ServerFailure);
}

#[test]
fn bad_records_name_their_owner_and_cause() {
    for (record, words) in [
        (record("a", A, &[10, 0, 0]), "malformed message: an address record of the wrong length"),
        (record("a", AAAA, &[0; 4]), "malformed message: an address record of the wrong length"),
        (
            record("m", AAAA, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]),
            "m.list.example: ::ffff:10.0.0.1: an IPv4 address mapped into IPv6",
        ),
        (record("t", TXT, b"\x06v=spf1"), "t.list.example: v=spf1: not a numeric prefix"),
        (
            record("p", APL, b"\0\x03\0\0"),
            "p.list.example: APL item 1: address family 3, neither 1 (IPv4) nor 2 (IPv6)",
        ),
        (
            record("33.1.2.0.192.rpz-ip", CNAME, &[0]),
            "33.1.2.0.192.rpz-ip.list.example: 192.0.2.1/33: not a prefix length",
        ),
        (record("rpz-ip", CNAME, &[0]), "rpz-ip.list.example: no prefix before rpz-ip"),
        (
            record("32.1.2.0.192.rpz-ip", CNAME, &full("rpz-x")),
            "32.1.2.0.192.rpz-ip.list.example: the RPZ action rpz-x is not known",
        ),
        (
            record("32.1.2.0.192.rpz-ip", CNAME, b"\0\0"),
            "malformed message: octets after the name of a record",
        ),
        (
            raw(&full("list.example"), A, 3, &[10, 0, 0, 1]),
            "malformed message: a record of another class than IN",
        ),
    ] {
        assert_eq!(zone(&[record]).unwrap_err().to_string(), words);
    }
}

#[test]
fn entries_have_a_limit() {
    let host = record("a", A, &[10, 0, 0, 1]);
    assert!(zone(&vec![host.clone(); 100]).is_ok());
    assert_eq!(zone(&vec![host; 101]).unwrap_err(), Failure::TooManyEntries(100));
    let negated = record("@", APL, &b"\0\x01\x20\x84\x0a\0\0\x01".repeat(101));
    assert_eq!(zone(&[negated]).unwrap_err(), Failure::TooManyEntries(100));
    let servers: Vec<Vec<u8>> =
        (0..101).map(|number| record("@", NS, &full(&format!("n{number}.list.example")))).collect();
    assert_eq!(zone(&servers).unwrap_err(), Failure::TooManyEntries(100));
}

#[test]
fn truncated_at_every_length_or_with_more_it_fails() {
    let records = [soa(1), record("24.0.2.0.192.rpz-ip", CNAME, &[0]), record("@", APL, NET), soa(1)];
    let mut whole = message(true, &records);
    for length in 0..whole.len() {
        assert!(run(&[whole[..length].to_vec()]).is_err(), "{length}");
    }
    whole.push(0);
    assert!(run(&[whole]).is_err());
}

#[test]
fn compressed_names_are_followed_and_loops_are_not() {
    let zone_at = |octets: &[u8]| {
        let mut bad = message(true, &[soa(1)]);
        bad.extend(raw(octets, APL, 1, NET));
        bad.extend(soa(1));
        bad[7] = 3;
        run(&[bad])
    };
    assert_eq!(zone_at(b"\xc0\x0c").unwrap().chunks[0].entries(), 1);
    assert_eq!(zone_at(b"\x01a\xc0\x0c").unwrap().chunks[0].entries(), 1);
    let here = message(true, &[soa(1)]).len() as u8;
    for owner in [&[0xc0, here][..], &[1, b'a', 0xc0, here], &[0xc0, 0], &[0xff, 0xff]] {
        let words = zone_at(owner).unwrap_err().to_string();
        assert_eq!(words, "malformed message: a name's pointer does not point back into the message");
    }
}

proptest! {
    #[test]
    fn any_octets_are_taken_or_refused(messages in vec(vec(any::<u8>(), 0..120), 0..4)) {
        let mut transfer = transfer();
        let _ = transfer.next(&message(true, &[soa(1)]));
        for rest in messages {
            let mut octets = message(false, &[]);
            octets[7] = 3;
            octets.extend(rest);
            let _ = transfer.next(&octets);
        }
        let _ = transfer.finish();
    }

    #[test]
    fn a_touched_message_never_makes_it_hold_more_than_its_limit(at in 0usize..400, octet: u8) {
        let items = b"\0\x01\x20\x04\x0a\0\0\x01".repeat(20);
        let mut octets = message(true, &[soa(1), record("@", APL, &items), record("24.0.2.0.192.rpz-ip", CNAME, &[0]), soa(1)]);
        let at = at % octets.len();
        octets[at] = octet;
        if let Ok(zone) = run(&[octets]) {
            prop_assert!(zone.chunks.iter().map(Chunk::entries).sum::<usize>() <= 100);
        }
    }

    /// Zones of hosts in all forms, cut into messages anywhere.
    #[test]
    fn a_zone_of_any_size_comes_back(hosts in vec((any::<u32>(), 0u8..4), 0..60), cuts in vec(0usize..63, 0..6)) {
        let (mut positive, mut negated) = (Vec::new(), Vec::new());
        let mut records = vec![soa(3)];
        for (host, form) in hosts {
            let [a, b, c, d] = host.to_be_bytes();
            let net: IpNet = format!("{a}.{b}.{c}.{d}/32").parse().unwrap();
            if form == 3 { &mut negated } else { &mut positive }.push(net);
            let owner = format!("32.{d}.{c}.{b}.{a}.rpz-ip");
            records.push(match form {
                0 => record("x", A, &[a, b, c, d]),
                1 => record("y", APL, &[0, 1, 32, 4, a, b, c, d]),
                2 => record(&owner, CNAME, &[0]),
                _ => record(&owner, CNAME, &full("rpz-passthru")),
            });
        }
        records.push(soa(3));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % records.len()).chain([0, records.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let messages: Vec<Vec<u8>> = cuts.windows(2).map(|pair| message(pair[0] == 0, &records[pair[0]..pair[1]])).collect();
        let zone = run(&messages).unwrap();
        prop_assert_eq!(zone.chunks[0].records, records.len() - 2);
        prop_assert_eq!(&zone.chunks[0].positive, &positive);
        prop_assert_eq!(&zone.chunks[0].negated, &negated);
    }
}
