use api_types::core::v1::{
    Container, ContainerPort, Pod, PodTemplateSpec, Probe, Service, ServicePort, Volume,
};
use api_types::{IntOrString, Quantity, Struct};

use super::set_defaults;

/// The object that JSON describes, with defaults, as JSON.
#[track_caller]
fn check<T: api_types::value::Described>(given: &str, expected: &str) {
    let mut object: T =
        api_types::decode_json(given.as_bytes()).expect("the given JSON is of the type");
    set_defaults(&mut object);
    let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
    assert_eq!(
        value(&api_types::encode_json(&object)),
        value(expected.as_bytes())
    );
    let once = api_types::encode_json(&object);
    set_defaults(&mut object);
    assert_eq!(api_types::encode_json(&object), once, "twice is once");
}

#[test]
fn a_pod() {
    let mut pod = Pod::default();
    let mut container = Container {
        name: "c".into(),
        image: "nginx".into(),
        liveness_probe: Some(Box::<Probe>::default()),
        ..Container::default()
    };
    container.ports.push(ContainerPort {
        container_port: 80,
        ..ContainerPort::default()
    });
    container.resources.limits.insert(
        "cpu".into(),
        Quantity::parse("100500u").expect("a quantity"),
    );
    pod.spec.containers.push(container);
    pod.spec.volumes.push(Volume {
        name: "v".into(),
        ..Volume::default()
    });
    pod.spec.host_network = true;
    set_defaults(&mut pod);
    let container = &pod.spec.containers[0];
    assert_eq!(container.image_pull_policy, "Always");
    assert_eq!(container.termination_message_path, "/dev/termination-log");
    assert_eq!(
        (
            container.ports[0].protocol.as_str(),
            container.ports[0].host_port
        ),
        ("TCP", 80)
    );
    assert_eq!(
        container
            .liveness_probe
            .as_ref()
            .map(|probe| probe.period_seconds),
        Some(10)
    );
    assert_eq!(
        container.resources.requests["cpu"].to_string(),
        "101m",
        "limits become requests, rounded up"
    );
    assert!(pod.spec.volumes[0].volume_source.empty_dir.is_some());
    assert_eq!(pod.spec.restart_policy, "Always");
    assert_eq!(pod.spec.enable_service_links, Some(true));
    assert_eq!(pod.spec.termination_grace_period_seconds, Some(30));
}

#[test]
fn a_template_keeps_what_belongs_to_pods() {
    let mut template = PodTemplateSpec::default();
    let mut container = Container::default();
    container
        .resources
        .limits
        .insert("cpu".into(), Quantity::parse("1").expect("a quantity"));
    template.spec.containers.push(container);
    set_defaults(&mut template);
    assert!(template.spec.containers[0].resources.requests.is_empty());
    assert_eq!(template.spec.enable_service_links, None);
    assert_eq!(template.spec.dns_policy, "ClusterFirst");
}

#[test]
fn a_service() {
    let mut service = Service::default();
    service.spec.ports.push(ServicePort {
        port: 80,
        ..ServicePort::default()
    });
    set_defaults(&mut service);
    assert_eq!(service.spec.type_, "ClusterIP");
    assert_eq!(service.spec.ports[0].target_port, IntOrString::Int(80));
    assert_eq!(
        service.spec.internal_traffic_policy.as_deref(),
        Some("Cluster")
    );
    assert_eq!(service.spec.external_traffic_policy, "");
    service.spec.type_ = "LoadBalancer".into();
    service.spec.session_affinity = "ClientIP".into();
    set_defaults(&mut service);
    assert_eq!(service.spec.external_traffic_policy, "Cluster");
    assert_eq!(service.spec.allocate_load_balancer_node_ports, Some(true));
    let timeout = service
        .spec
        .session_affinity_config
        .and_then(|config| config.client_ip)
        .and_then(|config| config.timeout_seconds);
    assert_eq!(timeout, Some(10800));
}

#[test]
fn other_kinds() {
    check::<api_types::scheduling::v1::PriorityClass>(
        r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":1}"#,
        r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":1,"preemptionPolicy":"PreemptLowerPriority"}"#,
    );
    check::<api_types::rbac::v1::ClusterRoleBinding>(
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"a"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}],"roleRef":{"kind":"ClusterRole","name":"r","apiGroup":""}}"#,
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"a"},"subjects":[{"kind":"User","name":"u","apiGroup":"rbac.authorization.k8s.io"},{"kind":"ServiceAccount","name":"s","namespace":"n"}],"roleRef":{"kind":"ClusterRole","name":"r","apiGroup":"rbac.authorization.k8s.io"}}"#,
    );
    let mut deployment = api_types::apps::v1::Deployment::default();
    set_defaults(&mut deployment as &mut dyn Struct);
    assert_eq!(deployment.spec.replicas, Some(1));
    assert_eq!(deployment.spec.progress_deadline_seconds, Some(600));
    assert_eq!(
        deployment.spec.template.spec.scheduler_name,
        "default-scheduler"
    );
}
