//! Several sources in one volume: secrets, ConfigMaps, pod fields and service account tokens. Upstream: `pkg/volume/projected`.

use std::sync::Arc;

use api_types::authentication::v1::{BoundObjectReference, TokenRequest};
use api_types::core::v1::{ProjectedVolumeSource, ServiceAccountTokenProjection};
use futures::future::BoxFuture;

use super::atomic_writer::{FileProjection, Payload};
use super::empty_dir::Medium;
use super::measure::How;
use super::{
    Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, config_map, downward_api, payload,
    secret,
};

const NAME: &str = "kubernetes.io/projected";
/// Mode of tokens in volumes with an owner or a group of their own; the change of the group opens them to it.
const TOKEN_MODE: u32 = 0o600;

/// The plugin.
pub(super) struct Projected;

impl VolumePlugin for Projected {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume()
            .is_some_and(|volume| volume.projected.is_some())
    }

    fn requires_remount(&self) -> bool {
        true
    }

    fn attributes(&self, _: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: true,
            managed: true,
            selinux_relabel: true,
        }
    }

    fn set_up<'a>(
        &'a self,
        host: &'a Arc<VolumeHost>,
        set_up: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some(source) = set_up
                .spec
                .volume()
                .and_then(|volume| volume.projected.as_deref())
            else {
                return Err("spec does not reference a projected volume type".to_owned());
            };
            let files = files(host, source, set_up).await?;
            payload::write(self, host, set_up, Medium::Memory, files).await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        payload::tear_down(host, NAME, uid, volume)?;
        host.tokens.delete_pod(uid);
        Ok(())
    }

    fn measure(&self) -> How {
        How::Du
    }
}

/// All files; a path that two sources have is the later one's.
async fn files(
    host: &VolumeHost,
    source: &ProjectedVolumeSource,
    set_up: &SetUp,
) -> Result<Payload, String> {
    let mode = payload::default_mode(source.default_mode)?;
    if host.client.is_none() && !host.tokens.has_client() {
        return Err(format!(
            "cannot setup projected volume {} because kube client is not configured",
            set_up.spec.name
        ));
    }
    let namespace = &set_up.pod.metadata.namespace;
    let mut payload = Payload::new();
    let mut errors = Vec::new();
    for projection in &source.sources {
        let found = if let Some(source) = &projection.secret {
            let optional = source.optional.unwrap_or(false);
            let fetched = secret::fetch(
                host,
                namespace,
                &source.local_object_reference.name,
                optional,
            )
            .await;
            fetched
                .and_then(|found| secret::files(&source.items, &found, mode, optional))
                .map_err(|error| vec![error])
        } else if let Some(source) = &projection.config_map {
            let optional = source.optional.unwrap_or(false);
            let fetched = config_map::fetch(
                host,
                namespace,
                &source.local_object_reference.name,
                optional,
            )
            .await;
            fetched
                .and_then(|found| config_map::files(&source.items, &found, mode, optional))
                .map_err(|error| vec![error])
        } else if let Some(source) = &projection.downward_api {
            // The errors of one source are one error to the list.
            downward_api::files(host, &source.items, &set_up.pod, mode)
                .map_err(|errors| vec![downward_api::aggregate(&errors)])
        } else if let Some(source) = &projection.service_account_token {
            token(host, source, set_up, mode)
                .await
                .map_err(|error| vec![error])
        } else if projection.cluster_trust_bundle.is_some() {
            Err(vec![
                "ClusterTrustBundle projection is not supported in static kubelet mode".to_owned(),
            ])
        } else if projection.pod_certificate.is_some() {
            Err(vec![
                "PodCertificate projection is not available on this node".to_owned(),
            ])
        } else {
            Ok(Payload::new())
        };
        match found {
            Ok(found) => payload.extend(found),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        Ok(payload)
    } else {
        Err(downward_api::aggregate(&errors))
    }
}

async fn token(
    host: &VolumeHost,
    source: &ServiceAccountTokenProjection,
    set_up: &SetUp,
    mode: u32,
) -> Result<Payload, String> {
    let pod = &set_up.pod;
    let mut request = TokenRequest::default();
    if !source.audience.is_empty() {
        request.spec.audiences = vec![source.audience.clone()];
    }
    request.spec.expiration_seconds = source.expiration_seconds;
    request.spec.bound_object_ref = Some(Box::new(BoundObjectReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }));
    let got = host
        .tokens
        .get(
            &pod.metadata.namespace,
            &pod.spec.service_account_name,
            request,
        )
        .await?;
    let fs_user = set_up.fs_user();
    let mode = if fs_user.is_some() || set_up.fs_group().is_some() {
        TOKEN_MODE
    } else {
        mode
    };
    let file = FileProjection {
        data: got.status.token.into_bytes(),
        mode,
        fs_user,
    };
    Ok(Payload::from([(source.path.clone(), file)]))
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;
    use api_types::core::v1::{
        ConfigMap, ConfigMapProjection, DownwardAPIProjection, LocalObjectReference, Secret,
        SecretProjection, VolumeProjection, VolumeSource,
    };

    use super::super::test_host::{TestHost, pod};
    use super::*;

    fn name(name: &str) -> LocalObjectReference {
        LocalObjectReference {
            name: name.to_owned(),
        }
    }

    fn of_secret(secret: &str) -> VolumeProjection {
        VolumeProjection {
            secret: Some(Box::new(SecretProjection {
                local_object_reference: name(secret),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn of_config_map(map: &str) -> VolumeProjection {
        VolumeProjection {
            config_map: Some(Box::new(ConfigMapProjection {
                local_object_reference: name(map),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn of_field(path: &str, field: &str) -> VolumeProjection {
        VolumeProjection {
            downward_api: Some(Box::new(DownwardAPIProjection {
                items: vec![downward_api::tests::field(path, field, None)],
            })),
            ..Default::default()
        }
    }

    fn set_up(sources: Vec<VolumeProjection>) -> SetUp {
        let source = ProjectedVolumeSource {
            sources,
            default_mode: Some(0o644),
        };
        let spec = VolumeSpec::inline(
            "v",
            VolumeSource {
                projected: Some(Box::new(source)),
                ..Default::default()
            },
        );
        SetUp {
            pod: Arc::new(pod()),
            spec,
        }
    }

    async fn collect(test: &TestHost, set_up: &SetUp) -> Result<Vec<(String, String)>, String> {
        let source = set_up
            .spec
            .volume()
            .and_then(|volume| volume.projected.as_deref())
            .expect("projected");
        let files = files(&test.host, source, set_up).await?;
        Ok(files
            .into_iter()
            .map(|(path, file)| (path, String::from_utf8(file.data).expect("text")))
            .collect())
    }

    fn filled() -> TestHost {
        let test = TestHost::new();
        let mut secret = Secret::default();
        secret
            .data
            .insert("x".to_owned(), ByteString(b"secret".to_vec()));
        secret
            .data
            .insert("y".to_owned(), ByteString(b"secret".to_vec()));
        test.objects.set_secret("s", secret);
        let mut map = ConfigMap::default();
        map.data.insert("x".to_owned(), "map".to_owned());
        test.objects.set_config_map("m", map);
        test
    }

    #[tokio::test]
    async fn the_later_source_wins_a_collision() {
        let test = filled();
        for (sources, want) in [
            (vec![of_secret("s"), of_config_map("m")], "map"),
            (vec![of_config_map("m"), of_secret("s")], "secret"),
            (
                vec![
                    of_config_map("m"),
                    of_secret("s"),
                    of_field("x", "metadata.name"),
                ],
                "pod",
            ),
        ] {
            let got = collect(&test, &set_up(sources)).await.expect("files");
            let pair = |path: &str, data: &str| (path.to_owned(), data.to_owned());
            assert_eq!(got, [pair("x", want), pair("y", "secret")]);
        }
    }

    #[tokio::test]
    async fn all_errors_are_told() {
        let test = filled();
        let sources = vec![
            of_secret("none"),
            of_config_map("none"),
            of_field("x", "spec.nope"),
        ];
        assert_eq!(
            collect(&test, &set_up(sources)).await,
            Err("[secret \"none\" not found, configmap \"none\" not found, unsupported fieldPath: spec.nope]".to_owned())
        );
    }

    #[tokio::test]
    async fn tokens_are_bound_to_the_pod() {
        let test = filled();
        let projection = VolumeProjection {
            service_account_token: Some(Box::new(ServiceAccountTokenProjection {
                audience: "vault".to_owned(),
                expiration_seconds: Some(3600),
                path: "token".to_owned(),
            })),
            ..Default::default()
        };
        let set_up = set_up(vec![projection]);
        assert_eq!(
            collect(&test, &set_up).await.expect("files"),
            [(
                "token".to_owned(),
                "token 1 of ns/robot for vault, pod uid-1".to_owned()
            )]
        );
        // The second time it comes from the cache.
        assert_eq!(
            collect(&test, &set_up).await.expect("files")[0].1,
            "token 1 of ns/robot for vault, pod uid-1"
        );
        Projected
            .tear_down(&test.host, "uid-1", "v")
            .expect("torn down");
        assert_eq!(
            collect(&test, &set_up).await.expect("files")[0].1,
            "token 2 of ns/robot for vault, pod uid-1"
        );
    }
}
