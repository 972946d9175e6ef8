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
    /// It is for another name.
    WrongName,
    /// It was valid until the end of 2020.
    Expired,
    /// The authority that signed it is not the one in the CA file.
    UnknownAuthority,
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
    let (mut ca_pem, issuer) = authority("tspf test authority")?;
    if kind == Certificate::UnknownAuthority {
        ca_pem = authority("tspf other authority")?.0;
    }
    let names: &[&str] = match kind {
        Certificate::WrongName => &["logs.example.net"],
        _ => &["localhost", "127.0.0.1", "::1"],
    };
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, "tspf test log server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if kind == Certificate::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 12, 31);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Chain {
        ca_pem,
        certificate_pem: certificate.pem(),
        certificate: certificate.der().clone(),
        key_pem: key.serialize_pem(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
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
