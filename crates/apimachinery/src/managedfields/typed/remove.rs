//! Values without some of their fields and items, or with only some of them.

use serde_json::{Map, Value};

use super::{Shape, entry, first_shape, item_element, shapes};
use crate::managedfields::schema::{List, ListRelationship, MapType, ObjectType, Schema, TypeId};
use crate::managedfields::set::Set;

pub(super) fn remove_items(value: &Value, items: &Set, ty: &ObjectType) -> Value {
    Walker {
        schema: &ty.schema,
        extract: false,
    }
    .visit(value, items, Some(ty.root))
}

pub(super) fn extract_items(value: &Value, items: &Set, ty: &ObjectType) -> Value {
    Walker {
        schema: &ty.schema,
        extract: true,
    }
    .visit(value, items, Some(ty.root))
}

struct Walker<'a> {
    schema: &'a Schema,
    /// Keep what is in the set, instead of dropping it.
    extract: bool,
}

impl Walker<'_> {
    fn visit(&self, value: &Value, set: &Set, ty: Option<TypeId>) -> Value {
        let Some(ty) = ty else { return Value::Null };
        let atom = self.schema.atom(ty);
        match (
            first_shape(shapes(self.schema, ty, Some(value))),
            &atom.list,
            &atom.map,
        ) {
            (Ok(Shape::Scalar), _, _) => value.clone(),
            (Ok(Shape::List), Some(list), _) => match value {
                Value::Array(items) => self.visit_list(items, list, set),
                _ => Value::Null,
            },
            (Ok(Shape::Map), _, Some(map)) => match value {
                Value::Object(fields) => self.visit_map(fields, ty, map, set),
                _ => Value::Null,
            },
            _ => Value::Null,
        }
    }

    /// What is left of a part of which something goes. An object or list that loses everything stays, empty.
    fn visit_part(&self, value: &Value, set: &Set, ty: Option<TypeId>) -> Value {
        match (self.visit(value, set, ty), value) {
            (Value::Null, Value::Object(_)) if !self.extract => Value::Object(Map::new()),
            (Value::Null, Value::Array(_)) if !self.extract => Value::Array(Vec::new()),
            (rest, _) => rest,
        }
    }

    fn visit_list(&self, items: &[Value], list: &List, set: &Set) -> Value {
        // The whole value is in the set, or nothing of it.
        if items.is_empty() || list.relationship == ListRelationship::Atomic {
            return if self.extract {
                Value::from(items)
            } else {
                Value::Null
            };
        }
        let mut out = Vec::with_capacity(items.len());
        let mut had_matches = false;
        for item in items {
            let Ok(element) = item_element(self.schema, list, item) else {
                if !self.extract {
                    out.push(item.clone());
                }
                continue;
            };
            let is_member = set.has_element(&element);
            let below = set.child(&element).filter(|below| !below.is_empty());
            match (self.extract, is_member, below) {
                (true, _, Some(below)) => out.push(self.visit(item, below, Some(list.element))),
                (true, true, None) => out.push(item.clone()),
                (true, false, None) | (false, true, _) => {}
                (false, false, Some(below)) => {
                    had_matches = true;
                    out.push(self.visit_part(item, below, Some(list.element)));
                }
                (false, false, None) => out.push(item.clone()),
            }
        }
        if out.is_empty() && !had_matches {
            Value::Null
        } else {
            Value::Array(out)
        }
    }

    fn visit_map(
        &self,
        fields: &Map<String, Value>,
        ty: TypeId,
        map: &MapType,
        set: &Set,
    ) -> Value {
        if fields.is_empty() || map.atomic {
            return if self.extract {
                Value::Object(fields.clone())
            } else {
                Value::Null
            };
        }
        let mut out = Map::new();
        let mut had_matches = false;
        for (key, value) in fields {
            let (element, ty) = entry(self.schema, ty, key);
            if set.has_element(&element) {
                if self.extract {
                    // Upstream looks at the field with the set of its parent here, so that of a member that is not atomic
                    // only what the parent's set happens to name is kept. Sets to extract have leaves only.
                    out.insert(key.clone(), self.visit(value, set, ty));
                }
                continue;
            }
            match set.child(&element).filter(|below| !below.is_empty()) {
                Some(below) => {
                    had_matches = true;
                    out.insert(key.clone(), self.visit_part(value, below, ty));
                }
                None if self.extract => {}
                None => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
        if out.is_empty() && (self.extract || !had_matches) {
            Value::Null
        } else {
            Value::Object(out)
        }
    }
}
