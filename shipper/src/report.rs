//! What a decoder tells the collector: reports of fixed size, on the way and at the end.
//!
//! The decoder reads hostile data and may be an attacker's by the time it reports, so the collector
//! takes a report in exactly one form, or not at all.

use std::fmt;

use crate::text::Digest;

/// Octets of a report on the wire.
pub const LENGTH: usize = 1 + 32 + 32 + 8 + 8 + 8 + 4 + 4 + 8 + 8;

/// What a decoder found in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How the log ended.
    pub ending: Ending,
    /// SHA-256 of all octets of the log, uncompressed; of a damaged one, of those that could be read.
    pub digest: Digest,
    /// SHA-256 of its first record, by which it is known when it has lost its end; zero without records.
    pub head: Digest,
    /// Records, each of which is a line of the text.
    pub records: u64,
    /// Those among them that are no pflog records, or no lines of filterlog(8); their line says so.
    pub undecodable: u64,
    /// Those that are longer than the log's snap length.
    pub overlong: u64,
    /// When the first record was taken, in seconds since 1970; 0 without records.
    pub first: u32,
    /// When the last record was taken.
    pub last: u32,
}

/// How a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// After its last record.
    Clean,
    /// Within its last record, as it does when pflogd was killed.
    CutOff,
    /// At a record that cannot be one: its number from 1, and the octet at which it starts.
    Corrupt {
        /// Number of the record.
        record: u64,
        /// Where it starts, uncompressed.
        offset: u64,
    },
    /// Where reading or decompressing failed.
    Damaged {
        /// How many octets, uncompressed, had been read.
        offset: u64,
    },
    /// Before the first record could have started: there is nothing in it.
    Empty,
    /// Not yet: the report is about the beginning of the log. Its digest is that of the whole log
    /// already; all zero if the log can be read only once.
    NotYet {
        /// Octets of the text that was made of this beginning, in whole lines.
        text: u64,
    },
}

impl Ending {
    /// Whether records may be lost behind the end.
    pub fn is_loss(self) -> bool {
        matches!(self, Ending::Corrupt { .. } | Ending::Damaged { .. })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Clean => f.write_str("complete"),
            Ending::CutOff => f.write_str("cut off within the last record"),
            Ending::Corrupt { record, offset } => {
                write!(f, "record {record} at octet {offset} is corrupt; what follows is not read")
            }
            Ending::Damaged { offset } => write!(f, "damaged after octet {offset}; what follows is lost"),
            Ending::Empty => f.write_str("empty"),
            Ending::NotYet { .. } => f.write_str("not read to its end"),
        }
    }
}

impl Report {
    /// The report of a log that holds nothing.
    pub fn empty() -> Report {
        Report::without_records(Ending::Empty, Digest::default())
    }

    /// The first report of a log, before any text.
    pub fn first(digest: Digest) -> Report {
        Report::without_records(Ending::NotYet { text: 0 }, digest)
    }

    fn without_records(ending: Ending, digest: Digest) -> Report {
        Report {
            ending,
            digest,
            head: Digest::default(),
            records: 0,
            undecodable: 0,
            overlong: 0,
            first: 0,
            last: 0,
        }
    }

    /// Whether there are records, and none of them is a pflog record: the log of another system, or
    /// none at all.
    pub fn is_foreign(&self) -> bool {
        self.records > 0 && self.undecodable == self.records
    }

    /// What is wrong with the log, each in words.
    pub fn faults(&self) -> Vec<String> {
        let Report { ending, records, undecodable, overlong, .. } = self;
        let mut faults = Vec::new();
        if ending.is_loss() {
            faults.push(ending.to_string());
        }
        if *undecodable > 0 {
            faults.push(format!("{undecodable} of {records} records cannot be read"));
        }
        if *overlong > 0 {
            faults.push(format!("{overlong} of {records} records are longer than the snap length: damaged"));
        }
        faults
    }

    /// The report as it goes over the socket, numbers in network order.
    pub fn encode(&self) -> [u8; LENGTH] {
        let (kind, record, offset) = match self.ending {
            Ending::Clean => (0, 0, 0),
            Ending::CutOff => (1, 0, 0),
            Ending::Corrupt { record, offset } => (2, record, offset),
            Ending::Damaged { offset } => (3, 0, offset),
            Ending::Empty => (4, 0, 0),
            Ending::NotYet { text } => (5, 0, text),
        };
        let mut octets = [0; LENGTH];
        let fields: [&[u8]; 10] = [
            &[kind],
            &self.digest,
            &self.head,
            &self.records.to_be_bytes(),
            &self.undecodable.to_be_bytes(),
            &self.overlong.to_be_bytes(),
            &self.first.to_be_bytes(),
            &self.last.to_be_bytes(),
            &record.to_be_bytes(),
            &offset.to_be_bytes(),
        ];
        for (to, from) in octets.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        octets
    }

    /// Reads a report. `None` unless `encode` gives these octets for a report that makes sense.
    pub fn decode(octets: &[u8; LENGTH]) -> Option<Report> {
        let mut rest = octets.as_slice();
        let [kind] = take::<1>(&mut rest)?;
        let (digest, head) = (take(&mut rest)?, take(&mut rest)?);
        let records = u64::from_be_bytes(take(&mut rest)?);
        let undecodable = u64::from_be_bytes(take(&mut rest)?);
        let overlong = u64::from_be_bytes(take(&mut rest)?);
        let (first, last) = (u32::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        let (record, offset) = (u64::from_be_bytes(take(&mut rest)?), u64::from_be_bytes(take(&mut rest)?));
        let ending = match (kind, record, offset) {
            (0, 0, 0) => Ending::Clean,
            (1, 0, 0) => Ending::CutOff,
            (2, record @ 1.., offset) => Ending::Corrupt { record, offset },
            (3, 0, offset) => Ending::Damaged { offset },
            (4, 0, 0) => Ending::Empty,
            (5, 0, text) => Ending::NotYet { text },
            _ => return None,
        };
        let report = Report { ending, digest, head, records, undecodable, overlong, first, last };
        report.makes_sense().then_some(report)
    }

    fn makes_sense(&self) -> bool {
        let has_records = self.records > 0;
        let nothing = self.first == 0 && self.last == 0 && self.head == Digest::default();
        self.undecodable <= self.records
            && self.overlong <= self.records
            && (has_records || nothing)
            && (self.ending != Ending::Empty || *self == Report::empty())
            && match self.ending {
                // A line has an octet at least, that of its end.
                Ending::NotYet { text } => text >= self.records && (has_records || text == 0),
                _ => true,
            }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(ending: Ending) -> Report {
        let (digest, head) = ([7; 32], [6; 32]);
        Report { ending, digest, head, records: 3, undecodable: 1, overlong: 2, first: 9, last: 5 }
    }

    #[test]
    fn comes_back_as_it_was() {
        let endings = [
            Ending::Clean,
            Ending::CutOff,
            Ending::Corrupt { record: 1, offset: 24 },
            Ending::Damaged { offset: u64::MAX },
            Ending::NotYet { text: 3 },
        ];
        for ending in endings {
            assert_eq!(Report::decode(&report(ending).encode()), Some(report(ending)));
        }
        for report in [Report::empty(), Report::first([7; 32])] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let corrupt = report(Ending::Corrupt { record: 4, offset: 99 });
        assert_eq!(
            corrupt.faults(),
            [
                "record 4 at octet 99 is corrupt; what follows is not read",
                "1 of 3 records cannot be read",
                "2 of 3 records are longer than the snap length: damaged",
            ]
        );
        let good = Report { undecodable: 0, overlong: 0, ..report(Ending::CutOff) };
        assert_eq!(good.faults(), [""; 0]);
        assert!(!corrupt.is_foreign() && Report { undecodable: 3, ..good }.is_foreign());
        assert!(!Report::empty().is_foreign());
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let refused = |change: fn(&mut Report)| {
            let mut report = report(Ending::Clean);
            change(&mut report);
            assert_eq!(Report::decode(&report.encode()), None, "{report:?}");
        };
        refused(|report| report.undecodable = 4);
        refused(|report| report.overlong = 4);
        refused(|report| (report.records, report.undecodable, report.overlong) = (0, 0, 0));
        refused(|report| report.ending = Ending::Empty);
        refused(|report| *report = Report { head: [1; 32], ..Report::first([7; 32]) });
        refused(|report| report.ending = Ending::Corrupt { record: 0, offset: 24 });
        refused(|report| report.ending = Ending::NotYet { text: 2 });
        refused(|report| *report = Report { ending: Ending::NotYet { text: 1 }, ..Report::empty() });
        let mut octets = report(Ending::Clean).encode();
        octets[LENGTH - 1] = 1;
        assert_eq!(Report::decode(&octets), None, "a clean log has no place of damage");
        for kind in 6..=255 {
            octets[0] = kind;
            assert_eq!(Report::decode(&octets), None);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_taken_in_one_form_or_refused(kind in 0u8..7, octets in proptest::collection::vec(0u8..2, LENGTH - 1)) {
            let octets: [u8; LENGTH] = [&[kind], octets.as_slice()].concat().try_into().unwrap();
            if let Some(report) = Report::decode(&octets) {
                prop_assert_eq!(report.encode(), octets);
            }
        }
    }
}
