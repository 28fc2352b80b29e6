//! Asks the API server for certificates. Upstream: `client-go/util/certificate/csr`.

use std::net::IpAddr;
use std::time::Duration;

use api_types::certificates::v1::CertificateSigningRequest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::Client;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType};

const POLL_PERIOD: Duration = Duration::from_secs(1);

/// A certificate to ask for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the node; the certificate is for the user `system:node:<name>`.
    pub node_name: String,
    /// Who signs.
    pub signer: &'static str,
    /// `client auth` or `server auth`.
    pub usage: &'static str,
    /// Host names of a serving certificate.
    pub dns_names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Wanted {
    /// For talking to the API server.
    #[must_use]
    pub fn client(node_name: &str) -> Self {
        Wanted {
            node_name: node_name.to_owned(),
            signer: "kubernetes.io/kube-apiserver-client-kubelet",
            usage: "client auth",
            dns_names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// For the kubelet's own server.
    #[must_use]
    pub fn serving(node_name: &str, dns_names: Vec<String>, addresses: Vec<IpAddr>) -> Self {
        Wanted {
            node_name: node_name.to_owned(),
            signer: "kubernetes.io/kubelet-serving",
            usage: "server auth",
            dns_names,
            addresses,
        }
    }

    fn csr(&self, key: &KeyPair) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "system:nodes");
        name.push(
            DnType::CommonName,
            format!("system:node:{}", self.node_name),
        );
        params.distinguished_name = name;
        for dns_name in &self.dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(dns_name.as_str().try_into()?));
        }
        let addresses = self
            .addresses
            .iter()
            .map(|address| SanType::IpAddress(*address));
        params.subject_alt_names.extend(addresses);
        params.serialize_request(key)?.pem()
    }

    /// Key usages; ours are never RSA keys, which would need `key encipherment` as well.
    fn usages(&self) -> Vec<String> {
        vec!["digital signature".to_owned(), self.usage.to_owned()]
    }

    /// A name that is the same for the same key, so that a kubelet that starts anew finds its request.
    fn name(&self, key: &KeyPair) -> String {
        let mut text = String::new();
        let common_name = format!("system:node:{}", self.node_name);
        let public_key = key.subject_public_key_info();
        let mut parts: Vec<&[u8]> = vec![&public_key, common_name.as_bytes(), b"system:nodes"];
        let usages = self.usages();
        parts.extend(usages.iter().map(String::as_bytes));
        for part in parts {
            text.push_str(&URL_SAFE_NO_PAD.encode(part));
            text.push('|');
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512_256, text.as_bytes());
        format!("node-csr-{}", URL_SAFE_NO_PAD.encode(digest))
    }
}

/// What became of a request: not decided, the certificate, or why there is none.
fn outcome(request: &CertificateSigningRequest) -> Result<Option<Vec<u8>>, String> {
    let mut approved = false;
    for condition in &request.status.conditions {
        let why = format!(
            "reason: {}, message: {}",
            condition.reason, condition.message
        );
        match condition.type_.as_str() {
            "Denied" => return Err(format!("certificate signing request is denied, {why}")),
            "Failed" => return Err(format!("certificate signing request failed, {why}")),
            "Approved" => approved = true,
            _ => {}
        }
    }
    let certificate = &request.status.certificate.0;
    Ok((approved && !certificate.is_empty()).then(|| certificate.to_vec()))
}

/// Asks for a certificate and waits until it is there. A `fixed` name finds the request of an earlier run.
///
/// # Errors
/// When the request is refused, denied, or not decided in time.
pub async fn request(
    client: &Client,
    wanted: &Wanted,
    key: &KeyPair,
    fixed: bool,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let csr = wanted
        .csr(key)
        .map_err(|error| format!("unable to generate certificate request: {error}"))?;
    let mut request = CertificateSigningRequest::default();
    if fixed {
        request.metadata.name = wanted.name(key);
    } else {
        request.metadata.generate_name = "csr-".to_owned();
    }
    request.spec.request = csr.into_bytes().into();
    request.spec.signer_name = wanted.signer.to_owned();
    request.spec.usages = wanted.usages();
    let api = client.api::<CertificateSigningRequest>();
    let created = match api.create(&request).await {
        Err(error) if fixed && error.is_already_exists() => {
            tracing::info!("csr for this node already exists, reusing");
            api.get(&request.metadata.name)
                .await
                .map_err(|error| format!("cannot retrieve certificate signing request: {error}"))?
        }
        Err(error) => {
            return Err(format!(
                "cannot create certificate signing request: {error}"
            ));
        }
        Ok(created) => created,
    };
    let name = &created.metadata.name;
    tracing::info!(csr = %name, "Waiting for certificate to be issued");
    let wait = async {
        loop {
            match api.get(name).await {
                Ok(found) if found.metadata.uid != created.metadata.uid => {
                    return Err(format!("csr {name:?} changed UIDs"));
                }
                Ok(found) => {
                    if let Some(certificate) = outcome(&found)? {
                        return Ok(certificate);
                    }
                }
                Err(error) if error.is_not_found() => {
                    return Err(format!("csr {name:?} was deleted"));
                }
                Err(error) => tracing::info!(%error, "Error fetching certificate signing request"),
            }
            tokio::time::sleep(POLL_PERIOD).await;
        }
    };
    tokio::time::timeout(limit, wait)
        .await
        .unwrap_or_else(|_| Err("timed out waiting for the condition".to_owned()))
}

#[cfg(test)]
mod tests {
    use api_types::certificates::v1::CertificateSigningRequestCondition;

    use super::*;

    #[test]
    fn requests_name_the_node() {
        let key = KeyPair::generate().expect("key");
        let wanted = Wanted::serving(
            "n1",
            vec!["n1".to_owned()],
            vec![IpAddr::from([10, 0, 0, 1])],
        );
        let pem = pem::parse(wanted.csr(&key).expect("csr")).expect("PEM");
        assert_eq!(pem.tag(), "CERTIFICATE REQUEST");
        let text = String::from_utf8_lossy(pem.contents()).into_owned();
        assert!(text.contains("system:node:n1") && text.contains("system:nodes"));
        assert_eq!(wanted.usages(), ["digital signature", "server auth"]);
    }

    #[test]
    fn names_go_with_keys() {
        let (one, other) = (
            KeyPair::generate().expect("key"),
            KeyPair::generate().expect("key"),
        );
        let wanted = Wanted::client("n1");
        assert_eq!(wanted.name(&one), wanted.name(&one));
        assert_ne!(wanted.name(&one), wanted.name(&other));
        assert_eq!(wanted.name(&one).len(), "node-csr-".len() + 43);
    }

    #[test]
    fn outcomes() {
        let mut request = CertificateSigningRequest::default();
        assert_eq!(outcome(&request), Ok(None));
        let condition = |type_: &str| CertificateSigningRequestCondition {
            type_: type_.to_owned(),
            reason: "R".to_owned(),
            message: "M".to_owned(),
            ..Default::default()
        };
        request.status.conditions = vec![condition("Approved")];
        assert_eq!(outcome(&request), Ok(None));
        request.status.certificate = b"pem".to_vec().into();
        assert_eq!(outcome(&request), Ok(Some(b"pem".to_vec())));
        request.status.conditions.push(condition("Denied"));
        assert_eq!(
            outcome(&request),
            Err("certificate signing request is denied, reason: R, message: M".to_owned())
        );
    }
}
