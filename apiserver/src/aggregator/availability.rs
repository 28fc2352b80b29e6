//! Whether the server of an APIService is there, as its condition `Available`.
//! Upstream: kube-aggregator/pkg/controllers/status/remote.

use std::sync::Arc;
use std::time::Duration;

use api_types::Time;
use api_types::apiregistration::v1::{APIService, APIServiceCondition};
use api_types::core::v1::Service;
use api_types::discovery::v1::EndpointSlice;
use component_base::serving::Body;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Request;
use tokio::sync::Notify;

use super::resolve::Backend;
use super::{Aggregator, Backoff, Remote};
use crate::connect;
use crate::loopback::Loopback;

const AVAILABLE: &str = "Available";
/// Servers are asked again when nothing seems to have changed.
const RESYNC: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// One question.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Several are asked at once: one endpoint of many may be gone.
const ATTEMPTS: usize = 5;

/// What the condition says.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Verdict {
        Verdict {
            status: "False",
            reason,
            message,
        }
    }
}

/// Keeps the condition right until the future is dropped.
pub(super) async fn keep(
    aggregator: &Aggregator,
    client: &Loopback,
    name: &str,
    changed: Arc<Notify>,
) {
    let mut backoff = Backoff::new(FIRST_RETRY, RESYNC);
    loop {
        let wait = match sync(aggregator, client, name).await {
            Ok(()) => {
                backoff.reset();
                RESYNC
            }
            Err(error) => {
                tracing::debug!(name, error, "An aggregated API server is not available");
                backoff.failed()
            }
        };
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks once; an error says that it is to be asked again soon.
async fn sync(aggregator: &Aggregator, client: &Loopback, name: &str) -> Result<(), String> {
    let Some(remote) = aggregator.named(name) else {
        return Ok(());
    };
    let backend = aggregator.backend(&remote.backend);
    let (verdict, failed) = match judge(&remote, &backend) {
        Some(verdict) => (verdict, None),
        None => match ask(aggregator, &remote).await {
            Ok(()) => {
                let verdict = Verdict {
                    status: "True",
                    reason: "Passed",
                    message: "all checks passed".to_owned(),
                };
                (verdict, None)
            }
            Err(error) => (
                Verdict::no("FailedDiscoveryCheck", error.clone()),
                Some(error),
            ),
        },
    };
    if let Some(changed) = with_condition(&remote.service, &verdict, Time::now()) {
        tracing::info!(
            name,
            status = verdict.status,
            reason = verdict.reason,
            text = verdict.message,
            "changing APIService availability"
        );
        client
            .update_status(changed)
            .await
            .map_err(|error| error.to_string())?;
        if is_available(&remote.service) && verdict.status != "True" {
            aggregator.metrics.became_unavailable(name, verdict.reason);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What is wrong with the Service, as far as can be seen without asking the server.
fn judge(remote: &Remote, backend: &Backend) -> Option<Verdict> {
    let (namespace, name) = &remote.backend;
    let Some(service) = &backend.service else {
        return Some(Verdict::no(
            "ServiceNotFound",
            format!("service/{name} in {namespace:?} is not present"),
        ));
    };
    if service.spec.type_ != "ClusterIP" {
        return None;
    }
    judge_endpoints(service, &backend.slices, namespace, remote.port)
}

fn judge_endpoints(
    service: &Service,
    slices: &[EndpointSlice],
    namespace: &str,
    port: u16,
) -> Option<Verdict> {
    let name = &service.metadata.name;
    let mut ports = service.spec.ports.iter();
    let Some(found) = ports.find(|row| row.port == i32::from(port)) else {
        return Some(Verdict::no(
            "ServicePortError",
            format!("service/{name} in {namespace:?} is not listening on port {port}"),
        ));
    };
    if slices.is_empty() {
        return Some(Verdict::no(
            "EndpointsNotFound",
            format!("cannot find endpointslices for service/{name} in {namespace:?}"),
        ));
    }
    let port_name = &found.name;
    let is_active = |slice: &EndpointSlice| {
        let mut endpoints = slice.endpoints.iter();
        let mut ports = slice.ports.iter();
        endpoints.any(|endpoint| endpoint.conditions.ready != Some(false))
            && ports.any(|port| port.name.as_ref() == Some(port_name) && port.port.is_some())
    };
    (!slices.iter().any(is_active)).then(|| {
        Verdict::no(
            "MissingEndpoints",
            format!(
                "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
            ),
        )
    })
}

/// Asks for the list of resources that the server must have.
async fn ask(aggregator: &Aggregator, remote: &Remote) -> Result<(), String> {
    let mut asked: FuturesUnordered<_> = (0..ATTEMPTS)
        .map(|_| ask_once(aggregator, remote))
        .collect();
    let mut last = Ok(());
    while let Some(answer) = asked.next().await {
        last = answer;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn ask_once(aggregator: &Aggregator, remote: &Remote) -> Result<(), String> {
    let (host, port) = aggregator.resolve(remote)?;
    let authority = connect::authority(&host, port);
    let path = remote.discovery_path();
    let url = format!("https://{authority}{path}");
    let failed = |error: String| format!("failing or missing response from {url}: {error}");
    let mut request = Request::get(&path)
        .body(Body::empty())
        .map_err(|error| failed(error.to_string()))?;
    // Whatever the server's own rules are, this group may.
    let masters = ["system:masters".to_owned()];
    super::set_user_headers(
        request.headers_mut(),
        "system:kube-aggregator",
        "",
        &masters,
        [],
    )
    .map_err(|error| failed(error.to_string()))?;
    let answer = tokio::time::timeout(TIMEOUT, remote.link.send(&authority, request)).await;
    match answer {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(failed(format!(
            "bad status from {url}: {}",
            answer.status().as_u16()
        ))),
        Ok(Err(error)) => Err(failed(format!("Get {url:?}: {error}"))),
        Err(_) => Err(failed(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))),
    }
}

/// Whether the condition is there and true.
pub(super) fn is_available(service: &APIService) -> bool {
    let mut conditions = service.status.conditions.iter();
    conditions.any(|condition| condition.type_ == AVAILABLE && condition.status == "True")
}

/// The APIService with the condition, or None when it has it.
fn with_condition(service: &APIService, verdict: &Verdict, now: Time) -> Option<APIService> {
    let mut condition = APIServiceCondition {
        type_: AVAILABLE.to_owned(),
        status: verdict.status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
        last_transition_time: now,
    };
    let conditions = &service.status.conditions;
    let at = conditions.iter().position(|have| have.type_ == AVAILABLE);
    if let Some(old) = at.and_then(|at| conditions.get(at)) {
        if old.status == condition.status {
            condition.last_transition_time = old.last_transition_time;
        }
        if *old == condition {
            return None;
        }
    }
    let mut changed = service.clone();
    match at.and_then(|at| changed.status.conditions.get_mut(at)) {
        Some(old) => *old = condition,
        None => changed.status.conditions.push(condition),
    }
    Some(changed)
}

/// The APIService as one that is answered here, or None when it says so already.
pub(super) fn as_local(service: &APIService) -> Option<APIService> {
    let local = crate::apis::strategies::api_registration::local_is_available();
    let verdict = Verdict {
        status: "True",
        reason: "Local",
        message: local.message,
    };
    with_condition(service, &verdict, local.last_transition_time)
}

#[cfg(test)]
mod tests {
    use super::super::resolve::tests::{service, slice};
    use super::*;

    #[track_caller]
    fn check(slices: &[EndpointSlice], port: u16, want: Option<(&str, &str)>) {
        let verdict = judge_endpoints(&service("ClusterIP"), slices, "ns", port);
        let found = verdict
            .as_ref()
            .map(|verdict| (verdict.reason, verdict.message.as_str()));
        assert_eq!(found, want);
    }

    #[test]
    fn a_service_needs_its_port_and_ready_endpoints() {
        check(&[slice("10.1.0.1", None)], 443, None);
        check(
            &[],
            444,
            Some((
                "ServicePortError",
                "service/api in \"ns\" is not listening on port 444",
            )),
        );
        check(
            &[],
            443,
            Some((
                "EndpointsNotFound",
                "cannot find endpointslices for service/api in \"ns\"",
            )),
        );
        check(
            &[slice("10.1.0.1", Some(false))],
            443,
            Some((
                "MissingEndpoints",
                "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"",
            )),
        );
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_status() {
        let start = APIService::default();
        let earlier = Time::default();
        let no = |message: &str| Verdict::no("FailedDiscoveryCheck", message.to_owned());
        let first = with_condition(&start, &no("a"), earlier).unwrap();
        assert!(!is_available(&first));
        assert_eq!(with_condition(&first, &no("a"), Time::now()), None);
        let second = with_condition(&first, &no("b"), Time::now()).unwrap();
        let condition = &second.status.conditions[0];
        assert_eq!(condition.message, "b");
        assert_eq!(condition.last_transition_time, earlier);
        let local = as_local(&second).unwrap();
        assert!(is_available(&local));
        assert_eq!(local.status.conditions.len(), 1);
        assert_ne!(local.status.conditions[0].last_transition_time, earlier);
        assert_eq!(as_local(&local), None);
    }
}
