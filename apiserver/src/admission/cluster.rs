//! What admission plugins look up, answered from the watch caches and, where a plugin must be sure, from etcd.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::{CustomObject, codec, kinds};
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use apimachinery::managedfields::{ObjectType, built_in_type};
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use parking_lot::Mutex;

use super::matching::Matched;
use super::{Cluster, Freshness, ServedKind, UpdateOutcome};
use crate::handlers::write::hub_of;
use crate::handlers::{Endpoint, body};
use crate::registry::errors::{Operation, interpret};
use crate::registry::managed_fields;
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::registry::table::Resources;
use crate::storage::{
    Entry, Everything, Hint, Key, ListOptions, Preconditions, Update, UpdateError, UpdateOptions,
};

/// The server's own resources.
pub struct StoredCluster {
    resources: Arc<Resources>,
    decoded: Decoded,
}

/// What was looked up lately, decoded: requests of one namespace ask for the same few objects again and again.
#[derive(Default)]
struct Decoded(Mutex<HashMap<Key, (u64, Arc<Object>)>>);

impl Decoded {
    /// How many objects are kept; after that it starts over.
    const LIMIT: usize = 1024;

    fn get(&self, resource: &Resource, entry: &Entry) -> Result<Arc<Object>, StatusError> {
        let version = entry.resource_version();
        let decode = || {
            resource
                .decode_stored(&entry.value(), version)
                .map(Arc::new)
        };
        // How stored bytes of custom resources are read changes with their definition.
        if resource.custom.is_some() {
            return decode();
        }
        if let Some((known, object)) = self.0.lock().get(entry.key())
            && *known == version
        {
            return Ok(object.clone());
        }
        let object = decode()?;
        let mut kept = self.0.lock();
        if kept.len() >= Self::LIMIT {
            kept.clear();
        }
        kept.insert(entry.key().clone(), (version, object.clone()));
        Ok(object)
    }
}

impl StoredCluster {
    pub fn new(resources: Arc<Resources>) -> Self {
        Self {
            resources,
            decoded: Decoded::default(),
        }
    }

    fn resource(&self, group: &str, resource: &str) -> Result<Arc<Resource>, StatusError> {
        self.resources
            .known(group, resource)
            .ok_or_else(|| status::internal(format!("{resource} of group {group:?} is not served")))
    }

    /// The resource in the version that was matched, when the endpoint is of its kind.
    fn served(&self, matched: &Matched) -> Option<Arc<Resource>> {
        self.get_version(&matched.resource)
            .filter(|resource| resource.info.kind == matched.kind.kind)
    }

    /// The resource in the version that was matched, when an object is of its kind.
    fn version(&self, object: &Object, matched: &Matched) -> Option<Arc<Resource>> {
        self.get_version(&matched.resource)
            .filter(|resource| match &resource.custom {
                Some(_) => object.get::<CustomObject>().is_some(),
                None => std::ptr::eq(resource.hub.schema, object.value().schema()),
            })
    }

    fn get_version(&self, resource: &GroupVersionResource) -> Option<Arc<Resource>> {
        self.resources
            .get(&resource.group, &resource.version, &resource.resource)
    }
}

fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    }
}

/// The status had changed meanwhile.
enum Refused {
    Conflict,
    Error(StatusError),
}

impl Cluster for StoredCluster {
    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        freshness: Freshness,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>> {
        Box::pin(async move {
            let resource = self.resource(group, resource)?;
            let storage = resource.storage()?;
            let failed = |error| interpret(error, Operation::Get, &resource.group_resource(), name);
            let key = storage.key(namespace, name).map_err(failed)?;
            match freshness {
                Freshness::Cached if storage.is_cached() => storage
                    .peek(&key)
                    .map(|entry| self.decoded.get(&resource, &entry))
                    .transpose(),
                _ => match storage.get(&key, "").await.map_err(failed) {
                    Ok(stored) => resource
                        .decode_stored(&stored.value, stored.resource_version)
                        .map(|object| Some(Arc::new(object))),
                    Err(error) if status::is_not_found(&error) => Ok(None),
                    Err(error) => Err(error),
                },
            }
        })
    }

    fn list<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>> {
        Box::pin(async move {
            let resource = self.resource(group, resource)?;
            let storage = resource.storage()?;
            let failed = |error| interpret(error, Operation::List, &resource.group_resource(), "");
            let scope = storage.scope(namespace, "").map_err(failed)?;
            let list = match storage.peek_list(&scope).map_err(failed)? {
                Some(list) => list,
                None => {
                    let options = ListOptions {
                        resource_version: "0".to_owned(),
                        ..ListOptions::default()
                    };
                    Box::pin(storage.list(&scope, &options, Arc::new(Everything)))
                        .await
                        .map_err(failed)?
                }
            };
            list.iter()
                .map(|entry| self.decoded.get(&resource, &entry))
                .collect()
        })
    }

    fn equivalents(&self, resource: &GroupVersionResource, subresource: &str) -> Vec<Matched> {
        let Some(own) = self.get_version(resource) else {
            return Vec::new();
        };
        let prefix = |row: &Resource| row.info.storage.as_ref().map(|storage| storage.prefix);
        let same_name = |row: &Resource| {
            row.info.group == own.info.group && row.info.resource == own.info.resource
        };
        let is_other = |row: &Resource| row.api_version != own.api_version;
        self.resources
            .rows()
            .iter()
            .filter(|row| {
                is_other(row)
                    && (same_name(row) || (prefix(row).is_some() && prefix(row) == prefix(&own)))
            })
            .filter_map(|row| {
                let info = row.info;
                let kind = if subresource.is_empty() {
                    gvk(info.group, info.version, info.kind)
                } else {
                    let mut subresources = info.subresources.iter();
                    let found = subresources.find(|found| found.name == subresource)?;
                    gvk(found.group, found.version, found.kind)
                };
                Some(Matched {
                    resource: GroupVersionResource {
                        group: info.group.to_owned(),
                        version: info.version.to_owned(),
                        resource: info.resource.to_owned(),
                    },
                    kind,
                })
            })
            .collect()
    }

    fn served_kind(&self, kind: &GroupVersionKind) -> Option<ServedKind> {
        let found = self.resources.rows().into_iter().find(|row| {
            row.storage.is_some()
                && (row.info.group, row.info.version, row.info.kind)
                    == (&*kind.group, &*kind.version, &*kind.kind)
        })?;
        Some(ServedKind {
            matched: Matched {
                resource: GroupVersionResource {
                    group: kind.group.clone(),
                    version: kind.version.clone(),
                    resource: found.info.resource.to_owned(),
                },
                kind: kind.clone(),
            },
            namespaced: found.info.namespaced,
        })
    }

    fn in_version<'a>(
        &'a self,
        object: &'a Object,
        matched: &'a Matched,
    ) -> BoxFuture<'a, Result<Object, StatusError>> {
        Box::pin(async move {
            match self.version(object, matched) {
                Some(resource) => resource.to_served(object.clone()),
                // Bodies of subresources have a kind of their own, and one version.
                None => Ok(object.clone()),
            }
        })
    }

    fn decode(&self, json: &[u8], matched: &Matched, strict: bool) -> Result<Object, StatusError> {
        let kind = &matched.kind;
        let resource = self.served(matched);
        if let Some(custom) = resource.as_ref().and_then(|found| found.custom.as_ref()) {
            let (object, _) = custom.decode(json, false).map_err(status::internal)?;
            body::check_custom_kind(&object, custom)?;
            return Ok(Object::from(object));
        }
        let kind = kinds::lookup(&kind.group, &kind.version, &kind.kind)
            .ok_or_else(|| status::internal(format!("{kind} is not known")))?;
        let expected = kind.schema.kind.map_or("", |name| name.api_version);
        let (api_version, name) = body::version_and_kind(json).map_err(status::internal)?;
        if (&*api_version, &*name) != (expected, kind.kind) {
            let found = kinds::lookup_api_version(&api_version, &name);
            let problem = body::no_conversion(found, &api_version, &name, kind);
            return Err(status::internal(problem));
        }
        let mut object = Object::new((kind.new)());
        if strict {
            let problems = codec::decode_json_reporting_into(object.value_mut(), json);
            let problems = problems.map_err(status::internal)?;
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            if !problems.is_empty() {
                return Err(status::internal(body::strict_error(&problems)));
            }
        } else {
            codec::decode_json_into(object.value_mut(), json).map_err(status::internal)?;
        }
        object.clear_field("TypeMeta");
        Ok(object)
    }

    fn from_version<'a>(
        &'a self,
        object: Object,
        matched: &'a Matched,
        request: &'a GroupVersionResource,
    ) -> BoxFuture<'a, Result<Object, StatusError>> {
        Box::pin(async move {
            let Some(resource) = self.served(matched) else {
                return Ok(object);
            };
            let is_custom = resource.custom.is_some();
            let endpoint = Endpoint {
                resource,
                subresource: None,
            };
            let object = hub_of(&endpoint, object)?;
            // The hub of a custom resource is the version of the request.
            match self.get_version(request).filter(|_| is_custom) {
                Some(request) => request.to_hub(object),
                None => Ok(object),
            }
        })
    }

    fn merge_type(&self, matched: &Matched) -> Option<ObjectType> {
        if let Some(resource) = self.served(matched) {
            return managed_fields::merge_type(&resource);
        }
        // Bodies of subresources, where the API describes them: in the version they are of.
        let GroupVersionKind {
            group,
            version,
            kind,
        } = &matched.kind;
        let mut rows = self.resources.built_in().iter();
        let is_described = rows.any(|row| {
            let info = row.info;
            let mut subresources = info.subresources.iter();
            (info.group, info.version) == (&**group, &**version)
                && (info.kind == kind || subresources.any(|found| found.kind == kind))
        });
        built_in_type(group, version, kind).filter(|_| is_described)
    }

    fn update_status<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        object: Object,
    ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>> {
        Box::pin(async move {
            let resource = self.resource(group, resource)?;
            let resource = &*resource;
            let storage = resource.storage()?;
            let name = object.metadata().name.clone();
            let failed =
                |error| interpret(error, Operation::Update, &resource.group_resource(), &name);
            let key = storage
                .key(&object.metadata().namespace, &name)
                .map_err(failed)?;
            let options = UpdateOptions {
                preconditions: Preconditions::default(),
                ignore_not_found: false,
                hint: Hint::Cache,
            };
            let wanted = &object;
            let outcome = storage
                .guaranteed_update(&key, options, |current| async move {
                    // Somebody deleted or changed it since it was read: the caller reads again.
                    let Some(stored) = current.object.filter(|stored| {
                        stored.resource_version.to_string() == wanted.metadata().resource_version
                    }) else {
                        return Err(Refused::Conflict);
                    };
                    let mut changed = resource
                        .decode_stored(&stored.value, stored.resource_version)
                        .map_err(Refused::Error)?;
                    changed.copy_field(wanted, "Status");
                    Ok(Update::Write {
                        value: resource
                            .encode_stored(&mut changed)
                            .map_err(Refused::Error)?,
                        ttl: resource.ttl,
                    })
                })
                .await;
            match outcome {
                Ok(_) => Ok(UpdateOutcome::Updated),
                Err(UpdateError::Rejected(Refused::Conflict)) => Ok(UpdateOutcome::Conflict),
                Err(UpdateError::Rejected(Refused::Error(error))) => Err(error),
                Err(UpdateError::Storage(error)) => {
                    let error = failed(error);
                    if status::is_conflict(&error) || status::is_not_found(&error) {
                        Ok(UpdateOutcome::Conflict)
                    } else {
                        Err(error)
                    }
                }
            }
        })
    }
}
