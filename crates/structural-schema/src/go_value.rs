//! Schemas and rules as upstream's errors print them: its internal types as Go writes them in JSON, every field of them.

use api_types::apiextensions::v1::{
    JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    JSONSchemaPropsOrStringArray, ValidationRule,
};
use apimachinery::field::BadValue;
use serde_json::Value;

/// A schema as errors print it.
pub fn schema(schema: &JSONSchemaProps) -> BadValue {
    let mut out = String::new();
    props(&mut out, schema);
    BadValue::Text(out)
}

/// A rule.
pub(crate) fn rule(rule: &ValidationRule) -> BadValue {
    let mut out = String::new();
    write_rule(&mut out, rule);
    BadValue::Text(out)
}

/// What `items` holds.
pub(crate) fn items(items: &JSONSchemaPropsOrArray) -> BadValue {
    let mut out = String::new();
    write_items(&mut out, items);
    BadValue::Text(out)
}

fn value(out: &mut String, value: &Value) {
    match BadValue::json(&crate::validate::whole(value)) {
        BadValue::Text(text) | BadValue::String(text) => out.push_str(&text),
        BadValue::Omitted => {}
    }
}

fn text(out: &mut String, of: &str) {
    value(out, &Value::from(of));
}

fn optional<T>(out: &mut String, of: Option<T>, write: impl FnOnce(&mut String, T)) {
    match of {
        Some(of) => write(out, of),
        None => out.push_str("null"),
    }
}

fn list<T>(out: &mut String, of: &[T], write: impl Fn(&mut String, &T)) {
    if of.is_empty() {
        out.push_str("null");
        return;
    }
    for (index, item) in of.iter().enumerate() {
        out.push(if index == 0 { '[' } else { ',' });
        write(out, item);
    }
    out.push(']');
}

fn map<'a, T: 'a>(
    out: &mut String,
    of: impl ExactSizeIterator<Item = (&'a String, &'a T)>,
    write: impl Fn(&mut String, &T),
) {
    if of.len() == 0 {
        out.push_str("null");
        return;
    }
    for (index, (name, item)) in of.enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        text(out, name);
        out.push(':');
        write(out, item);
    }
    out.push('}');
}

fn json(out: &mut String, json: &JSON) {
    let parsed = crate::build::json(json).ok().flatten();
    value(out, &parsed.unwrap_or(Value::Null));
}

fn write_items(out: &mut String, items: &JSONSchemaPropsOrArray) {
    out.push_str("{\"Schema\":");
    optional(out, items.schema.as_deref(), props);
    out.push_str(",\"JSONSchemas\":");
    list(out, &items.json_schemas, props);
    out.push('}');
}

fn or_bool(out: &mut String, of: &JSONSchemaPropsOrBool) {
    out.push_str(&format!("{{\"Allows\":{},\"Schema\":", of.allows));
    optional(out, of.schema.as_deref(), props);
    out.push('}');
}

fn or_strings(out: &mut String, of: &JSONSchemaPropsOrStringArray) {
    out.push_str("{\"Schema\":");
    optional(out, of.schema.as_deref(), props);
    out.push_str(",\"Property\":");
    list(out, &of.property, |out, name| text(out, name));
    out.push('}');
}

fn write_rule(out: &mut String, rule: &ValidationRule) {
    out.push_str("{\"Rule\":");
    text(out, &rule.rule);
    out.push_str(",\"Message\":");
    text(out, &rule.message);
    out.push_str(",\"MessageExpression\":");
    text(out, &rule.message_expression);
    out.push_str(",\"Reason\":");
    optional(out, rule.reason.as_deref(), text);
    out.push_str(",\"FieldPath\":");
    text(out, &rule.field_path);
    out.push_str(",\"OptionalOldSelf\":");
    optional(out, rule.optional_old_self, |out, set| {
        out.push_str(&set.to_string())
    });
    out.push('}');
}

fn props(out: &mut String, schema: &JSONSchemaProps) {
    let float = |out: &mut String, of: f64| out.push_str(&crate::number::format_float(of));
    let int = |out: &mut String, of: i64| out.push_str(&of.to_string());
    let flag = |out: &mut String, name: &str, of: bool| out.push_str(&format!("{name}{of}"));
    out.push_str("{\"ID\":");
    text(out, &schema.id);
    out.push_str(",\"Schema\":");
    text(out, &schema.schema);
    out.push_str(",\"Ref\":");
    optional(out, schema.ref_.as_deref(), text);
    out.push_str(",\"Description\":");
    text(out, &schema.description);
    out.push_str(",\"Type\":");
    text(out, &schema.type_);
    flag(out, ",\"Nullable\":", schema.nullable);
    out.push_str(",\"Format\":");
    text(out, &schema.format);
    out.push_str(",\"Title\":");
    text(out, &schema.title);
    out.push_str(",\"Default\":");
    optional(out, schema.default.as_ref(), json);
    out.push_str(",\"Maximum\":");
    optional(out, schema.maximum, float);
    flag(out, ",\"ExclusiveMaximum\":", schema.exclusive_maximum);
    out.push_str(",\"Minimum\":");
    optional(out, schema.minimum, float);
    flag(out, ",\"ExclusiveMinimum\":", schema.exclusive_minimum);
    out.push_str(",\"MaxLength\":");
    optional(out, schema.max_length, int);
    out.push_str(",\"MinLength\":");
    optional(out, schema.min_length, int);
    out.push_str(",\"Pattern\":");
    text(out, &schema.pattern);
    out.push_str(",\"MaxItems\":");
    optional(out, schema.max_items, int);
    out.push_str(",\"MinItems\":");
    optional(out, schema.min_items, int);
    flag(out, ",\"UniqueItems\":", schema.unique_items);
    out.push_str(",\"MultipleOf\":");
    optional(out, schema.multiple_of, float);
    out.push_str(",\"Enum\":");
    list(out, &schema.enum_, json);
    out.push_str(",\"MaxProperties\":");
    optional(out, schema.max_properties, int);
    out.push_str(",\"MinProperties\":");
    optional(out, schema.min_properties, int);
    out.push_str(",\"Required\":");
    list(out, &schema.required, |out, name| text(out, name));
    out.push_str(",\"Items\":");
    optional(out, schema.items.as_deref(), write_items);
    out.push_str(",\"AllOf\":");
    list(out, &schema.all_of, props);
    out.push_str(",\"OneOf\":");
    list(out, &schema.one_of, props);
    out.push_str(",\"AnyOf\":");
    list(out, &schema.any_of, props);
    out.push_str(",\"Not\":");
    optional(out, schema.not.as_deref(), props);
    out.push_str(",\"Properties\":");
    map(out, schema.properties.iter(), props);
    out.push_str(",\"AdditionalProperties\":");
    optional(out, schema.additional_properties.as_deref(), or_bool);
    out.push_str(",\"PatternProperties\":");
    map(out, schema.pattern_properties.iter(), props);
    out.push_str(",\"Dependencies\":");
    map(out, schema.dependencies.iter(), or_strings);
    out.push_str(",\"AdditionalItems\":");
    optional(out, schema.additional_items.as_deref(), or_bool);
    out.push_str(",\"Definitions\":");
    map(out, schema.definitions.iter(), props);
    out.push_str(",\"ExternalDocs\":");
    optional(out, schema.external_docs.as_deref(), |out, docs| {
        out.push_str("{\"Description\":");
        text(out, &docs.description);
        out.push_str(",\"URL\":");
        text(out, &docs.url);
        out.push('}');
    });
    out.push_str(",\"Example\":");
    optional(out, schema.example.as_ref(), json);
    out.push_str(",\"XPreserveUnknownFields\":");
    optional(
        out,
        schema.x_kubernetes_preserve_unknown_fields,
        |out, set| {
            out.push_str(&set.to_string());
        },
    );
    let embedded = schema.x_kubernetes_embedded_resource;
    flag(out, ",\"XEmbeddedResource\":", embedded);
    flag(out, ",\"XIntOrString\":", schema.x_kubernetes_int_or_string);
    out.push_str(",\"XListMapKeys\":");
    list(out, &schema.x_kubernetes_list_map_keys, |out, name| {
        text(out, name)
    });
    out.push_str(",\"XListType\":");
    optional(out, schema.x_kubernetes_list_type.as_deref(), text);
    out.push_str(",\"XMapType\":");
    optional(out, schema.x_kubernetes_map_type.as_deref(), text);
    out.push_str(",\"XValidations\":");
    list(out, &schema.x_kubernetes_validations, write_rule);
    out.push('}');
}
