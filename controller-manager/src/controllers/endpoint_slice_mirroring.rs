//! Mirrors Endpoints that users made for Services without a selector to EndpointSlices. Upstream:
//! pkg/controller/endpointslicemirroring.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{EndpointAddress, Endpoints, Service};
use api_types::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use apimachinery::labels::Selector;
use apimachinery::validation::parse_ip_sloppy;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use component_base::metrics::{
    CounterVec, GaugeVec, HistogramVec, Metrics as Base, Opts, exponential_buckets,
};
use parking_lot::Mutex;

use super::controller_ref::{key_of, new_controller_ref};
use super::endpoint_slice::plan::{
    EndpointKey, EndpointSet, Plan, PortsKey, TRIGGER_TIME, equal_beyond_key, name_prefix,
    ports_key, sort_ports,
};
use super::endpoint_slice::tracker::SliceTracker;
use super::endpoint_slice::{MANAGED_BY, SERVICE_NAME, service_key};
use super::endpoints::{LEADER_ANNOTATION, subsets};
use super::pod_control::is_namespace_terminating;
use super::{Backoff, BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// The endpointslice-mirroring-controller. Its keys are Endpoints, which have the names of their Services.
pub struct EndpointSliceMirroringController {
    client: Client,
    recorder: EventRecorder,
    endpoints: Lister<Endpoints>,
    slices: Lister<EndpointSlice>,
    services: Lister<Service>,
    tracker: Arc<SliceTracker>,
    max: usize,
    metrics: Metrics,
}

impl Controller for EndpointSliceMirroringController {
    const NAME: &'static str = "endpointslice-mirroring-controller";
    const ALIASES: &'static [&'static str] = &["endpointslicemirroring"];
    const SERVICE_ACCOUNT: &'static str = "endpointslicemirroring-controller";
    const QUEUE: &'static str = "endpoint_slice_mirroring";
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        max: Duration::from_secs(100),
        ..Backoff::DEFAULT
    };
    const MAX_RETRIES: Option<u32> = Some(15);
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let config = &setup.config().endpoint_slice_mirroring_controller;
        let delay = config.mirroring_endpoint_updates_batch_period.as_std();
        let max = usize::try_from(config.mirroring_max_endpoints_per_subset).unwrap_or(1000);
        let tracker = Arc::new(SliceTracker::default());

        let endpoints = setup.informer::<Endpoints>();
        let to = queue.clone();
        on_change(&endpoints, move |change| {
            let wanted = match &change {
                Change::Updated(old, new) => is_mirrored(old) || is_mirrored(new),
                change => is_mirrored(change.object()),
            };
            if wanted {
                to.add(key_of(&change.object().metadata));
            }
        });
        let slices = setup.informer::<EndpointSlice>();
        let (to, known) = (queue.clone(), tracker.clone());
        on_change(&slices, move |change| {
            for key in slices_to_sync(&change, &known) {
                to.add_after(key, delay);
            }
        });
        let services = setup.informer::<Service>();
        let to = queue.clone();
        on_change(&services, move |change| {
            let without = |service: &Service| service.spec.selector.is_empty();
            let wanted = match &change {
                Change::Updated(old, new) => without(old) != without(new),
                change => without(change.object()),
            };
            if wanted {
                to.add(key_of(&change.object().metadata));
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("endpoint-slice-mirroring-controller"),
            endpoints: endpoints.lister(),
            slices: slices.lister(),
            services: services.lister(),
            tracker,
            max,
            metrics: Metrics::new(setup.metrics(), max),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        let config = &config.endpoint_slice_mirroring_controller;
        usize::try_from(config.mirroring_concurrent_service_endpoint_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let start = Instant::now();
        let result = self.mirror(key).await;
        self.metrics.duration(start.elapsed());
        result?;
        Ok(Next::Done)
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    endpoints
        .metadata
        .labels
        .get(SKIP_MIRROR)
        .is_none_or(|skip| skip != "true")
        && !endpoints
            .metadata
            .annotations
            .contains_key(LEADER_ANNOTATION)
}

fn is_managed(slice: &EndpointSlice) -> bool {
    slice
        .metadata
        .labels
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == MANAGER)
}

fn slices_to_sync(change: &Change<'_, EndpointSlice>, tracker: &SliceTracker) -> Vec<ObjectKey> {
    let key = |slice: &EndpointSlice| service_key(slice).into_iter().collect::<Vec<_>>();
    match change {
        Change::Added(slice, _) if is_managed(slice) && tracker.should_sync(slice) => key(slice),
        Change::Updated(old, new) => {
            let name = |slice: &EndpointSlice| slice.metadata.labels.get(SERVICE_NAME).cloned();
            if name(old) != name(new) {
                [key(new), key(old)].concat()
            } else if is_managed(old) != is_managed(new)
                || (is_managed(new) && tracker.should_sync(new))
            {
                key(new)
            } else {
                Vec::new()
            }
        }
        Change::Deleted(slice)
            if is_managed(slice) && tracker.has(slice) && !tracker.deleted(slice) =>
        {
            key(slice)
        }
        _ => Vec::new(),
    }
}

impl EndpointSliceMirroringController {
    async fn mirror(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let ours = BTreeMap::from([
            (SERVICE_NAME.to_owned(), key.name.clone()),
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
        ]);
        let mut slices = self
            .slices
            .select_in(&key.namespace, &Selector::from_set(&ours));
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let endpoints = self
            .endpoints
            .get(key)
            .filter(|endpoints| is_mirrored(endpoints));
        let service = self
            .services
            .get(key)
            .filter(|service| service.spec.selector.is_empty());
        let (Some(endpoints), Some(_)) = (endpoints, service) else {
            self.tracker.forget(key);
            return self.delete_all(key, &slices).await;
        };
        if self.tracker.is_stale(key, &slices) {
            return Err(SyncError::other(
                "EndpointSlice informer cache is out of date",
            ));
        }
        let desired = desired(&endpoints, self.max);
        self.report(&endpoints, &desired);
        let plan = plan(&endpoints, &slices, desired.groups, self.max);
        for slice in &plan.untracked {
            if !self.tracker.has(slice) {
                self.tracker.wrote(slice);
            }
        }
        self.metrics.planned(key, &plan);
        self.carry_out(key, &endpoints, plan.plan).await
    }

    fn report(&self, endpoints: &Endpoints, desired: &Desired) {
        self.metrics.skipped(desired.skipped);
        let reference = object_reference(endpoints);
        if desired.invalid > 0 {
            self.recorder.event(
                &reference,
                "Warning",
                "InvalidIPAddress",
                &format!(
                    "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                    desired.invalid
                ),
            );
        }
        if desired.skipped > desired.invalid {
            self.recorder.event(
                &reference,
                "Warning",
                "TooManyAddressesToMirror",
                &format!(
                    "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                    self.max, desired.skipped
                ),
            );
        }
    }

    async fn carry_out(
        &self,
        key: &ObjectKey,
        endpoints: &Endpoints,
        mut plan: Plan,
    ) -> Result<(), SyncError> {
        plan.reuse_deleted(|gone, new| gone.address_type == new.address_type);
        let api = self
            .client
            .namespaced::<EndpointSlice>(key.namespace.as_str());
        let failed = |what: String, error: client::Error| {
            SyncError::other(format!(
                "failed to {what}EndpointSlice for Endpoints {key}: {error}"
            ))
        };
        if endpoints.metadata.deletion_timestamp.is_none() {
            for slice in &plan.create {
                match api.create(slice).await {
                    Ok(created) => self.tracker.wrote(&created),
                    Err(error) if is_namespace_terminating(&error) => return Ok(()),
                    Err(error) => return Err(failed("create ".to_owned(), error)),
                }
                self.metrics.changed("create");
            }
        }
        for slice in &plan.update {
            let name = &slice.metadata.name;
            let updated = api
                .update(slice)
                .await
                .map_err(|error| failed(format!("update {name} "), error))?;
            self.tracker.wrote(&updated);
            self.metrics.changed("update");
        }
        for slice in &plan.delete {
            let name = &slice.metadata.name;
            api.delete(name, &DeleteOptions::default())
                .await
                .map_err(|error| failed(format!("delete {name} "), error))?;
            self.tracker.expect_deletion(slice);
            self.metrics.changed("delete");
        }
        Ok(())
    }

    async fn delete_all(
        &self,
        key: &ObjectKey,
        slices: &[Arc<EndpointSlice>],
    ) -> Result<(), SyncError> {
        self.metrics.forget(key);
        let api = self
            .client
            .namespaced::<EndpointSlice>(key.namespace.as_str());
        let mut errors = Vec::new();
        for slice in slices {
            if let Err(error) = api
                .delete(&slice.metadata.name, &DeleteOptions::default())
                .await
            {
                errors.push(error);
            }
        }
        match errors.first() {
            None => Ok(()),
            Some(first) => Err(SyncError::other(format!(
                "error(s) deleting {}/{} EndpointSlices for {key} Endpoints, including: {first}",
                errors.len(),
                slices.len()
            ))),
        }
    }
}

/// Address type and ports: what a slice has in common.
type Group = (&'static str, PortsKey);

#[derive(Default)]
struct Desired {
    groups: BTreeMap<Group, (Vec<EndpointPort>, EndpointSet)>,
    /// Addresses that are no IPs.
    invalid: usize,
    /// Addresses left out for whatever reason.
    skipped: usize,
}

fn desired(endpoints: &Endpoints, max: usize) -> Desired {
    let mut desired = Desired::default();
    for subset in subsets::repack(&endpoints.subsets) {
        let mut ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .map(|port| EndpointPort {
                name: Some(port.name.clone()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone()),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        sort_ports(&mut ports);
        let key = ports_key(&ports);
        for family in FAMILIES {
            desired
                .groups
                .entry((family, key.clone()))
                .or_insert_with(|| (ports.clone(), EndpointSet::new()));
        }
        let total = subset.addresses.len() + subset.not_ready_addresses.len();
        let mut added = 0;
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset
            .not_ready_addresses
            .iter()
            .map(|address| (address, false));
        for (address, is_ready) in ready.chain(not_ready) {
            if added >= max {
                break;
            }
            match endpoint(address, is_ready) {
                Some((family, endpoint)) => {
                    if let Some((_, set)) = desired.groups.get_mut(&(family, key.clone())) {
                        set.insert(EndpointKey::of(&endpoint), endpoint);
                    }
                    added += 1;
                }
                None => desired.invalid += 1,
            }
        }
        desired.skipped += total - added;
    }
    desired
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip = parse_ip_sloppy(&address.ip)?.to_canonical();
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: EndpointConditions {
            ready: Some(ready),
            ..Default::default()
        },
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: Some(address.hostname.clone()).filter(|name| !name.is_empty()),
        ..Default::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

#[derive(Default)]
struct Mirrored {
    plan: Plan,
    updated: usize,
    /// Right already, and perhaps not known to the tracker.
    untracked: Vec<Arc<EndpointSlice>>,
    /// Endpoints and slices of each group.
    groups: Vec<(usize, usize)>,
}

fn annotations_of(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut annotations = endpoints.metadata.annotations.clone();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(LAST_APPLIED);
    annotations
}

fn plan(
    endpoints: &Endpoints,
    existing: &[Arc<EndpointSlice>],
    groups: BTreeMap<Group, (Vec<EndpointPort>, EndpointSet)>,
    max: usize,
) -> Mirrored {
    let mut result = Mirrored::default();
    let mut by_group: BTreeMap<(String, PortsKey), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        let group = (slice.address_type.clone(), ports_key(&slice.ports));
        by_group.entry(group).or_default().push(slice.clone());
    }
    for ((family, key), (ports, set)) in groups {
        let present = by_group
            .remove(&(family.to_owned(), key))
            .unwrap_or_default();
        let (created, deleted) = (result.plan.create.len(), result.plan.delete.len());
        let count = set.len();
        plan_group(&mut result, endpoints, &present, set, ports, family, max);
        let slices = present.len() + (result.plan.create.len() - created)
            - (result.plan.delete.len() - deleted);
        result.groups.push((count, slices));
    }
    result.plan.delete.extend(by_group.into_values().flatten());
    result
}

fn plan_group(
    result: &mut Mirrored,
    endpoints: &Endpoints,
    existing: &[Arc<EndpointSlice>],
    desired: EndpointSet,
    ports: Vec<EndpointPort>,
    family: &str,
    max: usize,
) {
    if desired.is_empty() {
        result.plan.removed += existing
            .iter()
            .map(|slice| slice.endpoints.len())
            .sum::<usize>();
        result.plan.delete.extend(existing.iter().cloned());
        return;
    }
    let mut slice = EndpointSlice {
        address_type: family.to_owned(),
        ports,
        ..Default::default()
    };
    slice.metadata.namespace = endpoints.metadata.namespace.clone();
    slice.metadata.owner_references = vec![new_controller_ref(endpoints)];
    slice.metadata.annotations = annotations_of(endpoints);
    slice.metadata.labels = endpoints.metadata.labels.clone();
    slice
        .metadata
        .labels
        .insert(SERVICE_NAME.to_owned(), endpoints.metadata.name.clone());
    slice
        .metadata
        .labels
        .insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    match existing.split_first() {
        None => {
            result.plan.added += desired.len();
            slice.metadata.generate_name = name_prefix(&endpoints.metadata.name);
            slice.endpoints = desired.into_values().take(max).collect();
            result.plan.create.push(slice);
        }
        Some((first, others)) => {
            result.plan.delete.extend(others.iter().cloned());
            let (added, updated, removed) = changes(first, &desired);
            result.plan.added += added;
            result.updated += updated;
            result.plan.removed += removed;
            if added + updated + removed == 0 && is_right(first, endpoints) {
                result.untracked.push(first.clone());
                return;
            }
            slice.metadata.name = first.metadata.name.clone();
            slice.endpoints = desired.into_values().take(max).collect();
            result.plan.update.push(slice);
        }
    }
}

/// Endpoints to add, change and remove.
fn changes(slice: &EndpointSlice, desired: &EndpointSet) -> (usize, usize, usize) {
    let (mut found, mut updated, mut removed) = (0, 0, 0);
    for endpoint in &slice.endpoints {
        match desired.get(&EndpointKey::of(endpoint)) {
            None => removed += 1,
            Some(wanted) => {
                found += 1;
                updated += usize::from(!equal_beyond_key(wanted, endpoint));
            }
        }
    }
    (desired.len().saturating_sub(found), updated, removed)
}

/// Labels, annotations and owner are those of the Endpoints.
fn is_right(slice: &EndpointSlice, endpoints: &Endpoints) -> bool {
    let mut labels = slice.metadata.labels.clone();
    labels.remove(MANAGED_BY);
    labels.remove(SERVICE_NAME);
    let of_another = slice.metadata.owner_references.iter().any(|owner| {
        owner.kind == "Endpoints"
            && owner.name == endpoints.metadata.name
            && owner.uid != endpoints.metadata.uid
    });
    labels == endpoints.metadata.labels
        && slice.metadata.annotations == annotations_of(endpoints)
        && !of_another
}

/// The endpoint_slice_mirroring_controller_* metrics.
struct Metrics {
    max: usize,
    added: HistogramVec,
    updated: HistogramVec,
    removed: HistogramVec,
    skipped: HistogramVec,
    duration: HistogramVec,
    desired_endpoints: GaugeVec,
    slices: GaugeVec,
    desired_slices: GaugeVec,
    changes: CounterVec,
    totals: Mutex<HashMap<ObjectKey, Vec<(usize, usize)>>>,
}

const NONE: &[&str] = &[];

impl Metrics {
    fn new(base: &Base, max: usize) -> Self {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("endpoint_slice_mirroring_controller_{name}"), help)
        };
        let counts = |name: &str, help: &str| {
            base.histogram_vec(
                opts(name, help).buckets(exponential_buckets(2.0, 2.0, 15)),
                NONE,
            )
        };
        let duration = opts(
            "endpoints_sync_duration",
            "Duration of syncEndpoints() in seconds",
        );
        Self {
            max,
            added: counts(
                "endpoints_added_per_sync",
                "Number of endpoints added on each Endpoints sync",
            ),
            updated: counts(
                "endpoints_updated_per_sync",
                "Number of endpoints updated on each Endpoints sync",
            ),
            removed: counts(
                "endpoints_removed_per_sync",
                "Number of endpoints removed on each Endpoints sync",
            ),
            skipped: counts(
                "addresses_skipped_per_sync",
                "Number of addresses skipped on each Endpoints sync due to being invalid or exceeding MaxEndpointsPerSubset",
            ),
            duration: base
                .histogram_vec(duration.buckets(exponential_buckets(0.001, 2.0, 15)), NONE),
            desired_endpoints: base.gauge_vec(
                opts("endpoints_desired", "Number of endpoints desired"),
                NONE,
            ),
            slices: base.gauge_vec(
                opts("num_endpoint_slices", "Number of EndpointSlices"),
                NONE,
            ),
            desired_slices: base.gauge_vec(
                opts(
                    "desired_endpoint_slices",
                    "Number of EndpointSlices that would exist with perfect endpoint allocation",
                ),
                NONE,
            ),
            changes: base.counter_vec(
                opts("changes", "Number of EndpointSlice changes"),
                &["operation"],
            ),
            totals: Mutex::default(),
        }
    }

    fn duration(&self, elapsed: Duration) {
        self.duration
            .with_label_values(NONE)
            .observe(elapsed.as_secs_f64());
    }

    fn skipped(&self, count: usize) {
        self.skipped.with_label_values(NONE).observe(float(count));
    }

    fn changed(&self, operation: &str) {
        self.changes.with_label_values(&[operation]).inc();
    }

    fn planned(&self, key: &ObjectKey, result: &Mirrored) {
        self.added
            .with_label_values(NONE)
            .observe(float(result.plan.added));
        self.updated
            .with_label_values(NONE)
            .observe(float(result.updated));
        self.removed
            .with_label_values(NONE)
            .observe(float(result.plan.removed));
        let mut totals = self.totals.lock();
        totals.insert(key.clone(), result.groups.clone());
        self.show(&totals);
    }

    fn forget(&self, key: &ObjectKey) {
        let mut totals = self.totals.lock();
        if totals.remove(key).is_some() {
            self.show(&totals);
        }
    }

    fn show(&self, totals: &HashMap<ObjectKey, Vec<(usize, usize)>>) {
        let sum = |of: fn(&(usize, usize), usize) -> usize| {
            float(
                totals
                    .values()
                    .flatten()
                    .map(|group| of(group, self.max.max(1)))
                    .sum(),
            )
        };
        self.desired_endpoints
            .with_label_values(NONE)
            .set(sum(|group, _| group.0));
        self.slices
            .with_label_values(NONE)
            .set(sum(|group, _| group.1));
        self.desired_slices
            .with_label_values(NONE)
            .set(sum(|group, max| group.0.div_ceil(max)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{EndpointPort as Port, EndpointSubset};

    use super::*;

    fn endpoints(ready: &[&str], not_ready: &[&str]) -> Endpoints {
        let addresses = |ips: &[&str]| {
            ips.iter()
                .map(|ip| EndpointAddress {
                    ip: (*ip).into(),
                    ..Default::default()
                })
                .collect()
        };
        let mut endpoints = Endpoints {
            subsets: vec![EndpointSubset {
                addresses: addresses(ready),
                not_ready_addresses: addresses(not_ready),
                ports: vec![Port {
                    name: "p".into(),
                    port: 80,
                    protocol: "TCP".into(),
                    app_protocol: None,
                }],
            }],
            ..Default::default()
        };
        endpoints.metadata.name = "svc".into();
        endpoints.metadata.namespace = "ns".into();
        endpoints.metadata.uid = "u".into();
        endpoints.metadata.labels.insert("l".into(), "v".into());
        endpoints
            .metadata
            .annotations
            .insert("a".into(), "b".into());
        endpoints
            .metadata
            .annotations
            .insert(LAST_APPLIED.into(), "{}".into());
        endpoints
    }

    fn planned(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>], max: usize) -> Mirrored {
        plan(endpoints, existing, desired(endpoints, max).groups, max)
    }

    fn made(result: &Mirrored) -> Vec<Arc<EndpointSlice>> {
        let name = |(index, slice): (usize, &EndpointSlice)| {
            let mut slice = slice.clone();
            slice.metadata.name = format!("svc-{index}");
            Arc::new(slice)
        };
        result.plan.create.iter().enumerate().map(name).collect()
    }

    #[test]
    fn one_slice_for_each_family() {
        let endpoints = endpoints(&["10.0.0.1", "fd00::1"], &["10.0.0.2"]);
        let result = planned(&endpoints, &[], 1000);
        let shown: Vec<_> = result
            .plan
            .create
            .iter()
            .map(|s| (s.address_type.as_str(), s.endpoints.len()))
            .collect();
        assert_eq!(shown, [("IPv4", 2), ("IPv6", 1)]);
        let slice = &result.plan.create[0];
        assert_eq!(
            slice.metadata.annotations,
            BTreeMap::from([("a".into(), "b".into())])
        );
        assert_eq!(slice.metadata.labels[MANAGED_BY], MANAGER);
        assert_eq!(slice.endpoints[0].conditions.ready, Some(true));
        assert_eq!(slice.endpoints[1].conditions.ready, Some(false));
        assert_eq!(slice.endpoints[1].conditions.serving, None);

        let present = made(&result);
        let again = planned(&endpoints, &present, 1000);
        assert_eq!(
            (
                again.plan.create.len(),
                again.plan.update.len(),
                again.plan.delete.len()
            ),
            (0, 0, 0)
        );
        assert_eq!(again.untracked.len(), 2);
    }

    #[test]
    fn changes_are_written_to_the_first_slice() {
        let old = endpoints(&["10.0.0.1"], &[]);
        let present = made(&planned(&old, &[], 1000));
        let check = |change: fn(&mut Endpoints), expected: (usize, usize, usize)| {
            let mut new = old.clone();
            change(&mut new);
            let result = planned(&new, &present, 1000).plan;
            assert_eq!(
                (
                    result.create.len(),
                    result.update.len(),
                    result.delete.len()
                ),
                expected
            );
        };
        check(|_| {}, (0, 0, 0));
        check(
            |e| e.subsets[0].addresses[0].node_name = Some("n".into()),
            (0, 1, 0),
        );
        check(|e| e.subsets[0].ports[0].port = 81, (1, 0, 1));
        check(
            |e| drop(e.metadata.labels.insert("x".into(), "y".into())),
            (0, 1, 0),
        );
        check(
            |e| drop(e.metadata.annotations.insert("x".into(), "y".into())),
            (0, 1, 0),
        );
        check(
            |e| {
                drop(
                    e.metadata
                        .annotations
                        .insert(TRIGGER_TIME.into(), "now".into()),
                )
            },
            (0, 0, 0),
        );
        check(|e| e.metadata.uid = "another".into(), (0, 1, 0));
        check(|e| e.subsets.clear(), (0, 0, 1));
    }

    #[test]
    fn what_is_skipped() {
        let check = |endpoints: &Endpoints, max, expected: (usize, usize)| {
            let desired = desired(endpoints, max);
            assert_eq!((desired.invalid, desired.skipped), expected);
        };
        check(&endpoints(&["10.0.0.1", "nonsense"], &[]), 1000, (1, 1));
        check(
            &endpoints(&["10.0.0.1", "10.0.0.2"], &["10.0.0.3"]),
            2,
            (0, 1),
        );
        check(&endpoints(&[], &[]), 2, (0, 0));
    }

    #[test]
    fn who_is_mirrored() {
        let mut skipped = endpoints(&[], &[]);
        assert!(is_mirrored(&skipped));
        skipped
            .metadata
            .labels
            .insert(SKIP_MIRROR.into(), "true".into());
        assert!(!is_mirrored(&skipped));
        let mut leader = endpoints(&[], &[]);
        leader
            .metadata
            .annotations
            .insert(LEADER_ANNOTATION.into(), "{}".into());
        assert!(!is_mirrored(&leader));
    }
}
