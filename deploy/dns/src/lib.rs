//! DNS for a cluster: the answers of the Kubernetes DNS specification 1.1, as CoreDNS's kubernetes plugin gives them.
//!
//! `records` decides, from caches of Services, EndpointSlices and Namespaces, what a name means; `server` speaks DNS through
//! hickory-server; `forward` asks other name servers about names outside the zone. Nothing is answered before the caches are filled:
//! until then queries fail (SERVFAIL) and /ready says 503, so that no client learns that a name does not exist which does.

pub mod forward;
pub mod records;
pub mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientConfig, InformerFactory};
use component_base::metrics::{Metrics, MetricsOptions};
use component_base::serving::{self, Request, Server};
use hickory_server::Server as DnsServer;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use forward::Forwarder;
use records::Records;
use server::Handler;

/// What the server needs to know. Files are read when it starts.
pub struct Config {
    pub zone: String,
    pub address: SocketAddr,
    pub metrics_address: SocketAddr,
    pub health_address: SocketAddr,
    pub kubeconfig: Option<PathBuf>,
    pub resolv_conf: PathBuf,
}

/// An idle TCP connection is closed after this long.
const TCP_IDLE: Duration = Duration::from_secs(5);
const TCP_RESPONSE_BYTES: usize = 65535;

/// Answers queries until it is told to stop.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), component_base::Error> {
    let client_config = match &config.kubeconfig {
        Some(path) => ClientConfig::from_kubeconfig(path)?,
        None => ClientConfig::in_cluster()?,
    };
    let client = Client::new(client_config.with_user_agent("cluster-dns/v1.36.2"))?;
    let factory = InformerFactory::new(client, Duration::ZERO);
    let records = Arc::new(Records::new(&factory, &config.zone)?);
    let forwarder = Forwarder::from_resolv_conf(&config.resolv_conf);

    let metrics = Metrics::bare(MetricsOptions::default());
    let udp = UdpSocket::bind(config.address)
        .await
        .map_err(|error| format!("listening on {} (UDP): {error}", config.address))?;
    let tcp = TcpListener::bind(config.address)
        .await
        .map_err(|error| format!("listening on {} (TCP): {error}", config.address))?;
    let mut dns = DnsServer::new(Handler::new(records.clone(), forwarder, &metrics));
    dns.register_socket(udp);
    dns.register_listener(tcp, TCP_IDLE, TCP_RESPONSE_BYTES);

    let ready = records.clone();
    let health = serving::handler_fn(move |request: Request| {
        let ready = ready.clone();
        async move {
            match request.uri().path() {
                "/health" => serving::text_response(http::StatusCode::OK, "OK"),
                "/ready" if ready.is_synced() => serving::text_response(http::StatusCode::OK, "OK"),
                "/ready" => serving::text_response(
                    http::StatusCode::SERVICE_UNAVAILABLE,
                    "the caches of Services and EndpointSlices are not filled yet",
                ),
                _ => serving::not_found(),
            }
        }
    });
    let metrics_handler = serving::handler_fn(move |request: Request| {
        let metrics = metrics.clone();
        async move {
            if request.uri().path() == "/metrics" {
                metrics.handle(&request)
            } else {
                serving::not_found()
            }
        }
    });
    let grace = Duration::from_secs(1);
    let health_server = Server::plain(serving::bind_plain(config.health_address)?).spawn(
        Arc::new(health),
        stop.clone(),
        grace,
    );
    let metrics_server = Server::plain(serving::bind_plain(config.metrics_address)?).spawn(
        Arc::new(metrics_handler),
        stop.clone(),
        grace,
    );

    factory.start(stop.clone());
    tracing::info!(zone = config.zone, address = %config.address, "Serving DNS");
    stop.cancelled().await;
    dns.shutdown_gracefully().await?;
    let _ = tokio::join!(health_server, metrics_server);
    factory.shut_down().await;
    Ok(())
}
