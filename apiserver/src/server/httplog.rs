//! A line per request at `-v=3`. Upstream: apiserver/pkg/server/httplog.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use component_base::logs;
use component_base::serving::Response;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::request::context::RequestContext;
use crate::request_metrics::{self, Filter};

/// Audit IDs of clients are cut here.
const MAX_AUDIT_ID: usize = 64;
/// Names of objects too.
const MAX_NAME: usize = 64;
/// What filters take is told from here on.
const SLOW_FILTER: Duration = Duration::from_millis(100);

/// What is logged of a request when its answer is complete, or nobody waits for it any more.
pub(super) struct Line {
    verb: &'static str,
    uri: String,
    user_agent: String,
    audit_id: String,
    remote: SocketAddr,
    received: Instant,
    details: Arc<Details>,
    /// None until there is an answer.
    code: Option<StatusCode>,
}

/// What filters add to the line.
#[derive(Debug, Default)]
pub struct Details(Mutex<Pairs>);

#[derive(Debug, Default)]
struct Pairs {
    /// By filter.
    slow: [Option<String>; 5],
    flow: Option<Flow>,
    init_latency: Option<String>,
    listed: Option<String>,
    execution_time: Option<String>,
}

/// What flow control has made of a request.
#[derive(Debug)]
pub struct Flow {
    pub level: String,
    pub schema: String,
    pub initial_seats: u32,
    pub final_seats: u32,
    pub additional_latency: Duration,
}

impl Details {
    /// A filter has ended.
    pub fn filtered(&self, filter: Filter, took: Duration) {
        if took > SLOW_FILTER
            && let Some(slow) = self.0.lock().slow.get_mut(filter as usize)
        {
            *slow = Some(text(took));
        }
    }

    pub fn classified(&self, flow: Flow) {
        self.0.lock().flow = Some(flow);
    }

    /// A watch has started.
    pub fn initialized(&self, took: Duration) {
        let mut pairs = self.0.lock();
        pairs.init_latency = Some(text(took));
        pairs.execution_time = Some(text(took));
    }

    /// The initial events of a watch are out.
    pub fn listed(&self, took: Duration) {
        self.0.lock().listed = Some(text(took));
    }

    /// A request has had its turn.
    pub fn executed(&self, took: Duration) {
        self.0.lock().execution_time = Some(text(took));
    }
}

impl Line {
    /// None when nobody wants to know.
    pub(super) fn new(cx: &mut RequestContext, audit_id: &HeaderValue) -> Option<Line> {
        if !logs::v_in(3, file!()) {
            return None;
        }
        let path = cx.uri.path_and_query();
        let mut audit_id = audit_id.to_str().unwrap_or_default().to_owned();
        if let Some((cut, _)) = audit_id.char_indices().nth(MAX_AUDIT_ID) {
            audit_id.truncate(cut);
        }
        let details = Arc::<Details>::default();
        cx.line = Some(details.clone());
        Some(Line {
            verb: request_metrics::normalized_verb(cx),
            uri: path.map_or("/", |path| path.as_str()).to_owned(),
            user_agent: cx.user_agent().to_owned(),
            audit_id,
            remote: cx.connection.remote_addr,
            received: cx.received,
            details,
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
        let latency = text(self.received.elapsed());
        // Upstream says so of connections that are no longer its own.
        let hijacked = self.code == Some(StatusCode::SWITCHING_PROTOCOLS);
        let resp = self.code.map_or(0, |code| code.as_u16());
        let Pairs {
            slow:
                [
                    fl_authentication,
                    fl_audit,
                    fl_impersonation,
                    fl_flow,
                    fl_authorization,
                ],
            flow,
            init_latency: apf_init_latency,
            listed: watchlist_init_latency,
            execution_time: apf_execution_time,
        } = std::mem::take(&mut *self.details.0.lock());
        let flow = flow.as_ref();
        tracing::debug!(
            v = 3,
            verb = self.verb,
            URI = self.uri,
            latency,
            userAgent = self.user_agent,
            "audit-ID" = self.audit_id,
            srcIP = %self.remote,
            fl_authentication,
            fl_audit,
            fl_impersonation,
            apf_pl = flow.map(|flow| short(&flow.level)),
            apf_fs = flow.map(|flow| short(&flow.schema)),
            apf_iseats = flow.map(|flow| flow.initial_seats),
            apf_fseats = flow.map(|flow| flow.final_seats),
            apf_additionalLatency = flow.map(|flow| text(flow.additional_latency)),
            fl_priorityandfairness = fl_flow,
            fl_authorization,
            apf_init_latency,
            apf_execution_time,
            watchlist_init_latency,
            hijacked = hijacked.then_some(true),
            resp = (!hijacked).then_some(resp),
            "HTTP"
        );
    }
}

fn text(took: Duration) -> String {
    apimachinery::duration::format(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX))
}

/// Upstream: truncateLogField.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}
