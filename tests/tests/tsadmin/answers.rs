//! Answers, parameters and configurations, good and hostile.

use super::root::{Root, SHELLS, Shell, difference, possible};
use super::{assert_status, stderr, stdout};
use tests::machine::words;

const CONF: &str = "usr/local/etc/threatstop.conf";

/// What a hostile value may look like: an error, or exactly that value in the configuration.
const HOSTILE: [&str; 14] = [
    "$(touch /tmp/hit)",
    "`touch /tmp/hit`",
    "\"; touch /tmp/hit; \"",
    "a\"b",
    "a'b",
    "'; touch /tmp/hit; '",
    "a b",
    "a\nurl=\"https://evil.example\"",
    "-x",
    "--silent",
    "a\\b",
    "${HOME}",
    "\u{1b}[2J",
    "é",
];

#[test]
fn hostile_answers_are_errors_or_data() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let root = Root::new("OpenBSD", shell);
        let before = root.snapshot();
        for value in HOSTILE {
            for name in ["device_id", "block_list", "url", "dns_server", "maxpolicysize"] {
                let parameter = format!("--{name}={value}");
                let args = ["add", "-n", "--silent", "--block_list=a.example", &parameter];
                let output = root.tsadmin(&args, "");
                assert!(
                    matches!(output.status.code(), Some(0 | 1)),
                    "{shell:?} {parameter}: {}",
                    words(&output)
                );
                if output.status.code() == Some(1) {
                    assert!(stderr(&output).starts_with("tsadmin: "), "{parameter}: {}", words(&output));
                }
                assert!(!root.path("tmp/hit").exists(), "{shell:?} {parameter}");
            }
            if shell != Shell::Dash {
                break;
            }
        }
        assert_eq!(difference(&before, &root.snapshot()), "", "-n changes nothing");
    }
}

#[test]
fn a_prompt_is_repeated_until_the_answer_is_good() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let root = Root::new("OpenBSD", shell);
        let port = root.server.port();
        let answers = format!(
            "$(touch /tmp/hit)\n-tdid\n127.0.0.1\nx y\n70000\n{port}\nblock.org.example\n\n\n`touch /tmp/hit`\n\"\\\n\nyes\n"
        );
        // No device -tdid: the name is good by its characters, and is data.
        let output = root.tsadmin(&["add"], &answers);
        assert_status(&output, 0);
        let conf = root.read(CONF);
        for line in [
            "device_id=\"-tdid\"\n",
            &format!("DNS_PORT=\"{port}\"\n"),
            "BLOCK_LIST=\"block.org.example\"\n",
            "#url=\"\"\n",
        ] {
            assert!(conf.contains(line), "{line}: {conf}");
        }
        assert!(!root.path("tmp/hit").exists());
        assert!(!root.crontab().contains("tsship"), "logs are not shipped without a url");
        assert!(!root.read("etc/newsyslog.conf").contains("tspf"));
    }
}

#[test]
fn an_end_of_input_or_a_no_does_nothing() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Mksh);
    let before = root.snapshot();
    let parameters = root.parameters();
    let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
    for (input, why) in [
        ("", "no answer; nothing was done"),
        ("\n", "no answer; nothing was done"),
        ("\n\nno\n", "nothing was done"),
    ] {
        let output = root.tsadmin(&args, input);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(why), "{}", words(&output));
        assert_eq!(difference(&before, &root.snapshot()), "");
    }
    // The countdown goes by, and then it is done.
    args.push("--take_defaults");
    let output = root.tsadmin(&args, "");
    assert_status(&output, 0);
    assert!(stdout(&output).contains("10 9 8 7 6 5 4 3 2 1 \n"), "{}", words(&output));
    assert_eq!(root.read("stub/log").matches("sleep 1\n").count(), 10);
}

#[test]
fn misuse() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Dash);
    for args in [
        &["bogus"][..],
        &[],
        &["add", "--bogus=1"],
        &["add", "--device_id"],
        &["add", "x"],
        &["show", "x"],
        &["remove", "-x"],
    ] {
        let output = root.tsadmin(args, "");
        assert_status(&output, 1);
        assert!(stderr(&output).starts_with("usage: tsadmin add"), "{args:?}: {}", words(&output));
    }
    for args in [["add", "--type=auto"], ["add", "--auto_key=x"]] {
        let output = root.tsadmin(&args, "");
        assert_status(&output, 1);
        assert!(stderr(&output).ends_with("not yet, use --type=manual\n"), "{}", words(&output));
    }
    for command in ["show", "check", "update", "logs", "enable", "disable"] {
        let output = root.tsadmin(&[command], "");
        assert_status(&output, 1);
        assert_eq!(
            stderr(&output),
            "tsadmin: /usr/local/etc/threatstop.conf: not there; tsadmin add makes it\n"
        );
    }
    assert_status(&root.tsadmin(&["remove"], ""), 2);
    let version = format!("tspf {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&root.tsadmin(&["version"], "")), version, "in the tree");
    assert_status(&root.add(&[]), 0);
    assert_eq!(root.script(), "/usr/local/sbin/tsadmin");
    assert_eq!(stdout(&root.tsadmin(&["version"], "")), version, "installed");
}

#[test]
fn a_configuration_of_the_old_scripts_is_taken_over() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let root = Root::new("OpenBSD", shell);
        std::fs::create_dir_all(root.path("usr/local/etc")).unwrap();
        let old = format!(
            "# ThreatSTOP\nOUT_DIR=/var/db\ndevice_id='tdid_0ld'\nBLOCK_FILE=\"${{OUT_DIR}}/ThreatSTOP-Block.pftable\"\n\
             ALLOW_FILE=$OUT_DIR/ThreatSTOP-Allow.pftable\nDIG_OPTIONS=\"+tcp $(touch /tmp/hit)\"\nDNS_SERVERS=\"127.0.0.1:{}\"\n\
             \x20 BLOCK_LIST=block.org.example # mine\n",
            root.server.port()
        );
        root.write(CONF, &old);
        let before = root.snapshot();
        let plan = stdout(&root.tsadmin(&["add", "-n", "--take_defaults"], ""));
        assert!(plan.contains("+# Not known") && !plan.contains("touch"), "may be a secret: {plan}");
        let output = root.tsadmin(&["add", "--silent"], "");
        assert_status(&output, 0);
        assert!(
            stderr(&output).contains("tsadmin: DIG_OPTIONS: not a setting, kept as a comment\n"),
            "{}",
            words(&output)
        );
        let now = root.read(CONF);
        for line in [
            "# ThreatSTOP\nOUT_DIR=/var/db\ndevice_id=\"tdid_0ld\"\nBLOCK_FILE=\"/var/db/ThreatSTOP-Block.pftable\"\n\
             ALLOW_FILE=/var/db/ThreatSTOP-Allow.pftable\n",
            "# Not known to threatstop.conf(5): DIG_OPTIONS=\"+tcp $(touch /tmp/hit)\"\n",
            "\n  BLOCK_LIST=block.org.example # mine\n",
        ] {
            assert!(now.contains(line), "{shell:?} {line}: {now}");
        }
        assert_eq!(root.read(&format!("{CONF}.pre-threatstop")), old);
        assert!(!root.path("tmp/hit").exists());
        assert_status(&root.tsadmin(&["add", "--silent"], ""), 2);

        // It was there before, so it is not ours to remove.
        let output = root.tsadmin(&["remove"], "\n");
        assert_status(&output, 0);
        assert!(stdout(&output).contains("Left: /usr/local/etc/threatstop.conf"), "{}", words(&output));
        root.write(CONF, &old);
        std::fs::remove_file(root.path(&format!("{CONF}.pre-threatstop"))).unwrap();
        let mode = before[std::path::Path::new(CONF)].2;
        std::fs::set_permissions(root.path(CONF), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
        assert_eq!(difference(&before, &root.snapshot()), "");
    }
}

#[test]
fn a_variable_that_holds_itself_does_not_go_on_for_ever() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Busybox);
    std::fs::create_dir_all(root.path("usr/local/etc")).unwrap();
    root.write(CONF, "OUT_DIR=${OUT_DIR}/x$OUT_DIR\nBLOCK_FILE=${OUT_DIR}/b\nBLOCK_LIST=a.example\n");
    let output = root.tsadmin(&["add", "--silent"], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("OUT_DIR: a value cannot hold the character $"), "{}", words(&output));
}

#[test]
fn what_others_can_write_is_not_built_upon() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Dash);
    std::fs::create_dir_all(root.path("var/db/threatstop")).unwrap();
    std::os::unix::fs::chown(root.path("var/db/threatstop"), Some(900), None).unwrap();
    let before = root.snapshot();
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("/var/db/threatstop: others than root can write it"),
        "{}",
        words(&output)
    );
    assert_eq!(difference(&before, &root.snapshot()), "");
}

#[test]
fn pfsense_keeps_what_it_manages() {
    if !possible() {
        return;
    }
    let root = Root::new("FreeBSD", Shell::Dash);
    root.write("etc/platform", "pfSense\n");
    let before = root.snapshot();
    let parameters = root.parameters();
    let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
    args.push("--take_defaults");
    let output = root.tsadmin(&args, "");
    assert_status(&output, 0);
    let said = stdout(&output);
    assert!(said.contains("Firewall > Aliases: ThreatSTOP_block and ThreatSTOP_allow"), "{said}");
    for (name, line) in
        [(CONF, "OUT_DIR=\"/var/db/aliastables\"\n"), (CONF, "PFLOG=\"/var/log/filter.log\"\n")]
    {
        assert!(root.read(name).contains(line), "{}", root.read(name));
    }
    assert!(root.path("var/db/aliastables/ThreatSTOP_block.txt").exists());
    for name in ["etc/pf.conf", "etc/newsyslog.conf"] {
        assert_eq!(root.snapshot()[std::path::Path::new(name)], before[std::path::Path::new(name)]);
    }
    let output = root.tsadmin(&["enable"], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("pfSense manages pf.conf itself"), "{}", words(&output));
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(difference(&before, &root.snapshot()), "");
}

#[test]
fn an_anchor_is_the_administrators() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Dash);
    std::fs::create_dir_all(root.path("usr/local/etc")).unwrap();
    root.write(CONF, "ANCHOR=threatstop\n");
    let shipped = root.read("etc/pf.conf");
    let parameters = root.parameters();
    let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
    args.push("--take_defaults");
    let output = root.tsadmin(&args, "");
    assert_status(&output, 0);
    assert!(stdout(&output).contains("ANCHOR is set"), "{}", words(&output));
    assert_eq!(root.read("etc/pf.conf"), shipped);
}
