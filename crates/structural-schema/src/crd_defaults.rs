//! Defaults in a schema have to be valid themselves. Upstream: apiserver/schema/defaulting/validation.go.

use apimachinery::field::{self, ErrorList, Path};
use serde_json::{Map, Value};

use crate::embedded::{CoerceOptions, coerce_root, validate_root};
use crate::node::{Node, Structural};
use crate::prune::prune_default;
use crate::rules::{RUNTIME_BUDGET, Ratchet, evaluate};
use crate::validate::{bad, validate};

/// What is wrong with the defaults of a schema. `require_pruned` refuses fields that the schema does not know.
pub(crate) fn validate_defaults(
    schema: &Structural,
    path: &Path,
    require_pruned: bool,
) -> ErrorList {
    let mut walk = Walk {
        require_pruned,
        budget: RUNTIME_BUDGET as i64,
        errors: ErrorList::new(),
    };
    let root = Place {
        resource: &schema.root,
        way: Vec::new(),
        in_meta: false,
        is_resource: true,
    };
    walk.node(&schema.root, path, &root);
    walk.errors
}

/// Where a default is.
struct Place<'a> {
    /// The resource, embedded or not, that it is in.
    resource: &'a Node,
    /// The way there from the resource.
    way: Vec<Step<'a>>,
    /// Whether it is part of `apiVersion`, `kind` or `metadata`.
    in_meta: bool,
    /// Whether it is of a whole resource.
    is_resource: bool,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item,
}

struct Walk {
    require_pruned: bool,
    budget: i64,
    errors: ErrorList,
}

impl Walk {
    fn node(&mut self, node: &Node, path: &Path, place: &Place<'_>) {
        // Not below additionalProperties in upstream either.
        if !node.flags.has_defaults {
            return;
        }
        let starts_resource = place.is_resource || node.flags.embedded;
        let place = if starts_resource {
            &Place {
                resource: node,
                way: Vec::new(),
                in_meta: false,
                is_resource: true,
            }
        } else {
            place
        };
        if let Some(default) = &node.default {
            self.default(node, default, &path.child("default"), place);
            if self.budget < 0 {
                return;
            }
        }
        let below = |step, in_meta| Place {
            resource: place.resource,
            way: place.way.iter().copied().chain([step]).collect(),
            in_meta: place.in_meta || in_meta,
            is_resource: false,
        };
        if let Some(items) = &node.items {
            self.node(items, &path.child("items"), &below(Step::Item, false));
        }
        for (name, property) in &node.properties {
            if self.budget < 0 {
                return;
            }
            let in_meta = starts_resource && matches!(&**name, "metadata" | "apiVersion" | "kind");
            let path = path.child("properties").key(&**name);
            self.node(property, &path, &below(Step::Field(name), in_meta));
        }
    }

    fn default(&mut self, node: &Node, default: &Value, path: &Path, place: &Place<'_>) {
        let mut value = default.clone();
        let options = CoerceOptions::default();
        if place.in_meta {
            let mut object = surround(value.clone(), &place.way);
            let wrong = match coerce_root(place.resource, &Path::nil(), &mut object, true, options)
            {
                Err(error) => Some(error.to_string()),
                Ok(_) => validate_root(place.resource, &Path::nil(), &object, true).aggregate(),
            };
            if let Some(wrong) = wrong {
                let detail = format!("must result in valid metadata: {wrong}");
                self.errors.push(field::invalid(path, bad(&value), detail));
                return;
            }
        } else {
            if self.require_pruned {
                let mut pruned = value.clone();
                prune_default(node, &mut pruned, place.is_resource);
                if pruned != value {
                    let detail = "must not have unknown fields";
                    self.errors.push(field::invalid(path, bad(&value), detail));
                }
            }
            if let Err(error) = coerce_root(node, path, &mut value, place.is_resource, options) {
                self.errors.push(error);
                return;
            }
            let errors = validate_root(node, path, &value, place.is_resource);
            if !errors.is_empty() {
                self.errors.extend(errors);
                return;
            }
        }
        let errors = validate(node, &value, path, true);
        if !errors.is_empty() {
            self.errors.extend(errors);
            return;
        }
        if node.flags.has_rules {
            self.rules(node, &value, path);
        }
    }

    /// A default has to obey the rules both when it stays and when it is new.
    fn rules(&mut self, node: &Node, value: &Value, path: &Path) {
        let budget = self.budget;
        let stays = evaluate(node, value, Some(value), path, Ratchet::default(), budget);
        let is_fine = stays.errors.is_empty();
        self.errors.extend(stays.errors);
        self.budget = stays.budget;
        if is_fine {
            let new = evaluate(node, value, None, path, Ratchet::default(), budget);
            self.errors.extend(new.errors);
            self.budget = self.budget.min(new.budget);
        }
    }
}

/// The smallest object with a value at the end of a way. It says of what type it is.
fn surround(value: Value, way: &[Step<'_>]) -> Value {
    let mut object = way.iter().rev().fold(value, |inner, step| match step {
        Step::Field(name) => Value::Object(Map::from_iter([((*name).to_owned(), inner)])),
        Step::Item => Value::Array(vec![inner]),
    });
    if let Value::Object(fields) = &mut object {
        for (name, value) in [("kind", "Validation"), ("apiVersion", "validation/v1")] {
            fields.entry(name).or_insert_with(|| Value::from(value));
        }
    }
    object
}
