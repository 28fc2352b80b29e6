//! Traces of requests. Upstream: apiserver/pkg/endpoints/filters/traces.go over otelhttp, and component-base/tracing.
//!
//! Every request whose caller is known may have one span, from when it came until its answer is sent. Whether it has one is said by the
//! W3C trace context that the caller sends, where the caller is of the server's own kind; of others the trace is new, as often as the
//! sampling rate says, and linked to theirs. What a request does on its way has spans below it ([`trace`]).

pub mod configuration;
mod lines;
mod otlp;
pub mod trace;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use component_base::serving::{Body, Response};
use http::{HeaderMap, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::egress::Dialer;
use crate::hooks::identity;
use crate::request::RequestInfo;
use crate::request::context::RequestContext;
use configuration::{Collector, TracingConfiguration};
use otlp::{Attribute, Event, Link, Span, Status};
use trace::{Fields, Kind, Trace, Value};

/// Callers whose trace context counts.
const TRUSTED: [&str; 2] = ["system:masters", "system:monitoring"];
const KIND_INTERNAL: i32 = 1;
const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;
const STATUS_ERROR: i32 = 2;
/// Flags of a span whose parent is of another process, or not.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// Makes spans, or none.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Sampler>);

#[derive(Clone, Debug)]
struct Sampler {
    rate: i32,
    spans: mpsc::Sender<Span>,
}

/// The context of a span in another process (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl Traces {
    /// As `--tracing-config-file` says.
    pub fn new(config: &Config, via: &Dialer, stop: &CancellationToken) -> Result<Traces, String> {
        let Some(file) = config.flags.non_empty("tracing-config-file") else {
            return Ok(Traces::default());
        };
        let TracingConfiguration {
            endpoint,
            sampling_rate_per_million,
        } = configuration::read(Path::new(file))?;
        let collector = Collector::of(endpoint.as_deref(), via)?;
        Ok(Traces(Some(Sampler {
            rate: sampling_rate_per_million.unwrap_or_default(),
            spans: otlp::start(collector, &identity::id(config), stop.clone()),
        })))
    }

    /// The span of a request whose caller is known.
    pub fn start(&self, cx: &RequestContext, version: Version) -> OpenSpan {
        OpenSpan(self.0.as_ref().and_then(|sampler| {
            let parent = Parent::of(&cx.headers);
            let groups = &cx.user.groups;
            let trusted = groups.iter().any(|group| TRUSTED.contains(&&**group));
            let (authentication, span) = sampler.samples(parent, trusted);
            let since = cx.received.elapsed();
            let start = nanoseconds(SystemTime::now().checked_sub(since));
            let authentication = authentication.map(|span| Span {
                name: "authentication".to_owned(),
                kind: KIND_INTERNAL,
                start,
                ..span
            });
            let span = span.map(|span| Span {
                name: name(cx.method.as_str(), &cx.info),
                kind: KIND_SERVER,
                start,
                attributes: attributes(cx, version),
                ..span
            });
            let sampled = span.as_ref().or(authentication.as_ref())?;
            let trace_id = span.is_some().then(|| sampled.trace_id.first_chunk());
            Some(Recording {
                trace: Trace::new(&cx.audit_id, version, trace_id.flatten().copied()),
                authentication,
                span,
                spans: sampler.spans.clone(),
            })
        }))
    }
}

impl Sampler {
    /// The span of authentication, which begins before it is known whose context counts, and the span of the request. It is below the
    /// other one where no context comes with it, and the caller is one who could send one.
    fn samples(&self, parent: Option<Parent>, trusted: bool) -> (Option<Span>, Option<Span>) {
        let authentication = self.sample(None, false);
        let span = match parent {
            None if trusted => authentication.as_ref().map(|of| Span {
                trace_id: of.trace_id.clone(),
                parent_span_id: of.span_id.clone(),
                span_id: rand::random::<[u8; 8]>().to_vec(),
                flags: of.flags,
                ..Span::default()
            }),
            parent => self.sample(parent, trusted),
        };
        (authentication, span)
    }

    /// A span with its place in a trace, or none. Upstream: ParentBased over TraceIDRatioBased.
    fn sample(&self, parent: Option<Parent>, trusted: bool) -> Option<Span> {
        let mut span = Span {
            span_id: rand::random::<[u8; 8]>().to_vec(),
            flags: SAMPLED | HAS_IS_REMOTE,
            ..Span::default()
        };
        if let Some(parent) = &parent
            && trusted
        {
            if !parent.sampled {
                return None;
            }
            span.trace_id = parent.trace_id.to_vec();
            span.parent_span_id = parent.span_id.to_vec();
            span.flags |= IS_REMOTE;
            return Some(span);
        }
        let trace_id: [u8; 16] = rand::random();
        if !sampled(trace_id, self.rate) {
            return None;
        }
        span.trace_id = trace_id.to_vec();
        span.links = parent
            .into_iter()
            .map(|parent| Link {
                trace_id: parent.trace_id.to_vec(),
                span_id: parent.span_id.to_vec(),
                flags: u32::from(parent.sampled) | HAS_IS_REMOTE | IS_REMOTE,
            })
            .collect();
        Some(span)
    }
}

/// Whether a new trace is one of so many in a million. All of a cluster's servers say the same of one trace.
fn sampled(trace_id: [u8; 16], rate: i32) -> bool {
    const MILLION: u128 = 1_000_000;
    let [_, half] = [0, 8].map(|at| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&trace_id[at..at + 8]);
        u64::from_be_bytes(bytes) >> 1
    });
    u128::from(half) * MILLION < u128::try_from(rate).unwrap_or(0) << 63
}

impl Parent {
    fn of(headers: &HeaderMap) -> Option<Parent> {
        Parent::parse(headers.get("traceparent")?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Parent> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str| -> Option<Vec<u8>> {
            let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if !text.as_bytes().iter().all(lower) || text.len() % 2 != 0 {
                return None;
            }
            let pairs = text.as_bytes().chunks(2);
            pairs
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect()
        };
        let version = hex(version).filter(|version| version.len() == 1)?;
        if version == [0xff] || (version == [0] && parts.next().is_some()) {
            return None;
        }
        let [flags] = hex(flags)?.try_into().ok()?;
        let parent = Parent {
            trace_id: hex(trace)?.try_into().ok()?,
            span_id: hex(span)?.try_into().ok()?,
            sampled: flags & 1 == 1,
        };
        (parent.trace_id != [0; 16] && parent.span_id != [0; 8]).then_some(parent)
    }
}

/// The span of a request that goes on. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct OpenSpan(Option<Recording>);

#[derive(Debug)]
struct Recording {
    authentication: Option<Span>,
    span: Option<Span>,
    /// What the request does.
    trace: Option<Arc<Trace>>,
    spans: mpsc::Sender<Span>,
}

impl OpenSpan {
    /// Where it is noted what the request does, if anybody wants to know.
    pub fn trace(&self, cx: &RequestContext, version: Version) -> Option<Arc<Trace>> {
        match &self.0 {
            Some(recording) => recording.trace.clone(),
            None => Trace::new(&cx.audit_id, version, None),
        }
    }

    /// Ends the span when the answer is sent.
    pub fn answer(self, response: Response) -> Response {
        let Some(mut recording) = self.0 else {
            return response;
        };
        let code = response.status().as_u16();
        if let Some(span) = &mut recording.span {
            span.attributes.push(Attribute::number(
                "http.response.status_code",
                i64::from(code),
            ));
            if code >= 500 {
                span.status = Some(Status { code: STATUS_ERROR });
            }
        }
        // What is there as a whole is as good as sent, and says how long it is.
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            Body::wrap(body.map_frame(move |frame| {
                let _until_the_end = &recording;
                frame
            }))
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let end = nanoseconds(Some(SystemTime::now()));
        let span = self.span.take().map(|span| Span { end, ..span });
        let authentication = self.authentication.take();
        let authentication = authentication.map(|span| Span { end, ..span });
        let inner = match (&self.trace, &span) {
            (Some(trace), Some(span)) => inner_spans(trace, span),
            _ => Vec::new(),
        };
        // One that finds no place is lost.
        for span in inner.into_iter().chain(span).chain(authentication) {
            let _ = self.spans.try_send(span);
        }
    }
}

/// What a request did, as spans below its own.
fn inner_spans(trace: &Trace, of: &Span) -> Vec<Span> {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let time = |at: Instant| nanoseconds(clock.checked_sub(now.saturating_duration_since(at)));
    let attributes = |fields: &Fields| {
        let attribute = |(key, value): &(&'static str, Value)| match value {
            Value::Text(text) => Attribute::text(key, text.as_str()),
            Value::Number(number) => Attribute::number(key, *number),
        };
        fields.0.iter().map(attribute).collect::<Vec<_>>()
    };
    trace.with_items(|items| {
        let id = |at: Option<usize>| {
            let span = at.and_then(|at| items.get(at)?.span.as_ref());
            span.map_or_else(|| of.span_id.clone(), |span| span.id.to_vec())
        };
        let spans = items.iter().enumerate().filter_map(|(at, item)| {
            let span = item.span.as_ref()?;
            let steps = items
                .iter()
                .filter(|step| step.parent == Some(at) && step.span.is_none());
            Some(Span {
                trace_id: of.trace_id.clone(),
                span_id: span.id.to_vec(),
                parent_span_id: id(item.parent),
                name: item.name.to_owned(),
                kind: match span.kind {
                    Kind::Work | Kind::Filter => KIND_INTERNAL,
                    Kind::Call => KIND_CLIENT,
                },
                start: time(item.at),
                end: span.end.map_or(of.end, time),
                attributes: attributes(&item.fields),
                events: steps
                    .map(|step| Event {
                        time: time(step.at),
                        name: step.name.to_owned(),
                        attributes: attributes(&step.fields),
                    })
                    .collect(),
                flags: SAMPLED | HAS_IS_REMOTE,
                ..Span::default()
            })
        });
        spans.collect()
    })
}

fn nanoseconds(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The method and the path, without what is of one object only.
fn name(method: &str, info: &RequestInfo) -> String {
    if !info.is_resource_request {
        return method.to_owned();
    }
    let mut name = format!("{method} /{}", info.api_prefix);
    for part in [&info.api_group, &info.api_version] {
        // A version is always there.
        if !part.is_empty() {
            name.push('/');
            name.push_str(part);
        }
    }
    if !info.namespace.is_empty() {
        name.push_str("/namespaces/{:namespace}");
    }
    name.push('/');
    name.push_str(&info.resource);
    if !info.name.is_empty() {
        name.push_str("/{:name}");
    }
    if !info.subresource.is_empty() {
        name.push('/');
        name.push_str(&info.subresource);
    }
    name
}

/// Who has sent a request, as proxies on its way say.
fn client_address(cx: &RequestContext) -> String {
    let forwarded = cx.header("x-forwarded-for");
    match forwarded.split(',').next().unwrap_or_default().trim() {
        "" => cx.connection.remote_addr.ip().to_string(),
        client => client.to_owned(),
    }
}

/// OpenTelemetry's semantic conventions of HTTP servers, and two of Kubernetes' own.
fn attributes(cx: &RequestContext, version: Version) -> Vec<Attribute> {
    let header = |name: header::HeaderName| {
        let value = cx.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let host = match header(header::HOST) {
        "" => cx
            .uri
            .authority()
            .map_or("", |authority| authority.as_str()),
        host => host,
    };
    let (host, port) = host_and_port(host);
    let peer: SocketAddr = cx.connection.remote_addr;
    let mut attributes = vec![
        Attribute::text("server.address", host),
        Attribute::text("http.request.method", cx.method.as_str()),
        Attribute::text(
            "url.scheme",
            if cx.connection.tls { "https" } else { "http" },
        ),
    ];
    if let Some(port) = port.filter(|port| *port != if cx.connection.tls { 443 } else { 80 }) {
        attributes.push(Attribute::number("server.port", i64::from(port)));
    }
    attributes.push(Attribute::text(
        "network.peer.address",
        peer.ip().to_string(),
    ));
    attributes.push(Attribute::number(
        "network.peer.port",
        i64::from(peer.port()),
    ));
    let agent = header(header::USER_AGENT);
    if !agent.is_empty() {
        attributes.push(Attribute::text("user_agent.original", agent));
    }
    attributes.push(Attribute::text("client.address", client_address(cx)));
    attributes.push(Attribute::text("url.path", cx.info.path.as_str()));
    let version = match version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    attributes.push(Attribute::text("network.protocol.version", version));
    let target = cx.uri.path_and_query();
    attributes.push(Attribute::text(
        "http.target",
        target.map_or("/", |target| target.as_str()),
    ));
    attributes.push(Attribute::text("audit-id", cx.audit_id.as_str()));
    attributes
}

fn host_and_port(text: &str) -> (&str, Option<u16>) {
    let with_port = text.rsplit_once(':').and_then(|(host, port)| {
        let whole = !host.contains(':') || host.ends_with(']');
        Some((host, port.parse().ok()?)).filter(|_| whole)
    });
    let (host, port) = with_port.map_or((text, None), |(host, port)| (host, Some(port)));
    (host.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn sampler(rate: i32) -> Sampler {
        Sampler {
            rate,
            spans: mpsc::channel(1).0,
        }
    }

    #[test]
    fn contexts_of_callers() {
        let parent = Parent::parse(CONTEXT).expect("a context");
        assert!(parent.sampled);
        assert_eq!(
            parent.span_id,
            [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
        );
        assert!(
            !Parent::parse(&CONTEXT.replace("-01", "-00"))
                .expect("a context")
                .sampled
        );
        // Later versions may have more to say.
        assert_eq!(
            Parent::parse(&format!("01{}-x", &CONTEXT[2..])),
            Some(parent)
        );
        for wrong in [
            "",
            "00-1-2-3",
            &format!("{CONTEXT}-x"),
            &CONTEXT.replace("00-4", "ff-4"),
            &CONTEXT.replace("4bf", "4BF"),
            &CONTEXT.replace("00f067aa0ba902b7", "0000000000000000"),
        ] {
            assert_eq!(Parent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_has_a_span() {
        let parent = || Parent::parse(CONTEXT);
        let unsampled = || Parent::parse(&CONTEXT.replace("-01", "-00"));
        let (never, always) = (sampler(0), sampler(1_000_000));
        let span = never.sample(parent(), true).expect("a span");
        assert_eq!(span.trace_id[0], 0x4b);
        assert_eq!(span.parent_span_id[1], 0xf0);
        assert_eq!(always.sample(unsampled(), true), None);
        assert_eq!(never.sample(parent(), false), None);
        assert_eq!(never.sample(None, true), None);
        let span = always.sample(unsampled(), false).expect("a span");
        assert!(span.parent_span_id.is_empty());
        assert_ne!(span.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(span.links[0].trace_id[0], 0x4b);
        // A trace that begins here begins with authentication, if the caller counts.
        let (first, span) = always.samples(None, true);
        let (first, span) = (first.expect("a span"), span.expect("a span"));
        assert_eq!(
            (&span.trace_id, &span.parent_span_id),
            (&first.trace_id, &first.span_id)
        );
        let (first, span) = always.samples(None, false);
        assert_ne!(
            first.expect("a span").trace_id,
            span.expect("a span").trace_id
        );
        let (first, span) = never.samples(parent(), true);
        assert_eq!((first, span.expect("a span").trace_id[0]), (None, 0x4b));
        assert_eq!(never.samples(None, true), (None, None));
    }

    #[test]
    fn a_part_of_all_traces() {
        let of = |rate| {
            let ids = (0..20_000_u64).map(|number| {
                // Spread evenly over all ids.
                let mut id = [7; 16];
                let half = number * (u64::MAX / 20_000);
                id[8..].copy_from_slice(&half.to_be_bytes());
                id
            });
            ids.filter(|id| sampled(*id, rate)).count()
        };
        assert_eq!(of(0), 0);
        assert_eq!(of(-1), 0);
        assert_eq!(of(1_000_000), 20_000);
        assert!((1_999..=2_001).contains(&of(100_000)));
    }

    #[test]
    fn names() {
        let mut info = RequestInfo {
            is_resource_request: true,
            api_prefix: "apis".to_owned(),
            api_group: "apps".to_owned(),
            api_version: "v1".to_owned(),
            namespace: "n".to_owned(),
            resource: "deployments".to_owned(),
            name: "d".to_owned(),
            subresource: "scale".to_owned(),
            ..RequestInfo::default()
        };
        let long = "GET /apis/apps/v1/namespaces/{:namespace}/deployments/{:name}/scale";
        assert_eq!(name("GET", &info), long);
        info = RequestInfo {
            is_resource_request: true,
            api_prefix: "api".to_owned(),
            api_version: "v1".to_owned(),
            resource: "nodes".to_owned(),
            ..RequestInfo::default()
        };
        assert_eq!(name("GET", &info), "GET /api/v1/nodes");
        assert_eq!(name("GET", &RequestInfo::default()), "GET");
        assert_eq!(host_and_port("[::1]:443"), ("::1", Some(443)));
        assert_eq!(host_and_port("a"), ("a", None));
    }
}
