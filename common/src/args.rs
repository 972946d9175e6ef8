//! Flags as getopt(3) takes them: `-nv`, `-c file`, `-cfile`, `--` and `--help`.
//!
//! Written here because getopt(3) keeps its state in globals, and the crates that were looked at
//! permute operands or refuse a repeated flag.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What stands on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Flags in order, with the value of those that take one.
    pub flags: Vec<(char, Option<OsString>)>,
    /// What follows the flags.
    pub operands: Vec<OsString>,
    /// `--help` was given.
    pub help: bool,
}

impl Args {
    /// Whether the flag was given at least once.
    pub fn has(&self, flag: char) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag)
    }

    /// The value of the flag; of several the last.
    pub fn value(&self, flag: char) -> Option<&OsString> {
        self.flags.iter().rev().find(|(name, _)| *name == flag)?.1.as_ref()
    }
}

/// Parses the arguments (without the program's name) after `spec`, which is written as for
/// getopt(3): a letter for each flag, followed by a colon if it takes a value.
///
/// # Errors
/// The sentence that getopt(3) would print: an unknown flag, or a missing value.
pub fn parse(spec: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut args = Args::default();
    let mut rest = arguments.into_iter();
    while let Some(word) = rest.next() {
        if word == "--help" {
            args.help = true;
            continue;
        }
        let Some(letters) = word.as_bytes().strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            args.operands.push(word);
            break;
        };
        if letters == b"-" {
            break;
        }
        let mut letters = letters.iter();
        while let Some(&letter) = letters.next() {
            let flag = char::from(letter);
            match takes_value(spec, flag) {
                None => return Err(format!("unknown option -- {}", flag.escape_default())),
                Some(false) => args.flags.push((flag, None)),
                Some(true) => {
                    let attached = letters.as_slice();
                    let value = if attached.is_empty() {
                        rest.next()
                    } else {
                        Some(OsString::from_vec(attached.to_vec()))
                    };
                    let Some(value) = value else {
                        return Err(format!("option requires an argument -- {flag}"));
                    };
                    args.flags.push((flag, Some(value)));
                    break;
                }
            }
        }
    }
    args.operands.extend(rest);
    Ok(args)
}

/// Whether the flag takes a value; `None` if there is no such flag.
fn takes_value(spec: &str, flag: char) -> Option<bool> {
    let after = spec.split_once(flag).filter(|_| flag.is_ascii_alphanumeric())?.1;
    Some(after.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Args, String> {
        parse("c:nv", line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn reads_what_getopt_reads() {
        let args = words("-nv -c a -cb -- -x y").unwrap();
        assert!(args.has('n') && args.has('v') && !args.has('x'));
        assert_eq!(args.value('c').unwrap(), "b");
        assert_eq!(args.operands, ["-x", "y"]);
        let args = words("-n - -v").unwrap();
        assert_eq!(args.operands, ["-", "-v"]);
        assert!(words("--help").unwrap().help);
    }

    #[test]
    fn refuses_what_getopt_refuses() {
        assert_eq!(words("-x"), Err("unknown option -- x".into()));
        assert_eq!(words("-:"), Err("unknown option -- :".into()));
        assert_eq!(words("--verbose"), Err("unknown option -- -".into()));
        assert_eq!(words("-nc"), Err("option requires an argument -- c".into()));
        assert!(parse("n", [OsString::from_vec(vec![b'-', 0xff])]).is_err());
    }
}
