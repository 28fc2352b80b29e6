//! The informer: a reflector, its store, and the handlers of everybody who is interested.
//!
//! [`SharedInformer`] is the typed face, [`Core`] does the work for objects of any kind.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use api_types::Resource;
use api_types::meta::v1::PartialObjectMetadata;
use apimachinery::gvk::GroupVersionResource;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handlers::{EventHandler, HandlerRegistration, Listener, Listeners, Notification};
use super::list_watch::{self, BuiltInKind, ListScope, ListWatch};
use super::object::{AnyObject, Cacheable};
use super::reflector::{Reflector, Sink};
use super::store::{Lister, Store, index_fn};
use crate::dynamic::DynamicObject;
use crate::rest::Client;

/// A shared, eventually consistent copy of one collection, and news about it. Clones are the same informer.
///
/// # What the cache is
///
/// For one resource and scope (all namespaces or one, label and field selector) the informer holds for every object the newest
/// state it has been told of. If communication and the server work, the cache catches up with the server; there is no promise
/// how fast. While it does not work, the cache keeps what it had, for any length of time, and nothing tells a reader so: who
/// must know that it reads the present has to ask the server.
///
/// - A state in the cache was, at some time, the state on the server. States may be skipped: of several quick changes a reader
///   may see only the last one. A deletion followed by a creation under the same name may be seen as one update, with two
///   different uids: compare uids where identity matters.
/// - For one object, states never go back in time as long as the informer lives, relists included.
/// - Between objects there is no order: a pod may be seen before its replica set, a new revision of one object before an older
///   change of another, and informers of different resources are not synchronised with each other at all.
/// - Readers never see half of a list: a relist replaces the whole content, indexes included, in one step. The first list is
///   invisible until it is complete; [`Self::has_synced`] tells when that has happened, and it stays true from then on.
/// - Own writes are not special. After a successful write a reader may still find the old state; who would do harm by acting
///   on it twice uses expectations or [`super::ConsistencyGuard`].
/// - Objects are shared by everybody (`Arc<T>`): changing one means cloning it. Two reads may give the same allocation or not.
/// - An object that leaves the selection is deleted from the cache though it lives on at the server.
///
/// # What handlers get
///
/// - Each handler has its own unbounded queue and its own task. It is called by one task at a time, in the order of events for
///   each object. A slow handler delays no other, but its queue grows: handlers put keys into work queues and return.
/// - When a handler is called, the cache is at least as new as the event; it may be newer, and the object of the event may be
///   gone from it. Handlers of one informer get the same events in the same order, but not at the same time.
/// - Every object of the cache is announced by one `on_add` before anything else about it. A handler added to a running informer
///   gets an `on_add` (with `initial` set) for everything that is in the cache at that moment and then every later event; none is
///   lost in between and none comes twice.
/// - `on_update` follows for each further state, `on_delete` when it is gone; after that the next event of the same name is an
///   `on_add`. A delete and re-create that happened during a broken watch is an `on_update`.
/// - If the informer learns of a deletion only from a relist, the final state is unknown, and [`DeletedObject`] carries the last
///   known one with `final_state_unknown` set.
/// - A relist that finds an object unchanged (same resource version) is not reported. Bookmarks are not reported.
/// - With a resync period, `on_update` is called again and again with the cached state as both old and new. That is no relist
///   and finds no lost events; it is for handlers that act on the world outside of the API.
/// - Handlers may call anything of the informer but must not wait for their own informer to sync or to deliver something.
///
/// # Life
///
/// - Handlers and indexes can be added before and after the start, transforms only when the informer is made. An index added
///   later is complete at once.
/// - [`Self::run`] (or the factory) starts it once; a second run does nothing. It ends with its token: then the watch is closed,
///   the queues are delivered to their end, and the cache stays readable as it was.
/// - An informer that was never run holds nothing and never syncs.
/// - Failures are retried for ever with backoff (0.8 s to 30 s) and logged; there is no state in which it gives up.
///
/// # Cost
///
/// One watch per informer, whatever the number of handlers and listers. Memory is one copy of each object. A relist needs
/// both the old and the new content for a moment. Reading takes a read lock for a moment; listing copies pointers.
pub struct SharedInformer<T> {
    core: Arc<Core>,
    kind: PhantomData<fn() -> T>,
}

/// An informer without the type of its objects.
pub(super) struct Core {
    source: Arc<dyn ListWatch>,
    scope: ListScope<dyn Cacheable>,
    resync: Duration,
    store: Arc<Store>,
    /// Locked while an event is put into the queues, so that all handlers see the same order.
    listeners: Mutex<Listeners>,
    synced: watch::Sender<bool>,
    /// A handler with a resync period was added.
    resync_changed: Notify,
}

impl<T> Clone for SharedInformer<T> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            kind: PhantomData,
        }
    }
}

impl<T> fmt::Debug for SharedInformer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedInformer")
            .field("source", &self.source.describe())
            .field("synced", &self.has_synced())
            .finish()
    }
}

impl<T: Resource> SharedInformer<T> {
    /// An informer of a built-in resource. Normally the factory makes it.
    pub fn new(client: &Client, scope: ListScope<T>, resync: Duration) -> Self {
        let scope = scope.untyped();
        let kind = BuiltInKind::of::<T>();
        let source = list_watch::built_in(client, kind, scope.namespace.as_deref());
        Self::of(Core::new(source, scope, resync))
    }
}

impl SharedInformer<PartialObjectMetadata> {
    /// An informer of any resource that keeps metadata only.
    pub fn for_resource(
        client: &Client,
        resource: &GroupVersionResource,
        scope: ListScope<PartialObjectMetadata>,
        resync: Duration,
    ) -> Self {
        let scope = scope.untyped();
        let source = list_watch::metadata(client, resource, scope.namespace.as_deref());
        Self::of(Core::new(source, scope, resync))
    }
}

impl SharedInformer<DynamicObject> {
    /// An informer of any resource as JSON.
    pub fn dynamic(
        client: &Client,
        resource: &GroupVersionResource,
        scope: ListScope<DynamicObject>,
        resync: Duration,
    ) -> Self {
        let scope = scope.untyped();
        let source = list_watch::dynamic(client, resource, scope.namespace.as_deref());
        Self::of(Core::new(source, scope, resync))
    }
}

impl<T: Cacheable> SharedInformer<T> {
    /// The typed face of a core whose objects are of this kind.
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self {
            core,
            kind: PhantomData,
        }
    }

    /// Adds a handler with the informer's resync period. Needs a runtime if the informer is running.
    pub fn add_handler(&self, handler: Arc<dyn EventHandler<T>>) -> HandlerRegistration {
        self.add_handler_with_resync(handler, self.core.resync)
    }

    /// Adds a handler with a resync period of its own; zero is none, less than a second becomes one.
    pub fn add_handler_with_resync(
        &self,
        handler: Arc<dyn EventHandler<T>>,
        resync: Duration,
    ) -> HandlerRegistration {
        let resync = if resync.is_zero() {
            resync
        } else {
            resync.max(Duration::from_secs(1))
        };
        self.core.add_listener(Listener::new(handler, resync))
    }

    /// Removes a handler; it gets nothing more, except a call that is under way.
    pub fn remove_handler(&self, registration: &HandlerRegistration) {
        self.core.remove_listener(registration);
    }

    /// Adds an index: `values` gives, for an object, the values it is found under by [`Lister::by_index`]. It must depend on nothing but
    /// the object. A name that is taken keeps its first function, so that every user of a shared informer may add the index it needs.
    pub fn add_index(
        &self,
        name: &str,
        values: impl Fn(&T) -> Vec<String> + Send + Sync + 'static,
    ) {
        self.core.store.add_index(name, index_fn(values));
    }

    /// Reads the cache.
    pub fn lister(&self) -> Lister<T> {
        Lister::new(self.core.store.clone())
    }

    /// Whether the first list is in the cache.
    pub fn has_synced(&self) -> bool {
        self.core.has_synced()
    }

    /// Waits until the first list is in the cache. `false` when the token is cancelled before.
    pub fn wait_for_sync<'a>(&'a self, token: &'a CancellationToken) -> BoxFuture<'a, bool> {
        self.core.wait_for_sync(token)
    }

    /// The version of the collection the cache corresponds to; "" before the first list.
    pub fn last_sync_resource_version(&self) -> String {
        self.core.store.resource_version()
    }

    /// Whether it has been started.
    pub fn is_running(&self) -> bool {
        self.core.is_running()
    }

    /// Runs the informer until the token is cancelled. A second call returns at once.
    pub fn run(&self, token: CancellationToken) -> BoxFuture<'static, ()> {
        self.core.run(token)
    }
}

impl Core {
    pub(super) fn new(
        source: Arc<dyn ListWatch>,
        scope: ListScope<dyn Cacheable>,
        resync: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            scope,
            resync,
            store: Arc::new(Store::new()),
            listeners: Mutex::new(Listeners::new()),
            synced: watch::Sender::new(false),
            resync_changed: Notify::new(),
        })
    }

    fn add_listener(&self, mut listener: Listener) -> HandlerRegistration {
        let registration = listener.registration.clone();
        // Holding the lock keeps events out until the handler has been given what is there.
        let mut listeners = self.listeners.lock();
        if listeners.stopped {
            tracing::warn!(
                informer = self.source.describe(),
                "Handler was not added to shared informer because it has stopped already"
            );
            return registration;
        }
        if listeners.running {
            listener.start();
        }
        if listeners.synced {
            for object in self.store.all() {
                listener.notify(Notification::Add(object, true));
            }
            listener.notify(Notification::Synced);
        }
        listeners.all.push(listener);
        drop(listeners);
        self.resync_changed.notify_one();
        registration
    }

    fn remove_listener(&self, registration: &HandlerRegistration) {
        self.listeners.lock().all.retain(|listener| {
            let keep = listener.registration.id != registration.id;
            if !keep {
                listener.remove();
            }
            keep
        });
    }

    pub(super) fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(super) fn is_running(&self) -> bool {
        self.listeners.lock().running
    }

    pub(super) fn wait_for_sync<'a>(&'a self, token: &'a CancellationToken) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let mut synced = self.synced.subscribe();
            // The sender lives in `self`, so the wait cannot fail.
            token
                .run_until_cancelled(synced.wait_for(|synced| *synced))
                .await
                .is_some_and(|result| result.is_ok())
        })
    }

    pub(super) fn run(self: &Arc<Self>, token: CancellationToken) -> BoxFuture<'static, ()> {
        let core = self.clone();
        Box::pin(async move {
            {
                let mut listeners = core.listeners.lock();
                if listeners.running || listeners.stopped {
                    tracing::warn!(
                        informer = core.source.describe(),
                        "The shared informer has started, run more than once is not allowed"
                    );
                    return;
                }
                listeners.running = true;
                for listener in &mut listeners.all {
                    listener.start();
                }
            }
            // Also when this future is dropped: the handlers' tasks end when their queues close.
            let _stop = Stop(&core);
            let reflector = Reflector::new(core.source.clone(), core.clone(), core.scope.clone());
            tokio::select! {
                () = reflector.run(&token) => {}
                () = core.resync() => {}
            }
        })
    }

    /// Repeats the cache's content to handlers that want it, for ever.
    async fn resync(&self) {
        loop {
            let next = self
                .listeners
                .lock()
                .all
                .iter()
                .filter_map(|listener| listener.next_resync)
                .min();
            let Some(next) = next else {
                self.resync_changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.resync_changed.notified() => continue,
                () = tokio::time::sleep_until(next) => {}
            }
            let mut listeners = self.listeners.lock();
            let now = Instant::now();
            let objects = if listeners.synced {
                self.store.all()
            } else {
                Vec::new()
            };
            for listener in &mut listeners.all {
                if listener.next_resync.is_some_and(|at| at <= now) {
                    listener.next_resync = listener.resync.map(|period| now + period);
                    for object in &objects {
                        listener.notify(Notification::Update(object.clone(), object.clone()));
                    }
                }
            }
        }
    }
}

/// Closes the handlers' queues.
struct Stop<'a>(&'a Core);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let mut listeners = self.0.listeners.lock();
        listeners.running = false;
        listeners.stopped = true;
        listeners.all.clear();
    }
}

impl Sink for Core {
    fn replace(&self, objects: Vec<AnyObject>, resource_version: &str) {
        let mut listeners = self.listeners.lock();
        let initial = !listeners.synced;
        let replaced = self.store.replace(objects, resource_version);
        for object in replaced.added {
            listeners.notify(&Notification::Add(object, initial));
        }
        for (old, new) in replaced.updated {
            if old.object_meta().resource_version != new.object_meta().resource_version {
                listeners.notify(&Notification::Update(old, new));
            }
        }
        for object in replaced.removed {
            listeners.notify(&Notification::Delete {
                object,
                final_state_unknown: true,
            });
        }
        if initial {
            listeners.synced = true;
            listeners.notify(&Notification::Synced);
            self.synced.send_replace(true);
        }
    }

    fn upsert(&self, object: AnyObject) {
        let listeners = self.listeners.lock();
        let notification = match self.store.insert(object.clone()) {
            // The same state once more, after a resumed watch.
            Some(old)
                if old.object_meta().resource_version == object.object_meta().resource_version =>
            {
                return;
            }
            Some(old) => Notification::Update(old, object),
            None => Notification::Add(object, false),
        };
        listeners.notify(&notification);
    }

    fn delete(&self, last: AnyObject) {
        let listeners = self.listeners.lock();
        if self.store.remove(&*last).is_some() {
            listeners.notify(&Notification::Delete {
                object: last,
                final_state_unknown: false,
            });
        }
    }

    fn bookmark(&self, resource_version: &str) {
        self.store.advance(resource_version);
    }
}
