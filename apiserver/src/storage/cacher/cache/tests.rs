//! The cache by itself, without an etcd. [`model`] is about any history, what is here about single rules.

mod model;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;

use super::*;
use crate::storage::cacher::list::List;
use crate::storage::cacher::watch::{WatchEvent, Watcher};
use crate::storage::cacher::watchers::NONE;
use crate::storage::entry::{Header, HeaderError, Pairs};
use crate::storage::etcd3::client::EtcdClient;
use crate::storage::etcd3::config::{EtcdConfig, LeaseConfig};
use crate::storage::etcd3::lease::LeaseManager;
use crate::storage::etcd3::revision::RevisionReader;
use crate::storage::key::Keys;
use crate::storage::metrics::{ResourceMetrics, StorageMetrics};
use crate::storage::options::{Everything, Predicate, ResourceConfig, WatchOptions};

const FIELD: &str = "spec.nodeName";
/// Before the first reset.
const EPOCH: u64 = 0;

/// Values are "<label>,<node>", and what follows a semicolon fills them up; "!" cannot be read.
fn header(_: &str, value: &[u8]) -> Result<Header, HeaderError> {
    let text = std::str::from_utf8(value).map_err(|error| HeaderError(error.to_string()))?;
    let (label, node) = text
        .split_once(',')
        .ok_or_else(|| HeaderError("unreadable".to_owned()))?;
    let node = node.split(';').next().unwrap_or_default();
    Ok(Header {
        labels: Pairs::new([("l", label)]),
        fields: Pairs::new([(FIELD, node)]),
        ..Header::default()
    })
}

fn cache(history_bytes: usize) -> Arc<Cache> {
    let config = EtcdConfig {
        endpoints: vec!["http://127.0.0.1:1".to_owned()],
        ..EtcdConfig::default()
    };
    let client = Arc::new(EtcdClient::new(&config).unwrap());
    let metrics = StorageMetrics::new(&prometheus::Registry::new()).unwrap();
    let mut config = ResourceConfig::new("", "pods", "pods", true, Arc::new(header));
    config.index_field = Some(FIELD);
    let store = Store {
        leases: Arc::new(LeaseManager::new(
            Arc::clone(&client),
            Arc::clone(&metrics),
            LeaseConfig::default(),
        )),
        revisions: RevisionReader::new(Arc::clone(&client), "/registry/"),
        keys: Keys::new("/registry", "pods", true).unwrap(),
        metrics: Arc::new(ResourceMetrics::new(metrics, "", "pods")),
        client,
        config,
    };
    Cache::new(
        Arc::new(store),
        Clock::new(),
        Duration::from_secs(75),
        history_bytes,
        CancellationToken::new(),
    )
}

pub(crate) fn raw(key: &str, value: Option<&str>, revision: u64) -> RawEvent {
    RawEvent {
        key: format!("/registry/pods/{key}"),
        value: value.map(|value| Bytes::from(value.to_owned())),
        revision,
    }
}

/// Delivers as the hub does: apply, then publish.
pub(crate) fn deliver(cache: &Cache, events: Vec<RawEvent>, published: u64) {
    cache.apply(events);
    cache.clock.publish(published);
}

#[derive(Clone, Debug)]
struct Select {
    label: Option<String>,
    node: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

const ALL: Select = Select {
    label: None,
    node: None,
    namespace: None,
    name: None,
};

impl Predicate for Select {
    fn matches(&self, entry: &Entry) -> bool {
        self.label
            .as_deref()
            .is_none_or(|label| entry.labels().get("l") == Some(label))
            && self
                .node
                .as_deref()
                .is_none_or(|node| entry.field(FIELD) == Some(node))
            && self
                .namespace
                .as_deref()
                .is_none_or(|namespace| entry.namespace() == namespace)
            && self.name.as_deref().is_none_or(|name| entry.name() == name)
    }

    fn exact_field(&self, field: &str) -> Option<&str> {
        match field {
            FIELD => self.node.as_deref(),
            "metadata.namespace" => self.namespace.as_deref(),
            "metadata.name" => self.name.as_deref(),
            _ => None,
        }
    }
}

impl Select {
    fn matches_value(&self, key: &str, value: &str) -> bool {
        let (label, node) = value.split(';').next().unwrap().split_once(',').unwrap();
        let (namespace, name) = key.split_once('/').unwrap();
        self.label.as_deref().is_none_or(|wanted| wanted == label)
            && self.node.as_deref().is_none_or(|wanted| wanted == node)
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }
}

fn watch(cache: &Arc<Cache>, from: u64, select: &Select, namespace: Option<&str>) -> Watcher {
    let options = WatchOptions {
        resource_version: from.to_string(),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    watch_with(cache, &options, select, namespace)
}

fn watch_with(
    cache: &Arc<Cache>,
    options: &WatchOptions,
    select: &Select,
    namespace: Option<&str>,
) -> Watcher {
    let scope = cache
        .store
        .keys
        .scope(namespace.unwrap_or_default(), "")
        .unwrap();
    let generation = cache.check_ready().unwrap();
    let predicate = Arc::new(select.clone());
    Watcher::start(cache, &scope, options, predicate, generation)
        .now_or_never()
        .unwrap()
        .unwrap()
}

pub(crate) fn filled(objects: &[(&str, &str)]) -> Arc<Cache> {
    let cache = cache(usize::MAX);
    let entries = objects
        .iter()
        .map(|(key, value)| {
            let raw = RawKeyValue {
                key: format!("/registry/pods/{key}"),
                value: Bytes::from((*value).to_owned()),
                revision: 5,
            };
            Arc::new(cache.store.entry(raw).unwrap())
        })
        .collect();
    cache.install(EPOCH, 5, entries, BTreeMap::new()).unwrap();
    cache.clock.publish(5);
    cache
}

fn next(watcher: &mut Watcher) -> String {
    match watcher.next().now_or_never() {
        None => "pending".to_owned(),
        Some(None) => "end".to_owned(),
        Some(Some(WatchEvent::Object(event))) => {
            format!("{event:?}").replace("/registry/pods/", "")
        }
        Some(Some(WatchEvent::Bookmark {
            resource_version,
            initial_events_end,
        })) => {
            format!(
                "BOOKMARK {resource_version}{}",
                if initial_events_end { " end" } else { "" }
            )
        }
        Some(Some(WatchEvent::Error(error))) => format!("ERROR {error}"),
    }
}

async fn start(cache: &Arc<Cache>, options: WatchOptions) -> Watcher {
    let scope = cache.store.keys.scope("", "").unwrap();
    let generation = cache.check_ready().unwrap();
    Watcher::start(cache, &scope, &options, Arc::new(Everything), generation)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn initial_events_by_request() {
    let cache = filled(&[("a/x", "l,n"), ("b/y", "l,n")]);
    let options = |version: &str, send: Option<bool>, bookmarks| WatchOptions {
        resource_version: version.to_owned(),
        send_initial_events: send,
        allow_bookmarks: bookmarks,
        deadline: None,
    };
    for version in ["", "0"] {
        let mut watcher = start(&cache, options(version, None, true)).await;
        assert_eq!(next(&mut watcher), "ADDED a/x@5");
        assert_eq!(next(&mut watcher), "ADDED b/y@5");
        assert_eq!(
            next(&mut watcher),
            "pending",
            "no bookmark ends a legacy watch's initial events"
        );
    }
    let mut list = start(&cache, options("5", Some(true), true)).await;
    assert_eq!(next(&mut list), "ADDED a/x@5");
    assert_eq!(next(&mut list), "ADDED b/y@5");
    assert_eq!(next(&mut list), "BOOKMARK 5 end");
    assert_eq!(next(&mut list), "pending");
    let mut without_bookmarks = start(&cache, options("0", Some(true), false)).await;
    assert_eq!(next(&mut without_bookmarks), "ADDED a/x@5");
    assert_eq!(next(&mut without_bookmarks), "ADDED b/y@5");
    assert_eq!(next(&mut without_bookmarks), "pending");
    let mut from_now = start(&cache, options("0", Some(false), false)).await;
    assert_eq!(next(&mut from_now), "pending");
    deliver(&cache, vec![raw("a/x", None, 6)], 6);
    for watcher in [&mut list, &mut from_now] {
        assert_eq!(
            next(watcher),
            "DELETED a/x@6",
            "a deletion carries its own version"
        );
        assert_eq!(next(watcher), "pending");
    }
    // A version that never comes: the initial events cannot be given.
    let mut future = start(&cache, options("100", Some(true), true)).await;
    assert_eq!(
        next(&mut future),
        "ERROR Timeout: Too large resource version: 100, current: 6"
    );
    assert_eq!(next(&mut future), "end");
    // Without initial events it waits, and what comes before the version is not shown.
    let mut future = start(&cache, options("7", None, false)).await;
    deliver(&cache, vec![raw("a/z", Some("l,n"), 7)], 7);
    assert_eq!(next(&mut future), "pending");
    deliver(&cache, vec![raw("a/z", Some("m,n"), 8)], 8);
    assert_eq!(next(&mut future), "MODIFIED a/z@8");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_every_minute_and_before_the_deadline() {
    let cache = filled(&[]);
    let options = WatchOptions {
        resource_version: "5".to_owned(),
        allow_bookmarks: true,
        deadline: Some(Instant::now() + Duration::from_secs(100)),
        ..WatchOptions::default()
    };
    let mut watcher = start(&cache, options).await;
    let started = Instant::now();
    cache.clock.publish(8);
    let mut times = Vec::new();
    for version in [8, 9] {
        cache.clock.publish(version);
        let Some(WatchEvent::Bookmark {
            resource_version,
            initial_events_end: false,
        }) = watcher.next().await
        else {
            panic!("no bookmark");
        };
        assert_eq!(resource_version, version);
        times.push(started.elapsed().as_secs());
    }
    assert_eq!(times, [60, 98]);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_never_overtakes_an_event() {
    let cache = filled(&[]);
    let options = WatchOptions {
        resource_version: "5".to_owned(),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    let mut watcher = start(&cache, options).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    deliver(&cache, vec![raw("a/x", Some("l,n"), 6)], 9);
    assert_eq!(next(&mut watcher), "ADDED a/x@6");
    assert_eq!(next(&mut watcher), "BOOKMARK 9");
}

/// Whether it waits, or always has something to tell.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_it_is_to() {
    let cache = filled(&[]);
    let end = CancellationToken::new();
    let mut idle = watch(&cache, 5, &ALL, None).until(end.clone().cancelled_owned());
    let waits = tokio::spawn(async move { idle.next().await.is_none() });
    tokio::task::yield_now().await;
    end.cancel();
    assert!(waits.await.expect("the watch"));

    let end = CancellationToken::new();
    let mut busy = watch(&cache, 5, &ALL, None).until(end.clone().cancelled_owned());
    let mut timed =
        watch(&cache, 5, &ALL, None).until(tokio::time::sleep(Duration::from_secs(100)));
    for revision in 6..=40 {
        deliver(&cache, vec![raw("a/x", Some("l,n"), revision)], revision);
        if revision == 40 {
            end.cancel();
        }
        let told = next(&mut busy);
        match revision {
            6 => assert_eq!(told, "ADDED a/x@6"),
            40 => assert_eq!(told, "end"),
            _ => assert_eq!(told, format!("MODIFIED a/x@{revision}")),
        }
    }
    let started = Instant::now();
    let mut events = 0;
    while let Some(event) = timed.next().await {
        assert!(matches!(event, WatchEvent::Object(_)));
        events += 1;
    }
    assert_eq!((events, started.elapsed().as_secs()), (35, 100));
}

/// Neither behind an event nor behind another bookmark: a client that resumes from there would be told again what it knows.
#[tokio::test(start_paused = true)]
async fn bookmarks_never_go_back() {
    let cache = filled(&[]);
    let mut watcher = watch(&cache, 5, &ALL, None);
    deliver(&cache, vec![raw("a/x", Some("l,n"), 8)], 8);
    assert_eq!(next(&mut watcher), "ADDED a/x@8");
    cache.clock.publish(20);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(next(&mut watcher), "BOOKMARK 20");
    tokio::time::advance(Duration::from_secs(61)).await;
    // Due, while the last thing looked at is the event of long ago.
    deliver(&cache, vec![raw("a/x", Some("m,n"), 25)], 25);
    assert_eq!(next(&mut watcher), "MODIFIED a/x@25");
    tokio::time::advance(Duration::from_secs(61)).await;
    let more: Vec<RawEvent> = (26..200)
        .map(|revision| raw("a/x", Some("l,n"), revision))
        .collect();
    deliver(&cache, more, 199);
    for revision in 26..200 {
        assert_eq!(next(&mut watcher), format!("MODIFIED a/x@{revision}"));
    }
    assert_eq!(
        next(&mut watcher),
        "pending",
        "the last event tells as much"
    );
}

#[tokio::test]
async fn unconcerned_watchers_are_not_woken() {
    let cache = filled(&[]);
    let nodes: Vec<Watcher> = (0..100)
        .map(|node| {
            let select = Select {
                label: None,
                node: Some(format!("node{node}")),
                namespace: None,
                name: None,
            };
            watch(&cache, 5, &select, None)
        })
        .collect();
    let pending = |cache: &Cache| {
        let mut count = 0;
        cache
            .watchers
            .for_each(|slot| count += usize::from(slot.pending.load(Ordering::Relaxed) != NONE));
        count
    };
    deliver(&cache, vec![raw("a/x", Some("l,node7"), 6)], 6);
    assert_eq!(pending(&cache), 1);
    // Moving on concerns the old and the new node.
    deliver(&cache, vec![raw("a/x", Some("l,node8"), 7)], 7);
    assert_eq!(pending(&cache), 2);
    drop(nodes);
    assert_eq!(cache.watchers.len(), 0);
}

/// Who does not read holds up nobody and keeps no event in memory; who reads again too late is over.
#[tokio::test]
async fn watchers_that_never_read_cost_nothing() {
    let cache = cache(0);
    cache
        .install(EPOCH, 5, Vec::new(), BTreeMap::new())
        .unwrap();
    let mut silent: Vec<Watcher> = (0..50).map(|_| watch(&cache, 5, &ALL, None)).collect();
    let mut stopped = watch(&cache, 5, &ALL, None);
    let mut reading = watch(&cache, 5, &ALL, None);
    let mut events = Vec::new();
    for revision in 6..1006 {
        let value = format!("l,{revision}");
        deliver(&cache, vec![raw("a/x", Some(&value), revision)], revision);
        events.push(cache.with_state(|state, _| {
            let number = state.ring.end() - 1;
            Arc::downgrade(state.ring.get(number).unwrap())
        }));
        assert!(next(&mut reading).ends_with(&format!("a/x@{revision}")));
        if revision == 100 {
            assert_eq!(next(&mut stopped), "ADDED a/x@6");
        }
    }
    let alive = events.iter().filter(|event| event.upgrade().is_some());
    let taken = 64;
    assert_eq!(
        alive.count(),
        100 + taken - 1,
        "the window, and what one of them has taken"
    );
    for revision in 7..6 + taken {
        assert_eq!(next(&mut stopped), format!("MODIFIED a/x@{revision}"));
    }
    for watcher in silent.iter_mut().chain([&mut stopped]) {
        assert_eq!(next(watcher), "end");
    }
    assert_eq!(next(&mut reading), "pending");
    let ended = cache.store.metrics.terminated_watchers().get();
    assert!((ended - 51.0).abs() < 0.5, "{ended}");
}

#[tokio::test]
async fn unreadable_values_stop_nobody_else() {
    let cache = filled(&[("a/x", "l,n"), ("b/y", "l,n")]);
    let mut concerned = watch(&cache, 5, &ALL, Some("a"));
    let mut other = watch(&cache, 5, &ALL, Some("b"));
    deliver(
        &cache,
        vec![raw("a/x", Some("!"), 6), raw("b/y", Some("m,n"), 7)],
        7,
    );
    assert_eq!(next(&mut concerned), "ERROR unreadable");
    assert_eq!(next(&mut concerned), "end");
    assert_eq!(next(&mut other), "MODIFIED b/y@7");
    let key = cache.store.keys.object("a", "x").unwrap();
    assert!(matches!(cache.read(&key), Err(Error::Corrupt { .. })));
    let list = |namespace: &str| {
        let scope = cache.store.keys.scope(namespace, "").unwrap();
        List::from_snapshot(
            cache.snapshot().unwrap(),
            &scope,
            None,
            0,
            Arc::new(Everything),
            &scope.prefix,
        )
        .map(|list| list.iter().count())
        .ok()
    };
    assert_eq!((list("a"), list("b"), list("")), (None, Some(1), None));
    // Overwritten or deleted, it is well again; the past stays told.
    deliver(&cache, vec![raw("a/x", Some("l,n"), 8)], 8);
    assert_eq!((list("a"), list("")), (Some(1), Some(2)));
    assert!(
        cache
            .snapshot_at(6)
            .unwrap()
            .contents
            .check(&cache.store.keys.scope("a", "").unwrap())
            .is_err()
    );
    assert!(
        cache
            .snapshot_at(5)
            .unwrap()
            .contents
            .check(&cache.store.keys.scope("a", "").unwrap())
            .is_ok()
    );
}

#[tokio::test]
async fn a_reset_ends_watchers_and_reads() {
    let cache = filled(&[("a/x", "l,n")]);
    let mut watcher = watch(&cache, 5, &ALL, None);
    assert_eq!(next(&mut watcher), "pending");
    cache.reset("compacted");
    assert_eq!(next(&mut watcher), "end");
    let Err(Error::NotReady {
        message,
        retry_after_seconds: 1,
    }) = cache.check_ready()
    else {
        panic!("ready after a reset");
    };
    assert_eq!(message, "storage is (re)initializing: compacted");
    assert!(cache.snapshot().is_err() && cache.snapshot_at(5).is_none());
    // A list begun before the reset may lack what the hub has missed.
    assert!(
        cache
            .install(EPOCH, 7, Vec::new(), BTreeMap::new())
            .is_err()
    );
    assert!(cache.check_ready().is_err());
    // Events that come while the list runs are kept, the ones it shows already are not repeated.
    cache.apply(vec![raw("a/x", Some("m,n"), 6), raw("a/z", Some("l,n"), 8)]);
    let entry = cache
        .store
        .entry(RawKeyValue {
            key: "/registry/pods/a/x".to_owned(),
            value: Bytes::from("m,n"),
            revision: 6,
        })
        .unwrap();
    cache
        .install(EPOCH + 1, 7, vec![Arc::new(entry)], BTreeMap::new())
        .unwrap();
    assert_eq!(cache.snapshot().unwrap().revision, 8);
    assert_eq!(cache.snapshot().unwrap().contents.tree.len(), 2);
    let mut watcher = watch(&cache, 7, &ALL, None);
    assert_eq!(next(&mut watcher), "ADDED a/z@8");
    let mut too_old = watch(&cache, 6, &ALL, None);
    assert_eq!(next(&mut too_old), "ERROR too old resource version: 6 (7)");
}

#[tokio::test]
async fn pages_of_a_snapshot() {
    let cache = filled(&[
        ("a/1", "l,n"),
        ("a/2", "m,n"),
        ("a/3", "l,n"),
        ("b/4", "l,n"),
        ("b/5", "m,n"),
    ]);
    let page = |namespace: &str, start: Option<String>, limit, select: Option<Select>| {
        let scope = cache.store.keys.scope(namespace, "").unwrap();
        let predicate: Arc<dyn Predicate> = match select {
            Some(select) => Arc::new(select),
            None => Arc::new(Everything),
        };
        let prefix = scope.prefix.trim_end_matches('/');
        let snapshot = cache.snapshot().unwrap();
        let list = List::from_snapshot(snapshot, &scope, start, limit, predicate, prefix).unwrap();
        let names: String = list.iter().map(|entry| entry.name().to_owned()).collect();
        let next = (!list.continue_token().is_empty()).then(|| {
            let token = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            let token = base64::Engine::decode(&token, list.continue_token()).unwrap();
            let token = String::from_utf8(token).unwrap();
            assert!(token.contains(r#""start":"/"#), "{token}");
            let (key, revision) = crate::storage::continue_token::decode_continue(
                list.continue_token(),
                &scope.prefix,
            )
            .unwrap();
            assert_eq!(revision, 5);
            key
        });
        (names, next, list.remaining_item_count())
    };
    let label = || {
        Some(Select {
            label: Some("l".to_owned()),
            node: None,
            namespace: None,
            name: None,
        })
    };
    let after = |key: &str| Some(format!("/registry/pods/{key}\0"));
    assert_eq!(page("", None, 0, None), ("12345".to_owned(), None, None));
    assert_eq!(
        page("", None, 2, None),
        ("12".to_owned(), after("a/2"), Some(3))
    );
    assert_eq!(
        page("", after("a/2"), 2, None),
        ("34".to_owned(), after("b/4"), Some(1))
    );
    assert_eq!(
        page("", after("b/4"), 2, None),
        ("5".to_owned(), None, None)
    );
    assert_eq!(page("a", None, 3, None), ("123".to_owned(), None, None));
    assert_eq!(
        page("a", None, 1, None),
        ("1".to_owned(), after("a/1"), Some(2))
    );
    // Selectors: no count, and more may follow although none of it matches.
    assert_eq!(
        page("", None, 2, label()),
        ("13".to_owned(), after("a/3"), None)
    );
    assert_eq!(
        page("", after("a/3"), 1, label()),
        ("4".to_owned(), after("b/4"), None)
    );
    assert_eq!(
        page("", after("b/4"), 1, label()),
        (String::new(), None, None)
    );
}
