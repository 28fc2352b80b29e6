//! Claims and ingresses that name no class get the one marked as default.
//! Upstream: plugin/pkg/admission/storage/storageclass/setdefault and plugin/pkg/admission/network/defaultingressclass.

use api_types::core::v1::PersistentVolumeClaim;
use api_types::meta::v1::ObjectMeta;
use api_types::networking::v1::{Ingress, IngressClass};
use api_types::storage::v1::StorageClass;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

const DEFAULT_STORAGE_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
pub(super) const OLD_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
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
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "persistentvolumeclaims") {
                return Ok(());
            }
            let without = |claim: &PersistentVolumeClaim| {
                claim.spec.storage_class_name.is_none()
                    && !claim.metadata.annotations.contains_key(OLD_STORAGE_CLASS)
            };
            if !attributes
                .object::<PersistentVolumeClaim>()
                .is_some_and(without)
            {
                return Ok(());
            }
            let classes = cluster.list("storage.k8s.io", "storageclasses", "").await?;
            let defaults = classes
                .iter()
                .filter_map(|object| object.get::<StorageClass>())
                .map(|class| &class.metadata);
            let newest = newest(defaults.filter(|class| {
                DEFAULT_STORAGE_CLASS
                    .iter()
                    .any(|annotation| is_true(class, annotation))
            }));
            if let (Some(name), Some(claim)) =
                (newest, attributes.object_mut::<PersistentVolumeClaim>())
            {
                claim.spec.storage_class_name = Some(name);
            }
            Ok(())
        })
    }
}

fn is_true(metadata: &ObjectMeta, annotation: &str) -> bool {
    metadata
        .annotations
        .get(annotation)
        .is_some_and(|value| value == "true")
}

/// Of several defaults the newest counts; of equally new ones the first by name.
fn newest<'a>(classes: impl Iterator<Item = &'a ObjectMeta>) -> Option<String> {
    classes
        .min_by(|a, b| {
            b.creation_timestamp
                .cmp(&a.creation_timestamp)
                .then_with(|| a.name.cmp(&b.name))
        })
        .map(|class| class.name.clone())
}

pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
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
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("networking.k8s.io", "ingresses") {
                return Ok(());
            }
            let without = |ingress: &Ingress| {
                ingress.spec.ingress_class_name.is_none()
                    && !ingress.metadata.annotations.contains_key(OLD_INGRESS_CLASS)
            };
            if !attributes.object::<Ingress>().is_some_and(without) {
                return Ok(());
            }
            let classes = cluster
                .list("networking.k8s.io", "ingressclasses", "")
                .await?;
            let defaults = classes
                .iter()
                .filter_map(|object| object.get::<IngressClass>())
                .map(|class| &class.metadata);
            let newest = newest(defaults.filter(|class| is_true(class, DEFAULT_INGRESS_CLASS)));
            if let (Some(name), Some(ingress)) = (newest, attributes.object_mut::<Ingress>()) {
                ingress.spec.ingress_class_name = Some(name);
            }
            Ok(())
        })
    }
}
