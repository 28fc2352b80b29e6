//! Approves client certificates of kubelets for those who may have them. Upstream: pkg/controller/certificates/approver.

use std::collections::BTreeMap;

use api_types::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use api_types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use client::{Client, Lister, ObjectKey};

use super::super::{Backoff, BuildError, Controller, Next, SyncError};
use super::request::Request;
use super::{BACKOFF, has_condition, queue_all};
use crate::context::Setup;
use crate::runner::Queue;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// The certificatesigningrequest-approving-controller. Its keys are CertificateSigningRequests.
pub struct CsrApprovingController {
    client: Client,
    requests: Lister<CertificateSigningRequest>,
}

impl Controller for CsrApprovingController {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";
    const ALIASES: &'static [&'static str] = &["csrapproving"];
    const SERVICE_ACCOUNT: &'static str = "certificate-controller";
    const QUEUE: &'static str = "certificate";
    const BACKOFF: Backoff = BACKOFF;
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let requests = setup.informer::<CertificateSigningRequest>();
        queue_all(&requests, queue);
        Ok(Some(Self {
            client: setup.client.clone(),
            requests: requests.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        5
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(request) = self.requests.get(key) else {
            return Ok(Next::Done);
        };
        if !request.status.certificate.is_empty()
            || has_condition(&request, "Approved")
            || has_condition(&request, "Denied")
        {
            return Ok(Next::Done);
        }
        let parsed = Request::parse(&request.spec.request).map_err(|error| {
            SyncError::other(format!("unable to parse csr {:?}: {error}", key.name))
        })?;
        let recognized = recognize(&request, &parsed);
        for (subresource, message) in &recognized {
            if self.may(&request, subresource).await? {
                let mut approved = (*request).clone();
                approved
                    .status
                    .conditions
                    .push(CertificateSigningRequestCondition {
                        type_: "Approved".to_owned(),
                        status: "True".to_owned(),
                        reason: "AutoApproved".to_owned(),
                        message: (*message).to_owned(),
                        ..Default::default()
                    });
                let api = self.client.api::<CertificateSigningRequest>();
                api.update_subresource::<_, CertificateSigningRequest>(
                    &key.name, "approval", &approved,
                )
                .await
                .map_err(|error| {
                    SyncError::other(format!("error updating approval for csr: {error}"))
                })?;
                return Ok(Next::Done);
            }
        }
        if recognized.is_empty() {
            return Ok(Next::Done);
        }
        // The right may be given later.
        let tried: Vec<&str> = recognized
            .iter()
            .map(|(subresource, _)| *subresource)
            .collect();
        tracing::debug!(
            csr = key.name,
            ?tried,
            "recognized csr but subject access review was not approved"
        );
        Ok(Next::Retry)
    }
}

/// The rights that would do, and what is said when one is there.
fn recognize(
    request: &CertificateSigningRequest,
    parsed: &Request,
) -> Vec<(&'static str, &'static str)> {
    if request.spec.signer_name != SIGNER
        || parsed.check_kubelet_client(&request.spec.usages).is_err()
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    if request.spec.username == parsed.common_name {
        found.push((
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ));
    }
    found.push((
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    ));
    found
}

impl CsrApprovingController {
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<bool, client::Error> {
        let mut review = SubjectAccessReview::default();
        review.spec.user = request.spec.username.clone();
        review.spec.uid = request.spec.uid.clone();
        review.spec.groups = request.spec.groups.clone();
        review.spec.extra = request
            .spec
            .extra
            .clone()
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        review.spec.resource_attributes = Some(Box::new(ResourceAttributes {
            group: "certificates.k8s.io".to_owned(),
            resource: "certificatesigningrequests".to_owned(),
            verb: "create".to_owned(),
            subresource: subresource.to_owned(),
            version: "*".to_owned(),
            ..Default::default()
        }));
        let answer = self
            .client
            .api::<SubjectAccessReview>()
            .create(&review)
            .await?;
        Ok(answer.status.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_renewing_its_own_certificate_is_recognized() {
        let parsed = Request {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Default::default()
        };
        let check = |signer: &str, username: &str, usages: &[&str], expected: &[&str]| {
            let mut request = CertificateSigningRequest::default();
            request.spec.signer_name = signer.into();
            request.spec.username = username.into();
            request.spec.usages = usages.iter().map(|usage| (*usage).into()).collect();
            let found: Vec<&str> = recognize(&request, &parsed)
                .into_iter()
                .map(|(right, _)| right)
                .collect();
            assert_eq!(found, expected);
        };
        let usages = ["digital signature", "client auth"];
        check(
            SIGNER,
            "system:node:a",
            &usages,
            &["selfnodeclient", "nodeclient"],
        );
        check(SIGNER, "system:bootstrap:x", &usages, &["nodeclient"]);
        check(
            "kubernetes.io/kubelet-serving",
            "system:node:a",
            &usages,
            &[],
        );
        check(SIGNER, "system:node:a", &["server auth"], &[]);
    }
}
