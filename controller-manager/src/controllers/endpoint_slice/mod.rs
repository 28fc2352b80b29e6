//! Keeps the EndpointSlices of Services with a selector. Upstream: pkg/controller/endpointslice and k8s.io/endpointslice.

/// The controller's metrics.
mod metrics;
/// Which slices there should be.
pub mod plan;
/// From pods to Services.
pub mod pods;
/// Zone hints in proportion to zones' CPUs.
mod topology;
/// What was written and not seen yet.
pub mod tracker;
/// Hints by trafficDistribution.
mod traffic_distribution;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::Time;
use api_types::core::v1::{Node, Pod, Service};
use api_types::discovery::v1::EndpointSlice;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use apimachinery::labels::Selector;
use client::workqueue::RateLimitingQueue;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use tokio_util::sync::CancellationToken;

use self::metrics::Metrics;
use self::plan::{Plan, address_types, annotate_trigger_time, desired, is_owned};
use self::pods::PodProjection;
use self::topology::{TopologyCache, is_node_ready};
use self::tracker::{SliceTracker, TriggerTimeTracker};
use super::controller_ref::key_of;
use super::pod_control::is_namespace_terminating;
use super::{Backoff, BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

/// The label that names a slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The label of slices whose Service has no address.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Changes of slices by others are looked at together, at least so late.
const SLICE_CHANGE_DELAY: Duration = Duration::from_secs(1);
const ZONE: &str = "topology.kubernetes.io/zone";

/// The endpointslice-controller. Its keys are Services.
pub struct EndpointSliceController {
    client: Client,
    recorder: EventRecorder,
    services: Lister<Service>,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    slices: Lister<EndpointSlice>,
    queue: Queue<ObjectKey>,
    changed_pods: Queue<PodProjection>,
    changed_nodes: Queue<()>,
    tracker: Arc<SliceTracker>,
    trigger_times: TriggerTimeTracker,
    topology: TopologyCache,
    metrics: Metrics,
    max: usize,
    batch_period: Duration,
    workers: usize,
    same_zone_and_node: bool,
}

impl Controller for EndpointSliceController {
    const NAME: &'static str = "endpointslice-controller";
    const ALIASES: &'static [&'static str] = &["endpointslice"];
    const SERVICE_ACCOUNT: &'static str = "endpointslice-controller";
    const QUEUE: &'static str = "endpoint_slice";
    /// One Service may take many writes: retries are slower than elsewhere.
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        ..Backoff::DEFAULT
    };
    const MAX_RETRIES: Option<u32> = Some(15);
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let config = &setup.config().endpoint_slice_controller;
        let batch_period = config.endpoint_updates_batch_period.as_std();
        let max = usize::try_from(config.max_endpoints_per_slice).unwrap_or(100);
        let (changed_pods, changed_nodes) = (RateLimitingQueue::new(), RateLimitingQueue::new());
        let tracker = Arc::new(SliceTracker::default());

        let services = setup.informer::<Service>();
        let to = queue.clone();
        on_change(&services, move |change| {
            to.add(key_of(&change.object().metadata))
        });
        let pods = setup.informer::<Pod>();
        let to = changed_pods.clone();
        on_change(&pods, move |change| {
            if let Some(projection) = PodProjection::of(&change) {
                to.add(projection);
            }
        });
        let nodes = setup.informer::<Node>();
        let to: Queue<()> = changed_nodes.clone();
        on_change(&nodes, move |change| match change {
            Change::Updated(old, new)
                if is_node_ready(old) == is_node_ready(new)
                    && old.metadata.labels.get(ZONE) == new.metadata.labels.get(ZONE) => {}
            _ => to.add(()),
        });
        let slices = setup.informer::<EndpointSlice>();
        let (to, known) = (queue.clone(), tracker.clone());
        let delay = batch_period.max(SLICE_CHANGE_DELAY);
        on_change(&slices, move |change| {
            for slice in slices_to_sync(&change, &known) {
                match service_key(slice) {
                    Some(key) => to.add_after(key, delay),
                    None => tracing::error!(
                        endpoint_slice = %key_of(&slice.metadata),
                        "Couldn't get key for EndpointSlice: EndpointSlice missing {SERVICE_NAME} label"
                    ),
                }
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("endpoint-slice-controller"),
            services: services.lister(),
            pods: pods.lister(),
            nodes: nodes.lister(),
            slices: slices.lister(),
            queue: queue.clone(),
            changed_pods,
            changed_nodes,
            tracker,
            trigger_times: TriggerTimeTracker::default(),
            topology: TopologyCache::default(),
            metrics: Metrics::new(setup.metrics(), max),
            max,
            batch_period,
            workers: Self::workers(setup.config()),
            same_zone_and_node: setup.enabled("PreferSameTrafficDistribution"),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        let workers = config
            .endpoint_slice_controller
            .concurrent_service_endpoint_syncs;
        usize::try_from(workers).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let result = self.sync_service(key).await;
        self.metrics.synced(match &result {
            Ok(Outcome::Done) => "success",
            Ok(Outcome::Stale) => "stale",
            Err(_) => "error",
        });
        match result? {
            Outcome::Done => Ok(Next::Done),
            Outcome::Stale => Err(SyncError::other(
                "EndpointSlice informer cache is out of date",
            )),
        }
    }

    async fn run(&self, stop: CancellationToken) {
        let pods = work(
            Self::NAME,
            &self.changed_pods,
            self.workers,
            &stop,
            |projection: PodProjection| async move {
                for service in projection.services(&self.services) {
                    self.queue.add_after(service, self.batch_period);
                }
                Ok(Next::Done)
            },
        );
        let nodes = work(Self::NAME, &self.changed_nodes, 1, &stop, |()| async {
            self.topology.set_nodes(&self.nodes.list());
            for service in self.topology.overloaded() {
                self.queue.add(service);
            }
            Ok(Next::Done)
        });
        futures::future::join(pods, nodes).await;
    }
}

enum Outcome {
    Done,
    /// Our own writes have not come back yet.
    Stale,
}

/// The Service a slice belongs to.
pub fn service_key(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice
        .metadata
        .labels
        .get(SERVICE_NAME)
        .filter(|name| !name.is_empty())?;
    Some(ObjectKey::new(&*slice.metadata.namespace, &**name))
}

fn is_managed(slice: &EndpointSlice) -> bool {
    slice
        .metadata
        .labels
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == MANAGER)
}

/// The slices whose Service needs a look: others changed them.
fn slices_to_sync<'a>(
    change: &Change<'a, EndpointSlice>,
    tracker: &SliceTracker,
) -> Vec<&'a EndpointSlice> {
    match change {
        Change::Added(slice, _) if is_managed(slice) && tracker.should_sync(slice) => vec![slice],
        Change::Updated(old, new) => {
            // Labels do not change the generation.
            let service = |slice: &EndpointSlice| slice.metadata.labels.get(SERVICE_NAME).cloned();
            if service(old) != service(new) {
                vec![new, old]
            } else if is_managed(old) != is_managed(new)
                || (is_managed(new) && tracker.should_sync(new))
            {
                vec![new]
            } else {
                Vec::new()
            }
        }
        Change::Deleted(slice)
            if is_managed(slice) && tracker.has(slice) && !tracker.deleted(slice) =>
        {
            vec![slice]
        }
        _ => Vec::new(),
    }
}

impl EndpointSliceController {
    async fn sync_service(&self, key: &ObjectKey) -> Result<Outcome, SyncError> {
        let Some(service) = self.services.get(key) else {
            self.trigger_times.forget(key);
            self.metrics.forget(key);
            self.tracker.forget(key);
            return Ok(Outcome::Done);
        };
        if service.spec.type_ == "ExternalName" || service.spec.selector.is_empty() {
            return Ok(Outcome::Done);
        }
        let pods = self
            .pods
            .select_in(&key.namespace, &Selector::from_set(&service.spec.selector));
        let ours = BTreeMap::from([
            (SERVICE_NAME.to_owned(), key.name.clone()),
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        ]);
        let mut slices = self
            .slices
            .select_in(&key.namespace, &Selector::from_set(&ours));
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        if self.tracker.is_stale(key, &slices) {
            return Ok(Outcome::Stale);
        }
        let trigger_time = self.trigger_times.trigger_time(&service, &pods);
        if let Err(error) = self
            .reconcile(key, &service, &pods, slices, trigger_time)
            .await
        {
            self.recorder.event(
                &object_reference(&*service),
                "Warning",
                "FailedToUpdateEndpointSlices",
                &format!("Error updating Endpoint Slices for Service {key}: {error}"),
            );
            return Err(error);
        }
        Ok(Outcome::Done)
    }

    async fn reconcile(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
        slices: Vec<Arc<EndpointSlice>>,
        trigger_time: Option<Time>,
    ) -> Result<(), SyncError> {
        let families = address_types(service);
        let (kept, foreign): (Vec<_>, Vec<_>) = slices
            .into_iter()
            .partition(|slice| families.contains(slice.address_type.as_str()));
        for slice in &foreign {
            self.topology.forget(key, &slice.address_type);
        }
        let mut errors = Vec::new();
        for family in families {
            let existing: Vec<_> = kept
                .iter()
                .filter(|slice| slice.address_type == family)
                .cloned()
                .collect();
            self.reconcile_family(
                key,
                service,
                pods,
                &existing,
                trigger_time,
                family,
                &mut errors,
            )
            .await;
        }
        let api = self
            .client
            .namespaced::<EndpointSlice>(key.namespace.as_str());
        for slice in foreign {
            match api
                .delete(&slice.metadata.name, &DeleteOptions::default())
                .await
            {
                Ok(_) => {
                    self.tracker.expect_deletion(&slice);
                    self.metrics.changed_slice("delete");
                }
                Err(error) => errors.push(SyncError::other(format!(
                    "error deleting {} EndpointSlice for Service {key}: {error}",
                    slice.metadata.name
                ))),
            }
        }
        SyncError::aggregate(errors)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, and a struct would only name them twice"
    )]
    async fn reconcile_family(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
        existing: &[Arc<EndpointSlice>],
        trigger_time: Option<Time>,
        family: &str,
        errors: &mut Vec<SyncError>,
    ) {
        let node = |name: &str| self.nodes.get(&ObjectKey::cluster(name));
        let mut desired = desired(service, pods, family, node);
        errors.extend(
            std::mem::take(&mut desired.errors)
                .into_iter()
                .map(SyncError::Other),
        );
        let mut plan = plan::plan(service, existing, desired, family, self.max, MANAGER);
        self.metrics
            .planned(key, &plan.efficiency, plan.added, plan.removed);

        let auto = topology::requested(&service.metadata.annotations);
        let distribution =
            traffic_distribution::requested(service.spec.traffic_distribution.as_deref())
                .filter(|wanted| !auto && (self.same_zone_and_node || *wanted == "PreferClose"));
        let mut events = Vec::new();
        if auto {
            events = self.topology.add_hints(key, family, &mut plan);
        } else {
            if self.topology.has_hints(key) {
                tracing::info!(service = %key, address_type = family, "TopologyAwareHints annotation has changed, removing hints");
                events.push((
                    "Warning",
                    "TopologyAwareHintsDisabled",
                    format!("Topology Aware Hints has been disabled, addressType: {family}"),
                ));
            }
            self.topology.forget(key, family);
            match distribution {
                Some(distribution) => traffic_distribution::add_hints(distribution, &mut plan),
                None => topology::remove_hints(&mut plan),
            }
        }
        self.metrics.set_distribution(key, distribution);
        let changes = plan.create.len() + plan.update.len() + plan.delete.len();
        match self.carry_out(key, service, plan, trigger_time).await {
            Err(error) => errors.push(error),
            Ok(()) => self.metrics.changed_slices(
                if auto { "Auto" } else { "Disabled" },
                distribution.unwrap_or_default(),
                changes,
            ),
        }
        for (type_, reason, message) in events {
            self.recorder
                .event(&object_reference(service), type_, reason, &message);
        }
    }

    async fn carry_out(
        &self,
        key: &ObjectKey,
        service: &Service,
        mut plan: Plan,
        trigger_time: Option<Time>,
    ) -> Result<(), SyncError> {
        // A slice of an earlier Service of the same name is on its way out, and the address type cannot change.
        plan.reuse_deleted(|gone, new| {
            gone.address_type == new.address_type && is_owned(gone, service)
        });
        let api = self
            .client
            .namespaced::<EndpointSlice>(key.namespace.as_str());
        // New slices of a Service that is being deleted would only keep the garbage collector busy.
        if service.metadata.deletion_timestamp.is_none() {
            for mut slice in plan.create {
                annotate_trigger_time(&mut slice.metadata.annotations, trigger_time);
                match api.create(&slice).await {
                    Ok(created) => self.tracker.wrote(&created),
                    Err(error) if is_namespace_terminating(&error) => return Ok(()),
                    Err(error) => {
                        return Err(SyncError::other(format!(
                            "failed to create EndpointSlice for Service {key}: {error}"
                        )));
                    }
                }
                self.metrics.changed_slice("create");
            }
        }
        for mut slice in plan.update {
            annotate_trigger_time(&mut slice.metadata.annotations, trigger_time);
            let updated = api.update(&slice).await.map_err(|error| {
                SyncError::other(format!(
                    "failed to update {} EndpointSlice for Service {key}: {error}",
                    slice.metadata.name
                ))
            })?;
            self.tracker.wrote(&updated);
            self.metrics.changed_slice("update");
        }
        for slice in plan.delete {
            let name = &slice.metadata.name;
            api.delete(name, &DeleteOptions::default())
                .await
                .map_err(|error| {
                    SyncError::other(format!(
                        "failed to delete {name} EndpointSlice for Service {key}: {error}"
                    ))
                })?;
            self.tracker.expect_deletion(&slice);
            self.metrics.changed_slice("delete");
        }
        Ok(())
    }
}
