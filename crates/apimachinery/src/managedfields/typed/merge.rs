//! Laying one value over another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::validate::validate_scalar;
use super::{Collected, Errors, Shape, entries, entry, item_element, items, pair_shapes};
use crate::managedfields::path::PathElement;
use crate::managedfields::schema::{List, ListRelationship, ObjectType, Schema, TypeId};

pub(super) fn merge(lhs: &Value, rhs: &Value, ty: &ObjectType) -> Result<Value, Errors> {
    let merged = Merger { schema: &ty.schema }.visit(Some(ty.root), Some(lhs), Some(rhs))?;
    Ok(merged.unwrap_or_default())
}

struct Merger<'a> {
    schema: &'a Schema,
}

impl Merger<'_> {
    fn visit(
        &self,
        ty: Option<TypeId>,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
    ) -> Result<Option<Value>, Errors> {
        let Some(ty) = ty else {
            return Err(Errors::one("schema error: invalid atom: inlined"));
        };
        let (left_shape, shape) = pair_shapes(self.schema, ty, lhs, rhs)?;
        // Values of different kinds must both conform; what comes out is the right side's.
        if let Some(left_shape) = left_shape {
            self.visit_as(left_shape, ty, lhs, rhs)?;
        }
        self.visit_as(shape, ty, lhs, rhs)
    }

    fn visit_as(
        &self,
        shape: Shape,
        ty: TypeId,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
    ) -> Result<Option<Value>, Errors> {
        let atom = self.schema.atom(ty);
        // A leaf is taken from the right side if it has one.
        let leaf = || Ok(rhs.or(lhs).cloned());
        match (shape, &atom.list, &atom.map) {
            (Shape::List, Some(list), _) => {
                let (left, right) = (items(lhs), items(rhs));
                if list.relationship == ListRelationship::Atomic
                    || (left.is_empty() && right.is_empty())
                {
                    return leaf();
                }
                let merged = self.visit_items(list, left, right)?;
                Ok((!merged.is_empty()).then_some(Value::Array(merged)))
            }
            (Shape::Map, _, Some(map)) => {
                let (left, right) = (entries(lhs), entries(rhs));
                let is_empty = |side: Option<&Map<String, Value>>| side.is_none_or(Map::is_empty);
                if map.atomic || (is_empty(left) && is_empty(right)) {
                    return leaf();
                }
                let merged = self.visit_entries(ty, left, right)?;
                Ok((!merged.is_empty()).then_some(Value::Object(merged)))
            }
            _ => {
                if let Some(scalar) = atom.scalar {
                    let left = validate_scalar(scalar, lhs, "lhs: ");
                    let right = validate_scalar(scalar, rhs, "rhs: ");
                    if let (Err(mut left), Err(right)) = (left, right) {
                        left.0.extend(right.0);
                        return Err(left);
                    }
                }
                leaf()
            }
        }
    }

    fn visit_entries(
        &self,
        ty: TypeId,
        lhs: Option<&Map<String, Value>>,
        rhs: Option<&Map<String, Value>>,
    ) -> Result<Map<String, Value>, Errors> {
        let mut out = Map::new();
        let mut errors = Collected::default();
        let only_right = rhs
            .into_iter()
            .flatten()
            .filter(|(key, _)| lhs.is_none_or(|lhs| !lhs.contains_key(key.as_str())));
        for (key, _) in lhs.into_iter().flatten().chain(only_right) {
            let (left, right) = (
                lhs.and_then(|lhs| lhs.get(key)),
                rhs.and_then(|rhs| rhs.get(key)),
            );
            let (element, ty) = entry(self.schema, ty, key);
            match self.visit(ty, left, right) {
                Ok(Some(value)) => {
                    out.insert(key.clone(), value);
                }
                Ok(None) => {}
                Err(problems) => errors.add(Err(problems), &element),
            }
        }
        errors.finish().map(|()| out)
    }

    /// Merges associative lists.
    ///
    /// Items that both have come in the right side's order. Items that only the left side has stay behind the item they
    /// followed.
    fn visit_items(&self, list: &List, lhs: &[Value], rhs: &[Value]) -> Result<Vec<Value>, Errors> {
        let (right_elements, right_items) = self.index(list, rhs, false)?;
        let (left_elements, left_items) = self.index(list, lhs, true)?;
        // Errors in items do not count, as upstream: both sides were validated before.
        let merge_item = |left: Option<&Value>, right: Option<&Value>| {
            self.visit(Some(list.element), left, right).ok().flatten()
        };
        let mut out = Vec::with_capacity(lhs.len().max(rhs.len()));
        let mut shared = right_elements
            .iter()
            .filter(|element| left_items.contains_key(*element));
        let mut next_shared = shared.next();
        let mut merged: BTreeSet<&PathElement> = BTreeSet::new();
        let (mut l, mut r) = (0, 0);
        while l < left_elements.len() || r < right_elements.len() {
            if let (Some(left), Some(right)) = (left_elements.get(l), right_elements.get(r)) {
                if left == right {
                    merged.insert(left);
                    out.extend(merge_item(left_items[left], right_items[right]));
                    l += 1;
                    r += 1;
                    next_shared = shared.next();
                    continue;
                }
                if right_items.contains_key(left) && next_shared.is_some_and(|next| next != left) {
                    // Both have it, but it is not its turn yet.
                    l += 1;
                    continue;
                }
            }
            if let Some(left) = left_elements.get(l) {
                if !right_items.contains_key(left) {
                    // By position, because duplicates have no item in the index.
                    out.extend(merge_item(Some(&lhs[l]), None));
                    l += 1;
                    continue;
                }
                if merged.contains(left) {
                    l += 1;
                }
            }
            if let Some(right) = right_elements.get(r) {
                merged.insert(right);
                out.extend(merge_item(
                    left_items.get(right).copied().flatten(),
                    right_items[right],
                ));
                r += 1;
                if next_shared == Some(right) {
                    next_shared = shared.next();
                }
            }
        }
        Ok(out)
    }

    /// The elements of a list in order, and the item of each. Duplicates, where allowed, count as null: nothing merges with
    /// them.
    #[expect(clippy::type_complexity, reason = "a pair of local index structures")]
    fn index<'v>(
        &self,
        list: &List,
        items: &'v [Value],
        allow_duplicates: bool,
    ) -> Result<(Vec<PathElement>, BTreeMap<PathElement, Option<&'v Value>>), Errors> {
        const NULL: &Value = &Value::Null;
        let mut errors = Collected::default();
        let mut elements = Vec::with_capacity(items.len());
        let mut by_element = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            let element = match item_element(self.schema, list, item) {
                Ok(element) => element,
                Err(problem) => {
                    errors
                        .0
                        .extend(Errors::one(format!("element {i}: {problem}")).0);
                    continue;
                }
            };
            match by_element.get_mut(&element) {
                None => {
                    by_element.insert(element.clone(), Some(item));
                }
                Some(same) if allow_duplicates => *same = Some(NULL),
                Some(_) => {
                    errors
                        .0
                        .extend(Errors::one(format!("duplicate entries for key {element}")).0);
                    continue;
                }
            }
            elements.push(element);
        }
        errors.finish().map(|()| (elements, by_element))
    }
}
