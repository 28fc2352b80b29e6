//! A pod as the checks see it, and the words they share.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::{
    ContainerPort, Lifecycle, PodSecurityContext, PodSpec, Probe, SecurityContext,
};
use api_types::meta::v1::ObjectMeta;

/// A pod, or the template of one.
#[derive(Clone, Copy)]
pub(in super::super) struct Pod<'a> {
    pub(in super::super) metadata: &'a ObjectMeta,
    pub(in super::super) spec: &'a PodSpec,
}

/// A container of any sort.
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) ports: &'a [ContainerPort],
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) probes: [Option<&'a Probe>; 3],
    pub(super) lifecycle: Option<&'a Lifecycle>,
}

/// Containers and ephemeral containers have the same fields in different types.
macro_rules! container {
    ($container:expr) => {{
        let container = $container;
        Container {
            name: &container.name,
            ports: &container.ports,
            security: container.security_context.as_deref(),
            probes: [
                container.liveness_probe.as_deref(),
                container.readiness_probe.as_deref(),
                container.startup_probe.as_deref(),
            ],
            lifecycle: container.lifecycle.as_deref(),
        }
    }};
}

impl<'a> Pod<'a> {
    /// Init containers, containers, ephemeral containers.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.spec;
        let usual = spec.init_containers.iter().chain(&spec.containers);
        let ephemeral = spec.ephemeral_containers.iter();
        usual
            .map(|container| container!(container))
            .chain(ephemeral.map(|container| container!(&container.ephemeral_container_common)))
    }

    /// The names of containers that are wrong.
    pub(super) fn wrong_containers(
        self,
        mut is_wrong: impl FnMut(&Container<'a>) -> bool,
    ) -> Vec<&'a str> {
        let containers = self.containers();
        containers
            .filter_map(|container| is_wrong(&container).then_some(container.name))
            .collect()
    }

    pub(super) fn security(self) -> Option<&'a PodSecurityContext> {
        self.spec.security_context.as_deref()
    }

    pub(super) fn annotations(self) -> &'a BTreeMap<String, String> {
        &self.metadata.annotations
    }

    pub(super) fn is_windows(self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// The pod's users are not those of the host.
    pub(super) fn has_own_users(self) -> bool {
        self.spec.host_users == Some(false)
    }
}

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Refusal {
    pub(in super::super) reason: &'static str,
    pub(in super::super) detail: String,
}

/// A refusal with what a check found.
pub(super) fn refuse(reason: &'static str, detail: String) -> Option<Refusal> {
    Some(Refusal { reason, detail })
}

/// One or many.
pub(super) fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`. Nothing is escaped.
pub(super) fn quoted<'s>(items: impl IntoIterator<Item = &'s str>) -> String {
    let quoted: Vec<String> = items
        .into_iter()
        .map(|item| format!("\"{item}\""))
        .collect();
    quoted.join(", ")
}

/// `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    let noun = plural("container", "containers", names.len());
    format!("{noun} {}", quoted(names.iter().copied()))
}

/// `pod and containers "a", "b"`; `None` when there is nobody.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

/// A set in quotes.
pub(super) fn quoted_set(set: &BTreeSet<&str>) -> String {
    quoted(set.iter().copied())
}
