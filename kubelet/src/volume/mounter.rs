//! Mounts behind a trait, so that volumes can be tested without privileges. Upstream: `k8s.io/mount-utils`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};

/// A mount of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPoint {
    /// `major:minor` of its device.
    pub device: String,
    /// Folder of the device's file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub path: PathBuf,
    /// `tmpfs`, `ext4`, `nfs4`, ...
    pub fs_type: String,
    /// Device or server.
    pub source: String,
}

/// A mount or unmount that failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mount call or command failed.
    #[error(
        "mount failed: {why}\nMounting arguments: -t {fs_type} -o {options} {source_name} {target}"
    )]
    Mount {
        /// Cause.
        why: String,
        /// File system.
        fs_type: String,
        /// Options, with commas.
        options: String,
        /// What was to be mounted.
        source_name: String,
        /// Where.
        target: String,
    },
    /// The unmount call or command failed.
    #[error("unmount failed: {why}\nUnmounting arguments: {target}")]
    Unmount {
        /// Cause.
        why: String,
        /// Where.
        target: String,
    },
}

/// Mounts and unmounts.
pub trait Mounter: Send + Sync {
    /// Mounts `source` at `target`, which exists. Options are those of mount(8); `bind` needs no file system type.
    ///
    /// # Errors
    /// When the system refuses.
    fn mount(
        &self,
        source: &Path,
        target: &Path,
        fs_type: &str,
        options: &[String],
    ) -> Result<(), MountError>;

    /// Unmounts the topmost mount at `target`.
    ///
    /// # Errors
    /// When the system refuses, as for a busy mount.
    fn unmount(&self, target: &Path) -> Result<(), MountError>;

    /// Unmounts even though a server does not answer.
    ///
    /// # Errors
    /// When the system refuses.
    fn unmount_forced(&self, target: &Path) -> Result<(), MountError> {
        self.unmount(target)
    }

    /// All mounts this process sees, in the order they were made.
    ///
    /// # Errors
    /// When the list cannot be read.
    fn mounts(&self) -> io::Result<Vec<MountPoint>>;
}

impl dyn Mounter + '_ {
    /// The topmost mount at exactly this path.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn mount_at(&self, path: &Path) -> io::Result<Option<MountPoint>> {
        let real = resolve_parent(path);
        Ok(self
            .mounts()?
            .into_iter()
            .rev()
            .find(|mount| mount.path == real))
    }

    /// Mounts below this path, the path itself not counted.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn mounts_below(&self, path: &Path) -> io::Result<Vec<MountPoint>> {
        let real = resolve_parent(path);
        Ok(self
            .mounts()?
            .into_iter()
            .filter(|mount| mount.path != real && mount.path.starts_with(&real))
            .collect())
    }

    /// Unmounts what is mounted here, if anything, and removes the empty folder or file.
    ///
    /// # Errors
    /// When something stays.
    pub fn clean_up(&self, path: &Path) -> Result<(), String> {
        while self
            .mount_at(path)
            .map_err(|error| error.to_string())?
            .is_some()
        {
            self.unmount(path).map_err(|error| error.to_string())?;
        }
        let removed = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir(path),
            Ok(_) => std::fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("remove {}: {error}", path.display())),
        }
    }
}

/// The list of mounts has real paths; the root folder of the kubelet may be reached through a link. The last part is never
/// resolved: a mount point that does not answer must not block.
fn resolve_parent(path: &Path) -> PathBuf {
    match (
        path.parent().and_then(|parent| parent.canonicalize().ok()),
        path.file_name(),
    ) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

/// The system's own mounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMounter;

/// File systems whose mounts need a program in user space.
fn needs_command(fs_type: &str) -> bool {
    matches!(fs_type, "nfs" | "nfs4")
}

/// Splits options of mount(8) into flags and what the file system gets. `None` for options only mount(8) knows about.
fn flags_of(options: &[String]) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "bind" => flags |= MountFlags::BIND,
            "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "dirsync" => flags |= MountFlags::DIRSYNC,
            // What the kernel does anyway, or a note for user space.
            "rw" | "defaults" | "suid" | "dev" | "exec" | "async" | "_netdev" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

impl Mounter for LinuxMounter {
    fn mount(
        &self,
        source: &Path,
        target: &Path,
        fs_type: &str,
        options: &[String],
    ) -> Result<(), MountError> {
        let failed = |why: String| MountError::Mount {
            why,
            fs_type: fs_type.to_owned(),
            options: options.join(","),
            source_name: source.display().to_string(),
            target: target.display().to_string(),
        };
        if needs_command(fs_type) {
            let mut command = Command::new("mount");
            command.args(["-t", fs_type]);
            if !options.is_empty() {
                command.args(["-o", &options.join(",")]);
            }
            return run(command.arg(source).arg(target)).map_err(failed);
        }
        let (flags, data) = flags_of(options);
        if flags.contains(MountFlags::BIND) {
            let kind = flags & (MountFlags::BIND | MountFlags::REC);
            let bind = if kind.contains(MountFlags::REC) {
                rustix::mount::mount_bind_recursive(source, target)
            } else {
                rustix::mount::mount_bind(source, target)
            };
            bind.map_err(|error| failed(error.to_string()))?;
            // A bind mount takes over the flags of its source; other flags need a second call.
            let rest = flags.difference(MountFlags::BIND | MountFlags::REC);
            if !rest.is_empty() {
                rustix::mount::mount_remount(target, rest | MountFlags::BIND, c"")
                    .map_err(|error| failed(error.to_string()))?;
            }
            return Ok(());
        }
        let data = std::ffi::CString::new(data).map_err(|error| failed(error.to_string()))?;
        rustix::mount::mount(source, target, fs_type, flags, data.as_c_str())
            .map_err(|error| failed(error.to_string()))
    }

    fn unmount(&self, target: &Path) -> Result<(), MountError> {
        rustix::mount::unmount(target, UnmountFlags::NOFOLLOW).map_err(|error| {
            MountError::Unmount {
                why: error.to_string(),
                target: target.display().to_string(),
            }
        })
    }

    fn unmount_forced(&self, target: &Path) -> Result<(), MountError> {
        rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE).map_err(
            |error| MountError::Unmount {
                why: error.to_string(),
                target: target.display().to_string(),
            },
        )
    }

    fn mounts(&self) -> io::Result<Vec<MountPoint>> {
        Ok(parse_mountinfo(&std::fs::read_to_string(
            "/proc/self/mountinfo",
        )?))
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}\nOutput: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Reads the format of /proc/self/mountinfo; lines that do not have it are left out.
fn parse_mountinfo(text: &str) -> Vec<MountPoint> {
    text.lines()
        .filter_map(|line| {
            let (mount, fs) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(2);
            let (device, root, path) = (mount.next()?, mount.next()?, mount.next()?);
            let mut fs = fs.split(' ');
            Some(MountPoint {
                device: device.to_owned(),
                root: PathBuf::from(unescape(root)),
                path: PathBuf::from(unescape(path)),
                fs_type: fs.next()?.to_owned(),
                source: unescape(fs.next()?),
            })
        })
        .collect()
}

/// `\040` → a blank.
fn unescape(text: &str) -> String {
    let mut output = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let octal = (first == b'\\')
            .then(|| rest.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                output.push(byte);
                bytes = &rest[3..];
            }
            None => {
                output.push(first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&output).into_owned()
}

/// Whether this kernel has tmpfs mounts that are never swapped. Kernels before 6.4 do not know the option.
#[must_use]
pub fn tmpfs_noswap_supported() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut parts = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 4)
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.fs_type)
    }
}

/// Mounts that only exist in a list.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct RecordingMounter {
    mounts: parking_lot::Mutex<Vec<MountPoint>>,
    log: parking_lot::Mutex<Vec<String>>,
    /// Text of the failure of the next mount.
    pub(crate) fail_mount: parking_lot::Mutex<Option<String>>,
    /// Text of the failure of the next unmount.
    pub(crate) fail_unmount: parking_lot::Mutex<Option<String>>,
}

#[cfg(test)]
impl RecordingMounter {
    /// What was done since last asked.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }
}

#[cfg(test)]
impl Mounter for RecordingMounter {
    fn mount(
        &self,
        source: &Path,
        target: &Path,
        fs_type: &str,
        options: &[String],
    ) -> Result<(), MountError> {
        if let Some(why) = self.fail_mount.lock().take() {
            return Err(MountError::Mount {
                why,
                fs_type: fs_type.to_owned(),
                options: options.join(","),
                source_name: source.display().to_string(),
                target: target.display().to_string(),
            });
        }
        // What a path through /proc leads to is what would be mounted.
        let real = std::fs::read_link(source).unwrap_or_else(|_| source.to_owned());
        self.log.lock().push(format!(
            "mount {} {} {fs_type} {}",
            real.display(),
            target.display(),
            options.join(",")
        ));
        self.mounts.lock().push(MountPoint {
            device: "0:1".to_owned(),
            root: real.clone(),
            path: resolve_parent(target),
            fs_type: fs_type.to_owned(),
            source: real.display().to_string(),
        });
        Ok(())
    }

    fn unmount(&self, target: &Path) -> Result<(), MountError> {
        if let Some(why) = self.fail_unmount.lock().take() {
            return Err(MountError::Unmount {
                why,
                target: target.display().to_string(),
            });
        }
        self.log
            .lock()
            .push(format!("unmount {}", target.display()));
        let real = resolve_parent(target);
        let mut mounts = self.mounts.lock();
        match mounts.iter().rposition(|mount| mount.path == real) {
            Some(at) => {
                mounts.remove(at);
                Ok(())
            }
            None => Err(MountError::Unmount {
                why: "not mounted".to_owned(),
                target: target.display().to_string(),
            }),
        }
    }

    fn mounts(&self) -> io::Result<Vec<MountPoint>> {
        Ok(self.mounts.lock().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo() {
        let text = "22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    30 22 0:31 /a\\040b /mnt/with\\040blank rw master:1 shared:2 - tmpfs tmp\\134fs rw,size=4k\n\
                    broken line\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].path, Path::new("/sys"));
        assert_eq!(
            mounts[1],
            MountPoint {
                device: "0:31".to_owned(),
                root: "/a b".into(),
                path: "/mnt/with blank".into(),
                fs_type: "tmpfs".to_owned(),
                source: "tmp\\fs".to_owned(),
            }
        );
    }

    #[test]
    fn options() {
        let list = |options: &[&str]| {
            options
                .iter()
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>()
        };
        let (flags, data) = flags_of(&list(&["bind", "ro"]));
        assert_eq!(flags, MountFlags::BIND | MountFlags::RDONLY);
        assert_eq!(data, "");
        let (flags, data) = flags_of(&list(&["size=1048576", "noswap", "nodev"]));
        assert_eq!(flags, MountFlags::NODEV);
        assert_eq!(data, "size=1048576,noswap");
    }

    #[test]
    fn clean_up_unmounts_all_and_removes_the_folder() {
        let dir = tempfile::tempdir().expect("folder");
        let target = dir.path().join("v");
        std::fs::create_dir(&target).expect("folder");
        let recorder = RecordingMounter::default();
        let mounter: &dyn Mounter = &recorder;
        for _ in 0..2 {
            mounter
                .mount(Path::new("tmpfs"), &target, "tmpfs", &[])
                .expect("mounted");
        }
        mounter.clean_up(&target).expect("cleaned up");
        assert!(mounter.mount_at(&target).expect("list").is_none());
        assert!(!target.exists());
        mounter.clean_up(&target).expect("nothing left to do");
    }
}
