//! Bodies that are asked about or acted on and not stored. Upstream: handlers/create.go and pkg/registry/{authentication,authorization}.

use serde_json::{Value, json};

use super::Server;
use super::webhooks::{Hooks, VALIDATING, rule};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const UID: &str = "4d3bb2a6-0f0e-4d3f-9c46-0a4bd4a7f0d1";

/// Metadata of which a client has no say.
fn system_fields() -> Value {
    json!({
        "uid": UID,
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "deletionTimestamp": "2020-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
        "selfLink": "/a",
    })
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn system_metadata_counts_for_nothing() {
    let Some(server) = Server::start().await else {
        return;
    };
    let resource = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let answer = server
        .post(
            &format!("{AUTHORIZATION}/subjectaccessreviews"),
            json!({"metadata": system_fields(), "spec": {"user": "noxu", "resourceAttributes": resource}}),
        )
        .await
        .expect(201);
    assert_eq!(answer["status"]["allowed"], true);
    let metadata = answer["metadata"].as_object().unwrap();
    let fields: Vec<&String> = metadata.keys().collect();
    assert_eq!(fields, ["managedFields"]);
    let twice = json!([
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": UID},
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": UID},
    ]);
    let review = server
        .post(
            &format!("{AUTHENTICATION}/tokenreviews"),
            json!({"metadata": {"ownerReferences": twice}, "spec": {"token": "x"}}),
        )
        .await;
    let warning = review.headers["warning"].to_str().unwrap();
    assert!(warning.contains("contains duplicate entries; API server dedups"));
    let review = review.expect(201);
    let owners = review["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!(owners.len(), 1);

    // The UID of a binding is that of a pod, but not where the pod is in the body only.
    server.post(PODS, pod("a")).await.expect(201);
    let binding = |name: &str| {
        let mut metadata = system_fields();
        metadata["name"] = json!(name);
        json!({"metadata": metadata, "target": {"kind": "Node", "name": "n"}})
    };
    let bound = server
        .post(&format!("{PODS}/a/binding"), binding("a"))
        .await;
    assert_eq!(bound.code, 409);
    let bindings = "/api/v1/namespaces/default/bindings";
    server.post(bindings, binding("a")).await.expect(201);

    // What is evicted is the pod of the path.
    server.post(PODS, pod("b")).await.expect(201);
    let mut metadata = system_fields();
    metadata["name"] = json!("b");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
    server
        .post(&format!("{PODS}/b/eviction"), eviction)
        .await
        .expect(201);

    let named = json!({"metadata": {"name": "x", "labels": {"a": "b"}}});
    let answer = server
        .post(&format!("{AUTHENTICATION}/selfsubjectreviews"), named)
        .await
        .expect(201);
    let metadata = answer["metadata"].as_object().unwrap();
    let fields: Vec<&String> = metadata.keys().collect();
    assert_eq!(fields, ["creationTimestamp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_reaches_no_validating_webhook() {
    let Some(server) = Server::start().await else {
        return;
    };
    let hooks = Hooks::start().await;
    let rules = json!([
        rule("authorization.k8s.io", "v1", "*"),
        rule("authentication.k8s.io", "v1", "*"),
    ]);
    let hook = hooks.hook("deny", "deny", json!({"rules": rules}));
    server.configure(VALIDATING, "v", json!([hook])).await;
    let denied = "admission webhook \"deny.example.com\" denied the request: no";
    let resource = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let questions = [
        (
            format!("{AUTHORIZATION}/selfsubjectrulesreviews"),
            json!({"spec": {}}),
            "no namespace on request",
            json!({"spec": {"namespace": "default"}}),
        ),
        (
            format!("{AUTHENTICATION}/tokenreviews"),
            json!({"spec": {}}),
            "token is required for TokenReview in authentication",
            json!({"spec": {"token": "x"}}),
        ),
        (
            format!("{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews"),
            json!({"spec": {"user": "noxu", "resourceAttributes": {"namespace": "other"}}}),
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace",
            json!({"spec": {"user": "noxu", "resourceAttributes": resource}}),
        ),
    ];
    for (path, bad, refusal, good) in questions {
        let refused = server.post(&path, bad).await;
        assert_eq!(refused.message(), refusal);
        server.post(&path, good).await.refuses(403, denied);
    }
    // Anybody may ask who they are.
    let answer = server
        .post(&format!("{AUTHENTICATION}/selfsubjectreviews"), json!({}))
        .await;
    answer.refuses(403, denied);
}
