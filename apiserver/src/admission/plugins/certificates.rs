//! Who may approve and sign certificate requests, and which subject a client certificate may not have.
//! Upstream: plugin/pkg/admission/certificates.

use std::sync::Arc;

use api_types::certificates::v1::CertificateSigningRequest;
use api_types::certificates::v1beta1::ClusterTrustBundle;
use api_types::value::structs_equal;
use apimachinery::quote::quote;
use component_base::auth::{Attributes as AccessAttributes, Authorizer, BoxFuture, UserInfo};

use super::Settings;
use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";

/// CertificateApproval and CertificateSigning: writing the subresource needs a verb on the signer too.
pub(super) struct CertificateRights {
    name: &'static str,
    subresource: &'static str,
    verb: &'static str,
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl CertificateRights {
    pub(super) fn approval(authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self {
            name: "CertificateApproval",
            subresource: "approval",
            verb: "approve",
            authorizer,
        }
    }

    pub(super) fn signing(authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self {
            name: "CertificateSigning",
            subresource: "status",
            verb: "sign",
            authorizer,
        }
    }
}

impl Plugin for CertificateRights {
    fn name(&self) -> &'static str {
        self.name
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is(GROUP, RESOURCE) || attributes.subresource != self.subresource {
                return Ok(());
            }
            let (Some(new), Some(old)) = (
                attributes.object::<CertificateSigningRequest>(),
                attributes.old::<CertificateSigningRequest>(),
            ) else {
                return Ok(());
            };
            // A status without a new certificate or condition needs no right on the signer.
            if self.subresource == "status"
                && new.status.certificate == old.status.certificate
                && new.status.conditions == old.status.conditions
            {
                return Ok(());
            }
            let signer = &old.spec.signer_name;
            let authorizer = self.authorizer.as_deref();
            if may(authorizer, &attributes.user, self.verb, signer).await {
                return Ok(());
            }
            Err(attributes.forbidden(format!(
                "user not permitted to {} requests with signerName {signer:?}",
                self.verb
            )))
        })
    }
}

/// Whether the caller has a verb on a signer, or on its whole domain.
pub(crate) async fn may(
    authorizer: Option<&dyn Authorizer>,
    user: &UserInfo,
    verb: &str,
    signer: &str,
) -> bool {
    let Some(authorizer) = authorizer else {
        return true;
    };
    let domain = signer
        .split_once('/')
        .map(|(domain, _)| format!("{domain}/*"));
    for name in std::iter::once(signer.to_owned()).chain(domain) {
        let question = AccessAttributes {
            user: user.clone(),
            verb: verb.to_owned(),
            api_group: GROUP.to_owned(),
            api_version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            resource_request: true,
            ..AccessAttributes::default()
        };
        let decision = authorizer.authorize(&question).await;
        if decision.is_ok_and(|decision| decision.is_allowed()) {
            return true;
        }
    }
    false
}

/// A bundle of a signer is written by those who may attest for it.
pub(super) struct ClusterTrustBundleAttest {
    /// Feature gate ClusterTrustBundle.
    enabled: bool,
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl ClusterTrustBundleAttest {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            enabled: settings.features.enabled("ClusterTrustBundle"),
            authorizer: settings.authorizer.clone(),
        }
    }
}

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        self.enabled && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is(GROUP, "clustertrustbundles") {
                return Ok(());
            }
            let Some(new) = attributes.object::<ClusterTrustBundle>() else {
                return Ok(());
            };
            let signer = &new.spec.signer_name;
            let old = attributes.old::<ClusterTrustBundle>();
            if signer.is_empty() || old.is_some_and(|old| only_collected(new, old)) {
                return Ok(());
            }
            if may(
                self.authorizer.as_deref(),
                &attributes.user,
                "attest",
                signer,
            )
            .await
            {
                return Ok(());
            }
            Err(attributes.forbidden(format!(
                "user not permitted to attest for signerName {}",
                quote(signer)
            )))
        })
    }
}

/// Whether an update changes nothing but what the garbage collector needs.
fn only_collected(new: &ClusterTrustBundle, old: &ClusterTrustBundle) -> bool {
    let mut new = new.clone();
    let (metadata, old_metadata) = (&mut new.metadata, &old.metadata);
    metadata
        .owner_references
        .clone_from(&old_metadata.owner_references);
    metadata.finalizers.clone_from(&old_metadata.finalizers);
    metadata.self_link.clone_from(&old_metadata.self_link);
    metadata
        .managed_fields
        .clone_from(&old_metadata.managed_fields);
    structs_equal(&new, old)
}

/// Nobody gets a client certificate of the group that may do everything.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main(GROUP, RESOURCE) {
                return Ok(());
            }
            let Some(request) = attributes.object::<CertificateSigningRequest>() else {
                return Ok(());
            };
            if request.spec.signer_name != "kubernetes.io/kube-apiserver-client" {
                return Ok(());
            }
            match organizations(&request.spec.request.0) {
                Err(reason) => Err(attributes.forbidden(format!("failed to parse CSR: {reason}"))),
                Ok(names) if names.iter().any(|name| name == "system:masters") => {
                    Err(attributes.forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"))
                }
                Ok(_) => Ok(()),
            }
        })
    }
}

/// The O values of the subject of a PEM certificate request.
pub(super) fn organizations(request: &[u8]) -> Result<Vec<String>, String> {
    with_subject(request, |name| {
        name.iter_organization()
            .filter_map(|value| value.as_str().ok())
            .map(str::to_owned)
            .collect()
    })
}

/// The first CN of the subject of a PEM certificate request.
pub(super) fn common_name(request: &[u8]) -> Result<String, String> {
    with_subject(request, |name| {
        name.iter_common_name()
            .find_map(|value| value.as_str().ok())
            .unwrap_or_default()
            .to_owned()
    })
}

fn with_subject<T>(
    request: &[u8],
    read: impl FnOnce(&x509_parser::x509::X509Name<'_>) -> T,
) -> Result<T, String> {
    use x509_parser::prelude::{FromDer, X509CertificationRequest};
    let block =
        pem::parse(request).map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    }
    let (_, parsed) =
        X509CertificationRequest::from_der(block.contents()).map_err(|error| error.to_string())?;
    Ok(read(&parsed.certification_request_info.subject))
}
