//! One HTTP server per Service with a health check node port: load balancers ask it whether this node has endpoints of the Service.
//! Upstream: pkg/proxy/healthcheck/service_health.go.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::ObjectKey;
use component_base::serving::{self, Request, Response, Server, handler_fn};
use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::sys::Family;
use crate::tracker::{Endpoint, ServicePort};

/// The servers, by Service. Both families report; a Service's endpoints of both count.
#[derive(Default)]
pub struct ServiceHealth {
    services: Mutex<BTreeMap<ObjectKey, Running>>,
}

struct Running {
    port: u16,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Counts {
    v4: AtomicUsize,
    v6: AtomicUsize,
}

impl Counts {
    fn of(&self, family: Family) -> &AtomicUsize {
        if family == Family::V4 {
            &self.v4
        } else {
            &self.v6
        }
    }

    fn total(&self) -> usize {
        self.v4.load(Ordering::Relaxed) + self.v6.load(Ordering::Relaxed)
    }
}

impl ServiceHealth {
    /// Brings the servers in line with all ports of a family. A port that cannot be had is logged and tried again next time.
    pub async fn sync<'a>(
        &self,
        family: Family,
        ports: impl Iterator<Item = (&'a ServicePort, &'a [Endpoint])>,
    ) {
        let mut wanted: BTreeMap<ObjectKey, (u16, HashSet<IpAddr>)> = BTreeMap::new();
        for (port, endpoints) in ports.filter(|(port, _)| port.health_check_node_port != 0) {
            let key = ObjectKey::new(&port.name.namespace, &port.name.service);
            let entry = wanted
                .entry(key)
                .or_insert_with(|| (port.health_check_node_port, HashSet::new()));
            entry.1.extend(
                endpoints
                    .iter()
                    .filter(|endpoint| endpoint.local && endpoint.ready)
                    .map(|endpoint| endpoint.address),
            );
        }
        let mut services = self.services.lock();
        services.retain(|key, running| {
            let stays = match wanted.get(key) {
                Some((port, _)) => *port == running.port,
                None => {
                    // The other family may still have the Service.
                    running.counts.of(family).store(0, Ordering::Relaxed);
                    running.counts.total() != 0
                }
            };
            if !stays {
                running.stop.cancel();
            }
            stays
        });
        for (key, (port, local)) in wanted {
            if !services.contains_key(&key) {
                match start(&key, port) {
                    Ok(running) => {
                        services.insert(key.clone(), running);
                    }
                    Err(error) => {
                        tracing::error!(error = %error, service = %key, port, "Failed to start healthcheck");
                        continue;
                    }
                }
            }
            if let Some(running) = services.get(&key) {
                running
                    .counts
                    .of(family)
                    .store(local.len(), Ordering::Relaxed);
            }
        }
    }
}

fn start(key: &ObjectKey, port: u16) -> Result<Running, serving::BindError> {
    let listener = serving::bind_plain(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))?;
    let counts = Arc::new(Counts::default());
    let stop = CancellationToken::new();
    let (namespace, name) = (key.namespace.clone(), key.name.clone());
    let answered = counts.clone();
    let handler = handler_fn(move |_: Request| {
        let response = answer(&namespace, &name, answered.total());
        async move { response }
    });
    Server::plain(listener).spawn(Arc::new(handler), stop.clone(), Duration::ZERO);
    tracing::debug!(v = 2, service = %key, port, "Opened healthcheck");
    Ok(Running { port, counts, stop })
}

fn answer(namespace: &str, name: &str, local: usize) -> Response {
    let status = if local == 0 {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = serde_json::json!({"service": {"namespace": namespace, "name": name}, "localEndpoints": local, "serviceProxyHealthy": true});
    let mut response = serving::json_response(status, body.to_string().into_bytes());
    let headers = response.headers_mut();
    headers.insert(
        "X-Content-Type-Options",
        http::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        "X-Load-Balancing-Endpoint-Weight",
        http::HeaderValue::from(local),
    );
    response
}
