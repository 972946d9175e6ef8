//! Reads the records of a pcap file written by pflogd(8), in bounded memory.
//!
//! The format is pcap's first (draft-ietf-opsawg-pcap): a header of 24 octets, then for each record a
//! header of 16 octets and what was captured. Either byte order and either resolution is read.

use pcap_file::pcap::{PcapHeader, PcapParser};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::fmt;
use std::io::{self, Read};

/// Octets of the file header.
const FILE_HEADER: usize = 24;

/// Octets of a record header.
const RECORD_HEADER: usize = 16;

/// A record that claims more captured octets than this is corrupt: it is the longest libpcap writes
/// (`MAXIMUM_SNAPLEN`).
pub const MAX_CAPTURED: usize = 256 * 1024;

/// How much is read at once: little enough to stay in the processor's cache. A longer record makes more
/// room for itself.
const BUFFER: usize = 64 * 1024;

/// How many octets of a file that is not pcap are shown.
const SHOWN: usize = 16;

/// One logged packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Seconds since the epoch.
    pub sec: u32,
    /// Microseconds, 0 to 999,999 unless the file is damaged.
    pub usec: u32,
    /// Length of the pflog header and the packet before anything was cut off.
    pub len: u32,
    /// What was captured, at most the file's snap length.
    pub captured: &'a [u8],
    /// The record claims more than the snap length, which pflogd(8) never writes: its length may be
    /// damaged, and other records be inside it.
    pub is_overlong: bool,
}

/// Why there is no further record.
#[derive(Debug)]
pub enum End {
    /// The file ends where a record ends.
    Clean,
    /// The file ends within a record, as it does after a crash or while pflogd is writing.
    CutOff {
        /// How many octets of the last record there are.
        octets: usize,
    },
    /// A record cannot be one.
    Corrupt {
        /// Number of the record, from 1.
        record: u64,
        /// Where in the (uncompressed) file its header starts.
        offset: u64,
        /// How many captured octets it claims.
        captured: u32,
    },
    /// Reading failed; so does decompressing a damaged file.
    Unreadable {
        /// How many (uncompressed) octets had been read.
        offset: u64,
        /// The cause.
        cause: io::Error,
    },
}

/// Why a file is not a pflog capture.
#[derive(Debug)]
pub enum NotPflog {
    /// It has no octets at all.
    Empty,
    /// It ends within the file header.
    CutOff {
        /// How many octets there are.
        octets: usize,
    },
    /// It does not start like a pcap file.
    NotPcap {
        /// What it starts with, up to 16 octets.
        start: Vec<u8>,
    },
    /// It is a pcap file of a version other than 2.4.
    Version(u16, u16),
    /// It is a capture of something else than pflog(4), whose link type is 117.
    LinkType(u32),
    /// Reading failed.
    Unreadable(io::Error),
}

/// The records of a file, in order.
pub struct Reader<R> {
    input: Window<R>,
    parser: PcapParser,
    header: PcapHeader,
    /// Where in the file the next record starts.
    offset: u64,
    records: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    pub fn new(input: R) -> Result<Self, NotPflog> {
        let mut input = Window::new(input);
        input.fill(FILE_HEADER);
        if input.unread().len() < FILE_HEADER
            && let Some(cause) = input.failed.take()
        {
            return Err(NotPflog::Unreadable(cause));
        }
        let start = input.unread();
        let parser = match PcapParser::new(start) {
            Ok((_, parser)) => parser,
            Err(_) if start.is_empty() => return Err(NotPflog::Empty),
            Err(PcapError::IncompleteBuffer) if starts_like_pcap(start) => {
                return Err(NotPflog::CutOff { octets: start.len() });
            }
            Err(_) => {
                return Err(NotPflog::NotPcap { start: start.iter().copied().take(SHOWN).collect() });
            }
        };
        let header = parser.header();
        if (header.version_major, header.version_minor) != (2, 4) {
            return Err(NotPflog::Version(header.version_major, header.version_minor));
        }
        if header.datalink != DataLink::PFLOG {
            return Err(NotPflog::LinkType(header.datalink.into()));
        }
        input.take(FILE_HEADER);
        Ok(Self { input, parser, header, offset: FILE_HEADER as u64, records: 0 })
    }

    /// The next record, or why there is none; then there is no use in asking again.
    pub fn read(&mut self) -> Result<Record<'_>, End> {
        let (claimed, len) = self.whole_record()?;
        let (record, offset) = (self.records + 1, self.offset);
        self.records = record;
        self.offset += len as u64;
        let snaplen = self.snaplen();
        let octets = self.input.take(len);
        let Ok((_, raw)) = self.parser.next_raw_packet(octets) else {
            return Err(End::Corrupt { record, offset, captured: claimed });
        };
        let captured = octets.get(RECORD_HEADER..).unwrap_or_default();
        Ok(Record {
            sec: raw.ts_sec,
            usec: match self.header.ts_resolution {
                TsResolution::MicroSecond => raw.ts_frac,
                TsResolution::NanoSecond => raw.ts_frac / 1000,
            },
            len: raw.orig_len,
            captured: captured.get(..snaplen).unwrap_or(captured),
            is_overlong: captured.len() > snaplen,
        })
    }

    /// Has the whole of the next record read into the window: the captured octets that it claims, and
    /// its length with its header.
    fn whole_record(&mut self) -> Result<(u32, usize), End> {
        self.input.fill(RECORD_HEADER);
        let Some(header @ &[.., c0, c1, c2, c3, _, _, _, _]) =
            self.input.unread().first_chunk::<RECORD_HEADER>()
        else {
            return Err(self.end());
        };
        // Blocks that never reached the disk: a record of 1970 with nothing in it.
        let is_hollow = *header == [0; RECORD_HEADER];
        let captured = match self.header.endianness {
            Endianness::Big => u32::from_be_bytes([c0, c1, c2, c3]),
            Endianness::Little => u32::from_le_bytes([c0, c1, c2, c3]),
        };
        let corrupt = End::Corrupt { record: self.records + 1, offset: self.offset, captured };
        let Some(claimed) = usize::try_from(captured).ok().filter(|&len| len <= MAX_CAPTURED && !is_hollow)
        else {
            return Err(corrupt);
        };
        let len = RECORD_HEADER + claimed;
        self.input.fill(len);
        if self.input.unread().len() < len {
            return Err(match self.end() {
                // Longer than any record that pflogd(8) could have been writing.
                End::CutOff { .. } if claimed > self.snaplen() => corrupt,
                end => end,
            });
        }
        Ok((captured, len))
    }

    /// Why there is not as much in the window as was asked for.
    fn end(&mut self) -> End {
        let octets = self.input.unread().len();
        match self.input.failed.take() {
            Some(cause) => End::Unreadable { offset: self.offset + octets as u64, cause },
            None if octets == 0 => End::Clean,
            None => End::CutOff { octets },
        }
    }

    /// OpenBSD's libpcap cuts a record to the snap length of the file. It takes a negative snap length
    /// for none, and so is 0 here, which would leave nothing of any record.
    fn snaplen(&self) -> usize {
        match i32::try_from(self.header.snaplen) {
            Ok(snaplen @ 1..) => snaplen.try_into().unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }
}

/// A buffer that moves along the input.
struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    /// The unread part of the buffer: `start <= end <= buffer.len()`.
    start: usize,
    end: usize,
    /// What reading failed with; what was read before is still good.
    failed: Option<io::Error>,
}

impl<R: Read> Window<R> {
    fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER], start: 0, end: 0, failed: None }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes `len` of the unread octets.
    fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start = from.saturating_add(len).min(self.end);
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    /// Reads until at least `wanted` octets are unread, or the input ends or fails.
    #[inline]
    fn fill(&mut self, wanted: usize) {
        if self.end - self.start < wanted {
            self.read_more(wanted);
        }
    }

    #[inline(never)]
    fn read_more(&mut self, wanted: usize) {
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        while self.end - self.start < wanted && self.failed.is_none() {
            let space = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.input.read(space) {
                Ok(0) => return,
                Ok(count) => self.end = self.end.saturating_add(count).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

/// Whether `start` could be the beginning of a pcap file.
fn starts_like_pcap(start: &[u8]) -> bool {
    const MAGIC: [[u8; 4]; 4] = [
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0x4d, 0x3c, 0xb2, 0xa1],
    ];
    MAGIC.iter().any(|magic| start.iter().zip(magic).all(|(a, b)| a == b))
}

impl fmt::Display for NotPflog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPflog::Empty => write!(f, "empty file, not even a pcap header"),
            NotPflog::CutOff { octets } => write!(f, "cut off {octets} octets into the pcap header"),
            NotPflog::NotPcap { start } => {
                write!(f, "not a pcap file, starts with \"{}\"", start.escape_ascii())
            }
            NotPflog::Version(major, minor) => {
                write!(f, "pcap version {major}.{minor}, only 2.4 can be read")
            }
            NotPflog::LinkType(link) => write!(f, "a capture of link type {link}, not of pflog (117)"),
            NotPflog::Unreadable(cause) => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for NotPflog {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MICRO: u32 = 0xa1b2_c3d4;
    const NANO: u32 = 0xa1b2_3c4d;

    type Encode = fn(u32) -> [u8; 4];

    /// A pcap file header in the byte order of `encode`.
    fn header(encode: Encode, magic: u32, snaplen: u32) -> Vec<u8> {
        let version = if encode(1)[0] == 0 { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        [encode(magic), version, encode(0), encode(0), encode(snaplen), encode(117)].concat()
    }

    fn record(encode: Encode, sec: u32, frac: u32, len: u32, captured: &[u8]) -> Vec<u8> {
        let mut octets = [sec, frac, captured.len() as u32, len].map(encode).concat();
        octets.extend(captured);
        octets
    }

    fn little(magic: u32, snaplen: u32, records: &[Vec<u8>]) -> Vec<u8> {
        let mut file = header(u32::to_le_bytes, magic, snaplen);
        file.extend(records.concat());
        file
    }

    /// Everything in a file: time stamp, length, captured octets of each record, and the end.
    type Contents = (Vec<(u32, u32, u32, Vec<u8>)>, End);

    fn contents(input: impl Read) -> Result<Contents, NotPflog> {
        let mut reader = Reader::new(input)?;
        let mut records = Vec::new();
        loop {
            match reader.read() {
                Ok(r) => records.push((r.sec, r.usec, r.len, r.captured.to_vec())),
                Err(end) => return Ok((records, end)),
            }
        }
    }

    /// Gives its octets a few at a time, then fails.
    struct Failing<'a>(&'a [u8]);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(7);
            if count == 0 {
                return Err(io::Error::other("bad disk"));
            }
            (&mut self.0).take(7).read(buffer)
        }
    }

    #[test]
    fn both_byte_orders_and_resolutions() {
        for encode in [u32::to_le_bytes as Encode, u32::to_be_bytes] {
            for (magic, frac) in [(MICRO, 123_456), (NANO, 123_456_789)] {
                let mut file = header(encode, magic, 160);
                file.extend(record(encode, 7, frac, 300, b"abc"));
                file.extend(record(encode, 8, 0, 2, b"de"));
                let (records, end) = contents(&file[..]).unwrap();
                assert_eq!(records, [(7, 123_456, 300, b"abc".to_vec()), (8, 0, 2, b"de".to_vec())]);
                assert!(matches!(end, End::Clean));
            }
        }
    }

    #[test]
    fn truncated_at_every_length() {
        let records = [record(u32::to_le_bytes, 1, 2, 9, b"one"), record(u32::to_le_bytes, 3, 4, 9, b"")];
        let file = little(MICRO, 160, &records);
        let ends = [24, 24 + 19, 24 + 19 + 16];
        for len in 0..=file.len() {
            let found = contents(&file[..len]);
            if len == 0 {
                assert!(matches!(found, Err(NotPflog::Empty)));
            } else if len < 24 {
                assert!(matches!(found, Err(NotPflog::CutOff { octets }) if octets == len));
            } else {
                let whole = ends.iter().filter(|&&end| end <= len).count() - 1;
                let (records, end) = found.unwrap();
                assert_eq!(records.len(), whole);
                match end {
                    End::Clean => assert_eq!(len, ends[whole]),
                    End::CutOff { octets } => assert_eq!(octets, len - ends[whole]),
                    other => panic!("{len}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_was_read_before_a_failure_counts() {
        let file = little(MICRO, 160, &[record(u32::to_le_bytes, 1, 2, 3, b"one"), vec![1; 10]]);
        let (records, end) = contents(Failing(&file)).unwrap();
        assert_eq!(records.len(), 1);
        assert!(matches!(end, End::Unreadable { offset, .. } if offset == file.len() as u64));
        assert!(matches!(contents(Failing(&file[..23])), Err(NotPflog::Unreadable(_))));
        assert!(matches!(contents(Failing(&[])), Err(NotPflog::Unreadable(_))));
    }

    #[test]
    fn a_corrupt_record_ends_the_file() {
        for claimed in [MAX_CAPTURED as u32 + 1, u32::MAX, u32::MAX - 15] {
            let bad = [1, 2, claimed, 4].map(u32::to_le_bytes).concat();
            let good = record(u32::to_le_bytes, 1, 2, 3, b"one");
            let (records, end) = contents(&little(MICRO, 160, &[good.clone(), bad, good])[..]).unwrap();
            assert_eq!(records.len(), 1);
            let End::Corrupt { record: 2, offset: 43, captured } = end else { panic!("{end:?}") };
            assert_eq!(captured, claimed);
        }
    }

    #[test]
    fn what_claims_more_than_the_snap_length_was_not_cut_off() {
        let good = record(u32::to_le_bytes, 1, 2, 3, b"one");
        for (snaplen, claimed, is_corrupt) in [
            (160, 160, false),
            (160, 161, true),
            (160, 200_000, true),
            (0, 200_000, false),
            (u32::MAX, 9, false),
        ] {
            let bad = [1, 2, claimed, 4].map(u32::to_le_bytes).concat();
            let (records, end) = contents(&little(MICRO, snaplen, &[good.clone(), bad])[..]).unwrap();
            assert_eq!(records.len(), 1);
            match end {
                End::Corrupt { record: 2, offset: 43, captured } => {
                    assert!(is_corrupt && captured == claimed, "{snaplen} {claimed}");
                }
                End::CutOff { octets: 16 } => assert!(!is_corrupt, "{snaplen} {claimed}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_longest_records() {
        let long = record(u32::to_le_bytes, 1, 2, 3, &vec![5; MAX_CAPTURED]);
        let (records, end) = contents(&little(MICRO, 0, &[long.clone(), long.clone(), long])[..]).unwrap();
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|(_, _, _, captured)| captured.len() == MAX_CAPTURED));
        assert!(matches!(end, End::Clean));
    }

    #[test]
    fn records_are_cut_to_the_snap_length() {
        for (snaplen, expected) in [(2, 2), (3, 3), (160, 3), (0, 3), (u32::MAX, 3)] {
            let file = little(MICRO, snaplen, &[record(u32::to_le_bytes, 1, 2, 3, b"one")]);
            let mut reader = Reader::new(&file[..]).unwrap();
            let record = reader.read().unwrap();
            assert_eq!(record.captured.len(), expected);
            assert_eq!(record.is_overlong, snaplen == 2);
        }
    }

    #[test]
    fn other_files_are_named() {
        let file = little(MICRO, 160, &[]);
        let said = |at: usize, octet: u8| {
            let mut file = file.clone();
            file[at] = octet;
            contents(&file[..]).unwrap_err().to_string()
        };
        assert_eq!(said(20, 1), "a capture of link type 1, not of pflog (117)");
        assert_eq!(said(6, 3), "pcap version 2.3, only 2.4 can be read");
        assert_eq!(said(0, b'\n').lines().count(), 1);
        assert_eq!(
            contents(&b"Jan  1 00:00:00 fw filterlog[77]: 5,,"[..]).unwrap_err().to_string(),
            "not a pcap file, starts with \"Jan  1 00:00:00 \""
        );
        assert_eq!(
            contents(&b"\xfd7zXZ\0"[..]).unwrap_err().to_string(),
            "not a pcap file, starts with \"\\xfd7zXZ\\x00\""
        );
    }

    proptest! {
        #[test]
        fn any_octets_come_to_an_end(tail in proptest::collection::vec(any::<u8>(), 0..200), big: bool) {
            let mut file = header(if big { u32::to_be_bytes } else { u32::to_le_bytes }, MICRO, 160);
            file.extend(&tail);
            let (records, _) = contents(&file[..]).unwrap();
            let read: usize = records.iter().map(|(_, _, _, captured)| 16 + captured.len()).sum();
            prop_assert!(read <= tail.len());
            let _ = contents(&tail[..]);
        }
    }
}
