//! The one etcd watch that feeds all caches of a backend.
//!
//! Upstream opens a watch per resource and then cannot tell from a quiet one whether it is up to date: it needs progress
//! requests, which etcd serves reliably only from 3.4.31 and 3.5.13 on. This watch covers *all* keys, and every revision
//! of etcd changes some key, so the last event seen is the revision the caches are at, on any version of etcd. A
//! consistent read asks etcd for its revision and waits until the watch has passed it.
//!
//! Where etcd's access control does not let us watch all keys, the hub watches `--etcd-prefix` and uses progress requests
//! if the server's are reliable; otherwise consistent reads go to etcd, as upstream's do ([`Clock::tracks_revision`]).
//!
//! The hub resumes after the last revision it has published. Only when that is compacted do the caches start over.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::proto::PbEvent;
use etcd_client::{WatchOptions, WatchResponse};
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::storage::cacher::cache::{Cache, RawEvent};
use crate::storage::error::Error;
use crate::storage::etcd3::client::{EtcdClient, EtcdError, classify};
use crate::storage::etcd3::compact::{COMPACT_REV_KEY, CompactRevision};
use crate::storage::etcd3::revision::RevisionReader;
use crate::storage::key::prefix_end;

/// As upstream: how often progress is asked for while somebody waits.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LAST: Duration = Duration::from_secs(5);
/// The type number of a deletion in etcd's protocol.
pub(crate) const DELETE: i32 = 1;

/// How far the hub has come. All caches of the backend have applied everything up to [`Clock::revision`].
pub(crate) struct Clock {
    revision: AtomicU64,
    published: watch::Sender<u64>,
    /// There is a revision after which nothing will be missed.
    running: watch::Sender<bool>,
    tracks: AtomicBool,
    waiting: AtomicUsize,
    wanted: Notify,
}

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            revision: AtomicU64::new(0),
            published: watch::Sender::new(0),
            running: watch::Sender::new(false),
            tracks: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
        })
    }

    /// The last published revision, 0 before the hub has started.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether waiting for etcd's current revision makes sense.
    pub(crate) fn tracks_revision(&self) -> bool {
        self.tracks.load(Ordering::Relaxed)
    }

    /// Waits for a revision; false when it did not come in time.
    pub(crate) async fn wait(&self, revision: u64, timeout: Duration) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.wanted.notify_one();
        let mut published = self.published.subscribe();
        let reached = published.wait_for(|published| *published >= revision);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }

    /// Waits until the hub knows where it starts: a list made afterwards misses nothing that the hub does not deliver.
    pub(crate) async fn started(&self) {
        let mut running = self.running.subscribe();
        // The sender lives as long as `self`.
        let _ = running.wait_for(|running| *running).await;
    }

    /// Only ever forward.
    pub(crate) fn publish(&self, revision: u64) {
        if revision > self.revision() {
            self.revision.store(revision, Ordering::Release);
            self.published.send_replace(revision);
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    AllKeys,
    Prefix { progress: bool },
}

/// Why a watch ended.
pub(crate) enum Ended {
    /// The revision to resume from is gone.
    Compacted,
    /// All keys may not be watched.
    Denied,
    Broken(String),
}

pub(crate) struct Hub {
    pub(crate) client: Arc<EtcdClient>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) revisions: Arc<RevisionReader>,
    pub(crate) compacted: Arc<CompactRevision>,
    /// `/registry/`
    prefix: String,
    /// By key prefix.
    caches: RwLock<BTreeMap<Arc<str>, Arc<Cache>>>,
}

impl Hub {
    pub(crate) fn new(
        client: Arc<EtcdClient>,
        revisions: Arc<RevisionReader>,
        compacted: Arc<CompactRevision>,
        prefix: String,
    ) -> Self {
        Self {
            client,
            clock: Clock::new(),
            revisions,
            compacted,
            prefix,
            caches: RwLock::default(),
        }
    }

    /// Events below `root` go to this cache from now on.
    pub(crate) fn attach(&self, root: &Arc<str>, cache: Arc<Cache>) -> Result<(), Error> {
        let mut caches = self.caches.write();
        // A resource may come back before its old cache has ended.
        if caches.get(root).is_some_and(|cache| !cache.is_stopped()) {
            return Err(Error::internal(format!(
                "two resources are stored below {root}"
            )));
        }
        caches.insert(Arc::clone(root), cache);
        Ok(())
    }

    pub(crate) fn detach(&self, root: &Arc<str>, cache: &Arc<Cache>) {
        let mut caches = self.caches.write();
        if caches
            .get(root)
            .is_some_and(|attached| Arc::ptr_eq(attached, cache))
        {
            caches.remove(root);
        }
    }

    pub(crate) fn caches(&self) -> Vec<Arc<Cache>> {
        self.caches.read().values().cloned().collect()
    }

    /// Ends with the token.
    pub(crate) async fn run(self: Arc<Self>, token: CancellationToken) {
        // Ending in the middle of an await is all there is to do: the token also ends the caches.
        let _ = token.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let mut mode = Mode::AllKeys;
        let mut position = self.position().await;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let before = position;
            let ended = self.watch(mode, &mut position).await;
            if position > before {
                backoff = BACKOFF_FIRST;
            }
            match ended {
                Ended::Compacted => {
                    warn!(
                        position,
                        "etcd watch: the revision to resume from is compacted, all caches start over"
                    );
                    // In this order: no cache may show old contents at the new revision, nor list before it is read.
                    self.clock.running.send_replace(false);
                    for cache in self.caches() {
                        cache.reset("the watch's revision was compacted");
                    }
                    position = self.position().await;
                }
                Ended::Denied if mode == Mode::AllKeys => {
                    let progress = self.progress_supported().await;
                    info!(prefix = %self.prefix, progress, "etcd does not let us watch all keys, watching the prefix");
                    mode = Mode::Prefix { progress };
                    self.clock.tracks.store(progress, Ordering::Relaxed);
                }
                Ended::Denied => {
                    warn!(prefix = %self.prefix, "etcd watch: permission denied");
                    tokio::time::sleep(BACKOFF_LAST).await;
                }
                Ended::Broken(reason) => {
                    warn!(position, %reason, "etcd watch broken, resuming");
                    tokio::time::sleep(backoff.mul_f64(1.0 + rand::random::<f64>() * 0.5)).await;
                    backoff = (backoff * 2).min(BACKOFF_LAST);
                }
            }
        }
    }

    /// A revision to start after, read until etcd answers.
    async fn position(&self) -> u64 {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.revisions.current().await {
                Ok(revision) => {
                    self.clock.publish(revision);
                    self.clock.running.send_replace(true);
                    return revision;
                }
                Err(error) => warn!(%error, "etcd watch: cannot read the revision to start from"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    async fn watch(&self, mode: Mode, position: &mut u64) -> Ended {
        let (endpoint_index, endpoint) = self.client.endpoint();
        let mut watch = endpoint.watch.clone();
        let start = i64::try_from(*position + 1).unwrap_or(i64::MAX);
        let options = WatchOptions::new()
            .with_start_revision(start)
            .with_progress_notify();
        let (key, options) = match mode {
            Mode::AllKeys => ("", options.with_all_keys()),
            Mode::Prefix { .. } => (
                self.prefix.as_str(),
                options.with_range(prefix_end(self.prefix.as_bytes())),
            ),
        };
        let open = tokio::time::timeout(OPEN_TIMEOUT, watch.watch(key, Some(options)));
        let mut stream = match open.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.client.failed(endpoint_index);
                return ended(classify(error));
            }
            Err(_) => {
                self.client.failed(endpoint_index);
                return Ended::Broken(format!("{}: no answer", endpoint.url));
            }
        };
        let mut next_progress = Instant::now();
        loop {
            let message = match mode {
                Mode::Prefix { progress: true } => tokio::select! {
                    message = stream.message() => message,
                    () = self.progress_wanted(next_progress) => {
                        next_progress = Instant::now() + PROGRESS_PERIOD;
                        if let Err(error) = stream.request_progress().await {
                            return ended(classify(error));
                        }
                        continue;
                    }
                },
                _ => stream.message().await,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return Ended::Broken("closed by the server".to_owned()),
                Err(error) => {
                    self.client.failed(endpoint_index);
                    return ended(classify(error));
                }
            };
            if let Some(ended) = canceled(&response) {
                return ended;
            }
            let revision = if response.0.events.is_empty() {
                if response.created() || mode != (Mode::Prefix { progress: true }) {
                    continue;
                }
                // Everything up to here has been delivered.
                self.caches()
                    .iter()
                    .for_each(|cache| cache.store.metrics.bookmark());
                response
                    .0
                    .header
                    .as_ref()
                    .map_or(0, |header| unsigned(header.revision))
            } else {
                self.dispatch(response.0.events)
            };
            *position = (*position).max(revision);
            self.clock.publish(*position);
        }
    }

    /// Hands events to the caches; gives back the last revision.
    fn dispatch(&self, events: Vec<PbEvent>) -> u64 {
        let mut last = 0;
        let mut batches: Vec<(Arc<Cache>, Vec<RawEvent>)> = Vec::new();
        {
            let caches = self.caches.read();
            for event in events {
                let deleted = event.r#type == DELETE;
                let Some(kv) = event.kv else { continue };
                let revision = unsigned(kv.mod_revision);
                last = last.max(revision);
                if kv.key == COMPACT_REV_KEY.as_bytes() {
                    self.compacted.observe_value(&kv.value);
                    continue;
                }
                // A key that is no UTF-8 is none of ours.
                let Ok(key) = String::from_utf8(kv.key) else {
                    continue;
                };
                let Some((root, cache)) = caches
                    .range::<str, _>((Bound::Unbounded, Bound::Included(key.as_str())))
                    .next_back()
                else {
                    continue;
                };
                if !key.starts_with(&**root) {
                    continue;
                }
                let event = RawEvent {
                    key,
                    value: (!deleted).then(|| kv.value.into()),
                    revision,
                };
                match batches
                    .iter_mut()
                    .find(|(candidate, _)| Arc::ptr_eq(candidate, cache))
                {
                    Some((_, batch)) => batch.push(event),
                    None => batches.push((Arc::clone(cache), vec![event])),
                }
            }
        }
        for (cache, batch) in batches {
            cache.apply(batch);
        }
        last
    }

    /// Comes back when somebody is waiting, but not before `next`.
    async fn progress_wanted(&self, next: Instant) {
        tokio::time::sleep_until(next).await;
        while self.clock.waiting.load(Ordering::Relaxed) == 0 {
            self.clock.wanted.notified().await;
        }
    }

    /// Whether all members answer progress requests in order with events (etcd #15220, #17507).
    async fn progress_supported(&self) -> bool {
        for endpoint in self.client.endpoints() {
            let mut maintenance = endpoint.maintenance.clone();
            let status = tokio::time::timeout(OPEN_TIMEOUT, maintenance.status()).await;
            let supported = match status {
                Ok(Ok(status)) => EtcdVersion::parse(status.version())
                    .is_some_and(|version| version.supports_progress()),
                _ => false,
            };
            if !supported {
                return false;
            }
        }
        true
    }
}

/// A server version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdVersion {
    /// 3
    pub major: u32,
    /// 6
    pub minor: u32,
    /// 9
    pub patch: u32,
}

impl EtcdVersion {
    /// "3.6.9", with or without something behind a dash or plus.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['-', '+']).next()?.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        })
    }

    /// Upstream's rule for RequestWatchProgress.
    pub fn supports_progress(self) -> bool {
        let version = |minor, patch| Self {
            major: 3,
            minor,
            patch,
        };
        self >= version(5, 13) || (self >= version(4, 31) && self < version(5, 0))
    }
}

impl std::fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

pub(crate) fn canceled(response: &WatchResponse) -> Option<Ended> {
    let reason = response.cancel_reason();
    if response.compact_revision() > 0 || reason.contains("has been compacted") {
        return Some(Ended::Compacted);
    }
    if !response.canceled() {
        return None;
    }
    Some(if reason.contains("permission denied") {
        Ended::Denied
    } else {
        Ended::Broken(reason.to_owned())
    })
}

pub(crate) fn ended(error: EtcdError) -> Ended {
    match error {
        EtcdError::Compacted => Ended::Compacted,
        EtcdError::Refused {
            code: tonic::Code::PermissionDenied,
            ..
        } => Ended::Denied,
        error => Ended::Broken(error.to_string()),
    }
}

pub(crate) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of upstream's feature support checker tests.
    #[test]
    fn progress_by_version() {
        for (version, expected) in [
            ("3.4.23", false),
            ("3.4.30", false),
            ("3.4.31", true),
            ("3.4.99", true),
            ("3.5.0", false),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.5.13-rc.1", true),
            ("3.6.9", true),
            ("4.0.0", true),
        ] {
            assert_eq!(
                EtcdVersion::parse(version).unwrap().supports_progress(),
                expected,
                "{version}"
            );
        }
        for bad in ["", "3", "3.5", "x.y.z"] {
            assert_eq!(EtcdVersion::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clock_goes_forward_only() {
        let clock = Clock::new();
        clock.publish(5);
        clock.publish(3);
        assert_eq!(clock.revision(), 5);
        assert!(clock.wait(5, Duration::from_secs(1)).await);
        assert!(!clock.wait(6, Duration::from_secs(1)).await);
        let waiter = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { clock.wait(7, Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        clock.publish(9);
        assert!(waiter.await.unwrap());
        assert_eq!(clock.waiting.load(Ordering::Relaxed), 0);
    }
}
