//! From pods to the Services and ports they stand behind. Shared by the controllers of Endpoints and EndpointSlices. Upstream:
//! k8s.io/endpointslice/util.

use std::collections::{BTreeMap, BTreeSet};

use api_types::IntOrString;
use api_types::core::v1::{Pod, Service, ServicePort};
use apimachinery::labels::Selector;
use client::{Lister, ObjectKey};

use super::super::pod_state;
use crate::context::Change;

type Labels = BTreeMap<String, String>;

/// What has to be known of a changed pod to find the Services whose endpoints may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodProjection {
    /// The pod's namespace.
    pub namespace: String,
    /// Its labels now.
    pub labels: Labels,
    /// Its labels before, when what it matches may have changed.
    pub old_labels: Option<Labels>,
    /// Besides, something changed that every Service it matches shows.
    pub pod_changed: bool,
}

impl PodProjection {
    /// `None` when the change matters to no Service.
    pub fn of(change: &Change<'_, Pod>) -> Option<Self> {
        let simple = |pod: &Pod| Self {
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            old_labels: None,
            pod_changed: false,
        };
        match change {
            Change::Added(pod, _) | Change::Deleted(pod) => Some(simple(pod)),
            Change::Updated(old, new) => {
                if old.metadata.resource_version == new.metadata.resource_version {
                    return None;
                }
                let pod_changed = endpoint_changed(old, new);
                let membership_changed = old.metadata.labels != new.metadata.labels
                    || old.spec.hostname != new.spec.hostname
                    || old.spec.subdomain != new.spec.subdomain;
                match (pod_changed, membership_changed) {
                    (false, false) => None,
                    (true, false) => Some(simple(new)),
                    (_, true) => Some(Self {
                        old_labels: Some(old.metadata.labels.clone()),
                        pod_changed,
                        ..simple(new)
                    }),
                }
            }
        }
    }

    /// The Services to sync.
    pub fn services(&self, services: &Lister<Service>) -> BTreeSet<ObjectKey> {
        let now = matching(services, &self.namespace, &self.labels);
        let Some(old_labels) = &self.old_labels else {
            return now;
        };
        let before = matching(services, &self.namespace, old_labels);
        if self.pod_changed {
            &now | &before
        } else {
            &now ^ &before
        }
    }
}

fn matching(services: &Lister<Service>, namespace: &str, labels: &Labels) -> BTreeSet<ObjectKey> {
    services
        .list_namespace(namespace)
        .into_iter()
        .filter(|service| {
            // Without a selector a Service matches nothing, not everything.
            !service.spec.selector.is_empty()
                && Selector::from_set(&service.spec.selector).matches(labels)
        })
        .map(|service| ObjectKey::new(namespace, &*service.metadata.name))
        .collect()
}

/// Something that endpoints show, beside labels and names, is different.
fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    // As upstream, every change of a terminating pod counts.
    old.metadata.deletion_timestamp.is_some()
        || new.metadata.deletion_timestamp.is_some()
        || pod_state::is_ready(old) != pod_state::is_ready(new)
        || old.status.pod_ips != new.status.pod_ips
}

/// Whether a pod has an endpoint: it has an address and did not end.
pub fn has_endpoint(pod: &Pod, include_terminating: bool) -> bool {
    !pod_state::is_terminal(pod)
        && !(pod.status.pod_ip.is_empty() && pod.status.pod_ips.is_empty())
        && (include_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// Whether the endpoint carries the pod's hostname.
pub fn shows_hostname(pod: &Pod, service: &Service) -> bool {
    !pod.spec.hostname.is_empty()
        && pod.spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace
}

/// The number of the pod's port behind a Service's port.
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports)
        .find(|candidate| candidate.name == *name && candidate.protocol == port.protocol)
        .map(|found| found.container_port)
}

/// The Service has an address of its own.
pub fn is_cluster_ip_set(service: &Service) -> bool {
    service.spec.cluster_ip != "None" && !service.spec.cluster_ip.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::core::v1::{Container, ContainerPort, PodIP};

    use super::*;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn service(name: &str, selector: &[(&str, &str)]) -> Service {
        let mut service = Service::default();
        service.metadata.namespace = "ns".into();
        service.metadata.name = name.into();
        service.spec.selector = labels(selector);
        service
    }

    #[test]
    fn changed_pods_wake_their_services() {
        let services = Lister::of([
            service("a", &[("app", "a")]),
            service("b", &[("app", "b")]),
            service("both", &[("tier", "x")]),
            service("none", &[]),
        ]);
        let check =
            |now: &[(&str, &str)], old: Option<&[(&str, &str)]>, pod_changed, expected: &[&str]| {
                let projection = PodProjection {
                    namespace: "ns".into(),
                    labels: labels(now),
                    old_labels: old.map(labels),
                    pod_changed,
                };
                let found = projection.services(&services);
                assert_eq!(
                    found
                        .iter()
                        .map(|key| key.name.as_str())
                        .collect::<Vec<_>>(),
                    expected
                );
            };
        let (a, b) = ([("app", "a"), ("tier", "x")], [("app", "b"), ("tier", "x")]);
        check(&a, None, false, &["a", "both"]);
        check(&b, Some(&a), false, &["a", "b"]);
        check(&b, Some(&a), true, &["a", "b", "both"]);
    }

    #[test]
    fn what_counts_as_a_change() {
        let mut old = Pod::default();
        old.metadata.resource_version = "1".into();
        let check = |change: fn(&mut Pod), expected: Option<(bool, bool)>| {
            let mut new = old.clone();
            new.metadata.resource_version = "2".into();
            change(&mut new);
            let (old, new) = (Arc::new(old.clone()), Arc::new(new));
            let projection = PodProjection::of(&Change::Updated(&old, &new));
            assert_eq!(
                projection.map(|p| (p.old_labels.is_some(), p.pod_changed)),
                expected
            );
        };
        check(|_| {}, None);
        check(|pod| pod.metadata.resource_version = "1".into(), None);
        check(|pod| pod.status.message = "x".into(), None);
        check(
            |pod| {
                pod.status.pod_ips.push(PodIP {
                    ip: "1.2.3.4".into(),
                })
            },
            Some((false, false)),
        );
        check(|pod| pod.spec.hostname = "h".into(), Some((true, false)));
        check(
            |pod| pod.metadata.deletion_timestamp = Some(api_types::Time::from_unix(1)),
            Some((false, false)),
        );
        check(
            |pod| {
                pod.metadata.labels.insert("a".into(), "b".into());
                pod.status.pod_ips.push(PodIP {
                    ip: "1.2.3.4".into(),
                });
            },
            Some((true, true)),
        );
    }

    #[test]
    fn ports_are_found_by_number_or_name_and_protocol() {
        let container = |name: &str, protocol: &str, number, restart: Option<&str>| Container {
            ports: vec![ContainerPort {
                name: name.into(),
                protocol: protocol.into(),
                container_port: number,
                ..Default::default()
            }],
            restart_policy: restart.map(Into::into),
            ..Default::default()
        };
        let mut pod = Pod::default();
        pod.spec.containers = vec![
            container("web", "TCP", 80, None),
            container("web", "UDP", 81, None),
        ];
        pod.spec.init_containers = vec![
            container("init", "TCP", 90, None),
            container("side", "TCP", 91, Some("Always")),
        ];
        let check = |target: IntOrString, protocol: &str, expected| {
            let port = ServicePort {
                target_port: target,
                protocol: protocol.into(),
                ..Default::default()
            };
            assert_eq!(find_port(&pod, &port), expected);
        };
        check(8080.into(), "TCP", Some(8080));
        check("web".into(), "TCP", Some(80));
        check("web".into(), "UDP", Some(81));
        check("web".into(), "SCTP", None);
        check("init".into(), "TCP", None);
        check("side".into(), "TCP", Some(91));
    }
}
