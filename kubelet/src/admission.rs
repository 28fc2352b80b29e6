//! Whether a pod may run on this node. Upstream: `pkg/kubelet/lifecycle/predicate.go` and the other admit handlers.
//!
//! The scheduler decided before; here counts what it could not know, and pods that were bound without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Pod;
use apimachinery::scheduling::RequiredNodeAffinity;

use crate::eviction::EvictionManager;
use crate::node::NodeInfo;
use crate::pod_resources::{Amounts, amounts, pod_requests};
use crate::runtime::security::app_armor_profile;
use crate::sources::is_static_pod;

/// Why a pod may not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `status.reason`, for example `OutOfcpu`.
    pub reason: String,
    /// Text of event and status.
    pub message: String,
}

impl Rejection {
    fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Rejection {
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Value of the metric label: reasons that name resources of others are one.
    #[must_use]
    pub fn metric_label(&self) -> &str {
        match self.reason.as_str() {
            "OutOfcpu"
            | "OutOfmemory"
            | "OutOfephemeral-storage"
            | "OutOfpods"
            | "NodeAffinity"
            | "NodePorts"
            | "TaintToleration"
            | "Evicted"
            | "AppArmor"
            | "PodOSSelectorNodeLabelDoesNotMatch"
            | "PodOSNotSupported"
            | "SysctlForbidden"
            | "UnexpectedAdmissionError" => &self.reason,
            reason if reason.starts_with("OutOf") => "OutOfExtendedResources",
            _ => "Other",
        }
    }
}

/// Settings of admission.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// `allowedUnsafeSysctls`: names, or prefixes ending in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// The runtime and kernel can confine with AppArmor.
    pub app_armor: bool,
}

const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

impl Admission {
    /// Admits the pod beside the others.
    ///
    /// # Errors
    /// With the first reason against it.
    pub fn admit(
        &self,
        pod: &Pod,
        others: &[Arc<Pod>],
        node: &NodeInfo,
        eviction: &EvictionManager,
    ) -> Result<(), Rejection> {
        eviction.admit(pod)?;
        self.check_sysctls(pod)?;
        check_os(pod)?;
        check_fit(pod, others, node)?;
        check_taints(pod, node)?;
        self.check_app_armor(pod)
    }

    fn check_sysctls(&self, pod: &Pod) -> Result<(), Rejection> {
        let sysctls = pod
            .spec
            .security_context
            .as_deref()
            .map(|context| context.sysctls.as_slice())
            .unwrap_or_default();
        for sysctl in sysctls {
            let name = sysctl.name.replace('/', ".");
            let allowed = SAFE_SYSCTLS.contains(&name.as_str())
                || self.allowed_unsafe_sysctls.iter().any(|pattern| {
                    match pattern.strip_suffix('*') {
                        Some(prefix) => name.starts_with(prefix),
                        None => *pattern == name,
                    }
                });
            if !allowed {
                return Err(Rejection::new(
                    "SysctlForbidden",
                    format!("forbidden sysctl: {:?} not allowlisted", sysctl.name),
                ));
            }
            let of_host = (name.starts_with("net.") && pod.spec.host_network)
                || ((name.starts_with("kernel.shm")
                    || name.starts_with("kernel.msg")
                    || name == "kernel.sem"
                    || name.starts_with("fs.mqueue."))
                    && pod.spec.host_ipc);
            if of_host {
                let what = if name.starts_with("net.") {
                    "net"
                } else {
                    "ipc"
                };
                return Err(Rejection::new(
                    "SysctlForbidden",
                    format!(
                        "forbidden sysctl: {:?} not allowed with host {what} enabled",
                        sysctl.name
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_app_armor(&self, pod: &Pod) -> Result<(), Rejection> {
        if pod.status.phase != "Pending" && !pod.status.phase.is_empty() {
            return Ok(());
        }
        let confined = pod
            .spec
            .init_containers
            .iter()
            .chain(&pod.spec.containers)
            .filter_map(|container| app_armor_profile(pod, container))
            .any(|profile| profile.type_ != "Unconfined");
        if confined && !self.app_armor {
            return Err(Rejection::new(
                "AppArmor",
                "Cannot enforce AppArmor: AppArmor is not enabled on the host",
            ));
        }
        Ok(())
    }
}

fn check_os(pod: &Pod) -> Result<(), Rejection> {
    if pod
        .metadata
        .labels
        .get("kubernetes.io/os")
        .is_some_and(|os| os != "linux")
    {
        return Err(Rejection::new(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        ));
    }
    if pod.spec.os.as_deref().is_some_and(|os| os.name != "linux") {
        return Err(Rejection::new(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ));
    }
    Ok(())
}

fn insufficient(resource: &str, requested: i64, used: i64, capacity: i64) -> Rejection {
    Rejection::new(
        format!("OutOf{resource}"),
        format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    )
}

/// Whether the labels of the node, as far as they are known here, are what the pod demands.
#[must_use]
pub(crate) fn matches_node(pod: &Pod, node: &NodeInfo) -> bool {
    let affinity = RequiredNodeAffinity::new(pod);
    affinity.is_empty()
        || affinity
            .matches_labels(&node.labels(), &node.name)
            .unwrap_or(false)
}

/// Resources, node name, affinity and ports.
pub(crate) fn check_fit(pod: &Pod, others: &[Arc<Pod>], node: &NodeInfo) -> Result<(), Rejection> {
    let allocatable: Amounts = amounts(&node.allocatable());
    let of = |list: &Amounts, name: &str| list.get(name).copied().unwrap_or(0);
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if count + 1 > of(&allocatable, "pods") {
        return Err(insufficient("pods", 1, count, of(&allocatable, "pods")));
    }
    let mut used = Amounts::new();
    for other in others {
        for (name, amount) in pod_requests(other) {
            *used.entry(name).or_default() += amount;
        }
    }
    for (name, wanted) in ordered(&pod_requests(pod)) {
        // A resource the node does not have belongs to a plugin that is not there yet: its pods are let in and wait.
        if wanted == 0 || !allocatable.contains_key(name) {
            continue;
        }
        if wanted > of(&allocatable, name) - of(&used, name) {
            return Err(insufficient(
                name,
                wanted,
                of(&used, name),
                of(&allocatable, name),
            ));
        }
    }
    if !pod.spec.node_name.is_empty() && pod.spec.node_name != node.name {
        return Err(Rejection::new(
            "NodeName",
            "Predicate NodeName failed: node(s) didn't match the requested node name",
        ));
    }
    if !matches_node(pod, node) {
        return Err(Rejection::new(
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ));
    }
    let taken: Vec<HostPort> = others.iter().flat_map(|other| host_ports(other)).collect();
    if host_ports(pod)
        .iter()
        .any(|port| taken.iter().any(|other| conflict(port, other)))
    {
        return Err(Rejection::new(
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Ok(())
}

/// CPU, memory and storage before resources of others, as upstream reports them.
fn ordered(requests: &Amounts) -> Vec<(&str, i64)> {
    const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let first = FIRST
        .iter()
        .filter_map(|name| requests.get_key_value(*name));
    let rest = requests
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()));
    first
        .chain(rest)
        .map(|(name, amount)| (name.as_str(), *amount))
        .collect()
}

#[derive(Debug, PartialEq)]
struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| crate::container::is_sidecar(container));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: if port.host_ip.is_empty() {
                "0.0.0.0".to_owned()
            } else {
                port.host_ip.clone()
            },
            protocol: if port.protocol.is_empty() {
                "TCP".to_owned()
            } else {
                port.protocol.clone()
            },
            port: port.host_port,
        })
        .collect()
}

fn conflict(a: &HostPort, b: &HostPort) -> bool {
    const ANY: &str = "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || a.ip == ANY || b.ip == ANY)
}

/// NoExecute taints; static pods run whatever befalls the node.
fn check_taints(pod: &Pod, node: &NodeInfo) -> Result<(), Rejection> {
    if is_static_pod(pod) {
        return Ok(());
    }
    let untolerated = node
        .taints()
        .into_iter()
        .filter(|taint| taint.effect == "NoExecute")
        .any(|taint| {
            !pod.spec.tolerations.iter().any(|toleration| {
                (toleration.effect.is_empty() || toleration.effect == taint.effect)
                    && (toleration.key.is_empty() || toleration.key == taint.key)
                    && (toleration.operator == "Exists" || toleration.value == taint.value)
            })
        });
    if untolerated {
        return Err(Rejection::new(
            "TaintToleration",
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
        ));
    }
    Ok(())
}

/// Requests by resource, for messages.
pub type Requests = BTreeMap<String, i64>;

#[cfg(test)]
mod tests {
    use api_types::core::v1::{Affinity, ContainerPort, Node, NodeSpec, Sysctl, Taint, Toleration};

    use super::*;
    use crate::node::machine::Machine;
    use crate::pod_resources::tests::{container, list};

    fn node() -> NodeInfo {
        let resources = list(&[("cpu", "2"), ("memory", "1Gi"), ("pods", "2")]);
        let ip = "10.0.0.1".parse().expect("ip");
        NodeInfo::new(
            "node1",
            "node1",
            Machine::default(),
            &[ip],
            resources.clone(),
            resources,
        )
    }

    fn pod(requests: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        pod.spec.containers = vec![container("c", requests, &[])];
        pod
    }

    #[track_caller]
    fn check(pod: &Pod, others: &[Pod], want: Option<(&str, &str)>) {
        let others: Vec<Arc<Pod>> = others.iter().cloned().map(Arc::new).collect();
        let got = check_fit(pod, &others, &node()).err();
        assert_eq!(
            got.as_ref()
                .map(|r| (r.reason.as_str(), r.message.as_str())),
            want
        );
    }

    #[test]
    fn resources() {
        check(&pod(&[("cpu", "2")]), &[], None);
        check(
            &pod(&[("cpu", "1500m")]),
            &[pod(&[("cpu", "1")])],
            Some((
                "OutOfcpu",
                "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
            )),
        );
        check(
            &pod(&[("memory", "2Gi")]),
            &[],
            Some((
                "OutOfmemory",
                "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
            )),
        );
        check(
            &pod(&[]),
            &[pod(&[]), pod(&[])],
            Some((
                "OutOfpods",
                "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
            )),
        );
        check(&pod(&[("example.com/gpu", "1")]), &[], None);
    }

    #[test]
    fn ports() {
        let with_port = |port, ip: &str| {
            let mut pod = pod(&[]);
            pod.spec.containers[0].ports = vec![ContainerPort {
                host_port: port,
                container_port: port,
                host_ip: ip.into(),
                ..Default::default()
            }];
            pod
        };
        check(&with_port(80, ""), &[with_port(81, "")], None);
        check(&with_port(80, "1.1.1.1"), &[with_port(80, "1.1.1.2")], None);
        let rejected = Some((
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ));
        check(&with_port(80, "1.1.1.1"), &[with_port(80, "")], rejected);
    }

    #[test]
    fn affinity() {
        let mut pod = pod(&[]);
        pod.spec
            .node_selector
            .insert("kubernetes.io/hostname".into(), "node1".into());
        check(&pod, &[], None);
        pod.spec.node_selector.insert("zone".into(), "a".into());
        let rejected = Some((
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ));
        check(&pod, &[], rejected);
        pod.spec.node_selector.clear();
        pod.spec.affinity = Some(Box::<Affinity>::default());
        check(&pod, &[], None);
    }

    #[test]
    fn taints() {
        let node = node();
        let taint = Taint {
            key: "k".into(),
            value: "v".into(),
            effect: "NoExecute".into(),
            ..Default::default()
        };
        node.set_object(Node {
            spec: NodeSpec {
                taints: vec![taint],
                ..Default::default()
            },
            ..Default::default()
        });
        let mut pod = pod(&[]);
        assert_eq!(
            check_taints(&pod, &node).expect_err("tainted").reason,
            "TaintToleration"
        );
        pod.spec.tolerations = vec![Toleration {
            key: "k".into(),
            operator: "Exists".into(),
            ..Default::default()
        }];
        assert!(check_taints(&pod, &node).is_ok());
    }

    #[test]
    fn sysctls() {
        let admission = Admission {
            allowed_unsafe_sysctls: vec!["kernel.msg*".into()],
            app_armor: false,
        };
        let with = |name: &str| {
            let mut pod = pod(&[]);
            pod.spec.security_context = Some(Box::default());
            if let Some(context) = &mut pod.spec.security_context {
                context.sysctls = vec![Sysctl {
                    name: name.into(),
                    value: "1".into(),
                }];
            }
            pod
        };
        assert!(
            admission
                .check_sysctls(&with("kernel.shm_rmid_forced"))
                .is_ok()
        );
        assert!(admission.check_sysctls(&with("kernel.msgmax")).is_ok());
        assert_eq!(
            admission
                .check_sysctls(&with("kernel.sem"))
                .expect_err("forbidden")
                .message,
            "forbidden sysctl: \"kernel.sem\" not allowlisted"
        );
    }
}
