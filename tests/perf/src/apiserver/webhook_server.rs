//! An admission webhook that allows everything: HTTP over TLS on 127.0.0.1, on a thread of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls_pki_types::PrivateKeyDer;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::Result;

/// Ends when it is dropped.
pub(super) struct WebhookServer {
    port: u16,
    authority: String,
    calls: Calls,
    _stop: oneshot::Sender<()>,
}

/// How often each kind of webhook was called. The path names the kind.
type Calls = Arc<HashMap<&'static str, Arc<AtomicU64>>>;

impl WebhookServer {
    pub(super) fn start() -> Result<Self> {
        let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let calls: Calls = Arc::new(
            ["validating", "mutating"]
                .map(|kind| (kind, Arc::default()))
                .into(),
        );
        let (stop, stopped) = oneshot::channel();
        let server = Self {
            port: listener.local_addr()?.port(),
            authority: STANDARD.encode(pair.cert.pem()),
            calls: calls.clone(),
            _stop: stop,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, Arc::new(config).into(), calls) => {}
                    // An error when the other side is dropped, which is the end as well.
                    _ = stopped => {}
                }
            });
        });
        Ok(server)
    }

    pub(super) fn url(&self, kind: &str) -> String {
        format!("https://127.0.0.1:{}/{kind}", self.port)
    }

    /// A `caBundle`.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn calls(&self, kind: &str) -> u64 {
        self.calls
            .get(kind)
            .map_or(0, |calls| calls.load(Ordering::Relaxed))
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, calls: Calls) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, calls) = (tls.clone(), calls.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, calls.clone()));
            // A connection that breaks is the API server's to mend.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What is read of an AdmissionReview.
#[derive(Deserialize)]
struct Review {
    request: ReviewRequest,
}

#[derive(Deserialize)]
struct ReviewRequest {
    uid: String,
}

const PATCH: &str = r#"[{"op":"add","path":"/metadata/labels/mutated","value":"yes"}]"#;

async fn answer(
    request: Request<Incoming>,
    calls: Calls,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let kind = request.uri().path().trim_start_matches('/').to_owned();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(bad_request(&error)),
    };
    let review: Review = match serde_json::from_slice(&body) {
        Ok(review) => review,
        Err(error) => return Ok(bad_request(&error)),
    };
    let mut verdict = serde_json::json!({"uid": review.request.uid, "allowed": true});
    if kind == "mutating" {
        verdict["patchType"] = "JSONPatch".into();
        verdict["patch"] = STANDARD.encode(PATCH).into();
    }
    if let Some(calls) = calls.get(kind.as_str()) {
        calls.fetch_add(1, Ordering::Relaxed);
    }
    let answer = serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict
    });
    let mut response = Response::new(Full::from(answer.to_string()));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

fn bad_request(error: &dyn std::fmt::Display) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(error.to_string()));
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
}
