//! Writing single conditions of pods. Upstream: `UpdatePodCondition` in pkg/api/v1/pod, pkg/util/pod.

use api_types::Time;
use api_types::core::v1::{Pod, PodCondition};
use api_types::meta::v1::PatchOptions;
use client::{Client, Patch};
use serde_json::json;

/// The condition that a pod is going because of its surroundings and not of itself.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Puts a condition into the list. The time of transition changes with the status only. Whether anything changed.
pub fn update(conditions: &mut Vec<PodCondition>, mut condition: PodCondition, now: Time) -> bool {
    condition.last_transition_time = now;
    let Some(old) = conditions
        .iter_mut()
        .find(|old| old.type_ == condition.type_)
    else {
        conditions.push(condition);
        return true;
    };
    if old.status == condition.status {
        condition.last_transition_time = old.last_transition_time;
    }
    let changed = old.status != condition.status
        || old.reason != condition.reason
        || old.message != condition.message
        || old.last_probe_time != condition.last_probe_time
        || old.last_transition_time != condition.last_transition_time;
    *old = condition;
    changed
}

/// A DisruptionTarget condition of this pod.
pub fn disruption_target(pod: &Pod, reason: &str, message: &str) -> PodCondition {
    PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

/// Sets a condition of the pod. Does nothing when it is so already. Fails with a conflict when another pod has the name now.
pub async fn patch(
    client: &Client,
    pod: &Pod,
    condition: PodCondition,
    now: Time,
) -> Result<(), client::Error> {
    match changed(pod, condition, now) {
        Some(condition) => patch_status(client, pod, &json!({"conditions": [condition]})).await,
        None => Ok(()),
    }
}

/// Sets the pod's phase to Failed, and a condition with it.
pub async fn patch_failed(
    client: &Client,
    pod: &Pod,
    condition: Option<PodCondition>,
    now: Time,
) -> Result<(), client::Error> {
    let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata.generation});
    if let Some(condition) = condition.and_then(|condition| changed(pod, condition, now)) {
        status["conditions"] = json!([condition]);
    }
    patch_status(client, pod, &status).await
}

fn changed(pod: &Pod, condition: PodCondition, now: Time) -> Option<serde_json::Value> {
    let mut conditions = pod.status.conditions.clone();
    let type_ = condition.type_.clone();
    if !update(&mut conditions, condition, now) {
        return None;
    }
    conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(to_json)
}

async fn patch_status(
    client: &Client,
    pod: &Pod,
    status: &serde_json::Value,
) -> Result<(), client::Error> {
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    client
        .namespaced::<Pod>(pod.metadata.namespace.as_str())
        .patch_status(
            &pod.metadata.name,
            &Patch::Strategic(patch.to_string().into_bytes()),
            &PatchOptions::default(),
        )
        .await
        .map(drop)
}

fn to_json(condition: &PodCondition) -> serde_json::Value {
    let time = |time: Time| {
        if time.is_zero() {
            serde_json::Value::Null
        } else {
            time.to_string().into()
        }
    };
    let mut value = json!({
        "type": condition.type_,
        "status": condition.status,
        "lastProbeTime": time(condition.last_probe_time),
        "lastTransitionTime": time(condition.last_transition_time),
    });
    if condition.observed_generation != 0 {
        value["observedGeneration"] = condition.observed_generation.into();
    }
    for (key, text) in [
        ("reason", &condition.reason),
        ("message", &condition.message),
    ] {
        if !text.is_empty() {
            value[key] = text.as_str().into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_times_follow_the_status() {
        let condition = |status: &str, reason: &str| PodCondition {
            type_: "T".into(),
            status: status.into(),
            reason: reason.into(),
            ..Default::default()
        };
        let mut conditions = Vec::new();
        let mut check = |status: &str, reason: &str, now, changed, transition| {
            assert_eq!(
                update(
                    &mut conditions,
                    condition(status, reason),
                    Time::from_unix(now)
                ),
                changed
            );
            assert_eq!(conditions.len(), 1);
            assert_eq!(
                conditions[0].last_transition_time,
                Time::from_unix(transition)
            );
        };
        check("True", "A", 1, true, 1);
        check("True", "A", 2, false, 1);
        check("True", "B", 3, true, 1);
        check("False", "B", 4, true, 4);
    }
}
