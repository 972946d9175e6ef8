//! tsload, the real program, against the model of pf.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Output;

use common::Table::{Allow, Block};
use tests::machine::{Machine, words};
use tests::pf::{Action, Direction, Model, Os};

const RULES: &str = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\n\
    pass in quick from <ThreatSTOP-Allow>\nblock in quick from <ThreatSTOP-Block>\npass";

const POLICY: [&str; 4] = ["64.87.3.133/32", "91.0.0.0/16", "203.0.113.0/24", "2001:db8::1/128"];

fn model() -> Model {
    let model = Model::new(Os::OpenBsd);
    model.load_rules(RULES).unwrap();
    model
}

/// A machine with a policy, and pf with its tables.
fn ready() -> (Machine, Model) {
    let machine = Machine::new();
    machine.configure("BLOCK_LIST=block.example\nALLOW_LIST=allow.example\n");
    machine.spool(Block, POLICY);
    machine.spool(Allow, ["198.51.100.7/32"]);
    (machine, model())
}

fn tsload(machine: &Machine, model: &Model, args: &[&str]) -> Output {
    model.run(machine.program("tsload").args(args)).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", words(output));
}

fn hosts(network: u8, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{network}.0.{}.{}/32", n / 256, n % 256)).collect()
}

fn swaps(model: &Model) -> usize {
    model.calls().iter().filter(|call| call.name == "DIOCRSETADDRS").count()
}

#[test]
fn loads_changes_and_leaves_alone() {
    let (machine, model) = ready();
    let output = tsload(&machine, &model, &["-v"]);
    assert_status(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    for line in [
        "Adding 4 blocked addresses\nAdding 1 allowed addresses\n",
        "ThreatSTOP-Block: 4 addresses, 4 added, 0 deleted, 0 changed\n",
        "Reloading pf...done\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    assert_eq!(machine.table_file(Block), "64.87.3.133\n91.0.0.0/16\n203.0.113.0/24\n2001:db8::1\n");
    assert_eq!(machine.table_file(Allow), "198.51.100.7\n");
    assert_eq!(swaps(&model), 2);

    // Unchanged: no swap, nothing printed, nothing touched.
    let before = machine.snapshot("db");
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 2);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", words(&output));
    assert_eq!(swaps(&model), 2);
    assert_eq!(machine.snapshot("db"), before);

    // Changed: the previous file is kept, and counters of what stays.
    machine.spool(Block, &POLICY[..3]);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(output.stdout.is_empty(), "quiet under cron: {}", words(&output));
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), &POLICY[..3]);
    let previous = fs::read_to_string(machine.path("db/ThreatSTOP-Block.pftable.1")).unwrap();
    assert!(previous.ends_with("2001:db8::1\n"));
    assert_eq!(swaps(&model), 3, "the allow table did not change");
    let mode = fs::metadata(machine.path("db/ThreatSTOP-Block.pftable")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    // Unchanged, with -f: swapped all the same.
    assert_status(&tsload(&machine, &model, &["-f"]), 0);
    assert_eq!(swaps(&model), 5);
}

#[test]
fn another_policy_of_the_same_size_is_a_change() {
    let (machine, model) = ready();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.spool(Block, hosts(92, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(92, 100));
}

/// The file could not be replaced after the swap, and then the old policy comes back, as large as the new one: file and
/// count agree, and yet the table is wrong. The next run has to know that a swap was begun.
#[test]
fn a_swap_that_was_interrupted_is_repaired_whatever_the_counts_say() {
    let (machine, model) = ready();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.directory("db/ThreatSTOP-Block.pftable.1.tmp", 0o755);
    machine.spool(Block, hosts(92, 100));
    assert_status(&tsload(&machine, &model, &[]), 1);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(92, 100));
    fs::remove_dir(machine.path("db/ThreatSTOP-Block.pftable.1.tmp")).unwrap();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 2);
    assert!(!machine.path("db/ThreatSTOP-Block.pftable.tmp").exists());
}

#[test]
fn a_disk_that_takes_nothing_keeps_pf_as_it_is() {
    let (machine, model) = ready();
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.directory("db/ThreatSTOP-Block.pftable.tmp", 0o755);
    machine.write("db/ThreatSTOP-Block.pftable.tmp/x", "");
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 1);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY, "the file comes first");
}

/// One failing call after the other, with every errno that tsload maps: each table is old or new, and the next run repairs.
#[test]
fn a_failure_at_any_call_is_repaired_by_the_next_run() {
    for errno in [libc::ENOMEM, libc::EINVAL, libc::ESRCH, libc::EPERM, libc::ENODEV, libc::EBUSY] {
        for nth in 1.. {
            let (machine, model) = ready();
            assert_status(&tsload(&machine, &model, &[]), 0);
            machine.spool(Block, hosts(91, 5));
            machine.spool(Allow, ["198.51.100.8/32"]);
            model.fail_call(nth, errno);
            let output = tsload(&machine, &model, &[]);
            let failed = model.calls().iter().any(|call| call.errno == errno);
            assert_status(&output, i32::from(failed));
            let list = model.table("", "ThreatSTOP-Block").unwrap().list();
            assert!(list == POLICY || list == hosts(91, 5), "{errno} at {nth}: {list:?}");
            if failed {
                assert!(stderr(&output).contains("tsload: "), "{}", words(&output));
                // Nothing is left to do if it was the last call that failed.
                assert!(matches!(tsload(&machine, &model, &[]).status.code(), Some(0 | 2)));
            }
            assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 5));
            assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list(), ["198.51.100.8/32"]);
            if !failed {
                assert!(nth > 5, "every call of a run was tried");
                break;
            }
            assert_status(&tsload(&machine, &model, &[]), 2);
        }
    }
}

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
    machine.spool(Block, hosts(91, 10));
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert_eq!(stderr(&output).matches("no room for loading pf.conf again").count(), 1, "{}", words(&output));
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
fn repairs_a_table_that_somebody_emptied() {
    let (machine, model) = ready();
    assert_status(&tsload(&machine, &model, &[]), 0);
    model.reset();
    model.load_rules(RULES).unwrap();
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
}

#[test]
fn makes_a_missing_table() {
    let (machine, _) = ready();
    let model = Model::new(Os::OpenBsd);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    // Named by a rule only: known to the kernel, but not there.
    let model = Model::new(Os::OpenBsd);
    model.load_rules("block in from <ThreatSTOP-Block>\npass").unwrap();
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
}

#[test]
fn a_dry_run_counts_and_needs_read_access_only() {
    let (machine, model) = ready();
    model.deny_writing(libc::EACCES);
    let before = machine.snapshot("db");
    let output = tsload(&machine, &model, &["-n"]);
    assert_status(&output, 0);
    let wanted = "ThreatSTOP-Allow: 1 addresses, 1 added, 0 deleted, 0 changed\n\
                  ThreatSTOP-Block: 4 addresses, 4 added, 0 deleted, 0 changed\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    assert!(model.table("", "ThreatSTOP-Block").unwrap().entries.is_empty());
    assert_eq!(machine.snapshot("db"), before);
    assert!(model.calls().iter().all(|call| call.errno == 0), "{:?}", model.calls());

    // Tables that are not there yet are not made.
    let bare = Model::new(Os::OpenBsd);
    let output = tsload(&machine, &bare, &["-n"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    assert!(bare.table("", "ThreatSTOP-Block").is_none());

    assert_status(&tsload(&machine, &model, &[]), 1);
    model.reset();
    model.load_rules(RULES).unwrap();
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_status(&tsload(&machine, &model, &["-n"]), 2);
}

#[test]
fn without_reload_only_the_files_change() {
    let (machine, model) = ready();
    machine.configure("BLOCK_LIST=block.example\nRELOAD_PF=no\n");
    model.deny_open(libc::ENOENT);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert!(model.calls().is_empty(), "there is no pf to ask");
    assert_eq!(machine.table_file(Allow), "198.51.100.7\n");
}

#[test]
fn tables_in_an_anchor() {
    let (machine, _) = ready();
    machine.configure("BLOCK_LIST=block.example\nANCHOR=tspf/inner\n");
    let model = Model::new(Os::OpenBsd);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("tspf/inner", "ThreatSTOP-Block").unwrap().list(), POLICY);
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
    for line in [
        "tsload: table ThreatSTOP-Allow: no rule refers to it; put \"pass in quick from <ThreatSTOP-Allow>\" and",
        "tsload: table ThreatSTOP-Block: no rule refers to it; put \"block drop in log quick from <ThreatSTOP-Block>\" and",
    ] {
        assert!(said.contains(line), "{said}");
    }
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

/// Runs tsload on a spool that it must refuse: it names the cause and touches nothing.
#[track_caller]
fn assert_refused(change: impl Fn(&Machine), cause: &str) {
    let (machine, model) = ready();
    assert_status(&tsload(&machine, &model, &[]), 0);
    change(&machine);
    let (files, table) = (machine.snapshot("db"), model.table("", "ThreatSTOP-Block"));
    let swapped = swaps(&model);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains(cause), "wanted {cause:?}: {}", words(&output));
    assert!(stderr(&output).starts_with("tsload: "), "{}", words(&output));
    assert_eq!(machine.snapshot("db"), files);
    assert_eq!(model.table("", "ThreatSTOP-Block"), table);
    assert_eq!(swaps(&model), swapped, "no swap");
}

const BLOCK: &str = "db/threatstop/policy/block.pftable";

#[test]
fn refuses_a_hostile_spool() {
    for (text, cause) in [
        ("self", "line 3: not a numeric prefix"),
        ("www.example.com", "line 3: not a numeric prefix"),
        ("!192.0.2.0/24", "line 3: not a numeric prefix"),
        ("192.0.2.1/24", "line 3: address bits set beyond the prefix length"),
        ("192.0.2.0/24\n192.0.1.0/24", "line 4: not in ascending order"),
        ("0.0.0.0/0", "0.0.0.0/0: shorter than MIN_PREFIX4=8"),
    ] {
        let spool = |machine: &Machine| machine.spool(Block, text.lines());
        assert_refused(spool, &format!("policy/block.pftable: {cause}"));
    }
    let write = |text: &'static str| move |machine: &Machine| machine.write(BLOCK, text);
    assert_refused(write("192.0.2.0/24\n"), "line 1: not \"# tspf 1 block\"");
    assert_refused(
        write("# tspf 1 allow\n# settings 0123456789abcdef\n# end 0\n"),
        "line 1: not \"# tspf 1 block\"",
    );
    assert_refused(
        write("# tspf 1 block\n# settings 0123456789abcdef\n192.0.2.0/24\n"),
        "without \"# end\": cut off",
    );
    assert_refused(
        write("# tspf 1 block\n# settings 0123456789abcdef\n# end 7\n"),
        "line 3: not \"# end 0\"",
    );
    assert_refused(write(""), "cut off");
    assert_refused(|machine| machine.spool(Block, [""; 0]), "nothing to block, though BLOCK_LIST is set");
}

#[test]
fn refuses_a_spool_that_is_no_plain_file_of_the_fetcher() {
    let remove = |machine: &Machine| fs::remove_file(machine.path(BLOCK)).unwrap();
    assert_refused(remove, "no policy there yet; run tsfetch");
    let link = |machine: &Machine| {
        remove(machine);
        machine.write("db/other", "x");
        symlink(machine.path("db/other"), machine.path(BLOCK)).unwrap();
    };
    assert_refused(link, "a symbolic link");
    let fifo = |machine: &Machine| {
        remove(machine);
        nix::unistd::mkfifo(&machine.path(BLOCK), nix::sys::stat::Mode::S_IRWXU).unwrap();
        machine.own(&machine.path(BLOCK));
    };
    assert_refused(fifo, "not a regular file");
    let second = |machine: &Machine| fs::hard_link(machine.path(BLOCK), machine.path("db/second")).unwrap();
    assert_refused(second, "has 2 names");
    if nix::unistd::geteuid().is_root() {
        let foreign =
            |machine: &Machine| std::os::unix::fs::chown(machine.path(BLOCK), Some(1), None).unwrap();
        assert_refused(foreign, "owned by uid 1, not by the fetcher's, 65534");
    } else {
        tests::machine::skip("root, for a file of another owner");
    }
    for path in [
        "db",
        "db/threatstop",
        "db/threatstop/lock",
        BLOCK,
        "db/ThreatSTOP-Block.pftable",
        "etc/threatstop.conf",
    ] {
        let open_to_all = |machine: &Machine| {
            fs::set_permissions(machine.path(path), fs::Permissions::from_mode(0o777)).unwrap();
        };
        assert_refused(open_to_all, "group or others may write it");
    }
    let linked_table = |machine: &Machine| {
        fs::rename(machine.path("db/ThreatSTOP-Block.pftable"), machine.path("db/elsewhere")).unwrap();
        symlink(machine.path("db/elsewhere"), machine.path("db/ThreatSTOP-Block.pftable")).unwrap();
        machine.spool(Block, ["192.0.2.0/24"]);
    };
    assert_refused(linked_table, "name the file itself, not a link");
}

/// The run that would repair an interrupted swap fails too, and then nothing seems to be left to do.
#[test]
fn the_sign_of_an_interrupted_swap_outlives_a_run_that_fails() {
    let (machine, model) = ready();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.directory("db/ThreatSTOP-Block.pftable.1.tmp", 0o755);
    machine.spool(Block, hosts(92, 100));
    assert_status(&tsload(&machine, &model, &[]), 1);
    fs::remove_dir(machine.path("db/ThreatSTOP-Block.pftable.1.tmp")).unwrap();
    machine.spool(Block, hosts(91, 100));
    model.fail_swap(1, libc::ENOMEM);
    assert_status(&tsload(&machine, &model, &[]), 1);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 2);
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

/// The fetcher is somebody else's by now: it swaps the file for links, fifos, directories and half files as fast as it can.
/// No run hangs, and the table only ever holds one of the two policies that were spooled whole.
#[test]
fn a_fetcher_that_swaps_its_file_under_our_hands_gains_nothing() {
    let (machine, model) = ready();
    let policies = [hosts(91, 200), hosts(92, 300)];
    machine.write("db/secret", "64.0.0.1/32\n");
    for (index, policy) in policies.iter().enumerate() {
        machine.spool(Block, policy);
        fs::copy(machine.path(BLOCK), machine.path(&format!("db/good{index}"))).unwrap();
    }
    assert_status(&tsload(&machine, &model, &[]), 0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut loads = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (spool, next) = (machine.path(BLOCK), machine.path("db/next"));
            for round in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let _ = fs::remove_file(&next);
                let _ = fs::remove_dir(&next);
                match round % 6 {
                    0 => symlink(machine.path("db/secret"), &next).unwrap(),
                    1 => nix::unistd::mkfifo(&next, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                    2 => fs::create_dir(&next).unwrap(),
                    3 => fs::hard_link(machine.path("db/secret"), &next).unwrap(),
                    // A file that is written while it may be read, and cut again.
                    good => {
                        let whole = fs::read(machine.path(&format!("db/good{}", good - 4))).unwrap();
                        fs::write(&next, &whole[..whole.len() / 2]).unwrap();
                        machine.own(&next);
                        let _ = fs::remove_dir(&spool);
                        let _ = fs::rename(&next, &spool);
                        let _ = fs::write(&spool, &whole);
                        let _ = fs::OpenOptions::new()
                            .write(true)
                            .open(&spool)
                            .and_then(|file| file.set_len(whole.len() as u64 - 5));
                        let _ = fs::write(&spool, &whole);
                        continue;
                    }
                }
                let _ = fs::remove_dir(&spool);
                let _ = fs::rename(&next, &spool);
            }
        });
        for _ in 0..60 {
            let output = tsload(&machine, &model, &["-f"]);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{}", words(&output));
            assert!(!words(&output).contains("64.0.0.1"), "{}", words(&output));
            let table = model.table("", "ThreatSTOP-Block").unwrap().list();
            assert!(policies.contains(&table), "{} entries", table.len());
            loads += usize::from(output.status.success());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{loads} of 60 runs met a whole policy");
}

#[test]
fn one_bad_table_does_not_stop_the_other() {
    let (machine, model) = ready();
    machine.write(BLOCK, "rubbish\n");
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list(), ["198.51.100.7/32"]);
    assert!(!machine.path("db/ThreatSTOP-Block.pftable").exists());
}

#[test]
fn names_the_remedy_for_what_the_kernel_refuses() {
    let refused = |prepare: &dyn Fn(&Machine, &Model), wanted: &str| {
        let (machine, model) = ready();
        prepare(&machine, &model);
        let output = tsload(&machine, &model, &[]);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(wanted), "wanted {wanted:?}: {}", words(&output));
        assert!(model.table("", "ThreatSTOP-Block").is_none_or(|table| table.entries.is_empty()));
        assert_eq!(machine.table_file(Block), "", "the file waits for the table");
    };
    refused(
        &|_, model| model.set_limit(3).unwrap(),
        "put \"set limit table-entries 100000\" above the tables in /etc/pf.conf",
    );
    refused(
        &|_, model| model.deny_open(libc::ENOENT),
        "/dev/pf: No such file or directory; this system has no pf",
    );
    refused(&|_, model| model.deny_open(libc::EACCES), "/dev/pf: Permission denied; run as root");
    let fail = |errno: i32| {
        move |_: &Machine, model: &Model| (1..20).for_each(|nth| model.fail_call(nth + 2, errno))
    };
    refused(&fail(libc::ENODEV), "another layout than this program was built for");
    let constant = "table <ThreatSTOP-Block> const\nblock from <ThreatSTOP-Block>\npass";
    refused(
        &|_, model| model.load_rules(constant).unwrap(),
        "table ThreatSTOP-Block: the kernel does not permit it",
    );
    let secure = |_: &Machine, model: &Model| {
        model.reset();
        model.set_securelevel(2);
    };
    refused(&secure, "the table must be in pf.conf already");
}

#[test]
fn a_second_run_leaves_the_first_alone() {
    let (machine, model) = ready();
    let lock = fs::File::create(machine.path("db/threatstop/lock/tsload")).unwrap();
    machine.own(&machine.path("db/threatstop/lock/tsload"));
    lock.lock().unwrap();
    let output = tsload(&machine, &model, &["-v"]);
    assert_status(&output, 2);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "another tsload is running\n");
    assert!(model.calls().is_empty());
}

#[test]
fn goes_back_to_the_previous_policy_and_forth_again() {
    let (machine, model) = ready();
    let output = tsload(&machine, &model, &["-R"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("there is no previous policy"), "{}", words(&output));
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.spool(Block, ["192.0.0.0/8", "203.0.113.0/24"]);
    assert_status(&tsload(&machine, &model, &[]), 0);
    let (table, file) =
        (|| model.table("", "ThreatSTOP-Block").unwrap().list(), || machine.table_file(Block));
    let (new_table, new_file) = (table(), file());
    assert!(new_table.iter().any(|entry| entry.starts_with('!')));

    let output = tsload(&machine, &model, &["-R", "-n"]);
    assert_status(&output, 0);
    assert_eq!((table(), file()), (new_table.clone(), new_file.clone()), "a dry run");
    let output = tsload(&machine, &model, &["-R"]);
    assert_status(&output, 0);
    assert!(words(&output).contains("back to the previous policy"), "{}", words(&output));
    assert_eq!(table(), POLICY);
    assert_eq!(file().lines().count(), POLICY.len());
    assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list(), ["198.51.100.7/32"], "it did not change");
    assert_status(&tsload(&machine, &model, &["-R"]), 0);
    assert_eq!((table(), file()), (new_table, new_file));

    machine.write("db/ThreatSTOP-Block.pftable.1", "self\n");
    let output = tsload(&machine, &model, &["-R"]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("ThreatSTOP-Block.pftable.1: line 1: not a numeric prefix"),
        "{}",
        words(&output)
    );
}

#[test]
fn prints_what_the_tables_did() {
    let (machine, model) = ready();
    let output = tsload(&machine, &model, &["-s"]);
    assert_status(&output, 0);
    assert!(words(&output).contains("ThreatSTOP-Block: 0 addresses"), "{}", words(&output));
    assert_status(&tsload(&machine, &model, &[]), 0);
    let block = ("", "ThreatSTOP-Block");
    for _ in 0..3 {
        assert!(model.packet(block, "64.87.3.133".parse().unwrap(), Direction::In, Action::Block, 60));
    }
    assert!(!model.packet(block, "198.18.0.1".parse().unwrap(), Direction::Out, Action::Block, 60));
    let output = tsload(&machine, &model, &["-s"]);
    assert_status(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("  blocked in                 3 packets                  180 bytes\n"), "{said}");
    assert!(said.contains("evaluations                4, of which 3 matched (75.00 %)"), "{said}");
    let said = String::from_utf8(tsload(&machine, &model, &["-s", "-v"]).stdout).unwrap();
    assert!(said.contains("block_blocked_in_bytes=180\n") && said.contains("allow_addresses=1\n"), "{said}");
    assert!(said.lines().all(|line| line.split_once('=').is_some()), "{said}");

    let bare = Model::new(Os::OpenBsd);
    let output = tsload(&machine, &bare, &["-s"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("table ThreatSTOP-Block: not there"), "{}", words(&output));
}

#[test]
fn misuse_prints_the_usage() {
    let (machine, model) = ready();
    for args in [&["-x"][..], &["operand"], &["-c"]] {
        let output = tsload(&machine, &model, args);
        assert_status(&output, 1);
        assert!(stderr(&output).contains("usage: tsload [-fnRsv] [-c file]"), "{}", words(&output));
    }
    machine.configure("NO_SUCH_KEY=1\nMIN_PREFIX4=77\n");
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("threatstop.conf: line 4: NO_SUCH_KEY: unknown key\n"),
        "{}",
        words(&output)
    );
    assert!(stderr(&output).contains("line 5: MIN_PREFIX4: 77: not a number"), "{}", words(&output));
}

/// As root, as cron runs it: root's directories and files, and a spool of the fetcher's, no other's.
#[test]
fn as_root_only_the_fetchers_spool_is_taken() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !nix::unistd::geteuid().is_root() {
        return tests::machine::skip("root");
    }
    let (machine, model) = ready();
    machine.configure("BLOCK_LIST=block.example\nFETCH_USER=nobody\n");
    for path in ["etc/threatstop.conf", "db", "db/threatstop", "db/threatstop/lock"] {
        chown(machine.path(path), Some(0), Some(0)).unwrap();
    }
    let root = || {
        let mut command = std::process::Command::new(machine.path("bin/tsload"));
        model.run(command.arg("-c").arg(machine.path("etc/threatstop.conf"))).unwrap()
    };
    assert_status(&root(), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    for name in ["db/ThreatSTOP-Block.pftable", "db/ThreatSTOP-Allow.pftable", "db/threatstop/lock/tsload"] {
        let metadata = machine.path(name).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o600), "{name}");
    }
    assert_status(&root(), 2);
    machine.spool(Block, &POLICY[..2]);
    chown(machine.path(BLOCK), Some(0), None).unwrap();
    let output = root();
    assert_status(&output, 1);
    assert!(stderr(&output).contains("owned by uid 0, not by the fetcher's, 65534"), "{}", words(&output));
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
}
