//! Bearer tokens: where they are in a request, a cache of verdicts, and the apiserver's verdict (TokenReview).
//! Upstream: k8s.io/apiserver/pkg/authentication/request/{bearertoken,websocket}, token/cache,
//! plugin/pkg/authenticator/token/webhook.

use std::sync::Arc;
use std::time::Duration;

use api_types::authentication::v1::TokenReview;
use base64::engine::general_purpose::{self, GeneralPurpose};
use base64::{Engine as _, alphabet};
use client::Client;
use http::HeaderMap;

use super::delegated::with_backoff;
use super::expiring_cache::ExpiringCache;
use super::{AuthenticateError, Authenticated, Authenticator, BoxFuture, Credentials, UserInfo};

/// Subprotocol that carries a token for WebSocket clients, which cannot set headers.
const WEBSOCKET_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
/// As Go has it: bits that the last character has too many may be anything.
const WEBSOCKET_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    general_purpose::NO_PAD.with_decode_allow_trailing_bits(true),
);
const EXTRA_SPACE: &str = "the provided Authorization header contains extra space before the bearer token, and is ignored";

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
            let mut refused = Vec::new();
            for token in [header_token(request), websocket_token(&request.headers)] {
                let verdict = match token {
                    Ok(None) => continue,
                    Ok(Some(token)) => self.tokens.authenticate_token(&token).await,
                    Err(error) => Err(error),
                };
                match verdict {
                    Ok(Some(authenticated)) => return Ok(Some(authenticated)),
                    Ok(None) => refused.push("invalid bearer token".to_owned()),
                    Err(error) => refused.push(error.0),
                }
            }
            if refused.is_empty() {
                return Ok(None);
            }
            Err(AuthenticateError(crate::aggregate(&refused)))
        })
    }
}

/// The token of an `Authorization: Bearer` header. It ends at a space, and what has more than one space before it is no token.
fn header_token(request: &Credentials) -> Result<Option<String>, AuthenticateError> {
    let Some(value) = request.headers.get(http::header::AUTHORIZATION) else {
        return Ok(None);
    };
    let mut parts = value
        .as_bytes()
        .trim_ascii()
        .splitn(3, |byte| *byte == b' ');
    let is_bearer = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"bearer");
    if !parts.next().is_some_and(is_bearer) {
        return Ok(None);
    }
    match parts.next() {
        None => Ok(None),
        Some([]) => {
            let mut warnings = request.warnings.lock();
            warnings.push(EXTRA_SPACE.to_owned());
            Ok(None)
        }
        Some(token) => text(token).map(Some),
    }
}

fn text(token: &[u8]) -> Result<String, AuthenticateError> {
    String::from_utf8(token.to_vec()).map_err(|_| AuthenticateError("invalid bearer token".into()))
}

/// The token among the subprotocols of a WebSocket request. There must be another protocol, for the server to choose.
fn websocket_token(headers: &HeaderMap) -> Result<Option<String>, AuthenticateError> {
    if !is_websocket_request(headers) {
        return Ok(None);
    }
    let wrong = |why: &str| Err(AuthenticateError(why.to_owned()));
    let mut found: Option<String> = None;
    let mut others = false;
    for protocol in websocket_protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(WEBSOCKET_PREFIX.as_bytes()) else {
            others = true;
            continue;
        };
        if found.is_some() {
            return wrong("multiple base64.bearer.authorization tokens specified");
        }
        let Ok(decoded) = WEBSOCKET_ENCODING.decode(encoded) else {
            return wrong("invalid base64.bearer.authorization token encoding");
        };
        let Ok(token) = String::from_utf8(decoded) else {
            return wrong("invalid base64.bearer.authorization token");
        };
        found = Some(token);
    }
    match found.filter(|token| !token.is_empty()) {
        Some(_) if !others => wrong("missing additional subprotocol"),
        found => Ok(found),
    }
}

fn is_websocket_request(headers: &HeaderMap) -> bool {
    let first = headers.get(http::header::UPGRADE);
    first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers
            .get_all(http::header::CONNECTION)
            .iter()
            .any(|value| {
                let value = value.as_bytes().to_ascii_lowercase();
                value
                    .windows(b"upgrade".len())
                    .any(|part| part == b"upgrade")
            })
}

/// All subprotocols: several headers are as one.
fn websocket_protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(http::header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes a token from the WebSocket subprotocols, so that no handler chooses it and nobody behind this server gets it.
pub fn clear_websocket_token(headers: &mut HeaderMap) {
    let is_token = |protocol: &&[u8]| protocol.starts_with(WEBSOCKET_PREFIX.as_bytes());
    if !websocket_protocols(headers).any(|protocol| is_token(&protocol)) {
        return;
    }
    let kept: Vec<&[u8]> = websocket_protocols(headers)
        .filter(|protocol| !is_token(protocol))
        .collect();
    let kept = (!kept.is_empty()).then(|| kept.join(&b","[..]));
    headers.remove(http::header::SEC_WEBSOCKET_PROTOCOL);
    if let Some(Ok(value)) = kept.map(|kept| http::HeaderValue::from_bytes(&kept)) {
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

    /// What is said of a request with these headers, and what its sender is warned of.
    async fn ask(headers: &[(&str, &str)]) -> (Result<Option<String>, String>, Vec<String>) {
        let bearer = BearerToken::new(Arc::new(Known(AtomicUsize::new(0))));
        let mut credentials = Credentials::default();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            credentials.headers.append(name, value);
        }
        let verdict = bearer.authenticate(&credentials).await;
        let verdict = verdict.map(|found| found.map(|found| found.user.name));
        let warnings = credentials.warnings.lock().clone();
        (verdict.map_err(|error| error.0), warnings)
    }

    fn bob() -> Result<Option<String>, String> {
        Ok(Some("bob".to_owned()))
    }

    fn refused(why: &str) -> Result<Option<String>, String> {
        Err(why.to_owned())
    }

    #[tokio::test]
    async fn finds_tokens_in_headers() {
        for (value, expected) in [
            ("Bearer good", bob()),
            ("bearer good extra", bob()),
            (" BEARER good ", bob()),
            ("Bearer bad", refused("invalid bearer token")),
            ("Bearer jösé", refused("invalid bearer token")),
            ("Basic good", Ok(None)),
            ("Bearer", Ok(None)),
            ("Bearer ", Ok(None)),
            ("Bearer\tgood", Ok(None)),
            ("", Ok(None)),
        ] {
            let found = ask(&[("authorization", value)]).await;
            assert_eq!(found, (expected, Vec::new()), "{value}");
        }
        assert_eq!(ask(&[]).await, (Ok(None), Vec::new()));
        let two_spaces = ask(&[("authorization", "Bearer  good")]).await;
        assert_eq!(two_spaces, (Ok(None), vec![EXTRA_SPACE.to_owned()]));
    }

    #[tokio::test]
    async fn finds_tokens_in_subprotocols() {
        const GOOD: &str = "base64url.bearer.authorization.k8s.io.Z29vZA";
        const BAD: &str = "base64url.bearer.authorization.k8s.io.YmFk";
        let list = |all: &[&str]| all.join(", ");
        for (protocols, expected) in [
            (list(&[GOOD, "v5.channel.k8s.io"]), bob()),
            (list(&["v5.channel.k8s.io", GOOD]), bob()),
            (list(&[BAD, "x"]), refused("invalid bearer token")),
            (list(&[GOOD]), refused("missing additional subprotocol")),
            (
                list(&[GOOD, GOOD, "x"]),
                refused("multiple base64.bearer.authorization tokens specified"),
            ),
            (
                "base64url.bearer.authorization.k8s.io.?, x".to_owned(),
                refused("invalid base64.bearer.authorization token encoding"),
            ),
            (
                "base64url.bearer.authorization.k8s.io._w, x".to_owned(),
                refused("invalid base64.bearer.authorization token"),
            ),
            (
                "base64url.bearer.authorization.k8s.io., x".to_owned(),
                Ok(None),
            ),
            // The last character may have bits too many.
            (
                "base64url.bearer.authorization.k8s.io.Z29vZB, x".to_owned(),
                bob(),
            ),
            ("v5.channel.k8s.io".to_owned(), Ok(None)),
        ] {
            let request = [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
                ("sec-websocket-protocol", protocols.as_str()),
            ];
            assert_eq!(ask(&request).await.0, expected, "{protocols}");
            for one in ["connection", "upgrade"] {
                let mut others = request.to_vec();
                others.retain(|(name, _)| *name != one);
                assert_eq!(ask(&others).await.0, Ok(None), "{protocols} without {one}");
            }
            let mut more = request.to_vec();
            more.push(("authorization", "Basic x"));
            assert_eq!(ask(&more).await.0, expected, "another scheme says nothing");
        }
        let both = [
            ("authorization", "Bearer bad"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", "x"),
            ("sec-websocket-protocol", GOOD),
        ];
        assert_eq!(ask(&both).await.0, bob());
    }

    #[test]
    fn the_protocol_with_the_token_is_removed() {
        const TOKEN: &str = "base64url.bearer.authorization.k8s.io.Z29vZA";
        for (given, left) in [
            (
                vec![format!("{TOKEN}, v5.channel.k8s.io,v4.channel.k8s.io")],
                vec!["v5.channel.k8s.io,v4.channel.k8s.io"],
            ),
            (
                vec!["jösé".to_owned(), format!("x, {TOKEN}")],
                vec!["jösé,x"],
            ),
            (vec![TOKEN.to_owned()], vec![]),
            (vec!["a, b".to_owned(), "c".to_owned()], vec!["a, b", "c"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in &given {
                let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append("sec-websocket-protocol", value);
            }
            clear_websocket_token(&mut headers);
            let values = headers.get_all("sec-websocket-protocol").iter();
            let values: Vec<&[u8]> = values.map(http::HeaderValue::as_bytes).collect();
            let left: Vec<&[u8]> = left.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values, left, "{given:?}");
        }
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
