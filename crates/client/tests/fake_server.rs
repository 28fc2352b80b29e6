//! An API server in memory: objects of any kind, lists with pages, watches with bookmarks and initial events, and faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api_types::codec::Header;
use api_types::{Struct, encode_envelope_as, kinds};
use bytes::Bytes;
use client::rest::{
    BoxError, RequestBody, ResponseBody, Transport, TransportError, TransportErrorKind,
    UpgradeOutcome,
};
use client::{Client, ClientConfig};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// What goes wrong with one request, before the server does anything.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An answer with this code, optionally with Retry-After seconds.
    Code(u16, Option<u64>),
    /// The connection breaks.
    Broken,
    /// Nobody listens.
    Refused,
    /// The answer never comes.
    Hang,
}

/// How a watch misbehaves, rolled per event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chaos {
    /// Of 100 events, how many end the watch cleanly, in the middle of a frame, or with 410.
    pub close: u32,
    pub cut: u32,
    pub expire: u32,
    /// Of 100 events, how many are sent twice or come late.
    pub duplicate: u32,
    pub delay: u32,
    /// Of 100 requests, how many are answered 429 or 500, or break.
    pub refuse: u32,
}

type Key = (String, String, String);

pub(crate) struct State {
    version: u64,
    /// Collection path without namespace ("/api/v1/configmaps"), namespace, name.
    objects: BTreeMap<Key, Value>,
    log: Vec<(u64, &'static str, Key, Value)>,
    /// Changes up to this version are forgotten.
    compacted: u64,
    faults: VecDeque<Fault>,
    chaos: Chaos,
    random: StdRng,
    seen: Vec<String>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct FakeServer {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) changed: Arc<watch::Sender<u64>>,
    /// Whether initial events are supported.
    pub watch_list: bool,
    /// Whether protobuf is answered where asked for.
    pub protobuf: bool,
}

impl FakeServer {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            version: 100,
            objects: BTreeMap::new(),
            log: Vec::new(),
            compacted: 100,
            faults: VecDeque::new(),
            chaos: Chaos::default(),
            random: StdRng::seed_from_u64(seed),
            seen: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::Sender::new(100)),
            watch_list: true,
            protobuf: true,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::with_transport(
            ClientConfig::plain("http://fake")
                .unwrap()
                .with_qps(-1.0)
                .with_user_agent("test/1"),
            Arc::new(self.clone()),
        )
        .unwrap()
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state.lock().faults.push_back(fault);
    }

    pub(crate) fn chaos(&self, chaos: Chaos) {
        self.state.lock().chaos = chaos;
    }

    /// Method and path with query of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().seen.clone()
    }

    /// Forgets all changes so far: older watches get 410.
    pub(crate) fn compact(&self) {
        let mut state = self.state.lock();
        state.compacted = state.version;
        state.log.clear();
        drop(state);
        self.changed.send_replace(0);
    }

    pub(crate) fn version(&self) -> u64 {
        self.state.lock().version
    }

    /// Creates or replaces an object behind the API's back.
    pub(crate) fn put(
        &self,
        collection: &str,
        namespace: &str,
        name: &str,
        mut object: Value,
    ) -> u64 {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let old = state.objects.insert(key.clone(), object.clone());
        state.log.push((
            version,
            if old.is_some() { "MODIFIED" } else { "ADDED" },
            key,
            object,
        ));
        drop(state);
        self.changed.send_replace(version);
        version
    }

    pub(crate) fn remove(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut state = self.state.lock();
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key)?;
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.log.push((version, "DELETED", key, object.clone()));
        drop(state);
        self.changed.send_replace(version);
        Some(object)
    }

    /// namespace/name to resourceVersion of a collection.
    pub(crate) fn snapshot(&self, collection: &str) -> BTreeMap<String, String> {
        let state = self.state.lock();
        let versions = state
            .objects
            .iter()
            .filter(|((path, ..), _)| path == collection);
        versions
            .map(|((_, namespace, name), object)| {
                (
                    format!("{namespace}/{name}"),
                    object["metadata"]["resourceVersion"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                )
            })
            .collect()
    }

    pub(crate) fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state
            .lock()
            .objects
            .get(&(collection.to_owned(), namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let line = format!("{} {}", parts.method, parts.uri.path_and_query().unwrap());
        let fault = {
            let mut state = self.state.lock();
            state.seen.push(line);
            let roll = state.random.random_range(0..100);
            let fault = state.faults.pop_front();
            match fault {
                Some(fault) => Some(fault),
                None if roll < state.chaos.refuse => Some(match roll % 3 {
                    0 => Fault::Code(429, Some(1)),
                    1 => Fault::Code(500, None),
                    _ => Fault::Broken,
                }),
                None => None,
            }
        };
        match fault {
            None => {}
            Some(Fault::Code(code, retry_after)) => {
                let mut response = Response::builder()
                    .status(code)
                    .header("content-type", "text/plain");
                if let Some(seconds) = retry_after {
                    response = response.header("retry-after", seconds.to_string());
                }
                return Ok(response.body(full(format!("fault {code}"))).unwrap());
            }
            Some(Fault::Broken) => {
                return Err(TransportError::new(
                    TransportErrorKind::Broken,
                    "connection reset by peer",
                ));
            }
            Some(Fault::Refused) => {
                return Err(TransportError::new(
                    TransportErrorKind::Connect,
                    std::io::Error::from(std::io::ErrorKind::ConnectionRefused),
                ));
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
        let accept = parts
            .headers
            .get("accept")
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let format = Format {
            protobuf: self.protobuf && accept.starts_with("application/vnd.kubernetes.protobuf"),
            metadata: accept.contains("as=PartialObjectMetadata"),
        };
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let Some((collection, namespace, name)) = parse_path(parts.uri.path()) else {
            return Ok(status(StatusCode::NOT_FOUND, "NotFound", "no such path"));
        };
        let key = (collection.clone(), namespace.clone(), name.clone());
        Ok(match (parts.method, name.is_empty()) {
            (Method::GET, true) if query.get("watch").is_some_and(|value| value == "true") => {
                self.watch(collection, namespace, &query, format)
            }
            (Method::GET, true) => self.list(&collection, &namespace, &query, format),
            (Method::GET, false) => match self.state.lock().objects.get(&key) {
                Some(object) => format.object(StatusCode::OK, object),
                None => not_found(&name),
            },
            (Method::POST, _) => {
                let object = read_body(&parts.headers, &body);
                let name = object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if self.get(&collection, &namespace, &name).is_some() {
                    return Ok(status(
                        StatusCode::CONFLICT,
                        "AlreadyExists",
                        &format!("{name} already exists"),
                    ));
                }
                self.put(&collection, &namespace, &name, object);
                format.object(
                    StatusCode::CREATED,
                    &self.get(&collection, &namespace, &name).unwrap(),
                )
            }
            (Method::PUT, false) => {
                let object = read_body(&parts.headers, &body);
                let Some(old) = self.get(&collection, &namespace, &name) else {
                    return Ok(not_found(&name));
                };
                let sent = object["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default();
                if !sent.is_empty() && old["metadata"]["resourceVersion"] != sent {
                    return Ok(status(
                        StatusCode::CONFLICT,
                        "Conflict",
                        "the object has been modified",
                    ));
                }
                self.put(&collection, &namespace, &name, object);
                format.object(
                    StatusCode::OK,
                    &self.get(&collection, &namespace, &name).unwrap(),
                )
            }
            (Method::PATCH, false) => {
                let Some(mut object) = self.get(&collection, &namespace, &name) else {
                    return Ok(not_found(&name));
                };
                merge(&mut object, serde_json::from_slice(&body).unwrap());
                self.put(&collection, &namespace, &name, object);
                format.object(
                    StatusCode::OK,
                    &self.get(&collection, &namespace, &name).unwrap(),
                )
            }
            (Method::DELETE, false) => match self.remove(&collection, &namespace, &name) {
                Some(_) => status(StatusCode::OK, "", ""),
                None => not_found(&name),
            },
            (method, _) => status(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                method.as_str(),
            ),
        })
    }

    fn list(
        &self,
        collection: &str,
        namespace: &str,
        query: &BTreeMap<String, String>,
        format: Format,
    ) -> Response<ResponseBody> {
        let state = self.state.lock();
        let limit: usize = query
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        let start: usize = query
            .get("continue")
            .and_then(|token| token.split(':').next()?.parse().ok())
            .unwrap_or(0);
        let at: u64 = query
            .get("continue")
            .and_then(|token| token.split(':').nth(1)?.parse().ok())
            .unwrap_or(state.version);
        if at < state.compacted && query.contains_key("continue") {
            return status(
                StatusCode::GONE,
                "Expired",
                "The provided continue parameter is too old",
            );
        }
        let wanted: u64 = query
            .get("resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        if wanted > state.version {
            return too_large();
        }
        let matching: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((path, ns, _), _)| {
                path == collection && (namespace.is_empty() || ns == namespace)
            })
            .map(|(_, object)| object)
            .collect();
        let page: Vec<Value> = matching
            .iter()
            .skip(start)
            .take(limit)
            .map(|object| format.view(object))
            .collect();
        let mut metadata = json!({ "resourceVersion": at.to_string() });
        if start + page.len() < matching.len() {
            metadata["continue"] = json!(format!("{}:{at}", start + page.len()));
        }
        let (api_version, kind) = if format.metadata {
            (
                "meta.k8s.io/v1".to_owned(),
                "PartialObjectMetadataList".to_owned(),
            )
        } else {
            let (api_version, kind) = kind_of_collection(collection);
            (api_version, format!("{kind}List"))
        };
        format.object_as_is(StatusCode::OK, &json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "items": page }))
    }

    fn watch(
        &self,
        collection: String,
        namespace: String,
        query: &BTreeMap<String, String>,
        format: Format,
    ) -> Response<ResponseBody> {
        let initial = query
            .get("sendInitialEvents")
            .is_some_and(|value| value == "true");
        if initial && !self.watch_list {
            return status(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid",
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            );
        }
        let mut from: u64 = query
            .get("resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let timeout = Duration::from_secs(
            query
                .get("timeoutSeconds")
                .and_then(|seconds| seconds.parse().ok())
                .unwrap_or(300),
        );
        let (sender, receiver) = mpsc::channel::<Result<Bytes, BoxError>>(4);
        let server = self.clone();
        let mut changed = self.changed.subscribe();
        {
            let state = self.state.lock();
            if from > state.version {
                return too_large();
            }
        }
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + timeout;
            let in_scope =
                |key: &Key| key.0 == collection && (namespace.is_empty() || key.1 == namespace);
            let bookmark = |version: u64, end: bool| {
                let (api_version, kind) = kind_of_collection(&collection);
                let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "resourceVersion": version.to_string() } });
                if end {
                    object["metadata"]["annotations"] =
                        json!({ "k8s.io/initial-events-end": "true" });
                }
                object
            };
            if initial {
                let (objects, version) = {
                    let state = server.state.lock();
                    (
                        state
                            .objects
                            .iter()
                            .filter(|(key, _)| in_scope(key))
                            .map(|(_, object)| object.clone())
                            .collect::<Vec<_>>(),
                        state.version,
                    )
                };
                for object in objects {
                    if !server.emit(&sender, format, "ADDED", &object).await {
                        return;
                    }
                }
                if !server
                    .emit(&sender, format, "BOOKMARK", &bookmark(version, true))
                    .await
                {
                    return;
                }
                from = version;
            } else if from == 0 {
                from = server.version();
            }
            loop {
                let batch: Option<Vec<(u64, &'static str, Value)>> = {
                    let state = server.state.lock();
                    (from >= state.compacted).then(|| {
                        state
                            .log
                            .iter()
                            .filter(|(version, _, key, _)| *version > from && in_scope(key))
                            .map(|(version, kind, _, object)| (*version, *kind, object.clone()))
                            .collect()
                    })
                };
                let Some(batch) = batch else {
                    let gone = status_object(410, "Expired", "too old resource version");
                    let _ = sender.send(Ok(format.event("ERROR", &gone))).await;
                    return;
                };
                for (version, kind, object) in &batch {
                    if !server.emit(&sender, format, kind, object).await {
                        return;
                    }
                    from = *version;
                }
                if batch.is_empty() {
                    tokio::select! {
                        _ = changed.changed() => {}
                        () = tokio::time::sleep_until(deadline) => return,
                        () = sender.closed() => return,
                        () = tokio::time::sleep(Duration::from_secs(60)) => {
                            let version = server.version();
                            if server.state.lock().log.iter().all(|(at, _, key, _)| *at <= from || !in_scope(key)) {
                                if !server.emit(&sender, format, "BOOKMARK", &bookmark(version, false)).await {
                                    return;
                                }
                                from = version;
                            }
                        }
                    }
                }
            }
        });
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver
                .recv()
                .await
                .map(|item| (item.map(http_body::Frame::data), receiver))
        });
        let content_type = if format.protobuf {
            "application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            "application/json"
        };
        Response::builder()
            .header("content-type", content_type)
            .body(StreamBody::new(stream).boxed_unsync())
            .unwrap()
    }

    /// Sends one event, or what chaos makes of it. `false`: the watch is over.
    async fn emit(
        &self,
        sender: &mpsc::Sender<Result<Bytes, BoxError>>,
        format: Format,
        kind: &str,
        object: &Value,
    ) -> bool {
        let (roll, chaos) = {
            let mut state = self.state.lock();
            (state.random.random_range(0..100u32), state.chaos)
        };
        let frame = format.event(kind, object);
        let mut limit = chaos.close;
        if roll < limit {
            return false;
        }
        limit += chaos.cut;
        if roll < limit {
            let _ = sender.send(Ok(frame.slice(..frame.len() / 2))).await;
            if roll % 2 == 0 {
                let _ = sender.send(Err("connection reset by peer".into())).await;
            }
            return false;
        }
        limit += chaos.expire;
        if roll < limit {
            let gone = status_object(410, "Expired", "too old resource version");
            let _ = sender.send(Ok(format.event("ERROR", &gone))).await;
            return false;
        }
        limit += chaos.duplicate;
        if roll < limit && sender.send(Ok(frame.clone())).await.is_err() {
            return false;
        }
        limit += chaos.delay;
        if roll < limit {
            tokio::time::sleep(Duration::from_millis(u64::from(roll) * 10)).await;
        }
        // Never in one piece: a reader must not rely on it.
        let middle = frame.len() / 3;
        sender.send(Ok(frame.slice(..middle))).await.is_ok()
            && sender.send(Ok(frame.slice(middle..))).await.is_ok()
    }
}

impl Transport for FakeServer {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        Box::pin(self.handle(request))
    }

    fn upgrade(
        &self,
        _request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<UpgradeOutcome, TransportError>> {
        Box::pin(async {
            Ok(UpgradeOutcome::Refused(status(
                StatusCode::BAD_REQUEST,
                "BadRequest",
                "Upgrade request required",
            )))
        })
    }
}

/// The encoding of answers.
#[derive(Clone, Copy)]
struct Format {
    protobuf: bool,
    metadata: bool,
}

impl Format {
    fn view(self, object: &Value) -> Value {
        if self.metadata {
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"] })
        } else {
            object.clone()
        }
    }

    fn bytes(self, object: &Value) -> Vec<u8> {
        if self.protobuf {
            to_protobuf(object)
        } else {
            serde_json::to_vec(object).unwrap()
        }
    }

    fn object(self, code: StatusCode, object: &Value) -> Response<ResponseBody> {
        self.object_as_is(code, &self.view(object))
    }

    fn object_as_is(self, code: StatusCode, object: &Value) -> Response<ResponseBody> {
        let content_type = if self.protobuf {
            "application/vnd.kubernetes.protobuf"
        } else {
            "application/json"
        };
        Response::builder()
            .status(code)
            .header("content-type", content_type)
            .body(full(self.bytes(object)))
            .unwrap()
    }

    fn event(self, kind: &str, object: &Value) -> Bytes {
        let object = if kind == "ERROR" {
            object.clone()
        } else {
            self.view(object)
        };
        if self.protobuf {
            let event = api_types::meta::v1::WatchEvent {
                type_: kind.into(),
                object: api_types::RawExtension::new(to_protobuf(&object)),
            };
            let body = api_types::encode_protobuf(&event);
            let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(body);
            frame.into()
        } else {
            let mut line = serde_json::to_vec(&json!({ "type": kind, "object": object })).unwrap();
            line.push(b'\n');
            line.into()
        }
    }
}

fn to_protobuf(object: &Value) -> Vec<u8> {
    let api_version = object["apiVersion"].as_str().unwrap();
    let kind = object["kind"].as_str().unwrap();
    let mut typed = new_object(api_version, kind);
    api_types::decode_json_into(&mut *typed, &serde_json::to_vec(object).unwrap()).unwrap();
    encode_envelope_as(&*typed, Header { api_version, kind })
}

fn new_object(api_version: &str, kind: &str) -> Box<dyn Struct> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    (kinds::lookup(group, version, kind)
        .unwrap_or_else(|| panic!("unknown kind {api_version} {kind}"))
        .new)()
}

fn read_body(headers: &http::HeaderMap, body: &[u8]) -> Value {
    if headers["content-type"] != "application/vnd.kubernetes.protobuf" {
        return serde_json::from_slice(body).unwrap();
    }
    let envelope = api_types::decode_envelope(body).unwrap();
    let mut typed = new_object(envelope.api_version, envelope.kind);
    api_types::decode_protobuf_into(&mut *typed, envelope.raw).unwrap();
    serde_json::from_slice(&api_types::encode_json(&*typed)).unwrap()
}

fn kind_of_collection(collection: &str) -> (String, &'static str) {
    match collection {
        "/api/v1/configmaps" => ("v1".into(), "ConfigMap"),
        "/api/v1/events" => ("v1".into(), "Event"),
        "/api/v1/pods" => ("v1".into(), "Pod"),
        "/apis/events.k8s.io/v1/events" => ("events.k8s.io/v1".into(), "Event"),
        "/apis/coordination.k8s.io/v1/leases" => ("coordination.k8s.io/v1".into(), "Lease"),
        "/apis/example.org/v1/widgets" => ("example.org/v1".into(), "Widget"),
        other => panic!("unknown collection {other}"),
    }
}

/// Collection, namespace and name of a path.
fn parse_path(path: &str) -> Option<(String, String, String)> {
    let mut parts: VecDeque<&str> = path.trim_start_matches('/').split('/').collect();
    let prefix = match parts.pop_front()? {
        "api" => format!("/api/{}", parts.pop_front()?),
        "apis" => format!("/apis/{}/{}", parts.pop_front()?, parts.pop_front()?),
        _ => return None,
    };
    let mut namespace = "";
    if parts.front() == Some(&"namespaces") && parts.len() > 2 {
        parts.pop_front();
        namespace = parts.pop_front()?;
    }
    let resource = parts.pop_front()?;
    let name = parts.pop_front().unwrap_or_default();
    Some((
        format!("{prefix}/{resource}"),
        namespace.to_owned(),
        name.to_owned(),
    ))
}

fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    object.remove(&key);
                } else {
                    merge(object.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (object, patch) => *object = patch,
    }
}

pub(crate) fn full(body: impl Into<Bytes>) -> ResponseBody {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": if code < 300 { "Success" } else { "Failure" }, "reason": reason, "message": message, "code": code })
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<ResponseBody> {
    let body = status_object(code.as_u16(), reason, message).to_string();
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(full(body))
        .unwrap()
}

fn not_found(name: &str) -> Response<ResponseBody> {
    status(
        StatusCode::NOT_FOUND,
        "NotFound",
        &format!("{name} not found"),
    )
}

fn too_large() -> Response<ResponseBody> {
    let mut body = status_object(504, "Timeout", "Too large resource version: 1, current: 0");
    body["details"] = json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }], "retryAfterSeconds": 1 });
    Response::builder()
        .status(504)
        .header("content-type", "application/json")
        .body(full(body.to_string()))
        .unwrap()
}
