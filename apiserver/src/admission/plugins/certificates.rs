//! Who may approve and sign certificate requests, and which subject a client certificate may not have.
//! Upstream: plugin/pkg/admission/certificates.

use std::sync::Arc;

use api_types::certificates::v1::CertificateSigningRequest;
use component_base::auth::{Attributes as AccessAttributes, Authorizer, BoxFuture, Decision};

use crate::admission::{Attributes, Cluster, Operation, Plugin, Verdict};

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
            let Some(authorizer) = &self.authorizer else {
                return Ok(());
            };
            // The right may be given on the signer or on its whole domain.
            let domain = signer
                .split_once('/')
                .map(|(domain, _)| format!("{domain}/*"));
            for name in std::iter::once(signer.clone()).chain(domain) {
                let question = AccessAttributes {
                    user: attributes.user.clone(),
                    verb: self.verb.to_owned(),
                    api_group: GROUP.to_owned(),
                    api_version: "*".to_owned(),
                    resource: "signers".to_owned(),
                    name,
                    resource_request: true,
                    ..AccessAttributes::default()
                };
                if authorizer
                    .authorize(&question)
                    .await
                    .is_ok_and(|decision| decision == Decision::Allow)
                {
                    return Ok(());
                }
            }
            Err(attributes.forbidden(format!(
                "user not permitted to {} requests with signerName {signer:?}",
                self.verb
            )))
        })
    }
}

/// Nobody gets a client certificate of the group that may do everything.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
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
