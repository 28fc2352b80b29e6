//! Sets up the volumes of pods that run here and tears down those of pods that ended.
//!
//! Upstream: `pkg/kubelet/volumemanager`, whose populator and reconciler look at everything every 100 ms. Here the pod workers
//! say when a pod wants its volumes or has no more use for them; each pod has at most one task at work, and nothing runs
//! while nothing changes. What is mounted is judged by the task for pods that run and by the disk for pods that ended, so a
//! kubelet that was restarted needs no reconstruction: the volumes of a pod that still runs are set up once more, which
//! changes nothing, and the others are found on disk.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod, Volume, VolumeMount};
use apimachinery::field::Path;
use apimachinery::scheduling::NodeSelector;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;

use super::measure::{self, Usage};
use super::sub_path::{self, SubPath};
use super::{
    SetUp, VolumeHost, VolumePlugin, VolumeSpec, blocking, find_plugin, layout, plugin_by_name,
    spec,
};
use crate::events::{Kind, Recorder};
use crate::pod_volumes::{BlockDevice, MountedVolume, PodVolumes};

/// How long a pod worker waits for volumes before it gives up for this round; less than its own three minutes.
const WAIT_LIMIT: Duration = Duration::from_secs(2 * 60 + 3);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(2 * 60 + 2);
/// Upstream's words for a wait that took too long; callers tell by it that no event is due.
pub const DEADLINE: &str = "context deadline exceeded";
const FAILED_MOUNT: &str = "FailedMount";

/// A volume that is set up.
#[derive(Clone)]
struct Mounted {
    spec: VolumeSpec,
    plugin: &'static dyn VolumePlugin,
}

/// How often set-up of a volume failed in a row.
#[derive(Clone, Copy)]
struct Backoff {
    until: Instant,
    wait: Duration,
}

impl Backoff {
    fn after(previous: Option<&Backoff>) -> Self {
        let wait = previous.map_or(FIRST_BACKOFF, |previous| {
            (previous.wait * 2).min(MAX_BACKOFF)
        });
        Backoff {
            until: Instant::now() + wait,
            wait,
        }
    }
}

/// What is known about a pod that wants volumes.
struct Entry {
    pod: Arc<Pod>,
    /// Counts the requests to look at the pod; a task that saw the last one may end.
    wanted: u64,
    /// The request the last full pass was for.
    done: u64,
    task_runs: bool,
    ending: bool,
    /// By name in the pod.
    mounted: HashMap<String, Mounted>,
    /// Names in the pod whose kind is known.
    processed: BTreeSet<String>,
    /// Why volumes could not be processed, in the last pass.
    errors: Vec<String>,
    backoff: HashMap<String, Backoff>,
    /// Changes whenever something above does.
    changed: watch::Sender<()>,
    /// Held while volumes of the pod are set up or torn down.
    work: Arc<AsyncMutex<()>>,
}

struct Inner {
    host: Arc<VolumeHost>,
    recorder: Arc<Recorder>,
    entries: Mutex<HashMap<String, Entry>>,
}

/// The volume manager. Cheap to clone.
#[derive(Clone)]
pub struct VolumeManager {
    inner: Arc<Inner>,
}

/// Use of one volume, for `/stats/summary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Name in the pod.
    pub name: String,
    /// Claim it belongs to.
    pub claim: Option<String>,
    /// Whether it goes with the pod and takes space on the node's disk.
    pub local_ephemeral: bool,
    /// What is used.
    pub usage: Usage,
}

impl VolumeManager {
    /// A manager that knows of no pod yet.
    #[must_use]
    pub fn new(host: Arc<VolumeHost>, recorder: Arc<Recorder>) -> Self {
        VolumeManager {
            inner: Arc::new(Inner {
                host,
                recorder,
                entries: Mutex::default(),
            }),
        }
    }

    /// What plugins work with.
    #[must_use]
    pub fn host(&self) -> &Arc<VolumeHost> {
        &self.inner.host
    }

    /// Measures the set-up volumes of a pod. Reads every file in them.
    pub async fn measure(&self, uid: &str) -> Vec<VolumeUsage> {
        let mounted: Vec<(String, Mounted)> = {
            let entries = self.inner.entries.lock();
            let Some(entry) = entries.get(uid) else {
                return Vec::new();
            };
            entry
                .mounted
                .iter()
                .map(|(name, mounted)| (name.clone(), mounted.clone()))
                .collect()
        };
        let host = self.inner.host.clone();
        let uid = uid.to_owned();
        let measured = blocking(move || {
            let mut found = Vec::new();
            for (name, mounted) in mounted {
                let path = mounted.plugin.path(&host, &uid, &mounted.spec);
                match measure::measure(mounted.plugin.measure(), &path) {
                    Ok(Some(usage)) => found.push(VolumeUsage {
                        local_ephemeral: is_local_ephemeral(&mounted.spec),
                        name,
                        claim: mounted.spec.claim,
                        usage,
                    }),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(volume = name, pod = uid, %error, "Failed to calculate volume metrics")
                    }
                }
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        });
        measured.await.unwrap_or_default()
    }

    /// Tears down the volumes of a pod that is not known any more. Blocks.
    pub(super) fn tear_down_unknown(&self, uid: &str) -> Result<(), String> {
        if self.inner.entries.lock().contains_key(uid) {
            return Err(format!("pod {uid:?} is still known to the volume manager"));
        }
        tear_down_all(&self.inner.host, uid)
    }

    /// Notes that the pod wants its volumes and has a task look at them.
    fn request(&self, pod: &Arc<Pod>) -> (u64, watch::Receiver<()>) {
        let uid = &pod.metadata.uid;
        let mut entries = self.inner.entries.lock();
        let entry = entries.entry(uid.clone()).or_insert_with(|| Entry {
            pod: pod.clone(),
            wanted: 0,
            done: 0,
            task_runs: false,
            ending: false,
            mounted: HashMap::new(),
            processed: BTreeSet::new(),
            errors: Vec::new(),
            backoff: HashMap::new(),
            changed: watch::channel(()).0,
            work: Arc::default(),
        });
        entry.pod = pod.clone();
        entry.ending = false;
        entry.wanted += 1;
        entry.changed.send_replace(());
        if !entry.task_runs {
            entry.task_runs = true;
            let inner = self.inner.clone();
            let uid = uid.clone();
            tokio::spawn(async move { inner.mount_loop(uid).await });
        }
        (entry.wanted, entry.changed.subscribe())
    }

    /// Whether the wait is over, and how.
    fn verdict(
        &self,
        uid: &str,
        expected: &BTreeSet<String>,
        request: u64,
    ) -> Option<Result<(), String>> {
        let entries = self.inner.entries.lock();
        let entry = entries.get(uid)?;
        if entry.done >= request && !entry.errors.is_empty() {
            return Some(Err(entry.errors.join("; ")));
        }
        expected
            .iter()
            .all(|name| entry.mounted.contains_key(name))
            .then_some(Ok(()))
    }

    async fn wait(&self, pod: &Arc<Pod>) -> Result<(), String> {
        let expected = used_volumes(pod);
        if expected.is_empty() {
            return Ok(());
        }
        let uid = &pod.metadata.uid;
        let (request, mut changed) = self.request(pod);
        let deadline = Instant::now() + WAIT_LIMIT;
        let why = loop {
            match self.verdict(uid, &expected, request) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => break error,
                None => {}
            }
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                // The pod was told to end meanwhile.
                Ok(Err(_)) => break "context canceled".to_owned(),
                Err(_) => break DEADLINE.to_owned(),
            }
        };
        let (unmounted, unprocessed) = {
            let entries = self.inner.entries.lock();
            let entry = entries.get(uid);
            let without = |known: &dyn Fn(&Entry, &String) -> bool| -> Vec<String> {
                expected
                    .iter()
                    .filter(|name| !entry.is_some_and(|entry| known(entry, name)))
                    .cloned()
                    .collect()
            };
            (
                without(&|entry, name| entry.mounted.contains_key(name)),
                without(&|entry, name| entry.processed.contains(name)),
            )
        };
        if unmounted.is_empty() {
            return Ok(());
        }
        Err(format!(
            "unmounted volumes=[{}], unattached volumes=[], failed to process volumes=[{}]: {why}",
            unmounted.join(" "),
            unprocessed.join(" ")
        ))
    }

    async fn unmount(&self, pod: &Arc<Pod>) -> Result<(), String> {
        let uid = pod.metadata.uid.clone();
        let work = {
            let mut entries = self.inner.entries.lock();
            match entries.get_mut(&uid) {
                Some(entry) => {
                    entry.ending = true;
                    entry.changed.send_replace(());
                    entry.work.clone()
                }
                // A pod of an earlier kubelet: what it left is on disk.
                None => Arc::default(),
            }
        };
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut wait = FIRST_BACKOFF;
        loop {
            let host = self.inner.host.clone();
            let of = uid.clone();
            let guard = work.clone().lock_owned().await;
            let result = blocking(move || {
                // The work goes on if the caller stops waiting, and so does the lock.
                let _guard = guard;
                tear_down_all(&host, &of)
            })
            .await;
            match result {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(pod = %crate::container::pod_desc(pod), error, "UnmountVolume.TearDown failed")
                }
            }
            if Instant::now() + wait >= deadline {
                let left =
                    layout::volumes_on_disk(&self.inner.host.root_dir, &uid).unwrap_or_default();
                let names: Vec<String> = left
                    .iter()
                    .map(|(plugin, volume, _)| format!("{plugin}/{uid}-{volume}"))
                    .collect();
                return Err(format!("mounted volumes=[{}]: {DEADLINE}", names.join(" ")));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_BACKOFF);
        }
        let mut entries = self.inner.entries.lock();
        // A pod of the same UID may want its volumes again (a static pod).
        if entries.get(&uid).is_some_and(|entry| entry.ending) {
            entries.remove(&uid);
        }
        self.inner.host.tokens.delete_pod(&uid);
        Ok(())
    }
}

impl Inner {
    /// Sets up the volumes of one pod until all are there, the pod ends, or only another request can help.
    async fn mount_loop(self: Arc<Self>, uid: String) {
        loop {
            let Some(Pass {
                pod,
                request,
                work,
                mut changed,
            }) = self.next_pass(&uid)
            else {
                return;
            };
            let retry_at = {
                let _guard = work.lock().await;
                if self
                    .entries
                    .lock()
                    .get(&uid)
                    .is_some_and(|entry| entry.ending)
                {
                    None
                } else {
                    self.pass(&pod).await
                }
            };
            {
                let mut entries = self.entries.lock();
                let Some(entry) = entries.get_mut(&uid) else {
                    return;
                };
                entry.done = entry.done.max(request);
                entry.changed.send_replace(());
                if entry.ending || (retry_at.is_none() && entry.wanted == request) {
                    entry.task_runs = false;
                    return;
                }
                if entry.wanted != request {
                    continue;
                }
                changed.mark_unchanged();
            }
            if let Some(retry_at) = retry_at {
                tokio::select! {
                    () = tokio::time::sleep_until(retry_at) => {}
                    // A new request, or the end.
                    _ = changed.changed() => {}
                }
            }
        }
    }

    fn next_pass(&self, uid: &str) -> Option<Pass> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(uid)?;
        if entry.ending {
            entry.task_runs = false;
            return None;
        }
        Some(Pass {
            pod: entry.pod.clone(),
            request: entry.wanted,
            work: entry.work.clone(),
            changed: entry.changed.subscribe(),
        })
    }

    /// Looks at every volume once. Answers when the next try is due, if some volume failed.
    async fn pass(&self, pod: &Arc<Pod>) -> Option<Instant> {
        let used = used_volumes(pod);
        let volumes: Vec<&Volume> = pod
            .spec
            .volumes
            .iter()
            .filter(|volume| used.contains(&volume.name))
            .collect();
        let results =
            futures::future::join_all(volumes.iter().map(|volume| self.volume(pod, volume))).await;
        let mut errors = Vec::new();
        let mut retry_at = None;
        for result in results {
            match result {
                Outcome::Done => {}
                Outcome::Unprocessed(error) => errors.push(error),
                Outcome::RetryAt(at) => {
                    retry_at = Some(retry_at.map_or(at, |earlier: Instant| earlier.min(at)))
                }
            }
        }
        if let Some(entry) = self.entries.lock().get_mut(&pod.metadata.uid) {
            entry.errors = errors;
        }
        retry_at
    }

    async fn volume(&self, pod: &Arc<Pod>, volume: &Volume) -> Outcome {
        let uid = &pod.metadata.uid;
        let name = &volume.name;
        let (mounted, backoff) = {
            let entries = self.entries.lock();
            let Some(entry) = entries.get(uid) else {
                return Outcome::Done;
            };
            (
                entry.mounted.get(name).cloned(),
                entry.backoff.get(name).copied(),
            )
        };
        if mounted
            .as_ref()
            .is_some_and(|mounted| !mounted.plugin.requires_remount())
        {
            return Outcome::Done;
        }
        if let Some(backoff) = backoff
            && Instant::now() < backoff.until
        {
            return Outcome::RetryAt(backoff.until);
        }
        let (spec, plugin) = match self.resolve(pod, volume).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(pod = %crate::container::pod_desc(pod), volume = name, error, "Error processing volume");
                return Outcome::Unprocessed(error);
            }
        };
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.processed.insert(name.clone());
        }
        let spec_name = spec.name.clone();
        let set_up = SetUp {
            pod: pod.clone(),
            spec: spec.clone(),
        };
        let result = self.mount(plugin, &set_up).await;
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else {
            return Outcome::Done;
        };
        match result {
            Ok(()) => {
                entry.backoff.remove(name);
                if entry
                    .mounted
                    .insert(name.clone(), Mounted { spec, plugin })
                    .is_none()
                {
                    tracing::info!(pod = %crate::container::pod_desc(pod), volume = spec_name, "MountVolume.SetUp succeeded");
                }
                entry.changed.send_replace(());
                Outcome::Done
            }
            Err((step, error)) => {
                let backoff = Backoff::after(entry.backoff.get(name));
                entry.backoff.insert(name.clone(), backoff);
                drop(entries);
                let message = format!(
                    "MountVolume.{step} failed for volume {} : {error}",
                    apimachinery::quote::quote(&spec_name)
                );
                tracing::error!(pod = %crate::container::pod_desc(pod), "{message}");
                self.recorder
                    .pod(pod, Kind::Warning, FAILED_MOUNT, &message);
                Outcome::RetryAt(backoff.until)
            }
        }
    }

    async fn resolve(
        &self,
        pod: &Pod,
        volume: &Volume,
    ) -> Result<(VolumeSpec, &'static dyn VolumePlugin), String> {
        let spec = spec::resolve(&self.host, pod, volume).await?;
        let plugin = find_plugin(&spec).map_err(|error| {
            format!(
                "failed to get Plugin from volumeSpec for volume {:?} err={error}",
                spec.name
            )
        })?;
        Ok((spec, plugin))
    }

    /// Sets one volume up; the error names the step that failed as upstream's event does.
    async fn mount(
        &self,
        plugin: &dyn VolumePlugin,
        set_up: &SetUp,
    ) -> Result<(), (&'static str, String)> {
        if let Some(volume) = set_up.spec.persistent_volume() {
            let required = volume
                .spec
                .node_affinity
                .as_deref()
                .and_then(|affinity| affinity.required.as_deref());
            if let Some(required) = required {
                let selector = NodeSelector::lazy(required, &Path::default());
                let matches =
                    selector.matches_labels(&self.host.node.labels(), &self.host.node.name());
                if !matches.map_err(|errors| ("NodeAffinity check", errors.to_string()))? {
                    return Err((
                        "NodeAffinity check",
                        "no matching NodeSelectorTerms".to_owned(),
                    ));
                }
            }
            if !set_up.spec.mount_options().is_empty() && !plugin.supports_mount_options() {
                return Err((
                    "MountOptionSupport check",
                    "mount options are not supported for this volume type".to_owned(),
                ));
            }
            let once =
                matches!(volume.spec.access_modes.as_slice(), [only] if only == "ReadWriteOncePod");
            if once && self.is_used_elsewhere(&set_up.spec.name, &set_up.pod.metadata.uid) {
                let why = "volume uses the ReadWriteOncePod access mode and is already in use by another pod";
                return Err(("SetUp", why.to_owned()));
            }
        }
        plugin
            .set_up(&self.host, set_up)
            .await
            .map_err(|error| ("SetUp", error))
    }

    fn is_used_elsewhere(&self, volume: &str, uid: &str) -> bool {
        self.entries.lock().iter().any(|(other, entry)| {
            other != uid
                && entry.mounted.values().any(|mounted| {
                    mounted.spec.persistent_volume().is_some() && mounted.spec.name == volume
                })
        })
    }
}

/// One look at all volumes of a pod.
struct Pass {
    pod: Arc<Pod>,
    /// The request it is for.
    request: u64,
    work: Arc<AsyncMutex<()>>,
    changed: watch::Receiver<()>,
}

enum Outcome {
    Done,
    /// What kind of volume it is could not be found out; the next request tries again.
    Unprocessed(String),
    /// Set-up failed and is tried again then.
    RetryAt(Instant),
}

/// Names of the volumes that containers mount or use as devices; others are not set up.
fn used_volumes(pod: &Pod) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for container in crate::container::all_containers(&pod.spec) {
        used.extend(
            container
                .volume_mounts
                .iter()
                .map(|mount| mount.name.clone()),
        );
        used.extend(
            container
                .volume_devices
                .iter()
                .map(|device| device.name.clone()),
        );
    }
    used
}

fn is_local_ephemeral(spec: &VolumeSpec) -> bool {
    let Some(volume) = spec.volume() else {
        return false;
    };
    volume
        .empty_dir
        .as_ref()
        .is_some_and(|source| source.medium.is_empty())
        || volume.config_map.is_some()
        || volume.git_repo.is_some()
}

/// Tears down every volume of a pod that is found on disk. Blocks. All are tried, the first error is told.
fn tear_down_all(host: &VolumeHost, uid: &str) -> Result<(), String> {
    let volumes =
        layout::volumes_on_disk(&host.root_dir, uid).map_err(|error| error.to_string())?;
    let mut first = Ok(());
    // Sub paths hold volumes busy, also those of volumes without a folder of their own (hostPath).
    for volume in layout::read_names(&layout::sub_paths_dir(&host.root_dir, uid))
        .map_err(|error| error.to_string())?
    {
        if let Err(error) = sub_path::clean_up(host, uid, &volume) {
            first = first.and(Err(format!(
                "error cleaning subPath mounts for volume {volume:?}: {error}"
            )));
        }
    }
    for (plugin, volume, path) in volumes {
        let result = match plugin_by_name(&plugin) {
            Some(known) => known.tear_down(host, uid, &volume),
            None if path.is_dir() => Err(format!(
                "volume {} is of kind {plugin}, which this kubelet does not have",
                path.display()
            )),
            None => Ok(()),
        };
        if let Err(error) = result {
            first = first.and(Err(format!(
                "UnmountVolume.TearDown failed for volume {volume:?} : {error}"
            )));
        }
    }
    first
}

impl PodVolumes for VolumeManager {
    fn wait_for_attach_and_mount<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.wait(pod))
    }

    fn wait_for_unmount<'a>(&'a self, pod: &'a Arc<Pod>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.unmount(pod))
    }

    fn mounted(&self, pod: &Pod) -> HashMap<String, MountedVolume> {
        let uid = &pod.metadata.uid;
        let entries = self.inner.entries.lock();
        let Some(entry) = entries.get(uid) else {
            return HashMap::new();
        };
        let volume = |mounted: &Mounted| {
            let attributes = mounted.plugin.attributes(&mounted.spec);
            MountedVolume {
                path: mounted.plugin.path(&self.inner.host, uid, &mounted.spec),
                read_only: attributes.read_only,
                selinux_relabel: attributes.managed && attributes.selinux_relabel,
                image: mounted
                    .spec
                    .volume()
                    .is_some_and(|volume| volume.image.is_some()),
            }
        };
        entry
            .mounted
            .iter()
            .map(|(name, mounted)| (name.clone(), volume(mounted)))
            .collect()
    }

    fn block_devices(&self, _: &Pod, container: &Container) -> Result<Vec<BlockDevice>, String> {
        match container.volume_devices.first() {
            None => Ok(Vec::new()),
            Some(device) => Err(format!(
                "cannot find volume {:?} to pass into container {:?}",
                device.name, container.name
            )),
        }
    }

    fn prepare_sub_path(
        &self,
        pod: &Pod,
        container: &str,
        index: usize,
        mount: &VolumeMount,
        volume: &MountedVolume,
        sub_path: &str,
    ) -> Result<PathBuf, String> {
        let uid = &pod.metadata.uid;
        // Causes stay in the log: they could tell a user about files of the node.
        if let Err(error) = sub_path::make_dirs(&volume.path, sub_path) {
            tracing::error!(pod = %crate::container::pod_desc(pod), container, volume_mount = mount.name, %error, "Failed to create subPath directory for volumeMount of the container");
            return Err(format!(
                "failed to create subPath directory for volumeMount {:?} of container {container:?}",
                mount.name
            ));
        }
        let volume_name = {
            let entries = self.inner.entries.lock();
            let mounted = entries
                .get(uid)
                .and_then(|entry| entry.mounted.get(&mount.name));
            mounted.map_or_else(|| mount.name.clone(), |mounted| mounted.spec.name.clone())
        };
        let part = SubPath {
            uid,
            volume_name: &volume_name,
            volume: &volume.path,
            container,
            index,
            path: sub_path,
        };
        part.bind(&self.inner.host).map_err(|error| {
            tracing::error!(pod = %crate::container::pod_desc(pod), container, volume_mount = mount.name, %error, "Failed to prepare subPath for volumeMount of the container");
            format!("failed to prepare subPath for volumeMount {:?} of container {container:?}", mount.name)
        })
    }

    fn extra_supplemental_groups(&self, pod: &Pod) -> Vec<i64> {
        let asked = pod
            .spec
            .security_context
            .as_ref()
            .map(|context| context.supplemental_groups.as_slice())
            .unwrap_or_default();
        let entries = self.inner.entries.lock();
        let Some(entry) = entries.get(&pod.metadata.uid) else {
            return Vec::new();
        };
        let groups: BTreeSet<i64> = entry
            .mounted
            .values()
            .filter_map(|mounted| mounted.spec.gid())
            .collect();
        groups
            .into_iter()
            .filter(|group| !asked.contains(group))
            .collect()
    }

    fn pod_volumes_exist(&self, uid: &str) -> bool {
        if self
            .inner
            .entries
            .lock()
            .get(uid)
            .is_some_and(|entry| !entry.mounted.is_empty())
        {
            return true;
        }
        let mounter = &self.inner.host.mounter;
        match layout::volumes_on_disk(&self.inner.host.root_dir, uid) {
            // What cannot be judged may be there.
            Err(_) => true,
            Ok(volumes) => volumes
                .iter()
                .any(|(_, _, path)| mounter.mount_at(path).map_or(true, |mount| mount.is_some())),
        }
    }

    fn volumes_in_use(&self) -> Vec<String> {
        // Only volumes that a controller attaches count, and this kubelet has none of those kinds.
        Vec::new()
    }

    fn mark_volumes_as_reported_in_use(&self, _: &[String]) {}
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
