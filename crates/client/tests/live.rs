//! Against a real API server, named by `CLIENT_TEST_KUBECONFIG`; skipped without it. Everything happens in a namespace of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::coordination::v1::Lease;
use api_types::core::v1::{ConfigMap, Event, Namespace};
use client::leader_election::{LeaderElectionConfig, LeaderElector, Outcome};
use client::{
    Client, ClientConfig, ContentType, DeleteOptions, EventRecorder, GroupVersionResource,
    InformerFactory, ListOptions, ListScope, Patch, PatchOptions, object_reference,
    retry_on_conflict,
};
use tokio_util::sync::CancellationToken;

async fn setup(name: &str) -> Option<Client> {
    let Ok(path) = std::env::var("CLIENT_TEST_KUBECONFIG") else {
        eprintln!("skipped: CLIENT_TEST_KUBECONFIG is not set");
        return None;
    };
    let client = Client::new(ClientConfig::from_kubeconfig(path).unwrap().with_qps(-1.0)).unwrap();
    let mut namespace = Namespace::default();
    namespace.metadata.name = name.into();
    match client.api::<Namespace>().create(&namespace).await {
        Ok(_) => {}
        Err(error) => assert!(error.is_already_exists(), "{error}"),
    }
    client
        .namespaced::<ConfigMap>(name)
        .delete_collection(&DeleteOptions::default(), &ListOptions::default())
        .await
        .unwrap();
    client
        .namespaced::<Event>(name)
        .delete_collection(&DeleteOptions::default(), &ListOptions::default())
        .await
        .unwrap();
    client
        .namespaced::<Lease>(name)
        .delete_collection(&DeleteOptions::default(), &ListOptions::default())
        .await
        .unwrap();
    Some(client)
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = name.into();
    object.data.insert("k".into(), value.into());
    object
}

async fn eventually<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: T,
    mut look: impl AsyncFnMut() -> T,
) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let seen = look().await;
        if seen == expected {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: {seen:?}, want {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn objects_and_caches() {
    let Some(client) = setup("client-live-objects").await else {
        return;
    };
    let json = Client::new(client.config().clone().with_content_type(ContentType::Json)).unwrap();
    let factory = InformerFactory::new(client.clone(), Duration::ZERO);
    let typed = factory.informer_with::<ConfigMap>(ListScope::namespace("client-live-objects"));
    let resource = GroupVersionResource::new("", "v1", "configmaps");
    let metadata = factory.metadata_informer(&resource, Some("client-live-objects"));
    let dynamic = factory.dynamic_informer(&resource, Some("client-live-objects"));
    let token = CancellationToken::new();
    factory.start(token.clone());
    assert!(factory.wait_for_sync(&token).await);
    for (n, client) in [&client, &json].into_iter().enumerate() {
        let api = client.namespaced::<ConfigMap>("client-live-objects");
        for m in 0..20 {
            api.create(&config_map(&format!("c{n}-{m}"), "v"))
                .await
                .unwrap();
        }
        let name = format!("c{n}-0");
        retry_on_conflict(|| async {
            let mut object = api.get(&name).await?;
            object.data.insert("k".into(), "w".into());
            api.update(&object).await
        })
        .await
        .unwrap();
        let patched = api
            .patch(
                &name,
                &Patch::Strategic(br#"{"metadata":{"labels":{"a":"b"}}}"#.to_vec()),
                &PatchOptions::default(),
            )
            .await
            .unwrap();
        assert_eq!(
            (
                patched.metadata.labels["a"].as_str(),
                patched.data["k"].as_str()
            ),
            ("b", "w")
        );
        let apply = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"x":"y"}}"#.to_vec();
        let options = PatchOptions {
            field_manager: "live".into(),
            force: Some(true),
            ..PatchOptions::default()
        };
        assert_eq!(
            api.patch("applied", &Patch::Apply(apply), &options)
                .await
                .unwrap()
                .data["x"],
            "y"
        );
        let page = api
            .list(&ListOptions {
                limit: 3,
                ..ListOptions::default()
            })
            .await
            .unwrap();
        assert!(page.items.len() == 3 && !page.metadata.continue_.is_empty());
        assert!(
            api.list_all(&ListOptions {
                limit: 3,
                ..ListOptions::default()
            })
            .await
            .unwrap()
            .items
            .len()
                >= 20
        );
        assert!(api.get("nope").await.unwrap_err().is_not_found());
        assert!(
            api.create(&config_map("Bad Name", ""))
                .await
                .unwrap_err()
                .is_invalid()
        );
        assert!(
            api.create(&config_map(&name, ""))
                .await
                .unwrap_err()
                .is_already_exists()
        );
        api.delete(&format!("c{n}-1"), &DeleteOptions::default())
            .await
            .unwrap();
    }
    let truth: BTreeMap<String, String> = client
        .namespaced::<ConfigMap>("client-live-objects")
        .list(&ListOptions::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|item| (item.metadata.name, item.metadata.resource_version))
        .collect();
    let versions = |items: Vec<(String, String)>| items.into_iter().collect::<BTreeMap<_, _>>();
    eventually("typed", truth.clone(), async || {
        versions(
            typed
                .lister()
                .list()
                .iter()
                .map(|item| {
                    (
                        item.metadata.name.clone(),
                        item.metadata.resource_version.clone(),
                    )
                })
                .collect(),
        )
    })
    .await;
    eventually("metadata", truth.clone(), async || {
        versions(
            metadata
                .lister()
                .list()
                .iter()
                .map(|item| {
                    (
                        item.metadata.name.clone(),
                        item.metadata.resource_version.clone(),
                    )
                })
                .collect(),
        )
    })
    .await;
    eventually("dynamic", truth, async || {
        versions(
            dynamic
                .lister()
                .list()
                .iter()
                .map(|item| {
                    (
                        item.metadata().name.clone(),
                        item.metadata().resource_version.clone(),
                    )
                })
                .collect(),
        )
    })
    .await;
    token.cancel();
    factory.shut_down().await;
}

#[tokio::test]
async fn events_and_leaders() {
    let Some(client) = setup("client-live-events").await else {
        return;
    };
    let map = client
        .namespaced::<ConfigMap>("client-live-events")
        .create(&config_map("a", "v"))
        .await
        .unwrap();
    let recorder = EventRecorder::new(&client, "live", "host");
    for _ in 0..3 {
        recorder.event(&object_reference(&map), "Normal", "Tested", "it works");
    }
    recorder.shut_down().await;
    let events = client
        .namespaced::<Event>("client-live-events")
        .list(&ListOptions::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        events
            .iter()
            .map(|event| (event.reason.as_str(), event.count))
            .collect::<Vec<_>>(),
        [("Tested", 3)]
    );
    let series = EventRecorder::events_v1(&client, "live", "host");
    series.event_with(
        &object_reference(&map),
        None,
        "Warning",
        "Series",
        "Testing",
        "once",
    );
    eventually("the first of a series", 2, async || {
        client
            .namespaced::<Event>("client-live-events")
            .list(&ListOptions::default())
            .await
            .unwrap()
            .items
            .len()
    })
    .await;
    series.event_with(
        &object_reference(&map),
        None,
        "Warning",
        "Series",
        "Testing",
        "once",
    );
    series.shut_down().await;
    let events = client
        .namespaced::<Event>("client-live-events")
        .list(&ListOptions::default())
        .await
        .unwrap()
        .items;
    assert!(
        events.iter().any(|event| event
            .series
            .as_ref()
            .is_some_and(|series| series.count == 2)),
        "{events:#?}"
    );

    let token = CancellationToken::new();
    let config = LeaderElectionConfig {
        release_on_cancel: true,
        ..LeaderElectionConfig::new("client-live-events", "lease", "me")
    };
    let started = Arc::new(tokio::sync::Notify::new());
    let running = tokio::spawn(
        LeaderElector::new(&client, config)
            .unwrap()
            .run(token.clone(), {
                let started = started.clone();
                |lead| async move {
                    started.notify_one();
                    lead.cancelled().await;
                }
            }),
    );
    started.notified().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    token.cancel();
    assert_eq!(running.await.unwrap(), Outcome::Cancelled);
    let lease = client
        .namespaced::<Lease>("client-live-events")
        .get("lease")
        .await
        .unwrap();
    assert_eq!(
        (
            lease.spec.holder_identity.as_deref(),
            lease.spec.lease_duration_seconds
        ),
        (Some(""), Some(1))
    );
}

#[tokio::test]
async fn discovery() {
    let Some(client) = setup("client-live-discovery").await else {
        return;
    };
    let served = client.discovery().groups_and_resources().await.unwrap();
    assert!(served.failed.is_empty());
    let classic = client.discovery().groups().await.unwrap();
    let names = |groups: &[api_types::meta::v1::APIGroup]| {
        groups
            .iter()
            .map(|group| (group.name.clone(), group.preferred_version.version.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&served.groups), names(&classic.groups));
    for list in &served.resources {
        let version = apimachinery::gvk::GroupVersion::parse(&list.group_version).unwrap();
        let classic = client.discovery().resources(&version).await.unwrap();
        let names = |list: &api_types::meta::v1::APIResourceList| {
            list.resources
                .iter()
                .map(|resource| {
                    (
                        resource.name.clone(),
                        resource.kind.clone(),
                        resource.namespaced,
                        resource.verbs.clone(),
                    )
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(list), names(&classic), "{}", list.group_version);
    }
    let deletable = client
        .discovery()
        .preferred_with_verbs(&["list", "watch", "delete"])
        .await
        .unwrap();
    assert!(
        deletable
            .iter()
            .any(|(name, resource)| name.resource == "deployments"
                && name.version == "v1"
                && resource.namespaced)
    );
    assert_eq!(client.server_version().await.unwrap()["major"], "1");
}
