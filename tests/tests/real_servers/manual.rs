//! tspf(7), "Running your own policy zone": its zone and its configurations, as they are printed there.

use std::path::Path;
use std::process::Command;

use common::Table::Allow;
use common::config::Config;
use tests::log_server::Certificate;
use tests::machine::{Machine, skip, words};
use tests::name_server::{Kind, NameServer, Options, Place, Zone};

use super::script::made;
use super::{ZONE, assert_fetches, machine, source, spooled, tsfetch};

/// For the keys of the manual, in base64.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The text that the manual displays under a comment line with these words.
fn displayed(marker: &str) -> String {
    let text = displayed_as_roff(marker);
    assert!(!text.contains('\\'), "{marker}: has to be unescaped");
    text
}

fn displayed_as_roff(marker: &str) -> String {
    let page = std::fs::read_to_string(source("man/tspf.7")).unwrap();
    let (_, after) = page.split_once(&format!(".Bd -literal -offset indent\n{marker}\n")).expect(marker);
    let (text, _) = after.split_once("\n.Ed\n").unwrap();
    format!("{text}\n")
}

#[test]
fn the_zone_in_the_manual_is_what_the_script_makes() {
    let machine = Machine::new();
    machine.write("blocklist", displayed("# blocklist"));
    machine.write("allowlist", displayed("# allowlist"));
    let page = std::fs::read_to_string(source("man/tspf.7")).unwrap();
    let operands = page.split_once("$ policy-zone ").unwrap().1.split_once(" >").unwrap().0;
    let operands: Vec<String> = operands
        .split(' ')
        .map(|word| word.replace('=', &format!("={}/", machine.path("").display())))
        .collect();
    let wanted = displayed("; policy.example");
    let serial = wanted.split_once("hostmaster ").unwrap().1.split(' ').next().unwrap();
    let args: Vec<&str> = ["-s", serial].into_iter().chain(operands.iter().map(String::as_str)).collect();
    assert_eq!(made(&args, ""), wanted);
}

/// A configuration of the manual with this test's addresses, ports, files and secret, for the server at `place`, which
/// is the primary or the secondary.
fn tried(kind: Kind, text: &str, place: &Place, primary: &Place, secondary: &Place) -> String {
    let (port, tls) = (place.port, place.tls_port);
    let (primary, secondary) = (primary.port, secondary.port);
    let servers = match kind {
        Kind::Bind => vec![
            ("port 853 tls", format!("port {tls} tls")),
            ("listen-on { ", format!("listen-on port {port} {{ ")),
            ("192.0.2.53 key", format!("127.0.0.1 port {primary} key")),
            ("192.0.2.54 key", format!("127.0.0.1 port {secondary} key")),
            ("/var/cache/bind", place.directory.display().to_string()),
        ],
        Kind::Nsd => vec![
            ("192.0.2.53@853", format!("127.0.0.1@{tls}")),
            ("tls-port: 853", format!("tls-port: {tls}")),
            ("ip-address: 192.0.2.53\n", format!("ip-address: 127.0.0.1@{port}\n")),
            ("AXFR 192.0.2.53", format!("AXFR 127.0.0.1@{primary}")),
            ("notify: 192.0.2.54", format!("notify: 127.0.0.1@{secondary}")),
        ],
        Kind::Knot => vec![
            ("listen: 192.0.2.53", format!("listen: 127.0.0.1@{port}")),
            ("address: 192.0.2.53", format!("address: 127.0.0.1@{primary}")),
            ("address: 192.0.2.54", format!("address: 127.0.0.1@{secondary}")),
        ],
    };
    let both = [
        ("192.0.2.53", "127.0.0.1"),
        ("192.0.2.0/24", "127.0.0.0/8"),
        ("/etc/ssl/private/policy.key", "server.key"),
        ("/etc/ssl/policy.crt", "server.crt"),
        ("SECRET", SECRET),
    ]
    .map(|(from, to)| (from, to.to_owned()));
    let text =
        servers.into_iter().chain(both).fold(text.to_owned(), |text, (from, to)| text.replace(from, &to));
    assert!(!text.contains("192.0.2."), "{text}");
    text
}

/// The manual's configuration for a primary.
fn primary_config(kind: Kind) -> String {
    displayed(match kind {
        Kind::Bind => "# named.conf",
        Kind::Nsd => "# nsd.conf",
        Kind::Knot => "# knot.conf",
    })
}

/// The manual's configuration for a secondary: where to listen, what is said to be as on the primary, and its own part.
fn secondary_config(kind: Kind, place: &Place) -> String {
    let port = place.port;
    let primary = format!("\n{}", primary_config(kind));
    // A section or clause of the primary's, up to the next empty line.
    let same = |start: &str| {
        let (_, after) = primary.split_once(&format!("\n{start}")).unwrap();
        format!("{start}{}\n", after.split_once("\n\n").unwrap().0)
    };
    match kind {
        Kind::Bind => {
            format!(
                "options {{\n\tlisten-on port {port} {{ 127.0.0.1; }};\n\tlisten-on-v6 {{ none; }};\n}};\n"
            ) + &same("key ")
                + &displayed("# named.conf of the secondary")
        }
        Kind::Nsd => {
            format!("server:\n\tip-address: 127.0.0.1@{port}\n")
                + &same("key:")
                + &displayed("# nsd.conf of the secondary")
        }
        Kind::Knot => {
            // An acl names its remote, a section may be there only once.
            let own = displayed("# knot.conf of the secondary");
            let (remote, rest) = own.split_once("acl:\n").unwrap();
            format!("server:\n    listen: 127.0.0.1@{port}\n")
                + &same("key:")
                + &same("mod-queryacl:")
                + remote
                + &same("acl:")
                + rest
        }
    }
}

/// What dig says to `block.policy.example`; None, after saying so, where it is not installed.
fn dig(port: u16, args: &[&str]) -> Option<String> {
    if !Path::new("/usr/bin/dig").exists() {
        skip("bind9-dnsutils");
        return None;
    }
    let mut command = Command::new("/usr/bin/dig");
    command.args(["@127.0.0.1", "-p", &port.to_string(), "+tcp", "1.block.policy.example", "APL"]).args(args);
    Some(String::from_utf8(command.output().unwrap().stdout).unwrap())
}

#[test]
fn the_manual_sets_up_a_primary_and_a_secondary_of_any_kind() {
    let text = displayed("; policy.example");
    let serial = 1_795_219_200;
    // The changed zone has more records of one name and type than BIND takes by default.
    let many: String = (0..200).map(|number| format!("many A 198.18.0.{number}\n")).collect();
    let changed = text.replace(&serial.to_string(), &(serial + 1).to_string());
    let changed = changed.replace("203.0.113.8/29", "203.0.113.16/29") + &many;
    let changed = Zone { name: ZONE.to_owned(), text: changed };
    for (first, second) in Kind::ALL.into_iter().flat_map(|first| Kind::ALL.map(|second| (first, second))) {
        let (here, there) = (Place::new(), Place::new());
        let primary = tried(first, &primary_config(first), &here, &here, &there);
        let secondary = tried(second, &secondary_config(second, &there), &there, &here, &there);
        let zones = [Zone { name: ZONE.to_owned(), text: text.clone() }];
        let Some(primary) = NameServer::start_at(first, here, &zones, Certificate::Good, &primary) else {
            continue;
        };
        let Some(secondary) = NameServer::start_at(second, there, &[], Certificate::Good, &secondary) else {
            continue;
        };
        secondary.wait_for_serial(ZONE, serial);
        // By NOTIFY: it would look again by itself only after ten minutes.
        primary.reload(&changed, serial + 1);
        secondary.wait_for_serial(ZONE, serial + 1);

        for server in [&primary, &secondary] {
            let machine = machine(&[], "");
            let settings = displayed("# threatstop.conf")
                .replace("192.0.2.53 192.0.2.54", &format!("127.0.0.1:{}", server.port()));
            machine.configure(&settings);
            let wanted = [
                "203.0.113.0/28",
                "203.0.113.24/29",
                "203.0.113.32/27",
                "203.0.113.64/26",
                "203.0.113.128/25",
            ];
            assert_fetches(&machine, &[&wanted[..], &["2001:db8::/32"]].concat());
            assert_eq!(spooled(&machine, Allow), ["192.0.2.128/28"]);
            let Some(said) = dig(server.port(), &["-y", &format!("hmac-sha256:policy:{SECRET}")]) else {
                continue;
            };
            assert!(
                said.contains("NOERROR") && said.contains("TSIG") && said.contains("203.0.113"),
                "{said}"
            );
            assert!(!said.contains("verify"), "{said}");
        }
        if first.serves_tls() {
            let ca = format!("+tls-ca={}", primary.ca_file().display());
            let Some(said) = dig(primary.tls_port(), &["+tls", &ca, "+tls-hostname=localhost"]) else {
                continue;
            };
            assert!(said.contains("(TLS)") && said.contains("203.0.113.0/24"), "{first:?}: {said}");
        }
    }
}

#[test]
fn the_manuals_servers_answer_nobody_else() {
    for kind in Kind::ALL {
        let (here, there) = (Place::new(), Place::new());
        let config = primary_config(kind).replace("192.0.2.0/24", "198.51.100.0/24");
        let config = tried(kind, &config, &here, &here, &there);
        // Without zones to wait for: they are not for us.
        let file = here.directory.join(ZONE);
        std::fs::write(&file, displayed("; policy.example")).unwrap();
        let Some(server) = NameServer::start_at(kind, here, &[], Certificate::Good, &config) else {
            continue;
        };
        let machine = machine(&[&server], &format!("BLOCK_LIST=block.{ZONE}"));
        let output = tsfetch(&machine);
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {}", words(&output));
        let cause = if kind == Kind::Knot { "NOTAUTH" } else { "REFUSED" };
        assert!(String::from_utf8_lossy(&output.stderr).contains(cause), "{kind:?}: {}", words(&output));
    }
}

#[test]
fn the_manuals_settings_are_accepted() {
    let all: String =
        ["# threatstop.conf", "# threatstop.conf for TSIG", "# threatstop.conf for DNS over TLS"]
            .map(displayed)
            .concat();
    let config = Config::parse(all.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.dns_tls && config.is_set("TSIG_KEY_FILE") && config.is_set("CA_FILE"));
    assert_eq!(config.dns_servers[0].port, Some(853));
}

/// With the manual's certificate, which signs itself.
#[test]
fn the_manuals_dns_over_tls() {
    if !Path::new("/usr/bin/openssl").exists() {
        return skip("openssl");
    }
    for kind in Kind::ALL.into_iter().filter(|kind| kind.serves_tls()) {
        let (here, there) = (Place::new(), Place::new());
        let names = displayed("# policy.cnf").replace("192.0.2.53", "127.0.0.1").replace("192.0.2.54", "::1");
        std::fs::write(here.directory.join("policy.cnf"), names).unwrap();
        let command = displayed_as_roff("# certificate").replace("\\e\n", "\\\n");
        let mut shell = Command::new("/bin/sh");
        let output = shell.args(["-ec", &command]).current_dir(&here.directory).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let own = here.directory.join("policy.key");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&own.metadata().unwrap()) & 0o77, 0);
        let certificate = std::fs::read(here.directory.join("policy.crt")).unwrap();

        let config = tried(kind, &primary_config(kind), &here, &here, &there);
        let config = config.replace("server.key", "policy.key").replace("server.crt", "policy.crt");
        let machine = machine(&[], "");
        machine.own(&own);
        let zones = [Zone { name: ZONE.to_owned(), text: displayed("; policy.example") }];
        let tls_port = here.tls_port;
        let Some(_server) = NameServer::start_at(kind, here, &zones, Certificate::Good, &config) else {
            continue;
        };
        machine.write("etc/policy.pem", certificate);
        let settings = displayed("# threatstop.conf") + &displayed("# threatstop.conf for DNS over TLS");
        let settings = settings
            .replace("192.0.2.53 192.0.2.54", &format!("127.0.0.1:{tls_port}"))
            .replace("/usr/local/etc", &machine.path("etc").display().to_string());
        machine.configure(&settings);
        let wanted = [
            "203.0.113.0/29",
            "203.0.113.16/28",
            "203.0.113.32/27",
            "203.0.113.64/26",
            "203.0.113.128/25",
            "2001:db8::/32",
        ];
        assert_fetches(&machine, &wanted);
        assert_eq!(spooled(&machine, Allow), ["192.0.2.128/28"]);
    }
}

/// What the manual tells to type in order to find the list that has an entry.
#[test]
fn the_manual_finds_the_list_of_an_entry() {
    if !Path::new("/usr/bin/dig").exists() {
        return skip("bind9-dnsutils");
    }
    let zones = [Zone { name: ZONE.to_owned(), text: displayed("; policy.example") }];
    let Some(server) = NameServer::start(Kind::Nsd, &zones, &Options::default()) else {
        return;
    };
    let command = displayed_as_roff("# which list").replace("\\e", "\\");
    let command = command.replace("=192.0.2.53", &format!("='127.0.0.1 -p {}'", server.port()));
    for (entry, found) in
        [("203.0.113.0/24", "block.policy.example: 1.block.policy.example.\n"), ("203.0.113.7/32", "")]
    {
        let command = command.replace("203.0.113.0/24", entry);
        let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), found, "{command}: {}", words(&output));
    }
}
