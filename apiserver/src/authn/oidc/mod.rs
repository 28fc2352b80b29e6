//! Tokens of OpenID Connect issuers. Upstream: apiserver/plugin/pkg/authenticator/token/oidc and
//! pkg/kubeapiserver/authenticator/config.go.
//!
//! A token is judged by the one authenticator whose issuer it names. Discovery documents are fetched beside the requests until they
//! are there; keys are fetched when a token comes that no known key has signed. The set of authenticators can be replaced while it is
//! in use: [`reload`] does when the configuration file changes.

mod distributed;
mod fetch;
mod keys;
mod metrics;
mod provider;
pub mod reload;
mod token;
mod user;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api_types::apiserver_config::v1::{AuthenticationConfiguration, Issuer, JWTAuthenticator};
use apimachinery::field::{self, Path};
use apimachinery::quote::quote;
use arc_swap::ArcSwap;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use metrics::OidcMetrics;
pub(super) use token::decode_base64;

use super::configuration::{Expressions, compile_authenticator};
use super::tokens::TokenAuthenticator;
use crate::apis::gates;
use crate::config::reload::hash;
use crate::egress::{Dialer, Egress, Unnamed};
use distributed::Resolver;
use fetch::Fetcher;
use provider::{RemoteKeySet, Verifier, Watched, discover};
use token::untrusted_issuer;

/// How often an issuer is asked until it answers.
const RETRY: Duration = Duration::from_secs(10);

/// What all authenticators have in common.
#[derive(Clone)]
pub struct Common {
    pub signing_algorithms: Vec<String>,
    /// Issuers of service account tokens, which no JWT authenticator may have.
    pub disallowed_issuers: Vec<String>,
    pub egress: Egress,
    pub metrics: OidcMetrics,
    pub stop: CancellationToken,
}

/// The way out that an issuer is reached by: straight, unless it names an egress selector, which has to be there.
fn way_to(issuer: &Issuer, egress: &Egress) -> Result<Dialer, String> {
    let selector = issuer.egress_selector_type.as_str();
    if selector.is_empty() {
        return Ok(Dialer::default());
    }
    let shown = quote(selector);
    egress.named(selector).map_err(|why| match why {
        Unnamed::NoSelectors => {
            format!("oidc: egress lookup required with egress selector type {shown}")
        }
        Unnamed::NoSelection => format!("oidc: egress lookup for {shown} is not configured"),
    })
}

/// Judges the tokens of one issuer.
struct Authenticator {
    config: JWTAuthenticator,
    issuer_hash: String,
    expressions: Expressions,
    /// There once the issuer has answered.
    verifier: OnceLock<Verifier>,
    /// Why it has not.
    failure: Mutex<String>,
    resolver: Option<Resolver>,
    metrics: OidcMetrics,
}

impl Authenticator {
    async fn judge(&self, token: &str, now: Timestamp) -> Result<Authenticated, String> {
        let verifier = self
            .verifier
            .get()
            .ok_or("oidc: authenticator not initialized")?;
        let mut claims = verifier
            .verify(token, now)
            .await
            .map_err(|error| format!("oidc: verify token: {error}"))?;
        if let Some(resolver) = &self.resolver {
            resolver
                .expand(&mut claims, now)
                .await
                .map_err(|error| format!("oidc: could not expand distributed claims: {error}"))?;
        }
        Ok(Authenticated {
            user: user::user_of(&self.config, &self.expressions, &claims)?,
            ..Authenticated::default()
        })
    }

    fn health(&self) -> Result<(), String> {
        if self.verifier.get().is_some() {
            return Ok(());
        }
        Err(format!(
            "oidc: authenticator for issuer {} is not healthy: {}",
            quote(&self.config.issuer.url),
            self.failure.lock()
        ))
    }

    /// Asks the issuer until it has answered.
    async fn initialize(
        self: Arc<Self>,
        fetcher: Fetcher,
        common: Common,
        life: CancellationToken,
    ) {
        let issuer = &self.config.issuer;
        let discovery_url = issuer
            .discovery_url
            .as_deref()
            .filter(|url| !url.is_empty());
        let url = loop {
            match discover(&fetcher, &issuer.url, discovery_url).await {
                Ok(url) => break url,
                Err(error) => {
                    tracing::error!("oidc authenticator: initializing plugin: {error}");
                    *self.failure.lock() = error;
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        let watched =
            gates::enabled("StructuredAuthenticationConfigurationJWKSMetrics").then(|| Watched {
                metrics: self.metrics.clone(),
                issuer_hash: self.issuer_hash.clone(),
                life,
            });
        let _ = self.verifier.set(Verifier {
            issuer: issuer.url.clone(),
            keys: RemoteKeySet::new(url, fetcher, watched),
            audiences: issuer.audiences.clone(),
            algorithms: common.signing_algorithms,
        });
    }
}

/// The authenticators of one configuration.
pub struct JwtAuthenticators {
    by_issuer: HashMap<String, Arc<Authenticator>>,
    /// Ends what runs for them.
    life: CancellationToken,
}

impl JwtAuthenticators {
    /// Starts to ask the issuers. Must be called inside a runtime.
    pub fn start(
        configuration: &AuthenticationConfiguration,
        common: &Common,
    ) -> Result<Self, String> {
        let life = common.stop.child_token();
        let mut starting = Vec::new();
        for config in &configuration.jwt {
            let (expressions, errors) =
                compile_authenticator(config, &Path::nil(), &common.disallowed_issuers);
            if let Some(errors) = errors.aggregate() {
                return Err(errors);
            }
            let via = way_to(&config.issuer, &common.egress)?;
            starting.push((config, expressions, via));
        }
        let mut by_issuer = HashMap::new();
        for (config, expressions, via) in starting {
            let issuer = &config.issuer;
            if issuer.certificate_authority.is_empty() {
                tracing::info!("OIDC: No x509 certificates provided, will use host's root CA set");
            }
            let fetcher = Fetcher::new(&issuer.certificate_authority, via);
            let groups = &config.claim_mappings.groups.claim;
            let resolver = (!groups.is_empty()).then(|| Resolver {
                claim: groups.clone(),
                fetcher: fetcher.clone(),
                audiences: issuer.audiences.clone(),
                algorithms: common.signing_algorithms.clone(),
                life: life.clone(),
                verifiers: Mutex::default(),
            });
            let failure = format!(
                "oidc: authenticator for issuer {} is not initialized",
                quote(&issuer.url)
            );
            let authenticator = Arc::new(Authenticator {
                issuer_hash: hash(issuer.url.as_bytes()),
                config: config.clone(),
                expressions,
                verifier: OnceLock::new(),
                failure: Mutex::new(failure),
                resolver,
                metrics: common.metrics.clone(),
            });
            by_issuer.insert(issuer.url.clone(), authenticator.clone());
            let work = authenticator.initialize(fetcher, common.clone(), life.clone());
            tokio::spawn(life.clone().run_until_cancelled_owned(work));
        }
        Ok(Self { by_issuer, life })
    }

    async fn judge(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        if self.by_issuer.is_empty() {
            return Ok(None);
        }
        let found = untrusted_issuer(token).ok();
        let Some(authenticator) = found.and_then(|issuer| self.by_issuer.get(&issuer)) else {
            return Ok(None);
        };
        let started = Instant::now();
        let result = authenticator.judge(token, now).await;
        authenticator.metrics.authenticated(
            &authenticator.issuer_hash,
            result.is_ok(),
            started.elapsed(),
        );
        result.map(Some).map_err(AuthenticateError)
    }

    /// Whether all issuers have answered.
    fn health(&self) -> Result<(), String> {
        let failures = self.by_issuer.values().filter_map(|one| one.health().err());
        field::aggregate(failures).map_or(Ok(()), Err)
    }
}

/// The authenticators that count now.
pub struct CurrentAuthenticators {
    current: ArcSwap<JwtAuthenticators>,
    api_audiences: Vec<String>,
}

impl CurrentAuthenticators {
    /// The audiences are this server's own: issuers' tokens are for no others.
    pub fn new(authenticators: JwtAuthenticators, api_audiences: Vec<String>) -> Self {
        Self {
            current: ArcSwap::from_pointee(authenticators),
            api_audiences,
        }
    }
}

impl TokenAuthenticator for CurrentAuthenticators {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        let ours = |audience: &String| self.api_audiences.contains(audience);
        if !audiences.is_empty() && !audiences.iter().any(ours) {
            return Box::pin(std::future::ready(Ok(None)));
        }
        let current = self.current.load_full();
        Box::pin(async move { current.judge(token, Timestamp::now()).await })
    }
}
