//! Verbs, errors and retries.

use std::time::Duration;

use api_types::core::v1::ConfigMap;
use bytes::Bytes;
use client::rest::RestMetrics;
use client::{
    Client, ClientConfig, ContentType, DeleteOptions, Deleted, GroupVersionResource, ListOptions,
    Patch, PatchOptions, WatchEvent,
};
use futures::StreamExt as _;
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

use crate::fake_server::{FakeServer, Fault};

const CONFIG_MAPS: &str = "/api/v1/configmaps";

fn config_map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = name.into();
    object.data.insert("k".into(), "v".into());
    object
}

async fn every_verb(client: Client) {
    let api = client.namespaced::<ConfigMap>("ns");
    let created = api.create(&config_map("a")).await.unwrap();
    assert_eq!(
        (
            created.metadata.namespace.as_str(),
            created.data["k"].as_str()
        ),
        ("ns", "v")
    );
    assert!(
        api.create(&config_map("a"))
            .await
            .unwrap_err()
            .is_already_exists()
    );
    assert!(api.get("nope").await.unwrap_err().is_not_found());
    assert_eq!(api.get_optional("nope").await.unwrap(), None);
    let mut changed = api.get("a").await.unwrap();
    changed.data.insert("k".into(), "w".into());
    let updated = api.update(&changed).await.unwrap();
    assert!(api.update(&changed).await.unwrap_err().is_conflict());
    let patched = api
        .patch(
            "a",
            &Patch::Merge(br#"{"data":{"x":"y"}}"#.to_vec()),
            &PatchOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(patched.data.len(), 2);
    let mut watch = api
        .watch(&ListOptions {
            resource_version: updated.metadata.resource_version,
            ..ListOptions::default()
        })
        .await
        .unwrap();
    let Some(Ok(WatchEvent::Modified(seen))) = watch.next().await else {
        panic!("want the patch")
    };
    assert_eq!(seen, patched);
    api.create(&config_map("b")).await.unwrap();
    let list = client
        .api::<ConfigMap>()
        .list_all(&ListOptions {
            limit: 1,
            ..ListOptions::default()
        })
        .await
        .unwrap();
    assert_eq!(
        list.items
            .iter()
            .map(|item| item.metadata.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(
        matches!(api.delete("a", &DeleteOptions::default()).await.unwrap(), Deleted::Status(status) if status.status == "Success")
    );
    assert!(
        api.get("").await.is_err(),
        "an empty name would be the whole collection"
    );
}

#[tokio::test(start_paused = true)]
async fn every_verb_in_protobuf() {
    every_verb(FakeServer::new(1).client()).await;
}

#[tokio::test(start_paused = true)]
async fn every_verb_in_json() {
    let server = FakeServer::new(1);
    let config = ClientConfig::plain("http://fake")
        .unwrap()
        .with_qps(-1.0)
        .with_content_type(ContentType::Json);
    every_verb(Client::with_transport(config, Arc::new(server)).unwrap()).await;
    // A server that has no protobuf at all.
    let config = ClientConfig::plain("http://fake")
        .unwrap()
        .with_qps(-1.0)
        .with_content_type(ContentType::Json);
    every_verb(
        Client::with_transport(
            config,
            Arc::new(FakeServer {
                protobuf: false,
                ..FakeServer::new(1)
            }),
        )
        .unwrap(),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn dynamic_and_metadata_access() {
    let server = FakeServer {
        protobuf: false,
        ..FakeServer::new(1)
    };
    let client = server.client();
    let widgets = GroupVersionResource::new("example.org", "v1", "widgets");
    let api = client.dynamic(widgets.clone(), Some("ns"));
    let widget = json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "name": "w" }, "spec": { "size": 1 } });
    api.create(&widget, &Default::default()).await.unwrap();
    assert_eq!(api.get("w").await.unwrap()["spec"]["size"], 1);
    assert_eq!(
        api.list(&ListOptions::default()).await.unwrap().items[0]
            .metadata()
            .namespace,
        "ns"
    );
    let metadata = client.metadata(widgets, Some("ns"));
    let patch = Patch::Merge(br#"{"metadata":{"labels":{"a":"b"}}}"#.to_vec());
    assert_eq!(
        metadata
            .patch("w", &patch, &PatchOptions::default())
            .await
            .unwrap()
            .metadata
            .labels["a"],
        "b"
    );
    assert_eq!(
        metadata
            .list_all(&ListOptions::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    metadata
        .delete("w", &DeleteOptions::default())
        .await
        .unwrap();
    assert!(api.get("w").await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_servers_wish() {
    let server = FakeServer::new(1);
    let api = server.client().namespaced::<ConfigMap>("ns");
    // Any method, if the server says when.
    server.fault(Fault::Code(429, Some(3)));
    server.fault(Fault::Code(503, Some(2)));
    let started = Instant::now();
    api.create(&config_map("a")).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    // Not without.
    server.fault(Fault::Code(500, None));
    let error = api.get("a").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "an error on the server (\"fault 500\") has prevented the request from succeeding (get configmaps a)"
    );
    // A broken connection under a GET, but not under a POST.
    server.fault(Fault::Broken);
    api.get("a").await.unwrap();
    server.fault(Fault::Broken);
    let error = api.create(&config_map("b")).await.unwrap_err();
    assert!(
        error.is_connection() && error.to_string().ends_with("connection reset by peer"),
        "{error}"
    );
    server.fault(Fault::Refused);
    assert!(api.get("a").await.unwrap_err().is_connection_refused());
    // Ten times at most.
    for _ in 0..11 {
        server.fault(Fault::Code(429, Some(1)));
    }
    let before = server.requests().len();
    let error = api.get("a").await.unwrap_err();
    assert!(error.is_too_many_requests());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(server.requests().len() - before, 11);
}

#[tokio::test(start_paused = true)]
async fn the_throttle_spaces_requests_and_metrics_count_them() {
    let server = FakeServer::new(1);
    let registry = prometheus::Registry::new();
    let config = ClientConfig::plain("http://fake")
        .unwrap()
        .with_qps(2.0)
        .with_burst(2)
        .with_metrics(RestMetrics::new(&registry).unwrap());
    let client = Client::with_transport(config, Arc::new(server.clone())).unwrap();
    let started = Instant::now();
    for _ in 0..6 {
        assert!(
            client
                .api::<ConfigMap>()
                .list(&ListOptions::default())
                .await
                .is_ok()
        );
    }
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    let started = Instant::now();
    for _ in 0..6 {
        client
            .without_rate_limit()
            .namespaced::<ConfigMap>("x")
            .get("y")
            .await
            .unwrap_err();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    assert!(
        text.contains(r#"rest_client_requests_total{code="200",host="fake",method="GET"} 6"#),
        "{text}"
    );
    assert!(
        text.contains(r#"rest_client_requests_total{code="404",host="fake",method="GET"} 6"#),
        "{text}"
    );
    assert!(
        text.contains(r#"rest_client_request_duration_seconds_count{host="fake",verb="GET"} 12"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn timeouts_end_requests_but_not_watches() {
    let server = FakeServer::new(1);
    let client = server.client().with_timeout(Some(Duration::from_secs(7)));
    server.fault(Fault::Hang);
    let started = Instant::now();
    let error = client
        .namespaced::<ConfigMap>("ns")
        .get("a")
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(started.elapsed(), Duration::from_secs(7));
    let mut watch = client
        .api::<ConfigMap>()
        .watch(&ListOptions::default())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    server.put(
        CONFIG_MAPS,
        "ns",
        "a",
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {} }),
    );
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_the_distant_past_is_gone() {
    let server = FakeServer::new(1);
    for protobuf in [true, false] {
        let server = FakeServer {
            protobuf,
            ..server.clone()
        };
        let mut watch = server
            .client()
            .api::<ConfigMap>()
            .watch(&ListOptions {
                resource_version: "1".into(),
                ..ListOptions::default()
            })
            .await
            .unwrap();
        assert!(watch.next().await.unwrap().unwrap_err().is_gone());
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn raw_requests_and_refused_upgrades() {
    let server = FakeServer::new(1);
    let client = server.client();
    let request = || {
        http::Request::get("/api/v1/namespaces/ns/configmaps/nope")
            .body(Bytes::new())
            .unwrap()
    };
    assert_eq!(client.raw(request()).await.unwrap().status(), 404);
    assert!(
        client
            .raw_checked(request())
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        client
            .raw_upgrade(request())
            .await
            .unwrap_err()
            .is_bad_request()
    );
}
