//! Watches the kubelet's own Node, whose labels and taints decide what may run here. Upstream: `nodeLister` in
//! `pkg/kubelet/kubelet.go`.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Node;
use client::{Client, EventHandler, ListScope, SharedInformer};
use tokio_util::sync::CancellationToken;

use super::NodeInfo;

struct Remember {
    node: Arc<NodeInfo>,
}

impl EventHandler<Node> for Remember {
    fn on_add(&self, node: &Arc<Node>, _: bool) {
        self.node.set_object(Node::clone(node));
    }

    fn on_update(&self, _: &Arc<Node>, node: &Arc<Node>) {
        self.node.set_object(Node::clone(node));
    }
}

/// Keeps what `node` knows of its object current until the token ends it. A Node that is deleted is remembered as it was.
pub fn watch_node(client: &Client, node: Arc<NodeInfo>, token: CancellationToken) {
    let scope = ListScope::<Node>::fields(format!("metadata.name={}", node.name));
    let informer = SharedInformer::new(client, scope, Duration::ZERO);
    let registration = informer.add_handler(Arc::new(Remember { node }));
    tokio::spawn(async move {
        informer.run(token).await;
        drop(registration);
    });
}
