//! Gives a volume to the pod's fsGroup. Upstream: `pkg/volume/volume_linux.go`.
//!
//! The walk goes from descriptor to descriptor, so that a link a container puts in place of a folder is changed itself and not
//! followed. What one file refuses is logged and the walk goes on, as upstream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const EXECUTE: u32 = 0o110;
const SET_GID: u32 = 0o2000;

/// How to change owners.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// `fsGroup`; nothing is changed without.
    pub group: Option<u32>,
    /// The volume is mounted read-only.
    pub read_only: bool,
    /// `fsGroupChangePolicy: OnRootMismatch`: nothing is changed when the top folder is right.
    pub on_root_mismatch: bool,
}

impl Ownership {
    /// Changes group and permissions of everything in the volume, contents first and the top folder last: if it is cut off, the
    /// top folder still tells that work is left.
    ///
    /// # Errors
    /// When the volume cannot be read.
    pub fn apply(&self, dir: &Path) -> std::io::Result<()> {
        let Some(group) = self.group else {
            return Ok(());
        };
        if self.on_root_mismatch && !self.requires_change(dir, group) {
            tracing::debug!(dir = %dir.display(), "Skipping permission and ownership change for volume");
            return Ok(());
        }
        let top = rustix::fs::open(
            dir,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        self.walk(&top, Gid::from_raw(group))?;
        Ok(())
    }

    fn walk(&self, fd: &OwnedFd, group: Gid) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let folder = rustix::fs::openat(
                fd,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let names: Vec<_> = rustix::fs::Dir::read_from(&folder)?
                .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
                .collect::<Result<_, _>>()?;
            for name in names {
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                match rustix::fs::openat(
                    &folder,
                    &name,
                    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                ) {
                    Ok(child) => self.walk(&child, group)?,
                    // Removed meanwhile.
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        change(fd.as_fd(), stat.st_mode, kind, group, self.read_only);
        Ok(())
    }

    /// Whether the top folder shows that permissions are not right.
    fn requires_change(&self, dir: &Path, group: u32) -> bool {
        let Ok(stat) = rustix::fs::stat(dir) else {
            return true;
        };
        if stat.st_gid != group || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return true;
        }
        let wanted = if self.read_only {
            READ_ONLY
        } else {
            READ_WRITE
        } | EXECUTE;
        stat.st_mode & wanted != wanted || stat.st_mode & SET_GID == 0
    }
}

fn change(fd: BorrowedFd<'_>, mode: u32, kind: FileType, group: Gid, read_only: bool) {
    if let Err(error) = rustix::fs::chownat(
        fd,
        "",
        None,
        Some(group),
        AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
    ) {
        tracing::error!(%error, "Lchown failed");
    }
    // The mode of a link means nothing, and changing it would change what it points to.
    if kind == FileType::Symlink {
        return;
    }
    let mut mask = if read_only { READ_ONLY } else { READ_WRITE };
    if kind == FileType::Directory {
        mask |= SET_GID | EXECUTE;
    }
    // A descriptor of a path cannot be changed itself; its name in /proc leads to exactly that file.
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    if let Err(error) = rustix::fs::chmod(name, Mode::from_raw_mode((mode & 0o7777) | mask)) {
        tracing::error!(%error, "chmod failed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path)
            .expect("metadata")
            .permissions()
            .mode()
            & 0o7777
    }

    fn make(dir: &Path) {
        std::fs::create_dir(dir.join("sub")).expect("folder");
        for (name, mode) in [("file", 0o600), ("sub/script", 0o700)] {
            std::fs::write(dir.join(name), "x").expect("write");
            std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode))
                .expect("mode");
        }
        std::fs::set_permissions(dir.join("sub"), std::fs::Permissions::from_mode(0o700))
            .expect("mode");
    }

    fn own_group(dir: &Path) -> u32 {
        std::fs::metadata(dir).expect("metadata").gid()
    }

    #[test]
    fn modes() {
        for (read_only, want) in [
            (false, [0o660, 0o2770, 0o760]),
            (true, [0o640, 0o2750, 0o740]),
        ] {
            let dir = tempfile::tempdir().expect("folder");
            make(dir.path());
            let group = own_group(dir.path());
            Ownership {
                group: Some(group),
                read_only,
                on_root_mismatch: false,
            }
            .apply(dir.path())
            .expect("applied");
            let got = ["file", "sub", "sub/script"].map(|name| mode(&dir.path().join(name)));
            assert_eq!(got, want, "read only: {read_only}");
            assert_ne!(mode(dir.path()) & SET_GID, 0);
        }
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().expect("folder");
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "x").expect("write");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("mode");
        let dir = tempfile::tempdir().expect("folder");
        symlink(&secret, dir.path().join("link")).expect("link");
        symlink(outside.path(), dir.path().join("folder")).expect("link");
        Ownership {
            group: Some(own_group(dir.path())),
            read_only: false,
            on_root_mismatch: false,
        }
        .apply(dir.path())
        .expect("applied");
        assert_eq!(mode(&secret), 0o600);
    }

    #[test]
    fn a_right_top_folder_is_enough_on_root_mismatch() {
        let dir = tempfile::tempdir().expect("folder");
        make(dir.path());
        let group = own_group(dir.path());
        let ownership = Ownership {
            group: Some(group),
            read_only: false,
            on_root_mismatch: true,
        };
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2770))
            .expect("mode");
        ownership.apply(dir.path()).expect("skipped");
        assert_eq!(mode(&dir.path().join("file")), 0o600);
        // Without the setgid bit the top folder is not right.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o770)).expect("mode");
        ownership.apply(dir.path()).expect("applied");
        assert_eq!(mode(&dir.path().join("file")), 0o660);
    }
}
