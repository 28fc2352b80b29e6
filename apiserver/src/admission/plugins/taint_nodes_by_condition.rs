//! A new node is tainted until the node-lifecycle controller has seen it Ready. Upstream: plugin/pkg/admission/nodetaint.

use api_types::core::v1::{Node, Taint};
use component_base::auth::BoxFuture;

use crate::admission::{Attributes, Cluster, Operation, Plugin, Steps, Verdict};

pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
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
        _: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "nodes") {
                return Ok(());
            }
            let Some(node) = attributes.object_mut::<Node>() else {
                return Ok(());
            };
            let taint = Taint {
                key: "node.kubernetes.io/not-ready".to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            };
            if !node
                .spec
                .taints
                .iter()
                .any(|own| own.key == taint.key && own.effect == taint.effect)
            {
                node.spec.taints.push(taint);
            }
            Ok(())
        })
    }
}
