//! What a policy server serves: names and their records, and the answer to a question about them.

use super::apl::AplItem;
use super::tsig::Key;
use super::wire::{
    Data, HEADER, MAX_MESSAGE, Message, NOERROR, NXDOMAIN, Question, RECORD, REFUSED, SOA, Section, Style,
    canonical, name_size,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How many items an APL record holds if nothing else is said: what NSD accepts.
const ITEMS_PER_RECORD: usize = 64;

/// The records that are served, by name. Names are taken with or without final dot, in upper or lower case.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How answers are written.
    pub style: Style,
    /// How many items `put_apl` and `put_parts` give each APL record, at least 1.
    pub items_per_record: usize,
    /// How many records a message of a zone transfer holds, at least 1; less where they do not fit.
    pub transfer_records: usize,
    /// The key with which queries must be signed, and answers are.
    pub key: Option<Key>,
    records: BTreeMap<String, Vec<Data>>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            style: Style::default(),
            items_per_record: ITEMS_PER_RECORD,
            transfer_records: usize::MAX,
            key: None,
            records: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// A policy in which no name exists.
    pub fn new() -> Self {
        Self::default()
    }

    /// The policy with this key.
    #[must_use]
    pub fn with_key(self, key: Option<Key>) -> Self {
        Policy { key, ..self }
    }

    /// Adds one record.
    ///
    /// # Panics
    /// If a label is empty or longer than 63 octets, or a name or a character-string longer than 255.
    pub fn put(&mut self, name: &str, data: Data) {
        check_name(name);
        match &data {
            Data::Ptr(target) => check_name(target),
            Data::Txt(strings) => {
                assert!(strings.iter().all(|string| string.len() <= 255), "{name}: a long string")
            }
            _ => {}
        }
        self.records.entry(canonical(name)).or_default().push(data);
    }

    /// Makes a name the start of a zone with this serial number, in place of the number it had. Negative answers
    /// below it then carry its SOA record.
    pub fn put_zone(&mut self, zone: &str, serial: u32) {
        if let Some(records) = self.records.get_mut(&canonical(zone)) {
            records.retain(|data| data.rtype() != SOA);
        }
        self.put(zone, Data::Soa(serial));
    }

    /// Adds APL records that hold these items in this order; one empty record for none.
    pub fn put_apl(&mut self, name: &str, items: &[AplItem]) {
        if items.is_empty() {
            self.put(name, Data::Apl(Vec::new()));
        }
        for chunk in items.chunks(self.items_per_record.max(1)) {
            self.put(name, Data::Apl(chunk.to_vec()));
        }
    }

    /// Adds a list in parts: a PTR record for each part's name at the list's, APL records at each part's.
    pub fn put_ptr(&mut self, list: &str, parts: &[(String, Vec<AplItem>)]) {
        for (part, items) in parts {
            self.put(list, Data::Ptr(part.clone()));
            self.put_apl(part, items);
        }
    }

    /// Splits items into parts named p0, p1, … below the list's name, so that each fits one message and holds at most
    /// `most` items, and adds them as `put_ptr` does. Gives the number of parts, at least 1. Their names fit one message
    /// up to some 3,000 parts.
    pub fn put_parts(&mut self, list: &str, items: &[AplItem], most: usize) -> usize {
        let parts: Vec<_> = split(list, items, self.items_per_record.max(1), most.max(1))
            .into_iter()
            .enumerate()
            .map(|(number, part)| (format!("p{number}.{list}"), part.to_vec()))
            .collect();
        self.put_ptr(list, &parts);
        parts.len()
    }

    /// Adds a TXT record for each slice of strings.
    pub fn put_txt(&mut self, name: &str, records: &[&[&str]]) {
        for strings in records {
            self.put(name, Data::Txt(strings.iter().map(|&string| string.to_owned()).collect()));
        }
    }

    /// Adds an A or AAAA record for each address.
    pub fn put_addresses(&mut self, name: &str, addresses: &[IpAddr]) {
        for address in addresses {
            self.put(
                name,
                match address {
                    IpAddr::V4(address) => Data::A(*address),
                    IpAddr::V6(address) => Data::Aaaa(*address),
                },
            );
        }
    }

    /// Removes a name with all its records: a list whose part is missing.
    pub fn remove(&mut self, name: &str) {
        self.records.remove(&canonical(name));
    }

    /// The answer to a question, as a message: the records; else NODATA if the name exists or names below it do,
    /// NXDOMAIN if not, with the zone's SOA as authority if there is one. If the records are too many for one
    /// message, those that fit and the TC bit.
    pub fn answer(&self, question: &Question) -> Vec<u8> {
        let name = question.name.as_str();
        let found = self.records.get(name);
        let rcode = if found.is_some() || self.has_below(name) { NOERROR } else { NXDOMAIN };
        let mut message = Message::answer(question, rcode, self.style);
        let mut answers =
            found.into_iter().flatten().filter(|data| data.rtype() == question.rtype).peekable();
        if answers.peek().is_some() {
            if !answers.all(|data| message.push(Section::Answer, name, data)) {
                message.truncated();
            }
        } else if let Some((zone, soa)) = self.zone_of(name) {
            message.push(Section::Authority, zone, soa);
        }
        message.finish()
    }

    /// The messages of a zone transfer (RFC 5936): the zone's SOA, all other records at its name and below, the SOA
    /// again. REFUSED if the name is no zone's.
    pub fn transfer(&self, question: &Question) -> Vec<Vec<u8>> {
        let zone = question.name.as_str();
        let Some(soa) = self.zone_of(zone).filter(|(name, _)| *name == zone).map(|(_, soa)| soa) else {
            return vec![Message::answer(question, REFUSED, self.style).finish()];
        };
        let inside =
            |name: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let names = self.records.iter().filter(|(name, _)| inside(name));
        let records = names.flat_map(|(name, records)| records.iter().map(move |data| (name.as_str(), data)));
        let records = records.filter(|(_, data)| data.rtype() != SOA);
        let start = || Message::answer(question, NOERROR, self.style);
        let (mut messages, mut message, mut count) = (Vec::new(), start(), 0);
        for (name, data) in [(zone, soa)].into_iter().chain(records).chain([(zone, soa)]) {
            if count == self.transfer_records.max(1) || !message.push(Section::Answer, name, data) {
                messages.push(std::mem::replace(&mut message, start()).finish());
                assert!(
                    message.push(Section::Answer, name, data),
                    "{name}: a record too large for a message"
                );
                count = 0;
            }
            count += 1;
        }
        messages.push(message.finish());
        messages
    }

    fn has_below(&self, name: &str) -> bool {
        self.records
            .keys()
            .any(|other| other.strip_suffix(name).is_some_and(|rest| name.is_empty() || rest.ends_with('.')))
    }

    /// The nearest zone that holds a name, and its SOA.
    fn zone_of<'a>(&'a self, name: &'a str) -> Option<(&'a str, &'a Data)> {
        let mut zone = name;
        loop {
            let soa =
                self.records.get(zone).and_then(|records| records.iter().find(|data| data.rtype() == SOA));
            if let Some(soa) = soa {
                return Some((zone, soa));
            }
            if zone.is_empty() {
                return None;
            }
            zone = zone.split_once('.').map_or("", |(_, parent)| parent);
        }
    }
}

fn check_name(name: &str) {
    let name = canonical(name);
    assert!(
        name.is_empty() || name.split('.').all(|label| (1..=63).contains(&label.len())),
        "{name}: a bad label"
    );
    assert!(name_size(&name) <= 255, "{name}: too long");
}

/// Cuts items into runs whose APL records fit one message even with full names and all address octets.
fn split<'a>(list: &str, items: &'a [AplItem], per_record: usize, most: usize) -> Vec<&'a [AplItem]> {
    // Part names grow with their number; 10 digits are more than memory holds.
    let name = name_size(&canonical(list)) + 12;
    let empty = HEADER + name + 4;
    let mut parts = Vec::new();
    let (mut start, mut size) = (0, empty);
    for (at, item) in items.iter().enumerate() {
        let mut cost = item.full_size();
        if (at - start) % per_record == 0 {
            cost += name + RECORD;
        }
        if size + cost > MAX_MESSAGE || at - start == most {
            parts.push(&items[start..at]);
            start = at;
            size = empty;
            cost = item.full_size() + name + RECORD;
        }
        size += cost;
    }
    parts.push(&items[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_server::wire::{A, AAAA, APL, PTR, TXT};

    fn question(name: &str, rtype: u16) -> Question {
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.push(0);
        query.extend(rtype.to_be_bytes());
        query.extend([0, 1]);
        Question::parse(&query).unwrap()
    }

    /// RCODE, TC, and the counts of answers and of authority records.
    fn outline(policy: &Policy, name: &str, rtype: u16) -> (u8, bool, u16, u16) {
        let message = policy.answer(&question(name, rtype));
        let count = |at| u16::from_be_bytes([message[at], message[at + 1]]);
        (message[3] & 0x0f, message[2] & 0x02 != 0, count(6), count(8))
    }

    fn hosts(count: u32) -> Vec<AplItem> {
        (1..=count)
            .map(|n| AplItem { negated: false, addr: IpAddr::from(n.to_be_bytes()), len: 32 })
            .collect()
    }

    #[test]
    fn records_nodata_and_nxdomain() {
        let mut policy = Policy::new();
        policy.put_apl("block.org.x.", &hosts(65));
        policy.put_txt("Txt.org.x", &[&["192.0.2.0/24", "2001:db8::/32"], &["198.51.100.7"]]);
        policy.put_addresses("a.org.x", &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(outline(&policy, "block.org.x", APL), (NOERROR, false, 2, 0));
        assert_eq!(outline(&policy, "block.org.x", PTR), (NOERROR, false, 0, 0));
        assert_eq!(outline(&policy, "org.x", PTR), (NOERROR, false, 0, 0));
        assert_eq!(outline(&policy, "rg.x", PTR), (NXDOMAIN, false, 0, 0));
        assert_eq!(outline(&policy, "txt.org.x", TXT), (NOERROR, false, 2, 0));
        assert_eq!(outline(&policy, "a.org.x", A), (NOERROR, false, 1, 0));
        assert_eq!(outline(&policy, "a.org.x", AAAA), (NOERROR, false, 1, 0));
        policy.put_zone("org.x", 1);
        policy.put_zone("org.x", 2);
        assert_eq!(outline(&policy, "org.x", SOA), (NOERROR, false, 1, 0));
        assert_eq!(outline(&policy, "block.org.x", SOA), (NOERROR, false, 0, 1));
        assert_eq!(outline(&policy, "none.org.x", SOA), (NXDOMAIN, false, 0, 1));
        assert_eq!(outline(&policy, "none.x", SOA), (NXDOMAIN, false, 0, 0));
        policy.remove("block.org.x");
        assert_eq!(outline(&policy, "block.org.x", APL), (NXDOMAIN, false, 0, 1));
    }

    #[test]
    fn a_soa_record_octet_by_octet() {
        let mut policy = Policy::new();
        policy.put_zone("x", 0x0102_0304);
        let answer = policy.answer(&question("x", SOA));
        let expected = b"\xc0\x0c\0\x06\0\x01\0\0\x01\x2c\0\x26\x02ns\xc0\x0c\x0ahostmaster\xc0\x0c\
            \x01\x02\x03\x04\0\0\x0e\x10\0\0\x02\x58\0\x01\x51\x80\0\0\0\x3c";
        assert_eq!(answer[19..], *expected);
    }

    #[test]
    fn an_empty_list_is_one_empty_record() {
        let mut policy = Policy::new();
        assert_eq!(policy.put_parts("list.x", &[], 10), 1);
        assert_eq!(
            policy.answer(&question("p0.list.x", APL))[27..],
            *b"\xc0\x0c\0\x2a\0\x01\0\0\x01\x2c\0\0"
        );
    }

    #[test]
    fn each_part_fits_one_message() {
        for (compress, items_per_record) in [(true, 64), (false, 1), (false, 500)] {
            let mut policy = Policy { items_per_record, ..Policy::new() };
            policy.style = Style { compress, trim: false };
            let items = hosts(26_424);
            let parts = policy.put_parts("block.org.threatstop.local", &items, usize::MAX);
            assert!(parts >= 4);
            for part in 0..parts {
                let (rcode, tc, answers, _) =
                    outline(&policy, &format!("p{part}.block.org.threatstop.local"), APL);
                assert!(rcode == NOERROR && !tc && answers > 0);
            }
            let held: Vec<AplItem> = (0..parts)
                .flat_map(|part| &policy.records[&format!("p{part}.block.org.threatstop.local")])
                .flat_map(|data| if let Data::Apl(items) = data { items.clone() } else { Vec::new() })
                .collect();
            assert_eq!(held, items);
        }
        let mut policy = Policy::new();
        assert_eq!(policy.put_parts("list.x", &hosts(10), 3), 4);
        assert_eq!(outline(&policy, "list.x", PTR), (NOERROR, false, 4, 0));
    }

    #[test]
    fn too_much_for_one_message_is_truncated() {
        let mut policy = Policy::new();
        policy.put_apl("list.x", &hosts(9000));
        let (rcode, tc, answers, _) = outline(&policy, "list.x", APL);
        assert!(rcode == NOERROR && tc && answers > 100);
    }
}
