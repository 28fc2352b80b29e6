//! Invalidates and then deletes auto-generated token Secrets that nobody has used for a year (KEP-2799). Upstream:
//! pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use api_types::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{DeleteOptions, PatchOptions, Preconditions};
use client::{Client, Lister, ObjectKey, Patch};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{BuildError, Controller, Next, SyncError};
use crate::clock::Clock;
use crate::context::Setup;
use crate::runner::Queue;

const PERIOD: Duration = Duration::from_secs(24 * 3600);
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// The legacy-serviceaccount-token-cleaner-controller. It has no keys: everything is looked at once a day.
pub struct LegacyTokenCleaner {
    client: Client,
    clock: Clock,
    accounts: Lister<ServiceAccount>,
    secrets: Lister<Secret>,
    pods: Lister<Pod>,
    unused_for: SignedDuration,
}

impl Controller for LegacyTokenCleaner {
    const NAME: &'static str = "legacy-serviceaccount-token-cleaner-controller";
    const ALIASES: &'static [&'static str] = &["legacy-service-account-token-cleaner"];
    const SERVICE_ACCOUNT: &'static str = "legacy-service-account-token-cleaner";
    const QUEUE: &'static str = "legacy_service_account_token_cleaner";
    type Key = ObjectKey;

    async fn build(setup: &Setup, _: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let period = setup
            .config()
            .legacy_sa_token_cleaner
            .clean_up_period
            .as_std();
        if period.is_zero() {
            return Err(BuildError::Config("failed to start the legacy service account token cleaner: invalid CleanUpPeriod: 0s".to_owned()));
        }
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            accounts: setup.informer::<ServiceAccount>().lister(),
            secrets: setup.informer::<Secret>().lister(),
            pods: setup.informer::<Pod>().lister(),
            unused_for: SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, _: &ObjectKey) -> Result<Next, SyncError> {
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if stop.run_until_cancelled(self.evaluate()).await.is_none() {
                break;
            }
        }
    }
}

fn date(text: &str) -> Option<Date> {
    // Go's layout takes two digits for month and day.
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

fn date_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// What to do with a token Secret.
#[derive(Debug, PartialEq)]
enum Verdict {
    Keep,
    Invalidate,
    Delete,
}

/// The Secret itself says enough, whoever uses it.
fn judge(secret: &Secret, preserve_since: Timestamp) -> Verdict {
    let preserved = date_of(preserve_since);
    if secret.type_ != "kubernetes.io/service-account-token"
        || secret.metadata.creation_timestamp.timestamp() >= preserve_since
        || secret.metadata.deletion_timestamp.is_some()
    {
        return Verdict::Keep;
    }
    // A label that cannot be read tells nothing.
    if let Some(last_used) = secret.metadata.labels.get(LAST_USED)
        && date(last_used).is_none_or(|last_used| last_used >= preserved)
    {
        return Verdict::Keep;
    }
    match secret
        .metadata
        .labels
        .get(INVALID_SINCE)
        .and_then(|since| date(since))
    {
        None => Verdict::Invalidate,
        Some(since) if since >= preserved => Verdict::Keep,
        Some(_) => Verdict::Delete,
    }
}

/// Names of the Secrets a pod mentions.
fn secrets_of(pod: &Pod) -> BTreeSet<String> {
    let value = serde_json::from_slice(&api_types::encode_json(&pod.spec)).unwrap_or_default();
    let mut names: BTreeSet<String> = pod
        .spec
        .image_pull_secrets
        .iter()
        .map(|secret| secret.name.clone())
        .collect();
    collect(&value, &mut names);
    names
}

/// Every `secretName`, `secretRef`, `secretKeyRef` and the like, wherever a pod has one.
fn collect(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("secretName", serde_json::Value::String(name)) => {
                        names.insert(name.clone());
                    }
                    ("secret", serde_json::Value::Object(_)) => {
                        names.extend(
                            value
                                .get("name")
                                .and_then(|name| name.as_str())
                                .map(str::to_owned),
                        );
                    }
                    (key, serde_json::Value::Object(_))
                        if key.to_ascii_lowercase().contains("secret") =>
                    {
                        names.extend(
                            value
                                .get("name")
                                .and_then(|name| name.as_str())
                                .map(str::to_owned),
                        );
                    }
                    _ => {}
                }
                collect(value, names);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

impl LegacyTokenCleaner {
    async fn evaluate(&self) {
        let now = self.clock.now();
        let tracked_since = match self.tracked_since().await {
            Ok(time) => time,
            Err(error) => {
                tracing::error!(%error, "Getting lastest possible tracked_since time");
                return;
            }
        };
        if now.duration_since(tracked_since) < self.unused_for {
            return;
        }
        let Ok(preserve_since) = now.checked_sub(self.unused_for) else {
            return;
        };
        let mut mounted: HashMap<String, BTreeSet<String>> = HashMap::new();
        for secret in self.secrets.list() {
            let verdict = judge(&secret, preserve_since);
            if verdict == Verdict::Keep || !self.is_generated(&secret) {
                continue;
            }
            let namespace = &secret.metadata.namespace;
            let used = mounted.entry(namespace.clone()).or_insert_with(|| {
                self.pods
                    .list_namespace(namespace)
                    .iter()
                    .flat_map(|pod| secrets_of(pod))
                    .collect()
            });
            if used.contains(&secret.metadata.name) {
                continue;
            }
            if let Err(error) = self.carry_out(&secret, &verdict, now).await {
                tracing::error!(secret = secret.metadata.name, namespace, ?verdict, %error, "Cleaning a legacy service account token failed");
            }
        }
    }

    /// Only Secrets on an account's list were made by the control plane.
    fn is_generated(&self, secret: &Secret) -> bool {
        let annotation = |name| {
            secret
                .metadata
                .annotations
                .get(name)
                .map_or("", String::as_str)
        };
        let uid = annotation("kubernetes.io/service-account.uid");
        let name = annotation("kubernetes.io/service-account.name");
        self.accounts
            .get(&ObjectKey::new(secret.metadata.namespace.as_str(), name))
            .is_some_and(|account| {
                (uid.is_empty() || account.metadata.uid == uid)
                    && account
                        .secrets
                        .iter()
                        .any(|reference| reference.name == secret.metadata.name)
            })
    }

    async fn carry_out(
        &self,
        secret: &Secret,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<(), client::Error> {
        let api = self
            .client
            .namespaced::<Secret>(secret.metadata.namespace.as_str());
        let name = &secret.metadata.name;
        if *verdict == Verdict::Invalidate {
            let since = date_of(now).to_string();
            tracing::info!(
                secret = name,
                invalid_since = since,
                "Mark the auto-generated service account token as invalid"
            );
            let patch =
                json!({"metadata": {"uid": secret.metadata.uid, "labels": {INVALID_SINCE: since}}});
            let patch = Patch::Merge(patch.to_string().into_bytes());
            return api
                .patch(name, &patch, &PatchOptions::default())
                .await
                .map(drop);
        }
        tracing::info!(secret = name, "Delete auto-generated service account token");
        let options = DeleteOptions {
            preconditions: Some(Box::new(Preconditions {
                resource_version: Some(secret.metadata.resource_version.clone()),
                ..Default::default()
            })),
            ..Default::default()
        };
        match api.delete(name, &options).await {
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Usage before the day after tracking began may not have been noted.
    async fn tracked_since(&self) -> Result<Timestamp, SyncError> {
        let map = self
            .client
            .namespaced::<ConfigMap>("kube-system")
            .get(TRACKING)
            .await?;
        let since = map
            .data
            .get("since")
            .ok_or_else(|| SyncError::other("configMap does not have since label"))?;
        let day = date(since)
            .ok_or_else(|| SyncError::other(format!("error parsing trackedSince time: {since}")))?;
        day.checked_add(1.day())
            .and_then(|day| day.to_zoned(TimeZone::UTC))
            .map(|zoned| zoned.timestamp())
            .map_err(|error| SyncError::other(format!("error parsing trackedSince time: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use api_types::Time;
    use api_types::core::v1::{SecretVolumeSource, Volume};

    use super::*;

    #[test]
    fn verdicts() {
        let preserve: Timestamp = "2025-06-01T12:00:00Z".parse().unwrap();
        let check = |created: &str, labels: &[(&str, &str)], expected: Verdict| {
            let mut secret = Secret {
                type_: "kubernetes.io/service-account-token".into(),
                ..Default::default()
            };
            secret.metadata.creation_timestamp = Time::parse(created).unwrap();
            secret.metadata.labels = labels
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect();
            assert_eq!(judge(&secret, preserve), expected);
        };
        let old = "2024-01-01T00:00:00Z";
        check("2025-07-01T00:00:00Z", &[], Verdict::Keep);
        check(old, &[], Verdict::Invalidate);
        check(old, &[(LAST_USED, "2025-06-01")], Verdict::Keep);
        check(old, &[(LAST_USED, "2025-05-31")], Verdict::Invalidate);
        check(old, &[(LAST_USED, "yesterday")], Verdict::Keep);
        check(old, &[(INVALID_SINCE, "2025-06-01")], Verdict::Keep);
        check(old, &[(INVALID_SINCE, "2025-05-31")], Verdict::Delete);
        check(old, &[(INVALID_SINCE, "nonsense")], Verdict::Invalidate);
        check(
            old,
            &[(INVALID_SINCE, "2025-05-31"), (LAST_USED, "2025-07-01")],
            Verdict::Keep,
        );
    }

    #[test]
    fn secrets_of_pods() {
        let mut pod = Pod::default();
        let mut volume = Volume::default();
        volume.volume_source.secret = Some(Box::new(SecretVolumeSource {
            secret_name: "mounted".into(),
            ..Default::default()
        }));
        pod.spec.volumes.push(volume);
        pod.spec
            .image_pull_secrets
            .push(api_types::core::v1::LocalObjectReference {
                name: "pull".into(),
            });
        assert_eq!(
            secrets_of(&pod).into_iter().collect::<Vec<_>>(),
            ["mounted", "pull"]
        );
    }
}
