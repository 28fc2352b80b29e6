//! Container statuses as the API shows them, from the runtime's state, the previous status and failed starts.
//!
//! Upstream: `convertToAPIContainerStatuses` in `kubelet_pods.go`.

use std::collections::{BTreeMap, HashMap};

use api_types::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser, Pod,
    ResourceRequirements, VolumeMountStatus,
};
use api_types::{Format, Quantity, Time};
use jiff::Timestamp;

use super::phase::RESTARTING_ALL_CONTAINERS;
use crate::cm::shares::MIN_SHARES;
use crate::container::{
    CONTAINER_STATUS_UNKNOWN, PodStatus, StartError, State, Status, find_container_spec,
    has_any_regular_container_created, is_sidecar, should_container_be_restarted,
};
use crate::pod_options::resolve_recursive_read_only;

/// Smallest CPU limit a quota can express, in milli-CPU: below it the runtime's answer says nothing.
const MIN_MILLI_CPU_LIMIT: i64 = 10;

/// What the conversion needs besides the pod.
pub struct StatusInputs<'a> {
    /// State in the runtime.
    pub status: &'a PodStatus,
    /// Why the last start of a container failed.
    pub reason: &'a dyn Fn(&str) -> Option<StartError>,
    /// The runtime can mount recursively read-only.
    pub recursive_read_only: bool,
    /// All containers of the pod restart.
    pub restarting_all: bool,
}

fn time(timestamp: Option<Timestamp>) -> Time {
    timestamp.map_or_else(Time::default, Time::from_timestamp)
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(Box::new(ContainerStateWaiting {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })),
        ..Default::default()
    }
}

fn terminated(terminated: ContainerStateTerminated) -> ContainerState {
    ContainerState {
        terminated: Some(Box::new(terminated)),
        ..Default::default()
    }
}

fn convert(found: &Status, old: Option<&ContainerStatus>, restarting_all: bool) -> ContainerStatus {
    let id = found.id.to_string();
    let mut status = ContainerStatus {
        name: found.name.clone(),
        restart_count: found.restart_count,
        image: found.image.clone(),
        image_id: found.image_ref.clone(),
        container_id: id.clone(),
        ..Default::default()
    };
    if let Some(old) = old {
        status.volume_mounts.clone_from(&old.volume_mounts);
        status.restart_count = status.restart_count.max(old.restart_count);
        if old.container_id != id && old.state.terminated.is_some() {
            status
                .last_state
                .terminated
                .clone_from(&old.state.terminated);
        } else if old.last_state.terminated.is_some() {
            status
                .last_state
                .terminated
                .clone_from(&old.last_state.terminated);
        }
    }
    match found.state {
        State::Running => {
            status.state.running = Some(Box::new(ContainerStateRunning {
                started_at: time(found.started_at),
            }));
            if let Some(old) = old
                && old.state.terminated.is_some()
                && old.restart_count >= found.restart_count
            {
                status.restart_count = old.restart_count + 1;
            }
        }
        State::Exited => {
            status.state = terminated(ContainerStateTerminated {
                exit_code: found.exit_code,
                reason: found.reason.clone(),
                message: found.message.clone(),
                started_at: time(found.started_at),
                finished_at: time(found.finished_at),
                container_id: id,
                ..Default::default()
            });
        }
        State::Unknown if old.is_some_and(|old| old.state.running.is_some()) => {
            let reason = if restarting_all {
                RESTARTING_ALL_CONTAINERS
            } else {
                CONTAINER_STATUS_UNKNOWN
            };
            status.state = terminated(ContainerStateTerminated {
                reason: reason.to_owned(),
                message: "The container could not be located when the pod was terminated"
                    .to_owned(),
                exit_code: 137,
                ..Default::default()
            });
            status.restart_count = old.map_or(0, |old| old.restart_count) + 1;
        }
        State::Created | State::Unknown => status.state = waiting("", ""),
    }
    status
}

/// The resources in effect: what the runtime reports where the spec has an entry, else what was reported before.
fn resources(
    container: &Container,
    found: &Status,
    status: &ContainerStatus,
    old: Option<&ContainerStatus>,
) -> ResourceRequirements {
    let mut resources = container.resources.clone();
    if found.state != State::Running {
        return resources;
    }
    let before = old
        .filter(|old| old.state.running.is_some() && old.container_id == status.container_id)
        .and_then(|old| old.resources.as_deref());
    let actual = found.resources.clone().unwrap_or_default();
    let milli =
        |list: &BTreeMap<String, Quantity>| list.get("cpu").map_or(0, Quantity::milli_value);
    let preserve = |list: &mut BTreeMap<String, Quantity>,
                    before: Option<&BTreeMap<String, Quantity>>,
                    name: &str| {
        if let Some(value) = before.and_then(|before| before.get(name)) {
            list.insert(name.to_owned(), value.clone());
        }
    };
    if !resources.limits.is_empty() {
        match actual.cpu_limit {
            Some(limit)
                if limit > MIN_MILLI_CPU_LIMIT
                    || milli(&resources.limits) > MIN_MILLI_CPU_LIMIT =>
            {
                resources.limits.insert(
                    "cpu".to_owned(),
                    Quantity::from_milli(limit, Format::DecimalSI),
                );
            }
            Some(_) => {}
            None => preserve(
                &mut resources.limits,
                before.map(|before| &before.limits),
                "cpu",
            ),
        }
        match actual.memory_limit {
            Some(limit) => {
                resources.limits.insert(
                    "memory".to_owned(),
                    Quantity::from_value(limit, Format::BinarySI),
                );
            }
            None => preserve(
                &mut resources.limits,
                before.map(|before| &before.limits),
                "memory",
            ),
        }
    }
    if !resources.requests.is_empty() {
        match actual.cpu_request {
            Some(request) if request > MIN_SHARES || milli(&resources.requests) > MIN_SHARES => {
                resources.requests.insert(
                    "cpu".to_owned(),
                    Quantity::from_milli(request, Format::DecimalSI),
                );
            }
            Some(_) => {}
            None => preserve(
                &mut resources.requests,
                before.map(|before| &before.requests),
                "cpu",
            ),
        }
        match actual.memory_request {
            Some(request) => {
                resources.requests.insert(
                    "memory".to_owned(),
                    Quantity::from_value(request, Format::BinarySI),
                );
            }
            None => preserve(
                &mut resources.requests,
                before.map(|before| &before.requests),
                "memory",
            ),
        }
    }
    resources
}

fn first_status(
    container: &Container,
    old: Option<&ContainerStatus>,
    default_state: &ContainerState,
    recursive: bool,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: default_state.clone(),
        ..Default::default()
    };
    for mount in &container.volume_mounts {
        let mode = mount
            .read_only
            .then(|| match resolve_recursive_read_only(mount, recursive) {
                Ok(true) => "Enabled".to_owned(),
                _ => "Disabled".to_owned(),
            });
        status.volume_mounts.push(VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mode,
            ..Default::default()
        });
    }
    if let Some(old) = old {
        if old.state.terminated.is_some() {
            return old.clone();
        }
        status.restart_count = old.restart_count;
        status.last_state = old.last_state.clone();
    }
    status
}

/// A container that ran by the previous status and of which the runtime knows nothing.
fn lost(
    status: &mut ContainerStatus,
    old: &ContainerStatus,
    pod: &Pod,
    default_state: &ContainerState,
    restarting_all: bool,
) {
    if restarting_all && old.state.waiting.is_none() {
        let message = "The container is removed because RestartAllContainers in place";
        status.state = waiting(RESTARTING_ALL_CONTAINERS, message);
        status.last_state.terminated = Some(Box::new(ContainerStateTerminated {
            reason: RESTARTING_ALL_CONTAINERS.to_owned(),
            message: message.to_owned(),
            exit_code: 137,
            ..Default::default()
        }));
        status.restart_count = old.restart_count + 1;
        return;
    }
    if old.state.terminated.is_some()
        || old.state.running.is_none()
        || status.state != *default_state
        || status.last_state.terminated.is_some()
    {
        return;
    }
    status.last_state.terminated = Some(Box::new(ContainerStateTerminated {
        reason: CONTAINER_STATUS_UNKNOWN.to_owned(),
        message: "The container could not be located when the pod was deleted.  The container used to be Running".to_owned(),
        exit_code: 137,
        ..Default::default()
    }));
    if pod.metadata.deletion_timestamp.is_none() {
        status.restart_count += 1;
    }
}

/// Statuses of one list of containers. Init containers keep the order of the spec, others are sorted by name.
#[must_use]
pub fn container_statuses(
    pod: &Pod,
    containers: &[Container],
    previous: &[ContainerStatus],
    inputs: &StatusInputs<'_>,
    init: bool,
) -> Vec<ContainerStatus> {
    let default_state = waiting(
        if pod.spec.init_containers.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        },
        "",
    );
    let old: HashMap<&str, &ContainerStatus> = previous
        .iter()
        .map(|status| (status.name.as_str(), status))
        .collect();
    let old = |name: &str| old.get(name).copied();
    let mut statuses: HashMap<&str, ContainerStatus> = containers
        .iter()
        .map(|container| {
            let name = container.name.as_str();
            (
                name,
                first_status(
                    container,
                    old(name),
                    &default_state,
                    inputs.recursive_read_only,
                ),
            )
        })
        .collect();

    for (name, status) in &mut statuses {
        if inputs.status.find_container(name).is_none()
            && let Some(old) = old(name)
        {
            lost(status, old, pod, &default_state, inputs.restarting_all);
        }
    }

    // Newest first: the first of a name is its state, the second its last state.
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for found in &inputs.status.containers {
        let Some(slot) = statuses.get_mut(found.name.as_str()) else {
            continue;
        };
        let count = seen.entry(found.name.as_str()).or_default();
        if *count >= 2 {
            continue;
        }
        let before = old(&found.name);
        let mut status = convert(found, before, inputs.restarting_all);
        if found.state == State::Running
            && let Some(started) = before.and_then(|before| before.started)
        {
            // A restart of the kubelet changes nothing: "started" stays until a probe says otherwise.
            status.started = Some(started);
        }
        if let Some((container, _)) = find_container_spec(&pod.spec, &found.name) {
            status.resources = Some(Box::new(resources(&container, found, &status, before)));
            status.allocated_resources = container.resources.requests.clone();
        }
        status.user = found.user.as_ref().map(|(uid, gid, groups)| {
            Box::new(ContainerUser {
                linux: Some(Box::new(LinuxContainerUser {
                    uid: *uid,
                    gid: *gid,
                    supplemental_groups: groups.clone(),
                })),
            })
        });
        if *count == 0 {
            *slot = status;
        } else {
            slot.last_state = status.state;
        }
        *count += 1;
    }

    for container in containers {
        let found = inputs.status.find_container(&container.name);
        let Some(status) = statuses.get_mut(container.name.as_str()) else {
            continue;
        };
        if init {
            if found.is_some_and(|found| found.state == State::Exited && found.exit_code == 0) {
                continue;
            }
            if found.is_none()
                && has_any_regular_container_created(&pod.spec, inputs.status)
                && !is_sidecar(container)
                && status.state.waiting.is_some()
            {
                status.state = terminated(ContainerStateTerminated {
                    reason: "Completed".to_owned(),
                    message: "Unable to get init container status from container runtime and pod has been initialized, treat it as \
                              exited normally"
                        .to_owned(),
                    ..Default::default()
                });
                continue;
            }
        }
        if !should_container_be_restarted(container, pod, inputs.status) {
            continue;
        }
        let Some(reason) = (inputs.reason)(&container.name) else {
            continue;
        };
        if status.state.terminated.is_some() {
            status.last_state = std::mem::take(&mut status.state);
        }
        status.state = waiting(reason.reason, &reason.message);
    }

    let mut ordered: Vec<ContainerStatus> = containers
        .iter()
        .filter_map(|container| statuses.remove(container.name.as_str()))
        .collect();
    if !init {
        ordered.sort_by(|a, b| a.name.cmp(&b.name));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ContainerId;

    fn found(name: &str, state: State, code: i32, created: i64) -> Status {
        let at = Timestamp::from_second(created).expect("time");
        Status {
            id: ContainerId {
                runtime: "fake".into(),
                id: format!("{name}{created}"),
            },
            name: name.into(),
            state,
            created_at: at,
            started_at: Some(at),
            finished_at: (state == State::Exited).then_some(at),
            exit_code: code,
            image: "image".into(),
            image_ref: "ref".into(),
            hash: 0,
            restart_count: 0,
            reason: if code == 0 {
                "Completed".into()
            } else {
                "Error".into()
            },
            message: String::new(),
            resources: None,
            user: None,
            sandbox_id: String::new(),
        }
    }

    struct Case {
        pod: Pod,
        status: PodStatus,
        reason: Option<StartError>,
    }

    fn case(policy: &str, containers: Vec<Status>) -> Case {
        let mut pod = Pod::default();
        pod.spec.restart_policy = policy.into();
        pod.spec.containers = vec![Container {
            name: "c".into(),
            image: "image".into(),
            ..Default::default()
        }];
        let mut status = PodStatus::empty("uid", "pod", "ns", Timestamp::UNIX_EPOCH);
        status.containers = containers;
        Case {
            pod,
            status,
            reason: None,
        }
    }

    impl Case {
        fn convert(&self, previous: &[ContainerStatus]) -> ContainerStatus {
            let inputs = StatusInputs {
                status: &self.status,
                reason: &|_| self.reason.clone(),
                recursive_read_only: false,
                restarting_all: false,
            };
            container_statuses(
                &self.pod,
                &self.pod.spec.containers,
                previous,
                &inputs,
                false,
            )
            .remove(0)
        }
    }

    #[test]
    fn nothing_ran() {
        let got = case("Always", vec![]).convert(&[]);
        assert_eq!(
            got.state.waiting.expect("waiting").reason,
            "ContainerCreating"
        );
        let mut with_init = case("Always", vec![]);
        with_init.pod.spec.init_containers = vec![Container::default()];
        assert_eq!(
            with_init
                .convert(&[])
                .state
                .waiting
                .expect("waiting")
                .reason,
            "PodInitializing"
        );
    }

    #[test]
    fn crash_loop() {
        let mut case = case(
            "Always",
            vec![
                found("c", State::Exited, 1, 2),
                found("c", State::Exited, 2, 1),
            ],
        );
        let plain = case.convert(&[]);
        assert_eq!(plain.state.terminated.expect("terminated").exit_code, 1);
        assert_eq!(
            plain.last_state.terminated.expect("terminated").exit_code,
            2
        );
        case.reason = Some(StartError::new("CrashLoopBackOff", "back-off"));
        let backing_off = case.convert(&[]);
        let waiting = backing_off.state.waiting.expect("waiting");
        assert_eq!(
            (waiting.reason.as_str(), waiting.message.as_str()),
            ("CrashLoopBackOff", "back-off")
        );
        assert_eq!(
            backing_off
                .last_state
                .terminated
                .expect("terminated")
                .exit_code,
            1
        );
    }

    #[test]
    fn failed_start_of_a_container_that_may_not_restart_is_not_shown() {
        let mut case = case("Never", vec![found("c", State::Exited, 0, 1)]);
        case.reason = Some(StartError::new("ErrImagePull", "x"));
        assert!(case.convert(&[]).state.terminated.is_some());
    }

    #[test]
    fn lost_containers() {
        let running = case("Always", vec![found("c", State::Running, 0, 1)]).convert(&[]);
        let got = case("Always", vec![]).convert(&[running]);
        assert_eq!(
            got.state.waiting.expect("waiting").reason,
            "ContainerCreating"
        );
        let last = got.last_state.terminated.expect("terminated");
        assert_eq!(
            (last.reason.as_str(), last.exit_code, got.restart_count),
            ("ContainerStatusUnknown", 137, 1)
        );
    }

    #[test]
    fn last_state_survives_garbage_collection() {
        let first = case("Always", vec![found("c", State::Exited, 3, 1)]).convert(&[]);
        let mut second = found("c", State::Running, 0, 2);
        second.restart_count = 1;
        let got = case("Always", vec![second]).convert(&[first]);
        assert_eq!(got.last_state.terminated.expect("terminated").exit_code, 3);
        assert_eq!(got.restart_count, 1);
    }
}
