//! Defaults of the other groups. Upstream: pkg/apis/*/v1/defaults.go.

use api_types::admissionregistration::{v1 as admission, v1alpha1 as admission_v1alpha1};
use api_types::apiextensions::v1 as extensions;
use api_types::apiregistration::v1 as registration;
use api_types::authentication::v1::TokenRequestSpec;
use api_types::discovery::v1::EndpointPort;
use api_types::flowcontrol::v1 as flowcontrol;
use api_types::networking::v1 as networking;
use api_types::rbac::v1 as rbac;
use api_types::resource::{
    v1 as resource, v1alpha3 as resource_v1alpha3, v1beta1 as resource_v1beta1,
    v1beta2 as resource_v1beta2,
};
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1 as storage;
use api_types::{Quantity, Time};

use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(validating_webhook),
        row(mutating_webhook),
        row(rule),
        row(service_reference),
        row(api_service_reference),
        row(custom_resource_definition),
        row(conversion_service_reference),
        row(validating_policy),
        row(mutating_policy),
        row(match_resources),
        row(param_ref_v1alpha1),
        row(endpoint_port),
        row(flow_schema),
        row(exempt_level),
        row(limited_level),
        row(queuing),
        row(network_policy),
        row(network_policy_port),
        row(ingress_class),
        row(cluster_role_binding),
        row(role_binding),
        row(subject),
        row(exact_device_request),
        row(device_sub_request),
        row(device_taint),
        row(device),
        row(device_request_v1beta1),
        row(device_sub_request_v1beta1),
        row(device_taint_v1beta1),
        row(basic_device_v1beta1),
        row(device_taint_v1beta2),
        row(device_taint_v1alpha3),
        row(pool_status_request),
        row(priority_class),
        row(storage_class),
        row(csi_driver),
        row(token_request_spec),
    ]
}

fn text(slot: &mut Option<String>, default: &str) {
    slot.get_or_insert_with(|| default.to_owned());
}

fn validating_webhook(webhook: &mut admission::ValidatingWebhook) {
    text(&mut webhook.failure_policy, "Fail");
    text(&mut webhook.match_policy, "Equivalent");
    webhook.namespace_selector.get_or_insert_default();
    webhook.object_selector.get_or_insert_default();
    webhook.timeout_seconds.get_or_insert(10);
}

fn mutating_webhook(webhook: &mut admission::MutatingWebhook) {
    text(&mut webhook.failure_policy, "Fail");
    text(&mut webhook.match_policy, "Equivalent");
    webhook.namespace_selector.get_or_insert_default();
    webhook.object_selector.get_or_insert_default();
    webhook.timeout_seconds.get_or_insert(10);
    text(&mut webhook.reinvocation_policy, "Never");
}

fn rule(rule: &mut admission::Rule) {
    text(&mut rule.scope, "*");
}

fn service_reference(reference: &mut admission::ServiceReference) {
    reference.port.get_or_insert(443);
}

fn api_service_reference(reference: &mut registration::ServiceReference) {
    reference.port.get_or_insert(443);
}

fn custom_resource_definition(crd: &mut extensions::CustomResourceDefinition) {
    let names = &mut crd.spec.names;
    if names.singular.is_empty() {
        names.singular = names.kind.to_lowercase();
    }
    if names.list_kind.is_empty() && !names.kind.is_empty() {
        names.list_kind = format!("{}List", names.kind);
    }
    crd.spec.conversion.get_or_insert_with(|| {
        Box::new(extensions::CustomResourceConversion {
            strategy: "None".to_owned(),
            webhook: None,
        })
    });
    // Nothing of it would be stored.
    if let Some(conversion) = &mut crd.spec.conversion {
        let is_empty = |webhook: &extensions::WebhookConversion| {
            webhook.client_config.is_none() && webhook.conversion_review_versions.is_empty()
        };
        if conversion.webhook.as_deref().is_some_and(is_empty) {
            conversion.webhook = None;
        }
    }
    if crd.status.stored_versions.is_empty() {
        let storage = crd.spec.versions.iter().find(|version| version.storage);
        let name = storage.map(|version| version.name.clone());
        crd.status.stored_versions.extend(name);
    }
}

fn conversion_service_reference(reference: &mut extensions::ServiceReference) {
    reference.port.get_or_insert(443);
}

fn validating_policy(spec: &mut admission::ValidatingAdmissionPolicySpec) {
    text(&mut spec.failure_policy, "Fail");
}

fn mutating_policy(spec: &mut admission::MutatingAdmissionPolicySpec) {
    text(&mut spec.failure_policy, "Fail");
}

fn match_resources(resources: &mut admission::MatchResources) {
    text(&mut resources.match_policy, "Equivalent");
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
}

/// Later versions have no default for this.
fn param_ref_v1alpha1(reference: &mut admission_v1alpha1::ParamRef) {
    text(&mut reference.parameter_not_found_action, "Deny");
}

fn endpoint_port(port: &mut EndpointPort) {
    text(&mut port.name, "");
    text(&mut port.protocol, "TCP");
}

fn flow_schema(spec: &mut flowcontrol::FlowSchemaSpec) {
    if spec.matching_precedence == 0 {
        spec.matching_precedence = 1000;
    }
}

fn exempt_level(level: &mut flowcontrol::ExemptPriorityLevelConfiguration) {
    level.nominal_concurrency_shares.get_or_insert(0);
    level.lendable_percent.get_or_insert(0);
}

fn limited_level(level: &mut flowcontrol::LimitedPriorityLevelConfiguration) {
    level.nominal_concurrency_shares.get_or_insert(30);
    level.lendable_percent.get_or_insert(0);
}

fn queuing(queuing: &mut flowcontrol::QueuingConfiguration) {
    for (slot, default) in [
        (&mut queuing.hand_size, 8),
        (&mut queuing.queues, 64),
        (&mut queuing.queue_length_limit, 50),
    ] {
        if *slot == 0 {
            *slot = default;
        }
    }
}

fn network_policy(policy: &mut networking::NetworkPolicy) {
    if policy.spec.policy_types.is_empty() {
        policy.spec.policy_types.push("Ingress".to_owned());
        if !policy.spec.egress.is_empty() {
            policy.spec.policy_types.push("Egress".to_owned());
        }
    }
}

fn network_policy_port(port: &mut networking::NetworkPolicyPort) {
    text(&mut port.protocol, "TCP");
}

fn ingress_class(class: &mut networking::IngressClass) {
    if let Some(parameters) = &mut class.spec.parameters {
        text(&mut parameters.scope, "Cluster");
    }
}

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

fn cluster_role_binding(binding: &mut rbac::ClusterRoleBinding) {
    role_ref(&mut binding.role_ref);
}

fn role_binding(binding: &mut rbac::RoleBinding) {
    role_ref(&mut binding.role_ref);
}

fn role_ref(reference: &mut rbac::RoleRef) {
    if reference.api_group.is_empty() {
        reference.api_group = RBAC_GROUP.to_owned();
    }
}

fn subject(subject: &mut rbac::Subject) {
    if subject.api_group.is_empty() && matches!(subject.kind.as_str(), "User" | "Group") {
        subject.api_group = RBAC_GROUP.to_owned();
    }
}

fn exact_device_request(request: &mut resource::ExactDeviceRequest) {
    device_count(&mut request.allocation_mode, &mut request.count);
}

fn device_sub_request(request: &mut resource::DeviceSubRequest) {
    device_count(&mut request.allocation_mode, &mut request.count);
}

fn device_count(mode: &mut String, count: &mut i64) {
    if mode.is_empty() {
        *mode = "ExactCount".to_owned();
    }
    if mode == "ExactCount" && *count == 0 {
        *count = 1;
    }
}

fn device_taint(taint: &mut resource::DeviceTaint) {
    taint.time_added.get_or_insert_with(Time::now);
}

fn device(device: &mut resource::Device) {
    for mapping in device.node_allocatable_resource_mappings.values_mut() {
        multiplier(&mut mapping.allocation_multiplier);
    }
}

fn multiplier(slot: &mut Option<Quantity>) {
    slot.get_or_insert_with(|| Quantity::from_value(1, api_types::Format::DecimalSI));
}

/// A request without a class has subrequests, and these have the count.
fn device_request_v1beta1(request: &mut resource_v1beta1::DeviceRequest) {
    if !request.device_class_name.is_empty() {
        device_count(&mut request.allocation_mode, &mut request.count);
    }
}

fn device_sub_request_v1beta1(request: &mut resource_v1beta1::DeviceSubRequest) {
    device_count(&mut request.allocation_mode, &mut request.count);
}

fn device_taint_v1beta1(taint: &mut resource_v1beta1::DeviceTaint) {
    taint.time_added.get_or_insert_with(Time::now);
}

fn basic_device_v1beta1(device: &mut resource_v1beta1::BasicDevice) {
    for mapping in device.node_allocatable_resource_mappings.values_mut() {
        multiplier(&mut mapping.allocation_multiplier);
    }
}

fn device_taint_v1beta2(taint: &mut resource_v1beta2::DeviceTaint) {
    taint.time_added.get_or_insert_with(Time::now);
}

fn device_taint_v1alpha3(taint: &mut resource_v1alpha3::DeviceTaint) {
    taint.time_added.get_or_insert_with(Time::now);
}

fn pool_status_request(spec: &mut resource_v1alpha3::ResourcePoolStatusRequestSpec) {
    spec.limit.get_or_insert(100);
}

fn priority_class(class: &mut PriorityClass) {
    text(&mut class.preemption_policy, "PreemptLowerPriority");
}

fn storage_class(class: &mut storage::StorageClass) {
    text(&mut class.reclaim_policy, "Delete");
    text(&mut class.volume_binding_mode, "Immediate");
}

fn token_request_spec(spec: &mut TokenRequestSpec) {
    spec.expiration_seconds.get_or_insert(60 * 60);
}

fn csi_driver(driver: &mut storage::CSIDriver) {
    let spec = &mut driver.spec;
    spec.attach_required.get_or_insert(true);
    spec.pod_info_on_mount.get_or_insert(false);
    spec.storage_capacity.get_or_insert(false);
    text(&mut spec.fs_group_policy, "ReadWriteOnceWithFSType");
    if spec.volume_lifecycle_modes.is_empty() {
        spec.volume_lifecycle_modes.push("Persistent".to_owned());
    }
    spec.requires_republish.get_or_insert(false);
    // Gate SELinuxMountReadWriteOncePod, on by default.
    spec.se_linux_mount.get_or_insert(false);
}
