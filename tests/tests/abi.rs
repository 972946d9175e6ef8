//! tsload's pf code in both systems' layouts, against the model of pf, which has a codec of its own.

use std::process::{Command, Stdio};

use tests::machine::words;
use tests::pf::{Model, Os};

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
    for (os, system) in [(Os::OpenBsd, "openbsd"), (Os::FreeBsd, "freebsd")] {
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
    for (os, system) in [(Os::OpenBsd, "openbsd"), (Os::FreeBsd, "freebsd")] {
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
