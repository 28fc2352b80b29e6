//! What this server says of CustomResourceDefinitions in their status, and what it does with those that are deleted.
//! Upstream: apiextensions-apiserver/pkg/controller.
//!
//! One loop looks at one CRD after the other, in the order in which they change: which names it gets depends on the others,
//! and whoever comes first has them. Deletion takes long and has a task of its own for each CRD.

/// Whether an API in one of Kubernetes' own groups is approved.
mod api_approval;
/// From accepted names to a resource that clients can count on.
mod establishing;
/// Deletion of a CRD's objects before it goes.
mod finalizer;
/// Which names a CRD gets.
mod naming;
/// Schemas that are not structural.
mod non_structural;
/// APIServices of the groups of CRDs.
pub(crate) mod registration;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionNames};
use apimachinery::status::{self, StatusError};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow};
use crate::server::ApiServer;

/// The wait after a first failure, which doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// With several servers, each needs time to see a CRD before any says that it is served.
const ESTABLISHING_DELAY: Duration = Duration::from_secs(5);

/// What the loop hears of.
enum Event {
    Changed(Change<Box<CustomResourceDefinition>>),
    /// A CRD is to be looked at again.
    Again(String),
    /// A CRD has been installing for long enough.
    Establish(String),
    /// The task that deletes a CRD's objects has ended.
    Finalized {
        name: String,
        result: Result<(), StatusError>,
    },
}

/// Starts the loop. `started` is called when it knows all CRDs.
pub(crate) fn start(
    server: &Arc<ApiServer>,
    client: &Loopback,
    stop: CancellationToken,
    started: impl Fn() + Send + 'static,
) {
    let crds = server
        .resources
        .known("apiextensions.k8s.io", "customresourcedefinitions");
    let Some(crds) = crds else {
        started();
        return;
    };
    let (events, receiver) = mpsc::unbounded_channel();
    let sender = events.clone();
    follow::<CustomResourceDefinition>(crds, stop.clone(), move |change| {
        // Nobody listens any more when the server stops.
        drop(sender.send(Event::Changed(change)));
    });
    let controllers = Controllers {
        server: server.clone(),
        client: client.clone(),
        events,
        stop,
        crds: BTreeMap::new(),
        pending: VecDeque::new(),
        queued: HashMap::new(),
        schemas: non_structural::Seen::default(),
        installing: HashSet::new(),
        establish_now: HashSet::new(),
        finalizing: HashSet::new(),
        failures: HashMap::new(),
    };
    tokio::spawn(controllers.run(receiver, started));
}

struct Controllers {
    server: Arc<ApiServer>,
    client: Loopback,
    events: UnboundedSender<Event>,
    stop: CancellationToken,
    /// All CRDs, as last heard of or written here.
    crds: BTreeMap<String, Known>,
    /// Those to look at, in this order.
    pending: VecDeque<String>,
    /// The same, with the object where it came with an event.
    queued: HashMap<String, Option<Box<CustomResourceDefinition>>>,
    schemas: non_structural::Seen,
    /// CRDs that wait for other servers to see them.
    installing: HashSet<String>,
    /// Those that have waited for long enough.
    establish_now: HashSet<String>,
    /// CRDs whose objects are being deleted.
    finalizing: HashSet<String>,
    /// How often in a row a CRD could not be written.
    failures: HashMap<String, u32>,
}

/// What the loop remembers of a CRD. Schemas can be large, and are not kept.
struct Known {
    version: u64,
    group: String,
    accepted: CustomResourceDefinitionNames,
}

fn version(crd: &CustomResourceDefinition) -> u64 {
    crd.metadata.resource_version.parse().unwrap_or(0)
}

impl Controllers {
    async fn run(mut self, mut events: UnboundedReceiver<Event>, started: impl Fn()) {
        loop {
            let event = tokio::select! {
                () = self.stop.cancelled() => return,
                event = events.recv() => event,
            };
            let Some(event) = event else { return };
            self.take(event, &started);
            // All there is to know first.
            while let Ok(event) = events.try_recv() {
                self.take(event, &started);
            }
            while let Some(name) = self.pending.pop_front() {
                let object = self.queued.remove(&name).flatten();
                match self.sync(&name, object).await {
                    Ok(()) => drop(self.failures.remove(&name)),
                    Err(error) => self.again_later(name, &error),
                }
            }
        }
    }

    fn take(&mut self, event: Event, started: &impl Fn()) {
        match event {
            Event::Changed(Change::Set(crd)) => {
                let name = crd.metadata.name.clone();
                self.keep(&crd);
                self.look_at(name.clone());
                self.queued.insert(name, Some(crd));
            }
            Event::Changed(Change::Gone { name, .. }) => {
                if let Some(known) = self.crds.remove(&name) {
                    self.schemas.forget(&name);
                    self.establish_now.remove(&name);
                    self.look_at_others_of_group(&known.group, &name);
                }
            }
            Event::Changed(Change::Synced) => started(),
            Event::Again(name) => self.look_at(name),
            Event::Establish(name) => {
                self.installing.remove(&name);
                self.establish_now.insert(name.clone());
                self.look_at(name);
            }
            Event::Finalized { name, result } => {
                self.finalizing.remove(&name);
                match result {
                    Ok(()) => {
                        self.failures.remove(&name);
                    }
                    Err(error) => self.again_later(name, &error),
                }
            }
        }
    }

    /// Remembers a CRD unless something newer is known.
    fn keep(&mut self, crd: &CustomResourceDefinition) {
        let name = &crd.metadata.name;
        let known = self.crds.get(name);
        if known.is_none_or(|known| known.version <= version(crd)) {
            let known = Known {
                version: version(crd),
                group: crd.spec.group.clone(),
                accepted: crd.status.accepted_names.clone(),
            };
            self.crds.insert(name.clone(), known);
        }
    }

    fn look_at(&mut self, name: String) {
        if !self.queued.contains_key(&name) {
            self.queued.insert(name.clone(), None);
            self.pending.push_back(name);
        }
    }

    /// Names may have become free for the others.
    fn look_at_others_of_group(&mut self, group: &str, name: &str) {
        let others = self.crds.iter();
        let others: Vec<String> = others
            .filter(|(other, known)| known.group == group && *other != name)
            .map(|(other, _)| other.clone())
            .collect();
        for name in others {
            self.look_at(name);
        }
    }

    fn again_later(&mut self, name: String, error: &StatusError) {
        tracing::warn!(crd = name, error = %error, "CustomResourceDefinition could not be updated, trying again");
        let failures = self.failures.entry(name.clone()).or_default();
        let wait = FIRST_RETRY
            .saturating_mul(2u32.saturating_pow(*failures))
            .min(LONGEST_RETRY);
        *failures += 1;
        self.later(wait, Event::Again(name));
    }

    fn later(&self, wait: Duration, event: Event) {
        let (events, stop) = (self.events.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => drop(events.send(event)),
            }
        });
    }

    /// Looks at one CRD. Upstream's controllers each write for themselves; all but establishing go in one write here.
    async fn sync(
        &mut self,
        name: &str,
        object: Option<Box<CustomResourceDefinition>>,
    ) -> Result<(), StatusError> {
        let Some(known) = self.crds.get(name) else {
            return Ok(());
        };
        let current = object.filter(|crd| version(crd) >= known.version);
        let mut crd = match current {
            Some(crd) => crd,
            None => match self.client.get("", name).await? {
                Some(crd) => Box::new(crd),
                None => return Ok(()),
            },
        };
        let all = self.crds.values();
        let renamed = naming::sync(&mut crd, all.map(|crd| (&*crd.group, &crd.accepted)));
        let approved = api_approval::sync(&mut crd);
        let structural = self.schemas.sync(&mut crd);
        if renamed || approved || structural {
            let Some(written) = self.write(*crd).await? else {
                return Ok(());
            };
            crd = written;
            if structural {
                self.schemas.written(&crd);
            }
            if renamed {
                self.look_at_others_of_group(&crd.spec.group, name);
            }
        }
        if finalizer::is_due(&crd) {
            self.finalize(name);
        }
        if !establishing::is_due(&crd) {
            return Ok(());
        }
        // Others may serve it a little later than this one.
        let alone = self.server.config.flags.int("apiserver-count") <= 1;
        if !alone && !self.establish_now.remove(name) {
            if self.installing.insert(name.to_owned()) {
                self.later(ESTABLISHING_DELAY, Event::Establish(name.to_owned()));
            }
            return Ok(());
        }
        if establishing::sync(&mut crd) {
            self.write(*crd).await?;
        }
        Ok(())
    }

    /// Writes a status. None if somebody else wrote at the same time: the loop will hear of it.
    async fn write(
        &mut self,
        crd: CustomResourceDefinition,
    ) -> Result<Option<Box<CustomResourceDefinition>>, StatusError> {
        let name = crd.metadata.name.clone();
        match self.client.update_status(crd).await {
            Ok(written) => {
                self.keep(&written);
                Ok(Some(Box::new(written)))
            }
            Err(error) if status::is_not_found(&error) || status::is_conflict(&error) => {
                tracing::debug!(crd = name, "CustomResourceDefinition changed meanwhile");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn finalize(&mut self, name: &str) {
        let name = name.to_owned();
        if !self.finalizing.insert(name.clone()) {
            return;
        }
        let (server, client) = (self.server.clone(), self.client.clone());
        let (events, stop) = (self.events.clone(), self.stop.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                () = stop.cancelled() => return,
                result = finalizer::run(&server, &client, &name) => result,
            };
            drop(events.send(Event::Finalized { name, result }));
        });
    }
}
