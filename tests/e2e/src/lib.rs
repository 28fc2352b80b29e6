//! A cluster of deploy/up for one test: real etcd, the five binaries of this build, real containerd, two nodes. It is ended, and looked
//! after for leftovers, when the test is over. Tests need root and say that they are skipped without it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A running cluster. Dropping it takes it down, whatever the test's fate.
pub struct Cluster {
    state: PathBuf,
    // Holds the folder that `state` is in until the cluster is down.
    _folder: tempfile::TempDir,
}

/// Why a test is skipped, if it is.
pub fn skip_reason() -> Option<&'static str> {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n");
    if !root {
        return Some("a cluster needs root");
    }
    // A machine without kubectl gets one from deploy/up, of a distribution; what is there decides.
    match kubectl_minor() {
        Some(minor) if minor < OLDEST_KUBECTL => {
            Some("kubectl is too old for this cluster: the demo needs 1.20 or newer")
        }
        _ => None,
    }
}

/// The oldest minor version of kubectl that the demo was run with: Debian 12's.
const OLDEST_KUBECTL: u32 = 20;

/// The minor version of the kubectl on the path.
fn kubectl_minor() -> Option<u32> {
    let output = Command::new("kubectl")
        .args(["version", "--client", "-o", "json"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("\"minor\": \"")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

impl Cluster {
    /// Brings a cluster up with the binaries beside the test's own. Panics with the command's output when that fails.
    pub fn up(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cluster = Self {
            state: folder.path().join("cluster"),
            _folder: folder,
        };
        let binaries = binaries();
        let mut all: Vec<&OsStr> = vec![
            "--state".as_ref(),
            cluster.state.as_os_str(),
            "--bin-dir".as_ref(),
            binaries.as_os_str(),
        ];
        all.extend(arguments.iter().map(OsStr::new));
        let output = cluster.deploy("up", &all);
        assert!(
            output.status.success(),
            "deploy/up failed:\n{}\n{}",
            text(&output),
            cluster.logs()
        );
        cluster
    }

    /// Runs another command of deploy/ on this cluster.
    pub fn run(&self, command: &str) -> Output {
        self.deploy(command, &["--state".as_ref(), self.state.as_os_str()])
    }

    /// Ends the cluster and fails when something of it is left.
    pub fn down(self) {
        let output = self.run("down");
        assert!(
            output.status.success(),
            "deploy/down failed:\n{}",
            text(&output)
        );
        let left = leftovers();
        assert!(left.is_empty(), "deploy/down left behind: {left:?}");
        assert!(
            !self.state.exists(),
            "deploy/down left {}",
            self.state.display()
        );
    }

    /// The ends of all logs, for the message of a failed test.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let folders = std::iter::once(self.state.join("log"))
            .chain((1..=9).map(|node| self.state.join(format!("node{node}/log"))));
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries
                .flatten()
                .filter(|entry| entry.path().extension() == Some("log".as_ref()))
            {
                let content = std::fs::read(entry.path()).unwrap_or_default();
                let tail = String::from_utf8_lossy(&content[content.len().saturating_sub(4000)..])
                    .into_owned();
                all.push_str(&format!("==> {} <==\n{tail}\n", entry.path().display()));
            }
        }
        all
    }

    fn deploy(&self, command: &str, arguments: &[&OsStr]) -> Output {
        Command::new(workspace().join("deploy").join(command))
            .args(arguments)
            .output()
            .expect("the command of deploy/ starts")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.state.exists() {
            let _ = self.run("down");
        }
    }
}

/// What a command printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Network namespaces, links, cgroups and mounts with a cluster's names.
fn leftovers() -> Vec<String> {
    let mut left = Vec::new();
    let names = |folder: &str| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .collect::<Vec<_>>()
    };
    for folder in ["/run/netns", "/sys/class/net", "/sys/fs/cgroup"] {
        left.extend(
            names(folder)
                .into_iter()
                .filter(|path| path.contains("pintle")),
        );
    }
    for hierarchy in names("/sys/fs/cgroup") {
        left.extend(
            names(&hierarchy)
                .into_iter()
                .filter(|path| path.contains("pintle-node")),
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains("pintle"))
            .map(str::to_owned),
    );
    left
}

/// Where cargo put the binaries of this build: two levels above the test's own program.
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    test.ancestors()
        .nth(2)
        .expect("a test is in the deps folder of a target folder")
        .to_path_buf()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is two levels below the workspace")
}
