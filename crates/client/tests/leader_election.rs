//! Two candidates and a Lease, in paused time.

use std::sync::Arc;
use std::time::Duration;

use client::leader_election::{
    LeaderElectionConfig, LeaderElectionError, LeaderElectionMetrics, LeaderElector, Outcome,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_server::{FakeServer, Fault};

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";

type Log = Arc<Mutex<Vec<String>>>;

fn config(identity: &str) -> LeaderElectionConfig {
    LeaderElectionConfig::new("kube-system", "kube-scheduler", identity)
}

fn candidate(
    server: &FakeServer,
    config: LeaderElectionConfig,
    log: &Log,
    token: &CancellationToken,
) -> JoinHandle<Outcome> {
    let (log, identity) = (log.clone(), config.identity.clone());
    let elector = LeaderElector::new(&server.client(), config).unwrap();
    tokio::spawn(elector.run(token.clone(), move |lead| async move {
        log.lock().push(format!("{identity} starts"));
        lead.cancelled().await;
        log.lock().push(format!("{identity} stops"));
    }))
}

fn holder(server: &FakeServer) -> String {
    server
        .get(LEASES, "kube-system", "kube-scheduler")
        .map(|lease| {
            lease["spec"]["holderIdentity"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .unwrap_or_default()
}

fn transitions(server: &FakeServer) -> i64 {
    server.get(LEASES, "kube-system", "kube-scheduler").unwrap()["spec"]["leaseTransitions"]
        .as_i64()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_second_takes_over_when_the_first_has_gone_silent() {
    let server = FakeServer::new(1);
    let log = Log::default();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let one = candidate(&server, config("one"), &log, &first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _two = candidate(&server, config("two"), &log, &second);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(*log.lock(), ["one starts"], "a renewed lease is not taken");
    assert_eq!((holder(&server).as_str(), transitions(&server)), ("one", 0));

    // Killed: nothing is released, nothing renewed.
    one.abort();
    let silent = tokio::time::Instant::now();
    while holder(&server) == "one" {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(
            silent.elapsed() < Duration::from_secs(30),
            "nobody took over"
        );
    }
    let took = silent.elapsed();
    assert!(
        took >= Duration::from_secs(12) && took <= Duration::from_secs(21),
        "took over after {took:?}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(log.lock().contains(&"two starts".to_owned()));
    assert_eq!(transitions(&server), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_releases_if_asked_to() {
    let server = FakeServer::new(1);
    let log = Log::default();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let one = candidate(
        &server,
        LeaderElectionConfig {
            release_on_cancel: true,
            ..config("one")
        },
        &log,
        &first,
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _two = candidate(&server, config("two"), &log, &second);
    tokio::time::sleep(Duration::from_secs(10)).await;
    first.cancel();
    assert_eq!(one.await.unwrap(), Outcome::Cancelled);
    assert_eq!(holder(&server), "");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*log.lock(), ["one starts", "one stops", "two starts"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_keeps_the_lease_otherwise() {
    let server = FakeServer::new(1);
    let log = Log::default();
    let token = CancellationToken::new();
    let one = candidate(&server, config("one"), &log, &token);
    tokio::time::sleep(Duration::from_secs(3)).await;
    token.cancel();
    assert_eq!(one.await.unwrap(), Outcome::Cancelled);
    assert_eq!(holder(&server), "one");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_start() {
    let server = FakeServer::new(1);
    let log = Log::default();
    let token = CancellationToken::new();
    let registry = prometheus::Registry::new();
    let metrics = LeaderElectionMetrics::new(&registry).unwrap();
    let status = |expected: f64| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "leader_election_master_status")
            .unwrap();
        assert_eq!(family.get_metric()[0].get_gauge().get_value(), expected);
    };
    let one = candidate(
        &server,
        LeaderElectionConfig {
            metrics: Some(metrics),
            ..config("one")
        },
        &log,
        &token,
    );
    status(0.0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    status(1.0);
    for _ in 0..1000 {
        server.fault(Fault::Hang);
    }
    let started = tokio::time::Instant::now();
    assert_eq!(one.await.unwrap(), Outcome::Lost);
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(8) && took <= Duration::from_secs(13),
        "stopped after {took:?}"
    );
    status(0.0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_just_starts_is_asked_again_soon() {
    let server = FakeServer::new(1);
    server.fault(Fault::Refused);
    server.fault(Fault::Code(403, None));
    let log = Log::default();
    let _one = candidate(&server, config("one"), &log, &CancellationToken::new());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*log.lock(), ["one starts"]);
}

#[tokio::test(start_paused = true)]
async fn short_failures_do_not_end_the_lead() {
    let server = FakeServer::new(1);
    let log = Log::default();
    let token = CancellationToken::new();
    let one = candidate(&server, config("one"), &log, &token);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        server.fault(Fault::Code(500, None));
        server.fault(Fault::Refused);
    }
    // Somebody else writes to the Lease, e.g. labels it: the version changes, the lead does not.
    let mut lease = server.get(LEASES, "kube-system", "kube-scheduler").unwrap();
    lease["metadata"]["labels"] = serde_json::json!({ "a": "b" });
    server.put(LEASES, "kube-system", "kube-scheduler", lease);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!one.is_finished());
    assert_eq!(*log.lock(), ["one starts"]);
    assert_eq!(transitions(&server), 0);
    assert_eq!(
        server.get(LEASES, "kube-system", "kube-scheduler").unwrap()["metadata"]["labels"]["a"],
        "b"
    );
}

#[tokio::test(start_paused = true)]
async fn impossible_settings_are_refused() {
    let client = FakeServer::new(1).client();
    let check = |change: fn(&mut LeaderElectionConfig), expected: LeaderElectionError| {
        let mut config = config("one");
        change(&mut config);
        assert_eq!(LeaderElector::new(&client, config).err(), Some(expected));
    };
    check(
        |config| config.lease_duration = Duration::from_secs(10),
        LeaderElectionError::LeaseDuration,
    );
    check(
        |config| config.retry_period = Duration::from_secs(9),
        LeaderElectionError::RenewDeadline,
    );
    check(
        |config| config.retry_period = Duration::ZERO,
        LeaderElectionError::Zero,
    );
    check(
        |config| config.identity = String::new(),
        LeaderElectionError::Identity,
    );
}
