//! What claims and volumes mean. Upstream: component-helpers/storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use api_types::storage::v1::StorageClass;
use apimachinery::field::Path;
use apimachinery::labels::Selector;
use apimachinery::scheduling::NodeSelector;
use client::ObjectKey;
use client::cache::Lister;

pub const ANN_BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const ANN_BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const ANN_SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub const NOT_SUPPORTED_PROVISIONER: &str = "kubernetes.io/no-provisioner";
pub const WAIT_FOR_FIRST_CONSUMER: &str = "WaitForFirstConsumer";
const ANN_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The claim a volume uses: its name, and whether it was made for the pod.
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(claim) = volume.volume_source.persistent_volume_claim.as_deref() {
        return Some((claim.claim_name.clone(), false));
    }
    volume.volume_source.ephemeral.as_deref()?;
    Some((format!("{}-{}", pod.metadata.name, volume.name), true))
}

/// That a claim made for a pod's ephemeral volume is the pod's. Upstream: `ephemeral.VolumeIsForPod`.
pub fn check_is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let owned = claim
        .metadata
        .owner_references
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == pod.metadata.uid);
    if owned {
        return Ok(());
    }
    Err(format!(
        "PVC {}/{} was not created for pod {}/{} (pod is not owner)",
        claim.metadata.namespace, claim.metadata.name, pod.metadata.namespace, pod.metadata.name
    ))
}

/// The claim's class, "" for none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    claim
        .metadata
        .annotations
        .get(ANN_STORAGE_CLASS)
        .or(claim.spec.storage_class_name.as_ref())
        .map_or("", String::as_str)
}

/// The volume's class, "" for none.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    volume
        .metadata
        .annotations
        .get(ANN_STORAGE_CLASS)
        .unwrap_or(&volume.spec.storage_class_name)
}

/// Whether the claim is bound and both sides know.
pub fn is_fully_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim.spec.volume_name.is_empty()
        && claim.metadata.annotations.contains_key(ANN_BIND_COMPLETED)
}

/// Whether the claim is bound only once a pod uses it. Upstream: `IsDelayBindingMode`.
pub fn is_delay_binding(
    claim: &PersistentVolumeClaim,
    classes: &Lister<StorageClass>,
) -> Result<bool, String> {
    let name = claim_class(claim);
    if name.is_empty() {
        return Ok(false);
    }
    let Some(class) = classes.get(&ObjectKey::cluster(name)) else {
        return Ok(false);
    };
    match class.volume_binding_mode.as_deref() {
        Some(mode) => Ok(mode == WAIT_FOR_FIRST_CONSUMER),
        None => Err(format!(
            "VolumeBindingMode not set for StorageClass {name:?}"
        )),
    }
}

/// Whether the volume can be reached from a node with these labels.
pub fn reaches_node(volume: &PersistentVolume, node: &Node) -> bool {
    let required = volume
        .spec
        .node_affinity
        .as_deref()
        .and_then(|affinity| affinity.required.as_deref());
    let Some(required) = required else {
        return true;
    };
    // Field selectors are not looked at, as upstream: only the node's labels count.
    NodeSelector::lazy(required, &Path::nil())
        .matches_labels(&node.metadata.labels, "")
        .unwrap_or(false)
}

/// Whether the volume says it belongs to the claim.
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_deref().is_some_and(|owner| {
        owner.name == claim.metadata.name
            && owner.namespace == claim.metadata.namespace
            && (owner.uid.is_empty() || owner.uid == claim.metadata.uid)
    })
}

fn storage(amounts: &BTreeMap<String, Quantity>) -> Quantity {
    amounts.get("storage").cloned().unwrap_or_default()
}

/// What the claim asks for.
pub fn requested_storage(claim: &PersistentVolumeClaim) -> Quantity {
    storage(&claim.spec.resources.requests)
}

/// The smallest volume that satisfies the claim on a node, or the one that is reserved for it. Upstream: `FindMatchingVolume`.
pub fn find_matching_volume(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    node: &Node,
    chosen: &[Arc<PersistentVolume>],
) -> Result<Option<Arc<PersistentVolume>>, String> {
    let requested = requested_storage(claim);
    let class = claim_class(claim);
    let selector = claim
        .spec
        .selector
        .as_deref()
        .map(|selector| Selector::from_label_selector(Some(selector)))
        .transpose()
        .map_err(|error| {
            format!(
                "error creating internal label selector for claim: {}/{}: {error}",
                claim.metadata.namespace, claim.metadata.name
            )
        })?;
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let mut smallest: Option<(&Arc<PersistentVolume>, Quantity)> = None;
    for volume in volumes {
        if chosen
            .iter()
            .any(|other| other.metadata.name == volume.metadata.name)
            || volume.spec.claim_ref.is_some() && !is_bound_to(volume, claim)
        {
            continue;
        }
        let capacity = storage(&volume.spec.capacity);
        let attributes = |name: &Option<String>| name.clone().unwrap_or_default();
        if capacity < requested
            || mode(&claim.spec.volume_mode) != mode(&volume.spec.volume_mode)
            || attributes(&claim.spec.volume_attributes_class_name)
                != attributes(&volume.spec.volume_attributes_class_name)
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let reachable = reaches_node(volume, node);
        if is_bound_to(volume, claim) {
            return Ok(reachable.then(|| volume.clone()));
        }
        let suits = volume.status.phase == "Available"
            && selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&volume.metadata.labels))
            && volume_class(volume) == class
            && reachable
            && claim
                .spec
                .access_modes
                .iter()
                .all(|mode| volume.spec.access_modes.contains(mode));
        if suits
            && smallest
                .as_ref()
                .is_none_or(|(_, smallest)| *smallest > capacity)
        {
            smallest = Some((volume, capacity));
        }
    }
    Ok(smallest.map(|(volume, _)| volume.clone()))
}
