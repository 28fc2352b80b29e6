//! The traits of kinds, objects, resources and lists. Upstream: `runtime.Object`, `metav1.Object`, `metav1.ListInterface`.

use crate::meta::v1::{ListMeta, ObjectMeta, TypeMeta};
use crate::value::Described;

/// A type that is written with `apiVersion` and `kind`.
pub trait Kind: Described {
    /// API group, empty for core.
    const GROUP: &'static str;
    /// Version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// `group/version`, or the version alone for the core group.
    const API_VERSION: &'static str;

    /// `apiVersion` and `kind` as they were read; normally empty in memory, the encoders fill them in.
    fn type_meta(&self) -> &TypeMeta;
    /// `apiVersion` and `kind`, to change them.
    fn type_meta_mut(&mut self) -> &mut TypeMeta;

    /// `group/version`, or the version alone for the core group.
    fn api_version() -> &'static str {
        Self::API_VERSION
    }
}

/// A kind with object metadata.
pub trait Object: Kind + Clone {
    /// Metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Metadata, to change it.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// Name, shorthand.
    fn name(&self) -> &str {
        &self.metadata().name
    }

    /// Namespace, shorthand; empty for cluster scoped objects.
    fn namespace(&self) -> &str {
        &self.metadata().namespace
    }
}

/// A kind that the API serves as a resource of its own.
pub trait Resource: Object {
    /// Resource name in URLs.
    const PLURAL: &'static str;
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;
    /// The list kind.
    type List: List<Item = Self>;
}

/// A list of objects.
pub trait List: Described {
    /// What it lists.
    type Item;
    /// List metadata.
    fn metadata(&self) -> &ListMeta;
    /// List metadata, to change it.
    fn metadata_mut(&mut self) -> &mut ListMeta;
    /// The items.
    fn items(&self) -> &[Self::Item];
    /// The items, to change them.
    fn items_mut(&mut self) -> &mut Vec<Self::Item>;
    /// The items alone.
    fn into_items(self) -> Vec<Self::Item>;
}
