//! Changes of pods that run: their nodes must be able to follow. Upstream: plugin/pkg/admission/{podresize,nodedeclaredfeatures}.

use api_types::core::v1::{Node, Pod};
use api_types::meta::v1::StatusCause;
use apimachinery::quote::quote;
use apimachinery::resource::{PodResourcesOptions, pod_requests};
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};

/// The pod of an update that changes its spec on the node that it runs on, before and after.
fn changed<'a>(attributes: &'a Attributes, subresources: &[&str]) -> Option<(&'a Pod, &'a Pod)> {
    if !attributes.is("", "pods") || !subresources.contains(&&*attributes.subresource) {
        return None;
    }
    let (old, new) = (attributes.old::<Pod>()?, attributes.object::<Pod>()?);
    let runs = !new.spec.node_name.is_empty();
    (runs && old.metadata.generation != new.metadata.generation).then_some((old, new))
}

async fn node_of(
    pod: &Pod,
    attributes: &Attributes,
    cluster: &dyn Cluster,
) -> Result<Node, StatusError> {
    let name = &pod.spec.node_name;
    let found = cluster
        .get("", "nodes", "", name, Freshness::Cached)
        .await?;
    found
        .and_then(|object| object.get::<Node>().cloned())
        .ok_or_else(|| attributes.forbidden(format!("node {} not found", quote(name))))
}

/// PodResizeValidator: a resize fits the node, which has to be Linux.
pub(super) struct PodResizeValidator;

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some((_, pod)) = changed(attributes, &["resize"]) else {
                return Ok(());
            };
            let node = node_of(pod, attributes, cluster).await?;
            let refused = |why: String, reason: &str| {
                let cause = StatusCause {
                    reason: reason.to_owned(),
                    ..StatusCause::default()
                };
                Err(attributes.forbidden(why).with_cause(cause))
            };
            match node.metadata.labels.get("kubernetes.io/os") {
                Some(system) if system != "linux" => {
                    let (name, system) = (quote(&node.metadata.name), quote(system));
                    let why = format!(
                        "pod resize is only supported on linux nodes, node {name} is {system}"
                    );
                    return refused(why, "UnsupportedPlatform");
                }
                _ => {}
            }
            match too_much(pod, &node) {
                None => Ok(()),
                Some(why) => refused(why, "NodeCapacity"),
            }
        })
    }
}

/// What the pod requests more of than the node has.
fn too_much(pod: &Pod, node: &Node) -> Option<String> {
    let requests = pod_requests(pod, &PodResourcesOptions::default());
    let amount = |list: &apimachinery::resource::ResourceList, name: &str| {
        list.get(name).cloned().unwrap_or_default()
    };
    let mut found = Vec::new();
    for name in ["cpu", "memory"] {
        let requested = amount(&requests, name);
        let allocatable = amount(&node.status.allocatable, name);
        if requested.cmp(&allocatable).is_gt() {
            let (requested, allocatable) = match name {
                "cpu" => (requested.milli_value(), allocatable.milli_value()),
                _ => (requested.value(), allocatable.value()),
            };
            found.push(format!(
                "{name}, requested: {requested}, allocatable: {allocatable}"
            ));
        }
    }
    (!found.is_empty()).then(|| {
        format!(
            "node didn't have enough allocatable resources: {}",
            found.join("; ")
        )
    })
}

/// NodeDeclaredFeatureValidator: what a changed pod needs of its node, the node says it has.
pub(super) struct NodeDeclaredFeatureValidator {
    /// Feature gate NodeDeclaredFeatures.
    pub(super) enabled: bool,
}

impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !self.enabled {
                return Ok(());
            }
            let Some((old, new)) = changed(attributes, &["", "resize"]) else {
                return Ok(());
            };
            let mut needed = needed_for_update(old, new);
            if needed.is_empty() {
                return Ok(());
            }
            let node = node_of(new, attributes, cluster).await?;
            needed.retain(|feature| {
                let declared = &node.status.declared_features;
                !declared.iter().any(|declared| declared == feature)
            });
            if needed.is_empty() {
                return Ok(());
            }
            Err(attributes.forbidden(format!(
                "pod update requires features {} which are not available on node {}",
                needed.join(", "),
                quote(&node.metadata.name)
            )))
        })
    }
}

/// The features of nodes that a change asks for, by name. Upstream: component-helpers/nodedeclaredfeatures.
fn needed_for_update(old: &Pod, new: &Pod) -> Vec<&'static str> {
    let mut needed = Vec::new();
    if old.spec.resources != new.spec.resources {
        needed.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let mut pairs = old
        .spec
        .init_containers
        .iter()
        .zip(&new.spec.init_containers);
    let resized = pairs.any(|(old, new)| {
        old.restart_policy.as_deref() != Some("Always") && old.resources != new.resources
    });
    if resized {
        needed.push("InPlacePodVerticalScalingInitContainers");
    }
    needed
}
