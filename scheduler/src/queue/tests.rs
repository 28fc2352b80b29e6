use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;

use super::*;
use crate::framework::event::{Action, EventResource};
use crate::framework::plugin::Plugin;
use crate::framework::status::{Status, Verdict};
use crate::plugins::priority_sort::PrioritySort;
use crate::plugins::scheduling_gates::SchedulingGates;
use crate::plugins::testing::pod as pod_from;

const START: Nanos = 1_000 * SECOND;
const NODE_ADDED: ClusterEvent = ClusterEvent::new(EventResource::Node, Action::ADD);
const NODE_TAINT: ClusterEvent = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_TAINT);

pub(crate) fn queued(name: &str, timestamp: Nanos) -> QueuedPodInfo {
    QueuedPodInfo::new(Arc::new(PodInfo::new(pod(name, 0))), timestamp)
}

fn pod(name: &str, priority: i32) -> Arc<Pod> {
    Arc::new(pod_from(
        json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"schedulerName": "s", "priority": priority}}),
    ))
}

struct Gate(parking_lot::Mutex<bool>);

impl Plugin for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }
}

impl PreEnqueue for Gate {
    fn pre_enqueue(&self, _: &Pod) -> Verdict {
        if *self.0.lock() {
            return Err(Status::unresolvable("closed"));
        }
        Ok(())
    }
}

struct Fixture {
    queue: SchedulingQueue,
    now: Arc<AtomicI64>,
    gate: Arc<Gate>,
}

impl Fixture {
    /// "A" wants nodes that come, "B" taints that go and skips them, "P" waits for a node's labels.
    fn new() -> Self {
        let now = Arc::new(AtomicI64::new(START));
        let clock = now.clone();
        let gate = Arc::new(Gate(parking_lot::Mutex::new(false)));
        let labels = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_LABEL);
        let gates = ClusterEvent::new(
            EventResource::Pod,
            Action::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
        );
        let hooks = ProfileHooks {
            pre_enqueue: vec![Arc::new(SchedulingGates), gate.clone()],
            hints: vec![
                (NODE_ADDED, "A", None),
                (NODE_TAINT, "B", Some(Arc::new(|_, _| Ok(Hint::Skip)))),
                (labels, "P", None),
                (gates, "SchedulingGates", None),
            ],
        };
        Self {
            queue: SchedulingQueue::new(Options {
                initial_backoff: Duration::from_secs(1),
                max_backoff: Duration::from_secs(10),
                max_in_unschedulable_pods: Duration::from_secs(300),
                clock: Arc::new(move || clock.load(Ordering::Relaxed)),
                profiles: HashMap::from([("s".to_owned(), hooks)]),
                queue_sort: Arc::new(PrioritySort),
                pods: None,
                metrics: Metrics::for_tests(),
            }),
            now,
            gate,
        }
    }

    fn pass(&self, seconds: f64) {
        self.now
            .fetch_add((seconds * SECOND as f64) as i64, Ordering::Relaxed);
    }

    /// Adds a pod, takes it and has it turned down.
    fn turned_down(&self, name: &str, plugins: &[&'static str]) {
        self.queue.add(pod(name, 0));
        let popped = self.queue.try_pop().unwrap();
        self.turn_down(popped, plugins);
    }

    fn turn_down(&self, mut pod: QueuedPodInfo, plugins: &[&'static str]) {
        pod.unschedulable_plugins = plugins.iter().copied().collect();
        self.queue.add_unschedulable(pod).unwrap();
    }

    /// (active, backoff, with errors, unschedulable)
    fn sizes(&self) -> (usize, usize, usize, usize) {
        let state = self.queue.state.lock();
        (
            state.active.len(),
            state.backoff.len(),
            state.error_backoff.len(),
            state.unschedulable.pods.len(),
        )
    }

    fn node_event(&self, event: ClusterEvent) {
        let node = Arc::new(api_types::core::v1::Node::default());
        self.queue.move_all(event, &Change::added(&node), None);
    }
}

#[test]
fn pops_by_priority_then_age() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("low", 1));
    fixture.pass(1.0);
    fixture.queue.add(pod("old", 5));
    fixture.pass(1.0);
    fixture.queue.add(pod("young", 5));
    let names: Vec<String> = std::iter::from_fn(|| fixture.queue.try_pop())
        .map(|pod| pod.key)
        .collect();
    assert_eq!(names, ["ns/old", "ns/young", "ns/low"]);
}

#[test]
fn only_events_of_rejecting_plugins_wake() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    fixture.node_event(NODE_TAINT);
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.sizes(), (0, 1, 0, 0));
    let fixture = Fixture::new();
    fixture.turned_down("q", &["B"]);
    fixture.node_event(NODE_TAINT);
    // The hint says that it does not help.
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
}

#[test]
fn after_backoff_pods_go_to_the_active_queue() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    fixture.pass(5.0);
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
}

#[test]
fn an_idle_scheduler_takes_pods_out_of_backoff() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.sizes(), (0, 1, 0, 0));
    assert_eq!(fixture.queue.try_pop().unwrap().key, "ns/p");
    // But not those that failed with an error.
    let fixture = Fixture::new();
    fixture.turned_down("e", &[]);
    assert_eq!(fixture.sizes(), (0, 0, 1, 0));
    assert!(fixture.queue.try_pop().is_none());
    fixture.pass(2.1);
    fixture.queue.flush_backoff_completed();
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
}

#[test]
fn backoff_doubles_up_to_the_limit_on_whole_seconds() {
    let fixture = Fixture::new();
    let mut pod = queued("p", START + SECOND / 2);
    for (count, seconds) in [
        (0, None),
        (1, Some(1)),
        (2, Some(2)),
        (3, Some(4)),
        (4, Some(8)),
        (5, Some(10)),
        (60, Some(10)),
    ] {
        pod.unschedulable_count = count;
        let expected = seconds.map_or(0, |seconds| START + seconds * SECOND);
        assert_eq!(fixture.queue.backoff_expiration(&pod), expected, "{count}");
    }
    pod.consecutive_errors = 2;
    assert_eq!(fixture.queue.backoff_expiration(&pod), START + 2 * SECOND);
}

#[test]
fn events_during_an_attempt_are_replayed() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("p", 0));
    let popped = fixture.queue.try_pop().unwrap();
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.queue.state.lock().in_flight.event_count(), 1);
    fixture.turn_down(popped, &["A"]);
    assert_eq!(fixture.sizes(), (0, 1, 0, 0));
    assert_eq!(fixture.queue.state.lock().in_flight.event_count(), 0);
    // An event before the attempt is of no use.
    let fixture = Fixture::new();
    fixture.node_event(NODE_ADDED);
    fixture.turned_down("p", &["A"]);
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
}

#[test]
fn events_are_kept_as_long_as_a_pod_may_need_them() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("p", 0));
    fixture.queue.add(pod("q", 0));
    let first = fixture.queue.try_pop().unwrap();
    fixture.node_event(NODE_ADDED);
    let second = fixture.queue.try_pop().unwrap();
    fixture.queue.done(first.pod.uid());
    assert_eq!(fixture.queue.state.lock().in_flight.event_count(), 0);
    fixture.node_event(NODE_ADDED);
    fixture.turn_down(second, &["A"]);
    assert_eq!(fixture.sizes(), (0, 1, 0, 0));
}

#[test]
fn pending_plugins_skip_backoff() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("p", 0));
    let mut popped = fixture.queue.try_pop().unwrap();
    popped.pending_plugins.insert("P");
    fixture.queue.add_unschedulable(popped).unwrap();
    let labels = ClusterEvent::new(EventResource::Node, Action::UPDATE_NODE_LABEL);
    fixture.node_event(labels);
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
}

#[test]
fn gated_pods_wait_until_their_gates_are_gone() {
    let fixture = Fixture::new();
    let mut gated = (*pod("p", 0)).clone();
    gated.spec.scheduling_gates = vec![api_types::core::v1::PodSchedulingGate { name: "g".into() }];
    let gated = Arc::new(gated);
    fixture.queue.add(gated.clone());
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    assert_eq!(fixture.queue.state.lock().unschedulable.gated, 1);
    // Events that the gating plugin did not ask for do not even run it.
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    let open = pod("p", 0);
    fixture.queue.update(&gated, &open);
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
    assert_eq!(fixture.queue.state.lock().unschedulable.gated, 0);
}

#[test]
fn pre_enqueue_runs_on_the_way_to_every_queue() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    *fixture.gate.0.lock() = true;
    fixture.node_event(NODE_ADDED);
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    *fixture.gate.0.lock() = false;
    fixture.queue.activate([&*pod("p", 0)]);
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
}

#[test]
fn patience_has_a_limit() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    fixture.pass(300.0);
    fixture.queue.flush_unschedulable_leftover();
    assert_eq!(fixture.sizes(), (0, 0, 0, 1));
    fixture.pass(1.0);
    fixture.queue.flush_unschedulable_leftover();
    assert_eq!(fixture.sizes(), (1, 0, 0, 0));
    assert!(fixture.queue.try_pop().unwrap().was_flushed);
}

#[test]
fn deleted_pods_are_nowhere() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("active", 0));
    fixture.queue.delete(&pod("active", 0));
    fixture.turned_down("unschedulable", &["A"]);
    fixture.queue.delete(&pod("unschedulable", 0));
    fixture.turned_down("error", &[]);
    fixture.queue.delete(&pod("error", 0));
    assert_eq!(fixture.sizes(), (0, 0, 0, 0));
}

#[test]
fn pods_come_back_once() {
    let fixture = Fixture::new();
    fixture.turned_down("p", &["A"]);
    let again = queued("p", START);
    assert_eq!(
        fixture.queue.add_unschedulable(again),
        Err("Pod ns/p is already present in unschedulable queue".to_owned())
    );
}

#[test]
fn nominations_follow_pods() {
    let fixture = Fixture::new();
    let info = Arc::new(PodInfo::new(pod("p", 0)));
    let names = |node: &str| -> Vec<String> {
        let pods = fixture.queue.nominated_pods_for_node(node);
        pods.iter().map(|pod| pod.full_name()).collect()
    };
    fixture
        .queue
        .add_nominated_pod(&info, Some(&NominatingInfo { node: "n".into() }));
    assert_eq!(names("n"), ["ns/p"]);
    // What the apiserver does not know yet survives an update from there.
    fixture.queue.add(pod("p", 0));
    fixture
        .queue
        .add_nominated_pod(&info, Some(&NominatingInfo { node: "n".into() }));
    fixture.queue.update(&pod("p", 0), &pod("p", 0));
    assert_eq!(names("n"), ["ns/p"]);
    fixture
        .queue
        .add_nominated_pod(&info, NominatingInfo::clear().as_ref());
    assert!(names("n").is_empty());
    let mut nominated = (*pod("q", 0)).clone();
    nominated.status.nominated_node_name = "m".into();
    fixture.queue.add(Arc::new(nominated));
    assert_eq!(names("m"), ["ns/q"]);
    fixture.queue.delete_nominated_pod("q");
    assert!(names("m").is_empty());
}

#[test]
fn a_closed_queue_gives_nothing() {
    let fixture = Fixture::new();
    fixture.queue.add(pod("p", 0));
    fixture.queue.close();
    assert!(fixture.queue.pop().is_none());
}
