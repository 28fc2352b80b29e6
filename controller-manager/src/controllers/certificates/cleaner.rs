//! Deletes CertificateSigningRequests that nobody needs any more. Upstream: pkg/controller/certificates/cleaner.

use std::time::Duration;

use api_types::Time;
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use client::{Client, Lister, ObjectKey};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::super::{BuildError, Controller, Next, SyncError};
use crate::clock::Clock;
use crate::context::Setup;
use crate::runner::Queue;

const PERIOD: Duration = Duration::from_secs(3600);
const HANDLED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// The certificatesigningrequest-cleaner-controller. It has no keys: everything is looked at every hour.
pub struct CsrCleanerController {
    client: Client,
    clock: Clock,
    requests: Lister<CertificateSigningRequest>,
}

impl Controller for CsrCleanerController {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";
    const ALIASES: &'static [&'static str] = &["csrcleaner"];
    const SERVICE_ACCOUNT: &'static str = "certificate-controller";
    const QUEUE: &'static str = "csrcleaner";
    type Key = ObjectKey;

    async fn build(setup: &Setup, _: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            requests: setup.informer::<CertificateSigningRequest>().lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, _: &ObjectKey) -> Result<Next, SyncError> {
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            for request in self.requests.list() {
                let Some(reason) = obsolete(&request, self.clock.now()) else {
                    continue;
                };
                let name = &request.metadata.name;
                tracing::info!(csr = name, reason, "Cleaning CSR");
                let api = self.client.api::<CertificateSigningRequest>();
                if let Err(error) = api.delete(name, &DeleteOptions::default()).await {
                    tracing::error!(csr = name, %error, "Error while attempting to clean CSR");
                }
            }
        }
    }
}

/// Why the request can go, if it can.
fn obsolete(request: &CertificateSigningRequest, now: Timestamp) -> Option<&'static str> {
    let older = |time: Time, than: SignedDuration| {
        !time.is_zero() && now.duration_since(time.timestamp()) > than
    };
    let issued = !request.status.certificate.is_empty();
    let any = |type_: &str, than: SignedDuration| {
        let mut conditions = request.status.conditions.iter();
        conditions
            .any(|condition| condition.type_ == type_ && older(condition.last_update_time, than))
    };
    let approved = request
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Approved");
    if issued && any("Approved", HANDLED) {
        Some("approved and issued")
    } else if any("Denied", HANDLED) {
        Some("denied")
    } else if any("Failed", HANDLED) {
        Some("failed")
    } else if request.status.conditions.is_empty()
        && older(request.metadata.creation_timestamp, PENDING)
    {
        Some("unhandled")
    } else if approved && issued && is_expired(&request.status.certificate, now) {
        Some("the certificate is expired")
    } else if !issued && any("Approved", PENDING) {
        Some("approved but not issued")
    } else {
        None
    }
}

fn is_expired(certificate: &[u8], now: Timestamp) -> bool {
    let Ok(block) = pem::parse(certificate) else {
        return false;
    };
    x509_parser::parse_x509_certificate(block.contents()).is_ok_and(|(_, certificate)| {
        certificate.validity().not_after.timestamp() < now.as_second()
    })
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;
    use api_types::certificates::v1::CertificateSigningRequestCondition;

    use super::*;

    #[test]
    fn what_can_go() {
        const HOUR: i64 = 3600;
        let check = |condition: &str, hours: i64, issued: bool, expected: bool| {
            let now = 1_000_000;
            let mut request = CertificateSigningRequest::default();
            request.metadata.creation_timestamp = Time::from_unix(now - hours * HOUR - 1);
            if !condition.is_empty() {
                request
                    .status
                    .conditions
                    .push(CertificateSigningRequestCondition {
                        type_: condition.into(),
                        last_update_time: Time::from_unix(now - hours * HOUR - 1),
                        ..Default::default()
                    });
            }
            if issued {
                request.status.certificate = ByteString(b"not a certificate".to_vec());
            }
            let found = obsolete(&request, Timestamp::from_second(now).unwrap());
            assert_eq!(found.is_some(), expected, "{condition} {hours} {issued}");
        };
        check("Approved", 1, true, true);
        check("Approved", 0, true, false);
        check("Approved", 23, false, false);
        check("Approved", 24, false, true);
        check("Denied", 1, false, true);
        check("Denied", 0, false, false);
        check("Failed", 1, false, true);
        check("", 23, false, false);
        check("", 24, false, true);
    }

    #[test]
    fn expired_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let pem = certificate.pem();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!is_expired(pem.as_bytes(), at("2026-01-01T00:00:00Z")));
        assert!(is_expired(pem.as_bytes(), at("4097-01-01T00:00:00Z")));
        assert!(!is_expired(b"nonsense", at("4097-01-01T00:00:00Z")));
    }
}
