//! What a watch request gets. Upstream: cacher/cache_watcher.go.
//!
//! A watcher is a cursor: first over a snapshot (initial events), then over the ring. It holds a handful of event
//! pointers and no queue. When its cursor falls off the ring it is over; the client watches again and is told that its
//! version is too old, as with upstream.
//!
//! Thousands of watchers get the same event one after the other, and what each has of its own is in no processor's cache by then. So
//! one event touches as little of a watcher as it can, and counts few references, of which the processors would take turns.
//!
//! A bookmark at revision R is sent when the hub has published R, and nothing was waiting for this watcher after that
//! was read: every event up to R that concerns it was then delivered before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::storage::cacher::cache::Cache;
use crate::storage::cacher::list::end;
use crate::storage::cacher::ring::Event;
use crate::storage::cacher::tree::Cursor;
use crate::storage::cacher::watchers::{Interest, NONE, Slot};
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::key::Scope;
use crate::storage::options::{Predicate, WatchOptions};
use crate::storage::resource::parse_resource_version;

const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before the deadline the last bookmark is sent.
const BOOKMARK_BEFORE_DEADLINE: Duration = Duration::from_secs(2);
/// Events taken from the ring at once.
const BATCH: usize = 64;
/// Events looked at under one lock.
const SCAN: u64 = 4096;
/// Objects of the snapshot looked at before other tasks get a turn.
const INITIAL_SCAN: usize = 4096;

/// What happened to an object, as a watcher with its selection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It is new, or came into the selection.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or left the selection.
    Deleted,
}

impl EventType {
    /// "ADDED", "MODIFIED", "DELETED".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Names one way to encode an event: media type, version, transformation. Chosen by the caller; the event type need not
/// be part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodingKey(pub u64);

/// One thing to send to the client.
#[derive(Debug)]
pub enum WatchEvent {
    /// ADDED, MODIFIED or DELETED.
    Object(ObjectEvent),
    /// A BOOKMARK: an object of the resource's kind with nothing but this version, and the annotation
    /// `k8s.io/initial-events-end: "true"` if `initial_events_end`.
    Bookmark {
        /// Version to resume from.
        resource_version: u64,
        /// All initial events have been sent.
        initial_events_end: bool,
    },
    /// An ERROR with a Status; the stream ends after it.
    Error(Error),
}

/// A change of one object.
pub struct ObjectEvent {
    event_type: EventType,
    resource_version: u64,
    origin: Origin,
}

enum Origin {
    /// What other watchers get too. It has the object that its type is about.
    Shared(Arc<Event>),
    Own(Arc<Entry>),
}

impl ObjectEvent {
    /// An event of one watcher only.
    pub(crate) fn new(event_type: EventType, entry: Arc<Entry>, resource_version: u64) -> Self {
        Self {
            event_type,
            resource_version,
            origin: Origin::Own(entry),
        }
    }

    /// What happened.
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// The object: its new state, or its last one when deleted.
    pub fn entry(&self) -> &Arc<Entry> {
        let event = match &self.origin {
            Origin::Own(entry) => return entry,
            Origin::Shared(event) => event,
        };
        let entry = match self.event_type {
            EventType::Deleted => &event.previous,
            EventType::Added | EventType::Modified => &event.current,
        };
        entry.as_ref().expect("what was selected is there")
    }

    /// The version to write into the object. For a deletion this is the deletion's, not the one of `entry`.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// The encoded event: made by `encode` once per key and shared by all watchers that get the same event.
    pub fn encoded<E>(
        &self,
        key: EncodingKey,
        encode: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        match &self.origin {
            Origin::Shared(event) => event.encoded(key, self.event_type, || encode(self)),
            Origin::Own(_) => encode(self),
        }
    }
}

impl std::fmt::Debug for ObjectEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}@{}",
            self.event_type.as_str(),
            self.entry().key,
            self.resource_version
        )
    }
}

/// A running watch: a stream that ends when the watch is over. Dropping it ends the watch.
pub struct Watcher {
    source: Source,
    /// The watch ends with it. A source with a cache asks it when it has rung, the others always.
    end: Option<Wait>,
}

/// Something far off that is waited for. Pending means that it wakes, and not that a budget is spent.
type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

fn wait(future: impl Future<Output = ()> + Send + Sync + 'static) -> Wait {
    Box::pin(tokio::task::unconstrained(future))
}

enum Source {
    /// An error to give before ending.
    Failed(Error),
    Cache(Inner),
    /// A resource without a cache.
    Etcd(mpsc::Receiver<WatchEvent>),
    Done,
}

struct Inner {
    cache: Arc<Cache>,
    scope: Arc<Scope>,
    predicate: Arc<dyn Predicate>,
    interest: Interest,
    slot: Arc<Slot>,
    generation: u64,
    /// Initial events still to give.
    initial: Option<Box<Initial>>,
    /// Give the bookmark that ends the initial events, at this revision.
    initial_bookmark: Option<u64>,
    /// Events at or before this revision are known to the client.
    after: u64,
    /// Revision of the last event or bookmark given. Other events of the same revision may follow.
    told: u64,
    /// Number of the next event to look at.
    next: u64,
    /// Further events that were taken from the ring.
    buffer: VecDeque<Arc<Event>>,
    /// Revision of the last event looked at.
    seen: u64,
    bookmarks: Option<Bookmarks>,
}

/// A part of the state, from a key to another.
struct Initial {
    cursor: Cursor<Entry>,
    end: String,
}

impl Initial {
    fn next(&mut self) -> Option<Arc<Entry>> {
        self.cursor
            .next()
            .filter(|entry| entry.key.as_str() < self.end.as_str())
    }
}

struct Bookmarks {
    /// Until the next one is due.
    wait: Wait,
    due: bool,
    deadline: Option<Instant>,
}

/// The ring no longer has what the watcher has not seen.
struct TooSlow;

impl Watcher {
    /// A watch that gives one error.
    pub(crate) fn failed(error: Error) -> Self {
        Source::Failed(error).into()
    }

    /// A watch on etcd.
    pub(crate) fn remote(events: mpsc::Receiver<WatchEvent>) -> Self {
        Source::Etcd(events).into()
    }

    /// This watch, which ends when `end` resolves.
    pub fn until(mut self, end: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        self.end = Some(wait(end));
        self
    }

    /// Starts a watch on a cache.
    pub(crate) async fn start(
        cache: &Arc<Cache>,
        scope: &Scope,
        options: &WatchOptions,
        predicate: Arc<dyn Predicate>,
        generation: u64,
    ) -> Result<Self, Error> {
        let requested = parse_resource_version(&options.resource_version)?;
        let initial_requested = options.send_initial_events == Some(true);
        // Unset means "newest" only for clients that know sendInitialEvents; for the others it is "any".
        let required =
            if options.resource_version.is_empty() && options.send_initial_events.is_some() {
                match cache.store.revisions.current().await {
                    Ok(revision) => revision,
                    Err(error) => return Ok(Self::failed(error)),
                }
            } else {
                requested
            };
        if initial_requested && let Err(error) = cache.wait_fresh(required).await {
            return Ok(Self::failed(error));
        }

        let interest = interest(cache, scope, &*predicate);
        // Registered before the state is read: no event can fall between.
        let (slot, shared_scope) = cache.watchers.add(&interest, scope);
        let mut inner = Inner {
            cache: Arc::clone(cache),
            scope: shared_scope,
            predicate,
            interest,
            slot,
            generation,
            initial: None,
            initial_bookmark: None,
            after: required,
            told: 0,
            next: 0,
            buffer: VecDeque::new(),
            seen: 0,
            bookmarks: options
                .allow_bookmarks
                .then(|| Bookmarks::new(options.deadline)),
        };
        let from_state =
            initial_requested || (required == 0 && options.send_initial_events.is_none());
        let outcome = cache.with_state(|state, revision| {
            if state.check_ready().ok() != Some(generation) {
                // The cache starts over just now: a watch that ends at once makes the client try again.
                inner.slot.closed.store(true, Ordering::Release);
                return Ok(());
            }
            if from_state {
                state.contents.check(scope)?;
                inner.initial = Some(Box::new(Initial {
                    cursor: state.contents.tree.cursor(&scope.prefix),
                    end: end(scope),
                }));
                inner.initial_bookmark =
                    (initial_requested && options.allow_bookmarks).then_some(revision);
                inner.after = revision.max(required);
                inner.next = state.ring.end();
                return Ok(());
            }
            if required == 0 {
                inner.after = revision;
                inner.next = state.ring.end();
                return Ok(());
            }
            let oldest = state.oldest_watchable();
            if required < oldest {
                return Err(Error::expired(format!(
                    "too old resource version: {required} ({oldest})"
                )));
            }
            inner.next = state.ring.after(required);
            if inner.next < state.ring.end() {
                inner.slot.pending.fetch_min(inner.next, Ordering::AcqRel);
            }
            Ok(())
        });
        Ok(match outcome {
            Ok(()) => Source::Cache(inner).into(),
            Err(error) => Self::failed(error),
        })
    }

    /// The next event; `None` when the watch is over.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Whether no initial events are left to give.
    pub fn has_started(&self) -> bool {
        match &self.source {
            Source::Cache(inner) => inner.initial.is_none() && inner.initial_bookmark.is_none(),
            Source::Failed(_) | Source::Etcd(_) | Source::Done => true,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let polled = match &mut self.source {
            Source::Done => return Poll::Ready(None),
            Source::Failed(error) => Poll::Ready(Some(WatchEvent::Error(error.clone()))),
            Source::Cache(inner) => inner.poll(&mut self.end, cx),
            Source::Etcd(events) => match has_come(&mut self.end, cx) {
                true => Poll::Ready(None),
                false => events.poll_recv(cx),
            },
        };
        if let Poll::Ready(None | Some(WatchEvent::Error(_))) = polled {
            self.source = Source::Done;
        }
        polled
    }
}

impl From<Source> for Watcher {
    fn from(source: Source) -> Self {
        Self { source, end: None }
    }
}

fn has_come(end: &mut Option<Wait>, cx: &mut Context<'_>) -> bool {
    end.as_mut()
        .is_some_and(|end| end.as_mut().poll(cx).is_ready())
}

impl Stream for Watcher {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        self.poll_event(cx)
    }
}

impl Inner {
    fn poll(&mut self, end: &mut Option<Wait>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        if self.initial.is_some() && self.slot.rung.load(Ordering::Acquire) && self.has_ended(end) {
            return Poll::Ready(None);
        }
        if let Some(initial) = &mut self.initial {
            for _ in 0..INITIAL_SCAN {
                let Some(entry) = initial.next() else {
                    self.initial = None;
                    break;
                };
                if self.predicate.matches(&entry) {
                    self.cache.store.metrics.init_events().inc();
                    let version = entry.resource_version;
                    return Poll::Ready(Some(WatchEvent::Object(ObjectEvent::new(
                        EventType::Added,
                        entry,
                        version,
                    ))));
                }
            }
            if self.initial.is_some() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(resource_version) = self.initial_bookmark.take() {
            return Poll::Ready(Some(WatchEvent::Bookmark {
                resource_version,
                initial_events_end: true,
            }));
        }
        loop {
            while let Some(event) = self.buffer.pop_front() {
                if let Some(event) = self.tell(event) {
                    return Poll::Ready(Some(event));
                }
            }
            if self.slot.closed.load(Ordering::Acquire)
                || self.slot.rung.load(Ordering::Acquire) && self.has_ended(end)
            {
                return Poll::Ready(None);
            }
            // The order matters, see the module.
            let published = self.cache.clock.revision();
            let pending = self.slot.pending.swap(NONE, Ordering::AcqRel);
            if pending != NONE {
                if let Some(bookmark) = self.due_bookmark(self.seen.saturating_sub(1)) {
                    self.slot.pending.fetch_min(pending, Ordering::AcqRel);
                    return Poll::Ready(Some(bookmark));
                }
                let Ok(first) = self.fetch(pending) else {
                    self.cache.store.metrics.terminated_watchers().inc();
                    return Poll::Ready(None);
                };
                if let Some(event) = first.and_then(|first| self.tell(first)) {
                    return Poll::Ready(Some(event));
                }
                continue;
            }
            if let Some(bookmark) = self.due_bookmark(published) {
                return Poll::Ready(Some(bookmark));
            }
            self.slot.waker.register(cx.waker());
            if self.slot.pending.load(Ordering::Acquire) == NONE
                && !self.slot.closed.load(Ordering::Acquire)
                && !self.slot.rung.load(Ordering::Acquire)
            {
                return Poll::Pending;
            }
        }
    }

    /// Takes events from the ring: the first, and more into the buffer, which is empty.
    fn fetch(&mut self, pending: u64) -> Result<Option<Arc<Event>>, TooSlow> {
        let (next, seen, generation) = (&mut self.next, &mut self.seen, self.generation);
        let (buffer, scope, slot) = (&mut self.buffer, &self.scope, &self.slot);
        self.cache.with_state(|state, _| {
            *next = (*next).max(pending);
            if state.generation != generation || *next < state.ring.start() {
                return Err(TooSlow);
            }
            let stop = state.ring.end().min(*next + SCAN);
            let mut first = None;
            while *next < stop && buffer.len() + 1 < BATCH {
                let event = state.ring.get(*next).ok_or(TooSlow)?;
                *next += 1;
                *seen = event.revision;
                if !scope.contains(&event.key) {
                    continue;
                }
                if first.is_none() {
                    first = Some(Arc::clone(event));
                } else {
                    buffer.push_back(Arc::clone(event));
                }
            }
            if *next < state.ring.end() {
                slot.pending.fetch_min(*next, Ordering::AcqRel);
            }
            Ok(first)
        })
    }

    /// What the event is to this watcher, if it is anything.
    fn tell(&mut self, event: Arc<Event>) -> Option<WatchEvent> {
        let resource_version = event.revision;
        if resource_version <= self.after {
            return None;
        }
        if let Some(error) = &event.corrupt {
            return Some(WatchEvent::Error(error.clone()));
        }
        let selected = |entry: &Option<Arc<Entry>>| {
            entry
                .as_ref()
                .is_some_and(|entry| self.predicate.matches(entry))
        };
        let event_type = match (selected(&event.current), selected(&event.previous)) {
            (true, false) => EventType::Added,
            (true, true) => EventType::Modified,
            (false, true) => EventType::Deleted,
            (false, false) => return None,
        };
        self.told = resource_version;
        Some(WatchEvent::Object(ObjectEvent {
            event_type,
            resource_version,
            origin: Origin::Shared(event),
        }))
    }

    /// Asks what the watcher waits for besides events: whether the watch is over, and whether a bookmark is due.
    #[cold]
    fn has_ended(&mut self, end: &mut Option<Wait>) -> bool {
        self.slot.rung.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(&self.slot));
        let mut cx = Context::from_waker(&waker);
        if let Some(bookmarks) = &mut self.bookmarks
            && !bookmarks.due
        {
            bookmarks.due = bookmarks.wait.as_mut().poll(&mut cx).is_ready();
        }
        has_come(end, &mut cx)
    }

    /// A bookmark at `revision` if it is time for one and the client does not know more already.
    fn due_bookmark(&mut self, revision: u64) -> Option<WatchEvent> {
        let bookmarks = self.bookmarks.as_mut().filter(|bookmarks| bookmarks.due)?;
        let known = revision <= self.after.max(self.told);
        if known && revision == 0 {
            return None;
        }
        // With nothing to tell a busy watcher asks again at its next event, an idle one at the next period.
        *bookmarks = Bookmarks::new(bookmarks.deadline);
        // The wait has yet to be begun.
        self.slot.rung.store(true, Ordering::Release);
        if known {
            return None;
        }
        self.told = revision;
        Some(WatchEvent::Bookmark {
            resource_version: revision,
            initial_events_end: false,
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cache.watchers.remove(&self.interest, &self.slot);
    }
}

impl Bookmarks {
    fn new(deadline: Option<Instant>) -> Self {
        Self {
            wait: wait(tokio::time::sleep_until(Self::next(deadline))),
            due: false,
            deadline,
        }
    }

    fn next(deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let at = now + BOOKMARK_PERIOD;
        let Some(deadline) = deadline else { return at };
        let last = deadline
            .checked_sub(BOOKMARK_BEFORE_DEADLINE)
            .unwrap_or(deadline);
        // After the last one there is none.
        if last > now { at.min(last) } else { at }
    }
}

/// The narrowest index that has all events of the watch.
fn interest(cache: &Cache, scope: &Scope, predicate: &dyn Predicate) -> Interest {
    if let Some(field) = cache.store.config.index_field
        && let Some(value) = predicate.exact_field(field)
    {
        return Interest::Field(value.into());
    }
    let or_required = |given: &str, field| {
        if given.is_empty() {
            predicate.exact_field(field).unwrap_or_default().into()
        } else {
            given.into()
        }
    };
    let namespace = if cache.store.config.namespaced {
        or_required(&scope.namespace, "metadata.namespace")
    } else {
        Box::default()
    };
    Interest::Object {
        namespace,
        name: or_required(&scope.name, "metadata.name"),
    }
}
