//! A certificate chain and its private key out of PEM texts, refused in the words users know. Upstream: Go's
//! crypto/tls.X509KeyPair, which reads every pair of files a daemon is given.

use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why two texts are no certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    /// Nothing in the first text is PEM.
    #[error("tls: failed to find any PEM data in certificate input")]
    NoCertificatePem,
    /// The key was given for the certificate.
    #[error(
        "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
    )]
    Switched,
    /// The first text holds something else.
    #[error(
        "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{0}]"
    )]
    NoCertificate(String),
    /// Nothing in the second text is PEM.
    #[error("tls: failed to find any PEM data in key input")]
    NoKeyPem,
    /// A certificate was given for the key.
    #[error("tls: found a certificate rather than a key in the PEM for the private key")]
    CertificateForKey,
    /// The second text holds something else.
    #[error(
        "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{0}]"
    )]
    NoKey(String),
    /// The certificate's bytes are none.
    #[error("x509: malformed certificate")]
    MalformedCertificate,
    /// The key's bytes are none, or of a kind that is not served.
    #[error("tls: failed to parse private key")]
    MalformedKey,
    /// The one is RSA, the other ECDSA, for example.
    #[error("tls: private key type does not match public key type")]
    OtherType,
    /// Two different pairs.
    #[error("tls: private key does not match public key")]
    Mismatch,
}

/// Reads a pair. The leaf comes first in the chain; blocks of other types around both are skipped.
pub fn key_pair(certificate_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, KeyPairError> {
    let blocks = pem::parse_many(certificate_pem).unwrap_or_default();
    let chain: Vec<CertificateDer<'static>> = blocks
        .iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| CertificateDer::from(block.contents().to_vec()))
        .collect();
    let Some(leaf) = chain.first() else {
        return Err(match &*blocks {
            [] => KeyPairError::NoCertificatePem,
            [only] if only.tag().ends_with("PRIVATE KEY") => KeyPairError::Switched,
            others => KeyPairError::NoCertificate(tags(others)),
        });
    };
    let blocks = pem::parse_many(key_pem).unwrap_or_default();
    let Some(key) = blocks
        .iter()
        .find(|block| block.tag().ends_with("PRIVATE KEY"))
    else {
        return Err(match &*blocks {
            [] => KeyPairError::NoKeyPem,
            [only] if only.tag() == "CERTIFICATE" => KeyPairError::CertificateForKey,
            others => KeyPairError::NoKey(tags(others)),
        });
    };
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|_| KeyPairError::MalformedCertificate)?;
    let signer = private_key(key)
        .and_then(|key| any_supported_type(&key).ok())
        .ok_or(KeyPairError::MalformedKey)?;
    let of_certificate = certificate.public_key();
    let algorithm = match of_certificate.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => Some(SignatureAlgorithm::RSA),
        "1.2.840.10045.2.1" => Some(SignatureAlgorithm::ECDSA),
        "1.3.101.112" => Some(SignatureAlgorithm::ED25519),
        _ => None,
    };
    if algorithm.is_some_and(|algorithm| algorithm != signer.algorithm()) {
        return Err(KeyPairError::OtherType);
    }
    if signer
        .public_key()
        .is_some_and(|of_key| of_key.as_ref() != of_certificate.raw)
    {
        return Err(KeyPairError::Mismatch);
    }
    Ok(CertifiedKey::new(chain, signer))
}

/// The key of a block, whose type says which of the three formats it has.
fn private_key(block: &pem::Pem) -> Option<PrivateKeyDer<'static>> {
    let der = block.contents().to_vec();
    match block.tag() {
        "RSA PRIVATE KEY" => Some(PrivateKeyDer::Pkcs1(der.into())),
        "EC PRIVATE KEY" => Some(PrivateKeyDer::Sec1(der.into())),
        "PRIVATE KEY" => Some(PrivateKeyDer::Pkcs8(der.into())),
        _ => None,
    }
}

fn tags(blocks: &[pem::Pem]) -> String {
    let tags: Vec<&str> = blocks.iter().map(pem::Pem::tag).collect();
    tags.join(" ")
}

/// A pair that one side of a connection shows, whoever asks.
pub fn always(pair: CertifiedKey) -> Arc<rustls::sign::SingleCertAndKey> {
    Arc::new(pair.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[track_caller]
    fn check(certificate: &str, key: &str, want: &str) {
        let error = key_pair(certificate.as_bytes(), key.as_bytes())
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref().unwrap_or("fine"), want);
    }

    #[test]
    fn says_what_go_says() {
        let (certificate, key) = pair();
        let (_, other) = pair();
        check(&certificate, &key, "fine");
        check(&format!("{key}{certificate}"), &key, "fine");
        check(
            &certificate,
            &other,
            "tls: private key does not match public key",
        );
        check(
            "junk",
            &key,
            "tls: failed to find any PEM data in certificate input",
        );
        check(
            &certificate,
            "",
            "tls: failed to find any PEM data in key input",
        );
        check(
            &key,
            &certificate,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        );
        check(
            &certificate,
            &certificate,
            "tls: found a certificate rather than a key in the PEM for the private key",
        );
        let parameters = pem::encode(&pem::Pem::new("EC PARAMETERS", [1, 2]));
        check(
            &certificate,
            &parameters,
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [EC PARAMETERS]",
        );
        check(&certificate, &format!("{parameters}{key}"), "fine");
        let broken = |tag: &str| pem::encode(&pem::Pem::new(tag, [1, 2]));
        check(&broken("CERTIFICATE"), &key, "x509: malformed certificate");
        check(
            &certificate,
            &broken("EC PRIVATE KEY"),
            "tls: failed to parse private key",
        );
        check(
            &certificate,
            &broken("ENCRYPTED PRIVATE KEY"),
            "tls: failed to parse private key",
        );
    }
}
