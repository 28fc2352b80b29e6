//! leases: how soon nodes and leaders renew their Leases while someone lists a big collection again and again.
//!
//! Nodes and a leader are impersonated by the admin: the server classifies, authorizes and admits them as the real ones. Each renews
//! its Lease once a second, the next time no sooner than the last was answered. A renewal that takes 10 s is an error: that is when
//! kubelets give up an attempt and leaders lose their lease. The server's memory limit, if it has one, is in the note.

use std::time::{Duration, Instant};

use client::config::{ClientConfig, Impersonation};
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::{Bench, text_field};
use super::caller::Caller;
use super::fairness::elephant;
use super::objects::NAMESPACE;
use super::setup::{self, NODE_LEASES, RBAC, SYSTEM_LEASES, labels};
use super::storm::Storm;
use crate::Result;
use crate::connection::{Call, JSON};
use crate::record::{Outcome, Record};

const NODES: usize = 50;
const LEADER: &str = "perf-leader";
const RENEWAL_PERIOD: Duration = Duration::from_secs(1);
/// Upstream's `--leader-elect-renew-deadline`, and the time limit of a kubelet's request for a Lease.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);
/// The load before renewals are measured.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let nodes: Vec<Holder> = join_all((0..NODES).map(|number| Holder::node(bench, number)))
        .await
        .into_iter()
        .collect::<Result<_>>()?;
    let leaders = [Holder::leader(bench).await?];
    let elephant = elephant(bench, "perf-lister").await?;
    let time = Duration::from_secs(bench.options.seconds);

    let record = |workload, outcome| Record::of_outcome(workload, "renewal", outcome, time);
    let [node, leader] = renew(&nodes, &leaders, time).await;
    bench.write(vec![
        record("lease-node-alone", node),
        record("lease-leader-alone", leader),
    ])?;

    let in_flight = bench.options.storm;
    let limit = bench.subjects.server.memory_limit();
    let meter = bench.meter()?;
    let begun = Instant::now();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let storm = Storm::start(elephant, path, in_flight)?;
    tokio::time::sleep(SETTLE).await;
    let [node, leader] = renew(&nodes, &leaders, time).await;
    let mut lists = storm.stop()?;
    lists.note = format!(
        "{in_flight} requests in flight, {} pods, {limit}",
        bench.pods
    );
    // A server that its memory limit has ended has no usage any more; what its clients saw of that counts.
    let lists = match meter.stop() {
        Ok(usage) => {
            Record::of_outcome("lease-storm-lists", "list", lists, usage.wall).with_usage(&usage)
        }
        Err(_) => {
            lists.note.push_str("; the server ended under it");
            Record::of_outcome("lease-storm-lists", "list", lists, begun.elapsed())
        }
    };
    bench.write(vec![
        record("lease-node-storm", node),
        record("lease-leader-storm", leader),
        lists,
    ])
}

/// All renew for this long: what nodes and leaders got.
async fn renew(nodes: &[Holder], leaders: &[Holder], time: Duration) -> [Outcome; 2] {
    let deadline = Instant::now() + time;
    futures::join!(renew_all(nodes, deadline), renew_all(leaders, deadline)).into()
}

async fn renew_all(holders: &[Holder], deadline: Instant) -> Outcome {
    // One after the other within a period, as they would come of nodes that know nothing of each other.
    let step = RENEWAL_PERIOD / u32::try_from(holders.len()).unwrap_or(u32::MAX).max(1);
    let renewals = (0..).zip(holders).map(|(number, holder)| {
        let first = tokio::time::Instant::now() + step * number;
        holder.renew_until(first, deadline)
    });
    let outcomes = join_all(renewals).await.into_iter();
    outcomes.fold(Outcome::default(), Outcome::and)
}

/// Someone with a Lease.
struct Holder {
    caller: Caller,
    path: String,
    lease: Value,
}

impl Holder {
    async fn node(bench: &Bench<'_>, number: usize) -> Result<Self> {
        let name = format!("perf-node-{number:03}");
        let user = Impersonation {
            user: format!("system:node:{name}"),
            groups: vec!["system:nodes".to_owned()],
            ..Impersonation::default()
        };
        Self::new(bench, user, NODE_LEASES, &name).await
    }

    /// A leader among ServiceAccounts of kube-system, with the right to its Lease.
    async fn leader(bench: &Bench<'_>) -> Result<Self> {
        let rbac = format!("{RBAC}/namespaces/kube-system");
        let metadata = json!({"name": LEADER, "labels": labels()});
        let role = json!({
            "metadata": metadata,
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [LEADER], "verbs": ["get", "update"]}]
        });
        setup::create(&bench.client, &format!("{rbac}/roles"), &role).await?;
        let binding = json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LEADER},
            "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": LEADER}]
        });
        setup::create(&bench.client, &format!("{rbac}/rolebindings"), &binding).await?;
        let user = Impersonation {
            user: format!("system:serviceaccount:kube-system:{LEADER}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                "system:serviceaccounts:kube-system".to_owned(),
            ],
            ..Impersonation::default()
        };
        Self::new(bench, user, SYSTEM_LEASES, LEADER).await
    }

    /// Makes the Lease and waits until its holder may read it.
    async fn new(bench: &Bench<'_>, user: Impersonation, leases: &str, name: &str) -> Result<Self> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "labels": labels()},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}
        });
        setup::create(&bench.client, leases, &lease).await?;
        let path = format!("{leases}/{name}");
        let config: ClientConfig = bench.config.clone().with_impersonation(user);
        let client = client::Client::new(config.clone())?;
        setup::until(&client, Method::GET, &path, &Value::Null, |status, _| {
            status == StatusCode::OK
        })
        .await
        .map_err(|error| format!("{error} (nodes need --authorization-mode=Node,RBAC)"))?;
        Ok(Self {
            caller: Caller::connect(&config, 1).await?,
            path,
            lease,
        })
    }

    async fn renew_until(&self, first: tokio::time::Instant, deadline: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut version = None;
        let mut ticks = tokio::time::interval_at(first, RENEWAL_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if Instant::now() >= deadline {
                return outcome;
            }
            let begun = Instant::now();
            match tokio::time::timeout(RENEWAL_LIMIT, self.renew(version.take())).await {
                Ok(Ok((renewed, bytes))) => {
                    version = Some(renewed);
                    outcome.latencies.push(begun.elapsed());
                    outcome.bytes += bytes as u64;
                }
                Ok(Err(error)) => outcome.failed(error),
                Err(_) => outcome.failed(format!("not renewed in {RENEWAL_LIMIT:?}")),
            }
        }
    }

    /// Writes the Lease over the version that was last seen, which is asked for where it is not known. Gives the new version.
    async fn renew(&self, version: Option<String>) -> Result<(String, usize)> {
        let version = match version {
            Some(version) => version,
            None => {
                let answer = self.caller.send(0, Call::get(&self.path)).await?;
                version_of(&answer.head)?
            }
        };
        let mut lease = self.lease.clone();
        lease["metadata"]["resourceVersion"] = version.into();
        lease["spec"]["renewTime"] = format!("{:.6}", jiff::Timestamp::now()).into();
        let call = Call::with_body(Method::PUT, &self.path, JSON, lease.to_string());
        let answer = self.caller.send(0, call).await?;
        Ok((version_of(&answer.head)?, answer.bytes))
    }
}

fn version_of(head: &[u8]) -> Result<String> {
    let version = text_field(head, "resourceVersion").ok_or("a Lease without a resourceVersion")?;
    Ok(version.to_owned())
}
