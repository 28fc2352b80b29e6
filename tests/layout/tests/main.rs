//! Reads `cargo metadata` and the tree, and fails when the workspace's shape is broken.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

const DAEMONS: [&str; 5] = [
    "kube-apiserver",
    "kube-scheduler",
    "kube-controller-manager",
    "kubelet",
    "kube-proxy",
];

/// Shared crates from the bottom up: each may depend on those before it and on no other of ours.
const LAYERS: [&str; 4] = ["api-types", "apimachinery", "client", "component-base"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name)
        .unwrap_or_else(|| panic!("no package {name} in the workspace"))
}

/// Names of what a package needs to be built and run; what only its tests need is left out.
fn dependencies(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

#[test]
fn no_daemon_depends_on_another() {
    let metadata = metadata();
    for daemon in DAEMONS {
        let needed = dependencies(package(&metadata, daemon));
        for other in DAEMONS {
            assert!(
                !needed.contains(other),
                "{daemon} depends on {other}: daemons meet in the API only"
            );
        }
    }
}

#[test]
fn nothing_but_the_apiserver_opens_etcd() {
    for package in &metadata().packages {
        let names_etcd = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == "etcd-client");
        assert_eq!(
            names_etcd,
            package.name.as_str() == "kube-apiserver",
            "{} and etcd-client",
            package.name
        );
    }
}

#[test]
fn shared_crates_depend_downwards() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for (position, layer) in LAYERS.iter().enumerate() {
        for needed in dependencies(package(&metadata, layer)).intersection(&ours) {
            assert!(
                LAYERS[..position].contains(needed),
                "{layer} depends on {needed}, which is not below it"
            );
        }
    }
}

#[test]
fn apimachinery_and_api_types_are_pure() {
    let metadata = metadata();
    for name in ["api-types", "apimachinery"] {
        let needed = dependencies(package(&metadata, name));
        for impure in ["tokio", "hyper", "hyper-util", "rustls", "rustix"] {
            assert!(
                !needed.contains(impure),
                "{name} depends on {impure}: it does no input or output"
            );
        }
    }
}

#[test]
fn every_crate_is_apache_licensed_and_takes_the_workspace_lints() {
    let metadata = metadata();
    for package in &metadata.packages {
        assert_eq!(
            package.license.as_deref(),
            Some("Apache-2.0"),
            "{}",
            package.name
        );
        let manifest =
            std::fs::read_to_string(&package.manifest_path).expect("the manifest is readable");
        // The one with unsafe code, which it forbids but for what it expects.
        if package.name.as_str() == "resident" {
            assert!(manifest.contains("[lints.rust]\nunsafe_code = \"deny\"\n"));
            let source = package.manifest_path.with_file_name("src/lib.rs");
            let source = std::fs::read_to_string(source).expect("the source is readable");
            assert_eq!(source.matches("unsafe {").count(), 1, "one call is enough");
            continue;
        }
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            package.name
        );
    }
}

#[test]
fn one_tls_provider() {
    let host = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .expect("cargo tree runs");
    let tree = String::from_utf8_lossy(&host.stdout);
    assert!(
        tree.contains("aws-lc-rs v"),
        "cargo tree lists the graph: {}",
        String::from_utf8_lossy(&host.stderr)
    );
    assert!(
        !tree.lines().any(|line| line.starts_with("ring v")),
        "ring is in the graph: with two providers rustls cannot choose a default"
    );
}

#[test]
fn a_daemon_has_its_readme_and_a_short_main() {
    for folder in [
        "apiserver",
        "scheduler",
        "controller-manager",
        "kubelet",
        "kube-proxy",
    ] {
        let folder = root().join(folder);
        assert!(
            folder.join("README.md").is_file(),
            "{} has no README.md",
            folder.display()
        );
        let main =
            std::fs::read_to_string(folder.join("src/main.rs")).expect("main.rs is readable");
        assert!(
            main.lines().count() < 60,
            "{}/src/main.rs has {} lines: it only parses, builds and runs",
            folder.display(),
            main.lines().count()
        );
    }
}

fn root() -> PathBuf {
    metadata().workspace_root.into_std_path_buf()
}
