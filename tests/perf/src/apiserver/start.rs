//! `perf start`: an API server that is started on an etcd full of pods. How soon it is ready, answers a consistent list, and answers
//! from its watch cache; how much memory it holds then.
//!
//! The server is a child of this process, by a command that is given. It is started once to create the pods that lack, which stay: the
//! next server is started on the same etcd and finds them. Then it is started some times to be measured.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use client::Client;
use client::config::ClientConfig;
use http::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::bounded;
use super::caller::Caller;
use super::objects;
use crate::Result;
use crate::connection::{Call, Connection, JSON, Server};
use crate::meter::Usage;
use crate::namespace::call_json;
use crate::process::Process;
use crate::record::{Outcome, Record, Recorder};

#[derive(Args)]
pub(crate) struct Options {
    /// Who we are and where the server will be, which must be on this machine.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Starts the server in the foreground; a line for a shell. Its etcd is running.
    #[arg(long)]
    command: String,
    /// How many pods there are to be. Those that lack are created, and none is removed.
    #[arg(long, default_value_t = 150_000, value_parser = bounded(1_000_000))]
    pods: usize,
    /// Creations under way at once.
    #[arg(long, default_value_t = 32, value_parser = bounded(1000))]
    in_flight: usize,
    /// Starts that are measured.
    #[arg(long, default_value_t = 3, value_parser = bounded(20))]
    rounds: usize,
    /// Seconds that a start may take, and ten times as many for creating pods.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// What the report calls this server.
    #[arg(long, value_name = "LABEL", default_value = "server")]
    name: String,
    /// Folder of results.jsonl, and of start.log with what the server says.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Stays for the next server.
const NAMESPACE: &str = "perf-start";
/// What a start is waited for, and what it is called.
const MARKS: [(&str, &str); 3] = [
    ("start-ready", "/readyz"),
    ("start-first-list", "/api/v1/pods?limit=1"),
    // Any version will do, so it comes from the watch cache and from nowhere else.
    (
        "start-cache",
        "/api/v1/pods?labelSelector=perf.example.com%2Fnone&resourceVersion=0",
    ),
];
const POLL_PERIOD: Duration = Duration::from_millis(10);
/// Before memory is looked at: what only the start needed may be given back.
const SETTLE: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(90);

pub(crate) async fn run(options: &Options) -> Result<()> {
    let config = ClientConfig::from_kubeconfig(&options.kubeconfig)?.with_qps(-1.0);
    let server = Server::new(&config)?;
    let mut recorder = Recorder::open(&options.out, &options.name)?;
    let child = Started::new(options)?;
    let (child, _) = child.wait_for_all(&server, options).await?;
    let pods = fill(&config, options).await?;
    child.stop().await?;

    let mut outcomes: [Outcome; MARKS.len()] = Default::default();
    let mut total: Option<Usage> = None;
    for _ in 0..options.rounds {
        let child = Started::new(options)?;
        let (child, times) = child.wait_for_all(&server, options).await?;
        for (outcome, time) in outcomes.iter_mut().zip(times) {
            outcome.latencies.push(time);
        }
        let usage = child
            .usage(times.into_iter().max().unwrap_or_default())
            .await?;
        total = Some(total.map_or(usage, |total| total.and(usage)));
        child.stop().await?;
    }
    for ((workload, _), mut outcome) in MARKS.into_iter().zip(outcomes) {
        let wall = outcome.latencies.iter().sum();
        outcome.note = format!("{pods} pods; memory after {SETTLE:?} more");
        let mut record = Record::of_outcome(workload, "start", outcome, wall);
        record.per_second = None;
        recorder.write(match &total {
            Some(usage) => record.with_usage(usage),
            None => record,
        })?;
    }
    Ok(())
}

/// A server that runs; it ends with this.
struct Started {
    child: Child,
    process: Process,
    begun: Instant,
    own_cpu: Duration,
}

impl Started {
    fn new(options: &Options) -> Result<Self> {
        let path = options.out.join("start.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let own_cpu = Process::own().cpu()?;
        let begun = Instant::now();
        // The shell becomes the server: what is measured is this process.
        let child = Command::new("sh")
            .args(["-c", &format!("exec {}", options.command)])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the server has ended")?;
        Ok(Self {
            process: Process::new(pid)?,
            child,
            begun,
            own_cpu,
        })
    }

    /// When each of the marks was reached, since the start.
    async fn wait_for_all(
        mut self,
        server: &Server,
        options: &Options,
    ) -> Result<(Self, [Duration; MARKS.len()])> {
        let deadline = self.begun + Duration::from_secs(options.limit);
        let [ready, list, cache] = MARKS.map(|(_, path)| until(server, path, self.begun, deadline));
        let all = async { tokio::try_join!(ready, list, cache) };
        let (ready, list, cache) = tokio::select! {
            times = all => times?,
            status = self.child.wait() => return Err(ended(status).into()),
        };
        Ok((self, [ready, list, cache]))
    }

    /// What the start took until now, and the memory it holds when it has come to rest.
    async fn usage(&self, wall: Duration) -> Result<Usage> {
        let server_cpu = self.process.cpu()?;
        let own_cpu = Process::own().cpu()?.saturating_sub(self.own_cpu);
        tokio::time::sleep(SETTLE).await;
        Ok(Usage {
            wall,
            server_cpu,
            etcd_cpu: None,
            own_cpu,
            resident_before: 0,
            resident_after: self.process.resident()?,
            resident_peak: self.process.peak()?,
        })
    }

    async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).ok_or("the server has ended")?;
        kill_process(pid, Signal::TERM)?;
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("the server did not end in {STOP_LIMIT:?}").into()),
        }
    }
}

fn ended(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("the server ended: {status}; start.log says why"),
        Err(error) => error.to_string(),
    }
}

/// Asks again and again; how long after the start the answer was 2xx.
async fn until(server: &Server, path: &str, begun: Instant, deadline: Instant) -> Result<Duration> {
    let mut connection = None;
    loop {
        let Err(error) = ask(server, &mut connection, path).await else {
            return Ok(begun.elapsed());
        };
        if Instant::now() > deadline {
            return Err(format!("{path} after {:?}: {error}", begun.elapsed()).into());
        }
        tokio::time::sleep(POLL_PERIOD).await;
    }
}

async fn ask(server: &Server, connection: &mut Option<Connection>, path: &str) -> Result<()> {
    if connection.as_ref().is_none_or(Connection::is_closed) {
        *connection = Some(server.connect().await?);
    }
    match connection {
        Some(connection) => connection
            .send(server.request(Call::get(path))?)
            .await
            .map(drop),
        None => Ok(()),
    }
}

/// Creates the pods that lack; gives how many there are then.
async fn fill(config: &ClientConfig, options: &Options) -> Result<usize> {
    let client = Client::new(config.clone())?;
    let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
    for (path, name) in [
        ("/api/v1/namespaces".to_owned(), NAMESPACE),
        (format!("{namespace}/serviceaccounts"), "default"),
    ] {
        let object = json!({"metadata": {"name": name}});
        let (status, answer) = call_json(&client, Method::POST, &path, &object).await?;
        if !status.is_success() && status != StatusCode::CONFLICT {
            return Err(format!("POST {path}: {status}: {}", answer["message"]).into());
        }
    }
    let path = format!("{namespace}/pods");
    let there = count(&client, &path).await?;
    let caller = Caller::connect(config, 4).await?;
    let template = objects::pod();
    let deadline = Instant::now() + Duration::from_secs(10 * options.limit);
    let created = caller
        .load(
            options.pods.saturating_sub(there),
            options.in_flight,
            deadline,
            // By what was there before, so that a run which was cut short leaves no names that are taken.
            |number| {
                let body = template.named(&format!("checkout-{there}-{number:06}"));
                Call::with_body(Method::POST, &path, JSON, body)
            },
        )
        .await;
    let there = count(&client, &path).await?;
    if there < options.pods {
        let problem = format!("there are {there} pods: {}", created.first_error);
        return Err(problem.into());
    }
    Ok(there)
}

/// How many objects a collection has.
async fn count(client: &Client, path: &str) -> Result<usize> {
    let path = format!("{path}?limit=1");
    let (status, list) = call_json(client, Method::GET, &path, &Value::Null).await?;
    let first = list["items"].as_array().map(Vec::len);
    let first = first.ok_or_else(|| format!("GET {path}: {status}: {}", list["message"]))?;
    let rest = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    Ok(first + usize::try_from(rest)?)
}
