//! Keeps a store equal to a collection of the server. Upstream: `client-go/tools/cache.Reflector`, KEP-3157 (watch list).
//!
//! One round: get everything, then follow the changes until that is no longer possible. Everything is got as a stream of
//! initial events on the watch itself (up to the bookmark that ends them); from a server that refuses this, as pages of a list.
//! A watch that ends is taken up again at the last seen version; only when the server no longer has that version, or answers
//! something unexpected, the next round begins, after a backoff.
//!
//! Invariants: the sink sees a whole collection or single changes, never a part of a collection; a change is passed on once per
//! receipt, in order of versions; nothing is passed on after the token is cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::ListOptions;
use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::list_watch::{Events, ListScope, ListWatch};
use super::object::{AnyObject, Cacheable};
use super::transforms::Transform;
use crate::error::Error;
use crate::key::ObjectKey;
use crate::watch::WatchEvent;

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
const PAGE: i64 = 500;
const MIN_WATCH: Duration = Duration::from_secs(5 * 60);
const MAX_WATCH: Duration = Duration::from_secs(10 * 60);
/// How much longer than the server's own limit a silent watch is kept. HTTP/2 pings notice a dead link sooner.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// A watch that ends without an event in less than this counts as a failure.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// Where a reflector writes.
pub(super) trait Sink: Send + Sync {
    /// The collection is exactly this.
    fn replace(&self, objects: Vec<AnyObject>, resource_version: &str);
    /// An object is new or changed.
    fn upsert(&self, object: AnyObject);
    /// An object is gone.
    fn delete(&self, last: AnyObject);
    /// Nothing changed up to this version.
    fn bookmark(&self, resource_version: &str);
}

/// See the module.
pub(super) struct Reflector {
    source: Arc<dyn ListWatch>,
    sink: Arc<dyn Sink>,
    scope: ListScope<dyn Cacheable>,
    backoff: Backoff,
    /// Cleared for good when the server does not know initial events.
    use_watch_list: bool,
    /// The version of the last list, event or bookmark; "" before the first.
    version: String,
    /// The server no longer has, or does not have yet, `version`: read the newest state instead.
    version_unavailable: bool,
}

/// Why following the changes came to an end.
enum WatchEnd {
    /// Take it up again at the last version.
    Resume,
    /// Begin a new round.
    Relist,
}

impl Reflector {
    pub(super) fn new(
        source: Arc<dyn ListWatch>,
        sink: Arc<dyn Sink>,
        scope: ListScope<dyn Cacheable>,
    ) -> Self {
        Self {
            source,
            sink,
            scope,
            backoff: Backoff::new(),
            use_watch_list: true,
            version: String::new(),
            version_unavailable: false,
        }
    }

    /// Runs until the token is cancelled.
    pub(super) async fn run(mut self, token: &CancellationToken) {
        token
            .run_until_cancelled(async {
                loop {
                    if let Err(error) = self.round().await {
                        tracing::warn!(resource = self.source.describe(), %error, "Failed to list or watch, trying again");
                    }
                    tokio::time::sleep(self.backoff.next()).await;
                }
            })
            .await;
    }

    async fn round(&mut self) -> Result<(), Error> {
        let mut events = None;
        if self.use_watch_list {
            match self.watch_list().await {
                Ok(stream) => events = Some(stream),
                Err(error) => {
                    tracing::info!(
                        resource = self.source.describe(), %error,
                        "The watchlist request ended with an error, falling back to the standard LIST/WATCH semantics"
                    );
                    // Servers without the feature call the parameter invalid or forbidden.
                    self.use_watch_list = !(error.is_invalid() || error.is_bad_request());
                }
            }
        }
        if events.is_none() {
            self.list().await?;
        }
        self.follow(events).await
    }

    /// Gets everything as initial events; the stream that gave them goes on with the changes.
    async fn watch_list(&mut self) -> Result<Events, Error> {
        loop {
            let version = if self.version_unavailable {
                String::new()
            } else {
                self.version.clone()
            };
            let options = ListOptions {
                resource_version: version,
                resource_version_match: "NotOlderThan".into(),
                send_initial_events: Some(true),
                ..self.watch_options()
            };
            let attempt = async {
                let mut stream = self.source.watch(&options).await?;
                Ok::<_, Error>(
                    collect_initial(&mut stream, self.scope.transform.as_ref())
                        .await?
                        .map(|initial| (initial, stream)),
                )
            };
            match attempt.await {
                Ok(Some(((objects, version), stream))) => {
                    self.version_unavailable = false;
                    self.sink.replace(objects, &version);
                    self.version = version;
                    return Ok(stream);
                }
                // The stream ended before the bookmark.
                Ok(None) => tokio::time::sleep(self.backoff.next()).await,
                Err(error) if is_retriable(&error) || error.is_connection() => {
                    tracing::debug!(resource = self.source.describe(), %error, "watch-list failed - backing off");
                    tokio::time::sleep(self.backoff.next()).await;
                }
                Err(error) if error.is_gone() || error.is_too_large_resource_version() => {
                    if self.version_unavailable {
                        tokio::time::sleep(self.backoff.next()).await;
                    }
                    self.version_unavailable = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gets everything as a list, in pages where the server has to read them from its storage.
    async fn list(&mut self) -> Result<(), Error> {
        let version = match (self.version_unavailable, self.version.as_str()) {
            (true, _) => String::new(),
            // The first time anything the server has is good enough; later we must not go back in time.
            (false, "") => "0".to_owned(),
            (false, version) => version.to_owned(),
        };
        let listed = match self.pages(version.clone()).await {
            Err(error)
                if !version.is_empty()
                    && (error.is_gone() || error.is_too_large_resource_version()) =>
            {
                self.version_unavailable = true;
                self.pages(String::new()).await?
            }
            other => other?,
        };
        let (objects, version) = listed;
        self.version_unavailable = false;
        self.sink.replace(objects, &version);
        self.version = version;
        Ok(())
    }

    async fn pages(&self, resource_version: String) -> Result<(Vec<AnyObject>, String), Error> {
        let limit = if matches!(resource_version.as_str(), "" | "0") {
            PAGE
        } else {
            0
        };
        let mut options = ListOptions {
            resource_version,
            limit,
            ..self.scope.options()
        };
        let mut objects = Vec::new();
        loop {
            let page = match self.source.list(&options).await {
                // The token outlived its version half way: one piece, then.
                Err(error) if error.is_gone() && !options.continue_.is_empty() => {
                    objects.clear();
                    options = self.scope.options();
                    self.source.list(&options).await?
                }
                other => other?,
            };
            objects.extend(
                page.items
                    .into_iter()
                    .map(|object| prepare(self.scope.transform.as_ref(), object)),
            );
            if page.continue_.is_empty() {
                return Ok((objects, page.resource_version));
            }
            options.continue_ = page.continue_;
            options.resource_version = String::new();
        }
    }

    /// Passes on changes until a new round is needed.
    async fn follow(&mut self, mut events: Option<Events>) -> Result<(), Error> {
        loop {
            let stream = match events.take() {
                Some(stream) => stream,
                None => {
                    let options = ListOptions {
                        resource_version: self.version.clone(),
                        ..self.watch_options()
                    };
                    match self.source.watch(&options).await {
                        Ok(stream) => stream,
                        // The server is away or busy: what we have stays good, so there is no need to list again.
                        Err(error) if is_retriable(&error) || error.is_connection() => {
                            tracing::debug!(resource = self.source.describe(), %error, "watch failed - backing off");
                            tokio::time::sleep(self.backoff.next()).await;
                            continue;
                        }
                        Err(error) if error.is_gone() => {
                            self.version_unavailable = true;
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            match self.pass_on(stream).await? {
                WatchEnd::Resume => {}
                WatchEnd::Relist => return Ok(()),
            }
        }
    }

    async fn pass_on(&mut self, mut stream: Events) -> Result<WatchEnd, Error> {
        let started = Instant::now();
        let deadline = started + MAX_WATCH + WATCH_GRACE;
        let mut count = 0u64;
        loop {
            let event = match tokio::time::timeout_at(deadline, stream.next()).await {
                Ok(Some(event)) => event,
                Ok(None) | Err(_) => break,
            };
            match event {
                Ok(event) => {
                    count += 1;
                    self.apply(event);
                }
                Err(error) if error.is_connection() => {
                    tracing::debug!(resource = self.source.describe(), %error, "watch broke, resuming");
                    break;
                }
                Err(error) if error.is_gone() => {
                    tracing::info!(resource = self.source.describe(), %error, "watch closed, listing again");
                    self.version_unavailable = true;
                    return Ok(WatchEnd::Relist);
                }
                Err(error) if error.is_too_many_requests() => {
                    tokio::time::sleep(self.backoff.next()).await;
                    return Ok(WatchEnd::Resume);
                }
                Err(error) => return Err(error),
            }
        }
        if count == 0 && started.elapsed() < SHORT_WATCH {
            tracing::debug!(
                resource = self.source.describe(),
                "very short watch: closed in less than a second and no items received"
            );
            tokio::time::sleep(self.backoff.next()).await;
        }
        Ok(WatchEnd::Resume)
    }

    fn watch_options(&self) -> ListOptions {
        ListOptions {
            allow_watch_bookmarks: true,
            timeout_seconds: Some(watch_seconds()),
            ..self.scope.options()
        }
    }

    fn apply(&mut self, event: WatchEvent<AnyObject>) {
        let version = event.object().object_meta().resource_version.clone();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => self
                .sink
                .upsert(prepare(self.scope.transform.as_ref(), object)),
            WatchEvent::Deleted(object) => self
                .sink
                .delete(prepare(self.scope.transform.as_ref(), object)),
            WatchEvent::Bookmark(_) => self.sink.bookmark(&version),
        }
        self.version = version;
    }
}

fn prepare(transform: Option<&Transform<dyn Cacheable>>, mut object: AnyObject) -> AnyObject {
    if let Some(transform) = transform {
        transform(Arc::get_mut(&mut object).expect("an object just read has one owner"));
    }
    object
}

/// Spread, so that the watches of many clients do not end together.
fn watch_seconds() -> i64 {
    let spread = (MAX_WATCH - MIN_WATCH).mul_f64(rand::random());
    i64::try_from((MIN_WATCH + spread).as_secs()).unwrap_or(i64::MAX)
}

/// The objects of the initial events and their version; `None` when the stream ends before they are complete.
async fn collect_initial(
    stream: &mut Events,
    transform: Option<&Transform<dyn Cacheable>>,
) -> Result<Option<(Vec<AnyObject>, String)>, Error> {
    let mut objects: HashMap<ObjectKey, AnyObject> = HashMap::new();
    while let Some(event) = stream.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                objects.insert(ObjectKey::of(&*object), prepare(transform, object));
            }
            WatchEvent::Deleted(object) => {
                objects.remove(&ObjectKey::of(&*object));
            }
            WatchEvent::Bookmark(object) => {
                let metadata = object.object_meta();
                if metadata
                    .annotations
                    .get(INITIAL_EVENTS_END)
                    .is_some_and(|value| value == "true")
                {
                    return Ok(Some((
                        objects.into_values().collect(),
                        metadata.resource_version.clone(),
                    )));
                }
            }
        }
    }
    Ok(None)
}

/// The server cannot serve us now, and the last version is as good as before.
fn is_retriable(error: &Error) -> bool {
    error.is_connection_refused() || error.is_too_many_requests()
}

/// 0.8 s doubling to 30 s, each up to twice as long by chance; begins anew after two quiet minutes.
pub(super) struct Backoff {
    next: Duration,
    last: Option<Instant>,
}

impl Backoff {
    const INITIAL: Duration = Duration::from_millis(800);
    const MAX: Duration = Duration::from_secs(30);
    const RESET: Duration = Duration::from_secs(120);

    fn new() -> Self {
        Self {
            next: Self::INITIAL,
            last: None,
        }
    }

    fn next(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last > Self::RESET) {
            self.next = Self::INITIAL;
        }
        self.last = Some(now);
        let delay = self.next;
        self.next = (self.next * 2).min(Self::MAX);
        delay.mul_f64(1.0 + rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_up_to_its_limit_and_starts_over_after_quiet() {
        let mut backoff = Backoff::new();
        for expected in [800u64, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let delay = backoff.next();
            let expected = Duration::from_millis(expected);
            assert!(
                delay >= expected && delay <= expected * 2,
                "{delay:?} is not within [{expected:?}, 2x]"
            );
        }
        tokio::time::advance(Duration::from_secs(121)).await;
        assert!(backoff.next() <= Duration::from_millis(1600));
    }

    #[test]
    fn watch_timeouts_are_spread() {
        for _ in 0..100 {
            let seconds = watch_seconds();
            assert!((300..=600).contains(&seconds), "{seconds}");
        }
    }
}
