//! What the kubelet asks of the operating system. Upstream: `k8s.io/mount-utils`, `pkg/util`, filepath-securejoin.

use std::io;
use std::path::{Component, Path, PathBuf};

/// A path under `root`, with links resolved so that none leads out of it.
///
/// # Errors
/// When there are too many links.
pub fn join_in_root(root: &Path, inner: &str) -> io::Result<PathBuf> {
    const MAX_LINKS: usize = 255;
    let mut links = 0;
    let mut pending: Vec<std::ffi::OsString> = Path::new(inner)
        .components()
        .rev()
        .map(|component| component.as_os_str().to_owned())
        .collect();
    let mut current = PathBuf::new();
    while let Some(part) = pending.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                let candidate = root.join(&current).join(name);
                match std::fs::read_link(&candidate) {
                    Ok(target) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(io::Error::other(format!("too many links in {inner:?}")));
                        }
                        if target.is_absolute() {
                            current = PathBuf::new();
                        }
                        pending.extend(
                            target
                                .components()
                                .rev()
                                .map(|component| component.as_os_str().to_owned()),
                        );
                    }
                    // Not a link, or not there: taken as it is.
                    Err(_) => current.push(name),
                }
            }
            Some(Component::ParentDir) => {
                current.pop();
            }
            _ => {}
        }
    }
    Ok(root.join(current))
}

/// Makes a folder and its parents with this mode (less the umask).
///
/// # Errors
/// As the system says.
pub fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// Total memory and swap of the node, in bytes.
///
/// # Errors
/// When /proc/meminfo cannot be read.
pub fn memory() -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let of = |name: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .trim_end_matches(" kB")
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .unwrap_or(0)
            * 1024
    };
    Ok((of("MemTotal:"), of("SwapTotal:")))
}

/// Size, free bytes for unprivileged users, inodes and free inodes of the file system a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsUsage {
    /// Bytes of the file system.
    pub capacity: u64,
    /// Bytes that may still be used.
    pub available: u64,
    /// Inodes of the file system.
    pub inodes: u64,
    /// Inodes that may still be used.
    pub inodes_free: u64,
}

/// Asks the file system.
///
/// # Errors
/// When the path does not exist.
pub fn fs_usage(path: &Path) -> io::Result<FsUsage> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(FsUsage {
        capacity: stat.f_blocks * stat.f_frsize,
        available: stat.f_bavail * stat.f_frsize,
        inodes: stat.f_files,
        inodes_free: stat.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path();
        std::fs::create_dir(root.join("sub")).expect("folder");
        std::os::unix::fs::symlink("/etc", root.join("out")).expect("link");
        std::os::unix::fs::symlink("../..", root.join("sub/up")).expect("link");
        for (inner, want) in [
            ("a/b", "a/b"),
            ("../../a", "a"),
            ("/a", "a"),
            ("out/passwd", "etc/passwd"),
            ("sub/up/x", "x"),
        ] {
            assert_eq!(
                join_in_root(root, inner).expect("path"),
                root.join(want),
                "{inner}"
            );
        }
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("link");
        assert!(join_in_root(root, "loop/x").is_err());
    }
}
