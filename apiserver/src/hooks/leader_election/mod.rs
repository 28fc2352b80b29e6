//! Coordinated leader election (KEP-4355): components say by a LeaseCandidate that they could hold a Lease, and an API server, which is
//! elected among all of the cluster by a Lease of its own, gives it to the best of them. Who holds it already is asked to leave
//! (`preferredHolder`). LeaseCandidates that were not renewed for long are removed.
//! Upstream: pkg/controlplane/controller/leaderelection.

mod rules;
#[cfg(test)]
mod rules_tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use api_types::coordination::v1beta1::LeaseCandidate;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use client::leader_election::{LeaderElectionConfig, LeaderElectionMetrics, LeaderElector, Leases};
use client::workqueue::RateLimitingQueue;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::rules::{Election, Failed, Step, is_candidate_expired, is_pending};
use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow, follow_stored};
use crate::server::ApiServer;

/// The feature that it is there with.
pub(crate) const FEATURE: &str = "CoordinatedLeaderElection";
pub(crate) const HOOK: &str = "start-kube-apiserver-coordinated-leader-election-controller";
/// The Lease of the server that elects.
const CONTROLLER: &str = "leader-election-controller";
const NAMESPACE: &str = "kube-system";
/// Until a Lease is looked at again that may run out.
const REQUEUE: Duration = Duration::from_secs(5);
const GARBAGE_PERIOD: Duration = Duration::from_secs(30 * 60);

/// Takes part in the election of the server that elects, until `stop`.
pub(super) fn start(server: &Arc<ApiServer>, client: &Loopback, stop: CancellationToken) {
    let flags = &server.config.flags;
    let time = |name: &str| flags.duration(&format!("coordinated-leadership-{name}"));
    let retry_period = time("retry-period");
    let identity = format!("{}_{}", server.config.hostname, uuid::Uuid::new_v4());
    let config = LeaderElectionConfig {
        lease_duration: time("lease-duration"),
        renew_deadline: time("renew-deadline"),
        retry_period,
        release_on_cancel: true,
        metrics: LeaderElectionMetrics::new(server.metrics.registry()).ok(),
        ..LeaderElectionConfig::new(NAMESPACE, CONTROLLER, identity)
    };
    let (server, client) = (server.clone(), client.clone());
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            let leases = Box::new(OwnLeases(client.clone()));
            let elector = match LeaderElector::with_leases(leases, config.clone()) {
                Ok(elector) => elector,
                Err(error) => {
                    tracing::error!(%error, "Error creating leader elector");
                    return;
                }
            };
            let (server, client) = (server.clone(), client.clone());
            let lead = |token: CancellationToken| lead(server, client, token);
            elector.run(stop.clone(), lead).await;
            let _ = stop
                .run_until_cancelled(tokio::time::sleep(retry_period))
                .await;
        }
    });
}

/// The Leases of kube-system.
struct OwnLeases(Loopback);

fn api_error(error: StatusError) -> client::Error {
    client::Error::Api(Box::new(error.into()))
}

impl Leases for OwnLeases {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lease, client::Error>> {
        Box::pin(async move {
            let lease = self.0.get::<Lease>(NAMESPACE, name).await;
            let resource = GroupResource {
                group: "coordination.k8s.io".to_owned(),
                resource: "leases".to_owned(),
            };
            lease
                .and_then(|lease| lease.ok_or_else(|| status::not_found(&resource, name)))
                .map_err(api_error)
        })
    }

    fn create(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, client::Error>> {
        Box::pin(async move { self.0.create(lease).await.map_err(api_error) })
    }

    fn update(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, client::Error>> {
        Box::pin(async move { self.0.update(lease).await.map_err(api_error) })
    }
}

/// Namespace and name of a Lease.
type Key = (String, String);

/// Elects until the token is cancelled.
async fn lead(server: Arc<ApiServer>, client: Loopback, token: CancellationToken) {
    let resources = &server.resources;
    let group = "coordination.k8s.io";
    let (Some(leases), Some(candidates)) = (
        resources.get(group, "v1", "leases"),
        resources.get(group, "v1beta1", "leasecandidates"),
    ) else {
        tracing::warn!(
            "Nobody can be elected: LeaseCandidates of coordination.k8s.io/v1beta1 are not served"
        );
        return;
    };
    // Those who are told of changes live as long as this.
    let following = token.child_token();
    let _end = following.clone().drop_guard();
    let elections = Elections {
        client,
        queue: RateLimitingQueue::new(),
    };
    let synced = watch::Sender::new((false, false));

    // Which Lease a candidate is for. Of Leases that nobody is a candidate for, such as those of nodes, nothing is to be done.
    let wanted: Arc<Mutex<HashMap<Key, String>>> = Arc::default();
    let (queue, known, told) = (elections.queue.clone(), wanted.clone(), synced.clone());
    follow::<LeaseCandidate>(candidates, following.clone(), move |change| match change {
        Change::Set(candidate) => {
            let metadata = &candidate.metadata;
            let (namespace, lease) = (&metadata.namespace, &candidate.spec.lease_name);
            let key = (namespace.clone(), metadata.name.clone());
            known.lock().insert(key, lease.clone());
            // Its election goes on already.
            if !is_pending(&candidate) {
                queue.add((namespace.clone(), lease.clone()));
            }
        }
        Change::Gone { namespace, name } => {
            let lease = known.lock().remove(&(namespace.clone(), name));
            if let Some(lease) = lease {
                queue.add((namespace, lease));
            }
        }
        Change::Synced => told.send_modify(|synced| synced.0 = true),
    });
    let (queue, told) = (elections.queue.clone(), synced.clone());
    let add = move |namespace: &str, name: &str| {
        let is_wanted = wanted
            .lock()
            .iter()
            .any(|(candidate, lease)| candidate.0 == namespace && lease == name);
        if is_wanted {
            queue.add((namespace.to_owned(), name.to_owned()));
        }
    };
    follow_stored(leases, following.clone(), move |change| match change {
        Change::Set(lease) => add(lease.namespace(), lease.name()),
        Change::Gone { namespace, name } => add(&namespace, &name),
        Change::Synced => told.send_modify(|synced| synced.1 = true),
    });

    let work = async {
        // The sender lives as long as this.
        let _ = synced
            .subscribe()
            .wait_for(|synced| *synced == (true, true))
            .await;
        tokio::join!(elections.run(), elections.collect_garbage());
    };
    let _ = token.run_until_cancelled(work).await;
    elections.queue.shut_down();
}

struct Elections {
    client: Loopback,
    queue: RateLimitingQueue<Key>,
}

impl Elections {
    async fn run(&self) {
        while let Some(key) = self.queue.get().await {
            let (namespace, name) = &key;
            let watch = self.sync(namespace, name).await.unwrap_or_else(|failed| {
                tracing::error!(
                    namespace,
                    name,
                    error = failed.why,
                    "Failed to reconcile election step"
                );
                failed.watch
            });
            if watch {
                self.queue.add_after(key.clone(), REQUEUE);
            }
            self.queue.done(&key);
        }
    }

    /// One step of the election for a Lease. Says whether it is to be looked at again.
    async fn sync(&self, namespace: &str, name: &str) -> Result<bool, Failed> {
        let failed = |watch| {
            move |error: StatusError| Failed {
                why: error.message.clone(),
                watch,
            }
        };
        let now = MicroTime::now();
        let mut candidates = self
            .client
            .list::<LeaseCandidate>(namespace)
            .await
            .map_err(failed(true))?;
        candidates.retain(|candidate| {
            candidate.spec.lease_name == name && !is_candidate_expired(candidate, now)
        });
        let lease = self.client.cached::<Lease>(namespace, name);
        match rules::step(&candidates, lease.as_ref(), now)? {
            Step::Rest => Ok(false),
            Step::Watch => Ok(true),
            Step::Ping(places) => {
                for place in places {
                    let mut candidate = candidates[place].clone();
                    candidate.spec.ping_time = Some(now);
                    self.client.update(candidate).await.map_err(failed(true))?;
                }
                Ok(true)
            }
            Step::Elect(election) => {
                let elected = self.elect(namespace, name, &election).await;
                elected.map(|()| true).map_err(failed(false))
            }
        }
    }

    async fn elect(
        &self,
        namespace: &str,
        name: &str,
        election: &Election,
    ) -> Result<(), StatusError> {
        let holder = election.holder.as_deref().unwrap_or_default();
        let lease = election.lease(namespace, name, MicroTime::now());
        match self.client.create(lease).await {
            Ok(_) => {
                tracing::info!(namespace, name, holder, "Created lease");
                return Ok(());
            }
            Err(error) if status::is_already_exists(&error) => {}
            Err(error) => return Err(error),
        }
        let Some(mut lease) = self.client.get::<Lease>(namespace, name).await? else {
            return Ok(());
        };
        if election.change(&mut lease, MicroTime::now()) {
            self.client.update(lease).await?;
            tracing::info!(namespace, name, holder, "Changed lease");
        }
        Ok(())
    }

    /// Removes candidates that count no more. Upstream: leasecandidategc_controller.go.
    async fn collect_garbage(&self) {
        let mut ticks = tokio::time::interval(GARBAGE_PERIOD);
        loop {
            ticks.tick().await;
            if let Err(error) = self.remove_expired().await {
                tracing::error!(%error, "Unable to remove expired lease candidates");
            }
        }
    }

    async fn remove_expired(&self) -> Result<(), StatusError> {
        for candidate in self.client.list::<LeaseCandidate>("").await? {
            let (namespace, name) = (&candidate.metadata.namespace, &candidate.metadata.name);
            if !is_candidate_expired(&candidate, MicroTime::now()) {
                continue;
            }
            // The cache may be behind.
            let stored = self.client.get::<LeaseCandidate>(namespace, name).await?;
            if stored.is_some_and(|stored| is_candidate_expired(&stored, MicroTime::now())) {
                self.client
                    .delete::<LeaseCandidate>(namespace, name)
                    .await?;
            }
        }
        Ok(())
    }
}
