//! One ioctl on `/dev/pf`: the order of the kernel's checks, its error numbers, and what it copies in and out.
#![forbid(unsafe_code)]

use super::abi::{self, IocTable, Limit, Os, Table, flag, request, tflag};
use super::kernel::{Errno, Kernel, TableId, fix_anchor};

/// Elements copied at a time.
pub(super) const CHUNK: usize = 4096;

/// The memory of the program that made the call.
pub trait Memory {
    /// Copies in.
    fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), Fault>;
    /// Copies out.
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Fault>;
}

/// Why memory was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program has no such memory: EFAULT.
    BadAddress,
    /// The program is gone, or the system does not let us at its memory; nothing may be changed any more.
    Gone,
}

/// What becomes of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Return with this error number, or 0.
    Return(Errno),
    /// Never return: OpenBSD's DIOCRADDADDRS at the limit sleeps until entries are freed, and all pf ioctls with it.
    Sleep,
    /// Nobody waits for the answer.
    Gone,
}

/// One call that a program made, for tests to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `DIOCRSETADDRS` and so on.
    pub name: &'static str,
    /// Table of the call, or the first of the buffer; empty if none.
    pub table: String,
    /// Its anchor.
    pub anchor: String,
    /// `PFR_FLAG_*`.
    pub flags: u32,
    /// Number of elements handed in.
    pub size: i32,
    /// 0, or the error number.
    pub errno: Errno,
    /// Added, as reported.
    pub nadd: i32,
    /// Deleted, as reported.
    pub ndel: i32,
    /// Changed, as reported.
    pub nchange: i32,
}

/// Why a call ended early.
pub(super) enum Stop {
    Errno(Errno),
    Sleep,
    Gone,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        match fault {
            Fault::BadAddress => Stop::Errno(libc::EFAULT),
            Fault::Gone => Stop::Gone,
        }
    }
}

/// Executes one ioctl. `writable` is whether the descriptor was opened for writing, `now` the time in seconds of the epoch,
/// `forced` an error to fail with instead of doing anything.
pub fn ioctl(
    kernel: &mut Kernel,
    code: u32,
    argument: u64,
    writable: bool,
    memory: &mut dyn Memory,
    now: i64,
    forced: Option<Errno>,
) -> (Call, Outcome) {
    let mut call = Call {
        name: abi::request_name(code),
        table: String::new(),
        anchor: String::new(),
        flags: 0,
        size: 0,
        errno: 0,
        nadd: 0,
        ndel: 0,
        nchange: 0,
    };
    let done = match code {
        request::DIOCGETLIMIT | request::DIOCSETLIMIT => {
            limit(kernel, code, argument, writable, memory, forced)
        }
        request::DIOCRCLRTABLES..=request::DIOCRSETTFLAGS => {
            Exchange { kernel, memory, now }.table(code, argument, writable, forced, &mut call)
        }
        _ => Err(Stop::Errno(forced.unwrap_or_else(|| refuse_other(kernel, writable)))),
    };
    let outcome = match done {
        Ok(()) => Outcome::Return(0),
        Err(Stop::Errno(errno)) => Outcome::Return(errno),
        Err(Stop::Sleep) => Outcome::Sleep,
        Err(Stop::Gone) => Outcome::Gone,
    };
    if let Outcome::Return(errno) = outcome {
        call.errno = errno;
    }
    (call, outcome)
}

fn secured(kernel: &Kernel) -> bool {
    kernel.securelevel > if kernel.os == Os::OpenBsd { 1 } else { 2 }
}

fn refuse_other(kernel: &Kernel, writable: bool) -> Errno {
    match (secured(kernel), writable) {
        (true, _) => libc::EPERM,
        (_, false) => libc::EACCES,
        _ => libc::ENODEV,
    }
}

fn limit(
    kernel: &mut Kernel,
    code: u32,
    argument: u64,
    writable: bool,
    memory: &mut dyn Memory,
    forced: Option<Errno>,
) -> Result<(), Stop> {
    let mut octets = [0; abi::LIMIT_SIZE];
    memory.read(argument, &mut octets)?;
    let mut io = Limit::decode(&octets).ok_or(libc::EFAULT)?;
    if let Some(errno) = forced {
        return Err(errno.into());
    }
    if code == request::DIOCGETLIMIT {
        io.limit = kernel.limit(io.index)?;
    } else if secured(kernel) {
        return Err(libc::EPERM.into());
    } else if !writable {
        return Err(libc::EACCES.into());
    } else {
        let old = kernel.set_limit(io.index, io.limit, 0)?;
        if kernel.os == Os::FreeBsd {
            io.limit = old;
        }
    }
    Ok(memory.write(argument, &io.encode())?)
}

/// A call with a `struct pfioc_table`.
pub(super) struct Exchange<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) memory: &'a mut dyn Memory,
    pub(super) now: i64,
}

impl Exchange<'_> {
    fn table(
        &mut self,
        code: u32,
        argument: u64,
        writable: bool,
        forced: Option<Errno>,
        call: &mut Call,
    ) -> Result<(), Stop> {
        let mut octets = [0; abi::IOC_TABLE_SIZE];
        self.memory.read(argument, &mut octets)?;
        let mut io = IocTable::decode(&octets).ok_or(libc::EFAULT)?;
        (call.flags, call.size) = (io.flags, io.size);
        (call.anchor, call.table) = (lossy(&io.table.anchor), lossy(&io.table.name));
        if let Some(errno) = forced {
            return Err(errno.into());
        }
        self.permit(code, writable, io.flags)?;
        if usize::try_from(io.esize) != Ok(self.element_size(code)) {
            return Err(libc::ENODEV.into());
        }
        self.refuse_unknown_flags(code, io.flags)?;
        self.refuse_too_many(code, &io)?;
        self.execute(code, &mut io, call)?;
        (call.nadd, call.ndel, call.nchange) = (io.nadd, io.ndel, io.nchange);
        Ok(self.memory.write(argument, &io.encode())?)
    }

    /// The securelevel's and the descriptor's say.
    fn permit(&self, code: u32, writable: bool, flags: u32) -> Result<(), Stop> {
        use request::*;
        let dry = flags & flag::DUMMY != 0;
        let about_tables = matches!(code, DIOCRCLRTABLES | DIOCRADDTABLES | DIOCRDELTABLES | DIOCRSETTFLAGS);
        if secured(self.kernel) && about_tables && !dry {
            return Err(libc::EPERM.into());
        }
        let reads =
            matches!(code, DIOCRGETTABLES | DIOCRGETTSTATS | DIOCRGETADDRS | DIOCRGETASTATS | DIOCRTSTADDRS);
        if !writable && !reads && (code == DIOCRCLRASTATS || !dry) {
            return Err(libc::EACCES.into());
        }
        Ok(())
    }

    fn element_size(&self, code: u32) -> usize {
        use request::*;
        let os = self.kernel.os;
        match code {
            DIOCRCLRTABLES | DIOCRCLRADDRS => 0,
            DIOCRADDTABLES | DIOCRDELTABLES | DIOCRGETTABLES | DIOCRCLRTSTATS | DIOCRSETTFLAGS => {
                abi::TABLE_SIZE
            }
            DIOCRGETTSTATS => os.tstats_size(),
            DIOCRGETASTATS => os.astats_size(),
            _ => os.addr_size(),
        }
    }

    /// `ACCEPT_FLAGS`. DIOCRGETASTATS has no such check.
    fn refuse_unknown_flags(&self, code: u32, flags: u32) -> Result<(), Stop> {
        use request::*;
        let known = match code {
            DIOCRCLRTABLES => flag::DUMMY | flag::ALLRSETS,
            DIOCRGETTABLES | DIOCRGETTSTATS => flag::ALLRSETS,
            DIOCRCLRTSTATS => flag::DUMMY | flag::ADDRSTOO,
            DIOCRADDADDRS | DIOCRDELADDRS | DIOCRSETADDRS | DIOCRCLRASTATS => flag::DUMMY | flag::FEEDBACK,
            DIOCRGETADDRS => 0,
            DIOCRTSTADDRS => flag::REPLACE,
            DIOCRGETASTATS => flag::ALLMASK,
            _ => flag::DUMMY,
        };
        if flags & flag::ALLMASK & !known != 0 { Err(libc::EINVAL.into()) } else { Ok(()) }
    }

    /// FreeBSD's `net.pf.request_maxcount`; OpenBSD has none.
    fn refuse_too_many(&self, code: u32, io: &IocTable) -> Result<(), Stop> {
        use request::*;
        if self.kernel.os == Os::OpenBsd {
            return Ok(());
        }
        let (counts, errno): (&[i32], Errno) = match code {
            DIOCRSETADDRS => (&[io.size, io.size2], libc::EINVAL),
            DIOCRADDADDRS | DIOCRDELADDRS | DIOCRGETADDRS | DIOCRGETASTATS | DIOCRCLRASTATS
            | DIOCRTSTADDRS => (&[io.size], libc::EINVAL),
            DIOCRADDTABLES | DIOCRDELTABLES | DIOCRCLRTSTATS | DIOCRSETTFLAGS => (&[io.size], libc::ENOMEM),
            _ => (&[], 0),
        };
        let allowed =
            |count: &i32| u32::try_from(*count).is_ok_and(|count| count <= self.kernel.request_maxcount);
        if counts.iter().all(allowed) { Ok(()) } else { Err(errno.into()) }
    }

    fn execute(&mut self, code: u32, io: &mut IocTable, call: &mut Call) -> Result<(), Stop> {
        use request::*;
        let dry = io.flags & flag::DUMMY != 0;
        let all = io.flags & flag::ALLRSETS != 0;
        match code {
            DIOCRCLRTABLES => io.ndel = int(self.kernel.clear_tables(&fix_anchor(&io.table)?, all, dry)?),
            DIOCRADDTABLES => {
                let (tables, bad) = self.read_tables(io, tflag::USRMASK, true, call)?;
                io.nadd = int(self.kernel.add_tables(&tables, bad, dry, self.now)?);
            }
            DIOCRDELTABLES | DIOCRCLRTSTATS | DIOCRSETTFLAGS => {
                let (set, clear) = (io.size2 as u32, io.nadd as u32);
                if code == DIOCRSETTFLAGS && ((set | clear) & !tflag::USRMASK != 0 || set & clear != 0) {
                    return Err(libc::EINVAL.into());
                }
                let (tables, bad) = self.read_tables(io, 0, code != DIOCRCLRTSTATS, call)?;
                bad?;
                let tables: Vec<TableId> = tables.into_iter().map(|(id, _)| id).collect();
                if code == DIOCRDELTABLES {
                    io.ndel = int(self.kernel.delete_tables(&tables, dry));
                } else if code == DIOCRCLRTSTATS {
                    let entries_too = io.flags & flag::ADDRSTOO != 0;
                    io.nadd = int(self.kernel.clear_table_stats(&tables, entries_too, dry, self.now));
                } else {
                    let (changed, gone) = self.kernel.set_table_flags(&tables, set, clear, dry);
                    (io.nchange, io.ndel) = (int(changed), int(gone));
                }
            }
            DIOCRGETTABLES | DIOCRGETTSTATS => {
                let ids = self.kernel.tables_of(&fix_anchor(&io.table)?, all)?;
                let os = self.kernel.os;
                let stats = ids.iter().filter_map(|id| self.kernel.table_stats(id));
                let encoded: Vec<Vec<u8>> = match code {
                    DIOCRGETTABLES => stats.map(|stats| stats.table.encode()).collect(),
                    _ => stats.map(|stats| stats.encode(os)).collect(),
                };
                self.copy_out(io, encoded.len(), encoded.into_iter())?;
            }
            DIOCRCLRADDRS => {
                let id = self.kernel.validate(&io.table, 0, true)?;
                let table = self.kernel.changeable(&id)?;
                io.ndel = int(table.entries.as_slice().len());
                if !dry {
                    table.entries.clear();
                }
            }
            DIOCRGETADDRS | DIOCRGETASTATS => self.get_addrs(code, io)?,
            DIOCRTSTADDRS => self.test_addrs(io)?,
            DIOCRCLRASTATS => self.clear_addr_stats(io)?,
            DIOCRSETADDRS => self.set_addrs(io)?,
            _ => self.add_or_delete(code, io)?,
        }
        Ok(())
    }

    /// Reads the tables of the buffer up to the first that is bad.
    #[expect(clippy::type_complexity, reason = "what was read, and the error that ended it")]
    fn read_tables(
        &mut self,
        io: &IocTable,
        allowed: u32,
        user: bool,
        call: &mut Call,
    ) -> Result<(Vec<(TableId, u32)>, Result<(), Errno>), Stop> {
        let mut tables = Vec::new();
        let mut octets = [0; abi::TABLE_SIZE];
        for index in 0..usize::try_from(io.size).unwrap_or(0) {
            match self.memory.read(place(io, abi::TABLE_SIZE, index), &mut octets) {
                Ok(()) => {}
                Err(Fault::BadAddress) => return Ok((tables, Err(libc::EFAULT))),
                Err(Fault::Gone) => return Err(Stop::Gone),
            }
            let table = Table::decode(&octets).ok_or(libc::EFAULT)?;
            if index == 0 {
                (call.anchor, call.table) = (lossy(&table.anchor), lossy(&table.name));
            }
            match self.kernel.validate(&table, allowed, user) {
                Ok(id) => tables.push((id, table.flags)),
                Err(errno) => return Ok((tables, Err(errno))),
            }
        }
        Ok((tables, Ok(())))
    }

    /// Copies elements out if the buffer holds them all, and only says how many there are if it does not.
    pub(super) fn copy_out(
        &mut self,
        io: &mut IocTable,
        count: usize,
        elements: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), Stop> {
        let fits = usize::try_from(io.size).is_ok_and(|size| size >= count);
        io.size = int(count);
        if !fits {
            return Ok(());
        }
        let mut address = io.buffer;
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let chunk = elements.by_ref().take(CHUNK).collect::<Vec<_>>().concat();
            self.memory.write(address, &chunk)?;
            address = address.wrapping_add(chunk.len() as u64);
        }
        Ok(())
    }
}

pub(super) fn place(io: &IocTable, esize: usize, index: usize) -> u64 {
    io.buffer.wrapping_add(esize.wrapping_mul(index) as u64)
}

pub(super) fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn lossy(field: &[u8]) -> String {
    let text = field.split(|octet| *octet == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::abi::Addr;
    use super::*;

    /// A program's memory of some octets from address 0.
    struct Octets(Vec<u8>);

    impl Memory for Octets {
        fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), Fault> {
            let start = usize::try_from(address).map_err(|_| Fault::BadAddress)?;
            let from = self.0.get(start..).and_then(|rest| rest.get(..to.len())).ok_or(Fault::BadAddress)?;
            to.copy_from_slice(from);
            Ok(())
        }

        fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Fault> {
            let start = usize::try_from(address).map_err(|_| Fault::BadAddress)?;
            let to = self
                .0
                .get_mut(start..)
                .and_then(|rest| rest.get_mut(..from.len()))
                .ok_or(Fault::BadAddress)?;
            to.copy_from_slice(from);
            Ok(())
        }
    }

    /// A kernel with the active table `t`.
    fn kernel(os: Os) -> Kernel {
        let mut kernel = Kernel::new(os);
        kernel.add_tables(&[(TableId::new("", "t"), tflag::PERSIST)], Ok(()), false, 1).unwrap();
        kernel
    }

    /// A call on hosts 10.0.0.0 and up: `size` said, `given` really there.
    fn call(kernel: &mut Kernel, code: u32, size: i32, given: u8) -> Errno {
        let os = kernel.os;
        let io = IocTable {
            table: Table::new(b"", b"t", 0),
            buffer: abi::IOC_TABLE_SIZE as u64,
            esize: i32::try_from(os.addr_size()).unwrap(),
            size,
            size2: 0,
            nadd: 0,
            ndel: 0,
            nchange: 0,
            flags: 0,
            ticket: 0,
        };
        let mut octets = io.encode();
        for host in 0..given {
            let mut addr = Addr { af: abi::AF_INET, net: 32, ..Addr::default() };
            addr.addr[..4].copy_from_slice(&[10, 0, 0, host]);
            octets.extend(addr.encode(os));
        }
        match ioctl(kernel, code, 0, true, &mut Octets(octets), 1, None).1 {
            Outcome::Return(errno) => errno,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_buffer_that_ends_early_is_efault_and_changes_nothing() {
        for os in [Os::OpenBsd, Os::FreeBsd] {
            let mut kernel = kernel(os);
            assert_eq!(call(&mut kernel, request::DIOCRSETADDRS, 3, 3), 0);
            for code in [request::DIOCRSETADDRS, request::DIOCRADDADDRS, request::DIOCRDELADDRS] {
                assert_eq!(call(&mut kernel, code, 9, 8), libc::EFAULT);
                assert_eq!(kernel.table(&TableId::new("", "t")).unwrap().entries.as_slice().len(), 3);
            }
        }
    }

    #[test]
    fn an_error_met_first_is_the_one_returned() {
        let mut kernel = kernel(Os::OpenBsd);
        kernel.set_limit(4, 2, 0).unwrap();
        // The third of three readable elements exceeds the limit before the fourth cannot be read.
        assert_eq!(call(&mut kernel, request::DIOCRSETADDRS, 4, 3), libc::ENOMEM);
        assert_eq!(call(&mut kernel, request::DIOCRSETADDRS, 4, 2), libc::EFAULT);
    }

    #[test]
    fn openbsds_limit_binds_only_once_it_was_set() {
        let mut kernel = kernel(Os::OpenBsd);
        kernel.set_limit(3, 1000, 0).unwrap();
        assert_eq!(kernel.limit(4), Ok(200_000));
        assert_eq!(kernel.room(0), usize::MAX);
        kernel.set_limit(4, 5, 0).unwrap();
        assert_eq!(kernel.room(0), 5);
    }

    #[test]
    fn other_requests_and_addresses_outside_memory_are_refused() {
        let mut kernel = kernel(Os::OpenBsd);
        let mut outcome = |code, argument, writable| {
            ioctl(&mut kernel, code, argument, writable, &mut Octets(vec![0; 2000]), 1, None).1
        };
        assert_eq!(outcome(0xc014_4451, 0, true), Outcome::Return(libc::ENODEV));
        assert_eq!(outcome(0xc014_4451, 0, false), Outcome::Return(libc::EACCES));
        assert_eq!(outcome(request::DIOCRSETADDRS, 1999, true), Outcome::Return(libc::EFAULT));
        assert_eq!(outcome(request::DIOCGETLIMIT, u64::MAX, true), Outcome::Return(libc::EFAULT));
    }
}
