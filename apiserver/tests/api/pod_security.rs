//! Levels of pod security that namespaces ask for.

use serde_json::{Value, json};

use super::{Answer, MERGE, STRATEGIC, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": spec});
    pod["spec"]["containers"] = json!([{"name": "a", "image": "i"}]);
    pod
}

impl Server {
    /// Sets the labels of the default namespace. Admission knows of them when this returns: a consistent list waits for the
    /// watch cache.
    async fn label(&self, labels: Value) -> Answer {
        let labels: serde_json::Map<String, Value> = labels
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone()))
            .collect();
        let patch = json!({"metadata": {"labels": labels}}).to_string();
        let answer = self.patch("/api/v1/namespaces/default", MERGE, patch).await;
        self.get("/api/v1/namespaces").await.expect(200);
        answer
    }
}

fn warnings(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("warning").iter();
    values
        .map(|value| value.to_str().unwrap())
        .filter_map(|value| value.strip_prefix("299 - "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_choose_what_pods_may_do() {
    let Some(server) = Server::start().await else {
        return;
    };
    let host = json!({"hostNetwork": true});
    for name in ["p", "o"] {
        server.post(PODS, pod(name, host.clone())).await.expect(201);
    }
    server.post(PODS, pod("good", json!({}))).await.expect(201);
    server
        .has_series(&[
            "# HELP pod_security_evaluations_total [ALPHA] Number of policy evaluations that occurred, not counting ignored or exempt requests.\n",
            "# HELP pod_security_exemptions_total [ALPHA] ",
        ])
        .await;
    // Labels must be right.
    server.label(json!({"enforce": "x"})).await.refuses(
        422,
        "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": \
         must be one of privileged, baseline, restricted",
    );
    // Whoever tightens them learns which pods would not pass.
    let labelled = server.label(json!({"enforce": "baseline"})).await;
    assert_eq!(
        warnings(&labelled),
        [
            "\"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "\"o (and 1 other pod): host namespaces\"",
        ]
    );
    labelled.expect(200);
    server.post(PODS, pod("q", host.clone())).await.refuses(
        403,
        "pods \"q\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)",
    );
    server.post(PODS, pod("fine", json!({}))).await.expect(201);
    // What is there may be changed where no policy looks.
    let labels = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    server
        .patch(&format!("{PODS}/p"), MERGE, labels)
        .await
        .expect(200);
    let image = r#"{"spec":{"containers":[{"name":"a","image":"j"}]}}"#;
    server
        .patch(&format!("{PODS}/p"), STRATEGIC, image)
        .await
        .expect(403);
    let debug = r#"{"spec":{"ephemeralContainers":[{"name":"e","image":"i","securityContext":{"capabilities":{"add":["BPF"]}}}]}}"#;
    let path = format!("{PODS}/good/ephemeralcontainers");
    server.patch(&path, MERGE, debug).await.refuses(
        403,
        "pods \"good\" is forbidden: violates PodSecurity \"baseline:latest\": \
         non-default capabilities (container \"e\" must not include \"BPF\" in securityContext.capabilities.add)",
    );
    // Templates are only warned about.
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("", host)["spec"]},
    }});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let warned = server.post(deployments, deployment).await;
    assert_eq!(
        warnings(&warned),
        [
            "\"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostNetwork=true)\""
        ]
    );
    warned.expect(201);
    let relaxed = json!({"enforce": "privileged", "warn": "restricted", "warn-version": "v1.7"});
    let relaxed = server.label(relaxed).await;
    assert!(warnings(&relaxed).is_empty());
    relaxed.expect(200);
    let warned = server.post(PODS, pod("r", json!({}))).await;
    assert_eq!(
        warnings(&warned),
        [
            "\"would violate PodSecurity \\\"restricted:v1.7\\\": runAsNonRoot != true \
          (pod or container \\\"a\\\" must set securityContext.runAsNonRoot=true)\""
        ]
    );
    warned.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_defaults_and_exemptions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admission.json");
    let own = json!({
        "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline"}, "exemptions": {"namespaces": ["free"]},
    });
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": own}],
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    let flag = format!("--admission-control-config-file={}", file.display());
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    server.namespace("free").await;
    let host = json!({"hostNetwork": true});
    server.post(PODS, pod("a", host.clone())).await.expect(403);
    let free = "/api/v1/namespaces/free/pods";
    server.post(free, pod("a", host)).await.expect(201);
    let labels = r#"{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}"#;
    let warned = server.patch("/api/v1/namespaces/free", MERGE, labels).await;
    assert_eq!(
        warnings(&warned),
        [
            "\"namespace \\\"free\\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored\""
        ]
    );
}
