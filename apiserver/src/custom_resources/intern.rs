//! Descriptions of custom resources that last as long as the process, so that they have the type of built-in ones.
//!
//! What is here is never freed. It is bounded by the different names, versions, scopes and columns that CRDs have had:
//! some hundred bytes for each, and nothing for a CRD that comes back or changes its schema.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use api_types::CustomObject;
use api_types::kinds::KindInfo;
use api_types::resources::{ResourceInfo, StorageInfo, SubresourceInfo};
use api_types::value::Described;
use parking_lot::Mutex;

/// A text that stays.
pub(super) fn text(text: &str) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock();
    match texts.get(text) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(text.into());
            texts.insert(kept);
            kept
        }
    }
}

/// What is said of one version of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Names {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub status: bool,
    pub scale: bool,
    pub storage_version: String,
}

/// The description of a resource and of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    pub info: &'static ResourceInfo,
    pub kind: &'static KindInfo,
}

const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];

fn texts(items: &[String]) -> &'static [&'static str] {
    let items: Vec<&'static str> = items.iter().map(|item| text(item)).collect();
    items.leak()
}

/// The description with these names.
pub(super) fn describe(names: Names) -> Description {
    static KNOWN: LazyLock<Mutex<HashMap<Names, Description>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock();
    if let Some(found) = known.get(&names) {
        return *found;
    }
    let made = make(&names);
    known.insert(names, made);
    made
}

fn make(names: &Names) -> Description {
    let (group, version) = (text(&names.group), text(&names.version));
    let (kind, resource) = (text(&names.kind), text(&names.plural));
    let mut subresources = Vec::new();
    if names.status {
        subresources.push(SubresourceInfo {
            name: "status",
            group,
            version,
            kind,
            verbs: SUBRESOURCE_VERBS,
        });
    }
    if names.scale {
        subresources.push(SubresourceInfo {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: SUBRESOURCE_VERBS,
        });
    }
    let info = ResourceInfo {
        group,
        version,
        resource,
        singular: text(&names.singular),
        kind,
        namespaced: names.namespaced,
        short_names: texts(&names.short_names),
        categories: texts(&names.categories),
        verbs: VERBS,
        subresources: subresources.leak(),
        storage: Some(StorageInfo {
            group,
            version: text(&names.storage_version),
            prefix: text(&format!("{group}/{resource}")),
        }),
        default_on: true,
        feature_gate: "",
    };
    let kind = KindInfo {
        group,
        version,
        kind,
        schema: CustomObject::SCHEMA,
        new: || Box::new(CustomObject::default()),
        clone: |value| {
            let object = value.downcast_ref::<CustomObject>()?;
            Some(Box::new(object.clone()))
        },
    };
    Description {
        info: Box::leak(Box::new(info)),
        kind: Box::leak(Box::new(kind)),
    }
}
