//! The program as a whole, without a server: spooling and printing.

// A test may panic; clippy.toml says so for test functions, and these are their helpers.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A private spool, log directory and configuration. Removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let root = std::env::temp_dir().join(format!("tsship-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for directory in ["log", "spool/lock", "spool/outbox", "spool/rejected"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        // As root, the children have to be somebody else, who need not see the place.
        let user = if fs::metadata(&root).unwrap().uid() == 0 { "SHIP_USER=nobody\n" } else { "" };
        let at = root.display();
        let settings = format!("PFLOG={at}/log/pflog\nSPOOL_DIR={at}/spool\nLOG_TIME=epoch\n{user}");
        fs::write(root.join("conf"), settings).unwrap();
        let place = Place(root);
        place.each_directory(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap());
        place.rotate("pflog", &log(&[]));
        place
    }

    fn each_directory(&self, work: impl Fn(&Path)) {
        ["", "log", "spool", "spool/lock", "spool/outbox", "spool/rejected"]
            .iter()
            .for_each(|name| work(&self.0.join(name)));
    }

    fn set(&self, line: &str) {
        let path = self.0.join("conf");
        let settings = fs::read_to_string(&path).unwrap() + line + "\n";
        fs::write(path, settings).unwrap();
    }

    fn rotate(&self, name: &str, octets: &[u8]) {
        let path = self.0.join("log").join(name);
        fs::write(&path, octets).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn tsship(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tsship"));
        command.arg("-c").arg(self.0.join("conf")).args(arguments).current_dir(self.0.join("log"));
        command
    }

    /// Runs the program; exit status, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        said(self.tsship(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.0.join("spool/ledger")).unwrap()
    }

    /// How many logs the ledger knows.
    fn known(&self) -> usize {
        let ledger = self.ledger();
        ledger.lines().map(|line| &line[..64]).collect::<std::collections::HashSet<_>>().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(output: Output) -> (i32, String, String) {
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A pflog file of records taken at these seconds, each a header of 100 octets and no packet.
fn log(seconds: &[u32]) -> Vec<u8> {
    log_with_headers(100, seconds)
}

fn log_with_headers(length: u8, seconds: &[u32]) -> Vec<u8> {
    let mut octets = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 160, 117].map(u32::to_le_bytes).concat();
    for second in seconds {
        octets.extend([*second, 0, 100, 100].map(u32::to_le_bytes).concat());
        octets.push(length);
        octets.extend([0; 99]);
    }
    octets
}

/// The text of such a record.
fn line(second: u32) -> String {
    format!("{second}.000000 rule 0/(match) pass in on : unknown-af 0\n")
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn nothing() -> (i32, String, String) {
    (2, String::new(), String::new())
}

#[test]
fn each_log_is_spooled_once_whatever_its_name() {
    let place = Place::new("once");
    let (old, new) = (log(&[1000, 1001]), log(&[2000]));
    place.rotate("pflog.0", &new);
    place.rotate("pflog.1.gz", &gzip(&old));
    assert_eq!(place.run(&["-q"]), (0, String::new(), String::new()));
    let names = place.names("spool/outbox");
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("0000001000-") && names[1].starts_with("0000002000-"));
    let text = fs::read_to_string(place.0.join("spool/outbox").join(&names[0])).unwrap();
    assert_eq!(text, line(1000) + &line(1001));
    let ledger = place.ledger();
    assert_eq!(ledger.lines().count(), 2);
    let words: Vec<&str> = ledger.split(' ').collect();
    assert_eq!((words[0], &words[2..5]), (&names[0][11..], &["2", "1000", "1001"][..]));
    for name in ["spool/ledger", &format!("spool/outbox/{}", names[0])] {
        assert_eq!(fs::metadata(place.0.join(name)).unwrap().mode() & 0o7777, 0o600);
    }

    assert_eq!(place.run(&["-q"]), nothing());
    // gzip has both forms for a while; what it has not finished is not looked at.
    place.rotate("pflog.0.gz", b"\x1f\x8b");
    assert_eq!(place.run(&["-q"]), nothing());
    // The next rotation.
    fs::remove_file(place.0.join("log/pflog.0")).unwrap();
    place.rotate("pflog.2.gz", &gzip(&old));
    place.rotate("pflog.1.gz", &gzip(&new));
    place.rotate("pflog.0.gz", &gzip(&log(&[])));
    assert_eq!(place.run(&["-q"]), nothing());
    assert_eq!(place.names("spool/outbox"), names);
    assert_eq!(place.known(), 3);
    // What was read as it is now need not be read again, and nothing is written.
    let ledger = place.ledger();
    assert_eq!(place.run(&["-q"]), nothing());
    assert_eq!(place.ledger(), ledger);
    // The oldest is gone, and so is what was posted; should it come back, it is known.
    fs::remove_file(place.0.join("log/pflog.2.gz")).unwrap();
    names.iter().for_each(|name| fs::remove_file(place.0.join("spool/outbox").join(name)).unwrap());
    assert_eq!(place.run(&["-q"]), nothing());
    place.rotate("pflog.3", &old);
    assert_eq!(place.run(&["-q"]), nothing());
    assert!(place.names("spool/outbox").is_empty());
}

#[test]
fn a_log_is_known_by_its_file_only_as_long_as_the_ledger_knows_it() {
    let place = Place::new("file");
    place.rotate("pflog.1", &log(&[1]));
    assert_eq!(place.run(&["-q"]).0, 0);
    // To show that it is not read again, it gets another content that it cannot get by itself.
    let path = place.0.join("log/pflog.1");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    place.rotate("pflog.1", &log(&[9]));
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    assert_eq!(place.run(&["-q"]), nothing());
    assert_eq!(place.names("spool/outbox").len(), 1);
    // Without the ledger everything is read.
    fs::remove_file(place.0.join("spool/ledger")).unwrap();
    assert_eq!(place.run(&["-q"]).0, 0);
    assert_eq!(place.names("spool/outbox").len(), 2);
    // A file that was written to is another.
    place.rotate("pflog.1", &log(&[1, 2]));
    place.rotate("pflog.2", &log(&[1]));
    assert_eq!(place.run(&["-q"]).0, 0);
    assert_eq!(place.names("spool/outbox").len(), 3);
}

#[test]
fn logs_that_were_deleted_unseen_are_said_as_a_span_of_time() {
    let place = Place::new("gap");
    let said = |from: &str, to: &str| {
        let pflog = place.0.join("log/pflog");
        format!(
            "tsship: {}: what was logged {from}before {to} may be lost: logs were deleted before they were \
             read, unless there were none\n",
            pflog.display()
        )
    };
    let at = |second| format!("Thu Jan  1 00:{:02}:{:02} UTC 1970", second / 60, second % 60);
    // The first logs that are ever seen follow no others.
    place.rotate("pflog.1", &log(&[300, 310]));
    place.rotate("pflog.0", &log(&[320, 330]));
    assert_eq!(place.run(&["-q"]), (0, String::new(), String::new()));
    // As long as one of them is left, nothing is missing: here by its content only.
    fs::remove_file(place.0.join("log/pflog.1")).unwrap();
    place.rotate("pflog.1.gz", &gzip(&log(&[320, 330])));
    place.rotate("pflog.0", &log(&[340]));
    assert_eq!(place.run(&["-q"]), (0, String::new(), String::new()));
    // A log without records is like any other such, and shows nothing.
    fs::remove_file(place.0.join("log/pflog.1.gz")).unwrap();
    place.rotate("pflog.2", &log(&[]));
    place.rotate("pflog.1", &log(&[400, 410]));
    place.rotate("pflog.0", &log(&[420]));
    let gap = said(&format!("after {} and ", at(340)), &at(400));
    assert_eq!(place.run(&["-q"]), (1, String::new(), gap));
    assert_eq!(place.run(&["-q"]), nothing(), "said once");
    // Nobody knows what was before when the clock was set back.
    fs::remove_file(place.0.join("log/pflog.2")).unwrap();
    place.rotate("pflog.1", &log(&[5]));
    place.rotate("pflog.0", &log(&[6]));
    assert_eq!(place.run(&["-q"]), (1, String::new(), said("", &at(5))));
    // What is named by hand is no sign of anything.
    place.rotate("old", &log(&[370]));
    assert_eq!(place.run(&["-q", "old"]), (0, String::new(), String::new()));
    assert_eq!(place.names("spool/outbox").len(), 8);
}

#[test]
fn logs_that_are_named_are_spooled_once() {
    let place = Place::new("named");
    place.rotate("a", &log(&[1]));
    place.rotate("b.gz", &gzip(&log(&[2])));
    place.rotate("pflog.0", &log(&[3]));
    assert_eq!(place.run(&["-q", "a", "b.gz"]), (0, String::new(), String::new()));
    assert_eq!(place.names("spool/outbox").len(), 2, "these and no others");
    assert_eq!(place.run(&["-q", "b.gz", "a"]), nothing());
    // A run over the rotated logs does not forget them, nor does their age.
    assert_eq!(place.run(&["-q"]), (0, String::new(), String::new()));
    assert_eq!(place.run(&["-q", "a", "b.gz"]), nothing());
    assert_eq!(place.run(&["-q", "pflog.0"]), nothing());

    let piped = |octets: &[u8]| {
        let mut command = place.tsship(&["-q", "-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(octets).unwrap();
        said(child.wait_with_output().unwrap())
    };
    assert_eq!(piped(&log(&[2])), nothing());
    assert_eq!(piped(&gzip(&log(&[4]))), (0, String::new(), String::new()));
    assert_eq!(place.names("spool/outbox").len(), 4);
    // What is still written to is not shipped, whatever it is called; the others are.
    std::os::unix::fs::symlink("pflog", place.0.join("log/link")).unwrap();
    place.rotate("c", &log(&[5]));
    let (status, _, err) = place.run(&["-q", "pflog", "link", "missing", "c"]);
    let live = "not shipped: pflogd still writes to it; -r has it rotated";
    assert_eq!(
        (status, err),
        (
            1,
            format!(
                "tsship: pflog: {live}\ntsship: link: {live}\ntsship: missing: No such file or directory\n"
            )
        )
    );
    assert_eq!(place.names("spool/outbox").len(), 5);
    let many = vec!["a"; 65];
    let (status, _, err) = place.run(&[&["-q"], many.as_slice()].concat());
    assert_eq!((status, err.as_str()), (1, "tsship: a: one log too many; a run takes 64\n"));
}

#[test]
fn what_pflogd_may_still_write_to_waits() {
    let place = Place::new("final");
    place.rotate("pflog", b"");
    place.rotate("pflog.0", &log(&[5]));
    assert_eq!(place.run(&["-q"]), nothing());
    assert!(place.names("spool/outbox").is_empty());
    place.rotate("pflog", &log(&[]));
    assert_eq!(place.run(&["-q"]).0, 0);
}

#[test]
fn what_a_killed_run_left_is_repaired() {
    let place = Place::new("killed");
    place.rotate("pflog.0", &log(&[5]));
    place.run(&["-q"]);
    let (ledger, names) = (place.ledger(), place.names("spool/outbox"));
    // Killed before the line in the ledger, with a draft half written.
    fs::remove_file(place.0.join("spool/ledger")).unwrap();
    fs::write(place.0.join("spool/outbox/3.tmp"), "half a li").unwrap();
    assert_eq!(place.run(&["-q"]), nothing());
    assert_eq!(place.names("spool/outbox"), names);
    assert_eq!(place.ledger()[..64], ledger[..64]);
    // Killed within the line.
    fs::write(place.0.join("spool/ledger"), &ledger[..70]).unwrap();
    assert_eq!(place.run(&["-q"]), nothing());
    assert_eq!(place.known(), 1);
    // Killed while the ledger was replaced.
    fs::write(place.0.join("spool/ledger.tmp"), "half").unwrap();
    place.rotate("pflog.1", &log(&[4]));
    assert_eq!(place.run(&["-q"]).0, 0);
    assert_eq!(place.known(), 2);
}

#[test]
fn a_damaged_log_is_said_once_and_what_is_before_is_kept() {
    let place = Place::new("damaged");
    let mut damaged = log(&[7, 8]);
    damaged.extend([9u32, 0, u32::MAX, 1].map(u32::to_le_bytes).concat());
    place.rotate("pflog.0", &damaged);
    let (status, out, err) = place.run(&["-q"]);
    assert_eq!((status, out.as_str()), (1, ""));
    let pflog = place.0.join("log/pflog.0");
    assert_eq!(
        err,
        format!("tsship: {}: record 3 at octet 256 is corrupt; what follows is not read\n", pflog.display())
    );
    assert_eq!(place.names("spool/outbox").len(), 1);
    assert_eq!(place.run(&["-q"]), nothing());

    // A cut-off last record is normal.
    place.rotate("pflog.1", &damaged);
    let cut = log(&[10, 11]);
    place.rotate("pflog.0", &cut[..cut.len() - 1]);
    assert_eq!(place.run(&["-q"]), (0, String::new(), String::new()));
    assert_eq!(place.names("spool/outbox").len(), 2);
    // So is a log that nobody wrote to.
    place.rotate("pflog.0", b"");
    assert_eq!(place.run(&["-q"]), nothing());
}

#[test]
fn a_damaged_length_hides_no_records() {
    let place = Place::new("length");
    let mut damaged = log(&[7; 1000]);
    damaged[24 + 116 * 9 + 8..][..4].copy_from_slice(&200_000u32.to_le_bytes());
    place.rotate("pflog.0", &damaged);
    let (status, _, err) = place.run(&["-q"]);
    assert!(status == 1 && err.contains("record 10 at octet 1068 is corrupt"), "{err}");
    place.rotate("pflog.1", &damaged);
    // One that stays within the file swallows what is behind it.
    let mut swallows = log(&[8; 4]);
    swallows[24 + 8..][..4].copy_from_slice(&(100u32 + 116).to_le_bytes());
    place.rotate("pflog.0", &swallows);
    let (status, _, err) = place.run(&["-q"]);
    assert!(status == 1 && err.contains("1 of 3 records are longer than the snap length"), "{err}");
    assert_eq!(place.run(&["-q"]), nothing(), "said once");
}

#[test]
fn the_log_of_another_system_is_not_shipped_as_nonsense() {
    let place = Place::new("foreign");
    let foreign = log_with_headers(60, &[1, 2]);
    place.rotate("pflog.1", &foreign);
    place.rotate("pflog.0", &log(&[3]));
    let pflog = place.0.join("log/pflog.1");
    for spooled in [1, 1] {
        let (status, _, err) = place.run(&["-q"]);
        assert_eq!(status, 1);
        for cause in ["2 of 2 records cannot be read", "not shipped: not one of its records can be read"] {
            assert!(err.contains(&format!("{}: {cause}\n", pflog.display())), "{err}");
        }
        assert_eq!((place.names("spool/outbox").len(), place.known()), (spooled, 1));
    }
    // A few such records are said, once.
    place.rotate("pflog.1", &[log(&[5]), foreign[24..].to_vec()].concat());
    let (status, _, err) = place.run(&["-q"]);
    assert!(status == 1 && err.contains("2 of 3 records cannot be read"), "{err}");
    assert_eq!(place.names("spool/outbox").len(), 2);
    assert_eq!(place.run(&["-q"]), nothing());
}

#[test]
fn logs_that_are_too_many_for_one_run_are_taken_by_the_next() {
    let place = Place::new("many");
    for number in 1..=150 {
        place.rotate(&format!("pflog.{number}"), &log(&[1000 - number]));
    }
    for (spooled, left) in [(64, "86 younger logs wait for the next run\n"), (128, "22 younger"), (150, "")] {
        let (status, out, err) = place.run(&["-qv"]);
        assert!(status == 0 && err.is_empty() && out.contains(left), "{out}{err}");
        let names = place.names("spool/outbox");
        assert_eq!(names.len(), spooled);
        assert!(names[0].starts_with("0000000850-"), "the oldest, which are deleted first");
    }
    assert_eq!(place.run(&["-q"]), nothing());
    let (status, out, err) = place.run(&["-n"]);
    assert_eq!((status, out.lines().count()), (1, 64));
    assert!(err.ends_with("log/pflog: the 86 youngest rotated logs are too many; name them\n"), "{err}");
}

#[test]
fn two_logs_of_one_content_are_said_unless_a_rotation_explains_them() {
    let place = Place::new("twice");
    for (number, second) in [(0, 1), (1, 2), (2, 1), (5, 3), (6, 3)] {
        place.rotate(&format!("pflog.{number}"), &log(&[second]));
    }
    // Logs that nobody wrote to are all alike.
    place.rotate("pflog.7", &log(&[]));
    place.rotate("pflog.9", &log(&[]));
    let (status, _, err) = place.run(&["-q"]);
    let pflog = place.0.join("log/pflog.0");
    let expected =
        format!("tsship: {}: not shipped: has the digest of another log of this run\n", pflog.display());
    assert_eq!((status, err), (1, expected));
    assert_eq!(place.names("spool/outbox").len(), 3);
    assert_eq!(place.run(&["-q"]), nothing(), "said once");
}

#[test]
fn a_ledger_that_is_too_large_stops_nothing() {
    let place = Place::new("ledger");
    place.rotate("pflog.1", &log(&[1]));
    place.run(&["-q"]);
    let ledger = place.ledger();
    let old = |number: u32| format!("{number:064x} {number:064x} 1 5 {number} {number} 500 -7000000001\n");
    let many: String = (0..20_000).map(old).collect();
    fs::write(place.0.join("spool/ledger"), many + &ledger).unwrap();
    place.rotate("pflog.0", &log(&[2]));
    let (status, _, err) = place.run(&["-q"]);
    assert!(status == 1 && err.contains("spool/ledger: only its last 1048576 octets are kept"), "{err}");
    assert_eq!(place.names("spool/outbox").len(), 2, "{err}");
    let pruned = place.ledger();
    assert_eq!(pruned.lines().count(), 1024 + 2, "those that are there, and a thousand others");
    assert!(pruned.contains(&ledger) && pruned.contains(&old(19_999)) && !pruned.contains(&old(15_000)));
    let (_, _, err) = place.run(&["-q"]);
    assert!(!err.contains("spool/ledger"), "said once: {err}");
}

#[test]
fn a_draft_that_cannot_be_made_costs_its_log_only() {
    let place = Place::new("draft");
    place.rotate("pflog.1", &log(&[1]));
    place.rotate("pflog.0", &log(&[2]));
    fs::create_dir(place.0.join("spool/outbox/0.tmp")).unwrap();
    let (status, _, err) = place.run(&["-q"]);
    let pflog = place.0.join("log/pflog.1");
    assert!(status == 1 && err.contains(&format!("{}: not shipped: ", pflog.display())), "{err}");
    assert!(place.names("spool/outbox").iter().any(|name| name.starts_with("0000000002-")));
    fs::remove_dir(place.0.join("spool/outbox/0.tmp")).unwrap();
    assert_eq!(place.run(&["-q"]).0, 0);
}

#[test]
fn without_descriptors_for_all_logs_some_are_spooled() {
    let place = Place::new("descriptors");
    for number in 1..=20 {
        place.rotate(&format!("pflog.{number}"), &log(&[number]));
    }
    let run = |limit: u32| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_tsship")]);
        said(shell.arg("-c").arg(place.0.join("conf")).arg("-q").output().unwrap())
    };
    let (status, _, err) = run(40);
    assert!(status == 1 && err.contains("Too many open files"), "{err}");
    let some = place.names("spool/outbox");
    assert!(
        (1..20).contains(&some.len()) && some.iter().all(|name| name.starts_with("00000")),
        "{some:?} {err}"
    );
    assert_eq!(run(512), (0, String::new(), String::new()));
    assert_eq!(place.names("spool/outbox").len(), 20);
}

#[test]
fn what_is_no_log_costs_no_other() {
    let place = Place::new("nolog");
    place.rotate("pflog.2", &log(&[1]));
    place.rotate("pflog.1", b"mail");
    place.rotate("pflog.0", &log(&[2]));
    place.rotate("pflog.3.bz2", b"BZh9");
    let (status, _, err) = place.run(&["-q"]);
    assert_eq!(status, 1);
    assert!(err.contains("pflog.1: not a pcap file") && err.contains("pflog.3.bz2: not gzip"), "{err}");
    assert_eq!(place.names("spool/outbox").len(), 2);
}

#[test]
fn a_compressed_log_without_content_is_no_empty_log() {
    let place = Place::new("hollow");
    // What a power cut leaves of a file that gzip(1) had just written.
    place.rotate("pflog.1.gz", b"");
    place.rotate("pflog.0", b"");
    let (status, _, err) = place.run(&["-q"]);
    assert_eq!(status, 1);
    assert!(err.contains("pflog.1.gz: has no octets, not even gzip's own: its records are lost\n"), "{err}");
    assert!(!err.contains("pflog.0"), "pflogd had not begun it: {err}");
    place.rotate("pflog.1.gz", &gzip(b""));
    assert_eq!(place.run(&["-q"]), nothing());
}

#[test]
fn the_outbox_has_a_size() {
    let place = Place::new("size");
    for second in 1..=6 {
        place.rotate(&format!("pflog.{}", 7 - second), &log(&[second]));
    }
    place.set(&format!("OUTBOX_MAX={}", 4 * line(1).len()));
    let (status, _, err) = place.run(&["-q"]);
    let outbox = place.0.join("spool/outbox");
    let said = format!(
        "tsship: {0}: larger than OUTBOX_MAX; its oldest texts are removed unsent\n\
         tsship: {0}: 2 texts were removed unsent, of logs that began from Thu Jan  1 00:00:01 UTC 1970 to \
         Thu Jan  1 00:00:02 UTC 1970\n",
        outbox.display()
    );
    assert_eq!((status, err), (1, said), "before the first, and at the end");
    let names = place.names("spool/outbox");
    assert!(names.len() == 4 && names[0].starts_with("0000000003-"), "{names:?}");
    assert_eq!(place.run(&["-q"]), nothing(), "what was dropped is not spooled again");
}

#[test]
fn a_text_that_is_too_large_costs_its_tail() {
    let place = Place::new("large");
    place.rotate("pflog.1", &log(&[1; 6]));
    place.rotate("pflog.0", &log(&[2]));
    place.set(&format!("OUTBOX_MAX={}", 4 * 3 * line(1).len() + 100));
    let (status, _, err) = place.run(&["-q"]);
    let cause = "its decoder has filled a quarter of OUTBOX_MAX: what follows record 3, of ";
    assert!(status == 1 && err.contains(cause) && err.lines().count() == 1, "{status}: {err}");
    let names = place.names("spool/outbox");
    let texts: Vec<String> = names
        .iter()
        .map(|name| fs::read_to_string(place.0.join("spool/outbox").join(name)).unwrap())
        .collect();
    assert_eq!(texts, [line(1).repeat(3), line(2)]);
    assert_eq!(place.run(&["-q"]), nothing(), "it is said once");
    // Not even a line has room.
    let place = Place::new("tiny");
    place.rotate("pflog.2", &log(&[3; 6]));
    place.set("OUTBOX_MAX=100");
    let (status, _, err) = place.run(&["-q"]);
    assert!(status == 1 && err.contains("pflog.2: not shipped: its decoder has filled"), "{status}: {err}");
}

#[test]
fn prints_named_logs_in_order() {
    let place = Place::new("prints");
    place.rotate("a", &log(&[1]));
    place.rotate("b.gz", &gzip(&log(&[2])));
    place.rotate("pflog.0", &log(&[4]));
    place.rotate("pflog.1.gz", &gzip(&log(&[3])));
    assert_eq!(place.run(&["-n", "b.gz", "a"]), (0, line(2) + &line(1), String::new()));
    assert_eq!(place.run(&["-n"]), (0, line(3) + &line(4), String::new()));
    assert_eq!(place.run(&["-n", "pflog"]), nothing());
    let (status, out, err) = place.run(&["-n", "a", "nosuch"]);
    let wanted = (1, line(1), "tsship: nosuch: No such file or directory\n".to_owned());
    assert_eq!((status, out, err), wanted, "the others are printed");

    let mut piped = place.tsship(&["-n", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(&log(&[6])).unwrap();
    assert_eq!(said(piped.wait_with_output().unwrap()), (0, line(6), String::new()));
    assert!(place.names("spool").iter().all(|name| name != "ledger"), "nothing is spooled");
}

#[test]
fn a_reader_that_goes_away_is_no_hang() {
    let place = Place::new("pipe");
    place.rotate("many", &log(&vec![1; 200_000]));
    let mut printing =
        place.tsship(&["-n", "many"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(printing.stdout.take());
    let output = printing.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn misuse_and_missing_keys_are_named() {
    let place = Place::new("misuse");
    let (status, out, err) = place.run(&[]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("tsship: device_id: not set") && err.contains("tsship: url: not set"), "{err}");
    for arguments in
        [&["-x"][..], &["-r", "pflog.0"], &["-nr"], &["-t", "pflog.0"], &["-nt"], &["-qt"], &["-rt"]]
    {
        let (status, _, err) = place.run(arguments);
        assert_eq!(status, 1);
        assert!(err.ends_with("usage: tsship [-nqrtv] [-c file] [log ...]\n"), "{err}");
    }
    fs::set_permissions(place.0.join("spool/outbox"), fs::Permissions::from_mode(0o777)).unwrap();
    let (status, _, err) = place.run(&["-q"]);
    assert_eq!(status, 1);
    assert!(err.contains("spool/outbox: mode 0777: group or others may write it"), "{err}");
}

#[test]
fn one_run_at_a_time() {
    let place = Place::new("lock");
    let _held = common::lock::take(&place.0.join("spool/lock/tsship")).unwrap().unwrap();
    place.rotate("pflog.0", &log(&[1]));
    let (status, out, err) = place.run(&["-qv"]);
    assert_eq!((status, out.as_str(), err.as_str()), (2, "another run is at work\n", ""));
}
