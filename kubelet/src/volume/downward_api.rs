//! Fields of the pod as files. Upstream: `pkg/volume/downwardapi`, `pkg/fieldpath`.

use std::sync::Arc;

use api_types::core::v1::{DownwardAPIVolumeFile, Pod};
use futures::future::BoxFuture;

use super::atomic_writer::{FileProjection, Payload};
use super::empty_dir::Medium;
use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, payload};
use crate::pod_options::env::{FieldValues, field_value, resource_value};

const NAME: &str = "kubernetes.io/downward-api";

/// The plugin.
pub(super) struct DownwardApi;

impl VolumePlugin for DownwardApi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume()
            .is_some_and(|volume| volume.downward_api.is_some())
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
                .and_then(|volume| volume.downward_api.as_deref())
            else {
                return Err("spec does not reference a DownwardAPI volume type".to_owned());
            };
            let mode = payload::default_mode(source.default_mode)?;
            let files = files(host, &source.items, &set_up.pod, mode)
                .map_err(|errors| aggregate(&errors))?;
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

/// Several errors as Go's aggregate prints them: repeats once, brackets around more than one.
pub(super) fn aggregate(errors: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for error in errors {
        if !distinct.contains(&error.as_str()) {
            distinct.push(error);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// The files, or all that is wrong with them.
pub(super) fn files(
    host: &VolumeHost,
    items: &[DownwardAPIVolumeFile],
    pod: &Pod,
    mode: u32,
) -> Result<Payload, Vec<String>> {
    let allocatable = host.node.allocatable();
    // Addresses are not among the fields a volume may ask for: they can change after the files were written.
    let fields = FieldValues {
        host_ips: &[],
        pod_ips: &[],
        allocatable: &allocatable,
    };
    let mut errors = Vec::new();
    let mut payload = Payload::new();
    for item in items {
        let value = if let Some(field) = &item.field_ref {
            if field.field_path.starts_with("metadata.") {
                field_value(&field.field_path, pod, &fields)
            } else {
                Err(format!("unsupported fieldPath: {}", field.field_path))
            }
        } else if let Some(resource) = &item.resource_field_ref {
            resource_value(resource, pod, None, &allocatable)
        } else {
            Ok(String::new())
        };
        match value {
            Ok(value) => {
                let mode = payload::mode_or(item.mode, mode);
                payload.insert(
                    item.path.clone(),
                    FileProjection {
                        data: value.into_bytes(),
                        mode,
                        fs_user: None,
                    },
                );
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(payload)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use api_types::core::v1::{
        DownwardAPIVolumeSource, ObjectFieldSelector, ResourceFieldSelector, VolumeSource,
    };

    use super::super::test_host::{TestHost, pod};
    use super::*;
    use crate::pod_resources::tests::container;

    pub(in super::super) fn field(
        path: &str,
        field_path: &str,
        mode: Option<i32>,
    ) -> DownwardAPIVolumeFile {
        DownwardAPIVolumeFile {
            path: path.to_owned(),
            field_ref: Some(Box::new(ObjectFieldSelector {
                field_path: field_path.to_owned(),
                ..Default::default()
            })),
            mode,
            ..Default::default()
        }
    }

    fn resource(path: &str, container: &str, resource: &str) -> DownwardAPIVolumeFile {
        DownwardAPIVolumeFile {
            path: path.to_owned(),
            resource_field_ref: Some(Box::new(ResourceFieldSelector {
                container_name: container.to_owned(),
                resource: resource.to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    #[test]
    fn upstream_cases() {
        let test = TestHost::new();
        let mut pod = pod();
        for (key, value) in [("key1", "value1"), ("key2", "value \"2\"\nx")] {
            pod.metadata.labels.insert(key.to_owned(), value.to_owned());
        }
        pod.metadata
            .annotations
            .insert("a1".to_owned(), "v1".to_owned());
        pod.spec.containers = vec![container("c", &[("memory", "32Mi")], &[("cpu", "1500m")])];
        let text = |item: DownwardAPIVolumeFile| {
            let path = item.path.clone();
            let got = files(&test.host, &[item], &pod, 0o644)?;
            Ok::<_, Vec<String>>((
                String::from_utf8(got[&path].data.clone()).expect("text"),
                got[&path].mode,
            ))
        };
        for (item, want) in [
            (
                field("l", "metadata.labels", None),
                "key1=\"value1\"\nkey2=\"value \\\"2\\\"\\nx\"",
            ),
            (field("l", "metadata.labels['key1']", None), "value1"),
            (field("a", "metadata.annotations", None), "a1=\"v1\""),
            (field("a", "metadata.annotations['a1']", None), "v1"),
            (field("n", "metadata.name", None), "pod"),
            (field("ns", "metadata.namespace", None), "ns"),
            (field("u", "metadata.uid", None), "uid-1"),
            (resource("r", "c", "requests.memory"), "33554432"),
            (resource("r", "c", "limits.cpu"), "2"),
            (resource("r", "c", "limits.memory"), "1073741824"),
        ] {
            assert_eq!(text(item), Ok((want.to_owned(), 0o644)));
        }
        assert_eq!(
            text(field("n", "metadata.name", Some(0o400)))
                .expect("file")
                .1,
            0o400
        );
        assert_eq!(
            text(field("x", "status.podIP", None)),
            Err(vec!["unsupported fieldPath: status.podIP".to_owned()])
        );
        assert_eq!(
            text(resource("x", "nope", "limits.cpu")),
            Err(vec!["container nope not found".to_owned()])
        );
    }

    #[test]
    fn errors_are_put_together() {
        assert_eq!(aggregate(&["a".to_owned()]), "a");
        assert_eq!(
            aggregate(&["a".to_owned(), "b".to_owned(), "a".to_owned()]),
            "[a, b]"
        );
    }

    #[tokio::test]
    async fn a_new_label_reaches_the_volume() {
        let test = TestHost::new();
        let source = DownwardAPIVolumeSource {
            items: vec![field("labels", "metadata.labels", None)],
            default_mode: Some(0o644),
        };
        let spec = VolumeSpec::inline(
            "v",
            VolumeSource {
                downward_api: Some(Box::new(source)),
                ..Default::default()
            },
        );
        let mut pod = pod();
        for value in ["one", "two"] {
            pod.metadata.labels.insert("l".to_owned(), value.to_owned());
            DownwardApi
                .set_up(
                    &test.host,
                    &SetUp {
                        pod: Arc::new(pod.clone()),
                        spec: spec.clone(),
                    },
                )
                .await
                .expect("set up");
            let file = test
                .root()
                .join("pods/uid-1/volumes/kubernetes.io~downward-api/v/labels");
            assert_eq!(
                std::fs::read_to_string(file).expect("file"),
                format!("l=\"{value}\"")
            );
        }
    }
}
