//! The OpenAPI documents of an aggregated server: the second form is merged into ours, the third is listed with its
//! address there and asked for there. Upstream: kube-aggregator/pkg/controllers/openapi and openapiv3.

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
    /// Lists these documents of the third form, with the addresses they have there, and no others.
    fn link(&self, documents: &BTreeMap<String, String>) {
        let mut known = self.aggregator.documents.write();
        known.retain(|document, owner| {
            let stays = owner != self.name || documents.contains_key(document);
            if !stays {
                self.openapi.link(document, None);
            }
            stays
        });
        for (document, url) in documents {
            if self.openapi.link(document, Some(url)) {
                known.insert(document.clone(), self.name.to_owned());
            }
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
    // A server may have the one form and not the other.
    let (second_changed, third_changed) = (Notify::new(), Notify::new());
    let tell = async {
        loop {
            changed.notified().await;
            second_changed.notify_one();
            third_changed.notify_one();
        }
    };
    tokio::join!(
        tell,
        keep_second(&published, &second_changed),
        keep_third(&published, &third_changed),
    );
}

fn log_failure(name: &str, error: &str) {
    tracing::debug!(name, error, "No OpenAPI from an aggregated API server");
}

/// The second form is asked for whenever the APIService changes. A failure leaves the document that is known.
async fn keep_second(published: &Published<'_>, changed: &Notify) {
    let mut backoff = Backoff::new(REFRESH, LONGEST_RETRY);
    let mut etag = None;
    let mut failing_before_change = false;
    loop {
        let outcome = match published.aggregator.named(published.name) {
            Some(remote) => second(published, &remote, &mut etag).await,
            None => Ok(()),
        };
        let wait = match &outcome {
            Ok(()) => {
                backoff.reset();
                REFRESH
            }
            Err(error) => {
                log_failure(published.name, error);
                if failing_before_change {
                    backoff.reset();
                    SETTLE
                } else {
                    backoff.failed()
                }
            }
        };
        failing_before_change = tokio::select! {
            () = changed.notified() => outcome.is_err(),
            () = tokio::time::sleep(wait) => false,
        };
    }
}

/// The list of the third form is asked for when the APIService changes only if that failed before.
async fn keep_third(published: &Published<'_>, changed: &Notify) {
    let mut backoff = Backoff::new(REFRESH, LONGEST_RETRY);
    loop {
        let outcome = match published.aggregator.named(published.name) {
            Some(remote) => third(published, &remote).await,
            None => Ok(()),
        };
        match outcome {
            Ok(()) => {
                backoff.reset();
                tokio::time::sleep(REFRESH).await;
            }
            Err(error) => {
                log_failure(published.name, &error);
                let wait = backoff.failed();
                tokio::select! {
                    () = changed.notified() => {
                        backoff.reset();
                        tokio::time::sleep(SETTLE).await;
                    }
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Lists the documents of the third form. A server without one has nothing to list.
async fn third(published: &Published<'_>, remote: &Remote) -> Result<(), String> {
    let answer = published
        .aggregator
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
    published.link(&addresses(&index));
    Ok(())
}

/// The documents of an index with their addresses, which have a hash or not.
fn addresses(index: &Value) -> BTreeMap<String, String> {
    let paths = index["paths"].as_object().into_iter().flatten();
    paths
        .map(|(name, entry)| {
            let url = entry["serverRelativeURL"].as_str().unwrap_or_default();
            (name.clone(), url.to_owned())
        })
        .collect()
}

/// Merges the document of the second form.
async fn second(
    published: &Published<'_>,
    remote: &Remote,
    etag: &mut Option<HeaderValue>,
) -> Result<(), String> {
    let spec = &remote.service.spec;
    let known = etag.as_ref();
    let answer = published
        .aggregator
        .ask(
            remote,
            Question {
                etag: known,
                ..Question::json("/openapi/v2", USER, TIMEOUT)
            },
        )
        .await?;
    match answer.status {
        StatusCode::NOT_MODIFIED if etag.is_none() => {
            return Err("http.StatusNotModified is not allowed in absence of etag".to_owned());
        }
        StatusCode::NOT_MODIFIED => {}
        StatusCode::OK => {
            let name = remote.name();
            published
                .openapi
                .set_aggregated(name, &spec.group, &spec.version, &answer.body)
                .map_err(|error| format!("failed to download {name}: {error}"))?;
            *etag = answer.headers.get(header::ETAG).cloned();
        }
        StatusCode::NOT_FOUND => {
            return Err(format!(
                "failed to download {}: resource not found",
                remote.name()
            ));
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
    fn documents_have_the_addresses_of_the_index() {
        let index = serde_json::json!({"paths": {
            "apis/a.example/v1": {"serverRelativeURL": "/openapi/v3/apis/a.example/v1?hash=AB"},
            "apis/b.example/v1": {"serverRelativeURL": "/openapi/v3/apis/b.example/v1"},
        }});
        let found = addresses(&index);
        let want = [
            ("apis/a.example/v1", "/openapi/v3/apis/a.example/v1?hash=AB"),
            ("apis/b.example/v1", "/openapi/v3/apis/b.example/v1"),
        ];
        let want = want.map(|(name, url)| (name.to_owned(), url.to_owned()));
        assert_eq!(found, BTreeMap::from(want));
    }
}
