//! The server and what it is made of. Upstream: apiserver/pkg/server/config.go.

/// Who may come in.
pub mod authn;
/// What they may do.
pub mod authorization;
/// HSTS and CORS.
pub mod browser;
/// The way of a request.
mod chain;
/// The end of the server.
pub mod draining;
/// Resources with an etcd of their own.
pub mod etcd_overrides;
/// `/healthz`, `/livez`, `/readyz`.
pub mod health;
/// What is logged of each request.
pub mod httplog;
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

use api_types::resources::ResourceInfo;
use component_base::auth::{Authenticator, Authorizer, request_header};
use component_base::metrics::Metrics;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::admission::manifests::{ManifestMetrics, Manifests};
use crate::aggregator::Aggregator;
use crate::audit::Audit;
use crate::authz::RuleResolver;
use crate::config::Config;
use crate::connect::Connector;
use crate::custom_resources::CustomResourceMetrics;
use crate::custom_resources::serving::Serving;
use crate::discovery::Discovery;
use crate::egress::Egress;
use crate::flowcontrol::{self, FlowControl};
use crate::handlers::Endpoint;
use crate::hooks;
use crate::hooks::kubernetes_service::Reconciling;
use crate::loopback::LateLoopback;
use crate::peers::Peers;
use crate::registry::issued_certificates::IssuedCertificates;
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
use crate::request_metrics::RequestMetrics;
use crate::storage::encryption::Encryption;
use crate::storage::{Backend, EtcdConfig, Header, ResourceConfig, Storage, StorageMetrics};
use crate::storage_versions::StorageVersions;
use crate::traces::Traces;
use crate::webhook::{ClusterServices, Webhooks};

pub use chain::Service;
use etcd_overrides::EtcdOverrides;
pub use health::{Health, LATE_HOOKS, POST_START_HOOKS};
use impersonation::Impersonation;
use watch_caches::WatchCaches;

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
    /// What the cluster was told of stored versions, with the feature.
    pub storage_versions: Option<StorageVersions>,
    pub health: Health,
    pub pages: pages::Pages,
    pub metrics: Metrics,
    pub connector: Connector,
    /// Clients of admission and conversion webhooks.
    pub webhooks: Arc<Webhooks>,
    pub custom_resource_metrics: CustomResourceMetrics,
    /// Allocation of cluster IPs and node ports.
    pub service_hooks: Arc<ServiceHooks>,
    issued_certificates: Arc<dyn WriteHooks>,
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
        let storage_metrics =
            StorageMetrics::showing(metrics.registry(), metrics.options().show_hidden)?;
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
        let wanted = |info: &ResourceInfo| {
            runtime_config.serves(info.group, info.version, info.resource, info.default_on)
                && (info.feature_gate.is_empty()
                    || (features.knows(info.feature_gate) && features.enabled(info.feature_gate)))
        };
        let resources = Resources::open(
            &backend,
            &TableOptions {
                serve: &wanted,
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
            manifests(&config, &metrics, &stop),
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
        let connector = Connector::new(&config, egress.cluster.clone(), &metrics)?;
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
            storage_versions: StorageVersions::new(&resources, &config.features),
            health,
            pages,
            custom_resource_metrics: CustomResourceMetrics::new(&metrics),
            issued_certificates: Arc::new(Arc::new(IssuedCertificates::new(&metrics))),
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
        match (resource.info.group, resource.info.resource) {
            ("", "services") => Some(self.service_hooks.clone()),
            ("certificates.k8s.io", "certificatesigningrequests") => {
                Some(self.issued_certificates.clone())
            }
            _ => None,
        }
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
    manifests: Manifests,
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
        manifests,
    };
    let cluster = Arc::new(admission::StoredCluster::new(resources.clone()));
    Ok(admission::Chain::new(
        &enabled, &disabled, &settings, cluster,
    )?)
}

/// What plugins need to follow manifests.
fn manifests(config: &Config, metrics: &Metrics, stop: &CancellationToken) -> Manifests {
    let enabled = config.features.enabled(admission::manifests::FEATURE);
    let server = crate::hooks::identity::id(config);
    Manifests {
        metrics: enabled.then(|| ManifestMetrics::new(metrics, &server)),
        stop: stop.clone(),
    }
}
