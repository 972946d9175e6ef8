//! tsload, killed before each of its system calls in turn, and with each of its writes failing: every table and every file is
//! wholly old or wholly new afterwards, nothing is lost, and the next run completes what was begun.

use std::fs;
use std::process::Output;

use common::Table::{self, Allow, Block};
use tests::machine::{Machine, words};
use tests::pf::{Model, Os, Sabotage};

const RULES: &str = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\n\
    pass in quick from <ThreatSTOP-Allow>\nblock in quick from <ThreatSTOP-Block>\npass";

const SETTINGS: &str = "BLOCK_LIST=block.example\nALLOW_LIST=allow.example\n";

/// Block and allow.
const TABLES: [Table; 2] = [Block, Allow];

/// What a policy is: block and allow.
type Policy = [Vec<String>; 2];

fn hosts(network: u8, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{network}.0.0.{n}/32")).collect()
}

/// What is sabotaged: a run from one state of the machine to another.
struct Scenario {
    name: &'static str,
    /// The policies that were loaded before, the last one last.
    loaded: Vec<Policy>,
    /// The policy in the spool.
    spooled: Policy,
    /// What the run makes of it.
    wanted: Policy,
    args: &'static [&'static str],
    settings: &'static str,
}

fn scenarios() -> Vec<Scenario> {
    let (first, second) = ([hosts(91, 40), hosts(92, 3)], [hosts(93, 40), hosts(94, 3)]);
    let shrunk = [hosts(91, 10), hosts(92, 3)];
    let next = |name, loaded: &[&Policy], wanted: &Policy| Scenario {
        name,
        loaded: loaded.iter().map(|policy| (*policy).clone()).collect(),
        spooled: wanted.clone(),
        wanted: wanted.clone(),
        args: &[],
        settings: "",
    };
    vec![
        next("a first load", &[], &first),
        next("a change of both tables, none of their sizes", &[&shrunk, &first], &second),
        next("a block table that shrinks", &[&first], &shrunk),
        Scenario { settings: "RELOAD_PF=no\n", ..next("files only", &[&shrunk, &first], &second) },
        Scenario {
            wanted: first.clone(),
            args: &["-R"],
            ..next("back", &[&shrunk, &first, &second], &second)
        },
    ]
}

impl Scenario {
    /// A machine and its pf before the run.
    fn begin(&self) -> (Machine, Model) {
        let machine = Machine::new();
        machine.configure(SETTINGS);
        let model = Model::new(Os::OpenBsd);
        model.load_rules(RULES).unwrap();
        for policy in &self.loaded {
            spool(&machine, policy);
            let output = tsload(&machine, &model, &[]);
            assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        }
        spool(&machine, &self.spooled);
        machine.configure(&format!("{SETTINGS}{}", self.settings));
        (machine, model)
    }

    /// What is loaded before the run.
    fn old(&self) -> Policy {
        self.loaded.last().cloned().unwrap_or_default()
    }

    /// What the tables hold after the run.
    fn in_pf(&self) -> Policy {
        if self.settings.is_empty() { self.wanted.clone() } else { self.old() }
    }

    /// Each table and each file is old or new, and what was loaded before is in the file or its `.1`, or in the name beside it
    /// that the next run makes `.1`.
    fn assert_whole(&self, machine: &Machine, model: &Model, when: &str) {
        let (old, in_pf) = (self.old(), self.in_pf());
        for (index, which) in TABLES.into_iter().enumerate() {
            let (old, new) = (&old[index], &self.wanted[index]);
            let now = table(model, which);
            assert!(now == *old || now == in_pf[index], "{when}: {which:?}: {now:?}");
            let file = machine.table_file(which);
            assert!(file == text(old) || file == text(new), "{when}: {which:?}: {file}");
            let kept = |content: &[String]| {
                ["", ".1", ".1.tmp"].iter().any(|end| at(machine, which, end) == text(content))
            };
            assert!(kept(old), "{when}: {which:?}: what was loaded is lost");
            // Going back exchanges two contents, of which none may be lost.
            assert!(self.args.is_empty() || kept(new), "{when}: {which:?}: what was kept is lost");
        }
    }

    /// The same run again completes, the one after it has nothing to do, and no file is left over.
    fn assert_repaired(&self, machine: &Machine, model: &Model, when: &str) {
        let output = tsload(machine, model, &[]);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{when}: {}", words(&output));
        self.assert_at(machine, model, &self.spooled, when);
        let output = tsload(machine, model, &[]);
        assert_eq!(output.status.code(), Some(2), "{when}: {}", words(&output));
        // Going back is possible, to what was there before.
        if !self.args.is_empty() {
            let output = tsload(machine, model, self.args);
            assert!(matches!(output.status.code(), Some(0)), "{when}: {}", words(&output));
            self.assert_at(machine, model, &self.wanted, when);
        }
        let known = |name: &str| {
            let tables = ["ThreatSTOP-Block.pftable", "ThreatSTOP-Allow.pftable"];
            let others = ["said", "tsload", "block.pftable", "allow.pftable"];
            let marks = ["unloaded.block", "unloaded.allow"];
            tables.contains(&name.strip_suffix(".1").unwrap_or(name))
                || others.contains(&name)
                || marks.contains(&name) && !self.settings.is_empty()
        };
        for (path, _, _) in machine.snapshot("db") {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(known(name), "{when}: {name} is left");
        }
    }

    /// Files and tables hold the policy, and what was loaded before is kept.
    fn assert_at(&self, machine: &Machine, model: &Model, policy: &Policy, when: &str) {
        let in_pf = if self.settings.is_empty() { policy.clone() } else { self.old() };
        assert_eq!(TABLES.map(|which| table(model, which)), in_pf, "{when}");
        for (index, which) in TABLES.into_iter().enumerate() {
            assert_eq!(at(machine, which, ""), text(&policy[index]), "{when}");
            let (old, new) = (&self.old()[index], &policy[index]);
            if old != new && !self.loaded.is_empty() {
                assert_eq!(at(machine, which, ".1"), text(old), "{when}: what was loaded before");
            }
        }
    }
}

fn spool(machine: &Machine, policy: &Policy) {
    for (index, which) in TABLES.into_iter().enumerate() {
        machine.spool(which, &policy[index]);
    }
}

fn tsload(machine: &Machine, model: &Model, args: &[&str]) -> Output {
    model.run(machine.program("tsload").args(args)).unwrap()
}

fn name(table: Table) -> &'static str {
    if table == Block { "ThreatSTOP-Block" } else { "ThreatSTOP-Allow" }
}

fn table(model: &Model, table: Table) -> Vec<String> {
    model.table("", name(table)).unwrap().list()
}

/// The content of a table's file, or of what lies beside it.
fn at(machine: &Machine, table: Table, end: &str) -> String {
    fs::read_to_string(machine.path(&format!("db/{}.pftable{end}", name(table)))).unwrap_or_default()
}

fn text(hosts: &[String]) -> String {
    hosts.iter().map(|host| host.replace("/32", "\n")).collect()
}

/// Does to each step of each scenario's run, in turn, what `sabotage` says, and looks at what is left.
fn each_step(sabotage: impl Fn(usize) -> Sabotage, least: usize) {
    for scenario in scenarios() {
        let mut step = 0;
        loop {
            step += 1;
            let sabotage = sabotage(step);
            let when = format!("{}, {sabotage:?}", scenario.name);
            let (machine, model) = scenario.begin();
            model.sabotage(sabotage);
            let output = tsload(&machine, &model, scenario.args);
            let made = model.steps();
            scenario.assert_whole(&machine, &model, &when);
            let said = String::from_utf8_lossy(&output.stderr);
            match (output.status.code(), sabotage) {
                // It did not come to that.
                (code, _) if made < step => {
                    assert_eq!(code, Some(0), "{when}: {}", words(&output));
                    break;
                }
                (None, Sabotage::Kill(_)) => {}
                // A temporary file that cannot be removed does no harm; everything else is said.
                (Some(0), Sabotage::Fail(..)) => {}
                (Some(1), Sabotage::Fail(..)) if said.contains("tsload: ") => {}
                _ => panic!("{when}: {}", words(&output)),
            }
            scenario.assert_repaired(&machine, &model, &when);
        }
        assert!(step > least, "{}: only {step} steps were seen", scenario.name);
        println!("{}: each of {} steps, {:?}", scenario.name, step - 1, sabotage(0));
    }
}

#[test]
fn killed_before_any_system_call() {
    each_step(Sabotage::Kill, 100);
}

#[test]
fn no_write_succeeds() {
    for errno in [libc::ENOSPC, libc::EIO, libc::EROFS] {
        each_step(|step| Sabotage::Fail(step, errno), 8);
    }
}
