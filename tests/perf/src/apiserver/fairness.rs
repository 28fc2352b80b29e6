//! fairness: what a client with few requests keeps of its rate when another one of the same priority level has hundreds under way.
//!
//! Both are ServiceAccounts, so that both are in the level `workload-low`, and both have the rights they need and no more. The mouse
//! reads and writes a ConfigMap of its own in turn, first as often as it can and then at a steady rate; the elephant lists pods in pages of 500, all from the first page.

use std::time::{Duration, Instant};

use client::config::ClientConfig;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::Bench;
use super::caller::Caller;
use super::objects::NAMESPACE;
use super::setup::{self, account};
use super::storm::Storm;
use crate::Result;
use crate::connection::{Call, JSON};
use crate::record::{Outcome, Record};

const MOUSE_IN_FLIGHT: usize = 4;
/// The elephant's load before the mouse is measured.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let client = &bench.client;
    let mouse = account(
        client,
        &bench.config,
        "perf-mouse",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update"]}]),
    )
    .await?;
    let elephant = elephant(bench, "perf-elephant").await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/mouse");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mouse"}, "data": {"level": "info"}});
    setup::create(
        client,
        &format!("/api/v1/namespaces/{NAMESPACE}/configmaps"),
        &object,
    )
    .await?;
    let as_mouse = client::Client::new(mouse.clone().with_qps(-1.0))?;
    setup::until(&as_mouse, Method::GET, &path, &Value::Null, |status, _| {
        status.is_success()
    })
    .await?;
    let mouse = Mouse {
        caller: Caller::connect(&mouse, 1).await?,
        path,
        object: object.to_string(),
        time: Duration::from_secs(bench.options.seconds),
    };

    let meter = bench.meter()?;
    let alone = mouse.run().await;
    let usage = meter.stop()?;
    let alone = Record::of_outcome("mouse-alone", "request", alone, usage.wall).with_usage(&usage);

    let in_flight = bench.options.storm;
    let meter = bench.meter()?;
    let storm = Storm::start(
        elephant,
        format!("/api/v1/namespaces/{NAMESPACE}/pods?limit=500"),
        in_flight,
    )?;
    tokio::time::sleep(SETTLE).await;
    let begun = Instant::now();
    let beside = mouse.run().await;
    let wall = begun.elapsed();
    let rate = bench.options.mouse_rate;
    let begun = Instant::now();
    let steady = mouse.run_at(rate).await;
    let steady_wall = begun.elapsed();
    let mut raged = storm.stop()?;
    let usage = meter.stop()?;
    let mut steady = Record::of_outcome("mouse-steady", "request", steady, steady_wall);
    steady.kept_percent = steady.per_second.map(|kept| 100.0 * kept / rate);
    steady.note = format!("beside the elephant, of {rate} requests a second");
    let mut beside = Record::of_outcome("mouse-with-elephant", "request", beside, wall);
    beside.kept_percent = kept(&alone, &beside);
    raged.note = format!("{in_flight} requests in flight; it waits a second after an error");
    let raged = Record::of_outcome("elephant", "page", raged, usage.wall).with_usage(&usage);
    bench.write(vec![alone, beside, steady, raged])
}

/// The rate of the second in per cent of the first's.
pub(super) fn kept(alone: &Record, beside: &Record) -> Option<f64> {
    let (alone, beside) = (alone.per_second?, beside.per_second?);
    (alone > 0.0).then(|| 100.0 * beside / alone)
}

/// Someone who may list pods, as soon as the server knows.
pub(super) async fn elephant(bench: &Bench<'_>, name: &str) -> Result<ClientConfig> {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let config = account(&bench.client, &bench.config, name, rules).await?;
    let client = client::Client::new(config.clone())?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?limit=1");
    setup::until(&client, Method::GET, &path, &Value::Null, |status, _| {
        status == StatusCode::OK
    })
    .await?;
    Ok(config)
}

struct Mouse {
    caller: Caller,
    path: String,
    object: String,
    time: Duration,
}

impl Mouse {
    /// As many requests as the server takes, one after the other four times over.
    async fn run(&self) -> Outcome {
        let deadline = Instant::now() + self.time;
        let call = |number| self.call(number);
        self.caller
            .load(usize::MAX, MOUSE_IN_FLIGHT, deadline, call)
            .await
    }

    /// So many requests a second, and no more than four under way.
    async fn run_at(&self, rate: f64) -> Outcome {
        let deadline = Instant::now() + self.time;
        let count = (rate * self.time.as_secs_f64()) as usize;
        let period = Duration::from_secs_f64(1.0 / rate);
        let call = |number| self.call(number);
        self.caller
            .load_paced(count, MOUSE_IN_FLIGHT, period, deadline, call)
            .await
    }

    fn call(&self, number: usize) -> Call {
        if number % 2 == 0 {
            Call::get(&self.path)
        } else {
            Call::with_body(Method::PUT, &self.path, JSON, self.object.clone())
        }
    }
}
