//! Judges tokens that controllers or people put into Secrets of type kubernetes.io/service-account-token.
//! Upstream: pkg/serviceaccount/{jwt,legacy}.go.
//!
//! Every use is noted: in the audit log, in metrics, and once a day in a label of the Secret, by which a controller finds those that nobody
//! uses. It marks them, and a marked token is refused until the mark is taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Secret;
use apimachinery::quote::quote;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, Notes, UserInfo};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::jws::Unverified;
use super::service_account::{Checks, TokenSubjects, failed};
use super::service_account_claims::Audiences;
use super::tokens::TokenAuthenticator;
use super::{service_account_groups, service_account_user_name, split_service_account_user_name};

const ISSUER: &str = "kubernetes/serviceaccount";
/// The day of the last use.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const OLD_FASHIONED: &str = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.";

/// Judges legacy tokens.
pub struct LegacyTokens {
    checks: Checks,
    /// None with --service-account-lookup=false: then a token outlives its Secret.
    subjects: Option<Arc<dyn TokenSubjects>>,
}

#[derive(Deserialize)]
struct LegacyClaims {
    #[serde(default)]
    aud: Audiences,
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
    pub fn new(checks: Checks, subjects: Option<Arc<dyn TokenSubjects>>) -> Self {
        Self { checks, subjects }
    }

    pub(super) async fn judge(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Authenticated>, AuthenticateError> {
        let Ok(parsed) = Unverified::parse(token) else {
            return Ok(None);
        };
        let Ok(claims) = serde_json::from_slice::<LegacyClaims>(&parsed.claims) else {
            return Ok(None);
        };
        if claims.iss != ISSUER {
            return Ok(None);
        }
        self.checks.verify(&parsed).await?;
        let mut notes = Notes::default();
        let granted = self
            .checks
            .audiences(&claims.aud.0, &claims.sub, audiences, &mut notes)?;
        check_claims(&claims)?;
        if let Some(subjects) = &self.subjects {
            self.check_subjects(subjects.as_ref(), token, &claims, now, &mut notes)
                .await?;
        }
        let user = UserInfo {
            name: service_account_user_name(&claims.namespace, &claims.account),
            uid: claims.uid,
            groups: service_account_groups(&claims.namespace),
            extra: BTreeMap::new(),
        };
        Ok(Some(Authenticated {
            user,
            audiences: granted,
            notes,
        }))
    }

    /// The Secret and the service account must be there, and the Secret must not be marked.
    async fn check_subjects(
        &self,
        subjects: &dyn TokenSubjects,
        token: &str,
        claims: &LegacyClaims,
        now: Timestamp,
        notes: &mut Notes,
    ) -> Result<(), AuthenticateError> {
        let (namespace, name) = (&claims.namespace, &claims.account);
        let secret = subjects.secret(namespace, &claims.secret).await;
        let secret = secret
            .filter(|secret| secret.metadata.deletion_timestamp.is_none())
            .ok_or_else(|| failed("Token has been invalidated"))?;
        let stored = secret.data.get("token").map(|data| data.0.as_slice());
        let stored = stored.unwrap_or_default();
        // In constant time (NCC-PCK).
        if aws_lc_rs::constant_time::verify_slices_are_equal(stored, token.as_bytes()).is_err() {
            return Err(failed("Token does not match server's copy"));
        }
        let account = subjects.service_account(namespace, name).await;
        let account =
            account.ok_or_else(|| failed(format!("serviceaccounts {} not found", quote(name))))?;
        if account.deleted_at.is_some() {
            return Err(failed(format!(
                "ServiceAccount {namespace}/{name} has been deleted"
            )));
        }
        if account.uid != claims.uid {
            return Err(failed(format!(
                "ServiceAccount UID ({}) does not match claim ({})",
                account.uid, claims.uid
            )));
        }
        let metrics = &self.checks.metrics;
        let secret_name = &secret.metadata.name;
        let labels = &secret.metadata.labels;
        if labels
            .get(INVALID_SINCE)
            .is_some_and(|since| !since.is_empty())
        {
            // Not noted for audit: upstream's token cache keeps what is said of a token that is refused to itself.
            metrics.invalid.inc();
            note_use(subjects, &secret, now).await;
            return Err(failed(format!(
                "the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )));
        }
        let key = if account.secrets.contains(secret_name) {
            metrics.automatic.inc();
            notes.warnings.push(OLD_FASHIONED.to_owned());
            "authentication.k8s.io/legacy-token-autogenerated-secret"
        } else {
            metrics.manual.inc();
            "authentication.k8s.io/legacy-token-manual-secret"
        };
        notes.annotations.push((key, secret_name.clone()));
        note_use(subjects, &secret, now).await;
        Ok(())
    }
}

fn check_claims(claims: &LegacyClaims) -> Result<(), AuthenticateError> {
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
    let expected = Some((&*claims.namespace, &*claims.account));
    if split_service_account_user_name(&claims.sub) != expected {
        return Err(failed("sub claim is invalid"));
    }
    Ok(())
}

/// Writes the day into the Secret, unless it is there. Clocks of several servers may be on both sides of midnight.
async fn note_use(subjects: &dyn TokenSubjects, secret: &Secret, now: Timestamp) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let tomorrow = today.saturating_add(jiff::Span::new().days(1));
    let (today, tomorrow) = (today.to_string(), tomorrow.to_string());
    let last = secret.metadata.labels.get(LAST_USED);
    if last.is_none_or(|last| *last != today && *last != tomorrow) {
        subjects.used(secret, &today).await;
    }
}

impl TokenAuthenticator for LegacyTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(self.judge(token, audiences, Timestamp::now()))
    }
}
