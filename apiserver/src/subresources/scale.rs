//! `/scale`: the replica count of a workload, under one kind for all. Upstream: pkg/registry/apps/*/storage.

use std::sync::Arc;

use api_types::CustomObject;
use api_types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::v1::Scale;
use api_types::core::v1::ReplicationController;
use api_types::meta::v1::LabelSelector;
use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;

use crate::custom_resources::document;
use crate::handlers::finisher::run_write;
use crate::handlers::options::{self, FieldValidation};
use crate::handlers::patch::{PatchRequest, PatchType};
use crate::handlers::write::{self, both_attributes, is_dry_run, validator};
use crate::handlers::{self, Endpoint, body, respond};
use crate::negotiation::{self, Encoding};
use crate::registry::managed_fields;
use crate::registry::object::Object;
use crate::registry::resource::Resource;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// The scale of an object.
fn scale_of(resource: &Resource, object: &Object) -> Result<Scale, StatusError> {
    let (desired, current, selector) = match object.get::<CustomObject>() {
        Some(custom) => custom_scale(resource, custom)?,
        None => built_in_scale(object).ok_or_else(|| no_scale(resource))?,
    };
    let metadata = object.metadata();
    let mut scale = Scale::default();
    scale.metadata.name.clone_from(&metadata.name);
    scale.metadata.namespace.clone_from(&metadata.namespace);
    scale.metadata.uid.clone_from(&metadata.uid);
    scale
        .metadata
        .resource_version
        .clone_from(&metadata.resource_version);
    scale.metadata.creation_timestamp = metadata.creation_timestamp;
    scale.spec.replicas = desired.unwrap_or(0);
    scale.status.replicas = current;
    scale.status.selector = selector;
    Ok(scale)
}

/// Wanted and existing replicas, and their selector.
type Counts = (Option<i32>, i32, String);

fn custom_scale(resource: &Resource, object: &CustomObject) -> Result<Counts, StatusError> {
    let paths = resource.custom.as_ref().and_then(|custom| custom.scale());
    let paths = paths.ok_or_else(|| no_scale(resource))?;
    let document = document::of(object).map_err(status::internal)?;
    let scale = structural_schema::scale::read(&document, paths).map_err(status::internal)?;
    let Some(desired) = scale.spec_replicas else {
        return Err(status::internal(format!(
            "the spec replicas field {:?} does not exist",
            paths.spec_replicas_path
        )));
    };
    // As upstream: what does not fit is cut off.
    Ok((
        Some(desired as i32),
        scale.status_replicas as i32,
        scale.selector,
    ))
}

/// None for kinds that have no scale.
fn built_in_scale(object: &Object) -> Option<Counts> {
    let from = |selector: Option<&LabelSelector>| {
        apimachinery::labels::Selector::from_label_selector(selector)
            .map(|selector| selector.to_string())
            .unwrap_or_default()
    };
    let (desired, current, selector) = if let Some(deployment) = object.get::<Deployment>() {
        (
            deployment.spec.replicas,
            deployment.status.replicas,
            from(deployment.spec.selector.as_deref()),
        )
    } else if let Some(set) = object.get::<ReplicaSet>() {
        (
            set.spec.replicas,
            set.status.replicas,
            from(set.spec.selector.as_deref()),
        )
    } else if let Some(set) = object.get::<StatefulSet>() {
        (
            set.spec.replicas,
            set.status.replicas,
            from(set.spec.selector.as_deref()),
        )
    } else {
        let controller = object.get::<ReplicationController>()?;
        let selector =
            apimachinery::labels::Selector::from_set(&controller.spec.selector).to_string();
        (
            controller.spec.replicas,
            controller.status.replicas,
            selector,
        )
    };
    Some((desired, current, selector))
}

fn set_replicas(resource: &Resource, object: &mut Object, replicas: i32) -> Result<(), String> {
    if let Some(paths) = resource.custom.as_ref().and_then(|custom| custom.scale())
        && let Some(custom) = object.get_mut::<CustomObject>()
    {
        let fields = document::content(custom).map_err(|error| error.to_string())?;
        let mut content = serde_json::Value::Object(fields);
        let path = &paths.spec_replicas_path;
        structural_schema::scale::set_replicas(&mut content, path, i64::from(replicas))?;
        if let serde_json::Value::Object(fields) = content {
            document::set_content(custom, fields);
        }
        return Ok(());
    }
    if let Some(deployment) = object.get_mut::<Deployment>() {
        deployment.spec.replicas = Some(replicas);
    } else if let Some(set) = object.get_mut::<ReplicaSet>() {
        set.spec.replicas = Some(replicas);
    } else if let Some(set) = object.get_mut::<StatefulSet>() {
        set.spec.replicas = Some(replicas);
    } else if let Some(controller) = object.get_mut::<ReplicationController>() {
        controller.spec.replicas = Some(replicas);
    }
    Ok(())
}

fn no_scale(resource: &Resource) -> StatusError {
    status::internal(format!("{} has no scale", resource.info.resource))
}

/// GET, PUT and PATCH of a scale.
pub(super) async fn serve(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    request_body: Body,
) -> Result<Response, StatusError> {
    let media = respond::negotiate(cx)?;
    let resource = &endpoint.resource;
    if cx.info.verb == "get" {
        let stored = handlers::read(
            resource,
            &cx.info.namespace,
            &cx.info.name,
            cx.query.first("resourceVersion").unwrap_or_default(),
        )
        .await?;
        let object = resource.decode_stored(&stored.value, stored.resource_version)?;
        let scale = Object::from(scale_of(resource, &object)?);
        return respond::served_object(cx, resource, media, StatusCode::OK, &scale, None);
    }
    let change = if cx.info.verb == "patch" {
        Change::Patch(PatchRequest::read(cx, &endpoint.resource, request_body).await?)
    } else {
        let bytes = body::read(cx, request_body).await?;
        let options = options::update_options(&cx.query)?;
        let encoding = negotiation::negotiate_input(&cx.headers, &Encoding::ALL)
            .map_err(respond::unsupported_media_type)?;
        let kind = api_types::kinds::lookup("autoscaling", "v1", "Scale")
            .ok_or_else(|| no_scale(resource))?;
        let mut decoded = body::decode(
            encoding,
            &bytes,
            kind,
            FieldValidation::parse(&options.field_validation),
            &cx.warnings,
        )?
        .object;
        decoded.clear_field("TypeMeta");
        if let Some(audit) = &cx.audit {
            let json = || Some(api_types::encode_json(decoded.value()));
            audit.sent_object(Some(decoded.metadata()), json);
        }
        write::check_name(cx, endpoint, &mut decoded)?;
        Change::Replace(decoded, options)
    };
    let (server, cx, endpoint) = (server.clone(), cx.clone(), endpoint.clone());
    run_write(
        server.request_metrics.clone(),
        Box::pin(async move {
            let object = update(&server, &cx, &endpoint, &change).await?;
            let scale = Object::from(scale_of(&endpoint.resource, &object)?);
            respond::served_object(&cx, &endpoint.resource, media, StatusCode::OK, &scale, None)
        }),
    )
    .await
}

enum Change {
    Replace(Object, api_types::meta::v1::UpdateOptions),
    Patch(PatchRequest),
}

impl Change {
    fn options(&self) -> api_types::meta::v1::UpdateOptions {
        match self {
            Change::Replace(_, options) => options.clone(),
            Change::Patch(request) => request.update_options(),
        }
    }
}

async fn update(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
    change: &Change,
) -> Result<Object, StatusError> {
    let resource = &endpoint.resource;
    let options = change.options();
    let dry_run = is_dry_run(&options.dry_run);
    let manager = match change {
        Change::Patch(request) => request.manager.clone(),
        Change::Replace(_, options) => cx.field_manager(&options.field_manager),
    };
    let (create, update) = both_attributes(cx, endpoint, options, dry_run);
    // Admission judges the scale; the workload itself is changed without it.
    let validate = validator(server, create, None, Some(cx.attributes()));
    let validate = move |object: Object, old: Option<Arc<Object>>| match old {
        Some(_) => Box::pin(std::future::ready(Ok(object)))
            as component_base::auth::BoxFuture<'_, Result<Object, StatusError>>,
        None => validate(object, None),
    };
    let (object, _) = write::write_of(server, cx, endpoint, &*resource.strategy, dry_run)
        .update(None, false, &validate, |existing: Option<Arc<Object>>| {
            let (mut attributes, manager) = (update.clone(), manager.clone());
            Box::pin(async move {
                let Some(existing) = existing.as_deref() else {
                    return Err(status::not_found(&resource.group_resource(), &cx.info.name));
                };
                let mut old = scale_of(resource, existing)?;
                let entries = &existing.metadata().managed_fields;
                old.metadata.managed_fields = managed_fields::scale_entries(resource, entries);
                let old = Object::from(old);
                let new = match change {
                    Change::Replace(scale, _) => {
                        let mut scale = scale.clone();
                        managed_fields::update_scale(resource, &old, &mut scale, &manager);
                        scale
                    }
                    Change::Patch(request) if request.kind == PatchType::Apply => {
                        managed_fields::apply_scale(
                            resource,
                            &old,
                            &request.configuration()?,
                            &request.manager,
                            request.options.force.unwrap_or(false),
                        )?
                    }
                    Change::Patch(request) => {
                        let mut scale = request.apply_to(&cx.warnings, &old, None)?;
                        managed_fields::update_scale(resource, &old, &mut scale, &manager);
                        scale
                    }
                };
                attributes.old_object = Some(Arc::new(old));
                let new = write::admit(server, &mut attributes, new).await?;
                if server.admission.handles(attributes.operation) {
                    attributes.object = Some(new.clone());
                    server.admission.validate(&attributes).await?;
                }
                let scale = new.get::<Scale>().ok_or_else(|| no_scale(resource))?;
                checked(resource, scale, existing)?;
                let mut object = existing.clone();
                set_replicas(resource, &mut object, scale.spec.replicas)
                    .map_err(status::internal)?;
                object.edit_metadata(|metadata| {
                    let version = &scale.metadata.resource_version;
                    if resource.custom.is_none() || !version.is_empty() {
                        metadata.resource_version.clone_from(version);
                    }
                    metadata.managed_fields = managed_fields::parent_entries(
                        resource,
                        entries,
                        &scale.metadata.managed_fields,
                    );
                });
                Ok(object)
            })
        })
        .await?;
    Ok(object)
}

fn checked(resource: &Resource, scale: &Scale, existing: &Object) -> Result<(), StatusError> {
    let uid = &existing.metadata().uid;
    if !scale.metadata.uid.is_empty() && scale.metadata.uid != *uid {
        let kind = apimachinery::gvk::GroupResource::new("", "scale");
        return Err(status::conflict(
            &kind,
            &existing.metadata().name,
            format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {uid}",
                scale.metadata.uid
            ),
        ));
    }
    // What a custom resource may have is its schema's business.
    if resource.custom.is_none() && scale.spec.replicas < 0 {
        let errors = field::invalid(
            &Path::new("spec").child("replicas"),
            i64::from(scale.spec.replicas),
            "must be greater than or equal to 0",
        )
        .into();
        let kind = GroupKind {
            group: "autoscaling".to_owned(),
            kind: "Scale".to_owned(),
        };
        return Err(status::invalid(&kind, &scale.metadata.name, &errors));
    }
    Ok(())
}
