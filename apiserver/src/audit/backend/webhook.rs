//! Events that are posted to a server. Upstream: plugin/pkg/audit/webhook and pkg/util/webhook.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client::config::ClientConfig;
use client::rest::Client;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use rand::Rng as _;

use super::lost;
use crate::audit::event::Line;
use crate::audit::metrics::AuditMetrics;
use crate::egress::Dialer;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a batch is sent before it is lost.
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
const JITTER: f64 = 0.2;

/// The webhook backend.
pub struct Webhook {
    client: Client,
    path: Uri,
    initial_backoff: Duration,
}

impl Webhook {
    /// The server of a kubeconfig file.
    pub fn new(
        kubeconfig: &Path,
        initial_backoff: Duration,
        via: &Dialer,
    ) -> Result<Webhook, String> {
        let failed = |error: &dyn std::fmt::Display| format!("initializing audit webhook: {error}");
        let config = ClientConfig::from_kubeconfig(kubeconfig).map_err(|error| failed(&error))?;
        let url = url::Url::parse(&config.server).map_err(|error| failed(&error))?;
        // The path is that of the events, and not one that others come under.
        let path = match url.path().trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let path = format!("{path}?timeout={}s", TIMEOUT.as_secs());
        let path = path.parse().map_err(|error| failed(&error))?;
        let mut config = config
            .with_timeout(TIMEOUT)
            .with_qps(-1.0)
            .with_dial(via.of_client());
        config.server = url[..url::Position::BeforePath].to_owned();
        Ok(Webhook {
            client: Client::new(config).map_err(|error| failed(&error))?,
            path,
            initial_backoff,
        })
    }

    /// Sends events, again and again when it fails. False when they are lost.
    pub(super) async fn write(&self, lines: Vec<Line>, metrics: &AuditMetrics) -> bool {
        let body = list_of(&lines);
        let mut backoff = self.initial_backoff;
        let mut attempt = 1;
        loop {
            let Err(error) = self.post(body.clone()).await else {
                return true;
            };
            if attempt == ATTEMPTS {
                lost(metrics, "webhook", &error.to_string(), &lines);
                return false;
            }
            attempt += 1;
            let jitter = rand::rng().random_range(1.0..=1.0 + JITTER);
            tokio::time::sleep(backoff.mul_f64(jitter)).await;
            backoff = backoff.mul_f64(FACTOR);
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), client::Error> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
        self.client.raw_checked(request).await.map(|_| ())
    }
}

/// The events as one body.
fn list_of(lines: &[Line]) -> Bytes {
    const HEAD: &[u8] =
        br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let length: usize = lines.iter().map(|line| line.bytes().len()).sum();
    let mut body = Vec::with_capacity(HEAD.len() + length + 3);
    body.extend_from_slice(HEAD);
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        line.write_item(&mut body);
    }
    body.extend_from_slice(b"]}\n");
    body.into()
}
