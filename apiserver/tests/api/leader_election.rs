//! Coordinated leader election: who says that they could lead, and who does.

use std::time::Duration;

use serde_json::{Value, json};

use super::{MERGE, Server};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const CANDIDATES: &str = "/apis/coordination.k8s.io/v1beta1/namespaces/kube-system/leasecandidates";
const HOOK: &str =
    "/readyz/poststarthook/start-kube-apiserver-coordinated-leader-election-controller";

fn now() -> String {
    api_types::MicroTime::now().to_string()
}

fn candidate(name: &str, version: &str, renewed: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"leaseName": "component", "binaryVersion": version, "emulationVersion": version,
                 "strategy": "OldestEmulationVersion", "renewTime": renewed},
    })
}

impl Server {
    /// Candidates that are asked whether they are alive say so.
    async fn answer_pings(&self) {
        let candidates = self.get(CANDIDATES).await.json();
        for candidate in candidates["items"].as_array().unwrap() {
            let spec = &candidate["spec"];
            let time = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
            if time("pingTime") > time("renewTime") {
                let path = format!(
                    "{CANDIDATES}/{}",
                    candidate["metadata"]["name"].as_str().unwrap()
                );
                let renewed = json!({"spec": {"renewTime": now()}}).to_string();
                self.patch(&path, MERGE, renewed).await.expect(200);
            }
        }
    }

    /// Waits for a spec that is as it should be.
    async fn spec(&self, path: &str, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            let answer = self.get(path).await;
            let spec = answer.json()["spec"].clone();
            if answer.code == 200 && is_right(&spec) {
                return spec;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what}: {spec}");
            self.answer_pings().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidate_with_the_oldest_emulation_version_leads() {
    let flags = [
        "--feature-gates=CoordinatedLeaderElection=true".to_owned(),
        "--runtime-config=coordination.k8s.io/v1beta1=true".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("kube-system").await;
    let expired = candidate("expired", "1.0.0", "2020-01-01T00:00:00.000000Z");
    server.post(CANDIDATES, expired).await.expect(201);
    assert_eq!(server.get(HOOK).await.code, 500);
    apiserver::hooks::start(server.inner(), server.stop.clone());
    assert_eq!(server.get(HOOK).await.code, 200);

    // One API server of all elects.
    let own = format!("{LEASES}/leader-election-controller");
    let held = server
        .spec(&own, "a server elects", |spec| {
            spec["holderIdentity"].is_string()
        })
        .await;
    assert_eq!(held["leaseDurationSeconds"], 15);

    let lease = format!("{LEASES}/component");
    server
        .post(CANDIDATES, candidate("new", "1.36.0", &now()))
        .await
        .expect(201);
    let held = server
        .spec(&lease, "the only candidate leads", |spec| {
            spec["holderIdentity"] == "new"
        })
        .await;
    assert_eq!(held["strategy"], "OldestEmulationVersion");
    assert_eq!(held["leaseDurationSeconds"], 5);

    // A better one comes. Who leads is asked to leave, and is elected no more when the Lease has run out.
    server
        .post(CANDIDATES, candidate("old", "1.35.0", &now()))
        .await
        .expect(201);
    server
        .spec(&lease, "the older one is preferred or leads", |spec| {
            spec["preferredHolder"] == "old" || spec["holderIdentity"] == "old"
        })
        .await;
    server
        .spec(&lease, "the older one leads", |spec| {
            spec["holderIdentity"] == "old"
        })
        .await;

    let asked = server.get(&format!("{CANDIDATES}/new")).await.json();
    assert!(asked["spec"]["pingTime"].is_string(), "{asked}");

    // Who has not renewed itself for half an hour is no candidate.
    let gone = async {
        while server.get(&format!("{CANDIDATES}/expired")).await.code != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the garbage is collected");
}

/// As upstream, without the feature there is no such hook.
#[tokio::test]
async fn nobody_is_elected_without_the_feature() {
    let Some(server) = Server::start().await else {
        return;
    };
    assert_eq!(server.get(HOOK).await.code, 404);
}
