//! An empty folder for the life of a pod, on disk or in memory. Upstream: `pkg/volume/emptydir`.
//!
//! Secrets, ConfigMaps and the like are files in such a folder, under the name `wrapped_<volume>`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::{EmptyDirVolumeSource, Pod};
use futures::future::BoxFuture;

use super::measure::How;
use super::mounter::tmpfs_noswap_supported;
use super::ownership::Ownership;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, blocking, layout};
use crate::pod_resources;

const MODE: u32 = 0o777;
pub(super) const NAME: &str = "kubernetes.io/empty-dir";

/// The plugin.
pub(super) struct EmptyDir;

impl VolumePlugin for EmptyDir {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        spec.volume()
            .is_some_and(|volume| volume.empty_dir.is_some())
    }

    fn attributes(&self, _: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: false,
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
            let source = set_up
                .spec
                .volume()
                .and_then(|volume| volume.empty_dir.as_deref())
                .cloned()
                .unwrap_or_default();
            let folder = Folder {
                dir: self.path(host, &set_up.pod.metadata.uid, &set_up.spec),
                ready_dir: ready_dir(host, &set_up.pod.metadata.uid, &set_up.spec.name),
                medium: medium(&source)?,
                size: memory_size(host, &set_up.pod, &source),
                ownership: Ownership {
                    group: set_up.fs_group(),
                    read_only: false,
                    on_root_mismatch: false,
                },
            };
            let host = host.clone();
            blocking(move || folder.set_up(&host)).await
        })
    }

    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String> {
        tear_down_folder(
            host,
            uid,
            volume,
            &layout::volume_dir(&host.root_dir, uid, NAME, volume),
        )
    }

    fn measure(&self) -> How {
        How::Du
    }
}

/// What the folder is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Disk,
    Memory,
}

fn medium(source: &EmptyDirVolumeSource) -> Result<Medium, String> {
    match source.medium.as_str() {
        "" => Ok(Medium::Disk),
        "Memory" => Ok(Medium::Memory),
        other if other.starts_with("HugePages") => Err(format!(
            "storage medium {other:?} is not available on this node: volumes of huge pages cannot be mounted"
        )),
        other => Err(format!("unknown storage medium {other:?}")),
    }
}

/// Size of a folder in memory: the smallest of what the node, the pod and the volume allow. Zero is "no limit".
pub(super) fn memory_size(host: &VolumeHost, pod: &Pod, source: &EmptyDirVolumeSource) -> i64 {
    let mut size = host
        .node
        .allocatable()
        .get("memory")
        .map_or(0, api_types::Quantity::value);
    let smaller = |limit: i64, size: i64| {
        if limit > 0 && limit <= size {
            limit
        } else {
            size
        }
    };
    // The limit of a pod counts only when every container has one.
    let limited = |list: &api_types::core::v1::ResourceRequirements| {
        pod_resources::get(&list.limits, "memory") > 0
    };
    let of_pod = pod.spec.resources.as_deref().is_some_and(limited)
        || pod
            .spec
            .containers
            .iter()
            .chain(&pod.spec.init_containers)
            .all(|container| limited(&container.resources));
    if of_pod {
        size = smaller(
            pod_resources::pod_limits(pod)
                .get("memory")
                .copied()
                .unwrap_or(0),
            size,
        );
    }
    smaller(
        source
            .size_limit
            .as_ref()
            .map_or(0, api_types::Quantity::value),
        size,
    )
}

/// Folder of the file that says a volume is complete.
pub(super) fn ready_dir(host: &VolumeHost, uid: &str, name: &str) -> PathBuf {
    layout::pod_plugin_dir(&host.root_dir, uid, NAME).join(name)
}

/// One folder to be set up.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) ready_dir: PathBuf,
    pub(super) medium: Medium,
    pub(super) size: i64,
    pub(super) ownership: Ownership,
}

impl Folder {
    /// Makes and mounts the folder; if it is there already, nothing is changed.
    pub(super) fn set_up(&self, host: &VolumeHost) -> Result<(), String> {
        let mounted = host
            .mounter
            .mount_at(&self.dir)
            .map_err(|error| error.to_string())?;
        if self.ready_dir.join("ready").is_file() {
            match self.medium {
                Medium::Memory if mounted.is_some() => return Ok(()),
                Medium::Disk if self.dir.exists() => return Ok(()),
                // Removed behind our back: all is made again.
                _ => {
                    let _ = std::fs::remove_dir_all(&self.ready_dir);
                }
            }
        }
        self.make()?;
        if self.medium == Medium::Memory && mounted.is_none_or(|mount| mount.fs_type != "tmpfs") {
            let mut options = Vec::new();
            if self.size > 0 {
                options.push(format!("size={}", self.size));
            }
            if tmpfs_noswap_supported() {
                options.push("noswap".to_owned());
            }
            host.mounter
                .mount(Path::new("tmpfs"), &self.dir, "tmpfs", &options)
                .map_err(|error| error.to_string())?;
        }
        if let Err(error) = self.ownership.apply(&self.dir) {
            // Upstream goes on as well; the files show the mistake.
            tracing::error!(dir = %self.dir.display(), %error, "Could not change the owners of an emptyDir");
        }
        if let Err(error) = crate::sys::create_dir_all(&self.ready_dir, 0o750)
            .and_then(|()| std::fs::File::create(self.ready_dir.join("ready")).map(drop))
        {
            tracing::error!(dir = %self.ready_dir.display(), %error, "Can't mark a volume as ready");
        }
        Ok(())
    }

    fn make(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("mkdir {}: {error}", self.dir.display());
        // Parents are the kubelet's; only the volume itself is open to everybody.
        if let Some(parent) = self.dir.parent() {
            crate::sys::create_dir_all(parent, 0o750).map_err(failed)?;
        }
        crate::sys::create_dir_all(&self.dir, MODE).map_err(failed)?;
        let mode = std::fs::symlink_metadata(&self.dir)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o777 != MODE {
            // The umask took bits away.
            std::fs::set_permissions(&self.dir, std::fs::Permissions::from_mode(MODE))
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// Unmounts a folder in memory, removes what is in one on disk.
pub(super) fn tear_down_folder(
    host: &VolumeHost,
    uid: &str,
    name: &str,
    dir: &Path,
) -> Result<(), String> {
    let ready_dir = ready_dir(host, uid, name);
    if let Err(error) = std::fs::remove_dir_all(&ready_dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(format!(
            "failed to remove ready dir [{}]: {error}",
            ready_dir.display()
        ));
    }
    if std::fs::symlink_metadata(dir)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        return Ok(());
    }
    while host
        .mounter
        .mount_at(dir)
        .map_err(|error| error.to_string())?
        .is_some()
    {
        host.mounter
            .unmount(dir)
            .map_err(|error| error.to_string())?;
    }
    // Removing a tree must not reach into a file system that a container mounted below.
    let below = host
        .mounter
        .mounts_below(dir)
        .map_err(|error| error.to_string())?;
    if let Some(mount) = below.first() {
        return Err(format!("{} has mounts below it: {mount}", dir.display()));
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use api_types::Quantity;
    use api_types::core::v1::VolumeSource;

    use super::super::test_host::{TestHost, pod};
    use super::*;

    fn spec(medium: &str, limit: Option<&str>) -> VolumeSpec {
        let source = EmptyDirVolumeSource {
            medium: medium.to_owned(),
            size_limit: limit.map(|limit| Quantity::parse(limit).expect("quantity")),
        };
        VolumeSpec::inline(
            "v",
            VolumeSource {
                empty_dir: Some(Box::new(source)),
                ..Default::default()
            },
        )
    }

    #[tokio::test]
    async fn on_disk() {
        let test = TestHost::new();
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec("", None),
        };
        EmptyDir.set_up(&test.host, &set_up).await.expect("set up");
        let dir = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~empty-dir/v");
        assert_eq!(
            std::fs::metadata(&dir)
                .expect("folder")
                .permissions()
                .mode()
                & 0o777,
            0o777
        );
        assert!(
            test.root()
                .join("pods/uid-1/plugins/kubernetes.io~empty-dir/v/ready")
                .is_file()
        );
        std::fs::write(dir.join("file"), "x").expect("write");
        EmptyDir.set_up(&test.host, &set_up).await.expect("again");
        assert!(dir.join("file").exists());
        assert!(test.mounter.taken().is_empty());
        EmptyDir
            .tear_down(&test.host, "uid-1", "v")
            .expect("torn down");
        assert!(!dir.exists());
        EmptyDir
            .tear_down(&test.host, "uid-1", "v")
            .expect("nothing left");
    }

    #[tokio::test]
    async fn in_memory() {
        let test = TestHost::new();
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec("Memory", Some("1Mi")),
        };
        EmptyDir.set_up(&test.host, &set_up).await.expect("set up");
        let dir = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~empty-dir/v");
        let log = test.mounter.taken();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(
            log[0].starts_with(&format!("mount tmpfs {} tmpfs size=1048576", dir.display())),
            "{log:?}"
        );
        EmptyDir.set_up(&test.host, &set_up).await.expect("again");
        assert!(test.mounter.taken().is_empty());
        EmptyDir
            .tear_down(&test.host, "uid-1", "v")
            .expect("torn down");
        assert_eq!(test.mounter.taken(), [format!("unmount {}", dir.display())]);
        assert!(!dir.exists());
    }

    #[test]
    fn sizes() {
        let test = TestHost::new();
        let of = |limit: Option<&str>, pod: &Pod| {
            memory_size(
                &test.host,
                pod,
                spec("Memory", limit)
                    .volume()
                    .expect("volume")
                    .empty_dir
                    .as_ref()
                    .expect("source"),
            )
        };
        let free = pod();
        // The node of the tests has 1Gi.
        assert_eq!(of(None, &free), 1 << 30);
        assert_eq!(of(Some("2Gi"), &free), 1 << 30);
        assert_eq!(of(Some("1Mi"), &free), 1 << 20);
        let mut limited = pod();
        limited.spec.containers = vec![pod_resources::tests::container(
            "c",
            &[],
            &[("memory", "64Mi")],
        )];
        assert_eq!(of(None, &limited), 64 << 20);
        assert_eq!(of(Some("128Mi"), &limited), 64 << 20);
        limited
            .spec
            .containers
            .push(pod_resources::tests::container("d", &[], &[]));
        assert_eq!(of(None, &limited), 1 << 30);
    }

    #[tokio::test]
    async fn media_we_do_not_have() {
        let test = TestHost::new();
        for (medium, want) in [
            (
                "HugePages-2Mi",
                "storage medium \"HugePages-2Mi\" is not available on this node: volumes of huge pages cannot be mounted",
            ),
            ("Tape", "unknown storage medium \"Tape\""),
        ] {
            let set_up = SetUp {
                pod: Arc::new(pod()),
                spec: spec(medium, None),
            };
            assert_eq!(
                EmptyDir.set_up(&test.host, &set_up).await,
                Err(want.to_owned())
            );
        }
    }

    #[tokio::test]
    async fn a_mount_below_keeps_the_files() {
        let test = TestHost::new();
        let set_up = SetUp {
            pod: Arc::new(pod()),
            spec: spec("", None),
        };
        EmptyDir.set_up(&test.host, &set_up).await.expect("set up");
        let inner = test
            .root()
            .join("pods/uid-1/volumes/kubernetes.io~empty-dir/v/data");
        std::fs::create_dir(&inner).expect("folder");
        test.host
            .mounter
            .mount(Path::new("/elsewhere"), &inner, "", &["bind".to_owned()])
            .expect("mounted");
        assert!(
            EmptyDir
                .tear_down(&test.host, "uid-1", "v")
                .expect_err("refused")
                .contains("has mounts below it")
        );
        assert!(inner.exists());
    }
}
