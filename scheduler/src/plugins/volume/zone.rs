//! Holds pods to the zones and regions that their bound volumes are labelled with. Upstream: plugins/volumezone.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::storage::v1::StorageClass;
use client::ObjectKey;
use client::cache::Lister;

use super::claims::{WAIT_FOR_FIRST_CONSUMER, claim_class};
use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter};
use crate::framework::status::{Status, Verdict};

const PRE_FILTER: &str = "PreFilterVolumeZone";
const REASON: &str = "node(s) had no available volume zone";

const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const LABELS: [&str; 4] = [BETA_ZONE, BETA_REGION, ZONE, REGION];

pub struct VolumeZone {
    pub claims: Lister<PersistentVolumeClaim>,
    pub volumes: Lister<PersistentVolume>,
    pub classes: Lister<StorageClass>,
}

/// A label and the values that volumes allow.
type Topologies = Arc<Vec<(&'static str, BTreeSet<String>)>>;

fn ga_label(label: &str) -> &str {
    match label {
        BETA_ZONE => ZONE,
        BETA_REGION => REGION,
        other => other,
    }
}

/// `a__b` lists zones. Upstream: `LabelZonesToSet`.
fn zones(value: &str) -> Option<BTreeSet<String>> {
    let parts: Vec<&str> = value.split("__").map(str::trim).collect();
    (!parts.iter().any(|part| part.is_empty()))
        .then(|| parts.into_iter().map(str::to_owned).collect())
}

fn not_found(resource: &str, name: &str) -> Status {
    Status::unresolvable(format!("{resource} \"{name}\" not found"))
}

impl VolumeZone {
    fn topologies(&self, pod: &Pod) -> Result<Topologies, Status> {
        let mut topologies = Vec::new();
        for volume in &pod.spec.volumes {
            let Some(source) = volume.volume_source.persistent_volume_claim.as_deref() else {
                continue;
            };
            let name = &source.claim_name;
            if name.is_empty() {
                return Err(Status::unresolvable("PersistentVolumeClaim had no name"));
            }
            let claim = self
                .claims
                .get_in(&pod.metadata.namespace, name)
                .ok_or_else(|| not_found("persistentvolumeclaim", name))?;
            let volume_name = &claim.spec.volume_name;
            if volume_name.is_empty() {
                let class_name = claim_class(&claim);
                if class_name.is_empty() {
                    return Err(Status::unresolvable(
                        "PersistentVolumeClaim had no pv name and storageClass name",
                    ));
                }
                let class = self
                    .classes
                    .get(&ObjectKey::cluster(class_name))
                    .ok_or_else(|| not_found("storageclass.storage.k8s.io", class_name))?;
                match class.volume_binding_mode.as_deref() {
                    None => {
                        return Err(Status::unresolvable(format!(
                            "VolumeBindingMode not set for StorageClass \"{class_name}\""
                        )));
                    }
                    Some(WAIT_FOR_FIRST_CONSUMER) => continue,
                    Some(_) => {
                        return Err(Status::unresolvable("PersistentVolume had no name"));
                    }
                }
            }
            let volume = self
                .volumes
                .get(&ObjectKey::cluster(volume_name))
                .ok_or_else(|| not_found("persistentvolume", volume_name))?;
            for label in LABELS {
                if let Some(values) = volume.metadata.labels.get(label).and_then(|v| zones(v)) {
                    topologies.push((label, values));
                }
            }
        }
        Ok(Arc::new(topologies))
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        super::super::names::VOLUME_ZONE
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        let plugin = self.clone();
        vec![
            ClusterEventWithHint::hinted(EventResource::StorageClass, Action::ADD, |_, change| {
                let waits = change.storage_classes().1.is_some_and(|class| {
                    class.volume_binding_mode.as_deref() == Some(WAIT_FOR_FIRST_CONSUMER)
                });
                Ok(Hint::queue_if(waits))
            }),
            ClusterEventWithHint::always(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_LABEL),
            ),
            ClusterEventWithHint::hinted(
                EventResource::PersistentVolumeClaim,
                Action::ADD.or(Action::UPDATE),
                move |pod, change| {
                    let ours = change.persistent_volume_claims().1.is_some_and(|claim| {
                        claim.metadata.namespace == pod.metadata.namespace
                            && pod.spec.volumes.iter().any(|volume| {
                                volume
                                    .volume_source
                                    .persistent_volume_claim
                                    .as_deref()
                                    .is_some_and(|source| source.claim_name == claim.metadata.name)
                            })
                    });
                    Ok(Hint::queue_if(ours))
                },
            ),
            ClusterEventWithHint::hinted(
                EventResource::PersistentVolume,
                Action::ADD.or(Action::UPDATE),
                move |_, change| {
                    let _ = &plugin;
                    let topology = |volume: &Arc<PersistentVolume>| {
                        LABELS.map(|label| volume.metadata.labels.get(label).cloned())
                    };
                    let (old, new) = change.persistent_volumes();
                    Ok(Hint::queue_if(old.map(topology) != new.map(topology)))
                },
            ),
        ]
    }
}

impl PreFilter for VolumeZone {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let topologies = self.topologies(cycle.pod())?;
        if topologies.is_empty() {
            return Err(Status::skip());
        }
        state.write::<Topologies>(PRE_FILTER, topologies);
        Ok(None)
    }
}

impl Filter for VolumeZone {
    fn filter(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        // A node that says nothing about its place is not judged.
        if LABELS.iter().all(|label| node.label(label).is_none()) {
            return Ok(());
        }
        let topologies = match state.read::<Topologies>(PRE_FILTER) {
            Some(topologies) => topologies.clone(),
            None => self.topologies(cycle.pod())?,
        };
        for (label, values) in topologies.iter() {
            let value = node.label(label).or_else(|| node.label(ga_label(label)));
            if !value.is_some_and(|value| values.contains(value)) {
                return Err(Status::unresolvable(REASON));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{filter_all, from_json, node, node_info, pod};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(volume_labels: Value, node_labels: Value, expected: Verdict) {
        let claim = json!({"metadata": {"name": "claim", "namespace": "ns"}, "spec": {"volumeName": "vol"}});
        let volume = json!({"metadata": {"name": "vol", "labels": volume_labels}});
        let plugin = VolumeZone {
            claims: Lister::of([from_json(claim)]),
            volumes: Lister::of([from_json(volume)]),
            classes: Lister::of([]),
        };
        let pod = pod(
            json!({"metadata": {"namespace": "ns"}, "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}]}}),
        );
        let nodes = vec![node_info(
            node(json!({"metadata": {"name": "n", "labels": node_labels}})),
            vec![],
        )];
        assert_eq!(filter_all(&plugin, pod, nodes), [expected]);
    }

    #[test]
    fn filters() {
        let no = || Err(Status::unresolvable(REASON));
        check(
            json!({BETA_ZONE: "us-west1-a"}),
            json!({BETA_ZONE: "us-west1-a"}),
            Ok(()),
        );
        check(
            json!({BETA_ZONE: "us-west1-a"}),
            json!({ZONE: "us-west1-a"}),
            Ok(()),
        );
        check(
            json!({BETA_ZONE: "us-west1-a__us-west1-b"}),
            json!({ZONE: "us-west1-b"}),
            Ok(()),
        );
        check(
            json!({ZONE: "us-west1-a"}),
            json!({ZONE: "us-west1-b"}),
            no(),
        );
        check(
            json!({REGION: "us-west1"}),
            json!({ZONE: "us-west1-b"}),
            no(),
        );
        check(json!({ZONE: "us-west1-a"}), json!({}), Ok(()));
        check(json!({}), json!({ZONE: "us-west1-b"}), Ok(()));
    }
}
