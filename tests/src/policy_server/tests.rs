use super::wire::{A, AAAA, APL, NXDOMAIN, PTR, REFUSED, SERVFAIL, SOA, TXT};
use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpStream};
use std::time::Duration;

const LIST: &str = "block.org.threatstop.local";

fn policy() -> Policy {
    let mut policy = Policy::new();
    policy.put_parts(LIST, &generate::listed(&generate::block(1, 20)), 10);
    policy
}

fn query(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let mut message = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn connect(server: &PolicyServer) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap()
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn ask(stream: &mut TcpStream, message: &[u8]) -> Vec<u8> {
    stream.write_all(&hostile::framed(message)).unwrap();
    receive(stream)
}

/// Everything up to the end of the connection. A second query follows at once: unread at the server's end, it must not
/// turn that end into a reset.
fn ask_to_end(server: &PolicyServer, message: &[u8]) -> Vec<u8> {
    let mut stream = connect(server);
    stream.write_all(&[hostile::framed(message), hostile::framed(message)].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    octets
}

#[test]
fn answers_in_order_on_one_connection() {
    let server = PolicyServer::start(policy()).unwrap();
    let mut stream = connect(&server);
    let pipelined: Vec<u8> =
        (0..9).flat_map(|id| hostile::framed(&query(id, &format!("p{}.{LIST}", id % 3), APL))).collect();
    stream.write_all(&pipelined).unwrap();
    for id in 0..9 {
        let answer = receive(&mut stream);
        assert_eq!(answer[..2], u16::to_be_bytes(id));
        assert_eq!(answer[3] & 0x0f, if id % 3 == 2 { NXDOMAIN } else { 0 });
    }
    let answer = ask(&mut stream, &query(77, LIST, PTR));
    assert_eq!(answer[4..8], [0, 1, 0, 2]);
    assert_eq!((server.connections(), server.queries().len(), server.malformed()), (1, 10, 0));
    assert_eq!(server.queries()[9], (LIST.to_owned(), PTR));
}

#[test]
fn a_batch_is_answered_last_first() {
    let server = PolicyServer::start(policy()).unwrap();
    server.set_batch(3);
    let mut stream = connect(&server);
    let pipelined: Vec<u8> = (0..4).flat_map(|id| hostile::framed(&query(id, LIST, PTR))).collect();
    stream.write_all(&pipelined).unwrap();
    let ids: Vec<u8> = (0..4).map(|_| receive(&mut stream)[1]).collect();
    assert_eq!(ids, [2, 1, 0, 3]);
}

#[test]
fn a_new_policy_and_behaviour_hold_from_the_next_query() {
    let server = PolicyServer::start(policy()).unwrap();
    let mut stream = connect(&server);
    assert_eq!(ask(&mut stream, &query(1, LIST, PTR))[3], 0);
    server.set_policy(Policy::new());
    assert_eq!(ask(&mut stream, &query(1, LIST, PTR))[3], NXDOMAIN);
    server.set_behaviour(|query| match query.number {
        2 => Reply::Message(hostile::rcode(&query.question, REFUSED)),
        3 => Reply::Message(hostile::rcode(&query.question, SERVFAIL)),
        _ => Reply::Answer,
    });
    let rcodes: Vec<u8> = (0..3).map(|_| ask(&mut stream, &query(1, LIST, PTR))[3]).collect();
    assert_eq!(rcodes, [REFUSED, SERVFAIL, NXDOMAIN]);
}

#[test]
fn what_is_no_query_gets_formerr() {
    let server = PolicyServer::start(policy()).unwrap();
    let mut stream = connect(&server);
    assert_eq!(ask(&mut stream, &[0xab, 0xcd, 9]), [0xab, 0xcd, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(server.malformed(), 1);
    assert_eq!(ask_to_end(&server, &[1]), []);
}

#[test]
fn broken_answers_end_where_they_should() {
    let server = PolicyServer::start(policy()).unwrap();
    let whole = ask(&mut connect(&server), &query(5, LIST, PTR));
    for length in 0..whole.len() + 2 {
        server.set_behaviour(move |query| Reply::Broken(hostile::cut(&query.answer(), length)));
        assert_eq!(ask_to_end(&server, &query(5, LIST, PTR)), hostile::framed(&whole)[..length]);
    }
    server.set_behaviour(|query| Reply::Broken(hostile::short_frame(&query.answer(), 10)));
    assert_eq!(ask_to_end(&server, &query(5, LIST, PTR))[2..], whole);
    server.set_behaviour(|_| Reply::Close);
    assert_eq!(ask_to_end(&server, &query(5, LIST, PTR)), []);
}

#[test]
fn slow_answers_are_whole() {
    let server = PolicyServer::start(policy()).unwrap();
    let whole = ask(&mut connect(&server), &query(5, LIST, PTR));
    for piece in [1, 7, usize::MAX] {
        server.set_behaviour(move |query| Reply::Slow {
            message: query.answer(),
            piece,
            pause: Duration::from_millis(1),
        });
        assert_eq!(ask(&mut connect(&server), &query(5, LIST, PTR)), whole);
    }
}

#[test]
fn ends_at_once_whatever_the_clients_do() {
    let server = PolicyServer::start(policy()).unwrap();
    server.set_behaviour(|query| match query.question.id {
        1 => Reply::Silence,
        2 => Reply::Slow { message: query.answer(), piece: 1, pause: Duration::MAX },
        3 => Reply::Close,
        _ => Reply::Answer,
    });
    let mut streams: Vec<TcpStream> = (0..6).map(|_| connect(&server)).collect();
    for (id, stream) in streams.iter_mut().enumerate().take(4) {
        stream.write_all(&hostile::framed(&query(id as u16, LIST, PTR))).unwrap();
    }
    // One is in the middle of a query, one never sends anything, and one never reads what it asked for.
    streams[4].write_all(&[0, 200, 1]).unwrap();
    let mut greedy = connect(&server);
    greedy.set_nonblocking(true).unwrap();
    while greedy.write_all(&hostile::framed(&query(9, LIST, PTR))).is_ok() {}
    while server.queries().len() < 5 {
        std::thread::yield_now();
    }
    drop(server);
    for stream in &mut streams[1..] {
        let mut rest = Vec::new();
        // Ended or reset, but not waiting.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, []);
    }
}

#[test]
fn listens_on_both_addresses_if_told() {
    let server = match PolicyServer::start_dual(policy()) {
        Err(error)
            if TcpStream::connect((Ipv6Addr::LOCALHOST, 9))
                .is_err_and(|e| e.kind() != io::ErrorKind::ConnectionRefused) =>
        {
            println!("skipped: needs IPv6: {error}");
            return;
        }
        server => server.unwrap(),
    };
    let mut four = connect(&server);
    let mut six = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port())).unwrap();
    assert_eq!(ask(&mut four, &query(1, LIST, PTR)), ask(&mut six, &query(1, LIST, PTR)));
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_real_decoder_reads_every_type() {
    for style in [Style { compress: true, trim: true }, Style { compress: false, trim: false }] {
        let mut policy = policy();
        policy.style = style;
        policy.put_zone("org.threatstop.local", 2_026_112_101);
        policy.put_txt("txt.org.threatstop.local", &[&["192.0.2.0/24", "2001:db8::/32"], &["198.51.100.7"]]);
        policy.put_addresses(
            "a.threatstop.local",
            &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        );
        let server = PolicyServer::start(policy).unwrap();
        let mut stream = connect(&server);
        let mut read = |name: &str, rtype| {
            let message =
                hickory_proto::op::Message::from_vec(&ask(&mut stream, &query(1, name, rtype))).unwrap();
            let records = message.answers.iter().chain(&message.authorities);
            records.map(|record| format!("{} {}", record.name, record.data)).collect::<Vec<_>>()
        };
        let soa = "org.threatstop.local. ns.org.threatstop.local. hostmaster.org.threatstop.local. 2026112101 3600 600 86400 60";
        assert_eq!(read("org.threatstop.local", SOA), [soa]);
        assert_eq!(read(LIST, SOA), [soa]);
        assert_eq!(read(LIST, PTR), [0, 1].map(|part| format!("{LIST}. p{part}.{LIST}.")));
        assert_eq!(read("a.threatstop.local", A), ["a.threatstop.local. 192.0.2.1"]);
        assert_eq!(read("a.threatstop.local", AAAA), ["a.threatstop.local. 2001:db8::1"]);
        assert_eq!(read(&format!("p1.{LIST}"), APL).len(), 1);
        let txt = ["192.0.2.0/242001:db8::/32", "198.51.100.7"];
        assert_eq!(
            read("txt.org.threatstop.local", TXT),
            txt.map(|text| format!("txt.org.threatstop.local. {text}"))
        );
    }
}
