//! tsload, the real program, against the model of pf.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use common::Table::{Allow, Block};
use tests::machine::{Machine, words};
use tests::pf::{Action, Direction, Model, Os, Sabotage};

#[path = "tsload/guards.rs"]
mod guards;
#[path = "tsload/hostile.rs"]
mod hostile;

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
fn what_stays_keeps_its_counters() {
    let (machine, model) = ready();
    model
        .load_rules(&RULES.replace("<ThreatSTOP-Block> persist", "<ThreatSTOP-Block> persist counters"))
        .unwrap();
    assert_status(&tsload(&machine, &model, &[]), 0);
    let block = ("", "ThreatSTOP-Block");
    assert!(model.packet(block, "64.87.3.133".parse().unwrap(), Direction::In, Action::Block, 60));
    let of = |prefix: &str| {
        let entries = model.table("", "ThreatSTOP-Block").unwrap().entries;
        entries.into_iter().find(|entry| entry.prefix.to_string() == prefix)
    };
    let before = of("64.87.3.133/32").unwrap();
    machine.spool(Block, ["64.87.3.133/32", "92.0.0.0/16"]);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(of("64.87.3.133/32").unwrap(), before);
    assert!(of("91.0.0.0/16").is_none() && of("92.0.0.0/16").is_some());
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

/// Killed after the swap and before the file was replaced, and then the old policy comes back, as large as the new one: file
/// and count agree, and yet the table is wrong. The next run has to know that a swap was begun.
fn interrupted() -> (Machine, Model) {
    let killed_before = |step| {
        let (machine, model) = ready();
        machine.spool(Block, hosts(91, 100));
        assert_status(&tsload(&machine, &model, &[]), 0);
        let old = machine.table_file(Block);
        machine.spool(Block, hosts(92, 100));
        model.sabotage(Sabotage::Kill(step));
        tsload(&machine, &model, &[]);
        let steps = model.steps();
        let swapped = model.table("", "ThreatSTOP-Block").unwrap().list() == hosts(92, 100);
        machine.spool(Block, hosts(91, 100));
        (steps, swapped && machine.table_file(Block) == old, machine, model)
    };
    let (steps, ..) = killed_before(usize::MAX);
    // From the end, because files come last.
    let mut runs = (1..=steps).rev().map(killed_before);
    let (_, _, machine, model) = runs.find(|(_, interrupted, ..)| *interrupted).unwrap();
    (machine, model)
}

/// The next run makes it good, and the one after it has nothing to do.
fn assert_made_good(machine: &Machine, model: &Model) {
    assert_status(&tsload(machine, model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 100));
    assert_status(&tsload(machine, model, &[]), 2);
    for left in ["db/threatstop/unloaded.block", "db/ThreatSTOP-Block.pftable.tmp"] {
        assert!(!machine.path(left).exists(), "{left}");
    }
}

#[test]
fn a_swap_that_was_interrupted_is_repaired_whatever_the_counts_say() {
    let (machine, model) = interrupted();
    assert_made_good(&machine, &model);
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
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    for table in ["ThreatSTOP-Block", "ThreatSTOP-Allow"] {
        let line = format!("tsload: table {table}: was not there, made\n");
        assert_eq!(stderr(&output).matches(&line).count(), 1, "{}", words(&output));
    }
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    let output = tsload(&machine, &model, &["-f"]);
    assert!(output.stderr.is_empty(), "said once: {}", words(&output));
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
fn a_policy_that_was_only_written_is_loaded_when_tables_are_wanted_again() {
    let (machine, model) = ready();
    machine.spool(Block, hosts(91, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    let settings = "BLOCK_LIST=block.example\nALLOW_LIST=allow.example\n";
    machine.configure(&format!("{settings}RELOAD_PF=no\n"));
    machine.spool(Block, hosts(92, 100));
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_status(&tsload(&machine, &model, &[]), 2);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(91, 100));
    // File, spool and count agree, and yet the table is the old one.
    machine.configure(settings);
    let before = swaps(&model);
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), hosts(92, 100));
    assert_eq!(swaps(&model), before + 1, "the allow table was not written");
    assert_status(&tsload(&machine, &model, &[]), 2);
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

/// The run that would repair an interrupted swap fails too, and then nothing seems to be left to do.
#[test]
fn the_sign_of_an_interrupted_swap_outlives_a_run_that_fails() {
    let (machine, model) = interrupted();
    model.fail_swap(1, libc::ENOMEM);
    assert_status(&tsload(&machine, &model, &[]), 1);
    assert_made_good(&machine, &model);
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
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "{}: back to what it held before its last change\n\
             the next run without -R takes what is in the spool again\n",
            machine.path("db/ThreatSTOP-Block.pftable").display()
        ),
        "the allow table did not change"
    );
    assert_eq!(table(), POLICY);
    assert_eq!(file().lines().count(), POLICY.len());
    assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list(), ["198.51.100.7/32"], "it did not change");
    assert_status(&tsload(&machine, &model, &["-R"]), 0);
    assert_eq!((table(), file()), (new_table, new_file));

    machine.spool(Allow, ["198.51.100.8/32"]);
    assert_status(&tsload(&machine, &model, &[]), 0);
    machine.write("db/ThreatSTOP-Block.pftable.1", "self\n");
    let output = tsload(&machine, &model, &["-R"]);
    assert_status(&output, 1);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("/ThreatSTOP-Allow.pftable: back to"), "{said}");
    assert!(!said.contains("ThreatSTOP-Block"), "{said}");
    assert_eq!(model.table("", "ThreatSTOP-Allow").unwrap().list(), ["198.51.100.7/32"]);
    assert!(
        stderr(&output).contains("ThreatSTOP-Block.pftable.1: line 1: not a numeric prefix"),
        "{}",
        words(&output)
    );
}

/// Nobody can go back to a file that was damaged, and what is in `.1` is good.
#[test]
fn a_damaged_file_does_not_take_the_place_of_the_previous_one() {
    let (machine, model) = ready();
    for policy in [hosts(91, 5), hosts(92, 5)] {
        machine.spool(Block, policy);
        assert_status(&tsload(&machine, &model, &[]), 0);
    }
    let (good, previous) = (machine.table_file(Block), "db/ThreatSTOP-Block.pftable.1");
    let before = fs::read_to_string(machine.path(previous)).unwrap();
    machine.write("db/ThreatSTOP-Block.pftable", "92.0.0.0\n92.0.");
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(machine.table_file(Block), good);
    assert_eq!(fs::read_to_string(machine.path(previous)).unwrap(), before);
}

/// The policy is nobody else's to read. What pf holds is not touched for that, nor is `.1`.
#[test]
fn a_file_that_others_may_read_is_replaced() {
    let (machine, model) = ready();
    for policy in [hosts(91, 5), hosts(92, 5)] {
        machine.spool(Block, policy);
        assert_status(&tsload(&machine, &model, &[]), 0);
    }
    let file = machine.path("db/ThreatSTOP-Block.pftable");
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    let previous = machine.path("db/ThreatSTOP-Block.pftable.1");
    let rest = || (machine.table_file(Block), fs::read(&previous).unwrap(), swaps(&model));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_status(&tsload(&machine, &model, &["-n"]), 0);
    assert_eq!(mode(), 0o644, "a dry run");
    let before = rest();
    assert_status(&tsload(&machine, &model, &[]), 0);
    assert_eq!(mode(), 0o600);
    assert_eq!(rest(), before);
    assert_status(&tsload(&machine, &model, &[]), 2);
}

/// The file that tsadmin makes before pf.conf names it is empty: going back to that would open the network.
#[test]
fn does_not_go_back_to_blocking_nothing() {
    let (machine, model) = ready();
    machine.write("db/ThreatSTOP-Block.pftable", "");
    assert_status(&tsload(&machine, &model, &[]), 0);
    let output = tsload(&machine, &model, &["-R"]);
    assert_status(&output, 1);
    let wanted =
        "ThreatSTOP-Block.pftable.1: nothing to block, though BLOCK_LIST is set; -f empties the table";
    assert!(stderr(&output).contains(wanted) && output.stdout.is_empty(), "{}", words(&output));
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
    assert_status(&tsload(&machine, &model, &["-R", "-f"]), 0);
    assert!(model.table("", "ThreatSTOP-Block").unwrap().entries.is_empty());
}

/// What one table fails with does not keep the other's notes from being said, nor make them be said every hour.
#[test]
fn notes_are_said_once_though_the_other_table_fails() {
    let (machine, model) = ready();
    machine.configure("BLOCK_LIST=block.example\nALLOW_LIST=allow.example\nNEVER_BLOCK=91.0.0.1\n");
    machine.write("db/threatstop/policy/allow.pftable", "rubbish\n");
    let note = "91.0.0.1/32 is not blocked (NEVER_BLOCK): it is exempted from a listed prefix";
    for said in [1, 0, 0] {
        let output = tsload(&machine, &model, &[]);
        assert_status(&output, 1);
        assert_eq!(stderr(&output).matches(note).count(), said, "{}", words(&output));
    }
    machine.spool(Allow, ["198.51.100.7/32"]);
    let output = tsload(&machine, &model, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
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
    assert!(said.contains("block_match_percent=75.00\n"), "{said}");
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
