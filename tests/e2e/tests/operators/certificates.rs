//! Serving certificates of Services in the cluster, as a Secret that pods mount.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::NAMESPACE;

/// Makes a Secret with certificate and key for this Service, and gives the authority in base64, as `caBundle` wants it.
pub(super) fn make(cluster: &Cluster, service: &str) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![format!("{service}.{NAMESPACE}.svc")])
        .and_then(|parameters| parameters.signed_by(&key, &authority))
        .expect("a certificate");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("tls.crt"), certificate.pem()).expect("the folder is ours");
    std::fs::write(path("tls.key"), key.serialize_pem()).expect("the folder is ours");
    let file = |kind: &str, name: &str| format!("--{kind}={}", path(name).display());
    let name = format!("{service}-tls");
    let create = [
        "-n",
        NAMESPACE,
        "create",
        "secret",
        "tls",
        &name,
        &file("cert", "tls.crt"),
        &file("key", "tls.key"),
    ];
    if let Err(error) = cluster.kubectl(&create, "") {
        panic!("kubectl {create:?}: {error}");
    }
    STANDARD.encode(authority.pem())
}
