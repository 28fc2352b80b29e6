//! The fields that a value sets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Shape, entries, entry, first_shape, item_element, items, shapes};
use crate::managedfields::path::PathElement;
use crate::managedfields::schema::{ListRelationship, ObjectType, Schema, TypeId};
use crate::managedfields::set::Set;

pub(super) fn to_field_set(value: &Value, ty: &ObjectType) -> Set {
    let mut set = Set::new();
    visit(&ty.schema, value, Some(ty.root), &mut set);
    set
}

/// Adds what is below a value. Returns whether the value is a leaf, which its parent then adds.
fn visit(schema: &Schema, value: &Value, ty: Option<TypeId>, out: &mut Set) -> bool {
    let Some(ty) = ty else { return false };
    let atom = schema.atom(ty);
    match first_shape(shapes(schema, ty, Some(value))) {
        Err(_) => false,
        Ok(Shape::Scalar) => true,
        Ok(Shape::Map) => {
            let Some(map) = &atom.map else { return false };
            if map.atomic {
                return true;
            }
            for (key, value) in entries(Some(value)).into_iter().flatten() {
                let (element, ty) = entry(schema, ty, key);
                let is_leaf = visit_part(schema, &element, value, ty, out);
                let is_empty =
                    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                // Entries of maps are items, and members besides what is in them; fields of structs are not.
                if !is_leaf && (is_empty || map.field(key).is_none()) {
                    out.insert_element(element);
                }
            }
            false
        }
        Ok(Shape::List) => {
            let Some(list) = &atom.list else { return false };
            if list.relationship == ListRelationship::Atomic {
                return true;
            }
            let mut by_element: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
            for item in items(Some(value)) {
                if let Ok(element) = item_element(schema, list, item) {
                    by_element.entry(element).or_default().push(item);
                }
            }
            for (element, same) in by_element {
                // Duplicates are owned as one.
                if let [item] = same.as_slice() {
                    visit_part(schema, &element, item, Some(list.element), out);
                }
                out.insert_element(element);
            }
            false
        }
    }
}

fn visit_part(
    schema: &Schema,
    element: &PathElement,
    value: &Value,
    ty: Option<TypeId>,
    out: &mut Set,
) -> bool {
    let mut below = Set::new();
    let is_leaf = visit(schema, value, ty, &mut below);
    out.insert_child(element.clone(), below);
    if is_leaf {
        out.insert_element(element.clone());
    }
    is_leaf
}
