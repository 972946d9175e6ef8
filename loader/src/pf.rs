//! Talking to pf(4) through /dev/pf.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_ulong};
use std::fs::{File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use common::Error;
use common::error::reason;
use nix::errno::Errno;

use crate::abi::{
    Abi, DIOCGETLIMIT, DIOCRADDTABLES, DIOCRGETTSTATS, DIOCRSETADDRS, PFR_FLAG_ALLRSETS, PFR_FLAG_DUMMY,
    PFR_TFLAG_ACTIVE, PFR_TFLAG_PERSIST, PfiocLimit, PfiocTable, PfrTable, TableStats,
};

/// The device.
const DEVICE: &str = "/dev/pf";

/// Most tables that are read from an anchor; OpenBSD's kernel holds no more than 1000 in all.
const MAX_TABLES: usize = 100_000;

/// The open device, and the anchor that the tables are in.
pub struct Device<A: Abi> {
    file: File,
    anchor: String,
    abi: PhantomData<A>,
}

/// What a swap did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Addresses that were not in the table.
    pub added: u64,
    /// Addresses that are no longer in it.
    pub deleted: u64,
    /// Addresses that changed between plain and negated.
    pub changed: u64,
}

/// Why the kernel refused a call, with what to do where that is not plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub Errno);

impl<A: Abi> Device<A> {
    /// Opens the device for changing tables, or for looking at them only.
    ///
    /// # Errors
    /// It is not there, or the caller may not open it.
    pub fn open(anchor: &str, change: bool) -> Result<Device<A>, Error> {
        let file = OpenOptions::new().read(true).write(change).open(DEVICE).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::NotFound => "; this system has no pf",
                io::ErrorKind::PermissionDenied if change => "; run as root",
                io::ErrorKind::PermissionDenied => {
                    "; reading it is enough, but that takes root too, or a changed mode"
                }
                _ => "",
            };
            Error::new(DEVICE, format!("{}{advice}", reason(&error)))
        })?;
        Ok(Device { file, anchor: anchor.to_owned(), abi: PhantomData })
    }

    /// The limit `table-entries`: the most addresses that all tables together may hold. Not
    /// possible under pledge.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn entry_limit(&self) -> Result<u32, Error> {
        let mut limit = PfiocLimit { index: A::TABLE_ENTRIES, limit: 0 };
        // SAFETY: DIOCGETLIMIT takes a pfioc_limit and writes into it alone.
        unsafe { self.ioctl(DIOCGETLIMIT, &mut limit) }
            .map_err(|refusal| Error::new(DEVICE, refusal.0.desc()))?;
        Ok(limit.limit)
    }

    /// The tables of the anchor.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn tables(&self) -> Result<Vec<TableStats>, Error> {
        self.list(0)
    }

    /// One table of the anchor; `None` if it was not made yet, though a rule may name it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn table(&self, name: &str) -> Result<Option<TableStats>, Error> {
        let made = |table: &TableStats| table.name == name.as_bytes() && table.flags & PFR_TFLAG_ACTIVE != 0;
        Ok(self.tables()?.into_iter().find(made))
    }

    /// The number of addresses in all tables of all anchors: what the limit is for.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn total(&self) -> Result<u64, Error> {
        Ok(self.list(PFR_FLAG_ALLRSETS)?.iter().fold(0, |total, table| table.count.saturating_add(total)))
    }

    fn list(&self, flags: c_int) -> Result<Vec<TableStats>, Error> {
        let named = |cause: &str| Error::new(DEVICE, format!("cannot list tables: {cause}"));
        let mut room = 64;
        while room <= MAX_TABLES {
            let mut elements = vec![A::NO_STATS; room];
            let mut request = self.request("", flags, &mut elements).ok_or_else(|| named("too many"))?;
            // SAFETY: the request's buffer holds as many elements as it says; the kernel writes no more.
            match unsafe { self.ioctl(DIOCRGETTSTATS, &mut request) } {
                Ok(()) => {}
                // An anchor comes to be with its first table or rule.
                Err(Refusal(Errno::ENOENT)) => return Ok(Vec::new()),
                Err(refusal) => return Err(named(&refusal.advice())),
            }
            // The kernel fills the buffer only if it is large enough, and always says what it needs.
            let need = usize::try_from(request.size).unwrap_or(0);
            if let Some(filled) = elements.get(..need) {
                return Ok(filled.iter().map(A::stats).collect());
            }
            room = need.saturating_add(16);
        }
        Err(named("too many"))
    }

    /// Makes a table that stays without rules. One that is there already is left as it is.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_table(&self, name: &str) -> Result<(), Refusal> {
        let mut tables =
            [PfrTable::new(&self.anchor, name, PFR_TFLAG_PERSIST).ok_or(Refusal(Errno::EINVAL))?];
        let mut request = self.request("", 0, &mut tables).ok_or(Refusal(Errno::EINVAL))?;
        // SAFETY: the request's buffer holds as many elements as it says.
        unsafe { self.ioctl(DIOCRADDTABLES, &mut request) }
    }

    /// Makes the addresses the table's only content, all or nothing, or counts what that would
    /// change. Addresses that stay keep their counters.
    ///
    /// # Errors
    /// The kernel's refusal: the table is as it was.
    pub fn set_addresses(
        &self,
        name: &str,
        addresses: &mut [A::Addr],
        dry_run: bool,
    ) -> Result<Changes, Refusal> {
        let flags = if dry_run { PFR_FLAG_DUMMY } else { 0 };
        let mut request = self.request(name, flags, addresses).ok_or(Refusal(Errno::EINVAL))?;
        // SAFETY: the request's buffer holds as many elements as it says. With pfrio_size2 0 and no
        // feedback asked for, the kernel only reads them.
        unsafe { self.ioctl(DIOCRSETADDRS, &mut request) }?;
        let count = |number: c_int| u64::try_from(number).unwrap_or(0);
        Ok(Changes {
            added: count(request.nadd),
            deleted: count(request.ndel),
            changed: count(request.nchange),
        })
    }

    fn request<T>(&self, name: &str, flags: c_int, elements: &mut [T]) -> Option<PfiocTable> {
        Some(PfiocTable {
            table: PfrTable::new(&self.anchor, name, 0)?,
            buffer: elements.as_mut_ptr().cast(),
            esize: c_int::try_from(size_of::<T>()).ok()?,
            size: c_int::try_from(elements.len()).ok()?,
            size2: 0,
            nadd: 0,
            ndel: 0,
            nchange: 0,
            flags,
            ticket: 0,
        })
    }

    /// # Safety
    /// `argument` must be of the type that `call` takes, and what it points to must be as large
    /// as it says.
    unsafe fn ioctl<T>(&self, call: c_ulong, argument: &mut T) -> Result<(), Refusal> {
        // SAFETY: the descriptor is open for as long as self; the rest is the caller's promise.
        // The type of the second parameter differs between C libraries.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), call as _, std::ptr::from_mut(argument)) };
        if result == -1 { Err(Refusal(Errno::last())) } else { Ok(()) }
    }
}

impl Refusal {
    /// The cause in words, and what to do about it.
    pub fn advice(self) -> String {
        match self.0 {
            Errno::ENODEV => "the kernel's tables have another layout than this program was built for; \
                install the tspf that was built for this release"
                .to_owned(),
            Errno::ESRCH => {
                "no such table; is pf's ruleset being reloaded? the next run tries again".to_owned()
            }
            Errno::EPERM => {
                "the kernel does not permit it: the table is const in pf.conf, or the securelevel is \
                above 1 and the table must be in pf.conf already"
                    .to_owned()
            }
            Errno::EACCES => "/dev/pf was opened for reading only".to_owned(),
            other => other.desc().to_owned(),
        }
    }
}
