//! Whole syncs against a server in memory, after replica_set_test.go.

use serde_json::{Value, json};

use super::super::test_server::{TestServer, cache, events, of_json};
use super::*;

struct Fixture {
    server: Arc<TestServer>,
    controller: ReplicaSetController,
    events: Box<dyn FnMut() -> Vec<String>>,
}

fn fixture(set: &ReplicaSet, pods: Vec<Pod>) -> Fixture {
    let server = Arc::new(TestServer::default());
    server.put(set);
    pods.iter().for_each(|pod| server.put(pod));
    let (recorder, events) = events();
    let clock = Clock::fixed(Timestamp::from_second(1000).unwrap());
    let controller = ReplicaSetController {
        client: server.client(),
        owners: cache([set.clone()]),
        pods: cache(pods),
        control: PodControl {
            client: server.client(),
            recorder,
        },
        expectations: Arc::new(Expectations::new(clock.clone())),
        own_writes: Arc::new(OwnWrites::off()),
        report_terminating: true,
        deletion_age_ratio: None,
        clock,
    };
    Fixture {
        server,
        controller,
        events: Box::new(events),
    }
}

fn set(replicas: i32) -> ReplicaSet {
    of_json(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
    }))
}

fn pod(name: &str, owner: Option<&str>, labels: Value, phase: &str) -> Pod {
    let mut pod: Pod = of_json(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"nodeName": "node"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}]},
    }));
    if let Some(uid) = owner {
        let mut owner = new_controller_ref(&set(0));
        owner.uid = uid.into();
        pod.metadata.owner_references = vec![owner];
    }
    pod
}

fn mine(name: &str, phase: &str) -> Pod {
    pod(name, Some("u"), json!({"app": "web"}), phase)
}

fn key() -> ObjectKey {
    ObjectKey::new("ns", "web")
}

#[tokio::test]
async fn missing_pods_are_created_once() {
    let mut f = fixture(&set(3), vec![]);
    assert_eq!(f.controller.sync(&key()).await.unwrap(), Next::Done);
    let pods = f.server.all::<Pod>();
    assert_eq!(pods.len(), 3);
    assert!(
        pods.iter()
            .all(|pod| is_controlled_by(&pod.metadata, &set(3).metadata))
    );
    assert_eq!((f.events)().len(), 3);
    // The cache does not show the pods yet: the expectations keep the next sync from creating them again.
    f.server.writes();
    f.controller.sync(&key()).await.unwrap();
    assert_eq!(f.server.all::<Pod>().len(), 3);
}

#[tokio::test]
async fn surplus_pods_go_the_unready_first() {
    let pods = vec![
        mine("a", "Running"),
        mine("b", "Pending"),
        mine("c", "Running"),
    ];
    let mut f = fixture(&set(2), pods);
    f.controller.sync(&key()).await.unwrap();
    assert_eq!(
        f.server.writes(),
        ["DELETE pods/b", "PUT replicasets/web/status"]
    );
    assert_eq!((f.events)(), ["SuccessfulDelete: Deleted pod: b"]);
    let status = &f.server.all::<ReplicaSet>()[0].status;
    assert_eq!(
        (
            status.replicas,
            status.ready_replicas,
            status.observed_generation
        ),
        (3, 2, 2)
    );
}

#[tokio::test]
async fn matching_orphans_are_adopted_and_strays_released() {
    let pods = vec![
        pod("orphan", None, json!({"app": "web"}), "Running"),
        pod("stray", Some("u"), json!({"app": "other"}), "Running"),
        pod("foreign", Some("v"), json!({"app": "web"}), "Running"),
    ];
    let f = fixture(&set(1), pods);
    f.controller.sync(&key()).await.unwrap();
    let owner = |name: &str| {
        let pods = f.server.all::<Pod>();
        let pod = pods.iter().find(|pod| pod.metadata.name == name).unwrap();
        controller_of(&pod.metadata).map(|owner| owner.uid.clone())
    };
    assert_eq!(owner("orphan").as_deref(), Some("u"));
    assert_eq!(owner("stray"), None);
    assert_eq!(owner("foreign").as_deref(), Some("v"));
    let mut writes = f.server.writes();
    writes.sort();
    assert_eq!(
        writes,
        [
            "PATCH pods/orphan",
            "PATCH pods/stray",
            "PUT replicasets/web/status"
        ]
    );
}

#[tokio::test]
async fn finished_pods_do_not_count() {
    let f = fixture(&set(1), vec![mine("done", "Failed")]);
    f.controller.sync(&key()).await.unwrap();
    assert_eq!(f.server.all::<Pod>().len(), 2);
}

#[tokio::test]
async fn a_set_that_goes_neither_creates_nor_deletes() {
    let mut going = set(2);
    going.metadata.deletion_timestamp =
        Some(api_types::Time::from_timestamp(Timestamp::UNIX_EPOCH));
    let f = fixture(&going, vec![mine("a", "Running")]);
    f.controller.sync(&key()).await.unwrap();
    assert_eq!(f.server.writes(), ["PUT replicasets/web/status"]);
}

#[tokio::test]
async fn an_unchanged_status_is_not_written() {
    let mut settled = set(1);
    settled.status.replicas = 1;
    settled.status.fully_labeled_replicas = 1;
    settled.status.ready_replicas = 1;
    settled.status.available_replicas = 1;
    settled.status.observed_generation = 2;
    settled.status.terminating_replicas = Some(0);
    let f = fixture(&settled, vec![mine("a", "Running")]);
    f.controller.sync(&key()).await.unwrap();
    assert!(f.server.writes().is_empty());
}

#[tokio::test]
async fn a_refused_pod_is_reported_and_retried() {
    let mut f = fixture(&set(4), vec![]);
    f.server.refuse("pods");
    assert!(f.controller.sync(&key()).await.is_err());
    // Slow start: only the first batch of one was tried.
    assert_eq!(
        f.server.writes(),
        ["POST pods", "PUT replicasets/web/status"]
    );
    assert!((f.events)()[0].starts_with("FailedCreate: Error creating: "));
    let status = &f.server.all::<ReplicaSet>()[0].status;
    assert_eq!(status.conditions[0].type_, "ReplicaFailure");
    assert_eq!(status.conditions[0].reason, "FailedCreate");
    // Nothing is expected of the cache, so the retry tries again.
    assert!(f.controller.sync(&key()).await.is_err());
    assert_eq!(f.server.writes()[0], "POST pods");
}
