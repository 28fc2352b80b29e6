//! Builds the images that a cluster without a registry needs, as one OCI archive, from files of this machine:
//! pause (the sandbox), cluster-dns, the demo's web server, and programs that are named. The same inputs give the same bytes.

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
    /// A program that becomes an image of its own, pintle.local/NAME:1. May be repeated.
    #[arg(long = "program", value_name = "NAME=PATH", value_parser = named_program)]
    programs: Vec<(String, PathBuf)>,
    /// Where the archive goes.
    #[arg(long)]
    output: PathBuf,
}

fn named_program(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("not NAME=PATH")?;
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(fine) {
        return Err(format!(
            "{name:?}: lower case letters, digits and dashes make a name"
        ));
    }
    Ok((name.to_owned(), path.into()))
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
    for (name, path) in &arguments.programs {
        archive.add(images::program(name, path)?);
    }
    archive
        .write(&arguments.output)
        .map_err(|source| images::BuildError::Write {
            path: arguments.output.clone(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_programs() {
        let program = named_program("operator=/usr/bin/a=b");
        assert_eq!(program, Ok(("operator".to_owned(), "/usr/bin/a=b".into())));
        for bad in ["operator", "=x", "a/b=x", "-a=x", "A=x"] {
            assert!(named_program(bad).is_err(), "{bad}");
        }
    }
}
