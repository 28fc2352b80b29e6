//! Follows a resource inside the process: every object as it is now, then every change. What informers are to other
//! processes, for authorizers and admission plugins of this one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource as ApiResource;
use tokio_util::sync::CancellationToken;

use super::resource::Resource;
use crate::storage::{EventType, Everything, WatchEvent, WatchOptions};

const RETRY: Duration = Duration::from_millis(200);

/// Something happened to an object.
#[derive(Debug)]
pub enum Change<T> {
    /// It is like this now.
    Set(Box<T>),
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
    on: impl Fn(Change<T>) + Send + Sync + 'static,
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

async fn once<T: ApiResource>(
    resource: &Resource,
    known: &mut HashSet<(String, String)>,
    on: &(impl Fn(Change<T>) + Send + Sync),
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
                let object = resource
                    .decode_stored(entry.value(), event.resource_version())
                    .and_then(|object| resource.to_served(object));
                let Ok(object) = object else { continue };
                if let Some(seen) = &mut seen {
                    seen.insert(key.clone());
                }
                known.insert(key);
                if let Ok(object) = object.into_value().downcast::<T>() {
                    on(Change::Set(object));
                }
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
