//! What an aggregated server has, for the document of all resources. Upstream: kube-aggregator/pkg/apiserver/handler_discovery.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::apidiscovery::v2::{APIGroupDiscoveryList, APIVersionDiscovery};
use api_types::meta::v1::APIResourceList;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Notify;

use super::{Aggregator, Answer, Asker, Backoff, Question, Remote};
use crate::discovery::registered::of_list;

const REFRESH: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const USER: &str = "system:kube-aggregator";

/// By group and version.
type Versions = HashMap<(String, String), APIVersionDiscovery>;

/// The last document that the server gave, and its tag.
struct Cached {
    etag: HeaderValue,
    versions: Versions,
}

/// Keeps what is known of one server up to date until the future is dropped. `first` is dropped once it has been asked.
pub(super) async fn keep(
    aggregator: &Aggregator,
    name: &str,
    changed: Arc<Notify>,
    first: impl Send,
    told: impl Fn(APIVersionDiscovery),
) {
    let mut backoff = Backoff::new(FIRST_RETRY, REFRESH);
    let mut cached = None;
    let mut first = Some(first);
    loop {
        let mut wait = REFRESH;
        if let Some(remote) = aggregator.named(name) {
            let version = &remote.service.spec.version;
            let found = match fetch(aggregator, &remote, &mut cached).await {
                Ok(found) => {
                    backoff.reset();
                    APIVersionDiscovery {
                        version: version.clone(),
                        freshness: "Current".to_owned(),
                        ..found
                    }
                }
                Err(error) => {
                    tracing::debug!(name, error, "No discovery from an aggregated API server");
                    wait = backoff.failed();
                    APIVersionDiscovery {
                        version: version.clone(),
                        freshness: "Stale".to_owned(),
                        ..APIVersionDiscovery::default()
                    }
                }
            };
            told(found);
        }
        drop(first.take());
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The group version as the server tells of it; empty when it does not.
async fn fetch(
    aggregator: &Aggregator,
    remote: &Remote,
    cached: &mut Option<Cached>,
) -> Result<APIVersionDiscovery, String> {
    let spec = &remote.service.spec;
    let key = (spec.group.clone(), spec.version.clone());
    let masters = ["system:masters".to_owned()];
    let etag = cached.as_ref().map(|cached| &cached.etag);
    let answer = aggregator
        .ask(
            remote,
            Question {
                asker: Asker {
                    groups: &masters,
                    ..Asker::named(USER)
                },
                accept: ACCEPT,
                etag,
                ..Question::json("/apis", USER, TIMEOUT)
            },
        )
        .await?;
    if answer.status == StatusCode::NOT_MODIFIED
        && let Some(cached) = cached
    {
        return Ok(cached.versions.get(&key).cloned().unwrap_or_default());
    }
    if answer.status == StatusCode::OK && is_aggregated(&answer.headers) {
        let versions = versions(&answer)?;
        let found = versions.get(&key).cloned().unwrap_or_default();
        *cached = answer.headers.get(header::ETAG).map(|etag| Cached {
            etag: etag.clone(),
            versions,
        });
        return Ok(found);
    }
    *cached = None;
    // A server that is older than this form of discovery.
    let path = remote.discovery_path();
    let answer = aggregator
        .ask(remote, Question::json(&path, USER, TIMEOUT))
        .await?;
    if answer.status != StatusCode::OK {
        return Err(format!(
            "failed to download legacy discovery for {path}: {}",
            String::from_utf8_lossy(&answer.body)
        ));
    }
    let list: APIResourceList =
        api_types::decode_json(&answer.body).map_err(|error| error.to_string())?;
    of_list(&spec.version, &list)
}

fn is_aggregated(headers: &HeaderMap) -> bool {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let has = |wanted: &[&str]| {
        text.split(';')
            .map(str::trim)
            .any(|part| wanted.contains(&part))
    };
    has(&["g=apidiscovery.k8s.io"])
        && has(&["as=APIGroupDiscoveryList"])
        && has(&["v=v2", "v=v2beta1"])
}

fn versions(answer: &Answer) -> Result<Versions, String> {
    // Both versions look the same.
    let list: APIGroupDiscoveryList =
        api_types::decode_json(&answer.body).map_err(|error| error.to_string())?;
    let mut versions = Versions::new();
    for group in list.items {
        for mut version in group.versions {
            for resource in &mut version.resources {
                // Some clients cannot do without.
                resource.response_kind.get_or_insert_default();
                for subresource in &mut resource.subresources {
                    subresource.response_kind.get_or_insert_default();
                }
            }
            let key = (group.metadata.name.clone(), version.version.clone());
            versions.insert(key, version);
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_both_versions_are_taken() {
        let is = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            is_aggregated(&headers)
        };
        assert!(is(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        ));
        assert!(is(
            "application/json; g=apidiscovery.k8s.io; v=v2beta1; as=APIGroupDiscoveryList"
        ));
        assert!(!is("application/json"));
        assert!(!is(
            "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList"
        ));
    }

    #[test]
    fn versions_are_found_by_group() {
        let body = br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2beta1","items":[{"metadata":{"name":"a.example"},
            "versions":[{"version":"v1","resources":[{"resource":"flunders","scope":"Namespaced","verbs":["get"]}]}]}]}"#;
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.as_slice().into(),
        };
        let versions = versions(&answer).unwrap();
        let found = &versions[&("a.example".to_owned(), "v1".to_owned())];
        assert_eq!(found.resources[0].resource, "flunders");
        assert!(found.resources[0].response_kind.is_some());
    }
}
