//! Binds claims that wait for a consumer, and holds pods to nodes that reach their volumes. Upstream: plugins/volumebinding.
//!
//! In the scheduling cycle volumes are chosen per node and *assumed*: later pods see them as taken. In the binding cycle the choice is
//! written (`claimRef` of the volume, or the selected-node annotation of the claim), and the pod waits until the volume controller is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use apimachinery::labels::Selector;
use apimachinery::scheduling::match_topology_selector_terms;
use client::{Client, ObjectKey};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::claims::{
    ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE, NOT_SUPPORTED_PROVISIONER, check_is_for_pod,
    claim_class, claim_of, find_matching_volume, is_bound_to, is_delay_binding, is_fully_bound,
    reaches_node, requested_storage, volume_class,
};
use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::handle::Listers;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreBind, PreFilter, Reserve};
use crate::framework::pod_info::PodInfo;
use crate::framework::status::{Code, Reasons, Status, Verdict};
use crate::metrics::Metrics;

const STATE: &str = "VolumeBinding";

const REASON_BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const REASON_NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const REASON_NOT_ENOUGH_SPACE: &str = "node(s) did not have enough free storage";
const REASON_PV_NOT_EXIST: &str =
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const REASON_IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";

/// How often it is looked whether a claim was bound.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// Changes this process made or is about to make, until the cache shows something newer.
struct Assumed<T> {
    objects: Mutex<HashMap<String, (String, Arc<T>)>>,
}

impl<T> Default for Assumed<T> {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
        }
    }
}

impl<T: api_types::Object> Assumed<T> {
    /// The assumed object if the cached one has not changed since, else the cached one.
    fn over(&self, key: &str, cached: Option<Arc<T>>) -> Option<Arc<T>> {
        let mut objects = self.objects.lock();
        match (objects.get(key), &cached) {
            (Some((based_on, assumed)), Some(current))
                if *based_on == current.metadata().resource_version =>
            {
                Some(assumed.clone())
            }
            (Some(_), _) => {
                objects.remove(key);
                cached
            }
            (None, _) => cached,
        }
    }

    fn assume(&self, key: &str, object: Arc<T>) {
        let based_on = object.metadata().resource_version.clone();
        self.objects
            .lock()
            .insert(key.to_owned(), (based_on, object));
    }

    fn restore(&self, key: &str) {
        self.objects.lock().remove(key);
    }
}

pub struct VolumeBinding {
    client: Client,
    listers: Listers,
    bind_timeout: Duration,
    metrics: Metrics,
    volumes: Assumed<PersistentVolume>,
    claims: Assumed<PersistentVolumeClaim>,
}

/// What a pod needs on one node.
#[derive(Clone, Debug, Default)]
struct PodVolumes {
    /// Volumes that exist, with the claims they will be bound to.
    bindings: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims whose volumes will be made.
    provisions: Vec<Arc<PersistentVolumeClaim>>,
}

/// The pod's claims.
struct PodClaims {
    bound: Vec<Arc<PersistentVolumeClaim>>,
    unbound: Vec<Arc<PersistentVolumeClaim>>,
    /// Candidates for the unbound ones, by class.
    candidates: HashMap<String, Vec<Arc<PersistentVolume>>>,
}

/// Shared between copies of the cycle's state: what Filter found in a what-if holds as well.
struct State {
    claims: PodClaims,
    by_node: Mutex<HashMap<String, PodVolumes>>,
    all_bound: Mutex<bool>,
}

fn key(claim: &PersistentVolumeClaim) -> String {
    format!("{}/{}", claim.metadata.namespace, claim.metadata.name)
}

impl VolumeBinding {
    /// Writes with `client`; gives up on a claim after `bind_timeout`.
    pub fn new(client: Client, listers: Listers, bind_timeout: Duration, metrics: Metrics) -> Self {
        Self {
            client,
            listers,
            bind_timeout,
            metrics,
            volumes: Assumed::default(),
            claims: Assumed::default(),
        }
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        let cached = self
            .listers
            .persistent_volume_claims
            .get_in(namespace, name);
        self.claims.over(&format!("{namespace}/{name}"), cached)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        let cached = self
            .listers
            .persistent_volumes
            .get(&ObjectKey::cluster(name));
        self.volumes.over(name, cached)
    }

    /// Whether the pod has claims; an error if one of them cannot be used.
    fn has_claims(&self, pod: &Pod) -> Result<bool, String> {
        let mut any = false;
        for volume in &pod.spec.volumes {
            let Some((name, is_ephemeral)) = claim_of(pod, volume) else {
                continue;
            };
            any = true;
            let Some(claim) = self
                .listers
                .persistent_volume_claims
                .get_in(&pod.metadata.namespace, &name)
            else {
                return Err(if is_ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                    )
                } else {
                    format!("persistentvolumeclaim \"{name}\" not found")
                });
            };
            if claim.status.phase == "Lost" {
                return Err(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                    claim.spec.volume_name
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            if is_ephemeral {
                check_is_for_pod(pod, &claim)?;
            }
        }
        Ok(any)
    }

    /// The pod's claims, or `None` if one is neither bound nor waiting for a consumer.
    fn pod_claims(&self, pod: &Pod) -> Result<Option<PodClaims>, String> {
        let (mut bound, mut unbound, mut immediate) = (Vec::new(), Vec::new(), false);
        for volume in &pod.spec.volumes {
            let Some((name, is_ephemeral)) = claim_of(pod, volume) else {
                continue;
            };
            let namespace = &pod.metadata.namespace;
            let claim = self.claim(namespace, &name).ok_or_else(|| {
                format!("error getting PVC \"{namespace}/{name}\": could not find v1.PersistentVolumeClaim \"{namespace}/{name}\"")
            })?;
            if is_ephemeral {
                check_is_for_pod(pod, &claim)?;
            }
            if is_fully_bound(&claim) {
                bound.push(claim);
            } else if claim.spec.volume_name.is_empty()
                && is_delay_binding(&claim, &self.listers.storage_classes)?
            {
                unbound.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Ok(None);
        }
        let mut candidates: HashMap<String, Vec<Arc<PersistentVolume>>> = HashMap::new();
        if !unbound.is_empty() {
            for volume in self.listers.persistent_volumes.list() {
                let name = volume.metadata.name.clone();
                if let Some(volume) = self.volumes.over(&name, Some(volume)) {
                    candidates
                        .entry(volume_class(&volume).to_owned())
                        .or_default()
                        .push(volume);
                }
            }
        }
        // Smallest first: a large claim must not take the only volume a small one could have.
        unbound.sort_by_key(|claim| requested_storage(claim));
        Ok(Some(PodClaims {
            bound,
            unbound,
            candidates,
        }))
    }

    /// What the pod needs on the node, or why it cannot have it.
    fn find(&self, claims: &PodClaims, node: &Node) -> Result<Result<PodVolumes, Reasons>, String> {
        let mut reasons = Reasons::new();
        for claim in &claims.bound {
            let Some(volume) = self.volume(&claim.spec.volume_name) else {
                reasons.push(REASON_PV_NOT_EXIST.into());
                return Ok(Err(reasons));
            };
            if !reaches_node(&volume, node) {
                reasons.push(REASON_NODE_CONFLICT.into());
                break;
            }
        }
        let mut found = PodVolumes::default();
        let mut to_provision = Vec::new();
        let mut chosen = Vec::new();
        for claim in &claims.unbound {
            if let Some(selected) = claim.metadata.annotations.get(ANN_SELECTED_NODE) {
                if *selected != node.metadata.name {
                    reasons.push(REASON_BIND_CONFLICT.into());
                    return Ok(Err(reasons));
                }
                to_provision.push(claim.clone());
                continue;
            }
            let candidates = claims
                .candidates
                .get(claim_class(claim))
                .map(Vec::as_slice)
                .unwrap_or_default();
            match find_matching_volume(claim, candidates, node, &chosen)? {
                Some(volume) => {
                    chosen.push(volume.clone());
                    found.bindings.push((volume, claim.clone()));
                }
                None => to_provision.push(claim.clone()),
            }
        }
        for claim in to_provision {
            match self.can_provision(&claim, node)? {
                Ok(()) => found.provisions.push(claim),
                Err(reason) => {
                    reasons.push(reason.into());
                    break;
                }
            }
        }
        if reasons.is_empty() {
            return Ok(Ok(found));
        }
        Ok(Err(reasons))
    }

    fn can_provision(
        &self,
        claim: &PersistentVolumeClaim,
        node: &Node,
    ) -> Result<Result<(), &'static str>, String> {
        let name = claim_class(claim);
        if name.is_empty() {
            return Err(format!("no class for claim \"{}\"", key(claim)));
        }
        let class = self
            .listers
            .storage_classes
            .get(&ObjectKey::cluster(name))
            .ok_or_else(|| format!("failed to find storage class \"{name}\""))?;
        let provisioner = &class.provisioner;
        if provisioner.is_empty()
            || provisioner == NOT_SUPPORTED_PROVISIONER
            || !match_topology_selector_terms(&class.allowed_topologies, &node.metadata.labels)
        {
            return Ok(Err(REASON_BIND_CONFLICT));
        }
        if !claim.spec.resources.requests.contains_key("storage") {
            return Ok(Ok(()));
        }
        let driver = self
            .listers
            .csi_drivers
            .get(&ObjectKey::cluster(&**provisioner));
        if driver.is_none_or(|driver| driver.spec.storage_capacity != Some(true)) {
            return Ok(Ok(()));
        }
        let wanted = requested_storage(claim).value();
        let enough = self
            .listers
            .csi_storage_capacities
            .list()
            .iter()
            .any(|capacity| {
                let limit = capacity
                    .maximum_volume_size
                    .as_ref()
                    .or(capacity.capacity.as_ref());
                capacity.storage_class_name == *name
                    && limit
                        .map(Quantity::value)
                        .is_some_and(|limit| limit >= wanted)
                    && capacity.node_topology.as_deref().is_some_and(|topology| {
                        Selector::from_label_selector(Some(topology))
                            .is_ok_and(|selector| selector.matches(&node.metadata.labels))
                    })
            });
        Ok(if enough {
            Ok(())
        } else {
            Err(REASON_NOT_ENOUGH_SPACE)
        })
    }

    fn stage_failed(&self, stage: &str) {
        self.metrics
            .volume_scheduling_stage_errors
            .with_label_values(&[stage])
            .inc();
    }

    /// Writes the choices. What was not written is given back.
    async fn write(&self, volumes: &PodVolumes) -> Result<PodVolumes, String> {
        let mut written = PodVolumes::default();
        for (volume, claim) in &volumes.bindings {
            match self.client.api::<PersistentVolume>().update(volume).await {
                Ok(updated) => written.bindings.push((Arc::new(updated), claim.clone())),
                Err(error) => {
                    self.revert(volumes, written.bindings.len(), 0);
                    return Err(error.to_string());
                }
            }
        }
        for claim in &volumes.provisions {
            let namespace = &*claim.metadata.namespace;
            let api = self.client.namespaced::<PersistentVolumeClaim>(namespace);
            match api.update(claim).await {
                Ok(updated) => written.provisions.push(Arc::new(updated)),
                Err(error) => {
                    let (bindings, provisions) = (written.bindings.len(), written.provisions.len());
                    self.revert(volumes, bindings, provisions);
                    return Err(error.to_string());
                }
            }
        }
        Ok(written)
    }

    fn revert(&self, volumes: &PodVolumes, keep_bindings: usize, keep_provisions: usize) {
        for (volume, _) in volumes.bindings.iter().skip(keep_bindings) {
            self.volumes.restore(&volume.metadata.name);
        }
        for claim in volumes.provisions.iter().skip(keep_provisions) {
            self.claims.restore(&key(claim));
        }
    }

    /// Whether everything is bound; an error if it never will be.
    fn check(&self, pod: &Pod, node_name: &str, written: &PodVolumes) -> Result<bool, String> {
        let meta = &pod.metadata;
        let node = self
            .listers
            .nodes
            .get(&ObjectKey::cluster(node_name))
            .ok_or_else(|| {
                format!("failed to get node \"{node_name}\": node \"{node_name}\" not found")
            })?;
        if self
            .listers
            .pods
            .get_in(&meta.namespace, &meta.name)
            .is_none()
        {
            return Err(format!(
                "pod does not exist any more: pod \"{}\" not found",
                meta.name
            ));
        }
        let cached_claim = |claim: &PersistentVolumeClaim| {
            self.listers
                .persistent_volume_claims
                .get_in(&claim.metadata.namespace, &claim.metadata.name)
        };
        let reaches = |volume: &PersistentVolume| {
            if reaches_node(volume, &node) {
                return Ok(());
            }
            Err(format!(
                "pv \"{}\" node affinity doesn't match node \"{node_name}\": no matching NodeSelectorTerms",
                volume.metadata.name
            ))
        };
        for (volume, claim) in &written.bindings {
            let name = &volume.metadata.name;
            let current = self
                .listers
                .persistent_volumes
                .get(&ObjectKey::cluster(&**name))
                .ok_or_else(|| {
                    format!(
                        "failed to check binding: could not find v1.PersistentVolume \"{name}\""
                    )
                })?;
            let claim = cached_claim(claim).ok_or_else(|| {
                format!(
                    "failed to check binding: could not find v1.PersistentVolumeClaim \"{}\"",
                    key(claim)
                )
            })?;
            if is_older(
                &current.metadata.resource_version,
                &volume.metadata.resource_version,
            ) {
                return Ok(false);
            }
            reaches(&current)?;
            if current
                .spec
                .claim_ref
                .as_deref()
                .is_none_or(|claim| claim.uid.is_empty())
            {
                return Err(format!("ClaimRef got reset for pv \"{name}\""));
            }
            if !is_fully_bound(&claim) {
                return Ok(false);
            }
        }
        for claim in &written.provisions {
            let name = &claim.metadata.name;
            let current = cached_claim(claim)
                .ok_or_else(|| format!("failed to check provisioning pvc: could not find v1.PersistentVolumeClaim \"{}\"", key(claim)))?;
            if is_older(
                &current.metadata.resource_version,
                &claim.metadata.resource_version,
            ) {
                return Ok(false);
            }
            match current.metadata.annotations.get(ANN_SELECTED_NODE) {
                None if current.metadata.annotations.is_empty() => {
                    return Err(format!("selectedNode annotation reset for PVC \"{name}\""));
                }
                Some(selected) if selected == node_name => {}
                // The provisioner takes the annotation off to say that it cannot.
                _ => return Err(format!("provisioning failed for PVC \"{name}\"")),
            }
            if !current.spec.volume_name.is_empty() {
                let volume = ObjectKey::cluster(&*current.spec.volume_name);
                let Some(volume) = self.listers.persistent_volumes.get(&volume) else {
                    return Ok(false);
                };
                reaches(&volume)?;
            }
            if !is_fully_bound(&current) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn bind_volumes(
        &self,
        pod: &Pod,
        node: &str,
        volumes: &PodVolumes,
    ) -> Result<(), String> {
        let written = self.write(volumes).await?;
        let deadline = tokio::time::Instant::now() + self.bind_timeout;
        loop {
            if tokio::time::Instant::now() >= deadline {
                return Err("binding volumes: context deadline exceeded".into());
            }
            tokio::time::sleep(CHECK_PERIOD).await;
            match self.check(pod, node, &written) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(format!("binding volumes: {error}")),
            }
        }
    }
}

/// Resource versions are numbers that grow.
fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        super::super::names::VOLUME_BINDING
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        let add_or_update = Action::ADD.or(Action::UPDATE);
        vec![
            ClusterEventWithHint::hinted(
                EventResource::StorageClass,
                add_or_update,
                |_, change| match change.storage_classes() {
                    (Some(old), Some(new)) => Ok(Hint::queue_if(
                        old.allowed_topologies != new.allowed_topologies,
                    )),
                    _ => Ok(Hint::Queue),
                },
            ),
            ClusterEventWithHint::hinted(
                EventResource::PersistentVolumeClaim,
                add_or_update,
                |pod, change| {
                    let ours = change.persistent_volume_claims().1.is_some_and(|claim| {
                        claim.metadata.namespace == pod.metadata.namespace
                            && pod.spec.volumes.iter().any(|volume| {
                                claim_of(pod, volume)
                                    .is_some_and(|(name, _)| name == claim.metadata.name)
                            })
                    });
                    Ok(Hint::queue_if(ours))
                },
            ),
            ClusterEventWithHint::always(EventResource::PersistentVolume, add_or_update),
            ClusterEventWithHint::always(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_LABEL),
            ),
            ClusterEventWithHint::hinted(EventResource::CsiNode, add_or_update, |_, change| {
                let migrated = |node: &Arc<api_types::storage::v1::CSINode>| {
                    let annotations = &node.metadata.annotations;
                    annotations
                        .get("storage.alpha.kubernetes.io/migrated-plugins")
                        .cloned()
                };
                match change.csi_nodes() {
                    (Some(old), Some(new)) => Ok(Hint::queue_if(migrated(old) != migrated(new))),
                    _ => Ok(Hint::Queue),
                }
            }),
            ClusterEventWithHint::hinted(
                EventResource::CsiDriver,
                Action::UPDATE,
                |pod, change| {
                    let (Some(old), Some(new)) = change.csi_drivers() else {
                        return Ok(Hint::Queue);
                    };
                    let uses = pod.spec.volumes.iter().any(|volume| {
                        let csi = volume.volume_source.csi.as_deref();
                        csi.is_some_and(|csi| csi.driver == new.metadata.name)
                    });
                    Ok(Hint::queue_if(
                        uses && old.spec.storage_capacity == Some(true)
                            && new.spec.storage_capacity != Some(true),
                    ))
                },
            ),
            ClusterEventWithHint::hinted(
                EventResource::CsiStorageCapacity,
                add_or_update,
                |_, change| {
                    let limit = |capacity: &Arc<api_types::storage::v1::CSIStorageCapacity>| {
                        let limit = capacity.maximum_volume_size.as_ref();
                        limit.or(capacity.capacity.as_ref()).map(Quantity::value)
                    };
                    match change.csi_storage_capacities() {
                        (Some(old), Some(new)) => Ok(Hint::queue_if(limit(new) > limit(old))),
                        _ => Ok(Hint::Queue),
                    }
                },
            ),
        ]
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let pod = cycle.pod();
        if !self.has_claims(pod).map_err(Status::unresolvable)? {
            return Err(Status::skip());
        }
        let Some(claims) = self.pod_claims(pod).map_err(Status::error)? else {
            return Err(Status::unresolvable(REASON_IMMEDIATE));
        };
        state.write(
            STATE,
            Arc::new(State {
                claims,
                by_node: Mutex::default(),
                all_bound: Mutex::new(false),
            }),
        );
        Ok(None)
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        let state = state
            .read::<Arc<State>>(STATE)
            .ok_or_else(|| Status::error("reading \"VolumeBinding\" from cycleState"))?;
        match self.find(&state.claims, node.node()) {
            Err(error) => {
                self.stage_failed("predicate");
                Err(Status::error(error))
            }
            Ok(Err(reasons)) => Err(Status {
                code: Code::UnschedulableAndUnresolvable,
                reasons,
                plugin: "",
            }),
            Ok(Ok(volumes)) => {
                state.by_node.lock().insert(node.name().to_owned(), volumes);
                Ok(())
            }
        }
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, state: &mut CycleState, _: &Arc<PodInfo>, node: &str) -> Verdict {
        let Some(state) = state.read::<Arc<State>>(STATE) else {
            return Ok(());
        };
        let mut by_node = state.by_node.lock();
        let Some(volumes) = by_node.get_mut(node) else {
            *state.all_bound.lock() = true;
            return Ok(());
        };
        if volumes.bindings.is_empty() && volumes.provisions.is_empty() {
            *state.all_bound.lock() = true;
            return Ok(());
        }
        for (volume, claim) in &mut volumes.bindings {
            let mut bound = (**volume).clone();
            let was_bound = is_bound_to(volume, claim);
            let mut reference: ObjectReference = client::object_reference(&**claim);
            reference.resource_version = claim.metadata.resource_version.clone();
            bound.spec.claim_ref = Some(Box::new(reference));
            if !was_bound {
                bound
                    .metadata
                    .annotations
                    .entry(ANN_BOUND_BY_CONTROLLER.to_owned())
                    .or_insert_with(|| "yes".to_owned());
            }
            *volume = Arc::new(bound);
            self.volumes.assume(&volume.metadata.name, volume.clone());
        }
        for claim in &mut volumes.provisions {
            let mut selected = (**claim).clone();
            selected
                .metadata
                .annotations
                .insert(ANN_SELECTED_NODE.to_owned(), node.to_owned());
            *claim = Arc::new(selected);
            self.claims.assume(&key(claim), claim.clone());
        }
        Ok(())
    }

    fn unreserve(&self, state: &CycleState, _: &Arc<PodInfo>, node: &str) {
        let Some(state) = state.read::<Arc<State>>(STATE) else {
            return;
        };
        if let Some(volumes) = state.by_node.lock().get(node) {
            self.revert(volumes, 0, 0);
        }
    }
}

impl PreBind for VolumeBinding {
    fn pre_flight(&self, state: &CycleState, _: &Arc<PodInfo>, node: &str) -> Verdict {
        let Some(state) = state.read::<Arc<State>>(STATE) else {
            return Err(Status::skip());
        };
        if *state.all_bound.lock() {
            return Err(Status::skip());
        }
        if state.by_node.lock().contains_key(node) {
            return Ok(());
        }
        Err(Status::error(format!(
            "no pod volume found for node \"{node}\""
        )))
    }

    fn pre_bind<'a>(
        &'a self,
        state: &'a CycleState,
        pod: &'a Arc<PodInfo>,
        node: &'a str,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some(state) = state.read::<Arc<State>>(STATE) else {
                return Ok(());
            };
            if *state.all_bound.lock() {
                return Ok(());
            }
            let volumes = state.by_node.lock().get(node).cloned();
            let volumes = volumes
                .ok_or_else(|| Status::error(format!("no pod volume found for node \"{node}\"")))?;
            self.bind_volumes(&pod.pod, node, &volumes)
                .await
                .map_err(|error| {
                    self.stage_failed("bind");
                    Status::error(error)
                })
        })
    }
}
