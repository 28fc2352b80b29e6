//! Lists and watches, from the cache and from etcd.

use std::collections::BTreeSet;

use futures::StreamExt as _;

use super::*;
use crate::under_test::{Error, EtcdVersion, ResourceVersionMatch};

fn options(
    version: &str,
    exact: Option<ResourceVersionMatch>,
    limit: i64,
    token: &str,
) -> ListOptions {
    ListOptions {
        resource_version: version.to_owned(),
        resource_version_match: exact,
        limit,
        continue_token: token.to_owned(),
    }
}

/// A list as a client sees it, or the error.
async fn answer(
    storage: &Storage,
    namespace: &str,
    options: &ListOptions,
    predicate: Arc<dyn Predicate>,
) -> String {
    let scope = storage.scope(namespace, "").unwrap();
    match storage.list(&scope, options, predicate).await {
        Ok(list) => format!(
            "{:?} @{} continue {:?} remaining {:?}",
            names(&list),
            list.resource_version(),
            next_page(list.continue_token()),
            list.remaining_item_count()
        ),
        Err(error) => format!("{error:?}"),
    }
}

/// Where a token goes on. The cache's tokens are not those of etcd, but mean the same.
fn next_page(token: &str) -> Option<(String, i64)> {
    (!token.is_empty()).then(|| apiserver::storage::decode_continue(token, "").unwrap())
}

/// The cache must not be told from etcd by any question.
#[tokio::test]
async fn cache_and_etcd_answer_alike() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let cached = process.pods().await;
    let uncached = process.uncached();
    for number in 0..20 {
        let namespace = if number % 2 == 0 { "even" } else { "odd" };
        let label = if number % 3 == 0 { "three" } else { "other" };
        put(
            &cached,
            namespace,
            &format!("pod{number:02}"),
            &format!("u {label} node{}", number % 4),
        )
        .await;
    }
    let middle = set(&cached, "even", "pod04", "u three node1").await;
    delete(&cached, "odd", "pod05").await;
    let last = set(&cached, "odd", "pod07", "u other node1").await;
    let select = |label, node: Option<&str>| Select {
        label,
        node: node.map(str::to_owned),
        name: None,
    };
    let predicates: Vec<Arc<dyn Predicate>> = vec![
        everything(),
        Arc::new(select(Some("three"), None)),
        Arc::new(select(None, Some("node1"))),
        Arc::new(select(Some("absent"), None)),
    ];
    let exact = Some(ResourceVersionMatch::Exact);
    let not_older = Some(ResourceVersionMatch::NotOlderThan);
    let (middle, last, future) = (
        middle.to_string(),
        last.to_string(),
        (last + 50).to_string(),
    );
    let mut questions = Vec::new();
    for limit in [0, 1, 3, 7, 100] {
        questions.push(options("", None, limit, ""));
        questions.push(options(&middle, None, limit, ""));
        questions.push(options(&middle, exact, limit, ""));
        questions.push(options(&middle, not_older, limit, ""));
        questions.push(options(&last, exact, limit, ""));
        questions.push(options("x", None, limit, ""));
        questions.push(options("", None, limit, "bad token"));
    }
    let mut compared = 0;
    for namespace in ["", "even", "odd", "none"] {
        for predicate in &predicates {
            for question in &questions {
                let mut question = question.clone();
                // Every page to the end.
                loop {
                    let from_cache =
                        answer(&cached, namespace, &question, Arc::clone(predicate)).await;
                    let from_etcd =
                        answer(&uncached, namespace, &question, Arc::clone(predicate)).await;
                    assert_eq!(from_cache, from_etcd, "{namespace:?} {question:?}");
                    compared += 1;
                    let scope = cached.scope(namespace, "").unwrap();
                    let Ok(list) = cached.list(&scope, &question, Arc::clone(predicate)).await
                    else {
                        break;
                    };
                    if list.continue_token().is_empty() {
                        break;
                    }
                    question = options("", None, question.limit, list.continue_token());
                }
            }
        }
    }
    assert!(compared > 560, "{compared}");
    // One object, and what differs on purpose: how long to wait before asking again.
    for storage in [&cached, &uncached] {
        let scope = storage.scope("even", "pod04").unwrap();
        let list = storage
            .list(&scope, &ListOptions::default(), everything())
            .await
            .unwrap();
        assert_eq!(
            (names(&list), list.resource_version().to_string()),
            (vec!["even/pod04".to_owned()], last.clone())
        );
        let scope = storage.scope("", "").unwrap();
        let error = storage
            .list(&scope, &options(&future, not_older, 0, ""), everything())
            .await
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::TooLargeResourceVersion { .. }),
            "{error:?}"
        );
    }
    // Any version will do: the limit is ignored, as upstream.
    let list = cached
        .list(
            &cached.scope("", "").unwrap(),
            &options("0", None, 3, ""),
            everything(),
        )
        .await
        .unwrap();
    assert_eq!((names(&list).len(), list.continue_token()), (19, ""));
}

/// Pages show one revision whatever is written meanwhile, and go on inconsistently after compaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_consistent_under_writes() {
    const OBJECTS: usize = 300;
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let cached = process.pods().await;
    let uncached = process.uncached();
    for number in 0..OBJECTS {
        put(&cached, "default", &format!("pod{number:04}"), "u l n").await;
    }
    let stop = CancellationToken::new();
    let writer = tokio::spawn({
        let (storage, stop) = (cached.clone(), stop.clone());
        async move {
            let mut round = 0;
            while !stop.is_cancelled() {
                round += 1;
                set(
                    &storage,
                    "default",
                    &format!("pod{:04}", round * 7 % OBJECTS),
                    &format!("u l n {round}"),
                )
                .await;
                put(&storage, "default", &format!("extra{round:06}"), "u l n").await;
                delete(&storage, "default", &format!("extra{round:06}")).await;
            }
            round
        }
    });
    let scope = cached.scope("default", "").unwrap();
    for storage in [&cached, &uncached, &cached, &uncached] {
        let first = storage
            .list(&scope, &options("", None, 40, ""), everything())
            .await
            .unwrap();
        let version = first.resource_version();
        let mut seen: Vec<(String, u64)> = first
            .iter()
            .map(|entry| (entry.name().to_owned(), entry.resource_version()))
            .collect();
        let mut token = first.continue_token().to_owned();
        while !token.is_empty() {
            let page = storage
                .list(&scope, &options("", None, 40, &token), everything())
                .await
                .unwrap();
            assert_eq!(page.resource_version(), version);
            seen.extend(
                page.iter()
                    .map(|entry| (entry.name().to_owned(), entry.resource_version())),
            );
            token = page.continue_token().to_owned();
        }
        let exact = Some(ResourceVersionMatch::Exact);
        let whole = uncached
            .list(
                &scope,
                &options(&version.to_string(), exact, 0, ""),
                everything(),
            )
            .await
            .unwrap();
        let whole: Vec<(String, u64)> = whole
            .iter()
            .map(|entry| (entry.name().to_owned(), entry.resource_version()))
            .collect();
        assert_eq!(seen, whole);
    }
    stop.cancel();
    assert!(writer.await.unwrap() > 3);

    let first = uncached
        .list(&scope, &options("", None, 100, ""), everything())
        .await
        .unwrap();
    let now = set(&cached, "default", "zzz", "u l n").await;
    etcd.client().await.compact(now as i64, None).await.unwrap();
    let expired = uncached
        .list(
            &scope,
            &options("", None, 100, first.continue_token()),
            everything(),
        )
        .await;
    let Err(Error::Expired {
        message,
        continue_token: Some(token),
    }) = expired
    else {
        panic!("not expired")
    };
    assert!(message.starts_with(
        "The provided continue parameter is too old to display a consistent list result."
    ));
    for storage in [&cached, &uncached] {
        let rest = storage
            .list(&scope, &options("", None, 0, &token), everything())
            .await
            .unwrap();
        assert_eq!(
            (
                rest.resource_version(),
                names(&rest).last().unwrap().as_str()
            ),
            (now, "default/zzz")
        );
        assert_eq!(names(&rest).len(), OBJECTS - 100 + 1);
    }
    let old = options(
        &first.resource_version().to_string(),
        Some(ResourceVersionMatch::Exact),
        0,
        "",
    );
    let Err(Error::Expired {
        message,
        continue_token: None,
    }) = uncached.list(&scope, &old, everything()).await
    else {
        panic!("not expired");
    };
    assert_eq!(
        message,
        "The resourceVersion for the provided list is too old."
    );
}

/// A list begun after a write was acknowledged shows it, whoever wrote, also on a server without reliable progress
/// notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_consistent() {
    let etcd = etcd_or_return!();
    let (writer, reader) = (
        Process::new(&etcd.endpoint()),
        Process::new(&etcd.endpoint()),
    );
    assert!(
        writer.backend.check_version().await.unwrap()
            >= EtcdVersion {
                major: 3,
                minor: 4,
                patch: 0
            }
    );
    let (writing, reading) = (writer.pods().await, reader.pods().await);
    let other = {
        let mut config = ResourceConfig::new("", "secrets", "secrets", true, Arc::new(header));
        config.watch_cache = false;
        writer.backend.storage(config).unwrap()
    };
    for round in 0..60 {
        put(&writing, "default", &format!("pod{round:03}"), "u l n").await;
        // Revisions that no event of the listed resource announces.
        let newest = put(&other, "default", &format!("secret{round:03}"), "u l n").await;
        let list = list_all(&reading).await;
        assert_eq!(names(&list).len(), round + 1);
        assert!(
            list.resource_version() >= newest,
            "{} < {newest}",
            list.resource_version()
        );
    }
    let lists = futures::future::join_all((0..200).map(|_| list_all(&reading))).await;
    assert!(lists.iter().all(|list| names(list).len() == 60));
}

#[tokio::test]
async fn watch_list_then_follow() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    put(&storage, "a", "x", "u l n").await;
    let last = put(&storage, "b", "y", "u l n").await;
    let scope = storage.scope("", "").unwrap();
    let options = WatchOptions {
        send_initial_events: Some(true),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    let mut watcher = storage.watch(&scope, &options, everything()).await.unwrap();
    assert_eq!(next(&mut watcher).await, format!("ADDED a/x@{}", last - 1));
    assert_eq!(next(&mut watcher).await, format!("ADDED b/y@{last}"));
    assert!(matches!(
        watcher.next().await,
        Some(WatchEvent::Bookmark { resource_version, initial_events_end: true }) if resource_version == last
    ));
    let version = set(&storage, "a", "x", "u l m").await;
    assert_eq!(next(&mut watcher).await, format!("MODIFIED a/x@{version}"));
    assert!(
        process.backend.storage(pods()).is_err(),
        "two caches of the same keys"
    );
    storage.stop();
    let again = process.pods().await;
    assert_eq!(names(&list_all(&again).await), ["a/x", "b/y"]);
    assert_eq!(next(&mut watcher).await, "end");
    eventually(|| async { storage.ready().map_or(Ok(()), |()| Err("ready".to_owned())) }).await;
}

/// One watcher per object and some for everything; each gets its own and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_watchers() {
    const OBJECTS: usize = 3000;
    const WRITTEN: usize = 50;
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let start = process
        .backend
        .current_revision()
        .await
        .unwrap()
        .to_string();
    let options = WatchOptions {
        resource_version: start,
        ..WatchOptions::default()
    };
    let mut by_name = Vec::new();
    for number in 0..OBJECTS {
        let scope = storage.scope("default", &format!("pod{number}")).unwrap();
        by_name.push(storage.watch(&scope, &options, everything()).await.unwrap());
    }
    let scope = storage.scope("", "").unwrap();
    let mut all = Vec::new();
    for _ in 0..200 {
        all.push(storage.watch(&scope, &options, everything()).await.unwrap());
    }
    assert_eq!(storage.watcher_count(), OBJECTS + 200);
    let mut expected = Vec::new();
    for number in 0..WRITTEN {
        let version = put(&storage, "default", &format!("pod{number}"), "u l n").await;
        expected.push(format!("ADDED default/pod{number}@{version}"));
    }
    let readers: Vec<_> = all
        .into_iter()
        .map(|mut watcher| {
            let expected = expected.clone();
            tokio::spawn(async move {
                for expected in expected {
                    assert_eq!(next(&mut watcher).await, expected);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let mut woken = BTreeSet::new();
    for (number, watcher) in by_name.iter_mut().enumerate() {
        if number < WRITTEN {
            assert_eq!(next(watcher).await, expected[number]);
            woken.insert(number);
        }
        assert!(
            futures::FutureExt::now_or_never(watcher.next()).is_none(),
            "pod{number} got somebody else's event"
        );
    }
    assert_eq!(woken.len(), WRITTEN);
    drop(by_name);
    eventually(|| async {
        if storage.watcher_count() == 0 {
            Ok(())
        } else {
            Err(storage.watcher_count().to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn unreadable_values_fail_only_what_touches_them() {
    let etcd = etcd_or_return!();
    let mut client = etcd.client().await;
    client.put("/registry/pods/bad/x", "!", None).await.unwrap();
    client
        .put(
            "/registry/pods/secret/x",
            "k8s:enc:aescbc:v1:key:data",
            None,
        )
        .await
        .unwrap();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    put(&storage, "good", "y", "u l n").await;
    let list = async |namespace: &str| {
        let scope = storage.scope(namespace, "").unwrap();
        storage
            .list(&scope, &ListOptions::default(), everything())
            .await
            .map(|list| names(&list))
    };
    assert_eq!(list("good").await.unwrap(), ["good/y"]);
    assert!(matches!(list("bad").await, Err(Error::Corrupt { .. })));
    let Err(Error::Corrupt { message, .. }) = list("").await else {
        panic!("a list of unreadable values")
    };
    assert_eq!(message, "unreadable");
    let Err(Error::Corrupt { message, .. }) =
        storage.get(&storage.key("secret", "x").unwrap(), "").await
    else {
        panic!("an encrypted value was read");
    };
    assert!(
        message.contains("identity transformer tried to read encrypted data"),
        "{message}"
    );
    client.delete("/registry/pods/bad/x", None).await.unwrap();
    client
        .delete("/registry/pods/secret/x", None)
        .await
        .unwrap();
    assert_eq!(list("").await.unwrap(), ["good/y"]);
}

/// The initial list comes in pages, and misses nothing between two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_fill_page_by_page() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let uncached = process.uncached();
    let value = |number: usize| format!("u l node{} {}", number % 3, "x".repeat(number));
    let names_of_all: Vec<String> = (0..1_200).map(|number| format!("pod{number:04}")).collect();
    let writes = names_of_all.iter().enumerate().map(async |(number, name)| {
        put(&uncached, "ns", name, &value(number)).await;
    });
    futures::stream::iter(writes)
        .for_each_concurrent(16, |write| write)
        .await;

    let registry = prometheus::Registry::new();
    let config = EtcdConfig {
        endpoints: vec![etcd.endpoint()],
        ..EtcdConfig::default()
    };
    let process = Process::counting(config, &registry);
    let cached = process.pods().await;
    let list = list_all(&cached).await;
    let expected: Vec<String> = names_of_all
        .iter()
        .map(|name| format!("ns/{name}"))
        .collect();
    assert_eq!(names(&list), expected);
    for (number, name) in names_of_all.iter().enumerate() {
        let key = cached.key("ns", name).unwrap();
        let entry = cached.get(&key, "0").await.unwrap();
        assert_eq!(entry.value, value(number).as_bytes());
    }
    // A hundred, a thousand, the rest.
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let lists = text.lines().find(|line| {
        line.starts_with("etcd_requests_total{") && line.contains(r#"operation="list""#)
    });
    assert!(lists.is_some_and(|line| line.ends_with(" 3")), "{text}");
}

/// A resource without a cache is watched in etcd, with the same events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_without_a_cache_see_the_same() {
    let etcd = etcd_or_return!();
    let proxy = super::etcd::Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    // Writes take another way: theirs must not be the connection that is cut.
    let writing = direct.uncached();
    let (cached, uncached) = (process.pods().await, process.uncached());
    let first = put(&writing, "a", "x", "u l1 n").await;
    let predicate: Arc<dyn Predicate> = Arc::new(Select {
        label: Some("l1"),
        node: None,
        name: None,
    });
    let scope = cached.scope("a", "").unwrap();
    let list = WatchOptions {
        send_initial_events: Some(true),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    let from = WatchOptions {
        resource_version: first.to_string(),
        ..WatchOptions::default()
    };
    let from_any = WatchOptions {
        resource_version: "0".to_owned(),
        ..WatchOptions::default()
    };
    let mut pairs = Vec::new();
    for options in [&list, &from, &from_any, &WatchOptions::default()] {
        let one = cached
            .watch(&scope, options, Arc::clone(&predicate))
            .await
            .unwrap();
        let two = uncached
            .watch(&scope, options, Arc::clone(&predicate))
            .await
            .unwrap();
        pairs.push((one, two));
    }
    // The initial events are over before anything else happens.
    let mut seen: Vec<Vec<String>> = Vec::new();
    for ((one, two), count) in pairs.iter_mut().zip([2, 0, 1, 1]) {
        let mut events = Vec::new();
        for _ in 0..count {
            let event = next(one).await;
            assert_eq!(next(two).await, event);
            events.push(event);
        }
        seen.push(events);
    }
    assert_eq!(
        seen[0],
        [format!("ADDED a/x@{first}"), format!("BOOKMARK {first}")]
    );
    set(&writing, "a", "x", "u l2 n").await;
    set(&writing, "a", "x", "u l1 n").await;
    set(&writing, "a", "x", "u l1 m").await;
    put(&writing, "b", "other", "u l1 m").await;
    proxy.cut();
    delete(&writing, "a", "x").await;
    let last = put(&writing, "a", "y", "u l1 m").await;
    for (one, two) in &mut pairs {
        let mut types = String::new();
        loop {
            let event = next(one).await;
            assert_eq!(next(two).await, event);
            types.push_str(&event[..1]);
            if event == format!("ADDED a/y@{last}") {
                break;
            }
        }
        assert_eq!(types, "DAMDA");
    }
    etcd.client()
        .await
        .compact(last as i64, None)
        .await
        .unwrap();
    let mut too_old = uncached.watch(&scope, &from, predicate).await.unwrap();
    assert_eq!(
        next(&mut too_old).await,
        "ERROR The resourceVersion for the provided watch is too old."
    );
    assert_eq!(next(&mut too_old).await, "end");
}

/// The feature DetectCacheInconsistency.
#[tokio::test]
async fn caches_are_compared_with_etcd() {
    let etcd = etcd_or_return!();
    let registry = prometheus::Registry::new();
    let process = Process::counting(
        EtcdConfig {
            endpoints: vec![etcd.endpoint()],
            consistency_check_period: Duration::from_millis(20),
            ..EtcdConfig::default()
        },
        &registry,
    );
    let storage = process.pods().await;
    let checks = |status: &str| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "apiserver_storage_consistency_checks_total");
        let series = family.map_or(&[][..], |family| family.get_metric());
        let of = |metric: &&prometheus::proto::Metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.name() == "status" && label.value() == status)
        };
        let found = series.iter().find(of);
        found.map_or(0, |metric| metric.get_counter().get_value() as u64)
    };
    for number in 0..50 {
        let name = format!("pod{number:02}");
        put(&storage, "a", &name, "u l node").await;
        put(&storage, "b", &name, "! cannot be read").await;
        delete(&storage, "a", &format!("pod{number:02}")).await;
    }
    // It may have been too early for some.
    let (before, errors) = (checks("success"), checks("error"));
    eventually(|| {
        let passed = checks("success") - before;
        async move {
            (passed >= 3)
                .then_some(())
                .ok_or(format!("{passed} checks"))
        }
    })
    .await;
    assert_eq!((checks("failure"), checks("error")), (0, errors));
}
