//! Behaviours of upstream's `TestComputePodActionsForPodResize`, `TestDoPodResizeAction`, `TestValidatePodResizeAction` and
//! `TestIsPodResizeInProgress`.

use api_types::core::v1::ContainerResizePolicy;
use jiff::Timestamp;

use super::*;
use crate::container::Status;
use crate::pod_resources::tests::{container, list};

const FEATURES: ResizeFeatures = ResizeFeatures {
    pod_level: true,
    init_containers: true,
};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn resources(requests: Pairs<'_>, limits: Pairs<'_>) -> ResourceRequirements {
    ResourceRequirements {
        requests: list(requests),
        limits: list(limits),
        ..Default::default()
    }
}

fn policies(cpu: &str, memory: &str) -> Vec<ContainerResizePolicy> {
    [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter(|(_, policy)| !policy.is_empty())
        .map(|(name, policy)| ContainerResizePolicy {
            resource_name: name.into(),
            restart_policy: policy.into(),
        })
        .collect()
}

fn id() -> ContainerId {
    ContainerId {
        runtime: "fake".into(),
        id: "c".into(),
    }
}

const NO: &str = "NotRequired";
const YES: &str = "RestartContainer";

/// Memory and CPU updates, and whether the container restarts.
#[track_caller]
fn check_container(
    policy: (&str, &str),
    wanted: &ResourceRequirements,
    has: Option<&ResourceRequirements>,
    want: (bool, bool, bool),
) {
    let mut pod = Pod::default();
    let mut c = container("c", &[], &[]);
    c.resources = wanted.clone();
    c.resize_policy = policies(policy.0, policy.1);
    pod.spec.containers = vec![c.clone()];
    let actuated = PodResources {
        containers: has
            .map(|has| ("c".to_owned(), has.clone()))
            .into_iter()
            .collect(),
        pod: None,
    };
    let mut actions = ResizeActions::default();
    let restart = compare_container(&pod, &c, &id(), Some(&actuated), FEATURES, &mut actions);
    assert_eq!(
        (!actions.memory.is_empty(), !actions.cpu.is_empty(), restart),
        want
    );
    assert_eq!(actions.pod, restart);
    for update in actions.memory.iter().chain(&actions.cpu) {
        assert_eq!(update.desired, Sizes::of(wanted));
        assert_eq!(update.current, has.map(Sizes::of).unwrap_or_default());
    }
}

#[test]
fn what_a_container_needs() {
    let small = resources(&[], &[("cpu", "100m"), ("memory", "100Mi")]);
    let large = resources(&[], &[("cpu", "200m"), ("memory", "200Mi")]);
    let more_cpu = resources(&[], &[("cpu", "200m"), ("memory", "100Mi")]);
    let more_memory = resources(&[], &[("cpu", "100m"), ("memory", "200Mi")]);
    check_container(("", ""), &small, Some(&small), (false, false, false));
    check_container(("", ""), &small, Some(&large), (true, true, false));
    check_container((NO, NO), &more_cpu, Some(&small), (false, true, false));
    check_container((NO, NO), &more_memory, Some(&small), (true, false, false));
    check_container((YES, NO), &small, Some(&large), (false, false, true));
    check_container((NO, YES), &small, Some(&large), (false, false, true));
    check_container((YES, NO), &more_memory, Some(&small), (true, false, false));
    check_container((NO, YES), &more_cpu, Some(&small), (false, true, false));
    let one = resources(&[("memory", "100Mi")], &[]);
    let two = resources(&[("memory", "200Mi")], &[]);
    check_container((NO, NO), &one, Some(&two), (true, false, false));
    check_container((NO, YES), &one, Some(&two), (false, false, true));
    // Nothing was noted.
    check_container((NO, NO), &small, None, (true, true, false));
    let none = resources(&[], &[]);
    check_container((YES, YES), &none, None, (false, false, false));
    // Equal numbers, other suffixes.
    let other = resources(&[], &[("cpu", "0.1"), ("memory", "104857600")]);
    check_container((YES, YES), &other, Some(&small), (false, false, false));
}

#[test]
fn what_shrinks_comes_first() {
    let mut pod = Pod::default();
    let sizes = ["100m", "300m", "150m", "400m"];
    pod.spec.containers = ["a", "b", "c", "d"]
        .iter()
        .zip(sizes)
        .map(|(name, cpu)| container(name, &[("cpu", cpu)], &[]))
        .collect();
    let actuated = PodResources {
        containers: ["a", "b", "c", "d"]
            .iter()
            .map(|name| ((*name).to_owned(), resources(&[("cpu", "200m")], &[])))
            .collect(),
        pod: None,
    };
    let mut actions = ResizeActions::default();
    for c in &pod.spec.containers {
        assert!(!compare_container(
            &pod,
            c,
            &id(),
            Some(&actuated),
            FEATURES,
            &mut actions
        ));
    }
    let names: Vec<&str> = actions.cpu.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "b", "d"]);
    assert!(actions.memory.is_empty());
}

#[test]
fn limits_of_the_pod_count_for_containers_without() {
    let mut pod = Pod::default();
    pod.spec.resources = Some(Box::new(resources(&[], &[("cpu", "600m")])));
    pod.spec.containers = vec![container("c", &[], &[])];
    let actuated = PodResources {
        containers: [("c".to_owned(), resources(&[], &[("cpu", "300m")]))].into(),
        pod: Some(resources(&[], &[("cpu", "300m")])),
    };
    let mut actions = ResizeActions::default();
    let c = &pod.spec.containers[0];
    compare_container(&pod, c, &id(), Some(&actuated), FEATURES, &mut actions);
    assert_eq!(actions.cpu[0].desired.cpu_limit, 600);
    assert_eq!(actions.cpu[0].current.cpu_limit, 300);
    assert!(pod_level_differs(&pod, Some(&actuated), FEATURES));
    let off = ResizeFeatures {
        pod_level: false,
        ..FEATURES
    };
    assert!(!pod_level_differs(&pod, Some(&actuated), off));
}

fn update(name: &str, current: Sizes, desired: Sizes) -> ContainerToUpdate {
    ContainerToUpdate {
        id: id(),
        name: name.into(),
        desired,
        current,
    }
}

fn cpu_memory(cpu: i64, memory: i64) -> Sizes {
    Sizes {
        cpu_request: cpu,
        cpu_limit: cpu,
        memory_request: memory,
        memory_limit: memory,
    }
}

fn cgroup(shares: i64, quota: Option<i64>, memory: Option<i64>) -> Limits {
    Limits {
        cpu_shares: Some(shares),
        cpu_quota: quota,
        cpu_period: quota.map(|_| 100_000),
        memory,
        ..Default::default()
    }
}

/// Steps in short.
#[track_caller]
fn check_plan(actions: &ResizeActions, current: &Limits, desired: &Limits, want: &[&str]) {
    let got: Vec<String> = plan(actions, current, desired)
        .iter()
        .map(|step| match step {
            Step::Pod(resource, limits) => {
                let of = |name: &str, value: Option<i64>| {
                    value.map_or_else(String::new, |value| format!(" {name}={value}"))
                };
                format!(
                    "pod {}{}{}{}",
                    resource.name(),
                    of("shares", limits.cpu_shares),
                    of("quota", limits.cpu_quota),
                    of("limit", limits.memory)
                )
            }
            Step::Container(resource, update, sizes) => format!(
                "{} {} cpu={} memory={}",
                update.name,
                resource.name(),
                sizes.cpu_limit,
                sizes.memory_limit
            ),
            Step::Done(resource) => format!("done {}", resource.name()),
        })
        .collect();
    assert_eq!(got, want);
}

#[test]
fn order_of_changes() {
    let both = |from: Sizes, to: Sizes| ResizeActions {
        memory: vec![update("c", from, to)],
        cpu: vec![update("c", from, to)],
        ..Default::default()
    };
    let (small, large) = (cpu_memory(100, 100), cpu_memory(200, 200));
    let (small_pod, large_pod) = (
        cgroup(102, Some(10_000), Some(100)),
        cgroup(204, Some(20_000), Some(200)),
    );
    check_plan(
        &both(small, large),
        &small_pod,
        &large_pod,
        &[
            "pod memory limit=200",
            "c memory cpu=100 memory=200",
            "pod cpu quota=20000",
            "pod cpu shares=204",
            "c cpu cpu=200 memory=200",
        ],
    );
    check_plan(
        &both(large, small),
        &large_pod,
        &small_pod,
        &[
            "c memory cpu=200 memory=100",
            "pod memory limit=100",
            "c cpu cpu=100 memory=100",
            "pod cpu shares=102",
            "pod cpu quota=10000",
        ],
    );
    // Without limits on all containers the pod has none: only shares follow.
    check_plan(
        &both(small, large),
        &cgroup(102, None, None),
        &cgroup(204, None, None),
        &[
            "c memory cpu=100 memory=200",
            "pod cpu shares=204",
            "c cpu cpu=200 memory=200",
        ],
    );
    // A first limit comes after those of the containers; one that is not wanted any more stays.
    check_plan(
        &both(small, large),
        &cgroup(204, None, None),
        &large_pod,
        &[
            "c memory cpu=100 memory=200",
            "pod memory limit=200",
            "c cpu cpu=200 memory=200",
            "pod cpu quota=20000",
        ],
    );
    check_plan(
        &both(small, large),
        &large_pod,
        &cgroup(204, None, None),
        &["c memory cpu=100 memory=200", "c cpu cpu=200 memory=200"],
    );
    // Containers that restart: the pod's cgroup alone.
    let restart = ResizeActions {
        pod: true,
        ..Default::default()
    };
    check_plan(
        &restart,
        &small_pod,
        &large_pod,
        &[
            "pod memory limit=200",
            "pod cpu quota=20000",
            "pod cpu shares=204",
        ],
    );
    let whole = ResizeActions {
        pod_level: true,
        ..Default::default()
    };
    check_plan(
        &whole,
        &small_pod,
        &cgroup(204, Some(10_000), Some(100)),
        &["done memory", "pod cpu shares=204", "done cpu"],
    );
    check_plan(&ResizeActions::default(), &small_pod, &large_pod, &[]);
}

#[track_caller]
fn check_memory_limits(
    container: (i64, i64),
    pod: (Option<i64>, Option<i64>),
    usage: (Option<u64>, Option<u64>),
    want: Option<&str>,
) {
    let size = |memory_limit| Sizes {
        memory_limit,
        ..Default::default()
    };
    let actions = ResizeActions {
        memory: vec![update("c", size(container.0), size(container.1))],
        ..Default::default()
    };
    let limits = |memory| Limits {
        memory,
        ..Default::default()
    };
    let usage = MemoryInUse {
        pod: usage.1,
        container: &|_| usage.0,
    };
    let got = check_memory(&actions, &limits(pod.0), &limits(pod.1), &usage).err();
    assert_eq!(got.as_deref(), want);
}

#[test]
fn memory_limits_below_usage() {
    let container_text = Some(
        "cannot decrease memory limits: attempting to set container \"c\" memory limit (100) below current usage (150)",
    );
    let nothing = (None, None);
    let unknown = (None, None);
    check_memory_limits((0, 0), nothing, unknown, None);
    check_memory_limits((0, 100), nothing, (Some(10), Some(10)), None);
    check_memory_limits((0, 100), nothing, (Some(150), Some(150)), container_text);
    check_memory_limits((200, 100), nothing, (Some(20), None), None);
    check_memory_limits((200, 100), nothing, (Some(150), None), container_text);
    check_memory_limits((100, 200), nothing, unknown, None);
    check_memory_limits(
        (200, 100),
        nothing,
        unknown,
        Some("cannot decrease memory limits: missing container \"c\" memory usage"),
    );
    check_memory_limits((1, 1), (None, Some(100)), (None, Some(20)), None);
    check_memory_limits((1, 1), (Some(100), Some(200)), unknown, None);
    check_memory_limits((1, 1), (Some(200), Some(100)), (None, Some(20)), None);
    check_memory_limits(
        (1, 1),
        (Some(200), Some(100)),
        (None, Some(150)),
        Some(
            "cannot decrease memory limits: attempting to set pod memory limit (100) below current usage (150)",
        ),
    );
    check_memory_limits(
        (200, 100),
        (Some(200), Some(100)),
        unknown,
        Some(
            "cannot decrease memory limits: [missing pod memory usage, missing container \"c\" memory usage]",
        ),
    );
}

fn runs(name: &str, state: State) -> Status {
    Status {
        id: id(),
        name: name.into(),
        state,
        created_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        finished_at: None,
        exit_code: 0,
        image: String::new(),
        image_ref: String::new(),
        hash: 0,
        restart_count: 0,
        reason: String::new(),
        message: String::new(),
        resources: None,
        user: None,
        sandbox_id: String::new(),
    }
}

#[test]
fn whether_a_resize_is_in_progress() {
    let full: Pairs<'_> = &[("cpu", "100m"), ("memory", "100Mi")];
    let mut pod = Pod::default();
    pod.spec.containers = vec![container("c", full, full), container("d", &[], &[])];
    let mut sidecar = container("s", full, &[]);
    sidecar.restart_policy = Some("Always".into());
    pod.spec.init_containers = vec![container("i", full, full), sidecar];
    let mut status = PodStatus::empty("u", "p", "n", Timestamp::UNIX_EPOCH);
    status.containers = ["c", "d", "i", "s"]
        .map(|name| runs(name, State::Running))
        .into();
    let mut actuated = PodResources::default();
    for c in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        actuated
            .containers
            .insert(c.name.clone(), c.resources.clone());
    }
    let check = |pod: &Pod, status: &PodStatus, actuated: &PodResources| {
        is_resize_in_progress(pod, status, Some(actuated), FEATURES)
    };
    assert!(!check(&pod, &status, &actuated));

    let less = |name: &str| {
        let mut actuated = actuated.clone();
        actuated.containers.remove(name);
        actuated
    };
    assert!(check(&pod, &status, &less("c")));
    assert!(check(&pod, &status, &less("s")));
    // It asks for nothing; it is over soon.
    assert!(!check(&pod, &status, &less("d")));
    assert!(!check(&pod, &status, &less("i")));
    // What does not run gets its resources when it starts.
    let mut ended = status.clone();
    ended.containers = vec![runs("c", State::Exited)];
    assert!(!check(&pod, &ended, &less("c")));

    let mut whole = pod.clone();
    whole.spec.resources = Some(Box::new(resources(&[("cpu", "1")], &[])));
    assert!(!check(&whole, &status, &actuated));
    actuated.pod = Some(resources(&[("cpu", "2")], &[]));
    assert!(check(&whole, &status, &actuated));
}

#[test]
fn reports_are_filled_up() {
    let told = resources(&[("memory", "100")], &[("memory", "200")]);
    let reported = ActualResources {
        memory_limit: Some(300),
        ..Default::default()
    };
    let got = reported_resources(Some(reported.clone()), Some(&told)).expect("resources");
    assert_eq!(
        (got.memory_request, got.memory_limit),
        (Some(100), Some(300))
    );
    let got = reported_resources(None, Some(&told)).expect("resources");
    assert_eq!(
        (got.cpu_limit, got.memory_request, got.memory_limit),
        (None, Some(100), Some(200))
    );
    assert_eq!(
        reported_resources(Some(reported.clone()), None),
        Some(reported)
    );
}
