//! The blocks of a cluster CIDR that nodes get. Upstream: pkg/controller/nodeipam/ipam/cidrset.

use std::net::IpAddr;

use component_base::metrics::{
    CounterVec, GaugeVec, HistogramVec, Metrics as Base, Opts, exponential_buckets,
};
use ipnet::IpNet;

/// An IPv6 cluster CIDR has at most 2^16 blocks.
const MAX_IPV6_DIFFERENCE: u8 = 16;

/// Why a block cannot be given or taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrSetError {
    /// Every block is in use.
    #[error(
        "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
    )]
    Exhausted,
    /// There would be too many blocks.
    #[error("New CIDR set failed; the node CIDR size is too big")]
    TooBig,
    /// The block is of another range.
    #[error("cidr {cidr} is out the range of cluster cidr {cluster}")]
    OutOfRange {
        /// The block.
        cidr: IpNet,
        /// The range.
        cluster: IpNet,
    },
}

/// The node_ipam_controller_* metrics, shared by the sets.
#[derive(Clone)]
pub struct CidrSetMetrics {
    allocations: CounterVec,
    releases: CounterVec,
    max: GaugeVec,
    usage: GaugeVec,
    tries: HistogramVec,
}

impl CidrSetMetrics {
    /// Registers the families.
    pub fn new(base: &Base) -> Self {
        const LABELS: &[&str] = &["clusterCIDR"];
        let opts = |name: &str, help: &str| Opts::new(format!("node_ipam_controller_{name}"), help);
        let tries = opts(
            "cidrset_allocation_tries_per_request",
            "Number of endpoints added on each Service sync",
        )
        .buckets(exponential_buckets(1.0, 5.0, 5));
        Self {
            allocations: base.counter_vec(
                opts(
                    "cidrset_cidrs_allocations_total",
                    "Counter measuring total number of CIDR allocations.",
                ),
                LABELS,
            ),
            releases: base.counter_vec(
                opts(
                    "cidrset_cidrs_releases_total",
                    "Counter measuring total number of CIDR releases.",
                ),
                LABELS,
            ),
            // The name has upstream's spelling.
            max: base.gauge_vec(
                opts(
                    "cirdset_max_cidrs",
                    "Maximum number of CIDRs that can be allocated.",
                ),
                LABELS,
            ),
            usage: base.gauge_vec(
                opts(
                    "cidrset_usage_cidrs",
                    "Gauge measuring percentage of allocated CIDRs.",
                ),
                LABELS,
            ),
            tries: base.histogram_vec(tries, LABELS),
        }
    }
}

/// The blocks of one cluster CIDR.
pub struct CidrSet {
    cluster: IpNet,
    node_mask: u8,
    bits: u8,
    count: u64,
    used: Vec<u64>,
    allocated: u64,
    next: u64,
    label: String,
    metrics: CidrSetMetrics,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl CidrSet {
    /// All blocks of length `node_mask` in `cluster`. `node_mask` must not be shorter than the cluster's mask.
    pub fn new(
        cluster: IpNet,
        node_mask: u8,
        metrics: CidrSetMetrics,
    ) -> Result<Self, CidrSetError> {
        let cluster = cluster.trunc();
        let bits = cluster.max_prefix_len();
        let difference = node_mask.saturating_sub(cluster.prefix_len());
        let is_v6 = bits > 32;
        if node_mask > bits || (is_v6 && difference > MAX_IPV6_DIFFERENCE) {
            return Err(CidrSetError::TooBig);
        }
        let set = Self {
            cluster,
            node_mask,
            bits,
            count: 1 << difference,
            used: Vec::new(),
            allocated: 0,
            next: 0,
            label: cluster.to_string(),
            metrics,
        };
        set.metrics
            .max
            .with_label_values(&[&set.label])
            .set(float(set.count));
        Ok(set)
    }

    /// The range.
    pub fn cluster(&self) -> IpNet {
        self.cluster
    }

    fn is_used(&self, index: u64) -> bool {
        let (word, bit) = (
            usize::try_from(index / 64).unwrap_or(usize::MAX),
            index % 64,
        );
        self.used.get(word).is_some_and(|used| used >> bit & 1 == 1)
    }

    fn mark(&mut self, index: u64, used: bool) {
        let (word, bit) = (
            usize::try_from(index / 64).unwrap_or(usize::MAX),
            index % 64,
        );
        if word >= self.used.len() {
            self.used.resize(word + 1, 0);
        }
        if used {
            self.used[word] |= 1 << bit;
        } else {
            self.used[word] &= !(1 << bit);
        }
    }

    fn block(&self, index: u64) -> IpNet {
        let start =
            number(self.cluster.network()) | u128::from(index) << (self.bits - self.node_mask);
        let ip: IpAddr = match self.cluster {
            IpNet::V4(_) => IpAddr::V4(u32::try_from(start).unwrap_or(u32::MAX).into()),
            IpNet::V6(_) => IpAddr::V6(start.into()),
        };
        IpNet::new_assert(ip, self.node_mask)
    }

    /// The next free block after the one given last, so that a released block is not used again soon.
    pub fn allocate_next(&mut self) -> Result<IpNet, CidrSetError> {
        if self.allocated == self.count {
            return Err(CidrSetError::Exhausted);
        }
        let mut candidate = self.next;
        let mut tries = 0;
        while self.is_used(candidate) {
            candidate = (candidate + 1) % self.count;
            tries += 1;
        }
        self.next = (candidate + 1) % self.count;
        self.mark(candidate, true);
        self.allocated += 1;
        self.metrics
            .allocations
            .with_label_values(&[&self.label])
            .inc();
        self.metrics
            .tries
            .with_label_values(&[&self.label])
            .observe(float(tries));
        self.show_usage();
        Ok(self.block(candidate))
    }

    /// The blocks a CIDR touches.
    fn indexes(&self, cidr: IpNet) -> Result<std::ops::RangeInclusive<u64>, CidrSetError> {
        let out = CidrSetError::OutOfRange {
            cidr,
            cluster: self.cluster,
        };
        let touches =
            self.cluster.contains(&cidr.network()) || cidr.contains(&self.cluster.network());
        if cidr.max_prefix_len() != self.bits || !touches {
            return Err(out);
        }
        if cidr.prefix_len() <= self.cluster.prefix_len() {
            return Ok(0..=self.count - 1);
        }
        let index = |ip: IpAddr| {
            let offset = number(self.cluster.network()) ^ number(ip);
            u64::try_from(offset >> (self.bits - self.node_mask))
                .ok()
                .filter(|index| *index < self.count)
        };
        match (index(cidr.network()), index(cidr.broadcast())) {
            (Some(first), Some(last)) => Ok(first..=last),
            _ => Err(out),
        }
    }

    /// Takes every block the CIDR touches. Those that are taken stay so.
    pub fn occupy(&mut self, cidr: IpNet) -> Result<(), CidrSetError> {
        for index in self.indexes(cidr)? {
            if !self.is_used(index) {
                self.mark(index, true);
                self.allocated += 1;
                self.metrics
                    .allocations
                    .with_label_values(&[&self.label])
                    .inc();
            }
        }
        self.show_usage();
        Ok(())
    }

    /// Frees every block the CIDR touches.
    pub fn release(&mut self, cidr: IpNet) -> Result<(), CidrSetError> {
        for index in self.indexes(cidr)? {
            if self.is_used(index) {
                self.mark(index, false);
                self.allocated -= 1;
                self.metrics
                    .releases
                    .with_label_values(&[&self.label])
                    .inc();
            }
        }
        self.show_usage();
        Ok(())
    }

    fn show_usage(&self) {
        let usage = float(self.allocated) / float(self.count);
        self.metrics
            .usage
            .with_label_values(&[&self.label])
            .set(usage);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of blocks are far below 2^52"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use component_base::metrics::MetricsOptions;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn set(cluster: &str, mask: u8) -> CidrSet {
        let base = Base::bare(MetricsOptions::new("", Vec::new()).unwrap());
        CidrSet::new(net(cluster), mask, CidrSetMetrics::new(&base)).unwrap()
    }

    #[test]
    fn blocks_are_given_in_turn() {
        let mut set = set("10.0.0.0/22", 24);
        let given: Vec<String> = (0..4)
            .map(|_| set.allocate_next().unwrap().to_string())
            .collect();
        assert_eq!(
            given,
            ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]
        );
        assert_eq!(set.allocate_next(), Err(CidrSetError::Exhausted));
        set.release(net("10.0.1.0/24")).unwrap();
        set.release(net("10.0.3.0/24")).unwrap();
        assert_eq!(set.allocate_next().unwrap(), net("10.0.1.0/24"));
        assert_eq!(set.allocate_next().unwrap(), net("10.0.3.0/24"));
    }

    #[test]
    fn released_blocks_are_not_reused_at_once() {
        let mut set = set("10.0.0.0/22", 24);
        let first = set.allocate_next().unwrap();
        set.release(first).unwrap();
        assert_ne!(set.allocate_next().unwrap(), first);
    }

    #[test]
    fn occupied_blocks_are_not_given() {
        #[track_caller]
        fn check(cluster: &str, mask: u8, occupied: &[&str], expected: Option<&str>) {
            let mut set = set(cluster, mask);
            for cidr in occupied {
                set.occupy(net(cidr)).unwrap();
                set.occupy(net(cidr)).unwrap();
            }
            assert_eq!(set.allocate_next().ok(), expected.map(net));
        }
        check("127.0.0.0/8", 16, &["127.0.0.0/16"], Some("127.1.0.0/16"));
        check("127.0.0.0/8", 16, &["127.0.0.0/9"], Some("127.128.0.0/16"));
        check("127.0.0.0/8", 16, &["127.0.0.0/24"], Some("127.1.0.0/16"));
        check("127.0.0.0/8", 16, &["126.0.0.0/7"], None);
        check("127.0.0.0/8", 16, &["127.0.0.0/8"], None);
        check("10.0.0.0/24", 24, &["10.0.0.0/24"], None);
        check("fd00::/48", 64, &["fd00::/64"], Some("fd00:0:0:1::/64"));
        check("fd00::/60", 76, &["fd00::/64"], Some("fd00:0:0:1::/76"));
    }

    #[test]
    fn foreign_blocks_are_refused() {
        let mut set = set("10.0.0.0/22", 24);
        assert!(set.occupy(net("10.0.4.0/24")).is_err());
        assert!(set.release(net("fd00::/64")).is_err());
        let base = Base::bare(MetricsOptions::new("", Vec::new()).unwrap());
        assert!(CidrSet::new(net("fd00::/32"), 64, CidrSetMetrics::new(&base)).is_err());
    }
}
