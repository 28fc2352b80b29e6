//! Fields that a schema does not know. Upstream: apiserver/schema/pruning.

use serde_json::Value;

use crate::node::{Additional, Node, Structural};

const TYPE_AND_META: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Drops the fields that the schema does not know. `apiVersion`, `kind` and `metadata` stay as they are in embedded
    /// resources, and in the object itself if it is a whole resource.
    pub fn prune(&self, object: &mut Value, is_resource: bool) {
        prune_root(&self.root, object, is_resource, &mut Untracked);
    }

    /// The same, and returns the paths of what was dropped, in order: `spec.foo`, `spec.list[0].bar`. Strict field validation
    /// says `unknown field "spec.foo"` for each.
    pub fn prune_reporting(&self, object: &mut Value, is_resource: bool) -> Vec<String> {
        let mut tracker = Tracked::default();
        prune_root(&self.root, object, is_resource, &mut tracker);
        tracker.found.sort();
        tracker.found
    }
}

pub(crate) fn prune_default(node: &Node, value: &mut Value, is_resource: bool) {
    prune_root(node, value, is_resource, &mut Untracked);
}

fn prune_root(node: &Node, value: &mut Value, is_resource: bool, tracker: &mut impl Tracker) {
    let embedded = is_resource || node.flags.embedded;
    if node.flags.preserve_unknown {
        keep_unknown(value, node, embedded, tracker);
    } else {
        prune(value, Some(node), embedded, tracker);
    }
}

/// Follows the walk, so that paths are only made by those who want them.
trait Tracker {
    fn enter_field(&mut self, name: &str);
    fn enter_index(&mut self, index: usize);
    fn leave(&mut self);
    fn dropped(&mut self, name: &str);
}

struct Untracked;

impl Tracker for Untracked {
    fn enter_field(&mut self, _: &str) {}
    fn enter_index(&mut self, _: usize) {}
    fn leave(&mut self) {}
    fn dropped(&mut self, _: &str) {}
}

#[derive(Default)]
struct Tracked {
    path: String,
    /// How long the path was before each step.
    lengths: Vec<usize>,
    found: Vec<String>,
}

impl Tracker for Tracked {
    fn enter_field(&mut self, name: &str) {
        self.lengths.push(self.path.len());
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }

    fn enter_index(&mut self, index: usize) {
        self.lengths.push(self.path.len());
        self.path.push_str(&format!("[{index}]"));
    }

    fn leave(&mut self) {
        if let Some(length) = self.lengths.pop() {
            self.path.truncate(length);
        }
    }

    fn dropped(&mut self, name: &str) {
        // Those of the object itself are never unknown.
        if self.path.is_empty() && TYPE_AND_META.contains(&name) {
            return;
        }
        self.enter_field(name);
        self.found.push(self.path.clone());
        self.leave();
    }
}

fn prune_below(value: &mut Value, node: Option<&Node>, tracker: &mut impl Tracker) {
    match node {
        Some(node) if node.flags.preserve_unknown => {
            keep_unknown(value, node, node.flags.embedded, tracker);
        }
        node => prune(
            value,
            node,
            node.is_some_and(|node| node.flags.embedded),
            tracker,
        ),
    }
}

/// What is below `additionalProperties`, if they are given at all.
fn values_of(node: &Node) -> Option<Option<&Node>> {
    match &node.additional {
        Additional::Unset => None,
        Additional::Schema(values) => Some(Some(values)),
        Additional::Allowed | Additional::Denied => Some(None),
    }
}

fn prune(value: &mut Value, node: Option<&Node>, embedded: bool, tracker: &mut impl Tracker) {
    match value {
        Value::Object(fields) => {
            let Some(node) = node else {
                for name in fields.keys() {
                    tracker.dropped(name);
                }
                fields.clear();
                return;
            };
            fields.retain(|name, value| {
                if embedded && TYPE_AND_META.contains(&&**name) {
                    return true;
                }
                let below = match node.property(name) {
                    Some(property) => Some(Some(&**property)),
                    None => values_of(node),
                };
                match below {
                    Some(below) => {
                        // Scalars have nothing to drop, and most fields are scalars.
                        if value.is_object() || value.is_array() {
                            tracker.enter_field(name);
                            prune_below(value, below, tracker);
                            tracker.leave();
                        }
                        true
                    }
                    None => {
                        tracker.dropped(name);
                        false
                    }
                }
            });
        }
        Value::Array(items) => {
            let items_node = node.and_then(|node| node.items.as_deref());
            for (index, item) in items.iter_mut().enumerate() {
                tracker.enter_index(index);
                prune_below(item, items_node, tracker);
                tracker.leave();
            }
        }
        _ => {}
    }
}

/// What the schema does not know stays; what it does know is pruned again.
fn keep_unknown(value: &mut Value, node: &Node, embedded: bool, tracker: &mut impl Tracker) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if embedded && TYPE_AND_META.contains(&&**name) {
                    continue;
                }
                let below = match node.property(name) {
                    Some(property) => Some(Some(&**property)),
                    None => values_of(node),
                };
                if let Some(below) = below {
                    tracker.enter_field(name);
                    prune_below(value, below, tracker);
                    tracker.leave();
                }
            }
        }
        Value::Array(items) => {
            let Some(items_node) = node.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter_mut().enumerate() {
                tracker.enter_index(index);
                keep_unknown(item, items_node, items_node.flags.embedded, tracker);
                tracker.leave();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::schema;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(schema_json: Value, object: Value, want: Value, want_paths: &[&str]) {
        let schema = schema(schema_json);
        let mut pruned = object.clone();
        assert_eq!(schema.prune_reporting(&mut pruned, true), want_paths);
        assert_eq!(pruned, want);
        let mut again = object;
        schema.prune(&mut again, true);
        assert_eq!(again, want);
        assert!(schema.prune_reporting(&mut pruned, true).is_empty());
        assert_eq!(pruned, want);
    }

    #[test]
    fn unknown_fields_go() {
        check(
            json!({"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "known": {"type": "string"},
                    "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                    "map": {"type": "object", "additionalProperties": {"type": "object"}},
                    "free": {"type": "object", "additionalProperties": true},
                }},
            }}),
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "foo": 1}, "status": {},
                "spec": {"known": "x", "other": {"a": 1}, "list": [{"a": "x", "b": 1}, 5], "map": {"k": {"x": 1}},
                    "free": {"k": {"x": 1}, "s": 1}}}),
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "foo": 1},
                "spec": {"known": "x", "list": [{"a": "x"}, 5], "map": {"k": {}}, "free": {"k": {}, "s": 1}}}),
            &[
                "spec.free.k.x",
                "spec.list[0].b",
                "spec.map.k.x",
                "spec.other",
                "status",
            ],
        );
    }

    #[test]
    fn unknown_fields_stay_where_asked() {
        check(
            json!({"type": "object", "properties": {
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "strict": {"type": "object", "properties": {"a": {"type": "string"}}},
                    "loose": {"type": "array", "items": {"type": "object"}},
                }},
                "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                    "spec": {"type": "object"}}},
            }}),
            json!({"any": {"x": {"y": 1}, "strict": {"a": "1", "b": 2}, "loose": [{"q": 1}]},
                "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {"x": 1}, "status": {}}}),
            json!({"any": {"x": {"y": 1}, "strict": {"a": "1"}, "loose": [{}]},
                "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {}}}),
            &[
                "any.loose[0].q",
                "any.strict.b",
                "embedded.spec.x",
                "embedded.status",
            ],
        );
    }
}
