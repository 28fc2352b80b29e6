//! Finalizers that keep storage objects while they are in use, and the rule for growing a claim.
//! Upstream: plugin/pkg/admission/storage/{storageobjectinuseprotection,persistentvolume/resize}.

use api_types::core::v1::PersistentVolumeClaim;
use api_types::storage::v1::StorageClass;
use component_base::auth::BoxFuture;

use super::default_class::OLD_STORAGE_CLASS;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};

pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let finalizer = match attributes.endpoint() {
                ("", "persistentvolumeclaims", "") => "kubernetes.io/pvc-protection",
                ("", "persistentvolumes", "") => "kubernetes.io/pv-protection",
                ("storage.k8s.io", "volumeattributesclasses", "") => "kubernetes.io/vac-protection",
                _ => return Ok(()),
            };
            if let Some(object) = attributes.object.as_mut() {
                object.edit_metadata(|metadata| {
                    if !metadata.finalizers.iter().any(|own| own == finalizer) {
                        metadata.finalizers.push(finalizer.to_owned());
                    }
                });
            }
            Ok(())
        })
    }
}

pub(super) struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
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
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "persistentvolumeclaims") {
                return Ok(());
            }
            let (Some(new), Some(old)) = (
                attributes.object::<PersistentVolumeClaim>(),
                attributes.old::<PersistentVolumeClaim>(),
            ) else {
                return Ok(());
            };
            let size = |claim: &PersistentVolumeClaim| {
                claim
                    .spec
                    .resources
                    .requests
                    .get("storage")
                    .cloned()
                    .unwrap_or_default()
            };
            if size(new).cmp(&size(old)).is_le() {
                return Ok(());
            }
            if old.status.phase != "Bound" {
                return Err(
                    attributes.forbidden("Only bound persistent volume claims can be expanded")
                );
            }
            let class = class_of(new);
            let found = if class.is_empty() || class != class_of(old) {
                None
            } else {
                let resource = "storageclasses";
                cluster
                    .get("storage.k8s.io", resource, "", class, Freshness::Cached)
                    .await?
            };
            if found
                .as_ref()
                .and_then(|object| object.get::<StorageClass>())
                .is_some_and(|class| class.allow_volume_expansion == Some(true))
            {
                return Ok(());
            }
            Err(attributes.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ))
        })
    }
}

/// The class of a claim; the annotation is older than the field and goes first.
fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let annotation = claim.metadata.annotations.get(OLD_STORAGE_CLASS);
    let class = annotation.or(claim.spec.storage_class_name.as_ref());
    class.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::Quantity;

    use super::*;
    use crate::admission::plugins::testing::{Few, request};
    use crate::registry::object::Object;

    fn claim(annotation: Option<&str>, class: Option<&str>, size: &str) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.namespace = "n".into();
        if let Some(class) = annotation {
            let key = OLD_STORAGE_CLASS.to_owned();
            claim.metadata.annotations.insert(key, class.into());
        }
        claim.spec.storage_class_name = class.map(str::to_owned);
        let size = Quantity::parse(size).expect("a quantity");
        claim.spec.resources.requests.insert("storage".into(), size);
        claim.status.phase = "Bound".into();
        claim
    }

    #[tokio::test]
    async fn a_claim_grows_if_its_class_lets_it() {
        let class = |name: &str, allow| {
            let mut class = StorageClass::default();
            class.metadata.name = name.into();
            class.allow_volume_expansion = Some(allow);
            Object::from(class)
        };
        let cluster = Few::default()
            .with("storageclasses", class("grows", true))
            .with("storageclasses", class("fixed", false));
        let check = async |old: (Option<&str>, Option<&str>),
                           new: (Option<&str>, Option<&str>),
                           expected: bool| {
            let attributes = Attributes {
                old_object: Some(Arc::new(Object::from(claim(old.0, old.1, "1Gi")))),
                ..request(
                    Operation::Update,
                    "PersistentVolumeClaim",
                    "persistentvolumeclaims",
                    Object::from(claim(new.0, new.1, "2Gi")),
                )
            };
            let verdict = PersistentVolumeClaimResize
                .validate(&attributes, &cluster)
                .await;
            assert_eq!(verdict.is_ok(), expected, "{old:?} {new:?}");
        };
        let grows = Some("grows");
        check((None, grows), (None, grows), true).await;
        check((grows, None), (grows, None), true).await;
        check((None, Some("fixed")), (None, Some("fixed")), false).await;
        // The annotation has precedence, and the class must not change with the size.
        check((grows, Some("fixed")), (grows, Some("fixed")), true).await;
        check((None, grows), (None, Some("fixed")), false).await;
        check((None, grows), (Some("fixed"), grows), false).await;
        check((None, None), (None, grows), false).await;
    }
}
