//! tsload, killed before each of its system calls in turn, and with each of its writes failing: every table and every file is
//! wholly old or wholly new afterwards, and the next run completes what was begun.

use common::Table::{self, Allow, Block};
use tests::machine::{Machine, words};
use tests::pf::{Model, Os, Sabotage};

const RULES: &str = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\n\
    pass in quick from <ThreatSTOP-Allow>\nblock in quick from <ThreatSTOP-Block>\npass";

/// What a policy is: block and allow.
type Policy = [Vec<String>; 2];

fn hosts(network: u8, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{network}.0.0.{n}/32")).collect()
}

/// A first load, a change of both tables with the same sizes, and a block table that shrinks.
fn scenarios() -> [(Option<Policy>, Policy); 3] {
    let old = [hosts(91, 40), hosts(92, 3)];
    [
        (None, old.clone()),
        (Some(old.clone()), [hosts(93, 40), hosts(94, 3)]),
        (Some(old.clone()), [hosts(91, 10), old[1].clone()]),
    ]
}

/// A machine and its pf with the old policy loaded and the new one in the spool.
fn begin(old: Option<&Policy>, new: &Policy) -> (Machine, Model) {
    let machine = Machine::new();
    machine.configure("BLOCK_LIST=block.example\nALLOW_LIST=allow.example\n");
    let model = Model::new(Os::OpenBsd);
    model.load_rules(RULES).unwrap();
    for policy in old.into_iter().chain([new]) {
        machine.spool(Block, &policy[0]);
        machine.spool(Allow, &policy[1]);
        if !std::ptr::eq(policy, new) {
            let output = model.run(&mut machine.program("tsload")).unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        }
    }
    (machine, model)
}

fn table(model: &Model, table: Table) -> Vec<String> {
    let name = if table == Block { "ThreatSTOP-Block" } else { "ThreatSTOP-Allow" };
    model.table("", name).unwrap().list()
}

fn text(hosts: &[String]) -> String {
    hosts.iter().map(|host| host.replace("/32", "\n")).collect()
}

/// Each table and each file is old or new.
fn assert_whole(machine: &Machine, model: &Model, old: Option<&Policy>, new: &Policy, when: &str) {
    for (index, which) in [Block, Allow].into_iter().enumerate() {
        let before = old.map_or(Vec::new(), |old| old[index].clone());
        let now = table(model, which);
        assert!(now == before || now == new[index], "{when}: {which:?}: {now:?}");
        let file = machine.table_file(which);
        assert!(file == text(&before) || file == text(&new[index]), "{when}: {which:?}: {file}");
    }
}

/// The next run completes, the one after it has nothing to do, and no file is left over.
fn assert_repaired(machine: &Machine, model: &Model, new: &Policy, when: &str) {
    let output = model.run(&mut machine.program("tsload")).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 2)), "{when}: {}", words(&output));
    assert_eq!([table(model, Block), table(model, Allow)], *new, "{when}");
    assert_eq!(
        [machine.table_file(Block), machine.table_file(Allow)],
        [text(&new[0]), text(&new[1])],
        "{when}"
    );
    let output = model.run(&mut machine.program("tsload")).unwrap();
    assert_eq!(output.status.code(), Some(2), "{when}: {}", words(&output));
    for (path, _, _) in machine.snapshot("db") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let known = [
            "ThreatSTOP-Block.pftable",
            "ThreatSTOP-Allow.pftable",
            "said",
            "tsload",
            "block.pftable",
            "allow.pftable",
        ];
        assert!(known.contains(&name.strip_suffix(".1").unwrap_or(name)), "{when}: {name} is left");
    }
}

#[test]
fn killed_before_any_system_call() {
    for (number, (old, new)) in scenarios().iter().enumerate() {
        let mut step = 0;
        loop {
            step += 1;
            let when = format!("scenario {number}, killed before call {step}");
            let (machine, model) = begin(old.as_ref(), new);
            model.sabotage(Sabotage::Kill(step));
            let output = model.run(&mut machine.program("tsload")).unwrap();
            let made = model.steps();
            assert_whole(&machine, &model, old.as_ref(), new, &when);
            if made < step {
                assert_eq!(output.status.code(), Some(0), "{when}: {}", words(&output));
                break;
            }
            assert_eq!(output.status.code(), None, "{when}: {}", words(&output));
            assert_repaired(&machine, &model, new, &when);
        }
        assert!(step > 100, "only {step} calls were seen");
        println!("scenario {number}: killed before each of {} calls", step - 1);
    }
}

#[test]
fn no_write_succeeds() {
    for (number, (old, new)) in scenarios().iter().enumerate() {
        for errno in [libc::ENOSPC, libc::EIO, libc::EROFS] {
            let mut step = 0;
            loop {
                step += 1;
                let when = format!("scenario {number}, write {step} fails with {errno}");
                let (machine, model) = begin(old.as_ref(), new);
                model.sabotage(Sabotage::Fail(step, errno));
                let output = model.run(&mut machine.program("tsload")).unwrap();
                let made = model.steps();
                assert_whole(&machine, &model, old.as_ref(), new, &when);
                if made < step {
                    assert_eq!(output.status.code(), Some(0), "{when}: {}", words(&output));
                    break;
                }
                let said = String::from_utf8_lossy(&output.stderr);
                let code = output.status.code();
                // A temporary file that cannot be removed does no harm; everything else is said.
                assert!(
                    code == Some(0) || (code == Some(1) && said.starts_with("tsload: ")),
                    "{when}: {}",
                    words(&output)
                );
                assert_repaired(&machine, &model, new, &when);
            }
            assert!(step > 8, "only {step} writes were seen");
        }
    }
}
