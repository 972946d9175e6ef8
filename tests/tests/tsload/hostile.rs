//! A spool that somebody else wrote: refused with its line or cause, and nothing is touched.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const BLOCK: &str = "db/threatstop/policy/block.pftable";

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
    // Ranges, scopes, mapped addresses, other writings, control characters, other alphabets.
    for (text, cause) in [
        ("192.0.2.1-192.0.2.9", "line 3: not a numeric prefix"),
        ("192.0.2.0/24,", "line 3: not a "),
        ("fe80::1%em0/128", "line 3: not a numeric prefix"),
        ("::ffff:192.0.2.1/128", "line 3: an IPv4 address mapped into IPv6"),
        ("192.0.2.1", "line 3: not in canonical form"),
        ("2001:DB8::/32", "line 3: not in canonical form"),
        ("192.0.2.0/24\r", "line 3: not a "),
        ("192.0.2.0/24\0", "line 3: not a "),
        ("\0", "line 3: not a numeric prefix"),
        ("192.0.2.0/24 \u{e4}", "line 3: not a "),
        ("\u{661}\u{669}\u{662}.0.2.0/24", "line 3: not a numeric prefix"),
        ("\u{feff}192.0.2.0/24", "line 3: not a numeric prefix"),
        ("em0:network", "line 3: not a numeric prefix"),
        ("$(id)", "line 3: not a numeric prefix"),
        ("include \"/etc/passwd\"", "line 3: not a numeric prefix"),
    ] {
        let spool = |machine: &Machine| machine.spool(Block, [text]);
        assert_refused(spool, &format!("policy/block.pftable: {cause}"));
    }
    let whole = "# tspf 1 block\n# settings 0123456789abcdef\n192.0.2.0/24\n# end 1\n";
    let crlf = |machine: &Machine| machine.write(BLOCK, whole.replace('\n', "\r\n"));
    assert_refused(crlf, "line 1: not \"# tspf 1 block\"");
    let bom = |machine: &Machine| machine.write(BLOCK, format!("\u{feff}{whole}"));
    assert_refused(bom, "line 1: not \"# tspf 1 block\"");
    let binary = |machine: &Machine| machine.write(BLOCK, b"\xff\xfe\0".repeat(1000));
    assert_refused(binary, "line 1: too long");
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

/// Bounded time and memory: the first octets tell, whatever the size.
#[test]
fn refuses_what_never_ends() {
    let sparse = |octets: u64, head: &'static str| {
        move |machine: &Machine| {
            machine.write(BLOCK, head);
            fs::OpenOptions::new().write(true).open(machine.path(BLOCK)).unwrap().set_len(octets).unwrap();
        }
    };
    assert_refused(sparse(10 << 30, ""), "larger than 536870912 octets");
    assert_refused(sparse(512 << 20, ""), "line 1: too long");
    let head = "# tspf 1 block\n# settings 0123456789abcdef\n192.0.2.0/24";
    assert_refused(sparse(512 << 20, head), "line 3: too long");
    assert_refused(
        |machine| machine.write(BLOCK, format!("{head}\n{}\n", "1".repeat(40 << 20))),
        "line 4: too long",
    );
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
    let directory = |machine: &Machine| {
        remove(machine);
        machine.directory(BLOCK, 0o755);
    };
    assert_refused(directory, "not a regular file");
    let socket = |machine: &Machine| {
        remove(machine);
        std::os::unix::net::UnixListener::bind(machine.path(BLOCK)).unwrap();
        machine.own(&machine.path(BLOCK));
    };
    assert_refused(socket, "policy/block.pftable: No such device or address");
    let second = |machine: &Machine| fs::hard_link(machine.path(BLOCK), machine.path("db/second")).unwrap();
    assert_refused(second, "has 2 names");
    if nix::unistd::geteuid().is_root() {
        // A device that everybody may open, as /dev/null.
        let device = |machine: &Machine| {
            use nix::sys::stat::{Mode, SFlag, makedev, mknod};
            remove(machine);
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&machine.path(BLOCK), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
            fs::set_permissions(machine.path(BLOCK), fs::Permissions::from_mode(0o666)).unwrap();
        };
        assert_refused(device, "not a regular file");
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
    chown(machine.path(BLOCK), Some(0), Some(0)).unwrap();
    // What the fetcher could not open itself is never opened for it: opening a device can do something.
    for mode in [0o600, 0o640] {
        fs::set_permissions(machine.path(BLOCK), fs::Permissions::from_mode(mode)).unwrap();
        let output = root();
        assert_status(&output, 1);
        assert!(stderr(&output).contains("block.pftable: Permission denied"), "{}", words(&output));
    }
    assert_eq!(model.table("", "ThreatSTOP-Block").unwrap().list(), POLICY);
}
