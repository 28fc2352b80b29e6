//! Field sets that were written when the schema was another: what was granular and is atomic now is owned as a whole.

use crate::managedfields::path::{Path, PathElement};
use crate::managedfields::schema::{
    Atom, ListRelationship, MapType, ObjectType, Scalar, Schema, TypeId,
};
use crate::managedfields::set::Set;

/// The set under the current schema; `None` if nothing changes. Paths that the schema does not know stay.
pub(in crate::managedfields) fn reconcile(set: &Set, ty: &ObjectType) -> Option<Set> {
    let mut walker = Walker {
        schema: &ty.schema,
        path: Vec::new(),
        now_atomic: Set::new(),
    };
    walker.visit(Some(set), ty.root, false);
    if walker.now_atomic.is_empty() {
        return None;
    }
    Some(
        set.recursive_difference(&walker.now_atomic)
            .union(&walker.now_atomic),
    )
}

struct Walker<'a> {
    schema: &'a Schema,
    path: Vec<&'a PathElement>,
    now_atomic: Set,
}

impl<'a> Walker<'a> {
    fn is_atomic_now(&mut self) {
        let path = Path(self.path.iter().copied().cloned().collect());
        self.now_atomic.insert(&path);
    }

    /// `is_leaf` says that the set has the value as a member and nothing below it.
    fn visit(&mut self, set: Option<&'a Set>, ty: TypeId, is_leaf: bool) {
        let schema = self.schema;
        match schema.atom(ty) {
            Atom { map: Some(map), .. } => {
                if is_untyped_deduced(schema, map) {
                    return;
                }
                if !is_leaf && map.atomic {
                    if set.is_some_and(|set| !set.is_empty()) {
                        self.is_atomic_now();
                    }
                    return;
                }
                self.visit_parts(set, |element| match element {
                    PathElement::Field(name) => {
                        map.field(name).map(|field| field.ty).or(map.element)
                    }
                    _ => map.element,
                });
            }
            Atom {
                scalar: Some(_), ..
            } => {}
            Atom {
                list: Some(list), ..
            } => {
                if !is_leaf && list.relationship == ListRelationship::Atomic {
                    self.is_atomic_now();
                    return;
                }
                self.visit_parts(set, |_| Some(list.element));
            }
            _ => {}
        }
    }

    fn visit_parts(&mut self, set: Option<&'a Set>, ty: impl Fn(&PathElement) -> Option<TypeId>) {
        let Some(set) = set else { return };
        let only_children = set
            .children
            .iter()
            .map(|(element, _)| element)
            .filter(|e| !set.has_element(e));
        for (element, is_member) in only_children
            .map(|e| (e, false))
            .chain(set.members.iter().map(|e| (e, true)))
        {
            if let Some(ty) = ty(element) {
                let below = set.child(element);
                self.path.push(element);
                self.visit(below, ty, is_member && below.is_none());
                self.path.pop();
            }
        }
    }
}

/// Whether nothing is known of a map's entries, so that it never was anything else.
fn is_untyped_deduced(schema: &Schema, map: &MapType) -> bool {
    map.fields().is_empty()
        && map.element.is_some_and(|element| {
            let atom = schema.atom(element);
            element == Schema::UNTYPED_DEDUCED
                || (element != Schema::UNTYPED_ATOMIC
                    && atom.scalar == Some(Scalar::Untyped)
                    && atom.list.is_none()
                    && atom.map.is_none())
        })
}
