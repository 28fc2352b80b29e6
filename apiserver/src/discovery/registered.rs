//! What APIServices say about groups: their order, and the resources of those that other servers answer.
//! Upstream: kube-aggregator/pkg/apiserver/handler_apis.go and the resource manager of endpoints/discovery/aggregated.

use std::cmp::Reverse;
use std::sync::Arc;

use api_types::apidiscovery::v2 as aggregated;
use api_types::meta::v1 as meta;

use super::compare_versions;
use crate::hooks::api_services::{group_priority, version_priority};

const REGISTRATION: &str = "apiregistration.k8s.io";
/// Above all that APIServices may have.
const REGISTRATION_PRIORITY: i32 = 20_001;
const CUSTOM_PRIORITY: (i32, i32) = (1000, 100);

/// The group and version of an APIService.
#[derive(Clone, PartialEq)]
pub struct Registered {
    pub name: String,
    pub group: String,
    pub version: String,
    /// `groupPriorityMinimum` and `versionPriority`
    pub priority: (i32, i32),
    /// What another server has there.
    pub remote: Option<Arc<aggregated::APIVersionDiscovery>>,
}

/// A group version that this server has itself.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) custom: bool,
}

impl Own<'_> {
    /// The priority that it gets when nobody says another.
    fn priority(self) -> (i32, i32) {
        if self.group == REGISTRATION {
            (REGISTRATION_PRIORITY, 0)
        } else if self.custom {
            CUSTOM_PRIORITY
        } else {
            (
                group_priority(self.group),
                version_priority(self.group, self.version),
            )
        }
    }
}

/// The list at /apis: all that is registered, reachable or not, best first.
pub(super) fn groups(own: &[Own<'_>], registered: &[Registered]) -> Vec<meta::APIGroup> {
    struct Entry<'a> {
        name: String,
        group: &'a str,
        version: &'a str,
        priority: (i32, i32),
    }
    let mut entries: Vec<Entry<'_>> = registered
        .iter()
        .filter(|entry| !entry.group.is_empty())
        .map(|entry| Entry {
            name: entry.name.clone(),
            group: &entry.group,
            version: &entry.version,
            priority: entry.priority,
        })
        .collect();
    for own in own {
        let is_registered = registered
            .iter()
            .any(|entry| entry.group == own.group && entry.version == own.version);
        if !is_registered && !own.group.is_empty() {
            entries.push(Entry {
                name: format!("{}.{}", own.version, own.group),
                group: own.group,
                version: own.version,
                priority: own.priority(),
            });
        }
    }
    entries.sort_by(|a, b| (Reverse(a.priority.0), &a.name).cmp(&(Reverse(b.priority.0), &b.name)));
    let mut groups: Vec<Vec<&Entry<'_>>> = Vec::new();
    for entry in &entries {
        let mut known = groups.iter_mut();
        match known.find(|group| {
            group
                .first()
                .is_some_and(|first| first.group == entry.group)
        }) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
        .into_iter()
        .map(|mut entries| {
            entries.sort_by(|a, b| {
                let versions = compare_versions(b.version, a.version);
                b.priority.1.cmp(&a.priority.1).then(versions)
            });
            let versions: Vec<meta::GroupVersionForDiscovery> = entries
                .iter()
                .map(|entry| meta::GroupVersionForDiscovery {
                    group_version: format!("{}/{}", entry.group, entry.version),
                    version: entry.version.to_owned(),
                })
                .collect();
            meta::APIGroup {
                name: entries
                    .first()
                    .map(|entry| entry.group.to_owned())
                    .unwrap_or_default(),
                preferred_version: versions.first().cloned().unwrap_or_default(),
                versions,
                ..meta::APIGroup::default()
            }
        })
        .collect()
}

/// Puts what other servers have into the document of all resources, in the place of what this one has, and sorts it.
pub(super) fn merge(
    items: &mut Vec<aggregated::APIGroupDiscovery>,
    own: &[Own<'_>],
    registered: &[Registered],
) {
    for entry in registered {
        let Some(remote) = &entry.remote else {
            continue;
        };
        if entry.group.is_empty() {
            continue;
        }
        let version = (**remote).clone();
        let item = match items
            .iter_mut()
            .find(|item| item.metadata.name == entry.group)
        {
            Some(item) => item,
            None => {
                let mut item = aggregated::APIGroupDiscovery::default();
                entry.group.clone_into(&mut item.metadata.name);
                items.push(item);
                let Some(item) = items.last_mut() else {
                    continue;
                };
                item
            }
        };
        match item
            .versions
            .iter_mut()
            .find(|have| have.version == entry.version)
        {
            Some(have) => *have = version,
            None => item.versions.push(version),
        }
    }
    let priority = |group: &str, version: &str| -> (i32, i32) {
        let mut registered = registered.iter();
        let remote = registered.find(|entry| {
            entry.remote.is_some() && entry.group == group && entry.version == version
        });
        let mut own = own.iter();
        match remote {
            Some(entry) => entry.priority,
            None => own
                .find(|own| own.group == group && own.version == version)
                .map_or((0, 0), |own| own.priority()),
        }
    };
    for item in items.iter_mut() {
        let group = &item.metadata.name;
        item.versions.sort_by(|a, b| {
            let of = |version: &str| priority(group, version).1;
            let versions = compare_versions(&b.version, &a.version);
            of(&b.version).cmp(&of(&a.version)).then(versions)
        });
    }
    items.sort_by_cached_key(|item| {
        let group = &item.metadata.name;
        let priorities = item
            .versions
            .iter()
            .map(|version| priority(group, &version.version).0);
        (Reverse(priorities.max().unwrap_or(0)), group.clone())
    });
}

/// A list of resources as a part of the document of all resources.
/// Upstream: endpoints.ConvertGroupVersionIntoToDiscovery.
pub fn of_list(
    version: &str,
    list: &meta::APIResourceList,
) -> Result<aggregated::APIVersionDiscovery, String> {
    let scope = |resource: &meta::APIResource| {
        if resource.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        }
    };
    let kind = |resource: &meta::APIResource| {
        Some(Box::new(meta::GroupVersionKind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        }))
    };
    let mut out: Vec<aggregated::APIResourceDiscovery> = Vec::new();
    for resource in list.resources.iter().filter(|row| !row.name.contains('/')) {
        out.push(aggregated::APIResourceDiscovery {
            resource: resource.name.clone(),
            response_kind: kind(resource),
            scope: scope(resource).to_owned(),
            singular_resource: resource.singular_name.clone(),
            verbs: resource.verbs.clone(),
            short_names: resource.short_names.clone(),
            categories: resource.categories.clone(),
            subresources: Vec::new(),
        });
    }
    for resource in &list.resources {
        let Some((parent, name)) = resource.name.split_once('/') else {
            continue;
        };
        let scope = scope(resource);
        if !out.iter().any(|row| row.resource == parent) {
            out.push(aggregated::APIResourceDiscovery {
                resource: parent.to_owned(),
                scope: scope.to_owned(),
                response_kind: Some(Box::default()),
                ..aggregated::APIResourceDiscovery::default()
            });
        }
        let Some(row) = out.iter_mut().find(|row| row.resource == parent) else {
            continue;
        };
        if row.scope != scope {
            return Err(format!(
                "Error: Parent {parent} (scope: {}) and subresource {name} (scope: {scope}) scope do not match",
                row.scope
            ));
        }
        row.subresources.push(aggregated::APISubresourceDiscovery {
            subresource: name.to_owned(),
            response_kind: kind(resource),
            verbs: resource.verbs.clone(),
            ..aggregated::APISubresourceDiscovery::default()
        });
    }
    Ok(aggregated::APIVersionDiscovery {
        version: version.to_owned(),
        resources: out,
        freshness: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use api_types::resources::RESOURCES;

    use super::*;

    fn own() -> Vec<Own<'static>> {
        let mut own: Vec<Own<'static>> = Vec::new();
        for row in RESOURCES.iter().filter(|row| row.default_on) {
            if !own
                .iter()
                .any(|have| have.group == row.group && have.version == row.version)
            {
                own.push(Own {
                    group: row.group,
                    version: row.version,
                    custom: false,
                });
            }
        }
        own
    }

    fn names(groups: &[meta::APIGroup]) -> Vec<String> {
        groups
            .iter()
            .flat_map(|group| &group.versions)
            .map(|version| version.group_version.clone())
            .collect()
    }

    fn registered(name: &str, priority: (i32, i32), remote: bool) -> Registered {
        let (version, group) = name.split_once('.').unwrap();
        Registered {
            name: name.to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            priority,
            remote: remote.then(|| {
                Arc::new(aggregated::APIVersionDiscovery {
                    version: version.to_owned(),
                    freshness: "Stale".to_owned(),
                    ..aggregated::APIVersionDiscovery::default()
                })
            }),
        }
    }

    #[test]
    fn built_in_groups_are_in_the_tables_order() {
        let own = own();
        let table: Vec<String> = own
            .iter()
            .filter(|own| !own.group.is_empty())
            .map(|own| format!("{}/{}", own.group, own.version))
            .collect();
        assert_eq!(names(&groups(&own, &[])), table);
        let mut items: Vec<aggregated::APIGroupDiscovery> = Vec::new();
        for own in own.iter().filter(|own| !own.group.is_empty()).rev() {
            let version = aggregated::APIVersionDiscovery {
                version: own.version.to_owned(),
                ..aggregated::APIVersionDiscovery::default()
            };
            match items
                .iter_mut()
                .find(|item| item.metadata.name == own.group)
            {
                Some(item) => item.versions.push(version),
                None => {
                    let mut item = aggregated::APIGroupDiscovery {
                        versions: vec![version],
                        ..aggregated::APIGroupDiscovery::default()
                    };
                    own.group.clone_into(&mut item.metadata.name);
                    items.push(item);
                }
            }
        }
        merge(&mut items, &own, &[]);
        let sorted: Vec<String> = items
            .iter()
            .flat_map(|item| {
                let group = &item.metadata.name;
                item.versions
                    .iter()
                    .map(move |version| format!("{group}/{}", version.version))
            })
            .collect();
        assert_eq!(sorted, table);
    }

    #[test]
    fn priorities_of_api_services_decide() {
        let own = [
            Own {
                group: "apps",
                version: "v1",
                custom: false,
            },
            Own {
                group: "example.com",
                version: "v1",
                custom: true,
            },
        ];
        let services = [
            registered("v1.apps", (17_800, 15), false),
            registered("v1.wardle.example.com", (2000, 10), true),
            registered("v1alpha1.wardle.example.com", (2000, 200), true),
            registered("v1.example.com", (1000, 100), true),
        ];
        assert_eq!(
            names(&groups(&own, &services)),
            [
                "apps/v1",
                "wardle.example.com/v1alpha1",
                "wardle.example.com/v1",
                "example.com/v1"
            ]
        );
        let mut items = vec![aggregated::APIGroupDiscovery::default()];
        items[0].metadata.name = "example.com".to_owned();
        items[0].versions = vec![aggregated::APIVersionDiscovery {
            version: "v1".to_owned(),
            freshness: "Current".to_owned(),
            ..aggregated::APIVersionDiscovery::default()
        }];
        merge(&mut items, &own, &services);
        let found: Vec<(&str, &str, &str)> = items
            .iter()
            .flat_map(|item| {
                let group = item.metadata.name.as_str();
                item.versions.iter().map(move |version| {
                    (group, version.version.as_str(), version.freshness.as_str())
                })
            })
            .collect();
        assert_eq!(
            found,
            [
                ("wardle.example.com", "v1alpha1", "Stale"),
                ("wardle.example.com", "v1", "Stale"),
                ("example.com", "v1", "Stale"),
            ]
        );
    }

    #[test]
    fn lists_become_parts_of_the_document() {
        let row = |name: &str, namespaced: bool| meta::APIResource {
            name: name.to_owned(),
            namespaced,
            kind: "Flunder".to_owned(),
            verbs: vec!["get".to_owned()],
            ..meta::APIResource::default()
        };
        let list = meta::APIResourceList {
            resources: vec![row("flunders/status", true), row("flunders", true)],
            ..meta::APIResourceList::default()
        };
        let found = of_list("v1", &list).unwrap();
        assert_eq!(found.resources.len(), 1);
        let resource = &found.resources[0];
        assert_eq!(
            (resource.resource.as_str(), resource.scope.as_str()),
            ("flunders", "Namespaced")
        );
        assert_eq!(resource.subresources[0].subresource, "status");
        let list = meta::APIResourceList {
            resources: vec![row("flunders", true), row("flunders/status", false)],
            ..meta::APIResourceList::default()
        };
        assert!(of_list("v1", &list).is_err());
    }
}
