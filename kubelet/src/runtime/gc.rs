//! Removal of dead containers, dead sandboxes and logs of pods that are gone.
//!
//! Upstream: `pkg/kubelet/kuberuntime/kuberuntime_gc.go`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::actions::KillReason;
use super::{Runtime, labels, logs};
use crate::container::ContainerId;
use crate::cri::{CriError, v1};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct GcPolicy {
    /// Dead containers stay at least this long.
    pub min_age: Duration,
    /// Dead containers per container of a pod; any number when negative.
    pub max_per_pod_container: i64,
    /// Dead containers of the node; any number when negative.
    pub max_containers: i64,
}

#[derive(Clone, Debug, PartialEq)]
struct Dead {
    id: String,
    name: String,
    created_at: i64,
    unknown: bool,
}

/// Dead containers of one container of one pod.
type Units = HashMap<(String, String), Vec<Dead>>;

/// Cuts every unit to `keep` and answers what goes, oldest first.
fn cut(units: &mut Units, keep: usize) -> Vec<Dead> {
    let mut gone = Vec::new();
    for dead in units.values_mut() {
        gone.extend(oldest(dead, keep));
    }
    gone
}

/// Keeps the newest `keep` and answers the others, oldest first.
fn oldest(dead: &mut Vec<Dead>, keep: usize) -> Vec<Dead> {
    dead.sort_by_key(|dead| std::cmp::Reverse(dead.created_at));
    let mut gone = dead.split_off(keep.min(dead.len()));
    gone.reverse();
    gone
}

/// What goes so that at most `max` stay: evenly from all units, then the oldest of the node.
fn cut_to_total(units: &mut Units, max: usize) -> Vec<Dead> {
    let total: usize = units.values().map(Vec::len).sum();
    if total <= max || units.is_empty() {
        return Vec::new();
    }
    let mut gone = cut(units, (max / units.len()).max(1));
    let mut rest: Vec<Dead> = units.values().flatten().cloned().collect();
    gone.extend(oldest(&mut rest, max));
    gone
}

impl Runtime {
    /// Removes what the policy does not keep.
    ///
    /// # Errors
    /// With everything that went wrong; what could be removed is gone.
    pub async fn garbage_collect(
        &self,
        policy: GcPolicy,
        all_sources_ready: bool,
        evict_non_deleted: bool,
    ) -> Result<(), String> {
        self.forget_resources();
        let mut errors = Vec::new();
        if let Err(error) = self
            .gc_containers(policy, all_sources_ready, evict_non_deleted)
            .await
        {
            errors.push(error.to_string());
        }
        if let Err(error) = self.gc_sandboxes(evict_non_deleted).await {
            errors.push(error.to_string());
        }
        self.gc_logs(all_sources_ready).await;
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join(", "))
        }
    }

    fn removable(&self, uid: &str, evict_non_deleted: bool) -> bool {
        self.helper.should_content_be_removed(uid)
            || (evict_non_deleted && self.helper.should_runtime_be_removed(uid))
    }

    async fn gc_containers(
        &self,
        policy: GcPolicy,
        all_sources_ready: bool,
        evict_non_deleted: bool,
    ) -> Result<(), CriError> {
        let newest = Timestamp::now() - policy.min_age;
        let newest = i64::try_from(newest.as_nanosecond()).unwrap_or(i64::MAX);
        let mut units = Units::new();
        for container in self.containers(None, false).await? {
            if container.state == i32::from(v1::ContainerState::ContainerRunning)
                || container.created_at > newest
            {
                continue;
            }
            let Some(uid) = container.labels.get(labels::POD_UID) else {
                continue;
            };
            let name = container
                .metadata
                .map(|metadata| metadata.name)
                .unwrap_or_default();
            units
                .entry((uid.clone(), name.clone()))
                .or_default()
                .push(Dead {
                    id: container.id,
                    name,
                    created_at: container.created_at,
                    unknown: container.state == i32::from(v1::ContainerState::ContainerUnknown),
                });
        }
        if all_sources_ready {
            let gone: Vec<(String, String)> = units
                .keys()
                .filter(|(uid, _)| self.removable(uid, evict_non_deleted))
                .cloned()
                .collect();
            for key in gone {
                let mut dead = units.remove(&key).unwrap_or_default();
                self.remove_dead(oldest(&mut dead, 0)).await;
            }
        }
        if let Ok(keep) = usize::try_from(policy.max_per_pod_container) {
            self.remove_dead(cut(&mut units, keep)).await;
        }
        if let Ok(max) = usize::try_from(policy.max_containers) {
            self.remove_dead(cut_to_total(&mut units, max)).await;
        }
        Ok(())
    }

    async fn remove_dead(&self, dead: Vec<Dead>) {
        for container in dead {
            if container.unknown {
                let id = ContainerId {
                    runtime: self.name.clone(),
                    id: container.id.clone(),
                };
                let message = "Container is in unknown state, try killing it before removal";
                if let Err(error) = self
                    .kill_container(
                        None,
                        &id,
                        &container.name,
                        message,
                        KillReason::Other,
                        None,
                        None,
                    )
                    .await
                {
                    tracing::error!(container = %container.id, %error, "Failed to stop container");
                    continue;
                }
            }
            if let Err(error) = self.remove_container(&container.id, false).await {
                tracing::error!(container = %container.id, %error, "Failed to remove container");
            }
        }
    }

    /// Removes sandboxes that are not ready and have no containers: all of a pod that is gone, all but the newest otherwise.
    async fn gc_sandboxes(&self, evict_non_deleted: bool) -> Result<(), CriError> {
        let used: HashSet<String> = self
            .containers(None, false)
            .await?
            .into_iter()
            .map(|container| container.pod_sandbox_id)
            .collect();
        let mut by_pod: HashMap<String, Vec<v1::PodSandbox>> = HashMap::new();
        for sandbox in self.sandboxes(None, false).await? {
            if let Some(metadata) = &sandbox.metadata {
                by_pod
                    .entry(metadata.uid.clone())
                    .or_default()
                    .push(sandbox);
            }
        }
        for (uid, mut sandboxes) in by_pod {
            let keep = usize::from(!self.removable(&uid, evict_non_deleted));
            sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
            for sandbox in sandboxes.iter().skip(keep).rev() {
                let ready = sandbox.state == i32::from(v1::PodSandboxState::SandboxReady);
                if ready || used.contains(&sandbox.id) {
                    continue;
                }
                // Normally stopped long ago; a runtime may refuse to remove what was not.
                let removed = match self.cri.stop_pod_sandbox(&sandbox.id).await {
                    Ok(()) => self.cri.remove_pod_sandbox(&sandbox.id).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = removed {
                    tracing::error!(sandbox = %sandbox.id, %error, "Failed to remove sandbox");
                }
            }
        }
        Ok(())
    }

    /// Removes log folders of pods that are gone, and links whose log is gone.
    async fn gc_logs(&self, all_sources_ready: bool) {
        if all_sources_ready {
            let dirs = std::fs::read_dir(&self.options.pod_logs_dir)
                .into_iter()
                .flatten()
                .flatten();
            for dir in dirs {
                let name = dir.file_name();
                let Some(name) = name.to_str() else { continue };
                if self
                    .helper
                    .should_content_be_removed(logs::pod_uid_of_logs_dir(name))
                    && let Err(error) = std::fs::remove_dir_all(dir.path())
                {
                    tracing::error!(path = %dir.path().display(), %error, "Failed to remove pod logs directory");
                }
            }
        }
        let links = std::fs::read_dir(logs::CONTAINER_LOGS_DIR)
            .into_iter()
            .flatten()
            .flatten();
        for link in links {
            let path = link.path();
            if path.extension().is_none_or(|extension| extension != "log") || path.exists() {
                continue;
            }
            // Rotation renames the log and has it made anew: meanwhile the link of a running container points nowhere.
            if let Some(id) = logs::container_id_of_symlink(&path)
                && let Ok(status) = self.cri.container_status(id).await
                && status.state != i32::from(v1::ContainerState::ContainerExited)
            {
                continue;
            }
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::error!(path = %path.display(), %error, "Failed to remove container log dead symlink");
            }
        }
    }

    /// Removes a container, with its logs unless they are to stay.
    ///
    /// # Errors
    /// When logs or container cannot be removed. Logs go first, so that a container that is gone has left none.
    pub async fn remove_container(&self, id: &str, keep_logs: bool) -> Result<(), String> {
        if !keep_logs {
            match self.cri.container_status(id).await {
                Ok(status) => {
                    remove_logs(Path::new(&status.log_path)).map_err(|error| {
                        format!(
                            "failed to remove container {id:?} log {:?}: {error}",
                            status.log_path
                        )
                    })?;
                    let label = |key: &str| status.labels.get(key).map_or("", String::as_str);
                    let link = logs::log_symlink(
                        id,
                        label(labels::CONTAINER_NAME),
                        label(labels::POD_NAME),
                        label(labels::POD_NAMESPACE),
                    );
                    match std::fs::remove_file(&link) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(format!(
                                "failed to remove container {id:?} log legacy symbolic link {:?}: {error}",
                                link.display().to_string()
                            ));
                        }
                        _ => {}
                    }
                }
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => {
                    return Err(format!("failed to get container status {id:?}: {error}"));
                }
            }
        }
        match self.cri.remove_container(id).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Removes a log and what rotation made of it.
fn remove_logs(log: &Path) -> std::io::Result<()> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        if file == name
            || file
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(counts: &[(&str, usize)]) -> Units {
        let mut age = 0;
        counts
            .iter()
            .map(|(pod, count)| {
                let dead = (0..*count)
                    .map(|index| {
                        age += 1;
                        Dead {
                            id: format!("{pod}{index}"),
                            name: "c".to_owned(),
                            created_at: age,
                            unknown: false,
                        }
                    })
                    .collect();
                (((*pod).to_owned(), "c".to_owned()), dead)
            })
            .collect()
    }

    fn ids(mut dead: Vec<Dead>) -> Vec<String> {
        dead.sort_by_key(|dead| dead.created_at);
        dead.into_iter().map(|dead| dead.id).collect()
    }

    #[test]
    fn per_container() {
        assert_eq!(ids(cut(&mut units(&[("a", 3), ("b", 1)]), 1)), ["a0", "a1"]);
        assert_eq!(ids(cut(&mut units(&[("a", 2)]), 0)), ["a0", "a1"]);
    }

    #[test]
    fn in_total() {
        assert!(cut_to_total(&mut units(&[("a", 2), ("b", 1)]), 3).is_empty());
        // Evenly first: one of each stays, and that is enough.
        assert_eq!(
            ids(cut_to_total(&mut units(&[("a", 3), ("b", 1)]), 2)),
            ["a0", "a1"]
        );
        // More pods than may stay: the oldest go.
        assert_eq!(
            ids(cut_to_total(&mut units(&[("a", 1), ("b", 1), ("c", 1)]), 2)),
            ["a0"]
        );
    }

    #[test]
    fn logs_go_with_their_rotations() {
        let dir = tempfile::tempdir().expect("folder");
        for name in ["0.log", "0.log.20240101-000000.gz", "1.log", "0.logs"] {
            std::fs::write(dir.path().join(name), "").expect("write");
        }
        remove_logs(&dir.path().join("0.log")).expect("removed");
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("read")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["0.logs", "1.log"]);
    }
}
