//! Kinds of networking, rbac, coordination, discovery, policy, scheduling, node, storage and autoscaling.
//! Upstream: pkg/registry of those groups.

use api_types::autoscaling::v2::HorizontalPodAutoscaler;
use api_types::coordination::v1::Lease;
use api_types::coordination::v1beta1::LeaseCandidate;
use api_types::discovery::v1::EndpointSlice;
use api_types::networking::v1::*;
use api_types::node::v1::RuntimeClass;
use api_types::policy::v1::PodDisruptionBudget;
use api_types::rbac::v1::*;
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1::*;
use apimachinery::validation as rules;

use super::pod_warnings::deprecated_label;
use super::{Generation, Kind, Row, Status, path, row};
use crate::apis::gates;
use crate::apis::validation::{
    autoscaling, coordination, discovery, networking, policy, rbac, scheduling, storage,
};
use crate::registry::strategy::Context;

const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(NETWORKING, "Ingress", "", &INGRESS),
    row(NETWORKING, "Ingress", "status", &INGRESS_STATUS),
    row(NETWORKING, "IngressClass", "", &INGRESS_CLASS),
    row(NETWORKING, "NetworkPolicy", "", &NETWORK_POLICY),
    row(NETWORKING, "IPAddress", "", &IP_ADDRESS),
    row(NETWORKING, "ServiceCIDR", "", &SERVICE_CIDR),
    row(NETWORKING, "ServiceCIDR", "status", &SERVICE_CIDR_STATUS),
    row(RBAC, "Role", "", &ROLE),
    row(RBAC, "ClusterRole", "", &CLUSTER_ROLE),
    row(RBAC, "RoleBinding", "", &ROLE_BINDING),
    row(RBAC, "ClusterRoleBinding", "", &CLUSTER_ROLE_BINDING),
    row("coordination.k8s.io", "Lease", "", &LEASE),
    row(
        "coordination.k8s.io",
        "LeaseCandidate",
        "",
        &LEASE_CANDIDATE,
    ),
    row("discovery.k8s.io", "EndpointSlice", "", &ENDPOINT_SLICE),
    row("policy", "PodDisruptionBudget", "", &BUDGET),
    row("policy", "PodDisruptionBudget", "status", &BUDGET_STATUS),
    row("scheduling.k8s.io", "PriorityClass", "", &PRIORITY_CLASS),
    row("node.k8s.io", "RuntimeClass", "", &RUNTIME_CLASS),
    row(STORAGE, "StorageClass", "", &STORAGE_CLASS),
    row(
        STORAGE,
        "VolumeAttributesClass",
        "",
        &VOLUME_ATTRIBUTES_CLASS,
    ),
    row(STORAGE, "VolumeAttachment", "", &VOLUME_ATTACHMENT),
    row(
        STORAGE,
        "VolumeAttachment",
        "status",
        &VOLUME_ATTACHMENT_STATUS,
    ),
    row(STORAGE, "CSINode", "", &CSI_NODE),
    row(STORAGE, "CSIDriver", "", &CSI_DRIVER),
    row(STORAGE, "CSIStorageCapacity", "", &CSI_STORAGE_CAPACITY),
    row("autoscaling", "HorizontalPodAutoscaler", "", &AUTOSCALER),
    row(
        "autoscaling",
        "HorizontalPodAutoscaler",
        "status",
        &AUTOSCALER_STATUS,
    ),
];

// === networking ===

static INGRESS: Kind<Ingress> = Kind {
    warn: |_, ingress| {
        const CLASS: &str = "kubernetes.io/ingress.class";
        let annotated = ingress.metadata.annotations.contains_key(CLASS);
        if !annotated || ingress.spec.ingress_class_name.is_some() {
            return Vec::new();
        }
        vec![format!(
            "annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, ingress| networking::validate_ingress(ingress),
        |_, ingress, old| networking::validate_ingress_update(ingress, old),
    )
};

static INGRESS_STATUS: Status<Ingress> = Status {
    warn: |_, ingress, _| {
        let path = path(&["status", "loadBalancer", "ingress"]);
        let list = ingress.status.load_balancer.ingress.iter().enumerate();
        list.filter(|(_, ingress)| !ingress.ip.is_empty())
            .flat_map(|(i, ingress)| rules::get_warnings_for_ip(&path.index(i), &ingress.ip))
            .collect()
    },
    ..Status::new(|_, ingress, old| networking::validate_ingress_status_update(ingress, old))
};

static INGRESS_CLASS: Kind<IngressClass> = Kind {
    generation: Generation::Spec,
    ..Kind::new(
        |_, class| networking::validate_ingress_class(class),
        |_, class, old| networking::validate_ingress_class_update(class, old),
    )
};

static NETWORK_POLICY: Kind<NetworkPolicy> = Kind {
    warn: |_, policy| cidr_warnings(policy),
    warn_update: |_, policy, _| cidr_warnings(policy),
    generation: Generation::Spec,
    ..Kind::new(
        |_, policy| networking::validate_network_policy(policy),
        |_, policy, old| networking::validate_network_policy_update(policy, old),
    )
};

fn cidr_warnings(policy: &NetworkPolicy) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut peers = |peers: &[NetworkPolicyPeer], rules_name, index, peers_name: &'static str| {
        for (i, peer) in peers.iter().enumerate() {
            let Some(block) = &peer.ip_block else {
                continue;
            };
            let path = path(&["spec", rules_name])
                .index(index)
                .child(peers_name)
                .index(i)
                .child("ipBlock");
            warnings.extend(rules::get_warnings_for_cidr(
                &path.child("cidr"),
                &block.cidr,
            ));
            for (j, except) in block.except.iter().enumerate() {
                warnings.extend(rules::get_warnings_for_cidr(
                    &path.child("except").index(j),
                    except,
                ));
            }
        }
    };
    for (i, rule) in policy.spec.ingress.iter().enumerate() {
        peers(&rule.from, "ingress", i, "from");
    }
    for (i, rule) in policy.spec.egress.iter().enumerate() {
        peers(&rule.to, "egress", i, "to");
    }
    warnings
}

static IP_ADDRESS: Kind<IPAddress> = Kind {
    // Nothing random makes an address.
    generate_name: str::to_owned,
    ..Kind::new(
        |_, address| networking::validate_ip_address(address),
        |_, address, old| networking::validate_ip_address_update(address, old),
    )
};

static SERVICE_CIDR: Kind<ServiceCIDR> = Kind {
    keeps_status: true,
    reset_fields: &[],
    prepare: |_, cidr| {
        if gates::enabled("ServiceCIDRStatusFieldWiping") {
            cidr.status = ServiceCIDRStatus::default();
        }
    },
    prepare_update: |_, cidr, old| {
        if gates::enabled("ServiceCIDRStatusFieldWiping") {
            cidr.status.clone_from(&old.status);
        }
    },
    ..Kind::new(
        |_, cidr| networking::validate_service_cidr(cidr),
        |_, cidr, old| networking::validate_service_cidr_update(cidr, old),
    )
};

static SERVICE_CIDR_STATUS: Status<ServiceCIDR> = Status {
    keeps_metadata: true,
    ..Status::new(|_, cidr, old| networking::validate_service_cidr_status_update(cidr, old))
};

// === rbac ===

static ROLE: Kind<Role> = Kind {
    create_on_update: true,
    ..Kind::new(
        |_, role| rbac::validate_role(role),
        |_, role, old| rbac::validate_role_update(role, old),
    )
};

static CLUSTER_ROLE: Kind<ClusterRole> = Kind {
    create_on_update: true,
    ..Kind::new(
        |_, role| rbac::validate_cluster_role(role),
        |_, role, old| rbac::validate_cluster_role_update(role, old),
    )
};

static ROLE_BINDING: Kind<RoleBinding> = Kind {
    create_on_update: true,
    ..Kind::new(
        |_, binding| rbac::validate_role_binding(binding),
        |_, binding, old| rbac::validate_role_binding_update(binding, old),
    )
};

static CLUSTER_ROLE_BINDING: Kind<ClusterRoleBinding> = Kind {
    create_on_update: true,
    ..Kind::new(
        |_, binding| rbac::validate_cluster_role_binding(binding),
        |_, binding, old| rbac::validate_cluster_role_binding_update(binding, old),
    )
};

// === coordination, discovery, policy, scheduling, node ===

static LEASE: Kind<Lease> = Kind {
    prepare: |_, lease| drop_election_fields(lease, None),
    prepare_update: |_, lease, old| drop_election_fields(lease, Some(old)),
    create_on_update: true,
    unconditional_update: false,
    ..Kind::new(
        |_, lease| coordination::validate_lease(lease),
        |_, lease, old| coordination::validate_lease_update(lease, old),
    )
};

fn drop_election_fields(lease: &mut Lease, old: Option<&Lease>) {
    if gates::enabled("CoordinatedLeaderElection") {
        return;
    }
    if old.is_none_or(|old| old.spec.strategy.is_none()) {
        lease.spec.strategy = None;
    }
    if old.is_none_or(|old| old.spec.preferred_holder.is_none()) {
        lease.spec.preferred_holder = None;
    }
}

static LEASE_CANDIDATE: Kind<LeaseCandidate> = Kind {
    create_on_update: true,
    unconditional_update: false,
    ..Kind::new(
        |_, candidate| coordination::validate_lease_candidate(candidate),
        |_, candidate, old| coordination::validate_lease_candidate_update(candidate, old),
    )
};

static ENDPOINT_SLICE: Kind<EndpointSlice> = Kind {
    prepare: |context, slice| {
        drop_node_hints(slice, None);
        drop_topology(context, slice, None);
    },
    prepare_update: |context, slice, old| {
        // Labels tie a slice to its service, so they count as its content. What is dropped below counts, too.
        let same = slice.metadata.labels == old.metadata.labels
            && slice.address_type == old.address_type
            && slice.endpoints == old.endpoints
            && slice.ports == old.ports;
        if !same {
            slice.metadata.generation = old.metadata.generation + 1;
        }
        drop_node_hints(slice, Some(old));
        drop_topology(context, slice, Some(old));
    },
    warn: |_, slice| {
        let mut warnings = Vec::new();
        if slice.address_type == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        warnings.extend(slice_warnings(slice));
        warnings
    },
    warn_update: |_, slice, _| slice_warnings(slice),
    generation: Generation::Spec,
    ..Kind::new(
        |_, slice| discovery::validate_endpoint_slice(slice),
        |_, slice, old| discovery::validate_endpoint_slice_update(slice, old),
    )
};

fn drop_node_hints(slice: &mut EndpointSlice, old: Option<&EndpointSlice>) {
    let in_use = |old: &EndpointSlice| {
        let hints = old
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.hints.as_ref());
        hints.into_iter().any(|hints| !hints.for_nodes.is_empty())
    };
    if gates::enabled("PreferSameTrafficDistribution") || old.is_some_and(in_use) {
        return;
    }
    for hints in slice
        .endpoints
        .iter_mut()
        .filter_map(|endpoint| endpoint.hints.as_mut())
    {
        hints.for_nodes.clear();
    }
}

/// Labels of endpoints were a thing of v1beta1. What they say of a node that is stored moves to where it belongs.
fn drop_topology(context: &Context, slice: &mut EndpointSlice, old: Option<&EndpointSlice>) {
    const HOST_NAME: &str = "kubernetes.io/hostname";
    let stored = old.map_or(&[][..], |old| &old.endpoints);
    if context.api_version.ends_with("/v1beta1") || old.is_some() && stored == slice.endpoints {
        return;
    }
    for endpoint in &mut slice.endpoints {
        let topology = std::mem::take(&mut endpoint.deprecated_topology);
        if let Some(node) = topology.get(HOST_NAME)
            && endpoint.node_name.is_none()
            && stored
                .iter()
                .any(|old| old.deprecated_topology.get(HOST_NAME) == Some(node))
            && rules::name_is_dns_subdomain(node, false).is_empty()
        {
            endpoint.node_name = Some(node.clone());
        }
    }
}

fn slice_warnings(slice: &EndpointSlice) -> Vec<String> {
    // Addresses of controllers' slices are copied, so a warning would help nobody.
    if let Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io") =
        slice
            .metadata
            .labels
            .get("endpointslice.kubernetes.io/managed-by")
            .map(String::as_str)
    {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        for (j, address) in endpoint.addresses.iter().enumerate() {
            let path = path(&["endpoints"]).index(i).child("addresses").index(j);
            warnings.extend(rules::get_warnings_for_ip(&path, address));
        }
    }
    warnings
}

static BUDGET: Kind<PodDisruptionBudget> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, budget| policy::validate_pod_disruption_budget(budget),
        |_, budget, old| policy::validate_pod_disruption_budget_update(budget, old),
    )
};

static BUDGET_STATUS: Status<PodDisruptionBudget> = Status {
    unconditional_update: false,
    ..Status::new(|_, budget, _| policy::validate_pod_disruption_budget_status_update(budget))
};

static PRIORITY_CLASS: Kind<PriorityClass> = Kind {
    generation: Generation::First,
    ..Kind::new(
        |_, class| scheduling::validate_priority_class(class),
        |_, class, old| scheduling::validate_priority_class_update(class, old),
    )
};

static RUNTIME_CLASS: Kind<RuntimeClass> = Kind {
    warn: |_, class| runtime_class_warnings(class),
    warn_update: |_, class, _| runtime_class_warnings(class),
    create_on_update: true,
    unconditional_update: false,
    ..Kind::new(
        |_, class| scheduling::validate_runtime_class(class),
        |_, class, old| scheduling::validate_runtime_class_update(class, old),
    )
};

fn runtime_class_warnings(class: &RuntimeClass) -> Vec<String> {
    let labels = class
        .scheduling
        .iter()
        .flat_map(|scheduling| scheduling.node_selector.keys());
    let messages = labels.filter_map(|label| deprecated_label(label));
    messages
        .map(|message| format!("scheduling.nodeSelector: {message}"))
        .collect()
}

// === storage ===

static STORAGE_CLASS: Kind<StorageClass> = Kind {
    warn: |_, class| storage_class_warnings(class),
    warn_update: |_, class, _| storage_class_warnings(class),
    ..Kind::new(
        |_, class| storage::validate_storage_class(class),
        |_, class, old| {
            let mut errors = storage::validate_storage_class(class);
            errors.extend(storage::validate_storage_class_update(class, old));
            errors
        },
    )
};

fn storage_class_warnings(class: &StorageClass) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, term) in class.allowed_topologies.iter().enumerate() {
        for (j, expression) in term.match_label_expressions.iter().enumerate() {
            if let Some(message) = deprecated_label(&expression.key) {
                let path = path(&["allowedTopologies"])
                    .index(i)
                    .child("matchLabelExpressions")
                    .index(j);
                warnings.push(format!("{}: {message}", path.child("key")));
            }
        }
    }
    warnings
}

static VOLUME_ATTRIBUTES_CLASS: Kind<VolumeAttributesClass> = Kind::new(
    |_, class| storage::validate_volume_attributes_class(class),
    |_, class, old| storage::validate_volume_attributes_class_update(class, old),
);

static VOLUME_ATTACHMENT: Kind<VolumeAttachment> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, attachment| storage::validate_volume_attachment(attachment),
        |_, attachment, old| storage::validate_volume_attachment_update(attachment, old),
    )
};

static VOLUME_ATTACHMENT_STATUS: Status<VolumeAttachment> = Status {
    keeps_metadata: true,
    prepare: |_, attachment, old| {
        if gates::enabled("MutableCSINodeAllocatableCount") {
            return;
        }
        let before = &old.status;
        let status = &mut attachment.status;
        for (error, before) in [
            (&mut status.attach_error, &before.attach_error),
            (&mut status.detach_error, &before.detach_error),
        ] {
            let in_use = before
                .as_ref()
                .is_some_and(|before| before.error_code.is_some());
            if let Some(error) = error.as_mut().filter(|_| !in_use) {
                error.error_code = None;
            }
        }
    },
    unconditional_update: false,
    ..Status::new(|_, attachment, old| storage::validate_volume_attachment_update(attachment, old))
};

static CSI_NODE: Kind<CSINode> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, node| storage::validate_csi_node(node),
        |_, node, old| storage::validate_csi_node_update(node, old),
    )
};

static CSI_DRIVER: Kind<CSIDriver> = Kind {
    prepare: |_, driver| drop_driver_fields(driver, None),
    prepare_update: |_, driver, old| {
        drop_driver_fields(driver, Some(old));
        // New drivers start without a generation.
        if driver.spec != old.spec {
            driver.metadata.generation = old.metadata.generation + 1;
        }
    },
    warn: |_, driver| token_warnings(driver, None),
    warn_update: |_, driver, old| token_warnings(driver, Some(old)),
    unconditional_update: false,
    ..Kind::new(
        |_, driver| storage::validate_csi_driver(driver),
        |_, driver, old| storage::validate_csi_driver_update(driver, old),
    )
};

fn drop_driver_fields(driver: &mut CSIDriver, old: Option<&CSIDriver>) {
    let spec = &mut driver.spec;
    let old = old.map(|old| &old.spec);
    let drop = |gate: &str, in_use: fn(&CSIDriverSpec) -> bool| {
        !gates::enabled(gate) && !old.is_some_and(in_use)
    };
    if drop("SELinuxMountReadWriteOncePod", |old| {
        old.se_linux_mount.is_some()
    }) {
        spec.se_linux_mount = None;
    }
    if drop("MutableCSINodeAllocatableCount", |old| {
        old.node_allocatable_update_period_seconds.is_some()
    }) {
        spec.node_allocatable_update_period_seconds = None;
    }
    if drop("CSIServiceAccountTokenSecrets", |old| {
        old.service_account_token_in_secrets.is_some()
    }) {
        spec.service_account_token_in_secrets = None;
    }
    if drop("VolumeLimitScaling", |old| {
        old.prevent_pod_scheduling_if_missing.is_some()
    }) {
        spec.prevent_pod_scheduling_if_missing = None;
    }
}

fn token_warnings(driver: &CSIDriver, old: Option<&CSIDriver>) -> Vec<String> {
    const UNSET: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
    let spec = &driver.spec;
    let changed = old.is_none_or(|old| old.spec.token_requests != spec.token_requests);
    let asks = changed
        && !spec.token_requests.is_empty()
        && spec.service_account_token_in_secrets.is_none();
    if asks && gates::enabled("CSIServiceAccountTokenSecrets") {
        vec![UNSET.to_owned()]
    } else {
        Vec::new()
    }
}

static CSI_STORAGE_CAPACITY: Kind<CSIStorageCapacity> = Kind {
    warn: |_, capacity| capacity_warnings(capacity),
    warn_update: |_, capacity, _| capacity_warnings(capacity),
    unconditional_update: false,
    ..Kind::new(
        |_, capacity| storage::validate_csi_storage_capacity(capacity, false),
        |_, capacity, old| {
            let invalid = storage::has_invalid_topology(old);
            let mut errors = storage::validate_csi_storage_capacity(capacity, invalid);
            errors.extend(storage::validate_csi_storage_capacity_update(capacity, old));
            errors
        },
    )
};

fn capacity_warnings(capacity: &CSIStorageCapacity) -> Vec<String> {
    let Some(selector) = &capacity.node_topology else {
        return Vec::new();
    };
    let path = path(&["nodeTopology"]);
    let mut warnings = Vec::new();
    for (i, expression) in selector.match_expressions.iter().enumerate() {
        if let Some(message) = deprecated_label(&expression.key) {
            let path = path.child("matchExpressions").index(i).child("key");
            warnings.push(format!("{path}: {message}"));
        }
    }
    for label in selector.match_labels.keys() {
        if let Some(message) = deprecated_label(label) {
            warnings.push(format!(
                "{}: {message}",
                path.child("matchLabels").child(label.clone())
            ));
        }
    }
    warnings
}

// === autoscaling ===

static AUTOSCALER: Kind<HorizontalPodAutoscaler> = Kind {
    prepare: |_, autoscaler| drop_tolerance(autoscaler, None),
    prepare_update: |_, autoscaler, old| drop_tolerance(autoscaler, Some(old)),
    ..Kind::new(
        |_, autoscaler| autoscaling::validate_horizontal_pod_autoscaler(autoscaler),
        |_, autoscaler, old| {
            autoscaling::validate_horizontal_pod_autoscaler_update(autoscaler, old)
        },
    )
};

fn drop_tolerance(autoscaler: &mut HorizontalPodAutoscaler, old: Option<&HorizontalPodAutoscaler>) {
    let in_use = old
        .and_then(|old| old.spec.behavior.as_ref())
        .is_some_and(|behavior| {
            let rules = [&behavior.scale_down, &behavior.scale_up];
            rules
                .into_iter()
                .flatten()
                .any(|rules| rules.tolerance.is_some())
        });
    if in_use || gates::enabled("HPAConfigurableTolerance") {
        return;
    }
    if let Some(behavior) = &mut autoscaler.spec.behavior {
        for rules in [&mut behavior.scale_down, &mut behavior.scale_up]
            .into_iter()
            .flatten()
        {
            rules.tolerance = None;
        }
    }
}

static AUTOSCALER_STATUS: Status<HorizontalPodAutoscaler> = Status::new(|_, autoscaler, old| {
    autoscaling::validate_horizontal_pod_autoscaler_status_update(autoscaler, old)
});
