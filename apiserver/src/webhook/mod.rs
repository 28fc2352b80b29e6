//! Calls webhooks: posts a review and returns the answer. Upstream: apiserver/pkg/util/webhook.
//!
//! What a review is, is the caller's business: admission sends AdmissionReviews, custom resources ConversionReviews. Clients are kept by
//! what reaches the webhook, so all webhooks of one server share their connections. Webhooks that a kubeconfig names are each a client
//! of their own ([`review`]).

/// Who this server is.
mod authentication;
/// What is wrong with certificates of servers.
pub(crate) mod certificates;
/// Connections and requests.
mod client;
/// Where services are.
mod resolve;
/// Webhooks of kubeconfigs.
pub mod review;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apimachinery::status::StatusError;
use component_base::metrics::Metrics;
use parking_lot::Mutex;

use crate::egress::Egress;

pub use authentication::Authentication;
use certificates::CertificateMetrics;
pub use client::Client;
pub use resolve::{ClusterServices, ServiceResolver};
pub(crate) use resolve::{cluster_ip, endpoint};

/// Upstream keeps as many.
const KEPT_CLIENTS: usize = 200;
const DEFAULT_PORT: u16 = 443;

/// How a webhook is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    pub url: Option<String>,
    /// Wins over the URL.
    pub service: Option<Service>,
    /// PEM of the authorities for the webhook's certificate; empty for the system's.
    pub ca_bundle: Vec<u8>,
}

/// A webhook behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// Empty for `/`.
    pub path: String,
    /// None for 443.
    pub port: Option<u16>,
}

macro_rules! from_api {
    ($config:ty) => {
        impl From<&$config> for ClientConfig {
            fn from(config: &$config) -> ClientConfig {
                ClientConfig {
                    url: config.url.clone(),
                    service: config.service.as_ref().map(|service| Service {
                        namespace: service.namespace.clone(),
                        name: service.name.clone(),
                        path: service.path.clone().unwrap_or_default(),
                        port: service.port.and_then(|port| u16::try_from(port).ok()),
                    }),
                    ca_bundle: config.ca_bundle.to_vec(),
                }
            }
        }
    };
}

from_api!(api_types::admissionregistration::v1::WebhookClientConfig);
from_api!(api_types::apiextensions::v1::WebhookClientConfig);

/// No client can be made of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Why no answer came. The text is what upstream's clients show.
#[derive(Debug)]
pub enum CallError {
    /// The webhook was not reached, or did not answer in time.
    Failed(String),
    /// It answered with something else than success.
    Status(Box<StatusError>),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Failed(text) => f.write_str(text),
            CallError::Status(status) => f.write_str(&status.message),
        }
    }
}

/// The clients of all webhooks.
pub struct Webhooks {
    services: Arc<dyn ServiceResolver>,
    egress: Egress,
    /// Without it this server is nobody.
    authentication: Option<Authentication>,
    clients: Mutex<HashMap<ClientConfig, Kept>>,
    uses: AtomicU64,
    certificates: CertificateMetrics,
}

struct Kept {
    client: Arc<Client>,
    last_used: u64,
}

impl Webhooks {
    pub fn new(services: Arc<dyn ServiceResolver>, egress: Egress, metrics: &Metrics) -> Webhooks {
        Webhooks {
            services,
            egress,
            authentication: None,
            clients: Mutex::default(),
            uses: AtomicU64::new(0),
            certificates: CertificateMetrics::new(metrics, "webhooks"),
        }
    }

    /// Clients of their own that say who this server is.
    pub fn with_authentication(&self, authentication: Authentication) -> Webhooks {
        Webhooks {
            services: self.services.clone(),
            egress: self.egress.clone(),
            authentication: Some(authentication),
            clients: Mutex::default(),
            uses: AtomicU64::new(0),
            certificates: self.certificates.clone(),
        }
    }

    /// The client of a webhook, made at its first use.
    pub fn client(&self, config: &ClientConfig) -> Result<Arc<Client>, ConfigError> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut clients = self.clients.lock();
        if let Some(kept) = clients.get_mut(config) {
            kept.last_used = now;
            return Ok(kept.client.clone());
        }
        let client = Arc::new(Client::new(
            config,
            self.services.clone(),
            &self.egress,
            self.authentication.as_ref(),
            self.certificates.clone(),
        )?);
        if clients.len() >= KEPT_CLIENTS {
            let oldest = clients.iter().min_by_key(|(_, kept)| kept.last_used);
            if let Some(oldest) = oldest.map(|(config, _)| config.clone()) {
                clients.remove(&oldest);
            }
        }
        let kept = Kept {
            client: client.clone(),
            last_used: now,
        };
        clients.insert(config.clone(), kept);
        Ok(client)
    }
}
