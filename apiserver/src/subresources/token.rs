//! Tokens of service accounts. Upstream: pkg/registry/core/serviceaccount/storage/token.go.

use std::sync::Arc;

use api_types::authentication::v1::{TokenRequest, TokenRequestStatus};
use api_types::core::v1::{Node, Pod, Secret, ServiceAccount};
use apimachinery::field::{self, Path};
use apimachinery::gvk::{GroupKind, GroupResource, GroupVersionKind};
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;
use jiff::Timestamp;

use crate::apis::gates;
use crate::authn::BindTo;
use crate::handlers::{Endpoint, post, respond};
use crate::loopback::Loopback;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

const MIN_SECONDS: i64 = 10 * 60;
/// Kubelets ask for this long on behalf of pods whose manifest says nothing.
const WARN_ONLY_SECONDS: i64 = 60 * 60 + 7;

fn kind() -> GroupKind {
    GroupKind {
        group: "authentication.k8s.io".to_owned(),
        kind: "TokenRequest".to_owned(),
    }
}

/// POST of a token request.
pub(super) async fn create(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
) -> Result<Response, StatusError> {
    let Some(issuer) = server.tokens.issuer.clone() else {
        return Err(crate::handlers::no_such_resource());
    };
    let posted = post::read(cx, endpoint, body).await?;
    let (mut object, attributes) = post::admit(server, cx, endpoint, &posted).await?;
    let (namespace, name) = (&cx.info.namespace, &cx.info.name);
    let request = object
        .get_mut::<TokenRequest>()
        .ok_or_else(|| status::internal("not a TokenRequest"))?;
    if !request.metadata.name.is_empty() && request.metadata.name != *name {
        let path = Path::new("metadata").child("name");
        let text = "must match the service account name if specified";
        let errors = field::invalid(&path, request.metadata.name.as_str(), text).into();
        return Err(status::invalid(&kind(), name, &errors));
    }
    let loopback = Loopback::new(server);
    let account = loopback
        .get::<ServiceAccount>(namespace, name)
        .await?
        .ok_or_else(|| status::not_found(&GroupResource::new("", "serviceaccounts"), name))?;
    let uid = &account.metadata.uid;
    if request.metadata.uid.is_empty() {
        request.metadata.uid.clone_from(uid);
    } else if request.metadata.uid != *uid {
        wrong_uid(cx, name, &request.metadata.uid, uid)?;
    }
    if request.spec.audiences.is_empty() {
        request
            .spec
            .audiences
            .clone_from(&server.tokens.api_audiences);
    }
    request.metadata.name.clone_from(name);
    request.metadata.namespace.clone_from(namespace);
    request.metadata.creation_timestamp = api_types::Time::now();
    request.status = TokenRequestStatus::default();
    let now = Timestamp::now();
    let mut seconds = request.spec.expiration_seconds.unwrap_or_default();
    check_expiration(seconds)?;
    post::validate(server, attributes, &object).await?;
    let request = object
        .get_mut::<TokenRequest>()
        .ok_or_else(|| status::internal("not a TokenRequest"))?;
    let bind_to = bound_to(&loopback, request, namespace, name).await?;
    let max = i64::try_from(server.tokens.max_expiration.as_secs()).unwrap_or(0);
    if max > 0 && seconds > max {
        cx.warnings.add(format!(
            "requested expiration of {seconds} seconds shortened to {max} seconds"
        ));
        seconds = max;
        request.spec.expiration_seconds = Some(max);
    }
    let ours = |audience: &String| server.tokens.api_audiences.contains(audience);
    let extends = server.tokens.extend_expiration
        && matches!(bind_to, BindTo::Pod { .. })
        && seconds == WARN_ONLY_SECONDS
        && request.spec.audiences.iter().all(ours);
    let (life, warn_after) = if extends {
        (server.tokens.extended_seconds, Some(seconds))
    } else {
        (seconds, None)
    };
    let issued = issuer
        .issue(
            &account,
            &bind_to,
            life,
            warn_after,
            &request.spec.audiences,
            now,
        )
        .await
        .map_err(|error| status::internal(format!("failed to generate token: {error}")))?;
    if cx.audit.is_some() {
        cx.annotations.add(
            "authentication.kubernetes.io/issued-credential-id",
            format!("JTI={}", issued.id),
        );
    }
    request.status = TokenRequestStatus {
        token: issued.token,
        expiration_timestamp: later(now, seconds),
    };
    respond::served_object(
        cx,
        &endpoint.resource,
        posted.media,
        StatusCode::CREATED,
        &object,
        None,
    )
}

/// A token is asked for an account that was deleted and made again.
fn wrong_uid(cx: &RequestContext, name: &str, given: &str, uid: &str) -> Result<(), StatusError> {
    let text = format!(
        "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
    );
    if gates::enabled("TokenRequestServiceAccountUIDValidation") {
        let resource = GroupResource::new("authentication.k8s.io", "TokenRequest");
        return Err(status::conflict(&resource, name, text));
    }
    cx.warnings.add(format!(
        "{text} but TokenRequestServiceAccountUIDValidation is not enabled. In the future, this will return a conflict error"
    ));
    if cx.audit.is_some() {
        cx.annotations
            .add("authentication.k8s.io/token-request-uid-mismatch", text);
    }
    Ok(())
}

fn later(now: Timestamp, seconds: i64) -> api_types::Time {
    let end = Timestamp::from_second(now.as_second().saturating_add(seconds));
    api_types::Time::from_timestamp(end.unwrap_or(Timestamp::MAX))
}

fn check_expiration(seconds: i64) -> Result<(), StatusError> {
    let path = Path::new("spec").child("expirationSeconds");
    let text = if seconds < MIN_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    Err(status::invalid(
        &kind(),
        "",
        &field::invalid(&path, seconds, text).into(),
    ))
}

/// The object whose life bounds the token's; it must exist.
async fn bound_to(
    loopback: &Loopback,
    request: &TokenRequest,
    namespace: &str,
    account: &str,
) -> Result<BindTo, StatusError> {
    let Some(reference) = request.spec.bound_object_ref.as_ref() else {
        return Ok(BindTo::Account);
    };
    let kind = GroupVersionKind::from_api_version_and_kind(&reference.api_version, &reference.kind);
    let missing =
        |resource: &str| status::not_found(&GroupResource::new("", resource), &reference.name);
    let (bind_to, uid) = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => {
            let pod = loopback.get::<Pod>(namespace, &reference.name).await?;
            let pod = pod.ok_or_else(|| missing("pods"))?;
            if pod.spec.service_account_name != account {
                return Err(status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = match pod.spec.node_name.as_str() {
                "" => None,
                // A node that does not exist (any more) is still named.
                name => {
                    let node = loopback.get::<Node>("", name).await?;
                    Some((
                        name.to_owned(),
                        node.map(|node| node.metadata.uid).unwrap_or_default(),
                    ))
                }
            };
            let uid = pod.metadata.uid;
            (
                BindTo::Pod {
                    name: reference.name.clone(),
                    uid: uid.clone(),
                    node,
                },
                uid,
            )
        }
        ("", "Node") => {
            let node = loopback.get::<Node>("", &reference.name).await?;
            let uid = node.ok_or_else(|| missing("nodes"))?.metadata.uid;
            (
                BindTo::Node {
                    name: reference.name.clone(),
                    uid: uid.clone(),
                },
                uid,
            )
        }
        ("", "Secret") => {
            let secret = loopback.get::<Secret>(namespace, &reference.name).await?;
            let uid = secret.ok_or_else(|| missing("secrets"))?.metadata.uid;
            (
                BindTo::Secret {
                    name: reference.name.clone(),
                    uid: uid.clone(),
                },
                uid,
            )
        }
        _ => {
            return Err(status::bad_request(format!(
                "cannot bind token to object of type {kind}"
            )));
        }
    };
    if !reference.uid.is_empty() && reference.uid != uid {
        return Err(status::conflict(
            &GroupResource::new(&kind.group, &kind.kind),
            &reference.name,
            format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                reference.uid
            ),
        ));
    }
    Ok(bind_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_bounds() {
        assert!(check_expiration(600).is_ok());
        assert_eq!(
            check_expiration(599).unwrap_err().message,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
        );
        assert!(check_expiration((1 << 32) + 1).is_err());
    }
}
