//! Cluster IPs and node ports that do not fit the Services.

use std::time::Duration;

use serde_json::{Value, json};

use super::{MERGE, Server};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Server {
    async fn is_ready(&self) {
        apiserver::hooks::start(self.inner(), self.stop.clone());
        let hook = "/readyz/poststarthook/start-service-ip-repair-controllers";
        eventually("the loops have looked at everything", async || {
            self.get(hook).await.code == 200
        })
        .await;
    }

    /// Waits for an event, and returns its note.
    async fn event(&self, namespace: &str, reason: &str, name: &str) -> String {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let mut note = String::new();
        eventually(&format!("{reason} is told of {name}"), async || {
            let events = self.get(&path).await.json();
            let events = events["items"].as_array().unwrap().clone();
            let found = events
                .into_iter()
                .find(|event| event["reason"] == reason && event["regarding"]["name"] == name);
            if let Some(found) = &found {
                assert_eq!(found["type"], "Warning");
                note = found["note"].as_str().unwrap().to_owned();
            }
            found.is_some()
        })
        .await;
        note
    }

    async fn service_with(&self, name: &str, spec: Value) -> Value {
        let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        let all = service["spec"].as_object_mut().unwrap();
        all.extend(spec.as_object().unwrap().clone());
        self.post(SERVICES, service).await.expect(201)
    }
}

fn address(name: &str, parent: Value) -> Value {
    json!({
        "metadata": {"name": name, "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }},
        "spec": {"parentRef": parent},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_services_fit_each_other_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    server.is_ready().await;
    let service = server
        .service_with("s", json!({"clusterIP": "10.96.1.1"}))
        .await;
    let of_s = format!("{ADDRESSES}/10.96.1.1");
    let made = server.get(&of_s).await.expect(200);
    server
        .has_series(&[
            "kube_apiserver_clusterip_allocator_allocated_ips{cidr=\"10.96.0.0/16\"} ",
            "kube_apiserver_clusterip_allocator_allocation_total{cidr=\"10.96.0.0/16\",scope=\"static\"} ",
        ])
        .await;
    let anew = async |uid: &Value| {
        eventually("the address is there again", async || {
            let found = server.get(&of_s).await;
            found.code == 200 && found.json()["metadata"]["uid"] != *uid
        })
        .await;
        let found = server.get(&of_s).await.expect(200);
        assert_eq!(found["spec"], made["spec"]);
        assert_eq!(found["metadata"]["labels"], made["metadata"]["labels"]);
        found["metadata"]["uid"].clone()
    };
    // Somebody takes it away: the next look at the Service finds it.
    let touch = async |round: u32| {
        let patch = json!({"metadata": {"labels": {"round": round.to_string()}}}).to_string();
        let patched = server.patch(&format!("{SERVICES}/s"), MERGE, patch).await;
        patched.expect(200);
    };
    server.delete(&of_s, json!({})).await.expect(200);
    touch(1).await;
    let uid = anew(&made["metadata"]["uid"]).await;
    let note = server.event("default", "ClusterIPNotAllocated", "s").await;
    assert_eq!(
        note,
        "Cluster IP [IPv4]: 10.96.1.1 is not allocated; repairing"
    );
    // Or gives it other labels.
    let patch = json!({"metadata": {"labels": {"ipaddress.kubernetes.io/managed-by": null}}});
    let patched = server.patch(&of_s, MERGE, patch.to_string()).await;
    patched.expect(200);
    touch(2).await;
    anew(&uid).await;

    // An address of the allocator that no Service can have.
    let gateway = json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g"});
    let wrong = address("10.96.1.2", gateway);
    server.post(ADDRESSES, wrong).await.expect(201);
    eventually("it is removed", async || {
        server.get(&format!("{ADDRESSES}/10.96.1.2")).await.code == 404
    })
    .await;
    let note = server
        .event("default", "IPAddressNotAllocated", "10.96.1.2")
        .await;
    assert_eq!(
        note,
        "IPAddress 10.96.1.2 appears to have been modified, not referencing a Service &ParentReference{Group:gateway.networking.k8s.io,Resource:gateways,Namespace:default,Name:g,}: cleaning up"
    );
    // One that somebody else manages stays, as does one whose Service may still come.
    let mut other = address(
        "10.96.1.3",
        json!({"resource": "pods", "namespace": "default", "name": "p"}),
    );
    other["metadata"]["labels"] = json!({});
    server.post(ADDRESSES, other).await.expect(201);
    let parent = |name: &str| json!({"resource": "services", "namespace": "default", "name": name});
    let coming = address("10.96.1.4", parent("t"));
    server.post(ADDRESSES, coming).await.expect(201);
    // One that is not its Service's: that is known once the requests of that time must have ended.
    let wrong = address("10.96.1.5", parent("s"));
    server.post(ADDRESSES, wrong).await.expect(201);
    eventually("it is removed", async || {
        server.get(&format!("{ADDRESSES}/10.96.1.5")).await.code == 404
    })
    .await;
    let note = server
        .event("default", "IPAddressWrongReference", "10.96.1.5")
        .await;
    assert_eq!(
        note,
        "IPAddress: 10.96.1.5 for Service default/s has a wrong reference; cleaning up"
    );
    for name in ["10.96.1.3", "10.96.1.4"] {
        server.get(&format!("{ADDRESSES}/{name}")).await.expect(200);
    }
    let same = server.get(&format!("{SERVICES}/s")).await.expect(200);
    assert_eq!(same["spec"], service["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_services_are_taken_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let ports = |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    server.service_with("s", ports(30100)).await;
    server
        .has_series(&[
            "kube_apiserver_nodeport_allocator_allocated_ports 1\n",
            "kube_apiserver_nodeport_allocator_available_ports 2767\n",
            "kube_apiserver_nodeport_allocator_allocation_total{scope=\"static\"} 1\n",
        ])
        .await;
    let mut etcd = etcd_client::Client::connect([server._etcd.endpoint()], None)
        .await
        .unwrap();
    let deleted = etcd.delete("/registry/ranges/servicenodeports", None).await;
    assert_eq!(deleted.unwrap().deleted(), 1);

    let next = Server::serve(server._etcd.clone(), &[]).await;
    next.is_ready().await;
    let note = next.event("default", "PortNotAllocated", "s").await;
    assert_eq!(note, "Port 30100 is not allocated; repairing");
    let mut service = json!({"metadata": {"name": "t"}, "spec": ports(30100)});
    let refused = next.post(SERVICES, service.clone()).await;
    refused.refuses(422, "Service \"t\" is invalid: spec.ports[0].nodePort: Invalid value: 30100: provided port is already allocated");
    service["spec"] = ports(30101);
    next.post(SERVICES, service).await.expect(201);
    next.has_series(&["apiserver_nodeport_repair_port_errors_total{type=\"repair\"} 1\n"])
        .await;
}
