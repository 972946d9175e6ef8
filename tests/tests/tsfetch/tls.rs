//! DNS over TLS: whom tsfetch believes, and what it says of the others.

use std::time::Instant;

use super::*;
use tests::log_server::Certificate;
use tests::tls_front::{Manner, TlsFront};

/// A machine that asks these servers over TLS and trusts the authorities of all of them.
fn secure(servers: &str, fronts: &[&TlsFront]) -> Machine {
    let machine = Machine::new();
    let authorities: String = fronts.iter().map(|front| front.ca_pem()).collect();
    machine.write("etc/ca.pem", authorities);
    let ca_file = machine.path("etc/ca.pem");
    machine.configure(&format!(
        "DNS_SERVERS=\"{servers}\"\nDNS_TLS=yes\nCA_FILE={}\nBLOCK_LIST={BLOCK_LIST}\nALLOW_LIST={ALLOW_LIST}\n",
        ca_file.display()
    ));
    machine
}

#[test]
fn by_name_and_by_address() {
    let server = PolicyServer::start(small()).unwrap();
    for (host, certificate, manner, wanted) in [
        ("localhost", Certificate::Good, Manner::Honest, "TLSv1_3 dot localhost"),
        ("LocalHost", Certificate::Good, Manner::Honest, "TLSv1_3 dot localhost"),
        ("127.0.0.1", Certificate::Good, Manner::Honest, "TLSv1_3 dot -"),
        ("127.0.0.1", Certificate::GoodSelfSigned, Manner::Honest, "TLSv1_3 dot -"),
        ("localhost", Certificate::Good, Manner::Older, "TLSv1_2 dot localhost"),
        // A server that ends connections without a word has had nothing to add.
        ("localhost", Certificate::Good, Manner::NoFarewell, "TLSv1_3 dot localhost"),
    ] {
        let front = TlsFront::start(server.port(), certificate, manner);
        let machine = secure(&format!("{host}:{}", front.port()), &[&front]);
        let output = tsfetch(&machine, &["-v"]);
        assert_status(&output, 0);
        assert!(output.stderr.is_empty(), "{}", words(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("Using DNS Server {host}:{}\n", front.port())), "{said}");
        assert_eq!(spooled(&machine, Block).len(), 4);
        assert_eq!(spooled(&machine, Allow), ["198.51.100.7/32"]);
        assert_eq!(front.negotiated(), [wanted], "one connection for all queries");
        let before = machine.snapshot(POLICY);
        assert_status(&tsfetch(&machine, &[]), 2);
        assert_eq!(machine.snapshot(POLICY), before);
        let output = tsfetch(&machine, &["-t"]);
        assert_status(&output, 0);
        assert!(words(&output).contains("is ready."), "{}", words(&output));
    }
    assert_eq!(server.malformed(), 0);
}

#[test]
fn pipelined_parts_in_any_order() {
    let block = generate::block(7, 3000);
    let mut policy = only_allow();
    policy.put_parts(BLOCK_LIST, &generate::listed(&block), 20);
    let server = PolicyServer::start(policy).unwrap();
    server.set_batch(8);
    let front = TlsFront::start(server.port(), Certificate::Good, Manner::Honest);
    let machine = secure(&format!("localhost:{}", front.port()), &[&front]);
    assert_status(&tsfetch(&machine, &[]), 0);
    let wanted: BTreeSet<String> = block.iter().map(ToString::to_string).collect();
    assert!(spooled(&machine, Block).into_iter().collect::<BTreeSet<_>>() == wanted);
}

/// What is said of a server in front of which TLS is like this; nothing may be asked there, and the next server is
/// tried: it is good. By itself it leaves the files as they are.
#[track_caller]
fn assert_distrusts(host: &str, certificate: Certificate, manner: Manner, cause: &str) {
    let (bad, good) = (PolicyServer::start(small()).unwrap(), PolicyServer::start(small()).unwrap());
    let front = TlsFront::start(bad.port(), certificate, manner);
    let good_front = TlsFront::start(good.port(), Certificate::Good, Manner::Honest);
    let at = format!("{host}:{}", front.port());
    let machine = secure(&format!("{at} localhost:{}", good_front.port()), &[&front, &good_front]);
    let output = tsfetch(&machine, &["-v"]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let place = if host == "localhost" { format!("{at} (127.0.0.1)") } else { at.clone() };
    let wanted = format!("\n{ALLOW_LIST} at {place}: {cause}");
    assert!(said.contains(&wanted), "wanted {wanted:?}: {said}");
    assert!(said.contains(&format!("Using DNS Server localhost:{}\n", good_front.port())), "{said}");
    assert_eq!(spooled(&machine, Block).len(), 4);

    good.set_policy(only_allow());
    let before = machine.snapshot(POLICY);
    machine.configure(&format!(
        "DNS_SERVERS={at}\nDNS_TLS=yes\nCA_FILE={}\nBLOCK_LIST={BLOCK_LIST}\n",
        machine.path("etc/ca.pem").display()
    ));
    let output = tsfetch(&machine, &[]);
    assert_status(&output, 1);
    let wanted = format!("tsfetch: {BLOCK_LIST} at {place}: {cause}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(&wanted), "{}", words(&output));
    let after = machine.snapshot(POLICY);
    let block = |files: &[(std::path::PathBuf, u64, Vec<u8>)]| {
        files.iter().find(|file| file.0.ends_with("block.pftable")).cloned().unwrap()
    };
    assert_eq!(block(&before), block(&after));
    let output = tsfetch(&machine, &["-t"]);
    assert_status(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(&wanted), "{}", words(&output));
    assert_eq!(bad.queries(), [], "nothing was asked of {certificate:?} {manner:?}");
}

#[test]
fn a_certificate_with_a_flaw_is_not_believed() {
    use Certificate::*;
    for (host, certificate, cause) in [
        (
            "localhost",
            Expired,
            "the server's certificate expired on Thu Dec 31 00:00:00 UTC 2020; is the clock right?",
        ),
        (
            "localhost",
            NotYetValid,
            "the server's certificate is not valid before Fri Jan  1 00:00:00 UTC 2100; is the clock right?",
        ),
        ("localhost", UnknownAuthority, "the server's certificate is signed by nobody in CA_FILE\n"),
        ("127.0.0.1", SelfSigned, "the server's certificate is signed by nobody in CA_FILE\n"),
        (
            "localhost",
            WrongName,
            "the server's certificate is for logs.example.net, 192.0.2.1, not for localhost, as DNS_SERVERS has it\n",
        ),
        (
            "127.0.0.1",
            WrongName,
            "the server's certificate is for logs.example.net, 192.0.2.1, not for 127.0.0.1, as DNS_SERVERS has it\n",
        ),
        ("localhost", ForClients, "the server's certificate is not for servers "),
        ("localhost", Forged, "the server's certificate has a wrong signature: it was changed, or "),
        (
            "localhost",
            Weak,
            "the server's certificate is signed with an algorithm that is too weak or not known\n",
        ),
        (
            "localhost",
            Authority,
            "the server's certificate is an authority's (CA:TRUE), not a server's (CA:FALSE)\n",
        ),
    ] {
        assert_distrusts(host, certificate, Manner::Honest, cause);
    }
}

#[test]
fn a_server_that_speaks_something_else_is_told_apart() {
    for (manner, cause) in [
        (
            Manner::CloseInHandshake,
            "the server closed the connection in the TLS handshake; is DNS over TLS served ",
        ),
        (Manner::Garbage, "the TLS connection broke: "),
        (
            Manner::Speaks("h2"),
            "the server speaks TLS, but not DNS over it; is DNS over TLS served on this port?",
        ),
        (Manner::WantsCertificate, "the server wants a certificate of its client, and tsfetch has none\n"),
    ] {
        assert_distrusts("localhost", Certificate::Good, manner, cause);
    }
}

/// With the limit of a run: it is 10 seconds.
#[test]
fn a_handshake_that_does_not_end_ends_at_its_limit() {
    let server = PolicyServer::start(small()).unwrap();
    // A server of plain DNS waits for the rest of what it takes for a long query.
    let plain = PolicyServer::start(small()).unwrap();
    let front = |manner| TlsFront::start(server.port(), Certificate::Good, manner);
    let fronts = [front(Manner::Stall), front(Manner::Slow(Duration::from_millis(500)))];
    let ports = [fronts[0].port(), fronts[1].port(), plain.port()];
    std::thread::scope(|scope| {
        for port in ports {
            let fronts = &fronts;
            scope.spawn(move || {
                let machine = secure(&format!("127.0.0.1:{port}"), &[&fronts[0]]);
                let start = Instant::now();
                let output = tsfetch(&machine, &["-t"]);
                assert_status(&output, 1);
                assert!(start.elapsed() >= Duration::from_secs(10), "given up before its time");
                let wanted = format!(
                    "tsfetch: {ALLOW_LIST} at 127.0.0.1:{port}: no TLS handshake within 10 seconds; \
                     is DNS over TLS served on this port? check DNS_PORT\n"
                );
                assert_eq!(String::from_utf8_lossy(&output.stderr), wanted);
            });
        }
    });
    assert_eq!((server.queries(), plain.queries()), (vec![], vec![]));
}

#[test]
fn a_broken_server_behind_tls_is_told_as_without() {
    let server = PolicyServer::start(small()).unwrap();
    for manner in [Manner::Honest, Manner::NoFarewell] {
        let front = TlsFront::start(server.port(), Certificate::Good, manner);
        let machine = secure(&format!("localhost:{}", front.port()), &[&front]);
        type Behaviour = fn(&Query) -> Reply;
        let behaviours: [(Behaviour, &str); 5] = [
            (|_| Reply::Close, "the server closed the connection before its last answer"),
            (
                |query| Reply::Broken(hostile::cut(&query.answer(), 9)),
                "the server closed the connection before its last answer",
            ),
            (|query| Reply::Message(hostile::wrong_id(query.answer())), "which was not asked"),
            (|query| Reply::Message(hostile::truncated(query.answer())), "truncated (TC)"),
            (
                |query| Reply::Message(hostile::not_an_answer(query.answer())),
                "a message that is no answer to a query",
            ),
        ];
        for (behaviour, cause) in behaviours {
            server.set_behaviour(behaviour);
            let output = tsfetch(&machine, &[]);
            assert_status(&output, 1);
            assert!(words(&output).contains(cause), "wanted {cause:?}: {}", words(&output));
            assert!(machine.snapshot(POLICY).is_empty());
        }
    }
}

#[test]
fn a_transfer_that_ends_early_fails_with_a_farewell_or_without() {
    let mut policy = Policy::new();
    policy.put_zone(BLOCK_LIST, 7);
    policy.put_apl(&format!("list.{BLOCK_LIST}"), &items("192.0.2.0/25"));
    policy.transfer_records = 1;
    let server = PolicyServer::start(policy).unwrap();
    for manner in [Manner::Honest, Manner::NoFarewell] {
        let front = TlsFront::start(server.port(), Certificate::Good, manner);
        let machine = secure(&format!("localhost:{}", front.port()), &[&front]);
        let settings = std::fs::read_to_string(machine.path("etc/threatstop.conf")).unwrap();
        machine.write("etc/threatstop.conf", settings.replace("ALLOW_LIST", "LIST_FORMAT=axfr\n#"));
        server.set_behaviour(|query| match query.messages() {
            mut messages if messages.len() > 1 => {
                messages.pop();
                Reply::Broken(messages.iter().flat_map(|message| hostile::framed(message)).collect())
            }
            _ => Reply::Answer,
        });
        let output = tsfetch(&machine, &[]);
        assert_status(&output, 1);
        let wanted = "the zone transfer ends without the second SOA record";
        assert!(words(&output).contains(wanted), "{}", words(&output));
        assert!(!machine.path(&format!("{POLICY}/block.pftable")).exists());
        server.set_behaviour(|_| Reply::Answer);
        assert_status(&tsfetch(&machine, &[]), 0);
        assert_eq!(spooled(&machine, Block), ["192.0.2.0/25"]);
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let machine = Machine::new();
    let check = |settings: &str| {
        let ca_file = machine.path("etc/ca.pem");
        machine.configure(&format!("BLOCK_LIST={BLOCK_LIST}\nCA_FILE={}\n{settings}\n", ca_file.display()));
        let output = tsfetch(&machine, &["-nv"]);
        (output.status.code(), words(&output))
    };
    let (status, said) = check("DNS_TLS=no");
    assert!(status == Some(0) && said.contains("\nDNS_PORT=\"53\"\nDNS_TLS=\"no\"\n"), "{said}");
    let (status, said) = check("DNS_TLS=yes");
    assert!(status == Some(1) && said.contains("etc/ca.pem: No such file or directory\n"), "{said}");
    machine.write("etc/ca.pem", "no certificate\n");
    let (status, said) = check("DNS_TLS=yes");
    assert!(status == Some(1) && said.contains("etc/ca.pem: holds no certificate; CA_FILE names"), "{said}");
    let front = TlsFront::start(1, Certificate::Good, Manner::Honest);
    machine.write("etc/ca.pem", front.ca_pem());
    let (status, said) = check("DNS_TLS=yes");
    assert!(status == Some(0) && said.contains("\nDNS_PORT=\"853\"\nDNS_TLS=\"yes\"\n"), "{said}");
    assert!(said.contains("DNS_SERVERS=\"ts-dns.threatstop.com:853\""), "{said}");
    let (status, said) = check("DNS_TLS=yes\nDNS_PORT=53");
    assert!(status == Some(1) && said.contains("DNS_TLS: DNS over TLS is never on port 53; "), "{said}");
    let (status, said) = check("DNS_PORT=853");
    assert!(status == Some(1) && said.contains("DNS_TLS: port 853 is for DNS over TLS only; "), "{said}");
    // Who may write the file decides who is trusted.
    use std::os::unix::fs::PermissionsExt;
    let ca_file = machine.path("etc/ca.pem");
    std::fs::set_permissions(&ca_file, std::fs::Permissions::from_mode(0o664)).unwrap();
    let (status, said) = check("DNS_TLS=yes");
    assert!(status == Some(1) && said.contains("group or others may write it"), "{said}");
}
