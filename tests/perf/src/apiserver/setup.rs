//! What workloads put into the server besides their load, and its removal.
//!
//! Objects outside of the measurement's namespace carry [`LABEL`], and [`sweep`] removes all that do: after each workload, and before
//! the first, since an aborted run leaves them.

use std::time::Duration;

use client::Client;
use client::config::{Auth, ClientConfig};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::objects::NAMESPACE;
use crate::Result;
use crate::namespace::call_json;

pub(super) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub(super) const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const NODE_LEASES: &str =
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
pub(super) const SYSTEM_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// How long the server may take to act on what was written.
const EFFECT_LIMIT: Duration = Duration::from_secs(60);
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// The labels of everything that [`sweep`] removes.
pub(super) fn labels() -> Value {
    json!({"perf.example.com/made-by": "perf"})
}

const LABEL: &str = "perf.example.com%2Fmade-by%3Dperf";

/// Removes what was made outside of the namespace.
pub(super) async fn sweep(client: &Client) -> Result<()> {
    let system_rbac = format!("{RBAC}/namespaces/kube-system");
    for path in [
        format!("{ADMISSION}/validatingwebhookconfigurations"),
        format!("{ADMISSION}/mutatingwebhookconfigurations"),
        format!("{ADMISSION}/validatingadmissionpolicybindings"),
        format!("{ADMISSION}/validatingadmissionpolicies"),
        DEFINITIONS.to_owned(),
        format!("{RBAC}/clusterrolebindings"),
        format!("{RBAC}/clusterroles"),
        format!("{system_rbac}/rolebindings"),
        format!("{system_rbac}/roles"),
        NODE_LEASES.to_owned(),
        SYSTEM_LEASES.to_owned(),
    ] {
        let path = format!("{path}?labelSelector={LABEL}");
        send(client, Method::DELETE, &path, &Value::Null).await?;
    }
    Ok(())
}

/// Creates an object.
pub(super) async fn create(client: &Client, path: &str, object: &Value) -> Result<Value> {
    send(client, Method::POST, path, object).await
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let (status, answer) = call_json(client, method.clone(), path, body).await?;
    if status.is_success() {
        return Ok(answer);
    }
    Err(format!("{method} {path}: {status}: {}", answer["message"]).into())
}

/// Waits until a request is answered so; the last answer is told when that takes too long.
pub(super) async fn until(
    client: &Client,
    method: Method,
    path: &str,
    body: &Value,
    wanted: impl Fn(StatusCode, &Value) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + EFFECT_LIMIT;
    loop {
        let (status, answer) = call_json(client, method.clone(), path, body).await?;
        if wanted(status, &answer) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!(
                "{method} {path} is answered {status}: {}",
                answer["message"]
            );
            return Err(
                format!("what was written has no effect after {EFFECT_LIMIT:?}: {what}").into(),
            );
        }
        tokio::time::sleep(POLL_PERIOD).await;
    }
}

/// A ServiceAccount of the namespace with these rights there, and a client with a token of it as a pod has: bound to a pod.
pub(super) async fn account(
    client: &Client,
    admin: &ClientConfig,
    name: &str,
    rules: Value,
) -> Result<ClientConfig> {
    let core = format!("/api/v1/namespaces/{NAMESPACE}");
    create(
        client,
        &format!("{core}/serviceaccounts"),
        &json!({"metadata": {"name": name}}),
    )
    .await?;
    grant(client, name, rules).await?;
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": "perf-no-such-node",
            "serviceAccountName": name,
            "containers": [{"name": "client", "image": "registry.example.com/client:1"}]
        }
    });
    let pod = create(client, &format!("{core}/pods"), &pod).await?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": 7200,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]}
        }
    });
    let path = format!("{core}/serviceaccounts/{name}/token");
    let answer = create(client, &path, &request).await?;
    let token = answer["status"]["token"]
        .as_str()
        .ok_or("the answer to a TokenRequest has no token")?;
    let mut config = admin.anonymous();
    config.auth = Auth::Token(token.to_owned());
    Ok(config)
}

/// A Role of the namespace and its binding to the ServiceAccount of the same name.
pub(super) async fn grant(client: &Client, name: &str, rules: Value) -> Result<()> {
    let rbac = format!("{RBAC}/namespaces/{NAMESPACE}");
    let role = json!({"metadata": {"name": name}, "rules": rules});
    create(client, &format!("{rbac}/roles"), &role).await?;
    let binding = binding("Role", name);
    create(client, &format!("{rbac}/rolebindings"), &binding).await?;
    Ok(())
}

/// The body of a binding of a role to the ServiceAccount of the same name.
pub(super) fn binding(kind: &str, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": name}]
    })
}
