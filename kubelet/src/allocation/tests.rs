//! Behaviours of upstream's `allocation_manager_test.go`, on a node with 4 CPUs and 4 GiB.

use std::collections::BTreeMap;

use api_types::core::v1::{Container, ResourceRequirements};

use super::*;
use crate::admission::check_fit;
use crate::node::NodeInfo;
use crate::node::machine::Machine;
use crate::pod_resources::tests::{container, list};

const FEATURES: ResizeFeatures = ResizeFeatures {
    pod_level: true,
    init_containers: true,
};

struct Host {
    node: NodeInfo,
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    synced: Mutex<Vec<String>>,
    ready: Mutex<bool>,
}

impl AllocationHost for Host {
    fn admit(&self, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Rejection> {
        check_fit(pod, others, &self.node)
    }

    fn active_pods(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().values().cloned().collect()
    }

    fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.lock().get(uid).cloned()
    }

    fn sources_ready(&self) -> bool {
        *self.ready.lock()
    }

    fn sync_now(&self, pod: &Arc<Pod>) {
        self.synced.lock().push(pod.metadata.uid.clone());
    }
}

struct Fixture {
    host: Host,
    manager: AllocationManager,
    conditions: Arc<ResizeConditions>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
}

fn fixture() -> Fixture {
    let resources = list(&[("cpu", "4"), ("memory", "4Gi"), ("pods", "110")]);
    let ip = "10.0.0.1".parse().expect("ip");
    let machine = Machine::default();
    let node = NodeInfo::new("n", "n", machine, &[ip], resources.clone(), resources);
    let (recorder, metrics) = (Arc::new(Recorder::in_memory()), Metrics::for_tests());
    let conditions = Arc::new(ResizeConditions::new(metrics.clone()));
    let manager = AllocationManager::new(
        ResourceState::in_memory(),
        FEATURES,
        conditions.clone(),
        recorder.clone(),
        metrics.clone(),
    );
    Fixture {
        host: Host {
            node,
            pods: Mutex::default(),
            synced: Mutex::default(),
            ready: Mutex::new(true),
        },
        manager,
        conditions,
        recorder,
        metrics,
    }
}

fn pod(uid: &str, containers: Vec<Container>) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = uid.into();
    pod.metadata.name = uid.into();
    pod.metadata.generation = 1;
    pod.spec.containers = containers;
    pod
}

fn asks(cpu: &str, memory: &str) -> Vec<Container> {
    vec![container("c", &[("cpu", cpu), ("memory", memory)], &[])]
}

impl Fixture {
    fn add(&self, pod: Pod) -> Result<(), Rejection> {
        let pod = Arc::new(pod);
        let uid = pod.metadata.uid.clone();
        self.host.pods.lock().insert(uid, pod.clone());
        self.manager.add_pod(&self.host, &pod)
    }

    /// The pod asks for other resources.
    fn change(&self, uid: &str, change: impl FnOnce(&mut Pod)) {
        let mut pods = self.host.pods.lock();
        let slot = pods.get_mut(uid).expect("pod");
        let mut pod = Pod::clone(slot);
        pod.metadata.generation += 1;
        change(&mut pod);
        *slot = Arc::new(pod);
    }

    fn resize(&self, uid: &str, cpu: &str, memory: &str) {
        self.change(uid, |pod| pod.spec.containers = asks(cpu, memory));
        self.manager.push_pending(&self.host, uid);
        self.manager.retry_pending(&self.host, Trigger::PodUpdated);
    }

    fn granted(&self, uid: &str) -> ResourceRequirements {
        let pod = self.host.pod(uid).expect("pod");
        let pod = self.manager.allocated_pod(&pod);
        pod.spec.containers[0].resources.clone()
    }

    fn conditions(&self, uid: &str) -> Vec<(String, String, String)> {
        self.conditions
            .list(uid)
            .into_iter()
            .map(|c| (c.type_, c.reason, c.message))
            .collect()
    }
}

/// One resize of the first of two pods that have 1 CPU and 1 GiB each. `message`: it waits.
#[track_caller]
fn check_resize(cpu: &str, memory: &str, message: Option<&str>) {
    let f = fixture();
    f.add(pod("1", asks("1", "1Gi"))).expect("fits");
    f.add(pod("2", asks("1", "1Gi"))).expect("fits");
    f.resize("1", cpu, memory);
    let conditions = f.conditions("1");
    let events = f.recorder.taken();
    match message {
        None => {
            assert_eq!(f.granted("1"), asks(cpu, memory)[0].resources);
            assert_eq!(
                conditions,
                [("PodResizeInProgress".into(), String::new(), String::new())]
            );
            assert!(
                events[0].starts_with("Normal ResizeStarted Pod resize started: {\"containers\""),
                "{events:?}"
            );
            assert!(!f.manager.has_pending());
        }
        Some(message) => {
            assert_eq!(f.granted("1"), asks("1", "1Gi")[0].resources);
            assert_eq!(
                conditions,
                [("PodResizePending".into(), "Deferred".into(), message.into())]
            );
            assert!(
                events[0].starts_with("Warning ResizeDeferred Pod resize OutOf"),
                "{events:?}"
            );
            assert!(f.manager.has_pending());
        }
    }
    assert_eq!(*f.host.synced.lock(), ["1"]);
}

#[test]
fn resizes_that_fit_are_granted() {
    check_resize("500m", "500Mi", None);
    check_resize("1500m", "500Mi", None);
    check_resize("500m", "1500Mi", None);
    check_resize("3", "3Gi", None);
    check_resize(
        "3500m",
        "1Gi",
        Some("Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000"),
    );
    check_resize(
        "1",
        "4500Mi",
        Some(
            "Node didn't have enough resource: memory, requested: 4718592000, used: 1073741824, capacity: 4294967296",
        ),
    );
}

#[test]
fn deferred_resizes_are_granted_when_something_is_free() {
    let f = fixture();
    f.add(pod("1", asks("1", "1Gi"))).expect("fits");
    f.add(pod("2", asks("2", "1Gi"))).expect("fits");
    f.resize("1", "3", "1Gi");
    assert!(f.conditions.is_deferred("1"));
    // Looked at again, nothing new: nobody is told.
    f.recorder.taken();
    f.host.synced.lock().clear();
    f.manager.retry_pending(&f.host, Trigger::Periodic);
    assert!(f.recorder.taken().is_empty() && f.host.synced.lock().is_empty());

    f.host.pods.lock().remove("2");
    *f.host.ready.lock() = false;
    f.manager.retry_pending(&f.host, Trigger::PodsRemoved);
    assert!(f.conditions.is_deferred("1"));
    *f.host.ready.lock() = true;
    f.manager.retry_pending(&f.host, Trigger::PodsRemoved);
    assert_eq!(f.granted("1"), asks("3", "1Gi")[0].resources);
    assert_eq!(*f.host.synced.lock(), ["1"]);
    let accepted = &f.metrics.pod_deferred_accepted_resizes;
    assert_eq!(accepted.with_label_values(&["pods_removed"]).get(), 1.0);
}

#[test]
fn a_deferred_resize_leaves_the_one_in_progress_alone() {
    let f = fixture();
    f.add(pod("1", asks("1", "1Gi"))).expect("fits");
    f.conditions.set_in_progress("1", Some("broke"), 1);
    f.resize("1", "5", "1Gi");
    assert_eq!(
        f.conditions("1")[1],
        ("PodResizeInProgress".into(), "Error".into(), "broke".into())
    );
    // A grant starts anew, with the version of the pod that asked for it.
    f.resize("1", "2", "1Gi");
    let conditions = f.conditions.list("1");
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0].message, "");
    assert_eq!(conditions[0].observed_generation, 3);
}

#[test]
fn a_wish_that_is_taken_back_waits_no_longer() {
    let f = fixture();
    f.add(pod("1", asks("1", "1Gi"))).expect("fits");
    f.resize("1", "5", "1Gi");
    f.resize("1", "1", "1Gi");
    assert!(f.conditions("1").is_empty());
    assert!(!f.manager.has_pending());
}

#[test]
fn pods_of_the_kubelet_before_come_in_with_what_they_had() {
    let f = fixture();
    f.add(pod("1", asks("1", "1Gi"))).expect("fits");
    f.add(pod("2", asks("3", "1Gi"))).expect("fits");
    // It asks for more than there is now, but that is another matter.
    f.add(pod("1", asks("3", "1Gi"))).expect("fits as it was");
    assert_eq!(f.granted("1"), asks("1", "1Gi")[0].resources);
    let rejection = f.add(pod("3", asks("1", "1Gi"))).expect_err("too much");
    assert_eq!(rejection.reason, "OutOfcpu");
    f.manager.remove_pod("1");
    assert_eq!(f.granted("1"), asks("3", "1Gi")[0].resources);
}

#[test]
fn the_pods_own_resources() {
    let f = fixture();
    let whole = |cpu: &str| {
        Some(Box::new(ResourceRequirements {
            requests: list(&[("cpu", cpu)]),
            ..Default::default()
        }))
    };
    let mut first = pod("1", asks("500m", "1Gi"));
    first.spec.resources = whole("1");
    f.add(first).expect("fits");
    for (cpu, fits) in [("2", true), ("5", false)] {
        f.change("1", |pod| pod.spec.resources = whole(cpu));
        f.manager.push_pending(&f.host, "1");
        f.manager.retry_pending(&f.host, Trigger::PodUpdated);
        let granted = f
            .manager
            .allocated_pod(&f.host.pod("1").expect("pod"))
            .spec
            .resources
            .clone();
        assert_eq!(granted, whole("2"));
        assert_eq!(f.conditions.is_deferred("1"), !fits);
    }
}

#[track_caller]
fn check_increase(old: &Pod, new: &Pod, want: bool) {
    assert_eq!(increases_requests(old, new), want);
}

#[test]
fn what_increases_requests() {
    let of = |cpu: &str, memory: &str| pod("1", asks(cpu, memory));
    let base = of("1", "1Gi");
    check_increase(&base, &base, false);
    check_increase(&base, &of("2", "1Gi"), true);
    check_increase(&base, &of("2", "1Mi"), true);
    check_increase(&base, &of("500m", "2Gi"), true);
    check_increase(&base, &of("500m", "1Mi"), false);
    check_increase(&base, &pod("1", Vec::new()), false);
    check_increase(&pod("1", Vec::new()), &base, true);
    let two = |a: &str, b: &str| {
        let cpu = |name, cpu| container(name, &[("cpu", cpu)], &[]);
        pod("1", vec![cpu("a", a), cpu("b", b)])
    };
    check_increase(&two("1", "2"), &two("2", "1"), false);
    let mut whole = two("1", "1");
    whole.spec.resources = Some(Box::new(ResourceRequirements {
        requests: list(&[("cpu", "4")]),
        ..Default::default()
    }));
    let mut more_inside = whole.clone();
    more_inside.spec.containers = two("2", "1").spec.containers;
    check_increase(&whole, &more_inside, false);
}

#[test]
fn most_urgent_first() {
    let f = fixture();
    for uid in ["0", "1", "2", "3", "4", "5"] {
        f.manager
            .grant(&pod(uid, asks("1", "1Gi")))
            .expect("in memory");
        let mut wants = pod(uid, asks("1500m", "1500Mi"));
        match uid {
            // It shrinks.
            "0" => wants.spec.containers = asks("500m", "500Mi"),
            "1" => wants.spec.priority = Some(100),
            "2" => wants.status.qos_class = "Guaranteed".into(),
            // The fifth waits for the first time.
            "3" | "4" => {
                f.conditions.set_pending(uid, "OutOfcpu", "no", 1);
            }
            _ => {}
        }
        f.host.pods.lock().insert(uid.into(), Arc::new(wants));
    }
    for order in [
        ["0", "1", "2", "3", "4", "5"],
        ["5", "4", "3", "2", "1", "0"],
    ] {
        f.manager.pending.lock().clear();
        for uid in order {
            f.manager.push_pending(&f.host, uid);
        }
        assert_eq!(*f.manager.pending.lock(), ["0", "1", "2", "3", "4", "5"]);
    }
}

#[test]
fn operations_of_a_change() {
    let old = pod(
        "1",
        vec![container("c", &[("cpu", "1")], &[("memory", "1Gi")])],
    );
    let new = pod(
        "1",
        vec![container(
            "c",
            &[("cpu", "2"), ("memory", "1Gi")],
            &[("memory", "500Mi")],
        )],
    );
    let got: Vec<(&str, &str, &str)> = resize_operations(&old, &new, FEATURES)
        .iter()
        .map(|op| (op.resource, op.requirement, op.operation))
        .collect();
    assert_eq!(
        got,
        [
            ("memory", "requests", "add"),
            ("memory", "limits", "decrease"),
            ("cpu", "requests", "increase")
        ]
    );
    let removed = pod("1", asks("1", "1Gi"));
    let got = resize_operations(&new, &removed, FEATURES);
    assert!(got.iter().any(|op| op.operation == "remove"));
}

#[test]
fn the_pod_with_its_grant() {
    let wants = Arc::new(pod("1", asks("2", "1Gi")));
    let check = |granted: &PodResources| with_allocation(&wants, granted, FEATURES);
    assert!(check(&allocation_of(&wants, FEATURES)).is_none());
    // A container that was never granted anything stays as it is.
    assert!(check(&PodResources::default()).is_none());
    let granted = allocation_of(&pod("1", asks("1", "1Gi")), FEATURES);
    let got = check(&granted).expect("differs");
    assert_eq!(
        got.spec.containers[0].resources,
        asks("1", "1Gi")[0].resources
    );
}
