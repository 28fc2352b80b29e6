//! Puts a set of files into a volume so that a reader sees either all old or all new ones.
//!
//! Upstream: `pkg/volume/util/atomic_writer.go`. The files are in a folder named after the time, `..data` is a link to it,
//! and each name a user sees is a link through `..data`. Replacing the one link replaces all files. Everything is done relative
//! to the descriptor of the volume's folder, so that a folder swapped for a link leads nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
const MAX_FILE_NAME: usize = 255;
const MAX_PATH: usize = 4096;

/// A file to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileProjection {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, if it is to be changed.
    pub fs_user: Option<u32>,
}

/// Files by their path in the volume.
pub type Payload = BTreeMap<String, FileProjection>;

/// A write that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A path of the payload is not allowed.
    #[error("{0}")]
    Path(String),
    /// A step failed.
    #[error("{step} {path}: {source}")]
    Io {
        /// What was done.
        step: &'static str,
        /// On what.
        path: String,
        /// As the system says.
        source: io::Error,
    },
    /// Permissions could not be set.
    #[error("{0}")]
    Permissions(String),
}

fn failed(step: &'static str, path: &str) -> impl FnOnce(Errno) -> WriteError {
    let path = path.to_owned();
    move |errno| WriteError::Io {
        step,
        path,
        source: errno.into(),
    }
}

/// Writes the files into the volume at `target`, which must exist. `set_permissions` runs before new files become visible.
///
/// # Errors
/// When a path is not allowed or a step fails; the old files are then still in place.
pub fn write(
    target: &Path,
    payload: &Payload,
    set_permissions: impl FnOnce() -> Result<(), String>,
) -> Result<(), WriteError> {
    let payload = validate(payload)?;
    let root = rustix::fs::open(
        target,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed("open", &target.to_string_lossy()))?;
    let old = match rustix::fs::readlinkat(&root, DATA, Vec::new()) {
        Ok(link) => Some(link.to_string_lossy().into_owned()).filter(|link| is_timestamped(link)),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(failed("readlink", DATA)(error)),
    };
    let mut removable = BTreeSet::new();
    let mut current = false;
    if let Some(old) = &old
        && let Some(folder) = open_dir(&root, old)?
    {
        removable = paths_to_remove(&folder, &payload)?;
        current = removable.is_empty()
            && payload
                .iter()
                .all(|(path, file)| same_content(&folder, path, &file.data));
    }
    if !current {
        replace_data(&root, &payload, set_permissions)?;
    }
    // Even when nothing changed the links may be missing: an earlier write can have been cut off here.
    create_links(&root, &payload)?;
    for name in removable.iter().filter(|path| !path.contains('/')) {
        match rustix::fs::unlinkat(&root, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("unlink", name)(error)),
        }
    }
    if let (false, Some(old)) = (current, &old) {
        remove_all(root.as_fd(), old).map_err(failed("remove", old))?;
    }
    Ok(())
}

/// What `..data` may point to: a folder beside it. Nothing else is ever read or removed through it.
fn is_timestamped(name: &str) -> bool {
    name.starts_with("..") && name.len() > 2 && !name.contains('/')
}

/// Payload with cleaned paths.
fn validate(payload: &Payload) -> Result<Payload, WriteError> {
    payload
        .iter()
        .map(|(path, file)| {
            validate_path(path).map_err(WriteError::Path)?;
            let clean = path
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".")
                .collect::<Vec<_>>()
                .join("/");
            // A path of nothing but dots and slashes names the volume itself.
            if clean.is_empty() {
                return Err(WriteError::Path(format!(
                    "invalid path: must not be empty: {path:?}"
                )));
            }
            Ok((clean, file.clone()))
        })
        .collect()
}

/// Refuses paths that leave the volume or collide with the writer's own names.
///
/// # Errors
/// With upstream's texts.
pub fn validate_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err(format!("invalid path: must not be empty: {path:?}"));
    }
    if path.starts_with('/') {
        return Err(format!("invalid path: must be relative path: {path}"));
    }
    if path.len() > MAX_PATH {
        return Err(format!(
            "invalid path: must be less than or equal to {MAX_PATH} characters"
        ));
    }
    for part in path.split('/') {
        if part == ".." {
            return Err(format!("invalid path: must not contain '..': {path}"));
        }
        if part.len() > MAX_FILE_NAME {
            return Err(format!(
                "invalid path: filenames must be less than or equal to {MAX_FILE_NAME} characters"
            ));
        }
    }
    // `./..data` is `..data` once cleaned, so the first part that counts is judged.
    if path
        .split('/')
        .find(|part| !part.is_empty() && *part != ".")
        .is_some_and(|first| first.starts_with(".."))
    {
        return Err(format!("invalid path: must not start with '..': {path}"));
    }
    Ok(())
}

fn open_dir(root: impl AsFd, name: &str) -> Result<Option<OwnedFd>, WriteError> {
    match rustix::fs::openat(
        root,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("open", name)(error)),
    }
}

/// Opens a file below a folder without following links on the way.
fn open_file(folder: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut parts = path.split('/').peekable();
    let mut dir: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = if parts.peek().is_some() {
            flags | OFlags::DIRECTORY
        } else {
            flags
        };
        let next = match &dir {
            Some(dir) => rustix::fs::openat(dir, part, flags, Mode::empty())?,
            None => rustix::fs::openat(folder.as_fd(), part, flags, Mode::empty())?,
        };
        dir = Some(next);
    }
    dir.ok_or(Errno::NOENT)
}

fn same_content(folder: &OwnedFd, path: &str, data: &[u8]) -> bool {
    let Ok(fd) = open_file(folder, path) else {
        return false;
    };
    let mut file = std::fs::File::from(fd);
    if file
        .metadata()
        .map_or(true, |metadata| metadata.len() != data.len() as u64)
    {
        return false;
    }
    let mut content = Vec::with_capacity(data.len());
    file.read_to_end(&mut content).is_ok() && content == data
}

/// Paths of the old files (and their folders) that the payload no longer has.
fn paths_to_remove(folder: &OwnedFd, payload: &Payload) -> Result<BTreeSet<String>, WriteError> {
    let mut wanted = BTreeSet::new();
    for path in payload.keys() {
        let mut path = path.as_str();
        wanted.insert(path.to_owned());
        while let Some((parent, _)) = path.rsplit_once('/') {
            wanted.insert(parent.to_owned());
            path = parent;
        }
    }
    let mut found = BTreeSet::new();
    walk(folder.as_fd(), "", &mut found).map_err(failed("read", DATA))?;
    Ok(found.difference(&wanted).cloned().collect())
}

fn walk(folder: BorrowedFd<'_>, prefix: &str, found: &mut BTreeSet<String>) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." {
            continue;
        }
        let path = if prefix.is_empty() {
            name.clone().into_owned()
        } else {
            format!("{prefix}/{name}")
        };
        found.insert(path.clone());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, &*name, flags, Mode::empty()) {
            Ok(child) => walk(child.as_fd(), &path, found)?,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a new folder with the files and lets `..data` point to it.
fn replace_data(
    root: &OwnedFd,
    payload: &Payload,
    set_permissions: impl FnOnce() -> Result<(), String>,
) -> Result<(), WriteError> {
    let (name, folder) = new_timestamped(root)?;
    let undo = |error: WriteError| {
        let _ = rustix::fs::unlinkat(root, NEW_DATA, AtFlags::empty());
        if let Err(error) = remove_all(root.as_fd(), &name) {
            tracing::warn!(folder = name, %error, "Could not remove the folder of a failed write");
        }
        error
    };
    for (path, file) in payload {
        write_file(&folder, path, file).map_err(undo)?;
    }
    set_permissions().map_err(|error| undo(WriteError::Permissions(error)))?;
    // A link left over by a kubelet that was stopped here would make this fail for ever.
    match rustix::fs::unlinkat(root, NEW_DATA, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(undo(failed("unlink", NEW_DATA)(error))),
    }
    rustix::fs::symlinkat(name.as_str(), root, NEW_DATA)
        .map_err(|error| undo(failed("symlink", NEW_DATA)(error)))?;
    rustix::fs::renameat(root, NEW_DATA, root, DATA)
        .map_err(|error| undo(failed("rename", DATA)(error)))
}

fn new_timestamped(root: &OwnedFd) -> Result<(String, OwnedFd), WriteError> {
    let time = Timestamp::now()
        .strftime("..%Y_%m_%d_%H_%M_%S.")
        .to_string();
    loop {
        let name = format!("{time}{}", rand::random::<u32>());
        match rustix::fs::mkdirat(root, name.as_str(), Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                let folder =
                    open_dir(root, &name)?.ok_or_else(|| failed("open", &name)(Errno::NOENT))?;
                // Whatever the umask: group and others must get through.
                rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755))
                    .map_err(failed("chmod", &name))?;
                return Ok((name, folder));
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("mkdir", &name)(error)),
        }
    }
}

fn write_file(folder: &OwnedFd, path: &str, file: &FileProjection) -> Result<(), WriteError> {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or(path);
    let mut dir = rustix::io::dup(folder).map_err(failed("open", path))?;
    for part in parts {
        match rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("mkdir", path)(error)),
        }
        dir = open_dir(&dir, part)?.ok_or_else(|| failed("open", path)(Errno::NOENT))?;
    }
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(file.mode);
    let fd = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(file.mode & 0o777))
        .map_err(failed("open", path))?;
    let mut out = std::fs::File::from(fd);
    out.write_all(&file.data).map_err(|source| WriteError::Io {
        step: "write",
        path: path.to_owned(),
        source,
    })?;
    // The umask took bits away when the file was made.
    rustix::fs::fchmod(&out, mode).map_err(failed("chmod", path))?;
    if let Some(user) = file.fs_user {
        rustix::fs::fchown(&out, Some(Uid::from_raw(user)), None).map_err(failed("chown", path))?;
    }
    Ok(())
}

fn create_links(root: &OwnedFd, payload: &Payload) -> Result<(), WriteError> {
    for (path, file) in payload {
        let name = path.split('/').next().unwrap_or(path);
        match rustix::fs::readlinkat(root, name, Vec::new()) {
            Err(Errno::NOENT) => {}
            // There already, or something else is in its place: kept, as upstream keeps it.
            _ => continue,
        }
        rustix::fs::symlinkat(format!("{DATA}/{name}"), root, name)
            .map_err(failed("symlink", name))?;
        if let Some(user) = file.fs_user {
            rustix::fs::chownat(
                root,
                name,
                Some(Uid::from_raw(user)),
                None::<Gid>,
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("chown", name))?;
        }
    }
    Ok(())
}

/// Removes a file or a folder with all in it, without following links.
fn remove_all(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let names: Vec<_> = rustix::fs::Dir::read_from(&folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for child in names {
        let child = child.to_string_lossy();
        if child != "." && child != ".." {
            remove_all(folder.as_fd(), &child)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
#[path = "atomic_writer_tests.rs"]
mod tests;
