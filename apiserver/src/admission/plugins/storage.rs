//! Finalizers that keep storage objects while they are in use, and the rule for growing a claim.
//! Upstream: plugin/pkg/admission/storage/{storageobjectinuseprotection,persistentvolume/resize}.

use api_types::core::v1::PersistentVolumeClaim;
use api_types::storage::v1::StorageClass;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Verdict};

pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
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
            let class = old.spec.storage_class_name.as_deref().unwrap_or_default();
            let found = if class.is_empty() {
                None
            } else {
                cluster
                    .get(
                        "storage.k8s.io",
                        "storageclasses",
                        "",
                        class,
                        Freshness::Cached,
                    )
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
