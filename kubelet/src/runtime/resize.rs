//! Changing CPU and memory of a pod that runs: what differs, in which order it is changed, and the changes.
//!
//! Upstream: `computePodResizeAction`, `doPodResizeAction` and `validateMemoryResizeAction` in `kuberuntime_manager.go`. What
//! the runtime was told is remembered in the state of actuated resources: runtimes report limits, but not memory requests, and
//! rounded numbers at that. The order keeps the sum of the containers' limits below the pod's: a pod that grows grows before
//! its containers, one that shrinks shrinks after them.

use std::time::Instant;

use api_types::core::v1::{Container, Pod, ResourceRequirements};
use api_types::{Format, Quantity};

use super::Runtime;
use super::actions::PodActions;
use crate::allocation::{PodResources, ResizeFeatures, effective_resources, resizable_containers};
use crate::cm::tree::Limits;
use crate::container::{
    ActualResources, ContainerId, PodStatus, StartError, State, SyncResult, find_container_spec,
    pod_desc,
};
use crate::cri::v1;
use crate::pod_resources::get;

/// Resource that is resized by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    /// Memory.
    Memory,
    /// CPU.
    Cpu,
}

impl Resized {
    fn name(self) -> &'static str {
        match self {
            Resized::Memory => "memory",
            Resized::Cpu => "cpu",
        }
    }
}

/// The numbers of a container or pod that can be resized: milli-CPU and bytes, zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// CPU request.
    pub cpu_request: i64,
    /// CPU limit.
    pub cpu_limit: i64,
    /// Memory request.
    pub memory_request: i64,
    /// Memory limit.
    pub memory_limit: i64,
}

impl Sizes {
    /// The numbers in requests and limits.
    #[must_use]
    pub fn of(resources: &ResourceRequirements) -> Self {
        Sizes {
            cpu_request: get(&resources.requests, "cpu"),
            cpu_limit: get(&resources.limits, "cpu"),
            memory_request: get(&resources.requests, "memory"),
            memory_limit: get(&resources.limits, "memory"),
        }
    }

    fn of_container(
        of_pod: Option<&ResourceRequirements>,
        of_container: &ResourceRequirements,
        features: ResizeFeatures,
    ) -> Self {
        Sizes::of(&effective_resources(of_pod, of_container, features))
    }

    /// Requests and limits with these numbers.
    fn to_resources(self) -> ResourceRequirements {
        let list = |cpu: i64, memory: i64| {
            let cpu = (cpu != 0).then(|| Quantity::from_milli(cpu, Format::DecimalSI));
            let memory = (memory != 0).then(|| Quantity::from_value(memory, Format::BinarySI));
            [("cpu", cpu), ("memory", memory)]
                .into_iter()
                .filter_map(|(name, quantity)| Some((name.to_owned(), quantity?)))
                .collect()
        };
        ResourceRequirements {
            requests: list(self.cpu_request, self.memory_request),
            limits: list(self.cpu_limit, self.memory_limit),
            ..Default::default()
        }
    }

    fn limit(self, resource: Resized) -> i64 {
        match resource {
            Resized::Memory => self.memory_limit,
            Resized::Cpu => self.cpu_limit,
        }
    }

    fn request(self, resource: Resized) -> i64 {
        match resource {
            Resized::Memory => self.memory_request,
            Resized::Cpu => self.cpu_request,
        }
    }

    fn differs(self, other: Sizes, resource: Resized) -> bool {
        self.limit(resource) != other.limit(resource)
            || self.request(resource) != other.request(resource)
    }
}

/// A running container to change.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerToUpdate {
    /// Which.
    pub id: ContainerId,
    /// Its name in the spec.
    pub name: String,
    /// What it is to have.
    pub desired: Sizes,
    /// What it has.
    pub current: Sizes,
}

/// What a resize has to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResizeActions {
    /// Containers whose memory changes: those that shrink first.
    pub memory: Vec<ContainerToUpdate>,
    /// Containers whose CPU changes: those that shrink first.
    pub cpu: Vec<ContainerToUpdate>,
    /// A container restarts with other resources: the pod's cgroup follows.
    pub pod: bool,
    /// The resources of the pod as a whole change.
    pub pod_level: bool,
}

impl ResizeActions {
    fn containers(&self, resource: Resized) -> &[ContainerToUpdate] {
        match resource {
            Resized::Memory => &self.memory,
            Resized::Cpu => &self.cpu,
        }
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == ResizeActions::default()
    }
}

/// Compares what a running container was granted with what it has. Answers whether it must restart to get it; the changes that
/// need no restart are added to the actions.
pub(super) fn compare_container(
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    actuated: Option<&PodResources>,
    features: ResizeFeatures,
    actions: &mut ResizeActions,
) -> bool {
    let has = actuated.and_then(|actuated| actuated.containers.get(&container.name));
    if has.is_none() {
        // Nothing was noted, so nothing counts as in effect: to tell the runtime once more what it knows does no harm.
        tracing::error!(pod = %pod.metadata.name, container = %container.name, "Missing actuated resource record");
    }
    let of_pod_had = actuated.and_then(|actuated| actuated.pod.as_ref());
    let nothing = ResourceRequirements::default();
    let desired = Sizes::of_container(
        pod.spec.resources.as_deref(),
        &container.resources,
        features,
    );
    let current = Sizes::of_container(of_pod_had, has.unwrap_or(&nothing), features);
    let changed = [Resized::Memory, Resized::Cpu]
        .into_iter()
        .filter(|resource| desired.differs(current, *resource));
    let restart = |resource: &Resized| {
        container.resize_policy.iter().any(|policy| {
            policy.resource_name == resource.name() && policy.restart_policy == "RestartContainer"
        })
    };
    if changed.clone().any(|resource| restart(&resource)) {
        actions.pod = true;
        return true;
    }
    for resource in changed {
        let update = ContainerToUpdate {
            id: id.clone(),
            name: container.name.clone(),
            desired,
            current,
        };
        let (before, after) = if desired.limit(resource) == current.limit(resource) {
            (current.request(resource), desired.request(resource))
        } else {
            (current.limit(resource), desired.limit(resource))
        };
        let list = match resource {
            Resized::Memory => &mut actions.memory,
            Resized::Cpu => &mut actions.cpu,
        };
        if after < before {
            list.insert(0, update);
        } else {
            list.push(update);
        }
    }
    false
}

/// Whether the resources of the pod as a whole are not in effect yet.
pub(super) fn pod_level_differs(
    pod: &Pod,
    actuated: Option<&PodResources>,
    features: ResizeFeatures,
) -> bool {
    let sizes = |resources: Option<&ResourceRequirements>| resources.map(Sizes::of);
    let desired = sizes(pod.spec.resources.as_deref()).unwrap_or_default();
    let current = sizes(actuated.and_then(|actuated| actuated.pod.as_ref())).unwrap_or_default();
    features.pod_level && desired != current
}

/// Whether something that runs has not yet got what it was granted.
#[must_use]
pub fn is_resize_in_progress(
    pod: &Pod,
    status: &PodStatus,
    actuated: Option<&PodResources>,
    features: ResizeFeatures,
) -> bool {
    // Init containers that are no sidecars are over soon: they do not count, although they are resized.
    let counted = ResizeFeatures {
        init_containers: false,
        ..features
    };
    let container_differs = resizable_containers(pod, counted).any(|container| {
        let runs = status
            .find_container(&container.name)
            .is_some_and(|found| found.state == State::Running);
        let has = actuated
            .and_then(|actuated| actuated.containers.get(&container.name))
            .map(Sizes::of)
            .unwrap_or_default();
        let granted = Sizes::of_container(
            pod.spec.resources.as_deref(),
            &container.resources,
            features,
        );
        runs && granted != has
    });
    let whole = || {
        let granted = pod.spec.resources.as_deref().map(Sizes::of);
        let has = actuated
            .and_then(|actuated| actuated.pod.as_ref())
            .map(Sizes::of);
        features.pod_level && has.is_some() && granted.is_some() && has != granted
    };
    container_differs || whole()
}

/// One change of a resize.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write these limits of the pod's cgroup.
    Pod(Resized, Limits),
    /// Tell the runtime what a container is to have now.
    Container(Resized, ContainerToUpdate, Sizes),
    /// The resources of the pod as a whole are in effect.
    Done(Resized),
}

/// The changes in their order. `current` and `desired` are limits of the pod's cgroup.
#[must_use]
pub fn plan(actions: &ResizeActions, current: &Limits, desired: &Limits) -> Vec<Step> {
    let mut steps = Vec::new();
    for resource in [Resized::Memory, Resized::Cpu] {
        let containers = actions.containers(resource);
        if containers.is_empty() && !actions.pod && !actions.pod_level {
            continue;
        }
        let (limit, request) = match resource {
            Resized::Memory => (
                Limits {
                    memory: desired.memory,
                    ..Default::default()
                },
                // Memory requests are nowhere in a cgroup.
                None,
            ),
            Resized::Cpu => (
                Limits {
                    cpu_quota: desired.cpu_quota,
                    cpu_period: desired.cpu_period,
                    ..Default::default()
                },
                desired.cpu_shares,
            ),
        };
        let request_config = Limits {
            cpu_shares: request,
            ..Default::default()
        };
        // Limits first when they grow and last when they shrink, so that no request is ever above its limit. A limit that is
        // not wanted stays what it is: none can be taken back.
        let limit_change = match resource {
            Resized::Memory => change(current.memory, desired.memory),
            Resized::Cpu => change(current.cpu_quota, desired.cpu_quota),
        };
        let request_change = match request {
            Some(_) => change(current.cpu_shares, request),
            None => None,
        };
        for (limits, change) in [(&limit, limit_change), (&request_config, request_change)] {
            if change == Some(Change::Grows) {
                steps.push(Step::Pod(resource, limits.clone()));
            }
        }
        for update in containers {
            let sizes = match resource {
                // CPU comes later.
                Resized::Memory => Sizes {
                    memory_limit: update.desired.memory_limit,
                    memory_request: update.desired.memory_request,
                    ..update.current
                },
                Resized::Cpu => update.desired,
            };
            steps.push(Step::Container(resource, update.clone(), sizes));
        }
        for (limits, change) in [(&request_config, request_change), (&limit, limit_change)] {
            if change == Some(Change::Shrinks) {
                steps.push(Step::Pod(resource, limits.clone()));
            }
        }
        if actions.pod_level {
            steps.push(Step::Done(resource));
        }
    }
    steps
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Grows,
    Shrinks,
}

/// How a number changes; one that is not there is no limit, which is more than any.
fn change(current: Option<i64>, desired: Option<i64>) -> Option<Change> {
    let positive = |value: &i64| *value > 0;
    let desired = desired.filter(positive)?;
    match current.filter(positive) {
        Some(current) if current == desired => None,
        Some(current) if current < desired => Some(Change::Grows),
        _ => Some(Change::Shrinks),
    }
}

/// Memory in use by a pod and by its containers, in bytes; none where it could not be measured.
pub struct MemoryInUse<'a> {
    /// The pod's.
    pub pod: Option<u64>,
    /// By name of the container.
    pub container: &'a dyn Fn(&ContainerToUpdate) -> Option<u64>,
}

/// Refuses memory limits below what is in use: the kernel would kill to enforce them.
///
/// # Errors
/// With all limits that are too low, for the condition of the pod.
pub fn check_memory(
    actions: &ResizeActions,
    current: &Limits,
    desired: &Limits,
    usage: &MemoryInUse<'_>,
) -> Result<(), String> {
    if actions.memory.is_empty() && !actions.pod {
        return Ok(());
    }
    let mut errors = Vec::new();
    let pod_limit = desired
        .memory
        .filter(|limit| current.memory.is_none_or(|current| *limit < current));
    if let Some(limit) = pod_limit {
        match usage.pod {
            None => errors.push("missing pod memory usage".to_owned()),
            Some(used) if used >= u64::try_from(limit).unwrap_or(0) => errors.push(format!(
                "attempting to set pod memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    for update in &actions.memory {
        let (limit, before) = (update.desired.memory_limit, update.current.memory_limit);
        if limit == 0 || (before != 0 && limit >= before) {
            continue;
        }
        let name = &update.name;
        match (usage.container)(update) {
            None => errors.push(format!("missing container {name:?} memory usage")),
            Some(used) if used >= u64::try_from(limit).unwrap_or(0) => errors.push(format!(
                "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(format!("cannot decrease memory limits: {}", errors[0])),
        _ => Err(format!(
            "cannot decrease memory limits: [{}]",
            errors.join(", ")
        )),
    }
}

/// One set of limits over another.
fn merged(base: &Limits, update: &Limits) -> Limits {
    Limits {
        cpu_shares: update.cpu_shares.or(base.cpu_shares),
        cpu_quota: update.cpu_quota.or(base.cpu_quota),
        cpu_period: update.cpu_period.or(base.cpu_period),
        memory: update.memory.or(base.memory),
        ..base.clone()
    }
}

impl Runtime {
    /// Whether something of the pod that runs has not yet got what it was granted.
    #[must_use]
    pub fn is_resize_in_progress(&self, pod: &Pod, status: &PodStatus) -> bool {
        let actuated = self.actuated.pod(&pod.metadata.uid);
        is_resize_in_progress(pod, status, actuated.as_ref(), self.options.resize)
    }

    /// The pod's cgroup was made with the resources of the pod as a whole.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn note_pod_level(&self, pod: &Pod) -> std::io::Result<()> {
        match pod.spec.resources.as_deref() {
            Some(resources) if !resources.requests.is_empty() || !resources.limits.is_empty() => {
                self.actuated
                    .set_pod_level(&pod.metadata.uid, resources.clone())
            }
            _ => Ok(()),
        }
    }

    /// The runtime is told, or was told, these resources of a container.
    pub(super) fn note_container(&self, pod: &Pod, container: &Container) -> std::io::Result<()> {
        let of_pod = pod.spec.resources.as_deref();
        let resources = effective_resources(of_pod, &container.resources, self.options.resize);
        self.actuated
            .set_container(&pod.metadata.uid, &container.name, resources)
    }

    /// Takes the steps of a resize, up to the first that fails.
    pub(super) async fn resize(&self, pod: &Pod, actions: &PodActions, result: &mut SyncResult) {
        let start = Instant::now();
        let outcome = self.try_resize(pod, actions).await;
        let success = if outcome.is_ok() { "true" } else { "false" };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one resize")]
        self.metrics
            .pod_resize_duration
            .with_label_values(&[success])
            .observe(start.elapsed().as_millis() as f64);
        if let Err(error) = outcome {
            tracing::error!(pod = %pod.metadata.name, %error, "Failed to resize pod in place");
            result.error = Some(StartError::new("ResizePodInPlaceError", error));
        }
    }

    async fn try_resize(&self, pod: &Pod, actions: &PodActions) -> Result<(), String> {
        let resize = &actions.resize;
        let desired = self.cm.wanted_limits(pod);
        let mut current = self.cm.pod_cgroup(pod).map_err(|error| {
            tracing::error!(pod = %pod.metadata.name, %error, "Unable to get pod cgroup config");
            format!(
                "unable to get pod cgroup config for pod {:?}",
                pod_desc(pod)
            )
        })?;
        check_memory(
            resize,
            &current,
            &desired,
            &MemoryInUse {
                pod: self.cm.pod_memory(pod).ok().map(|memory| memory.usage),
                container: &|update| self.cm.container_memory(pod, &update.id.id),
            },
        )?;
        for step in plan(resize, &current, &desired) {
            match step {
                Step::Pod(resource, limits) => {
                    let next = merged(&current, &limits);
                    self.tell_sandbox(pod, &actions.sandbox_id, &next)
                        .await
                        .map_err(|error| {
                            format!(
                                "failed to notify runtime for UpdatePodSandboxResources (resource={}); resize rejected: {error}",
                                resource.name()
                            )
                        })?;
                    if let Err(error) = self.cm.set_pod_cgroup(pod, &limits) {
                        // The runtime believes what did not happen.
                        if let Err(error) =
                            self.tell_sandbox(pod, &actions.sandbox_id, &current).await
                        {
                            tracing::error!(pod = %pod.metadata.name, %error, "Failed to notify runtime to rollback UpdatePodSandboxResources");
                        }
                        return Err(error.to_string());
                    }
                    current = next;
                }
                Step::Container(_, update, sizes) => {
                    self.resize_container(pod, &update, sizes).await?;
                }
                Step::Done(resource) => self.note_resized_pod_level(pod, resource),
            }
        }
        Ok(())
    }

    async fn resize_container(
        &self,
        pod: &Pod,
        update: &ContainerToUpdate,
        sizes: Sizes,
    ) -> Result<(), String> {
        let Some((mut container, _)) = find_container_spec(&pod.spec, &update.name) else {
            return Err(format!("container {:?} is not in the pod", update.name));
        };
        let sized = sizes.to_resources();
        for (list, sized) in [
            (&mut container.resources.requests, sized.requests),
            (&mut container.resources.limits, sized.limits),
        ] {
            list.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
            list.extend(sized);
        }
        let limits = self.options.resources.container(pod, &container);
        self.cri
            .update_container_resources(&update.id.id, limits)
            .await
            .map_err(|error| error.to_string())?;
        self.note_container(pod, &container)
            .map_err(|error| error.to_string())
    }

    /// Tells the runtime what the pod has. Runtimes need not understand it.
    async fn tell_sandbox(&self, pod: &Pod, sandbox: &str, limits: &Limits) -> Result<(), String> {
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: sandbox.to_owned(),
            overhead: Some(self.options.resources.overhead(pod)),
            resources: Some(self.options.resources.sandbox_of(pod, limits)),
        };
        match self.cri.update_pod_sandbox_resources(request).await {
            Ok(()) => Ok(()),
            // containerd 2.2 answers so instead of with the code that is meant for it.
            Err(error)
                if error.is_unimplemented() || error.message().contains("not implemented") =>
            {
                Ok(())
            }
            Err(error) => Err(format!(
                "updatePodSandboxResources failed for sanboxID {sandbox:?}: {error}"
            )),
        }
    }

    fn note_resized_pod_level(&self, pod: &Pod, resource: Resized) {
        let Some(granted) = pod.spec.resources.as_deref() else {
            return;
        };
        let uid = &pod.metadata.uid;
        let mut actuated = self
            .actuated
            .pod(uid)
            .and_then(|actuated| actuated.pod)
            .unwrap_or_default();
        let name = resource.name();
        for (list, granted) in [
            (&mut actuated.requests, &granted.requests),
            (&mut actuated.limits, &granted.limits),
        ] {
            if let Some(quantity) = granted.get(name) {
                list.insert(name.to_owned(), quantity.clone());
            }
        }
        if let Err(error) = self.actuated.set_pod_level(uid, actuated) {
            tracing::error!(pod = %pod.metadata.name, %error, "SetPodLevelResources failed");
        }
    }

    /// Forgets what was in effect in pods that are gone.
    pub(super) fn forget_resources(&self) {
        for uid in self.actuated.uids() {
            if self.helper.should_content_be_removed(&uid) {
                self.actuated.remove(&uid);
            }
        }
    }
}

/// What the runtime reports of a container's resources, filled up with what it was told.
pub(super) fn reported_resources(
    reported: Option<ActualResources>,
    told: Option<&ResourceRequirements>,
) -> Option<ActualResources> {
    let Some(told) = told else {
        return reported;
    };
    let told = Sizes::of(told);
    let some = |size: i64| (size != 0).then_some(size);
    Some(match reported {
        None => ActualResources {
            cpu_request: some(told.cpu_request),
            cpu_limit: some(told.cpu_limit),
            memory_request: some(told.memory_request),
            memory_limit: some(told.memory_limit),
        },
        Some(reported) => ActualResources {
            memory_request: reported.memory_request.or(some(told.memory_request)),
            ..reported
        },
    })
}

#[cfg(test)]
mod tests;
