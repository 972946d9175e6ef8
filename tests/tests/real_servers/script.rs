//! etc/policy-zone: what it makes, with every awk, and what it refuses.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::machine::{Machine, words};

use super::source;

/// What etc/policy-zone makes of standard input, with an awk of one's own choice in front of the others.
fn policy_zone(args: &[&str], input: &str, path: Option<&Path>) -> Output {
    let mut command = Command::new("/bin/sh");
    command.arg(source("etc/policy-zone")).args(args).env_clear();
    let path = path.map_or(String::new(), |path| format!("{}:", path.display()));
    command.env("PATH", format!("{path}/usr/bin:/bin"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // The script may have ended before it read everything.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output().unwrap()
    })
}

/// The zone that it makes.
pub fn made(args: &[&str], input: &str) -> String {
    let output = policy_zone(args, input, None);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_script_makes_this_zone_with_every_awk() {
    let input = " 192.0.2.1 # one\r\n!192.0.2.0/28\n\n; nothing\n#\n2001:DB8::/32;x\n::\n1:2:3:4:5:6:7::/128\n0.0.0.0/0";
    let wanted = "$TTL 300\nblock\tPTR 1.block\n\
        1.block\tAPL 1:192.0.2.1/32 !1:192.0.2.0/28 2:2001:DB8::/32 2:::/128 2:1:2:3:4:5:6:7::/128 1:0.0.0.0/0\n\
        @\tNS ns.example.\n@\tSOA ns.example. hostmaster 7 3600 600 864000 300\n";
    let args = ["-n", "ns.example.", "-s", "7", "block=-"];
    assert_eq!(made(&args, input), wanted);
    assert_eq!(
        made(&["-s7", "allow=-", "allow=/dev/null"], ""),
        "$TTL 300\nallow\tPTR 1.allow\n1.allow\tAPL\n\
        @\tNS localhost.\n@\tSOA localhost. hostmaster 7 3600 600 864000 300\n"
    );
    for awk in ["mawk", "gawk", "original-awk", "busybox"] {
        let program = Path::new("/usr/bin").join(awk);
        if !program.exists() {
            continue; // Debian's own awk was tried above.
        }
        let machine = Machine::new();
        std::os::unix::fs::symlink(program, machine.path("bin/awk")).unwrap();
        let output = policy_zone(&args, input, Some(&machine.path("bin")));
        assert_eq!(String::from_utf8_lossy(&output.stdout), wanted, "{awk}: {}", words(&output));
        let output = policy_zone(&args, "192.0.2.1\n192.0.2\n", Some(&machine.path("bin")));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{awk}: {}", words(&output));
    }
}

#[test]
fn the_script_refuses_what_is_no_prefix_and_prints_nothing_else() {
    for line in [
        "1.2.3",
        "1.2.3.256",
        "1.2.3.04",
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/08",
        "1.2.3.4/2/3",
        "1.2.3.4 5.6.7.8",
        "1.2.3.4-1.2.3.9",
        "a.b.c.d",
        "www.example.com",
        "self",
        "/8",
        "!",
        "!!1.2.3.4",
        "1.2.3.4)",
        "1.2.3.4\\",
        "::1/129",
        "1::2::3",
        ":::",
        "::::",
        ":1",
        "1:",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4::5:6:7:8",
        "12345::1",
        "::ffff:1.2.3.4",
        "::FFFF:102:304",
        "0:0:0:0:0:ffff:1:2/128",
        "fe80::1%em0",
        "gap::1",
        "g::",
        "192.0.2.1\t\x1b[2J",
    ] {
        let output = policy_zone(&["block=-"], &format!("192.0.2.1\n{line}\n192.0.2.3\n"), None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", words(&output));
        assert!(output.stdout.is_empty(), "{line}");
        assert!(said.starts_with("policy-zone: -, line 2: not a numeric prefix: "), "{line}: {said}");
        assert!(said.bytes().all(|octet| octet == b'\n' || (b' '..=b'~').contains(&octet)), "{said:?}");
    }
    for args in [
        &[][..],
        &["block"],
        &["=-"],
        &["bl ock=-"],
        &[".=-"],
        &["a..b=-"],
        &["$x=-"],
        &["-s", "x", "block=-"],
        &["-s", "12345678901", "block=-"],
        &["-n", "a b", "block=-"],
        &["-x", "block=-"],
        &["block=/nonexistent"],
        &["block=/tmp"],
    ] {
        let output = policy_zone(args, "192.0.2.1\n", None);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", words(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {}", words(&output));
    }
}
