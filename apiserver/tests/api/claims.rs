//! The status of ResourceClaims: what it may say, and who may say it. Upstream: pkg/registry/resource/resourceclaim.

use serde_json::{Value, json};

use super::{Answer, JSON, Server};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

impl Server {
    async fn put_status_as(&self, user: &str, claim: &Value) -> Answer {
        let headers = [("content-type", JSON), ("impersonate-user", user)];
        let path = format!("{CLAIMS}/c/status");
        self.send("PUT", &path, &headers, claim.to_string()).await
    }
}

fn allocation() -> Value {
    json!({"devices": {"results": [
        {"request": "r", "driver": "d.example.com", "pool": "p", "device": "one"},
    ]}})
}

fn device(name: &str) -> Value {
    json!({"driver": "d.example.com", "pool": "p", "device": name})
}

async fn start(flags: &[String]) -> Option<(Server, Value)> {
    let server = Server::start_with(flags).await?;
    server.namespace("default").await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "class"}},
    ]}}});
    let claim = server.post(CLAIMS, claim).await.expect(201);
    Some((server, claim))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_status_has_its_own_right() {
    let flags = ["--authorization-mode=RBAC".to_owned()];
    let Some((server, mut claim)) = start(&flags).await else {
        return;
    };
    let rule = |resource: &str, verb: &str| json!([{"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": [verb]}]);
    let write = rule("resourceclaims/status", "update");
    server.grant("driver", "driver-status", write.clone()).await;
    server.grant("scheduler", "scheduler-status", write).await;

    claim["status"] = json!({"allocation": allocation()});
    server.put_status_as("scheduler", &claim).await.refuses(
        422,
        "ResourceClaim.resource.k8s.io \"c\" is invalid: status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"update\" permission: resourceclaims.resource.k8s.io is forbidden: User \"scheduler\" cannot update resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope",
    );
    let bind = rule("resourceclaims/binding", "update");
    server.grant("scheduler", "scheduler-binding", bind).await;
    let mut claim = server.put_status_as("scheduler", &claim).await.expect(200);

    claim["status"]["devices"] = json!([device("one")]);
    server.put_status_as("driver", &claim).await.refuses(
        422,
        "ResourceClaim.resource.k8s.io \"c\" is invalid: status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:update]\" permission: resourceclaims.resource.k8s.io \"d.example.com\" is forbidden: User \"driver\" cannot arbitrary-node:update resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"default\"",
    );
    let tell = rule("resourceclaims/driver", "arbitrary-node:update");
    server.grant("driver", "driver-devices", tell).await;
    let told = server.put_status_as("driver", &claim).await.expect(200);
    assert_eq!(told["status"]["devices"][0]["device"], "one");
    // What nobody changes needs no right.
    server.put_status_as("scheduler", &told).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_have_a_status_while_they_are_allocated() {
    let Some((server, mut claim)) = start(&[]).await else {
        return;
    };
    let path = format!("{CLAIMS}/c/status");
    claim["status"] = json!({"allocation": allocation(), "devices": [
        device("one"),
        {
            "driver": "d.example.com", "pool": "p", "device": "two", "shareID": "x",
            "conditions": [{"type": "A", "status": "Maybe", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "data": [1],
            "networkData": {"interfaceName": "n".repeat(257), "ips": ["10.0.0.1"]},
        },
    ]});
    server.put(&path, claim.clone()).await.refuses(
        422,
        "ResourceClaim.resource.k8s.io \"c\" is invalid: [status.devices[1].shareID: Invalid value: \"x\": error validating uid: invalid UUID length: 1, status.devices[1]: Invalid value: d.example.com/p/two/x: must be an allocated device in the claim, status.devices[1].conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\", status.devices[1].data: Invalid value: \"<value omitted>\": must be a valid JSON object, status.devices[1].networkData.interfaceName: Too long: may not be more than 256 bytes, status.devices[1].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)]",
    );
    claim["status"]["devices"] = json!([device("one")]);
    let mut claim = server.put(&path, claim).await.expect(200);
    assert_eq!(claim["status"]["devices"][0]["device"], "one");
    // Who takes the allocation away may not know of devices.
    claim["status"]
        .as_object_mut()
        .unwrap()
        .remove("allocation");
    let claim = server.put(&path, claim).await.expect(200);
    assert_eq!(claim["status"]["devices"], Value::Null);
}
