//! `perf pods`: how long pods of a whole cluster take from the answer to their creation until a watch shows them Running, and Ready.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use client::{
    Client, ClientConfig, CreateOptions, DynamicApi, DynamicObject, GroupVersionResource,
    ListOptions, WatchEvent, WatchStream,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::Result;
use crate::namespace::{Emptied, Namespace};
use crate::record::{Outcome, Record, Recorder};

const NAMESPACE: &str = "perf-pods";

#[derive(Args)]
pub(crate) struct Options {
    /// Who we are and where the server is.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// How many pods.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// How many are created per second.
    #[arg(long, default_value = "5/s", value_parser = rate)]
    rate: f64,
    /// What they run; it needs a `sleep`.
    #[arg(long, default_value = "pintle.local/demo:1")]
    image: String,
    /// Seconds to wait for the last pod.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// What the report calls this cluster.
    #[arg(long, value_name = "LABEL", default_value = "cluster")]
    name: String,
    /// Folder of results.jsonl.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// `5/s` or `5`: how often a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(rate) if (0.01..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("not a rate like 5/s, from 0.01 to 10000".to_owned()),
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let config = ClientConfig::from_kubeconfig(&options.kubeconfig)?.with_qps(-1.0);
    let client = Client::new(config)?;
    let mut recorder = Recorder::open(&options.out, &options.name)?;
    let namespace = Namespace::create(&client, NAMESPACE, Emptied::ByController).await?;
    let pods = client.dynamic(GroupVersionResource::new("", "v1", "pods"), Some(NAMESPACE));
    let result = tokio::select! {
        result = measure(&pods, options) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    let removed = namespace.remove().await;
    let timeline = result?;
    for (workload, outcome) in timeline.outcomes() {
        let record = Record::of_outcome(workload, "pod", outcome, timeline.took);
        // Pods come at a rate that was chosen.
        recorder.write(Record {
            per_second: None,
            ..record
        })?;
    }
    removed
}

/// Creates pods at the chosen rate and watches them until all are ready or time is up.
async fn measure(pods: &DynamicApi, options: &Options) -> Result<Timeline> {
    let from = ListOptions {
        resource_version: pods.list(&ListOptions::default()).await?.resource_version,
        ..ListOptions::default()
    };
    let events = pods.watch(&from).await?;
    let timeline = Timeline::new();
    let writing = async {
        let mut created = HashMap::new();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / options.rate));
        for number in 0..options.count {
            ticks.tick().await;
            let name = format!("pod-{number:05}");
            let object = pod(&name, &options.image);
            pods.create(&object, &CreateOptions::default()).await?;
            created.insert(name, Instant::now());
        }
        Ok::<_, crate::Error>(created)
    };
    let creation = Duration::from_secs_f64(f64::from(options.count) / options.rate);
    let limit = creation + Duration::from_secs(options.wait);
    let (created, timeline) =
        tokio::try_join!(writing, follow(events, timeline, options.count, limit))?;
    Ok(Timeline {
        created,
        ..timeline
    })
}

/// Notes when pods become Running and Ready.
async fn follow(
    mut events: WatchStream<DynamicObject>,
    mut timeline: Timeline,
    count: u32,
    limit: Duration,
) -> Result<Timeline> {
    let deadline = tokio::time::Instant::now() + limit;
    while timeline.ready.len() < count as usize {
        match tokio::time::timeout_at(deadline, events.next()).await {
            Ok(Some(event)) => timeline.saw(&event?),
            // What did not become ready counts as an error.
            Ok(None) | Err(_) => break,
        }
    }
    timeline.took = timeline.begun.elapsed();
    Ok(timeline)
}

/// When each pod was created, and first seen Running and Ready.
struct Timeline {
    begun: Instant,
    /// Until the last pod was ready, or it was no longer waited for.
    took: Duration,
    created: HashMap<String, Instant>,
    running: HashMap<String, Instant>,
    ready: HashMap<String, Instant>,
}

impl Timeline {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            took: Duration::ZERO,
            created: HashMap::new(),
            running: HashMap::new(),
            ready: HashMap::new(),
        }
    }

    fn saw(&mut self, event: &WatchEvent<DynamicObject>) {
        let now = Instant::now();
        let pod = event.object();
        let name = &pod.metadata().name;
        if is_running(pod.value()) {
            self.running.entry(name.clone()).or_insert(now);
        }
        if is_ready(pod.value()) {
            self.ready.entry(name.clone()).or_insert(now);
        }
    }

    fn outcomes(&self) -> [(&'static str, Outcome); 2] {
        [
            ("pod-running", self.since_creation(&self.running)),
            ("pod-ready", self.since_creation(&self.ready)),
        ]
    }

    fn since_creation(&self, seen: &HashMap<String, Instant>) -> Outcome {
        let mut outcome = Outcome::default();
        for (name, created) in &self.created {
            match seen.get(name) {
                Some(seen) => outcome
                    .latencies
                    .push(seen.saturating_duration_since(*created)),
                None => outcome.failed(format!("{name} did not get there in time")),
            }
        }
        outcome
    }
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "perf"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "sleep", "image": image, "command": ["sleep", "36000"]}]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("5/s"), Ok(5.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1/s", "5/m", "NaN", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pod_is_first_running_and_then_ready() {
        let event = |status: Value| {
            let object = json!({"metadata": {"name": "a"}, "status": status});
            WatchEvent::Modified(DynamicObject::new(object).unwrap())
        };
        let mut timeline = Timeline::new();
        timeline.created.insert("a".into(), timeline.begun);
        timeline.created.insert("b".into(), timeline.begun);
        timeline.saw(&event(json!({"phase": "Pending"})));
        assert!(timeline.running.is_empty());
        timeline.saw(&event(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}),
        ));
        let first = timeline.running["a"];
        assert!(timeline.ready.is_empty());
        timeline.saw(&event(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        ));
        assert_eq!(timeline.running["a"], first);
        for (workload, outcome) in timeline.outcomes() {
            assert_eq!(
                (outcome.latencies.len(), outcome.errors),
                (1, 1),
                "{workload}"
            );
        }
    }
}
