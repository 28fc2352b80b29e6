//! Writes a pod's conditions and nominated node. Upstream: pkg/scheduler/util (`PatchPodStatus`), pkg/api/v1/pod (`UpdatePodCondition`).

use api_types::core::v1::{Pod, PodCondition};
use api_types::meta::v1::PatchOptions;
use api_types::{Time, encode_json};
use client::{Client, Error, Patch};
use serde_json::{Value, json};

/// The condition as it is to be written: it keeps its time unless its status changes. `None` if the pod has it already.
fn updated(pod: &Pod, condition: PodCondition) -> Option<PodCondition> {
    let mut condition = PodCondition {
        last_transition_time: Time::now(),
        ..condition
    };
    let Some(old) = pod
        .status
        .conditions
        .iter()
        .find(|old| old.type_ == condition.type_)
    else {
        return Some(condition);
    };
    if old.status == condition.status {
        condition.last_transition_time = old.last_transition_time;
    }
    let same = old.status == condition.status
        && old.reason == condition.reason
        && old.message == condition.message
        && old.observed_generation == condition.observed_generation
        && old.last_transition_time == condition.last_transition_time;
    (!same).then_some(condition)
}

/// The patch, or `None` if nothing would change. `nominated_node`: the name to set, "" to clear it, `None` to leave it.
pub fn pod_status_patch(
    pod: &Pod,
    condition: Option<PodCondition>,
    nominated_node: Option<&str>,
) -> Option<Value> {
    let mut status = serde_json::Map::new();
    if let Some(condition) = condition.and_then(|condition| updated(pod, condition)) {
        let mut written: Value =
            serde_json::from_slice(&encode_json(&condition)).unwrap_or(Value::Null);
        // Zero times are written as null, which a patch would take as "remove".
        if let Some(fields) = written.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        status.insert("conditions".to_owned(), json!([written]));
    }
    if let Some(node) = nominated_node.filter(|node| *node != pod.status.nominated_node_name) {
        let value = if node.is_empty() {
            Value::Null
        } else {
            node.into()
        };
        status.insert("nominatedNodeName".to_owned(), value);
    }
    (!status.is_empty()).then(|| json!({"status": status}))
}

/// Patches the status if that changes anything.
pub async fn patch_pod_status(
    client: &Client,
    pod: &Pod,
    condition: Option<PodCondition>,
    nominated_node: Option<&str>,
) -> Result<(), Error> {
    let Some(mut patch) = pod_status_patch(pod, condition, nominated_node) else {
        return Ok(());
    };
    // Not on a pod of the same name that came after.
    patch["metadata"] = json!({"uid": pod.metadata.uid});
    let meta = &pod.metadata;
    client
        .namespaced::<Pod>(&*meta.namespace)
        .patch_status(
            &meta.name,
            &Patch::Strategic(patch.to_string().into_bytes()),
            &PatchOptions::default(),
        )
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unschedulable(message: &str) -> PodCondition {
        PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: "Unschedulable".into(),
            message: message.into(),
            ..PodCondition::default()
        }
    }

    #[test]
    fn only_changes_are_written() {
        let mut pod = Pod::default();
        assert_eq!(pod_status_patch(&pod, None, None), None);
        assert_eq!(pod_status_patch(&pod, None, Some("")), None);
        assert_eq!(
            pod_status_patch(&pod, None, Some("n")),
            Some(json!({"status": {"nominatedNodeName": "n"}}))
        );
        pod.status.nominated_node_name = "n".into();
        assert_eq!(
            pod_status_patch(&pod, None, Some("")),
            Some(json!({"status": {"nominatedNodeName": null}}))
        );
        let patch = pod_status_patch(&pod, Some(unschedulable("a")), None).unwrap();
        let written = &patch["status"]["conditions"][0];
        assert_eq!(written["message"], "a");
        assert!(
            written["lastTransitionTime"].is_string() && written.get("lastProbeTime").is_none()
        );
        pod.status.conditions.push(PodCondition {
            last_transition_time: Time::parse("2020-01-01T00:00:00Z").unwrap(),
            ..unschedulable("a")
        });
        assert_eq!(pod_status_patch(&pod, Some(unschedulable("a")), None), None);
        let patch = pod_status_patch(&pod, Some(unschedulable("b")), None).unwrap();
        // The status is the same, so is the time.
        assert_eq!(
            patch["status"]["conditions"][0]["lastTransitionTime"],
            "2020-01-01T00:00:00Z"
        );
    }
}
