//! Does the pod fit into what is left of the node, and by how much? Upstream: plugins/noderesources/fit.go.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::core::v1::{Node, Pod};
use api_types::kube_scheduler_config::v1::NodeResourcesFitArgs;
use apimachinery::resource::{PodResourcesOptions, is_extended_resource_name, pod_requests};

use super::scoring::{Scorer, pod_request_list};
use crate::framework::cycle_state::CycleState;
use crate::framework::event::{
    Action, Change, ClusterEventWithHint, EventResource, Hint, HintResult,
};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter, PreScore, Score};
use crate::framework::resource::{Resource, pod_request};
use crate::framework::status::{Code, Reasons, Status, Verdict};

const PRE_SCORE: &str = "PreScoreNodeResourcesFit";

pub struct Fit {
    ignored_resources: BTreeSet<String>,
    ignored_groups: BTreeSet<String>,
    scorer: Scorer,
}

impl Fit {
    /// As configured.
    pub fn new(args: &NodeResourcesFitArgs) -> Result<Self, String> {
        let strategy = args
            .scoring_strategy
            .as_deref()
            .ok_or("scoring strategy not specified")?;
        Ok(Self {
            ignored_resources: args.ignored_resources.iter().cloned().collect(),
            ignored_groups: args.ignored_resource_groups.iter().cloned().collect(),
            scorer: Scorer::new(strategy)?,
        })
    }

    fn is_ignored(&self, resource: &str) -> bool {
        if !is_extended_resource_name(resource) {
            return false;
        }
        let group = resource.split('/').next().unwrap_or_default();
        self.ignored_resources.contains(resource) || self.ignored_groups.contains(group)
    }
}

/// What a node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insufficient {
    /// In upstream's words.
    pub reason: std::borrow::Cow<'static, str>,
    /// The node would be too small even if it were empty.
    pub unresolvable: bool,
}

/// What the node lacks for the request. Upstream: `fitsRequest`.
pub fn insufficient_resources(
    request: &Resource,
    node: &NodeInfo,
    is_ignored: impl Fn(&str) -> bool,
) -> Vec<Insufficient> {
    let mut lacking = Vec::new();
    if node.pods.len() as i64 + 1 > node.allocatable.allowed_pods {
        lacking.push(Insufficient {
            reason: "Too many pods".into(),
            unresolvable: false,
        });
    }
    if request.requests_nothing() {
        return lacking;
    }
    let mut check = |wanted: i64, allocatable: i64, used: i64, reason: &'static str| {
        if wanted > 0 && wanted > allocatable - used {
            lacking.push(Insufficient {
                reason: reason.into(),
                unresolvable: wanted > allocatable,
            });
        }
    };
    let (has, used) = (&node.allocatable, &node.requested);
    check(
        request.milli_cpu,
        has.milli_cpu,
        used.milli_cpu,
        "Insufficient cpu",
    );
    check(
        request.memory,
        has.memory,
        used.memory,
        "Insufficient memory",
    );
    check(
        request.ephemeral_storage,
        has.ephemeral_storage,
        used.ephemeral_storage,
        "Insufficient ephemeral-storage",
    );
    for (name, wanted) in &request.scalar {
        if *wanted == 0 || is_ignored(name) {
            continue;
        }
        if *wanted > has.scalar(name) - used.scalar(name) {
            lacking.push(Insufficient {
                reason: format!("Insufficient {name}").into(),
                unresolvable: *wanted > has.scalar(name),
            });
        }
    }
    lacking
}

fn fits_empty(pod: &Pod, node: &Arc<Node>) -> bool {
    insufficient_resources(&pod_request(pod), &NodeInfo::new(node.clone()), |_| false).is_empty()
}

fn offers_more(pod: &Pod, old: &Node, new: &Node) -> bool {
    let (old, new) = (
        Resource::new(&old.status.allocatable),
        Resource::new(&new.status.allocatable),
    );
    let request = pod_request(pod);
    new.allowed_pods > old.allowed_pods
        || request.milli_cpu > 0 && new.milli_cpu > old.milli_cpu
        || request.memory > 0 && new.memory > old.memory
        || request.ephemeral_storage > 0 && new.ephemeral_storage > old.ephemeral_storage
        || request
            .scalar
            .iter()
            .any(|(name, wanted)| *wanted != 0 && new.scalar(name) > old.scalar(name))
}

fn after_pod_event(pod: &Arc<Pod>, change: &Change) -> HintResult {
    let (old, new) = change.pods();
    match (old, new) {
        (Some(deleted), None) => Ok(Hint::queue_if(!super::super::was_never_placed(deleted))),
        (Some(old), Some(new)) => {
            if new.metadata.uid == pod.metadata.uid {
                return Ok(Hint::Queue);
            }
            if new.spec.node_name.is_empty() {
                return Ok(Hint::Skip);
            }
            let options = PodResourcesOptions {
                use_status_resources: true,
                in_place_pod_level_resources_vertical_scaling_enabled: true,
                ..PodResourcesOptions::default()
            };
            let (old, new) = (pod_requests(old, &options), pod_requests(new, &options));
            let freed = pod_requests(pod, &options).iter().any(|(name, wanted)| {
                !wanted.is_zero()
                    && match (old.get(name), new.get(name)) {
                        (Some(old), Some(new)) => old.milli_value() > new.milli_value(),
                        (Some(old), None) => !old.is_zero(),
                        _ => false,
                    }
            });
            Ok(Hint::queue_if(freed))
        }
        _ => Err("unexpected objects in isSchedulableAfterPodEvent".into()),
    }
}

fn after_node_change(pod: &Arc<Pod>, change: &Change) -> HintResult {
    let (old, Some(new)) = change.nodes() else {
        return Err("unexpected objects in isSchedulableAfterNodeChange".into());
    };
    Ok(Hint::queue_if(
        fits_empty(pod, new) && old.is_none_or(|old| offers_more(pod, old, new)),
    ))
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        super::super::names::NODE_RESOURCES_FIT
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(
                EventResource::Pod,
                Action::DELETE.or(Action::UPDATE_POD_SCALE_DOWN),
                after_pod_event,
            ),
            ClusterEventWithHint::hinted(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_ALLOCATABLE),
                after_node_change,
            ),
        ]
    }
}

impl PreFilter for Fit {
    fn pre_filter(&self, cycle: &Cycle<'_>, _: &mut CycleState) -> Result<NodeNames, Status> {
        // Computed here once, kept with the pod.
        cycle.pod.request();
        Ok(None)
    }
}

impl Filter for Fit {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        let lacking =
            insufficient_resources(cycle.pod.request(), node, |name| self.is_ignored(name));
        if lacking.is_empty() {
            return Ok(());
        }
        let code = if lacking.iter().any(|lacking| lacking.unresolvable) {
            Code::UnschedulableAndUnresolvable
        } else {
            Code::Unschedulable
        };
        Err(Status {
            code,
            reasons: lacking
                .into_iter()
                .map(|lacking| lacking.reason)
                .collect::<Reasons>(),
            plugin: "",
        })
    }
}

impl PreScore for Fit {
    fn pre_score(&self, cycle: &Cycle<'_>, state: &mut CycleState, _: &[Arc<NodeInfo>]) -> Verdict {
        state.write(
            PRE_SCORE,
            pod_request_list(cycle.pod(), &self.scorer.resources, true),
        );
        Ok(())
    }
}

impl Score for Fit {
    fn score(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        match state.read::<Vec<i64>>(PRE_SCORE) {
            Some(requests) => Ok(self.scorer.score(node, requests)),
            None => {
                let requests = pod_request_list(cycle.pod(), &self.scorer.resources, true);
                Ok(self.scorer.score(node, &requests))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::event::ClusterEvent;
    use crate::plugins::testing::{check_filter_on, hint, node, pod};
    use serde_json::{Value, json};

    fn fit(args: Value) -> Fit {
        let mut args: NodeResourcesFitArgs =
            api_types::decode_json(args.to_string().as_bytes()).unwrap();
        crate::config::defaults::node_resources_fit_args(&mut args);
        Fit::new(&args).unwrap()
    }

    fn requesting(uid: &str, requests: Value) -> Pod {
        pod(
            json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}),
        )
    }

    fn small_node() -> Node {
        node(json!({"metadata": {"name": "n"}, "status": {"allocatable":
            {"cpu": "10m", "memory": "20", "pods": "32", "ephemeral-storage": "20", "example.com/aaa": "5", "hugepages-2Mi": "5"}}}))
    }

    #[track_caller]
    fn check(wanted: Value, used: Value, reasons: &[&'static str], unresolvable: bool) {
        let code = if unresolvable {
            Code::UnschedulableAndUnresolvable
        } else {
            Code::Unschedulable
        };
        let expected = if reasons.is_empty() {
            Ok(())
        } else {
            Err(Status {
                code,
                reasons: reasons.iter().map(|reason| (*reason).into()).collect(),
                plugin: "",
            })
        };
        check_filter_on(
            &fit(json!({})),
            requesting("p", wanted),
            small_node(),
            vec![requesting("u", used)],
            expected,
        );
    }

    #[test]
    fn filters() {
        check(json!({}), json!({"cpu": "10m", "memory": "20"}), &[], false);
        check(
            json!({"cpu": "1m", "memory": "1"}),
            json!({"cpu": "10m", "memory": "20"}),
            &["Insufficient cpu", "Insufficient memory"],
            false,
        );
        check(
            json!({"cpu": "1m", "memory": "1"}),
            json!({"cpu": "5m", "memory": "5"}),
            &[],
            false,
        );
        check(
            json!({"cpu": "2m", "memory": "1"}),
            json!({"cpu": "5m", "memory": "19"}),
            &[],
            false,
        );
        check(
            json!({"cpu": "1m", "memory": "2"}),
            json!({"cpu": "5m", "memory": "19"}),
            &["Insufficient memory"],
            false,
        );
        check(
            json!({"cpu": "11m"}),
            json!({}),
            &["Insufficient cpu"],
            true,
        );
        check(
            json!({"ephemeral-storage": "25"}),
            json!({}),
            &["Insufficient ephemeral-storage"],
            true,
        );
        check(
            json!({"example.com/aaa": "3"}),
            json!({"example.com/aaa": "3"}),
            &["Insufficient example.com/aaa"],
            false,
        );
        check(
            json!({"example.com/bbb": "1"}),
            json!({}),
            &["Insufficient example.com/bbb"],
            true,
        );
        check(
            json!({"hugepages-2Mi": "6"}),
            json!({}),
            &["Insufficient hugepages-2Mi"],
            true,
        );
    }

    #[test]
    fn init_containers_and_overhead_count() {
        let json = json!({"spec": {"overhead": {"cpu": "1m"}, "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "8m"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1m"}}}]}});
        check_filter_on(
            &fit(json!({})),
            pod(json.clone()),
            small_node(),
            vec![requesting("u", json!({"cpu": "1m"}))],
            Ok(()),
        );
        check_filter_on(
            &fit(json!({})),
            pod(json),
            small_node(),
            vec![requesting("u", json!({"cpu": "2m"}))],
            Err(Status::unschedulable("Insufficient cpu")),
        );
    }

    #[test]
    fn too_many_pods() {
        let full = node(json!({"status": {"allocatable": {"pods": "1"}}}));
        check_filter_on(
            &fit(json!({})),
            requesting("p", json!({})),
            full,
            vec![requesting("u", json!({}))],
            Err(Status::unschedulable("Too many pods")),
        );
    }

    #[test]
    fn ignored_resources() {
        let wanted = || requesting("p", json!({"example.com/bbb": "2"}));
        check_filter_on(
            &fit(json!({"ignoredResources": ["example.com/bbb"]})),
            wanted(),
            small_node(),
            vec![],
            Ok(()),
        );
        check_filter_on(
            &fit(json!({"ignoredResourceGroups": ["example.com"]})),
            wanted(),
            small_node(),
            vec![],
            Ok(()),
        );
    }

    #[test]
    fn hints() {
        let waiting = || requesting("p", json!({"cpu": "5m"}));
        let mut placed = requesting("o", json!({"cpu": "5m"}));
        let deleted = |pod: &Pod| Change::deleted(&Arc::new(pod.clone()));
        assert_eq!(
            hint(
                fit(json!({})),
                waiting(),
                ClusterEvent::UNSCHEDULED_POD_DELETE,
                &deleted(&placed)
            ),
            Some(Hint::Skip)
        );
        placed.spec.node_name = "n".into();
        assert_eq!(
            hint(
                fit(json!({})),
                waiting(),
                ClusterEvent::ASSIGNED_POD_DELETE,
                &deleted(&placed)
            ),
            Some(Hint::Queue)
        );
        let with_cpu = |cpu: &str| {
            Arc::new(node(
                json!({"status": {"allocatable": {"cpu": cpu, "pods": "1"}}}),
            ))
        };
        let grown = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_ALLOCATABLE);
        let change = |old: &str, new: &str| Change::updated(&with_cpu(old), &with_cpu(new));
        assert_eq!(
            hint(fit(json!({})), waiting(), grown, &change("1m", "4m")),
            Some(Hint::Skip)
        );
        assert_eq!(
            hint(fit(json!({})), waiting(), grown, &change("4m", "5m")),
            Some(Hint::Queue)
        );
        assert_eq!(
            hint(fit(json!({})), waiting(), grown, &change("6m", "5m")),
            Some(Hint::Skip)
        );
        let label = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_LABEL);
        assert_eq!(
            hint(fit(json!({})), waiting(), label, &change("1m", "9m")),
            None
        );
    }
}
