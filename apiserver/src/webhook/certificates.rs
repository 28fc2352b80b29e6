//! Servers with certificates that clients will soon refuse, or refuse already: without alternative names of the subject, or signed
//! with SHA-1. Upstream: apiserver/pkg/util/x509metrics.

use std::io;

use component_base::metrics::{Counter, Metrics, Opts};
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;

use crate::request::context::AuditAnnotations;

/// What there is to say of a server's certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    missing_san: bool,
    insecure_sha1: bool,
}

/// `sha1WithRSAEncryption` and `ecdsa-with-SHA1`, in DER.
const WITH_SHA1: [&[u8]; 2] = [
    &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5],
    &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1],
];

impl Faults {
    /// Of a chain that was accepted, leaf first.
    pub(crate) fn of_chain(chain: &[CertificateDer<'_>]) -> Self {
        let parsed = chain.iter().filter_map(|certificate| {
            let parsed = x509_parser::parse_x509_certificate(certificate);
            parsed.ok().map(|(_, parsed)| parsed)
        });
        let parsed: Vec<_> = parsed.collect();
        let has_names = |leaf: &x509_parser::certificate::X509Certificate<'_>| {
            let mut extensions = leaf.extensions().iter();
            extensions.any(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
        };
        let insecure_sha1 = parsed.iter().any(|certificate| {
            let oid = certificate.signature_algorithm.algorithm.as_bytes();
            let with_sha1 = WITH_SHA1.iter().any(|known| &known[2..] == oid);
            // What signs itself is believed for other reasons.
            with_sha1 && certificate.issuer().as_raw() != certificate.subject().as_raw()
        });
        Self {
            missing_san: parsed.first().is_some_and(|leaf| !has_names(leaf)),
            insecure_sha1,
        }
    }

    /// Of a handshake that failed. The certificate is not there any more, so whether its common name is the name that was wanted
    /// is not known, and not asked as upstream does.
    pub(crate) fn of_failure(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let Some(rustls::Error::InvalidCertificate(why)) = inner else {
            return Self::default();
        };
        Self {
            missing_san: matches!(
                why,
                CertificateError::NotValidForNameContext { presented, expected }
                    if presented.is_empty() && matches!(expected, ServerName::DnsName(_))
            ),
            insecure_sha1: matches!(
                why,
                CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. }
                    if WITH_SHA1.iter().any(|known| signature_algorithm_id.starts_with(known))
            ),
        }
    }
}

/// Counts requests to such servers, and those that failed for it.
#[derive(Clone)]
pub(crate) struct CertificateMetrics {
    missing_san: Counter,
    insecure_sha1: Counter,
}

impl CertificateMetrics {
    /// For the servers of a part: `webhooks` or `kube_aggregator`.
    pub(crate) fn new(metrics: &Metrics, part: &str) -> Self {
        let counter = |name: &str, help: &str| {
            metrics.counter(Opts::new(
                format!("apiserver_{part}_x509_{name}_total"),
                help,
            ))
        };
        Self {
            missing_san: counter(
                "missing_san",
                "Counts the number of requests to servers missing SAN extension in their serving certificate OR the number of connection failures due to the lack of x509 certificate SAN extension missing (either/or, based on the runtime environment)",
            ),
            insecure_sha1: counter(
                "insecure_sha1",
                "Counts the number of requests to servers with insecure SHA1 signatures in their serving certificate OR the number of connection failures due to the insecure SHA1 signatures (either/or, based on the runtime environment)",
            ),
        }
    }

    /// Counts one request, and tells of it.
    pub(crate) fn count(&self, faults: Faults, host: &str, annotations: &AuditAnnotations) {
        for (found, counter, id, reason) in [
            (
                faults.missing_san,
                &self.missing_san,
                "missing-san",
                "relies on a legacy Common Name field instead of the SAN extension for subject validation",
            ),
            (
                faults.insecure_sha1,
                &self.insecure_sha1,
                "insecure-sha1",
                "uses an insecure SHA-1 signature",
            ),
        ] {
            if found {
                let prefix = format!("{id}.invalid-cert.kubernetes.io");
                tracing::info!(
                    "{prefix}: invalid certificate detected connecting to {host:?}: {reason}"
                );
                annotations.add(format!("{prefix}/{host}"), reason);
                counter.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls_pki_types::UnixTime;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUPuOaeJQl3TtedEy69wmRnbmQNVowCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI5MTc1MjMzWhgPMjEyNjExMDUxNzUyMzNa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1T/H0Fd2
Mt21izxZiiIrzI+Y9j7l5XBzoURnEMuAAIRGZACXiOQDPeIOws54/91T+QSWqgus
fevty3BtVgW8HaNTMFEwHQYDVR0OBBYEFMGjcYnaazM0TtY0JVV0O5BkXPQoMB8G
A1UdIwQYMBaAFMGjcYnaazM0TtY0JVV0O5BkXPQoMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIhAI8HVHxYuQgHTHL8kFHetCC731vMnoAcWKimLoZZ
l9EaAiBHQt5Vx4VBjBQ2xAP8sa2qw4hUWw7DHsC/w9Lp8lLxDg==
-----END CERTIFICATE-----";
    /// Its name is `localhost`, and CA signed it with SHA-1.
    const WITH_SHA1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBYzCCAQqgAwIBAgIBAjAJBgcqhkjOPQQBMA0xCzAJBgNVBAMMAmNhMCAXDTI2
MTEyOTE3NTIzM1oYDzIxMjYxMTA1MTc1MjMzWjAPMQ0wCwYDVQQDDARsZWFmMFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEELsZ+JBtMq2Ch61pAwuD7fpLc69/kYCT
7j77jJfKr1TkVxbNmsAlJdc5qigl2+0J70Xhsnqv3bghAF3T9y2BIqNYMFYwFAYD
VR0RBA0wC4IJbG9jYWxob3N0MB0GA1UdDgQWBBS+zTgb/uCcL2AVlPhThQy1xHWV
eTAfBgNVHSMEGDAWgBTBo3GJ2mszNE7WNCVVdDuQZFz0KDAJBgcqhkjOPQQBA0gA
MEUCIQCCMRyh++n0k4aUdUyvfb2nB7fTF1YfvM+XELhK8zzEtgIgVEl8zj7TLV/f
NgJzqgt1IZXjK7Mi91wLhhcMPWqMxC4=
-----END CERTIFICATE-----";

    /// What a client says of a server, in 2038.
    fn verify(ca: &CertificateDer<'static>, leaf: &CertificateDer<'_>) -> Result<(), io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let name = ServerName::try_from("localhost").expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1 << 31));
        use rustls::client::danger::ServerCertVerifier as _;
        let verdict = verifier.verify_server_cert(leaf, &[], &name, &[], now);
        verdict.map(|_| ()).map_err(io::Error::other)
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    /// A CA, and a leaf of it with these names.
    fn issued(names: &[&str]) -> (CertificateDer<'static>, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&key).expect("a CA").der().clone();
        let issuer = Issuer::new(ca, key);
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).expect("names");
        let leaf = leaf.signed_by(&key, &issuer).expect("a leaf");
        (root, leaf.der().clone())
    }

    const NONE: Faults = Faults {
        missing_san: false,
        insecure_sha1: false,
    };

    #[test]
    fn faults_are_found_in_chains_and_failures() {
        let (ca, leaf) = issued(&["localhost"]);
        assert_eq!(Faults::of_chain(&[leaf.clone(), ca.clone()]), NONE);
        verify(&ca, &leaf).expect("valid");
        let (ca, leaf) = issued(&["other"]);
        let error = verify(&ca, &leaf).expect_err("another name");
        assert_eq!(Faults::of_failure(&error), NONE);

        let (ca, leaf) = issued(&[]);
        let missing_san = Faults {
            missing_san: true,
            ..NONE
        };
        assert_eq!(Faults::of_chain(&[leaf.clone(), ca.clone()]), missing_san);
        let error = verify(&ca, &leaf).expect_err("no name");
        assert_eq!(Faults::of_failure(&error), missing_san);

        let (ca, leaf) = (der(CA), der(WITH_SHA1));
        let insecure_sha1 = Faults {
            insecure_sha1: true,
            ..NONE
        };
        assert_eq!(Faults::of_chain(&[leaf.clone(), ca.clone()]), insecure_sha1);
        let error = verify(&ca, &leaf).expect_err("SHA-1");
        assert_eq!(Faults::of_failure(&error), insecure_sha1);
    }

    #[test]
    fn faults_are_counted_and_noted() {
        let metrics = Metrics::default();
        let counts = CertificateMetrics::new(&metrics, "webhooks");
        let annotations = AuditAnnotations::default();
        counts.count(NONE, "a.example", &annotations);
        let both = Faults {
            missing_san: true,
            insecure_sha1: true,
        };
        counts.count(both, "a.b.svc", &annotations);
        let keys: Vec<String> = annotations.all().into_keys().collect();
        assert_eq!(
            keys,
            [
                "insecure-sha1.invalid-cert.kubernetes.io/a.b.svc",
                "missing-san.invalid-cert.kubernetes.io/a.b.svc"
            ]
        );
        let text = String::from_utf8(metrics.text()).expect("text");
        for name in ["missing_san", "insecure_sha1"] {
            let series = format!("\napiserver_webhooks_x509_{name}_total 1\n");
            assert!(text.contains(&series), "{text}");
        }
    }
}
