//! The extension points, one trait each. Upstream: kube-scheduler/framework/interface.go.
//!
//! The scheduling half of a cycle runs on one thread, one pod at a time; the binding half runs as a task. So what decides is
//! called without `async` and what talks to the apiserver is a future.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use futures::future::BoxFuture;

use super::cycle_state::CycleState;
use super::diagnosis::NodeToStatus;
use super::event::ClusterEventWithHint;
use super::node_info::NodeInfo;
use super::pod_info::PodInfo;
use super::runtime::Framework;
use super::status::{Status, Verdict};
use crate::cache::snapshot::Snapshot;
use crate::queue::QueuedPodInfo;

/// What a plugin sees while a pod is scheduled.
#[derive(Clone, Copy)]
pub struct Cycle<'a> {
    /// The nodes.
    pub snapshot: &'a Snapshot,
    /// The pod to be scheduled.
    pub pod: &'a Arc<PodInfo>,
}

impl Cycle<'_> {
    /// The pod to be scheduled.
    pub fn pod(&self) -> &Pod {
        &self.pod.pod
    }
}

/// What every plugin is.
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's name: an ID that does not change.
    fn name(&self) -> &'static str;

    /// Changes that may make a pod fit that this plugin turned down. A plugin that filters and registers nothing would have its pods
    /// wait for the periodic flush.
    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        Vec::new()
    }
}

/// Decides whether a pod may enter the active queue.
pub trait PreEnqueue: Plugin {
    /// Anything but `Ok` gates the pod.
    fn pre_enqueue(&self, pod: &Pod) -> Verdict;
}

/// Orders the active queue.
pub trait QueueSort: Plugin {
    /// Whether `a` goes first.
    fn less(&self, a: &QueuedPodInfo, b: &QueuedPodInfo) -> bool;
}

/// The only nodes that need to be looked at; `None`: all.
pub type NodeNames = Option<BTreeSet<String>>;

/// Prepares filtering.
pub trait PreFilter: Plugin {
    /// [`Skip`](super::status::Code::Skip) leaves this plugin's Filter out.
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status>;

    /// How to bring the prepared state up to date in what-if runs.
    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        None
    }
}

/// Brings state that PreFilter prepared up to date.
pub trait PreFilterExtensions {
    /// As if `other` were on the node.
    fn add_pod(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
    ) -> Verdict;

    /// As if `other` were not on the node.
    fn remove_pod(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
    ) -> Verdict;
}

/// Decides whether a pod may run on a node.
pub trait Filter: Plugin {
    /// `Ok` if it may.
    fn filter(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict;
}

/// Called when a pod fits nowhere.
pub trait PostFilter: Plugin {
    /// Tries to make room; names the node if it did.
    fn post_filter(
        &self,
        framework: &Framework,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict);
}

/// What to do about `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NominatingInfo {
    /// The name to set, "" to clear it.
    pub node: String,
}

impl NominatingInfo {
    /// Clears the nomination.
    pub fn clear() -> Option<Self> {
        Some(Self {
            node: String::new(),
        })
    }
}

/// Prepares scoring.
pub trait PreScore: Plugin {
    /// [`Skip`](super::status::Code::Skip) leaves this plugin's Score out.
    fn pre_score(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Verdict;
}

/// The best score of a plugin; the worst is zero.
pub const MAX_NODE_SCORE: i64 = 100;

/// Ranks nodes that passed the filters.
pub trait Score: Plugin {
    /// In any range if [`Score::normalize`] brings it to 0..=[`MAX_NODE_SCORE`], else in that range.
    fn score(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status>;

    /// Brings the scores into range. `scores[i]` is that of `nodes[i]`.
    fn normalize(
        &self,
        state: &CycleState,
        nodes: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Verdict {
        let _ = (state, nodes, scores);
        Ok(())
    }
}

/// Keeps track of what a pod takes that is not in the cache.
pub trait Reserve: Plugin {
    /// Takes it.
    fn reserve(&self, state: &mut CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict;
    /// Gives it back; called also if `reserve` was not, and may be called more than once.
    fn unreserve(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str);
}

/// Lets a pod be bound, not at all, or later.
pub trait Permit: Plugin {
    /// [`Wait`](super::status::Code::Wait) makes the pod wait, at most that long.
    fn permit(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> (Verdict, Duration);
}

/// Prepares what a pod needs on its node.
pub trait PreBind: Plugin {
    /// [`Skip`](super::status::Code::Skip): nothing to do for this pod.
    fn pre_flight(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict;

    /// Does it.
    fn pre_bind<'a>(
        &'a self,
        state: &'a CycleState,
        pod: &'a Arc<PodInfo>,
        node: &'a str,
    ) -> BoxFuture<'a, Verdict>;
}

/// Tells the apiserver where the pod goes.
pub trait Bind: Plugin {
    /// [`Skip`](super::status::Code::Skip) hands on to the next.
    fn bind<'a>(
        &'a self,
        state: &'a CycleState,
        pod: &'a Arc<PodInfo>,
        node: &'a str,
    ) -> BoxFuture<'a, Verdict>;
}

/// Told that a pod was bound.
pub trait PostBind: Plugin {
    /// Cleans up.
    fn post_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str);
}

/// A built plugin at the extension points it implements. Made by [`plugin`].
#[derive(Clone, Default)]
pub struct Instance {
    pub name: &'static str,
    pub events: Vec<ClusterEventWithHint>,
    pub pre_enqueue: Option<Arc<dyn PreEnqueue>>,
    pub queue_sort: Option<Arc<dyn QueueSort>>,
    pub pre_filter: Option<Arc<dyn PreFilter>>,
    pub filter: Option<Arc<dyn Filter>>,
    pub post_filter: Option<Arc<dyn PostFilter>>,
    pub pre_score: Option<Arc<dyn PreScore>>,
    pub score: Option<Arc<dyn Score>>,
    pub reserve: Option<Arc<dyn Reserve>>,
    pub permit: Option<Arc<dyn Permit>>,
    pub pre_bind: Option<Arc<dyn PreBind>>,
    pub bind: Option<Arc<dyn Bind>>,
    pub post_bind: Option<Arc<dyn PostBind>>,
}

/// Collects the extension points of a plugin: `plugin(NodeName).filter().build()` compiles only if it implements `Filter`.
pub struct Builder<T> {
    plugin: Arc<T>,
    instance: Instance,
}

/// Starts a [`Builder`].
pub fn plugin<T: Plugin>(plugin: T) -> Builder<T> {
    shared_plugin(Arc::new(plugin))
}

/// The same for a plugin that something else holds as well.
pub fn shared_plugin<T: Plugin>(plugin: Arc<T>) -> Builder<T> {
    Builder {
        instance: Instance {
            name: plugin.name(),
            events: plugin.clone().events(),
            ..Instance::default()
        },
        plugin,
    }
}

macro_rules! points {
    ($($method:ident: $point:ident;)*) => {
        impl<T: Plugin> Builder<T> {
            $(
                /// It implements this extension point.
                #[must_use]
                pub fn $method(mut self) -> Self
                where
                    T: $point,
                {
                    self.instance.$method = Some(self.plugin.clone());
                    self
                }
            )*

            /// The plugin, ready to be put into a profile.
            pub fn build(self) -> Instance {
                self.instance
            }
        }
    };
}

points! {
    pre_enqueue: PreEnqueue;
    queue_sort: QueueSort;
    pre_filter: PreFilter;
    filter: Filter;
    post_filter: PostFilter;
    pre_score: PreScore;
    score: Score;
    reserve: Reserve;
    permit: Permit;
    pre_bind: PreBind;
    bind: Bind;
    post_bind: PostBind;
}

/// Scales scores so that the largest becomes [`MAX_NODE_SCORE`]; `reverse` makes the largest the worst. Upstream: `DefaultNormalizeScore`.
pub fn default_normalize_score(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max <= 0 {
        if reverse {
            scores.fill(MAX_NODE_SCORE);
        }
        return;
    }
    for score in scores {
        let scaled = MAX_NODE_SCORE * *score / max;
        *score = if reverse {
            MAX_NODE_SCORE - scaled
        } else {
            scaled
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes() {
        #[track_caller]
        fn check(reverse: bool, scores: &[i64], expected: &[i64]) {
            let mut scores = scores.to_vec();
            default_normalize_score(&mut scores, reverse);
            assert_eq!(scores, expected);
        }
        check(false, &[1, 2, 3, 4], &[25, 50, 75, 100]);
        check(true, &[1, 2, 3, 4], &[75, 50, 25, 0]);
        check(false, &[1000, 10, 20, 30], &[100, 1, 2, 3]);
        check(true, &[1000, 10, 20, 30], &[0, 99, 98, 97]);
        check(false, &[1, 1, 1, 1], &[100, 100, 100, 100]);
        check(false, &[0, 0], &[0, 0]);
        check(true, &[0, 0], &[100, 100]);
    }
}
