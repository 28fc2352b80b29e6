//! The parameters of a binding: objects that its policy's expressions see as `params`.
//! Upstream: CollectParams of plugin/policy/generic/policy_dispatcher.go.

use std::sync::Arc;

use api_types::admissionregistration::v1::{ParamKind, ParamRef};
use api_types::codec::Header;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::labels::Selector;
use serde_json::Value as Json;

use crate::admission::cel::json_of;
use crate::admission::matching::Matched;
use crate::admission::{Cluster, Freshness, ServedKind};
use crate::registry::object::Object;

/// One parameter.
#[derive(Clone, Debug)]
pub struct Param {
    pub namespace: String,
    pub name: String,
    pub object: Arc<Json>,
}

/// The resource of a policy's kind of parameters.
pub fn resolve(
    kind: Option<&ParamKind>,
    cluster: &dyn Cluster,
) -> Result<Option<ServedKind>, String> {
    let Some(kind) = kind else {
        return Ok(None);
    };
    let kind = GroupVersionKind::from_api_version_and_kind(&kind.api_version, &kind.kind);
    cluster
        .served_kind(&kind)
        .map(Some)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{kind}'"))
}

/// The parameters that a binding selects, for each of which its policy is evaluated: once without any if it uses none, and not at all
/// if there is none and that is allowed. `namespace` is the request's.
pub async fn collect(
    kind: Option<&ServedKind>,
    reference: Option<&ParamRef>,
    namespace: &str,
    cluster: &dyn Cluster,
) -> Result<Vec<Option<Param>>, String> {
    let (Some(kind), Some(reference)) = (kind, reference) else {
        return Ok(vec![None]);
    };
    let namespace = if !kind.namespaced {
        if !reference.namespace.is_empty() {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                    .to_owned(),
            );
        }
        ""
    } else if !reference.namespace.is_empty() {
        &reference.namespace
    } else if namespace.is_empty() {
        return Err(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned(),
        );
    } else {
        namespace
    };
    let resource = &kind.matched.resource;
    let (group, plural) = (&resource.group, &resource.resource);
    let mut found = Vec::new();
    if !reference.name.is_empty() {
        if reference.selector.is_some() {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".to_owned());
        }
        let object = cluster.get(group, plural, namespace, &reference.name, Freshness::Cached);
        found.extend(object.await.map_err(|error| error.to_string())?);
    } else if let Some(selector) = reference.selector.as_deref() {
        let selector =
            Selector::from_label_selector(Some(selector)).map_err(|error| error.to_string())?;
        let objects = cluster.list(group, plural, namespace).await;
        found = objects.map_err(|error| error.to_string())?;
        found.retain(|object| selector.matches(&object.metadata().labels));
    } else {
        return Err("one of name or selector must be provided".to_owned());
    }
    if found.is_empty() && reference.parameter_not_found_action.as_deref() == Some("Deny") {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        );
    }
    let mut params = Vec::with_capacity(found.len());
    for object in found {
        params.push(Some(param(&object, &kind.matched, cluster).await?));
    }
    Ok(params)
}

async fn param(object: &Object, version: &Matched, cluster: &dyn Cluster) -> Result<Param, String> {
    let served = cluster.in_version(object, version).await;
    let served = served.map_err(|error| error.to_string())?;
    let header = Header {
        api_version: &version.kind.api_version(),
        kind: &version.kind.kind,
    };
    Ok(Param {
        namespace: object.metadata().namespace.clone(),
        name: object.metadata().name.clone(),
        object: Arc::new(json_of(served.value(), Some(header))),
    })
}
