//! `/pods`, `/runningpods/` and `/checkpoint`.

use std::time::Duration;

use api_types::core::v1::{Pod, PodList};
use component_base::serving::{Request, Response};
use http::StatusCode;

use super::host::Host;
use super::{failed, json, query_values};

fn list(items: Vec<Pod>) -> Response {
    json(api_types::encode_json(&PodList {
        items,
        ..Default::default()
    }))
}

/// Pods bound to this node.
pub(super) fn pods(host: &dyn Host) -> Response {
    list(host.pods().iter().map(|pod| (**pod).clone()).collect())
}

/// Pods the runtime has, with nothing but names: their specs are not known to it.
pub(super) async fn running_pods(host: &dyn Host) -> Response {
    match host.running_pods().await {
        Ok(pods) => list(
            pods.iter()
                .map(crate::container::RuntimePod::to_api_pod)
                .collect(),
        ),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Writes a checkpoint; answers the name of its file.
pub(super) async fn checkpoint(
    host: &dyn Host,
    request: &Request,
    namespace: &str,
    name: &str,
    container: &str,
) -> Response {
    let Some(pod) = host.pod_by_name(namespace, name) else {
        return failed(StatusCode::NOT_FOUND, "pod does not exist");
    };
    if crate::container::find_container_spec(&pod.spec, container).is_none() {
        return failed(
            StatusCode::NOT_FOUND,
            format!("container {container} does not exist"),
        );
    }
    let timeout = match query_values(request, "timeout")
        .last()
        .map(|text| text.parse::<u64>())
    {
        None => Duration::ZERO,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => {
            return failed(
                StatusCode::NOT_FOUND,
                "cannot parse value of timeout parameter",
            );
        }
    };
    let result = async {
        let found =
            super::streaming::find_container(host, namespace, name, &pod.metadata.uid, container)
                .await
                .map_err(|error| error.to_string())?
                .ok_or_else(|| format!("container {container} not found"))?;
        let time = jiff::Zoned::now()
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string();
        let file = host.checkpoints_dir().join(format!(
            "checkpoint-{name}_{namespace}-{container}-{time}.tar"
        ));
        let file = file.to_string_lossy().into_owned();
        host.checkpoint(&found, &file, timeout)
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(file)
    };
    match result.await {
        Ok(file) => json(format!("{{\"items\":[{}]}}", serde_json::Value::from(file)).into_bytes()),
        Err(error) => failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("checkpointing of {namespace}/{name}/{container} failed ({error})"),
        ),
    }
}
