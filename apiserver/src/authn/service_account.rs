//! Judges service account tokens: bound ones (issued by the token subresource) and legacy ones (stored in Secrets).
//! Upstream: pkg/serviceaccount/{jwt,claims,legacy}.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Secret;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};
use jiff::Timestamp;
use serde::Deserialize;

use super::jws::{PublicKey, Unverified};
use super::service_account_claims::{Claims, Reference};
use super::tokens::TokenAuthenticator;
use super::{service_account_groups, service_account_user_name};

/// Clocks of several servers may differ by this much, in seconds. Upstream: go-jose's DefaultLeeway.
const LEEWAY_SECONDS: i64 = 60;
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// What is known of an object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectState {
    pub uid: String,
    pub deleted_at: Option<Timestamp>,
}

/// Where the objects that tokens are bound to are looked up. None: there is no such object.
pub trait TokenSubjects: Send + Sync {
    fn service_account<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<SubjectState>>;
    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<SubjectState>>;
    fn node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<SubjectState>>;
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Option<Arc<Secret>>>;
}

/// Judges bound tokens.
pub struct BoundTokens {
    /// The first is the one that new tokens carry.
    issuers: Vec<String>,
    keys: Vec<PublicKey>,
    /// Audiences of this API server: what a token must be for when the request does not say otherwise.
    api_audiences: Vec<String>,
    /// None with --service-account-lookup=false: then a token outlives what it is bound to.
    subjects: Option<Arc<dyn TokenSubjects>>,
}

impl BoundTokens {
    pub fn new(
        issuers: Vec<String>,
        keys: Vec<PublicKey>,
        api_audiences: Vec<String>,
        subjects: Option<Arc<dyn TokenSubjects>>,
    ) -> Self {
        Self {
            issuers,
            keys,
            api_audiences,
            subjects,
        }
    }

    async fn judge(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let Ok(parsed) = Unverified::parse(token) else {
            return Ok(None);
        };
        let Ok(claims) = serde_json::from_slice::<Claims>(&parsed.claims) else {
            return Ok(None);
        };
        if !self.issuers.contains(&claims.iss) {
            return Ok(None);
        }
        parsed
            .verify(&self.keys)
            .map_err(|error| failed(error.to_string()))?;
        let wanted = if audiences.is_empty() {
            &self.api_audiences
        } else {
            audiences
        };
        let granted: Vec<String> = claims
            .aud
            .0
            .iter()
            .filter(|audience| wanted.contains(audience))
            .cloned()
            .collect();
        if granted.is_empty() {
            return Err(failed(format!(
                "token audiences {:?} is invalid for the target audiences {wanted:?}",
                claims.aud.0
            )));
        }
        check_times(&claims, now)?;
        if let Some(subjects) = &self.subjects {
            check_subjects(subjects.as_ref(), &claims, now).await?;
        }
        Ok(Some(Authenticated {
            user: user(&claims),
            audiences: granted,
        }))
    }
}

impl TokenAuthenticator for BoundTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(self.judge(token, audiences, Timestamp::now()))
    }
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), AuthenticateError> {
    let now = now.as_second();
    if claims.exp != 0 && now.saturating_sub(LEEWAY_SECONDS) > claims.exp {
        return Err(failed("service account token has expired"));
    }
    if claims.nbf != 0 && now.saturating_add(LEEWAY_SECONDS) < claims.nbf {
        return Err(failed("service account token is not valid yet"));
    }
    if claims.iat != 0 && now.saturating_add(LEEWAY_SECONDS) < claims.iat {
        return Err(failed("service account token is issued in the future"));
    }
    Ok(())
}

async fn check_subjects(
    subjects: &dyn TokenSubjects,
    claims: &Claims,
    now: Timestamp,
) -> Result<(), AuthenticateError> {
    let kubernetes = &claims.kubernetes;
    let (namespace, account) = (&kubernetes.namespace, &kubernetes.serviceaccount);
    let invalidated = || failed("service account token has been invalidated");
    let deleted = |state: &SubjectState| {
        state
            .deleted_at
            .is_some_and(|at| at.as_second() < now.as_second().saturating_sub(LEEWAY_SECONDS))
    };
    let bound = |kind: &str,
                 state: Option<SubjectState>,
                 reference: &Reference|
     -> Result<(), AuthenticateError> {
        let state = state.ok_or_else(invalidated)?;
        if state.uid != reference.uid {
            return Err(failed(format!(
                "{kind} UID ({}) does not match service account {} ref claim ({})",
                state.uid,
                kind.to_lowercase(),
                reference.uid
            )));
        }
        if deleted(&state) {
            Err(invalidated())
        } else {
            Ok(())
        }
    };

    let state = subjects
        .service_account(namespace, &account.name)
        .await
        .ok_or_else(|| failed(format!("serviceaccounts {:?} not found", account.name)))?;
    if state.uid != account.uid {
        return Err(failed(format!(
            "service account UID ({}) does not match claim ({})",
            state.uid, account.uid
        )));
    }
    if deleted(&state) {
        return Err(failed(format!(
            "service account {namespace}/{} has been deleted",
            account.name
        )));
    }
    if let Some(reference) = &kubernetes.secret {
        let secret = subjects.secret(namespace, &reference.name).await;
        let state = secret.map(|secret| SubjectState {
            uid: secret.metadata.uid.clone(),
            deleted_at: secret
                .metadata
                .deletion_timestamp
                .map(|time| time.timestamp()),
        });
        bound("secret", state, reference)?;
    }
    match (&kubernetes.pod, &kubernetes.node) {
        // A pod's token names the pod's node too, for information only.
        (Some(reference), _) => bound(
            "pod",
            subjects.pod(namespace, &reference.name).await,
            reference,
        )?,
        (None, Some(reference)) => bound("node", subjects.node(&reference.name).await, reference)?,
        (None, None) => {}
    }
    Ok(())
}

fn user(claims: &Claims) -> UserInfo {
    let kubernetes = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        extra.insert(
            format!("authentication.kubernetes.io/{key}"),
            vec![value.to_owned()],
        );
    };
    if let Some(pod) = &kubernetes.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &kubernetes.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    UserInfo {
        name: service_account_user_name(&kubernetes.namespace, &kubernetes.serviceaccount.name),
        uid: kubernetes.serviceaccount.uid.clone(),
        groups: service_account_groups(&kubernetes.namespace),
        extra,
    }
}

/// Judges tokens that controllers put into Secrets of type kubernetes.io/service-account-token.
pub struct LegacyTokens {
    keys: Vec<PublicKey>,
    subjects: Option<Arc<dyn TokenSubjects>>,
    /// A legacy token is for every audience of this API server.
    api_audiences: Vec<String>,
}

#[derive(Deserialize)]
struct LegacyClaims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    uid: String,
}

impl LegacyTokens {
    pub fn new(
        keys: Vec<PublicKey>,
        api_audiences: Vec<String>,
        subjects: Option<Arc<dyn TokenSubjects>>,
    ) -> Self {
        Self {
            keys,
            subjects,
            api_audiences,
        }
    }

    async fn judge(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let Ok(parsed) = Unverified::parse(token) else {
            return Ok(None);
        };
        let Ok(claims) = serde_json::from_slice::<LegacyClaims>(&parsed.claims) else {
            return Ok(None);
        };
        if claims.iss != LEGACY_ISSUER {
            return Ok(None);
        }
        parsed
            .verify(&self.keys)
            .map_err(|error| failed(error.to_string()))?;
        for (claim, value) in [
            ("sub", &claims.sub),
            ("namespace", &claims.namespace),
            ("secretName", &claims.secret),
            ("serviceAccountName", &claims.account),
            ("serviceAccountUID", &claims.uid),
        ] {
            if value.is_empty() {
                return Err(failed(format!("{claim} claim is missing")));
            }
        }
        let name = service_account_user_name(&claims.namespace, &claims.account);
        if claims.sub != name {
            return Err(failed("sub claim is invalid"));
        }
        if let Some(subjects) = &self.subjects {
            let secret = subjects
                .secret(&claims.namespace, &claims.secret)
                .await
                .ok_or_else(|| failed("service account token has been invalidated"))?;
            let stored = secret
                .data
                .get("token")
                .map(|data| data.0.as_slice())
                .unwrap_or_default();
            if secret.metadata.deletion_timestamp.is_some()
                || aws_lc_rs::constant_time::verify_slices_are_equal(stored, token.as_bytes())
                    .is_err()
            {
                return Err(failed("service account token has been invalidated"));
            }
            let account = subjects
                .service_account(&claims.namespace, &claims.account)
                .await
                .ok_or_else(|| failed(format!("serviceaccounts {:?} not found", claims.account)))?;
            if account.uid != claims.uid {
                return Err(failed(format!(
                    "service account UID ({}) does not match claim ({})",
                    account.uid, claims.uid
                )));
            }
            if account.deleted_at.is_some() {
                return Err(failed(format!(
                    "service account {}/{} has been deleted",
                    claims.namespace, claims.account
                )));
            }
        }
        let granted: Vec<String> = if audiences.is_empty() {
            self.api_audiences.clone()
        } else {
            audiences
                .iter()
                .filter(|audience| self.api_audiences.contains(audience))
                .cloned()
                .collect()
        };
        if granted.is_empty() && !audiences.is_empty() {
            return Err(failed(format!(
                "token audiences {:?} is invalid for the target audiences {audiences:?}",
                self.api_audiences
            )));
        }
        let user = UserInfo {
            name,
            uid: claims.uid,
            groups: service_account_groups(&claims.namespace),
            extra: BTreeMap::new(),
        };
        Ok(Some(Authenticated {
            user,
            audiences: granted,
        }))
    }
}

impl TokenAuthenticator for LegacyTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(self.judge(token, audiences))
    }
}

fn failed(text: impl Into<String>) -> AuthenticateError {
    AuthenticateError(text.into())
}

#[cfg(test)]
mod tests;
