//! Where etcd is and how to talk to it: the resolved `--etcd-*` flags.

use std::path::PathBuf;
use std::time::Duration;

use crate::egress::Dialer;

/// One etcd cluster.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `--etcd-servers`: URLs, `http://` or `https://`.
    pub endpoints: Vec<String>,
    /// `--etcd-prefix`.
    pub prefix: String,
    /// `--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`. Read again for each new connection.
    pub tls: TlsFiles,
    /// The way there.
    pub via: Dialer,
    /// `--etcd-compaction-interval`; zero turns compaction by this process off.
    pub compaction_interval: Duration,
    /// `--etcd-db-metric-poll-interval`; zero turns it off.
    pub db_metric_poll_interval: Duration,
    /// `--etcd-count-metric-poll-period`; zero turns it off.
    pub count_metric_poll_period: Duration,
    /// How often caches are compared with etcd (the gate DetectCacheInconsistency); zero turns it off.
    pub consistency_check_period: Duration,
    /// The longest one request to etcd may take.
    pub request_timeout: Duration,
    /// `--lease-reuse-duration-seconds` and the number of objects per lease.
    pub lease: LeaseConfig,
    /// How far back watches can be resumed from memory.
    pub events_history_window: Duration,
    /// Memory one resource's watch history may hold on to, in bytes. Upstream bounds the number of events only.
    pub events_history_bytes: usize,
}

/// Files of the TLS client; without any, `https` endpoints are verified with the system's authorities.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// PEM bundle that etcd's certificate must chain to.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM key of the client certificate.
    pub key_file: Option<PathBuf>,
}

impl TlsFiles {
    /// Whether any file is given.
    pub(crate) fn any(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
    }
}

/// Sharing of leases between objects with a time to live.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// A lease serves writes for this long (but at most 5 % of the time to live).
    pub reuse_duration: Duration,
    /// A lease serves at most this many objects.
    pub max_object_count: u64,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: "/registry".to_owned(),
            tls: TlsFiles::default(),
            via: Dialer::default(),
            compaction_interval: Duration::from_secs(5 * 60),
            db_metric_poll_interval: Duration::from_secs(30),
            count_metric_poll_period: Duration::from_secs(60),
            consistency_check_period: Duration::from_secs(5 * 60),
            request_timeout: Duration::from_secs(60),
            lease: LeaseConfig::default(),
            events_history_window: Duration::from_secs(75),
            events_history_bytes: 256 << 20,
        }
    }
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            reuse_duration: Duration::from_secs(60),
            max_object_count: 1000,
        }
    }
}
