use api_types::core::v1::{Container, ContainerStatus, Pod, PodCondition, ResourceRequirements};
use api_types::{Format, Quantity};

use super::*;

/// `"cpu=1,memory=2"` as a list of whole amounts.
fn list(text: &str) -> ResourceList {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, amount) = part.split_once('=').expect("name=amount");
            (
                name.to_owned(),
                Quantity::from_value(amount.parse().expect("whole amount"), Format::DecimalSI),
            )
        })
        .collect()
}

fn container(requests: &str, limits: &str) -> Container {
    Container {
        name: "c".to_owned(),
        resources: ResourceRequirements {
            requests: list(requests),
            limits: list(limits),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn sidecar(requests: &str, limits: &str) -> Container {
    Container {
        restart_policy: Some("Always".to_owned()),
        ..container(requests, limits)
    }
}

fn pod(containers: Vec<Container>, init_containers: Vec<Container>) -> Pod {
    let mut pod = Pod::default();
    pod.spec.containers = containers;
    pod.spec.init_containers = init_containers;
    pod
}

fn text(list: &ResourceList) -> String {
    let parts: Vec<String> = list
        .iter()
        .map(|(name, amount)| format!("{name}={}", amount.value()))
        .collect();
    parts.join(",")
}

#[track_caller]
fn check_requests(pod: &Pod, options: &PodResourcesOptions<'_>, want: &str) {
    assert_eq!(text(&pod_requests(pod, options)), want);
}

#[test]
fn init_containers_and_sidecars() {
    let none = PodResourcesOptions::default();
    check_requests(
        &pod(vec![container("cpu=9", ""), container("cpu=1", "")], vec![]),
        &none,
        "cpu=10",
    );
    // The largest init container counts if it is more than all containers together.
    check_requests(
        &pod(
            vec![container("cpu=1,memory=5", "")],
            vec![container("cpu=4", "")],
        ),
        &none,
        "cpu=4,memory=5",
    );
    // A sidecar adds to the containers, and to the init containers after it.
    check_requests(
        &pod(vec![container("cpu=1", "")], vec![sidecar("cpu=2", "")]),
        &none,
        "cpu=3",
    );
    check_requests(
        &pod(
            vec![container("cpu=1", "")],
            vec![sidecar("cpu=2", ""), container("cpu=5", "")],
        ),
        &none,
        "cpu=7",
    );
    check_requests(
        &pod(
            vec![container("cpu=1", "")],
            vec![container("cpu=5", ""), sidecar("cpu=2", "")],
        ),
        &none,
        "cpu=5",
    );
    check_requests(
        &pod(
            vec![container("cpu=1", "")],
            vec![
                container("cpu=2", ""),
                sidecar("cpu=1", ""),
                container("cpu=2", ""),
                sidecar("cpu=2", ""),
                container("cpu=1", ""),
            ],
        ),
        &none,
        "cpu=4",
    );
}

#[test]
fn overhead_and_defaults() {
    let mut pod = pod(vec![container("cpu=1", "cpu=2"), container("", "")], vec![]);
    pod.spec.overhead = list("cpu=5,memory=3");
    check_requests(&pod, &PodResourcesOptions::default(), "cpu=6,memory=3");
    check_requests(
        &pod,
        &PodResourcesOptions {
            exclude_overhead: true,
            ..Default::default()
        },
        "cpu=1",
    );
    let defaults = list("cpu=7,memory=100");
    let options = PodResourcesOptions {
        non_missing_container_requests: Some(&defaults),
        ..Default::default()
    };
    check_requests(&pod, &options, "cpu=13,memory=203");
    // Overhead is added to limits that exist only.
    assert_eq!(
        text(&pod_limits(&pod, &PodResourcesOptions::default())),
        "cpu=7"
    );
}

#[test]
fn pod_level_resources_replace_containers() {
    let mut pod = pod(
        vec![container("cpu=1,memory=1,example.com/gpu=2", "cpu=2")],
        vec![],
    );
    pod.spec.resources = Some(Box::new(ResourceRequirements {
        requests: list("cpu=10,ephemeral-storage=5,hugepages-2Mi=4"),
        limits: list("memory=9"),
        ..Default::default()
    }));
    let none = PodResourcesOptions::default();
    check_requests(
        &pod,
        &none,
        "cpu=10,example.com/gpu=2,hugepages-2Mi=4,memory=1",
    );
    assert_eq!(text(&pod_limits(&pod, &none)), "cpu=2,memory=9");
    let skip = PodResourcesOptions {
        skip_pod_level_resources: true,
        ..Default::default()
    };
    check_requests(&pod, &skip, "cpu=1,example.com/gpu=2,memory=1");
    assert!(
        is_pod_level_resources_set(&pod)
            && is_pod_level_requests_set(&pod)
            && is_pod_level_limits_set(&pod)
    );
}

#[test]
fn resizes_count_the_most() {
    let mut pod = pod(vec![container("cpu=2,memory=1", "cpu=4")], vec![]);
    pod.status.container_statuses = vec![ContainerStatus {
        name: "c".to_owned(),
        allocated_resources: list("cpu=3"),
        resources: Some(Box::new(ResourceRequirements {
            requests: list("cpu=1,memory=6"),
            limits: list("cpu=5"),
            ..Default::default()
        })),
        ..Default::default()
    }];
    check_requests(&pod, &PodResourcesOptions::default(), "cpu=2,memory=1");
    let status = PodResourcesOptions {
        use_status_resources: true,
        ..Default::default()
    };
    check_requests(&pod, &status, "cpu=3,memory=6");
    assert_eq!(text(&pod_limits(&pod, &status)), "cpu=5");
    pod.spec.containers[0].resources.requests = list("cpu=8");
    check_requests(&pod, &status, "cpu=8,memory=6");
    pod.status.conditions = vec![PodCondition {
        type_: "PodResizePending".to_owned(),
        reason: "Infeasible".to_owned(),
        ..Default::default()
    }];
    check_requests(&pod, &status, "cpu=3,memory=6");
    assert!(is_pod_resize_infeasible(&pod) && !is_pod_resize_deferred(&pod));
}

#[test]
fn containers_are_visited() {
    let pod = pod(
        vec![container("cpu=1", "")],
        vec![sidecar("cpu=2", ""), container("cpu=5", "")],
    );
    let mut seen = Vec::new();
    pod_requests_with(&pod, &PodResourcesOptions::default(), &mut |list, kind| {
        seen.push((text(list), kind))
    });
    let want = [
        ("cpu=1".to_owned(), ContainerType::Containers),
        ("cpu=2".to_owned(), ContainerType::InitContainers),
        ("cpu=7".to_owned(), ContainerType::InitContainers),
    ];
    assert_eq!(seen, want);
}

#[test]
fn qos_classes() {
    let check = |containers: Vec<Container>, init: Vec<Container>, want: &str| {
        assert_eq!(compute_pod_qos(&pod(containers, init)), want);
    };
    let both = "cpu=1,memory=1";
    check(vec![container(both, both)], vec![], "Guaranteed");
    check(vec![container("", both)], vec![], "Burstable");
    check(
        vec![container(both, both), container("", "")],
        vec![],
        "Burstable",
    );
    check(
        vec![container(both, both), container(both, both)],
        vec![],
        "Guaranteed",
    );
    check(vec![container("", "")], vec![], "BestEffort");
    check(vec![container("cpu=0", "memory=0")], vec![], "BestEffort");
    check(
        vec![container("example.com/gpu=1", "example.com/gpu=1")],
        vec![],
        "BestEffort",
    );
    check(vec![container("cpu=1", "cpu=1")], vec![], "Burstable");
    check(vec![container(both, "cpu=2,memory=1")], vec![], "Burstable");
    check(
        vec![container(both, both)],
        vec![container("", "")],
        "Burstable",
    );
    check(
        vec![container(both, both)],
        vec![container(both, both)],
        "Guaranteed",
    );
    check(
        vec![container("ephemeral-storage=1,cpu=1,memory=1", both)],
        vec![],
        "Guaranteed",
    );

    let mut whole = pod(vec![container("", "")], vec![]);
    whole.spec.resources = Some(Box::new(ResourceRequirements {
        requests: list(both),
        limits: list(both),
        ..Default::default()
    }));
    assert_eq!(compute_pod_qos(&whole), "Guaranteed");
    whole.status.qos_class = "Burstable".to_owned();
    assert_eq!(pod_qos(&whole), "Burstable");
}

#[test]
fn names_of_resources() {
    assert!(is_extended_resource_name("example.com/gpu"));
    for name in [
        "cpu",
        "kubernetes.io/x",
        "requests.example.com/gpu",
        "example.com/",
        "example.com/b@d",
        "a.kubernetes.io/x",
    ] {
        assert!(!is_extended_resource_name(name), "{name}");
    }
    assert!(is_huge_page_resource_name("hugepages-2Mi") && !is_overcommit_allowed("hugepages-2Mi"));
    assert!(is_overcommit_allowed("cpu") && !is_overcommit_allowed("example.com/gpu"));
    assert!(is_attachable_volume_resource_name(
        "attachable-volumes-csi-x"
    ));
    assert_eq!(
        huge_page_size("hugepages-2Mi").map(|size| size.value()),
        Some(2 << 20)
    );
    assert!(huge_page_size("cpu").is_none());
}
