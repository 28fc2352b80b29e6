//! Follows a resource inside the process: every object as it is now, then every change. What informers are to other
//! processes, for authorizers and admission plugins of this one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource as ApiResource;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::resource::Resource;
use crate::storage::{Entry, EventType, Everything, Id, WatchEvent, WatchOptions};

const RETRY: Duration = Duration::from_millis(200);

/// Something happened to an object.
#[derive(Debug)]
pub enum Change<T> {
    /// It is like this now.
    Set(T),
    Gone {
        namespace: String,
        name: String,
    },
    /// All objects that were there at the start have been told.
    Synced,
}

/// Tells `on` of every change until `stop`. When the watch breaks, the state is told anew and what has gone meanwhile
/// is reported as gone.
pub fn follow<T: ApiResource>(
    resource: Arc<Resource>,
    stop: CancellationToken,
    on: impl Fn(Change<Box<T>>) + Send + Sync + 'static,
) {
    follow_stored(resource, stop, move |change| match change {
        Change::Set(stored) => {
            if let Some(object) = stored.decode() {
                on(Change::Set(object));
            }
        }
        Change::Gone { namespace, name } => on(Change::Gone { namespace, name }),
        Change::Synced => on(Change::Synced),
    });
}

/// An object as it is stored.
pub struct Stored<'a> {
    resource: &'a Resource,
    entry: &'a Entry,
    value: Bytes,
    resource_version: u64,
}

impl Stored<'_> {
    pub fn namespace(&self) -> &str {
        self.entry.namespace()
    }

    pub fn name(&self) -> &str {
        self.entry.name()
    }

    /// Its protobuf message, where it is stored as one.
    pub fn message(&self) -> Option<&[u8]> {
        self.resource.raw(&self.value)
    }

    /// The object as it is served. None when it cannot be read.
    pub fn decode<T: ApiResource>(&self) -> Option<Box<T>> {
        let object = self
            .resource
            .decode_stored(&self.value, self.resource_version)
            .and_then(|object| self.resource.to_served(object));
        object.ok()?.into_value().downcast::<T>().ok()
    }
}

/// As [`follow`], for those who do not need every object decoded.
pub fn follow_stored(
    resource: Arc<Resource>,
    stop: CancellationToken,
    on: impl Fn(Change<Stored<'_>>) + Send + Sync + 'static,
) {
    tokio::spawn(async move {
        let mut known: HashSet<Id> = HashSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = once(&resource, &mut known, &on) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    });
}

fn gone<T>(id: &Id) -> Change<T> {
    Change::Gone {
        namespace: id.namespace().to_owned(),
        name: id.name().to_owned(),
    }
}

async fn once(
    resource: &Resource,
    known: &mut HashSet<Id>,
    on: &(impl Fn(Change<Stored<'_>>) + Send + Sync),
) {
    let Some(storage) = &resource.storage else {
        return;
    };
    let Ok(scope) = storage.scope("", "") else {
        return;
    };
    let options = WatchOptions {
        send_initial_events: Some(true),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    let Ok(mut watcher) = storage.watch(&scope, &options, Arc::new(Everything)).await else {
        return;
    };
    let mut seen: Option<HashSet<Id>> = Some(HashSet::new());
    while let Some(event) = watcher.next().await {
        match event {
            WatchEvent::Object(event) => {
                let entry = event.entry();
                let id = entry.id();
                if event.event_type() == EventType::Deleted {
                    known.remove(&id);
                    on(gone(&id));
                    continue;
                }
                on(Change::Set(Stored {
                    resource,
                    entry,
                    value: entry.value(),
                    resource_version: event.resource_version(),
                }));
                if let Some(seen) = &mut seen {
                    seen.insert(id.clone());
                }
                known.insert(id);
            }
            WatchEvent::Bookmark {
                initial_events_end, ..
            } => {
                if initial_events_end && let Some(seen) = seen.take() {
                    known.retain(|id| {
                        let there = seen.contains(id);
                        if !there {
                            on(gone(id));
                        }
                        there
                    });
                    on(Change::Synced);
                }
            }
            WatchEvent::Error(_) => return,
        }
    }
}
