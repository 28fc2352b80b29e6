//! What a sync of a pod did, step by step, and why steps failed.
//!
//! Upstream: `pkg/kubelet/container/sync_result.go`. The reason of a failed start is shown as the container's waiting reason.

use std::fmt;

use jiff::Timestamp;

/// A step of a pod sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncAction {
    /// Start a container.
    StartContainer,
    /// Stop a container.
    KillContainer,
    /// Remove a container.
    RemoveContainer,
    /// Make a sandbox.
    CreatePodSandbox,
    /// Stop a sandbox.
    KillPodSandbox,
    /// Change resources of running containers.
    ResizePodInPlace,
}

impl fmt::Display for SyncAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SyncAction::StartContainer => "StartContainer",
            SyncAction::KillContainer => "KillContainer",
            SyncAction::RemoveContainer => "RemoveContainer",
            SyncAction::CreatePodSandbox => "CreatePodSandbox",
            SyncAction::KillPodSandbox => "KillPodSandbox",
            SyncAction::ResizePodInPlace => "ResizePodInPlace",
        })
    }
}

/// Why a step failed: the short reason users see, the text, and when a retry makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// Reason, such as `ErrImagePull`, `CrashLoopBackOff`, `CreateContainerConfigError`.
    pub reason: &'static str,
    /// Text for the waiting message.
    pub message: String,
    /// No use to try before this.
    pub retry_at: Option<Timestamp>,
}

impl StartError {
    /// A failure that may be retried at once.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        StartError {
            reason,
            message: message.into(),
            retry_at: None,
        }
    }
}

/// One step and its outcome.
#[derive(Clone, Debug)]
pub struct SyncResult {
    /// The step.
    pub action: SyncAction,
    /// Container name, pod or sandbox the step was about.
    pub target: String,
    /// Why it failed, if it did.
    pub error: Option<StartError>,
}

/// All steps of one sync.
#[derive(Clone, Debug, Default)]
pub struct PodSyncResult {
    /// The steps in order.
    pub results: Vec<SyncResult>,
    /// A failure that belongs to no step.
    pub error: Option<String>,
}

impl PodSyncResult {
    /// Adds a step; its outcome may be set later through the answer.
    pub fn add(&mut self, action: SyncAction, target: &str) -> &mut SyncResult {
        self.results.push(SyncResult {
            action,
            target: target.to_owned(),
            error: None,
        });
        self.results.last_mut().expect("just pushed")
    }

    /// Adds the steps of a part.
    pub fn append(&mut self, other: PodSyncResult) {
        self.results.extend(other.results);
        if other.error.is_some() {
            self.error = other.error;
        }
    }

    /// Whether every step succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.error.is_none() && self.results.iter().all(|result| result.error.is_none())
    }

    /// The failures as one text, in upstream's form; nothing when all went well.
    #[must_use]
    pub fn error_text(&self) -> Option<String> {
        let mut texts = Vec::new();
        if let Some(error) = &self.error {
            texts.push(format!("failed to SyncPod: {error}"));
        }
        for result in &self.results {
            if let Some(error) = &result.error {
                texts.push(format!(
                    "failed to {:?} for {:?} with {}: {:?}",
                    result.action.to_string(),
                    result.target,
                    error.reason,
                    error.message
                ));
            }
        }
        match texts.len() {
            0 => None,
            1 => texts.pop(),
            _ => Some(format!("[{}]", texts.join(", "))),
        }
    }

    /// When all failures say when to retry: the earliest of these.
    #[must_use]
    pub fn min_retry_at(&self) -> Option<Timestamp> {
        if self.error.is_some() {
            return None;
        }
        let mut earliest: Option<Timestamp> = None;
        for error in self
            .results
            .iter()
            .filter_map(|result| result.error.as_ref())
        {
            let at = error.retry_at?;
            earliest = Some(earliest.map_or(at, |seen| seen.min(at)));
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let mut result = PodSyncResult::default();
        result.add(SyncAction::CreatePodSandbox, "pod");
        assert!(result.is_ok());
        assert_eq!(result.error_text(), None);
        result.add(SyncAction::StartContainer, "web").error = Some(StartError::new(
            "CrashLoopBackOff",
            "back-off 10s restarting failed container=web pod=p_ns(uid)",
        ));
        assert_eq!(
            result.error_text().as_deref(),
            Some(
                "failed to \"StartContainer\" for \"web\" with CrashLoopBackOff: \"back-off 10s restarting failed container=web pod=p_ns(uid)\""
            )
        );
        assert_eq!(result.min_retry_at(), None);
    }
}
