//! The daemon's own metrics. Those of a controller sit beside it.

use client::workqueue::QueueMetrics;
use component_base::metrics::{GaugeVec, Metrics as Base, Opts};

/// Made once from the registry that `main` makes.
#[derive(Clone)]
pub struct Metrics {
    base: Base,
    workqueue: QueueMetrics,
    running: GaugeVec,
}

impl Metrics {
    /// Registers the families. Fails when the registry has them already.
    pub fn new(base: Base) -> Result<Self, prometheus::Error> {
        let workqueue = QueueMetrics::new(base.registry())?;
        let opts = Opts::new(
            "running_managed_controllers",
            "Indicates where instances of a controller are currently running",
        );
        let running = base.gauge_vec(opts, &["manager", "name"]);
        Ok(Self {
            base,
            workqueue,
            running,
        })
    }

    /// What metrics are made from.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The workqueue_* families.
    pub fn workqueue(&self) -> &QueueMetrics {
        &self.workqueue
    }

    /// Notes that a controller has started.
    pub fn started(&self, controller: &str) {
        self.running
            .with_label_values(&["kube-controller-manager", controller])
            .set(1.0);
    }

    /// Notes that a controller has stopped.
    pub fn stopped(&self, controller: &str) {
        self.running
            .with_label_values(&["kube-controller-manager", controller])
            .set(0.0);
    }
}
