//! How much of a volume is used. Upstream: `pkg/volume/metrics_{du,statfs}.go`, `pkg/volume/util/fs`.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The way to measure a kind of volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Not at all: it is not the kubelet's.
    Not,
    /// Files are counted; capacity is that of the file system they are on.
    Du,
    /// The volume is a file system of its own.
    StatFs,
}

/// Use and capacity of a volume, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that may still be used.
    pub available: u64,
    /// Bytes of the file system.
    pub capacity: u64,
    /// Bytes in use.
    pub used: u64,
    /// Inodes of the file system.
    pub inodes: u64,
    /// Inodes that may still be used.
    pub inodes_free: u64,
    /// Inodes in use.
    pub inodes_used: u64,
}

/// Measures. Blocks for as long as it takes to read all folders.
///
/// # Errors
/// When the volume is not there; `None` for volumes that are not measured.
pub fn measure(how: How, path: &Path) -> std::io::Result<Option<Usage>> {
    if how == How::Not {
        return Ok(None);
    }
    let fs = rustix::fs::statvfs(path)?;
    let mut usage = Usage {
        available: fs.f_bavail * fs.f_frsize,
        capacity: fs.f_blocks * fs.f_frsize,
        used: (fs.f_blocks - fs.f_bfree) * fs.f_frsize,
        inodes: fs.f_files,
        inodes_free: fs.f_ffree,
        inodes_used: fs.f_files.saturating_sub(fs.f_ffree),
    };
    if how == How::Du {
        (usage.used, usage.inodes_used) = disk_usage(path)?;
    }
    Ok(Some(usage))
}

/// Bytes and inodes of a folder and all in it, on its file system only, hard links counted once.
///
/// # Errors
/// When the folder cannot be read; what disappears meanwhile is left out.
pub fn disk_usage(root: &Path) -> std::io::Result<(u64, u64)> {
    let top = std::fs::symlink_metadata(root)?;
    let device = top.dev();
    let (mut bytes, mut inodes) = (0_u64, 0_u64);
    let mut seen = HashSet::new();
    let mut pending = vec![(root.to_owned(), top)];
    while let Some((path, metadata)) = pending.pop() {
        if metadata.dev() != device
            || (metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert(metadata.ino()))
        {
            continue;
        }
        bytes = bytes.saturating_add(metadata.blocks() * 512);
        inodes += 1;
        if !metadata.is_dir() {
            continue;
        }
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            if let Ok(metadata) = std::fs::symlink_metadata(entry.path()) {
                pending.push((entry.path(), metadata));
            }
        }
    }
    Ok((bytes, inodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::create_dir(dir.path().join("sub")).expect("folder");
        std::fs::write(dir.path().join("a"), vec![1; 10_000]).expect("write");
        let (one, inodes) = disk_usage(dir.path()).expect("measured");
        assert!(one >= 10_000, "{one}");
        assert_eq!(inodes, 3);
        std::fs::hard_link(dir.path().join("a"), dir.path().join("sub/b")).expect("link");
        assert_eq!(disk_usage(dir.path()).expect("measured"), (one, inodes));
        assert!(
            measure(How::Not, Path::new("/nowhere"))
                .expect("not measured")
                .is_none()
        );
        assert!(measure(How::Du, Path::new("/nowhere")).is_err());
        let usage = measure(How::Du, dir.path())
            .expect("measured")
            .expect("usage");
        assert_eq!((usage.used, usage.inodes_used), (one, inodes));
        assert!(usage.capacity >= usage.available);
    }
}
