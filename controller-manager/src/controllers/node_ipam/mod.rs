//! Gives every node its pod CIDRs out of the cluster's. Upstream: pkg/controller/nodeipam, the RangeAllocator.
//!
//! What nodes hold is read before the first block is given, so that a restart gives nothing twice.

/// Blocks of a range.
pub mod cidr_set;

use std::collections::HashSet;
use std::sync::Arc;

use api_types::List as _;
use api_types::core::v1::{Node, ObjectReference};
use api_types::kube_controller_manager_config::v1alpha1::{
    KubeControllerManagerConfiguration, NodeIPAMControllerConfiguration,
};
use api_types::meta::v1::{ListOptions, PatchOptions};
use apimachinery::validation::parse_cidr_sloppy;
use client::{Client, EventRecorder, Lister, ObjectKey, Patch};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;

use self::cidr_set::{CidrSet, CidrSetMetrics};
use super::controller_ref::key_of;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const WORKERS: usize = 30;
const PATCH_RETRIES: usize = 3;
const DEFAULT_MASK_IPV4: i32 = 24;
const DEFAULT_MASK_IPV6: i32 = 64;

/// The node-ipam-controller. Its keys are nodes.
pub struct NodeIpamController {
    client: Client,
    recorder: EventRecorder,
    nodes: Lister<Node>,
    ranges: Arc<Ranges>,
    assigned: Arc<Assigned>,
}

/// Nodes, by uid, that were given blocks which the cache may not show yet: a sync that comes in between gives no second.
type Assigned = Mutex<HashSet<String>>;

impl Controller for NodeIpamController {
    const NAME: &'static str = "node-ipam-controller";
    const ALIASES: &'static [&'static str] = &["nodeipam"];
    const SERVICE_ACCOUNT: &'static str = "node-controller";
    const QUEUE: &'static str = "cidrallocator_node";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let config = setup.config();
        if !config.kube_cloud_shared.allocate_node_cidrs {
            return Ok(None);
        }
        let allocator = config.kube_cloud_shared.cidr_allocator_type.as_str();
        if allocator != "RangeAllocator" {
            return Err(BuildError::Config(format!(
                "--cidr-allocator-type is set to '{allocator}' but cloud provider is not configured"
            )));
        }
        let clusters =
            cluster_cidrs(&config.kube_cloud_shared.cluster_cidr).map_err(BuildError::Config)?;
        let masks =
            mask_sizes(&config.node_ipam_controller, &clusters).map_err(BuildError::Config)?;
        let services = service_cidrs(&config.node_ipam_controller).map_err(BuildError::Config)?;
        let ranges = Arc::new(Ranges::new(
            &clusters,
            &masks,
            &CidrSetMetrics::new(setup.metrics()),
        )?);
        for service in services {
            ranges.leave_out(service);
        }
        let failed = |source| BuildError::Client {
            name: Self::SERVICE_ACCOUNT.to_owned(),
            source,
        };
        let present = setup
            .client
            .api::<Node>()
            .list(&ListOptions::default())
            .await
            .map_err(failed)?;
        for node in present.items() {
            ranges.occupy(node).map_err(BuildError::Config)?;
        }
        let nodes = setup.informer::<Node>();
        let (to, shared) = (queue.clone(), ranges.clone());
        let assigned = Arc::new(Assigned::default());
        let known = assigned.clone();
        on_change(&nodes, move |change| match change {
            Change::Added(node, _) | Change::Updated(_, node) => to.add(key_of(&node.metadata)),
            Change::Deleted(node) => {
                known.lock().remove(&node.metadata.uid);
                if let Err(error) = shared.release(node) {
                    tracing::error!(
                        node = node.metadata.name,
                        error,
                        "Error while processing CIDR Release"
                    );
                }
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("cidrAllocator"),
            nodes: nodes.lister(),
            ranges,
            assigned,
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        WORKERS
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(node) = self.nodes.get(key) else {
            return Ok(Next::Done);
        };
        if node.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        if !node.spec.pod_cidrs.is_empty() {
            self.assigned.lock().remove(&node.metadata.uid);
            self.ranges.occupy(&node).map_err(SyncError::Other)?;
            return Ok(Next::Done);
        }
        if self.assigned.lock().contains(&node.metadata.uid) {
            // The event of the write is on its way, and wakes this key.
            return Ok(Next::Done);
        }
        let allocated = match self.ranges.allocate() {
            Ok(allocated) => allocated,
            Err(error) => {
                self.report(&node, "CIDRNotAvailable");
                return Err(SyncError::Other(error));
            }
        };
        self.assign(key, &node, &allocated).await?;
        Ok(Next::Done)
    }
}

impl NodeIpamController {
    async fn assign(&self, key: &ObjectKey, node: &Node, cidrs: &[IpNet]) -> Result<(), SyncError> {
        // It may have got some since the sync began.
        let current = self.nodes.get(key);
        if let Some(held) = current.map(|node| node.spec.pod_cidrs.clone())
            && !held.is_empty()
        {
            let same = held.len() == cidrs.len()
                && held
                    .iter()
                    .zip(cidrs)
                    .all(|(held, cidr)| *held == cidr.to_string());
            if !same {
                tracing::error!(node = key.name, pod_cidrs = ?held, "Node already has a CIDR allocated. Releasing the new one");
                self.ranges.give_back(cidrs);
            }
            return Ok(());
        }
        let texts: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
        let patch = json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        let api = self.client.api::<Node>();
        let mut tries = 1;
        let error = loop {
            match api.patch(&key.name, &patch, &PatchOptions::default()).await {
                Ok(_) => {
                    self.assigned.lock().insert(node.metadata.uid.clone());
                    tracing::info!(node = key.name, pod_cidrs = ?texts, "Set node PodCIDR");
                    return Ok(());
                }
                Err(error) if tries == PATCH_RETRIES => break error,
                Err(_) => tries += 1,
            }
        };
        self.report(node, "CIDRAssignmentFailed");
        // After a timeout the write may have happened: then the blocks are not free.
        if !error.is_server_timeout() {
            tracing::error!(node = key.name, %error, "CIDR assignment for node failed. Releasing allocated CIDR");
            self.ranges.give_back(cidrs);
        }
        Err(error.into())
    }

    fn report(&self, node: &Node, status: &str) {
        let name = &node.metadata.name;
        let reference = ObjectReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid: node.metadata.uid.clone(),
            ..Default::default()
        };
        self.recorder.event(
            &reference,
            "Normal",
            status,
            &format!("Node {name} status is now: {status}"),
        );
    }
}

/// The ranges of all families, in the order of `--cluster-cidr`.
struct Ranges {
    sets: Vec<Mutex<CidrSet>>,
}

impl Ranges {
    fn new(clusters: &[IpNet], masks: &[u8], metrics: &CidrSetMetrics) -> Result<Self, BuildError> {
        let mut sets = Vec::new();
        for (cluster, mask) in clusters.iter().zip(masks) {
            if cluster.prefix_len() > *mask {
                return Err(BuildError::Config(
                    "Controller: Invalid --cluster-cidr, mask size of cluster CIDR must be less than or equal to --node-cidr-mask-size configured for CIDR family".to_owned(),
                ));
            }
            let set = CidrSet::new(*cluster, *mask, metrics.clone())
                .map_err(|error| BuildError::Config(error.to_string()))?;
            sets.push(Mutex::new(set));
        }
        Ok(Self { sets })
    }

    /// Addresses of Services must not be given to pods.
    fn leave_out(&self, services: IpNet) {
        for set in &self.sets {
            let mut set = set.lock();
            let cluster = set.cluster();
            if (cluster.contains(&services.network()) || services.contains(&cluster.network()))
                && let Err(error) = set.occupy(services)
            {
                tracing::error!(%error, cidr = %cluster, service_cidr = %services, "Error filtering out service cidr out cluster cidr");
            }
        }
    }

    fn each(
        &self,
        node: &Node,
        act: impl Fn(&mut CidrSet, IpNet) -> Result<(), String>,
    ) -> Result<(), String> {
        let name = &node.metadata.name;
        for (index, text) in node.spec.pod_cidrs.iter().enumerate() {
            let cidr = parse_cidr(text).ok_or_else(|| {
                format!("failed to parse node {name}, CIDR {}", node.spec.pod_cidr)
            })?;
            let set = self.sets.get(index).ok_or_else(|| {
                format!("node:{name} has an allocated cidr: {text} at index:{index} that does not exist in cluster cidrs configuration")
            })?;
            act(&mut set.lock(), cidr).map_err(|error| {
                format!("failed to mark cidr[{cidr}] at idx [{index}] as occupied for node: {name}: {error}")
            })?;
        }
        Ok(())
    }

    fn occupy(&self, node: &Node) -> Result<(), String> {
        self.each(node, |set, cidr| {
            set.occupy(cidr).map_err(|error| error.to_string())
        })
    }

    fn release(&self, node: &Node) -> Result<(), String> {
        self.each(node, |set, cidr| {
            set.release(cidr).map_err(|error| error.to_string())
        })
    }

    /// One block of each range.
    fn allocate(&self) -> Result<Vec<IpNet>, String> {
        let mut given = Vec::new();
        for (index, set) in self.sets.iter().enumerate() {
            let next = set.lock().allocate_next();
            match next {
                Ok(cidr) => given.push(cidr),
                Err(error) => {
                    self.give_back(&given);
                    return Err(format!(
                        "failed to allocate cidr from cluster cidr at idx:{index}: {error}"
                    ));
                }
            }
        }
        Ok(given)
    }

    fn give_back(&self, cidrs: &[IpNet]) {
        for (set, cidr) in self.sets.iter().zip(cidrs) {
            if let Err(error) = set.lock().release(*cidr) {
                tracing::error!(%error, %cidr, "Error releasing allocated CIDR for node");
            }
        }
    }
}

fn parse_cidr(text: &str) -> Option<IpNet> {
    parse_cidr_sloppy(text)?.network_text().parse().ok()
}

fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

fn cluster_cidrs(text: &str) -> Result<Vec<IpNet>, String> {
    let cidrs = text
        .trim()
        .split(',')
        .map(|part| {
            parse_cidr(part).ok_or_else(|| {
                format!(
                    "failed to parse cidr value:{part:?} with error: invalid CIDR address: {part}"
                )
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let both = cidrs.iter().any(is_v6) && !cidrs.iter().all(is_v6);
    match cidrs.len() {
        2.. if !both => Err(format!(
            "len of ClusterCIDRs=={} and they are not configured as dual stack (at least one from each IPFamily",
            cidrs.len()
        )),
        3.. => Err(format!(
            "length of clusterCIDRs is:{} more than max allowed of 2",
            cidrs.len()
        )),
        _ => Ok(cidrs),
    }
}

fn service_cidrs(config: &NodeIPAMControllerConfiguration) -> Result<Vec<IpNet>, String> {
    let parse = |text: &str| {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let parsed = parse_cidr(text);
        if parsed.is_none() {
            tracing::info!(cidr = text, "Warning: unsuccessful parsing of service CIDR");
        }
        parsed
    };
    let cidrs: Vec<IpNet> = [&config.service_cidr, &config.secondary_service_cidr]
        .into_iter()
        .filter_map(|text| parse(text))
        .collect();
    match cidrs.as_slice() {
        [a, b] if is_v6(a) == is_v6(b) => Err(
            "serviceCIDR and secondaryServiceCIDR are not dualstack (from different IPfamiles)"
                .to_owned(),
        ),
        _ => Ok(cidrs),
    }
}

fn mask_sizes(
    config: &NodeIPAMControllerConfiguration,
    clusters: &[IpNet],
) -> Result<Vec<u8>, String> {
    let or = |mask: i32, default: i32| if mask == 0 { default } else { mask };
    let any = config.node_cidr_mask_size;
    let (v4, v6) = (
        config.node_cidr_mask_size_ipv4,
        config.node_cidr_mask_size_ipv6,
    );
    let (v4, v6) = if clusters.len() > 1 {
        if any != 0 {
            return Err(
                "usage of --node-cidr-mask-size is not allowed with dual-stack clusters".to_owned(),
            );
        }
        (v4, v6)
    } else {
        let single_v6 = clusters.first().is_some_and(is_v6);
        if any != 0 {
            if v4 != 0 || v6 != 0 {
                return Err("usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags".to_owned());
            }
            (any, any)
        } else if v4 != 0 && single_v6 {
            return Err("usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster".to_owned());
        } else if v6 != 0 && !single_v6 {
            return Err("usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster".to_owned());
        } else {
            (v4, v6)
        }
    };
    let size = |cluster: &IpNet| {
        let mask = if is_v6(cluster) {
            or(v6, DEFAULT_MASK_IPV6)
        } else {
            or(v4, DEFAULT_MASK_IPV4)
        };
        u8::try_from(mask).map_err(|_| format!("invalid node CIDR mask size {mask}"))
    };
    clusters.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use component_base::metrics::{Metrics as Base, MetricsOptions};

    use super::*;
    use crate::controllers::test_server::{TestServer, cache, events, of_json};

    fn ranges(clusters: &str) -> Ranges {
        let base = Base::bare(MetricsOptions::new("", Vec::new()).unwrap());
        let clusters = cluster_cidrs(clusters).unwrap();
        let masks = mask_sizes(&NodeIPAMControllerConfiguration::default(), &clusters).unwrap();
        Ranges::new(&clusters, &masks, &CidrSetMetrics::new(&base)).unwrap()
    }

    fn node(cidrs: &[&str]) -> Node {
        let mut node = Node::default();
        node.metadata.name = "n".into();
        node.spec.pod_cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
        node
    }

    #[tokio::test]
    async fn a_cache_that_lags_gives_no_second_block() {
        let server = Arc::new(TestServer::default());
        let bare: Node = of_json(serde_json::json!({"metadata": {"name": "n", "uid": "u"}}));
        server.put(&bare);
        let (recorder, _) = events();
        let mut controller = NodeIpamController {
            client: server.client(),
            recorder,
            nodes: cache([bare]),
            ranges: Arc::new(ranges("10.244.0.0/16")),
            assigned: Arc::default(),
        };
        let key = ObjectKey::cluster("n");
        controller.sync(&key).await.unwrap();
        controller.sync(&key).await.unwrap();
        assert_eq!(server.writes(), ["PATCH /api/v1/nodes/n"]);

        controller.nodes = cache(server.all::<Node>());
        controller.sync(&key).await.unwrap();
        assert!(controller.assigned.lock().is_empty());
        assert_eq!(
            controller.ranges.allocate().unwrap()[0].to_string(),
            "10.244.1.0/24"
        );
    }

    #[test]
    fn what_nodes_and_services_hold_is_not_given() {
        let ranges = ranges("10.244.0.0/16,fd00::/48");
        ranges.leave_out("10.244.2.0/24".parse().unwrap());
        ranges
            .occupy(&node(&["10.244.0.0/24", "fd00::/64"]))
            .unwrap();
        let given = |ranges: &Ranges| {
            ranges
                .allocate()
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(given(&ranges), ["10.244.1.0/24", "fd00:0:0:1::/64"]);
        assert_eq!(given(&ranges), ["10.244.3.0/24", "fd00:0:0:2::/64"]);
        assert!(
            ranges
                .occupy(&node(&["10.244.9.0/24", "fd00:0:0:9::/64", "10.1.0.0/24"]))
                .is_err()
        );
        assert!(ranges.occupy(&node(&["192.168.0.0/24"])).is_err());
        assert!(ranges.occupy(&node(&["nonsense"])).is_err());
    }

    #[test]
    fn nothing_is_lost_when_one_family_is_exhausted() {
        let ranges = ranges("10.244.0.0/23,fd00::/64");
        ranges.allocate().unwrap();
        assert!(ranges.allocate().is_err());
        ranges
            .release(&node(&["10.244.0.0/24", "fd00::/64"]))
            .unwrap();
        ranges.allocate().unwrap();
    }

    #[test]
    fn masks() {
        let check = |clusters: &str, any, v4, v6, expected: Option<&[u8]>| {
            let config = NodeIPAMControllerConfiguration {
                node_cidr_mask_size: any,
                node_cidr_mask_size_ipv4: v4,
                node_cidr_mask_size_ipv6: v6,
                ..Default::default()
            };
            let sizes = mask_sizes(&config, &cluster_cidrs(clusters).unwrap());
            assert_eq!(sizes.ok().as_deref(), expected);
        };
        check("10.0.0.0/8", 0, 0, 0, Some(&[24]));
        check("10.0.0.0/8", 26, 0, 0, Some(&[26]));
        check("10.0.0.0/8", 0, 25, 0, Some(&[25]));
        check("10.0.0.0/8", 26, 25, 0, None);
        check("10.0.0.0/8", 0, 0, 80, None);
        check("fd00::/48", 0, 0, 0, Some(&[64]));
        check("fd00::/48", 0, 25, 0, None);
        check("fd00::/48,10.0.0.0/8", 0, 25, 60, Some(&[60, 25]));
        check("fd00::/48,10.0.0.0/8", 24, 0, 0, None);
        assert!(cluster_cidrs("10.0.0.0/8,11.0.0.0/8").is_err());
        assert!(cluster_cidrs("").is_err());
    }
}
