//! The configuration file, threatstop.conf(5).
//!
//! It is parsed, never sourced. All problems are reported in one run.

mod keys;
mod syntax;
mod values;

use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use self::keys::names;
pub use self::values::{Endpoint, ListFormat, LogTime};
use crate::{Error, owner, replace};

/// Where the configuration is, unless `-c` says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/etc/threatstop.conf";

/// The largest configuration file that is read, in octets.
const MAX_SIZE: u64 = 256 * 1024;

/// The largest file of certificates that is read, in octets.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// The two tables of the policy, in the order in which they are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// What is always let through.
    Allow,
    /// What is blocked.
    Block,
}

impl Table {
    /// Allow before block, so that a new block policy does not work before its exceptions.
    pub const BOTH: [Table; 2] = [Table::Allow, Table::Block];

    /// The word for it in file names and headers.
    pub fn word(self) -> &'static str {
        match self {
            Table::Allow => "allow",
            Table::Block => "block",
        }
    }
}

/// What is configured for one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSettings {
    /// The names of the lists that feed it (`BLOCK_LIST`).
    pub lists: Vec<String>,
    /// The pf table's name (`BLOCK_TABLE`).
    pub name: String,
    /// The file that pf.conf names (`BLOCK_FILE`, in `OUT_DIR` unless absolute).
    pub file: PathBuf,
}

/// Every setting, with its default where the file has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The device's name at the service (`device_id`); empty if unset.
    pub device_id: String,
    /// Name servers in the order in which they are tried (`DNS_SERVERS`, `DNS_PORT`).
    pub dns_servers: Vec<Endpoint>,
    /// The port of name servers given without one (`DNS_PORT`); if it is not set, the usual one.
    pub dns_port: u16,
    /// DNS over TLS (`DNS_TLS`).
    pub dns_tls: bool,
    /// How lists are served (`LIST_FORMAT`).
    pub list_format: ListFormat,
    /// A TSIG key in BIND's form (`TSIG_KEY_FILE`).
    pub tsig_key_file: Option<PathBuf>,
    /// Most positive items in the block table, 0 for no limit (`MAX_POLICY_SIZE`).
    pub max_policy_size: u32,
    /// Merge sibling prefixes (`AGGREGATE`).
    pub aggregate: bool,
    /// Where the table files are (`OUT_DIR`).
    pub out_dir: PathBuf,
    /// The block table.
    pub block: TableSettings,
    /// The allow table.
    pub allow: TableSettings,
    /// The anchor that holds the tables (`ANCHOR`); empty for the main ruleset.
    pub anchor: String,
    /// Load the tables, not only write the files (`RELOAD_PF`).
    pub reload_pf: bool,
    /// Shortest IPv4 prefix in the block table (`MIN_PREFIX4`).
    pub min_prefix4: u8,
    /// Shortest IPv6 prefix in the block table (`MIN_PREFIX6`).
    pub min_prefix6: u8,
    /// Shortest IPv4 prefix in the allow table (`MIN_ALLOW4`).
    pub min_allow4: u8,
    /// Shortest IPv6 prefix in the allow table (`MIN_ALLOW6`).
    pub min_allow6: u8,
    /// Most of the unicast space that may be blocked, in percent (`MAX_COVER`).
    pub max_cover: u8,
    /// Most IPv4 addresses that may be allowed (`MAX_ALLOW`).
    pub max_allow: u64,
    /// Most that the block table may shrink at once, in percent (`MAX_SHRINK`).
    pub max_shrink: u8,
    /// Prefixes that are never blocked (`NEVER_BLOCK`).
    pub never_block: Vec<IpNet>,
    /// The packet log (`PFLOG`).
    pub pflog: PathBuf,
    /// The time in uploaded lines (`LOG_TIME`).
    pub log_time: LogTime,
    /// A setting of the old scripts that is not used (`logfile`).
    pub logfile: String,
    /// Where logs are posted (`url`); empty if unset.
    pub url: String,
    /// The name of the form field with the device id (`UPLOAD_ID_FIELD`).
    pub upload_id_field: String,
    /// The name of the form field with the file (`UPLOAD_FILE_FIELD`).
    pub upload_file_field: String,
    /// Compress uploads (`UPLOAD_GZIP`).
    pub upload_gzip: bool,
    /// An HTTP proxy, `http://[user:password@]host:port` (`PROXY`); empty if unset.
    pub proxy: String,
    /// Certificates of the authorities that are trusted (`CA_FILE`).
    pub ca_file: PathBuf,
    /// Most octets that wait in the outbox (`OUTBOX_MAX`).
    pub outbox_max: u64,
    /// Where the suite keeps its files (`SPOOL_DIR`).
    pub spool_dir: PathBuf,
    /// Who fetches (`FETCH_USER`).
    pub fetch_user: String,
    /// Who decodes and uploads (`SHIP_USER`).
    pub ship_user: String,
    /// The keys that the file sets.
    set: Vec<&'static str>,
}

impl Config {
    /// Reads and checks the file at `path`, which must be root's or the caller's.
    ///
    /// # Errors
    /// Every problem there is, each with file, line and key.
    pub fn load(path: &Path) -> Result<Config, Vec<Error>> {
        let octets = owner::read(path, MAX_SIZE).map_err(|error| vec![error])?;
        Config::parse(&octets)
            .map_err(|problems| problems.iter().map(|problem| Error::new(path.display(), problem)).collect())
    }

    /// Reads a configuration from memory.
    ///
    /// # Errors
    /// Every problem there is, each as `line N: KEY: cause`, in the order of lines.
    pub fn parse(octets: &[u8]) -> Result<Config, Vec<Error>> {
        let mut problems = Vec::new();
        let mut config = Config::unset();
        let mut lines: Vec<(&'static str, usize)> = Vec::new();
        for (number, line) in octets.split(|octet| *octet == b'\n').enumerate() {
            let number = number.saturating_add(1);
            let mut problem = |what: String| problems.push(Error::new(format!("line {number}"), what));
            match syntax::assignment(line) {
                Ok(None) => {}
                Err(cause) => problem(cause),
                Ok(Some((name, value))) => match keys::find(name) {
                    None => problem(format!("{name}: unknown key")),
                    Some(key) => match lines.iter().find(|(name, _)| *name == key.name) {
                        Some((_, first)) => problem(format!("{name}: set already in line {first}")),
                        None => {
                            lines.push((key.name, number));
                            if let Err(cause) = (key.set)(&mut config, value) {
                                problem(format!("{name}: {cause}"));
                            }
                        }
                    },
                },
            }
        }
        config.set = lines.iter().map(|(name, _)| *name).collect();
        config.finish();
        if let Err((keys, cause)) = config.agrees()
            && let Some((name, line)) = lines.iter().find(|(name, _)| keys.contains(name))
        {
            problems.push(Error::new(format!("line {line}"), format!("{name}: {cause}")));
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The settings of a table.
    pub fn table(&self, table: Table) -> &TableSettings {
        match table {
            Table::Allow => &self.allow,
            Table::Block => &self.block,
        }
    }

    /// Whether the file sets the key, be it to its default.
    pub fn is_set(&self, key: &str) -> bool {
        self.set.contains(&key)
    }

    /// Every key with its effective value, as it would stand in the file.
    pub fn effective(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        keys::KEYS.iter().map(|key| (key.name, (key.show)(self)))
    }

    /// The port on which name servers usually listen: 853 for DNS over TLS (RFC 7858), else 53.
    pub fn usual_dns_port(&self) -> u16 {
        if self.dns_tls { 853 } else { 53 }
    }

    /// Reads `CA_FILE`, which others may not change. What is in it is not looked at.
    ///
    /// # Errors
    /// It cannot be read, others may change it, or it is larger than 4 MiB.
    pub fn certificates(&self) -> Result<Vec<u8>, Error> {
        owner::read(&self.ca_file, MAX_CERTIFICATES)
    }

    /// Where tsfetch leaves the policy: `SPOOL_DIR/policy`.
    pub fn policy_dir(&self) -> PathBuf {
        self.spool_dir.join("policy")
    }

    /// The spool file of a table: `SPOOL_DIR/policy/block.pftable`.
    pub fn policy_file(&self, table: Table) -> PathBuf {
        self.policy_dir().join(format!("{}.pftable", table.word()))
    }

    /// A program's lock: `SPOOL_DIR/lock/tsfetch`.
    pub fn lock_file(&self, program: &str) -> PathBuf {
        self.spool_dir.join("lock").join(program)
    }

    /// Where logs wait to be posted: `SPOOL_DIR/outbox`.
    pub fn outbox_dir(&self) -> PathBuf {
        self.spool_dir.join("outbox")
    }

    /// Where logs go that the service refused: `SPOOL_DIR/rejected`.
    pub fn rejected_dir(&self) -> PathBuf {
        self.spool_dir.join("rejected")
    }

    /// The list of logs that were spooled: `SPOOL_DIR/ledger`.
    pub fn ledger_file(&self) -> PathBuf {
        self.spool_dir.join("ledger")
    }

    /// How long the log server is left alone after it failed: `SPOOL_DIR/backoff`.
    pub fn backoff_file(&self) -> PathBuf {
        self.spool_dir.join("backoff")
    }

    /// What tsload said last, so that it says it once: `SPOOL_DIR/said`.
    pub fn said_file(&self) -> PathBuf {
        self.spool_dir.join("said")
    }

    /// The mark that a table may not hold what its file holds: `SPOOL_DIR/unloaded.block`.
    pub fn unloaded_file(&self, table: Table) -> PathBuf {
        self.spool_dir.join(format!("unloaded.{}", table.word()))
    }

    /// A configuration in which every key has its default, before `finish`.
    fn unset() -> Config {
        let mut config = Config {
            device_id: String::new(),
            dns_servers: Vec::new(),
            dns_port: 0,
            dns_tls: false,
            list_format: ListFormat::Auto,
            tsig_key_file: None,
            max_policy_size: 0,
            aggregate: false,
            out_dir: PathBuf::new(),
            block: TableSettings::default(),
            allow: TableSettings::default(),
            anchor: String::new(),
            reload_pf: false,
            min_prefix4: 0,
            min_prefix6: 0,
            min_allow4: 0,
            min_allow6: 0,
            max_cover: 0,
            max_allow: 0,
            max_shrink: 0,
            never_block: Vec::new(),
            pflog: PathBuf::new(),
            log_time: LogTime::Time,
            logfile: String::new(),
            url: String::new(),
            upload_id_field: String::new(),
            upload_file_field: String::new(),
            upload_gzip: false,
            proxy: String::new(),
            ca_file: PathBuf::new(),
            outbox_max: 0,
            spool_dir: PathBuf::new(),
            fetch_user: String::new(),
            ship_user: String::new(),
            set: Vec::new(),
        };
        for key in keys::KEYS {
            // A unit test holds that every default is a value that its key takes.
            let _ = (key.set)(&mut config, key.default);
        }
        config
    }

    /// Completes values that depend on other keys.
    fn finish(&mut self) {
        if !self.is_set("DNS_PORT") {
            self.dns_port = self.usual_dns_port();
        }
        for server in &mut self.dns_servers {
            server.port.get_or_insert(self.dns_port);
        }
        self.block.file = self.out_dir.join(&self.block.file);
        self.allow.file = self.out_dir.join(&self.allow.file);
    }

    /// Rules that several keys share: the keys, and which of them to change why.
    fn agrees(&self) -> Result<(), (&'static [&'static str], &'static str)> {
        if self.block.name == self.allow.name {
            return Err((&["ALLOW_TABLE", "BLOCK_TABLE"], "the same table for both"));
        }
        let (block, allow) = (replace::all_names(&self.block.file), replace::all_names(&self.allow.file));
        if block.iter().any(|name| allow.contains(name)) {
            let cause = "a name that the other table's file, its .1 or a temporary file takes";
            return Err((&["ALLOW_FILE", "BLOCK_FILE"], cause));
        }
        for (file, keys) in [
            (&self.block.file, &["BLOCK_FILE", "SPOOL_DIR"]),
            (&self.allow.file, &["ALLOW_FILE", "SPOOL_DIR"]),
        ] {
            if file.starts_with(&self.spool_dir) {
                return Err((keys, "a table file cannot lie in SPOOL_DIR"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
