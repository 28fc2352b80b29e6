//! Certificates made at start-up where none is given. Upstream: client-go/util/cert GenerateSelfSignedCertKeyWithFixtures.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A certificate chain (leaf, then the CA made for it) and the leaf's key, both PEM.
#[derive(Clone, Debug)]
pub struct SelfSigned {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Makes a serving certificate for a host and alternative names, valid for a year, signed by a CA of its own.
pub fn generate_self_signed(
    host: &str,
    addresses: &[IpAddr],
    names: &[String],
) -> Result<SelfSigned, rcgen::Error> {
    // An hour back, as upstream, for clocks that are a little behind.
    let now = jiff::Timestamp::now();
    let seconds = now.as_second();
    let date = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs())
    };
    let not_before = date(seconds - 3600);
    let not_after = date(seconds + 365 * 24 * 3600);

    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name
        .push(DnType::CommonName, format!("{host}-ca@{seconds}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    (ca.not_before, ca.not_after) = (not_before, not_after);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name
        .push(DnType::CommonName, format!("{host}@{seconds}"));
    leaf.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (not_before, not_after);
    match host.parse::<IpAddr>() {
        Ok(address) => leaf.subject_alt_names.push(SanType::IpAddress(address)),
        Err(_) => leaf
            .subject_alt_names
            .push(SanType::DnsName(host.try_into()?)),
    }
    for address in addresses {
        leaf.subject_alt_names.push(SanType::IpAddress(*address));
    }
    for name in names {
        leaf.subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
    }
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(SelfSigned {
        certificate_pem: format!("{}{}", certificate.pem(), ca_certificate.pem()),
        key_pem: key.serialize_pem(),
    })
}
