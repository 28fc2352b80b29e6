//! What one event and one read cost. Prints; run with `--no-capture` to see it.

use super::*;
use crate::under_test::EncodingKey;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_of_events_and_reads() {
    const WATCHERS: usize = 1000;
    const EVENTS: usize = 300;
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let value = format!("u l n {}", "x".repeat(2000));
    let mut client = etcd.client().await;
    let fill = async |client: &mut etcd_client::Client, tag: &str| {
        let mut last = 0;
        for number in 0..EVENTS {
            let answer = client
                .put(
                    format!("/registry/pods/default/pod{number:05}"),
                    format!("{value}{tag}"),
                    None,
                )
                .await;
            last = answer.unwrap().header().unwrap().revision() as u64;
        }
        last
    };
    let last = fill(&mut client, "0").await;
    let quiet = Instant::now();
    let last = fill(&mut client, "1").await.max(last);
    let quiet = quiet.elapsed();
    // Watchers that take shared encodings and stop at the last event.
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let goal = last + EVENTS as u64;
    let mut tasks = Vec::new();
    for _ in 0..WATCHERS {
        let mut watcher = watch_from(&storage, last).await;
        let count = Arc::clone(&count);
        tasks.push(tokio::spawn(async move {
            while let Some(WatchEvent::Object(event)) = watcher.next().await {
                let encoded =
                    event.encoded(EncodingKey(1), |event| Ok::<_, ()>(event.entry().value()));
                count.fetch_add(
                    usize::from(encoded.is_ok()),
                    std::sync::atomic::Ordering::Relaxed,
                );
                if event.resource_version() == goal {
                    break;
                }
            }
        }));
    }
    let busy = Instant::now();
    let written = fill(&mut client, "2").await;
    assert_eq!(written, goal);
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
    }
    let busy = busy.elapsed();
    assert_eq!(
        count.load(std::sync::atomic::Ordering::Relaxed),
        WATCHERS * EVENTS
    );
    println!(
        "{EVENTS} writes: {quiet:?} without watchers, {busy:?} with {WATCHERS} watchers: {:?} more per event",
        busy.saturating_sub(quiet) / EVENTS as u32
    );
    let key = storage.key("default", "pod00007").unwrap();
    let time = async |name: &str,
                      rounds: u32,
                      work: &dyn Fn() -> futures::future::BoxFuture<'static, ()>| {
        let started = Instant::now();
        for _ in 0..rounds {
            work().await;
        }
        println!("{name}: {:?}", started.elapsed() / rounds);
    };
    let (one, two) = (storage.clone(), storage.clone());
    let (key1, key2) = (key.clone(), key.clone());
    time("get, any version (cache)", 20_000, &|| {
        let (storage, key) = (one.clone(), key1.clone());
        Box::pin(async move { drop(storage.get(&key, "0").await.unwrap()) })
    })
    .await;
    time("get, quorum (etcd)", 500, &|| {
        let (storage, key) = (two.clone(), key2.clone());
        Box::pin(async move { drop(storage.get(&key, "").await.unwrap()) })
    })
    .await;
    time("list, consistent", 500, &|| {
        let storage = storage.clone();
        Box::pin(async move { assert_eq!(list_all(&storage).await.iter().count(), EVENTS) })
    })
    .await;
}

/// How much memory a cached object takes besides its bytes, and how long large lists take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_of_many_objects() {
    const OBJECTS: usize = 20_000;
    const VALUE: usize = 1500;
    let etcd = etcd_or_return!();
    let mut client = etcd.client().await;
    let padding = "x".repeat(VALUE);
    for chunk in (0..OBJECTS).collect::<Vec<_>>().chunks(100) {
        let puts: Vec<etcd_client::TxnOp> = chunk
            .iter()
            .map(|number| {
                let key = format!(
                    "/registry/pods/ns{}/deployment-5d9c7bf6-{number:05}",
                    number % 50
                );
                let value = format!(
                    "{number:036} l{} node{} {padding}",
                    number % 200,
                    number % 100
                );
                etcd_client::TxnOp::put(key, value, None)
            })
            .collect();
        client
            .txn(etcd_client::Txn::new().and_then(puts))
            .await
            .unwrap();
    }
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let process = Process::new(&etcd.endpoint());
    let before = resident();
    let started = Instant::now();
    let storage = process.pods().await;
    let filled = started.elapsed();
    let used = resident().saturating_sub(before) / OBJECTS;
    println!(
        "{OBJECTS} objects of {VALUE} bytes: filled in {filled:?}, {used} bytes resident per object"
    );
    let list = async |name: &str, namespace: &str, limit, predicate: Arc<dyn Predicate>| {
        let scope = storage.scope(namespace, "").unwrap();
        let options = ListOptions {
            resource_version: "0".to_owned(),
            limit: 0,
            ..ListOptions::default()
        };
        let options = if limit > 0 {
            ListOptions {
                limit,
                ..ListOptions::default()
            }
        } else {
            options
        };
        let started = Instant::now();
        let list = storage.list(&scope, &options, predicate).await.unwrap();
        let got = started.elapsed();
        println!(
            "{name}: view {got:?}, {} objects walked in {:?}",
            list.iter().count(),
            started.elapsed() - got
        );
    };
    list("everything", "", 0, everything()).await;
    list("one namespace", "ns7", 0, everything()).await;
    list("page of 500, consistent", "", 500, everything()).await;
    let select = |label, node: Option<&str>| Select {
        label,
        node: node.map(str::to_owned),
        name: None,
    };
    list("by label", "", 0, Arc::new(select(Some("l7"), None))).await;
    list(
        "by index field",
        "",
        0,
        Arc::new(select(None, Some("node7"))),
    )
    .await;
    assert_eq!(storage.object_count(), Some(OBJECTS as u64));
}

/// Watchers of other objects cost a write nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_of_unconcerned_watchers() {
    const WATCHERS: usize = 5000;
    const EVENTS: usize = 300;
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let mut watcher = watch_from(&storage, process.backend.current_revision().await.unwrap()).await;
    let mut per_event = async || {
        let started = Instant::now();
        for number in 0..EVENTS {
            set(
                &storage,
                "default",
                &format!("pod{number}"),
                &format!("u l n {:?}", started.elapsed()),
            )
            .await;
            next(&mut watcher).await;
        }
        started.elapsed() / EVENTS as u32
    };
    per_event().await;
    let alone = per_event().await;
    let scopes: Vec<_> = (0..WATCHERS)
        .map(|number| storage.scope("other", &format!("pod{number}")).unwrap())
        .collect();
    let options = WatchOptions {
        resource_version: "0".to_owned(),
        ..WatchOptions::default()
    };
    let mut others = Vec::new();
    for scope in &scopes {
        others.push(storage.watch(scope, &options, everything()).await.unwrap());
    }
    let among_others = per_event().await;
    println!(
        "write until seen: {alone:?} alone, {among_others:?} with {WATCHERS} watchers of other objects"
    );
}
