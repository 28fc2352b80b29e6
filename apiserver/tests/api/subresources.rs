//! Status, scale, binding, eviction, and versions of one object.

use serde_json::{Value, json};

use super::{MERGE, STRATEGIC, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn deployment() -> Value {
    json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_spec_are_written_apart() {
    let Some(server) = Server::start().await else {
        return;
    };
    let created = server.post(DEPLOYMENTS, deployment()).await.expect(201);
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/d");
    let both = r#"{"spec":{"replicas":7},"status":{"replicas":3}}"#;
    let main = server.patch(&path, MERGE, both).await.expect(200);
    assert_eq!(
        (&main["spec"]["replicas"], &main["status"]["replicas"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(main["metadata"]["generation"], 2);
    let status = server
        .patch(
            &format!("{path}/status"),
            MERGE,
            r#"{"spec":{"replicas":1},"status":{"replicas":3}}"#,
        )
        .await
        .expect(200);
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(7), &json!(3))
    );
    assert_eq!(status["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_changes_replicas_and_their_manager() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(DEPLOYMENTS, deployment()).await.expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale = server.get(&path).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!("a=b"))
    );
    let scaled = server
        .put(
            &path,
            json!({"metadata": {"name": "d"}, "spec": {"replicas": 4}}),
        )
        .await
        .expect(200);
    assert_eq!(scaled["spec"]["replicas"], 4);
    let stored = server.get(&format!("{DEPLOYMENTS}/d")).await.expect(200);
    assert_eq!(stored["spec"]["replicas"], 4);
    let managers = stored["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["subresource"] == "scale"));
    let negative = server
        .patch(&path, MERGE, r#"{"spec":{"replicas":-1}}"#)
        .await;
    negative.refuses(422, "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(PODS, pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    server
        .post(&format!("{PODS}/p/binding"), binding.clone())
        .await
        .expect(201);
    let bound = server
        .get(&format!("{PODS}?fieldSelector=spec.nodeName%3Dn1"))
        .await
        .expect(200);
    assert_eq!(
        bound["items"][0]["status"]["conditions"][0]["type"],
        "PodScheduled"
    );
    server
        .post(&format!("{PODS}/p/binding"), binding)
        .await
        .refuses(409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"");
    // Bound pods stay until their kubelet lets them go.
    let waiting = server
        .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 5}))
        .await
        .expect(200);
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 5);
    server
        .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_refuse_evictions() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.post(PODS, pod("p")).await.expect(201);
    let running =
        r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    server
        .patch(&format!("{PODS}/p/status"), STRATEGIC, running)
        .await
        .expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}});
    server.post(budgets, budget).await.expect(201);
    let evict = async || {
        server
            .post(
                &format!("{PODS}/p/eviction"),
                json!({"metadata": {"name": "p"}}),
            )
            .await
    };
    let refused = evict().await;
    assert_eq!(
        (
            refused.code,
            refused.headers["retry-after"].to_str().unwrap()
        ),
        (429, "10")
    );
    let status = r#"{"status":{"observedGeneration":1,"disruptionsAllowed":0,"currentHealthy":1,"desiredHealthy":1,"expectedPods":1}}"#;
    server
        .patch(&format!("{budgets}/b/status"), MERGE, status)
        .await
        .expect(200);
    let refused = evict().await;
    assert_eq!(
        refused.json()["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    server
        .patch(
            &format!("{budgets}/b/status"),
            MERGE,
            r#"{"status":{"disruptionsAllowed":1}}"#,
        )
        .await
        .expect(200);
    evict().await.expect(201);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
    let budget = server.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_one_object() {
    let Some(server) = Server::start().await else {
        return;
    };
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let spec = json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]});
    server
        .post(v2, json!({"metadata": {"name": "h"}, "spec": spec}))
        .await
        .expect(201);
    let old = server.get(&format!("{v1}/h")).await.expect(200);
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
    server
        .patch(
            &format!("{v1}/h"),
            MERGE,
            r#"{"spec":{"targetCPUUtilizationPercentage":70}}"#,
        )
        .await
        .expect(200);
    let new = server.get(&format!("{v2}/h")).await.expect(200);
    assert_eq!(
        new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        70
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_addresses_and_give_them_back() {
    let Some(server) = Server::start().await else {
        return;
    };
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let made = server.post(services, service("a", "")).await.expect(201);
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    server
        .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
        .await
        .expect(200);
    server.post(services, service("b", &ip)).await.refuses(
        422,
        &format!("Service \"b\" is invalid: spec.clusterIPs: Invalid value: [{ip:?}]: failed to allocate IP {ip}: provided IP is already allocated"),
    );
    server
        .delete(&format!("{services}/a"), json!({}))
        .await
        .expect(200);
    server.post(services, service("b", &ip)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ports_are_of_one_port_each() {
    let Some(server) = Server::start().await else {
        return;
    };
    let services = "/api/v1/namespaces/default/services";
    let service = |ports: serde_json::Value| json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": ports}});
    let twice = json!([{"name": "a", "port": 80, "nodePort": 30010}, {"name": "b", "port": 81, "nodePort": 30010}]);
    for query in ["", "?dryRun=All"] {
        server
            .post(&format!("{services}{query}"), service(twice.clone()))
            .await
            .refuses(422, "Service \"a\" is invalid: spec.ports[1].nodePort: Invalid value: 30010: provided port is already allocated");
    }
    // One number for two protocols shares its node port, whichever says it.
    let shared = json!([{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP", "nodePort": 30010}]);
    let made = server.post(services, service(shared)).await.expect(201);
    let ports = &made["spec"]["ports"];
    assert_eq!(
        (&ports[0]["nodePort"], &ports[1]["nodePort"]),
        (&json!(30010), &json!(30010))
    );
    let mut changed = made;
    changed["spec"]["ports"] = json!([{"name": "a", "port": 80, "nodePort": 30011}, {"name": "b", "port": 81, "nodePort": 30011}]);
    server
        .put(&format!("{services}/a"), changed)
        .await
        .refuses(500, "duplicate nodePort: {TCP 30011}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_its_status_creates_gets_nothing() {
    let Some(server) = Server::start().await else {
        return;
    };
    let path = "/api/v1/namespaces/default/services/a/status";
    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    let made = server.put(path, service).await.expect(201);
    assert_eq!(made["spec"]["clusterIP"], json!(null));
    assert_eq!(made["spec"]["ipFamilies"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_in_stateful_sets_say_what_they_are() {
    let Some(server) = Server::start().await else {
        return;
    };
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let set = json!({"metadata": {"name": "a"}, "spec": {
        "serviceName": "s",
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
    }});
    let named = |set: &serde_json::Value| {
        let claim = &set["spec"]["volumeClaimTemplates"][0];
        claim["kind"] == "PersistentVolumeClaim" && claim["apiVersion"] == "v1"
    };
    let made = server.post(sets, set).await.expect(201);
    assert!(named(&made), "{made}");
    let path = format!("{sets}/a");
    assert!(named(&server.get(&path).await.expect(200)));
    assert!(named(&server.get(sets).await.expect(200)["items"][0]));
    // What comes back with the names is no change.
    let again = server.put(&path, made.clone()).await.expect(200);
    assert_eq!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_must_allow_devices_for_administration() {
    let Some(server) = Server::start().await else {
        return;
    };
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}});
    let claim =
        json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [request.clone()]}}});
    let message = |kind: &str| {
        format!(
            "{kind}.resource.k8s.io \"a\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        )
    };
    server
        .post(claims, claim.clone())
        .await
        .refuses(422, &message("ResourceClaim"));
    let templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    let template = json!({"metadata": {"name": "a"}, "spec": {"spec": claim["spec"]}});
    server
        .post(templates, template)
        .await
        .refuses(422, &message("ResourceClaimTemplate"));
    let label = r#"{"metadata":{"labels":{"resource.kubernetes.io/admin-access":"true"}}}"#;
    server
        .patch("/api/v1/namespaces/default", MERGE, label)
        .await
        .expect(200);
    server.post(claims, claim).await.expect(201);
}

#[tokio::test]
async fn reviews_have_no_columns() {
    let Some(server) = Server::start().await else {
        return;
    };
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    let answer = server
        .send(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &[("content-type", "application/json"), ("accept", accept)],
            review.to_string(),
        )
        .await;
    answer.refuses(
        406,
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    );
}
