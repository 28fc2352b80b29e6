//! Mount points of volumes inside other volumes. Upstream: `pkg/volume/util/nested_volumes.go`.
//!
//! When one volume is mounted at `/a` and another at `/a/b`, the first must have a folder `b`, and if it is read-only in the
//! container only the kubelet can make it.

use std::path::Path;

use api_types::core::v1::Pod;

use super::no_backsteps;

/// `/a//b/./c/` → `/a/b/c`.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if path.starts_with('/') {
        format!("/{}", parts.join("/"))
    } else {
        parts.join("/")
    }
}

/// Folders this volume needs, relative to it.
fn mount_points(volume: &str, pod: &Pod) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for container in crate::container::all_containers(&pod.spec) {
        let mut all: Vec<String> = container
            .volume_mounts
            .iter()
            .map(|mount| clean(&mount.mount_path))
            .collect();
        all.sort();
        for mine in container
            .volume_mounts
            .iter()
            .filter(|mount| mount.name == volume)
        {
            let mine = clean(&mine.mount_path);
            no_backsteps(&mine).map_err(|_| format!("invalid container mount point {mine}"))?;
            let prefix = format!("{mine}/");
            let mut previous: Vec<String> = Vec::new();
            for point in &all {
                let Some(rest) = point.strip_prefix(&prefix) else {
                    continue;
                };
                // A mount inside a nested mount is that volume's business.
                if previous
                    .iter()
                    .any(|outer| point.starts_with(outer.as_str()))
                {
                    continue;
                }
                no_backsteps(rest).map_err(|_| format!("invalid container mount point {point}"))?;
                previous.push(format!("{point}/"));
                found.push(rest.to_owned());
            }
        }
    }
    Ok(found)
}

/// Makes the folders.
pub(super) fn make_mount_points(volume: &str, dir: &Path, pod: &Pod) -> Result<(), String> {
    for inner in mount_points(volume, pod)? {
        // The volume holds only links the kubelet made, so nothing here leads out of it.
        crate::sys::create_dir_all(&dir.join(inner), 0o755)
            .map_err(|error| format!("unable to create nested volume mountpoints: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{Container, VolumeMount};

    use super::*;

    #[track_caller]
    fn check(mounts: &[(&str, &str)], want: Result<&[&str], &str>) {
        let mut pod = Pod::default();
        pod.spec.containers = vec![Container {
            volume_mounts: mounts
                .iter()
                .map(|(name, path)| VolumeMount {
                    name: (*name).to_owned(),
                    mount_path: (*path).to_owned(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }];
        let got = mount_points("vol", &pod);
        assert_eq!(
            got.as_ref()
                .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>())
                .map_err(String::as_str),
            want.map(<[_]>::to_vec)
        );
    }

    #[test]
    fn upstream_cases() {
        check(&[("vol", "/dir")], Ok(&[]));
        check(&[("vol", "/dir"), ("other", "/elsewhere")], Ok(&[]));
        check(
            &[("vol", "/dir"), ("other", "/dir/nested")],
            Ok(&["nested"]),
        );
        check(
            &[
                ("vol", "/dir"),
                ("a", "/dir/nested"),
                ("b", "/dir/nested/other"),
            ],
            Ok(&["nested"]),
        );
        check(
            &[
                ("vol", "/dir"),
                ("a", "/dir/nested"),
                ("b", "/dir/nested-vol"),
                ("c", "/dir/nested.vol"),
                ("d", "/dir/nested/double"),
                ("e", "/dir/nested2"),
            ],
            Ok(&["nested", "nested-vol", "nested.vol", "nested2"]),
        );
        check(
            &[("vol", "/dir/"), ("other", "/dir//nested/")],
            Ok(&["nested"]),
        );
        check(
            &[("vol", "../dir"), ("other", "../dir/nested")],
            Err("invalid container mount point ../dir"),
        );
        check(
            &[("vol", "/dir"), ("other", "/dir/../x")],
            Err("invalid container mount point /dir/../x"),
        );
    }
}
