//! How many requests may be worked on at once. Upstream: server/filters/maxinflight.go.
//!
//! Watches and connections to pods do not count, and members of system:masters are never turned away.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request::context::RequestContext;

/// Two limits: for requests that only read and for those that change something. 0 is no limit.
pub struct Inflight {
    read_only: Option<Arc<Semaphore>>,
    mutating: Option<Arc<Semaphore>>,
}

/// There are too many requests at once: 429.
#[derive(Debug)]
pub struct TooMany;

impl Inflight {
    pub fn new(read_only: usize, mutating: usize) -> Inflight {
        let limit = |permits: usize| {
            (permits > 0).then(|| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))))
        };
        Inflight {
            read_only: limit(read_only),
            mutating: limit(mutating),
        }
    }

    /// A place for the request, held until it is answered. None where there is no limit.
    pub fn admit(&self, cx: &RequestContext) -> Result<Option<OwnedSemaphorePermit>, TooMany> {
        let limit = if matches!(cx.info.verb.as_str(), "get" | "list" | "watch") {
            &self.read_only
        } else {
            &self.mutating
        };
        let Some(limit) = limit else { return Ok(None) };
        match limit.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_)
                if cx
                    .user
                    .groups
                    .iter()
                    .any(|group| group == component_base::auth::SYSTEM_PRIVILEGED_GROUP) =>
            {
                Ok(None)
            }
            Err(_) => Err(TooMany),
        }
    }
}
