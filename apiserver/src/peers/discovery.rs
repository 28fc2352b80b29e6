//! What peers serve: each is asked for its own documents when the identity Leases in kube-system change. Upstream:
//! peerproxy/peer_discovery.go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_types::apidiscovery::v2::APIGroupDiscoveryList;
use api_types::coordination::v1::Lease;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{HOOKS, PeerProxy, Served};
use crate::aggregator::{self, Asker, Question};
use crate::hooks::identity;
use crate::registry::follow::{Change, follow_stored};
use crate::server::ApiServer;

/// A peer's identity Lease is there before it can be reached, so it is asked again: so often, after waits that double.
const RETRIES: u32 = 20;
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

const USER: &str = "system:apiserver";
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Follows the identity Leases of peers, and keeps up to date what they serve.
pub(super) fn start(server: &Arc<ApiServer>, proxy: &Arc<PeerProxy>, stop: CancellationToken) {
    let Some(leases) = server.resources.get("coordination.k8s.io", "v1", "leases") else {
        return;
    };
    // Holders by the names of the Leases.
    let holders: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let changed = Arc::new(Notify::new());
    let (known, told) = (holders.clone(), changed.clone());
    let (done, own) = (server.clone(), proxy.clone());
    follow_stored(leases, stop.clone(), move |change| match change {
        Change::Set(stored) => {
            if stored.namespace() != identity::NAMESPACE || stored.name() == own.id {
                return;
            }
            let holder = stored.decode::<Lease>().and_then(|lease| holder_of(&lease));
            let mut known = known.lock();
            let before = known.get(stored.name()).cloned();
            if before == holder {
                return;
            }
            match holder {
                Some(holder) => known.insert(stored.name().to_owned(), holder),
                None => known.remove(stored.name()),
            };
            told.notify_one();
        }
        Change::Gone { namespace, name } => {
            if namespace == identity::NAMESPACE && known.lock().remove(&name).is_some() {
                told.notify_one();
            }
        }
        Change::Synced => {
            own.synced.store(true, Ordering::Release);
            HOOKS.iter().for_each(|name| done.health.hook_done(name));
        }
    });
    let (server, proxy) = (server.clone(), proxy.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keep(&server, &proxy, &holders, &changed) => {}
        }
    });
}

/// Who holds an identity Lease of an API server.
fn holder_of(lease: &Lease) -> Option<String> {
    let label = lease.metadata.labels.get(identity::LABEL)?;
    (label == identity::KUBE_APISERVER)
        .then(|| lease.spec.holder_identity.clone())
        .flatten()
}

async fn keep(
    server: &ApiServer,
    proxy: &PeerProxy,
    holders: &Mutex<BTreeMap<String, String>>,
    changed: &Notify,
) {
    let mut failures = 0;
    loop {
        let end = proxy.exclusion.lock().next_end();
        let forgotten = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let retry = async {
            match failures {
                1..=RETRIES => tokio::time::sleep(wait(failures)).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed.notified() => failures = 0,
            () = retry => {}
            () = proxy.excluded.notified() => {
                // The document was made with it; there may be a new end to wait for.
                continue;
            }
            () = forgotten => {
                server.discovery.update(&server.resources);
                continue;
            }
        }
        let names: Vec<String> = holders.lock().keys().cloned().collect();
        match sync(server, proxy, &names).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::debug!(error, "Not all peers say what they serve");
                if failures > RETRIES {
                    tracing::error!(error, "A peer does not say what it serves");
                }
            }
        }
    }
}

fn wait(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_RETRY.saturating_mul(doubled).min(LONGEST_RETRY)
}

/// Asks all peers. Those that answer are known from now on, the others not.
async fn sync(server: &ApiServer, proxy: &PeerProxy, names: &[String]) -> Result<(), String> {
    let Some(peers) = &server.peers else {
        return Ok(());
    };
    let mut failed = None;
    let mut all = BTreeMap::new();
    if !names.is_empty() {
        let addresses = match peers.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                proxy.metrics.sync_failed("hostport_resolution");
                return Err(error.to_string());
            }
        };
        for name in names {
            let Some(address) = addresses.get(name) else {
                proxy.metrics.sync_failed("hostport_resolution");
                failed = Some(format!("server {name} does not say where it is reached"));
                continue;
            };
            let (served, error) = fetch(server, proxy, address).await;
            if let Some(error) = error {
                failed = Some(format!("server {name}: {error}"));
            }
            if !served.resources.is_empty() || !served.groups.is_empty() {
                all.insert(name.clone(), served);
            }
        }
    }
    proxy.served.store(Arc::new(all));
    server.discovery.update(&server.resources);
    failed.map_or(Ok(()), Err)
}

/// What a peer says it serves, and what went wrong.
async fn fetch(
    server: &ApiServer,
    proxy: &PeerProxy,
    address: &(String, u16),
) -> (Served, Option<String>) {
    let mut served = Served::default();
    let mut failed = None;
    for path in ["/api", "/apis"] {
        match document(server, proxy, address, path).await {
            Ok(list) => served.add(list),
            Err(error) => {
                proxy.metrics.sync_failed("fetch_discovery");
                failed = Some(format!("{path}: {error}"));
            }
        }
    }
    (served, failed)
}

async fn document(
    server: &ApiServer,
    proxy: &PeerProxy,
    address: &(String, u16),
    path: &str,
) -> Result<APIGroupDiscoveryList, String> {
    let question = Question {
        path,
        asker: Asker {
            user: USER,
            uid: USER,
            groups: &["system:authenticated".to_owned()],
        },
        accept: ACCEPT,
        etag: None,
        timeout: TIMEOUT,
    };
    let link = proxy.link(&server.aggregator);
    let answer = aggregator::ask(&link, address, question).await?;
    proxy.metrics.rerouted(answer.status.as_u16(), ["", "", ""]);
    if answer.status != StatusCode::OK {
        return Err(format!(
            "discovery request failed with status: {}",
            answer.status.as_u16()
        ));
    }
    api_types::decode_json(&answer.body)
        .map_err(|error| format!("error decoding discovery response: {error}"))
}

impl Served {
    fn add(&mut self, list: APIGroupDiscoveryList) {
        for group in list.items {
            let name = &group.metadata.name;
            for version in &group.versions {
                self.resources
                    .extend(version.resources.iter().map(|resource| {
                        (
                            name.clone(),
                            version.version.clone(),
                            resource.resource.clone(),
                        )
                    }));
            }
            // Documents of /apis do not tell of the group of /api.
            let known =
                |have: &api_types::apidiscovery::v2::APIGroupDiscovery| have.metadata.name == *name;
            if !name.is_empty() && !self.groups.iter().any(known) {
                self.groups.push(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        assert_eq!(wait(1), Duration::from_millis(5));
        assert_eq!(wait(4), Duration::from_millis(40));
        assert_eq!(wait(RETRIES), LONGEST_RETRY);
    }

    #[test]
    fn only_leases_of_api_servers_count() {
        let mut lease = Lease::default();
        lease.spec.holder_identity = Some("a_1".to_owned());
        assert_eq!(holder_of(&lease), None);
        let label = |value: &str| (identity::LABEL.to_owned(), value.to_owned());
        lease.metadata.labels.extend([label("other")]);
        assert_eq!(holder_of(&lease), None);
        lease
            .metadata
            .labels
            .extend([label(identity::KUBE_APISERVER)]);
        assert_eq!(holder_of(&lease).as_deref(), Some("a_1"));
    }
}
