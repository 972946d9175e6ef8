//! The line of progress, on a terminal.

use std::fs::File;
use std::io::Read;

use super::*;

/// What a run says on a terminal, to which its standard error goes.
fn on_terminal(machine: &Machine) -> String {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = machine.program("tsfetch");
    let mut child = command.stdout(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
    // This side of it has to be closed, or there is no end.
    drop(command);
    let mut said = Vec::new();
    // At the end Linux has an error.
    let _ = File::from(terminal.master).read_to_end(&mut said);
    assert!(child.wait().unwrap().success());
    String::from_utf8(said).unwrap()
}

#[test]
fn parts_and_messages_are_counted_on_a_terminal_and_nothing_is_left() {
    let mut policy = small();
    policy.put_zone(&format!("zone.{BLOCK_LIST}"), 1);
    policy.put_apl(&format!("list.zone.{BLOCK_LIST}"), &items("192.0.2.0/25 192.0.2.129/32"));
    policy.transfer_records = 1;
    let server = PolicyServer::start(policy).unwrap();
    let machine = machine(&[&server], "");
    machine.configure(&format!("DNS_SERVERS=127.0.0.1:{}\nALLOW_LIST={ALLOW_LIST}\n", server.port()));
    assert_eq!(on_terminal(&machine), "", "a list of one answer is not long");
    for (list, format, wanted) in [
        (BLOCK_LIST.to_owned(), "auto", format!("{BLOCK_LIST}: 1 of 2 parts, ")),
        (format!("zone.{BLOCK_LIST}"), "axfr", format!("zone.{BLOCK_LIST}: 1 messages, 0 entries")),
    ] {
        machine.configure(&format!(
            "DNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={list}\nLIST_FORMAT={format}\n",
            server.port()
        ));
        let said = on_terminal(&machine);
        let blank = format!("\r{:79}\r", "");
        assert!(said.starts_with(&format!("{blank}{wanted}")), "{said:?}");
        assert!(said.ends_with(&blank), "{said:?}");
        assert!(!said.contains('\n'), "{said:?}");
    }
}
