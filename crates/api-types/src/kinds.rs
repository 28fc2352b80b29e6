//! Every kind by group, version and name. Upstream: `runtime.Scheme`.

use crate::schema::StructSchema;
use crate::value::{Described, Struct};

pub use crate::generated::kinds::KINDS;

/// One kind of one version.
#[derive(Clone, Copy)]
pub struct KindInfo {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Table of the type.
    pub schema: &'static StructSchema,
    /// Makes an empty object.
    pub new: fn() -> Box<dyn Struct>,
    /// Copies an object of this kind; `None` when it is of another type.
    pub clone: fn(&dyn Struct) -> Option<Box<dyn Struct>>,
}

impl std::fmt::Debug for KindInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.group, self.version, self.kind)
    }
}

pub(crate) const fn kind<T: Described + Clone>(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> KindInfo {
    KindInfo {
        group,
        version,
        kind,
        schema: T::SCHEMA,
        new: || Box::new(T::default()),
        clone: |value| {
            value
                .downcast_ref::<T>()
                .map(|value| Box::new(value.clone()) as Box<dyn Struct>)
        },
    }
}

/// Kinds of meta/v1 that upstream registers in every group version.
const EVERYWHERE: &[&str] = &[
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// Finds a kind. The option kinds and WatchEvent are known in every group version, as upstream registers them.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<&'static KindInfo> {
    let found = KINDS.binary_search_by(|info| {
        (info.group, info.version, info.kind).cmp(&(group, version, kind))
    });
    match found {
        Ok(index) => Some(&KINDS[index]),
        Err(_) if EVERYWHERE.contains(&kind) && group != "meta.k8s.io" => {
            lookup("meta.k8s.io", "v1", kind)
        }
        Err(_) => None,
    }
}

/// Finds a kind by its `apiVersion` text.
pub fn lookup_api_version(api_version: &str, kind: &str) -> Option<&'static KindInfo> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    lookup(group, version, kind)
}
