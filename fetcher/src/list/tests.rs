use super::*;
use crate::limits::Attempt;
use crate::testing::{
    A, AAAA, APL as APL_TYPE, NONE, PTR, SOA, TXT, answering, at, hosts, name, serve, wire,
};
use std::time::{Duration, Instant};

type Records = Vec<(u16, Vec<u8>)>;

const LIST: &str = "block.org.example";

/// Fetches `LIST` from a server that answers as `answer` says.
fn get(
    format: ListFormat,
    limits: Limits,
    answer: impl Fn(&str, u16) -> (u8, Records) + Send + 'static,
) -> Result<List, Failure> {
    get_in(None, format, limits, answer)
}

/// The same in a known zone.
fn get_in(
    zone: Option<&str>,
    format: ListFormat,
    limits: Limits,
    answer: impl Fn(&str, u16) -> (u8, Records) + Send + 'static,
) -> Result<List, Failure> {
    let zone = zone.map(|zone| Serial { zone: zone.to_owned(), number: 1 });
    let (address, server) = serve(vec![answering(answer)]);
    let attempt = Attempt::begin(&limits, Instant::now() + Duration::from_secs(60));
    let mut connection = Connection::open(&at(address), &NONE, &limits, attempt).unwrap();
    let result = fetch(&mut connection, &name(LIST), zone.as_ref(), format, &limits);
    drop(connection);
    server.join().unwrap();
    result
}

fn auto(answer: impl Fn(&str, u16) -> (u8, Records) + Send + 'static) -> Result<List, Failure> {
    get(ListFormat::Auto, Limits::default(), answer)
}

fn txt(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn text(list: &List) -> String {
    let nets = list.chunks.iter().flat_map(|chunk| &chunk.positive);
    nets.map(|net| net.to_string()).collect::<Vec<_>>().join(" ")
}

/// A name that has each of these types, with one record.
fn has(records: Records) -> impl Fn(&str, u16) -> (u8, Records) + Send {
    move |_, kind| (0, records.iter().filter(|record| record.0 == kind).cloned().collect())
}

#[test]
fn auto_takes_the_first_format_that_has_data() {
    let a = (A, vec![192, 0, 2, 1]);
    let aaaa = (AAAA, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01".to_vec());
    let list = auto(has(vec![a.clone(), aaaa.clone()])).unwrap();
    assert_eq!((text(&list).as_str(), list.format), ("192.0.2.1/32 2001:db8::1/128", "A and AAAA"));
    assert_eq!(text(&auto(has(vec![aaaa])).unwrap()), "2001:db8::1/128");
    let list = auto(has(vec![(TXT, txt("192.0.2.2")), a.clone()])).unwrap();
    assert_eq!((text(&list).as_str(), list.format), ("192.0.2.2/32", "TXT"));
    let list = auto(has(vec![(APL_TYPE, hosts(3..4)), (TXT, txt("192.0.2.2")), a])).unwrap();
    assert_eq!((text(&list).as_str(), list.format), ("10.0.0.3/32", "APL"));
    let list = auto(|asked, kind| match (asked, kind) {
        (LIST, PTR) => (0, vec![(PTR, wire("P2.other.example")), (PTR, wire("p1.block.org.example"))]),
        ("p1.block.org.example", APL_TYPE) => (0, vec![(APL_TYPE, hosts(1..3)), (APL_TYPE, hosts(0..1))]),
        ("p2.other.example", APL_TYPE) => (0, vec![(APL_TYPE, hosts(9..10))]),
        _ => (3, vec![]),
    })
    .unwrap();
    assert_eq!(text(&list), "10.0.0.9/32 10.0.0.1/32 10.0.0.2/32 10.0.0.0/32");
    assert_eq!((list.format, list.entries()), ("PTR and APL", 4));
}

#[test]
fn an_empty_list_is_a_list_and_no_data_is_not() {
    let list = auto(has(vec![(APL_TYPE, vec![]), (TXT, txt("192.0.2.2"))])).unwrap();
    assert_eq!((list.format, list.entries()), ("APL", 0));
    assert_eq!(auto(has(vec![(TXT, txt(""))])).unwrap().entries(), 0);
    let failure = auto(has(vec![])).unwrap_err();
    assert_eq!(failure.to_string(), "the name exists but has no PTR, APL, TXT, A or AAAA record");
    for (format, types) in [
        (ListFormat::Ptr, "PTR"),
        (ListFormat::Apl, "APL"),
        (ListFormat::Txt, "TXT"),
        (ListFormat::Address, "A or AAAA"),
    ] {
        let failure = get(format, Limits::default(), has(vec![])).unwrap_err();
        assert_eq!(failure, Failure::NoData(types));
    }
}

#[test]
fn only_no_data_leads_to_the_next_format() {
    for code in [1, 2, 3, 4, 5] {
        let failure = auto(move |_, kind| match kind {
            PTR => (0, vec![]),
            APL_TYPE => (code, vec![]),
            _ => (0, vec![(kind, txt("192.0.2.2"))]),
        });
        assert!(!matches!(failure, Ok(_) | Err(Failure::NoData(_))), "{code}: {failure:?}");
    }
    // A bad item does not lead on either.
    let failure = auto(has(vec![(APL_TYPE, vec![0, 7, 0, 0]), (TXT, txt("192.0.2.2"))])).unwrap_err();
    assert!(matches!(failure, Failure::BadItem(_)));
    // A without data and AAAA refused: the list is not complete.
    let failure = get(ListFormat::Address, Limits::default(), |_, kind| match kind {
        A => (0, vec![(A, vec![192, 0, 2, 1])]),
        _ => (5, vec![]),
    });
    assert_eq!(failure.unwrap_err(), Failure::Refused);
}

#[test]
fn a_part_that_is_not_there_fails_the_list() {
    let with = |code: u8, records: Records| {
        auto(move |asked, kind| match (asked, kind) {
            (LIST, PTR) => (0, vec![(PTR, wire("p1.example")), (PTR, wire("p2.example"))]),
            ("p1.example", APL_TYPE) => (0, vec![(APL_TYPE, hosts(1..3))]),
            ("p2.example", APL_TYPE) => (code, records.clone()),
            (_, SOA) => (0, vec![]),
            _ => (0, vec![(kind, txt("192.0.2.2"))]),
        })
    };
    assert_eq!(with(0, vec![(APL_TYPE, vec![])]).unwrap().entries(), 2);
    for (code, records, failure) in [
        (0, vec![], Failure::NoData("APL")),
        (3, vec![], Failure::NoSuchName),
        (5, vec![], Failure::Refused),
        (0, vec![(TXT, txt("192.0.2.2"))], Failure::OtherType(TXT)),
    ] {
        let expected = Failure::Part("p2.example".to_owned(), Box::new(failure));
        assert_eq!(with(code, records).unwrap_err(), expected);
    }
}

#[test]
fn parts_have_bounds() {
    let with = |names: Vec<&'static str>, limits: Limits| {
        get(ListFormat::Ptr, limits, move |_, kind| match kind {
            PTR => (0, names.iter().map(|name| (PTR, wire(name))).collect()),
            _ => (0, vec![(APL_TYPE, hosts(0..10))]),
        })
    };
    let limits = Limits { parts: 2, entries: 20, ..Limits::default() };
    assert_eq!(with(vec!["a.example", "b.example"], limits.clone()).unwrap().entries(), 20);
    let failure = with(vec!["a.example", "b.example", "c.example"], limits.clone()).unwrap_err();
    assert_eq!(failure, Failure::TooManyParts(2));
    let failure = with(vec!["a.example", "A.example"], limits.clone()).unwrap_err();
    assert_eq!(failure, Failure::PartTwice("a.example".to_owned()));
    let failure = with(vec!["a.example", "BLOCK.org.example"], limits.clone()).unwrap_err();
    assert_eq!(failure, Failure::PartOfItself);
    let limits = Limits { entries: 19, ..limits };
    let failure = with(vec!["a.example", "b.example"], limits).unwrap_err();
    assert_eq!(failure, Failure::TooManyEntries(19));
}

#[test]
fn parts_are_in_the_lists_zone_where_that_is_known() {
    let with = |zone, part: &'static str| {
        get_in(zone, ListFormat::Ptr, Limits::default(), move |_, kind| match kind {
            PTR => (0, vec![(PTR, wire("p1.org.example")), (PTR, wire(part))]),
            _ => (0, vec![(APL_TYPE, hosts(0..1))]),
        })
    };
    assert_eq!(with(Some("org.example."), "P.Org.Example").unwrap().entries(), 2);
    assert_eq!(with(Some("."), "p.other").unwrap().entries(), 2);
    assert_eq!(with(None, "p.other").unwrap().entries(), 2);
    for outside in ["p.other.example", "example", "xorg.example", "org.example.com"] {
        let failure = with(Some("org.example."), outside).unwrap_err();
        let expected = format!("part {outside} is not in the list's zone, org.example");
        assert_eq!(failure.to_string(), expected);
    }
}

/// Addresses at `LIST`, and at numbered names as far as `numbers` goes; what is next has this
/// code. Every name of another form, such as `LIST` with a label in front, has addresses, too.
fn numbered_names(numbers: u32, code: u8) -> impl Fn(&str, u16) -> (u8, Records) + Send {
    move |asked, kind| {
        let number = asked.strip_prefix("block").and_then(|rest| rest.strip_suffix(".org.example"));
        let number = match number {
            Some("") => 0,
            Some(number) => number.parse().unwrap(),
            None => 1000,
        };
        match kind {
            _ if number == numbers + 1 => (code, vec![]),
            // The second one has addresses of IPv6 only.
            AAAA if number == 2 => (0, vec![(AAAA, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01".to_vec())]),
            A if number != 2 => (0, vec![(A, vec![192, 0, 2, number as u8])]),
            _ => (0, vec![]),
        }
    }
}

/// Of how many names the zone was asked for.
fn zones(list: &List) -> usize {
    list.chunks.iter().filter(|chunk| chunk.zone.is_some()).count()
}

#[test]
fn numbered_names_continue_a_list_that_is_asked_for_as_addresses() {
    let get = |format, numbers, code| get(format, Limits::default(), numbered_names(numbers, code));
    for code in [0, 3] {
        let list = get(ListFormat::Address, 12, code).unwrap();
        assert_eq!((list.entries(), zones(&list)), (13, 12));
        assert!(
            text(&list).starts_with("192.0.2.0/32 192.0.2.1/32 2001:db8::1/128 192.0.2.3/32 "),
            "{list:?}"
        );
        assert_eq!(get(ListFormat::Address, 0, code).unwrap().entries(), 1);
    }
    // A neighbour's name is not drawn in.
    let list = get(ListFormat::Auto, 12, 3).unwrap();
    assert_eq!((list.entries(), zones(&list), list.format), (1, 0, "A and AAAA"));
    // What fails is no end.
    for (code, failure) in [(2, Failure::ServerFailure), (5, Failure::Refused)] {
        let failure = Failure::Part("block4.org.example".to_owned(), Box::new(failure));
        assert_eq!(get(ListFormat::Address, 3, code).unwrap_err(), failure);
    }
    let missing = |_: &str, _| (3, vec![]);
    let failure = self::get(ListFormat::Address, Limits::default(), missing);
    assert_eq!(failure.unwrap_err(), Failure::NoSuchName);
}

#[test]
fn numbered_names_have_bounds() {
    let limits = Limits { parts: 3, ..Limits::default() };
    assert_eq!(get(ListFormat::Address, limits.clone(), numbered_names(3, 3)).unwrap().entries(), 4);
    let failure = get(ListFormat::Address, limits.clone(), numbered_names(4, 3)).unwrap_err();
    assert_eq!(failure, Failure::TooManyParts(3));
    let few = Limits { entries: 3, ..limits.clone() };
    let failure = get(ListFormat::Address, few, numbered_names(3, 3)).unwrap_err();
    assert_eq!(failure, Failure::TooManyEntries(3));
    // The next name of a list that is a zone of its own is in another one.
    for (zone, entries) in [("org.example.", 4), ("block.org.example.", 1)] {
        let list = get_in(Some(zone), ListFormat::Address, limits.clone(), numbered_names(3, 3)).unwrap();
        assert_eq!(list.entries(), entries, "{zone}");
    }
}

#[test]
fn a_label_has_room_for_a_number_or_there_is_none() {
    let label = |size: usize, number| {
        let next = with_number(&name(&format!("{}.example", "a".repeat(size))), number)?;
        next.iter().next().map(<[u8]>::len)
    };
    assert_eq!((label(5, 10), label(62, 9)), (Some(7), Some(63)));
    assert_eq!((label(62, 10), label(63, 1)), (None, None));
    assert_eq!(with_number(&Name::root(), 1), None);
}
