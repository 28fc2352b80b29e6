//! What a pod gets from its node: names, DNS, /etc/hosts, environment, mounts and devices.
//!
//! Upstream: `kubelet_pods.go`. This is the kubelet's side of [`RuntimeHelper`]; the runtime part asks, nothing here calls it.

pub mod dns;
pub mod env;
pub mod hosts;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{Container, Pod, Service, VolumeMount};
use apimachinery::validation;
use arc_swap::ArcSwap;
use client::SharedInformer;
use futures::future::BoxFuture;
use parking_lot::RwLock;

use self::dns::DnsConfigurer;
use self::env::{EnvSources, FieldValues, make_environment, service_variables};
use crate::cm::ContainerManager;
use crate::container::{expand_with, pod_desc};
use crate::cri::v1;
use crate::node::NodeInfo;
use crate::objects::PodObjects;
use crate::pod_volumes::PodVolumes;
use crate::runtime::{Mount, RunContainerOptions, RuntimeHelper};
use crate::runtime_class::RuntimeClasses;
use crate::sources::is_static_pod;

const ETC_HOSTS: &str = "/etc/hosts";

/// Which pods end; the pod workers know.
pub trait PodStates: Send + Sync {
    /// Whether the pod is to end, or has ended.
    fn is_termination_requested(&self, uid: &str) -> bool;
    /// Whether nothing of the pod may remain in the runtime.
    fn should_content_be_removed(&self, uid: &str) -> bool;
    /// Whether the pod's sandboxes and containers may go although the pod object is still there.
    fn should_runtime_be_removed(&self, uid: &str) -> bool;
    /// The pod's sandbox is up.
    fn on_sandbox_ready<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, ()>;
}

/// What a runtime handler can do, from the runtime's Status call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerFeatures {
    /// Recursive read-only mounts.
    pub recursive_read_only_mounts: bool,
    /// User namespaces.
    pub user_namespaces: bool,
}

/// Answers what the runtime part asks.
pub struct PodOptions {
    /// Root folder of the kubelet.
    pub root_dir: PathBuf,
    /// DNS.
    pub dns: DnsConfigurer,
    /// ConfigMaps and Secrets.
    pub objects: Arc<dyn PodObjects>,
    /// Services; none without an API server.
    pub services: Option<SharedInformer<Service>>,
    /// Volumes.
    pub volumes: Arc<dyn PodVolumes>,
    /// cgroups.
    pub cm: Arc<ContainerManager>,
    /// RuntimeClasses.
    pub runtime_classes: Arc<RuntimeClasses>,
    /// The node.
    pub node: Arc<NodeInfo>,
    /// Runtime handlers by name.
    pub handlers: ArcSwap<HashMap<String, HandlerFeatures>>,
    /// The pod workers; set once they exist.
    pub states: RwLock<Option<Arc<dyn PodStates>>>,
}

impl PodOptions {
    /// Folder of a pod.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    fn states(&self) -> Option<Arc<dyn PodStates>> {
        self.states.read().clone()
    }

    fn handler_features(&self, pod: &Pod) -> HandlerFeatures {
        let handler = self.runtime_classes.handler(pod).unwrap_or_default();
        self.handlers
            .load()
            .get(&handler)
            .copied()
            .unwrap_or_default()
    }

    /// Whether read-only mounts of this pod can be made recursive.
    #[must_use]
    pub fn supports_recursive_read_only(&self, pod: &Pod) -> bool {
        self.handler_features(pod).recursive_read_only_mounts
    }

    /// Variables of the Services the pod sees.
    fn service_environment(&self, pod: &Pod) -> Result<BTreeMap<String, String>, String> {
        let Some(services) = &self.services else {
            return Ok(BTreeMap::new());
        };
        if !is_static_pod(pod) && !services.has_synced() {
            return Err(
                "services have not yet been read at least once, cannot construct envvars"
                    .to_owned(),
            );
        }
        let links = pod.spec.enable_service_links.unwrap_or(true);
        Ok(service_variables(
            &services.lister().list(),
            &pod.metadata.namespace,
            links,
        ))
    }

    async fn options(
        &self,
        pod: &Pod,
        container: &Container,
        pod_ips: &[String],
        image_volumes: &HashMap<String, v1::ImageSpec>,
    ) -> Result<RunContainerOptions, String> {
        let (hostname, domain) = self.hostname_and_domain(pod)?;
        let devices = self
            .volumes
            .block_devices(pod, container)?
            .into_iter()
            .map(|device| v1::Device {
                container_path: device.path_in_container,
                host_path: device.path_on_host,
                permissions: device.permissions,
            })
            .collect();
        let mounted = self.volumes.mounted(pod);
        let folders = mounted
            .iter()
            .map(|(name, volume)| (name.clone(), volume.path.clone()))
            .collect();
        let services = self.service_environment(pod)?;
        let allocatable = self.node.allocatable();
        let envs = make_environment(
            pod,
            container,
            &EnvSources {
                objects: &*self.objects,
                services: &services,
                fields: FieldValues {
                    host_ips: &self.node.host_ips(),
                    pod_ips: &self.sort_pod_ips(pod_ips),
                    allocatable: &allocatable,
                },
                volumes: &folders,
            },
        )
        .await?;
        let mut mounts = Vec::new();
        let mut wants_hosts = !pod_ips.is_empty() || pod.spec.host_network;
        let recursive = self.supports_recursive_read_only(pod);
        for (index, mount) in container.volume_mounts.iter().enumerate() {
            wants_hosts &= mount.mount_path != ETC_HOSTS;
            mounts.push(self.mount(
                pod,
                container,
                index,
                mount,
                &mounted,
                &envs,
                recursive,
                image_volumes,
            )?);
        }
        if wants_hosts {
            let file = self.pod_dir(&pod.metadata.uid).join("etc-hosts");
            hosts::ensure_hosts_file(
                &file,
                Path::new(ETC_HOSTS),
                pod_ips,
                (&hostname, &domain),
                &pod.spec.host_aliases,
                pod.spec.host_network,
            )
            .map_err(|error| error.to_string())?;
            mounts.push(Mount {
                name: "k8s-managed-etc-hosts".to_owned(),
                container_path: ETC_HOSTS.to_owned(),
                host_path: file.to_string_lossy().into_owned(),
                selinux_relabel: true,
                ..Default::default()
            });
        }
        let container_dir = if container.termination_message_path.is_empty() {
            None
        } else {
            let dir = self
                .pod_dir(&pod.metadata.uid)
                .join("containers")
                .join(&container.name);
            match crate::sys::create_dir_all(&dir, 0o750) {
                Ok(()) => Some(dir),
                Err(error) => {
                    tracing::error!(dir = %dir.display(), %error, "Error on creating dir");
                    None
                }
            }
        };
        Ok(RunContainerOptions {
            envs,
            mounts,
            devices,
            cdi_devices: Vec::new(),
            annotations: Vec::new(),
            container_dir,
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one independent input of the mount"
    )]
    fn mount(
        &self,
        pod: &Pod,
        container: &Container,
        index: usize,
        mount: &VolumeMount,
        mounted: &HashMap<String, crate::pod_volumes::MountedVolume>,
        envs: &[(String, String)],
        recursive: bool,
        image_volumes: &HashMap<String, v1::ImageSpec>,
    ) -> Result<Mount, String> {
        let volume = mounted.get(&mount.name).ok_or_else(|| {
            format!(
                "cannot find volume {:?} to mount into container {:?}",
                mount.name, container.name
            )
        })?;
        let sub_path = if mount.sub_path_expr.is_empty() {
            mount.sub_path.clone()
        } else {
            expand_sub_path(&mount.sub_path_expr, envs)?
        };
        if sub_path.starts_with('/') {
            return Err(format!(
                "error SubPath `{sub_path}` must not be an absolute path"
            ));
        }
        if sub_path.split('/').any(|part| part == "..") {
            return Err(format!(
                "unable to provision SubPath `{sub_path}`: must not contain '..'"
            ));
        }
        let image = image_volumes.get(&mount.name).cloned();
        let host_path = if image.is_some() {
            String::new()
        } else if sub_path.is_empty() {
            volume.path.to_string_lossy().into_owned()
        } else {
            self.volumes
                .prepare_sub_path(pod, &container.name, index, mount, volume, &sub_path)?
                .to_string_lossy()
                .into_owned()
        };
        let container_path = if mount.mount_path.starts_with('/') {
            mount.mount_path.clone()
        } else {
            format!("/{}", mount.mount_path)
        };
        Ok(Mount {
            name: mount.name.clone(),
            container_path,
            host_path,
            read_only: mount.read_only || volume.read_only,
            recursive_read_only: resolve_recursive_read_only(mount, recursive)
                .map_err(|error| format!("failed to resolve recursive read-only mode: {error}"))?,
            selinux_relabel: volume.selinux_relabel,
            propagation: match mount.mount_propagation.as_deref() {
                None | Some("None") => v1::MountPropagation::PropagationPrivate,
                Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
                Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
                Some(other) => return Err(format!("invalid MountPropagation mode: {other:?}")),
            },
            image_sub_path: if image.is_some() {
                sub_path
            } else {
                String::new()
            },
            image,
        })
    }

    /// At most one address per family, the node's first family first.
    #[must_use]
    pub fn sort_pod_ips(&self, ips: &[String]) -> Vec<String> {
        let v6_first = self.node.node_ips().first().is_some_and(|ip| ip.is_ipv6());
        let first_of = |v6: bool| {
            ips.iter()
                .find(|ip| {
                    ip.parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_ipv6() == v6)
                })
                .cloned()
        };
        [first_of(v6_first), first_of(!v6_first)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Expands subPathExpr; here, other than in commands, every name must have a value.
fn expand_sub_path(expression: &str, envs: &[(String, String)]) -> Result<String, String> {
    let mut missing = Vec::new();
    let expanded = expand_with(expression, |name| {
        let value = envs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default();
        if value.is_empty() {
            missing.push(name.to_owned());
        }
        Some(value)
    });
    if missing.is_empty() {
        return Ok(expanded);
    }
    missing.sort();
    missing.dedup();
    Err(format!("missing value for {}", missing.join(", ")))
}

/// Whether a mount is to be recursively read-only.
///
/// # Errors
/// When it must be and the runtime cannot.
pub fn resolve_recursive_read_only(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    let Some(mode) = mount
        .recursive_read_only
        .as_deref()
        .filter(|mode| *mode != "Disabled")
    else {
        return Ok(false);
    };
    if !mount.read_only {
        return Err(format!(
            "volume {:?} requested recursive read-only mode, but it is not read-only",
            mount.name
        ));
    }
    if let Some(propagation) = mount
        .mount_propagation
        .as_deref()
        .filter(|propagation| *propagation != "None")
    {
        return Err(format!(
            "volume {:?} requested recursive read-only mode, but it is not compatible with propagation {propagation:?}",
            mount.name
        ));
    }
    match mode {
        "IfPossible" => Ok(supported),
        "Enabled" if supported => Ok(true),
        "Enabled" => Err(format!(
            "volume {:?} requested recursive read-only mode, but it is not supported by the runtime",
            mount.name
        )),
        other => Err(format!("unknown recursive read-only mode {other:?}")),
    }
}

/// Host name and domain of a pod.
///
/// # Errors
/// When the pod asks for names that are no DNS names.
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    if let Some(name) = pod.spec.hostname_override.as_deref() {
        let errors = validation::is_dns1123_subdomain(name);
        if !errors.is_empty() {
            return Err(format!(
                "pod HostnameOverride {name:?} is not a valid DNS subdomain: {}",
                errors.join(";")
            ));
        }
        return Ok((truncate_hostname(&pod.metadata.name, name)?, String::new()));
    }
    let label = |what: &str, name: &str| {
        let errors = validation::is_dns1123_label(name);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "pod {what} {name:?} is not a valid DNS label: {}",
                errors.join(";")
            ))
        }
    };
    let mut hostname = pod.metadata.name.as_str();
    if !pod.spec.hostname.is_empty() {
        label("Hostname", &pod.spec.hostname)?;
        hostname = &pod.spec.hostname;
    }
    let hostname = truncate_hostname(&pod.metadata.name, hostname)?;
    let mut domain = String::new();
    if !pod.spec.subdomain.is_empty() {
        label("Subdomain", &pod.spec.subdomain)?;
        domain = format!(
            "{}.{}.svc.{cluster_domain}",
            pod.spec.subdomain, pod.metadata.namespace
        );
    }
    Ok((hostname, domain))
}

fn truncate_hostname(pod_name: &str, hostname: &str) -> Result<String, String> {
    const MAX: usize = 63;
    if hostname.len() <= MAX {
        return Ok(hostname.to_owned());
    }
    // Names of pods are ASCII.
    let cut = hostname
        .get(..MAX)
        .unwrap_or(hostname)
        .trim_end_matches(['-', '.']);
    if cut.is_empty() {
        Err(format!(
            "hostname for pod {pod_name:?} was invalid: {hostname:?}"
        ))
    } else {
        Ok(cut.to_owned())
    }
}

impl RuntimeHelper for PodOptions {
    fn pod_dns(&self, pod: &Pod) -> Result<v1::DnsConfig, String> {
        self.dns.pod_dns(pod)
    }

    fn hostname_and_domain(&self, pod: &Pod) -> Result<(String, String), String> {
        hostname_and_domain(pod, self.dns.cluster_domain())
    }

    fn cgroup_parent(&self, pod: &Pod) -> String {
        self.cm.pod_cgroup_parent(pod)
    }

    fn extra_supplemental_groups(&self, pod: &Pod) -> Vec<i64> {
        self.volumes.extra_supplemental_groups(pod)
    }

    fn user_namespace(&self, pod: &Pod) -> Result<Option<v1::UserNamespace>, String> {
        if pod.spec.host_users != Some(false) {
            return Ok(None);
        }
        let features = self.handler_features(pod);
        let handler = self.runtime_classes.handler(pod).unwrap_or_default();
        if !features.user_namespaces {
            return Err(format!(
                "RuntimeClass handler {handler:?} does not support user namespaces"
            ));
        }
        Err(format!(
            "user namespaces of pods are not available on this node: pod {:?} sets hostUsers to false",
            pod_desc(pod)
        ))
    }

    fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        self.runtime_classes.handler(pod)
    }

    fn run_container_options<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        pod_ips: &'a [String],
        image_volumes: &'a HashMap<String, v1::ImageSpec>,
    ) -> BoxFuture<'a, Result<RunContainerOptions, String>> {
        Box::pin(self.options(pod, container, pod_ips, image_volumes))
    }

    fn on_sandbox_ready<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(states) = self.states() {
                states.on_sandbox_ready(pod).await;
            }
        })
    }

    fn is_termination_requested(&self, uid: &str) -> bool {
        self.states()
            .is_some_and(|states| states.is_termination_requested(uid))
    }

    fn should_content_be_removed(&self, uid: &str) -> bool {
        self.states()
            .is_some_and(|states| states.should_content_be_removed(uid))
    }

    fn should_runtime_be_removed(&self, uid: &str) -> bool {
        self.states()
            .is_some_and(|states| states.should_runtime_be_removed(uid))
    }
}

/// Allocatable resources as field references see them.
pub type Allocatable = BTreeMap<String, Quantity>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "shop".into();
        let got = |pod: &Pod| hostname_and_domain(pod, "cluster.local");
        assert_eq!(got(&pod), Ok(("web".into(), String::new())));
        pod.spec.hostname = "host".into();
        pod.spec.subdomain = "sub".into();
        assert_eq!(
            got(&pod),
            Ok(("host".into(), "sub.shop.svc.cluster.local".into()))
        );
        pod.spec.hostname = "Not_valid".into();
        assert!(
            got(&pod)
                .expect_err("invalid")
                .starts_with("pod Hostname \"Not_valid\" is not a valid DNS label: ")
        );
        pod.spec.hostname_override = Some("own.name".into());
        assert_eq!(got(&pod), Ok(("own.name".into(), String::new())));
        assert_eq!(
            truncate_hostname("p", &format!("{}-abc", "x".repeat(62))).expect("cut"),
            "x".repeat(62)
        );
    }

    #[test]
    fn recursive_read_only() {
        let mount = |mode: Option<&str>, read_only| VolumeMount {
            name: "v".into(),
            read_only,
            recursive_read_only: mode.map(str::to_owned),
            ..Default::default()
        };
        assert_eq!(
            resolve_recursive_read_only(&mount(None, true), true),
            Ok(false)
        );
        assert_eq!(
            resolve_recursive_read_only(&mount(Some("IfPossible"), true), false),
            Ok(false)
        );
        assert_eq!(
            resolve_recursive_read_only(&mount(Some("IfPossible"), true), true),
            Ok(true)
        );
        assert!(resolve_recursive_read_only(&mount(Some("Enabled"), true), false).is_err());
        assert!(resolve_recursive_read_only(&mount(Some("Enabled"), false), true).is_err());
    }

    #[test]
    fn sub_path_expressions() {
        let envs = [
            ("POD".to_owned(), "p".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ];
        assert_eq!(expand_sub_path("a/$(POD)", &envs), Ok("a/p".to_owned()));
        assert_eq!(
            expand_sub_path("$(NOPE)/$(EMPTY)", &envs),
            Err("missing value for EMPTY, NOPE".to_owned())
        );
    }
}
