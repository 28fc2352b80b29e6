//! Keys of a ConfigMap as files. Upstream: `pkg/volume/configmap`.

use std::sync::Arc;

use api_types::core::v1::{ConfigMap, KeyToPath};
use futures::future::BoxFuture;

use super::atomic_writer::Payload;
use super::empty_dir::Medium;
use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, payload};
use crate::objects::ObjectError;

const NAME: &str = "kubernetes.io/configmap";

/// The plugin.
pub(super) struct ConfigMapVolume;

impl VolumePlugin for ConfigMapVolume {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume()
            .is_some_and(|volume| volume.config_map.is_some())
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
                .and_then(|volume| volume.config_map.as_deref())
            else {
                return Err("spec does not reference a ConfigMap volume type".to_owned());
            };
            let optional = source.optional.unwrap_or(false);
            let name = &source.local_object_reference.name;
            let config_map = fetch(host, &set_up.pod.metadata.namespace, name, optional).await?;
            let mode = payload::default_mode(source.default_mode)?;
            let files = files(&source.items, &config_map, mode, optional)?;
            // On disk, and not in memory like a Secret: upstream's choice, because the memory would be charged to nobody.
            payload::write(self, host, set_up, Medium::Disk, files).await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        payload::tear_down(host, NAME, uid, volume)
    }

    fn measure(&self) -> How {
        How::Du
    }
}

/// The ConfigMap; an empty one when it may be missing and is.
pub(super) async fn fetch(
    host: &VolumeHost,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<Arc<ConfigMap>, String> {
    match host.objects.config_map(namespace, name).await {
        Ok(config_map) => Ok(config_map),
        Err(ObjectError::NotFound(_)) if optional => Ok(Arc::default()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn files(
    items: &[KeyToPath],
    config_map: &ConfigMap,
    mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    let text = config_map
        .data
        .iter()
        .map(|(name, data)| (name, data.as_bytes()));
    let binary = config_map
        .binary_data
        .iter()
        .map(|(name, data)| (name, data.0.as_slice()));
    payload::from_items(
        items,
        text.chain(binary),
        |key| {
            let text = config_map.data.get(key).map(String::as_bytes);
            text.or_else(|| {
                config_map
                    .binary_data
                    .get(key)
                    .map(|data| data.0.as_slice())
            })
        },
        |key| format!("configmap references non-existent config key: {key}"),
        mode,
        optional,
    )
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;

    use super::*;

    #[test]
    fn upstream_cases() {
        let mut config_map = ConfigMap::default();
        config_map.data.insert("text".to_owned(), "foo".to_owned());
        config_map
            .binary_data
            .insert("bytes".to_owned(), ByteString(vec![0, 255]));
        let item = |key: &str, path: &str, mode| KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            mode,
        };
        let all = files(&[], &config_map, 0o644, false).expect("files");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["bytes", "text"]);
        assert_eq!(all["bytes"].data, [0, 255]);
        let some = files(
            &[item("bytes", "a/b", Some(0o600))],
            &config_map,
            0o644,
            false,
        )
        .expect("files");
        assert_eq!(
            (some["a/b"].data.as_slice(), some["a/b"].mode),
            ([0, 255].as_slice(), 0o600)
        );
        let missing = [item("nope", "x", None)];
        assert_eq!(
            files(&missing, &config_map, 0o644, false),
            Err("configmap references non-existent config key: nope".to_owned())
        );
        assert_eq!(
            files(&missing, &config_map, 0o644, true),
            Ok(Payload::new())
        );
        assert_eq!(
            payload::default_mode(None),
            Err("no defaultMode used, not even the default value for it".to_owned())
        );
    }
}
