//! The octets that cross `/dev/pf`: structures and request numbers of OpenBSD and FreeBSD on LP64 systems, in native byte order.
//!
//! Written from the systems' `net/pfvar.h` by offset, apart from the loader's own encoder, so that each checks the other.
#![forbid(unsafe_code)]

/// The system whose pf is modelled: it decides element layouts, limits and a few errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// OpenBSD 7.4 to 7.8.
    OpenBsd,
    /// FreeBSD 12 to 15, pfSense and OPNsense.
    FreeBsd,
}

impl Os {
    /// Size of `struct pfr_addr` in octets.
    #[must_use]
    pub fn addr_size(self) -> usize {
        match self {
            Os::OpenBsd => 52,
            Os::FreeBsd => 20,
        }
    }

    /// Size of `struct pfr_astats` in octets.
    #[must_use]
    pub fn astats_size(self) -> usize {
        match self {
            Os::OpenBsd => 160,
            Os::FreeBsd => 96,
        }
    }

    /// Size of `struct pfr_tstats` in octets.
    #[must_use]
    pub fn tstats_size(self) -> usize {
        match self {
            Os::OpenBsd => 1232,
            Os::FreeBsd => 1200,
        }
    }

    /// The value of `AF_INET6`.
    #[must_use]
    pub fn af_inet6(self) -> u8 {
        match self {
            Os::OpenBsd => 24,
            Os::FreeBsd => 28,
        }
    }

    /// The index of `table-entries` in `struct pfioc_limit`.
    #[must_use]
    pub fn table_entries_index(self) -> i32 {
        match self {
            Os::OpenBsd => 4,
            Os::FreeBsd => 3,
        }
    }
}

/// `AF_INET`, the same on both systems.
pub const AF_INET: u8 = 2;
/// Size of `struct pfr_table`.
pub const TABLE_SIZE: usize = 1064;
/// Size of `struct pfioc_table`.
pub const IOC_TABLE_SIZE: usize = 1104;
/// Size of `struct pfioc_limit`.
pub const LIMIT_SIZE: usize = 8;
/// Octets of an anchor path with its NUL (`MAXPATHLEN`).
pub const ANCHOR_SIZE: usize = 1024;
/// Octets of a table name with its NUL (`PF_TABLE_NAME_SIZE`).
pub const NAME_SIZE: usize = 32;

/// `PFR_TFLAG_*`: flags of a table.
pub mod tflag {
    #![allow(missing_docs)]
    pub const PERSIST: u32 = 0x01;
    pub const CONST: u32 = 0x02;
    pub const ACTIVE: u32 = 0x04;
    pub const INACTIVE: u32 = 0x08;
    pub const REFERENCED: u32 = 0x10;
    pub const REFDANCHOR: u32 = 0x20;
    pub const COUNTERS: u32 = 0x40;
    pub const USRMASK: u32 = 0x43;
    pub const SETMASK: u32 = 0x3c;
}

/// `PFR_FLAG_*`: flags of a call.
pub mod flag {
    #![allow(missing_docs)]
    pub const DUMMY: u32 = 0x02;
    pub const FEEDBACK: u32 = 0x04;
    pub const CLSTATS: u32 = 0x08;
    pub const ADDRSTOO: u32 = 0x10;
    pub const REPLACE: u32 = 0x20;
    pub const ALLRSETS: u32 = 0x40;
    pub const ALLMASK: u32 = 0x7f;
}

/// `PFR_FB_*`: what the kernel says about one element.
pub mod fback {
    #![allow(missing_docs)]
    pub const NONE: u8 = 0;
    pub const MATCH: u8 = 1;
    pub const ADDED: u8 = 2;
    pub const DELETED: u8 = 3;
    pub const CHANGED: u8 = 4;
    pub const CLEARED: u8 = 5;
    pub const DUPLICATE: u8 = 6;
    pub const NOTMATCH: u8 = 7;
    pub const CONFLICT: u8 = 8;
    pub const NOCOUNT: u8 = 9;
}

macro_rules! requests {
    ($($name:ident = $code:literal;)*) => {
        /// ioctl request numbers, the same on both systems.
        pub mod request {
            #![allow(missing_docs)]
            $(pub const $name: u32 = $code;)*
        }

        /// The name of a request, `unknown` if it is none of those modelled.
        #[must_use]
        pub fn request_name(code: u32) -> &'static str {
            match code {
                $($code => stringify!($name),)*
                _ => "unknown",
            }
        }
    };
}

requests! {
    DIOCGETLIMIT = 0xc008_4427;
    DIOCSETLIMIT = 0xc008_4428;
    DIOCRCLRTABLES = 0xc450_443c;
    DIOCRADDTABLES = 0xc450_443d;
    DIOCRDELTABLES = 0xc450_443e;
    DIOCRGETTABLES = 0xc450_443f;
    DIOCRGETTSTATS = 0xc450_4440;
    DIOCRCLRTSTATS = 0xc450_4441;
    DIOCRCLRADDRS = 0xc450_4442;
    DIOCRADDADDRS = 0xc450_4443;
    DIOCRDELADDRS = 0xc450_4444;
    DIOCRSETADDRS = 0xc450_4445;
    DIOCRGETADDRS = 0xc450_4446;
    DIOCRGETASTATS = 0xc450_4447;
    DIOCRCLRASTATS = 0xc450_4448;
    DIOCRTSTADDRS = 0xc450_4449;
    DIOCRSETTFLAGS = 0xc450_444a;
}

/// `struct pfr_table`, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Path of the anchor, NUL padded; empty for the main ruleset.
    pub anchor: [u8; ANCHOR_SIZE],
    /// Name of the table, NUL padded.
    pub name: [u8; NAME_SIZE],
    /// `PFR_TFLAG_*`.
    pub flags: u32,
    /// `PFR_FB_*`.
    pub fback: u8,
}

impl Table {
    /// A table of that anchor and name, each cut to what its field holds.
    #[must_use]
    pub fn new(anchor: &[u8], name: &[u8], flags: u32) -> Table {
        let mut table = Table { anchor: [0; ANCHOR_SIZE], name: [0; NAME_SIZE], flags, fback: 0 };
        table.anchor.iter_mut().zip(anchor).for_each(|(to, from)| *to = *from);
        table.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        table
    }

    /// Reads the first 1064 octets.
    #[must_use]
    pub fn decode(from: &[u8]) -> Option<Table> {
        let fback = octet(from, 1060)?;
        Some(Table { anchor: array(from, 0)?, name: array(from, 1024)?, flags: u32_at(from, 1056)?, fback })
    }

    /// The 1064 octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = vec![0; TABLE_SIZE];
        put(&mut to, 0, &self.anchor);
        put(&mut to, 1024, &self.name);
        put(&mut to, 1056, &self.flags.to_ne_bytes());
        put(&mut to, 1060, &[self.fback]);
        to
    }
}

/// `struct pfr_addr`, unchecked; the last four fields but `fback` exist on OpenBSD only and are zero on FreeBSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addr {
    /// The address in network order, IPv4 in the first four octets.
    pub addr: [u8; 16],
    /// `AF_INET` or the system's `AF_INET6`.
    pub af: u8,
    /// Prefix length.
    pub net: u8,
    /// 1 for a negated entry.
    pub not: u8,
    /// `PFR_FB_*`.
    pub fback: u8,
    /// Interface of a route entry.
    pub ifname: [u8; 16],
    /// States of this entry, output only.
    pub states: u32,
    /// Weight of a cost entry.
    pub weight: u16,
    /// `PFRKE_*`: 0 plain, 1 route, 2 cost.
    pub kind: u8,
}

impl Addr {
    /// Reads one element.
    #[must_use]
    pub fn decode(os: Os, from: &[u8]) -> Option<Addr> {
        let addr = array(from, 0)?;
        match os {
            Os::OpenBsd => Some(Addr {
                addr,
                ifname: array(from, 16)?,
                states: u32_at(from, 32)?,
                weight: u16::from_ne_bytes(array(from, 36)?),
                af: octet(from, 38)?,
                net: octet(from, 39)?,
                not: octet(from, 40)?,
                fback: octet(from, 41)?,
                kind: octet(from, 42)?,
            }),
            Os::FreeBsd => Some(Addr {
                addr,
                af: octet(from, 16)?,
                net: octet(from, 17)?,
                not: octet(from, 18)?,
                fback: octet(from, 19)?,
                ..Addr::default()
            }),
        }
    }

    /// Writes one element at the start of `to`, which must hold `os.addr_size()` octets.
    pub fn encode_into(&self, os: Os, to: &mut [u8]) {
        put(to, 0, &self.addr);
        match os {
            Os::OpenBsd => {
                put(to, 16, &self.ifname);
                put(to, 32, &self.states.to_ne_bytes());
                put(to, 36, &self.weight.to_ne_bytes());
                put(to, 38, &[self.af, self.net, self.not, self.fback, self.kind]);
                put(to, 43, &[0; 9]);
            }
            Os::FreeBsd => put(to, 16, &[self.af, self.net, self.not, self.fback]),
        }
    }

    /// One element's octets.
    #[must_use]
    pub fn encode(&self, os: Os) -> Vec<u8> {
        let mut to = vec![0; os.addr_size()];
        self.encode_into(os, &mut to);
        to
    }
}

/// `struct pfioc_table`. `exists`, `nzero`, `nmatch` and `clrflag` are `nadd`; `naddr` and `setflag` are `size2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IocTable {
    /// The table the call is about, or the filter.
    pub table: Table,
    /// Address of the elements in the program's memory.
    pub buffer: u64,
    /// Size of one element, as the program was built.
    pub esize: i32,
    /// Number of elements.
    pub size: i32,
    /// Capacity for the answer of DIOCRSETADDRS.
    pub size2: i32,
    /// Added.
    pub nadd: i32,
    /// Deleted.
    pub ndel: i32,
    /// Changed.
    pub nchange: i32,
    /// `PFR_FLAG_*`.
    pub flags: u32,
    /// Transaction.
    pub ticket: u32,
}

impl IocTable {
    /// Reads the 1104 octets.
    #[must_use]
    pub fn decode(from: &[u8]) -> Option<IocTable> {
        Some(IocTable {
            table: Table::decode(from)?,
            buffer: u64_at(from, 1064)?,
            esize: i32_at(from, 1072)?,
            size: i32_at(from, 1076)?,
            size2: i32_at(from, 1080)?,
            nadd: i32_at(from, 1084)?,
            ndel: i32_at(from, 1088)?,
            nchange: i32_at(from, 1092)?,
            flags: u32_at(from, 1096)?,
            ticket: u32_at(from, 1100)?,
        })
    }

    /// The 1104 octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = self.table.encode();
        to.resize(IOC_TABLE_SIZE, 0);
        put(&mut to, 1064, &self.buffer.to_ne_bytes());
        let words = [self.esize, self.size, self.size2, self.nadd, self.ndel, self.nchange];
        for (word, at) in words.iter().zip((1072..).step_by(4)) {
            put(&mut to, at, &word.to_ne_bytes());
        }
        put(&mut to, 1096, &self.flags.to_ne_bytes());
        put(&mut to, 1100, &self.ticket.to_ne_bytes());
        to
    }
}

/// `struct pfioc_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which limit.
    pub index: i32,
    /// Its value.
    pub limit: u32,
}

impl Limit {
    /// Reads the 8 octets.
    #[must_use]
    pub fn decode(from: &[u8]) -> Option<Limit> {
        Some(Limit { index: i32_at(from, 0)?, limit: u32_at(from, 4)? })
    }

    /// The 8 octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.index.to_ne_bytes(), self.limit.to_ne_bytes()].concat()
    }
}

pub(super) fn array<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn octet(from: &[u8], at: usize) -> Option<u8> {
    from.get(at).copied()
}

fn u32_at(from: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(array(from, at)?))
}

pub(super) fn i32_at(from: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(array(from, at)?))
}

pub(super) fn u64_at(from: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(array(from, at)?))
}

pub(super) fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a value lands, told by an encoding in which only it is not zero.
    fn nonzero(bytes: &[u8]) -> Vec<usize> {
        bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect()
    }

    #[test]
    fn sizes_are_those_of_pfvar_h() {
        for (os, addr, astats, tstats) in [(Os::OpenBsd, 52, 160, 1232), (Os::FreeBsd, 20, 96, 1200)] {
            assert_eq!(Addr::default().encode(os).len(), addr);
            assert_eq!((os.astats_size(), os.tstats_size()), (astats, tstats));
        }
    }

    #[test]
    fn request_numbers_hold_group_size_and_number() {
        for (number, size, code) in [
            (39, LIMIT_SIZE, request::DIOCGETLIMIT),
            (61, IOC_TABLE_SIZE, request::DIOCRADDTABLES),
            (69, IOC_TABLE_SIZE, request::DIOCRSETADDRS),
        ] {
            assert_eq!(code, 0xc000_0000 | (u32::try_from(size).unwrap() << 16) | 0x4400 | number);
        }
        assert_eq!(request_name(0xc450_4445), "DIOCRSETADDRS");
        assert_eq!(request_name(0), "unknown");
    }

    #[test]
    fn fields_of_an_address_lie_where_each_system_has_them() {
        let last = |f: fn(&mut Addr), os| {
            let mut addr = Addr::default();
            f(&mut addr);
            nonzero(&addr.encode(os))
        };
        assert_eq!(last(|a| a.af = 1, Os::OpenBsd), [38]);
        assert_eq!(last(|a| a.net = 1, Os::OpenBsd), [39]);
        assert_eq!(last(|a| a.not = 1, Os::OpenBsd), [40]);
        assert_eq!(last(|a| a.fback = 1, Os::OpenBsd), [41]);
        assert_eq!(last(|a| a.kind = 1, Os::OpenBsd), [42]);
        assert_eq!(last(|a| a.weight = 0x101, Os::OpenBsd), [36, 37]);
        assert_eq!(last(|a| a.ifname[15] = 1, Os::OpenBsd), [31]);
        assert_eq!(last(|a| a.af = 1, Os::FreeBsd), [16]);
        assert_eq!(last(|a| a.net = 1, Os::FreeBsd), [17]);
        assert_eq!(last(|a| a.not = 1, Os::FreeBsd), [18]);
        assert_eq!(last(|a| a.fback = 1, Os::FreeBsd), [19]);
        assert_eq!(last(|a| a.kind = 1, Os::FreeBsd), [0; 0]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for os in [Os::OpenBsd, Os::FreeBsd] {
            let addr = Addr { addr: [7; 16], af: 2, net: 9, not: 1, fback: 3, ..Addr::default() };
            assert_eq!(Addr::decode(os, &addr.encode(os)), Some(addr));
        }
        let io = IocTable {
            table: Table::new(b"x", b"y", 1),
            buffer: 2,
            esize: 3,
            size: 4,
            size2: 5,
            nadd: 6,
            ndel: 7,
            nchange: 8,
            flags: 9,
            ticket: 10,
        };
        assert_eq!(IocTable::decode(&io.encode()), Some(io.clone()));
        assert_eq!(io.encode().get(1072), Some(&3));
        assert!(IocTable::decode(&io.encode()[..1103]).is_none());
    }
}
