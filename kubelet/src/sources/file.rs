//! Static pods from files: a folder, watched, or one file. Upstream: `pkg/kubelet/config/file.go` and `common.go`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::core::v1::{Pod, Toleration};
use apimachinery::yaml::{self, DuplicateKeyPolicy};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CONFIG_HASH, Source, SourceEvent, set_pod_defaults};

/// A manifest may be this long: a kubelet must not be filled by a file.
const MAX_MANIFEST_BYTES: u64 = 10 * 1024 * 1024;

/// Reads static pods.
pub struct FileSource {
    /// `staticPodPath`.
    pub path: PathBuf,
    /// Name of this node, the suffix of static pods' names.
    pub node_name: String,
    /// `fileCheckFrequency`.
    pub period: Duration,
}

/// 128-bit FNV-1a, as `fnv.New128a`.
fn fnv128a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

/// Reads one manifest and gives the pod its identity.
///
/// Upstream hashes Go's text of its internal type for the UID, which nothing but that code can reproduce: a manifest without
/// `metadata.uid` gets another UID here, and its containers are made anew when kubelets are swapped. Manifests that set
/// `metadata.uid` keep it.
///
/// # Errors
/// When the text is no pod, or one that refers to objects of the API (a static pod may not).
pub fn parse_static_pod(text: &[u8], origin: &str, node_name: &str) -> Result<Pod, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let value: serde_json::Value = yaml::from_str(text, DuplicateKeyPolicy::LastWins)
        .map_err(|error| yaml::error_text(&error))?;
    let kind = value
        .get("kind")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    let version = value
        .get("apiVersion")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    if (version, kind) != ("v1", "Pod") {
        return Err(format!(
            "{origin}: couldn't parse as pod(apiVersion {version:?}, kind {kind:?}), please check config file"
        ));
    }
    let json = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    let mut pod: Pod =
        api_types::decode_json(&json).map_err(|error| format!("{origin}: {error}"))?;
    if pod.metadata.name.is_empty() {
        return Err(format!("{origin}: invalid pod: metadata.name is required"));
    }
    if pod.spec.containers.is_empty() {
        return Err(format!(
            "{origin}: invalid pod: spec.containers is required"
        ));
    }
    if let Some(what) = api_reference(&pod) {
        return Err(format!("{origin}: static pods may not reference {what}"));
    }
    if pod.metadata.uid.is_empty() {
        let seed = format!(
            "{}host:{node_name}file:{origin}",
            String::from_utf8_lossy(&json)
        );
        pod.metadata.uid = format!("{:032x}", fnv128a(seed.as_bytes()));
    }
    pod.metadata.name = format!("{}-{}", pod.metadata.name, node_name.to_lowercase());
    if pod.metadata.namespace.is_empty() {
        pod.metadata.namespace = "default".to_owned();
    }
    pod.metadata
        .annotations
        .insert(CONFIG_HASH.to_owned(), pod.metadata.uid.clone());
    pod.spec.node_name = node_name.to_owned();
    // Static pods are not moved away: they tolerate whatever befalls the node.
    pod.spec.tolerations.push(Toleration {
        operator: "Exists".to_owned(),
        effect: "NoExecute".to_owned(),
        ..Default::default()
    });
    pod.status.phase = "Pending".to_owned();
    set_pod_defaults(&mut pod);
    Ok(pod)
}

/// An object of the API that the pod refers to.
fn api_reference(pod: &Pod) -> Option<&'static str> {
    let containers = crate::container::all_containers(&pod.spec);
    for container in &containers {
        for from in &container.env_from {
            if from.config_map_ref.is_some() {
                return Some("configmaps");
            }
            if from.secret_ref.is_some() {
                return Some("secrets");
            }
        }
        for source in container
            .env
            .iter()
            .filter_map(|variable| variable.value_from.as_deref())
        {
            if source.config_map_key_ref.is_some() {
                return Some("configmaps");
            }
            if source.secret_key_ref.is_some() {
                return Some("secrets");
            }
        }
    }
    if !pod.spec.service_account_name.is_empty() && pod.spec.service_account_name != "default" {
        return Some("serviceaccounts");
    }
    if !pod.spec.resource_claims.is_empty() {
        return Some("resourceclaims");
    }
    pod.spec.volumes.iter().find_map(|volume| {
        let source = &volume.volume_source;
        if source.secret.is_some() {
            Some("secrets")
        } else if source.config_map.is_some() {
            Some("configmaps")
        } else if source.persistent_volume_claim.is_some() || source.ephemeral.is_some() {
            Some("persistentvolumeclaims")
        } else if source.projected.as_ref().is_some_and(|projected| {
            projected.sources.iter().any(|source| {
                source.secret.is_some()
                    || source.config_map.is_some()
                    || source.service_account_token.is_some()
                    || source.cluster_trust_bundle.is_some()
            })
        }) {
            Some("projected API objects")
        } else {
            None
        }
    })
}

impl FileSource {
    /// All pods at the path. Files that are no pods are logged and left out.
    fn read_all(&self) -> Vec<Pod> {
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return Vec::new();
        };
        let mut files = Vec::new();
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten();
            files.extend(entries.map(|entry| entry.path()).filter(|path| {
                path.is_file()
                    && path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .is_some_and(|name| !name.starts_with('.'))
            }));
            files.sort();
        } else {
            files.push(self.path.clone());
        }
        files.iter().filter_map(|file| self.read(file)).collect()
    }

    fn read(&self, file: &Path) -> Option<Pod> {
        let read = || {
            let size = std::fs::metadata(file)
                .map_err(|error| error.to_string())?
                .len();
            if size > MAX_MANIFEST_BYTES {
                return Err(format!(
                    "the file is longer than {MAX_MANIFEST_BYTES} bytes"
                ));
            }
            let text = std::fs::read(file).map_err(|error| error.to_string())?;
            parse_static_pod(&text, &file.to_string_lossy(), &self.node_name)
        };
        match read() {
            Ok(pod) => Some(pod),
            Err(error) => {
                tracing::error!(path = %file.display(), %error, "Can't process manifest file");
                None
            }
        }
    }

    /// Follows the path until the token ends it. The channel holds at most one entry per change of a file.
    pub async fn run(self, events: mpsc::UnboundedSender<SourceEvent>, token: CancellationToken) {
        let mut known: HashMap<String, Pod> = HashMap::new();
        let mut first = true;
        let mut ticks = tokio::time::interval(self.period);
        let mut watch = self.watch();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => {}
                Some(_) = async { match &mut watch { Some(watch) => watch.next().await, None => std::future::pending().await } } => {}
            }
            if watch.is_none() {
                // The folder was not there, or was replaced.
                watch = self.watch();
            }
            let pods = self.read_all();
            let present: HashSet<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
            let gone: Vec<String> = known
                .keys()
                .filter(|uid| !present.contains(uid.as_str()))
                .cloned()
                .collect();
            for uid in gone {
                known.remove(&uid);
                let _ = events.send(SourceEvent::Remove(Source::File, uid));
            }
            for pod in pods {
                if known.get(&pod.metadata.uid) != Some(&pod) {
                    known.insert(pod.metadata.uid.clone(), pod.clone());
                    let _ = events.send(SourceEvent::Upsert(Source::File, Box::new(pod)));
                }
            }
            if std::mem::take(&mut first) {
                let _ = events.send(SourceEvent::Synced(Source::File));
            }
        }
    }

    fn watch(&self) -> Option<inotify::EventStream<Vec<u8>>> {
        use inotify::{Inotify, WatchMask};
        if !self.path.is_dir() {
            return None;
        }
        let inotify = Inotify::init().ok()?;
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE;
        inotify.watches().add(&self.path, mask).ok()?;
        inotify.into_event_stream(vec![0; 4096]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd, namespace: kube-system}\nspec:\n  containers: [{name: c, image: busybox}]\n";

    #[test]
    fn identity() {
        let pod = parse_static_pod(MANIFEST.as_bytes(), "/m/etcd.yaml", "Node1").expect("pod");
        assert_eq!(pod.metadata.name, "etcd-node1");
        assert_eq!(pod.spec.node_name, "Node1");
        assert_eq!(pod.metadata.annotations[CONFIG_HASH], pod.metadata.uid);
        assert_eq!(pod.spec.restart_policy, "Always");
        assert_eq!(pod.spec.containers[0].image_pull_policy, "Always");
        let same = parse_static_pod(MANIFEST.as_bytes(), "/m/etcd.yaml", "Node1").expect("pod");
        assert_eq!(pod.metadata.uid, same.metadata.uid);
        let other = parse_static_pod(
            MANIFEST.replace("busybox", "other").as_bytes(),
            "/m/etcd.yaml",
            "Node1",
        )
        .expect("pod");
        assert_ne!(pod.metadata.uid, other.metadata.uid);
        // Of a key that comes twice the last counts, as upstream.
        let twice = MANIFEST.replace("name: etcd,", "name: first, name: etcd,");
        let twice = parse_static_pod(twice.as_bytes(), "/m/etcd.yaml", "Node1").expect("pod");
        assert_eq!(twice.metadata.name, "etcd-node1");
        let fixed = MANIFEST.replace("name: etcd,", "name: etcd, uid: fixed,");
        assert_eq!(
            parse_static_pod(fixed.as_bytes(), "/m/e", "n")
                .expect("pod")
                .metadata
                .uid,
            "fixed"
        );
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "kind: ConfigMap\napiVersion: v1\n",
            "{",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
        ] {
            assert!(
                parse_static_pod(text.as_bytes(), "f", "n").is_err(),
                "{text}"
            );
        }
        let secret = format!("{MANIFEST}  volumes: [{{name: v, secret: {{secretName: s}}}}]\n");
        assert_eq!(
            parse_static_pod(secret.as_bytes(), "f", "n").expect_err("refused"),
            "f: static pods may not reference secrets"
        );
    }

    #[test]
    fn hash_of_nothing() {
        // The value Go's fnv.New128a starts with, and its hash of "a".
        assert_eq!(fnv128a(b""), 0x6c62272e07bb014262b821756295c58d);
        assert_eq!(fnv128a(b"a"), 0xd228cb696f1a8caf78912b704e4a8964);
    }

    #[tokio::test]
    async fn a_folder_is_followed() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("a.yaml"), MANIFEST).expect("write");
        std::fs::write(dir.path().join(".hidden"), MANIFEST).expect("write");
        let (sender, mut events) = mpsc::unbounded_channel();
        let token = CancellationToken::new();
        let source = FileSource {
            path: dir.path().to_owned(),
            node_name: "n".into(),
            period: Duration::from_secs(20),
        };
        tokio::spawn(source.run(sender, token.clone()));
        let mut next = async || {
            tokio::time::timeout(Duration::from_secs(5), events.recv())
                .await
                .expect("in time")
                .expect("open")
        };
        assert!(matches!(next().await, SourceEvent::Upsert(Source::File, _)));
        assert!(matches!(next().await, SourceEvent::Synced(Source::File)));
        std::fs::remove_file(dir.path().join("a.yaml")).expect("remove");
        assert!(matches!(next().await, SourceEvent::Remove(Source::File, _)));
        token.cancel();
    }
}
