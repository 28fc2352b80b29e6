//! Every served resource, by group, version and name. One row of `api_types::resources` becomes one [`Resource`]; those of
//! CustomResourceDefinitions come and go while the server runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use api_types::kinds::{self, KindInfo};
use api_types::resources::{RESOURCES, ResourceInfo};

use super::convert;
use super::fields;
use super::resource::{Resource, StoredForm, StrategyRef, header_parser};
use super::stored_text::StoredMedia;
use super::strategies;
use crate::storage::{Backend, ResourceConfig, Storage, Transformer};

/// A row of the table cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("no type for {group}/{version}, Kind={kind}")]
    UnknownKind {
        group: String,
        version: String,
        kind: String,
    },
    #[error("opening storage of {resource}")]
    Storage {
        resource: String,
        #[source]
        source: crate::storage::Error,
    },
}

/// What decides about single rows.
pub struct TableOptions<'a> {
    /// Whether a row is served (`--runtime-config` and feature gates).
    pub serve: &'a dyn Fn(&ResourceInfo) -> bool,
    /// Where a group's resource is kept, if not where the others are.
    pub backend: &'a dyn Fn(&str, &str) -> Option<Backend>,
    /// Whether a group's resource has a watch cache.
    pub cached: &'a dyn Fn(&str, &str) -> bool,
    /// Encryption at rest of a resource.
    pub transformer: &'a dyn Fn(&ResourceInfo) -> Option<Arc<dyn Transformer>>,
    /// `--event-ttl`.
    pub event_ttl: Duration,
    /// `--storage-media-type`
    pub media: StoredMedia,
}

/// All served resources.
#[derive(Default)]
pub struct Resources {
    built_in: Rows,
    custom: ArcSwap<Rows>,
}

/// Some resources.
#[derive(Default)]
struct Rows {
    /// In discovery order.
    rows: Vec<Arc<Resource>>,
    /// By group, version and resource.
    by_version: HashMap<(&'static str, &'static str, &'static str), Arc<Resource>>,
    /// The first version in discovery order, by group and resource.
    by_name: HashMap<(&'static str, &'static str), Arc<Resource>>,
}

impl Rows {
    fn push(&mut self, resource: Arc<Resource>) {
        let info = resource.info;
        self.by_version
            .insert((info.group, info.version, info.resource), resource.clone());
        self.by_name
            .entry((info.group, info.resource))
            .or_insert_with(|| resource.clone());
        self.rows.push(resource);
    }

    fn any(&self, is: impl Fn(&ResourceInfo) -> bool) -> bool {
        self.rows.iter().any(|row| is(row.info))
    }
}

/// Resources whose deletion answers with the deleted object.
const RETURN_DELETED: [(&str, &str); 19] = [
    ("", "namespaces"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourcepoolstatusrequests"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

fn kind_of(group: &str, version: &str, kind: &str) -> Result<&'static KindInfo, TableError> {
    kinds::lookup(group, version, kind).ok_or_else(|| TableError::UnknownKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    })
}

impl Resources {
    /// Opens the storage of every served row. Rows that share keys share storage.
    pub fn open(backend: &Backend, options: &TableOptions<'_>) -> Result<Resources, TableError> {
        let mut rows = Rows::default();
        let mut opened: BTreeMap<&'static str, Storage> = BTreeMap::new();
        for info in RESOURCES.iter().filter(|info| (options.serve)(info)) {
            let served = kind_of(info.group, info.version, info.kind)?;
            let api_version = served
                .schema
                .kind
                .map_or(info.version, |name| name.api_version);
            let (hub, conversion) = match convert::conversion(info) {
                Some((hub, conversion)) => (hub, Some(conversion)),
                None => (served, None),
            };
            let json = matches!(
                info.group,
                "apiextensions.k8s.io" | "apiregistration.k8s.io"
            );
            let media = if json {
                StoredMedia::Json
            } else {
                options.media
            };
            let (mut stored, mut storage) = (
                StoredForm {
                    api_version,
                    kind: info.kind,
                    media,
                },
                None,
            );
            if let Some(row) = &info.storage {
                // CustomResourceDefinitions are encoded as v1 and rewritten; their stored version has no type here.
                let stored_kind = kinds::lookup(row.group, row.version, info.kind).unwrap_or(hub);
                if !json {
                    stored.api_version = stored_kind
                        .schema
                        .kind
                        .map_or(api_version, |name| name.api_version);
                }
                storage = Some(match opened.get(row.prefix) {
                    Some(storage) => storage.clone(),
                    None => {
                        let mut config = ResourceConfig::new(
                            info.group,
                            info.resource,
                            row.prefix,
                            info.namespaced,
                            header_parser(info, hub),
                        );
                        config.watch_cache = (options.cached)(row.group, info.resource);
                        config.as_etcd = info.resource == "events";
                        config.index_field = fields::selectable(info.group, info.resource)
                            .and_then(|selectable| selectable.index);
                        if let Some(transformer) = (options.transformer)(info) {
                            config.transformer = transformer;
                        }
                        let elsewhere = (options.backend)(row.group, info.resource);
                        let storage = elsewhere
                            .as_ref()
                            .unwrap_or(backend)
                            .storage(config)
                            .map_err(|source| TableError::Storage {
                                resource: info.resource.to_owned(),
                                source,
                            })?;
                        opened.insert(row.prefix, storage.clone());
                        storage
                    }
                });
            }
            let resource = Arc::new(Resource {
                info,
                api_version,
                served,
                hub,
                stored,
                conversion,
                storage,
                strategy: StrategyRef::BuiltIn(strategies::strategy(hub.group, hub.kind, "")),
                custom: None,
                ttl: (info.resource == "events").then_some(options.event_ttl),
                returns_deleted_object: RETURN_DELETED.contains(&(info.group, info.resource)),
            });
            rows.push(resource);
        }
        Ok(Resources {
            built_in: rows,
            custom: ArcSwap::default(),
        })
    }

    /// Replaces all custom resources. As upstream, a built-in group version has none.
    pub fn set_custom(&self, resources: Vec<Arc<Resource>>) {
        let mut rows = Rows::default();
        for resource in resources {
            let (group, version) = (resource.info.group, resource.info.version);
            let is_taken = |info: &ResourceInfo| info.group == group && info.version == version;
            if !self.built_in.any(is_taken) {
                rows.push(resource);
            }
        }
        self.custom.store(Arc::new(rows));
    }

    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<Arc<Resource>> {
        let name = (group, version, resource);
        let found = self.built_in.by_version.get(&name).cloned();
        found.or_else(|| self.custom.load().by_version.get(&name).cloned())
    }

    /// The resource of a kind that is not a variable of the request.
    pub fn known(&self, group: &str, resource: &str) -> Option<Arc<Resource>> {
        let name = (group, resource);
        let found = self.built_in.by_name.get(&name).cloned();
        found.or_else(|| self.custom.load().by_name.get(&name).cloned())
    }

    /// The resources that are always there, in discovery order.
    pub fn built_in(&self) -> &[Arc<Resource>] {
        &self.built_in.rows
    }

    /// All resources as they are now, built-in ones first.
    pub fn rows(&self) -> Vec<Arc<Resource>> {
        let custom = self.custom.load();
        self.built_in
            .rows
            .iter()
            .chain(&custom.rows)
            .cloned()
            .collect()
    }

    /// Whether a group is the program's own.
    pub fn is_built_in(&self, group: &str) -> bool {
        self.built_in.any(|info| info.group == group)
    }
}
