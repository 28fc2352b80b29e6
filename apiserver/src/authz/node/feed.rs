//! Tells the graph of pods. Most changes of a pod are of its status, which says nothing of what the pod refers to: such a pod is
//! not decoded. Upstream: plugin/pkg/auth/authorizer/node/graph_populator.go, which compares decoded pods.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use api_types::core::v1::Pod;
use api_types::decode_protobuf;
use tokio_util::sync::CancellationToken;

use super::graph::Graph;
use crate::registry::follow::{Change, follow_stored};
use crate::registry::resource::Resource;
use crate::registry::wire::{self, Kept, Wire, WireError};

/// Follows pods until `stop`.
pub fn pods(graph: Arc<Graph>, resource: Arc<Resource>, stop: CancellationToken) {
    let hashes = RandomState::new();
    follow_stored(resource, stop, move |change| match change {
        Change::Set(stored) => {
            let message = stored.message();
            let stamp = message.and_then(|message| stamp(&hashes, message).ok());
            match stamp {
                Some(Stamp::Unbound) => graph.remove_pod(stored.namespace(), stored.name()),
                Some(Stamp::Of(stamp))
                    if graph.knows_pod(stored.namespace(), stored.name(), stamp) => {}
                Some(Stamp::Of(stamp)) => {
                    if let Some(pod) = message.and_then(what_matters) {
                        graph.set_pod(&pod, Some(stamp));
                    }
                }
                None => {
                    if let Some(pod) = stored.decode::<Pod>() {
                        graph.set_pod(&pod, None);
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
const NAME: u32 = 1;
const NAMESPACE: u32 = 3;
const ANNOTATIONS: u32 = 12;
const SPEC: u32 = 2;
const VOLUMES: u32 = 1;
const CONTAINERS: u32 = 2;
const SERVICE_ACCOUNT_NAME: u32 = 8;
const NODE_NAME: u32 = 10;
const IMAGE_PULL_SECRETS: u32 = 15;
const INIT_CONTAINERS: u32 = 20;
const EPHEMERAL_CONTAINERS: u32 = 34;
const EPHEMERAL_CONTAINER_COMMON: u32 = 1;
const RESOURCE_CLAIMS: u32 = 39;
const ENV: u32 = 7;
const ENV_FROM: u32 = 19;
const STATUS: u32 = 3;
const RESOURCE_CLAIM_STATUSES: u32 = 15;
const EXTENDED_RESOURCE_CLAIM_STATUS: u32 = 18;

/// What the graph looks at in a pod: about a tenth of it.
const MATTERS: Kept = {
    const ENVIRONMENT: Kept = Kept(&[(ENV, None), (ENV_FROM, None)]);
    Kept(&[
        (
            METADATA,
            Some(Kept(&[
                (NAME, None),
                (NAMESPACE, None),
                (ANNOTATIONS, None),
            ])),
        ),
        (
            SPEC,
            Some(Kept(&[
                (VOLUMES, None),
                (CONTAINERS, Some(ENVIRONMENT)),
                (SERVICE_ACCOUNT_NAME, None),
                (NODE_NAME, None),
                (IMAGE_PULL_SECRETS, None),
                (INIT_CONTAINERS, Some(ENVIRONMENT)),
                (
                    EPHEMERAL_CONTAINERS,
                    Some(Kept(&[(EPHEMERAL_CONTAINER_COMMON, Some(ENVIRONMENT))])),
                ),
                (RESOURCE_CLAIMS, None),
            ])),
        ),
        (
            STATUS,
            Some(Kept(&[
                (RESOURCE_CLAIM_STATUSES, None),
                (EXTENDED_RESOURCE_CLAIM_STATUS, None),
            ])),
        ),
    ])
};

fn what_matters(pod: &[u8]) -> Option<Pod> {
    let mut part = Vec::with_capacity(pod.len() / 4);
    wire::keep(pod, &MATTERS, &mut part).ok()?;
    decode_protobuf(&part).ok()
}

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
    use api_types::{decode_json, encode_protobuf};
    use serde_json::json;

    use super::super::references;
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
    #[test]
    fn what_matters_has_every_reference() {
        let containers = |name: &str| {
            json!([{"name": "a", "image": "a", "command": ["a"],
                "env": [{"name": "A", "value": "a"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": format!("{name}-1"), "key": "a"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": format!("{name}-2"), "key": "a"}}}],
                "envFrom": [{"secretRef": {"name": format!("{name}-3")}}, {"configMapRef": {"name": format!("{name}-4")}}]}])
        };
        let volumes = [
            json!({"name": "a", "secret": {"secretName": "v-1"}}),
            json!({"name": "b", "persistentVolumeClaim": {"claimName": "v-2"}}),
            json!({"name": "c", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            json!({"name": "d", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "v-3"}}}),
            json!({"name": "e", "projected": {"sources": [{"configMap": {"name": "v-4"}}]}}),
        ];
        let mut pod: Pod = decode_json(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "n", "namespace": "ns", "labels": {"a": "b"}, "annotations": {"a": "b"}},
            "spec": {"nodeName": "node", "serviceAccountName": "account", "imagePullSecrets": [{"name": "pull"}],
                "containers": containers("c"), "initContainers": containers("i"), "ephemeralContainers": containers("e"),
                "volumes": volumes, "tolerations": [{"operator": "Exists"}],
                "resourceClaims": [{"name": "x", "resourceClaimName": "claim"}, {"name": "y", "resourceClaimTemplateName": "t"}]},
            "status": {"phase": "Running", "resourceClaimStatuses": [{"name": "y", "resourceClaimName": "made"}],
                "extendedResourceClaimStatus": {"resourceClaimName": "extended", "requestMappings": []}}})
            .to_string().into_bytes())
        .expect("a pod");
        let references = references::of_pod(&pod);
        assert_eq!(references.len(), 23, "{references:?}");
        let whole = encode_protobuf(&pod);
        let part = what_matters(&whole).expect("a pod");
        assert_eq!(references::of_pod(&part), references);
        assert_eq!(part.spec.node_name, "node");
        assert!(part.status.phase.is_empty() && part.spec.tolerations.is_empty());
        let mirror = "kubernetes.io/config.mirror".to_owned();
        pod.metadata.annotations.insert(mirror, "hash".into());
        let part = what_matters(&encode_protobuf(&pod)).expect("a pod");
        assert_eq!(references::of_pod(&part).len(), 1);
    }
}
