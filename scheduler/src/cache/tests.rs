use super::counters::Question;
use super::*;

use apimachinery::labels::Selector;

fn node(name: &str, zone: &str) -> Arc<Node> {
    let json = serde_json::json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "1Gi", "pods": "10"},
            "images": [{"names": ["img:1"], "sizeBytes": 1000}],
        },
    });
    Arc::new(api_types::decode_json(json.to_string().as_bytes()).unwrap())
}

fn pod(name: &str, node: &str) -> Arc<Pod> {
    let json = serde_json::json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "x"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "ports": [{"hostPort": 80, "containerPort": 80}],
                "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}],
        },
    });
    Arc::new(api_types::decode_json(json.to_string().as_bytes()).unwrap())
}

fn info(name: &str) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(pod(name, "")))
}

fn requested(snapshot: &Snapshot, node: &str) -> i64 {
    snapshot.get(node).unwrap().requested.milli_cpu
}

#[test]
fn assumed_pods_count_until_forgotten() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("n", "z"));
    cache.assume(info("p"), "n").unwrap();
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "n"), 500);
    assert!(snapshot.is_claim_used("ns/claim"));
    assert!(cache.is_assumed(&pod("p", "")));
    assert_eq!(
        cache.assume(info("p"), "n"),
        Err(CacheError::AlreadyThere {
            name: "ns/p".into(),
            uid: "p".into()
        })
    );
    cache.forget(&pod("p", "")).unwrap();
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "n"), 0);
    assert!(!snapshot.is_claim_used("ns/claim"));
    assert!(snapshot.get("n").unwrap().used_ports.is_empty());
}

#[test]
fn a_confirmed_pod_is_not_forgotten() {
    let cache = Cache::default();
    cache.set_node(&node("n", "z"));
    cache.assume(info("p"), "n").unwrap();
    cache.add_pod(&pod("p", "n"));
    assert!(!cache.is_assumed(&pod("p", "n")));
    assert!(cache.forget(&pod("p", "n")).is_err());
    assert_eq!(
        cache.sizes(),
        Sizes {
            nodes: 1,
            pods: 1,
            assumed_pods: 0
        }
    );
}

#[test]
fn a_pod_bound_elsewhere_moves() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("a", "z"));
    cache.set_node(&node("b", "z"));
    cache.assume(info("p"), "a").unwrap();
    cache.update_snapshot(&mut snapshot);
    cache.add_pod(&pod("p", "b"));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "a"), 0);
    assert_eq!(requested(&snapshot, "b"), 500);
}

#[test]
fn a_snapshot_does_not_move() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("n", "z"));
    cache.update_snapshot(&mut snapshot);
    cache.add_pod(&pod("p", "n"));
    assert_eq!(requested(&snapshot, "n"), 0);
    let before = snapshot.get("n").unwrap().generation;
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "n"), 500);
    assert!(snapshot.get("n").unwrap().generation > before);
}

#[test]
fn nodes_without_object_are_not_listed() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.add_pod(&pod("p", "n"));
    cache.update_snapshot(&mut snapshot);
    assert!(snapshot.nodes().is_empty() && snapshot.get("n").is_none());
    cache.set_node(&node("n", "z"));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "n"), 500);
    cache.remove_node(&node("n", "z"));
    cache.update_snapshot(&mut snapshot);
    assert!(snapshot.nodes().is_empty());
    // The slot is used again only when the pod is gone.
    cache.set_node(&node("other", "z"));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(requested(&snapshot, "other"), 0);
    cache.remove_pod(&pod("p", "n"));
    assert_eq!(cache.sizes().nodes, 1);
}

#[test]
fn order_goes_round_zones_and_follows_changes() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        cache.set_node(&node(name, zone));
    }
    cache.update_snapshot(&mut snapshot);
    let names = |snapshot: &Snapshot| -> Vec<String> {
        snapshot
            .nodes()
            .iter()
            .map(|info| info.name().to_owned())
            .collect()
    };
    assert_eq!(names(&snapshot), ["a1", "b1", "a2"]);
    cache.remove_node(&node("b1", "b"));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(names(&snapshot), ["a1", "a2"]);
}

#[test]
fn columns_follow_labels() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("a", "x"));
    cache.set_node(&node("b", "x"));
    cache.update_snapshot(&mut snapshot);
    let key = "topology.kubernetes.io/zone";
    let slot = |snapshot: &Snapshot, name: &str| snapshot.get(name).unwrap().slot;
    let column = snapshot.column(key);
    assert_eq!(
        column.value(slot(&snapshot, "a")),
        column.value(slot(&snapshot, "b"))
    );
    cache.set_node(&node("b", "y"));
    cache.update_snapshot(&mut snapshot);
    let column = snapshot.column(key);
    assert_ne!(
        column.value(slot(&snapshot, "a")),
        column.value(slot(&snapshot, "b"))
    );
    assert_eq!(snapshot.column("none").value(0), None);
}

#[test]
fn counts_are_of_the_snapshot() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("n", "z"));
    cache.add_pod(&pod("p", "n"));
    cache.update_snapshot(&mut snapshot);
    let question = || Question::spreading("ns", Selector::parse("app=x").unwrap());
    let slot = snapshot.get("n").unwrap().slot;
    assert_eq!(snapshot.count(question()).get(&slot), Some(&1));
    cache.add_pod(&pod("q", "n"));
    assert_eq!(snapshot.count(question()).get(&slot), Some(&1));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(snapshot.count(question()).get(&slot), Some(&2));
    let mut terminating = (*pod("q", "n")).clone();
    terminating.metadata.deletion_timestamp = Some(api_types::Time::now());
    cache.update_pod(&Arc::new(terminating));
    cache.update_snapshot(&mut snapshot);
    assert_eq!(snapshot.count(question()).get(&slot), Some(&1));
}

#[test]
fn images_count_nodes() {
    let cache = Cache::default();
    let mut snapshot = Snapshot::default();
    cache.set_node(&node("a", "z"));
    cache.set_node(&node("b", "z"));
    cache.update_snapshot(&mut snapshot);
    let image = snapshot.get("a").unwrap().images["img:1"].clone();
    assert_eq!((image.size, image.num_nodes()), (1000, 2));
    cache.remove_node(&node("b", "z"));
    assert_eq!(image.num_nodes(), 1);
}
