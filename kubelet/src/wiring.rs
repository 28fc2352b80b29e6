//! Plugs the volume manager and the HTTP API into the kubelet.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::Pod;
use client::Client;
use component_base::Error;
use component_base::auth::combine::{AlwaysAllow, UnionAuthenticator};
use component_base::auth::delegated::AccessReviewer;
use component_base::auth::token::{BearerToken, CachedTokens, TokenReviewer};
use component_base::auth::x509::{CLIENT_CA, CaBundle, CertificateAuthenticator};
use component_base::auth::{Authenticator, Authorizer};
use component_base::configz::Configz;
use component_base::flagz::Flagz;
use component_base::healthz::{self, HealthChecks};
use component_base::metrics::{HealthMetrics, Metrics};
use component_base::serving::{CertificateSlot, SecureServingOptions, Server, bind_plain};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::Options;
use crate::cri::{CriError, v1};
use crate::events::Recorder;
use crate::node::NodeInfo;
use crate::objects::ObjectManager;
use crate::server::stats::{StatsOptions, StatsProvider, StatsSource};
use crate::server::{Auth, KubeletHost, KubeletServer, ServerMetrics, ServerParts, Switches};
use crate::sync_loop::Kubelet;
use crate::volume::orphans::clean_up_orphaned_pod_dirs;
use crate::volume::{LinuxMounter, TokenManager, VolumeHost, VolumeManager, VolumeNode};

fn fail(text: impl Into<String>) -> Error {
    text.into().into()
}

impl VolumeNode for NodeInfo {
    fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.allocatable()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.labels()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// The volume manager.
pub(crate) fn volumes(
    options: &Options,
    client: Option<&Client>,
    objects: &Arc<ObjectManager>,
    node: &Arc<NodeInfo>,
    recorder: &Arc<Recorder>,
    token: &CancellationToken,
) -> VolumeManager {
    let tokens = Arc::new(TokenManager::new(client.cloned()));
    tokio::spawn(tokens.clone().run(token.clone()));
    let host = VolumeHost {
        root_dir: options.root_dir.clone(),
        mounter: Arc::new(LinuxMounter),
        objects: objects.clone(),
        tokens,
        client: client.cloned(),
        node: node.clone(),
    };
    VolumeManager::new(Arc::new(host), recorder.clone())
}

/// Removes the folders of all pods but the given ones.
pub(crate) fn orphan_cleaner(volumes: &VolumeManager) -> crate::sync_loop::OrphanCleaner {
    let volumes = volumes.clone();
    Arc::new(move |known: &HashSet<String>| clean_up_orphaned_pod_dirs(&volumes, known))
}

/// What statistics ask.
struct Facts(Arc<Kubelet>);

impl StatsSource for Facts {
    fn node_name(&self) -> String {
        self.0.options.node.name.clone()
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.pods.pods()
    }

    fn pod_start(&self, uid: &str) -> Option<jiff::Timestamp> {
        let start = self.0.status.get(uid)?.start_time?;
        (!start.is_zero()).then(|| start.timestamp())
    }

    fn pod_cgroup(&self, pod: &Pod) -> PathBuf {
        self.0.options.cm.pod_path(pod)
    }

    fn running_containers(&self) -> BoxFuture<'_, Result<Vec<v1::Container>, CriError>> {
        Box::pin(async {
            let filter = v1::ContainerFilter {
                state: Some(v1::ContainerStateValue {
                    state: v1::ContainerState::ContainerRunning.into(),
                }),
                ..Default::default()
            };
            self.0.runtime.cri().list_containers(Some(filter)).await
        })
    }

    fn container_stats(&self) -> BoxFuture<'_, Result<Vec<v1::ContainerStats>, CriError>> {
        Box::pin(self.0.runtime.cri().list_container_stats())
    }

    fn image_fs_info(&self) -> BoxFuture<'_, Result<v1::ImageFsInfoResponse, CriError>> {
        Box::pin(self.0.runtime.cri().image_fs_info())
    }
}

fn std_duration(duration: &api_types::Duration) -> Duration {
    Duration::from_nanos(u64::try_from(duration.0).unwrap_or(0))
}

/// Whether [`auth`] will find what it needs; asked before anything is started.
pub(crate) fn check_auth(options: &Options, has_client: bool) -> Result<(), Error> {
    let authentication = &options.config.authentication;
    let authorization = &options.config.authorization;
    if authentication.webhook.enabled == Some(true) && !has_client {
        return Err("no client provided, cannot use webhook authentication".into());
    }
    match authentication.x509.client_ca_file.as_str() {
        "" => {}
        file => CaBundle::check_file(CLIENT_CA, file.as_ref())?,
    }
    match authorization.mode.as_str() {
        "AlwaysAllow" => Ok(()),
        "Webhook" if has_client => Ok(()),
        "Webhook" => Err("no client provided, cannot use webhook authorization".into()),
        "" => Err("no authorization mode specified".into()),
        other => Err(format!("unknown authorization mode {other}").into()),
    }
}

/// How the main port is served; where and with which rotated certificate is found out later.
pub(crate) fn secure_serving(options: &Options) -> SecureServingOptions {
    let config = &options.config;
    let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
    SecureServingOptions {
        bind_port: u16::try_from(config.port).unwrap_or(0),
        cert_dir: Some(options.cert_dir.clone()),
        pair_name: "kubelet".to_owned(),
        cert_file: file(&config.tls_cert_file),
        key_file: file(&config.tls_private_key_file),
        cipher_suites: config.tls_cipher_suites.clone(),
        min_tls_version: config.tls_min_version.clone(),
        curve_preferences: config.tls_curve_preferences.clone(),
        request_client_certificate: !config.authentication.x509.client_ca_file.is_empty(),
        client_ca_files: file(&config.authentication.x509.client_ca_file)
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

/// Who may ask, by `authentication` and `authorization` of the configuration. Upstream: `BuildAuth`.
fn auth(
    options: &Options,
    client: Option<&Client>,
    registry: &Metrics,
    token: &CancellationToken,
) -> Result<Auth, Error> {
    let authentication = &options.config.authentication;
    let client_ca = match authentication.x509.client_ca_file.as_str() {
        "" => CaBundle::default(),
        file => CaBundle::from_file(CLIENT_CA, file.as_ref(), token)?,
    };
    let mut authenticators: Vec<Arc<dyn Authenticator>> = vec![Arc::new(
        CertificateAuthenticator::with_metrics(client_ca, registry),
    )];
    if authentication.webhook.enabled == Some(true) {
        let client = client
            .ok_or_else(|| fail("no client provided, cannot use webhook authentication"))?
            .without_rate_limit();
        let ttl = std_duration(&authentication.webhook.cache_ttl);
        let reviewer = TokenReviewer::new(client, Duration::from_secs(10), Vec::new());
        let cached = CachedTokens::new(Arc::new(reviewer), ttl, ttl);
        authenticators.push(Arc::new(BearerToken::new(Arc::new(cached))));
    }
    let authorization = &options.config.authorization;
    let authorizer: Arc<dyn Authorizer> = match authorization.mode.as_str() {
        "AlwaysAllow" => Arc::new(AlwaysAllow),
        "Webhook" => {
            let client = client
                .ok_or_else(|| fail("no client provided, cannot use webhook authorization"))?
                .without_rate_limit();
            Arc::new(AccessReviewer::new(
                client,
                std_duration(&authorization.webhook.cache_authorized_ttl),
                std_duration(&authorization.webhook.cache_unauthorized_ttl),
            ))
        }
        "" => return Err(fail("no authorization mode specified")),
        other => return Err(fail(format!("unknown authorization mode {other}"))),
    };
    Ok(Auth {
        authenticator: Arc::new(UnionAuthenticator {
            authenticators,
            anonymous: (authentication.anonymous.enabled == Some(true)).into(),
        }),
        authorizer,
        node_name: options.node_name.clone(),
        fine_grained: options.features.enabled("KubeletFineGrainedAuthz"),
    })
}

fn switches(options: &Options) -> Switches {
    let config = &options.config;
    Switches {
        enable_debugging_handlers: config.enable_debugging_handlers == Some(true),
        enable_system_log_handler: config.enable_system_log_handler == Some(true),
        enable_system_log_query: config.enable_system_log_query == Some(true)
            && options.features.enabled("NodeLogQuery"),
        enable_profiling_handler: config.enable_profiling_handler == Some(true),
        enable_debug_flags_handler: config.enable_debug_flags_handler == Some(true),
        checkpoint: options.features.enabled("ContainerCheckpoint"),
        split_log_streams: options.features.enabled("PodLogsQuerySplitStreams"),
        websockets: options.features.enabled("ExtendWebSocketsToKubelet"),
    }
}

/// What the HTTP API needs beyond the kubelet.
pub(crate) struct Served<'a> {
    /// Volumes, for their statistics.
    pub volumes: &'a VolumeManager,
    /// For reviews; none in a kubelet that stands alone.
    pub client: Option<&'a Client>,
    /// All metrics.
    pub registry: &'a Metrics,
    /// `/flagz`.
    pub flagz: Flagz,
    /// The certificate the API server signs, with `serverTLSBootstrap`.
    pub certificate: Option<CertificateSlot>,
}

/// The HTTP API: on `port` with authentication, on `readOnlyPort` without.
///
/// # Errors
/// When a port cannot be had, or files cannot be read.
pub(crate) fn server(
    options: &Options,
    kubelet: &Arc<Kubelet>,
    served: Served<'_>,
    token: &CancellationToken,
) -> Result<(), Error> {
    let config = &options.config;
    if config.enable_server != Some(true) {
        return Ok(());
    }
    let address: IpAddr = config
        .address
        .parse()
        .map_err(|_| fail(format!("invalid address {:?}", config.address)))?;
    let source = Arc::new(Facts(kubelet.clone()));
    let pods_cgroup = kubelet.options.cm.root();
    let stats = Arc::new(StatsProvider::new(
        source,
        Some(served.volumes.clone()),
        StatsOptions {
            root_dir: options.root_dir.clone(),
            pod_logs_dir: config.pod_logs_dir.clone().into(),
            pods_cgroup,
            volume_period: std_duration(&config.volume_stats_agg_period),
        },
    ));
    tokio::spawn(stats.clone().run(token.clone()));
    let configz = Configz::default();
    let shown = api_types::encode_json(config);
    configz.set(
        "kubeletconfig",
        serde_json::from_slice(&shown).unwrap_or_default(),
    );
    let metrics = ServerMetrics::new(served.registry);
    let health_metrics = HealthMetrics::default();
    let looped = kubelet.clone();
    let checks = HealthChecks::with_metrics(
        "/healthz",
        [
            healthz::ping(),
            healthz::log(),
            healthz::named_check("syncloop", move || looped.sync_loop_healthy()),
        ],
        Some(health_metrics.clone()),
    );
    let parts = |auth: Option<Auth>, switches: Switches| ServerParts {
        host: Arc::new(KubeletHost {
            kubelet: kubelet.clone(),
            root_dir: options.root_dir.clone(),
        }),
        auth,
        switches,
        health: checks.clone(),
        health_metrics: health_metrics.clone(),
        registry: served.registry.clone(),
        probes: kubelet.metrics.probes.clone(),
        metrics: metrics.clone(),
        stats: stats.clone(),
        configz: configz.clone(),
        flagz: Some(served.flagz.clone()),
    };
    let start = |server: Server, parts: ServerParts| {
        // Streams are cut when the kubelet ends: it does not wait for shells of users.
        server.spawn(
            Arc::new(KubeletServer::new(parts)),
            token.clone(),
            Duration::from_secs(1),
        );
    };
    let mut serving = SecureServingOptions {
        bind_address: address,
        certificate: served.certificate,
        ..secure_serving(options)
    };
    serving.default_self_signed(&options.hostname, &[], &[])?;
    let auth = auth(options, served.client, served.registry, token)?;
    start(serving.bind(token)?, parts(Some(auth), switches(options)));
    if let Some(port) = u16::try_from(config.read_only_port)
        .ok()
        .filter(|port| *port > 0)
    {
        let listener = bind_plain(SocketAddr::new(address, port))?;
        start(Server::plain(listener), parts(None, Switches::read_only()));
    }
    Ok(())
}
