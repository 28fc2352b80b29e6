//! What happens when etcd goes away.

use super::etcd::Proxy;
use super::*;
use crate::under_test::{Error, UpdateError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_on_after_a_restart_of_etcd() {
    let mut etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let version = put(&storage, "default", "a", "u l n").await;
    let mut watcher = watch_from(&storage, version).await;
    // The cache has it.
    assert_eq!(names(&list_all(&storage).await), ["default/a"]);
    etcd.kill();
    let started = Instant::now();
    assert!(
        process
            .backend
            .health(Duration::from_secs(2))
            .await
            .is_err()
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    // Any version can still be had.
    let scope = storage.scope("", "").unwrap();
    let any = ListOptions {
        resource_version: "0".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(
        names(&storage.list(&scope, &any, everything()).await.unwrap()),
        ["default/a"]
    );
    let key = storage.key("default", "b").unwrap();
    // Where the connection is not known to be broken yet, neither is whether the write got through.
    let refused = storage.create(&key, Bytes::from("u l n"), None).await;
    assert!(
        matches!(
            refused,
            Err(Error::Unreachable { .. } | Error::Timeout { .. })
        ),
        "{refused:?}"
    );
    etcd.restart().await;
    let version = put(&storage, "default", "b", "u l n").await;
    assert_eq!(
        next(&mut watcher).await,
        format!("ADDED default/b@{version}"),
        "the watch survives"
    );
    process
        .backend
        .health(Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(names(&list_all(&storage).await), ["default/a", "default/b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_loses_no_event() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    let (writing, storage) = (direct.pods().await, process.pods().await);
    let mut watcher = watch_from(&storage, direct.backend.current_revision().await.unwrap()).await;
    for round in 0..20 {
        let version = put(&writing, "default", &format!("a{round}"), "u l n").await;
        if round % 3 == 0 {
            proxy.cut();
        }
        assert_eq!(
            next(&mut watcher).await,
            format!("ADDED default/a{round}@{version}")
        );
    }
}

/// The revision to resume from is gone: the cache starts over and its watchers end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_behind_our_back_means_relist() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    let (writing, storage) = (direct.pods().await, process.pods().await);
    let before = put(&writing, "default", "gone", "u l n").await;
    let mut watcher = watch_from(&storage, before).await;
    assert_eq!(names(&list_all(&storage).await), ["default/gone"]);
    proxy.close();
    delete(&writing, "default", "gone").await;
    let now = put(&writing, "default", "here", "u l n").await;
    etcd.client().await.compact(now as i64, None).await.unwrap();
    proxy.open();
    assert_eq!(next(&mut watcher).await, "end");
    eventually(|| async {
        let scope = storage.scope("", "").unwrap();
        match storage
            .list(&scope, &ListOptions::default(), everything())
            .await
        {
            Ok(list) if names(&list) == ["default/here"] => Ok(()),
            Ok(list) => Err(format!("{:?}", names(&list))),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let mut too_old = watch_from(&storage, before).await;
    let error = next(&mut too_old).await;
    assert!(
        error.starts_with(&format!("ERROR too old resource version: {before} (")),
        "{error}"
    );
    assert_eq!(next(&mut too_old).await, "end");
}

/// Whenever the connection breaks and whatever is compacted meanwhile, caches end up with what is stored, and watches
/// that live show each step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_relists_under_writes_miss_nothing() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    let (writing, storage) = (direct.uncached(), process.pods().await);
    let stop = CancellationToken::new();
    let writer = tokio::spawn({
        let (storage, stop) = (writing.clone(), stop.clone());
        async move {
            let mut round = 0;
            while !stop.is_cancelled() {
                round += 1;
                set(
                    &storage,
                    "default",
                    &format!("pod{}", round % 50),
                    &format!("u l n {round}"),
                )
                .await;
                if round % 3 == 0 {
                    delete(&storage, "default", &format!("pod{}", round % 50)).await;
                }
            }
        }
    });
    let scope = storage.scope("", "").unwrap();
    for _ in 0..8 {
        proxy.close();
        let now = direct.backend.current_revision().await.unwrap() + 20;
        eventually(|| async {
            let current = direct.backend.current_revision().await.unwrap();
            if current > now {
                Ok(())
            } else {
                Err(current.to_string())
            }
        })
        .await;
        etcd.client().await.compact(now as i64, None).await.unwrap();
        proxy.open();
        // Not before the cache follows again: each round starts from a filled one.
        eventually(|| async {
            let fresh = ListOptions {
                resource_version: (now + 1).to_string(),
                ..ListOptions::default()
            };
            storage
                .list(&scope, &fresh, everything())
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }
    stop.cancel();
    writer.await.unwrap();
    let versions = |list: List| -> Vec<(String, u64)> {
        list.iter()
            .map(|entry| (entry.name().to_owned(), entry.resource_version()))
            .collect()
    };
    let stored = versions(list_all(&writing).await);
    assert!(stored.len() > 20);
    assert_eq!(versions(list_all(&storage).await), stored);
}

/// The answer to a write is lost: the error says that the outcome is unknown, and the write is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_an_unknown_outcome_is_not_repeated() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let (direct, process) = (
        Process::new(&etcd.endpoint()),
        Process::new(&proxy.endpoint()),
    );
    let (reading, storage) = (direct.pods().await, process.pods().await);
    let key = storage.key("default", "a").unwrap();
    let object = storage
        .create(&key, Bytes::from("u l n 0"), None)
        .await
        .unwrap();
    proxy.swallow_answers();
    let write = tokio::spawn({
        let storage = storage.clone();
        async move {
            use crate::under_test::{Hint, Update, UpdateOptions};
            let key = object.key.clone();
            let options = UpdateOptions {
                hint: Hint::Object(object),
                ..UpdateOptions::default()
            };
            let update = |_| async {
                Ok::<_, ()>(Update::Write {
                    value: Bytes::from("u l n 1"),
                    ttl: None,
                })
            };
            storage.guaranteed_update(&key, options, update).await
        }
    });
    // It has arrived.
    eventually(|| async {
        let object = reading.get(&key, "").await.unwrap();
        if object.value == "u l n 1" {
            Ok(())
        } else {
            Err(format!("{object:?}"))
        }
    })
    .await;
    proxy.cut();
    proxy.open();
    let outcome = write.await.unwrap();
    assert!(
        matches!(outcome, Err(UpdateError::Storage(Error::Timeout { .. }))),
        "{outcome:?}"
    );
    let raw = etcd.client().await.get(key.as_str(), None).await.unwrap();
    assert_eq!(raw.kvs()[0].version(), 2, "written once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_takes_over() {
    let etcd = etcd_or_return!();
    let proxy = Proxy::to(etcd.port()).await;
    let dead = "http://127.0.0.1:1".to_owned();
    let process = Process::with(EtcdConfig {
        endpoints: vec![dead, proxy.endpoint(), etcd.endpoint()],
        ..EtcdConfig::default()
    });
    let storage = process.pods().await;
    let mut watcher = watch_from(&storage, put(&storage, "default", "a", "u l n").await).await;
    proxy.close();
    let mut versions = Vec::new();
    for number in 0..5 {
        versions.push(set(&storage, "default", &format!("b{number}"), "u l n").await);
    }
    for (number, version) in versions.into_iter().enumerate() {
        assert_eq!(
            next(&mut watcher).await,
            format!("ADDED default/b{number}@{version}")
        );
    }
}
