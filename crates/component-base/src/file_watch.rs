//! Files that change while a daemon runs: certificates, CA bundles, kubeconfigs.
//! Upstream: apiserver/pkg/server/dynamiccertificates (fsnotify and a resync each minute).
//!
//! Kubernetes swaps files by renaming a symbolic link beside them, so the folder of each file is watched, not the file.
//! Where the kernel gives no events (a full watch table, some network file systems) the timed re-read is what is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use inotify::{EventMask, Inotify, WatchMask};
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
    watch(folders(&files), stop, reload);
}

/// Calls `reload` as [`watch_files`] does, for changes of anything that is in a folder.
pub fn watch_folder<F>(folder: PathBuf, stop: CancellationToken, reload: F)
where
    F: Fn() + Send + 'static,
{
    watch(BTreeSet::from([folder]), stop, reload);
}

fn watch<F>(folders: BTreeSet<PathBuf>, stop: CancellationToken, reload: F)
where
    F: Fn() + Send + 'static,
{
    tokio::spawn(async move {
        let mut events = match open(&folders) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(?folders, %error, "Files are re-read once a minute only, the kernel watches no more folders");
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
                _ = resync.tick() => {
                    if events.is_none() {
                        events = open(&folders).ok();
                    }
                }
                event = event => {
                    let mut gone = is_end(event);
                    if let Some(events) = &mut events {
                        while let Ok(Some(event)) = tokio::time::timeout(SETTLE, events.next()).await {
                            gone |= is_end(Some(event));
                        }
                    }
                    // A folder may be back under its name by now.
                    if gone {
                        events = open(&folders).ok();
                    }
                }
            }
            reload();
        }
    });
}

/// Whether a folder is not watched any more.
fn is_end(event: Option<std::io::Result<inotify::Event<std::ffi::OsString>>>) -> bool {
    match event {
        None => true,
        Some(Ok(event)) => event.mask.contains(EventMask::IGNORED),
        Some(Err(_)) => false,
    }
}

/// The folders that files are in.
fn folders(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let folders = files.iter().filter_map(|file| file.parent());
    let folders = folders.map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    folders.map(Path::to_owned).collect()
}

fn open(folders: &BTreeSet<PathBuf>) -> std::io::Result<inotify::EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    for folder in folders {
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
