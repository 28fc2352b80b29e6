//! Disks that only one node or pod can have. Upstream: plugins/volumerestrictions.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::core::v1::{PersistentVolumeClaim, Pod, Volume};
use client::cache::Lister;

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter, PreFilterExtensions};
use crate::framework::pod_info::PodInfo;
use crate::framework::status::{Status, Verdict};

const PRE_FILTER: &str = "PreFilterVolumeRestrictions";
const REASON_DISK: &str = "node(s) had no available disk";
const REASON_READ_WRITE_ONCE_POD: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

pub struct VolumeRestrictions {
    pub claims: Lister<PersistentVolumeClaim>,
}

#[derive(Clone)]
struct PreFilterState {
    /// Claims of the pod that one pod at a time may use.
    read_write_once_pod: Arc<BTreeSet<String>>,
    /// How many uses by others there are.
    conflicts: i64,
}

impl PreFilterState {
    fn conflicts_with(&self, other: &Pod) -> i64 {
        claim_names(other)
            .filter(|name| self.read_write_once_pod.contains(*name))
            .count() as i64
    }
}

fn claim_names(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.volumes.iter().filter_map(|volume| {
        let source = volume.volume_source.persistent_volume_claim.as_deref()?;
        Some(source.claim_name.as_str())
    })
}

fn needs_check(volume: &Volume) -> bool {
    let source = &volume.volume_source;
    source.gce_persistent_disk.is_some()
        || source.aws_elastic_block_store.is_some()
        || source.rbd.is_some()
        || source.iscsi.is_some()
}

fn conflict(volume: &Volume, other: &Volume) -> bool {
    let (a, b) = (&volume.volume_source, &other.volume_source);
    if let (Some(a), Some(b)) = (&a.gce_persistent_disk, &b.gce_persistent_disk)
        && a.pd_name == b.pd_name
        && !(a.read_only && b.read_only)
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store)
        && a.volume_id == b.volume_id
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&a.iscsi, &b.iscsi)
        && a.iqn == b.iqn
        && !(a.read_only && b.read_only)
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&a.rbd, &b.rbd)
        && a.monitors.iter().any(|m| b.monitors.contains(m))
        && a.pool == b.pool
        && a.image == b.image
        && !(a.read_only && b.read_only)
    {
        return true;
    }
    false
}

fn conflicts_with_any<'a>(pod: &Pod, others: impl Iterator<Item = &'a Pod> + Clone) -> bool {
    pod.spec
        .volumes
        .iter()
        .filter(|volume| needs_check(volume))
        .any(|volume| {
            others.clone().any(|other| {
                other
                    .spec
                    .volumes
                    .iter()
                    .any(|theirs| conflict(volume, theirs))
            })
        })
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        super::super::names::VOLUME_RESTRICTIONS
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(EventResource::Pod, Action::DELETE, |pod, change| {
                let Some(deleted) = change.pods().0 else {
                    return Err("unexpected objects in isSchedulableAfterPodDeleted".into());
                };
                if deleted.metadata.namespace != pod.metadata.namespace {
                    return Ok(Hint::Skip);
                }
                let claims: BTreeSet<&str> = claim_names(pod).collect();
                Ok(Hint::queue_if(
                    conflicts_with_any(pod, std::iter::once(&**deleted))
                        || claim_names(deleted).any(|name| claims.contains(name)),
                ))
            }),
            ClusterEventWithHint::always(EventResource::Node, Action::ADD),
            ClusterEventWithHint::hinted(
                EventResource::PersistentVolumeClaim,
                Action::ADD,
                |pod, change| {
                    let ours = change.persistent_volume_claims().1.is_some_and(|claim| {
                        claim.metadata.namespace == pod.metadata.namespace
                            && claim_names(pod).any(|name| name == claim.metadata.name)
                    });
                    Ok(Hint::queue_if(ours))
                },
            ),
        ]
    }
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let pod = cycle.pod();
        let mut read_write_once_pod = BTreeSet::new();
        for name in claim_names(pod) {
            let claim = self
                .claims
                .get_in(&pod.metadata.namespace, name)
                .ok_or_else(|| {
                    Status::unresolvable(format!("persistentvolumeclaim \"{name}\" not found"))
                })?;
            if claim
                .spec
                .access_modes
                .iter()
                .any(|m| m == "ReadWriteOncePod")
            {
                read_write_once_pod.insert(name.to_owned());
            }
        }
        let conflicts = read_write_once_pod
            .iter()
            .filter(|name| {
                let key = format!("{}/{name}", pod.metadata.namespace);
                cycle.snapshot.is_claim_used(&key)
            })
            .count() as i64;
        if conflicts == 0 && !pod.spec.volumes.iter().any(needs_check) {
            return Err(Status::skip());
        }
        state.write(
            PRE_FILTER,
            PreFilterState {
                read_write_once_pod: Arc::new(read_write_once_pod),
                conflicts,
            },
        );
        Ok(None)
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl PreFilterExtensions for VolumeRestrictions {
    fn add_pod(
        &self,
        _: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        _: &NodeInfo,
    ) -> Verdict {
        if let Some(state) = state.read_mut::<PreFilterState>(PRE_FILTER) {
            state.conflicts += state.conflicts_with(&other.pod);
        }
        Ok(())
    }

    fn remove_pod(
        &self,
        _: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        _: &NodeInfo,
    ) -> Verdict {
        if let Some(state) = state.read_mut::<PreFilterState>(PRE_FILTER) {
            state.conflicts -= state.conflicts_with(&other.pod);
        }
        Ok(())
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        if conflicts_with_any(cycle.pod(), node.pods.iter().map(|pod| &*pod.pod)) {
            return Err(Status::unschedulable(REASON_DISK));
        }
        match state.read::<PreFilterState>(PRE_FILTER) {
            Some(state) if state.conflicts > 0 => {
                Err(Status::unschedulable(REASON_READ_WRITE_ONCE_POD))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{filter_all, from_json, node, node_info, pod};
    use serde_json::{Value, json};

    fn with(uid: &str, volume: Value) -> Pod {
        pod(json!({"metadata": {"namespace": "ns", "uid": uid}, "spec": {"volumes": [volume]}}))
    }

    #[track_caller]
    fn check(plugin: &VolumeRestrictions, wanted: Value, used: Value, expected: Verdict) {
        let nodes = vec![node_info(
            node(json!({"metadata": {"name": "n"}})),
            vec![with("u", used)],
        )];
        assert_eq!(filter_all(plugin, with("p", wanted), nodes), [expected]);
    }

    #[test]
    fn disks() {
        let plugin = VolumeRestrictions {
            claims: Lister::of([]),
        };
        let no = || Err(Status::unschedulable(REASON_DISK));
        let gce = |name: &str, ro: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": name, "readOnly": ro}});
        check(&plugin, gce("foo", false), gce("foo", false), no());
        check(&plugin, gce("foo", false), gce("bar", false), Ok(()));
        check(&plugin, gce("foo", true), gce("foo", true), Ok(()));
        let aws = |id: &str| json!({"name": "v", "awsElasticBlockStore": {"volumeID": id}});
        check(&plugin, aws("foo"), aws("foo"), no());
        check(&plugin, aws("foo"), aws("bar"), Ok(()));
        let rbd = |image: &str| json!({"name": "v", "rbd": {"monitors": ["a", "b"], "pool": "foo", "image": image}});
        check(&plugin, rbd("bar"), rbd("bar"), no());
        check(&plugin, rbd("bar"), rbd("baz"), Ok(()));
        let iscsi = |iqn: &str| json!({"name": "v", "iscsi": {"iqn": iqn}});
        check(&plugin, iscsi("x"), iscsi("x"), no());
    }

    #[test]
    fn one_pod_at_a_time() {
        let claim = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"accessModes": ["ReadWriteOncePod"]}});
        let plugin = VolumeRestrictions {
            claims: Lister::of([from_json(claim)]),
        };
        let uses = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        check(
            &plugin,
            uses("c"),
            uses("c"),
            Err(Status::unschedulable(REASON_READ_WRITE_ONCE_POD)),
        );
        check(&plugin, uses("c"), uses("other"), Ok(()));
        check(
            &plugin,
            uses("gone"),
            uses("c"),
            Err(Status::unresolvable(
                "persistentvolumeclaim \"gone\" not found",
            )),
        );
    }
}
