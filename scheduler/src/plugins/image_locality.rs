//! Prefers nodes that have the pod's images. Upstream: plugins/imagelocality.

use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, MAX_NODE_SCORE, Plugin, Score};
use crate::framework::status::Status;

const MEBIBYTE: i64 = 1024 * 1024;
const MIN_THRESHOLD: i64 = 23 * MEBIBYTE;
const MAX_CONTAINER_THRESHOLD: i64 = 1000 * MEBIBYTE;

pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        super::names::IMAGE_LOCALITY
    }
}

/// The name with a tag. Upstream: `normalizedImageName`.
fn normalized(name: &str) -> std::borrow::Cow<'_, str> {
    if name.rfind(':') <= name.rfind('/') {
        return format!("{name}:latest").into();
    }
    name.into()
}

impl Score for ImageLocality {
    fn score(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let spec = &cycle.pod().spec;
        let containers = spec.init_containers.len() + spec.containers.len();
        let total = cycle.snapshot.nodes().len();
        let names = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .map(|container| container.image.as_str())
            .chain(spec.volumes.iter().filter_map(|volume| {
                Some(volume.volume_source.image.as_deref()?.reference.as_str())
            }));
        let sum: i64 = names
            .filter_map(|name| node.images.get(&*normalized(name)))
            .map(|image| {
                // Images that few nodes have would draw all pods to those.
                let spread = image.num_nodes() as f64 / total as f64;
                (image.size as f64 * spread) as i64
            })
            .sum();
        let max_threshold = MAX_CONTAINER_THRESHOLD * containers as i64;
        let sum = if sum < MIN_THRESHOLD {
            MIN_THRESHOLD
        } else {
            sum.min(max_threshold)
        };
        if max_threshold <= MIN_THRESHOLD {
            return Ok(0);
        }
        Ok(MAX_NODE_SCORE * (sum - MIN_THRESHOLD) / (max_threshold - MIN_THRESHOLD))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::Cache;
    use crate::cache::snapshot::Snapshot;
    use crate::framework::pod_info::PodInfo;
    use crate::plugins::testing::{node, pod};
    use serde_json::json;

    #[test]
    fn names_are_normalized() {
        assert_eq!(normalized("root"), "root:latest");
        assert_eq!(normalized("root:tag"), "root:tag");
        assert_eq!(normalized("gcr.io:5000/root"), "gcr.io:5000/root:latest");
        assert_eq!(normalized("root@sha256:abc"), "root@sha256:abc");
    }

    #[test]
    fn scores_by_size_and_spread() {
        let cache = Cache::default();
        let image = |name: &str, mebibytes: i64| json!({"names": [name], "sizeBytes": mebibytes * MEBIBYTE});
        cache.set_node(&Arc::new(node(json!({"metadata": {"name": "1"}, "status": {"images": [image("a/40:latest", 40), image("a/300:latest", 300)]}}))));
        cache.set_node(&Arc::new(node(
            json!({"metadata": {"name": "2"}, "status": {"images": [image("a/250:latest", 250)]}}),
        )));
        let mut snapshot = Snapshot::default();
        cache.update_snapshot(&mut snapshot);
        let info = Arc::new(PodInfo::new(Arc::new(pod(json!({"spec": {"containers": [
            {"name": "a", "image": "a/40"}, {"name": "b", "image": "a/250"}]}})))));
        let cycle = Cycle {
            snapshot: &snapshot,
            pod: &info,
        };
        let score = |name: &str| {
            ImageLocality
                .score(&cycle, &CycleState::default(), snapshot.get(name).unwrap())
                .unwrap()
        };
        // 40M * 1/2 is under the minimum; 250M * 1/2 = 125M: 100 * (125 - 23) / (2000 - 23).
        assert_eq!((score("1"), score("2")), (0, 5));
    }
}
