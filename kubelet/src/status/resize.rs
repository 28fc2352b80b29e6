//! The conditions `PodResizePending` and `PodResizeInProgress` of pods, as the next statuses will have them.
//!
//! Upstream: the resize part of `pkg/kubelet/status/status_manager.go`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Pod, PodCondition};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::metrics::Metrics;

const PENDING: &str = "PodResizePending";
const IN_PROGRESS: &str = "PodResizeInProgress";
const DEFERRED: &str = "Deferred";
const INFEASIBLE: &str = "Infeasible";

#[derive(Clone)]
struct Known {
    condition: PodCondition,
    /// Finer than the condition's own time: it decides who waited longer.
    since: Timestamp,
}

#[derive(Default)]
struct OfPod {
    pending: Option<Known>,
    in_progress: Option<Known>,
}

/// Conditions by pod UID.
pub struct ResizeConditions {
    pods: Mutex<HashMap<String, OfPod>>,
    metrics: Arc<Metrics>,
}

/// The condition, with a new time of transition when its reason changed.
fn updated(
    type_: &str,
    old: Option<&Known>,
    reason: &str,
    message: &str,
    generation: i64,
) -> Known {
    let now = Timestamp::now();
    let unchanged = old.filter(|old| old.condition.reason == reason);
    Known {
        condition: PodCondition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            last_probe_time: Time::from_timestamp(now),
            last_transition_time: unchanged.map_or_else(
                || Time::from_timestamp(now),
                |old| old.condition.last_transition_time,
            ),
            observed_generation: generation,
            reason: reason.to_owned(),
            message: message.to_owned(),
        },
        since: unchanged.map_or(now, |old| old.since),
    }
}

impl ResizeConditions {
    /// No pod is being resized.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        ResizeConditions {
            pods: Mutex::default(),
            metrics,
        }
    }

    /// The conditions of a pod.
    #[must_use]
    pub fn list(&self, uid: &str) -> Vec<PodCondition> {
        let pods = self.pods.lock();
        let Some(pod) = pods.get(uid) else {
            return Vec::new();
        };
        [&pod.pending, &pod.in_progress]
            .into_iter()
            .flatten()
            .map(|known| known.condition.clone())
            .collect()
    }

    fn pending_reason_is(&self, uid: &str, reason: &str) -> bool {
        self.pods
            .lock()
            .get(uid)
            .and_then(|pod| pod.pending.as_ref())
            .is_some_and(|known| known.condition.reason == reason)
    }

    /// The pod's resize waits for resources.
    #[must_use]
    pub fn is_deferred(&self, uid: &str) -> bool {
        self.pending_reason_is(uid, DEFERRED)
    }

    /// The pod's resize cannot happen on this node.
    #[must_use]
    pub fn is_infeasible(&self, uid: &str) -> bool {
        self.pending_reason_is(uid, INFEASIBLE)
    }

    /// Since when the pod's resize waits for the reason it waits for now.
    #[must_use]
    pub fn pending_since(&self, uid: &str) -> Option<Timestamp> {
        let pods = self.pods.lock();
        Some(pods.get(uid)?.pending.as_ref()?.since)
    }

    fn change<R>(&self, uid: &str, change: impl FnOnce(&mut OfPod) -> R) -> R {
        let mut pods = self.pods.lock();
        let result = change(pods.entry(uid.to_owned()).or_default());
        pods.retain(|_, pod| pod.pending.is_some() || pod.in_progress.is_some());
        self.count(&pods);
        result
    }

    fn count(&self, pods: &HashMap<String, OfPod>) {
        let pending = &self.metrics.pod_pending_resizes;
        pending.reset();
        for known in pods.values().filter_map(|pod| pod.pending.as_ref()) {
            pending
                .with_label_values(&[known.condition.reason.to_lowercase().as_str()])
                .inc();
        }
        let in_progress = pods.values().filter(|pod| pod.in_progress.is_some());
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        self.metrics
            .pod_in_progress_resizes
            .set(in_progress.count() as f64);
    }

    /// The resize was not granted. Every reason but `Infeasible` is one to wait for. Answers whether this is news: another
    /// reason, or another version of the pod.
    pub fn set_pending(&self, uid: &str, reason: &str, message: &str, generation: i64) -> bool {
        let reason = if reason == INFEASIBLE {
            INFEASIBLE
        } else {
            DEFERRED
        };
        self.change(uid, |pod| {
            let old = pod.pending.take();
            pod.pending = Some(updated(PENDING, old.as_ref(), reason, message, generation));
            old.is_none_or(|old| {
                old.condition.reason != reason || old.condition.observed_generation != generation
            })
        })
    }

    /// Nothing waits to be granted.
    pub fn clear_pending(&self, uid: &str) {
        if self.is_known(uid) {
            self.change(uid, |pod| pod.pending = None);
        }
    }

    fn is_known(&self, uid: &str) -> bool {
        self.pods.lock().contains_key(uid)
    }

    /// What was granted is not in effect yet; `error` says why, if that is known. The version of the pod that a resize began
    /// with stays, and so does an error until the resize is over. Answers that version, and whether the condition changed.
    pub fn set_in_progress(&self, uid: &str, error: Option<&str>, generation: i64) -> (i64, bool) {
        self.change(uid, |pod| {
            let old = pod.in_progress.take();
            let generation = old
                .as_ref()
                .map_or(generation, |old| old.condition.observed_generation);
            let (reason, message) = match (error, &old) {
                (Some(error), _) => ("Error", error),
                (None, Some(old)) => (
                    old.condition.reason.as_str(),
                    old.condition.message.as_str(),
                ),
                (None, None) => ("", ""),
            };
            let new = updated(IN_PROGRESS, old.as_ref(), reason, message, generation);
            let changed = old.as_ref().is_none_or(|old| {
                old.condition.reason != reason || old.condition.message != message
            });
            pod.in_progress = Some(new);
            (generation, changed)
        })
    }

    /// Everything granted is in effect. Answers the version of the pod the resize began with, if there was one.
    pub fn clear_in_progress(&self, uid: &str) -> Option<i64> {
        // Every sync of every pod comes here.
        if !self.is_known(uid) {
            return None;
        }
        self.change(uid, |pod| pod.in_progress.take())
            .map(|known| known.condition.observed_generation)
    }

    /// Takes over what a kubelet before this one had written into the pod's status.
    pub fn backfill(&self, pod: &Pod) {
        let uid = &pod.metadata.uid;
        for condition in &pod.status.conditions {
            let known = |type_| {
                let PodCondition {
                    reason,
                    message,
                    observed_generation,
                    ..
                } = condition;
                Some(updated(type_, None, reason, message, *observed_generation))
            };
            match condition.type_.as_str() {
                PENDING => self.change(uid, |pod| pod.pending = known(PENDING)),
                IN_PROGRESS => self.change(uid, |pod| pod.in_progress = known(IN_PROGRESS)),
                _ => {}
            }
        }
    }

    /// Forgets a pod.
    pub(super) fn remove(&self, uid: &str) {
        if self.is_known(uid) {
            self.change(uid, |pod| *pod = OfPod::default());
        }
    }

    /// Forgets all pods but these.
    pub(super) fn retain(&self, known: &HashSet<String>) {
        let mut pods = self.pods.lock();
        let before = pods.len();
        pods.retain(|uid, _| known.contains(uid));
        if pods.len() != before {
            self.count(&pods);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> ResizeConditions {
        ResizeConditions::new(Metrics::for_tests())
    }

    #[track_caller]
    fn check(conditions: &ResizeConditions, want: &[(&str, &str, &str, i64)]) {
        let list = conditions.list("u");
        let got: Vec<_> = list
            .iter()
            .map(|c| {
                (
                    c.type_.as_str(),
                    c.reason.as_str(),
                    c.message.as_str(),
                    c.observed_generation,
                )
            })
            .collect();
        assert_eq!(got, want);
        assert!(list.iter().all(|c| c.status == "True"));
    }

    #[test]
    fn pending() {
        let conditions = conditions();
        check(&conditions, &[]);
        assert!(conditions.set_pending("u", "OutOfcpu", "no", 1));
        check(&conditions, &[(PENDING, DEFERRED, "no", 1)]);
        // A message alone is no news; a reason or a version is.
        assert!(!conditions.set_pending("u", "OutOfmemory", "still no", 1));
        assert!(conditions.set_pending("u", "OutOfcpu", "no", 2));
        assert!(conditions.set_pending("u", INFEASIBLE, "never", 2));
        check(&conditions, &[(PENDING, INFEASIBLE, "never", 2)]);
        assert!(conditions.is_infeasible("u") && !conditions.is_deferred("u"));
        assert_eq!(
            conditions
                .metrics
                .pod_pending_resizes
                .with_label_values(&["infeasible"])
                .get(),
            1.0
        );
        conditions.clear_pending("u");
        check(&conditions, &[]);
    }

    #[test]
    fn in_progress() {
        let conditions = conditions();
        assert_eq!(conditions.set_in_progress("u", None, 1), (1, true));
        assert_eq!(conditions.set_in_progress("u", None, 2), (1, false));
        assert_eq!(conditions.set_in_progress("u", Some("broke"), 2), (1, true));
        // Neither version nor error go before the resize is over.
        assert_eq!(
            conditions.set_in_progress("u", Some("broke"), 2),
            (1, false)
        );
        assert_eq!(conditions.set_in_progress("u", None, 3), (1, false));
        check(&conditions, &[(IN_PROGRESS, "Error", "broke", 1)]);
        assert!(conditions.set_pending("u", "OutOfcpu", "no", 3));
        check(
            &conditions,
            &[
                (PENDING, DEFERRED, "no", 3),
                (IN_PROGRESS, "Error", "broke", 1),
            ],
        );
        assert_eq!(conditions.metrics.pod_in_progress_resizes.get(), 1.0);
        assert_eq!(conditions.clear_in_progress("u"), Some(1));
        assert_eq!(conditions.clear_in_progress("u"), None);
        assert_eq!(conditions.metrics.pod_in_progress_resizes.get(), 0.0);
        conditions.retain(&HashSet::new());
        check(&conditions, &[]);
    }

    #[test]
    fn of_the_kubelet_before() {
        let written = conditions();
        written.set_pending("u", "OutOfcpu", "no", 4);
        written.set_in_progress("u", Some("broke"), 3);
        let mut pod = Pod::default();
        pod.metadata.uid = "u".into();
        pod.status.conditions = written.list("u");
        let read = conditions();
        read.backfill(&pod);
        check(
            &read,
            &[
                (PENDING, DEFERRED, "no", 4),
                (IN_PROGRESS, "Error", "broke", 3),
            ],
        );
    }
}
