//! Bearer tokens: where they are in a request, a cache of verdicts, and the apiserver's verdict (TokenReview).
//! Upstream: k8s.io/apiserver/pkg/authentication/request/{bearertoken,websocket}, token/cache,
//! plugin/pkg/authenticator/token/webhook.

use std::sync::Arc;
use std::time::Duration;

use api_types::authentication::v1::TokenReview;
use base64::Engine as _;
use client::Client;
use http::HeaderMap;

use super::delegated::with_backoff;
use super::expiring_cache::ExpiringCache;
use super::{AuthenticateError, Authenticated, Authenticator, BoxFuture, Credentials, UserInfo};

/// Subprotocol that carries a token for WebSocket clients, which cannot set headers.
const WEBSOCKET_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Finds out whom a token is from; the rules are those of [`Authenticator`].
pub trait TokenAuthenticator: Send + Sync {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>>;
}

/// Takes the token out of a request's `Authorization` header or WebSocket subprotocol and asks about it.
#[derive(Clone)]
pub struct BearerToken {
    tokens: Arc<dyn TokenAuthenticator>,
}

impl BearerToken {
    pub fn new(tokens: Arc<dyn TokenAuthenticator>) -> Self {
        Self { tokens }
    }
}

impl Authenticator for BearerToken {
    fn authenticate<'a>(
        &'a self,
        request: &'a Credentials,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(async move {
            let mut refused = None;
            let in_protocol = websocket_token(&request.headers);
            let candidates = [
                bearer_token(&request.headers).map(str::to_owned).map(Ok),
                in_protocol,
            ];
            for token in candidates.into_iter().flatten() {
                let token = token?;
                match self.tokens.authenticate_token(&token).await {
                    Ok(Some(authenticated)) => return Ok(Some(authenticated)),
                    Ok(None) => {
                        refused = Some(AuthenticateError("invalid bearer token".to_owned()))
                    }
                    Err(error) => refused = Some(error),
                }
            }
            refused.map_or(Ok(None), Err)
        })
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers
        .get(http::header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split(' ');
    let scheme = parts.next()?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    parts.next().filter(|token| !token.is_empty())
}

/// The token among the WebSocket subprotocols.
fn websocket_token(headers: &HeaderMap) -> Option<Result<String, AuthenticateError>> {
    let upgrade = headers.get(http::header::UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let protocols: Vec<&str> = headers
        .get_all(http::header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut tokens = protocols
        .iter()
        .filter_map(|protocol| protocol.strip_prefix(WEBSOCKET_PREFIX));
    let encoded = tokens.next()?;
    let wrong = |why: &str| Some(Err(AuthenticateError(why.to_owned())));
    if tokens.next().is_some() {
        return wrong("multiple base64.bearer.authorization tokens specified");
    }
    if protocols.len() == 1 {
        return wrong("missing additional subprotocol");
    }
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded)
        .ok();
    match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(token) if !token.is_empty() => Some(Ok(token)),
        _ => wrong("invalid base64.bearer.authorization token encoding"),
    }
}

/// Removes a token from the WebSocket subprotocols, so that the handler does not choose it.
pub(super) fn clear_websocket_token(headers: &mut HeaderMap) {
    let values: Vec<String> = headers
        .get_all(http::header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect();
    if !values.iter().any(|value| value.contains(WEBSOCKET_PREFIX)) {
        return;
    }
    let kept: Vec<&str> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|p| !p.starts_with(WEBSOCKET_PREFIX))
        .collect();
    headers.remove(http::header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = http::HeaderValue::from_str(&kept.join(", ")) {
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Remembers verdicts for a while, the good ones and the bad ones, but no failures to get one.
pub struct CachedTokens {
    inner: Arc<dyn TokenAuthenticator>,
    good_for: Duration,
    bad_for: Duration,
    /// Keyed by a keyed digest, so that a dump of memory holds no tokens.
    cache: ExpiringCache<Vec<u8>, Option<Authenticated>>,
    key: aws_lc_rs::hmac::Key,
}

impl CachedTokens {
    pub fn new(inner: Arc<dyn TokenAuthenticator>, good_for: Duration, bad_for: Duration) -> Self {
        use aws_lc_rs::{hmac, rand};
        let mut secret = [0; 32];
        let key = match rand::fill(&mut secret) {
            Ok(()) => hmac::Key::new(hmac::HMAC_SHA256, &secret),
            // Without randomness the digest is still one way.
            Err(_) => hmac::Key::new(hmac::HMAC_SHA256, b"token cache"),
        };
        Self {
            inner,
            good_for,
            bad_for,
            cache: ExpiringCache::new(4096),
            key,
        }
    }
}

impl TokenAuthenticator for CachedTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(async move {
            let digest = aws_lc_rs::hmac::sign(&self.key, token.as_bytes())
                .as_ref()
                .to_vec();
            let fetch = || async {
                let verdict = self.inner.authenticate_token(token).await?;
                let keep = if verdict.is_some() {
                    self.good_for
                } else {
                    self.bad_for
                };
                Ok((verdict, keep))
            };
            self.cache.get_or_fetch(&digest, fetch).await
        })
    }
}

/// Asks the apiserver about a token.
pub struct TokenReviewer {
    client: Client,
    /// How long to wait for a verdict, retries included.
    timeout: Duration,
    audiences: Vec<String>,
}

impl TokenReviewer {
    /// With audiences, tokens must be for one of them.
    pub fn new(client: Client, timeout: Duration, audiences: Vec<String>) -> Self {
        Self {
            client,
            timeout,
            audiences,
        }
    }

    async fn review(&self, token: &str) -> Result<Option<Authenticated>, AuthenticateError> {
        let mut review = TokenReview::default();
        review.spec.token = token.to_owned();
        review.spec.audiences = self.audiences.clone();
        let api = self.client.api::<TokenReview>();
        let asked = with_backoff(|| api.create(&review));
        let status = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => answer.status,
            Ok(Err(error)) => {
                tracing::error!("Failed to make webhook authenticator request: {error}");
                return Err(AuthenticateError(error.to_string()));
            }
            Err(_) => return Err(AuthenticateError("context deadline exceeded".to_owned())),
        };
        if !status.authenticated {
            return if status.error.is_empty() {
                Ok(None)
            } else {
                Err(AuthenticateError(status.error))
            };
        }
        let audiences: Vec<String> = self
            .audiences
            .iter()
            .filter(|audience| status.audiences.contains(audience))
            .cloned()
            .collect();
        if !self.audiences.is_empty() && audiences.is_empty() {
            return Ok(None);
        }
        let user = UserInfo {
            name: status.user.username,
            uid: status.user.uid,
            groups: status.user.groups,
            extra: status.user.extra,
        };
        Ok(Some(Authenticated {
            user,
            audiences,
            ..Authenticated::default()
        }))
    }
}

impl TokenAuthenticator for TokenReviewer {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(self.review(token))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Known(AtomicUsize);

    impl TokenAuthenticator for Known {
        fn authenticate_token<'a>(
            &'a self,
            token: &'a str,
        ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let user = UserInfo {
                name: "bob".to_owned(),
                ..UserInfo::default()
            };
            let found = (token == "good").then(|| Authenticated {
                user,
                ..Authenticated::default()
            });
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    async fn ask(headers: &[(&str, &str)]) -> Result<Option<String>, String> {
        let bearer = BearerToken::new(Arc::new(Known(AtomicUsize::new(0))));
        let mut credentials = Credentials::default();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            credentials.headers.append(name, value.parse().unwrap());
        }
        let verdict = bearer.authenticate(&credentials).await;
        verdict
            .map(|found| found.map(|found| found.user.name))
            .map_err(|error| error.0)
    }

    #[tokio::test]
    async fn finds_tokens_in_headers() {
        assert_eq!(
            ask(&[("authorization", "Bearer good")]).await,
            Ok(Some("bob".to_owned()))
        );
        assert_eq!(
            ask(&[("authorization", "bearer good extra")]).await,
            Ok(Some("bob".to_owned()))
        );
        assert_eq!(
            ask(&[("authorization", "Bearer bad")]).await,
            Err("invalid bearer token".to_owned())
        );
        assert_eq!(ask(&[("authorization", "Basic good")]).await, Ok(None));
        assert_eq!(ask(&[("authorization", "Bearer")]).await, Ok(None));
        assert_eq!(ask(&[]).await, Ok(None));
        let protocols = "base64url.bearer.authorization.k8s.io.Z29vZA, v5.channel.k8s.io";
        let websocket = [
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", protocols),
        ];
        assert_eq!(ask(&websocket).await, Ok(Some("bob".to_owned())));
        let alone = [
            ("upgrade", "websocket"),
            (
                "sec-websocket-protocol",
                "base64url.bearer.authorization.k8s.io.Z29vZA",
            ),
        ];
        assert_eq!(
            ask(&alone).await,
            Err("missing additional subprotocol".to_owned())
        );
    }

    #[test]
    fn the_protocol_with_the_token_is_removed() {
        let mut headers = HeaderMap::new();
        let protocols =
            "base64url.bearer.authorization.k8s.io.Z29vZA, v5.channel.k8s.io, v4.channel.k8s.io";
        headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
        clear_websocket_token(&mut headers);
        assert_eq!(
            headers["sec-websocket-protocol"],
            "v5.channel.k8s.io, v4.channel.k8s.io"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn verdicts_are_remembered() {
        let inner = Arc::new(Known(AtomicUsize::new(0)));
        let cached = CachedTokens::new(
            inner.clone(),
            Duration::from_secs(10),
            Duration::from_secs(10),
        );
        for _ in 0..3 {
            assert!(cached.authenticate_token("good").await.unwrap().is_some());
            assert!(cached.authenticate_token("bad").await.unwrap().is_none());
        }
        assert_eq!(inner.0.load(Ordering::SeqCst), 2);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(cached.authenticate_token("good").await.unwrap().is_some());
        assert_eq!(inner.0.load(Ordering::SeqCst), 3);
    }
}
