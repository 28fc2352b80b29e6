//! Rotation of container logs by size. Upstream: `pkg/kubelet/logs/container_log_manager.go`.
//!
//! The newest log is renamed to `<log>.<time>` and the runtime told to open a new one; older ones are compressed, except the
//! last, which a reader may still follow. At most `max_files` files stay per container, the one being written included.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Runtime;
use crate::cri::v1;

const TIME_FORMAT: &str = "%Y%m%d-%H%M%S";

/// Settings of rotation.
#[derive(Clone, Copy, Debug)]
pub struct LogRotation {
    /// `containerLogMaxSize`, in bytes; nothing is rotated when negative.
    pub max_size: i64,
    /// `containerLogMaxFiles`.
    pub max_files: usize,
    /// `containerLogMonitorInterval`.
    pub interval: Duration,
}

impl LogRotation {
    /// Rotates until the token ends it.
    pub async fn run(self, runtime: Arc<Runtime>, token: CancellationToken) {
        if self.max_size < 0 {
            return;
        }
        let mut ticks = tokio::time::interval(self.interval);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => self.rotate_all(&runtime).await,
            }
        }
    }

    async fn rotate_all(&self, runtime: &Runtime) {
        let containers = match runtime.containers(None, true).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::error!(%error, "Failed to rotate container logs");
                return;
            }
        };
        for container in containers {
            let status = match runtime.cri.container_status(&container.id).await {
                Ok(status) => status,
                Err(error) => {
                    tracing::debug!(container = %container.id, %error, "Failed to get container status");
                    continue;
                }
            };
            if status.state != i32::from(v1::ContainerState::ContainerRunning)
                || status.log_path.is_empty()
            {
                continue;
            }
            let log = PathBuf::from(&status.log_path);
            let size = match std::fs::metadata(&log) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // An earlier rotation was interrupted after the rename: have the runtime make the file.
                    if let Err(error) = runtime.cri.reopen_container_log(&container.id).await {
                        tracing::error!(container = %container.id, %error, "Container log doesn't exist, reopen container log failed");
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(log = %log.display(), %error, "Failed to stat container log");
                    continue;
                }
            };
            if i64::try_from(size).unwrap_or(i64::MAX) < self.max_size {
                continue;
            }
            if let Err(error) = self.rotate(runtime, &container.id, &log).await {
                tracing::error!(container = %container.id, log = %log.display(), %error, "Failed to rotate log for container");
            }
        }
    }

    async fn rotate(&self, runtime: &Runtime, id: &str, log: &Path) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        tidy(log, self.max_files.saturating_sub(2)).map_err(text)?;
        let rotated = PathBuf::from(format!(
            "{}.{}",
            log.display(),
            Timestamp::now().strftime(TIME_FORMAT)
        ));
        std::fs::rename(log, &rotated).map_err(text)?;
        if let Err(error) = runtime.cri.reopen_container_log(id).await {
            // Put it back: the runtime still writes into it.
            std::fs::rename(&rotated, log).map_err(text)?;
            return Err(error.to_string());
        }
        Ok(())
    }
}

/// Removes half-made and surplus files and compresses the others. `keep` counts rotated files that stay.
fn tidy(log: &Path, keep: usize) -> std::io::Result<()> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let prefix = format!("{name}.");
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
            continue;
        };
        let Some(rest) = file.strip_prefix(&prefix) else {
            continue;
        };
        if rest.ends_with(".tmp") {
            std::fs::remove_file(&path)?;
        } else {
            rotated.push(path);
        }
    }
    // A log whose compressed form exists was compressed and not yet removed.
    rotated.retain(|path| {
        let compressed = PathBuf::from(format!("{}.gz", path.display()));
        if compressed.exists() {
            let _ = std::fs::remove_file(path);
            return false;
        }
        true
    });
    // The names end in times: sorted by name is sorted by age.
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep);
    for path in rotated.drain(..surplus) {
        std::fs::remove_file(path)?;
    }
    for path in rotated
        .iter()
        .filter(|path| path.extension().is_none_or(|extension| extension != "gz"))
    {
        compress(path)?;
    }
    Ok(())
}

fn compress(path: &Path) -> std::io::Result<()> {
    let temporary = PathBuf::from(format!("{}.tmp", path.display()));
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let mut source = std::fs::File::open(path)?;
    let mut encoder = flate2::write::GzEncoder::new(
        std::fs::File::create(&temporary)?,
        flate2::Compression::default(),
    );
    std::io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.flush()?;
    std::fs::rename(&temporary, &target)?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_are_compressed_and_removed() {
        let dir = tempfile::tempdir().expect("folder");
        let file = |name: &str| dir.path().join(name);
        for name in [
            "0.log",
            "0.log.20240101-000001",
            "0.log.20240101-000002.gz",
            "0.log.20240101-000003",
            "0.log.20240101-000003.gz.tmp",
        ] {
            std::fs::write(file(name), name).expect("write");
        }
        tidy(&file("0.log"), 2).expect("tidied");
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("read")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("name")
            })
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "0.log",
                "0.log.20240101-000002.gz",
                "0.log.20240101-000003.gz"
            ]
        );
    }
}
