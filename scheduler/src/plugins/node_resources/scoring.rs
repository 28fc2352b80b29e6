//! Ranks a node by what would be left on it. Upstream: resource_allocation.go, {least,most}_allocated.go, requested_to_capacity_ratio.go.

use std::collections::BTreeMap;

use api_types::core::v1::Pod;
use api_types::kube_scheduler_config::v1::{ResourceSpec, ScoringStrategy};
use api_types::{Format, Quantity};
use apimachinery::resource::{PodResourcesOptions, pod_requests};

use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::MAX_NODE_SCORE;
use crate::framework::resource::{
    DEFAULT_MEMORY_REQUEST, DEFAULT_MILLI_CPU_REQUEST, is_scalar_resource_name,
};

/// Scores in configuration go up to this.
const MAX_CUSTOM_PRIORITY_SCORE: i64 = 10;
const MAX_UTILIZATION: i64 = 100;

/// What is taken and what there is, of one resource of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// With the pod.
    pub requested: i64,
    /// Without it.
    pub allocated: i64,
    /// Zero: the resource does not count on this node.
    pub allocatable: i64,
}

/// What a pod requests of each resource, for scoring. `with_defaults`: containers that request nothing count as small ones.
pub fn pod_request_list(pod: &Pod, resources: &[ResourceSpec], with_defaults: bool) -> Vec<i64> {
    let defaults = BTreeMap::from([
        (
            "cpu".to_owned(),
            Quantity::from_milli(DEFAULT_MILLI_CPU_REQUEST, Format::DecimalSI),
        ),
        (
            "memory".to_owned(),
            Quantity::from_value(DEFAULT_MEMORY_REQUEST, Format::DecimalSI),
        ),
    ]);
    let requests = pod_requests(
        pod,
        &PodResourcesOptions {
            use_status_resources: true,
            in_place_pod_level_resources_vertical_scaling_enabled: true,
            non_missing_container_requests: with_defaults.then_some(&defaults),
            ..PodResourcesOptions::default()
        },
    );
    resources
        .iter()
        .map(|resource| {
            let quantity = requests.get(&resource.name);
            if resource.name == "cpu" {
                quantity.map_or(0, Quantity::milli_value)
            } else {
                quantity.map_or(0, Quantity::value)
            }
        })
        .collect()
}

/// The share of one resource. `with_defaults` as in [`pod_request_list`].
pub fn share(node: &NodeInfo, resource: &str, pod_request: i64, with_defaults: bool) -> Share {
    let used = if with_defaults {
        &node.non_zero_requested
    } else {
        &node.requested
    };
    let (allocatable, allocated) = match resource {
        "cpu" => (node.allocatable.milli_cpu, used.milli_cpu),
        "memory" => (node.allocatable.memory, used.memory),
        "ephemeral-storage" => (
            node.allocatable.ephemeral_storage,
            node.requested.ephemeral_storage,
        ),
        // A resource that the pod does not want must not make a difference.
        name if pod_request == 0 && is_scalar_resource_name(name) => (0, 0),
        name => (node.allocatable.scalar(name), node.requested.scalar(name)),
    };
    if allocatable == 0 {
        return Share::default();
    }
    Share {
        requested: allocated + pod_request,
        allocated,
        allocatable,
    }
}

/// How shares become a score.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// The more is left, the better.
    LeastAllocated,
    /// The less is left, the better.
    MostAllocated,
    /// By a broken line through these points: utilisation in percent, score in 0..=100.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// A strategy and the resources it looks at.
#[derive(Clone, Debug)]
pub struct Scorer {
    pub strategy: Strategy,
    pub resources: Vec<ResourceSpec>,
}

impl Scorer {
    /// What a configuration means.
    pub fn new(config: &ScoringStrategy) -> Result<Self, String> {
        let strategy = match config.type_.as_str() {
            "LeastAllocated" => Strategy::LeastAllocated,
            "MostAllocated" => Strategy::MostAllocated,
            "RequestedToCapacityRatio" => {
                let shape = config
                    .requested_to_capacity_ratio
                    .as_deref()
                    .map(|ratio| ratio.shape.as_slice())
                    .unwrap_or_default();
                Strategy::RequestedToCapacityRatio(
                    shape
                        .iter()
                        .map(|point| {
                            (
                                i64::from(point.utilization),
                                i64::from(point.score)
                                    * (MAX_NODE_SCORE / MAX_CUSTOM_PRIORITY_SCORE),
                            )
                        })
                        .collect(),
                )
            }
            other => return Err(format!("scoring strategy {other} is not supported")),
        };
        Ok(Self {
            strategy,
            resources: config.resources.clone(),
        })
    }

    /// The score of a node; `requests` from [`pod_request_list`] with defaults.
    pub fn score(&self, node: &NodeInfo, requests: &[i64]) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for (resource, request) in self.resources.iter().zip(requests) {
            let share = share(node, &resource.name, *request, true);
            if share.allocatable == 0 {
                continue;
            }
            let score = self.strategy.score(share);
            // As upstream: zero does not pull the mean down in this strategy.
            if matches!(self.strategy, Strategy::RequestedToCapacityRatio(_)) && score <= 0 {
                continue;
            }
            sum += score * resource.weight;
            weights += resource.weight;
        }
        if weights == 0 {
            return 0;
        }
        match self.strategy {
            Strategy::RequestedToCapacityRatio(_) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

impl Strategy {
    fn score(&self, share: Share) -> i64 {
        let Share {
            requested,
            allocatable,
            ..
        } = share;
        match self {
            Self::LeastAllocated if requested > allocatable => 0,
            Self::LeastAllocated => (allocatable - requested) * MAX_NODE_SCORE / allocatable,
            Self::MostAllocated => requested.min(allocatable) * MAX_NODE_SCORE / allocatable,
            Self::RequestedToCapacityRatio(points) => {
                let utilization = if requested > allocatable {
                    MAX_UTILIZATION
                } else {
                    requested * MAX_UTILIZATION / allocatable
                };
                broken_line(points, utilization)
            }
        }
    }
}

/// The value at `x` of the line through the points; flat outside of them. Upstream: `BuildBrokenLinearFunction`.
fn broken_line(points: &[(i64, i64)], x: i64) -> i64 {
    for (i, (px, py)) in points.iter().enumerate() {
        if x <= *px {
            if i == 0 {
                return *py;
            }
            let (qx, qy) = points[i - 1];
            return qy + (py - qy) * (x - qx) / (px - qx);
        }
    }
    points.last().map_or(0, |(_, y)| *y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{node, node_info, pod};
    use serde_json::json;

    fn score(type_: &str, shape: serde_json::Value, requests: &[&str], used: &str) -> i64 {
        let config = json!({"type": type_, "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}],
            "requestedToCapacityRatio": {"shape": shape}});
        let config: ScoringStrategy =
            api_types::decode_json(config.to_string().as_bytes()).unwrap();
        let scorer = Scorer::new(&config).unwrap();
        let container = |cpu: &str, memory: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
        let info = node_info(
            node(json!({"status": {"allocatable": {"cpu": "4", "memory": "10000"}}})),
            vec![pod(container(used, "2000"))],
        );
        let pod = pod(container(requests[0], requests[1]));
        scorer.score(&info, &pod_request_list(&pod, &scorer.resources, true))
    }

    #[test]
    fn strategies() {
        let none = || json!([]);
        // cpu (4000-1000-1000)/4000 = 50, memory (10000-2000-3000)/10000 = 50.
        assert_eq!(score("LeastAllocated", none(), &["1", "3000"], "1"), 50);
        assert_eq!(
            score("MostAllocated", none(), &["1", "5000"], "1"),
            (50 + 70) / 2
        );
        assert_eq!(score("LeastAllocated", none(), &["4", "3000"], "1"), 25);
        assert_eq!(score("MostAllocated", none(), &["4", "3000"], "1"), 75);
        let shape = json!([{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]);
        assert_eq!(
            score("RequestedToCapacityRatio", shape, &["1", "3000"], "1"),
            50
        );
    }

    #[test]
    fn broken_lines() {
        let points = [(10, 1), (90, 9)];
        for (x, y) in [
            (-10, 1),
            (0, 1),
            (9, 1),
            (10, 1),
            (15, 1),
            (19, 1),
            (20, 2),
            (23, 2),
            (89, 8),
            (90, 9),
            (99, 9),
            (110, 9),
        ] {
            assert_eq!(broken_line(&points, x), y, "at {x}");
        }
        let points = [(0, 2), (40, 10), (100, 0)];
        for (x, y) in [
            (-10, 2),
            (0, 2),
            (20, 6),
            (30, 8),
            (40, 10),
            (70, 5),
            (100, 0),
            (110, 0),
        ] {
            assert_eq!(broken_line(&points, x), y, "at {x}");
        }
    }
}
