//! Follows the CRDs, and keeps the table of resources, discovery and OpenAPI up to date.
//! Upstream: the informer handlers of customresource_handler.go and customresource_discovery_controller.go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames,
    custom_resource_definition_condition_type as condition,
};
use parking_lot::Mutex;
use serde_json::Value;
use structural_schema::json_path::JsonPath;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::definition::{is_accepted, is_true};
use super::{CustomResource, Definition, resource};
use crate::registry::follow::{Change, follow};
use crate::registry::resource::{Resource, StoredForm, StrategyRef, json_header};
use crate::registry::stored_text::StoredMedia;
use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::storage::{self, HeaderParser, Pairs, ResourceConfig, Storage};

/// How long a request waits for a CRD that is stored already to be served here.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What is served of all CRDs.
pub struct Serving {
    state: Mutex<BTreeMap<String, Followed>>,
    /// Up to which version each CRD has been looked at.
    seen: watch::Sender<HashMap<String, u64>>,
    /// Bumped when discovery is to be made anew.
    changes: watch::Sender<u64>,
}

impl Default for Serving {
    fn default() -> Self {
        Serving {
            state: Mutex::default(),
            seen: watch::Sender::default(),
            changes: watch::Sender::default(),
        }
    }
}

/// A CRD that is served.
struct Followed {
    key: Key,
    definition: Arc<Definition>,
    storage: Storage,
    rows: Vec<Arc<Resource>>,
    /// Ends the watches of these rows.
    stop: CancellationToken,
}

/// What a definition depends on.
#[derive(PartialEq)]
struct Key {
    uid: String,
    generation: i64,
    names: String,
    terminating: bool,
    established: bool,
}

impl Key {
    /// Whether only what is said of the CRD differs, and nothing about its objects.
    fn same_objects(&self, other: &Key) -> bool {
        (&self.uid, self.generation, &self.names) == (&other.uid, other.generation, &other.names)
    }

    fn of(crd: &CustomResourceDefinition) -> Key {
        let CustomResourceDefinitionNames {
            plural,
            singular,
            short_names,
            kind,
            list_kind,
            categories,
        } = &crd.status.accepted_names;
        Key {
            uid: crd.metadata.uid.clone(),
            generation: crd.metadata.generation,
            names: format!("{plural} {singular} {short_names:?} {kind} {list_kind} {categories:?}"),
            terminating: is_true(crd, condition::TERMINATING),
            established: is_true(crd, condition::ESTABLISHED),
        }
    }
}

/// Starts to follow the CRDs. `synced` is called when all that there are have been told.
pub fn start(
    server: &Arc<ApiServer>,
    stop: CancellationToken,
    synced: impl Fn() + Send + Sync + 'static,
) {
    let Some(resource) = server
        .resources
        .known("apiextensions.k8s.io", "customresourcedefinitions")
    else {
        synced();
        return;
    };
    let follower = server.clone();
    follow::<CustomResourceDefinition>(resource, stop.clone(), move |change| {
        let serving = &follower.custom_resources;
        match change {
            Change::Set(crd) => serving.set(&follower, &crd),
            Change::Gone { name, .. } => serving.remove(&follower, &name),
            Change::Synced => {
                // Not later: until now clients have been told to come again.
                follower.discovery.update(&follower.resources);
                synced();
            }
        }
    });
    let publisher = server.clone();
    tokio::spawn(async move {
        let mut changes = publisher.custom_resources.changes.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            changes.mark_unchanged();
            publisher.discovery.update(&publisher.resources);
        }
    });
}

impl Serving {
    /// The version of a CRD that its objects are stored in, served or not.
    pub fn stored_resource(&self, name: &str) -> Option<Arc<Resource>> {
        let state = self.state.lock();
        let followed = state.get(name)?;
        let definition = &followed.definition;
        let index = definition.storage_version;
        Some(row(definition, index, &followed.storage, &followed.stop))
    }

    /// Told whenever what is served has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set(&self, server: &Arc<ApiServer>, crd: &CustomResourceDefinition) {
        let name = crd.metadata.name.clone();
        let version = crd.metadata.resource_version.parse().unwrap_or(0);
        let changed = self.change(server, &name, crd);
        if changed {
            self.publish(server);
        }
        self.seen.send_modify(|seen| {
            seen.insert(name, version);
        });
    }

    fn remove(&self, server: &Arc<ApiServer>, name: &str) {
        let old = self.state.lock().remove(name);
        self.seen.send_modify(|seen| {
            seen.remove(name);
        });
        if let Some(old) = old {
            old.stop.cancel();
            old.storage.stop();
            self.publish(server);
        }
    }

    /// Takes a CRD in. Whether that changed what is served.
    fn change(&self, server: &Arc<ApiServer>, name: &str, crd: &CustomResourceDefinition) -> bool {
        let key = Key::of(crd);
        let mut state = self.state.lock();
        if state.get(name).is_some_and(|old| old.key == key) {
            return false;
        }
        let old = state.remove(name);
        let had = old.is_some();
        if let Some(old) = &old
            && !(old.key.same_objects(&key) && is_accepted(crd))
        {
            old.stop.cancel();
        }
        if !is_accepted(crd) {
            if let Some(old) = old {
                old.storage.stop();
            }
            return had;
        }
        match followed(server, key, crd, old) {
            Ok(followed) => {
                state.insert(name.to_owned(), followed);
                true
            }
            Err(error) => {
                tracing::error!(crd = name, error, "CustomResourceDefinition is not served");
                had
            }
        }
    }

    fn publish(&self, server: &Arc<ApiServer>) {
        let mut rows: Vec<Arc<Resource>> = {
            let state = self.state.lock();
            state
                .values()
                .flat_map(|followed| followed.rows.iter().cloned())
                .collect()
        };
        rows.sort_by(|a, b| {
            let (a, b) = (a.info, b.info);
            a.group
                .cmp(b.group)
                .then_with(|| crate::discovery::compare_versions(b.version, a.version))
                .then_with(|| a.resource.cmp(b.resource))
        });
        server.resources.set_custom(rows);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The resource of a request, if a CRD that this server is only just hearing of makes it.
    pub async fn wait_for(
        &self,
        server: &Arc<ApiServer>,
        info: &RequestInfo,
    ) -> Option<Arc<Resource>> {
        // CRDs are of groups with a dot.
        if !info.api_group.contains('.') || info.resource.is_empty() {
            return None;
        }
        let crds = server
            .resources
            .known("apiextensions.k8s.io", "customresourcedefinitions")?;
        let storage = crds.storage.as_ref()?;
        let name = format!("{}.{}", info.resource, info.api_group);
        let key = storage.key("", &name).ok()?;
        let stored = storage.get(&key, "").await.ok()?;
        let mut seen = self.seen.subscribe();
        let caught_up = seen.wait_for(|seen| {
            seen.get(&name)
                .is_some_and(|version| *version >= stored.resource_version)
        });
        tokio::time::timeout(CATCH_UP, caught_up).await.ok()?.ok()?;
        server
            .resources
            .get(&info.api_group, &info.api_version, &info.resource)
    }
}

/// Makes the rows of a CRD. Its storage stays when nothing about it has changed.
fn followed(
    server: &Arc<ApiServer>,
    key: Key,
    crd: &CustomResourceDefinition,
    old: Option<Followed>,
) -> Result<Followed, String> {
    let definition = match Definition::new(crd, &server.webhooks, &server.custom_resource_metrics) {
        Ok(definition) => Arc::new(definition),
        Err(error) => {
            if let Some(old) = old {
                old.storage.stop();
            }
            return Err(error.to_string());
        }
    };
    let stored = definition.stored();
    let mut stop = None;
    let kept = old.and_then(|old| {
        let same_objects = old.key.same_objects(&key);
        stop = same_objects.then_some(old.stop);
        // The cache holds the values of selectable fields.
        let same_cache = same_objects
            || old.key.uid == key.uid
                && old.definition.namespaced == definition.namespaced
                && old.definition.stored().info.resource == stored.info.resource
                && old.definition.selectable().is_empty()
                && definition.selectable().is_empty();
        if !same_cache {
            old.storage.stop();
        }
        same_cache.then_some(old.storage)
    });
    let storage = match kept {
        Some(storage) => storage,
        None => open(server, &definition).map_err(|error| error.to_string())?,
    };
    let stop = stop.unwrap_or_else(|| server.shutdown_watches.child_token());
    let rows = definition
        .versions
        .iter()
        .enumerate()
        .filter(|(_, version)| version.served)
        .map(|(index, _)| row(&definition, index, &storage, &stop))
        .collect();
    Ok(Followed {
        key,
        definition,
        storage,
        rows,
        stop,
    })
}

/// The row of one version.
fn row(
    definition: &Arc<Definition>,
    index: usize,
    storage: &Storage,
    stop: &CancellationToken,
) -> Arc<Resource> {
    let version = &definition.versions[index];
    let custom = Arc::new(CustomResource::new(definition, index, stop.clone()));
    Arc::new(Resource {
        info: version.info,
        api_version: version.api_version,
        served: version.kind,
        hub: version.kind,
        stored: StoredForm {
            api_version: definition.stored().api_version,
            kind: definition.kind,
            media: StoredMedia::Json,
        },
        conversion: None,
        storage: Some(storage.clone()),
        strategy: StrategyRef::Custom(custom.clone()),
        custom: Some(custom),
        ttl: None,
        returns_deleted_object: false,
    })
}

fn open(server: &ApiServer, definition: &Arc<Definition>) -> Result<Storage, storage::Error> {
    let info = definition.stored().info;
    let prefix = info.storage.as_ref().map_or("", |storage| storage.prefix);
    let mut config = ResourceConfig::new(
        info.group,
        info.resource,
        prefix,
        definition.namespaced,
        header_parser(definition),
    );
    let encryption = server.encryption.as_ref();
    if let Some(transformer) =
        encryption.and_then(|encryption| encryption.transformer(info.group, info.resource))
    {
        config.transformer = transformer;
    }
    config.watch_cache = server.watch_caches.of_custom_resources();
    server.backend.storage(config)
}

fn header_parser(definition: &Arc<Definition>) -> HeaderParser {
    let selectable: HashMap<&'static str, JsonPath> = definition.selectable();
    if selectable.is_empty() {
        return Arc::new(|_, value| json_header(value));
    }
    let definition = definition.clone();
    Arc::new(move |_, value| {
        let mut header = json_header(value)?;
        let document: Value =
            resource::stored_document(&definition, value).map_err(crate::storage::HeaderError)?;
        header.fields = Pairs::new(selectable.iter().filter_map(|(name, path)| {
            let value = path.field_value(&document).ok()?;
            Some((*name, value))
        }));
        Ok(header)
    })
}
