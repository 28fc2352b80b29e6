//! The kubelet's HTTP API on port 10250, and its read-only part on 10255. Upstream: `pkg/kubelet/server`.
//!
//! | path | what |
//! |---|---|
//! | `/healthz`, `/healthz/<check>`, `/metrics/slis` | health |
//! | `/pods`, `/runningpods/` | pods to run, pods that run |
//! | `/stats/summary` | use of resources |
//! | `/metrics`, `/metrics/{cadvisor,probes,resource}` | metrics |
//! | `/containerLogs/<namespace>/<pod>/<container>` | logs |
//! | `/exec`, `/attach`, `/portForward`, `/run` | commands and streams, relayed to the runtime |
//! | `/checkpoint/<namespace>/<pod>/<container>` | checkpoint of a container |
//! | `/logs/` | logs of the node |
//! | `/configz`, `/flagz`, `/statusz`, `/debug/...` | the kubelet itself |
//!
//! Invariants: on the authenticated port every path, health included, is answered only after [`auth`] let it pass; the
//! read-only port has nothing that runs or changes anything. Handlers know the kubelet only as a [`Host`].

pub mod auth;
mod container_logs;
mod host;
mod kubelet_host;
pub mod log_reader;
mod metrics;
mod node_logs;
mod pods;
mod route;
pub mod stats;
mod streaming;

use std::sync::Arc;
use std::time::Instant;

use component_base::auth::BoxFuture;
use component_base::configz::Configz;
use component_base::flagz::Flagz;
use component_base::healthz::HealthChecks;
use component_base::metrics::{HealthMetrics, Metrics};
use component_base::serving::{
    Handler, Request, Response, error_response, json_response, not_found, text_response,
};
use component_base::statusz::Statusz;
use http::StatusCode;

pub use auth::Auth;
pub use host::{Host, StreamError};
pub use kubelet_host::KubeletHost;
pub use metrics::ServerMetrics;
use route::{Route, Target};

/// What is served and what is not; fields are those of KubeletConfiguration.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch of the configuration"
)]
pub struct Switches {
    /// Commands, streams, logs and everything for debugging.
    pub enable_debugging_handlers: bool,
    /// `/logs/`.
    pub enable_system_log_handler: bool,
    /// `/logs/?query=`.
    pub enable_system_log_query: bool,
    /// `/debug/pprof/`.
    pub enable_profiling_handler: bool,
    /// `/debug/flags/v`.
    pub enable_debug_flags_handler: bool,
    /// Feature gate ContainerCheckpoint.
    pub checkpoint: bool,
    /// Feature gate PodLogsQuerySplitStreams.
    pub split_log_streams: bool,
    /// Feature gate ExtendWebSocketsToKubelet.
    pub websockets: bool,
}

impl Switches {
    /// The read-only port: nothing for debugging.
    #[must_use]
    pub fn read_only() -> Self {
        Switches {
            enable_debugging_handlers: false,
            enable_system_log_handler: false,
            enable_system_log_query: false,
            enable_profiling_handler: false,
            enable_debug_flags_handler: false,
            checkpoint: false,
            split_log_streams: false,
            websockets: false,
        }
    }
}

/// Parts a [`KubeletServer`] is made of.
pub struct ServerParts {
    /// The kubelet.
    pub host: Arc<dyn Host>,
    /// Who may ask; nobody is checked on the read-only port.
    pub auth: Option<Auth>,
    /// What is served.
    pub switches: Switches,
    /// `/healthz`.
    pub health: HealthChecks,
    /// `/metrics/slis`.
    pub health_metrics: HealthMetrics,
    /// `/metrics`.
    pub registry: Metrics,
    /// `/metrics/probes`.
    pub probes: Metrics,
    /// Counts of requests.
    pub metrics: ServerMetrics,
    /// `/stats/summary` and the metrics made of it.
    pub stats: Arc<stats::StatsProvider>,
    /// `/configz`.
    pub configz: Configz,
    /// `/flagz`; not there without the flags.
    pub flagz: Option<Flagz>,
}

/// Answers requests of one port.
pub struct KubeletServer {
    parts: ServerParts,
    statusz: Statusz,
}

impl KubeletServer {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ServerParts) -> Self {
        KubeletServer {
            statusz: Statusz::new("kubelet", route::PATHS),
            parts,
        }
    }

    async fn answer(&self, request: Request) -> Response {
        let request = match &self.parts.auth {
            Some(auth) => match auth.admit(request).await {
                Ok(request) => request,
                Err(refused) => return refused,
            },
            None => request,
        };
        match route::find(request.method(), request.uri().path(), &self.parts.switches) {
            Route::NotFound => not_found(),
            // The words of go-restful, for paths below a known root.
            Route::NoSuchPage => text_response(StatusCode::NOT_FOUND, "404: Page Not Found"),
            Route::WrongMethod => {
                text_response(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
            }
            Route::Disabled(why) => error_response(StatusCode::METHOD_NOT_ALLOWED, why),
            Route::To(target) => self.serve(target, request).await,
        }
    }

    async fn serve(&self, target: Target, request: Request) -> Response {
        let parts = &self.parts;
        match target {
            Target::Healthz => parts
                .health
                .handle(&request)
                .await
                .unwrap_or_else(not_found),
            Target::HealthMetrics => parts.health_metrics.handle(&request),
            Target::Pods => pods::pods(&*parts.host),
            Target::RunningPods => pods::running_pods(&*parts.host).await,
            Target::Summary => stats::summary(&parts.stats, request).await,
            Target::Metrics => parts.registry.handle(&request),
            Target::ProbeMetrics => parts.probes.handle(&request),
            Target::ResourceMetrics => metrics_text(parts.stats.resource_metrics().await),
            Target::CadvisorMetrics => metrics_text(parts.stats.cadvisor_metrics().await),
            Target::ContainerLogs {
                namespace,
                pod,
                container,
            } => {
                let target = container_logs::Target {
                    namespace,
                    pod,
                    container,
                };
                container_logs::serve(
                    &parts.host,
                    &request,
                    &target,
                    parts.switches.split_log_streams,
                )
                .await
            }
            Target::Exec(container) => streaming::exec(self, request, &container).await,
            Target::Attach(container) => streaming::attach(self, request, &container).await,
            Target::PortForward {
                namespace,
                pod,
                uid,
            } => streaming::port_forward(self, request, &namespace, &pod, uid.as_deref()).await,
            Target::Run(container) => streaming::run(&*parts.host, &request, &container).await,
            Target::Checkpoint {
                namespace,
                pod,
                container,
            } => pods::checkpoint(&*parts.host, &request, &namespace, &pod, &container).await,
            Target::NodeLogs(path) => {
                node_logs::serve(&request, &path, parts.switches.enable_system_log_query).await
            }
            Target::Configz => parts.configz.handle(),
            Target::Flagz => match &parts.flagz {
                Some(flagz) => flagz.handle(&request),
                None => not_found(),
            },
            Target::Statusz => self.statusz.handle(&request),
            Target::Debug if request.uri().path() == "/debug/pprof/cmdline" => {
                component_base::debug::command_line()
            }
            Target::Debug => component_base::debug::handle(request, true)
                .await
                .unwrap_or_else(|_| not_found()),
        }
    }
}

fn metrics_text(text: String) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

/// go-restful's `WriteError`: the text and nothing else.
fn failed(status: StatusCode, text: impl Into<String>) -> Response {
    text_response(status, text)
}

fn json(data: Vec<u8>) -> Response {
    json_response(StatusCode::OK, data)
}

impl Handler for KubeletServer {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let server_type = if self.parts.auth.is_some() {
                "readwrite"
            } else {
                "readonly"
            };
            let labels = metrics::Labels::of(request.method(), request.uri().path(), server_type);
            let in_flight = self.parts.metrics.started(&labels);
            let start = Instant::now();
            let response = self.answer(request).await;
            drop(in_flight);
            self.parts.metrics.finished(&labels, start.elapsed());
            response
        })
    }
}

/// The values of a query parameter.
fn query_values(request: &Request, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// The first value of a query parameter.
fn query_value(request: &Request, name: &str) -> Option<String> {
    query_values(request, name).into_iter().next()
}

#[cfg(test)]
mod fake_host;
#[cfg(test)]
mod tests;
