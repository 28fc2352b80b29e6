//! The daemon's life: read the configuration, watch, write rules, answer about health. Upstream: cmd/kube-proxy/app.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, ObjectReference, Service};
use api_types::discovery::v1::EndpointSlice;
use api_types::networking::v1::ServiceCIDR;
use client::cache::transforms;
use client::{
    Client, ClientConfig, ContentType, DeletedObject, EventHandler, EventRecorder, InformerFactory,
    ListScope, ObjectKey, RestMetrics,
};
use component_base::configz::Configz;
use component_base::flagz::Flagz;
use component_base::healthz::HealthChecks;
use component_base::metrics::{Metrics as BaseMetrics, MetricsOptions};
use component_base::run::Start;
use component_base::serving::{self, Request, Response, Server, handler_fn, text_response};
use component_base::statusz::Statusz;
use component_base::{debug, healthz, version};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::healthcheck::{ProxyHealth, ServiceHealth};
use crate::metrics::Metrics;
use crate::proxier::{
    BY_SERVICE, Layout, LocalDetector, Proxier, ProxierConfig, Surroundings, TABLE,
};
use crate::sys::{Family, Kernel, Linux};

const NAME: &str = "kube-proxy";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const TRIGGER_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler marks nodes that it is about to delete.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// How long the node is waited for before the proxy goes on without knowing its address.
const NODE_PATIENCE: Duration = Duration::from_secs(30);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the node's {0} changed; ending, so that the proxy starts anew with it")]
    NodeChanged(&'static str),
    #[error("detectLocalMode NodeCIDR: node {0} has no pod CIDR")]
    NoPodRange(String),
}

/// Runs until told to stop, or until the node has changed in a way that needs a new start.
pub async fn run(start: Start) -> Result<(), component_base::Error> {
    let Start { flags, stop } = start;
    let config = Config::from_flags(&flags)?;
    component_base::logs::reconfigure(&config.logging);
    if let Some(path) = &config.write_config_to {
        let text = serde_json::to_vec_pretty(&config.shown())?;
        return std::fs::write(path, text)
            .map_err(|error| apimachinery::os_error::on_path("open", path, &error).into());
    }
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    if config.cleanup {
        return clean_up(&*kernel).await;
    }
    set_oom_score(config.component.oom_score_adj.unwrap_or(-999));
    set_conntrack_limits(&*kernel, &config);
    if config.init_only {
        return Ok(());
    }
    let base = BaseMetrics::for_daemon(MetricsOptions::new(
        &config.component.show_hidden_metrics_for_version,
        Vec::new(),
    )?);
    let connection = &config.component.client_connection;
    let kubeconfig = component_base::component_config::kubeconfig_of(connection);
    let client_config = ClientConfig::load(kubeconfig.as_deref(), &config.master)?
        .with_user_agent(version::user_agent(NAME))
        .with_qps(connection.qps)
        .with_burst(u32::try_from(connection.burst).unwrap_or(0))
        .with_content_type(ContentType::parse(&connection.content_type)?)
        .with_metrics(RestMetrics::new(base.registry())?);
    let client = Client::new(client_config)?;

    let metrics = Metrics::new(&base);
    let health = Arc::new(ProxyHealth::new(config.sync_period(), metrics.clone()));
    let servers = serve(&config, &flags, &base, &health, &stop)?;

    let recorder = EventRecorder::events_v1(&client, NAME, &config.node);
    let reference = ObjectReference {
        kind: "Node".to_owned(),
        name: config.node.clone(),
        uid: config.node.clone(),
        ..ObjectReference::default()
    };
    recorder.event_with(&reference, None, "Normal", "Starting", "StartKubeProxy", "");

    let factory =
        InformerFactory::new(client.clone(), config.component.config_sync_period.as_std());
    let result = Proxy::new(&config, factory, health, metrics, kernel)
        .run(&stop)
        .await;
    stop.cancel();
    recorder.shut_down().await;
    for server in servers {
        let _ = server.await;
    }
    result
}

struct Proxy<'a> {
    config: &'a Config,
    factory: InformerFactory,
    health: Arc<ProxyHealth>,
    metrics: Metrics,
    kernel: Arc<dyn Kernel>,
}

impl<'a> Proxy<'a> {
    fn new(
        config: &'a Config,
        factory: InformerFactory,
        health: Arc<ProxyHealth>,
        metrics: Metrics,
        kernel: Arc<dyn Kernel>,
    ) -> Self {
        Self {
            config,
            factory,
            health,
            metrics,
            kernel,
        }
    }

    async fn run(&self, stop: &CancellationToken) -> Result<(), component_base::Error> {
        let nodes = self.factory.informer_with::<Node>(ListScope {
            field_selector: format!("metadata.name={}", self.config.node),
            ..ListScope::default()
        });
        let services = self.factory.informer_with::<Service>(ListScope {
            label_selector: format!("!{PROXY_NAME_LABEL}"),
            field_selector: "spec.clusterIP!=None".to_owned(),
            transform: Some(transforms::drop_managed_fields::<Service>()),
            ..ListScope::default()
        });
        let slices = self.factory.informer_with::<EndpointSlice>(ListScope {
            label_selector: format!("!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}"),
            transform: Some(transforms::drop_managed_fields::<EndpointSlice>()),
            ..ListScope::default()
        });
        let ranges = self.factory.informer::<ServiceCIDR>();
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice)
                .map(|key| vec![key.to_string()])
                .unwrap_or_default()
        });
        self.factory.start(stop.clone());

        // The node's own address decides about load balancers' source ranges and where node ports answer.
        let node = self.node(&nodes, stop).await;
        let addresses = node.as_ref().map(node_addresses).unwrap_or_default();
        let zone = node.as_ref().and_then(zone_of);
        if node.is_none() {
            tracing::warn!(
                node = self.config.node,
                "The node is not known yet: node ports answer once it is"
            );
        }

        let service_health = Arc::new(ServiceHealth::default());
        let mut proxiers = Vec::new();
        for family in Family::ALL
            .into_iter()
            .filter(|family| self.kernel.supports(*family))
        {
            let surroundings = Surroundings {
                layout: self.layout(family, node.as_ref(), &addresses)?,
                zone: zone.clone(),
            };
            let own = addresses
                .iter()
                .copied()
                .find(|address| Family::of(address) == family);
            let config = ProxierConfig {
                family,
                node: self.config.node.clone(),
                node_address: own,
                sync_period: self.config.sync_period(),
                min_sync_period: self.config.min_sync_period(),
            };
            let collaborators = (self.kernel.clone(), services.lister(), slices.lister());
            proxiers.push(Proxier::new(
                config,
                surroundings,
                collaborators.0,
                collaborators.1,
                collaborators.2,
                self.health.clone(),
                service_health.clone(),
                self.metrics.clone(),
            ));
        }

        // Nothing is written before both caches are filled: half a picture would take away what works.
        if !services.wait_for_sync(stop).await
            || !slices.wait_for_sync(stop).await
            || !ranges.wait_for_sync(stop).await
        {
            return Ok(());
        }
        services.add_handler(Arc::new(OnServices(proxiers.clone())));
        slices.add_handler(Arc::new(OnSlices(proxiers.clone())));
        ranges.add_handler(Arc::new(OnRanges {
            proxiers: proxiers.clone(),
            ranges: ranges.lister(),
        }));
        let (ended, mut why) = tokio::sync::mpsc::channel(1);
        nodes.add_handler(Arc::new(OnNode {
            proxiers: proxiers.clone(),
            health: self.health.clone(),
            addresses,
            ranges: node.map(|node| node.spec.pod_cidrs.clone()),
            node_range_matters: self.config.component.detect_local_mode == "NodeCIDR",
            ended,
        }));

        let mut tasks = tokio::task::JoinSet::new();
        for proxier in proxiers {
            let stop = stop.clone();
            tasks.spawn(async move { proxier.run(stop).await });
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(what) = why.recv() => return Err(AppError::NodeChanged(what).into()),
            // A proxier runs until it is told to stop: that it ended otherwise is a panic.
            Some(ended) = tasks.join_next() => ended?,
        }
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn node(
        &self,
        nodes: &client::SharedInformer<Node>,
        stop: &CancellationToken,
    ) -> Option<Arc<Node>> {
        let (seen, mut first) = tokio::sync::mpsc::channel(1);
        let registration = nodes.add_handler(Arc::new(FirstNode(seen)));
        let found = tokio::select! {
            () = stop.cancelled() => None,
            found = tokio::time::timeout(NODE_PATIENCE, first.recv()) => found.ok().flatten(),
        };
        nodes.remove_handler(&registration);
        found
    }

    fn layout(
        &self,
        family: Family,
        node: Option<&Arc<Node>>,
        addresses: &[IpAddr],
    ) -> Result<Layout, AppError> {
        let component = &self.config.component;
        let local = match component.detect_local_mode.as_str() {
            "BridgeInterface" => {
                LocalDetector::Bridge(component.detect_local.bridge_interface.clone())
            }
            "InterfaceNamePrefix" => {
                LocalDetector::InterfacePrefix(component.detect_local.interface_name_prefix.clone())
            }
            "NodeCIDR" => {
                let of_family = |node: &Arc<Node>| {
                    node.spec
                        .pod_cidrs
                        .iter()
                        .filter_map(|range| range.parse::<IpNet>().ok())
                        .find(|range| Family::of(&range.addr()) == family)
                };
                let any = node.is_some_and(|node| !node.spec.pod_cidrs.is_empty());
                if !any {
                    return Err(AppError::NoPodRange(self.config.node.clone()));
                }
                node.and_then(of_family)
                    .map_or(LocalDetector::None, LocalDetector::Range)
            }
            _ => self
                .config
                .cluster_range(family)
                .map_or(LocalDetector::None, LocalDetector::Range),
        };
        let of_family = |range: &&IpNet| Family::of(&range.addr()) == family;
        let node_port_addresses = match &self.config.node_port_ranges {
            None => Some(
                addresses
                    .iter()
                    .copied()
                    .filter(|address| Family::of(address) == family)
                    .collect(),
            ),
            Some(ranges)
                if ranges
                    .iter()
                    .filter(of_family)
                    .any(|range| range.prefix_len() == 0) =>
            {
                None
            }
            Some(ranges) => {
                let ranges: Vec<IpNet> = ranges.iter().filter(of_family).copied().collect();
                Some(
                    local_addresses()
                        .into_iter()
                        .filter(|address| {
                            !address.is_loopback()
                                && ranges.iter().any(|range| range.contains(address))
                        })
                        .collect(),
                )
            }
        };
        Ok(Layout {
            family,
            masquerade_bit: u32::try_from(component.nftables.masquerade_bit.unwrap_or(14))
                .unwrap_or(14),
            masquerade_all: component.nftables.masquerade_all,
            local,
            service_ranges: Vec::new(),
            node_port_addresses,
        })
    }
}

/// Internal addresses before external ones, one of each family.
fn node_addresses(node: &Arc<Node>) -> Vec<IpAddr> {
    let of_kind = |kind: &'static str| {
        node.status
            .addresses
            .iter()
            .filter(move |address| address.type_ == kind)
            .filter_map(|address| address.address.parse::<IpAddr>().ok())
    };
    let mut result: Vec<IpAddr> = Vec::new();
    for address in of_kind("InternalIP").chain(of_kind("ExternalIP")) {
        if !result
            .iter()
            .any(|known| Family::of(known) == Family::of(&address))
        {
            result.push(address);
        }
    }
    result
}

fn zone_of(node: &Arc<Node>) -> Option<String> {
    node.metadata
        .labels
        .get(ZONE_LABEL)
        .filter(|zone| !zone.is_empty())
        .cloned()
}

/// The addresses of this machine's interfaces.
fn local_addresses() -> Vec<IpAddr> {
    // /proc/net/fib_trie lists every local IPv4 address, /proc/net/if_inet6 every IPv6 one.
    let trie = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut result: Vec<IpAddr> = Vec::new();
    let mut last: Option<IpAddr> = None;
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = last.take()
            && !result.contains(&address)
        {
            result.push(address);
        }
    }
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let parse = |line: &str| {
        u128::from_str_radix(line.split_ascii_whitespace().next()?, 16)
            .ok()
            .map(|bits| IpAddr::V6(bits.into()))
    };
    result.extend(v6.lines().filter_map(parse));
    result
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice
        .metadata
        .labels
        .get(SERVICE_NAME_LABEL)
        .filter(|name| !name.is_empty())?;
    Some(ObjectKey::new(&slice.metadata.namespace, name))
}

struct FirstNode(tokio::sync::mpsc::Sender<Arc<Node>>);

impl EventHandler<Node> for FirstNode {
    fn on_add(&self, node: &Arc<Node>, _: bool) {
        let _ = self.0.try_send(node.clone());
    }
}

struct OnServices(Vec<Arc<Proxier>>);

impl OnServices {
    fn changed(&self, service: &Service) {
        for proxier in &self.0 {
            proxier.changed(ObjectKey::of(service), None);
        }
    }
}

impl EventHandler<Service> for OnServices {
    fn on_add(&self, service: &Arc<Service>, _: bool) {
        self.changed(service);
    }

    fn on_update(&self, old: &Arc<Service>, new: &Arc<Service>) {
        if old.spec != new.spec
            || old.status != new.status
            || old.metadata.labels != new.metadata.labels
        {
            self.changed(new);
        }
    }

    fn on_delete(&self, service: DeletedObject<Service>) {
        self.changed(&service.object);
    }
}

struct OnSlices(Vec<Arc<Proxier>>);

impl OnSlices {
    fn changed(&self, slice: &EndpointSlice, trigger: Option<jiff::Timestamp>) {
        let Some(service) = service_of(slice) else {
            return;
        };
        for proxier in &self.0 {
            proxier.changed(service.clone(), trigger);
        }
    }
}

impl EventHandler<EndpointSlice> for OnSlices {
    fn on_add(&self, slice: &Arc<EndpointSlice>, initial: bool) {
        // What was there before the process started says nothing about how fast it is.
        let trigger = if initial { None } else { trigger(slice) };
        self.changed(slice, trigger);
    }

    fn on_update(&self, old: &Arc<EndpointSlice>, new: &Arc<EndpointSlice>) {
        if old.endpoints != new.endpoints
            || old.ports != new.ports
            || old.metadata.labels != new.metadata.labels
        {
            self.changed(old, None);
            self.changed(new, trigger(new));
        }
    }

    fn on_delete(&self, slice: DeletedObject<EndpointSlice>) {
        self.changed(&slice.object, None);
    }
}

fn trigger(slice: &EndpointSlice) -> Option<jiff::Timestamp> {
    slice
        .metadata
        .annotations
        .get(TRIGGER_ANNOTATION)?
        .parse()
        .ok()
}

struct OnRanges {
    proxiers: Vec<Arc<Proxier>>,
    ranges: client::Lister<ServiceCIDR>,
}

impl OnRanges {
    fn changed(&self) {
        let mut all: Vec<IpNet> = self
            .ranges
            .list()
            .iter()
            .flat_map(|range| {
                range
                    .spec
                    .cidrs
                    .iter()
                    .filter_map(|text| text.parse::<IpNet>().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        all.sort();
        // A range within another one adds nothing, and nft refuses overlapping elements.
        let outer: Vec<IpNet> = all
            .iter()
            .copied()
            .filter(|range| {
                !all.iter()
                    .any(|other| other != range && other.contains(range))
            })
            .collect();
        let mut outer = outer;
        outer.dedup();
        for proxier in &self.proxiers {
            proxier.surroundings_changed(|surroundings| {
                let family = surroundings.layout.family;
                surroundings.layout.service_ranges = outer
                    .iter()
                    .copied()
                    .filter(|range| Family::of(&range.addr()) == family)
                    .collect();
            });
        }
    }
}

impl EventHandler<ServiceCIDR> for OnRanges {
    fn on_add(&self, _: &Arc<ServiceCIDR>, _: bool) {
        self.changed();
    }

    fn on_update(&self, _: &Arc<ServiceCIDR>, _: &Arc<ServiceCIDR>) {
        self.changed();
    }

    fn on_delete(&self, _: DeletedObject<ServiceCIDR>) {
        self.changed();
    }
}

struct OnNode {
    proxiers: Vec<Arc<Proxier>>,
    health: Arc<ProxyHealth>,
    /// The node's addresses at start; empty when the node was not known.
    addresses: Vec<IpAddr>,
    ranges: Option<Vec<String>>,
    node_range_matters: bool,
    ended: tokio::sync::mpsc::Sender<&'static str>,
}

impl OnNode {
    fn changed(&self, node: &Arc<Node>) {
        let leaving = node.metadata.deletion_timestamp.is_some()
            || node
                .spec
                .taints
                .iter()
                .any(|taint| taint.key == TO_BE_DELETED);
        self.health.set_node_eligible(!leaving);
        if node_addresses(node) != self.addresses {
            let _ = self.ended.try_send("addresses");
        }
        if self.node_range_matters
            && self
                .ranges
                .as_ref()
                .is_some_and(|ranges| *ranges != node.spec.pod_cidrs)
        {
            let _ = self.ended.try_send("pod CIDRs");
        }
        let zone = zone_of(node);
        for proxier in &self.proxiers {
            proxier.surroundings_changed(|surroundings| surroundings.zone.clone_from(&zone));
        }
    }
}

impl EventHandler<Node> for OnNode {
    fn on_add(&self, node: &Arc<Node>, _: bool) {
        self.changed(node);
    }

    fn on_update(&self, _: &Arc<Node>, node: &Arc<Node>) {
        self.changed(node);
    }

    fn on_delete(&self, _: DeletedObject<Node>) {
        self.health.set_node_eligible(false);
    }
}

/// Health on its port for everyone, metrics and the rest on the loopback's.
fn serve(
    config: &Config,
    flags: &component_base::flags::Flags,
    base: &BaseMetrics,
    health: &Arc<ProxyHealth>,
    stop: &CancellationToken,
) -> Result<Vec<tokio::task::JoinHandle<()>>, component_base::Error> {
    let mut servers = Vec::new();
    let hard = config.component.bind_address_hard_fail;
    let mut start = |address: std::net::SocketAddr,
                     handler: Arc<dyn serving::Handler>|
     -> Result<(), component_base::Error> {
        match serving::bind_plain(address) {
            Ok(listener) => {
                servers.push(Server::plain(listener).spawn(handler, stop.clone(), Duration::ZERO))
            }
            Err(error) if hard => return Err(error.into()),
            Err(error) => tracing::error!(error = %error, "A port is not served"),
        }
        Ok(())
    };
    if let Some(address) = config.healthz {
        let health = health.clone();
        start(
            address,
            Arc::new(handler_fn(move |request: Request| {
                let response = health.handle(&request);
                async move { response }
            })),
        )?;
    }
    if let Some(address) = config.metrics {
        let configz = Configz::default();
        configz.set(
            "kubeproxy.config.k8s.io",
            serde_json::from_slice(&api_types::encode_json(&config.component))?,
        );
        let pages = Arc::new(Pages {
            checks: HealthChecks::new("/healthz", [healthz::ping()]),
            metrics: base.clone(),
            configz,
            flagz: Flagz::new(NAME, flags),
            statusz: Statusz::new(
                NAME,
                [
                    "/healthz",
                    "/metrics",
                    "/proxyMode",
                    "/configz",
                    "/flagz",
                    "/statusz",
                ],
            ),
            profiling: config.component.enable_profiling,
        });
        start(
            address,
            Arc::new(handler_fn(move |request: Request| {
                let pages = pages.clone();
                async move { pages.answer(request).await }
            })),
        )?;
    }
    Ok(servers)
}

struct Pages {
    checks: HealthChecks,
    metrics: BaseMetrics,
    configz: Configz,
    flagz: Flagz,
    statusz: Statusz,
    profiling: bool,
}

impl Pages {
    async fn answer(&self, request: Request) -> Response {
        if let Some(response) = self.checks.handle(&request).await {
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.metrics.handle(&request),
            "/proxyMode" => text_response(http::StatusCode::OK, "nftables"),
            "/configz" => self.configz.handle(),
            "/flagz" => self.flagz.handle(&request),
            "/statusz" => self.statusz.handle(&request),
            _ => debug::handle(request, self.profiling)
                .await
                .unwrap_or_else(|_| serving::not_found()),
        }
    }
}

/// `--cleanup`: takes the tables away.
async fn clean_up(kernel: &dyn Kernel) -> Result<(), component_base::Error> {
    for family in Family::ALL
        .into_iter()
        .filter(|family| kernel.supports(*family))
    {
        if kernel.table(family, TABLE).await?.is_some() {
            kernel
                .apply(&format!("delete table {} {TABLE}\n", family.nft()))
                .await?;
        }
    }
    Ok(())
}

fn set_oom_score(score: i32) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::debug!(v = 2, error = %error, score, "oom_score_adj cannot be set");
    }
}

/// Room for tracked connections, and how long they are remembered. Zero leaves a value as it is.
fn set_conntrack_limits(kernel: &dyn Kernel, config: &Config) {
    let conntrack = &config.component.conntrack;
    let seconds = |value: Option<api_types::Duration>| {
        value.map_or(0, |value| value.0 / apimachinery::duration::SECOND)
    };
    let processors =
        i64::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1);
    let per_core = i64::from(conntrack.max_per_core.unwrap_or(0));
    const MOST: i64 = 1_048_576;
    let room = if per_core > 0 {
        (per_core * processors)
            .max(i64::from(conntrack.min.unwrap_or(0)))
            .min(MOST.max(i64::from(conntrack.min.unwrap_or(0))))
    } else {
        0
    };
    let udp = |value: api_types::Duration| value.0 / apimachinery::duration::SECOND;
    let wanted = [
        ("net/netfilter/nf_conntrack_max", room, true),
        (
            "net/netfilter/nf_conntrack_tcp_timeout_established",
            seconds(conntrack.tcp_established_timeout),
            false,
        ),
        (
            "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            seconds(conntrack.tcp_close_wait_timeout),
            false,
        ),
        (
            "net/netfilter/nf_conntrack_tcp_be_liberal",
            i64::from(conntrack.tcp_be_liberal),
            false,
        ),
        (
            "net/netfilter/nf_conntrack_udp_timeout",
            udp(conntrack.udp_timeout),
            false,
        ),
        (
            "net/netfilter/nf_conntrack_udp_timeout_stream",
            udp(conntrack.udp_stream_timeout),
            false,
        ),
    ];
    for (name, value, at_least) in wanted {
        if value == 0 {
            continue;
        }
        let now = kernel.sysctl(name);
        if now == Some(value) || (at_least && now.is_some_and(|now| now >= value)) {
            continue;
        }
        match kernel.set_sysctl(name, value) {
            Ok(()) => tracing::info!(name, value, "Set sysctl"),
            Err(error) => {
                tracing::warn!(error = %error, name, value, "A kernel setting cannot be changed")
            }
        }
    }
}
