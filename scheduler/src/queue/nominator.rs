//! Pods that were promised a node, because room is being made for them there. Upstream: backend/queue/nominator.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_types::core::v1::Pod;
use client::cache::Lister;
use parking_lot::Mutex;

use crate::framework::plugin::NominatingInfo;
use crate::framework::pod_info::PodInfo;

#[derive(Default)]
struct State {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    node_of: HashMap<String, String>,
}

/// Which pods are nominated to which nodes.
pub(super) struct Nominator {
    state: Mutex<State>,
    /// Nearly always zero, and asked for each node of each cycle: read without the lock.
    count: AtomicUsize,
    /// Nominations of pods that are gone or bound are not taken.
    pods: Option<Lister<Pod>>,
}

impl Nominator {
    pub(super) fn new(pods: Option<Lister<Pod>>) -> Self {
        Self {
            state: Mutex::default(),
            count: AtomicUsize::new(0),
            pods,
        }
    }

    /// Notes where the pod is nominated to: what `info` says, or without it what its status says.
    pub(super) fn add(&self, pod: &Arc<PodInfo>, info: Option<&NominatingInfo>) {
        let mut state = self.state.lock();
        self.add_locked(&mut state, pod, info);
    }

    fn add_locked(&self, state: &mut State, pod: &Arc<PodInfo>, info: Option<&NominatingInfo>) {
        self.remove_locked(state, pod.uid());
        let node = match info {
            Some(info) => info.node.clone(),
            None => pod.pod.status.nominated_node_name.clone(),
        };
        if node.is_empty() {
            return;
        }
        if let Some(pods) = &self.pods {
            let meta = &pod.pod.metadata;
            match pods.get_in(&meta.namespace, &meta.name) {
                Some(pod) if pod.spec.node_name.is_empty() => {}
                _ => return,
            }
        }
        state.node_of.insert(pod.uid().to_owned(), node.clone());
        state.by_node.entry(node).or_default().push(pod.clone());
        self.count.store(state.node_of.len(), Ordering::Release);
    }

    /// The pod changed. A nomination that only this process knows of is kept.
    pub(super) fn update(&self, old: &Pod, new: &Arc<PodInfo>) {
        let mut state = self.state.lock();
        let kept = if old.status.nominated_node_name.is_empty()
            && new.pod.status.nominated_node_name.is_empty()
        {
            state
                .node_of
                .get(&old.metadata.uid)
                .map(|node| NominatingInfo { node: node.clone() })
        } else {
            None
        };
        self.remove_locked(&mut state, &old.metadata.uid);
        self.add_locked(&mut state, new, kept.as_ref());
    }

    pub(super) fn remove(&self, uid: &str) {
        if self.count.load(Ordering::Acquire) != 0 {
            self.remove_locked(&mut self.state.lock(), uid);
        }
    }

    fn remove_locked(&self, state: &mut State, uid: &str) {
        let Some(node) = state.node_of.remove(uid) else {
            return;
        };
        if let Some(pods) = state.by_node.get_mut(&node) {
            pods.retain(|pod| pod.uid() != uid);
            if pods.is_empty() {
                state.by_node.remove(&node);
            }
        }
        self.count.store(state.node_of.len(), Ordering::Release);
    }

    pub(super) fn for_node(&self, node: &str) -> Vec<Arc<PodInfo>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.state
            .lock()
            .by_node
            .get(node)
            .cloned()
            .unwrap_or_default()
    }
}
