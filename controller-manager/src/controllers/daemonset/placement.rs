//! On which nodes a DaemonSet's pods run, and which pods of a node are to be created or deleted. Pure. Upstream:
//! `NodeShouldRunDaemonPod`, `podsShouldBeOnNode` in daemon_controller.go and pkg/controller/daemon/util.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::apps::v1::DaemonSet;
use api_types::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, PodTemplateSpec, Toleration, pod_phase,
};
use apimachinery::scheduling;
use jiff::Timestamp;

use crate::controllers::SyncError;
use crate::controllers::int_or_percent::scaled;
use crate::controllers::owners::by_creation;
use crate::controllers::pod_state::{is_available, is_ready, is_terminal};

/// The label with the hash of a pod's revision.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// What a node means for a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// A pod must be there.
    Run,
    /// A pod that is there may stay; none is created.
    Keep,
    /// No pod may be there.
    Leave,
}

impl Fit {
    pub(super) fn runs(self) -> bool {
        self == Self::Run
    }
}

/// `comparison_operators`: tolerations may compare numbers (gate TaintTolerationComparisonOperators).
pub(super) fn fit(node: &Node, ds: &DaemonSet, comparison_operators: bool) -> Fit {
    let mut spec = ds.spec.template.spec.clone();
    if !spec.node_name.is_empty() && spec.node_name != node.metadata.name {
        return Fit::Leave;
    }
    add_tolerations(&mut spec);
    let pod = Pod {
        spec,
        ..Default::default()
    };
    // A selector that cannot be parsed matches nothing, without an error.
    if !scheduling::RequiredNodeAffinity::new(&pod)
        .matches(node)
        .unwrap_or(false)
    {
        return Fit::Leave;
    }
    let untolerated = |effects: &[&str]| {
        let tolerations = &pod.spec.tolerations;
        let mut taints = node
            .spec
            .taints
            .iter()
            .filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.any(|taint| {
            !scheduling::tolerations_tolerate_taint(tolerations, taint, comparison_operators)
        })
    };
    if !untolerated(&["NoExecute", "NoSchedule"]) {
        Fit::Run
    } else if untolerated(&["NoExecute"]) {
        Fit::Leave
    } else {
        Fit::Keep
    }
}

/// Daemon pods stay on a node with problems: they are often what repairs it.
fn add_tolerations(spec: &mut PodSpec) {
    let mut taints = vec![
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    if spec.host_network {
        taints.push(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    }
    for (key, effect) in taints {
        let wanted = Toleration {
            key: key.into(),
            operator: "Exists".into(),
            effect: effect.into(),
            ..Default::default()
        };
        let same = |has: &&mut Toleration| {
            (&has.key, &has.effect, &has.operator, &has.value)
                == (&wanted.key, &wanted.effect, &wanted.operator, &wanted.value)
        };
        match spec.tolerations.iter_mut().find(same) {
            Some(has) => *has = wanted,
            None => spec.tolerations.push(wanted),
        }
    }
}

/// The template's generation that old versions of the API counted.
fn template_generation(ds: &DaemonSet) -> Option<i64> {
    ds.metadata
        .annotations
        .get(GENERATION_ANNOTATION)?
        .parse()
        .ok()
}

/// The template of new pods: with the hash, and the tolerations of daemon pods.
pub(super) fn pod_template(ds: &DaemonSet, hash: &str) -> PodTemplateSpec {
    let mut template = ds.spec.template.clone();
    add_tolerations(&mut template.spec);
    let labels = &mut template.metadata.labels;
    if let Some(generation) = template_generation(ds) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string());
    }
    if !hash.is_empty() {
        labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    }
    template
}

/// Ties a pod to a node by its name, through the scheduler: required terms of the template are replaced, they match already.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: vec![node.into()],
    };
    let terms = vec![NodeSelectorTerm {
        match_fields: vec![requirement],
        ..Default::default()
    }];
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector = node_affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default();
    required.node_selector_terms = terms;
}

/// The node a pod is on or is pinned to.
pub(super) fn target_node(pod: &Pod) -> Option<&str> {
    if !pod.spec.node_name.is_empty() {
        return Some(&pod.spec.node_name);
    }
    let affinity = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let by_name =
        |field: &&NodeSelectorRequirement| field.key == "metadata.name" && field.operator == "In";
    let field = terms
        .iter()
        .flat_map(|term| &term.match_fields)
        .find(by_name)?;
    match field.values.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// A DaemonSet's pods by node.
pub(super) type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// Groups pods by node. Pods that ended and are being deleted are somebody else's work, unless asked for.
pub(super) fn by_node(pods: &[Arc<Pod>], with_deleted_terminal: bool) -> ByNode {
    let mut grouped = ByNode::new();
    for pod in pods {
        if !with_deleted_terminal && is_terminal(pod) && pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        if let Some(node) = target_node(pod) {
            grouped
                .entry(node.to_owned())
                .or_default()
                .push(pod.clone());
        }
    }
    grouped
}

/// Pods that were assigned to a node first, then older ones.
pub(super) fn oldest_first(pods: &mut [Arc<Pod>]) {
    pods.sort_by(|a, b| {
        a.spec
            .node_name
            .is_empty()
            .cmp(&b.spec.node_name.is_empty())
            .then_with(|| by_creation(&a.metadata, &b.metadata))
    });
}

pub(super) fn is_updated(ds: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let labels = &pod.metadata.labels;
    let generation = template_generation(ds).map(|generation| generation.to_string());
    let same_generation =
        generation.is_some() && labels.get(GENERATION_LABEL) == generation.as_ref();
    let same_hash = !hash.is_empty() && labels.get(HASH_LABEL).is_some_and(|label| label == hash);
    same_hash || same_generation
}

/// Extra pods allowed during an update.
pub(super) fn surge(ds: &DaemonSet, desired: i32) -> Result<i32, SyncError> {
    rolling(ds)
        .and_then(|rolling| rolling.max_surge.as_ref())
        .map_or(Ok(0), |value| scaled(value, desired, true))
}

/// Nodes that may be without an available pod during an update.
pub(super) fn unavailable(ds: &DaemonSet, desired: i32) -> Result<i32, SyncError> {
    let Some(rolling) = rolling(ds) else {
        return Ok(0);
    };
    let Some(value) = &rolling.max_unavailable else {
        return Err(SyncError::other("nil value for IntOrString"));
    };
    scaled(value, desired, true)
}

fn rolling(ds: &DaemonSet) -> Option<&api_types::apps::v1::RollingUpdateDaemonSet> {
    ds.spec
        .update_strategy
        .rolling_update
        .as_deref()
        .filter(|_| ds.spec.update_strategy.type_ == "RollingUpdate")
}

fn allows_surge(ds: &DaemonSet) -> bool {
    surge(ds, 1).is_ok_and(|surge| surge > 0)
}

/// What is to be done on one node.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NodePlan {
    pub create: bool,
    /// Names of pods.
    pub delete: Vec<String>,
    /// Names of failed pods; deleting them is spaced by a backoff, because a kubelet may refuse the next one too.
    pub failed: Vec<String>,
    /// Names of pods that ended well.
    pub succeeded: Vec<String>,
}

/// `pods` are those of this DaemonSet on the node; `None` when it has none.
pub(super) fn plan_node(
    fit: Fit,
    pods: Option<&Vec<Arc<Pod>>>,
    ds: &DaemonSet,
    hash: &str,
    now: Timestamp,
) -> NodePlan {
    let mut plan = NodePlan::default();
    let alive = || {
        pods.into_iter()
            .flatten()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    };
    if fit == Fit::Run && pods.is_none() {
        plan.create = true;
        return plan;
    }
    if fit == Fit::Leave {
        plan.delete = alive().map(|pod| pod.metadata.name.clone()).collect();
        return plan;
    }
    let mut running = Vec::new();
    for pod in alive() {
        match pod.status.phase.as_str() {
            pod_phase::FAILED => plan.failed.push(pod.metadata.name.clone()),
            pod_phase::SUCCEEDED => plan.succeeded.push(pod.metadata.name.clone()),
            _ => running.push(pod.clone()),
        }
    }
    if running.len() <= 1 {
        // While surging every node needs a pod that is not being deleted.
        plan.create = running.is_empty() && fit == Fit::Run && allows_surge(ds);
        return plan;
    }
    oldest_first(&mut running);
    if allows_surge(ds) {
        plan.delete = surplus_of_surge(&running, ds, hash, now);
    } else {
        plan.delete = running[1..]
            .iter()
            .map(|pod| pod.metadata.name.clone())
            .collect();
    }
    plan
}

/// Keeps one old and one new pod, and the old one only while it is ready and the new one is not yet available.
fn surplus_of_surge(
    running: &[Arc<Pod>],
    ds: &DaemonSet,
    hash: &str,
    now: Timestamp,
) -> Vec<String> {
    let (mut newest, mut oldest, mut surplus) = (None, None, Vec::new());
    for pod in running {
        let is_new = pod
            .metadata
            .labels
            .get(HASH_LABEL)
            .map_or("", String::as_str)
            == hash;
        let slot = if is_new { &mut newest } else { &mut oldest };
        if slot.is_none() {
            *slot = Some(pod);
        } else {
            surplus.push(pod.metadata.name.clone());
        }
    }
    if let (Some(new), Some(old)) = (newest, oldest)
        && (!is_ready(old) || is_available(new, ds.spec.min_ready_seconds, now))
    {
        surplus.push(old.metadata.name.clone());
    }
    surplus
}

/// Pods that wait for a node which does not exist: nobody else would delete them.
pub(super) fn without_node(nodes: &[Arc<Node>], pods: &ByNode) -> Vec<String> {
    let exists = |name: &str| nodes.iter().any(|node| node.metadata.name == name);
    let unassigned = pods
        .iter()
        .filter(|(node, _)| !exists(node))
        .flat_map(|(_, pods)| pods);
    unassigned
        .filter(|pod| pod.spec.node_name.is_empty())
        .map(|pod| pod.metadata.name.clone())
        .collect()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
pub(super) mod tests;
