//! What objects count for.

use super::*;
use api_types::core::v1::{
    ContainerStatus, ModifyVolumeStatus, PodExtendedResourceClaimStatus, ResourceRequirements,
    ServicePort,
};
use api_types::meta::v1::OwnerReference;
use api_types::resource::v1::{
    DeviceClass, DeviceRequest, DeviceSubRequest, ExactDeviceRequest, ResourceClaim,
};

fn amounts(pairs: &[(&str, &str)]) -> Amounts {
    pairs
        .iter()
        .map(|(name, amount)| {
            (
                (*name).to_owned(),
                Quantity::parse(amount).expect("a quantity"),
            )
        })
        .collect()
}

fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
    let mut pod = Pod::default();
    let mut container = Container {
        name: "c".into(),
        ..Container::default()
    };
    container.resources.requests = amounts(requests);
    container.resources.limits = amounts(limits);
    pod.spec.containers.push(container);
    pod
}

#[test]
fn pods() {
    let now = Time::now();
    let running = pod(
        &[("cpu", "100m"), ("example.com/gpu", "2")],
        &[("cpu", "1"), ("example.com/gpu", "2")],
    );
    assert_eq!(
        pretty(&usage("", "pods", Counted::Pod(&running), now)),
        "count/pods=1,cpu=100m,limits.cpu=1,pods=1,requests.cpu=100m,requests.example.com/gpu=2"
    );
    let mut finished = running.clone();
    finished.status.phase = "Succeeded".into();
    assert_eq!(
        pretty(&usage("", "pods", Counted::Pod(&finished), now)),
        "count/pods=1"
    );
}

#[test]
fn services_and_claims() {
    let now = Time::now();
    let mut service = Service::default();
    service.spec.type_ = "LoadBalancer".into();
    service.spec.ports = vec![ServicePort::default(), ServicePort::default()];
    assert_eq!(
        pretty(&usage("", "services", Counted::Service(&service), now)),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"
    );
    let mut claim = PersistentVolumeClaim::default();
    claim.spec.storage_class_name = Some("gold".into());
    claim.spec.resources.requests = amounts(&[("storage", "1Gi")]);
    assert_eq!(
        pretty(&usage(
            "",
            "persistentvolumeclaims",
            Counted::PersistentVolumeClaim(&claim),
            now
        )),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi"
    );
    assert_eq!(
        pretty(&usage("apps", "deployments", Counted::Other, now)),
        "count/deployments.apps=1"
    );
    assert_eq!(
        pretty(&usage("", "secrets", Counted::Other, now)),
        "count/secrets=1,secrets=1"
    );
}

#[test]
fn scopes_of_pods() {
    let quota = |scope: &str| {
        let mut quota = ResourceQuota::default();
        quota.spec.scopes.push(scope.into());
        quota
    };
    let best_effort = pod(&[], &[]);
    let burstable = pod(&[("cpu", "1")], &[]);
    assert!(in_scope(&quota("BestEffort"), Counted::Pod(&best_effort)));
    assert!(!in_scope(&quota("BestEffort"), Counted::Pod(&burstable)));
    assert!(in_scope(&quota("NotTerminating"), Counted::Pod(&burstable)));
    assert!(!in_scope(&quota("PriorityClass"), Counted::Pod(&burstable)));
    assert!(!in_scope(&quota("BestEffort"), Counted::Other));
}

#[test]
fn what_containers_must_say() {
    let limited = BTreeSet::from(["cpu", "limits.memory", "pods"]);
    assert_eq!(
        unspecified(&pod(&[], &[]), &limited).as_deref(),
        Some("must specify cpu for: c; limits.memory for: c")
    );
    assert_eq!(
        unspecified(&pod(&[("cpu", "1")], &[("memory", "1")]), &limited),
        None
    );
}

#[test]
fn names() {
    for (name, group, resource, expected) in [
        ("requests.cpu", "", "pods", true),
        ("requests.example.com/gpu", "", "pods", true),
        ("count/pods", "", "pods", true),
        ("services", "", "pods", false),
        ("count/deployments.apps", "apps", "deployments", true),
        ("secrets", "", "secrets", true),
        (
            "gold.storageclass.storage.k8s.io/requests.storage",
            "",
            "persistentvolumeclaims",
            true,
        ),
    ] {
        assert_eq!(
            limits_resource(name, group, resource, None),
            expected,
            "{name} and {resource}"
        );
    }
}

#[test]
fn pods_that_are_resized() {
    let mut pod = pod(&[("cpu", "1")], &[]);
    let used =
        |pod: &Pod| usage("", "pods", Counted::Pod(pod), Time::now())["requests.cpu"].clone();
    let mut status = ContainerStatus {
        name: "c".into(),
        ..ContainerStatus::default()
    };
    let resources = ResourceRequirements {
        requests: amounts(&[("cpu", "3")]),
        ..ResourceRequirements::default()
    };
    status.resources = Some(Box::new(resources));
    pod.status.container_statuses.push(status);
    assert_eq!(used(&pod).to_string(), "3", "what it still has");
    pod.spec.containers[0].resources.requests = amounts(&[("cpu", "5")]);
    assert_eq!(used(&pod).to_string(), "5", "what it is to get");
}

#[test]
fn storage_is_counted_in_whole_bytes() {
    let mut claim = PersistentVolumeClaim::default();
    let used = |claim: &PersistentVolumeClaim| {
        let claim = Counted::PersistentVolumeClaim(claim);
        let usage = usage("", "persistentvolumeclaims", claim, Time::now());
        usage.get("requests.storage").map(ToString::to_string)
    };
    claim.status.allocated_resources = amounts(&[("storage", "5")]);
    assert_eq!(used(&claim), None);
    claim.spec.resources.requests = amounts(&[("storage", "10500m")]);
    assert_eq!(used(&claim).as_deref(), Some("11"));
    claim.status.allocated_resources = amounts(&[("storage", "12100m")]);
    assert_eq!(used(&claim).as_deref(), Some("13"));
    claim.spec.resources.requests = amounts(&[("storage", "1Gi")]);
    assert_eq!(used(&claim).as_deref(), Some("1Gi"));
}

#[test]
fn attributes_classes_of_claims() {
    let scope = |operator: &str| ScopedResourceSelectorRequirement {
        scope_name: "VolumeAttributesClass".into(),
        operator: operator.into(),
        values: match operator {
            "In" | "NotIn" => vec!["gold".into()],
            _ => vec![],
        },
    };
    let check = |claim: &PersistentVolumeClaim, expected: [bool; 4]| {
        let found = ["Exists", "DoesNotExist", "In", "NotIn"]
            .map(|operator| matches_scope(&scope(operator), Counted::PersistentVolumeClaim(claim)));
        assert_eq!(found, expected);
    };
    let mut claim = PersistentVolumeClaim::default();
    check(&claim, [false, true, false, true]);
    let before = claim.clone();
    claim.status.current_volume_attributes_class_name = Some("gold".into());
    check(&claim, [true, false, true, false]);
    assert!(volume_status_counts(&before, &claim));
    let before = claim.clone();
    claim.spec.volume_attributes_class_name = Some("gold".into());
    assert!(!volume_status_counts(&before, &claim));
    claim.status.modify_volume_status = Some(Box::new(ModifyVolumeStatus {
        target_volume_attributes_class_name: "silver".into(),
        ..ModifyVolumeStatus::default()
    }));
    check(&claim, [true, false, true, true]);
    let before = claim.clone();
    claim.status.allocated_resources = amounts(&[("storage", "5")]);
    assert!(volume_status_counts(&before, &claim));
}

fn exactly(class: &str, mode: &str, count: i64) -> DeviceRequest {
    DeviceRequest {
        exactly: Some(Box::new(ExactDeviceRequest {
            device_class_name: class.into(),
            allocation_mode: mode.into(),
            count,
            ..ExactDeviceRequest::default()
        })),
        ..DeviceRequest::default()
    }
}

fn one_of(requests: &[(&str, &str, i64)]) -> DeviceRequest {
    let requests = requests
        .iter()
        .map(|(class, mode, count)| DeviceSubRequest {
            device_class_name: (*class).into(),
            allocation_mode: (*mode).into(),
            count: *count,
            ..DeviceSubRequest::default()
        });
    DeviceRequest {
        first_available: requests.collect(),
        ..DeviceRequest::default()
    }
}

fn classes() -> DeviceClasses {
    let class = |name: &str, resource: Option<&str>| {
        let mut class = DeviceClass::default();
        class.metadata.name = name.into();
        class.spec.extended_resource_name = resource.map(Into::into);
        class
    };
    DeviceClasses::of(&[class("gpu", Some("example.com/gpu")), class("nic", None)])
}

#[test]
fn devices() {
    let classes = classes();
    let mut claim = ResourceClaim::default();
    claim.spec.devices.requests = vec![
        exactly("gpu", "ExactCount", 2),
        exactly("nic", "All", 0),
        exactly("gpu", "Unheard", 7),
        one_of(&[
            ("gpu", "ExactCount", 3),
            ("gpu", "ExactCount", 1),
            ("nic", "ExactCount", 4),
        ]),
    ];
    let used = |classes, pod| {
        let claim = CountedClaim {
            claim: &claim,
            classes,
            pod,
        };
        let claim = Counted::ResourceClaim(claim);
        pretty(&usage(
            "resource.k8s.io",
            "resourceclaims",
            claim,
            Time::now(),
        ))
    };
    let plain = "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=5,\
                 nic.deviceclass.resource.k8s.io/devices=36";
    assert_eq!(used(None, None), plain);
    assert_eq!(
        used(Some(&classes), None),
        format!(
            "{plain},requests.deviceclass.resource.kubernetes.io/gpu=5,requests.deviceclass.resource.kubernetes.io/nic=36,\
             requests.example.com/gpu=5"
        )
    );
    let asked = [
        ("example.com/gpu", "4"),
        ("deviceclass.resource.kubernetes.io/nic", "36"),
    ];
    let pod = pod(&asked, &asked);
    assert_eq!(
        used(Some(&classes), Some(&pod)),
        format!(
            "{plain},requests.deviceclass.resource.kubernetes.io/gpu=5,requests.example.com/gpu=1"
        )
    );
    let of_pod = usage("", "pods", Counted::Pod(&pod), Time::now());
    assert!(of_pod.contains_key("requests.deviceclass.resource.kubernetes.io/nic"));
}

#[test]
fn claims_that_the_scheduler_makes() {
    let mut pod = Pod::default();
    pod.metadata.uid = "u".into();
    let made = |name: &str, second: i64| {
        let mut claim = ResourceClaim::default();
        claim.metadata.name = name.into();
        claim.metadata.creation_timestamp = Time::from_unix(second);
        claim.metadata.annotations.insert(
            "resource.kubernetes.io/extended-resource-claim".into(),
            "true".into(),
        );
        claim.metadata.owner_references.push(OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: "p".into(),
            uid: "u".into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        claim
    };
    let (first, second, late) = (made("a", 5), made("b", 5), made("0", 6));
    let mut other = made("x", 1);
    other.metadata.owner_references[0].uid = "v".into();
    let claims = [&first, &second, &late, &other];
    assert!(is_made_for(&first, &pod, claims));
    assert!(!is_made_for(&second, &pod, claims));
    assert!(!is_made_for(&late, &pod, claims));
    assert!(!is_made_for(&other, &pod, claims));
    pod.status.extended_resource_claim_status = Some(Box::new(PodExtendedResourceClaimStatus {
        resource_claim_name: "b".into(),
        ..PodExtendedResourceClaimStatus::default()
    }));
    assert!(!is_made_for(&first, &pod, claims));
    assert!(is_made_for(&second, &pod, claims));
    let mut unmarked = second.clone();
    unmarked.metadata.annotations.clear();
    assert!(!is_made_for(&unmarked, &pod, claims));
}

#[test]
fn names_of_limits_on_devices() {
    let classes = classes();
    let limits =
        |name: &str, classes| limits_resource(name, "resource.k8s.io", "resourceclaims", classes);
    for (name, without, with) in [
        ("count/resourceclaims.resource.k8s.io", true, true),
        ("any.deviceclass.resource.k8s.io/devices", true, true),
        (
            "requests.deviceclass.resource.kubernetes.io/nic",
            false,
            true,
        ),
        (
            "requests.deviceclass.resource.kubernetes.io/any",
            false,
            false,
        ),
        ("requests.example.com/gpu", false, true),
        ("requests.example.com/any", false, false),
        ("example.com/gpu", false, false),
        ("requests.cpu", false, false),
    ] {
        assert_eq!(limits(name, None), without, "{name}");
        assert_eq!(limits(name, Some(&classes)), with, "{name}");
    }
    let of_pods = |name: &str| limits_resource(name, "", "pods", None);
    assert!(of_pods("requests.deviceclass.resource.kubernetes.io/any"));
    assert!(!of_pods("requests.other.kubernetes.io/any"));
}

#[test]
fn ignored() {
    assert!(is_ignored("", "events") && is_ignored("events.k8s.io", "events"));
    assert!(is_ignored(
        "authorization.k8s.io",
        "localsubjectaccessreviews"
    ));
    assert!(!is_ignored("", "pods") && !is_ignored("example.com", "events"));
}
