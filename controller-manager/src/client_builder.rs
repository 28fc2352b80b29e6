//! Clients by controller identity. Upstream: k8s.io/controller-manager/pkg/clientbuilder.
//!
//! Without `--use-service-account-credentials` all act as the daemon and differ in their User-Agent only. With it each acts as a
//! ServiceAccount of kube-system, which is made if it is missing, with a token from TokenRequest that is renewed when a fifth of
//! its life is left, or when the server refuses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::authentication::v1::{TokenRequest, TokenRequestSpec};
use api_types::core::v1::{Namespace, ServiceAccount};
use api_types::meta::v1::ObjectMeta;
use client::{Client, ClientConfig, ConfigError, TokenSource};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::controllers::BuildError;

const NAMESPACE: &str = "kube-system";
/// Asked for; the server may give another lifetime.
const TOKEN_SECONDS: i64 = 3600;
/// A token counts as good for at least this long, whatever the clocks say.
const LEAST_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Tries to get a token, with doubling waits between.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Makes clients. Cheap to clone.
#[derive(Clone)]
pub struct ClientBuilder {
    config: ClientConfig,
    root: Client,
    service_accounts: bool,
    sources: Arc<Mutex<HashMap<String, Arc<Tokens>>>>,
}

impl ClientBuilder {
    /// `config` is the daemon's own identity.
    pub fn new(config: ClientConfig, service_accounts: bool) -> Result<Self, client::Error> {
        // A few requests per controller, once an hour: no rate limit, or the daemon would wait seconds for it when it starts.
        let root = Client::new(config.clone())?.without_rate_limit();
        Ok(Self {
            config,
            root,
            service_accounts,
            sources: Arc::default(),
        })
    }

    /// A client that acts as the daemon, with `name` in its User-Agent.
    pub fn root_client(&self, name: &str) -> Result<Client, BuildError> {
        let config = self
            .config
            .clone()
            .with_user_agent(format!("{}/{name}", self.config.user_agent));
        Client::new(config).map_err(|source| BuildError::Client {
            name: name.to_owned(),
            source,
        })
    }

    /// A client for the controller that acts as the ServiceAccount `name`.
    pub async fn client(&self, name: &str) -> Result<Client, BuildError> {
        if !self.service_accounts {
            return self.root_client(name);
        }
        let failed = |source| BuildError::Client {
            name: name.to_owned(),
            source,
        };
        ensure_service_account(&self.root, name)
            .await
            .map_err(failed)?;
        let source = self
            .sources
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Tokens::new(self.root.clone(), name)))
            .clone();
        let agent = format!(
            "{}/system:serviceaccount:{NAMESPACE}:{name}",
            self.config.user_agent
        );
        let config = self
            .config
            .anonymous()
            .with_user_agent(agent)
            .with_token_source(source);
        Client::new(config).map_err(failed)
    }

    /// A client for discovery as the ServiceAccount `name`: many requests at once, seldom.
    pub async fn discovery_client(&self, name: &str) -> Result<Client, BuildError> {
        Ok(self.client(name).await?.with_rate_limit(20.0, 200))
    }
}

async fn ensure_service_account(root: &Client, name: &str) -> Result<(), client::Error> {
    let accounts = root.namespaced::<ServiceAccount>(NAMESPACE);
    match accounts.get(name).await {
        Err(error) if error.is_not_found() => {}
        result => return result.map(drop),
    }
    // We may not be allowed to make namespaces: then the account's creation tells.
    if root
        .api::<Namespace>()
        .get(NAMESPACE)
        .await
        .is_err_and(|error| error.is_not_found())
    {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: NAMESPACE.to_owned(),
                ..Default::default()
            },
            ..Default::default()
        };
        if let Err(error) = root.api().create(&namespace).await
            && !error.is_already_exists()
        {
            tracing::warn!(%error, "create non-exist namespace {NAMESPACE} failed");
        }
    }
    let metadata = ObjectMeta {
        name: name.to_owned(),
        namespace: NAMESPACE.to_owned(),
        ..Default::default()
    };
    match accounts
        .create(&ServiceAccount {
            metadata,
            ..Default::default()
        })
        .await
    {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

/// The tokens of one ServiceAccount.
struct Tokens {
    root: Client,
    name: String,
    /// Held while a token is fetched, so that it is fetched once.
    cached: tokio::sync::Mutex<Option<(String, Instant)>>,
    refused: Mutex<Option<String>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("service_account", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    fn new(root: Client, name: &str) -> Self {
        Self {
            root,
            name: name.to_owned(),
            cached: tokio::sync::Mutex::new(None),
            refused: Mutex::new(None),
        }
    }

    async fn fetch(&self) -> Result<(String, Instant), String> {
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            match self.request().await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    tracing::warn!(service_account = self.name, %error, "get token failed");
                    last = error.to_string();
                }
            }
        }
        Err(format!(
            "failed to get token for {NAMESPACE}/{}: {last}",
            self.name
        ))
    }

    async fn request(&self) -> Result<(String, Instant), client::Error> {
        ensure_service_account(&self.root, &self.name).await?;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..Default::default()
            },
            ..Default::default()
        };
        let accounts = self.root.namespaced::<ServiceAccount>(NAMESPACE);
        let answer: TokenRequest = accounts
            .create_subresource(&self.name, "token", &request)
            .await?;
        let left = answer
            .status
            .expiration_timestamp
            .timestamp()
            .duration_since(jiff::Timestamp::now());
        let lifetime = if left.is_negative() {
            LEAST_LIFETIME
        } else {
            left.unsigned_abs().max(LEAST_LIFETIME)
        };
        Ok((answer.status.token, Instant::now() + lifetime * 4 / 5))
    }
}

impl TokenSource for Tokens {
    fn token(&self) -> BoxFuture<'_, Result<String, ConfigError>> {
        Box::pin(async move {
            let mut cached = self.cached.lock().await;
            let refused = self.refused.lock().take();
            if let Some((token, good_until)) = &*cached
                && Instant::now() < *good_until
                && refused.as_ref() != Some(token)
            {
                return Ok(token.clone());
            }
            let fresh = self.fetch().await.map_err(ConfigError::Exec)?;
            let token = fresh.0.clone();
            *cached = Some(fresh);
            Ok(token)
        })
    }

    fn refused(&self, token: &str) {
        *self.refused.lock() = Some(token.to_owned());
    }
}
