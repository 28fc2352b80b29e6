//! Texts of the events about resizes. Upstream: `pkg/kubelet/events/resize.go`.

use std::fmt::Write as _;

use api_types::core::v1::{Container, Pod};
use serde_json::Value;

/// `<what>: <resources the pod asks for, as JSON>`; `error` may be empty.
#[must_use]
pub fn resize_message(what: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let mut text = format!("{what}: {{");
    for (key, containers) in [
        ("initContainers", &pod.spec.init_containers),
        ("containers", &pod.spec.containers),
    ] {
        if !containers.is_empty() {
            let listed: Vec<String> = containers.iter().map(summary).collect();
            let _ = write!(text, "\"{key}\":[{}],", listed.join(","));
        }
    }
    let _ = write!(text, "\"generation\":{generation}");
    if !error.is_empty() {
        let _ = write!(text, ",\"error\":{}", Value::from(error));
    }
    text.push('}');
    text
}

fn summary(container: &Container) -> String {
    format!(
        "{{\"name\":{},\"resources\":{}}}",
        Value::from(container.name.as_str()),
        String::from_utf8_lossy(&api_types::encode_json(&container.resources))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::container;

    #[test]
    fn upstreams_texts() {
        let mut pod = Pod::default();
        let all: &[(&str, &str)] = &[("cpu", "100m"), ("memory", "100")];
        pod.spec.containers = vec![container("c0", all, all)];
        assert_eq!(
            resize_message("Pod resize completed", &pod, 1, ""),
            r#"Pod resize completed: {"containers":[{"name":"c0","resources":{"limits":{"cpu":"100m","memory":"100"},"requests":{"cpu":"100m","memory":"100"}}}],"generation":1}"#
        );
        pod.spec.init_containers = vec![container("c0", &[("cpu", "100m")], &[("cpu", "200m")])];
        pod.spec.containers = vec![
            container("c1", &[("memory", "100")], &[("memory", "200")]),
            container("c2", &[], &[]),
        ];
        assert_eq!(
            resize_message(
                "Pod resize Deferred",
                &pod,
                2,
                "Node didn't have enough resource: memory"
            ),
            r#"Pod resize Deferred: {"initContainers":[{"name":"c0","resources":{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}}],"containers":[{"name":"c1","resources":{"limits":{"memory":"200"},"requests":{"memory":"100"}}},{"name":"c2","resources":{}}],"generation":2,"error":"Node didn't have enough resource: memory"}"#
        );
    }
}
