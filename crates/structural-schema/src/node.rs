//! A schema in memory.
//!
//! Nodes are shared: equal subtrees of one schema, of which CRDs have many, are one node. A leaf without constraints costs
//! its parent a name and two pointers.

use std::sync::Arc;

use serde_json::Value;

use crate::pattern::Pattern;
use crate::rules::Rules;
use crate::validate::format::Format;

/// The schema of one version of a CustomResourceDefinition. Cheap to clone, and shared by all who use it.
#[derive(Clone)]
pub struct Structural {
    pub(crate) root: Arc<Node>,
}

impl std::fmt::Debug for Structural {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Structural")
            .field(&self.root.to_openapi())
            .finish()
    }
}

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not given.
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// None of the above; only CRDs from the time before types were checked have this.
    Unknown,
}

impl Kind {
    pub(crate) fn new(name: &str) -> Self {
        match name {
            "" => Self::Any,
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Unknown => "unknown",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Not given, or atomic.
    #[default]
    Atomic,
    Set,
    Map,
}

/// `additionalProperties`.
#[derive(Clone, Default)]
pub(crate) enum Additional {
    /// Not given.
    #[default]
    Unset,
    Denied,
    Allowed,
    Schema(Arc<Node>),
}

/// Properties of a node that are true or false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) nullable: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) int_or_string: bool,
    /// `x-kubernetes-map-type` is something this version does not know.
    pub(crate) uncorrelatable_map: bool,
    /// There are rules here or below.
    pub(crate) has_rules: bool,
    /// There is a default here or below.
    pub(crate) has_defaults: bool,
    /// There is an embedded resource here or below.
    pub(crate) has_embedded: bool,
    /// There is a list of type set or map here or below.
    pub(crate) has_lists: bool,
}

/// One part of a schema, or one of the schemas under `allOf` and the like.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) list_type: ListType,
    pub(crate) flags: Flags,
    pub(crate) additional: Additional,
    /// In the order of their names.
    pub(crate) properties: Box<[(Arc<str>, Arc<Node>)]>,
    pub(crate) items: Option<Arc<Node>>,
    pub(crate) default: Option<Arc<Value>>,
    /// In the order upstream checks them.
    pub(crate) checks: Box<[Check]>,
    pub(crate) list_keys: Box<[Arc<str>]>,
    pub(crate) rules: Option<Arc<Rules>>,
}

/// One constraint on a value.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// A type that is none.
    Type(Box<str>),
    AnyOf(Box<[Arc<Node>]>),
    OneOf(Box<[Arc<Node>]>),
    AllOf(Box<[Arc<Node>]>),
    Not(Arc<Node>),
    MaxLength(i64),
    MinLength(i64),
    Pattern(Arc<Pattern>),
    Format(Format, Box<str>),
    MultipleOf(f64),
    Maximum {
        limit: f64,
        exclusive: bool,
    },
    Minimum {
        limit: f64,
        exclusive: bool,
    },
    MinItems(i64),
    MaxItems(i64),
    UniqueItems,
    Enum(Box<[Value]>),
    MinProperties(i64),
    MaxProperties(i64),
    Required(Box<[Arc<str>]>),
}

impl Node {
    /// A node that says nothing.
    pub(crate) fn empty() -> Self {
        Node {
            kind: Kind::Any,
            list_type: ListType::Atomic,
            flags: Flags::default(),
            additional: Additional::Unset,
            properties: Box::default(),
            items: None,
            default: None,
            checks: Box::default(),
            list_keys: Box::default(),
            rules: None,
        }
    }

    pub(crate) fn property(&self, name: &str) -> Option<&Arc<Node>> {
        let at = self
            .properties
            .binary_search_by(|(known, _)| (**known).cmp(name));
        at.ok().map(|at| &self.properties[at].1)
    }

    /// The schema of a field: a property, or what `additionalProperties` says.
    pub(crate) fn field(&self, name: &str) -> Option<&Arc<Node>> {
        match (self.property(name), &self.additional) {
            (Some(property), _) => Some(property),
            (None, Additional::Schema(values)) => Some(values),
            (None, _) => None,
        }
    }

    /// `type` as it was written.
    pub(crate) fn type_name(&self) -> &str {
        match self.checks.first() {
            Some(Check::Type(name)) => name,
            _ => self.kind.name(),
        }
    }

    /// The format; for a default also one that is ignored otherwise.
    pub(crate) fn format(&self, is_default: bool) -> Option<(Format, &str)> {
        self.checks.iter().find_map(|check| match check {
            Check::Format(Format::Ignored, text) if is_default => {
                let by_name = Format::for_kind(Kind::Any, text);
                Some((by_name.unwrap_or(Format::Ignored), &**text))
            }
            Check::Format(Format::Ignored, _) => None,
            Check::Format(format, text) => Some((*format, &**text)),
            _ => None,
        })
    }

    /// The parts of an OpenAPI schema that CEL's types and sizes depend on.
    pub(crate) fn to_openapi(&self) -> Value {
        let mut out = serde_json::Map::new();
        if !matches!(self.kind, Kind::Any) {
            out.insert("type".to_owned(), self.type_name().into());
        }
        for (name, set) in [
            ("nullable", self.flags.nullable),
            ("x-kubernetes-int-or-string", self.flags.int_or_string),
            (
                "x-kubernetes-preserve-unknown-fields",
                self.flags.preserve_unknown,
            ),
            ("x-kubernetes-embedded-resource", self.flags.embedded),
        ] {
            if set {
                out.insert(name.to_owned(), true.into());
            }
        }
        let list_type = match self.list_type {
            ListType::Atomic => None,
            ListType::Set => Some("set"),
            ListType::Map => Some("map"),
        };
        if let Some(list_type) = list_type {
            out.insert("x-kubernetes-list-type".to_owned(), list_type.into());
        }
        if !self.list_keys.is_empty() {
            let keys: Vec<Value> = self.list_keys.iter().map(|key| (**key).into()).collect();
            out.insert("x-kubernetes-list-map-keys".to_owned(), keys.into());
        }
        if !self.properties.is_empty() {
            let properties = self
                .properties
                .iter()
                .map(|(name, property)| (name.to_string(), property.to_openapi()));
            out.insert("properties".to_owned(), Value::Object(properties.collect()));
        }
        match &self.additional {
            Additional::Unset => None,
            Additional::Denied => Some(false.into()),
            Additional::Allowed => Some(true.into()),
            Additional::Schema(values) => Some(values.to_openapi()),
        }
        .into_iter()
        .for_each(|values| {
            out.insert("additionalProperties".to_owned(), values);
        });
        if let Some(items) = &self.items {
            out.insert("items".to_owned(), items.to_openapi());
        }
        if let Some(default) = &self.default {
            out.insert("default".to_owned(), (**default).clone());
        }
        for check in &self.checks {
            let (name, value): (_, Value) = match check {
                Check::MaxLength(limit) => ("maxLength", (*limit).into()),
                Check::MaxItems(limit) => ("maxItems", (*limit).into()),
                Check::MaxProperties(limit) => ("maxProperties", (*limit).into()),
                Check::Format(_, text) => ("format", (**text).into()),
                Check::Enum(values) => ("enum", values.to_vec().into()),
                Check::Required(names) => {
                    let names: Vec<Value> = names.iter().map(|name| (**name).into()).collect();
                    ("required", names.into())
                }
                _ => continue,
            };
            out.insert(name.to_owned(), value);
        }
        Value::Object(out)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
