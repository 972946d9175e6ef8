//! What tsfetch needs of the configuration, and which of it decides what a table holds.

use common::config::{Config, Table};

/// What keeps tsfetch from working with this configuration, each as `KEY: cause`.
pub fn problems(config: &Config) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if config.block.lists.is_empty() && config.allow.lists.is_empty() {
        problems.push("BLOCK_LIST: neither BLOCK_LIST nor ALLOW_LIST is set, there is nothing to fetch");
    }
    let on_port = |port| config.dns_servers.iter().any(|server| server.port == Some(port));
    if config.dns_tls && on_port(53) {
        problems.push("DNS_TLS: DNS over TLS is never on port 53; without DNS_PORT, port 853 is asked");
    }
    if !config.dns_tls && on_port(853) {
        problems.push("DNS_TLS: port 853 is for DNS over TLS only; set DNS_TLS to yes");
    }
    problems
}

/// The digest in a table's spool file: FNV-1a, 64 bits, over the lines `KEY="value"` of the
/// settings that decide what the table holds, and over the version: another one may make another
/// table of the same answers. It tells what changed, not an attacker.
pub fn digest(config: &Config, table: Table) -> u64 {
    let list = match table {
        Table::Allow => "ALLOW_LIST",
        Table::Block => "BLOCK_LIST",
    };
    // DNS_TLS, CA_FILE, TSIG_KEY_FILE: a policy that somebody else could have sent does not stay.
    let keys = [
        "DNS_SERVERS",
        "DNS_TLS",
        "CA_FILE",
        list,
        "LIST_FORMAT",
        "TSIG_KEY_FILE",
        "MAX_POLICY_SIZE",
        "AGGREGATE",
    ];
    let mut digest = Fnv::new();
    digest.add(concat!("tsfetch ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    for (key, value) in config.effective().filter(|(key, _)| keys.contains(key)) {
        digest.add(format!("{key}=\"{value}\"\n").as_bytes());
    }
    digest.0
}

/// FNV-1a with 64 bits (draft-eastlake-fnv).
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_list_is_enough() {
        assert!(problems(&config("BLOCK_LIST=b.example")).is_empty());
        assert!(problems(&config("ALLOW_LIST=a.example")).is_empty());
        assert!(problems(&config(""))[0].starts_with("BLOCK_LIST: "));
    }

    #[test]
    fn each_transport_has_its_port() {
        for (lines, good) in [
            ("DNS_TLS=yes", true),
            ("DNS_TLS=yes\nDNS_PORT=5353", true),
            ("DNS_TLS=yes\nDNS_PORT=53", false),
            ("DNS_TLS=yes\nDNS_SERVERS=\"ns.example ns.example:53\"", false),
            ("DNS_PORT=853", false),
            ("DNS_SERVERS=ns.example:853", false),
            ("DNS_SERVERS=ns.example:5353", true),
        ] {
            let problems = problems(&config(&format!("BLOCK_LIST=b.example\n{lines}")));
            assert_eq!(problems.is_empty(), good, "{lines}");
            assert!(problems.iter().all(|problem| problem.starts_with("DNS_TLS: ")), "{problems:?}");
        }
    }

    #[test]
    fn fnv_vectors() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut fnv = Fnv::new();
            fnv.add(text.as_bytes());
            assert_eq!(fnv.0, expected, "{text}");
        }
    }

    #[test]
    fn the_digest_follows_the_settings_of_its_table_only() {
        let base = config("BLOCK_LIST=b.example\nALLOW_LIST=a.example");
        let of = |text: &str| {
            let other = config(text);
            Table::BOTH.map(|table| digest(&other, table) == digest(&base, table))
        };
        let same = "BLOCK_LIST=\"b.example.\"\nALLOW_LIST=a.example\n";
        assert_eq!(of(&format!("{same}OUT_DIR=/tmp\nLIST_FORMAT=auto")), [true, true]);
        assert_eq!(of("BLOCK_LIST=c.example\nALLOW_LIST=a.example"), [true, false]);
        assert_eq!(of("BLOCK_LIST=b.example"), [false, true]);
        for line in [
            "AGGREGATE=yes",
            "MAX_POLICY_SIZE=5",
            "LIST_FORMAT=apl",
            "DNS_SERVERS=ns.example",
            "DNS_PORT=5353",
            "DNS_SERVERS=ts-dns.threatstop.com:53\nDNS_TLS=yes",
            "CA_FILE=/etc/ssl/own.pem",
            "TSIG_KEY_FILE=/etc/key",
        ] {
            assert_eq!(of(&format!("{same}{line}")), [false, false], "{line}");
        }
        assert_ne!(digest(&base, Table::Allow), digest(&base, Table::Block));
    }
}
