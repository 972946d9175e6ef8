//! What proves who speaks, read from files before privileges are dropped.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Config, Error, owner};

use crate::keyfile::{self, Key};
use crate::tls::Tls;

/// The largest key file that is read, in octets.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What the configuration names.
#[derive(Debug, Default)]
pub struct Credentials {
    /// The key that signs queries (`TSIG_KEY_FILE`).
    pub key: Option<Key>,
    /// Whom to trust (`CA_FILE`), with DNS over TLS (`DNS_TLS`).
    pub tls: Option<Tls>,
}

impl Credentials {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// A file cannot be read, others may read or change it, or it does not hold what it should.
    pub fn load(config: &Config) -> Result<Credentials, Error> {
        let key = config.tsig_key_file.as_deref().map(key).transpose()?;
        let tls = match config.dns_tls {
            true => Some(Tls::new(&config.ca_file, &config.certificates()?)?),
            false => None,
        };
        Ok(Credentials { key, tls })
    }
}

fn key(path: &Path) -> Result<Key, Error> {
    let file = owner::open(path)?;
    let mode = file.metadata().map_err(|error| Error::io(path, &error))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let cause = format!("mode {mode:04o}: group or others may use the secret in it; chmod go= it");
        return Err(Error::new(path.display(), cause));
    }
    keyfile::parse(&owner::content(path, file, MAX_KEY_FILE)?)
        .map_err(|fault| Error::new(path.display(), fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const KEY: &str = "key \"k.example\" { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };\n";

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("tspf-key-{}", std::process::id()));
        let config = format!("BLOCK_LIST=b.example\nTSIG_KEY_FILE={}", path.display());
        let config = Config::parse(config.as_bytes()).unwrap();
        let load = || Credentials::load(&config).map(|credentials| credentials.key.is_some());
        std::fs::write(&path, KEY).unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o610, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(load().is_ok(), good, "mode {mode:o}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for (content, cause) in [
            (KEY.replace("256", "1"), "line 1: hmac-sha1 is too weak; use hmac-sha256 or hmac-sha512"),
            (" ".repeat(70_000), "larger than 65536 octets"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(load().unwrap_err().to_string(), format!("{}: {cause}", path.display()));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(load().unwrap_err().to_string().ends_with("No such file or directory"));
        let none = Config::parse(b"BLOCK_LIST=b.example").unwrap();
        assert!(Credentials::load(&none).unwrap().key.is_none());
    }
}
