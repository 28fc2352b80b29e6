//! Who may write the status of a PodCertificateRequest: those who may sign for its signer. Upstream: the StatusStrategy of
//! pkg/registry/certificates/podcertificaterequest.

use api_types::certificates::v1beta1::PodCertificateRequest;
use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use component_base::auth::Attributes;

use super::object::Object;
use crate::admission::plugins;
use crate::server::ApiServer;

/// Refuses an update of a status whose author may not sign. `request` is what the request is about.
pub async fn check(
    server: &ApiServer,
    request: &Attributes,
    new: &Object,
    old: &Object,
) -> Result<(), StatusError> {
    if request.subresource != "status" || request.resource != "podcertificaterequests" {
        return Ok(());
    }
    let (Some(new), Some(old)) = (
        new.get::<PodCertificateRequest>(),
        old.get::<PodCertificateRequest>(),
    ) else {
        return Ok(());
    };
    let signer = &old.spec.signer_name;
    let authorizer = Some(&*server.authorizer);
    if new.status == old.status
        || plugins::may_for_signer(authorizer, &request.user, "sign", signer).await
    {
        return Ok(());
    }
    let detail = format!(
        "User {} is not permitted to \"sign\" for signer {}",
        quote(&request.user.name),
        quote(signer)
    );
    let path = Path::new("spec").child("signerName");
    let kind = GroupKind {
        group: "certificates.k8s.io".to_owned(),
        kind: "PodCertificateRequest".to_owned(),
    };
    let errors = field::forbidden(&path, detail).into();
    Err(status::invalid(&kind, &new.metadata.name, &errors))
}
