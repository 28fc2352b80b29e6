//! Volumes that are a set of files the kubelet writes: what secret, configMap, downwardAPI and projected have in common.

use std::sync::Arc;

use api_types::core::v1::KeyToPath;

use super::atomic_writer::{self, FileProjection, Payload};
use super::empty_dir::{self, Folder, Medium};
use super::ownership::Ownership;
use super::{SetUp, VolumeHost, VolumePlugin, blocking, layout, nested};

/// Upstream's complaint when the API server did not fill in the default.
pub(super) fn default_mode(mode: Option<i32>) -> Result<u32, String> {
    let mode =
        mode.ok_or_else(|| "no defaultMode used, not even the default value for it".to_owned())?;
    Ok(bits(mode))
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0) & 0o7777
}

pub(super) fn mode_or(mode: Option<i32>, default: u32) -> u32 {
    mode.map_or(default, bits)
}

/// Files for the chosen keys, or for all when none is chosen. `get` is a key's content, `missing` the error for a key that is
/// not there.
pub(super) fn from_items<'a>(
    items: &[KeyToPath],
    all: impl Iterator<Item = (&'a String, &'a [u8])>,
    get: impl Fn(&str) -> Option<&'a [u8]>,
    missing: impl Fn(&str) -> String,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    let file = |data: &[u8], mode| FileProjection {
        data: data.to_vec(),
        mode,
        fs_user: None,
    };
    if items.is_empty() {
        return Ok(all
            .map(|(name, data)| (name.clone(), file(data, default_mode)))
            .collect());
    }
    let mut payload = Payload::new();
    for item in items {
        match get(&item.key) {
            Some(data) => {
                payload.insert(
                    item.path.clone(),
                    file(data, mode_or(item.mode, default_mode)),
                );
            }
            None if optional => {}
            None => return Err(missing(&item.key)),
        }
    }
    Ok(payload)
}

/// Writes the files into the volume's folder, which is made if it is not there.
pub(super) async fn write(
    plugin: &dyn VolumePlugin,
    host: &Arc<VolumeHost>,
    set_up: &SetUp,
    medium: Medium,
    payload: Payload,
) -> Result<(), String> {
    let pod = set_up.pod.clone();
    let uid = pod.metadata.uid.clone();
    let volume = set_up.spec.name.clone();
    let plugin = plugin.name();
    let dir = layout::volume_dir(&host.root_dir, &uid, plugin, &volume);
    let group = set_up.fs_group();
    let folder = Folder {
        dir: dir.clone(),
        ready_dir: empty_dir::ready_dir(host, &uid, &wrapped(&volume)),
        medium,
        size: empty_dir::memory_size(host, &pod, &Default::default()),
        ownership: Ownership {
            group,
            read_only: false,
            on_root_mismatch: false,
        },
    };
    let host = host.clone();
    blocking(move || {
        // A first write that fails must leave nothing behind, but a refresh that fails keeps what containers use.
        let existed = dir.join("..data").symlink_metadata().is_ok();
        folder.set_up(&host)?;
        let written = nested::make_mount_points(&volume, &dir, &pod).and_then(|()| {
            let ownership = Ownership {
                group,
                read_only: true,
                on_root_mismatch: false,
            };
            atomic_writer::write(&dir, &payload, || {
                ownership.apply(&dir).map_err(|error| error.to_string())
            })
            .map_err(|error| error.to_string())
        });
        if written.is_err()
            && !existed
            && let Err(error) = tear_down(&host, plugin, &uid, &volume)
        {
            tracing::error!(volume, %error, "error tearing down volume");
        }
        written
    })
    .await
}

fn wrapped(volume: &str) -> String {
    format!("wrapped_{volume}")
}

/// Removes folder and files.
pub(super) fn tear_down(
    host: &VolumeHost,
    plugin: &str,
    uid: &str,
    volume: &str,
) -> Result<(), String> {
    let dir = layout::volume_dir(&host.root_dir, uid, plugin, volume);
    empty_dir::tear_down_folder(host, uid, &wrapped(volume), &dir)
}
