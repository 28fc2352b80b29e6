//! From a CRD's `openAPIV3Schema` to a schema in memory. Upstream: apiserver/schema/convert.go and unfold.go.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use api_types::apiextensions::v1::{JSON, JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::Value;

use crate::node::{Additional, Check, Flags, Kind, ListType, Node, Structural};
use crate::pattern::Pattern;
use crate::rules::{Rules, is_exposed};
use crate::validate::format::Format;

/// Why a schema cannot be used: it has something that CRDs do not support. Validation of the CRD says the same with more
/// words, so only stored CRDs from long ago get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl Structural {
    /// Reads a CRD's schema. The schema need not be structural: what is not is validated all the same.
    pub fn new(props: &JSONSchemaProps) -> Result<Self, Problem> {
        let mut builder = Builder::default();
        let mut node = builder.node(props, false)?;
        node.rules = rules(props, true);
        Ok(Structural {
            root: builder.share(node),
        })
    }

    /// The schema of a property of the root, such as `status`.
    pub fn property(&self, name: &str) -> Option<Structural> {
        let root = self.root.property(name)?.clone();
        Some(Structural { root })
    }

    /// How many bytes the schema takes, without what compiled patterns and rules do.
    pub fn memory(&self) -> usize {
        let mut seen = HashSet::new();
        memory(&self.root, &mut seen)
    }
}

/// The value of a default, an example or an enum entry; none for `null`.
pub(crate) fn json(json: &JSON) -> Result<Option<Value>, Problem> {
    if json.raw.is_empty() || json.raw == b"null" {
        return Ok(None);
    }
    match serde_json::from_slice(&json.raw) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(Problem(error.to_string())),
    }
}

/// The default, if there is one.
pub(crate) fn default(props: &JSONSchemaProps) -> Option<Value> {
    json(props.default.as_ref()?).ok()?
}

/// The one schema of the items.
pub(crate) fn item_schema(items: &JSONSchemaPropsOrArray) -> Option<&JSONSchemaProps> {
    items.schema.as_deref()
}

/// What conversion refuses. Upstream's validation of schemas refuses the same.
pub(crate) fn unsupported(props: &JSONSchemaProps) -> Result<(), Problem> {
    let found = [
        (!props.id.is_empty(), "id"),
        (!props.schema.is_empty(), "schema"),
        (props.ref_.as_ref().is_some_and(|to| !to.is_empty()), "$ref"),
        (!props.pattern_properties.is_empty(), "patternProperties"),
        (!props.dependencies.is_empty(), "dependencies"),
        (props.additional_items.is_some(), "additionalItems"),
        (!props.definitions.is_empty(), "definitions"),
    ];
    match found.iter().find(|(there, _)| *there) {
        Some((_, name)) => Err(Problem(format!(
            "OpenAPIV3Schema '{name}' is not supported"
        ))),
        None => Ok(()),
    }
}

fn rules(props: &JSONSchemaProps, is_root: bool) -> Option<Arc<Rules>> {
    let rules = &props.x_kubernetes_validations;
    let is_resource = is_root || props.x_kubernetes_embedded_resource;
    (!rules.is_empty()).then(|| Arc::new(Rules::new(rules, is_resource)))
}

/// Makes nodes, each only once.
#[derive(Default)]
struct Builder {
    nodes: HashMap<String, Arc<Node>>,
    names: HashSet<Arc<str>>,
}

impl Builder {
    fn name(&mut self, name: &str) -> Arc<str> {
        match self.names.get(name) {
            Some(name) => name.clone(),
            None => {
                let name: Arc<str> = name.into();
                self.names.insert(name.clone());
                name
            }
        }
    }

    fn names(&mut self, names: &[String]) -> Box<[Arc<str>]> {
        names.iter().map(|name| self.name(name)).collect()
    }

    /// A shared node. `nested` is true under `allOf` and the like.
    fn shared(&mut self, props: &JSONSchemaProps, nested: bool) -> Result<Arc<Node>, Problem> {
        let node = self.node(props, nested)?;
        Ok(self.share(node))
    }

    fn share(&mut self, mut node: Node) -> Arc<Node> {
        let below = node
            .properties
            .iter()
            .map(|(_, property)| property)
            .chain(&node.items)
            .chain(match &node.additional {
                Additional::Schema(values) => Some(values),
                _ => None,
            });
        let flags = &mut node.flags;
        flags.has_rules |= node.rules.is_some();
        flags.has_defaults |= node.default.is_some();
        flags.has_embedded |= flags.embedded;
        flags.has_lists |= node.list_type != ListType::Atomic;
        for child in below {
            // Rules below what expressions cannot use are never evaluated.
            flags.has_rules |= child.flags.has_rules && is_exposed(child);
            flags.has_defaults |= child.flags.has_defaults;
            flags.has_embedded |= child.flags.has_embedded;
            flags.has_lists |= child.flags.has_lists;
        }
        let key = key(&node);
        self.nodes
            .entry(key)
            .or_insert_with(|| Arc::new(node))
            .clone()
    }

    fn many(
        &mut self,
        all: &[JSONSchemaProps],
        check: fn(Box<[Arc<Node>]>) -> Check,
        into: &mut Vec<Check>,
    ) -> Result<(), Problem> {
        if !all.is_empty() {
            let nodes: Result<Box<[_]>, _> =
                all.iter().map(|props| self.shared(props, true)).collect();
            into.push(check(nodes?));
        }
        Ok(())
    }

    fn node(&mut self, props: &JSONSchemaProps, nested: bool) -> Result<Node, Problem> {
        unsupported(props)?;
        if props.x_kubernetes_preserve_unknown_fields == Some(false) {
            let text =
                "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            return Err(Problem(text.to_owned()));
        }
        let mut node = Node {
            kind: Kind::new(&props.type_),
            list_type: match props.x_kubernetes_list_type.as_deref() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            flags: Flags {
                nullable: props.nullable,
                preserve_unknown: props.x_kubernetes_preserve_unknown_fields == Some(true),
                embedded: props.x_kubernetes_embedded_resource,
                int_or_string: props.x_kubernetes_int_or_string,
                uncorrelatable_map: !matches!(
                    props.x_kubernetes_map_type.as_deref(),
                    None | Some("granular" | "atomic")
                ),
                ..Flags::default()
            },
            checks: self.checks(props)?,
            list_keys: self.names(&props.x_kubernetes_list_map_keys),
            ..Node::empty()
        };
        if let Some(default) = &props.default {
            node.default = json(default)?.map(Arc::new);
        }
        if !nested {
            node.rules = rules(props, false);
        }
        if let Some(items) = &props.items {
            if !items.json_schemas.is_empty() {
                let text = "OpenAPIV3Schema 'items' must be a schema, but is an array";
                return Err(Problem(text.to_owned()));
            }
            if let Some(items) = item_schema(items) {
                node.items = Some(self.shared(items, nested)?);
            }
        }
        let properties: Result<Box<[_]>, Problem> = props
            .properties
            .iter()
            .map(|(name, property)| {
                let node = self.shared(property, nested)?;
                Ok((self.name(name), node))
            })
            .collect();
        node.properties = properties?;
        if let Some(additional) = &props.additional_properties {
            node.additional = match &additional.schema {
                Some(values) => Additional::Schema(self.shared(values, nested)?),
                None if additional.allows => Additional::Allowed,
                None => Additional::Denied,
            };
        }
        Ok(node)
    }

    fn checks(&mut self, props: &JSONSchemaProps) -> Result<Box<[Check]>, Problem> {
        let mut checks = Vec::new();
        if Kind::new(&props.type_) == Kind::Unknown {
            checks.push(Check::Type(props.type_.as_str().into()));
        }
        self.many(&props.any_of, Check::AnyOf, &mut checks)?;
        self.many(&props.one_of, Check::OneOf, &mut checks)?;
        self.many(&props.all_of, Check::AllOf, &mut checks)?;
        if let Some(not) = &props.not {
            checks.push(Check::Not(self.shared(not, true)?));
        }
        checks.extend(props.max_length.map(Check::MaxLength));
        checks.extend(props.min_length.map(Check::MinLength));
        if !props.pattern.is_empty() {
            checks.push(Check::Pattern(Arc::new(Pattern::new(&props.pattern))));
        }
        let kind = if props.x_kubernetes_int_or_string {
            Kind::Any
        } else {
            Kind::new(&props.type_)
        };
        if !props.format.is_empty() {
            let format = Format::for_kind(kind, &props.format).unwrap_or(Format::Ignored);
            checks.push(Check::Format(format, props.format.as_str().into()));
        }
        checks.extend(props.multiple_of.map(Check::MultipleOf));
        checks.extend(props.maximum.map(|limit| Check::Maximum {
            limit,
            exclusive: props.exclusive_maximum,
        }));
        checks.extend(props.minimum.map(|limit| Check::Minimum {
            limit,
            exclusive: props.exclusive_minimum,
        }));
        checks.extend(props.min_items.map(Check::MinItems));
        checks.extend(props.max_items.map(Check::MaxItems));
        if props.unique_items {
            checks.push(Check::UniqueItems);
        }
        if !props.enum_.is_empty() {
            let values: Result<Box<[_]>, Problem> = props
                .enum_
                .iter()
                .map(|value| Ok(json(value)?.unwrap_or(Value::Null)))
                .collect();
            checks.push(Check::Enum(values?));
        }
        checks.extend(props.min_properties.map(Check::MinProperties));
        checks.extend(props.max_properties.map(Check::MaxProperties));
        if !props.required.is_empty() {
            checks.push(Check::Required(self.names(&props.required)));
        }
        Ok(checks.into())
    }
}

/// Equal for nodes that are, given that the nodes below are shared.
fn key(node: &Node) -> String {
    let mut key = String::new();
    let children = |key: &mut String, name: &str, nodes: &[Arc<Node>]| {
        key.push_str(name);
        for node in nodes {
            let _ = write!(key, " {:p}", Arc::as_ptr(node));
        }
        key.push(';');
    };
    let _ = write!(key, "{:?}{:?}{:?}", node.kind, node.list_type, node.flags);
    for (name, property) in &node.properties {
        let _ = write!(key, "{name:?}={:p},", Arc::as_ptr(property));
    }
    children(&mut key, "items", node.items.as_slice());
    match &node.additional {
        Additional::Unset => {}
        Additional::Denied => key.push_str("denied"),
        Additional::Allowed => key.push_str("allowed"),
        Additional::Schema(values) => children(&mut key, "values", std::slice::from_ref(values)),
    }
    if let Some(default) = &node.default {
        let _ = write!(key, "default {default};");
    }
    let _ = write!(key, "{:?}", node.list_keys);
    for check in &node.checks {
        match check {
            Check::AnyOf(nodes) => children(&mut key, "anyOf", nodes),
            Check::OneOf(nodes) => children(&mut key, "oneOf", nodes),
            Check::AllOf(nodes) => children(&mut key, "allOf", nodes),
            Check::Not(node) => children(&mut key, "not", std::slice::from_ref(node)),
            check => {
                let _ = write!(key, "{check:?};");
            }
        }
    }
    if let Some(rules) = &node.rules {
        let _ = write!(key, "{:?}", rules.key());
    }
    key
}

fn memory(node: &Arc<Node>, seen: &mut HashSet<*const u8>) -> usize {
    if !seen.insert(Arc::as_ptr(node).cast()) {
        return 0;
    }
    // Two counters beside what is shared.
    const SHARED: usize = 2 * size_of::<usize>();
    let mut bytes = SHARED + size_of::<Node>();
    bytes += size_of_val(&*node.properties) + size_of_val(&*node.checks);
    bytes += size_of_val(&*node.list_keys);
    for (name, property) in &node.properties {
        if seen.insert(name.as_ptr()) {
            bytes += SHARED + name.len();
        }
        bytes += memory(property, seen);
    }
    if let Additional::Schema(values) = &node.additional {
        bytes += memory(values, seen);
    }
    bytes += node
        .items
        .iter()
        .map(|items| memory(items, seen))
        .sum::<usize>();
    if let Some(default) = &node.default {
        bytes += size_of::<Value>() + default.to_string().len();
    }
    for check in &node.checks {
        bytes += match check {
            Check::AnyOf(nodes) | Check::OneOf(nodes) | Check::AllOf(nodes) => {
                let below: usize = nodes.iter().map(|node| memory(node, seen)).sum();
                size_of_val(&**nodes) + below
            }
            Check::Not(node) => memory(node, seen),
            Check::Pattern(pattern) => pattern.source().len() + size_of::<Pattern>(),
            Check::Enum(values) => values
                .iter()
                .map(|value| size_of::<Value>() + value.as_str().map_or(0, str::len))
                .sum(),
            Check::Required(names) => size_of_val(&**names),
            Check::Format(_, text) | Check::Type(text) => text.len(),
            _ => 0,
        };
    }
    bytes + node.rules.as_ref().map_or(0, |rules| rules.memory())
}
