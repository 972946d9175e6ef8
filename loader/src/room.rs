//! Whether pf has room for a table, before it is asked for it.

use common::Error;

use crate::abi::Abi;
use crate::contents::Contents;
use crate::pf::Device;

/// What has to be asked of the system before the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `table-entries`: the most addresses that all tables of all anchors may hold together.
    pub entries: u64,
    /// FreeBSD's sysctl `net.pf.request_maxcount`: the most addresses in one call.
    pub list: Option<u64>,
}

impl Limits {
    /// Asks for them.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn of<A: Abi>(device: &Device<A>) -> Result<Limits, Error> {
        Ok(Limits { entries: u64::from(device.entry_limit()?), list: request_maxcount() })
    }
}

/// The addresses in pf.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// In all tables, before the swap.
    pub total: u64,
    /// In this table, before the swap.
    pub table: u64,
    /// What the swap adds to it, at most.
    pub added: u64,
    /// In this table, after the swap.
    pub wanted: u64,
}

impl Use {
    /// In all tables at the worst moment of the swap.
    fn during(self) -> u64 {
        self.total.saturating_add(self.added)
    }

    /// In all tables, after the swap.
    pub fn after(self) -> u64 {
        self.total.saturating_sub(self.table).saturating_add(self.wanted)
    }
}

/// The number of entries that are not in the old contents.
pub fn additions(new: &Contents, old: &Contents) -> u64 {
    let mut old_entries = old.iter().peekable();
    // Both come in the same order: prefixes before exceptions, each ascending.
    let key = |(net, exception)| (exception, net);
    new.iter().fold(0u64, |added, entry| {
        while old_entries.next_if(|old| key(*old) < key(entry)).is_some() {}
        if old_entries.next_if_eq(&entry).is_some() { added } else { added.saturating_add(1) }
    })
}

/// Why the kernel would refuse a swap: it makes what is added before it frees what is not needed
/// any more. `None` if there is room.
pub fn refusal(limits: Limits, use_of: Use) -> Option<String> {
    if let Some(most) = limits.list.filter(|most| use_of.wanted > *most) {
        let wanted = use_of.wanted;
        return Some(format!(
            "a list of {wanted} addresses, and the kernel takes no more than {most} at once; \
             set the sysctl net.pf.request_maxcount to {}",
            rounded(wanted)
        ));
    }
    // What only takes addresses away needs no room, even if the limit is lower by now.
    (use_of.added > 0 && use_of.during() > limits.entries).then(|| full(limits, use_of))
}

/// That there is no room.
pub fn full(limits: Limits, use_of: Use) -> String {
    let Use { total, added, .. } = use_of;
    let advice = advice(limits, use_of.after().saturating_mul(2).max(use_of.during()));
    format!("no room for {added} more addresses beside the {total} in all tables: {advice}")
}

/// What the next `pfctl -f` would run into with so many addresses in all tables: it holds the old
/// and the new ones side by side.
pub fn warning(limits: Limits, total: u64) -> Option<String> {
    let twice = total.saturating_mul(2);
    (twice > limits.entries).then(|| {
        let advice = advice(limits, twice);
        format!("no room for loading pf.conf again, which takes all addresses twice: {advice}")
    })
}

fn advice(limits: Limits, needed: u64) -> String {
    format!(
        "the limit is {}; put \"set limit table-entries {}\" above the tables in /etc/pf.conf and run \
         pfctl -f /etc/pf.conf",
        limits.entries,
        rounded(needed.max(limits.entries.saturating_add(1)))
    )
}

/// Up to the next 100,000, but no more than pf.conf(5) takes.
fn rounded(number: u64) -> u64 {
    number.div_ceil(100_000).saturating_mul(100_000).min(u32::MAX.into())
}

/// Reads the sysctl.
#[cfg(target_os = "freebsd")]
#[allow(unsafe_code)]
fn request_maxcount() -> Option<u64> {
    let mut count: std::ffi::c_int = 0;
    let mut length = size_of_val(&count);
    let name = c"net.pf.request_maxcount".as_ptr();
    // SAFETY: the name is NUL-terminated; the kernel writes at most `length` octets into `count`.
    let read = unsafe {
        libc::sysctlbyname(name, std::ptr::from_mut(&mut count).cast(), &mut length, std::ptr::null(), 0)
    };
    if read == 0 { u64::try_from(count).ok() } else { None }
}

/// Only FreeBSD has such a limit.
#[cfg(not(target_os = "freebsd"))]
fn request_maxcount() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(text: &str) -> Contents {
        crate::contents::read(text.replace(' ', "\n").as_bytes()).unwrap()
    }

    #[test]
    fn additions_are_counted_exactly() {
        let old = contents("10.0.0.0/8 192.0.2.1 2001:db8::1 !10.1.0.0/16 ");
        for (new, added) in [
            ("", 0),
            ("10.0.0.0/8 192.0.2.1 2001:db8::1 !10.1.0.0/16 ", 0),
            ("10.0.0.0/9 192.0.2.1 192.0.2.2 ", 2),
            ("10.0.0.0/8 10.1.0.0/16 ", 1),
            ("9.0.0.0/8 2001:db8::1 2001:db8::2 !10.1.0.0/16 !10.2.0.0/16 ", 3),
        ] {
            // The second last has 10.1/16 inside 10/8, which no canonical list has: read refuses it.
            if let Ok(new) = crate::contents::read(new.replace(' ', "\n").as_bytes()) {
                assert_eq!(additions(&new, &old), added, "{new:?}");
            }
        }
    }

    #[test]
    fn the_numbers_and_the_line_are_in_the_message() {
        let limits = Limits { entries: 200_000, list: None };
        let room = Use { total: 150_000, table: 100_000, added: 50_000, wanted: 150_000 };
        assert_eq!(refusal(limits, room), None);
        assert_eq!(
            refusal(Limits { entries: 1000, ..limits }, Use { added: 0, ..room }),
            None,
            "nothing is added"
        );
        let full = Use { added: 50_001, ..room };
        assert_eq!(
            refusal(limits, full).unwrap(),
            "no room for 50001 more addresses beside the 150000 in all tables: the limit is 200000; put \
             \"set limit table-entries 400000\" above the tables in /etc/pf.conf and run pfctl -f /etc/pf.conf"
        );
        assert_eq!(room.after(), 200_000);
        assert!(warning(limits, 100_001).unwrap().starts_with("no room for loading pf.conf again"));
        assert_eq!(warning(limits, 100_000), None);
        let freebsd = Limits { list: Some(65_535), ..limits };
        assert!(
            refusal(freebsd, room).unwrap().ends_with("set the sysctl net.pf.request_maxcount to 200000")
        );
    }

    /// The number that a message advises.
    fn advised(message: &str) -> u64 {
        let digits = message.rsplit("table-entries ").next().unwrap().split('"').next().unwrap();
        digits.parse().unwrap()
    }

    proptest! {
        /// With what is advised there is room for the swap and for loading the ruleset again.
        #[test]
        fn what_is_advised_is_enough(
            entries in prop_oneof![0u64..1_000_000, Just(u64::from(u32::MAX))], total in 0u64..1_000_000,
            table in 0u64..1_000_000, kept in 0u64..1_000_000, wanted in 0u64..1_000_000,
        ) {
            let table = table.min(total);
            let use_of = Use { total, table, added: wanted - kept.min(table).min(wanted), wanted };
            let limits = Limits { entries, list: None };
            prop_assert_eq!(refusal(limits, use_of).is_some(), use_of.added > 0 && total + use_of.added > entries);
            if let Some(message) = refusal(limits, use_of) {
                let better = Limits { entries: advised(&message), list: None };
                prop_assert!(better.entries > entries && better.entries.is_multiple_of(100_000));
                prop_assert_eq!(refusal(better, use_of), None, "{}", message);
                prop_assert_eq!(warning(better, use_of.after()), None, "{}", message);
            }
        }

        #[test]
        fn no_numbers_are_too_large(entries: u32, total: u64, table: u64, added: u64, wanted: u64, list: Option<u64>) {
            let limits = Limits { entries: entries.into(), list };
            let use_of = Use { total, table, added, wanted };
            prop_assert!(advised(&full(limits, use_of)) <= u32::MAX.into());
            let (refused, _) = (refusal(limits, use_of), warning(limits, use_of.after()));
            let fits = added == 0 || total.saturating_add(added) <= entries.into();
            prop_assert_eq!(refused.is_none(), list.is_none_or(|most| wanted <= most) && fits);
        }

        #[test]
        fn additions_agree_with_a_set(old in proptest::collection::btree_set(0u8..64, 0..40), new in proptest::collection::btree_set(0u8..64, 0..40)) {
            let text = |hosts: &std::collections::BTreeSet<u8>| hosts.iter().map(|host| format!("192.0.2.{host}\n")).collect::<String>();
            let of = |hosts| crate::contents::read(text(hosts).as_bytes()).unwrap();
            prop_assert_eq!(additions(&of(&new), &of(&old)), new.difference(&old).count() as u64);
        }
    }
}
