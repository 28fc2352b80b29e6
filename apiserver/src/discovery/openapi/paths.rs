//! Operations of resources. Upstream: endpoints/installer.go and kube-openapi's builder3.

use api_types::Described;
use api_types::descriptions;
use api_types::kinds;
use api_types::meta::v1::{APIResourceList, DeleteOptions, Status};
use api_types::resources::{ResourceInfo, SubresourceInfo};
use serde_json::{Map, Value, json};

use super::schema::Schemas;

/// `Apps` and `V1` in one: the middle of operation ids.
fn title(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let parts = group
        .trim_end_matches(".k8s.io")
        .split('.')
        .chain([version]);
    parts.map(upper_first).collect()
}

fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let mut parts = group.trim_end_matches(".k8s.io").split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    format!(
        "{first}{}_{version}",
        parts.map(upper_first).collect::<String>()
    )
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn query(kind: &str, name: &str) -> Value {
    let ty = match name {
        "allowWatchBookmarks"
        | "sendInitialEvents"
        | "watch"
        | "force"
        | "orphanDependents"
        | "ignoreStoreReadErrorWithClusterBreakingPotential" => "boolean",
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        _ => "string",
    };
    let description = descriptions::of("meta.k8s.io", "v1", kind, name).unwrap_or_default();
    json!({"name": name, "in": "query", "description": description, "schema": {"type": ty, "uniqueItems": true}})
}

const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];

fn parameters(action: &str) -> Vec<Value> {
    let of = |kind: &str, names: &[&str]| names.iter().map(|name| query(kind, name)).collect();
    match action {
        "post" => of(
            "CreateOptions",
            &["dryRun", "fieldManager", "fieldValidation"],
        ),
        "put" => of(
            "UpdateOptions",
            &["dryRun", "fieldManager", "fieldValidation"],
        ),
        "patch" => of(
            "PatchOptions",
            &["dryRun", "fieldManager", "fieldValidation", "force"],
        ),
        "list" => of("ListOptions", &LIST),
        "delete" => of("DeleteOptions", &DELETE),
        "deletecollection" => {
            let mut all: Vec<Value> = of("DeleteOptions", &DELETE);
            let list = LIST
                .iter()
                .filter(|name| !matches!(**name, "allowWatchBookmarks" | "watch"));
            all.extend(list.map(|name| query("ListOptions", name)));
            all
        }
        _ => Vec::new(),
    }
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn responses(codes: &[(&str, &str)], schema: &Value, watches: bool) -> Value {
    let mut out = Map::new();
    let content = json!({"schema": schema});
    for (code, text) in codes {
        let mut types = Map::new();
        for media_type in [
            "application/json",
            "application/vnd.kubernetes.protobuf",
            "application/yaml",
        ] {
            types.insert(media_type.to_owned(), content.clone());
        }
        if watches {
            for media_type in [
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ] {
                types.insert(media_type.to_owned(), content.clone());
            }
        }
        out.insert(
            (*code).to_owned(),
            json!({"description": text, "content": types}),
        );
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// What operations of one path have in common.
struct Target<'a> {
    info: &'a ResourceInfo,
    sub: Option<&'a SubresourceInfo>,
    schemas: &'a mut Schemas,
}

impl Target<'_> {
    fn kind(&self) -> (&str, &str, &str) {
        match self.sub {
            Some(sub) => (sub.group, sub.version, sub.kind),
            None => (self.info.group, self.info.version, self.info.kind),
        }
    }

    /// A reference to the kind of bodies, or to its list.
    fn body(&mut self, list: bool) -> Value {
        let (group, version, kind) = self.kind();
        let name = if list {
            format!("{kind}List")
        } else {
            kind.to_owned()
        };
        match kinds::lookup(group, version, &name) {
            Some(found) => self.schemas.reference(found.schema),
            None if list => match kinds::lookup(self.info.group, self.info.version, &name) {
                Some(found) => self.schemas.reference(found.schema),
                None => json!({"type": "object"}),
            },
            None => json!({"type": "string"}),
        }
    }

    fn operation(&mut self, action: &str, id: &str, description: String) -> Value {
        let (group, version, kind) = self.kind();
        let gvk = json!({"group": group, "version": version, "kind": kind});
        let connects = action == "connect" || self.sub.is_some_and(|sub| sub.name == "log");
        let status = |schemas: &mut Schemas| schemas.reference(Status::SCHEMA);
        let responses = match action {
            _ if connects => {
                json!({"200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}, "401": {"description": "Unauthorized"}})
            }
            "list" => responses(&[OK], &self.body(true), self.info.verbs.contains(&"watch")),
            "post" => responses(&[OK, CREATED, ACCEPTED], &self.body(false), false),
            "put" | "patch" => responses(&[OK, CREATED], &self.body(false), false),
            "delete" => {
                let schema = if matches!(
                    self.info.resource,
                    "pods"
                        | "services"
                        | "serviceaccounts"
                        | "persistentvolumes"
                        | "persistentvolumeclaims"
                        | "podtemplates"
                        | "resourcequotas"
                ) {
                    self.body(false)
                } else {
                    status(self.schemas)
                };
                responses(&[OK, ACCEPTED], &schema, false)
            }
            "deletecollection" => responses(&[OK], &status(self.schemas), false),
            _ => responses(&[OK], &self.body(false), false),
        };
        let mut out = json!({
            "tags": [tag(self.info.group, self.info.version)],
            "description": description,
            "operationId": id,
            "responses": responses,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        });
        let parameters = parameters(action);
        if !parameters.is_empty() {
            out["parameters"] = parameters.into();
        }
        match action {
            "post" | "put" => {
                out["requestBody"] =
                    json!({"content": {"*/*": {"schema": self.body(false)}}, "required": true});
            }
            "patch" => {
                let content = json!({"schema": self.schemas.special("Patch")});
                let mut types = vec![
                    "application/apply-patch+yaml",
                    "application/json-patch+json",
                    "application/merge-patch+json",
                ];
                types.push("application/strategic-merge-patch+json");
                let content: Map<String, Value> = types
                    .into_iter()
                    .map(|name| (name.to_owned(), content.clone()))
                    .collect();
                out["requestBody"] = json!({"content": content, "required": true});
            }
            "delete" | "deletecollection" => {
                let options = self.schemas.reference(DeleteOptions::SCHEMA);
                out["requestBody"] = json!({"content": {"*/*": {"schema": options}}});
            }
            _ => {}
        }
        out
    }
}

fn pretty() -> Value {
    json!({"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}, "description":
        "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget)."})
}

/// Adds the path that lists a group version's resources.
pub(super) fn add_root(
    root: &str,
    group: &str,
    version: &str,
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let list = schemas.reference(APIResourceList::SCHEMA);
    let operation = json!({
        "tags": [tag(group, version)],
        "description": "get available resources",
        "operationId": format!("get{}APIResources", title(group, version)),
        "responses": responses(&[OK], &list, false),
    });
    paths.insert(format!("{root}/"), json!({"get": operation}));
}

/// Adds the paths of a resource.
pub(super) fn add(
    root: &str,
    info: &ResourceInfo,
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let (resource, kind) = (info.resource, info.kind);
    let middle = title(info.group, info.version);
    let scope = if info.namespaced { "Namespaced" } else { "" };
    let namespace = info.namespaced.then(|| {
        path_parameter(
            "namespace",
            "object name and auth scope, such as for teams and projects",
        )
    });
    let name = path_parameter("name", &format!("name of the {kind}"));
    let collection = if info.namespaced {
        format!("{root}/namespaces/{{namespace}}/{resource}")
    } else {
        format!("{root}/{resource}")
    };
    let mut target = Target {
        info,
        sub: None,
        schemas,
    };
    let has = |verb: &str| info.verbs.contains(&verb);
    let lists = if has("watch") {
        "list or watch"
    } else {
        "list"
    };

    let mut item = Map::new();
    let shared = |with_name: bool| {
        let mut shared = Vec::new();
        if with_name {
            shared.push(name.clone());
        }
        shared.extend(namespace.clone());
        shared.push(pretty());
        Value::from(shared)
    };
    let rows = [
        (
            "create",
            "post",
            "post",
            format!("create{middle}{scope}{kind}"),
            format!("create a {kind}"),
        ),
        (
            "list",
            "get",
            "list",
            format!("list{middle}{scope}{kind}"),
            format!("{lists} objects of kind {kind}"),
        ),
        (
            "deletecollection",
            "delete",
            "deletecollection",
            format!("delete{middle}Collection{scope}{kind}"),
            format!("delete collection of {kind}"),
        ),
    ];
    for (verb, method, action, id, text) in rows {
        if has(verb) {
            item.insert(method.to_owned(), target.operation(action, &id, text));
        }
    }
    item.insert("parameters".to_owned(), shared(false));
    paths.insert(collection.clone(), Value::Object(item));

    if info.namespaced && has("list") {
        let id = format!("list{middle}{kind}ForAllNamespaces");
        let mut operation =
            target.operation("list", &id, format!("{lists} objects of kind {kind}"));
        if let Some(operation) = operation.as_object_mut() {
            operation.remove("parameters");
        }
        let mut shared = parameters("list");
        shared.push(pretty());
        paths.insert(
            format!("{root}/{resource}"),
            json!({"get": operation, "parameters": shared}),
        );
    }

    let mut item = Map::new();
    let rows = [
        (
            "get",
            "get",
            "get",
            format!("read{middle}{scope}{kind}"),
            format!("read the specified {kind}"),
        ),
        (
            "update",
            "put",
            "put",
            format!("replace{middle}{scope}{kind}"),
            format!("replace the specified {kind}"),
        ),
        (
            "patch",
            "patch",
            "patch",
            format!("patch{middle}{scope}{kind}"),
            format!("partially update the specified {kind}"),
        ),
        (
            "delete",
            "delete",
            "delete",
            format!("delete{middle}{scope}{kind}"),
            format!("delete a {kind}"),
        ),
    ];
    for (verb, method, action, id, text) in rows {
        if has(verb) {
            item.insert(method.to_owned(), target.operation(action, &id, text));
        }
    }
    if !item.is_empty() {
        item.insert("parameters".to_owned(), shared(true));
        paths.insert(format!("{collection}/{{name}}"), Value::Object(item));
    }

    for sub in info.subresources {
        let (part, suffix) = (sub.name, upper_first(sub.name));
        let mut target = Target {
            info,
            sub: Some(sub),
            schemas: &mut *target.schemas,
        };
        let mut item = Map::new();
        let connects = matches!(part, "exec" | "attach" | "portforward" | "proxy");
        let has = |verb: &str| sub.verbs.contains(&verb);
        if connects {
            let methods: &[&str] = if part == "proxy" {
                &["get", "put", "post", "delete", "options", "head", "patch"]
            } else {
                &["get", "post"]
            };
            for method in methods {
                let id = format!(
                    "connect{middle}{}{scope}{kind}{suffix}",
                    upper_first(method)
                );
                let text = format!(
                    "connect {} requests to {part} of {kind}",
                    method.to_uppercase()
                );
                item.insert((*method).to_owned(), target.operation("connect", &id, text));
            }
        } else {
            let rows = [
                (
                    "get",
                    "get",
                    "get",
                    format!("read{middle}{scope}{kind}{suffix}"),
                    format!("read {part} of the specified {kind}"),
                ),
                (
                    "update",
                    "put",
                    "put",
                    format!("replace{middle}{scope}{kind}{suffix}"),
                    format!("replace {part} of the specified {kind}"),
                ),
                (
                    "patch",
                    "patch",
                    "patch",
                    format!("patch{middle}{scope}{kind}{suffix}"),
                    format!("partially update {part} of the specified {kind}"),
                ),
                (
                    "create",
                    "post",
                    "post",
                    format!("create{middle}{scope}{kind}{suffix}"),
                    format!("create {part} of a {kind}"),
                ),
            ];
            for (verb, method, action, id, text) in rows {
                if has(verb) {
                    item.insert(method.to_owned(), target.operation(action, &id, text));
                }
            }
        }
        item.insert("parameters".to_owned(), shared(true));
        paths.insert(format!("{collection}/{{name}}/{part}"), Value::Object(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_are_upstreams() {
        assert_eq!(title("", "v1"), "CoreV1");
        assert_eq!(
            title("rbac.authorization.k8s.io", "v1"),
            "RbacAuthorizationV1"
        );
        assert_eq!(
            tag("rbac.authorization.k8s.io", "v1"),
            "rbacAuthorization_v1"
        );
        let mut schemas = Schemas::new("apps", "v1");
        let mut paths = Map::new();
        let info = api_types::resources::lookup("apps", "v1", "deployments").unwrap();
        add("/apis/apps/v1", info, &mut schemas, &mut paths);
        let patch = &paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
        assert_eq!(
            paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]["x-kubernetes-group-version-kind"]
                ["kind"],
            "Scale"
        );
    }
}
