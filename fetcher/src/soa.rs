//! The serial of the zone that a list is in (SOA, RFC 1035, section 3.3.13): as long as it is the
//! same, so is the list.

use hickory_proto::op::Query;
use hickory_proto::rr::Name;

use crate::answer;
use crate::failure::Failure;
use crate::wire::{self, Malformed, Reader, Record};

const SOA: u16 = 6;
const IN: u16 = 1;

/// A zone and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// The zone's name in lower case, with a final dot.
    pub zone: String,
    /// The serial.
    pub number: u32,
}

impl Serial {
    /// The serial of a zone whose name is in canonical wire form.
    pub fn new(zone: &[u8], number: u32) -> Serial {
        let zone: String = wire::labels(zone).map(|label| format!("{}.", label.escape_ascii())).collect();
        Serial { zone: if zone.is_empty() { ".".to_owned() } else { zone }, number }
    }

    /// Whether a name is the zone's or inside it. The zone's labels are those of a list's name in
    /// the configuration, which has no dots in them.
    pub fn has(&self, name: &Name) -> bool {
        let mut labels = name.iter().rev();
        let mut zone = self.zone.rsplit('.').filter(|label| !label.is_empty());
        zone.all(|label| labels.next().is_some_and(|other| other.eq_ignore_ascii_case(label.as_bytes())))
    }

    /// Whether this one is of the same zone and older than the other (RFC 1982, section 3.2),
    /// or so far from it that none of them is older.
    pub fn is_behind(&self, other: &Serial) -> bool {
        self.zone == other.zone && self.number.wrapping_sub(other.number) >= 1 << 31
    }
}

/// Reads the answer to a SOA question, which is in the answer section or, if the name is inside
/// the zone, in the authority section. `None` if the server has no such record, or does not
/// answer for the zone itself: what a cache holds may be of several versions of the zone. An
/// RCODE is no failure: what there is to say is said when the list is asked for.
///
/// # Errors
/// It is an answer to something else, or no message.
pub fn read(message: &[u8], question: &Query) -> Result<Option<Serial>, Failure> {
    let name = wire::canonical(question.name());
    let (header, mut reader) = match answer::begin(message, question, &name) {
        Err(Failure::ServerFailure | Failure::NoSuchName | Failure::Refused | Failure::ResponseCode(_)) => {
            return Ok(None);
        }
        begun => begun?,
    };
    let [answers, authorities, additional] = header.records.map(usize::from);
    let mut found = None;
    for number in 0..answers.saturating_add(authorities).saturating_add(additional) {
        let before = reader.clone();
        reader.skip_name()?;
        let record = reader.record()?;
        let is_sought = record.kind == SOA && record.class == IN && header.is_authoritative();
        if !is_sought || number >= answers.saturating_add(authorities) || found.is_some() {
            continue;
        }
        let (mut owner, mut place) = (wire::Name::default(), before);
        place.name(&mut owner)?;
        if is_inside(&name, owner.octets()) {
            found = Some(Serial::new(owner.octets(), serial(message, &record)?));
        }
    }
    if reader.is_at_end() { Ok(found) } else { Err("octets after the last record".into()) }
}

/// The serial of a SOA record: after two names, with four times after it.
///
/// # Errors
/// The rdata is not that.
pub fn serial(message: &[u8], record: &Record<'_>) -> Result<u32, Malformed> {
    let mut rdata = Reader::rdata(message, record);
    rdata.skip_name()?;
    rdata.skip_name()?;
    let serial = rdata.u32()?;
    rdata.octets(16)?;
    if rdata.is_at_end() { Ok(serial) } else { Err("octets after the last field of a SOA record") }
}

/// Whether a name is the zone's or inside it, both in canonical wire form.
fn is_inside(name: &[u8], zone: &[u8]) -> bool {
    let mut rest = name;
    while rest != zone {
        match rest.split_first() {
            Some((size, after)) if *size != 0 => rest = after.get(usize::from(*size)..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APL, hosts, question, reply, wire as full};

    fn rdata(number: u32) -> Vec<u8> {
        [&full("ns")[..], &full("who"), &number.to_be_bytes(), &[0; 16]].concat()
    }

    /// An answer to a SOA question at `list.org.example` with a SOA record in a section (6 the
    /// answer's, 8 authority, 10 additional), of an owner.
    fn with_soa(section: usize, owner: &[u8], rdata: &[u8]) -> Vec<u8> {
        let query = answer::ask(7, &question("list.org.example", SOA)).unwrap();
        let mut message = reply(&query, 0, &[]);
        message[section + 1] += 1;
        message.extend(owner);
        message.extend([0, 6, 0, 1, 0, 0, 0, 60]);
        message.extend((rdata.len() as u16).to_be_bytes());
        message.extend(rdata);
        message
    }

    fn found(message: &[u8]) -> Result<Option<Serial>, Failure> {
        read(message, &question("list.org.example", SOA))
    }

    #[test]
    fn a_zone_has_the_names_below_it_label_by_label() {
        let has = |zone: &str, labels: &[&[u8]]| {
            let serial = Serial { zone: zone.to_owned(), number: 1 };
            serial.has(&Name::from_labels(labels.iter().copied()).unwrap())
        };
        assert!(
            has("org.example.", &[b"ORG", b"example"]) && has("org.example.", &[b"a", b"org", b"Example"])
        );
        assert!(has(".", &[b"example"]) && has(".", &[]));
        assert!(!has("org.example.", &[b"example"]) && !has("org.example.", &[b"xorg", b"example"]));
        assert!(!has("org.example.", &[b"org.example"]) && !has("org.example.", &[b"x.org", b"example"]));
        assert!(!has("org.example.", &[b"org", b"example", b"com"]));
    }

    #[test]
    fn is_in_the_answer_or_the_authority_section() {
        let of = |zone: &str, number| Ok(Some(Serial { zone: zone.to_owned(), number }));
        assert_eq!(found(&with_soa(6, &[0xc0, 12], &rdata(9))), of("list.org.example.", 9));
        assert_eq!(found(&with_soa(8, &full("ORG.example"), &rdata(9))), of("org.example.", 9));
        assert_eq!(found(&with_soa(8, &[0], &rdata(9))), of(".", 9));
        assert_eq!(found(&with_soa(10, &[0xc0, 12], &rdata(9))), Ok(None));
        for elsewhere in ["rg.example", "x.list.org.example", "example.org"] {
            assert_eq!(found(&with_soa(8, &full(elsewhere), &rdata(9))), Ok(None), "{elsewhere}");
        }
    }

    #[test]
    fn none_is_taken_from_a_cache_or_a_refusal() {
        let mut cached = with_soa(6, &[0xc0, 12], &rdata(9));
        cached[2] &= !0x04;
        assert_eq!(found(&cached), Ok(None));
        for code in [2, 3, 4, 5] {
            let mut refused = with_soa(6, &[0xc0, 12], &rdata(9));
            refused[3] = code;
            assert_eq!(found(&refused), Ok(None), "{code}");
        }
        let query = answer::ask(7, &question("list.org.example", SOA)).unwrap();
        assert_eq!(found(&reply(&query, 0, &[(APL, hosts(0..3))])), Ok(None), "another type");
        assert_eq!(found(&reply(&query, 0, &[])), Ok(None));
    }

    #[test]
    fn what_is_no_answer_is_refused_at_every_length() {
        let good = with_soa(8, &full("org.example"), &rdata(9));
        for length in 0..good.len() {
            assert!(found(&good[..length]).is_err(), "{length}");
        }
        assert!(found(&[&good[..], b"x"].concat()).is_err());
        assert!(found(&with_soa(8, &full("org.example"), &rdata(9)[..20])).is_err());
        assert_eq!(read(&good, &question("x.org.example", SOA)), Err(Failure::WrongQuestion));
    }

    #[test]
    fn serials_compare_as_rfc_1982_has_it() {
        let is_behind = |new, old| Serial::new(b"\0", new).is_behind(&Serial::new(b"\0", old));
        for (new, old) in [(6, 7), (u32::MAX, 0), (0, 0x7fff_ffff), (0x8000_0000, 0)] {
            assert!(is_behind(new, old), "{new} {old}");
        }
        for (new, old) in [(7, 7), (8, 7), (0, u32::MAX), (0x7fff_ffff, 0), (0, 0x8000_0001)] {
            assert!(!is_behind(new, old), "{new} {old}");
        }
        assert!(!Serial::new(b"\x01a\0", 1).is_behind(&Serial::new(b"\x01b\0", 2)));
    }
}
