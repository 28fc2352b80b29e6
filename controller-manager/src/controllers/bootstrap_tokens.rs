//! Bootstrap tokens: signs kube-public/cluster-info with them, so that joining nodes can trust it, and deletes expired ones. Upstream:
//! pkg/controller/bootstrap.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::Time;
use api_types::core::v1::{ConfigMap, Secret};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{DeleteOptions, Preconditions};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{Client, Lister, ObjectKey};
use jiff::Timestamp;

use super::controller_ref::key_of;
use super::{BuildError, Controller, Default as DefaultState, Next, SyncError};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const TOKEN_NAMESPACE: &str = "kube-system";
const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";
const INFO_NAMESPACE: &str = "kube-public";
const INFO_NAME: &str = "cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn is_token(secret: &Secret) -> bool {
    secret.type_ == TOKEN_TYPE && secret.metadata.namespace == TOKEN_NAMESPACE
}

fn text(secret: &Secret, key: &str) -> String {
    let data = secret
        .data
        .get(key)
        .map(|data| data.0.as_slice())
        .unwrap_or_default();
    String::from_utf8_lossy(data).into_owned()
}

/// How long a token is still good.
#[derive(Debug, PartialEq)]
enum Life {
    Endless,
    Left(Duration),
    Over,
}

/// A time that cannot be read is over.
fn life(secret: &Secret, now: Timestamp) -> Life {
    let expiration = text(secret, "expiration");
    if expiration.is_empty() {
        return Life::Endless;
    }
    let left = Time::parse(&expiration)
        .ok()
        .map(|end| end.timestamp().duration_since(now));
    match left.map(Duration::try_from) {
        Some(Ok(left)) if !left.is_zero() => Life::Left(left),
        _ => Life::Over,
    }
}

/// The bootstrap-signer-controller. Its only key is the ConfigMap.
pub struct BootstrapSigner {
    client: Client,
    clock: Clock,
    maps: Lister<ConfigMap>,
    secrets: Lister<Secret>,
}

impl Controller for BootstrapSigner {
    const NAME: &'static str = "bootstrap-signer-controller";
    const ALIASES: &'static [&'static str] = &["bootstrapsigner"];
    const DEFAULT: DefaultState = DefaultState::Off;
    const SERVICE_ACCOUNT: &'static str = "bootstrap-signer";
    const QUEUE: &'static str = "bootstrap_signer_queue";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let key = || ObjectKey::new(INFO_NAMESPACE, INFO_NAME);
        let maps = setup.informer::<ConfigMap>();
        let to = queue.clone();
        on_change(&maps, move |change| {
            if !matches!(change, Change::Deleted(_)) && key_of(&change.object().metadata) == key() {
                to.add(key());
            }
        });
        let secrets = setup.informer::<Secret>();
        let to = queue.clone();
        on_change(&secrets, move |change| {
            if is_token(change.object()) {
                to.add(key());
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            maps: maps.lister(),
            secrets: secrets.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(map) = self.maps.get(key) else {
            return Ok(Next::Done);
        };
        let now = self.clock.now();
        let tokens: BTreeMap<String, String> = self
            .secrets
            .list_namespace(TOKEN_NAMESPACE)
            .iter()
            .filter_map(|secret| signing_token(secret, now))
            .collect();
        let Some(data) = sign_all(&map.data, &tokens) else {
            return Ok(Next::Done);
        };
        let mut map = (*map).clone();
        map.data = data;
        match self
            .client
            .namespaced::<ConfigMap>(INFO_NAMESPACE)
            .update(&map)
            .await
        {
            // A change wakes us anyway; other failures are not retried, as upstream.
            Err(error) if !error.is_conflict() && !error.is_not_found() => {
                tracing::info!(%error, "Error updating ConfigMap");
            }
            _ => {}
        }
        Ok(Next::Done)
    }
}

/// Id and secret of a token that may sign.
fn signing_token(secret: &Secret, now: Timestamp) -> Option<(String, String)> {
    let id = secret.metadata.name.strip_prefix(NAME_PREFIX)?;
    let well_formed = id.len() == 6
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let key = text(secret, "token-secret");
    let usable = is_token(secret)
        && well_formed
        && text(secret, "token-id") == id
        && !key.is_empty()
        && life(secret, now) != Life::Over
        && text(secret, "usage-bootstrap-signing") == "true";
    usable.then(|| (id.to_owned(), key))
}

/// The data with exactly the tokens' signatures, unless it is so already or there is nothing to sign.
fn sign_all(
    data: &BTreeMap<String, String>,
    tokens: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let content = data.get(KUBECONFIG)?;
    let mut signed: BTreeMap<String, String> = data
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (id, secret) in tokens {
        signed.insert(
            format!("{SIGNATURE_PREFIX}{id}"),
            detached_signature(content, id, secret),
        );
    }
    (signed != *data).then_some(signed)
}

/// A JSON Web Signature without its payload (RFC 7515, appendix F).
fn detached_signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(serde_json::json!({"alg": "HS256", "kid": id}).to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(
        &key,
        format!("{header}.{}", URL_SAFE_NO_PAD.encode(content)).as_bytes(),
    );
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The token-cleaner-controller. Its keys are Secrets.
pub struct TokenCleaner {
    client: Client,
    clock: Clock,
    secrets: Lister<Secret>,
}

impl Controller for TokenCleaner {
    const NAME: &'static str = "token-cleaner-controller";
    const ALIASES: &'static [&'static str] = &["tokencleaner"];
    const DEFAULT: DefaultState = DefaultState::Off;
    const SERVICE_ACCOUNT: &'static str = "token-cleaner";
    const QUEUE: &'static str = "token_cleaner";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let secrets = setup.informer::<Secret>();
        let to = queue.clone();
        on_change(&secrets, move |change| match change {
            Change::Added(secret, _) | Change::Updated(_, secret) if is_token(secret) => {
                to.add(key_of(&secret.metadata))
            }
            _ => {}
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            secrets: secrets.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(secret) = self.secrets.get(key).filter(|secret| is_token(secret)) else {
            return Ok(Next::Done);
        };
        match life(&secret, self.clock.now()) {
            Life::Endless => Ok(Next::Done),
            Life::Left(left) => Ok(Next::After(left)),
            Life::Over => {
                let options = DeleteOptions {
                    preconditions: Some(Box::new(Preconditions {
                        uid: Some(secret.metadata.uid.clone()),
                        ..Default::default()
                    })),
                    ..Default::default()
                };
                let api = self.client.namespaced::<Secret>(key.namespace.as_str());
                match api.delete(&key.name, &options).await {
                    Err(error) if !error.is_conflict() && !error.is_not_found() => {
                        tracing::info!(secret = %key, %error, "Error deleting secret");
                    }
                    _ => {}
                }
                Ok(Next::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;

    use super::*;

    fn token(id: &str, data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret {
            type_: TOKEN_TYPE.into(),
            ..Default::default()
        };
        secret.metadata.namespace = TOKEN_NAMESPACE.into();
        secret.metadata.name = format!("{NAME_PREFIX}{id}");
        for (key, value) in [
            ("token-id", id),
            ("token-secret", "s3cret"),
            ("usage-bootstrap-signing", "true"),
        ]
        .iter()
        .chain(data)
        {
            secret
                .data
                .insert((*key).into(), ByteString(value.as_bytes().to_vec()));
        }
        secret
    }

    #[test]
    fn which_tokens_sign() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |secret: Secret, expected: bool| {
            assert_eq!(signing_token(&secret, now).is_some(), expected)
        };
        check(token("abc123", &[]), true);
        check(
            token("abc123", &[("expiration", "2026-01-01T01:00:00Z")]),
            true,
        );
        check(
            token("abc123", &[("expiration", "2025-12-31T23:00:00Z")]),
            false,
        );
        check(token("abc123", &[("expiration", "soon")]), false);
        check(token("abc123", &[("token-id", "other1")]), false);
        check(
            token("abc123", &[("usage-bootstrap-signing", "false")]),
            false,
        );
        check(token("abc123", &[("token-secret", "")]), false);
        check(token("ABC123", &[]), false);
        check(token("abc1234", &[]), false);
    }

    #[test]
    fn signatures_follow_the_tokens() {
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let tokens = data(&[("abc123", "s3cret")]);
        assert_eq!(sign_all(&data(&[("other", "x")]), &tokens), None);
        let signed = sign_all(
            &data(&[(KUBECONFIG, "payload"), ("jws-kubeconfig-gone00", "old")]),
            &tokens,
        )
        .unwrap();
        assert_eq!(
            signed.keys().collect::<Vec<_>>(),
            ["jws-kubeconfig-abc123", "kubeconfig"]
        );
        assert_eq!(sign_all(&signed, &tokens), None);
        assert!(sign_all(&signed, &data(&[])).is_some());
    }

    #[test]
    fn detached_signatures_have_no_payload() {
        // From upstream's test of cluster-bootstrap/token/jws.
        assert_eq!(
            detached_signature(
                "Hello from the other side. I must have called a thousand times.",
                "joshua",
                "my voice is my passcode"
            ),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn lives() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |expiration: &str, expected: Life| {
            assert_eq!(
                life(&token("abc123", &[("expiration", expiration)]), now),
                expected
            );
        };
        check("", Life::Endless);
        check("2026-01-01T00:01:00Z", Life::Left(Duration::from_secs(60)));
        check("2026-01-01T00:00:00Z", Life::Over);
        check("never", Life::Over);
    }
}
