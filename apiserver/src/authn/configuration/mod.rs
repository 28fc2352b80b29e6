//! Which issuers' tokens are taken and where callers may be anonymous: `--authentication-config`, or the `--oidc-*` flags and
//! `--anonymous-auth`. Upstream: pkg/kubeapiserver/options/authentication.go and apiserver/pkg/apis/apiserver.
//!
//! The flags are turned into the configuration that says the same, so there is one kind of authenticator behind both.

mod claims;
mod expressions;
mod validation;

use std::path::{Path, PathBuf};

use api_types::apiserver_config::v1::{
    AuthenticationConfiguration, ClaimValidationRule, JWTAuthenticator, PrefixedClaimOrExpression,
};
use apimachinery::field::{self, Path as FieldPath};
use apimachinery::os_error;
use apimachinery::quote::quote;
use component_base::auth::combine::AnonymousAccess;
use component_base::config::Document;
use component_base::flags::Flags;

pub use claims::{Claim, ClaimList, ClaimMap};
pub use expressions::{Expression, Expressions, ExtraExpression, Rule};
pub use validation::{compile_authenticator, validate};

/// The algorithms that tokens may be signed with.
pub const SIGNING_ALGORITHMS: [&str; 9] = [
    "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
];

/// What flags and file say.
#[derive(Clone, Debug)]
pub struct AuthenticationSettings {
    pub configuration: AuthenticationConfiguration,
    /// The file and what was in it, when there is one.
    pub file: Option<(PathBuf, Vec<u8>)>,
    pub signing_algorithms: Vec<String>,
    pub anonymous: AnonymousAccess,
}

impl AuthenticationSettings {
    /// Reads the flags and the file they name.
    pub fn from_flags(flags: &Flags) -> Result<Self, String> {
        let mut configuration = AuthenticationConfiguration::default();
        let mut file = None;
        let mut signing_algorithms = Vec::new();
        if let Some(path) = flags.non_empty("authentication-config") {
            let failed = |why: String| {
                format!(
                    "failed to load authentication configuration from file {}: {why}",
                    quote(path)
                )
            };
            let text = std::fs::read(path)
                .map_err(|error| failed(os_error::on_reading(Path::new(path), &error)))?;
            configuration = parse(&text).map_err(failed)?;
            file = Some((PathBuf::from(path), text));
            signing_algorithms = SIGNING_ALGORITHMS.map(str::to_owned).to_vec();
        } else if let Some(authenticator) = of_flags(flags)? {
            configuration.jwt = vec![authenticator];
            signing_algorithms = flags.strings("oidc-signing-algs").to_vec();
        }
        let anonymous = match &configuration.anonymous {
            Some(_) if flags.changed("anonymous-auth") => {
                let path = FieldPath::new("anonymous");
                return Err(field::forbidden(&path, "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file").to_string());
            }
            Some(anonymous) if anonymous.enabled && !anonymous.conditions.is_empty() => {
                let paths = anonymous.conditions.iter();
                AnonymousAccess::Paths(paths.map(|condition| condition.path.clone()).collect())
            }
            Some(anonymous) => anonymous.enabled.into(),
            None => anonymous_by_flags(flags).into(),
        };
        let errors = validate(&configuration, &[]);
        if let Some(errors) = errors.aggregate() {
            return Err(format!("invalid authentication configuration: {errors}"));
        }
        for algorithm in &signing_algorithms {
            if !SIGNING_ALGORITHMS.contains(&algorithm.as_str()) {
                return Err(format!(
                    "oidc: unsupported signing alg: {}",
                    quote(algorithm)
                ));
            }
        }
        Ok(Self {
            configuration,
            file,
            signing_algorithms,
            anonymous,
        })
    }
}

/// Anonymous callers and a server that allows everybody everything do not go together.
fn anonymous_by_flags(flags: &Flags) -> bool {
    let modes = flags.strings("authorization-mode");
    let allows_all = modes.iter().any(|mode| mode == "AlwaysAllow")
        || (modes.is_empty() && flags.non_empty("authorization-config").is_none());
    if flags.bool("anonymous-auth") && allows_all {
        tracing::warn!(
            "AnonymousAuth is not allowed with the AlwaysAllow authorizer. Resetting AnonymousAuth to false. You should use a different authorizer"
        );
        return false;
    }
    flags.bool("anonymous-auth")
}

/// Reads a file's text, in any of its versions, which have the same fields.
pub fn parse(text: &[u8]) -> Result<AuthenticationConfiguration, String> {
    if text.is_empty() {
        return Err("empty config data".to_owned());
    }
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let version = document
        .api_version
        .strip_prefix("apiserver.config.k8s.io/");
    match (version, document.kind.as_str()) {
        (Some("v1" | "v1beta1" | "v1alpha1"), "AuthenticationConfiguration") => {
            document.decode_fields().map_err(|error| error.to_string())
        }
        _ => Err(document.unknown().to_string()),
    }
}

/// The authenticator that the `--oidc-*` flags stand for.
fn of_flags(flags: &Flags) -> Result<Option<JWTAuthenticator>, String> {
    let (Some(issuer), Some(client)) = (
        flags.non_empty("oidc-issuer-url"),
        flags.non_empty("oidc-client-id"),
    ) else {
        return Ok(None);
    };
    let claim = flags.string("oidc-username-claim");
    // Names other than mail addresses are told apart by their issuer, unless a dash says that they are not.
    let prefix = match flags.string("oidc-username-prefix") {
        "" if claim != "email" => format!("{issuer}#"),
        "-" => String::new(),
        prefix => prefix.to_owned(),
    };
    let mut authenticator = JWTAuthenticator::default();
    authenticator.issuer.url = issuer.to_owned();
    authenticator.issuer.audiences = vec![client.to_owned()];
    authenticator.claim_mappings.username = PrefixedClaimOrExpression {
        claim: claim.to_owned(),
        prefix: Some(prefix),
        ..PrefixedClaimOrExpression::default()
    };
    if let Some(claim) = flags.non_empty("oidc-groups-claim") {
        authenticator.claim_mappings.groups = PrefixedClaimOrExpression {
            claim: claim.to_owned(),
            prefix: Some(flags.string("oidc-groups-prefix").to_owned()),
            ..PrefixedClaimOrExpression::default()
        };
    }
    if let Some(path) = flags.non_empty("oidc-ca-file") {
        let pem =
            std::fs::read(path).map_err(|error| os_error::on_reading(Path::new(path), &error))?;
        authenticator.issuer.certificate_authority = String::from_utf8_lossy(&pem).into_owned();
    }
    for (claim, value) in flags.map("oidc-required-claim") {
        authenticator
            .claim_validation_rules
            .push(ClaimValidationRule {
                claim: claim.clone(),
                required_value: value.clone(),
                ..ClaimValidationRule::default()
            });
    }
    Ok(Some(authenticator))
}

#[cfg(test)]
mod tests;
