//! The last result of each probe, and a channel that tells when one changed.
//!
//! Upstream: `pkg/kubelet/prober/results`.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::container::ContainerId;

/// Outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// Not known yet.
    Unknown,
    /// The container answered well.
    Success,
    /// It did not, often enough to count.
    Failure,
}

/// A changed result.
#[derive(Clone, Debug)]
pub struct Update {
    /// Container it is about.
    pub container: ContainerId,
    /// New result.
    pub result: ProbeResult,
    /// Pod of the container.
    pub pod_uid: String,
}

/// Results of one kind of probe by container.
#[derive(Debug)]
pub struct ResultsManager {
    results: Mutex<HashMap<ContainerId, ProbeResult>>,
    updates: mpsc::UnboundedSender<Update>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Update>>>,
}

impl Default for ResultsManager {
    fn default() -> Self {
        Self::new()
    }
}

impl ResultsManager {
    /// No results yet.
    #[must_use]
    pub fn new() -> Self {
        // At most one entry per change of a result; the sync loop reads as fast as it can. A bound could only block probes.
        let (updates, receiver) = mpsc::unbounded_channel();
        ResultsManager {
            results: Mutex::default(),
            updates,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// The result of a container, if there is one.
    pub fn get(&self, container: &ContainerId) -> Option<ProbeResult> {
        self.results.lock().get(container).copied()
    }

    /// Records a result; a change is announced.
    pub fn set(&self, container: &ContainerId, result: ProbeResult, pod_uid: &str) {
        let changed = self.results.lock().insert(container.clone(), result) != Some(result);
        if changed {
            // Nobody listens after shutdown: fine.
            let _ = self.updates.send(Update {
                container: container.clone(),
                result,
                pod_uid: pod_uid.to_owned(),
            });
        }
    }

    /// Forgets a container.
    pub fn remove(&self, container: &ContainerId) {
        self.results.lock().remove(container);
    }

    /// The channel of changes; it can be taken once.
    pub fn take_updates(&self) -> Option<mpsc::UnboundedReceiver<Update>> {
        self.receiver.lock().take()
    }
}
