//! A pod that is bound gets the zone and region of its node as labels. Upstream: plugin/pkg/admission/podtopologylabels.
//!
//! The scheduler's Binding carries them, so that one write binds the pod and labels it; a pod made with a node name gets them at once.

use std::collections::BTreeMap;

use api_types::core::v1::{Binding, Node, Pod};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};

const TOPOLOGY_LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

pub(super) struct PodTopologyLabels {
    /// PodTopologyLabelsAdmission
    pub(super) enabled: bool,
}

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn steps(&self) -> Steps {
        Steps::Admit
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
            if !self.enabled
                || !attributes.is("", "pods")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::plugins::testing::{Few, create};
    use crate::registry::object::Object;

    #[tokio::test]
    async fn labels_follow_the_node_where_the_feature_is_on() {
        for enabled in [true, false] {
            let mut node = Node::default();
            node.metadata.name = "node".into();
            let labels = &mut node.metadata.labels;
            labels.insert(TOPOLOGY_LABELS[0].into(), "z".into());
            labels.insert("other".into(), "x".into());
            let cluster = Few::default().with("nodes", Object::from(node));
            let mut pod = Pod::default();
            pod.spec.node_name = "node".into();
            let mut attributes = create(pod);
            let plugin = PodTopologyLabels { enabled };
            plugin.admit(&mut attributes, &cluster).await.unwrap();
            let labels = &attributes.object::<Pod>().unwrap().metadata.labels;
            let expected = if enabled {
                vec![TOPOLOGY_LABELS[0]]
            } else {
                vec![]
            };
            assert_eq!(labels.keys().collect::<Vec<_>>(), expected);
        }
    }
}
