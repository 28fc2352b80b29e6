//! The OpenAPI documents of an aggregated server: the second form is merged into ours, the third is listed with its hash there
//! and asked for there. Upstream: kube-aggregator/pkg/controllers/openapi and openapiv3.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Aggregator, Backoff, Question, Remote};
use crate::discovery::openapi::OpenApi;

const REFRESH: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// A server that has changed is given a moment.
const SETTLE: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(60);
const USER: &str = "system:aggregator";

/// What one server has added to our documents; taken away when this is dropped.
struct Published<'a> {
    aggregator: &'a Aggregator,
    openapi: &'a OpenApi,
    name: &'a str,
}

impl Published<'_> {
    /// Lists these documents of the third form and no others.
    fn link(&self, documents: &BTreeMap<String, String>) {
        let mut known = self.aggregator.documents.write();
        known.retain(|document, owner| {
            let stays = owner != self.name || documents.contains_key(document);
            if !stays {
                self.openapi.link(document, None);
            }
            stays
        });
        for (document, hash) in documents {
            self.openapi.link(document, Some(hash));
            known.insert(document.clone(), self.name.to_owned());
        }
    }
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        self.openapi.remove_aggregated(self.name);
        self.link(&BTreeMap::new());
    }
}

/// Keeps the documents up to date until the future is dropped, and takes them away then.
pub(super) async fn keep(
    aggregator: &Aggregator,
    openapi: &OpenApi,
    name: &str,
    changed: Arc<Notify>,
) {
    let published = Published {
        aggregator,
        openapi,
        name,
    };
    let mut backoff = Backoff::new(REFRESH, LONGEST_RETRY);
    let mut etag = None;
    loop {
        let mut outcome = Ok(());
        if let Some(remote) = aggregator.named(name) {
            outcome = third(aggregator, &remote, &published).await;
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

/// Lists the documents of the third form. A server without one has nothing to list.
async fn third(
    aggregator: &Aggregator,
    remote: &Remote,
    published: &Published<'_>,
) -> Result<(), String> {
    let answer = aggregator
        .ask(remote, Question::json("/openapi/v3", USER, TIMEOUT))
        .await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(()),
        _ => {
            return Err("Error, could not get list of group versions for APIService".to_owned());
        }
    }
    let index: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    published.link(&hashes(&index));
    Ok(())
}

/// The documents of an index with their hashes.
fn hashes(index: &Value) -> BTreeMap<String, String> {
    let paths = index["paths"].as_object().into_iter().flatten();
    paths
        .filter_map(|(name, entry)| {
            let url = entry["serverRelativeURL"].as_str()?;
            let (_, hash) = url.split_once("?hash=")?;
            Some((name.clone(), hash.to_owned()))
        })
        .collect()
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
            Question {
                etag: known,
                ..Question::json("/openapi/v2", USER, TIMEOUT)
            },
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
        let index = serde_json::json!({"paths": {
            "apis/a.example/v1": {"serverRelativeURL": "/openapi/v3/apis/a.example/v1?hash=AB"},
            "version": {"serverRelativeURL": "/openapi/v3/version"},
        }});
        let found = hashes(&index);
        assert_eq!(found.len(), 1);
        assert_eq!(found["apis/a.example/v1"], "AB");
    }
}
