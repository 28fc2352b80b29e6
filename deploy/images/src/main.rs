//! Builds the images that a cluster without a registry needs, as one OCI archive, from files of this machine:
//! pause (the sandbox), cluster-dns, and the demo's web server. The same inputs give the same bytes.

mod archive;
mod images;
mod layer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Builds the cluster's images into one OCI archive, to be imported with `ctr -n k8s.io images import`.
#[derive(Parser)]
struct Arguments {
    /// The statically linked pause program.
    #[arg(long)]
    pause: PathBuf,
    /// A busybox program; its applets are the demo image's userland.
    #[arg(long)]
    busybox: PathBuf,
    /// A curl program, for the demo image.
    #[arg(long)]
    curl: PathBuf,
    /// The cluster-dns program.
    #[arg(long)]
    cluster_dns: PathBuf,
    /// Where the archive goes.
    #[arg(long)]
    output: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match build(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image-builder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build(arguments: &Arguments) -> Result<(), images::BuildError> {
    let mut archive = archive::Archive::default();
    archive.add(images::pause(&arguments.pause)?);
    archive.add(images::cluster_dns(&arguments.cluster_dns)?);
    for version in ["1", "2"] {
        archive.add(images::demo(&arguments.busybox, &arguments.curl, version)?);
    }
    archive
        .write(&arguments.output)
        .map_err(|source| images::BuildError::Write {
            path: arguments.output.clone(),
            source,
        })
}
