//! A system to set tspf up on: a root directory in the shape of OpenBSD or FreeBSD, with only the base tools that the script
//! may use, stubs in place of the system's own commands, and the source tree with the real tsfetch.
//!
//! `/stub` holds what the stubs keep: `log` (commands with their arguments), `crontab`, `pf/`. A stub ends with status 64 at
//! arguments that its system's command does not take, or that the script should not use.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::machine::{built_programs, skip};
use tests::policy_server::{Policy, PolicyServer, generate};

/// The shells, each with an awk, and the tools that go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// FreeBSD's sh is of the same family; with the awk that both BSDs have.
    Dash,
    /// The nearest to OpenBSD's ksh; with the awk that both BSDs have.
    Mksh,
    /// With its own tools.
    Busybox,
}

pub const SHELLS: [Shell; 3] = [Shell::Dash, Shell::Mksh, Shell::Busybox];

/// What the script may use of the base systems, beside what the stubs stand for.
const TOOLS: [&str; 28] = [
    "awk", "cat", "chmod", "cksum", "cmp", "cp", "date", "dd", "diff", "dirname", "find", "getent", "grep",
    "id", "install", "ls", "mktemp", "mv", "od", "printf", "rm", "rmdir", "sed", "sh", "sort", "tail", "tr",
    "wc",
];

/// What changes something.
const COUNTED: [&str; 14] = [
    "chmod", "cp", "crontab", "dd", "groupdel", "install", "mv", "pfctl", "rcctl", "rm", "rmdir", "useradd",
    "userdel", "sysrc",
];

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tsadmin");

pub const BLOCK_LIST: &str = "block.org.example";
pub const ALLOW_LIST: &str = "allow.org.example";

/// A root directory.
pub struct Root {
    path: PathBuf,
    shell: Shell,
    pub server: PolicyServer,
}

/// Every file: its owner, mode and content; where a link leads to; nothing for a directory.
pub type Snapshot = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// Whether such a root can be had; says so if not.
pub fn possible() -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip("root");
        return false;
    }
    for program in ["dash", "mksh", "busybox", "original-awk", "unshare"] {
        if !Path::new("/usr/bin").join(program).exists() {
            skip(program);
            return false;
        }
    }
    true
}

impl Root {
    /// A system: `OpenBSD` or `FreeBSD`.
    pub fn new(os: &str, shell: Shell) -> Root {
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("tsadmin-XXXXXX")).unwrap();
        let mut policy = Policy::new();
        policy.put_zone("org.example", 1);
        let listed = |text: &str| {
            generate::listed(&text.split(' ').map(|net| net.parse().unwrap()).collect::<Vec<_>>())
        };
        policy.put_apl(BLOCK_LIST, &listed("64.87.3.133/32 91.0.0.0/16 203.0.113.0/24"));
        policy.put_apl(ALLOW_LIST, &listed("198.51.100.7/32"));
        let root = Root { path, shell, server: PolicyServer::start(policy).unwrap() };
        fs::set_permissions(&root.path, fs::Permissions::from_mode(0o755)).unwrap();
        root.add_system(os, shell);
        root.add_source();
        root
    }

    /// Another root with the same content, but without the real tsfetch and its server.
    pub fn copy(&self) -> Root {
        let _ = fs::remove_file(self.path("real/tsfetch"));
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("tsadmin-XXXXXX")).unwrap();
        let status = Command::new("cp").arg("-a").arg(self.path.join(".")).arg(&path).status().unwrap();
        assert!(status.success());
        Root { path, shell: self.shell, server: PolicyServer::start(Policy::new()).unwrap() }
    }

    fn add_system(&self, os: &str, shell: Shell) {
        for name in [
            "bin",
            "dev",
            "proc",
            "host",
            "root",
            "real",
            "stub/real",
            "stub/pf/tables",
            "tmp",
            "etc",
            "usr/bin",
            "usr/local",
            "var/db",
            "var/log",
            "src/target/release",
        ] {
            fs::create_dir_all(self.path(name)).unwrap();
        }
        symlink("/host/lib", self.path("lib")).unwrap();
        symlink("/host/lib64", self.path("lib64")).unwrap();
        for tool in TOOLS {
            let to = match (tool, shell) {
                // Busybox has none.
                ("cksum" | "getent" | "install", _) => tool,
                (_, Shell::Busybox) => "busybox",
                ("awk", _) => "original-awk",
                ("sh", Shell::Dash) => "dash",
                ("sh", Shell::Mksh) => "mksh",
                _ => tool,
            };
            symlink(format!("/host/bin/{to}"), self.path("usr/bin").join(tool)).unwrap();
        }
        symlink("/usr/bin/sh", self.path("bin/sh")).unwrap();
        for stub in fs::read_dir(format!("{FIXTURES}/stubs")).unwrap().flatten() {
            let name = stub.file_name();
            let to = match name.to_str().unwrap() {
                "count" => self.path("stub/count"),
                "tsfetch" | "tsload" | "tsship" => self.path("src/target/release").join(&name),
                _ => self.path("bin").join(&name),
            };
            fs::copy(stub.path(), to).unwrap();
        }
        fs::hard_link(built_programs().join("tsfetch"), self.path("real/tsfetch")).unwrap();
        self.write("stub/os", &format!("{os}\n"));
        self.write("stub/pf/enabled", "");
        self.write("stub/pf/limit", "200000\n");
        self.write("stub/pflogd", "");
        self.write("stub/pf.module", "");
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        self.write("etc/group", "wheel:x:0:\n");
        let shipped = Path::new(FIXTURES).join(os.to_lowercase());
        for name in ["pf.conf", "newsyslog.conf"] {
            fs::copy(shipped.join(name), self.path("etc").join(name)).unwrap();
        }
        fs::copy(self.path("etc/pf.conf"), self.path("stub/pf/rules")).unwrap();
        fs::set_permissions(self.path("etc/pf.conf"), fs::Permissions::from_mode(0o600)).unwrap();
        if os == "OpenBSD" {
            let header = "# DO NOT EDIT\n# (crontab installed)\n# (Cron version V5.0)\n";
            let crontab = fs::read_to_string(shipped.join("crontab")).unwrap();
            self.write("stub/crontab", &format!("{header}{crontab}"));
        }
    }

    /// The tree of the source, with one manual page of each section.
    fn add_source(&self) {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::create_dir_all(self.path("src/etc")).unwrap();
        fs::create_dir_all(self.path("src/man")).unwrap();
        for entry in fs::read_dir(tree.join("etc")).unwrap().flatten() {
            if entry.metadata().unwrap().is_file() {
                fs::copy(entry.path(), self.path("src/etc").join(entry.file_name())).unwrap();
            }
        }
        for name in ["Cargo.toml", "man/tspf.7", "man/tsadmin.8"] {
            fs::copy(tree.join(name), self.path("src").join(name)).unwrap();
        }
    }

    /// A path in the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name.trim_start_matches('/'))
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What crontab(1) lists: without the lines that it writes itself.
    pub fn crontab(&self) -> String {
        self.read("stub/crontab").lines().skip(3).map(|line| format!("{line}\n")).collect()
    }

    /// Puts the counting command in place of all that change something, to end the script at the one after `left`.
    pub fn die_after(&self, left: usize) {
        for name in COUNTED {
            let (at, real) = (self.path("bin").join(name), self.path("stub/real").join(name));
            if at.exists() && !real.exists() {
                fs::rename(&at, real).unwrap();
            }
            fs::copy(self.path("stub/count"), at).unwrap();
        }
        self.write("stub/die", &format!("{left}\n"));
    }

    /// Lets the script live.
    pub fn live(&self) {
        self.write("stub/die", "1000000\n");
    }

    /// A command in the root, in a mount namespace and process group of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        const MOUNT: &str = "mount --bind /usr $0/host && mount --rbind /dev $0/dev && \
            mount -t proc proc $0/proc && exec chroot $0 \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", MOUNT]).arg(&self.path).args(args);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("TZ", "UTC").process_group(0);
        command
    }

    /// The script of the source tree, or the one that it installed.
    pub fn script(&self) -> &'static str {
        if self.path("usr/local/sbin/tsadmin").exists() {
            "/usr/local/sbin/tsadmin"
        } else {
            "/src/etc/tsadmin"
        }
    }

    /// A script, to be run by the root's shell.
    pub fn script_command(&self, script: &str, args: &[&str]) -> Command {
        // Busybox's shell takes its own tools before those in PATH, but not before functions.
        const STUBS: &str = "for name in crontab pgrep sleep stat uname who; do \
            eval \"$name() { /bin/$name \\\"\\$@\\\"; }\"; done; . \"$0\"";
        let mut all = vec!["/usr/bin/sh"];
        if self.shell == Shell::Busybox {
            all.extend(["-c", STUBS]);
        }
        all.push(script);
        all.extend(args);
        self.command(&all)
    }

    /// Runs tsadmin with its answers.
    pub fn tsadmin(&self, args: &[&str], input: &str) -> Output {
        run(&mut self.script_command(self.script(), args), input)
    }

    /// The parameters of a set-up that ships logs.
    pub fn parameters(&self) -> Vec<String> {
        vec![
            "add".to_owned(),
            "--device_id=tdid_abcd1234".to_owned(),
            format!("--dns_server=127.0.0.1:{}", self.server.port()),
            format!("--block_list={BLOCK_LIST}"),
            "--allow_list".to_owned(),
            ALLOW_LIST.to_owned(),
            "--url=https://logs.example.com/upload".to_owned(),
        ]
    }

    /// `add` without questions, from the source tree.
    pub fn add(&self, more: &[&str]) -> Output {
        let parameters = self.parameters();
        let mut args: Vec<&str> = parameters.iter().map(String::as_str).collect();
        args.push("--silent");
        args.extend(more);
        run(&mut self.script_command("/src/etc/tsadmin", &args), "")
    }

    /// Everything there is, but what belongs to the test.
    pub fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        let mut left = vec![self.path.clone()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                let name = path.strip_prefix(&self.path).unwrap().to_owned();
                if ["host", "dev", "proc", "stub", "tmp", "real", "src", "bin"]
                    .iter()
                    .any(|part| name.starts_with(part))
                {
                    continue;
                }
                let content = if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else if metadata.is_file() {
                    fs::read(&path).unwrap()
                } else {
                    left.push(path);
                    vec![]
                };
                found.insert(name, (metadata.uid(), metadata.gid(), metadata.mode(), content));
            }
        }
        found
    }
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

impl Drop for Root {
    fn drop(&mut self) {
        if std::env::var_os("TSADMIN_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What differs between two snapshots, in words.
pub fn difference(before: &Snapshot, after: &Snapshot) -> String {
    let mut words = String::new();
    for (name, was) in before {
        match after.get(name) {
            None => words += &format!("{} is gone\n", name.display()),
            Some(is) if is != was => {
                let text = |of: &(u32, u32, u32, Vec<u8>)| {
                    format!(
                        "{} {} {:o}\n{}",
                        of.0,
                        of.1,
                        of.2,
                        String::from_utf8_lossy(&of.3[..of.3.len().min(2000)])
                    )
                };
                words += &format!("{} was {}\nis {}\n", name.display(), text(was), text(is));
            }
            _ => {}
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        words += &format!("{} is new\n", name.display());
    }
    words
}
