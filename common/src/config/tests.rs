use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    Config::parse(text.as_bytes()).unwrap_err().iter().map(Error::to_string).collect()
}

#[test]
fn every_default_is_a_value_its_key_takes_and_comes_back() {
    let defaults = parse("");
    for key in keys::KEYS {
        let mut config = Config::unset();
        assert_eq!((key.set)(&mut config, key.default), Ok(()), "{}", key.name);
    }
    let written: String = defaults.effective().map(|(key, value)| format!("{key}=\"{value}\"\n")).collect();
    let again = parse(&written);
    assert!(again.effective().eq(defaults.effective()));
    assert_eq!(defaults.block.file, Path::new("/var/db/ThreatSTOP-Block.pftable"));
    assert_eq!(defaults.dns_servers[0].to_string(), "ts-dns.threatstop.com:53");
    assert_eq!(defaults.policy_file(Table::Allow), Path::new("/var/db/threatstop/policy/allow.pftable"));
    assert!(!defaults.is_set("FETCH_USER") && again.is_set("FETCH_USER"));
}

#[test]
fn reads_a_file_of_the_old_scripts() {
    let config = parse(
        "# ThreatSTOP\ndevice_id=tdid_abcd1234\nOUT_DIR=/var/db\nBLOCK_FILE=/var/db/ThreatSTOP-Block.pftable\n\
         DNS_SERVERS=\"ns1.example.com 192.0.2.1:5353 [2001:db8::1]:5353 2001:db8::2\"\nDNS_PORT=5353\n\
         BLOCK_LIST=\"block.org.threatstop.local. more.org.threatstop.local\"\nlogfile=/var/log/threatstop.log\n\
         RELOAD_PF=no\nMAX_POLICY_SIZE=30000\nOUTBOX_MAX=1G\nNEVER_BLOCK=\"192.0.2.0/24 2001:db8::1\"\nLOG_TIME=epoch\n",
    );
    assert_eq!(config.device_id, "tdid_abcd1234");
    let servers: Vec<String> = config.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        ["ns1.example.com:5353", "192.0.2.1:5353", "[2001:db8::1]:5353", "[2001:db8::2]:5353"]
    );
    assert_eq!(config.block.lists, ["block.org.threatstop.local", "more.org.threatstop.local"]);
    assert_eq!(config.block.file, Path::new("/var/db/ThreatSTOP-Block.pftable"));
    assert!(!config.reload_pf);
    assert_eq!((config.max_policy_size, config.outbox_max), (30000, 1 << 30));
    assert_eq!((config.never_block.len(), config.log_time), (2, LogTime::Epoch));
}

#[test]
fn tls_has_a_port_of_its_own() {
    let ports = |text: &str| {
        let config = parse(&format!("DNS_SERVERS=\"ns.example 192.0.2.1:5353\"\n{text}"));
        let shown = config.effective().find(|(key, _)| *key == "DNS_PORT").unwrap().1;
        assert_eq!(shown, config.dns_port.to_string());
        (config.dns_servers[0].port.unwrap(), config.dns_servers[1].port.unwrap())
    };
    assert_eq!(ports(""), (53, 5353));
    assert_eq!(ports("DNS_TLS=yes"), (853, 5353));
    assert_eq!(ports("DNS_PORT=8853\nDNS_TLS=yes"), (8853, 5353));
    assert_eq!(ports("DNS_TLS=yes\nDNS_PORT=53"), (53, 5353));
}

#[test]
fn reports_all_problems_at_once() {
    let found = problems(
        "OUT_DIR=db\nNO_SUCH=1\n\nDNS_PORT=5353\nDNS_PORT=53\nMIN_PREFIX4=40\nbad line\nDNS_TLS=maybe\n",
    );
    assert_eq!(
        found,
        [
            "line 1: OUT_DIR: db: not an absolute path without . and ..",
            "line 2: NO_SUCH: unknown key",
            "line 5: DNS_PORT: set already in line 4",
            "line 6: MIN_PREFIX4: 40: not a number from 0 to 32",
            "line 7: not of the form KEY=value",
            "line 8: DNS_TLS: maybe: not one of yes, no",
        ]
    );
}

#[test]
fn refuses_bad_values() {
    for line in [
        "device_id=\"tdid abc\"",
        "device_id=a;b",
        "DNS_SERVERS=",
        "DNS_SERVERS=host:0",
        "DNS_SERVERS=host:port",
        "DNS_SERVERS=[2001:db8::1",
        "DNS_SERVERS=[2001:db8::1]53",
        "DNS_SERVERS=1.2.3",
        "DNS_SERVERS=-o/x",
        "DNS_PORT=+53",
        "DNS_PORT=65536",
        "BLOCK_LIST=a..b",
        "BLOCK_LIST=a*b",
        "BLOCK_LIST=\"a.example A.example.\"",
        "LIST_FORMAT=APL",
        "TSIG_KEY_FILE=key",
        "MAX_POLICY_SIZE=-1",
        "OUT_DIR=/var/../etc",
        "OUT_DIR=/",
        "BLOCK_FILE=../x",
        "BLOCK_FILE=..",
        "BLOCK_FILE=",
        "BLOCK_TABLE=",
        "BLOCK_TABLE=abcdefghijklmnopqrstuvwxyzabcdef",
        "BLOCK_TABLE=a/b",
        "ANCHOR=/a",
        "ANCHOR=a//b",
        "ANCHOR=_pf",
        "ANCHOR=_pf/a",
        "MAX_COVER=101",
        "NEVER_BLOCK=192.0.2.1/24",
        "NEVER_BLOCK=self",
        "LOG_TIME=utc",
        "url=http://logs.example/",
        "url=https://",
        "url=https:///path",
        "UPLOAD_ID_FIELD=\"a b\"",
        "PROXY=https://proxy:3128",
        "OUTBOX_MAX=0",
        "OUTBOX_MAX=1T",
        "OUTBOX_MAX=1MM",
        "OUTBOX_MAX=99999999999G",
        "SPOOL_DIR=spool",
        "FETCH_USER=",
        "FETCH_USER=a:b",
        "ALLOW_TABLE=ThreatSTOP-Block",
        "ALLOW_FILE=ThreatSTOP-Block.pftable",
        "ALLOW_FILE=/var/db/ThreatSTOP-Block.pftable.1",
        "BLOCK_FILE=ThreatSTOP-Allow.pftable.tmp",
        "ALLOW_FILE=ThreatSTOP-Block.pftable.1.tmp",
        "BLOCK_FILE=/var/db/threatstop/lock/tsload",
        "SPOOL_DIR=/var/db",
    ] {
        assert!(Config::parse(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn a_secret_is_not_repeated() {
    assert!(!problems("PROXY=ftp://user:secret@proxy:3128")[0].contains("secret"));
}

#[test]
fn names_the_file() {
    let path = std::env::temp_dir().join(format!("tspf-config-{}", std::process::id()));
    std::fs::write(&path, "X=1\n").unwrap();
    let errors = Config::load(&path).unwrap_err();
    assert_eq!(errors[0].to_string(), format!("{}: line 1: X: unknown key", path.display()));
    std::fs::write(&path, vec![b'#'; MAX_SIZE as usize + 1]).unwrap();
    assert!(Config::load(&path).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(Config::load(&path).unwrap_err()[0].to_string().ends_with("No such file or directory"));
}
