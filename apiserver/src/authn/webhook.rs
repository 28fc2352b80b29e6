//! Tokens that another server knows: `--authentication-token-webhook-config-file`. Upstream:
//! apiserver/plugin/pkg/authenticator/token/webhook, with the cache that pkg/kubeapiserver/authenticator puts before it.

use std::path::Path;
use std::time::Duration;

use api_types::authentication::v1::TokenReview;
use api_types::codec::Header;
use apimachinery::duration;
use apimachinery::quote::quote;
use component_base::auth::expiring_cache::ExpiringCache;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};

use super::tokens::{SUCCESS_TTL, TokenAuthenticator, cache_key};
use crate::egress::Dialer;
use crate::webhook::review::{self, ReviewWebhook};

const CACHE_LIMIT: usize = 32 * 1024;

/// Asks a webhook about tokens. Its verdicts are remembered, good ones and bad ones, but no failures to get one.
pub struct WebhookTokens {
    webhook: ReviewWebhook,
    header: Header<'static>,
    api_audiences: Vec<String>,
    ttl: Duration,
    cache: ExpiringCache<[u8; 32], Option<Authenticated>>,
}

impl WebhookTokens {
    /// The kubeconfig says where the webhook is. Nothing is asked yet.
    pub fn new(
        kubeconfig: &Path,
        version: &str,
        ttl: Duration,
        api_audiences: Vec<String>,
        via: &Dialer,
    ) -> Result<Self, component_base::Error> {
        let webhook = ReviewWebhook::from_kubeconfig(kubeconfig, review::TIMEOUT, via)?;
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
            webhook,
            header: Header {
                api_version,
                kind: "TokenReview",
            },
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
        let post = || self.webhook.post::<TokenReview>(&review, self.header);
        let answer = review::retried(review::FIRST_WAIT, post)
            .await
            .map_err(|failure| {
                tracing::error!("Failed to make webhook authenticator request: {failure}");
                AuthenticateError(failure.to_string())
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
