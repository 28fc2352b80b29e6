//! Reflection over API values. Containers and structs only say what they are ([`View`], [`ViewMut`]); each codec is one
//! set of functions over those views, so that more than a thousand types share the same machine code.
//!
//! Upstream does the same with Go's `reflect` package for JSON and with generated code for protobuf.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use crate::meta::v1::{ListMeta, ObjectMeta, TypeMeta};
use crate::schema::StructSchema;
use crate::special::{
    ByteString, Duration, FieldsV1, IntOrString, JSON, MicroTime, Quantity, RawExtension, Time,
    TimeOrMetaDuration,
};

/// A shared look at a value.
pub enum View<'a> {
    /// Text.
    String(&'a String),
    /// Boolean.
    Bool(bool),
    /// 32-bit integer.
    Int32(i32),
    /// 64-bit integer.
    Int64(i64),
    /// Unsigned 32-bit integer.
    Uint32(u32),
    /// Double.
    Float64(f64),
    /// Single.
    Float32(f32),
    /// Bytes.
    Bytes(&'a ByteString),
    /// Quantity.
    Quantity(&'a Quantity),
    /// Time in seconds.
    Time(Time),
    /// Time in microseconds.
    MicroTime(MicroTime),
    /// Duration.
    Duration(Duration),
    /// Integer or text.
    IntOrString(&'a IntOrString),
    /// JSON text kept as it came: RawExtension, FieldsV1, JSON. Empty is nil.
    RawJson(&'a Vec<u8>),
    /// Logging's flush frequency.
    TimeOrMetaDuration(&'a TimeOrMetaDuration),
    /// A struct.
    Struct(&'a dyn Struct),
    /// A slice.
    List(&'a dyn ListView),
    /// A map of text to text.
    StringMap(&'a BTreeMap<String, String>),
    /// Any other map.
    Map(&'a dyn MapView),
    /// A nil pointer.
    Nil,
    /// A pointer that is set.
    Pointer(&'a dyn Value),
}

/// A look at a value through which it can be changed.
pub enum ViewMut<'a> {
    /// Text.
    String(&'a mut String),
    /// Boolean.
    Bool(&'a mut bool),
    /// 32-bit integer.
    Int32(&'a mut i32),
    /// 64-bit integer.
    Int64(&'a mut i64),
    /// Unsigned 32-bit integer.
    Uint32(&'a mut u32),
    /// Double.
    Float64(&'a mut f64),
    /// Single.
    Float32(&'a mut f32),
    /// Bytes.
    Bytes(&'a mut ByteString),
    /// Quantity.
    Quantity(&'a mut Quantity),
    /// Time in seconds.
    Time(&'a mut Time),
    /// Time in microseconds.
    MicroTime(&'a mut MicroTime),
    /// Duration.
    Duration(&'a mut Duration),
    /// Integer or text.
    IntOrString(&'a mut IntOrString),
    /// JSON text kept as it came.
    RawJson(&'a mut Vec<u8>),
    /// Logging's flush frequency.
    TimeOrMetaDuration(&'a mut TimeOrMetaDuration),
    /// A struct.
    Struct(&'a mut dyn Struct),
    /// A slice.
    List(&'a mut dyn ListView),
    /// A map of text to text.
    StringMap(&'a mut BTreeMap<String, String>),
    /// Any other map.
    Map(&'a mut dyn MapView),
    /// A pointer, set or nil.
    Pointer(&'a mut dyn PointerView),
}

/// Anything that can be a field of an API type.
pub trait Value: Send + Sync + 'static {
    /// What the value is.
    fn view(&self) -> View<'_>;
    /// What the value is, to change it.
    fn view_mut(&mut self) -> ViewMut<'_>;

    /// Whether it is an empty text, list or map, zero, false or nil. Of anything else this says nothing: false.
    fn is_nothing(&self) -> bool {
        false
    }

    /// How a map of these values presents itself; text has a shape of its own.
    #[doc(hidden)]
    fn view_map(map: &BTreeMap<String, Self>) -> View<'_>
    where
        Self: Sized + Default,
    {
        View::Map(map)
    }

    /// The mutable side of [`Value::view_map`].
    #[doc(hidden)]
    fn view_map_mut(map: &mut BTreeMap<String, Self>) -> ViewMut<'_>
    where
        Self: Sized + Default,
    {
        ViewMut::Map(map)
    }
}

/// A struct of the API, with its table and its fields by index.
pub trait Struct: Value + Any {
    /// The table of the type.
    fn schema(&self) -> &'static StructSchema;
    /// The field at an index of `schema().fields`. Panics beyond the end, as slices do.
    fn get(&self, index: usize) -> &dyn Value;
    /// The field at an index, to change it. Panics beyond the end.
    fn get_mut(&mut self, index: usize) -> &mut dyn Value;

    /// A bit for each of the first 128 fields that is not [nothing](Value::is_nothing): most fields of an object are, and walks
    /// go past them without a look at each.
    fn present(&self) -> u128 {
        u128::MAX
    }
}

/// A type whose table is known without a value at hand.
pub trait Described: Struct + Default {
    /// The table of the type.
    const SCHEMA: &'static StructSchema;
}

impl dyn Struct {
    /// The indices of the fields from one on that JSON may have something of, ascending.
    pub fn shown(&self, from: usize) -> impl Iterator<Item = usize> + use<> {
        let schema = self.schema();
        let count = schema.fields.len();
        let all = u128::MAX
            .checked_shl(count as u32)
            .map_or(u128::MAX, |high| !high);
        let some = u128::MAX.checked_shl(from as u32).unwrap_or(0);
        let mut bits = (self.present() | schema.written_when_absent) & all & some;
        let first = std::iter::from_fn(move || {
            let index = (bits != 0).then(|| bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            index
        });
        first.chain(from.max(128)..count)
    }

    /// The concrete value, if it is a `T`.
    pub fn downcast_ref<T: Struct>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// The concrete value to change, if it is a `T`.
    pub fn downcast_mut<T: Struct>(&mut self) -> Option<&mut T> {
        (self as &mut dyn Any).downcast_mut()
    }

    /// The object metadata, if the type has any.
    pub fn object_meta(&self) -> Option<&ObjectMeta> {
        match self.get(self.metadata_index()?).view() {
            View::Struct(metadata) => metadata.downcast_ref(),
            _ => None,
        }
    }

    /// The object metadata to change, if the type has any.
    pub fn object_meta_mut(&mut self) -> Option<&mut ObjectMeta> {
        match self.get_mut(self.metadata_index()?).view_mut() {
            ViewMut::Struct(metadata) => metadata.downcast_mut(),
            _ => None,
        }
    }

    /// The list metadata, if the type is a list (or a Status).
    pub fn list_meta(&self) -> Option<&ListMeta> {
        match self.get(self.metadata_index()?).view() {
            View::Struct(metadata) => metadata.downcast_ref(),
            _ => None,
        }
    }

    /// The list metadata to change, if the type is a list (or a Status).
    pub fn list_meta_mut(&mut self) -> Option<&mut ListMeta> {
        match self.get_mut(self.metadata_index()?).view_mut() {
            ViewMut::Struct(metadata) => metadata.downcast_mut(),
            _ => None,
        }
    }

    /// `apiVersion` and `kind` as they were read, if the type embeds them.
    pub fn type_meta(&self) -> Option<&TypeMeta> {
        self.schema().kind?;
        match self.get(0).view() {
            View::Struct(type_meta) => type_meta.downcast_ref(),
            _ => None,
        }
    }

    /// `apiVersion` and `kind` to change, if the type embeds them.
    pub fn type_meta_mut(&mut self) -> Option<&mut TypeMeta> {
        self.schema().kind?;
        match self.get_mut(0).view_mut() {
            ViewMut::Struct(type_meta) => type_meta.downcast_mut(),
            _ => None,
        }
    }

    fn metadata_index(&self) -> Option<usize> {
        self.schema()
            .fields
            .iter()
            .position(|field| field.json == "metadata")
    }

    /// The value of a field by its JSON key, looked up in inlined structs too.
    pub fn field(&self, json: &str) -> Option<&dyn Value> {
        let (path, _) = self.schema().find_json(json)?;
        let (last, through) = path.steps().split_last()?;
        let mut at = self;
        for step in through {
            match at.get(usize::from(*step)).view() {
                View::Struct(inner) => at = inner,
                _ => return None,
            }
        }
        Some(at.get(usize::from(*last)))
    }

    /// Takes the concrete value out of the box, or gives the box back.
    pub fn downcast<T: Struct>(self: Box<Self>) -> Result<Box<T>, Box<dyn Struct>> {
        if (&*self as &dyn Any).is::<T>() {
            let any: Box<dyn Any> = self;
            Ok(any
                .downcast()
                .unwrap_or_else(|_| unreachable!("the type was checked above")))
        } else {
            Err(self)
        }
    }
}

/// A slice of values.
pub trait ListView: Send + Sync {
    /// Number of items.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The item at an index. Panics beyond the end.
    fn item(&self, index: usize) -> &dyn Value;
    /// The item at an index, to change it.
    fn item_mut(&mut self, index: usize) -> &mut dyn Value;
    /// Appends a zero value and gives it out to be filled.
    fn push_default(&mut self) -> &mut dyn Value;
    /// Removes the items from an index on.
    fn truncate(&mut self, len: usize);
    /// Removes all items.
    fn clear(&mut self) {
        self.truncate(0);
    }
}

/// A map from text to values.
pub trait MapView: Send + Sync {
    /// Number of entries.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The entries in key order.
    fn entries(&self) -> Vec<(&str, &dyn Value)>;
    /// Sets a key to a zero value (dropping what was there) and gives it out to be filled.
    fn insert_default(&mut self, key: String) -> &mut dyn Value;
    /// The value of a key.
    fn value(&self, key: &str) -> Option<&dyn Value>;
    /// The value of a key, to change it.
    fn value_mut(&mut self, key: &str) -> Option<&mut dyn Value>;
    /// Removes all entries.
    fn clear(&mut self);
}

/// A pointer: `Option` of a scalar, or of a boxed struct.
pub trait PointerView: Send + Sync {
    /// Makes it nil.
    fn clear(&mut self);
    /// The value behind it, a zero value if it was nil.
    fn get_or_default(&mut self) -> &mut dyn Value;
    /// The value behind it.
    fn target(&self) -> Option<&dyn Value>;
}

impl<T: Value + Default> Value for Vec<T> {
    fn view(&self) -> View<'_> {
        View::List(self)
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::List(self)
    }
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Value + Default> ListView for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }
    fn item(&self, index: usize) -> &dyn Value {
        &self[index]
    }
    fn item_mut(&mut self, index: usize) -> &mut dyn Value {
        &mut self[index]
    }
    fn push_default(&mut self) -> &mut dyn Value {
        self.push(T::default());
        let last = self.len() - 1;
        &mut self[last]
    }
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl<T: Value + Default> Value for BTreeMap<String, T> {
    fn view(&self) -> View<'_> {
        T::view_map(self)
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        T::view_map_mut(self)
    }
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Value + Default> MapView for BTreeMap<String, T> {
    fn len(&self) -> usize {
        self.len()
    }
    fn entries(&self) -> Vec<(&str, &dyn Value)> {
        self.iter()
            .map(|(key, value)| (key.as_str(), value as &dyn Value))
            .collect()
    }
    fn insert_default(&mut self, key: String) -> &mut dyn Value {
        let slot = self.entry(key).or_default();
        *slot = T::default();
        slot
    }
    fn value(&self, key: &str) -> Option<&dyn Value> {
        self.get(key).map(|value| value as &dyn Value)
    }
    fn value_mut(&mut self, key: &str) -> Option<&mut dyn Value> {
        self.get_mut(key).map(|value| value as &mut dyn Value)
    }
    fn clear(&mut self) {
        self.clear();
    }
}

impl<T: Value + Default> Value for Option<T> {
    fn view(&self) -> View<'_> {
        match self {
            None => View::Nil,
            Some(value) => View::Pointer(value),
        }
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::Pointer(self)
    }
    fn is_nothing(&self) -> bool {
        self.is_none()
    }
}

impl<T: Value + Default> PointerView for Option<T> {
    fn clear(&mut self) {
        *self = None;
    }
    fn get_or_default(&mut self) -> &mut dyn Value {
        self.get_or_insert_default()
    }
    fn target(&self) -> Option<&dyn Value> {
        self.as_ref().map(|value| value as &dyn Value)
    }
}

impl<T: Value> Value for Box<T> {
    fn view(&self) -> View<'_> {
        (**self).view()
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        (**self).view_mut()
    }
    fn is_nothing(&self) -> bool {
        (**self).is_nothing()
    }
}

impl Value for String {
    fn view(&self) -> View<'_> {
        View::String(self)
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::String(self)
    }
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }
    fn view_map(map: &BTreeMap<String, String>) -> View<'_> {
        View::StringMap(map)
    }
    fn view_map_mut(map: &mut BTreeMap<String, String>) -> ViewMut<'_> {
        ViewMut::StringMap(map)
    }
}

macro_rules! scalar {
    ($($ty:ty => $variant:ident, |$this:ident| $shared:expr, $nothing:expr;)*) => {$(
        impl Value for $ty {
            fn view(&self) -> View<'_> {
                let $this = self;
                View::$variant($shared)
            }
            fn view_mut(&mut self) -> ViewMut<'_> {
                ViewMut::$variant(self)
            }
            fn is_nothing(&self) -> bool {
                let $this = self;
                $nothing
            }
        }
    )*};
}

scalar! {
    bool => Bool, |v| *v, !*v;
    i32 => Int32, |v| *v, *v == 0;
    i64 => Int64, |v| *v, *v == 0;
    u32 => Uint32, |v| *v, *v == 0;
    f64 => Float64, |v| *v, *v == 0.0;
    f32 => Float32, |v| *v, *v == 0.0;
    ByteString => Bytes, |v| v, v.0.is_empty();
    Quantity => Quantity, |v| v, { let _ = v; false };
    Time => Time, |v| *v, { let _ = v; false };
    MicroTime => MicroTime, |v| *v, { let _ = v; false };
    Duration => Duration, |v| *v, { let _ = v; false };
    IntOrString => IntOrString, |v| v, { let _ = v; false };
    TimeOrMetaDuration => TimeOrMetaDuration, |v| v, { let _ = v; false };
}

macro_rules! raw_json {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn view(&self) -> View<'_> {
                View::RawJson(&self.raw)
            }
            fn view_mut(&mut self) -> ViewMut<'_> {
                ViewMut::RawJson(&mut self.raw)
            }
        }
    )*};
}

raw_json!(RawExtension, FieldsV1, JSON);

/// Gives a struct its reflection, `Debug` and `PartialEq`. Used by the generated code only.
macro_rules! reflect {
    ($ty:ident { $($index:literal $field:ident,)* }) => {
        impl $crate::Value for $ty {
            fn view(&self) -> $crate::View<'_> {
                $crate::View::Struct(self)
            }
            fn view_mut(&mut self) -> $crate::ViewMut<'_> {
                $crate::ViewMut::Struct(self)
            }
        }
        impl $crate::Struct for $ty {
            fn schema(&self) -> &'static $crate::schema::StructSchema {
                &schema::$ty
            }
            fn get(&self, index: usize) -> &dyn $crate::Value {
                match index {
                    $($index => &self.$field,)*
                    _ => $crate::value::no_such_field(index),
                }
            }
            fn get_mut(&mut self, index: usize) -> &mut dyn $crate::Value {
                match index {
                    $($index => &mut self.$field,)*
                    _ => $crate::value::no_such_field(index),
                }
            }
            fn present(&self) -> u128 {
                0 $(| $crate::value::bit($index, $crate::Value::is_nothing(&self.$field)))*
            }
        }
        impl $crate::Described for $ty {
            const SCHEMA: &'static $crate::schema::StructSchema = &schema::$ty;
        }
        impl std::fmt::Debug for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::value::fmt_struct(self, f)
            }
        }
        impl PartialEq for $ty {
            fn eq(&self, other: &Self) -> bool {
                $crate::value::structs_equal(self, other)
            }
        }
    };
}
pub(crate) use reflect;

/// The bit of a field, if it has one and there is something in it.
#[inline(always)]
pub(crate) const fn bit(index: u32, is_nothing: bool) -> u128 {
    if index < 128 {
        (!is_nothing as u128) << index
    } else {
        0
    }
}

#[cold]
pub(crate) fn no_such_field(index: usize) -> ! {
    panic!("field index {index} is out of range for this type")
}

/// Whether a value is Go's "empty" for `omitempty`: structs never are.
pub fn is_empty(value: &dyn Value) -> bool {
    match value.view() {
        View::String(v) => v.is_empty(),
        View::Bool(v) => !v,
        View::Int32(v) => v == 0,
        View::Int64(v) => v == 0,
        View::Uint32(v) => v == 0,
        View::Float64(v) => v == 0.0,
        View::Float32(v) => v == 0.0,
        View::Bytes(v) => v.0.is_empty(),
        View::List(v) => v.is_empty(),
        View::StringMap(v) => v.is_empty(),
        View::Map(v) => v.is_empty(),
        View::Nil => true,
        View::Pointer(_) | View::Struct(_) => false,
        View::Quantity(_)
        | View::Time(_)
        | View::MicroTime(_)
        | View::Duration(_)
        | View::IntOrString(_)
        | View::RawJson(_)
        | View::TimeOrMetaDuration(_) => false,
    }
}

/// Whether a value is the zero value of its type in every part.
pub fn is_zero(value: &dyn Value) -> bool {
    match value.view() {
        View::Struct(v) => (0..v.schema().fields.len()).all(|index| is_zero(v.get(index))),
        View::Quantity(v) => v.is_unset(),
        View::Time(v) => v.is_zero(),
        View::MicroTime(v) => v.is_zero(),
        View::Duration(v) => v.0 == 0,
        View::IntOrString(v) => *v == IntOrString::default(),
        View::RawJson(v) => v.is_empty(),
        View::TimeOrMetaDuration(v) => *v == TimeOrMetaDuration::default(),
        _ => is_empty(value),
    }
}

/// Sets a value to the zero value of its type.
pub fn clear(value: &mut dyn Value) {
    match value.view_mut() {
        ViewMut::String(v) => v.clear(),
        ViewMut::Bool(v) => *v = false,
        ViewMut::Int32(v) => *v = 0,
        ViewMut::Int64(v) => *v = 0,
        ViewMut::Uint32(v) => *v = 0,
        ViewMut::Float64(v) => *v = 0.0,
        ViewMut::Float32(v) => *v = 0.0,
        ViewMut::Bytes(v) => v.0.clear(),
        ViewMut::Quantity(v) => *v = Quantity::default(),
        ViewMut::Time(v) => *v = Time::default(),
        ViewMut::MicroTime(v) => *v = MicroTime::default(),
        ViewMut::Duration(v) => *v = Duration::default(),
        ViewMut::IntOrString(v) => *v = IntOrString::default(),
        ViewMut::RawJson(v) => v.clear(),
        ViewMut::TimeOrMetaDuration(v) => *v = TimeOrMetaDuration::default(),
        ViewMut::Struct(v) => {
            for index in 0..v.schema().fields.len() {
                clear(v.get_mut(index));
            }
        }
        ViewMut::List(v) => v.clear(),
        ViewMut::StringMap(v) => v.clear(),
        ViewMut::Map(v) => v.clear(),
        ViewMut::Pointer(v) => v.clear(),
    }
}

/// Deep equality of two values of the same type.
pub fn values_equal(a: &dyn Value, b: &dyn Value) -> bool {
    match (a.view(), b.view()) {
        (View::String(a), View::String(b)) => a == b,
        (View::Bool(a), View::Bool(b)) => a == b,
        (View::Int32(a), View::Int32(b)) => a == b,
        (View::Int64(a), View::Int64(b)) => a == b,
        (View::Uint32(a), View::Uint32(b)) => a == b,
        (View::Float64(a), View::Float64(b)) => a == b,
        (View::Float32(a), View::Float32(b)) => a == b,
        (View::Bytes(a), View::Bytes(b)) => a == b,
        (View::Quantity(a), View::Quantity(b)) => a == b,
        (View::Time(a), View::Time(b)) => a == b,
        (View::MicroTime(a), View::MicroTime(b)) => a == b,
        (View::Duration(a), View::Duration(b)) => a == b,
        (View::IntOrString(a), View::IntOrString(b)) => a == b,
        (View::RawJson(a), View::RawJson(b)) => a == b,
        (View::TimeOrMetaDuration(a), View::TimeOrMetaDuration(b)) => a == b,
        (View::Struct(a), View::Struct(b)) => structs_equal(a, b),
        (View::List(a), View::List(b)) => {
            a.len() == b.len()
                && (0..a.len()).all(|index| values_equal(a.item(index), b.item(index)))
        }
        (View::StringMap(a), View::StringMap(b)) => a == b,
        (View::Map(a), View::Map(b)) => {
            a.len() == b.len()
                && a.entries()
                    .into_iter()
                    .zip(b.entries())
                    .all(|(a, b)| a.0 == b.0 && values_equal(a.1, b.1))
        }
        (View::Nil, View::Nil) => true,
        (View::Pointer(a), View::Pointer(b)) => values_equal(a, b),
        _ => false,
    }
}

/// Deep equality of two structs; false when their types differ.
pub fn structs_equal(a: &dyn Struct, b: &dyn Struct) -> bool {
    // Fields in which there is nothing are equal.
    let present = a.present();
    std::ptr::eq(a.schema(), b.schema())
        && present == b.present()
        && (0..a.schema().fields.len())
            .filter(|index| *index >= 128 || present >> index & 1 == 1)
            .all(|index| values_equal(a.get(index), b.get(index)))
}

struct DebugValue<'a>(&'a dyn Value);

impl fmt::Debug for DebugValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.view() {
            View::String(v) => v.fmt(f),
            View::Bool(v) => v.fmt(f),
            View::Int32(v) => v.fmt(f),
            View::Int64(v) => v.fmt(f),
            View::Uint32(v) => v.fmt(f),
            View::Float64(v) => v.fmt(f),
            View::Float32(v) => v.fmt(f),
            View::Bytes(v) => v.fmt(f),
            View::Quantity(v) => v.fmt(f),
            View::Time(v) => v.fmt(f),
            View::MicroTime(v) => v.fmt(f),
            View::Duration(v) => v.fmt(f),
            View::IntOrString(v) => v.fmt(f),
            View::RawJson(v) => write!(f, "`{}`", String::from_utf8_lossy(v)),
            View::TimeOrMetaDuration(v) => v.fmt(f),
            View::Struct(v) => fmt_struct(v, f),
            View::List(v) => f
                .debug_list()
                .entries((0..v.len()).map(|index| DebugValue(v.item(index))))
                .finish(),
            View::StringMap(v) => v.fmt(f),
            View::Map(v) => f
                .debug_map()
                .entries(v.entries().into_iter().map(|(k, v)| (k, DebugValue(v))))
                .finish(),
            View::Nil => f.write_str("nil"),
            View::Pointer(v) => DebugValue(v).fmt(f),
        }
    }
}

/// `Debug` of any struct: the fields that are not zero.
pub fn fmt_struct(value: &dyn Struct, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let schema = value.schema();
    let mut out = f.debug_struct(schema.name);
    for (index, field) in schema.fields.iter().enumerate() {
        let inner = value.get(index);
        if !is_zero(inner) {
            out.field(field.go, &DebugValue(inner));
        }
    }
    out.finish()
}

impl fmt::Debug for dyn Struct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_struct(self, f)
    }
}
