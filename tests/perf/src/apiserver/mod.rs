//! `perf apiserver`: loads one API server, workload after workload, and says what each request cost it.
//!
//! The load is closed: a fixed number of requests is under way, and the next is sent when one is answered, so rates are what the
//! server can do and latencies are those under that load. Every workload ends by a count, and before that if its time is up.

mod access;
mod bench;
mod big_lists;
mod caller;
mod compare;
mod fairness;
mod leases;
mod objects;
mod reconnect;
mod rules;
mod setup;
mod silent;
pub(crate) mod start;
mod storm;
mod watch;
mod webhook_server;
mod webhooks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use client::Client;
use client::config::ClientConfig;
use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use self::bench::{Bench, text_field};
use self::caller::Caller;
use self::objects::{NAMESPACE, pod_name};
use crate::Result;
use crate::connection::{Call, JSON, PROTOBUF};
use crate::meter::Subjects;
use crate::namespace::{Emptied, Namespace, call_json};
use crate::process::Process;
use crate::record::{Outcome, Record, Recorder};

#[derive(Args)]
pub(crate) struct Options {
    /// Who we are and where the server is, which must be on this machine.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The server's process.
    #[arg(long)]
    pid: u32,
    /// The process of the etcd behind it.
    #[arg(long)]
    etcd_pid: Option<u32>,
    /// How many pods there are.
    #[arg(long, default_value_t = 10_000, value_parser = bounded(100_000))]
    pods: usize,
    /// Requests under way at once.
    #[arg(long, default_value_t = 32, value_parser = bounded(1000))]
    in_flight: usize,
    /// Connections they go over.
    #[arg(long, default_value_t = 4, value_parser = bounded(100))]
    connections: usize,
    /// Watches of watch-fanout.
    #[arg(long, default_value_t = 1000, value_parser = bounded(20_000))]
    watchers: usize,
    /// Writes that all watchers see.
    #[arg(long, default_value_t = 200, value_parser = bounded(10_000))]
    events: usize,
    /// Such writes per second.
    #[arg(long, default_value = "20/s", value_parser = crate::pods::rate)]
    event_rate: f64,
    /// Requests of each kind that access, webhooks and rules compare.
    #[arg(long, default_value_t = 20_000, value_parser = bounded(1_000_000))]
    requests: usize,
    /// Roles and bindings of others in access: so many in the namespace, and so many in the cluster.
    #[arg(long, default_value_t = 200, value_parser = bounded(5000))]
    roles: usize,
    /// CEL rules of an object in rules.
    #[arg(long, default_value_t = 20, value_parser = bounded(100))]
    rules: usize,
    /// Requests of the other client under way at once in fairness and leases.
    #[arg(long, default_value_t = 200, value_parser = bounded(2000))]
    storm: usize,
    /// Requests per second of mouse-steady.
    #[arg(long, default_value = "100/s", value_parser = crate::pods::rate)]
    mouse_rate: f64,
    /// Seconds that fairness and leases measure with the other client, and as long without it.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Objects of big-lists.
    #[arg(long, default_value_t = 4000, value_parser = bounded(100_000))]
    objects: usize,
    /// Text in each of them, in KiB.
    #[arg(long, default_value_t = 256, value_parser = bounded(1000))]
    object_kib: usize,
    /// Lists of them under way at once.
    #[arg(long, default_value_t = 10, value_parser = bounded(100))]
    lists: usize,
    /// Watches of reconnect.
    #[arg(long, default_value_t = 5000, value_parser = bounded(20_000))]
    reconnects: usize,
    /// Watchers of silent-watcher that never read.
    #[arg(long, default_value_t = 10, value_parser = bounded(1000))]
    silent: usize,
    /// Where the etcd behind the server tells its metrics, without TLS: reconnect counts its range requests.
    #[arg(long, value_name = "URL")]
    etcd_metrics: Option<Url>,
    /// Seconds after which a workload ends, whatever is left.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Only these workloads, in the order of the whole list. Those after leases run only when they are named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
    only: Vec<Workload>,
    /// What the report calls this server.
    #[arg(long, value_name = "LABEL", default_value = "server")]
    name: String,
    /// Folder of results.jsonl.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// A count from 1 to this many.
fn bounded(most: u64) -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..=most)
}

/// The workloads, in the order they run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    CreatePod,
    GetPod,
    ListJson,
    ListJsonGzip,
    ListProtobuf,
    ListPages,
    ListSelectorNone,
    PatchPodStatus,
    ApplyConfigmap,
    WatchFanout,
    DeletePod,
    Idle,
    Access,
    Webhooks,
    Rules,
    Fairness,
    Leases,
    BigLists,
    Reconnect,
    SilentWatcher,
}

/// How often a whole list is asked for.
const LISTS: usize = 10;
const SELECTIONS: usize = 50;
const PAGE: usize = 500;
const IDLE: Duration = Duration::from_secs(10);
const ALL_PODS: &str = "/api/v1/pods";

pub(crate) async fn run(options: &Options) -> Result<()> {
    let config = ClientConfig::from_kubeconfig(&options.kubeconfig)?.with_qps(-1.0);
    let client = Client::new(config.clone())?;
    refuse_garbage_collection(&client).await?;
    let mut bench = Bench {
        admin: Caller::connect(&config, options.connections).await?,
        config,
        client: client.clone(),
        subjects: Subjects {
            server: Process::new(options.pid)?,
            etcd: options.etcd_pid.map(Process::new).transpose()?,
        },
        recorder: Recorder::open(&options.out, &options.name)?,
        pods: 0,
        options,
    };
    setup::sweep(&client).await?;
    let namespace = Namespace::create(&client, NAMESPACE, Emptied::ByUs).await?;
    let result = tokio::select! {
        result = run_workloads(&mut bench) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    // What was made goes whatever happened; the first failure is told.
    let swept = setup::sweep(&client).await;
    let removed = namespace.remove().await;
    result.and(swept).and(removed)
}

async fn run_workloads(bench: &mut Bench<'_>) -> Result<()> {
    let only = &bench.options.only;
    for workload in Workload::value_variants() {
        let chosen = if only.is_empty() {
            !workload.is_by_name_only()
        } else {
            only.contains(workload)
        };
        if !chosen {
            continue;
        }
        if workload.needs_pods() && bench.pods == 0 {
            let created = create_pods(bench).await;
            bench.pods = created.latencies.len();
        }
        if workload.needs_pods() && bench.pods == 0 {
            return Err(
                format!("{} needs pods, and none could be created", workload.name()).into(),
            );
        }
        workload.measure(bench).await?;
    }
    Ok(())
}

impl Workload {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn needs_pods(self) -> bool {
        !matches!(
            self,
            Self::CreatePod
                | Self::ApplyConfigmap
                | Self::WatchFanout
                | Self::Idle
                | Self::Access
                | Self::Webhooks
                | Self::Rules
                | Self::BigLists
                | Self::Reconnect
                | Self::SilentWatcher
        )
    }

    /// Those that are too much for every run: gigabytes, thousands of connections.
    fn is_by_name_only(self) -> bool {
        matches!(self, Self::BigLists | Self::Reconnect | Self::SilentWatcher)
    }

    /// What one operation is.
    fn unit(self) -> &'static str {
        match self {
            Self::ListPages => "page",
            _ => "request",
        }
    }

    async fn measure(self, bench: &mut Bench<'_>) -> Result<()> {
        match self {
            Self::WatchFanout => return watch::measure(bench).await,
            Self::Idle => return idle(bench).await,
            Self::Access => access::measure(bench).await?,
            Self::Webhooks => webhooks::measure(bench).await?,
            Self::Rules => rules::measure(bench).await?,
            Self::Fairness => fairness::measure(bench).await?,
            Self::Leases => leases::measure(bench).await?,
            Self::BigLists => return big_lists::measure(bench).await,
            Self::Reconnect => return reconnect::measure(bench).await,
            Self::SilentWatcher => return silent::measure(bench).await,
            _ => return self.measure_load(bench).await,
        }
        setup::sweep(&bench.client).await
    }

    async fn measure_load(self, bench: &mut Bench<'_>) -> Result<()> {
        let meter = bench.meter()?;
        let outcome = self.load(bench).await;
        match self {
            Self::CreatePod => bench.pods = outcome.latencies.len(),
            Self::DeletePod => bench.pods = 0,
            _ => {}
        }
        bench.record(&self.name(), self.unit(), outcome, meter)
    }

    async fn load(self, bench: &Bench<'_>) -> Outcome {
        let pods = bench.pods;
        let in_flight = bench.options.in_flight;
        match self {
            Self::CreatePod => create_pods(bench).await,
            Self::GetPod => {
                bench
                    .load(pods * 2, in_flight, |number| {
                        Call::get(pod_path(number % pods))
                    })
                    .await
            }
            Self::ListJson => bench.load(LISTS, 1, |_| Call::get(ALL_PODS)).await,
            Self::ListJsonGzip => bench.load(LISTS, 1, |_| Call::get(ALL_PODS).gzip()).await,
            Self::ListProtobuf => {
                bench
                    .load(LISTS, 1, |_| Call::get(ALL_PODS).accept(PROTOBUF))
                    .await
            }
            Self::ListPages => list_pages(bench).await,
            Self::ListSelectorNone => {
                let path = format!("{ALL_PODS}?labelSelector=app.kubernetes.io%2Fname%3Dnone");
                bench.load(SELECTIONS, 1, |_| Call::get(&path)).await
            }
            Self::PatchPodStatus => {
                let status = objects::running_status();
                bench
                    .load(pods, in_flight, |number| {
                        let path = format!("{}/status", pod_path(number));
                        Call::with_body(Method::PATCH, path, STRATEGIC_MERGE, status.clone())
                    })
                    .await
            }
            Self::ApplyConfigmap => {
                bench
                    .load((bench.options.pods / 5).max(1), in_flight, |number| {
                        // As many objects as requests under way, so that no two meet on one.
                        let name = format!("applied-{:03}", number % in_flight);
                        let body = objects::applied_config_map(&name, number / in_flight);
                        Call::with_body(Method::PATCH, apply_path(&name), APPLY, body)
                    })
                    .await
            }
            Self::DeletePod => {
                bench
                    .load(pods, in_flight, |number| {
                        let body = objects::delete_now();
                        Call::with_body(Method::DELETE, pod_path(number), JSON, body)
                    })
                    .await
            }
            // Those that are more than one load.
            _ => Outcome::default(),
        }
    }
}

const STRATEGIC_MERGE: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn pod_path(number: usize) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/{}", pod_name(number))
}

fn apply_path(name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}?fieldManager=perf&force=true")
}

async fn create_pods(bench: &Bench<'_>) -> Outcome {
    let Options {
        pods, in_flight, ..
    } = bench.options;
    let template = objects::pod();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    bench
        .load(*pods, *in_flight, |number| {
            let body = template.named(&pod_name(number));
            Call::with_body(Method::POST, &path, JSON, body)
        })
        .await
}

/// The whole list several times over, page after page.
async fn list_pages(bench: &Bench<'_>) -> Outcome {
    let deadline = bench.deadline();
    let mut outcome = Outcome::default();
    for _ in 0..LISTS {
        let mut path = format!("{ALL_PODS}?limit={PAGE}");
        while Instant::now() < deadline {
            let begun = Instant::now();
            let answer = bench.send(0, Call::get(&path)).await;
            outcome.took(begun.elapsed(), &answer);
            let Ok(answer) = answer else { break };
            let Some(token) = text_field(&answer.head, "continue") else {
                break;
            };
            let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
            path = format!("{ALL_PODS}?limit={PAGE}&continue={token}");
        }
    }
    outcome
}

async fn idle(bench: &mut Bench<'_>) -> Result<()> {
    let meter = bench.meter()?;
    tokio::time::sleep(IDLE).await;
    let record = Record::of_idle("idle", &meter.stop()?);
    bench.recorder.write(record)
}

/// A controller manager would delete the pods in the middle of the measurement: their node and their owner do not exist.
async fn refuse_garbage_collection(client: &Client) -> Result<()> {
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";
    let (status, lease) = call_json(client, Method::GET, path, &Value::Null).await?;
    if status != StatusCode::OK && status != StatusCode::NOT_FOUND {
        return Err(format!("the server answers {status}: {}", lease["message"]).into());
    }
    let renewed = lease["spec"]["renewTime"].as_str().unwrap_or_default();
    if let Ok(renewed) = renewed.parse::<jiff::Timestamp>()
        && jiff::Timestamp::now().duration_since(renewed) < jiff::SignedDuration::from_secs(15)
    {
        return Err("a controller manager works with this server and would delete the pods: measure an API server alone".into());
    }
    Ok(())
}
