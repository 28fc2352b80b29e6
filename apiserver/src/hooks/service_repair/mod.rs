//! Cluster IPs and node ports that do not fit the Services of the cluster are put right: what a server that ended half-way has
//! left, what older versions did not write, what somebody else has changed. Upstream: the controllers of
//! pkg/registry/core/service/{ipallocator,portallocator}.
//!
//! Every Service is looked at when it changes and every three minutes, and so is every IPAddress; ports every three minutes.

mod addresses;
mod ports;

use std::sync::Arc;
use std::time::Duration;

use client::record::EventRecorder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Failed;
use super::events::Events;
use crate::loopback::Loopback;
use crate::server::ApiServer;

pub(super) const HOOK: &str = "start-service-ip-repair-controllers";
/// Between two looks at everything.
const INTERVAL: Duration = Duration::from_secs(3 * 60);
/// The first look at everything has this long.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(500);

/// Starts both loops. The server is ready when each has looked at everything once, and ends when that takes too long.
pub(super) fn start(
    server: &Arc<ApiServer>,
    client: &Loopback,
    failed: Failed,
    stop: CancellationToken,
) {
    let (looked, mut done) = mpsc::channel::<()>(1);
    addresses::start(server, client, looked.clone(), stop.clone());
    ports::start(server, client, looked, stop.clone());
    let server = server.clone();
    let first = async move {
        // Nothing is ever sent.
        match tokio::time::timeout(FIRST_LOOK, done.recv()).await {
            Ok(_) => server.health.hook_done(HOOK),
            Err(_) => {
                let why = "unable to perform initial IP and Port allocation check";
                failed.tell(HOOK, why).await;
            }
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(first));
}

/// Where what was wrong is told.
fn recorder(server: &ApiServer, client: &Loopback, controller: &str) -> EventRecorder {
    let sink = Arc::new(Events(client.clone()));
    EventRecorder::events_v1_to(sink, controller, &server.config.hostname)
}
