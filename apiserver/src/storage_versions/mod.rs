//! Tells the cluster in which versions this server stores objects, and which it can read (KEP-2339; gate StorageVersionAPI).
//! Upstream: apiserver/pkg/storageversion, endpoints/filters/storageversion.go and the hook of kube-aggregator.
//!
//! Before it has told of a resource nobody may write that resource: a migration that looks at the versions misses no object.

/// What is told.
mod rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::coordination::v1::Lease;
use api_types::internal_apiserver::v1alpha1::{
    ServerStorageVersion, StorageVersion, StorageVersionCondition,
};
use api_types::{Kind as _, Resource as _, Time};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use component_base::auth::SYSTEM_PRIVILEGED_GROUP;
use component_base::features::FeatureGates;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::rows::Row;
use crate::hooks::identity;
use crate::loopback::Loopback;
use crate::registry::table::Resources;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

const FEATURE: &str = "StorageVersionAPI";
/// The hook that is done when all has been told.
pub const HOOK: &str = "built-in-resources-storage-version-updater";

const LEASE_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// Somebody may have changed or removed what was told.
const AGAIN: Duration = Duration::from_secs(600);

/// Whether this server tells.
pub(crate) fn is_on(features: &FeatureGates) -> bool {
    features.enabled(FEATURE) && features.enabled(identity::FEATURE)
}

/// What was told so far.
pub struct StorageVersions {
    rows: Vec<Row>,
    is_complete: AtomicBool,
    /// Of each group and resource that has not been told of: why not, the last time.
    pending: Mutex<HashMap<(String, String), Option<String>>>,
}

impl StorageVersions {
    /// None where nobody is told.
    pub fn new(resources: &Resources, features: &FeatureGates) -> Option<StorageVersions> {
        is_on(features).then(|| {
            let rows = rows::rows(resources);
            let pending = rows.iter().flat_map(|row| row.equivalents.iter().cloned());
            StorageVersions {
                pending: Mutex::new(pending.map(|name| (name, None)).collect()),
                rows,
                is_complete: AtomicBool::new(false),
            }
        })
    }

    /// Refuses writes of what has not been told of.
    pub fn check(&self, cx: &RequestContext) -> Result<(), StatusError> {
        if self.is_complete.load(Ordering::Acquire) || is_let_through(cx) {
            return Ok(());
        }
        let name = (cx.info.api_group.clone(), cx.info.resource.clone());
        let Some(why) = self.pending.lock().get(&name).cloned() else {
            return Ok(());
        };
        let resource = GroupResource::new(name.0, name.1);
        let why = why.as_deref().unwrap_or("<nil>");
        Err(status::service_unavailable(format!(
            "wait for storage version registration to complete for resource: {resource}, last seen error: {why}"
        )))
    }

    /// Tells of every resource. False if any could not be told of.
    async fn tell(&self, server: &ApiServer, client: &Loopback) -> bool {
        let own = identity::name(&server.config.hostname);
        let mut all = true;
        for row in &self.rows {
            let told = tell_of(row, &own, server, client).await;
            let mut pending = self.pending.lock();
            match told {
                Ok(()) => pending.retain(|name, _| !row.equivalents.contains(name)),
                Err(error) => {
                    let resource = &row.resource;
                    tracing::error!(error, %resource, "failed to update storage version");
                    for (_, why) in pending
                        .iter_mut()
                        .filter(|(name, _)| row.equivalents.contains(*name))
                    {
                        *why = Some(error.clone());
                    }
                    all = false;
                }
            }
        }
        if all {
            self.is_complete.store(true, Ordering::Release);
        }
        all
    }
}

/// Reads, and what the server needs before it can tell: its own namespaces and Leases, and the versions themselves.
fn is_let_through(cx: &RequestContext) -> bool {
    let info = &cx.info;
    let (group, resource) = (&*info.api_group, &*info.resource);
    if !info.is_resource_request || matches!(&*info.verb, "get" | "list" | "watch") {
        return true;
    }
    let is_own = cx.user.name == "system:apiserver"
        && cx
            .user
            .groups
            .iter()
            .any(|group| group == SYSTEM_PRIVILEGED_GROUP);
    match (group, resource) {
        (StorageVersion::GROUP, StorageVersion::PLURAL) => true,
        ("", "namespaces") => info.verb == "create" && is_own,
        (Lease::GROUP, Lease::PLURAL) => info.namespace == identity::NAMESPACE,
        _ => false,
    }
}

/// Tells, once this server has a Lease: versions of servers without one are removed. Then it does so again now and then.
pub fn start(server: &Arc<ApiServer>, stop: CancellationToken) {
    if server.storage_versions.is_none() {
        return;
    }
    let (server, client) = (server.clone(), Loopback::new(server));
    let work = async move {
        let Some(versions) = &server.storage_versions else {
            return;
        };
        let own = identity::name(&server.config.hostname);
        while !matches!(
            client.get::<Lease>(identity::NAMESPACE, &own).await,
            Ok(Some(_))
        ) {
            tokio::time::sleep(LEASE_POLL).await;
        }
        while !versions.tell(&server, &client).await {
            tokio::time::sleep(RETRY).await;
        }
        server.health.hook_done(HOOK);
        loop {
            tokio::time::sleep(AGAIN).await;
            versions.tell(&server, &client).await;
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(work));
}

async fn tell_of(
    row: &Row,
    own: &str,
    server: &ApiServer,
    client: &Loopback,
) -> Result<(), String> {
    let (group, version) = (StorageVersion::GROUP, StorageVersion::VERSION);
    let plural = StorageVersion::PLURAL;
    if server.resources.get(group, version, plural).is_none() {
        // In the words of a client.
        return Err(format!(
            "the server could not find the requested resource (post {plural}.{group})"
        ));
    }
    let told = update(row, own, client).await;
    told.map_err(|error| error.to_string())
}

async fn update(row: &Row, own: &str, client: &Loopback) -> Result<(), StatusError> {
    let name = row.name();
    let object = match client.get::<StorageVersion>("", &name).await? {
        Some(object) => object,
        None => {
            let mut object = StorageVersion::default();
            object.metadata.name = name;
            client.create(object).await?
        }
    };
    let object = with(object, row, own, Time::now());
    client.update_status(object).await.map(drop)
}

/// A resource's versions with those of one server.
fn with(mut object: StorageVersion, row: &Row, own: &str, now: Time) -> StorageVersion {
    let told = ServerStorageVersion {
        api_server_id: own.to_owned(),
        encoding_version: row.encoding.clone(),
        decodable_versions: row.decodable.clone(),
        served_versions: row.served.clone(),
    };
    let status = &mut object.status;
    let servers = &mut status.storage_versions;
    match servers
        .iter_mut()
        .find(|server| server.api_server_id == own)
    {
        Some(before) => *before = told,
        None => servers.push(told),
    }
    let first = servers[0].encoding_version.clone();
    let agreed = servers
        .iter()
        .all(|server| server.encoding_version == first);
    let before = std::mem::replace(&mut status.common_encoding_version, agreed.then_some(first));
    let common = &status.common_encoding_version;
    // From one version to another is a change, too.
    let is_other = before.is_some() && common.is_some() && before != *common;
    let (value, reason, message) = if agreed {
        (
            "True",
            "CommonEncodingVersionSet",
            "Common encoding version set",
        )
    } else {
        (
            "False",
            "CommonEncodingVersionUnset",
            "Common encoding version unset",
        )
    };
    let new = StorageVersionCondition {
        type_: "AllEncodingVersionsEqual".to_owned(),
        status: value.to_owned(),
        observed_generation: object.metadata.generation,
        last_transition_time: now,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let mut conditions = status.conditions.iter_mut();
    match conditions.find(|condition| condition.type_ == new.type_) {
        Some(old) => {
            let changed = old.status != new.status || is_other;
            let since = if changed {
                now
            } else {
                old.last_transition_time
            };
            *old = StorageVersionCondition {
                last_transition_time: since,
                ..new
            };
        }
        None => status.conditions.push(new),
    }
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(encoding: &str) -> Row {
        Row {
            resource: GroupResource::new("", "pods"),
            equivalents: BTreeSet::new(),
            encoding: encoding.to_owned(),
            decodable: vec!["v1".to_owned(), "v2".to_owned()],
            served: vec!["v1".to_owned()],
        }
    }

    fn at(second: i64) -> Time {
        Time::from_timestamp(jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn servers_agree_or_not() {
        let object = with(StorageVersion::default(), &row("v1"), "a", at(1));
        let told = |object: &StorageVersion| {
            let status = &object.status;
            let condition = &status.conditions[0];
            let common = status.common_encoding_version.clone();
            (
                common,
                condition.status.clone(),
                condition.last_transition_time,
            )
        };
        let v1 = || Some("v1".to_owned());
        assert_eq!(told(&object), (v1(), "True".to_owned(), at(1)));
        assert_eq!(row("v1").name(), "core.pods");
        // Told again, nothing changes.
        let object = with(object, &row("v1"), "a", at(2));
        assert_eq!(object.status.storage_versions.len(), 1);
        assert_eq!(told(&object), (v1(), "True".to_owned(), at(1)));
        let object = with(object, &row("v2"), "b", at(3));
        assert_eq!(object.status.storage_versions.len(), 2);
        assert_eq!(told(&object), (None, "False".to_owned(), at(3)));
        let object = with(object, &row("v2"), "a", at(4));
        let v2 = || Some("v2".to_owned());
        assert_eq!(told(&object), (v2(), "True".to_owned(), at(4)));
        // From one agreement to another.
        let one = with(StorageVersion::default(), &row("v1"), "a", at(1));
        let one = with(one, &row("v2"), "a", at(5));
        assert_eq!(told(&one), (v2(), "True".to_owned(), at(5)));
    }
}
