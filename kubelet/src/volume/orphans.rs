//! Removes what pods left that this kubelet no longer knows. Upstream: `kubelet_volumes.go`, `pkg/util/removeall`.

use std::collections::HashSet;
use std::path::Path;

use super::{VolumeManager, layout};

/// Removes the folders of all pods but those given; answers what could not be removed.
///
/// Known are the pods of all sources and the pods that have containers. Blocks. Nothing is ever removed through a mount: what
/// is still mounted keeps its pod's folder.
#[must_use]
pub fn clean_up_orphaned_pod_dirs(volumes: &VolumeManager, known: &HashSet<String>) -> Vec<String> {
    let root = &volumes.host().root_dir;
    let uids = match layout::read_names(&layout::pods_dir(root)) {
        Ok(uids) => uids,
        Err(error) => {
            return vec![format!(
                "reading {}: {error}",
                layout::pods_dir(root).display()
            )];
        }
    };
    let mut errors = Vec::new();
    for uid in uids.iter().filter(|uid| !known.contains(*uid)) {
        match remove_pod(volumes, uid) {
            Ok(()) => tracing::info!(pod = uid, "Cleaned up orphaned pod"),
            Err(error) => errors.push(format!("orphaned pod {uid:?} found, but {error}")),
        }
    }
    errors
}

fn remove_pod(volumes: &VolumeManager, uid: &str) -> Result<(), String> {
    let host = volumes.host();
    volumes.tear_down_unknown(uid)?;
    let volumes_dir = layout::volumes_dir(&host.root_dir, uid);
    remove_empty_dirs(&volumes_dir).map_err(|error| {
        format!("error occurred when trying to remove the volumes dir: {error}")
    })?;
    let dir = layout::pod_dir(&host.root_dir, uid);
    if let Some(mount) = host
        .mounter
        .mounts_below(&dir)
        .map_err(|error| error.to_string())?
        .first()
    {
        return Err(format!("something is still mounted in it: {mount}"));
    }
    // Does not follow links.
    std::fs::remove_dir_all(&dir)
        .map_err(|error| format!("error occurred when trying to remove the pod directory: {error}"))
}

/// Removes folders that hold nothing but folders. A file means that content would be lost, and ends it.
fn remove_empty_dirs(dir: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            return Err(std::io::Error::other(format!(
                "{} is not a directory",
                entry.path().display()
            )));
        }
        remove_empty_dirs(&entry.path())?;
    }
    std::fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::test_host::TestHost;
    use super::*;
    use crate::events::Recorder;

    #[test]
    fn only_unknown_pods_go_and_no_content_is_lost() {
        let test = TestHost::new();
        let volumes = VolumeManager::new(test.host.clone(), Arc::new(Recorder::in_memory()));
        let path = |inner: &str| test.root().join("pods").join(inner);
        for dir in [
            "gone/volumes/kubernetes.io~configmap/v",
            "gone/containers/c",
            "known/containers/c",
            "kept/volumes/foreign~csi/v",
        ] {
            std::fs::create_dir_all(path(dir)).expect("folder");
        }
        std::fs::write(path("gone/volumes/kubernetes.io~configmap/v/file"), "x").expect("write");
        std::fs::write(path("gone/etc-hosts"), "x").expect("write");
        std::fs::write(path("kept/volumes/foreign~csi/v/file"), "x").expect("write");
        std::fs::create_dir_all(path("busy/volumes/kubernetes.io~secret/v")).expect("folder");
        test.host
            .mounter
            .mount(
                Path::new("tmpfs"),
                &path("busy/volumes/kubernetes.io~secret/v"),
                "tmpfs",
                &[],
            )
            .expect("mounted");
        *test.mounter.fail_unmount.lock() = Some("busy".to_owned());
        let known = HashSet::from(["known".to_owned()]);
        let errors = clean_up_orphaned_pod_dirs(&volumes, &known);
        assert!(!path("gone").exists());
        assert!(path("known/containers/c").exists());
        assert!(path("kept/volumes/foreign~csi/v/file").exists());
        assert!(path("busy").exists());
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("unmount failed: busy"), "{errors:?}");
        // The next round gets it.
        let errors = clean_up_orphaned_pod_dirs(&volumes, &known);
        assert!(!path("busy").exists());
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}
