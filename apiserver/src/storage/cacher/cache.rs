//! One resource's objects and recent events. Upstream: cacher/watch_cache.go, cacher/cacher.go.
//!
//! Invariants
//! - Only the watch hub's task applies events, in revision order; [`Cache::fill`] installs a list before the first of
//!   them and gives the events that arrived meanwhile to the same code.
//! - All changes of one revision become visible together.
//! - A snapshot's revision is the newest at which its contents are right: `max(hub's revision, last applied)`, with the
//!   hub's revision read first. The hub publishes a revision after all caches have applied it and woken their watchers.

mod fill;
mod reads;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::storage::cacher::interner::Interner;
use crate::storage::cacher::ring::{Event, Resize, Ring};
use crate::storage::cacher::tree::Tree;
use crate::storage::cacher::watchers::Watchers;
use crate::storage::common::Blocks;
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::etcd3::hub::Clock;
use crate::storage::etcd3::store::{RawKeyValue, Store};
use crate::storage::key::Key;
use crate::storage::value::Packer;

pub(crate) use self::state::{Contents, IndexItem, Snapshot, index_key};
use self::state::{Phase, State, index_item, pending};

/// How long a read waits for a revision or for the cache to fill, as upstream's blockTimeout.
pub(crate) const BLOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How old an event is when the object's previous version is packed. Watchers that follow have told it by then.
const PACK_AFTER: Duration = Duration::from_secs(2);
/// Bytes of previous versions that may wait for that; when many objects change at once, the older ones do not.
const PACK_BEYOND: usize = 4 << 20;
/// Values packed before other tasks get a turn.
const PACK_AT_ONCE: usize = 64;
/// Events held while the initial list runs. More than this and the list starts again.
const BACKLOG_LIMIT: usize = 200_000;
const RELIST_PAUSE: Duration = Duration::from_secs(1);

/// A change as the hub delivers it.
pub(crate) struct RawEvent {
    pub(crate) key: String,
    /// `None`: deleted.
    pub(crate) value: Option<Bytes>,
    pub(crate) revision: u64,
}

pub(crate) struct Cache {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) watchers: Watchers,
    state: RwLock<State>,
    interner: Mutex<Interner>,
    blocks: Mutex<Blocks>,
    packer: Mutex<History>,
    ready: watch::Sender<bool>,
    relist: Notify,
    token: CancellationToken,
}

/// What packs the versions that events have replaced.
#[derive(Default)]
struct History {
    packer: Packer,
    /// Number of the first event whose previous version was not looked at.
    next: u64,
}

/// A change after decryption and parsing.
struct Change {
    revision: u64,
    what: What,
}

enum What {
    Put(Entry),
    Unreadable(Key, Error),
    Deleted(Key),
}

impl Cache {
    pub(crate) fn new(
        store: Arc<Store>,
        clock: Arc<Clock>,
        history_window: Duration,
        history_bytes: usize,
        token: CancellationToken,
    ) -> Arc<Self> {
        let ring = Ring::new(history_window, history_bytes);
        store.metrics.capacity().set(ring.capacity() as f64);
        Arc::new(Self {
            store,
            clock,
            watchers: Watchers::default(),
            state: RwLock::new(State {
                phase: pending(None),
                epoch: 0,
                generation: 0,
                contents: Contents::default(),
                index: Tree::default(),
                revision: 0,
                list_revision: 0,
                ring,
                checkpoints: VecDeque::new(),
                consistent: true,
                bytes: 0,
            }),
            interner: Mutex::default(),
            blocks: Mutex::default(),
            packer: Mutex::default(),
            ready: watch::Sender::new(false),
            relist: Notify::new(),
            token,
        })
    }

    /// Fills the cache, and again whenever the hub has lost track. Ends with the token.
    pub(crate) async fn run(self: Arc<Self>) {
        let token = self.token.clone();
        let _ = token.run_until_cancelled(self.keep_filled()).await;
        self.state.write().phase = Phase::Stopped;
        self.ready.send_replace(false);
        self.watchers.close_all();
        let mut state = self.state.write();
        state.contents = Contents::default();
        state.index = Tree::default();
        state.ring.clear();
        state.checkpoints.clear();
    }

    async fn keep_filled(self: &Arc<Self>) {
        loop {
            // Read before waiting for the hub: a reset after this makes the list useless, one before it has stopped the
            // hub's clock until there is a revision to list after.
            let epoch = self.state.read().epoch;
            self.clock.started().await;
            // On the heap: the cache of each resource waits here for good once it is filled.
            if let Err(problem) = Box::pin(self.fill(epoch)).await {
                let name = &self.store.config.resource;
                warn!(resource = %name, error = %problem, "watch cache: cannot fill, trying again");
                if let Phase::Pending { error, .. } = &mut self.state.write().phase {
                    *error = Some(problem.to_string());
                }
                tokio::time::sleep(RELIST_PAUSE.mul_f64(1.0 + rand::random::<f64>() * 0.5)).await;
                continue;
            }
            // The notification may be left over from a reset that the list has taken into account.
            while self.check_ready().is_ok() {
                self.relist.notified().await;
            }
        }
    }

    /// The hub has lost events: start over.
    pub(crate) fn reset(&self, reason: &str) {
        {
            let mut state = self.state.write();
            if matches!(state.phase, Phase::Stopped) {
                return;
            }
            state.phase = pending(Some(reason.to_owned()));
            state.epoch += 1;
            state.contents = Contents::default();
            state.index = Tree::default();
            state.bytes = 0;
            state.ring.clear();
            state.checkpoints.clear();
        }
        self.ready.send_replace(false);
        self.watchers.close_all();
        self.relist.notify_one();
    }

    /// Whether there are objects that cannot be read.
    pub(crate) fn has_unreadable(&self) -> bool {
        !self.state.read().contents.corrupt.is_empty()
    }

    /// Makes a list at `revision` the contents, and applies what the hub has delivered since.
    fn install(
        &self,
        epoch: u64,
        revision: u64,
        entries: Vec<Arc<Entry>>,
        corrupt: BTreeMap<Key, Error>,
    ) -> Result<(), Error> {
        let mut state = self.state.write();
        let state = &mut *state;
        if state.epoch != epoch {
            return Err(Error::internal("the watch lost events during the list"));
        }
        let Phase::Pending {
            backlog, overflown, ..
        } = &mut state.phase
        else {
            return Ok(());
        };
        if *overflown {
            return Err(Error::internal("too many changes during the list"));
        }
        let missed = std::mem::take(backlog)
            .into_iter()
            .filter(|event| event.revision > revision)
            .map(|event| self.prepare(event))
            .collect::<Result<_, _>>()?;
        state.bytes = entries.iter().map(|entry| entry.value.len() as u64).sum();
        state.index = match self.store.config.index_field {
            Some(field) => {
                let mut items: Vec<_> = entries
                    .iter()
                    .map(|entry| index_item(field, entry))
                    .collect();
                items.sort_by(|a, b| a.key.cmp(&b.key));
                Tree::from_sorted(items)
            }
            None => Tree::default(),
        };
        state.contents = Contents {
            tree: Tree::from_sorted(entries),
            corrupt: Arc::new(corrupt),
        };
        state.ring.clear();
        state.revision = revision;
        state.list_revision = revision;
        state.checkpoints.clear();
        state.checkpoint();
        self.integrate(state, missed);
        state.phase = Phase::Ready;
        state.generation += 1;
        self.ready.send_replace(true);
        self.store.metrics.initializations().inc();
        info!(group = %self.store.config.group, resource = %self.store.config.resource, objects = state.contents.tree.len(),
            revision, "watch cache initialized");
        Ok(())
    }

    /// Changes from etcd, in order. Called by the hub only.
    pub(crate) fn apply(&self, events: Vec<RawEvent>) {
        let metrics = &self.store.metrics;
        metrics
            .storage_events_received()
            .inc_by(events.len() as f64);
        {
            let pending = matches!(self.state.read().phase, Phase::Pending { .. });
            if pending
                && let Phase::Pending {
                    backlog, overflown, ..
                } = &mut self.state.write().phase
            {
                if backlog.len() + events.len() > BACKLOG_LIMIT {
                    *overflown = true;
                    backlog.clear();
                } else {
                    backlog.extend(events);
                }
                return;
            }
        }
        metrics.events_received().inc_by(events.len() as f64);
        let changes: Result<Vec<_>, Error> = events
            .into_iter()
            .map(|event| self.prepare(event))
            .collect();
        let changes = match changes {
            Ok(changes) => changes,
            // As upstream, whose reflector lists again when its watch breaks.
            Err(problem) => return self.reset(&problem.to_string()),
        };
        let fresh: Vec<(u64, Arc<Event>)> = {
            let mut state = self.state.write();
            if !matches!(state.phase, Phase::Ready) {
                return;
            }
            let first = state.ring.end();
            self.integrate(&mut state, changes);
            (first.max(state.ring.start())..state.ring.end())
                .filter_map(|number| Some((number, Arc::clone(state.ring.get(number)?))))
                .collect()
        };
        self.watchers.notify(
            self.store.config.index_field,
            fresh.iter().map(|(number, event)| (*number, &**event)),
        );
        metrics.events_dispatched().inc_by(fresh.len() as f64);
    }

    /// Fails when a value cannot be read now but may be later.
    fn prepare(&self, event: RawEvent) -> Result<Change, Error> {
        let revision = event.revision;
        let Some(value) = event.value else {
            return Ok(Change {
                revision,
                what: What::Deleted(Key(event.key.into())),
            });
        };
        let key = event.key.clone();
        let what = match self.store.entry(RawKeyValue {
            key: event.key,
            value,
            revision,
        }) {
            Ok(mut entry) => {
                entry.value.divide(&mut self.blocks.lock());
                What::Put(entry)
            }
            Err(problem @ Error::Corrupt { .. }) => {
                error!(%key, error = %problem, "watch cache: stored value cannot be read");
                What::Unreadable(Key(key.into()), problem)
            }
            Err(problem) => return Err(problem),
        };
        Ok(Change { revision, what })
    }

    fn integrate(&self, state: &mut State, changes: Vec<Change>) {
        let field = self.store.config.index_field;
        let metrics = &self.store.metrics;
        let mut interner = self.interner.lock();
        let now = Instant::now();
        for Change { revision, what } in changes {
            // Seen before, in a list or a resumed watch.
            if revision < state.revision {
                continue;
            }
            if revision > state.revision {
                state.checkpoint();
                state.revision = revision;
            }
            let (key, current, corrupt) = match what {
                What::Put(mut entry) => {
                    let previous = state.contents.tree.get(entry.key.as_str());
                    if let Some(previous) = previous {
                        if previous.resource_version >= revision {
                            continue;
                        }
                        entry.key = previous.key.clone();
                    }
                    interner.compact(&mut entry.header, previous.map(|previous| &previous.header));
                    (entry.key.clone(), Some(Arc::new(entry)), None)
                }
                What::Unreadable(key, problem) => (key, None, Some(problem)),
                What::Deleted(key) => (key, None, None),
            };
            let previous = state.contents.tree.get(key.as_str()).cloned();
            if previous.is_none() && current.is_none() && corrupt.is_none() {
                // Came and went while the list ran, or was never readable.
                state.contents.mark(&key, None);
                continue;
            }
            if let Some(field) = field {
                if let Some(previous) = &previous {
                    state.index.remove(&index_key(
                        previous.field(field).unwrap_or_default(),
                        previous.key.as_str(),
                    ));
                }
                if let Some(current) = &current {
                    state.index.insert(index_item(field, current));
                }
            }
            let length = |entry: &Option<Arc<Entry>>| {
                entry.as_ref().map_or(0, |entry| entry.value.len() as u64)
            };
            state.bytes = (state.bytes + length(&current)).saturating_sub(length(&previous));
            let event = Arc::new(Event::new(key, revision, current, previous, corrupt, now));
            state.contents.apply(&event);
            match state.ring.push(event) {
                Resize::None => {}
                Resize::Grown => {
                    metrics.capacity_increase().inc();
                    metrics.capacity().set(state.ring.capacity() as f64);
                }
                Resize::Shrunk => {
                    metrics.capacity_decrease().inc();
                    metrics.capacity().set(state.ring.capacity() as f64);
                }
            }
        }
        metrics
            .resource_version()
            .set((state.revision % 1_000_000_000_000_000) as f64);
    }

    /// Makes the versions small that events of some time ago have replaced: the newest are in the tree, these are only
    /// there for who resumes a watch, or lists at a revision of the past.
    pub(crate) async fn pack_history(&self) {
        loop {
            let next = self.packer.lock().next;
            let replaced: Vec<_> = {
                let state = self.state.read();
                let now = Instant::now();
                let next = next.max(state.ring.start());
                let many = state.ring.replaced_within(next, PACK_BEYOND);
                (next..state.ring.end())
                    .map_while(|number| state.ring.get(number).map(|event| (number, event)))
                    .take_while(|(number, event)| {
                        *number < many || now.duration_since(event.recorded) > PACK_AFTER
                    })
                    .take(PACK_AT_ONCE)
                    .map(|(number, event)| (number, event.previous.clone()))
                    .collect()
            };
            let Some((last, _)) = replaced.last() else {
                return;
            };
            {
                let mut history = self.packer.lock();
                history.next = last + 1;
                for entry in replaced.iter().filter_map(|(_, entry)| entry.as_ref()) {
                    history.packer.pack(&entry.value);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
