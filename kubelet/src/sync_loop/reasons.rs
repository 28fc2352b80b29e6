//! Why the last start of each container failed. Upstream: `pkg/kubelet/reason_cache.go`.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::container::{PodSyncResult, StartError, SyncAction};

/// Reasons by pod UID and container name.
#[derive(Default)]
pub struct ReasonCache {
    reasons: Mutex<HashMap<(String, String), StartError>>,
}

impl ReasonCache {
    /// Takes the outcome of a sync in: a start that succeeded clears its reason.
    pub fn update(&self, uid: &str, result: &PodSyncResult) {
        let mut reasons = self.reasons.lock();
        for step in result
            .results
            .iter()
            .filter(|step| step.action == SyncAction::StartContainer)
        {
            let key = (uid.to_owned(), step.target.clone());
            match &step.error {
                Some(error) => {
                    reasons.insert(key, error.clone());
                }
                None => {
                    reasons.remove(&key);
                }
            }
        }
    }

    /// The reason of a container.
    #[must_use]
    pub fn get(&self, uid: &str, container: &str) -> Option<StartError> {
        self.reasons
            .lock()
            .get(&(uid.to_owned(), container.to_owned()))
            .cloned()
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) {
        self.reasons.lock().retain(|(pod, _), _| pod != uid);
    }
}
