//! A certificate authority and a server certificate, made anew for each server.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What is wrong with the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: it is for localhost, 127.0.0.1 and ::1.
    Good,
    /// Nothing: it signs itself, and is itself in the CA file.
    GoodSelfSigned,
    /// It is for another name and another address.
    WrongName,
    /// It was valid until the end of 2020.
    Expired,
    /// It will be valid from 2100 on.
    NotYetValid,
    /// The authority that signed it is not the one in the CA file.
    UnknownAuthority,
    /// It signs itself, and is not in the CA file.
    SelfSigned,
    /// It is the authority's own.
    Authority,
    /// It is for clients only.
    ForClients,
    /// The signature on it is wrong.
    Forged,
    /// It is signed with a hash that is no longer taken.
    Weak,
}

/// What a server needs, and what its clients need.
pub(crate) struct Chain {
    /// The authority's certificate, for the client's CA file.
    pub(crate) ca_pem: String,
    /// The server's certificate.
    pub(crate) certificate: CertificateDer<'static>,
    /// The same as text, for a server that reads files.
    pub(crate) certificate_pem: String,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
    /// The same as text.
    pub(crate) key_pem: String,
}

/// Makes an authority and a certificate.
pub(crate) fn make(kind: Certificate) -> Result<Chain, Error> {
    let (ca_pem, issuer) = match kind {
        Certificate::UnknownAuthority => authority("tspf unknown authority")?,
        _ => authority("tspf test authority")?,
    };
    let mut ca_pem = match kind {
        Certificate::UnknownAuthority | Certificate::SelfSigned => authority("tspf other authority")?.0,
        _ => ca_pem,
    };
    let names: &[&str] = match kind {
        Certificate::WrongName => &["logs.example.net", "192.0.2.1"],
        _ => &["localhost", "127.0.0.1", "::1"],
    };
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, "tspf test log server");
    params.extended_key_usages = match kind {
        Certificate::ForClients => vec![ExtendedKeyUsagePurpose::ClientAuth],
        _ => vec![ExtendedKeyUsagePurpose::ServerAuth],
    };
    match kind {
        Certificate::Expired => {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 12, 31);
        }
        Certificate::NotYetValid => {
            params.not_before = date_time_ymd(2100, 1, 1);
            params.not_after = date_time_ymd(2100, 12, 31);
        }
        Certificate::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        _ => {}
    }
    let key = KeyPair::generate()?;
    let certificate = match kind {
        Certificate::GoodSelfSigned | Certificate::SelfSigned | Certificate::Authority => {
            params.self_signed(&key)?
        }
        _ => params.signed_by(&key, &issuer)?,
    };
    if matches!(kind, Certificate::GoodSelfSigned | Certificate::Authority) {
        ca_pem = certificate.pem();
    }
    let mut der = certificate.der().to_vec();
    match kind {
        // The end of it is the end of the signature.
        Certificate::Forged => der.last_mut().into_iter().for_each(|octet| *octet ^= 1),
        Certificate::Weak => weaken(&mut der),
        _ => {}
    }
    Ok(Chain {
        ca_pem,
        certificate_pem: certificate.pem(),
        certificate: der.into(),
        key_pem: key.serialize_pem(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

/// Has a certificate that is signed with ecdsa-with-SHA256 say that it is ecdsa-with-SHA224 (RFC 5758).
fn weaken(der: &mut [u8]) {
    const SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    for at in 0..der.len() {
        if der[at..].starts_with(SHA256) {
            der[at + SHA256.len() - 1] = 1;
        }
    }
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>), Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}
