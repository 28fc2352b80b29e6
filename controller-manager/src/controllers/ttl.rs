//! Tells kubelets how long they may cache Secrets and ConfigMaps: the more nodes, the longer. Upstream: pkg/controller/ttl.

use std::sync::Arc;

use api_types::core::v1::Node;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::PatchOptions;
use client::{Client, Lister, ObjectKey, Patch};
use parking_lot::Mutex;
use serde_json::json;

use super::controller_ref::key_of;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Least and most nodes, and the seconds for them. The steps overlap, so that a node that comes and goes changes nothing.
const STEPS: [(usize, usize, u32); 5] = [
    (0, 100, 0),
    (90, 500, 15),
    (450, 1000, 30),
    (900, 2000, 60),
    (1800, usize::MAX, 300),
];

#[derive(Default)]
struct Size {
    nodes: usize,
    step: usize,
}

impl Size {
    fn grow(&mut self) {
        self.nodes += 1;
        if self.nodes > STEPS[self.step].1 {
            self.step += 1;
        }
    }

    fn shrink(&mut self) {
        self.nodes = self.nodes.saturating_sub(1);
        if self.nodes < STEPS[self.step].0 {
            self.step -= 1;
        }
    }

    fn seconds(&self) -> u32 {
        STEPS[self.step].2
    }
}

/// The ttl-controller. Its keys are nodes.
pub struct TtlController {
    client: Client,
    nodes: Lister<Node>,
    size: Arc<Mutex<Size>>,
}

impl Controller for TtlController {
    const NAME: &'static str = "ttl-controller";
    const ALIASES: &'static [&'static str] = &["ttl"];
    const SERVICE_ACCOUNT: &'static str = "ttl-controller";
    const QUEUE: &'static str = "ttlcontroller";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let size: Arc<Mutex<Size>> = Arc::default();
        let nodes = setup.informer::<Node>();
        let (to, counted) = (queue.clone(), size.clone());
        on_change(&nodes, move |change| match change {
            Change::Added(node, _) => {
                counted.lock().grow();
                to.add(key_of(&node.metadata));
            }
            Change::Updated(_, node) => to.add(key_of(&node.metadata)),
            Change::Deleted(_) => counted.lock().shrink(),
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            nodes: nodes.lister(),
            size,
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        5
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(node) = self.nodes.get(key) else {
            return Ok(Next::Done);
        };
        let wanted = self.size.lock().seconds().to_string();
        let present = node
            .metadata
            .annotations
            .get(ANNOTATION)
            .and_then(|text| text.parse::<i64>().ok());
        if present.is_some_and(|present| present.to_string() == wanted) {
            return Ok(Next::Done);
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION: wanted}}});
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        self.client
            .api::<Node>()
            .patch(&key.name, &patch, &PatchOptions::default())
            .await?;
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        let mut size = Size::default();
        let mut reach = |nodes: usize, expected| {
            while size.nodes < nodes {
                size.grow();
            }
            while size.nodes > nodes {
                size.shrink();
            }
            assert_eq!(size.seconds(), expected, "{nodes} nodes");
        };
        reach(100, 0);
        reach(101, 15);
        reach(90, 15);
        reach(89, 0);
        reach(501, 30);
        reach(1001, 60);
        reach(2001, 300);
        reach(1799, 60);
        reach(0, 0);
    }
}
