//! Volumes of pods: one file per kind of volume, and the manager that sets them up and tears them down.
//!
//! Upstream: `pkg/volume` (plugins, `util/atomic_writer.go`, `util/subpath`) and `pkg/kubelet/volumemanager`. The rest of the
//! kubelet sees [`VolumeManager`] through [`crate::pod_volumes::PodVolumes`] only.
//!
//! Invariants: the layout on disk is upstream's ([`layout`]), and what is on disk is the memory across restarts: a tear-down
//! looks there, not only at what this process set up. Nothing a container wrote into a volume is followed on the node: walks
//! and sub paths go descriptor by descriptor and refuse links. Mounts go through [`Mounter`], so that all of this runs in
//! tests without privileges.

pub mod atomic_writer;
mod config_map;
mod downward_api;
mod empty_dir;
mod host_path;
mod image;
pub mod layout;
mod local;
pub mod manager;
pub mod measure;
pub mod mounter;
mod nested;
mod nfs;
pub mod orphans;
pub mod ownership;
mod payload;
mod projected;
mod secret;
pub mod spec;
pub mod sub_path;
pub mod tokens;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::Pod;
use client::Client;
use futures::future::BoxFuture;

pub use manager::VolumeManager;
pub use mounter::{LinuxMounter, Mounter};
pub use spec::VolumeSpec;
pub use tokens::TokenManager;

use crate::objects::PodObjects;

/// What volumes ask about the node.
pub trait VolumeNode: Send + Sync {
    /// Allocatable resources.
    fn allocatable(&self) -> BTreeMap<String, Quantity>;
    /// Labels of the node object, for the node affinity of PersistentVolumes.
    fn labels(&self) -> BTreeMap<String, String>;
    /// Name of the node.
    fn name(&self) -> String;
}

/// What plugins work with.
pub struct VolumeHost {
    /// Root folder of the kubelet, `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// Mounts and unmounts.
    pub mounter: Arc<dyn Mounter>,
    /// ConfigMaps and Secrets.
    pub objects: Arc<dyn PodObjects>,
    /// Service account tokens.
    pub tokens: Arc<TokenManager>,
    /// The API server; none for a kubelet that stands alone.
    pub client: Option<Client>,
    /// The node.
    pub node: Arc<dyn VolumeNode>,
}

/// What a set-up volume is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Mounted read-only into containers, whatever they ask for.
    pub read_only: bool,
    /// The kubelet decides about its content and owners.
    pub managed: bool,
    /// The runtime may relabel it for SELinux.
    pub selinux_relabel: bool,
}

/// One set-up of one volume of one pod.
pub struct SetUp {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The volume.
    pub spec: VolumeSpec,
}

impl SetUp {
    /// `securityContext.fsGroup`.
    #[must_use]
    pub fn fs_group(&self) -> Option<u32> {
        self.pod
            .spec
            .security_context
            .as_ref()
            .and_then(|context| context.fs_group)
            .and_then(|group| u32::try_from(group).ok())
    }

    /// `securityContext.fsGroupChangePolicy` is `OnRootMismatch`.
    #[must_use]
    pub fn on_root_mismatch(&self) -> bool {
        let policy = self
            .pod
            .spec
            .security_context
            .as_ref()
            .and_then(|context| context.fs_group_change_policy.as_deref());
        policy == Some("OnRootMismatch")
    }

    /// The user all containers run as, if they agree. Owner of service account tokens.
    #[must_use]
    pub fn fs_user(&self) -> Option<u32> {
        let of_pod = self
            .pod
            .spec
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        let mut agreed = None;
        for container in self
            .pod
            .spec
            .init_containers
            .iter()
            .chain(&self.pod.spec.containers)
        {
            let user = container
                .security_context
                .as_ref()
                .and_then(|context| context.run_as_user)
                .or(of_pod)?;
            if agreed.is_some_and(|agreed| agreed != user) {
                return None;
            }
            agreed = Some(user);
        }
        agreed.and_then(|user| u32::try_from(user).ok())
    }
}

/// A kind of volume. Errors are shown in FailedMount events.
pub trait VolumePlugin: Send + Sync {
    /// Upstream's name, which is also part of the path on disk.
    fn name(&self) -> &'static str;

    /// Whether a volume is of this kind.
    fn can_support(&self, spec: &VolumeSpec) -> bool;

    /// Whether set-up is repeated at every sync of the pod, to bring new content.
    fn requires_remount(&self) -> bool {
        false
    }

    /// Whether `mountOptions` of a PersistentVolume may be set.
    fn supports_mount_options(&self) -> bool {
        false
    }

    /// What the volume is like once set up.
    fn attributes(&self, spec: &VolumeSpec) -> Attributes;

    /// Where the volume is on the node.
    fn path(&self, host: &VolumeHost, uid: &str, spec: &VolumeSpec) -> PathBuf {
        layout::volume_dir(&host.root_dir, uid, self.name(), &spec.name)
    }

    /// Makes the volume be there with its content. Called again it repairs or refreshes.
    fn set_up<'a>(
        &'a self,
        host: &'a Arc<VolumeHost>,
        set_up: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Removes what set-up made. Blocks; what is gone already is fine. All it gets to know is what is on disk.
    fn tear_down(&self, host: &VolumeHost, uid: &str, volume: &str) -> Result<(), String>;

    /// How its use is found out.
    fn measure(&self) -> measure::How;
}

/// Every kind of volume this kubelet has. The first that supports a volume gets it.
pub const PLUGINS: &[&dyn VolumePlugin] = &[
    &empty_dir::EmptyDir,
    &host_path::HostPath,
    &nfs::Nfs,
    &secret::SecretVolume,
    &downward_api::DownwardApi,
    &config_map::ConfigMapVolume,
    &projected::Projected,
    &local::Local,
    &image::Image,
];

/// The plugin for a volume.
///
/// # Errors
/// With upstream's text when there is none.
pub fn find_plugin(spec: &VolumeSpec) -> Result<&'static dyn VolumePlugin, String> {
    PLUGINS
        .iter()
        .copied()
        .find(|plugin| plugin.can_support(spec))
        .ok_or_else(|| "no volume plugin matched".to_owned())
}

/// The plugin of that name.
#[must_use]
pub fn plugin_by_name(name: &str) -> Option<&'static dyn VolumePlugin> {
    PLUGINS.iter().copied().find(|plugin| plugin.name() == name)
}

/// Runs what blocks on the thread pool for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the work on the volume was cut off: {error}")),
    }
}

/// Refuses paths that go up.
fn no_backsteps(path: &str) -> Result<(), &'static str> {
    if path.split('/').any(|part| part == "..") {
        Err("must not contain '..'")
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod test_host;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_upstreams() {
        let names: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name()).collect();
        assert_eq!(
            names,
            [
                "kubernetes.io/empty-dir",
                "kubernetes.io/host-path",
                "kubernetes.io/nfs",
                "kubernetes.io/secret",
                "kubernetes.io/downward-api",
                "kubernetes.io/configmap",
                "kubernetes.io/projected",
                "kubernetes.io/local-volume",
                "kubernetes.io/image",
            ]
        );
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn only_upstreams_refreshed_kinds_are_set_up_again() {
        let again: Vec<_> = PLUGINS
            .iter()
            .filter(|plugin| plugin.requires_remount())
            .map(|plugin| plugin.name())
            .collect();
        assert_eq!(
            again,
            [
                "kubernetes.io/secret",
                "kubernetes.io/downward-api",
                "kubernetes.io/configmap",
                "kubernetes.io/projected"
            ]
        );
    }

    #[test]
    fn the_user_of_tokens() {
        use api_types::core::v1::{Container, PodSecurityContext, SecurityContext};
        let container = |user: Option<i64>| Container {
            security_context: user.map(|user| {
                Box::new(SecurityContext {
                    run_as_user: Some(user),
                    ..Default::default()
                })
            }),
            ..Default::default()
        };
        let user = |of_pod: Option<i64>, containers: Vec<Container>| {
            let mut pod = Pod::default();
            pod.spec.security_context = Some(Box::new(PodSecurityContext {
                run_as_user: of_pod,
                ..Default::default()
            }));
            pod.spec.containers = containers;
            SetUp {
                pod: Arc::new(pod),
                spec: VolumeSpec::inline("v", Default::default()),
            }
            .fs_user()
        };
        assert_eq!(user(None, vec![container(None)]), None);
        assert_eq!(
            user(Some(1000), vec![container(None), container(None)]),
            Some(1000)
        );
        assert_eq!(
            user(None, vec![container(Some(5)), container(Some(5))]),
            Some(5)
        );
        assert_eq!(
            user(None, vec![container(Some(5)), container(Some(6))]),
            None
        );
        assert_eq!(user(None, vec![container(Some(5)), container(None)]), None);
    }
}
