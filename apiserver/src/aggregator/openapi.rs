//! The OpenAPI documents of an aggregated server: the second form is merged into ours, the third is listed with its hash there
//! and asked for there. Upstream: kube-aggregator/pkg/controllers/openapi and openapiv3.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Aggregator, Backoff, Remote};
use crate::discovery::openapi::OpenApi;

const REFRESH: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// A server that has changed is given a moment.
const SETTLE: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(60);
const USER: &str = "system:aggregator";

/// What one server has added to our documents; taken away when this is dropped.
struct Published<'a> {
    openapi: &'a OpenApi,
    name: &'a str,
    linked: Option<String>,
}

impl Published<'_> {
    fn link(&mut self, document: String, hash: Option<&str>) {
        self.openapi.link(&document, hash);
        self.linked = hash.map(|_| document);
    }
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        self.openapi.remove_aggregated(self.name);
        if let Some(document) = &self.linked {
            self.openapi.link(document, None);
        }
    }
}

/// Keeps the documents up to date until the future is dropped, and takes them away then.
pub(super) async fn keep(
    aggregator: &Aggregator,
    openapi: &OpenApi,
    name: &str,
    changed: Arc<Notify>,
) {
    let mut published = Published {
        openapi,
        name,
        linked: None,
    };
    let mut backoff = Backoff::new(REFRESH, LONGEST_RETRY);
    let mut etag = None;
    loop {
        let mut outcome = Ok(());
        if let Some(remote) = aggregator.named(name) {
            outcome = third(aggregator, &remote, &mut published).await;
            let second = second(aggregator, &remote, openapi, &mut etag).await;
            outcome = outcome.and(second);
        }
        match outcome {
            Ok(()) => {
                backoff.reset();
                tokio::time::sleep(REFRESH).await;
            }
            Err(error) => {
                tracing::debug!(name, error, "No OpenAPI from an aggregated API server");
                let wait = backoff.failed();
                tokio::select! {
                    () = changed.notified() => tokio::time::sleep(SETTLE).await,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Lists the document of the third form. A server without one has nothing to list.
async fn third(
    aggregator: &Aggregator,
    remote: &Remote,
    published: &mut Published<'_>,
) -> Result<(), String> {
    let answer = aggregator
        .ask(
            remote,
            "/openapi/v3",
            (USER, &[]),
            "application/json",
            None,
            TIMEOUT,
        )
        .await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(()),
        _ => {
            return Err("Error, could not get list of group versions for APIService".to_owned());
        }
    }
    let index: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let document = remote.discovery_path()[1..].to_owned();
    let hash = hash_of(&index, &document);
    published.link(document, hash);
    Ok(())
}

fn hash_of<'a>(index: &'a Value, document: &str) -> Option<&'a str> {
    let url = index["paths"][document]["serverRelativeURL"].as_str()?;
    Some(url.split_once("?hash=")?.1)
}

/// Merges the document of the second form.
async fn second(
    aggregator: &Aggregator,
    remote: &Remote,
    openapi: &OpenApi,
    etag: &mut Option<HeaderValue>,
) -> Result<(), String> {
    let spec = &remote.service.spec;
    let known = etag.as_ref();
    let answer = aggregator
        .ask(
            remote,
            "/openapi/v2",
            (USER, &[]),
            "application/json",
            known,
            TIMEOUT,
        )
        .await?;
    match answer.status {
        StatusCode::NOT_MODIFIED => {}
        StatusCode::OK => {
            openapi.set_aggregated(remote.name(), &spec.group, &spec.version, &answer.body);
            *etag = answer.headers.get(header::ETAG).cloned();
        }
        StatusCode::NOT_FOUND => {
            openapi.remove_aggregated(remote.name());
            *etag = None;
        }
        other => {
            return Err(format!(
                "failed to retrieve openAPI spec, http error: {}",
                other.as_u16()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_in_the_index() {
        let index = serde_json::json!({"paths": {"apis/a.example/v1": {"serverRelativeURL": "/openapi/v3/apis/a.example/v1?hash=AB"}}});
        assert_eq!(hash_of(&index, "apis/a.example/v1"), Some("AB"));
        assert_eq!(hash_of(&index, "apis/a.example/v2"), None);
    }
}
