//! Service account tokens of pods, kept until they should be renewed. Upstream: `pkg/kubelet/token`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::authentication::v1::TokenRequest;
use api_types::core::v1::ServiceAccount;
use client::Client;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// A token is renewed after this time, however long it would be valid.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Renewals are up to this much earlier, so that not all come at once.
const MAX_JITTER_SECONDS: f64 = 10.0;
const GC_PERIOD: Duration = Duration::from_secs(60);

/// Asks for tokens; the API server in production.
pub trait TokenSource: Send + Sync {
    /// A new token of a service account.
    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        request: &'a TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest, String>>;
}

struct ApiServer(Client);

impl TokenSource for ApiServer {
    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        request: &'a TokenRequest,
    ) -> BoxFuture<'a, Result<TokenRequest, String>> {
        Box::pin(async move {
            let api = self.0.namespaced::<ServiceAccount>(namespace);
            api.create_subresource::<TokenRequest, TokenRequest>(name, "token", request)
                .await
                .map_err(|error| error.to_string())
        })
    }
}

/// Tokens by what they were asked for.
pub struct TokenManager {
    source: Option<Arc<dyn TokenSource>>,
    cache: Mutex<HashMap<String, TokenRequest>>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    jitter: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl TokenManager {
    /// Asks this API server.
    #[must_use]
    pub fn new(client: Option<Client>) -> Self {
        Self::with_source(client.map(|client| Arc::new(ApiServer(client)) as Arc<dyn TokenSource>))
    }

    /// Asks this source.
    #[must_use]
    pub fn with_source(source: Option<Arc<dyn TokenSource>>) -> Self {
        TokenManager {
            source,
            cache: Mutex::default(),
            now: Box::new(Timestamp::now),
            jitter: Box::new(|| rand::random::<f64>() * MAX_JITTER_SECONDS),
        }
    }

    /// Whether there is anybody to ask.
    #[must_use]
    pub fn has_client(&self) -> bool {
        self.source.is_some()
    }

    /// A token that is valid: the one at hand, or a new one when that is past 80 % of its life or a day old.
    ///
    /// # Errors
    /// When there is no valid one and none can be had.
    pub async fn get(
        &self,
        namespace: &str,
        name: &str,
        request: TokenRequest,
    ) -> Result<TokenRequest, String> {
        let key = key(namespace, name, &request);
        let cached = self.cache.lock().get(&key).cloned();
        if let Some(cached) = &cached
            && !self.requires_refresh(cached)
        {
            return Ok(cached.clone());
        }
        let asked = match &self.source {
            Some(source) => source.create(namespace, name, &request).await,
            None => Err("cannot use TokenManager when kubelet is in standalone mode".to_owned()),
        };
        match (asked, cached) {
            (Ok(token), _) => {
                self.cache.lock().insert(key, token.clone());
                Ok(token)
            }
            (Err(error), None) => Err(format!("failed to fetch token: {error}")),
            (Err(error), Some(cached)) if self.expired(&cached) => {
                Err(format!("token {key} expired and refresh failed: {error}"))
            }
            (Err(error), Some(cached)) => {
                tracing::error!(key, error, "Couldn't update token");
                Ok(cached)
            }
        }
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn delete_pod(&self, uid: &str) {
        self.cache.lock().retain(|_, token| {
            token
                .spec
                .bound_object_ref
                .as_ref()
                .is_none_or(|bound| bound.uid != uid)
        });
    }

    /// Forgets expired tokens now and then, until the token ends it.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        let mut ticks = tokio::time::interval(GC_PERIOD);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => self.cache.lock().retain(|_, token| !self.expired(token)),
            }
        }
    }

    fn expired(&self, token: &TokenRequest) -> bool {
        (self.now)() > token.status.expiration_timestamp.timestamp()
    }

    fn requires_refresh(&self, token: &TokenRequest) -> bool {
        let Some(seconds) = token.spec.expiration_seconds else {
            tracing::error!("Expiration seconds was nil for token request");
            return false;
        };
        let (now, expires) = ((self.now)(), token.status.expiration_timestamp.timestamp());
        let jitter = SignedDuration::from_secs_f64((self.jitter)().trunc());
        let after = |base: Timestamp, offset: SignedDuration| {
            base.checked_add(offset).is_ok_and(|time| now > time)
        };
        let life = SignedDuration::from_secs(seconds);
        after(expires, MAX_AGE - jitter - life)
            // Within the last fifth of its life.
            || after(expires, -SignedDuration::from_secs(seconds * 20 / 100) - jitter)
    }
}

/// What a token is remembered by. It may be logged: it holds no secret.
fn key(namespace: &str, name: &str, request: &TokenRequest) -> String {
    let bound = request
        .spec
        .bound_object_ref
        .as_deref()
        .cloned()
        .unwrap_or_default();
    format!(
        "{name:?}/{namespace:?}/{:?}/{}/{}/{}/{}/{:?}",
        request.spec.audiences,
        request.spec.expiration_seconds.unwrap_or(0),
        bound.kind,
        bound.name,
        bound.uid,
        request.metadata.uid,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Source {
        asked: AtomicUsize,
        fail: parking_lot::Mutex<bool>,
        now: AtomicI64,
    }

    impl TokenSource for Source {
        fn create<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            request: &'a TokenRequest,
        ) -> BoxFuture<'a, Result<TokenRequest, String>> {
            Box::pin(async move {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                if *self.fail.lock() {
                    return Err("err".to_owned());
                }
                let mut token = request.clone();
                token.status.token = format!("t{number}");
                let expires =
                    self.now.load(Ordering::SeqCst) + request.spec.expiration_seconds.unwrap_or(0);
                let expires = Timestamp::from_second(expires).expect("time");
                token.status.expiration_timestamp = api_types::Time::from_timestamp(expires);
                Ok(token)
            })
        }
    }

    fn manager() -> (TokenManager, Arc<Source>) {
        let source = Arc::new(Source::default());
        let mut manager = TokenManager::with_source(Some(source.clone()));
        let clock = source.clone();
        manager.now = Box::new(move || {
            Timestamp::from_second(clock.now.load(Ordering::SeqCst)).expect("time")
        });
        manager.jitter = Box::new(|| 0.0);
        (manager, source)
    }

    fn request(seconds: i64) -> TokenRequest {
        let mut request = TokenRequest::default();
        request.spec.expiration_seconds = Some(seconds);
        request
    }

    #[tokio::test]
    async fn renewed_at_80_percent_of_life_or_after_a_day() {
        for (life, age, want) in [
            (3600, 0, "t1"),
            (3600, 2880, "t1"),
            (3600, 2881, "t2"),
            // A long one is renewed once a day.
            (10 * 86400, 86400, "t1"),
            (10 * 86400, 86401, "t2"),
        ] {
            let (manager, source) = manager();
            assert_eq!(
                manager
                    .get("ns", "sa", request(life))
                    .await
                    .expect("token")
                    .status
                    .token,
                "t1"
            );
            source.now.store(age, Ordering::SeqCst);
            assert_eq!(
                manager
                    .get("ns", "sa", request(life))
                    .await
                    .expect("token")
                    .status
                    .token,
                want,
                "{life} {age}"
            );
        }
    }

    #[tokio::test]
    async fn a_failed_renewal_is_an_error_only_once_the_token_expired() {
        let (manager, source) = manager();
        *source.fail.lock() = true;
        assert_eq!(
            manager.get("ns", "sa", request(3600)).await,
            Err("failed to fetch token: err".to_owned())
        );
        *source.fail.lock() = false;
        let first = manager
            .get("ns", "sa", request(3600))
            .await
            .expect("token")
            .status
            .token;
        *source.fail.lock() = true;
        source.now.store(3600, Ordering::SeqCst);
        assert_eq!(
            manager
                .get("ns", "sa", request(3600))
                .await
                .expect("still valid")
                .status
                .token,
            first
        );
        source.now.store(3601, Ordering::SeqCst);
        assert!(
            manager
                .get("ns", "sa", request(3600))
                .await
                .expect_err("expired")
                .ends_with("expired and refresh failed: err")
        );
    }

    #[tokio::test]
    async fn tokens_are_apart_and_go_with_their_pod() {
        let (manager, source) = manager();
        let bound = |uid: &str| {
            let mut request = request(3600);
            request.spec.bound_object_ref = Some(Box::new(
                api_types::authentication::v1::BoundObjectReference {
                    uid: uid.to_owned(),
                    ..Default::default()
                },
            ));
            request
        };
        for request in [bound("a"), bound("b"), bound("a")] {
            manager.get("ns", "sa", request).await.expect("token");
        }
        manager.get("other", "sa", bound("a")).await.expect("token");
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
        manager.delete_pod("a");
        manager.get("ns", "sa", bound("b")).await.expect("token");
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
        manager.get("ns", "sa", bound("a")).await.expect("token");
        assert_eq!(source.asked.load(Ordering::SeqCst), 4);
    }
}
