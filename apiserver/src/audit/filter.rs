//! The place of audit among what a request goes through. Upstream: apiserver/pkg/endpoints/filters/audit.go and authn_audit.go.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use component_base::auth::filter::sanitize;
use component_base::serving::{self, Body, Response};
use futures::FutureExt as _;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};

use super::Audit;
use super::backend::Sent;
use super::policy::Level;
use super::record::{Life, Record};
use crate::request::context::RequestContext;

impl Audit {
    /// Handles a request whose sender is known, and notes it if the policy wants it.
    pub async fn around<F>(
        self: &Arc<Self>,
        mut cx: Box<RequestContext>,
        long_running: bool,
        handle: impl FnOnce(Box<RequestContext>) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let verdict = self.evaluate(&cx.info, Some(&cx.user));
        if verdict.level == Level::None {
            return handle(cx).await;
        }
        let life = if long_running {
            Life::LongRunning
        } else {
            Life::Short
        };
        let user = Some(&cx.user);
        let record = Arc::new(Record::new(self.clone(), &cx, user, verdict, life));
        if !record.begin().await {
            self.metrics().rejected.inc();
            let uri = cx.uri.path_and_query().map_or("", |uri| uri.as_str());
            let text = format!("Internal Server Error: {uri:?}: failed to store audit event");
            record.give_up();
            return serving::error_response(StatusCode::INTERNAL_SERVER_ERROR, &sanitize(&text));
        }
        cx.audit = Some(record.clone());
        match AssertUnwindSafe(handle(cx)).catch_unwind().await {
            Ok(response) => answered(record, response).await,
            Err(panic) => {
                wait(record.panicked(panic_text(&*panic))).await;
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Notes a request that is refused before anybody knows who sent it. `refuse` makes the answer.
    pub async fn refused(
        self: &Arc<Self>,
        cx: &mut RequestContext,
        refuse: impl FnOnce(&RequestContext) -> Response,
    ) -> Response {
        let verdict = self.evaluate(&cx.info, None);
        if verdict.level == Level::None {
            return refuse(cx);
        }
        let record = Record::new(self.clone(), cx, None, verdict, Life::Refused);
        let record = Arc::new(record);
        cx.audit = Some(record.clone());
        let response = refuse(cx);
        wait(record.started(response.status())).await;
        response
    }
}

/// Waits until an event is kept, where the backend makes requests wait.
async fn wait(sent: Sent) {
    if let Sent::Pending(kept) = sent {
        kept.await;
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

async fn answered(record: Arc<Record>, response: Response) -> Response {
    wait(record.started(response.status())).await;
    // Who relays the connection holds on to the record.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if response.body().bytes().is_some() || response.body().is_end_stream() {
        wait(record.complete()).await;
        return response;
    }
    response.map(|body| Body::boxed(NotedBody { body, record }))
}

/// A body whose end is an event.
struct NotedBody {
    body: Body,
    record: Arc<Record>,
}

impl http_body::Body for NotedBody {
    type Data = Bytes;
    type Error = component_base::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, component_base::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.record.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for NotedBody {
    fn drop(&mut self) {
        self.record.end();
    }
}
