//! An operator of kopf, which is Python. The machine's Python runs in the pod, with kopf from the package index; without either this part is skipped,
//! and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::Cluster;

use super::{LIMIT, SITES, apply, available};

pub(super) fn runs(cluster: &Cluster) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let python = match Python::with_kopf(folder.path()) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: the operator of kopf: {reason}");
            return;
        }
    };
    let manifest = include_str!("manifests/kopf.yaml")
        .replace("@PYTHON@", &python.program.display().to_string())
        .replace("@PREFIX@", &python.prefix.display().to_string())
        .replace("@PACKAGES@", &folder.path().display().to_string());
    apply(cluster, &manifest);
    available(cluster, "kopf");

    greet(cluster, "good morning");
    let greeting = ["-n", SITES, "get", "greeting", "hello", "-o"];
    let text = [
        "-n",
        SITES,
        "get",
        "configmap",
        "hello",
        "-o",
        "jsonpath={.data.text}",
    ];
    let made = [&greeting[..], &["jsonpath={.status.create.made}"]].concat();
    cluster.expect(LIMIT, "good morning", &text);
    // What the handler returned is in the status.
    cluster.expect(LIMIT, "yes", &made);
    greet(cluster, "good evening");
    cluster.expect(LIMIT, "good evening", &text);
    // The handler of deletions runs before the finalizer is taken off.
    let delete = ["-n", SITES, "delete", "greeting", "hello", "--timeout=90s"];
    cluster.kubectl(&delete, "").expect("it is there");
    cluster.expect(
        LIMIT,
        "",
        &[
            "-n",
            SITES,
            "get",
            "configmap",
            "hello",
            "--ignore-not-found",
            "-o",
            "name",
        ],
    );

    for (kind, name) in [
        ("crd", "greetings.kopf.example.com"),
        ("clusterrole", "kopf-operator"),
        ("clusterrolebinding", "kopf-operator"),
    ] {
        cluster
            .kubectl(&["delete", kind, name, "--timeout=90s"], "")
            .expect("it is there");
    }
}

fn greet(cluster: &Cluster, text: &str) {
    let manifest = format!(
        "apiVersion: kopf.example.com/v1\nkind: Greeting\nmetadata: {{name: hello, namespace: {SITES}}}\nspec: {{text: {text:?}}}\n"
    );
    apply(cluster, &manifest);
}

/// The machine's Python.
struct Python {
    program: PathBuf,
    prefix: PathBuf,
}

impl Python {
    /// Installs kopf into a folder for it. An error says what is missing.
    fn with_kopf(folder: &Path) -> Result<Self, String> {
        let where_it_is = run("python3", &["-c", "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.realpath(sys.base_prefix))"])
            .map_err(|error| format!("no python3 here: {error}"))?;
        let (program, prefix) = where_it_is
            .trim()
            .split_once('\n')
            .ok_or("python3 does not say where it is")?;
        let target = folder.display().to_string();
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--retries=1",
            "--timeout=15",
            "--target",
            &target,
            "kopf",
        ];
        run("python3", &install).map_err(|error| format!("pip cannot install it: {error}"))?;
        Ok(Self {
            program: program.into(),
            prefix: prefix.into(),
        })
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(text.lines().last().unwrap_or_default().to_owned())
    }
}
