//! The election record in a Lease. Upstream: `client-go/tools/leaderelection/resourcelock`.

use std::collections::BTreeMap;

use api_types::MicroTime;
use api_types::coordination::v1::{Lease, LeaseSpec};
use futures::future::BoxFuture;

use crate::error::Error;
use crate::record::{EventRecorder, object_reference};
use crate::rest::Api;

/// Reads and writes the Leases of one namespace.
pub trait Leases: Send + Sync {
    /// The Lease with this name.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lease, Error>>;
    /// Makes a Lease; returns it as it is stored.
    fn create(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, Error>>;
    /// Replaces a Lease that nobody else has changed; returns it as it is stored.
    fn update(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, Error>>;
}

impl Leases for Api<Lease> {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Lease, Error>> {
        Box::pin(async move { Api::get(self, name).await })
    }

    fn create(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, Error>> {
        Box::pin(async move { Api::create(self, &lease).await })
    }

    fn update(&self, lease: Lease) -> BoxFuture<'_, Result<Lease, Error>> {
        Box::pin(async move { Api::update(self, &lease).await })
    }
}

/// Who leads, since when, until when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub holder: String,
    pub lease_duration_seconds: i32,
    pub acquire_time: MicroTime,
    pub renew_time: MicroTime,
    pub transitions: i32,
    pub strategy: Option<String>,
    pub preferred_holder: Option<String>,
}

impl Record {
    fn of(spec: &LeaseSpec) -> Self {
        Self {
            holder: spec.holder_identity.clone().unwrap_or_default(),
            lease_duration_seconds: spec.lease_duration_seconds.unwrap_or_default(),
            acquire_time: spec.acquire_time.unwrap_or_default(),
            renew_time: spec.renew_time.unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            strategy: spec.strategy.clone(),
            preferred_holder: spec.preferred_holder.clone(),
        }
    }

    fn into_spec(self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder),
            lease_duration_seconds: Some(self.lease_duration_seconds),
            acquire_time: Some(self.acquire_time),
            renew_time: Some(self.renew_time),
            lease_transitions: Some(self.transitions),
            strategy: self.strategy.filter(|strategy| !strategy.is_empty()),
            preferred_holder: self.preferred_holder.filter(|holder| !holder.is_empty()),
        }
    }
}

/// Reads and writes the record. Remembers the Lease so that an update fails when somebody else wrote in between.
pub(super) struct LeaseLock {
    leases: Box<dyn Leases>,
    namespace: String,
    name: String,
    identity: String,
    labels: BTreeMap<String, String>,
    recorder: EventRecorder,
    lease: Option<Lease>,
}

impl LeaseLock {
    pub(super) fn new(
        leases: Box<dyn Leases>,
        namespace: String,
        name: String,
        identity: String,
        labels: BTreeMap<String, String>,
        recorder: EventRecorder,
    ) -> Self {
        Self {
            leases,
            namespace,
            name,
            identity,
            labels,
            recorder,
            lease: None,
        }
    }

    pub(super) async fn get(&mut self) -> Result<Record, Error> {
        let lease = self.leases.get(&self.name).await?;
        let record = Record::of(&lease.spec);
        self.lease = Some(lease);
        Ok(record)
    }

    pub(super) async fn create(&mut self, record: Record) -> Result<(), Error> {
        let mut lease = Lease {
            spec: record.into_spec(),
            ..Lease::default()
        };
        lease.metadata.name = self.name.clone();
        lease.metadata.namespace = self.namespace.clone();
        lease.metadata.labels = self.labels.clone();
        self.lease = Some(self.leases.create(lease).await?);
        Ok(())
    }

    pub(super) async fn update(&mut self, record: Record) -> Result<(), Error> {
        let Some(known) = &self.lease else {
            return Err(Error::InvalidRequest(
                "lease not initialized, call get or create first".into(),
            ));
        };
        let mut lease = known.clone();
        lease.spec = record.into_spec();
        for (key, value) in &self.labels {
            lease.metadata.labels.insert(key.clone(), value.clone());
        }
        self.lease = Some(self.leases.update(lease).await?);
        Ok(())
    }

    /// An event on the Lease: `<identity> became leader`.
    pub(super) fn announce(&self, what: &str) {
        if let Some(lease) = &self.lease {
            self.recorder.event(
                &object_reference(lease),
                "Normal",
                "LeaderElection",
                format!("{} {what}", self.identity),
            );
        }
    }

    pub(super) fn describe(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
