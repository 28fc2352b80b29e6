//! What differs between two values.

use std::collections::BTreeMap;

use serde_json::Value;

use super::validate::validate_scalar;
use super::{Collected, Errors, Shape, entries, entry, item_element, items, pair_shapes};
use crate::managedfields::path::{PathElement, values_equal};
use crate::managedfields::schema::{List, ListRelationship, ObjectType, Schema, TypeId};
use crate::managedfields::set::{Filter, Set};

/// What differs between two values. No path is in more than one of the sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Fields and items that only the first value has.
    pub removed: Set,
    /// Fields that both have, with different values.
    pub modified: Set,
    /// Fields and items that only the second value has.
    pub added: Set,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the second value sets.
    #[must_use]
    pub fn written(&self) -> Set {
        self.modified.union(&self.added)
    }

    /// The differences that a filter keeps.
    #[must_use]
    pub fn filter(self, filter: Option<&Filter>) -> Self {
        match filter {
            None => self,
            Some(filter) => Self {
                removed: filter.apply(self.removed),
                modified: filter.apply(self.modified),
                added: filter.apply(self.added),
            },
        }
    }

    pub(super) fn attach(&mut self, element: &PathElement, itself: Itself, below: Self) {
        for (set, below, is_member) in [
            (&mut self.removed, below.removed, itself.removed),
            (&mut self.modified, below.modified, itself.modified),
            (&mut self.added, below.added, itself.added),
        ] {
            if !below.is_empty() {
                set.insert_child(element.clone(), below);
            }
            if is_member {
                set.insert_element(element.clone());
            }
        }
    }
}

/// What happened to a value itself, besides what happened below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Itself {
    pub removed: bool,
    pub modified: bool,
    pub added: bool,
}

pub(super) fn compare(lhs: &Value, rhs: &Value, ty: &ObjectType) -> Result<Comparison, Errors> {
    let mut out = Comparison::default();
    Comparer { schema: &ty.schema }.visit(Some(ty.root), Some(lhs), Some(rhs), &mut out)?;
    Ok(out)
}

pub(super) struct Comparer<'a> {
    pub schema: &'a Schema,
}

impl Comparer<'_> {
    pub(super) fn visit(
        &self,
        ty: Option<TypeId>,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<Itself, Errors> {
        let Some(ty) = ty else {
            return Err(Errors::one("schema error: invalid atom: inlined"));
        };
        let (left_shape, shape) = pair_shapes(self.schema, ty, lhs, rhs)?;
        let mut itself = Itself::default();
        // Values of different kinds are looked at as both.
        if let Some(left_shape) = left_shape {
            self.visit_as(left_shape, ty, lhs, rhs, out, &mut itself)?;
        }
        let is_leaf = self.visit_as(shape, ty, lhs, rhs, out, &mut itself)?;
        if !is_leaf {
            itself.added |= lhs.is_none();
            itself.removed |= lhs.is_some() && rhs.is_none();
        }
        Ok(itself)
    }

    /// Returns whether the value counts as a whole, and then what happened to it is in `itself`.
    fn visit_as(
        &self,
        shape: Shape,
        ty: TypeId,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
        out: &mut Comparison,
        itself: &mut Itself,
    ) -> Result<bool, Errors> {
        let atom = self.schema.atom(ty);
        let is_leaf = match shape {
            Shape::Scalar => {
                if let Some(scalar) = atom.scalar {
                    let left = validate_scalar(scalar, lhs, "lhs: ");
                    let right = validate_scalar(scalar, rhs, "rhs: ");
                    if let (Err(mut left), Err(right)) = (left, right) {
                        left.0.extend(right.0);
                        return Err(left);
                    }
                }
                true
            }
            // Two empty values count as a whole, so that null and empty are told apart.
            Shape::List => {
                atom.list
                    .as_ref()
                    .is_none_or(|list| list.relationship == ListRelationship::Atomic)
                    || (items(lhs).is_empty() && items(rhs).is_empty())
            }
            Shape::Map => {
                let is_empty = |value| entries(value).is_none_or(serde_json::Map::is_empty);
                atom.map.as_ref().is_none_or(|map| map.atomic) || (is_empty(lhs) && is_empty(rhs))
            }
        };
        if is_leaf {
            match (lhs, rhs) {
                (None, _) => itself.added = true,
                (_, None) => itself.removed = true,
                (Some(lhs), Some(rhs)) => itself.modified |= !values_equal(lhs, rhs),
            }
            return Ok(true);
        }
        match (shape, &atom.list, &atom.map) {
            (Shape::List, Some(list), _) => self.visit_items(list, items(lhs), items(rhs), out)?,
            (Shape::Map, _, Some(_)) => self.visit_entries(ty, lhs, rhs, out)?,
            _ => {}
        }
        Ok(false)
    }

    fn visit_entries(
        &self,
        ty: TypeId,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
        out: &mut Comparison,
    ) -> Result<(), Errors> {
        let (lhs, rhs) = (entries(lhs), entries(rhs));
        let mut errors = Collected::default();
        let only_right = rhs
            .into_iter()
            .flatten()
            .filter(|(key, _)| lhs.is_none_or(|lhs| !lhs.contains_key(key.as_str())));
        let keys = lhs
            .into_iter()
            .flatten()
            .chain(only_right)
            .map(|(key, _)| key);
        for key in keys {
            let (left, right) = (
                lhs.and_then(|lhs| lhs.get(key)),
                rhs.and_then(|rhs| rhs.get(key)),
            );
            let (element, ty) = entry(self.schema, ty, key);
            self.visit_part(ty, &element, left, right, out, &mut errors);
        }
        errors.finish()
    }

    fn visit_part(
        &self,
        ty: Option<TypeId>,
        element: &PathElement,
        lhs: Option<&Value>,
        rhs: Option<&Value>,
        out: &mut Comparison,
        errors: &mut Collected,
    ) {
        let mut below = Comparison::default();
        match self.visit(ty, lhs, rhs, &mut below) {
            Ok(itself) => out.attach(element, itself, below),
            Err(problems) => errors.add(Err(problems), element),
        }
    }

    fn visit_items(
        &self,
        list: &List,
        lhs: &[Value],
        rhs: &[Value],
        out: &mut Comparison,
    ) -> Result<(), Errors> {
        let mut errors = Collected::default();
        let mut by_element: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (side, items) in [lhs, rhs].into_iter().enumerate() {
            for (i, item) in items.iter().enumerate() {
                match item_element(self.schema, list, item) {
                    Ok(element) => {
                        let (left, right) = by_element.entry(element).or_default();
                        if side == 0 {
                            left.push(item)
                        } else {
                            right.push(item)
                        }
                    }
                    Err(problem) => errors
                        .0
                        .extend(Errors::one(format!("element {i}: {problem}")).0),
                }
            }
        }
        let ty = Some(list.element);
        for (element, (left, right)) in &by_element {
            if left.len() <= 1 && right.len() <= 1 {
                let (left, right) = (left.first().copied(), right.first().copied());
                self.visit_part(ty, element, left, right, out, &mut errors);
                continue;
            }
            let same = left.len() == right.len()
                && left.iter().zip(right).all(|(a, b)| values_equal(a, b));
            let (pair, itself) = of_duplicates(
                left.first().copied(),
                left.len(),
                right.first().copied(),
                right.len(),
                same,
            );
            if pair.0.is_some() || pair.1.is_some() {
                self.visit_part(ty, element, pair.0, pair.1, out, &mut errors);
            }
            out.attach(element, itself, Comparison::default());
        }
        errors.finish()
    }
}

/// What happened to the items of one element where there are several on a side: which of them to look at in addition, and
/// what happened to the element itself.
pub(super) fn of_duplicates<T>(
    left: Option<T>,
    lefts: usize,
    right: Option<T>,
    rights: usize,
    same: bool,
) -> ((Option<T>, Option<T>), Itself) {
    let mut itself = Itself::default();
    match (lefts, rights) {
        // Duplicates count as a whole.
        (2.., 2..) => {
            itself.modified = !same;
            ((None, None), itself)
        }
        // Duplicates that became one item: the item is new.
        (2.., _) => {
            itself.removed = true;
            ((None, right), itself)
        }
        // One item that became duplicates: the item is gone.
        _ => {
            itself.added = true;
            ((left, None), itself)
        }
    }
}
