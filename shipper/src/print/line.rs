//! Appends text and numbers to the line being built.
//!
//! Formatting is done here rather than with `write!`: a busy firewall logs thousands of packets a
//! second, and most of a decoder's time is spent turning numbers into digits.

use std::net::Ipv6Addr;

/// A line under construction, at the end of a buffer that may hold earlier lines.
///
/// Only printable ASCII can get in: [`Line::text`] and [`Line::first`] are for the program's own words, everything that
/// comes from a capture goes through a number, an address, or [`Line::escaped`].
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Continues at the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The program's own words. Inlined, so that their length is known where they are copied: a call of
    /// memcpy(3) takes longer than what it does for a few octets.
    #[inline(always)]
    pub(crate) fn text(&mut self, words: &'static str) -> &mut Self {
        self.out.extend_from_slice(words.as_bytes());
        self
    }

    /// What another line holds, and is safe for that.
    pub(crate) fn printed(&mut self, text: &[u8]) -> &mut Self {
        self.out.extend_from_slice(text);
        self
    }

    /// A decimal number (`%u`).
    #[inline]
    pub(crate) fn dec(&mut self, number: impl Into<u64>) -> &mut Self {
        let number = number.into();
        if number < GROUP { self.group(number, digit_count(number)) } else { self.long(number, 1) }
    }

    /// A decimal number of at least `width` digits (`%0*u`).
    pub(crate) fn dec_padded(&mut self, number: u32, width: u32) -> &mut Self {
        self.long(number.into(), width)
    }

    /// A decimal number with its sign (`%ld`).
    pub(crate) fn signed(&mut self, number: i64) -> &mut Self {
        if number < 0 {
            self.text("-");
        }
        self.dec(number.unsigned_abs())
    }

    /// A number of any length, from groups of eight digits.
    fn long(&mut self, number: u64, width: u32) -> &mut Self {
        if number < GROUP && width <= 8 {
            return self.group(number, digit_count(number).max(width));
        }
        self.long(number / GROUP, width.saturating_sub(8)).group(number % GROUP, 8)
    }

    /// A number below 100,000,000, in its last `count` digits, 1 to 8. Where numbers are many a line, a branch
    /// for each length would be guessed wrong half of the time.
    fn group(&mut self, number: u64, count: u32) -> &mut Self {
        let unused = 64_u32.wrapping_sub(count << 3);
        self.first((digits(number) | ZEROS).unbounded_shr(unused).to_le_bytes(), count as usize)
    }

    /// Appends the first `count` of `octets`. All are copied, which is faster, and the rest is taken back.
    #[inline(always)]
    pub(crate) fn first<const N: usize>(&mut self, octets: [u8; N], count: usize) -> &mut Self {
        let end = self.out.len().saturating_add(count);
        self.out.extend_from_slice(&octets);
        self.out.truncate(end);
        self
    }

    /// Two octets, by far the most frequent numbers, each with a dot behind it.
    #[inline(always)]
    fn octets(&mut self, a: u8, b: u8) -> &mut Self {
        let entry = |octet: u8| OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        let ((a, a_bits), (b, b_bits)) = (entry(a), entry(b));
        let both = u64::from(a) | u64::from(b).wrapping_shl(a_bits);
        self.first(both.to_le_bytes(), (a_bits.wrapping_add(b_bits) >> 3) as usize)
    }

    /// A hexadecimal number (`%x`).
    pub(crate) fn hex(&mut self, number: u32) -> &mut Self {
        let digits = (32 - number.leading_zeros()).div_ceil(4).max(1);
        self.hex_padded(number, digits)
    }

    /// The last `digits` hexadecimal digits of a number (`%0*x`).
    pub(crate) fn hex_padded(&mut self, number: u32, digits: u32) -> &mut Self {
        for digit in (0..digits.min(8)).rev() {
            let digit = (number >> (4 * digit) & 0xf) as u8;
            self.out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
        self
    }

    /// Four hexadecimal digits in capitals (`%04X`).
    pub(crate) fn hex_upper(&mut self, number: u16) -> &mut Self {
        let from = self.mark();
        self.hex_padded(number.into(), 4);
        self.out.iter_mut().skip(from).for_each(u8::make_ascii_uppercase);
        self
    }

    /// An IPv4 address.
    pub(crate) fn addr4(&mut self, addr: &[u8; 4]) -> &mut Self {
        let [a, b, c, d] = *addr;
        let end = self.octets(a, b).octets(c, d).mark();
        self.cut_to(end.saturating_sub(1))
    }

    /// An IPv6 address as inet_ntop(3) of OpenBSD writes it.
    ///
    /// That is RFC 5952, and the last four octets of IPv4-compatible (`::/96`) and IPv4-mapped
    /// (`::ffff:0:0/96`) addresses in dotted form. The standard library prints the compatible ones in
    /// hexadecimal.
    pub(crate) fn addr6(&mut self, addr: &[u8; 16]) -> &mut Self {
        let groups = Ipv6Addr::from(*addr).segments();
        let (at, run) = longest_zero_run(&groups);
        let dotted = at == 0 && (run == 6 || run == 5 && groups[5] == 0xffff);
        for (i, &group) in groups.iter().enumerate().take(if dotted { 6 } else { 8 }) {
            if i < at || i >= at + run {
                if i > 0 {
                    self.text(":");
                }
                self.hex(group.into());
            } else if i == at {
                self.text(":");
            }
        }
        if dotted {
            let [.., a, b, c, d] = *addr;
            self.text(":").addr4(&[a, b, c, d]);
        } else if at + run == 8 {
            self.text(":");
        }
        self
    }

    /// Text from a capture: printable ASCII as it is, anything else as `\ooo` in octal.
    pub(crate) fn escaped(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            if matches!(byte, b' '..=b'~') {
                self.out.push(byte);
            } else {
                let digit = |shift: u8| b'0' + (byte >> shift & 7);
                self.out.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
            }
        }
        self
    }

    /// Text from a capture as tcpdump.org's tcpdump writes it: what is not
    /// printable as `^X`, with `M-` before it if the octet is above 127.
    pub(crate) fn careted(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            if byte > 127 {
                self.text("M-");
            }
            let byte = byte & 127;
            match byte {
                b' '..=b'~' => self.out.push(byte),
                _ => self.out.extend_from_slice(&[b'^', byte ^ 64]),
            }
        }
        self
    }

    /// How long the buffer is now; for [`Line::cut_to`].
    pub(crate) fn mark(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything past `mark`.
    pub(crate) fn cut_to(&mut self, mark: usize) -> &mut Self {
        self.out.truncate(mark);
        self
    }
}

/// Numbers are made in groups of eight digits, in a register: a loop over a buffer would have the
/// processor wait for its own bytes.
const GROUP: u64 = 100_000_000;

/// The character 0 in each octet.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// The text of each octet and a dot, from the lowest octet on, and how many bits these are.
static OCTETS: [(u32, u32); 256] = {
    let mut texts = [(0, 0); 256];
    let mut rest = texts.as_mut_slice();
    let mut octet = 0;
    while let Some((text, others)) = rest.split_first_mut() {
        let unused = 8 * ((octet < 100) as u32 + (octet < 10) as u32);
        let three = ((digits(octet as u64) | ZEROS) >> 40) as u32;
        *text = ((three | ((b'.' as u32) << 24)) >> unused, 32 - unused);
        octet += 1;
        rest = others;
    }
    texts
};

/// The eight digits of a number below 100,000,000, the first in the lowest octet: halves of four digits,
/// then the pairs of both at once, then the tens of all. 10486 / 2^20 is near enough to a hundredth for
/// that, and 103 / 2^10 to a tenth.
const fn digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = (halves.wrapping_mul(10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves.wrapping_sub(hundreds.wrapping_mul(100)) << 16);
    let tens = (pairs.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs.wrapping_sub(tens.wrapping_mul(10)) << 8)
}

/// How many digits a number below 100,000,000 has. What comes behind it in the line waits for this alone,
/// and not for the digits: a sum with the entry for its highest bit has the count above 32 bits.
fn digit_count(number: u64) -> u32 {
    let entry = DIGIT_COUNTS.get((number | 1).ilog2() as usize).copied().unwrap_or_default();
    (number.wrapping_add(entry) >> 32) as u32
}

/// For each highest bit: the count of digits of the numbers that have it, and a carry into it from the power
/// of ten on that lies among them.
static DIGIT_COUNTS: [u64; 27] = {
    let mut entries = [0; 27];
    let mut rest = entries.as_mut_slice();
    let (mut bit, mut count, mut power) = (0, 1, 10);
    while let Some((entry, others)) = rest.split_first_mut() {
        *entry = count << 32;
        if power < 2_u64 << bit {
            *entry = ((count + 1) << 32) - power;
            (count, power) = (count + 1, power * 10);
        }
        bit += 1;
        rest = others;
    }
    entries
};

/// Where the first longest run of two or more zero groups is, and its length; (0, 0) without one.
fn longest_zero_run(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best_at, mut best) = (0, 0);
    let mut run = 0;
    for (i, &group) in groups.iter().enumerate() {
        run = if group == 0 { run + 1 } else { 0 };
        if run > best.max(1) {
            (best_at, best) = (i + 1 - run, run);
        }
    }
    (best_at, best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Line::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    fn addr6(addr: &str) -> String {
        let addr: Ipv6Addr = addr.parse().unwrap();
        written(|line| {
            line.addr6(&addr.octets());
        })
    }

    #[test]
    fn ipv6_addresses_like_inet_ntop() {
        for (addr, text) in [
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("0:0:1:0:0:0:2:3", "0:0:1::2:3"),
            ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("::192.0.2.1", "::192.0.2.1"),
            ("::2:3", "::0.2.0.3"),
            ("::ffff:1:2:3", "::ffff:1:2:3"),
        ] {
            assert_eq!(addr6(addr), text, "{addr}");
        }
    }

    #[test]
    fn escapes_keep_a_line_one_line() {
        let text = written(|line| {
            line.escaped(b"em0 ~\n\x00\x1b[2J\x7f\xff\\");
        });
        assert_eq!(text, "em0 ~\\012\\000\\033[2J\\177\\377\\");
    }

    #[test]
    fn every_group_and_octet() {
        for number in 0..=10_000_u64 {
            assert_eq!(
                written(|l| {
                    l.dec(number);
                }),
                number.to_string()
            );
        }
        for octet in 0..=255 {
            let addr = [octet, 255 - octet, octet / 2, octet];
            assert_eq!(
                written(|l| {
                    l.addr4(&addr);
                }),
                std::net::Ipv4Addr::from(addr).to_string()
            );
        }
    }

    proptest! {
        #[test]
        fn numbers_like_std(number: u64, small: u32, signed: i64, width in 0u32..12) {
            prop_assert_eq!(written(|l| { l.dec(number); }), number.to_string());
            prop_assert_eq!(written(|l| { l.signed(signed); }), signed.to_string());
            prop_assert_eq!(written(|l| { l.dec_padded(small, width); }), format!("{small:0w$}", w = width as usize));
            prop_assert_eq!(written(|l| { l.hex(small); }), format!("{small:x}"));
            prop_assert_eq!(written(|l| { l.hex_padded(small, 8); }), format!("{small:08x}"));
        }

        #[test]
        fn ipv6_addresses_like_std(groups: [u16; 8], zeros: u8) {
            let mut groups = groups;
            for (i, group) in groups.iter_mut().enumerate() {
                if zeros >> i & 1 == 1 { *group = 0; }
            }
            let addr = Ipv6Addr::from(groups);
            // Only IPv4-compatible addresses differ from the standard library's text.
            if groups[..6] != [0; 6] || groups[6] == 0 {
                prop_assert_eq!(written(|l| { l.addr6(&addr.octets()); }), addr.to_string());
            }
        }
    }
}
