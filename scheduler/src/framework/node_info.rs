//! A node with the sums over its pods. Upstream: framework/types.go (`NodeInfo`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_types::core::v1::Node;

use super::pod_info::{HostPort, PodInfo, claim_keys};
use super::resource::Resource;

/// Index of a node in the columns of cache and snapshot. A slot is used again only after all of its pods are gone.
pub type Slot = u32;

/// An image that some nodes have.
#[derive(Debug, Default)]
pub struct ImageState {
    /// Bytes.
    pub size: i64,
    /// How many nodes have it.
    pub nodes: AtomicUsize,
}

impl ImageState {
    /// How many nodes have it now.
    pub fn num_nodes(&self) -> usize {
        self.nodes.load(Ordering::Relaxed)
    }
}

/// A node, its pods and the sums over them.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Where it is in the columns.
    pub slot: Slot,
    node: Arc<Node>,
    /// `false` while only pods on it are known.
    pub has_node: bool,
    /// Pods on the node, assumed ones too.
    pub pods: Vec<Arc<PodInfo>>,
    /// What the pods request.
    pub requested: Resource,
    /// The same with defaults for containers that request nothing; CPU and memory only.
    pub non_zero_requested: Resource,
    /// What the node offers.
    pub allocatable: Resource,
    /// Ports of the host in use.
    pub used_ports: Vec<HostPort>,
    /// Images on the node by normalised name.
    pub images: HashMap<Arc<str>, Arc<ImageState>>,
    /// How many pods here use a claim, by `namespace/name`.
    pub claims: HashMap<String, usize>,
    /// Grows with each change, over all nodes.
    pub generation: u64,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: Arc<Node>) -> Self {
        let mut info = Self::default();
        info.set_node(node);
        info
    }

    /// A slot of which nothing is known.
    pub fn vacant(slot: Slot) -> Self {
        Self {
            slot,
            ..Self::default()
        }
    }

    /// The node object. A placeholder while [`NodeInfo::has_node`] is false, which is never so for nodes that plugins see.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node object, shared.
    pub fn node_arc(&self) -> &Arc<Node> {
        &self.node
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.node.metadata.name
    }

    /// A label of the node.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.get(key).map(String::as_str)
    }

    /// Takes over a new version of the node object.
    pub fn set_node(&mut self, node: Arc<Node>) {
        self.allocatable = Resource::new(&node.status.allocatable);
        self.node = node;
        self.has_node = true;
    }

    /// The node is gone; pods on it may still be known.
    pub fn remove_node(&mut self) {
        self.node = Arc::new(Node::default());
        self.has_node = false;
        self.allocatable = Resource::default();
        self.images.clear();
    }

    /// Counts a pod in.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.account(&pod, 1);
        self.used_ports.extend(pod.host_ports.iter().cloned());
        for key in claim_keys(&pod.pod) {
            *self.claims.entry(key).or_default() += 1;
        }
        self.pods.push(pod);
    }

    /// Counts a pod out; gives it back if it was here.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid() == uid)?;
        let pod = self.pods.swap_remove(at);
        self.account(&pod, -1);
        for port in &pod.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        for key in claim_keys(&pod.pod) {
            if let Some(count) = self.claims.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.claims.remove(&key);
                }
            }
        }
        Some(pod)
    }

    fn account(&mut self, pod: &PodInfo, sign: i64) {
        let resource = pod.resource();
        self.requested.add(&resource.request, sign);
        self.non_zero_requested.milli_cpu += sign * resource.non_zero_milli_cpu;
        self.non_zero_requested.memory += sign * resource.non_zero_memory;
    }
}
