//! A folder of an NFS server. Upstream: `pkg/volume/nfs`.

use std::path::Path;
use std::sync::Arc;

use api_types::core::v1::NFSVolumeSource;
use futures::future::BoxFuture;

use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, blocking, layout};

const NAME: &str = "kubernetes.io/nfs";

/// The plugin.
pub(super) struct Nfs;

fn source(spec: &VolumeSpec) -> Option<(&NFSVolumeSource, bool)> {
    match spec.volume() {
        Some(volume) => volume.nfs.as_deref().map(|nfs| (nfs, nfs.read_only)),
        None => spec
            .persistent_source()
            .and_then(|source| source.nfs.as_deref())
            .map(|nfs| (nfs, spec.read_only)),
    }
}

impl VolumePlugin for Nfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        source(spec).is_some()
    }

    fn supports_mount_options(&self) -> bool {
        true
    }

    fn attributes(&self, spec: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: source(spec).is_some_and(|(_, read_only)| read_only),
            managed: false,
            selinux_relabel: false,
        }
    }

    fn set_up<'a>(
        &'a self,
        host: &'a Arc<VolumeHost>,
        set_up: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some((nfs, read_only)) = source(&set_up.spec) else {
                return Err("Spec does not reference a NFS volume type".to_owned());
            };
            let server = if nfs.server.contains(':') {
                format!("[{}]", nfs.server)
            } else {
                nfs.server.clone()
            };
            let remote = format!("{server}:{}", nfs.path);
            let mut options = set_up.spec.mount_options();
            if read_only && !options.iter().any(|option| option == "ro") {
                options.push("ro".to_owned());
            }
            let dir = self.path(host, &set_up.pod.metadata.uid, &set_up.spec);
            let host = host.clone();
            blocking(move || {
                if host
                    .mounter
                    .mount_at(&dir)
                    .map_err(|error| error.to_string())?
                    .is_some()
                {
                    return Ok(());
                }
                crate::sys::create_dir_all(&dir, 0o750)
                    .map_err(|error| format!("mkdir {}: {error}", dir.display()))?;
                host.mounter
                    .mount(Path::new(&remote), &dir, "nfs", &options)
                    .map_err(|error| {
                        if let Err(error) = host.mounter.clean_up(&dir) {
                            tracing::warn!(%error, "Failed to clean up after a mount that failed");
                        }
                        error.to_string()
                    })
            })
            .await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        let dir = layout::volume_dir(&host.root_dir, uid, NAME, volume);
        if host
            .mounter
            .mount_at(&dir)
            .map_err(|error| error.to_string())?
            .is_some()
            && let Err(error) = host.mounter.unmount(&dir)
        {
            tracing::warn!(%error, "Unmounting an NFS volume by force");
            host.mounter
                .unmount_forced(&dir)
                .map_err(|error| error.to_string())?;
        }
        host.mounter.clean_up(&dir)
    }

    fn measure(&self) -> How {
        How::StatFs
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{PersistentVolume, VolumeSource};

    use super::super::test_host::{TestHost, pod};
    use super::*;

    #[tokio::test]
    async fn mounts() {
        let test = TestHost::new();
        let dir = |name: &str| {
            test.root()
                .join("pods/uid-1/volumes/kubernetes.io~nfs")
                .join(name)
                .display()
                .to_string()
        };
        let nfs = |server: &str, read_only| {
            Some(Box::new(NFSVolumeSource {
                server: server.to_owned(),
                path: "/export".to_owned(),
                read_only,
            }))
        };
        let inline = VolumeSpec::inline(
            "v",
            VolumeSource {
                nfs: nfs("files", true),
                ..Default::default()
            },
        );
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "pv".to_owned();
        volume.spec.persistent_volume_source.nfs = nfs("fd00::1", false);
        volume.spec.mount_options = vec!["hard".to_owned()];
        let persistent = VolumeSpec::persistent(Arc::new(volume), "claim", false);
        for (spec, want) in [
            (inline, format!("mount files:/export {} nfs ro", dir("v"))),
            (
                persistent,
                format!("mount [fd00::1]:/export {} nfs hard", dir("pv")),
            ),
        ] {
            let name = spec.name.clone();
            let set_up = SetUp {
                pod: Arc::new(pod()),
                spec,
            };
            Nfs.set_up(&test.host, &set_up).await.expect("set up");
            Nfs.set_up(&test.host, &set_up).await.expect("again");
            assert_eq!(test.mounter.taken(), [want]);
            *test.mounter.fail_unmount.lock() = Some("the server does not answer".to_owned());
            Nfs.tear_down(&test.host, "uid-1", &name)
                .expect("torn down by force");
            assert_eq!(test.mounter.taken(), [format!("unmount {}", dir(&name))]);
        }
    }
}
