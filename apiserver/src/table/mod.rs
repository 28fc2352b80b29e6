//! Table output: the columns `kubectl get` prints. Upstream: pkg/printers and apiserver/pkg/endpoints/handlers/response.go.
//!
//! A kind with its own columns implements `TableRow` and has a row in `PRINTERS`; any other kind gets Name and Created At.

mod before_v1;
#[rustfmt::skip]
mod columns;
mod configuration;
mod core;
mod workloads;

use api_types::meta::v1::{LabelSelector, ObjectMeta};
use api_types::{MicroTime, Object, Struct, Time};
use serde_json::Value;
use std::collections::BTreeMap;

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type of the cells.
    pub kind: &'static str,
    pub format: &'static str,
    /// 0 is shown by default, 1 only in wide output.
    pub priority: i32,
    pub description: &'static str,
}

/// The cells of one row, in column order.
#[derive(Debug, Default)]
pub struct Cells(pub Vec<Value>);

impl Cells {
    pub fn text(&mut self, value: impl Into<String>) -> &mut Self {
        self.0.push(Value::String(value.into()));
        self
    }

    pub fn int(&mut self, value: impl Into<i64>) -> &mut Self {
        self.0.push(Value::from(value.into()));
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(Value::Bool(value));
        self
    }

    /// Time since creation.
    pub fn age(&mut self, metadata: &ObjectMeta) -> &mut Self {
        self.text(since(metadata.creation_timestamp))
    }
}

/// Why a finished pod's row is marked completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    pub reason: &'static str,
    pub message: &'static str,
}

/// A kind with columns of its own.
pub trait TableRow: Object {
    const COLUMNS: &'static [Column];

    fn cells(&self, cells: &mut Cells);

    fn completed(&self) -> Option<Completed> {
        None
    }
}

/// A row, and why the object is done, if it is.
pub type Row = (Cells, Option<Completed>);

/// Prints objects of one kind.
#[derive(Clone, Copy)]
pub struct Printer {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub columns: &'static [Column],
    /// None when the object is of another type.
    pub row: fn(&dyn Struct) -> Option<Row>,
}

const fn printer<T: TableRow + 'static>() -> Printer {
    Printer {
        group: T::GROUP,
        version: T::VERSION,
        kind: T::KIND,
        columns: T::COLUMNS,
        row: |object| {
            let object = object.downcast_ref::<T>()?;
            let mut cells = Cells::default();
            object.cells(&mut cells);
            Some((cells, object.completed()))
        },
    }
}

/// The column that every kind has.
pub const NAME: Column = columns::NAME;
/// What is said of the column of ages.
pub const AGE_DESCRIPTION: &str = columns::AGE.description;

/// The columns of kinds without a printer.
pub const DEFAULT_COLUMNS: &[Column] = &[
    columns::NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        priority: 0,
        description: columns::AGE.description,
    },
];

/// The printer of a kind, if it has one.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<&'static Printer> {
    PRINTERS.iter().find(|printer| {
        printer.kind == kind && printer.group == group && printer.version == version
    })
}

/// Prints the scales of custom resources: no replicas are wanted where the count is left out.
pub const CUSTOM_SCALE: Printer = Printer {
    columns: columns::CUSTOM_SCALE_COLUMNS,
    row: workloads::custom_scale,
    ..printer::<api_types::autoscaling::v1::Scale>()
};

/// The cells of a kind without a printer.
pub fn default_cells(metadata: &ObjectMeta) -> Cells {
    let mut cells = Cells::default();
    // An object without a creation time shows Go's zero time.
    let created = if metadata.creation_timestamp.is_zero() {
        "0001-01-01T00:00:00Z".to_owned()
    } else {
        metadata.creation_timestamp.to_string()
    };
    cells.text(metadata.name.clone()).text(created);
    cells
}

/// Kinds with columns of their own. Objects are printed in the version that is the hub of their kind.
pub const PRINTERS: &[Printer] = &[
    printer::<api_types::core::v1::Pod>(),
    printer::<api_types::core::v1::PodTemplate>(),
    printer::<api_types::core::v1::ReplicationController>(),
    printer::<api_types::core::v1::Service>(),
    printer::<api_types::core::v1::Endpoints>(),
    printer::<api_types::core::v1::Node>(),
    printer::<api_types::core::v1::Event>(),
    printer::<api_types::core::v1::Namespace>(),
    printer::<api_types::core::v1::Secret>(),
    printer::<api_types::core::v1::ServiceAccount>(),
    printer::<api_types::core::v1::PersistentVolume>(),
    printer::<api_types::core::v1::PersistentVolumeClaim>(),
    printer::<api_types::core::v1::ComponentStatus>(),
    printer::<api_types::core::v1::ConfigMap>(),
    printer::<api_types::core::v1::ResourceQuota>(),
    printer::<api_types::apps::v1::Deployment>(),
    printer::<api_types::apps::v1::ReplicaSet>(),
    printer::<api_types::apps::v1::StatefulSet>(),
    printer::<api_types::apps::v1::DaemonSet>(),
    printer::<api_types::apps::v1::ControllerRevision>(),
    printer::<api_types::batch::v1::Job>(),
    printer::<api_types::batch::v1::CronJob>(),
    printer::<api_types::autoscaling::v2::HorizontalPodAutoscaler>(),
    printer::<api_types::autoscaling::v1::Scale>(),
    printer::<api_types::policy::v1::PodDisruptionBudget>(),
    printer::<api_types::networking::v1::Ingress>(),
    printer::<api_types::apiregistration::v1::APIService>(),
    printer::<api_types::networking::v1::IngressClass>(),
    printer::<api_types::networking::v1::NetworkPolicy>(),
    printer::<api_types::networking::v1::ServiceCIDR>(),
    printer::<api_types::networking::v1::IPAddress>(),
    printer::<api_types::rbac::v1::RoleBinding>(),
    printer::<api_types::rbac::v1::ClusterRoleBinding>(),
    printer::<api_types::certificates::v1::CertificateSigningRequest>(),
    printer::<api_types::coordination::v1::Lease>(),
    printer::<api_types::storage::v1::StorageClass>(),
    printer::<api_types::storage::v1::VolumeAttributesClass>(),
    printer::<api_types::storage::v1::VolumeAttachment>(),
    printer::<api_types::storage::v1::CSINode>(),
    printer::<api_types::storage::v1::CSIDriver>(),
    printer::<api_types::scheduling::v1::PriorityClass>(),
    printer::<api_types::node::v1::RuntimeClass>(),
    printer::<api_types::discovery::v1::EndpointSlice>(),
    printer::<api_types::admissionregistration::v1::MutatingWebhookConfiguration>(),
    printer::<api_types::admissionregistration::v1::ValidatingWebhookConfiguration>(),
    printer::<api_types::admissionregistration::v1::ValidatingAdmissionPolicy>(),
    printer::<api_types::admissionregistration::v1::ValidatingAdmissionPolicyBinding>(),
    printer::<api_types::admissionregistration::v1::MutatingAdmissionPolicy>(),
    printer::<api_types::admissionregistration::v1::MutatingAdmissionPolicyBinding>(),
    printer::<api_types::flowcontrol::v1::FlowSchema>(),
    printer::<api_types::flowcontrol::v1::PriorityLevelConfiguration>(),
    printer::<api_types::resource::v1::DeviceClass>(),
    printer::<api_types::resource::v1::ResourceClaim>(),
    printer::<api_types::resource::v1::ResourceClaimTemplate>(),
    printer::<api_types::resource::v1::ResourceSlice>(),
    printer::<api_types::certificates::v1beta1::ClusterTrustBundle>(),
    printer::<api_types::certificates::v1beta1::PodCertificateRequest>(),
    printer::<api_types::coordination::v1beta1::LeaseCandidate>(),
    printer::<api_types::internal_apiserver::v1alpha1::StorageVersion>(),
    printer::<api_types::resource::v1beta2::DeviceTaintRule>(),
    printer::<api_types::resource::v1alpha3::ResourcePoolStatusRequest>(),
    printer::<api_types::scheduling::v1alpha2::Workload>(),
    printer::<api_types::scheduling::v1alpha2::PodGroup>(),
    printer::<api_types::storagemigration::v1beta1::StorageVersionMigration>(),
];

// === Formatting shared by the printers ===

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";
const UNKNOWN: &str = "<unknown>";

/// Seconds from one time to another, rounded down as Go's Duration arithmetic leaves them.
fn seconds_between(from: jiff::Timestamp, to: jiff::Timestamp) -> i64 {
    let nanoseconds = to.as_nanosecond() - from.as_nanosecond();
    i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX)
}

/// How long ago, in kubectl's approximation.
fn since(time: Time) -> String {
    if time.is_zero() {
        return UNKNOWN.to_owned();
    }
    apimachinery::duration::human(seconds_between(time.timestamp(), jiff::Timestamp::now()))
}

fn since_micro(time: MicroTime) -> String {
    if time.is_zero() {
        return UNKNOWN.to_owned();
    }
    apimachinery::duration::human(seconds_between(time.timestamp(), jiff::Timestamp::now()))
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        NONE.to_owned()
    } else {
        text.to_owned()
    }
}

fn format_labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return NONE.to_owned();
    }
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// The selector's text; `error` when it is not a valid selector. No selector selects nothing and prints as `<none>`.
fn format_selector(selector: Option<&LabelSelector>) -> String {
    if selector.is_none() {
        return NONE.to_owned();
    }
    match apimachinery::labels::Selector::from_label_selector(selector) {
        Ok(selector) => or_none(&selector.to_string()),
        Err(_) => "<error>".to_owned(),
    }
}

/// Joins at most `list` items and says how many are left out.
fn list_with_more(list: &[String], count: usize, max: usize) -> String {
    let text = list.join(",");
    if count > max {
        return format!("{text} + {} more...", count - max);
    }
    if text.is_empty() {
        UNSET.to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printer_is_the_only_one_of_its_kind() {
        let mut seen = std::collections::HashSet::new();
        for printer in PRINTERS {
            assert!(
                seen.insert((printer.group, printer.version, printer.kind)),
                "{} twice",
                printer.kind
            );
            assert!(
                printer.columns.iter().any(|column| column.name == "Name"),
                "{} has no Name",
                printer.kind
            );
        }
    }
}
