//! The listener and what every request goes through, in request order. Upstream: apiserver/pkg/server/config.go,
//! DefaultBuildHandlerChain.
//!
//! [`ApiServer::handle`] is the chain: audit id, request info, deadline, authentication, impersonation, priority and
//! fairness, authorization, routing. A panic in a handler is a logged 500 of the listener.

/// Who may come in.
pub mod authn;
/// What they may do.
pub mod authorization;
/// HSTS and CORS.
pub mod browser;
/// The end of the server.
pub mod draining;
/// Resources with an etcd of their own.
pub mod etcd_overrides;
/// `/healthz`, `/livez`, `/readyz`.
pub mod health;
/// Acting as somebody else.
pub mod impersonation;
/// Requests at once, without priority and fairness.
pub mod inflight;
/// Paths that are no resources.
pub mod nonresource;
/// Pages that every daemon has.
pub mod pages;
/// Which resources have a watch cache.
pub mod watch_caches;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::{self, StatusError};
use component_base::auth::{
    Authenticator, Authorizer, BoxFuture, UserInfo, filter, request_header,
};
use component_base::metrics::Metrics;
use component_base::serving::{self, Handler, Request, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::aggregator::{self, Aggregator};
use crate::audit::Audit;
use crate::authz::RuleResolver;
use crate::config::Config;
use crate::connect::{Connector, Upgrade};
use crate::custom_resources::CustomResourceMetrics;
use crate::custom_resources::serving::Serving;
use crate::discovery::Discovery;
use crate::egress::Egress;
use crate::flowcontrol::{self, FlowControl, Place};
use crate::handlers::{self, Endpoint, respond};
use crate::hooks;
use crate::hooks::kubernetes_service::Reconciling;
use crate::loopback::LateLoopback;
use crate::peers::{self, Peers};
use crate::registry::resource::Resource;
use crate::registry::service::ServiceHooks;
use crate::registry::service::ip_addresses::IpAddresses;
use crate::registry::service::metrics::{AddressMetrics, PortMetrics};
use crate::registry::service::node_ports::NodePorts;
use crate::registry::store::WriteHooks;
use crate::registry::stored_text::StoredMedia;
use crate::registry::strategies;
use crate::registry::strategy::Strategy;
use crate::registry::table::{Resources, TableOptions};
use crate::request::RequestInfo;
use crate::request::context::{AuditAnnotations, RequestContext, Warnings};
use crate::request::latencies::Latency;
use crate::request::query::Query;
use crate::request_metrics::{Filter, Measured, RequestMetrics};
use crate::storage::encryption::Encryption;
use crate::storage::{Backend, EtcdConfig, Header, ResourceConfig, Storage, StorageMetrics};
use crate::traces::Traces;
use crate::webhook::{ClusterServices, Webhooks};

use etcd_overrides::EtcdOverrides;
pub use health::{Health, LATE_HOOKS, POST_START_HOOKS};
use impersonation::Impersonation;
use watch_caches::WatchCaches;

static AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// How requests are kept from being too many at once.
enum Limits {
    InFlight(inflight::Inflight),
    PriorityAndFairness(Arc<FlowControl>),
}

/// One apiserver, built and ready to serve.
pub struct ApiServer {
    pub config: Config,
    pub backend: Backend,
    /// Encryption at rest, when it is on.
    pub encryption: Option<Arc<Encryption>>,
    pub watch_caches: WatchCaches,
    /// Other etcds, for some resources.
    pub etcd_overrides: EtcdOverrides,
    pub resources: Arc<Resources>,
    pub admission: admission::Chain,
    pub authorizer: Arc<dyn Authorizer>,
    /// Lists what the same authorizers allow.
    pub rules: Arc<dyn RuleResolver>,
    authorization_metrics: crate::authz::RequestMetrics,
    authenticator: Arc<dyn Authenticator>,
    authentication_metrics: crate::authn::AuthenticationMetrics,
    request_header: Option<request_header::RequestHeaderAuthenticator>,
    impersonation: Impersonation,
    traces: Traces,
    /// What is noted of requests, when anything is.
    pub audit: Option<Arc<Audit>>,
    limits: Limits,
    /// Header that makes browsers use TLS.
    strict_transport_security: Option<HeaderValue>,
    cors: Option<browser::Cors>,
    /// The part of requests after which an HTTP/2 connection is closed.
    goaway_chance: f64,
    pub draining: draining::Draining,
    pub discovery: Discovery,
    /// Keeps what CustomResourceDefinitions add up to date.
    pub custom_resources: Serving,
    pub aggregator: Aggregator,
    /// The other API servers of the cluster, with the feature.
    pub peers: Option<Peers>,
    pub health: Health,
    pub pages: pages::Pages,
    pub metrics: Metrics,
    pub connector: Connector,
    /// Clients of admission and conversion webhooks.
    pub webhooks: Arc<Webhooks>,
    pub custom_resource_metrics: CustomResourceMetrics,
    /// Allocation of cluster IPs and node ports.
    pub service_hooks: Arc<ServiceHooks>,
    /// Signs of life of the cluster's apiservers.
    pub master_leases: Storage,
    /// Whether this server is among the endpoints of default/kubernetes.
    pub(crate) reconciling: Reconciling,
    /// Tells this process from earlier ones of the same host.
    pub instance: String,
    pub tokens: authn::TokenService,
    /// The rules behind the RBAC authorizer, when it is on: they bound what may be granted.
    pub rbac: Option<Arc<crate::authz::rbac::Rbac>>,
    /// Ends watches when the server stops.
    pub shutdown_watches: CancellationToken,
    pub request_metrics: RequestMetrics,
}

impl ApiServer {
    /// Opens storage and puts the parts together. Nothing is served yet.
    pub async fn build(
        config: Config,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Arc<ApiServer>, component_base::Error> {
        let storage_metrics = StorageMetrics::new(metrics.registry())?;
        let watch_caches = WatchCaches::new(&config.flags);
        let overrides = config.flags.strings("etcd-servers-overrides");
        let egress = match config.flags.non_empty("egress-selector-config-file") {
            Some(file) => Egress::read(Path::new(file), &metrics)?,
            None => Egress::default(),
        };
        let audit = Audit::new(&config.flags, &egress.control_plane, &metrics)?;
        let traces = Traces::new(&config, &egress.control_plane, &stop)?;
        let etcd = EtcdConfig {
            via: egress.etcd.clone(),
            ..config.etcd.clone()
        };
        let etcd_overrides = EtcdOverrides::new(overrides, &etcd, &storage_metrics, &stop)?;
        let backend = Backend::new(etcd, storage_metrics, stop.clone())?;
        backend.start();
        crate::apis::gates::install(config.features.clone());
        crate::apis::gates::set_allow_privileged(config.allow_privileged);
        let features = config.features.clone();
        features.register_metrics(&metrics);
        let runtime_config = config.runtime_config.clone();
        let encryption = encryption(&config, &metrics, &stop).await?;
        let resources = Resources::open(
            &backend,
            &TableOptions {
                serve: &|info| {
                    runtime_config.serves(info.group, info.version, info.resource, info.default_on)
                        && (info.feature_gate.is_empty()
                            || (features.knows(info.feature_gate)
                                && features.enabled(info.feature_gate)))
                },
                cached: &|group, resource| watch_caches.has(group, resource),
                backend: &|group, resource| etcd_overrides.backend(group, resource).cloned(),
                transformer: &|info| {
                    let encryption = encryption.as_ref()?;
                    encryption.transformer(info.group, info.resource)
                },
                event_ttl: config.event_ttl,
                media: StoredMedia::of_flag(config.flags.string("storage-media-type")),
            },
        )?;
        let resources = Arc::new(resources);
        let client = LateLoopback::default();
        let authn::Parts {
            authenticator,
            request_header,
            tokens,
        } = authn::build(&config, &resources, &client, &egress, &metrics, &stop).await?;
        let authorization::Authorization { chain, rbac } =
            authorization::build(&config, &resources, &egress.control_plane, &metrics, &stop)?;
        let authorizer: Arc<dyn Authorizer> = chain.clone();
        let services = ClusterServices::new(
            resources.clone(),
            own_address(&config),
            config.flags.bool("enable-aggregator-routing"),
        );
        let webhooks = Arc::new(Webhooks::new(Arc::new(services), egress.clone(), &metrics));
        let webhook_metrics = admission::plugins::WebhookMetrics::new(&metrics);
        let admission = admission_chain(
            &config,
            &resources,
            &authorizer,
            &client,
            (webhooks.clone(), webhook_metrics),
            admission::plugins::PodSecurityMetrics::new(&metrics),
            admission::AdmissionMetrics::new(&metrics),
        )?;
        let service_hooks = Arc::new(ServiceHooks::new(
            IpAddresses::new(
                &config.service_cluster_ip_ranges,
                AddressMetrics::new(&metrics),
            ),
            NodePorts::new(
                internal_storage(&backend, "servicenodeportallocations", "ranges")?,
                config.service_node_port_range,
                PortMetrics::new(&metrics),
            ),
        ));
        let master_leases = internal_storage(&backend, "masterleases", "masterleases")?;
        let peer_leases = || internal_storage(&backend, "peerserverleases", "peerserverleases");
        let peers = Peers::new(&config, egress.control_plane.clone(), peer_leases, &metrics)?;
        let peer_proxy = peers.as_ref().and_then(Peers::proxy).cloned();
        let discovery = Discovery::new(&resources, &config, peer_proxy, &metrics);
        let pages = pages::Pages::new(&config);
        let slis = &pages.health_metrics;
        let health = Health::new(&backend, &config, encryption.as_ref(), slis, stop.clone());
        health.add_etcds(etcd_overrides.backends(), &config);
        let connector = Connector::new(&config, egress.cluster.clone())?;
        let aggregator = Aggregator::new(&config, egress.cluster.clone(), &metrics)?;
        let limits = limits(&config, &resources, &metrics)?;
        let impersonation = Impersonation::new(&config.features, &metrics);
        let constrained = config.features.enabled("ConstrainedImpersonation");
        let request_metrics = RequestMetrics::new(&metrics, constrained);
        let flags = &config.flags;
        let server = Arc::new(ApiServer {
            strict_transport_security: browser::strict_transport_security(
                flags.strings("strict-transport-security-directives"),
            ),
            cors: browser::Cors::new(flags.strings("cors-allowed-origins")),
            goaway_chance: flags.float("goaway-chance"),
            draining: draining::Draining::new(
                flags.bool("shutdown-send-retry-after"),
                flags.duration("shutdown-watch-termination-grace-period"),
            ),
            audit,
            limits,
            admission,
            authorizer,
            rules: chain,
            authorization_metrics: crate::authz::RequestMetrics::new(&metrics),
            authenticator,
            authentication_metrics: crate::authn::AuthenticationMetrics::new(&metrics),
            request_header,
            impersonation,
            traces,
            discovery,
            custom_resources: Serving::default(),
            aggregator,
            peers,
            health,
            pages,
            custom_resource_metrics: CustomResourceMetrics::new(&metrics),
            request_metrics,
            metrics,
            connector,
            webhooks,
            service_hooks,
            shutdown_watches: CancellationToken::new(),
            resources,
            backend,
            encryption,
            watch_caches,
            etcd_overrides,
            config,
            master_leases,
            reconciling: Reconciling::default(),
            instance: uuid::Uuid::new_v4().to_string(),
            tokens,
            rbac,
        });
        server.service_hooks.attach(&server);
        client.attach(&server);
        Ok(server)
    }

    /// Priority and fairness, when it is on.
    pub fn flow_control(&self) -> Option<&Arc<FlowControl>> {
        match &self.limits {
            Limits::InFlight(_) => None,
            Limits::PriorityAndFairness(flow) => Some(flow),
        }
    }

    /// The strategy of an endpoint.
    pub fn strategy<'a>(&self, endpoint: &'a Endpoint) -> &'a dyn Strategy {
        match (endpoint.subresource, &endpoint.resource.custom) {
            (None, _) => &*endpoint.resource.strategy,
            (Some(_), Some(custom)) => &custom.status,
            (Some(subresource), None) => strategies::strategy(
                endpoint.resource.hub.group,
                endpoint.resource.hub.kind,
                subresource.name,
            ),
        }
    }

    /// What writing a resource does besides.
    pub fn write_hooks(&self, resource: &Resource) -> Option<Arc<dyn WriteHooks>> {
        (resource.info.group.is_empty() && resource.info.resource == "services")
            .then(|| self.service_hooks.clone() as Arc<dyn WriteHooks>)
    }

    /// The chain.
    async fn serve(self: &Arc<Self>, mut request: Request) -> Response {
        let received = Instant::now();
        let audit_id = request
            .headers()
            .get(&AUDIT_ID)
            .filter(|id| !id.is_empty())
            .cloned()
            .unwrap_or_else(|| {
                HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
                    .unwrap_or_else(|_| HeaderValue::from_static(""))
            });
        let mut response = self.chain(&mut request, &audit_id, received).await;
        response.headers_mut().insert(&AUDIT_ID, audit_id);
        response
    }

    async fn chain(
        self: &Arc<Self>,
        request: &mut Request,
        audit_id: &HeaderValue,
        received: Instant,
    ) -> Response {
        let mut cx = match context_of(request, audit_id, received) {
            Ok(cx) => cx,
            Err(response) => return response,
        };
        if let Some(response) = self.draining.refuse(&cx) {
            return response;
        }
        if self.goaway_chance > 0.0
            && request.version() == http::Version::HTTP_2
            && rand::random::<f64>() < self.goaway_chance
        {
            cx.connection.close_gracefully();
        }
        let long_running = is_long_running(&cx.info);
        let _request = if long_running {
            None
        } else {
            self.draining.enter()
        };
        if !long_running {
            match self.deadline(&cx) {
                Ok(deadline) => cx.deadline = Some(deadline),
                Err(error) => {
                    let refuse = |cx: &RequestContext| respond::error(cx, error);
                    return self.finished(self.refused(&mut cx, refuse).await);
                }
            }
        }
        let response = match cx.deadline {
            None => self.warned(cx, request).await,
            Some(deadline) => {
                let answer = tokio::time::timeout_at(deadline, self.warned(cx, request));
                match answer.await {
                    Ok(response) => response,
                    // The context went with the answer.
                    Err(_) => match context_of(request, audit_id, received) {
                        Ok(cx) => self.timed_out(&cx),
                        Err(response) => response,
                    },
                }
            }
        };
        self.finished(response)
    }

    fn timed_out(&self, cx: &RequestContext) -> Response {
        self.request_metrics.timed_out(cx, self.knows(&cx.info));
        let told = "request did not complete within the allotted timeout";
        respond::error(cx, status::timeout(told, 0))
    }

    /// Whether a path names a resource that there is.
    fn knows(&self, info: &RequestInfo) -> bool {
        let (group, version) = (&info.api_group, &info.api_version);
        let found = self.resources.get(group, version, &info.resource);
        found.is_some_and(|resource| {
            let mut subresources = resource.info.subresources.iter();
            info.subresource.is_empty() || subresources.any(|row| row.name == info.subresource)
        })
    }

    /// Counts what a filter has taken since `started`; the next one starts now.
    fn filtered(&self, filter: Filter, started: Instant) -> (Instant, Duration) {
        let now = Instant::now();
        let took = now - started;
        self.request_metrics.filtered(filter, took);
        (now, took)
    }

    /// Sets what all answers say.
    fn finished(&self, response: Response) -> Response {
        let mut response = no_cache(response);
        if let Some(value) = &self.strict_transport_security {
            browser::set_strict_transport_security(&mut response, value);
        }
        response
    }

    /// Warnings are in every answer, also in one that refuses. Upstream: endpoints/filters/warning.go.
    async fn warned(self: &Arc<Self>, cx: RequestContext, request: &mut Request) -> Response {
        let warnings = cx.warnings.clone();
        let mut response = self.asked_from_site(cx, request).await;
        for warning in warnings.headers() {
            if let Ok(value) = HeaderValue::from_str(&warning)
                .or_else(|_| HeaderValue::from_bytes(warning.as_bytes()))
            {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        response
    }

    /// Browsers tell from which site a request comes, and may have to be told that it was allowed.
    async fn asked_from_site(
        self: &Arc<Self>,
        cx: RequestContext,
        request: &mut Request,
    ) -> Response {
        let cors = self.cors.as_ref();
        let Some(origin) = cors.and_then(|cors| cors.origin(&cx.headers)) else {
            return self.authenticated(cx, request).await;
        };
        if cx.method == http::Method::OPTIONS {
            return browser::Cors::preflight(origin);
        }
        let mut response = self.authenticated(cx, request).await;
        browser::Cors::allow(&mut response, origin);
        response
    }

    /// `?timeout=`, bounded by `--request-timeout`.
    fn deadline(&self, cx: &RequestContext) -> Result<Instant, StatusError> {
        let mut timeout = self.config.request_timeout;
        if let Some(text) = cx.query.first("timeout").filter(|text| !text.is_empty()) {
            let asked = apimachinery::duration::parse(text).map_err(|_| {
                status::bad_request(format!(
                    "invalid timeout specified in the request URL - time: invalid duration {text:?}"
                ))
            })?;
            let asked = Duration::from_nanos(u64::try_from(asked).unwrap_or(0));
            if !asked.is_zero() {
                timeout = timeout.min(asked);
            }
        }
        Ok(cx.received + timeout)
    }

    async fn authenticated(
        self: &Arc<Self>,
        mut cx: RequestContext,
        request: &mut Request,
    ) -> Response {
        let started = Instant::now();
        let credentials = filter::credentials_of(request);
        let found = self.authenticator.authenticate(&credentials).await;
        let took = started.elapsed();
        for warning in credentials.warnings.lock().drain(..) {
            cx.warnings.add(warning);
        }
        let found = match found {
            Ok(Some(found)) => {
                self.authentication_metrics.success(&found.user.name, took);
                Some(found)
            }
            Ok(None) => {
                self.authentication_metrics.failure(took);
                None
            }
            Err(error) => {
                self.authentication_metrics.error(took);
                tracing::error!(error = %error, "Unable to authenticate the request");
                None
            }
        };
        cx.annotations
            .latencies()
            .add(Latency::Authentication, took);
        // Callers nobody knows get no long-lived HTTP/2 connection (CVE-2023-44487).
        let closes = request.version() == http::Version::HTTP_2
            && crate::apis::gates::enabled("UnauthenticatedHTTP2DOSMitigation");
        let Some(found) = found else {
            self.request_metrics.filtered(Filter::Authentication, took);
            if closes {
                cx.connection.close_gracefully();
            }
            let refuse =
                |cx: &RequestContext| respond::error(cx, status::unauthorized("Unauthorized"));
            return self.refused(&mut cx, refuse).await;
        };
        if closes && component_base::auth::combine::is_anonymous(&found.user) {
            cx.connection.close_gracefully();
        }
        cx.user = found.user;
        cx.note(found.notes);
        let config = self
            .request_header
            .as_ref()
            .map(request_header::RequestHeaderAuthenticator::config);
        request_header::clear_authentication_headers(&mut cx.headers, config.as_deref());
        let (started, _) = self.filtered(Filter::Authentication, started);
        let span = self.traces.start(&cx, request.version());
        let response = match &self.audit {
            None => self.known(cx, request, started).await,
            Some(audit) => {
                let long_running = is_long_running(&cx.info);
                audit
                    .around(cx, long_running, |cx| self.known(cx, request, started))
                    .await
            }
        };
        span.answer(response)
    }

    /// Refuses a request of which nobody knows who sent it.
    async fn refused(
        &self,
        cx: &mut RequestContext,
        refuse: impl FnOnce(&RequestContext) -> Response,
    ) -> Response {
        match &self.audit {
            None => refuse(cx),
            Some(audit) => audit.refused(cx, refuse).await,
        }
    }

    /// What follows when it is known who sent the request, and since `started` to the audit log, too.
    async fn known(
        self: &Arc<Self>,
        mut cx: RequestContext,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        let (started, _) = self.filtered(Filter::Audit, started);
        let asked = self
            .impersonation
            .impersonate(&mut cx, &*self.authorizer)
            .await;
        match (asked, &cx.audit) {
            (Err(error), _) => return no_sniff(respond::error(&cx, error)),
            (Ok(Some(constraint)), Some(audit)) => audit.impersonated(&cx.user, constraint),
            (Ok(_), _) => {}
        }
        let (started, took) = self.filtered(Filter::Impersonation, started);
        cx.annotations.latencies().add(Latency::Impersonation, took);
        self.limited(Arc::new(cx), request, started).await
    }

    /// Not too many at once. Connections to pods do not count.
    async fn limited(
        self: &Arc<Self>,
        cx: Arc<RequestContext>,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        let flow = match &self.limits {
            Limits::InFlight(inflight) => {
                let place = if is_long_running(&cx.info) {
                    Ok(None)
                } else {
                    inflight.admit(&cx)
                };
                return match place {
                    Ok(None) => self.authorized(cx, request, started).await,
                    Ok(Some(place)) => {
                        let deadline = cx.deadline;
                        place.while_sent(self.authorized(cx, request, started).await, deadline)
                    }
                    Err(inflight::TooMany) => self.dropped(&cx, 1),
                };
            }
            Limits::PriorityAndFairness(flow) => flow,
        };
        if cx.info.verb != "watch" && is_long_running(&cx.info) {
            return self.authorized(cx, request, started).await;
        }
        let flowcontrol::Admission { schema, outcome } = flow.admit(&cx).await;
        let mut response = match outcome {
            Ok(ticket) => {
                let (started, _) = self.filtered(Filter::PriorityAndFairness, started);
                flow.keep(&cx, ticket);
                self.authorized(cx, request, started).await
            }
            Err(seconds) => self.dropped(&cx, seconds),
        };
        schema.set_headers(response.headers_mut());
        response
    }

    /// There are too many requests.
    fn dropped(&self, cx: &RequestContext, seconds: u64) -> Response {
        self.request_metrics.dropped(cx, self.knows(&cx.info));
        too_many_requests(seconds)
    }

    async fn authorized(
        self: &Arc<Self>,
        cx: Arc<RequestContext>,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        let attributes = cx.attributes();
        let verdict = self.authorizer.authorize(&attributes).await;
        let took = started.elapsed();
        self.authorization_metrics.count(&verdict, took);
        cx.annotations.latencies().add(Latency::Authorization, took);
        match authorization::outcome(verdict, &attributes) {
            Ok(reason) => {
                self.request_metrics.filtered(Filter::Authorization, took);
                if let Some(audit) = &cx.audit {
                    audit.allowed(reason);
                }
            }
            Err(authorization::Refusal::Forbidden { error, reason }) => {
                if let Some(audit) = &cx.audit {
                    audit.forbidden(reason);
                }
                return no_sniff(respond::error(&cx, error));
            }
            Err(authorization::Refusal::Failed(reason)) => {
                if let Some(audit) = &cx.audit {
                    audit.undecided();
                }
                tracing::error!(reason, "Could not decide whether a request is allowed");
                let text = format!("Internal Server Error: {:?}: {reason}", cx.uri.to_string());
                return serving::error_response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &filter::sanitize(&text),
                );
            }
        }
        let upgrade: Upgrade = request
            .extensions_mut()
            .remove::<hyper::upgrade::OnUpgrade>();
        let body = std::mem::take(request.body_mut());
        self.route(&cx, body, upgrade).await
    }

    /// Whether a request is for a custom resource that there is, in its scope.
    async fn serves_custom(self: &Arc<Self>, info: &RequestInfo) -> bool {
        let found = self
            .resources
            .get(&info.api_group, &info.api_version, &info.resource);
        let found = match found {
            None => self.custom_resources.wait_for(self, info).await,
            found => found,
        };
        let everywhere = matches!(info.verb.as_str(), "list" | "watch");
        found.is_some_and(|resource| {
            let in_namespace = !info.namespace.is_empty();
            resource.info.namespaced == in_namespace || (resource.info.namespaced && everywhere)
        })
    }

    async fn route(
        self: &Arc<Self>,
        cx: &Arc<RequestContext>,
        body: serving::Body,
        upgrade: Upgrade,
    ) -> Response {
        let info = &cx.info;
        if let Some(peers) = &self.peers {
            let able = peers.able(self, cx);
            if !able.is_empty() {
                return peers::serve(self, cx, &able, body, upgrade).await;
            }
        }
        if let Some(remote) = self.aggregator.remote_of(&info.path) {
            return aggregator::serve(self, cx, &remote, body, upgrade).await;
        }
        if !info.is_resource_request {
            let response = nonresource::serve(self, cx, body).await;
            return cx.measured.answered(response);
        }
        let known = if info.api_prefix == "api" {
            info.api_group.is_empty()
        } else {
            self.resources.is_built_in(&info.api_group) || self.serves_custom(info).await
        };
        if !known {
            return nonresource::not_found(self, cx);
        }
        let response = match handlers::dispatch(self, cx, body, upgrade).await {
            Ok(response) => response,
            Err(error) => respond::error(cx, error),
        };
        cx.measured.answered(response)
    }
}

/// Storage of what is no resource: nobody watches it, it is read straight from etcd, and, as upstream, never encrypted.
fn internal_storage(
    backend: &Backend,
    name: &str,
    prefix: &str,
) -> Result<Storage, crate::storage::Error> {
    let mut config = ResourceConfig::new(
        "",
        name,
        prefix,
        false,
        Arc::new(|_, _| Ok(Header::default())),
    );
    config.watch_cache = false;
    config.counted = false;
    backend.storage(config)
}

/// What `--encryption-provider-config` asks for.
async fn encryption(
    config: &Config,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Option<Arc<Encryption>>, component_base::Error> {
    let server_id = hooks::identity::id(config);
    let Some(path) = config.flags.non_empty("encryption-provider-config") else {
        Encryption::off(&server_id, metrics);
        return Ok(None);
    };
    let reload = config
        .flags
        .bool("encryption-provider-config-automatic-reload");
    let encryption = Encryption::load(Path::new(path), reload, &server_id, metrics, stop).await?;
    Ok(Some(encryption))
}

/// Requests that have no deadline and no place among those in flight.
fn is_long_running(info: &RequestInfo) -> bool {
    if matches!(info.verb.as_str(), "watch" | "proxy") {
        return true;
    }
    if info.is_resource_request {
        return matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "proxy" | "log" | "portforward"
        );
    }
    info.path.starts_with("/debug/pprof/")
}

/// 429.
fn too_many_requests(seconds: u64) -> Response {
    let mut response = serving::error_response(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests, please try again later.",
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// `--enable-priority-and-fairness`, or limits of requests in flight.
fn limits(
    config: &Config,
    resources: &Arc<Resources>,
    metrics: &Metrics,
) -> Result<Limits, component_base::Error> {
    let (read_only, mutating) = (
        config.max_requests_inflight,
        config.max_mutating_requests_inflight,
    );
    if !config.flags.bool("enable-priority-and-fairness") {
        let inflight = inflight::Inflight::new(read_only, mutating);
        metrics.register(inflight.collector()?);
        return Ok(Limits::InFlight(inflight));
    }
    let enabled = |name: &str| config.features.knows(name) && config.features.enabled(name);
    let settings = flowcontrol::Settings {
        total: u32::try_from(read_only + mutating).unwrap_or(u32::MAX / 4),
        request_timeout: config.request_timeout,
        lists_by_size: enabled("SizeBasedListCostEstimate"),
        watch_list: enabled("WatchList"),
    };
    let flow = FlowControl::new(resources, settings);
    metrics.register(flow.collector()?);
    Ok(Limits::PriorityAndFairness(flow))
}

/// Refusals may quote the request: browsers are not to guess their type.
fn no_sniff(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// What is known of a request before anybody is asked about it, or the answer to one that makes no sense.
fn context_of(
    request: &Request,
    audit_id: &HeaderValue,
    received: Instant,
) -> Result<RequestContext, Response> {
    let Ok(path) = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8() else {
        return Err(no_cache(serving::error_response(
            StatusCode::BAD_REQUEST,
            "invalid path encoding",
        )));
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = RequestInfo::parse(request.method(), &path, &query).map_err(|error| {
        let text = format!(
            "Internal Server Error: {:?}: failed to create RequestInfo: {error}",
            request
                .uri()
                .path_and_query()
                .map_or("", |path| path.as_str())
        );
        serving::error_response(StatusCode::INTERNAL_SERVER_ERROR, &filter::sanitize(&text))
    })?;
    Ok(RequestContext {
        method: request.method().clone(),
        uri: request.uri().clone(),
        info,
        query,
        headers: request.headers().clone(),
        user: UserInfo::default(),
        audit_id: audit_id.to_str().unwrap_or_default().to_owned(),
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        audit: None,
        received,
        deadline: None,
        connection: serving::connection(request),
        place: Place::default(),
        measured: Measured::default(),
    })
}

/// Responses are not to be cached, unless the handler said otherwise.
fn no_cache(mut response: Response) -> Response {
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// [`ApiServer`] as the listener's handler.
pub struct Service(pub Arc<ApiServer>);

impl Handler for Service {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        let server = self.0.clone();
        Box::pin(async move { server.serve(request).await })
    }
}

/// Where this process reaches itself.
fn own_address(config: &Config) -> (String, u16) {
    let host = match config.serving.bind_address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    (host.to_string(), config.serving.bind_port)
}

/// `--enable-admission-plugins` and `--disable-admission-plugins`, or the older `--admission-control`: these and no others.
fn admission_chain(
    config: &Config,
    resources: &Arc<Resources>,
    authorizer: &Arc<dyn Authorizer>,
    client: &LateLoopback,
    webhooks: (Arc<Webhooks>, admission::plugins::WebhookMetrics),
    pod_security_metrics: admission::plugins::PodSecurityMetrics,
    metrics: admission::AdmissionMetrics,
) -> Result<admission::Chain, component_base::Error> {
    let flags = &config.flags;
    let only = flags.strings("admission-control");
    let (enabled, disabled) = if only.is_empty() {
        (
            flags.strings("enable-admission-plugins").to_vec(),
            flags.strings("disable-admission-plugins").to_vec(),
        )
    } else {
        let others = admission::Chain::known()
            .filter(|known| !only.iter().any(|name| name == known))
            .map(str::to_owned);
        (only.to_vec(), others.collect())
    };
    let missing = admission::Chain::missing(&disabled, &config.features);
    if !missing.is_empty() {
        tracing::warn!(
            plugins = missing.join(","),
            "Admission plugins that are on by default are not there yet"
        );
    }
    let configuration = match flags.non_empty("admission-control-config-file") {
        Some(file) => admission::configuration::Configuration::read(Path::new(file))?,
        None => admission::configuration::Configuration::default(),
    };
    let settings = admission::plugins::Settings {
        not_ready_toleration_seconds: flags.int("default-not-ready-toleration-seconds"),
        unreachable_toleration_seconds: flags.int("default-unreachable-toleration-seconds"),
        authorizer: Some(authorizer.clone()),
        resources: Some(resources.clone()),
        webhooks: Some(webhooks),
        pod_security_metrics: Some(pod_security_metrics),
        metrics: Some(metrics),
        client: client.clone(),
        features: config.features.clone(),
        configuration,
    };
    let cluster = Arc::new(admission::StoredCluster::new(resources.clone()));
    Ok(admission::Chain::new(
        &enabled, &disabled, &settings, cluster,
    )?)
}
