//! Watches of resources without a watch cache, one etcd watch each. Upstream: etcd3/watcher.go.
//!
//! The last revision delivered is remembered: a broken connection is resumed, and only a compacted revision ends the
//! watch, with an error. Bookmarks come when etcd sends progress notifications of its own accord.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbEvent;
use etcd_client::{WatchOptions as EtcdWatchOptions, WatchResponse};
use tokio::sync::mpsc;
use tracing::debug;

use crate::storage::cacher::watch::{EventType, ObjectEvent, WatchEvent};
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::etcd3::client::classify;
use crate::storage::etcd3::hub::{DELETE, Ended, OPEN_TIMEOUT, canceled, ended, unsigned};
use crate::storage::etcd3::list::check_minimum_version;
use crate::storage::etcd3::store::{RawKeyValue, Store};
use crate::storage::key::{Scope, prefix_end};
use crate::storage::options::{ListOptions, Predicate, WatchOptions};
use crate::storage::resource::parse_resource_version;

/// Events on their way to the client, as upstream.
const QUEUE: usize = 100;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// Starts the watch; it ends when the receiver is dropped.
pub(crate) fn start(
    store: Arc<Store>,
    scope: Scope,
    options: WatchOptions,
    predicate: Arc<dyn Predicate>,
) -> mpsc::Receiver<WatchEvent> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let watch = Watch {
            store,
            scope,
            options,
            predicate,
            sender,
        };
        let ended = tokio::select! {
            ended = watch.run() => ended,
            () = watch.sender.closed() => return,
        };
        if let Err(Stop::Failed(error)) = ended {
            // The client may have gone at the same time.
            let _ = watch.sender.send(WatchEvent::Error(error)).await;
        }
    });
    receiver
}

struct Watch {
    store: Arc<Store>,
    scope: Scope,
    options: WatchOptions,
    predicate: Arc<dyn Predicate>,
    sender: mpsc::Sender<WatchEvent>,
}

enum Stop {
    Failed(Error),
    ClientGone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Watch {
    async fn run(&self) -> Result<(), Stop> {
        let requested = parse_resource_version(&self.options.resource_version)?;
        let initial = match self.options.send_initial_events {
            Some(wanted) => wanted,
            None => requested == 0,
        };
        let mut revision = if initial {
            self.initial_events().await?
        } else if requested == 0 {
            self.store.revisions.current().await?
        } else {
            requested
        };
        let mut backoff = BACKOFF_FIRST;
        loop {
            let before = revision;
            match self.follow(&mut revision).await? {
                Ended::Compacted => {
                    return Err(Error::expired(
                        "The resourceVersion for the provided watch is too old.",
                    )
                    .into());
                }
                Ended::Denied => {
                    return Err(Error::internal("etcdserver: permission denied").into());
                }
                Ended::Broken(reason) => debug!(%reason, revision, "etcd watch broken, resuming"),
            }
            if revision > before {
                backoff = BACKOFF_FIRST;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    /// Sends the objects there are; gives back their revision.
    async fn initial_events(&self) -> Result<u64, Stop> {
        let list = self
            .store
            .list(
                &self.scope,
                &ListOptions::default(),
                Arc::clone(&self.predicate),
            )
            .await?;
        let revision = list.resource_version();
        check_minimum_version(&self.options.resource_version, revision)?;
        for entry in list.iter() {
            let version = entry.resource_version();
            self.send(WatchEvent::Object(ObjectEvent::new(
                EventType::Added,
                entry,
                version,
            )))
            .await?;
        }
        if self.options.send_initial_events == Some(true) && self.options.allow_bookmarks {
            self.send(WatchEvent::Bookmark {
                resource_version: revision,
                initial_events_end: true,
            })
            .await?;
        }
        Ok(revision)
    }

    async fn follow(&self, revision: &mut u64) -> Result<Ended, Stop> {
        let (index, endpoint) = self.store.client.endpoint();
        let mut watch = endpoint.watch.clone();
        let start = i64::try_from(*revision + 1).unwrap_or(i64::MAX);
        let mut options = EtcdWatchOptions::new()
            .with_start_revision(start)
            .with_prev_key()
            .with_progress_notify();
        if self.scope.recursive {
            options = options.with_range(prefix_end(self.scope.prefix.as_bytes()));
        }
        let open = tokio::time::timeout(
            OPEN_TIMEOUT,
            watch.watch(&*self.scope.prefix, Some(options)),
        );
        let mut stream = match open.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.store.client.failed(index);
                return Ok(ended(classify(error)));
            }
            Err(_) => {
                self.store.client.failed(index);
                return Ok(Ended::Broken("no answer".to_owned()));
            }
        };
        loop {
            let response: WatchResponse = match stream.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(Ended::Broken("closed by the server".to_owned())),
                Err(error) => {
                    self.store.client.failed(index);
                    return Ok(ended(classify(error)));
                }
            };
            if let Some(ended) = canceled(&response) {
                return Ok(ended);
            }
            if response.0.events.is_empty() {
                let progress = response
                    .0
                    .header
                    .as_ref()
                    .map_or(0, |header| unsigned(header.revision));
                if !response.created() && self.options.allow_bookmarks && progress > *revision {
                    self.store.metrics.bookmark();
                    self.send(WatchEvent::Bookmark {
                        resource_version: progress,
                        initial_events_end: false,
                    })
                    .await?;
                }
                continue;
            }
            self.store
                .metrics
                .storage_events_received()
                .inc_by(response.0.events.len() as f64);
            for event in response.0.events {
                let at = event.kv.as_ref().map_or(0, |kv| unsigned(kv.mod_revision));
                if let Some(event) = self.convert(event, at)? {
                    self.send(event).await?;
                }
                *revision = (*revision).max(at);
            }
        }
    }

    fn convert(&self, event: PbEvent, revision: u64) -> Result<Option<WatchEvent>, Error> {
        let Some(kv) = event.kv else { return Ok(None) };
        let deleted = event.r#type == DELETE;
        let created = !deleted && kv.create_revision == kv.mod_revision;
        let entry = |kv: etcd_client::proto::PbKeyValue| {
            let key =
                String::from_utf8(kv.key).map_err(|_| Error::internal("etcd key is no UTF-8"))?;
            let raw = RawKeyValue {
                key,
                value: kv.value.into(),
                revision: unsigned(kv.mod_revision),
            };
            self.store.entry(raw).map(Arc::new)
        };
        let previous = match event.prev_kv {
            Some(kv) => Some(entry(kv)?),
            None if created => None,
            None => {
                return Err(Error::internal(format!(
                    "etcd event received with PrevKv=nil (key={:?}, modRevision={revision}, type={})",
                    String::from_utf8_lossy(&kv.key),
                    if deleted { "DELETE" } else { "PUT" }
                )));
            }
        };
        let current = if deleted { None } else { Some(entry(kv)?) };
        let selected =
            |entry: Option<Arc<Entry>>| entry.filter(|entry| self.predicate.matches(entry));
        let (event_type, entry) = match (selected(current), selected(previous)) {
            (Some(current), None) => (EventType::Added, current),
            (Some(current), Some(_)) => (EventType::Modified, current),
            (None, Some(previous)) => (EventType::Deleted, previous),
            (None, None) => return Ok(None),
        };
        Ok(Some(WatchEvent::Object(ObjectEvent::new(
            event_type, entry, revision,
        ))))
    }

    async fn send(&self, event: WatchEvent) -> Result<(), Stop> {
        self.sender.send(event).await.map_err(|_| Stop::ClientGone)
    }
}
