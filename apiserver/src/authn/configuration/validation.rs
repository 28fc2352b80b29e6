//! What an authentication configuration may say. Upstream: apiserver/pkg/apis/apiserver/validation.
//!
//! Validation compiles the expressions, so that what is validated is what runs.

use std::collections::BTreeSet;

use api_types::apiserver_config::v1::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JWTAuthenticator,
    PrefixedClaimOrExpression, UserValidationRule,
};
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::validation::is_domain_prefixed_path;
use component_base::auth::x509::CaBundle;
use serde_json::json;

use super::expressions::{About, Expression, Expressions, ExtraExpression, Rule};
use crate::apis::gates;

const MAX_AUTHENTICATORS: usize = 64;
const BOTH: &str = "claim and expression can't both be set";

/// What is wrong with a configuration. Issuers that are disallowed are those of service account tokens.
pub fn validate(
    configuration: &AuthenticationConfiguration,
    disallowed_issuers: &[String],
) -> ErrorList {
    let root = Path::new("jwt");
    let mut errors = ErrorList::new();
    let jwt = &configuration.jwt;
    if jwt.len() > MAX_AUTHENTICATORS {
        errors.push(field::too_many(&root, Some(jwt.len()), MAX_AUTHENTICATORS));
        return errors;
    }
    let (mut issuers, mut discovery) = (BTreeSet::new(), BTreeSet::new());
    for (i, authenticator) in jwt.iter().enumerate() {
        let path = root.index(i);
        errors.extend(
            compile_authenticator(authenticator, &path, disallowed_issuers)
                .1
                .0,
        );
        let issuer = &authenticator.issuer;
        let path = path.child("issuer");
        if !issuers.insert(&issuer.url) {
            errors.push(field::duplicate(&path.child("url"), &issuer.url));
        }
        if let Some(url) = issuer.discovery_url.as_ref().filter(|url| !url.is_empty())
            && !discovery.insert(url)
        {
            errors.push(field::duplicate(&path.child("discoveryURL"), url));
        }
    }
    if let Some(anonymous) = &configuration.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let conditions = anonymous.conditions.iter();
        let conditions: Vec<_> = conditions
            .map(|condition| json!({"Path": condition.path}))
            .collect();
        errors.push(field::invalid(
            &Path::new("anonymous").child("conditions"),
            json!(conditions),
            "enabled should be set to true when conditions are defined",
        ));
    }
    errors
}

/// The expressions of an authenticator, and what is wrong with it.
pub fn compile_authenticator(
    authenticator: &JWTAuthenticator,
    path: &Path,
    disallowed_issuers: &[String],
) -> (Expressions, ErrorList) {
    let mut errors = ErrorList::new();
    let mut expressions = Expressions::default();
    validate_issuer(
        &authenticator.issuer,
        disallowed_issuers,
        &path.child("issuer"),
        &mut errors,
    );
    claim_rules(
        &authenticator.claim_validation_rules,
        &path.child("claimValidationRules"),
        &mut expressions,
        &mut errors,
    );
    mappings(
        &authenticator.claim_mappings,
        &path.child("claimMappings"),
        &mut expressions,
        &mut errors,
    );
    user_rules(
        &authenticator.user_validation_rules,
        &path.child("userValidationRules"),
        &mut expressions,
        &mut errors,
    );
    (expressions, errors)
}

fn validate_issuer(issuer: &Issuer, disallowed: &[String], path: &Path, errors: &mut ErrorList) {
    let url_path = path.child("url");
    if issuer.url.is_empty() {
        errors.push(field::required(&url_path, ""));
    } else {
        validate_url(&issuer.url, disallowed, &url_path, errors);
    }
    if let Some(url) = issuer.discovery_url.as_ref().filter(|url| !url.is_empty()) {
        let path = path.child("discoveryURL");
        if !issuer.url.is_empty() && issuer.url.trim_end_matches('/') == url.trim_end_matches('/') {
            errors.push(field::invalid(
                &path,
                url,
                "discoveryURL must be different from URL",
            ));
        }
        validate_url(url, &[], &path, errors);
    }
    audiences(issuer, path, errors);
    if !issuer.certificate_authority.is_empty()
        && let Err(error) = CaBundle::from_pem(issuer.certificate_authority.as_bytes())
    {
        let path = path.child("certificateAuthority");
        errors.push(field::invalid(&path, "<omitted>", error.to_string()));
    }
    let selector = issuer.egress_selector_type.as_str();
    let mut wrong_selector = |detail: &str| {
        let path = path.child("egressSelectorType");
        errors.push(field::invalid(&path, selector, detail));
    };
    if !selector.is_empty()
        && !gates::enabled("StructuredAuthenticationConfigurationEgressSelector")
    {
        wrong_selector(
            "egress selector is not supported when StructuredAuthenticationConfigurationEgressSelector feature gate is disabled",
        );
    }
    if !matches!(selector, "" | "controlplane" | "cluster") {
        wrong_selector("egress selector must be either controlplane or cluster");
    }
}

fn validate_url(text: &str, disallowed: &[String], path: &Path, errors: &mut ErrorList) {
    if disallowed.iter().any(|issuer| issuer == text) {
        let mut disallowed = disallowed.to_vec();
        disallowed.sort_unstable();
        errors.push(field::invalid(
            path,
            text,
            format!(
                "URL must not overlap with disallowed issuers: [{}]",
                disallowed.join(" ")
            ),
        ));
    }
    let url = match cel::Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            errors.push(field::invalid(path, text, error));
            return;
        }
    };
    if url.scheme() != "https" {
        errors.push(field::invalid(path, text, "URL scheme must be https"));
    }
    let (main, fragment) = text.split_once('#').unwrap_or((text, ""));
    let authority = main
        .split_once("//")
        .map_or("", |(_, rest)| rest)
        .split(['/', '?'])
        .next()
        .unwrap_or_default();
    if authority.contains('@') {
        errors.push(field::invalid(
            path,
            text,
            "URL must not contain a username or password",
        ));
    }
    if !url.raw_query().is_empty() {
        errors.push(field::invalid(path, text, "URL must not contain a query"));
    }
    if !fragment.is_empty() {
        errors.push(field::invalid(
            path,
            text,
            "URL must not contain a fragment",
        ));
    }
}

fn audiences(issuer: &Issuer, path: &Path, errors: &mut ErrorList) {
    let (path, policy_path) = (path.child("audiences"), path.child("audienceMatchPolicy"));
    let audiences = &issuer.audiences;
    if audiences.is_empty() {
        errors.push(field::required(
            &path,
            format!("at least one {path} is required"),
        ));
        return;
    }
    for (i, audience) in audiences.iter().enumerate() {
        let path = path.index(i);
        if audience.is_empty() {
            errors.push(field::required(&path, ""));
        }
        if audiences[..i].contains(audience) {
            errors.push(field::duplicate(&path, audience));
        }
    }
    let policy = &issuer.audience_match_policy;
    if audiences.len() > 1 && policy != "MatchAny" {
        errors.push(field::invalid(
            &policy_path,
            policy,
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        ));
    }
    if audiences.len() == 1 && !policy.is_empty() && policy != "MatchAny" {
        errors.push(field::invalid(
            &policy_path,
            policy,
            "audienceMatchPolicy must be empty or MatchAny for single audience",
        ));
    }
}

/// Compiles an expression; None when it is wrong, which `errors` says.
fn compile(
    about: About,
    text: &str,
    condition: bool,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Expression> {
    Expression::compile(about, text, condition)
        .map_err(|detail| errors.push(field::invalid(path, text, detail)))
        .ok()
}

fn claim_rules(
    rules: &[ClaimValidationRule],
    path: &Path,
    expressions: &mut Expressions,
    errors: &mut ErrorList,
) {
    let (mut claims, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        match (rule.claim.is_empty(), rule.expression.is_empty()) {
            (false, false) => errors.push(field::invalid(&path, &rule.claim, BOTH)),
            (true, true) => {
                errors.push(field::required(&path, "claim or expression is required"));
            }
            (false, true) => {
                if !rule.message.is_empty() {
                    errors.push(field::invalid(
                        &path.child("message"),
                        &rule.message,
                        "may not be specified when claim is set",
                    ));
                }
                if !claims.insert(&rule.claim) {
                    errors.push(field::duplicate(&path.child("claim"), &rule.claim));
                }
            }
            (true, false) => {
                if !rule.required_value.is_empty() {
                    errors.push(field::invalid(
                        &path.child("requiredValue"),
                        &rule.required_value,
                        "may not be specified when expression is set",
                    ));
                }
                let path = path.child("expression");
                if !seen.insert(&rule.expression) {
                    errors.push(field::duplicate(&path, &rule.expression));
                    continue;
                }
                if let Some(expression) =
                    compile(About::Claims, &rule.expression, true, &path, errors)
                {
                    expressions.claim_rules.push(Rule {
                        expression,
                        message: rule.message.clone(),
                    });
                }
            }
        }
    }
}

fn mappings(
    mappings: &ClaimMappings,
    path: &Path,
    expressions: &mut Expressions,
    errors: &mut ErrorList,
) {
    expressions.username = prefixed(&mappings.username, &path.child("username"), true, errors);
    expressions.groups = prefixed(&mappings.groups, &path.child("groups"), false, errors);
    let uid = &mappings.uid;
    let uid_path = path.child("uid");
    if !uid.claim.is_empty() && !uid.expression.is_empty() {
        errors.push(field::invalid(&uid_path, "", BOTH));
    } else if !uid.expression.is_empty() {
        let path = uid_path.child("expression");
        expressions.uid = compile(About::Claims, &uid.expression, false, &path, errors);
    }
    extra(mappings, path, expressions, errors);
    let verified = "email_verified";
    let uses_email = expressions
        .username
        .as_ref()
        .is_some_and(|username| username.uses_claim("email"));
    let uses_verified = expressions
        .username
        .iter()
        .chain(expressions.extra.iter().map(|extra| &extra.expression))
        .chain(expressions.claim_rules.iter().map(|rule| &rule.expression))
        .any(|expression| expression.uses_claim(verified));
    if uses_email && !uses_verified {
        errors.push(field::invalid(
            &path.child("username").child("expression"),
            &mappings.username.expression,
            "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
        ));
    }
}

fn extra(
    mappings: &ClaimMappings,
    path: &Path,
    expressions: &mut Expressions,
    errors: &mut ErrorList,
) {
    let mut keys = BTreeSet::new();
    for (i, mapping) in mappings.extra.iter().enumerate() {
        let path = path.child("extra").index(i);
        let (key, key_path) = (&mapping.key, path.child("key"));
        errors.extend(is_domain_prefixed_path(&key_path, key).0);
        if *key != key.to_lowercase() {
            errors.push(field::invalid(&key_path, key, "must be lowercase"));
        }
        if is_kubernetes(key) {
            errors.push(field::invalid(
                &key_path,
                key,
                "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
            ));
        }
        if !keys.insert(key) {
            errors.push(field::duplicate(&key_path, key));
            continue;
        }
        let path = path.child("valueExpression");
        if mapping.value_expression.is_empty() {
            errors.push(field::required(&path, ""));
            continue;
        }
        let expression = compile(
            About::Claims,
            &mapping.value_expression,
            false,
            &path,
            errors,
        );
        if let Some(expression) = expression {
            expressions.extra.push(ExtraExpression {
                key: key.clone(),
                expression,
            });
        }
    }
}

/// Whether a key is in a domain of Kubernetes itself.
fn is_kubernetes(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io"].iter().any(|reserved| {
        domain
            .strip_suffix(reserved)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

fn prefixed(
    mapping: &PrefixedClaimOrExpression,
    path: &Path,
    required: bool,
    errors: &mut ErrorList,
) -> Option<Expression> {
    match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
        (false, false) => errors.push(field::invalid(path, "", BOTH)),
        (true, true) if required => {
            errors.push(field::required(path, "claim or expression is required"));
        }
        (true, true) => {}
        (true, false) => {
            let refused = mapping.prefix.as_ref().map(|prefix| {
                errors.push(field::invalid(
                    &path.child("prefix"),
                    prefix,
                    "may not be specified when expression is set",
                ));
            });
            let path = path.child("expression");
            let expression = compile(About::Claims, &mapping.expression, false, &path, errors);
            return expression.filter(|_| refused.is_none());
        }
        (false, true) if mapping.prefix.is_none() => errors.push(field::required(
            &path.child("prefix"),
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        )),
        (false, true) => {}
    }
    None
}

fn user_rules(
    rules: &[UserValidationRule],
    path: &Path,
    expressions: &mut Expressions,
    errors: &mut ErrorList,
) {
    let mut seen = BTreeSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i).child("expression");
        if rule.expression.is_empty() {
            errors.push(field::required(&path, ""));
        } else if !seen.insert(&rule.expression) {
            errors.push(field::duplicate(&path, &rule.expression));
        } else if let Some(expression) = compile(About::User, &rule.expression, true, &path, errors)
        {
            expressions.user_rules.push(Rule {
                expression,
                message: rule.message.clone(),
            });
        }
    }
}
