use super::*;
use crate::testing::{APL, NONE, answering, at, hosts, name, question, receive, reply, send, serve};
use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

type Handler = Box<dyn FnOnce(TcpStream) + Send>;

/// Limits for what shall happen; nothing that is shall wait for them.
fn long() -> Limits {
    Limits::default()
}

/// Limits for a server that shall be given up.
fn short() -> Limits {
    Limits { silence: Duration::from_millis(200), ..Limits::default() }
}

/// An attempt in a run that begins now.
fn attempt(limits: &Limits) -> Attempt {
    Attempt::begin(limits, Instant::now() + limits.run)
}

/// Asks for the APL records of `n0.example`, `n1.example`, … of the list `n0.example`.
fn ask(handler: Handler, limits: &Limits, count: usize) -> Result<Vec<Chunk>, Failure> {
    let (address, server) = serve(vec![handler]);
    let mut connection = Connection::open(&at(address), &NONE, limits, attempt(limits))?;
    let questions: Vec<Query> =
        (0..count).map(|number| question(&format!("n{number}.example"), APL)).collect();
    let result = connection.ask(&name("n0.example"), &questions);
    drop(connection);
    server.join().unwrap();
    result
}

fn number(query: &[u8]) -> u32 {
    let (text, _) = crate::testing::asked(query);
    text.trim_start_matches('n').trim_end_matches(".example").parse().unwrap()
}

fn good(query: &[u8]) -> Vec<u8> {
    let number = number(query);
    reply(query, 0, &[(APL, hosts(number..number + 1))])
}

#[test]
fn answers_in_any_order_belong_to_their_questions() {
    let handler = |mut stream: TcpStream| {
        let mut queries = Vec::new();
        // As many as there are at the same time, answered backwards, then the rest.
        for _ in 0..8 {
            queries.push(receive(&mut stream).unwrap());
        }
        for query in queries.iter().rev() {
            send(&mut stream, &good(query));
        }
        while let Some(query) = receive(&mut stream) {
            send(&mut stream, &good(&query));
        }
    };
    let limits = Limits { in_flight: 8, ..long() };
    let chunks = ask(Box::new(handler), &limits, 100).unwrap();
    let found: Vec<String> = chunks.iter().map(|chunk| chunk.positive[0].to_string()).collect();
    let expected: Vec<String> = (0..100).map(|number| format!("10.0.0.{number}/32")).collect();
    assert_eq!(found, expected);
}

#[test]
fn no_more_queries_wait_than_the_limit() {
    let handler = |mut stream: TcpStream| {
        for _ in 0..5 {
            receive(&mut stream).unwrap();
        }
        // Nothing is answered, so nothing more may come.
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(receive(&mut stream), None);
    };
    let limits = Limits { in_flight: 5, ..long() };
    assert_eq!(ask(Box::new(handler), &limits, 50), Err(Failure::Closed));
}

#[test]
fn a_message_in_single_octets_is_read() {
    let handler = |mut stream: TcpStream| {
        let query = receive(&mut stream).unwrap();
        let message = good(&query);
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        for octet in framed {
            stream.write_all(&[octet]).unwrap();
        }
    };
    assert_eq!(ask(Box::new(handler), &long(), 1).unwrap()[0].entries(), 1);
}

#[test]
fn cut_anywhere_it_is_a_closed_connection() {
    let length = good(&answer::ask(1, &question("n0.example", APL)).unwrap()).len();
    for cut in 0..length + 2 {
        let handler = move |mut stream: TcpStream| {
            let query = receive(&mut stream).unwrap();
            let message = good(&query);
            let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            stream.write_all(&framed[..cut]).unwrap();
        };
        assert_eq!(ask(Box::new(handler), &long(), 1), Err(Failure::Closed), "{cut}");
    }
}

#[test]
fn a_list_of_which_an_answer_is_missing_fails() {
    let handler = |mut stream: TcpStream| {
        for _ in 0..2 {
            let query = receive(&mut stream).unwrap();
            send(&mut stream, &good(&query));
        }
        receive(&mut stream).unwrap();
    };
    assert_eq!(ask(Box::new(handler), &long(), 3), Err(Failure::Closed));
}

#[test]
fn an_answer_that_was_not_asked_for_ends_it() {
    let handler = |mut stream: TcpStream| {
        let mut query = receive(&mut stream).unwrap();
        query[0] ^= 0x80;
        send(&mut stream, &good(&query));
    };
    assert!(matches!(ask(Box::new(handler), &long(), 1), Err(Failure::WrongId(_))));
    // The same answer twice: the id is no longer waited with.
    let twice = |mut stream: TcpStream| {
        let query = receive(&mut stream).unwrap();
        send(&mut stream, &good(&query));
        send(&mut stream, &good(&query));
        receive(&mut stream);
    };
    assert!(matches!(ask(Box::new(twice), &long(), 2), Err(Failure::WrongId(_))));
    // The right id with the question of another query.
    let crossed = |mut stream: TcpStream| {
        let (first, second) = (receive(&mut stream).unwrap(), receive(&mut stream).unwrap());
        let mut message = good(&second);
        message[..2].copy_from_slice(&first[..2]);
        send(&mut stream, &message);
    };
    assert_eq!(ask(Box::new(crossed), &long(), 2), Err(Failure::WrongQuestion));
}

#[test]
fn ids_are_not_those_of_another_connection() {
    let ids: HashSet<u16> = (0..8)
        .map(|_| {
            let (sender, receiver) = channel();
            let handler = move |mut stream: TcpStream| {
                let query = receive(&mut stream).unwrap();
                sender.send(answer::id(&query).unwrap()).unwrap();
            };
            let _ = ask(Box::new(handler), &long(), 1);
            receiver.recv().unwrap()
        })
        .collect();
    // By chance two may be the same, but not eight.
    assert!(ids.len() > 1, "{ids:?}");
}

#[test]
fn rubbish_is_malformed() {
    for rubbish in [&b""[..], b"x", b"xx", &[0xff; 40]] {
        let handler = move |mut stream: TcpStream| {
            let mut query = receive(&mut stream).unwrap();
            query.truncate(2);
            query.extend_from_slice(rubbish);
            send(&mut stream, if rubbish.len() < 2 { rubbish } else { &query });
        };
        let failure = ask(Box::new(handler), &long(), 1).unwrap_err();
        assert!(matches!(failure, Failure::Malformed(_) | Failure::NotAnAnswer), "{failure}");
    }
}

#[test]
fn silence_ends_at_its_limit() {
    let handler = |mut stream: TcpStream| while receive(&mut stream).is_some() {};
    let limits = short();
    assert_eq!(ask(Box::new(handler), &limits, 2), Err(Failure::Silence(limits.silence)));
}

#[test]
fn an_octet_now_and_then_does_not_stretch_the_limit() {
    let handler = |mut stream: TcpStream| {
        let query = receive(&mut stream).unwrap();
        let message = good(&query);
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        // 53 octets, 20 ms apart: each well within the limit, all together beyond it.
        for octet in framed {
            std::thread::sleep(Duration::from_millis(20));
            if stream.write_all(&[octet]).is_err() {
                return;
            }
        }
    };
    let limits = short();
    assert_eq!(ask(Box::new(handler), &limits, 1), Err(Failure::Silence(limits.silence)));
}

#[test]
fn the_run_ends_at_its_limit_though_answers_come() {
    let handler = |mut stream: TcpStream| {
        while let Some(query) = receive(&mut stream) {
            std::thread::sleep(Duration::from_millis(20));
            send(&mut stream, &good(&query));
        }
    };
    let limits = Limits { run: Duration::from_millis(300), ..long() };
    assert_eq!(ask(Box::new(handler), &limits, 1000), Err(Failure::RunTime(limits.run)));
    let past = Attempt::begin(&limits, Instant::now());
    let address = "127.0.0.1:1".parse().unwrap();
    assert_eq!(
        Connection::open(&at(address), &NONE, &limits, past).unwrap_err(),
        Failure::RunTime(limits.run)
    );
}

#[test]
fn an_attempt_ends_at_its_limit_and_another_can_begin() {
    let (address, server) = serve(vec![answering(|_, _| (0, vec![(APL, hosts(0..3))]))]);
    let limits = long();
    let mut connection = Connection::open(&at(address), &NONE, &limits, attempt(&limits)).unwrap();
    let (list, questions) = (name("n0.example"), [question("n0.example", APL)]);
    assert!(connection.ask(&list, &questions).is_ok());
    connection.attempt.ends = Instant::now();
    assert_eq!(connection.ask(&list, &questions), Err(Failure::AttemptTime(limits.attempt)));
    connection.begin(attempt(&limits));
    assert!(connection.ask(&list, &questions).is_ok());
    drop(connection);
    server.join().unwrap();
}

#[test]
fn a_port_that_nobody_listens_on_is_said() {
    let address = "127.0.0.1:1".parse().unwrap();
    let failure = Connection::open(&at(address), &NONE, &long(), attempt(&long())).unwrap_err();
    assert_eq!(failure, Failure::NotConnected("Connection refused".to_owned()));
}

#[test]
fn a_name_that_may_be_missing_has_no_data_and_no_other_failure_is_taken_for_that() {
    let (address, server) = serve(vec![answering(|name, _| match name {
        "there.example" => (0, vec![(APL, hosts(0..1))]),
        "missing.example" => (3, vec![]),
        _ => (2, vec![]),
    })]);
    let mut connection = Connection::open(&at(address), &NONE, &long(), attempt(&long())).unwrap();
    let list = name("there.example");
    let both = ["there.example", "missing.example"].map(|name| question(name, APL));
    let chunks = connection.look(&list, &both).unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.records).collect::<Vec<_>>(), [1, 0]);
    let failure = connection.look(&list, &[question("failing.example", APL)]).unwrap_err();
    assert_eq!(failure, Failure::Part("failing.example".to_owned(), Box::new(Failure::ServerFailure)));
    drop(connection);
    server.join().unwrap();
}

#[test]
fn a_connection_serves_one_list_after_the_other() {
    let (address, server) = serve(vec![answering(|_, _| (0, vec![(APL, hosts(0..3))]))]);
    let mut connection = Connection::open(&at(address), &NONE, &long(), attempt(&long())).unwrap();
    for list in ["a.example", "b.example"] {
        let chunks = connection.ask(&name(list), &[question(list, APL)]).unwrap();
        assert_eq!(chunks[0].entries(), 3);
        assert_eq!(connection.ask(&name(list), &[]).unwrap(), []);
    }
    drop(connection);
    server.join().unwrap();
}
