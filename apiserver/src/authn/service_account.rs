//! Judges bound service account tokens, which the token subresource issues. Upstream: pkg/serviceaccount/{jwt,claims}.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Secret;
use apimachinery::quote::quote_list;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, Notes, UserInfo};
use jiff::Timestamp;

use super::jws::Unverified;
use super::keys::VerificationKeys;
use super::metrics::ServiceAccountMetrics;
use super::service_account_claims::{Claims, Reference};
use super::tokens::TokenAuthenticator;
use super::{service_account_groups, service_account_user_name};

/// Clocks of several servers may differ by this much, in seconds. Upstream: go-jose's DefaultLeeway.
const LEEWAY_SECONDS: i64 = 60;

/// What is known of an object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectState {
    pub uid: String,
    pub deleted_at: Option<Timestamp>,
    /// Secrets that a service account names.
    pub secrets: Vec<String>,
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
    /// Writes down that the token of a Secret was used today.
    fn used<'a>(&'a self, secret: &'a Secret, today: &'a str) -> BoxFuture<'a, ()>;
}

/// What tokens of service accounts are checked with, of whatever form they are.
#[derive(Clone)]
pub struct Checks {
    pub keys: Arc<dyn VerificationKeys>,
    /// Audiences of this API server: what a token must be for when the request does not say otherwise.
    pub api_audiences: Vec<String>,
    pub metrics: Arc<ServiceAccountMetrics>,
}

impl Checks {
    /// Checks the signature.
    pub(super) async fn verify(&self, token: &Unverified<'_>) -> Result<(), AuthenticateError> {
        let keys = self.keys.find(token.key_id()).await;
        token
            .verify(&keys)
            .map_err(|error| failed(error.to_string()))
    }

    /// Those audiences of a token that are among the asked ones. One that is for none is for every audience of this API server.
    pub(super) fn audiences(
        &self,
        claimed: &[String],
        subject: &str,
        asked: &[String],
        notes: &mut Notes,
    ) -> Result<Vec<String>, AuthenticateError> {
        let claimed = if claimed.is_empty() {
            let note = ("authentication.k8s.io/legacy-token", subject.to_owned());
            notes.annotations.push(note);
            self.metrics.legacy.inc();
            &self.api_audiences
        } else {
            claimed
        };
        let asked = if asked.is_empty() {
            &self.api_audiences
        } else {
            asked
        };
        let granted = claimed.iter().filter(|audience| asked.contains(audience));
        let granted: Vec<String> = granted.cloned().collect();
        if granted.is_empty() && !self.api_audiences.is_empty() {
            return Err(failed(format!(
                "token audiences {} is invalid for the target audiences {}",
                quote_list(claimed),
                quote_list(asked)
            )));
        }
        Ok(granted)
    }
}

/// Judges bound tokens.
pub struct BoundTokens {
    /// The first is the one that new tokens carry.
    issuers: Vec<String>,
    checks: Checks,
    subjects: Arc<dyn TokenSubjects>,
}

impl BoundTokens {
    pub fn new(issuers: Vec<String>, checks: Checks, subjects: Arc<dyn TokenSubjects>) -> Self {
        Self {
            issuers,
            checks,
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
        self.checks.verify(&parsed).await?;
        let mut notes = Notes::default();
        let granted = self
            .checks
            .audiences(&claims.aud.0, &claims.sub, audiences, &mut notes)?;
        check_times(&claims, now)?;
        check_subjects(self.subjects.as_ref(), &claims, now).await?;
        self.check_staleness(&claims, now, &mut notes);
        Ok(Some(Authenticated {
            user: user(&claims),
            audiences: granted,
            notes,
        }))
    }

    /// A pod's token lives longer than the kubelet asked for; whoever still uses it after that time does not reload it.
    fn check_staleness(&self, claims: &Claims, now: Timestamp, notes: &mut Notes) {
        let Some(threshold) = claims.kubernetes.warnafter.filter(|after| *after != 0) else {
            return;
        };
        if now <= Timestamp::from_second(threshold).unwrap_or(Timestamp::MAX) {
            self.checks.metrics.valid.inc();
            return;
        }
        let late = now.as_second().saturating_sub(threshold);
        let text = format!(
            "subject: {}, seconds after warning threshold: {late}",
            claims.sub
        );
        let note = ("authentication.k8s.io/stale-token", text);
        notes.annotations.push(note);
        self.checks.metrics.stale.inc();
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
    if claims.nbf != 0 && now.saturating_add(LEEWAY_SECONDS) < claims.nbf {
        return Err(failed("service account token is not valid yet"));
    }
    if claims.exp != 0 && now.saturating_sub(LEEWAY_SECONDS) > claims.exp {
        return Err(failed("service account token has expired"));
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
            ..SubjectState::default()
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

pub(super) fn failed(text: impl Into<String>) -> AuthenticateError {
    AuthenticateError(text.into())
}

#[cfg(test)]
mod tests;
