//! Bootstrap tokens: `id.secret`, kept in Secrets of kube-system, with which new nodes ask for their certificate.
//! Upstream: plugin/pkg/auth/authenticator/token/bootstrap.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::Secret;
use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};
use jiff::Timestamp;

use super::service_account::TokenSubjects;
use super::tokens::TokenAuthenticator;

const NAMESPACE: &str = "kube-system";
const SECRET_PREFIX: &str = "bootstrap-token-";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Judges bootstrap tokens.
pub struct BootstrapTokens {
    secrets: Arc<dyn TokenSubjects>,
}

impl BootstrapTokens {
    pub fn new(secrets: Arc<dyn TokenSubjects>) -> Self {
        Self { secrets }
    }
}

impl TokenAuthenticator for BootstrapTokens {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(async move {
            let Some((id, secret)) = parse(token) else {
                return Ok(None);
            };
            let Some(stored) = self
                .secrets
                .secret(NAMESPACE, &format!("{SECRET_PREFIX}{id}"))
                .await
            else {
                return Ok(None);
            };
            Ok(
                judge(&stored, id, secret, Timestamp::now()).map(|user| Authenticated {
                    user,
                    ..Authenticated::default()
                }),
            )
        })
    }
}

/// Six and sixteen lower-case letters or digits around a dot.
fn parse(token: &str) -> Option<(&str, &str)> {
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token
        .split_once('.')
        .filter(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

/// The caller, when the Secret says that the token may authenticate. A token that does not is as good as unknown, as upstream has it.
fn judge(stored: &Secret, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let value = |key: &str| {
        stored
            .data
            .get(key)
            .and_then(|data| std::str::from_utf8(&data.0).ok())
            .unwrap_or_default()
    };
    if stored.metadata.deletion_timestamp.is_some() || stored.type_ != SECRET_TYPE {
        return None;
    }
    // In constant time (NCC-PCK).
    aws_lc_rs::constant_time::verify_slices_are_equal(
        value("token-secret").as_bytes(),
        secret.as_bytes(),
    )
    .ok()?;
    if value("token-id") != id || value("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let expiration = value("expiration");
    // A time that cannot be read counts as passed.
    if !expiration.is_empty()
        && expiration
            .parse::<Timestamp>()
            .is_ok_and(|time| time <= now)
            | expiration.parse::<Timestamp>().is_err()
    {
        return None;
    }
    let mut groups: Vec<String> = Vec::new();
    for group in value("auth-extra-groups")
        .split(',')
        .filter(|group| !group.is_empty())
    {
        if !is_extra_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    groups.insert(0, GROUP.to_owned());
    Some(UserInfo {
        name: format!("system:bootstrap:{id}"),
        uid: String::new(),
        groups,
        extra: BTreeMap::new(),
    })
}

/// `system:bootstrappers:` and at most 256 of `a-z0-9:-`, the last one neither colon nor dash.
fn is_extra_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest
            .bytes()
            .all(|byte| allowed(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::ByteString;

    fn stored(changes: &[(&str, &str)]) -> Secret {
        let mut secret = Secret {
            type_: SECRET_TYPE.into(),
            ..Secret::default()
        };
        let defaults = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in defaults.iter().chain(changes) {
            secret
                .data
                .insert((*key).into(), ByteString(value.as_bytes().to_vec()));
        }
        secret
    }

    #[track_caller]
    fn check(changes: &[(&str, &str)], expected: Option<&[&str]>) {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let groups =
            judge(&stored(changes), "abcdef", "0123456789abcdef", now).map(|user| user.groups);
        assert_eq!(
            groups
                .as_deref()
                .map(|groups| groups.iter().map(String::as_str).collect::<Vec<_>>()),
            expected.map(<[&str]>::to_vec)
        );
    }

    #[test]
    fn what_the_secret_says_decides() {
        check(&[], Some(&["system:bootstrappers"]));
        check(
            &[(
                "auth-extra-groups",
                "system:bootstrappers:b,system:bootstrappers:a",
            )],
            Some(&[
                "system:bootstrappers",
                "system:bootstrappers:a",
                "system:bootstrappers:b",
            ]),
        );
        check(&[("auth-extra-groups", "system:masters")], None);
        check(&[("token-secret", "0123456789abcdeX")], None);
        check(&[("token-id", "other1")], None);
        check(&[("usage-bootstrap-authentication", "false")], None);
        check(&[("expiration", "2025-12-31T23:59:59Z")], None);
        check(
            &[("expiration", "2026-01-01T00:00:01Z")],
            Some(&["system:bootstrappers"]),
        );
        check(&[("expiration", "soon")], None);
    }

    #[test]
    fn the_form_of_a_token() {
        assert_eq!(
            parse("abcdef.0123456789abcdef"),
            Some(("abcdef", "0123456789abcdef"))
        );
        for token in [
            "abcdef",
            "abcde.0123456789abcdef",
            "Abcdef.0123456789abcdef",
            "abcdef.0123456789abcde",
            "",
        ] {
            assert_eq!(parse(token), None, "{token}");
        }
    }
}
