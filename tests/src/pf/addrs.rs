//! The calls that read and change a table's addresses: `pfr_set_addrs` and its kin.
#![forbid(unsafe_code)]

use super::abi::{Addr, IocTable, Os, fback, flag, request, tflag};
use super::entries::{Plan, Wanted};
use super::ioctl::{CHUNK, Exchange, Fault, Stop, int, place};
use super::kernel::{Errno, TableId};

/// What was read of a buffer, and the error that ended it.
type Read = (Vec<Wanted>, Result<(), Errno>);

impl Exchange<'_> {
    pub(super) fn get_addrs(&mut self, code: u32, io: &mut IocTable) -> Result<(), Stop> {
        let id = self.kernel.validate(&io.table, 0, false)?;
        let os = self.kernel.os;
        let table = self.kernel.active(&id)?;
        let counts = table.flags & tflag::COUNTERS != 0;
        let entries = table.entries.as_slice().to_vec();
        if code == request::DIOCRGETADDRS {
            return self.copy_out(
                io,
                entries.len(),
                entries.iter().map(|entry| entry.to_addr(os).encode(os)),
            );
        }
        self.copy_out(io, entries.len(), entries.iter().map(|entry| entry.to_stats(os, counts).encode(os)))?;
        if io.flags & flag::CLSTATS != 0 {
            let now = self.now;
            self.kernel.active(&id)?.entries.iter_mut().for_each(|entry| entry.clear_counters(now));
        }
        Ok(())
    }

    /// Reads the addresses of the buffer up to the first that is bad.
    fn read_addrs(&mut self, io: &IocTable) -> Result<Read, Stop> {
        let os = self.kernel.os;
        let esize = os.addr_size();
        let size = usize::try_from(io.size).unwrap_or(0);
        // FreeBSD copies the whole buffer in before it looks at it.
        let copied = if os == Os::FreeBsd { size.max(usize::try_from(io.size2).unwrap_or(0)) } else { size };
        let mut wanted = Vec::new();
        let mut chunk = vec![0; CHUNK * esize];
        let mut index = 0;
        let mut verdict = Ok(());
        while index < copied {
            let mut count = CHUNK.min(copied - index);
            let octets = chunk.get_mut(..count * esize).unwrap_or_default();
            match self.memory.read(place(io, esize, index), octets) {
                Ok(()) => {}
                Err(Fault::Gone) => return Err(Stop::Gone),
                // Up to the first that cannot be read, one by one.
                Err(Fault::BadAddress) => {
                    let memory = &mut *self.memory;
                    let mut places = octets.chunks_mut(esize).enumerate();
                    let bad =
                        places.position(|(at, to)| memory.read(place(io, esize, index + at), to).is_err());
                    count = bad.unwrap_or(count);
                }
            }
            let octets = chunk.get(..count * esize).unwrap_or_default();
            for octets in octets.chunks(esize).take(size.saturating_sub(index)) {
                let raw = Addr::decode(os, octets).ok_or(libc::EFAULT)?;
                let place = u32::try_from(wanted.len()).map_err(|_| libc::ENOMEM)?;
                match Wanted::check(os, &raw, place) {
                    Some(element) if verdict.is_ok() => wanted.push(element),
                    Some(_) => {}
                    None => verdict = verdict.and(Err(libc::EINVAL)),
                }
            }
            if count < CHUNK.min(copied - index) {
                let fault =
                    if os == Os::FreeBsd { Err(libc::EFAULT) } else { verdict.and(Err(libc::EFAULT)) };
                return Ok((wanted, fault));
            }
            if os == Os::OpenBsd && verdict.is_err() {
                break;
            }
            index += count;
        }
        Ok((wanted, verdict))
    }

    /// Copies the elements of the buffer out again with the kernel's word on each.
    fn write_feedback(&mut self, io: &IocTable, fates: &[u8]) -> Result<(), Stop> {
        let os = self.kernel.os;
        let esize = os.addr_size();
        for (number, fates) in fates.chunks(CHUNK).enumerate() {
            let address = place(io, esize, number * CHUNK);
            let mut chunk = vec![0; fates.len() * esize];
            self.memory.read(address, &mut chunk)?;
            for (octets, fate) in chunk.chunks_mut(esize).zip(fates) {
                let mut raw = Addr::decode(os, octets).ok_or(libc::EFAULT)?;
                raw.fback = *fate;
                if os == Os::OpenBsd && *fate == fback::ADDED {
                    raw.weight = raw.weight.max(1);
                }
                raw.encode_into(os, octets);
            }
            self.memory.write(address, &chunk)?;
        }
        Ok(())
    }

    pub(super) fn set_addrs(&mut self, io: &mut IocTable) -> Result<(), Stop> {
        let early = self.freebsd_copies_first(io)?;
        let id = self.kernel.validate(&io.table, 0, true)?;
        self.kernel.changeable(&id)?;
        self.kernel.spare_table()?;
        let (mut wanted, bad) = match early {
            Some(early) => early,
            None => self.read_addrs(io)?,
        };
        let plan = self.kernel.changeable(&id)?.entries.plan_set(&mut wanted);
        if plan.added_plain.len() > self.kernel.room(0) {
            return Err(libc::ENOMEM.into());
        }
        bad?;
        let feedback = io.flags & flag::FEEDBACK != 0;
        let needed = io.size.wrapping_add(int(plan.deleted));
        if feedback && io.size2 != 0 {
            if io.size2 < needed {
                io.size2 = needed;
                return Ok(());
            }
            self.write_deleted(io, &id, &wanted)?;
        }
        if feedback {
            self.write_feedback(io, &plan.fates)?;
            io.size2 = needed;
        }
        if io.flags & flag::DUMMY == 0 {
            self.kernel.apply(&id, wanted, &plan, true, self.now);
        }
        (io.nadd, io.ndel, io.nchange) = (int(plan.added), int(plan.deleted), int(plan.changed));
        Ok(())
    }

    /// On FreeBSD a buffer that cannot be read is EFAULT before anything else is looked at.
    fn freebsd_copies_first(&mut self, io: &IocTable) -> Result<Option<Read>, Stop> {
        if self.kernel.os == Os::OpenBsd {
            return Ok(None);
        }
        match self.read_addrs(io)? {
            (_, Err(libc::EFAULT)) => Err(libc::EFAULT.into()),
            read => Ok(Some(read)),
        }
    }

    fn write_deleted(&mut self, io: &IocTable, id: &TableId, wanted: &[Wanted]) -> Result<(), Stop> {
        let os = self.kernel.os;
        let mut address = place(io, os.addr_size(), usize::try_from(io.size).unwrap_or(0));
        let Some(table) = self.kernel.table(id) else { return Ok(()) };
        for entry in table.entries.missing_from(wanted) {
            let octets = Addr { fback: fback::DELETED, ..entry.to_addr(os) }.encode(os);
            self.memory.write(address, &octets)?;
            address = address.wrapping_add(octets.len() as u64);
        }
        Ok(())
    }

    pub(super) fn add_or_delete(&mut self, code: u32, io: &mut IocTable) -> Result<(), Stop> {
        let adds = code == request::DIOCRADDADDRS;
        let early = self.freebsd_copies_first(io)?;
        let id = self.kernel.validate(&io.table, 0, true)?;
        // OpenBSD's DIOCRADDADDRS looks at the table only after the addresses.
        let table_last = adds && self.kernel.os == Os::OpenBsd;
        if table_last {
            self.kernel.spare_table()?;
        } else {
            self.kernel.changeable(&id)?;
        }
        let (mut wanted, bad) = match early {
            Some(early) => early,
            None => self.read_addrs(io)?,
        };
        if table_last && wanted.iter().filter(|element| element.kind == 0).count() > self.kernel.room(0) {
            return Err(Stop::Sleep);
        }
        if table_last {
            bad?;
        }
        let entries = &self.kernel.changeable(&id)?.entries;
        let plan: Plan = if adds { entries.plan_add(&mut wanted) } else { entries.plan_delete(&mut wanted) };
        if !table_last && plan.added_plain.len() > self.kernel.room(0) {
            return Err(libc::ENOMEM.into());
        }
        bad?;
        if io.flags & flag::FEEDBACK != 0 {
            self.write_feedback(io, &plan.fates)?;
        }
        if io.flags & flag::DUMMY == 0 {
            self.kernel.apply(&id, wanted, &plan, false, self.now);
        }
        if adds {
            io.nadd = int(plan.added);
        } else {
            io.ndel = int(plan.deleted);
        }
        Ok(())
    }

    pub(super) fn test_addrs(&mut self, io: &mut IocTable) -> Result<(), Stop> {
        let os = self.kernel.os;
        let id = self.kernel.validate(&io.table, 0, false)?;
        self.kernel.active(&id)?;
        let (wanted, bad) = self.read_addrs(io)?;
        let mut answers = Vec::new();
        for element in &wanted {
            if element.prefix.length() < element.prefix.max_len() {
                return Err(libc::EINVAL.into());
            }
            answers.push(self.kernel.active(&id)?.entries.longest_match(element.prefix.addr()).cloned());
        }
        bad?;
        let fates: Vec<u8> = answers
            .iter()
            .map(|answer| match answer {
                None => fback::NONE,
                Some(entry) if entry.negated => fback::NOTMATCH,
                Some(_) => fback::MATCH,
            })
            .collect();
        self.write_feedback(io, &fates)?;
        if io.flags & flag::REPLACE != 0 {
            for (index, (answer, fate)) in answers.iter().zip(&fates).enumerate() {
                let addr = answer.as_ref().map_or_else(Addr::default, |entry| entry.to_addr(os));
                let octets = Addr { fback: *fate, ..addr }.encode(os);
                self.memory.write(place(io, os.addr_size(), index), &octets)?;
            }
        }
        io.nadd = int(fates.iter().filter(|fate| **fate == fback::MATCH).count());
        Ok(())
    }

    pub(super) fn clear_addr_stats(&mut self, io: &mut IocTable) -> Result<(), Stop> {
        let id = self.kernel.validate(&io.table, 0, false)?;
        self.kernel.active(&id)?;
        let (wanted, bad) = self.read_addrs(io)?;
        bad?;
        let now = self.now;
        let table = self.kernel.active(&id)?;
        let mut fates = Vec::new();
        for element in &wanted {
            let entry = table.entries.get_mut(&element.prefix);
            fates.push(if entry.is_some() { fback::CLEARED } else { fback::NONE });
            if let Some(entry) = entry.filter(|_| io.flags & flag::DUMMY == 0) {
                entry.clear_counters(now);
            }
        }
        io.nadd = int(fates.iter().filter(|fate| **fate == fback::CLEARED).count());
        if io.flags & flag::FEEDBACK != 0 {
            self.write_feedback(io, &fates)?;
        }
        Ok(())
    }
}
