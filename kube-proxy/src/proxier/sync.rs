//! One family's proxy: keeps the kernel's table as the caches want it. Upstream: nftables.Proxier and its sync runner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use client::{Lister, ObjectKey};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TABLE;
use super::fragment::{Fragment, fragment};
use super::layout::Layout;
use super::table::Table;
use super::transaction::Transaction;
use crate::conntrack;
use crate::healthcheck::ProxyHealth;
use crate::healthcheck::ServiceHealth;
use crate::metrics::Metrics;
use crate::sys::{Family, Kernel, KernelError};
use crate::tracker::{Endpoint, PortName, ServicePort, categorize, endpoints_of, service_ports};

/// Everything is written anew at least this often.
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3600);
/// The index of slices by the Service they belong to.
pub const BY_SERVICE: &str = "service";

/// What does not change while the process runs.
pub struct ProxierConfig {
    pub family: Family,
    pub node: String,
    pub node_address: Option<IpAddr>,
    pub sync_period: Duration,
    pub min_sync_period: Duration,
}

/// What may change, and leads to a full sync when it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    pub layout: Layout,
    pub zone: Option<String>,
}

/// A family's proxy. Changes are told by [`Proxier::changed`]; [`Proxier::run`] writes them.
pub struct Proxier {
    config: ProxierConfig,
    kernel: Arc<dyn Kernel>,
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    pending: Mutex<Pending>,
    wake: Notify,
    health: Arc<ProxyHealth>,
    service_health: Arc<ServiceHealth>,
    metrics: Metrics,
}

#[derive(Default)]
struct Pending {
    services: BTreeSet<ObjectKey>,
    /// When changes to endpoints were made, by the controller's own record, for the latency metric.
    triggers: Vec<jiff::Timestamp>,
    surroundings: Option<Surroundings>,
    all: bool,
}

impl Proxier {
    #[expect(
        clippy::too_many_arguments,
        reason = "a constructor: each argument is one collaborator"
    )]
    pub fn new(
        config: ProxierConfig,
        surroundings: Surroundings,
        kernel: Arc<dyn Kernel>,
        services: Lister<Service>,
        slices: Lister<EndpointSlice>,
        health: Arc<ProxyHealth>,
        service_health: Arc<ServiceHealth>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let pending = Mutex::new(Pending {
            all: true,
            surroundings: Some(surroundings),
            ..Pending::default()
        });
        Arc::new(Self {
            config,
            kernel,
            services,
            slices,
            pending,
            wake: Notify::new(),
            health,
            service_health,
            metrics,
        })
    }

    /// A Service or one of its slices changed.
    pub fn changed(&self, service: ObjectKey, trigger: Option<jiff::Timestamp>) {
        let mut pending = self.pending.lock();
        pending.services.insert(service);
        pending.triggers.extend(trigger);
        drop(pending);
        self.queued();
    }

    /// The node's zone, the ranges of Services or the node's addresses changed.
    pub fn surroundings_changed(&self, change: impl FnOnce(&mut Surroundings)) {
        let mut pending = self.pending.lock();
        if let Some(surroundings) = &mut pending.surroundings {
            let before = surroundings.clone();
            change(surroundings);
            if *surroundings == before {
                return;
            }
        }
        pending.all = true;
        drop(pending);
        self.queued();
    }

    fn queued(&self) {
        self.health.queued(self.config.family);
        self.metrics.queued(self.config.family);
        self.wake.notify_one();
    }

    /// Writes changes until told to stop: at once, then at most once per `min_sync_period`. A failed write is tried again after
    /// `sync_period`, or with the next change.
    pub async fn run(&self, stop: CancellationToken) {
        let mut state = State::default();
        self.queued();
        let mut retry_at: Option<Instant> = None;
        loop {
            let periodic = tokio::time::sleep(FULL_SYNC_PERIOD);
            let retry = async {
                match retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = retry => {}
                () = periodic => self.pending.lock().all = true,
            }
            let begun = Instant::now();
            retry_at = match self.sync(&mut state).await {
                Ok(()) => state
                    .table
                    .has_stale()
                    .then(|| Instant::now() + Duration::from_secs(2)),
                Err(error) => {
                    tracing::error!(error = %error, family = self.config.family.api(), retry_in = ?self.config.sync_period, "Sync failed");
                    self.metrics.failed(self.config.family);
                    // What the kernel holds now is not known.
                    self.pending.lock().all = true;
                    Some(Instant::now() + self.config.sync_period)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(begun + self.config.min_sync_period) => {}
            }
        }
    }

    /// One transaction from what changed since the last.
    async fn sync(&self, state: &mut State) -> Result<(), KernelError> {
        let begun = Instant::now();
        let (changed, triggers, surroundings, all) = {
            let mut pending = self.pending.lock();
            let all = std::mem::take(&mut pending.all) || !state.written;
            (
                std::mem::take(&mut pending.services),
                std::mem::take(&mut pending.triggers),
                pending.surroundings.clone(),
                all,
            )
        };
        let Some(surroundings) = surroundings else {
            return Ok(());
        };
        self.delete_stale(state).await;

        let mut tx = Transaction::new(self.config.family);
        let touched: BTreeSet<ObjectKey> = if all {
            self.services.keys().into_iter().collect()
        } else {
            changed
        };
        if all {
            // The index keeps which ports a Service had: a full sync starts from nothing.
            state.ports.clear();
            let mut fragments = HashMap::new();
            for key in &touched {
                self.collect(key, &surroundings, state, &mut fragments);
            }
            let found = self
                .kernel
                .table(self.config.family, TABLE)
                .await?
                .unwrap_or_default();
            state.table.rewrite(
                &surroundings.layout,
                &found,
                !state.written,
                fragments,
                begun,
                &mut tx,
            );
        } else {
            for key in &touched {
                let before = state.ports.remove(key).unwrap_or_default();
                let mut fragments = HashMap::new();
                self.collect(key, &surroundings, state, &mut fragments);
                for (name, _) in before {
                    if !fragments.contains_key(&name) {
                        state.table.change(name, None, begun, &mut tx);
                    }
                }
                for (name, fragment) in fragments {
                    state.table.change(name, Some(fragment), begun, &mut tx);
                }
            }
        }
        if !tx.is_empty() {
            tracing::trace!(
                v = 9,
                transaction = tx.text(),
                "Running nftables transaction"
            );
            if let Err(error) = self.kernel.apply(tx.text()).await {
                state.written = false;
                return Err(error);
            }
        }
        state.written = true;
        self.wrote(state, &touched, &triggers, begun, all).await;
        Ok(())
    }

    /// What the ports of a Service put into the table.
    fn collect(
        &self,
        key: &ObjectKey,
        surroundings: &Surroundings,
        state: &mut State,
        fragments: &mut HashMap<PortName, Fragment>,
    ) {
        let Some(service) = self.services.get(key) else {
            return;
        };
        let ports = service_ports(&service, self.config.family);
        if ports.is_empty() {
            return;
        }
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let mut known = BTreeMap::new();
        for port in ports {
            let all = endpoints_of(
                &port,
                slices.iter().map(AsRef::as_ref),
                self.config.family,
                &self.config.node,
            );
            let chosen = categorize(&all, &port, &self.config.node, surroundings.zone.as_deref());
            let made = fragment(
                &port,
                &chosen,
                &surroundings.layout,
                self.config.node_address,
            );
            if let Some(other) = fragments.insert(port.name.clone(), made) {
                tracing::warn!(port = %port.name, rules = other.chains.len(), "A Service has two ports of the same name and protocol; the last one counts");
            }
            known.insert(port.name.clone(), (port, all));
        }
        state.ports.insert(key.clone(), known);
    }

    async fn delete_stale(&self, state: &mut State) {
        let mut tx = Transaction::new(self.config.family);
        state.table.delete_stale(Instant::now(), &mut tx);
        if tx.is_empty() {
            return;
        }
        if let Err(error) = self.kernel.apply(tx.text()).await {
            tracing::warn!(error = %error, "Chains that are no longer used could not be deleted; they are empty, and deleted with the next full sync");
            self.metrics.cleanup_failed(self.config.family);
            self.pending.lock().all = true;
        }
    }

    /// What follows a successful write: health, metrics, and the flows of UDP Services.
    async fn wrote(
        &self,
        state: &State,
        touched: &BTreeSet<ObjectKey>,
        triggers: &[jiff::Timestamp],
        begun: Instant,
        full: bool,
    ) {
        let family = self.config.family;
        self.health.updated(family);
        let (internal, external) = state.table.without_local_endpoints();
        self.metrics
            .synced(family, begun.elapsed(), full, internal, external);
        for trigger in triggers {
            let latency = jiff::Timestamp::now()
                .duration_since(*trigger)
                .as_secs_f64();
            self.metrics.programmed(family, latency);
        }
        self.service_health
            .sync(
                family,
                state
                    .ports
                    .values()
                    .flat_map(BTreeMap::values)
                    .map(|(port, endpoints)| (port, endpoints.as_slice())),
            )
            .await;
        let udp: Vec<(&ServicePort, &[Endpoint])> = touched
            .iter()
            .filter_map(|key| state.ports.get(key))
            .flat_map(BTreeMap::values)
            .filter(|(port, _)| port.name.protocol == "udp")
            .map(|(port, endpoints)| (port, endpoints.as_slice()))
            .collect();
        if !udp.is_empty() {
            match conntrack::clean(&*self.kernel, family, &udp).await {
                Ok(deleted) => self.metrics.flows_deleted(family, deleted),
                Err(error) => {
                    tracing::error!(error = %error, "Stale UDP flows could not be cleaned up")
                }
            }
        }
    }
}

/// What the loop remembers between writes.
#[derive(Default)]
struct State {
    table: Table,
    /// Whether the table was written by this process and is as `table` says.
    written: bool,
    /// The ports of each Service with all their endpoints.
    ports: BTreeMap<ObjectKey, BTreeMap<PortName, (ServicePort, Vec<Endpoint>)>>,
}
