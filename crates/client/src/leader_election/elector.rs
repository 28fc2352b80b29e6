//! The algorithm.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease_lock::{LeaseLock, Leases, Record};
use super::metrics::LeaderElectionMetrics;
use crate::record::EventRecorder;
use crate::rest::Client;

const JITTER: f64 = 1.2;
/// The wait after the first try of a candidate that could not yet see the Lease; it doubles up to the retry period.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// How to take part.
#[derive(Clone, Debug)]
pub struct LeaderElectionConfig {
    /// Name of the Lease.
    pub lock_name: String,
    /// Its namespace.
    pub lock_namespace: String,
    /// Unique among the candidates: `<host name>_<uuid>`.
    pub identity: String,
    /// How long others wait after the last renewal they saw. Must be more than `renew_deadline`.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it stops. Must be more than 1.2 times `retry_period`.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry_period: Duration,
    /// Give the Lease up when cancelled, so that another may lead at once. Only safe if the work has ended by then: the elector
    /// waits for it up to `renew_deadline` and keeps the Lease if it has not.
    pub release_on_cancel: bool,
    /// The `name` label of metrics and the name in the health check; the component's name.
    pub name: String,
    /// Labels put on the Lease.
    pub labels: BTreeMap<String, String>,
    /// Where "became leader" is recorded.
    pub recorder: EventRecorder,
    /// Where leading is shown.
    pub metrics: Option<LeaderElectionMetrics>,
}

impl LeaderElectionConfig {
    /// Upstream's defaults: 15 s, 10 s, 2 s, no release.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        identity: impl Into<String>,
    ) -> Self {
        let name = name.into();
        Self {
            lock_name: name.clone(),
            lock_namespace: namespace.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            release_on_cancel: false,
            name,
            labels: BTreeMap::new(),
            recorder: EventRecorder::discarding(),
            metrics: None,
        }
    }
}

/// Why a configuration is refused. The texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaderElectionError {
    /// Others could take over while the leader still tries.
    #[error("leaseDuration must be greater than renewDeadline")]
    LeaseDuration,
    /// The leader could stop before its second try.
    #[error("renewDeadline must be greater than retryPeriod*JitterFactor")]
    RenewDeadline,
    /// A duration is zero.
    #[error("leaseDuration, renewDeadline and retryPeriod must be greater than zero")]
    Zero,
    /// Candidates could not be told apart.
    #[error("Lock identity is empty")]
    Identity,
}

/// How [`LeaderElector::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The token was cancelled.
    Cancelled,
    /// The Lease could not be renewed in time; somebody else may lead now. A daemon exits.
    Lost,
}

/// A candidate.
pub struct LeaderElector {
    config: LeaderElectionConfig,
    lock: LeaseLock,
    shared: Arc<Shared>,
    leader: watch::Sender<String>,
}

/// What health checks look at.
#[derive(Debug)]
struct Shared {
    identity: String,
    name: String,
    lease_duration: Duration,
    observed: Mutex<Observed>,
}

/// The record as last seen, and when it was first seen so.
#[derive(Debug)]
struct Observed {
    record: Record,
    at: Option<Instant>,
}

/// Looks at an elector while it runs.
#[derive(Clone, Debug)]
pub struct LeaderStatus(Arc<Shared>);

impl LeaderStatus {
    /// Whether we were the holder when the record was last seen.
    pub fn is_leader(&self) -> bool {
        self.0.observed.lock().record.holder == self.0.identity
    }

    /// For a health check: fails when we lead but have not renewed for the Lease's duration and `tolerance` more, which means the
    /// process hangs and should be restarted.
    pub fn check(&self, tolerance: Duration) -> Result<(), String> {
        let observed = self.0.observed.lock();
        let expired = observed
            .at
            .is_some_and(|at| at.elapsed() > self.0.lease_duration + tolerance);
        if observed.record.holder == self.0.identity && expired {
            return Err(format!(
                "failed election to renew leadership on lease {}",
                self.0.name
            ));
        }
        Ok(())
    }
}

impl LeaderElector {
    /// Checks the configuration. Requests are not throttled by the client's limit and are given up after half of the renew deadline,
    /// so that there is time for a second one.
    pub fn new(client: &Client, config: LeaderElectionConfig) -> Result<Self, LeaderElectionError> {
        let timeout = (config.renew_deadline / 2).max(Duration::from_secs(1));
        let client = client.without_rate_limit().with_timeout(Some(timeout));
        let leases = client.namespaced::<Lease>(config.lock_namespace.as_str());
        Self::with_leases(Box::new(leases), config)
    }

    /// The same for who has other ways to the Leases of the namespace, which must end by themselves.
    pub fn with_leases(
        leases: Box<dyn Leases>,
        config: LeaderElectionConfig,
    ) -> Result<Self, LeaderElectionError> {
        if config.lease_duration.is_zero()
            || config.renew_deadline.is_zero()
            || config.retry_period.is_zero()
        {
            return Err(LeaderElectionError::Zero);
        }
        if config.lease_duration <= config.renew_deadline {
            return Err(LeaderElectionError::LeaseDuration);
        }
        if config.renew_deadline <= config.retry_period.mul_f64(JITTER) {
            return Err(LeaderElectionError::RenewDeadline);
        }
        if config.identity.is_empty() {
            return Err(LeaderElectionError::Identity);
        }
        let lock = LeaseLock::new(
            leases,
            config.lock_namespace.clone(),
            config.lock_name.clone(),
            config.identity.clone(),
            config.labels.clone(),
            config.recorder.clone(),
        );
        let shared = Arc::new(Shared {
            identity: config.identity.clone(),
            name: config.name.clone(),
            lease_duration: config.lease_duration,
            observed: Mutex::new(Observed {
                record: Record::default(),
                at: None,
            }),
        });
        let elector = Self {
            lock,
            shared,
            leader: watch::Sender::new(String::new()),
            config,
        };
        elector.show(false);
        Ok(elector)
    }

    /// Follows who leads: the holder's identity, "" while nobody is known.
    pub fn leader(&self) -> watch::Receiver<String> {
        self.leader.subscribe()
    }

    /// For health checks while the elector runs.
    pub fn status(&self) -> LeaderStatus {
        LeaderStatus(self.shared.clone())
    }

    /// Waits for the lead, then runs `work` as a task of its own for as long as the lead lasts. Its token is cancelled when the lead
    /// is lost or `token` is cancelled. If `work` ends by itself the lead is kept. A panic of `work` is passed on.
    pub async fn run<F, Fut>(mut self, token: CancellationToken, work: F) -> Outcome
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if token.run_until_cancelled(self.acquire()).await.is_none() {
            return Outcome::Cancelled;
        }
        let lead = token.child_token();
        let mut task = tokio::spawn(work(lead.clone()));
        let mut finished = false;
        let outcome = {
            let renew = self.renew();
            tokio::pin!(renew);
            loop {
                tokio::select! {
                    biased;
                    () = token.cancelled() => break Outcome::Cancelled,
                    () = &mut renew => break Outcome::Lost,
                    result = &mut task, if !finished => {
                        finished = true;
                        if let Err(error) = result
                            && error.is_panic()
                        {
                            std::panic::resume_unwind(error.into_panic());
                        }
                    }
                }
            }
        };
        lead.cancel();
        self.show(false);
        if outcome == Outcome::Lost {
            self.lock.announce("stopped leading");
            task.abort();
            return outcome;
        }
        if self.config.release_on_cancel {
            let ended = finished
                || tokio::time::timeout(self.config.renew_deadline, &mut task)
                    .await
                    .is_ok();
            if ended {
                self.release().await;
            } else {
                tracing::warn!(
                    lock = self.lock.describe(),
                    "work did not end in time, keeping the lease until it expires"
                );
            }
        }
        self.lock.announce("stopped leading");
        outcome
    }

    async fn acquire(&mut self) {
        tracing::info!(
            lock = self.lock.describe(),
            "Attempting to acquire leader lease..."
        );
        let mut early = FIRST_RETRY;
        while !self.try_acquire_or_renew().await {
            let wait =
                if self.shared.observed.lock().at.is_none() && early < self.config.retry_period {
                    // The Lease was not even seen yet: a server that just starts is asked again soon.
                    early *= 2;
                    early / 2
                } else {
                    self.config.retry_period
                };
            // Each wait a little different, so that candidates do not meet again and again.
            tokio::time::sleep(wait.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
        }
        self.lock.announce("became leader");
        self.show(true);
        tracing::info!(lock = self.lock.describe(), "Successfully acquired lease");
    }

    /// Returns when the lead is lost.
    async fn renew(&mut self) {
        loop {
            let renew_deadline = self.config.renew_deadline;
            let attempts = async {
                while !self.try_acquire_or_renew().await {
                    tokio::time::sleep(self.config.retry_period).await;
                }
            };
            if tokio::time::timeout(renew_deadline, attempts)
                .await
                .is_err()
            {
                tracing::info!(lock = self.lock.describe(), "Failed to renew lease");
                return;
            }
            tokio::time::sleep(self.config.retry_period).await;
        }
    }

    /// Whether we hold the Lease after this.
    async fn try_acquire_or_renew(&mut self) -> bool {
        let now = MicroTime::now();
        let mut record = Record {
            holder: self.config.identity.clone(),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs())
                .unwrap_or(i32::MAX),
            acquire_time: now,
            renew_time: now,
            transitions: 0,
            strategy: None,
            preferred_holder: None,
        };
        // A leader that still holds the Lease writes at once, with the version it last saw: one request instead of two.
        let started = Instant::now();
        if self.is_leader() && self.is_valid(started) {
            let old = self.shared.observed.lock().record.clone();
            let renewed = Record {
                acquire_time: old.acquire_time,
                transitions: old.transitions,
                ..record.clone()
            };
            match self.lock.update(renewed.clone()).await {
                Ok(()) => {
                    self.observe(renewed, started);
                    return true;
                }
                Err(error) => {
                    tracing::info!(%error, lock = self.lock.describe(), "Failed to update lease optimistically, falling back to slow path")
                }
            }
        }
        let old = match self.lock.get().await {
            Ok(old) => old,
            Err(error) if error.is_not_found() => {
                return match self.lock.create(record.clone()).await {
                    Ok(()) => {
                        self.observe(record, started);
                        true
                    }
                    Err(error) => {
                        tracing::error!(%error, lock = self.lock.describe(), "Error initially creating lease lock");
                        false
                    }
                };
            }
            Err(error) => {
                tracing::error!(%error, lock = self.lock.describe(), "Error retrieving lease lock");
                return false;
            }
        };
        let changed = {
            let observed = self.shared.observed.lock();
            observed.at.is_none() || observed.record != old
        };
        if changed {
            self.observe(old.clone(), Instant::now());
        }
        if !old.holder.is_empty() && self.is_valid(Instant::now()) && !self.is_leader() {
            tracing::debug!(
                holder = old.holder,
                lock = self.lock.describe(),
                "Lease is held by another and has not yet expired"
            );
            return false;
        }
        if self.is_leader() {
            record.acquire_time = old.acquire_time;
            record.transitions = old.transitions;
            if let Some(metrics) = &self.config.metrics {
                metrics
                    .slow_path
                    .with_label_values(&[&self.config.name])
                    .inc();
            }
        } else {
            record.transitions = old.transitions.saturating_add(1);
        }
        match self.lock.update(record.clone()).await {
            Ok(()) => {
                self.observe(record, started);
                true
            }
            Err(error) => {
                tracing::error!(%error, lock = self.lock.describe(), "Failed to update lease");
                false
            }
        }
    }

    async fn release(&mut self) {
        // The record may have been renewed by a request whose answer we did not wait for.
        let current = match tokio::time::timeout(self.config.renew_deadline, self.lock.get()).await
        {
            Ok(Ok(current)) => current,
            Ok(Err(error)) => {
                tracing::error!(%error, lock = self.lock.describe(), "Error retrieving lease lock for release");
                return;
            }
            Err(_) => return,
        };
        if current.holder != self.config.identity {
            return;
        }
        let now = MicroTime::now();
        let record = Record {
            transitions: current.transitions,
            lease_duration_seconds: 1,
            renew_time: now,
            acquire_time: now,
            ..Record::default()
        };
        match tokio::time::timeout(self.config.renew_deadline, self.lock.update(record.clone()))
            .await
        {
            Ok(Ok(())) => self.observe(record, Instant::now()),
            Ok(Err(error)) => {
                tracing::error!(%error, lock = self.lock.describe(), "Failed to release lease")
            }
            Err(_) => tracing::error!(
                lock = self.lock.describe(),
                "Failed to release lease in time"
            ),
        }
    }

    fn is_leader(&self) -> bool {
        self.shared.observed.lock().record.holder == self.config.identity
    }

    /// Whether the holder's time is not over, by our clock and the record's own duration.
    fn is_valid(&self, now: Instant) -> bool {
        let observed = self.shared.observed.lock();
        let duration =
            Duration::from_secs(u64::try_from(observed.record.lease_duration_seconds).unwrap_or(0));
        observed.at.is_some_and(|at| at + duration > now)
    }

    fn observe(&self, record: Record, at: Instant) {
        let holder = record.holder.clone();
        *self.shared.observed.lock() = Observed {
            record,
            at: Some(at),
        };
        self.leader.send_if_modified(|known| {
            let changed = *known != holder;
            if changed {
                tracing::info!(
                    lock = self.lock.describe(),
                    identity = holder,
                    "new leader elected"
                );
                *known = holder;
            }
            changed
        });
    }

    fn show(&self, leading: bool) {
        if let Some(metrics) = &self.config.metrics {
            metrics
                .master
                .with_label_values(&[&self.config.name])
                .set(i64::from(leading));
        }
    }
}

impl std::fmt::Debug for LeaderElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderElector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
