//! Other API servers of the same cluster: while it is upgraded, some serve what others do not. A request for a resource that this
//! server does not have goes to one that has it, and discovery tells what all of them have.
//! Upstream: apiserver/pkg/util/peerproxy; KEP-4020, feature UnknownVersionInteroperabilityProxy.
//!
//! - Every server says in etcd where its peers reach it, whatever its flags.
//! - With `--peer-ca-file` it also asks its peers what they serve, whenever their identity Leases come, change hands or go
//!   ([`discovery`]), and passes requests on ([`proxy`]) as the caller, over connections with its front-proxy certificate.
//! - What CustomResourceDefinitions and APIServices define is the same everywhere: it is never asked of peers, nor for a while after
//!   it was deleted here ([`exclusion`]).

/// What peers serve.
mod discovery;
/// What is not asked of peers.
mod exclusion;
/// Documents of several servers as one.
mod merge;
/// Counts.
mod metrics;
/// Requests for peers.
mod proxy;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_types::apidiscovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList};
use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};
use apimachinery::os_error;
use apimachinery::status::StatusError;
use arc_swap::{ArcSwap, ArcSwapOption};
use component_base::metrics::Metrics;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::aggregator::link::Link;
use crate::config::Config;
use crate::egress;
use crate::hooks;
use crate::registry::server_leases;
use crate::server::ApiServer;
use crate::storage::Storage;

use exclusion::{Exclusion, GroupVersion};
use metrics::PeerMetrics;
pub(crate) use proxy::serve;

/// The feature.
pub const FEATURE: &str = "UnknownVersionInteroperabilityProxy";

/// Post-start hooks there are only with `--peer-ca-file`.
pub const HOOKS: [&str; 3] = [
    "mixed-version-proxy-handler",
    "local-discovery-cache-sync",
    "peer-discovery-workers",
];

/// Says which server a lease in etcd is of.
const IDENTITY_LABEL: &str = "apiserverIdentity";

/// What a peer serves.
#[derive(Clone, Debug, Default)]
struct Served {
    /// Group, version and resource.
    resources: HashSet<(String, String, String)>,
    /// Its groups in its order, without that of `/api`.
    groups: Vec<APIGroupDiscovery>,
}

/// This server among its peers.
pub struct Peers {
    /// Name of this server's identity Lease.
    id: String,
    host: String,
    port: u16,
    leases: Storage,
    proxy: Option<Arc<PeerProxy>>,
}

/// What is known of peers, for passing requests on.
pub(crate) struct PeerProxy {
    id: String,
    /// Verifies the certificates of peers, in PEM.
    ca: Vec<u8>,
    via: egress::Dialer,
    link: ArcSwapOption<Link>,
    /// By the names of their identity Leases.
    served: ArcSwap<BTreeMap<String, Served>>,
    exclusion: Mutex<Exclusion>,
    /// The first peers are known.
    synced: AtomicBool,
    /// What is excluded has changed.
    excluded: Notify,
    metrics: PeerMetrics,
}

impl Peers {
    /// None without the feature.
    pub fn new(
        config: &Config,
        via: egress::Dialer,
        leases: impl FnOnce() -> Result<Storage, crate::storage::Error>,
        metrics: &Metrics,
    ) -> Result<Option<Peers>, component_base::Error> {
        if !config.features.enabled(FEATURE) {
            return Ok(None);
        }
        let id = hooks::identity::name(&config.hostname);
        let flags = &config.flags;
        let advertised = ["peer-advertise-ip", "peer-advertise-port"];
        let (host, port) = match advertised.map(|name| flags.non_empty(name)) {
            [Some(ip), Some(port)] => (ip.to_owned(), port_of(port)?),
            _ => (
                config.advertise_address.to_string(),
                config.serving.bind_port,
            ),
        };
        let peer_metrics = PeerMetrics::new(metrics);
        let proxy = match flags.non_empty("peer-ca-file") {
            None => None,
            Some(path) => {
                for (flag, name) in [
                    ("proxy-client-cert-file", "proxy-cert-file"),
                    ("proxy-client-key-file", "proxy-key-file"),
                ] {
                    if flags.non_empty(flag).is_none() {
                        return Err(format!(
                            "error building peer proxy handler, {name} not specified"
                        )
                        .into());
                    }
                }
                let ca = std::fs::read(path).map_err(|error| {
                    format!(
                        "failed to create proxy transport: unable to load root certificates: {}",
                        os_error::on_reading(path.as_ref(), &error)
                    )
                })?;
                Some(Arc::new(PeerProxy {
                    id: id.clone(),
                    ca,
                    via,
                    link: ArcSwapOption::empty(),
                    served: ArcSwap::default(),
                    exclusion: Mutex::default(),
                    synced: AtomicBool::new(false),
                    excluded: Notify::new(),
                    metrics: peer_metrics,
                }))
            }
        };
        Ok(Some(Peers {
            id,
            host,
            port,
            leases: leases()?,
            proxy,
        }))
    }

    /// Where peers reach this server.
    pub(crate) fn address(&self) -> String {
        crate::connect::authority(&self.host, self.port)
    }

    pub(crate) fn proxy(&self) -> Option<&Arc<PeerProxy>> {
        self.proxy.as_ref()
    }

    /// Says in etcd where peers reach this server.
    pub(crate) async fn renew(&self) -> Result<(), StatusError> {
        server_leases::renew(&self.leases, &self.id, |endpoints| {
            endpoints.subsets = vec![EndpointSubset {
                addresses: vec![EndpointAddress {
                    ip: self.host.clone(),
                    ..EndpointAddress::default()
                }],
                ports: vec![EndpointPort {
                    name: "https".to_owned(),
                    port: i32::from(self.port),
                    protocol: "TCP".to_owned(),
                    ..EndpointPort::default()
                }],
                ..EndpointSubset::default()
            }];
            let labels = &mut endpoints.metadata.labels;
            labels.insert(IDENTITY_LABEL.to_owned(), self.id.clone());
        })
        .await
    }

    /// Takes back what peers were told.
    pub(crate) async fn stop(&self) {
        // It would end by itself, so a failure changes little.
        if let Err(error) = server_leases::remove(&self.leases, &self.id).await {
            tracing::debug!(%error, "The lease of this server was not removed");
        }
    }

    /// Where each peer that lives is reached.
    async fn addresses(&self) -> Result<BTreeMap<String, (String, u16)>, StatusError> {
        let leases = server_leases::list(&self.leases).await?;
        let address = |(_, mut endpoints): (String, api_types::core::v1::Endpoints)| {
            let id = endpoints.metadata.labels.remove(IDENTITY_LABEL)?;
            let subset = endpoints.subsets.first()?;
            let ip = subset.addresses.first()?.ip.clone();
            let port = u16::try_from(subset.ports.first()?.port).ok()?;
            Some((id, (ip, port)))
        };
        Ok(leases.into_iter().filter_map(address).collect())
    }

    /// Starts to follow what peers serve, when requests are passed on to them.
    pub(crate) fn start(server: &Arc<ApiServer>, stop: tokio_util::sync::CancellationToken) {
        if let Some(peers) = &server.peers
            && let Some(proxy) = &peers.proxy
        {
            discovery::start(server, proxy, stop);
        }
    }
}

fn port_of(text: &str) -> Result<u16, component_base::Error> {
    text.parse()
        .map_err(|_| format!("--peer-advertise-port {text:?} is not a port number").into())
}

impl PeerProxy {
    /// The peers that serve a resource. None as long as peers are not known.
    fn servers_of(&self, group: &str, version: &str, resource: &str) -> Vec<String> {
        if !self.synced.load(Ordering::Acquire) {
            return Vec::new();
        }
        let served = self.served.load();
        if served.is_empty()
            || self
                .exclusion
                .lock()
                .contains(group, version, Instant::now())
        {
            return Vec::new();
        }
        let wanted = (group.to_owned(), version.to_owned(), resource.to_owned());
        served
            .iter()
            .filter(|(_, served)| served.resources.contains(&wanted))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Takes note of the group versions that are defined by objects, here as in all servers.
    pub(crate) fn exclude(&self, group_versions: impl IntoIterator<Item = GroupVersion>) {
        let mut exclusion = self.exclusion.lock();
        if exclusion.update(group_versions.into_iter().collect(), Instant::now()) {
            self.excluded.notify_one();
        }
    }

    /// The document of all servers' groups, made of this server's and those that are known of its peers.
    pub(crate) fn merge(&self, own: &APIGroupDiscoveryList) -> APIGroupDiscoveryList {
        self.metrics.merged();
        let served = self.served.load();
        let exclusion = self.exclusion.lock();
        let now = Instant::now();
        let mut lists: BTreeMap<&str, Vec<APIGroupDiscovery>> = served
            .iter()
            .map(|(id, served)| {
                let kept = served.groups.iter().filter_map(|group| {
                    let mut group = group.clone();
                    let name = group.metadata.name.clone();
                    let before = group.versions.len();
                    group
                        .versions
                        .retain(|version| !exclusion.contains(&name, &version.version, now));
                    (before == 0 || !group.versions.is_empty()).then_some(group)
                });
                (id.as_str(), kept.collect())
            })
            .collect();
        if lists.is_empty() {
            return own.clone();
        }
        lists.insert(&self.id, own.items.clone());
        APIGroupDiscoveryList {
            items: merge::groups(&own.items, lists.values()),
            ..APIGroupDiscoveryList::default()
        }
    }

    /// The document of all servers was served.
    pub(crate) fn served_merged(&self) {
        self.metrics.served_merged();
    }

    /// A client wanted this server's document alone.
    pub(crate) fn served_own(&self) {
        self.metrics.served_own();
    }
}
