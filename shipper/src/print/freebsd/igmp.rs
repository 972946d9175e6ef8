//! IGMP (RFC 2236, 3376) and multicast traceroute.

use super::Printed;
use super::octets::Octets;
use crate::print::line::Line;

/// Prints the message at the start of `bytes`, which IP says is `len` octets long.
pub(super) fn print(line: &mut Line<'_>, bytes: &[u8], len: u32) -> Printed {
    let octets = Octets::new(bytes, "igmp");
    match octets.u8(0)? {
        0x11 => {
            line.text("igmp query");
            if len >= 12 { query_v3(line, octets, len)? } else { query(line, octets, len)? }
        }
        0x12 => {
            let group = octets.array(4)?;
            line.text("igmp v1 report ").addr4(group);
            wrong_length(line, len);
        }
        0x13 => {
            line.text("igmp dvmrp");
            if len < 8 {
                wrong_length(line, len);
            }
        }
        0x14 => {
            line.text("igmp pimv1");
        }
        0x16 => {
            let group = octets.array(4)?;
            line.text("igmp v2 report ").addr4(group);
        }
        0x17 => {
            let group = octets.array(4)?;
            line.text("igmp leave ").addr4(group);
        }
        0x1e => trace(line, "mresp ", octets, len)?,
        0x1f => trace(line, "mtrace ", octets, len)?,
        0x22 => {
            line.text("igmp v3 report");
            if bad_length(line, len, 16) {
                return Ok(());
            }
            let groups = octets.u16(6)?;
            line.text(", ").dec(groups).text(" group record(s)");
        }
        other => {
            line.text("igmp-").dec(other);
        }
    }
    Ok(())
}

/// Versions 1 and 2.
fn query(line: &mut Line<'_>, octets: Octets<'_>, len: u32) -> Printed {
    match octets.u8(1)? {
        0 => line.text(" v1"),
        100 => line.text(" v2"),
        time => line.text(" v2 [max resp time ").dec(time).text("]"),
    };
    let group: &[u8; 4] = octets.array(4)?;
    if *group != [0; 4] {
        line.text(" [gaddr ").addr4(group).text("]");
    }
    wrong_length(line, len);
    Ok(())
}

fn query_v3(line: &mut Line<'_>, octets: Octets<'_>, len: u32) -> Printed {
    line.text(" v3");
    if bad_length(line, len, 12) {
        return Ok(());
    }
    let code = octets.u8(1)?;
    if code != 100 {
        line.text(" [max resp time ");
        response_time(line, code);
        line.text("]");
    }
    let group: &[u8; 4] = octets.array(4)?;
    if *group == [0; 4] {
        return Ok(());
    }
    line.text(" [gaddr ").addr4(group);
    let sources = octets.u16(10)?;
    if sources > 0 {
        if len < 12 + 4 * u32::from(sources) {
            line.text(" [invalid number of sources]");
        } else {
            line.text(", ").dec(sources).text(" source(s)");
        }
    }
    line.text("]");
    Ok(())
}

/// A time in tenths of a second, as a small floating-point number (RFC 3376, section 4.1.1).
fn response_time(line: &mut Line<'_>, code: u8) {
    let code = u32::from(code);
    let tenths = if code < 128 { code } else { (code & 0xf | 0x10) << ((code >> 4 & 7) + 3) };
    if tenths < 600 {
        line.dec(tenths / 10).text(".").dec(tenths % 10).text("s");
        return;
    }
    let seconds = tenths / 10;
    for (count, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
        if count > 0 {
            line.dec(count).text(unit);
        }
    }
}

fn trace(line: &mut Line<'_>, name: &'static str, octets: Octets<'_>, len: u32) -> Printed {
    if len < 24 {
        line.text(" [invalid len ").dec(len).text("]");
        return Ok(());
    }
    let (src, dst, reply) = (octets.array(8)?, octets.array(12)?, octets.array(16)?);
    let [ttl, id @ ..] = octets.u32(20)?.to_be_bytes();
    let [a, b, c] = id;
    line.text(name).dec(u32::from_be_bytes([0, a, b, c])).text(": ").addr4(src);
    line.text(" to ").addr4(dst).text(" reply-to ").addr4(reply);
    if reply[0] >> 4 == 0xe {
        line.text(" with-ttl ").dec(ttl);
    }
    Ok(())
}

fn wrong_length(line: &mut Line<'_>, len: u32) {
    if len != 8 {
        line.text(" [len ").dec(len).text("]");
    }
}

/// Whether a message of version 3 is too short or not of whole words, which is printed.
fn bad_length(line: &mut Line<'_>, len: u32, minimum: u32) -> bool {
    let bad = len < minimum || !len.is_multiple_of(4);
    if bad {
        line.text(" [invalid len ").dec(len).text("]");
    }
    bad
}
