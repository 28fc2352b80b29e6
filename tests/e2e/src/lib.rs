//! A cluster of deploy/up for one test: real etcd, the five binaries of this build, real containerd, two nodes. It is ended, and looked
//! after for leftovers, when the test is over. Tests need root and say that they are skipped without it.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A running cluster. Dropping it takes it down, whatever the test's fate.
pub struct Cluster {
    state: PathBuf,
    arguments: Vec<OsString>,
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

/// The time between two looks at the cluster.
#[expect(clippy::disallowed_methods, reason = "there is no runtime here")]
fn pause() {
    std::thread::sleep(Duration::from_millis(200));
}

impl Cluster {
    /// Brings a cluster up with the binaries beside the test's own. Panics with the command's output when that fails.
    pub fn up(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut all: Vec<OsString> = vec!["--bin-dir".into(), binaries().into()];
        all.extend(arguments.iter().map(OsString::from));
        let cluster = Self {
            state: folder.path().join("cluster"),
            arguments: all,
            _folder: folder,
        };
        cluster.start_what_is_missing();
        cluster
    }

    /// Runs deploy/up, which starts what does not run.
    pub fn start_what_is_missing(&self) {
        let mut all: Vec<&OsStr> = vec!["--state".as_ref(), self.state.as_os_str()];
        all.extend(self.arguments.iter().map(OsString::as_os_str));
        let output = self.deploy("up", &all);
        assert!(
            output.status.success(),
            "deploy/up failed:\n{}\n{}",
            text(&output),
            self.logs()
        );
    }

    /// Kills a daemon of the control plane.
    pub fn kill(&self, daemon: &str) {
        let path = self.state.join(format!("{daemon}.pid"));
        let pid = std::fs::read_to_string(&path).expect("a daemon that runs has a pid file");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(
            killed.is_ok_and(|status| status.success()),
            "{daemon}, process {}, cannot be killed",
            pid.trim()
        );
    }

    /// Runs kubectl as cluster admin and gives what it printed; what it wrote to standard error is the error.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.state.join("admin.conf"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("kubectl: {error}"))?;
        // One that does not read its input closes it, which is no fault.
        let _ = child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes());
        let output = child
            .wait_with_output()
            .map_err(|error| format!("kubectl: {error}"))?;
        let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(printed(&output.stdout))
        } else {
            Err(printed(&output.stderr))
        }
    }

    /// Repeats a kubectl command until it prints this, and says what it printed last when that does not happen.
    #[track_caller]
    pub fn expect(&self, limit: Duration, wanted: &str, arguments: &[&str]) {
        self.expect_that(limit, arguments, &format!("prints {wanted:?}"), |printed| {
            printed.is_ok_and(|printed| printed == wanted)
        });
    }

    /// Repeats a kubectl command until what it printed is as wanted.
    #[track_caller]
    pub fn expect_that(
        &self,
        limit: Duration,
        arguments: &[&str],
        wanted: &str,
        is_wanted: impl Fn(Result<&str, &str>) -> bool,
    ) {
        let end = Instant::now() + limit;
        loop {
            let printed = self.kubectl(arguments, "");
            if is_wanted(printed.as_deref().map_err(String::as_str)) {
                return;
            }
            assert!(
                Instant::now() < end,
                "kubectl {arguments:?} {wanted}: not within {limit:?}, but {printed:?}"
            );
            pause();
        }
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
        // The nodes' first: what they say is what most often explains a pod that does not run.
        let folders = (1..=9)
            .map(|node| self.state.join(format!("node{node}/log")))
            .chain(std::iter::once(self.state.join("log")));
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
                if tail.is_empty() {
                    continue;
                }
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
