//! Who is asking: the authenticators of this server. Upstream: pkg/kubeapiserver/authenticator.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Secret, ServiceAccount};
use apimachinery::os_error;
use component_base::auth::combine::UnionAuthenticator;
use component_base::auth::request_header::RequestHeaderAuthenticator;
use component_base::auth::token::BearerToken;
use component_base::auth::x509::{
    CLIENT_CA, CaBundle, CertificateAuthenticator, REQUEST_HEADER_CA,
};
use component_base::auth::{Authenticator, BoxFuture, delegated};
use component_base::flags::Flags;
use component_base::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::authn::external_jwt::ExternalSigner;
use crate::authn::keys::{StaticKeys, VerificationKeys};
use crate::authn::{
    BootstrapTokens, BoundTokens, Checks, LAST_USED, LegacyTokens, ServiceAccountMetrics, Signer,
    SubjectState, TokenAuthenticator, TokenFile, TokenIssuer, TokenSubjects, Tokens, WebhookTokens,
    jws, oidc,
};
use crate::config::Config;
use crate::egress::Egress;
use crate::loopback::LateLoopback;
use crate::registry::object::Object;
use crate::registry::table::Resources;

/// The authenticators of a server.
pub struct Parts {
    pub authenticator: Arc<dyn Authenticator>,
    pub request_header: Option<RequestHeaderAuthenticator>,
    pub tokens: TokenService,
}

/// Issuing and judging tokens on behalf of others: TokenRequest, TokenReview, the issuer's documents.
#[derive(Clone)]
pub struct TokenService {
    pub judge: Arc<Tokens>,
    /// None without a signing key.
    pub issuer: Option<Arc<TokenIssuer>>,
    /// Whether the issuer is one whose documents this server serves.
    pub discovery: bool,
    /// Audiences of this server's own tokens.
    pub api_audiences: Vec<String>,
    pub max_expiration: Duration,
    /// How long tokens of pods live that live longer than asked, in seconds.
    pub extended_seconds: i64,
    /// Tokens of pods live longer than asked, so that clients that do not reload them keep working.
    pub extend_expiration: bool,
}

/// A year.
const EXTENDED_SECONDS: u64 = 24 * 365 * 60 * 60;

fn read(path: &str) -> Result<Vec<u8>, component_base::Error> {
    std::fs::read(path).map_err(|error| os_error::on_reading(Path::new(path), &error).into())
}

/// Request header, client certificate, tokens, then anonymous.
pub async fn build(
    config: &Config,
    resources: &Arc<Resources>,
    client: &LateLoopback,
    egress: &Egress,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Parts, component_base::Error> {
    let flags = &config.flags;
    let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
    let mut request_header = None;
    if let Some(file) = flags.non_empty("requestheader-client-ca-file") {
        let ca = CaBundle::from_file(REQUEST_HEADER_CA, Path::new(file), stop)?;
        let authenticator =
            RequestHeaderAuthenticator::new(ca, delegated::request_header_from_flags(flags));
        authenticators.push(Arc::new(authenticator.clone()));
        request_header = Some(authenticator);
    }
    if let Some(file) = flags.non_empty("client-ca-file") {
        let ca = CaBundle::from_file(CLIENT_CA, Path::new(file), stop)?;
        let certificates = CertificateAuthenticator::with_metrics(ca, metrics);
        let uids = config.features.enabled("AllowParsingUserUIDFromCertAuth");
        authenticators.push(Arc::new(certificates.with_uids(uids)));
    }
    let tokens = build_tokens(config, resources, client, egress, metrics, stop).await?;
    authenticators.push(Arc::new(BearerToken::new(tokens.judge.clone())));
    let authenticator = UnionAuthenticator {
        authenticators,
        anonymous: config.authentication.anonymous.clone(),
    };
    Ok(Parts {
        authenticator: Arc::new(authenticator),
        request_header,
        tokens,
    })
}

async fn build_tokens(
    config: &Config,
    resources: &Arc<Resources>,
    client: &LateLoopback,
    egress: &Egress,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<TokenService, component_base::Error> {
    let flags = &config.flags;
    let mut judges: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(path) = flags.non_empty("token-auth-file") {
        let text = String::from_utf8(read(path)?)?;
        judges.push(Arc::new(TokenFile::parse(path, &text)?));
    }
    let issuers = flags.strings("service-account-issuer").to_vec();
    let mut api_audiences = flags.strings("api-audiences").to_vec();
    if api_audiences.is_empty() {
        api_audiences.clone_from(&issuers);
    }
    let subjects = Arc::new(StoredSubjects {
        resources: resources.clone(),
        client: client.clone(),
    });
    let Signing {
        signer,
        keys,
        max_expiration,
        extended_seconds,
    } = signing(flags, metrics, stop).await?;
    if let Some(keys) = &keys {
        let checks = Checks {
            keys: keys.clone(),
            api_audiences: api_audiences.clone(),
            metrics: Arc::new(ServiceAccountMetrics::new(metrics)),
        };
        let lookup = flags
            .bool("service-account-lookup")
            .then(|| subjects.clone() as Arc<dyn TokenSubjects>);
        judges.push(Arc::new(LegacyTokens::new(checks.clone(), lookup)));
        if !issuers.is_empty() {
            judges.push(Arc::new(BoundTokens::new(
                issuers.clone(),
                checks,
                subjects.clone(),
            )));
        }
    }
    if flags.bool("enable-bootstrap-token-auth") {
        judges.push(Arc::new(BootstrapTokens::new(subjects.clone())));
    }
    // After service accounts: an issuer may be asked for its keys on account of a token that is not its.
    judges.extend(jwt_authenticators(
        config,
        &issuers,
        &api_audiences,
        egress,
        metrics,
        stop,
    )?);
    if let Some(path) = flags.non_empty("authentication-token-webhook-config-file") {
        judges.push(Arc::new(WebhookTokens::new(
            Path::new(path),
            flags.string("authentication-token-webhook-version"),
            flags.duration("authentication-token-webhook-cache-ttl"),
            api_audiences.clone(),
            &egress.control_plane,
        )?));
    }
    let issuer = match (issuers.first(), signer, keys) {
        (Some(issuer), Some(signer), Some(keys)) => {
            Some(Arc::new(TokenIssuer::new(issuer, signer, keys)))
        }
        _ => None,
    };
    let discovery = issuer.as_ref().is_some_and(|issuer| {
        let refused = check_discovery(issuer.issuer()).err();
        if let Some(error) = &refused {
            tracing::error!(
                "Could not construct pre-rendered responses for ServiceAccountIssuerDiscovery endpoints. Endpoints will not be enabled. Error: {error}"
            );
        }
        refused.is_none()
    });
    Ok(TokenService {
        judge: Arc::new(Tokens::new(judges, metrics)),
        issuer,
        discovery,
        api_audiences,
        max_expiration,
        extended_seconds,
        extend_expiration: flags.bool("service-account-extend-token-expiration"),
    })
}

/// Whether an issuer can have documents: it is an https URL without query and fragment (OpenID Connect Discovery 1.0, section 3).
/// Upstream: pkg/serviceaccount NewOpenIDMetadataProvider.
fn check_discovery(issuer: &str) -> Result<(), String> {
    let (url, fragment) = issuer.split_once('#').unwrap_or((issuer, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let problem = if !scheme.eq_ignore_ascii_case("https") {
        "must use https scheme"
    } else if !query.is_empty() {
        "may not include a query"
    } else if !fragment.is_empty() {
        "may not include a fragment"
    } else {
        return Ok(());
    };
    Err(format!("issuer URL {problem}, got: {issuer}"))
}

/// Who signs tokens of service accounts, what they are checked with, and how long they live.
struct Signing {
    signer: Option<Signer>,
    keys: Option<Arc<dyn VerificationKeys>>,
    max_expiration: Duration,
    extended_seconds: i64,
}

async fn signing(
    flags: &Flags,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Signing, component_base::Error> {
    let asked = flags.duration("service-account-max-token-expiration");
    let mut longest_extended = Duration::from_secs(EXTENDED_SECONDS);
    let (signer, keys, max_expiration): (_, Option<Arc<dyn VerificationKeys>>, _) =
        if let Some(endpoint) = flags.non_empty("service-account-signing-endpoint") {
            let signer = ExternalSigner::start(endpoint, metrics, stop).await?;
            let keys = signer.keys();
            let max_expiration = signer.max_expiration(asked)?;
            longest_extended = longest_extended.min(signer.max_token_life);
            (Some(Signer::External(signer)), Some(keys), max_expiration)
        } else {
            let (signer, keys) = key_files(flags)?;
            let keys = (!keys.is_empty()).then(|| Arc::new(StaticKeys::new(keys)) as _);
            (signer, keys, asked)
        };
    Ok(Signing {
        signer,
        keys,
        max_expiration,
        extended_seconds: i64::try_from(longest_extended.as_secs()).unwrap_or(i64::MAX),
    })
}

fn key_files(
    flags: &Flags,
) -> Result<(Option<Signer>, Vec<jws::PublicKey>), component_base::Error> {
    let mut keys = Vec::new();
    for path in flags.strings("service-account-key-file") {
        let found = jws::read_public_keys(&read(path)?)
            .map_err(|error| format!("error reading public key file {path}: {error}"))?;
        keys.extend(found);
    }
    let signer = match flags.non_empty("service-account-signing-key-file") {
        Some(path) => {
            let key = jws::PrivateKey::from_pem(&read(path)?)
                .map_err(|error| format!("service account signing key: {error}"))?;
            Some(Signer::Key(key))
        }
        None => None,
    };
    Ok((signer, keys))
}

/// The authenticators of OpenID Connect issuers, which are followed in the configuration file. Without issuers and without a file
/// there are none.
fn jwt_authenticators(
    config: &Config,
    disallowed_issuers: &[String],
    api_audiences: &[String],
    egress: &Egress,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn TokenAuthenticator>>, component_base::Error> {
    let settings = &config.authentication;
    if settings.file.is_none() && settings.configuration.jwt.is_empty() {
        return Ok(None);
    }
    let server = crate::hooks::identity::id(config);
    let common = oidc::Common {
        signing_algorithms: settings.signing_algorithms.clone(),
        disallowed_issuers: disallowed_issuers.to_vec(),
        egress: egress.clone(),
        metrics: oidc::OidcMetrics::new(metrics, &server),
        stop: stop.clone(),
    };
    let authenticators = oidc::JwtAuthenticators::start(&settings.configuration, &common)?;
    let current = Arc::new(oidc::CurrentAuthenticators::new(
        authenticators,
        api_audiences.to_vec(),
    ));
    if let Some((path, text)) = &settings.file {
        let source = oidc::reload::Source {
            path: path.clone(),
            text: text.clone(),
            configuration: settings.configuration.clone(),
        };
        oidc::reload::start(source, current.clone(), common, metrics, &server);
    }
    Ok(Some(current))
}

/// Looks up what tokens are bound to in this server's own storage.
struct StoredSubjects {
    resources: Arc<Resources>,
    /// For what is written.
    client: LateLoopback,
}

impl StoredSubjects {
    /// The object as the watch cache has it, or a fresh read when the cache does not know it (yet).
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let resource = self.resources.known("", resource)?;
        let storage = resource.storage.as_ref()?;
        let key = storage.key(namespace, name).ok()?;
        let stored = match storage.peek(&key) {
            Some(entry) => entry.object(),
            None => storage.get(&key, "").await.ok()?,
        };
        resource
            .decode_stored(&stored.value, stored.resource_version)
            .ok()
    }

    async fn state(&self, resource: &str, namespace: &str, name: &str) -> Option<SubjectState> {
        let object = self.find(resource, namespace, name).await?;
        let metadata = object.metadata();
        let account = object.get::<ServiceAccount>();
        let secrets = account.map(|account| account.secrets.iter());
        Some(SubjectState {
            uid: metadata.uid.clone(),
            deleted_at: metadata.deletion_timestamp.map(|time| time.timestamp()),
            secrets: secrets
                .into_iter()
                .flatten()
                .map(|secret| secret.name.clone())
                .collect(),
        })
    }
}

impl TokenSubjects for StoredSubjects {
    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("serviceaccounts", namespace, name))
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("pods", namespace, name))
    }

    fn node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<SubjectState>> {
        Box::pin(self.state("nodes", "", name))
    }

    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Arc<Secret>>> {
        Box::pin(async move {
            let object = self.find("secrets", namespace, name).await?;
            object
                .into_value()
                .downcast::<Secret>()
                .ok()
                .map(|secret| Arc::new(*secret))
        })
    }

    /// A write that has begun goes on when the request that caused it ends.
    fn used<'a>(&'a self, secret: &'a Secret, today: &'a str) -> BoxFuture<'a, ()> {
        let metadata = &secret.metadata;
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let patch = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "uid": metadata.uid, "labels": {LAST_USED: today}},
        });
        let client = self.client.get();
        Box::pin(async move {
            let Some(client) = client else { return };
            let written = tokio::spawn(async move {
                let patched = client.merge_patch::<Secret>(&namespace, &name, patch).await;
                if let Err(error) = patched {
                    tracing::error!(
                        "Failed to label legacy service account token {namespace}/{name} with last-used date, err: {error}"
                    );
                }
            });
            let _ = written.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_with_documents() {
        let got = |issuer: &str, problem: &str| Err(format!("issuer URL {problem}, got: {issuer}"));
        for issuer in [
            "https://a.example",
            "HTTPS://a.example/b",
            "https://a?",
            "https://a#",
        ] {
            assert_eq!(check_discovery(issuer), Ok(()), "{issuer}");
        }
        for (issuer, problem) in [
            ("http://a.example", "must use https scheme"),
            ("kubernetes", "must use https scheme"),
            ("https://a.example?b", "may not include a query"),
            ("https://a.example/#b?c", "may not include a fragment"),
            ("https://a.example/?b#c", "may not include a query"),
        ] {
            assert_eq!(check_discovery(issuer), got(issuer, problem));
        }
    }
}
