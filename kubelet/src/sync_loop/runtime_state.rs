//! Whether runtime and network work, as of the last look. Upstream: `pkg/kubelet/runtime.go` and `updateRuntimeUp`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cri::v1;
use crate::pleg::Pleg;

/// Without an answer for this long the runtime counts as down.
const RUNTIME_THRESHOLD: Duration = Duration::from_secs(30);

struct State {
    last_sync: Option<Instant>,
    runtime_error: Option<String>,
    network_error: Option<String>,
    handlers: Vec<v1::RuntimeHandler>,
    supplemental_groups_policy: Option<bool>,
}

/// The state, and the PLEG whose health is part of it.
pub struct RuntimeState {
    state: Mutex<State>,
    pleg: Arc<Pleg>,
}

fn shown(condition: Option<&v1::RuntimeCondition>) -> String {
    match condition {
        Some(condition) => format!(
            "{}={} reason:{} message:{}",
            condition.r#type, condition.status, condition.reason, condition.message
        ),
        None => "<nil>".to_owned(),
    }
}

impl RuntimeState {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(pleg: Arc<Pleg>) -> Self {
        RuntimeState {
            state: Mutex::new(State {
                last_sync: None,
                runtime_error: None,
                network_error: Some("network state unknown".to_owned()),
                handlers: Vec::new(),
                supplemental_groups_policy: None,
            }),
            pleg,
        }
    }

    /// Takes an answer of the runtime's Status call in. Answers whether the runtime is ready.
    pub fn update(&self, response: &v1::StatusResponse) -> bool {
        let conditions = response
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default();
        let find = |name: &str| conditions.iter().find(|condition| condition.r#type == name);
        let ready = |condition: Option<&v1::RuntimeCondition>| {
            condition.is_some_and(|condition| condition.status)
        };
        let (network, runtime) = (find("NetworkReady"), find("RuntimeReady"));
        let mut state = self.state.lock();
        state.network_error = (!ready(network))
            .then(|| format!("container runtime network not ready: {}", shown(network)));
        if !ready(runtime) {
            state.runtime_error = Some(format!("container runtime not ready: {}", shown(runtime)));
            return false;
        }
        state.runtime_error = None;
        state.handlers.clone_from(&response.runtime_handlers);
        state.supplemental_groups_policy = response
            .features
            .as_ref()
            .map(|features| features.supplemental_groups_policy);
        state.last_sync = Some(Instant::now());
        true
    }

    /// What keeps pods from being synced.
    #[must_use]
    pub fn runtime_errors(&self) -> Option<String> {
        let mut errors = Vec::new();
        let state = self.state.lock();
        match state.last_sync {
            None => {
                errors.push("container runtime status check may not have completed yet".to_owned())
            }
            Some(last) if last.elapsed() > RUNTIME_THRESHOLD => {
                errors.push("container runtime is down".to_owned())
            }
            Some(_) => {}
        }
        if let Err(error) = self.pleg.healthy() {
            errors.push(format!("PLEG is not healthy: {error}"));
        }
        errors.extend(state.runtime_error.clone());
        match errors.len() {
            0 => None,
            1 => errors.pop(),
            _ => Some(format!("[{}]", errors.join(", "))),
        }
    }

    /// What keeps pods with their own network from being started.
    #[must_use]
    pub fn network_error(&self) -> Option<String> {
        self.state.lock().network_error.clone()
    }

    /// Handlers of the runtime.
    #[must_use]
    pub fn handlers(&self) -> Vec<v1::RuntimeHandler> {
        self.state.lock().handlers.clone()
    }

    /// Whether the runtime decides about supplemental groups, if it says so.
    #[must_use]
    pub fn supplemental_groups_policy(&self) -> Option<bool> {
        self.state.lock().supplemental_groups_policy
    }
}
