//! Spans on their way to a collector: OTLP over gRPC, in batches. Upstream: go.opentelemetry.io/otel's otlptracegrpc and its batch span
//! processor; messages are of opentelemetry-proto.

use std::time::Duration;

use component_base::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use super::configuration::Collector;
use crate::grpc;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";
/// The batch span processor's defaults.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
const PERIOD: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<Event>,
    #[prost(message, repeated, tag = "13")]
    pub(super) links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    pub(super) flags: u32,
}

/// Something that happened during a span.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    #[prost(fixed64, tag = "1")]
    pub(super) time: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Link {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(fixed32, tag = "6")]
    pub(super) flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Status {
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    pub(super) value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl Attribute {
    fn new(key: &str, value: Value) -> Attribute {
        Attribute {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        }
    }

    pub(super) fn text(key: &str, value: impl Into<String>) -> Attribute {
        Attribute::new(key, Value::Text(value.into()))
    }

    pub(super) fn number(key: &str, value: i64) -> Attribute {
        Attribute::new(key, Value::Number(value))
    }
}

/// Starts to send. Spans that come while the queue is full are lost, as upstream's.
pub(super) fn start(
    collector: Collector,
    server: &str,
    stop: CancellationToken,
) -> mpsc::Sender<Span> {
    let (sender, spans) = mpsc::channel(QUEUE);
    let exporter = Exporter {
        channel: channel(collector),
        resource: Resource {
            attributes: vec![
                Attribute::text("service.name", "apiserver"),
                Attribute::text("service.instance.id", server),
            ],
        },
    };
    tokio::spawn(exporter.run(spans, stop));
    sender
}

/// A connection that is made when it is needed, without encryption.
fn channel(collector: Collector) -> Channel {
    let endpoint = Endpoint::from_static("http://localhost");
    match collector {
        Collector::Unix(socket) => {
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { grpc::dial(&socket).await }
            }))
        }
        Collector::Tcp { via, host, port } => {
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let (via, host) = (via.clone(), host.clone());
                async move {
                    let stream = via.dial(&host, port).await.map_err(|error| {
                        std::io::Error::other(error.text(&format!("{host}:{port}")))
                    })?;
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
                }
            }))
        }
    }
}

struct Exporter {
    channel: Channel,
    resource: Resource,
}

impl Exporter {
    async fn run(self, mut spans: mpsc::Receiver<Span>, stop: CancellationToken) {
        let mut batch = Vec::new();
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    while let Ok(span) = spans.try_recv() {
                        batch.push(span);
                    }
                    self.export(std::mem::take(&mut batch)).await;
                    return;
                }
                received = spans.recv() => match received {
                    None => return,
                    Some(span) => {
                        batch.push(span);
                        if batch.len() < BATCH {
                            continue;
                        }
                    }
                },
                _ = period.tick() => {}
            }
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let scope_spans = ScopeSpans {
            scope: Some(Scope {
                name: SCOPE.to_owned(),
            }),
            spans,
        };
        let request = ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![scope_spans],
            }],
        };
        let sent = grpc::unary::<_, ExportResponse>(self.channel.clone(), EXPORT, request);
        let outcome: Result<_, Error> = match tokio::time::timeout(TIMEOUT, sent).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err("context deadline exceeded".into()),
        };
        if let Err(error) = outcome {
            tracing::error!("traces export: {error}");
        }
    }
}
