//! A server in memory for tests: it stores what controllers write, and remembers in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::{Resource, decode_json, encode_json};
use bytes::Bytes;
use client::rest::{RequestBody, ResponseBody, Transport, TransportError, UpgradeOutcome};
use client::{Client, ClientConfig, ContentType, EventRecorder, Lister};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::controller_ref::{CONTROLLER_INDEX, controller_index_key, controller_of};

/// What the server has and saw.
#[derive(Default)]
pub(crate) struct TestServer {
    objects: Mutex<BTreeMap<String, Value>>,
    log: Mutex<Vec<String>>,
    /// Creating these fails.
    refused: Mutex<Option<&'static str>>,
}

impl TestServer {
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let config = ClientConfig::plain("http://test")
            .unwrap()
            .with_content_type(ContentType::Json)
            .with_qps(-1.0);
        Client::with_transport(config, Arc::new(Handle(self.clone()))).unwrap()
    }

    /// Puts an object in place, as if it had been there.
    pub(crate) fn put<T: Resource>(&self, object: &T) {
        self.objects.lock().insert(
            path_of(object),
            serde_json::from_slice(&encode_json(object)).unwrap(),
        );
    }

    /// All objects of a kind, sorted by name.
    pub(crate) fn all<T: Resource>(&self) -> Vec<T> {
        let marker = format!("/{}/", T::PLURAL);
        let objects = self.objects.lock();
        objects
            .iter()
            .filter(|(path, _)| path.contains(&marker))
            .map(|(_, value)| decode_json(value.to_string().as_bytes()).unwrap())
            .collect()
    }

    /// The writes since the last call: `POST pods`, `PUT deployments/web/status`.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }

    /// Refuses to create objects of this resource from now on.
    pub(crate) fn refuse(&self, resource: &'static str) {
        *self.refused.lock() = Some(resource);
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let status = path.ends_with("/status");
        let key = path.trim_end_matches("/status").to_owned();
        if method != Method::GET {
            let short = path
                .split_once("/namespaces/")
                .and_then(|(_, rest)| Some(rest.split_once('/')?.1))
                .unwrap_or(path);
            self.log.lock().push(format!("{method} {short}"));
        }
        let mut objects = self.objects.lock();
        let version = (objects.len() + 100).to_string();
        let missing = || {
            (
                StatusCode::NOT_FOUND,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"}),
            )
        };
        match *method {
            Method::GET => objects
                .get(&key)
                .map_or_else(missing, |object| (StatusCode::OK, object.clone())),
            Method::POST
                if self
                    .refused
                    .lock()
                    .is_some_and(|resource| path.ends_with(resource)) =>
            {
                (
                    StatusCode::FORBIDDEN,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}),
                )
            }
            Method::POST => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                if object["metadata"].get("name").is_none() {
                    let name = format!(
                        "{}{}",
                        object["metadata"]["generateName"].as_str().unwrap(),
                        objects.len()
                    );
                    object["metadata"]["name"] = name.into();
                }
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                if path.ends_with("/pods") {
                    object["status"]["phase"] = "Pending".into();
                }
                object["metadata"]["uid"] = format!("uid-{name}").into();
                object["metadata"]["resourceVersion"] = version.into();
                let key = format!("{path}/{name}");
                if objects.contains_key(&key) {
                    return (
                        StatusCode::CONFLICT,
                        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": "exists"}),
                    );
                }
                objects.insert(key, object.clone());
                (StatusCode::CREATED, object)
            }
            Method::PUT => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                if status {
                    // The status endpoint leaves the spec alone.
                    let Some(old) = objects.get(&key) else {
                        return missing();
                    };
                    object["spec"] = old["spec"].clone();
                }
                object["metadata"]["resourceVersion"] = version.into();
                objects.insert(key, object.clone());
                (StatusCode::OK, object)
            }
            Method::PATCH => {
                let Some(object) = objects.get_mut(&key) else {
                    return missing();
                };
                let patch: Value = serde_json::from_slice(body).unwrap();
                // Enough of a merge for what controllers send: fields of the spec, owners and finalizers.
                for (field, value) in patch["spec"].as_object().into_iter().flatten() {
                    object["spec"][field] = value.clone();
                }
                for (field, value) in patch["metadata"].as_object().into_iter().flatten() {
                    match field.as_str() {
                        "$deleteFromPrimitiveList/finalizers" => drop(
                            object["metadata"]
                                .as_object_mut()
                                .unwrap()
                                .remove("finalizers"),
                        ),
                        "ownerReferences" if value[0].get("$patch").is_some() => drop(
                            object["metadata"]
                                .as_object_mut()
                                .unwrap()
                                .remove("ownerReferences"),
                        ),
                        _ => object["metadata"][field] = value.clone(),
                    }
                }
                object["metadata"]["resourceVersion"] = version.into();
                (StatusCode::OK, object.clone())
            }
            Method::DELETE => objects
                .remove(&key)
                .map_or_else(missing, |object| (StatusCode::OK, object)),
            _ => (StatusCode::METHOD_NOT_ALLOWED, Value::Null),
        }
    }
}

fn path_of<T: Resource>(object: &T) -> String {
    let root = if T::GROUP.is_empty() {
        format!("/api/{}", T::VERSION)
    } else {
        format!("/apis/{}/{}", T::GROUP, T::VERSION)
    };
    let metadata = object.metadata();
    let namespace = match metadata.namespace.as_str() {
        "" => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    format!("{root}{namespace}/{}/{}", T::PLURAL, metadata.name)
}

struct Handle(Arc<TestServer>);

impl Transport for Handle {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (status, value) = self.0.answer(&parts.method, parts.uri.path(), &body);
            let body = Full::new(Bytes::from(value.to_string()))
                .map_err(|never| match never {})
                .boxed_unsync();
            Ok(Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(body)
                .unwrap())
        })
    }

    fn upgrade(
        &self,
        _request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<UpgradeOutcome, TransportError>> {
        unreachable!("controllers do not upgrade connections")
    }
}

/// An object from what matters of it.
pub(crate) fn of_json<T: Resource>(mut value: Value) -> T {
    value["kind"] = T::KIND.into();
    value["apiVersion"] = if T::GROUP.is_empty() {
        T::VERSION.into()
    } else {
        format!("{}/{}", T::GROUP, T::VERSION).into()
    };
    decode_json(value.to_string().as_bytes()).unwrap()
}

/// A cache of these objects, with the index by controller.
pub(crate) fn cache<T: Resource>(objects: impl IntoIterator<Item = T>) -> Lister<T> {
    Lister::of(objects).with_index(CONTROLLER_INDEX, |object| {
        let metadata = object.metadata();
        vec![controller_index_key(
            &metadata.namespace,
            controller_of(metadata),
        )]
    })
}

/// A recorder, and a function that gives the recorded events as `Reason: message`.
pub(crate) fn events() -> (EventRecorder, impl FnMut() -> Vec<String>) {
    let (recorder, mut events) = EventRecorder::recording();
    (recorder, move || {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| format!("{}: {}", event.reason, event.message))
            .collect()
    })
}
