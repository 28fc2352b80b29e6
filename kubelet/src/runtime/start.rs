//! Starting one container: image, configuration, create, start, postStart hook.
//!
//! Upstream: `startContainer` and `generateContainerConfig` in `kuberuntime_container.go`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use api_types::core::v1::{Container, Pod, Secret};

use super::actions::KillReason;
use super::security::{SecurityDefaults, container_security_context, verify_run_as_non_root};
use super::{RunContainerOptions, Runtime, labels, logs};
use crate::container::{ContainerId, ContainerKind, PodStatus, StartError, expand};
use crate::cri::v1;
use crate::events::Kind;
use crate::images::PullRequest;
use crate::sys::create_dir_all;

/// Everything a start needs beside the container.
pub(super) struct StartContext<'a> {
    pub pod: &'a Pod,
    pub status: &'a PodStatus,
    pub sandbox_id: &'a str,
    pub sandbox_config: &'a v1::PodSandboxConfig,
    pub pull_secrets: &'a [Secret],
    pub pod_ips: &'a [String],
}

/// Which container, of which list, and whose namespaces an ephemeral one joins.
pub(super) struct StartSpec<'a> {
    pub container: &'a Container,
    pub kind: ContainerKind,
    pub target: &'a str,
}

impl Runtime {
    /// Starts a container.
    ///
    /// # Errors
    /// With the reason and text for the container's waiting state.
    pub(super) async fn start_container(
        &self,
        context: &StartContext<'_>,
        spec: &StartSpec<'_>,
        image_volumes: &HashMap<String, v1::ImageSpec>,
    ) -> Result<(), StartError> {
        let StartContext { pod, status, .. } = *context;
        let container = spec.container;
        let failed = |reason: &str, text: &str, id: &str| {
            self.container_event(
                pod,
                (&container.name, spec.kind),
                id,
                Kind::Warning,
                reason,
                text,
            );
        };

        // Step 1: the image.
        let request = PullRequest {
            pod,
            field: Some((&container.name, spec.kind)),
            image: &container.image,
            policy: &container.image_pull_policy,
            secrets: context.pull_secrets,
            sandbox_config: context.sandbox_config,
        };
        let image_ref = match self.images.ensure_image(&request).await {
            Ok(image_ref) => image_ref,
            Err(error) => {
                failed("Failed", &format!("Error: {}", error.reason), "");
                return Err(error);
            }
        };

        // Step 2: create it.
        let restart_count = match status.find_container(&container.name) {
            Some(before) => before.restart_count + 1,
            None => logs::restart_count_by_logs(&self.pod_log_dir(pod).join(&container.name)),
        };
        let target = if spec.target.is_empty() {
            None
        } else {
            match status.find_container(spec.target) {
                Some(target) => Some(target.id.id.clone()),
                None => {
                    let text = format!("unable to find target container {}", spec.target);
                    failed("Failed", &format!("Error: {text}"), "");
                    return Err(StartError::new("CreateContainerConfigError", text));
                }
            }
        };
        let config = match self
            .container_config(
                context,
                container,
                restart_count,
                &image_ref,
                target,
                image_volumes,
            )
            .await
        {
            Ok(config) => config,
            Err(text) => {
                failed("Failed", &format!("Error: {text}"), "");
                return Err(StartError::new("CreateContainerConfigError", text));
            }
        };
        if let Err(error) = self.note_container(pod, container) {
            failed("FailedToCreateContainer", &format!("Error: {error}"), "");
            return Err(StartError::new(
                "CreateContainerConfigError",
                error.to_string(),
            ));
        }
        let log_path = Path::new(&context.sandbox_config.log_directory).join(&config.log_path);
        let id = match self
            .cri
            .create_container(context.sandbox_id, config, context.sandbox_config.clone())
            .await
        {
            Ok(id) => id,
            Err(error) => {
                failed("Failed", &format!("Error: {}", error.message()), "");
                return Err(StartError::new("CreateContainerError", error.message()));
            }
        };
        self.container_event(
            pod,
            (&container.name, spec.kind),
            &id,
            Kind::Normal,
            "Created",
            "Container created",
        );

        // Step 3: start it.
        if let Err(error) = self.cri.start_container(&id).await {
            failed("Failed", &format!("Error: {}", error.message()), &id);
            return Err(StartError::new("RunContainerError", error.message()));
        }
        self.container_event(
            pod,
            (&container.name, spec.kind),
            &id,
            Kind::Normal,
            "Started",
            "Container started",
        );

        // Log collectors look in one folder for all logs. A link to nothing would only have to be removed again.
        if log_path.exists() {
            let link = logs::log_symlink(
                &id,
                &container.name,
                &pod.metadata.name,
                &pod.metadata.namespace,
            );
            if let Err(error) = std::os::unix::fs::symlink(&log_path, &link)
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                tracing::error!(link = %link.display(), %error, "Failed to create legacy symbolic link");
            }
        }

        // Step 4: its postStart hook.
        if let Some(hook) = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.as_deref())
        {
            let container_id = ContainerId {
                runtime: self.name.clone(),
                id: id.clone(),
            };
            if let Err(error) = self.hooks.run(&container_id, pod, container, hook).await {
                tracing::error!(pod = %pod.metadata.name, container = %container.name, %error, "Failed to execute PostStartHook");
                // The reply of the hook may hold secrets: it stays out of the event.
                failed("FailedPostStartHook", "PostStartHook failed", &id);
                let killed = self
                    .kill_container(
                        Some(pod),
                        &container_id,
                        &container.name,
                        "FailedPostStartHook",
                        KillReason::FailedPostStartHook,
                        None,
                        None,
                    )
                    .await;
                if let Err(error) = killed {
                    tracing::error!(pod = %pod.metadata.name, container = %container.name, %error, "Failed to kill container");
                }
                return Err(StartError::new("PostStartHookError", error));
            }
        }
        Ok(())
    }

    pub(super) fn pod_log_dir(&self, pod: &Pod) -> std::path::PathBuf {
        let metadata = &pod.metadata;
        logs::pod_logs_dir(
            &self.options.pod_logs_dir,
            &metadata.namespace,
            &metadata.name,
            &metadata.uid,
        )
    }

    async fn container_config(
        &self,
        context: &StartContext<'_>,
        container: &Container,
        restart_count: i32,
        image_ref: &str,
        target: Option<String>,
        image_volumes: &HashMap<String, v1::ImageSpec>,
    ) -> Result<v1::ContainerConfig, String> {
        let pod = context.pod;
        let options = self
            .helper
            .run_container_options(pod, container, context.pod_ips, image_volumes)
            .await?;
        let (uid, username) = self.image_user(&container.image).await?;
        verify_run_as_non_root(pod, container, uid, &username)?;
        let log_dir = self.pod_log_dir(pod).join(&container.name);
        create_dir_all(&log_dir, 0o755).map_err(|error| {
            format!(
                "create container log directory for container {} failed: {error}",
                container.name
            )
        })?;

        let groups = self.helper.extra_supplemental_groups(pod);
        let user_namespace = self.helper.user_namespace(pod)?;
        let defaults = SecurityDefaults {
            seccomp_root: &self.options.seccomp_root,
            seccomp_default: self.options.seccomp_default,
            extra_groups: &groups,
            user_namespace: user_namespace.clone(),
        };
        let mut security = container_security_context(pod, container, uid, &username, &defaults)?;
        if let (Some(target), Some(namespaces)) = (target, security.namespace_options.as_mut())
            && namespaces.pid == i32::from(v1::NamespaceMode::Container)
        {
            namespaces.pid = v1::NamespaceMode::Target.into();
            namespaces.target_id = target;
        }

        let environment = options.envs.iter().cloned().collect();
        let expand_all = |texts: &[String]| {
            texts
                .iter()
                .map(|text| expand(text, &environment))
                .collect()
        };
        let mut mounts = self.cri_mounts(&options, container);
        if let Some(namespace) = &user_namespace {
            for mount in &mut mounts {
                mount.uid_mappings.clone_from(&namespace.uids);
                mount.gid_mappings.clone_from(&namespace.gids);
            }
        }
        Ok(v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: container.name.clone(),
                attempt: u32::try_from(restart_count).unwrap_or(0),
            }),
            image: Some(v1::ImageSpec {
                image: image_ref.to_owned(),
                user_specified_image: container.image.clone(),
                ..Default::default()
            }),
            command: expand_all(&container.command),
            args: expand_all(&container.args),
            working_dir: container.working_dir.clone(),
            envs: options
                .envs
                .iter()
                .map(|(key, value)| v1::KeyValue {
                    key: key.clone(),
                    value: value.clone().into(),
                })
                .collect(),
            mounts,
            devices: options.devices.clone(),
            labels: labels::container_labels(container, pod),
            annotations: labels::container_annotations(
                container,
                pod,
                restart_count,
                &options.annotations,
            ),
            log_path: logs::container_log_path(&container.name, restart_count),
            stdin: container.stdin,
            stdin_once: container.stdin_once,
            tty: container.tty,
            linux: Some(v1::LinuxContainerConfig {
                resources: Some(self.options.resources.container(pod, container)),
                security_context: Some(security),
            }),
            cdi_devices: options
                .cdi_devices
                .iter()
                .map(|name| v1::CdiDevice { name: name.clone() })
                .collect(),
            stop_signal: stop_signal(container),
            ..Default::default()
        })
    }

    fn cri_mounts(&self, options: &RunContainerOptions, container: &Container) -> Vec<v1::Mount> {
        let mut mounts: Vec<v1::Mount> = options
            .mounts
            .iter()
            .map(|mount| v1::Mount {
                container_path: mount.container_path.clone(),
                host_path: mount.host_path.clone(),
                readonly: mount.read_only,
                selinux_relabel: mount.selinux_relabel && self.options.selinux,
                propagation: mount.propagation.into(),
                recursive_read_only: mount.recursive_read_only,
                image: mount.image.clone(),
                image_sub_path: mount.image_sub_path.clone(),
                ..Default::default()
            })
            .collect();
        if let Some(dir) = &options.container_dir
            && !container.termination_message_path.is_empty()
        {
            // A fresh file for each instance of the container, so that an old message is never taken for a new one.
            let file = dir.join(format!("{:08x}", rand::random::<u32>()));
            match fs::File::create(&file)
                .and_then(|_| fs::set_permissions(&file, fs::Permissions::from_mode(0o666)))
            {
                Ok(()) => mounts.push(v1::Mount {
                    host_path: file.to_string_lossy().into_owned(),
                    container_path: container.termination_message_path.clone(),
                    selinux_relabel: self.options.selinux,
                    ..Default::default()
                }),
                Err(error) => {
                    tracing::error!(file = %file.display(), %error, "Error on creating termination-log file")
                }
            }
        }
        mounts
    }

    /// User of an image: a number, or a name that only the image knows. Root when it says nothing.
    async fn image_user(&self, image: &str) -> Result<(Option<i64>, String), String> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let status = self
            .cri
            .image_status(spec)
            .await
            .map_err(|error| error.message().to_owned())?;
        Ok(match status {
            Some(image) => match (image.uid, image.username) {
                (Some(uid), _) => (Some(uid.value), String::new()),
                (None, name) if !name.is_empty() => (None, name),
                _ => (Some(0), String::new()),
            },
            None => (Some(0), String::new()),
        })
    }
}

fn stop_signal(container: &Container) -> i32 {
    let signal = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    signal
        .and_then(v1::Signal::from_str_name)
        .unwrap_or(v1::Signal::RuntimeDefault)
        .into()
}
