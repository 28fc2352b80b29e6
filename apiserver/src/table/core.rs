//! Rows of core/v1 kinds and EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};

use api_types::Time;
use api_types::core::v1::{
    ComponentStatus, ConfigMap, Container, Endpoints, Event, Namespace, Node, PersistentVolume,
    PersistentVolumeClaim, Pod, PodCondition, PodTemplate, ReplicationController, ResourceQuota,
    Secret, Service, ServiceAccount, ServicePort,
};
use api_types::discovery::v1::EndpointSlice;

use super::workloads::container_cells;
use super::{
    Cells, Column, Completed, NONE, TableRow, UNKNOWN, UNSET, columns, format_labels,
    list_with_more, or_none, since, since_micro,
};

/// Load balancer addresses wider than this are cut in narrow output; Tables are always wide.
fn restartable(containers: &BTreeMap<&str, &Container>, name: &str) -> bool {
    containers
        .get(name)
        .is_some_and(|container| container.restart_policy.as_deref() == Some("Always"))
}

fn condition_is_true(conditions: &[PodCondition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// What the status column and the ready and restarts columns say about a pod.
struct PodSummary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Time>,
}

fn summarize(pod: &Pod) -> PodSummary {
    let status = &pod.status;
    let init: BTreeMap<&str, &Container> = pod
        .spec
        .init_containers
        .iter()
        .map(|container| (container.name.as_str(), container))
        .collect();
    let mut total = pod.spec.containers.len();
    total += pod
        .spec
        .init_containers
        .iter()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .count();
    let mut reason = if status.reason.is_empty() {
        status.phase.clone()
    } else {
        status.reason.clone()
    };
    if status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.reason == "SchedulingGated")
    {
        reason = "SchedulingGated".to_owned();
    }
    let (mut ready, mut restarts, mut sidecar_restarts) = (0, 0i64, 0i64);
    let (mut last_restart, mut last_sidecar_restart): (Option<Time>, Option<Time>) = (None, None);
    let later = |last: &mut Option<Time>, time: Time| {
        if !time.is_zero() && last.is_none_or(|last| last.timestamp() < time.timestamp()) {
            *last = Some(time);
        }
    };

    let mut initializing = false;
    for (i, container) in status.init_container_statuses.iter().enumerate() {
        let sidecar = restartable(&init, &container.name);
        restarts += i64::from(container.restart_count);
        if let Some(last) = &container.last_state.terminated {
            later(&mut last_restart, last.finished_at);
        }
        if sidecar {
            sidecar_restarts += i64::from(container.restart_count);
            if let Some(last) = &container.last_state.terminated {
                later(&mut last_sidecar_restart, last.finished_at);
            }
        }
        match (&container.state.terminated, &container.state.waiting) {
            (Some(terminated), _) if terminated.exit_code == 0 => continue,
            _ if sidecar && container.started == Some(true) => {
                ready += usize::from(container.ready);
                continue;
            }
            (Some(terminated), _) => {
                reason = if !terminated.reason.is_empty() {
                    format!("Init:{}", terminated.reason)
                } else if terminated.signal != 0 {
                    format!("Init:Signal:{}", terminated.signal)
                } else {
                    format!("Init:ExitCode:{}", terminated.exit_code)
                };
            }
            (None, Some(waiting))
                if !waiting.reason.is_empty() && waiting.reason != "PodInitializing" =>
            {
                reason = format!("Init:{}", waiting.reason)
            }
            _ => reason = format!("Init:{i}/{}", pod.spec.init_containers.len()),
        }
        initializing = true;
        break;
    }

    if !initializing || condition_is_true(&status.conditions, "Initialized") {
        restarts = sidecar_restarts;
        last_restart = last_sidecar_restart;
        let mut has_running = false;
        let mut error_reason = String::new();
        for container in status.container_statuses.iter().rev() {
            restarts += i64::from(container.restart_count);
            if let Some(last) = &container.last_state.terminated {
                later(&mut last_restart, last.finished_at);
            }
            match (&container.state.waiting, &container.state.terminated) {
                (Some(waiting), _) if !waiting.reason.is_empty() => reason = waiting.reason.clone(),
                (_, Some(terminated)) => {
                    reason = if !terminated.reason.is_empty() {
                        terminated.reason.clone()
                    } else if terminated.signal != 0 {
                        format!("Signal:{}", terminated.signal)
                    } else {
                        format!("ExitCode:{}", terminated.exit_code)
                    };
                    if terminated.exit_code != 0 {
                        error_reason.clone_from(&reason);
                    }
                }
                _ if container.ready && container.state.running.is_some() => {
                    has_running = true;
                    ready += 1;
                }
                _ => {}
            }
        }
        if reason == "Completed" {
            if has_running && condition_is_true(&status.conditions, "Ready") {
                reason = "Running".to_owned();
            } else if !error_reason.is_empty() {
                reason = error_reason;
            } else if has_running {
                reason = "NotReady".to_owned();
            }
        }
    }

    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if !matches!(status.phase.as_str(), "Succeeded" | "Failed") {
            reason = "Terminating".to_owned();
        }
    }
    PodSummary {
        reason,
        ready,
        total,
        restarts,
        last_restart,
    }
}

impl TableRow for Pod {
    const COLUMNS: &'static [Column] = columns::POD_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let summary = summarize(self);
        let restarts = match summary.last_restart {
            Some(last) if summary.restarts != 0 => {
                format!("{} ({} ago)", summary.restarts, since(last))
            }
            _ => summary.restarts.to_string(),
        };
        let gates = &self.spec.readiness_gates;
        let readiness = if gates.is_empty() {
            NONE.to_owned()
        } else {
            let holds = |kind: &str| {
                self.status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == kind)
                    .is_some_and(|condition| condition.status == "True")
            };
            format!(
                "{}/{}",
                gates
                    .iter()
                    .filter(|gate| holds(&gate.condition_type))
                    .count(),
                gates.len()
            )
        };
        cells
            .text(self.metadata.name.clone())
            .text(format!("{}/{}", summary.ready, summary.total))
            .text(summary.reason)
            .text(restarts)
            .age(&self.metadata)
            .text(or_none(
                self.status.pod_ips.first().map_or("", |ip| ip.ip.as_str()),
            ))
            .text(or_none(&self.spec.node_name))
            .text(or_none(&self.status.nominated_node_name))
            .text(readiness);
    }

    fn completed(&self) -> Option<Completed> {
        match self.status.phase.as_str() {
            "Succeeded" => Some(Completed {
                reason: "Succeeded",
                message: "The pod has completed successfully.",
            }),
            "Failed" => Some(Completed {
                reason: "Failed",
                message: "The pod failed.",
            }),
            _ => None,
        }
    }
}

impl TableRow for PodTemplate {
    const COLUMNS: &'static [Column] = columns::POD_TEMPLATE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone());
        container_cells(cells, &self.template.spec.containers);
        cells.text(format_labels(&self.template.metadata.labels));
    }
}

impl TableRow for ReplicationController {
    const COLUMNS: &'static [Column] = columns::REPLICATION_CONTROLLER_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.replicas.unwrap_or(0))
            .int(self.status.replicas)
            .int(self.status.ready_replicas)
            .age(&self.metadata);
        container_cells(
            cells,
            self.spec
                .template
                .as_ref()
                .map_or(&[], |template| &template.spec.containers),
        );
        cells.text(format_labels(&self.spec.selector));
    }
}

fn format_ports(ports: &[ServicePort]) -> String {
    let ports: Vec<String> = ports
        .iter()
        .map(|port| match port.node_port {
            0 => format!("{}/{}", port.port, port.protocol),
            node_port => format!("{}:{node_port}/{}", port.port, port.protocol),
        })
        .collect();
    or_none(&ports.join(","))
}

fn external_ip(service: &Service) -> String {
    let external = service.spec.external_ips.join(",");
    match service.spec.type_.as_str() {
        "ClusterIP" | "NodePort" => or_none(&external),
        "LoadBalancer" => {
            let addresses: BTreeSet<&str> = service
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
            let mut all: Vec<&str> = addresses.into_iter().collect();
            all.extend(service.spec.external_ips.iter().map(String::as_str));
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => service.spec.external_name.clone(),
        _ => UNKNOWN.to_owned(),
    }
}

impl TableRow for Service {
    const COLUMNS: &'static [Column] = columns::SERVICE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.type_.clone())
            .text(or_none(
                self.spec.cluster_ips.first().map_or("", String::as_str),
            ))
            .text(external_ip(self))
            .text(format_ports(&self.spec.ports))
            .age(&self.metadata)
            .text(format_labels(&self.spec.selector));
    }
}

impl TableRow for Endpoints {
    const COLUMNS: &'static [Column] = columns::ENDPOINT_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        const MAX: usize = 3;
        let mut addresses = Vec::new();
        for subset in &self.subsets {
            if subset.ports.is_empty() {
                addresses.extend(subset.addresses.iter().map(|address| address.ip.clone()));
            }
            for port in &subset.ports {
                addresses.extend(subset.addresses.iter().map(|address| {
                    if address.ip.contains(':') {
                        format!("[{}]:{}", address.ip, port.port)
                    } else {
                        format!("{}:{}", address.ip, port.port)
                    }
                }));
            }
        }
        let text = if self.subsets.is_empty() {
            NONE.to_owned()
        } else if addresses.len() > MAX {
            format!(
                "{} + {} more...",
                addresses[..MAX].join(","),
                addresses.len() - MAX
            )
        } else {
            addresses.join(",")
        };
        cells
            .text(self.metadata.name.clone())
            .text(text)
            .age(&self.metadata);
    }
}

impl TableRow for EndpointSlice {
    const COLUMNS: &'static [Column] = columns::ENDPOINT_SLICE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        const MAX: usize = 3;
        let ports: Vec<String> = self
            .ports
            .iter()
            .take(MAX)
            .map(|port| match (port.port, &port.name) {
                (Some(number), _) => number.to_string(),
                (None, Some(name)) => name.clone(),
                (None, None) => "*".to_owned(),
            })
            .collect();
        let addresses: Vec<String> = self
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses)
            .take(MAX)
            .cloned()
            .collect();
        let address_count = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.addresses.len())
            .sum();
        cells
            .text(self.metadata.name.clone())
            .text(self.address_type.clone())
            .text(list_with_more(&ports, self.ports.len(), MAX))
            .text(list_with_more(&addresses, address_count, MAX))
            .age(&self.metadata);
    }
}

fn node_roles(node: &Node) -> String {
    let roles: BTreeSet<&str> = node
        .metadata
        .labels
        .iter()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if key == "kubernetes.io/role" => Some(value.as_str()),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    or_none(&roles.into_iter().collect::<Vec<_>>().join(","))
}

impl TableRow for Node {
    const COLUMNS: &'static [Column] = columns::NODE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        // The last condition of a type counts.
        let mut status = match self
            .status
            .conditions
            .iter()
            .rev()
            .find(|condition| condition.type_ == "Ready")
        {
            Some(condition) if condition.status == "True" => "Ready".to_owned(),
            Some(_) => "NotReady".to_owned(),
            None => "Unknown".to_owned(),
        };
        if self.spec.unschedulable {
            status.push_str(",SchedulingDisabled");
        }
        let info = &self.status.node_info;
        let or_unknown = |text: &str| {
            if text.is_empty() {
                UNKNOWN.to_owned()
            } else {
                text.to_owned()
            }
        };
        let mut kernel = or_unknown(&info.kernel_version);
        if !info.architecture.is_empty() {
            kernel = format!("{kernel} ({})", info.architecture);
        }
        let address = |kind: &str| {
            self.status
                .addresses
                .iter()
                .find(|address| address.type_ == kind)
                .map_or(NONE, |address| address.address.as_str())
        };
        cells
            .text(self.metadata.name.clone())
            .text(status)
            .text(node_roles(self))
            .age(&self.metadata)
            .text(info.kubelet_version.clone())
            .text(address("InternalIP"))
            .text(address("ExternalIP"))
            .text(or_unknown(&info.os_image))
            .text(kernel)
            .text(or_unknown(&info.container_runtime_version));
    }
}

impl TableRow for Event {
    const COLUMNS: &'static [Column] = columns::EVENT_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let first_seen = if self.first_timestamp.is_zero() {
            since_micro(self.event_time)
        } else {
            since(self.first_timestamp)
        };
        let mut last_seen = if self.last_timestamp.is_zero() {
            first_seen.clone()
        } else {
            since(self.last_timestamp)
        };
        let mut count = if self.count == 0 { 1 } else { self.count };
        if let Some(series) = &self.series {
            last_seen = since_micro(series.last_observed_time);
            count = series.count;
        }
        let object = &self.involved_object;
        let kind = object.kind.to_lowercase();
        let target = if object.name.is_empty() {
            kind
        } else {
            format!("{kind}/{}", object.name)
        };
        let first = |a: &str, b: &str| {
            if a.is_empty() {
                b.to_owned()
            } else {
                a.to_owned()
            }
        };
        let component = first(&self.source.component, &self.reporting_component);
        let instance = first(&self.source.host, &self.reporting_instance);
        cells
            .text(last_seen)
            .text(self.type_.clone())
            .text(self.reason.clone())
            .text(target)
            .text(object.field_path.clone())
            .text(if instance.is_empty() {
                component
            } else {
                format!("{component}, {instance}")
            })
            .text(self.message.trim())
            .text(first_seen)
            .int(count)
            .text(self.metadata.name.clone());
    }
}

impl TableRow for Namespace {
    const COLUMNS: &'static [Column] = columns::NAMESPACE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.status.phase.clone())
            .age(&self.metadata);
    }
}

impl TableRow for Secret {
    const COLUMNS: &'static [Column] = columns::SECRET_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.type_.clone())
            .int(self.data.len() as i64)
            .age(&self.metadata);
    }
}

impl TableRow for ServiceAccount {
    const COLUMNS: &'static [Column] = columns::SERVICE_ACCOUNT_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone()).age(&self.metadata);
    }
}

impl TableRow for ConfigMap {
    const COLUMNS: &'static [Column] = columns::CONFIG_MAP_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int((self.data.len() + self.binary_data.len()) as i64)
            .age(&self.metadata);
    }
}

/// Access modes in upstream's order and short form.
fn access_modes(modes: &[String]) -> String {
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| modes.iter().any(|have| have == mode))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl TableRow for PersistentVolume {
    const COLUMNS: &'static [Column] = columns::PERSISTENT_VOLUME_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let phase = if self.metadata.deletion_timestamp.is_some() {
            "Terminating"
        } else {
            self.status.phase.as_str()
        };
        let or_unset = |text: &Option<String>| text.clone().unwrap_or_else(|| UNSET.to_owned());
        cells
            .text(self.metadata.name.clone())
            .text(
                self.spec
                    .capacity
                    .get("storage")
                    .map_or_else(|| "0".to_owned(), ToString::to_string),
            )
            .text(access_modes(&self.spec.access_modes))
            .text(self.spec.persistent_volume_reclaim_policy.clone())
            .text(phase)
            .text(
                self.spec
                    .claim_ref
                    .as_ref()
                    .map(|claim| format!("{}/{}", claim.namespace, claim.name))
                    .unwrap_or_default(),
            )
            .text(
                self.metadata
                    .annotations
                    .get(BETA_STORAGE_CLASS)
                    .unwrap_or(&self.spec.storage_class_name)
                    .clone(),
            )
            .text(or_unset(&self.spec.volume_attributes_class_name))
            .text(self.status.reason.clone())
            .age(&self.metadata)
            .text(or_unset(&self.spec.volume_mode));
    }
}

impl TableRow for PersistentVolumeClaim {
    const COLUMNS: &'static [Column] = columns::PERSISTENT_VOLUME_CLAIM_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let phase = if self.metadata.deletion_timestamp.is_some() {
            "Terminating"
        } else {
            self.status.phase.as_str()
        };
        let or_unset = |text: &Option<String>| text.clone().unwrap_or_else(|| UNSET.to_owned());
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !self.spec.volume_name.is_empty() {
            capacity = self
                .status
                .capacity
                .get("storage")
                .map_or_else(|| "0".to_owned(), ToString::to_string);
            modes = access_modes(&self.status.access_modes);
        }
        cells
            .text(self.metadata.name.clone())
            .text(phase)
            .text(self.spec.volume_name.clone())
            .text(capacity)
            .text(modes)
            .text(
                self.metadata
                    .annotations
                    .get(BETA_STORAGE_CLASS)
                    .cloned()
                    .or_else(|| self.spec.storage_class_name.clone())
                    .unwrap_or_default(),
            )
            .text(or_unset(&self.spec.volume_attributes_class_name))
            .age(&self.metadata)
            .text(or_unset(&self.spec.volume_mode));
    }
}

impl TableRow for ComponentStatus {
    const COLUMNS: &'static [Column] = columns::COMPONENT_STATUS_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone());
        match self
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Healthy")
        {
            Some(condition) => {
                let status = if condition.status == "True" {
                    "Healthy"
                } else {
                    "Unhealthy"
                };
                cells
                    .text(status)
                    .text(condition.message.clone())
                    .text(condition.error.clone())
            }
            None => cells.text("Unknown").text("").text(""),
        };
    }
}

impl TableRow for ResourceQuota {
    const COLUMNS: &'static [Column] = columns::RESOURCE_QUOTA_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in &self.status.hard {
            let used = self
                .status
                .used
                .get(resource)
                .map_or_else(|| "0".to_owned(), ToString::to_string);
            let cell = format!("{resource}: {used}/{hard}");
            if resource.starts_with("limits.") {
                limits.push(cell)
            } else {
                requests.push(cell)
            }
        }
        cells
            .text(self.metadata.name.clone())
            .text(requests.join(", "))
            .text(limits.join(", "))
            .age(&self.metadata);
    }
}
