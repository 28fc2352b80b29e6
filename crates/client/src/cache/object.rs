//! Objects of any kind in one form. A daemon caches more than fifty kinds: what treats them all alike (reflector, store,
//! distribution to handlers) works on [`AnyObject`] and is machine code once, not once per kind.
//!
//! Invariant: all objects of one informer are of its one kind. The typed faces ([`super::SharedInformer`], [`super::Lister`],
//! handlers, indexes, transforms) put only their own kind in, so the casts here, with which they get it out again, cannot fail.

use std::any::Any;
use std::sync::Arc;

use api_types::Struct;
use api_types::meta::v1::ObjectMeta;

use crate::error::Error;
use crate::rest::{Media, decode_into};

/// What a cache can hold: anything with object metadata.
pub trait Cacheable: Any + Send + Sync {
    /// The object's metadata.
    fn object_meta(&self) -> &ObjectMeta;
    /// Frees the memory of `managedFields`, which nobody reads from a cache.
    fn drop_managed_fields(&mut self);
}

impl<T: api_types::Object> Cacheable for T {
    fn object_meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn drop_managed_fields(&mut self) {
        self.metadata_mut().managed_fields = Vec::new();
    }
}

/// A shared object of any kind.
pub(super) type AnyObject = Arc<dyn Cacheable>;

/// The object as what it is. The allocation stays the same.
pub(super) fn typed<T: Cacheable>(object: AnyObject) -> Arc<T> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object.downcast().unwrap_or_else(|_| other_kind())
}

/// The object as what it is, to look at.
pub(super) fn typed_ref<T: Cacheable>(object: &dyn Cacheable) -> &T {
    let object: &dyn Any = object;
    object.downcast_ref().unwrap_or_else(|| other_kind())
}

/// The object as what it is, to change.
pub(super) fn typed_mut<T: Cacheable>(object: &mut dyn Cacheable) -> &mut T {
    let object: &mut dyn Any = object;
    object.downcast_mut().unwrap_or_else(|| other_kind())
}

#[cold]
fn other_kind() -> ! {
    unreachable!("an informer holds objects of its own kind only")
}

/// Reads an object where it is going to stay: it is not moved afterwards.
pub(super) fn decode_object<T: Cacheable + Struct + Default>(
    media: Media,
    body: &[u8],
) -> Result<AnyObject, Error> {
    let mut object = Arc::<T>::default();
    let fresh = Arc::get_mut(&mut object).expect("a new object has one owner");
    decode_into(media, body, fresh)?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{ConfigMap, Pod};

    use super::*;

    #[test]
    fn an_object_is_given_out_as_it_was_put_in() {
        let pod = Arc::new(Pod::default());
        let mut object: AnyObject = pod.clone();
        assert!(std::ptr::eq(typed_ref::<Pod>(&*object), &*pod));
        assert!(Arc::ptr_eq(&typed::<Pod>(object.clone()), &pod));
        drop(pod);
        let fresh = Arc::get_mut(&mut object).unwrap();
        typed_mut::<Pod>(fresh).spec.node_name = "node-1".into();
        assert_eq!(typed::<Pod>(object).spec.node_name, "node-1");
    }

    #[test]
    #[should_panic(expected = "objects of its own kind only")]
    fn no_object_is_taken_for_another_kind() {
        typed::<ConfigMap>(Arc::new(Pod::default()));
    }

    #[test]
    fn decoded_objects_are_alone_and_errors_name_the_kind() {
        let body = br#"{"metadata":{"name":"one"}}"#;
        let mut object = decode_object::<Pod>(Media::Json, body).unwrap();
        assert_eq!(object.object_meta().name, "one");
        assert!(Arc::get_mut(&mut object).is_some());
        let error = decode_object::<Pod>(Media::Json, b"{").err().unwrap();
        assert!(error.to_string().contains("Pod"), "{error}");
    }
}
