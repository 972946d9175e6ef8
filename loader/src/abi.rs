//! The binary interface of pf(4)'s tables, for 64-bit systems.
//!
//! The calls and their argument are the same on OpenBSD and FreeBSD, down to the numbers; only
//! the elements behind the argument's buffer differ. Both layouts are built on every system, so
//! that both are checked; `Native` is the one that a program uses.
//!
//! Sources: OpenBSD sys/net/pfvar.h (7.4 to 7.8), FreeBSD sys/net/pfvar.h (12.1, 15). Layouts and
//! numbers are asserted below against what those systems' C compilers give.

use std::ffi::{c_int, c_ulong, c_void};
use std::mem::{align_of, offset_of, size_of};

use ipnet::IpNet;

/// Octets of a table's name with its NUL.
pub const TABLE_NAME_SIZE: usize = 32;
/// Octets of an anchor's path with its NUL.
pub const ANCHOR_SIZE: usize = 1024;

/// `pfrt_flags`: the table stays when no rule refers to it.
pub const PFR_TFLAG_PERSIST: u32 = 0x01;
/// `pfrt_flags`: it was defined, not only named by a rule.
pub const PFR_TFLAG_ACTIVE: u32 = 0x04;
/// `pfrio_flags`: count what would change, and change nothing.
pub const PFR_FLAG_DUMMY: c_int = 0x02;
/// `pfrio_flags`: the tables of all anchors.
pub const PFR_FLAG_ALLRSETS: c_int = 0x40;

/// `struct pfr_table`: which table.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PfrTable {
    /// `pfrt_anchor`: every octet after the NUL is 0.
    pub anchor: [u8; ANCHOR_SIZE],
    /// `pfrt_name`: every octet after the NUL is 0.
    pub name: [u8; TABLE_NAME_SIZE],
    /// `pfrt_flags`.
    pub flags: u32,
    /// `pfrt_fback`.
    pub fback: u8,
    _pad: [u8; 3],
}

impl PfrTable {
    /// Names a table; `None` if a name is too long or holds a NUL.
    pub fn new(anchor: &str, name: &str, flags: u32) -> Option<PfrTable> {
        Some(PfrTable { anchor: padded(anchor)?, name: padded(name)?, flags, fback: 0, _pad: [0; 3] })
    }

    /// The table's name up to its NUL.
    pub fn name(&self) -> &[u8] {
        self.name.split(|octet| *octet == 0).next().unwrap_or_default()
    }
}

fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    if text.len() >= N || text.contains('\0') {
        return None;
    }
    octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(octets)
}

/// `struct pfioc_table`: the argument of every table call.
#[repr(C)]
pub struct PfiocTable {
    /// `pfrio_table`.
    pub table: PfrTable,
    /// `pfrio_buffer`: elements.
    pub buffer: *mut c_void,
    /// `pfrio_esize`: octets of an element.
    pub esize: c_int,
    /// `pfrio_size`: number of elements.
    pub size: c_int,
    /// `pfrio_size2`.
    pub size2: c_int,
    /// `pfrio_nadd`: how many were added.
    pub nadd: c_int,
    /// `pfrio_ndel`: how many were deleted.
    pub ndel: c_int,
    /// `pfrio_nchange`: how many changed between plain and negated.
    pub nchange: c_int,
    /// `pfrio_flags`.
    pub flags: c_int,
    /// `pfrio_ticket`.
    pub ticket: u32,
}

/// `struct pfioc_limit`.
#[repr(C)]
pub struct PfiocLimit {
    /// Which limit; the numbers differ between systems.
    pub index: c_int,
    /// Its value.
    pub limit: u32,
}

const fn iowr(number: c_ulong, size: usize) -> c_ulong {
    0xc000_0000 | ((size as c_ulong & 0x1fff) << 16) | ((b'D' as c_ulong) << 8) | number
}

/// Reads a limit.
pub const DIOCGETLIMIT: c_ulong = iowr(39, size_of::<PfiocLimit>());
/// Makes tables.
pub const DIOCRADDTABLES: c_ulong = iowr(61, size_of::<PfiocTable>());
/// Reads the statistics of all tables of an anchor.
pub const DIOCRGETTSTATS: c_ulong = iowr(64, size_of::<PfiocTable>());
/// Replaces a table's addresses, all or nothing.
pub const DIOCRSETADDRS: c_ulong = iowr(69, size_of::<PfiocTable>());

/// `struct pfr_tstats`: a table and its statistics. `OPS` is the number of things that can happen
/// to a packet: block, match, pass, xpass on OpenBSD; block, pass, xpass on FreeBSD.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PfrTstats<const OPS: usize> {
    /// `pfrts_t`.
    pub table: PfrTable,
    /// `pfrts_packets`, in and out.
    pub packets: [[u64; OPS]; 2],
    /// `pfrts_bytes`, in and out.
    pub bytes: [[u64; OPS]; 2],
    /// `pfrts_match`: look-ups that found an address.
    pub matches: u64,
    /// `pfrts_nomatch`: look-ups that found none.
    pub nomatches: u64,
    /// `pfrts_tzero`: counted since, in seconds since 1970.
    pub tzero: i64,
    /// `pfrts_cnt`: number of addresses.
    pub cnt: c_int,
    /// `pfrts_refcnt`: rules, and anchors, that refer to the table.
    pub refcnt: [c_int; 2],
    _pad: [u8; 4],
}

impl<const OPS: usize> PfrTstats<OPS> {
    /// An element for the kernel to fill in.
    const EMPTY: Self = PfrTstats {
        table: PfrTable {
            anchor: [0; ANCHOR_SIZE],
            name: [0; TABLE_NAME_SIZE],
            flags: 0,
            fback: 0,
            _pad: [0; 3],
        },
        packets: [[0; OPS]; 2],
        bytes: [[0; OPS]; 2],
        matches: 0,
        nomatches: 0,
        tzero: 0,
        cnt: 0,
        refcnt: [0; 2],
        _pad: [0; 4],
    };

    /// `pass` is the index of what was passed; what was blocked is first on every system.
    fn stats(&self, pass: usize) -> TableStats {
        let count = |op: usize| {
            let of = |direction: &[u64; OPS]| direction.get(op).copied().unwrap_or(0);
            let [packets, bytes] =
                [self.packets, self.bytes].map(|both| both.map(|direction| of(&direction)));
            Traffic { packets, bytes }
        };
        let references = self.refcnt.map(|count| u64::try_from(count).unwrap_or(0));
        TableStats {
            name: self.table.name().to_vec(),
            flags: self.table.flags,
            count: u64::try_from(self.cnt).unwrap_or(0),
            rules: references.iter().sum(),
            blocked: count(0),
            passed: count(pass),
            matches: self.matches,
            nomatches: self.nomatches,
            since: u64::try_from(self.tzero).unwrap_or(0),
        }
    }
}

/// Packets and bytes, in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets in, packets out.
    pub packets: [u64; 2],
    /// Bytes in, bytes out.
    pub bytes: [u64; 2],
}

/// What the kernel tells of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// Its name.
    pub name: Vec<u8>,
    /// `PFR_TFLAG_*`.
    pub flags: u32,
    /// Number of addresses.
    pub count: u64,
    /// Number of rules that refer to it, and of anchors that have rules which do.
    pub rules: u64,
    /// What these rules blocked.
    pub blocked: Traffic,
    /// What they passed.
    pub passed: Traffic,
    /// Look-ups that found an address.
    pub matches: u64,
    /// Look-ups that found none.
    pub nomatches: u64,
    /// Counted since, in seconds since 1970.
    pub since: u64,
}

/// What differs between the systems.
pub trait Abi {
    /// `struct pfr_addr`.
    type Addr: Copy;
    /// `struct pfr_tstats`.
    type Tstats: Copy;
    /// `PF_LIMIT_TABLE_ENTRIES`.
    const TABLE_ENTRIES: c_int;
    /// An element for the kernel to fill in.
    const NO_STATS: Self::Tstats;

    /// The element for a prefix. Everything but the address, its length and the negation is zero:
    /// the kernel refuses octets that are set beyond the prefix.
    fn addr(net: IpNet, negated: bool) -> Self::Addr;

    /// What the kernel filled in.
    fn stats(element: &Self::Tstats) -> TableStats;
}

/// The address as it stands in `union pfr_u`, in network order, and its length.
fn union(net: IpNet) -> ([u8; 16], u8) {
    match net {
        IpNet::V4(net) => {
            let [a, b, c, d] = net.network().octets();
            ([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], net.prefix_len())
        }
        IpNet::V6(net) => (net.network().octets(), net.prefix_len()),
    }
}

/// The layout of OpenBSD. On Linux it is the one that the tests' model of pf is asked in.
pub struct OpenBsd;

/// OpenBSD's `struct pfr_addr`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OpenBsdAddr {
    /// `pfra_u`.
    pub addr: [u8; 16],
    /// `pfra_ifname`.
    pub ifname: [u8; 16],
    /// `pfra_states`.
    pub states: u32,
    /// `pfra_weight`; the kernel turns 0 into 1.
    pub weight: u16,
    /// `pfra_af`: `AF_INET` 2, `AF_INET6` 24.
    pub af: u8,
    /// `pfra_net`: prefix length.
    pub net: u8,
    /// `pfra_not`: 1 for a negated entry.
    pub not: u8,
    /// `pfra_fback`.
    pub fback: u8,
    /// `pfra_type`: `PFRKE_PLAIN` 0.
    pub kind: u8,
    _pad: [u8; 9],
}

impl Abi for OpenBsd {
    type Addr = OpenBsdAddr;
    type Tstats = PfrTstats<4>;
    const TABLE_ENTRIES: c_int = 4;
    const NO_STATS: PfrTstats<4> = PfrTstats::EMPTY;

    fn addr(net: IpNet, negated: bool) -> OpenBsdAddr {
        let (addr, length) = union(net);
        let af = if net.addr().is_ipv4() { 2 } else { 24 };
        let not = u8::from(negated);
        OpenBsdAddr {
            addr,
            ifname: [0; 16],
            states: 0,
            weight: 0,
            af,
            net: length,
            not,
            fback: 0,
            kind: 0,
            _pad: [0; 9],
        }
    }

    fn stats(element: &PfrTstats<4>) -> TableStats {
        // PF_DROP, PF_MATCH, PF_PASS.
        element.stats(2)
    }
}

/// The layout of FreeBSD and pfSense.
pub struct FreeBsd;

/// FreeBSD's `struct pfr_addr`.
#[repr(C, align(4))]
#[derive(Clone, Copy)]
pub struct FreeBsdAddr {
    /// `pfra_u`.
    pub addr: [u8; 16],
    /// `pfra_af`: `AF_INET` 2, `AF_INET6` 28.
    pub af: u8,
    /// `pfra_net`: prefix length.
    pub net: u8,
    /// `pfra_not`: 1 for a negated entry.
    pub not: u8,
    /// `pfra_fback`.
    pub fback: u8,
}

impl Abi for FreeBsd {
    type Addr = FreeBsdAddr;
    type Tstats = PfrTstats<3>;
    const TABLE_ENTRIES: c_int = 3;
    const NO_STATS: PfrTstats<3> = PfrTstats::EMPTY;

    fn addr(net: IpNet, negated: bool) -> FreeBsdAddr {
        let (addr, length) = union(net);
        let af = if net.addr().is_ipv4() { 2 } else { 28 };
        FreeBsdAddr { addr, af, net: length, not: u8::from(negated), fback: 0 }
    }

    fn stats(element: &PfrTstats<3>) -> TableStats {
        // PF_DROP, PF_PASS.
        element.stats(1)
    }
}

/// The layout of the system that this program is built for.
#[cfg(not(target_os = "freebsd"))]
pub type Native = OpenBsd;
/// The layout of the system that this program is built for.
#[cfg(target_os = "freebsd")]
pub type Native = FreeBsd;

const _: () = {
    assert!(DIOCGETLIMIT == 0xc008_4427);
    assert!(DIOCRADDTABLES == 0xc450_443d);
    assert!(DIOCRGETTSTATS == 0xc450_4440);
    assert!(DIOCRSETADDRS == 0xc450_4445);

    assert!(size_of::<PfrTable>() == 1064 && align_of::<PfrTable>() == 4);
    assert!(offset_of!(PfrTable, name) == 1024);
    assert!(offset_of!(PfrTable, flags) == 1056);
    assert!(offset_of!(PfrTable, fback) == 1060);

    assert!(size_of::<PfiocTable>() == 1104);
    assert!(offset_of!(PfiocTable, buffer) == 1064);
    assert!(offset_of!(PfiocTable, esize) == 1072);
    assert!(offset_of!(PfiocTable, size) == 1076);
    assert!(offset_of!(PfiocTable, size2) == 1080);
    assert!(offset_of!(PfiocTable, nadd) == 1084);
    assert!(offset_of!(PfiocTable, ndel) == 1088);
    assert!(offset_of!(PfiocTable, nchange) == 1092);
    assert!(offset_of!(PfiocTable, flags) == 1096);
    assert!(offset_of!(PfiocTable, ticket) == 1100);

    assert!(size_of::<PfiocLimit>() == 8);
    assert!(offset_of!(PfiocLimit, limit) == 4);

    assert!(size_of::<OpenBsdAddr>() == 52 && align_of::<OpenBsdAddr>() == 4);
    assert!(offset_of!(OpenBsdAddr, ifname) == 16);
    assert!(offset_of!(OpenBsdAddr, states) == 32);
    assert!(offset_of!(OpenBsdAddr, weight) == 36);
    assert!(offset_of!(OpenBsdAddr, af) == 38);
    assert!(offset_of!(OpenBsdAddr, net) == 39);
    assert!(offset_of!(OpenBsdAddr, not) == 40);
    assert!(offset_of!(OpenBsdAddr, fback) == 41);
    assert!(offset_of!(OpenBsdAddr, kind) == 42);

    assert!(size_of::<FreeBsdAddr>() == 20 && align_of::<FreeBsdAddr>() == 4);
    assert!(offset_of!(FreeBsdAddr, af) == 16);
    assert!(offset_of!(FreeBsdAddr, net) == 17);
    assert!(offset_of!(FreeBsdAddr, not) == 18);
    assert!(offset_of!(FreeBsdAddr, fback) == 19);

    assert!(size_of::<PfrTstats<4>>() == 1232);
    assert!(offset_of!(PfrTstats<4>, packets) == 1064);
    assert!(offset_of!(PfrTstats<4>, bytes) == 1128);
    assert!(offset_of!(PfrTstats<4>, matches) == 1192);
    assert!(offset_of!(PfrTstats<4>, nomatches) == 1200);
    assert!(offset_of!(PfrTstats<4>, tzero) == 1208);
    assert!(offset_of!(PfrTstats<4>, cnt) == 1216);
    assert!(offset_of!(PfrTstats<4>, refcnt) == 1220);

    assert!(size_of::<PfrTstats<3>>() == 1200);
    assert!(offset_of!(PfrTstats<3>, packets) == 1064);
    assert!(offset_of!(PfrTstats<3>, bytes) == 1112);
    assert!(offset_of!(PfrTstats<3>, matches) == 1160);
    assert!(offset_of!(PfrTstats<3>, nomatches) == 1168);
    assert!(offset_of!(PfrTstats<3>, tzero) == 1176);
    assert!(offset_of!(PfrTstats<3>, cnt) == 1184);
    assert!(offset_of!(PfrTstats<3>, refcnt) == 1188);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn octets<T: Copy>(element: &T) -> Vec<u8> {
        let start = std::ptr::from_ref(element).cast::<u8>();
        // SAFETY: the elements under test have no implicit padding, as their sizes show.
        #[allow(unsafe_code)]
        unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
    }

    #[test]
    fn an_address_is_zero_but_for_its_own_fields() {
        let net: IpNet = "192.0.2.0/24".parse().unwrap();
        let mut wanted = vec![0; 52];
        wanted[..4].copy_from_slice(&[192, 0, 2, 0]);
        (wanted[38], wanted[39], wanted[40]) = (2, 24, 1);
        assert_eq!(octets(&OpenBsd::addr(net, true)), wanted);
        wanted.truncate(20);
        wanted[16..].copy_from_slice(&[2, 24, 1, 0]);
        assert_eq!(octets(&FreeBsd::addr(net, true)), wanted);

        let net: IpNet = "2001:db8::1/128".parse().unwrap();
        let openbsd = octets(&OpenBsd::addr(net, false));
        assert_eq!((openbsd[15], openbsd[38], openbsd[39], openbsd[40]), (1, 24, 128, 0));
        let freebsd = octets(&FreeBsd::addr(net, false));
        assert_eq!((freebsd[15], freebsd[16], freebsd[17], freebsd[18]), (1, 28, 128, 0));
    }

    /// A rule of an anchor that has no such table refers to the one of the main ruleset, which counts the anchor only.
    #[test]
    fn a_rule_of_an_anchor_is_a_rule() {
        for (refcnt, rules) in [([0, 0], 0), ([2, 0], 2), ([0, 1], 1), ([2, 1], 3), ([-1, 0], 0)] {
            assert_eq!(PfrTstats::<4> { refcnt, ..PfrTstats::EMPTY }.stats(2).rules, rules);
        }
    }

    #[test]
    fn a_name_is_padded_with_zeros_or_refused() {
        let table = PfrTable::new("a/b", "abcdefghijklmnopqrstuvwxyzabcde", 0).unwrap();
        assert_eq!((table.name().len(), table.name[31], &table.anchor[..4]), (31, 0, &b"a/b\0"[..]));
        assert!(PfrTable::new("", "abcdefghijklmnopqrstuvwxyzabcdef", 0).is_none());
        assert!(PfrTable::new("", "a\0b", 0).is_none());
        assert!(PfrTable::new(&"a".repeat(1024), "t", 0).is_none());
    }
}
