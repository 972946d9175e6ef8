//! Real name servers on loopback: Debian's BIND, NSD and Knot, each with its files in a directory of its own.
//!
//! ```no_run
//! use tests::name_server::{Kind, NameServer, Options, Zone};
//!
//! let zone = Zone::new("policy.example", 1, "block APL 1:192.0.2.0/24\n");
//! let Some(server) = NameServer::start(Kind::Nsd, &[zone], &Options::default()) else { return };
//! // A client asks 127.0.0.1, server.port().
//! server.reload(&Zone::new("policy.example", 2, "block APL 1:192.0.2.0/25\n"), 2);
//! ```
//!
//! They run in the foreground, as the tests' ordinary user, without a control channel, and touch nothing of the system.
//! The program is linked into the directory: AppArmor knows it by its path and would keep it from its files.
#![forbid(unsafe_code)]

mod config;
mod place;
mod probe;
mod proxy;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use place::Place;
pub use proxy::Proxy;

use self::place::own;
use crate::log_server::{Certificate, certificates};
use crate::machine::{self, NOBODY};

/// The wait between two looks at a server.
const POLL: Duration = Duration::from_millis(20);
/// After how many looks a server is told again to read its zones. It goes by the time of the file, which the clock's
/// ticks may have left unchanged.
const LOOKS: u32 = 25;
/// The time that a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name server's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIND's named(8).
    Bind,
    /// nsd(8).
    Nsd,
    /// knotd(8).
    Knot,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Bind, Kind::Nsd, Kind::Knot];

    /// Debian's package.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Kind::Bind => "bind9",
            Kind::Nsd => "nsd",
            Kind::Knot => "knot",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Kind::Bind => "/usr/sbin/named",
            Kind::Nsd => "/usr/sbin/nsd",
            Kind::Knot => "/usr/sbin/knotd",
        }
    }

    /// Whether Debian 12's package serves DNS over TLS. Knot does so from 3.4 on; that is 3.2.
    #[must_use]
    pub fn serves_tls(self) -> bool {
        self != Kind::Knot
    }
}

/// A zone and its file's text, which has SOA and NS records.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name, without the last dot.
    pub name: String,
    /// The text (RFC 1035, section 5); names without a last dot are below the zone's.
    pub text: String,
}

impl Zone {
    /// A zone with SOA and NS records and further ones.
    #[must_use]
    pub fn new(name: &str, serial: u32, records: &str) -> Zone {
        let text = format!(
            "$TTL 300\n@ SOA localhost. hostmaster {serial} 3600 600 864000 300\n@ NS localhost.\n{records}"
        );
        Zone { name: name.to_owned(), text }
    }
}

/// A TSIG key (RFC 8945).
#[derive(Clone, Debug)]
pub struct TsigKey {
    /// Its name, without the last dot.
    pub name: &'static str,
    /// `hmac-sha256` or another of RFC 8945, section 6.
    pub algorithm: &'static str,
    /// The secret in base64.
    pub secret: &'static str,
}

impl TsigKey {
    /// The key as BIND writes it, which is also the form of `TSIG_KEY_FILE`.
    #[must_use]
    pub fn text(&self) -> String {
        let TsigKey { name, algorithm, secret } = self;
        format!("key \"{name}\" {{\n\talgorithm {algorithm};\n\tsecret \"{secret}\";\n}};\n")
    }
}

/// Who may transfer zones.
#[derive(Clone, Debug, Default)]
pub enum Transfer {
    /// Nobody.
    #[default]
    Nobody,
    /// Whoever asks.
    Anybody,
    /// Whoever signs with this key. Queries may be signed with it, too.
    Key(TsigKey),
}

/// What a server does beside answering queries over 127.0.0.1.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Zone transfers.
    pub transfer: Transfer,
    /// DNS over TLS on a second port, and with what certificate. Only where `Kind::serves_tls`.
    pub tls: Option<Certificate>,
    /// Answer on ::1 as well, on the same port.
    pub ipv6: bool,
}

/// A running name server. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct NameServer {
    kind: Kind,
    child: Child,
    place: Place,
}

impl NameServer {
    /// Starts a server and waits until it answers for all zones. None, after saying so, where it is not installed.
    ///
    /// # Panics
    /// It does not start; with what it logged.
    #[must_use]
    pub fn start(kind: Kind, zones: &[Zone], options: &Options) -> Option<NameServer> {
        let place = Place::new();
        let config = config::text(kind, &place, zones, options);
        Self::start_at(kind, place, zones, options.tls.unwrap_or(Certificate::Good), &config)
    }

    /// The same at a place of the caller's and with a configuration of the caller's, which is only kept from touching
    /// the system. Without zones, any answer will do: a secondary has none yet.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_at(
        kind: Kind,
        place: Place,
        zones: &[Zone],
        tls: Certificate,
        config: &str,
    ) -> Option<NameServer> {
        if !Path::new(kind.program()).exists() {
            machine::skip(kind.package());
            return None;
        }
        let file = |name: &str| place.directory.join(name);
        zones.iter().for_each(|zone| write(&file(&zone.name), &zone.text));
        let chain = certificates::make(tls).expect("certificate");
        write(&file("ca.pem"), &chain.ca_pem);
        write(&file("server.crt"), &chain.certificate_pem);
        write(&file("server.key"), &chain.key_pem);
        write(&file("conf"), &config::confine(kind, &place, config));

        let program = file("server");
        fs::hard_link(kind.program(), &program)
            .or_else(|_| fs::copy(kind.program(), &program).map(drop))
            .unwrap_or_else(|error| panic!("{}: {error}", kind.program()));
        let log = File::create(file("log")).expect("log");
        let mut command = Command::new(&program);
        match kind {
            // One thread, and what would go to syslog to standard error.
            Kind::Bind => command.args(["-n", "1", "-g", "-c"]),
            Kind::Nsd => command.args(["-d", "-c"]),
            Kind::Knot => command.arg("-c"),
        };
        command.arg(file("conf")).current_dir(&place.directory).env_clear().stdin(Stdio::null());
        command.stdout(log.try_clone().expect("dup")).stderr(log);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = loop {
            match command.spawn() {
                // What another thread starts has the copy open for writing until its exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::sleep(POLL),
                spawned => break spawned.unwrap_or_else(|error| panic!("{}: {error}", kind.program())),
            }
        };
        let mut server = NameServer { kind, child, place };
        server.wait_for_zones(zones);
        Some(server)
    }

    fn wait_for_zones(&mut self, zones: &[Zone]) {
        let start = Instant::now();
        let address = (IpAddr::V4(Ipv4Addr::LOCALHOST), self.place.port);
        let ready = || match zones {
            [] => probe::answers(address),
            _ => zones.iter().all(|zone| probe::serial(address, &zone.name).is_some()),
        };
        while !ready() {
            let ended = self.child.try_wait().expect("wait");
            let waits = ended.is_none() && start.elapsed() < PATIENCE;
            assert!(waits, "{:?} does not answer, {ended:?}\n{}", self.kind, self.log());
            thread::sleep(POLL);
        }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The port for UDP and TCP on 127.0.0.1, and on ::1 where asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// The port for DNS over TLS.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.place.tls_port
    }

    /// The authority's certificate, which clients of DNS over TLS are to trust. The server's is for localhost,
    /// 127.0.0.1 and ::1.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.place.directory.join("ca.pem")
    }

    /// What the server wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        let octets = fs::read(self.place.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// The serial that the server has of a zone, if it has the zone.
    #[must_use]
    pub fn serial(&self, zone: &str) -> Option<u32> {
        probe::serial((IpAddr::V4(Ipv4Addr::LOCALHOST), self.place.port), zone)
    }

    /// Replaces a zone's file, has the server read it, and waits until the new serial is served.
    ///
    /// # Panics
    /// It never is.
    pub fn reload(&self, zone: &Zone, serial: u32) {
        let file = self.place.directory.join(&zone.name);
        let new = file.with_extension("new");
        write(&new, &zone.text);
        fs::rename(&new, &file).expect("rename");
        let pid = Pid::from_raw(self.child.id().cast_signed());
        self.until_serial(&zone.name, serial, |look| {
            if look % LOOKS == 0 {
                File::options()
                    .write(true)
                    .open(&file)
                    .and_then(|file| file.set_modified(SystemTime::now()))
                    .expect("utimes");
                kill(pid, Signal::SIGHUP).expect("SIGHUP");
            }
        });
    }

    /// Waits until the server, a secondary, has a serial of a zone.
    ///
    /// # Panics
    /// It never has.
    pub fn wait_for_serial(&self, zone: &str, serial: u32) {
        self.until_serial(zone, serial, |_| {});
    }

    /// Whether only one process answers. After a reload NSD's old server accepts connections until the new one has told
    /// it to end, and resets them then; afterwards there are the parent, the main process and one server again.
    fn is_settled(&self) -> bool {
        let program = self.place.directory.join("server");
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let ours = processes
            .filter(|process| fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program));
        self.kind != Kind::Nsd || ours.count() == 3
    }

    fn until_serial(&self, zone: &str, serial: u32, before_look: impl Fn(u32)) {
        let start = Instant::now();
        let mut look = 0;
        loop {
            before_look(look);
            // In this order: before the reload there is only one, too.
            let served = self.serial(zone);
            if served == Some(serial) && self.is_settled() {
                return;
            }
            let waited = start.elapsed();
            assert!(waited < PATIENCE, "{:?}: {zone}: {served:?}, not {serial}\n{}", self.kind, self.log());
            thread::sleep(POLL);
            look += 1;
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // NSD takes its children with it.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether ::1 is there.
#[must_use]
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Writes a file of the server's user.
fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    own(path);
}
