//! Asks a plugin how it is, and has it seal a new seed when its key changed.
//! Upstream: kmsv2PluginProbe of server/options/encryptionconfig/config.go.
//!
//! Reads go on without end. Writes go on while the plugin is well, and for three minutes after it was seen so last.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use apimachinery::field;
use arc_swap::{ArcSwapOption, Guard};
use component_base::auth::BoxFuture;
use component_base::healthz::HealthCheck;
use parking_lot::Mutex;
use prost::Message as _;
use prost::encoding::{WireType, encode_key};
use tokio_util::sync::CancellationToken;

use super::super::metrics::{EncryptionMetrics, KeyIdUse};
use super::object::{EncryptedObject, SEED, check_key_id, key_id_hash};
use super::seed::Seed;
use super::service::{Service, StatusResponse};
use crate::storage::transformer::TransformError;

const POSITIVE_INTERVAL: Duration = Duration::from_secs(60);
const NEGATIVE_INTERVAL: Duration = Duration::from_secs(10);
const WRITE_TTL: Duration = Duration::from_secs(180);
/// How long the answer of a service that is well is good.
pub(in super::super) const POSITIVE_TTL: Duration = Duration::from_secs(20);
/// And that of one that is not.
pub(in super::super) const NEGATIVE_TTL: Duration = Duration::from_secs(3);

/// What values are written with.
pub(super) struct State {
    /// The sealed seed with all that is stored beside the data.
    pub(super) source: EncryptedObject,
    pub(super) seed: Arc<Seed>,
    /// The fields that follow the data in every stored object.
    pub(super) tail: Vec<u8>,
    pub(super) written: KeyIdUse,
    pub(super) read: KeyIdUse,
    /// Until when it may be written with.
    expires: Mutex<SystemTime>,
}

impl State {
    /// Fails when the plugin was ill for too long.
    pub(super) fn check_writable(&self) -> Result<(), TransformError> {
        let expires = *self.expires.lock();
        let now = SystemTime::now();
        if now <= expires {
            return Ok(());
        }
        Err(TransformError::transient(format!(
            "encryptedDEKSource with keyID hash {:?} expired at {} (current time is {})",
            key_id_hash(&self.source.key_id),
            rfc3339(expires),
            rfc3339(now)
        )))
    }
}

fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let seconds = i64::try_from(seconds).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The last answer, which counts for a while.
#[derive(Default)]
struct Last {
    response: Option<(Instant, Result<(), String>)>,
    /// Of the first answer; it must not change.
    version: String,
}

/// One plugin's health and current seed.
pub(super) struct Probe {
    name: String,
    pub(super) service: Service,
    state: ArcSwapOption<State>,
    last: tokio::sync::Mutex<Last>,
    metrics: Arc<EncryptionMetrics>,
}

impl Probe {
    pub(super) fn new(name: &str, service: Service, metrics: Arc<EncryptionMetrics>) -> Probe {
        Probe {
            name: name.to_owned(),
            service,
            state: ArcSwapOption::empty(),
            last: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// The current seed; an error while there was none yet.
    pub(super) fn state(&self) -> Result<Guard<Option<Arc<State>>>, TransformError> {
        let state = self.state.load();
        if state.is_some() {
            Ok(state)
        } else {
            Err(TransformError::transient("got unexpected nil transformer"))
        }
    }

    /// Asks once, and goes on asking in the background.
    pub(super) async fn start(self: &Arc<Self>, stop: &CancellationToken) {
        let well = self.check_and_log().await;
        let probe = Arc::clone(self);
        let stop = stop.clone();
        tokio::spawn(async move {
            let asking = async {
                if !well {
                    probe.until_well().await;
                }
                loop {
                    tokio::time::sleep(POSITIVE_INTERVAL).await;
                    if !probe.check_and_log().await {
                        probe.until_well().await;
                    }
                }
            };
            stop.run_until_cancelled(asking).await;
        });
    }

    async fn until_well(&self) {
        loop {
            tokio::time::sleep(NEGATIVE_INTERVAL).await;
            if self.check_and_log().await {
                return;
            }
        }
    }

    async fn check_and_log(&self) -> bool {
        match self.probe().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    name = self.name,
                    error,
                    "kms plugin failed health check probe"
                );
                false
            }
        }
    }

    /// How the plugin is; answers are good for some seconds.
    async fn probe(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, response)) = &last.response {
            let ttl = if response.is_ok() {
                POSITIVE_TTL
            } else {
                NEGATIVE_TTL
            };
            if at.elapsed() < ttl {
                return response.clone();
            }
        }
        let (response, told) = match self.service.status().await {
            Ok(status) => {
                let well = self.examine(&status, &mut last.version).await;
                (well.clone(), well)
            }
            Err(error) => {
                let told = format!(
                    "failed to perform status section of the healthz check for KMS Provider {}, error: {error}",
                    self.name
                );
                (Err(error.to_string()), Err(told))
            }
        };
        last.response = Some((Instant::now(), response));
        told
    }

    async fn examine(&self, status: &StatusResponse, version: &mut String) -> Result<(), String> {
        let mut errors = Vec::new();
        if status.healthz != "ok" {
            errors.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            errors.push(format!(
                "expected KMSv2 API version v2, got {}",
                status.version
            ));
        } else {
            if version.is_empty() {
                version.clone_from(&status.version);
            }
            if *version != status.version {
                errors.push(format!(
                    "KMSv2 API version should not change after the initial status response version {version}, got {}",
                    status.version
                ));
            }
        }
        match check_key_id(&status.key_id) {
            Err((code, why)) => {
                self.metrics
                    .invalid_key_ids
                    .with_label_values(&[self.name.as_str(), code])
                    .inc();
                errors.push(format!(
                    "got invalid KMSv2 KeyID hash {:?}: {why}",
                    key_id_hash(&status.key_id)
                ));
            }
            Ok(()) => {
                self.metrics.key_id_reported(&self.name, &status.key_id);
                errors.extend(self.follow_key(&status.key_id).await.err());
            }
        }
        match field::aggregate(errors) {
            None => Ok(()),
            Some(why) => Err(format!(
                "kmsv2 Provider {} is not healthy, error: {why}",
                self.name
            )),
        }
    }

    /// Lengthens the life of the current seed, or makes one for another key. The old one stays where that fails.
    async fn follow_key(&self, key_id: &str) -> Result<(), String> {
        // Measured from before the call: it is the upper bound.
        let expires = SystemTime::now() + WRITE_TTL;
        let current = self.state.load_full();
        if let Some(state) = current
            .as_ref()
            .filter(|state| state.source.key_id == key_id)
        {
            *state.expires.lock() = expires;
            return Ok(());
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let (problem, sealed_with) = match self.generate(&uid).await {
            Ok((seed, source)) if source.key_id == key_id => {
                self.state
                    .store(Some(Arc::new(self.new_state(seed, source, expires))));
                return Ok(());
            }
            Ok((_, source)) => ("<nil>".to_owned(), source.key_id),
            Err(error) => (error.to_string(), String::new()),
        };
        let (state_problem, state_key, state_expires) = match &current {
            Some(state) => (
                "<nil>",
                key_id_hash(&state.source.key_id),
                rfc3339(*state.expires.lock()),
            ),
            None => (
                "got unexpected nil transformer",
                String::new(),
                "0001-01-01T00:00:00Z".to_owned(),
            ),
        };
        Err(format!(
            "failed to rotate DEK uid={uid:?}, useSeed=true, errState={state_problem}, errGen={problem}, statusKeyIDHash={:?}, encryptKeyIDHash={:?}, stateKeyIDHash={state_key:?}, expirationTimestamp={state_expires}",
            key_id_hash(key_id),
            key_id_hash(&sealed_with)
        ))
    }

    async fn generate(&self, uid: &str) -> Result<(Seed, EncryptedObject), TransformError> {
        let started = Instant::now();
        let (seed, bytes) =
            Seed::generate().inspect_err(|_| self.metrics.data_key_failures.inc())?;
        self.metrics
            .data_key_generation
            .observe(started.elapsed().as_secs_f64());
        let sealed = self.service.encrypt(uid, &bytes).await.map_err(|error| {
            TransformError::transient(format!("failed to encrypt DEK, error: {error}"))
        })?;
        let source = EncryptedObject {
            data: Vec::new(),
            key_id: sealed.key_id,
            source: sealed.ciphertext,
            annotations: sealed.annotations,
            source_type: SEED,
        };
        source.check_source().map_err(TransformError::new)?;
        Ok((seed, source))
    }

    fn new_state(&self, seed: Seed, source: EncryptedObject, expires: SystemTime) -> State {
        let uses = |direction| self.metrics.key_id(direction, &self.name, &source.key_id);
        State {
            written: uses("to_storage"),
            read: uses("from_storage"),
            tail: source.encode_to_vec(),
            seed: Arc::new(seed),
            source,
            expires: Mutex::new(expires),
        }
    }
}

/// Writes the data's field, whose contents are appended by `seal`, and then the rest.
pub(super) fn write_object(
    state: &State,
    sealed_length: usize,
    out: &mut Vec<u8>,
    seal: impl FnOnce(&mut Vec<u8>) -> Result<(), TransformError>,
) -> Result<(), TransformError> {
    encode_key(1, WireType::LengthDelimited, out);
    prost::encoding::encode_varint(sealed_length as u64, out);
    let start = out.len();
    seal(out)?;
    debug_assert_eq!(out.len() - start, sealed_length);
    out.extend_from_slice(&state.tail);
    Ok(())
}

impl HealthCheck for Probe {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.probe())
    }
}
