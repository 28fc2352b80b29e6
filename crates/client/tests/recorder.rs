//! Events from the recorder to the server and back.

use std::time::Duration;

use api_types::core::v1::ObjectReference;
use client::EventRecorder;

use crate::fake_server::{FakeServer, Fault};

const CORE: &str = "/api/v1/events";
const EVENTS: &str = "/apis/events.k8s.io/v1/events";

fn pod(name: &str) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        namespace: "ns".into(),
        name: name.into(),
        uid: "1".into(),
        api_version: "v1".into(),
        ..ObjectReference::default()
    }
}

fn stored(server: &FakeServer, collection: &str) -> Vec<serde_json::Value> {
    let keys: Vec<String> = server.snapshot(collection).into_keys().collect();
    keys.iter()
        .map(|key| key.split_once('/').unwrap())
        .map(|(namespace, name)| server.get(collection, namespace, name).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn repeated_events_are_one_object_with_a_count() {
    let server = FakeServer::new(1);
    let recorder = EventRecorder::new(&server.client(), "kubelet", "node-1");
    for _ in 0..5 {
        recorder.event(
            &pod("a"),
            "Warning",
            "BackOff",
            "Back-off restarting failed container",
        );
    }
    recorder.event(
        &ObjectReference {
            namespace: String::new(),
            ..pod("node-1")
        },
        "Normal",
        "Starting",
        "",
    );
    recorder.shut_down().await;
    let events = stored(&server, CORE);
    assert_eq!(events.len(), 2, "{events:#?}");
    let starting = &events[0];
    assert_eq!(
        (&starting["metadata"]["namespace"], &starting["count"]),
        (&"default".into(), &1.into())
    );
    let backoff = &events[1];
    assert_eq!(backoff["count"], 5);
    assert_eq!(
        (&backoff["source"]["component"], &backoff["source"]["host"]),
        (&"kubelet".into(), &"node-1".into())
    );
    assert_eq!(
        (
            &backoff["reportingComponent"],
            &backoff["reportingInstance"]
        ),
        (&"kubelet".into(), &"node-1".into())
    );
    assert_eq!(backoff["involvedObject"]["uid"], "1");
    assert!(
        backoff["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("a.")
    );
    recorder.event(&pod("a"), "Normal", "Late", "after shutdown");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stored(&server, CORE).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_expired_on_the_server_is_made_again() {
    let server = FakeServer::new(1);
    let recorder = EventRecorder::new(&server.client(), "kubelet", "");
    recorder.event(&pod("a"), "Normal", "Pulled", "m");
    while stored(&server, CORE).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let name = stored(&server, CORE)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove(CORE, "ns", &name);
    recorder.event(&pod("a"), "Normal", "Pulled", "m");
    recorder.shut_down().await;
    let events = stored(&server, CORE);
    assert_eq!((events.len(), &events[0]["count"]), (1, &2.into()));
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_a_server_that_is_away() {
    let server = FakeServer::new(1);
    let recorder = EventRecorder::new(&server.client(), "kubelet", "");
    for _ in 0..3 {
        server.fault(Fault::Refused);
    }
    recorder.event(&pod("a"), "Normal", "One", "m");
    recorder.event(&pod("a"), "Normal", "Two", "m");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stored(&server, CORE).len(), 2);
    // What the server refuses is given up at once.
    server.fault(Fault::Code(403, None));
    recorder.event(&pod("a"), "Normal", "Three", "m");
    recorder.event(&pod("a"), "Normal", "Four", "m");
    recorder.shut_down().await;
    assert_eq!(stored(&server, CORE).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_series_is_written_twice_and_then_now_and_again() {
    let server = FakeServer::new(1);
    let recorder = EventRecorder::events_v1(&server.client(), "default-scheduler", "host");
    let record = || {
        recorder.event_with(
            &pod("a"),
            Some(&pod("b")),
            "Warning",
            "FailedScheduling",
            "Scheduling",
            "0/1 nodes are available",
        )
    };
    record();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = stored(&server, EVENTS).remove(0);
    assert!(first.get("series").is_none_or(serde_json::Value::is_null));
    assert_eq!(
        (&first["reportingController"], &first["reportingInstance"]),
        (
            &"default-scheduler".into(),
            &"default-scheduler-host".into()
        )
    );
    assert_eq!(
        (
            &first["action"],
            &first["regarding"]["name"],
            &first["related"]["name"]
        ),
        (&"Scheduling".into(), &"a".into(), &"b".into())
    );
    for _ in 0..9 {
        record();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        stored(&server, EVENTS)[0]["series"]["count"],
        2,
        "only the second one is written at once"
    );
    let writes = server.requests().len();
    tokio::time::sleep(Duration::from_secs(13 * 60)).await;
    assert_eq!(
        stored(&server, EVENTS)[0]["series"]["count"],
        10,
        "the final count follows when the series has ended"
    );
    assert_eq!(server.requests().len(), writes + 1);
    record();
    recorder.shut_down().await;
    assert_eq!(
        stored(&server, EVENTS).len(),
        2,
        "after its end the same event begins a new object"
    );
}
