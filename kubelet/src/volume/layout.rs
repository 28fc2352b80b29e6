//! Where things of a pod are below the kubelet's root folder. Upstream: `kubelet_getters.go`.
//!
//! These paths are read back after a restart, by this kubelet or by upstream's, and so may not change.

use std::path::{Path, PathBuf};

/// `kubernetes.io/empty-dir` → `kubernetes.io~empty-dir`.
#[must_use]
pub fn escape_plugin_name(name: &str) -> String {
    name.replace('/', "~")
}

/// The reverse of [`escape_plugin_name`].
#[must_use]
pub fn unescape_plugin_name(name: &str) -> String {
    name.replace('~', "/")
}

/// `<root>/pods`.
#[must_use]
pub fn pods_dir(root: &Path) -> PathBuf {
    root.join("pods")
}

/// `<root>/pods/<uid>`.
#[must_use]
pub fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    pods_dir(root).join(uid)
}

/// `<root>/pods/<uid>/volumes`.
#[must_use]
pub fn volumes_dir(root: &Path, uid: &str) -> PathBuf {
    pod_dir(root, uid).join("volumes")
}

/// `<root>/pods/<uid>/volumes/<escaped plugin>/<volume>`.
#[must_use]
pub fn volume_dir(root: &Path, uid: &str, plugin: &str, volume: &str) -> PathBuf {
    volumes_dir(root, uid)
        .join(escape_plugin_name(plugin))
        .join(volume)
}

/// `<root>/pods/<uid>/plugins/<escaped plugin>`.
#[must_use]
pub fn pod_plugin_dir(root: &Path, uid: &str, plugin: &str) -> PathBuf {
    pod_dir(root, uid)
        .join("plugins")
        .join(escape_plugin_name(plugin))
}

/// `<root>/pods/<uid>/volume-subpaths`.
#[must_use]
pub fn sub_paths_dir(root: &Path, uid: &str) -> PathBuf {
    pod_dir(root, uid).join("volume-subpaths")
}

/// Plugin, volume name and folder of every volume of a pod on disk.
///
/// # Errors
/// When a folder cannot be read; a pod without volumes has none.
pub fn volumes_on_disk(root: &Path, uid: &str) -> std::io::Result<Vec<(String, String, PathBuf)>> {
    let mut found = Vec::new();
    for plugin in read_names(&volumes_dir(root, uid))? {
        let dir = volumes_dir(root, uid).join(&plugin);
        if !dir.is_dir() {
            continue;
        }
        for volume in read_names(&dir)? {
            let path = dir.join(&volume);
            found.push((unescape_plugin_name(&plugin), volume, path));
        }
    }
    Ok(found)
}

/// Names in a folder, sorted; none when there is no such folder. Names that are no UTF-8 are none of ours.
///
/// # Errors
/// When the folder cannot be read.
pub fn read_names(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_upstreams() {
        let root = Path::new("/var/lib/kubelet");
        assert_eq!(
            volume_dir(root, "u", "kubernetes.io/configmap", "v"),
            Path::new("/var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/v")
        );
        assert_eq!(
            pod_plugin_dir(root, "u", "kubernetes.io/empty-dir").join("wrapped_v"),
            Path::new("/var/lib/kubelet/pods/u/plugins/kubernetes.io~empty-dir/wrapped_v")
        );
        assert_eq!(
            unescape_plugin_name("kubernetes.io~nfs"),
            "kubernetes.io/nfs"
        );
    }

    #[test]
    fn volumes_are_found_on_disk() {
        let root = tempfile::tempdir().expect("folder");
        assert!(volumes_on_disk(root.path(), "u").expect("none").is_empty());
        let dir = volume_dir(root.path(), "u", "kubernetes.io/secret", "v");
        std::fs::create_dir_all(&dir).expect("folder");
        let found = volumes_on_disk(root.path(), "u").expect("found");
        assert_eq!(
            found,
            [("kubernetes.io/secret".to_owned(), "v".to_owned(), dir)]
        );
    }
}
