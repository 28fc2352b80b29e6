//! Follows APIServices, and the Services and EndpointSlices behind them, and keeps the table of group versions that other
//! servers answer. Upstream: kube-aggregator/pkg/apiserver/apiservice_controller.go.
//!
//! One task owns the state; what it knows is published whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api_types::apidiscovery::v2::APIVersionDiscovery;
use api_types::apiregistration::v1::APIService;
use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use component_base::file_watch::watch_files;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::availability::{self, is_available};
use super::link::Link;
use super::resolve::Backend;
use super::{Remote, ServiceKey, discovery, openapi};
use crate::discovery::registered::Registered;
use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow};
use crate::server::ApiServer;

/// Readiness waits for these until all APIServices are known.
const HOOKS: [&str; 2] = [
    "apiservice-registration-controller",
    "apiservice-wait-for-first-sync",
];
/// And for this one until the first servers have been asked what they have.
const DISCOVERY_HOOK: &str = "apiservice-discovery-controller";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const DEFAULT_PORT: u16 = 443;

/// Everything that can change the table.
enum Event {
    ApiService(Change<Box<APIService>>),
    Service(ServiceKey),
    /// EndpointSlices of a Service, or of any in a namespace.
    Slices(String, Option<String>),
    /// All Services, or all EndpointSlices, have been told.
    Synced(Followed),
    /// What the server of an APIService has.
    Discovered(String, APIVersionDiscovery),
    /// Our certificate is another one.
    Identity,
}

#[derive(Clone, Copy)]
enum Followed {
    Services,
    Slices,
}

/// What has been told completely at least once.
#[derive(Clone, Copy, Default)]
struct Synced {
    services: bool,
    slices: bool,
}

/// An APIService and who looks after it.
struct Known {
    service: Arc<APIService>,
    remote: Option<(Arc<Remote>, Keeper)>,
    discovered: Option<Arc<APIVersionDiscovery>>,
}

/// The tasks of one aggregated server; they end when this is dropped.
struct Keeper {
    availability: Arc<Notify>,
    discovery: Arc<Notify>,
    openapi: Arc<Notify>,
    _ends: DropGuard,
}

impl Keeper {
    fn all_changed(&self) {
        for task in [&self.availability, &self.discovery, &self.openapi] {
            task.notify_one();
        }
    }
}

struct Registry {
    server: Arc<ApiServer>,
    client: Loopback,
    known: BTreeMap<String, Known>,
    events: mpsc::UnboundedSender<Event>,
    /// Whether Services and EndpointSlices are followed.
    following: bool,
    synced: watch::Sender<Synced>,
    /// What discovery was told last.
    registered: Vec<Registered>,
    /// Held by tasks until they have asked for the first time.
    first: Option<mpsc::Sender<()>>,
    stop: CancellationToken,
}

/// Keeps the table right until `stop`.
pub(crate) fn start(server: &Arc<ApiServer>, client: &Loopback, stop: CancellationToken) {
    let resources = &server.resources;
    let Some(api_services) = resources.get("apiregistration.k8s.io", "v1", "apiservices") else {
        return;
    };
    let (events, mut received) = mpsc::unbounded_channel();
    let told = events.clone();
    follow::<APIService>(api_services, stop.clone(), move |change| {
        let _ = told.send(Event::ApiService(change));
    });
    if let Some((certificate, key)) = server.aggregator.identity_files.clone() {
        let (server, told) = (server.clone(), events.clone());
        watch_files(vec![certificate, key], stop.clone(), move || {
            match server.aggregator.read_identity() {
                Ok(true) => {
                    let _ = told.send(Event::Identity);
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "Could not read the proxy client certificate again");
                }
            }
        });
    }
    let (first, mut all_asked) = mpsc::channel(1);
    let mut registry = Registry {
        server: server.clone(),
        client: client.clone(),
        known: BTreeMap::new(),
        events,
        following: false,
        synced: watch::Sender::default(),
        registered: Vec::new(),
        first: Some(first),
        stop: stop.clone(),
    };
    let ready = server.clone();
    tokio::spawn(async move {
        // Nothing is ever sent.
        all_asked.recv().await;
        ready.health.hook_done(DISCOVERY_HOOK);
    });
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = received.recv() => event,
            };
            let Some(event) = event else { return };
            registry.on(event).await;
            while let Ok(event) = received.try_recv() {
                registry.on(event).await;
            }
            registry.publish_discovery();
        }
    });
}

impl Registry {
    async fn on(&mut self, event: Event) {
        match event {
            Event::ApiService(Change::Set(service)) => self.set(service).await,
            Event::ApiService(Change::Gone { name, .. }) => {
                self.known.remove(&name);
                self.server.aggregator.metrics.forget(&name);
                self.publish();
            }
            Event::ApiService(Change::Synced) => {
                for hook in HOOKS {
                    self.server.health.hook_done(hook);
                }
                self.first = None;
            }
            Event::Service(key) => self.backend_changed(|known| *known == key).await,
            Event::Slices(namespace, Some(name)) => {
                self.backend_changed(|known| known.0 == namespace && known.1 == name)
                    .await;
            }
            Event::Slices(namespace, None) => {
                self.backend_changed(|known| known.0 == namespace).await;
            }
            Event::Synced(what) => self.synced.send_modify(|synced| match what {
                Followed::Services => synced.services = true,
                Followed::Slices => synced.slices = true,
            }),
            Event::Discovered(name, found) => {
                if let Some(known) = self.known.get_mut(&name)
                    && known.remote.is_some()
                {
                    known.discovered = Some(Arc::new(found));
                }
            }
            Event::Identity => {
                let services: Vec<Arc<APIService>> = self
                    .known
                    .values()
                    .map(|known| known.service.clone())
                    .collect();
                for service in services {
                    self.set(Box::new((*service).clone())).await;
                }
            }
        }
    }

    async fn set(&mut self, service: Box<APIService>) {
        let name = service.metadata.name.clone();
        let server = self.server.clone();
        let aggregator = &server.aggregator;
        aggregator.metrics.set(&name, is_available(&service));
        let (old, discovered) = match self.known.remove(&name) {
            Some(known) => (known.remote, known.discovered),
            None => (None, None),
        };
        let service = Arc::new(*service);
        let remote = match service.spec.service.as_deref() {
            None => {
                self.make_local(&service);
                None
            }
            Some(reference) => {
                let link = Link::new(
                    &service,
                    reference,
                    aggregator.identity.load_full(),
                    &aggregator.via,
                    old.as_ref().map(|(remote, _)| &remote.link),
                );
                let remote = Arc::new(Remote {
                    available: is_available(&service),
                    service: service.clone(),
                    backend: (reference.namespace.clone(), reference.name.clone()),
                    port: reference
                        .port
                        .and_then(|port| u16::try_from(port).ok())
                        .unwrap_or(DEFAULT_PORT),
                    link,
                });
                self.follow_services();
                if !aggregator.backends.read().contains_key(&remote.backend) {
                    self.read_backend(&remote.backend).await;
                }
                Some((remote, old.map(|(_, keeper)| keeper)))
            }
        };
        // The table comes first: tasks look themselves up in it.
        let (remote, keeper) = match remote {
            None => (None, None),
            Some((remote, keeper)) => (Some(remote), keeper),
        };
        self.publish_with(remote.as_ref());
        let remote = remote.map(|remote| {
            let keeper = match keeper {
                Some(keeper) => {
                    keeper.all_changed();
                    keeper
                }
                None => self.keeper(&name),
            };
            (remote, keeper)
        });
        let discovered = discovered.filter(|_| remote.is_some());
        let known = Known {
            service,
            remote,
            discovered,
        };
        self.known.insert(name, known);
    }

    /// Says of an APIService that it is answered here, when it was not or does not say so.
    fn make_local(&self, service: &APIService) {
        let Some(local) = availability::as_local(service) else {
            return;
        };
        let client = self.client.clone();
        tokio::spawn(async move {
            let name = local.metadata.name.clone();
            // Whatever came between is followed by another event.
            if let Err(error) = client.update_status(local).await {
                tracing::debug!(name, %error, "An APIService does not get its condition yet");
            }
        });
    }

    fn keeper(&self, name: &str) -> Keeper {
        let stop = self.stop.child_token();
        let keeper = Keeper {
            availability: Arc::default(),
            discovery: Arc::default(),
            openapi: Arc::default(),
            _ends: stop.clone().drop_guard(),
        };
        let (server, client) = (self.server.clone(), self.client.clone());
        let (availability, discovery, openapi) = (
            keeper.availability.clone(),
            keeper.discovery.clone(),
            keeper.openapi.clone(),
        );
        let (name, first) = (name.to_owned(), self.first.clone());
        let told = self.events.clone();
        let mut synced = self.synced.subscribe();
        let look_after = async move {
            // Nothing is said to be missing before all is known.
            let complete = synced.wait_for(|synced| synced.services && synced.slices);
            if complete.await.is_err() {
                return;
            }
            let aggregator = &server.aggregator;
            tokio::join!(
                availability::keep(aggregator, &client, &name, availability),
                discovery::keep(aggregator, &name, discovery, first, |found| {
                    let _ = told.send(Event::Discovered(name.clone(), found));
                }),
                openapi::keep(aggregator, &server.discovery.openapi, &name, openapi),
            );
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = look_after => {}
            }
        });
        keeper
    }

    /// Tells discovery what is registered, when that has changed.
    fn publish_discovery(&mut self) {
        let registered: Vec<Registered> = self
            .known
            .iter()
            .map(|(name, known)| {
                let spec = &known.service.spec;
                Registered {
                    name: name.clone(),
                    group: spec.group.clone(),
                    version: spec.version.clone(),
                    priority: (spec.group_priority_minimum, spec.version_priority),
                    remote: known.discovered.clone(),
                }
            })
            .collect();
        if registered != self.registered {
            self.registered.clone_from(&registered);
            let server = &self.server;
            server.discovery.register(registered, &server.resources);
        }
    }

    fn publish(&self) {
        self.publish_with(None);
    }

    /// Publishes what is known and one more.
    fn publish_with(&self, more: Option<&Arc<Remote>>) {
        let known = self
            .known
            .values()
            .filter_map(|known| Some(&known.remote.as_ref()?.0));
        let table: Vec<Arc<Remote>> = known.chain(more).cloned().collect();
        let used: HashSet<&ServiceKey> = table.iter().map(|remote| &remote.backend).collect();
        let aggregator = &self.server.aggregator;
        aggregator
            .backends
            .write()
            .retain(|key, _| used.contains(key));
        aggregator.table.store(Arc::new(table));
    }

    /// From the first aggregated server on.
    fn follow_services(&mut self) {
        if self.following {
            return;
        }
        self.following = true;
        let resources = &self.server.resources;
        if let Some(services) = resources.get("", "v1", "services") {
            let told = self.events.clone();
            follow::<Service>(services, self.stop.clone(), move |change| {
                let key = match change {
                    Change::Set(service) => (service.metadata.namespace, service.metadata.name),
                    Change::Gone { namespace, name } => (namespace, name),
                    Change::Synced => {
                        let _ = told.send(Event::Synced(Followed::Services));
                        return;
                    }
                };
                let _ = told.send(Event::Service(key));
            });
        }
        if let Some(slices) = resources.get("discovery.k8s.io", "v1", "endpointslices") {
            let told = self.events.clone();
            follow::<EndpointSlice>(slices, self.stop.clone(), move |change| {
                let event = match change {
                    Change::Set(mut slice) => {
                        let Some(service) = slice.metadata.labels.remove(SERVICE_NAME) else {
                            return;
                        };
                        Event::Slices(slice.metadata.namespace, Some(service))
                    }
                    Change::Gone { namespace, .. } => Event::Slices(namespace, None),
                    Change::Synced => Event::Synced(Followed::Slices),
                };
                let _ = told.send(event);
            });
        }
    }

    async fn backend_changed(&self, is_changed: impl Fn(&ServiceKey) -> bool) {
        let changed: Vec<ServiceKey> = {
            let backends = self.server.aggregator.backends.read();
            backends
                .keys()
                .filter(|key| is_changed(key))
                .cloned()
                .collect()
        };
        for key in changed {
            self.read_backend(&key).await;
            let users = self
                .known
                .values()
                .filter_map(|known| known.remote.as_ref());
            for (_, keeper) in users.filter(|(remote, _)| remote.backend == key) {
                keeper.availability.notify_one();
            }
        }
    }

    /// Reads a Service and its EndpointSlices from the watch cache.
    async fn read_backend(&self, key: &ServiceKey) {
        let (namespace, name) = key;
        let service = self.client.cached::<Service>(namespace, name);
        let slices = match self.client.list::<EndpointSlice>(namespace).await {
            Ok(slices) => slices
                .into_iter()
                .filter(|slice| slice.metadata.labels.get(SERVICE_NAME) == Some(name))
                .collect(),
            Err(error) => {
                tracing::warn!(namespace, %error, "EndpointSlices cannot be read");
                return;
            }
        };
        let backend = Backend {
            service: service.map(Box::new),
            slices,
        };
        self.server
            .aggregator
            .backends
            .write()
            .insert(key.clone(), Arc::new(backend));
    }
}
