//! KMS v2: values are sealed with keys from a seed that a key service has sealed.
//! Upstream: storage/value/encrypt/envelope/kmsv2.
//!
//! The service is called when its key changes, and once for each seed that is met in etcd; never for a single value.

mod object;
mod probe;
mod seed;
mod service;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::apiserver_config::v1::KMSConfiguration;
use arc_swap::ArcSwapOption;
use component_base::healthz::HealthCheck;
use parking_lot::RwLock;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

use self::object::{EncryptedObject, SEED};
pub(super) use self::probe::{NEGATIVE_TTL, POSITIVE_TTL};
use self::probe::{Probe, State};
use self::seed::Seed;
use self::service::Service;
pub(super) use self::service::socket;
use super::ciphers::{Cipher, Gcm, Place};
use super::metrics::{EncryptionMetrics, KeyIdUse};
use crate::storage::transformer::TransformError;

/// How long a seed is kept that nothing was opened with.
const CACHE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Beside the plain value there are info, nonce and tag.
const SEALED_EXTRA: usize = 32 + 12 + 16;

/// A key service that is configured.
pub(super) struct Provider {
    /// Of the values that it seals.
    pub(super) prefix: String,
    pub(super) cipher: Arc<dyn Cipher>,
    /// Whether the service is well.
    pub(super) probe: Arc<dyn HealthCheck>,
    /// How long calls may still run when it is replaced.
    pub(super) calls: Duration,
}

/// Prepares a provider. The service is asked once for its state before this returns.
pub(super) async fn open(
    config: &KMSConfiguration,
    timeout: Duration,
    metrics: &Arc<EncryptionMetrics>,
    stop: &CancellationToken,
) -> Provider {
    let name = config.name.as_str();
    let service = Service::new(&config.endpoint, name, timeout, metrics.clone());
    let probe = Arc::new(Probe::new(name, service, metrics.clone()));
    probe.start(stop).await;
    let cipher = Envelope {
        name: name.to_owned(),
        probe: probe.clone(),
        known: RwLock::default(),
        remembered: ArcSwapOption::empty(),
        metrics: metrics.clone(),
        runtime: Handle::current(),
    };
    Provider {
        prefix: format!("k8s:enc:kms:v2:{name}:"),
        cipher: Arc::new(cipher),
        probe,
        calls: timeout,
    }
}

/// Waits for a key service. The thread waits, since the watch loop does.
pub(super) fn wait<T>(
    runtime: &Handle,
    call: impl Future<Output = Result<T, TransformError>>,
) -> Result<T, TransformError> {
    if matches!(
        Handle::try_current().map(|handle| handle.runtime_flavor()),
        Ok(RuntimeFlavor::CurrentThread)
    ) {
        return Err(TransformError::transient(
            "a key service cannot be waited for on a runtime of one thread",
        ));
    }
    tokio::task::block_in_place(|| runtime.block_on(call))
}

/// What opens the values of one source.
struct Opener {
    cipher: Arc<dyn Cipher>,
    read: KeyIdUse,
}

struct Known {
    opener: Arc<Opener>,
    used: Instant,
}

struct Envelope {
    name: String,
    probe: Arc<Probe>,
    /// Sources that the service has opened.
    known: RwLock<HashMap<[u8; 32], Known>>,
    /// The last seed that was put into `known` because values are written with it.
    remembered: ArcSwapOption<Seed>,
    metrics: Arc<EncryptionMetrics>,
    runtime: Handle,
}

impl Envelope {
    fn opener(&self, object: &EncryptedObject) -> Result<Arc<Opener>, TransformError> {
        let key = object.cache_key();
        if let Some(known) = self.known.read().get(&key) {
            return Ok(known.opener.clone());
        }
        self.metrics.cache_misses.inc();
        let secret = self.ask(object).map_err(|error| {
            TransformError::transient(format!("failed to decrypt DEK, error: {error}"))
                .with_code(error.code)
        })?;
        let cipher: Arc<dyn Cipher> = if object.source_type == SEED {
            Arc::new(Seed::new(&secret)?)
        } else {
            Arc::new(Gcm::new(&secret).map_err(TransformError::new)?)
        };
        let opener = Arc::new(Opener {
            cipher,
            read: self
                .metrics
                .key_id("from_storage", &self.name, &object.key_id),
        });
        self.insert(key, opener.clone());
        Ok(opener)
    }

    fn insert(&self, key: [u8; 32], opener: Arc<Opener>) {
        let used = Instant::now();
        let mut all = self.known.write();
        all.retain(|_, known| known.used.elapsed() < CACHE_TTL);
        all.insert(key, Known { opener, used });
        self.metrics
            .cache_size
            .with_label_values(&[self.name.as_str()])
            .set(all.len() as f64);
    }

    /// Keeps a seed that is written with: when the key changes, its values are still read.
    fn remember(&self, state: &Arc<State>) {
        let remembered = self.remembered.load();
        if remembered
            .as_ref()
            .is_some_and(|seed| Arc::ptr_eq(seed, &state.seed))
        {
            return;
        }
        self.insert(
            state.source.cache_key(),
            Arc::new(Opener {
                cipher: state.seed.clone(),
                read: state.read.clone(),
            }),
        );
        self.remembered.store(Some(state.seed.clone()));
    }

    /// Has the service open a source. There are few sources, and each is asked for once.
    fn ask(&self, object: &EncryptedObject) -> Result<Vec<u8>, TransformError> {
        let uid = uuid::Uuid::new_v4().to_string();
        let service = &self.probe.service;
        let call = service.decrypt(&uid, &object.source, &object.key_id, &object.annotations);
        wait(&self.runtime, call)
    }
}

impl Cipher for Envelope {
    fn seal(
        &self,
        place: Place<'_>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TransformError> {
        let state = self.probe.state()?;
        let Some(state) = &*state else {
            return Err(TransformError::transient("got unexpected nil transformer"));
        };
        state.check_writable()?;
        self.remember(state);
        out.reserve(plain.len() + SEALED_EXTRA + state.tail.len() + 8);
        probe::write_object(state, plain.len() + SEALED_EXTRA, out, |out| {
            state.seed.seal(place, plain, out)
        })?;
        state.written.record();
        Ok(())
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<(Vec<u8>, bool), TransformError> {
        let object = EncryptedObject::read(sealed)?;
        let state = self.probe.state()?;
        let Some(state) = &*state else {
            return Err(TransformError::transient("got unexpected nil transformer"));
        };
        let plain = if object.same_source(&state.source) {
            state.read.record();
            state.seed.open(place, &object.data)?.0
        } else {
            let opener = self.opener(&object)?;
            opener.read.record();
            opener.cipher.open(place, &object.data)?.0
        };
        // Another server's seed of the same key is as good as ours.
        let stale =
            object.key_id != state.source.key_id || object.source_type != state.source.source_type;
        Ok((plain, stale))
    }

    fn overhead(&self) -> usize {
        SEALED_EXTRA + 64
    }
}
