//! A model of pf(4): an unmodified program opens `/dev/pf` and makes its ioctls, and tables in memory answer as the kernel's would.
//!
//! ```no_run
//! use tests::pf::{Model, Os};
//! let model = Model::new(Os::OpenBsd);
//! model.load_rules("table <t> persist\nblock in from <t>\npass").unwrap();
//! let output = model.run(std::process::Command::new("/usr/local/sbin/tsload").arg("-v")).unwrap();
//! assert!(output.status.success());
//! assert_eq!(model.table("", "t").unwrap().entries.len(), 3);
//! ```
//!
//! What is modelled: tables, their entries and statistics, limits, and of pf.conf(5) what concerns tables. Not modelled: transactions
//! (DIOCX*, DIOCRINADEFINE), states, rules as such, stat(2) of `/dev/pf`, descriptors that are character devices.
//! Proven by `tests/pf_vectors.rs` against the answers of a real kernel.

pub mod abi;
mod addrs;
pub(crate) mod device;
mod entries;
pub mod ioctl;
mod kernel;
pub mod memory;
mod program;
mod ruleset;
pub mod stats;
pub mod supervise;

pub use abi::Os;
pub use entries::Prefix;
pub use ioctl::Call;
pub use kernel::{Action, DEFAULT_ENTRIES, Direction};
pub use program::ProgramCopy;
pub use supervise::{Refused, Supervised};

use device::Device;
pub use device::Sabotage;
use ioctl::{Memory, Outcome};
use kernel::{Kernel, TableId};
use memory::ProcessMemory;
use stats::{ByOp, TableStats};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use supervise::Request;

/// The call that replaces a table's addresses.
const SWAP: &str = "DIOCRSETADDRS";

/// How long [`Model::run`] lets a program run.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// pf of one machine. Clones are the same machine; programs may run on it one after another or at once.
#[derive(Clone, Debug)]
pub struct Model {
    shared: Shared,
}

/// The machine's state, shared with the threads that answer programs.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    kernel: Kernel,
    calls: Vec<Call>,
    /// Errors to fail with, by number of the call.
    failures: BTreeMap<usize, i32>,
    deny_open: Option<i32>,
    deny_writing: Option<i32>,
    /// Errors to fail with, by number of the DIOCRSETADDRS.
    swap_failures: BTreeMap<usize, i32>,
    /// Rulesets that are loaded before a call, by its number.
    meanwhile: BTreeMap<usize, String>,
    asleep: bool,
    sabotage: Option<Sabotage>,
    /// Calls that were counted for it.
    steps: usize,
}

impl State {
    fn new(os: Os) -> State {
        let mut kernel = Kernel::new(os);
        // The ruleset that every machine has loaded before anything runs on it; it names no table, so nothing can fail.
        let _ = ruleset::load(&mut kernel, "pass", now());
        State {
            kernel,
            calls: Vec::new(),
            failures: BTreeMap::new(),
            deny_open: None,
            deny_writing: None,
            swap_failures: BTreeMap::new(),
            meanwhile: BTreeMap::new(),
            asleep: false,
            sabotage: None,
            steps: 0,
        }
    }

    fn ioctl(&mut self, code: u32, argument: u64, writable: bool, memory: &mut dyn Memory) -> Outcome {
        if self.asleep {
            return Outcome::Sleep;
        }
        if let Some(rules) = self.meanwhile.remove(&(self.calls.len() + 1)) {
            // What pfctl has to say nobody hears.
            let _ = ruleset::load(&mut self.kernel, &rules, now());
        }
        let swaps = self.calls.iter().filter(|call| call.name == SWAP).count();
        let swap = abi::request_name(code) == SWAP;
        let forced = self.failures.get(&(self.calls.len() + 1)).copied();
        let forced = forced.or_else(|| self.swap_failures.get(&(swaps + 1)).copied().filter(|_| swap));
        let (call, outcome) = ioctl::ioctl(&mut self.kernel, code, argument, writable, memory, now(), forced);
        if outcome != Outcome::Gone {
            self.calls.push(call);
        }
        self.asleep = outcome == Outcome::Sleep;
        outcome
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A table as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableView {
    /// `PFR_TFLAG_*`, see [`abi::tflag`].
    pub flags: u32,
    /// Its entries, IPv4 before IPv6, ascending.
    pub entries: Vec<EntryView>,
    /// All its counters; `stats.count` is the number of entries, `stats.tzero` the start of counting.
    pub stats: TableStats,
}

impl TableView {
    /// The entries as pfctl prints them, but always with their length: `10.0.0.0/8`, `!10.1.0.0/16`.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        let not = |entry: &EntryView| if entry.negated { "!" } else { "" };
        self.entries.iter().map(|entry| format!("{}{}", not(entry), entry.prefix)).collect()
    }
}

/// An entry as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Address and length.
    pub prefix: Prefix,
    /// Entered with `!`.
    pub negated: bool,
    /// Start of counting, in seconds of the epoch.
    pub tzero: i64,
    /// Packets by direction (in, out) and operation (block, match, pass).
    pub packets: ByOp,
    /// Bytes likewise.
    pub bytes: ByOp,
}

impl Model {
    /// A machine with the ruleset `pass`, no tables, and the default limit of 200,000 entries in force.
    #[must_use]
    pub fn new(os: Os) -> Model {
        Model { shared: Shared(Arc::new(Mutex::new(State::new(os)))) }
    }

    /// Makes it new again, for the programs that run on it too.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        *state = State::new(state.kernel.os);
    }

    /// Does what `pfctl -f -` does with this main ruleset. Errors: what pfctl prints, and nothing was changed.
    ///
    /// Understood are `table`, `set limit table-entries`, and `pass`, `block` and `match` rules, of which only the tables they
    /// name count; other `set` lines mean nothing. As with pfctl the limit becomes 200,000 if the ruleset does not set it.
    pub fn load_rules(&self, text: &str) -> Result<(), String> {
        ruleset::load(&mut self.shared.lock().kernel, text, now())
    }

    /// Sets the table-entries limit, as `set limit table-entries n` does. Errors: more entries than that are in use (OpenBSD).
    pub fn set_limit(&self, n: u32) -> Result<(), i32> {
        let kernel = &mut self.shared.lock().kernel;
        kernel.set_limit(kernel.os.table_entries_index(), n, 0).map(|_| ())
    }

    /// Sets FreeBSD's `net.pf.request_maxcount` (65,535).
    pub fn set_request_maxcount(&self, n: u32) {
        self.shared.lock().kernel.request_maxcount = n;
    }

    /// Sets `kern.securelevel` (0).
    pub fn set_securelevel(&self, n: i32) {
        self.shared.lock().kernel.securelevel = n;
    }

    /// A table, whether active or only known by name; `anchor` is empty for the main ruleset.
    #[must_use]
    pub fn table(&self, anchor: &str, name: &str) -> Option<TableView> {
        let state = self.shared.lock();
        let id = TableId::new(anchor, name);
        let table = state.kernel.table(&id)?;
        let entries = table.entries.as_slice().iter().map(|entry| {
            let counters = entry.counters.as_deref().copied().unwrap_or_default();
            EntryView {
                prefix: entry.prefix,
                negated: entry.negated,
                tzero: entry.tzero,
                packets: counters.packets,
                bytes: counters.bytes,
            }
        });
        Some(TableView {
            flags: table.flags,
            entries: entries.collect(),
            stats: state.kernel.table_stats(&id)?,
        })
    }

    /// Counts a packet of so many bytes from (or to) `addr` that meets a rule with that table; true if the rule matches it.
    pub fn packet(
        &self,
        (anchor, table): (&str, &str),
        addr: IpAddr,
        direction: Direction,
        action: Action,
        bytes: u64,
    ) -> bool {
        self.shared.lock().kernel.packet(&TableId::new(anchor, table), addr, direction, action, bytes)
    }

    /// Whether a rule `from <table>` matches a packet from `addr`. Counts nothing.
    #[must_use]
    pub fn matches(&self, anchor: &str, table: &str, addr: IpAddr) -> bool {
        self.shared.lock().kernel.matches(&TableId::new(anchor, table), addr)
    }

    /// The `nth` pf ioctl from now, the next being 1, fails with `errno` and does nothing. May be said for several.
    pub fn fail_call(&self, nth: usize, errno: i32) {
        let mut state = self.shared.lock();
        let number = state.calls.len() + nth;
        state.failures.insert(number, errno);
    }

    /// The `nth` DIOCRSETADDRS from now, the next being 1, fails with `errno` and does nothing. May be said for several.
    pub fn fail_swap(&self, nth: usize, errno: i32) {
        let mut state = self.shared.lock();
        let number = state.calls.iter().filter(|call| call.name == SWAP).count() + nth;
        state.swap_failures.insert(number, errno);
    }

    /// Somebody else does what [`Model::load_rules`] does before the `nth` pf ioctl from now, the next being 1.
    pub fn meanwhile(&self, nth: usize, rules: &str) {
        let mut state = self.shared.lock();
        let number = state.calls.len() + nth;
        state.meanwhile.insert(number, rules.to_owned());
    }

    /// Does this to the next program that runs. Returns from `run` as usual; `steps` tells whether it came to that.
    pub fn sabotage(&self, sabotage: Sabotage) {
        let mut state = self.shared.lock();
        (state.sabotage, state.steps) = (Some(sabotage), 0);
    }

    /// Ends the sabotage, and tells how many calls were counted for it.
    #[must_use]
    pub fn steps(&self) -> usize {
        let mut state = self.shared.lock();
        state.sabotage = None;
        state.steps
    }

    /// From now on `open("/dev/pf")` for writing fails with `errno`.
    pub fn deny_writing(&self, errno: i32) {
        self.shared.lock().deny_writing = Some(errno);
    }

    /// From now on `open("/dev/pf")` fails with `errno`; ENOENT is a machine without pf.
    pub fn deny_open(&self, errno: i32) {
        self.shared.lock().deny_open = Some(errno);
    }

    /// All pf ioctls that programs have made, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// Runs a program to its end and returns what it printed: its standard output and error are piped, its input is as the
    /// caller set it. Killed with its process group after five minutes. Errors: what the kernel refused, or the time limit.
    pub fn run(&self, command: &mut Command) -> Result<Output, Refused> {
        self.run_within(command, TIME_LIMIT)
    }

    /// Like [`Model::run`] with another time limit.
    pub fn run_within(&self, command: &mut Command, limit: Duration) -> Result<Output, Refused> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.supervise(command, Some(limit))?.output()
    }

    /// Starts a program and returns at once; its pipes, its end and any time limit are the caller's.
    pub fn spawn(&self, command: &mut Command) -> Result<Supervised, Refused> {
        self.supervise(command, None)
    }

    fn supervise(&self, command: &mut Command, limit: Option<Duration>) -> Result<Supervised, Refused> {
        let device = Device::new(self.shared.clone())?;
        let sabotage = self.shared.lock().sabotage;
        let answer = move |request: &Request, memory: &mut ProcessMemory| device.answer(request, memory);
        supervise::spawn(command, &device::watched(sabotage), answer, limit)
    }
}
