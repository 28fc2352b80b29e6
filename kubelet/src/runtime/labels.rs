//! Labels and annotations that tie CRI objects to pods and containers.
//!
//! Upstream: `pkg/kubelet/kuberuntime/labels.go`. They are the kubelet's memory: a kubelet that starts anew (ours or upstream's)
//! knows from them what runs, so names and formats may not change.

use std::collections::HashMap;

use api_types::core::v1::{Container, ContainerPort, Lifecycle, LifecycleHandler, Pod};

use crate::container::hash_container;

/// Pod name, on sandboxes and containers.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Pod namespace, on sandboxes and containers.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Pod UID, on sandboxes and containers.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Container name, on containers.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const DELETION_GRACE_PERIOD: &str = "io.kubernetes.pod.deletionGracePeriod";
const TERMINATION_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PRE_STOP_HANDLER: &str = "io.kubernetes.container.preStopHandler";
const PORTS: &str = "io.kubernetes.container.ports";

/// Labels of a sandbox: the pod's own, and its identity.
#[must_use]
pub fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().into_iter().collect();
    labels.insert(POD_NAME.to_owned(), pod.metadata.name.clone());
    labels.insert(POD_NAMESPACE.to_owned(), pod.metadata.namespace.clone());
    labels.insert(POD_UID.to_owned(), pod.metadata.uid.clone());
    labels
}

/// Labels of a container.
#[must_use]
pub fn container_labels(container: &Container, pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (POD_NAME.to_owned(), pod.metadata.name.clone()),
        (POD_NAMESPACE.to_owned(), pod.metadata.namespace.clone()),
        (POD_UID.to_owned(), pod.metadata.uid.clone()),
        (CONTAINER_NAME.to_owned(), container.name.clone()),
    ])
}

/// Annotations of a container: what is needed to judge and to stop it without its pod object.
#[must_use]
pub fn container_annotations(
    container: &Container,
    pod: &Pod,
    restart_count: i32,
    extra: &[(String, String)],
) -> HashMap<String, String> {
    let mut annotations: HashMap<String, String> = extra.iter().cloned().collect();
    annotations.insert(HASH.to_owned(), format!("{:x}", hash_container(container)));
    annotations.insert(RESTART_COUNT.to_owned(), restart_count.to_string());
    annotations.insert(
        TERMINATION_MESSAGE_PATH.to_owned(),
        container.termination_message_path.clone(),
    );
    annotations.insert(
        TERMINATION_MESSAGE_POLICY.to_owned(),
        container.termination_message_policy.clone(),
    );
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(DELETION_GRACE_PERIOD.to_owned(), seconds.to_string());
    }
    if let Some(seconds) = pod.spec.termination_grace_period_seconds {
        annotations.insert(TERMINATION_GRACE_PERIOD.to_owned(), seconds.to_string());
    }
    if let Some(pre_stop) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_deref())
    {
        annotations.insert(PRE_STOP_HANDLER.to_owned(), json(pre_stop));
    }
    if !container.ports.is_empty() {
        let ports: Vec<String> = container.ports.iter().map(json).collect();
        annotations.insert(PORTS.to_owned(), format!("[{}]", ports.join(",")));
    }
    annotations
}

fn json<T: api_types::Struct>(value: &T) -> String {
    String::from_utf8_lossy(&api_types::encode_json(value)).into_owned()
}

/// What the annotations of a container say.
#[derive(Clone, Debug, Default)]
pub struct ContainerAnnotations {
    /// Spec hash; zero when it cannot be read.
    pub hash: u64,
    /// Restarts before this container.
    pub restart_count: i32,
    /// Grace period of the pod's deletion, if it was being deleted.
    pub deletion_grace_period: Option<i64>,
    /// Grace period of the pod's spec.
    pub termination_grace_period: Option<i64>,
    /// Path of the termination message in the container.
    pub termination_message_path: String,
    /// `File` or `FallbackToLogsOnError`.
    pub termination_message_policy: String,
    /// preStop hook.
    pub pre_stop: Option<LifecycleHandler>,
    /// Ports, which httpGet hooks may name.
    pub ports: Vec<ContainerPort>,
}

/// Reads the annotations; what is missing or broken counts as not there.
#[must_use]
pub fn read_annotations(annotations: &HashMap<String, String>) -> ContainerAnnotations {
    let get = |key: &str| annotations.get(key).map(String::as_str);
    ContainerAnnotations {
        hash: get(HASH)
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .unwrap_or(0),
        restart_count: get(RESTART_COUNT)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        deletion_grace_period: get(DELETION_GRACE_PERIOD).and_then(|text| text.parse().ok()),
        termination_grace_period: get(TERMINATION_GRACE_PERIOD).and_then(|text| text.parse().ok()),
        termination_message_path: get(TERMINATION_MESSAGE_PATH).unwrap_or("").to_owned(),
        termination_message_policy: get(TERMINATION_MESSAGE_POLICY).unwrap_or("").to_owned(),
        pre_stop: get(PRE_STOP_HANDLER)
            .and_then(|text| api_types::decode_json(text.as_bytes()).ok()),
        ports: get(PORTS).map(read_ports).unwrap_or_default(),
    }
}

fn read_ports(text: &str) -> Vec<ContainerPort> {
    let items: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(text).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| api_types::decode_json(item.get().as_bytes()).ok())
        .collect()
}

/// A pod and container with just what stopping needs, rebuilt from the labels of a container whose pod is gone.
#[must_use]
pub fn restore_specs(
    labels: &HashMap<String, String>,
    annotations: &HashMap<String, String>,
) -> (Pod, Container) {
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let read = read_annotations(annotations);
    let mut pod = Pod::default();
    pod.metadata.name = label(POD_NAME);
    pod.metadata.namespace = label(POD_NAMESPACE);
    pod.metadata.uid = label(POD_UID);
    pod.metadata.deletion_grace_period_seconds = read.deletion_grace_period;
    pod.spec.termination_grace_period_seconds = read.termination_grace_period;
    let container = Container {
        name: label(CONTAINER_NAME),
        ports: read.ports,
        termination_message_path: read.termination_message_path,
        lifecycle: read.pre_stop.map(|pre_stop| {
            Box::new(Lifecycle {
                pre_stop: Some(Box::new(pre_stop)),
                ..Default::default()
            })
        }),
        ..Default::default()
    };
    (pod, container)
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ExecAction;

    use super::*;

    #[test]
    fn annotations_survive_a_round_trip() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".to_owned();
        pod.metadata.namespace = "shop".to_owned();
        pod.metadata.uid = "1234".to_owned();
        pod.spec.termination_grace_period_seconds = Some(30);
        let container = Container {
            name: "nginx".to_owned(),
            image: "nginx".to_owned(),
            termination_message_path: "/dev/termination-log".to_owned(),
            termination_message_policy: "File".to_owned(),
            ports: vec![ContainerPort {
                name: "http".to_owned(),
                container_port: 80,
                ..Default::default()
            }],
            lifecycle: Some(Box::new(Lifecycle {
                pre_stop: Some(Box::new(LifecycleHandler {
                    exec: Some(Box::new(ExecAction {
                        command: vec!["true".to_owned()],
                    })),
                    ..Default::default()
                })),
                ..Default::default()
            })),
            ..Default::default()
        };
        let annotations = container_annotations(&container, &pod, 3, &[]);
        assert_eq!(
            annotations[PRE_STOP_HANDLER],
            r#"{"exec":{"command":["true"]}}"#
        );
        let read = read_annotations(&annotations);
        assert_eq!(read.hash, hash_container(&container));
        assert_eq!(read.restart_count, 3);
        let (restored_pod, restored) =
            restore_specs(&container_labels(&container, &pod), &annotations);
        assert_eq!(restored_pod.spec.termination_grace_period_seconds, Some(30));
        assert_eq!(restored_pod.metadata.uid, "1234");
        assert_eq!(restored.ports, container.ports);
        assert_eq!(restored.lifecycle, container.lifecycle);
    }
}
