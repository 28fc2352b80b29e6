//! Whole cycles of the default profile against a fake apiserver that remembers what it was told.

use std::sync::mpsc;
use std::time::Duration;

use api_types::core::v1::Node;
use bytes::Bytes;
use client::record::RecordedEvent;
use client::rest::{RequestBody, ResponseBody, Transport, TransportError, UpgradeOutcome};
use client::{Client, ClientConfig, ContentType, EventRecorder, Lister};
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::*;
use crate::config::{defaults, profile};
use crate::framework::handle::Listers;
use crate::metrics::Metrics;
use crate::plugins::testing::{node, pod};
use crate::queue::{Options, ProfileHooks, system_clock};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

struct FakeServer {
    told: mpsc::Sender<(String, Value)>,
    refuse_binding: bool,
}

impl Transport for FakeServer {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<http::Response<ResponseBody>, TransportError>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let path = format!("{} {}", parts.method, parts.uri.path());
            let refused = self.refuse_binding && path.ends_with("/binding");
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            self.told.send((path.clone(), body)).unwrap();
            let (code, answer) = if refused {
                (
                    409,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409, "message": "taken"}),
                )
            } else if path.starts_with("PATCH") {
                (200, json!({"kind": "Pod", "apiVersion": "v1"}))
            } else {
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            };
            let body = Full::new(Bytes::from(answer.to_string()))
                .map_err(|never| match never {})
                .boxed_unsync();
            Ok(http::Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(body)
                .unwrap())
        })
    }

    fn upgrade(
        &self,
        _: http::Request<RequestBody>,
    ) -> BoxFuture<'_, Result<UpgradeOutcome, TransportError>> {
        panic!("a scheduler upgrades no connection")
    }
}

/// A scheduler with upstream's default profile.
pub(crate) struct Fixture {
    scheduler: Arc<Scheduler>,
    pub(crate) framework: Arc<Framework>,
    worker: Worker,
    requests: mpsc::Receiver<(String, Value)>,
    events: tokio::sync::mpsc::UnboundedReceiver<RecordedEvent>,
    runtime: tokio::runtime::Runtime,
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new(&[], false)
    }
}

impl Fixture {
    /// `pods` are in the informer's cache.
    pub(crate) fn new(pods: &[Pod], refuse_binding: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (told, requests) = mpsc::channel();
        let config = ClientConfig::plain("http://test")
            .unwrap()
            .with_content_type(ContentType::Json)
            .with_qps(-1.0);
        let server = FakeServer {
            told,
            refuse_binding,
        };
        let client = Client::with_transport(config, Arc::new(server)).unwrap();
        let (recorder, events) = EventRecorder::recording();
        let mut listers = Listers::empty();
        listers.pods = Lister::of(pods.to_vec());
        let handle = Handle {
            client,
            listers: listers.clone(),
            recorder,
            metrics: Metrics::for_tests(),
            unbound: Arc::default(),
            extenders: Arc::default(),
            queue: Arc::default(),
            tasks: runtime.handle().clone(),
            features: Default::default(),
        };
        let mut component = Default::default();
        defaults::configuration(&mut component).unwrap();
        let framework = Arc::new(profile::build(&component.profiles[0], handle.clone()).unwrap());
        let queue = Arc::new(SchedulingQueue::new(Options {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            max_in_unschedulable_pods: Duration::from_secs(300),
            clock: system_clock(),
            profiles: HashMap::from([(framework.profile.clone(), ProfileHooks::of(&framework))]),
            queue_sort: framework.queue_sort().unwrap().clone(),
            pods: Some(listers.pods),
            metrics: handle.metrics.clone(),
        }));
        handle.queue.set(queue.clone()).ok().unwrap();
        let scheduler = Arc::new(Scheduler {
            cache: Arc::default(),
            queue,
            profiles: HashMap::from([(framework.profile.clone(), framework.clone())]),
            handle,
            percentage_of_nodes_to_score: 0,
        });
        for pod in pods {
            if pod.spec.node_name.is_empty() {
                scheduler.queue.add(Arc::new(pod.clone()));
            } else {
                scheduler.cache.add_pod(&Arc::new(pod.clone()));
            }
        }
        Self {
            scheduler,
            framework,
            worker: Worker::default(),
            requests,
            events,
            runtime,
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.scheduler.handle.clone()
    }

    fn with_nodes(self, nodes: Vec<Node>) -> Self {
        for node in nodes {
            self.scheduler.cache.set_node(&Arc::new(node));
        }
        self
    }

    /// Schedules the next pod.
    fn cycle(&mut self) {
        let pod = self.scheduler.queue.try_pop().expect("a pod is waiting");
        self.scheduler.schedule_one(&mut self.worker, pod);
    }

    /// The next request.
    fn request(&self) -> (String, Value) {
        self.requests
            .recv_timeout(PATIENCE)
            .expect("a request is sent")
    }

    /// The next event, as `Reason: message`.
    fn event(&mut self) -> String {
        let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        let event = self
            .runtime
            .block_on(next)
            .expect("an event is recorded")
            .unwrap();
        format!("{}: {}", event.reason, event.message)
    }
}

fn waiting(name: &str, priority: i32, cpu: &str) -> Pod {
    pod(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"schedulerName": "default-scheduler", "priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    }))
}

fn placed(name: &str, priority: i32, cpu: &str, node: &str) -> Pod {
    let mut pod = waiting(name, priority, cpu);
    pod.spec.node_name = node.into();
    pod
}

fn sized(name: &str, cpu: &str) -> Node {
    node(
        json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}}),
    )
}

#[test]
fn a_pod_is_bound_to_the_emptier_node() {
    let pods = [waiting("p", 0, "1"), placed("q", 0, "2", "a")];
    let mut fixture = Fixture::new(&pods, false).with_nodes(vec![sized("a", "4"), sized("b", "4")]);
    fixture.cycle();
    assert!(fixture.scheduler.cache.is_assumed(&pods[0]));
    let (path, binding) = fixture.request();
    assert_eq!(path, "POST /api/v1/namespaces/ns/pods/p/binding");
    assert_eq!(binding["target"], json!({"kind": "Node", "name": "b"}));
    assert_eq!(binding["metadata"]["uid"], "p");
    assert_eq!(
        fixture.event(),
        "Scheduled: Successfully assigned ns/p to b"
    );
}

#[test]
fn assumed_pods_take_their_room_at_once() {
    let pods = [waiting("p", 0, "3"), waiting("q", 0, "3")];
    let mut fixture = Fixture::new(&pods, false).with_nodes(vec![sized("a", "4")]);
    fixture.cycle();
    fixture.cycle();
    let mut events = [fixture.event(), fixture.event()];
    events.sort();
    assert_eq!(
        events,
        [
            "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
            "Scheduled: Successfully assigned ns/p to a",
        ]
    );
}

#[test]
fn an_unfit_pod_is_told_why() {
    let mut fixture = Fixture::new(&[waiting("p", 0, "9")], false)
        .with_nodes(vec![sized("a", "4"), sized("b", "2")]);
    fixture.cycle();
    let message = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(fixture.event(), format!("FailedScheduling: {message}"));
    let (path, patch) = fixture.request();
    assert_eq!(path, "PATCH /api/v1/namespaces/ns/pods/p/status");
    let condition = &patch["status"]["conditions"][0];
    assert_eq!(condition["type"], "PodScheduled");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("Unschedulable"))
    );
    assert_eq!(condition["message"], message);
    // It waits for an event: a larger node is one, another node of that size is not.
    assert!(fixture.scheduler.queue.try_pop().is_none());
}

#[test]
fn no_nodes_is_a_reason_of_its_own() {
    let mut fixture = Fixture::new(&[waiting("p", 0, "1")], false);
    fixture.cycle();
    assert_eq!(
        fixture.event(),
        "FailedScheduling: no nodes available to schedule pods"
    );
}

#[test]
fn a_failed_binding_gives_the_room_back() {
    let pods = [waiting("p", 0, "3")];
    let mut fixture = Fixture::new(&pods, true).with_nodes(vec![sized("a", "4")]);
    fixture.cycle();
    assert!(fixture.request().0.ends_with("/binding"));
    let event = fixture.event();
    assert!(
        event.starts_with("FailedScheduling: running Bind plugin \"DefaultBinder\": "),
        "{event}"
    );
    assert_eq!(fixture.scheduler.cache.sizes().pods, 0);
    let (_, patch) = fixture.request();
    assert_eq!(patch["status"]["conditions"][0]["reason"], "SchedulerError");
}

#[test]
fn a_more_important_pod_makes_room() {
    let pods = [
        waiting("p", 10, "3"),
        placed("low", 1, "3", "a"),
        placed("mid", 5, "3", "b"),
    ];
    let mut fixture = Fixture::new(&pods, false).with_nodes(vec![sized("a", "4"), sized("b", "4")]);
    fixture.cycle();
    let mut requests = [fixture.request(), fixture.request(), fixture.request()];
    requests.sort_by(|a, b| a.0.cmp(&b.0));
    let paths: Vec<&str> = requests.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "DELETE /api/v1/namespaces/ns/pods/low",
            "PATCH /api/v1/namespaces/ns/pods/low/status",
            "PATCH /api/v1/namespaces/ns/pods/p/status",
        ]
    );
    let disruption = &requests[1].1["status"]["conditions"][0];
    assert_eq!(disruption["reason"], "PreemptionByScheduler");
    assert_eq!(
        disruption["message"],
        "default-scheduler: preempting to accommodate a higher priority pod"
    );
    assert_eq!(requests[2].1["status"]["nominatedNodeName"], "a");
    let mut events = [fixture.event(), fixture.event()];
    events.sort();
    assert_eq!(events[1], "Preempted: Preempted by pod p on node a");
    assert_eq!(
        fixture.scheduler.queue.nominated_pods_for_node("a").len(),
        1
    );
}

#[test]
fn pods_that_never_preempt_do_not() {
    let mut patient = waiting("p", 10, "3");
    patient.spec.preemption_policy = Some("Never".into());
    let pods = [patient, placed("low", 1, "3", "a")];
    let mut fixture = Fixture::new(&pods, false).with_nodes(vec![sized("a", "4")]);
    fixture.cycle();
    assert_eq!(
        fixture.event(),
        "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn room_for_nominated_pods_is_kept() {
    let mut nominated = waiting("vip", 10, "3");
    nominated.status.nominated_node_name = "a".into();
    let pods = [waiting("p", 0, "3"), nominated.clone()];
    let mut fixture = Fixture::new(&pods, false).with_nodes(vec![sized("a", "4")]);
    let vip = fixture.scheduler.queue.try_pop().unwrap();
    assert_eq!(vip.key, "ns/vip");
    fixture.cycle();
    assert!(
        fixture
            .event()
            .starts_with("FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu.")
    );
    // Its own nomination does not stand in its way.
    fixture.scheduler.schedule_one(&mut fixture.worker, vip);
    assert_eq!(
        fixture.event(),
        "Scheduled: Successfully assigned ns/vip to a"
    );
}

#[test]
fn pods_with_claims_wait() {
    let mut pod = waiting("p", 0, "1");
    pod.spec.resource_claims = vec![Default::default()];
    let mut fixture = Fixture::new(&[pod], false).with_nodes(vec![sized("a", "4")]);
    fixture.cycle();
    assert!(
        fixture
            .event()
            .contains("which this scheduler cannot allocate")
    );
}

#[test]
fn deleted_pods_are_skipped() {
    let mut pod = waiting("p", 0, "1");
    pod.metadata.deletion_timestamp = Some(api_types::Time::now());
    let mut fixture = Fixture::new(&[pod], false).with_nodes(vec![sized("a", "4")]);
    fixture.cycle();
    assert_eq!(
        fixture.event(),
        "FailedScheduling: skip schedule deleting pod: ns/p"
    );
}

#[test]
fn searches_start_where_the_last_one_ended() {
    let mut pods: Vec<Pod> = (0..2).map(|i| waiting(&format!("p{i}"), 0, "1")).collect();
    pods[1].spec.priority = Some(0);
    let nodes = (0..200).map(|i| sized(&format!("n{i:03}"), "4")).collect();
    let mut fixture = Fixture::new(&pods, false).with_nodes(nodes);
    fixture.cycle();
    assert_eq!(fixture.worker.next_start, 100);
    fixture.cycle();
    assert_eq!(fixture.worker.next_start, 0);
}
