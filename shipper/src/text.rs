//! Turns a pflog file into text: one line for each record, whatever the record holds.

use crate::clock::Clock;
use crate::pcap::{End, NotPflog, Reader};
use crate::print;
use flate2::bufread::MultiGzDecoder;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use std::fmt;
use std::io::{self, BufReader, Read, Write};

/// What gzip files start with (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The output is written when this much has gathered.
const OUTPUT: usize = 64 * 1024;

/// A SHA-256 digest.
pub type Digest = [u8; SHA256_OUTPUT_LEN];

/// A time stamp: seconds since the epoch, and microseconds.
pub type Stamp = (u32, u32);

/// What was found in a file.
#[derive(Debug)]
pub struct Summary {
    /// Records, each of which is a line of the text.
    pub records: u64,
    /// Those among them whose pflog header could not be read; their line says so in square brackets.
    pub undecodable: u64,
    /// Those that claim more than the file's snap length.
    pub overlong: u64,
    /// Time stamp of the first record.
    pub first: Option<Stamp>,
    /// Time stamp of the last record.
    pub last: Option<Stamp>,
    /// Digest of all octets of the file, uncompressed; of a damaged one, of those that could be read.
    pub octets: Digest,
    /// How the file ended.
    pub end: End,
}

/// Why a file could not be turned into text.
#[derive(Debug)]
pub enum Error {
    /// It is not a pflog file; nothing was written.
    Input(NotPflog),
    /// The text could not be written.
    Output(io::Error),
}

/// Reads a pflog file, plain or compressed by gzip, and writes its text.
///
/// Memory is bounded whatever the file holds. A file that is cut off, corrupt or damaged gives the text of
/// the records before that place, and [`Summary::end`] says where it is. At the first error of `output`
/// everything stops.
pub fn decode<R: Read, W: Write>(mut input: R, output: &mut W, clock: Clock) -> Result<Summary, Error> {
    let mut start = Vec::new();
    let magic = (&mut input).take(GZIP_MAGIC.len() as u64).read_to_end(&mut start);
    magic.map_err(|cause| Error::Input(NotPflog::Unreadable(cause)))?;
    let is_gzip = start == GZIP_MAGIC;
    let input = start.as_slice().chain(input);
    if is_gzip {
        let input = MultiGzDecoder::new(BufReader::with_capacity(OUTPUT, input));
        decode_plain(input, output, clock)
    } else {
        decode_plain(input, output, clock)
    }
}

fn decode_plain<R: Read, W: Write>(input: R, output: &mut W, mut clock: Clock) -> Result<Summary, Error> {
    let mut input = Hashed { input, context: Context::new(&SHA256) };
    let mut reader = Reader::new(&mut input).map_err(Error::Input)?;
    let (mut records, mut undecodable, mut overlong) = (0, 0, 0);
    let (mut first, mut last) = (None, None);
    let mut text = Vec::with_capacity(2 * OUTPUT);
    let end = loop {
        let record = match reader.read() {
            Ok(record) => record,
            Err(end) => break end,
        };
        last = Some((record.sec, record.usec));
        if records == 0 {
            first = last;
        }
        records += 1;
        overlong += u64::from(record.is_overlong);
        clock.stamp(&mut text, record.sec, record.usec);
        if print::packet(&mut text, record.captured, record.len).is_err() {
            undecodable += 1;
        }
        text.push(b'\n');
        if text.len() >= OUTPUT {
            output.write_all(&text).map_err(Error::Output)?;
            text.clear();
        }
    };
    output.write_all(&text).and_then(|()| output.flush()).map_err(Error::Output)?;

    let end = match end {
        // What follows a corrupt record still tells this file from another.
        End::Corrupt { record, offset, captured } => match io::copy(&mut input, &mut io::sink()) {
            Ok(_) => End::Corrupt { record, offset, captured },
            Err(cause) => End::Unreadable { offset, cause },
        },
        end => end,
    };
    let octets = input.context.finish().as_ref().first_chunk().copied().unwrap_or_default();
    Ok(Summary { records, undecodable, overlong, first, last, octets, end })
}

/// Digests whatever is read through it.
struct Hashed<R> {
    input: R,
    context: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.context.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(cause) => write!(f, "{cause}"),
            Error::Output(cause) => write!(f, "cannot write the text: {cause}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Zone;
    use common::config::LogTime;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// A little-endian pcap file of records that hold `captured`.
    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut file = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 160, 117].map(u32::to_le_bytes).concat();
        for (i, captured) in (0u32..).zip(records) {
            let len = captured.len() as u32;
            file.extend([1_790_000_000 + i, i, len, len].map(u32::to_le_bytes).concat());
            file.extend(*captured);
        }
        file
    }

    /// A record of an IPv4 packet to a protocol without a printer.
    fn packet() -> Vec<u8> {
        let mut record = vec![0; 120];
        record[..8].copy_from_slice(&[100, 2, 1, 0, b'e', b'm', b'0', 0]);
        record[100..104].copy_from_slice(&[0x45, 0, 0, 20]);
        record[108..].copy_from_slice(&[64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        record
    }

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(input: &[u8]) -> Result<(String, Summary), Error> {
        let mut text = Vec::new();
        let summary = decode(input, &mut text, clock())?;
        Ok((String::from_utf8(text).unwrap(), summary))
    }

    fn clock() -> Clock {
        Clock::new(LogTime::Time, Zone::Utc)
    }

    fn sha(octets: &[u8]) -> Digest {
        ring::digest::digest(&SHA256, octets).as_ref().try_into().unwrap()
    }

    #[test]
    fn every_record_has_a_line() {
        let plain = file(&[&packet(), b"", &[100; 99], &[60; 64], &[7; 64]]);
        let (text, summary) = decoded(&plain).unwrap();
        assert_eq!(
            text,
            "14:13:20.000000 rule 0/(match) block in on em0: 192.0.2.1 > 192.0.2.2: ip-proto-253 0\n\
             14:13:21.000001 [|pflog]\n\
             14:13:22.000002 [|pflog]\n\
             14:13:23.000003 [pflog: unknown header length 60]\n\
             14:13:24.000004 [pflog: invalid header length!]\n"
        );
        assert_eq!((summary.records, summary.undecodable), (5, 4));
        assert_eq!(summary.first, Some((1_790_000_000, 0)));
        assert_eq!(summary.last, Some((1_790_000_004, 4)));
        assert_eq!(summary.octets, sha(&plain));
        assert!(matches!(summary.end, End::Clean));
    }

    #[test]
    fn a_log_without_records_is_fine() {
        let (text, summary) = decoded(&file(&[])).unwrap();
        assert_eq!(text, "");
        assert_eq!((summary.records, summary.first), (0, None));
        assert!(matches!(summary.end, End::Clean));
    }

    #[test]
    fn no_octets_and_other_files() {
        assert!(matches!(decoded(b""), Err(Error::Input(NotPflog::Empty))));
        assert!(matches!(decoded(&gzip(b"")), Err(Error::Input(NotPflog::Empty))));
        assert!(matches!(decoded(b"\x1f"), Err(Error::Input(NotPflog::NotPcap { .. }))));
        assert!(matches!(decoded(&gzip(b"mail")), Err(Error::Input(NotPflog::NotPcap { .. }))));
        assert!(matches!(decoded(b"\x1f\x8bno gzip"), Err(Error::Input(NotPflog::Unreadable(_)))));
    }

    #[test]
    fn gzip_of_several_members_is_one_file() {
        let plain = file(&[&packet(), &packet(), &packet()]);
        let (text, expected) = decoded(&plain).unwrap();
        for at in [1, 23, 24, 30, 200] {
            let members = [gzip(&plain[..at]), gzip(b""), gzip(&plain[at..])].concat();
            let (ours, summary) = decoded(&members).unwrap();
            assert_eq!(ours, text);
            assert_eq!(summary.octets, expected.octets);
            assert!(matches!(summary.end, End::Clean));
        }
    }

    #[test]
    fn damaged_gzip_gives_what_is_before_the_damage() {
        let plain = file(&vec![&packet()[..]; 1000]);
        let (text, _) = decoded(&plain).unwrap();
        let mut tailed = gzip(&plain);
        tailed.extend(b"garbage");
        let (ours, summary) = decoded(&tailed).unwrap();
        assert_eq!(ours, text);
        assert!(matches!(summary.end, End::Unreadable { offset, .. } if offset == plain.len() as u64));

        let plain = file(&vec![&packet()[..]; 20]);
        let (text, _) = decoded(&plain).unwrap();
        let whole = gzip(&plain);
        for len in 30..whole.len() {
            let Ok((ours, summary)) = decoded(&whole[..len]) else { continue };
            assert!(text.starts_with(&ours));
            assert_eq!(summary.records, ours.lines().count() as u64);
            assert!(matches!(summary.end, End::Unreadable { .. }), "{len}");
        }
    }

    #[test]
    fn a_corrupt_record_is_said_and_all_octets_are_digested() {
        let mut plain = file(&[&packet(), &packet()]);
        let second = 24 + 16 + 120;
        plain[second + 11] = 0xff;
        plain.extend(vec![9; 3_000_000]);
        let (text, summary) = decoded(&plain).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(summary.octets, sha(&plain));
        assert!(
            matches!(summary.end, End::Corrupt { record: 2, offset: 160, captured: 4_278_190_200 }),
            "{:?}",
            summary.end
        );
    }

    #[test]
    fn overlong_records_are_counted() {
        let long = [packet(), vec![0; 41]].concat();
        let (text, summary) = decoded(&file(&[&packet(), &long, &packet()[..], &long])).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert_eq!((summary.records, summary.overlong), (4, 2));
    }

    #[test]
    fn what_is_behind_a_damaged_length_is_not_lost_without_a_word() {
        let mut plain = file(&vec![&packet()[..]; 1000]);
        let tenth: usize = 24 + 9 * 136;
        plain[tenth + 8..tenth + 12].copy_from_slice(&200_000u32.to_le_bytes());
        let (_, summary) = decoded(&plain).unwrap();
        assert_eq!(summary.records, 9);
        assert!(matches!(summary.end, End::Corrupt { record: 10, .. }), "{:?}", summary.end);
    }

    #[test]
    fn stops_when_the_text_cannot_be_written() {
        /// A full disk.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                assert_eq!(self.0, 1, "written to again after an error");
                assert!(octets.len() < 2 * OUTPUT);
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for records in [1, 5000] {
            let plain = file(&vec![&packet()[..]; records]);
            let error = decode(&plain[..], &mut Full(0), clock()).unwrap_err();
            assert_eq!(error.to_string(), "cannot write the text: no storage space");
        }
    }
}
