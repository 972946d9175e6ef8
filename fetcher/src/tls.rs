//! DNS over TLS (RFC 7858) in the strict profile of RFC 8310: the server's certificate must be
//! signed by an authority of `CA_FILE` and be for the server as it is configured, or nothing is
//! asked. What is wrong with a server or its certificate is said in words.
//!
//! Nothing here opens a file: pledge(2) lets the process use its sockets by then, and no path.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::sync::Arc;

use common::error::reason;
use common::{Error, clock};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
};

use crate::socket::Tcp;

/// What to do about a server that does not seem to speak TLS.
pub const CHECK: &str = "is DNS over TLS served on this port? check DNS_PORT";

/// Most letters of a certificate's names that are repeated.
const MAX_NAMES: usize = 200;

/// Whom a run trusts, and how it speaks TLS.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the authorities whose certificates are in `pem`, the content of the file `path`.
    /// Certificates of a kind that is not known are passed over, as systems' bundles hold some.
    ///
    /// # Errors
    /// The text is damaged, or there is no certificate in it.
    pub fn new(path: &Path, pem: &[u8]) -> Result<Tls, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| {
                Error::new(path.display(), format!("damaged, not a file of certificates in PEM: {error}"))
            })?;
            // Refused is what is no certificate to it.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            let cause = "holds no certificate; CA_FILE names the authorities that are trusted, in PEM";
            return Err(Error::new(path.display(), cause));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new("TLS", error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"dot".to_vec()];
        // One connection serves a run.
        config.resumption = Resumption::disabled();
        Ok(Tls { config: Arc::new(config) })
    }

    /// Does the handshake, before the socket's deadline, with a server that must prove to be
    /// `host`: a name, or an address that then has to be in the certificate.
    ///
    /// # Errors
    /// The server is not who it should be, or does not speak TLS; `words` says it.
    pub fn handshake(&self, host: &str, mut tcp: Tcp) -> io::Result<StreamOwned<ClientConnection, Tcp>> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
            .map_err(|_| io::Error::other(rustls::Error::UnsupportedNameType))?;
        let mut tls = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        // What is sent at once is few queries, and all of it.
        tls.set_buffer_limit(None);
        Ok(StreamOwned::new(tls, tcp))
    }
}

/// The words for a handshake that failed other than by its time.
pub fn handshake_failure(error: &io::Error) -> String {
    match fault(error) {
        Some(error) => words(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the server closed the connection in the TLS handshake; {CHECK}")
        }
        None => format!("the connection broke in the TLS handshake: {}; {CHECK}", reason(error)),
    }
}

/// The words for what failed after the handshake, if it was TLS that did.
pub fn failure(error: &io::Error) -> Option<String> {
    fault(error).map(|error| match error {
        // With TLS 1.3 the server looks at the client's part of the handshake last.
        rustls::Error::AlertReceived(_) => words(error),
        _ => format!("the TLS connection broke: {error}"),
    })
}

/// The error of TLS that is inside one of the system.
fn fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => format!("the server's certificate {}", Flaw(error)),
        rustls::Error::UnsupportedNameType => {
            "no certificate can be for the name that the server has in DNS_SERVERS".to_owned()
        }
        rustls::Error::NoCertificatesPresented => "the server shows no certificate".to_owned(),
        rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS; {CHECK}"),
        rustls::Error::PeerIncompatible(why) => {
            format!("the server has no version or cipher of TLS in common with tsfetch ({why:?})")
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => {
                "the server speaks no version of TLS that tsfetch does (1.2 or 1.3)".to_owned()
            }
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                format!("the server has no cipher of TLS in common with tsfetch ({alert:?})")
            }
            AlertDescription::NoApplicationProtocol => {
                format!("the server speaks TLS, but not DNS over it; {CHECK}")
            }
            AlertDescription::UnrecognisedName => "the server does not know the name that it has in \
                 DNS_SERVERS (UnrecognisedName)"
                .to_owned(),
            AlertDescription::CertificateRequired => {
                "the server wants a certificate of its client, and tsfetch has none".to_owned()
            }
            _ => format!("the server broke TLS off (alert {alert:?})"),
        },
        _ => format!("the TLS handshake failed: {error}"),
    }
}

/// What is wrong with a certificate, after "the server's certificate".
struct Flaw<'a>(&'a CertificateError);

impl Display for Flaw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CertificateError::ExpiredContext { not_after, .. } => {
                write!(f, "expired on {}; is the clock right?", clock::date_at(not_after.as_secs()))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                let date = clock::date_at(not_before.as_secs());
                write!(f, "is not valid before {date}; is the clock right?")
            }
            CertificateError::UnknownIssuer => f.write_str("is signed by nobody in CA_FILE"),
            CertificateError::NotValidForNameContext { expected, presented } => {
                write!(f, "is for {}, not for {}, as DNS_SERVERS has it", names(presented), expected.to_str())
            }
            CertificateError::InvalidPurposeContext { .. } => {
                f.write_str("is not for servers (its extended key usage is another)")
            }
            CertificateError::BadEncoding => f.write_str("is damaged"),
            CertificateError::BadSignature => f.write_str(
                "has a wrong signature: it was changed, or CA_FILE has another authority of the same name",
            ),
            CertificateError::Revoked => f.write_str("was revoked"),
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                f.write_str("is signed with an algorithm that is too weak or not known")
            }
            CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
                f.write_str("is an authority's (CA:TRUE), not a server's (CA:FALSE)")
            }
            other => write!(f, "is not to be trusted: {other}"),
        }
    }
}

/// The names in a certificate, which come as `DnsName("a.example")` or `IpAddress(192.0.2.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.map_or(name.as_str(), |inner| inner.trim_matches('"')).to_owned()
    };
    let all = presented.iter().map(bare).collect::<Vec<_>>().join(", ");
    match all.char_indices().nth(MAX_NAMES) {
        _ if all.is_empty() => "no name at all".to_owned(),
        Some((end, _)) => format!("{}…", all.get(..end).unwrap_or_default()),
        None => all,
    }
}

#[cfg(test)]
mod tests;
