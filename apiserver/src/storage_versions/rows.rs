//! What this server says of the versions of each resource. Upstream: ResourceInfo of apiserver/pkg/storageversion and of
//! endpoints/installer.go.

use std::collections::{BTreeMap, BTreeSet};

use api_types::kinds;
use apimachinery::gvk::GroupResource;

use crate::discovery::compare_versions;
use crate::registry::resource::Resource;
use crate::registry::table::Resources;

/// One resource, or several groups' of the same objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The first of them.
    pub(super) resource: GroupResource,
    /// All of them.
    pub(super) equivalents: BTreeSet<(String, String)>,
    pub(super) encoding: String,
    pub(super) decodable: Vec<String>,
    pub(super) served: Vec<String>,
}

impl Row {
    /// Name of the object that says it.
    pub(super) fn name(&self) -> String {
        let GroupResource { group, resource } = &self.resource;
        let group = if group.is_empty() { "core" } else { group };
        format!("{group}.{resource}")
    }
}

/// Older versions that objects may be stored in, which have no types of their own here: they are read as the version that has.
const OLDER: &[(&str, &str, &[&str])] = &[
    (
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        &["v1beta1"],
    ),
    ("apiregistration.k8s.io", "APIService", &["v1beta1"]),
    ("apps", "ControllerRevision", &["v1beta2", "v1beta1"]),
    ("apps", "DaemonSet", &["v1beta2"]),
    ("apps", "Deployment", &["v1beta2", "v1beta1"]),
    ("apps", "ReplicaSet", &["v1beta2"]),
    ("apps", "StatefulSet", &["v1beta2", "v1beta1"]),
];

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The versions of a kind that can be read, newest first.
fn decodable(group: &str, kind: &str) -> Vec<&'static str> {
    let older = OLDER.iter().filter(|row| (row.0, row.1) == (group, kind));
    let older = older.flat_map(|row| row.2);
    let known = kinds::KINDS.iter();
    let known = known.filter(|info| (info.group, info.kind) == (group, kind));
    let known = known.map(|info| info.version);
    let mut versions: Vec<&str> = known.chain(older.copied()).collect();
    versions.sort_by(|a, b| compare_versions(b, a));
    versions
}

/// All resources that are stored, in the order of their groups and names.
pub(super) fn rows(resources: &Resources) -> Vec<Row> {
    // What is stored under one prefix is the same resource, whatever its groups.
    let mut by_prefix: BTreeMap<&str, Vec<&Resource>> = BTreeMap::new();
    for resource in resources.built_in() {
        if let Some(stored) = &resource.info.storage {
            by_prefix.entry(stored.prefix).or_default().push(resource);
        }
    }
    let mut rows: Vec<Row> = by_prefix.into_values().filter_map(row).collect();
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.resource.group.clone(), row.resource.resource.clone());
        key(a).cmp(&key(b))
    });
    rows
}

fn row(all: Vec<&Resource>) -> Option<Row> {
    let name = |resource: &Resource| (resource.info.group, resource.info.resource);
    let first = *all.iter().min_by_key(|resource| name(resource))?;
    let stored = first.info.storage.as_ref()?;
    let group = first.info.group;
    let direct = decodable(group, first.info.kind);
    let mut decodable: Vec<String> = direct
        .iter()
        .map(|version| api_version(group, version))
        .collect();
    for resource in &all {
        let version = resource.api_version.to_owned();
        if !decodable.contains(&version) {
            decodable.push(version);
        }
    }
    let mut same: Vec<&&Resource> = all
        .iter()
        .filter(|other| name(other) == name(first))
        .collect();
    same.sort_by(|a, b| compare_versions(b.info.version, a.info.version));
    Some(Row {
        resource: first.group_resource(),
        equivalents: all
            .iter()
            .map(|resource| {
                (
                    resource.info.group.to_owned(),
                    resource.info.resource.to_owned(),
                )
            })
            .collect(),
        encoding: api_version(stored.group, stored.version),
        decodable,
        served: same
            .iter()
            .map(|resource| resource.api_version.to_owned())
            .collect(),
    })
}
