//! Service account tokens that another process signs, over a Unix socket. Upstream: pkg/serviceaccount/externaljwt, KEP-740.
//!
//! The signer knows the keys: it signs ([`ExternalSigner::sign`]), says which keys may have signed ([`KeyCache`]), and at the start
//! how long its tokens may live.

mod keys;
mod metrics;
mod service;

pub use keys::KeyCache;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::duration;
use apimachinery::quote::quote;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use component_base::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use self::metrics::ExternalJwtMetrics;
use self::service::{
    METADATA, MetadataRequest, MetadataResponse, SIGN, Service, SignJwtRequest, SignJwtResponse,
};
use super::keys::VerificationKeys as _;
use super::oidc::decode_base64;
use crate::go_json;
use crate::grpc::CallError;

/// No token lives shorter, in seconds.
const MIN_TOKEN_LIFE: i64 = 600;
const KEY_SYNC_TIMEOUT: Duration = Duration::from_secs(60);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const SIGN_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_KEY_ID: usize = 1024;

/// What goes wrong between this server and a signer. The texts are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum ExternalJwtError {
    #[error("{context}: {source}")]
    Call {
        context: &'static str,
        source: CallError,
    },
    /// The answer makes no sense.
    #[error("{0}")]
    Answer(String),
}

impl ExternalJwtError {
    fn calling(context: &'static str) -> impl FnOnce(CallError) -> ExternalJwtError {
        move |source| ExternalJwtError::Call { context, source }
    }

    /// Its label in metrics.
    fn code(&self) -> &'static str {
        match self {
            ExternalJwtError::Call { source, .. } => source.code,
            ExternalJwtError::Answer(_) => "unknown-non-grpc",
        }
    }
}

/// A signer that was reached.
pub struct ExternalSigner {
    service: Service,
    keys: Arc<KeyCache>,
    /// The longest life of its tokens.
    pub max_token_life: Duration,
}

impl ExternalSigner {
    /// Asks for keys and limits, and keeps the keys up to date until `stop`. Waits for a signer that is not there yet.
    ///
    /// # Errors
    /// When it does not answer within a minute, or with what cannot be used.
    pub async fn start(
        endpoint: &str,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Result<ExternalSigner, component_base::Error> {
        let setting_up = |why: String| format!("while setting up external-jwt-signer: {why}");
        let socket = match endpoint.strip_prefix('@') {
            // The kernel's abstract namespace.
            Some(name) => PathBuf::from(format!("\0{name}")),
            None => PathBuf::from(endpoint),
        };
        let service = Service::new(socket, Arc::new(ExternalJwtMetrics::new(metrics)));
        let keys = Arc::new(KeyCache::new(service.clone()));
        keys.sync(KEY_SYNC_TIMEOUT).await.map_err(|error| {
            setting_up(format!(
                "while initially filling key cache: while performing initial cache fill: {error}"
            ))
        })?;
        let metadata: MetadataResponse = service
            .call(METADATA, MetadataRequest {}, METADATA_TIMEOUT)
            .await
            .map_err(|error| setting_up(error.to_string()))?;
        let seconds = metadata.max_token_expiration_seconds;
        let life = u64::try_from(seconds)
            .ok()
            .filter(|_| seconds >= MIN_TOKEN_LIFE)
            .map(Duration::from_secs)
            .ok_or_else(|| {
                format!(
                    "max token life supported by external-jwt-signer ({seconds}s) is less than acceptable (min {MIN_TOKEN_LIFE}s)"
                )
            })?;
        tokio::spawn(keys::keep_up(keys.clone(), KEY_SYNC_TIMEOUT, stop.clone()));
        Ok(ExternalSigner {
            service,
            keys,
            max_token_life: life,
        })
    }

    pub fn keys(&self) -> Arc<KeyCache> {
        self.keys.clone()
    }

    /// How long tokens may live: as asked by `--service-account-max-token-expiration`, or as long as the signer can.
    ///
    /// # Errors
    /// When more is asked than the signer can.
    pub fn max_expiration(&self, asked: Duration) -> Result<Duration, component_base::Error> {
        let most = self.max_token_life;
        if asked.is_zero() {
            return Ok(most);
        }
        if asked > most {
            let shown = |time: Duration| {
                duration::format(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
            };
            let (asked, most) = (shown(asked), shown(most));
            return Err(format!("service-account-max-token-expiration cannot be set longer than the token expiration supported by service-account-signing-endpoint: {asked} > {most}").into());
        }
        Ok(asked)
    }

    /// A token with these claims, which are JSON.
    pub async fn sign(&self, claims: &[u8]) -> Result<String, ExternalJwtError> {
        let signed = self.sign_claims(claims).await;
        let code = signed.as_ref().err().map_or("OK", ExternalJwtError::code);
        self.service.metrics.signed(code);
        signed
    }

    async fn sign_claims(&self, claims: &[u8]) -> Result<String, ExternalJwtError> {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let request = SignJwtRequest {
            claims: claims.clone(),
        };
        let response: SignJwtResponse = self
            .service
            .call(SIGN, request, SIGN_TIMEOUT)
            .await
            .map_err(ExternalJwtError::calling("while signing jwt"))?;
        self.check_header(&response.header)
            .await
            .map_err(|why| ExternalJwtError::Answer(format!("while validating header: {why}")))?;
        if response.signature.is_empty() {
            let text = "empty signature returned".to_owned();
            return Err(ExternalJwtError::Answer(text));
        }
        Ok(format!(
            "{}.{claims}.{}",
            response.header, response.signature
        ))
    }

    /// What may be in front of a token. Others can check only what they are told the key of.
    async fn check_header(&self, header: &str) -> Result<(), String> {
        let (key_id, algorithm) = read_header(header)?;
        if !["RS256", "ES256", "ES384", "ES512"].contains(&&*algorithm) {
            return Err(format!("bad signing algorithm {}", quote(&algorithm)));
        }
        let keys = self.keys.find(&key_id).await;
        if keys.iter().any(|key| key.excluded_from_discovery()) {
            return Err(format!(
                "key used for signing JWT (kid: {key_id}) is excluded from OIDC discovery docs"
            ));
        }
        Ok(())
    }
}

/// Key ID and algorithm of a header, which has nothing else.
fn read_header(header: &str) -> Result<(String, String), String> {
    let json = decode_base64(header).map_err(|why| format!("while unwrapping header: {why}"))?;
    let parsing = |why: String| format!("while parsing header JSON: {why}");
    let mut members = go_json::parse_object(&json).map_err(parsing)?;
    let mut take = |name: &str| match members.remove(name) {
        None | Some(serde_json::Value::Null) => Ok(String::new()),
        Some(serde_json::Value::String(text)) => Ok(text),
        Some(other) => Err(parsing(format!("{name} is no text: {other}"))),
    };
    let (algorithm, key_id, kind) = (take("alg")?, take("kid")?, take("typ")?);
    if let Some(unknown) = members.keys().next() {
        return Err(parsing(format!("json: unknown field {}", quote(unknown))));
    }
    if kind != "JWT" {
        return Err("bad type".to_owned());
    }
    if key_id.is_empty() {
        return Err("key id missing".to_owned());
    }
    if key_id.len() > MAX_KEY_ID {
        return Err("key id longer than 1 kb".to_owned());
    }
    Ok((key_id, algorithm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let read = |json: &str| read_header(&URL_SAFE_NO_PAD.encode(json));
        assert_eq!(
            read(r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#),
            Ok(("k".to_owned(), "ES256".to_owned()))
        );
        let long = format!(
            r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#,
            "k".repeat(1025)
        );
        for (json, why) in [
            (r#"{"alg":"ES256","kid":"k"}"#, "bad type"),
            (r#"{"alg":"ES256","typ":"JWT"}"#, "key id missing"),
            (&*long, "key id longer than 1 kb"),
            (
                r#"{"alg":"ES256","kid":"k","typ":"JWT","jku":"https://x"}"#,
                "while parsing header JSON: json: unknown field \"jku\"",
            ),
        ] {
            assert_eq!(read(json), Err(why.to_owned()));
        }
        assert!(read("x").is_err_and(|why| why.starts_with("while parsing header JSON: ")));
        assert!(read_header("*").is_err_and(|why| why.starts_with("while unwrapping header: ")));
    }
}
