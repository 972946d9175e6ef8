//! Zone transfers and signed answers, honest and not.

use super::*;
use tests::policy_server::tsig::{BADTIME, Key, Signature};

const SECRET: &[u8] = b"0123456789abcdef";
const WANTED: [&str; 5] =
    ["64.87.3.133/32", "192.0.2.0/25", "203.0.113.9/32", "2001:db8::/33", "2001:db8:a000::/35"];

pub(super) fn key() -> Key {
    Key::new("Fleet.example", SECRET)
}

/// A machine with a key file, which transfers the zone `BLOCK_LIST` from this server only.
pub(super) fn transferring(server: &PolicyServer, settings: &str) -> Machine {
    let machine = Machine::new();
    let file = machine.path("etc/key");
    machine.write(
        "etc/key",
        "key \"fleet.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\";\n};\n",
    );
    private(&file, 0o600);
    machine.configure(&format!(
        "DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={BLOCK_LIST}\n{}\n",
        server.port(),
        settings.replace("KEY", &format!("TSIG_KEY_FILE={}", file.display()))
    ));
    machine
}

fn private(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A zone with policy in every type, and with what is no policy.
pub(super) fn zone(serial: u32) -> Policy {
    let mut policy = Policy::new();
    let at = |name: &str| format!("{name}.{BLOCK_LIST}");
    policy.put_zone(BLOCK_LIST, serial);
    policy.put(BLOCK_LIST, Data::Other(2, b"\x02ns\x05block\x03org\x07example\0".to_vec()));
    policy.put_addresses(&at("ns"), &["198.51.100.53".parse().unwrap()]);
    let hole = AplItem::hole("2001:db8:8000::/35".parse().unwrap());
    let mut list = items("192.0.2.0/25 2001:db8::/32");
    list.extend([hole, AplItem::hole("2001:db8:c000::/34".parse().unwrap())]);
    policy.put_apl(&at("list"), &list);
    policy.put_txt(&at("text"), &[&["64.87.3.133"]]);
    policy.put(&at("32.9.113.0.203.rpz-ip"), Data::Other(5, vec![0]));
    policy.put(&at("strange"), Data::Other(65280, vec![1, 2, 3]));
    policy.transfer_records = 1;
    policy
}

#[test]
fn a_zone_over_many_messages_signed_or_not() {
    for (settings, key) in [("LIST_FORMAT=axfr", None), ("LIST_FORMAT=axfr\nKEY", Some(key()))] {
        let server = PolicyServer::start(zone(7).with_key(key)).unwrap();
        let machine = transferring(&server, settings);
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 0);
        assert!(output.stderr.is_empty(), "{}", words(&output));
        assert_eq!(spooled(&machine, Block), WANTED);
        assert_status(&tsfetch(&machine, &[]), 2);
        let output = tsfetch(&machine, &["-t"]);
        assert_status(&output, 0);
        let found = format!("block list {BLOCK_LIST}: zone transfer, serial 7 of {BLOCK_LIST}., 6 entries, ");
        assert!(words(&output).contains(&found), "{}", words(&output));
    }
}

#[test]
fn single_answers_are_signed_too() {
    let policy = small().with_key(Some(key()));
    let server = PolicyServer::start(policy).unwrap();
    let machine = transferring(&server, "KEY");
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block).len(), 4);
    // Without the key, or with another one, there is nothing.
    let output = tsfetch(&transferring(&server, ""), &[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("(NOTAUTH)"), "{}", words(&output));
    let said = |key: Key, off: Option<i64>| {
        server.set_policy(small().with_key(Some(key.clone())));
        server.set_behaviour(move |query| match off {
            Some(off) => Reply::Message(key.refuse(&query.message, &query.question, BADTIME, off)),
            None => Reply::Answer,
        });
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        words(&output)
    };
    let other = said(Key::new("fleet.example", b"another secret!!"), None);
    assert!(other.contains("(BADSIG); is the secret the server's?"), "{other}");
    let unknown = said(Key::new("other.example", SECRET), None);
    assert!(unknown.contains("(BADKEY); are name and algorithm the server's?"), "{unknown}");
    let time = said(key(), Some(4000));
    assert!(time.contains("(BADTIME): clock is off by ") && time.contains("behind the server's"), "{time}");
}

/// A run that must fail, name the cause, and leave the old file as it is.
#[track_caller]
pub(super) fn assert_transfer_fails(
    settings: &str,
    behaviour: impl Fn(&Query) -> Reply + Send + Sync + 'static,
    cause: &str,
) {
    let policy = |serial| zone(serial).with_key(settings.contains("KEY").then(key));
    let server = PolicyServer::start(policy(1)).unwrap();
    let machine = transferring(&server, &format!("LIST_FORMAT=axfr\n{settings}"));
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(policy(2));
    server.set_behaviour(
        move |query| if query.question.rtype == 252 { behaviour(query) } else { Reply::Answer },
    );
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr);
    let place = format!("{BLOCK_LIST} at 127.0.0.1:{}: ", server.port());
    assert!(said.contains(&place) && said.contains(cause), "wanted {cause:?}: {}", words(&output));
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(machine.snapshot(POLICY), before);
}

#[test]
fn a_transfer_that_is_not_whole_fails() {
    let change = |change: fn(&mut Vec<Vec<u8>>)| {
        move |query: &Query| {
            let mut messages = query.messages();
            change(&mut messages);
            Reply::Broken(messages.iter().flat_map(|message| hostile::framed(message)).collect())
        }
    };
    let early = "the zone transfer ends without the second SOA record";
    assert_transfer_fails("", change(|messages| drop(messages.pop())), early);
    assert_transfer_fails("", change(|messages| messages.truncate(1)), early);
    assert_transfer_fails(
        "",
        change(|messages| drop(messages.remove(0))),
        "does not begin with the zone's SOA",
    );
    let garbage = |messages: &mut Vec<Vec<u8>>| messages.insert(2, vec![0xff; 40]);
    assert_transfer_fails("", change(garbage), "an answer with id 65535, which was not asked");
    let short = |messages: &mut Vec<Vec<u8>>| messages[2].truncate(30);
    assert_transfer_fails("", change(short), "malformed message: ");
    let empty = |messages: &mut Vec<Vec<u8>>| messages.insert(2, Vec::new());
    assert_transfer_fails("", change(empty), "malformed message: ");
    let refused = |query: &Query| Reply::Message(hostile::rcode(&query.question, 5));
    assert_transfer_fails("", refused, "refused (REFUSED); ");
    let outside = |query: &Query| {
        let mut messages = query.messages();
        messages[2] = hostile::other_owner(&query.question, "www.example", &[Data::A([192, 0, 2, 1].into())]);
        Reply::Messages(messages)
    };
    assert_transfer_fails("", outside, "a record outside the zone: www.example");
    let moved = |query: &Query| {
        let mut messages = query.messages();
        *messages.last_mut().unwrap() = hostile::other_owner(&query.question, BLOCK_LIST, &[Data::Soa(3)]);
        Reply::Messages(messages)
    };
    assert_transfer_fails("", moved, "begins with serial 2 and ends with 3");
    let broken = |query: &Query| {
        let messages = query.messages();
        let octets: Vec<u8> = messages.iter().flat_map(|message| hostile::framed(message)).collect();
        Reply::Broken(octets[..octets.len() - 5].to_vec())
    };
    assert_transfer_fails("", broken, early);
}

#[test]
fn a_transfer_without_end_is_given_up() {
    let endless = |query: &Query| {
        let mut messages = query.messages();
        messages.truncate(1);
        let items = generate::listed(&generate::block(1, 3000));
        messages.push(hostile::other_owner(&query.question, BLOCK_LIST, &[Data::Apl(items)]));
        Reply::Endless(messages)
    };
    assert_transfer_fails("", endless, "more than 10000000 entries in the lists of the table");
    let signed_once = move |query: &Query| {
        let Reply::Endless(messages) = endless(query) else { unreachable!() };
        let signature = |number| if number == 0 { Signature::Right } else { Signature::None };
        Reply::Endless(key().sign(&query.message, &messages, signature))
    };
    assert_transfer_fails("KEY", signed_once, "more than 99 messages without a signature");
}

#[test]
fn a_transfer_that_is_not_signed_as_it_should_fails() {
    let signed = |signature: fn(usize, usize) -> Signature| {
        move |query: &Query| {
            let messages = query.messages();
            let count = messages.len();
            Reply::Messages(key().sign(&query.message, &messages, |number| signature(number, count)))
        }
    };
    use Signature::{None as Unsigned, Right, Wrong};
    let wrong = "signature (TSIG) is wrong";
    assert_transfer_fails("KEY", signed(|number, _| if number == 0 { Wrong } else { Right }), wrong);
    assert_transfer_fails("KEY", signed(|number, _| if number == 3 { Wrong } else { Right }), wrong);
    assert_transfer_fails(
        "KEY",
        signed(|number, count| if number + 1 == count { Wrong } else { Right }),
        wrong,
    );
    let tail = signed(|number, count| if number + 2 < count { Right } else { Unsigned });
    assert_transfer_fails("KEY", tail, "the last message is not signed");
    let unsigned = |query: &Query| Reply::Messages(query.messages());
    assert_transfer_fails("KEY", unsigned, "the answer is not signed (TSIG), the query was");
    let changed = |query: &Query| {
        // Changed in an unsigned message: the next signature tells.
        let signature = |number| if number % 3 == 0 { Right } else { Unsigned };
        let mut messages = key().sign(&query.message, &query.messages(), signature);
        let last = messages[4].len() - 1;
        messages[4][last] ^= 1;
        Reply::Messages(messages)
    };
    assert_transfer_fails("KEY", changed, wrong);
    let swapped = |query: &Query| {
        let mut messages = key().sign(&query.message, &query.messages(), |_| Right);
        messages.swap(1, 2);
        Reply::Messages(messages)
    };
    assert_transfer_fails("KEY", swapped, wrong);
    let single = |query: &Query| Reply::Message(hostile::rcode(&query.question, 5));
    assert_transfer_fails(
        "KEY",
        single,
        "the answer is not signed (TSIG), the query was; it says: refused (REFUSED); this public address",
    );
}

#[test]
fn unsigned_runs_between_signed_messages_are_taken() {
    let server = PolicyServer::start(zone(1).with_key(Some(key()))).unwrap();
    let machine = transferring(&server, "LIST_FORMAT=axfr\nKEY");
    server.set_behaviour(|query| {
        let messages = query.messages();
        let last = messages.len() - 1;
        let signature =
            |number| if number % 4 == 0 || number == last { Signature::Right } else { Signature::None };
        Reply::Messages(key().sign(&query.message, &messages, signature))
    });
    assert_status(&tsfetch(&machine, &[]), 0);
    assert_eq!(spooled(&machine, Block), WANTED);
}

#[test]
fn a_key_that_others_may_read_is_refused_before_anything_is_done() {
    let server = PolicyServer::start(small()).unwrap();
    let machine = transferring(&server, "KEY");
    private(&machine.path("etc/key"), 0o640);
    for args in [&["-n"][..], &[]] {
        let output = tsfetch(&machine, args);
        assert_status(&output, 1);
        assert!(
            words(&output).contains("mode 0640: group or others may use the secret"),
            "{}",
            words(&output)
        );
    }
    assert_eq!(server.connections(), 0);
}
