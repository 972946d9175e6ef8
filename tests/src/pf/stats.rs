//! The statistics that pf copies out: `struct pfr_astats` and `struct pfr_tstats` in both layouts.
#![forbid(unsafe_code)]

use super::abi::{Addr, Os, Table, array, i32_at, put, u64_at};

/// Packets or bytes by direction (in, out) and operation (block, match, pass).
pub type ByOp = [[u64; 3]; 2];

/// `struct pfr_astats`. FreeBSD has no `match` column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrStats {
    /// The entry; `fback` is `NOCOUNT` when it has no counters.
    pub addr: Addr,
    /// Packets.
    pub packets: ByOp,
    /// Bytes.
    pub bytes: ByOp,
    /// Counting since, in seconds of the epoch.
    pub tzero: i64,
}

impl AddrStats {
    /// Reads one element.
    #[must_use]
    pub fn decode(os: Os, from: &[u8]) -> Option<AddrStats> {
        let addr = Addr::decode(os, from)?;
        let (packets, bytes, tzero) = match os {
            Os::OpenBsd => (56, 104, 152),
            Os::FreeBsd => (24, 56, 88),
        };
        let counters = |at: usize| -> Option<ByOp> {
            let mut all = [[0; 3]; 2];
            for (slot, position) in by_op(&mut all, os).zip((at..).step_by(8)) {
                *slot = u64_at(from, position)?;
            }
            Some(all)
        };
        let tzero = i64::from_ne_bytes(array(from, tzero)?);
        Some(AddrStats { addr, packets: counters(packets)?, bytes: counters(bytes)?, tzero })
    }

    /// One element's octets.
    #[must_use]
    pub fn encode(&self, os: Os) -> Vec<u8> {
        let mut to = vec![0; os.astats_size()];
        self.addr.encode_into(os, &mut to);
        let (packets, bytes, tzero) = match os {
            Os::OpenBsd => (56, 104, 152),
            Os::FreeBsd => (24, 56, 88),
        };
        for (mut counters, at) in [(self.packets, packets), (self.bytes, bytes)] {
            for (value, position) in by_op(&mut counters, os).zip((at..).step_by(8)) {
                put(&mut to, position, &value.to_ne_bytes());
            }
        }
        put(&mut to, tzero, &self.tzero.to_ne_bytes());
        to
    }
}

/// The counters in the order they lie in memory: FreeBSD leaves `match` out.
fn by_op<const N: usize>(counters: &mut [[u64; N]; 2], os: Os) -> impl Iterator<Item = &mut u64> {
    counters
        .iter_mut()
        .flat_map(|row| row.iter_mut().enumerate())
        .filter(move |(op, _)| os == Os::OpenBsd || *op != 1)
        .map(|(_, counter)| counter)
}

/// Packets or bytes of a table by direction (in, out) and operation (block, match, pass, xpass).
pub type ByTableOp = [[u64; 4]; 2];

/// `struct pfr_tstats`. FreeBSD has no `match` column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// Anchor, name and flags.
    pub table: Table,
    /// Packets.
    pub packets: ByTableOp,
    /// Bytes.
    pub bytes: ByTableOp,
    /// Look-ups that matched.
    pub matches: u64,
    /// Look-ups that did not.
    pub no_matches: u64,
    /// Counting since, in seconds of the epoch.
    pub tzero: i64,
    /// Entries.
    pub count: i32,
    /// Rules that refer to the table.
    pub rules: i32,
    /// Tables of the same name in anchors.
    pub anchors: i32,
}

impl TableStats {
    /// Reads one element.
    #[must_use]
    pub fn decode(os: Os, from: &[u8]) -> Option<TableStats> {
        let (bytes, rest) = match os {
            Os::OpenBsd => (1128, 1192),
            Os::FreeBsd => (1112, 1160),
        };
        let counters = |at: usize| -> Option<ByTableOp> {
            let mut all = [[0; 4]; 2];
            for (slot, position) in by_op(&mut all, os).zip((at..).step_by(8)) {
                *slot = u64_at(from, position)?;
            }
            Some(all)
        };
        Some(TableStats {
            table: Table::decode(from)?,
            packets: counters(1064)?,
            bytes: counters(bytes)?,
            matches: u64_at(from, rest)?,
            no_matches: u64_at(from, rest + 8)?,
            tzero: i64::from_ne_bytes(array(from, rest + 16)?),
            count: i32_at(from, rest + 24)?,
            rules: i32_at(from, rest + 28)?,
            anchors: i32_at(from, rest + 32)?,
        })
    }

    /// One element's octets.
    #[must_use]
    pub fn encode(&self, os: Os) -> Vec<u8> {
        let mut to = self.table.encode();
        to.resize(os.tstats_size(), 0);
        let (bytes, rest) = match os {
            Os::OpenBsd => (1128, 1192),
            Os::FreeBsd => (1112, 1160),
        };
        for (mut counters, at) in [(self.packets, 1064), (self.bytes, bytes)] {
            for (value, position) in by_op(&mut counters, os).zip((at..).step_by(8)) {
                put(&mut to, position, &value.to_ne_bytes());
            }
        }
        put(&mut to, rest, &self.matches.to_ne_bytes());
        put(&mut to, rest + 8, &self.no_matches.to_ne_bytes());
        put(&mut to, rest + 16, &self.tzero.to_ne_bytes());
        put(&mut to, rest + 24, &self.count.to_ne_bytes());
        put(&mut to, rest + 28, &self.rules.to_ne_bytes());
        put(&mut to, rest + 32, &self.anchors.to_ne_bytes());
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a value lands, told by an encoding in which only it is not zero.
    fn nonzero(bytes: &[u8]) -> Vec<usize> {
        bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect()
    }

    fn table_stats() -> TableStats {
        TableStats {
            table: Table::new(b"", b"", 0),
            packets: [[0; 4]; 2],
            bytes: [[0; 4]; 2],
            matches: 0,
            no_matches: 0,
            tzero: 0,
            count: 0,
            rules: 0,
            anchors: 0,
        }
    }

    #[test]
    fn statistics_lie_where_each_system_has_them() {
        let at = |f: fn(&mut TableStats), os| {
            let mut stats = table_stats();
            f(&mut stats);
            nonzero(&stats.encode(os))[0]
        };
        let first = if cfg!(target_endian = "little") { 0 } else { 7 };
        assert_eq!(at(|s| s.packets[0][2] = 1, Os::OpenBsd), 1064 + 16 + first);
        assert_eq!(at(|s| s.packets[0][2] = 1, Os::FreeBsd), 1064 + 8 + first);
        assert_eq!(at(|s| s.bytes[1][3] = 1, Os::OpenBsd), 1128 + 56 + first);
        assert_eq!(at(|s| s.bytes[1][3] = 1, Os::FreeBsd), 1112 + 40 + first);
        assert_eq!(at(|s| s.matches = u64::MAX, Os::OpenBsd), 1192);
        assert_eq!(at(|s| s.matches = u64::MAX, Os::FreeBsd), 1160);
        assert_eq!(at(|s| s.tzero = -1, Os::OpenBsd), 1208);
        assert_eq!(at(|s| s.tzero = -1, Os::FreeBsd), 1176);
        assert_eq!(at(|s| s.count = -1, Os::OpenBsd), 1216);
        assert_eq!(at(|s| s.count = -1, Os::FreeBsd), 1184);
        assert_eq!(at(|s| s.anchors = -1, Os::OpenBsd), 1224);
        assert_eq!(at(|s| s.anchors = -1, Os::FreeBsd), 1192);
        let stats = AddrStats {
            addr: Addr::default(),
            packets: [[0; 3], [0, 0, u64::MAX]],
            bytes: [[0; 3]; 2],
            tzero: 0,
        };
        assert_eq!(nonzero(&stats.encode(Os::OpenBsd))[0], 96);
        assert_eq!(nonzero(&stats.encode(Os::FreeBsd))[0], 48);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for os in [Os::OpenBsd, Os::FreeBsd] {
            let addr = Addr { addr: [7; 16], af: 2, net: 9, not: 1, fback: 3, ..Addr::default() };
            let stats =
                AddrStats { addr, packets: [[1, 0, 2], [3, 0, 4]], bytes: [[5, 0, 6], [7, 0, 8]], tzero: 9 };
            assert_eq!(stats.encode(os).len(), os.astats_size());
            assert_eq!(AddrStats::decode(os, &stats.encode(os)), Some(stats));
            let stats = TableStats {
                table: Table::new(b"a/b", b"t", 0x45),
                packets: [[1, 0, 2, 3], [4, 0, 5, 6]],
                count: 7,
                ..table_stats()
            };
            let bytes = stats.encode(os);
            assert_eq!(bytes.len(), os.tstats_size());
            assert_eq!(TableStats::decode(os, &bytes), Some(stats));
            assert!((0..1184).all(|cut| TableStats::decode(os, &bytes[..cut]).is_none()));
        }
    }
}
