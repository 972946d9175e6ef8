//! Zone transfers from the real servers, and what they sign.

use super::*;
use std::os::unix::fs::PermissionsExt;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SHORT: TsigKey = TsigKey { name: "fleet.example", algorithm: "hmac-sha256", secret: SECRET };
const LONG: TsigKey = TsigKey { algorithm: "hmac-sha512", ..SHORT };

/// A zone with policy in every type, and with what is no policy.
const POLICY: &str = "\
@	NS ns
ns	A 198.51.100.53
	AAAA 2001:db8:53::1
list	APL 1:192.0.2.0/24 !1:192.0.2.64/26 2:2001:db8::/47
text	TXT \"64.87.3.133,198.51.100.0/25\"
host	A 203.0.113.9
	AAAA 2001:db8:9::9
www	CNAME host
odd	TYPE65280 \\# 2 0102
mail	MX 10 host
32.7.113.0.203.rpz-ip CNAME .
48.zz.5.db8.2001.rpz-ip CNAME *.
32.1.2.0.192.rpz-ip CNAME rpz-passthru.
evil.example CNAME .
";
const WANTED: &[&str] = &[
    "64.87.3.133/32",
    "192.0.2.0/32",
    "192.0.2.2/31",
    "192.0.2.4/30",
    "192.0.2.8/29",
    "192.0.2.16/28",
    "192.0.2.32/27",
    "192.0.2.128/25",
    "198.51.100.0/25",
    "203.0.113.7/32",
    "203.0.113.9/32",
    "2001:db8::/47",
    "2001:db8:5::/48",
    "2001:db8:9::9/128",
];

fn start(kind: Kind, transfer: Transfer) -> Option<NameServer> {
    NameServer::start(kind, &[Zone::new(ZONE, 1, POLICY)], &Options { transfer, ..Options::default() })
}

/// A machine that signs with this key.
fn signing(server: &NameServer, key: Option<&TsigKey>, settings: &str) -> Machine {
    let machine = Machine::new();
    let mut lines = format!("DNS_SERVERS=127.0.0.1:{}\n{settings}\n", server.port());
    if let Some(key) = key {
        machine.write("etc/key", key.text());
        let file = machine.path("etc/key");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        lines.push_str(&format!("TSIG_KEY_FILE={}\n", file.display()));
    }
    machine.configure(&lines);
    machine
}

const AXFR: &str = "BLOCK_LIST=policy.example\nLIST_FORMAT=axfr";
const QUERY: &str = "BLOCK_LIST=list.policy.example";

#[test]
fn a_zone_is_transferred_and_lists_are_asked_for_signed_with_either_algorithm_or_not() {
    for kind in Kind::ALL {
        for key in [None, Some(SHORT), Some(LONG)] {
            let transfer = key.clone().map_or(Transfer::Anybody, Transfer::Key);
            let Some(server) = start(kind, transfer) else { continue };
            for (settings, wanted) in
                [(AXFR, WANTED), (QUERY, &["192.0.2.0/26", "192.0.2.128/25", "2001:db8::/47"])]
            {
                let machine = signing(&server, key.as_ref(), settings);
                assert_fetches(&machine, wanted);
                assert_eq!(tsfetch(&machine).status.code(), Some(2), "{kind:?}");
                let output = machine.program("tsfetch").arg("-t").output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", words(&output));
                let found = format!(", serial 1 of {ZONE}., ");
                assert!(words(&output).contains(&found), "{kind:?}: {}", words(&output));
            }
        }
    }
}

#[test]
fn a_wrong_key_is_told_from_a_wrong_secret_and_from_none() {
    let other = TsigKey { name: "other.example", ..SHORT };
    let guessed = TsigKey { secret: "MTEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", ..SHORT };
    let unknown = "the server does not know the TSIG key (BADKEY); are name and algorithm the server's?";
    let wrong = "the server finds the query's signature wrong (BADSIG); is the secret the server's?";
    for kind in Kind::ALL {
        let Some(server) = start(kind, Transfer::Key(SHORT)) else { continue };
        for (settings, list) in [(AXFR, ZONE), (QUERY, "list.policy.example")] {
            let machine = signing(&server, Some(&SHORT), settings);
            assert_eq!(tsfetch(&machine).status.code(), Some(0));
            let before = machine.snapshot("db");
            for (key, cause) in [(&other, unknown), (&LONG, unknown), (&guessed, wrong)] {
                // NSD takes a key's secret with any algorithm.
                if (kind, key.algorithm) == (Kind::Nsd, LONG.algorithm) {
                    continue;
                }
                machine.write("etc/key", key.text());
                let output = tsfetch(&machine);
                assert_eq!(output.status.code(), Some(1), "{kind:?} {key:?}: {}", words(&output));
                let wanted = format!("tsfetch: {list} at 127.0.0.1:{}: {cause}\n", server.port());
                assert_eq!(String::from_utf8(output.stderr).unwrap(), wanted, "{kind:?} {key:?}");
                assert_eq!(machine.snapshot("db"), before);
            }
        }
        let output = tsfetch(&signing(&server, None, AXFR));
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {}", words(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("refused (REFUSED)") || said.contains("(NOTAUTH)"), "{kind:?}: {said}");
    }
}

#[test]
fn a_large_zone_by_transfer() {
    let (zone, wanted) = large(400_000);
    for kind in Kind::ALL {
        let options = Options { transfer: Transfer::Key(SHORT), ..Options::default() };
        let Some(server) = NameServer::start(kind, std::slice::from_ref(&zone), &options) else { continue };
        let machine = signing(&server, Some(&SHORT), AXFR);
        let (status, peak) = measured(&machine);
        assert_eq!(status, "0", "{kind:?}");
        assert!(spooled(&machine, Block) == wanted, "{kind:?}: another set");
        assert!(peak < 64 * MIB, "{kind:?}: {peak} octets");
    }
}

/// No clock is set: the query is signed as at another time, and its answer read as then.
#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    use fetcher::{answer, keyfile, tsig};
    use hickory_proto::op::Query;
    use hickory_proto::rr::{Name, RecordType};
    use std::io::{Read, Write};
    use std::time::{SystemTime, UNIX_EPOCH};

    let key = keyfile::parse(SHORT.text().as_bytes()).unwrap();
    for kind in Kind::ALL {
        let Some(server) = start(kind, Transfer::Key(SHORT)) else { continue };
        for off in [-4000i64, 4000] {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let ours = now.saturating_add_signed(off);
            let question = Query::query(Name::from_ascii(ZONE).unwrap(), RecordType::SOA);
            let mut query = answer::ask(7, &question).unwrap();
            let verifier = tsig::sign(&mut query, &key, ours).unwrap();
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
            stream.write_all(&tests::policy_server::hostile::framed(&query)).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            let fault = verifier.only(&message, ours).unwrap_err();
            let tsig::Fault::BadTime(seconds) = fault else { panic!("{kind:?}: {fault}") };
            assert!((seconds + off).abs() < 60, "{kind:?} {off}: {fault}");
        }
    }
}
