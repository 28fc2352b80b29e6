//! Fills in what a client left out. Upstream: pkg/apis/*/v*/defaults.go.
//!
//! A defaulter belongs to a type, not to a kind: a Probe gets its defaults wherever it occurs. One walk over an object visits every
//! struct, the outer before the inner, applies the type's row and then the field defaults that the schema declares.
//! Setting defaults twice changes nothing the second time.

mod core;
mod extension;
mod workloads;

use std::collections::HashMap;
use std::sync::LazyLock;

use api_types::schema::{FieldSchema, StructSchema, TypeRef};
use api_types::value::{Described, View, ViewMut};
use api_types::{Quantity, Struct, Value};
use parking_lot::RwLock;

/// One row of the tables: a type and what fills it in.
pub(crate) struct Row {
    schema: &'static StructSchema,
    apply: Box<dyn Fn(&mut dyn Struct) + Send + Sync>,
}

fn row<T: Described>(apply: fn(&mut T)) -> Row {
    Row {
        schema: T::SCHEMA,
        apply: Box::new(move |value| {
            if let Some(value) = value.downcast_mut::<T>() {
                apply(value);
            }
        }),
    }
}

static ROWS: LazyLock<HashMap<usize, Vec<Row>>> = LazyLock::new(|| {
    let mut rows: HashMap<usize, Vec<Row>> = HashMap::new();
    for row in core::rows()
        .into_iter()
        .chain(workloads::rows())
        .chain(extension::rows())
    {
        rows.entry(address(row.schema)).or_default().push(row);
    }
    rows
});

fn address(schema: &'static StructSchema) -> usize {
    std::ptr::from_ref(schema) as usize
}

/// What there is to do in a struct of one type.
struct Steps {
    rows: &'static [Row],
    fields: Box<[Step]>,
}

/// A field with a default of its own, or with structs in it.
struct Step {
    index: usize,
    field: &'static FieldSchema,
    holds_structs: bool,
}

impl Steps {
    fn of(schema: &'static StructSchema) -> &'static Steps {
        static STEPS: LazyLock<RwLock<HashMap<usize, &'static Steps>>> =
            LazyLock::new(RwLock::default);
        let key = address(schema);
        if let Some(steps) = STEPS.read().get(&key) {
            return steps;
        }
        // There are no more than there are types.
        STEPS
            .write()
            .entry(key)
            .or_insert_with(|| Box::leak(Box::new(Steps::new(schema))))
    }

    fn new(schema: &'static StructSchema) -> Steps {
        let fields = schema.fields.iter().enumerate();
        let fields = fields.filter_map(|(index, field)| {
            // Metadata has no defaults; it is in every object and not small.
            if matches!(field.go, "ObjectMeta" | "TypeMeta" | "ListMeta") {
                return None;
            }
            let holds_structs = holds_structs(&field.ty);
            (holds_structs || !field.default.is_empty()).then_some(Step {
                index,
                field,
                holds_structs,
            })
        });
        Steps {
            rows: ROWS.get(&address(schema)).map_or(&[], Vec::as_slice),
            fields: fields.collect(),
        }
    }
}

/// Sets the defaults of an object and of everything in it.
pub fn set_defaults(object: &mut dyn Struct) {
    let steps = Steps::of(object.schema());
    for row in steps.rows {
        (row.apply)(object);
    }
    let present = object.present();
    for step in &steps.fields {
        let has_default = !step.field.default.is_empty();
        if has_default {
            declared_default(
                object.get_mut(step.index),
                step.field.default,
                &step.field.ty,
            );
        }
        let is_present = step.index >= 128 || present >> step.index & 1 == 1;
        if step.holds_structs && (is_present || has_default) {
            descend(object.get_mut(step.index));
        }
    }
}

/// Scalars and maps of text hold nothing that has defaults.
fn holds_structs(ty: &TypeRef) -> bool {
    match ty {
        TypeRef::Struct(_) => true,
        TypeRef::List(inner) | TypeRef::WrappedList(inner) | TypeRef::Pointer(inner) => {
            holds_structs(inner)
        }
        TypeRef::Map(inner) => matches!(inner, TypeRef::Quantity) || holds_structs(inner),
        _ => false,
    }
}

fn descend(value: &mut dyn Value) {
    match value.view_mut() {
        ViewMut::Struct(inner) => set_defaults(inner),
        ViewMut::List(list) => {
            for index in 0..list.len() {
                descend(list.item_mut(index));
            }
        }
        ViewMut::Map(map) => {
            let keys: Vec<String> = map
                .entries()
                .into_iter()
                .map(|(key, _)| key.to_owned())
                .collect();
            for key in keys {
                if let Some(value) = map.value_mut(&key) {
                    match value.view_mut() {
                        // A ResourceList: amounts below a thousandth are rounded up.
                        ViewMut::Quantity(quantity) => round_up_to_milli(quantity),
                        _ => descend(value),
                    }
                }
            }
        }
        ViewMut::Pointer(pointer) => {
            if pointer.target().is_some() {
                descend(pointer.get_or_default());
            }
        }
        _ => {}
    }
}

fn round_up_to_milli(quantity: &mut Quantity) {
    // Beyond this a milli value does not fit 64 bits; such amounts have no fraction worth rounding.
    if quantity.value().unsigned_abs() > i64::MAX as u64 / 1000 {
        return;
    }
    let rounded = Quantity::from_milli(quantity.milli_value(), quantity.format());
    if rounded.cmp(quantity).is_ne() {
        *quantity = rounded;
    }
}

/// The values that `ref(...)` defaults of the schema mean.
const NAMED_DEFAULTS: [(&str, &str); 2] = [
    ("ref(AzureDataDiskCachingReadWrite)", "ReadWrite"),
    ("ref(AzureSharedBlobDisk)", "Shared"),
];

/// Sets a field that is unset to the default that its declaration names (`+default=`).
fn declared_default(value: &mut dyn Value, default: &str, ty: &TypeRef) {
    match value.view() {
        View::Nil => {}
        View::String(text) if text.is_empty() => {}
        View::Int32(0) | View::Int64(0) | View::Bool(false) => {}
        _ => return,
    }
    let text = NAMED_DEFAULTS
        .iter()
        .find(|(name, _)| *name == default)
        .map_or_else(|| default.trim_matches('"'), |(_, value)| *value);
    match (value.view_mut(), ty) {
        (ViewMut::Pointer(pointer), TypeRef::Pointer(inner)) => {
            declared_default(pointer.get_or_default(), default, inner)
        }
        (ViewMut::String(slot), _) => *slot = text.to_owned(),
        (ViewMut::Int32(slot), _) => *slot = text.parse().unwrap_or_default(),
        (ViewMut::Int64(slot), _) => *slot = text.parse().unwrap_or_default(),
        (ViewMut::Bool(slot), _) => *slot = text == "true",
        _ => {}
    }
}

#[cfg(test)]
mod tests;
