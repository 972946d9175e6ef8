//! tsfetch, the real program, against real name servers: Debian's BIND, NSD and Knot. The zones are made by hand and by
//! etc/policy-zone; the configurations of the manual are tried as they are printed there.

#[path = "real_servers/manual.rs"]
mod manual;
#[path = "real_servers/script.rs"]
mod script;
#[path = "real_servers/tls.rs"]
mod tls;
#[path = "real_servers/transfer.rs"]
mod transfer;
#[path = "real_servers/zones.rs"]
mod zones;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Table::{self, Allow, Block};
use ipnet::IpNet;
use tests::machine::{Machine, skip, words};
use tests::name_server::{Kind, NameServer, Options, Transfer, TsigKey, Zone, has_ipv6};
use tests::policy_server::generate;
use tests::segments::Relay;

const ZONE: &str = "policy.example";
const MIB: u64 = 1024 * 1024;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn server(kind: Kind, zones: &[Zone]) -> Option<NameServer> {
    NameServer::start(kind, zones, &Options::default())
}

/// A machine that asks these servers, with further settings.
fn machine(servers: &[&NameServer], settings: &str) -> Machine {
    let machine = Machine::new();
    let servers: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    machine.configure(&format!("DNS_SERVERS=\"{}\"\n{settings}\n", servers.join(" ")));
    machine
}

fn tsfetch(machine: &Machine) -> Output {
    machine.program("tsfetch").output().unwrap()
}

#[track_caller]
fn assert_fetches(machine: &Machine, wanted: &[&str]) {
    let output = tsfetch(machine);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(output.stderr.is_empty(), "{}", words(&output));
    assert_eq!(spooled(machine, Block), wanted);
}

fn spooled(machine: &Machine, table: Table) -> Vec<String> {
    let path = machine.path(&format!("db/threatstop/policy/{}.pftable", table.word()));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A list in every format.
const LISTS: &str = "\
ptr	PTR 1.ptr
	PTR 2.ptr
	PTR empty
outside	PTR 1.ptr
	PTR other.example.net.
1.ptr	APL 1:203.0.113.0/24 !1:203.0.113.64/26
	APL !2:2001:db8:5::/48 1:64.87.3.133/32
2.ptr	APL 2:2001:db8:4::/46 2:::/128
apl	APL 1:203.0.113.0/24 !1:203.0.113.64/26 2:2001:db8::/46
	APL 1:64.87.3.133/32 !2:2001:db8:3::/48
	APL
empty	APL
txt	TXT \"64.87.3.133,203.0.113.9\" \"2001:DB8:0::1 \"
	TXT \"198.51.100.0/25 198.51.100.7\"
none	TXT \"\"
a	A 64.87.3.133
	A 203.0.113.9
	AAAA 2001:db8::1
a1	A 198.51.100.1
a2	AAAA 2001:db8::2
four	A 64.87.3.133
six	AAAA 2001:db8::1
";
const ELSEWHERE: &str = "other APL 2:2001:db8:4::/46 2:::/128\n";

const PTR: &[&str] =
    &["64.87.3.133/32", "203.0.113.0/26", "203.0.113.128/25", "::/128", "2001:db8:4::/48", "2001:db8:6::/47"];
const APL: &[&str] =
    &["64.87.3.133/32", "203.0.113.0/26", "203.0.113.128/25", "2001:db8::/47", "2001:db8:2::/48"];
const TXT: &[&str] = &["64.87.3.133/32", "198.51.100.0/25", "203.0.113.9/32", "2001:db8::1/128"];
const A: &[&str] = &["64.87.3.133/32", "203.0.113.9/32", "2001:db8::1/128"];
const NUMBERED: &[&str] =
    &["64.87.3.133/32", "198.51.100.1/32", "203.0.113.9/32", "2001:db8::1/128", "2001:db8::2/128"];

#[test]
fn every_format_from_every_server() {
    for kind in Kind::ALL {
        let zones = [Zone::new(ZONE, 1, LISTS), Zone::new("example.net", 1, ELSEWHERE)];
        let Some(server) = server(kind, &zones) else { continue };
        for (list, format, wanted) in [
            ("ptr", "ptr", PTR),
            ("apl", "apl", APL),
            ("empty", "apl", &[]),
            ("txt", "txt", TXT),
            ("none", "txt", &[]),
            ("a", "auto", A),
            ("a", "a", NUMBERED),
            ("four", "a", &A[..1]),
            ("six", "a", &A[2..]),
        ] {
            // Numbered names are drawn in by their own format only.
            let formats = if wanted == NUMBERED { &["a"][..] } else { &["auto", format] };
            for format in formats {
                let settings = format!("BLOCK_LIST={list}.{ZONE}\nLIST_FORMAT={format}");
                let machine = machine(&[&server], &settings);
                assert_fetches(&machine, wanted);
                let before = machine.snapshot("db/threatstop/policy");
                assert_eq!(tsfetch(&machine).status.code(), Some(2), "{kind:?} {list}: unchanged");
                assert_eq!(machine.snapshot("db/threatstop/policy"), before);
            }
        }
    }
}

#[test]
fn several_lists_of_several_formats_feed_one_table() {
    for kind in Kind::ALL {
        let zones = [Zone::new(ZONE, 1, LISTS), Zone::new("example.net", 1, ELSEWHERE)];
        let Some(server) = server(kind, &zones) else { continue };
        let settings = format!(
            "BLOCK_LIST=\"empty.{ZONE} txt.{ZONE} other.example.net apl.{ZONE}\"\nALLOW_LIST=\"four.{ZONE} six.{ZONE}\""
        );
        let machine = machine(&[&server], &settings);
        // The holes of the list in APL are holes in all of them.
        let wanted = [
            "64.87.3.133/32",
            "198.51.100.0/25",
            "203.0.113.0/26",
            "203.0.113.128/25",
            "::/128",
            "2001:db8::/47",
            "2001:db8:2::/48",
            "2001:db8:4::/46",
        ];
        assert_fetches(&machine, &wanted);
        assert_eq!(spooled(&machine, Allow), ["64.87.3.133/32", "2001:db8::1/128"]);
    }
}

#[test]
fn what_is_not_there_is_said_and_leaves_the_old_policy() {
    for kind in Kind::ALL {
        let Some(server) = server(kind, &[Zone::new(ZONE, 1, LISTS)]) else { continue };
        for (list, format, cause) in [
            ("apl.policy.example", "txt", "no TXT record"),
            ("a.policy.example", "apl", "no APL record"),
            ("policy.example", "auto", "no PTR, APL, TXT, A or AAAA record"),
            ("nothing.policy.example", "auto", "NXDOMAIN"),
            ("list.unknown.example", "auto", "REFUSED"),
            (
                "outside.policy.example",
                "auto",
                "part other.example.net is not in the list's zone, policy.example",
            ),
        ] {
            let machine = machine(&[&server], &format!("BLOCK_LIST=apl.{ZONE}"));
            assert_fetches(&machine, APL);
            let port = server.port();
            machine.configure(&format!(
                "DNS_SERVERS=127.0.0.1:{port}\nBLOCK_LIST={list}\nLIST_FORMAT={format}\n"
            ));
            let output = tsfetch(&machine);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{kind:?} {list}: {}", words(&output));
            assert!(said.contains(cause) && said.contains(list), "{kind:?} {list}: {}", words(&output));
            assert!(said.contains(&format!("127.0.0.1:{port}")), "{kind:?} {list}: {said}");
            assert_eq!(spooled(&machine, Block), APL);
        }
    }
}

#[test]
fn a_changed_zone_is_a_changed_policy() {
    for kind in Kind::ALL {
        let zone = |serial: u32| Zone::new(ZONE, serial, &format!("block APL 1:198.51.100.{serial}/32\n"));
        let Some(server) = server(kind, &[zone(1)]) else { continue };
        let machine = machine(&[&server], &format!("BLOCK_LIST=block.{ZONE}"));
        for serial in 1..=3 {
            if serial > 1 {
                server.reload(&zone(serial), serial);
            }
            assert_fetches(&machine, &[&format!("198.51.100.{serial}/32")]);
        }
    }
}

#[test]
fn an_unchanged_zone_costs_three_segments_each_way_at_most() {
    for kind in Kind::ALL {
        let zones = [Zone::new(ZONE, 1, LISTS), Zone::new("example.net", 1, ELSEWHERE)];
        let Some(server) = server(kind, &zones) else { continue };
        let relay = Relay::start(server.port()).unwrap();
        for (lists, most) in [
            ("BLOCK_LIST=apl.policy.example", 1),
            ("BLOCK_LIST=apl.policy.example\nALLOW_LIST=txt.policy.example", 2),
            ("BLOCK_LIST=\"apl.policy.example other.example.net\"\nALLOW_LIST=txt.policy.example", 3),
        ] {
            let machine = Machine::new();
            machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\n{lists}\n", relay.port()));
            assert_eq!(tsfetch(&machine).status.code(), Some(0), "{kind:?}");
            let all = relay.take();
            assert!(all.client > most && all.server > most, "{kind:?}: {all:?}");
            assert_eq!(tsfetch(&machine).status.code(), Some(2), "{kind:?}");
            let unchanged = relay.take();
            assert!(unchanged.client >= 1 && unchanged.server >= 1, "{kind:?}: {unchanged:?}");
            assert!(unchanged.client <= most && unchanged.server <= most, "{kind:?}: {unchanged:?}");
        }
    }
}

#[test]
fn as_many_parts_as_the_script_makes() {
    let mut records = String::new();
    for part in 1..=2000 {
        let (high, low) = (part / 256, part % 256);
        records.push_str(&format!("block PTR {part}.block\n{part}.block APL 1:198.18.{high}.{low}/32\n"));
    }
    for kind in Kind::ALL {
        let Some(server) = server(kind, &[Zone::new(ZONE, 1, &records)]) else { continue };
        let machine = machine(&[&server], &format!("BLOCK_LIST=block.{ZONE}"));
        assert_eq!(tsfetch(&machine).status.code(), Some(0), "{kind:?}");
        assert_eq!(spooled(&machine, Block).len(), 2000, "{kind:?}");
    }
}

#[test]
fn over_ipv6_too() {
    if !has_ipv6() {
        return skip("IPv6 on loopback");
    }
    for kind in Kind::ALL {
        let options = Options { ipv6: true, ..Options::default() };
        let zones = [Zone::new(ZONE, 1, LISTS)];
        let Some(server) = NameServer::start(kind, &zones, &options) else { continue };
        let machine = Machine::new();
        machine.configure(&format!("DNS_SERVERS=[::1]:{}\nBLOCK_LIST=apl.{ZONE}\n", server.port()));
        assert_fetches(&machine, APL);
    }
}

/// Exit status and peak memory of a run of tsfetch, which is the only child of a process of its own.
fn measured(machine: &Machine) -> (String, u64) {
    let program = machine.program("tsfetch");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("--measure").arg(program.get_program()).args(program.get_args());
    let output = command.env("MEASURE_UID", machine.uid().to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<&str> = said.split_whitespace().collect();
    let [status, _, kib] = fields[..] else { panic!("{}", words(&output)) };
    (format!("{status}{}", String::from_utf8_lossy(&output.stderr)), kib.parse::<u64>().unwrap() * 1024)
}

/// A zone with a list of so many prefixes that the script made, and the lines of their spool file.
fn large(count: usize) -> (Zone, Vec<String>) {
    let mut prefixes: Vec<IpNet> = generate::block(1, count);
    let input: String = prefixes.iter().map(|prefix| format!("{prefix}\n")).collect();
    let zone = Zone { name: ZONE.to_owned(), text: script::made(&["-s", "1", "block=-"], &input) };
    prefixes.sort();
    (zone, prefixes.iter().map(ToString::to_string).collect())
}

#[test]
fn a_large_policy_by_the_script_through_every_server() {
    for count in [26_424, 400_000] {
        let (zone, wanted) = large(count);
        for kind in Kind::ALL {
            let Some(server) = server(kind, std::slice::from_ref(&zone)) else { continue };
            for format in ["auto", "ptr"] {
                let settings = format!("BLOCK_LIST=block.{ZONE}\nLIST_FORMAT={format}");
                let machine = machine(&[&server], &settings);
                let (status, peak) = measured(&machine);
                assert_eq!(status, "0", "{kind:?} {count} {format}");
                assert!(spooled(&machine, Block) == wanted, "{kind:?} {count} {format}: another set");
                assert!(peak < 64 * MIB, "{kind:?} {count} {format}: {peak} octets");
            }
        }
    }
}
