//! What a controller is built from. Upstream: `ControllerContext` in cmd/kube-controller-manager/app.
//!
//! One [`Context`] serves the process; each controller gets a [`Setup`], its view of the context under its own identity, which
//! also notes the caches the controller asked for, so that its workers start only when those are filled.

use std::sync::Arc;

use api_types::Resource;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use client::{Client, DeletedObject, EventHandler, EventRecorder, InformerFactory, SharedInformer};
use component_base::features::FeatureGates;
use parking_lot::Mutex;

use crate::client_builder::ClientBuilder;
use crate::clock::Clock;
use crate::controllers::{Backoff, Key};
use crate::metrics::Metrics;
use crate::runner::{Queue, new_queue};

/// Shared by every controller of the process.
pub struct Context {
    /// The component configuration, flags and defaults merged.
    pub config: Arc<KubeControllerManagerConfiguration>,
    /// The feature gates of this process.
    pub features: FeatureGates,
    /// Makes clients by controller identity.
    pub clients: ClientBuilder,
    /// Shared caches. They hold no managed fields.
    pub informers: InformerFactory,
    /// The current time.
    pub clock: Clock,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The `source.host` of events is empty upstream too; kept here for the one place that makes recorders.
    pub event_instance: String,
}

/// Reports whether one cache is filled.
pub type SyncCheck = Box<dyn Fn() -> bool + Send + Sync>;

/// A controller's view of the [`Context`] while it is built.
pub struct Setup {
    /// The process's context.
    pub context: Arc<Context>,
    /// A client that acts as the controller's identity.
    pub client: Client,
    /// The controller's canonical name.
    pub name: &'static str,
    synced: Mutex<Vec<SyncCheck>>,
}

impl Setup {
    /// A view for the controller `name`, whose requests go through `client`.
    pub fn new(context: Arc<Context>, client: Client, name: &'static str) -> Self {
        Self {
            context,
            client,
            name,
            synced: Mutex::new(Vec::new()),
        }
    }

    /// The shared cache of a kind. The controller's workers wait until it is filled.
    pub fn informer<T: Resource>(&self) -> SharedInformer<T> {
        let informer = self.context.informers.informer::<T>();
        let waited_for = informer.clone();
        self.wait_for(move || waited_for.has_synced());
        informer
    }

    /// Adds a condition the controller's workers wait for, besides its caches.
    pub fn wait_for(&self, ready: impl Fn() -> bool + Send + Sync + 'static) {
        self.synced.lock().push(Box::new(ready));
    }

    /// A recorder of events whose source is `component`.
    pub fn recorder(&self, component: &str) -> EventRecorder {
        EventRecorder::new(&self.client, component, &*self.context.event_instance)
    }

    /// A further queue, to be served by [`crate::runner::work`]. `name` labels its metrics.
    pub fn queue<K: Key>(&self, name: &str, backoff: Backoff) -> Queue<K> {
        new_queue(name, backoff, self.context.metrics.workqueue())
    }

    /// Makes metrics. A controller keeps the handles.
    pub fn metrics(&self) -> &component_base::metrics::Metrics {
        self.context.metrics.base()
    }

    /// The component configuration.
    pub fn config(&self) -> &KubeControllerManagerConfiguration {
        &self.context.config
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.context.clock.clone()
    }

    /// Whether a feature gate is on.
    pub fn enabled(&self, gate: &str) -> bool {
        self.context.features.enabled(gate)
    }

    pub(crate) fn take_sync_checks(&self) -> Vec<SyncCheck> {
        std::mem::take(&mut self.synced.lock())
    }
}

/// One change of a cached object, as a handler sees it.
pub enum Change<'a, T> {
    /// The object is new to the cache; `true` when it was part of the first list.
    Added(&'a Arc<T>, bool),
    /// The object before and after. Both are the same on a resync.
    Updated(&'a Arc<T>, &'a Arc<T>),
    /// The last known state of an object that is gone.
    Deleted(&'a Arc<T>),
}

impl<'a, T> Change<'a, T> {
    /// The newest state of the object.
    pub fn object(&self) -> &'a Arc<T> {
        match self {
            Self::Added(object, _) | Self::Updated(_, object) | Self::Deleted(object) => object,
        }
    }
}

/// Calls `handle` for every change in `informer`'s cache.
pub fn on_change<T: Resource>(
    informer: &SharedInformer<T>,
    handle: impl Fn(Change<'_, T>) + Send + Sync + 'static,
) {
    informer.add_handler(Arc::new(Handler(handle)));
}

/// As [`on_change`]; besides, every object is handed over again as updated to itself each `resync`.
pub fn on_change_resynced<T: Resource>(
    informer: &SharedInformer<T>,
    resync: std::time::Duration,
    handle: impl Fn(Change<'_, T>) + Send + Sync + 'static,
) {
    informer.add_handler_with_resync(Arc::new(Handler(handle)), resync);
}

struct Handler<F>(F);

impl<T: Resource, F: Fn(Change<'_, T>) + Send + Sync + 'static> EventHandler<T> for Handler<F> {
    fn on_add(&self, object: &Arc<T>, initial: bool) {
        (self.0)(Change::Added(object, initial));
    }

    fn on_update(&self, old: &Arc<T>, new: &Arc<T>) {
        (self.0)(Change::Updated(old, new));
    }

    fn on_delete(&self, deleted: DeletedObject<T>) {
        (self.0)(Change::Deleted(&deleted.object));
    }
}
