//! What a cache holds: objects, events, and where it stands.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use super::RawEvent;
use crate::storage::cacher::ring::{Event, Ring};
use crate::storage::cacher::tree::{Keyed, Tree};
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::key::{Key, Scope};

/// Events between two checkpoints, of which there are eight or so: rebuilding a revision replays fewer than this (or one
/// large transaction), and each holds on to the nodes of the tree that have changed since.
pub(super) const CHECKPOINT_EVERY: RangeInclusive<u64> = 64..=256;

/// The objects at some revision.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    pub(crate) tree: Tree<Entry>,
    /// Keys whose values cannot be read. Nearly always empty.
    pub(super) corrupt: Arc<BTreeMap<Key, Error>>,
}

/// Objects and the revision they are shown at.
pub(crate) struct Snapshot {
    pub(crate) contents: Contents,
    pub(crate) revision: u64,
}

pub(crate) struct State {
    pub(super) phase: Phase,
    /// How often the hub has lost track. A list belongs to one epoch: the hub delivers what comes after it only then.
    pub(super) epoch: u64,
    /// How often the cache was filled. A watcher belongs to one filling.
    pub(crate) generation: u64,
    pub(crate) contents: Contents,
    /// Objects by index field, when there is one.
    pub(crate) index: Tree<IndexItem>,
    /// Revision of the last applied event or of the list.
    pub(crate) revision: u64,
    pub(super) list_revision: u64,
    pub(crate) ring: Ring,
    pub(super) checkpoints: VecDeque<Checkpoint>,
    /// Whether the contents were the same as etcd's when they were last compared. The past is told only then.
    pub(super) consistent: bool,
    /// Bytes of all values.
    pub(super) bytes: u64,
}

pub(super) enum Phase {
    Pending {
        since: StdInstant,
        error: Option<String>,
        backlog: Vec<RawEvent>,
        overflown: bool,
    },
    Ready,
    Stopped,
}

pub(super) struct Checkpoint {
    pub(super) revision: u64,
    /// Number of the first event after it.
    pub(super) number: u64,
    pub(super) contents: Contents,
}

/// An entry of the index: key is field value, NUL, object key.
pub(crate) struct IndexItem {
    pub(super) key: Key,
    pub(crate) entry: Arc<Entry>,
}

impl Keyed for Entry {
    fn key(&self) -> &Key {
        &self.key
    }
}

impl Keyed for IndexItem {
    fn key(&self) -> &Key {
        &self.key
    }
}

/// Where an object sits in the index.
pub(crate) fn index_key(value: &str, key: &str) -> String {
    format!("{value}\0{key}")
}

impl Contents {
    /// Brings the contents past an event.
    pub(super) fn apply(&mut self, event: &Event) {
        match (&event.current, &event.corrupt) {
            (Some(entry), _) => {
                self.tree.insert(Arc::clone(entry));
            }
            (None, _) => {
                self.tree.remove(event.key.as_str());
            }
        }
        self.mark(&event.key, event.corrupt.as_ref());
    }

    /// Whether the value of a key cannot be read.
    pub(crate) fn is_unreadable(&self, key: &str) -> bool {
        !self.corrupt.is_empty() && self.corrupt.contains_key(&Key(key.into()))
    }

    pub(super) fn mark(&mut self, key: &Key, error: Option<&Error>) {
        match error {
            Some(error) => {
                Arc::make_mut(&mut self.corrupt).insert(key.clone(), error.clone());
            }
            None if self.corrupt.contains_key(key) => {
                Arc::make_mut(&mut self.corrupt).remove(key);
            }
            None => {}
        }
    }

    /// Fails when something in the scope cannot be read, as a list from etcd would.
    pub(crate) fn check(&self, scope: &Scope) -> Result<(), Error> {
        match self.corrupt.iter().find(|(key, _)| scope.contains(key)) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl State {
    /// The generation, or why there is none.
    pub(crate) fn check_ready(&self) -> Result<u64, Error> {
        match &self.phase {
            Phase::Ready => Ok(self.generation),
            Phase::Pending { since, error, .. } => {
                let message = match error {
                    None => "storage is (re)initializing".to_owned(),
                    Some(error) => format!("storage is (re)initializing: {error}"),
                };
                let seconds = (0.06 * since.elapsed().as_secs_f64())
                    .exp()
                    .clamp(1.0, 30.0);
                Err(Error::NotReady {
                    message,
                    retry_after_seconds: seconds as u32,
                })
            }
            Phase::Stopped => Err(Error::NotReady {
                message: "apiserver cacher is stopped".to_owned(),
                retry_after_seconds: 1,
            }),
        }
    }

    /// The oldest revision a watch can start after.
    pub(crate) fn oldest_watchable(&self) -> u64 {
        self.ring.oldest().unwrap_or(self.list_revision)
    }

    /// Keeps a snapshot now and then; called between revisions.
    pub(super) fn checkpoint(&mut self) {
        if !self.consistent {
            return;
        }
        let start = self.ring.start();
        while self
            .checkpoints
            .front()
            .is_some_and(|checkpoint| checkpoint.number < start)
        {
            self.checkpoints.pop_front();
        }
        let number = self.ring.end();
        let every =
            ((number - start) / 8).clamp(*CHECKPOINT_EVERY.start(), *CHECKPOINT_EVERY.end());
        if self
            .checkpoints
            .back()
            .is_none_or(|last| number >= last.number + every)
        {
            self.checkpoints.push_back(Checkpoint {
                revision: self.revision,
                number,
                contents: self.contents.clone(),
            });
        }
    }
}

pub(super) fn pending(error: Option<String>) -> Phase {
    Phase::Pending {
        since: StdInstant::now(),
        error,
        backlog: Vec::new(),
        overflown: false,
    }
}

pub(super) fn index_item(field: &str, entry: &Arc<Entry>) -> Arc<IndexItem> {
    let key = index_key(entry.field(field).unwrap_or_default(), entry.key.as_str());
    Arc::new(IndexItem {
        key: Key(key.into()),
        entry: Arc::clone(entry),
    })
}
