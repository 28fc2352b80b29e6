//! What differs between two objects of the API's own types, found without making JSON of them.
//!
//! The outcome is that of comparing their JSON documents, without `apiVersion`, `kind` and the managed fields of the
//! objects themselves (nobody manages those). Parts that are equal are not walked, so the cost of an update is that of a
//! comparison of the objects and of what changed. Whatever has no type of its own in the schema (embedded JSON, either-or
//! forms) is compared as JSON.

use std::collections::BTreeMap;

use api_types::codec::{json_is_left_out, write_json_value};
use api_types::schema::{FieldSchema, JsonForm, Omit, StructSchema};
use api_types::value::{View, values_equal};
use api_types::{Struct, Value};
use serde_json::Value as Json;

use super::compare::{Comparer, Comparison, Itself, of_duplicates};
use super::{Collected, Errors};
use crate::managedfields::built_in::{BuiltIn, PlannedField, built_in};
use crate::managedfields::path::{self, PathElement};
use crate::managedfields::schema::{List, ListRelationship, Schema, TypeId};
use crate::managedfields::set::Set;

/// What differs in `new`, an object of the same type as `live`. Types that are no kind cannot be compared.
pub(in crate::managedfields) fn compare_objects(
    live: &dyn Struct,
    new: &dyn Struct,
) -> Result<Comparison, Errors> {
    let mut out = Comparison::default();
    let walker = Walker::new();
    let Some(ty) = walker.root(live, new) else {
        return Err(Errors::one(
            "schema error: the objects are of no known kind",
        ));
    };
    walker.visit_fields(ty, Some(live), Some(new), Level::Object, &mut out)?;
    Ok(out)
}

/// A part of an object as its JSON has it: null, or a value that is no null.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Null,
    Value(&'a dyn Value),
}

impl<'a> Part<'a> {
    /// What is behind pointers; nil ones, zero times and raw JSON that is not there are null.
    pub(super) fn of(value: &'a dyn Value) -> Self {
        match value.view() {
            View::Pointer(target) => Self::of(target),
            View::Nil => Self::Null,
            View::Time(time) if time.is_zero() => Self::Null,
            View::MicroTime(time) if time.is_zero() => Self::Null,
            View::List(list) if list.is_empty() => Self::Null,
            View::RawJson(raw) if raw.is_empty() => Self::Null,
            _ => Self::Value(value),
        }
    }

    /// The field of a struct; `None` if JSON leaves it out.
    fn of_field(field: &FieldSchema, value: &'a dyn Value) -> Option<Self> {
        if json_is_left_out(field, value) {
            return None;
        }
        // Nil maps and bytes that must be written are null.
        match value.view() {
            View::StringMap(map) if map.is_empty() => Some(Self::Null),
            View::Map(map) if map.is_empty() => Some(Self::Null),
            View::Bytes(bytes) if bytes.0.is_empty() => Some(Self::Null),
            _ => Some(Self::of(value)),
        }
    }

    fn json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Value(value) => {
                let mut text = Vec::new();
                write_json_value(value, &mut text);
                serde_json::from_slice(&text).unwrap_or_default()
            }
        }
    }

    pub(super) fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Value(a), Self::Value(b)) => {
                // Texts of one JSON value may differ.
                values_equal(a, b) || path::values_equal(&self.json(), &other.json())
            }
            _ => false,
        }
    }
}

/// What a part is walked as.
pub(super) enum Walk<'a> {
    Scalar,
    Struct(Option<&'a dyn Struct>, Option<&'a dyn Struct>),
    Map,
    List,
    Json,
}

/// Where fields are skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Object,
    Metadata,
    Below,
}

impl Level {
    pub(super) fn skips(self, field: &str) -> bool {
        match self {
            Self::Object => matches!(field, "apiVersion" | "kind"),
            Self::Metadata => field == "managedFields",
            Self::Below => false,
        }
    }

    pub(super) fn below(self, field: &str) -> Self {
        if self == Self::Object && field == "metadata" {
            Self::Metadata
        } else {
            Self::Below
        }
    }
}

pub(super) type Pair<'a> = (Option<Part<'a>>, Option<Part<'a>>);

pub(super) struct Walker {
    pub(super) types: &'static BuiltIn,
}

impl Walker {
    pub(super) fn new() -> Self {
        Self { types: built_in() }
    }

    /// The type of two objects of one kind.
    pub(super) fn root(&self, live: &dyn Struct, new: &dyn Struct) -> Option<TypeId> {
        let same = std::ptr::eq(live.schema(), new.schema());
        same.then(|| self.types.root(new.schema())).flatten()
    }

    pub(super) fn schema(&self) -> &'static Schema {
        &self.types.schema
    }

    pub(super) fn walk<'a>((lhs, rhs): Pair<'a>) -> Walk<'a> {
        let value = |part: Option<Part<'a>>| match part {
            Some(Part::Value(value)) => Some(value),
            _ => None,
        };
        let as_struct = |value: Option<&'a dyn Value>| match value.map(Value::view) {
            Some(View::Struct(inner)) => Some(inner),
            _ => None,
        };
        let (lhs, rhs) = (value(lhs), value(rhs));
        match rhs.or(lhs).map(Value::view) {
            Some(View::Struct(any)) if any.schema().json_form == JsonForm::Object => {
                Walk::Struct(as_struct(lhs), as_struct(rhs))
            }
            Some(View::Struct(_) | View::RawJson(_)) => Walk::Json,
            Some(View::StringMap(_) | View::Map(_)) => Walk::Map,
            Some(View::List(_)) => Walk::List,
            _ => Walk::Scalar,
        }
    }

    /// As `Comparer::visit`: what happened to the part itself; what happened below it goes to `out`.
    fn visit(
        &self,
        ty: TypeId,
        pair: Pair<'_>,
        level: Level,
        out: &mut Comparison,
    ) -> Result<Itself, Errors> {
        let (lhs, rhs) = pair;
        if let (Some(Part::Value(a)), Some(Part::Value(b))) = pair
            && level == Level::Below
            && values_equal(a, b)
        {
            return Ok(Itself::default());
        }
        let atom = self.schema().atom(ty);
        let walk = Self::walk(pair);
        let is_leaf = match walk {
            Walk::Scalar => true,
            Walk::Json => {
                let (lhs, rhs) = (lhs.map(Part::json), rhs.map(Part::json));
                return Comparer {
                    schema: self.schema(),
                }
                .visit(Some(ty), lhs.as_ref(), rhs.as_ref(), out);
            }
            Walk::Struct(lhs, rhs) => {
                let is_empty =
                    |value: Option<&dyn Struct>| value.is_none_or(|value| !has_fields(value));
                atom.map.as_ref().is_none_or(|map| map.atomic) || (is_empty(lhs) && is_empty(rhs))
            }
            Walk::Map => {
                let is_empty = |part| entries(part).is_empty();
                atom.map.as_ref().is_none_or(|map| map.atomic) || (is_empty(lhs) && is_empty(rhs))
            }
            // There is an item: empty lists are null.
            Walk::List => atom
                .list
                .as_ref()
                .is_none_or(|list| list.relationship == ListRelationship::Atomic),
        };
        let mut itself = Itself {
            added: lhs.is_none(),
            removed: lhs.is_some() && rhs.is_none(),
            modified: false,
        };
        if is_leaf {
            if let (Some(lhs), Some(rhs)) = pair {
                itself.modified = !lhs.equals(rhs);
            }
            return Ok(itself);
        }
        match (walk, &atom.list) {
            (Walk::Struct(lhs, rhs), _) => self.visit_fields(ty, lhs, rhs, level, out)?,
            (Walk::Map, _) => self.visit_entries(ty, pair, out)?,
            (Walk::List, Some(list)) => self.visit_items(list, pair, out)?,
            _ => {}
        }
        Ok(itself)
    }

    fn visit_part(
        &self,
        ty: TypeId,
        element: &PathElement,
        pair: Pair<'_>,
        level: Level,
        out: &mut Comparison,
        errors: &mut Collected,
    ) {
        if let (None, Some(part), Level::Below) = (pair.0, pair.1, level)
            && self.add(ty, element, part, &mut out.added).is_some()
        {
            return;
        }
        let mut below = Comparison::default();
        match self.visit(ty, pair, level, &mut below) {
            Ok(itself) => out.attach(element, itself, below),
            Err(problems) => errors.add(Err(problems), element),
        }
    }

    /// Adds a part that only the second value has, and all below it. None, and nothing added, where that takes more than one look.
    fn add(&self, ty: TypeId, element: &PathElement, part: Part<'_>, set: &mut Set) -> Option<()> {
        let below = self.added(ty, part)?;
        set.insert_child(element.clone(), below);
        set.insert_element(element.clone());
        Some(())
    }

    /// What there is below a part.
    fn added(&self, ty: TypeId, part: Part<'_>) -> Option<Set> {
        let mut set = Set::new();
        let atom = self.schema().atom(ty);
        match Self::walk((None, Some(part))) {
            Walk::Scalar => {}
            Walk::Json => return None,
            Walk::Struct(_, fields) => {
                if let Some(fields) = fields
                    && atom.map.as_ref().is_some_and(|map| !map.atomic)
                {
                    let present = fields.present();
                    for planned in self.types.fields(ty, fields.schema()) {
                        if let Some(part) = part_of(planned, fields, present) {
                            self.add(planned.ty, &planned.element, part, &mut set)?;
                        }
                    }
                }
            }
            Walk::Map => {
                if let Some(map) = atom.map.as_ref().filter(|map| !map.atomic) {
                    let ty = map.element?;
                    for (key, value) in entries(Some(part)) {
                        let element = PathElement::field(key.to_owned());
                        self.add(ty, &element, Part::of(value), &mut set)?;
                    }
                }
            }
            Walk::List => {
                let list = atom.list.as_ref();
                if let Some(list) =
                    list.filter(|list| list.relationship != ListRelationship::Atomic)
                {
                    for item in items(Some(part)) {
                        let element = self.item_element(list, item).ok()?;
                        if set.has_element(&element) {
                            return None;
                        }
                        self.add(list.element, &element, item, &mut set)?;
                    }
                }
            }
        }
        Some(set)
    }

    fn visit_fields(
        &self,
        ty: TypeId,
        lhs: Option<&dyn Struct>,
        rhs: Option<&dyn Struct>,
        level: Level,
        out: &mut Comparison,
    ) -> Result<(), Errors> {
        let Some(any) = rhs.or(lhs) else {
            return Ok(());
        };
        let mut errors = Collected::default();
        let present = |of: Option<&dyn Struct>| of.map_or(0, Struct::present);
        let (left, right) = (present(lhs), present(rhs));
        for planned in self.types.fields(ty, any.schema()) {
            if level.skips(planned.field.json) {
                continue;
            }
            let pair = (
                lhs.and_then(|of| part_of(planned, of, left)),
                rhs.and_then(|of| part_of(planned, of, right)),
            );
            if pair.0.is_none() && pair.1.is_none() {
                continue;
            }
            let level = level.below(planned.field.json);
            self.visit_part(planned.ty, &planned.element, pair, level, out, &mut errors);
        }
        errors.finish()
    }

    fn visit_entries(
        &self,
        ty: TypeId,
        (lhs, rhs): Pair<'_>,
        out: &mut Comparison,
    ) -> Result<(), Errors> {
        let Some(element_type) = self
            .schema()
            .atom(ty)
            .map
            .as_ref()
            .and_then(|map| map.element)
        else {
            return Err(Errors::one("schema error: invalid atom: inlined"));
        };
        let mut errors = Collected::default();
        let mut by_key: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
        for (key, value) in entries(lhs) {
            by_key.entry(key).or_default().0 = Some(Part::of(value));
        }
        for (key, value) in entries(rhs) {
            by_key.entry(key).or_default().1 = Some(Part::of(value));
        }
        for (key, pair) in by_key {
            let element = PathElement::field(key.to_owned());
            self.visit_part(element_type, &element, pair, Level::Below, out, &mut errors);
        }
        errors.finish()
    }

    fn visit_items(
        &self,
        list: &List,
        (lhs, rhs): Pair<'_>,
        out: &mut Comparison,
    ) -> Result<(), Errors> {
        let mut errors = Collected::default();
        let mut by_element: BTreeMap<PathElement, (Vec<Part<'_>>, Vec<Part<'_>>)> = BTreeMap::new();
        for (is_left, side) in [(true, lhs), (false, rhs)] {
            for (i, item) in items(side).enumerate() {
                match self.item_element(list, item) {
                    Ok(element) => {
                        let (left, right) = by_element.entry(element).or_default();
                        if is_left { left } else { right }.push(item);
                    }
                    Err(problem) => errors
                        .0
                        .extend(Errors::one(format!("element {i}: {problem}")).0),
                }
            }
        }
        for (element, (left, right)) in &by_element {
            let first = |side: &[_]| side.first().copied();
            let (pair, itself) = match (left.len(), right.len()) {
                (0 | 1, 0 | 1) => {
                    let pair = (first(left), first(right));
                    self.visit_part(list.element, element, pair, Level::Below, out, &mut errors);
                    continue;
                }
                (lefts, rights) => {
                    let same = lefts == rights && left.iter().zip(right).all(|(a, b)| a.equals(*b));
                    of_duplicates(first(left), lefts, first(right), rights, same)
                }
            };
            if pair.0.is_some() || pair.1.is_some() {
                self.visit_part(list.element, element, pair, Level::Below, out, &mut errors);
            }
            out.attach(element, itself, Comparison::default());
        }
        errors.finish()
    }

    /// The element that stands for an item of a list in paths.
    pub(super) fn item_element(&self, list: &List, item: Part<'_>) -> Result<PathElement, String> {
        let (ListRelationship::Map(keys), Part::Value(value)) = (&list.relationship, item) else {
            return super::item_element(self.schema(), list, &item.json());
        };
        let View::Struct(item_struct) = value.view() else {
            return super::item_element(self.schema(), list, &item.json());
        };
        let fields = self.types.fields(list.element, item_struct.schema());
        let mut key = Vec::with_capacity(keys.len());
        for name in keys {
            let Ok(at) = fields.binary_search_by(|planned| planned.field.json.cmp(name)) else {
                continue;
            };
            let default = || {
                let map = self.schema().atom(list.element).map.as_ref()?;
                map.field(name)?.default.as_deref().cloned()
            };
            let part = part_of(&fields[at], item_struct, u128::MAX);
            if let Some(value) = part.map(key_json).or_else(default) {
                key.push((name.clone(), value));
            }
        }
        if key.is_empty() {
            // It says what is missing.
            return super::item_element(self.schema(), list, &item.json());
        }
        Ok(PathElement::key(key))
    }
}

/// The value of a key; nearly all are text or numbers.
fn key_json(part: Part<'_>) -> Json {
    match part {
        Part::Value(value) => match value.view() {
            View::String(text) => Json::from(text.as_str()),
            View::Int32(number) => Json::from(number),
            View::Int64(number) => Json::from(number),
            View::Bool(flag) => Json::from(flag),
            _ => part.json(),
        },
        Part::Null => Json::Null,
    }
}

/// The field of a struct whose [present](Struct::present) fields are known.
pub(super) fn part_of<'a>(
    planned: &PlannedField,
    of: &'a dyn Struct,
    present: u128,
) -> Option<Part<'a>> {
    let (last, through) = planned.path.steps().split_last()?;
    // One that is left out when there is nothing in it.
    if through.is_empty()
        && planned.field.omit != Omit::Never
        && *last < 128
        && present >> last & 1 == 0
    {
        return None;
    }
    let mut at = of;
    for step in through {
        match at.get(usize::from(*step)).view() {
            View::Struct(inner) => at = inner,
            _ => return None,
        }
    }
    Part::of_field(planned.field, at.get(usize::from(*last)))
}

/// Whether JSON has any field of a struct.
pub(super) fn has_fields(of: &dyn Struct) -> bool {
    fn any(of: &dyn Struct, schema: &StructSchema) -> bool {
        of.shown(0).any(|index| {
            let (field, value) = (&schema.fields[index], of.get(index));
            match value.view() {
                View::Struct(inner) if field.inline => any(inner, inner.schema()),
                _ => !field.json.is_empty() && !json_is_left_out(field, value),
            }
        })
    }
    any(of, of.schema())
}

/// The entries of a map; nothing for anything else.
pub(super) fn entries(part: Option<Part<'_>>) -> Vec<(&str, &dyn Value)> {
    let Some(Part::Value(value)) = part else {
        return Vec::new();
    };
    match value.view() {
        View::StringMap(map) => map
            .iter()
            .map(|(key, value)| (key.as_str(), value as &dyn Value))
            .collect(),
        View::Map(map) => map.entries(),
        _ => Vec::new(),
    }
}

/// The items of a list; nothing for anything else.
pub(super) fn items(part: Option<Part<'_>>) -> impl Iterator<Item = Part<'_>> {
    let list = match part {
        Some(Part::Value(value)) => match value.view() {
            View::List(list) => Some(list),
            _ => None,
        },
        _ => None,
    };
    list.into_iter()
        .flat_map(|list| (0..list.len()).map(move |index| Part::of(list.item(index))))
}
