//! What a piece of work costs: CPU time before and after, memory before, after and at its highest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::Result;
use crate::process::Process;

const SAMPLING_PERIOD: Duration = Duration::from_millis(100);

/// Whose costs are counted.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    /// The process that is measured.
    pub(crate) server: Process,
    /// The etcd behind it.
    pub(crate) etcd: Option<Process>,
}

/// Runs from [`Meter::start`] to [`Meter::stop`].
pub(crate) struct Meter {
    subjects: Subjects,
    begun: Instant,
    server_cpu: Duration,
    etcd_cpu: Option<Duration>,
    own_cpu: Duration,
    resident_before: u64,
    peak_is_fresh: bool,
    sampled: Arc<AtomicU64>,
    sampler: AbortHandle,
}

/// Times of the whole work, memory in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) etcd_cpu: Option<Duration>,
    pub(crate) own_cpu: Duration,
    pub(crate) resident_before: u64,
    pub(crate) resident_after: u64,
    pub(crate) resident_peak: u64,
}

impl Meter {
    /// Must be called in a runtime: memory is sampled beside the work.
    pub(crate) fn start(subjects: &Subjects) -> Result<Self> {
        let server = &subjects.server;
        // The kernel's own peak is exact, but not every kernel and user may reset it; then the samples have to do.
        let peak_is_fresh = server.reset_peak().is_ok();
        let resident_before = server.resident()?;
        let sampled = Arc::new(AtomicU64::new(resident_before));
        let sampler = tokio::spawn(sample(server.clone(), sampled.clone())).abort_handle();
        Ok(Self {
            server_cpu: server.cpu()?,
            etcd_cpu: subjects.etcd.as_ref().map(Process::cpu).transpose()?,
            own_cpu: Process::own().cpu()?,
            begun: Instant::now(),
            subjects: subjects.clone(),
            resident_before,
            peak_is_fresh,
            sampled,
            sampler,
        })
    }

    pub(crate) fn stop(self) -> Result<Usage> {
        let wall = self.begun.elapsed();
        let Subjects { server, etcd } = &self.subjects;
        let resident_after = server.resident()?;
        let mut resident_peak = self.sampled.load(Ordering::Relaxed).max(resident_after);
        if self.peak_is_fresh {
            resident_peak = resident_peak.max(server.peak()?);
        }
        let etcd_cpu = match (etcd, self.etcd_cpu) {
            (Some(etcd), Some(before)) => Some(etcd.cpu()?.saturating_sub(before)),
            _ => None,
        };
        Ok(Usage {
            wall,
            server_cpu: server.cpu()?.saturating_sub(self.server_cpu),
            etcd_cpu,
            own_cpu: Process::own().cpu()?.saturating_sub(self.own_cpu),
            resident_before: self.resident_before,
            resident_after,
            resident_peak,
        })
    }
}

impl Usage {
    /// This and what came after it, as one piece of work.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            wall: self.wall + later.wall,
            server_cpu: self.server_cpu + later.server_cpu,
            etcd_cpu: self.etcd_cpu.zip(later.etcd_cpu).map(|(a, b)| a + b),
            own_cpu: self.own_cpu + later.own_cpu,
            resident_before: self.resident_before,
            resident_after: later.resident_after,
            resident_peak: self.resident_peak.max(later.resident_peak),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

async fn sample(process: Process, highest: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(SAMPLING_PERIOD);
    loop {
        ticks.tick().await;
        let Ok(resident) = process.resident() else {
            return;
        };
        highest.fetch_max(resident, Ordering::Relaxed);
    }
}
