//! The main job, by the real programs, on embedded parts: `tests/demo [--keep DIR]`.
//!
//! A policy server, a model of pf(4) and a log server run in this process; tsfetch, tsload and tsship are the release
//! binaries, unmodified, started as an ordinary user in a private directory.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use std::time::{Duration, Instant};

use common::Table::{self, Allow, Block};
use ipnet::IpNet;
use tests::log_server::LogServer;
use tests::machine::{Machine, words};
use tests::pf::{Model, Os};
use tests::pflog;
use tests::policy_server::{Policy, PolicyServer, generate};

const BLOCKED: usize = 26_424;
const ALLOWED: usize = 3;
const PACKETS: usize = 3_000;
const BLOCK_LIST: &str = "block.org.threatstop.local";
const ALLOW_LIST: &str = "allow.org.threatstop.local";
const DEVICE: &str = "tdid_abcd1234";

/// What OpenBSD's etc/pf.conf would hold.
const RULES: &str = "table <ThreatSTOP-Block> persist\ntable <ThreatSTOP-Allow> persist\n\
    pass in quick from <ThreatSTOP-Allow>\npass out quick to <ThreatSTOP-Allow>\n\
    block drop in log quick from <ThreatSTOP-Block>\nblock drop out log quick to <ThreatSTOP-Block>\npass";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match &arguments[..] {
        [] => None,
        [flag, directory] if flag == "--keep" => Some(PathBuf::from(directory)),
        _ => {
            eprintln!("usage: tests/demo [--keep DIR]");
            return ExitCode::FAILURE;
        }
    };
    let root = match prepare(keep.as_deref()) {
        Ok(root) => root,
        Err(cause) => {
            eprintln!("demo: {cause}");
            return ExitCode::FAILURE;
        }
    };
    let result = demo(&root);
    if keep.is_none() {
        let _ = std::fs::remove_dir_all(&root);
    }
    match result {
        Ok(last) => {
            how_to_look(&root, keep.is_some());
            println!("{last}");
            ExitCode::SUCCESS
        }
        Err(cause) => {
            eprintln!("demo: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// The directory that everything happens in.
fn prepare(keep: Option<&Path>) -> Result<PathBuf, String> {
    let Some(directory) = keep else {
        return nix::unistd::mkdtemp(&std::env::temp_dir().join("tspf-demo-XXXXXX"))
            .map_err(|errno| errno.to_string());
    };
    let in_words = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(in_words)?;
    if std::fs::read_dir(directory).map_err(in_words)?.next().is_some() {
        return Err(format!("{}: not empty; name a directory that is, or a new one", directory.display()));
    }
    directory.canonicalize().map_err(in_words)
}

fn demo(root: &Path) -> Result<String, String> {
    let programs = std::env::current_exe().map_err(|error| error.to_string())?;
    let machine = Machine::kept_at(root, programs.parent().unwrap_or(Path::new("/")));
    println!("demo: everything is in {}, the programs run as uid {}", root.display(), machine.uid());
    let model = Model::new(Os::OpenBsd);
    model.load_rules(RULES)?;
    let mut demo = Demo { machine, model, steps: Vec::new() };

    let (block, allow) = (generate::block(1, BLOCKED), generate::allow(2, ALLOWED));
    let (policy, parts) = policy(&block, &allow, 2_026_112_101);
    let policy_server = PolicyServer::start(policy).map_err(|error| format!("policy server: {error}"))?;
    let log_server = LogServer::start(&root.join("etc")).map_err(|error| format!("log server: {error}"))?;
    demo.machine.configure(&format!(
        "device_id={DEVICE}\nDNS_SERVERS=127.0.0.1:{}\nBLOCK_LIST={BLOCK_LIST}\nALLOW_LIST={ALLOW_LIST}\n\
         url={}\nCA_FILE={}\n",
        policy_server.port(),
        log_server.url("/cgi-bin/logupload.pl"),
        log_server.ca_file().display()
    ));

    heading(&format!("1. a policy of {BLOCKED} block and {ALLOWED} allow entries, in {parts} parts"));
    demo.update(0, &block, &allow)?;
    let indicator = generate::INDICATOR;
    if !demo.model.matches("", "ThreatSTOP-Block", indicator) {
        return Err(format!("{indicator}: the test indicator is not blocked"));
    }
    println!("{indicator}, the test indicator, is blocked");

    heading("2. the policy changes: 120 entries go, 200 come");
    let changed = generate::changed(3, &block, 120, 200);
    policy_server.set_policy(self::policy(&changed, &allow, 2_026_112_102).0);
    let said = demo.update(0, &changed, &allow)?;
    expect_words(&said, "ThreatSTOP-Block: 26504 addresses, 200 added, 120 deleted, 0 changed")?;

    heading("3. nothing changed: no file is touched, no table is swapped");
    let (files, calls) = (demo.machine.snapshot("db"), demo.swaps());
    demo.update(2, &changed, &allow)?;
    if demo.machine.snapshot("db") != files || demo.swaps() != calls {
        return Err("an unchanged policy was written or loaded again".to_owned());
    }

    heading(&format!("4. newsyslog rotated a log of {PACKETS} blocked packets, and gzip compressed it"));
    let hosts: Vec<IpAddr> = changed.iter().map(|net| net.network()).collect();
    let log = pflog::blocked(&hosts, PACKETS, 1_795_000_000);
    demo.machine.write("log/pflog", &log[..24]);
    demo.machine.write("log/pflog.0.gz", pflog::gzip(&log));
    println!("$ tsship -n, the first lines:");
    let printed = demo.run("tsship", &["-n"], 0)?;
    printed.lines().take(3).for_each(|line| println!("{line}"));
    println!("$ tsship -v");
    let said = demo.run("tsship", &["-v"], 0)?;
    print!("{said}");
    expect_words(&said, &format!("Log file uploaded successfully for {DEVICE}"))?;
    demo.check_upload(&log_server, &printed)?;
    println!("$ tsship, again: exit status 2, nothing to do");
    demo.run("tsship", &[], 2)?;
    if log_server.uploads().len() != 1 {
        return Err("the log was uploaded twice".to_owned());
    }

    demo.summary(&log_server, parts);
    let uploaded = printed.lines().count();
    Ok(format!(
        "demo: ok block={} allow={} uploaded={uploaded}",
        demo.entries(Block).len(),
        demo.entries(Allow).len()
    ))
}

/// The machine, pf, and how long each step took.
struct Demo {
    machine: Machine,
    model: Model,
    steps: Vec<(String, Duration)>,
}

impl Demo {
    /// Runs a program; standard error is passed on. Returns what it printed.
    fn run(&mut self, program: &str, args: &[&str], status: i32) -> Result<String, String> {
        let start = Instant::now();
        let output = self
            .model
            .run(self.machine.program(program).args(args))
            .map_err(|refused| refused.to_string())?;
        self.steps.push((format!("{program} {}", args.join(" ")), start.elapsed()));
        check(program, &output, status)?;
        String::from_utf8(output.stdout).map_err(|error| format!("{program}: {error}"))
    }

    /// A run of the two programs, as cron does it; both have to exit with this status, and pf has to hold the policy.
    fn update(&mut self, status: i32, block: &[IpNet], allow: &[IpNet]) -> Result<String, String> {
        let mut said = String::new();
        for program in ["tsfetch", "tsload"] {
            let words = self.run(program, &["-v"], status)?;
            println!("$ {program} -v\n{}", words.trim_end());
            said.push_str(&words);
        }
        for (table, wanted) in [(Block, block), (Allow, allow)] {
            let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
            if self.entries(table) != wanted {
                let name = pf_table(table);
                return Err(format!(
                    "{name}: {} entries in pf, not the {} served",
                    self.entries(table).len(),
                    wanted.len()
                ));
            }
        }
        Ok(said)
    }

    fn entries(&self, table: Table) -> BTreeSet<String> {
        self.model
            .table("", pf_table(table))
            .map(|table| table.list())
            .unwrap_or_default()
            .into_iter()
            .collect()
    }

    fn swaps(&self) -> usize {
        self.model.calls().iter().filter(|call| call.name == "DIOCRSETADDRS").count()
    }

    /// The log service has to hold what `tsship -n` printed, once.
    fn check_upload(&self, log_server: &LogServer, printed: &str) -> Result<(), String> {
        let uploads = log_server.accepted();
        let [upload] = &uploads[..] else {
            return Err(format!("{} uploads came, not one; {:?}", uploads.len(), log_server.faults()));
        };
        if upload.device_id != DEVICE {
            return Err(format!("the upload names the device {}", upload.device_id));
        }
        if upload.content != printed.as_bytes() || printed.lines().count() != PACKETS {
            return Err(format!(
                "{} lines came, not the {PACKETS} of the log",
                upload.content.split(|o| *o == b'\n').count() - 1
            ));
        }
        match std::fs::read_dir(self.machine.path("db/threatstop/outbox")).map(Iterator::count) {
            Ok(0) => Ok(()),
            other => Err(format!("the outbox is not empty: {other:?}")),
        }
    }

    fn summary(&self, log_server: &LogServer, parts: usize) {
        heading("What moved where");
        let size =
            |name: &str| std::fs::metadata(self.machine.path(name)).map_or(0, |metadata| metadata.len());
        println!("policy server -> tsfetch   {parts} parts of 2 lists by DNS over TCP");
        println!(
            "tsfetch       -> spool     {} octets in db/threatstop/policy",
            size("db/threatstop/policy/block.pftable")
        );
        println!(
            "spool         -> tsload    {} swaps of a pf table, {} ioctls",
            self.swaps(),
            self.model.calls().len()
        );
        println!(
            "tsload        -> file      {} octets in db/ThreatSTOP-Block.pftable",
            size("db/ThreatSTOP-Block.pftable")
        );
        let uploaded: usize = log_server.accepted().iter().map(|upload| upload.content.len()).sum();
        println!("pflog.0.gz    -> tsship    {} octets, {PACKETS} records", size("log/pflog.0.gz"));
        println!("tsship        -> service   {uploaded} octets of text by HTTPS");
        heading("How long each step took");
        for (step, time) in &self.steps {
            println!("{step:<12} {:>7.1} ms", time.as_secs_f64() * 1000.0);
        }
    }
}

/// The policy as the server serves it, and in how many parts.
fn policy(block: &[IpNet], allow: &[IpNet], serial: u32) -> (Policy, usize) {
    let mut policy = Policy::new();
    policy.put_zone("org.threatstop.local", serial);
    let mut parts = policy.put_parts(BLOCK_LIST, &generate::listed(block), 5000);
    parts += policy.put_parts(ALLOW_LIST, &generate::listed(allow), 5000);
    (policy, parts)
}

fn pf_table(table: Table) -> &'static str {
    if table == Block { "ThreatSTOP-Block" } else { "ThreatSTOP-Allow" }
}

fn check(program: &str, output: &Output, status: i32) -> Result<(), String> {
    if output.status.code() == Some(status) && output.stderr.is_empty() {
        return Ok(());
    }
    Err(format!("{program}: wanted exit status {status} and no error: {}", words(output)))
}

fn expect_words(said: &str, wanted: &str) -> Result<(), String> {
    if said.contains(wanted) { Ok(()) } else { Err(format!("nobody said {wanted:?}")) }
}

fn heading(text: &str) {
    println!("\n--- {text}");
}

fn how_to_look(root: &Path, kept: bool) {
    heading("How to look at the results");
    if !kept {
        println!("run tests/demo --keep DIR, then:");
    }
    let root = if kept { root.display().to_string() } else { "DIR".to_owned() };
    println!("less {root}/db/threatstop/policy/block.pftable    the spool file that crosses to root");
    println!(
        "diff {root}/db/ThreatSTOP-Block.pftable.1 {root}/db/ThreatSTOP-Block.pftable    the last change"
    );
    println!("{root}/bin/tsship -n -c {root}/etc/threatstop.conf    the log as text");
    println!("cat {root}/db/threatstop/ledger    which logs were spooled");
}
