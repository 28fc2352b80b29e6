//! Keys of a Secret as files, in memory. Upstream: `pkg/volume/secret`.

use std::sync::Arc;

use api_types::core::v1::{KeyToPath, Secret};
use futures::future::BoxFuture;

use super::atomic_writer::Payload;
use super::empty_dir::Medium;
use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, payload};
use crate::objects::ObjectError;

const NAME: &str = "kubernetes.io/secret";

/// The plugin.
pub(super) struct SecretVolume;

impl VolumePlugin for SecretVolume {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume().is_some_and(|volume| volume.secret.is_some())
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
                .and_then(|volume| volume.secret.as_deref())
            else {
                return Err("spec does not reference a Secret volume type".to_owned());
            };
            let optional = source.optional.unwrap_or(false);
            let secret = fetch(
                host,
                &set_up.pod.metadata.namespace,
                &source.secret_name,
                optional,
            )
            .await?;
            let mode = payload::default_mode(source.default_mode)?;
            let files = files(&source.items, &secret, mode, optional)?;
            payload::write(self, host, set_up, Medium::Memory, files).await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        payload::tear_down(host, NAME, uid, volume)
    }

    fn measure(&self) -> How {
        How::Du
    }
}

/// The Secret; an empty one when it may be missing and is.
pub(super) async fn fetch(
    host: &VolumeHost,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<Arc<Secret>, String> {
    match host.objects.secret(namespace, name).await {
        Ok(secret) => Ok(secret),
        Err(ObjectError::NotFound(_)) if optional => Ok(Arc::default()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn files(
    items: &[KeyToPath],
    secret: &Secret,
    mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    payload::from_items(
        items,
        secret
            .data
            .iter()
            .map(|(name, data)| (name, data.0.as_slice())),
        |key| secret.data.get(key).map(|data| data.0.as_slice()),
        |key| format!("references non-existent secret key: {key}"),
        mode,
        optional,
    )
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;
    use api_types::core::v1::{SecretVolumeSource, VolumeSource};

    use super::super::test_host::{TestHost, pod};
    use super::*;

    fn secret(data: &[(&str, &str)]) -> Secret {
        Secret {
            data: data
                .iter()
                .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
                .collect(),
            ..Default::default()
        }
    }

    pub(in super::super) fn item(key: &str, path: &str, mode: Option<i32>) -> KeyToPath {
        KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            mode,
        }
    }

    #[track_caller]
    fn check(items: &[KeyToPath], optional: bool, want: Result<&[(&str, &str, u32)], &str>) {
        let got = files(
            items,
            &secret(&[("foo", "foo"), ("bar", "bar")]),
            0o644,
            optional,
        );
        let got = got.map(|payload| {
            payload
                .into_iter()
                .map(|(path, file)| (path, String::from_utf8(file.data).expect("text"), file.mode))
                .collect::<Vec<_>>()
        });
        let want = want
            .map(|files| {
                files
                    .iter()
                    .map(|(path, data, mode)| ((*path).to_owned(), (*data).to_owned(), *mode))
                    .collect::<Vec<_>>()
            })
            .map_err(str::to_owned);
        assert_eq!(got, want);
    }

    #[test]
    fn upstream_cases() {
        check(
            &[],
            false,
            Ok(&[("bar", "bar", 0o644), ("foo", "foo", 0o644)]),
        );
        check(
            &[item("foo", "path/to/foo.txt", None)],
            false,
            Ok(&[("path/to/foo.txt", "foo", 0o644)]),
        );
        check(
            &[
                item("foo", "foo.txt", Some(0o400)),
                item("bar", "sub/bar", None),
            ],
            false,
            Ok(&[("foo.txt", "foo", 0o400), ("sub/bar", "bar", 0o644)]),
        );
        check(
            &[item("zab", "x", None)],
            false,
            Err("references non-existent secret key: zab"),
        );
        check(&[item("zab", "x", None)], true, Ok(&[]));
    }

    fn spec(optional: Option<bool>) -> VolumeSpec {
        let source = SecretVolumeSource {
            secret_name: "creds".to_owned(),
            default_mode: Some(0o640),
            optional,
            ..Default::default()
        };
        VolumeSpec::inline(
            "v",
            VolumeSource {
                secret: Some(Box::new(source)),
                ..Default::default()
            },
        )
    }

    #[tokio::test]
    async fn set_up_refresh_and_tear_down() {
        let test = TestHost::new();
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec(None),
        };
        assert_eq!(
            SecretVolume.set_up(&test.host, &set_up).await,
            Err("secret \"creds\" not found".to_owned())
        );
        assert!(test.mounter.taken().is_empty());
        test.objects
            .set_secret("creds", secret(&[("user", "admin")]));
        SecretVolume
            .set_up(&test.host, &set_up)
            .await
            .expect("set up");
        let dir = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~secret/v");
        assert!(
            test.mounter.taken()[0]
                .starts_with(&format!("mount tmpfs {} tmpfs size=", dir.display()))
        );
        assert!(
            test.root()
                .join("pods/uid-1/plugins/kubernetes.io~empty-dir/wrapped_v/ready")
                .is_file()
        );
        assert_eq!(
            std::fs::read_to_string(dir.join("user")).expect("file"),
            "admin"
        );
        let before = std::fs::read_link(dir.join("..data")).expect("link");
        SecretVolume
            .set_up(&test.host, &set_up)
            .await
            .expect("unchanged");
        assert_eq!(
            std::fs::read_link(dir.join("..data")).expect("link"),
            before
        );
        test.objects
            .set_secret("creds", secret(&[("user", "root"), ("more", "x")]));
        SecretVolume
            .set_up(&test.host, &set_up)
            .await
            .expect("refreshed");
        assert_eq!(
            std::fs::read_to_string(dir.join("user")).expect("file"),
            "root"
        );
        assert_ne!(
            std::fs::read_link(dir.join("..data")).expect("link"),
            before
        );
        assert!(!dir.join(before).exists());
        SecretVolume
            .tear_down(&test.host, "uid-1", "v")
            .expect("torn down");
        assert!(!dir.exists());
    }

    #[tokio::test]
    async fn an_optional_secret_may_be_missing() {
        let test = TestHost::new();
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec(Some(true)),
        };
        SecretVolume
            .set_up(&test.host, &set_up)
            .await
            .expect("set up");
        let dir = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~secret/v");
        assert!(dir.join("..data").exists());
    }
}
