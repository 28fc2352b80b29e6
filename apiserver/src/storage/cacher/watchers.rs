//! Who is woken by an event. Upstream: `indexedWatchers` of cacher/cacher.go.
//!
//! A watcher registers under the narrowest index it can use: the resource's index field (one per node for pods),
//! namespace and name, name, or namespace. Events look up the few groups they may concern, so thousands of watchers of
//! other objects cost nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Wake;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::storage::cacher::ring::Event;
use crate::storage::key::Scope;

/// No event is waiting.
pub(crate) const NONE: u64 = u64::MAX;

/// What the cache and one watcher share. As a waker it wakes the watcher for something else than events.
pub(crate) struct Slot {
    id: u64,
    /// Number of the first event the watcher has not looked at and may be concerned by.
    pub(crate) pending: AtomicU64,
    /// The watcher is to end.
    pub(crate) closed: AtomicBool,
    /// What the watcher waits for besides events may have come.
    pub(crate) rung: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Where a watcher registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Objects whose index field has this value.
    Field(Box<str>),
    /// Objects of a namespace and name; empty means any.
    Object { namespace: Box<str>, name: Box<str> },
}

#[derive(Default)]
pub(crate) struct Watchers {
    index: Mutex<Index>,
}

type Groups = HashMap<Box<str>, Group>;

/// Watchers of one interest.
struct Group {
    slots: Vec<Arc<Slot>>,
    /// What the first of them watches: nearly always that of all, so they have it in common.
    scope: Arc<Scope>,
}

#[derive(Default)]
struct Index {
    next_id: u64,
    count: usize,
    by_field: Groups,
    /// Namespace, then name.
    by_object: HashMap<Box<str>, Groups>,
}

impl Watchers {
    /// What the watcher shares with the cache, and its scope, which others may have too.
    pub(crate) fn add(&self, interest: &Interest, scope: &Scope) -> (Arc<Slot>, Arc<Scope>) {
        let mut index = self.index.lock();
        let slot = Arc::new(Slot {
            id: index.next_id,
            pending: AtomicU64::new(NONE),
            closed: AtomicBool::new(false),
            rung: AtomicBool::new(true),
            waker: AtomicWaker::new(),
        });
        index.next_id += 1;
        index.count += 1;
        let group = match interest {
            Interest::Field(value) => index.by_field.entry(value.clone()),
            Interest::Object { namespace, name } => index
                .by_object
                .entry(namespace.clone())
                .or_default()
                .entry(name.clone()),
        };
        let group = group.or_insert_with(|| Group {
            slots: Vec::new(),
            scope: Arc::new(scope.clone()),
        });
        group.slots.push(Arc::clone(&slot));
        let scope = if *group.scope == *scope {
            Arc::clone(&group.scope)
        } else {
            Arc::new(scope.clone())
        };
        (slot, scope)
    }

    pub(crate) fn remove(&self, interest: &Interest, slot: &Slot) {
        let mut index = self.index.lock();
        let index = &mut *index;
        match interest {
            Interest::Field(value) => {
                if let Some(group) = index.by_field.get_mut(value) {
                    index.count -= take(&mut group.slots, slot.id);
                    if group.slots.is_empty() {
                        index.by_field.remove(value);
                    }
                }
            }
            Interest::Object { namespace, name } => {
                if let Some(names) = index.by_object.get_mut(namespace) {
                    if let Some(group) = names.get_mut(name) {
                        index.count -= take(&mut group.slots, slot.id);
                        if group.slots.is_empty() {
                            names.remove(name);
                        }
                    }
                    if names.is_empty() {
                        index.by_object.remove(namespace);
                    }
                }
            }
        }
    }

    /// Tells everybody concerned by events with these numbers that there is something to look at.
    pub(crate) fn notify<'a>(
        &self,
        index_field: Option<&str>,
        events: impl Iterator<Item = (u64, &'a Event)>,
    ) {
        let index = self.index.lock();
        if index.count == 0 {
            return;
        }
        for (number, event) in events {
            let wake = |group: Option<&Group>| {
                for slot in group.into_iter().flat_map(|group| &group.slots) {
                    // A watcher that has something waiting is awake or slow; either way it will come to this event.
                    if slot
                        .pending
                        .compare_exchange(NONE, number, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok()
                    {
                        slot.waker.wake();
                    }
                }
            };
            if event.corrupt.is_some() {
                // What cannot be read cannot be looked up.
                index.by_field.values().for_each(|group| wake(Some(group)));
                index
                    .by_object
                    .values()
                    .flat_map(HashMap::values)
                    .for_each(|group| wake(Some(group)));
                continue;
            }
            let Some(entry) = event.current.as_ref().or(event.previous.as_ref()) else {
                continue;
            };
            let (namespace, name) = (entry.namespace(), entry.name());
            if let Some(names) = index.by_object.get(namespace) {
                wake(names.get(name));
                wake(names.get(""));
            }
            if !namespace.is_empty()
                && let Some(names) = index.by_object.get("")
            {
                wake(names.get(name));
                wake(names.get(""));
            }
            if let Some(field) = index_field
                && !index.by_field.is_empty()
            {
                let value = |entry: Option<&Arc<_>>| {
                    entry.map(|entry: &Arc<crate::storage::entry::Entry>| {
                        index.by_field.get(entry.field(field).unwrap_or_default())
                    })
                };
                // Leaving a value is an event for its watchers too.
                wake(value(event.current.as_ref()).flatten());
                wake(value(event.previous.as_ref()).flatten());
            }
        }
    }

    /// Ends all watchers.
    pub(crate) fn close_all(&self) {
        let emptied = {
            let mut index = self.index.lock();
            let emptied = std::mem::take(&mut *index);
            // Identities stay unique: the watchers of before still remove themselves.
            index.next_id = emptied.next_id;
            emptied
        };
        let by_object = emptied
            .by_object
            .into_values()
            .flat_map(HashMap::into_values);
        let groups = emptied.by_field.into_values().chain(by_object);
        for slot in groups.flat_map(|group| group.slots) {
            slot.closed.store(true, Ordering::Release);
            slot.waker.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn for_each(&self, f: impl FnMut(&Arc<Slot>)) {
        let index = self.index.lock();
        let by_object = index.by_object.values().flat_map(HashMap::values);
        index
            .by_field
            .values()
            .chain(by_object)
            .flat_map(|group| &group.slots)
            .for_each(f);
    }

    pub(crate) fn len(&self) -> usize {
        self.index.lock().count
    }
}

fn take(group: &mut Vec<Arc<Slot>>, id: u64) -> usize {
    match group.iter().position(|slot| slot.id == id) {
        Some(position) => {
            group.swap_remove(position);
            1
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(namespace: &str) -> Scope {
        Scope {
            prefix: format!("/registry/pods/{namespace}").into(),
            recursive: true,
            namespace: namespace.into(),
            name: Box::default(),
        }
    }

    #[test]
    fn watchers_of_an_interest_have_their_scope_in_common_where_it_is_the_same() {
        let watchers = Watchers::default();
        let node = Interest::Field("node".into());
        let (first, all) = watchers.add(&node, &scope(""));
        let (second, same) = watchers.add(&node, &scope(""));
        let (third, other) = watchers.add(&node, &scope("ns/"));
        assert!(Arc::ptr_eq(&all, &same));
        assert_eq!(*other, scope("ns/"));
        assert_eq!(watchers.len(), 3);
        for slot in [first, second, third] {
            watchers.remove(&node, &slot);
        }
        assert_eq!(watchers.len(), 0);
        let (_, later) = watchers.add(&node, &scope("ns/"));
        assert_eq!(*later, scope("ns/"));
    }
}
