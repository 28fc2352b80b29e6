//! Create, update, delete, leases and compaction.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::under_test::{
    Current, DeleteOptions, Error, Hint, Object, Preconditions, Update, UpdateError, UpdateOptions,
};

fn write(value: impl Into<Bytes>) -> Update {
    Update::Write {
        value: value.into(),
        ttl: None,
    }
}

#[tokio::test]
async fn objects_come_change_and_go() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let key = storage.key("default", "a").unwrap();
    assert!(matches!(
        storage.get(&key, "").await,
        Err(Error::NotFound { .. })
    ));

    let created = storage
        .create(&key, Bytes::from("u1 l n"), None)
        .await
        .unwrap();
    assert!(matches!(
        storage.create(&key, Bytes::from("u2 l n"), None).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(storage.get(&key, "").await.unwrap(), created);
    // Bytes and keys are upstream's: nothing around them.
    let raw = etcd
        .client()
        .await
        .get("/registry/pods/default/a", None)
        .await
        .unwrap();
    assert_eq!(raw.kvs()[0].value(), b"u1 l n");
    assert_eq!(raw.kvs()[0].mod_revision() as u64, created.resource_version);

    let version = set(&storage, "default", "a", "u1 l n 2").await;
    assert_eq!(version, created.resource_version + 1);
    // Read your write from the cache.
    let read = storage.get(&key, &version.to_string()).await.unwrap();
    assert_eq!(
        (read.value, read.resource_version),
        (Bytes::from("u1 l n 2"), version)
    );
    // Nothing changed: nothing is written, from a current or a stale start.
    let stale = Hint::Object(created.clone());
    for hint in [Hint::Cache, Hint::None, stale] {
        let options = UpdateOptions {
            hint,
            ..UpdateOptions::default()
        };
        let same = storage
            .guaranteed_update(&key, options, |_| async { Ok::<_, ()>(write("u1 l n 2")) })
            .await
            .unwrap();
        assert_eq!(same.resource_version, version);
    }
    let unchanged = storage
        .guaranteed_update(&key, UpdateOptions::default(), |_| async {
            Ok::<_, ()>(Update::Unchanged)
        })
        .await;
    assert_eq!(unchanged.unwrap().resource_version, version);
    assert_eq!(process.backend.current_revision().await.unwrap(), version);

    let options = DeleteOptions {
        hint: Hint::Object(created),
        ..DeleteOptions::default()
    };
    let deleted = storage
        .delete(&key, options, |_| async { Ok::<_, ()>(()) })
        .await
        .unwrap();
    assert_eq!(
        (deleted.value, deleted.resource_version),
        (Bytes::from("u1 l n 2"), version + 1)
    );
    let again = storage.delete(
        &key,
        DeleteOptions {
            hint: Hint::None,
            ..DeleteOptions::default()
        },
        |_| async { Ok::<_, ()>(()) },
    );
    assert!(matches!(
        again.await,
        Err(UpdateError::Storage(Error::NotFound { .. }))
    ));
    // The cache learns it too.
    let gone = storage.get(&key, &(version + 1).to_string()).await;
    assert!(
        matches!(gone, Err(Error::NotFound { resource_version, .. }) if resource_version > version)
    );
    let too_new = storage.get(&key, &(version + 100).to_string()).await;
    assert!(
        matches!(
            too_new,
            Err(Error::TooLargeResourceVersion {
                retry_after_seconds: 1,
                ..
            })
        ),
        "{too_new:?}"
    );
    assert!(matches!(
        storage.get(&key, "x").await,
        Err(Error::InvalidResourceVersion { .. })
    ));
}

#[tokio::test]
async fn preconditions_hold_or_nothing_happens() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let key = storage.key("default", "a").unwrap();
    let version = put(&storage, "default", "a", "u1 l n").await;
    let stale = Object {
        key: key.clone(),
        value: Bytes::from("u0 l n"),
        resource_version: 1,
    };
    for hint in [Hint::None, Hint::Object(stale)] {
        for (uid, resource_version, expected) in [
            (
                Some("u2"),
                None,
                Some(
                    "Precondition failed: UID in precondition: u2, UID in object meta: u1"
                        .to_owned(),
                ),
            ),
            (
                None,
                Some("1".to_owned()),
                Some(format!(
                    "Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: {version}"
                )),
            ),
            (Some("u1"), Some(version.to_string()), None),
        ] {
            let preconditions = Preconditions {
                uid: uid.map(str::to_owned),
                resource_version,
            };
            let options = UpdateOptions {
                preconditions: preconditions.clone(),
                hint: hint.clone(),
                ..UpdateOptions::default()
            };
            let outcome = storage
                .guaranteed_update(&key, options, |_| async { Ok::<_, ()>(Update::Unchanged) })
                .await;
            match (outcome, expected) {
                (Ok(object), None) => assert_eq!(object.resource_version, version),
                (
                    Err(UpdateError::Storage(Error::PreconditionFailed { message, .. })),
                    Some(expected),
                ) => {
                    assert_eq!(message, expected);
                    let options = DeleteOptions {
                        preconditions,
                        hint: hint.clone(),
                    };
                    let outcome = storage
                        .delete(&key, options, |_| async { Ok::<_, ()>(()) })
                        .await;
                    assert!(matches!(
                        outcome,
                        Err(UpdateError::Storage(Error::PreconditionFailed { .. }))
                    ));
                }
                (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
            }
        }
    }
    assert_eq!(process.backend.current_revision().await.unwrap(), version);
}

#[tokio::test]
async fn a_refusal_counts_only_for_the_newest_state() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let key = storage.key("default", "a").unwrap();
    put(&storage, "default", "a", "u1 l n new").await;
    let stale = Object {
        key: key.clone(),
        value: Bytes::from("u1 l n old"),
        resource_version: 1,
    };
    let options = || UpdateOptions {
        hint: Hint::Object(stale.clone()),
        ..UpdateOptions::default()
    };
    let calls = AtomicU32::new(0);
    let update = |current: Current| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move {
            if current.object.unwrap().value.ends_with(b"old") {
                Err("old")
            } else {
                Ok(write("u1 l n newer"))
            }
        }
    };
    storage
        .guaranteed_update(&key, options(), update)
        .await
        .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let refused = storage
        .guaranteed_update(&key, options(), |_| async { Err::<Update, _>("never") })
        .await;
    assert!(matches!(refused, Err(UpdateError::Rejected("never"))));
    let refused = storage
        .delete(&key, DeleteOptions::default(), |_| async {
            Err::<(), _>("never")
        })
        .await;
    assert!(matches!(refused, Err(UpdateError::Rejected("never"))));
    // A missing object is made only on request.
    let missing = storage.key("default", "missing").unwrap();
    let update = |current: Current| async move {
        assert!(current.object.is_none());
        Ok::<_, ()>(write("u2 l n"))
    };
    let outcome = storage
        .guaranteed_update(&missing, UpdateOptions::default(), update)
        .await;
    assert!(matches!(
        outcome,
        Err(UpdateError::Storage(Error::NotFound { .. }))
    ));
    let options = UpdateOptions {
        ignore_not_found: true,
        ..UpdateOptions::default()
    };
    storage
        .guaranteed_update(&missing, options, update)
        .await
        .unwrap();
}

/// Many writers of one object, through two processes with caches that lag behind: no increment is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_updates_all_count_once() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 15;
    let etcd = etcd_or_return!();
    let processes = [
        Process::new(&etcd.endpoint()),
        Process::new(&etcd.endpoint()),
    ];
    let storages = [processes[0].pods().await, processes[1].pods().await];
    let before = put(&storages[0], "default", "counter", "u l n 0").await;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let storage = storages[writer as usize % 2].clone();
            tokio::spawn(async move {
                let key = storage.key("default", "counter").unwrap();
                for _ in 0..ROUNDS {
                    let increment = |current: Current| async move {
                        let text =
                            String::from_utf8(current.object.unwrap().value.to_vec()).unwrap();
                        let count: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
                        Ok::<_, ()>(write(format!("u l n {}", count + 1)))
                    };
                    storage
                        .guaranteed_update(&key, UpdateOptions::default(), increment)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let key = storages[0].key("default", "counter").unwrap();
    let counter = storages[0].get(&key, "").await.unwrap();
    assert_eq!(counter.value, format!("u l n {}", WRITERS * ROUNDS));
    assert_eq!(
        counter.resource_version,
        before + WRITERS * ROUNDS,
        "one revision for each update"
    );
}

#[tokio::test]
async fn objects_with_a_time_to_live_share_leases_and_expire() {
    let etcd = etcd_or_return!();
    let process = Process::new(&etcd.endpoint());
    let storage = process.pods().await;
    let mut watcher = watch_from(&storage, process.backend.current_revision().await.unwrap()).await;
    for number in 0..5 {
        let key = storage.key("default", &format!("event{number}")).unwrap();
        storage
            .create(&key, Bytes::from("u l n"), Some(Duration::from_secs(3600)))
            .await
            .unwrap();
        assert!(next(&mut watcher).await.starts_with("ADDED"));
    }
    let leases = etcd.client().await.leases().await.unwrap();
    assert_eq!(leases.leases().len(), 1);
    let lease = leases.leases()[0].id();
    let lease = etcd
        .client()
        .await
        .lease_time_to_live(lease, None)
        .await
        .unwrap();
    assert_eq!(lease.granted_ttl(), 3660);

    let key = storage.key("default", "short").unwrap();
    let created = storage
        .create(&key, Bytes::from("u l n"), Some(Duration::from_secs(1)))
        .await
        .unwrap();
    assert_eq!(
        next(&mut watcher).await,
        format!("ADDED default/short@{}", created.resource_version)
    );
    assert_eq!(
        next(&mut watcher).await,
        format!("DELETED default/short@{}", created.resource_version + 1)
    );
}

#[tokio::test]
async fn compaction_by_turns() {
    let etcd = etcd_or_return!();
    let config = |millis| EtcdConfig {
        endpoints: vec![etcd.endpoint()],
        compaction_interval: Duration::from_millis(millis),
        ..EtcdConfig::default()
    };
    let processes = [
        Process::with(config(150)),
        Process::with(config(170)),
        Process::with(config(0)),
    ];
    let storage = processes[0].pods().await;
    let first = put(&storage, "default", "a", "u l n").await;
    // The one that does not compact learns from the others' key.
    eventually(|| async {
        set(
            &storage,
            "default",
            "a",
            &format!("u l n {:?}", Instant::now()),
        )
        .await;
        let revisions: Vec<u64> = processes
            .iter()
            .map(|process| process.backend.compact_revision())
            .collect();
        if revisions.iter().all(|revision| *revision > first) {
            Ok(())
        } else {
            Err(format!("{revisions:?}, {first}"))
        }
    })
    .await;
    let options = etcd_client::GetOptions::new().with_revision(first as i64);
    let error = etcd
        .client()
        .await
        .get("/registry/pods/default/a", Some(options))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
}
