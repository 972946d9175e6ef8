//! pf's tables in memory: names, flags, references and limits. No input or output; `ioctl.rs` speaks for it.
//!
//! After OpenBSD's `sys/net/pf_table.c`; where FreeBSD differs, the field `os` decides.
#![forbid(unsafe_code)]

use super::abi::{self, Os, Table, tflag};
use super::entries::{Counters, Entries, Plan, Wanted};
use super::stats::{ByTableOp, TableStats};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An error number; the ones pf uses are the same on OpenBSD, FreeBSD and Linux.
pub type Errno = i32;

/// `PFR_KENTRY_HIWAT`: the default of `set limit table-entries`.
pub const DEFAULT_ENTRIES: u32 = 200_000;
/// Tables on OpenBSD (`PFR_KTABLE_HIWAT`), and their place among the limits.
const OPENBSD_TABLES: (usize, u32) = (3, 1000);
/// A component of an anchor path with its NUL (`PF_ANCHOR_NAME_SIZE`).
const ANCHOR_COMPONENT: usize = 64;
/// `net.pf.request_maxcount` of FreeBSD.
const REQUEST_MAXCOUNT: u32 = 65_535;

/// What identifies a table. Order: by name, then by anchor, as the kernel lists them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableId {
    /// Name, at most 31 octets.
    pub name: Vec<u8>,
    /// Anchor path without a leading `/`; empty for the main ruleset.
    pub anchor: Vec<u8>,
}

impl TableId {
    /// A table by names that are known to be good.
    #[must_use]
    pub fn new(anchor: &str, name: &str) -> TableId {
        TableId { name: name.into(), anchor: anchor.into() }
    }

    fn root(&self) -> TableId {
        TableId { name: self.name.clone(), anchor: Vec::new() }
    }
}

/// One table.
#[derive(Clone, Debug, Default)]
pub struct TableState {
    /// `PFR_TFLAG_*`.
    pub flags: u32,
    /// Its entries.
    pub entries: Entries,
    /// Counting since, in seconds of the epoch.
    pub tzero: i64,
    /// Packets by direction and operation.
    pub packets: ByTableOp,
    /// Bytes by direction and operation.
    pub bytes: ByTableOp,
    /// Look-ups that matched, and that did not.
    pub lookups: [u64; 2],
    /// Rules that refer to it.
    pub rules: i32,
    /// Tables of this name in anchors.
    pub anchors: i32,
}

impl TableState {
    fn clear_stats(&mut self, with_entries: bool, now: i64) {
        if with_entries {
            self.entries.iter_mut().for_each(|entry| entry.clear_counters(now));
        }
        (self.packets, self.bytes) = Default::default();
        self.lookups = [0; 2];
        self.tzero = now;
    }
}

/// Direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the firewall.
    In,
    /// Out of it.
    Out,
}

/// What the rule that refers to the table does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `block`
    Block,
    /// `match` (counted on OpenBSD only)
    Match,
    /// `pass`
    Pass,
}

/// All tables and what limits them.
#[derive(Debug)]
pub struct Kernel {
    /// The system modelled.
    pub os: Os,
    /// `kern.securelevel`.
    pub securelevel: i32,
    /// FreeBSD's `net.pf.request_maxcount`.
    pub request_maxcount: u32,
    tables: BTreeMap<TableId, TableState>,
    limits: Vec<u32>,
    /// On OpenBSD the entries limit binds only after it was first set, which any `pfctl -f` does.
    limit_binds: bool,
    /// Tables the loaded rules refer to, once for each reference.
    references: Vec<TableId>,
}

impl Kernel {
    /// A kernel that no ruleset was loaded into.
    #[must_use]
    pub fn new(os: Os) -> Kernel {
        let limits = match os {
            Os::OpenBsd => vec![100_000, 10_000, 65_536, OPENBSD_TABLES.1, DEFAULT_ENTRIES, 10_000, 512],
            Os::FreeBsd => vec![100_000, 10_000, 5_000, DEFAULT_ENTRIES, 512, 512],
        };
        Kernel {
            os,
            securelevel: 0,
            request_maxcount: REQUEST_MAXCOUNT,
            tables: BTreeMap::new(),
            limits,
            limit_binds: os == Os::FreeBsd,
            references: Vec::new(),
        }
    }

    /// The table of that name, whether active or not.
    #[must_use]
    pub fn table(&self, id: &TableId) -> Option<&TableState> {
        self.tables.get(id)
    }

    /// The active table of that name, to be changed. Errors: ESRCH.
    pub fn active(&mut self, id: &TableId) -> Result<&mut TableState, Errno> {
        self.tables.get_mut(id).filter(|table| table.flags & tflag::ACTIVE != 0).ok_or(libc::ESRCH)
    }

    /// The active table of that name, if programs may change its addresses. Errors: ESRCH, EPERM.
    pub fn changeable(&mut self, id: &TableId) -> Result<&mut TableState, Errno> {
        let table = self.active(id)?;
        if table.flags & tflag::CONST != 0 { Err(libc::EPERM) } else { Ok(table) }
    }

    /// `pfr_validate_table`: name and anchor as they must be. Errors: EINVAL.
    pub fn validate(&self, table: &Table, allowed: u32, user: bool) -> Result<TableId, Errno> {
        let name = until_nul(&table.name).filter(|name| !name.is_empty()).ok_or(libc::EINVAL)?;
        let anchor = fix_anchor(table)?;
        if (user && anchor == b"_pf") || table.flags & !allowed != 0 {
            return Err(libc::EINVAL);
        }
        Ok(TableId { name: name.into(), anchor })
    }

    /// Whether one more table, for the time of a call, can be had. Errors: ENOMEM.
    pub fn spare_table(&self) -> Result<(), Errno> {
        self.room_for_tables(1)
    }

    fn room_for_tables(&self, more: usize) -> Result<(), Errno> {
        let limit = self.limits.get(OPENBSD_TABLES.0).copied().unwrap_or(0);
        let full = self.os == Os::OpenBsd && self.tables.len() + more > to_usize(limit);
        if full { Err(libc::ENOMEM) } else { Ok(()) }
    }

    /// DIOCRADDTABLES for tables whose names were checked; `bad` is the error that the element after them met.
    pub fn add_tables(
        &mut self,
        wanted: &[(TableId, u32)],
        bad: Result<(), Errno>,
        dry: bool,
        now: i64,
    ) -> Result<usize, Errno> {
        let mut seen = BTreeSet::new();
        for (id, _) in wanted {
            // The kernel allocates a table and its root table for each name before it looks for them.
            self.room_for_tables(2 * seen.len() + 2)?;
            if self.os == Os::FreeBsd && !anchor_fits(&id.anchor) {
                return Err(libc::ENOMEM);
            }
            seen.insert(id);
        }
        bad?;
        let mut added = 0;
        for (id, flags) in wanted {
            if !seen.remove(id) {
                continue;
            }
            match self.tables.get(id).map(|table| table.flags) {
                None if anchor_fits(&id.anchor) || dry => {
                    added += 1;
                    if !dry {
                        self.insert(id, flags | tflag::ACTIVE, now);
                    }
                }
                Some(old) if old & tflag::ACTIVE == 0 => {
                    added += usize::from(self.os == Os::FreeBsd);
                    if !dry {
                        self.set_flags(id, old & !tflag::USRMASK | flags | tflag::ACTIVE);
                    }
                }
                _ => {}
            }
        }
        Ok(added)
    }

    fn insert(&mut self, id: &TableId, flags: u32, now: i64) {
        self.tables.insert(id.clone(), TableState { flags, tzero: now, ..TableState::default() });
        if !id.anchor.is_empty() {
            let root = self.tables.entry(id.root()).or_default();
            root.anchors += 1;
            root.flags |= tflag::REFDANCHOR;
        }
    }

    /// `pfr_setflags_ktable`: a table that nothing holds any more goes, and its entries before it.
    fn set_flags(&mut self, id: &TableId, flags: u32) {
        let mut flags = flags;
        if flags & (tflag::REFERENCED | tflag::REFDANCHOR | tflag::PERSIST) == 0 {
            flags &= !tflag::ACTIVE;
        }
        if flags & tflag::ACTIVE == 0 {
            flags &= !tflag::USRMASK;
        }
        if flags & tflag::SETMASK == 0 {
            self.tables.remove(id);
            if !id.anchor.is_empty()
                && let Some(root) = self.tables.get_mut(&id.root())
            {
                root.anchors -= 1;
                if root.anchors == 0 {
                    let rest = root.flags & !tflag::REFDANCHOR;
                    self.set_flags(&id.root(), rest);
                }
            }
        } else if let Some(table) = self.tables.get_mut(id) {
            if flags & tflag::ACTIVE == 0 {
                table.entries.clear();
            }
            table.flags = flags;
        }
    }

    /// DIOCRDELTABLES for tables whose names were checked.
    pub fn delete_tables(&mut self, wanted: &[TableId], dry: bool) -> usize {
        let unique: BTreeSet<&TableId> = wanted.iter().filter(|id| self.is_active(id)).collect();
        if !dry {
            unique.iter().for_each(|id| self.change_flags(id, 0, tflag::ACTIVE));
        }
        unique.len()
    }

    fn is_active(&self, id: &TableId) -> bool {
        self.tables.get(id).is_some_and(|table| table.flags & tflag::ACTIVE != 0)
    }

    fn change_flags(&mut self, id: &TableId, set: u32, clear: u32) {
        if let Some(flags) = self.tables.get(id).map(|table| table.flags) {
            self.set_flags(id, (flags | set) & !clear);
        }
    }

    /// DIOCRSETTFLAGS for tables whose names were checked: how many change, and how many go.
    pub fn set_table_flags(&mut self, wanted: &[TableId], set: u32, clear: u32, dry: bool) -> (usize, usize) {
        let changing = |id: &&TableId| {
            let old = self.tables.get(id).map_or(0, |table| table.flags);
            old & tflag::ACTIVE != 0 && (old | set) & !clear != old
        };
        let unique: BTreeSet<&TableId> = wanted.iter().filter(changing).collect();
        let goes = |id: &&&TableId| {
            let old = self.tables.get(id).map_or(0, |table| table.flags);
            old & clear & tflag::PERSIST != 0 && old & tflag::REFERENCED == 0
        };
        let gone = unique.iter().filter(goes).count();
        if !dry {
            unique.iter().for_each(|id| self.change_flags(id, set, clear));
        }
        (unique.len() - gone, gone)
    }

    /// The tables of an anchor, or all. Errors: ENOENT if there is no such anchor.
    pub fn tables_of(&self, anchor: &[u8], all: bool) -> Result<Vec<TableId>, Errno> {
        let below = [anchor, b"/"].concat();
        let known = |id: &TableId| id.anchor == anchor || id.anchor.starts_with(&below);
        if !all && !anchor.is_empty() && !self.tables.keys().any(known) {
            return Err(libc::ENOENT);
        }
        Ok(self.tables.keys().filter(|id| all || id.anchor == anchor).cloned().collect())
    }

    /// DIOCRCLRTABLES: how many active tables of the anchor go. Errors: ENOENT.
    pub fn clear_tables(&mut self, anchor: &[u8], all: bool, dry: bool) -> Result<usize, Errno> {
        let ids = self.tables_of(anchor, all)?;
        Ok(self.delete_tables(&ids.into_iter().filter(|id| id.anchor != b"_pf").collect::<Vec<_>>(), dry))
    }

    /// DIOCRCLRTSTATS for tables whose names were checked: how many there are.
    pub fn clear_table_stats(
        &mut self,
        wanted: &[TableId],
        with_entries: bool,
        dry: bool,
        now: i64,
    ) -> usize {
        let mut found = 0;
        for id in wanted {
            if let Some(table) = self.tables.get_mut(id) {
                found += 1;
                if !dry {
                    table.clear_stats(with_entries, now);
                }
            }
        }
        found
    }

    /// The statistics of a table as they are copied out.
    #[must_use]
    pub fn table_stats(&self, id: &TableId) -> Option<TableStats> {
        let table = self.tables.get(id)?;
        let [matches, no_matches] = table.lookups;
        Some(TableStats {
            table: Table::new(&id.anchor, &id.name, table.flags),
            packets: table.packets,
            bytes: table.bytes,
            matches,
            no_matches,
            tzero: table.tzero,
            count: i32::try_from(table.entries.as_slice().len()).unwrap_or(i32::MAX),
            rules: table.rules,
            anchors: table.anchors,
        })
    }

    /// DIOCGETLIMIT. Errors: EINVAL for an index the system does not have.
    pub fn limit(&self, index: i32) -> Result<u32, Errno> {
        usize::try_from(index).ok().and_then(|index| self.limits.get(index)).copied().ok_or(libc::EINVAL)
    }

    /// DIOCSETLIMIT, with `pending` entries of tables not committed yet; gives the old value. Errors: EINVAL, EBUSY.
    pub fn set_limit(&mut self, index: i32, value: u32, pending: usize) -> Result<u32, Errno> {
        let old = self.limit(index)?;
        let entries = index == self.os.table_entries_index();
        let used = match (self.os, index) {
            (Os::OpenBsd, _) if entries => self.entries_in_use() + pending,
            (Os::OpenBsd, 3) => self.tables.len(),
            _ => 0,
        };
        if used > to_usize(value) {
            return Err(libc::EBUSY);
        }
        self.limit_binds |= entries;
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| self.limits.get_mut(index)) {
            *slot = value;
        }
        Ok(old)
    }

    fn entries_in_use(&self) -> usize {
        self.tables.values().map(|table| table.entries.plain()).sum()
    }

    /// How many more plain entries fit, over all tables and `pending` ones.
    #[must_use]
    pub fn room(&self, pending: usize) -> usize {
        if !self.limit_binds {
            return usize::MAX;
        }
        let limit = self.limit(self.os.table_entries_index()).unwrap_or(0);
        to_usize(limit).saturating_sub(self.entries_in_use() + pending)
    }

    /// Carries out a change of addresses that was planned on the same table.
    pub fn apply(&mut self, id: &TableId, wanted: Vec<Wanted>, plan: &Plan, replace: bool, now: i64) {
        if let Some(table) = self.tables.get_mut(id) {
            table.entries.apply(wanted, plan, replace, now);
        }
    }

    /// First half of loading a ruleset: the main ruleset's rules now refer to `references`, and `defined` tables wait for their contents.
    pub fn replace_rules(&mut self, references: Vec<TableId>, defined: &[TableId], now: i64) {
        for id in defined {
            self.tables.entry(id.clone()).or_default().flags |= tflag::INACTIVE;
        }
        for id in &references {
            let table = self
                .tables
                .entry(id.clone())
                .or_insert_with(|| TableState { tzero: now, ..Default::default() });
            table.rules += 1;
            table.flags |= tflag::REFERENCED;
        }
        for id in std::mem::replace(&mut self.references, references) {
            if let Some(table) = self.tables.get_mut(&id) {
                table.rules -= 1;
                if table.rules == 0 {
                    self.change_flags(&id, 0, tflag::REFERENCED);
                }
            }
        }
    }

    /// Second half: commits one defined table, with its new contents or with those it has.
    pub fn commit_table(&mut self, id: &TableId, flags: u32, contents: Option<Vec<Wanted>>, now: i64) {
        let Some(table) = self.tables.get_mut(id) else { return };
        let was_active = table.flags & tflag::ACTIVE != 0;
        if let Some(mut wanted) = contents {
            let plan = table.entries.plan_set(&mut wanted);
            table.entries.apply(wanted, &plan, true, now);
        }
        if !was_active {
            table.clear_stats(true, now);
        }
        let kept = table.flags & tflag::SETMASK & !tflag::INACTIVE;
        self.set_flags(id, flags & tflag::USRMASK | kept | tflag::ACTIVE);
    }

    /// What a rule that names the table sees for an address: the table, or the one of the same name outside anchors if it is not active.
    fn seen_by_rules(&mut self, id: &TableId) -> Option<&mut TableState> {
        let id = if self.is_active(id) { id.clone() } else { id.root() };
        self.active(&id).ok()
    }

    /// Whether a rule `from <table>` matches: the longest prefix decides, and a negated one does not match.
    pub fn matches(&mut self, id: &TableId, addr: IpAddr) -> bool {
        let Some(table) = self.seen_by_rules(id) else { return false };
        table.entries.longest_match(addr).is_some_and(|entry| !entry.negated)
    }

    /// Counts a packet that a rule compared with the table; true if the rule matched.
    pub fn packet(
        &mut self,
        id: &TableId,
        addr: IpAddr,
        direction: Direction,
        action: Action,
        bytes: u64,
    ) -> bool {
        let Some(table) = self.seen_by_rules(id) else { return false };
        let counts = table.flags & tflag::COUNTERS != 0;
        let (direction, operation) = (direction as usize, action as usize);
        let found =
            table.entries.longest_match(addr).filter(|entry| !entry.negated).map(|entry| entry.prefix);
        table.lookups[usize::from(found.is_none())] += 1;
        let Some(prefix) = found else { return false };
        table.packets[direction][operation] += 1;
        table.bytes[direction][operation] += bytes;
        if counts && let Some(entry) = table.entries.get_mut(&prefix) {
            let counters: &mut Counters = entry.counters.get_or_insert_default();
            counters.packets[direction][operation] += 1;
            counters.bytes[direction][operation] += bytes;
        }
        true
    }
}

/// `pfr_fix_anchor`: the path without leading slashes. Errors: EINVAL if octets follow its NUL.
pub fn fix_anchor(table: &Table) -> Result<Vec<u8>, Errno> {
    let slashes = table.anchor.iter().take_while(|octet| **octet == b'/').count();
    let mut path = table.anchor.get(slashes..).unwrap_or_default().to_vec();
    path.resize(abi::ANCHOR_SIZE, 0);
    until_nul(&path).map(<[u8]>::to_vec).ok_or(libc::EINVAL)
}

/// The octets before the first NUL, if there is one and only NULs follow.
fn until_nul(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|octet| *octet == 0)?;
    let (text, rest) = field.split_at(end);
    rest.iter().all(|octet| *octet == 0).then_some(text)
}

fn anchor_fits(anchor: &[u8]) -> bool {
    anchor.split(|octet| *octet == b'/').all(|component| component.len() < ANCHOR_COMPONENT)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
