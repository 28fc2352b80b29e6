//! Files that change while a daemon runs: certificates, CA bundles, kubeconfigs.
//! Upstream: apiserver/pkg/server/dynamiccertificates (fsnotify and a resync each minute).
//!
//! Kubernetes swaps files by renaming a symbolic link beside them, so the folder of each file is watched, not the file.
//! Where the kernel gives no events (a full watch table, some network file systems) the timed re-read is what is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use inotify::{Inotify, WatchMask};
use tokio_util::sync::CancellationToken;

/// How often files are read again without an event.
const RESYNC: Duration = Duration::from_secs(60);
/// Events of one change come in bursts (temporary file, rename, removal of the old folder).
const SETTLE: Duration = Duration::from_millis(20);

/// Calls `reload` after each change of one of the files and once a minute, until `stop`. `reload` reads the files itself
/// and must be cheap when nothing changed. It is called once at the start, to close the gap between the first read and
/// the watch. Must be called inside a runtime.
pub fn watch_files<F>(files: Vec<PathBuf>, stop: CancellationToken, reload: F)
where
    F: Fn() + Send + 'static,
{
    tokio::spawn(async move {
        let mut events = match open(&files) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(?files, %error, "Files are re-read once a minute only, the kernel watches no more folders");
                None
            }
        };
        reload();
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        resync.tick().await;
        loop {
            let event = async {
                match &mut events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = resync.tick() => {}
                event = event => {
                    if event.is_none() {
                        events = None;
                    }
                    if let Some(events) = &mut events {
                        while let Ok(Some(_)) = tokio::time::timeout(SETTLE, events.next()).await {}
                    }
                }
            }
            reload();
        }
    });
}

fn open(files: &[PathBuf]) -> std::io::Result<inotify::EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        inotify.watches().add(
            folder,
            WatchMask::CREATE
                | WatchMask::MOVED_TO
                | WatchMask::MOVED_FROM
                | WatchMask::CLOSE_WRITE
                | WatchMask::DELETE
                | WatchMask::ATTRIB,
        )?;
    }
    inotify.into_event_stream(vec![0; 4096])
}
