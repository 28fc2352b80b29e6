//! What the cache answers: single objects, snapshots of now and of the past, and whether it can answer at all.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use super::state::{IndexItem, Phase, Snapshot, State};
use super::{BLOCK_TIMEOUT, Cache};
use crate::storage::cacher::ring::Event;
use crate::storage::cacher::tree::Tree;
use crate::storage::entry::Entry;
use crate::storage::error::Error;
use crate::storage::key::Key;

/// Upstream's retry hint for a revision that is too new.
const TOO_LARGE_RETRY_SECONDS: u32 = 1;

impl Cache {
    /// Waits until the hub has passed a revision.
    pub(crate) async fn wait_fresh(&self, revision: u64) -> Result<(), Error> {
        if revision == 0 {
            return Ok(());
        }
        let started = StdInstant::now();
        let fresh = self.is_fresh(revision)
            || self.clock.wait(revision, BLOCK_TIMEOUT).await
            || self.is_fresh(revision);
        self.store
            .metrics
            .read_wait()
            .observe(started.elapsed().as_secs_f64());
        if fresh {
            return Ok(());
        }
        Err(Error::TooLargeResourceVersion {
            requested: revision,
            current: self.revision(),
            retry_after_seconds: TOO_LARGE_RETRY_SECONDS,
        })
    }

    fn is_fresh(&self, revision: u64) -> bool {
        self.revision() >= revision
    }

    /// The newest revision at which the contents are right.
    pub(crate) fn revision(&self) -> u64 {
        let clock = self.clock.revision();
        clock.max(self.state.read().revision)
    }

    /// Waits a little for the first list.
    pub(crate) async fn wait_ready(&self, timeout: Duration) -> Result<u64, Error> {
        if let Ok(generation) = self.check_ready() {
            return Ok(generation);
        }
        let mut ready = self.ready.subscribe();
        // Timing out is reported by the check.
        let _ = tokio::time::timeout(timeout, ready.wait_for(|ready| *ready)).await;
        self.check_ready()
    }

    /// The generation, or why there is none.
    pub(crate) fn check_ready(&self) -> Result<u64, Error> {
        self.state.read().check_ready()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.state.read().contents.tree.get(key.as_str()).cloned()
    }

    /// The object and the revision of the answer; fails on a value that cannot be read.
    pub(crate) fn read(&self, key: &Key) -> Result<(Option<Arc<Entry>>, u64), Error> {
        let clock = self.clock.revision();
        let state = self.state.read();
        state.check_ready()?;
        if let Some(error) = state.contents.corrupt.get(key) {
            return Err(error.clone());
        }
        Ok((
            state.contents.tree.get(key.as_str()).cloned(),
            clock.max(state.revision),
        ))
    }

    /// The newest contents.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let clock = self.clock.revision();
        let state = self.state.read();
        state.check_ready()?;
        Ok(Snapshot {
            contents: state.contents.clone(),
            revision: clock.max(state.revision),
        })
    }

    /// The newest contents by index field.
    pub(crate) fn index_snapshot(&self) -> Result<(Tree<IndexItem>, Snapshot), Error> {
        let clock = self.clock.revision();
        let state = self.state.read();
        state.check_ready()?;
        let revision = clock.max(state.revision);
        Ok((
            state.index.clone(),
            Snapshot {
                contents: state.contents.clone(),
                revision,
            },
        ))
    }

    /// The contents at a past or present revision, when they can still be told.
    pub(crate) fn snapshot_at(&self, revision: u64) -> Option<Snapshot> {
        let clock = self.clock.revision();
        let (mut contents, replay) = {
            let state = self.state.read();
            if !matches!(state.phase, Phase::Ready)
                || !state.consistent
                || revision > clock.max(state.revision)
            {
                return None;
            }
            if revision >= state.revision {
                return Some(Snapshot {
                    contents: state.contents.clone(),
                    revision,
                });
            }
            let after = state
                .checkpoints
                .partition_point(|checkpoint| checkpoint.revision <= revision);
            let checkpoint = state.checkpoints.get(after.checked_sub(1)?)?;
            if checkpoint.number < state.ring.start() {
                return None;
            }
            let replay: Vec<Arc<Event>> = (checkpoint.number..state.ring.end())
                .map_while(|number| {
                    state
                        .ring
                        .get(number)
                        .filter(|event| event.revision <= revision)
                        .cloned()
                })
                .collect();
            (checkpoint.contents.clone(), replay)
        };
        for event in replay {
            contents.apply(&event);
        }
        Some(Snapshot { contents, revision })
    }

    /// What a comparison with etcd has shown. Upstream: MarkConsistent.
    pub(crate) fn set_consistent(&self, consistent: bool) {
        let mut state = self.state.write();
        state.consistent = consistent;
        if !consistent {
            state.checkpoints.clear();
        }
    }

    /// Runs `f` under the read lock, with the hub's revision of just before.
    pub(crate) fn with_state<R>(&self, f: impl FnOnce(&State, u64) -> R) -> R {
        let clock = self.clock.revision();
        let state = self.state.read();
        let revision = clock.max(state.revision);
        f(&state, revision)
    }

    /// Number of objects and bytes of their values.
    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.state.read();
        (state.contents.tree.len() as u64, state.bytes)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }
}
