//! tsload's pf code in both systems' layouts, against the model of pf, which has a codec of its own.

use std::process::{Command, Output, Stdio};

use common::Table::{Allow, Block};
use tests::machine::{Machine, words};
use tests::pf::{Model, Os};

const SYSTEMS: [(Os, &str); 2] = [(Os::OpenBsd, "openbsd"), (Os::FreeBsd, "freebsd")];

fn load(model: &Model, system: &str, prefixes: &str) -> String {
    let file =
        std::env::temp_dir().join(format!("tspf-abi-{}-{system}-{}", std::process::id(), prefixes.len()));
    std::fs::write(&file, prefixes).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pfload"));
    command.args([system, "t"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = model.run(&mut command).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_layouts_say_what_was_meant() {
    for (os, system) in SYSTEMS {
        let model = Model::new(os);
        let entries = ["10.0.0.0/8", "192.0.2.1/32", "!10.1.0.0/16", "2001:db8::/32", "!2001:db8::1/128"];
        let said = load(&model, system, &entries.join("\n"));
        assert_eq!(
            said,
            "limit 200000\nChanges { added: 5, deleted: 0, changed: 0 }\nChanges { added: 5, deleted: 0, changed: 0 }\nt 5\n"
        );
        let mut listed = model.table("", "t").unwrap().list();
        listed.sort();
        let mut wanted = entries;
        wanted.sort_unstable();
        assert_eq!(listed, wanted);
        let said = load(&model, system, "10.0.0.0/8\n10.1.0.0/16");
        assert!(said.contains("Changes { added: 0, deleted: 3, changed: 1 }"), "{said}");
    }
}

#[test]
fn another_system_s_layout_is_refused() {
    assert!(load_fails(Os::FreeBsd, "openbsd"));
    assert!(load_fails(Os::OpenBsd, "freebsd"));
}

fn load_fails(os: Os, system: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pfload"));
    command.args([system, "t"]).stdin(Stdio::null());
    !Model::new(os).run(&mut command).unwrap().status.success()
}

#[test]
fn freebsd_takes_no_more_than_request_maxcount() {
    let model = Model::new(Os::FreeBsd);
    model.set_request_maxcount(100);
    let hosts = |count: u32| (0..count).map(|n| format!("11.0.0.{n}/32")).collect::<Vec<_>>().join("\n");
    let said = load(&model, "freebsd", &hosts(101));
    assert!(said.matches("EINVAL: ").count() == 2 && said.ends_with("t 0\n"), "{said}");
    assert!(load(&model, "freebsd", &hosts(100)).contains("t 100\n"));
}

/// Every refusal that tsload can meet, in both layouts: the kernel's errno and our advice.
#[test]
fn every_refusal_has_its_advice_in_both_layouts() {
    for (os, system) in SYSTEMS {
        let refused = |prepare: &dyn Fn(&Model), wanted: &[&str]| {
            let model = Model::new(os);
            prepare(&model);
            let said = load(&model, system, "192.0.2.0/24\n192.0.2.7/32");
            for words in wanted {
                assert!(said.contains(words), "{system}: wanted {words:?}: {said}");
            }
            assert!(model.table("", "t").is_none_or(|table| table.entries.is_empty()), "{system}: {said}");
        };
        refused(&|model| model.set_limit(1).unwrap(), &["ENOMEM: "]);
        refused(
            &|model| model.load_rules("table <t> const\nblock from <t>\npass").unwrap(),
            &["EPERM: ", "the table is const"],
        );
        let securelevel = if os == Os::OpenBsd { 2 } else { 3 };
        refused(
            &|model| model.set_securelevel(securelevel),
            &["add_table: the kernel does not permit it", "ESRCH: no such table"],
        );
        let fail = |errno| move |model: &Model| (1..10).for_each(|nth| model.fail_swap(nth, errno));
        refused(&fail(libc::ENODEV), &["ENODEV: ", "another layout"]);
        refused(&fail(libc::EACCES), &["EACCES: /dev/pf was opened for reading only"]);
        refused(&fail(libc::EBUSY), &["EBUSY: "]);
        refused(&fail(libc::EFAULT), &["EFAULT: "]);
    }
}

/// A policy of 101 addresses to block and one to allow, with both tables in place.
fn ready(os: Os) -> (Machine, Model) {
    let machine = Machine::new();
    machine.configure("BLOCK_LIST=block.example\n");
    machine.spool(Block, (0..101).map(|n| format!("91.0.0.{n}/32")));
    machine.spool(Allow, ["198.51.100.7/32"]);
    machine.install(std::path::Path::new(env!("CARGO_BIN_EXE_pfload")));
    let model = Model::new(os);
    let tables = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist";
    model
        .load_rules(&format!("{tables}\npass from <ThreatSTOP-Allow>\nblock from <ThreatSTOP-Block>"))
        .unwrap();
    (machine, model)
}

/// What tsload does, in the system's layout, with so much as its `net.pf.request_maxcount`.
fn run(machine: &Machine, model: &Model, system: &str, request_maxcount: &str) -> (Output, String) {
    let mut command = machine.program("pfload");
    command.arg(system).args((system == "freebsd").then_some(request_maxcount));
    let output = model.run(&mut command).unwrap();
    let said = words(&output);
    (output, said)
}

#[test]
fn a_policy_is_loaded_in_both_layouts() {
    for (os, system) in SYSTEMS {
        let (machine, model) = ready(os);
        let (output, said) = run(&machine, &model, system, "65535");
        assert!(output.status.success() && said.contains("[Allow, Block]"), "{system}: {said}");
        let hosts: Vec<String> = (0..101).map(|n| format!("91.0.0.{n}/32")).collect();
        assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts);
        assert_eq!(machine.table_file(Block).lines().count(), 101);
        let (_, said) = run(&machine, &model, system, "65535");
        assert!(said.contains("[]"), "{system}: nothing is left to do: {said}");
        // The tables of an anchor that nobody made.
        machine.configure("BLOCK_LIST=block.example\nANCHOR=tspf\n");
        let (output, said) = run(&machine, &model, system, "65535");
        assert!(output.status.success(), "{system}: {said}");
        assert_eq!(model.table("tspf", "ThreatSTOP-Block").unwrap().list().len(), 101);
    }
}

#[test]
fn freebsd_is_not_asked_for_a_longer_list_than_it_takes() {
    let (machine, model) = ready(Os::FreeBsd);
    model.set_request_maxcount(100);
    let (output, said) = run(&machine, &model, "freebsd", "100");
    assert_eq!(output.status.code(), Some(1), "{said}");
    let wanted = "table ThreatSTOP-Block: a list of 101 addresses, and the kernel takes no more than 100 at once; \
                  set the sysctl net.pf.request_maxcount to 100000\n[Allow]";
    assert!(said.contains(wanted), "{said}");
    assert!(model.calls().iter().all(|call| call.errno == 0), "the kernel was never asked in vain");
    assert_eq!(machine.table_file(Block), "");
    // As many as it takes, to the last one: nothing but the list is counted.
    model.set_request_maxcount(101);
    let (output, said) = run(&machine, &model, "freebsd", "101");
    assert!(output.status.success() && said.contains("[Block]"), "{said}");
}

/// What the kernel says to a swap, and what tsload makes of it: the table and its file stay as they are.
#[test]
fn every_refusal_of_a_swap_is_explained_in_both_layouts() {
    let layout = "the kernel's tables have another layout than this program was built for";
    let sysctl = "the kernel takes no list of 101; set the sysctl net.pf.request_maxcount to more";
    let room = "no room for 101 more addresses beside the 1 in all tables: the limit is 200000; put \"set limit \
                table-entries 300000\" above the tables in /etc/pf.conf";
    for (os, system) in SYSTEMS {
        let invalid = if os == Os::FreeBsd { sysctl } else { "Invalid argument" };
        for (errno, wanted) in [
            (libc::ENOMEM, room),
            (libc::EINVAL, invalid),
            (libc::ENODEV, layout),
            (libc::ESRCH, "no such table; is pf's ruleset being reloaded? the next run tries again"),
            (libc::EPERM, "the kernel does not permit it: the table is const in pf.conf"),
            (libc::EACCES, "/dev/pf was opened for reading only"),
            (libc::EBUSY, "Device or resource busy"),
            (libc::EFAULT, "Bad address"),
        ] {
            let (machine, model) = ready(os);
            model.fail_swap(2, errno);
            let (output, said) = run(&machine, &model, system, "65535");
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("table ThreatSTOP-Block: {wanted}")), "{system}, {errno}: {said}");
            assert!(model.table("", "ThreatSTOP-Block").unwrap().entries.is_empty());
            assert_eq!(machine.table_file(Block), "", "{system}, {errno}");
            assert_eq!(
                model.table("", "ThreatSTOP-Allow").unwrap().list().len(),
                1,
                "the other table goes on"
            );
            let (output, said) = run(&machine, &model, system, "65535");
            assert!(output.status.success() && said.contains("[Block]"), "{system}, {errno}: {said}");
        }
    }
}
