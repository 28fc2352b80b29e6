//! OpenAPI documents of the served resources. Upstream: kube-openapi's handler, handler3 and builder, and
//! kube-aggregator's handlers in front of them.
//!
//! - `paths`: operations of the resources; `schemas`: definitions of the types; `texts`: what the tables do not say.
//! - `document`: whole documents; `gnostic` and `gnostic_v3`: their protobuf forms; `pieces`: how they are kept.
//! - `custom`: parts and documents of custom resources; `aggregated`: parts of other servers' documents; `added`: which
//!   of them there are now.
//!
//! Invariants: a document is made when it is first asked for, once, and only its compressed bytes are kept. Its hash
//! is that of the JSON form, in every form; with additions, that of the second form is made of its parts' hashes.
//! Additions never cost a second encoding of what is built in. Nothing here does IO.

mod added;
mod aggregated;
mod custom;
mod document;
mod gnostic;
mod gnostic_v3;
mod negotiate;
mod paths;
mod pieces;
mod schemas;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::resources::ResourceInfo;
use serde_json::{Map, json};

use added::Added;
pub use added::Regenerated;
use aggregated::Aggregated;
use custom::Custom;
pub use document::sha512_hex;
use negotiate::{Accepted, V2_ACCEPTED, V3_ACCEPTED};
use pieces::Stored;

/// The request, as far as documents depend on it. Header values are empty when there is no such header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Path, such as `/openapi/v3/apis/apps/v1`.
    pub path: &'a str,
    /// Query without the question mark.
    pub query: Option<&'a str>,
    /// `Accept`.
    pub accept: &'a str,
    /// `Accept-Encoding`.
    pub accept_encoding: &'a str,
    /// `If-None-Match`.
    pub if_none_match: &'a str,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, `Cache-Control` only where it differs from the server's default.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    fn empty(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::default()
        }
    }

    fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((name, value.into()));
    }
}

/// The documents.
#[derive(Debug)]
pub struct OpenApi {
    rows: Vec<&'static ResourceInfo>,
    v2_json: OnceLock<Stored>,
    v2_protobuf: OnceLock<Stored>,
    /// By the name after `/openapi/v3/`.
    v3: BTreeMap<String, OnceLock<Stored>>,
    added: Added,
}

impl OpenApi {
    /// Takes the rows of the served resources. Nothing is built yet.
    pub fn new(rows: impl IntoIterator<Item = &'static ResourceInfo>) -> OpenApi {
        let rows: Vec<&'static ResourceInfo> = rows.into_iter().collect();
        let v3 = document::names(&rows)
            .into_iter()
            .map(|name| (name, OnceLock::new()))
            .collect();
        OpenApi {
            rows,
            v2_json: OnceLock::new(),
            v2_protobuf: OnceLock::new(),
            v3,
            added: Added::default(),
        }
    }

    /// Publishes what the definition says now, or takes it away when it is not established.
    pub fn set_custom(&self, crd: &CustomResourceDefinition) -> Option<Regenerated> {
        let custom = Custom::new(crd).map(|custom| custom.beside(&self.rows));
        self.added.set_custom(&crd.metadata.name, custom)
    }

    /// Takes away what a deleted CustomResourceDefinition of this name had published.
    pub fn remove_custom(&self, name: &str) -> Option<Regenerated> {
        self.added.set_custom(name, None)
    }

    /// Merges the group version that an APIService stands for into the document of the second form, out of the document
    /// that its server has there (JSON). What is built in or custom here wins. What is no document is an error and changes nothing.
    pub fn set_aggregated(
        &self,
        api_service: &str,
        group: &str,
        version: &str,
        swagger: &[u8],
    ) -> Result<(), serde_json::Error> {
        let name = &paths::base_path(group, version)[1..];
        let aggregated = match self.v3.contains_key(name) {
            true => None,
            false => Aggregated::new(name, swagger)?,
        };
        self.added.set_aggregated(api_service, aggregated);
        Ok(())
    }

    /// Takes away what an APIService had added to the document of the second form.
    pub fn remove_aggregated(&self, api_service: &str) {
        self.added.set_aggregated(api_service, None);
    }

    /// Lists a document of the third form that another server has, with its address there; `None` ends that. Questions for
    /// it are not answered here: the caller asks that server. False when the document is one of ours.
    pub fn link(&self, name: &str, url: Option<&str>) -> bool {
        let is_free = !self.v3.contains_key(name);
        if is_free {
            self.added.link(name, url);
        }
        is_free
    }

    /// Serves a document of the third form under a name such as `apis/example.com/v1`, or replaces it. A name that the
    /// built-in resources have is kept by them.
    pub fn add(&self, name: &str, json: &[u8]) {
        self.added.set_document(name, Some(Stored::json(json)));
    }

    /// Takes an added document away.
    pub fn remove(&self, name: &str) {
        self.added.set_document(name, None);
    }

    /// Answers a request for a document; `None` when the path is none of these.
    pub fn answer(&self, question: &Question<'_>) -> Option<Answer> {
        match question.path {
            "/openapi/v2" => Some(self.second(question)),
            "/openapi/v3" | "/openapi/v3/" => Some(self.index()),
            path => {
                let name = path.strip_prefix("/openapi/v3/")?;
                self.third(question, name)
            }
        }
    }

    fn second_json(&self) -> &Stored {
        self.v2_json.get_or_init(|| document::v2_json(&self.rows))
    }

    fn second(&self, question: &Question<'_>) -> Answer {
        let Some(accepted) = negotiate::choose(question.accept, V2_ACCEPTED) else {
            let mut answer = Answer::empty(406);
            answer.header("vary", "Accept-Encoding, Accept");
            return answer;
        };
        let json = self.second_json();
        let protobuf = accepted.protobuf.then(|| {
            self.v2_protobuf.get_or_init(|| {
                Stored::whole(&document::v2_protobuf(&self.rows), json.hash.clone())
            })
        });
        let built_in = |names: &BTreeSet<String>| document::v2_built_in(&self.rows, names);
        let mut answer = match self.added.second(json, protobuf, &built_in) {
            Some(merged) => serve(question, &merged, accepted, true),
            None => serve(question, protobuf.unwrap_or(json), accepted, true),
        };
        answer.header("vary", "Accept-Encoding, Accept");
        answer
    }

    fn built(&self, name: &str) -> Option<&Stored> {
        let cell = self.v3.get(name)?;
        Some(cell.get_or_init(|| Stored::json(&document::v3(&self.rows, name).unwrap_or_default())))
    }

    fn third(&self, question: &Question<'_>, name: &str) -> Option<Answer> {
        let added;
        let stored = match self.built(name) {
            Some(stored) => stored,
            None => {
                added = self.added.third(name);
                match &added {
                    Some(stored) => stored,
                    None if self.added.is_linked(name) => return None,
                    None => return Some(Answer::empty(404)),
                }
            }
        };
        let Some(accepted) = negotiate::choose(question.accept, V3_ACCEPTED) else {
            let mut answer = Answer::empty(406);
            answer.header("vary", "Accept");
            return Some(answer);
        };
        let hash = question.query.and_then(negotiate::hash_of);
        if let Some(hash) = hash
            && hash != stored.hash
        {
            let mut answer = Answer::empty(301);
            answer.header("content-type", accepted.answered);
            answer.header("etag", format!("\"{}\"", stored.hash));
            answer.header("location", relative_url(name, &stored.hash));
            answer.header("vary", "Accept");
            return Some(answer);
        }
        let mut answer = serve(question, stored, accepted, false);
        if accepted.protobuf && answer.status == 200 {
            answer.body = gnostic_v3::document(&answer.body);
        }
        answer.header("vary", "Accept");
        if hash.is_some() {
            let year = Duration::from_secs(365 * 24 * 60 * 60);
            answer.header("cache-control", "public, immutable");
            answer.header("expires", negotiate::date(SystemTime::now() + year, "UTC"));
        }
        Some(answer)
    }

    /// The list of the documents, which needs the hash of each.
    fn index(&self) -> Answer {
        let mut paths = Map::new();
        let mut put = |name: &str, url: String| {
            paths.insert(name.to_owned(), json!({"serverRelativeURL": url}));
        };
        for (name, url) in self.added.addresses() {
            put(&name, url);
        }
        for name in self.v3.keys() {
            if let Some(stored) = self.built(name) {
                put(name, relative_url(name, &stored.hash));
            }
        }
        let mut answer = Answer::empty(200);
        // Upstream names no type here, and this is what its server then takes it for.
        answer.header("content-type", "text/plain; charset=utf-8");
        answer.header("last-modified", negotiate::date(SystemTime::now(), "GMT"));
        answer.body = json!({ "paths": paths }).to_string().into_bytes();
        answer
    }
}

fn relative_url(name: &str, hash: &str) -> String {
    format!("/openapi/v3/{name}?hash={hash}")
}

fn serve(question: &Question<'_>, stored: &Stored, accepted: &Accepted, compress: bool) -> Answer {
    let etag = format!("\"{}\"", stored.hash);
    let unchanged = negotiate::matches(question.if_none_match, &etag);
    let mut answer = Answer::empty(if unchanged { 304 } else { 200 });
    answer.header("etag", etag);
    answer.header("last-modified", negotiate::date(stored.modified, "GMT"));
    if unchanged {
        return answer;
    }
    answer.header("content-type", accepted.answered);
    if compress && negotiate::takes_gzip(question.accept_encoding) {
        answer.header("content-encoding", "gzip");
        answer.body = stored.gzip();
    } else {
        answer.body = stored.text();
    }
    answer
}

#[cfg(test)]
mod tests {
    use api_types::resources::RESOURCES;

    use serde_json::Value;

    use super::*;

    fn documents() -> OpenApi {
        OpenApi::new(RESOURCES.iter().filter(|row| {
            row.default_on
                && matches!(
                    (row.group, row.resource),
                    ("", "pods" | "namespaces") | ("apps", _)
                )
        }))
    }

    fn ask(documents: &OpenApi, path: &str, accept: &str) -> Answer {
        documents
            .answer(&Question {
                path,
                accept,
                ..Question::default()
            })
            .expect("an OpenAPI path")
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer
            .headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_index_leads_to_documents_that_may_be_kept() {
        let documents = documents();
        let index: Value =
            serde_json::from_slice(&ask(&documents, "/openapi/v3", "").body).expect("JSON");
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
            .as_str()
            .expect("listed");
        let (path, query) = url.split_once('?').expect("with a hash");
        let mut question = Question {
            path,
            query: Some(query),
            ..Question::default()
        };
        let answer = documents.answer(&question).expect("served");
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, "cache-control"), Some("public, immutable"));
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        let etag = header(&answer, "etag").expect("tagged").to_owned();
        question.if_none_match = &etag;
        assert_eq!(documents.answer(&question).expect("served").status, 304);
        question.query = Some("hash=0");
        let moved = documents.answer(&question).expect("served");
        assert_eq!((moved.status, header(&moved, "location")), (301, Some(url)));
    }

    #[test]
    fn unknown_documents_and_types_are_refused() {
        let documents = documents();
        assert_eq!(ask(&documents, "/openapi/v3/apis/batch/v1", "").status, 404);
        assert_eq!(
            ask(&documents, "/openapi/v3/api/v1", "text/html").status,
            406
        );
        assert_eq!(ask(&documents, "/openapi/v2", "text/html").status, 406);
        assert!(
            documents
                .answer(&Question {
                    path: "/healthz",
                    ..Question::default()
                })
                .is_none()
        );
    }

    #[test]
    fn every_reference_has_its_definition() {
        fn references(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    for (key, member) in members {
                        match member {
                            Value::String(text) if key == "$ref" => out.push(text.clone()),
                            other => references(other, out),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, out)),
                _ => {}
            }
        }
        let documents = documents();
        for path in [
            "/openapi/v2",
            "/openapi/v3/api/v1",
            "/openapi/v3/apis/apps/v1",
        ] {
            let document: Value =
                serde_json::from_slice(&ask(&documents, path, "").body).expect("JSON");
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 100, "{path}: {} references", found.len());
            for reference in found {
                let pointer = reference.strip_prefix('#').expect("local");
                assert!(document.pointer(pointer).is_some(), "{path}: {reference}");
            }
        }
    }

    #[test]
    fn patches_tell_of_field_validation_in_both_forms() {
        let documents = documents();
        for (path, accept) in [
            ("/openapi/v2", ""),
            ("/openapi/v3/api/v1", "application/json"),
        ] {
            let document: Value =
                serde_json::from_slice(&ask(&documents, path, accept).body).expect("JSON");
            let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
            let names: Vec<&str> = patch["parameters"]
                .as_array()
                .expect("parameters")
                .iter()
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert!(
                names.contains(&"fieldValidation") && names.contains(&"dryRun"),
                "{path}: {names:?}"
            );
        }
    }

    #[test]
    fn added_documents_are_listed_until_they_are_removed() {
        let documents = documents();
        documents.add("apis/example.com/v1", b"{}");
        assert_eq!(
            ask(&documents, "/openapi/v3/apis/example.com/v1", "").body,
            b"{}"
        );
        let index = ask(&documents, "/openapi/v3", "").body;
        assert!(String::from_utf8_lossy(&index).contains("apis/example.com/v1?hash="));
        documents.remove("apis/example.com/v1");
        assert_eq!(
            ask(&documents, "/openapi/v3/apis/example.com/v1", "").status,
            404
        );
    }
}
