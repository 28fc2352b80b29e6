//! Counts certificates that were issued for a time that the client had asked for, and whether they count that long.
//! Upstream: pkg/registry/certificates/certificates/storage/metrics.go.

use api_types::certificates::v1::CertificateSigningRequest;
use apimachinery::pem::{Block, blocks};
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;
use component_base::metrics::{CounterVec, Metrics, Opts};

use super::object::Object;
use super::store::{Reservation, WriteHooks};

/// How far a certificate may be off that is dated back, and may be besides.
const SLACK_SECONDS: i64 = 5 * 60;
const SLACK_PART: i64 = 20;

/// The families.
pub struct IssuedCertificates {
    requested: CounterVec,
    honored: CounterVec,
}

impl IssuedCertificates {
    pub fn new(metrics: &Metrics) -> IssuedCertificates {
        let family = |name: &str, what: &str| {
            let name = format!("apiserver_certificates_registry_csr_{name}_duration_total");
            let help = format!(
                "Total number of issued CSRs with a requested duration{what}, sliced by signer (only kubernetes.io signer names are specifically identified)"
            );
            metrics.counter_vec(Opts::new(name, help), &["signerName"])
        };
        IssuedCertificates {
            requested: family("requested", ""),
            honored: family("honored", " that was honored"),
        }
    }

    fn count(&self, signer: &str, wanted: i64, certificate: &[u8]) {
        let signer = match signer {
            own if own.starts_with("kubernetes.io/") => own,
            _ => "other",
        };
        self.requested.with_label_values(&[signer]).inc();
        match seconds(certificate) {
            Some(got) if is_honored(wanted, got) => {
                self.honored.with_label_values(&[signer]).inc();
            }
            Some(_) => {}
            None => tracing::error!("An issued certificate could not be read to be counted"),
        }
    }
}

fn is_honored(wanted: i64, got: i64) -> bool {
    wanted.abs_diff(got) < (SLACK_SECONDS + wanted / SLACK_PART).unsigned_abs()
}

/// How long the first certificate of a PEM text counts.
fn seconds(pem: &[u8]) -> Option<i64> {
    let first = blocks(pem).find(Block::is_certificate)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&first.contents).ok()?;
    let validity = certificate.validity();
    Some(validity.not_after.timestamp() - validity.not_before.timestamp())
}

impl WriteHooks for std::sync::Arc<IssuedCertificates> {
    fn subresource(&self) -> &'static str {
        "status"
    }

    fn begin_create<'a>(
        &'a self,
        _: &'a mut Object,
        _: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>> {
        Box::pin(async { Ok(Reservation::none()) })
    }

    fn begin_update<'a>(
        &'a self,
        object: &'a mut Object,
        old: &'a Object,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Reservation, StatusError>> {
        let issued = || {
            let old = old.get::<CertificateSigningRequest>()?;
            let new = object.get::<CertificateSigningRequest>()?;
            let certificate = &new.status.certificate.0;
            let wanted = old.spec.expiration_seconds?;
            let first = old.status.certificate.0.is_empty() && !certificate.is_empty();
            (first && !dry_run).then(|| {
                let signer = old.spec.signer_name.clone();
                (signer, i64::from(wanted), certificate.clone())
            })
        };
        let reservation = match issued() {
            None => Reservation::none(),
            Some((signer, wanted, certificate)) => {
                let counts = self.clone();
                Reservation::new(move |success| {
                    if success {
                        counts.count(&signer, wanted, &certificate);
                    }
                    Box::pin(async {})
                })
            }
        };
        Box::pin(async { Ok(reservation) })
    }

    fn after_delete<'a>(&'a self, _: &'a Object, _: bool) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_may_be_a_little_off() {
        const HOUR: i64 = 3600;
        assert!(is_honored(HOUR, HOUR) && is_honored(HOUR, HOUR + 479));
        assert!(is_honored(HOUR, HOUR - 479));
        assert!(!is_honored(HOUR, HOUR + 480) && !is_honored(HOUR, HOUR - 480));
    }

    #[test]
    fn only_own_signers_are_told_apart() {
        let metrics = Metrics::bare(component_base::metrics::MetricsOptions::default());
        let counts = IssuedCertificates::new(&metrics);
        let made = component_base::serving::generate_self_signed("host", &[], &[]).unwrap();
        let year = 365 * 24 * 3600;
        let pem = made.certificate_pem.as_bytes();
        counts.count("kubernetes.io/kubelet-serving", year, pem);
        counts.count("example.com/a", 3600, pem);
        counts.count("example.com/b", year, b"no certificate");
        let value = |family: &CounterVec, signer: &str| family.with_label_values(&[signer]).get();
        let own = "kubernetes.io/kubelet-serving";
        assert_eq!(value(&counts.requested, own), 1.0);
        assert_eq!(value(&counts.honored, own), 1.0);
        assert_eq!(value(&counts.requested, "other"), 2.0);
        assert_eq!(value(&counts.honored, "other"), 0.0);
    }
}
