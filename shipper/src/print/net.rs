//! The IP header that the printers of what it carries look back at.

use super::line::Line;

/// IP protocol numbers (IANA) that more than one printer knows.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const ESP: u8 = 50;
    pub(crate) const AH: u8 = 51;
    pub(crate) const MOBILE: u8 = 55;
    pub(crate) const ICMP6: u8 = 58;
    pub(crate) const PIM: u8 = 103;
    pub(crate) const IPCOMP: u8 = 108;
    pub(crate) const CARP: u8 = 112;
}

/// An address in a packet.
#[derive(Clone, Copy)]
pub(crate) enum Addr<'a> {
    /// IPv4.
    V4(&'a [u8; 4]),
    /// IPv6.
    V6(&'a [u8; 16]),
}

/// What an IP header says about the header behind it.
#[derive(Clone, Copy)]
pub(crate) struct Net<'a> {
    /// The source address.
    pub(crate) src: Addr<'a>,
    /// The destination address.
    pub(crate) dst: Addr<'a>,
    /// The protocol field, or the next header field of the IPv6 header itself.
    pub(crate) protocol: u8,
}

impl Addr<'_> {
    /// Appends the address.
    pub(crate) fn print(self, line: &mut Line<'_>) {
        match self {
            Addr::V4(addr) => line.addr4(addr),
            Addr::V6(addr) => line.addr6(addr),
        };
    }
}

impl Net<'_> {
    /// `src > dst`
    pub(crate) fn ends(self, line: &mut Line<'_>) {
        self.src.print(line);
        line.text(" > ");
        self.dst.print(line);
    }

    /// `src.port > dst.port`
    pub(crate) fn ends_with_ports(self, line: &mut Line<'_>, sport: u16, dport: u16) {
        self.src.print(line);
        line.text(".").dec(sport).text(" > ");
        self.dst.print(line);
        line.text(".").dec(dport);
    }

    /// `src.port > dst.port: ` if this is the header before that of `protocol`; behind another
    /// one the addresses have been printed, and it is `port > port: `.
    pub(crate) fn ends_if_next(self, line: &mut Line<'_>, protocol: u8, sport: u16, dport: u16) {
        if self.protocol == protocol {
            self.ends_with_ports(line, sport, dport);
        } else {
            line.dec(sport).text(" > ").dec(dport);
        }
        line.text(": ");
    }
}
