use std::sync::Arc;

use api_types::core::v1::{
    ConfigMapVolumeSource, Container, EnvFromSource, LocalObjectReference, ObjectReference,
    PersistentVolume, PersistentVolumeClaimVolumeSource, Pod, SecretEnvSource, SecretVolumeSource,
    Volume,
};

use super::*;

fn volume(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        ..Volume::default()
    }
}

fn authorizer() -> NodeAuthorizer {
    let graph = Arc::new(Graph::default());
    let mut pod = Pod::default();
    pod.metadata.namespace = "ns".into();
    pod.metadata.name = "pod".into();
    pod.spec.node_name = "node0".into();
    pod.spec.service_account_name = "account".into();
    let mut secret = volume("secret");
    secret.volume_source.secret = Some(Box::new(SecretVolumeSource {
        secret_name: "secret".into(),
        ..SecretVolumeSource::default()
    }));
    let mut config_map = volume("config-map");
    config_map.volume_source.config_map = Some(Box::new(ConfigMapVolumeSource {
        local_object_reference: LocalObjectReference {
            name: "config".into(),
        },
        ..ConfigMapVolumeSource::default()
    }));
    let mut claim = volume("claim");
    claim.volume_source.persistent_volume_claim =
        Some(Box::new(PersistentVolumeClaimVolumeSource {
            claim_name: "claim".into(),
            ..PersistentVolumeClaimVolumeSource::default()
        }));
    pod.spec.volumes = vec![secret, config_map, claim];
    let from = EnvFromSource {
        secret_ref: Some(Box::new(SecretEnvSource {
            local_object_reference: LocalObjectReference {
                name: "init-secret".into(),
            },
            ..SecretEnvSource::default()
        })),
        ..EnvFromSource::default()
    };
    pod.spec.init_containers = vec![Container {
        env_from: vec![from],
        ..Container::default()
    }];
    graph.set_pod(&pod, None);

    let mut mirror = pod.clone();
    mirror.metadata.name = "mirror".into();
    mirror
        .metadata
        .annotations
        .insert("kubernetes.io/config.mirror".into(), "hash".into());
    mirror.spec.node_name = "node1".into();
    graph.set_pod(&mirror, None);

    let mut persistent = PersistentVolume::default();
    persistent.metadata.name = "volume".into();
    persistent.spec.claim_ref = Some(Box::new(ObjectReference {
        namespace: "ns".into(),
        name: "claim".into(),
        ..ObjectReference::default()
    }));
    graph.set_persistent_volume(&persistent);
    graph.set_owned(Kind::VolumeAttachment, "", "attachment", "node0");
    NodeAuthorizer::new(graph)
}

/// `request` is `verb resource[.group][/subresource] [namespace/]name [field selector]`, with `-` for no name.
#[track_caller]
fn check(authorizer: &NodeAuthorizer, node: &str, request: &str, allowed: bool) {
    let words: Vec<&str> = request.split(' ').collect();
    let (resource, subresource) = words[1].split_once('/').unwrap_or((words[1], ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (namespace, name) = words[2].split_once('/').unwrap_or(("", words[2]));
    let attributes = Attributes {
        user: UserInfo {
            name: format!("system:node:{node}"),
            groups: vec![NODES_GROUP.into()],
            ..UserInfo::default()
        },
        verb: words[0].into(),
        resource: resource.into(),
        subresource: subresource.into(),
        api_group: group.into(),
        namespace: namespace.into(),
        name: name.trim_start_matches('-').into(),
        resource_request: true,
        ..Attributes::default()
    }
    .with_selectors(words.get(3).unwrap_or(&""), "");
    assert_eq!(
        authorizer.decide(&attributes).is_allowed(),
        allowed,
        "{node}: {request}: {:?}",
        authorizer.decide(&attributes)
    );
}

#[test]
fn a_node_reaches_what_its_pods_name() {
    let authorizer = authorizer();
    let a = &authorizer;
    for object in [
        "secrets ns/secret",
        "secrets ns/init-secret",
        "configmaps ns/config",
    ] {
        for verb in ["get", "list", "watch"] {
            check(a, "node0", &format!("{verb} {object}"), true);
            check(a, "node1", &format!("{verb} {object}"), false);
        }
        check(a, "node0", &format!("update {object}"), false);
    }
    check(a, "node0", "get secrets ns/other", false);
    check(a, "node0", "list secrets ns/-", false);
    check(a, "node0", "get persistentvolumeclaims ns/claim", true);
    check(a, "node0", "list persistentvolumeclaims ns/claim", false);
    check(
        a,
        "node0",
        "patch persistentvolumeclaims/status ns/claim",
        true,
    );
    check(a, "node0", "get persistentvolumes volume", true);
    check(a, "node1", "get persistentvolumes volume", false);
    check(
        a,
        "node0",
        "get volumeattachments.storage.k8s.io attachment",
        true,
    );
    check(
        a,
        "node1",
        "get volumeattachments.storage.k8s.io attachment",
        false,
    );
    check(a, "node0", "create serviceaccounts/token ns/account", true);
    check(a, "node1", "create serviceaccounts/token ns/account", false);
    check(a, "node0", "get serviceaccounts ns/account", true);
}

#[test]
fn a_node_keeps_to_its_own() {
    let authorizer = authorizer();
    let a = &authorizer;
    check(a, "node0", "get nodes node0", true);
    check(a, "node0", "get nodes node1", false);
    check(a, "node0", "list nodes -", false);
    check(a, "node0", "delete nodes node0", false);
    check(a, "node0", "patch nodes/status node0", true);
    check(a, "node0", "get pods ns/pod", true);
    check(a, "node1", "get pods ns/pod", false);
    check(a, "node1", "get pods ns/mirror", true);
    check(a, "node0", "list pods - spec.nodeName=node0", true);
    check(a, "node0", "list pods - spec.nodeName==node0", true);
    check(a, "node0", "list pods - spec.nodeName=node1", false);
    check(a, "node0", "list pods - spec.nodeName!=node0", false);
    check(a, "node0", "create pods/eviction ns/pod", true);
    check(
        a,
        "node0",
        "get leases.coordination.k8s.io kube-node-lease/node0",
        true,
    );
    check(
        a,
        "node0",
        "get leases.coordination.k8s.io kube-node-lease/node1",
        false,
    );
    check(
        a,
        "node0",
        "get leases.coordination.k8s.io kube-system/node0",
        false,
    );
    check(
        a,
        "node0",
        "list leases.coordination.k8s.io kube-node-lease/node0",
        false,
    );
    check(a, "node0", "create csinodes.storage.k8s.io -", true);
    check(a, "node0", "list services -", true);
    check(
        a,
        "node0",
        "create tokenreviews.authentication.k8s.io -",
        true,
    );
    check(a, "node0", "list deployments.apps -", false);
}

#[test]
fn a_reference_ends_with_its_pod() {
    let authorizer = authorizer();
    check(&authorizer, "node0", "get secrets ns/secret", true);
    authorizer.graph.remove_pod("ns", "pod");
    check(&authorizer, "node0", "get secrets ns/secret", false);
    check(&authorizer, "node0", "get persistentvolumes volume", false);
    authorizer
        .graph
        .remove_owned(Kind::VolumeAttachment, "", "attachment");
    check(
        &authorizer,
        "node0",
        "get volumeattachments.storage.k8s.io attachment",
        false,
    );
}

#[test]
fn others_get_no_opinion() {
    let authorizer = authorizer();
    let mut attributes = Attributes {
        verb: "get".into(),
        resource: "nodes".into(),
        name: "node0".into(),
        resource_request: true,
        ..Attributes::default()
    };
    attributes.user.name = "system:node:node0".into();
    assert_eq!(
        authorizer.decide(&attributes),
        no(""),
        "outside the group of nodes"
    );
    attributes.user.groups = vec![NODES_GROUP.into()];
    attributes.user.name = "system:node:".into();
    assert_eq!(
        authorizer.decide(&attributes),
        no("unknown node for user \"system:node:\"")
    );
}

/// The attributes of a kubelet's request.
fn asks(verb: &str, group: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        user: UserInfo {
            name: "system:node:node0".to_owned(),
            groups: vec![NODES_GROUP.to_owned()],
            ..UserInfo::default()
        },
        verb: verb.to_owned(),
        namespace: "ns".to_owned(),
        api_group: group.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Allow(_) => "allowed".to_owned(),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => reason,
    }
}

#[test]
fn requests_for_certificates_are_a_nodes_own() {
    let on = [("PodCertificateRequest".to_owned(), true)].into();
    let on = component_base::features::FeatureGates::default().with(&on);
    gates::install(on.unwrap());
    let authorizer = authorizer();
    let kind = Kind::PodCertificateRequest;
    authorizer.graph.set_owned(kind, "ns", "own", "node0");
    authorizer.graph.set_owned(kind, "ns", "other", "node1");
    let decide = |verb: &str, name: &str, change: &dyn Fn(&mut Attributes)| {
        let mut asked = asks(verb, "certificates.k8s.io", "podcertificaterequests", name);
        change(&mut asked);
        reason(authorizer.decide(&asked))
    };
    let selected = |asked: &mut Attributes| {
        let selector = apimachinery::fields::Selector::parse("spec.nodeName=node0");
        asked.field_selector = selector.unwrap().requirements().to_vec();
    };
    let as_is = |_: &mut Attributes| {};
    let unselected = "can only list/watch podcertificaterequests with nodeName field selector";
    for (verb, name, change, want) in [
        ("create", "", &as_is as &dyn Fn(&mut Attributes), "allowed"),
        ("get", "own", &as_is, "allowed"),
        (
            "get",
            "other",
            &as_is,
            "no relationship found between node 'node0' and this object",
        ),
        ("list", "", &selected, "allowed"),
        ("watch", "", &as_is, unselected),
        (
            "delete",
            "own",
            &as_is,
            "nodes may not delete podcertificaterequests",
        ),
        (
            "update",
            "own",
            &|asked| asked.subresource = "status".to_owned(),
            "nodes may not access the status subresource of PodCertificateRequests",
        ),
    ] {
        assert_eq!(decide(verb, name, change), want, "{verb}");
    }
}

#[test]
fn service_accounts_are_read_for_a_feature() {
    let authorizer = authorizer();
    let asked = asks("get", "", "serviceaccounts", "account");
    assert_eq!(reason(authorizer.decide(&asked)), "allowed");
}

#[test]
fn without_the_feature_nodes_read_no_service_accounts() {
    let off = "KubeletServiceAccountTokenForCredentialProviders";
    let off =
        component_base::features::FeatureGates::default().with(&[(off.to_owned(), false)].into());
    gates::install(off.unwrap());
    let asked = asks("get", "", "serviceaccounts", "account");
    assert_eq!(
        reason(authorizer().decide(&asked)),
        "not allowed to get service accounts"
    );
}
