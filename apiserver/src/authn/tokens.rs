//! Tries token authenticators in order and remembers the answer for a short while. Upstream: authentication/token/{union,cache}.
//! Where a token is in a request, [`token::BearerToken`] knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use component_base::auth::{ALL_AUTHENTICATED, AuthenticateError, Authenticated, BoxFuture, token};
use component_base::metrics::Metrics;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::metrics::TokenCacheMetrics;

/// A valid token is asked about again after this long. Upstream: --authentication-token-success-cache-ttl's default.
pub(super) const SUCCESS_TTL: Duration = Duration::from_secs(10);
/// Above this many entries, those that ended are dropped; a full cache is emptied.
const CACHE_LIMIT: usize = 8192;

/// Judges one kind of bearer token.
pub trait TokenAuthenticator: Send + Sync {
    /// `audiences` are those the caller of TokenReview asks for; empty means this API server's own.
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>>;
}

/// All token authenticators of the server.
pub struct Tokens {
    authenticators: Vec<Arc<dyn TokenAuthenticator>>,
    cache: Mutex<HashMap<[u8; 32], (Authenticated, Timestamp)>>,
    metrics: TokenCacheMetrics,
}

impl Tokens {
    pub fn new(authenticators: Vec<Arc<dyn TokenAuthenticator>>, metrics: &Metrics) -> Self {
        Self {
            authenticators,
            cache: Mutex::default(),
            metrics: TokenCacheMetrics::new(metrics),
        }
    }

    async fn ask(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let mut errors = Vec::new();
        for authenticator in &self.authenticators {
            match authenticator.authenticate_token(token, audiences).await {
                Ok(Some(mut found)) => {
                    if !found
                        .user
                        .groups
                        .iter()
                        .any(|group| group == ALL_AUTHENTICATED)
                    {
                        found.user.groups.push(ALL_AUTHENTICATED.to_owned());
                    }
                    return Ok(Some(found));
                }
                Ok(None) => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
        if errors.is_empty() {
            return Ok(None);
        }
        // As upstream's errors of several authenticators read.
        errors.dedup();
        Err(AuthenticateError(errors.join(", ")))
    }

    async fn cached(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let started = Instant::now();
        let key = cache_key(token, audiences);
        if let Some((found, until)) = self.cache.lock().get(&key)
            && *until > now
        {
            self.metrics.hit(started.elapsed());
            return Ok(Some(found.clone()));
        }
        let mut miss = self.metrics.miss(started);
        let found = self.ask(token, audiences).await?;
        miss.worked();
        if let Some(found) = &found {
            let mut cache = self.cache.lock();
            if cache.len() >= CACHE_LIMIT {
                cache.retain(|_, (_, until)| *until > now);
                if cache.len() >= CACHE_LIMIT {
                    cache.clear();
                }
            }
            cache.insert(
                key,
                (
                    found.clone(),
                    now.saturating_add(SUCCESS_TTL).unwrap_or(now),
                ),
            );
        }
        Ok(found)
    }
}

impl TokenAuthenticator for Tokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(self.cached(token, audiences, Timestamp::now()))
    }
}

/// Judges the token of a request.
impl token::TokenAuthenticator for Tokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(async move {
            let found = TokenAuthenticator::authenticate_token(self, token, &[]).await;
            found.map_err(|error| AuthenticateError(format!("[invalid bearer token, {error}]")))
        })
    }
}

/// Tokens are kept as hashes, so that a dump of memory shows none.
pub(super) fn cache_key(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::auth::UserInfo;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct One {
        token: &'static str,
        asked: AtomicUsize,
    }

    impl TokenAuthenticator for One {
        fn authenticate_token<'a>(
            &'a self,
            token: &'a str,
            _: &'a [String],
        ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let found = (token == self.token).then(|| Authenticated {
                user: UserInfo {
                    name: token.into(),
                    ..UserInfo::default()
                },
                ..Authenticated::default()
            });
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn a_valid_token_is_remembered_for_ten_seconds() {
        let one = Arc::new(One {
            token: "good",
            asked: AtomicUsize::new(0),
        });
        let tokens = Tokens::new(vec![one.clone()], &Metrics::default());
        let at = |second| Timestamp::from_second(second).expect("in range");
        for (second, asked) in [(0, 1), (9, 1), (11, 2)] {
            let found = tokens
                .cached("good", &[], at(second))
                .await
                .expect("valid")
                .expect("known");
            assert_eq!(found.user.groups, [ALL_AUTHENTICATED]);
            assert_eq!(one.asked.load(Ordering::SeqCst), asked, "at {second}");
        }
        for _ in 0..2 {
            assert_eq!(
                tokens.cached("bad", &[], at(20)).await.expect("no error"),
                None
            );
        }
        assert_eq!(
            one.asked.load(Ordering::SeqCst),
            4,
            "failures are not remembered"
        );
        tokens
            .cached("good", &["other".into()], at(12))
            .await
            .expect("valid");
        assert_eq!(
            one.asked.load(Ordering::SeqCst),
            5,
            "audiences are part of the question"
        );
    }
}
