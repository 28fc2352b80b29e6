//! The user that a token's claims make, and the rules that claims and user must keep. Upstream: getUsername, getGroups, getUID,
//! getExtra and AuthenticateToken of apiserver/plugin/pkg/authenticator/token/oidc.

use std::collections::BTreeMap;

use api_types::apiserver_config::v1::JWTAuthenticator;
use apimachinery::quote::quote;
use cel::Value;
use component_base::auth::UserInfo;
use component_base::auth::x509::CREDENTIAL_ID;
use serde_json::Value as Json;

use super::token::{Claims, strings};
use crate::authn::configuration::{Claim, ClaimMap, Expression, Expressions, Rule};
use crate::go_json::cannot_unmarshal;

/// The user, or why there is none.
pub(super) fn user_of(
    authenticator: &JWTAuthenticator,
    expressions: &Expressions,
    claims: &Claims,
) -> Result<UserInfo, String> {
    let values = if expressions.use_claims() {
        ClaimMap::from(claims)
    } else {
        ClaimMap::default()
    };
    let user = UserInfo {
        name: username(authenticator, expressions, claims, &values)?,
        groups: groups(authenticator, expressions, claims, &values)?,
        uid: uid(authenticator, expressions, claims, &values)?,
        extra: extra(expressions, claims, &values)?,
    };
    required_claims(authenticator, claims)?;
    let about = "oidc: error evaluating claim validation expression";
    keep_rules(&expressions.claim_rules, &values).map_err(|error| format!("{about}: {error}"))?;
    if !expressions.user_rules.is_empty() {
        let about = "oidc: error evaluating user info validation rule";
        keep_rules(&expressions.user_rules, &user_value(&user))
            .map_err(|error| format!("{about}: {error}"))?;
    }
    Ok(user)
}

/// A claim that must be text. Null is empty text, as Go has it.
fn text_claim(claims: &Claims, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(Json::Null) => Ok(String::new()),
        Some(other) => Err(cannot_unmarshal(other, "value of type string")),
    }
}

fn username(
    authenticator: &JWTAuthenticator,
    expressions: &Expressions,
    claims: &Claims,
    values: &ClaimMap,
) -> Result<String, String> {
    if let Some(expression) = &expressions.username {
        let username = text_of(expression, values, "username")?;
        if username.is_empty() {
            return Err("oidc: empty username via CEL expression is not allowed".to_owned());
        }
        return Ok(username);
    }
    let mapping = &authenticator.claim_mappings.username;
    let username = text_claim(claims, &mapping.claim).map_err(|error| {
        format!(
            "oidc: parse username claims {}: {error}",
            quote(&mapping.claim)
        )
    })?;
    if mapping.claim == "email" {
        match claims.get("email_verified") {
            None | Some(Json::Bool(true)) => {}
            Some(Json::Bool(false) | Json::Null) => {
                return Err("oidc: email not verified".to_owned());
            }
            Some(other) => {
                return Err(format!(
                    "oidc: parse 'email_verified' claim: {}",
                    cannot_unmarshal(other, "value of type bool")
                ));
            }
        }
    }
    Ok(prefixed(mapping.prefix.as_deref(), &username))
}

fn prefixed(prefix: Option<&str>, text: &str) -> String {
    format!("{}{text}", prefix.unwrap_or_default())
}

fn groups(
    authenticator: &JWTAuthenticator,
    expressions: &Expressions,
    claims: &Claims,
    values: &ClaimMap,
) -> Result<Vec<String>, String> {
    let mapping = &authenticator.claim_mappings.groups;
    if !mapping.claim.is_empty()
        && let Some(groups) = claims.get(&mapping.claim)
    {
        let groups = match groups {
            // A list of anything else is told of as no string, which it is not either.
            Json::Array(elements) if elements.iter().any(|e| !e.is_string() && !e.is_null()) => {
                Err(cannot_unmarshal(groups, "value of type string"))
            }
            Json::String(_) | Json::Array(_) | Json::Null => strings(groups),
            other => Err(cannot_unmarshal(other, "value of type string")),
        };
        let groups = groups.map_err(|error| {
            format!(
                "oidc: parse groups claim {}: {error}",
                quote(&mapping.claim)
            )
        })?;
        let prefix = mapping.prefix.as_deref();
        return Ok(groups.iter().map(|group| prefixed(prefix, group)).collect());
    }
    let Some(expression) = &expressions.groups else {
        return Ok(Vec::new());
    };
    expression
        .evaluate(values)
        .and_then(|value| texts_of(&value))
        .map_err(|error| format!("oidc: error evaluating group claim expression: {error}"))
}

fn uid(
    authenticator: &JWTAuthenticator,
    expressions: &Expressions,
    claims: &Claims,
    values: &ClaimMap,
) -> Result<String, String> {
    let claim = &authenticator.claim_mappings.uid.claim;
    if !claim.is_empty() {
        return text_claim(claims, claim)
            .map_err(|error| format!("oidc: parse uid claim {}: {error}", quote(claim)));
    }
    match &expressions.uid {
        Some(expression) => text_of(expression, values, "uid"),
        None => Ok(String::new()),
    }
}

fn extra(
    expressions: &Expressions,
    claims: &Claims,
    values: &ClaimMap,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut extra = BTreeMap::new();
    if let Some(Json::String(id)) = claims.get("jti")
        && !id.is_empty()
    {
        extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    for mapping in &expressions.extra {
        let value = mapping.expression.evaluate(values)?;
        let texts = texts_of(&value).map_err(|error| {
            format!(
                "oidc: error evaluating extra claim expression: {}: {error}",
                mapping.expression.text()
            )
        })?;
        if !texts.is_empty() {
            extra.insert(mapping.key.clone(), texts);
        }
    }
    Ok(extra)
}

/// The text that an expression must give.
fn text_of(expression: &Expression, values: &ClaimMap, what: &str) -> Result<String, String> {
    let text = expression.evaluate(values).and_then(|value| {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{what} claim expression must return a string"))
    });
    text.map_err(|error| format!("oidc: error evaluating {what} claim expression: {error}"))
}

/// One text or a list of them, without those that are empty.
fn texts_of(value: &Value<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let texts = match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.to_string()],
        Value::List(list) => list
            .iter()
            .map(|element| {
                let element = element.map_err(|error| error.to_string())?;
                element.as_str().map(str::to_owned).ok_or_else(wrong)
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn required_claims(authenticator: &JWTAuthenticator, claims: &Claims) -> Result<(), String> {
    let rules = authenticator.claim_validation_rules.iter();
    for rule in rules.filter(|rule| !rule.claim.is_empty()) {
        let (claim, want) = (&rule.claim, &rule.required_value);
        if !claims.contains_key(claim) {
            return Err(format!(
                "oidc: required claim {claim} not present in ID token"
            ));
        }
        let got = text_claim(claims, claim)
            .map_err(|error| format!("oidc: parse claim {claim}: {error}"))?;
        if got != *want {
            return Err(format!(
                "oidc: required claim {claim} value does not match. Got = {got}, want = {want}"
            ));
        }
    }
    Ok(())
}

/// All rules are evaluated before the first that does not hold is told of, as upstream has it.
fn keep_rules(rules: &[Rule], variable: &ClaimMap) -> Result<(), String> {
    let results = rules
        .iter()
        .map(|rule| Ok((rule, rule.expression.evaluate(variable)?.as_bool())))
        .collect::<Result<Vec<_>, String>>()?;
    for (rule, holds) in results {
        match holds {
            Some(true) => {}
            Some(false) => {
                return Err(format!(
                    "validation expression '{}' failed: {}",
                    rule.expression.text(),
                    rule.message
                ));
            }
            None => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

/// The variable `user`.
fn user_value(user: &UserInfo) -> ClaimMap {
    let extra = user.extra.iter();
    let extra = extra.map(|(key, values)| (key.clone(), Claim::texts(values)));
    let fields = [
        ("username", Claim::text(&user.name)),
        ("uid", Claim::text(&user.uid)),
        ("groups", Claim::texts(&user.groups)),
        ("extra", Claim::Map(ClaimMap(extra.collect()))),
    ];
    ClaimMap(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
