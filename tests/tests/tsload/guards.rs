//! What no policy may do, and what pf has room for.

use super::*;

#[test]
fn the_guards_hold_and_only_some_let_force_pass() {
    let (machine, model) = ready();
    machine.spool(Block, hosts(91, 5000));
    assert_status(&tsload(&machine, &model, &[]), 0);
    let table = || model.table("", "ThreatSTOP-Block").unwrap().list();
    let refused = |prefixes: &[String], args: &[&str], cause: &str| {
        machine.spool(Block, prefixes);
        let output = tsload(&machine, &model, args);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(cause), "{cause}: {}", words(&output));
        assert_eq!(table().len(), 5000);
    };
    refused(
        &hosts(91, 2000),
        &[],
        "2000 prefixes after 5000: shrinks by more than MAX_SHRINK=50 %; -f takes it",
    );
    refused(&[], &[], "nothing to block, though BLOCK_LIST is set; -f empties the table");
    // Decoys inside protected networks do not count.
    refused(&hosts(10, 5000), &[], "nothing to block, though BLOCK_LIST is set");
    refused(&["0.0.0.0/0".to_owned()], &["-f"], "0.0.0.0/0: shorter than MIN_PREFIX4=8");
    // The table file is gone: what the kernel holds is what may not shrink.
    fs::remove_file(machine.path("db/ThreatSTOP-Block.pftable")).unwrap();
    refused(&hosts(91, 2000), &[], "2000 prefixes after 5000");
    assert_status(&tsload(&machine, &model, &["-f"]), 0);
    assert_eq!(table().len(), 2000);
}

#[test]
fn what_pf_cannot_hold_is_not_tried() {
    let (machine, model) = ready();
    model.set_limit(50).unwrap();
    machine.spool(Block, hosts(91, 51));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("no room for 51 more addresses"), "{}", words(&output));
    assert!(model.calls().iter().all(|call| call.errno == 0), "{:?}", model.calls());
    assert_eq!(machine.table_file(Block), "");
}

#[test]
fn room_is_counted_for_both_tables_together() {
    let (machine, _) = ready();
    let model = Model::new(Os::OpenBsd);
    model.load_rules(&format!("set limit table-entries 250\n{RULES}")).unwrap();
    machine.spool(Allow, hosts(94, 200));
    machine.spool(Block, hosts(91, 200));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    let wanted = "table ThreatSTOP-Block: no room for 200 more addresses beside the 200 in all tables: the limit is 250";
    assert!(stderr(&output).contains(wanted), "{}", words(&output));
    assert!(model.calls().iter().all(|call| call.errno == 0), "the kernel was never asked in vain");
    assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list().len(), 200);
    // A warning comes with the run that makes it true, and once.
    assert_eq!(stderr(&output).matches("no room for loading pf.conf again").count(), 1, "{}", words(&output));
    machine.spool(Block, hosts(91, 10));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    assert!(tsload(&machine, &model, &[]).stderr.is_empty());
}

#[test]
fn a_file_that_pf_could_not_load_at_boot_is_not_written() {
    let (machine, model) = ready();
    model.set_limit(50).unwrap();
    machine.configure("BLOCK_LIST=block.example\nRELOAD_PF=no\n");
    machine.spool(Block, hosts(91, 60));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("no room for 60 more addresses"), "{}", words(&output));
    assert_eq!(machine.table_file(Block), "");
}

#[test]
fn protected_networks_are_exceptions() {
    let (machine, model) = ready();
    machine.configure("BLOCK_LIST=block.example\nNEVER_BLOCK=\"64.1.0.0/16 64.2.3.0/24 65.0.0.0/8\"\n");
    machine.spool(Block, ["64.0.0.0/8", "65.1.2.3/32"]);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    let wanted = ["64.0.0.0/8", "!64.1.0.0/16", "!64.2.3.0/24"];
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), wanted);
    assert_eq!(machine.table_file(Block), wanted.join("\n") + "\n");
    assert!(!model.matches("", "ThreatSTOP-Block", "64.1.1.1".parse().unwrap()));
    assert!(model.matches("", "ThreatSTOP-Block", "64.3.1.1".parse().unwrap()));
    // Said once, and again only when it changes.
    let said = stderr(&output);
    assert!(
        said.contains(
            "tsload: 65.0.0.0/8 is not blocked (NEVER_BLOCK): listed prefixes in it are left out\n"
        ),
        "{said}"
    );
    assert!(
        said.contains("64.1.0.0/16 is not blocked (NEVER_BLOCK): it is exempted from a listed prefix"),
        "{said}"
    );
    machine.spool(Block, ["64.0.0.0/8", "65.1.2.3/32", "91.0.0.1/32"]);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    machine.spool(Block, ["64.0.0.0/8", "91.0.0.1/32"]);
    let output = tsload(&machine, &model, &[]);
    assert!(
        !stderr(&output).contains("65.0.0.0/8") && stderr(&output).contains("64.1.0.0/16"),
        "{}",
        words(&output)
    );
}

#[test]
fn this_machine_is_not_cut_off() {
    let addresses = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        (!address.is_loopback()).then_some(address)
    });
    let own: Vec<std::net::Ipv4Addr> = addresses.collect();
    let Some(address) = own.first() else {
        return tests::machine::skip("an IPv4 address beside 127.0.0.1");
    };
    let (machine, model) = ready();
    machine.configure("BLOCK_LIST=block.example\nNEVER_BLOCK=\n");
    machine.spool(Block, [format!("{}.0.0.0/8", address.octets()[0])]);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert!(!model.matches("", "ThreatSTOP-Block", (*address).into()));
    assert!(model.table("", "ThreatSTOP-Block").unwrap().list().len() > 1);
}

#[test]
fn a_table_without_rules_is_said_once() {
    let (machine, _) = ready();
    let model = Model::new(Os::OpenBsd);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    let said = stderr(&output);
    let file = machine.path("db/ThreatSTOP-Block.pftable");
    let lines = format!(
        "tsload: table ThreatSTOP-Block: no rule refers to it; put these lines into /etc/pf.conf:\n\
         tsload:     table <ThreatSTOP-Block> persist file \"{}\"\n\
         tsload:     block drop in log quick from <ThreatSTOP-Block>\n\
         tsload:     block drop out log quick to <ThreatSTOP-Block>\n",
        file.display()
    );
    assert!(said.contains(&lines), "{said}");
    assert!(said.contains("tsload:     pass in quick from <ThreatSTOP-Allow>\n"), "{said}");
    // Done as told, nothing is left to say.
    let rules: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("tsload:     ")).collect();
    let done = Model::new(Os::OpenBsd);
    done.load_rules(&rules.join("\n")).unwrap();
    assert_eq!(done.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    assert!(tsload(&machine, &done, &[]).stderr.is_empty());
    fs::remove_file(machine.path("db/threatstop/said")).unwrap();
    assert!(stderr(&tsload(&machine, &model, &[])).contains(&lines));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 2);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    model.load_rules(RULES).unwrap();
    assert!(tsload(&machine, &model, &["-f"]).stderr.is_empty());
    model.load_rules("table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\npass").unwrap();
    assert!(stderr(&tsload(&machine, &model, &[])).contains("no rule refers to it"));
}

#[test]
fn room_is_counted_before_the_kernel_is_asked() {
    let (machine, model) = ready();
    model.load_rules(&format!("set limit table-entries 250\n{RULES}")).unwrap();
    machine.spool(Block, hosts(91, 100));
    // Twice 101 addresses fit; loading pf.conf again is no problem.
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    // 100 other addresses fit beside the old ones, 150 do not.
    machine.spool(Block, hosts(92, 150));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    let wanted = "no room for 150 more addresses beside the 101 in all tables: the limit is 250";
    assert!(stderr(&output).contains(wanted), "{}", words(&output));
    // What stays needs no room: 60 more beside the 100.
    machine.spool(Block, hosts(91, 160));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("no room for loading pf.conf again"), "{}", words(&output));
    assert!(model.calls().iter().all(|call| call.errno == 0), "the kernel was never asked in vain");
}

/// What the table holds is not known then: all of the policy may have to be added.
#[test]
fn room_is_counted_for_a_table_that_was_not_loaded() {
    let (machine, model) = ready();
    let settings = "BLOCK_LIST=block.example\n";
    model.load_rules(&format!("set limit table-entries 150\n{RULES}")).unwrap();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.configure(&format!("{settings}RELOAD_PF=no\n"));
    machine.spool(Block, hosts(92, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.configure(settings);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("no room for 100 more addresses beside the 101"), "{}", words(&output));
    const DRY_RUN: u32 = 2;
    let calls = model.calls();
    assert!(
        calls.iter().all(|call| call.errno == 0 || call.flags == DRY_RUN),
        "the kernel was asked to count only"
    );
}

/// Killed in the middle, where there is no room for old and new side by side: the kernel knows that little is added.
#[test]
fn an_interrupted_swap_is_repaired_where_room_is_scarce() {
    let (machine, model) = ready();
    model.load_rules(&format!("set limit table-entries 150\n{RULES}")).unwrap();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.write("db/threatstop/unloaded.block", "");
    machine.spool(Block, hosts(91, 101));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 101), "{}", words(&output));
    assert_status(&tsload(&machine, &model, &[]), 2);
}

/// Somebody runs `pfctl -f` before each of tsload's calls in turn: the table is old, new or what the file said, and the next
/// run makes it good.
#[test]
fn a_ruleset_that_is_loaded_meanwhile_does_no_harm() {
    for nth in 1.. {
        let (machine, model) = ready();
        assert_status(&tsload(&machine, &model, &[]), 0);
        machine.spool(Block, hosts(91, 7));
        // The table comes from the ruleset now, with other addresses, and more of them.
        let others = hosts(93, 9).join(" ");
        let rules = format!(
            "table <ThreatSTOP-Block> {{ {others} }}\ntable <ThreatSTOP-Allow> persist\n\
            block from <ThreatSTOP-Block>\npass from <ThreatSTOP-Allow>"
        );
        model.meanwhile(nth, &rules);
        let before = model.calls().len();
        let output = tsload(&machine, &model, &[]);
        if model.calls().len() < before + nth {
            assert!(nth > 6, "every call of a run was tried, {nth}");
            break;
        }
        let met = model.table("", "ThreatSTOP-Block").unwrap().list();
        assert!(met == hosts(91, 7) || met == hosts(93, 9), "call {nth}: {met:?}: {}", words(&output));
        if met == hosts(93, 9) {
            // The counts show it.
            assert_status(&tsload(&machine, &model, &[]), 0);
        }
        assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 7), "call {nth}");
        assert_eq!(machine.table_file(Block).lines().count(), 7, "call {nth}");
        assert!(matches!(tsload(&machine, &model, &[]).status.code(), Some(0 | 2)), "a mark may be left");
        assert_status(&tsload(&machine, &model, &[]), 2);
    }
}

#[test]
fn what_is_protected_now_stays_so_when_going_back() {
    let (machine, model) = ready();
    machine.spool(Block, ["64.0.0.0/8", "203.0.113.0/24"]);
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.configure("BLOCK_LIST=block.example\nNEVER_BLOCK=\"203.0.113.0/24 64.1.0.0/16\"\n");
    assert_status(&tsload(&machine, &model, &[]), 0);
    let now = ["64.0.0.0/8", "!64.1.0.0/16"];
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), now);
    tsload(&machine, &model, &["-R"]);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), now, "not what is protected by now");
}
