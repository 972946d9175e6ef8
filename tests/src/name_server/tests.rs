use std::process::Command;

use super::*;

const KEY: TsigKey = TsigKey {
    name: "transfer",
    algorithm: "hmac-sha256",
    secret: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
};
const LONG_KEY: TsigKey = TsigKey { algorithm: "hmac-sha512", ..KEY };

fn zone(serial: u32) -> Zone {
    Zone::new("policy.example", serial, "block APL 1:192.0.2.0/24 !1:192.0.2.8/29 2:2001:db8::/32\n")
}

/// What dig says; None, after saying so, where it is not installed.
fn dig(port: u16, args: &[&str]) -> Option<String> {
    if !Path::new("/usr/bin/dig").exists() {
        machine::skip("bind9-dnsutils");
        return None;
    }
    let mut command = Command::new("/usr/bin/dig");
    command.args(["@127.0.0.1", "-p", &port.to_string(), "+tcp", "+tries=1"]).args(args);
    Some(String::from_utf8(command.output().unwrap().stdout).unwrap())
}

#[test]
fn every_server_starts_reloads_and_ends() {
    for kind in Kind::ALL {
        let Some(server) = NameServer::start(kind, &[zone(1)], &Options::default()) else { continue };
        assert_eq!((server.serial("policy.example"), server.serial("other.example")), (Some(1), None));
        // Twice at once: files with the same time.
        server.reload(&zone(2), 2);
        server.reload(&zone(3), 3);
        let (directory, port) = (server.place.directory.clone(), server.port());
        drop(server);
        assert!(!directory.exists());
        assert!(!probe::answers((IpAddr::V4(Ipv4Addr::LOCALHOST), port)), "{kind:?} still answers");
    }
}

#[test]
fn ipv6_is_there_when_asked_for() {
    if !has_ipv6() {
        return machine::skip("IPv6 on loopback");
    }
    for kind in Kind::ALL {
        for ipv6 in [false, true] {
            let options = Options { ipv6, ..Options::default() };
            let Some(server) = NameServer::start(kind, &[zone(1)], &options) else { continue };
            let address = (IpAddr::V6(Ipv6Addr::LOCALHOST), server.port());
            assert_eq!(probe::serial(address, "policy.example").is_some(), ipv6, "{kind:?}");
        }
    }
}

#[test]
fn a_zone_is_transferred_to_whom_the_options_say() {
    for kind in Kind::ALL {
        for transfer in
            [Transfer::Nobody, Transfer::Anybody, Transfer::Key(KEY.clone()), Transfer::Key(LONG_KEY.clone())]
        {
            let options = Options { transfer: transfer.clone(), ..Options::default() };
            let Some(server) = NameServer::start(kind, &[zone(1)], &options) else { continue };
            let got = |args: &[&str]| {
                let said = dig(server.port(), &[&["policy.example", "axfr"], args].concat())?;
                Some(said.contains("APL") && said.contains("XFR size: 4 records"))
            };
            let wrong = format!("hmac-sha256:transfer:{}", KEY.secret.replace('M', "N"));
            let (unsigned, badly) = (got(&[]), got(&["-y", &wrong]));
            match &transfer {
                Transfer::Nobody => {
                    assert_eq!((unsigned, badly), (unsigned.and(Some(false)), badly.and(Some(false))))
                }
                Transfer::Anybody => assert_eq!(unsigned, unsigned.and(Some(true)), "{kind:?}"),
                Transfer::Key(key) => {
                    let signature = format!("{}:{}:{}", key.algorithm, key.name, key.secret);
                    let signed = got(&["-y", &signature]);
                    assert_eq!(
                        (unsigned, badly, signed),
                        (unsigned.and(Some(false)), badly.and(Some(false)), signed.and(Some(true))),
                        "{kind:?} {key:?}"
                    );
                    let Some(said) = dig(server.port(), &["block.policy.example", "apl", "-y", &signature])
                    else {
                        continue;
                    };
                    assert!(said.contains("NOERROR") && said.contains("192.0.2.0/24"), "{kind:?}: {said}");
                }
            }
        }
    }
}

#[test]
fn dns_over_tls_where_it_is_served() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.serves_tls()) {
        for certificate in [Certificate::Good, Certificate::UnknownAuthority] {
            let options = Options { tls: Some(certificate), ..Options::default() };
            let Some(server) = NameServer::start(kind, &[zone(1)], &options) else { continue };
            let ca = format!("+tls-ca={}", server.ca_file().display());
            let args = ["block.policy.example", "apl", "+tls", &ca, "+tls-hostname=localhost"];
            let Some(said) = dig(server.tls_port(), &args) else { continue };
            let good = certificate == Certificate::Good;
            assert_eq!(said.contains("192.0.2.0/24") && said.contains("(TLS)"), good, "{kind:?}: {said}");
        }
    }
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    for kind in Kind::ALL {
        let start = || NameServer::start_at(kind, Place::new(), &[], Certificate::Good, "nonsense {\n");
        let panic = match std::panic::catch_unwind(start) {
            Ok(None) => continue, // Not installed.
            Ok(Some(_)) => panic!("{kind:?} starts"),
            Err(panic) => panic,
        };
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains("nonsense") || said.contains("syntax error"), "{kind:?}: {said}");
    }
}
