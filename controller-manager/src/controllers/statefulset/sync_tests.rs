//! Whole syncs against a server in memory, after stateful_set_control_test.go.

use serde_json::json;

use super::super::test_server::{TestServer, cache, events, of_json};
use super::*;

async fn sync(server: &Arc<TestServer>) -> (Vec<String>, Vec<String>) {
    let (recorder, mut events) = events();
    let own_writes = Arc::new(OwnWrites::off());
    let controller = StatefulSetController {
        client: server.client(),
        sets: cache(server.all()),
        pods: cache(server.all()),
        pods_control: StatefulPods {
            client: server.client(),
            recorder,
            claims: cache(server.all()),
            own_writes: own_writes.clone(),
        },
        history: History {
            client: server.client(),
            revisions: cache(server.all()),
        },
        own_writes,
        semantic_revisions: true,
        use_max_unavailable: false,
        clock: Clock::fixed(jiff::Timestamp::from_second(1000).unwrap()),
    };
    controller.sync(&ObjectKey::new("ns", "db")).await.unwrap();
    (server.writes(), events())
}

fn set(replicas: i32, image: &str) -> StatefulSet {
    of_json(json!({
        "metadata": {"name": "db", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {
            "replicas": replicas, "serviceName": "db", "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        },
    }))
}

fn make_ready(server: &TestServer) {
    for mut pod in server.all::<Pod>() {
        pod.status = of_json::<Pod>(json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})).status;
        server.put(&pod);
    }
}

fn pods(server: &TestServer) -> Vec<String> {
    let describe = |pod: &Pod| format!("{} {}", pod.metadata.name, pod.spec.containers[0].image);
    server.all().iter().map(describe).collect()
}

#[tokio::test]
async fn pods_come_in_order_and_roll_from_the_last() {
    let server = Arc::new(TestServer::default());
    server.put(&set(2, "one"));
    let (_, events) = sync(&server).await;
    assert_eq!(pods(&server), ["db-0 one"]);
    assert_eq!(
        events,
        [
            "SuccessfulCreate: Create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "SuccessfulCreate: Create Pod db-0 in StatefulSet db successful",
        ]
    );
    // The first is not ready: the second waits.
    sync(&server).await;
    assert_eq!(pods(&server).len(), 1);
    make_ready(&server);
    sync(&server).await;
    make_ready(&server);
    sync(&server).await;
    assert_eq!(pods(&server), ["db-0 one", "db-1 one"]);
    let first = server.all::<Pod>().remove(0);
    assert_eq!(first.metadata.labels["apps.kubernetes.io/pod-index"], "0");
    assert_eq!(
        first.metadata.labels["statefulset.kubernetes.io/pod-name"],
        "db-0"
    );
    assert_eq!(first.spec.hostname, "db-0");
    assert_eq!(first.spec.subdomain, "db");
    let claim = first.spec.volumes[0]
        .volume_source
        .persistent_volume_claim
        .as_ref();
    assert_eq!(claim.unwrap().claim_name, "data-db-0");
    assert_eq!(sync(&server).await, (vec![], vec![]));

    let old = server.all::<StatefulSet>().remove(0);
    let mut next = set(2, "two");
    next.metadata = old.metadata.clone();
    next.metadata.generation = 2;
    next.status = old.status;
    server.put(&next);
    let mut seen = vec![];
    for _ in 0..8 {
        sync(&server).await;
        if seen.last() != Some(&pods(&server)) {
            seen.push(pods(&server));
        }
        make_ready(&server);
    }
    assert_eq!(
        seen,
        [
            vec!["db-0 one"],
            vec!["db-0 one", "db-1 two"],
            vec!["db-1 two"],
            vec!["db-0 two", "db-1 two"],
        ]
    );
    assert_eq!(server.all::<ControllerRevision>().len(), 2);
    let status = server.all::<StatefulSet>().remove(0).status;
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!((status.updated_replicas, status.ready_replicas), (2, 2));

    // Scaling in takes the last pod and leaves its claim.
    let mut less = server.all::<StatefulSet>().remove(0);
    less.spec.replicas = Some(1);
    server.put(&less);
    sync(&server).await;
    assert_eq!(pods(&server), ["db-0 two"]);
    assert_eq!(server.all::<PersistentVolumeClaim>().len(), 2);
}

#[tokio::test]
async fn a_partition_keeps_the_lower_pods() {
    let server = Arc::new(TestServer::default());
    server.put(&set(3, "one"));
    for _ in 0..4 {
        sync(&server).await;
        make_ready(&server);
    }
    let old = server.all::<StatefulSet>().remove(0);
    let mut next = set(3, "two");
    next.metadata = old.metadata;
    next.status = old.status;
    let strategy = next.spec.update_strategy.rolling_update.as_mut().unwrap();
    strategy.partition = Some(2);
    server.put(&next);
    for _ in 0..4 {
        sync(&server).await;
        make_ready(&server);
    }
    assert_eq!(pods(&server), ["db-0 one", "db-1 one", "db-2 two"]);
    let status = server.all::<StatefulSet>().remove(0).status;
    assert_ne!(status.current_revision, status.update_revision);
}

#[tokio::test]
async fn a_failed_pod_is_replaced() {
    let server = Arc::new(TestServer::default());
    server.put(&set(1, "one"));
    sync(&server).await;
    let mut pod = server.all::<Pod>().remove(0);
    pod.status.phase = "Failed".into();
    server.put(&pod);
    let (writes, events) = sync(&server).await;
    assert!(
        writes.contains(&"DELETE pods/db-0".to_owned()),
        "{writes:?}"
    );
    assert_eq!(
        events,
        ["SuccessfulDelete: Delete Pod db-0 in StatefulSet db successful"]
    );
}
