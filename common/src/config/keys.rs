//! Every key of threatstop.conf(5): its name, its default, how it is read and shown.

use std::path::{Path, PathBuf};

use super::{Config, TableSettings, values};

/// One key.
pub struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    pub show: fn(&Config) -> String,
}

/// Finds a key by its exact name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The names of all keys, in the order of the manual.
pub fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// What is never blocked unless the file says otherwise: private and local addresses (RFC 1918,
/// RFC 6598, loopback, link-local, RFC 4193), those without which CARP, OSPF, DHCP and neighbour
/// discovery do not work (unspecified, multicast, broadcast), and the service's own.
const NEVER_BLOCK: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 \
    192.168.0.0/16 224.0.0.0/4 255.255.255.255/32 192.124.129.0/24 204.68.97.208/28 204.68.99.208/28 \
    ::/128 ::1/128 fc00::/7 fe80::/10 ff00::/8";

macro_rules! key {
    ($name:literal, $default:expr, $field:ident, $read:expr, $show:expr) => {
        Key {
            name: $name,
            default: $default,
            set: |config, value| {
                config.$field = $read(value)?;
                Ok(())
            },
            show: |config| $show(&config.$field),
        }
    };
    ($name:literal, $default:expr, $table:ident.$field:ident, $read:expr, $show:expr) => {
        Key {
            name: $name,
            default: $default,
            set: |config, value| {
                config.$table.$field = $read(value)?;
                Ok(())
            },
            show: |config| {
                let table: &TableSettings = &config.$table;
                $show(&table.$field)
            },
        }
    };
}

/// All keys, in the order of the manual.
pub const KEYS: &[Key] = &[
    key!("device_id", "", device_id, values::device_id, text),
    key!("DNS_SERVERS", "ts-dns.threatstop.com", dns_servers, values::servers, list),
    key!("DNS_PORT", "53", dns_port, |value| values::number(value, 1..=u16::MAX), u16::to_string),
    key!("DNS_TLS", "no", dns_tls, values::yes_no, yes_no),
    key!("BLOCK_LIST", "", block.lists, values::list_names, list),
    key!("ALLOW_LIST", "", allow.lists, values::list_names, list),
    key!(
        "LIST_FORMAT",
        "auto",
        list_format,
        |value| values::choice(value, &values::LIST_FORMATS),
        |format| { values::word(format, &values::LIST_FORMATS).to_owned() }
    ),
    key!("TSIG_KEY_FILE", "", tsig_key_file, optional_path, |path: &Option<PathBuf>| {
        path.as_deref().map(show_path).unwrap_or_default()
    }),
    key!(
        "MAX_POLICY_SIZE",
        "0",
        max_policy_size,
        |value| values::number(value, 0..=100_000_000),
        u32::to_string
    ),
    key!("AGGREGATE", "no", aggregate, values::yes_no, yes_no),
    key!("OUT_DIR", "/var/db", out_dir, values::path, show_path),
    key!("BLOCK_FILE", "ThreatSTOP-Block.pftable", block.file, values::file_name, show_path),
    key!("ALLOW_FILE", "ThreatSTOP-Allow.pftable", allow.file, values::file_name, show_path),
    key!("BLOCK_TABLE", "ThreatSTOP-Block", block.name, values::table_name, text),
    key!("ALLOW_TABLE", "ThreatSTOP-Allow", allow.name, values::table_name, text),
    key!("ANCHOR", "", anchor, values::anchor, text),
    key!("RELOAD_PF", "yes", reload_pf, values::yes_no, yes_no),
    key!("MIN_PREFIX4", "8", min_prefix4, |value| values::number(value, 0..=32), u8::to_string),
    key!("MIN_PREFIX6", "16", min_prefix6, |value| values::number(value, 0..=128), u8::to_string),
    key!("MIN_ALLOW4", "16", min_allow4, |value| values::number(value, 0..=32), u8::to_string),
    key!("MIN_ALLOW6", "32", min_allow6, |value| values::number(value, 0..=128), u8::to_string),
    key!("MAX_COVER", "25", max_cover, |value| values::number(value, 0..=100), u8::to_string),
    key!("MAX_ALLOW", "1048576", max_allow, |value| values::number(value, 0..=1 << 32), u64::to_string),
    key!("MAX_SHRINK", "50", max_shrink, |value| values::number(value, 0..=100), u8::to_string),
    key!("NEVER_BLOCK", NEVER_BLOCK, never_block, values::prefixes, list),
    key!("PFLOG", "/var/log/pflog", pflog, values::path, show_path),
    key!("LOG_TIME", "time", log_time, |value| values::choice(value, &values::LOG_TIMES), |time| {
        values::word(time, &values::LOG_TIMES).to_owned()
    }),
    key!("logfile", "", logfile, any_text, text),
    key!("url", "", url, |value| values::url(value, "https://"), text),
    key!("UPLOAD_ID_FIELD", "device_id", upload_id_field, values::field_name, text),
    key!("UPLOAD_FILE_FIELD", "file", upload_file_field, values::field_name, text),
    key!("UPLOAD_GZIP", "no", upload_gzip, values::yes_no, yes_no),
    key!("PROXY", "", proxy, |value| values::url(value, "http://"), text),
    key!("CA_FILE", "/etc/ssl/cert.pem", ca_file, values::path, show_path),
    key!("OUTBOX_MAX", "256M", outbox_max, values::size, |octets: &u64| values::show_size(*octets)),
    key!("SPOOL_DIR", "/var/db/threatstop", spool_dir, values::path, show_path),
    key!("FETCH_USER", "_tsfetch", fetch_user, values::user, text),
    key!("SHIP_USER", "_tsship", ship_user, values::user, text),
];

fn any_text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

fn optional_path(value: &str) -> Result<Option<PathBuf>, String> {
    if value.is_empty() { Ok(None) } else { values::path(value).map(Some) }
}

fn text(value: &str) -> String {
    value.to_owned()
}

fn yes_no(value: &bool) -> String {
    if *value { "yes" } else { "no" }.to_owned()
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}
