//! Tells the graph of pods. Most changes of a pod are of its status, which says nothing of what the pod refers to: such a pod is
//! not decoded. Upstream: plugin/pkg/auth/authorizer/node/graph_populator.go, which compares decoded pods.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use api_types::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::graph::Graph;
use crate::registry::follow::{Change, follow_stored};
use crate::registry::resource::Resource;
use crate::registry::wire::{self, Wire, WireError};

/// Follows pods until `stop`.
pub fn pods(graph: Arc<Graph>, resource: Arc<Resource>, stop: CancellationToken) {
    let hashes = RandomState::new();
    follow_stored(resource, stop, move |change| match change {
        Change::Set(stored) => {
            let message = stored.message();
            let stamp = message.and_then(|message| stamp(&hashes, &message).ok());
            match stamp {
                Some(Stamp::Unbound) => graph.remove_pod(stored.namespace(), stored.name()),
                Some(Stamp::Of(stamp))
                    if graph.knows_pod(stored.namespace(), stored.name(), stamp) => {}
                _ => {
                    if let Some(pod) = stored.decode::<Pod>() {
                        let stamp = match stamp {
                            Some(Stamp::Of(stamp)) => Some(stamp),
                            _ => None,
                        };
                        graph.set_pod(&pod, stamp);
                    }
                }
            }
        }
        Change::Gone { namespace, name } => graph.remove_pod(&namespace, &name),
        Change::Synced => {}
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// The pod is bound to no node.
    Unbound,
    /// Of all that a pod's references depend on.
    Of(u64),
}

const METADATA: u32 = 1;
const ANNOTATIONS: u32 = 12;
const SPEC: u32 = 2;
const NODE_NAME: u32 = 10;
const STATUS: u32 = 3;
const RESOURCE_CLAIM_STATUSES: u32 = 15;
const EXTENDED_RESOURCE_CLAIM_STATUS: u32 = 18;

/// Spec, annotations and the claims in the status, as they are on the wire.
fn stamp(hashes: &RandomState, pod: &[u8]) -> Result<Stamp, WireError> {
    let mut hasher = hashes.build_hasher();
    let mut bound = false;
    for field in wire::fields(pod) {
        let (part, Wire::Bytes(bytes)) = field? else {
            continue;
        };
        let mut add = |tag: u32, value: &[u8]| {
            hasher.write_u32(tag);
            hasher.write_usize(value.len());
            hasher.write(value);
        };
        if part == SPEC {
            add(part, bytes);
        }
        for field in wire::fields(bytes) {
            let (tag, Wire::Bytes(value)) = field? else {
                continue;
            };
            match (part, tag) {
                (METADATA, ANNOTATIONS)
                | (STATUS, RESOURCE_CLAIM_STATUSES | EXTENDED_RESOURCE_CLAIM_STATUS) => {
                    add(tag, value);
                }
                (SPEC, NODE_NAME) => bound = !value.is_empty(),
                _ => {}
            }
        }
    }
    Ok(if bound {
        Stamp::Of(hasher.finish())
    } else {
        Stamp::Unbound
    })
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{PodResourceClaimStatus, PodStatus};
    use api_types::encode_protobuf;

    use super::*;

    #[test]
    fn a_stamp_changes_with_what_references_depend_on() {
        let hashes = RandomState::new();
        let of = |pod: &Pod| stamp(&hashes, &encode_protobuf(pod)).expect("a message");
        let mut pod = Pod::default();
        pod.spec.service_account_name = "a".into();
        assert_eq!(of(&pod), Stamp::Unbound);
        pod.spec.node_name = "n".into();
        let bound = of(&pod);
        assert_ne!(bound, Stamp::Unbound);
        pod.status.phase = "Running".into();
        pod.metadata.resource_version = "7".into();
        assert_eq!(of(&pod), bound);

        let changed = |change: &dyn Fn(&mut Pod)| {
            let mut pod = pod.clone();
            change(&mut pod);
            of(&pod)
        };
        let changes: [&dyn Fn(&mut Pod); 4] = [
            &|pod| pod.spec.node_name = "m".into(),
            &|pod| pod.spec.ephemeral_containers = vec![Default::default()],
            &|pod| {
                let mirror = "kubernetes.io/config.mirror".to_owned();
                pod.metadata.annotations.insert(mirror, "hash".into());
            },
            &|pod| {
                pod.status = PodStatus {
                    resource_claim_statuses: vec![PodResourceClaimStatus::default()],
                    ..PodStatus::default()
                };
            },
        ];
        for change in changes {
            assert_ne!(changed(change), bound);
        }
        assert!(stamp(&hashes, b"\x0a\xff").is_err());
    }
}
