//! Pods that were given a node and are not bound yet. Upstream: framework/runtime/waiting_pods_map.go, pods_in_prebind.
//!
//! A pod whose Permit said "wait", or whose PreBind is running, holds resources nobody has confirmed. Preemption can take them back
//! here without asking the apiserver.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status::{Status, Verdict};

/// A pod that waits for Permit plugins.
pub struct WaitingPod {
    /// Plugins that have not allowed it yet, with how long they wait.
    pending: Mutex<BTreeMap<&'static str, tokio::time::Instant>>,
    outcome: watch::Sender<Option<Verdict>>,
}

impl WaitingPod {
    fn new(waits: BTreeMap<&'static str, Duration>) -> Self {
        let now = tokio::time::Instant::now();
        Self {
            pending: Mutex::new(
                waits
                    .into_iter()
                    .map(|(name, wait)| (name, now + wait))
                    .collect(),
            ),
            outcome: watch::Sender::new(None),
        }
    }

    /// The plugin lets it go; the last one decides.
    pub fn allow(&self, plugin: &str) {
        let mut pending = self.pending.lock();
        pending.remove(plugin);
        if pending.is_empty() {
            self.decide(Ok(()));
        }
    }

    /// The plugin turns it down. `false` if it was decided before.
    pub fn reject(&self, plugin: &'static str, message: &str) -> bool {
        self.decide(Err(
            Status::unschedulable(message.to_owned()).from_plugin(plugin)
        ))
    }

    fn decide(&self, verdict: Verdict) -> bool {
        self.outcome.send_if_modified(|outcome| {
            let open = outcome.is_none();
            if open {
                *outcome = Some(verdict);
            }
            open
        })
    }

    async fn wait(&self) -> Verdict {
        let mut outcome = self.outcome.subscribe();
        let first = self
            .pending
            .lock()
            .iter()
            .map(|(name, at)| (*at, *name))
            .min();
        let Some((deadline, plugin)) = first else {
            return Ok(());
        };
        tokio::select! {
            decided = outcome.wait_for(Option::is_some) => {
                // The sender is in `self`.
                decided.ok().and_then(|decided| decided.clone()).unwrap_or(Ok(()))
            }
            () = tokio::time::sleep_until(deadline) => {
                self.reject(plugin, &format!("rejected due to timeout after waiting at plugin {plugin}"));
                self.outcome.borrow().clone().unwrap_or(Ok(()))
            }
        }
    }
}

/// How far a pod's PreBind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PreBindState {
    Running,
    /// Too late to stop it.
    Done,
    Cancelled,
}

/// A pod whose PreBind is running.
pub struct PodInPreBind {
    state: Mutex<PreBindState>,
    reason: Mutex<String>,
    cancelled: CancellationToken,
}

impl PodInPreBind {
    /// Stops it, unless it is done.
    pub fn cancel(&self, reason: &str) -> bool {
        let mut state = self.state.lock();
        if *state == PreBindState::Done {
            return false;
        }
        *state = PreBindState::Cancelled;
        *self.reason.lock() = reason.to_owned();
        self.cancelled.cancel();
        true
    }

    /// It is done; `Err` with the reason if it was cancelled before.
    pub fn mark_prebound(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        if *state == PreBindState::Cancelled {
            return Err(self.reason.lock().clone());
        }
        *state = PreBindState::Done;
        Ok(())
    }

    /// Cancelled when the pod is.
    pub fn token(&self) -> &CancellationToken {
        &self.cancelled
    }
}

/// All pods between assume and bind.
#[derive(Default)]
pub struct UnboundPods {
    waiting: Mutex<HashMap<String, Arc<WaitingPod>>>,
    in_pre_bind: Mutex<HashMap<String, Arc<PodInPreBind>>>,
}

impl UnboundPods {
    /// The pod waits for these plugins.
    pub fn add_waiting(&self, uid: &str, waits: BTreeMap<&'static str, Duration>) {
        self.waiting
            .lock()
            .insert(uid.to_owned(), Arc::new(WaitingPod::new(waits)));
    }

    /// The pod if it waits.
    pub fn waiting(&self, uid: &str) -> Option<Arc<WaitingPod>> {
        self.waiting.lock().get(uid).cloned()
    }

    /// Waits until the pod may go on. At once if it does not wait at all.
    pub async fn wait_on_permit(&self, uid: &str) -> Verdict {
        let Some(pod) = self.waiting(uid) else {
            return Ok(());
        };
        let verdict = pod.wait().await;
        self.waiting.lock().remove(uid);
        verdict
    }

    /// The pod's PreBind starts.
    pub fn add_in_pre_bind(&self, uid: &str) -> Arc<PodInPreBind> {
        let pod = Arc::new(PodInPreBind {
            state: Mutex::new(PreBindState::Running),
            reason: Mutex::default(),
            cancelled: CancellationToken::new(),
        });
        self.in_pre_bind.lock().insert(uid.to_owned(), pod.clone());
        pod
    }

    /// The pod if its PreBind runs.
    pub fn in_pre_bind(&self, uid: &str) -> Option<Arc<PodInPreBind>> {
        self.in_pre_bind.lock().get(uid).cloned()
    }

    /// Binding of the pod is over.
    pub fn remove_in_pre_bind(&self, uid: &str) {
        self.in_pre_bind.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::status::Code;

    fn waits(plugins: &[(&'static str, u64)]) -> BTreeMap<&'static str, Duration> {
        plugins
            .iter()
            .map(|(name, seconds)| (*name, Duration::from_secs(*seconds)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_must_allow() {
        let pods = UnboundPods::default();
        pods.add_waiting("u", waits(&[("a", 10), ("b", 10)]));
        let pod = pods.waiting("u").unwrap();
        pod.allow("a");
        pod.allow("b");
        assert_eq!(pods.wait_on_permit("u").await, Ok(()));
        assert!(pods.waiting("u").is_none());
        assert_eq!(pods.wait_on_permit("other").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_timeout_rejects() {
        let pods = UnboundPods::default();
        pods.add_waiting("u", waits(&[("a", 10), ("b", 5)]));
        let status = pods.wait_on_permit("u").await.unwrap_err();
        assert_eq!((status.code, status.plugin), (Code::Unschedulable, "b"));
        assert_eq!(
            status.message(),
            "rejected due to timeout after waiting at plugin b"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_rejection_is_enough() {
        let pods = UnboundPods::default();
        pods.add_waiting("u", waits(&[("a", 10), ("b", 5)]));
        assert!(pods.waiting("u").unwrap().reject("a", "preempted"));
        assert!(!pods.waiting("u").unwrap().reject("b", "again"));
        assert_eq!(
            pods.wait_on_permit("u").await.unwrap_err().message(),
            "preempted"
        );
    }

    #[test]
    fn pre_bind_is_cancelled_or_done() {
        let pods = UnboundPods::default();
        let pod = pods.add_in_pre_bind("u");
        assert!(pods.in_pre_bind("u").unwrap().cancel("preempted by X"));
        assert_eq!(pod.mark_prebound(), Err("preempted by X".to_owned()));
        let pod = pods.add_in_pre_bind("u");
        assert_eq!(pod.mark_prebound(), Ok(()));
        assert!(!pods.in_pre_bind("u").unwrap().cancel("late"));
        pods.remove_in_pre_bind("u");
        assert!(pods.in_pre_bind("u").is_none());
    }
}
