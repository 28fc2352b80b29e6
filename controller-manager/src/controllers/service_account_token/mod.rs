//! Fills Secrets of type kubernetes.io/service-account-token with a token, the CA and the namespace, and deletes them when
//! their ServiceAccount is gone. Upstream: pkg/controller/serviceaccount/tokens_controller.go.
//!
//! The other controllers may need its tokens to act at all, so it acts as the daemon itself and is started first.

/// Tokens and their signatures.
pub mod signing;

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::ByteString;
use api_types::core::v1::{Secret, ServiceAccount};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use client::{Client, Lister, ObjectKey, retry_on_conflict};

use self::signing::{SigningKey, legacy_claims};
use super::root_ca_cert_publisher::root_ca;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
const NAME_ANNOTATION: &str = "kubernetes.io/service-account.name";
const UID_ANNOTATION: &str = "kubernetes.io/service-account.uid";
const TOKEN_KEY: &str = "token";
const CA_KEY: &str = "ca.crt";
const NAMESPACE_KEY: &str = "namespace";

/// What to look at. Keys carry uids and the link between both, so that they can be worked on after the object is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A ServiceAccount whose tokens go when it does.
    Account {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// A Secret to fill, or to forget.
    Token {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The account it names.
        account: String,
        /// The uid it names; empty when it names none.
        account_uid: String,
    },
}

/// The serviceaccount-token-controller.
pub struct ServiceAccountTokenController {
    client: Client,
    accounts: Lister<ServiceAccount>,
    secrets: Lister<Secret>,
    key: SigningKey,
    ca: Vec<u8>,
}

impl Controller for ServiceAccountTokenController {
    const NAME: &'static str = "serviceaccount-token-controller";
    const ALIASES: &'static [&'static str] = &["serviceaccount-token"];
    const DEFAULT: super::Default = super::Default::Always;
    const SERVICE_ACCOUNT: &'static str = "tokens-controller";
    const ACTS_AS_DAEMON: bool = true;
    const QUEUE: &'static str = "serviceaccount_tokens_service";
    const MAX_RETRIES: Option<u32> = Some(10);
    type Key = Key;

    async fn build(setup: &Setup, queue: &Queue<Key>) -> Result<Option<Self>, BuildError> {
        let path = &setup.config().sa_controller.service_account_key_file;
        if path.is_empty() {
            tracing::info!(
                controller = Self::NAME,
                "Controller is disabled because there is no private key"
            );
            return Ok(None);
        }
        let unreadable = |error: String| {
            BuildError::Config(format!(
                "error reading key for service account token controller: {path}: {error}"
            ))
        };
        let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let key = SigningKey::from_pem(&text).map_err(|error| unreadable(error.to_string()))?;
        let accounts = setup.informer::<ServiceAccount>();
        let to = queue.clone();
        on_change(&accounts, move |change| {
            to.add(account_key(&change.object().metadata))
        });
        let secrets = setup.informer::<Secret>();
        let to = queue.clone();
        on_change(&secrets, move |change| {
            let secret = match &change {
                // A type never changes, but an object may be deleted and made anew between two looks.
                Change::Updated(old, new) if new.type_ != SECRET_TYPE => old,
                change => change.object(),
            };
            if secret.type_ == SECRET_TYPE {
                to.add(token_key(secret));
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            accounts: accounts.lister(),
            secrets: secrets.lister(),
            key,
            ca: root_ca(setup)?,
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.sa_controller.concurrent_sa_token_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &Key) -> Result<Next, SyncError> {
        match key {
            Key::Account {
                namespace,
                name,
                uid,
            } => {
                if self.cached_account(namespace, name, uid).is_none() {
                    self.delete_tokens(namespace, name, uid).await?;
                }
            }
            Key::Token { account, .. } if account.is_empty() => {
                tracing::error!(
                    ?key,
                    "Parsing secret queue key: it names no service account"
                );
            }
            Key::Token {
                namespace,
                name,
                uid,
                account,
                account_uid,
            } => match self.cached_secret(namespace, name, uid) {
                None => {
                    if self
                        .cached_account(namespace, account, account_uid)
                        .is_some()
                    {
                        self.forget_token(namespace, account, account_uid, name)
                            .await;
                    }
                }
                Some(secret) => match self.account(namespace, account, account_uid).await? {
                    None => self.delete_token(&secret.metadata).await?,
                    Some(account) => self.fill(&account, &secret).await?,
                },
            },
        }
        Ok(Next::Done)
    }
}

fn account_key(metadata: &ObjectMeta) -> Key {
    Key::Account {
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
    }
}

fn token_key(secret: &Secret) -> Key {
    let annotation = |name| {
        secret
            .metadata
            .annotations
            .get(name)
            .cloned()
            .unwrap_or_default()
    };
    Key::Token {
        namespace: secret.metadata.namespace.clone(),
        name: secret.metadata.name.clone(),
        uid: secret.metadata.uid.clone(),
        account: annotation(NAME_ANNOTATION),
        account_uid: annotation(UID_ANNOTATION),
    }
}

fn has_uid(metadata: &ObjectMeta, uid: &str) -> bool {
    uid.is_empty() || metadata.uid == uid
}

impl ServiceAccountTokenController {
    fn cached_account(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Option<Arc<ServiceAccount>> {
        self.accounts
            .get(&ObjectKey::new(namespace, name))
            .filter(|account| has_uid(&account.metadata, uid))
    }

    fn cached_secret(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<Secret>> {
        self.secrets
            .get(&ObjectKey::new(namespace, name))
            .filter(|secret| has_uid(&secret.metadata, uid))
    }

    /// From the cache, else live: an account that is only missing from our cache must not lose its tokens.
    async fn account(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<Arc<ServiceAccount>>, client::Error> {
        if let Some(account) = self.cached_account(namespace, name, uid) {
            return Ok(Some(account));
        }
        let live = self
            .client
            .namespaced::<ServiceAccount>(namespace)
            .get_optional(name)
            .await?;
        Ok(live
            .filter(|account| has_uid(&account.metadata, uid))
            .map(Arc::new))
    }

    async fn delete_tokens(&self, namespace: &str, name: &str, uid: &str) -> Result<(), SyncError> {
        let mut errors = Vec::new();
        for secret in self.secrets.list_namespace(namespace) {
            if is_token_of(&secret, name, uid)
                && let Err(error) = self.delete_token(&secret.metadata).await
            {
                errors.push(error);
            }
        }
        SyncError::aggregate(errors)
    }

    async fn delete_token(&self, secret: &ObjectMeta) -> Result<(), SyncError> {
        let options = DeleteOptions {
            preconditions: Some(Box::new(Preconditions {
                uid: Some(secret.uid.clone()),
                ..Default::default()
            })),
            ..Default::default()
        };
        let api = self.client.namespaced::<Secret>(secret.namespace.as_str());
        match api.delete(&secret.name, &options).await {
            // Gone already, or another object has the name now.
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn fill(&self, account: &ServiceAccount, cached: &Secret) -> Result<(), SyncError> {
        if Needs::of(cached, &self.ca).nothing() {
            return Ok(());
        }
        let api = self
            .client
            .namespaced::<Secret>(cached.metadata.namespace.as_str());
        let Some(mut secret) = api.get_optional(&cached.metadata.name).await? else {
            return Ok(());
        };
        if secret.metadata.resource_version != cached.metadata.resource_version {
            // The update that we have not seen yet wakes us again.
            return Ok(());
        }
        let needs = Needs::of(&secret, &self.ca);
        if needs.nothing() {
            return Ok(());
        }
        let mut set =
            |key: &str, value: Vec<u8>| secret.data.insert(key.to_owned(), ByteString(value));
        if needs.ca {
            set(CA_KEY, self.ca.clone());
        }
        if needs.namespace {
            set(
                NAMESPACE_KEY,
                cached.metadata.namespace.clone().into_bytes(),
            );
        }
        if needs.token {
            match self.key.sign(&legacy_claims(account, cached)) {
                Ok(token) => {
                    set(TOKEN_KEY, token.into_bytes());
                }
                Err(error) => {
                    // The same key would fail again: no retry.
                    tracing::error!(secret = cached.metadata.name, %error, "Populating serviceaccount token");
                    return Ok(());
                }
            }
        }
        annotate(&mut secret.metadata.annotations, account);
        match api.update(&secret).await {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes a deleted Secret off its account's list. Failure is logged only: the list is a convenience.
    async fn forget_token(&self, namespace: &str, account: &str, uid: &str, secret: &str) {
        let api = self.client.namespaced::<ServiceAccount>(namespace);
        let result = retry_on_conflict(|| async {
            let Some(mut account) = api.get_optional(account).await? else {
                return Ok(());
            };
            if !has_uid(&account.metadata, uid)
                || !account
                    .secrets
                    .iter()
                    .any(|reference| reference.name == secret)
            {
                return Ok(());
            }
            account.secrets.retain(|reference| reference.name != secret);
            match api.update(&account).await {
                Err(error) if error.is_not_found() => Ok(()),
                result => result.map(drop),
            }
        })
        .await;
        if let Err(error) = result {
            tracing::error!(namespace, account, secret, %error, "Removing secret reference");
        }
    }
}

fn annotate(annotations: &mut BTreeMap<String, String>, account: &ServiceAccount) {
    annotations.insert(NAME_ANNOTATION.to_owned(), account.metadata.name.clone());
    annotations.insert(UID_ANNOTATION.to_owned(), account.metadata.uid.clone());
}

fn is_token_of(secret: &Secret, account: &str, uid: &str) -> bool {
    let annotation = |name| secret.metadata.annotations.get(name).map(String::as_str);
    secret.type_ == SECRET_TYPE
        && annotation(NAME_ANNOTATION) == Some(account)
        && annotation(UID_ANNOTATION).is_none_or(|named| named.is_empty() || named == uid)
}

/// What a token Secret lacks.
#[derive(Debug, PartialEq)]
struct Needs {
    ca: bool,
    namespace: bool,
    token: bool,
}

impl Needs {
    fn of(secret: &Secret, ca: &[u8]) -> Self {
        let empty = |key| {
            secret
                .data
                .get(key)
                .is_none_or(|data: &ByteString| data.0.is_empty())
        };
        Self {
            ca: !ca.is_empty() && secret.data.get(CA_KEY).is_none_or(|data| data.0 != ca),
            namespace: empty(NAMESPACE_KEY),
            token: empty(TOKEN_KEY),
        }
    }

    fn nothing(&self) -> bool {
        !(self.ca || self.namespace || self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(annotations: &[(&str, &str)], data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret {
            type_: SECRET_TYPE.into(),
            ..Default::default()
        };
        for (key, value) in annotations {
            secret
                .metadata
                .annotations
                .insert((*key).into(), (*value).into());
        }
        for (key, value) in data {
            secret
                .data
                .insert((*key).into(), ByteString(value.as_bytes().to_vec()));
        }
        secret
    }

    #[test]
    fn what_secrets_need() {
        #[track_caller]
        fn check(data: &[(&str, &str)], ca: &str, expected: (bool, bool, bool)) {
            let needs = Needs::of(&secret(&[], data), ca.as_bytes());
            assert_eq!((needs.ca, needs.namespace, needs.token), expected);
        }
        check(&[], "CA", (true, true, true));
        check(&[], "", (false, true, true));
        check(
            &[("ca.crt", "old"), ("namespace", "n"), ("token", "t")],
            "CA",
            (true, false, false),
        );
        check(
            &[("ca.crt", "CA"), ("namespace", ""), ("token", "t")],
            "CA",
            (false, true, false),
        );
        check(
            &[("ca.crt", "CA"), ("namespace", "other"), ("token", "t")],
            "CA",
            (false, false, false),
        );
        check(
            &[("ca.crt", "old"), ("namespace", "n"), ("token", "t")],
            "",
            (false, false, false),
        );
    }

    #[test]
    fn whose_token_it_is() {
        #[track_caller]
        fn check(annotations: &[(&str, &str)], expected: bool) {
            assert_eq!(
                is_token_of(&secret(annotations, &[]), "robot", "u1"),
                expected
            );
        }
        check(&[(NAME_ANNOTATION, "robot"), (UID_ANNOTATION, "u1")], true);
        check(&[(NAME_ANNOTATION, "robot")], true);
        check(&[(NAME_ANNOTATION, "robot"), (UID_ANNOTATION, "u2")], false);
        check(&[(NAME_ANNOTATION, "other"), (UID_ANNOTATION, "u1")], false);
        check(&[], false);
        let mut opaque = secret(&[(NAME_ANNOTATION, "robot")], &[]);
        opaque.type_ = "Opaque".into();
        assert!(!is_token_of(&opaque, "robot", "u1"));
    }
}
