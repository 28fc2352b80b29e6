//! Where container logs are, the symbolic links beside them, and termination messages.
//!
//! Upstream: `kuberuntime/{helpers,legacy,kuberuntime_container}.go`.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::container::{
    MAX_TERMINATION_MESSAGE, MAX_TERMINATION_MESSAGE_LOG, MAX_TERMINATION_MESSAGE_LOG_LINES,
};
use crate::cri::v1;

/// Folder of the links that log collectors read.
pub const CONTAINER_LOGS_DIR: &str = "/var/log/containers";

/// `<root>/<namespace>_<pod>_<uid>`.
#[must_use]
pub fn pod_logs_dir(root: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    root.join(format!("{namespace}_{name}_{uid}"))
}

/// UID of the pod whose log folder has this name.
#[must_use]
pub fn pod_uid_of_logs_dir(name: &str) -> &str {
    name.rsplit('_').next().unwrap_or(name)
}

/// Path of a container's log inside the pod's log folder.
#[must_use]
pub fn container_log_path(container: &str, restart_count: i32) -> String {
    format!("{container}/{restart_count}.log")
}

/// The link `<pod>_<namespace>_<container>-<id>.log`, cut to what a file name may have.
#[must_use]
pub fn log_symlink(container_id: &str, container: &str, pod: &str, namespace: &str) -> PathBuf {
    const SUFFIX: &str = ".log";
    let mut name = format!("{pod}_{namespace}_{container}-{container_id}");
    name.truncate(255 - SUFFIX.len());
    Path::new(CONTAINER_LOGS_DIR).join(name + SUFFIX)
}

/// Container id in the name of a log link.
#[must_use]
pub fn container_id_of_symlink(path: &Path) -> Option<&str> {
    let id = path
        .file_name()?
        .to_str()?
        .strip_suffix(".log")?
        .rsplit('-')
        .next()?;
    (id.len() >= 6).then_some(id)
}

/// The restart count the next container should have, judged by its log folder: one more than the highest `<n>.log`.
///
/// Only used when the runtime remembers no container of that name, as after a reboot with some runtimes.
#[must_use]
pub fn restart_count_by_logs(dir: &Path) -> i32 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .filter_map(|entry| {
            let name = entry.file_name();
            let (count, rest) = name.to_str()?.split_once('.')?;
            if rest != "log" && !rest.starts_with("log.") {
                return None;
            }
            count.parse::<i32>().ok()
        })
        .map(|count| count + 1)
        .max()
        .unwrap_or(0)
}

/// The last bytes of a file.
fn tail(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let limit = limit as u64;
    if size > limit {
        file.seek(SeekFrom::Start(size - limit))?;
    }
    let mut data = Vec::new();
    file.take(limit).read_to_end(&mut data)?;
    Ok(data)
}

/// The message a container left, from its file or, if its policy says so and the file is empty, from its log.
#[must_use]
pub fn termination_message(
    status: &v1::ContainerStatus,
    message_path: &str,
    fall_back_to_logs: bool,
) -> String {
    let mut use_logs = fall_back_to_logs;
    if !message_path.is_empty()
        && let Some(mount) = status
            .mounts
            .iter()
            .find(|mount| mount.container_path == message_path)
    {
        match tail(Path::new(&mount.host_path), MAX_TERMINATION_MESSAGE) {
            Ok(data) => {
                use_logs = fall_back_to_logs && data.is_empty();
                if !data.is_empty() {
                    return String::from_utf8_lossy(&data).into_owned();
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return format!(
                    "Error on reading termination log {}: {error}",
                    mount.host_path
                );
            }
        }
    }
    if use_logs {
        last_log_lines(Path::new(&status.log_path))
    } else {
        String::new()
    }
}

/// The end of a CRI log without times and stream names.
fn last_log_lines(path: &Path) -> String {
    // Each line carries some 40 bytes of time and stream in front of its text.
    let budget = MAX_TERMINATION_MESSAGE_LOG + MAX_TERMINATION_MESSAGE_LOG_LINES * 64;
    let data = match tail(path, budget) {
        Ok(data) => data,
        Err(error) => return format!("Error on reading termination message from logs: {error}"),
    };
    let lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
    let first = lines
        .len()
        .saturating_sub(MAX_TERMINATION_MESSAGE_LOG_LINES);
    let mut text = Vec::new();
    for line in &lines[first..] {
        // `<time> <stream> <P|F> <text>`; a line cut at its beginning has no such head and is left out.
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(_), Some(stream), Some(tag), Some(content)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if !matches!(stream, b"stdout" | b"stderr") {
            continue;
        }
        let partial = tag.first() == Some(&b'P');
        text.extend_from_slice(if partial {
            content.strip_suffix(b"\n").unwrap_or(content)
        } else {
            content
        });
    }
    let start = text.len().saturating_sub(MAX_TERMINATION_MESSAGE_LOG);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let dir = pod_logs_dir(Path::new("/var/log/pods"), "ns", "pod", "uid-1");
        assert_eq!(dir, Path::new("/var/log/pods/ns_pod_uid-1"));
        assert_eq!(pod_uid_of_logs_dir("ns_pod_uid-1"), "uid-1");
        let link = log_symlink("0123456789abcdef", "c", "pod", "ns");
        assert_eq!(
            link,
            Path::new("/var/log/containers/pod_ns_c-0123456789abcdef.log")
        );
        assert_eq!(container_id_of_symlink(&link), Some("0123456789abcdef"));
        assert_eq!(
            log_symlink(&"x".repeat(300), "c", "pod", "ns")
                .file_name()
                .expect("name")
                .len(),
            255
        );
    }

    #[test]
    fn restart_counts() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(restart_count_by_logs(&dir.path().join("none")), 0);
        for name in [
            "0.log",
            "1.log.20240101-000000",
            "notes.txt",
            "7.txt",
            "x.log",
        ] {
            std::fs::write(dir.path().join(name), "").expect("write");
        }
        assert_eq!(restart_count_by_logs(dir.path()), 2);
    }

    #[test]
    fn termination_messages() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("message");
        let log = dir.path().join("0.log");
        std::fs::write(&file, "from the file").expect("write");
        std::fs::write(&log, "2024-01-01T00:00:00Z stdout F one\n2024-01-01T00:00:00Z stderr P tw\n2024-01-01T00:00:00Z stderr F o\n")
            .expect("write");
        let status = v1::ContainerStatus {
            mounts: vec![v1::Mount {
                container_path: "/dev/termination-log".to_owned(),
                host_path: file.to_string_lossy().into_owned(),
                ..Default::default()
            }],
            log_path: log.to_string_lossy().into_owned(),
            ..Default::default()
        };
        assert_eq!(
            termination_message(&status, "/dev/termination-log", true),
            "from the file"
        );
        std::fs::write(&file, "").expect("write");
        assert_eq!(
            termination_message(&status, "/dev/termination-log", true),
            "one\ntwo\n"
        );
        assert_eq!(
            termination_message(&status, "/dev/termination-log", false),
            ""
        );
        assert_eq!(termination_message(&status, "", true), "one\ntwo\n");
        std::fs::write(&file, "x".repeat(5000)).expect("write");
        assert_eq!(
            termination_message(&status, "/dev/termination-log", false).len(),
            4096
        );
    }
}
