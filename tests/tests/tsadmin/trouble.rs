//! tsadmin beside an administrator's own work, other runs, and what is out of order already.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::root::{Root, Shell, possible};
use super::{assert_status, stderr, stdout};
use tests::machine::words;

const CONF: &str = "usr/local/etc/threatstop.conf";
const RULES: &str = "usr/local/etc/threatstop.pf.conf";

fn root() -> Option<Root> {
    possible().then(|| Root::new("OpenBSD", Shell::Mksh))
}

fn mode(root: &Root, name: &str) -> (u32, u32) {
    let metadata = fs::metadata(root.path(name)).unwrap();
    (metadata.uid(), metadata.mode() & 0o7777)
}

/// The first tsload found no room, so the table was empty when it was looked into.
#[test]
fn a_policy_that_comes_in_late_cuts_nobody_off() {
    let Some(root) = root() else { return };
    let shipped = (root.read("etc/pf.conf"), root.read("stub/pf/rules"));
    root.write("stub/who", "root     ttyp0    Nov 21 12:00   (64.87.3.133)\n");
    root.write("stub/tsload.fails_once", "");
    fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("our rules are out of /etc/pf.conf again"), "{}", words(&output));
    assert_eq!((root.read("etc/pf.conf"), root.read("stub/pf/rules")), shipped);
    assert!(!root.path("stub/pf/enabled").exists(), "pf is turned on last");

    // Nobody hides behind another terminal, and nobody is there who comes by no address.
    root.write("stub/who", "op  ttyC0  Nov 21 12:00\nop  ttyp1  Nov 21 12:00  (host.example)\n");
    assert_status(&root.add(&[]), 0);
    let said = stdout(&root.tsadmin(&["check"], ""));
    assert!(said.contains("\n-     nobody is known to be logged in over the network\n"), "{said}");
    let who = "op  ttyp0  Nov 21 12:00  (192.0.2.1)\nop  ttyp1  Nov 21 12:00  (64.87.3.133)\n";
    root.write("stub/who", who);
    let output = root.tsadmin(&["check"], "");
    assert_status(&output, 1);
    assert!(stdout(&output).contains("is not blocked: put 64.87.3.133 into"), "{}", words(&output));
}

#[test]
fn a_limit_of_somebody_elses_is_not_lowered() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/pf.conf");
    root.write("etc/pf.conf", &format!("set limit table-entries 1000000\n{shipped}"));
    root.write("stub/pf/limit", "5\n");
    assert_status(&root.add(&[]), 0);
    assert!(root.read(RULES).contains("\nset limit table-entries 1000000\n"), "{}", root.read(RULES));
    assert_status(&root.add(&[]), 2);
    assert_status(&root.tsadmin(&["check"], ""), 0);

    let raised = root.read("etc/pf.conf").replace("1000000", "2000000");
    root.write("etc/pf.conf", &raised);
    let output = root.tsadmin(&["check"], "");
    assert_status(&output, 1);
    assert!(stdout(&output).contains("FAIL  no limit for table entries is lowered"), "{}", words(&output));
    assert_status(&root.add(&[]), 0);
    assert_eq!(root.read("stub/pf/limit"), "2000000\n");
    assert_status(&root.tsadmin(&["check"], ""), 0);
}

#[test]
fn a_limit_beside_rules_by_hand_is_asked_for() {
    let Some(root) = root() else { return };
    let rules = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\n\
        block in quick from <ThreatSTOP-Block>\npass in from <ThreatSTOP-Allow>\n";
    for name in ["etc/pf.conf", "stub/pf/rules"] {
        root.write(name, rules);
    }
    root.write("stub/pf/limit", "5\n");
    assert_status(&root.add(&[]), 0);
    let line = "put this line above the tables in /etc/pf.conf, and run pfctl -f /etc/pf.conf: \
        set limit table-entries 400000\n";
    // pf is not loaded again for what is not there to be loaded.
    let output = root.add(&[]);
    assert_status(&output, 2);
    assert!(stderr(&output).contains(line), "{}", words(&output));
    root.write("stub/pf/limit", "400000\n");
    let output = root.add(&[]);
    assert_status(&output, 2);
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_the_administrator_changed_in_our_files_is_kept() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let rules = root.read(RULES).replace("block drop", "block return");
    root.write(RULES, &rules);
    let output = root.add(&[]);
    assert_status(&output, 2);
    assert_eq!(root.read(RULES), rules);

    let conf = format!("{}# mine\n", root.read(CONF));
    root.write(CONF, &conf);
    assert_status(&root.add(&["--maxpolicysize=1000"]), 0);
    assert_eq!(root.read(&format!("{CONF}.pre-threatstop")), conf);
    assert_eq!(root.read(CONF), conf.replace("#MAX_POLICY_SIZE=\"0\"", "MAX_POLICY_SIZE=\"1000\""));
    assert_status(&root.add(&[]), 2);
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 0);
    for left in ["threatstop.conf, which was changed", "threatstop.pf.conf, which was changed"] {
        assert!(stdout(&output).contains(&format!("Left: /usr/local/etc/{left}\n")), "{}", words(&output));
    }
    assert!(stdout(&output).contains("Left: /usr/local/etc/threatstop.conf.pre-threatstop"));
    assert!(root.read(CONF).ends_with("# mine\n"));
}

#[test]
fn what_an_included_file_names_is_left() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/pf.conf");
    root.write("etc/pf.more", "table <mine> persist file \"/var/db/ThreatSTOP-Block.pftable\"\n");
    root.write("etc/pf.conf", &format!("include \"/etc/pf.more\"\n{shipped}"));
    assert_status(&root.add(&[]), 0);
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 0);
    let left = "Left: /var/db/ThreatSTOP-Block.pftable, which /etc/pf.conf names\n";
    assert!(stdout(&output).contains(left), "{}", words(&output));
    assert!(root.path("var/db/ThreatSTOP-Block.pftable").exists());
}

/// As a package, a killed install(1), or another user of that number leaves them.
#[test]
fn directories_are_put_right() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let wanted = mode(&root, "var/db/threatstop/policy");
    assert_eq!(wanted.1, 0o700);
    for (owner, bits) in [(0, 0o755), (wanted.0, 0o755), (12345, 0o700)] {
        let policy = root.path("var/db/threatstop/policy");
        chown(&policy, Some(owner), None).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(bits)).unwrap();
        assert_status(&root.add(&[]), 0);
        assert_eq!(mode(&root, "var/db/threatstop/policy"), wanted);
        assert_status(&root.add(&[]), 2);
    }
    // Those that are not ours alone stay as they are.
    fs::set_permissions(root.path("usr/local/etc"), fs::Permissions::from_mode(0o711)).unwrap();
    assert_status(&root.add(&[]), 2);
    assert_eq!(mode(&root, "usr/local/etc"), (0, 0o711));
}

#[test]
fn a_table_with_another_name_comes_into_force() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let conf = root.read(CONF).replace("#ALLOW_TABLE=\"ThreatSTOP-Allow\"", "ALLOW_TABLE=\"Partners\"");
    root.write(CONF, &conf);
    assert_status(&root.add(&[]), 0);
    assert!(root.read("stub/pf/rules").contains("pass in quick from <Partners>\n"));
    assert_status(&root.tsadmin(&["check"], ""), 0);
}

#[test]
fn a_setting_can_be_emptied() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let output = root.tsadmin(&["add", "--silent", "--block_list=", "--url", ""], "");
    assert_status(&output, 0);
    let conf = root.read(CONF);
    assert!(conf.contains("\nBLOCK_LIST=\"\"\n") && conf.contains("\nurl=\"\"\n"), "{conf}");
    assert_eq!(root.read("stub/pf/tables/ThreatSTOP-Block"), "");
    // Without the one, the other is needed.
    let output = root.tsadmin(&["add", "--silent", "--allow_list="], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("neither BLOCK_LIST nor ALLOW_LIST is set"), "{}", words(&output));
    // The others keep what they have; - empties one.
    let output = root.tsadmin(&["add"], "-\n\n\nblock.org.example\n-\n\n\nyes\n");
    assert_status(&output, 0);
    let conf = root.read(CONF);
    assert!(conf.contains("\ndevice_id=\"\"\n") && conf.contains("\nALLOW_LIST=\"\"\n"), "{conf}");
    assert!(conf.contains("\nBLOCK_LIST=\"block.org.example\"\n"), "{conf}");
}

#[test]
fn flags_may_have_a_value() {
    let Some(root) = root() else { return };
    let parameters = root.parameters();
    let add = |more: &[&str]| {
        let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
        args.extend(more);
        root.tsadmin(&args, "")
    };
    let output = add(&["--silent=yes", "-n"]);
    assert_status(&output, 0);
    assert_eq!(words(&output), words(&add(&["--silent", "true", "-n"])));
    assert!(output.stdout.is_empty());
    let output = add(&["--silent=no", "--take_defaults", "-n"]);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("This will be done:"), "{}", words(&output));
    let output = add(&["--silent=maybe"]);
    assert_status(&output, 1);
    assert_eq!(stderr(&output), "tsadmin: --silent: yes or no\n");
}

#[test]
fn enable_and_disable_say_what_is_so() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    let output = root.tsadmin(&["enable"], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("pf is off, so no rule is in force"), "{}", words(&output));
    root.write("stub/pf/enabled", "");
    assert_status(&root.tsadmin(&["enable"], ""), 2);
    let more = "table <ThreatSTOP-Block> persist\nblock in from <ThreatSTOP-Block>\n";
    root.write("etc/pf.conf", &format!("{}{more}", root.read("etc/pf.conf")));
    let output = root.tsadmin(&["disable"], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("still refers to <ThreatSTOP-Block>"), "{}", words(&output));
}

#[test]
fn rules_that_translate_below_ours_are_found_wherever_they_are() {
    for (rules, more) in [
        ("pass\nmatch out on vio0 \\\n\tfrom any nat-to (vio0)\n", ""),
        ("pass\ninclude \"/etc/pf.more\"\n", "match in on vio0 to port 80 rdr-to 10.0.0.2\n"),
    ] {
        let Some(root) = root() else { return };
        root.write("etc/pf.conf", rules);
        root.write("etc/pf.more", more);
        let output = root.add(&["-n"]);
        assert_status(&output, 0);
        assert!(stderr(&output).contains("will not translate what"), "{rules}: {}", words(&output));
    }
    let Some(root) = root() else { return };
    let output = root.add(&[]);
    assert_eq!(stderr(&output), "", "what stands above is not named");
}

/// As the old installer writes them, whatever the scripts are called.
#[test]
fn lines_of_the_old_installer_are_known_by_their_place() {
    let Some(root) = root() else { return };
    let old = "# ThreatSTOP update\n22 * * * * /usr/local/sbin/update.pl\n*/15\t*\t*\t*\t*\t/usr/local/sbin/send.pl\n\
        */15 * * * * /root/mine\n22 * * * * /root/other\n";
    root.write("stub/crontab", &format!("# a\n# b\n# c\n{old}"));
    assert_status(&root.add(&[]), 0);
    let wanted = "# ThreatSTOP update\n#tspf# 22 * * * * /usr/local/sbin/update.pl\n\
        #tspf# */15\t*\t*\t*\t*\t/usr/local/sbin/send.pl\n*/15 * * * * /root/mine\n22 * * * * /root/other\n";
    assert!(root.crontab().starts_with(wanted), "{}", root.crontab());
    assert_status(&root.add(&[]), 2);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(root.crontab(), old);
}

#[test]
fn a_fleet_does_not_upload_at_the_same_minute() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let crontab = root.crontab();
    let line = crontab.lines().find(|line| line.ends_with("tsship")).unwrap();
    let minutes: Vec<u32> =
        line.split('\t').next().unwrap().split(',').map(|minute| minute.parse().unwrap()).collect();
    assert!(minutes[0] < 15 && minutes.windows(2).all(|two| two[1] == two[0] + 15), "{line}");
    assert_eq!(minutes.len(), 4);
}

#[test]
fn a_log_that_is_not_rotated_any_more_is_noticed() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let without: String = root
        .read("etc/newsyslog.conf")
        .lines()
        .filter(|line| !line.contains("tsship -q"))
        .map(|line| format!("{line}\n"))
        .collect();
    root.write("etc/newsyslog.conf", &without);
    let output = root.tsadmin(&["check"], "");
    assert_status(&output, 1);
    assert!(
        stdout(&output).contains("FAIL  /etc/newsyslog.conf rotates /var/log/pflog"),
        "{}",
        words(&output)
    );
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("do not rotate /var/log/pflog any more"), "{}", words(&output));
}

#[test]
fn another_run_is_waited_for() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    for (name, command) in [("tsfetch", "update"), ("tsload", "update"), ("tsship", "remove")] {
        root.write(&format!("stub/{name}.running"), "3\n");
        root.write("stub/log", "");
        let output = root.tsadmin(&[command], "yes\n");
        assert!(matches!(output.status.code(), Some(0 | 2)), "{}", words(&output));
        let log = root.read("stub/log");
        assert_eq!(log.matches("sleep 1\n").count(), 3, "{log}");
        assert!(log.find("sleep 1").unwrap() < log.find("tsfetch -v").unwrap_or(usize::MAX), "{log}");
    }
}

#[test]
fn another_run_is_not_waited_for_for_ever() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    root.write("stub/tsload.running", "1000\n");
    let output = root.tsadmin(&["update"], "");
    assert_status(&output, 2);
    assert!(stderr(&output).contains("is at work for 5 minutes now"), "{}", words(&output));
    root.write("stub/tsship.running", "1000\n");
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("tsship is still at work; run this again"), "{}", words(&output));
    assert!(root.path("var/db/threatstop/lock").exists());
}

/// The rules are in force, and a change of the policy brings in who is logged in.
#[test]
fn rules_that_were_there_are_not_said_to_be_out_and_pf_stays_off() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[&format!("--block_list={}", super::root::ALLOW_LIST)]), 0);
    let rules = root.read("stub/pf/rules");
    root.write("stub/who", "root     ttyp0    Nov 21 12:00   (64.87.3.133)\n");
    fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    root.write("stub/pf/limit", "1\n");
    root.write("stub/tsload.fails_once", "");
    let output = root.add(&["--allow_list="]);
    assert_status(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("is blocked: keep this connection, run tsadmin disable"), "{said}");
    assert!(
        said.contains("pf stays off: 64.87.3.133") && !said.contains("out of /etc/pf.conf again"),
        "{said}"
    );
    assert!(root.read("stub/pf/rules").contains("<ThreatSTOP-Block>"), "{rules}");
    assert!(!root.path("stub/pf/enabled").exists());
}

#[test]
fn a_list_of_users_that_is_locked_is_named() {
    let Some(root) = root() else { return };
    root.write("etc/ptmp", "");
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("/etc/ptmp: somebody edits the list of users"), "{}", words(&output));
    fs::remove_file(root.path("etc/ptmp")).unwrap();
    assert_status(&root.add(&[]), 0);
}

/// Failures are in both files, and a run since then that did well is in one.
#[test]
fn the_last_run_is_the_last() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let failed = "Nov 21 12:00:00 fw tsfetch[11]: 127.0.0.1: refused\n";
    root.write("var/log/messages", failed);
    root.write("var/log/daemon", &format!("{failed}Nov 21 13:00:00 fw tsfetch[14]: nothing to do\n"));
    let said = stdout(&root.tsadmin(&["show"], ""));
    let line = "last run of tsfetch: Nov 21 13:00:00 fw tsfetch[14]: nothing to do\n";
    assert!(said.contains(line), "{said}");
}
