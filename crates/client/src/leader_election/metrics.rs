//! The leader_election_* metrics. Upstream: `component-base/metrics/prometheus/clientgo/leaderelection`.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metric families of all leader elections of a process.
#[derive(Clone, Debug)]
pub struct LeaderElectionMetrics {
    pub(super) master: IntGaugeVec,
    pub(super) slow_path: IntCounterVec,
}

impl LeaderElectionMetrics {
    /// Registers the families. Fails when the registry already has them: share the first value instead.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let master = IntGaugeVec::new(
            Opts::new(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
            ),
            &["name"],
        )?;
        let slow_path = IntCounterVec::new(
            Opts::new(
                "leader_election_slowpath_total",
                "Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group by name.",
            ),
            &["name"],
        )?;
        registry.register(Box::new(master.clone()))?;
        registry.register(Box::new(slow_path.clone()))?;
        Ok(Self { master, slow_path })
    }
}
