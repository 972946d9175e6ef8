//! tsship beside a newsyslog that rotates, killed, on a full disk, and before a log service that fails: no record is lost without
//! a word, and none is posted twice but under the same key.

#[path = "shipping/decoder.rs"]
mod decoder;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use decoder::{decodes, lost_after};
use tests::log_server::{LogServer, Reply, Request, Upload};
use tests::machine::{Machine, words};
use tests::newsyslog::{Line, Newsyslog};
use tests::pf::Refused;
use tests::pflog;
use tests::steps::{self, AMPLE, Fate, Step};

const START: u32 = 1_795_000_000;

fn host() -> IpAddr {
    "64.87.3.133".parse().unwrap()
}

fn configure(machine: &Machine, server: &LogServer, url: &str) {
    machine.configure(&format!(
        "device_id=tdid_abcd1234\nLOG_TIME=epoch\nurl={url}\nCA_FILE={}\n",
        server.ca_file().display()
    ));
}

/// A machine with two logs that were not shipped.
fn two_logs(server: &LogServer) -> Machine {
    let machine = Machine::new();
    configure(&machine, server, &server.url("/upload"));
    machine.write("log/pflog", pflog::file_header());
    machine.write("log/pflog.1.gz", pflog::gzip(&pflog::blocked(&[host()], 700, START)));
    machine.write("log/pflog.0", pflog::blocked(&[host()], 30, START + 3600));
    machine
}

/// Runs tsship; it has no reason to leave the server alone for a while.
fn tsship(machine: &Machine) -> Output {
    let _ = fs::remove_file(machine.path("db/threatstop/backoff"));
    machine.program("tsship").stdin(Stdio::null()).output().unwrap()
}

fn names(machine: &Machine, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(machine.path(&format!("db/threatstop/{directory}"))).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The texts by their keys, and how often each came.
fn by_key(uploads: &[Upload]) -> BTreeMap<String, (String, usize)> {
    first_by_key(uploads, |known, text| known == text)
}

/// The first text of each key, and how often one came that may have it too.
fn first_by_key(
    uploads: &[Upload],
    may_follow: impl Fn(&str, &str) -> bool,
) -> BTreeMap<String, (String, usize)> {
    let mut texts = BTreeMap::new();
    for upload in uploads {
        let text = String::from_utf8(upload.content.clone()).unwrap();
        let known = texts.entry(upload.idempotency_key().unwrap().to_owned()).or_insert((text.clone(), 0));
        assert!(may_follow(&known.0, &text), "one key, two texts");
        known.1 += 1;
    }
    texts
}

/// After whatever happened, the next run ships what is left, the one after it has nothing to do.
fn assert_repaired(machine: &Machine, uploads: impl Fn() -> Vec<Upload>, when: &str) {
    let output = tsship(machine);
    assert!(matches!(output.status.code(), Some(0 | 2)), "{when}: {}", words(&output));
    let output = tsship(machine);
    assert_eq!(output.status.code(), Some(2), "{when}: {}", words(&output));
    let texts = by_key(&uploads());
    let mut lines: Vec<usize> = texts.values().map(|(text, _)| text.lines().count()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [30, 700], "{when}");
    assert!(
        texts.values().map(|(_, times)| times).sum::<usize>() <= 3,
        "{when}: more than one answer was lost"
    );
    assert!(names(machine, "outbox").is_empty() && names(machine, "rejected").is_empty(), "{when}");
    let left: Vec<_> = machine.snapshot("db").into_iter().map(|(path, ..)| path).collect();
    assert!(left.iter().all(|path| path.extension().is_none()), "{when}: {left:?}");
}

#[test]
fn killed_before_any_system_call() {
    let place = Machine::new();
    let server = LogServer::start(&place.path("etc")).unwrap();
    let mut nth = 0;
    loop {
        nth += 1;
        let when = format!("killed before call {nth}");
        let machine = two_logs(&server);
        let before = server.accepted().len();
        let kill = move |step: Step| if step.own == nth && !step.of_child { Fate::Kill } else { Fate::Go };
        let output = steps::run(&mut machine.program("tsship"), AMPLE, kill).unwrap();
        assert_repaired(&machine, || server.accepted().split_off(before), &when);
        if output.status.code() == Some(0) {
            break;
        }
        assert_eq!(output.status.code(), None, "{when}: {}", words(&output));
    }
    assert!(nth > 100, "only {nth} calls were seen");
    println!("killed before each of {} calls", nth - 1);
}

#[test]
fn no_write_succeeds() {
    let place = Machine::new();
    let server = LogServer::start(&place.path("etc")).unwrap();
    for errno in [libc::ENOSPC, libc::EIO] {
        let mut nth = 0;
        loop {
            nth += 1;
            let when = format!("write {nth} fails with {errno}");
            let machine = two_logs(&server);
            let before = server.accepted().len();
            let mut writes = 0;
            let fail = move |step: Step| {
                writes += usize::from(step.writes);
                if step.writes && writes == nth { Fate::Fail(errno) } else { Fate::Go }
            };
            let output = steps::run(&mut machine.program("tsship"), AMPLE, fail).unwrap();
            assert_repaired(&machine, || server.accepted().split_off(before), &when);
            let said = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) if said.is_empty() => break,
                code => {
                    assert!(code == Some(1) && said.starts_with("tsship: "), "{when}: {}", words(&output))
                }
            }
        }
        assert!(nth > 20, "only {nth} writes were seen");
    }
}

/// A decoder has its log, its text and the socket to the collector; the uploader the texts and sockets.
#[test]
fn children_have_only_what_they_need() {
    let place = Machine::new();
    let server = LogServer::start(&place.path("etc")).unwrap();
    let machine = two_logs(&server);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let last = Arc::clone(&seen);
    // What each child has when it writes the last time, which is to the collector.
    let look = move |step: Step| {
        let opened = fs::read_dir(format!("/proc/{}/fd", step.process)).unwrap();
        let opened = opened.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
        if step.of_child && step.writes {
            last.lock().unwrap().insert(step.process, opened.collect::<Vec<_>>());
        }
        Fate::Go
    };
    let output = steps::run(&mut machine.program("tsship"), AMPLE, look).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let mut children = Vec::new();
    for opened in seen.lock().unwrap().values() {
        let count = |wanted: &dyn Fn(&str) -> bool| {
            opened.iter().filter(|path| wanted(path.to_str().unwrap())).count()
        };
        let (log, outbox) = (machine.path("log"), machine.path("db/threatstop/outbox"));
        let logs = count(&|path| path.starts_with(log.to_str().unwrap()));
        let texts = count(&|path| path.starts_with(outbox.to_str().unwrap()));
        let sockets = count(&|path| path.starts_with("socket:"));
        // Standard input and output; standard error is the pipe.
        assert_eq!((count(&|path| path == "/dev/null"), count(&|path| path.starts_with("pipe:"))), (2, 1));
        assert_eq!(opened.len(), logs + texts + sockets + 3, "{opened:?}");
        assert!((1..=3).contains(&sockets), "{opened:?}");
        children.push((logs, texts));
    }
    children.sort_unstable();
    assert_eq!(children, [(0, 2), (1, 1), (1, 1)]);
}

/// Our line, the vendor's, the system's, and others.
#[test]
fn every_line_of_newsyslog_conf() {
    for (count, compress) in [(10, true), (3, true), (3, false), (2, true), (2, false)] {
        let machine = Machine::new();
        let server = LogServer::start(&machine.path("etc")).unwrap();
        configure(&machine, &server, &server.url("/upload"));
        let mut newsyslog = Newsyslog::new(&machine, Line { count, compress, binary: true });
        let rotations = usize::from(count) + 3;
        for number in 0..rotations {
            newsyslog.log(&pflog::record(host(), number, START));
            newsyslog.rotate();
            // With the hook and without.
            newsyslog.step_to_hook();
            if number % 2 == 0 || count < 3 {
                let output = machine.program("tsship").arg("-q").stdin(Stdio::null()).output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{}", words(&output));
            }
            while newsyslog.step() {}
        }
        let output = tsship(&machine);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        assert!(output.stderr.is_empty(), "{}", words(&output));
        let texts = server.accepted();
        assert_eq!(texts.len(), rotations);
        assert!(texts.iter().all(|upload| upload.content.ends_with(b"\n")));
        assert_eq!(by_key(&texts).len(), rotations, "each once");
    }
}

/// A whole run between two of newsyslog's and pflogd's calls, wherever that is: each record once.
#[test]
fn between_any_two_steps_of_newsyslog() {
    let place = Machine::new();
    let server = LogServer::start(&place.path("etc")).unwrap();
    for moment in 0.. {
        let machine = Machine::new();
        configure(&machine, &server, &server.url("/upload"));
        let before = server.accepted().len();
        let mut newsyslog = Newsyslog::new(&machine, Line { count: 4, compress: true, binary: true });
        newsyslog.log(&pflog::record(host(), 0, START));
        newsyslog.rotate();
        while newsyslog.step() {}
        newsyslog.log(&pflog::record(host(), 1, START));
        newsyslog.flush();
        newsyslog.log(&pflog::record(host(), 2, START));
        newsyslog.rotate();
        let is_over = (0..moment).any(|_| !newsyslog.step());
        assert_eq!(tsship(&machine).status.code(), Some(0), "after {moment} steps");
        while newsyslog.step() {}
        assert!(matches!(tsship(&machine).status.code(), Some(0 | 2)), "after {moment} steps");
        let texts = by_key(&server.accepted().split_off(before));
        let found: Vec<String> = texts.values().flat_map(|(text, _)| stamps(text)).collect();
        assert_eq!((found.len(), texts.len()), (3, 2), "after {moment} steps: {found:?}");
        if is_over {
            break;
        }
    }
}

/// Without flag B newsyslog writes a line of text into the log, at which pflogd gives up: what is before it is shipped.
#[test]
fn without_flag_b() {
    let machine = Machine::new();
    let server = LogServer::start(&machine.path("etc")).unwrap();
    configure(&machine, &server, &server.url("/upload"));
    let mut newsyslog = Newsyslog::new(&machine, Line { count: 3, compress: true, binary: false });
    newsyslog.log(&pflog::record(host(), 0, START));
    newsyslog.flush();
    newsyslog.rotate();
    newsyslog.step_to_hook();
    // The new log has its 24 octets, but not from pflogd.
    assert_eq!(tsship(&machine).status.code(), Some(2));
    while newsyslog.step() {}
    newsyslog.rotate();
    while newsyslog.step() {}
    let output = tsship(&machine);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("pflog.1.gz: record 2 at octet "), "{}", words(&output));
    assert_eq!(server.accepted().len(), 1);
    assert_eq!(server.accepted()[0].content.split(|octet| *octet == b'\n').count(), 2);
}

/// `tsship -r` before a newsyslog of ours, which a mount that only the program sees puts in the place of the system's.
#[test]
fn has_the_log_rotated_first() {
    const WITH: &str = "mount -t overlay overlay -o lowerdir=\"$1\":/usr/bin /usr/bin && shift && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let machine = Machine::new();
    let server = LogServer::start(&machine.path("etc")).unwrap();
    configure(&machine, &server, &server.url("/upload"));
    machine.write("log/pflog", pflog::blocked(&[host()], 7, START));
    machine.directory("stub", 0o755);
    let newsyslog = |text: &str| {
        machine.write("stub/newsyslog", format!("#!/bin/sh\n{text}"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(machine.path("stub/newsyslog"), mode).unwrap();
    };
    let run = |program: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", WITH, "sh"]).arg(machine.path("stub")).args(program);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").stdin(Stdio::null()).output()
    };
    newsyslog("exit 3\n");
    let probe = run(&["/usr/bin/newsyslog".as_ref()]);
    if !nix::unistd::geteuid().is_root() || probe.is_ok_and(|output| output.status.code() != Some(3)) {
        return tests::machine::skip("root and overlay mounts, for a newsyslog in the system's place");
    }
    let (program, conf) = (machine.path("bin/tsship"), machine.path("etc/threatstop.conf"));
    let tsship = || {
        let arguments = [program.as_os_str(), "-c".as_ref(), conf.as_os_str(), "-r".as_ref()];
        run(&arguments).unwrap()
    };
    let output = tsship();
    assert_eq!(output.status.code(), Some(1));
    let pflog = machine.path("log/pflog");
    let said = format!("tsship: /usr/bin/newsyslog: exit status: 3; {} was not rotated\n", pflog.display());
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);

    // The order of the real one, with a pflogd that opens the log only after newsyslog has ended.
    let hook = format!("{} -c {} -q", program.display(), conf.display());
    newsyslog(&format!(
        "[ \"$*\" = '-F {0}' ] || exit 9\nmv {0} {0}.0; : >{0}\n{hook}; echo $? >{0}.hook\n\
         gzip -f {0}.0\n(zcat {0}.0.gz | head -c 24 >{0}.new; mv {0}.new {0}) &\n",
        pflog.display()
    ));
    let output = tsship();
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{}", words(&output));
    assert_eq!(fs::read_to_string(machine.path("log/pflog.hook")).unwrap(), "2\n", "not held up by a lock");
    assert_eq!(server.accepted().len(), 1);
    assert_eq!(server.accepted()[0].content.split(|octet| *octet == b'\n').count(), 8);
}

/// Chance, the same for the same seed (Steele, Lea, Flood: SplitMix64).
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The firewall's side: packets, pflogd, newsyslog.
struct Firewall {
    newsyslog: Newsyslog,
    ledger: std::path::PathBuf,
    chance: Chance,
    records: usize,
    rotations: usize,
}

impl Firewall {
    fn log(&mut self) {
        for _ in 0..=self.chance.below(4) {
            self.newsyslog.log(&pflog::record(host(), self.records, START));
            self.records += 1;
        }
    }

    /// Begins a rotation, unless it would delete what nobody has read: that loss is another test's.
    fn rotate(&mut self) {
        let ledger = fs::read_to_string(&self.ledger).unwrap_or_default();
        let is_known = |path| ledger.contains(&digest(path));
        if self.newsyslog.is_idle() && self.newsyslog.oldest().as_deref().is_none_or(is_known) {
            self.newsyslog.rotate();
            self.rotations += 1;
        }
    }

    /// Whatever may happen at any moment; not newsyslog's part while it waits for its hook.
    fn live(&mut self, in_hook: bool) {
        match self.chance.below(8) {
            0 | 1 => self.log(),
            2 => self.newsyslog.flush(),
            3 if !in_hook => self.rotate(),
            _ if !in_hook => drop(self.newsyslog.step()),
            _ => {}
        }
    }
}

/// SHA-256 of a log's uncompressed octets, in hexadecimal.
fn digest(path: &std::path::Path) -> String {
    let file = fs::File::open(path).unwrap();
    let mut octets = Vec::new();
    if path.extension().is_some_and(|suffix| suffix == "gz") {
        flate2::read::GzDecoder::new(file).read_to_end(&mut octets).unwrap();
    } else {
        fs::read(path).unwrap().clone_into(&mut octets);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &octets);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The time stamps in a text: each record has its own.
fn stamps(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned())
}

/// What the service does about a request, and whether a text may then come again.
fn reply(chance: &mut Chance) -> (Reply, bool) {
    match chance.below(14) {
        0 => (Reply::Status(500), false),
        1 => (Reply::Status(503), false),
        2 => (Reply::Status(429), false),
        3 => (Reply::Redirect("https://elsewhere.example/".to_owned()), false),
        4 => (Reply::CloseAfter(chance.below(400)), false),
        5 => (Reply::LoseAnswer, true),
        6 if chance.one_in(3) => (Reply::Status(403), false),
        _ => (Reply::Accept, false),
    }
}

/// Hundreds of rotations while tsship runs, is killed, and the service fails: at the end it has every record.
#[test]
fn a_storm() {
    let seed = std::env::var("TSPF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("TSPF_SEED={seed}");
    let mut chance = Chance(seed);
    let machine = Machine::new();
    let server = LogServer::start(&machine.path("etc")).unwrap();
    let newsyslog = Newsyslog::new(&machine, Line { count: 8, compress: true, binary: true });
    let ledger = machine.path("db/threatstop/ledger");
    let firewall = Firewall { newsyslog, ledger, chance: Chance(chance.next()), records: 0, rotations: 0 };
    let firewall = Arc::new(Mutex::new(firewall));
    let lock = || -> MutexGuard<'_, Firewall> { firewall.lock().unwrap() };
    // How often a text may have come again.
    let excuses = Arc::new(AtomicUsize::new(0));
    // How many records were shipped of logs that lost their tails.
    let mut heads = BTreeSet::new();
    let mut runs = 0;
    while lock().rotations < 200 {
        runs += 1;
        for _ in 0..chance.below(90) {
            lock().live(false);
        }
        // What the service does in this run.
        let stalls = chance.one_in(25);
        let decide = Mutex::new(Chance(chance.next()));
        let lost = Arc::clone(&excuses);
        server.set_behaviour(move |_: &Request| {
            let (reply, may_repeat) = reply(&mut decide.lock().unwrap());
            lost.fetch_add(usize::from(may_repeat || stalls), Ordering::Relaxed);
            if stalls { Reply::Late(Duration::from_secs(3600)) } else { reply }
        });
        let refuses = chance.one_in(12);
        // The storm does not wait for the time that is left to a server that failed.
        let _ = fs::remove_file(machine.path("db/threatstop/backoff"));
        let url = if refuses { "https://localhost:1/".to_owned() } else { server.url("/upload") };
        configure(&machine, &server, &url);

        // How it is run, and what it comes to.
        let mut command = machine.program("tsship");
        let in_hook = chance.one_in(4);
        if in_hook {
            lock().newsyslog.step_to_hook();
            command.arg("-q");
        } else if chance.one_in(8) {
            command.arg(machine.path(["log/pflog.0", "log/pflog.1.gz", "log/pflog.5.gz"][chance.below(3)]));
        }
        let (own, all) = (1 + chance.below(350), 1 + chance.below(1500));
        let killed = !stalls && chance.one_in(2);
        let killed_anybody = !stalls && !killed && chance.one_in(5);
        let mut crashes_at = (!stalls && chance.one_in(3)).then(|| 1 + chance.below(1500));
        let crashes = crashes_at.is_some();
        let mut moment = Chance(chance.next());
        let (beside, logs) = (Arc::clone(&firewall), machine.path("log"));
        let before = move |step: Step| {
            if moment.one_in(25) {
                beside.lock().unwrap().live(in_hook);
            }
            if killed && !step.of_child && step.own == own || killed_anybody && step.all == all {
                return Fate::Kill;
            }
            let crashes = step.of_child && crashes_at.is_some_and(|at| step.all >= at);
            if crashes && decodes(&logs, step.process).is_some() {
                crashes_at = None;
                return Fate::Crash;
            }
            Fate::Go
        };
        let limit = if stalls { Duration::from_millis(400) } else { AMPLE };
        match steps::run(&mut command, limit, before) {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let whole =
                    output.status.code().is_some() && said.lines().all(|line| line.starts_with("tsship: "));
                assert!(whole || killed || killed_anybody, "{}", words(&output));
                assert!(killed_anybody || crashes || !said.contains("decoder"), "{said}");
                heads.extend(lost_after(&said));
            }
            Err(Refused::TimeLimit(_)) if stalls => {}
            Err(refused) => panic!("{refused}"),
        }
        if killed || killed_anybody || stalls {
            excuses.fetch_add(1, Ordering::Relaxed);
        }
        if chance.one_in(40) {
            // What is on disk is shipped again, under the same keys.
            let _ = fs::remove_file(&lock().ledger);
            excuses.fetch_add(8, Ordering::Relaxed);
        }
    }

    // The weather clears up.
    server.set_behaviour(|_| Reply::Accept);
    configure(&machine, &server, &server.url("/upload"));
    let settle = || {
        while lock().newsyslog.step() {}
        let done = (0..10).any(|_| tsship(&machine).status.code() == Some(2));
        assert!(done && names(&machine, "outbox").is_empty(), "{:?}", names(&machine, "outbox"));
    };
    settle();
    lock().newsyslog.rotate();
    settle();

    // After the ledger was lost, a decoder may get farther than before, or less far.
    let may_follow = |known: &str, text: &str| known.starts_with(text) || text.starts_with(known);
    let texts = first_by_key(&server.accepted(), may_follow);
    let rejected = names(&machine, "rejected").into_iter().map(|name| {
        let text = fs::read_to_string(machine.path("db/threatstop/rejected").join(&name)).unwrap();
        (name.split_once('-').unwrap().1.to_owned(), (text, 1))
    });
    // A text that was refused after its first answer had been lost is in both places, under one key.
    let mut all: BTreeMap<String, (String, usize)> = rejected.collect();
    let refused = all.len();
    all.extend(texts.clone());
    let mut found = BTreeSet::new();
    for (key, (text, _)) in &all {
        for stamp in stamps(text) {
            assert!(found.insert(stamp.clone()), "{stamp} came under another key than {key} too");
        }
    }
    let wanted: String = (0..lock().records)
        .map(|number| {
            let record = pflog::record(host(), number, START);
            let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            format!("{}.{:06}\n", word(0), word(4))
        })
        .collect();
    let wanted: BTreeSet<String> = stamps(&wanted).collect();
    // What is missing is behind the last record of a text of which that was said.
    let last = |(text, _): &(String, usize)| Some((stamps(text).last()?, stamps(text).count()));
    let ends: BTreeMap<String, usize> = all.values().filter_map(last).collect();
    let (mut before, mut lost) = (None, 0);
    for stamp in &wanted {
        if found.contains(stamp) {
            before = Some(stamp);
            continue;
        }
        let records = before.and_then(|before| ends.get(before));
        assert!(records.is_some_and(|records| heads.contains(records)), "{stamp} is missing");
        lost += 1;
    }
    assert!(found.is_subset(&wanted) && found.len() + lost == wanted.len());
    assert!(lost > 0, "no decoder died of its log");
    let repeated: usize = texts.values().map(|(_, times)| times - 1).sum();
    let excuses = excuses.load(Ordering::Relaxed);
    assert!(repeated <= excuses, "{repeated} repeated, {excuses} lost answers and kills");
    println!(
        "{runs} runs, {} rotations, {} records ({lost} lost by decoders that died) in {} texts, {refused} refused, {repeated} repeated ({excuses} times with reason)",
        lock().rotations,
        wanted.len(),
        all.len()
    );
}
