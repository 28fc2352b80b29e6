//! WATCH: events as they come, each encoded once and shared by the watchers that want the same form.
//! Upstream: endpoints/handlers/watch.go.
//!
//! Framing: JSON events follow one another, each with a newline; protobuf events are preceded by their length in four
//! bytes, big-endian. The event itself is a bare WatchEvent message, the object in it has its envelope.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api_types::CustomObject;
use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::meta::v1::Status;
use apimachinery::fields::Selector;
use apimachinery::status::StatusError;
use bytes::Bytes;
use component_base::serving::{Body, Response};
use futures::Stream;
use http::{HeaderValue, header};
use http_body::Frame;
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::encode::{self, Form, RowFormat};
use super::list;
use super::respond;
use super::select;
use super::websocket;
use crate::apis::validation::apps::TEMPLATE_GENERATION;
use crate::connect::Upgrade;
use crate::flowcontrol::WatchPlace;
use crate::negotiation::{self, Encoding, MediaType, Transform};
use crate::registry::errors::{Operation, interpret};
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::registry::wire;
use crate::request::context::RequestContext;
use crate::request_metrics::{Measurement, Route};
use crate::server::ApiServer;
use crate::server::draining::Draining;
use crate::storage::{self, EncodingKey, EventType, ObjectEvent, WatchEvent};

/// See [`EventEncoder::batch`], in bytes.
const BATCH: usize = 64 * 1024;

/// GET of a collection with `watch`, or the deprecated /watch/ path.
pub async fn watch(
    cx: &RequestContext,
    resource: &Arc<Resource>,
    min_request_timeout: Duration,
    server: &ApiServer,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let options = list::options_of(cx, resource, true)?;
    let mut timeout = Duration::from_secs(
        options
            .timeout_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(0),
    );
    if timeout.is_zero() && !min_request_timeout.is_zero() {
        timeout = min_request_timeout.mul_f64(rand::rng().random_range(1.0..2.0));
    }
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    // Both are negotiated, and both may refuse: the stream's media type and the objects' shape.
    respond::negotiate_objects(cx, resource)?;
    let media =
        negotiation::negotiate_stream(&cx.headers, &cx.query, respond::restrictions(resource))
            .map_err(respond::not_acceptable)?;
    let mut encoder = EventEncoder::new(cx, resource, media)?;
    encoder.filter = ConvertedFilter::new(&options.converted_fields);
    let client = websocket::wanted(cx, upgrade);
    if client.is_some() {
        encoder.batch = 0;
    }
    let scope = list::scope_of(cx, resource, &options)?;
    server.request_metrics.long_running(cx);
    let storage_options = storage::WatchOptions {
        resource_version: options.resource_version.clone(),
        send_initial_events: options.send_initial_events,
        allow_bookmarks: options.allow_watch_bookmarks,
        deadline,
    };
    let watcher = resource
        .storage()?
        .watch(&scope, &storage_options, select::predicate(&options))
        .await
        .map_err(|error| interpret(error, Operation::Watch, &resource.group_resource(), ""))?;

    let stop = Stop::of(server, resource);
    let events = Events {
        watcher: watcher.until(stop.wait(deadline)),
        starting: true,
        place: cx.place.watch(),
    };
    let body = Body::boxed(WatchBody {
        events,
        encoder,
        over: false,
        route: cx.measured.get().map(|measured| measured.route().clone()),
        measured: cx.measured.get().cloned(),
    });
    if let Some(client) = client {
        return websocket::watch(cx, client, body, media.encoding != Encoding::Protobuf);
    }
    let mut response = Response::new(body);
    let content_type = media
        .encoding
        .stream_media_type()
        .unwrap_or("application/json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// The events of a watch. It gives its seats back once the initial ones have been taken.
struct Events {
    watcher: storage::Watcher,
    starting: bool,
    /// Counts the watch until it ends.
    place: Option<Arc<WatchPlace>>,
}

impl Events {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let polled = Pin::new(&mut self.watcher).poll_next(cx);
        if self.starting && self.watcher.has_started() {
            self.starting = false;
            if let Some(place) = &self.place {
                place.started();
            }
        }
        polled
    }
}

/// When a watch ends that could go on.
struct Stop {
    /// A custom resource's watches end with its definition as it is now, too.
    told: CancellationToken,
    server: CancellationToken,
    /// Watches that end with the server do not all end at once.
    grace: Duration,
    _waited_for: Option<TaskTrackerToken>,
}

impl Stop {
    fn of(server: &ApiServer, resource: &Resource) -> Stop {
        let all = &server.shutdown_watches;
        Stop {
            told: match &resource.custom {
                Some(custom) => custom.stop.clone(),
                None => all.clone(),
            },
            server: all.clone(),
            grace: server.draining.watch_grace,
            _waited_for: server.draining.enter_watch(),
        }
    }

    /// Resolves when time is up, or the server stops. Many events come before that.
    async fn wait(self, deadline: Option<Instant>) {
        let told = async {
            self.told.cancelled().await;
            if self.server.is_cancelled() && !self.grace.is_zero() {
                tokio::time::sleep(Draining::watch_delay(self.grace)).await;
            }
        };
        match deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline, told).await;
            }
            None => told.await,
        }
    }
}

/// The answer to a watch. Events are taken and encoded when the connection can send them, so a client that does not read holds
/// none; when the client is gone the body is dropped.
struct WatchBody {
    events: Events,
    encoder: EventEncoder,
    over: bool,
    measured: Option<Arc<Measurement>>,
    /// Where events are counted: all watches of a route have it in common.
    route: Option<Arc<Route>>,
}

impl WatchBody {
    /// Makes an event ready to be sent.
    fn framed(&mut self, event: WatchEvent) -> Result<Bytes, StatusError> {
        self.over = matches!(event, WatchEvent::Error(_));
        let listed = matches!(
            event,
            WatchEvent::Bookmark {
                initial_events_end: true,
                ..
            }
        );
        let frame = self.encoder.frame(event)?;
        if let Some(route) = &self.route
            && !frame.is_empty()
        {
            route.event(frame.len());
        }
        if listed && let Some(measured) = &self.measured {
            measured.listed();
        }
        Ok(frame)
    }
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = component_base::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let mut batch = Batch::default();
        // What else is ready goes out with the first event.
        while !this.over && !batch.is_full(this.encoder.batch) {
            match this.events.poll(cx) {
                Poll::Ready(Some(event)) => match this.framed(event) {
                    Ok(frame) => batch.push(frame),
                    Err(_) => this.over = true,
                },
                Poll::Ready(None) => this.over = true,
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((!batch.is_empty()).then(|| Ok(Frame::data(batch.into_bytes()))))
    }
}

/// Frames that are sent together. The first is not copied while it is alone, since other watches send it too.
#[derive(Default)]
struct Batch {
    first: Bytes,
    all: Vec<u8>,
}

impl Batch {
    fn push(&mut self, frame: Bytes) {
        if self.is_empty() {
            self.first = frame;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&frame);
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn is_full(&self, limit: usize) -> bool {
        !self.is_empty() && self.first.len().max(self.all.len()) >= limit
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() {
            self.first
        } else {
            self.all.into()
        }
    }
}

/// Selects by fields of objects that a webhook converts, which the watch cache does not know. It remembers which objects the watch
/// was told of; a change of one that it has not seen yet counts as of one that the client knows.
struct ConvertedFilter {
    fields: Selector,
    /// Whether an object was selected when it was last seen, by namespace and name.
    seen: HashMap<(String, String), bool>,
}

impl ConvertedFilter {
    /// None when there is nothing to select by.
    fn new(fields: &Selector) -> Option<ConvertedFilter> {
        (!fields.is_empty()).then(|| ConvertedFilter {
            fields: fields.clone(),
            seen: HashMap::new(),
        })
    }

    /// What an event is for this watch, if anything.
    fn kind(
        &mut self,
        resource: &Resource,
        event: &ObjectEvent,
        object: &Object,
    ) -> Option<&'static str> {
        let custom = resource.custom.as_ref()?;
        let matches = custom
            .version()
            .matches(&self.fields, object.get::<CustomObject>()?);
        let entry = event.entry();
        let key = (entry.namespace().to_owned(), entry.name().to_owned());
        if event.event_type() == EventType::Deleted {
            let selected = self.seen.remove(&key).unwrap_or(matches);
            return selected.then_some("DELETED");
        }
        let before = self.seen.insert(key, matches);
        let created = event.event_type() == EventType::Added;
        match (matches, before) {
            (true, Some(true)) => Some("MODIFIED"),
            (true, None) if !created => Some("MODIFIED"),
            (true, _) => Some("ADDED"),
            (false, Some(true)) => Some("DELETED"),
            (false, None) if !created => Some("DELETED"),
            (false, _) => None,
        }
    }
}

/// Makes frames out of events for one watch.
struct EventEncoder {
    resource: Arc<Resource>,
    media: MediaType,
    form: Form,
    rows: Option<Box<RowFormat>>,
    /// Tables carry their columns with the first event only.
    headers: bool,
    key: EncodingKey,
    /// Selection that storage cannot do.
    filter: Option<ConvertedFilter>,
    /// Events that are ready are sent together up to this size; 0 sends each alone.
    batch: usize,
}

impl EventEncoder {
    fn new(
        cx: &RequestContext,
        resource: &Arc<Resource>,
        media: MediaType,
    ) -> Result<EventEncoder, StatusError> {
        let form = respond::served_form(resource);
        let rows = match media.convert {
            Some(convert) if convert.transform == Transform::Table => Some(Box::new(
                respond::row_format(cx, resource, form, convert.api_version())?,
            )),
            _ => None,
        };
        let mut hasher = DefaultHasher::new();
        (media.encoding, media.convert, resource.api_version).hash(&mut hasher);
        Ok(EventEncoder {
            resource: resource.clone(),
            media,
            form,
            rows,
            headers: !cx.query.bool("noHeaders"),
            key: EncodingKey(hasher.finish()),
            filter: None,
            batch: BATCH,
        })
    }

    fn frame(&mut self, event: WatchEvent) -> Result<Bytes, StatusError> {
        match event {
            WatchEvent::Object(event) if self.filter.is_some() => self.filtered(&event),
            // Rows hold ages and, once, the columns: no two watchers share them.
            WatchEvent::Object(event) if self.rows.is_some() => {
                let object = self.object(&event)?;
                self.headers = false;
                Ok(self.framed(event.event_type().as_str(), &object))
            }
            WatchEvent::Object(event) => event.encoded(self.key, |event| {
                let object = self.object(event)?;
                Ok(self.framed(event.event_type().as_str(), &object))
            }),
            WatchEvent::Bookmark {
                resource_version,
                initial_events_end,
            } => {
                let object = self.bookmark(resource_version, initial_events_end)?;
                Ok(self.framed("BOOKMARK", &object))
            }
            WatchEvent::Error(error) => {
                let status: Status =
                    interpret(error, Operation::Watch, &self.resource.group_resource(), "").into();
                let media = MediaType {
                    convert: None,
                    pretty: false,
                    ..self.media
                };
                Ok(self.framed("ERROR", trimmed(&encode::value(media, &status))))
            }
        }
    }

    /// An event as it is for a watch that selects by what a webhook makes of objects; empty when it is none of its business.
    fn filtered(&mut self, event: &ObjectEvent) -> Result<Bytes, StatusError> {
        let entry = event.entry();
        let object = self
            .resource
            .decode_stored(&entry.value(), event.resource_version())?;
        let Some(filter) = &mut self.filter else {
            return Ok(Bytes::new());
        };
        let Some(kind) = filter.kind(&self.resource, event, &object) else {
            return Ok(Bytes::new());
        };
        let raw = self.resource.raw_of(&object);
        let shaped = if self.rows.is_some() {
            let table = self.table(&raw, &object)?;
            self.headers = false;
            table
        } else {
            self.shaped(&raw)?
        };
        Ok(self.framed(kind, &shaped))
    }

    /// The event's object in the watch's encoding.
    fn object(&self, event: &ObjectEvent) -> Result<Vec<u8>, StatusError> {
        let value = event.entry().value();
        let served = self.resource.served(&value, event.resource_version())?;
        let mut buffer = Vec::new();
        let raw = served.contiguous(&mut buffer);
        if self.rows.is_some() {
            let hub = self
                .resource
                .decode_stored(&value, event.resource_version())?;
            return self.table(raw, &hub);
        }
        self.shaped(raw)
    }

    fn table(&self, raw: &[u8], hub: &Object) -> Result<Vec<u8>, StatusError> {
        let Some(rows) = &self.rows else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        rows.head(
            &encode::list_metadata(&hub.metadata().resource_version, "", None),
            self.headers,
            &mut out,
        );
        rows.row(raw, hub.value(), hub.metadata(), &mut out)?;
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    fn shaped(&self, raw: &[u8]) -> Result<Vec<u8>, StatusError> {
        let (form, partial);
        let raw = match self.media.convert {
            None => {
                form = self.form;
                raw
            }
            Some(convert) => {
                form = encode::partial_form(convert.api_version());
                partial = encode::partial_metadata(self.form, raw);
                &partial
            }
        };
        if self.media.encoding == Encoding::Protobuf {
            return encode::message(self.media, form, raw);
        }
        let mut out = Vec::with_capacity(raw.len() * 2);
        encode::json(form, raw, &mut out)?;
        Ok(out)
    }

    /// An empty object of the watched kind with only a resourceVersion.
    fn bookmark(
        &self,
        resource_version: u64,
        initial_events_end: bool,
    ) -> Result<Vec<u8>, StatusError> {
        let mut object = self.resource.new_served();
        object.edit_metadata(|metadata| {
            metadata.resource_version = resource_version.to_string();
            if initial_events_end {
                metadata
                    .annotations
                    .insert("k8s.io/initial-events-end".to_owned(), "true".to_owned());
            }
        });
        fill_empty(&mut object);
        let raw = self.resource.raw_of(&object);
        if self.rows.is_some() {
            let mut hub = self.resource.new_hub();
            let metadata = object.metadata().clone();
            hub.edit_metadata(|slot| *slot = metadata);
            return self.table(&raw, &hub);
        }
        self.shaped(&raw)
    }

    fn framed(&self, kind: &str, object: &[u8]) -> Bytes {
        if self.media.encoding != Encoding::Protobuf {
            let mut out = Vec::with_capacity(object.len() + 32);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            out.extend_from_slice(object);
            out.extend_from_slice(b"}\n");
            return out.into();
        }
        let mut extension = Vec::with_capacity(object.len() + 6);
        wire::put_bytes(&mut extension, 1, object);
        let mut event = Vec::with_capacity(extension.len() + 20);
        wire::put_bytes(&mut event, 1, kind.as_bytes());
        wire::put_bytes(&mut event, 2, &extension);
        let mut out = Vec::with_capacity(event.len() + 4);
        out.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&event);
        out.into()
    }
}

/// Upstream's empty objects are of its internal types. The version that is sent has pointers and annotations where those
/// have plain fields, and so a value where they have none.
fn fill_empty(object: &mut Object) {
    if let Some(deployment) = object.get_mut::<Deployment>() {
        deployment.spec.replicas = Some(0);
    } else if let Some(replica_set) = object.get_mut::<ReplicaSet>() {
        replica_set.spec.replicas = Some(0);
    } else if let Some(stateful_set) = object.get_mut::<StatefulSet>() {
        stateful_set.spec.replicas = Some(0);
    } else if object.get::<DaemonSet>().is_some() {
        object.edit_metadata(|metadata| {
            let name = TEMPLATE_GENERATION.to_owned();
            metadata.annotations.insert(name, "0".to_owned());
        });
    }
}

/// Without the newline that a whole response ends with.
fn trimmed(json: &[u8]) -> &[u8] {
    json.strip_suffix(b"\n").unwrap_or(json)
}
