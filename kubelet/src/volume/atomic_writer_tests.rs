//! Cases of upstream's `atomic_writer_test.go`.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn payload(files: &[(&str, &str)]) -> Payload {
    files
        .iter()
        .map(|(path, data)| {
            (
                (*path).to_owned(),
                FileProjection {
                    data: data.as_bytes().to_vec(),
                    mode: 0o644,
                    fs_user: None,
                },
            )
        })
        .collect()
}

fn put(dir: &Path, files: &[(&str, &str)]) {
    write(dir, &payload(files), || Ok(())).expect("written");
}

/// Files as a container sees them: through the links.
fn seen(dir: &Path) -> Vec<(String, String)> {
    fn read(dir: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).expect("folder") {
            let entry = entry.expect("entry");
            let name = entry.file_name().into_string().expect("name");
            if name.starts_with("..") {
                continue;
            }
            let shown = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            if entry.path().is_dir() {
                read(&entry.path(), &shown, found);
            } else {
                found.push((shown, std::fs::read_to_string(entry.path()).expect("file")));
            }
        }
    }
    let mut found = Vec::new();
    read(dir, "", &mut found);
    found.sort();
    found
}

fn timestamped(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .expect("folder")
        .filter(|entry| {
            entry
                .as_ref()
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .starts_with("..2")
        })
        .count()
}

#[test]
fn paths() {
    let long_name = "x".repeat(256);
    let long_path = "a/".repeat(2049);
    for (path, right) in [
        ("a", true),
        ("a/b", true),
        ("a..b", true),
        ("a/..b", true),
        (".a", true),
        ("", false),
        (".", false),
        ("/a", false),
        ("..", false),
        ("../a", false),
        ("a/../b", false),
        ("a/..", false),
        ("..a", false),
        ("..data", false),
        ("./..data", false),
        ("...", false),
        (&long_name, false),
        (&long_path, false),
    ] {
        assert_eq!(validate(&payload(&[(path, "")])).is_ok(), right, "{path}");
    }
}

#[test]
fn updates() {
    for (first, second) in [
        (vec![("foo", "1")], vec![("foo", "2")]),
        (vec![("foo", "1"), ("bar", "1")], vec![("bar", "1")]),
        (vec![("foo", "1")], vec![("foo", "1"), ("bar/zab.txt", "2")]),
        (
            vec![("dir/foo", "1"), ("dir/bar", "1")],
            vec![("dir/foo", "1")],
        ),
        (
            vec![("dir/foo", "1"), ("other/bar", "1")],
            vec![("other/bar", "2")],
        ),
        (vec![("a/b/c/d", "1")], vec![("a/b/x", "1")]),
        (vec![("foo", "1")], vec![]),
        (vec![], vec![("foo", "1")]),
        // A file becomes a folder.
        (vec![("foo", "1")], vec![("foo/bar", "2")]),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        for files in [&first, &second] {
            put(dir.path(), files);
            let mut want: Vec<_> = files
                .iter()
                .map(|(path, data)| ((*path).to_owned(), (*data).to_owned()))
                .collect();
            want.sort();
            assert_eq!(seen(dir.path()), want, "{first:?} {second:?}");
            assert_eq!(timestamped(dir.path()), 1);
            assert!(!dir.path().join(NEW_DATA).exists());
        }
    }
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let dir = tempfile::tempdir().expect("folder");
    put(dir.path(), &[("foo", "1"), ("a/b", "2")]);
    let link = std::fs::read_link(dir.path().join(DATA)).expect("link");
    put(dir.path(), &[("foo", "1"), ("a/b", "2")]);
    assert_eq!(
        std::fs::read_link(dir.path().join(DATA)).expect("link"),
        link
    );
    // Links that were lost come back.
    std::fs::remove_file(dir.path().join("foo")).expect("remove");
    put(dir.path(), &[("foo", "1"), ("a/b", "2")]);
    assert_eq!(
        std::fs::read_link(dir.path().join(DATA)).expect("link"),
        link
    );
    assert_eq!(
        std::fs::read_link(dir.path().join("foo")).expect("link"),
        Path::new("..data/foo")
    );
    assert_eq!(
        std::fs::read_link(dir.path().join("a")).expect("link"),
        Path::new("..data/a")
    );
}

#[test]
fn modes_are_exact() {
    let dir = tempfile::tempdir().expect("folder");
    let mut files = payload(&[("foo", "1")]);
    files.get_mut("foo").expect("file").mode = 0o666;
    write(dir.path(), &files, || Ok(())).expect("written");
    let mode = |path: &str| {
        std::fs::metadata(dir.path().join(path))
            .expect("metadata")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("foo"), 0o666);
    assert_eq!(mode(DATA), 0o755);
}

#[test]
fn permissions_are_set_before_files_are_visible() {
    let dir = tempfile::tempdir().expect("folder");
    let seen_before = std::cell::Cell::new(true);
    write(dir.path(), &payload(&[("foo", "1")]), || {
        seen_before.set(dir.path().join("foo").exists());
        Ok(())
    })
    .expect("written");
    assert!(!seen_before.get());
    // When that fails, the old files stay and nothing is left behind.
    let error = write(dir.path(), &payload(&[("foo", "2")]), || {
        Err("no".to_owned())
    })
    .expect_err("failed");
    assert_eq!(error.to_string(), "no");
    assert_eq!(seen(dir.path()), [("foo".to_owned(), "1".to_owned())]);
    assert_eq!(timestamped(dir.path()), 1);
}

#[test]
fn a_write_that_was_cut_off_is_taken_up() {
    let dir = tempfile::tempdir().expect("folder");
    put(dir.path(), &[("foo", "1")]);
    std::os::unix::fs::symlink("..old", dir.path().join(NEW_DATA)).expect("link");
    put(dir.path(), &[("foo", "2")]);
    assert_eq!(seen(dir.path()), [("foo".to_owned(), "2".to_owned())]);
}

#[test]
fn a_data_link_that_leads_away_is_not_followed() {
    let dir = tempfile::tempdir().expect("folder");
    let outside = tempfile::tempdir().expect("folder");
    std::fs::write(outside.path().join("keep"), "x").expect("write");
    std::os::unix::fs::symlink(outside.path(), dir.path().join(DATA)).expect("link");
    put(dir.path(), &[("foo", "1")]);
    assert_eq!(
        std::fs::read_to_string(outside.path().join("keep")).expect("kept"),
        "x"
    );
    assert_eq!(seen(dir.path()), [("foo".to_owned(), "1".to_owned())]);
    // Nor is a volume whose folder is a link.
    let link = outside.path().join("volume");
    std::os::unix::fs::symlink(dir.path(), &link).expect("link");
    assert!(write(&link, &payload(&[("foo", "2")]), || Ok(())).is_err());
}
