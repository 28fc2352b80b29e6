//! Who may write which part of a ResourceClaim's status: allocations and reservations need the right to `resourceclaims/binding`,
//! a driver's part of `status.devices` that to `resourceclaims/driver` by the driver's name. Upstream: pkg/registry/resource
//! (AuthorizedForBinding, AuthorizedForDeviceStatus), DRAResourceClaimGranularStatusAuthorization of KEP-4817.

use std::collections::{BTreeMap, BTreeSet};

use api_types::resource::v1::{AllocatedDeviceStatus, ResourceClaim, ResourceClaimStatus};
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use component_base::auth::{Attributes, Decision, UserInfo};

use super::object::Object;
use crate::apis::gates;
use crate::server::{ApiServer, authorization};

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const ACCOUNTS: &str = "system:serviceaccount:";

/// Refuses an update of a claim's status whose author may not make it. `request` is what the request is about.
pub async fn check(
    server: &ApiServer,
    request: &Attributes,
    new: &Object,
    old: &Object,
) -> Result<(), StatusError> {
    if request.subresource != "status"
        || request.resource != "resourceclaims"
        || !gates::enabled("DRAResourceClaimGranularStatusAuthorization")
    {
        return Ok(());
    }
    let (Some(new), Some(old)) = (new.get::<ResourceClaim>(), old.get::<ResourceClaim>()) else {
        return Ok(());
    };
    let mut errors = ErrorList::new();
    errors.extend(binding(server, request, &new.status, &old.status).await);
    if gates::enabled("DRAResourceClaimDeviceStatus") && new.status.allocation.is_some() {
        errors.extend(drivers(server, request, &new.status, &old.status).await);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind {
        group: "resource.k8s.io".to_owned(),
        kind: "ResourceClaim".to_owned(),
    };
    Err(status::invalid(&kind, &new.metadata.name, &errors))
}

async fn binding(
    server: &ApiServer,
    request: &Attributes,
    new: &ResourceClaimStatus,
    old: &ResourceClaimStatus,
) -> ErrorList {
    if new.allocation == old.allocation && new.reserved_for == old.reserved_for {
        return ErrorList::new();
    }
    let verb = &request.verb;
    let asked = Attributes {
        subresource: "binding".to_owned(),
        namespace: String::new(),
        name: String::new(),
        ..request.clone()
    };
    let Err(why) = allowed(server, &asked).await else {
        return ErrorList::new();
    };
    let path = Path::new("status").child("allocation");
    field::forbidden(
        &path,
        format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
        ),
    )
    .into()
}

async fn drivers(
    server: &ApiServer,
    request: &Attributes,
    new: &ResourceClaimStatus,
    old: &ResourceClaimStatus,
) -> ErrorList {
    let verb = &request.verb;
    let mut verbs = vec![format!("arbitrary-node:{verb}")];
    if node_of(new).is_some_and(|node| is_on(&request.user, node)) {
        verbs.insert(0, format!("associated-node:{verb}"));
    }
    let path = Path::new("status").child("devices");
    let mut errors = ErrorList::new();
    for driver in changed_drivers(new, old) {
        let mut refused = None;
        for verb in &verbs {
            let asked = Attributes {
                verb: verb.clone(),
                subresource: "driver".to_owned(),
                name: driver.to_owned(),
                ..request.clone()
            };
            match allowed(server, &asked).await {
                Ok(()) => {
                    refused = None;
                    break;
                }
                // The first one is told.
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        if let Some(why) = refused {
            let verbs = verbs.join(" ");
            errors.push(field::forbidden(&path, format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {why}"
            )));
        }
    }
    errors
}

/// Whose devices were added, changed or taken away.
fn changed_drivers<'a>(
    new: &'a ResourceClaimStatus,
    old: &'a ResourceClaimStatus,
) -> BTreeSet<&'a str> {
    fn by_id(status: &ResourceClaimStatus) -> BTreeMap<[&str; 4], &AllocatedDeviceStatus> {
        let devices = status.devices.iter();
        devices
            .map(|device| {
                let share = device.share_id.as_deref().unwrap_or_default();
                (
                    [&device.driver, &device.pool, &device.device, share],
                    device,
                )
            })
            .collect()
    }
    let (new, old) = (by_id(new), by_id(old));
    let ids: BTreeSet<_> = new.keys().chain(old.keys()).collect();
    ids.into_iter()
        .filter(|id| new.get(*id) != old.get(*id))
        .map(|[driver, ..]| *driver)
        .collect()
}

/// The only node that an allocation is for.
fn node_of(status: &ResourceClaimStatus) -> Option<&str> {
    let selector = status.allocation.as_ref()?.node_selector.as_ref()?;
    let [term] = selector.node_selector_terms.as_slice() else {
        return None;
    };
    let ([], [field]) = (
        term.match_expressions.as_slice(),
        term.match_fields.as_slice(),
    ) else {
        return None;
    };
    match (
        field.key.as_str(),
        field.operator.as_str(),
        field.values.as_slice(),
    ) {
        ("metadata.name", "In", [name]) if !name.is_empty() => Some(name),
        _ => None,
    }
}

/// Whether a ServiceAccount's token is of a pod on a node.
fn is_on(user: &UserInfo, node: &str) -> bool {
    let names = user.extra.get(NODE_NAME);
    user.name.starts_with(ACCOUNTS) && names.is_some_and(|names| *names == [node])
}

/// Why not, in the words of a 403.
async fn allowed(server: &ApiServer, asked: &Attributes) -> Result<(), String> {
    let reason = match server.authorizer.authorize(asked).await {
        Ok(Decision::Allow(_)) => return Ok(()),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => reason,
        Err(error) => error.to_string(),
    };
    Err(authorization::forbidden(asked, &reason).message.clone())
}
