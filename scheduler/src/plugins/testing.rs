//! What tests of plugins share: objects from JSON, and one function per extension point.

use std::sync::Arc;

use api_types::core::v1::{Node, Pod};
use serde_json::Value;

use crate::cache::snapshot::Snapshot;
use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Change, ClusterEvent, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, Plugin, PreFilter, PreScore, Score};
use crate::framework::pod_info::PodInfo;
use crate::framework::status::Verdict;

pub(crate) fn from_json<T: api_types::Described>(json: Value) -> T {
    api_types::decode_json(json.to_string().as_bytes()).unwrap()
}

pub(crate) fn pod(json: Value) -> Pod {
    from_json(json)
}

pub(crate) fn node(json: Value) -> Node {
    from_json(json)
}

/// A node with pods on it.
pub(crate) fn node_info(node: Node, pods: Vec<Pod>) -> NodeInfo {
    let mut info = NodeInfo::new(Arc::new(node));
    for pod in pods {
        info.add_pod(Arc::new(PodInfo::new(Arc::new(pod))));
    }
    info
}

pub(crate) fn cycle_of<R>(
    pod: Pod,
    nodes: Vec<NodeInfo>,
    run: impl FnOnce(&Cycle<'_>, &mut CycleState) -> R,
) -> R {
    let snapshot = Snapshot::of(nodes);
    let pod = Arc::new(PodInfo::new(Arc::new(pod)));
    let cycle = Cycle {
        snapshot: &snapshot,
        pod: &pod,
    };
    run(&cycle, &mut CycleState::default())
}

#[track_caller]
pub(crate) fn check_filter(plugin: &impl Filter, pod: Pod, node: Node, expected: Verdict) {
    check_filter_on(plugin, pod, node, Vec::new(), expected);
}

/// Filter alone, on one node with pods.
#[track_caller]
pub(crate) fn check_filter_on(
    plugin: &impl Filter,
    pod: Pod,
    node: Node,
    others: Vec<Pod>,
    expected: Verdict,
) {
    let verdict = cycle_of(pod, vec![node_info(node, others)], |cycle, state| {
        plugin.filter(cycle, state, &cycle.snapshot.nodes()[0])
    });
    assert_eq!(verdict, expected);
}

/// PreFilter, then Filter on every node in order. A PreFilter that says skip lets all nodes pass.
#[track_caller]
pub(crate) fn filter_all<P: PreFilter + Filter>(
    plugin: &P,
    pod: Pod,
    nodes: Vec<NodeInfo>,
) -> Vec<Verdict> {
    cycle_of(pod, nodes, |cycle, state| {
        match plugin.pre_filter(cycle, state) {
            Err(status) if status.is_skip() => vec![Ok(()); cycle.snapshot.nodes().len()],
            Err(status) => vec![Err(status); cycle.snapshot.nodes().len()],
            Ok(_) => cycle
                .snapshot
                .nodes()
                .iter()
                .map(|node| plugin.filter(cycle, state, node))
                .collect(),
        }
    })
}

/// Normalised scores of empty nodes.
#[track_caller]
pub(crate) fn scores<S: Score>(
    plugin: &S,
    pre_score: Option<&dyn PreScore>,
    pod: Pod,
    nodes: Vec<Node>,
) -> Vec<i64> {
    let nodes = nodes
        .into_iter()
        .map(|node| node_info(node, Vec::new()))
        .collect();
    scores_on(plugin, pre_score, pod, nodes)
}

/// Normalised scores; empty if PreScore says skip.
#[track_caller]
pub(crate) fn scores_on<S: Score>(
    plugin: &S,
    pre_score: Option<&dyn PreScore>,
    pod: Pod,
    nodes: Vec<NodeInfo>,
) -> Vec<i64> {
    cycle_of(pod, nodes, |cycle, state| {
        let nodes = cycle.snapshot.nodes();
        if let Some(pre_score) = pre_score
            && let Err(status) = pre_score.pre_score(cycle, state, nodes)
        {
            assert!(status.is_skip(), "{status:?}");
            return Vec::new();
        }
        let mut scores: Vec<i64> = nodes
            .iter()
            .map(|node| plugin.score(cycle, state, node).unwrap())
            .collect();
        plugin.normalize(state, nodes, &mut scores).unwrap();
        scores
    })
}

/// What a plugin's hints say about a change.
pub(crate) fn hint<P: Plugin>(
    plugin: P,
    pod: Pod,
    event: ClusterEvent,
    change: &Change,
) -> Option<Hint> {
    let pod = Arc::new(pod);
    let registered = Arc::new(plugin).events();
    let concerned = registered
        .iter()
        .find(|registered| registered.event.covers(&event))?;
    Some(
        concerned
            .hint
            .as_ref()
            .map_or(Hint::Queue, |hint| hint(&pod, change).unwrap()),
    )
}
