//! What is in each image.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::Image;
use crate::layer::Layer;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("cannot put {path} into an image: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{0} lists no applets: is it a busybox program?")]
    NotBusybox(PathBuf),
}

/// The sandbox image: one static program, run by nobody.
pub(crate) fn pause(program: &Path) -> Result<Image, BuildError> {
    let mut layer = Layer::new();
    layer.program("pause", program).map_err(read(program))?;
    image("pause", "1", layer, "/pause", "65535:65535", program)
}

/// The cluster DNS server.
pub(crate) fn cluster_dns(path: &Path) -> Result<Image, BuildError> {
    program("cluster-dns", path)
}

/// One program and what it is linked with.
pub(crate) fn program(name: &str, path: &Path) -> Result<Image, BuildError> {
    let mut layer = Layer::new();
    layer.program(name, path).map_err(read(path))?;
    layer.directory("tmp", 0o1777).map_err(read(path))?;
    image(name, "1", layer, &format!("/{name}"), "", path)
}

/// The demo's web server on port 8080: every path under / answers with the pod's name and the image's version.
const SERVE: &str = r#"#!/bin/sh
mkdir -p /tmp/www
echo "$(hostname) demo:@VERSION@" > /tmp/www/index.html
echo "serving demo:@VERSION@ as $(hostname)"
exec busybox httpd -f -v -p "${PORT:-8080}" -h /tmp/www
"#;

/// A busybox userland, curl, and the demo's web server. (A static busybox has a wget, but one that cannot resolve names.)
pub(crate) fn demo(busybox: &Path, curl: &Path, version: &str) -> Result<Image, BuildError> {
    let mut layer = Layer::new();
    userland(&mut layer, busybox)?;
    layer.program("usr/bin/curl", curl).map_err(read(curl))?;
    layer
        .file(
            "bin/serve",
            0o755,
            SERVE.replace("@VERSION@", version).as_bytes(),
        )
        .map_err(read(busybox))?;
    image("demo", version, layer, "/bin/serve", "", busybox)
}

fn userland(layer: &mut Layer, busybox: &Path) -> Result<(), BuildError> {
    let applets = Command::new(busybox)
        .arg("--list-full")
        .output()
        .map_err(read(busybox))?;
    let applets = String::from_utf8_lossy(&applets.stdout).into_owned();
    if applets.trim().is_empty() {
        return Err(BuildError::NotBusybox(busybox.to_path_buf()));
    }
    let fill = |layer: &mut Layer| -> io::Result<()> {
        layer.directory("tmp", 0o1777)?;
        for directory in [
            "root", "home", "proc", "sys", "dev", "run", "var/log", "mnt", "etc",
        ] {
            layer.directory(directory, 0o755)?;
        }
        layer.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        )?;
        layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
        layer.program("bin/busybox", busybox)?;
        for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
            layer.hard_link(applet, "bin/busybox")?;
            // Whatever its usual place, an applet is also found in /bin.
            if let Some((_, name)) = applet.rsplit_once('/') {
                layer.hard_link(&format!("bin/{name}"), "bin/busybox")?;
            }
        }
        Ok(())
    };
    fill(layer).map_err(read(busybox))
}

fn image(
    name: &str,
    version: &str,
    layer: Layer,
    entrypoint: &str,
    user: &str,
    source: &Path,
) -> Result<Image, BuildError> {
    Ok(Image {
        names: vec![format!("pintle.local/{name}:{version}")],
        layers: vec![layer.finish().map_err(read(source))?],
        entrypoint: vec![entrypoint.to_owned()],
        user: user.to_owned(),
    })
}

fn read(path: &Path) -> impl FnOnce(io::Error) -> BuildError + '_ {
    move |source| BuildError::Read {
        path: path.to_path_buf(),
        source,
    }
}
