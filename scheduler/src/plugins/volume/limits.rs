//! How many volumes of a CSI driver a node takes. Upstream: plugins/nodevolumelimits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::storage::v1::{CSINode, StorageClass, VolumeAttachment};
use client::ObjectKey;
use client::cache::Lister;

use super::claims::{check_is_for_pod, claim_class, claim_of};
use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter};
use crate::framework::status::{Status, Verdict};

const REASON: &str = "node(s) exceed max volume count";
/// Index of attachments by `spec.nodeName`.
pub const BY_NODE: &str = "va.spec.nodename";

pub struct NodeVolumeLimits {
    pub csi_nodes: Lister<CSINode>,
    pub claims: Lister<PersistentVolumeClaim>,
    pub volumes: Lister<PersistentVolume>,
    pub classes: Lister<StorageClass>,
    /// With the index [`BY_NODE`].
    pub attachments: Lister<VolumeAttachment>,
    /// Makes handles of volumes that do not exist yet unlike any real ones.
    pub handle_prefix: String,
}

/// A CSI volume: driver and handle.
type CsiVolume = (String, String);

fn limits(node: &CSINode) -> HashMap<&str, i64> {
    node.spec
        .drivers
        .iter()
        .filter_map(|driver| {
            let count = driver.allocatable.as_deref()?.count?;
            Some((driver.name.as_str(), i64::from(count)))
        })
        .collect()
}

impl NodeVolumeLimits {
    /// CSI volumes of a pod. A claim that is missing is an error for the pod to be scheduled, and no volume for others.
    fn volumes_of(&self, pod: &Pod, is_new: bool, found: &mut HashSet<CsiVolume>) -> Verdict {
        let namespace = &pod.metadata.namespace;
        for volume in &pod.spec.volumes {
            let Some((name, is_ephemeral)) = claim_of(pod, volume) else {
                continue;
            };
            if name.is_empty() {
                return Err(Status::error("PersistentVolumeClaim had no name"));
            }
            let Some(claim) = self.claims.get_in(namespace, &name) else {
                if is_new {
                    return Err(Status::unresolvable(format!(
                        "looking up PVC {namespace}/{name}: persistentvolumeclaim \"{name}\" not found"
                    )));
                }
                continue;
            };
            if is_ephemeral {
                check_is_for_pod(pod, &claim).map_err(Status::error)?;
            }
            found.extend(self.csi_volume(&claim));
        }
        Ok(())
    }

    fn csi_volume(&self, claim: &PersistentVolumeClaim) -> Option<CsiVolume> {
        if !claim.spec.volume_name.is_empty()
            && let Some(volume) = self
                .volumes
                .get(&ObjectKey::cluster(&*claim.spec.volume_name))
        {
            let csi = volume.spec.persistent_volume_source.csi.as_deref()?;
            return Some((csi.driver.clone(), csi.volume_handle.clone()));
        }
        // Not there yet: what the class will make counts already.
        let class = self.classes.get(&ObjectKey::cluster(claim_class(claim)))?;
        let meta = &claim.metadata;
        let handle = format!("{}-{}/{}", self.handle_prefix, meta.namespace, meta.name);
        Some((class.provisioner.clone(), handle))
    }

    fn attached_to(&self, node: &str) -> HashSet<CsiVolume> {
        self.attachments
            .by_index(BY_NODE, node)
            .iter()
            .filter_map(|attachment| {
                let name = attachment.spec.source.persistent_volume_name.as_ref()?;
                let volume = self.volumes.get(&ObjectKey::cluster(&**name))?;
                let csi = volume.spec.persistent_volume_source.csi.as_deref()?;
                Some((attachment.spec.attacher.clone(), csi.volume_handle.clone()))
            })
            .collect()
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        super::super::names::NODE_VOLUME_LIMITS
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(
                EventResource::CsiNode,
                Action::ADD.or(Action::UPDATE),
                |_, change| {
                    let (Some(old), Some(new)) = change.csi_nodes() else {
                        return Ok(Hint::Queue);
                    };
                    let old = limits(old);
                    let raised = limits(new)
                        .iter()
                        .any(|(driver, limit)| *limit > old.get(driver).copied().unwrap_or(0));
                    Ok(Hint::queue_if(raised))
                },
            ),
            ClusterEventWithHint::hinted(EventResource::Pod, Action::DELETE, |_, change| {
                let Some(deleted) = change.pods().0 else {
                    return Err("unexpected objects in isSchedulableAfterPodDeleted".into());
                };
                let uses_volumes = deleted.spec.volumes.iter().any(|volume| {
                    let source = &volume.volume_source;
                    source.persistent_volume_claim.is_some() || source.ephemeral.is_some()
                });
                Ok(Hint::queue_if(
                    uses_volumes && !super::super::was_never_placed(deleted),
                ))
            }),
            ClusterEventWithHint::hinted(
                EventResource::PersistentVolumeClaim,
                Action::ADD,
                |pod, change| {
                    let ours = change.persistent_volume_claims().1.is_some_and(|claim| {
                        claim.metadata.namespace == pod.metadata.namespace
                            && pod.spec.volumes.iter().any(|volume| {
                                claim_of(pod, volume)
                                    .is_some_and(|(name, _)| name == claim.metadata.name)
                            })
                    });
                    Ok(Hint::queue_if(ours))
                },
            ),
            ClusterEventWithHint::always(EventResource::VolumeAttachment, Action::DELETE),
        ]
    }
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(&self, cycle: &Cycle<'_>, _: &mut CycleState) -> Result<NodeNames, Status> {
        let pod = cycle.pod();
        if pod
            .spec
            .volumes
            .iter()
            .any(|volume| claim_of(pod, volume).is_some())
        {
            return Ok(None);
        }
        Err(Status::skip())
    }
}

impl Filter for NodeVolumeLimits {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        let pod = cycle.pod();
        if pod.spec.volumes.is_empty() {
            return Ok(());
        }
        let mut new = HashSet::new();
        self.volumes_of(pod, true, &mut new)?;
        let csi_node = self.csi_nodes.get(&ObjectKey::cluster(node.name()));
        let limits = csi_node.as_deref().map(limits).unwrap_or_default();
        if new.is_empty() || limits.is_empty() {
            return Ok(());
        }
        let mut present = HashSet::new();
        for other in &node.pods {
            self.volumes_of(&other.pod, false, &mut present)?;
        }
        new.retain(|volume| !present.contains(volume));
        present.extend(self.attached_to(node.name()));
        for (driver, limit) in limits {
            let count = |volumes: &HashSet<CsiVolume>| {
                volumes.iter().filter(|(name, _)| name == driver).count() as i64
            };
            let wanted = count(&new);
            if wanted > 0 && count(&present) + wanted > limit {
                return Err(Status::unschedulable(REASON));
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

    fn plugin(limit: i64) -> NodeVolumeLimits {
        let claim = |i: i32| {
            from_json(
                json!({"metadata": {"name": format!("c{i}"), "namespace": "ns"}, "spec": {"volumeName": format!("v{i}")}}),
            )
        };
        let volume = |i: i32| {
            from_json(
                json!({"metadata": {"name": format!("v{i}")}, "spec": {"csi": {"driver": "d", "volumeHandle": format!("h{i}")}}}),
            )
        };
        NodeVolumeLimits {
            csi_nodes: Lister::of([from_json(json!({"metadata": {"name": "n"}, "spec": {"drivers": [{"name": "d", "allocatable": {"count": limit}}]}}))]),
            claims: Lister::of((0..5).map(claim)),
            volumes: Lister::of((0..5).map(volume)),
            classes: Lister::of([]),
            attachments: Lister::of([from_json(json!({"metadata": {"name": "a"}, "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v4"}}}))])
                .with_index(BY_NODE, |attachment: &VolumeAttachment| vec![attachment.spec.node_name.clone()]),
            handle_prefix: "x".into(),
        }
    }

    fn using(uid: &str, claims: &[i32]) -> Pod {
        let volumes: Vec<Value> = claims.iter().map(|i| json!({"name": i.to_string(), "persistentVolumeClaim": {"claimName": format!("c{i}")}})).collect();
        pod(json!({"metadata": {"namespace": "ns", "uid": uid}, "spec": {"volumes": volumes}}))
    }

    #[test]
    fn counts_distinct_volumes() {
        #[track_caller]
        fn check(limit: i64, wanted: &[i32], used: &[i32], fits: bool) {
            let nodes = vec![node_info(
                node(json!({"metadata": {"name": "n"}})),
                vec![using("u", used)],
            )];
            let expected = if fits {
                Ok(())
            } else {
                Err(Status::unschedulable(REASON))
            };
            assert_eq!(
                filter_all(&plugin(limit), using("p", wanted), nodes),
                [expected]
            );
        }
        // One is attached (v4) that no pod uses.
        check(2, &[0], &[], true);
        check(2, &[0], &[1], false);
        check(3, &[0], &[1], true);
        check(3, &[0, 1], &[1, 2], false);
        check(2, &[1], &[1], true);
        check(1, &[4], &[], false);
        check(9, &[], &[], true);
    }
}
