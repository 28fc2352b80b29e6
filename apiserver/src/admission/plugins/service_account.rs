//! Gives a pod its service account, the account's token volume and pull secrets. Upstream: plugin/pkg/admission/serviceaccount.

use std::collections::HashSet;
use std::time::Duration;

use api_types::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, EnvFromSource,
    EnvVar, KeyToPath, LocalObjectReference, ObjectFieldSelector, Pod, ProjectedVolumeSource,
    ServiceAccount as Account, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use apimachinery::status::StatusError;
use component_base::auth::BoxFuture;
use rand::Rng as _;

use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::authz::node::{Kind, pod_references};

const DEFAULT_ACCOUNT: &str = "default";
/// A controller makes the default account of a new namespace soon: that often it is looked for.
const LOOKS_FOR_DEFAULT: usize = 10;
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
/// Exactly this and no audience: the token subresource then makes a token that lives a year and warns after this time.
const TOKEN_SECONDS: i64 = 3607;

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if attributes.operation != Operation::Create || !attributes.is_main("", "pods") {
                return Ok(());
            }
            let Some(pod) = attributes.object_mut::<Pod>() else {
                return Ok(());
            };
            if !pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
                if pod.spec.service_account_name.is_empty() {
                    DEFAULT_ACCOUNT.clone_into(&mut pod.spec.service_account_name);
                }
                // The old name of the field follows the new one.
                pod.spec
                    .service_account
                    .clone_from(&pod.spec.service_account_name);
                let name = pod.spec.service_account_name.clone();
                let account = account(attributes, &name, cluster).await?;
                let Some(pod) = attributes.object_mut::<Pod>() else {
                    return Ok(());
                };
                if pod
                    .spec
                    .automount_service_account_token
                    .or(account.automount_service_account_token)
                    .unwrap_or(true)
                {
                    mount_token(pod);
                }
                if pod.spec.image_pull_secrets.is_empty() {
                    pod.spec
                        .image_pull_secrets
                        .clone_from(&account.image_pull_secrets);
                }
            }
            check(attributes, cluster).await
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is("", "pods") {
                return Ok(());
            }
            match (attributes.operation, attributes.subresource.as_str()) {
                (Operation::Create, "") => check(attributes, cluster).await,
                (Operation::Update, "ephemeralcontainers") => {
                    check_ephemeral(attributes, cluster).await
                }
                _ => Ok(()),
            }
        })
    }
}

async fn check(attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    let Some(pod) = attributes.object::<Pod>() else {
        return Ok(());
    };
    if pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        return match mirror_problem(pod) {
            Some(problem) => Err(attributes.forbidden(problem)),
            None => Ok(()),
        };
    }
    if pod.spec.service_account_name.is_empty() {
        return Err(attributes.forbidden(format!(
            "no service account specified for pod {}/{}",
            attributes.namespace, pod.metadata.name
        )));
    }
    let account = account(attributes, &pod.spec.service_account_name, cluster).await?;
    if enforces_mountable_secrets(&account)
        && let Some(problem) = unreferenced_secret(&account, pod)
    {
        return Err(attributes.forbidden(problem));
    }
    Ok(())
}

async fn check_ephemeral(attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
    let Some(pod) = attributes.object::<Pod>() else {
        return Ok(());
    };
    if pod.spec.service_account_name.is_empty() {
        return Err(attributes.forbidden(format!(
            "no service account specified for pod {}/{}",
            attributes.namespace, pod.metadata.name
        )));
    }
    let account = account(attributes, &pod.spec.service_account_name, cluster).await?;
    if !enforces_mountable_secrets(&account) {
        return Ok(());
    }
    let secrets: HashSet<&str> = account
        .secrets
        .iter()
        .map(|secret| secret.name.as_str())
        .collect();
    for container in pod
        .spec
        .ephemeral_containers
        .iter()
        .map(|container| &container.ephemeral_container_common)
    {
        if let Some(problem) = environment_problem(
            "ephemeral container",
            &container.name,
            &container.env,
            &container.env_from,
            &secrets,
            &account.metadata.name,
        ) {
            return Err(attributes.forbidden(problem));
        }
    }
    Ok(())
}

/// A kubelet makes mirror pods: they must not be a way to any secret.
fn mirror_problem(pod: &Pod) -> Option<&'static str> {
    if !pod.spec.service_account_name.is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    // The node authorizer knows every place where a pod names a secret; seen as an ordinary pod, it names none.
    let mut ordinary = pod.clone();
    ordinary.metadata.annotations.remove(MIRROR_ANNOTATION);
    if pod_references(&ordinary)
        .iter()
        .any(|(kind, _)| *kind == Kind::Secret)
    {
        return Some("a mirror pod may not reference secrets");
    }
    let projects_token = |volume: &Volume| {
        volume
            .volume_source
            .projected
            .iter()
            .flat_map(|projected| &projected.sources)
            .any(|source| source.service_account_token.is_some())
    };
    pod.spec
        .volumes
        .iter()
        .any(projects_token)
        .then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

async fn account(
    attributes: &Attributes,
    name: &str,
    cluster: &dyn Cluster,
) -> Result<Account, StatusError> {
    let namespace = &attributes.namespace;
    let look = async |freshness| {
        let found = cluster
            .get("", "serviceaccounts", namespace, name, freshness)
            .await?;
        Ok::<_, StatusError>(found.and_then(|object| object.get::<Account>().cloned()))
    };
    if let Some(account) = look(Freshness::Cached).await? {
        return Ok(account);
    }
    let looks = if name == DEFAULT_ACCOUNT {
        LOOKS_FOR_DEFAULT
    } else {
        1
    };
    let pause = Duration::from_millis(rand::rng().random_range(100..200));
    for look_number in 0..looks {
        if look_number > 0 {
            tokio::time::sleep(pause).await;
        }
        if let Some(account) = look(Freshness::Consistent).await? {
            return Ok(account);
        }
    }
    Err(attributes.forbidden(format!(
        "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
    )))
}

fn enforces_mountable_secrets(account: &Account) -> bool {
    account
        .metadata
        .annotations
        .get(ENFORCE_ANNOTATION)
        .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn unreferenced_secret(account: &Account, pod: &Pod) -> Option<String> {
    let name = &account.metadata.name;
    let secrets: HashSet<&str> = account
        .secrets
        .iter()
        .map(|secret| secret.name.as_str())
        .collect();
    for secret in pod
        .spec
        .volumes
        .iter()
        .filter_map(|volume| volume.volume_source.secret.as_ref())
    {
        if !secrets.contains(secret.secret_name.as_str()) {
            return Some(format!(
                "volume with secret.secretName=\"{}\" is not allowed because service account {name} does not reference that secret",
                secret.secret_name
            ));
        }
    }
    let in_containers = |what: &str, containers: &[Container]| {
        containers.iter().find_map(|container| {
            environment_problem(
                what,
                &container.name,
                &container.env,
                &container.env_from,
                &secrets,
                name,
            )
        })
    };
    if let Some(problem) = in_containers("init container", &pod.spec.init_containers)
        .or_else(|| in_containers("container", &pod.spec.containers))
    {
        return Some(problem);
    }
    let pull_secrets: HashSet<&str> = account
        .image_pull_secrets
        .iter()
        .map(|secret| secret.name.as_str())
        .collect();
    pod.spec.image_pull_secrets.iter().enumerate().find(|(_, secret)| !pull_secrets.contains(secret.name.as_str())).map(|(index, secret)| {
        format!("imagePullSecrets[{index}].name=\"{}\" is not allowed because service account {name} does not reference that imagePullSecret", secret.name)
    })
}

fn environment_problem(
    what: &str,
    container: &str,
    env: &[EnvVar],
    env_from: &[EnvFromSource],
    secrets: &HashSet<&str>,
    account: &str,
) -> Option<String> {
    for variable in env {
        if let Some(reference) = variable
            .value_from
            .as_ref()
            .and_then(|source| source.secret_key_ref.as_ref())
            && !secrets.contains(reference.local_object_reference.name.as_str())
        {
            return Some(format!(
                "{what} {container} with envVar {} referencing secret.secretName=\"{}\" is not allowed because service account {account} does not reference that secret",
                variable.name, reference.local_object_reference.name
            ));
        }
    }
    env_from.iter().filter_map(|source| source.secret_ref.as_ref()).find(|reference| !secrets.contains(reference.local_object_reference.name.as_str())).map(|reference| {
        format!(
            "{what} {container} with envFrom referencing secret.secretName=\"{}\" is not allowed because service account {account} does not reference that secret",
            reference.local_object_reference.name
        )
    })
}

fn mount_token(pod: &mut Pod) {
    let existing = pod
        .spec
        .volumes
        .iter()
        .find(|volume| volume.name.starts_with(VOLUME_PREFIX))
        .map(|volume| volume.name.clone());
    let name = existing
        .clone()
        .unwrap_or_else(|| apimachinery::rand_suffix::generate_name(VOLUME_PREFIX));
    let mut mounted = false;
    for container in pod
        .spec
        .init_containers
        .iter_mut()
        .chain(&mut pod.spec.containers)
    {
        if !container
            .volume_mounts
            .iter()
            .any(|mount| mount.mount_path == MOUNT_PATH)
        {
            container.volume_mounts.push(VolumeMount {
                name: name.clone(),
                read_only: true,
                mount_path: MOUNT_PATH.to_owned(),
                ..VolumeMount::default()
            });
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        let mut volume = Volume {
            name,
            ..Volume::default()
        };
        volume.volume_source.projected = Some(Box::new(token_volume()));
        pod.spec.volumes.push(volume);
    }
}

/// The token, the cluster's CA and the namespace, as every pod finds them below the mount path.
fn token_volume() -> ProjectedVolumeSource {
    let token = ServiceAccountTokenProjection {
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        local_object_reference: LocalObjectReference {
            name: "kube-root-ca.crt".to_owned(),
        },
        items: vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            ..KeyToPath::default()
        }],
        ..ConfigMapProjection::default()
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(Box::new(ObjectFieldSelector {
            api_version: "v1".to_owned(),
            field_path: "metadata.namespace".to_owned(),
        })),
        ..DownwardAPIVolumeFile::default()
    };
    ProjectedVolumeSource {
        sources: vec![
            VolumeProjection {
                service_account_token: Some(Box::new(token)),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                config_map: Some(Box::new(authority)),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                downward_api: Some(Box::new(DownwardAPIProjection {
                    items: vec![namespace],
                })),
                ..VolumeProjection::default()
            },
        ],
        default_mode: Some(0o644),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::plugins::testing::{Few, create};
    use crate::registry::object::Object;

    #[test]
    fn the_token_is_mounted_once() {
        let mut pod = Pod::default();
        let mut own = Container {
            name: "own".into(),
            ..Container::default()
        };
        own.volume_mounts.push(VolumeMount {
            name: "mine".into(),
            mount_path: MOUNT_PATH.into(),
            ..VolumeMount::default()
        });
        pod.spec.containers = vec![
            Container {
                name: "a".into(),
                ..Container::default()
            },
            own.clone(),
        ];
        mount_token(&mut pod);
        assert_eq!(pod.spec.volumes.len(), 1);
        assert!(pod.spec.volumes[0].name.starts_with(VOLUME_PREFIX));
        assert_eq!(
            pod.spec.containers[0].volume_mounts[0].name,
            pod.spec.volumes[0].name
        );
        assert_eq!(pod.spec.containers[1], own);
        let once = pod.clone();
        mount_token(&mut pod);
        assert_eq!(pod, once);
    }

    #[tokio::test(start_paused = true)]
    async fn the_default_account_is_waited_for() {
        let account = |name: &str| {
            let mut account = Account::default();
            account.metadata.namespace = "n".into();
            account.metadata.name = name.into();
            Object::from(account)
        };
        let late = |late| Few {
            late,
            ..Few::default()
                .with("serviceaccounts", account("default"))
                .with("serviceaccounts", account("other"))
        };
        let admit = async |cluster: Few, name: &str| {
            let mut pod = Pod::default();
            pod.spec.service_account_name = name.into();
            let mut attributes = create(pod);
            let verdict = ServiceAccount.admit(&mut attributes, &cluster).await;
            (verdict.err().map(|error| error.to_string()), cluster.looks)
        };
        let (refused, _) = admit(late(10), "").await;
        assert_eq!(refused, None);
        let (refused, looks) = admit(late(11), "default").await;
        assert_eq!(
            refused.as_deref(),
            Some(
                "pods \"p\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found"
            )
        );
        assert_eq!(looks.into_inner(), 11);
        let (refused, looks) = admit(late(2), "other").await;
        assert!(refused.is_some());
        assert_eq!(
            looks.into_inner(),
            2,
            "only the default account is waited for"
        );
    }

    #[test]
    fn mirror_pods_reference_nothing() {
        let mut pod = Pod::default();
        assert_eq!(mirror_problem(&pod), None);
        let mut volume = Volume::default();
        volume.volume_source.projected = Some(Box::new(token_volume()));
        pod.spec.volumes.push(volume);
        assert_eq!(
            mirror_problem(&pod),
            Some("a mirror pod may not use ServiceAccountToken volume projections")
        );
        pod.spec
            .image_pull_secrets
            .push(LocalObjectReference { name: "s".into() });
        assert_eq!(
            mirror_problem(&pod),
            Some("a mirror pod may not reference secrets")
        );
        pod.spec.service_account_name = "a".into();
        assert_eq!(
            mirror_problem(&pod),
            Some("a mirror pod may not reference service accounts")
        );
    }
}
