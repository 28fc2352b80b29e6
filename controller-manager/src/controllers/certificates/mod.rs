//! CertificateSigningRequests: approving those of kubelets, signing, cleaning up. Upstream: pkg/controller/certificates.

/// certificatesigningrequest-approving-controller
pub mod approver;
/// certificatesigningrequest-cleaner-controller
pub mod cleaner;
/// What a request asks for.
pub mod request;
/// certificatesigningrequest-signing-controller
pub mod signer;

use std::time::Duration;

use api_types::certificates::v1::CertificateSigningRequest;
use client::SharedInformer;

use super::Backoff;
use super::controller_ref::key_of;
use crate::context::on_change;
use crate::runner::Queue;
use client::ObjectKey;

/// Spacing of retries of approving and signing.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    ..Backoff::DEFAULT
};

fn queue_all(informer: &SharedInformer<CertificateSigningRequest>, queue: &Queue<ObjectKey>) {
    let queue = queue.clone();
    on_change(informer, move |change| {
        queue.add(key_of(&change.object().metadata))
    });
}

/// There is a condition of this type. As upstream, its status does not matter for approval and denial.
fn has_condition(request: &CertificateSigningRequest, type_: &str) -> bool {
    request
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == type_)
}
