//! The serials of real zones: one that stays, one that goes back, and one that moves while it is read.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tests::name_server::Proxy;

const POLICY: &str = "db/threatstop/policy";
const A_RECORD: u16 = 1;
const SOA: u16 = 6;
const APL_RECORD: u16 = 42;

/// A list in two parts, and one in two numbered names; every prefix tells the serial.
fn zone(serial: u32) -> Zone {
    let records = format!(
        "block PTR 1.block\n\tPTR 2.block\n\
         1.block APL 1:198.51.100.{serial}/32\n2.block APL 1:203.0.113.{serial}/32\n\
         basic A 198.51.100.{serial}\nbasic1 A 203.0.113.{serial}\n"
    );
    Zone::new(ZONE, serial, &records)
}

fn wanted(serial: u32) -> [String; 2] {
    [format!("198.51.100.{serial}/32"), format!("203.0.113.{serial}/32")]
}

fn through(proxy: &Proxy, settings: &str) -> Machine {
    let machine = Machine::new();
    machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\n{settings}\n", proxy.port()));
    machine
}

#[test]
fn an_unchanged_zone_costs_one_query_in_every_format() {
    for kind in Kind::ALL {
        let options = Options { transfer: Transfer::Anybody, ..Options::default() };
        let Some(server) = NameServer::start(kind, &[zone(1)], &options) else { continue };
        for (list, format) in [("block.", "auto"), ("block.", "ptr"), ("basic.", "a"), ("", "axfr")] {
            let proxy = Proxy::start(server.port(), |_| {}).unwrap();
            let machine = through(&proxy, &format!("BLOCK_LIST={list}{ZONE}\nLIST_FORMAT={format}"));
            let output = tsfetch(&machine);
            assert_eq!(output.status.code(), Some(0), "{kind:?} {format}: {}", words(&output));
            let (before, asked) = (machine.snapshot(POLICY), proxy.queries().len());
            assert_eq!(spooled(&machine, Block), wanted(1));
            for run in 1..=2 {
                let output = tsfetch(&machine);
                assert_eq!(output.status.code(), Some(2), "{kind:?} {format}: {}", words(&output));
                assert_eq!(proxy.queries()[asked..], vec![(format!("{list}{ZONE}"), SOA); run], "{kind:?}");
            }
            assert_eq!(proxy.connections(), 3, "one for each run");
            assert_eq!(machine.snapshot(POLICY), before, "{kind:?} {format}: not the same file");
        }
    }
}

#[test]
fn a_serial_that_goes_back_is_said_once_and_taken() {
    for kind in Kind::ALL {
        let Some(server) = server(kind, &[zone(5)]) else { continue };
        let machine = machine(&[&server], &format!("BLOCK_LIST=block.{ZONE}"));
        assert_eq!(tsfetch(&machine).status.code(), Some(0));
        server.reload(&zone(3), 3);
        let output = tsfetch(&machine);
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", words(&output));
        assert_eq!(spooled(&machine, Block), wanted(3));
        let said = format!("zone {ZONE}. at 127.0.0.1:{}: its serial went back from 5 to 3", server.port());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("tsfetch: {said}\n"), "{kind:?}");
        let output = tsfetch(&machine);
        assert_eq!(output.status.code(), Some(2), "{kind:?}: {}", words(&output));
        assert!(output.stderr.is_empty(), "{}", words(&output));
    }
}

/// A run in which, so many times, the zone gets its next serial when the last name of a list is asked for, and before
/// that is answered. A run before it has fetched the first serial.
fn while_it_moves(kind: Kind, settings: &str, last: &'static str, moves: u32) -> Option<(Machine, Output)> {
    let server = Arc::new(server(kind, &[zone(1)])?);
    // The serials from here up to the latter are still to come.
    let (next, end) = (AtomicU32::new(2), Arc::new(AtomicU32::new(2)));
    let (reloading, until) = (server.clone(), end.clone());
    let proxy = Proxy::start(server.port(), move |question| {
        let is_last =
            question.name == format!("{last}.{ZONE}") && matches!(question.rtype, A_RECORD | APL_RECORD);
        if is_last && next.load(Ordering::SeqCst) < until.load(Ordering::SeqCst) {
            let serial = next.fetch_add(1, Ordering::SeqCst);
            reloading.reload(&zone(serial), serial);
        }
    });
    let proxy = proxy.unwrap();
    let machine = through(&proxy, settings);
    let output = tsfetch(&machine);
    assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", words(&output));
    assert_eq!(spooled(&machine, Block), wanted(1));
    end.fetch_add(moves, Ordering::SeqCst);
    // Another setting: what the file holds is fetched anew.
    let file = machine.path("etc/threatstop.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    machine.write("etc/threatstop.conf", format!("{text}AGGREGATE=yes\n"));
    let output = tsfetch(&machine);
    Some((machine, output))
}

#[test]
fn a_zone_that_moves_while_it_is_read_is_read_once_more() {
    for kind in Kind::ALL {
        for (list, format, last) in [("block", "ptr", "2.block"), ("basic", "a", "basic1")] {
            let settings = format!("BLOCK_LIST={list}.{ZONE}\nLIST_FORMAT={format}");
            let Some((machine, output)) = while_it_moves(kind, &settings, last, 1) else { continue };
            assert_eq!(output.status.code(), Some(0), "{kind:?} {format}: {}", words(&output));
            assert!(output.stderr.is_empty(), "{kind:?}: {}", words(&output));
            assert_eq!(spooled(&machine, Block), wanted(2), "{kind:?} {format}: of two serials");
            let text = std::fs::read_to_string(machine.path(&format!("{POLICY}/block.pftable"))).unwrap();
            assert!(text.contains(&format!("\n# soa {ZONE}. 2\n")), "{kind:?} {format}: {text}");
        }
    }
}

#[test]
fn a_zone_that_moves_each_time_fails_and_the_old_policy_stays() {
    for kind in Kind::ALL {
        let settings = format!("BLOCK_LIST=block.{ZONE}");
        let Some((machine, output)) = while_it_moves(kind, &settings, "2.block", 2) else { continue };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kind:?}: {}", words(&output));
        // NSD ends the connections that its old server has.
        let cause = match kind {
            Kind::Nsd => "connection",
            _ => "the zone changed while it was read, and again the second time",
        };
        assert!(said.contains(cause), "{kind:?}: {said}");
        assert_eq!(spooled(&machine, Block), wanted(1), "{kind:?}");
    }
}
