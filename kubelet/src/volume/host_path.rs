//! A file or folder of the node. Upstream: `pkg/volume/hostpath`.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::HostPathVolumeSource;
use futures::future::BoxFuture;

use super::measure::How;
use super::{Attributes, SetUp, VolumeHost, VolumePlugin, VolumeSpec, blocking, no_backsteps};

const NAME: &str = "kubernetes.io/host-path";

/// The plugin.
pub(super) struct HostPath;

fn source(spec: &VolumeSpec) -> Option<&HostPathVolumeSource> {
    match spec.volume() {
        Some(volume) => volume.host_path.as_deref(),
        None => spec
            .persistent_source()
            .and_then(|source| source.host_path.as_deref()),
    }
}

impl VolumePlugin for HostPath {
    fn name(&self) -> &'static str {
        NAME
    }

    fn can_support(&self, spec: &VolumeSpec) -> bool {
        source(spec).is_some()
    }

    fn attributes(&self, spec: &VolumeSpec) -> Attributes {
        Attributes {
            read_only: spec.read_only,
            managed: false,
            selinux_relabel: false,
        }
    }

    fn path(&self, _: &VolumeHost, _: &str, spec: &VolumeSpec) -> PathBuf {
        source(spec)
            .map(|source| PathBuf::from(&source.path))
            .unwrap_or_default()
    }

    fn set_up<'a>(
        &'a self,
        _: &'a Arc<VolumeHost>,
        set_up: &'a SetUp,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some(source) = source(&set_up.spec) else {
                return Err("spec does not reference an HostPath volume type".to_owned());
            };
            let path = source.path.clone();
            no_backsteps(&path).map_err(|error| format!("invalid HostPath `{path}`: {error}"))?;
            let kind = source.type_.clone().unwrap_or_default();
            if kind.is_empty() {
                return Ok(());
            }
            blocking(move || check_type(Path::new(&path), &kind)).await
        })
    }

    fn tear_down(&self, _: &VolumeHost, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn measure(&self) -> How {
        How::Not
    }
}

/// Checks that the path is what the type says, and makes it where the type says so.
fn check_type(path: &Path, kind: &str) -> Result<(), String> {
    // Links are followed, as upstream does: the node's administrator made them.
    let found = std::fs::metadata(path)
        .ok()
        .map(|metadata| metadata.file_type());
    let shown = path.display();
    match (kind, found) {
        ("DirectoryOrCreate", None) => {
            return crate::sys::create_dir_all(path, 0o755)
                .map_err(|error| format!("mkdir {shown}: {error}"));
        }
        ("FileOrCreate", None) => {
            use std::os::unix::fs::OpenOptionsExt as _;
            let made = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path);
            return made
                .map(drop)
                .map_err(|error| format!("open {shown}: {error}"));
        }
        _ => {}
    }
    let is = |check: fn(&std::fs::FileType) -> bool| found.as_ref().is_some_and(check);
    let (right, what) = match kind {
        "DirectoryOrCreate" | "Directory" => (is(std::fs::FileType::is_dir), "directory"),
        "FileOrCreate" | "File" => (is(std::fs::FileType::is_file), "file"),
        "Socket" => (is(|kind| kind.is_socket()), "socket file"),
        "CharDevice" => (is(|kind| kind.is_char_device()), "character device"),
        "BlockDevice" => (is(|kind| kind.is_block_device()), "block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if right {
        Ok(())
    } else {
        Err(format!(
            "hostPath type check failed: {shown} is not a {what}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("write");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
        let null = PathBuf::from("/dev/null");
        let none = dir.path().join("none");
        for (path, kind, want) in [
            (dir.path(), "Directory", ""),
            (dir.path(), "DirectoryOrCreate", ""),
            (dir.path(), "File", "a file"),
            (&file, "File", ""),
            (&file, "FileOrCreate", ""),
            (&file, "Directory", "a directory"),
            (&file, "DirectoryOrCreate", "a directory"),
            (&socket, "Socket", ""),
            (&file, "Socket", "a socket file"),
            (&null, "CharDevice", ""),
            (&file, "CharDevice", "a character device"),
            (&null, "BlockDevice", "a block device"),
            (&none, "Directory", "a directory"),
            (&none, "File", "a file"),
        ] {
            let want = if want.is_empty() {
                Ok(())
            } else {
                Err(format!(
                    "hostPath type check failed: {} is not {want}",
                    path.display()
                ))
            };
            assert_eq!(check_type(path, kind), want, "{kind}");
        }
        assert_eq!(
            check_type(&file, "Tape"),
            Err("Tape is an invalid volume type".to_owned())
        );
        let (new_dir, new_file) = (dir.path().join("a/b"), dir.path().join("new"));
        check_type(&new_dir, "DirectoryOrCreate").expect("made");
        check_type(&new_file, "FileOrCreate").expect("made");
        assert!(new_dir.is_dir() && new_file.is_file());
    }
}
