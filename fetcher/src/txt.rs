//! TXT rdata (RFC 1035, section 3.3.14) that holds prefixes: in each character-string one or
//! more addresses or prefixes, separated by white space or commas.

use common::prefix;

use crate::chunk::{Chunk, quote};

/// Appends the prefixes of one record. Address bits beyond the prefix length are cleared; an
/// empty character-string holds nothing. A prefix does not go on in the next character-string.
///
/// # Errors
/// Names the first word that is no prefix, or says that the rdata ends within a string or has
/// none.
pub fn read(rdata: &[u8], chunk: &mut Chunk) -> Result<(), String> {
    if rdata.is_empty() {
        return Err("a TXT record without a string".to_owned());
    }
    let mut rest = rdata;
    while let Some((length, after)) = rest.split_first() {
        let Some((string, after)) = after.split_at_checked(usize::from(*length)) else {
            return Err(format!("TXT string of {length} octets, {} left in the record", after.len()));
        };
        rest = after;
        let words = string.split(|octet| octet.is_ascii_whitespace() || *octet == b',');
        for word in words.filter(|word| !word.is_empty()) {
            let net = prefix::parse(word).map_err(|why| format!("{}: {why}", quote(word)))?;
            chunk.positive.push(net);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::IpNet;
    use proptest::prelude::*;

    fn text(strings: &[&[u8]]) -> Result<String, String> {
        let mut rdata = Vec::new();
        for string in strings {
            rdata.push(string.len() as u8);
            rdata.extend_from_slice(string);
        }
        let mut chunk = Chunk::default();
        read(&rdata, &mut chunk)?;
        Ok(chunk.positive.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn reads_one_or_more_in_a_string() {
        assert_eq!(text(&[b"192.0.2.1"]).unwrap(), "192.0.2.1/32");
        assert_eq!(
            text(&[b" 192.0.2.1,192.0.2.8/29 , 2001:DB8::/32\t", b"", b"10.0.0.1/8"]).unwrap(),
            "192.0.2.1/32 192.0.2.8/29 2001:db8::/32 10.0.0.0/8"
        );
        assert_eq!(text(&[b""]).unwrap(), "");
        assert_eq!(text(&[]).unwrap_err(), "a TXT record without a string");
        assert_eq!(text(&[b" ,, "]).unwrap(), "");
    }

    #[test]
    fn names_the_word_that_is_no_prefix() {
        for (strings, cause) in [
            (&[&b"v=spf1 -all"[..]][..], "v=spf1: not a numeric prefix"),
            (&[b"!192.0.2.1"], "!192.0.2.1: not a numeric prefix"),
            (&[b"192.0.2.1/33"], "192.0.2.1/33: not a prefix length"),
            (&[b"192.0.", b"2.1"], "192.0.: not a numeric prefix"),
            (&[b"::ffff:192.0.2.1"], "::ffff:192.0.2.1: an IPv4 address mapped into IPv6"),
            (&[b"\x1b[2J\xff"], "\\x1b[2J\\xff: not a numeric prefix"),
        ] {
            assert_eq!(text(strings).unwrap_err(), cause);
        }
        assert!(text(&[&[b'x'; 255]]).unwrap_err().len() < 100);
    }

    #[test]
    fn truncated_at_every_length_it_fails_unless_a_string_ends_there() {
        let rdata = b"\x09192.0.2.1\x00\x0810.0.0/8\x0810.0.0.0";
        let mut chunk = Chunk::default();
        assert!(read(rdata, &mut chunk).is_err(), "10.0.0/8 is a short form");
        let rdata = b"\x09192.0.2.1\x00\x0a10.0.0.0/8";
        for length in 0..=rdata.len() {
            let good = [10, 11, 22].contains(&length);
            assert_eq!(read(&rdata[..length], &mut chunk).is_ok(), good, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(rdata in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut chunk = Chunk::default();
            if let Err(cause) = read(&rdata, &mut chunk) {
                prop_assert!(cause.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{}", cause);
            }
        }
    }
}
