//! What the creator of an object owns, written as it is found: nobody owned anything before, so that no sets have to be
//! made, cut and merged. The outcome is that of [comparing](super::compare_objects) the object with an empty one.

use api_types::Struct;
use api_types::value::values_equal;

use super::objects::{Level, Part, Walk, Walker, entries, has_fields, items, part_of};
use crate::managedfields::fields_v1::{write_element, write_escaped};
use crate::managedfields::path::PathElement;
use crate::managedfields::schema::{ListRelationship, TypeId};
use crate::managedfields::set::Set;

/// The fields of the one entry of an object that is new, in the form of [`api_types::FieldsV1`]. `zero` is the empty object
/// of its type. Nobody owns what is in `reset`, or below it, and the members of `unowned`.
///
/// None where sets have to be compared: for list items of one key, for embedded JSON, and where there is nothing to own.
pub(in crate::managedfields) fn fields_of_created(
    zero: &dyn Struct,
    new: &dyn Struct,
    reset: Option<&Set>,
    unowned: &Set,
) -> Option<String> {
    let mut writer = Writer {
        walker: Walker::new(),
        out: String::with_capacity(2048),
    };
    let ty = writer.walker.root(zero, new)?;
    let not_owned = NotOwned {
        reset,
        unowned: Some(unowned),
    };
    writer.out.push('{');
    writer.fields(ty, Some(zero), new, Level::Object, not_owned)?;
    writer.out.push('}');
    (writer.out.len() > "{}".len()).then_some(writer.out)
}

/// What nobody owns of a level and below it.
#[derive(Clone, Copy, Default)]
struct NotOwned<'a> {
    reset: Option<&'a Set>,
    unowned: Option<&'a Set>,
}

impl NotOwned<'_> {
    fn below(self, element: &PathElement) -> Self {
        Self {
            reset: self.reset.and_then(|set| set.child(element)),
            unowned: self.unowned.and_then(|set| set.child(element)),
        }
    }
}

/// A part of the new object, with what the empty one has in its place.
#[derive(Clone, Copy)]
struct New<'a> {
    ty: TypeId,
    zero: Option<Part<'a>>,
    part: Part<'a>,
    level: Level,
}

struct Writer {
    walker: Walker,
    out: String,
}

impl Writer {
    fn fields(
        &mut self,
        ty: TypeId,
        zero: Option<&dyn Struct>,
        new: &dyn Struct,
        level: Level,
        not_owned: NotOwned<'_>,
    ) -> Option<()> {
        let (before, present) = (zero.map_or(0, Struct::present), new.present());
        for planned in self.walker.types.fields(ty, new.schema()) {
            let Some(part) = part_of(planned, new, present) else {
                continue;
            };
            if level.skips(planned.field.json) {
                continue;
            }
            let zero = zero.and_then(|zero| part_of(planned, zero, before));
            let new = New {
                ty: planned.ty,
                zero,
                part,
                level: level.below(planned.field.json),
            };
            self.element(&planned.element, new, not_owned)?;
        }
        Some(())
    }

    /// What is new of a part, and the part itself if it is, with its key.
    fn element(
        &mut self,
        element: &PathElement,
        new: New<'_>,
        not_owned: NotOwned<'_>,
    ) -> Option<()> {
        let has = |set: Option<&Set>| set.is_some_and(|set| set.has_element(element));
        if has(not_owned.reset) {
            return Some(());
        }
        let is_owned = !has(not_owned.unowned);
        let not_owned = not_owned.below(element);
        let key = |out: &mut String| match element {
            PathElement::Field(name) => write_field(name, out),
            other => write_element(other, out),
        };
        self.keyed(key, new, is_owned, not_owned)
    }

    fn keyed(
        &mut self,
        key: impl FnOnce(&mut String),
        new: New<'_>,
        is_owned: bool,
        not_owned: NotOwned<'_>,
    ) -> Option<()> {
        const ITSELF: &str = "\".\":{}";
        let New {
            ty,
            zero,
            part,
            level,
        } = new;
        if let (Some(Part::Value(zero)), Part::Value(new)) = (zero, part)
            && level == Level::Below
            && values_equal(zero, new)
        {
            return Some(());
        }
        let walk = Walker::walk((zero, Some(part)));
        let is_leaf = self.is_leaf(ty, zero, part, &walk)?;
        let is_new = match zero {
            None => true,
            Some(zero) => is_leaf && !zero.equals(part),
        };
        let is_member = is_new && is_owned;
        if is_leaf && !is_member {
            return Some(());
        }
        let start = self.out.len();
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        key(&mut self.out);
        self.out.push_str(":{");
        if !is_leaf {
            let open = self.out.len();
            if is_member {
                self.out.push_str(ITSELF);
            }
            let before = self.out.len();
            self.below(new, walk, not_owned)?;
            if self.out.len() == before {
                if !is_member {
                    self.out.truncate(start);
                    return Some(());
                }
                self.out.truncate(open);
            }
        }
        self.out.push('}');
        Some(())
    }

    /// Whether nothing below a part can have an owner of its own. None for what has to be compared as JSON.
    fn is_leaf(
        &self,
        ty: TypeId,
        zero: Option<Part<'_>>,
        part: Part<'_>,
        walk: &Walk<'_>,
    ) -> Option<bool> {
        let atom = self.walker.schema().atom(ty);
        let has_entries = |part| !entries(part).is_empty();
        Some(match walk {
            Walk::Scalar => true,
            Walk::Json => return None,
            Walk::Struct(zero, new) => {
                let has = |value: &Option<&dyn Struct>| value.is_some_and(has_fields);
                atom.map.as_ref().is_none_or(|map| map.atomic) || !(has(zero) || has(new))
            }
            Walk::Map => {
                atom.map.as_ref().is_none_or(|map| map.atomic)
                    || !(has_entries(zero) || has_entries(Some(part)))
            }
            Walk::List => {
                let list = atom.list.as_ref();
                list.is_none_or(|list| list.relationship == ListRelationship::Atomic)
            }
        })
    }

    fn below(&mut self, new: New<'_>, walk: Walk<'_>, not_owned: NotOwned<'_>) -> Option<()> {
        let types = self.walker.types;
        let atom = types.schema.atom(new.ty);
        let added = |ty, part| New {
            ty,
            zero: None,
            part,
            level: Level::Below,
        };
        match walk {
            Walk::Struct(zero, fields) => self.fields(new.ty, zero, fields?, new.level, not_owned),
            // An empty object has neither entries nor items.
            _ if matches!(new.zero, Some(Part::Value(_))) => None,
            Walk::Map => {
                let ty = atom.map.as_ref()?.element?;
                let mut entries = entries(Some(new.part));
                entries.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    let new = added(ty, Part::of(value));
                    if not_owned.reset.is_some() || not_owned.unowned.is_some() {
                        self.element(&PathElement::field(key.to_owned()), new, not_owned)?;
                    } else {
                        self.keyed(|out| write_field(key, out), new, true, not_owned)?;
                    }
                }
                Some(())
            }
            Walk::List => {
                let list = atom.list.as_ref()?;
                let mut of_elements = Vec::new();
                for item in items(Some(new.part)) {
                    of_elements.push((self.walker.item_element(list, item).ok()?, item));
                }
                of_elements.sort_by(|(a, _), (b, _)| a.cmp(b));
                if of_elements.windows(2).any(|two| two[0].0 == two[1].0) {
                    return None;
                }
                for (element, item) in &of_elements {
                    self.element(element, added(list.element, *item), not_owned)?;
                }
                Some(())
            }
            Walk::Scalar | Walk::Json => None,
        }
    }
}

fn write_field(name: &str, out: &mut String) {
    out.push_str("\"f:");
    write_escaped(name, out);
    out.push('"');
}
