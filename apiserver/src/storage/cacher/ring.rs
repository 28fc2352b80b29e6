//! The recent events of a resource. Upstream: the cyclic buffer of cacher/watch_cache.go.
//!
//! Events are numbered; a watcher is a number. The ring keeps what happened in the last 75 seconds, at least 100 and
//! at most 100 Ki events, and no more than a bounded number of bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::storage::cacher::watch::{EncodingKey, EventType};
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::key::Key;

/// Upstream's bounds of the number of events.
const LOWER_BOUND: usize = 100;
const UPPER_BOUND: usize = 100 * 1024;
/// Encoded forms are for the watchers that follow closely; one that lags behind encodes for itself.
const ENCODINGS_LIVE: Duration = Duration::from_secs(5);
/// Rough memory of an event besides the object's bytes.
const EVENT_OVERHEAD: usize = 400;

/// A change of one object.
pub(crate) struct Event {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    /// The object after the change; `None` when it was deleted or cannot be read.
    pub(crate) current: Option<Arc<Entry>>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Entry>>,
    /// The value cannot be read: whoever watches the object is told and ended.
    pub(crate) corrupt: Option<Error>,
    pub(crate) recorded: Instant,
    encodings: Mutex<SmallVec<[(EncodingKey, EventType, Bytes); 1]>>,
}

impl Event {
    pub(crate) fn new(
        key: Key,
        revision: u64,
        current: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
        corrupt: Option<Error>,
        recorded: Instant,
    ) -> Self {
        Self {
            key,
            revision,
            current,
            previous,
            corrupt,
            recorded,
            encodings: Mutex::default(),
        }
    }

    /// The stored encoding, or the one made now. Made under the lock: the watchers that come meanwhile wait for it
    /// instead of making it again.
    pub(crate) fn encoded<E>(
        &self,
        key: EncodingKey,
        event_type: EventType,
        encode: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let mut encodings = self.encodings.lock();
        if let Some((.., bytes)) = encodings
            .iter()
            .find(|(candidate, kind, _)| *candidate == key && *kind == event_type)
        {
            return Ok(bytes.clone());
        }
        let bytes = encode()?;
        encodings.push((key, event_type, bytes.clone()));
        Ok(bytes)
    }

    fn size(&self) -> usize {
        let value =
            |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.value.len());
        // The current value is mostly alive in the tree too; the previous one lives for this event alone.
        EVENT_OVERHEAD + value(&self.previous).max(value(&self.current))
    }
}

/// How the capacity changed with a push, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resize {
    None,
    Grown,
    Shrunk,
}

pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Number of the first event in `events`.
    start: u64,
    capacity: usize,
    window: Duration,
    bytes: usize,
    max_bytes: usize,
    /// Events before this number have had their encodings dropped.
    trimmed: u64,
    /// Revision of the last event that was dropped since the last relist.
    removed: Option<u64>,
}

impl Ring {
    pub(crate) fn new(window: Duration, max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            start: 0,
            capacity: LOWER_BOUND,
            window,
            bytes: 0,
            max_bytes,
            trimmed: 0,
            removed: None,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of the oldest event.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Number the next event will get.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    /// The oldest revision after which no event is missing, once events were dropped since the last relist.
    pub(crate) fn oldest(&self) -> Option<u64> {
        // Of a revision with several changes some may be gone.
        let removed = self.removed?;
        let first = self.events.front()?;
        Some(removed.max(first.revision.saturating_sub(1)))
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events
            .get(usize::try_from(number.checked_sub(self.start)?).ok()?)
    }

    /// Number of the first event after a revision.
    pub(crate) fn after(&self, revision: u64) -> u64 {
        self.start
            + self
                .events
                .partition_point(|event| event.revision <= revision) as u64
    }

    /// Number of the first event, not before `from`, from which on the versions that were replaced have so many bytes or less.
    pub(crate) fn replaced_within(&self, from: u64, mut bytes: usize) -> u64 {
        let mut number = self.end();
        while number > from {
            let previous = self
                .get(number - 1)
                .and_then(|event| event.previous.as_ref());
            match bytes.checked_sub(previous.map_or(0, |entry| entry.value.len())) {
                Some(left) => bytes = left,
                None => break,
            }
            number -= 1;
        }
        number
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) -> Resize {
        let now = event.recorded;
        let resize = self.resize(now);
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > self.capacity
            || (self.bytes > self.max_bytes && self.events.len() > LOWER_BOUND)
        {
            self.drop_first();
        }
        self.trimmed = self.trimmed.max(self.start);
        while let Some(old) = self.get(self.trimmed)
            && now.duration_since(old.recorded) > ENCODINGS_LIVE
        {
            *old.encodings.lock() = SmallVec::new();
            self.trimmed += 1;
        }
        resize
    }

    /// After a relist: numbers go on, so that cursors into the old contents are noticed.
    pub(crate) fn clear(&mut self) {
        self.start = self.end();
        self.events.clear();
        self.bytes = 0;
        self.removed = None;
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes = self.bytes.saturating_sub(event.size());
            self.start += 1;
            self.removed = Some(event.revision);
        }
    }

    /// Doubles when full of recent events, halves when full and the latest quarter is not all recent.
    fn resize(&mut self, now: Instant) -> Resize {
        if self.events.len() < self.capacity {
            return Resize::None;
        }
        let age = |event: Option<&Arc<Event>>| {
            event.map_or(Duration::ZERO, |event| now.duration_since(event.recorded))
        };
        let upper = UPPER_BOUND
            * usize::try_from(self.window.as_secs().div_ceil(75).next_power_of_two()).unwrap_or(1);
        if age(self.events.front()) < self.window {
            let capacity = (self.capacity * 2).min(upper);
            let grown = capacity > self.capacity;
            self.capacity = capacity;
            return if grown { Resize::Grown } else { Resize::None };
        }
        if age(self.events.get(self.events.len() - self.capacity / 4)) > self.window {
            let capacity = (self.capacity / 2).max(LOWER_BOUND);
            let shrunk = capacity < self.capacity;
            self.capacity = capacity;
            return if shrunk { Resize::Shrunk } else { Resize::None };
        }
        Resize::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::entry::{Header, MessageLen};
    use crate::storage::value::Value;

    fn event(revision: u64, recorded: Instant) -> Arc<Event> {
        Arc::new(Event::new(
            Key("/registry/x".into()),
            revision,
            None,
            None,
            None,
            recorded,
        ))
    }

    #[test]
    fn capacity_follows_the_rate() {
        let mut ring = Ring::new(Duration::from_secs(75), usize::MAX);
        let start = Instant::now();
        for revision in 1..=100 {
            assert_eq!(ring.push(event(revision, start)), Resize::None);
        }
        assert_eq!(ring.push(event(101, start)), Resize::Grown);
        assert_eq!((ring.capacity(), ring.oldest()), (200, None));
        let later = start + Duration::from_secs(100);
        for revision in 102..=200 {
            ring.push(event(revision, later));
        }
        // Full, the oldest is old, the latest quarter is recent: neither grows nor shrinks, drops the oldest.
        assert_eq!(ring.push(event(201, later)), Resize::None);
        assert_eq!(
            (ring.capacity(), ring.start(), ring.oldest()),
            (200, 1, Some(1))
        );
        let much_later = later + Duration::from_secs(100);
        assert_eq!(ring.push(event(202, much_later)), Resize::Shrunk);
        assert_eq!((ring.capacity(), ring.end()), (100, 202));
        assert_eq!(ring.get(ring.start()).unwrap().revision, 103);
        assert_eq!(ring.oldest(), Some(102));
    }

    #[test]
    fn a_revision_of_which_a_part_is_gone_is_too_old() {
        let mut ring = Ring::new(Duration::from_secs(75), 0);
        let now = Instant::now();
        for _ in 0..2 {
            ring.push(event(7, now));
        }
        for revision in 10..108 {
            ring.push(event(revision, now));
        }
        assert_eq!(ring.oldest(), None);
        ring.push(event(108, now));
        assert_eq!(ring.oldest(), Some(7), "after 6 one of two is missing");
        ring.push(event(109, now));
        assert_eq!(ring.oldest(), Some(9), "as upstream tells it");
    }

    #[test]
    fn bytes_are_bounded() {
        let mut ring = Ring::new(Duration::from_secs(75), EVENT_OVERHEAD * 150);
        let now = Instant::now();
        for revision in 1..=1000 {
            ring.push(event(revision, now));
        }
        assert_eq!(ring.end() - ring.start(), 150);
        assert_eq!(ring.after(900), ring.start() + 50);
    }

    #[test]
    fn what_was_replaced_last_is_found_by_its_size() {
        let mut ring = Ring::new(Duration::from_secs(75), usize::MAX);
        let now = Instant::now();
        let previous = |len: usize| {
            Arc::new(Entry {
                key: Key("/registry/x".into()),
                value: Value::new(vec![0; len].into()),
                resource_version: 1,
                namespace: (0, 0),
                header: Header::default(),
                message_len: MessageLen::default(),
            })
        };
        for len in [Some(10), None, Some(30), Some(20), None] {
            let (key, previous) = (Key("/registry/x".into()), len.map(previous));
            ring.push(Arc::new(Event::new(key, 1, None, previous, None, now)));
        }
        let found = [19, 20, 49, 50, 59, 60].map(|bytes| ring.replaced_within(0, bytes));
        assert_eq!(found, [4, 3, 3, 1, 1, 0]);
        // Nobody asks for what was looked at before.
        assert_eq!(ring.replaced_within(2, 100), 2);
        assert_eq!(ring.replaced_within(5, 0), 5);
    }

    #[test]
    fn encodings_are_made_once_and_dropped() {
        let mut ring = Ring::new(Duration::from_secs(75), usize::MAX);
        let now = Instant::now();
        let first = event(1, now);
        ring.push(Arc::clone(&first));
        let mut made = 0;
        for _ in 0..3 {
            let bytes = first.encoded(EncodingKey(1), EventType::Added, || {
                made += 1;
                Ok::<_, ()>(Bytes::from_static(b"x"))
            });
            assert_eq!(bytes.unwrap(), "x");
        }
        assert_eq!(made, 1);
        ring.push(event(2, now + ENCODINGS_LIVE + Duration::from_secs(1)));
        assert!(first.encodings.lock().is_empty());
    }
}
