//! Finds out who a bearer token is from, and makes service account tokens. Upstream: pkg/kubeapiserver/authenticator,
//! pkg/serviceaccount, plugin/pkg/auth/authenticator/token/bootstrap and apiserver/plugin/pkg/authenticator/token.
//!
//! Certificates and front proxy headers are judged by the authenticators of component-base, which every daemon shares.
//! Order: tokens are tried in the order of [`Tokens`]; the first that knows a token decides. A token that is known and not valid
//! makes the request unauthorized, it never becomes anonymous.

mod bootstrap_token;
pub mod configuration;
pub mod external_jwt;
pub mod jws;
pub mod keys;
mod legacy_tokens;
mod metrics;
pub mod oidc;
mod service_account;
mod service_account_claims;
mod token_file;
mod tokens;
mod webhook;

pub use bootstrap_token::BootstrapTokens;
pub use legacy_tokens::{LAST_USED, LegacyTokens};
pub use metrics::{AuthenticationMetrics, ServiceAccountMetrics};
pub use service_account::{BoundTokens, Checks, SubjectState, TokenSubjects};
pub use service_account_claims::{BindTo, IssueError, Issued, Signer, TokenIssuer, jwks};
pub use token_file::{TokenFile, TokenFileError};
pub use tokens::{TokenAuthenticator, Tokens};
pub use webhook::WebhookTokens;

/// The user name of a service account.
pub fn service_account_user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of a service account, without system:authenticated.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

/// Namespace and name of the service account that a user name stands for.
pub fn split_service_account_user_name(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?
        .split_once(':')
        .filter(|(namespace, name)| {
            !namespace.is_empty() && !name.is_empty() && !name.contains(':')
        })
}
