//! The keys of a signer, as it said last. Upstream: pkg/serviceaccount/externaljwt/plugin/keycache.go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apimachinery::quote::quote;
use arc_swap::ArcSwap;
use component_base::auth::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::service::{self, FETCH_KEYS, FetchKeysRequest, FetchKeysResponse, Service};
use super::{ExternalJwtError, MAX_KEY_ID};
use crate::authn::jws::PublicKey;
use crate::authn::keys::{VerificationKeys, named};

/// After keys could not be had.
const RETRY: Duration = Duration::from_secs(10);
/// For keys that a token asks for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// A hint is not followed for longer.
const LONGEST_REFRESH: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Keys and until when they are good.
struct Known {
    keys: Arc<[PublicKey]>,
    refresh_at: Instant,
}

/// The keys of a signer.
pub struct KeyCache {
    service: Service,
    known: ArcSwap<Known>,
    /// The last keys of which some were for others to see.
    published: ArcSwap<Vec<PublicKey>>,
    /// Held while the signer is asked; those that wait for it share the answer.
    asking: tokio::sync::Mutex<()>,
    answers: AtomicU64,
}

impl KeyCache {
    /// Without keys yet.
    pub(super) fn new(service: Service) -> KeyCache {
        KeyCache {
            service,
            known: ArcSwap::from_pointee(Known {
                keys: Arc::default(),
                refresh_at: Instant::now(),
            }),
            published: ArcSwap::default(),
            asking: tokio::sync::Mutex::default(),
            answers: AtomicU64::new(0),
        }
    }

    /// Asks for the keys, or waits for the answer that somebody else gets.
    pub(super) async fn sync(&self, timeout: Duration) -> Result<(), ExternalJwtError> {
        let before = self.answers.load(Ordering::Acquire);
        let _asking = self.asking.lock().await;
        if self.answers.load(Ordering::Acquire) != before {
            return Ok(());
        }
        let fetched = self.fetch(timeout).await;
        self.answers.fetch_add(1, Ordering::AcqRel);
        let code = fetched.as_ref().err().map_or("OK", ExternalJwtError::code);
        self.service.metrics.fetched(code);
        let (known, time) = fetched?;
        self.service.metrics.data_of(time);
        let keys = known.keys.iter();
        let published: Vec<PublicKey> = keys
            .filter(|key| !key.excluded_from_discovery())
            .cloned()
            .collect();
        if published.is_empty() {
            tracing::error!(
                "failed to update openid config metadata: no keys provided for validating keyset"
            );
        } else {
            self.published.store(Arc::new(published));
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    async fn fetch(&self, timeout: Duration) -> Result<(Known, Timestamp), ExternalJwtError> {
        const FETCHING: &str = "while fetching token verification keys";
        let response = self.service.call(FETCH_KEYS, FetchKeysRequest {}, timeout);
        let response: FetchKeysResponse = response.await.map_err(ExternalJwtError::calling(
            "while fetching token verification keys: while getting externally supported jwt signing keys",
        ))?;
        read(&response).map_err(|why| ExternalJwtError::Answer(format!("{FETCHING}: {why}")))
    }
}

impl VerificationKeys for KeyCache {
    /// A key that is not known may be new: the signer is asked.
    fn find<'a>(&'a self, key_id: &'a str) -> BoxFuture<'a, Vec<PublicKey>> {
        Box::pin(async move {
            let found = named(&self.known.load().keys, key_id);
            if !found.is_empty() {
                return found;
            }
            if let Err(error) = self.sync(LOOKUP_TIMEOUT).await {
                tracing::error!(err = %error, "Error while syncing keys");
                return Vec::new();
            }
            let found = named(&self.known.load().keys, key_id);
            if found.is_empty() {
                tracing::error!("Key id {} not found after refresh", quote(key_id));
            }
            found
        })
    }

    fn published(&self) -> Arc<[PublicKey]> {
        self.published.load().as_slice().into()
    }

    fn max_age_seconds(&self) -> u64 {
        let refresh_at = self.known.load().refresh_at;
        refresh_at
            .saturating_duration_since(Instant::now())
            .as_secs()
    }
}

/// Asks whenever the signer said that it should be asked.
pub(super) async fn keep_up(keys: Arc<KeyCache>, timeout: Duration, stop: CancellationToken) {
    let mut next = keys.known.load().refresh_at;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        next = match keys.sync(timeout).await {
            Ok(()) => keys.known.load().refresh_at,
            Err(error) => {
                tracing::error!(
                    "when syncing supported public keys(Stale set of keys will be supported): {error}"
                );
                Instant::now() + RETRY
            }
        };
    }
}

/// The keys of an answer, and since when the signer knows them.
fn read(response: &FetchKeysResponse) -> Result<(Known, Timestamp), String> {
    let hint = response.refresh_hint_seconds;
    let refresh = u64::try_from(hint).ok().filter(|seconds| *seconds > 0);
    let refresh = refresh.ok_or_else(|| format!("found invalid refresh hint ({hint}s)"))?;
    if response.keys.is_empty() {
        return Err("found no keys".to_owned());
    }
    let time = time(response.data_timestamp)
        .map_err(|why| format!("invalid data timestamp: proto: {why}"))?;
    let keys: Result<Vec<PublicKey>, String> = response.keys.iter().map(key).collect();
    let known = Known {
        keys: keys?.into(),
        refresh_at: Instant::now() + Duration::from_secs(refresh).min(LONGEST_REFRESH),
    };
    Ok((known, time))
}

fn key(key: &service::Key) -> Result<PublicKey, String> {
    if key.key_id.is_empty() || key.key_id.len() > MAX_KEY_ID {
        return Err(format!(
            "found invalid public key id {}",
            quote(&key.key_id)
        ));
    }
    if key.key.is_empty() {
        return Err("found empty public key".to_owned());
    }
    PublicKey::external(&key.key, &key.key_id, key.exclude_from_oidc_discovery)
        .map_err(|error| format!("while parsing external public keys: {error}"))
}

/// Upstream: timestamppb.CheckValid.
fn time(time: Option<service::Timestamp>) -> Result<Timestamp, String> {
    let Some(service::Timestamp { seconds, nanos }) = time else {
        return Err("invalid nil Timestamp".to_owned());
    };
    let shown = || format!("timestamp (seconds:{seconds} nanos:{nanos})");
    if seconds < -62_135_596_800 {
        return Err(format!("{} before 0001-01-01", shown()));
    }
    if seconds > 253_402_300_799 {
        return Err(format!("{} after 9999-12-31", shown()));
    }
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(format!("{} has out-of-range nanos", shown()));
    }
    // jiff ends some hours before the last day does.
    Ok(Timestamp::new(seconds, nanos).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(change: impl FnOnce(&mut FetchKeysResponse)) -> Result<(), String> {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
        let mut response = FetchKeysResponse {
            keys: vec![service::Key {
                key_id: "k".to_owned(),
                key: der.as_ref().to_vec(),
                exclude_from_oidc_discovery: false,
            }],
            data_timestamp: Some(service::Timestamp {
                seconds: 1,
                nanos: 2,
            }),
            refresh_hint_seconds: 20,
        };
        change(&mut response);
        read(&response).map(drop)
    }

    #[test]
    fn answers() {
        assert_eq!(response(|_| {}), Ok(()));
        assert_eq!(response(|all| all.refresh_hint_seconds = i64::MAX), Ok(()));
        let refused = |change: fn(&mut FetchKeysResponse), why: &str| {
            assert_eq!(response(change), Err(why.to_owned()));
        };
        refused(
            |all| all.refresh_hint_seconds = 0,
            "found invalid refresh hint (0s)",
        );
        refused(|all| all.keys.clear(), "found no keys");
        refused(
            |all| all.data_timestamp = None,
            "invalid data timestamp: proto: invalid nil Timestamp",
        );
        refused(
            |all| {
                all.data_timestamp = Some(service::Timestamp {
                    seconds: 1,
                    nanos: -1,
                })
            },
            "invalid data timestamp: proto: timestamp (seconds:1 nanos:-1) has out-of-range nanos",
        );
        refused(
            |all| all.keys[0].key_id.clear(),
            "found invalid public key id \"\"",
        );
        refused(|all| all.keys[0].key.clear(), "found empty public key");
        let garbage = response(|all| all.keys[0].key = vec![1, 2, 3]);
        assert!(garbage.is_err_and(|why| why.starts_with("while parsing external public keys: ")));
    }
}
