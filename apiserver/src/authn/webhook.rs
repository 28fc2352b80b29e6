//! Tokens that another server knows: `--authentication-token-webhook-config-file`. Upstream:
//! apiserver/plugin/pkg/authenticator/token/webhook, with the cache that pkg/kubeapiserver/authenticator puts before it.

use std::path::Path;
use std::time::Duration;

use api_types::authentication::v1::TokenReview;
use api_types::codec::Header;
use apimachinery::duration;
use apimachinery::quote::quote;
use client::{Client, ClientConfig};
use component_base::auth::expiring_cache::ExpiringCache;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};
use rand::Rng as _;
use serde::Deserialize;

use super::tokens::{SUCCESS_TTL, TokenAuthenticator, cache_key};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Waits between attempts: the first, how it grows, and by how much of it at most chance makes it longer.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.5;
const JITTER: f64 = 0.2;
const ATTEMPTS: u32 = 5;
const CACHE_LIMIT: usize = 32 * 1024;
const USER_AGENT: &str = "kube-apiserver";

/// Asks a webhook about tokens. Its verdicts are remembered, good ones and bad ones, but no failures to get one.
pub struct WebhookTokens {
    client: Client,
    api_version: &'static str,
    api_audiences: Vec<String>,
    ttl: Duration,
    cache: ExpiringCache<[u8; 32], Option<Authenticated>>,
}

/// What kind of object an answer is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    api_version: String,
    kind: String,
}

impl WebhookTokens {
    /// The kubeconfig says where the webhook is. Nothing is asked yet.
    pub fn new(
        kubeconfig: &Path,
        version: &str,
        ttl: Duration,
        api_audiences: Vec<String>,
    ) -> Result<Self, component_base::Error> {
        let config = ClientConfig::from_kubeconfig(kubeconfig)?
            .with_user_agent(USER_AGENT)
            .with_timeout(TIMEOUT)
            .with_qps(-1.0);
        let api_version = match version {
            "v1" => "authentication.k8s.io/v1",
            "v1beta1" => "authentication.k8s.io/v1beta1",
            other => {
                return Err(format!(
                    "unsupported authentication webhook version {}, supported versions are \"v1\", \"v1beta1\"",
                    quote(other)
                )
                .into());
            }
        };
        if !ttl.is_zero() && ttl < SUCCESS_TTL {
            let nanoseconds = |ttl: Duration| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
            tracing::warn!(
                "the webhook cache ttl of {} is shorter than the overall cache ttl of {} for successful token authentication attempts.",
                duration::format(nanoseconds(ttl)),
                duration::format(nanoseconds(SUCCESS_TTL))
            );
        }
        Ok(Self {
            client: Client::new(config)?,
            api_version,
            api_audiences,
            ttl,
            cache: ExpiringCache::new(CACHE_LIMIT),
        })
    }

    async fn ask(
        &self,
        token: &str,
        wanted: &[String],
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let mut review = TokenReview::default();
        review.spec.token = token.to_owned();
        review.spec.audiences = wanted.to_vec();
        let header = Header {
            api_version: self.api_version,
            kind: "TokenReview",
        };
        let body = api_types::encode_json_as(&review, header);
        let answer = self.post(body).await.map_err(|error| {
            tracing::error!("Failed to make webhook authenticator request: {error}");
            AuthenticateError(error)
        })?;
        let status = answer.status;
        // A webhook that says nothing of audiences vouches for this server's own.
        let got = if status.audiences.is_empty() {
            &self.api_audiences
        } else {
            &status.audiences
        };
        let audiences: Vec<String> = wanted
            .iter()
            .filter(|audience| got.contains(audience))
            .cloned()
            .collect();
        if audiences.is_empty() && !wanted.is_empty() {
            return Ok(None);
        }
        if !status.authenticated {
            return if status.error.is_empty() {
                Ok(None)
            } else {
                Err(AuthenticateError(status.error))
            };
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

    /// Posts until there is an answer, or a failure that will not pass soon.
    async fn post(&self, body: Vec<u8>) -> Result<TokenReview, String> {
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            match self
                .client
                .post_to_server("timeout=30s", body.clone())
                .await
            {
                Ok(answer) => return self.read(answer.body()),
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    let longer = rand::rng().random_range(0.0..JITTER);
                    tokio::time::sleep(wait.mul_f64(1.0 + longer)).await;
                    wait = wait.mul_f64(GROWTH);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("webhook call failed: timed out waiting for the condition".to_owned())
    }

    fn read(&self, body: &[u8]) -> Result<TokenReview, String> {
        let answer: Answer = serde_json::from_slice(body).map_err(|error| {
            format!(
                "couldn't get version/kind; json parse error: {}",
                crate::go_json::syntax_error(body, &error)
            )
        })?;
        // What an answer does not say of itself, it is taken to be.
        let (kind, version) = (answer.kind.as_str(), answer.api_version.as_str());
        if matches!(kind, "" | "TokenReview") && (version.is_empty() || version == self.api_version)
        {
            return api_types::decode_json(body).map_err(|error| error.to_string());
        }
        let short = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
        Err(format!(
            "converting ({}.{kind}) to ({}.TokenReview): unknown conversion",
            short(version),
            short(self.api_version)
        ))
    }
}

/// Upstream: DefaultShouldRetry of apiserver/pkg/util/webhook.
pub(crate) fn may_pass(error: &client::Error) -> bool {
    let reset = matches!(error, client::Error::Transport { source, .. } if source.is_reset());
    reset
        || error.is_internal_error()
        || error.is_timeout()
        || error.is_too_many_requests()
        || error.retry_after().is_some()
}

impl TokenAuthenticator for WebhookTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        let wanted = if audiences.is_empty() {
            &self.api_audiences
        } else {
            audiences
        };
        Box::pin(async move {
            if self.ttl.is_zero() {
                return self.ask(token, wanted).await;
            }
            let fetch = || async { Ok((self.ask(token, wanted).await?, self.ttl)) };
            self.cache
                .get_or_fetch(&cache_key(token, wanted), fetch)
                .await
        })
    }
}
