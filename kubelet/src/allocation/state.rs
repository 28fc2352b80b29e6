//! Resources of pods in a file that outlives the process, in upstream's format.
//!
//! Upstream: `pkg/kubelet/allocation/state`. Two files are kept: what pods were granted (`allocated_pods_state`) and what was
//! last put into effect (`actuated_pods_state`). A kubelet that starts anew goes on where the one before it stopped, whichever
//! of the two implementations that was.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use api_types::core::v1::ResourceRequirements;
use apimachinery::hash::fnv32a;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

/// Resources of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodResources {
    /// By name of the container.
    pub containers: BTreeMap<String, ResourceRequirements>,
    /// Of the pod as a whole.
    pub pod: Option<ResourceRequirements>,
}

/// Why a state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("checkpoint is corrupted: {0}")]
    Corrupt(String),
}

#[derive(Default)]
struct Inner {
    pods: BTreeMap<String, PodResources>,
    /// Of what the file has.
    written: Option<u32>,
}

/// Resources by pod UID.
pub struct ResourceState {
    inner: Mutex<Inner>,
    /// Nothing is written without one.
    path: Option<PathBuf>,
}

impl ResourceState {
    /// A state that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        ResourceState {
            inner: Mutex::default(),
            path: None,
        }
    }

    /// The state in a file; an empty one if there is no file yet.
    ///
    /// # Errors
    /// When the file is there and cannot be trusted. To go on without it could undo resizes.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let inner = match fs::read(path) {
            Ok(bytes) => {
                let (pods, checksum) = parse(&bytes)?;
                Inner {
                    pods,
                    written: Some(checksum),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Inner::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(ResourceState {
            inner: Mutex::new(inner),
            path: Some(path.to_owned()),
        })
    }

    /// Resources of a pod.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<PodResources> {
        self.inner.lock().pods.get(uid).cloned()
    }

    /// Resources of a container.
    #[must_use]
    pub fn container(&self, uid: &str, name: &str) -> Option<ResourceRequirements> {
        self.inner
            .lock()
            .pods
            .get(uid)?
            .containers
            .get(name)
            .cloned()
    }

    /// Sets all resources of a pod.
    ///
    /// # Errors
    /// When they cannot be written. They count in this process all the same.
    pub fn set_pod(&self, uid: &str, resources: PodResources) -> io::Result<()> {
        self.change(|pods| {
            pods.insert(uid.to_owned(), resources);
        })
    }

    /// Sets the resources of one container.
    ///
    /// # Errors
    /// As [`ResourceState::set_pod`].
    pub fn set_container(
        &self,
        uid: &str,
        name: &str,
        resources: ResourceRequirements,
    ) -> io::Result<()> {
        self.change(|pods| {
            let pod = pods.entry(uid.to_owned()).or_default();
            pod.containers.insert(name.to_owned(), resources);
        })
    }

    /// Sets the resources of a pod as a whole.
    ///
    /// # Errors
    /// As [`ResourceState::set_pod`].
    pub fn set_pod_level(&self, uid: &str, resources: ResourceRequirements) -> io::Result<()> {
        self.change(|pods| {
            pods.entry(uid.to_owned()).or_default().pod = Some(resources);
        })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, PodResources>)) -> io::Result<()> {
        let mut inner = self.inner.lock();
        change(&mut inner.pods);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let data = to_json(&inner.pods);
        let sum = checksum(&data);
        if inner.written == Some(sum) {
            return Ok(());
        }
        write_atomically(
            path,
            &format!("{{\"data\":{},\"checksum\":{sum}}}", Value::from(data)),
        )?;
        inner.written = Some(sum);
        Ok(())
    }

    /// Forgets a pod. The file follows with the next change: what it has too much does no harm.
    pub fn remove(&self, uid: &str) {
        self.inner.lock().pods.remove(uid);
    }

    /// Forgets all pods but these.
    pub fn retain(&self, known: &HashSet<String>) {
        self.inner.lock().pods.retain(|uid, _| known.contains(uid));
    }

    /// UIDs of all pods.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        self.inner.lock().pods.keys().cloned().collect()
    }
}

/// The entries as Go writes its structs.
fn to_json(pods: &BTreeMap<String, PodResources>) -> String {
    let requirements = |value: &ResourceRequirements| {
        String::from_utf8_lossy(&api_types::encode_json(value)).into_owned()
    };
    if pods.is_empty() {
        return "{}".to_owned();
    }
    let mut text = String::from("{\"entries\":{");
    for (index, (uid, pod)) in pods.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{{\"ContainerResources\":{{", quoted(uid));
        for (index, (name, resources)) in pod.containers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{}:{}", quoted(name), requirements(resources));
        }
        let whole = pod
            .pod
            .as_ref()
            .map_or_else(|| "null".to_owned(), requirements);
        let _ = write!(text, "}},\"PodLevelResources\":{whole}}}");
    }
    text.push_str("}}");
    text
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Upstream's: FNV-1a over the text Go prints of a string with its type.
fn checksum(data: &str) -> u32 {
    fnv32a(format!("(string){data}").as_bytes())
}

#[derive(Deserialize)]
struct Checkpoint {
    data: String,
    checksum: u64,
}

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, PodResources>, u32), StateError> {
    let corrupt = |error: &dyn std::fmt::Display| StateError::Corrupt(error.to_string());
    let file: Checkpoint = serde_json::from_slice(bytes).map_err(|error| corrupt(&error))?;
    let sum = checksum(&file.data);
    if u64::from(sum) != file.checksum {
        return Err(StateError::Corrupt(format!(
            "its checksum is {}, its data have {sum}",
            file.checksum
        )));
    }
    let data: Value = serde_json::from_str(&file.data).map_err(|error| corrupt(&error))?;
    let requirements = |value: &Value| {
        api_types::decode_json::<ResourceRequirements>(value.to_string().as_bytes())
            .map_err(|error| corrupt(&error))
    };
    let mut pods = BTreeMap::new();
    for (uid, entry) in data["entries"].as_object().into_iter().flatten() {
        let mut pod = PodResources::default();
        for (name, value) in entry["ContainerResources"]
            .as_object()
            .into_iter()
            .flatten()
        {
            pod.containers.insert(name.clone(), requirements(value)?);
        }
        let whole = &entry["PodLevelResources"];
        if !whole.is_null() {
            pod.pod = Some(requirements(whole)?);
        }
        pods.insert(uid.clone(), pod);
    }
    Ok((pods, sum))
}

/// A reader sees the old file or the new one, even after a power cut.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A dot in front, as upstream: such files are not taken for checkpoints.
    let temporary = path.with_file_name(format!(".{name}.{:08x}", rand::random::<u32>()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::list;

    fn requests(cpu: &str) -> ResourceRequirements {
        ResourceRequirements {
            requests: list(&[("cpu", cpu), ("memory", "1Ki")]),
            ..Default::default()
        }
    }

    /// What upstream's own test pins.
    const UPSTREAM: &str = r#"{"data":"{\"entries\":{\"pod1\":{\"ContainerResources\":{\"container1\":{\"requests\":{\"cpu\":\"1Ki\",\"memory\":\"1Ki\"}}}}}}","checksum":1178570812}"#;

    #[test]
    fn reads_upstreams_file() {
        let (pods, _) = parse(UPSTREAM.as_bytes()).expect("a good file");
        assert_eq!(pods["pod1"].containers["container1"], requests("1Ki"));
        assert_eq!(pods["pod1"].pod, None);
        let error = parse(UPSTREAM.replace("1178570812", "1").as_bytes()).expect_err("corrupt");
        assert!(error.to_string().contains("1178570812"), "{error}");
    }

    #[test]
    fn outlives_the_process() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("allocated_pods_state");
        let state = ResourceState::open(&path).expect("new");
        let resources = PodResources {
            containers: BTreeMap::from([("c".to_owned(), requests("100m"))]),
            pod: Some(requests("1")),
        };
        state.set_pod("u1", resources.clone()).expect("written");
        state
            .set_container("u2", "d", requests("2"))
            .expect("written");
        let text = fs::read_to_string(&path).expect("file");
        assert!(
            text.starts_with(r#"{"data":"{\"entries\":{\"u1\":{\"ContainerResources\":{\"c\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"1Ki\"}}},\"PodLevelResources\":{"#),
            "{text}"
        );
        assert!(text.contains(r#"\"PodLevelResources\":null"#), "{text}");
        let again = ResourceState::open(&path).expect("read");
        assert_eq!(again.pod("u1"), Some(resources.clone()));
        assert_eq!(again.container("u2", "d"), Some(requests("2")));

        // No change, no write.
        fs::remove_file(&path).expect("removed");
        again.set_pod("u1", resources).expect("nothing to write");
        assert!(!path.exists());
        again.set_pod_level("u2", requests("3")).expect("written");
        assert!(path.exists());
        again.retain(&HashSet::from(["u2".to_owned()]));
        assert_eq!(again.uids(), ["u2"]);
        assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 1);
    }
}
