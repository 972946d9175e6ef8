//! The sandbox of Linux against what pledge(2) and unveil(2) were seen to do on OpenBSD 7.8, what every process of the suite can
//! still do after its last step, and what it says about itself in the manual.

#[path = "sandbox/attempts.rs"]
mod attempts;
#[path = "sandbox/facts.rs"]
mod facts;
#[path = "sandbox/processes.rs"]
mod processes;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;

use tests::machine::NOBODY;

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It did what it is for.
    Works,
    /// It failed with this errno, and the process lives.
    Fails(i32),
    /// The process died of SIGSYS.
    Killed,
}

/// One call of `sandboxed`, in a fresh directory, as an ordinary user or as root.
#[derive(Debug, Clone, Copy)]
struct Try<'a> {
    promises: &'a str,
    paths: &'a str,
    ports: &'a str,
    call: &'a str,
    as_root: bool,
}

impl<'a> Try<'a> {
    fn new(promises: &'a str, call: &'a str) -> Try<'a> {
        Try { promises, paths: "-", ports: "-", call, as_root: false }
    }

    /// Runs it. `@` in paths and call stands for the directory, which is given back empty of trouble.
    fn run(self) -> (Verdict, String) {
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("tspf-sandbox-XXXXXX")).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        let own = |path: &Path| {
            if is_root && !self.as_root {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        };
        std::fs::write(directory.join("file"), "octets").unwrap();
        std::fs::set_permissions(directory.join("file"), PermissionsExt::from_mode(0o644)).unwrap();
        [directory.join("file"), directory.clone()].iter().for_each(|path| own(path));
        let program = directory.join("sandboxed");
        let built = env!("CARGO_BIN_EXE_sandboxed");
        std::fs::hard_link(built, &program).or_else(|_| std::fs::copy(built, &program).map(drop)).unwrap();
        let named = |text: &str| text.replace('@', directory.to_str().unwrap());
        let mut command = Command::new(&program);
        command.args([self.promises, &named(self.paths), self.ports, &named(self.call)]).arg(&directory);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        if is_root && !self.as_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let verdict = match (output.status.signal(), out.trim()) {
            (Some(libc::SIGSYS), _) => Verdict::Killed,
            // Where the kernel knows no 32 bits, the instruction is a fault.
            (Some(libc::SIGSEGV), _) if self.call.ends_with("_of_i386") => Verdict::Killed,
            (None, "ok") => Verdict::Works,
            (None, errno) => Verdict::Fails(
                errno.parse().unwrap_or_else(|_| panic!("{self:?}: {} {out} {err}", output.status)),
            ),
            _ => panic!("{self:?}: {} {out} {err}", output.status),
        };
        (verdict, err.into_owned())
    }

    fn verdict(self) -> Verdict {
        self.run().0
    }
}
