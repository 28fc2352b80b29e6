//! Zones: how many of their nodes are well, and how fast the others may be tainted. Upstream: `handleDisruption` and
//! RateLimitedTimedQueue in pkg/controller/nodelifecycle.

use std::collections::{BTreeMap, HashSet, VecDeque};

use api_types::core::v1::Node;
use client::flowcontrol::TokenBucket;

/// How a zone is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZoneState {
    /// Not judged yet.
    Initial,
    /// Most nodes are well.
    Normal,
    /// Many nodes are not.
    PartialDisruption,
    /// No node is.
    FullDisruption,
}

/// Rates and limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Taints a second in a zone that is well.
    pub qps: f32,
    /// The same in a large zone that is partly disrupted.
    pub secondary_qps: f32,
    /// More nodes than this make a zone large.
    pub large_zone: usize,
    /// The part of nodes that makes a disruption.
    pub unhealthy_threshold: f32,
}

impl Limits {
    /// The number of unhealthy nodes and what it means.
    pub(super) fn judge(&self, ready: &[bool]) -> (usize, ZoneState) {
        let total = ready.len();
        let unready = ready.iter().filter(|ready| !**ready).count();
        #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
        let share = unready as f32 / total as f32;
        let state = if total == unready && unready > 0 {
            ZoneState::FullDisruption
        } else if unready > 2 && share >= self.unhealthy_threshold {
            ZoneState::PartialDisruption
        } else {
            ZoneState::Normal
        };
        (unready, state)
    }

    /// Taints a second in a zone of this size and state; `None` leaves the rate as it is.
    pub(super) fn rate(&self, state: ZoneState, size: usize) -> Option<f32> {
        match state {
            ZoneState::Initial => None,
            ZoneState::Normal | ZoneState::FullDisruption => Some(self.qps),
            ZoneState::PartialDisruption if size > self.large_zone => Some(self.secondary_qps),
            ZoneState::PartialDisruption => Some(0.0),
        }
    }
}

/// The zone of a node, as upstream's metrics name it.
pub(super) fn zone_of(node: &Node) -> String {
    let labels = &node.metadata.labels;
    let first = |keys: [&str; 2]| {
        keys.into_iter()
            .find_map(|key| labels.get(key))
            .map(String::as_str)
            .unwrap_or_default()
    };
    let zone = first([
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ]);
    let region = first([
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ]);
    if zone.is_empty() && region.is_empty() {
        String::new()
    } else {
        format!("{region}:\0:{zone}")
    }
}

/// Nodes of one zone that wait for their NoExecute taint.
pub(super) struct TaintQueue {
    waiting: VecDeque<String>,
    /// Nodes that were added and not removed since: tainted ones stay here, so that they do not come in again.
    known: HashSet<String>,
    qps: f32,
    limiter: Option<TokenBucket>,
}

impl TaintQueue {
    pub(super) fn new(qps: f32) -> Self {
        Self {
            waiting: VecDeque::new(),
            known: HashSet::new(),
            qps,
            limiter: limiter(qps),
        }
    }

    /// Adds a node. False when it was added before.
    pub(super) fn add(&mut self, node: &str) -> bool {
        let added = self.known.insert(node.to_owned());
        if added {
            self.waiting.push_back(node.to_owned());
        }
        added
    }

    /// Forgets a node. False when it was not known.
    pub(super) fn remove(&mut self, node: &str) -> bool {
        self.waiting.retain(|waiting| waiting != node);
        self.known.remove(node)
    }

    /// The next node, if there is one and the rate allows.
    pub(super) fn next(&mut self) -> Option<String> {
        let next = self.waiting.front()?.clone();
        let limiter = self.limiter.as_ref()?;
        limiter.try_take().then_some(next)
    }

    /// The node was dealt with: it waits no longer.
    pub(super) fn done(&mut self, node: &str) {
        self.waiting.retain(|waiting| waiting != node);
    }

    /// The node could not be dealt with: others first.
    pub(super) fn again(&mut self, node: &str) {
        if self.waiting.iter().any(|waiting| waiting == node) {
            self.done(node);
            self.waiting.push_back(node.to_owned());
        }
    }

    /// Changes the rate; zero stops.
    pub(super) fn set_rate(&mut self, qps: f32) {
        if (self.qps - qps).abs() < f32::EPSILON {
            return;
        }
        let new = limiter(qps);
        // No node more because the rate changed.
        if let Some(new) = &new
            && self.limiter.as_ref().is_none_or(|old| !old.try_take())
        {
            new.try_take();
        }
        self.limiter = new;
        self.qps = qps;
    }
}

fn limiter(qps: f32) -> Option<TokenBucket> {
    (qps > 0.0).then(|| TokenBucket::new(f64::from(qps), 1))
}

/// What to do about disruptions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// No node of the cluster is well: it is rather us. Taint nobody, take taints off.
    Enter,
    /// Some nodes are well again: give all of them time to be heard, and set rates.
    Leave,
    /// Set the rates of these zones.
    Adjust(Vec<String>),
}

/// Compares zones' states before and now. `before` loses zones that are gone.
pub(super) fn compare(
    before: &mut BTreeMap<String, ZoneState>,
    now: &BTreeMap<String, ZoneState>,
) -> Option<Action> {
    for zone in now.keys() {
        before.entry(zone.clone()).or_insert(ZoneState::Initial);
    }
    before.retain(|zone, _| now.contains_key(zone));
    let full = |states: &BTreeMap<String, ZoneState>| {
        states
            .values()
            .all(|state| *state == ZoneState::FullDisruption)
    };
    let (are, were) = (full(now), full(before));
    match (are, were) {
        (true, true) => None,
        (true, false) => Some(Action::Enter),
        (false, true) => Some(Action::Leave),
        (false, false) => {
            let changed: Vec<String> = now
                .iter()
                .filter(|(zone, state)| before.get(*zone) != Some(*state))
                .map(|(zone, _)| zone.clone())
                .collect();
            (!changed.is_empty()).then_some(Action::Adjust(changed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        qps: 0.1,
        secondary_qps: 0.01,
        large_zone: 50,
        unhealthy_threshold: 0.55,
    };

    #[test]
    fn states_and_rates() {
        let check = |ready: usize, unready: usize, state, rate| {
            let nodes = [vec![true; ready], vec![false; unready]].concat();
            assert_eq!(LIMITS.judge(&nodes), (unready, state));
            assert_eq!(LIMITS.rate(state, nodes.len()), rate);
        };
        check(10, 0, ZoneState::Normal, Some(0.1));
        check(0, 1, ZoneState::FullDisruption, Some(0.1));
        check(1, 2, ZoneState::Normal, Some(0.1));
        check(2, 3, ZoneState::PartialDisruption, Some(0.0));
        check(5, 5, ZoneState::Normal, Some(0.1));
        check(20, 40, ZoneState::PartialDisruption, Some(0.01));
        check(0, 0, ZoneState::Normal, Some(0.1));
    }

    #[test]
    fn disruptions_of_the_whole_cluster_stop_everything() {
        use ZoneState::{FullDisruption as Full, Initial, Normal, PartialDisruption as Partial};
        let check =
            |before: &[(&str, ZoneState)], now: &[(&str, ZoneState)], expected: Option<Action>| {
                let map = |states: &[(&str, ZoneState)]| -> BTreeMap<String, ZoneState> {
                    states
                        .iter()
                        .map(|(zone, state)| ((*zone).to_owned(), *state))
                        .collect()
                };
                assert_eq!(compare(&mut map(before), &map(now)), expected);
            };
        let adjust = |zones: &[&str]| {
            Some(Action::Adjust(
                zones.iter().map(|zone| (*zone).to_owned()).collect(),
            ))
        };
        check(&[("a", Initial)], &[("a", Normal)], adjust(&["a"]));
        check(&[], &[("a", Normal)], adjust(&["a"]));
        check(&[("a", Normal)], &[("a", Normal)], None);
        check(
            &[("a", Normal), ("b", Normal)],
            &[("a", Normal), ("b", Full)],
            adjust(&["b"]),
        );
        check(
            &[("a", Normal), ("b", Full)],
            &[("a", Full), ("b", Full)],
            Some(Action::Enter),
        );
        check(
            &[("a", Full), ("b", Full)],
            &[("a", Full), ("b", Full)],
            None,
        );
        check(
            &[("a", Full), ("b", Full)],
            &[("a", Partial), ("b", Full)],
            Some(Action::Leave),
        );
        check(&[("a", Full), ("b", Normal)], &[("a", Full)], None);
    }

    #[test]
    fn nodes_are_tainted_once_and_one_at_a_time() {
        let mut queue = TaintQueue::new(0.001);
        assert!(queue.add("a") && queue.add("b") && !queue.add("a"));
        assert_eq!(queue.next().as_deref(), Some("a"));
        queue.done("a");
        assert_eq!(queue.next(), None, "the rate is used up");
        assert!(!queue.add("a"), "it is tainted");
        assert!(queue.remove("a") && !queue.remove("a"));
        assert!(queue.add("a"));
        queue.set_rate(0.0);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn zones() {
        let check = |labels: &[(&str, &str)], expected: &str| {
            let mut node = Node::default();
            node.metadata.labels = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(zone_of(&node), expected);
        };
        check(&[], "");
        check(&[("topology.kubernetes.io/zone", "z")], ":\0:z");
        check(
            &[
                ("topology.kubernetes.io/zone", "z"),
                ("topology.kubernetes.io/region", "r"),
            ],
            "r:\0:z",
        );
        check(
            &[
                ("topology.kubernetes.io/zone", "z"),
                ("failure-domain.beta.kubernetes.io/zone", "old"),
            ],
            ":\0:old",
        );
    }
}
