//! An APIService for each served version of each group that CRDs have. Upstream: pkg/controlplane/controller/crdregistration
//! and kube-aggregator's autoregister controller.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::apiregistration::v1::APIService;
use api_types::meta::v1::{DeleteOptions, Preconditions};
use apimachinery::status::{self, StatusError};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use crate::hooks::api_services::AUTOMANAGED;
use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow};
use crate::server::ApiServer;

/// After the built-in groups.
const GROUP_PRIORITY: i32 = 1000;
/// All versions alike: they are sorted by their names.
const VERSION_PRIORITY: i32 = 100;
const RETRY: Duration = Duration::from_secs(1);

enum Event {
    Crd(Change<Box<CustomResourceDefinition>>),
    Service(Change<Box<APIService>>),
    Again(String),
}

/// Keeps the APIServices right until `stop`.
pub(crate) fn start(server: &Arc<ApiServer>, client: &Loopback, stop: CancellationToken) {
    let known = |group, resource| server.resources.known(group, resource);
    let (Some(crds), Some(services)) = (
        known("apiextensions.k8s.io", "customresourcedefinitions"),
        known("apiregistration.k8s.io", "apiservices"),
    ) else {
        return;
    };
    let (events, receiver) = mpsc::unbounded_channel();
    // Nobody listens any more when the server stops.
    let sender = events.clone();
    follow(crds, stop.clone(), move |change| {
        drop(sender.send(Event::Crd(change)));
    });
    let sender = events.clone();
    follow(services, stop.clone(), move |change| {
        drop(sender.send(Event::Service(change)));
    });
    let built_in = server.resources.built_in();
    let built_in = built_in
        .iter()
        .map(|row| service_name(row.info.group, row.info.version));
    let registration = Registration {
        client: client.clone(),
        built_in: built_in.collect(),
        served: BTreeMap::new(),
        services: BTreeMap::new(),
        synced: (false, false),
        pending: BTreeSet::new(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = registration.run(events, receiver) => {}
        }
    });
}

fn service_name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

struct Registration {
    client: Loopback,
    /// APIServices that are none of this one's business.
    built_in: HashSet<String>,
    /// Groups and served versions, by CRD.
    served: BTreeMap<String, Vec<(String, String)>>,
    services: BTreeMap<String, APIService>,
    /// Whether all CRDs, and all APIServices, are known.
    synced: (bool, bool),
    pending: BTreeSet<String>,
}

impl Registration {
    async fn run(
        mut self,
        events: mpsc::UnboundedSender<Event>,
        mut receiver: UnboundedReceiver<Event>,
    ) {
        while let Some(event) = receiver.recv().await {
            self.take(event);
            while let Ok(event) = receiver.try_recv() {
                self.take(event);
            }
            if self.synced != (true, true) {
                continue;
            }
            while let Some(name) = self.pending.pop_first() {
                if let Err(error) = self.sync(&name).await {
                    tracing::warn!(service = name, error = %error, "APIService of CustomResourceDefinitions is not up to date");
                    let events = events.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(RETRY).await;
                        drop(events.send(Event::Again(name)));
                    });
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Crd(Change::Set(crd)) => {
                let group = &crd.spec.group;
                let served: Vec<_> = crd
                    .spec
                    .versions
                    .iter()
                    .filter(|version| version.served)
                    .map(|version| (group.clone(), version.name.clone()))
                    .collect();
                self.look_at(&served);
                let old = self.served.insert(crd.metadata.name, served);
                self.look_at(&old.unwrap_or_default());
            }
            Event::Crd(Change::Gone { name, .. }) => {
                let old = self.served.remove(&name);
                self.look_at(&old.unwrap_or_default());
            }
            Event::Crd(Change::Synced) => self.synced.0 = true,
            Event::Service(Change::Set(service)) => {
                let name = service.metadata.name.clone();
                self.services.insert(name.clone(), *service);
                self.pending.insert(name);
            }
            Event::Service(Change::Gone { name, .. }) => {
                self.services.remove(&name);
                self.pending.insert(name);
            }
            Event::Service(Change::Synced) => self.synced.1 = true,
            Event::Again(name) => drop(self.pending.insert(name)),
        }
    }

    fn look_at(&mut self, versions: &[(String, String)]) {
        let names = versions.iter();
        self.pending
            .extend(names.map(|(group, version)| service_name(group, version)));
    }

    async fn sync(&mut self, name: &str) -> Result<(), StatusError> {
        if self.built_in.contains(name) {
            return Ok(());
        }
        let desired = desired(self.served.values().flatten(), name);
        let outcome = match decide(desired, self.services.get(name)) {
            Action::Nothing => return Ok(()),
            Action::Create(service) => self.client.create(service).await.map(Some),
            Action::Update(service) => self.client.update(service).await.map(Some),
            Action::Delete { uid } => {
                let options = DeleteOptions {
                    preconditions: Some(Box::new(Preconditions {
                        uid: Some(uid),
                        resource_version: None,
                    })),
                    ..DeleteOptions::default()
                };
                let client = &self.client;
                let deleted = client.delete_with::<APIService>("", name, options).await;
                deleted.map(|()| None)
            }
        };
        match outcome {
            Ok(Some(service)) => drop(self.services.insert(name.to_owned(), service)),
            Ok(None) => drop(self.services.remove(name)),
            // It changed meanwhile, which will be heard of.
            Err(error)
                if status::is_already_exists(&error)
                    || status::is_not_found(&error)
                    || status::is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The APIService of that name, if any CRD asks for it.
fn desired<'a>(
    mut served: impl Iterator<Item = &'a (String, String)>,
    name: &str,
) -> Option<APIService> {
    let (group, version) = served.find(|(group, version)| service_name(group, version) == name)?;
    let mut service = APIService::default();
    name.clone_into(&mut service.metadata.name);
    service
        .metadata
        .labels
        .insert(AUTOMANAGED.to_owned(), "true".to_owned());
    service.spec.group.clone_from(group);
    service.spec.version.clone_from(version);
    service.spec.group_priority_minimum = GROUP_PRIORITY;
    service.spec.version_priority = VERSION_PRIORITY;
    Some(service)
}

#[derive(Debug, PartialEq)]
enum Action {
    Nothing,
    Create(APIService),
    Update(APIService),
    Delete { uid: String },
}

fn decide(desired: Option<APIService>, current: Option<&APIService>) -> Action {
    let managed = current.and_then(|current| current.metadata.labels.get(AUTOMANAGED));
    match (desired, current) {
        (None, None) => Action::Nothing,
        (Some(desired), None) => Action::Create(desired),
        // Its user has taken it over, or it is of those that are made at the start.
        _ if managed.is_none_or(|managed| managed != "true") => Action::Nothing,
        (None, Some(current)) => Action::Delete {
            uid: current.metadata.uid.clone(),
        },
        (Some(desired), Some(current)) if desired.spec == current.spec => Action::Nothing,
        (Some(desired), Some(current)) => Action::Update(APIService {
            spec: desired.spec,
            ..current.clone()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_follow_the_crds() {
        let served = [("example.com".to_owned(), "v1".to_owned())];
        assert_eq!(desired(served.iter(), "v2.example.com"), None);
        let service = desired(served.iter(), "v1.example.com").unwrap();
        assert_eq!(decide(None, None), Action::Nothing);
        assert_eq!(
            decide(Some(service.clone()), None),
            Action::Create(service.clone())
        );
        assert_eq!(
            decide(Some(service.clone()), Some(&service)),
            Action::Nothing
        );
        let mut changed = service.clone();
        changed.spec.version_priority = 5;
        assert_eq!(
            decide(Some(service.clone()), Some(&changed)),
            Action::Update(service.clone())
        );
        "u".clone_into(&mut changed.metadata.uid);
        let delete = Action::Delete {
            uid: "u".to_owned(),
        };
        assert_eq!(decide(None, Some(&changed)), delete);
        changed.metadata.labels.clear();
        assert_eq!(decide(None, Some(&changed)), Action::Nothing);
        assert_eq!(decide(Some(service), Some(&changed)), Action::Nothing);
    }
}
