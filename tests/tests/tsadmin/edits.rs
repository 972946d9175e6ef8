//! What tsadmin does to files that are not its own, in the shapes in which it finds them.

use super::root::{Root, Shell, difference, possible};
use super::{assert_status, stderr, stdout};
use tests::machine::words;

const INCLUDE: &str = "include \"/usr/local/etc/threatstop.pf.conf\" # tspf(7)\n";

fn root() -> Option<Root> {
    possible().then(|| Root::new("OpenBSD", Shell::Dash))
}

#[test]
fn the_include_line_goes_above_the_first_filter_rule() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/pf.conf");
    for (os, above) in
        [("OpenBSD", "block return\t# block stateless"), ("FreeBSD", "antispoof quick for lo0\n")]
    {
        let root = Root::new(os, Shell::Dash);
        let shipped = root.read("etc/pf.conf");
        let output = root.add(&[]);
        assert_status(&output, 0);
        assert_eq!(root.read("etc/pf.conf"), shipped.replacen(above, &format!("{INCLUDE}{above}"), 1));
        assert_eq!(root.read("etc/pf.conf.pre-threatstop"), shipped);
        let log = root.read("stub/log");
        let (tried, loaded) =
            (log.find("pfctl -nf /tmp/").unwrap(), log.find("pfctl -f /etc/pf.conf").unwrap());
        assert!(tried < loaded && log.find("tsload").unwrap() < loaded, "{log}");
        assert!(!log.contains("pfctl -q -e") && !log.contains("rcctl enable"), "{log}");
    }

    // No filter rule at all; one behind a line that goes on; a macro that looks like one; a block of an anchor.
    for (rules, wanted) in [
        ("set skip on lo\n", format!("set skip on lo\n{INCLUDE}")),
        ("", INCLUDE.to_owned()),
        ("x = \"a \\\nblock\"\npass\n", format!("x = \"a \\\nblock\"\n{INCLUDE}pass\n")),
        ("# comment \\\npass\nblock\n", format!("# comment \\\npass\n{INCLUDE}block\n")),
        (
            "pass_in = \"22\"\nanchor {\n\tpass\n}\n",
            format!("pass_in = \"22\"\n{INCLUDE}anchor {{\n\tpass\n}}\n"),
        ),
    ] {
        let root = Root::new("OpenBSD", Shell::Dash);
        root.write("etc/pf.conf", rules);
        let before = root.snapshot();
        assert_status(&root.add(&[]), 0);
        assert_eq!(root.read("etc/pf.conf"), wanted);
        assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
        assert_eq!(difference(&before, &root.snapshot()), "", "{rules:?}");
    }

    // Rules that translate below our line are named.
    root.write("etc/pf.conf", &format!("{shipped}match out on egress inet nat-to (egress)\n"));
    let output = root.add(&[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("will not translate what"), "{}", words(&output));
}

#[test]
fn a_pf_conf_that_cannot_be_edited_is_left_alone() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/pf.conf");
    for (rules, why) in [
        ("pass", "its last line has no end"),
        ("pass\nSYNTAX\n", "pf refuses the changed /etc/pf.conf, which was not touched"),
    ] {
        root.write("etc/pf.conf", rules);
        let output = root.add(&[]);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(why), "{}", words(&output));
        assert_eq!(root.read("etc/pf.conf"), rules);
        assert!(!root.read("stub/pf/rules").contains("ThreatSTOP"));
    }
    std::fs::rename(root.path("etc/pf.conf"), root.path("etc/pf.real")).unwrap();
    std::os::unix::fs::symlink("pf.real", root.path("etc/pf.conf")).unwrap();
    root.write("etc/pf.real", &shipped);
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("/etc/pf.conf: a symbolic link"), "{}", words(&output));
    assert_eq!(root.read("etc/pf.real"), shipped);

    // pf takes the rules with -n and then refuses them: the old ones come back.
    std::fs::rename(root.path("etc/pf.real"), root.path("etc/pf.conf")).unwrap();
    root.write("stub/pf/refuses", "");
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("it is as it was"), "{}", words(&output));
    assert_eq!(root.read("etc/pf.conf"), shipped);

    std::fs::remove_file(root.path("etc/pf.conf")).unwrap();
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("write the rules of this firewall first"), "{}", words(&output));
}

#[test]
fn rules_that_somebody_wrote_himself_are_his() {
    let Some(root) = root() else { return };
    let rules = "table <ThreatSTOP-Block> persist\nblock in quick from <ThreatSTOP-Block>\npass in from <ThreatSTOP-Allow>\n";
    root.write("etc/pf.conf", rules);
    root.write("stub/pf/rules", rules);
    let before = root.snapshot();
    assert_status(&root.add(&[]), 0);
    assert_eq!(root.read("etc/pf.conf"), rules);
    assert_status(&root.tsadmin(&["check"], ""), 0);
    assert_status(&root.tsadmin(&["disable"], ""), 1);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(difference(&before, &root.snapshot()), "");
    assert!(root.path("stub/pf/tables/ThreatSTOP-Block").exists(), "a rule refers to it");
}

#[test]
fn disabled_and_enabled() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let enabled = (root.read("etc/pf.conf"), root.read("stub/pf/rules"));
    assert_status(&root.tsadmin(&["enable"], ""), 2);
    assert_status(&root.tsadmin(&["disable"], ""), 0);
    assert!(root.read("etc/pf.conf").contains(&format!("\n#{INCLUDE}")));
    assert!(!root.read("stub/pf/rules").contains("ThreatSTOP"));
    assert_status(&root.tsadmin(&["disable"], ""), 2);
    let output = root.tsadmin(&["check"], "");
    assert_status(&output, 1);
    assert!(
        stdout(&output).contains("FAIL  /etc/pf.conf has our rules: tsadmin enable"),
        "{}",
        words(&output)
    );

    // add does not turn them on behind the administrator's back, and remove finds its line.
    assert_status(&root.add(&[]), 2);
    assert_status(&root.tsadmin(&["enable"], ""), 0);
    assert_eq!((root.read("etc/pf.conf"), root.read("stub/pf/rules")), enabled);
    assert_status(&root.tsadmin(&["disable"], ""), 0);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert!(!root.read("etc/pf.conf").contains("tspf"));
}

#[test]
fn whoever_comes_from_a_blocked_address_is_not_cut_off() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/pf.conf");
    root.write("stub/who", "root     ttyp0    Nov 21 12:00   (64.87.3.133)\n");
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("64.87.3.133, where somebody is logged in from, is in the table"),
        "{}",
        words(&output)
    );
    assert_eq!(root.read("etc/pf.conf"), shipped);
    assert!(!root.read("stub/log").contains("pfctl -f"));
}

#[test]
fn pf_that_is_off_is_turned_on_last() {
    let Some(root) = root() else { return };
    std::fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    std::fs::remove_file(root.path("stub/pflogd")).unwrap();
    let output = root.add(&[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("connections that are there now may end"), "{}", words(&output));
    let log = root.read("stub/log");
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("{line}: {log}"));
    assert!(
        at("pfctl -f /etc/pf.conf\n") < at("rcctl enable pf\n")
            && at("rcctl enable pf\n") < at("pfctl -q -e\n"),
        "{log}"
    );
    assert!(at("rcctl enable pflogd\n") < at("rcctl start pflogd\n"), "{log}");
    assert!(root.path("stub/pf/enabled").exists());
}

#[test]
fn a_limit_that_is_too_low_is_raised_above_the_tables() {
    let Some(root) = root() else { return };
    root.write("stub/pf/limit", "5\n");
    assert_status(&root.add(&[]), 0);
    let rules = root.read("usr/local/etc/threatstop.pf.conf");
    assert!(
        rules.find("set limit table-entries 400000\n").unwrap() < rules.find("table <").unwrap(),
        "{rules}"
    );
    assert_eq!(root.read("stub/pf/limit"), "400000\n");
    assert_status(&root.add(&[]), 2);

    // FreeBSD wants options above translations: this is for the administrator.
    let root = Root::new("FreeBSD", Shell::Dash);
    assert_status(&root.add(&[]), 0);
    root.write("stub/pf/limit", "5\n");
    let parameters = root.parameters();
    let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
    args.push("--take_defaults");
    let output = root.tsadmin(&args, "");
    assert_status(&output, 2);
    let line = "put this line at the top of /etc/pf.conf, and run pfctl -f /etc/pf.conf: set limit table-entries 400000\n";
    assert!(stderr(&output).contains(line), "{}", words(&output));
    assert!(!root.read("usr/local/etc/threatstop.pf.conf").contains("set limit"));
}

#[test]
fn newsyslog_conf_in_other_shapes() {
    let Some(root) = root() else { return };
    let shipped = root.read("etc/newsyslog.conf");
    // The line of the old installer.
    let old = shipped.replace("600  3     250  *     ZB", "600 10 * 1 ZB");
    root.write("etc/newsyslog.conf", &old);
    assert_status(&root.add(&[]), 0);
    let now = root.read("etc/newsyslog.conf");
    assert!(now.contains("\n#/var/log/pflog\t\t\t\t600 10 * 1 ZB"), "{now}");
    assert!(now.contains("-x pflogd; /usr/local/sbin/tsship -q\"\n"), "{now}");
    // Somebody adds a line elsewhere, which stays.
    root.write("etc/newsyslog.conf", &format!("{now}/var/log/mine 600 1 1 * Z\n"));
    let output = root.tsadmin(&["remove", "--silent"], "");
    assert_status(&output, 0);
    assert_eq!(root.read("etc/newsyslog.conf"), format!("{old}/var/log/mine 600 1 1 * Z\n"));
    assert_eq!(root.read("etc/newsyslog.conf.pre-threatstop"), old, "never copied back, and left");

    // Without a line for the log; with two; and with our end mark lost.
    let without: String =
        shipped.lines().filter(|line| !line.contains("pflog")).map(|line| format!("{line}\n")).collect();
    let root = Root::new("OpenBSD", Shell::Mksh);
    root.write("etc/newsyslog.conf", &without);
    assert_status(&root.add(&[]), 0);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(root.read("etc/newsyslog.conf"), without);
    let two = format!("{shipped}/var/log/pflog 600 1 1 * Z\n");
    root.write("etc/newsyslog.conf", &two);
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("2 lines for /var/log/pflog"), "{}", words(&output));
    assert_eq!(root.read("etc/newsyslog.conf"), two);
    root.write("etc/newsyslog.conf", &shipped);
    assert_status(&root.add(&[]), 0);
    let lost = root.read("etc/newsyslog.conf").replace("# tspf(7): end\n", "");
    root.write("etc/newsyslog.conf", &lost);
    let output = root.tsadmin(&["remove", "--silent"], "");
    assert_status(&output, 1);
    assert_eq!(root.read("etc/newsyslog.conf"), lost);
}

#[test]
fn crontabs_in_other_shapes() {
    let Some(root) = root() else { return };
    // With the lines of the old scripts.
    let old = "MAILTO=threatstop@example.com\n0\t*\t*\t*\t*\t/usr/bin/newsyslog\n# ThreatSTOP update\n22 * * * * /usr/local/sbin/threatstop.sh\n\
        */15 * * * * /usr/local/sbin/threatstop-log.pl\n";
    root.write("stub/crontab", &format!("# a\n# b\n# c\n{old}"));
    assert_status(&root.add(&[]), 0);
    assert_eq!(
        super::without_minutes(&root.crontab()),
        "MAILTO=threatstop@example.com\n0\t*\t*\t*\t*\t/usr/bin/newsyslog\n# ThreatSTOP update\n#tspf# 22 * * * * /usr/local/sbin/threatstop.sh\n\
         #tspf# */15 * * * * /usr/local/sbin/threatstop-log.pl\n# ThreatSTOP update\n\
         *\t*\t*\t*\t-s /usr/local/sbin/tsfetch; /usr/local/sbin/tsload\n*\t*\t*\t*\t-s /usr/local/sbin/tsship\n"
    );
    assert_eq!(root.read("root/crontab.pre-threatstop"), old);
    assert_status(&root.add(&[]), 2);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(root.crontab(), old);

    // None at all.
    std::fs::remove_file(root.path("stub/crontab")).unwrap();
    assert_status(&root.add(&[]), 0);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert!(!root.path("stub/crontab").exists());

    // One that cannot be read is not replaced.
    root.write("stub/crontab.fails", "");
    root.write("stub/crontab", old);
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("root's crontab: crontab: /var/cron/tabs/root: Input/output error"),
        "{}",
        words(&output)
    );
    assert_eq!(root.read("stub/crontab"), old);
}

#[test]
fn remove_keeps_what_others_changed_and_says_so() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    let mut conf = root.read("usr/local/etc/threatstop.conf");
    conf.push_str("AGGREGATE=\"yes\"\n");
    root.write("usr/local/etc/threatstop.conf", &conf);
    root.write("var/db/threatstop/outbox/1-2", "text");
    // The fetcher's directory with what the fetcher might put there.
    root.write("etc/secret", "kept");
    std::os::unix::fs::symlink("/etc/secret", root.path("var/db/threatstop/policy/link")).unwrap();
    std::fs::create_dir(root.path("var/db/threatstop/policy/dir")).unwrap();
    std::os::unix::fs::symlink("/etc", root.path("var/db/threatstop/policy/dir/etc")).unwrap();
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 0);
    let said = stdout(&output);
    for left in [
        "/usr/local/etc/threatstop.conf, which was changed",
        "/var/db/threatstop/outbox, which is not empty",
        "/var/db/threatstop/policy, which is not empty",
        "/usr/local/etc, which is not empty",
    ] {
        assert!(said.contains(&format!("Left: {left}\n")), "{said}");
    }
    assert_eq!(root.read("usr/local/etc/threatstop.conf"), conf);
    assert_eq!(root.read("var/db/threatstop/outbox/1-2"), "text");
    assert_eq!(root.read("etc/secret"), "kept");
    // A record that others could have written is not believed.
    root.write("var/db/threatstop.made", "file:0:0 /etc/secret\n");
    std::os::unix::fs::chown(root.path("var/db/threatstop.made"), Some(900), None).unwrap();
    root.write("etc/secret", "");
    let output = root.tsadmin(&["remove", "--silent"], "");
    assert_status(&output, 1);
    assert!(stderr(&output).contains("/var/db/threatstop.made: not root's alone"), "{}", words(&output));
    assert!(root.path("etc/secret").exists());
    assert!(!root.path("var/db/threatstop/policy/link").is_symlink());
    assert!(root.path("var/db/threatstop/policy/dir/etc").is_symlink());
    assert!(!root.path("usr/local/sbin/tsfetch").exists());
}

/// pf refuses all of pf.conf at the next boot if a file that it names is gone.
#[test]
fn remove_leaves_what_pf_conf_still_names() {
    if !possible() {
        return;
    }
    const RULES: &str = "usr/local/etc/threatstop.pf.conf";
    const FILE: &str = "var/db/ThreatSTOP-Block.pftable";
    let root = Root::new("OpenBSD", Shell::Mksh);
    assert_status(&root.add(&[]), 0);
    let edited = root.read("etc/pf.conf").replace(" # tspf(7)", " # do not touch");
    root.write("etc/pf.conf", &edited);
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 0);
    for left in [RULES, FILE] {
        let words = format!("Left: /{left}, which /etc/pf.conf names\n");
        assert!(stdout(&output).contains(&words), "{}", stdout(&output));
        assert!(root.path(left).exists());
    }
    assert_eq!(root.read("etc/pf.conf"), edited);
    assert!(root.path("stub/pf/tables/ThreatSTOP-Block").exists(), "rules still refer to it");

    // Rules of somebody's own, with the file that add made.
    let root = Root::new("OpenBSD", Shell::Dash);
    let own = "table <ThreatSTOP-Block> persist file \"/var/db/ThreatSTOP-Block.pftable\"\nblock in from <ThreatSTOP-Block>\n";
    root.write("etc/pf.conf", own);
    assert_status(&root.add(&[]), 0);
    let output = root.tsadmin(&["remove"], "\n");
    assert_status(&output, 0);
    assert!(root.path(FILE).exists(), "{}", words(&output));
    assert!(!root.path("var/db/ThreatSTOP-Allow.pftable").exists());
}

/// The script in a root whose /tmp holds almost nothing more.
#[test]
fn nothing_is_cut_short_when_tmp_is_full() {
    let Some(root) = root() else { return };
    assert_status(&root.add(&[]), 0);
    const SMALL: &str =
        "/host/bin/mount -t tmpfs -o size=200k tmpfs /tmp && exec /usr/local/sbin/tsadmin \"$@\" --silent";
    let remove = || root.command(&["/usr/bin/sh", "-c", SMALL, "sh", "remove"]).output().unwrap();
    let long = "# a line that somebody wrote\n".repeat(10_000);
    let (pf, newsyslog, crontab) =
        (root.read("etc/pf.conf"), root.read("etc/newsyslog.conf"), root.read("stub/crontab"));
    for (name, content) in
        [("etc/pf.conf", &pf), ("etc/newsyslog.conf", &newsyslog), ("stub/crontab", &crontab)]
    {
        let content = format!("{content}{long}");
        root.write(name, &content);
        let before = root.snapshot();
        let output = remove();
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(said.contains(": not written") || said.contains("root's crontab: "), "{name}: {said}");
        assert_eq!(difference(&before, &root.snapshot()), "", "{name}");
        assert!(root.read(name) == content, "{name}");
        root.write(name, content.strip_suffix(&long).unwrap());
    }
}

#[test]
fn freebsd_has_a_file_for_the_log_of_pf() {
    if !possible() {
        return;
    }
    let root = Root::new("FreeBSD", Shell::Dash);
    const NAME: &str = "etc/newsyslog.conf.d/pf.conf";
    let (log, rest): (Vec<String>, Vec<String>) = root
        .read("etc/newsyslog.conf")
        .lines()
        .map(|line| format!("{line}\n"))
        .partition(|line| line.starts_with("/var/log/pflog"));
    std::fs::create_dir(root.path("etc/newsyslog.conf.d")).unwrap();
    root.write(NAME, &log.concat());
    root.write("etc/newsyslog.conf", &rest.concat());
    let before = root.snapshot();
    assert_status(&root.add(&[]), 0);
    assert_eq!(root.read("etc/newsyslog.conf"), rest.concat(), "one line for a log");
    assert!(root.read(NAME).contains("600  10    *     1     ZB"), "{}", root.read(NAME));
    assert_status(&root.add(&[]), 2);
    assert_status(&root.tsadmin(&["check"], ""), 0);
    assert_status(&root.tsadmin(&["remove", "--silent"], ""), 0);
    assert_eq!(difference(&before, &root.snapshot()), "");

    // Another pf.conf is in force there: ours would take its place.
    root.write("stub/pf_rules", "/usr/local/etc/pf.conf\n");
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("pf_rules in rc.conf(5) is"), "{}", words(&output));
    assert_eq!(difference(&before, &root.snapshot()), "");
}

#[test]
fn a_policy_that_was_not_loaded_is_no_success() {
    let Some(root) = root() else { return };
    root.write("stub/tsload.fails", "");
    let output = root.add(&[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("the policy was not loaded"), "{}", words(&output));
    assert_status(&root.tsadmin(&["disable"], ""), 0);
    assert_status(&root.tsadmin(&["enable"], ""), 1);
    root.write("stub/pf.off", "");
    let output = root.tsadmin(&["check"], "");
    assert!(stdout(&output).contains("FAIL  pf is enabled at boot"), "{}", words(&output));
}
