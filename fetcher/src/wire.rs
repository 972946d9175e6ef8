//! A message in wire form (RFC 1035, section 4), read without allocation.
//!
//! Names are expanded into a buffer of their greatest size, rdata stays where it is. hickory-proto
//! refuses loops, too, but follows as many pointers as fit a message: 8,000 hops for a name of two
//! octets. Here a name that need not be known is not followed, and one that must be only as far as
//! an honest one goes.

use hickory_proto::rr;

use crate::chunk::shorten;

/// What is wrong with a message, in words.
pub type Malformed = &'static str;

/// The greatest length of a name, its last octet (the root) included.
const LONGEST_NAME: usize = 255;

/// A name has at most 127 labels, and every pointer is followed by at least one.
const MOST_POINTERS: usize = 127;

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The id that joins an answer to its query.
    pub id: u16,
    flags: u16,
    /// The number of questions.
    pub questions: u16,
    /// The number of records in the answer, authority and additional sections.
    pub records: [u16; 3],
}

impl Header {
    /// The octets of a header.
    pub const SIZE: usize = 12;

    /// Whether it is an answer (QR) to a standard query (opcode 0).
    pub fn is_answer(&self) -> bool {
        self.flags & 0xf800 == 0x8000
    }

    /// Whether the server says that it is in charge (AA).
    pub fn is_authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    /// Whether the message was cut off (TC).
    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// The RCODE, 0 to 15.
    pub fn response_code(&self) -> u16 {
        self.flags & 0x000f
    }
}

/// A name in canonical wire form: labels in lower case, each after its length, not compressed.
#[derive(Clone)]
pub struct Name {
    octets: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    /// The octets, the last one being the root's zero.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// What stands before `zone` (canonical wire form): empty for the zone's own name, else
    /// labels without a last zero. `None` if the name is not inside the zone.
    pub fn before(&self, zone: &[u8]) -> Option<&[u8]> {
        let (before, rest) = self.octets().split_at_checked(self.length.checked_sub(zone.len())?)?;
        // Octets that look like the zone may also lie in the middle of a label.
        let mut labels = before;
        while let Some((size, after)) = labels.split_first() {
            labels = after.get(usize::from(*size)..)?;
        }
        (rest == zone).then_some(before)
    }

    /// Appends labels with their lengths. No length is a letter: the largest is 63.
    fn push(&mut self, labels: &[u8]) -> Result<(), Malformed> {
        let end = self.length.saturating_add(labels.len());
        let place = self.octets.get_mut(self.length..end).ok_or("a name of more than 255 octets")?;
        place.copy_from_slice(labels);
        place.make_ascii_lowercase();
        self.length = end;
        Ok(())
    }
}

impl Default for Name {
    /// The room for a name.
    fn default() -> Name {
        Name { octets: [0; LONGEST_NAME], length: 0 }
    }
}

/// The canonical wire form of a name that comes from the configuration or a key file.
pub fn canonical(name: &rr::Name) -> Vec<u8> {
    let mut octets = Vec::with_capacity(LONGEST_NAME);
    for label in name.iter() {
        // hickory-proto takes no label of more than 63 octets.
        octets.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        octets.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    octets.push(0);
    octets
}

/// The labels of a name, or of what stands before its zone.
pub fn labels(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, rest) = octets.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(*size))?;
        octets = rest;
        (*size != 0).then_some(label)
    })
}

/// A name for a message to a person: printable ASCII only, without the last dot, shortened.
pub fn text(octets: &[u8]) -> String {
    let labels: Vec<String> = labels(octets).map(|label| label.escape_ascii().to_string()).collect();
    if labels.is_empty() { ".".to_owned() } else { shorten(labels.join(".")) }
}

/// A record without its owner.
#[derive(Debug, Clone, Copy)]
pub struct Record<'m> {
    /// The type's number.
    pub kind: u16,
    /// The class's number.
    pub class: u16,
    /// Seconds.
    pub ttl: u32,
    /// The rdata, which may hold names with pointers out of it.
    pub rdata: &'m [u8],
    /// Where the rdata begins, from the start of the message.
    pub start: usize,
}

/// Reads a message from its start to its end.
#[derive(Debug, Clone)]
pub struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    /// Begins at the start of a message.
    pub fn new(message: &'m [u8]) -> Reader<'m> {
        Reader { message, at: 0 }
    }

    /// Begins at the rdata of a record and ends with it; names may point out of it.
    pub fn rdata(message: &'m [u8], record: &Record<'_>) -> Reader<'m> {
        let end = record.start.saturating_add(record.rdata.len());
        Reader { message: message.get(..end).unwrap_or_default(), at: record.start }
    }

    /// How far it has read, in octets from the start of the message.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether all is read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.message.len()
    }

    /// The next octets.
    ///
    /// # Errors
    /// There are not so many.
    pub fn octets(&mut self, count: usize) -> Result<&'m [u8], Malformed> {
        let end = self.at.saturating_add(count);
        let octets = self.message.get(self.at..end).ok_or("it ends in the middle")?;
        self.at = end;
        Ok(octets)
    }

    /// The next number of two octets.
    ///
    /// # Errors
    /// The message ends before.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next number of four octets.
    ///
    /// # Errors
    /// The message ends before.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next octets, as many as the array holds.
    ///
    /// # Errors
    /// There are not so many.
    pub fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Malformed> {
        let octets = self.octets(SIZE)?;
        octets.try_into().map_err(|_| "it ends in the middle")
    }

    /// The header.
    ///
    /// # Errors
    /// The message ends before.
    pub fn header(&mut self) -> Result<Header, Malformed> {
        Ok(Header {
            id: self.u16()?,
            flags: self.u16()?,
            questions: self.u16()?,
            records: [self.u16()?, self.u16()?, self.u16()?],
        })
    }

    /// A name, expanded into `name`, which may have held another one.
    ///
    /// # Errors
    /// It is longer than a name may be, or a pointer does not point backwards, or to a place
    /// that is none.
    pub fn name(&mut self, name: &mut Name) -> Result<(), Malformed> {
        const END: Malformed = "it ends in the middle";
        name.length = 0;
        // The labels from `begin` to `at` are still to be copied.
        let (mut begin, mut at, mut pointers) = (self.at, self.at, 0);
        loop {
            let size = *self.message.get(at).ok_or(END)?;
            let after = at.saturating_add(1);
            match size {
                0 => {
                    name.push(self.message.get(begin..after).ok_or(END)?)?;
                    if pointers == 0 {
                        self.at = after;
                    }
                    return Ok(());
                }
                1..=63 => at = after.saturating_add(usize::from(size)),
                0xc0.. => {
                    let low = *self.message.get(after).ok_or(END)?;
                    name.push(self.message.get(begin..at).ok_or(END)?)?;
                    if pointers == 0 {
                        self.at = after.saturating_add(1);
                    }
                    pointers += 1;
                    let target = usize::from(u16::from_be_bytes([size & 0x3f, low]));
                    // Every run of labels begins before the last one, so that there is an end.
                    if target >= begin || target < Header::SIZE {
                        return Err("a name's pointer does not point back into the message");
                    }
                    if pointers > MOST_POINTERS {
                        return Err("too many pointers in a name");
                    }
                    (begin, at) = (target, target);
                }
                _ => return Err("a label of an unknown kind"),
            }
        }
    }

    /// Passes over a name without looking where it points to.
    ///
    /// # Errors
    /// The message ends before, or a label is of an unknown kind.
    pub fn skip_name(&mut self) -> Result<(), Malformed> {
        loop {
            let [size] = self.array()?;
            match size {
                0 => return Ok(()),
                1..=63 => self.octets(usize::from(size))?,
                0xc0.. => return self.octets(1).map(|_| ()),
                _ => return Err("a label of an unknown kind"),
            };
        }
    }

    /// A record whose owner has been read.
    ///
    /// # Errors
    /// The message ends before.
    pub fn record(&mut self) -> Result<Record<'m>, Malformed> {
        let (kind, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let size = usize::from(self.u16()?);
        let start = self.at;
        Ok(Record { kind, class, ttl, rdata: self.octets(size)?, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Reads the name at an offset of a message whose first octets stand for the header.
    fn name(rest: &[u8], at: usize) -> Result<(String, usize), Malformed> {
        let message = [&[0; Header::SIZE], rest].concat();
        let mut reader = Reader { message: &message, at: Header::SIZE + at };
        let mut name = Name::default();
        reader.name(&mut name)?;
        let mut skipping = Reader { message: &message, at: Header::SIZE + at };
        skipping.skip_name()?;
        assert_eq!(skipping.at(), reader.at());
        Ok((text(name.octets()), reader.at() - Header::SIZE))
    }

    #[test]
    fn reads_names_and_follows_pointers() {
        assert_eq!(name(b"\0", 0), Ok((".".to_owned(), 1)));
        assert_eq!(name(b"\x03WWW\x07Example\0", 0), Ok(("www.example".to_owned(), 13)));
        let message = b"\x07example\0\x01b\xc0\x0c\x01a\xc0\x15rest";
        assert_eq!(name(message, 9), Ok(("b.example".to_owned(), 13)));
        assert_eq!(name(message, 13), Ok(("a.b.example".to_owned(), 17)));
        assert_eq!(name(b"\x01\x1b\0", 0), Ok(("\\x1b".to_owned(), 3)));
    }

    #[test]
    fn refuses_names_without_end() {
        let back = Err("a name's pointer does not point back into the message");
        assert_eq!(name(b"\xc0\x0c", 0), back);
        assert_eq!(name(b"\x01a\xc0\x0c", 0), back);
        assert_eq!(name(b"\xc0\x0e\xc0\x0c", 0), back);
        assert_eq!(name(b"\xc0\x0e\xc0\x0c", 2), back);
        assert_eq!(name(b"\xc0\x00", 0), back);
        assert_eq!(name(b"\0\xff\xff", 1), back);
        assert_eq!(name(b"\x40", 0), Err("a label of an unknown kind"));
        assert_eq!(name(b"\x80\0", 0), Err("a label of an unknown kind"));
    }

    #[test]
    fn a_chain_of_pointers_has_a_limit() {
        // At 12 the root, and behind it pointers of two octets, each to the one before.
        let mut rest = vec![0];
        for number in 0..200u16 {
            let before = 12 + number.saturating_sub(1) * 2 + u16::from(number > 0);
            rest.extend((0xc000 | before).to_be_bytes());
        }
        assert!(name(&rest, 1 + 2 * (MOST_POINTERS - 1)).is_ok());
        assert_eq!(name(&rest, 1 + 2 * MOST_POINTERS), Err("too many pointers in a name"));
    }

    #[test]
    fn a_name_has_at_most_255_octets() {
        let mut longest =
            [[&[63][..], &[b'a'; 63]].concat().repeat(3), vec![61], vec![b'b'; 61], vec![0]].concat();
        assert_eq!(longest.len(), 255);
        assert!(name(&longest, 0).is_ok());
        longest.splice(192..193, [62, b'b']);
        assert_eq!(name(&longest, 0), Err("a name of more than 255 octets"));
    }

    #[test]
    fn a_zone_ends_at_a_label() {
        let zone = b"\x04zone\0";
        let before = |octets: &[u8]| {
            let mut name = Name::default();
            Reader::new(octets).name(&mut name).unwrap();
            name.before(zone).map(<[u8]>::to_vec)
        };
        assert_eq!(before(b"\x04ZONE\0"), Some(vec![]));
        assert_eq!(before(b"\x01a\x04zone\0"), Some(b"\x01a".to_vec()));
        assert_eq!(before(b"\x06a\x04zone\0"), None);
        assert_eq!(before(b"\x04zone\x01a\0"), None);
        assert_eq!(before(b"\x01a\0"), None);
        assert_eq!(before(b"\0"), None);
        let mut name = Name::default();
        Reader::new(b"\x01a\0").name(&mut name).unwrap();
        assert_eq!(name.before(b"\0"), Some(&b"\x01a"[..]));
    }

    #[test]
    fn canonical_names_are_in_lower_case() {
        let name = rr::Name::from_ascii("Key.EXAMPLE.").unwrap();
        assert_eq!(canonical(&name), b"\x03key\x07example\0");
        assert_eq!(canonical(&rr::Name::root()), b"\0");
    }

    /// Expands a name in the way that comes first to mind.
    fn naive(message: &[u8], at: usize, fuel: usize) -> Option<Vec<u8>> {
        let size = *message.get(at)?;
        let mut octets = vec![size];
        match size {
            0 => return Some(octets),
            1..=63 => {
                octets.extend(message.get(at + 1..at + 1 + usize::from(size))?.to_ascii_lowercase());
                octets.extend(naive(message, at + octets.len(), fuel)?);
            }
            192.. => {
                let target = usize::from(size & 63) << 8 | usize::from(*message.get(at + 1)?);
                return naive(message, target, fuel.checked_sub(1)?);
            }
            _ => return None,
        }
        Some(octets)
    }

    proptest! {
        #[test]
        fn names_of_any_octets_end_and_agree_with_a_naive_reader(
            octets in vec(prop_oneof![0u8..6, Just(0xc0u8), 10u8..40, any::<u8>()], 12..60), at in 12usize..60,
        ) {
            let mut reader = Reader { message: &octets, at };
            let mut name = Name::default();
            if reader.name(&mut name).is_ok() {
                prop_assert_eq!(Some(name.octets().to_vec()), naive(&octets, at, 200));
                prop_assert!(reader.at() > at && reader.at() <= octets.len());
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in vec(any::<u8>(), 0..80)) {
            let mut reader = Reader::new(&octets);
            let _ = reader.header();
            while reader.skip_name().is_ok() && reader.record().is_ok() {}
            prop_assert!(reader.at() <= octets.len());
        }
    }
}
