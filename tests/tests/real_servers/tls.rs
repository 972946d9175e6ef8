//! DNS over TLS with the servers that have it: what depends on the transport, over it.

use std::os::unix::fs::PermissionsExt;

use tests::log_server::Certificate;
use tests::name_server::{Transfer, TsigKey};

use super::*;

const KEY: TsigKey = TsigKey {
    name: "fleet.example",
    algorithm: "hmac-sha256",
    secret: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
};

/// Servers of every kind that has DNS over TLS.
fn servers(zone: &Zone, certificate: Certificate, transfer: Transfer) -> Vec<NameServer> {
    let options = Options { tls: Some(certificate), transfer, ..Options::default() };
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.serves_tls());
    kinds.filter_map(|kind| NameServer::start(kind, std::slice::from_ref(zone), &options)).collect()
}

/// A machine that asks a server over TLS, by name or address.
fn secure(server: &NameServer, host: &str, settings: &str) -> Machine {
    let machine = Machine::new();
    machine.write("etc/ca.pem", std::fs::read(server.ca_file()).unwrap());
    machine.configure(&format!(
        "DNS_SERVERS={host}\nDNS_PORT={}\nDNS_TLS=yes\nCA_FILE={}\n{settings}\n",
        server.tls_port(),
        machine.path("etc/ca.pem").display()
    ));
    machine
}

#[test]
fn every_format_over_tls() {
    for server in servers(&Zone::new(ZONE, 1, LISTS), Certificate::Good, Transfer::Nobody) {
        for (host, list, format, wanted) in [
            ("localhost", "apl", "auto", APL),
            ("127.0.0.1", "apl", "apl", APL),
            ("localhost", "txt", "auto", TXT),
            ("127.0.0.1", "a", "auto", A),
            ("localhost", "empty", "auto", &[]),
        ] {
            let settings = format!("BLOCK_LIST={list}.{ZONE}\nLIST_FORMAT={format}");
            let machine = secure(&server, host, &settings);
            assert_fetches(&machine, wanted);
            let before = machine.snapshot("db/threatstop/policy");
            assert_eq!(tsfetch(&machine).status.code(), Some(2), "{:?} {list}: unchanged", server.kind());
            assert_eq!(machine.snapshot("db/threatstop/policy"), before);
        }
    }
}

#[test]
fn a_signed_transfer_over_tls() {
    let transfer = Transfer::Key(KEY);
    // Enough for several messages.
    let mut records = String::from("list APL 1:192.0.2.0/25 !1:192.0.2.64/26\n");
    for host in 0..5000 {
        records.push_str(&format!("h{host} A 198.18.{}.{}\n", host / 256, host % 256));
    }
    for server in servers(&Zone::new(ZONE, 1, &records), Certificate::Good, transfer) {
        let machine = Machine::new();
        let file = machine.path("etc/key");
        let settings = format!("BLOCK_LIST={ZONE}\nLIST_FORMAT=axfr");
        let machine = secure(&server, "localhost", &format!("{settings}\nTSIG_KEY_FILE={}", file.display()));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, KEY.text()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        machine.own(&file);
        assert_eq!(tsfetch(&machine).status.code(), Some(0), "{:?}", server.kind());
        let block = spooled(&machine, Block);
        assert_eq!((block.len(), block[0].as_str()), (5001, "192.0.2.0/26"), "{:?}", server.kind());
        assert_eq!(tsfetch(&machine).status.code(), Some(2), "{:?}: unchanged", server.kind());
        // Without the key there is nothing.
        let output = tsfetch(&secure(&server, "localhost", &settings));
        assert_eq!(output.status.code(), Some(1), "{:?}: {}", server.kind(), words(&output));
    }
}

#[test]
fn a_large_policy_over_tls() {
    let (zone, wanted) = large(400_000);
    for server in servers(&zone, Certificate::Good, Transfer::Anybody) {
        for (list, format) in [(format!("block.{ZONE}"), "auto"), (ZONE.to_owned(), "axfr")] {
            let settings = format!("BLOCK_LIST={list}\nLIST_FORMAT={format}");
            let machine = secure(&server, "127.0.0.1", &settings);
            let (status, peak) = measured(&machine);
            assert_eq!(status, "0", "{:?} {format}", server.kind());
            assert!(spooled(&machine, Block) == wanted, "{:?} {format}: another set", server.kind());
            assert!(peak < 64 * MIB, "{:?} {format}: {peak} octets", server.kind());
            assert_eq!(tsfetch(&machine).status.code(), Some(2), "{:?} {format}", server.kind());
        }
    }
}

#[test]
fn another_server_than_the_one_that_is_meant() {
    for (certificate, cause) in [
        (Certificate::WrongName, "the server's certificate is for logs.example.net, 192.0.2.1, not for "),
        (Certificate::UnknownAuthority, "the server's certificate is signed by nobody in CA_FILE"),
        (Certificate::Expired, "the server's certificate expired on "),
    ] {
        for server in servers(&Zone::new(ZONE, 1, LISTS), certificate, Transfer::Nobody) {
            for host in ["localhost", "127.0.0.1"] {
                let output = tsfetch(&secure(&server, host, &format!("BLOCK_LIST=apl.{ZONE}")));
                assert_eq!(output.status.code(), Some(1), "{}", words(&output));
                assert!(words(&output).contains(cause), "{:?}: {}", server.kind(), words(&output));
            }
        }
    }
}
