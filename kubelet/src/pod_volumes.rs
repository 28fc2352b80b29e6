//! What the sync of pods needs from volumes. Upstream: `volumemanager.VolumeManager`.
//!
//! The volume manager implements this; nothing else of it is known to the rest of the kubelet.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::{Container, Pod, VolumeMount};
use futures::future::BoxFuture;

/// A volume that is set up for a pod.
#[derive(Clone, Debug, Default)]
pub struct MountedVolume {
    /// Folder (or file) on the node.
    pub path: PathBuf,
    /// The volume itself is read-only.
    pub read_only: bool,
    /// The runtime may relabel it for SELinux.
    pub selinux_relabel: bool,
    /// It is an image: the runtime mounts it.
    pub image: bool,
}

/// A block device of a container.
#[derive(Clone, Debug)]
pub struct BlockDevice {
    /// Device on the node.
    pub path_on_host: String,
    /// Where the container sees it.
    pub path_in_container: String,
    /// `mrw` or `r`.
    pub permissions: String,
}

/// Sets up and tears down the volumes of pods.
pub trait PodVolumes: Send + Sync {
    /// Waits until all volumes of the pod are set up. Cancel by dropping.
    ///
    /// Errors are shown in the FailedMount event.
    fn wait_for_attach_and_mount<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
    ) -> BoxFuture<'a, Result<(), String>>;
    /// Waits until no volume of the pod is set up.
    fn wait_for_unmount<'a>(&'a self, pod: &'a Arc<Pod>) -> BoxFuture<'a, Result<(), String>>;
    /// Volumes of the pod by name.
    fn mounted(&self, pod: &Pod) -> HashMap<String, MountedVolume>;
    /// Block devices of a container.
    ///
    /// # Errors
    /// When a volume is missing.
    fn block_devices(&self, pod: &Pod, container: &Container) -> Result<Vec<BlockDevice>, String>;
    /// Prepares a subPath so that no change in the volume can redirect it; answers the path to mount.
    ///
    /// # Errors
    /// When the path leaves the volume, or cannot be made.
    fn prepare_sub_path(
        &self,
        pod: &Pod,
        container: &str,
        index: usize,
        mount: &VolumeMount,
        volume: &MountedVolume,
        sub_path: &str,
    ) -> Result<PathBuf, String>;
    /// Groups the pod's volumes need.
    fn extra_supplemental_groups(&self, pod: &Pod) -> Vec<i64>;
    /// Whether anything of the pod's volumes is left on disk.
    fn pod_volumes_exist(&self, uid: &str) -> bool;
    /// Names for the node's `volumesInUse`.
    fn volumes_in_use(&self) -> Vec<String>;
    /// The volumes in use were written into the node's status.
    fn mark_volumes_as_reported_in_use(&self, volumes: &[String]);
}
