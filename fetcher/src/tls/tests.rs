use super::*;
use crate::chunk::Chunk;
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::limits::{Attempt, Limits};
use crate::server::Server;
use crate::testing::{APL, at, hosts, name, question, reply, serve};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{AlgorithmIdentifier, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ServerConfig, ServerConnection};
use rustls::{ContentType, InvalidMessage, PeerIncompatible};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

type ServerTls = StreamOwned<ServerConnection, TcpStream>;

/// A certificate for 127.0.0.1, ::1 and ns.example: what trusts it, and a server that has it.
fn identity() -> (Credentials, Arc<ServerConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1", "::1", "ns.example"].map(str::to_owned)).unwrap();
    let tls = Tls::new(Path::new("ca.pem"), cert.pem().as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into(),
        )
        .unwrap();
    (Credentials { key: None, tls: Some(tls) }, Arc::new(server))
}

/// Asks a server of TLS for the APL records of `list.example`.
fn ask(handler: impl FnOnce(ServerTls) + Send + 'static) -> Result<Vec<Chunk>, Failure> {
    ask_as("127.0.0.1", handler)
}

/// The same of a server that is configured like this.
fn ask_as(host: &str, handler: impl FnOnce(ServerTls) + Send + 'static) -> Result<Vec<Chunk>, Failure> {
    ask_within(&Limits::default(), host, handler)
}

/// The same with these limits.
fn ask_within(
    limits: &Limits,
    host: &str,
    handler: impl FnOnce(ServerTls) + Send + 'static,
) -> Result<Vec<Chunk>, Failure> {
    let (credentials, config) = identity();
    let (address, thread) = serve(vec![Box::new(move |tcp| {
        handler(StreamOwned::new(ServerConnection::new(config).unwrap(), tcp));
    })]);
    let server = Server { host: host.to_owned(), ..at(address) };
    let attempt = Attempt::begin(limits, Instant::now() + limits.run);
    let result = Connection::open(&server, &credentials, limits, attempt)
        .and_then(|mut connection| connection.ask(&name("list.example"), &[question("list.example", APL)]));
    thread.join().unwrap();
    result
}

/// Reads a query and returns the framed answer to it.
fn answer(tls: &mut ServerTls) -> Vec<u8> {
    let mut length = [0; 2];
    tls.read_exact(&mut length).unwrap();
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    tls.read_exact(&mut query).unwrap();
    let message = reply(&query, 0, &[(APL, hosts(0..5000))]);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

#[test]
fn an_answer_comes_over_several_records() {
    let chunks = ask(|mut tls| {
        let message = answer(&mut tls);
        for piece in message.chunks(999) {
            tls.write_all(piece).unwrap();
            tls.flush().unwrap();
        }
    });
    assert_eq!(chunks.unwrap()[0].entries(), 5000);
}

#[test]
fn a_certificate_is_for_a_name_or_an_address() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    for host in ["ns.example", "NS.example.", "127.0.0.1", "::1"] {
        let seen = asked.clone();
        let chunks = ask_as(host, move |mut tls| {
            let message = answer(&mut tls);
            seen.lock().unwrap().push(tls.conn.server_name().map(str::to_owned));
            tls.write_all(&message).unwrap();
        });
        assert_eq!(chunks.unwrap().len(), 1, "{host}");
    }
    let name = Some("ns.example".to_owned());
    assert_eq!(*asked.lock().unwrap(), [name.clone(), name, None, None]);
}

#[test]
fn every_query_has_a_record_of_its_own() {
    let (credentials, config) = identity();
    let handler = |mut tcp: TcpStream| {
        let mut tls = ServerConnection::new(config).unwrap();
        let mut number = 0;
        while number < 5 {
            let mut record = vec![0; 5];
            tcp.read_exact(&mut record).unwrap();
            record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
            tcp.read_exact(&mut record[5..]).unwrap();
            tls.read_tls(&mut record.as_slice()).unwrap();
            let size = tls.process_new_packets().unwrap().plaintext_bytes_to_read();
            while tls.wants_write() {
                tls.write_tls(&mut tcp).unwrap();
            }
            // The first ones are the handshake's.
            if size > 0 {
                let mut query = vec![0; size];
                tls.reader().read_exact(&mut query).unwrap();
                assert_eq!(usize::from(u16::from_be_bytes([query[0], query[1]])), size - 2);
                assert_eq!(crate::testing::asked(&query[2..]).0, format!("n{number}.example"));
                number += 1;
            }
        }
    };
    let (address, thread) = serve(vec![Box::new(handler)]);
    let limits = Limits::default();
    let attempt = Attempt::begin(&limits, Instant::now() + limits.run);
    let mut connection = Connection::open(&at(address), &credentials, &limits, attempt).unwrap();
    let questions: Vec<_> = (0..5).map(|number| question(&format!("n{number}.example"), APL)).collect();
    assert_eq!(connection.ask(&name("n0.example"), &questions), Err(Failure::Closed));
    thread.join().unwrap();
}

#[test]
fn an_end_is_an_end_with_a_farewell_or_without() {
    for (farewell, cut) in [(true, 0), (false, 0), (true, 700), (false, 700)] {
        let result = ask(move |mut tls| {
            let message = answer(&mut tls);
            tls.write_all(&message[..cut]).unwrap();
            if farewell {
                tls.conn.send_close_notify();
            }
            tls.flush().unwrap();
        });
        assert_eq!(result, Err(Failure::Closed), "{farewell} {cut}");
    }
}

#[test]
fn records_of_an_octet_now_and_then_do_not_stretch_the_limit() {
    let limits = Limits { silence: Duration::from_millis(300), ..Limits::default() };
    let result = ask_within(&limits, "127.0.0.1", |mut tls| {
        let message = answer(&mut tls);
        // The last 50 octets take a second: within the time for a connection, but not within this.
        let (first, last) = message.split_at(message.len() - 50);
        tls.write_all(first).unwrap();
        for octet in last {
            if tls.write_all(&[*octet]).and_then(|()| tls.flush()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(result, Err(Failure::Silence(limits.silence)));
}

#[test]
fn octets_that_are_no_tls_break_it() {
    let result = ask(|mut tls| {
        answer(&mut tls);
        tls.sock.write_all(&[0; 60]).unwrap();
        let _ = tls.sock.read(&mut [0; 100]);
    });
    let failure = result.unwrap_err();
    assert!(failure.to_string().starts_with("the TLS connection broke: "), "{failure}");
    assert!(!failure.is_end_of_connection() && failure.is_the_servers());
}

/// Opens a connection to a server that reads the client's first message and goes on like this.
fn open(limits: &Limits, run: Duration, handler: impl FnOnce(TcpStream) + Send + 'static) -> Failure {
    let (address, thread) = serve(vec![Box::new(|mut tcp: TcpStream| {
        let mut header = [0; 5];
        tcp.read_exact(&mut header).unwrap();
        assert_eq!(header[0], 22, "a handshake");
        tcp.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))]).unwrap();
        handler(tcp);
    })]);
    let attempt = Attempt::begin(limits, Instant::now() + run);
    let failure = Connection::open(&at(address), &identity().0, limits, attempt).unwrap_err();
    thread.join().unwrap();
    failure
}

#[test]
fn the_handshake_must_be_done_when_the_connection_must() {
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let silent = |mut tcp: TcpStream| assert!(tcp.read(&mut [0]).is_ok_and(|read| read == 0));
    assert_eq!(open(&limits, limits.run, silent), Failure::HandshakeTime(limits.connect));
    // A record of handshake that is announced, and comes in single octets within the limit.
    let slow = |mut tcp: TcpStream| {
        for octet in [22, 3, 3, 0x40, 0].into_iter().chain(std::iter::repeat_n(2, 1000)) {
            std::thread::sleep(Duration::from_millis(10));
            if tcp.write_all(&[octet]).is_err() {
                return;
            }
        }
        panic!("all of it was read");
    };
    assert_eq!(open(&limits, limits.run, slow), Failure::HandshakeTime(limits.connect));
    // The run's time is over first.
    let limits = Limits { run: Duration::from_millis(300), ..Limits::default() };
    assert_eq!(open(&limits, limits.run, silent), Failure::RunTime(limits.run));
}

#[test]
fn what_does_not_speak_tls_is_told_so() {
    for (says, wanted) in [
        (&b""[..], "the server closed the connection in the TLS handshake; "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server does not speak TLS; "),
        (b"\0\x0c\0\x01\x80\x01\0\0\0\0\0\0\0\0", "the server does not speak TLS; "),
        (b"\x15\x03\x03\0\x02\x02\x46", "the server speaks no version of TLS that tsfetch does (1.2 or 1.3)"),
        (b"\x15\x03\x03\0\x02\x02\x28", "the server has no cipher of TLS in common with tsfetch"),
        (b"\x15\x03\x03\0\x02\x02\x50", "the server broke TLS off (alert InternalError)"),
    ] {
        let failure = open(&Limits::default(), Limits::default().run, move |mut tcp| {
            tcp.write_all(says).unwrap();
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
            while tcp.read(&mut [0; 100]).is_ok_and(|read| read > 0) {}
        });
        assert!(failure.to_string().starts_with(wanted), "{failure}");
        assert!(failure.is_the_servers());
    }
}

#[test]
fn every_flaw_of_a_certificate_has_its_words() {
    let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithm = || vec![0x2a];
    let name = |name: &str| ServerName::try_from(name.to_owned()).unwrap();
    let presented = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let supported: Vec<AlgorithmIdentifier> = Vec::new();
    for (flaw, wanted) in [
        (
            CertificateError::ExpiredContext { time: time(2_000_000_000), not_after: time(1_609_416_000) },
            "expired on Thu Dec 31 ",
        ),
        (
            CertificateError::NotValidYetContext { time: time(0), not_before: time(1_609_416_000) },
            "is not valid before Thu Dec 31 ",
        ),
        (CertificateError::UnknownIssuer, "is signed by nobody in CA_FILE"),
        (
            CertificateError::NotValidForNameContext {
                expected: name("192.0.2.1"),
                presented: presented(&["DnsName(\"*.example\")", "IpAddress(2001:db8::1)", "odd"]),
            },
            "is for *.example, 2001:db8::1, odd, not for 192.0.2.1, as DNS_SERVERS has it",
        ),
        (
            CertificateError::NotValidForNameContext { expected: name("a.example"), presented: Vec::new() },
            "is for no name at all, not for a.example, as DNS_SERVERS has it",
        ),
        (CertificateError::BadEncoding, "is damaged"),
        (CertificateError::BadSignature, "has a wrong signature: "),
        (CertificateError::Revoked, "was revoked"),
        (
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: algorithm(),
                supported_algorithms: supported,
            },
            "is signed with an algorithm that is too weak or not known",
        ),
        (
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: algorithm(),
                public_key_algorithm_id: algorithm(),
            },
            "is signed with an algorithm that is too weak or not known",
        ),
        (CertificateError::UnhandledCriticalExtension, "is not to be trusted: UnhandledCriticalExtension"),
    ] {
        let said = words(&rustls::Error::InvalidCertificate(flaw));
        assert!(said.starts_with(&format!("the server's certificate {wanted}")), "{said}");
    }
}

#[test]
fn what_a_server_puts_in_has_an_end() {
    let many: Vec<String> = (0..10_000).map(|number| format!("DnsName(\"é{number}.example\")")).collect();
    assert_eq!(names(&many).chars().count(), MAX_NAMES + 1);
    assert!(names(&many).ends_with('…') && names(&many).starts_with("é0.example, é1.example, "));
}

#[test]
fn other_faults_have_words_too() {
    let broke = |error: rustls::Error| failure(&io::Error::other(error)).unwrap();
    let alert = |alert| rustls::Error::AlertReceived(alert);
    assert_eq!(
        broke(alert(AlertDescription::CertificateRequired)),
        "the server wants a certificate of its client, and tsfetch has none"
    );
    assert!(broke(alert(AlertDescription::NoApplicationProtocol)).contains("but not DNS over it"));
    assert!(broke(alert(AlertDescription::UnrecognisedName)).contains("DNS_SERVERS (UnrecognisedName)"));
    assert!(broke(rustls::Error::DecryptError).starts_with("the TLS connection broke: "));
    assert!(failure(&io::Error::other("something else")).is_none());
    let incompatible = rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled);
    assert!(words(&incompatible).starts_with("the server has no version or cipher of TLS in common"));
    let strange = rustls::Error::InappropriateMessage {
        expect_types: vec![ContentType::Handshake],
        got_type: ContentType::ApplicationData,
    };
    assert!(words(&strange).starts_with("the TLS handshake failed: "));
    assert!(words(&rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)).contains(CHECK));
}

#[test]
fn a_file_without_certificates_is_refused() {
    let refused = |pem: &str| Tls::new(Path::new("/etc/ca.pem"), pem.as_bytes()).unwrap_err().to_string();
    let none = "/etc/ca.pem: holds no certificate; CA_FILE names the authorities that are trusted, in PEM";
    let block =
        |kind: &str, content: &str| format!("-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n");
    for pem in ["", "certificates, one day\n", &block("PRIVATE KEY", "AAAA"), &block("CERTIFICATE", "AAAA")] {
        assert_eq!(refused(pem), none);
    }
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for pem in [cut, &block("CERTIFICATE", "AA*A")] {
        let said = refused(pem);
        assert!(said.starts_with("/etc/ca.pem: damaged, not a file of certificates in PEM: "), "{said}");
    }
    // What is not known to us does no harm beside what is.
    let good = generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap().cert.pem();
    assert!(
        Tls::new(Path::new("ca.pem"), format!("words\n{}{good}", block("CERTIFICATE", "AAAA")).as_bytes())
            .is_ok()
    );
    assert!(refused(&format!("{good}{cut}")).contains("damaged"));
}

#[test]
fn a_name_that_no_certificate_can_have_is_a_failure() {
    let (credentials, _) = identity();
    let (address, thread) = serve(vec![Box::new(|mut tcp: TcpStream| {
        assert!(tcp.read(&mut [0]).is_ok_and(|read| read == 0));
    })]);
    let server = Server { host: "not..a.name".to_owned(), ..at(address) };
    let limits = Limits::default();
    let attempt = Attempt::begin(&limits, Instant::now() + limits.run);
    let open = Connection::open(&server, &credentials, &limits, attempt);
    let wanted = "no certificate can be for the name that the server has in DNS_SERVERS";
    assert_eq!(open.unwrap_err(), Failure::Tls(wanted.to_owned()));
    thread.join().unwrap();
}
