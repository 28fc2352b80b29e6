//! The Service default/kubernetes and its endpoints. Upstream: pkg/controlplane/controller/kubernetesservice.

mod counted;
mod endpoints;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::IntOrString;
use api_types::core::v1::{Service, ServicePort};
use apimachinery::status::StatusError;
use http::StatusCode;
use tokio::sync::Mutex;

use super::{Runner, system_namespaces};
use crate::loopback::Loopback;
use crate::server::ApiServer;

pub(super) const HOOK: &str = "bootstrap-controller";
const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two questions whether the server is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the endpoints are still this server's to write.
#[derive(Default)]
pub(crate) struct Reconciling {
    stopped: AtomicBool,
    /// Held while they are written: a server that goes must have the last word.
    lock: Mutex<()>,
}

/// Starts to look after both. What an earlier run has left goes first: clients shall not find a server that is not ready. The
/// hook is done then, since readiness waits for it.
pub(super) fn start(runner: Runner) {
    let (server, client) = (runner.server.clone(), runner.client.clone());
    let stop = runner.stop.clone();
    let work = async move {
        remove_stale(&server, &client).await;
        server.health.hook_done(HOOK);
        while !is_ready(&server).await {
            tokio::time::sleep(READY_INTERVAL).await;
        }
        // A loopback address cannot be published, for one: the server goes on without.
        runner.repeat_beside(INTERVAL, |server, client| async move {
            run(&server, &client).await.inspect_err(
                |error| tracing::error!(error = %error, "Unable to sync kubernetes service"),
            )
        });
    };
    tokio::spawn(stop.run_until_cancelled_owned(work));
}

async fn is_ready(server: &ApiServer) -> bool {
    let answer = server.health.readyz.answer("/readyz", "").await;
    answer.is_some_and(|answer| answer.status() == StatusCode::OK)
}

async fn remove_stale(server: &ApiServer, client: &Loopback) {
    if server.config.endpoint_reconciler == "none" {
        return;
    }
    let _writing = server.reconciling.lock.lock().await;
    let removed = match is_counted(server) {
        true => counted::remove(server, client).await,
        false => endpoints::remove(server, client, false).await,
    };
    match removed {
        Ok(true) => tracing::error!(
            "Found stale data, removed previous endpoints on kubernetes service, apiserver didn't exit successfully previously"
        ),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%error, "Error removing old endpoints from kubernetes service");
        }
    }
}

async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    ensure_service(server, client).await?;
    if server.config.endpoint_reconciler == "none" {
        return Ok(());
    }
    let _writing = server.reconciling.lock.lock().await;
    if server.reconciling.stopped.load(Ordering::Acquire) {
        return Ok(());
    }
    match is_counted(server) {
        true => counted::publish(server, client).await,
        false => endpoints::publish(server, client).await,
    }
}

/// `--endpoint-reconciler-type=master-count`
fn is_counted(server: &ApiServer) -> bool {
    server.config.endpoint_reconciler == "master-count"
}

/// Takes this server out of the endpoints, for good.
pub(super) async fn stop(server: &Arc<ApiServer>, client: &Loopback) {
    if server.config.endpoint_reconciler == "none" {
        return;
    }
    let removed = async {
        server.reconciling.stopped.store(true, Ordering::Release);
        let _writing = server.reconciling.lock.lock().await;
        match is_counted(server) {
            true => counted::remove(server, client).await,
            false => endpoints::remove(server, client, true).await,
        }
    };
    match tokio::time::timeout(2 * INTERVAL, removed).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "Unable to remove endpoints from kubernetes service");
        }
        Err(_) => tracing::warn!("RemoveEndpoints() timed out"),
    }
}

async fn ensure_service(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    if client.get::<Service>(NAMESPACE, NAME).await?.is_some() {
        return Ok(());
    }
    // At the first start the hook that makes the system's namespaces may not have come to this one.
    system_namespaces::ensure(client, NAMESPACE).await?;
    let Some(range) = server.config.service_cluster_ip_ranges.first() else {
        return Ok(());
    };
    let Some(ip) = range.hosts().next() else {
        return Ok(());
    };
    let mut service = Service::default();
    NAME.clone_into(&mut service.metadata.name);
    NAMESPACE.clone_into(&mut service.metadata.namespace);
    service
        .metadata
        .labels
        .insert("provider".to_owned(), "kubernetes".to_owned());
    service
        .metadata
        .labels
        .insert("component".to_owned(), "apiserver".to_owned());
    let node_port = server.config.kubernetes_service_node_port;
    service.spec.ports = vec![ServicePort {
        name: "https".to_owned(),
        port: 443,
        protocol: "TCP".to_owned(),
        target_port: IntOrString::Int(i32::from(server.config.serving.bind_port)),
        node_port: i32::from(node_port),
        ..ServicePort::default()
    }];
    service.spec.cluster_ip = ip.to_string();
    service.spec.ip_family_policy = Some("SingleStack".to_owned());
    service.spec.session_affinity = "None".to_owned();
    service.spec.type_ = if node_port > 0 {
        "NodePort"
    } else {
        "ClusterIP"
    }
    .to_owned();
    client.ensure(service).await
}
