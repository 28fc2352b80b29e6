//! Defaults. Upstream: apiserver/schema/defaulting/{algorithm,prunenulls,prune}.go.

use std::sync::Arc;

use serde_json::Value;

use crate::node::{Additional, Node, Structural};

impl Structural {
    /// Sets what is missing and has a default, and what is null, may not be and has one.
    pub fn apply_defaults(&self, object: &mut Value) {
        apply(&self.root, object);
    }

    /// Drops fields that are null, may not be and have no default.
    pub fn prune_nulls(&self, object: &mut Value) {
        prune_nulls(&self.root, object);
    }
}

/// Whether a null here is replaced by the default.
fn is_wrong_null(node: &Node, value: &Value) -> bool {
    value.is_null() && !node.flags.nullable
}

fn apply(node: &Node, value: &mut Value) {
    if !node.flags.has_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, property) in &node.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                match fields.get_mut(&**name) {
                    None => {
                        fields.insert(name.to_string(), (**default).clone());
                    }
                    Some(value) if is_wrong_null(property, value) => value.clone_from(default),
                    Some(_) => {}
                }
            }
            for (name, value) in fields.iter_mut() {
                match (node.property(name), &node.additional) {
                    (Some(property), _) => apply(property, value),
                    (None, Additional::Schema(values)) => {
                        replace_null(values, value);
                        apply(values, value);
                    }
                    (None, _) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                for item in items {
                    replace_null(schema, item);
                    apply(schema, item);
                }
            }
        }
        _ => {}
    }
}

fn replace_null(node: &Node, value: &mut Value) {
    if let Some(default) = &node.default
        && is_wrong_null(node, value)
    {
        value.clone_from(default);
    }
}

fn prune_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let Some(schema) = node.field(name) else {
                return true;
            };
            if is_wrong_null(schema, value) && schema.default.is_none() {
                return false;
            }
            prune_nulls(schema, value);
            true
        }),
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                items.iter_mut().for_each(|item| prune_nulls(schema, item));
            }
        }
        _ => {}
    }
}

impl Structural {
    /// The schema with defaults cut down to what the schema and object metadata know, as a server does with schemas it
    /// serves. CRDs from the time before unpruned defaults were refused may have some.
    pub fn with_pruned_defaults(&self) -> Structural {
        let root = prune_defaults(&self.root, &mut |value| self.prune_default(value), &[]);
        match root {
            Some(root) => Structural {
                root: Arc::new(root),
            },
            None => self.clone(),
        }
    }

    fn prune_default(&self, value: &mut Value) {
        let options = crate::CoerceOptions {
            drop_invalid: true,
            report_unknown: false,
        };
        // Nothing is wrong with what was dropped.
        let _ = self.coerce(value, true, options);
        self.prune(value, true);
    }
}

/// The way from the root to a default.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item,
}

/// The node with pruned defaults, if any changed.
fn prune_defaults(
    node: &Node,
    prune: &mut impl FnMut(&mut Value),
    way: &[Step<'_>],
) -> Option<Node> {
    if !node.flags.has_defaults {
        return None;
    }
    let mut changed: Option<Node> = None;
    if let Some(default) = &node.default {
        let mut object = surround((**default).clone(), way);
        prune(&mut object);
        let pruned = focus(object, way).unwrap_or(Value::Null);
        if pruned != **default {
            let node = changed.get_or_insert_with(|| node.clone());
            node.default = (!pruned.is_null()).then(|| Arc::new(pruned));
        }
    }
    let mut below = |step, child: &Node| {
        let way: Vec<Step<'_>> = way.iter().copied().chain([step]).collect();
        prune_defaults(child, prune, &way).map(Arc::new)
    };
    if let Additional::Schema(values) = &node.additional
        && let Some(values) = below(Step::Field("*"), values)
    {
        changed.get_or_insert_with(|| node.clone()).additional = Additional::Schema(values);
    }
    if let Some(items) = &node.items
        && let Some(items) = below(Step::Item, items)
    {
        changed.get_or_insert_with(|| node.clone()).items = Some(items);
    }
    for (at, (name, property)) in node.properties.iter().enumerate() {
        if let Some(property) = below(Step::Field(name), property) {
            changed.get_or_insert_with(|| node.clone()).properties[at].1 = property;
        }
    }
    changed
}

/// The smallest object with a value at the end of a way.
fn surround(value: Value, way: &[Step<'_>]) -> Value {
    way.iter().rev().fold(value, |inner, step| match step {
        Step::Field(name) => Value::Object([((*name).to_owned(), inner)].into_iter().collect()),
        Step::Item => Value::Array(vec![inner]),
    })
}

fn focus(object: Value, way: &[Step<'_>]) -> Option<Value> {
    way.iter()
        .try_fold(object, |outer, step| match (step, outer) {
            (Step::Field(name), Value::Object(mut fields)) => fields.remove(*name),
            (Step::Item, Value::Array(items)) => items.into_iter().next(),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use crate::testing::schema;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(schema_json: &Value, object: Value, want: Value) {
        let schema = schema(schema_json.clone());
        let mut got = object;
        schema.prune_nulls(&mut got);
        schema.apply_defaults(&mut got);
        assert_eq!(got, want);
    }

    #[test]
    fn defaults_fill_in() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "x"},
            "n": {"type": "string", "nullable": true, "default": "x"},
            "plain": {"type": "string"},
            "maybe": {"type": "string", "nullable": true},
            "deep": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 5}}},
            "absent": {"type": "object", "properties": {"b": {"type": "integer", "default": 5}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "boolean", "default": true}}}},
            "strings": {"type": "array", "items": {"type": "string", "default": "s"}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"d": {"type": "number", "default": 1.5}}}},
        }});
        check(
            &schema,
            json!({}),
            json!({"a": "x", "n": "x", "deep": {"b": 5}}),
        );
        check(
            &schema,
            json!({"a": null, "n": null, "plain": null, "maybe": null, "deep": null, "absent": null}),
            json!({"a": "x", "n": null, "maybe": null, "deep": {"b": 5}}),
        );
        check(
            &schema,
            json!({"a": "y", "n": "y", "deep": {"b": 1}, "list": [{}, {"c": false}, null], "strings": [null, "t"],
                "map": {"k": {}, "l": null}}),
            json!({"a": "y", "n": "y", "deep": {"b": 1}, "list": [{"c": true}, {"c": false}, null],
                "strings": ["s", "t"], "map": {"k": {"d": 1.5}}}),
        );
    }

    #[test]
    fn defaults_are_cut_to_what_is_known() {
        let schema = schema(json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b": {"type": "string"}}, "default": {"b": "x", "c": 1}},
            "same": {"type": "string", "default": "x"},
        }}));
        let mut object = json!({});
        schema.with_pruned_defaults().apply_defaults(&mut object);
        assert_eq!(object, json!({"a": {"b": "x"}, "same": "x"}));
    }
}
