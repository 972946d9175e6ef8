//! Logs that come again in another form, or not at all: what the ledger knows, and what is said.

use std::os::unix::fs::MetadataExt;

use super::*;

/// A run as the hook of newsyslog(8), gzip(1) a moment later, and the run of cron(8).
fn rotate(machine: &Machine, content: &[u8]) -> [Output; 2] {
    let path = |number: usize, suffix: &str| machine.path(&format!("log/pflog.{number}{suffix}"));
    for number in (0..8).rev() {
        let _ = fs::rename(path(number, ".gz"), path(number + 1, ".gz"));
    }
    machine.write("log/pflog.0", content);
    let time = fs::metadata(path(0, "")).unwrap().modified().unwrap();
    let hook = tsship(machine, &["-q"]);
    machine.write("log/pflog.0.gz", pflog::gzip(content));
    fs::File::options().write(true).open(path(0, ".gz")).unwrap().set_modified(time).unwrap();
    fs::remove_file(path(0, "")).unwrap();
    [hook, tsship(machine, &[])]
}

fn forget(machine: &Machine) {
    for entry in fs::read_dir(machine.path("log")).unwrap().flatten() {
        if entry.file_name() != "pflog" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn logs_that_were_deleted_unseen_are_missed_after_gzip_too() {
    let (machine, server) = ready();
    for hour in 1..4 {
        let [hook, cron] = rotate(&machine, &log(30, hour));
        assert_status(&hook, 0);
        assert_status(&cron, 0);
    }
    // What is known of them did not get less by it.
    let ledger = fs::read_to_string(machine.path("db/threatstop/ledger")).unwrap();
    assert!(ledger.lines().all(|line| line.split(' ').nth(2) == Some("30")), "{ledger}");
    forget(&machine);
    let output = &rotate(&machine, &log(30, 30))[0];
    assert_status(output, 1);
    assert!(
        words(output).contains("may be lost: logs were deleted before they were read"),
        "{}",
        words(output)
    );
    assert_eq!(server.accepted().len(), 4);
}

#[test]
fn hours_without_a_packet_are_no_loss() {
    let (machine, server) = ready();
    rotate(&machine, &log(30, 1));
    for _ in 0..12 {
        for output in rotate(&machine, &log(0, 0)) {
            assert_status(&output, 2);
            assert!(output.stderr.is_empty(), "{}", words(&output));
        }
    }
    let [hook, cron] = rotate(&machine, &log(30, 20));
    assert_eq!((hook.stderr.len(), cron.stderr.len()), (0, 0), "{}", words(&hook));
    assert_eq!(server.accepted().len(), 2);
}

/// As the power leaves it behind: gzip(1) had removed the whole, and its own file was not on disk.
#[test]
fn a_log_that_lost_its_end_after_it_was_shipped_is_not_shipped_again() {
    for gzip in [true, false] {
        let (machine, server) = ready();
        let whole = log(3000, 1);
        machine.write("log/pflog.0", &whole);
        assert_status(&tsship(&machine, &[]), 0);
        fs::remove_file(machine.path("log/pflog.0")).unwrap();
        let (name, content) =
            if gzip { ("log/pflog.0.gz", pflog::gzip(&whole)) } else { ("log/pflog.0", whole.clone()) };
        for cut in [content.len() / 2, content.len() - 20] {
            machine.write(name, &content[..cut]);
            let output = tsship(&machine, &[]);
            assert_status(&output, 1);
            assert!(words(&output).contains("has lost its end, which was shipped"), "{}", words(&output));
            assert_status(&tsship(&machine, &[]), 2);
        }
        assert_eq!(server.requests().len(), 1);

        // The other way round there is news, and it is said what comes twice.
        let (machine, server) = ready();
        machine.write(name, &content[..content.len() / 2]);
        tsship(&machine, &[]);
        machine.write(name, &content);
        let output = tsship(&machine, &[]);
        assert_status(&output, 1);
        assert!(words(&output).contains("records were shipped before, and are again"), "{}", words(&output));
        assert_eq!(server.accepted().len(), 2);
    }
}

#[test]
fn a_log_that_is_compressed_otherwise_is_named_once() {
    let (machine, server) = ready();
    machine.write("log/pflog.0.bz2", "BZh91AY");
    let output = tsship(&machine, &[]);
    assert_status(&output, 1);
    assert!(words(&output).contains("pflog.0.bz2: not gzip, so not shipped"), "{}", words(&output));
    for name in ["log/pflog.0.bz2", "log/pflog.1.bz2"] {
        let _ = fs::rename(machine.path("log/pflog.0.bz2"), machine.path(name));
        let output = tsship(&machine, &[]);
        assert_status(&output, 2);
        assert!(output.stderr.is_empty(), "{}", words(&output));
    }
    machine.write("log/pflog.0.bz2", "BZh91AY of another hour");
    assert_status(&tsship(&machine, &[]), 1);
    assert!(server.requests().is_empty());
}

#[test]
fn copies_of_a_log_do_not_fill_the_ledger() {
    let (machine, server) = ready();
    machine.write("log/pflog.0", log(30, 1));
    fs::copy(machine.path("log/pflog.0"), machine.path("log/pflog.5")).unwrap();
    tsship(&machine, &[]);
    let ledger = machine.path("db/threatstop/ledger");
    let size = fs::metadata(&ledger).unwrap().size();
    for _ in 0..3 {
        tsship(&machine, &[]);
    }
    assert_eq!((fs::metadata(&ledger).unwrap().size(), server.accepted().len()), (size, 1));
}

const FILTERLOG: &str = "Jan  1 00:00:07 fw filterlog[77]: 5,,,02f4bab031b57d1e30553ce08e0ec131,em0,match,block,in,4,0x0,,\
    64,0,0,DF,17,udp,40,203.0.113.9,192.0.2.1,53,40000,20\n";

#[test]
fn what_newsyslog_writes_into_a_text_log_is_no_fault() {
    let (machine, server) = ready();
    let line = "Jan  1 00:00:00 fw newsyslog[9]: logfile turned over due to size>500K\n";
    machine.write("log/pflog", [line, FILTERLOG].concat());
    machine.write("log/pflog.0", [line, FILTERLOG, line].concat());
    let output = tsship(&machine, &[]);
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", words(&output));
    assert_eq!(server.accepted()[0].content, FILTERLOG.as_bytes());
}

#[test]
fn of_several_logs_each_is_printed_that_can_be() {
    let (machine, _server) = ready();
    machine.write("log/a", log(30, 1));
    let (a, b) = (machine.path("log/a"), machine.path("log/missing"));
    let output = machine.program("tsship").arg("-n").args([&b, &a]).output().unwrap();
    assert_status(&output, 1);
    assert_eq!(output.stdout, text(&machine, "log/a"));
    assert!(words(&output).contains("log/missing: No such file or directory"), "{}", words(&output));
}
