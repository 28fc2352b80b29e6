//! One layer of an image: a tar archive in memory whose bytes depend on its entries alone.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layer under construction. A path is added once: later additions of the same path are ignored, so that programs may share libraries.
pub(crate) struct Layer {
    tar: tar::Builder<Vec<u8>>,
    paths: BTreeSet<PathBuf>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            paths: BTreeSet::new(),
        }
    }

    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(Path::new(path), tar::EntryType::Directory, mode, &[], None)
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(
            Path::new(path),
            tar::EntryType::Regular,
            mode,
            content,
            None,
        )
    }

    /// A second name for a file that is in the layer already.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(
            Path::new(path),
            tar::EntryType::Link,
            0o755,
            &[],
            Some(target.trim_start_matches('/')),
        )
    }

    /// A program at `path` and, when it is dynamically linked, its libraries at the paths they have on this machine.
    pub(crate) fn program(&mut self, path: &str, source: &Path) -> io::Result<()> {
        self.file(path, 0o755, &std::fs::read(source)?)?;
        for library in libraries(source)? {
            let content = std::fs::read(&library)?;
            self.entry(&library, tar::EntryType::Regular, 0o755, &content, None)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }

    fn entry(
        &mut self,
        path: &Path,
        kind: tar::EntryType,
        mode: u32,
        content: &[u8],
        link: Option<&str>,
    ) -> io::Result<()> {
        let path = path.strip_prefix("/").unwrap_or(path);
        if path.as_os_str().is_empty() || !self.paths.insert(path.to_path_buf()) {
            return Ok(());
        }
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.entry(parent, tar::EntryType::Directory, 0o755, &[], None)?;
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match link {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, content),
        }
    }
}

/// The shared libraries `ldd` names for a program; none for a static one, for which ldd fails.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(library_path)
        .collect())
}

/// The path in a line such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)` or `/lib64/ld-linux-x86-64.so.2 (0x00007f)`.
fn library_path(line: &str) -> Option<PathBuf> {
    let (before, _) = line.rsplit_once(" (0x")?;
    let path = before.rsplit([' ', '\t']).next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        assert_eq!(library_path(line), expected.map(PathBuf::from));
    }

    #[test]
    fn paths_in_the_output_of_ldd() {
        check(
            "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c)",
            Some("/lib/x86_64-linux-gnu/libc.so.6"),
        );
        check(
            "\t/lib64/ld-linux-x86-64.so.2 (0x00007f1c)",
            Some("/lib64/ld-linux-x86-64.so.2"),
        );
        check("\tlinux-vdso.so.1 (0x00007ffd)", None);
        check("\tstatically linked", None);
    }

    #[test]
    fn parents_come_first_and_a_path_comes_once() {
        let mut layer = Layer::new();
        layer
            .file("usr/bin/tool", 0o755, b"one")
            .expect("in memory");
        layer
            .file("/usr/bin/tool", 0o755, b"two")
            .expect("in memory");
        layer
            .hard_link("bin/tool", "/usr/bin/tool")
            .expect("in memory");
        let bytes = layer.finish().expect("in memory");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .expect("readable")
            .map(|entry| {
                entry
                    .expect("readable")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string()
            })
            .collect();
        // A file's entry is written after its folders, which `entry` adds first.
        assert_eq!(
            paths
                .iter()
                .filter(|path| path.ends_with("usr/bin/tool"))
                .count(),
            1
        );
        let position = |wanted: &str| {
            paths
                .iter()
                .position(|path| path.trim_end_matches('/') == wanted)
                .expect(wanted)
        };
        assert!(
            position("usr") < position("usr/bin") && position("usr/bin") < position("usr/bin/tool")
        );
        assert!(position("usr/bin/tool") < position("bin/tool"));
    }

    #[test]
    fn equal_entries_give_equal_bytes() {
        let build = || {
            let mut layer = Layer::new();
            layer.file("a", 0o644, b"content").expect("in memory");
            layer.finish().expect("in memory")
        };
        assert_eq!(build(), build());
    }
}
