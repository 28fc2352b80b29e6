//! Node ports. Upstream: portallocator/controller/repair.go.

use std::sync::Arc;

use api_types::core::v1::Service;
use apimachinery::status::StatusError;
use client::record::{EventRecorder, object_reference};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{INTERVAL, RETRY, recorder};
use crate::loopback::Loopback;
use crate::registry::service::{Finding, PortRepair};
use crate::server::ApiServer;

const CONTROLLER: &str = "portallocator-repair-controller";

pub(super) fn start(
    server: &Arc<ApiServer>,
    client: &Loopback,
    looked: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let (server, client) = (server.clone(), client.clone());
    tokio::spawn(async move {
        let recorder = recorder(&server, &client, CONTROLLER);
        let mut repair = PortRepair::default();
        let mut first = Some(looked);
        loop {
            let wait = match run(&server, &client, &mut repair, &recorder).await {
                Ok(()) => {
                    first = None;
                    INTERVAL
                }
                Err(error) => {
                    tracing::error!(%error, "Unable to repair the node ports");
                    if first.is_some() { RETRY } else { INTERVAL }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}

async fn run(
    server: &ApiServer,
    client: &Loopback,
    repair: &mut PortRepair,
    recorder: &EventRecorder,
) -> Result<(), StatusError> {
    let services = client.list::<Service>("").await?;
    let ports = server.service_hooks.ports();
    let range = ports.range();
    for (index, port, finding) in repair.run(ports, &services).await? {
        let Some(service) = services.get(index) else {
            continue;
        };
        let (reason, text) = match finding {
            Finding::NotAllocated => (
                "PortNotAllocated",
                format!("Port {port} is not allocated; repairing"),
            ),
            Finding::Duplicate => (
                "PortAlreadyAllocated",
                format!("Port {port} was assigned to multiple services; please recreate service"),
            ),
            Finding::OutOfRange => (
                "PortOutOfRange",
                format!(
                    "Port {port} is not within the port range {range}; please recreate service"
                ),
            ),
        };
        let metadata = &service.metadata;
        tracing::error!(
            namespace = metadata.namespace,
            name = metadata.name,
            text,
            "A node port of a Service is wrong"
        );
        let service = object_reference(service);
        recorder.event_with(&service, None, "Warning", reason, "PortAllocation", text);
    }
    Ok(())
}
