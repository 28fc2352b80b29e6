//! Whether a CRD may have a schema. Upstream: pkg/apis/apiextensions/validation/{validation,cel_validation}.go.

use std::collections::HashSet;

use api_types::apiextensions::v1::JSONSchemaProps;
use apimachinery::field::{self, BadValue, ErrorList, Path};

use crate::build::item_schema;
use crate::crd_defaults::validate_defaults;
use crate::field_path::valid_field_path;
use crate::go_value;
use crate::node::{Additional, Kind, Node, Structural};
use crate::structural::{has_default, validate_structural};
use crate::validate::format::Format;

/// The most one rule may cost by estimate.
pub const RULE_COST_LIMIT: u64 = 10_000_000;
/// The most all rules of a schema may cost by estimate.
pub const CUSTOM_RESOURCE_COST_LIMIT: u64 = 100_000_000;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// What is required of a schema. Everything, unless an older version of the CRD already had what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Types are those of OpenAPI v3.
    pub valid_types: bool,
    /// Schemas are structural.
    pub structural: bool,
    /// Defaults have no unknown fields.
    pub pruned_defaults: bool,
    /// Items of sets are atomic.
    pub atomic_sets: bool,
    /// Items and keys of maps and sets cannot be null or left out.
    pub list_map_keys: bool,
    /// Rules cost no more than they may, each on its own.
    pub rule_cost: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            valid_types: true,
            structural: true,
            pruned_defaults: true,
            atomic_sets: true,
            list_map_keys: true,
            rule_cost: true,
        }
    }
}

impl Options {
    /// What is required when a CRD with the old schemas gets the new ones. Schemas have to be structural unless the old ones
    /// were not and unknown fields are preserved, which does not go together with defaults or any of Kubernetes' extensions.
    /// Costs of rules do not count where a version's schema did not change; that is for the caller to say.
    pub fn for_update<'a>(
        old: impl Iterator<Item = &'a JSONSchemaProps> + Clone,
        mut new: impl Iterator<Item = &'a JSONSchemaProps>,
        preserve_unknown_fields: bool,
    ) -> Self {
        let has = |what: fn(&JSONSchemaProps) -> bool| old.clone().any(|schema| any(schema, &what));
        let is_structural = |schema: &JSONSchemaProps| {
            Structural::new(schema).is_ok() && validate_structural(schema, &Path::nil()).is_empty()
        };
        Options {
            valid_types: !has(|schema| {
                !schema.type_.is_empty() && !TYPES.contains(&&*schema.type_)
            }),
            structural: !preserve_unknown_fields
                || old.clone().all(is_structural)
                || new.any(|schema| any(schema, &needs_structure)),
            pruned_defaults: !old.clone().any(has_unpruned_defaults),
            atomic_sets: !has(is_set_of_granular),
            list_map_keys: !has(|schema| {
                let mut errors = ErrorList::new();
                list_keys(schema, &Path::nil(), &mut errors);
                !errors.is_empty()
            }),
            rule_cost: true,
        }
    }
}

fn needs_structure(schema: &JSONSchemaProps) -> bool {
    has_default(schema)
        || schema.x_kubernetes_embedded_resource
        || schema.x_kubernetes_preserve_unknown_fields.is_some()
        || schema.x_kubernetes_int_or_string
        || !schema.x_kubernetes_list_map_keys.is_empty()
        || schema.x_kubernetes_list_type.is_some()
        || !schema.x_kubernetes_validations.is_empty()
}

fn has_unpruned_defaults(schema: &JSONSchemaProps) -> bool {
    if !any(schema, &has_default) || !validate_structural(schema, &Path::nil()).is_empty() {
        return false;
    }
    let Ok(schema) = Structural::new(schema) else {
        return false;
    };
    !std::sync::Arc::ptr_eq(&schema.with_pruned_defaults().root, &schema.root)
}

fn is_set_of_granular(schema: &JSONSchemaProps) -> bool {
    let items = schema.items.as_deref().and_then(item_schema);
    let (Some("set"), Some(items)) = (schema.x_kubernetes_list_type.as_deref(), items) else {
        return false;
    };
    match &*items.type_ {
        "array" => !matches!(
            items.x_kubernetes_list_type.as_deref(),
            None | Some("atomic")
        ),
        "object" => items.x_kubernetes_map_type.as_deref() != Some("atomic"),
        _ => false,
    }
}

/// Whether a schema or any below it is such.
fn any(schema: &JSONSchemaProps, what: &impl Fn(&JSONSchemaProps) -> bool) -> bool {
    what(schema) || children(schema).any(|child| any(child, what))
}

/// All schemas right below one.
fn children(schema: &JSONSchemaProps) -> impl Iterator<Item = &JSONSchemaProps> {
    let items = schema.items.as_deref();
    let values = |of: &'_ Option<Box<api_types::apiextensions::v1::JSONSchemaPropsOrBool>>| {
        of.as_deref().is_some_and(|of| of.schema.is_some())
    };
    let additional = schema
        .additional_properties
        .as_deref()
        .filter(|_| values(&schema.additional_properties))
        .and_then(|of| of.schema.as_deref());
    let additional_items = schema
        .additional_items
        .as_deref()
        .and_then(|of| of.schema.as_deref());
    let dependencies = schema.dependencies.values();
    items
        .and_then(item_schema)
        .into_iter()
        .chain(items.into_iter().flat_map(|items| &items.json_schemas))
        .chain(&schema.all_of)
        .chain(&schema.any_of)
        .chain(&schema.one_of)
        .chain(schema.not.as_deref())
        .chain(schema.properties.values())
        .chain(additional)
        .chain(schema.pattern_properties.values())
        .chain(additional_items)
        .chain(schema.definitions.values())
        .chain(dependencies.filter_map(|of| of.schema.as_deref()))
}

/// Whether a schema says what is filled in anywhere.
pub fn has_defaults(schema: &JSONSchemaProps) -> bool {
    any(schema, &has_default)
}

/// The formats in a schema that mean nothing, each once, in the order they are found. Upstream warns of each:
/// `unrecognized format "x"`.
pub fn unrecognized_formats(schema: &JSONSchemaProps) -> Vec<String> {
    let mut found = Vec::new();
    fn walk(schema: &JSONSchemaProps, found: &mut Vec<String>) {
        let kind = if schema.x_kubernetes_int_or_string {
            Kind::Any
        } else {
            Kind::new(&schema.type_)
        };
        if !schema.format.is_empty()
            && Format::for_kind(kind, &schema.format).is_none()
            && !found.contains(&schema.format)
        {
            found.push(schema.format.clone());
        }
        for child in children(schema) {
            walk(child, found);
        }
    }
    walk(schema, &mut found);
    found
}

/// What is wrong with a schema. The path is that of the `schema` or `validation` which `openAPIV3Schema` is in.
pub fn validate_custom_resource_validation(
    schema: &JSONSchemaProps,
    has_status: bool,
    options: &Options,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let schema_path = path.child("openAPIV3Schema");
    if has_status {
        root_with_status(schema, path, &mut errors);
    }
    if schema.nullable {
        errors.push(field::forbidden(
            &path.child("openAPIV3Schema.nullable"),
            "nullable cannot be true at the root",
        ));
    }

    let mut problem = None;
    let mut structural = None;
    if options.structural {
        match Structural::new(schema) {
            Err(error) => {
                problem = Some(field::invalid(&schema_path, "", error.to_string()));
            }
            Ok(ready) => {
                let mut wrong = validate_structural(schema, &schema_path);
                if wrong.is_empty() {
                    wrong = validate_defaults(&ready, &schema_path, options.pruned_defaults);
                }
                // Rules are looked at only where all else is fine.
                structural = wrong.is_empty().then_some(ready);
                errors.extend(wrong);
            }
        }
    }

    let mut walk = Walk {
        options,
        schema_errors: Vec::new(),
        rule_errors: Vec::new(),
        total: TotalCost::default(),
    };
    let rules = structural.as_ref().map(|structural| RuleContext {
        node: &structural.root,
        cardinality: Some(1),
    });
    walk.schema(schema, &schema_path, &Context::default(), true, rules);
    errors.extend(walk.schema_errors);
    errors.extend(walk.rule_errors);
    if errors.is_empty() {
        errors.extend(problem);
    }
    if structural.is_some() && walk.total.total > CUSTOM_RESOURCE_COST_LIMIT {
        for (path, _) in &walk.total.most_expensive {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(field::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let detail = cost_message(what, walk.total.total, CUSTOM_RESOURCE_COST_LIMIT);
        errors.push(field::forbidden(&schema_path, detail));
    }
    errors
}

/// With a status subresource, the status is validated by its own schema: the root may not say more about it.
fn root_with_status(schema: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    const ALLOWED: &str = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
                           MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties \
                           ExternalDocs Example XPreserveUnknownFields XValidations";
    // In the order upstream looks at fields; it stops at the first that is wrong.
    let before_type = !schema.id.is_empty() || !schema.schema.is_empty() || schema.ref_.is_some();
    let wrong_type = !schema.type_.is_empty() && schema.type_ != "object";
    let after_type = schema.nullable
        || has_default(schema)
        || !schema.enum_.is_empty()
        || schema.max_properties.is_some()
        || schema.min_properties.is_some()
        || !schema.all_of.is_empty()
        || !schema.one_of.is_empty()
        || !schema.any_of.is_empty()
        || schema.not.is_some()
        || schema.additional_properties.is_some()
        || !schema.pattern_properties.is_empty()
        || !schema.dependencies.is_empty()
        || schema.additional_items.is_some()
        || !schema.definitions.is_empty()
        || schema.x_kubernetes_embedded_resource
        || schema.x_kubernetes_int_or_string
        || !schema.x_kubernetes_list_map_keys.is_empty()
        || schema.x_kubernetes_list_type.is_some()
        || schema.x_kubernetes_map_type.is_some();
    if !before_type && wrong_type {
        errors.push(field::invalid(
            &path.child("openAPIV3Schema.type"),
            &schema.type_,
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        ));
    } else if before_type || after_type {
        let detail = format!(
            "only [{ALLOWED}] fields are allowed at the root of the schema if the status subresource is enabled"
        );
        let value = go_value::schema(schema);
        errors.push(field::invalid(
            &path.child("openAPIV3Schema"),
            value,
            detail,
        ));
    }
}

/// What the place of a schema allows.
#[derive(Clone, Default)]
struct Context {
    /// Why there may be no default.
    no_defaults: Option<String>,
    in_meta: bool,
    /// The first list or map above whose parts cannot be found again in an old object.
    uncorrelatable: Option<Path>,
}

/// What rules need to know of a schema.
#[derive(Clone, Copy)]
struct RuleContext<'a> {
    node: &'a Node,
    /// How often there can be a value of it; none if nothing limits that.
    cardinality: Option<u64>,
}

impl<'a> RuleContext<'a> {
    fn below(
        self,
        parent: &JSONSchemaProps,
        node: Option<&'a std::sync::Arc<Node>>,
    ) -> Option<Self> {
        let elements = match &*parent.type_ {
            "object" if parent.additional_properties.is_some() => parent.max_properties,
            "array" => parent.max_items,
            _ => Some(1),
        };
        let cardinality = self
            .cardinality
            .zip(elements)
            .map(|(cardinality, elements)| cardinality.saturating_mul(elements.max(0) as u64));
        Some(RuleContext {
            node: node?,
            cardinality,
        })
    }
}

#[derive(Default)]
struct TotalCost {
    total: u64,
    most_expensive: Vec<(Path, u64)>,
}

impl TotalCost {
    fn add(&mut self, path: &Path, cost: u64) {
        self.total = self.total.saturating_add(cost);
        // What is less than a hundredth of the limit is not worth naming.
        if cost >= CUSTOM_RESOURCE_COST_LIMIT / 100 {
            self.most_expensive.push((path.clone(), cost));
            self.most_expensive
                .sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.most_expensive.truncate(4);
        }
    }
}

struct Walk<'o> {
    options: &'o Options,
    schema_errors: Vec<field::Error>,
    rule_errors: Vec<field::Error>,
    total: TotalCost,
}

impl Walk<'_> {
    fn forbid(&mut self, path: &Path, name: &'static str, detail: impl Into<String>) {
        self.schema_errors
            .push(field::forbidden(&path.child(name), detail));
    }

    fn require(&mut self, path: &Path, name: &'static str, detail: &'static str) {
        self.schema_errors
            .push(field::required(&path.child(name), detail));
    }

    fn refuse(
        &mut self,
        path: &Path,
        name: &'static str,
        value: impl Into<BadValue>,
        detail: &'static str,
    ) {
        self.schema_errors
            .push(field::invalid(&path.child(name), value, detail));
    }

    fn schema(
        &mut self,
        schema: &JSONSchemaProps,
        path: &Path,
        context: &Context,
        is_root: bool,
        rules: Option<RuleContext<'_>>,
    ) {
        let before = self.schema_errors.len();
        self.supported(schema, path, context);
        if schema.unique_items {
            self.forbid(
                path,
                "uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
        self.children(schema, path, context, is_root, rules);
        if schema.x_kubernetes_preserve_unknown_fields == Some(false) {
            let name = "x-kubernetes-preserve-unknown-fields";
            self.refuse(path, name, false, "must be true or undefined");
        }
        self.topology(schema, path);
        if self.options.list_map_keys {
            let mut errors = ErrorList::new();
            list_keys(schema, path, &mut errors);
            self.schema_errors.extend(errors);
        }
        self.rules_as_written(schema, path);
        // With errors here or below, what the compiler would say could be wrong.
        if let Some(rules) = rules
            && !schema.x_kubernetes_validations.is_empty()
            && self.schema_errors.len() == before
        {
            self.rules(schema, path, context, rules);
        }
    }

    /// What CRDs cannot have at all.
    fn supported(&mut self, schema: &JSONSchemaProps, path: &Path, context: &Context) {
        if self.options.valid_types && !schema.type_.is_empty() && !TYPES.contains(&&*schema.type_)
        {
            let error = field::not_supported(&path.child("type"), &schema.type_, &TYPES);
            self.schema_errors.push(error);
        }
        if let Some(reason) = &context.no_defaults
            && has_default(schema)
        {
            self.forbid(path, "default", format!("must not be set {reason}"));
        }
        let found = [
            (!schema.id.is_empty(), "id"),
            (schema.additional_items.is_some(), "additionalItems"),
            (!schema.pattern_properties.is_empty(), "patternProperties"),
            (!schema.definitions.is_empty(), "definitions"),
            (!schema.dependencies.is_empty(), "dependencies"),
            (schema.ref_.is_some(), "$ref"),
        ];
        for (_, name) in found.into_iter().filter(|(found, _)| *found) {
            self.forbid(path, name, format!("{name} is not supported"));
        }
        if schema.type_ == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            self.forbid(path, "type", detail);
        }
        if schema
            .items
            .as_deref()
            .is_some_and(|items| !items.json_schemas.is_empty())
        {
            let detail = "items must be a schema object and not an array";
            self.forbid(path, "items", detail);
        }
        if context.in_meta && schema.x_kubernetes_embedded_resource {
            let detail = "must not be used inside of resource meta";
            self.forbid(path, "x-kubernetes-embedded-resource", detail);
        }
    }

    fn children(
        &mut self,
        schema: &JSONSchemaProps,
        path: &Path,
        context: &Context,
        is_root: bool,
        rules: Option<RuleContext<'_>>,
    ) {
        if let Some(additional) = &schema.additional_properties {
            if !schema.properties.is_empty() && (!additional.allows || additional.schema.is_some())
            {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.forbid(path, "additionalProperties", detail);
            }
            if let Some(values) = &additional.schema {
                let mut context = context.clone();
                if context.in_meta {
                    let reason = "inside additionalProperties applying to object metadata";
                    context.no_defaults = Some(reason.to_owned());
                }
                let rules = rules.and_then(|rules| {
                    let node = match &rules.node.additional {
                        Additional::Schema(values) => Some(values),
                        _ => None,
                    };
                    rules.below(schema, node)
                });
                let path = path.child("additionalProperties");
                self.schema(values, &path, &context, false, rules);
            }
        }
        for (name, property) in &schema.properties {
            let mut context = context.clone();
            if !matches!(
                schema.x_kubernetes_map_type.as_deref(),
                None | Some("granular" | "atomic")
            ) {
                context.uncorrelatable.get_or_insert_with(|| path.clone());
            }
            let in_meta = matches!(&**name, "metadata" | "kind" | "apiVersion")
                && (is_root || schema.x_kubernetes_embedded_resource);
            if in_meta {
                context.in_meta = true;
                if is_root {
                    context.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            let rules = rules.and_then(|rules| rules.below(schema, rules.node.property(name)));
            let path = path.child("properties").key(name);
            self.schema(property, &path, &context, false, rules);
        }
        if let Some(not) = &schema.not {
            self.schema(not, &path.child("not"), context, false, None);
        }
        for (name, nested) in [
            ("allOf", &schema.all_of),
            ("oneOf", &schema.one_of),
            ("anyOf", &schema.any_of),
        ] {
            for (index, nested) in nested.iter().enumerate() {
                let path = path.child(name).index(index);
                self.schema(nested, &path, context, false, None);
            }
        }
        for (name, definition) in &schema.definitions {
            let path = path.child("definitions").key(name);
            self.schema(definition, &path, context, false, None);
        }
        if let Some(items) = &schema.items {
            let mut context = context.clone();
            if schema.x_kubernetes_list_type.as_deref() != Some("map") {
                context.uncorrelatable.get_or_insert_with(|| path.clone());
            }
            let path = path.child("items");
            if let Some(item) = item_schema(items) {
                let rules = rules.and_then(|rules| rules.below(schema, rules.node.items.as_ref()));
                self.schema(item, &path, &context, false, rules);
            }
            for (index, item) in items.json_schemas.iter().enumerate() {
                self.schema(item, &path.index(index), &context, false, None);
            }
        }
        for (name, dependency) in &schema.dependencies {
            if let Some(dependency) = &dependency.schema {
                let path = path.child("dependencies").key(name);
                self.schema(dependency, &path, context, false, None);
            }
        }
    }

    /// List and map types.
    fn topology(&mut self, schema: &JSONSchemaProps, path: &Path) {
        const LIST_TYPE: &str = "x-kubernetes-list-type";
        const MAP_TYPE: &str = "x-kubernetes-map-type";
        const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
        let items = schema.items.as_deref();
        let item = items.and_then(item_schema);
        let list_type = schema.x_kubernetes_list_type.as_deref();
        if let Some(map_type) = schema.x_kubernetes_map_type.as_deref() {
            if schema.type_ != "object" {
                let detail = "must be object if x-kubernetes-map-type is specified";
                if schema.type_.is_empty() {
                    self.require(path, "type", detail);
                } else {
                    self.refuse(path, "type", &schema.type_, detail);
                }
            }
            if !matches!(map_type, "atomic" | "granular") {
                let known = ["atomic", "granular"];
                let error = field::not_supported(&path.child(MAP_TYPE), map_type, &known);
                self.schema_errors.push(error);
            }
        }
        if let Some(list_type) = list_type {
            if schema.type_ != "array" {
                let detail = "must be array if x-kubernetes-list-type is specified";
                if schema.type_.is_empty() {
                    self.require(path, "type", detail);
                } else {
                    self.refuse(path, "type", &schema.type_, detail);
                }
            } else if self.options.atomic_sets
                && is_set_of_granular(schema)
                && let Some(item) = item
            {
                let name = if item.type_ == "array" {
                    LIST_TYPE
                } else {
                    MAP_TYPE
                };
                // As upstream: the list type, also where the map type is wrong.
                let value = item.x_kubernetes_list_type.clone();
                let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                self.refuse(&path.child("items"), name, value, detail);
            }
            if !matches!(list_type, "atomic" | "set" | "map") {
                let known = ["atomic", "set", "map"];
                let error = field::not_supported(&path.child(LIST_TYPE), list_type, &known);
                self.schema_errors.push(error);
            }
        }
        let keys = &schema.x_kubernetes_list_map_keys;
        if !keys.is_empty() {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.require(path, LIST_TYPE, detail),
                Some("map") => {}
                Some(other) => self.refuse(path, LIST_TYPE, other, detail),
            }
        }
        if list_type != Some("map") {
            return;
        }
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            self.require(path, LIST_KEYS, detail);
        }
        let Some(items) = items else {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            return self.require(path, "items", detail);
        };
        let Some(item) = item else {
            let detail = "must only have a single schema if x-kubernetes-list-type is map";
            return self.refuse(path, "items", go_value::items(items), detail);
        };
        let items_path = path.child("items");
        if item.type_ != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            return self.refuse(&items_path, "type", &item.type_, detail);
        }
        let mut seen = HashSet::new();
        for key in keys {
            match item.properties.get(key) {
                Some(property) if matches!(&*property.type_, "array" | "object") => {
                    let path = items_path.child("properties").key(key);
                    let detail =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.refuse(&path, "type", &item.type_, detail);
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.refuse(path, LIST_KEYS, keys, detail);
                }
            }
            if !seen.insert(key) {
                let detail = "must not contain duplicate entries";
                self.refuse(path, LIST_KEYS, keys, detail);
            }
        }
    }

    /// What can be said about rules without compiling them.
    fn rules_as_written(&mut self, schema: &JSONSchemaProps, path: &Path) {
        let has_breaks = |text: &str| text.contains(['\n', '\r']);
        let mut structural: Option<Option<Structural>> = None;
        for (index, rule) in schema.x_kubernetes_validations.iter().enumerate() {
            let path = path.child("x-kubernetes-validations").index(index);
            let text = rule.rule.trim();
            let message = rule.message.trim();
            if text.is_empty() {
                self.require(&path, "rule", "rule is not specified");
            } else if !rule.message.is_empty() && message.is_empty() {
                let detail = "must be non-empty if specified";
                self.refuse(&path, "message", &rule.message, detail);
            } else if has_breaks(message) {
                let detail = "must not contain line breaks";
                self.refuse(&path, "message", &rule.message, detail);
            } else if has_breaks(text) && message.is_empty() {
                let detail = "message must be specified if rule contains line breaks";
                self.require(&path, "message", detail);
            }
            if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
                let detail = "messageExpression must be non-empty if specified";
                self.require(&path, "messageExpression", detail);
            }
            if let Some(reason) = &rule.reason
                && !REASONS.contains(&&**reason)
            {
                let error = field::not_supported(&path.child("reason"), reason, &REASONS);
                self.schema_errors.push(error);
            }
            if rule.field_path.is_empty() {
                continue;
            }
            if rule.field_path.trim().is_empty() {
                let detail = "must be non-empty if specified";
                self.refuse(&path, "fieldPath", &rule.field_path, detail);
            }
            if has_breaks(&rule.field_path) {
                let detail = "must not contain line breaks";
                self.refuse(&path, "fieldPath", &rule.field_path, detail);
            }
            let is_valid = structural
                .get_or_insert_with(|| Structural::new(schema).ok())
                .as_ref()
                .is_none_or(|schema| {
                    valid_field_path(&rule.field_path, &schema.root, true).is_ok()
                });
            if !is_valid {
                self.refuse(&path, "fieldPath", &rule.field_path, "must be a valid path");
            }
        }
    }

    fn rules(
        &mut self,
        schema: &JSONSchemaProps,
        path: &Path,
        context: &Context,
        place: RuleContext<'_>,
    ) {
        let rules_path = path.child("x-kubernetes-validations");
        let Some(rules) = &place.node.rules else {
            return;
        };
        let Ok(compiled) = rules.compiled(place.node) else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable \
                          to convert structural schema to CEL declarations";
            self.rule_errors.push(field::internal(&rules_path, detail));
            return;
        };
        let written = schema.x_kubernetes_validations.iter();
        for (index, (rule, written)) in compiled.rules.iter().zip(written).enumerate() {
            let path = rules_path.index(index);
            let rule_path = path.child("rule");
            let message_path = path.child("messageExpression");
            let cardinality = place.cardinality.unwrap_or(compiled.max_cardinality);
            let cost = rule.max_cost.saturating_mul(cardinality);
            if self.options.rule_cost && cost > RULE_COST_LIMIT {
                let detail = cost_message("estimated rule cost", cost, RULE_COST_LIMIT);
                self.rule_errors.push(field::forbidden(&rule_path, detail));
            }
            self.total.add(&rule_path, cost);
            if let Some(error) = &rule.error {
                let value = go_value::rule(written);
                self.rule_errors
                    .push(field::invalid(&rule_path, value, error));
            }
            if let Some(error) = &rule.message_error {
                let value = go_value::rule(written);
                self.rule_errors
                    .push(field::invalid(&message_path, value, error));
            } else if let Some(cost) = rule.message_max_cost {
                if self.options.rule_cost && cost > RULE_COST_LIMIT {
                    let what = "estimated messageExpression cost";
                    let detail = cost_message(what, cost, RULE_COST_LIMIT);
                    self.rule_errors
                        .push(field::forbidden(&message_path, detail));
                }
                self.total.add(&message_path, cost);
            }
            if rule.uses_old_self {
                if let Some(within) = &context.uncorrelatable {
                    let detail = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                    );
                    self.rule_errors
                        .push(field::invalid(&rule_path, &written.rule, detail));
                }
            } else if let Some(optional) = written.optional_old_self {
                let detail = "may not be set if oldSelf is not used in rule";
                let path = path.child("optionalOldSelf");
                self.rule_errors
                    .push(field::invalid(&path, optional, detail));
            }
        }
    }
}

fn list_keys(schema: &JSONSchemaProps, path: &Path, errors: &mut ErrorList) {
    let Some(items) = schema.items.as_deref().and_then(item_schema) else {
        return;
    };
    let list_type = match schema.x_kubernetes_list_type.as_deref() {
        Some(list_type @ ("set" | "map")) => list_type,
        _ => return,
    };
    let path = path.child("items");
    if items.nullable {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(field::forbidden(&path.child("nullable"), detail));
    }
    if list_type != "map" {
        return;
    }
    for key in &schema.x_kubernetes_list_map_keys {
        let Some(property) = items.properties.get(key) else {
            continue;
        };
        let path = path.child("properties").key(key);
        if !items.required.contains(key) && !has_default(property) {
            errors.push(field::required(
                &path.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
        if property.nullable {
            errors.push(field::forbidden(
                &path.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
    }
}

fn cost_message(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests;
