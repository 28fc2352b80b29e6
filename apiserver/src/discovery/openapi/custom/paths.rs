//! Paths and operations of a custom resource. Upstream: apiextensions-apiserver/pkg/controller/openapi/builder.

use super::super::paths::{
    ACCEPTED, Body, Builder, CREATED, Content, OK, Operation, Parameter, Paths, base_path,
    path_parameter, query, with_article,
};
use super::super::schemas::{Form, PATCH_BODY, Targets};
use super::Description;

const TYPES: &[&str] = &["application/json", "application/yaml"];
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// What an operation is called for.
#[derive(Clone, Copy)]
struct Verb {
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// How identifiers and texts start.
    word: &'static str,
}

const fn verb(method: &'static str, action: &'static str, word: &'static str) -> Verb {
    Verb {
        method,
        action,
        word,
    }
}

const READ: Verb = verb("get", "get", "read");
const REPLACE: Verb = verb("put", "put", "replace");
const PATCH: Verb = verb("patch", "patch", "patch");

/// The paths, and the built-in definitions that they use.
pub(super) fn paths(form: Form, description: &Description<'_>, targets: &mut Targets) -> Paths {
    let mut paths = Paths::new();
    let mut resource = Routes {
        description,
        builder: Builder::new(
            form,
            description.group,
            description.version,
            targets,
            &mut paths,
        ),
    };
    resource.build();
    paths
}

struct Routes<'a> {
    description: &'a Description<'a>,
    builder: Builder<'a>,
}

impl Routes<'_> {
    fn build(&mut self) {
        let Description {
            group,
            version,
            kind,
            plural,
            ..
        } = *self.description;
        let base = base_path(group, version);
        let own = Content::Definition(self.description.definition(kind));
        let list = Content::Definition(self.description.definition(self.description.list_kind));
        let status = self.builder.meta("Status");
        let mut collection = format!("{base}/{plural}");
        let list_verb = verb("get", "list", "list");
        if self.description.namespaced {
            let mut operation = self.operation(list_verb, false, "", list.clone());
            operation
                .parameters
                .retain(|parameter| parameter.location != "path");
            operation.id = self.builder.id("list", &format!("{kind}ForAllNamespaces"));
            self.builder.put(collection, &[operation]);
            collection = format!("{base}/namespaces/{{namespace}}/{plural}");
        }
        let item = format!("{collection}/{{name}}");
        let operations = [
            self.operation(list_verb, false, "", list),
            self.operation(verb("post", "post", "create"), false, "", own.clone()),
            self.operation(
                verb("delete", "deletecollection", "delete"),
                false,
                "",
                status.clone(),
            ),
        ];
        self.builder.put(collection, &operations);
        let delete = self.operation(verb("delete", "delete", "delete"), true, "", status);
        let mut operations = self.changes("", &own);
        operations.push(delete);
        self.builder.put(item.clone(), &operations);
        if self.description.status {
            let operations = self.changes("status", &own);
            self.builder.put(format!("{item}/status"), &operations);
        }
        if self.description.scale {
            let scale = self.builder.definition("autoscaling", "v1", "Scale");
            let operations = self.changes("scale", &scale);
            self.builder.put(format!("{item}/scale"), &operations);
        }
    }

    fn changes(&mut self, subresource: &str, content: &Content) -> Vec<Operation> {
        [READ, REPLACE, PATCH]
            .map(|verb| self.operation(verb, true, subresource, content.clone()))
            .into()
    }

    fn operation(
        &mut self,
        verb: Verb,
        item: bool,
        subresource: &str,
        content: Content,
    ) -> Operation {
        let Description {
            group,
            version,
            kind,
            namespaced,
            ..
        } = *self.description;
        let mut parameters = query("pretty");
        if namespaced {
            parameters.push(path_parameter(
                "namespace",
                "object name and auth scope, such as for teams and projects".to_owned(),
            ));
        }
        if item {
            parameters.push(path_parameter("name", format!("name of the {kind}")));
        }
        parameters.extend(options(verb.action));
        let (ending, of) = match subresource {
            "" => (String::new(), String::new()),
            name => (
                super::super::paths::capitalized(name),
                format!("{name} of "),
            ),
        };
        let scope = if namespaced { "Namespaced" } else { "" };
        let of_many = match verb.action {
            "deletecollection" => "Collection",
            _ => "",
        };
        let body = match verb.action {
            "post" | "put" => match &content {
                Content::Definition(name) => Some((name.clone(), true)),
                Content::Text => None,
            },
            "patch" => Some((self.builder.targets.name(PATCH_BODY), true)),
            "delete" => match self.builder.meta("DeleteOptions") {
                Content::Definition(name) => Some((name, false)),
                Content::Text => None,
            },
            _ => None,
        };
        let consumes = match verb.action {
            "patch" => PATCH_TYPES,
            _ => TYPES,
        };
        Operation {
            method: verb.method,
            id: self
                .builder
                .id(verb.word, &format!("{of_many}{scope}{kind}{ending}")),
            description: match verb.action {
                "list" => format!("list objects of kind {kind}"),
                "post" | "delete" => format!("{} {}", verb.word, with_article(kind)),
                "deletecollection" => format!("delete collection of {kind}"),
                "patch" => format!("partially update {of}the specified {kind}"),
                _ => format!("{} {of}the specified {kind}", verb.word),
            },
            tag: self.builder.tag(),
            action: Some((verb.action, [group, version, kind].map(str::to_owned))),
            parameters,
            body: body.map(|(definition, required)| Body {
                definition,
                required,
                media_types: consumes,
            }),
            codes: match verb.action {
                "post" => &[OK, CREATED, ACCEPTED],
                "put" => &[OK, CREATED],
                "delete" => &[OK, ACCEPTED],
                _ => &[OK],
            },
            content,
            produces: TYPES,
            consumes,
        }
    }
}

/// The query parameters of an action.
fn options(action: &str) -> Vec<Parameter> {
    match action {
        // The options of a read have one of the parameters that lists have.
        "get" => query("ListOptions")
            .into_iter()
            .filter(|parameter| parameter.name == "resourceVersion")
            .collect(),
        "list" | "deletecollection" => query("ListOptions"),
        // Those of an update are those of a creation.
        "put" | "post" => query("CreateOptions"),
        "patch" => query("PatchOptions"),
        _ => query("DeleteOptions"),
    }
}
