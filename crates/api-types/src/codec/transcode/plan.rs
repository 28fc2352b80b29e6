//! What the transcoder knows of a struct, drawn from its [`StructSchema`] at first use: a quarter of its size, in the form in which
//! it is needed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use super::super::DecodeError;
use super::super::json_write::write_text;
use super::super::proto_read::{Payload, Records, error, find_tag};
use super::values::write_leaf;
use crate::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};

/// How many fields of a struct have a bit.
const BITS: usize = 128;
/// Tags below this are looked up by their number.
const TAGS: usize = 64;
/// Messages of a struct that are not tried after one that came in another order. Most types always come in one or the other.
const NOT_TRIED: u8 = 200;
/// Records of a message that can be put in order.
const MOST_ARRANGED: usize = 64;
/// No field.
const NONE: u8 = u8::MAX;

/// A struct.
pub(super) struct Plan {
    pub(super) schema: &'static StructSchema,
    pub(super) fields: Box<[FieldPlan]>,
    /// How many of its messages are not tried to be written as they are read: the last one came in another order.
    disordered: AtomicU8,
    /// Whether encoders may write fields in another order than JSON has them.
    shuffled: bool,
    /// The field of each small tag.
    by_tag: [u8; TAGS],
}

/// A field.
pub(super) struct FieldPlan {
    pub(super) field: &'static FieldSchema,
    /// `"name":`
    pub(super) key: Box<[u8]>,
    pub(super) shape: Shape,
    /// Of a struct, or of the structs in a list.
    inner: OnceLock<&'static Plan>,
}

/// Where a record is.
#[derive(Clone, Copy, Default)]
struct Place {
    field: usize,
    start: usize,
    end: usize,
}

/// What a record of a field is, as far as the usual ones go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text that is written although it is empty.
    Text,
    /// Text that is left out when it is empty.
    TextOrNothing,
    /// A number or boolean that is written although it is zero.
    Number,
    /// A number or boolean that is left out when it is zero.
    NumberOrNothing,
    /// A struct, or a pointer to one.
    Struct,
    /// A list of structs.
    Structs,
    /// A list of text.
    Texts,
    /// A map from text to text.
    TextMap,
    /// A map from text to structs.
    StructMap,
    /// Anything else: the schema says what.
    Other,
}

impl Plan {
    /// The plan of a struct.
    pub(super) fn of(schema: &'static StructSchema) -> &'static Plan {
        static PLANS: LazyLock<RwLock<HashMap<usize, &'static Plan>>> =
            LazyLock::new(RwLock::default);
        let key = std::ptr::from_ref(schema) as usize;
        let plans = PLANS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&key) {
            return plan;
        }
        drop(plans);
        let mut plans = PLANS.write().unwrap_or_else(PoisonError::into_inner);
        // There are no more than there are schemas.
        plans
            .entry(key)
            .or_insert_with(|| Box::leak(Box::new(Plan::new(schema))))
    }

    fn new(schema: &'static StructSchema) -> Self {
        let mut by_tag = [NONE; TAGS];
        for (tag, index) in schema.tags.iter().zip(schema.wire) {
            if let Some(place) = by_tag.get_mut(usize::from(*tag)) {
                *place = *index;
            }
        }
        Self {
            schema,
            fields: schema.fields.iter().map(FieldPlan::new).collect(),
            disordered: AtomicU8::new(0),
            shuffled: !schema.wire.is_sorted(),
            by_tag,
        }
    }

    /// Whether a message is likely to come in the order of the fields.
    #[inline]
    pub(super) fn may_be_ordered(&self) -> bool {
        let left = self.disordered.load(Ordering::Relaxed);
        if left > 0 {
            // Lost counts do no harm.
            self.disordered.store(left - 1, Ordering::Relaxed);
            return false;
        }
        self.can_be_streamed()
    }

    /// Whether a message can be written as it is read, if the order of its records allows it.
    pub(super) fn can_be_streamed(&self) -> bool {
        self.fields.len() < BITS && self.schema.json_form == JsonForm::Object
    }

    /// A message with its records in the order of the fields. None where it is in that order, is broken, or has too many records.
    #[inline(never)]
    pub(super) fn arranged(&self, raw: &[u8]) -> Option<Vec<u8>> {
        if !self.shuffled {
            return None;
        }
        let mut found = [Place::default(); MOST_ARRANGED];
        let mut count = 0;
        let (mut hint, mut start, mut moved) = (0, 0, false);
        let mut records = Records::new(raw);
        loop {
            let tag = if let Some((tag, _)) = records.read_bytes() {
                tag
            } else if let Some((tag, _)) = records.read_number() {
                tag
            } else if let Some(record) = records.next() {
                record.ok()?.0
            } else {
                break;
            };
            let end = records.position();
            if let Some(field) = self.field_of(tag, &mut hint) {
                *found.get_mut(count)? = Place { field, start, end };
                // Nearly all are behind those before them.
                let mut at = count;
                while at > 0 && found[at - 1].field > field {
                    found.swap(at - 1, at);
                    at -= 1;
                }
                moved |= at != count;
                count += 1;
            }
            start = end;
        }
        if !moved {
            return None;
        }
        let mut arranged = Vec::with_capacity(raw.len());
        let mut together = 0..0;
        for place in &found[..count] {
            if place.start != together.end {
                arranged.extend_from_slice(&raw[together]);
                together = place.start..place.start;
            }
            together.end = place.end;
        }
        arranged.extend_from_slice(&raw[together]);
        Some(arranged)
    }

    pub(super) fn was_disordered(&self) {
        self.disordered.store(NOT_TRIED, Ordering::Relaxed);
    }

    /// The index of the field with a tag; `hint` as with [`find_tag`].
    #[inline(always)]
    pub(super) fn field_of(&self, tag: u32, hint: &mut usize) -> Option<usize> {
        match self.by_tag.get(tag as usize) {
            Some(&NONE) => None,
            Some(&index) => Some(usize::from(index)),
            None => find_tag(self.schema, tag, hint),
        }
    }
}

impl FieldPlan {
    fn new(field: &'static FieldSchema) -> Self {
        let key = match field.json {
            "" => Box::default(),
            name => format!("\"{name}\":").into_bytes().into_boxed_slice(),
        };
        Self {
            field,
            key,
            shape: Shape::of(field),
            inner: OnceLock::new(),
        }
    }

    /// The plan of the struct that the field has.
    #[inline]
    pub(super) fn inner(&self) -> Option<&'static Plan> {
        if let Some(plan) = self.inner.get() {
            return Some(plan);
        }
        let plan = Plan::of(self.field.ty.struct_schema()?);
        Some(self.inner.get_or_init(|| plan))
    }
}

impl FieldPlan {
    /// As [`Self::inner`], of a field that is known to have one.
    pub(super) fn of_struct(&self) -> Result<&'static Plan, DecodeError> {
        self.inner()
            .ok_or_else(|| error(format!("field {} is no struct", self.field.go)))
    }

    #[inline]
    pub(super) fn write_key(&self, first: &mut bool, out: &mut Vec<u8>) {
        if !std::mem::take(first) {
            out.push(b',');
        }
        out.extend_from_slice(&self.key);
    }
}

impl FieldPlan {
    /// Text, with its key.
    #[inline(always)]
    pub(super) fn write_text(&self, bytes: &[u8], first: &mut bool, out: &mut Vec<u8>) {
        if self.shape == Shape::Text || !bytes.is_empty() {
            out.reserve(self.key.len() + bytes.len() + 3);
            self.write_key(first, out);
            write_text(bytes, out);
        }
    }

    /// A number or boolean, with its key.
    #[inline(always)]
    pub(super) fn write_number(
        &self,
        number: u64,
        first: &mut bool,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let ty = self.field.ty.deref();
        let zero = match ty {
            TypeRef::Int32 | TypeRef::Uint32 => number as u32 == 0,
            _ => number == 0,
        };
        if self.shape == Shape::Number || !zero {
            self.write_key(first, out);
            write_leaf(ty, Payload::Varint(number), self.field.go, out)?;
        }
        Ok(())
    }
}

impl Shape {
    fn of(field: &FieldSchema) -> Shape {
        if field.inline || field.json.is_empty() {
            return Shape::Other;
        }
        match (&field.ty, field.omit) {
            (TypeRef::String, Omit::Never) => Shape::Text,
            (TypeRef::String, _) => Shape::TextOrNothing,
            // A pointer is there when its record is.
            (TypeRef::Pointer(TypeRef::String), _) => Shape::Text,
            (ty, omit) if is_number(ty) => match omit {
                Omit::Never => Shape::Number,
                _ => Shape::NumberOrNothing,
            },
            (TypeRef::Pointer(ty), _) if is_number(ty) => Shape::Number,
            (TypeRef::Struct(_), _) => Shape::Struct,
            (TypeRef::Pointer(TypeRef::Struct(_)), _) => Shape::Struct,
            (TypeRef::List(TypeRef::Struct(_)), _) => Shape::Structs,
            (TypeRef::List(TypeRef::String), _) => Shape::Texts,
            (TypeRef::Map(TypeRef::String), _) => Shape::TextMap,
            (TypeRef::Map(TypeRef::Struct(_)), _) => Shape::StructMap,
            _ => Shape::Other,
        }
    }
}

fn is_number(ty: &TypeRef) -> bool {
    matches!(
        ty,
        TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32
    )
}
