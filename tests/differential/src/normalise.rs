//! Makes the answers of two servers comparable: what each server draws, counts or reads from a clock becomes a placeholder.
//! Within a case the same value gets the same placeholder, named after its first appearance, so that references still compare.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::StatusCode;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::connection::Answer;

/// An answer with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normal {
    pub status: StatusCode,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    /// The bytes as text.
    pub text: String,
}

/// Headers whose values are compared.
const HEADERS: &[&str] = &[
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "location",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
    "x-content-type-options",
];
/// Headers that have to be there, with whatever value.
const PRESENT: &[&str] = &["audit-id", "etag"];

/// What servers make names from on their own: the volume of a pod's token.
const ALWAYS_GENERATED: &[&str] = &["kube-api-access-"];

/// Columns of tables that tell how long ago something was.
const AGES: &[&str] = &[
    "Age",
    "Last Seen",
    "First Seen",
    "Last Schedule",
    "Duration",
];

static UID: LazyLock<Regex> =
    LazyLock::new(|| compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| compile(r"eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]+"));
/// Service addresses, of the first range and of those that cases add.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| compile(r"\b10\.96\.\d+\.\d+\b"));
static NODE_PORT: LazyLock<Regex> = LazyLock::new(|| compile(r":(3[0-2]\d{3})/"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| compile(r"\b\d+\b"));
static AGE: LazyLock<Regex> = LazyLock::new(|| compile(r"^(\d+[a-z]+)+$"));
/// Of the documents that OpenAPI's index lists: what they say is compared, not how it is summed up.
static HASH: LazyLock<Regex> = LazyLock::new(|| compile(r"\?hash=[0-9A-F]+"));
/// Where error texts have revisions.
static REVISION_TEXT: LazyLock<Regex> = LazyLock::new(|| compile(r"[Rr]esource ?[Vv]ersion"));

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant")
}

/// Placeholders of one kind of value, named after the request that showed the value first: what one server has done more or
/// less often than the other does not change the names of what comes later.
#[derive(Debug, Default)]
struct Numbers {
    known: HashMap<String, String>,
    request: usize,
    /// The item of a list that is being read.
    item: String,
    /// Values seen first in this request or item.
    new: usize,
}

impl Numbers {
    fn next_request(&mut self) {
        self.request += 1;
        self.next_item("");
    }

    fn next_item(&mut self, name: &str) {
        name.clone_into(&mut self.item);
        self.new = 0;
    }

    fn of(&mut self, kind: &str, value: &str) -> String {
        if let Some(name) = self.known.get(value) {
            return name.clone();
        }
        self.new += 1;
        let mut name = format!("<{kind}-{}", self.request);
        if !self.item.is_empty() {
            name = format!("{name} {}", self.item);
        }
        if self.new > 1 {
            name = format!("{name}.{}", self.new);
        }
        name.push('>');
        self.known.insert(value.to_owned(), name.clone());
        name
    }
}

/// What was seen from one server in one case.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    authority: String,
    generated: Vec<Regex>,
    uids: Numbers,
    revisions: Numbers,
    addresses: Numbers,
    ports: Numbers,
}

impl Normaliser {
    /// `prefixes` are the `generateName`s of the case's requests.
    pub(crate) fn new(authority: &str, prefixes: &[String]) -> Self {
        let generated = prefixes
            .iter()
            .map(String::as_str)
            .chain(ALWAYS_GENERATED.iter().copied())
            .map(|prefix| {
                // The alphabet has no vowels and no digits that look like letters.
                compile(&format!(
                    "({})[bcdfghjklmnpqrstvwxz2456789]{{5}}",
                    regex::escape(prefix)
                ))
            })
            .collect();
        Self {
            authority: authority.to_owned(),
            generated,
            ..Self::default()
        }
    }

    /// Values seen from now on are named after the next request.
    pub(crate) fn next_request(&mut self) {
        for numbers in self.numbers() {
            numbers.next_request();
        }
    }

    fn numbers(&mut self) -> [&mut Numbers; 4] {
        [
            &mut self.uids,
            &mut self.revisions,
            &mut self.addresses,
            &mut self.ports,
        ]
    }

    pub(crate) fn answer(&mut self, answer: &Answer, watch: bool) -> Normal {
        let headers = self.headers(answer);
        let content_type = headers.get("content-type").map_or("", String::as_str);
        let mut body = parse(content_type, &answer.body, watch);
        self.value(&mut body);
        Normal {
            status: answer.status,
            text: self.text(&String::from_utf8_lossy(&answer.body)),
            headers,
            body,
        }
    }

    fn headers(&mut self, answer: &Answer) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            let values: Vec<String> = answer
                .headers
                .get_all(*name)
                .iter()
                .map(|value| self.text(&String::from_utf8_lossy(value.as_bytes())))
                .collect();
            if !values.is_empty() {
                headers.insert((*name).to_owned(), values.join(", "));
            }
        }
        for name in PRESENT
            .iter()
            .filter(|name| answer.headers.contains_key(**name))
        {
            headers.insert((*name).to_owned(), "<present>".to_owned());
        }
        headers
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => self.object(map),
            Value::Array(items) => {
                items.retain(|event| !is_periodic_bookmark(event));
                for item in items {
                    let name = item.pointer("/metadata/name").and_then(Value::as_str);
                    if let Some(name) = name.map(ToOwned::to_owned) {
                        let name = self.text(&name);
                        for numbers in self.numbers() {
                            numbers.next_item(&name);
                        }
                    }
                    self.value(item);
                }
            }
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>) {
        hide_ages(map);
        let is_list = map.contains_key("items")
            || map.contains_key("rows")
            || map
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"));
        if map.get("type").and_then(Value::as_str) == Some("BOOKMARK")
            && let Some(revision) = map
                .get_mut("object")
                .and_then(|object| object.pointer_mut("/metadata/resourceVersion"))
        {
            *revision = "<list-revision>".into();
        }
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            if let Some(Value::String(revision)) = metadata.get_mut("resourceVersion")
                && !revision.is_empty()
                && !revision.starts_with('<')
            {
                *revision = if is_list {
                    "<list-revision>".to_owned()
                } else {
                    self.revisions.of("revision", revision)
                };
            }
            // Ordered by time, which is a matter of luck where a second ends between two writes.
            if let Some(Value::Array(managers)) = metadata.get_mut("managedFields") {
                managers.sort_by_cached_key(|entry| {
                    ["operation", "manager", "subresource", "apiVersion"]
                        .map(|key| entry[key].as_str().unwrap_or_default().to_owned())
                });
            }
            if let Some(Value::String(token)) = metadata.get_mut("continue") {
                *token = continue_token(token);
            }
        }
        // Upstream lists rules in the order of a map. As texts they are a set, of which the report says what is missing.
        for key in ["resourceRules", "nonResourceRules"] {
            if let Some(Value::Array(rules)) = map.get_mut(key) {
                let mut texts: Vec<String> = rules.iter().map(Value::to_string).collect();
                texts.sort();
                *rules = texts.into_iter().map(Value::from).collect();
            }
        }
        for (key, value) in map {
            match (key.as_str(), &*value) {
                ("nodePort" | "healthCheckNodePort", Value::Number(port))
                    if port.as_u64().is_some_and(|port| port >= 30000) =>
                {
                    *value = self.ports.of("port", &port.to_string()).into();
                }
                _ => self.value(value),
            }
        }
    }

    /// Placeholders in a text.
    fn text(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.authority, "<server>");
        if let Some((_, port)) = self.authority.rsplit_once(':') {
            text = text.replace(&format!("192.0.2.1:{port}"), "<advertised>");
        }
        let text = TOKEN.replace_all(&text, |found: &Captures<'_>| self.token(&found[1]));
        let text = UID.replace_all(&text, |found: &Captures<'_>| self.uids.of("uid", &found[0]));
        let text = TIME.replace_all(&text, |found: &Captures<'_>| recent(found));
        let text = ADDRESS.replace_all(&text, |found: &Captures<'_>| {
            self.addresses.of("address", &found[0])
        });
        let text = NODE_PORT.replace_all(&text, |found: &Captures<'_>| {
            format!(":{}/", self.ports.of("port", &found[1]))
        });
        let text = HASH.replace_all(&text, "?hash=<hash>");
        let mut text = text.into_owned();
        if REVISION_TEXT.is_match(&text) {
            text = NUMBER
                .replace_all(&text, |found: &Captures<'_>| {
                    match self.revisions.known.get(&found[0]) {
                        Some(name) => name.clone(),
                        None => found[0].to_owned(),
                    }
                })
                .into_owned();
            if let Some((before, _)) = text.split_once(", current: ") {
                text = format!("{before}, current: <list-revision>");
            }
        }
        for generated in &self.generated {
            text = generated.replace_all(&text, "${1}<random>").into_owned();
        }
        text
    }

    /// The claims of a signed token are compared, its times are not.
    fn token(&mut self, claims: &str) -> String {
        let Some(Value::Object(mut claims)) = URL_SAFE_NO_PAD
            .decode(claims)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
        else {
            return "<token>".to_owned();
        };
        let lifetime = match (claims.get("exp"), claims.get("iat")) {
            (Some(Value::Number(end)), Some(Value::Number(start))) => {
                end.as_i64().unwrap_or(0) - start.as_i64().unwrap_or(0)
            }
            _ => 0,
        };
        for time in ["exp", "iat", "nbf"] {
            claims.remove(time);
        }
        claims.insert("lifetime".to_owned(), lifetime.into());
        let text = Value::Object(claims).to_string();
        format!("<token {}>", self.text(&text))
    }
}

/// Bookmarks that come by the clock, and not because the initial events have ended.
fn is_periodic_bookmark(event: &Value) -> bool {
    event["type"] == "BOOKMARK"
        && event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].is_null()
        && event["object"]["object"].is_null()
}

fn recent(found: &Captures<'_>) -> String {
    let now = jiff::Timestamp::now().as_second();
    match found[0].parse::<jiff::Timestamp>() {
        Ok(time) if (time.as_second() - now).abs() < 24 * 3600 => {
            format!("<now{}>", found.get(1).map_or("", |_| " micro"))
        }
        _ => found[0].to_owned(),
    }
}

/// Where a list goes on, without the revision it is read at.
fn continue_token(token: &str) -> String {
    let padless = token.trim_end_matches('=');
    let decoded = URL_SAFE_NO_PAD
        .decode(padless)
        .or_else(|_| STANDARD_NO_PAD.decode(padless))
        .ok()
        .and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    match decoded {
        Some(mut place) => {
            place["rv"] = "<list-revision>".into();
            format!("<continue {place}>")
        }
        None => token.to_owned(),
    }
}

fn hide_ages(map: &mut Map<String, Value>) {
    let Some(columns) = map.get("columnDefinitions").and_then(Value::as_array) else {
        return;
    };
    let ages: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| {
            column["name"]
                .as_str()
                .is_some_and(|name| AGES.contains(&name))
        })
        .map(|(index, _)| index)
        .collect();
    let rows = map.get_mut("rows").and_then(Value::as_array_mut);
    for row in rows.into_iter().flatten() {
        for index in &ages {
            if let Some(cell) = row.pointer_mut(&format!("/cells/{index}"))
                && cell.as_str().is_some_and(|age| AGE.is_match(age))
            {
                *cell = "<age>".into();
            }
        }
    }
}

/// A body as JSON, whatever it came as. What cannot be read is its text.
fn parse(content_type: &str, body: &[u8], watch: bool) -> Value {
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    if body.is_empty() {
        return Value::Null;
    }
    if api_types::codec::is_envelope(body) {
        return protobuf(body)
            .unwrap_or_else(|error| format!("undecodable protobuf: {error}").into());
    }
    if content_type.starts_with("application/yaml") {
        return std::str::from_utf8(body)
            .ok()
            .and_then(|yaml| serde_saphyr::from_str(yaml).ok())
            .unwrap_or_else(text);
    }
    let documents: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(body)
        .into_iter()
        .collect();
    match documents {
        Ok(mut documents) if documents.len() == 1 && !watch => documents.remove(0),
        Ok(documents) => Value::Array(documents),
        Err(_) => text(),
    }
}

fn protobuf(body: &[u8]) -> Result<Value, String> {
    let envelope = api_types::decode_envelope(body).map_err(|error| error.to_string())?;
    let info = api_types::kinds::lookup_api_version(envelope.api_version, envelope.kind)
        .ok_or_else(|| format!("no kind {} {}", envelope.api_version, envelope.kind))?;
    let mut object = (info.new)();
    api_types::decode_protobuf_into(&mut *object, envelope.raw)
        .map_err(|error| error.to_string())?;
    let header = api_types::Header {
        api_version: envelope.api_version,
        kind: envelope.kind,
    };
    serde_json::from_slice(&api_types::encode_json_as(&*object, header))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(mut value: Value, expected: Value) {
        let mut normaliser = Normaliser::new("127.0.0.1:20443", &["gen-".to_owned()]);
        normaliser.next_request();
        normaliser.value(&mut value);
        assert_eq!(value, expected);
    }

    #[test]
    fn the_same_value_gets_the_same_placeholder() {
        let (a, b) = (
            "11111111-2222-3333-4444-555555555555",
            "11111111-2222-3333-4444-666666666666",
        );
        check(
            json!([{"uid": a}, {"uid": b}, {"message": format!("UID: {a}")}]),
            json!([{"uid": "<uid-1>"}, {"uid": "<uid-1.2>"}, {"message": "UID: <uid-1>"}]),
        );
    }

    #[test]
    fn revisions_of_objects_are_numbered_and_those_of_lists_hidden() {
        check(
            json!({"kind": "PodList", "metadata": {"resourceVersion": "90"}, "items": [
                {"metadata": {"resourceVersion": "71"}}, {"metadata": {"resourceVersion": "72"}}, {"metadata": {"resourceVersion": "71"}},
            ]}),
            json!({"kind": "PodList", "metadata": {"resourceVersion": "<list-revision>"}, "items": [
                {"metadata": {"resourceVersion": "<revision-1>"}},
                {"metadata": {"resourceVersion": "<revision-1.2>"}},
                {"metadata": {"resourceVersion": "<revision-1>"}},
            ]}),
        );
        check(
            json!([{"metadata": {"name": "a", "resourceVersion": "71"}}, {"message": "the ResourceVersion in the precondition (70) is not 71"}]),
            json!([{"metadata": {"name": "a", "resourceVersion": "<revision-1 a>"}}, {"message": "the ResourceVersion in the precondition (70) is not <revision-1 a>"}]),
        );
    }

    #[test]
    fn texts() {
        let now = jiff::Timestamp::now();
        check(json!(format!("{now:.0}")), json!("<now>"));
        check(json!(format!("{now:.6}")), json!("<now micro>"));
        check(json!("2001-01-01T00:00:00Z"), json!("2001-01-01T00:00:00Z"));
        check(json!("gen-x2v4z here"), json!("gen-<random> here"));
        check(json!("10.96.3.4"), json!("<address-1>"));
        check(json!("80:31000/TCP"), json!("80:<port-1>/TCP"));
        check(
            json!("https://127.0.0.1:20443/x"),
            json!("https://<server>/x"),
        );
        check(json!({"nodePort": 31000}), json!({"nodePort": "<port-1>"}));
        check(json!({"nodePort": 80}), json!({"nodePort": 80}));
    }

    #[test]
    fn tokens() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":3600,"iat":0,"nbf":0,"sub":"me"}"#);
        check(
            json!(format!("eyJhIn0.{claims}.c2ln")),
            json!(r#"<token {"lifetime":3600,"sub":"me"}>"#),
        );
        let place = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":12,"start":"a"}"#);
        check(
            json!({"items": [], "metadata": {"continue": place}}),
            json!({"items": [], "metadata": {"continue": r#"<continue {"rv":"<list-revision>","start":"a","v":"meta.k8s.io/v1"}>"#}}),
        );
    }

    #[test]
    fn ages_and_bookmarks() {
        check(
            json!({"columnDefinitions": [{"name": "Name"}, {"name": "Age"}], "rows": [{"cells": ["5s", "5s"]}, {"cells": ["a", "<unknown>"]}]}),
            json!({"columnDefinitions": [{"name": "Name"}, {"name": "Age"}], "rows": [{"cells": ["5s", "<age>"]}, {"cells": ["a", "<unknown>"]}]}),
        );
        check(
            json!([
                {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1"}}},
                {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}}},
            ]),
            json!([
                {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "<list-revision>", "annotations": {"k8s.io/initial-events-end": "true"}}}},
            ]),
        );
    }

    #[test]
    fn bodies() {
        assert_eq!(parse("application/json", b"{}", false), json!({}));
        assert_eq!(
            parse("application/json", b"{}\n{}\n", true),
            json!([{}, {}])
        );
        assert_eq!(parse("text/plain", b"ok", false), json!("ok"));
        assert_eq!(parse("application/yaml", b"a: 1", false), json!({"a": 1}));
        assert_eq!(parse("", b"", false), Value::Null);
    }
}
