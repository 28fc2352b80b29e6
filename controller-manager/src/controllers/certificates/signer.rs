//! Signs approved CertificateSigningRequests of the signers that the cluster's CA stands for. Upstream:
//! pkg/controller/certificates/{signer,authority}.

use std::path::PathBuf;
use std::time::Duration;

use api_types::ByteString;
use api_types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use api_types::kube_controller_manager_config::v1alpha1::{
    CSRSigningControllerConfiguration, KubeControllerManagerConfiguration,
};
use client::{Client, Lister, ObjectKey};
use jiff::Timestamp;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use x509_parser::time::ASN1Time;

use super::super::{Backoff, BuildError, Controller, Next, SyncError};
use super::request::{Request, check_client_usages};
use super::{BACKOFF, has_condition, queue_all};
use crate::clock::Clock;
use crate::context::Setup;
use crate::runner::Queue;

const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Certificates begin this long ago, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// For shorter lives than this the backdating is not taken off the end.
const SHORT: Duration = Duration::from_secs(8 * 3600);
const LEAST: Duration = Duration::from_secs(10 * 60);

/// The certificatesigningrequest-signing-controller. Its keys are CertificateSigningRequests.
pub struct CsrSigningController {
    client: Client,
    clock: Clock,
    requests: Lister<CertificateSigningRequest>,
    signers: Vec<Signer>,
    /// The longest life of a certificate.
    duration: Duration,
}

/// One signer name and its CA. The files are read for each signature, so that a new CA is used at once.
#[derive(Clone, Debug, PartialEq)]
struct Signer {
    name: &'static str,
    certificate: PathBuf,
    key: PathBuf,
}

impl Controller for CsrSigningController {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";
    const ALIASES: &'static [&'static str] = &["csrsigning"];
    const SERVICE_ACCOUNT: &'static str = "certificate-controller";
    const QUEUE: &'static str = "certificate";
    const BACKOFF: Backoff = BACKOFF;
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let config = &setup.config().csr_signing_controller;
        let signers = signers(config).map_err(BuildError::Config)?;
        if signers.is_empty() {
            tracing::info!("Skipping CSR signer controller because no csr cert/key was specified");
            return Ok(None);
        }
        for signer in &signers {
            signer.issuer().map_err(|error| {
                BuildError::Config(format!(
                    "failed to init {} certificate controller: {error}",
                    signer.name
                ))
            })?;
        }
        let requests = setup.informer::<CertificateSigningRequest>();
        queue_all(&requests, queue);
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            requests: requests.lister(),
            signers,
            duration: config.cluster_signing_duration.as_std(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        5
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(request) = self.requests.get(key) else {
            return Ok(Next::Done);
        };
        let failed = request
            .status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Failed" && condition.status == "True");
        if !request.status.certificate.is_empty()
            || !has_condition(&request, "Approved")
            || has_condition(&request, "Denied")
            || failed
        {
            return Ok(Next::Done);
        }
        let Some(signer) = self
            .signers
            .iter()
            .find(|signer| signer.name == request.spec.signer_name)
        else {
            return Ok(Next::Done);
        };
        let parsed = Request::parse(&request.spec.request).map_err(|error| {
            SyncError::other(format!("unable to parse csr {:?}: {error}", key.name))
        })?;
        let api = self.client.api::<CertificateSigningRequest>();
        let mut changed = (*request).clone();
        if let Err(error) = signer.check(&parsed, &request.spec.usages) {
            changed
                .status
                .conditions
                .push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: "SignerValidationFailure".to_owned(),
                    message: error,
                    last_update_time: self.clock.now_time(),
                    ..Default::default()
                });
            api.update_status(&changed).await.map_err(|error| {
                SyncError::other(format!("error adding failure condition for csr: {error}"))
            })?;
            return Ok(Next::Done);
        }
        let life = life(request.spec.expiration_seconds, self.duration);
        let certificate = signer
            .sign(&parsed, &request.spec.usages, life, self.clock.now())
            .map_err(|error| SyncError::other(format!("error auto signing csr: {error}")))?;
        changed.status.certificate = ByteString(certificate.into_bytes());
        api.update_status(&changed).await.map_err(|error| {
            SyncError::other(format!("error updating signature for csr: {error}"))
        })?;
        Ok(Next::Done)
    }
}

/// The signers to run: one CA for all, or one for each. Files for single ones switch the others off.
fn signers(config: &CSRSigningControllerConfiguration) -> Result<Vec<Signer>, String> {
    let each = [
        (
            KUBELET_SERVING,
            &config.kubelet_serving_signer_configuration,
        ),
        (KUBELET_CLIENT, &config.kubelet_client_signer_configuration),
        (CLIENT, &config.kube_api_server_client_signer_configuration),
        (LEGACY, &config.legacy_unknown_signer_configuration),
    ];
    let specific = each
        .iter()
        .any(|(_, files)| !files.cert_file.is_empty() || !files.key_file.is_empty());
    let (all_certificate, all_key) = (
        &config.cluster_signing_cert_file,
        &config.cluster_signing_key_file,
    );
    let all = !all_certificate.is_empty() && !all_key.is_empty();
    if specific && all {
        return Err("cannot specify default and per controller certs at the same time".to_owned());
    }
    if !specific && !all {
        return Ok(Vec::new());
    }
    Ok(each
        .into_iter()
        .map(|(name, files)| {
            let (certificate, key) = if specific {
                (&files.cert_file, &files.key_file)
            } else {
                (all_certificate, all_key)
            };
            Signer {
                name,
                certificate: certificate.into(),
                key: key.into(),
            }
        })
        .filter(|signer| signer.certificate != PathBuf::new() || signer.key != PathBuf::new())
        .collect())
}

/// How long the certificate lives.
fn life(asked: Option<i32>, most: Duration) -> Duration {
    match asked {
        None => most,
        Some(seconds) => {
            let asked = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            if asked > most { most } else { asked.max(LEAST) }
        }
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Unix seconds.
    not_after: i64,
}

impl Signer {
    fn check(&self, request: &Request, usages: &[String]) -> Result<(), String> {
        match self.name {
            KUBELET_SERVING => request.check_kubelet_serving(usages),
            KUBELET_CLIENT => request.check_kubelet_client(usages),
            CLIENT => check_client_usages(usages),
            _ => Ok(()),
        }
    }

    fn issuer(&self) -> Result<Authority, String> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| format!("error reading CA file {}: {error}", path.display()))
        };
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let parse = |error: &dyn std::fmt::Display| {
            format!(
                "error parsing CA cert file {}: {error}",
                self.certificate.display()
            )
        };
        let block = pem::parse(&certificate).map_err(|error| parse(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(block.contents()).map_err(|error| parse(&error))?;
        let not_after = parsed.validity().not_after.timestamp();
        let key = KeyPair::from_pem(&key).map_err(|error| {
            format!("error parsing CA key file {}: {error}", self.key.display())
        })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| parse(&error))?;
        Ok(Authority { issuer, not_after })
    }

    /// A certificate in PEM for what the request asks, with these usages. The request's own usages do not count.
    fn sign(
        &self,
        request: &Request,
        usages: &[String],
        life: Duration,
        now: Timestamp,
    ) -> Result<String, String> {
        let authority = self.issuer()?;
        let (from, to) = validity(life, now.as_second(), authority.not_after)?;
        let time = |second: i64| {
            ASN1Time::from_timestamp(second)
                .map(|time| time.to_datetime())
                .map_err(|error| error.to_string())
        };
        let mut params = CertificateSigningRequestParams::from_der(&request.der.as_slice().into())
            .map_err(|error| format!("unable to parse certificate request: {error}"))?;
        let (key_usages, purposes) = usages_of(usages)?;
        let certificate = &mut params.params;
        certificate.not_before = time(from)?;
        certificate.not_after = time(to)?;
        certificate.key_usages = key_usages;
        certificate.extended_key_usages = purposes;
        certificate.is_ca = IsCa::ExplicitNoCa;
        certificate.use_authority_key_identifier_extension = true;
        // Positive, and of 128 bits at most.
        let mut serial = rand::random::<[u8; 16]>();
        serial[0] &= 0x7f;
        certificate.serial_number = Some(SerialNumber::from_slice(&serial));
        let signed = params
            .signed_by(&authority.issuer)
            .map_err(|error| format!("failed to sign certificate: {error}"))?;
        let block = pem::Pem::new("CERTIFICATE", signed.der().to_vec());
        let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(pem::encode_config(&block, unix))
    }
}

/// First and last second of a certificate. It ends with its CA at the latest.
fn validity(life: Duration, now: i64, ca_ends: i64) -> Result<(i64, i64), String> {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let from = now - seconds(BACKDATE);
    let to = if life < SHORT {
        now + seconds(life)
    } else {
        now + seconds(life - BACKDATE)
    };
    let shown = || {
        Timestamp::from_second(ca_ends)
            .map(|time| time.to_string())
            .unwrap_or_default()
    };
    if from >= ca_ends {
        return Err(format!("the signer has expired: NotAfter={}", shown()));
    }
    if now >= ca_ends {
        return Err(format!(
            "refusing to sign a certificate that expired in the past: NotAfter={}",
            shown()
        ));
    }
    Ok((from, to.min(ca_ends)))
}

fn usages_of(
    usages: &[String],
) -> Result<(Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>), String> {
    use ExtendedKeyUsagePurpose as Purpose;
    use KeyUsagePurpose as Usage;
    let (mut key_usages, mut purposes, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for usage in usages {
        let key_usage = match usage.as_str() {
            "signing" | "digital signature" => Some(Usage::DigitalSignature),
            "content commitment" => Some(Usage::ContentCommitment),
            "key encipherment" => Some(Usage::KeyEncipherment),
            "key agreement" => Some(Usage::KeyAgreement),
            "data encipherment" => Some(Usage::DataEncipherment),
            "cert sign" => Some(Usage::KeyCertSign),
            "crl sign" => Some(Usage::CrlSign),
            "encipher only" => Some(Usage::EncipherOnly),
            "decipher only" => Some(Usage::DecipherOnly),
            _ => None,
        };
        let ipsec = |last: u64| Purpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, last]);
        // With Go's order: extended usages are sorted by it.
        let purpose = match usage.as_str() {
            "any" => Some((0, Purpose::Any)),
            "server auth" => Some((1, Purpose::ServerAuth)),
            "client auth" => Some((2, Purpose::ClientAuth)),
            "code signing" => Some((3, Purpose::CodeSigning)),
            "email protection" | "s/mime" => Some((4, Purpose::EmailProtection)),
            "ipsec end system" => Some((5, ipsec(5))),
            "ipsec tunnel" => Some((6, ipsec(6))),
            "ipsec user" => Some((7, ipsec(7))),
            "timestamping" => Some((8, Purpose::TimeStamping)),
            "ocsp signing" => Some((9, Purpose::OcspSigning)),
            "microsoft sgc" => Some((10, Purpose::Other(vec![1, 3, 6, 1, 4, 1, 311, 10, 3, 3]))),
            "netscape sgc" => Some((11, Purpose::Other(vec![2, 16, 840, 1, 113_730, 4, 1]))),
            _ => None,
        };
        match (key_usage, purpose) {
            (Some(usage), _) if !key_usages.contains(&usage) => key_usages.push(usage),
            (_, Some(purpose)) if !purposes.contains(&purpose) => purposes.push(purpose),
            (None, None) => unknown.push(usage.as_str()),
            _ => {}
        }
    }
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: {unknown:?}"));
    }
    purposes.sort_by_key(|(order, _)| *order);
    Ok((
        key_usages,
        purposes.into_iter().map(|(_, purpose)| purpose).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType};

    use super::*;

    #[test]
    fn lives_and_validity() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(life(None, hours(24)), hours(24));
        assert_eq!(life(Some(3600), hours(24)), hours(1));
        assert_eq!(life(Some(60), hours(24)), LEAST);
        assert_eq!(life(Some(i32::MAX), hours(24)), hours(24));
        assert_eq!(
            validity(hours(24), 1000, i64::MAX),
            Ok((700, 1000 + 24 * 3600 - 300))
        );
        assert_eq!(validity(hours(1), 1000, i64::MAX), Ok((700, 4600)));
        assert_eq!(validity(hours(24), 1000, 5000), Ok((700, 5000)));
        assert!(validity(hours(1), 1000, 900).is_err());
        assert!(validity(hours(1), 1000, 600).is_err());
    }

    #[test]
    fn which_signers_run() {
        let mut config = CSRSigningControllerConfiguration::default();
        assert_eq!(signers(&config), Ok(vec![]));
        config.kubelet_client_signer_configuration.cert_file = "c".into();
        config.kubelet_client_signer_configuration.key_file = "k".into();
        let names = |config: &CSRSigningControllerConfiguration| {
            signers(config)
                .map(|signers| signers.iter().map(|signer| signer.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&config), Ok(vec![KUBELET_CLIENT]));
        config.cluster_signing_cert_file = "c".into();
        config.cluster_signing_key_file = "k".into();
        assert!(names(&config).is_err());
        config.kubelet_client_signer_configuration = Default::default();
        assert_eq!(names(&config).unwrap().len(), 4);
    }

    #[test]
    fn certificates_carry_the_request_and_our_usages() {
        let folder = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "the CA");
        let (certificate, key) = (folder.path().join("ca.crt"), folder.path().join("ca.key"));
        std::fs::write(&certificate, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        std::fs::write(&key, ca_key.serialize_pem()).unwrap();
        let signer = Signer {
            name: LEGACY,
            certificate,
            key,
        };
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "jane");
        let pem = params
            .serialize_request(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
            .unwrap();
        let request = Request::parse(pem.as_bytes()).unwrap();
        let usages = ["client auth", "digital signature"].map(str::to_owned);
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let pem = signer
            .sign(&request, &usages, Duration::from_secs(3600), now)
            .unwrap();
        let block = pem::parse(pem).unwrap();
        let (_, signed) = x509_parser::parse_x509_certificate(block.contents()).unwrap();
        assert_eq!(
            signed.subject().iter_common_name().next().unwrap().as_str(),
            Ok("jane")
        );
        assert_eq!(
            signed.issuer().iter_common_name().last().unwrap().as_str(),
            Ok("the CA")
        );
        assert!(!signed.is_ca());
        assert_eq!(signed.validity().not_after.timestamp(), 2_000_003_600);
        let purposes = signed.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && !purposes.server_auth);
        assert!(
            signed
                .key_usage()
                .unwrap()
                .unwrap()
                .value
                .digital_signature()
        );
        assert!(signed.subject_alternative_name().unwrap().is_some());
        assert!(
            signer
                .sign(&request, &["nonsense".to_owned()], LEAST, now)
                .is_err()
        );
    }
}
