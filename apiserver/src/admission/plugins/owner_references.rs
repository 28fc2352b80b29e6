//! OwnerReferencesPermissionEnforcement: to hand an object to the garbage collector one must be able to delete it, and to keep an owner
//! from being deleted one must be able to set its finalizers. Upstream: plugin/pkg/admission/gc.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::meta::v1::OwnerReference;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::quote::quote;
use component_base::auth::{Attributes as AccessAttributes, Authorizer, BoxFuture, Decision};

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};
use crate::registry::object::Object;

pub(super) struct OwnerReferencesPermissionEnforcement {
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl OwnerReferencesPermissionEnforcement {
    pub(super) fn new(authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self { authorizer }
    }

    /// Why not, as Go prints a reason and an error.
    async fn ask(&self, question: &AccessAttributes) -> Result<(), String> {
        let Some(authorizer) = &self.authorizer else {
            return Ok(());
        };
        match authorizer.authorize(question).await {
            Ok(Decision::Allow(_)) => Ok(()),
            Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
                Err(format!("{reason}, <nil>"))
            }
            Err(error) => Err(format!(", {error}")),
        }
    }
}

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            // The status of pods keeps metadata as it is.
            if attributes.endpoint() == ("", "pods", "status") {
                return Ok(());
            }
            let Some(new) = owners(attributes.object.as_ref()) else {
                return Ok(());
            };
            let old = match attributes.old_object.as_deref() {
                None => &[],
                Some(old) => match owners(Some(old)) {
                    Some(old) => old,
                    None => return Ok(()),
                },
            };
            if new == old {
                return Ok(());
            }
            // Who creates an object could as well not have created it.
            if attributes.operation != Operation::Create {
                let question = AccessAttributes {
                    user: attributes.user.clone(),
                    verb: "delete".to_owned(),
                    namespace: attributes.namespace.clone(),
                    api_group: attributes.resource.group.clone(),
                    api_version: attributes.resource.version.clone(),
                    resource: attributes.resource.resource.clone(),
                    subresource: attributes.subresource.clone(),
                    name: attributes.name.clone(),
                    resource_request: true,
                    ..AccessAttributes::default()
                };
                self.ask(&question).await.map_err(|why| {
                    attributes.forbidden(format!(
                        "cannot set an ownerRef on a resource you can't delete: {why}"
                    ))
                })?;
            }
            self.check_blocking(attributes, cluster, new, old).await
        })
    }
}

impl OwnerReferencesPermissionEnforcement {
    async fn check_blocking(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
        new: &[OwnerReference],
        old: &[OwnerReference],
    ) -> Verdict {
        let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
        let blocked_before: HashSet<&str> = old
            .iter()
            .filter(|owner| blocks(owner))
            .map(|owner| owner.uid.as_str())
            .collect();
        let blocking: Vec<&OwnerReference> = new
            .iter()
            .filter(|owner| blocks(owner) && !blocked_before.contains(owner.uid.as_str()))
            .collect();
        if blocking.is_empty() {
            return Ok(());
        }
        let finalizers =
            |group: &str, version: &str, resource: &str, name: &str| AccessAttributes {
                user: attributes.user.clone(),
                verb: "update".to_owned(),
                api_group: group.to_owned(),
                api_version: version.to_owned(),
                resource: resource.to_owned(),
                subresource: "finalizers".to_owned(),
                name: name.to_owned(),
                resource_request: true,
                ..AccessAttributes::default()
            };
        if self.ask(&finalizers("*", "*", "*", "*")).await.is_ok() {
            return Ok(());
        }
        for owner in blocking {
            let kind = GroupVersionKind::from_api_version_and_kind(&owner.api_version, &owner.kind);
            let Some(served) = cluster.served_kind(&kind) else {
                let (version, kind) = (&owner.api_version, &owner.kind);
                return Err(attributes.forbidden(format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {kind}: \
                     no matches for kind {} in version {}",
                    quote(kind),
                    quote(version)
                )));
            };
            let resource = &served.matched.resource.resource;
            let mut question = finalizers(&kind.group, &kind.version, resource, &owner.name);
            if served.namespaced {
                question.namespace.clone_from(&attributes.namespace);
            }
            self.ask(&question).await.map_err(|why| {
                attributes.forbidden(format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {why}"
                ))
            })?;
        }
        Ok(())
    }
}

/// None for objects without metadata.
fn owners(object: Option<&Object>) -> Option<&[OwnerReference]> {
    object
        .filter(|object| object.has_metadata())
        .map(|object| object.metadata().owner_references.as_slice())
}
