//! Random packets for differential tests: valid ones of every kind that pf(4) logs, and the same damaged.
//!
//! Everything follows from a seed, so that a difference that was found is found again.
#![forbid(unsafe_code)]

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Any octet; small ones and those with single bits come more often.
    pub fn octet(&mut self) -> u8 {
        match self.below(4) {
            0 => self.pick(&[0, 1, 2, 3, 4, 8, 16, 32, 64, 127, 128, 254, 255]),
            1 => self.below(16) as u8,
            _ => self.number() as u8,
        }
    }

    /// `length` octets.
    pub fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.octet()).collect()
    }

    /// Two octets: seldom a small number, often any.
    fn short(&mut self) -> [u8; 2] {
        [if self.one_in(3) { 0 } else { self.octet() }, self.octet()]
    }
}

/// Address families as they stand in a pflog header: IPv4 everywhere, IPv6 on OpenBSD.
pub const V4: u8 = 2;
/// See [`V4`].
pub const V6: u8 = 24;

/// An IP packet and its address family: half of them IPv4. One in three is damaged: some octets are changed.
pub fn packet(random: &mut Random) -> (u8, Vec<u8>) {
    let (family, mut packet) = if random.one_in(2) { (V4, v4(random, 0)) } else { (V6, v6(random, 0)) };
    if random.one_in(3) {
        for _ in 0..=random.below(4) {
            let reach = packet.len().min(if random.one_in(2) { 80 } else { 1500 });
            let at = random.below(reach);
            packet[at] = random.octet();
        }
    }
    (family, packet)
}

/// How deep packets inside packets go.
const DEPTH: usize = 4;

fn v4(random: &mut Random, depth: usize) -> Vec<u8> {
    let (protocol, payload) = upper(random, depth, 4);
    let options = match random.below(4) {
        0 => ip_options(random),
        _ => Vec::new(),
    };
    let header = 20 + options.len();
    let total = (header + payload.len()).min(65535) as u16;
    let total = match random.below(12) {
        0 => total.wrapping_add(u16::from(random.octet())),
        1 => total.wrapping_sub(u16::from(random.octet())),
        2 => u16::from_be_bytes(random.short()),
        _ => total,
    };
    let tos = if random.one_in(2) { 0 } else { random.octet() };
    let fragment: u16 = match random.below(8) {
        0 => 0x2000,
        1 => 0x2000 | random.number() as u16 & 0x1fff,
        2 => random.number() as u16 & 0x1fff,
        3 => random.number() as u16,
        4 | 5 => 0x4000,
        _ => 0,
    };
    let ttl = random.pick(&[0, 1, 2, 64, 64, 64, 128, 255]);
    let mut packet = vec![0x40 | (header / 4) as u8, tos];
    packet.extend(total.to_be_bytes());
    packet.extend(random.octets(2));
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol]);
    packet.extend(random.octets(2));
    packet.extend(addr4(random));
    packet.extend(addr4(random));
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn addr4(random: &mut Random) -> [u8; 4] {
    match random.below(6) {
        0 => [255; 4],
        1 => [224, 0, 0, random.octet()],
        2 => [0; 4],
        _ => [random.pick(&[10, 127, 192, 203]), random.octet(), random.octet(), random.octet()],
    }
}

/// All kinds (RFC 791, 1108, 1393, 2113), padded to words, some damaged.
fn ip_options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    while options.len() < 36 && !random.one_in(4) {
        match random.pick(&[0u8, 1, 7, 68, 82, 130, 131, 134, 136, 137, 148, 200]) {
            kind @ (0 | 1) => options.push(kind),
            kind => {
                let length = 2 + random.below(12);
                options.extend([kind, if random.one_in(8) { random.octet() } else { length as u8 }]);
                options.extend(random.octets(length - 2));
            }
        }
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

fn v6(random: &mut Random, depth: usize) -> Vec<u8> {
    let (next, payload) = extended(random, depth);
    let length = payload.len().min(65535) as u16;
    let length = match random.below(12) {
        0 => length.wrapping_add(u16::from(random.octet())),
        1 => length.wrapping_sub(u16::from(random.octet())),
        2 => u16::from_be_bytes(random.short()),
        _ => length,
    };
    let mut first = random.number() as u32;
    if random.one_in(2) {
        first &= 0x000f_ffff;
    }
    if random.one_in(2) {
        first &= 0x0ff0_0000;
    }
    let mut packet = (0x6000_0000 | first & 0x0fff_ffff).to_be_bytes().to_vec();
    packet.extend(length.to_be_bytes());
    packet.extend([next, random.pick(&[0, 1, 2, 64, 64, 255])]);
    packet.extend(addr6(random));
    packet.extend(addr6(random));
    packet.extend(payload);
    packet
}

fn addr6(random: &mut Random) -> [u8; 16] {
    let mut addr = [0; 16];
    match random.below(7) {
        0 => {}
        1 => addr[15] = 1,
        2 => addr[..2].copy_from_slice(&[0xff, 2]),
        3 => addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 9]),
        4 => addr[12..].copy_from_slice(&[10, 0, 0, 9]),
        5 => {
            addr[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
            let at = random.below(16);
            addr[at] = random.octet();
            addr[15] = random.octet();
        }
        _ => addr.iter_mut().for_each(|octet| *octet = random.octet()),
    }
    addr
}

/// Extension headers and what follows: the next header and the octets.
fn extended(random: &mut Random, depth: usize) -> (u8, Vec<u8>) {
    let (mut next, mut payload) = upper(random, depth, 6);
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        let kind = random.pick(&[0, 43, 44, 60, 60, 51, 135]);
        let mut header = vec![next];
        match kind {
            44 => {
                header.push(0);
                let field: u16 =
                    if random.one_in(2) { random.below(2) as u16 } else { random.number() as u16 };
                header.extend(field.to_be_bytes());
                header.extend(random.octets(4));
            }
            43 => {
                let addresses = random.below(4);
                header.push(if random.one_in(6) { random.octet() } else { 2 * addresses as u8 });
                header.extend([random.pick(&[0, 0, 0, 1, 2, 3, 4, 4]), random.octet()]);
                let reserved = random.octets(4);
                header.extend(if random.one_in(2) {
                    [0; 4]
                } else {
                    [0, reserved[1], reserved[2], reserved[3]]
                });
                for _ in 0..addresses {
                    header.extend(addr6(random));
                }
            }
            51 => {
                header.push(random.pick(&[1, 2, 4, 4, 5, 255]));
                header.extend(random.octets(22));
            }
            _ => {
                let units = random.below(3);
                header.push(if random.one_in(8) { random.octet() } else { units as u8 });
                let mut options = Vec::new();
                while options.len() < 8 * units + 6 {
                    let kind = random.pick(&[0, 1, 1, 4, 5, 5, 0xc2, 0xc9, 0x26, 0x63]);
                    options.push(kind);
                    if kind != 0 {
                        let length = random.below(7);
                        options.push(if random.one_in(8) { random.octet() } else { length as u8 });
                        options.extend(random.octets(length));
                    }
                }
                options.truncate(8 * units + 6);
                header.extend(options);
            }
        }
        header.extend(payload);
        (next, payload) = (kind, header);
    }
    (next, payload)
}

/// What an IP packet of `version` carries: the protocol and the octets.
fn upper(random: &mut Random, depth: usize, version: u8) -> (u8, Vec<u8>) {
    let native = if version == 4 { 1 } else { 58 };
    let protocol = random.pick(&[6, 6, 6, 17, 17, native, native, native, 2, 4, 41, 47, 50, 51, 108, 0]);
    let payload = match protocol {
        6 => tcp(random),
        17 => udp(random),
        1 => icmp(random, depth),
        58 => icmp6(random, depth),
        2 => igmp(random),
        4 if depth < DEPTH => v4(random, depth + 1),
        41 if depth < DEPTH => v6(random, depth + 1),
        47 => gre(random, depth),
        0 => {
            let number = random
                .pick(&[0, 1, 3, 8, 9, 46, 55, 58, 59, 77, 88, 89, 97, 99, 103, 112, 132, 136, 253, 255]);
            let length = random.below(60);
            return (number, random.octets(length));
        }
        _ => {
            let length = random.below(60);
            random.octets(length)
        }
    };
    (protocol, payload)
}

/// A port behind which no program that prints packets looks for anything.
fn port(random: &mut Random) -> [u8; 2] {
    (40_000 + random.below(4_000) as u16).to_be_bytes()
}

fn tcp(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    while options.len() < 38 && !random.one_in(4) {
        let kind = random.pick(&[
            0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 8, 11, 12, 13, 14, 19, 27, 28, 29, 30, 34, 99, 253, 254,
        ]);
        let length = match kind {
            0 | 1 => {
                options.push(kind);
                continue;
            }
            2 => 2,
            3 | 14 => 1,
            4 => 0,
            5 => 8 * (1 + random.below(3)),
            8 => 8,
            19 => 16,
            28 => 2,
            30 => random.pick(&[1, 2, 10, 18, 22]),
            34 => random.pick(&[0, 4, 8, 16, 17]),
            _ => 4,
        };
        let length = if random.one_in(12) { random.below(12) } else { length };
        options.extend([kind, if random.one_in(12) { random.octet() } else { length as u8 + 2 }]);
        options.extend(random.octets(length));
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), 0);
    let words = if random.one_in(12) { random.below(16) } else { 5 + options.len() / 4 };
    let mut segment = [port(random), port(random)].concat();
    segment.extend(random.octets(8));
    segment.extend([(words << 4) as u8 | random.pick(&[0, 0, 0, 1, 9]), random.octet()]);
    segment.extend(random.octets(6));
    segment.extend(options);
    let payload = random.pick(&[0, 0, 1, 9, 60]);
    segment.extend(random.octets(payload));
    segment
}

fn udp(random: &mut Random) -> Vec<u8> {
    let payload = random.pick(&[0, 1, 12, 40]);
    let length = if random.one_in(6) { random.octet().into() } else { 8 + payload as u16 };
    let mut datagram = [port(random), port(random), length.to_be_bytes(), random.short()].concat();
    datagram.extend(random.octets(payload));
    datagram
}

/// Every type and code, with a quoted packet where one belongs.
fn icmp(random: &mut Random, depth: usize) -> Vec<u8> {
    let kind =
        random.pick(&[0, 3, 3, 3, 3, 4, 5, 5, 8, 9, 10, 11, 11, 12, 13, 14, 15, 16, 17, 18, 42, 43, 255]);
    let code = if random.one_in(4) { random.octet() } else { random.below(17) as u8 };
    let mut message = vec![kind, code];
    message.extend(random.octets(2));
    match kind {
        9 => message.extend([
            random.below(4) as u8,
            random.pick(&[2, 2, 2, 3]),
            random.octet(),
            random.octet(),
        ]),
        _ => message.extend([random.short(), random.short()].concat()),
    }
    if matches!(kind, 3..=5 | 11 | 12) && depth < DEPTH {
        message.extend(v4(random, DEPTH));
        if random.one_in(4) {
            message.extend(extensions(random));
        }
    } else {
        let length = random.below(40);
        message.extend(random.octets(length));
    }
    message
}

/// What RFC 4884 puts behind a quoted packet: padding to 128 octets, a header, objects.
fn extensions(random: &mut Random) -> Vec<u8> {
    let mut octets = vec![0; random.below(100)];
    octets.extend([0x20, 0, 0, 0]);
    let length = random.below(24);
    octets.extend([0, 4 + length as u8, random.below(4) as u8, 1]);
    octets.extend(random.octets(length));
    octets
}

/// Every type and code, in the shape that the type has.
fn icmp6(random: &mut Random, depth: usize) -> Vec<u8> {
    let kind = match random.below(8) {
        0 => random.octet(),
        1 | 2 => random.pick(&[1, 1, 1, 2, 3, 4]),
        _ => 128 + random.below(32) as u8,
    };
    let code = if random.one_in(3) { random.octet() } else { random.below(8) as u8 };
    let mut message = vec![kind, code];
    message.extend(random.octets(2));
    message.extend([random.short(), random.short()].concat());
    match kind {
        1..=4 if depth < DEPTH => message.extend(v6(random, DEPTH)),
        130..=132 => {
            message.extend(addr6(random));
            if random.one_in(2) {
                message.extend([random.octet(), random.octet(), 0, random.below(4) as u8]);
                let length = 16 * random.below(4);
                message.extend(random.octets(length));
            }
        }
        133..=137 => {
            let fixed = match kind {
                133 => 0,
                134 => 8,
                137 => 32,
                _ => 16,
            };
            message.extend(random.octets(fixed));
            while !random.one_in(3) {
                let units = 1 + random.below(4);
                message.extend([random.below(10) as u8, if random.one_in(8) { 0 } else { units as u8 }]);
                message.extend(random.octets(8 * units - 2));
            }
        }
        139 | 140 => {
            message.extend(random.octets(8));
            let length = random.below(30);
            if random.one_in(2) {
                message.extend(b"host.example.org".iter().take(length));
            } else {
                message.extend(random.octets(length));
            }
        }
        _ => {
            let length = random.below(40);
            message.extend(random.octets(length));
        }
    }
    message
}

fn igmp(random: &mut Random) -> Vec<u8> {
    let mut message = vec![
        random.pick(&[0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x1e, 0x1f, 0x22, 0x22, 0x42, 0]),
        random.octet(),
    ];
    message.extend(random.octets(2));
    message.extend(addr4(random));
    let length = random.pick(&[0, 0, 0, 1, 4, 8, 20]);
    message.extend(random.octets(length));
    message
}

/// The EtherTypes that tcpdump has a name for.
const ETHERTYPES: [u16; 53] = [
    0x880b, 0x00fe, 0x0200, 0x0500, 0x0600, 0x0707, 0x0800, 0x0806, 0x1000, 0x1111, 0x6001, 0x6002, 0x6003,
    0x6004, 0x6007, 0x6558, 0x8035, 0x8038, 0x803c, 0x803e, 0x805b, 0x805c, 0x809b, 0x80f3, 0x8100, 0x8137,
    0x86dd, 0x8808, 0x8809, 0x8847, 0x8848, 0x8863, 0x8864, 0x886f, 0x8870, 0x888e, 0x8899, 0x88a2, 0x88a8,
    0x88ca, 0x88cc, 0x88e5, 0x88f7, 0x8902, 0x893a, 0x8947, 0x894f, 0x9000, 0x9100, 0x9200, 0xabcd, 0xd28b,
    0xfefe,
];

/// RFC 2784 and 2890, version 1 of RFC 2637, with the protocols that are met.
fn gre(random: &mut Random, depth: usize) -> Vec<u8> {
    let flags = random.pick(&[0, 0, 0x2000, 0x1000, 0x3000, 0x8000, 0xb000, 0x4000, 0x2001, 0x3081, 0x0800]);
    let flags: u16 = if random.one_in(8) { random.number() as u16 } else { flags };
    let protocol: u16 = if random.one_in(4) {
        random.pick(&ETHERTYPES)
    } else {
        random.pick(&[0x0800, 0x0800, 0x86dd, 0x86dd, 0x880b, 0x6558, 0x8847, 0x1234])
    };
    let mut header = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
    for (bit, length) in [(0x8000 | 0x4000, 4), (0x2000, 4), (0x1000, 4)] {
        if flags & bit != 0 {
            header.extend(random.octets(length));
        }
    }
    match protocol {
        0x0800 if depth < DEPTH => header.extend(v4(random, depth + 1)),
        0x86dd if depth < DEPTH => header.extend(v6(random, depth + 1)),
        _ => {
            let length = random.below(40);
            header.extend(random.octets(length));
        }
    }
    header
}
