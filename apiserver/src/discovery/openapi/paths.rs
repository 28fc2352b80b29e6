//! Paths and operations of the served resources. Upstream: apiserver/pkg/endpoints/installer.go and
//! apiserver/pkg/endpoints/openapi.
//!
//! Invariant: parameters that every operation of a path takes stand at the path, sorted by name, all others at the
//! operation. Bodies are never shared.

use std::collections::BTreeMap;

use api_types::kinds;
use api_types::resources::{ResourceInfo, SubresourceInfo};
use serde_json::{Map, Value, json};

use super::schemas::{Form, PATCH_BODY, Target, Targets, reference};
use super::texts;

const JSON: &str = "application/json";
const OBJECT_TYPES: &[&str] = &[
    JSON,
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const STREAM_TYPES: &[&str] = &[
    JSON,
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOG_TYPES: &[&str] = &[
    "text/plain",
    JSON,
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const ANY_TYPE: &[&str] = &["*/*"];

/// Path items by path.
pub(super) type Paths = BTreeMap<String, Value>;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) location: &'static str,
    ty: &'static str,
    description: String,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) definition: String,
    pub(super) required: bool,
    pub(super) media_types: &'static [&'static str],
}

/// What a response carries.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Text,
    Definition(String),
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) description: String,
    pub(super) tag: String,
    /// `x-kubernetes-action`, and group, version and kind.
    pub(super) action: Option<(&'static str, [String; 3])>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    /// Codes of the answers that carry the content; 401 comes on top.
    pub(super) codes: &'static [(&'static str, &'static str)],
    pub(super) content: Content,
    pub(super) produces: &'static [&'static str],
    pub(super) consumes: &'static [&'static str],
}

pub(super) const OK: (&str, &str) = ("200", "OK");
pub(super) const CREATED: (&str, &str) = ("201", "Created");
pub(super) const ACCEPTED: (&str, &str) = ("202", "Accepted");

impl Operation {
    fn render(&self, form: Form, shared: &[Parameter]) -> Value {
        let mut out = Map::new();
        out.insert("description".to_owned(), self.description.as_str().into());
        out.insert("operationId".to_owned(), self.id.as_str().into());
        out.insert("tags".to_owned(), json!([self.tag]));
        if let Some((action, [group, version, kind])) = &self.action {
            out.insert("x-kubernetes-action".to_owned(), (*action).into());
            out.insert(
                "x-kubernetes-group-version-kind".to_owned(),
                json!({"group": group, "kind": kind, "version": version}),
            );
        }
        let mut parameters: Vec<(&str, &str, Value)> = self
            .parameters
            .iter()
            .filter(|parameter| !shared.contains(parameter))
            .map(|parameter| (parameter.name, parameter.location, parameter.render(form)))
            .collect();
        let content = match &self.content {
            Content::Text => json!({"type": "string"}),
            Content::Definition(name) => reference(form, name),
        };
        let mut responses = Map::new();
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        for (code, description) in self.codes {
            let response = match form {
                Form::V2 => json!({"description": description, "schema": content}),
                Form::V3 => {
                    json!({"description": description, "content": by_media_type(self.produces, &content)})
                }
            };
            responses.insert((*code).to_owned(), response);
        }
        out.insert("responses".to_owned(), responses.into());
        match form {
            Form::V2 => {
                if !self.consumes.is_empty() {
                    out.insert("consumes".to_owned(), self.consumes.into());
                }
                out.insert("produces".to_owned(), self.produces.into());
                out.insert("schemes".to_owned(), json!(["https"]));
                if let Some(body) = &self.body {
                    let mut rendered = json!({"in": "body", "name": "body", "schema": reference(form, &body.definition)});
                    if body.required {
                        rendered["required"] = true.into();
                    }
                    parameters.push(("body", "body", rendered));
                }
            }
            Form::V3 => {
                if let Some(body) = &self.body {
                    let schema = reference(form, &body.definition);
                    let mut rendered = json!({"content": by_media_type(body.media_types, &schema)});
                    if body.required {
                        rendered["required"] = true.into();
                    }
                    out.insert("requestBody".to_owned(), rendered);
                }
            }
        }
        if !parameters.is_empty() {
            out.insert("parameters".to_owned(), sorted(parameters));
        }
        Value::Object(out)
    }
}

impl Parameter {
    fn render(&self, form: Form) -> Value {
        let mut out =
            json!({"name": self.name, "in": self.location, "description": self.description});
        match form {
            Form::V2 => {
                out["type"] = self.ty.into();
                out["uniqueItems"] = true.into();
            }
            Form::V3 => out["schema"] = json!({"type": self.ty, "uniqueItems": true}),
        }
        if self.location == "path" {
            out["required"] = true.into();
        }
        out
    }
}

fn sorted(mut parameters: Vec<(&str, &str, Value)>) -> Value {
    parameters.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    parameters.into_iter().map(|(.., value)| value).collect()
}

fn by_media_type(media_types: &[&str], schema: &Value) -> Value {
    let content: Map<String, Value> = media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect();
    Value::Object(content)
}

fn path_item(form: Form, operations: &[Operation]) -> Value {
    let shared: Vec<Parameter> = match operations.split_first() {
        Some((first, rest)) => first
            .parameters
            .iter()
            .filter(|parameter| {
                rest.iter()
                    .all(|other| other.parameters.contains(parameter))
            })
            .cloned()
            .collect(),
        None => Vec::new(),
    };
    let mut out = Map::new();
    for operation in operations {
        out.insert(operation.method.to_owned(), operation.render(form, &shared));
    }
    if !shared.is_empty() {
        let parameters = shared
            .iter()
            .map(|parameter| (parameter.name, parameter.location, parameter.render(form)))
            .collect();
        out.insert("parameters".to_owned(), sorted(parameters));
    }
    Value::Object(out)
}

pub(super) fn query(options: &str) -> Vec<Parameter> {
    texts::query_parameters(options)
        .iter()
        .map(|parameter| Parameter {
            name: parameter.name,
            location: "query",
            ty: parameter.ty,
            description: parameter.description(),
        })
        .collect()
}

pub(super) fn path_parameter(name: &'static str, description: String) -> Parameter {
    Parameter {
        name,
        location: "path",
        ty: "string",
        description,
    }
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The group as identifiers carry it: `rbac.authorization.k8s.io` is `rbacAuthorization`.
fn group_word(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    word(group.strip_suffix(".k8s.io").unwrap_or(group))
}

/// A name as identifiers carry it: `my-group.example.com` is `myGroupExampleCom`. Upstream: endpoints/openapi,
/// ToValidOperationID.
fn word(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut capitalize = false;
    for (index, c) in name.char_indices() {
        if !(c.is_alphabetic() || c == '_' || (index > 0 && c.is_numeric())) {
            capitalize = true;
        } else if std::mem::take(&mut capitalize) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// A noun after its article; plurals have none. Upstream: endpoints.GetArticleForNoun.
pub(super) fn with_article(noun: &str) -> String {
    if noun.ends_with('s') && !noun.ends_with("ss") {
        return noun.to_owned();
    }
    match noun.chars().next() {
        Some('A' | 'E' | 'I' | 'O' | 'U' | 'a' | 'e' | 'i' | 'o' | 'u') => format!("an {noun}"),
        _ => format!("a {noun}"),
    }
}

/// Where upstream answers a deletion with the object, not with a Status.
fn deletion_returns_object(info: &ResourceInfo) -> bool {
    match info.group {
        "" => matches!(
            info.resource,
            "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "resource.k8s.io" => true,
        "storage.k8s.io" => info.resource != "csistoragecapacities",
        _ => false,
    }
}

/// The base path of a group version.
pub(super) fn base_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

/// Builds the paths of one group version.
pub(super) struct Builder<'a> {
    form: Form,
    group: &'a str,
    version: &'a str,
    pub(super) targets: &'a mut Targets,
    paths: &'a mut Paths,
}

/// The names of one resource that operations are made of.
struct Names<'a> {
    info: &'a ResourceInfo,
    /// `Namespaced` in identifiers.
    scope: &'static str,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        form: Form,
        group: &'a str,
        version: &'a str,
        targets: &'a mut Targets,
        paths: &'a mut Paths,
    ) -> Builder<'a> {
        Builder {
            form,
            group,
            version,
            targets,
            paths,
        }
    }

    pub(super) fn definition(&mut self, group: &str, version: &str, kind: &str) -> Content {
        match kinds::lookup(group, version, kind) {
            Some(info) => Content::Definition(self.targets.name(Target::Struct(info.schema))),
            None => Content::Text,
        }
    }

    pub(super) fn meta(&mut self, kind: &str) -> Content {
        self.definition("meta.k8s.io", "v1", kind)
    }

    pub(super) fn tag(&self) -> String {
        format!("{}_{}", group_word(self.group), word(self.version))
    }

    pub(super) fn id(&self, verb: &str, rest: &str) -> String {
        let [group, version, rest] =
            [&group_word(self.group), self.version, rest].map(|part| capitalized(&word(part)));
        format!("{verb}{group}{version}{rest}")
    }

    pub(super) fn put(&mut self, path: String, operations: &[Operation]) {
        if !operations.is_empty() {
            self.paths.insert(path, path_item(self.form, operations));
        }
    }

    /// The list of the group version's resources.
    pub(super) fn discovery(&mut self) {
        let content = self.meta("APIResourceList");
        let operation = Operation {
            method: "get",
            id: self.id("get", "APIResources"),
            description: "get available resources".to_owned(),
            tag: self.tag(),
            action: None,
            parameters: Vec::new(),
            body: None,
            codes: &[OK],
            content,
            produces: OBJECT_TYPES,
            consumes: OBJECT_TYPES,
        };
        self.put(
            format!("{}/", base_path(self.group, self.version)),
            &[operation],
        );
    }

    /// All paths of one resource.
    pub(super) fn resource(&mut self, info: &ResourceInfo) {
        let names = Names {
            info,
            scope: if info.namespaced { "Namespaced" } else { "" },
        };
        let base = base_path(self.group, self.version);
        let scope = if info.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{base}{scope}/{}", info.resource);
        let item = format!("{collection}/{{name}}");
        let has = |verb: &str| info.verbs.contains(&verb);

        let mut operations = Vec::new();
        if has("list") {
            operations.push(self.list(&names, names.scope, ""));
        }
        if has("create") {
            operations.push(self.create(&names));
        }
        if has("deletecollection") {
            operations.push(self.delete_collection(&names));
        }
        self.put(collection, &operations);

        let mut operations = Vec::new();
        if has("get") {
            operations.push(self.read(&names));
        }
        if has("update") {
            operations.push(self.replace(&names, None));
        }
        if has("delete") {
            operations.push(self.delete(&names));
        }
        if has("patch") {
            operations.push(self.patch(&names, None));
        }
        self.put(item.clone(), &operations);

        if info.namespaced && has("list") {
            let operation = self.list(&names, "", "ForAllNamespaces");
            self.put(format!("{base}/{}", info.resource), &[operation]);
        }
        if has("watch") {
            let collection = format!("{base}/watch{scope}/{}", info.resource);
            let many = self.watch(&names, names.scope, "List", false);
            let one = self.watch(&names, names.scope, "", true);
            self.put(format!("{collection}/{{name}}"), &[one]);
            self.put(collection, &[many]);
            if info.namespaced {
                let all = self.watch(&names, "", "ListForAllNamespaces", false);
                self.put(format!("{base}/watch/{}", info.resource), &[all]);
            }
        }
        for sub in info.subresources {
            self.subresource(&names, sub, &item);
        }
    }

    fn subresource(&mut self, names: &Names<'_>, sub: &'static SubresourceInfo, item: &str) {
        let path = format!("{item}/{}", sub.name);
        if matches!(sub.name, "attach" | "exec" | "portforward" | "proxy") {
            let operations = self.connect(names, sub, false);
            self.put(path.clone(), &operations);
            if sub.name == "proxy" {
                let operations = self.connect(names, sub, true);
                self.put(format!("{path}/{{path}}"), &operations);
            }
            return;
        }
        let has = |verb: &str| sub.verbs.contains(&verb);
        let mut operations = Vec::new();
        if has("get") {
            operations.push(self.read_subresource(names, sub));
        }
        if has("create") {
            operations.push(self.create_subresource(names, sub));
        }
        if has("update") {
            operations.push(self.replace(names, Some(sub)));
        }
        if has("patch") {
            operations.push(self.patch(names, Some(sub)));
        }
        self.put(path, &operations);
    }

    /// An operation with what all of them share: path parameters and `pretty`.
    fn operation(
        &mut self,
        names: &Names<'_>,
        method: &'static str,
        action: &'static str,
        kind: [&str; 3],
    ) -> Operation {
        let mut parameters = query("pretty");
        if names.info.namespaced {
            parameters.push(path_parameter(
                "namespace",
                "object name and auth scope, such as for teams and projects".to_owned(),
            ));
        }
        // The options of a connection are query parameters and need no definition.
        let content = match action {
            "connect" => Content::Text,
            _ => self.definition(kind[0], kind[1], kind[2]),
        };
        Operation {
            method,
            id: String::new(),
            description: String::new(),
            tag: self.tag(),
            action: Some((action, kind.map(str::to_owned))),
            parameters,
            body: None,
            codes: &[OK],
            content,
            produces: OBJECT_TYPES,
            consumes: ANY_TYPE,
        }
    }

    fn own_kind<'b>(&self, names: &Names<'b>) -> [&'b str; 3] {
        [names.info.group, names.info.version, names.info.kind]
    }

    /// An operation on one object, or on a subresource of it.
    fn item_operation(
        &mut self,
        names: &Names<'_>,
        sub: Option<&'static SubresourceInfo>,
        method: &'static str,
        action: &'static str,
    ) -> Operation {
        let kind = match sub {
            Some(sub) => [sub.group, sub.version, sub.kind],
            None => self.own_kind(names),
        };
        let mut operation = self.operation(names, method, action, kind);
        operation
            .parameters
            .push(path_parameter("name", format!("name of the {}", kind[2])));
        operation
    }

    fn list_kind(&mut self, names: &Names<'_>) -> Content {
        let kind = format!("{}List", names.info.kind);
        self.definition(names.info.group, names.info.version, &kind)
    }

    fn list(&mut self, names: &Names<'_>, scope: &str, suffix: &str) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.operation(names, "get", "list", self.own_kind(names));
        if !suffix.is_empty() {
            operation
                .parameters
                .retain(|parameter| parameter.location != "path");
        }
        operation.id = self.id("list", &format!("{scope}{kind}{suffix}"));
        operation.description = if names.info.verbs.contains(&"watch") {
            format!("list or watch objects of kind {kind}")
        } else {
            format!("list objects of kind {kind}")
        };
        operation.parameters.extend(query("ListOptions"));
        operation.content = self.list_kind(names);
        operation.produces = STREAM_TYPES;
        operation
    }

    fn watch(&mut self, names: &Names<'_>, scope: &str, suffix: &str, item: bool) -> Operation {
        let kind = names.info.kind;
        let own = self.own_kind(names);
        let mut operation = if item {
            self.item_operation(names, None, "get", "watch")
        } else {
            self.operation(names, "get", "watchlist", own)
        };
        if suffix == "ListForAllNamespaces" {
            operation
                .parameters
                .retain(|parameter| parameter.location != "path");
        }
        operation.id = self.id("watch", &format!("{scope}{kind}{suffix}"));
        operation.description = if item {
            format!(
                "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
            )
        } else {
            format!(
                "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
            )
        };
        operation.parameters.extend(query("ListOptions"));
        operation.content = self.meta("WatchEvent");
        operation.produces = STREAM_TYPES;
        operation
    }

    fn create(&mut self, names: &Names<'_>) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.operation(names, "post", "post", self.own_kind(names));
        operation.id = self.id("create", &format!("{}{kind}", names.scope));
        operation.description = format!("create {}", with_article(kind));
        operation.parameters.extend(query("CreateOptions"));
        operation.codes = &[OK, CREATED, ACCEPTED];
        operation.body = own_body(&operation.content);
        operation
    }

    fn delete_collection(&mut self, names: &Names<'_>) -> Operation {
        let kind = names.info.kind;
        let mut operation =
            self.operation(names, "delete", "deletecollection", self.own_kind(names));
        operation.id = self.id("delete", &format!("Collection{}{kind}", names.scope));
        operation.description = format!("delete collection of {kind}");
        operation.parameters.extend(query("DeleteOptions"));
        operation.parameters.extend(
            query("ListOptions")
                .into_iter()
                .filter(|parameter| !matches!(parameter.name, "allowWatchBookmarks" | "watch")),
        );
        operation.content = self.meta("Status");
        operation.body = self.delete_options();
        operation
    }

    fn delete_options(&mut self) -> Option<Body> {
        let mut body = own_body(&self.meta("DeleteOptions"))?;
        body.required = false;
        Some(body)
    }

    fn read(&mut self, names: &Names<'_>) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, None, "get", "get");
        operation.id = self.id("read", &format!("{}{kind}", names.scope));
        operation.description = format!("read the specified {kind}");
        operation
    }

    fn delete(&mut self, names: &Names<'_>) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, None, "delete", "delete");
        operation.id = self.id("delete", &format!("{}{kind}", names.scope));
        operation.description = format!("delete {}", with_article(kind));
        operation.parameters.extend(query("DeleteOptions"));
        operation.codes = &[OK, ACCEPTED];
        operation.body = self.delete_options();
        if !deletion_returns_object(names.info) {
            operation.content = self.meta("Status");
        }
        operation
    }

    fn replace(&mut self, names: &Names<'_>, sub: Option<&'static SubresourceInfo>) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, sub, "put", "put");
        let (suffix, of) = subresource_words(sub);
        operation.id = self.id("replace", &format!("{}{kind}{suffix}", names.scope));
        operation.description = format!("replace {of}the specified {kind}");
        operation.parameters.extend(query("CreateOptions"));
        operation.codes = &[OK, CREATED];
        operation.body = own_body(&operation.content);
        operation
    }

    fn patch(&mut self, names: &Names<'_>, sub: Option<&'static SubresourceInfo>) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, sub, "patch", "patch");
        let (suffix, of) = subresource_words(sub);
        operation.id = self.id("patch", &format!("{}{kind}{suffix}", names.scope));
        operation.description = format!("partially update {of}the specified {kind}");
        operation.parameters.extend(query("PatchOptions"));
        operation.codes = &[OK, CREATED];
        operation.consumes = PATCH_TYPES;
        operation.body = Some(Body {
            definition: self.targets.name(PATCH_BODY),
            required: true,
            media_types: PATCH_TYPES,
        });
        operation
    }

    fn read_subresource(&mut self, names: &Names<'_>, sub: &'static SubresourceInfo) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, Some(sub), "get", "get");
        let (suffix, of) = subresource_words(Some(sub));
        operation.id = self.id("read", &format!("{}{kind}{suffix}", names.scope));
        operation.description = format!("read {of}the specified {kind}");
        if sub.name == "log" {
            operation.parameters.extend(query("PodLogOptions"));
            operation.content = Content::Text;
            operation.produces = LOG_TYPES;
        }
        operation
    }

    fn create_subresource(
        &mut self,
        names: &Names<'_>,
        sub: &'static SubresourceInfo,
    ) -> Operation {
        let kind = names.info.kind;
        let mut operation = self.item_operation(names, Some(sub), "post", "post");
        let (suffix, of) = subresource_words(Some(sub));
        operation.id = self.id("create", &format!("{}{kind}{suffix}", names.scope));
        operation.description = format!("create {of}{}", with_article(kind));
        operation.parameters.extend(query("CreateOptions"));
        operation.codes = &[OK, CREATED, ACCEPTED];
        operation.body = own_body(&operation.content);
        operation
    }

    fn connect(
        &mut self,
        names: &Names<'_>,
        sub: &'static SubresourceInfo,
        with_path: bool,
    ) -> Vec<Operation> {
        let methods: &[&'static str] = match sub.name {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let (suffix, of) = subresource_words(Some(sub));
        let kind = names.info.kind;
        let with_path_word = if with_path { "WithPath" } else { "" };
        methods
            .iter()
            .map(|method| {
                let mut operation =
                    self.operation(names, method, "connect", [sub.group, sub.version, sub.kind]);
                operation
                    .parameters
                    .retain(|parameter| parameter.name != "pretty");
                operation
                    .parameters
                    .push(path_parameter("name", format!("name of the {}", sub.kind)));
                if with_path {
                    operation
                        .parameters
                        .push(path_parameter("path", "path to the resource".to_owned()));
                }
                operation.parameters.extend(query(sub.kind));
                operation.id = self.id(
                    "connect",
                    &format!(
                        "{}{}{kind}{suffix}{with_path_word}",
                        capitalized(method),
                        names.scope
                    ),
                );
                operation.description =
                    format!("connect {} requests to {of}{kind}", method.to_uppercase());
                operation.produces = ANY_TYPE;
                operation
            })
            .collect()
    }
}

fn own_body(content: &Content) -> Option<Body> {
    match content {
        Content::Definition(name) => Some(Body {
            definition: name.clone(),
            required: true,
            media_types: ANY_TYPE,
        }),
        Content::Text => None,
    }
}

/// The end of the identifier and the words before the kind.
fn subresource_words(sub: Option<&SubresourceInfo>) -> (String, String) {
    match sub {
        Some(sub) => (capitalized(sub.name), format!("{} of ", sub.name)),
        None => (String::new(), String::new()),
    }
}

/// Paths that serve no resource, by the document that has them.
pub(super) fn fixed(form: Form, document: &str, targets: &mut Targets, paths: &mut Paths) -> bool {
    let mut builder = Builder::new(form, "", "", targets, paths);
    let (tag, id, description, content, types): (
        String,
        String,
        &str,
        Content,
        &'static [&'static str],
    ) = match document {
        "api" => (
            "core".to_owned(),
            "getCoreAPIVersions".to_owned(),
            "get available API versions",
            builder.meta("APIVersions"),
            OBJECT_TYPES,
        ),
        "apis" => (
            "apis".to_owned(),
            "getAPIVersions".to_owned(),
            "get available API versions",
            builder.meta("APIGroupList"),
            OBJECT_TYPES,
        ),
        "version" => (
            "version".to_owned(),
            "getCodeVersion".to_owned(),
            "get the version information for this server",
            Content::Definition(
                builder
                    .targets
                    .name(Target::Struct(&api_types::version::v1::schema::Info)),
            ),
            &[JSON],
        ),
        "openid/v1/jwks" => (
            "openid".to_owned(),
            "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            Content::Text,
            &["application/jwk-set+json"],
        ),
        ".well-known/openid-configuration" => (
            "WellKnown".to_owned(),
            "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            Content::Text,
            &[JSON],
        ),
        other => match other
            .strip_prefix("apis/")
            .filter(|group| !group.contains('/'))
        {
            Some(group) => (
                group_word(group),
                format!("get{}APIGroup", capitalized(&group_word(group))),
                "get information of a group",
                builder.meta("APIGroup"),
                OBJECT_TYPES,
            ),
            None => return false,
        },
    };
    let operation = Operation {
        method: "get",
        id,
        description: description.to_owned(),
        tag,
        action: None,
        parameters: Vec::new(),
        body: None,
        codes: &[OK],
        content,
        produces: types,
        // The token issuer's documents are written by hand upstream and say nothing of requests.
        consumes: if builder_says_nothing(document) {
            &[]
        } else {
            types
        },
    };
    builder.put(format!("/{document}/"), &[operation]);
    true
}

fn builder_says_nothing(document: &str) -> bool {
    document.starts_with("openid") || document.starts_with(".well-known")
}

/// How requests authenticate, as both forms say it.
pub(super) const SECURITY: &str = r#"{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}}"#;
