//! Follows a resource inside the process: every object as it is now, then every change. What informers are to other
//! processes, for authorizers and admission plugins of this one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource as ApiResource;
use tokio_util::sync::CancellationToken;

use super::resource::Resource;
use crate::storage::{Entry, EventType, Everything, WatchEvent, WatchOptions};

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
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    resource: &'a Resource,
    entry: &'a Entry,
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
        self.resource.raw(self.entry.value())
    }

    /// The object as it is served. None when it cannot be read.
    pub fn decode<T: ApiResource>(&self) -> Option<Box<T>> {
        let object = self
            .resource
            .decode_stored(self.entry.value(), self.resource_version)
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
        let mut known: HashSet<(String, String)> = HashSet::new();
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

async fn once(
    resource: &Resource,
    known: &mut HashSet<(String, String)>,
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
    let mut seen: Option<HashSet<(String, String)>> = Some(HashSet::new());
    while let Some(event) = watcher.next().await {
        match event {
            WatchEvent::Object(event) => {
                let entry = event.entry();
                let key = (entry.namespace().to_owned(), entry.name().to_owned());
                if event.event_type() == EventType::Deleted {
                    known.remove(&key);
                    on(Change::Gone {
                        namespace: key.0,
                        name: key.1,
                    });
                    continue;
                }
                on(Change::Set(Stored {
                    resource,
                    entry,
                    resource_version: event.resource_version(),
                }));
                if let Some(seen) = &mut seen {
                    seen.insert(key.clone());
                }
                known.insert(key);
            }
            WatchEvent::Bookmark {
                initial_events_end, ..
            } => {
                if initial_events_end && let Some(seen) = seen.take() {
                    known.retain(|key| {
                        let there = seen.contains(key);
                        if !there {
                            on(Change::Gone {
                                namespace: key.0.clone(),
                                name: key.1.clone(),
                            });
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
