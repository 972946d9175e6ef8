use super::*;
use crate::testing::{A, AAAA, APL as APL_TYPE, CNAME, PTR, TXT, hosts, question, reply, wire};
use proptest::collection::vec;
use proptest::prelude::*;

const LIST: &str = "block.org.example";

fn answer(kind: u16, code: u8, records: &[(u16, Vec<u8>)]) -> (Vec<u8>, Query) {
    let question = question(LIST, kind);
    (reply(&ask(7, &question).unwrap(), code, records), question)
}

fn result(kind: u16, records: &[(u16, Vec<u8>)]) -> Result<Chunk, Failure> {
    let (message, question) = answer(kind, 0, records);
    read(&message, &question)
}

fn positive(chunk: &Chunk) -> Vec<String> {
    chunk.positive.iter().map(ToString::to_string).collect()
}

#[test]
fn every_type_gives_its_items() {
    let chunk = result(APL_TYPE, &[(APL_TYPE, hosts(1..3)), (APL_TYPE, vec![0, 1, 8, 0x81, 10])]).unwrap();
    assert_eq!(positive(&chunk), ["10.0.0.1/32", "10.0.0.2/32"]);
    assert_eq!((chunk.records, chunk.negated.len(), chunk.entries()), (2, 1, 3));
    let chunk = result(TXT, &[(TXT, b"\x0a10.0.0.0/8".to_vec())]).unwrap();
    assert_eq!(positive(&chunk), ["10.0.0.0/8"]);
    let chunk = result(A, &[(A, vec![192, 0, 2, 1])]).unwrap();
    assert_eq!(positive(&chunk), ["192.0.2.1/32"]);
    let chunk = result(AAAA, &[(AAAA, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01".to_vec())]).unwrap();
    assert_eq!(positive(&chunk), ["2001:db8::1/128"]);
    let pointer = vec![2, b'p', b'1', 0xc0, 12];
    let chunk = result(PTR, &[(PTR, pointer), (PTR, wire("p2.elsewhere"))]).unwrap();
    let names: Vec<String> = chunk.names.iter().map(Name::to_ascii).collect();
    assert_eq!(names, ["p1.block.org.example.", "p2.elsewhere."]);
}

#[test]
fn names_are_printable() {
    let name = Name::from_labels([&b"a\x1b[2J.\xe2\x80\xae"[..], b"Example"]).unwrap();
    let shown = text(&name);
    assert!(shown.is_ascii() && !shown.contains('\x1b') && shown.ends_with(".Example"), "{shown}");
    let long = Name::from_labels([&[0xff; 60][..], &[b'x'; 60]]).unwrap();
    assert_eq!(text(&long).len(), 51);
    assert_eq!(text(&Name::root()), ".");
}

#[test]
fn no_data_is_told_from_an_empty_list() {
    assert_eq!(result(APL_TYPE, &[]).unwrap().records, 0);
    let empty = result(APL_TYPE, &[(APL_TYPE, Vec::new())]).unwrap();
    assert_eq!((empty.records, empty.entries()), (1, 0));
}

#[test]
fn the_question_is_compared_without_case() {
    let asked = question("Block.ORG.example", APL_TYPE);
    let (message, _) = answer(APL_TYPE, 0, &[(APL_TYPE, hosts(0..1))]);
    assert_eq!(read(&message, &asked).unwrap().entries(), 1);
}

#[test]
fn response_codes_are_told_apart() {
    for (code, failure) in [
        (1, Failure::ResponseCode(1)),
        (2, Failure::ServerFailure),
        (3, Failure::NoSuchName),
        (4, Failure::ResponseCode(4)),
        (5, Failure::Refused),
        (9, Failure::ResponseCode(9)),
    ] {
        let (mut message, question) = answer(APL_TYPE, code, &[]);
        assert_eq!(read(&message, &question), Err(failure.clone()));
        message.truncate(12);
        message[5] = 0;
        assert_eq!(read(&message, &question), Err(failure), "without the question");
    }
    let (mut message, question) = answer(APL_TYPE, 0, &[]);
    message.truncate(12);
    message[5] = 0;
    assert_eq!(read(&message, &question), Err(Failure::WrongQuestion));
}

#[test]
fn answers_to_something_else_are_refused() {
    let (message, asked) = answer(APL_TYPE, 0, &[(APL_TYPE, hosts(0..1))]);
    for (text, kind) in [("other.org.example", APL_TYPE), (LIST, TXT)] {
        assert_eq!(read(&message, &question(text, kind)), Err(Failure::WrongQuestion));
    }
    assert_eq!(read(&ask(7, &asked).unwrap(), &asked), Err(Failure::NotAnAnswer));
    let mut truncated = message.clone();
    truncated[2] |= 0x02;
    assert_eq!(read(&truncated, &asked), Err(Failure::Truncated));
    let mut two = message.clone();
    two[5] = 2;
    assert_eq!(read(&two, &asked), Err(Failure::WrongQuestion));

    assert_eq!(result(APL_TYPE, &[(CNAME, wire("x.example"))]), Err(Failure::Alias));
    assert_eq!(result(APL_TYPE, &[(TXT, b"\x00".to_vec())]), Err(Failure::OtherType(TXT)));
    let (mut message, asked) = answer(A, 0, &[(A, vec![192, 0, 2, 1])]);
    let owner = message.len() - 16;
    // The owner's pointer skips the first label: a record of org.example.
    message[owner + 1] = 12 + 6;
    assert_eq!(read(&message, &asked), Err(Failure::OtherName("org.example".to_owned())));
    message[owner + 1] = 12;
    message[owner + 5] = 3;
    assert!(matches!(read(&message, &asked), Err(Failure::Malformed(_))), "class CHAOS");
    message[owner + 5] = 1;
    assert!(read(&message, &asked).is_ok());
    // The last octet of the question.
    message[owner - 1] = 3;
    assert_eq!(read(&message, &asked), Err(Failure::WrongQuestion), "class CHAOS");
}

/// The message with so many records of a type in its authority section, each with these octets.
fn with_authority(mut message: Vec<u8>, kind: u16, owner: &[u8], rdata: &[u8]) -> Vec<u8> {
    message[9] += 1;
    message.extend(owner);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 60]);
    message.extend((rdata.len() as u16).to_be_bytes());
    message.extend(rdata);
    message
}

#[test]
fn a_referral_is_told_from_no_data() {
    const NS: u16 = 2;
    const SOA: u16 = 6;
    let (mut message, question) = answer(APL_TYPE, 0, &[]);
    let with =
        |message: &[u8], kind| with_authority(message.to_vec(), kind, &[0xc0, 12], &wire("ns.example"));
    assert_eq!(read(&with(&message, NS), &question).unwrap().records, 0, "with authority");
    message[2] &= !0x04;
    assert_eq!(read(&message, &question).unwrap().records, 0);
    assert_eq!(read(&with(&message, NS), &question), Err(Failure::Referral));
    assert_eq!(read(&with(&message, SOA), &question).unwrap().records, 0);
    assert_eq!(read(&with(&with(&message, SOA), NS), &question).unwrap().records, 0);
    let (mut message, question) = answer(APL_TYPE, 0, &[(APL_TYPE, hosts(0..1))]);
    message[2] &= !0x04;
    assert_eq!(read(&with(&message, NS), &question).unwrap().records, 1);
}

#[test]
fn owners_are_followed_only_as_far_as_an_honest_one() {
    // 1000 pointers, each at the one before it, as an APL record's addresses; then a record whose
    // owner is the last of them.
    let mut message = reply(&ask(7, &question(LIST, APL_TYPE)).unwrap(), 0, &[]);
    let rdata_at = message.len() as u16 + 12;
    let mut rdata = Vec::new();
    let mut before = 12u16;
    for item in 0..500u16 {
        let here = rdata_at + item * 8 + 4;
        rdata.extend([0, 1, 32, 4]);
        rdata.extend((0xc000 | before).to_be_bytes());
        rdata.extend((0xc000 | here).to_be_bytes());
        before = here + 2;
    }
    let record = |owner: u16, rdata: &[u8]| {
        let head =
            [&(0xc000 | owner).to_be_bytes()[..], &APL_TYPE.to_be_bytes(), &[0, 1, 0, 0, 0, 60]].concat();
        [&head[..], &(rdata.len() as u16).to_be_bytes(), rdata].concat()
    };
    message[7] = 2;
    message.extend(record(12, &rdata));
    let with_owner = |owner| [&message[..], &record(owner, &[])].concat();
    let question = question(LIST, APL_TYPE);
    assert_eq!(read(&with_owner(rdata_at + 50 * 8 + 4), &question).unwrap().records, 2);
    let failure = read(&with_owner(before), &question).unwrap_err();
    assert_eq!(failure.to_string(), "malformed message: too many pointers in a name");

    // The same name as the owner of a record that is only passed over.
    message[7] = 1;
    let message = with_authority(message, APL_TYPE, &(0xc000 | before).to_be_bytes(), &[]);
    assert_eq!(read(&message, &question).unwrap().records, 1);
    // It may point anywhere: it is not followed.
    let message = with_authority(message, APL_TYPE, &[0xff, 0xff], &[]);
    assert_eq!(read(&message, &question).unwrap().records, 1);
}

#[test]
fn bad_items_are_named() {
    let bad = |result: Result<Chunk, Failure>| result.unwrap_err().to_string();
    assert!(bad(result(TXT, &[(TXT, b"\x04self".to_vec())])).starts_with("self: "));
    assert!(bad(result(APL_TYPE, &[(APL_TYPE, vec![0, 9, 0, 0])])).starts_with("APL item 1: "));
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01".to_vec();
    assert_eq!(bad(result(AAAA, &[(AAAA, mapped)])), "::ffff:192.0.2.1: an IPv4 address mapped into IPv6");
    for rdata in [vec![192, 0, 2], vec![192, 0, 2, 1, 0], Vec::new()] {
        assert!(bad(result(A, &[(A, rdata)])).contains("wrong length"));
    }
}

#[test]
fn compression_does_not_loop() {
    // The rdata starts at 12 (header) + 23 (question) + 12 (record).
    let here = 12 + 23 + 12;
    for pointer in [vec![0xc0, here], vec![1, b'a', 0xc0, here], vec![0xc0, here + 2], vec![0xff, 0xff]] {
        let result = result(PTR, &[(PTR, pointer.clone())]);
        assert!(matches!(result, Err(Failure::Malformed(_))), "{pointer:?}: {result:?}");
    }
    // The owner's own pointer at itself.
    let (mut message, question) = answer(A, 0, &[(A, vec![192, 0, 2, 1])]);
    message[12 + 23 + 1] = 12 + 23;
    assert!(matches!(read(&message, &question), Err(Failure::Malformed(_))));
    // A name that ends after the rdata does.
    assert!(matches!(result(PTR, &[(PTR, vec![2, b'p'])]), Err(Failure::Malformed(_))));
    let beyond = vec![1, b'p', 0, 0];
    assert!(matches!(result(PTR, &[(PTR, beyond)]), Err(Failure::Malformed(_))));
}

#[test]
fn counts_that_lie_are_refused() {
    let (good, question) = answer(APL_TYPE, 0, &[(APL_TYPE, hosts(0..2))]);
    assert!(read(&good, &question).is_ok());
    for count in [6, 8, 10] {
        let mut message = good.clone();
        message[count] = 0xff;
        assert!(matches!(read(&message, &question), Err(Failure::Malformed(_))), "count at {count}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(read(&longer, &question), Err(Failure::Malformed(_))));
    let mut uncounted = good;
    uncounted[7] = 0;
    assert!(matches!(read(&uncounted, &question), Err(Failure::Malformed(_))));
}

#[test]
fn truncated_at_every_length_it_is_refused() {
    let (message, question) = answer(PTR, 0, &[(PTR, wire("p1.example")), (PTR, vec![0xc0, 12])]);
    assert!(read(&message, &question).is_ok());
    for length in 0..message.len() {
        assert!(read(&message[..length], &question).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn any_message_is_read_or_refused(message in vec(any::<u8>(), 0..200), kind in prop::sample::select(vec![A, PTR, TXT, AAAA, APL_TYPE])) {
        prop_assert!(read(&message, &question(LIST, kind)).is_err());
    }

    #[test]
    fn any_change_of_a_message_is_read_or_refused(changes in vec((0usize..200, any::<u8>()), 1..6)) {
        let (mut message, question) = answer(PTR, 0, &[(PTR, wire("p1.example")), (PTR, vec![0xc0, 12]), (PTR, wire("p2.example"))]);
        for (at, octet) in changes {
            let at = at % message.len();
            message[at] = octet;
        }
        if let Ok(chunk) = read(&message, &question) {
            prop_assert!(chunk.names.len() <= 3);
        }
    }

    #[test]
    fn any_rdata_is_read_or_refused(rdata in vec(any::<u8>(), 0..100), kind in prop::sample::select(vec![A, PTR, TXT, AAAA, APL_TYPE])) {
        if let Ok(chunk) = result(kind, &[(kind, rdata)]) {
            prop_assert_eq!(chunk.records, 1);
        }
    }
}
