//! The namespace a measurement works in: made before it, removed with all it holds after it.
//!
//! It has a fixed name, so that every server gets the same requests, and what an aborted run left is removed first.

use std::time::Duration;

use bytes::Bytes;
use client::Client;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Result;
use crate::connection::JSON;

const REMOVAL_LIMIT: Duration = Duration::from_secs(180);
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// Who removes what a namespace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// The namespace controller of a whole cluster.
    ByController,
    /// We do, since an API server alone is measured.
    ByUs,
}

/// A namespace that exists.
pub(crate) struct Namespace {
    client: Client,
    path: String,
    emptied: Emptied,
}

impl Namespace {
    /// Makes the namespace and the ServiceAccount that pods need in it.
    pub(crate) async fn create(client: &Client, name: &str, emptied: Emptied) -> Result<Self> {
        let namespace = Self {
            client: client.clone(),
            path: format!("/api/v1/namespaces/{name}"),
            emptied,
        };
        namespace.remove().await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        namespace
            .expect(Method::POST, "/api/v1/namespaces", &object, &[])
            .await?;
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let path = format!("{}/serviceaccounts", namespace.path);
        // A controller manager may have been first.
        namespace
            .expect(Method::POST, &path, &account, &[StatusCode::CONFLICT])
            .await?;
        Ok(namespace)
    }

    /// Removes the namespace and waits until it is gone.
    pub(crate) async fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + REMOVAL_LIMIT;
        // Conflict: it is being removed.
        let fine = [StatusCode::NOT_FOUND, StatusCode::CONFLICT];
        self.expect(Method::DELETE, &self.path, &Value::Null, &fine)
            .await?;
        if self.emptied == Emptied::ByUs {
            self.empty().await?;
        }
        while self.exists().await? {
            if Instant::now() > deadline {
                return Err(format!("{} is still there after {REMOVAL_LIMIT:?}", self.path).into());
            }
            tokio::time::sleep(POLL_PERIOD).await;
        }
        Ok(())
    }

    /// Removes the kinds of objects that measurements make, and says that the namespace is empty.
    async fn empty(&self) -> Result<()> {
        let at_once = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        let rbac = self
            .path
            .replacen("/api/v1", "/apis/rbac.authorization.k8s.io/v1", 1);
        let paths = [
            format!("{}/pods", self.path),
            format!("{}/configmaps", self.path),
            format!("{}/serviceaccounts", self.path),
            format!("{rbac}/rolebindings"),
            format!("{rbac}/roles"),
        ];
        for path in paths {
            self.expect(Method::DELETE, &path, &at_once, &[StatusCode::NOT_FOUND])
                .await?;
        }
        let (status, mut object) = self.call(Method::GET, &self.path, &Value::Null).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        object["spec"]["finalizers"] = json!([]);
        let path = format!("{}/finalize", self.path);
        self.expect(Method::PUT, &path, &object, &[StatusCode::NOT_FOUND])
            .await
    }

    async fn exists(&self) -> Result<bool> {
        let (status, _) = self.call(Method::GET, &self.path, &Value::Null).await?;
        Ok(status != StatusCode::NOT_FOUND)
    }

    /// Fails on any answer but 2xx and those listed.
    async fn expect(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        fine: &[StatusCode],
    ) -> Result<()> {
        let (status, answer) = self.call(method.clone(), path, body).await?;
        if status.is_success() || fine.contains(&status) {
            return Ok(());
        }
        Err(format!("{method} {path}: {status}: {}", answer["message"]).into())
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        call_json(&self.client, method, path, body).await
    }
}

/// Sends a request whatever the answer's code will be; an answer that is not JSON is given as null.
pub(crate) async fn call_json(
    client: &Client,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, Value)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::ACCEPT, JSON);
    let request = match body {
        Value::Null => request.body(Bytes::new())?,
        body => request
            .header(http::header::CONTENT_TYPE, JSON)
            .body(body.to_string().into())?,
    };
    let response = client.raw(request).await?;
    let value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    Ok((response.status(), value))
}
