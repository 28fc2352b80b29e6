//! A line per request at `-v=3`. Upstream: apiserver/pkg/server/httplog.

use std::net::SocketAddr;

use component_base::logs;
use component_base::serving::Response;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use crate::request::context::RequestContext;
use crate::request_metrics;

/// Audit IDs of clients are cut here.
const MAX_AUDIT_ID: usize = 64;

/// What is logged of a request when its answer is complete, or nobody waits for it any more.
pub(super) struct Line {
    verb: &'static str,
    uri: String,
    user_agent: String,
    audit_id: String,
    remote: SocketAddr,
    received: Instant,
    /// None until there is an answer.
    code: Option<StatusCode>,
}

impl Line {
    /// None when nobody wants to know.
    pub(super) fn new(cx: &RequestContext, audit_id: &HeaderValue) -> Option<Line> {
        if !logs::v(3) {
            return None;
        }
        let path = cx.uri.path_and_query();
        let mut audit_id = audit_id.to_str().unwrap_or_default().to_owned();
        if let Some((cut, _)) = audit_id.char_indices().nth(MAX_AUDIT_ID) {
            audit_id.truncate(cut);
        }
        Some(Line {
            verb: request_metrics::normalized_verb(cx),
            uri: path.map_or("/", |path| path.as_str()).to_owned(),
            user_agent: cx.user_agent().to_owned(),
            audit_id,
            remote: cx.connection.remote_addr,
            received: cx.received,
            code: None,
        })
    }

    /// Logs the answer when it is complete.
    pub(super) fn answer(mut self, response: Response) -> Response {
        self.code = Some(response.status());
        if http_body::Body::size_hint(response.body())
            .exact()
            .is_some()
        {
            return response;
        }
        response.map(|body| body.holding(self))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = i64::try_from(self.received.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let latency = apimachinery::duration::format(took);
        // Upstream says so of connections that are no longer its own.
        let hijacked = self.code == Some(StatusCode::SWITCHING_PROTOCOLS);
        if hijacked {
            tracing::debug!(
                v = 3, verb = self.verb, URI = self.uri, latency, userAgent = self.user_agent, "audit-ID" = self.audit_id,
                srcIP = %self.remote, hijacked, "HTTP"
            );
        } else {
            tracing::debug!(
                v = 3, verb = self.verb, URI = self.uri, latency, userAgent = self.user_agent, "audit-ID" = self.audit_id,
                srcIP = %self.remote, resp = self.code.map_or(0, |code| code.as_u16()), "HTTP"
            );
        }
    }
}
