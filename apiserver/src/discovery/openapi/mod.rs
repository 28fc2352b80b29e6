//! OpenAPI documents of the served resources, made from the schema tables when first asked for.
//! Upstream: kube-openapi and server/routes/openapi.go.
//!
//! A document's ETag says which build made it and what it is about; it is not a hash of its text, which would mean
//! to make all documents in order to list them.

/// Operations.
mod paths;
/// Types.
mod schema;
/// OpenAPI v2.
mod swagger;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use api_types::Described as _;
use api_types::meta::v1::WatchEvent;
use api_types::resources::ResourceInfo;
use aws_lc_rs::digest;
use bytes::Bytes;
use component_base::serving::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::handlers::respond;
use crate::negotiation;
use crate::registry::table::Resources;
use crate::request::context::RequestContext;
use schema::Schemas;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// One group version's document.
struct Document {
    group: String,
    version: String,
    resources: Vec<&'static ResourceInfo>,
    etag: String,
    text: OnceLock<Bytes>,
}

/// The documents.
pub struct OpenApi {
    /// By path below `/openapi/v3/`.
    documents: BTreeMap<String, Document>,
    index: Bytes,
    index_etag: String,
    v2: OnceLock<Bytes>,
    v2_etag: String,
}

impl OpenApi {
    pub fn new(resources: &Resources) -> OpenApi {
        let mut documents: BTreeMap<String, Document> = BTreeMap::new();
        for resource in resources.rows() {
            let info = resource.info;
            let path = match info.group {
                "" => format!("api/{}", info.version),
                group => format!("apis/{group}/{}", info.version),
            };
            let document = documents.entry(path).or_insert_with(|| Document {
                group: info.group.to_owned(),
                version: info.version.to_owned(),
                resources: Vec::new(),
                etag: String::new(),
                text: OnceLock::new(),
            });
            document.resources.push(info);
        }
        let build = component_base::version::Info::get();
        let mut everything = String::new();
        let mut listed = Map::new();
        for (path, document) in &mut documents {
            let mut about = format!("{} {} {path}", build.git_version, build.git_commit);
            for info in &document.resources {
                about.push(' ');
                about.push_str(info.resource);
            }
            document.etag = sha512_hex(about.as_bytes());
            everything.push_str(&document.etag);
            let url = format!("/openapi/v3/{path}?hash={}", document.etag);
            listed.insert(path.clone(), json!({"serverRelativeURL": url}));
        }
        let index = json!({"paths": listed}).to_string().into();
        OpenApi {
            documents,
            index,
            index_etag: sha512_hex(everything.as_bytes()),
            v2: OnceLock::new(),
            v2_etag: sha512_hex(format!("v2 {everything}").as_bytes()),
        }
    }

    /// Paths for the index of the server.
    pub fn paths(&self) -> Vec<String> {
        vec![
            "/openapi/v2".to_owned(),
            "/openapi/v3".to_owned(),
            "/openapi/v3/".to_owned(),
        ]
    }

    /// Answers requests below `/openapi`.
    pub fn serve(&self, cx: &RequestContext) -> Option<Response> {
        match cx.info.path.as_str() {
            "/openapi/v2" => {
                if only_protobuf(cx) {
                    let refusal = negotiation::NotAcceptable {
                        accepted: "application/json".to_owned(),
                    };
                    return Some(respond::error(cx, respond::not_acceptable(refusal)));
                }
                let text = self.v2.get_or_init(|| self.swagger());
                Some(answer(cx, text, &self.v2_etag, false))
            }
            "/openapi/v3" | "/openapi/v3/" => {
                Some(answer(cx, &self.index, &self.index_etag, false))
            }
            path => {
                let document = self.documents.get(path.strip_prefix("/openapi/v3/")?)?;
                let hash = cx.query.first("hash").unwrap_or_default();
                if !hash.is_empty() && hash != document.etag {
                    let mut response = Response::default();
                    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                    let url = format!("{path}?hash={}", document.etag);
                    if let Ok(url) = HeaderValue::try_from(url) {
                        response.headers_mut().insert(header::LOCATION, url);
                    }
                    return Some(response);
                }
                let text = document
                    .text
                    .get_or_init(|| document.build().to_string().into());
                Some(answer(cx, text, &document.etag, !hash.is_empty()))
            }
        }
    }

    fn swagger(&self) -> Bytes {
        let (mut definitions, mut paths) = (Map::new(), Map::new());
        for document in self.documents.values() {
            let built = document.build();
            let schemas = built
                .pointer("/components/schemas")
                .and_then(Value::as_object);
            for (name, definition) in schemas.into_iter().flatten() {
                definitions
                    .entry(name)
                    .or_insert_with(|| swagger::schema(definition));
            }
            for (path, item) in built
                .get("paths")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                paths.insert(path.clone(), swagger::path(item));
            }
        }
        let document = json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": component_base::version::Info::get().git_version},
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": {"BearerToken": {
                "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
            }},
            "security": [{"BearerToken": []}],
        });
        document.to_string().into()
    }
}

impl Document {
    fn build(&self) -> Value {
        let mut schemas = Schemas::new(&self.group, &self.version);
        let mut paths = Map::new();
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        paths::add_root(&root, &self.group, &self.version, &mut schemas, &mut paths);
        for info in &self.resources {
            paths::add(&root, info, &mut schemas, &mut paths);
        }
        schemas.reference(WatchEvent::SCHEMA);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": component_base::version::Info::get().git_version},
            "paths": paths,
            "components": {
                "schemas": schemas.done,
                "securitySchemes": {"BearerToken": {
                    "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
                }},
            },
        })
    }
}

/// Old clients ask for OpenAPI v2 in protobuf and fall back when told to.
fn only_protobuf(cx: &RequestContext) -> bool {
    let accept = cx.header(header::ACCEPT);
    accept.contains(V2_PROTOBUF) && !accept.contains("json") && !accept.contains("*/*")
}

fn answer(cx: &RequestContext, text: &Bytes, etag: &str, forever: bool) -> Response {
    let quoted = format!("\"{etag}\"");
    let asked = cx.header(header::IF_NONE_MATCH);
    let mut response = if asked
        .split(',')
        .any(|tag| tag.trim() == quoted || tag.trim() == "*")
    {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::json_document(cx, text)
    };
    let headers = response.headers_mut();
    if let Ok(quoted) = HeaderValue::try_from(quoted) {
        headers.insert(header::ETAG, quoted);
    }
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    if forever {
        // A document with a hash never changes.
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable"),
        );
        headers.insert(header::EXPIRES, far_future());
    }
    response
}

fn far_future() -> HeaderValue {
    let year = std::time::Duration::from_secs(365 * 24 * 3600);
    let time = jiff::Timestamp::now()
        .checked_add(year)
        .unwrap_or(jiff::Timestamp::MAX);
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Upper-case hexadecimal SHA-512.
pub fn sha512_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA512, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}
