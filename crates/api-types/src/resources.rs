//! Every REST resource: names, verbs, subresources, and how it is stored. Upstream: pkg/registry/*/rest,
//! pkg/controlplane/instance.go and the storage factory.

use crate::meta::v1::ListMeta;
use crate::object::{List, Object};
use crate::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};
use crate::value::{Described, Struct, Value, View, ViewMut};

pub use crate::generated::resources::RESOURCES;

/// One resource of one version.
#[derive(Clone, Copy, Debug)]
pub struct ResourceInfo {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural name in URLs.
    pub resource: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`.
    pub categories: &'static [&'static str],
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Subresources, sorted by name.
    pub subresources: &'static [SubresourceInfo],
    /// How it is stored; `None` for virtual resources.
    pub storage: Option<StorageInfo>,
    /// Whether it is served without `--runtime-config`.
    pub default_on: bool,
    /// Feature gate that guards it, or empty.
    pub feature_gate: &'static str,
}

/// One subresource.
#[derive(Clone, Copy, Debug)]
pub struct SubresourceInfo {
    /// Name after the slash.
    pub name: &'static str,
    /// Group of its kind.
    pub group: &'static str,
    /// Version of its kind.
    pub version: &'static str,
    /// Kind of its bodies.
    pub kind: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

/// Where and how objects are stored.
#[derive(Clone, Copy, Debug)]
pub struct StorageInfo {
    /// Group they are written in.
    pub group: &'static str,
    /// Version they are written in.
    pub version: &'static str,
    /// Key prefix below the etcd prefix, without slashes around it.
    pub prefix: &'static str,
}

/// Finds a resource.
pub fn lookup(group: &str, version: &str, resource: &str) -> Option<&'static ResourceInfo> {
    RESOURCES
        .iter()
        .find(|info| info.group == group && info.version == version && info.resource == resource)
}

/// Finds the resource of a kind.
pub fn lookup_kind(group: &str, version: &str, kind: &str) -> Option<&'static ResourceInfo> {
    RESOURCES
        .iter()
        .find(|info| info.group == group && info.version == version && info.kind == kind)
}

/// The list of kinds that can only be created (reviews, bindings): upstream has no list type for them, so this one
/// never appears on the wire. It carries only metadata for the codecs.
#[derive(Clone, Default)]
pub struct NoList<T> {
    metadata: ListMeta,
    items: Vec<T>,
}

static NO_LIST: StructSchema = StructSchema {
    name: "NoList",
    package: "",
    kind: None,
    json_form: JsonForm::Object,
    fields: &[FieldSchema {
        go: "ListMeta",
        json: "metadata",
        go_type: "v1.ListMeta",
        omit: Omit::Empty,
        tag: 1,
        ty: TypeRef::Struct(&crate::meta::v1::schema::ListMeta),
        ..FieldSchema::NONE
    }],
    wire: &[0],
    tags: &[1],
    written_when_absent: 0b1,
    introduced: "",
    deprecated: "",
};

impl<T: Object> Value for NoList<T> {
    fn view(&self) -> View<'_> {
        View::Struct(self)
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::Struct(self)
    }
}

impl<T: Object> Struct for NoList<T> {
    fn schema(&self) -> &'static StructSchema {
        &NO_LIST
    }
    fn get(&self, _index: usize) -> &dyn Value {
        &self.metadata
    }
    fn get_mut(&mut self, _index: usize) -> &mut dyn Value {
        &mut self.metadata
    }
}

impl<T: Object> Described for NoList<T> {
    const SCHEMA: &'static StructSchema = &NO_LIST;
}

impl<T: Object> List for NoList<T> {
    type Item = T;
    fn metadata(&self) -> &ListMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ListMeta {
        &mut self.metadata
    }
    fn items(&self) -> &[T] {
        &self.items
    }
    fn items_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
    fn into_items(self) -> Vec<T> {
        self.items
    }
}
