//! A folder or file system of this node behind a PersistentVolume. Upstream: `pkg/volume/local`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::measure::How;
use super::mounter::MountPoint;
use super::ownership::Ownership;
use super::{
    Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, blocking, layout, no_backsteps,
};

const NAME: &str = "kubernetes.io/local-volume";

/// The plugin.
pub(super) struct Local;

impl VolumePlugin for Local {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        // Only PersistentVolumes can be local: a pod has hostPath for that.
        spec.persistent_source()
            .is_some_and(|source| source.local.is_some())
    }

    fn supports_mount_options(&self) -> bool {
        true
    }

    fn attributes(&self, spec: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: spec.read_only,
            managed: !spec.read_only,
            selinux_relabel: true,
        }
    }

    fn set_up<'a>(
        &'a self,
        host: &'a Arc<VolumeHost>,
        set_up: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let spec = &set_up.spec;
            let Some(source) = spec
                .persistent_source()
                .and_then(|source| source.local.as_deref())
            else {
                return Err("Spec does not reference a Local volume type".to_owned());
            };
            let path = source.path.clone();
            if path.is_empty() {
                return Err(format!("LocalVolume volume {:?} path is empty", spec.name));
            }
            no_backsteps(&path).map_err(|error| format!("invalid path: {path} {error}"))?;
            let mut options = vec!["bind".to_owned()];
            if spec.read_only {
                options.push("ro".to_owned());
            }
            for option in spec.mount_options() {
                if !options.contains(&option) {
                    options.push(option);
                }
            }
            let ownership = Ownership {
                group: set_up.fs_group(),
                read_only: spec.read_only,
                on_root_mismatch: set_up.on_root_mismatch(),
            };
            let dir = self.path(host, &set_up.pod.metadata.uid, spec);
            let host = host.clone();
            blocking(move || bind(&host, Path::new(&path), &dir, &options, ownership)).await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        host.mounter
            .clean_up(&layout::volume_dir(&host.root_dir, uid, NAME, volume))
    }

    fn measure(&self) -> How {
        How::StatFs
    }
}

fn bind(
    host: &VolumeHost,
    source: &Path,
    dir: &Path,
    options: &[String],
    ownership: Ownership,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let metadata =
        std::fs::metadata(source).map_err(|error| format!("stat {}: {error}", source.display()))?;
    if !metadata.is_dir() {
        return Err(format!(
            "local volume {} is not a directory: only directories can be used on this node",
            source.display()
        ));
    }
    if host.mounter.mount_at(dir).map_err(text)?.is_some() {
        return Ok(());
    }
    let shared = used_by_other_pods(host, source).map_err(text)?;
    crate::sys::create_dir_all(dir, 0o750)
        .map_err(|error| format!("mkdir {}: {error}", dir.display()))?;
    if let Err(error) = host.mounter.mount(source, dir, "", options) {
        if let Err(error) = host.mounter.clean_up(dir) {
            tracing::warn!(%error, "Failed to clean up after a mount that failed");
        }
        return Err(error.to_string());
    }
    // The owner is written at the first mount only: another pod may rely on it.
    if !ownership.read_only && !shared {
        ownership.apply(dir).map_err(text)?;
    }
    Ok(())
}

/// Whether the folder is mounted into a pod already.
fn used_by_other_pods(host: &VolumeHost, source: &Path) -> std::io::Result<bool> {
    let mounts = host.mounter.mounts()?;
    let real: PathBuf = source.canonicalize()?;
    // The folder is a part of the innermost mount above it; mounts of that part elsewhere are the volume's other uses.
    let holder = mounts
        .iter()
        .rev()
        .filter(|mount| real.starts_with(&mount.path))
        .max_by_key(|mount| mount.path.components().count());
    let same = |mount: &MountPoint| match holder {
        Some(holder) => {
            let inside = real.strip_prefix(&holder.path).unwrap_or(Path::new(""));
            mount.device == holder.device && mount.root == holder.root.join(inside)
        }
        None => mount.root == real,
    };
    let pods = layout::pods_dir(&host.root_dir);
    Ok(mounts
        .iter()
        .any(|mount| mount.path.starts_with(&pods) && same(mount)))
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{LocalVolumeSource, PersistentVolume, PodSecurityContext};

    use super::super::test_host::{TestHost, pod};
    use super::*;

    fn spec(path: &Path, read_only: bool) -> VolumeSpec {
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "pv".to_owned();
        volume.spec.persistent_volume_source.local = Some(Box::new(LocalVolumeSource {
            path: path.to_string_lossy().into_owned(),
            ..Default::default()
        }));
        VolumeSpec::persistent(Arc::new(volume), "claim", read_only)
    }

    #[tokio::test]
    async fn bind_mounts() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let test = TestHost::new();
        let data = tempfile::tempdir().expect("folder");
        let dir = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~local-volume/pv");
        let mut pod = pod();
        let gid = std::fs::metadata(data.path()).expect("metadata").gid();
        pod.spec.security_context = Some(Box::new(PodSecurityContext {
            fs_group: Some(i64::from(gid)),
            ..Default::default()
        }));
        let set_up = SetUp {
            pod: Arc::new(pod),
            spec: spec(data.path(), false),
        };
        assert!(Local.can_support(&set_up.spec));
        for _ in 0..2 {
            Local.set_up(&test.host, &set_up).await.expect("set up");
        }
        assert_eq!(
            test.mounter.taken(),
            [format!(
                "mount {} {}  bind",
                data.path().display(),
                dir.display()
            )]
        );
        assert_eq!(
            std::fs::metadata(&dir)
                .expect("folder")
                .permissions()
                .mode()
                & 0o2770,
            0o2770
        );
        Local
            .tear_down(&test.host, "uid-1", "pv")
            .expect("torn down");
        assert_eq!(test.mounter.taken(), [format!("unmount {}", dir.display())]);
        assert!(!dir.exists());
        let set_up = SetUp {
            pod: set_up.pod,
            spec: spec(data.path(), true),
        };
        Local.set_up(&test.host, &set_up).await.expect("set up");
        assert_eq!(
            test.mounter.taken(),
            [format!(
                "mount {} {}  bind,ro",
                data.path().display(),
                dir.display()
            )]
        );
    }

    #[tokio::test]
    async fn a_failed_mount_leaves_nothing() {
        let test = TestHost::new();
        let data = tempfile::tempdir().expect("folder");
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec(data.path(), false),
        };
        *test.mounter.fail_mount.lock() = Some("no".to_owned());
        assert!(
            Local
                .set_up(&test.host, &set_up)
                .await
                .expect_err("failed")
                .starts_with("mount failed: no\n")
        );
        assert!(
            !test
                .root()
                .join("pods/uid-1/volumes/kubernetes.io~local-volume/pv")
                .exists()
        );
        let none = SetUp {
            pod: Arc::new(pod()),
            spec: spec(Path::new("/nowhere/at/all"), false),
        };
        assert!(Local.set_up(&test.host, &none).await.is_err());
        let up = SetUp {
            pod: Arc::new(pod()),
            spec: spec(Path::new("/a/../b"), false),
        };
        assert_eq!(
            Local.set_up(&test.host, &up).await,
            Err("invalid path: /a/../b must not contain '..'".to_owned())
        );
    }
}
