//! Pure questions about one pod: ready, available, active, terminal. Upstream: pkg/api/v1/pod and pkg/controller.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodCondition, pod_phase};
use jiff::Timestamp;

/// Finds a condition of the pod by type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// The pod's Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// The pod has been ready for at least `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    let Some(ready) = condition(pod, "Ready").filter(|ready| ready.status == "True") else {
        return false;
    };
    if min_ready_seconds == 0 {
        return true;
    }
    let since = ready.last_transition_time;
    !since.is_zero() && after(since.timestamp(), min_ready_seconds) <= now
}

/// The time from `now` until the pod becomes available, when only time is missing.
pub fn until_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if min_ready_seconds <= 0 {
        return None;
    }
    let since = condition(pod, "Ready")
        .filter(|ready| ready.status == "True")?
        .last_transition_time;
    if since.is_zero() {
        return None;
    }
    let left = after(since.timestamp(), min_ready_seconds).duration_since(now);
    left.is_positive().then(|| left.unsigned_abs())
}

/// The shortest time until one more of the pods becomes available: seen from `evaluated`, when the owner's status was
/// computed, so that no pod falls between, and measured from `now`.
pub fn next_availability_check(
    pods: &[Arc<Pod>],
    min_ready_seconds: i32,
    evaluated: Timestamp,
    now: Timestamp,
) -> Option<Duration> {
    let (_, pod) = pods
        .iter()
        .filter_map(|pod| {
            until_available(pod, min_ready_seconds, evaluated).map(|left| (left, pod))
        })
        .min_by_key(|(left, _)| *left)?;
    Some(until_available(pod, min_ready_seconds, now).unwrap_or(Duration::ZERO))
}

/// `time` plus seconds, saturating.
pub fn after(time: Timestamp, seconds: i32) -> Timestamp {
    time.saturating_add(jiff::SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// The pod has ended: Succeeded or Failed.
pub fn is_terminal(pod: &Pod) -> bool {
    pod.status.phase == pod_phase::SUCCEEDED || pod.status.phase == pod_phase::FAILED
}

/// The pod has neither ended nor is it being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The pod is being deleted and has not ended.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use api_types::Time;

    use super::*;

    pub(crate) fn ready_since(seconds: i64) -> Pod {
        let mut pod = Pod::default();
        pod.status.phase = "Running".into();
        pod.status.conditions.push(PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Time::from_timestamp(Timestamp::from_second(seconds).unwrap()),
            ..Default::default()
        });
        pod
    }

    #[test]
    fn availability_needs_the_ready_condition_for_long_enough() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(!is_available(&Pod::default(), 0, at(100)));
        assert!(is_available(&ready_since(100), 0, at(100)));
        assert!(!is_available(&ready_since(100), 10, at(109)));
        assert!(is_available(&ready_since(100), 10, at(110)));
        let mut no_time = ready_since(100);
        no_time.status.conditions[0].last_transition_time = Time::default();
        assert!(
            !is_available(&no_time, 10, at(1000)),
            "without a transition time the pod never gets available"
        );
    }

    #[test]
    fn the_next_check_is_the_first_pod_to_become_available() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let pods = [
            Arc::new(ready_since(100)),
            Arc::new(ready_since(95)),
            Arc::new(Pod::default()),
        ];
        let check = |evaluated, now| {
            next_availability_check(&pods, 10, at(evaluated), at(now)).map(|left| left.as_secs())
        };
        assert_eq!(check(100, 100), Some(5));
        assert_eq!(
            check(100, 102),
            Some(3),
            "time that passed since the evaluation is taken off"
        );
        assert_eq!(
            check(104, 106),
            Some(0),
            "a pod that became available in between is checked at once"
        );
        assert_eq!(check(110, 110), None);
    }

    #[test]
    fn states() {
        let mut pod = ready_since(1);
        assert!(is_active(&pod) && !is_terminating(&pod));
        pod.metadata.deletion_timestamp = Some(Time::now());
        assert!(!is_active(&pod) && is_terminating(&pod));
        pod.status.phase = "Failed".into();
        assert!(!is_active(&pod) && !is_terminating(&pod) && is_terminal(&pod));
    }
}
