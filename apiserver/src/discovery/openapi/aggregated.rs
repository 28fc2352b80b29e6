//! What aggregated API servers add to the document of the second form. Upstream: kube-openapi/pkg/aggregator.
//!
//! Of another server's document, the paths of one group version are taken with the definitions that they need. What is
//! here already keeps its name; a definition that differs from one of its name gets another.
//!
//! Known difference: kinds that all group versions have (`DeleteOptions`, `WatchEvent`) do not list the group versions
//! of aggregated servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::document::sha512_hex;
use super::gnostic;
use super::pieces::Piece;

type Members = Map<String, Value>;

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
const KINDS: &str = "x-kubernetes-group-version-kind";

/// One group version of another server's document.
#[derive(Debug)]
pub(super) struct Aggregated {
    /// Such as `apis/example.com/v1`.
    pub(super) name: String,
    text: Piece,
    hash: String,
}

/// The built-in definitions and parameters that have names in question.
#[derive(Debug, Default)]
pub(super) struct BuiltIn {
    pub(super) definitions: BTreeMap<String, Value>,
    pub(super) parameters: BTreeMap<String, Value>,
}

/// What all aggregated servers add. Members begin with their commas.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) paths: Arc<Piece>,
    pub(super) definitions: Arc<Piece>,
    pub(super) parameters: Arc<Piece>,
    pub(super) protobuf: Arc<Piece>,
    pub(super) hash: String,
}

impl Aggregated {
    /// Takes the paths below `/<name>/` of a document. `None` when it has no such paths.
    pub(super) fn new(name: &str, swagger: &[u8]) -> Result<Option<Aggregated>, serde_json::Error> {
        let mut document: Members = serde_json::from_slice(swagger)?;
        let mut take = |key: &str| match document.remove(key) {
            Some(Value::Object(members)) => members,
            _ => Members::new(),
        };
        let (mut paths, mut definitions, parameters) =
            (take("paths"), take("definitions"), take("parameters"));
        let used_before = used(&paths, &definitions, &parameters);
        let prefix = format!("/{name}/");
        paths.retain(|path, _| path.starts_with(&prefix));
        if paths.is_empty() {
            return Ok(None);
        }
        let used_now = used(&paths, &definitions, &parameters);
        definitions.retain(|name, _| used_now.contains(name) || !used_before.contains(name));
        let kept = Members::from_iter([
            ("paths".to_owned(), Value::Object(paths)),
            ("definitions".to_owned(), Value::Object(definitions)),
            ("parameters".to_owned(), Value::Object(parameters)),
        ]);
        let text = Value::Object(kept).to_string().into_bytes();
        Ok(Some(Aggregated {
            name: name.to_owned(),
            hash: sha512_hex(&text),
            text: Piece::new(&text),
        }))
    }

    pub(super) fn is_same(&self, other: &Aggregated) -> bool {
        self.name == other.name && self.hash == other.hash
    }

    fn tables(&self) -> [Members; 3] {
        // The text is our own.
        let mut document: Members = serde_json::from_slice(&self.text.text()).unwrap_or_default();
        ["paths", "definitions", "parameters"].map(|key| match document.remove(key) {
            Some(Value::Object(members)) => members,
            _ => Members::new(),
        })
    }
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, on: &mut dyn FnMut(&'a str)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "$ref" => on(text),
                    member => references(member, on),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, on)),
        _ => {}
    }
}

/// The definitions that paths need, themselves or through others.
fn used(paths: &Members, definitions: &Members, parameters: &Members) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut pending: Vec<&str> = Vec::new();
    for value in paths.values().chain(parameters.values()) {
        references(value, &mut |reference| pending.push(reference));
    }
    while let Some(reference) = pending.pop() {
        let Some(name) = reference.strip_prefix(DEFINITIONS) else {
            continue;
        };
        if out.insert(name.to_owned())
            && let Some(definition) = definitions.get(name)
        {
            references(definition, &mut |reference| pending.push(reference));
        }
    }
    out
}

/// Puts together what the servers add to the built-in document.
pub(super) fn merge(
    servers: &[Arc<Aggregated>],
    built_in: &dyn Fn(&BTreeSet<String>) -> BuiltIn,
) -> Merged {
    let tables: Vec<[Members; 3]> = servers.iter().map(|server| server.tables()).collect();
    let names = tables
        .iter()
        .flat_map(|[_, definitions, _]| definitions.keys().cloned())
        .collect();
    let known = built_in(&names);
    let mut definitions = Table::new(known.definitions);
    let mut parameters = Table::new(known.parameters);
    let (mut text, mut protobuf) = (Vec::new(), gnostic::Document::default());
    for [mut own_paths, own_definitions, own_parameters] in tables {
        let renamed = Renamed {
            definitions: definitions.renames(&own_definitions),
            parameters: parameters.renames(&own_parameters),
        };
        definitions.add(own_definitions, &renamed.definitions, &renamed);
        parameters.add(own_parameters, &renamed.parameters, &renamed);
        for (path, item) in &mut own_paths {
            renamed.apply(item);
            super::custom::member(&mut text, path, item);
            protobuf.path(path, item);
        }
    }
    let paths = Arc::new(Piece::new(&text));
    let mut hashed = sha512_hex(&text);
    let mut piece = |table: &Table| {
        let mut text = Vec::new();
        for (name, value) in &table.added {
            super::custom::member(&mut text, name, value);
        }
        hashed.push_str(&sha512_hex(&text));
        Arc::new(Piece::new(&text))
    };
    let (definition_piece, parameter_piece) = (piece(&definitions), piece(&parameters));
    for (name, value) in &definitions.added {
        protobuf.definition(name, value);
    }
    for (name, value) in &parameters.added {
        protobuf.parameter(name, value);
    }
    Merged {
        paths,
        definitions: definition_piece,
        parameters: parameter_piece,
        protobuf: Arc::new(Piece::new(&protobuf.tables())),
        hash: sha512_hex(hashed.as_bytes()),
    }
}

/// The definitions or parameters of the merged document.
struct Table {
    built_in: BTreeMap<String, Value>,
    added: BTreeMap<String, Value>,
    /// What was added, as it came: before references in it were renamed.
    originals: BTreeMap<String, Value>,
}

/// New names of a server's definitions and parameters.
#[derive(Default)]
struct Renamed {
    definitions: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

impl Renamed {
    fn apply(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if key == "$ref" => {
                            for (prefix, names) in [
                                (DEFINITIONS, &self.definitions),
                                (PARAMETERS, &self.parameters),
                            ] {
                                let new =
                                    text.strip_prefix(prefix).and_then(|name| names.get(name));
                                if let Some(new) = new {
                                    *text = format!("{prefix}{new}");
                                    break;
                                }
                            }
                        }
                        member => self.apply(member),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            _ => {}
        }
    }
}

impl Table {
    fn new(built_in: BTreeMap<String, Value>) -> Table {
        Table {
            built_in,
            added: BTreeMap::new(),
            originals: BTreeMap::new(),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.built_in.get(name).or_else(|| self.originals.get(name))
    }

    /// The names that members get because another one has theirs.
    fn renames(&self, own: &Members) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for (name, value) in own {
            if self.get(name).is_none_or(|known| same(known, value)) {
                continue;
            }
            let free =
                (2..)
                    .map(|count| format!("{name}_v{count}"))
                    .find(|new| match self.get(new) {
                        Some(known) => same(known, value),
                        None => !own.contains_key(new),
                    });
            out.extend(free.map(|new| (name.clone(), new)));
        }
        out
    }

    fn add(&mut self, own: Members, renames: &BTreeMap<String, String>, renamed: &Renamed) {
        for (name, value) in own {
            let name = renames.get(&name).cloned().unwrap_or(name);
            if self.get(&name).is_none() {
                let mut new = value.clone();
                renamed.apply(&mut new);
                self.added.insert(name.clone(), new);
                self.originals.insert(name, value);
            }
        }
    }
}

/// Whether two are equal but for the kinds that they say they are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            fn rest(members: &Members) -> impl Iterator<Item = (&String, &Value)> {
                members.iter().filter(|(key, _)| *key != KINDS)
            }
            rest(one).eq(rest(other))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{OpenApi, Question};

    const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
    const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

    fn second(api: &OpenApi) -> serde_json::Value {
        let answer = api.answer(&Question {
            path: "/openapi/v2",
            ..Question::default()
        });
        serde_json::from_slice(&answer.expect("an OpenAPI path").body).expect("JSON")
    }

    #[test]
    fn group_versions_of_other_servers_are_merged() {
        let api = OpenApi::new(
            api_types::resources::RESOURCES
                .iter()
                .filter(|row| row.default_on && row.resource == "pods"),
        );
        let before = second(&api);
        let operation = |name: &str| {
            json!({"get": {"responses": {"200": {"description": "OK",
            "schema": {"$ref": format!("#/definitions/{name}")}}},
            "parameters": [{"$ref": "#/parameters/pretty-tJGM1-ng"}, {"$ref": "#/parameters/own-1"}]}})
        };
        let mut list_meta = before["definitions"][LIST_META].clone();
        list_meta["x-kubernetes-group-version-kind"] =
            json!([{"group": "", "kind": "ListMeta", "version": "v9"}]);
        let server = json!({
            "swagger": "2.0",
            "paths": {
                "/apis/one.example.com/v1/ones": operation("One"),
                "/apis/one.example.com/v2/twos": operation("Two"),
                "/version/": operation(STATUS),
            },
            "definitions": {
                "One": {"properties": {"status": {"$ref": format!("#/definitions/{STATUS}")},
                    "meta": {"$ref": format!("#/definitions/{LIST_META}")}}},
                "Two": {"type": "object"},
                STATUS: {"type": "object", "description": "older"},
                LIST_META: list_meta,
            },
            "parameters": {"own-1": {"in": "query", "name": "own", "type": "string"},
                "pretty-tJGM1-ng": before["parameters"]["pretty-tJGM1-ng"]},
        })
        .to_string();
        let set = |version: &str, server: &str| {
            let name = format!("{version}.one.example.com");
            api.set_aggregated(&name, "one.example.com", version, server.as_bytes())
        };
        set("v1", &server).expect("a document");
        let after = second(&api);
        assert_eq!(
            after["paths"]["/apis/one.example.com/v1/ones"],
            operation("One")
        );
        for absent in ["/apis/one.example.com/v2/twos", "/version/"] {
            assert_eq!(after["paths"][absent], before["paths"][absent], "{absent}");
        }
        let one = &after["definitions"]["One"]["properties"];
        assert_eq!(one["status"]["$ref"], format!("#/definitions/{STATUS}_v2"));
        assert_eq!(one["meta"]["$ref"], format!("#/definitions/{LIST_META}"));
        assert_eq!(
            after["definitions"][format!("{STATUS}_v2")]["description"],
            "older"
        );
        assert_eq!(after["definitions"][STATUS], before["definitions"][STATUS]);
        assert!(after["definitions"].get("Two").is_none());
        assert_eq!(after["parameters"]["own-1"]["name"], "own");

        // A second group version of the same server takes over what the first one brought.
        set("v2", &server).expect("a document");
        let both = second(&api);
        assert!(both["definitions"].get("Two").is_some());
        assert!(both["definitions"].get(format!("{STATUS}_v3")).is_none());
        api.remove_aggregated("v2.one.example.com");
        assert_eq!(second(&api), after);
        // What is no document changes nothing, and one without such paths takes away what was there.
        assert!(set("v1", "nonsense").is_err());
        assert_eq!(second(&api), after);
        set("v1", r#"{"paths":{"/version/":{}}}"#).expect("a document");
        assert_eq!(second(&api), before);
        set("v1", &server).expect("a document");
        api.remove_aggregated("v1.one.example.com");
        assert_eq!(second(&api), before);
    }

    #[test]
    fn linked_documents_are_listed_and_left_to_their_servers() {
        let api = OpenApi::new([]);
        let url = "/openapi/v3/apis/one.example.com/v1";
        assert!(api.link("apis/one.example.com/v1", Some(url)));
        let ask = |path| {
            api.answer(&Question {
                path,
                ..Question::default()
            })
        };
        let index = ask("/openapi/v3").expect("an OpenAPI path").body;
        let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
        let listed = &index["paths"]["apis/one.example.com/v1"];
        assert_eq!(listed["serverRelativeURL"], url);
        assert!(ask("/openapi/v3/apis/one.example.com/v1").is_none());
        api.link("apis/one.example.com/v1", None);
        let answer = ask("/openapi/v3/apis/one.example.com/v1").expect("an OpenAPI path");
        assert_eq!(answer.status, 404);
    }
}
