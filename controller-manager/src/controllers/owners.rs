//! From a pod or another owned object to the objects that care about it. Upstream: `resolveControllerRef` and
//! `get...ForPod` in each controller of pkg/controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Pod;
use api_types::meta::v1::{ObjectMeta, OwnerReference};
use api_types::{Object, Resource};
use client::{Lister, ObjectKey};

use super::controller_ref::{CONTROLLER_INDEX, controller_index_key, new_controller_ref};

/// The object a controller reference points to, if it is still the same one: kind and uid must agree.
pub fn resolve<O: Resource>(
    lister: &Lister<O>,
    namespace: &str,
    reference: &OwnerReference,
) -> Option<Arc<O>> {
    if reference.kind != O::KIND {
        return None;
    }
    lister
        .get(&ObjectKey::new(namespace, &*reference.name))
        .filter(|object| object.metadata().uid == reference.uid)
}

/// The objects in a namespace that select `labels`. An object without a selector selects nothing.
pub fn selecting<O: Resource>(
    lister: &Lister<O>,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    selects: impl Fn(&O, &BTreeMap<String, String>) -> bool,
) -> Vec<Arc<O>> {
    if labels.is_empty() {
        return Vec::new();
    }
    lister
        .list_namespace(namespace)
        .into_iter()
        .filter(|object| selects(object, labels))
        .collect()
}

/// The pods that `owner` controls and, when `orphans` is set, those of its namespace that nobody controls.
pub fn pods_of<O: Object>(pods: &Lister<Pod>, owner: &O, orphans: bool) -> Vec<Arc<Pod>> {
    let namespace = &owner.metadata().namespace;
    let mut found = pods.by_index(
        CONTROLLER_INDEX,
        &controller_index_key(namespace, Some(&new_controller_ref(owner))),
    );
    if orphans {
        found.extend(pods.by_index(CONTROLLER_INDEX, &controller_index_key(namespace, None)));
    }
    found
}

/// Older first, then by name.
pub fn by_creation(a: &ObjectMeta, b: &ObjectMeta) -> std::cmp::Ordering {
    a.creation_timestamp
        .timestamp()
        .cmp(&b.creation_timestamp.timestamp())
        .then_with(|| a.name.cmp(&b.name))
}
