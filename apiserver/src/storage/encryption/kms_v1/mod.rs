//! KMS v1: each value is sealed with a key of its own, which the key service has sealed.
//! Upstream: storage/value/encrypt/envelope and kmsPrefixTransformer of server/options/encryptionconfig. Deprecated, behind the gate
//! `KMSv1`.
//!
//! The service is called for every write, and for every read of a value whose key is not among the last that were used.

mod service;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::apiserver_config::v1::KMSConfiguration;
use apimachinery::lru::Lru;
use component_base::auth::BoxFuture;
use component_base::healthz::HealthCheck;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::service::Service;
use super::ciphers::{Cbc, Cipher, Gcm, Place, random};
use super::kms::{NEGATIVE_TTL, POSITIVE_TTL, Provider, wait};
use super::metrics::EncryptionMetrics;
use crate::storage::transformer::TransformError;

/// The gate that lets this be used.
pub(super) const FEATURE: &str = "KMSv1";
const KEY: usize = 32;

/// Prepares a provider. The service is not called yet.
pub(super) fn open(
    config: &KMSConfiguration,
    timeout: Duration,
    metrics: &Arc<EncryptionMetrics>,
) -> Provider {
    tracing::info!(
        "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead."
    );
    let name = config.name.as_str();
    let service = Arc::new(Service::new(&config.endpoint, timeout));
    let size = config.cachesize.unwrap_or_default();
    let envelope = Envelope {
        service: service.clone(),
        cache: usize::try_from(size).ok().map(Lru::new).map(Mutex::new),
        metrics: metrics.clone(),
        runtime: Handle::current(),
    };
    Provider {
        prefix: format!("k8s:enc:kms:v1:{name}:"),
        cipher: Arc::new(envelope),
        probe: Arc::new(Probe {
            name: name.to_owned(),
            service,
            last: tokio::sync::Mutex::default(),
        }),
        // A check seals and opens.
        calls: timeout * 2,
    }
}

/// What seals and opens values.
struct Envelope {
    service: Arc<Service>,
    /// None when keys are not kept.
    cache: Option<Mutex<Lru<Vec<u8>, Arc<ValueKey>>>>,
    metrics: Arc<EncryptionMetrics>,
    runtime: Handle,
}

/// The key of one value. Servers before 1.25 wrote with AES-CBC.
struct ValueKey {
    gcm: Gcm,
    cbc: Cbc,
}

impl ValueKey {
    fn new(key: &[u8]) -> Result<Self, TransformError> {
        Ok(Self {
            gcm: Gcm::new(key).map_err(TransformError::new)?,
            cbc: Cbc::new(key).map_err(TransformError::new)?,
        })
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let first = match self.gcm.open(place, sealed) {
            Err(error) => error,
            opened => return opened,
        };
        match self.cbc.open(place, sealed) {
            // It is to be written anew.
            Ok((plain, _)) => Ok((plain, true)),
            Err(second) => {
                let both = TransformError::joined(vec![first, second]);
                Err(both.unwrap_or_else(|| TransformError::new("unable to transform from storage")))
            }
        }
    }
}

impl Envelope {
    fn keep(&self, sealed_key: &[u8], key: &[u8]) -> Result<Arc<ValueKey>, TransformError> {
        let key = Arc::new(ValueKey::new(key)?);
        if let Some(cache) = &self.cache {
            let mut cache = cache.lock();
            cache.insert(sealed_key.to_vec(), key.clone());
            self.metrics.cache_fill.set(cache.fill());
        }
        Ok(key)
    }

    /// The key of a value, from the service when it is not at hand. The thread waits then.
    fn key(&self, sealed_key: &[u8]) -> Result<Arc<ValueKey>, TransformError> {
        if let Some(cache) = &self.cache {
            if let Some(known) = cache.lock().get(sealed_key).cloned() {
                return Ok(known);
            }
            self.metrics.cache_misses.inc();
        }
        let key = wait(&self.runtime, self.service.decrypt(sealed_key))?;
        self.keep(sealed_key, &key)
    }

    fn new_key(&self) -> Result<[u8; KEY], TransformError> {
        let started = Instant::now();
        let mut key = [0; KEY];
        random(&mut key).inspect_err(|_| self.metrics.data_key_failures.inc())?;
        let took = started.elapsed().as_secs_f64();
        self.metrics.data_key_generation.observe(took);
        Ok(key)
    }
}

impl Cipher for Envelope {
    fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TransformError> {
        self.metrics.arrived("to_storage");
        let key = self.new_key()?;
        let sealed_key = wait(&self.runtime, self.service.encrypt(&key))?;
        let Ok(length) = u16::try_from(sealed_key.len()) else {
            return Err(TransformError::new(format!(
                "cryptobyte: pending child length {} exceeds 2-byte length prefix",
                sealed_key.len()
            )));
        };
        let key = self.keep(&sealed_key, &key)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&sealed_key);
        key.gcm.seal(place, plain, out)
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        self.metrics.arrived("from_storage");
        let parts = sealed.split_first_chunk().and_then(|(length, rest)| {
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        let Some((sealed_key, sealed)) = parts else {
            return Err(TransformError::new(
                "invalid data encountered by envelope transformer: failed to read uint16 length prefixed data",
            ));
        };
        self.key(sealed_key)?.open(place, sealed)
    }
}

/// Whether a service seals and opens.
struct Probe {
    name: String,
    service: Arc<Service>,
    last: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Probe {
    /// An answer is good for some seconds; it is the service's own words then.
    async fn probe(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last {
            let ttl = if answer.is_ok() {
                POSITIVE_TTL
            } else {
                NEGATIVE_TTL
            };
            if at.elapsed() < ttl {
                return answer.clone();
            }
        }
        let failed = |section: &'static str| move |error: TransformError| (section, error);
        let sealed = self.service.encrypt(b"ping").await;
        let outcome = match sealed.map_err(failed("encrypt")) {
            Ok(sealed) => self
                .service
                .decrypt(&sealed)
                .await
                .map_err(failed("decrypt")),
            Err(error) => Err(error),
        };
        let answer = outcome.as_ref().map(|_| ());
        let answer = answer.map_err(|(_, error)| error.to_string());
        *last = Some((Instant::now(), answer));
        outcome.map(|_| ()).map_err(|(section, error)| {
            format!(
                "failed to perform {section} section of the healthz check for KMS Provider {}, error: {error}",
                self.name
            )
        })
    }
}

impl HealthCheck for Probe {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.probe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        resource: "secrets",
        key: "/registry/secrets/a/b",
    };

    #[test]
    fn values_of_old_servers_are_read_and_written_anew() {
        let bytes = [7; KEY];
        let key = ValueKey::new(&bytes).unwrap();
        let sealed = |cipher: &dyn Cipher| {
            let mut sealed = Vec::new();
            cipher.seal(PLACE, b"plain", &mut sealed).unwrap();
            sealed
        };
        let opened = key.open(PLACE, &sealed(&key.gcm)).unwrap();
        assert_eq!(opened, (b"plain".to_vec(), false));
        let opened = key.open(PLACE, &sealed(&key.cbc)).unwrap();
        assert_eq!(opened, (b"plain".to_vec(), true));
        let error = key.open(PLACE, b"short").unwrap_err();
        let why = "the stored data was shorter than the required size";
        assert_eq!(error.to_string(), why);
        let error = ValueKey::new(b"five!").err().unwrap();
        assert_eq!(error.to_string(), "crypto/aes: invalid key size 5");
    }
}
