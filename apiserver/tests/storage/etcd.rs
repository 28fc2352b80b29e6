//! A real etcd in a temporary folder, and a proxy in front of it that can lose its connections.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::LIMIT;

pub(crate) struct Etcd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    tls: Option<ServerTls>,
}

/// Files of a server that demands client certificates.
#[derive(Clone)]
pub(crate) struct ServerTls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Etcd {
    /// `None`, with a message, when there is no etcd on this machine.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<ServerTls>) -> Option<Self> {
        if Command::new("etcd")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            println!("skipped: no etcd in PATH");
            return None;
        }
        // The port may be taken between its choice and the server's start.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let child = spawn(folder.path(), port, tls.as_ref());
            let mut etcd = Self {
                child,
                port,
                folder,
                tls: tls.clone(),
            };
            if etcd.wait().await {
                return Some(etcd);
            }
            let log = std::fs::read_to_string(etcd.folder.path().join("log")).unwrap_or_default();
            println!("etcd did not start on port {port}:\n{log}");
        }
        panic!("etcd does not start");
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts again with the same data and port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path(), self.port, self.tls.as_ref());
        assert!(self.wait().await, "etcd did not come back");
    }

    pub(crate) async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect([self.endpoint()], None)
            .await
            .unwrap()
    }

    /// Waits until the server answers; false when the process ends.
    async fn wait(&mut self) -> bool {
        let deadline = std::time::Instant::now() + LIMIT;
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let ready = if self.tls.is_some() {
                std::fs::read_to_string(self.folder.path().join("log")).is_ok_and(|log| {
                    log.contains("ready to serve client requests") || log.contains("serving client")
                })
            } else {
                match etcd_client::Client::connect([self.endpoint()], None).await {
                    Ok(mut client) => client.get("x", None).await.is_ok(),
                    Err(_) => false,
                }
            };
            if ready {
                return true;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "etcd did not start in {LIMIT:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn spawn(folder: &Path, port: u16, tls: Option<&ServerTls>) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}");
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args([
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
        ])
        .args([
            "--listen-peer-urls",
            "http://127.0.0.1:0",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:0",
        ])
        .args([
            "--initial-cluster",
            "default=http://127.0.0.1:0",
            "--log-level",
            "info",
            "--logger",
            "zap",
        ])
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(tls) = tls {
        command
            .arg("--client-cert-auth")
            .arg("--trusted-ca-file")
            .arg(&tls.ca);
        command
            .arg("--cert-file")
            .arg(&tls.cert)
            .arg("--key-file")
            .arg(&tls.key);
    }
    command.spawn().unwrap()
}

/// What becomes of what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// New connections are refused.
    Closed,
    /// Requests pass, answers are lost.
    Deaf,
    /// Nothing passes, and nothing is lost.
    Stalled,
    /// All takes a while longer.
    Slow,
}

const SLOWNESS: Duration = Duration::from_millis(5);

/// Forwards to etcd until told otherwise.
pub(crate) struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, cut) = (watch::Sender::new(Mode::Open), watch::Sender::new(0));
        let (shared, receiver) = (mode.subscribe(), cut.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *shared.borrow() == Mode::Closed {
                    continue;
                }
                let (mode, mut cut) = (shared.clone(), receiver.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let seen = cut.clone();
                    tokio::select! {
                        _ = forward(client, target, mode, seen) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, mode, cut }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks all connections and refuses new ones.
    pub(crate) fn close(&self) {
        self.mode.send_replace(Mode::Closed);
        self.cut();
    }

    /// Requests pass, answers do not. What comes after such a gap makes no sense: cut before opening again.
    pub(crate) fn swallow_answers(&self) {
        self.mode.send_replace(Mode::Deaf);
    }

    /// Nothing passes any more, but it will.
    pub(crate) fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Everything comes later.
    pub(crate) fn slow_down(&self) {
        self.mode.send_replace(Mode::Slow);
    }

    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }

    pub(crate) fn open(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn forward(
    client: TcpStream,
    target: u16,
    mode: watch::Receiver<Mode>,
    cut: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let requests = Pump {
        mode: mode.clone(),
        cut: cut.clone(),
        lost_in: None,
    };
    let answers = Pump {
        mode,
        cut,
        lost_in: Some(Mode::Deaf),
    };
    tokio::select! {
        outcome = requests.run(client_in, server_out) => outcome,
        outcome = answers.run(server_in, client_out) => outcome,
    }
}

/// One direction of a connection.
struct Pump {
    mode: watch::Receiver<Mode>,
    cut: watch::Receiver<u64>,
    /// What comes in this mode goes nowhere.
    lost_in: Option<Mode>,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let lost = self.lost_in == Some(*self.mode.borrow());
            // The mode first: who cuts and then opens lets no answer of a cut connection pass.
            if !self.cut.has_changed().is_ok_and(|cut| !cut) {
                return Ok(());
            }
            let slow = *self.mode.borrow() == Mode::Slow;
            if slow {
                tokio::time::sleep(SLOWNESS).await;
            }
            // Fails when the proxy is gone.
            let passable = self.mode.wait_for(|mode| *mode != Mode::Stalled);
            let passes = passable.await.is_ok() && !lost;
            if passes {
                to.write_all(&buffer[..length]).await?;
            }
        }
    }
}
