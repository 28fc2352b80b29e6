//! Parts of volumes for containers. Upstream: `pkg/volume/util/subpath`.
//!
//! A container may change links and folders of its volume at any moment, so a path in it must be opened once, by the kernel,
//! with the rule that it stays below the volume (openat2, RESOLVE_BENEATH). What was opened is bind-mounted to a folder of the
//! kubelet's through /proc, and that is what the runtime gets: nothing a container does afterwards can redirect it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{VolumeHost, layout};

/// Why a sub path cannot be used. For the log: the texts may tell about the node's files.
#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    /// It is, or leads, outside of the volume.
    #[error("subpath {0:?} leads out of its volume")]
    Escapes(String),
    /// A step failed.
    #[error("{step} {path}: {why}")]
    Step {
        /// What was done.
        step: &'static str,
        /// On what.
        path: String,
        /// Cause.
        why: String,
    },
}

fn failed(step: &'static str, path: impl AsRef<Path>, why: impl ToString) -> SubPathError {
    SubPathError::Step {
        step,
        path: path.as_ref().display().to_string(),
        why: why.to_string(),
    }
}

/// Links inside the volume are fine (ConfigMap volumes are made of them); links out of it, `..` out of it and the links of
/// /proc are not.
const RULES: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

fn open_beneath(volume: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    loop {
        // The kernel asks for another try when a rename went on at the same time.
        match rustix::fs::openat2(
            volume,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            RULES,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

fn open_volume(volume: &Path) -> Result<OwnedFd, SubPathError> {
    // The volume's own path is the kubelet's or the administrator's; links in it are theirs.
    rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed("open", volume, error))
}

fn escape_or(error: Errno, step: &'static str, path: &str) -> SubPathError {
    if error == Errno::XDEV || error == Errno::LOOP {
        SubPathError::Escapes(path.to_owned())
    } else {
        failed(step, path, error)
    }
}

/// Makes the folders of a sub path that are not there, with the permissions of the volume.
///
/// # Errors
/// When the path leaves the volume or a folder cannot be made.
pub fn make_dirs(volume: &Path, sub_path: &str) -> Result<(), SubPathError> {
    let root = open_volume(volume)?;
    match open_beneath(&root, sub_path) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(escape_or(error, "open", sub_path)),
    }
    let mode = rustix::fs::fstat(&root)
        .map_err(|error| failed("stat", volume, error))?
        .st_mode
        & 0o7777;
    let parts: Vec<&str> = sub_path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(SubPathError::Escapes(sub_path.to_owned()));
    }
    // The longest part that exists is opened by the rules; what is made below it is entered without following links.
    let (mut dir, mut made) = (None, parts.len());
    for length in (0..parts.len()).rev() {
        let prefix = if length == 0 {
            ".".to_owned()
        } else {
            parts[..length].join("/")
        };
        match open_beneath(&root, &prefix) {
            Ok(found) => {
                (dir, made) = (Some(found), length);
                break;
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(escape_or(error, "open", &prefix)),
        }
    }
    let mut dir = dir.ok_or_else(|| failed("open", volume, Errno::NOENT))?;
    for part in &parts[made..] {
        match rustix::fs::mkdirat(&dir, *part, Mode::from_raw_mode(mode & 0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("mkdir", part, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, *part, flags, Mode::empty())
            .map_err(|error| escape_or(error, "open", part))?;
        // The umask took bits away when it was made.
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))
            .map_err(|error| failed("chmod", part, error))?;
    }
    Ok(())
}

/// One sub path of one mount of one container.
#[derive(Clone, Copy, Debug)]
pub struct SubPath<'a> {
    /// UID of the pod.
    pub uid: &'a str,
    /// Name of the volume on disk.
    pub volume_name: &'a str,
    /// Where the volume is.
    pub volume: &'a Path,
    /// Container name.
    pub container: &'a str,
    /// Index of the mount in the container.
    pub index: usize,
    /// The path in the volume.
    pub path: &'a str,
}

impl SubPath<'_> {
    fn target(&self, host: &VolumeHost) -> PathBuf {
        layout::sub_paths_dir(&host.root_dir, self.uid)
            .join(self.volume_name)
            .join(self.container)
            .join(self.index.to_string())
    }

    /// Binds the sub path to a folder of the kubelet's and answers that folder.
    ///
    /// # Errors
    /// When the path leaves the volume or cannot be mounted.
    pub fn bind(&self, host: &VolumeHost) -> Result<PathBuf, SubPathError> {
        let root = open_volume(self.volume)?;
        let fd =
            open_beneath(&root, self.path).map_err(|error| escape_or(error, "open", self.path))?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let stat = rustix::fs::fstat(&fd).map_err(|error| failed("stat", self.path, error))?;
        let target = self.target(host);
        if host
            .mounter
            .mount_at(&target)
            .map_err(|error| failed("list mounts of", &target, error))?
            .is_some()
        {
            let bound = std::fs::symlink_metadata(&target)
                .map_err(|error| failed("stat", &target, error))?;
            if (bound.dev(), bound.ino()) == (stat.st_dev, stat.st_ino) {
                return Ok(target);
            }
            // Bound to something that is no longer what the path says.
            host.mounter
                .unmount(&target)
                .map_err(|error| failed("unmount", &target, error))?;
        }
        if let Some(parent) = target.parent() {
            crate::sys::create_dir_all(parent, 0o750)
                .map_err(|error| failed("mkdir", parent, error))?;
        }
        let is_dir =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        make_target(&target, is_dir).map_err(|error| failed("create", &target, error))?;
        if let Err(error) = host
            .mounter
            .mount(&source, &target, "", &["bind".to_owned()])
        {
            let _ = host.mounter.clean_up(&target);
            return Err(failed("mount", self.path, error));
        }
        Ok(target)
    }
}

/// Something of the same kind to mount over; a file does for all that is no folder.
fn make_target(target: &Path, is_dir: bool) -> std::io::Result<()> {
    match std::fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() == is_dir => return Ok(()),
        Ok(found) if found.is_dir() => std::fs::remove_dir(target)?,
        Ok(_) => std::fs::remove_file(target)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if is_dir {
        crate::sys::create_dir_all(target, 0o750)
    } else {
        std::fs::File::create(target).map(drop)
    }
}

/// Unmounts all sub paths of a volume.
///
/// # Errors
/// When one stays mounted.
pub fn clean_up(host: &VolumeHost, uid: &str, volume_name: &str) -> Result<(), String> {
    let top = layout::sub_paths_dir(&host.root_dir, uid);
    let dir = top.join(volume_name);
    for container in layout::read_names(&dir)
        .map_err(|error| format!("error reading {}: {error}", dir.display()))?
    {
        let container = dir.join(container);
        if !container.is_dir() {
            continue;
        }
        let indices = layout::read_names(&container)
            .map_err(|error| format!("error processing {}: {error}", container.display()))?;
        for index in indices {
            let path = container.join(index);
            host.mounter.clean_up(&path).map_err(|error| {
                format!("error cleaning subpath mount {}: {error}", path.display())
            })?;
        }
        std::fs::remove_dir(&container)
            .map_err(|error| format!("error deleting {}: {error}", container.display()))?;
    }
    remove_empty(&dir)?;
    // Goes with the last volume.
    let _ = std::fs::remove_dir(&top);
    Ok(())
}

fn remove_empty(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("error deleting {}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::test_host::TestHost;
    use super::*;

    fn volume() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2770))
            .expect("mode");
        std::fs::create_dir_all(dir.path().join("dir/inner")).expect("folder");
        std::fs::write(dir.path().join("dir/file"), "x").expect("write");
        symlink("dir", dir.path().join("inside")).expect("link");
        symlink("/etc", dir.path().join("outside")).expect("link");
        symlink("../..", dir.path().join("dir/up")).expect("link");
        symlink("nowhere", dir.path().join("dangling")).expect("link");
        symlink("/proc/self/root", dir.path().join("magic")).expect("link");
        symlink("loop", dir.path().join("loop")).expect("link");
        dir
    }

    fn sub_path<'a>(volume: &'a Path, path: &'a str) -> SubPath<'a> {
        SubPath {
            uid: "uid-1",
            volume_name: "v",
            volume,
            container: "c",
            index: 0,
            path,
        }
    }

    #[test]
    fn escapes_are_refused() {
        let test = TestHost::new();
        let volume = volume();
        for path in [
            "outside",
            "outside/passwd",
            "dir/up",
            "dir/up/etc",
            "magic/etc",
            "../x",
            "loop",
        ] {
            let result = sub_path(volume.path(), path).bind(&test.host);
            assert!(
                matches!(result, Err(SubPathError::Escapes(_))),
                "{path}: {result:?}"
            );
            let made = make_dirs(volume.path(), &format!("{path}/new"));
            assert!(made.is_err(), "{path}");
        }
        assert!(test.mounter.taken().is_empty());
    }

    #[test]
    fn binds() {
        let test = TestHost::new();
        let volume = volume();
        let real = volume.path().canonicalize().expect("path");
        let target = test.root().join("pods/uid-1/volume-subpaths/v/c/0");
        for (path, want) in [
            ("dir", "dir"),
            ("inside/inner", "dir/inner"),
            ("dir/file", "dir/file"),
            (".", ""),
        ] {
            let got = sub_path(volume.path(), path)
                .bind(&test.host)
                .expect("bound");
            assert_eq!(got, target);
            let log = test.mounter.taken();
            let want = real.join(want).display().to_string();
            let want = want.trim_end_matches('/');
            assert_eq!(
                log.last().expect("mount"),
                &format!("mount {want} {}  bind", target.display())
            );
            assert_eq!(target.is_dir(), path != "dir/file");
        }
        clean_up(&test.host, "uid-1", "v").expect("cleaned up");
        assert!(!test.root().join("pods/uid-1/volume-subpaths").exists());
        clean_up(&test.host, "uid-1", "v").expect("nothing left");
    }

    #[test]
    fn folders_are_made_with_the_mode_of_the_volume() {
        let volume = volume();
        let mode = |path: &str| {
            std::fs::metadata(volume.path().join(path))
                .expect("folder")
                .permissions()
                .mode()
                & 0o7777
        };
        make_dirs(volume.path(), "a/b/c").expect("made");
        assert_eq!([mode("a"), mode("a/b"), mode("a/b/c")], [0o2770; 3]);
        make_dirs(volume.path(), "inside/new").expect("made");
        assert!(volume.path().join("dir/new").is_dir());
        make_dirs(volume.path(), "dir/file").expect("a file that is there is left alone");
        // A link to nothing is no folder and is not followed to make one.
        assert!(make_dirs(volume.path(), "dangling/x").is_err());
        assert!(make_dirs(volume.path(), "dir/file/x").is_err());
        assert!(make_dirs(volume.path(), "no/../../x").is_err());
    }
}
