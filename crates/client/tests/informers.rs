//! Informers against a server that drops, delays, duplicates, cuts and forgets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::ConfigMap;
use client::cache::{DeletedObject, EventHandler, Lister};
use client::{GroupVersionResource, InformerFactory, ListScope, ObjectKey, SharedInformer};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake_server::{Chaos, FakeServer, Fault};

const CONFIG_MAPS: &str = "/api/v1/configmaps";

fn config_map(data: u32) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "managedFields": [{ "manager": "x" }] }, "data": { "n": data.to_string() } })
}

/// A copy of the cache made from events alone. Panics when the events contradict each other.
#[derive(Default)]
struct Mirror {
    objects: Mutex<BTreeMap<String, Arc<ConfigMap>>>,
    log: Mutex<Vec<String>>,
}

fn version(object: &ConfigMap) -> u64 {
    object.metadata.resource_version.parse().unwrap()
}

impl Mirror {
    fn versions(&self) -> BTreeMap<String, String> {
        self.objects
            .lock()
            .iter()
            .map(|(key, object)| (key.clone(), object.metadata.resource_version.clone()))
            .collect()
    }
}

impl EventHandler<ConfigMap> for Mirror {
    fn on_add(&self, object: &Arc<ConfigMap>, initial: bool) {
        let key = ObjectKey::of(&**object).to_string();
        self.log.lock().push(format!(
            "add {key}{}",
            if initial { " initial" } else { "" }
        ));
        assert!(
            self.objects
                .lock()
                .insert(key.clone(), object.clone())
                .is_none(),
            "{key} was added twice"
        );
    }

    fn on_update(&self, old: &Arc<ConfigMap>, new: &Arc<ConfigMap>) {
        let key = ObjectKey::of(&**new).to_string();
        self.log.lock().push(format!("update {key}"));
        let known = self
            .objects
            .lock()
            .insert(key.clone(), new.clone())
            .unwrap_or_else(|| panic!("{key} was updated before it was added"));
        assert_eq!(
            known.metadata.resource_version, old.metadata.resource_version,
            "{key}: a state in between was lost"
        );
        assert!(version(new) >= version(old), "{key} went back in time");
    }

    fn on_delete(&self, deleted: DeletedObject<ConfigMap>) {
        let key = ObjectKey::of(&*deleted.object).to_string();
        self.log.lock().push(format!(
            "delete {key}{}",
            if deleted.final_state_unknown {
                " unknown"
            } else {
                ""
            }
        ));
        assert!(
            self.objects.lock().remove(&key).is_some(),
            "{key} was deleted before it was added"
        );
    }
}

fn versions(lister: &Lister<ConfigMap>) -> BTreeMap<String, String> {
    lister
        .list()
        .iter()
        .map(|object| {
            (
                ObjectKey::of(&**object).to_string(),
                object.metadata.resource_version.clone(),
            )
        })
        .collect()
}

/// Waits (in paused time) until `look` gives `expected`.
#[track_caller]
fn eventually<T: PartialEq + std::fmt::Debug>(
    what: &str,
    look: impl Fn() -> T,
    expected: T,
) -> impl Future<Output = ()> {
    let what = what.to_owned();
    async move {
        for _ in 0..20_000 {
            if look() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(look(), expected, "{what}: not reached in time");
    }
}

async fn converges(seed: u64, server: FakeServer, chaos: Chaos) {
    let mut random = StdRng::seed_from_u64(seed);
    for n in 0..30 {
        server.put(CONFIG_MAPS, "default", &format!("start-{n}"), config_map(0));
    }
    server.chaos(chaos);
    let informer: SharedInformer<ConfigMap> =
        SharedInformer::new(&server.client(), ListScope::default(), Duration::ZERO);
    let early = Arc::new(Mirror::default());
    informer.add_handler(early.clone());
    informer.add_index("parity", |object| {
        vec![(object.data["n"].parse::<u32>().unwrap() % 2).to_string()]
    });
    let token = CancellationToken::new();
    let running = tokio::spawn({
        let (informer, token) = (informer.clone(), token.clone());
        async move { informer.run(token).await }
    });
    let mut late = None;
    for step in 0..600u32 {
        let name = format!("start-{}", random.random_range(0..40));
        match random.random_range(0..10) {
            0..=5 => {
                server.put(CONFIG_MAPS, "default", &name, config_map(step));
            }
            6..=8 => {
                server.remove(CONFIG_MAPS, "default", &name);
            }
            _ => {}
        }
        // Where nothing is ever forgotten nothing is listed again: a lost event stays lost and shows in the end.
        if chaos.expire > 0 && random.random_range(0..60) == 0 {
            server.compact();
        }
        if random.random_range(0..3) == 0 {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..2000))).await;
        }
        if step == 300 {
            let mirror = Arc::new(Mirror::default());
            let registration = informer.add_handler(mirror.clone());
            late = Some((mirror, registration));
        }
    }
    server.chaos(Chaos::default());
    let truth = server.snapshot(CONFIG_MAPS);
    let lister = informer.lister();
    eventually("the cache", || versions(&lister), truth.clone()).await;
    eventually("the early handler", || early.versions(), truth.clone()).await;
    let (mirror, registration) = late.unwrap();
    eventually("the late handler", || mirror.versions(), truth.clone()).await;
    assert!(registration.has_synced() && informer.has_synced());
    let mut indexed: Vec<String> = ["0", "1"]
        .iter()
        .flat_map(|value| lister.by_index("parity", value))
        .map(|object| object.metadata.name.clone())
        .collect();
    indexed.sort();
    let mut names: Vec<String> = lister
        .list()
        .iter()
        .map(|object| object.metadata.name.clone())
        .collect();
    names.sort();
    assert_eq!(indexed, names);
    token.cancel();
    running.await.unwrap();
    assert_eq!(versions(&lister), truth, "the cache stays readable");
}

const HARSH: Chaos = Chaos {
    close: 5,
    cut: 5,
    expire: 3,
    duplicate: 10,
    delay: 10,
    refuse: 25,
};

#[tokio::test(start_paused = true)]
async fn the_cache_becomes_what_the_server_has_protobuf_watch_list() {
    for seed in 0..10 {
        converges(seed, FakeServer::new(seed), HARSH).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_cache_becomes_what_the_server_has_json_list_and_watch() {
    for seed in 10..20 {
        converges(
            seed,
            FakeServer {
                watch_list: false,
                protobuf: false,
                ..FakeServer::new(seed)
            },
            HARSH,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn resumed_watches_alone_lose_nothing() {
    for seed in 20..40 {
        let server = FakeServer {
            protobuf: seed % 2 == 0,
            ..FakeServer::new(seed)
        };
        let chaos = Chaos { expire: 0, ..HARSH };
        converges(seed, server, chaos).await;
    }
}

struct Fixture {
    server: FakeServer,
    factory: InformerFactory,
    informer: SharedInformer<ConfigMap>,
    mirror: Arc<Mirror>,
    token: CancellationToken,
}

async fn start(server: FakeServer) -> Fixture {
    let factory = InformerFactory::new(server.client(), Duration::ZERO);
    let informer = factory.informer::<ConfigMap>();
    let mirror = Arc::new(Mirror::default());
    informer.add_handler(mirror.clone());
    let token = CancellationToken::new();
    factory.start(token.clone());
    assert!(factory.wait_for_sync(&token).await);
    Fixture {
        server,
        factory,
        informer,
        mirror,
        token,
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_list_comes_as_initial_events_and_the_rest_as_changes() {
    let server = FakeServer::new(1);
    server.put(CONFIG_MAPS, "a", "one", config_map(1));
    let fixture = start(server).await;
    fixture.server.put(CONFIG_MAPS, "a", "two", config_map(2));
    fixture.server.put(CONFIG_MAPS, "a", "one", config_map(3));
    fixture.server.remove(CONFIG_MAPS, "a", "two");
    let log = fixture.mirror.clone();
    eventually(
        "events",
        || log.log.lock().clone(),
        [
            "add a/one initial",
            "add a/two",
            "update a/one",
            "delete a/two",
        ]
        .map(String::from)
        .to_vec(),
    )
    .await;
    let requests = fixture.server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(
        requests[0].contains("sendInitialEvents=true")
            && requests[0].contains("resourceVersionMatch=NotOlderThan")
            && requests[0].contains("allowWatchBookmarks=true")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_without_initial_events_is_listed_in_pages() {
    let server = FakeServer {
        watch_list: false,
        ..FakeServer::new(1)
    };
    for n in 0..1100 {
        server.put(CONFIG_MAPS, "a", &format!("n{n}"), config_map(1));
    }
    let fixture = start(server).await;
    assert_eq!(fixture.informer.lister().len(), 1100);
    eventually("the watch", || fixture.server.requests().len(), 5).await;
    let requests = fixture.server.requests();
    assert!(requests[0].contains("sendInitialEvents"));
    assert_eq!(
        requests[1],
        "GET /api/v1/configmaps?resourceVersion=0&limit=500"
    );
    assert_eq!(
        requests[2],
        "GET /api/v1/configmaps?limit=500&continue=500%3A1200"
    );
    assert!(
        requests[4].contains("watch=true") && requests[4].contains("resourceVersion=1200"),
        "{requests:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_ended() {
    let server = FakeServer::new(1);
    server.put(CONFIG_MAPS, "a", "one", config_map(1));
    let fixture = start(server).await;
    // The server's own time limit passes; bookmarks have moved the version on.
    let last = fixture.server.put(
        "/api/v1/events",
        "a",
        "elsewhere",
        json!({ "apiVersion": "v1", "kind": "Event" }),
    );
    tokio::time::sleep(Duration::from_secs(660)).await;
    let requests = fixture.server.requests();
    assert!(
        requests.len() >= 2
            && requests[1..].iter().all(|request| request
                .contains(&format!("resourceVersion={last}&"))
                && !request.contains("sendInitial")),
        "{requests:?}"
    );
    fixture.server.put(CONFIG_MAPS, "a", "one", config_map(2));
    let mirror = fixture.mirror.clone();
    eventually(
        "the update",
        || mirror.log.lock().clone(),
        ["add a/one initial", "update a/one"]
            .map(String::from)
            .to_vec(),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_during_a_gap_has_no_known_final_state() {
    let server = FakeServer::new(1);
    server.put(CONFIG_MAPS, "a", "keep", config_map(1));
    server.put(CONFIG_MAPS, "a", "drop", config_map(1));
    let fixture = start(server).await;
    // The connection breaks and the server cannot be reached while the object goes, and the history with it.
    for _ in 0..3 {
        fixture.server.fault(Fault::Refused);
    }
    {
        // One step without an await in between: the watch sees the compaction only.
        fixture.server.remove(CONFIG_MAPS, "a", "drop");
        fixture.server.compact();
    }
    let mirror = fixture.mirror.clone();
    eventually(
        "the deletion",
        || mirror.log.lock().last().cloned(),
        Some("delete a/drop unknown".to_owned()),
    )
    .await;
    assert_eq!(
        mirror
            .log
            .lock()
            .iter()
            .filter(|line| line.starts_with("add"))
            .count(),
        2,
        "what did not change is not reported again"
    );
}

#[tokio::test(start_paused = true)]
async fn equal_requests_share_an_informer() {
    let server = FakeServer::new(1);
    server.put(CONFIG_MAPS, "a", "one", config_map(1));
    server.put(CONFIG_MAPS, "b", "two", config_map(1));
    let fixture = start(server).await;
    let scoped = fixture.factory.informer_with::<ConfigMap>(ListScope {
        transform: Some(client::cache::transforms::drop_managed_fields()),
        ..ListScope::namespace("b")
    });
    let again = fixture
        .factory
        .informer_with::<ConfigMap>(ListScope::namespace("b"));
    let widgets = fixture
        .factory
        .metadata_informer(&GroupVersionResource::new("", "v1", "configmaps"), None);
    fixture.factory.start(fixture.token.clone());
    fixture.factory.start(fixture.token.clone());
    assert!(fixture.factory.wait_for_sync(&fixture.token).await);
    assert_eq!(
        fixture.server.requests().len(),
        3,
        "{:?}",
        fixture.server.requests()
    );
    assert_eq!(again.lister().keys(), [ObjectKey::new("b", "two")]);
    assert!(scoped.lister().list()[0].metadata.managed_fields.is_empty());
    assert!(
        !fixture.informer.lister().list()[0]
            .metadata
            .managed_fields
            .is_empty()
    );
    assert_eq!(widgets.lister().len(), 2);
    fixture.token.cancel();
    fixture.factory.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn metadata_informers_take_json_from_servers_without_protobuf() {
    let server = FakeServer {
        protobuf: false,
        ..FakeServer::new(1)
    };
    server.put("/apis/example.org/v1/widgets", "a", "w", json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "labels": { "x": "y" } }, "spec": 1 }));
    let factory = InformerFactory::new(server.client(), Duration::ZERO);
    let widgets = GroupVersionResource::new("example.org", "v1", "widgets");
    let metadata = factory.metadata_informer(&widgets, None);
    let dynamic = factory.dynamic_informer(&widgets, Some("a"));
    let token = CancellationToken::new();
    factory.start(token.clone());
    assert!(factory.wait_for_sync(&token).await);
    assert_eq!(metadata.lister().list()[0].metadata.labels["x"], "y");
    assert_eq!(dynamic.lister().list()[0].value()["spec"], 1);
}

#[tokio::test(start_paused = true)]
async fn resync_repeats_the_cache_to_those_who_asked() {
    let server = FakeServer::new(1);
    server.put(CONFIG_MAPS, "a", "one", config_map(1));
    let fixture = start(server).await;
    let resynced = Arc::new(Mirror::default());
    fixture
        .informer
        .add_handler_with_resync(resynced.clone(), Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(
        *resynced.log.lock(),
        [
            "add a/one initial",
            "update a/one",
            "update a/one",
            "update a/one"
        ]
    );
    assert_eq!(*fixture.mirror.log.lock(), ["add a/one initial"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_handler_hears_nothing_more() {
    let fixture = start(FakeServer::new(1)).await;
    let mirror = Arc::new(Mirror::default());
    let registration = fixture.informer.add_handler(mirror.clone());
    registration.synced().await;
    fixture.informer.remove_handler(&registration);
    fixture.server.put(CONFIG_MAPS, "a", "one", config_map(1));
    let other = fixture.mirror.clone();
    eventually("the other handler", || other.log.lock().len(), 1).await;
    assert!(mirror.log.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_syncs_while_the_server_is_away_and_cancelling_ends_the_wait() {
    let server = FakeServer::new(1);
    server.chaos(Chaos {
        refuse: 100,
        ..Chaos::default()
    });
    let factory = InformerFactory::new(server.client(), Duration::ZERO);
    let informer = factory.informer::<ConfigMap>();
    let token = CancellationToken::new();
    factory.start(token.clone());
    let waiting = tokio::spawn({
        let (factory, token) = (factory.clone(), token.clone());
        async move { factory.wait_for_sync(&token).await }
    });
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!informer.has_synced() && !waiting.is_finished());
    token.cancel();
    assert!(!waiting.await.unwrap());
    factory.shut_down().await;
}
