//! What quotas are charged with and refuse, as admission does it: no controller counts here, tests say what is used.

use super::*;

const CORE: &str = "/api/v1/namespaces/default";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

impl Server {
    /// A quota as it is after its controller has counted; `used` may leave something out.
    async fn quota(&self, name: &str, spec: Value, used: Value) {
        let quota = json!({"metadata": {"name": name}, "spec": spec});
        let mut quota = self.post(QUOTAS, quota).await.expect(201);
        quota["status"] = json!({"hard": quota["spec"]["hard"], "used": used});
        let path = format!("{QUOTAS}/{name}/status");
        self.put(&path, quota).await.expect(200);
        // A consistent list waits for what admission sees.
        self.get(QUOTAS).await.expect(200);
    }

    async fn used(&self, name: &str) -> Value {
        let quota = self.get(&format!("{QUOTAS}/{name}")).await.expect(200);
        self.get(QUOTAS).await.expect(200);
        quota["status"]["used"].clone()
    }
}

fn pod(name: &str, resources: Value) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": resources});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

fn claim(name: &str, count: u32) -> Value {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpus", "count": count}});
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_counted() {
    let Some(server) = Server::start().await else {
        return;
    };
    let classes = "/apis/resource.k8s.io/v1/deviceclasses";
    let class =
        json!({"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    server.post(classes, class).await.expect(201);
    server.get(classes).await.expect(200);
    let (devices, implicit, explicit) = (
        "gpus.deviceclass.resource.k8s.io/devices",
        "requests.deviceclass.resource.kubernetes.io/gpus",
        "requests.example.com/gpu",
    );
    let hard = json!({devices: "5", implicit: "5", explicit: "8"});
    let none = json!({devices: "0", implicit: "0", explicit: "0"});
    server.quota("devices", json!({"hard": hard}), none).await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    server.post(claims, claim("a", 3)).await.expect(201);
    let used = server.used("devices").await;
    assert_eq!(used, json!({devices: "3", implicit: "3", explicit: "3"}));
    server.post(claims, claim("b", 3)).await.refuses(
        403,
        &format!(
            "resourceclaims.resource.k8s.io \"b\" is forbidden: exceeded quota: devices, requested: {devices}=3,{implicit}=3, \
             used: {devices}=3,{implicit}=3, limited: {devices}=5,{implicit}=5"
        ),
    );
    // A pod that asks for devices by the extended resource, and the claim that the scheduler makes for it.
    let pods = format!("{CORE}/pods");
    let wanted = json!({"limits": {"example.com/gpu": "2"}, "requests": {"example.com/gpu": "2"}});
    let owner = server.post(&pods, pod("p", wanted)).await.expect(201);
    server.get(&pods).await.expect(200);
    let used = server.used("devices").await;
    assert_eq!(used, json!({devices: "3", implicit: "3", explicit: "5"}));
    let mut made = claim("of-p", 2);
    made["metadata"]["annotations"] =
        json!({"resource.kubernetes.io/extended-resource-claim": "true"});
    made["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p",
        "uid": owner["metadata"]["uid"], "controller": true}]);
    server.post(claims, made).await.expect(201);
    let used = server.used("devices").await;
    assert_eq!(used, json!({devices: "5", implicit: "5", explicit: "5"}));
    let more = json!({"limits": {"example.com/gpu": "4"}, "requests": {"example.com/gpu": "4"}});
    server.post(&pods, pod("q", more)).await.refuses(
        403,
        &format!("pods \"q\" is forbidden: exceeded quota: devices, requested: {explicit}=4, used: {explicit}=5, limited: {explicit}=8"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_count_where_usage_may_change() {
    let Some(server) = Server::start().await else {
        return;
    };
    let pods = format!("{CORE}/pods");
    server.post(&pods, pod("p", json!({}))).await.expect(201);
    let spec = json!({"hard": {"pods": "1"}, "scopes": ["Terminating"]});
    server.quota("ending", spec, json!({"pods": "1"})).await;
    let path = format!("{pods}/p");
    let patch = async |seconds: u32| {
        let patch = json!({"spec": {"activeDeadlineSeconds": seconds}}).to_string();
        server.patch(&path, MERGE, patch).await
    };
    patch(5).await.refuses(
        403,
        "pods \"p\" is forbidden: exceeded quota: ending, requested: pods=1, used: pods=1, limited: pods=1",
    );
    let mut quota = server.get(&format!("{QUOTAS}/ending")).await.expect(200);
    quota["status"]["used"] = json!({"pods": "0"});
    let status = format!("{QUOTAS}/ending/status");
    server.put(&status, quota).await.expect(200);
    server.get(QUOTAS).await.expect(200);
    patch(5).await.expect(200);
    assert_eq!(server.used("ending").await, json!({"pods": "1"}));
    // It was in the scope before.
    patch(4).await.expect(200);
    assert_eq!(server.used("ending").await, json!({"pods": "1"}));

    let claims = format!("{CORE}/persistentvolumeclaims");
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = json!({"metadata": {"name": "c"}, "spec": spec});
    let mut claim = server.post(&claims, claim).await.expect(201);
    let hard = json!({"requests.storage": "1Gi"});
    server
        .quota("storage", json!({"hard": hard}), hard.clone())
        .await;
    // What storage was given is charged even where it is more than is allowed.
    claim["status"]["allocatedResources"] = json!({"storage": "2Gi"});
    server
        .put(&format!("{claims}/c/status"), claim)
        .await
        .expect(200);
    let used = server.used("storage").await;
    assert_eq!(used, json!({"requests.storage": "2Gi"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_is_refused_unless_ignored() {
    let Some(server) = Server::start().await else {
        return;
    };
    let hard =
        json!({"count/events": "1", "count/localsubjectaccessreviews.authorization.k8s.io": "1"});
    server
        .quota("ignored", json!({"hard": hard}), json!({}))
        .await;
    let event = json!({"metadata": {"name": "e", "namespace": "default"}, "reason": "r",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}});
    server
        .post(&format!("{CORE}/events"), event)
        .await
        .expect(201);
    let reviews = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let review = json!({"metadata": {"namespace": "default"}, "spec": {"user": "u",
        "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}});
    server.post(reviews, review).await.expect(201);

    let hard = json!({"pods": "5", "requests.cpu": "5", "services": "5"});
    server
        .quota("half", json!({"hard": hard}), json!({"pods": "0"}))
        .await;
    let requests = json!({"requests": {"cpu": "1"}});
    server
        .post(&format!("{CORE}/pods"), pod("p", requests))
        .await
        .refuses(
            403,
            "pods \"p\" is forbidden: status unknown for quota: half, resources: pods,requests.cpu",
        );
}
