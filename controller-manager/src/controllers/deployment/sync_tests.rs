//! Whole syncs against a server in memory, after deployment_controller_test.go.

use serde_json::json;

use super::super::test_server::{TestServer, cache, events, of_json};
use super::*;

struct Fixture {
    server: Arc<TestServer>,
    controller: DeploymentController,
    events: Box<dyn FnMut() -> Vec<String>>,
}

/// A controller whose caches show what `server` has.
fn fixture(server: Arc<TestServer>) -> Fixture {
    let (recorder, events) = events();
    let controller = DeploymentController {
        client: server.client(),
        recorder,
        deployments: cache(server.all()),
        replica_sets: cache(server.all()),
        pods: cache(server.all()),
        report_terminating: true,
        clock: Clock::fixed(jiff::Timestamp::from_second(1000).unwrap()),
    };
    Fixture {
        server,
        controller,
        events: Box::new(events),
    }
}

async fn sync(server: &Arc<TestServer>) -> (Vec<String>, Vec<String>) {
    let mut f = fixture(server.clone());
    let key = ObjectKey::new("ns", "web");
    f.controller.sync(&key).await.unwrap();
    (f.server.writes(), (f.events)())
}

fn deployment(replicas: i32, image: &str) -> Deployment {
    of_json(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {
            "replicas": replicas, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
}

fn counts(server: &TestServer) -> Vec<i32> {
    let mut sets = server.all::<ReplicaSet>();
    sets.sort_by_key(|set| set.metadata.annotations["deployment.kubernetes.io/revision"].clone());
    sets.iter().map(|set| set.spec.replicas.unwrap()).collect()
}

/// What the replicaset-controller and kubelets would do.
fn make_ready(server: &TestServer) {
    for mut set in server.all::<ReplicaSet>() {
        let replicas = set.spec.replicas.unwrap();
        set.status.replicas = replicas;
        set.status.ready_replicas = replicas;
        set.status.available_replicas = replicas;
        server.put(&set);
    }
}

#[tokio::test]
async fn a_rollout_goes_step_by_step() {
    let server = Arc::new(TestServer::default());
    server.put(&deployment(2, "one"));
    let (writes, events) = sync(&server).await;
    // Revision, ReplicaSet, the Progressing condition, the counts.
    assert!(
        writes.contains(&"POST replicasets".to_owned()),
        "{writes:?}"
    );
    let set = server.all::<ReplicaSet>().remove(0);
    let hash = set.metadata.labels["pod-template-hash"].clone();
    assert_eq!(set.metadata.name, format!("web-{hash}"));
    assert_eq!(
        set.spec.selector.as_ref().unwrap().match_labels["pod-template-hash"],
        hash
    );
    assert_eq!(set.spec.template.metadata.labels["pod-template-hash"], hash);
    assert_eq!(
        set.metadata.annotations["deployment.kubernetes.io/desired-replicas"],
        "2"
    );
    assert_eq!(
        set.metadata.annotations["deployment.kubernetes.io/max-replicas"],
        "3"
    );
    assert_eq!(
        events,
        [format!(
            "ScalingReplicaSet: Scaled up replica set web-{hash} from 0 to 2"
        )]
    );
    make_ready(&server);
    for _ in 0..3 {
        sync(&server).await;
    }
    // Settled: nothing more to write.
    assert_eq!(sync(&server).await, (vec![], vec![]));
    let done = server.all::<Deployment>().remove(0);
    let reason = |type_: &str| {
        done.status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    assert_eq!(
        reason("Progressing"),
        Some(("True".into(), "NewReplicaSetAvailable".into()))
    );
    assert_eq!(
        reason("Available"),
        Some(("True".into(), "MinimumReplicasAvailable".into()))
    );

    // A new template: one more, then one less, never less than wanted.
    let mut next = deployment(2, "two");
    next.metadata = done.metadata.clone();
    next.metadata.generation = 2;
    next.status = done.status;
    server.put(&next);
    let mut seen = vec![];
    for _ in 0..12 {
        sync(&server).await;
        if seen.last() != Some(&counts(&server)) {
            seen.push(counts(&server));
        }
        make_ready(&server);
    }
    assert_eq!(seen, [[2, 1], [1, 1], [1, 2], [0, 2]]);
    let done = server.all::<Deployment>().remove(0);
    assert_eq!(
        done.metadata.annotations["deployment.kubernetes.io/revision"],
        "2"
    );
    assert_eq!(done.status.updated_replicas, 2);

    // Back to the first template: its ReplicaSet is used again, as revision 3.
    let mut back = deployment(2, "one");
    back.metadata = done.metadata.clone();
    back.metadata.generation = 3;
    back.status = done.status;
    server.put(&back);
    for _ in 0..12 {
        sync(&server).await;
        make_ready(&server);
    }
    assert_eq!(server.all::<ReplicaSet>().len(), 2);
    let set = server.all::<ReplicaSet>();
    let first = set
        .iter()
        .find(|candidate| candidate.metadata.labels["pod-template-hash"] == hash)
        .unwrap();
    assert_eq!(first.spec.replicas, Some(2));
    assert_eq!(
        first.metadata.annotations["deployment.kubernetes.io/revision"],
        "3"
    );
    assert_eq!(
        first.metadata.annotations["deployment.kubernetes.io/revision-history"],
        "1"
    );
}

#[tokio::test]
async fn a_paused_deployment_scales_but_does_not_roll() {
    let server = Arc::new(TestServer::default());
    server.put(&deployment(2, "one"));
    sync(&server).await;
    make_ready(&server);
    for _ in 0..3 {
        sync(&server).await;
    }
    let done = server.all::<Deployment>().remove(0);
    let mut paused = deployment(4, "two");
    paused.metadata = done.metadata;
    paused.metadata.generation = 2;
    paused.status = done.status;
    paused.spec.paused = true;
    server.put(&paused);
    for _ in 0..4 {
        sync(&server).await;
    }
    assert_eq!(counts(&server), [4]);
}

#[tokio::test]
async fn a_selector_of_everything_is_refused() {
    let server = Arc::new(TestServer::default());
    let mut all = deployment(1, "one");
    all.spec.selector = Some(Box::default());
    server.put(&all);
    let (writes, events) = sync(&server).await;
    assert_eq!(writes, ["PUT deployments/web/status"]);
    assert_eq!(
        events,
        ["SelectingAll: This deployment is selecting all pods. A non-empty selector is required."]
    );
}

#[tokio::test]
async fn a_name_taken_by_another_counts_a_collision() {
    let server = Arc::new(TestServer::default());
    server.put(&deployment(1, "one"));
    sync(&server).await;
    // The same name, but another template and no owner of ours.
    let mut other = server.all::<ReplicaSet>().remove(0);
    other.metadata.owner_references.clear();
    other.metadata.labels = [("app".to_owned(), "other".to_owned())].into();
    other.spec.template = Default::default();
    let server = Arc::new(TestServer::default());
    server.put(&deployment(1, "one"));
    server.put(&other);
    let f = fixture(server.clone());
    let key = ObjectKey::new("ns", "web");
    assert!(f.controller.sync(&key).await.is_err());
    assert_eq!(
        server.all::<Deployment>()[0].status.collision_count,
        Some(1)
    );
    // With the count in the hash the name is free.
    sync(&server).await;
    assert_eq!(server.all::<ReplicaSet>().len(), 2);
}
