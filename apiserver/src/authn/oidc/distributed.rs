//! Claims that another server has (OpenID Connect Core 1.0, section 5.6.2). Upstream: claimResolver of
//! apiserver/plugin/pkg/authenticator/token/oidc.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use apimachinery::quote::quote;

use super::fetch::Fetcher;
use super::provider::{RemoteKeySet, Verifier, discover};
use super::token::{Claims, untrusted_issuer};
use crate::go_json::cannot_unmarshal;

const RETRY: Duration = Duration::from_secs(10);

/// Resolves one claim.
pub(super) struct Resolver {
    pub(super) claim: String,
    pub(super) fetcher: Fetcher,
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<String>,
    pub(super) life: CancellationToken,
    /// By issuer; an issuer's is there once its discovery document was read.
    pub(super) verifiers: Mutex<HashMap<String, Arc<OnceLock<Verifier>>>>,
}

impl Resolver {
    /// Puts the claim among the others when it is one that another server has.
    pub(super) async fn expand(&self, claims: &mut Claims, now: Timestamp) -> Result<(), String> {
        if claims.contains_key(&self.claim) {
            return Ok(());
        }
        let Some(names) = claims.get("_claim_names") else {
            return Ok(());
        };
        let Some(sources) = claims.get("_claim_sources") else {
            return Err("oidc: no claim sources".to_owned());
        };
        let source = match names.get(&self.claim) {
            None => return Ok(()),
            Some(name) => name.as_str().unwrap_or_default(),
        };
        let sources = match sources {
            Json::Object(sources) => sources,
            Json::Null => return Ok(()),
            other => {
                return Err(format!(
                    "oidc: could not parse claim sources: {}",
                    cannot_unmarshal(other, "value of type map[string]oidc.endpoint")
                ));
            }
        };
        let Some(source) = sources.get(source) else {
            return Err(format!(
                "id token _claim_names contained a source {source} missing in _claims_sources"
            ));
        };
        let text = |name: &str| source.get(name).and_then(Json::as_str).unwrap_or_default();
        let (url, bearer) = (text("endpoint"), text("access_token"));
        // Without an address it is an aggregated claim, which is not supported.
        if url.is_empty() {
            return Ok(());
        }
        let value = self.resolve(url, bearer, now).await?;
        claims.insert(self.claim.clone(), value);
        Ok(())
    }

    async fn resolve(&self, url: &str, bearer: &str, now: Timestamp) -> Result<Json, String> {
        let claim = &self.claim;
        let got = async {
            let document = self.fetcher.get(url, bearer).await?;
            if !(200..=226).contains(&document.status.as_u16()) {
                return Err(format!(
                    "error while getting distributed claim JWT: {}",
                    document.status_line()
                ));
            }
            Ok(document.text().into_owned())
        };
        let token = got.await.map_err(|error| {
            format!("while getting distributed claim {}: {error}", quote(claim))
        })?;
        let issuer = untrusted_issuer(&token).map_err(|error| {
            format!(
                "getting untrusted issuer from endpoint {url} failed for claim {}: {error}",
                quote(claim)
            )
        })?;
        let verifier = self.verifier(&issuer);
        let Some(verifier) = verifier.get() else {
            return Err(format!(
                "verifying untrusted issuer {issuer} failed: verifier not initialized for issuer: {}",
                quote(&issuer)
            ));
        };
        let mut claims = verifier
            .verify(&token, now)
            .await
            .map_err(|error| format!("verify distributed claim token: {error}"))?;
        claims.remove(claim).ok_or_else(|| {
            format!(
                "jwt returned by distributed claim endpoint {} did not contain claim: {claim}",
                quote(url)
            )
        })
    }

    /// The verifier of an issuer, which is empty for a while after the first question.
    fn verifier(&self, issuer: &str) -> Arc<OnceLock<Verifier>> {
        let mut verifiers = self.verifiers.lock();
        if let Some(known) = verifiers.get(issuer) {
            return known.clone();
        }
        let slot = Arc::new(OnceLock::new());
        verifiers.insert(issuer.to_owned(), slot.clone());
        let (set, life, fetcher) = (slot.clone(), self.life.clone(), self.fetcher.clone());
        let (issuer, audiences, algorithms) = (
            issuer.to_owned(),
            self.audiences.clone(),
            self.algorithms.clone(),
        );
        tokio::spawn(life.clone().run_until_cancelled_owned(async move {
            let url = loop {
                match discover(&fetcher, &issuer, None).await {
                    Ok(url) => break url,
                    Err(error) => tracing::error!(
                        "oidc authenticator: async token verifier for issuer: {}: init verifier failed: {error}",
                        quote(&issuer)
                    ),
                }
                tokio::time::sleep(RETRY).await;
            };
            let keys = RemoteKeySet::new(url, fetcher, None);
            let _ = set.set(Verifier {
                issuer,
                keys,
                audiences,
                algorithms,
            });
        }));
        slot
    }
}
