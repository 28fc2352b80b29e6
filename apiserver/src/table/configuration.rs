//! Rows of networking, storage, rbac, certificates, admission, flow control, resource and other configuration kinds.

use std::collections::BTreeSet;

use api_types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use api_types::apiregistration::v1::APIService;
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::coordination::v1::Lease;
use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use api_types::networking::v1::{
    IPAddress, Ingress, IngressClass, IngressRule, NetworkPolicy, ServiceCIDR,
};
use api_types::node::v1::RuntimeClass;
use api_types::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject};
use api_types::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1::{
    CSIDriver, CSINode, StorageClass, VolumeAttachment, VolumeAttributesClass,
};
use serde_json::Value;

use super::{Cells, Column, NONE, TableRow, UNSET, columns, format_selector, or_none};

// === networking ===

fn format_hosts(rules: &[IngressRule]) -> String {
    const MAX: usize = 3;
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == MAX;
        if !more && !rule.host.is_empty() {
            hosts.push(rule.host.as_str());
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => hosts.join(","),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - MAX),
    }
}

impl TableRow for Ingress {
    const COLUMNS: &'static [Column] = columns::INGRESS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let addresses: BTreeSet<&str> = self
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|ingress| {
                if ingress.ip.is_empty() {
                    ingress.hostname.as_str()
                } else {
                    ingress.ip.as_str()
                }
            })
            .filter(|address| !address.is_empty())
            .collect();
        cells
            .text(self.metadata.name.clone())
            .text(
                self.spec
                    .ingress_class_name
                    .clone()
                    .unwrap_or_else(|| NONE.to_owned()),
            )
            .text(format_hosts(&self.spec.rules))
            .text(addresses.into_iter().collect::<Vec<_>>().join(","))
            .text(if self.spec.tls.is_empty() {
                "80"
            } else {
                "80, 443"
            })
            .age(&self.metadata);
    }
}

impl TableRow for APIService {
    const COLUMNS: &'static [Column] = columns::API_SERVICE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let service = self.spec.service.as_ref().map_or_else(
            || "Local".to_owned(),
            |service| format!("{}/{}", service.namespace, service.name),
        );
        let conditions = &self.status.conditions;
        let available = match conditions
            .iter()
            .find(|condition| condition.type_ == "Available")
        {
            None => "Unknown".to_owned(),
            Some(condition) if condition.status == "True" || condition.reason.is_empty() => {
                condition.status.clone()
            }
            Some(condition) => format!("{} ({})", condition.status, condition.reason),
        };
        cells
            .text(self.metadata.name.clone())
            .text(service)
            .text(available)
            .age(&self.metadata);
    }
}

impl TableRow for IngressClass {
    const COLUMNS: &'static [Column] = columns::INGRESS_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let mut name = self.metadata.name.clone();
        if self
            .metadata
            .annotations
            .get("ingressclass.kubernetes.io/is-default-class")
            .is_some_and(|value| value == "true")
        {
            name.push_str(" (default)");
        }
        let parameters = self.spec.parameters.as_ref().map_or_else(
            || NONE.to_owned(),
            |parameters| match &parameters.api_group {
                Some(group) => format!("{}.{group}/{}", parameters.kind, parameters.name),
                None => format!("{}/{}", parameters.kind, parameters.name),
            },
        );
        cells
            .text(name)
            .text(self.spec.controller.clone())
            .text(parameters)
            .age(&self.metadata);
    }
}

impl TableRow for NetworkPolicy {
    const COLUMNS: &'static [Column] = columns::NETWORK_POLICY_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format_selector(Some(&self.spec.pod_selector)))
            .age(&self.metadata);
    }
}

impl TableRow for ServiceCIDR {
    const COLUMNS: &'static [Column] = columns::SERVICE_CIDR_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.cidrs.join(","))
            .age(&self.metadata);
    }
}

impl TableRow for IPAddress {
    const COLUMNS: &'static [Column] = columns::IP_ADDRESS_COLUMNS;

    /// Three cells for two columns: upstream prints the age without declaring its column.
    fn cells(&self, cells: &mut Cells) {
        let parent = self.spec.parent_ref.as_ref().map_or_else(
            || NONE.to_owned(),
            |parent| {
                let mut text = parent.resource.to_lowercase();
                if !parent.group.is_empty() {
                    text = format!("{text}.{}", parent.group.to_lowercase());
                }
                if !parent.namespace.is_empty() {
                    text = format!("{text}/{}", parent.namespace);
                }
                format!("{text}/{}", parent.name)
            },
        );
        cells
            .text(self.metadata.name.clone())
            .text(parent)
            .age(&self.metadata);
    }
}

// === rbac ===

fn subject_cells(cells: &mut Cells, subjects: &[Subject]) {
    let of_kind = |kind: &str| {
        subjects
            .iter()
            .filter(|subject| subject.kind == kind)
            .collect::<Vec<_>>()
    };
    let names = |kind: &str| {
        of_kind(kind)
            .iter()
            .map(|subject| subject.name.clone())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let accounts = of_kind("ServiceAccount")
        .iter()
        .map(|subject| format!("{}/{}", subject.namespace, subject.name))
        .collect::<Vec<_>>()
        .join(", ");
    cells
        .text(names("User"))
        .text(names("Group"))
        .text(accounts);
}

impl TableRow for RoleBinding {
    const COLUMNS: &'static [Column] = columns::ROLE_BINDINGS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format!("{}/{}", self.role_ref.kind, self.role_ref.name))
            .age(&self.metadata);
        subject_cells(cells, &self.subjects);
    }
}

impl TableRow for ClusterRoleBinding {
    const COLUMNS: &'static [Column] = columns::CLUSTER_ROLE_BINDINGS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format!("{}/{}", self.role_ref.kind, self.role_ref.name))
            .age(&self.metadata);
        subject_cells(cells, &self.subjects);
    }
}

// === certificates, coordination, scheduling, node ===

impl TableRow for CertificateSigningRequest {
    const COLUMNS: &'static [Column] = columns::CERTIFICATE_SIGNING_REQUEST_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let has = |kind: &str| {
            self.status
                .conditions
                .iter()
                .any(|condition| condition.type_ == kind)
        };
        let mut status = if has("Denied") {
            "Denied"
        } else if has("Approved") {
            "Approved"
        } else {
            "Pending"
        }
        .to_owned();
        if has("Failed") {
            status.push_str(",Failed");
        }
        if !self.status.certificate.0.is_empty() {
            status.push_str(",Issued");
        }
        cells
            .text(self.metadata.name.clone())
            .age(&self.metadata)
            .text(or_none(&self.spec.signer_name))
            .text(self.spec.username.clone())
            .text(self.spec.expiration_seconds.map_or_else(
                || NONE.to_owned(),
                |seconds| apimachinery::duration::human(i64::from(seconds)),
            ))
            .text(status);
    }
}

impl TableRow for Lease {
    const COLUMNS: &'static [Column] = columns::LEASE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.holder_identity.clone().unwrap_or_default())
            .age(&self.metadata);
    }
}

impl TableRow for PriorityClass {
    const COLUMNS: &'static [Column] = columns::PRIORITY_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.value)
            .bool(self.global_default)
            .age(&self.metadata)
            .text(self.preemption_policy.clone().unwrap_or_default());
    }
}

impl TableRow for RuntimeClass {
    const COLUMNS: &'static [Column] = columns::RUNTIME_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.handler.clone())
            .age(&self.metadata);
    }
}

// === storage ===

impl TableRow for StorageClass {
    const COLUMNS: &'static [Column] = columns::STORAGE_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let mut name = self.metadata.name.clone();
        let is_default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]
        .iter()
        .any(|key| {
            self.metadata
                .annotations
                .get(*key)
                .is_some_and(|value| value == "true")
        });
        if is_default {
            name.push_str(" (default)");
        }
        cells
            .text(name)
            .text(self.provisioner.clone())
            .text(
                self.reclaim_policy
                    .clone()
                    .unwrap_or_else(|| "Delete".to_owned()),
            )
            .text(
                self.volume_binding_mode
                    .clone()
                    .unwrap_or_else(|| "Immediate".to_owned()),
            )
            .bool(self.allow_volume_expansion.unwrap_or(false))
            .age(&self.metadata);
    }
}

impl TableRow for VolumeAttributesClass {
    const COLUMNS: &'static [Column] = columns::VOLUME_ATTRIBUTES_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.driver_name.clone())
            .age(&self.metadata);
    }
}

impl TableRow for VolumeAttachment {
    const COLUMNS: &'static [Column] = columns::VOLUME_ATTACHMENT_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.attacher.clone())
            .text(
                self.spec
                    .source
                    .persistent_volume_name
                    .clone()
                    .unwrap_or_default(),
            )
            .text(self.spec.node_name.clone())
            .bool(self.status.attached)
            .age(&self.metadata);
    }
}

impl TableRow for CSINode {
    const COLUMNS: &'static [Column] = columns::CSI_NODE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.drivers.len() as i64)
            .age(&self.metadata);
    }
}

impl TableRow for CSIDriver {
    const COLUMNS: &'static [Column] = columns::CSI_DRIVER_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let spec = &self.spec;
        let audiences: Vec<&str> = spec
            .token_requests
            .iter()
            .map(|request| request.audience.as_str())
            .collect();
        cells
            .text(self.metadata.name.clone())
            .bool(spec.attach_required.unwrap_or(true))
            .bool(spec.pod_info_on_mount.unwrap_or(false))
            .bool(spec.storage_capacity.unwrap_or(false))
            .text(if spec.token_requests.is_empty() {
                UNSET.to_owned()
            } else {
                audiences.join(",")
            })
            .bool(spec.requires_republish.unwrap_or(false))
            .text(or_none(&spec.volume_lifecycle_modes.join(",")))
            .age(&self.metadata);
    }
}

// === admissionregistration ===

impl TableRow for MutatingWebhookConfiguration {
    const COLUMNS: &'static [Column] = columns::MUTATING_WEBHOOK_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.webhooks.len() as i64)
            .age(&self.metadata);
    }
}

impl TableRow for ValidatingWebhookConfiguration {
    const COLUMNS: &'static [Column] = columns::VALIDATING_WEBHOOK_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.webhooks.len() as i64)
            .age(&self.metadata);
    }
}

fn format_param_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(
        || UNSET.to_owned(),
        |kind| format!("{}/{}", kind.api_version, kind.kind),
    )
}

fn format_param_ref(param: Option<&ParamRef>) -> String {
    let Some(param) = param else {
        return UNSET.to_owned();
    };
    if !param.name.is_empty() {
        // Whether the parameter is cluster-scoped cannot be told from here: without a namespace it prints as any.
        let namespace = if param.namespace.is_empty() {
            "*"
        } else {
            param.namespace.as_str()
        };
        return format!("{namespace}/{}", param.name);
    }
    match &param.selector {
        Some(selector) => format_selector(Some(selector)),
        None => UNSET.to_owned(),
    }
}

impl TableRow for ValidatingAdmissionPolicy {
    const COLUMNS: &'static [Column] = columns::VALIDATING_ADMISSION_POLICY_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.validations.len() as i64)
            .text(format_param_kind(self.spec.param_kind.as_deref()))
            .age(&self.metadata);
    }
}

impl TableRow for ValidatingAdmissionPolicyBinding {
    const COLUMNS: &'static [Column] = columns::VALIDATING_ADMISSION_POLICY_BINDING_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.policy_name.clone())
            .text(format_param_ref(self.spec.param_ref.as_deref()))
            .age(&self.metadata);
    }
}

impl TableRow for MutatingAdmissionPolicy {
    const COLUMNS: &'static [Column] = columns::MUTATING_ADMISSION_POLICY_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.mutations.len() as i64)
            .text(format_param_kind(self.spec.param_kind.as_deref()))
            .age(&self.metadata);
    }
}

impl TableRow for MutatingAdmissionPolicyBinding {
    const COLUMNS: &'static [Column] = columns::MUTATING_ADMISSION_POLICY_BINDING_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.policy_name.clone())
            .text(format_param_ref(self.spec.param_ref.as_deref()))
            .age(&self.metadata);
    }
}

// === flowcontrol ===

impl TableRow for FlowSchema {
    const COLUMNS: &'static [Column] = columns::FLOW_SCHEMA_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let dangling = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Dangling")
            .map_or("?", |condition| condition.status.as_str());
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.priority_level_configuration.name.clone())
            .int(self.spec.matching_precedence)
            .text(
                self.spec
                    .distinguisher_method
                    .as_ref()
                    .map_or_else(|| NONE.to_owned(), |method| method.type_.clone()),
            )
            .age(&self.metadata)
            .text(dangling);
    }
}

impl TableRow for PriorityLevelConfiguration {
    const COLUMNS: &'static [Column] = columns::PRIORITY_LEVEL_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.type_.clone());
        let number_or_none =
            |number: Option<i32>| number.map_or_else(|| Value::from(NONE), Value::from);
        let limited = self.spec.limited.as_deref();
        let queuing = limited.and_then(|limited| limited.limit_response.queuing.as_deref());
        // A missing share counts as the default of 30.
        cells.0.push(number_or_none(
            limited.map(|limited| limited.nominal_concurrency_shares.unwrap_or(30)),
        ));
        cells
            .0
            .push(number_or_none(queuing.map(|queuing| queuing.queues)));
        cells
            .0
            .push(number_or_none(queuing.map(|queuing| queuing.hand_size)));
        cells.0.push(number_or_none(
            queuing.map(|queuing| queuing.queue_length_limit),
        ));
        cells.age(&self.metadata);
    }
}

// === resource ===

impl TableRow for DeviceClass {
    const COLUMNS: &'static [Column] = columns::DEVICE_CLASS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone()).age(&self.metadata);
    }
}

impl TableRow for ResourceClaim {
    const COLUMNS: &'static [Column] = columns::RESOURCE_CLAIM_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let deleted = self.metadata.deletion_timestamp.is_some();
        let mut states = Vec::new();
        if deleted {
            states.push("deleted");
        }
        if self.status.allocation.is_some() {
            states.push("allocated");
            if !self.status.reserved_for.is_empty() {
                states.push("reserved");
            }
        } else if !deleted {
            states.push("pending");
        }
        cells
            .text(self.metadata.name.clone())
            .text(states.join(","))
            .age(&self.metadata);
    }
}

impl TableRow for ResourceClaimTemplate {
    const COLUMNS: &'static [Column] = columns::RESOURCE_CLAIM_TEMPLATE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone()).age(&self.metadata);
    }
}

impl TableRow for ResourceSlice {
    const COLUMNS: &'static [Column] = columns::NODE_RESOURCE_SLICE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.node_name.clone().unwrap_or_default())
            .text(self.spec.driver.clone())
            .text(self.spec.pool.name.clone())
            .age(&self.metadata);
    }
}
