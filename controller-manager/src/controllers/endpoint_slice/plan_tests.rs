use super::*;

const MANAGER: &str = "endpointslice-controller.k8s.io";

fn service() -> Service {
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = "web".into();
    service.metadata.uid = "u".into();
    service.spec.cluster_ip = "10.0.0.1".into();
    service.spec.ip_families = vec!["IPv4".into()];
    service.spec.ports = vec![api_types::core::v1::ServicePort {
        name: "http".into(),
        protocol: "TCP".into(),
        port: 80,
        target_port: 8080.into(),
        ..Default::default()
    }];
    service
}

fn pod(number: usize) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.namespace = "ns".into();
    pod.metadata.name = format!("pod-{number:04}");
    pod.metadata.uid = format!("uid-{number}");
    pod.spec.node_name = "node".into();
    pod.status.phase = "Running".into();
    pod.status.pod_ip = format!("10.1.{}.{}", number / 250, number % 250 + 1);
    pod.status.pod_ips = vec![api_types::core::v1::PodIP {
        ip: pod.status.pod_ip.clone(),
    }];
    pod.status.conditions = vec![api_types::core::v1::PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        ..Default::default()
    }];
    Arc::new(pod)
}

fn node(name: &str) -> Option<Arc<Node>> {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.metadata.labels.insert(ZONE.into(), "zone-a".into());
    (name == "node").then(|| Arc::new(node))
}

fn planned(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    plan(
        service,
        existing,
        desired(service, pods, "IPv4", node),
        "IPv4",
        100,
        MANAGER,
    )
}

/// What the server holds after the plan was carried out.
fn carried_out(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
    let mut slices: Vec<Arc<EndpointSlice>> = plan.unchanged.clone();
    slices.extend(plan.update.iter().cloned().map(Arc::new));
    for (index, slice) in plan.create.iter().enumerate() {
        let mut slice = slice.clone();
        slice.metadata.name = format!("web-{index}-{}", slices.len());
        slices.push(Arc::new(slice));
    }
    slices
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    let mut sizes: Vec<usize> = slices.iter().map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn no_pods_make_a_placeholder_once() {
    let service = service();
    let first = planned(&service, &[], &[]);
    assert_eq!(
        (first.create.len(), first.create[0].endpoints.len()),
        (1, 0)
    );
    assert_eq!(first.create[0].metadata.generate_name, "web-");
    let present = carried_out(&first);
    let second = planned(&service, &[], &present);
    assert_eq!(
        (
            second.create.len(),
            second.update.len(),
            second.delete.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn the_placeholder_is_reused_for_the_first_pod() {
    let service = service();
    let present = carried_out(&planned(&service, &[], &[]));
    let mut plan = planned(&service, &[pod(1)], &present);
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 1));
    plan.reuse_deleted(|gone, new| {
        gone.address_type == new.address_type && is_owned(gone, &service)
    });
    assert_eq!(
        (plan.create.len(), plan.update.len(), plan.delete.len()),
        (0, 1, 0)
    );
    assert_eq!(plan.update[0].metadata.name, present[0].metadata.name);
    assert_eq!(plan.update[0].ports.len(), 1);
}

#[test]
fn endpoints_carry_what_upstream_writes() {
    let mut service = service();
    service.metadata.labels.insert("app".into(), "web".into());
    service
        .metadata
        .labels
        .insert(MANAGED_BY.into(), "me".into());
    let plan = planned(&service, &[pod(1)], &[]);
    let slice = &plan.create[0];
    let labels: Vec<(&str, &str)> = slice
        .metadata
        .labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        labels,
        [("app", "web"), (MANAGED_BY, MANAGER), (SERVICE_NAME, "web")]
    );
    let owner = &slice.metadata.owner_references[0];
    assert_eq!(
        (
            owner.kind.as_str(),
            owner.controller,
            owner.block_owner_deletion
        ),
        ("Service", Some(true), Some(true))
    );
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.addresses, ["10.1.0.2"]);
    assert_eq!(endpoint.zone.as_deref(), Some("zone-a"));
    assert_eq!(endpoint.node_name.as_deref(), Some("node"));
    assert_eq!(endpoint.conditions.ready, Some(true));
    service.spec.cluster_ip = "None".into();
    let plan = planned(&service, &[], &[]);
    assert_eq!(plan.create[0].metadata.labels[HEADLESS], "");
}

#[test]
fn readiness() {
    #[track_caller]
    fn check(change: fn(&mut Pod), publish: bool, expected: (bool, bool, bool)) {
        let mut service = service();
        service.spec.publish_not_ready_addresses = publish;
        let mut pod = (*pod(1)).clone();
        change(&mut pod);
        let conditions = endpoint(&pod, None, &service, "IPv4").conditions;
        assert_eq!(
            (conditions.ready, conditions.serving, conditions.terminating),
            (Some(expected.0), Some(expected.1), Some(expected.2))
        );
    }
    check(|_| {}, false, (true, true, false));
    check(
        |pod| pod.status.conditions.clear(),
        false,
        (false, false, false),
    );
    check(
        |pod| pod.status.conditions.clear(),
        true,
        (true, false, false),
    );
    let terminate = |pod: &mut Pod| pod.metadata.deletion_timestamp = Some(Time::from_unix(1));
    check(terminate, false, (false, true, true));
    check(terminate, true, (true, true, true));
}

#[test]
fn slices_hold_at_most_so_many_and_few_change() {
    let service = service();
    let pods: Vec<_> = (0..250).map(pod).collect();
    let first = planned(&service, &pods, &[]);
    assert_eq!(sizes(&first.create), [50, 100, 100]);
    assert_eq!(first.added, 250);
    let present = carried_out(&first);

    let same = planned(&service, &pods, &present);
    assert_eq!(
        (
            same.create.len(),
            same.update.len(),
            same.delete.len(),
            same.unchanged.len()
        ),
        (0, 0, 0, 3)
    );

    // New pods go into the slice with room.
    let more: Vec<_> = (0..280).map(pod).collect();
    let plan = planned(&service, &more, &present);
    assert_eq!((plan.create.len(), sizes(&plan.update)), (0, vec![80]));

    // A slice that loses endpoints changes anyway, and takes the new ones.
    let swapped: Vec<_> = (10..260).map(pod).collect();
    let plan = planned(&service, &swapped, &present);
    assert_eq!(
        (
            plan.create.len(),
            plan.delete.len(),
            plan.added,
            plan.removed
        ),
        (0, 0, 10, 10)
    );
    let unchanged: usize = plan
        .unchanged
        .iter()
        .map(|slice| slice.endpoints.len())
        .sum();
    assert_eq!(sizes(&plan.update).iter().sum::<usize>() + unchanged, 250);

    // Nothing is left of a slice: it goes.
    let kept: Vec<&str> = present[0]
        .endpoints
        .iter()
        .filter_map(|e| Some(e.target_ref.as_ref()?.name.as_str()))
        .collect();
    let fewer: Vec<_> = pods
        .iter()
        .filter(|pod| kept.contains(&pod.metadata.name.as_str()))
        .cloned()
        .collect();
    let plan = planned(&service, &fewer, &present);
    assert_eq!(
        (plan.update.len(), plan.delete.len(), plan.removed),
        (0, 2, 250 - fewer.len())
    );
}

#[test]
fn changes_of_the_service_reach_its_slices() {
    let mut service = service();
    let pods = [pod(1)];
    let present = carried_out(&planned(&service, &pods, &[]));
    service.metadata.labels.insert("new".into(), "label".into());
    let plan = planned(&service, &pods, &present);
    assert_eq!(plan.update.len(), 1);
    assert_eq!(plan.update[0].metadata.labels["new"], "label");
    // Other ports are another group of slices.
    service.spec.ports[0].target_port = 9090.into();
    let plan = planned(&service, &pods, &present);
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 1));
    // Slices of an earlier Service of the same name are not ours to change.
    service.metadata.uid = "other".into();
    let plan = planned(&service, &pods, &present);
    assert_eq!(
        (plan.create.len(), plan.update.len(), plan.delete.len()),
        (1, 0, 1)
    );
}

#[test]
fn pods_of_missing_nodes_are_left_out_and_reported() {
    let mut service = service();
    let mut lost = (*pod(1)).clone();
    lost.spec.node_name = "gone".into();
    let pods = [Arc::new(lost), pod(2)];
    let found = desired(&service, &pods, "IPv4", node);
    assert_eq!(
        found.errors,
        ["skipping Pod pod-0001 for Service ns/web: Node gone Not Found"]
    );
    assert_eq!(found.groups.values().next().unwrap().1.len(), 1);
    service.spec.publish_not_ready_addresses = true;
    let found = desired(&service, &pods, "IPv4", node);
    assert!(found.errors.is_empty());
    assert_eq!(found.groups.values().next().unwrap().1.len(), 2);
}

#[test]
fn families() {
    #[track_caller]
    fn check(families: &[&str], ip: &str, expected: &[&str]) {
        let mut service = service();
        service.spec.ip_families = families.iter().map(|f| (*f).to_owned()).collect();
        service.spec.cluster_ip = ip.into();
        assert_eq!(
            address_types(&service).into_iter().collect::<Vec<_>>(),
            expected
        );
    }
    check(&["IPv6", "IPv4"], "fd00::1", &["IPv4", "IPv6"]);
    check(&["IPv6"], "fd00::1", &["IPv6"]);
    check(&[], "10.0.0.1", &["IPv4"]);
    check(&[], "fd00::1", &["IPv6"]);
    check(&[], "None", &["IPv4", "IPv6"]);
}

#[test]
fn the_fullest_slice_with_room_is_filled() {
    #[track_caller]
    fn check(present: &[usize], more: usize, max: usize, expected: Option<usize>) {
        let slices: Vec<_> = present
            .iter()
            .map(|count| {
                Arc::new(EndpointSlice {
                    endpoints: vec![Endpoint::default(); *count],
                    ..Default::default()
                })
            })
            .collect();
        assert_eq!(slice_to_fill(&slices, more, max), expected);
    }
    check(&[2, 5], 5, 10, Some(1));
    check(&[7, 5, 3], 5, 10, Some(1));
    check(&[7, 8], 5, 10, None);
    check(&[1, 2, 3], 2, 10, Some(2));
}
