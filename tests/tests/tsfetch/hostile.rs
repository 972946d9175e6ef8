//! Servers that break off, loop, flood, dawdle or forge, at each point where they can: what is neither in `tsfetch.rs`
//! (single answers) nor in `transfer.rs`.

use super::transfer::{assert_transfer_fails, key, transferring, zone};
use super::*;
use tests::policy_server::tsig::Signature;

/// Changes the messages of the answer.
fn changed(
    change: impl Fn(&Query, &mut Vec<Vec<u8>>) + Send + Sync,
) -> impl Fn(&Query) -> Reply + Send + Sync {
    move |query| {
        let mut messages = query.messages();
        change(query, &mut messages);
        Reply::Messages(messages)
    }
}

/// Fetches a policy, then again with each message of the answer to questions of a type cut at each length: the run
/// fails, says why and leaves the files as they are.
fn assert_refused_at_every_length(policy: fn(u32) -> Policy, settings: &str, rtype: u16, causes: &[&str]) {
    let signed = settings.contains("KEY");
    let server = PolicyServer::start(policy(1).with_key(signed.then(key))).unwrap();
    let machine = transferring(&server, settings);
    let answer = move |query: &Query| match signed {
        true => key().sign(&query.message, &query.messages(), |_| Signature::Right),
        false => query.messages(),
    };
    let sizes = Arc::new(OnceLock::new());
    let seen = sizes.clone();
    server.set_behaviour(move |query| {
        if query.question.rtype == rtype {
            seen.get_or_init(|| answer(query).iter().map(Vec::len).collect::<Vec<_>>());
        }
        Reply::Answer
    });
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(policy(2).with_key(signed.then(key)));
    for (number, size) in sizes.get().unwrap().iter().enumerate() {
        for length in 0..*size {
            server.set_behaviour(move |query| {
                let mut messages = answer(query);
                if query.question.rtype == rtype {
                    messages[number].truncate(length);
                }
                Reply::Messages(messages)
            });
            let output = tsfetch(&machine, &[]);
            assert_status(&output, 1);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                causes.iter().any(|cause| said.contains(cause)),
                "{number}, {length}: {}",
                words(&output)
            );
            assert_eq!(machine.snapshot(POLICY), before, "{number}, {length}");
        }
    }
}

/// A list in every form at one name.
fn every_form(serial: u32) -> Policy {
    let mut policy = Policy::new();
    policy.put_zone(BLOCK_LIST, serial);
    let part = format!("p.{BLOCK_LIST}");
    policy.put_ptr(BLOCK_LIST, &[(part, items("192.0.2.0/24 2001:db8::/32"))]);
    policy.put_txt(BLOCK_LIST, &[&["192.0.2.1,192.0.2.2"]]);
    policy.put_addresses(BLOCK_LIST, &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    policy
}

#[test]
fn an_answer_of_every_type_is_refused_at_every_length() {
    let (soa, ptr, apl, txt, aaaa) = (6, 12, 42, 16, 28);
    let malformed = ["malformed message: "];
    assert_refused_at_every_length(every_form, "LIST_FORMAT=ptr", soa, &malformed);
    assert_refused_at_every_length(every_form, "LIST_FORMAT=ptr", ptr, &malformed);
    assert_refused_at_every_length(every_form, "LIST_FORMAT=ptr", apl, &malformed);
    assert_refused_at_every_length(every_form, "LIST_FORMAT=txt", txt, &malformed);
    assert_refused_at_every_length(every_form, "LIST_FORMAT=a", aaaa, &malformed);
}

#[test]
fn a_transfer_is_refused_at_every_length_of_each_message() {
    assert_refused_at_every_length(zone, "LIST_FORMAT=axfr", 252, &["malformed message: "]);
}

#[test]
fn a_signed_answer_is_refused_at_every_length() {
    // Of what is cut before its end the signature cannot be found.
    let causes = ["malformed message: ", "is not signed (TSIG)", "signature (TSIG) is wrong"];
    assert_refused_at_every_length(every_form, "LIST_FORMAT=txt\nKEY", 16, &causes);
}

#[test]
fn an_answer_that_breaks_off_at_any_octet_is_none() {
    let server = PolicyServer::start(every_form(1)).unwrap();
    let machine = transferring(&server, "LIST_FORMAT=a");
    assert_status(&tsfetch(&machine, &[]), 0);
    let before = machine.snapshot(POLICY);
    server.set_policy(every_form(2));
    for length in 0..80 {
        server.set_behaviour(move |query| match (query.question.rtype, query.answer()) {
            (28, answer) => Reply::Broken(hostile::cut(&answer, length.min(answer.len() + 1))),
            _ => Reply::Answer,
        });
        let connections = server.connections();
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        assert!(
            words(&output).contains("closed the connection before its last answer"),
            "{}",
            words(&output)
        );
        assert_eq!(server.connections(), connections + 2);
        assert_eq!(machine.snapshot(POLICY), before);
    }
}

#[test]
fn floods_and_what_is_sent_beside_the_answer_end_the_run() {
    let flood = |query: &Query| match query.question.rtype {
        // More names than a list may have parts: pointers to the question's.
        12 => {
            let pointers = vec![Data::Other(12, vec![0xc0, 12]); 4600];
            Reply::Message(hostile::other_owner(&query.question, &query.question.name, &pointers))
        }
        _ => Reply::Answer,
    };
    assert_fails(flood, "more than 4096 parts");
    let two = "which was not asked";
    assert_fails(|query| Reply::Endless(vec![query.answer()]), two);
    assert_fails(changed(|_, messages| messages.insert(0, vec![0xff; 40])), two);
    assert_fails(changed(|_, messages| messages.push(vec![0xff; 40])), two);
    let late = changed(|_, messages| messages.push(Vec::new()));
    assert_fails(late, "malformed message: ");
    let alias = |query: &Query| {
        let target = [Data::Other(5, b"\x05other\0".to_vec())];
        match query.question.rtype {
            6 => Reply::Answer,
            _ => Reply::Message(hostile::other_owner(&query.question, &query.question.name, &target)),
        }
    };
    assert_fails(alias, "the name is an alias (CNAME); lists and parts must not be aliases");
}

#[test]
fn every_message_of_a_transfer_must_be_one() {
    let question = "an answer to another question";
    type Change = fn(&Query, Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 12] = [
        ("the answer is truncated (TC)", |_, message| hostile::truncated(message)),
        ("which was not asked", |_, message| hostile::wrong_id(message)),
        (question, |_, message| hostile::wrong_name(message)),
        (question, |query, message| hostile::wrong_type(message, &query.question)),
        ("a message that is no answer to a query", |_, message| hostile::not_an_answer(message)),
        ("the server failed (SERVFAIL)", |query, _| hostile::rcode(&query.question, 2)),
        ("no such name (NXDOMAIN)", |query, _| hostile::rcode(&query.question, 3)),
        ("does not take such queries (NOTIMP)", |query, _| hostile::rcode(&query.question, 4)),
        ("refused (REFUSED)", |query, _| hostile::rcode(&query.question, 5)),
        ("no authority for the name (NOTAUTH)", |query, _| hostile::rcode(&query.question, 9)),
        ("malformed message: ", |query, _| hostile::hollow(&query.question, u16::MAX)),
        ("malformed message: a name's pointer", |query, _| hostile::owner_loop(&query.question)),
    ];
    for (cause, change) in changes {
        for number in [0, 1, 3] {
            let one = changed(move |query, messages| {
                messages[number] = change(query, messages[number].clone());
            });
            assert_transfer_fails("", one, cause);
        }
    }
    let name_server = changed(|query, messages| {
        let looping = [Data::Other(2, vec![0xff, 0xff])];
        messages[1] = hostile::other_owner(&query.question, BLOCK_LIST, &looping);
    });
    assert_transfer_fails("", name_server, "malformed message: a name's pointer");
    let more = changed(|query, messages| {
        let last = messages.last().unwrap().clone();
        *messages.last_mut().unwrap() =
            hostile::other_owner(&query.question, BLOCK_LIST, &[Data::Soa(2), Data::Txt(vec![])]);
        messages.push(last);
    });
    assert_transfer_fails("", more, "the zone transfer goes on after the second SOA record");
}

#[test]
fn a_wrong_or_missing_signature_is_seen_at_each_message() {
    let count = {
        let server = PolicyServer::start(zone(1)).unwrap();
        let machine = transferring(&server, "LIST_FORMAT=axfr");
        let count = Arc::new(AtomicU32::new(0));
        let seen = count.clone();
        server.set_behaviour(move |query| {
            seen.fetch_max(query.messages().len() as u32, Ordering::SeqCst);
            Reply::Answer
        });
        assert_status(&tsfetch(&machine, &[]), 0);
        count.load(Ordering::SeqCst) as usize
    };
    assert!(count > 4, "{count}");
    let signed = |signature: Box<dyn Fn(usize) -> Signature + Send + Sync>| {
        move |query: &Query| Reply::Messages(key().sign(&query.message, &query.messages(), &*signature))
    };
    for wrong in 0..count {
        let one = move |number| if number == wrong { Signature::Wrong } else { Signature::Right };
        assert_transfer_fails("KEY", signed(Box::new(one)), "signature (TSIG) is wrong");
        // From here on nothing is signed: the first must be, and the last.
        let tail = move |number| if number < wrong { Signature::Right } else { Signature::None };
        let cause =
            if wrong == 0 { "is not signed (TSIG), the query was" } else { "the last message is not signed" };
        assert_transfer_fails("KEY", signed(Box::new(tail)), cause);
    }
}

#[test]
fn an_octet_a_second_gains_no_time() {
    let second = Duration::from_secs(1);
    // In an answer, in a transfer, and nothing at all. They wait at the same time.
    let behaviours: [fn(&Query) -> Reply; 3] = [
        |query| Reply::Slow { message: query.answer(), piece: 1, pause: Duration::from_secs(1) },
        |query| match query.question.rtype {
            252 => {
                let message = query.messages().remove(0);
                Reply::Slow { message, piece: 1, pause: Duration::from_secs(1) }
            }
            _ => Reply::Answer,
        },
        |_| Reply::Silence,
    ];
    let runs = behaviours.map(|behaviour| {
        let server = PolicyServer::start(zone(1)).unwrap();
        let machine = transferring(&server, "LIST_FORMAT=axfr");
        assert_status(&tsfetch(&machine, &[]), 0);
        let before = machine.snapshot(POLICY);
        server.set_policy(zone(2));
        server.set_behaviour(behaviour);
        let run = machine.program("tsfetch").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        (run, machine, before, server)
    });
    let start = std::time::Instant::now();
    for (run, machine, before, _server) in runs {
        let output = run.wait_with_output().unwrap();
        assert_status(&output, 1);
        assert!(words(&output).contains("no complete answer within 30 seconds"), "{}", words(&output));
        assert_eq!(machine.snapshot(POLICY), before);
    }
    // Each message is longer than 60 octets, and a second attempt would have 180 seconds.
    assert!(start.elapsed() < 60 * second, "{:?}", start.elapsed());
}
