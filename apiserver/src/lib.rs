//! kube-apiserver: the Kubernetes API on etcd.
//!
//! A request comes in through [`server`], whose chain finds out what it is about ([`request`]), who it is from and
//! whether it may, and hands it to [`handlers`]. Those read through [`registry`] from [`storage`], or write through
//! [`admission`] and the strategies of [`registry`]. [`table`] and [`negotiation`] shape what is answered.
//!
//! Invariants: nothing else in the project opens etcd; reads of built-in resources serve stored bytes and decode nothing;
//! every write of one object is one etcd transaction.

/// Plugins that change or refuse writes.
pub mod admission;
/// Other API servers behind this one.
pub mod aggregator;
/// Defaults, validation and strategies of kinds.
pub mod apis;
/// What is written down about requests.
pub mod audit;
/// Who is asking.
pub mod authn;
/// May they.
pub mod authz;
/// Flags and what they mean.
pub mod config;
/// Connections to kubelets, pods and services.
pub mod connect;
/// Resources that CustomResourceDefinitions add.
pub mod custom_resources;
/// What is served, in every form clients ask for.
pub mod discovery;
/// Ways out, through proxies.
pub mod egress;
/// Priority and fairness among requests.
pub mod flowcontrol;
/// Go's words about JSON.
pub mod go_json;
/// Plugins that are called by gRPC.
pub mod grpc;
/// One function per verb.
pub mod handlers;
/// What runs once the server serves.
pub mod hooks;
/// The server as its own client.
pub mod loopback;
/// Encodings and shapes of bodies.
pub mod negotiation;
/// Other API servers of the cluster.
pub mod peers;
/// Generic storage of objects and their strategies.
pub mod registry;
/// What a request is about.
pub mod request;
/// What is counted of requests.
pub mod request_metrics;
/// The chain every request goes through.
pub mod server;
/// Keys, bytes, leases and the watch cache.
pub mod storage;
/// The versions that objects are stored in.
pub mod storage_versions;
/// Subresources.
pub mod subresources;
/// `kubectl get` output.
pub mod table;
/// Spans of requests.
pub mod traces;
/// Resources that are not stored.
pub mod virtual_resources;
/// Calls to webhooks.
pub mod webhook;

use std::time::Duration;

use component_base::flags::Flags;
use component_base::metrics::{Metrics, MetricsOptions, Opts};
use component_base::serving::SecureServingOptions;
use tokio_util::sync::CancellationToken;

/// Runs a server until it is told to stop.
pub async fn run(flags: Flags, stop: CancellationToken) -> Result<(), component_base::Error> {
    let mut config = config::Config::new(flags)?;
    let metrics = Metrics::for_daemon(MetricsOptions::from_flags(&config.flags)?);
    let advertised = config.advertise_address;
    config.serving.default_self_signed(
        &advertised.to_string(),
        &kubernetes_names(),
        &[advertised],
    )?;
    count_handshake_errors(&mut config.serving, &metrics);
    let internal = CancellationToken::new();
    let listener = config.serving.clone().bind(&internal)?;
    let server = server::ApiServer::build(config, metrics, internal.clone()).await?;
    // Nobody is served by a server without storage; who started it finds out here.
    tokio::select! {
        connected = server.backend.connected() => connected?,
        () = stop.cancelled() => return Ok(()),
    }
    for backend in server.etcd_overrides.backends() {
        tokio::select! {
            connected = backend.connected() => connected?,
            () = stop.cancelled() => return Ok(()),
        }
    }
    let serving_stop = CancellationToken::new();
    let grace = Duration::from_secs(60) + server.draining.watch_grace;
    let serving = listener.spawn(
        std::sync::Arc::new(server::Service(server.clone())),
        serving_stop.clone(),
        grace,
    );
    let mut failures = hooks::start(&server, internal.clone());
    storage_versions::start(&server, internal.clone());
    component_base::notify::ready();
    tokio::select! {
        () = stop.cancelled() => {}
        failure = failures.next() => return Err(component_base::run::Fatal(failure).into()),
    }
    // Readiness turns first, so that load balancers have time to notice.
    server
        .health
        .readyz
        .add(component_base::healthz::shutdown(stop.clone()));
    // Nor do those who look at the endpoints have to come here meanwhile.
    tokio::join!(
        tokio::time::sleep(server.config.shutdown_delay),
        hooks::stop(&server),
    );
    server.draining.begin();
    server.shutdown_watches.cancel();
    server.draining.wait(server.config.request_timeout).await;
    serving_stop.cancel();
    let _ = serving.await;
    if let Some(audit) = &server.audit {
        audit.shutdown().await;
    }
    internal.cancel();
    Ok(())
}

/// Upstream: TLSHandshakeErrors of apiserver/pkg/endpoints/metrics.
fn count_handshake_errors(serving: &mut SecureServingOptions, metrics: &Metrics) {
    let opts = Opts::new(
        "apiserver_tls_handshake_errors_total",
        "Number of requests dropped with 'TLS handshake error from' error",
    );
    serving.limits.handshake_errors = Some(metrics.counter(opts));
}

/// Names a self-signed serving certificate is good for.
fn kubernetes_names() -> Vec<String> {
    ["kubernetes.default.svc", "kubernetes.default", "kubernetes"]
        .map(str::to_owned)
        .to_vec()
}
