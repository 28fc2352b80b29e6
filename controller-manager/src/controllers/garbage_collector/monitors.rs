//! One informer over the metadata of every deletable resource, kept in step with discovery. Upstream: `syncMonitors` and `Sync` in
//! pkg/controller/garbagecollector.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::PartialObjectMetadata;
use client::{
    Client, DeletedObject, EventHandler, GroupResource, GroupVersionResource, ListScope,
    MetadataInformer,
};
use component_base::metrics::{Counter, Metrics as Base, Opts};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Identity, Shared};

/// How often discovery is asked, and how long new informers have to fill.
const PERIOD: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// What discovery says of a kind.
type Mapping = HashMap<(String, String), (GroupVersionResource, bool)>;

pub(super) struct Monitors {
    discovery: Client,
    informers: Client,
    ignored: HashSet<GroupResource>,
    shared: Arc<Shared>,
    mapping: Mutex<Mapping>,
    running: Mutex<HashMap<GroupVersionResource, Monitor>>,
    errors: Counter,
}

struct Monitor {
    informer: MetadataInformer,
    stop: CancellationToken,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The deletable resources, with their kinds.
type Resources = BTreeMap<GroupVersionResource, String>;

impl Monitors {
    pub(super) fn new(
        discovery: Client,
        informers: Client,
        ignored: HashSet<GroupResource>,
        shared: Arc<Shared>,
        metrics: &Base,
    ) -> Self {
        let errors = Opts::new(
            "garbagecollector_controller_resources_sync_error_total",
            "Number of garbage collector resources sync errors",
        );
        Self {
            discovery,
            informers,
            ignored,
            shared,
            mapping: Mutex::default(),
            running: Mutex::default(),
            errors: metrics.counter(errors),
        }
    }

    /// The resource that serves an object's kind, and whether it is namespaced.
    pub(super) fn resource(&self, item: &Identity) -> Result<(GroupVersionResource, bool), String> {
        let key = (item.api_version.clone(), item.kind.clone());
        self.mapping.lock().get(&key).cloned().ok_or_else(|| {
            format!(
                "unable to get REST mapping for {}/{}.",
                item.api_version, item.kind
            )
        })
    }

    /// Runs until `stop`. Calls `ready` once the first informers are filled, or had their time.
    pub(super) async fn run(&self, stop: CancellationToken, ready: impl Fn()) {
        let mut known = Resources::new();
        let mut tick = tokio::time::interval(PERIOD);
        let mut first = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            let changed = tokio::select! {
                () = stop.cancelled() => break,
                changed = self.sync(&mut known, &stop) => changed,
            };
            if changed || first {
                let filled = tokio::select! {
                    () = stop.cancelled() => break,
                    filled = tokio::time::timeout(PERIOD, self.wait_until_filled()) => filled.is_ok(),
                };
                if filled {
                    tracing::debug!(v = 2, "synced garbage collector");
                } else {
                    tracing::error!(
                        "timed out waiting for dependency graph builder sync during GC sync"
                    );
                    self.errors.inc();
                }
                ready();
                first = false;
            }
        }
        self.running.lock().clear();
    }

    async fn wait_until_filled(&self) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let running = self.running.lock();
            if !running.is_empty()
                && running
                    .values()
                    .all(|monitor| monitor.informer.has_synced())
            {
                return;
            }
        }
    }

    /// Starts and stops informers as discovery says. Whether anything changed.
    async fn sync(&self, known: &mut Resources, stop: &CancellationToken) -> bool {
        let served = match self.discovery.discovery().groups_and_resources().await {
            Ok(served) => served,
            Err(error) => {
                tracing::info!(%error, "failed to discover preferred resources");
                self.errors.inc();
                return false;
            }
        };
        let mapping: Mapping = served
            .with_verbs(&[])
            .into_iter()
            .filter(|(resource, _)| !resource.resource.contains('/'))
            .map(|(resource, described)| {
                let version = resource.group_version().to_string();
                ((version, described.kind), (resource, described.namespaced))
            })
            .collect();
        let failed: HashSet<String> = served
            .failed
            .iter()
            .map(|(version, _)| version.to_string())
            .collect();
        if !failed.is_empty() {
            tracing::info!(groups = ?failed, "failed to discover some groups");
        }
        let mut wanted: Resources = served
            .preferred()
            .with_verbs(&["delete", "list", "watch"])
            .into_iter()
            .map(|(resource, described)| (resource, described.kind))
            .collect();
        if wanted.is_empty() {
            tracing::debug!(
                v = 2,
                "no resources reported by discovery, skipping garbage collector sync"
            );
            self.errors.inc();
            return false;
        }
        {
            let running = self.running.lock();
            for (resource, kind) in known.iter() {
                let synced = running
                    .get(resource)
                    .is_some_and(|monitor| monitor.informer.has_synced());
                if failed.contains(&resource.group_version().to_string()) && synced {
                    wanted.insert(resource.clone(), kind.clone());
                }
            }
        }
        {
            let mut current = self.mapping.lock();
            // What a group served before it failed is still true enough to look at single objects.
            let kept: Mapping = current
                .drain()
                .filter(|((version, _), _)| failed.contains(version))
                .collect();
            *current = mapping;
            for (key, value) in kept {
                current.entry(key).or_insert(value);
            }
        }
        if *known == wanted {
            return false;
        }
        tracing::debug!(
            v = 2,
            "syncing garbage collector with updated resources from discovery"
        );
        let mut running = self.running.lock();
        running.retain(|resource, _| wanted.contains_key(resource));
        for (resource, kind) in &wanted {
            if !self.ignored.contains(&resource.group_resource()) && !running.contains_key(resource)
            {
                running.insert(resource.clone(), self.start(resource, kind, stop));
            }
        }
        *known = wanted;
        true
    }

    fn start(
        &self,
        resource: &GroupVersionResource,
        kind: &str,
        stop: &CancellationToken,
    ) -> Monitor {
        let scope = ListScope {
            transform: Some(Arc::new(|object: &mut PartialObjectMetadata| {
                let metadata = &mut object.metadata;
                metadata.managed_fields = Vec::new();
                metadata.labels.clear();
                metadata.annotations.clear();
            })),
            ..ListScope::default()
        };
        let informer =
            MetadataInformer::for_resource(&self.informers, resource, scope, Duration::ZERO);
        informer.add_handler(Arc::new(Handler {
            api_version: resource.group_version().to_string(),
            kind: kind.to_owned(),
            shared: self.shared.clone(),
        }));
        let (run, token) = (informer.clone(), stop.child_token());
        let until = token.clone();
        tokio::spawn(async move { run.run(until).await });
        Monitor {
            informer,
            stop: token,
        }
    }
}

/// Feeds the graph.
struct Handler {
    api_version: String,
    kind: String,
    shared: Arc<Shared>,
}

impl Handler {
    fn identity(&self, object: &PartialObjectMetadata) -> Identity {
        Identity::of_object(&self.api_version, &self.kind, &object.metadata)
    }
}

impl EventHandler<PartialObjectMetadata> for Handler {
    fn on_add(&self, object: &Arc<PartialObjectMetadata>, _: bool) {
        self.shared
            .observe(self.identity(object), None, &object.metadata);
    }

    fn on_update(&self, old: &Arc<PartialObjectMetadata>, new: &Arc<PartialObjectMetadata>) {
        self.shared
            .observe(self.identity(new), Some(&old.metadata), &new.metadata);
    }

    fn on_delete(&self, deleted: DeletedObject<PartialObjectMetadata>) {
        self.shared.forget(&self.identity(&deleted.object));
    }
}
