//! Sessions at a terminal, compared with recorded ones.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use super::root::{Root, Shell, possible};

/// A session: each prompt is answered when it is there, as somebody who reads it would. Ends with the exit status.
fn session(root: &Root, args: &[&str], answers: &[&str]) -> String {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = root.script_command(root.script(), args);
    let terminal = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    command.stdin(terminal(&pty.slave)).stdout(terminal(&pty.slave)).stderr(terminal(&pty.slave));
    let mut child = command.spawn().unwrap();
    drop((command, pty.slave));
    let mut master = fs::File::from(pty.master);
    let (mut said, mut answers, mut buffer) = (Vec::new(), answers.iter(), [0; 4096]);
    // The terminal's end is an error on Linux.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        if said.ends_with(b"]: ") {
            let answer = answers.next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&said)));
            master.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    }
    let status = child.wait().unwrap().code().unwrap();
    let said = String::from_utf8(said).unwrap().replace("\r\n", "\n");
    format!("# tsadmin {}\n{said}# exit status {status}\n", args.join(" "))
}

/// A session with what differs from run to run replaced: names of temporary files, ports, dates, ages.
fn masked(root: &Root, session: &str) -> String {
    let port = root.server.port().to_string();
    let mut text = String::new();
    for line in session.lines() {
        let mut line = line.replace(&port, "PORT");
        if let Some(at) = line.find("/tmp/tsadmin.") {
            line.replace_range(
                at + "/tmp/tsadmin.".len()..at + "/tmp/tsadmin.XXXXXXXXXX".len(),
                "XXXXXXXXXX",
            );
        }
        if let Some((_, rest)) = line.rsplit_once('\t').filter(|(_, rest)| rest.ends_with("/tsship")) {
            line = format!("...\t{rest}");
        }
        for before in ["keeps the clock: ", "policy: changed ", " entries, "] {
            if let Some(at) = line.find(before) {
                line.truncate(at + before.len());
                line.push_str("...");
            }
        }
        text += &line;
        text.push('\n');
    }
    text
}

#[test]
fn add_show_and_check_at_a_terminal() {
    if !possible() {
        return;
    }
    let root = Root::new("OpenBSD", Shell::Mksh);
    let port = root.server.port().to_string();
    fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    let answers = [
        "tdid_abcd1234",
        "127.0.0.1",
        "none",
        &port,
        "block.org.example",
        "allow.org.example",
        "",
        "http://logs.example.com",
        "https://logs.example.com/upload",
        "no",
        "",
        "",
        "",
        "",
        "",
        "http://me:secret@192.0.2.1:3128",
        "yes",
    ];
    let mut sessions = vec![("add", session(&root, &["add", "--advanced"], &answers))];
    let log = "Nov 21 12:00:00 fw tsfetch[11]: 3 block entries\nNov 21 12:00:01 fw tsload[12]: loaded\n\
        Nov 21 12:15:00 fw tsship[13]: 1 log uploaded\nNov 21 13:00:00 fw tsfetch[14]: nothing to do\n";
    root.write("var/log/daemon", log);
    sessions.push(("show", session(&root, &["show"], &[])));
    sessions.push(("check", session(&root, &["check"], &[])));

    // What is out of order, and what to do about it.
    fs::remove_file(root.path("stub/pf/enabled")).unwrap();
    fs::remove_file(root.path("stub/crontab")).unwrap();
    root.write("stub/pf/limit", "5\n");
    root.write("stub/pf/tables/ThreatSTOP-Block", "");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(root.path("var/db/threatstop/outbox"), mode).unwrap();
    sessions.push(("check-broken", session(&root, &["check"], &[])));

    for (name, session) in sessions {
        let session = masked(&root, &session);
        assert!(!session.contains("secret@") || name == "add", "{session}");
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tsadmin/sessions").join(name);
        if std::env::var_os("TSADMIN_RECORD").is_some() {
            fs::write(&recorded, &session).unwrap();
        }
        let wanted = fs::read_to_string(&recorded).unwrap();
        let at = session.lines().zip(wanted.lines()).position(|(is, was)| is != was);
        let line = |text: &str| text.lines().nth(at.unwrap_or(0)).map(str::to_owned);
        assert!(session == wanted, "{name}, line {at:?}: {:?}, not {:?}", line(&session), line(&wanted));
    }
}
