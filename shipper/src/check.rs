//! `tsship -t`: does the log service know our public address? Nothing is written or locked.
//!
//! A child asks, confined as the uploader is, and prints the service's answer; this process learns one
//! octet of it.

use std::fs::File;
use std::io::Write;
use std::process::exit;
use std::time::Instant;

use common::privilege::Account;
use common::{Error, Status, message, sandbox};

use crate::failure::shown;
use crate::post::{LIMITS, Poster};
use crate::process::{Child, Ended, Side, split};
use crate::start;
use crate::uploader::{self, PATIENCE, Target};

/// The service's page about the address that asks.
const PAGE: &str = "/cgi-bin/validip.pl";

/// The line of it that says yes. What it says instead is not known, and anything else is a no.
const KNOWN: &[u8] = b"Address is in the list of authorized hosts";

/// The octets that say whether the address is known.
const YES: u8 = b'y';
const NO: u8 = b'n';

/// Asks the service.
///
/// # Errors
/// There is no room for another process, or the system refuses.
pub fn run(target: &Target, account: &Account) -> Result<(Status, String), Error> {
    let out = start::output()?;
    let mut child = match split()? {
        Side::Parent(child) => child,
        Side::Child(socket) => exit(work(socket, out, target, account)),
    };
    drop(out);
    // stdio: the socket to the child. proc: kill, should it not exit.
    sandbox::pledge("stdio proc")?;
    Ok(match answer_of(&mut child) {
        Ok(true) => (Status::Changed, "the log service knows our address".to_owned()),
        Ok(false) => (Status::Failed, "the log service does not know our address".to_owned()),
        Err(ended) => {
            // It has said why.
            if ended != Ended::Exit(1) {
                message::warn(Error::new("uploader", ended));
            }
            (Status::Failed, "the log service gave no answer".to_owned())
        }
    })
}

fn answer_of(child: &mut Child) -> Result<bool, Ended> {
    let deadline = Instant::now().checked_add(LIMITS.all.saturating_add(PATIENCE));
    let mut answer = [0];
    child.receive(&mut answer, deadline)?;
    match (answer, child.end()) {
        ([YES], Ended::Exit(0)) => Ok(true),
        ([NO], Ended::Exit(0)) => Ok(false),
        (_, Ended::Exit(0)) => Err(Ended::Strange),
        (_, ended) => Err(ended),
    }
}

/// The child, from its first step to its exit status: 0 if there was an answer, else 1 and it has
/// said why.
fn work(mut socket: File, mut out: File, target: &Target, account: &Account) -> i32 {
    let asked = uploader::confine(target, account).and_then(|()| Poster::new(target, &LIMITS)?.page(PAGE));
    let page = match asked {
        Ok(page) => page,
        Err(error) => {
            message::warn(error);
            return 1;
        }
    };
    // Whether somebody reads it changes nothing about the answer.
    let _ = out.write_all(printable(&page).as_bytes());
    let is_known = is_known(&page);
    if !is_known {
        let cause = "does not say that our address is authorized; register the address with the service";
        message::warn(Error::new(PAGE, cause));
    }
    i32::from(socket.write_all(&[if is_known { YES } else { NO }]).is_err())
}

fn lines(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    page.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// The lines of a page, fit for a terminal.
fn printable(page: &[u8]) -> String {
    lines(page).map(|line| shown(line) + "\n").collect()
}

fn is_known(page: &[u8]) -> bool {
    lines(page).any(|line| line == KNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn only_the_known_words_say_yes() {
        let yes = "Your IP address: 192.0.2.1\nAddress is in the list of authorized hosts\n";
        assert!(is_known(yes.as_bytes()));
        assert!(is_known(yes.replace('\n', "\r\n").as_bytes()));
        for no in [
            "",
            "Your IP address: 192.0.2.1\n",
            "Address is not in the list of authorized hosts\n",
            "Address is NOT in the list of authorized hosts\n",
            "It is false that: Address is in the list of authorized hosts\n",
            "Address is in the list of authorized hosts? No.\n",
        ] {
            assert!(!is_known(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn a_page_is_printed_in_plain_lines() {
        assert_eq!(printable(b"a b\r\n\n\x1b[2J\xc3\xa9\n"), "a b\n\\x1b[2J\\xc3\\xa9\n");
    }

    #[test]
    fn what_the_child_says_is_one_of_two_octets() {
        let _alone = process::alone();
        let said = |mut child: Child| answer_of(&mut child);
        assert_eq!(said(process::child(|mut socket| i32::from(socket.write_all(b"y").is_err()))), Ok(true));
        assert_eq!(said(process::child(|mut socket| i32::from(socket.write_all(b"n").is_err()))), Ok(false));
        let strange = process::child(|mut socket| i32::from(socket.write_all(b"Y").is_err()));
        assert_eq!(said(strange), Err(Ended::Strange));
        assert_eq!(said(process::child(|_| 1)), Err(Ended::Exit(1)));
        let died = process::child(|mut socket| if socket.write_all(b"y").is_ok() { 3 } else { 4 });
        assert_eq!(said(died), Err(Ended::Exit(3)));
    }
}
