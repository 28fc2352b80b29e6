//! What is inside a bound service account token, and how it is made. Upstream: pkg/serviceaccount/claims.go.

use std::sync::Arc;

use api_types::core::v1::ServiceAccount;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::external_jwt::{ExternalJwtError, ExternalSigner};
use super::jws::{Jwk, PrivateKey, PublicKey};
use super::keys::VerificationKeys;
use super::service_account_user_name;

/// The claims of a bound token. Field order is the order in the token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub(super) aud: Audiences,
    #[serde(default)]
    pub(super) exp: i64,
    #[serde(default)]
    pub(super) iat: i64,
    #[serde(default)]
    pub(super) iss: String,
    #[serde(default)]
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io", default)]
    pub(super) kubernetes: KubernetesClaims,
    #[serde(default)]
    pub(super) nbf: i64,
    #[serde(default)]
    pub(super) sub: String,
}

/// One audience may be written as a plain string (RFC 7519).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
pub(super) struct Audiences(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Audiences {
    fn from(value: OneOrMany) -> Self {
        match value {
            OneOrMany::One(one) => Self(vec![one]),
            OneOrMany::Many(many) => Self(many),
        }
    }
}

impl From<Audiences> for Vec<String> {
    fn from(value: Audiences) -> Self {
        value.0
    }
}

impl Clone for Audiences {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KubernetesClaims {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Reference>,
    #[serde(default)]
    pub(super) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
}

/// The object whose life bounds the token's. Names and uids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindTo {
    /// To the service account alone.
    Account,
    Pod {
        name: String,
        uid: String,
        node: Option<(String, String)>,
    },
    Secret {
        name: String,
        uid: String,
    },
    Node {
        name: String,
        uid: String,
    },
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the service account token could not be signed")]
    Sign,
    #[error("{0}")]
    External(#[from] ExternalJwtError),
}

/// Who signs tokens.
pub enum Signer {
    Key(PrivateKey),
    /// Another process.
    External(ExternalSigner),
}

impl Signer {
    async fn sign(&self, claims: &[u8]) -> Result<String, IssueError> {
        match self {
            Signer::Key(key) => key.sign(claims).map_err(|_| IssueError::Sign),
            Signer::External(signer) => Ok(signer.sign(claims).await?),
        }
    }
}

/// A token and when it ends.
pub struct Issued {
    pub token: String,
    pub expires: Timestamp,
    /// The token's own ID.
    pub id: String,
}

/// Makes bound tokens, and says what others need to check them.
pub struct TokenIssuer {
    issuer: String,
    signer: Signer,
    /// Every key that may have signed a token: the current one and earlier ones.
    keys: Arc<dyn VerificationKeys>,
}

impl TokenIssuer {
    pub fn new(issuer: impl Into<String>, signer: Signer, keys: Arc<dyn VerificationKeys>) -> Self {
        Self {
            issuer: issuer.into(),
            signer,
            keys,
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Makes a token. `warn_after_seconds` is set for tokens whose life was extended beyond what was asked for.
    pub async fn issue(
        &self,
        account: &ServiceAccount,
        bind_to: &BindTo,
        expiration_seconds: i64,
        warn_after_seconds: Option<i64>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        let reference = |name: &str, uid: &str| {
            Some(Reference {
                name: name.to_owned(),
                uid: uid.to_owned(),
            })
        };
        let seconds = now.as_second();
        let mut kubernetes = KubernetesClaims {
            namespace: account.metadata.namespace.clone(),
            serviceaccount: Reference {
                name: account.metadata.name.clone(),
                uid: account.metadata.uid.clone(),
            },
            warnafter: warn_after_seconds.map(|after| seconds + after),
            ..KubernetesClaims::default()
        };
        match bind_to {
            BindTo::Account => {}
            BindTo::Pod { name, uid, node } => {
                kubernetes.pod = reference(name, uid);
                kubernetes.node = node.as_ref().and_then(|(name, uid)| reference(name, uid));
            }
            BindTo::Secret { name, uid } => kubernetes.secret = reference(name, uid),
            BindTo::Node { name, uid } => kubernetes.node = reference(name, uid),
        }
        let claims = Claims {
            aud: Audiences(audiences.to_vec()),
            exp: seconds.saturating_add(expiration_seconds),
            iat: seconds,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes,
            nbf: seconds,
            sub: service_account_user_name(&account.metadata.namespace, &account.metadata.name),
        };
        let claims_text = serde_json::to_vec(&claims).map_err(|_| IssueError::Sign)?;
        let token = self.signer.sign(&claims_text).await?;
        Ok(Issued {
            token,
            expires: Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX),
            id: claims.jti,
        })
    }

    /// The keys that others are told of, and for how many seconds there are no others. None when there is no such key.
    pub fn published_keys(&self) -> Option<(Arc<[PublicKey]>, u64)> {
        let keys = self.keys.published();
        (!keys.is_empty()).then(|| (keys, self.keys.max_age_seconds()))
    }

    /// The document at /.well-known/openid-configuration.
    pub fn openid_configuration(&self, keys: &[PublicKey], jwks_uri: &str) -> String {
        let mut algorithms: Vec<&str> = keys.iter().map(PublicKey::algorithm_name).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = OpenIdConfiguration {
            issuer: &self.issuer,
            jwks_uri,
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        };
        serde_json::to_string(&configuration).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct OpenIdConfiguration<'a> {
    issuer: &'a str,
    jwks_uri: &'a str,
    response_types_supported: [&'a str; 1],
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: Vec<&'a str>,
}

/// The document at /openid/v1/jwks.
pub fn jwks(keys: &[PublicKey]) -> String {
    #[derive(Serialize)]
    struct KeySet {
        keys: Vec<Jwk>,
    }
    let keys = keys.iter().filter_map(PublicKey::to_jwk).collect();
    serde_json::to_string(&KeySet { keys }).unwrap_or_default()
}
