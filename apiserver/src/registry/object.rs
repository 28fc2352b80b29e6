//! An API object of any built-in kind, decoded, with what every kind has in common at hand.
//! Upstream: runtime.Object with meta.Accessor.

use api_types::kinds::KindInfo;
use api_types::meta::v1::ObjectMeta;
use api_types::value::{self, View, ViewMut};
use api_types::{Struct, Value};
use bytes::Bytes;

/// A decoded object. Cloning copies it deeply.
pub struct Object {
    value: Box<dyn Struct>,
    /// Index of ObjectMeta among the fields, if the kind has one.
    metadata: Option<usize>,
    /// The labels of a Job that came without any are those of its pods' template, whatever becomes of that.
    pub shares_template_labels: bool,
    /// Where [`super::sent_empty`] found lists in what the object was decoded from, as JSON pointers.
    pub(super) sent_empty: Vec<String>,
    /// What it was stored as, until it is changed.
    stored: Option<Bytes>,
}

impl Object {
    pub fn new(value: Box<dyn Struct>) -> Object {
        let metadata = value.schema().field("ObjectMeta").map(|(index, _)| index);
        Object {
            value,
            metadata,
            shares_template_labels: false,
            sent_empty: Vec::new(),
            stored: None,
        }
    }

    /// Notes that these are the object's bytes in storage, where no resourceVersion is.
    pub fn set_stored(&mut self, value: Bytes) {
        self.stored = Some(value);
    }

    /// The object's bytes in storage, if it has been stored and not changed since.
    pub fn stored(&self) -> Option<&Bytes> {
        self.stored.as_ref()
    }

    pub fn from<T: Struct>(value: T) -> Object {
        Object::new(Box::new(value))
    }

    pub fn value(&self) -> &dyn Struct {
        &*self.value
    }

    pub fn value_mut(&mut self) -> &mut dyn Struct {
        self.stored = None;
        &mut *self.value
    }

    pub fn into_value(self) -> Box<dyn Struct> {
        self.value
    }

    /// The object as another version's type that has the same wire form.
    pub fn retyped(self, kind: &KindInfo) -> Result<Object, String> {
        let mut retyped = Object::new((kind.new)());
        let message = api_types::encode_protobuf(&*self.value);
        api_types::decode_protobuf_into(retyped.value_mut(), &message)
            .map_err(|error| error.to_string())?;
        retyped.shares_template_labels = self.shares_template_labels;
        retyped.sent_empty = self.sent_empty;
        Ok(retyped)
    }

    /// The typed object, if it is a `T`.
    pub fn get<T: Struct>(&self) -> Option<&T> {
        self.value.downcast_ref::<T>()
    }

    pub fn get_mut<T: Struct>(&mut self) -> Option<&mut T> {
        self.stored = None;
        self.value.downcast_mut::<T>()
    }

    pub fn has_metadata(&self) -> bool {
        self.metadata.is_some()
    }

    /// The object's metadata. Kinds without metadata have an empty one that nothing can be read from.
    pub fn metadata(&self) -> &ObjectMeta {
        static EMPTY: std::sync::LazyLock<ObjectMeta> =
            std::sync::LazyLock::new(ObjectMeta::default);
        match self.metadata.map(|index| self.value.get(index).view()) {
            Some(View::Struct(metadata)) => metadata.downcast_ref().unwrap_or(&EMPTY),
            _ => &EMPTY,
        }
    }

    pub fn metadata_mut(&mut self) -> Option<&mut ObjectMeta> {
        self.stored = None;
        match self.value.get_mut(self.metadata?).view_mut() {
            ViewMut::Struct(metadata) => metadata.downcast_mut(),
            _ => None,
        }
    }

    /// Changes the metadata of kinds that have one.
    pub fn edit_metadata(&mut self, edit: impl FnOnce(&mut ObjectMeta)) {
        if let Some(metadata) = self.metadata_mut() {
            edit(metadata);
        }
    }

    /// The field with Go's name, if the kind has it.
    pub fn field(&self, go: &str) -> Option<&dyn Value> {
        let (index, _) = self.value.schema().field(go)?;
        Some(self.value.get(index))
    }

    /// Sets a field to the one of another object of the same kind.
    pub fn copy_field(&mut self, from: &Object, go: &str) {
        // Most fields that are copied are equal, and comparing costs less than copying.
        if let Some((index, _)) = self.value.schema().field(go)
            && std::ptr::eq(self.value.schema(), from.value.schema())
            && !value::values_equal(self.value.get(index), from.value.get(index))
        {
            self.stored = None;
            copy(from.value.get(index), self.value.get_mut(index));
        }
    }

    /// Sets a field to its zero value.
    pub fn clear_field(&mut self, go: &str) {
        if let Some((index, _)) = self.value.schema().field(go) {
            self.stored = None;
            value::clear(self.value.get_mut(index));
        }
    }

    /// Whether a field equals that of another object of the same kind.
    pub fn field_equals(&self, other: &Object, go: &str) -> bool {
        match (self.field(go), other.field(go)) {
            (Some(a), Some(b)) => value::values_equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    /// Whether every field but the metadata equals that of another object of the same kind.
    pub fn equals_besides_metadata(&self, other: &Object) -> bool {
        std::ptr::eq(self.value.schema(), other.value.schema())
            && (0..self.value.schema().fields.len())
                .filter(|index| Some(*index) != self.metadata)
                .all(|index| value::values_equal(self.value.get(index), other.value.get(index)))
    }
}

impl Clone for Object {
    fn clone(&self) -> Object {
        if let Some(custom) = self.get::<api_types::CustomObject>() {
            return Object {
                value: Box::new(custom.clone()),
                metadata: self.metadata,
                shares_template_labels: false,
                sent_empty: self.sent_empty.clone(),
                stored: self.stored.clone(),
            };
        }
        let name = self.value.schema().kind;
        let kind =
            name.and_then(|kind| api_types::kinds::lookup(kind.group, kind.version, kind.kind));
        let value = kind.and_then(|kind| (kind.clone)(self.value()));
        Object {
            value: value.expect("every object's type is in the table of kinds"),
            metadata: self.metadata,
            shares_template_labels: self.shares_template_labels,
            sent_empty: self.sent_empty.clone(),
            stored: self.stored.clone(),
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        value::fmt_struct(self.value(), f)
    }
}

/// Makes one value equal to another of the same type.
pub fn copy(from: &dyn Value, to: &mut dyn Value) {
    match (from.view(), to.view_mut()) {
        (View::String(from), ViewMut::String(to)) => to.clone_from(from),
        (View::Bool(from), ViewMut::Bool(to)) => *to = from,
        (View::Int32(from), ViewMut::Int32(to)) => *to = from,
        (View::Int64(from), ViewMut::Int64(to)) => *to = from,
        (View::Uint32(from), ViewMut::Uint32(to)) => *to = from,
        (View::Float64(from), ViewMut::Float64(to)) => *to = from,
        (View::Float32(from), ViewMut::Float32(to)) => *to = from,
        (View::Bytes(from), ViewMut::Bytes(to)) => to.clone_from(from),
        (View::Quantity(from), ViewMut::Quantity(to)) => to.clone_from(from),
        (View::Time(from), ViewMut::Time(to)) => *to = from,
        (View::MicroTime(from), ViewMut::MicroTime(to)) => *to = from,
        (View::Duration(from), ViewMut::Duration(to)) => *to = from,
        (View::IntOrString(from), ViewMut::IntOrString(to)) => to.clone_from(from),
        (View::RawJson(from), ViewMut::RawJson(to)) => to.clone_from(from),
        (View::TimeOrMetaDuration(from), ViewMut::TimeOrMetaDuration(to)) => to.clone_from(from),
        (View::Struct(from), ViewMut::Struct(to)) => {
            for index in 0..from.schema().fields.len() {
                copy(from.get(index), to.get_mut(index));
            }
        }
        (View::List(from), ViewMut::List(to)) => {
            to.clear();
            for index in 0..from.len() {
                copy(from.item(index), to.push_default());
            }
        }
        (View::StringMap(from), ViewMut::StringMap(to)) => to.clone_from(from),
        (View::Map(from), ViewMut::Map(to)) => {
            to.clear();
            for (key, value) in from.entries() {
                copy(value, to.insert_default(key.to_owned()));
            }
        }
        (View::Nil, ViewMut::Pointer(to)) => to.clear(),
        (View::Pointer(from), ViewMut::Pointer(to)) => {
            to.clear();
            copy(from, to.get_or_default());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{Container, Pod};

    #[test]
    fn a_clone_is_deep_and_equal() {
        let mut pod = Pod::default();
        pod.metadata.name = "a".to_owned();
        pod.metadata.labels.insert("k".to_owned(), "v".to_owned());
        pod.spec.containers.push(Container {
            name: "c".to_owned(),
            ..Container::default()
        });
        pod.spec.termination_grace_period_seconds = Some(0);
        let object = Object::from(pod.clone());
        let mut copied = object.clone();
        assert_eq!(copied.get::<Pod>(), Some(&pod));
        copied.edit_metadata(|metadata| metadata.name = "b".to_owned());
        assert_eq!(object.metadata().name, "a");
        assert!(copied.equals_besides_metadata(&object));
        copied.clear_field("Spec");
        assert!(!copied.field_equals(&object, "Spec"));
        copied.copy_field(&object, "Spec");
        assert!(copied.field_equals(&object, "Spec"));
    }

    #[test]
    fn a_change_forgets_what_was_stored() {
        let kept = |change: fn(&mut Object)| {
            let mut object = Object::from(Pod::default());
            object.set_stored(Bytes::from_static(b"stored"));
            change(&mut object);
            object.stored().is_some()
        };
        assert!(kept(|_| {}));
        assert!(kept(|object| *object = object.clone()));
        assert!(!kept(|object| object.edit_metadata(|_| {})));
        assert!(!kept(|object| {
            object.get_mut::<Pod>();
        }));
        assert!(!kept(|object| {
            object.value_mut();
        }));
        assert!(!kept(|object| object.clear_field("Spec")));
        let mut other = Pod::default();
        other.spec.node_name = "a".to_owned();
        let other = Object::from(other);
        let mut object = Object::from(Pod::default());
        object.set_stored(Bytes::new());
        object.copy_field(&other, "Spec");
        assert!(object.stored().is_none());
    }
}
