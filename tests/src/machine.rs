//! A firewall's files in a private directory, and the real programs to run on them.
//!
//! The programs run as an ordinary user: the caller, or uid 65534 when the caller is root.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::Table;

/// The ordinary user that stands in when the tests run as root.
pub const NOBODY: u32 = 65534;

/// The suite's programs.
pub const PROGRAMS: [&str; 3] = ["tsfetch", "tsload", "tsship"];

/// A firewall's files: `etc/threatstop.conf`, `db` (`OUT_DIR`), `db/threatstop` (`SPOOL_DIR`), `log`, `bin`.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    keep: bool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// A machine in a temporary directory that goes when it is dropped.
    #[must_use]
    pub fn new() -> Machine {
        let root = nix::unistd::mkdtemp(&std::env::temp_dir().join("tspf-XXXXXX")).expect("mkdtemp");
        Machine::set_up(root, &built_programs(), false)
    }

    /// A machine in a directory that stays, with programs from `programs`.
    #[must_use]
    pub fn kept_at(root: &Path, programs: &Path) -> Machine {
        fs::create_dir_all(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        Machine::set_up(root.to_owned(), programs, true)
    }

    fn set_up(root: PathBuf, programs: &Path, keep: bool) -> Machine {
        let machine = Machine { root, keep };
        fs::set_permissions(&machine.root, fs::Permissions::from_mode(0o755)).expect("chmod");
        machine.own(&machine.root);
        for directory in ["etc", "log", "bin", "db", "db/threatstop"] {
            machine.directory(directory, 0o755);
        }
        machine.directory("db/threatstop/policy", 0o755);
        for directory in ["lock", "outbox", "rejected"] {
            machine.directory(&format!("db/threatstop/{directory}"), 0o700);
        }
        for program in PROGRAMS {
            machine.install(&programs.join(program));
        }
        machine.configure("");
        machine
    }

    /// Installs one more program.
    pub fn install(&self, program: &Path) {
        let to = self.path("bin").join(program.file_name().expect("a program"));
        let _ = fs::remove_file(&to);
        if fs::hard_link(program, &to).is_err() {
            // Another file system. By another process: a child that another test's thread forks would hold a
            // descriptor of ours meanwhile, and the program could not be run (ETXTBSY).
            let copied = Command::new("cp").arg(program).arg(&to).status();
            assert!(copied.is_ok_and(|status| status.success()), "{}", program.display());
        }
    }

    /// Makes a directory of the machine's user.
    pub fn directory(&self, name: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        self.own(&path);
    }

    /// A path on the machine.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The user that programs run as.
    #[must_use]
    pub fn uid(&self) -> u32 {
        let caller = nix::unistd::geteuid();
        if caller.is_root() { NOBODY } else { caller.as_raw() }
    }

    /// Gives a file to the machine's user.
    pub fn own(&self, path: &Path) {
        if nix::unistd::geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
    }

    /// Writes a file of the machine's user.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.own(&path);
    }

    /// Writes the configuration: the machine's directories, and `settings`.
    pub fn configure(&self, settings: &str) {
        let (db, log) = (self.path("db"), self.path("log"));
        let (db, log) = (db.display(), log.display());
        self.write(
            "etc/threatstop.conf",
            format!("OUT_DIR={db}\nSPOOL_DIR={db}/threatstop\nPFLOG={log}/pflog\n{settings}"),
        );
    }

    /// Writes a table's spool file as tsfetch does, from prefixes in canonical order.
    pub fn spool<T: std::fmt::Display>(&self, table: Table, prefixes: impl IntoIterator<Item = T>) {
        let mut text = format!("# tspf 1 {}\n# settings 0123456789abcdef\n", table.word());
        let mut count = 0;
        for prefix in prefixes {
            text.push_str(&format!("{prefix}\n"));
            count += 1;
        }
        text.push_str(&format!("# end {count}\n"));
        self.write(&format!("db/threatstop/policy/{}.pftable", table.word()), text);
    }

    /// The content of a table's file in `OUT_DIR`.
    #[must_use]
    pub fn table_file(&self, table: Table) -> String {
        let name = if table == Table::Block { "Block" } else { "Allow" };
        fs::read_to_string(self.path(&format!("db/ThreatSTOP-{name}.pftable"))).unwrap_or_default()
    }

    /// A program of the suite, ready to run on this machine's configuration as its user, with nothing of the caller's
    /// environment but `PATH`.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.path("bin").join(name));
        command.arg("-c").arg(self.path("etc/threatstop.conf"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Every file below a directory of the machine, with its inode and content: for proving that nothing was touched.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> Vec<(PathBuf, u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut directories = vec![self.path(name)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("readdir").flatten() {
                let metadata = entry.metadata().expect("lstat");
                if metadata.is_dir() {
                    directories.push(entry.path());
                } else {
                    let content =
                        if metadata.is_file() { fs::read(entry.path()).expect("read") } else { Vec::new() };
                    found.push((entry.path(), metadata.ino(), content));
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// The directory with the programs, built once for each test process with the profile of the tests.
///
/// `cargo test` builds the programs of other packages only as test harnesses, so they are asked for by name.
#[must_use]
pub fn built_programs() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let test = std::env::current_exe().expect("current_exe");
            // target/debug/deps/NAME, or target/debug/NAME.
            let profile =
                test.ancestors().skip(1).find(|path| !path.ends_with("deps")).expect("a target directory");
            let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["build", "-q"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            build.args(PROGRAMS.iter().flat_map(|program| ["-p", program]));
            build.arg("--target-dir").arg(profile.parent().expect("a target directory"));
            assert!(build.status().expect("cargo").success(), "cargo build failed");
            profile.to_owned()
        })
        .clone()
}

/// What a run said, for an assertion's message.
#[must_use]
pub fn words(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\nstdout: {out}\nstderr: {err}", output.status)
}

/// Says that a test is skipped, and why, so that it is seen: also in the file that `TSPF_SKIPPED` names.
pub fn skip(needs: &str) {
    eprintln!("skipped: needs {needs}");
    if let Some(path) = std::env::var_os("TSPF_SKIPPED") {
        use std::io::Write;
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{needs}"));
    }
}
