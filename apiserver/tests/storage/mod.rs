//! Storage against a real etcd, one server per test. Tests pass with a message when there is no `etcd` in PATH.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and say why they skip"
)]

mod cache;
mod cost;
pub(crate) mod etcd;
mod faults;
mod outage;
mod tls;
mod writes;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::under_test::{
    Backend, Entry, EtcdConfig, Everything, Header, HeaderError, List, ListOptions, Pairs,
    Predicate, ResourceConfig, Storage, StorageMetrics, WatchEvent, WatchOptions, Watcher,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Values are "uid label node rest"; what starts with "!" cannot be read.
fn header(_: &str, value: &[u8]) -> Result<Header, HeaderError> {
    let text = std::str::from_utf8(value).map_err(|error| HeaderError(error.to_string()))?;
    if text.starts_with('!') {
        return Err(HeaderError("unreadable".to_owned()));
    }
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let uid = word().into();
    Ok(Header {
        uid,
        labels: Pairs::new([("l", word())]),
        fields: Pairs::new([("spec.nodeName", word())]),
        deleting: false,
    })
}

fn pods() -> ResourceConfig {
    let mut config = ResourceConfig::new("", "pods", "pods", true, Arc::new(header));
    config.index_field = Some("spec.nodeName");
    config
}

/// A backend that ends with the test.
struct Process {
    backend: Backend,
    token: CancellationToken,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Process {
    fn new(endpoint: &str) -> Self {
        Self::with(EtcdConfig {
            endpoints: vec![endpoint.to_owned()],
            ..EtcdConfig::default()
        })
    }

    fn with(config: EtcdConfig) -> Self {
        Self::counting(config, &prometheus::Registry::new())
    }

    /// One whose metrics can be read.
    fn counting(config: EtcdConfig, registry: &prometheus::Registry) -> Self {
        let token = CancellationToken::new();
        let metrics = StorageMetrics::new(registry).unwrap();
        let backend = Backend::new(config, metrics, token.clone()).unwrap();
        backend.start();
        Self { backend, token }
    }

    /// Cached pods, filled.
    async fn pods(&self) -> Storage {
        let storage = self.backend.storage(pods()).unwrap();
        storage.wait_ready(LIMIT).await.unwrap();
        storage
    }

    /// The same keys without a cache.
    fn uncached(&self) -> Storage {
        self.backend
            .storage(ResourceConfig {
                watch_cache: false,
                ..pods()
            })
            .unwrap()
    }
}

async fn put(storage: &Storage, namespace: &str, name: &str, value: &str) -> u64 {
    let key = storage.key(namespace, name).unwrap();
    storage
        .create(&key, Bytes::from(value.to_owned()), None)
        .await
        .unwrap()
        .resource_version
}

async fn set(storage: &Storage, namespace: &str, name: &str, value: &str) -> u64 {
    use crate::under_test::{Update, UpdateOptions};
    let key = storage.key(namespace, name).unwrap();
    let options = UpdateOptions {
        ignore_not_found: true,
        ..UpdateOptions::default()
    };
    let update = |_| async {
        Ok::<_, ()>(Update::Write {
            value: Bytes::from(value.to_owned()),
            ttl: None,
        })
    };
    storage
        .guaranteed_update(&key, options, update)
        .await
        .unwrap()
        .resource_version
}

async fn delete(storage: &Storage, namespace: &str, name: &str) -> u64 {
    let key = storage.key(namespace, name).unwrap();
    let options = crate::under_test::DeleteOptions::default();
    storage
        .delete(&key, options, |_| async { Ok::<_, ()>(()) })
        .await
        .unwrap()
        .resource_version
}

fn everything() -> Arc<dyn Predicate> {
    Arc::new(Everything)
}

/// Selects by the label or the field.
#[derive(Clone)]
struct Select {
    label: Option<&'static str>,
    node: Option<String>,
    name: Option<String>,
}

impl Predicate for Select {
    fn matches(&self, entry: &Entry) -> bool {
        self.label
            .is_none_or(|label| entry.labels().get("l") == Some(label))
            && self
                .node
                .as_deref()
                .is_none_or(|node| entry.field("spec.nodeName") == Some(node))
            && self.name.as_deref().is_none_or(|name| entry.name() == name)
    }

    fn exact_field(&self, field: &str) -> Option<&str> {
        match field {
            "spec.nodeName" => self.node.as_deref(),
            "metadata.name" => self.name.as_deref(),
            _ => None,
        }
    }
}

fn names(list: &List) -> Vec<String> {
    list.iter()
        .map(|entry| format!("{}/{}", entry.namespace(), entry.name()))
        .collect()
}

async fn list_all(storage: &Storage) -> List {
    let scope = storage.scope("", "").unwrap();
    storage
        .list(&scope, &ListOptions::default(), everything())
        .await
        .unwrap()
}

async fn watch_from(storage: &Storage, version: u64) -> Watcher {
    let scope = storage.scope("", "").unwrap();
    let options = WatchOptions {
        resource_version: version.to_string(),
        ..WatchOptions::default()
    };
    storage.watch(&scope, &options, everything()).await.unwrap()
}

/// The next event as text, e.g. "ADDED default/a@7"; "end" when the watch is over.
async fn next(watcher: &mut Watcher) -> String {
    match tokio::time::timeout(LIMIT, watcher.next()).await {
        Err(_) => panic!("no event in {LIMIT:?}"),
        Ok(None) => "end".to_owned(),
        Ok(Some(WatchEvent::Object(event))) => {
            let entry = event.entry();
            format!(
                "{} {}/{}@{}",
                event.event_type().as_str(),
                entry.namespace(),
                entry.name(),
                event.resource_version()
            )
        }
        Ok(Some(WatchEvent::Bookmark {
            resource_version, ..
        })) => format!("BOOKMARK {resource_version}"),
        Ok(Some(WatchEvent::Error(error))) => format!("ERROR {error}"),
    }
}

/// Polls until `probe` says so, and tells its last word when it does not.
async fn eventually<Fut: Future<Output = Result<(), String>>>(mut probe: impl FnMut() -> Fut) {
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe().await {
            Ok(()) => return,
            Err(state) if Instant::now() > deadline => panic!("not in {LIMIT:?}: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A server, or the end of the test.
macro_rules! etcd_or_return {
    () => {
        match $crate::storage::etcd::Etcd::start().await {
            Some(etcd) => etcd,
            None => return,
        }
    };
}
pub(crate) use etcd_or_return;
