//! What servers tell of the versions that they store (gate StorageVersionAPI).

use serde_json::{Value, json};

use super::encryption::eventually;
use super::{CONFIG_MAPS, Server, config_map};

const VERSIONS: &str = "/apis/internal.apiserver.k8s.io/v1alpha1/storageversions";
const HOOK: &str = "/readyz/poststarthook/built-in-resources-storage-version-updater";

fn flags(served: bool) -> [String; 2] {
    [
        "--feature-gates=StorageVersionAPI=true".to_owned(),
        format!("--runtime-config=internal.apiserver.k8s.io/v1alpha1={served}"),
    ]
}

impl Server {
    fn start_telling(&self) {
        apiserver::hooks::start(self.inner(), self.stop.clone());
        apiserver::storage_versions::start(self.inner(), self.stop.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_its_version_is_told() {
    let Some(server) = Server::start_with(&flags(true)).await else {
        return;
    };
    server.post(CONFIG_MAPS, config_map("a")).await.refuses(
        503,
        "wait for storage version registration to complete for resource: configmaps, last seen error: <nil>",
    );
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    server.delete(deployments, json!({})).await.refuses(
        503,
        "wait for storage version registration to complete for resource: deployments.apps, last seen error: <nil>",
    );
    assert_eq!(server.get(HOOK).await.code, 500);
    // Reads, reviews, Leases of kube-system and the versions themselves do not wait.
    server.get(CONFIG_MAPS).await.expect(200);
    let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    server.post(reviews, review).await.expect(201);
    let lease = json!({"metadata": {"name": "a"}});
    let leases =
        |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    server
        .post(&leases("kube-system"), lease.clone())
        .await
        .expect(404);
    assert_eq!(server.post(&leases("default"), lease).await.code, 503);
    let other = json!({"metadata": {"name": "example.com.others"}, "spec": {}});
    server.post(VERSIONS, other).await.expect(201);

    server.start_telling();
    eventually("all is told", async || server.get(HOOK).await.code == 200).await;
    eventually("there is a namespace", async || {
        server.post(CONFIG_MAPS, config_map("a")).await.code == 201
    })
    .await;
    let told = async |name: &str| {
        let told = server.get(&format!("{VERSIONS}/{name}")).await;
        told.expect(200)["status"].clone()
    };
    let leases = server.get(&leases("kube-system")).await.expect(200);
    let own = leases["items"][0]["metadata"]["name"].clone();
    let version = |encoding: &str, decodable: Value, served: Value| {
        json!([{
            "apiServerID": own, "encodingVersion": encoding, "decodableVersions": decodable, "servedVersions": served,
        }])
    };
    let scaling = told("autoscaling.horizontalpodautoscalers").await;
    let both = json!(["autoscaling/v2", "autoscaling/v1"]);
    let want = version("autoscaling/v2", both.clone(), both);
    assert_eq!(scaling["storageVersions"], want);
    assert_eq!(scaling["commonEncodingVersion"], "autoscaling/v2");
    let condition = &scaling["conditions"][0];
    assert_eq!(
        [
            &condition["type"],
            &condition["status"],
            &condition["reason"]
        ],
        [
            "AllEncodingVersionsEqual",
            "True",
            "CommonEncodingVersionSet"
        ]
    );
    let events = told("core.events").await;
    let want = version("v1", json!(["v1", "events.k8s.io/v1"]), json!(["v1"]));
    assert_eq!(events["storageVersions"], want);
    // One object for all groups.
    server
        .get(&format!("{VERSIONS}/events.k8s.io.events"))
        .await
        .expect(404);
    let definitions = told("apiextensions.k8s.io.customresourcedefinitions").await;
    let want = version(
        "apiextensions.k8s.io/v1beta1",
        json!(["apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1"]),
        json!(["apiextensions.k8s.io/v1"]),
    );
    assert_eq!(definitions["storageVersions"], want);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_are_not_served_writes_wait_for_ever() {
    let Some(server) = Server::start_with(&flags(false)).await else {
        return;
    };
    server.start_telling();
    eventually("it was tried", async || {
        let refused = server.post(CONFIG_MAPS, config_map("a")).await;
        refused.message().ends_with("last seen error: the server could not find the requested resource (post storageversions.internal.apiserver.k8s.io)")
    })
    .await;
    assert_eq!(server.get(HOOK).await.code, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_nothing_is_told() {
    let Some(server) = Server::start_with(&flags(true)[1..]).await else {
        return;
    };
    apiserver::storage_versions::start(server.inner(), server.stop.clone());
    server.namespace("default").await;
    server.post(CONFIG_MAPS, config_map("a")).await.expect(201);
    assert_eq!(server.get(HOOK).await.code, 404);
}
