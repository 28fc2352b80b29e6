//! A pod that is bound gets the zone and region of its node as labels. Upstream: plugin/pkg/admission/podtopologylabels.
//!
//! The scheduler's Binding carries them, so that one write binds the pod and labels it; a pod made with a node name gets them at once.

use std::collections::BTreeMap;

use api_types::core::v1::{Binding, Node, Pod};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Verdict};

const TOPOLOGY_LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is("", "pods")
                || !matches!(attributes.subresource.as_str(), "" | "binding")
            {
                return Ok(());
            }
            let node = match (attributes.object::<Binding>(), attributes.object::<Pod>()) {
                (Some(binding), _) if binding.target.kind == "Node" => binding.target.name.clone(),
                (_, Some(pod)) => pod.spec.node_name.clone(),
                _ => return Ok(()),
            };
            if node.is_empty() {
                return Ok(());
            }
            // A node that is not there is for others to complain about.
            let Some(node) = cluster
                .get("", "nodes", "", &node, Freshness::Cached)
                .await?
            else {
                return Ok(());
            };
            let Some(node) = node.get::<Node>() else {
                return Ok(());
            };
            let labels: BTreeMap<&str, String> = TOPOLOGY_LABELS
                .iter()
                .filter_map(|label| Some((*label, node.metadata.labels.get(*label)?.clone())))
                .collect();
            if let Some(object) = attributes.object.as_mut() {
                object.edit_metadata(|metadata| {
                    for (label, value) in labels {
                        metadata.labels.insert(label.to_owned(), value);
                    }
                });
            }
            Ok(())
        })
    }
}
